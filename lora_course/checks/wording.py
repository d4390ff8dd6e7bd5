"""Arrays in words: the first place where two differ, a shape, a number, one as a multiple."""

import numpy as np


def differ(seen, right, what, rtol=1e-4, atol=1e-6):
    """(seen, expected) in words at the first place where they differ, never the same text."""
    seen, right = np.asarray(seen), np.asarray(right)
    if seen.shape != right.shape:
        return f"{what}: {shape(seen)}", shape(right)
    if seen.dtype.kind == "c" and right.dtype.kind != "c":
        return f"{what} is complex", "real numbers"
    far = ~np.isclose(seen, right, rtol=rtol, atol=atol) | ~np.isfinite(seen)
    at = np.unravel_index(int(np.argmax(far)), seen.shape)
    place = f"[{', '.join(map(str, at))}]" if at else ""
    digits = next((d for d in range(4, 18) if number(seen[at], d) != number(right[at], d)), 17)
    return f"{what}{place} is {number(seen[at], digits)}", number(right[at], digits)


def shape(value):
    """The shape in words: "3 x 4", "one number"."""
    value = np.asarray(value)
    if value.ndim == 1:
        return f"{len(value)} number" + ("s" if len(value) != 1 else "")
    return f"shape {' x '.join(map(str, value.shape))}" if value.ndim else "one number"


def show(value):
    """A few numbers as a learner reads them, or the shape of many."""
    value = np.asarray(value)
    value = value.reshape(()) if value.size == 1 else value
    if value.size > 8 or value.ndim > 1:
        return f"an array of {shape(value)}"
    shown = [number(v, 4) for v in value.reshape(-1)]
    return shown[0] if value.ndim == 0 else f"[{', '.join(shown)}]"


def multiple(seen, unit, rtol=1e-3):
    """c when seen = c * unit in every entry, else None. Both are arrays of one shape, else None."""
    seen, unit = np.asarray(seen), np.asarray(unit)
    if seen.shape != unit.shape or seen.dtype.kind == "c" or not np.all(np.isfinite(seen)):
        return None
    c = float((seen * unit).sum() / (unit * unit).sum())
    return c if np.allclose(seen, c * unit, rtol=rtol, atol=rtol * np.abs(unit).max()) else None


def number(value, digits):
    """A number with so many digits; whole numbers with all of theirs."""
    value = np.asarray(value).item()
    if isinstance(value, (bool, complex)):
        return str(value)
    if isinstance(value, int) or (value == round(value) if np.isfinite(value) else False):
        return f"{int(value):,}" if abs(value) < 1e15 else f"{value:.{digits}g}"
    return f"{value:.{digits}g}"
