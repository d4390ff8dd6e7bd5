import dataclasses
import linecache
import subprocess
import sys

import numpy as np
import pytest

from lora_course.checks.core import Check, Verdict
from lora_course.checks.verdicts import decide
from lora_course.learner import record
from tests.ch97 import EXERCISES, pair, scaled


@pytest.fixture(autouse=True)
def own_record(tmp_path, monkeypatch):
    monkeypatch.setenv("LORA_COURSE_HOME", str(tmp_path))


def cell(code, name="<a learner's cell>"):
    """The namespace after a learner has run this cell."""
    code = "import sys, torch, numpy as np\n" + code
    linecache.cache[name] = (len(code), None, code.splitlines(keepends=True), name)
    namespace = {"__name__": "__main__"}
    exec(compile(code, name, "exec"), namespace)
    return namespace


def scaled_by(body):
    """A cell that defines scaled(x, scale) with this body."""
    lines = "".join(f"    {line}\n" for line in body.splitlines())
    return cell(f"def scaled(x, scale):\n{lines}")


def run(body, check=scaled):
    return check.run(scaled_by(body), strict=True)


def altered(**changes):
    """The toy check with other parts."""
    return dataclasses.replace(scaled, **changes)


def test_right():
    result = run("return x * scale")
    assert result == (10, "", "97.1 Scale <it>: 10/10 points. Verified: 3 random inputs.", False)


def test_recognised_mistake():
    result = run("return x")
    assert (result.points, result.mistake, result.todo) == (0, "no_scale", False)
    assert result.message == (
        "97.1 Scale <it>: not right yet (0/10).\nSeen: the input itself.\nExpected: scale * x.\n"
        "Likely mistake: The factor `scale` is missing.\nStuck? Open hint 1 below."
    )


def test_part_of_the_points():
    result = run("y = x.clone(); y[0] *= scale\nreturn y")
    assert (result.points, result.mistake) == (4, "first_row")
    assert "(4/10)" in result.message


def test_other_value():
    result = run("return x + 7")
    assert result.mistake == "other" and "Where to look: Compare with" in result.message


def test_todo():
    result = run("raise NotImplementedError('Exercise 97.1 is not done yet')")
    assert result.todo and result.points == 0
    assert result.message == (
        "97.1 Scale <it>: not done yet. Replace the line `raise NotImplementedError` with your "
        "code, run that cell, then this one."
    )


def test_todo_inside_a_library_call():
    code = "class scaled(torch.nn.Module):\n  def __init__(self, *a): super().__init__()\n"
    check = altered(probe=lambda n, a: {"y": np.array(n["scaled"]()(0))})
    todo = code + "  def forward(self, x): raise NotImplementedError('later')"
    assert check.run(cell(todo)).todo
    misspelled = check.run(cell(code + "  def forwrad(self, x): return x"))
    assert not misspelled.todo and 'missing the required "forward"' in misspelled.message


def test_none():
    result = run("x * scale")
    assert result.mistake == "none"
    assert "the result of `scaled` is None" in result.message
    assert "Is `return` missing?" in result.message


def test_type():
    result = run("return 'a text'")
    assert result.mistake == "type"
    assert "is a str." in result.message and "Expected: a tensor" in result.message


def test_one_full_stop():
    for advice, end in (("Divide (by r.)", "r.)"), ("Divide (by r)", "r)."), ("By r?", "r?")):
        result = run("return x", altered(mistakes={**scaled.mistakes, "no_scale": advice}))
        assert f"{end}\nStuck?" in result.message


def test_raised_names_the_learners_line():
    result = run("\nreturn torch.nn.functional.linear(x, x.T)")
    assert result.mistake == "raised:RuntimeError"
    assert "RuntimeError: mat1 and mat2 shapes cannot be multiplied" in result.message
    assert "Likely mistake: Do the shapes fit?" in result.message
    assert "functional.py" not in result.message and "site-packages" not in result.message
    result = run("return [][3]")
    assert result.mistake == "raised"
    assert "IndexError: list index out of range (in line 3: `return [][3]`)." in result.message


def test_raised_line_is_quoted(tmp_path):
    file = tmp_path / "cell.py"
    file.write_text("def scaled(x, scale):\n    return 1 / 0\n")
    namespace = {}
    exec(compile(file.read_text(), str(file), "exec"), namespace)
    message = scaled.run(namespace).message
    assert "ZeroDivisionError: division by zero (in line 2: `return 1 / 0`)." in message


