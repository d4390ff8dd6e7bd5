"""First-order mutants of a piece of Python: the same code with one small slip in it."""

import ast
import copy
import difflib
import os
import warnings
from collections import Counter
from typing import NamedTuple


class Mutant(NamedTuple):
    """where: the function, "" outside; diff: lines with "- " or "+ "; code: the whole."""

    where: str
    diff: tuple[str, ...]
    code: str


BINARY = {  # each operator and what it is mistaken for
    ast.Add: (ast.Sub, ast.Mult),
    ast.Sub: (ast.Add,),
    ast.Mult: (ast.Div, ast.Add),
    ast.Div: (ast.Mult, ast.FloorDiv),
    ast.FloorDiv: (ast.Div, ast.Mod),
    ast.Mod: (ast.FloorDiv,),
    ast.Pow: (ast.Mult,),
    ast.MatMult: (ast.Mult,),
    ast.BitAnd: (ast.BitOr,),
    ast.BitOr: (ast.BitAnd,),
    ast.BitXor: (ast.BitOr,),
    ast.LShift: (ast.RShift,),
    ast.RShift: (ast.LShift,),
}
ORDERED = (ast.Sub, ast.Div, ast.FloorDiv, ast.Mod, ast.Pow, ast.MatMult, ast.LShift, ast.RShift)
COMPARED = {
    ast.Lt: (ast.LtE, ast.Gt),
    ast.LtE: (ast.Lt, ast.GtE),
    ast.Gt: (ast.GtE, ast.Lt),
    ast.GtE: (ast.Gt, ast.LtE),
    ast.Eq: (ast.NotEq,),
    ast.NotEq: (ast.Eq,),
    ast.In: (ast.NotIn,),
    ast.NotIn: (ast.In,),
    ast.Is: (ast.IsNot,),
    ast.IsNot: (ast.Is,),
}
SIBLINGS = (  # names that are taken for each other
    "lora_A lora_B",
    "A B",
    "grad_A grad_B",
    "new_A new_B",
    "r lora_alpha",
    "weight bias",
    "in_features out_features",
    "num_embeddings embedding_dim",
    "max min",
    "amax amin",
    "argmax argmin",
    "floor ceil round",
    "sum mean",
    "any all",
    "zeros ones",
    "zeros_like ones_like",
    "zeros_ ones_",
    "randn rand",
    "kaiming_uniform_ kaiming_normal_",
    "train eval",
    "parameters buffers",
    "named_parameters named_buffers",
    "modules children",
    "named_modules named_children",
    "keys values",
    "startswith endswith",
    "removeprefix removesuffix",
    "split rsplit",
    "append extend",
    "add sub",
    "add_ sub_",
    "mul div",
    "mul_ div_",
    "log log2",
    "cos sin",
    "var std",
    "cat stack",
    "AdamW Adam SGD",
    "no_grad inference_mode enable_grad",
    "float32 float16 bfloat16 float64",
    "float half bfloat16 double",
    "uint8 int8 int16",
    "int64 int32",
    "long int",
)
SIBLING = {}
for _group in SIBLINGS:
    for _name in _group.split():
        SIBLING[_name] = (*SIBLING.get(_name, ()), *(n for n in _group.split() if n != _name))
LONG = 120  # characters of a line that is shown as a whole
MODULES = {
    "torch",
    "nn",
    "math",
    "np",
    "F",
    "json",
    "os",
    "re",
    "init",
    "linalg",
    "optim",
    "random",
}
VIEWS = {"T", "mT", "H", "data"}  # attributes that may be left out
IN_PLACE = {"add", "sub", "mul", "div", "clamp", "copy", "zero", "fill", "round", "neg", "abs"}
IN_PLACE |= {"floor", "ceil", "clip", "masked_fill", "sqrt", "exp", "requires_grad"}
NEW = {"empty", "zeros", "ones", "full", "rand", "randn", "arange", "tensor", "Parameter"}
CLASSES = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
NO_TENSOR = (ast.Constant, ast.JoinedStr, ast.Compare, ast.BoolOp, ast.List, ast.Dict, ast.Tuple)
NO_TENSOR += (ast.ListComp, ast.DictComp, ast.SetComp, ast.GeneratorExp, ast.Lambda)
TENSOR_WORDS = ("torch", "nn.", " @ ", "(model", "layer", "weight")


