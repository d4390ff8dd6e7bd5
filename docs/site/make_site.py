"""The course as a static site, from the executed notebooks: make site, or

    python docs/site/make_site.py site [--repository https://github.com/OWNER/NAME]

Nothing is run and nothing is fetched: pages, search and formulas work without a network. The
repository's address (here or as `Repository` under [project.urls] in pyproject.toml) adds launch
buttons for Colab and Binder and a line for Codespaces; without it there are none.
"""

import argparse
import base64
import hashlib
import html
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = ("chapters", "exercises", "solutions")
NAMES = ("your_own_model", "architectures", "glossary", "instructors", "exercises")
GUIDES = ("docs/claims.md", "chapters/appendix_claims.ipynb", *(f"docs/{n}.md" for n in NAMES))
PARTS = {
    "I. Why low rank": range(1, 3),
    "II. LoRA from scratch": range(3, 8),
    "III. The Hugging Face stack": range(8, 13),
    "IV. The family, and its limits": range(13, 17),
    "V. In the field": range(17, 21),
}
# What a notebook that the button opens in Colab needs before its first cell.
IN_COLAB = """

<details>
<summary>In Colab, run this cell first</summary>

```
!pip install -q git+{} && lora-course update /content/course
%cd /content/course/{}
```
</details>"""
LINK = re.compile(r"(!?)\[([^\]]*)\]\(([^)\s]+)\)")


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="where the pages go; replaced as a whole")
    parser.add_argument("--repository", default=repository(), help="address with the notebooks")
    args = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as work:
        source, made = Path(work) / "source", Path(work) / "html"
        collect(source, args.repository)
        shutil.copy(ROOT / "docs/site/conf.py", source)
        command = [sys.executable, "-m", "sphinx", "-q", "-W", "--keep-going", "-b", "html"]
        settings = {**os.environ, "LORA_COURSE_REPOSITORY": args.repository}
        done = subprocess.run([*command, source, made], env=settings)
        if done.returncode:
            return done.returncode
        shutil.rmtree(made / "_sources", ignore_errors=True)
        shutil.rmtree(args.folder, ignore_errors=True)
        shutil.move(made, args.folder)
    print(f"{args.folder / 'index.html'} is the first page.")
    return 0


def repository():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return project.get("urls", {}).get("Repository", "")


def collect(source, address):
    """Writes the pages' sources: notebooks, guides, and the first page with the contents."""
    pages = {f"{f}/{path.name}" for f in FOLDERS for path in (ROOT / f).glob("*.ipynb")}
    pages |= {page for page in GUIDES if (ROOT / page).is_file()}
    answers = sorted(path.stem for path in (ROOT / "docs/exercises").glob("*.md"))
    pages |= {f"docs/exercises/{name}.md" for name in answers}
    for page in sorted(pages):
        target = source / page
        target.parent.mkdir(parents=True, exist_ok=True)
        text = (ROOT / page).read_text(encoding="utf-8")
        if page.endswith(".md"):
            if page == "docs/exercises.md":
                below = "\n".join(f"exercises/{name}" for name in answers)
                text += f"\n```{{toctree}}\n:hidden:\n\n{below}\n```\n"
            target.write_text(links(text, page, pages, address), encoding="utf-8")
            continue
        notebook = json.loads(text)
        for cell in notebook["cells"]:
            for_the_page(cell, page, pages, address, source)
        if address:
            notebook["cells"][0]["source"] += IN_COLAB.format(address, page.partition("/")[0])
        target.write_text(json.dumps(notebook), encoding="utf-8")
    for folder in ("_static", "docs"):
        (source / folder).mkdir(exist_ok=True)
    for picture in (ROOT / "docs").glob("*.png"):
        shutil.copy(picture, source / "docs")
    shutil.copy(ROOT / "docs/site/course.css", source / "_static")
    (source / "index.md").write_text(first_page(pages, address), encoding="utf-8")