def test_wrong_arguments():
    message = scaled.run(cell("def scaled(x): return x")).message
    assert "TypeError: scaled() takes 1 positional argument but 2 were given." in message
    assert "Expected: the name and the arguments of the stub" in message


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("raise SystemExit(0)", "SystemExit: 0"),
        ("sys.exit()", "SystemExit"),
        (
            "raise KeyboardInterrupt",
            "Seen: your code was stopped before it had finished (in line 3: `raise",
        ),
        ("return scaled(x, scale)", "RecursionError"),
        ("raise ValueError('z' * 10**6)", "z..."),
        ("raise type('Odd', (Exception,), {'__str__': lambda s: 1 / 0})", "raised Odd"),
        ("raise type('Odd', (BaseException,), {})('text')", "Odd: text"),
        ("assert x.sum() == 1e9, 'a\\n\\nb'", "AssertionError: a b"),
    ],
)
def test_whatever_is_raised(body, said):
    result = run(body)
    assert result.mistake == "raised" and said in result.message and len(result.message) < 600


def test_forgotten_name():
    assert "'scaled'" in scaled.run({}).message  # KeyError: the cell was never run


HOSTILE = {
    "tensor equal to everything": """
class Equal(torch.Tensor):
    @classmethod
    def __torch_function__(cls, func, types, args=(), kwargs=None):
        return True
    def __eq__(self, other): return True
def scaled(x, scale): return torch.ones(3, 4).as_subclass(Equal)""",
    "tensor with its own detach": """
class Equal(torch.Tensor):
    def detach(self): raise SystemExit
    def numpy(self, *a, **k): return np.float64(1)
    cpu = __array__ = detach
def scaled(x, scale): return torch.ones(3, 4).as_subclass(Equal)""",
    "array equal to everything": """
class Equal(np.ndarray):
    def __array_function__(self, *a): return True
    def __array_ufunc__(self, *a, **k): return True
    def __eq__(self, other): return True
def scaled(x, scale): return np.ones((3, 4)).view(Equal)""",
    "number equal to everything": """
class Equal(float):
    def __eq__(self, other): return True
    __ne__ = __lt__ = __gt__ = __eq__
def scaled(x, scale): return Equal(3)""",
    "list equal to everything": """
class Equal(list):
    def __eq__(self, other): return True
def scaled(x, scale): return Equal([1.0, 2.0])""",
    "object that says it is an array": """
class Equal:
    shape = (3, 4)
    def __array__(self, *a, **k): return np.ones((3, 4))
    def __eq__(self, other): return True
    __class__ = torch.Tensor
def scaled(x, scale): return Equal()""",
    "inputs changed to fit": "def scaled(x, scale): return x.fill_(1)",
    "array of objects": "def scaled(x, scale): return np.array([None, len], dtype=object)",
    "not numbers": "def scaled(x, scale): return torch.full((3, 4), float('nan'))",
    "more than a laptop holds": "def scaled(x, scale): return torch.zeros(1).expand(10**12)",
    "a list in itself": "def scaled(x, scale):\n  a = []; a.append(a)\n  return a",
}


@pytest.mark.parametrize("note", HOSTILE)
def test_hostile_values_get_nothing(note):
    result = scaled.run(cell(HOSTILE[note]), strict=True)
    assert result.points == 0 and not result.todo
    assert result.mistake in ("other", "type")


def test_inputs_belong_to_the_judge():
    result = run("x.mul_(scale)\nreturn x")  # changes its own copy, and returns what is right
    assert result.points == 10
    assert run("x.zero_()\nreturn x").points == 0


def test_a_probe_may_write_into_its_arrays():
    def probe(namespace, arrays):
        for a in arrays.values():
            a[...] = 0
        return {"y": np.ones(1)}

    inputs = scaled.inputs(0)
    assert isinstance(altered(probe=probe).outputs({}, inputs, strict=True), dict)
    assert all(np.array_equal(a, inputs[key]) for key, a in scaled.inputs(0).items())


