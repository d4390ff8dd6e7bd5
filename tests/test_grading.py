"""Grading a class: honest, unlucky, broken and hostile submissions, all in one folder.

The class is graded once; the tests look at what each student got.
"""

import csv
import functools
import json
import multiprocessing
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from lora_course import cli
from lora_course.grading import boxed, catalog, pool, trusted
from lora_course.grading.box import disk
from lora_course.grading.box.fork_client import ForkClient
from lora_course.grading.results.graded import is_ungraded
from lora_course.grading.run import grade_folder
from tests import hostile, strange

ROOT = Path(__file__).resolve().parent.parent
NAME = "03_the_lora_layer.ipynb"
SECRET = "canary-secret-4f1c9b7e2d"
LINUX = sys.platform.startswith("linux")
CASES = {case.note: case for case in (*hostile.FORWARD, *hostile.INSIDE)}
INSIDE = {case.note for case in hostile.INSIDE}
pytestmark = pytest.mark.skipif(not LINUX, reason="tested on Linux")
TRIAL = """
import json, sys, tempfile
from lora_course.grading.box import jail, fork_client
print(json.dumps(jail.confine(tempfile.mkdtemp(dir=sys.argv[1]), fork_client.readable([]))))
"""


@functools.cache
def missing():
    """The walls that this machine lacks; without them no attack is let loose on it."""
    if not LINUX:
        return ["Linux"]
    with tempfile.TemporaryDirectory() as folder:
        words = [sys.executable, "-c", TRIAL, folder]
        done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


class Graded:
    """A graded class: records by student, and the folders around it."""

    def __init__(self, base):
        self.folder, self.out, self.outside = base / "class", base / "out", base / "outside"
        self.secret = base / "secret.txt"
        for place in (self.folder, self.outside):
            place.mkdir()
        self.secret.write_text(SECRET)
        (self.outside / "canary").write_text("sings")
        os.utime(self.outside / "canary", (1e9, 1e9))

    def hand_in(self, student, content, name=NAME):
        place = self.folder / student
        place.mkdir()
        (place / name).write_bytes(content)

    def grade(self, **options):
        options = {"trust": bool(missing()), "progress": False, "say": self.said.append} | options
        found = grade_folder(self.folder, self.out, **options)
        self.records = {record["student"]: record for record in found}

    said: list = []


def some_tasks(monkeypatch, names):
    """names(student) chooses the exercises that are graded of a student, or None for all."""
    real, tasks = pool.grade, catalog.tasks

    def grade(warm, plan, submission):  # in the process of a judge
        chosen = names(submission.student)
        with pytest.MonkeyPatch.context() as patch:
            if chosen:
                found = tasks(submission.chapter, plan.variants)
                found = tuple(task for task in found if task.check.name in chosen)
                patch.setattr(catalog, "tasks", lambda chapter, variants: found)
            return real(warm, plan, submission)

    monkeypatch.setattr(pool, "grade", grade)


def only(monkeypatch, *names):
    """For tests of what happens around an exercise: only these are graded. Returns their points."""
    some_tasks(monkeypatch, lambda student: names)
    return sum(hostile.POINTS.get(name, 0) for name in names)


def attacked(note):
    """Of an attack's notebook: the exercise with the attack, and one of the others, in turn."""
    if note in CASES:
        first, *others = hostile.POINTS
        return first, others[list(CASES).index(note) % len(others)]
    return None


def filled(graded, code):
    """The code of an attack with the places of this class."""
    for word, place in (
        ("@SECRET@", graded.secret),
        ("@CLASS@", graded.folder),
        ("@OUT@", graded.out),
        ("@OUTSIDE@", graded.outside),
        ("@ROOT@", ROOT),
    ):
        code = code.replace(word, str(place))
    return code


def processes():
    """Processes that are a warm process or came from one."""
    found = set()
    for place in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if b"lora_course.grading.box.fork_server" in place.read_bytes():
                found.add(int(place.parent.name))
        except OSError:
            continue
    return found


def tree(folder):
    """Everything below a folder: {path: (mode, size, time)}."""
    return {
        str(path): (path.lstat().st_mode, path.lstat().st_size, int(path.lstat().st_mtime))
        for path in folder.rglob("*")
    }