def mutants(code: str, lines: set[int] | None = None) -> list[Mutant]:
    """All mutants of `code` that compile, each text once.

    lines: only code on these lines (from 1) is changed, and the defaults of functions that hold
    one of them; None means everywhere. Docstrings, annotations and NotImplementedError stay.
    """
    tree = ast.parse(code)
    original = ast.unparse(tree)
    last = max(code.count("\n") + 1, 1)
    found, known, times = [], {original}, Counter()
    for where, holder, field, index, new in edits(tree, lines or set(range(1, last + 1))):
        value = getattr(holder, field)
        if index is None:
            setattr(holder, field, new)
        else:
            setattr(holder, field, [*value[:index], new, *value[index + 1 :]])
        try:
            text = ast.unparse(tree)
            with warnings.catch_warnings(action="ignore"):
                compile(text, "<mutant>", "exec", dont_inherit=True)
        except (SyntaxError, ValueError, TypeError):
            continue
        finally:
            setattr(holder, field, value)
        if text not in known:
            known.add(text)
            diff = difference(original, text)
            times[where, diff] += 1
            number = times[where, diff]
            found.append(Mutant(where + (f" #{number}" if number > 1 else ""), diff, text))
    return found


def difference(before, after):
    """The lines that differ, without their indent unless it is all that differs.

    Of a long line only the surroundings of the change are shown.
    """
    for bare in (str.strip, str.rstrip):
        old, new = ([bare(line) for line in text.split("\n")] for text in (before, after))
        match = difflib.SequenceMatcher(None, old, new, autojunk=False)
        spans = [span[1:] for span in match.get_opcodes() if span[0] != "equal"]
        if spans and sorted(old) == sorted(new):  # moved: show what it has moved past
            spans = [(spans[0][0], spans[-1][1], spans[0][2], spans[-1][3])]
        diff = []
        for a, b, c, d in spans:
            diff += [f"- {line}" for line in old[a:b]] + [f"+ {line}" for line in new[c:d]]
        if diff:
            break
    if len(diff) == 2 and max(map(len, diff)) > LONG:
        diff = shortened(*diff)
    return tuple(diff)


def shortened(before, after, around=30):
    """Two long lines cut to where they differ."""
    head = len(os.path.commonprefix([before[2:], after[2:]])) + 2
    tail = len(os.path.commonprefix([before[: head - 1 : -1], after[: head - 1 : -1]]))
    start, diff = max(head - around, 2), []
    for line in (before, after):
        end = len(line) - max(tail - around, 0)
        mark = "..." if start > 2 else ""
        diff.append(f"{line[:2]}{mark}{line[start:end]}{'...' if end < len(line) else ''}")
    return diff


def on_gradients(diff: tuple[str, ...]) -> bool:
    """True for a mutant that adds no_grad to a function or .detach() to a value."""
    signs = ("@torch.no_grad()", ".detach()")
    plus, minus = ("".join(line for line in diff if line[0] == mark) for mark in "+-")
    return any(plus.count(sign) > minus.count(sign) for sign in signs)


def edits(node, lines, where="", names=()):
    """Yields (where, holder, field, index or None, new value), in the order of the code."""
    if isinstance(node, ast.Raise):
        yield from ((where, node, "exc", None, new) for new in other_raise(node))
        return
    if isinstance(node, CLASSES):
        where = f"{where}.{node.name}".strip(".")
    if isinstance(node, FUNCTIONS):
        if not touched(node, lines):
            return
        names = [a.arg for a in (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs)]
        yield from ((where, node, *edit) for edit in of_function(node))
    for field, value in ast.iter_fields(node):
        if field in ("annotation", "returns", "type_params", "type_comment", "bases"):
            continue
        if isinstance(value, list) and value and isinstance(value[0], ast.stmt):
            yield from ((where, node, field, None, new) for new in of_body(node, value, lines))
        for index, child in enumerate(value if isinstance(value, list) else [value]):
            if not isinstance(child, ast.AST) or is_fixed(child):
                continue
            place = index if isinstance(value, list) else None
            default = field in ("defaults", "kw_defaults")
            if default or getattr(child, "lineno", 0) in lines:
                new_ones = []
                if isinstance(child, ast.expr) and field != "decorator_list":
                    new_ones = list(of_expression(child, node, field, names))
                    new_ones = new_ones[:1] if default else new_ones
                elif isinstance(child, ast.stmt):
                    new_ones = of_statement(child)
                yield from ((where, node, field, place, new) for new in new_ones)
            yield from edits(child, lines, where, names)