def test_author_errors_are_clear():
    for make in (lambda s: [1], lambda s: {"x": "text"}, lambda s: {"x": np.array([None])}):
        with pytest.raises(TypeError, match="make of 'scaled'"):
            altered(make=make).run({})
    for made in (None, {"y": "text"}, {"y": [1.0]}, {3: np.ones(1)}, {"y": np.array(["a"])}):
        check = altered(probe=lambda n, a, made=made: made)
        with pytest.raises(TypeError, match="probe of 'scaled'"):
            check.run({}, strict=True)
        assert check.run({}).mistake == "type"
    for changes in ({"wants": "scaled"}, {"hints": ("a",)}, {"points": 0}, {"mistakes": {}}):
        with pytest.raises(ValueError, match="Check 'scaled': "):
            altered(**changes)


@pytest.mark.parametrize(
    "said",
    [
        None,
        True,
        Verdict(2.0),
        Verdict(-1.0),
        Verdict(float("nan")),
        Verdict(1.0, "no_scale"),
        Verdict(0.0, "unheard_of"),
        Verdict("full"),
    ],
)
def test_a_judge_that_errs_gives_no_points(said):
    check = altered(judge=lambda i, o: said)
    assert check.run(scaled_by("return x")).mistake == "other"
    with pytest.raises((ValueError, AttributeError, TypeError)):
        check.run(scaled_by("return x"), strict=True)


def test_a_judge_that_raises(monkeypatch):
    def judge(inputs, outputs):
        inputs["x"] *= 2  # read-only

    check = altered(judge=judge)
    assert check.run(scaled_by("return x")).mistake == "other"
    monkeypatch.setenv("LORA_COURSE_STRICT", "1")
    with pytest.raises(ValueError, match="read-only"):
        check.run(scaled_by("return x"))


def test_worst_seed_decides_and_the_first_of_it_speaks():
    seen = []
    check = altered(make=lambda seed: seen.append(seed) or {"x": np.ones(2), "scale": 2 + seed})
    assert check.run(scaled_by("return 2 * x"), seeds=(0, 1, 2)).points == 0
    assert seen == [0, 1], "nothing is worse than 0"

    def said(*shares):
        return lambda number, seed: Verdict(shares[seed], f"seed {seed}" * (shares[seed] < 1))

    assert decide(said(1, 1, 1), range(3)) == (Verdict(1.0), None)
    assert decide(said(1, 0.4, 0.2, 0.2), range(4))[0] == Verdict(0.2, "seed 2")
    assert decide(said(0.4, 0.6, 1), range(2), [2]) == (Verdict(0.4, "seed 0"), None)
    open_, secret = decide(said(1, 0.6, 0.8, 0.2), range(2), [2, 3])
    assert (open_, secret) == (Verdict(0.6, "seed 1"), Verdict(0.2, "seed 3"))
    assert decide(said(1, 0.5), [0], [1]) == (Verdict(1.0), Verdict(0.5, "seed 1"))


STUCK = "\nStuck? Open hint 1 below."  # said in a notebook, where there is one


def test_hidden_seeds_lower_the_points_and_say_nothing():
    from lora_course.grading.outcome import outcome

    right, half = Verdict(1.0), Verdict(0.4, "first_row", "one row scaled")
    bad = Verdict(0.0, "no_scale", "canary", "canary")
    said, alone = outcome(scaled, half), scaled.result(half).message.removesuffix(STUCK)
    assert (said.share, said.message) == (0.4, alone)
    said = outcome(scaled, right, bad)
    assert said.share == 0 and said.hidden
    assert (
        said.message
        == "97.1 Scale <it>: right on the inputs of the notebook, not on others (0/10 points)."
    )
    said = outcome(scaled, half, bad)
    assert said.share == 0 and said.message.endswith("On other inputs it earns 0/10 points.")
    assert said.message.startswith(alone) and "canary" not in said.message


def test_notebook_command_and_grader_say_the_same():
    """The worst of three seeds: 0.4 at seed 1, after full marks at seed 0."""
    from lora_course.grading import trusted
    from lora_course.grading.outcome import outcome

    def judge(i, o):
        return Verdict(0.4, "first_row") if i["seed"] == 1 else Verdict(1.0)

    check = altered(make=lambda seed: {"seed": seed}, probe=lambda n, a: {}, judge=judge)
    result = check.run({})
    verdict, _ = decide(lambda n, seed: check.answer({}, n, seed), trusted.VISIBLE)
    said = result.message.removesuffix(STUCK)
    assert (result.points, said) == (4, outcome(check, verdict).message)
    assert check.run.__defaults__[0] == trusted.VISIBLE


