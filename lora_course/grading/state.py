"""What a run of grading begins with: its secret, its variants, and what was graded before."""

import hashlib
import hmac
import json
from pathlib import Path

from lora_course.grading import catalog
from lora_course.grading.box import jail, room
from lora_course.plumbing.files import reason, sweep, write_atomically

RECORDS = ".records"  # inside the folder of results: one file for each graded submission


class CannotGrade(Exception):
    """Grading cannot start; the text says why and what to do."""


def read_secret(secret):
    """The bytes of the course secret. Raises CannotGrade."""
    if secret is None or isinstance(secret, bytes):
        return secret
    try:
        found = Path(secret).read_bytes().strip()
    except OSError as error:
        raise CannotGrade(f"The secret {secret} cannot be read: {reason(error)}.") from error
    if len(found) < 16:
        raise CannotGrade(f"The secret in {secret} is too short: 16 characters or more, at random.")
    return found


def prepare(out):
    """The folder of records, tried out before any work is done. Raises CannotGrade."""
    try:
        state = out / RECORDS
        write_atomically(state / "about.txt", "One file for each graded submission.\n")
        sweep(state)
        return state
    except OSError as error:
        raise CannotGrade(f"The results cannot be written to {out}: {reason(error)}.") from error


def check_variants(variants):
    """Raises CannotGrade for a variant that there is not."""
    from lora_course.grading.other_tasks import TASKS

    for variant in variants:
        if variant not in TASKS:
            known = "\n".join(f"  --variant {name}   {task}" for name, task in TASKS.items())
            raise CannotGrade(f"There is no variant {variant}. These are here:\n{known}")


def key(submission, secret, variants, timeout=30.0):
    """Changes whenever grading again could give another record."""
    mark = hmac.new(secret, b"which secret", "sha256").hexdigest() if secret else ""
    parts = submission.student, submission.file, submission.chapter, submission.digest
    parts += submission.problem, mark, *variants, *submission.flags, catalog.version()
    parts += float(timeout), jail.MEMORY, room.DISK, room.THREADS, submission.canvas_id
    said = json.dumps(parts).encode()
    return hashlib.sha256(said).hexdigest()[:32]


def load_record(path):
    """An earlier record, None where there is none that can be used."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        return found if isinstance(found, dict) and "exercises" in found else None
    except (OSError, ValueError):
        return None
