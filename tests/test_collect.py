"""Who handed in what: which notebook counts, whose it is, and limits on what is looked at."""

import json
import os

import pytest

from lora_course.grading import catalog
from lora_course.grading.box import disk
from lora_course.grading.intake import choose, collect, find, students, submitted
from tests import hostile

NAME = "03_the_lora_layer.ipynb"
SOLVED = hostile.saved(hostile.notebook())
STUB = next((hostile.ROOT / "exercises").glob("03_*.ipynb")).read_bytes()
CHAPTER = next((hostile.ROOT / "chapters").glob("03_*.ipynb")).read_bytes()


def own(text="lora_alpha * (1 / r)"):
    """A notebook with an answer that is published nowhere."""
    return hostile.saved(hostile.notebook(lambda s: s.replace("lora_alpha / r\n", f"{text}\n")))


def handed_in(folder, files):
    """Submissions of the files {path: content}, each older than the one after it."""
    for number, (path, content) in enumerate(files.items()):
        place = folder / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(content)
        os.utime(place, (1e9 + number, 1e9 + number))
    return collect.collect(folder)[0]


@pytest.mark.parametrize(
    ("files", "chosen"),
    [
        # a fork of the course, in which nothing was done: the published solution is not an answer
        ({f"exercises/{NAME}": STUB, f"solutions/{NAME}": SOLVED}, f"exercises/{NAME}"),
        ({f"solutions/{NAME}": SOLVED, f"chapters/{NAME}": CHAPTER, NAME: STUB}, NAME),
        # one in which the work is somewhere else, and the stub is newer
        ({f"03/{NAME}": own(), f"original/{NAME}": STUB}, f"03/{NAME}"),
        ({f"solutions/{NAME}": own(), f"exercises/{NAME}": STUB}, f"solutions/{NAME}"),
        ({f"work/{NAME}": own(), f"solutions/{NAME}": SOLVED}, f"work/{NAME}"),
        # of two with work of one's own, the newer one
        ({NAME: own(), "03 (1).ipynb": own("lora_alpha / float(r)")}, "03 (1).ipynb"),
        ({"03 (1).ipynb": own(), NAME: own("lora_alpha / float(r)")}, NAME),
        # alone, the published solution counts, and the instructor is told
        ({NAME: SOLVED}, NAME),
        ({"old.ipynb": b"{}", NAME: own()}, NAME),
    ],
)
def test_what_is_in_it_decides(tmp_path, files, chosen):
    (found,) = handed_in(tmp_path, {f"ann/{path}": content for path, content in files.items()})
    assert found.file == f"ann/{chosen}" and not found.problem
    assert any("published" in flag for flag in found.flags) == (files[chosen] == SOLVED)


def test_words_do_not_make_an_answer_ones_own():
    cells = submitted.code_sources(SOLVED)
    changed = [cell.replace('"""A frozen', '"""MINE: a frozen') + "\n# mine\n" for cell in cells]
    assert choose.weigh(changed, "03") == choose.weigh(cells, "03") == (0, 8, True)
    assert choose.weigh(submitted.code_sources(STUB), "03") == (0, 8, False)


def test_deep_and_large_folders(tmp_path):
    """Whatever the folder is like: a word, never a crash, and the others are graded."""
    (tmp_path / "deep").mkdir()
    here = os.open(tmp_path / "deep", os.O_RDONLY)
    for _ in range(1300):
        os.mkdir("d", dir_fd=here)
        here, above = os.open("d", os.O_RDONLY, dir_fd=here), here
        os.close(above)
    os.close(here)
    many = {f"many/{n}.ipynb": b"{}" for n in range(find.NOTEBOOKS + 5)}
    try:
        found = {s.student: s for s in handed_in(tmp_path, {f"ann/{NAME}": SOLVED, **many})}
    finally:
        disk.remove(tmp_path / "deep")
    assert not found["ann"].problem
    assert "32 levels" in found["deep"].problem
    assert any("not all were read" in flag for flag in found["many"].flags)


def test_cells_are_on_the_disk(tmp_path):
    (found,) = handed_in(tmp_path, {f"ann/{NAME}": SOLVED})
    assert found.cells() == tuple(submitted.code_sources(SOLVED))
    assert len(repr(found)) < 600


@pytest.mark.parametrize(
    ("files", "ids"),
    [
        # a download of Canvas
        (
            {f"doejane_LATE_4321_8765_{NAME}": SOLVED, f"roe_4322_8766_{NAME}": SOLVED},
            {"4321", "4322"},
        ),
        # a student's own choice of a name, in a folder and beside other folders
        ({f"bea/doejane_4321_8765_{NAME}": SOLVED}, {""}),
        ({f"doejane_4321_8765_{NAME}": SOLVED, f"bea/{NAME}": SOLVED}, {""}),
        ({f"doejane_4321_8765_{NAME}": SOLVED, f"bea_{NAME}": SOLVED}, {""}),
        # two names that claim one ID
        ({f"doejane_4321_8765_{NAME}": SOLVED, f"bea_4321_8766_{NAME}": SOLVED}, {""}),
    ],
)
def test_nobody_chooses_an_id(tmp_path, files, ids):
    assert {s.canvas_id for s in handed_in(tmp_path, files)} == ids


def test_names_of_files():
    assert students.student_of(f"meier_anna_4711_{NAME}") == "meier_anna_4711"
    assert students.student_of("ann_03_exercises (2).ipynb") == "ann"
    assert students.student_of("renamed.ipynb") == "renamed"


def test_nobody_vanishes(tmp_path):
    files = {"x.zip": b"PK", "y.py": b"", f"z.{NAME}.txt": b"", ".w/a.ipynb": SOLVED}
    found = {
        s.student: s for s in handed_in(tmp_path, {**files, "README.md": b"", "a.ipynb": own()})
    }
    assert {s for s, one in found.items() if one.ungraded} == {
        "x.zip",
        "y.py",
        f"z.{NAME}.txt",
        ".w",
    }
    assert found["a"].chapter == "03" and not found["a"].problem


def test_much_memory_in_a_small_file():
    """Escapes and many small values: refused, or read within ten times the file's size."""
    emoji = json.dumps({"cells": [], "x": "🙂" + "a" * 1000}, ensure_ascii=False).encode()
    assert submitted.code_sources(emoji) == []
    for text in ("[" + "[]," * submitted.PARTS + "0]", '{"a":' * 500_000):
        with pytest.raises(submitted.Unreadable):
            submitted.code_sources(text.encode())
    long = {"cell_type": "code", "source": "x = 1\n" * 60_000}
    with pytest.raises(submitted.Unreadable, match="of code"):
        submitted.code_sources(json.dumps({"cells": [long]}).encode())
    assert catalog.ROOT == hostile.ROOT


def test_characters_of_every_kind():
    words = "größe 大森 🙂 é"
    for ascii_only in (True, False):
        cell = {"cell_type": "code", "source": [words, "\n", "b"]}
        data = json.dumps({"cells": [cell]}, ensure_ascii=ascii_only).encode()
        for content in (data, b"\xef\xbb\xbf" + data, data.decode().encode("utf-16")):
            assert submitted.code_sources(content) == [f"{words}\nb"]
