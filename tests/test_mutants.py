"""The mutation test is tested: what it makes, what it lets through, and a sample of it is run."""

import ast
import re
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from lora_course.checks.core import Check, Verdict
from tests.mutate import mutants, on_gradients
from tests.warm import run_script

pytest.importorskip("resource", reason="the command needs fork")
from tests import mutants as command  # noqa: E402

ROOT = Path(__file__).resolve().parent.parent
# Words of the command, for what has no survivor that is not listed; "03" is a whole chapter.
COVERED = tuple(f"{number:02}" for number in range(1, 21))
linux = pytest.mark.skipif(sys.platform != "linux", reason="only Linux limits a process's memory")
SAMPLE = 12  # mutants of each
UNUSED = ("rfc3987_syntax",)  # a grammar of addresses, two seconds to import, for jsonschema


def bodies(code, lines=None):
    """The mutants without the line of def."""
    return {m.code.partition("\n")[2].strip() for m in mutants(code, lines)}


MADE = [  # a statement, and what must be among its mutants
    ("return a + b", ("return a - b", "return a * b", "return a", "return b")),
    ("return a - b", ("return a + b", "return b - a")),
    ("return a / b", ("return a * b", "return a // b", "return b / a")),
    ("return a @ b", ("return a * b", "return b @ a", "return a.detach() @ b")),
    ("return a @ b", ("return (a @ b).detach()", "return a @ b.detach()")),
    ("return -a", ("return a", "return None")),
    ("return a < b", ("return a <= b", "return a > b")),
    ("return a in b", ("return a not in b",)),
    ("return a and b", ("return a or b", "return a", "return b")),
    ("return a[:3, 0]", ("return a[0, :3]", "return a[:3, 1]", "return a[:3, -1]", "return a")),
    ("return a[1:5]", ("return a[:5]", "return a[1:]")),
    ("return 8", ("return 9", "return 7", "return 16", "return 0", "return -8")),
    ("return 0.95", ("return 1.95", "return 0.475", f"return {0.95 * 1.05}")),
    ("return 1000000000.0", ("return 1050000000.0", "return 0")),
    ("return True", ("return False",)),
    ("return 'q_proj'", ("return 'q_projx'", "return ''")),
    ("return 'p\\nq\\n'", ("return 'p\\n'", "return 'q\\np\\n'")),
    ("return f'{a}.b'", ("return f'{b}.b'", "return f'{a}.bx'")),
    ("return a.sum(dim=0)", ("return a.sum()", "return a.sum(dim=-1)", "return a.mean(dim=0)")),
    ("return a.sum(dim=-1)", ("return a.sum(dim=-0)", "return a.sum(dim=1)")),
    ("return f(a, b, k=a)", ("return f(b, a, k=a)", "return f(a, k=a)", "return f(a, b)")),
    ("return f(k=1, n=2)", ("return f(k=2, n=1)", "return f(n=2)")),
    ("return list(a)", ("return a",)),
    ("return a.clone()", ("return a",)),
    ("return a.detach()", ("return a",)),
    ("return a.T", ("return a",)),
    ("return a.lora_A", ("return a.lora_B", "return b.lora_A")),
    ("return a.in_features", ("return a.out_features",)),
    ("return math.ceil(a)", ("return math.floor(a)", "return a")),
    ("return a.to(torch.bfloat16)", ("return a.to(torch.float16)", "return a")),
    ("return torch.optim.AdamW(a)", ("return torch.optim.SGD(a)",)),
    ("return (a, b)", ("return (b, a)",)),
    ("return {'a': a, 'b': b}", ("return {'a': b, 'b': a}", "return {'b': b}")),
    ("return a if b else 0", ("return a", "return 0", "return a if not b else 0")),
    ("return [n for n in a if n > b]", ("return [n for n in a]",)),
    (
        "return [n for n in a]",
        ("return [n for n in list(a)[1:]]", "return [n for n in list(a)[:-1]]"),
    ),
    ("a += b", ("a -= b", "a = b", "a = a + b", "pass")),
    ("a = a + b", ("a += b",)),
    ("a.copy_(b)", ("a = b", "a.copy(b)", "pass")),
    ("a.add_(b)", ("a = a.add(b)", "a.sub_(b)")),
    ("a = a.mul(b)", ("a = a.mul_(b)",)),
    ("a.lora_A = b", ("a.lora_B = b",)),
    ("raise ValueError(f'{a} hits nothing')", ("raise RuntimeError(f'{a} hits nothing')",)),
    ("raise ValueError(f'{a} hits nothing')", ("raise ValueError('')", "pass")),
    ("if a:\n    a = b", ("if not a:\n        a = b", "if True:\n        a = b")),
    ("if a:\n    f()\nelse:\n    g()", ("if a:\n        f()",)),
    ("with torch.no_grad():\n    f()", ("if True:\n        f()",)),
    ("for n in a:\n    f(n)", ("for n in list(a)[1:]:\n        f(n)",)),
    ("for n in a:\n    f(n)", ("for n in a:\n        f(n)\n        break", "pass")),
    ("try:\n    f()\nfinally:\n    g()", ("if True:\n        f()",)),
    ("f(a)\ng(b)", ("g(b)\n    f(a)", "f(a)", "g(b)", "return None\n    f(a)\n    g(b)")),
]


