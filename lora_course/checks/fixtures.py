"""What probes and makers share: small models, factors, what a function returns, parts."""

import numpy as np

from lora_course.checks import guard
from lora_course.checks.values import Refused, array, kind, tensor, text, words


# Making
def normal(rng):
    """A function of a shape that draws float32 normal numbers."""
    return lambda *shape: rng.normal(size=shape).astype(np.float32)


def sizes(rng, count, low, high):
    """Different whole numbers, so that no two axes can be taken for each other."""
    return [int(n) for n in rng.permutation(np.arange(low, high))[:count]]


def linear(weight, bias=None, frozen=False):
    """An nn.Linear with these values. weight: (out, in)."""
    from torch import nn

    layer = nn.Linear(weight.shape[1], weight.shape[0], bias=bias is not None)
    layer.weight = nn.Parameter(tensor(weight))
    if bias is not None:
        layer.bias = nn.Parameter(tensor(bias))
    return layer.requires_grad_(not frozen)


def put(model, name, part):
    """Store a module or parameter under a dotted name; missing steps become empty modules."""
    from torch import nn

    *path, last = name.split(".")
    for step in path:
        if not hasattr(model, step):
            model.add_module(step, nn.Module())
        model = getattr(model, step)
    setattr(model, last, part)


# The learner's layer
def factor(layer, name):
    """The learner's A or B: a parameter itself, or the weight of a submodule (as in peft)."""
    value = getattr(layer, name)
    return getattr(value, "weight", value)


def trained(value):
    """1.0 when an optimizer could train this tensor: a Parameter that requires a gradient."""
    from torch import nn

    return float(isinstance(value, nn.Parameter) and value.requires_grad)


def fill(layer, a, b):
    """Write values into the learner's A and B; False when the shapes do not fit."""
    import torch

    mine = factor(layer, "lora_A"), factor(layer, "lora_B")
    if [tuple(m.shape) for m in mine] != [a.shape, b.shape]:
        return False
    with torch.no_grad():
        for place, values in zip(mine, (a, b), strict=True):
            place.copy_(tensor(values))
    return True


# What a function returns
def expect(value, types, name, wanted):
    """The value, or Refused with the words for it. name: "prepare"; wanted: "an optimizer"."""
    if value is None and types is not None:
        raise Refused("none", f"{name} returns None.", f"{wanted}.")
    if not isinstance(value, types):
        raise Refused("type", f"{name} returns {kind(value)}.", f"{wanted}.")
    return value


def several(value, names, function):
    """The learner's several values as arrays. names: what each is, in order."""
    wanted = f"{len(names)} values: {', '.join(names)}"
    if value is None:
        raise Refused("none", f"{function} returns None.", f"{wanted}.")
    if isinstance(value, dict) or not (hasattr(value, "__len__") and hasattr(value, "__iter__")):
        raise Refused("type", f"{function} returns {kind(value)}.", f"{wanted}.")
    if isinstance(value, str) or not getattr(value, "shape", True):  # a text, a tensor of no axis
        raise Refused("type", f"{function} returns {kind(value)}.", f"{wanted}.")
    if len(value) != len(names):
        count = f"{len(value)} value{'s' if len(value) != 1 else ''}"
        count = f"{kind(value)} of length {len(value)}" if hasattr(value, "shape") else count
        raise Refused("type", f"{function} returns {count}.", f"{wanted}.")
    if missing := [name for v, name in zip(value, names, strict=True) if v is None]:
        raise Refused("type", f"of what {function} returns, {missing[0]} is None.", f"{wanted}.")
    return [array(v, name) for v, name in zip(value, names, strict=True)]


def attempt(part, call):
    """The arrays of call(), or what stopped it under "raised:PART", so that other parts count.

    A stub that raises NotImplementedError is recorded in the same way: see `unless_all_open`.
    """
    try:
        return call()
    except Refused as error:
        said = error.key, error.seen, error.expected
    except (Exception, SystemExit) as error:
        said = guard.described(error)
    return {f"raised:{part}": text("\n".join(s.replace("\n", " ") for s in said))}


def in_case(case, call):
    """call(), with the case before the words of what it raises: "with a stride of 2 your code"."""
    try:
        return call()
    except NotImplementedError:
        raise
    except Exception as error:
        key, seen, expected = guard.described(error)
        raise Refused(key, f"{case} {seen}", expected) from error


def unless_all_open(made, parts):
    """The outputs again; NotImplementedError when every one of the parts is still the stub."""
    if all(words(made.get(f"raised:{part}", text(""))).startswith("todo\n") for part in parts):
        raise guard.Open
    return made
