"""What rules find, and the table of it."""

import textwrap
from dataclasses import dataclass, replace

MARKS = {"problem": "PROBLEM", "warning": "warning", "ok": "ok", "not examined": "not examined"}


class Undecided(Exception):
    """Raised by a rule that cannot be decided; its text says why."""


@dataclass(frozen=True)
class Finding:
    """What one rule says of one run. verdict: one of MARKS. chapter: where it is explained."""

    verdict: str
    saw: str = ""
    do: str = ""
    rule: str = ""
    chapter: int = 0


def ok(saw=""):
    return Finding("ok", saw)


def warning(saw, do):
    return Finding("warning", saw, do)


def problem(saw, do):
    return Finding("problem", saw, do)


class Report:
    """The findings of one examination. Truthy when nothing is wrong; print it to read it.

    findings: of every rule, in their order. problems, warnings, not_examined: those with that
    verdict. table(): all rows, what is well and what was not examined included.
    """

    def __init__(self, findings):
        self.findings = list(findings)
        self.problems, self.warnings, self.not_examined = (
            [f for f in self.findings if f.verdict == verdict]
            for verdict in ("problem", "warning", "not examined")
        )

    def __bool__(self):
        return not self.problems and not self.warnings

    def table(self):
        """Every rule with its verdict, as text."""
        return "\n".join([_row(f) for f in self.findings] + [self._sum()])

    def _sum(self):
        well = len(self.findings) - sum(map(len, (self.problems, self.warnings, self.not_examined)))
        told = [f"{well} rules ok", f"{len(self.not_examined)} not examined"]
        if self.warnings:
            told.insert(0, _count(self.warnings, "warning"))
        if self.problems:
            told.insert(0, _count(self.problems, "problem"))
        return f"preflight: {', '.join(told)}" + (", nothing found" if self else "")

    def __str__(self):
        rows = [_row(f) for f in self.problems + self.warnings]
        return "\n".join(rows + [self._sum()])

    def __repr__(self):
        return f"<Report: {self._sum().removeprefix('preflight: ')}>"


def named(function, finding, chapter):
    """The finding with the name of the rule that made it, read as words, and its chapter."""
    return replace(finding, rule=function.__name__, chapter=chapter)


def _row(finding):
    head = f"{MARKS[finding.verdict]}: {finding.rule.replace('_', ' ')}"
    head += f"  (chapter {finding.chapter:02})" if finding.chapter else ""
    lines = [head]
    for word, text in (("saw", finding.saw), ("do", finding.do)):
        if text:
            shown = textwrap.wrap(text, 88, break_long_words=False)
            lines += [f"  {word if n == 0 else '':4}{line}" for n, line in enumerate(shown)]
    return "\n".join(lines)


def _count(things, word):
    return f"{len(things)} {word}{'s' if len(things) > 1 else ''}"


def some(names, most=3):
    """A list of names as text, cut after `most`, with how many follow."""
    names = [str(name) for name in names]
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