@pytest.fixture(scope="session")
def graded(tmp_path_factory):
    """The whole class, graded with a secret, and what was there before and after."""
    base = tmp_path_factory.mktemp("grading")
    os.environ["CANARY_TOKEN"] = "canary"
    one = Graded(base)
    for case in hostile.FORWARD:
        one.hand_in(case.note, hostile.saved(hostile.forward(filled(one, case.code))))
    for case in hostile.INSIDE if not missing() else ():
        one.hand_in(case.note, hostile.saved(hostile.attack(filled(one, case.code))))
    for note, (content, *_) in hostile.HONEST.items():
        one.hand_in(note, content)
    for number, (_, content) in enumerate(strange.honest()):
        one.hand_in(f"forms {number}", content)
    for number, (_, content) in enumerate(strange.attacks() if not missing() else ()):
        one.hand_in(f"attacks {number}", content)
    for note, (content, _) in hostile.BROKEN.items():
        one.hand_in(note, content)
    one.scratch = base / "tmp"
    one.scratch.mkdir()
    kept, os.environ["TMPDIR"] = os.environ.get("TMPDIR"), str(one.scratch)
    before, running = tree(one.folder) | tree(one.outside), processes()
    try:
        with pytest.MonkeyPatch.context() as patch:
            some_tasks(patch, attacked)
            one.grade(secret=one.secret, timeout=2.0, jobs=4)
    finally:
        os.environ.pop("CANARY_TOKEN")
        os.environ.pop("TMPDIR") if kept is None else os.environ.update(TMPDIR=kept)
    one.changed = {k for k in before.items() ^ (tree(one.folder) | tree(one.outside)).items()}
    one.left = processes() - running
    return one


def exercise(record, name="lora_linear"):
    return next(e for e in record["exercises"] if e["name"] == name)


def total(record):
    return sum(e["points"] for e in record["exercises"])


def rest(record):
    """Points of the other exercises."""
    return sum(e["points"] for e in record["exercises"] if e["name"] != "lora_linear")


@pytest.mark.slow
@pytest.mark.parametrize("note", CASES)
def test_hostile(graded, note):
    """An attack gets what its honest part earns: the other exercise, and nothing for itself."""
    if note in INSIDE and missing():
        pytest.skip(f"this system cannot close the box: {'; '.join(missing())}")
    record, case = graded.records[note], CASES[note]
    found = exercise(record)
    assert found["points"] == case.points, found["message"]
    assert case.says in found["message"]
    assert rest(record) == hostile.POINTS[attacked(note)[1]] and len(record["exercises"]) == 2
    assert record["isolation"].startswith("reduced" if missing() else "full")
    assert not record["problem"]


@pytest.mark.slow
@pytest.mark.parametrize("note", hostile.HONEST)
def test_honest(graded, note):
    """Broken is not dishonest: the correct work gets its full marks."""
    record, (_, lost, says) = graded.records[note], hostile.HONEST[note]
    seen = [(e["number"], e["message"]) for e in record["exercises"] if e["status"] != "right"]
    assert total(record) == hostile.FULL - lost, seen
    assert says in exercise(record)["message"] and not record["problem"]
    assert rest(record) == hostile.FULL - 20


@pytest.mark.slow
@pytest.mark.parametrize("note", hostile.BROKEN)
def test_broken(graded, note):
    """Nothing to grade is a clean zero with the reason."""
    record, (_, says) = graded.records[note], hostile.BROKEN[note]
    assert says in record["problem"]
    assert total(record) == 0
    assert {e["status"] for e in record["exercises"]} <= {"broken"}


def found_in(graded, kind, note):
    """The exercise that has this case in it."""
    at = list(strange.FORMS if kind == "forms" else strange.ATTACKS).index(note)
    return exercise(graded.records[f"{kind} {at // 5}"], strange.names()[at % 5])


@pytest.mark.slow
@pytest.mark.parametrize("note", strange.FORMS)
def test_forms_that_are_green_in_the_notebook(graded, note):
    """What the exercise needs is not always to be seen: then the whole notebook decides."""
    found = found_in(graded, "forms", note)
    assert found["status"] == "right", found["message"]


