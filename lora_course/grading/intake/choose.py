"""Which of several notebooks of one chapter counts: what is in it decides, not its time."""

import ast
import functools
import json
import re

from lora_course.grading import catalog
from lora_course.grading.box import magics
from lora_course.grading.intake import submitted

COPY = re.compile(r"[\s_-]*(?:\((\d+)\)|copy ?(\d*)|-?[Cc]opy(\d+))$")


def weigh(cells, chapter):
    """(answers of the student's own, exercises that are in it, it holds only published answers).

    An answer is its student's own when it is neither the stub nor published with the course.
    """
    wants, made = set(catalog.wanted_names().get(chapter, ())), {}
    for name, text in definitions(cells, wants):
        made.setdefault(name, set()).add(text)
    texts, published = set().union(*made.values()), _published(chapter)
    own = sum(bool(found - published) for found in made.values())
    return own, len(made), own == 0 and bool(texts - _of("exercises", chapter))


def definitions(cells, wants):
    """Yields (name, what it is made of, without its words) of each answer that is Python."""
    for source in cells:
        if not any(want in source for want in wants):
            continue
        try:
            body = magics.tree(source, "<cell>")[0].body
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            continue
        for node in body:
            for name in _names(node) & wants:
                try:
                    yield name, _bare(node)
                except (RecursionError, MemoryError):
                    yield name, source


def age(path, about):
    """Later is larger: time, number of a copy, name."""
    copy = COPY.search(path.stem)
    number = int(next((g for g in copy.groups() if g), 1)) if copy else 0
    return int(about.st_mtime), number, path.name


def _names(node):
    if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
        return {node.name}
    targets = getattr(node, "targets", None) or [getattr(node, "target", None)]
    return {t.id for t in targets if isinstance(t, ast.Name)}


def _bare(node):
    """The syntax tree as text, without docstrings and positions."""
    for part in ast.walk(node):
        body = getattr(part, "body", None)
        if isinstance(part, (ast.FunctionDef, ast.ClassDef)) and ast.get_docstring(part, False):
            part.body = body[1:]
    return ast.dump(node)


@functools.cache
def _published(chapter):
    return _of("exercises", chapter) | _of("solutions", chapter) | _of("chapters", chapter)


@functools.cache
def _of(folder, chapter):
    wants, found = set(catalog.wanted_names().get(chapter, ())), set()
    for path in (catalog.ROOT / folder).glob(f"{chapter}_*.ipynb"):
        nb = json.loads(path.read_text(encoding="utf-8"))
        cells = submitted.code_sources(json.dumps(nb).encode())
        found |= {text for _, text in definitions(cells, wants)}
    return frozenset(found)
