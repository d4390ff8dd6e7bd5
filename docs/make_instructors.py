"""Writes docs/exercises.md and a page for each chapter: python docs/make_instructors.py

Made from lora_course/checks/chNN.py and tests/answers/chNN.py, so that it stays true: the wrong
answers in it are those that the tests run, and the replies are those that a check gives.
"""

import importlib
import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
MADE = "<!-- Made by `python docs/make_instructors.py`; change the checks and the answers. -->\n\n"
HEAD = """\
# Exercises, their points, and the wrong answers they get

For instructors; the [guide](instructors.md) says how to use it. Each chapter has a page. Its tables
have the wrong answers that the tests run: what the learner did, and what the check says to it. That
is also what to say to the learner. A check says more than the table: what was seen and what was
expected.

| Chapter | Minutes to read and run | Exercises | Minutes for them | Points |
|---|---:|---:|---:|---:|
"""


def main():
    sys.path.insert(0, str(ROOT))
    made = pages()
    for old in (DOCS / "exercises").glob("*.md"):
        if f"exercises/{old.name}" not in made:
            old.unlink()
    for name, text in made.items():
        (DOCS / name).parent.mkdir(exist_ok=True)
        (DOCS / name).write_text(text, encoding="utf-8", newline="\n")
    print(f"docs/exercises.md and {len(made) - 1} pages are written.")


def pages():
    """{name in docs/: text}, for the chapters that have a source, checks and answers."""
    rows, made, total = [], {}, [0, 0, 0, 0]
    for source in sorted((ROOT / "chapters/source").glob("[0-9][0-9]_*.py")):
        chapter = f"ch{source.name[:2]}"
        needed = f"lora_course/checks/{chapter}.py", f"tests/answers/{chapter}.py"
        if not all((ROOT / path).is_file() for path in needed):
            continue
        checks = importlib.import_module(f"lora_course.checks.{chapter}").EXERCISES
        wrong = importlib.import_module(f"tests.answers.{chapter}").WRONG
        name, reading = about(source)
        minutes, points = sum(c.minutes for c in checks), sum(c.points for c in checks)
        facts = [reading, len(checks), minutes, points]
        total = [a + b for a, b in zip(total, facts, strict=True)]
        page = f"exercises/{source.name[:2]}.md"
        rows.append(f"| [{name}]({page}) | {' | '.join(map(str, facts))} |")
        links = [f'<a href="#{c.name}">{c.label}</a>' for c in checks]
        links.append("[all chapters](../exercises.md)")
        parts = [f"# Answers to {name}", " · ".join(links)]
        parts += [exercise(c, [a for a in wrong if a.exercise == c.name]) for c in checks]
        made[page] = MADE + "\n\n".join(parts) + "\n"
    rows.append(f"| All | {' | '.join(map(str, total))} |")
    return {"exercises.md": MADE + HEAD + "\n".join(rows) + "\n", **made}


def about(source):
    """Number and title of a chapter, and the minutes that its first cell names."""
    first = source.read_text(encoding="utf-8")[:2000]
    title = re.sub(r"^\d\d\W+", "", re.search(r"(?m)^# # (.+)$", first)[1])
    minutes = re.search(r"[Aa]bout\s+(\d+)\s+minutes", first.replace("\n#", ""))
    if not minutes:
        sys.exit(f"{source.name}: the first cell must say: About N minutes")
    return f"{source.name[:2]} {title}", int(minutes[1])


def exercise(check, wrong):
    """One exercise: its facts, its wrong answers by mistake, and what else its check can say."""
    facts = f"Difficulty {check.difficulty}/5 · {check.minutes} minutes · {check.points} points"
    names = ", ".join(f"`{name}`" for name in check.wants)
    anchor = f'<a id="{check.name}"></a>'  # GitHub and the site make other anchors of a heading
    lines = [anchor, "", f"## {check.label}", "", f"{facts} · defines {names}", ""]
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