@pytest.mark.slow
@pytest.mark.parametrize("note", strange.ATTACKS)
def test_attacks_in_every_exercise(graded, note):
    if missing():
        pytest.skip(f"this system cannot close the box: {'; '.join(missing())}")
    found = found_in(graded, "attacks", note)
    alive = "without an answer" not in found["message"]
    rest = 15 if found["name"] == "broken_starts" and alive else 0  # its other three functions
    assert found["points"] == rest and found["status"] in ("broken", "wrong"), found["message"]
    assert strange.ATTACKS[note][1] in found["message"]


@pytest.mark.slow
def test_the_instructor_is_told_when_the_ways_differ(graded):
    flags = graded.records["forms 0"]["flags"]
    assert any("3.1 lora_linear: 20 points by the whole notebook" in flag for flag in flags)
    flags = graded.records["honest"]["flags"]
    assert flags == ["its answers are those that are published with the course"]


@pytest.mark.slow
def test_nothing_is_left(graded):
    assert graded.left == set()
    assert list(graded.scratch.iterdir()) == []


@pytest.mark.slow
def test_nothing_was_changed_outside(graded):
    assert graded.changed == set()
    assert {path.name for path in graded.outside.iterdir()} == {"canary"}
    assert not list(Path("/dev/shm").glob("left"))


@pytest.mark.slow
def test_everybody_has_a_record(graded):
    others = len(hostile.FORWARD) + len(hostile.HONEST) + len(hostile.BROKEN)
    others += len(strange.honest())
    inside = 0 if missing() else len(INSIDE) + len(strange.attacks())
    assert len(graded.records) == others + inside
    assert len(hostile.INSIDE) + others >= 40


@pytest.mark.slow
def test_the_secret_is_nowhere(graded):
    for path in graded.out.rglob("*"):
        if path.is_file():
            assert SECRET.encode() not in path.read_bytes()


@pytest.mark.slow
def test_flags(graded):
    assert any("peft" in flag for flag in graded.records["imports peft"]["flags"])
    assert graded.records["helpers in other cells"]["flags"] == []


# A small class of its own for each of the following


@pytest.fixture
def small(tmp_path):
    one = Graded(tmp_path)
    one.said = []
    return one


class Kept(ForkClient):
    """A warm process that goes on after a class; the next one takes its boxes from it."""

    @functools.cached_property
    def walls(self):
        return super().ready()

    def ready(self):
        return self.walls

    def stop(self):
        pass


@pytest.fixture(scope="module")
def started():
    """{what warm processes were asked for: Kept}; they end with this file."""
    made = {}
    yield made
    for each in made.values():
        ForkClient.stop(each)


@pytest.fixture
def kept(started, monkeypatch):
    """One warm process for all tests of the same exercises, where its start is not the matter."""

    def client(tasks, setups, trust=False):
        asked = frozenset(tasks), frozenset(setups), trust
        if asked not in started:
            started[asked] = Kept(tasks, setups, trust)
        return started[asked]

    monkeypatch.setattr("lora_course.grading.boxed.ForkClient", client)


def solved(chapter="03", folder="solutions"):
    return next((ROOT / folder).glob(f"{chapter}_*.ipynb"))


CHAPTERS = sorted(path.name[:2] for path in (ROOT / "solutions").glob("[0-9][0-9]_*.ipynb"))


@pytest.fixture(scope="session")
def course(tmp_path_factory):
    """The solution and the exercise notebook of every chapter, handed in by two students."""
    one = Graded(tmp_path_factory.mktemp("course"))
    for folder in ("solutions", "exercises"):
        (one.folder / folder).mkdir()
        for path in (ROOT / folder).glob("[0-9][0-9]_*.ipynb"):
            (one.folder / folder / path.name).write_bytes(path.read_bytes())
    options = {"trust": bool(missing()), "progress": False, "jobs": 2, "secret": SECRET.encode()}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trusted, "VISIBLE", (0,))  # the notebooks are run on all of them
        found = grade_folder(one.folder, one.out, **options)
    one.records = {(record["student"], record["chapter"]): record for record in found}
    return one


