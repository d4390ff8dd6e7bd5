"""Every exercise against its solution, its stub, other right answers and known wrong ones.

One chapter only: python -m pytest tests/test_checks.py -k ch03 -q
"""

import ast
import contextlib
import gc
import hashlib
import importlib
import io
import json
import linecache
import subprocess
import sys
import time
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from lora_course.checks import randomness, slips
from lora_course.checks.core import Check
from lora_course.checks.verdicts import GENERIC, Verdict

ROOT = Path(__file__).resolve().parent.parent
CHAPTERS = sorted(path.stem for path in (ROOT / "lora_course/checks").glob("ch[0-9][0-9].py"))
WRITTEN = sorted(path.stem for path in (ROOT / "tests/answers").glob("ch[0-9][0-9].py"))
FREE = {*GENERIC, "other"}  # keys that need no wrong answer of their own


@pytest.fixture(scope="module", autouse=True)
def cheap(request):
    """Without pytest's look at thousands of loggers, three times a test; see `setup_namespace`."""
    manager = request.config.pluginmanager
    logs = manager.unregister(name="logging-plugin") if manager.has_plugin("logging-plugin") else 0
    yield
    gc.unfreeze()
    if logs:
        manager.register(logs, "logging-plugin")


@pytest.fixture(scope="module", autouse=True)
def own_record(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch, randomness.kept():
        patch.setenv("LORA_COURSE_HOME", str(tmp_path_factory.mktemp("home")))
        patch.setattr(Check, "inputs", inputs)
        patch.setattr(slips, "_explains", explains)
        yield


@pytest.fixture(scope="session")
def seeds(request):
    """Twenty seeds (see `verdicts` and `turned`); three when the slow tests are left out."""
    return range(3 if request.config.option.markexpr == "not slow" else 20)


@cache
def checks(chapter):
    """{name: Check} of a chapter, in order."""
    module = importlib.import_module(f"lora_course.checks.{chapter}")
    return {check.name: check for check in module.EXERCISES}


@cache
def answers(chapter):
    """(right, wrong) of tests/answers; empty where the file is not there."""
    if chapter not in WRITTEN:
        return (), ()
    module = importlib.import_module(f"tests.answers.{chapter}")
    return tuple(module.RIGHT), tuple(module.WRONG)


@cache
def source(chapter):
    """The setup cell and {exercise: (solution, stub)} of a chapter's solution source."""
    from lora_course.builder.exercises import annotated, stub
    from lora_course.builder.exercises import answer as solution

    found = list((ROOT / "solutions/source").glob(f"{chapter[2:]}_*.py"))
    assert len(found) == 1, f"solutions/source has {len(found)} files for {chapter}"
    cells, _ = annotated(found[0], ROOT)
    setup = next(cell.source for cell in cells if "setup" in cell.tags)
    return setup, {c.exercise: (solution(c), stub(c, "0.0")) for c in cells if c.exercise}


@cache
def setup_namespace(chapter):
    namespace = {"__name__": "__main__"}
    exec(compile(source(chapter)[0], f"<setup {chapter}>", "exec"), namespace)
    gc.freeze()  # what was imported stays; looking through it takes 0.1 s each time
    return namespace


MADE = Check.inputs


@cache
def inputs(check, seed):
    """Made once a seed: some take a second, and every answer is judged on them."""
    made = MADE(check, seed)
    ARRAYS.update((id(array), array) for array in made.values())
    LISTED.update(slip.values for slip in check.slips)
    return made


ARRAYS, LISTED, OPTIONS, VERDICTS = {}, set(), {}, {}
EXPLAINS = slips._explains


def explains(slip, inputs, *others):
    """As in slips. What a slip's values are on a seed is worked out once: no answer is in them."""
    if slip.values not in LISTED or not all(id(array) in ARRAYS for array in inputs.values()):
        return EXPLAINS(slip, inputs, *others)  # made by the judge, from an answer perhaps
    key = slip.values, *((name, id(array)) for name, array in inputs.items())
    if key not in OPTIONS:
        OPTIONS[key] = slip.values(inputs)
    return EXPLAINS(slip._replace(values=lambda _: OPTIONS[key]), inputs, *others)


def run_cell(chapter, code, name):
    """The namespace after the setup cell and one answer, as in a fresh notebook."""
    name = f"<answer {name}>"
    linecache.cache[name] = (len(code), None, code.splitlines(keepends=True), name)
    namespace = dict(setup_namespace(chapter))
    exec(compile(code, name, "exec"), namespace)
    return namespace


def code_of(chapter, answer):
    """The exercise cell as this answer has it."""
    if answer.code:
        return answer.code
    code = source(chapter)[1][answer.exercise][0] + "\n"
    for old, new in answer.edits:
        assert old in code, f"the edit {old!r} does not occur in the solution"
        code = code.replace(old, new)
    return code


def judged(check, namespace, seed):
    """The verdict on one seed; an error in the check itself is let out.

    A judge sees arrays alone, so the same ones are judged once. The probe runs each time.
    """
    outputs = check.outputs(namespace, inputs(check, seed), seed, strict=True)
    if isinstance(outputs, Verdict):
        return outputs
    digest = hashlib.sha256()
    for name, array in outputs.items():
        digest.update(f"{name} {array.dtype.str} {array.shape} ".encode() + array.tobytes())
    key = check, seed, digest.digest()
    if key not in VERDICTS:
        VERDICTS[key] = check.verdict(inputs(check, seed), outputs, strict=True)
    return VERDICTS[key]


def verdicts(check, namespace, seeds):
    """(seed, verdict): all seeds where one takes at most 50 ms of CPU time, else five of them."""
    for seed in seeds:
        start = time.process_time()
        yield seed, judged(check, namespace, seed)
        if seed >= 4 and time.process_time() - start > 0.05:
            return


def from_turn(seeds, turn):
    first = 7 * turn % len(seeds)
    return [*seeds[first:], *seeds[:first]]


def turned(check, namespace, seeds, turn):
    """(seed, verdict) of a wrong answer: all seeds while they take 15 ms together, else four; two
    of those that take a quarter of a second each.

    Each answer begins at another seed, so that the wrong ones of an exercise try every seed.
    """
    spent = 0.0
    for number, seed in enumerate(from_turn(seeds, turn), 1):
        start = time.process_time()
        yield seed, judged(check, namespace, seed)
        spent += time.process_time() - start
        if (number >= 4 and spent > 0.015) or (number >= 2 and spent > 0.5):
            return


def solved(chapter, name):
    return run_cell(chapter, source(chapter)[1][name][0], f"{chapter} {name}")


def label(value):
    if hasattr(value, "note"):
        return f"{value.exercise}-{value.note.replace(' ', '_')}"
    return str(value)


def collected(read):
    """[(chapter, item)]; a chapter that cannot be read fails in test_chapter_is_complete alone."""
    found = []
    for chapter in CHAPTERS:
        with contextlib.suppress(Exception):
            found += [(chapter, item) for item in read(chapter)]
    return found


EXERCISES = collected(checks)
each_exercise = pytest.mark.parametrize(("chapter", "name"), EXERCISES, ids=label)


@pytest.mark.parametrize("chapter", CHAPTERS)
def test_chapter_is_complete(chapter):
    assert checks(chapter) and chapter in WRITTEN, f"tests/answers/{chapter}.py is missing"
    assert list(source(chapter)[1]) == list(checks(chapter))
    known = {answer.exercise for part in answers(chapter) for answer in part}
    assert known == set(checks(chapter))


@each_exercise
def test_lists(chapter, name):
    """At least 3 wrong and 2 right answers, and a wrong answer behind every mistake."""
    check = checks(chapter)[name]
    right, wrong = ([a for a in part if a.exercise == name] for part in answers(chapter))
    assert len(right) >= 2 and len(wrong) >= 3
    assert not [a.note for a in right if a.mistake or not (a.code or a.edits)]
    listed = {key for key in check.mistakes if key not in FREE and not key.startswith("raised")}
    assert listed <= {a.mistake for a in wrong}, "mistakes that no wrong answer reaches"
    assert {a.mistake for a in wrong} <= {*check.mistakes, *FREE}
    notes = {}
    for answer in (*right, *wrong):
        notes.setdefault(ast.unparse(ast.parse(code_of(chapter, answer))), []).append(answer.note)
    assert not [same for same in notes.values() if len(same) > 1], "the same answer under two notes"


@each_exercise
def test_slow_wrong_answers_try_every_seed_together(chapter, name):
    """Four seeds each, as in `turned`."""
    count = sum(answer.exercise == name for answer in answers(chapter)[1])
    tried = [seed for turn in range(count) for seed in from_turn(range(20), turn)[:4]]
    assert set(tried) == set(range(20))


@each_exercise
def test_words(chapter, name):
    """Number from the order, hints that differ, advice that a tired reader gets through."""
    check = checks(chapter)[name]
    number = list(checks(chapter)).index(name) + 1
    assert check.label == f"{int(chapter[2:])}.{number} {check.title}"
    assert check.key == f"{chapter}.{name}"
    assert len({hint.strip() for hint in check.hints if hint.strip()}) == 3
    for key, advice in check.mistakes.items():
        assert (advice.strip() or key == "other") and len(advice.split()) <= 70, (
            f"the advice of {key!r}"
        )


@each_exercise
def test_stub_is_not_done_yet(chapter, name):
    check = checks(chapter)[name]
    namespace = run_cell(chapter, source(chapter)[1][name][1], f"stub of {name}")
    result = check.run(namespace, strict=True)
    assert result.todo and result.points == 0, result.message
    assert "not done yet" in result.message


@each_exercise
def test_solution_gets_full_points(chapter, name, seeds):
    check, seconds = checks(chapter)[name], []
    namespace = solved(chapter, name)
    VERDICTS.clear()  # nobody's time but its own
    for seed in seeds:
        start = time.process_time()
        verdict = judged(check, namespace, seed)
        seconds.append(time.process_time() - start)
        assert verdict.share == 1, f"seed {seed}: {check.result(verdict).message}"
    assert np.median(seconds) <= 1, "a check takes at most a second for each seed"
    result = check.run(namespace, strict=True)
    assert result.points == check.points and not result.mistake and "\n" not in result.message


@pytest.mark.parametrize(
    ("chapter", "answer"), collected(lambda chapter: answers(chapter)[0]), ids=label
)
def test_right_answer_gets_full_points(chapter, answer, seeds):
    check = checks(chapter)[answer.exercise]
    namespace = run_cell(chapter, code_of(chapter, answer), answer.note)
    for seed, verdict in verdicts(check, namespace, seeds):
        assert verdict.share == 1, f"seed {seed}: {check.result(verdict).message}"


@pytest.mark.parametrize(
    ("chapter", "answer"), collected(lambda chapter: answers(chapter)[1]), ids=label
)
def test_wrong_answer_gets_its_hint(chapter, answer, seeds):
    check = checks(chapter)[answer.exercise]
    namespace = run_cell(chapter, code_of(chapter, answer), answer.note)
    same = [other for other in answers(chapter)[1] if other.exercise == answer.exercise]
    turn = same.index(answer)
    for seed, verdict in turned(check, namespace, seeds, turn):
        message = check.result(verdict).message
        assert verdict.share < 1, f"seed {seed}: full points for: {answer.note}"
        named = {verdict.mistake, verdict.mistake.partition(":")[0]}
        assert answer.mistake in named, f"seed {seed}: {verdict.mistake!r}\n{message}"
        assert check.mistakes.get(verdict.mistake, "").strip() in message


def careless():
    """What a learner's function may return by accident, whatever was asked for."""
    import torch

    nan = float("nan")
    return {
        "nothing": None,
        "text": "0.5",
        "nan": nan,
        "a dict": {"loss": 1.0},
        "a function": len,
        "an empty list": [],
        "empty tensor": torch.zeros(0),
        "tensor of nan": torch.full((3, 4), nan),
        "tensor of inf": torch.full((4,), float("inf")),
        "five axes": torch.ones(2, 1, 3, 1, 2),
        "complex": torch.ones(2, 2, dtype=torch.complex64),
        "too many": tuple(torch.ones(2) for _ in range(9)),
        "a pair of numbers": (-1e300, 1e300),
        "a pair of texts": ("a", "b"),
        "ragged": [[1.0], [1.0, 2.0]],
    }


@each_exercise
def test_careless_values_are_judged(chapter, name):
    """No value that a learner returns makes the check itself fail, and none of these passes."""
    check = checks(chapter)[name]
    for note, value in careless().items():
        namespace = dict(setup_namespace(chapter))
        namespace.update({want: lambda *a, _v=value, **k: _v for want in check.wants})
        result = check.run(namespace, strict=True)
        assert result.points < check.points and not result.todo, note
        assert result.message.startswith(f"{check.label}: not right yet"), note


@each_exercise
def test_forged_outputs_are_judged(chapter, name):
    """Arrays that no honest probe sends: never an error outside strict mode, never full points."""
    check = checks(chapter)[name]
    honest = check.outputs(solved(chapter, name), inputs(check, 0), strict=True)
    step = max(1, len(honest) // 8)  # a judge that reads many is slow
    nan, void, two = np.full((), np.nan), np.zeros(0), np.ones((2, 3, 5))
    for turn, forged in enumerate((nan, void, two, np.array(1j), np.array(True), np.array(1e300))):
        for key in list(honest)[turn % step :: step]:
            said = check.verdict(inputs(check, 0), {**honest, key: forged})
            assert 0 <= said.share <= 1
        assert check.verdict(inputs(check, 0), {key: forged for key in honest}).share < 1
    assert check.verdict(inputs(check, 0), {}).share < 1


APART = """
import importlib, json, sys
import numpy as np
chapter, folder = sys.argv[1:]
said = {}
for check in importlib.import_module(f"lora_course.checks.{chapter}").EXERCISES:
    given, made = (dict(np.load(f"{folder}/{check.name}.{part}.npz")) for part in ("in", "out"))
    again = check.inputs(7)
    same = given.keys() == again.keys() and all(np.array_equal(given[k], again[k]) for k in given)
    said[check.name] = [same, check.verdict(given, made, strict=True).share]
print(json.dumps(said))
"""


@pytest.mark.slow
@pytest.mark.parametrize("chapter", CHAPTERS)
def test_judging_in_another_process(chapter, tmp_path):
    """make and judge need nothing but arrays: a process that never saw the learner agrees."""
    for name, check in checks(chapter).items():
        made = check.outputs(solved(chapter, name), inputs(check, 7), 7, strict=True)
        for part, arrays in (("in", inputs(check, 7)), ("out", made)):
            file = io.BytesIO()
            np.savez(file, allow_pickle=False, **arrays)
            (tmp_path / f"{name}.{part}.npz").write_bytes(file.getvalue())
    command = [sys.executable, "-c", APART, chapter, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=300)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {name: [True, 1.0] for name in checks(chapter)}
