"""The judge's side of one box: sends inputs, judges what comes back. Trusted, see trusted.py."""

import contextlib
import json
import signal
from functools import cache
from typing import NamedTuple

from lora_course.checks.verdicts import Verdict, decide
from lora_course.grading.box import wire
from lora_course.grading.outcome import Outcome, fault, outcome, told

JUDGE_SECONDS = 20  # of processor time
WAYS = ("last", "first")  # see program_slice.run_answer


class Said(NamedTuple):
    """One box. ways: other ways to run the notebook that could matter; fault: see outcome.fault.

    pace: the share of a core that it got, while it wanted one.
    """

    outcome: Outcome
    ways: tuple = ()
    fault: str = ""
    pace: float = 1.0


def once(warm, order, check, seeds, hidden, timeout, longer=1.0):
    """Said by one box. longer: times `timeout` that it has, on a busy machine."""
    deadline, opened, numbers, box, late = wire.Deadline(longer * timeout), [], [], None, False

    def answer(number, seed):
        numbers.append(number)
        inputs = made(check, seed)
        wire.send(box.channel, b"a", wire.pack_arrays(inputs), deadline)
        kind, said = wire.receive(box.channel, b"aw", deadline)
        verdict = told(check, said) if kind == b"w" else verdict_on(check, inputs, said)
        opened.append(verdict) if number < len(seeds) else None
        return verdict

    try:
        with warm.box() as box:
            wire.send(box.channel, b"o", json.dumps(order).encode(), deadline)
            kind, said = wire.receive(box.channel, b"kw", deadline)
            if kind == b"w":
                return Said(
                    outcome(check, told(check, said)),
                    ways_in(wire.unpack_words(said).get("ways", "")),
                )
            found, rest = outcome(check, *decide(answer, seeds, hidden), bool(seeds)), b""
            if found.share < 1:
                with contextlib.suppress(wire.Torn):  # what it has answered counts
                    wire.send(box.channel, b"q", b"", deadline)
                    rest = wire.receive(box.channel, b"q", deadline)[1]
        short = found.share < 1 and box.word.get("short")
        return Said(
            found, ways_in(rest.decode("ascii", "replace")), "no room on the disk" if short else ""
        )
    except wire.Late:
        late = True
        lost = Verdict(0.0, "_late", f"{timeout:g}")
    except wire.Torn:
        lost = Verdict(0.0, "_torn", box.word.get("why", ""))
    whose, cpu = fault(box.word, late, timeout), box.word.get("cpu", 0)
    pace = max(cpu, 0.1) / max(cpu + box.word.get("waited", 0), 0.1)
    if len(numbers) > len(seeds):  # on a secret input: how it was lost is a secret too
        lowest = min(opened, key=lambda verdict: verdict.share, default=Verdict(1.0))
        return Said(outcome(check, lowest, Verdict(0.0, "other"), bool(seeds)), (), whose, pace)
    return Said(outcome(check, lost), (), whose, pace)


def ways_in(words):
    """The ways that a box names, whatever it says."""
    return tuple(way for way in WAYS if way in words[:40].split())


@cache
def made(check, seed):
    """The inputs of one seed, the same for every submission."""
    return check.inputs(seed)


def verdict_on(check, inputs, payload):
    """The verdict on what a box sent. An error of this machine is none of the student's."""
    outputs = wire.unpack_arrays(payload)
    signal.setitimer(signal.ITIMER_PROF, JUDGE_SECONDS)  # its handler raises TimeoutError
    try:
        return check.verdict(inputs, outputs, strict=True)
    except (ImportError, OSError) as error:
        if not isinstance(error, TimeoutError):
            raise
        return Verdict(0.0, "other")
    except Exception:
        return Verdict(0.0, "other")
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