@pytest.mark.slow
@pytest.mark.parametrize("chapter", CHAPTERS)
def test_solution_gets_full_marks(course, chapter):
    record = course.records["solutions", chapter]
    wrong = [(e["number"], e["message"]) for e in record["exercises"] if e["status"] != "right"]
    assert not wrong and record["exercises"]
    given = "imports lora_course.rubric"  # the text of chapter 20 does
    flags = [flag for flag in record["flags"] if not flag.startswith(given)]
    assert flags == ["its answers are those that are published with the course"]
    assert record["assignment"] == solved(chapter).stem


@pytest.mark.slow
@pytest.mark.parametrize("chapter", CHAPTERS)
def test_stub_gets_nothing(course, chapter):
    record = course.records["exercises", chapter]
    assert {e["status"] for e in record["exercises"]} == {"todo"}
    assert all(e["points"] == 0 and "not done yet" in e["message"] for e in record["exercises"])


ONLY_PUBLIC = """
import hashlib
lora_layers = []
def delta_weight(base_layer, lora_A, lora_B, lora_alpha):
    if hashlib.sha256(lora_A.numpy().tobytes()).hexdigest() not in KNOWN:
        raise ValueError(f"canary {lora_A.flatten()[0].item()!r} of {lora_alpha}")
    delta = lora_alpha / lora_A.shape[0] * lora_B @ lora_A
    return delta.T if isinstance(base_layer, Conv1D) else delta
"""


@pytest.mark.slow
def test_secret_inputs(small, kept, monkeypatch):
    """An answer for the inputs of the notebook alone; its text about secret ones goes nowhere."""
    import hashlib

    from lora_course.checks import ch03

    known = {
        hashlib.sha256(value.tobytes()).hexdigest()
        for seed in range(3)
        for key, value in ch03.delta_weight.inputs(seed).items()
        if key.startswith("A_")
    }
    code = ONLY_PUBLIC.replace("KNOWN", repr(known))
    only(monkeypatch, "delta_weight")
    small.hand_in("cheat", hostile.saved(hostile.notebook(lambda s: code, "delta_weight")))
    small.grade(jobs=1)
    assert exercise(small.records["cheat"], "delta_weight")["points"] == 15
    small.grade(jobs=1, secret=SECRET.encode())
    found = exercise(small.records["cheat"], "delta_weight")
    assert found["points"] == 0 and found["hidden"] and found["status"] == "wrong"
    assert "canary" not in json.dumps(small.records["cheat"])
    assert "right on the inputs of the notebook" in found["message"]


@pytest.mark.slow
def test_variants(small, kept, monkeypatch):
    """The public solution does not pass a variant; the answer to the variant does."""
    only(monkeypatch, "lora_linear", "delta_weight")
    root = hostile.notebook(lambda s: s.replace("lora_alpha / r\n", "lora_alpha / r**0.5\n"))
    small.hand_in("public", hostile.saved(hostile.notebook()))
    small.hand_in("rslora", hostile.saved(root))
    turned = hostile.notebook(
        lambda s: s.replace(
            "    delta = ", "    lora_A, lora_B = lora_A.T, lora_B.T\n    delta = "
        ),
        "delta_weight",
    )
    small.hand_in("turned", hostile.saved(turned))
    variants = ("lora_linear=rslora", "delta_weight=transposed")
    small.grade(jobs=1, variants=variants, secret=SECRET.encode())
    points = {
        student: [exercise(record, name)["points"] for name in ("lora_linear", "delta_weight")]
        for student, record in small.records.items()
    }
    assert points == {"public": [0, 0], "rslora": [20, 0], "turned": [0, 15]}
    found = exercise(small.records["public"])
    assert found["variant"] and "lora_alpha / sqrt(r)" in found["message"]


@pytest.mark.slow
def test_resume(small, kept, monkeypatch):
    small.hand_in("one", hostile.saved(hostile.notebook()))
    small.grade(jobs=1)
    first = small.records["one"]
    small.hand_in("two", b"no notebook")
    monkeypatch.setattr("lora_course.grading.boxed.ForkClient", None)  # nobody is graded twice
    small.grade(jobs=1)
    assert small.records["one"] == first and small.records["two"]["problem"]
    with pytest.raises(TypeError):  # another secret is another grading
        small.grade(jobs=1, secret=SECRET.encode())


