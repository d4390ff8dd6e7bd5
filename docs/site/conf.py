"""Sphinx: what the site looks like. make_site.py copies it beside the sources."""

import os
import sys

from docutils.nodes import SkipNode
from latex2mathml.converter import convert

sys.path.insert(0, os.path.dirname(__file__))
project, author = "LoRA Course", "the authors of LoRA Course"
project_copyright = "text and figures CC BY 4.0, code Apache 2.0"
extensions = ["myst_nb", "sphinx_copybutton"]
nb_execution_mode = "off"
nb_merge_streams = True
myst_enable_extensions = ["dollarmath", "amsmath", "html_image"]
myst_heading_anchors = 3
myst_heading_slug_func = "conf.slug"  # the anchors that JupyterLab and GitHub use in notebooks
html_theme, html_title = "sphinx_book_theme", "LoRA Course"
html_static_path, html_css_files = ["_static"], ["course.css"]
html_copy_source = html_show_sourcelink = False
html_math_renderer = "mathml"
suppress_warnings = ["myst.header", "mystnb.unknown_mime_type"]
repository = os.environ.get("LORA_COURSE_REPOSITORY", "")
html_theme_options = {
    "home_page_in_toc": True,
    "use_download_button": False,
    "use_fullscreen_button": False,
    "show_navbar_depth": 1,
    "navbar_persistent": [],
}
if repository:
    html_theme_options |= {
        "repository_url": repository,
        "repository_branch": "main",
        "use_repository_button": True,
        "launch_buttons": {
            "colab_url": "https://colab.research.google.com",
            "binderhub_url": "https://mybinder.org",
            "notebook_interface": "jupyterlab",
        },
    }


def slug(title):
    return title.replace(" ", "-")


def inline(writer, node):
    """A formula as MathML: browsers draw it themselves, on paper and without a network."""
    writer.body.append(convert(node.astext()))
    raise SkipNode


def block(writer, node):
    formula = convert(node.astext(), display="block")
    writer.body.append(f'<div class="formula">{formula}</div>')
    raise SkipNode


def setup(app):
    app.add_html_math_renderer("mathml", (inline, None), (block, None))
