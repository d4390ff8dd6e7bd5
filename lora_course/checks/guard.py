"""Running a learner's code so that it can neither disturb the notebook nor the judge."""

import contextlib
import linecache
import os
import random
import site
import sys
import sysconfig
import traceback
import warnings

import numpy as np

from lora_course.checks.randomness import kept

_HERE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
_LIBRARIES = tuple(
    os.path.normcase(folder) + os.sep
    for folder in {
        _HERE,
        *(sysconfig.get_paths()[key] for key in ("stdlib", "platstdlib", "purelib", "platlib")),
        *site.getsitepackages(),
        site.getusersitepackages(),
    }
)


SIGNATURE = "the name and the arguments of the stub, as they were."


@contextlib.contextmanager
def steady(seed):
    """A known state inside (seeds, float32, gradients on, no warnings); the old one after.

    Within a `kept` block the states of random and NumPy are put back at the end of that block.
    What the code inside prints to stderr goes to stdout, where the learner still sees it.
    """
    torch = sys.modules.get("torch")
    errors, limit, streams = np.geterr(), sys.getrecursionlimit(), (sys.stdout, sys.stderr)
    try:
        with kept(), warnings.catch_warnings(), _steady_torch(torch, seed):
            random.seed(seed)
            np.random.seed(seed % 2**32)
            np.seterr(all="warn")
            sys.stderr = sys.stdout
            warnings.simplefilter("ignore")
            yield
    finally:
        sys.stdout, sys.stderr = streams
        np.seterr(**errors)
        sys.setrecursionlimit(limit)


@contextlib.contextmanager
def _steady_torch(torch, seed):
    if torch is None:
        yield
        return
    dtype, state = torch.get_default_dtype(), torch.get_rng_state()
    device, threads = torch.get_default_device(), torch.get_num_threads()
    exact = torch.are_deterministic_algorithms_enabled()
    torch.set_default_dtype(torch.float32)
    if device.type != "cpu":
        torch.set_default_device("cpu")
    torch.default_generator.manual_seed(seed % 2**63)  # the CPU's only
    try:
        with torch.inference_mode(False), torch.enable_grad():
            yield
    finally:
        torch.set_default_dtype(dtype)
        torch.set_rng_state(state)
        if torch.get_default_device() != device:
            torch.set_default_device(device if device.type != "cpu" else None)
        if torch.get_num_threads() != threads:
            torch.set_num_threads(threads)
        if torch.are_deterministic_algorithms_enabled() != exact:
            torch.use_deterministic_algorithms(exact)


class Open(NotImplementedError):
    """Every part of an exercise is still the stub."""


def stopped(error, check):
    """What an exception from the check's probe means: (mistake, seen, expected).

    "raised:ValueError" is named where it is a key of the check's mistakes, else "raised".
    """
    mistake, said, expected = described(error, check.probe.__code__.co_filename)
    if mistake == "todo":
        return mistake, said, expected
    kinds = type(error).__mro__
    if isinstance(error, (RecursionError, NotImplementedError)):
        kinds = kinds[:1]  # a RuntimeError to Python, yet advice about shapes would mislead
    keys = [f"raised:{kind.__name__}" for kind in kinds]
    return next((key for key in keys if key in check.mistakes), mistake), said, expected


def described(error, probe_file=""):
    """("todo" or "raised", what a learner reads about the exception, what was expected)."""
    lines, raised_there = _own_lines(error, probe_file)
    if isinstance(error, Open) or isinstance(error, NotImplementedError) and raised_there:
        return "todo", "", ""
    said = _said(error, lines)
    at_the_door = isinstance(error, TypeError) and not lines and " argument" in said
    return "raised", said, SIGNATURE if at_the_door else ""


def _own_lines(error, probe_file):
    """The learner's lines in the traceback [(file, line), ...]; whether it was raised there.

    probe_file: the file of `probe`, which stands between us and the learner's code
    """
    lines, own = [], False
    for frame, number in traceback.walk_tb(error.__traceback__):
        name = frame.f_code.co_filename
        own = name != probe_file and _is_own(name)
        if own:
            lines.append((name, number))
    return lines, own


def _said(error, lines):
    """The error as a learner reads it: type, text, and the last line of their own code."""
    try:
        text = " ".join(str(error).split())
    except BaseException:  # a hostile __str__
        text = ""
    text = text[:297] + "..." if len(text) > 300 else text
    kind = str(type.__getattribute__(type(error), "__name__"))
    said = f"your code raised {kind}: {text}" if text else f"your code raised {kind}"
    if isinstance(error, KeyboardInterrupt):
        said = "your code was stopped before it had finished"
    said = said if said.endswith("...") else said.removesuffix(".")
    if not lines:
        return f"{said}."
    name, number = lines[-1]
    source = linecache.getline(name, number).strip()
    return f"{said} (in line {number}: `{source}`)." if source else f"{said} (in line {number})."


def _is_own(name):
    if name.startswith(("<frozen", "<__array_function__", "<string>", "<eval_with_key>")):
        return False
    return name.startswith("<") or not os.path.normcase(name).startswith(_LIBRARIES)