def for_the_page(cell, page, pages, address, source):
    """One cell as the site shows it: links, figures with their text, answers folded, no widgets."""
    if cell["cell_type"] == "markdown":
        cell["source"] = links("".join(cell["source"]), page, pages, address)
        return
    tags = cell["metadata"].setdefault("tags", [])
    if cell["metadata"].get("jupyter", {}).get("outputs_hidden"):
        tags.append("hide-output")
    for output in cell["outputs"]:
        data = output.get("data", {})
        data.pop("application/vnd.jupyter.widget-view+json", None)
        if "text/markdown" in data:
            data["text/markdown"] = as_page("".join(data["text/markdown"]))
        if "image/png" in data:
            about = output.get("metadata", {}).get("image/png", {})
            content = base64.b64decode("".join(data.pop("image/png")))
            name = f"{hashlib.sha256(content).hexdigest()[:16]}.png"
            (source / "_static").mkdir(parents=True, exist_ok=True)
            (source / "_static" / name).write_bytes(content)
            alt, width = html.escape(about.get("alt", ""), quote=True), about.get("width", "")
            data["text/html"] = f'<img src="../_static/{name}" alt="{alt}" width="{width}">'


def as_page(text):
    """Links of an output to notebooks lead to their pages; Sphinx does so only in text."""

    def led(match):
        anchor = re.sub(r"[^a-z0-9]+", "-", match[2].lower()).lstrip("-0123456789")  # as docutils
        return f"]({match[1]}.html{'#' * bool(anchor)}{anchor})"

    return re.sub(r"\]\(([\w/.]+)\.ipynb#?([^)]*)\)", led, text)


def links(text, page, pages, address):
    """Links to what is no page lead to the repository, or become plain words."""

    def led(match):
        image, words, target = match.groups()
        if re.match(r"\w+:|#", target):
            return match[0]
        path, _, anchor = target.partition("#")
        there = os.path.normpath(f"{Path(page).parent}/{path}").replace(os.sep, "/")
        if there in pages or (image and (ROOT / there).is_file()):
            return match[0]
        if not (ROOT / there).exists():
            return words if not image else ""
        return f"[{words}]({address}/blob/main/{there})" if address else words

    return LINK.sub(led, text)


def first_page(pages, address):
    """README's promise, and the contents in their parts."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    promise = re.split(r"^## ", readme, flags=re.M)[0]
    lines = [links(promise, "README.md", pages, address)]
    if address:
        place = address.removeprefix("https://github.com/")
        lines += [f"Run it in your browser: [Codespaces](https://codespaces.new/{place}).", ""]

    def tree(caption, entries, hidden=False):
        lines.extend(["```{toctree}", f":caption: {caption}", ":maxdepth: 1"])
        lines.extend([":hidden:"] if hidden else [])
        lines.extend(["", *entries, "```", ""])

    numbered = sorted(page for page in pages if re.match(r"chapters/\d", page))
    for caption, numbers in PARTS.items():
        part = [page[: -len(".ipynb")] for page in numbered if int(Path(page).name[:2]) in numbers]
        if part:
            tree(caption, part)
    tree("Guides", [page.rpartition(".")[0] for page in GUIDES if page in pages])
    for folder in ("exercises", "solutions"):  # the notebooks of both are called «Exercises»
        found = sorted(page for page in pages if page.startswith(f"{folder}/"))
        tree(folder.title(), [f"{title(page)} <{page[: -len('.ipynb')]}>" for page in found], True)
    return "\n".join(lines)


def title(page):
    """The heading of the chapter that an exercise or solution notebook belongs to."""
    notebook = json.loads((ROOT / "chapters" / Path(page).name).read_text(encoding="utf-8"))
    return "".join(notebook["cells"][0]["source"]).partition("\n")[0].removeprefix("# ")


if __name__ == "__main__":
    sys.exit(main())
