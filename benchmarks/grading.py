"""Submissions per minute: the course's grader beside nbgrader's autograde and otter's run.

    python benchmarks/grading.py --nbgrader /tmp/nbgrader --otter /tmp/otter

Both are needed for this file only, each in an environment of its own that also sees the packages
of the course, so that all three run the same torch:

    python3 -m venv /tmp/nbgrader && /tmp/nbgrader/bin/pip install nbgrader==0.9.6 ipykernel
    python3 -m venv /tmp/otter && /tmp/otter/bin/pip install otter-grader==7.0.0 ipykernel
    for venv in /tmp/nbgrader /tmp/otter; do
        pth=$(echo $venv/lib/python3.*/site-packages)/course.pth
        echo "$PWD" > $pth && echo "$PWD"/.venv/lib/python3.*/site-packages >> $pth
    done

A class of 50 for chapter 03: right, partly right, stub, broken, endless loop. The course grades all
of them. The others grade a few of each kind, one after the other as they do by themselves, and
their time for the class is worked out from the time of each kind. Every exercise is judged once by
each grader, on the 3 inputs of the notebook and 3 hidden ones, with the same limit for a loop.
otter has no such limit: it is stopped from outside, and the loop is counted as the limit beside a
right submission. All three must give the same scores, except for the loop, where it is reported.
"""

import argparse
import contextlib
import csv
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import nbformat

from lora_course.builder import notebook as build
from lora_course.checks.ch03 import EXERCISES
from lora_course.grading import trusted
from lora_course.grading.exports import nbgrader as tree
from lora_course.grading.exports.sources import ROOT, sources

STEM = "03_the_lora_layer"
SECRET = b"a secret of the benchmark"
CLASS = {"right": 22, "partly": 12, "stub": 8, "broken": 6, "loop": 2}
SCORES = {"right": 100, "partly": 80, "stub": 0, "broken": 55, "loop": 85}


def answers(kind):
    """{cell id: source} of the exercise cells of one kind of submission."""
    source = sources(["03"])[0]
    cells = build.exercise(source, ROOT) if kind == "stub" else build.solution(source, ROOT)
    found = {cell.id: cell.source for cell in cells if cell.id.startswith("exercise-")}
    if kind == "partly":
        layer = found["exercise-lora_linear"].replace("self.scaling * update", "update")
        assert layer != found["exercise-lora_linear"]
        found["exercise-lora_linear"] = layer
    if kind == "broken":
        found["exercise-lora_embedding"] = "class LoRAEmbedding(nn.Module:"
        found["exercise-grow_rank"] = "raise SystemExit"
    if kind == "loop":
        found["exercise-delta_weight"] = (
            "def delta_weight(*arguments):\n    while True:\n        pass"
        )
    return found


def notebook(kind, nb):
    """The notebook with the answers of this kind, and without its own checks, as JSON."""
    made = answers(kind)
    nb = nbformat.from_dict(nb)
    nb.cells = [cell for cell in nb.cells if not cell.id.startswith("check-")]
    for cell in nb.cells:
        cell.source = made.get(cell.id, cell.source)
    return nbformat.writes(nb)


def course(folder, limit):
    """Seconds for the class and for a class of one; the scores by kind."""
    nb = build.to_notebook(build.exercise(sources(["03"])[0], ROOT), ROOT)
    seconds, scores = {}, {}
    for name, counts in (("one", {"right": 1}), ("class", CLASS)):
        for kind, count in counts.items():
            for number in range(count):
                place = folder / name / f"{kind}{number}"
                place.mkdir(parents=True)
                (place / f"{STEM}.ipynb").write_text(notebook(kind, nb))
        (folder / "secret").write_bytes(SECRET)
        command = [sys.executable, "-m", "lora_course.cli", "grade", name, "--out", f"{name}-out"]
        command += ["--secret", "secret", "--timeout", str(limit)]
        seconds[name] = timed(command, folder)
        gather(folder / f"{name}-out" / "grades.csv", "student", "points", scores)
    return seconds, scores


