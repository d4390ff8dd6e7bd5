"""Files that are either old or new: a stop at any moment leaves one of the two whole."""

import contextlib
import os
import tempfile
from pathlib import Path

DRAFT = ".lora-course-"  # what a stop by force may leave behind; swept at the next start


def write_atomically(path, data):
    """Replaces the file `path` by `data` (bytes or str) in one step.

    Raises OSError with the old file left as it was, and no draft beside it.
    """
    path = Path(path)
    data = data.encode("utf-8", "surrogatepass") if isinstance(data, str) else data
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, draft = tempfile.mkstemp(prefix=DRAFT, suffix=".tmp", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(draft, 0o644)
        os.replace(draft, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(draft)
        raise


def sweep(folder):
    """Removes the drafts that a stop by force has left in this folder."""
    for draft in Path(folder).glob(f"{DRAFT}*.tmp"):
        with contextlib.suppress(OSError):
            draft.unlink()


def reason(error):
    """Why a file could not be read or written, in the system's words."""
    return error.strerror or type(error).__name__
