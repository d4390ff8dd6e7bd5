"""All properties of the rubric in their order, the judgement of a folder, and its report.

python -m lora_course.rubric.judge project        exit status 1 while something is open
"""

import sys
from typing import NamedTuple

from lora_course.rubric.card_facts import card_complete, card_true
from lora_course.rubric.conduct import old_skills, score, stops
from lora_course.rubric.project import Project
from lora_course.rubric.release import (
    adapter_loads,
    adapter_only,
    base_named,
    merged_is_adapter,
    merged_is_plain,
    tokenizer_saved,
)
from lora_course.rubric.used_rows import (
    good_rows_kept,
    no_copies,
    no_leak,
    no_wrong_labels,
    one_format,
)

RUBRIC = (
    no_leak, no_copies, no_wrong_labels, good_rows_kept, one_format, adapter_only, adapter_loads,
    base_named, merged_is_plain, merged_is_adapter, tokenizer_saved, score, stops, old_skills,
    card_complete, card_true,
)  # fmt: skip


class Property(NamedTuple):
    """One judged property. holds: True, False, or None where it cannot be judged."""

    name: str
    sentence: str
    holds: bool | None
    seen: str


def judge_project(folder, seed=0, rules=RUBRIC):
    """A Property for each property. What cannot be read is a property that fails.

    seed: of the hidden rows. rules: some of RUBRIC.
    """
    project, found = Project(folder, seed), []
    for rule in rules:
        try:
            holds, seen = rule(project)
        except Exception as error:
            holds, seen = False, f"{type(error).__name__}: {str(error).splitlines()[0][:100]}"
        sentence = rule.__doc__.splitlines()[0]
        found.append(Property(rule.__name__.replace("_", " "), sentence, holds, seen))
    return found


def as_lines(findings):
    """The findings as lines of text, and the count at the end."""
    marks = {True: "ok  ", False: "OPEN", None: "-   "}
    lines = [f"{marks[f.holds]} {f.name:17} {f.seen}" for f in findings]
    lines += [f"     -> {f.sentence}" for f in findings if f.holds is False]
    asked = [f for f in findings if f.holds is not None]
    return "\n".join([*lines, f"{sum(f.holds for f in asked)} of {len(asked)} properties hold."])


if __name__ == "__main__":
    results = judge_project(sys.argv[1])
    print(as_lines(results))
    sys.exit(any(f.holds is False for f in results))
