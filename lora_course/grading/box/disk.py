"""What a box keeps in its folder: how much it is, and how it is removed."""

import contextlib
import os
import re

from lora_course.grading.box.room import DISK, FILES


def full(folder):
    """True when the folder holds too much, or is too deep to tell."""
    size = count = 0
    try:
        for _, _, names, at in os.fwalk(folder):
            count += 1 + len(names)
            size += sum(os.stat(n, dir_fd=at, follow_symlinks=False).st_blocks * 512 for n in names)
            if count > FILES or size > DISK:
                return True
    except FileNotFoundError:
        return False
    except (OSError, RecursionError):
        return True
    return False


def unnamed(box):
    """Bytes in files of the box that have no name any more: still open, or in its memory only."""
    found = {}
    with contextlib.suppress(OSError):
        for name in os.listdir(f"/proc/{box}/fd"):
            with contextlib.suppress(OSError):
                about = os.stat(f"/proc/{box}/fd/{name}")
                if about.st_nlink == 0:
                    found[about.st_dev, about.st_ino] = about.st_blocks * 512
    with contextlib.suppress(OSError), open(f"/proc/{box}/maps", errors="replace") as file:
        for line in file:
            row = re.match(r"(\w+)-(\w+) \S+ \w+ (\w+:\w+) (\d+) .*\(deleted\)$", line)
            if row:
                major, _, minor = row[3].partition(":")
                key = os.makedev(int(major, 16), int(minor, 16)), int(row[4])
                size = int(row[2], 16) - int(row[1], 16)
                found[key] = max(found.get(key, 0), size)
    return sum(found.values())


def lacks_room(folder):
    """True when the disk under the folder is as good as full."""
    with contextlib.suppress(OSError, AttributeError):
        about = os.statvfs(folder)
        few = about.f_files > 0 and about.f_favail < 1000
        return few or about.f_bavail * about.f_frsize < 16 << 20
    return False


def remove(folder):
    """Removes a folder however deep: what lies below a folder is first moved up."""
    with contextlib.suppress(OSError):
        number, left, token = 0, True, os.urandom(6).hex()
        while left:
            left = False
            for entry in list(os.scandir(folder)):
                if not entry.is_dir(follow_symlinks=False):
                    os.unlink(entry.path)
                    continue
                os.chmod(entry.path, 0o700)
                for inner in list(os.scandir(entry.path)):
                    number += 1
                    os.rename(inner.path, os.path.join(folder, f"{token}-{number}"))
                    left = True
                os.rmdir(entry.path)
        os.rmdir(folder)