@pytest.mark.parametrize(("line", "wanted"), MADE, ids=[line for line, _ in MADE])
def test_operators(line, wanted):
    code = "def f(a, b):\n" + "\n".join(f"    {part}" for part in line.split("\n"))
    missing = {ast.unparse(ast.parse(f"def f(a, b):\n    {w}")).partition("\n")[2].strip()
               for w in wanted} - bodies(code)  # fmt: skip
    assert not missing


def test_function_and_its_default():
    codes = {m.code for m in mutants("def f(model, r=8):\n    return model(r)")}
    assert "@torch.no_grad()\ndef f(model, r=8):\n    return model(r)" in codes
    assert "def f(model, r=9):\n    return model(r)" in codes
    bare = {m.code for m in mutants("@torch.no_grad()\ndef f(a):\n    return a")}
    assert "def f(a):\n    return a" in bare


def test_what_is_left_alone():
    code = '''
def f(a: int, b: int = 3) -> int:
    """A text, 1 + 1."""
    x = a + b
    return x

def g():
    raise NotImplementedError("not done")
'''
    for m in mutants(code, {4, 5}):
        assert '"""A text, 1 + 1."""' in m.code and "a: int" in m.code and "-> int" in m.code
        assert 'NotImplementedError(\'not done\')' in m.code  # fmt: skip
        assert m.where == "f"
    assert "x = a - b\n    return x" in "".join(m.code for m in mutants(code, {4}))
    assert not [
        m for m in mutants(code, {4}) if "return None" in m.code and "x = a + b" not in m.code
    ]


def test_each_text_once_none_the_original_all_compile():
    code = "def f(a, b):\n    c = a * 1 + b * 1\n    return c + 1\n"
    made = [m.code for m in mutants(code)]
    assert len(made) == len(set(made)) > 30
    assert ast.unparse(ast.parse(code)) not in made
    for text in made:
        compile(text, "<mutant>", "exec")


def test_independent_lines_are_not_swapped():
    swaps = ("a = f1\nb = f2", "b = f2\na = f1")
    assert swaps[1] not in {m.code for m in mutants(swaps[0])}
    for code in ("a = 1\nb = a", "a = m.step()\nb = m.rate()", "a = 1\na = 2"):
        first, second = code.split("\n")
        assert f"{second}\n{first}" in {m.code for m in mutants(code)}


def test_name_of_a_mutant_survives_a_move():
    """The same change has the same name wherever it stands; twice the same line is numbered."""
    one = mutants("class L:\n    def f(self, a):\n        return a + 1\n")
    two = mutants("import os\n\n\nclass L:\n    def f(self, a):\n\n        return a + 1\n")
    assert {(m.where, m.diff) for m in one} <= {(m.where, m.diff) for m in two}
    assert ("L.f", ("- return a + 1", "+ return a - 1")) in {(m.where, m.diff) for m in one}
    twice = mutants("def f(a):\n    g(a < 1)\n    h(a)\n    g(a < 1)\n")
    found = {m.where for m in twice if m.diff == ("- g(a < 1)", "+ g(a <= 1)")}
    assert found == {"f", "f #2"}
    assert len({(m.where, m.diff) for m in twice}) == len(twice)


def test_long_lines_are_cut_to_the_change():
    settings = ", ".join(f"setting_{i}={i}" for i in range(20, 40))
    diffs = {m.diff for m in mutants(f"def f(a):\n    return call({settings})\n")}
    (cut,) = (d for d in diffs if "setting_29=30, setting_30=30" in d[-1])
    assert cut[0].startswith("- ...") and "setting_29=29" in cut[0]
    assert max(len(line) for line in cut) < 90
    whole = {m.diff for m in mutants("def f(a):\n    return g(a, 1)\n")}
    assert ("- return g(a, 1)", "+ return g(a, 2)") in whole


def test_gradients():
    made = mutants("def f(a, b):\n    return (a @ b).detach()")
    cut = [m for m in made if on_gradients(m.diff)]
    assert cut and len(cut) < len(made)
    assert not [m for m in cut if "detach" not in m.code and "no_grad" not in m.code]


SOLUTION = "def double(x):\n    y = x + x\n    return y\n"


def toy(judge):
    """A check of double(x) on one number."""
    return Check(
        name="double",
        title="Double",
        wants=("double",),
        difficulty=1,
        minutes=1,
        points=1,
        verified="",
        hints=("a", "b", "c"),
        mistakes={"other": "no"},
        make=lambda seed: {"x": np.array(3.0 + seed)},
        probe=lambda space, arrays: {"y": np.asarray(space["double"](float(arrays["x"])), float)},
        judge=judge,
    )


def lazy(inputs, outputs):
    return Verdict(1.0)


def strict(inputs, outputs):
    right = outputs["y"] == 2 * inputs["x"]
    return Verdict(1.0) if right else Verdict(0.0, "other")