def touched(node, lines):
    return any(getattr(part, "lineno", 0) in lines for part in ast.walk(node))


def is_fixed(node):
    """A docstring or another bare text, or the line of a stub."""
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
        return True
    return isinstance(node, ast.Raise) and "NotImplementedError" in ast.unparse(node)


def changed(node, **fields):
    node = copy.copy(node)
    for field, value in fields.items():
        setattr(node, field, value)
    return node


def expression(text, **parts):
    """The expression `text` with its names in `parts` replaced by nodes."""

    class Fill(ast.NodeTransformer):
        def visit_Name(self, node):
            return parts.get(node.id, node)

    return Fill().visit(ast.parse(text, mode="eval").body)


def other_raise(node):
    """Another class, and the message gone."""
    call = node.exc
    if not isinstance(call, ast.Call) or not isinstance(call.func, ast.Name):
        return
    if call.func.id != "NotImplementedError":
        name = "ValueError" if call.func.id == "RuntimeError" else "RuntimeError"
        yield changed(call, func=ast.Name(name))
        if call.args:
            yield changed(call, args=[ast.Constant("")])


def of_function(node):
    """no_grad added, a decorator removed, an early return."""
    first = int(ast.get_docstring(node, clean=False) is not None)
    text = ast.unparse(changed(node, body=node.body[first:] or [ast.Pass()]))
    if node.name != "__init__" and any(word in text for word in TENSOR_WORDS):
        decorated = [ast.parse("torch.no_grad()", mode="eval").body, *node.decorator_list]
        yield "decorator_list", None, decorated
    for i in range(len(node.decorator_list)):
        yield "decorator_list", None, node.decorator_list[:i] + node.decorator_list[i + 1 :]
    early = ast.parse("def f():\n    return None").body[0].body
    if node.name != "__init__":
        yield "body", None, [*node.body[:first], *early, *node.body[first:]]


def of_body(holder, body, lines):
    """A statement removed, two neighbours swapped, a loop that ends after its first round."""
    own = [not is_fixed(s) and s.lineno in lines and not isinstance(s, CLASSES) for s in body]
    for i, ours in enumerate(own):
        if ours and not isinstance(body[i], (ast.Import, ast.ImportFrom, ast.Pass)):
            yield body[:i] + body[i + 1 :] or [ast.Pass()]
    for i in range(len(body) - 1):
        if own[i] and own[i + 1] and not independent(body[i], body[i + 1]):
            yield [*body[:i], body[i + 1], body[i], *body[i + 2 :]]
    if isinstance(holder, (ast.For, ast.While)) and body is holder.body and own[-1]:
        yield [*body, ast.Break()]


def independent(first, second):
    """Two plain assignments of which neither reads or calls what the other could change."""
    parts = []
    for node in (first, second):
        if not isinstance(node, ast.Assign):
            return False
        for part in ast.walk(node.value):
            if isinstance(part, ast.Call) and not isinstance(part.func, ast.Name):
                if not is_module(part.func):
                    return False
        names = [t.elts if isinstance(t, ast.Tuple) else [t] for t in node.targets]
        parts.append(({ast.unparse(t) for group in names for t in group}, node.value))
    for (targets, _), (others, value) in (parts, parts[::-1]):
        read = {ast.unparse(part) for part in ast.walk(value) if isinstance(part, ast.expr)}
        if targets & (read | others) or "super()" in read:
            return False
    return True


