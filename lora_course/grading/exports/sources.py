"""What an export starts from, and when it is refused."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]


class NoExport(Exception):
    """The export cannot be made; the text says why and what to do."""


def sources(chapters=()):
    """The solution sources of these chapters; raises NoExport where there are none."""
    listed = sorted((ROOT / "solutions/source").glob("[0-9][0-9]_*.py"))
    found = {path.name[:2]: path for path in listed}
    if not found:
        raise NoExport(
            "There are no solutions/source here. Export from the folder of the course, installed "
            "with `make install` or `pip install -e .`."
        )
    wanted = [number.zfill(2) for number in chapters] or list(found)
    unknown = [number for number in wanted if number not in found]
    if unknown:
        raise NoExport(
            f"There is no chapter {' '.join(unknown)}. These are here: {' '.join(found)}"
        )
    return [found[number] for number in dict.fromkeys(wanted)]


def refuse_to_replace(paths):
    """Raises NoExport when one of these files is there: a teacher may have changed it."""
    there = [str(path) for path in paths if path.exists() or path.is_symlink()]
    if there:
        raise NoExport(
            f"{', '.join(there)} is there already and was left as it is. Nothing was written. "
            "Delete it, or choose another folder."
        )
