"""Names of students as folders: safe on every system, and nobody's but their own."""

import os

from lora_course.grading.results import harmless
from tests.test_reports import FILES, STRANGE


def test_folder_names_are_safe_and_different():
    found = harmless.folders([*STRANGE, "ann"])
    assert len({harmless._folded(name) for name in found.values()}) == len(STRANGE)
    for student, name in found.items():
        assert name and name == os.path.basename(name) and name not in (".", ".."), student
        assert not set('<>:"/\\|?*\0\n\t') & set(name) and name == name.strip(" ."), student
        assert len(name.encode()) < 100 and name.casefold() not in FILES
        assert name.partition(".")[0].casefold() not in harmless.WINDOWS
    for student in ("李雷", "Łukasz Żółć", "мария", "عمر"):
        assert found[student] == student


def test_nobody_can_take_the_folder_of_another():
    first = harmless.folders(["ann", "Ann"])["Ann"]
    assert len(set(harmless.folders(["ann", "Ann", first]).values())) == 3


def test_folders_do_not_depend_on_the_order():
    assert harmless.folders(STRANGE) == harmless.folders(STRANGE[::-1])