def of_statement(node):
    """Other statements, or lists of them, for one statement."""
    match node:
        case ast.If():
            yield changed(node, test=ast.Constant(True))
            yield changed(node, test=ast.Constant(False))
            if node.orelse:
                yield changed(node, orelse=[])
                if isinstance(node.orelse[0], ast.If) and len(node.orelse) == 1:
                    yield changed(node, orelse=node.orelse[0].orelse)
        case ast.With():
            yield changed(ast.If(ast.Constant(True), node.body, []))
        case ast.Try():
            yield ast.If(ast.Constant(True), node.body + node.orelse + node.finalbody, [])
            if node.finalbody and node.handlers:
                yield changed(node, finalbody=[])
            elif node.finalbody:
                yield ast.If(ast.Constant(True), node.body, [])
        case ast.For():
            for text in ("list(rows)[1:]", "list(rows)[:-1]"):
                yield changed(node, iter=expression(text, rows=node.iter))
        case ast.Break():
            yield ast.Continue()
        case ast.Continue():
            yield ast.Break()
        case ast.Return() if node.value is not None:
            yield ast.Return(ast.Constant(None))
        case ast.AugAssign():
            for op in BINARY.get(type(node.op), ()):
                yield changed(node, op=op())
            yield ast.Assign([node.target], node.value, lineno=1)
            yield ast.Assign([node.target], ast.BinOp(node.target, node.op, node.value), lineno=1)
        case ast.Assign(targets=[target], value=ast.BinOp(left=left, op=op, right=right)):
            if ast.unparse(left) == ast.unparse(target):
                yield ast.AugAssign(target, op, right)
        case ast.Assign(targets=[ast.Attribute(attr=name) as target]):
            for other in SIBLING.get(name, ()):
                yield changed(node, targets=[changed(target, attr=other)])
        case ast.Expr(value=ast.Call(func=ast.Attribute(value=owner, attr=name)) as call):
            if name.endswith("_") and name[:-1] in IN_PLACE and not is_module(owner):
                out = changed(call, func=changed(call.func, attr=name[:-1]))
                if name in ("copy_", "fill_"):
                    out = call.args[0]
                yield ast.Assign([as_target(owner)], out, lineno=1)
        case ast.ExceptHandler() if node.type is not None:
            yield changed(node, type=ast.Name("ArithmeticError"))


def as_target(node):
    return node if hasattr(node, "ctx") else ast.Name("_")


def is_module(node):
    return (isinstance(node, ast.Name) and node.id in MODULES) or (
        isinstance(node, ast.Attribute) and is_module(node.value)
    )


def of_expression(node, parent, field, names):
    """Other expressions for one expression."""
    if isinstance(getattr(node, "ctx", None), (ast.Store, ast.Del)):
        return
    if field in ("test", "ifs"):
        yield ast.UnaryOp(ast.Not(), node)
    if field in ("value", "left", "right") and may_be_tensor(node, parent):
        yield expression("x.detach()", x=node)
    match node:
        case ast.Constant(value=value):
            for new in other_constant(value):
                yield ast.Constant(new)
        case ast.BinOp(left=left, op=op, right=right):
            for other in BINARY.get(type(op), ()):
                yield changed(node, op=other())
            yield left
            yield right
            if isinstance(op, ORDERED):
                yield changed(node, left=right, right=left)
        case ast.UnaryOp(operand=operand) if not isinstance(node.op, ast.UAdd):
            yield operand
        case ast.Compare(ops=ops):
            for i, op in enumerate(ops):
                for other in COMPARED.get(type(op), ()):
                    yield changed(node, ops=[*ops[:i], other(), *ops[i + 1 :]])
        case ast.BoolOp(op=op, values=values):
            yield changed(node, op=ast.Or() if isinstance(op, ast.And) else ast.And())
            for i in range(len(values)):
                rest = values[:i] + values[i + 1 :]
                yield rest[0] if len(rest) == 1 else changed(node, values=rest)
        case ast.IfExp(body=body, orelse=orelse):
            yield body
            yield orelse
        case ast.Name(id=name):
            for other in SIBLING.get(name, ()):
                yield ast.Name(other)
            if name in names:
                yield from (ast.Name(other) for other in names if other not in (name, "self"))
        case ast.Attribute(value=value, attr=name):
            for other in SIBLING.get(name, ()):
                yield changed(node, attr=other)
            if name in VIEWS:
                yield value
        case ast.Subscript(value=value, slice=index):
            yield value
            if isinstance(index, ast.Slice):
                given = [part for part in ("lower", "upper", "step") if getattr(index, part)]
                for part in given if len(given) > 1 else ():
                    yield changed(node, slice=changed(index, **{part: None}))
            elif isinstance(index, ast.Tuple) and len(index.elts) == 2:
                yield changed(node, slice=changed(index, elts=index.elts[::-1]))
        case ast.Tuple(elts=parts) | ast.List(elts=parts) | ast.Set(elts=parts):
            for i in range(len(parts)):
                yield changed(node, elts=parts[:i] + parts[i + 1 :])
            for i in range(len(parts) - 1) if in_order(node, parent) else ():
                yield changed(node, elts=swapped(parts, i))
        case ast.Dict(keys=keys, values=values):
            for i in range(len(keys)):
                yield ast.Dict(keys[:i] + keys[i + 1 :], values[:i] + values[i + 1 :])
            for i in range(len(keys) - 1):
                yield ast.Dict(keys, swapped(values, i))
        case ast.Call():
            yield from other_call(node)
        case ast.ListComp() | ast.SetComp() | ast.DictComp() | ast.GeneratorExp():
            for i, loop in enumerate(node.generators):
                others = [changed(loop, ifs=loop.ifs[:j] + loop.ifs[j + 1 :])
                          for j in range(len(loop.ifs))]  # fmt: skip
                others += [changed(loop, iter=expression(text, rows=loop.iter))
                           for text in ("list(rows)[1:]", "list(rows)[:-1]")]  # fmt: skip
                for new in others:
                    generators = [*node.generators[:i], new, *node.generators[i + 1 :]]
                    yield changed(node, generators=generators)


