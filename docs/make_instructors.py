"""Writes docs/exercises.md, the instructor's list of exercises: python docs/make_instructors.py

Made from lora_course/checks/chNN.py and tests/answers/chNN.py, so that it stays true: the wrong
answers in it are those that the tests run, and the replies are those that a check gives.
"""

import importlib
import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TARGET = ROOT / "docs/exercises.md"
HEAD = """\
<!-- Made by `python docs/make_instructors.py`; change the checks and the lists of answers. -->

# Exercises, their points, and the wrong answers they get

For instructors; the [guide](instructors.md) says how to use it. Each table has the wrong answers
that the tests run: what the learner did, and what the check says to it. That is also what to say
to the learner. A check says more than the table: what was seen and what was expected.

<a id="contents"></a>

| Chapter | Minutes to read and run | Exercises | Minutes for them | Points |
|---|---:|---:|---:|---:|
"""


def main():
    sys.path.insert(0, str(ROOT))
    TARGET.write_text(page(), encoding="utf-8", newline="\n")
    print(f"{TARGET.relative_to(ROOT)} is written.")


def page():
    """The whole file as text: the chapters that have a source, checks and answers."""
    rows, parts, total = [], [], [0, 0, 0, 0]
    for source in sorted((ROOT / "chapters/source").glob("[0-9][0-9]_*.py")):
        chapter = f"ch{source.name[:2]}"
        needed = f"lora_course/checks/{chapter}.py", f"tests/answers/{chapter}.py"
        if not all((ROOT / path).is_file() for path in needed):
            continue
        checks = importlib.import_module(f"lora_course.checks.{chapter}").EXERCISES
        wrong = importlib.import_module(f"tests.answers.{chapter}").WRONG
        name, reading = about(source)
        facts = [
            reading,
            len(checks),
            sum(c.minutes for c in checks),
            sum(c.points for c in checks),
        ]
        total = [a + b for a, b in zip(total, facts, strict=True)]
        rows.append(f"| {link(chapter, name)} | {' | '.join(map(str, facts))} |")
        links = [link(c.key.replace(".", "-"), c.label) for c in checks]
        links.append(link("contents", "all chapters"))
        parts += [f'<a id="{chapter}"></a>\n\n## {name}', " · ".join(links)]
        parts += [
            exercise(check, [a for a in wrong if a.exercise == check.name]) for check in checks
        ]
    rows.append(f"| All | {' | '.join(map(str, total))} |")
    return HEAD + "\n".join(rows) + "\n\n" + "\n\n".join(parts) + "\n"


def about(source):
    """Number and title of a chapter, and the minutes that its first cell names."""
    first = source.read_text(encoding="utf-8")[:2000]
    title = re.sub(r"^\d\d\W+", "", re.search(r"(?m)^# # (.+)$", first)[1])
    minutes = re.search(r"[Aa]bout\s+(\d+)\s+minutes", first.replace("\n#", ""))
    if not minutes:
        sys.exit(f"{source.name}: the first cell must say: About N minutes")
    return f"{source.name[:2]} {title}", int(minutes[1])


def link(anchor, words):
    """HTML: GitHub and the site make other anchors of a heading."""
    return f'<a href="#{anchor}">{words}</a>'


def exercise(check, wrong):
    """One exercise: its facts, its wrong answers by mistake, and what else its check can say."""
    facts = f"Difficulty {check.difficulty}/5 · {check.minutes} minutes · {check.points} points"
    names = ", ".join(f"`{name}`" for name in check.wants)
    anchor = f'<a id="{check.key.replace(".", "-")}"></a>'
    lines = [anchor, "", f"### {check.label}", "", f"{facts} · defines {names}", ""]
    lines += [f"A pass shows: {check.verified}.", "", "| The learner … | Say |", "|---|---|"]
    for key in dict.fromkeys(answer.mistake for answer in wrong):
        notes = "; ".join(cell(a.note) for a in wrong if a.mistake == key)
        lines.append(f"| {notes} | {cell(advice(check, key))} |")
    nudge = check.hints[0].strip().replace("\n", " ")
    return "\n".join([*lines, "", f"Still stuck? The first hint: {nudge}"])


def advice(check, key):
    """What the check says to a mistake."""
    from lora_course.checks.messages import GENERIC

    found = check.mistakes.get(key) or GENERIC.get(key)
    if not found and key.startswith("raised"):
        found = check.mistakes.get("raised") or "(The exception and the line that raised it.)"
    if not found:
        found = "(What was seen, and what was expected.)"
    word = found.split()[0]  # the name of something keeps its spelling
    return (
        found if "_" in word or (len(word) == 1 and word != "a") else found[:1].upper() + found[1:]
    )


def cell(text):
    """Text for a cell of a Markdown table."""
    return " ".join(text.split()).replace("|", "\\|")


if __name__ == "__main__":
    main()