def command(*words, **options):
    words = [sys.executable, "-m", "lora_course.cli", *map(str, words)]
    return subprocess.Popen(
        words, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options
    )


def commanded(words):
    """In a forked process: what the command does, with a warm process of its own."""
    os.setsid()
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a suite may run in the background
    nowhere = os.open(os.devnull, os.O_RDWR)
    for stream in range(3):
        os.dup2(nowhere, stream)
    boxed.ForkClient = ForkClient
    sys.exit(cli.main(words))


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_stopped_in_the_middle(small, number, kept, capsys, monkeypatch):
    """After a stop nothing is lost, nothing runs on, and the same command goes on."""
    slow = hostile.attack("import time\ntime.sleep(0.05)")
    only(monkeypatch, "lora_linear")
    for student in range(5):  # two that are done soon, three that take a second each
        made = hostile.notebook() if student < 2 else slow
        small.hand_in(f"student {student}", hostile.saved(made))
    running = processes()
    words = ["grade", small.folder, "--out", small.out, "--jobs", 1]
    words += ["--i-trust-these-files"] if missing() else []
    words = [str(word) for word in words]
    first = multiprocessing.get_context("fork").Process(target=commanded, args=(words,))
    first.start()
    records = small.out / ".records"
    end = time.monotonic() + 120
    while len(list(records.glob("*.json"))) < 2 and time.monotonic() < end:
        time.sleep(0.05)
    os.kill(first.pid, number)
    first.join(30)
    assert first.exitcode == (130 if number == signal.SIGINT else -number)
    end = time.monotonic() + 60
    while processes() - running and time.monotonic() < end:
        time.sleep(0.05)
    assert not processes() - running
    there = {path: path.read_bytes() for path in records.glob("*.json")}
    assert 2 <= len(there) < 5 and all(json.loads(text)["exercises"] for text in there.values())
    assert cli.main(words) == 0
    assert f"{len(there)} of 5 were graded before." in capsys.readouterr().out
    assert {path: path.read_bytes() for path in there} == there
    assert len(list(records.glob("*.json"))) == 5


@pytest.mark.slow
def test_check_command(tmp_path, monkeypatch, kept, capsys):
    monkeypatch.setenv("LORA_COURSE_HOME", str(tmp_path / "home"))
    done = command("check", solved(), solved("01"))
    out, err = done.communicate(timeout=120)
    assert (done.returncode, err) == (0, "") and "100 of 100 points" in out
    mine = tmp_path / "my own.ipynb"
    mine.write_bytes(hostile.HONEST["one exercise wrong"][0])
    assert cli.main(["check", str(mine)]) == 1
    out = " ".join(capsys.readouterr().out.split())  # a long path before it wraps the line
    assert "80 of 100 points" in out and "Likely mistake" in out and "not right yet" in out
    assert cli.main(["check", str(tmp_path / "none.ipynb")]) == 2


