"""Files that are either old or new: a stop at any moment, or a full disk, leaves one of the two."""

import contextlib
import os
from pathlib import Path

DRAFT = ".lora-course-"  # what a stop by force may leave behind; swept at the next start


def put_in_place(draft, path):
    """Moves a finished file into the place of `path` in one step, once its bytes are on the disk.

    Both must lie on one file system. Raises OSError with the old file left as it was.
    """
    os.chmod(draft, 0o644)  # safetensors and tempfile make files that only their owner can read
    with open(draft, "rb+") as file:
        os.fsync(file.fileno())
    os.replace(draft, path)
    with contextlib.suppress(OSError):  # the new name is on the disk too; Windows has no such call
        folder = os.open(Path(path).parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


@contextlib.contextmanager
def replacing(path, draft=None):
    """The block gets the path of a draft and writes it; at its end the draft takes `path`'s place.

    draft: None is the path with ".new" behind it. A kill may leave that one behind, and the next
    save writes over it, so this is for files with one writer.
    After an error the old file is as it was, and no draft is left.
    """
    path = Path(path)
    draft = path.with_name(f"{path.name}.new") if draft is None else draft
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        yield draft
        put_in_place(draft, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(draft)
        raise


def write_atomically(path, data):
    """Replaces the file `path` by `data` (bytes or str); several writers do not disturb each other.

    Raises OSError with the old file left as it was, and no draft beside it.
    """
    data = data.encode("utf-8", "surrogatepass") if isinstance(data, str) else data
    unique = Path(path).with_name(f"{DRAFT}{os.urandom(8).hex()}.tmp")
    with replacing(path, unique) as draft:
        draft.write_bytes(data)


def put_all(drafts, folder):
    """Moves every file of a finished folder into `folder`, each old or new; removes the first."""
    Path(folder).mkdir(parents=True, exist_ok=True)
    for draft in sorted(Path(drafts).iterdir()):
        put_in_place(draft, Path(folder) / draft.name)
    os.rmdir(drafts)


def sweep(folder):
    """Removes the drafts that a stop by force has left in this folder."""
    for draft in Path(folder).glob(f"{DRAFT}*.tmp"):
        with contextlib.suppress(OSError):
            draft.unlink()


def reason(error):
    """Why a file could not be read or written, in the system's words."""
    return error.strerror or type(error).__name__
