"""Text of students made harmless: folder names, cells of a table, XML, Markdown."""

import hashlib
import html
import re
import unicodedata
from collections import Counter

LONGEST = 80  # bytes of a folder name: leaves room on every file system
OURS = {"grades.csv", "canvas.csv", "junit.xml", "summary.md", "results.json", "feedback.html"}
OURS |= {"records.json"}
WINDOWS = {"con", "prn", "aux", "nul", *(f"{p}{n}" for p in ("com", "lpt") for n in range(1, 10))}
FORMULA = "=+-@＝＋－＠"  # a spreadsheet may take a text that begins so for a formula
CONTROL = re.compile("[^\t\n\x20-\x7e\xa0-\ud7ff\ue000-\ufdcf\ufdf0-\ufffd\U00010000-\U0010ffff]")
# What changes the direction of the text around it, and what cannot be seen.
UNSEEN = re.compile("[\u200b\u200e\u200f\u2028-\u202e\u2060-\u2069\ufeff]")


def clean(text):
    """The text without control characters, half ones, and marks that move it; lines stay."""
    text = str(text).encode("utf-8", "replace").decode("utf-8").replace("\r\n", "\n")
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text)  # colors of a terminal
    return UNSEEN.sub("", CONTROL.sub("", text))


def line(text):
    """The text on one line."""
    return " ".join(clean(text).split())


def cell(text):
    """The text for a CSV file; one that a spreadsheet would run as a formula gets a ' before it."""
    text = line(text)
    return f"'{text}" if text[:1] and text[0] in FORMULA else text


def markdown(text):
    """The text for Markdown: no mark of it means anything."""
    escaped = "".join(c if c.isalnum() or c in " .,:;/-()" else f"&#{ord(c)};" for c in line(text))
    escaped = re.sub(r"(?<=[^\W_])&#95;(?=[^\W_])", "_", escaped)  # inside a word it stays itself
    return re.sub(r"(?i)\b(https?|www)(?=[:.])", r"\1<!-- -->", escaped)


def markup(text):
    """The text for HTML, on one line, its direction kept to itself."""
    return f"<bdi>{html.escape(line(text))}</bdi>"


# Letters of other scripts that read like Latin ones.
ALIKE = str.maketrans(
    "авсԁеѕһіјкӏмпорԛгтуѵѡхАВСЕНІЈКМОРЅТУХΑΒΕΖΗΙΚΜΝΟΡΤΥΧοανρυιτκı",
    "abcdeshijklmnopqrtyvwxABCEHIJKMOPSTYXABEZHIKMNOPTYXoavpuitki",
)


def shown(students):
    """{student: one line}: no two read alike; a part of a hash tells apart those that would."""
    lines = {student: line(student) for student in students}
    alike = Counter(_seen(text) for text in lines.values())

    def plain(student, text):
        return student == text and text.isascii()  # the name that the others resemble

    return {
        s: text if alike[_seen(text)] == 1 or plain(s, text) else f"{text} [{_hash(s)}]".strip()
        for s, text in lines.items()
    }


def _seen(text):
    """What is left of a name when what the eye does not see is taken away."""
    text = unicodedata.normalize("NFKD", text).translate(ALIKE)
    kept = (c for c in text if unicodedata.category(c) not in ("Cf", "Mn", "Cc", "Lm", "Sk"))
    return unicodedata.normalize("NFKC", " ".join("".join(kept).split()))


def folders(students):
    """{student: folder name}: safe on every system, and different even where case does not count.

    A name that had to be changed, that another one resembles, or that looks as if it carried a
    hash, gets a part of its hash behind it.
    """
    plain = {student: _plain(student) for student in students}
    seen = Counter(_folded(name) for name in plain.values())

    def kept(student, name):
        same = name == unicodedata.normalize("NFC", student) and seen[_folded(name)] == 1
        return same and _folded(name) not in OURS and not re.search(r"-[0-9a-f]{8}$", name)

    return {s: n if kept(s, n) else f"{n}-{_hash(s)}" for s, n in plain.items()}


def _plain(student):
    """Letters and digits of any script, and - _ . inside; everything else becomes _."""
    text = unicodedata.normalize("NFC", clean(student))
    kept = "".join(c if unicodedata.category(c)[0] in "LMN" or c in "-_. " else "_" for c in text)
    kept = kept.strip(" .").encode()[:LONGEST].decode("utf-8", "ignore").strip(" .")
    return f"_{kept}" if kept.casefold().partition(".")[0] in WINDOWS else kept or "student"


def _folded(name):
    return unicodedata.normalize("NFKC", name).casefold()


def _hash(student):
    return hashlib.sha256(str(student).encode("utf-8", "surrogatepass")).hexdigest()[:8]