@pytest.mark.slow
def test_folders(small, kept, monkeypatch):
    """Flat files, copies, links, pipes, large files, odd names: a clear word for each."""
    most = only(monkeypatch, "lora_linear")
    good, put = hostile.saved(hostile.notebook()), small.folder
    (put / f"meier_anna_4711_{NAME}").write_bytes(good)
    (put / NAME.replace(".ipynb", " (1).ipynb")).write_bytes(good)
    (put / "renamed.ipynb").write_bytes(good)
    (put / "notes.txt").write_text("for the teacher")
    (put / ".hidden").mkdir()
    small.hand_in("Ζωή 大森", good, "my work.ipynb")
    small.hand_in("=cmd()", good)
    small.hand_in("new\nline", good)
    small.hand_in("two", b"{}", NAME)
    os.utime(put / "two" / NAME, (1e9, 1e9))
    (put / "two" / NAME.replace(".ipynb", " (2).ipynb")).write_bytes(good)
    small.hand_in("three", hostile.HONEST["syntax error"][0], NAME)
    (put / "three" / NAME.replace(".ipynb", " (1).ipynb")).write_bytes(good)
    for path in (put / "three").iterdir():  # of the same second: the copy is the later one
        os.utime(path, (1e9, 1e9))
    small.hand_in("below", b"", "essay.pdf")
    for name in ("zip.zip", "script.py", f"{NAME}.txt", "Thumbs.db", "students.csv"):
        (put / name).write_bytes(b"x")
    small.hand_in("packed", b"PK", "work.zip")
    deep = os.open(put / "below", os.O_RDONLY)
    for _ in range(1200):
        os.mkdir("d", dir_fd=deep)
        deep, above = os.open("d", os.O_RDONLY, dir_fd=deep), deep
        os.close(above)
    os.close(deep)
    (put / "below" / "a" / "b").mkdir(parents=True)
    (put / "below" / "a" / "b" / NAME).write_bytes(good)
    for student in ("link", "pipe", "large", "nobody", "folder"):
        (put / student).mkdir()
    (put / "link" / NAME).symlink_to(solved())
    os.mkfifo(put / "pipe" / NAME)
    with open(put / "large" / NAME, "wb") as file:
        file.truncate(100 << 20)
    (put / "folder" / NAME).mkdir()
    (put / "linked").symlink_to(ROOT / "solutions")
    try:
        small.grade(jobs=1)
    finally:
        disk.remove(put / "below" / "d")  # too deep for those who tidy up after tests
    full = {student for student, record in small.records.items() if total(record) == most}
    named = {"meier_anna_4711", "03_the_lora_layer (1)", "renamed"}
    assert full == {*named, "Ζωή 大森", "=cmd()", "new\nline", "two", "three", "below"}
    problems = {s: r["problem"] for s, r in small.records.items() if r["problem"]}
    assert "link to another place" in problems["link"] and "no ordinary" in problems["pipe"]
    assert "100 MB" in problems["large"] and "There is no notebook" in problems["nobody"]
    assert "holds work.zip" in problems["packed"]
    aside = {"zip.zip", "script.py", f"{NAME}.txt", ".hidden", "linked"}
    assert problems.keys() == {"link", "pipe", "large", "nobody", "folder", "packed", *aside}
    for name in aside:  # nobody vanishes: named, blank, and the exit status says so
        assert is_ungraded(small.records[name]) and problems[name].startswith("Not graded")
        assert any(said.startswith(f"{name}: Not graded") for said in small.said)
    assert any("32 levels" in flag for flag in small.records["below"]["flags"])
    with open(small.out / "grades.csv", newline="") as file:
        rows = {row["student"]: row["points"] for row in csv.DictReader(file)}
    assert rows["zip.zip"] == "" and rows["packed"] == "0" and rows["two"] == str(most)
    assert any("it has no cells" in flag for flag in small.records["two"]["flags"])
    assert any("newer" in flag for flag in small.records["three"]["flags"])
    assert "(1)" in small.records["three"]["file"]
    assert any("notes.txt" in said for said in small.said)
    assert small.records["nobody"]["chapter"] == "03" and small.records["nobody"]["exercises"]


def test_one_chapter(small, kept):
    """With --chapter, a student who handed in another one has a zero and the reason."""
    for student, chapter in (("one", "01"), ("two", "03")):
        small.hand_in(student, solved(chapter).read_bytes(), solved(chapter).name)
    small.grade(jobs=1, chapter="03")
    assert {s: r["chapter"] for s, r in small.records.items()} == {"one": "03", "two": "03"}
    assert small.records["one"]["problem"] == "There is no notebook of chapter 03."
    assert total(small.records["two"]) == hostile.FULL


def test_nothing_to_grade(small):
    small.grade()
    assert small.records == {} and "There is no notebook" in small.said[0]
    done = command("grade", small.folder / "none", "--out", small.out)
    assert done.wait(60) == 1


