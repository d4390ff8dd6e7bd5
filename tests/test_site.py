"""The site's pages before Sphinx reads them; with Sphinx at hand, the whole of it."""

import importlib.util
import json
import os
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SITE = ROOT / "docs/site/make_site.py"
spec = importlib.util.spec_from_file_location("make_site", SITE)
site = importlib.util.module_from_spec(spec)
spec.loader.exec_module(site)


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    folder = tmp_path_factory.mktemp("site")
    site.collect(folder, "")
    return folder


def cells(source):
    for path in sorted(source.rglob("*.ipynb")):
        for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
            yield path, cell


def test_every_link_leads_to_a_page(source):
    texts = [(p, c["source"]) for p, c in cells(source) if c["cell_type"] == "markdown"]
    texts += [(p, p.read_text(encoding="utf-8")) for p in source.rglob("*.md")]
    seen = 0
    for path, text in texts:
        for _, _, target in site.LINK.findall(re.sub(r"`[^`]*`", "", text)):
            if not re.match(r"\w+:|#", target):
                assert (path.parent / target.partition("#")[0]).is_file(), f"{path.name}: {target}"
                seen += 1
    assert seen > 100


def test_figures_have_their_text_and_no_kernel_is_needed(source):
    figures = 0
    for path, cell in cells(source):
        for output in cell.get("outputs", ()):
            data = output.get("data", {})
            assert "image/png" not in data, path.name
            assert not [kind for kind in data if "widget" in kind], path.name
            found = re.findall(
                r'<img src="../(\S+)" alt="([^"]*)"', "".join(data.get("text/html", ""))
            )
            for file, alt in found:
                assert (source / file).is_file() and len(alt) > 20, f"{path.name}: {alt!r}"
                figures += 1
    assert figures >= 40


def test_the_first_page_lists_every_chapter_once(source):
    text = (source / "index.md").read_text(encoding="utf-8")
    for path in (ROOT / "chapters").glob("[0-9]*.ipynb"):
        assert text.count(f"chapters/{path.stem}\n") == 1
    assert text.count("\ndocs/claims\nchapters/appendix_claims\n") == 1
    assert "codespaces" not in text.lower()
    there = site.first_page({"chapters/01_x.ipynb"}, "https://github.com/a/b")
    assert "https://codespaces.new/a/b" in there


def test_a_notebook_for_colab_begins_with_the_cell_that_brings_the_course(tmp_path, source):
    site.collect(tmp_path, "https://github.com/a/b")
    for folder in ("chapters", "exercises", "solutions"):
        page = f"{folder}/03_the_lora_layer.ipynb"
        first, without = (
            json.loads((root / page).read_text(encoding="utf-8"))["cells"][0]["source"]
            for root in (tmp_path, source)
        )
        assert "Colab" not in without
        assert "!pip install -q git+https://github.com/a/b && lora-course update" in first
        assert f"%cd /content/course/{folder}\n" in first


def test_links_to_files_that_are_no_pages():
    pages, page = {"chapters/03_the_lora_layer.ipynb"}, "docs/contributing.md"
    text = "[map](../lora_course/README.md) [3](../chapters/03_the_lora_layer.ipynb#a) [w](https://a.b)"
    plain = site.links(text, page, pages, "")
    assert plain == "map [3](../chapters/03_the_lora_layer.ipynb#a) [w](https://a.b)"
    led = site.links(text, page, pages, "https://github.com/a/b")
    assert "[map](https://github.com/a/b/blob/main/lora_course/README.md)" in led


@pytest.mark.slow
def test_the_whole_site(tmp_path):
    python = next(ROOT.glob(".venv-site/[bS]*/python*"), None)
    if python is None:
        pytest.skip("Sphinx has an environment of its own: `make site` makes it")
    done = subprocess.run(
        [python, SITE, tmp_path / "out"],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": ""},
    )
    assert done.returncode == 0, done.stderr
    page = (tmp_path / "out/chapters/03_the_lora_layer.html").read_text(encoding="utf-8")
    scripts = re.findall(r"<script.*?>", page)
    assert "<math" in page and not any("mathjax" in s.lower() or "http" in s for s in scripts)
    ids = {}
    pages, links = [p for p in (tmp_path / "out").rglob("*.html") if "_static" not in p.parts], 0
    for html in pages:
        text = html.read_text(encoding="utf-8")
        for target, anchor in re.findall(r'(?:href|src)="([^"#:?]*)(?:\?[^"#]*)?#?([^":]*)"', text):
            links += 1
            there = html.parent / target if target else html
            assert there.exists(), f"{html.name}: {target}"
            if anchor and there.suffix == ".html":
                if there not in ids:
                    ids[there] = set(re.findall(r'id="([^"]+)"', there.read_text(encoding="utf-8")))
                assert anchor in ids[there], f"{html.name}: {target}#{anchor}"
    assert len(pages) > 40 and links > 1000
