"""What crosses from the learner's code to the judge: plain numpy arrays and nothing else."""

import decimal
import numbers
import sys

import numpy as np

MAX_VALUES = 50_000_000  # more than any exercise needs, small enough not to fill a laptop
MAX_DEPTH = 8
EXPECTED = "a tensor, an array or a number."


class Refused(Exception):
    """The learner's value is not numbers: `key` is "none" or "type", `seen` says what it is."""

    def __init__(self, key, seen, expected=EXPECTED):
        super().__init__(f"{seen} Expected: {expected}")
        self.key, self.seen, self.expected = key, seen, expected


def array(value, name="the result"):
    """The learner's value as a plain numpy copy.

    value: tensor, numpy array, number, bool, or nested list or tuple of these; any shape
    name: what the learner calls it, for the message
    Tensors lose their gradient history and their device; bfloat16 becomes float32.
    Raises Refused for None and for everything that is not numbers.
    """
    if value is None:
        raise Refused("none", f"{name} is None.")
    copy = np.array(_numbers(value, name, 0), copy=True, order="C", subok=False)
    if copy.dtype.kind not in "biufc":
        raise Refused("type", f"{name} holds values that are not numbers ({kind(value)}).")
    return copy


def tensor(a, dtype=None):
    """A numpy array as a torch tensor with its own memory, in the array's type or in `dtype`."""
    import torch

    made = torch.from_numpy(np.array(a, copy=True, order="C"))
    return made if dtype is None else made.to(dtype)


def plain(arrays, where):
    """The dict that `make` or `probe` returned, every value an array of numbers.

    Plain numbers become arrays of shape (), so that one process and two see the same. The
    copies are read-only: a judge that writes into its inputs would judge by its own values.
    Raises TypeError for the author of the check.
    """
    if type(arrays) is not dict:
        raise TypeError(f"{where} must return a dict of numpy arrays, not {kind(arrays)}.")
    for key, value in arrays.items():
        if type(key) is not str:
            raise TypeError(f"{where}: the key {key!r} is not a string.")
        if not isinstance(value, (np.ndarray, np.generic, bool, int, float, complex)):
            raise TypeError(f"{where}: {key!r} is {kind(value)}, not an array. Use array(...).")
        if np.asarray(value).dtype.kind not in "biufc":
            raise TypeError(f"{where}: {key!r} holds no numbers. Encode choices as numbers.")
    copies = {key: np.array(value, subok=False) for key, value in arrays.items()}
    for copy in copies.values():
        copy.setflags(write=False)
    return copies


def text(words):
    """Words as an array of bytes, for a probe: the only texts that cross are a learner's own."""
    return np.frombuffer(words.encode("utf-8", "replace")[:1200], dtype=np.uint8)


def words(array):
    """The words in an array of `text`; "" for anything else. For the message, never for points."""
    array = np.asarray(array)
    if array.dtype != np.uint8 or array.ndim != 1:
        return ""
    return array[:1200].tobytes().decode("utf-8", "replace")


def close(seen, wanted, rtol=1e-4, atol=1e-6):
    """True when both have the same shape and nearly the same finite numbers; never raises."""
    seen, wanted = np.asarray(seen), np.asarray(wanted) * 1.0  # whole numbers become floats
    odd = seen.dtype.kind == "c" and wanted.dtype.kind != "c"
    if odd or seen.shape != wanted.shape:
        return False
    with np.errstate(invalid="ignore"):  # np.allclose in its own words, in a third of its time
        near = abs(seen - wanted) <= atol + rtol * abs(wanted)
        return bool(near.all() and np.isfinite(wanted).all())


def every(value):
    """A condition on an array: it has entries, and all are true."""
    return value.size > 0 and bool(value.all())


def none(value):
    """A condition on an array: it has entries, and none is true."""
    return value.size > 0 and not value.any()


def _numbers(value, name, depth):
    """What np.array can copy safely: never runs code of a tensor or array subclass."""
    torch = sys.modules.get("torch")
    if torch is not None and issubclass(type(value), torch.Tensor):
        return _from_tensor(value, name, torch)
    if isinstance(value, np.ndarray):
        _check_size(value.size, name)
        return np.ndarray.view(value, np.ndarray)
    if isinstance(value, (np.generic, bool, int, float, complex)):
        return value
    if isinstance(value, (numbers.Real, decimal.Decimal)):  # a Fraction, a sympy or Decimal number
        return float(value)
    if isinstance(value, (list, tuple, range)) and depth < MAX_DEPTH:
        _check_size(len(value), name)
        if all(type(item) in (bool, int, float, complex) for item in value):
            return np.array(value)
        entry = name if depth else f"an entry of {name}"
        parts = [np.asarray(_numbers(item, entry, depth + 1)) for item in value]
        if len({part.shape for part in parts}) > 1:
            raise Refused("type", f"{name} is {kind(value)} whose rows differ in length.")
        return np.stack(parts) if parts else np.zeros(0)
    raise Refused("type", f"{name} {'holds' if depth else 'is'} {kind(value)}.")


def _from_tensor(value, name, torch):
    with torch._C.DisableTorchFunctionSubclass(), torch.no_grad():
        _check_size(torch.Tensor.numel(value), name)
        try:
            copy = torch.Tensor.detach(value).cpu().to_dense()
            if copy.dtype == torch.bfloat16 or "float8" in str(copy.dtype):
                copy = copy.float()
            return copy.resolve_conj().resolve_neg().numpy()
        except Exception as error:  # meta, nested, quantized
            seen = f"{name} is a tensor without plain numbers ({value.dtype} on {value.device})."
            raise Refused("type", seen) from error


def _check_size(count, name):
    if count > MAX_VALUES:
        seen = f"{name} has {count:,} values."
        raise Refused("type", seen, f"at most {MAX_VALUES:,} values.")


def kind(value):
    """The value's type in words: "a str", "an ndarray", "None"."""
    word = str(type.__getattribute__(type(value), "__name__"))
    spelled = word[:1] in "FHLMNRSX" and word[1:2].isupper()  # an SFTConfig, an MLP
    article = "an" if word[:1].lower() in "aeio" or word == "ndarray" or spelled else "a"
    return "None" if value is None else f"{article} {word}"