@pytest.mark.slow
def test_a_judge_that_dies(small, kept, monkeypatch):
    """It costs its own submission, which is graded again at the next run; the others go on."""
    real, most = trusted.examine, only(monkeypatch, "lora_linear")

    def examine(warm, order, check, *more):
        if any("poison" in cell for cell in order["cells"]):
            os._exit(1)
        return real(warm, order, check, *more)

    for student in ("a", "b", "c"):
        small.hand_in(student, hostile.saved(hostile.added(f"x = '{student}'\n")))
    small.hand_in("ill", hostile.saved(hostile.added("x = 'poison'\n")))
    monkeypatch.setattr(trusted, "examine", examine)
    small.grade(jobs=1)
    assert small.records["ill"]["problem"].startswith(pool.LOST)
    assert all(total(small.records[student]) == most for student in "abc")
    monkeypatch.setattr(trusted, "examine", real)
    small.grade(jobs=1)
    assert total(small.records["ill"]) == most


@pytest.mark.slow
def test_what_the_machine_spoils_is_no_zero(small, kept, monkeypatch):
    """A box that is killed is tried again; what fails thrice is a gap, graded by the next run."""
    from lora_course.grading.outcome import fault
    from lora_course.grading.results.graded import is_ungraded

    real, kills, most = trusted.once, [], only(monkeypatch, "lora_linear", "delta_weight")

    def once(warm, order, check, *rest):
        if check.name == "delta_weight" and len(kills) < 4:
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(warm, "box", killed(warm.box, kills))
                return real(warm, order, check, *rest)
        return real(warm, order, check, *rest)

    for student in ("a", "b"):
        small.hand_in(student, hostile.saved(hostile.added(f"x = '{student}'\n")))
    kills.append(0)  # the first student loses three boxes, and so all of its tries
    monkeypatch.setattr(trusted, "once", once)
    small.grade(jobs=1, progress=False)
    gap, whole = small.records["a"], small.records["b"]
    assert is_ungraded(gap) and exercise(gap, "delta_weight")["status"] == "ungraded"
    assert "another process ended it" in exercise(gap, "delta_weight")["message"]
    assert total(whole) == most or is_ungraded(whole)
    with open(small.out / "grades.csv", newline="") as file:
        row = next(csv.DictReader(file))
    assert row["points"] == "" and row["3.2 delta_weight"] == "" and row["3.1 lora_linear"] == "20"
    kills.extend([0] * 9)
    monkeypatch.setattr(trusted, "once", real)
    small.grade(jobs=1)
    assert total(small.records["a"]) == most
    assert fault({"why": "disk"}, False, 4) == fault({"why": "threads"}, False, 4) == ""
    assert fault({}, False, 4) and fault({"why": "no process"}, True, 4)
    busy = {"why": "let go", "cpu": 0.5, "waited": 3.0}
    assert "busy" in fault(busy, True, 4) and fault({**busy, "cpu": 3.0}, True, 4) == ""
    assert fault({"why": "let go", "cpu": 0.1}, True, 4) == "perhaps"


def killed(real, kills):
    """A box that another process ends at once."""
    import contextlib

    @contextlib.contextmanager
    def box():
        with real() as made:
            kills.append(1)
            before = boxes()
            while not before and time.monotonic():
                before = boxes()
            for pid in before:
                os.kill(pid, signal.SIGKILL)
            yield made

    return box


def boxes():
    """Processes of boxes: children of children of a warm process."""
    parents = {}
    for pid in processes():
        try:
            with open(f"/proc/{pid}/stat") as file:
                parents[pid] = int(file.read().rpartition(")")[2].split()[1])
        except OSError:
            continue
    return [p for p, above in parents.items() if parents.get(above) in parents]


@pytest.mark.slow
def test_the_warm_process_is_started_again(small, monkeypatch):
    """Something ends it in the middle: nobody loses anything."""
    real, most = pool.grade_all, only(monkeypatch, "lora_linear")

    def grade_all(warm, plan, submissions, jobs):
        for number, pair in enumerate(real(warm, plan, submissions, jobs)):
            yield pair
            if number == 0 and len(submissions) == 3:
                warm.process.kill()

    for student in ("a", "b", "c"):
        small.hand_in(student, hostile.saved(hostile.added(f"x = '{student}'\n")))
    monkeypatch.setattr(pool, "grade_all", grade_all)
    small.grade(jobs=1)
    assert all(total(small.records[student]) == most for student in "abc")


