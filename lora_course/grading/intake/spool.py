"""Cells of collected notebooks, kept in one temporary file: memory does not grow with the class."""

import functools
import json
import os
import tempfile
from typing import NamedTuple


class Kept(NamedTuple):
    """The place of one notebook's cells in the file."""

    at: int
    length: int

    def cells(self):
        """The sources, as a tuple; also in a process that was forked since."""
        file = _file()
        if hasattr(os, "pread"):
            content = os.pread(file.fileno(), self.length, self.at)
        else:
            file.seek(self.at)
            content = file.read(self.length)
        return tuple(json.loads(content))


def keep(cells):
    """Kept: sources of code cells, written to the file."""
    content = json.dumps(list(cells)).encode()
    at = _file().seek(0, os.SEEK_END)
    _file().write(content)
    _file().flush()
    return Kept(at, len(content))


@functools.cache
def _file():
    return tempfile.TemporaryFile()