def test_parts_run_apart():
    given = scaled.inputs(5)
    assert given["scale"].shape == () and not given["x"].flags.writeable
    made = scaled.outputs(scaled_by("return x * scale"), given, seed=5)
    assert scaled.verdict(given, made) == Verdict(1.0)
    stopped = scaled.outputs(scaled_by("return None"), given)
    assert stopped.mistake == "none"


def test_keys_and_labels():
    assert [check.label for check in EXERCISES] == ["97.1 Scale <it>", "97.2 Up and down"]
    assert [check.key for check in EXERCISES] == ["ch97.scaled", "ch97.pair"]
    loose = altered(judge=lambda i, o: Verdict(1.0))
    assert (loose.label, loose.key) == ("Scale <it>", "")
    assert isinstance(loose, Check)


def test_call_shows_and_keeps(capfd):
    assert scaled(lambda x, scale: x) is None
    assert record.load()[0] == {"ch97.scaled": 0}
    scaled(scaled_by("y = x.clone(); y[0] *= scale\nreturn y")["scaled"])
    assert record.load()[0] == {"ch97.scaled": 0.4}
    scaled(lambda x, scale: x * scale)
    scaled(lambda x, scale: x)  # a later failure does not remove the pass
    assert record.load()[0] == {"ch97.scaled": 1}
    out, err = capfd.readouterr()
    assert err == "" and out.count("97.1 Scale <it>: 10/10 points.") == 1
    assert out.count("not right yet") == 3


def test_todo_is_not_recorded():
    scaled(scaled_by("raise NotImplementedError")["scaled"])
    assert record.load()[0] == {}


@pytest.mark.parametrize(
    ("check", "objects", "said"),
    [
        (scaled, (), "needs 1 object and was given nothing. Run `check.scaled(scaled)`."),
        (pair, (len,), "needs 2 objects and was given 1 object. Run `check.pair(up, down)`."),
        (scaled, (3.0,), "was given a float in the place of `scaled`"),
        (scaled, (None,), "was given None in the place of `scaled`"),
    ],
)
def test_called_with_the_wrong_things(check, objects, said, capfd):
    check(*objects)
    out, err = capfd.readouterr()
    assert said in out and err == "" and record.load()[0] == {}


def test_one_function_for_several_names_is_no_misuse(capfd):
    pair(*[cell("def up(): return 0")["up"]] * 2)
    assert "another order" not in (out := capfd.readouterr().out) and "5/5" in out


def test_objects_in_another_order(capfd):
    names = cell("def up(): return 2\ndef down(): return 1")
    pair(names["down"], names["up"])
    assert "another order. Run `check.pair(up, down)`." in capfd.readouterr().out
    pair(names["up"], names["down"])
    assert "5/5 points" in capfd.readouterr().out


TERMINAL = """
import sys, warnings, torch
from tests.ch97 import scaled
def noisy(x, scale):
    warnings.warn("careful"); print("to stderr", file=sys.stderr)
    return x * scale
def failing(x, scale):
    return x @ x
scaled(noisy); scaled(failing)
"""


def test_plain_terminal():
    done = subprocess.run([sys.executable, "-c", TERMINAL], capture_output=True, text=True)
    assert done.returncode == 0 and done.stderr == ""
    assert "97.1 Scale <it>: 10/10 points. Verified: 3 random inputs.\n" in done.stdout
    assert "RuntimeError: mat1 and mat2" in done.stdout and "Traceback" not in done.stdout
    assert "careful" not in done.stdout and "<div" not in done.stdout


@pytest.mark.parametrize("value", [np.float32("nan"), np.array([1.0, np.nan]), np.array([1 + 0j])])
def test_nan_and_complex_numbers_are_not_right(value):
    """A judge that compares by `>` takes them for right; the check does not."""
    from lora_course.checks.verdicts import no_numbers

    assert no_numbers({"x": value}).share == 0
    assert no_numbers({"x": np.ones(3), "n": np.arange(3)}) is None
    assert no_numbers({"x": np.array([np.nan])}, nans=("x",)) is None
