"""What became of the objects of a caller: unchanged, or as they were after an error."""

import copy

import numpy as np

from lora_course.checks import guard
from lora_course.checks.slips import Promise
from lora_course.checks.values import text, words

CHANGES = {
    1: "parts were replaced, added or removed",
    2: "numbers were changed",
    3: "requires_grad was changed",
    4: "train() or eval() was changed",
    5: "the list or dict was changed",
}


class Before:
    """How an object was: a model, a layer, a tensor, or a list or dict of such.

    It holds what it saw, so that no freed object's id can come back. `change` gives 0 for
    nothing, else a key of CHANGES.
    """

    def __init__(self, *objects):
        self.objects = objects
        self.was = [_state(each) for each in objects]

    def change(self, but=0):
        """0, or the first kind of change (a key of CHANGES). but: a kind that is allowed."""
        for each, was in zip(self.objects, self.was, strict=True):
            for number, (a, b) in enumerate(zip(was, _state(each), strict=True), 1):
                if number != but and not _same(a, b):
                    return number
        return 0


def unchanged(key, what, **options):
    """The promise that `change` was 0. what: "the model after the ValueError"."""
    return Promise(
        key,
        0,
        seen=lambda value: f"{what}: {CHANGES.get(_int(value), 'another one')}",
        expected="as it was",
        **options,
    )


def failing(key, call, error, names="", keep=()):
    """What happens when call() must raise `error`: outputs for the promises of `raises`.

    names: what the error's text must name. keep: objects that must stay as they are.
    """
    before, said, code = Before(*keep), "", 0
    try:
        call()
    except NotImplementedError:
        raise
    except Exception as raised:
        code = 1 if isinstance(raised, error) else 2
        said = guard.described(raised)[1]
        names = names if names in str(raised) else None
    return {
        f"{key}_error": code,
        f"{key}_names": float(code == 1 and names is not None),
        f"{key}_left": before.change(),
        f"{key}_said": text(said),
    }


def raises(outputs, key, case, error, names="", keep=""):
    """The promises about `failing`. case: "['zzz']"; error: "ValueError"; keep: "the model"."""
    said = words(outputs.get(f"{key}_said", text("")))
    wanted = f"a {error}" + (f" that names {names}" if names else "")
    promises = [
        Promise(
            f"{key}_error",
            1,
            seen=lambda v: f"for {case} " + (said if _int(v) else "nothing is raised"),
            expected=wanted,
        )
    ]
    if names:
        seen = f"for {case} {said}"
        promises.append(Promise(f"{key}_names", 1, seen=seen.replace("{", "{{").replace("}", "}}"),
                                expected=wanted))  # fmt: skip
    if keep:
        promises.append(unchanged(f"{key}_left", f"{keep}, after the {error} for {case}"))
    return promises


def _int(value):
    value = np.asarray(value)
    return int(value.item()) if value.size == 1 and np.isfinite(value).all() else -1


def _state(each):
    """(parts, numbers, flags, modes, contents) of an object."""
    import torch
    from torch import nn

    if isinstance(each, nn.Module):
        modules = list(each.named_modules(remove_duplicate=False))
        every = [
            (f"{name}.{key}", tensor)
            for name, part in modules
            for key, tensor in (*part._parameters.items(), *part._buffers.items())
            if tensor is not None
        ]
        return (
            modules + every,
            [p.detach().clone() for _, p in every],
            [p.requires_grad for _, p in every],
            [part.training for _, part in modules],
            None,
        )
    if isinstance(each, torch.Tensor):
        return None, each.detach().clone(), each.requires_grad, None, None
    if isinstance(each, dict) and any(isinstance(v, torch.Tensor) for v in each.values()):
        tensors = [v.detach().clone() for v in each.values() if isinstance(v, torch.Tensor)]
        return list(each.items()), tensors, None, None, None
    return None, None, None, None, copy.deepcopy(each)


def _same(a, b):
    import torch
    from torch import nn

    if isinstance(a, torch.Tensor):
        return a.dtype == b.dtype and a.shape == b.shape and bool(torch.equal(a, b))
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(_same(x, y) for x, y in zip(a, b, strict=True))
    if isinstance(a, tuple) and isinstance(b, tuple) and len(a) == len(b) == 2:
        name, part = a  # a place and what is there: the very same object
        if isinstance(part, (torch.Tensor, nn.Module)):
            return name == b[0] and part is b[1]
    return type(a) is type(b) and a == b
