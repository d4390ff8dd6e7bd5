"""What a box may read: Python, the installed packages, the course without its judges."""

import contextlib
import importlib.util
import os
import sys
import sysconfig
from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[2]
OF_ITSELF = ("status", "stat", "statm", "maps", "smaps", "smaps_rollup", "io", "cmdline", "comm")
OF_ITSELF += ("limits", "environ", "fd", "oom_score", "auxv")  # not net, mounts, mountinfo, task


def readable(modules=()):
    """Paths, each with all that is below it. modules: of checks, whose judges stay outside."""
    found = {sysconfig.get_paths()[k] for k in ("stdlib", "platstdlib", "purelib", "platlib")}
    found |= {os.path.join(prefix, "lib") for prefix in (sys.prefix, sys.base_prefix)}
    found |= {str(PACKAGE), "/usr/lib", "/lib", "/lib64", *package_folders()}
    found |= {"/etc/ld.so.cache", "/proc/cpuinfo", "/proc/meminfo"}
    found |= {"/sys/devices/system/cpu", "/usr/share/zoneinfo", "/etc/localtime"}
    kept, away = set(), off_limits(modules)
    for path in sorted({os.path.realpath(path) for path in found if os.path.exists(path)}):
        if not any(path.startswith(other + os.sep) for other in kept):
            kept |= set(without(path, away))
    return sorted(kept) + [f"/proc/self/{name}" for name in OF_ITSELF]


def package_folders():
    """Folders on sys.path that hold installed packages, wherever they are.

    Not every folder on sys.path: one may hold the repository, or what else its owner works on.
    """
    found = []
    for place in sys.path:
        named = os.path.basename(place.rstrip(os.sep)) in ("site-packages", "dist-packages")
        with contextlib.suppress(OSError):
            if named or any(
                name.endswith(".dist-info") for name in os.listdir(place or "/dev/null")
            ):
                found.append(os.path.abspath(place))
    return found


def off_limits(modules):
    """What a box must not read in there: modules of checks, compiled or not, and solutions."""
    checks, grading = PACKAGE / "checks", PACKAGE / "grading"
    found = {*checks.glob("ch[0-9][0-9].py"), checks / "__pycache__"}
    found |= {grading / "other_tasks.py", grading / "__pycache__", PACKAGE / "course"}
    for module in modules:
        if not module.startswith("lora_course."):
            spec = importlib.util.find_spec(module.partition(".")[0])  # the whole package
            found |= {Path(place) for place in spec.submodule_search_locations or [spec.origin]}
            if not spec.submodule_search_locations:
                found.add(Path(spec.origin).parent / "__pycache__")
    return {os.path.realpath(path) for path in found}


def without(path, away):
    """The path, or, where something below it is hidden, what of it is not."""
    if path in away:
        return
    if not any(other.startswith(path.rstrip(os.sep) + os.sep) for other in away):
        yield path
        return
    for entry in sorted(os.scandir(path), key=lambda entry: entry.name):
        real = os.path.realpath(entry.path)
        inside = real.startswith(path + os.sep)  # a link that leads elsewhere is not followed here
        yield from without(real if inside else entry.path, away)


def opened(places):
    """The places as descriptors, opened once for the rules of every box; its own remain paths."""
    found = [place for place in places if place.startswith("/proc/self/")]
    for place in set(places) - set(found):
        with contextlib.suppress(OSError):
            found.append(os.open(place, getattr(os, "O_PATH", os.O_RDONLY) | os.O_CLOEXEC))
    return found


def closed_files():
    """Files of loaded modules that this process cannot read: what a box would miss."""
    found = set()
    for module in list(sys.modules.values()):
        path = getattr(module, "__file__", None)
        if isinstance(path, str) and os.path.isabs(path):
            try:
                os.close(os.open(path, os.O_RDONLY))
            except FileNotFoundError:  # inside of an archive
                continue
            except OSError:
                found.add(path)
    return sorted(found)[:20]
