"""The learner's progress: one small JSON file that is never worth a failing check."""

import contextlib
import json
import os
import tempfile
import time
from pathlib import Path

from lora_course.plumbing.files import reason, write_atomically

FILE = "progress.json"
WAIT = 2.0  # seconds for another notebook to finish writing


def home():
    """The folder of the record: $LORA_COURSE_HOME, else the user's data folder."""
    if os.environ.get("LORA_COURSE_HOME"):
        return Path(os.environ["LORA_COURSE_HOME"]).expanduser()
    from platformdirs import user_data_dir

    return Path(user_data_dir("lora-course", appauthor=False))


def load():
    """The record as {"ch03.lora_linear": best share of the points in [0, 1]}, and notes.

    A damaged file is renamed and the record starts empty; the notes are sentences for the table.
    """
    folder, shares, notes = home(), {}, []
    try:
        shares = read_record(folder / FILE)
    except ValueError:
        set_aside(folder / FILE)
    except OSError as error:
        notes.append(f"The record in {folder} cannot be read: {reason(error)}.")
    with contextlib.suppress(OSError):
        for aside in sorted(folder.glob(f"{FILE}.damaged-*")):
            notes.append(
                f"A damaged record was set aside as {aside}. Run your checks again to fill the "
                "table, then delete that file."
            )
    return shares, notes


def save(key, share):
    """Keeps the share of the points when it is the best so far; True when it lies on disk.

    A later failing check does not remove a pass. A folder that cannot be written to is no error
    here: the table says so. A notebook of solutions/ sets LORA_COURSE_PROGRESS=off: no progress.
    """
    if os.environ.get("LORA_COURSE_PROGRESS") == "off":
        return False
    folder = home()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with locked(folder / "progress.lock"):
            try:
                shares = read_record(folder / FILE)
            except ValueError:
                set_aside(folder / FILE)
                shares = {}
            if share > shares.get(key, -1.0):
                content = {"version": 1, "shares": {**shares, key: share}}
                write_atomically(folder / FILE, json.dumps(content, indent=1, sort_keys=True))
        return True
    except OSError:
        return False


def unwritable():
    """Why progress cannot be kept; an empty text when it can."""
    try:
        home().mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=home()):
            return ""
    except OSError as error:
        return reason(error)


def read_record(path):
    """The shares in the file; raises ValueError when it is damaged, {} when there is none."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except RecursionError as error:  # brackets, thousands deep
        raise ValueError("nested too deep") from error
    shares = content.get("shares") if isinstance(content, dict) else None
    if not isinstance(shares, dict):
        raise ValueError("no shares")
    for share in shares.values():
        if type(share) not in (int, float) or not 0 <= share <= 1:
            raise ValueError(f"{share!r} is not a share")
    return shares


def set_aside(path, word="damaged"):
    """Renames a file to the first free name .damaged-N (or another word), which it returns."""
    number = 1
    while (aside := path.with_name(f"{path.name}.{word}-{number}")).exists():
        number += 1
    with contextlib.suppress(OSError):
        os.replace(path, aside)
    return aside


@contextlib.contextmanager
def locked(path):
    """One writer at a time; the system frees the lock when a process dies."""
    with open(path, "a+b") as file:
        end = time.monotonic() + WAIT
        while not _try_lock(file) and time.monotonic() < end:
            time.sleep(0.01)
        yield  # after WAIT without the lock: better a rare lost entry than a stuck notebook


def _try_lock(file):
    try:
        import fcntl
    except ImportError:  # Windows
        import msvcrt

        file.seek(0)
        lock, mode = msvcrt.locking, (msvcrt.LK_NBLCK, 1)
    else:
        lock, mode = fcntl.flock, (fcntl.LOCK_EX | fcntl.LOCK_NB,)
    try:
        lock(file.fileno(), *mode)
        return True
    except OSError:
        return False