def in_order(node, parent):
    """Does the order of these parts say anything? Not in a set, nor in `x in (a, b)`."""
    asked = isinstance(parent, ast.Compare) and isinstance(parent.ops[-1], (ast.In, ast.NotIn))
    if isinstance(parent, ast.Call):
        name = getattr(parent.func, "attr", getattr(parent.func, "id", ""))
        asked = name in ("isinstance", "issubclass", "startswith", "endswith")
    return not (asked or isinstance(node, ast.Set))


def swapped(parts, i):
    return [*parts[:i], parts[i + 1], parts[i], *parts[i + 2 :]]


def may_be_tensor(node, parent):
    """detach is tried on what is assigned, returned or added, not on a text or a new tensor."""
    root = node
    while isinstance(root, ast.Call) and isinstance(root.func, ast.Attribute):
        if is_module(root.func.value) and root.func.attr in NEW:
            return False
        root = root.func.value
    if isinstance(parent, (ast.Assign, ast.AugAssign, ast.Return)):
        return not isinstance(node, NO_TENSOR)
    return isinstance(parent, ast.BinOp) and isinstance(node, (ast.Name, ast.Attribute, ast.Call))


def other_constant(value):
    if isinstance(value, bool):
        return [not value]
    if isinstance(value, (int, float)):
        near = [value + 1, value - 1]
        if abs(value) > 1000:  # 1 is too little to see
            near = [type(value)(value * 1.05), type(value)(value * 0.95)]
        elif isinstance(value, float):
            near += [value * 1.05, value / 2]
        others = dict.fromkeys([*near, value * 2, 0, -value])
        return [n for n in others if repr(n) != repr(value)]  # fmt: skip
    if isinstance(value, str):
        lines = value.splitlines(keepends=True)
        cut = ["".join(lines[:i] + lines[i + 1 :]) for i in range(len(lines))]
        turned = ["".join(swapped(lines, i)) for i in range(len(lines) - 1)]
        return [new for new in (value + "x", "", *cut[1:], *turned) if new != value]
    return []


def other_call(node):
    """Arguments swapped or dropped, the call left out, in place for a copy and the reverse."""
    args, keywords, func = node.args, node.keywords, node.func
    for i in range(len(args)):
        yield changed(node, args=args[:i] + args[i + 1 :])
    for i in range(len(args) - 1):
        yield changed(node, args=swapped(args, i))
    for i in range(len(keywords)):
        yield changed(node, keywords=keywords[:i] + keywords[i + 1 :])
    for i in range(len(keywords) - 1):
        first, second = keywords[i], keywords[i + 1]
        pair = [changed(first, value=second.value), changed(second, value=first.value)]
        yield changed(node, keywords=[*keywords[:i], *pair, *keywords[i + 2 :]])
    method = isinstance(func, ast.Attribute) and not is_module(func.value)
    if method:
        yield func.value
        if func.attr.rstrip("_") in IN_PLACE:
            other = func.attr[:-1] if func.attr.endswith("_") else func.attr + "_"
            yield changed(node, func=changed(func, attr=other))
    elif args and not isinstance(args[0], ast.Starred):
        yield args[0]
