"""Does every check reject every small slip? Mutants of the solutions, run against their checks.

python -m tests.mutants 03              all mutants of chapter 03; survivors are printed
python -m tests.mutants 03 grow_rank    one exercise
python -m tests.mutants 03 --list       only the mutants, not run

A mutant that gets full points on every seed has survived. Either the check learns to reject it,
or the mutant is as right as the solution: then its diff goes into tests/equivalent/ch03.txt, as
printed, with the reason on a line that begins with "= ". An entry "@ exercise" whose diff is the
line "~ gradients" covers all mutants of the exercise that only cut gradients (no_grad, detach);
"~ every" covers all of them, for an exercise in which whatever passes is right.
"""

import argparse
import contextlib
import io
import linecache
import os
import random
import resource
import signal
import sys
import tempfile
import time
import warnings
from dataclasses import replace
from functools import cache
from pathlib import Path

from tests.mutate import mutants, on_gradients

ROOT = Path(__file__).resolve().parent.parent
LISTS = ROOT / "tests/equivalent"
RULES = {"~ gradients": on_gradients, "~ every": bool}  # which diffs an entry covers
ROOM = 4 * 2**30  # bytes that a mutant may ask for beyond what the process has


def prepared(number):
    """Setup cell, checks by name, and {exercise: (code, lines of the answer)} of a chapter."""
    from lora_course.builder.exercises import annotated, marked

    path = next((ROOT / "solutions/source").glob(f"{number}_*.py"))
    cells, checks = annotated(path, ROOT)
    setup = next(cell.source for cell in cells if "setup" in cell.tags)
    answers = {}
    for cell in cells:
        if cell.exercise:
            kept = [(line, inside) for line, marker, inside in marked(cell) if not marker]
            lines = {number for number, (_, inside) in enumerate(kept, 1) if inside}
            answers[cell.exercise] = "\n".join(line for line, _ in kept), lines
    return setup, checks, answers


def passes(check, setup, code, seeds):
    """True when the code gets full points on every seed."""
    name = f"<mutant of {check.name}>"
    linecache.cache[name] = (len(code), None, code.splitlines(keepends=True), name)
    namespace = dict(setup)
    try:
        with warnings.catch_warnings(action="ignore"):
            exec(compile(code, name, "exec"), namespace)
    except Exception:
        return False
    result = check.run(namespace, seeds=seeds, strict=False)
    return result.points == check.points and not result.mistake


def in_child(run, limit):
    """Forks; the child ends with 0 when run() is true, with 1 or a signal when it is not."""
    sys.stdout.flush()
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        signal.setitimer(signal.ITIMER_PROF, limit)  # the default of both signals is to end
        signal.setitimer(signal.ITIMER_REAL, 10 * limit + 60)
        with contextlib.suppress(OSError, ValueError):
            used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
            resource.setrlimit(resource.RLIMIT_AS, (used + ROOM, used + ROOM))
        null = os.open(os.devnull, os.O_RDWR)
        for stream in (0, 1, 2):
            os.dup2(null, stream)
        code = 0 if run() else 1
    finally:
        os._exit(code)


def survivors(check, setup, codes, seeds, limit, jobs=1):
    """Numbers of the codes that get full points; each runs in a process of its own.

    limit: seconds of processor time; who needs more, or crashes, is rejected.
    """
    waiting, running, alive = list(enumerate(codes)), {}, []
    while waiting or running:
        if waiting and len(running) < jobs:
            number, code = waiting.pop(0)

            def run(code=code):
                return passes(check, setup, code, seeds)

            running[in_child(run, limit)] = number
            continue
        pid, status = os.wait()
        if pid in running:
            number = running.pop(pid)
            alive += [number] if status == 0 else []
    return sorted(alive)


@cache
def equivalent(number):
    """{(exercise, where, diff): reason} of a chapter's list."""
    path, found, diff, head = LISTS / f"ch{number}.txt", {}, [], ()
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else ():
        mark, text = line[:2], line[2:]
        if mark == "@ ":
            exercise, _, where = text.partition(" ")
            head, diff = (exercise, where), []
        elif mark in ("- ", "+ ") or line in RULES:
            diff.append(line)
        elif mark == "= ":
            if not (head and diff and text.strip()) or (*head, tuple(diff)) in found:
                raise ValueError(f"{path.name}: no diff, no reason or twice the same above {line}")
            found[(*head, tuple(diff))] = text
            diff = []
        elif line.strip() and not line.startswith("#"):
            raise ValueError(f'{path.name}: a line begins with "@ ", "- ", "+ " or "= ": {line}')
    return found