def alive(judge, codes):
    return command.survivors(toy(judge), {"__name__": "__main__"}, codes, (0, 1), 2.0)


def test_a_check_that_asserts_nothing_lets_mutants_through():
    codes = [m.code for m in mutants(SOLUTION)]
    through = alive(lazy, codes)
    assert len(through) >= len(codes) / 4
    assert any("y = x - x" in codes[i] for i in through)
    assert not alive(strict, codes)
    assert alive(strict, [SOLUTION, "def double(x):\n    return 2 * x"]) == [0, 1]


@pytest.mark.parametrize(
    "line",
    [
        "while True: pass",
        "raise SystemExit(0)",
        "import os; os.kill(os.getpid(), 9)",
        pytest.param("x = bytearray(10**12)", marks=linux),
        "return undefined",
    ],
)
def test_what_does_not_end_well_is_rejected(line):
    assert alive(lazy, [f"def double(x):\n    {line}\n    return x"]) == []


def test_two_at_a_time():
    codes = ["def double(x): return x", SOLUTION] * 3
    check = toy(strict)
    assert command.survivors(check, {}, codes, (0,), 2.0, jobs=2) == [1, 3, 5]


@pytest.fixture
def listed(tmp_path, monkeypatch):
    """Writes the list of chapter 99."""

    def write(text):
        monkeypatch.setattr(command, "LISTS", tmp_path)
        (tmp_path / "ch99.txt").write_text(text, encoding="utf-8")
        command.equivalent.cache_clear()

    yield write
    command.equivalent.cache_clear()


def counts(judge, sample=None):
    """killed, equivalent, survived and stale of the toy."""
    parts = {}, toy(judge), (SOLUTION, mutants(SOLUTION))
    return command.run_exercise("99", "double", parts, command.parsed(["99"]), sample)[1:]


def test_survivors_and_their_list(listed, capsys):
    listed("")
    _, equivalent, survived, stale = counts(lazy)
    assert survived >= 3 and equivalent == stale == 0
    printed = capsys.readouterr().out
    assert "@ double double\n- y = x + x\n+ y = x - x\n" in printed

    entry = "@ double double\n- y = x + x\n+ y = x - x\n= this check sees nothing\n"
    listed("# a remark\n\n" + entry)
    assert counts(lazy)[1:] == (1, survived - 1, 0)
    assert counts(strict)[1:] == (0, 0, 1), "listed, yet rejected"
    assert "stale, is rejected:\n@ double double\n- y = x + x" in capsys.readouterr().out
    listed(entry.replace("x - x", "x ^ x"))
    assert counts(lazy)[1:] == (0, survived, 1), "listed, yet not made"
    assert counts(lazy, sample=[0])[3] == 0, "a sample does not know what is no longer made"


def test_one_entry_for_gradients(listed):
    listed("@ double\n~ gradients\n= a number has none\n")
    made = mutants("def double(x):\n    return x\n")
    parts = {}, toy(lazy), ("def double(x):\n    return x\n", made)
    found = command.run_exercise("99", "double", parts, command.parsed(["99"]))
    cut = [m for m in made if on_gradients(m.diff)]
    assert len(cut) == 1 and found[4] == 1, (
        "float has no detach: nothing survives, the entry is old"
    )


def test_one_entry_for_every_mutant(listed):
    listed("@ double\n~ every\n= whatever passes is right\n")
    assert counts(lazy)[2:] == (0, 0) and counts(lazy)[1] >= 3
    assert counts(strict)[1:] == (0, 0, 1)


@pytest.mark.parametrize("text", ["= why\n", "@ a\n= why\n", "@ a\n- x\n= \n", "x = 1\n",
    "@ a\n- x\n= why\n@ a\n- x\n= why\n"])  # fmt: skip
def test_broken_list(listed, text):
    listed(text)
    with pytest.raises(ValueError, match="ch99.txt"):
        command.equivalent("99")


@pytest.mark.parametrize("path", sorted((ROOT / "tests/equivalent").glob("*.txt")), ids=str)
def test_lists_name_exercises(path):
    number = re.fullmatch(r"ch(\d\d)\.txt", path.name)[1]
    source = next((ROOT / "solutions/source").glob(f"{number}_*.py")).read_text(encoding="utf-8")
    names = set(re.findall(r'^# %% exercise="(\w+)"', source, re.MULTILINE))
    assert {exercise for exercise, _, _ in command.equivalent(number)} <= names


CALLS = """
import sys
from tests.mutants import main
sys.exit(max(main(words.split()) for words in sys.argv[1:]))
"""


@pytest.mark.slow
def test_samples_of_mutants_are_rejected(tmp_path):
    """In one process of its own: forking wants a single thread, and torch is imported once."""
    (tmp_path / "calls.py").write_text(CALLS, encoding="utf-8")
    words = [f"{words} --sample {SAMPLE}" for words in COVERED]
    code, said = run_script(
        tmp_path / "calls.py", ROOT, tmp_path / "said", words, hidden=UNUSED, first=one_thread
    )
    assert code == 0, said


def one_thread():
    """A process with threads at work cannot be forked."""
    torch.set_num_threads(1)