def with_nbgrader(folder, venv, limit, sample):
    """Seconds for each kind of submission, and until the first begins; the scores by kind."""
    tree.export(folder, sources(["03"]))
    with open(folder / "nbgrader_config.py", "a") as file:
        file.write(f"c.Execute.timeout = {limit}\n")
    timed([venv / "bin/nbgrader", "generate_assignment", STEM], folder, venv)
    released = json.loads((folder / "release" / STEM / f"{STEM}.ipynb").read_text())
    for kind in CLASS:
        for number in range(sample):
            place = folder / "submitted" / f"{kind}{number}" / STEM
            place.mkdir(parents=True)
            (place / f"{STEM}.ipynb").write_text(notebook(kind, released))
    start, marks = time.perf_counter(), []
    command = [venv / "bin/nbgrader", "autograde", STEM]
    with subprocess.Popen(
        command, cwd=folder, env=environment(venv), stderr=subprocess.PIPE, text=True
    ) as process:
        for line in process.stderr:
            if "student with ID" in line:
                marks.append((line.split("'")[1], time.perf_counter()))
    assert len(marks) == sample * len(CLASS), "nbgrader did not grade all of them"
    ends = [at for _, at in marks[1:]] + [time.perf_counter()]
    seconds = {kind: 0.0 for kind in CLASS}
    for (student, begin), end in zip(marks, ends, strict=True):
        seconds[student.rstrip("0123456789")] += (end - begin) / sample
    timed([venv / "bin/nbgrader", "export"], folder, venv)
    scores = {}
    gather(folder / "grades.csv", "student_id", "score", scores)
    return marks[0][1] - start, seconds, scores


def with_otter(folder, venv, limit, sample):
    """Seconds for each kind of submission; the scores by kind."""
    (folder / "tests").mkdir()
    for check in EXERCISES:
        names = ", ".join(f'"{name}": {name}' for name in check.wants)
        seeds = (*trusted.VISIBLE, *trusted.secret_seeds(SECRET, STEM, check.name))
        code = (
            f">>> check.{check.name}.run({{{names}}}, seeds={seeds}).points\n{float(check.points)}"
        )
        case = {"code": code, "hidden": False, "locked": False, "points": check.points}
        suite = {"cases": [case], "scored": True, "setup": "", "teardown": "", "type": "doctest"}
        test = {"name": check.name, "points": check.points, "suites": [suite]}
        (folder / "tests" / f"{check.name}.py").write_text(f"OK_FORMAT = True\ntest = {test!r}\n")
    words = ["generate", "-t", "tests", "-o", "autograder.zip"]
    timed([venv / "bin/otter", *words, "--no-config", "--no-requirements"], folder, venv)
    nb = build.to_notebook(build.exercise(sources(["03"])[0], ROOT), ROOT)
    seconds, scores = {}, {}
    for kind in CLASS:
        (folder / f"{kind}.ipynb").write_text(notebook(kind, nb))
        command = [venv / "bin/otter", "run", f"{kind}.ipynb", "-a", "autograder.zip", "--no-logo"]
        if kind == "loop":
            with contextlib.suppress(subprocess.TimeoutExpired):
                timed(command, folder, venv, limit + seconds["right"])
                raise SystemExit("otter ended the loop by itself; count it")
            seconds[kind] = limit + seconds["right"]
            continue
        seconds[kind] = sum(timed(command, folder, venv) for _ in range(sample)) / sample
        tests = json.loads((folder / "results.json").read_text())["tests"]
        scores[kind] = {sum(test.get("score", 0) for test in tests)}
    return seconds, scores