def run_exercise(number, name, parts, args, sample=None):
    """Prints one exercise's line, survivors and stale entries; returns the five counts.

    parts: namespace after the setup cell, check, (code, its mutants). sample: numbers of mutants.
    """
    setup, check, made = parts
    inputs = {seed: check.inputs(seed) for seed in args.seeds}
    check = replace(check, make=inputs.get)
    start, said = time.process_time(), io.StringIO()
    with contextlib.redirect_stdout(said):
        right = passes(check, setup, made[0], args.seeds)
    if not right:
        raise SystemExit(f"{name}: the solution itself does not get full points")
    limit = 3 + 10 * (time.process_time() - start)
    mutated = made[1] if sample is None else [made[1][i] for i in sample]
    start, codes = time.time(), [mutant.code for mutant in mutated]
    alive = {mutated[i] for i in survivors(check, setup, codes, args.seeds, limit, args.jobs)}
    known = {key for key in equivalent(number) if key[0] == name}
    keys = {(name, mutant.where, mutant.diff): mutant in alive for mutant in mutated}
    listed, used = {key for key, lives in keys.items() if lives and key in known}, set()
    for rule, covers in RULES.items():
        if (name, "", (rule,)) in known:
            found = {key for key, lives in keys.items() if lives and covers(key[2])} - listed
            listed, used = listed | found, used | ({(name, "", (rule,))} if found else set())
    new = [key for key, lives in keys.items() if lives and key not in listed]
    stale = [(key, "is rejected") for key in known if keys.get(key) is False]
    if sample is None:
        gone = known - keys.keys() - used
        stale += [(key, "is no longer made") for key in gone]
    counts = len(keys), len(keys) - len(new) - len(listed), len(listed), len(new), len(stale)
    print(line(name, counts, time.time() - start), flush=True)
    for key in new:
        print(shown(key), end="\n\n", flush=True)
    for key, why in stale:
        print(f"stale, {why}:\n{shown(key)}", end="\n\n", flush=True)
    return counts


def shown(key):
    """An entry as it stands in a list, without its reason."""
    exercise, where, diff = key
    return "\n".join([f"@ {exercise} {where}".rstrip(), *diff])


def line(name, counts, seconds):
    words = ("made", "killed", "equivalent", "survived", "stale")
    said = ", ".join(f"{n} {word}" for n, word in zip(counts, words, strict=True))
    return f"{name}: {said} ({seconds:.0f} s)"


def sampled(made, size, skip):
    """{exercise: numbers of mutants}: a fixed choice over a chapter's exercises."""
    every = [(name, i) for name, (_, found) in made.items() if name not in skip
             for i in range(len(found))]  # fmt: skip
    chosen = random.Random(0).sample(every, min(size, len(every)))
    return {name: sorted(i for n, i in chosen if n == name) for name in dict(chosen)}


def parsed(words):
    parser = argparse.ArgumentParser(prog="python -m tests.mutants", description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter)  # fmt: skip
    parser.add_argument("number", help="chapter, two digits")
    parser.add_argument("exercise", nargs="?", help="only this one")
    parser.add_argument("--seeds", type=int, default=3, help="visible seeds of the check; 3")
    parser.add_argument("--jobs", type=int, default=1, help="processes at a time; 1")
    parser.add_argument("--sample", type=int, help="so many mutants of the chapter, not all")
    parser.add_argument("--skip", nargs="*", default=[], help="exercises to leave out")
    parser.add_argument("--list", action="store_true", help="print the mutants, run nothing")
    args = parser.parse_args(words)
    args.seeds = range(args.seeds)
    return args


def main(words=None):
    """Exit status: 0, or 1 when a survivor is not listed or a listed one is out of date."""
    args = parsed(words)
    with tempfile.TemporaryDirectory(prefix="lora_course_") as folder:
        # Before torch is imported: one thread, as threads and forks do not mix; no GPU, no network.
        from lora_course.builder.execute import environment

        os.environ.update(environment(ROOT, folder), OMP_NUM_THREADS="1", CUDA_VISIBLE_DEVICES="",
            TOKENIZERS_PARALLELISM="false")  # fmt: skip
        tempfile.tempdir = folder  # what a mutant leaves behind goes with it
        try:
            return tested(args)
        finally:
            tempfile.tempdir = None


def tested(args):
    """The chapter that the words ask for."""
    setup, checks, answers = prepared(args.number)
    if args.exercise and args.exercise not in answers:
        raise SystemExit(f"{args.exercise!r} is not one of {', '.join(answers)}")
    made = {
        name: (code, mutants(code, lines))
        for name, (code, lines) in answers.items()
        if args.exercise in (None, name) and name not in args.skip
    }
    if args.list:
        for name, (_, found) in made.items():
            for mutant in found:
                print(shown((name, mutant.where, mutant.diff)), end="\n\n")
            print(f"{name}: {len(found)} made")
        return 0
    chosen = sampled(made, args.sample, args.skip) if args.sample else {}
    namespace, total = {"__name__": "__main__"}, [0] * 5
    exec(compile(setup, f"<setup {args.number}>", "exec"), namespace)
    begin = time.time()
    for name in chosen or made:
        parts = namespace, checks[name], made[name]
        counts = run_exercise(args.number, name, parts, args, chosen.get(name))
        total = [a + b for a, b in zip(total, counts, strict=True)]
    print(line(f"chapter {args.number}", total, time.time() - begin))
    return int(total[3] + total[4] > 0)


if __name__ == "__main__":
    sys.exit(main())
