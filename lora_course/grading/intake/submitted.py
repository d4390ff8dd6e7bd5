"""A submitted notebook as the sources of its code cells, whatever state the file is in."""

import json
import os
import re
import stat

MOST = 20 << 20  # bytes; an exercise notebook with its outputs stays below 1 MB
PARTS = 400_000  # values in the JSON of one notebook
CODE = 256 << 10  # bytes of code in one notebook
# These hold what is asked for.
ELSEWHERE = ("peft", "loralib", "adapters", "unsloth", "bitsandbytes", "torchtune", "litgpt", "trl")
ELSEWHERE += ("torchao", "swift", "llamafactory", "xtuner", "lora_course")


class Unreadable(Exception):
    """Nothing can be graded; the text says why, for the student."""


def read_bytes(path):
    """The bytes of a submission: an ordinary file, no link. Raises Unreadable."""
    try:
        handle = os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | _NO_WAIT)
    except OSError as error:
        if os.path.islink(path):
            raise Unreadable("The file is a link to another place; hand in the file.") from error
        raise Unreadable(f"The file cannot be read: {error.strerror}.") from error
    with os.fdopen(handle, "rb") as file:
        about = os.fstat(handle)
        if not stat.S_ISREG(about.st_mode):
            raise Unreadable("This is no ordinary file.")
        if about.st_size > MOST:
            raise Unreadable(
                f"The file has {about.st_size >> 20} MB, the limit is {MOST >> 20} MB: clear its "
                "outputs and hand it in again."
            )
        try:
            return file.read(MOST + 1)
        except OSError as error:
            raise Unreadable(f"The file cannot be read: {error.strerror}.") from error


_NO_WAIT = getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)


def code_sources(content):
    """Sources of the code cells of a notebook (bytes), in order. Raises Unreadable.

    The memory that it takes stays below ten times the file's size, whatever is in the file.
    """
    if not content.strip():
        raise Unreadable("The file is empty.")
    if content[:2] in (b"\xff\xfe", b"\xfe\xff"):  # a text editor on Windows
        content = content.decode("utf-16", "replace").encode("utf-8", "replace")
    if sum(content.count(mark) for mark in (b",", b"[", b"{")) > PARTS:
        raise Unreadable("The file has too many parts: clear its outputs and hand it in again.")
    # Bytes that are not ASCII stay bytes until `_source`: one emoji would make a text of 4 bytes
    # a character of all of it.
    text = content.removeprefix(b"\xef\xbb\xbf").decode("ascii", "surrogateescape")
    try:
        notebook = json.loads(text, strict=False)
    except (ValueError, RecursionError, MemoryError) as error:
        raise Unreadable(f"This is no notebook: its JSON is broken ({_where(error)}).") from error
    cells = notebook.get("cells") if isinstance(notebook, dict) else None
    if cells is None and isinstance(notebook, dict):  # format 3 and older
        sheets = notebook.get("worksheets")
        sheets = [s for s in sheets if isinstance(s, dict)] if isinstance(sheets, list) else []
        cells = [c for s in sheets for c in _list(s.get("cells"))] if sheets else None
    if not isinstance(cells, list):
        raise Unreadable("This is no notebook: it has no cells.")
    cells = [c for c in cells if isinstance(c, dict) and c.get("cell_type") == "code"]
    sources = [_source(cell) for cell in cells]
    size = sum(len(source.encode()) for source in sources)
    if size > CODE:
        raise Unreadable(f"It has {size >> 10} KB of code; the limit is {CODE >> 10} KB.")
    return sources


def _list(value):
    return value if isinstance(value, list) else []


def _source(cell):
    source = cell.get("source", cell.get("input", ""))
    source = (
        "".join(s for s in source if isinstance(s, str)) if isinstance(source, list) else source
    )
    source = source if isinstance(source, str) else ""
    try:
        return source.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    except UnicodeEncodeError:  # half a character, written as an escape
        return source.encode("utf-8", "replace").decode()


def _where(error):
    return (
        f"line {error.lineno}" if isinstance(error, json.JSONDecodeError) else type(error).__name__
    )


def chapter_of(cells, name, known):
    """The chapter that a notebook is about, or "". known: {chapter: names its exercises want}.

    What stands in the notebook counts more than the name of its file.
    """
    text = "\n".join(cells)
    found = re.findall(r"lora_course\.checks(?:\.|\s+import\s+)ch(\d\d)\b", text)
    found += re.findall(r"(?<!\d)(\d\d)_", name)
    found = [chapter for chapter in found if chapter in known]
    if found:
        return found[0]
    defined = set(re.findall(r"(?m)^(?:def|class)\s+(\w+)", text))
    best = max(known, key=lambda chapter: len(defined & set(known[chapter])), default="")
    return best if best and defined & set(known[best]) else ""


NAME = rf"((?:{'|'.join(ELSEWHERE)})\b[\w.]*)"
OTHER_WAYS = r"__import__|importlib|\bsys\.modules\b|\bpkgutil\b|\brunpy\b|\bimp\.|zipimport"
OTHER_WAYS += r"|__builtins__|__loader__|(?<![\w.])(?:exec|eval|compile)\s*\("


def flags(cells, allowed):
    """Imports of libraries that hold what the exercise asks for. allowed: source of the setup."""
    mine = _imported(allowed) | {"lora_course.checks"}
    mine |= {name.partition(".")[0] for name in mine} - {"lora_course"}
    text = "\n".join(cells)
    found = sorted(_imported(text))
    found = [n for n in found if n not in mine and not n.startswith(tuple(f"{m}." for m in mine))]
    said = [f"imports {name}, which may hold what the exercise asks for" for name in found]
    if re.search(OTHER_WAYS, text):
        said.append("runs or imports by another way (importlib, __import__, sys.modules, exec)")
    return said


def _imported(text):
    """Names of such libraries that the code imports, wherever in a line, or names in a text."""
    text = re.sub(r"\\\n", " ", text)
    found = set(re.findall(rf"\bfrom\s+{NAME}\s+import\b", text))
    for names in re.findall(r"\bimport[ \t]+([\w., \t]*)", text):  # also: import math, peft as p
        found |= set(re.findall(rf"(?:^|,)\s*{NAME}", names))
    quoted = re.findall(rf"[\"']{NAME}[\"']", text)  # import_module("peft")
    return found | {name for name in quoted if name != "adapters"}