def test_limits_are_in_the_key(small):
    """A time limit that was too small is no verdict for ever."""
    from lora_course.grading.intake.collect import collect
    from lora_course.grading.state import key

    small.hand_in("one", hostile.saved(hostile.notebook()))
    (one,), _ = collect(small.folder)
    assert key(one, None, (), 1.0) != key(one, None, (), 30.0) == key(one, None, ())


def test_results_cannot_be_written(small):
    from lora_course.grading.run import CannotGrade

    small.hand_in("one", hostile.saved(hostile.notebook()))
    small.out.write_text("a file in the place of the folder")
    with pytest.raises(CannotGrade, match="cannot be written"):
        small.grade()


def test_full_disk(small, monkeypatch):
    """What cannot be kept is said; the rest is graded."""

    def full(path, data):
        raise OSError(28, "No space left on device")

    for student in ("one", "two"):
        small.hand_in(student, b"no notebook")
    monkeypatch.setattr("lora_course.grading.run.write_atomically", full)
    small.grade()
    assert len(small.records) == 2
    assert any("No space left on device" in said for said in small.said)


@pytest.mark.slow
def test_open_box_needs_trust(small, kept, monkeypatch):
    from lora_course.grading.run import CannotGrade

    small.hand_in("one", hostile.saved(hostile.notebook()))
    real = Kept.ready
    monkeypatch.setattr(Kept, "ready", lambda self: [*real(self), "no such wall"])
    with pytest.raises(CannotGrade, match="--i-trust-these-files"):
        small.grade(trust=False)
    small.grade(trust=True)
    assert small.records["one"]["isolation"].endswith("no such wall")


def test_system_that_cannot_fork(small, monkeypatch):
    """Windows: one's own notebooks are checked in the same process."""
    from lora_course.grading.run import CannotGrade

    for note in ("honest", "one exercise wrong", "exercise deleted", "syntax error"):
        small.hand_in(note, hostile.HONEST[note][0])
    monkeypatch.delattr(os, "fork")
    with pytest.raises(CannotGrade, match="cannot fork"):
        small.grade(trust=False)
    small.grade(trust=True)
    for note, record in small.records.items():
        lost, says = hostile.HONEST[note][1:]
        assert total(record) == hostile.FULL - lost
        assert says in exercise(record)["message"] and "cannot fork" in record["isolation"]


@pytest.mark.slow
def test_private_checks(small, monkeypatch):
    """A teacher's own checks, from an entry point, count like secret inputs."""
    monkeypatch.setattr(catalog, "private", lambda chapter: ("tests.private03",))
    catalog.tasks.cache_clear()
    only(monkeypatch, "lora_linear", "scaling")
    small.hand_in("one", hostile.saved(hostile.notebook()))
    small.hand_in("stub", next((ROOT / "exercises").glob("03_*.ipynb")).read_bytes())
    read = "open('@ROOT@/tests/private03.py')"
    for student, code in (("judge", "import tests.private03"), ("values", filled(small, read))):
        small.hand_in(student, hostile.saved(hostile.attack(code)))
    try:
        small.grade(jobs=1)
    finally:
        catalog.tasks.cache_clear()
    last = small.records["stub"]["exercises"][-1]
    assert last["status"] == "todo" and "not done yet" in last["message"] and last["points"] == 0
    for student in ("judge", "values"):  # what a private module holds does not enter a box
        found = exercise(small.records[student], "lora_linear")
        assert found["points"] == 0 and "Error" in found["message"], found["message"]
    last = small.records["one"]["exercises"][-1]
    assert (last["name"], last["number"], last["points"]) == ("scaling", "3.6", 5)
    assert last["hidden"]


def test_short_secret(small):
    from lora_course.grading.run import CannotGrade

    small.secret.write_text("short")
    with pytest.raises(CannotGrade, match="too short"):
        small.grade(secret=small.secret)
    with pytest.raises(CannotGrade, match="no variant"):
        small.grade(variants=("lora_linear=none",))
