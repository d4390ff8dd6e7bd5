"""A class in parts: `--shard 3/10` grades a share of it, and `lora-course report` joins the shares.

Who is in which share depends on the student's name and on nothing else. Each run writes
records.json into its folder of results: all its records, and what they were graded with. Shares
make one report only when they are all there, each once, and were graded alike.
"""

import hashlib
import hmac
import json
from pathlib import Path
from typing import NamedTuple

from lora_course.grading import catalog
from lora_course.grading.box import jail, room
from lora_course.grading.results.reports import in_order, write_reports
from lora_course.grading.state import CannotGrade
from lora_course.plumbing.files import reason, write_atomically

FILE = "records.json"
ALL = (1, 1)
ALIKE = {  # what all shares must have in common, and what to say where they have not
    "of": "are shares of {} and of {}. Take those of one division",
    "version": "were graded with other versions of the course, {} and {}",
    "secret": "were graded with other secrets, or one of them without",
    "variants": "were graded with other variants, {} and {}",
    "timeout": "were graded with other limits, --timeout {} and {}",
    "limits": "were graded with other limits, {} and {}",
    "chapter": "were graded with other values of --chapter, {} and {}",
    "handed_in": "are of other submissions: something was handed in, or changed, between them",
}


class Part(NamedTuple):
    """What one run has graded. about: with what; shard: (3, 10)."""

    folder: Path
    about: dict
    shard: tuple
    records: list


def in_shard(submissions, shard):
    """Those of the students in this share; (3, 10) is the third of ten."""
    number, of = shard
    return [s for s in submissions if _place(s.student, of) == number]


def _place(student, of):
    digest = hashlib.sha256(student.encode("utf-8", "surrogatepass")).digest()
    return int.from_bytes(digest[:8], "big") % of + 1


def terms(submissions, secret, variants, timeout, chapter):
    """What decides about the marks of a class beside its code: equal in all shares of it."""
    everything = sorted([s.student, s.file, s.chapter, s.digest] for s in submissions)
    return {
        "version": catalog.version(),
        "secret": hmac.new(secret, b"which shares", "sha256").hexdigest()[:16] if secret else "",
        "variants": sorted(variants),
        "timeout": float(timeout),
        "limits": [jail.MEMORY, room.DISK, room.THREADS],
        "chapter": chapter or "",
        "handed_in": hashlib.sha256(json.dumps(everything).encode()).hexdigest()[:16],
    }


def check_place(out, shard=ALL):
    """Raises CannotGrade when the folder of results holds another share."""
    try:
        there = read_part(out).shard
    except CannotGrade:  # nothing there, or nothing that can be used
        return
    if there != shard:
        held = "a whole class" if there == ALL else f"share {_said(there)}"
        raise CannotGrade(f"{out} holds the results of {held}. Name another folder with --out.")


def write(records, out, known, shard=ALL):
    """The reports, and beside them what `join_parts` reads. Raises CannotGrade."""
    found = {"about": known, "shard": list(shard), "records": in_order(records)}
    try:
        write_reports(records, out)
        write_atomically(Path(out) / FILE, json.dumps(found, indent=1))
    except OSError as error:
        raise CannotGrade(f"The reports could not be written to {out}: {reason(error)}.") from error


def read_part(folder):
    """The Part in a folder of results. Raises CannotGrade."""
    path = Path(folder) / FILE
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        number, of = map(int, found["shard"])
        known = {**found["about"], "of": of}
        if not 1 <= number <= of < 10**5 or any("exercises" not in r for r in found["records"]):
            raise ValueError
        return Part(Path(folder), known, (number, of), list(found["records"]))
    except FileNotFoundError:
        raise CannotGrade(
            f"There is no {FILE} in {folder}. `lora-course grade` writes it when it has ended; run "
            "it again with the same --out."
        ) from None
    except OSError as error:
        raise CannotGrade(f"{path} cannot be read: {reason(error)}.") from error
    except (ValueError, KeyError, TypeError) as error:
        raise CannotGrade(f"{path} is damaged. Grade this share again.") from error


def join_parts(folders, out):
    """Joins the shares in these folders into one report in `out`; returns all records.

    Raises CannotGrade where a share is missing, there twice, or graded in another way.
    """
    check_place(out)
    first, *others = parts = [read_part(folder) for folder in folders]
    for other in others:
        for name, words in ALIKE.items():
            pair = first.about.get(name), other.about.get(name)
            if pair[0] != pair[1]:
                said = words.format(*(_word(value) for value in pair))
                raise CannotGrade(f"{first.folder} and {other.folder} {said}.")
    seen = {}
    for part in parts:
        if earlier := seen.get(part.shard):
            said = f"Share {_said(part.shard)} is there twice, in {earlier} and {part.folder}."
            raise CannotGrade(f"{said} Name each once.")
        seen[part.shard] = part.folder
        for record in part.records:
            if (_place(record["student"], part.shard[1]), part.shard[1]) != part.shard:
                raise CannotGrade(
                    f"{part.folder}: {record['student']} is not in share {_said(part.shard)}."
                )
    of = first.about["of"]
    missing = [_said((n, of)) for n in range(1, of + 1) if (n, of) not in seen]
    if missing:
        raise CannotGrade(
            f"Missing: {', '.join(missing[:20])}. Grade these shares, then join again."
        )
    records = [record for part in parts for record in part.records]
    write(records, out, {k: v for k, v in first.about.items() if k != "of"})
    return records


def _said(shard):
    return f"{shard[0]}/{shard[1]}"


def _word(value):
    return ", ".join(map(str, value)) or "none" if isinstance(value, list) else value or "none"
