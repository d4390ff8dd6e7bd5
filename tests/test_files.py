"""Files that are old or new, whole: full disks, stops at every moment, several writers, fsync."""

import os
import signal
import subprocess
import sys

import pytest

from lora_course.plumbing import files


def fail(*args, **kwargs):
    raise OSError(28, "No space left on device")


def stop(*args, **kwargs):
    raise KeyboardInterrupt


def listing(folder):
    return sorted(os.listdir(folder))


def test_text_and_bytes_in_a_new_folder(tmp_path):
    path = tmp_path / "new" / "a.json"
    files.write_atomically(path, "ä")
    assert path.read_bytes() == "ä".encode()
    files.write_atomically(path, b"\xff")
    assert path.read_bytes() == b"\xff" and listing(path.parent) == ["a.json"]
    with pytest.raises(OSError):
        files.write_atomically(path / "below", "x")


def test_sweep(tmp_path):
    (tmp_path / f"{files.DRAFT}x.tmp").touch()
    (tmp_path / "mine.tmp").touch()
    files.sweep(tmp_path)
    assert listing(tmp_path) == ["mine.tmp"]


def with_draft(path, data):
    with files.replacing(path) as draft:
        draft.write_bytes(data)


@pytest.mark.parametrize("write", [files.write_atomically, with_draft])
@pytest.mark.parametrize("moment", ["fsync", "replace", "chmod"])
@pytest.mark.parametrize("what", [fail, stop])
def test_the_old_file_stays_and_no_draft(tmp_path, monkeypatch, write, moment, what):
    path = tmp_path / "a"
    write(path, b"old")
    with monkeypatch.context() as patch, pytest.raises((OSError, KeyboardInterrupt)):
        patch.setattr(os, moment, what)
        write(path, b"new")
    assert path.read_bytes() == b"old" and listing(tmp_path) == ["a"]


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="Linux only")
def test_a_disk_that_is_full(tmp_path):
    with pytest.raises(OSError), files.replacing(tmp_path / "a") as draft:
        draft.symlink_to("/dev/full")
        draft.write_bytes(b"x" * 10_000)
    assert listing(tmp_path) == []


def test_an_error_in_the_block_is_the_block_s_own(tmp_path):
    with pytest.raises(ZeroDivisionError), files.replacing(tmp_path / "a") as draft:
        draft.write_bytes(b"half")
        raise ZeroDivisionError
    with pytest.raises(FileNotFoundError), files.replacing(tmp_path / "a"):
        pass  # nothing was written
    assert listing(tmp_path) == []


@pytest.mark.parametrize("write", [files.write_atomically, with_draft])
def test_file_and_folder_are_on_the_disk(tmp_path, monkeypatch, write):
    """The draft is flushed before it takes the place, the folder after that."""
    done = []
    kind = {0o040000: "folder", 0o100000: "file"}
    real_fsync, real_replace = os.fsync, os.replace

    def fsync(handle):
        done.append(kind[os.fstat(handle).st_mode & 0o170000])
        real_fsync(handle)

    def replace(draft, path):
        done.append("replace")
        real_replace(draft, path)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(os, "replace", replace)
    write(tmp_path / "a", b"x")
    assert done == ["file", "replace", "folder"] or (sys.platform == "win32" and done[:2])


def test_a_folder_that_cannot_be_flushed_is_no_error(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "open", fail)  # as on Windows
    files.write_atomically(tmp_path / "a", b"x")
    assert (tmp_path / "a").read_bytes() == b"x"


@pytest.mark.skipif(sys.platform == "win32", reason="permissions are other there")
def test_everybody_may_read(tmp_path):
    with files.replacing(tmp_path / "a") as draft:
        draft.touch(mode=0o600)
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o644


@pytest.mark.skipif(sys.platform == "win32", reason="SIGKILL")
def test_what_a_kill_leaves_is_written_over(tmp_path):
    code = "import os, sys; from lora_course.plumbing.files import replacing\n"
    code += "with replacing(sys.argv[1]) as draft:\n    draft.write_bytes(b'half')\n"
    code += "    os.kill(os.getpid(), 9)"
    path = tmp_path / "run.pt"
    with_draft(path, b"old")
    done = subprocess.run([sys.executable, "-c", code, str(path)])
    assert done.returncode == -signal.SIGKILL
    assert path.read_bytes() == b"old" and listing(tmp_path) == ["run.pt", "run.pt.new"]
    with_draft(path, b"new")
    assert path.read_bytes() == b"new" and listing(tmp_path) == ["run.pt"]


def test_two_writers_at_once(tmp_path, monkeypatch):
    """A second writer in the middle of the first one's write does not spoil it."""
    path, real = tmp_path / "a", os.fsync

    def meanwhile(handle):
        monkeypatch.setattr(os, "fsync", real)
        files.write_atomically(path, b"second")
        real(handle)

    monkeypatch.setattr(os, "fsync", meanwhile)
    files.write_atomically(path, b"first")
    assert path.read_bytes() == b"first" and listing(tmp_path) == ["a"]


def test_a_folder_of_drafts(tmp_path, monkeypatch):
    """Stopped between two files, each of them is old or new; the next save puts that right."""

    def save(text):
        drafts = tmp_path / ".new"
        drafts.mkdir(exist_ok=True)
        for name in "ab":
            (drafts / name).write_text(text)
        files.put_all(drafts, tmp_path)

    def kept():
        return [(tmp_path / name).read_text() for name in "ab"]

    def once(draft, path):
        real(draft, path)
        monkeypatch.setattr(os, "replace", stop)

    save("old")
    assert kept() == ["old", "old"] and listing(tmp_path) == ["a", "b"]
    real = os.replace
    monkeypatch.setattr(os, "replace", once)
    with pytest.raises(KeyboardInterrupt):
        save("new")
    assert kept() == ["new", "old"]
    monkeypatch.setattr(os, "replace", real)
    save("newer")
    assert kept() == ["newer", "newer"] and listing(tmp_path) == ["a", "b"]
