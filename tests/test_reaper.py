"""What a box leaves is removed, however deep, and a folder too full is noticed."""

import os

from lora_course.grading.box import reaper


def test_remove(tmp_path):
    """However deep, closed or oddly named; what links point to stays."""
    place, other = tmp_path / "box", tmp_path / "other"
    place.mkdir()
    other.mkdir()
    (other / "kept").write_text("kept")
    (place / "link").symlink_to(other)
    (place / "closed").mkdir(mode=0)
    with open(os.path.join(os.fsencode(place), b"\xff\n"), "w"):
        pass
    here = os.open(place, os.O_RDONLY)
    for _ in range(1500):
        os.mkdir("d", dir_fd=here)
        below = os.open("d", os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
    os.close(here)
    reaper.remove(place)
    assert not place.exists() and (other / "kept").exists()


def test_full(tmp_path):
    assert not reaper.full(tmp_path)
    (tmp_path / "sparse").write_bytes(b"")
    os.truncate(tmp_path / "sparse", 10 << 30)
    assert not reaper.full(tmp_path)  # takes no room
    for number in range(reaper.FILES + 1):
        (tmp_path / str(number)).touch()
    assert reaper.full(tmp_path)