def gather(path, student, points, scores):
    """Adds the points of a table to {kind: set of points}."""
    with open(path, newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            kind = row[student].rstrip("0123456789")
            scores.setdefault(kind, set()).add(float(row[points]))


def environment(venv):
    """What a grader of another environment needs to find its kernel and to write nothing here."""
    path = os.pathsep.join([str(venv / "bin"), os.environ["PATH"]])
    return {**os.environ, "PATH": path, "HF_HUB_OFFLINE": "1", "LORA_COURSE_HOME": os.devnull}


def timed(command, folder, venv=None, limit=600):
    """Runs a command to its end; returns seconds. What it started is ended with it."""
    start = time.perf_counter()
    env = environment(venv) if venv else {**os.environ, "PYTHONPATH": str(ROOT)}
    quiet = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    with subprocess.Popen(command, cwd=folder, env=env, start_new_session=True, **quiet) as process:
        try:
            said, _ = process.communicate(timeout=limit)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, 9)
            raise
    if process.returncode:
        sys.exit(f"{' '.join(map(str, command))} failed:\n{said[-2000:]}")
    return time.perf_counter() - start


def main():
    parser = argparse.ArgumentParser(description="Grading speed beside nbgrader and otter.")
    parser.add_argument("--nbgrader", type=Path, metavar="VENV", help="its environment")
    parser.add_argument("--otter", type=Path, metavar="VENV", help="its environment")
    parser.add_argument("--limit", type=int, default=10, help="seconds that a loop may take")
    parser.add_argument("--sample", type=int, default=2, help="of each kind, for the other two")
    parser.add_argument("--json", type=Path, metavar="FILE", help="keep the numbers")
    args = parser.parse_args()
    size = sum(CLASS.values())
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    about = {"date": time.strftime("%Y-%m-%d"), "cores": cores, "class": CLASS, **vars(args)}
    about |= {"python": platform.python_version(), "machine": platform.processor()}
    print(f"{size} submissions of {STEM}: {CLASS}; {cores} cores; a loop ends after {args.limit} s")
    with tempfile.TemporaryDirectory() as folder:
        parts = {name: Path(folder) / name for name in ("course", "nbgrader", "otter")}
        for part in parts.values():
            part.mkdir()
        seconds, scores = course(parts["course"], args.limit)
        verify("course", scores)
        warm = (seconds["class"] - seconds["one"]) / (size - 1) * cores
        rates = {"course": 60 * size / seconds["class"]}
        print(
            f"course    {seconds['class']:6.1f} s for all {size}, {rates['course']:5.1f} a minute"
        )
        print(
            f"          warm: {warm:.2f} s a submission and core; one alone {seconds['one']:.1f} s"
        )
        about |= {"course_seconds": seconds, "course_warm": warm}
        others = {}
        if args.nbgrader:
            begin, others["nbgrader"], scores = with_nbgrader(
                parts["nbgrader"], args.nbgrader, args.limit, args.sample
            )
            about["nbgrader_start"] = begin
            verify("nbgrader", scores)
        if args.otter:
            others["otter"], scores = with_otter(
                parts["otter"], args.otter, args.limit, args.sample
            )
            verify("otter", {kind: found for kind, found in scores.items() if kind != "loop"})
        for name, kinds in others.items():
            total = sum(CLASS[kind] * kinds[kind] for kind in CLASS) + about.get(f"{name}_start", 0)
            rates[name] = 60 * size / total
            each = ", ".join(f"{kind} {found:.1f} s" for kind, found in kinds.items())
            times = rates["course"] / rates[name]
            print(
                f"{name:9} {total:6.1f} s for all {size}, {rates[name]:5.1f} a minute, worked out"
            )
            print(f"          from {args.sample} of each kind: {each}")
            print(f"          the course grades {times:.1f} times as many a minute")
            about[f"{name}_seconds"] = kinds
        about["per_minute"] = rates
    if args.json:
        args.json.write_text(json.dumps(about, indent=1, default=str))


def verify(name, scores):
    """Stops when a grader gave other scores than the rest do; a loop's score is only reported."""
    wrong = {kind: found for kind, found in scores.items() if found != {float(SCORES[kind])}}
    if set(wrong) - {"loop"}:
        sys.exit(f"{name} gave {wrong}, expected {SCORES}")
    if wrong:
        print(f"{name:9} gave the loop {wrong['loop']} points, not {SCORES['loop']}")


if __name__ == "__main__":
    main()
