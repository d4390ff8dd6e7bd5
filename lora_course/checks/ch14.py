"""Checks of chapter 14: DoRA's forward, PiSSA's start, AdaLoRA's choice, VeRA, a fair race."""

import functools
import itertools

import numpy as np

from lora_course.checks import callers, fixtures
from lora_course.checks.core import Check, tensor
from lora_course.checks.slips import Promise, Slip, judged
from lora_course.checks.values import Refused, array, close, kind

# 14.1 DoRA's forward
CASES = {"bias": True, "plain": False}  # name: has it a bias
GIVEN = ("x", "W", "A", "B", "m", "b")


def make_dora(seed):
    rng = np.random.default_rng(seed + 1400)
    f, made = fixtures.normal(rng), {"scaling": rng.choice([0.75, 1.5, 3.0])}
    for case in CASES:
        r, d_in, d_out = fixtures.sizes(rng, 3, 3, 9)
        d_out, texts = (d_out, 2) if case == "bias" else (d_in, 1)  # square, and an axis of one
        made |= {f"x_{case}": f(texts, 10, d_in), f"W_{case}": f(d_out, d_in)}
        made[f"b_{case}"] = f(d_out)
        made |= {f"A_{case}": f(r, d_in) / 2, f"B_{case}": f(d_out, r) / 2}
        made |= {f"m_{case}": abs(f(d_out)) + 0.5, f"G_{case}": f(texts, 10, d_out)}
    return made


def probe_dora(namespace, a):
    made = {}
    for case in CASES:
        made |= fixtures.attempt(case, lambda case=case: dora_once(namespace, a, case))
    return fixtures.unless_all_open(made, CASES)


def dora_once(namespace, a, case):
    import torch

    bias, made = CASES[case], {}
    t = {key: tensor(a[f"{key}_{case}"]) for key in GIVEN}
    for key in ("x", "A", "B", "m"):
        t[key].requires_grad_()
    before = callers.Before(*t.values())
    y = namespace["dora_forward"](
        t["x"], t["W"], t["b"] if bias else None, t["A"], t["B"], a["scaling"].item(), t["m"]
    )
    made |= {f"y_{case}": array(y, "the output"), f"left_{case}": before.change()}
    G, learned = tensor(a[f"G_{case}"]), [t[key] for key in ("A", "B", "m", "x")]
    grads = [None] * 4
    if isinstance(y, torch.Tensor) and y.requires_grad and y.shape == G.shape:
        grads = torch.autograd.grad((y * G).sum(), learned, allow_unused=True)
    for key, p, grad in zip(("A", "B", "m", "x"), learned, grads, strict=True):
        grad = torch.zeros_like(p) if grad is None else grad
        made[f"g{key}_{case}"] = array(grad, "a gradient")
    return made


def dora(i, case, scaling=None, norm=None, full=False, keys=("y", "gA", "gB", "gm", "gx")):
    """Output and gradients of DoRA. norm: V, W -> (out,); full: gradients go through the norm."""
    x, W, A, B, m, b, G = (i[f"{k}_{case}"].astype(float) for k in (*GIVEN, "G"))
    s = float(i["scaling"]) if scaling is None else scaling
    V = W + s * B @ A
    n = np.sqrt((V**2).sum(1)) if norm is None else norm(V, W)
    y, f = x @ V.T, m / n
    by_V = (G.reshape(-1, len(W)).T @ x.reshape(-1, W.shape[1])) * f[:, None]
    along = (G * y).sum((0, 1))  # dL / df
    if full:
        by_V = by_V - (along * m / n**2 / n)[:, None] * V
    made = {
        "y": f * y + (b if CASES[case] else 0), "gA": s * B.T @ by_V, "gB": s * by_V @ A.T,
        "gm": along / n, "gx": (G * f) @ V,
    }  # fmt: skip
    return {f"{key}_{case}": made[key] for key in keys}


def dora_cases(i, change):
    """A slip's outputs. change: x, V, W, m, |V|, bias -> y of a case."""
    made = {}
    for case in CASES:
        x, W, A, B, m, b = (i[f"{k}_{case}"].astype(float) for k in GIVEN)
        s, b = float(i["scaling"]), b if CASES[case] else np.zeros_like(b)
        V = W + s * B @ A
        made[f"y_{case}"] = change(x, V, W, m, np.sqrt((V**2).sum(1)), b)
    return made


def both_cases(i, **options):
    return {k: v for case in CASES for k, v in dora(i, case, **options).items()}


def sizes_named(said):
    """A verdict on an exception; "shapes" where its own text says which sizes do not fit."""
    texts = ("must match", "cannot be multiplied", "mismatch", "equal size", "not aligned")
    texts += ("broadcast together", "broadcastable", "is invalid for input of size")
    fits_not = said.mistake == "raised" and any(text in said.seen for text in texts)
    return said._replace(mistake="shapes") if fits_not else said


def second_look(said, i, o, slips, *keys):
    """A verdict on an exception, by what came out where sizes are equal, if that is known."""
    if said.mistake != "raised":
        return said
    for key in keys:
        known = judged(i, o, [Promise(key, lambda v: False, rtol=1e-3, atol=1e-3)], slips)
        if known.mistake != "other":
            return said._replace(mistake=known.mistake)
    return sizes_named(said)


def judge_dora(i, o):
    what = {"y": "the output", "gA": "the gradient of lora_A", "gB": "the gradient of lora_B",
            "gm": "the gradient of magnitude", "gx": "the gradient of x"}  # fmt: skip
    promises = []
    for key, words in what.items():
        for case, bias in CASES.items():
            right = dora(i, case)[f"{key}_{case}"]
            words_here = f"{'with' if bias else 'without'} a bias, {words}"
            promises.append(Promise(f"{key}_{case}", right, words_here, rtol=1e-3, atol=1e-3))
    promises += [callers.unchanged(f"left_{case}", "a tensor that was given") for case in CASES]
    said = judged(i, o, promises, DORA, part="bias")
    said = sizes_named(said)
    if said.mistake in ("raised", "shapes"):  # the square layer shows what would have been computed
        square = [p for p in promises if p.key.endswith("_plain")]
        known = judged(i, o, square, COLUMNS)
        return known if known.mistake == "columns" else said
    if "raised:plain" in o and "raised:bias" not in o:  # without a bias
        with_bias = [p for p in promises if p.key.endswith("_bias")]
        said = judged(i, o, with_bias, DORA)
    return said if said.share < 1 else judged(i, o, promises, DORA, part="plain")


def not_through(i, dead):
    """Right outputs, and no gradient for the names in `dead`."""
    right = both_cases(i)
    return {k: 0 * v if k.split("_")[0] in dead else v for k, v in right.items()}


COLUMNS = (
    Slip("columns", "These are lengths of columns, one for each input. The norm is taken of each "
         "row, one for each output: `V.norm(dim=1)`.",
         lambda i: [by_columns(i, "plain", False), by_columns(i, "plain", True)]),
)  # fmt: skip


def by_columns(i, case, each):
    """The output with the norms of columns, taken for those of rows or dividing the columns."""
    x, W, A, B, m, b = (i[f"{k}_{case}"].astype(float) for k in GIVEN)
    V = W + float(i["scaling"]) * B @ A
    n = np.sqrt((V**2).sum(0))
    y = x @ (m[:, None] * V / n).T if each else m / n * (x @ V.T)
    return {f"y_{case}": y + (b if CASES[case] else 0)}


DORA = (
    Slip("shapes", "Two shapes do not fit. V is (out, in), its norm (out,), like the magnitude and "
         "the bias; `x @ V.T` is (..., out)."),
    Slip("columns", COLUMNS[0].advice, lambda i: by_columns(i, "bias", True)),
    Slip("flat", "Whatever axes x has in front, y has them, too: leave x as it is, `x @ V.T`.",
         lambda i: {"y_bias": lambda v: v.ndim == 2 and v.size == i["G_bias"].size}),
    Slip("in_place", "What was given stays as it is: build V as a new tensor.",
         lambda i: [{f"left_{case}": lambda v: v > 0} for case in CASES]),
    Slip("not_normed", "V is multiplied by the magnitude, but it still has its own length. Divide "
         "by the norm of each row first.",
         lambda i: dora_cases(i, lambda x, V, W, m, n, b: m * (x @ V.T) + b)),
    Slip("no_magnitude", "Every row of V has length 1 here: the magnitude is missing.",
         lambda i: dora_cases(i, lambda x, V, W, m, n, b: (x @ V.T) / n + b)),
    Slip("norm_of_w", "The norm is that of W. It must be that of V, which moves with the update.",
         lambda i: both_cases(i, norm=lambda V, W: np.sqrt((W**2).sum(1)), keys=("y",))),
    Slip("one_norm", "One norm of the whole matrix was taken. Each row has its own: "
         "`V.norm(dim=1)`.",
         lambda i: both_cases(i, norm=lambda V, W: np.full(len(V), np.sqrt((V**2).sum())),
                              keys=("y",))),
    Slip("squared", "The length of a row is the root of the sum of its squares: `V.norm(dim=1)`.",
         lambda i: [both_cases(i, norm=norm, keys=("y",)) for norm in (
             lambda V, W: (V**2).sum(1), lambda V, W: abs(V).sum(1), lambda V, W: abs(V).max(1),
             lambda V, W: np.sqrt((V**2).mean(1)))]),
    Slip("no_scale", "The update inside V has its scale once, and is added: V = W + scaling * B A.",
         lambda i: [both_cases(i, scaling=c, keys=("y",))
                    for c in (1.0, i["scaling"] ** 2.0, 1 / i["scaling"], -i["scaling"])]),
    Slip("norm_without_scale", "The norm is that of W + B A. It must be that of V, with its scale.",
         lambda i: both_cases(i, keys=("y",), norm=lambda V, W: np.sqrt(
             ((W + (V - W) / float(i["scaling"])) ** 2).sum(1)))),
    Slip("update_only", "Only one part of V was scaled by m / |V|. DoRA scales the whole row: the "
         "part from W and the update.", lambda i: [
             dora_cases(i, lambda x, V, W, m, n, b: x @ W.T + m / n * (x @ (V - W).T) + b),
             dora_cases(i, lambda x, V, W, m, n, b: m / n * (x @ W.T) + x @ (V - W).T + b)]),
    Slip("base_lost", "What comes from W is missing. The layer's whole output is asked for, not "
         "what is added to x W.", lambda i: [
             dora_cases(i, lambda x, V, W, m, n, b: m / n * (x @ (V - W).T) + b),
             dora_cases(i, lambda x, V, W, m, n, b: m / n * (x @ V.T) - x @ W.T + b)]),
    Slip("own_magnitude", "The lengths of W's rows stand in for the magnitude. It only begins "
         "there: take the one that is given.",
         lambda i: dora_cases(i, lambda x, V, W, m, n, b: np.sqrt((W**2).sum(1)) / n * (x @ V.T)
                              + b)),
    Slip("multiplied", "V was multiplied by its norm. Divide by it, so that a row has length 1 "
         "before m comes in.",
         lambda i: dora_cases(i, lambda x, V, W, m, n, b: m * n * (x @ V.T) + b)),
    Slip("bias_scaled", "The bias was scaled with the rest. It is added at the end.",
         lambda i: dora_cases(i, lambda x, V, W, m, n, b: m / n * (x @ V.T + b))),
    Slip("bias_lost", "The output lacks the bias.",
         lambda i: dora_cases(i, lambda x, V, W, m, n, b: m / n * (x @ V.T))),
    Slip("not_detached", "The output is right, and the gradients run through the norm as well. "
         "Detach the norm, and only it.", lambda i: both_cases(i, full=True)),
    Slip("factors_cut", "No gradient reaches the factors: V itself was detached, or computed under "
         "`no_grad`. Detach its norm alone.",
         lambda i: [not_through(i, ("gA", "gB")), not_through(i, ("gA", "gB", "gx"))]),
    Slip("one_cut", "A factor or x gets no gradient, the rest is right. Detach the norm, and only "
         "it.", lambda i: [not_through(i, (dead,)) for dead in ("gA", "gB", "gx")]),
    Slip("magnitude_cut", "No gradient reaches the magnitude. Detach the norm alone, not m / |V|.",
         lambda i: not_through(i, ("gm",))),
    Slip("all_cut", "The output carries no gradient at all.",
         lambda i: not_through(i, ("gA", "gB", "gm", "gx"))),
)  # fmt: skip

dora_forward = Check(
    name="dora_forward", title="DoRA's forward", wants=("dora_forward",),
    difficulty=2, minutes=12, points=20,
    verified="the output with and without a bias, gradients of x, both factors and the magnitude "
    "with the norm detached, and that nothing given was changed",
    hints=(
        "Build V first, as one matrix of the shape of W. How long is each of its rows?",
        "`V.norm(dim=1)` gives a number for each output. Which part of m / |V| must not carry "
        "a gradient?",
        "`factor = magnitude / V.norm(dim=1).detach()`, then `factor * (x @ V.T)`, and the bias "
        "last.",
    ),
    slips=DORA, other="Compare with the formula on one row: y = m / |v| * (v · x) + b.",
    make=make_dora, probe=probe_dora, judge=judge_dora,
)  # fmt: skip


# 14.2 PiSSA's start
SHAPES = {"wide": (0, 1), "tall": (1, 0)}  # name: which of the two sizes are out and in


def make_pissa(seed):
    rng = np.random.default_rng(seed + 1410)
    small, large = int(rng.integers(6, 9)), int(rng.integers(10, 14))
    made = {"r": rng.integers(2, 5), "scaling": rng.choice([0.5, 1.5, 3.0])}
    for case, order in SHAPES.items():
        shape = tuple((small, large)[axis] for axis in order)
        U, _, Vh = np.linalg.svd(rng.normal(size=shape), full_matrices=False)
        s = np.sort(rng.uniform(0.7, 1.3, small))[::-1] * 2.0 ** -np.arange(small) * 8
        made[f"W_{case}"] = (U * s @ Vh).astype(np.float32)  # values well apart
    made["W_square"] = made["W_wide"][:, :small]
    return made


def probe_pissa(namespace, a):
    made = fixtures.attempt("given", lambda: pissa_once(namespace, a))
    if "raised:given" in made:  # a square weight shows what would have been computed
        for case, r in (("square", a["r"].item()), ("even", len(a["W_square"]))):
            made |= fixtures.attempt(case, lambda case=case, r=r: pissa_square(
                namespace["pissa_start"], a, case, r))  # fmt: skip
            made.pop(f"raised:{case}", None)
    return fixtures.unless_all_open(made, ("given",))


def pissa_square(function, a, case, r):
    """The update of a square weight; even: r is its side, so that all sizes are equal."""
    c = a["scaling"].item()
    _, A, B = (array(value, "a factor") for value in function(tensor(a["W_square"]), r, c))
    return {case: c * B @ A}


def pissa_once(namespace, a):
    made = {}
    for case in SHAPES:
        W = tensor(a[f"W_{case}"])
        before = callers.Before(W)
        result = namespace["pissa_start"](W, a["r"].item(), a["scaling"].item())
        names = ("residual", "lora_A", "lora_B")
        for key, value in zip("RAB", fixtures.several(result, names, "pissa_start"), strict=True):
            made[f"{key}_{case}"] = value
        made[f"left_{case}"] = before.change()
        R, A, B = (made[f"{key}_{case}"] for key in "RAB")
        fits = A.ndim == B.ndim == 2 and A.shape[0] == B.shape[1]
        made[f"update_{case}"] = a["scaling"] * B @ A if fits else np.zeros(0)
        sums = fits and made[f"update_{case}"].shape == R.shape
        made[f"sum_{case}"] = made[f"update_{case}"] + R if sums else np.zeros(0)
        made[f"shapes_{case}"] = np.array([*R.shape, 0, 0, *A.shape, 0, 0, *B.shape, 0, 0])[:12]
        made[f"rows_{case}"] = np.sqrt((A**2).sum(-1)) if A.ndim == 2 else np.zeros(0)
        made[f"columns_{case}"] = np.sqrt((B**2).sum(0)) if B.ndim == 2 else np.zeros(0)
    return made


def pissa(i, case):
    """What is right: the update, the residual and their sum."""
    W, r = i[f"W_{case}"].astype(float), int(i["r"])
    U, s, Vh = np.linalg.svd(W, full_matrices=False)
    update = U[:, :r] * s[:r] @ Vh[:r]
    return {
        f"update_{case}": update, f"R_{case}": W - update, f"sum_{case}": W,
    }  # fmt: skip


def judge_pissa(i, o):
    r, promises = int(i["r"]), []
    for case in SHAPES:
        (d_out, d_in), right = i[f"W_{case}"].shape, pissa(i, case)
        here = f"for W of {d_out} x {d_in} and r = {r}"
        shapes = np.array([d_out, d_in, 0, 0, r, d_in, 0, 0, d_out, r, 0, 0])
        close = {"rtol": 1e-3, "atol": 1e-4}
        promises += [
            Promise(f"shapes_{case}", shapes, f"{here}, the shapes of residual, lora_A, lora_B",
                    seen=lambda v, here=here: f"{here}, {three_shapes(v)}", expected=f"residual "
                    f"{d_out} x {d_in}, lora_A {r} x {d_in}, lora_B {d_out} x {r}"),
            Promise(f"sum_{case}", right[f"sum_{case}"], f"{here}, residual + scaling * B A",
                    **close),
            Promise(f"update_{case}", right[f"update_{case}"], f"{here}, scaling * B A", **close),
            Promise(f"rows_{case}", o.get(f"columns_{case}", np.zeros(0)), f"{here}, the length of "
                    "A's row, beside that of B's column,", **close),
            callers.unchanged(f"left_{case}", "W"),
        ]  # fmt: skip
    said = judged(i, o, promises, PISSA, part="given")
    return second_look(said, i, o, PISSA_SQUARE, "square", "even")


def rows_of_v(i, case):
    """The condition update = U diag(s) and then rows of V, whatever the signs of U and V."""
    W, r = i[f"W_{case}"].astype(float), int(i["r"])
    U, s, Vh = np.linalg.svd(W, full_matrices=False)

    def holds(v):
        if v.shape != W.shape:
            return False
        rows = (U[:, :r].T @ v / s[:r, None])[:, : len(s)]
        return np.allclose(abs(rows), abs(Vh[:, :r].T), rtol=1e-2, atol=1e-3)

    return holds


def rows_of_u(i):
    """The same condition for rows of U in the place of its columns, of the square weight."""
    rows = rows_of_v({"W_square": i["W_square"].T, "r": i["r"]}, "square")
    return lambda v: v.ndim == 2 and rows(v.T)


def axes(i):
    """The update of the square weight with roots that scale rows for columns; r is its side."""
    U, s, Vh = np.linalg.svd(i["W_square"].astype(float))
    root = (s / float(i["scaling"])) ** 0.5
    sides = (U * root, root[:, None] * Vh), (U * root[:, None], root * Vh)
    pairs = (sides[0][0], sides[1][1]), (sides[1][0], sides[0][1]), sides[1]
    return [{"even": float(i["scaling"]) * B @ A} for B, A in pairs]


def square_right(i, turn=False):
    r, (U, s, Vh) = int(i["r"]), np.linalg.svd(i["W_square"].astype(float))
    update = U[:, :r] * s[:r] @ Vh[:r]
    return {"square": lambda v: close(v, update.T if turn else update, 1e-3, 1e-4)}


V_FOR_VH = (
    "A's directions are not those of W. They are the rows of the Vh that `torch.linalg.svd` "
    "returns, as they come: `Vh[:r]`."
)

PISSA_SQUARE = (
    Slip("only_square", "For a square W this code is right. Else U, s and Vh differ in size, "
         "unless you ask for `full_matrices=False`; and all three are cut to r pieces.",
         square_right),
    Slip("sides_exchanged", "The directions of the two factors are exchanged: columns of U belong "
         "to B, (out, r), rows of Vh to A, (r, in).", lambda i: square_right(i, turn=True)),
    Slip("v_for_vh", V_FOR_VH, lambda i: {"square": rows_of_v(i, "square")}),
    Slip("u_rows", "B's directions are not those of W. They are the columns of U: `U[:, :r]`.",
         lambda i: {"square": rows_of_u(i)}),
    Slip("root_axis", "A root scales the wrong axis. A piece is a column of U and a row of Vh: "
         "`U[:, :r] * root` and `root[:, None] * Vh[:r]`.", axes),
)  # fmt: skip


def three_shapes(value):
    """The shapes of residual, A and B in words."""
    names, value = ("residual", "lora_A", "lora_B"), np.ravel(value)
    shapes = [[int(n) for n in value[4 * k : 4 * k + 4] if n > 0] for k in range(3)]
    return ", ".join(f"{n} {' x '.join(map(str, sh))}" for n, sh in zip(names, shapes, strict=True))


def other_order(i, case):
    """The shapes in every order but the right one."""
    (d_out, d_in), r = i[f"W_{case}"].shape, int(i["r"])
    R, A, B = [d_out, d_in, 0, 0], [r, d_in, 0, 0], [d_out, r, 0, 0]
    orders = ((R, B, A), (A, B, R), (B, A, R), (A, R, B), (B, R, A))
    return [{f"shapes_{case}": np.concatenate(order)} for order in orders]


def pissa_slip(change):
    """A slip's values. change: U, s, Vh, r, c -> (update, residual or None for W - update)."""

    def values(i):
        made = {}
        for case in SHAPES:
            W, r, c = i[f"W_{case}"].astype(float), int(i["r"]), float(i["scaling"])
            update, rest = change(W, *np.linalg.svd(W, full_matrices=False), r, c)
            rest = W - update if rest is None else rest
            made |= {f"update_{case}": update, f"sum_{case}": update + rest}
        return made

    return values


def times(change):
    """A slip's values: pieces of another size, and a residual that knows of it or does not."""

    def update(U, s, Vh, r, c):
        return U[:, :r] * change(s[:r], c) @ Vh[:r]

    return lambda i: [
        pissa_slip(lambda W, U, s, Vh, r, c: (update(U, s, Vh, r, c), None))(i),
        pissa_slip(lambda W, U, s, Vh, r, c: (update(U, s, Vh, r, c),
                                              W - U[:, :r] * s[:r] @ Vh[:r]))(i),
    ]  # fmt: skip


def lengths(by_row, by_column):
    """A slip's values: lengths of rows and columns from the singular values and the scale."""
    return lambda i: {
        f"{key}_{case}": rule(np.linalg.svd(i[f"W_{case}"].astype(float))[1][: int(i["r"])],
                              float(i["scaling"]))
        for case in SHAPES
        for key, rule in (("rows", by_row), ("columns", by_column))
    } | {f"sum_{case}": i[f"W_{case}"] for case in SHAPES}  # fmt: skip


PISSA = (
    Slip("shapes", "Two shapes do not fit. U is (out, k), s (k,) and Vh (k, in), k the smaller "
         "side of W: A is made of rows of Vh, B of columns of U."),
    *(slip for slip in PISSA_SQUARE if slip.name != "v_for_vh"),
    Slip("v_for_vh", V_FOR_VH, lambda i: {f"update_{case}": rows_of_v(i, case) for case in SHAPES}),
    Slip("not_cut", "All pieces are there. Keep the first r: r columns of U, r rows of Vh.",
         lambda i: [{f"shapes_{case}": np.array([d_out, d_in, 0, 0, a, d_in, 0, 0, d_out, b, 0, 0])}
                    for case in SHAPES for d_out, d_in in (i[f"W_{case}"].shape,)
                    for k, r in ((min(d_out, d_in), int(i["r"])),)
                    for a, b in ((k, k), (k, r), (r, k), (d_in, d_out), (d_in, r), (r, d_out))]),
    Slip("base_kept", "The residual is W itself, so the principal pieces count twice. Take the "
         "update off.", pissa_slip(lambda W, U, s, Vh, r, c: (U[:, :r] * s[:r] @ Vh[:r], W))),
    Slip("scale_ignored", "B A alone is the principal part, but the layer adds scaling * B A. "
         "Divide the singular values by the scale before you take roots.",
         times(lambda s, c: c * s)),
    Slip("smallest", "Those are not the largest pieces. PiSSA trains the first r of the SVD.",
         lambda i: [pissa_slip(lambda W, U, s, Vh, r, c, at=at: (
             U[:, at(r)] * s[at(r)] @ Vh[at(r)], None))(i)
             for at in (lambda r: slice(-r, None), lambda r: slice(1, r + 1))]),
    Slip("no_values", "The singular values are missing: U and Vh alone have length 1. Give each "
         "factor their root.", lambda i: [*times(lambda s, c: c + 0 * s)(i),
                                          *times(lambda s, c: 1 + 0 * s)(i)]),
    Slip("minus", "One factor has the wrong sign, so the update is minus the largest pieces.",
         times(lambda s, c: -s)),
    Slip("no_root", "Both factors got the whole singular value, so it counts twice. Give each the "
         "square root.",
         lambda i: [*times(lambda s, c: s**2 / c)(i), *times(lambda s, c: c * s**2)(i),
                    *times(lambda s, c: s**2)(i)]),
    Slip("all_in_b", "The product is right, but A's rows have length 1: the singular values sit in "
         "B alone. Give each factor the root.",
         lengths(lambda s, c: np.ones_like(s), lambda s, c: s / c)),
    Slip("all_in_a", "The product is right, but B's columns have length 1: the singular values sit "
         "in A alone. Give each factor the root.",
         lengths(lambda s, c: s / c, lambda s, c: np.ones_like(s))),
    Slip("scale_in_one", "The scale was divided out of one factor alone. Each gets the root of "
         "s / scaling.",
         lambda i: [lengths(lambda s, c: s**0.5 / c, lambda s, c: s**0.5)(i),
                    lengths(lambda s, c: s**0.5, lambda s, c: s**0.5 / c)(i)]),
    Slip("scale_wrong", "The layer multiplies B A by the scale, so B A holds s / scaling: each "
         "factor gets `(s / scaling).sqrt()`.",
         lambda i: [*times(lambda s, c: s / c)(i), *times(lambda s, c: c**2 * s)(i)]),
    Slip("rest_without_scale", "The residual is W minus what the layer adds: scaling * B A, not "
         "B A.", pissa_slip(lambda W, U, s, Vh, r, c: (
             U[:, :r] * s[:r] @ Vh[:r], W - U[:, :r] * s[:r] @ Vh[:r] / c))),
    Slip("rest_is_update", "The residual is what is left of W when the update is taken off, no "
         "more and no less: W - scaling * B A.", lambda i: [
             pissa_slip(lambda W, U, s, Vh, r, c, rest=rest: (
                 U[:, :r] * s[:r] @ Vh[:r], rest(W, U[:, :r] * s[:r] @ Vh[:r], c)))(i)
             for rest in (lambda W, u, c: u, lambda W, u, c: W + u, lambda W, u, c: 0 * W,
                          lambda W, u, c: (W - u) / c)]),
    Slip("exchanged", "The order is residual, A, B: A has r rows, B has r columns.",
         lambda i: [option for case in SHAPES for option in other_order(i, case)]),
    Slip("turned", "The factors are turned: A is (r, in), B is (out, r).", lambda i: [
        {f"shapes_{case}": np.array([d_out, d_in, 0, 0, *A, 0, 0, *B, 0, 0])}
        for case, r in ((case, i["r"]) for case in SHAPES)
        for d_out, d_in in (i[f"W_{case}"].shape,)
        for A, B in (((d_in, r), (r, d_out)), ((d_in, r), (d_out, r)), ((r, d_in), (r, d_out)))]),
    Slip("in_place", "`-=` writes into the weight that was given. Compute a new tensor.",
         lambda i: [{f"left_{case}": lambda v: v > 0} for case in SHAPES]),
    Slip("lora_start", "The update is zero: that is the start of LoRA. PiSSA starts with the "
         "largest pieces of W.", pissa_slip(lambda W, U, s, Vh, r, c: (0 * W, None))),
)  # fmt: skip

pissa_start = Check(
    name="pissa_start", title="PiSSA's start", wants=("pissa_start",),
    difficulty=3, minutes=12, points=20,
    verified="shapes, the sum, the nearest matrix of rank r, evenly shared lengths, for a wide and "
    "a tall weight, and that W is as it was",
    hints=(
        "`torch.linalg.svd(W, full_matrices=False)` gives U, s and Vh, largest piece first.",
        "The layer multiplies B A by the scale. So B A must be the principal part **divided** by "
        "it, and each factor gets the root of a singular value.",
        "`root = (s[:r] / scaling).sqrt()`; A is `root[:, None] * Vh[:r]`, B is `U[:, :r] * root`. "
        "The residual is W minus scaling * B @ A.",
    ),
    slips=PISSA, other="Compare twice: residual + scaling * lora_B @ lora_A must be W, and "
    "scaling * lora_B @ lora_A its r largest pieces.",
    make=make_pissa, probe=probe_pissa, judge=judge_pissa,
)  # fmt: skip


# 14.3 AdaLoRA's allocation
LAYERS = ("up", "q", "down", "k")  # order of the dict
BUDGETS = ("some", "few", "none", "all")


def make_allocate(seed):
    rng = np.random.default_rng(seed + 1420)
    made = {}
    while True:
        ranks = fixtures.sizes(rng, 4, 2, 7)
        for n, r in enumerate(ranks):
            d_in, d_out = fixtures.sizes(rng, 2, 4, 12)
            d_in, d_out = (r if n == 3 else d_in), (r if n == 2 else d_out)  # a square A or B
            size = np.exp(rng.normal() * 0.7)  # layers differ in importance
            for key, shape in (("A", (r, d_in)), ("E", (r, 1)), ("B", (d_out, r))):
                for part in "sj":  # sensitivity and uncertainty
                    values = np.exp(rng.normal(size=shape)) * size
                    made[f"{part}{key}{n}"] = values.astype(np.float32)
        total = sum(ranks)
        some = int(rng.integers(total // 2, total - 2))
        made["budgets"] = np.array([some, int(rng.integers(2, total // 3)), 0, total])
        importance = np.sort(np.concatenate(scores(made)))
        clear = np.diff(importance).min() > 1e-3 * importance.mean()
        right = {key: made_masks(made, key) for key in ("some", "few")}
        rules = (*ALLOCATIONS.values(), *OTHERS.values(), *NEAR)
        differ = all(apart(right, rule(made)) for rule in rules)
        if clear and differ and min(mask.sum() for mask in right.values()) > 1:
            return made | equal_sizes(np.random.default_rng(seed + 1421))


def equal_sizes(rng, r=3):
    """Layers of one rank, and layers in which out and in are that rank, too."""
    made = {}
    for name, (d_in, d_out) in (("one_rank", (r + 2, r + 4)), ("cube", (r, r))):
        for n in range(len(LAYERS)):
            for key, shape in (("A", (r, d_in)), ("E", (r, 1)), ("B", (d_out, r))):
                for part in "sj":
                    made[f"{name} {part}{key}{n}"] = np.exp(rng.normal(size=shape)).astype("f4")
    return made


def inner(i, name):
    """The arrays of a set of layers with equal sizes, by their names in the given set."""
    return {key.split()[1]: value for key, value in i.items() if key.startswith(f"{name} ")}


def every_mask(i, **options):
    """The masks for every budget, none and all among them, (budgets, triplets)."""
    found = scores(i, **options)
    return np.stack([top(found, budget) for budget in range(sum(map(len, found)) + 1)])


AXES = [  # means over the other axis, where all sizes are equal
    {side: lambda v, axis: v.mean(1 - axis) for side in sides} for sides in ("A", "B", "AB")
]


def scores(i, A=np.mean, B=np.mean, parts="AEB", product=lambda s, j: s * j):
    """Importance of the triplets, one array for each layer."""
    found = []
    for n in range(len(LAYERS)):
        each = {key: product(i[f"s{key}{n}"].astype(float), i[f"j{key}{n}"].astype(float))
                for key in "AEB"}  # fmt: skip
        sides = {"A": A(each["A"], 1), "E": each["E"][:, 0], "B": B(each["B"], 0)}
        found.append(sum(sides[key] for key in parts))
    return found


def top(found, budget, sign=1):
    """One array of bool over all layers: the `budget` largest."""
    everything = sign * np.concatenate(found)
    on = np.zeros(len(everything), dtype=bool)
    on[np.argsort(-everything, kind="stable")[: max(budget, 0)]] = True
    return on


def budget_of(i, key):
    """The budget of this name; a number is one itself."""
    return key if isinstance(key, int) else int(i["budgets"][BUDGETS.index(key)])


def made_masks(i, key, off=0, sign=1, **options):
    return top(scores(i, **options), budget_of(i, key) + off, sign)


def in_each_layer(i, key):
    """The same number of triplets in every layer."""
    found = scores(i)
    share = budget_of(i, key) // len(found)
    return np.concatenate([top([each], share) for each in found])


def in_proportion(i, key):
    """The same share of the triplets in every layer."""
    found = scores(i)
    share = budget_of(i, key) / sum(map(len, found))
    return np.concatenate([top([each], round(share * len(each))) for each in found])


def below_bar(i, key):
    """What lies below the bar, the first triplet that falls out."""
    found = scores(i)
    return top(found, sum(map(len, found)) - budget_of(i, key) - 1, sign=-1)


def by_share(i, key):
    """Importances as shares of their layer."""
    return top([each / each.sum() for each in scores(i)], budget_of(i, key))


def both_budgets(choose):
    """A rule's masks for two of the budgets."""
    rule = lambda i: {key: choose(i, key) for key in ("some", "few")}  # noqa: E731
    rule.choose = choose
    return rule


def at_every_budget(*rules):
    """A slip's masks, at every budget, which tell rules apart that agree at two of them."""

    def values(i):
        made = [rule(i) for rule in rules]
        whole = range(1, budget_of(i, "all"))
        for each, rule in zip(made, rules, strict=True):
            each["every"] = np.stack([rule.choose(i, budget) for budget in whole])
        return made

    return values


ALLOCATIONS = {
    "each_layer": both_budgets(in_each_layer),
    "least": both_budgets(lambda i, k: made_masks(i, k, sign=-1)),
    "inverse": both_budgets(lambda i, k: ~made_masks(i, k)),
    "sums": both_budgets(lambda i, k: made_masks(i, k, A=np.sum, B=np.sum)),
    "only_e": both_budgets(lambda i, k: made_masks(i, k, parts="E")),
    "no_e": both_budgets(lambda i, k: made_masks(i, k, parts="AB")),
    "no_uncertainty": both_budgets(lambda i, k: made_masks(i, k, product=lambda s, j: s)),
    "added": both_budgets(lambda i, k: made_masks(i, k, product=lambda s, j: s + j)),
    "only_uncertainty": both_budgets(lambda i, k: made_masks(i, k, product=lambda s, j: j)),
    "means_first": both_budgets(lambda i, k: by_means(i, k)),
    "one_less": both_budgets(lambda i, k: made_masks(i, k, off=-1)),
    "one_more": both_budgets(lambda i, k: made_masks(i, k, off=1)),
}


OTHERS = {
    "in_proportion": both_budgets(in_proportion),
    "below_bar": both_budgets(below_bar),
    "by_share": both_budgets(by_share),
    "each_budget": both_budgets(lambda i, k: np.concatenate(
        [top([each], budget_of(i, k)) for each in scores(i)])),
    "half_sides": both_budgets(lambda i, k: top(
        [e + s / 2 for e, s in zip(scores(i, parts="E"), scores(i, parts="AB"), strict=True)],
        budget_of(i, k))),
}  # fmt: skip


def by_means(i, key):
    """The product of the means in the place of the mean of the products."""
    found = []
    for n in range(len(LAYERS)):
        s, j = ({k: i[f"{part}{k}{n}"].astype(float) for k in "AEB"} for part in "sj")
        found.append(s["E"][:, 0] * j["E"][:, 0] + s["A"].mean(1) * j["A"].mean(1)
                     + s["B"].mean(0) * j["B"].mean(0))  # fmt: skip
    return top(found, budget_of(i, key))


def best_of_each(i, key):
    """The right choice, and the best triplet of every layer."""
    each = np.concatenate([found == found.max() for found in scores(i)])
    return made_masks(i, key) | each


def other_axis(values, axis):
    """The mean over the other axis, where the shape would not tell."""
    square = values.shape[0] == values.shape[1]
    return values.mean(1 - axis if square else axis)


def multiplied(i, key):
    """The three scores multiplied."""
    parts = zip(*(scores(i, parts=part) for part in "AEB"), strict=True)
    return top([a * b * c for a, b, c in parts], budget_of(i, key))


NEAR = (  # other answers, that must not look like one of the above
    both_budgets(lambda i, k: made_masks(i, k, parts="AE")),
    both_budgets(lambda i, k: made_masks(i, k, parts="EB")),
    both_budgets(lambda i, k: made_masks(i, k, A=lambda v, n: v.mean(), B=lambda v, n: v.mean())),
    both_budgets(lambda i, k: made_masks(i, k, A=np.max, B=np.max)),
    both_budgets(multiplied),
    both_budgets(lambda i, k: made_masks(i, k, A=other_axis)),
    both_budgets(lambda i, k: made_masks(i, k, B=other_axis)),
)


def probe_allocate(namespace, a):
    made = fixtures.attempt("given", lambda: allocate_once(namespace, a))
    if "raised:given" in made:  # equal sizes show what would have been computed
        for name in ("one_rank", "cube"):
            made |= fixtures.attempt(name, lambda name=name: masks_of_equal(
                namespace["allocate"], inner(a, name), name))  # fmt: skip
            made.pop(f"raised:{name}", None)
    return fixtures.unless_all_open(made, ("given",))


def averages_of(a):
    return {
        name: {k: (tensor(a[f"s{k}{n}"]), tensor(a[f"j{k}{n}"])) for k in "AEB"}
        for n, name in enumerate(LAYERS)
    }


def masks_of_equal(function, a, name):
    """The masks for every budget; the shape of one, where it has another."""
    made, rank = [], len(a["sE0"])
    for budget in range(rank * len(LAYERS) + 1):
        result = function(averages_of(a), budget)
        parts = [array(result[layer], "a mask") for layer in LAYERS]
        if parts[0].shape != (rank,):
            return {name: np.array(parts[0].shape)}
        made.append(np.concatenate(parts))
    return {name: np.stack(made)}


def allocate_once(namespace, a):
    made, every = {}, []
    total = int(a["budgets"].max())
    for key, budget in [*zip(BUDGETS, a["budgets"].tolist(), strict=True),
                        *(("", budget) for budget in range(1, total))]:  # fmt: skip
        averages = averages_of(a)
        tensors = [t for parts in averages.values() for pair in parts.values() for t in pair]
        before = callers.Before(*tensors)
        call = functools.partial(namespace["allocate"], averages, budget)
        result = fixtures.in_case(f"for a budget of {budget}", call)
        result = fixtures.expect(result, dict, "allocate", "a dict, layer -> (r,)")
        if set(result) != set(LAYERS):
            listed = ", ".join(map(str, list(result)[:6])) or "no layer"
            raise Refused("type", f"allocate returns a dict of {listed}.", "every layer, no other.")
        parts = [array(result[name], f"the mask of {name}") for name in LAYERS]
        fits = all(p.shape == a[f"sE{n}"][:, 0].shape for n, p in enumerate(parts))
        mask = np.concatenate(parts) if fits else np.zeros(0)
        if not key:
            every.append(mask)
            continue
        made |= {f"fits_{key}": fits, f"left_{key}": before.change(), key: mask}
        if list(averages) != list(LAYERS):
            made[f"left_{key}"] = 5
        made[f"bool_{key}"] = all(p.dtype.kind == "b" for p in parts)
    same = len({mask.shape for mask in every}) == 1
    return {**made, "every": np.stack(every) if same else np.zeros(0)}


def masks_at(wanted, places, here):
    """A mask in words: how many are on, and the first that should not be as it is."""

    def seen(value):
        if value.shape != wanted.shape:
            return f"{here}, masks of another size"
        at = int(np.argmax(value.astype(bool) != wanted))
        on = f"{n} triplets are on" if (n := int((value != 0).sum())) != 1 else "1 triplet is on"
        return f"{here}, {on}, and {places[at]} is {'off' if wanted[at] else 'on'}"

    return seen


def judge_allocate(i, o):
    promises = []
    for key in BUDGETS:
        budget, here = budget_of(i, key), f"for a budget of {budget_of(i, key)}"
        wanted = made_masks(i, key)
        places = [f"{name}[{k}]" for n, name in enumerate(LAYERS)
                  for k in range(len(i[f"sE{n}"]))]  # fmt: skip

        promises += [
            Promise(f"fits_{key}", 1, seen=f"{here}, a mask whose shape is not (r,)",
                    expected="one bool for each triplet of the layer"),
            Promise(f"bool_{key}", 1, seen=f"{here}, masks that are not bool",
                    expected="True for a triplet that stays"),
            Promise(key, wanted, seen=masks_at(wanted, places, here),
                    expected=f"{budget} triplets on, the most important"),
            callers.unchanged(f"left_{key}", "the averages that were given"),
        ]  # fmt: skip
    right = np.stack([made_masks(i, budget) for budget in range(1, budget_of(i, "all"))])
    for budget, wanted in enumerate(right, 1):
        every = o.get("every", right)
        row = every[budget - 1] if every.shape == right.shape else wanted
        if not np.array_equal(row, wanted):
            break
    promises.append(Promise("every", lambda v: np.array_equal(v, right), seen=lambda v: masks_at(
        wanted, places, f"for a budget of {budget}")(row), expected=f"{budget} triplets on, the "
        "most important"))  # fmt: skip
    said = judged(i, o, promises, ALLOCATE, part="given")
    return second_look(said, i, o, EQUAL_SIZES, "one_rank", "cube")


EQUAL_SIZES = (
    Slip("one_rank", "Where all layers have one rank this code is right. Here ranks differ: put "
         "the importances behind each other with `torch.cat`, and cut each layer's own (r,) out "
         "again.",
         lambda i: {"one_rank": every_mask(inner(i, "one_rank"))}),
    Slip("e_column", "E is (r, 1). Added to (r,) it makes r x r numbers: take `E[:, 0]`.",
         lambda i: {"one_rank": lambda v: v.tolist() == [len(i["one_rank sE0"])] * 2}),
    Slip("other_axis", "The mean goes along a row of A, (r, in), and along a column of B, (out, "
         "r): `A.mean(1)` and `B.mean(0)`, also where a matrix is square.", lambda i: [
             {"cube": every_mask(inner(i, "cube"), **rule)} for rule in AXES]),
)  # fmt: skip


ALLOCATE = (
    Slip("shapes", "Two shapes do not fit. A is (r, in), E (r, 1) and B (out, r): `A.mean(1)`, "
         "`E[:, 0]` and `B.mean(0)` are (r,)."),
    *(slip for slip in EQUAL_SIZES if slip.name != "other_axis"),
    Slip("places", "`argsort` gives the places in order of importance, not the rank of each "
         "triplet. Compare importances with a bar, or set the places that stay to True.",
         at_every_budget(both_budgets(lambda i, k: np.argsort(-np.concatenate(scores(i)))
                                      < budget_of(i, k)))),
    Slip("each_layer", "Every layer keeps as many, or the same share. AdaLoRA ranks the triplets "
         "of all layers together, so that ranks can move to where they are worth most.",
         at_every_budget(ALLOCATIONS["each_layer"], OTHERS["in_proportion"])),
    Slip("each_budget", "Each layer keeps `budget` triplets. The budget is that of the whole "
         "model: rank the triplets of all layers together.",
         at_every_budget(OTHERS["each_budget"])),
    Slip("by_share", "The importances were divided by something of their layer. As they are, they "
         "can be compared between layers.", at_every_budget(OTHERS["by_share"])),
    Slip("one_side", "A triplet has three parts: an entry of E, a row of A and a column of B. One "
         "of the two last was left out.", at_every_budget(*NEAR[:2])),
    Slip("whole_mean", "The mean of a whole matrix is the same for all its triplets. Each has its "
         "own row of A, `A.mean(1)`, and its own column of B, `B.mean(0)`.",
         at_every_budget(NEAR[2], *(both_budgets(lambda i, k, o=o: made_masks(i, k, **o)) for o in (
             {"A": lambda v, n: v.mean()}, {"B": lambda v, n: v.mean()})))),
    Slip("largest", "The largest score of a row or column was taken. It is their mean that counts.",
         at_every_budget(NEAR[3])),
    Slip("multiplied", "The three scores were multiplied. Add them up.",
         at_every_budget(NEAR[4])),
    Slip("other_axis", EQUAL_SIZES[2].advice, at_every_budget(*NEAR[5:])),
    Slip("half_sides", "The three scores are added as they are, without weights.",
         at_every_budget(OTHERS["half_sides"])),
    Slip("budget_ignored", "The same triplets stay whatever the budget is. The bar is a place in "
         "the ranking: `ranking[budget]`.", lambda i: {
             "some": lambda v: v.any() and not v.all(), "few": lambda v: True,
             "every": lambda v: v.ndim == 2 and bool((v == v[:1]).all())}),
    Slip("least", "The least important triplets stay. Sort the other way.",
         at_every_budget(ALLOCATIONS["least"])),
    Slip("inverse", "The masks are the wrong way round: True means that a triplet stays.",
         at_every_budget(ALLOCATIONS["inverse"], OTHERS["below_bar"])),
    Slip("sums", "The scores of a row of A and of a column of B were added up. With their mean a "
         "wide layer gets no advantage.", at_every_budget(ALLOCATIONS["sums"])),
    Slip("only_e", "Only the entry of E was looked at. The row of A and the column of B count "
         "too.", at_every_budget(ALLOCATIONS["only_e"])),
    Slip("no_e", "The entry of E itself was left out.", at_every_budget(ALLOCATIONS["no_e"])),
    Slip("no_uncertainty", "Only one of the two tensors was used. A score is sensitivity times "
         "uncertainty.", at_every_budget(ALLOCATIONS["no_uncertainty"],
                                         ALLOCATIONS["only_uncertainty"])),
    Slip("means_first", "Multiply number by number first, and take the mean of the scores.",
         at_every_budget(ALLOCATIONS["means_first"])),
    Slip("no_mask", "A mask is (r,) of bool: the comparison `score > bar` itself, for scores of "
         "shape (r,); no scores, places or counts.",
         lambda i: [{f"{what}_{key}": 0} for what in ("bool", "fits") for key in BUDGETS]),
    Slip("one_each", "A layer may lose all of its triplets: nothing is kept for it.",
         lambda i: {key: best_of_each(i, key) for key in ("some", "few", "none")}),
    Slip("in_place", "The averages that were given are needed again: no `mul_`, no `*=`, nothing "
         "taken out of the dict.",
         lambda i: [{f"left_{key}": lambda v: v > 0} for key in BUDGETS]),
    Slip("added", "Sensitivity and uncertainty were added. A score is their product.",
         at_every_budget(ALLOCATIONS["added"])),
    Slip("one_less", "One triplet too few stays. Look at what happens to the one that equals the "
         "bar.", at_every_budget(ALLOCATIONS["one_less"])),
    Slip("one_more", "One triplet too many stays. Look at what happens to the one that equals the "
         "bar.", at_every_budget(ALLOCATIONS["one_more"])),
    Slip("edge_none", "A budget of 0 leaves nothing on. `topk(0)` and slices such as `[-0:]` have "
         "a way of their own.",
         lambda i: {"some": made_masks(i, "some"), "none": lambda v: v.any() and not
                    np.array_equal(v, best_of_each(i, "none"))}),
    Slip("edge_all", "With a budget of all triplets, all of them stay.",
         lambda i: {"some": made_masks(i, "some"), "all": lambda v: not v.all()}),
)  # fmt: skip

allocate = Check(
    name="allocate", title="AdaLoRA's allocation", wants=("allocate",),
    difficulty=3, minutes=18, points=25,
    verified="the importance of every triplet and the choice over all layers, for four budgets, "
    "none and all among them",
    hints=(
        "Two steps: one importance for each triplet, (r,) in each layer; then one ranking over all "
        "layers at once.",
        "Mean over the inputs for A, (r, in); mean over the outputs for B, (out, r). "
        "`torch.cat` puts the layers behind each other.",
        "Sort all importances, largest first. The bar is the first one that falls out, "
        "`ranking[budget]`; a triplet stays when its importance is above the bar. With a budget of "
        "all, nothing falls out.",
    ),
    slips=ALLOCATE, other="Print the importances of one layer and work one of them out by hand.",
    make=make_allocate, probe=probe_allocate, judge=judge_allocate,
)  # fmt: skip


# 14.4 VeRA from one seed
PLACES = ("up_proj", "k_proj", "down_proj")


def make_vera(seed):
    rng = np.random.default_rng(seed + 1430)
    d, wide, kv, r = (int(n) for n in (rng.integers(5, 8), rng.integers(13, 16),
                                       rng.integers(3, 5), rng.integers(9, 12)))  # fmt: skip
    shapes = np.array([(wide + 2, d), (kv, d), (d, wide)])  # the widest in and out differ
    made = {"seed": rng.integers(1000), "r": r, "shapes": shapes}
    for n, (d_out, _) in enumerate(shapes):
        made |= {f"d{n}": rng.normal(size=r), f"b{n}": rng.normal(size=d_out)}
    made |= {f"vectors {name}": rng.normal(size=(3, 2, r)) for name in EVEN}
    return made


EVEN = {"even": (0, 0), "one_shape": (3, 1)}  # name: out and in of every layer, beyond r


def probe_vera(namespace, a):
    made = fixtures.attempt("given", lambda: vera_once(namespace, a))
    if "raised:given" in made:  # equal sizes show what would have been computed
        for name in EVEN:
            made |= fixtures.attempt(name, lambda name=name: vera_even(
                namespace["vera_deltas"], even_inputs(a, name), name))  # fmt: skip
            made[f"ran_{name}"] = f"raised:{name}" not in made
            made.pop(f"raised:{name}", None)
    return fixtures.unless_all_open(made, ("given",))


def even_inputs(i, name):
    """Layers of one shape; even: out and in are r."""
    r, given = int(i["r"]), i[f"vectors {name}"]
    out, into = (r - extra for extra in EVEN[name])
    made = {"seed": i["seed"], "r": i["r"], "shapes": np.array([(out, into)] * 3)}
    return made | {f"{key}{n}": given[n, at, : (r, out)[at]].copy()
                   for n in range(3) for at, key in enumerate("db")}  # fmt: skip


def vera_even(function, a, name):
    shapes = {place: tuple(a["shapes"][0].tolist()) for place in PLACES}
    vectors = {place: (a[f"d{n}"], a[f"b{n}"]) for n, place in enumerate(PLACES)}
    result = function(a["seed"].item(), shapes, dict(reversed(vectors.items())))
    return {f"{name}{n}": array(result[place], "an update") for n, place in enumerate(PLACES)}


def even(i, rule=lambda A, B, d, b: (b[:, None] * B * d) @ A, name="even", order=(0, 1, 2)):
    """The updates of layers of one shape, by a rule of A, B, d and b."""
    a = even_inputs(i, name)
    (out, into), r = a["shapes"][0], int(a["r"])
    rng = np.random.default_rng(int(a["seed"]))
    bounds = (6 / into) ** 0.5, (6 / r) ** 0.5
    A = rng.uniform(-bounds[0], bounds[0], (r, into))
    B = rng.uniform(-bounds[1], bounds[1], (out, r))
    return {f"{name}{n}": rule(A, B, a[f"d{at}"], a[f"b{at}"]) for n, at in enumerate(order)}


def vera_once(namespace, a):
    shapes = {name: tuple(shape) for name, shape in zip(PLACES, a["shapes"].tolist(), strict=True)}
    vectors = {name: (a[f"d{n}"].copy(), a[f"b{n}"].copy()) for n, name in enumerate(PLACES)}
    vectors = dict(reversed(vectors.items()))  # a file keeps no order
    arrays = [tensor(v) for pair in vectors.values() for v in pair]
    result = namespace["vera_deltas"](a["seed"].item(), shapes, vectors)
    fixtures.expect(result, dict, "vera_deltas", "a dict, layer -> update (out, in)")
    if set(result) != set(PLACES):
        raise Refused("type", f"vera_deltas returns {kind(result)} of other layers.", "all three.")
    made = {f"u{n}": array(result[name], f"the update of {name}") for n, name in enumerate(PLACES)}
    after = [tensor(v) for pair in vectors.values() for v in pair]
    same = all(bool((x == y).all()) for x, y in zip(arrays, after, strict=True))
    return {**made, "left": 0 if same else 2}


def vera(i, order="AB", bound=lambda name, shape: (6 / shape[1]) ** 0.5, own=False, last="",
         vectors=lambda d, b: (d, b), fresh=False, again="", turned="", join=np.multiply,
         generator=np.random.default_rng, largest=None, reseed=False, low=-1,
         normal=""):  # fmt: skip
    """The updates, with the slips that are asked for."""
    shapes, r, made = i["shapes"], int(i["r"]), {}
    rng = generator(int(i["seed"]))

    def draw(rng, out, into, names=order):
        wanted, found = {"A": (r, into), "B": (out, r)}, {}
        for name in names:
            if reseed and name != order[0]:
                rng = generator(int(i["seed"]))
            limit = bound(name, wanted[name])
            size = wanted[name][:: -1 if name in turned else 1]
            drawn = rng.normal(0, limit, size) if name in normal else (
                rng.uniform(low * limit, limit, size))  # fmt: skip
            found[name] = drawn.T if name in turned else drawn
        return found

    largest = shapes.max(0) if largest is None else largest
    shared = draw(rng, *largest, names=[name for name in order if again != "B" or name != "B"])
    for n, (d_out, d_in) in enumerate(shapes):
        if own:  # matrices of the layer's own size, from the seed or one after the other
            if n == 0 or fresh:
                rng = np.random.default_rng(int(i["seed"]))
            shared = draw(rng, d_out, d_in)
        elif again == "B":
            shared |= draw(rng, d_out, d_in, names="B")
        elif again and n:
            shared = draw(rng, *largest)
        A = shared["A"][:, -d_in:] if "A" in last else shared["A"][:, :d_in]
        B = shared["B"][-d_out:] if "B" in last else shared["B"][:d_out]
        d, b = vectors(i[f"d{n}"], i[f"b{n}"])
        made[f"u{n}"] = join(b[: len(B), None], B * d) @ A
    return made


def judge_vera(i, o):
    promises = [
        Promise(f"u{n}", right, f"the update of {name}", rtol=1e-3, atol=1e-4)
        for (n, name), right in zip(enumerate(PLACES), vera(i).values(), strict=True)
    ]
    promises.append(callers.unchanged("left", "a vector of the file"))
    said = judged(i, o, promises, VERA, part="given")
    return second_look(said, i, o, VERA_EVEN, "even0")


def shared_changed(i, names, order):
    """The updates when a layer scales its part of A or B in place, and the next finds it so."""
    ones = lambda n: (np.ones_like(i[f"d{n}"]), np.ones_like(i[f"b{n}"]))  # noqa: E731
    A, B = factors_of(i)
    made = {}
    for n in order:
        d_out, d_in = i["shapes"][n]
        (d, b), (one_d, one_b) = (i[f"d{n}"], i[f"b{n}"]), ones(n)
        if "A" in names:
            A[:, :d_in] *= d[:, None]
        if "B" in names:
            B[:d_out] *= b[:, None]
        d, b = one_d if "A" in names else d, one_b if "B" in names else b
        made[f"u{n}"] = (b[:, None] * B[:d_out] * d) @ A[:, :d_in]
    return made


def factors_of(i):
    """The shared A and B."""
    (out, into), r = i["shapes"].max(0), int(i["r"])
    rng = np.random.default_rng(int(i["seed"]))
    a, b = (6 / into) ** 0.5, (6 / r) ** 0.5
    return rng.uniform(-a, a, (r, into)), rng.uniform(-b, b, (out, r))


VERA_EVEN = (
    Slip("one_size", "A is as wide as the widest input of all layers, B as tall as the tallest "
         "output: two numbers, which need not belong to one layer.",
         lambda i: {**even(i), **even(i, name="one_shape")}),
    Slip("sizes_exchanged", "Where out, in and r are equal this code is right, so two sizes are "
         "exchanged. In `shapes` comes first out, then in; A is (r, widest in), B (tallest out, "
         "r).", lambda i: [{**even(i), "ran_one_shape": 0}, {**even(i), "one_shape0": lambda v: (
             not close(v, even(i, name="one_shape")["one_shape0"], 1e-3, 1e-3))}]),
    Slip("vectors_exchanged", "d and b are exchanged. In `vectors` comes first d, (r,), then b, "
         "(out,): d scales the rows of A, b those of B.",
         lambda i: even(i, lambda A, B, d, b: (d[:, None] * B * b) @ A)),
    Slip("by_place", "A layer got the vectors of another one. The file keeps no order: look them "
         "up by name, `vectors[layer]`.", lambda i: even(i, order=(2, 1, 0))),
    Slip("columns_scaled", "A vector scales columns where it should scale rows: diag(b) B is "
         "`b[:, None] * B`, diag(d) A is `d[:, None] * A`.",
         lambda i: [even(i, rule) for rule in (
             lambda A, B, d, b: (B * d) @ A * b, lambda A, B, d, b: (b[:, None] * B) @ (A * d),
             lambda A, B, d, b: (B * b) @ (A * d), lambda A, B, d, b: (B * b * d) @ A,
             lambda A, B, d, b: B @ (A * d) * b, lambda A, B, d, b: (b[:, None] * d[:, None] * B)
             @ A)]),
    Slip("number_by_number", "`*` multiplies number by number. Matrices are multiplied with `@`.",
         lambda i: [even(i, rule) for rule in (
             lambda A, B, d, b: np.diag(b) * B * np.diag(d) * A,
             lambda A, B, d, b: b[:, None] * B * (d[:, None] * A),
             lambda A, B, d, b: b[:, None] * B * d * A, lambda A, B, d, b: b * B * d * A)]),
)  # fmt: skip


VERA = (
    Slip("shapes", "Two shapes do not fit. In `vectors` comes first d, (r,), then b, (out,); in "
         "`shapes` first out, then in. A is (r, widest in), B (tallest out, r)."),
    *(slip for slip in VERA_EVEN if slip.name != "one_size"),
    Slip("shared_changed", "A layer scales its part of A or B in place, and the next layer finds "
         "the shared matrix changed. Make a new array: no `*=`.",
         lambda i: [shared_changed(i, names, order) for names in ("A", "B", "AB")
                    for order in ((0, 1, 2), (2, 1, 0))]),
    Slip("other_order", "B was drawn first. The numbers come out of the generator in one order: A, "
         "then B.", lambda i: vera(i, order="BA")),
    Slip("again", "They were drawn anew for every layer. Draw A and B once, before the layers.",
         lambda i: [vera(i, again="AB"), vera(i, again="B")]),
    Slip("reseeded", "The generator was made anew for B, which got the numbers of A. One "
         "generator, two draws.", lambda i: vera(i, reseed=True)),
    Slip("above_0", "The numbers lie between 0 and the bound. `rng.uniform(-bound, bound, shape)` "
         "has both signs.", lambda i: vera(i, low=0)),
    Slip("normal", "These are normal numbers. A and B are drawn with `rng.uniform`.",
         lambda i: [vera(i, normal=names, **more) for names in ("AB", "A", "B")
                    for more in ({}, {"bound": lambda name, shape, names=names: (
                        1.0 if name in names else (6 / shape[1]) ** 0.5)})]),
    Slip("summed", "b was added. It scales the rows of B: a product.",
         lambda i: vera(i, join=np.add)),
    Slip("turned_draw", "A is drawn as (r, in), B as (out, r). The other shape, turned "
         "afterwards, has the numbers in other places.",
         lambda i: [vera(i, turned=part) for part in ("A", "B", "AB")]),
    Slip("one_size", VERA_EVEN[0].advice, lambda i: [
             vera(i, largest=[i["shapes"].max()] * 2), vera(i, largest=i["shapes"][0]),
             vera(i, largest=[i["shapes"].max()] * 2, bound=lambda name, shape: (6 / (
                 i["shapes"][:, 1].max() if name == "A" else shape[1])) ** 0.5)]),
    Slip("generator", "Another generator draws other numbers from one seed: "
         "`np.random.default_rng(seed)`.", lambda i: vera(i, generator=np.random.RandomState)),
    Slip("own_bound", "The bound belongs to the shared matrix: all its columns count, not those "
         "that a layer uses.", lambda i: {
             f"u{n}": u * (i["shapes"][:, 1].max() / i["shapes"][n, 1]) ** 0.5
             for n, u in enumerate(vera(i).values())}),
    Slip("constant", "The bound is the root of 6 / n.",
         lambda i: [vera(i, bound=lambda name, shape, c=c: (c / shape[1]) ** 0.5)
                    for c in (3, 1, 2)]),
    Slip("turned", "An update has the shape of its weight, (out, in).",
         lambda i: {key: u.T for key, u in vera(i).items()}),
    Slip("in_place", "The vectors of the file stay as they are: no `*=`.",
         lambda i: {"left": lambda v: v > 0}),
    Slip("own_size", "Each layer got matrices of its own size. They are drawn once, in the largest "
         "size, and a layer uses a part of them.",
         lambda i: [vera(i, own=True), vera(i, own=True, fresh=True)]),
    Slip("last_part", "The last columns and rows were taken. A layer uses the first ones.",
         lambda i: [vera(i, last=part) for part in ("AB", "A", "B")]),
    Slip("bound_rows", "The bound was taken from the number of rows. It is the root of 6 over the "
         "number of columns: in for A, r for B.",
         lambda i: [vera(i, bound=lambda name, shape: (6 / shape[0]) ** 0.5),
                    vera(i, bound=lambda name, shape: (6 / sum(shape)) ** 0.5)]),
    Slip("one_bound", "Both matrices got one bound. A has as many columns as the widest input, B "
         "has r.",
         lambda i: [vera(i, bound=lambda name, shape: (6 / i["shapes"][:, 1].max()) ** 0.5),
                    vera(i, bound=lambda name, shape: (6 / int(i["r"])) ** 0.5)]),
    Slip("no_root", "The bound lacks its root.",
         lambda i: vera(i, bound=lambda name, shape: 6 / shape[1])),
    Slip("no_d", "d is missing: it scales the rows of A.",
         lambda i: vera(i, vectors=lambda d, b: (np.ones_like(d), b))),
    Slip("no_b", "b is missing: it scales the rows of B.",
         lambda i: vera(i, vectors=lambda d, b: (d, np.ones_like(b)))),
    Slip("squared", "A vector came in twice.",
         lambda i: [vera(i, vectors=lambda d, b: (d * d, b)),
                    vera(i, vectors=lambda d, b: (d, b * b))]),
)  # fmt: skip

vera_deltas = Check(
    name="vera_deltas", title="VeRA from one seed", wants=("vera_deltas",),
    difficulty=3, minutes=15, points=20,
    verified="the updates of three layers of different sizes, from one seed and their vectors, and "
    "that the vectors are as they were",
    hints=(
        "One generator, two draws, in the order that the text gives. All layers share what comes "
        "out.",
        "How large must A be for the widest input, and B for the widest output? These two need not "
        "belong to one layer.",
        "`A = rng.uniform(-a, a, (r, d_in))` with a = √(6 / d_in), then B with √(6 / r). A layer: "
        "`(b[:, None] * B[:rows] * d) @ A[:, :columns]`.",
    ),
    slips=VERA, other="Print the shapes of A and B, then the first number of each.",
    make=make_vera, probe=probe_vera, judge=judge_vera,
)  # fmt: skip


# 14.5 A comparison with one shared rate
GRIDS = ("first", "second", "third", "fourth", "fifth")  # the third has an exact tie
DRAWN = tuple(grid for grid in GRIDS if grid != "third")
ANSWERS = ("claimed", "winner", "equal", "edge")


def make_unmask(seed):
    """Grids in which every slip gives another answer; the third has an exact tie."""
    rng = np.random.default_rng(seed + 1440)
    while True:
        losses, shared = tied_grid(rng)
        made = {"losses_third": coded(losses), "shared_third": shared}
        for grid in DRAWN:
            while True:
                losses, shared = draw_grid(rng, S=3 if grid == "first" else 4)
                if fair(losses, shared):
                    break
            made |= {f"losses_{grid}": coded(losses), f"shared_{grid}": shared}
        right = unmasked(made)
        ends = np.concatenate([best_of(grid_of(made, grid))[0] for grid in DRAWN])
        said = {name: rule(made) for name, rule in UNMASKED.items()} | {"": right}
        first = {name: leader for leader, names in ALSO.items() for name in names}
        pairs = [
            (said[a], said[b])
            for a, b in itertools.combinations(said, 2)
            if first.get(a, a) != first.get(b, b)
        ]  # no two slips give the same answers
        if {0, 5} <= set(ends.tolist()) and all(apart(a, b) for a, b in pairs):
            return made


def coded(losses):
    """Numbers that can be compared: 1e6 stands for nan, 2e6 for inf."""
    return np.where(np.isnan(losses), 1e6, np.where(np.isinf(losses), 2e6, losses))


def grid_of(i, grid):
    """The losses of a grid, (M, L, S), with nan and inf."""
    given = i[f"losses_{grid}"].astype(np.float32)
    return np.where(given == 1e6, np.nan, np.where(given == 2e6, np.inf, given))


def apart(a, b):
    """True when two sets of answers differ in one that both have."""
    return any(not np.array_equal(a[key], b[key]) for key in a.keys() & b.keys())


def draw_grid(rng, M=5, L=6, S=3):
    """Losses of M methods at L rates with S seeds, (M, L, S), and the position of the shared one.

    Each method has a valley. One of them looks best at a rate at which a run diverged.
    """
    valley, depth = rng.integers(0, L, M), rng.uniform(1.0, 1.3, M)
    bad, seed = rng.integers(M), rng.integers(S)
    valley[bad] = rng.choice([0, L - 2])  # best at an end, or beside one at which a run diverged
    away = np.abs(np.arange(L) - valley[:, None])[..., None]  # (M, L, 1)
    noise = rng.choice([0.03, 0.12, 0.3], M)[:, None, None]
    losses = depth[:, None, None] + 0.4 * away + noise * rng.uniform(-1, 1, (M, L, S))
    losses[(away > 2) & (rng.random((M, L, S)) < 0.3)] = np.nan
    losses[bad, (valley[bad] + 1) % L] -= 1.0
    losses[bad, (valley[bad] + 1) % L, seed] = rng.choice([np.nan, np.inf])
    at, best = best_of(losses)
    other, winner = rng.integers(M), best.argmin()
    if np.isfinite(best).all() and other != winner:  # one lies a little inside the larger spread
        spread = spread_of(losses, at)
        wide = max(spread[other], spread[winner])
        losses[other] += best[winner] + rng.uniform(0.65, 0.9) * wide - best[other]
    return losses.astype(np.float32), rng.integers(L)


def tied_grid(rng):
    """A grid in which one method exceeds the winner by exactly the larger spread.

    All numbers are eighths times a power of two, so that sums and means are exact.
    """
    means = np.array([[16, 8, 12, 20], [14, 10, 18, 24], [28, 26, 22, 21]]) / 8
    losses = np.repeat(means[..., None], 3, axis=-1)
    losses[0, 1] += np.array([0, 1, -1]) / 8  # spread 2 / 8; the next method lies 2 / 8 above
    order = rng.permutation(3)
    return (losses[order] * 2.0 ** rng.integers(-1, 3)).astype(np.float32), rng.integers(4)


def fair(losses, shared):
    """True when nothing in the grid hangs by a hair, and the shared rate misleads."""
    means = mean_of(losses)
    finite = np.sort(means[np.isfinite(means)])
    if not np.isfinite(means).any(1).all() or not np.isfinite(means[:, shared]).any():
        return False
    at, best = best_of(losses)
    spread, winner = spread_of(losses, at), best.argmin()
    gaps = np.delete(best - best[winner] - np.maximum(spread, spread[winner]), winner)
    equal = int((gaps <= 0).sum())
    misleads = means[:, shared].argmin() != winner and 0 < equal < len(gaps)
    return misleads and np.diff(finite).min() > 1e-3 and np.abs(gaps).min() > 1e-2


def mean_of(losses):
    """(M, L): the mean over seeds, inf where a run diverged."""
    means = losses.astype(float).mean(-1)
    return np.where(np.isfinite(means), means, np.inf)


def best_of(losses, means=None):
    """Position and value of each method's lowest mean."""
    means = mean_of(losses) if means is None else means
    at = means.argmin(1)
    return at, means[np.arange(len(means)), at]


def spread_of(losses, at):
    rows = losses.astype(float)[np.arange(len(at)), at]
    with np.errstate(all="ignore"):
        return rows.max(1) - rows.min(1)


def survivors(losses):
    """Means over the seeds that did not diverge."""
    finite = np.isfinite(losses)
    sums = np.where(finite, losses, 0).astype(float).sum(-1)
    return np.where(finite.any(-1), sums / np.maximum(finite.sum(-1), 1), np.inf)


def best_seed(losses):
    """The lowest of the seeds, where none diverged."""
    return np.where(np.isfinite(mean_of(losses)), losses.min(-1), np.inf)


def unmasked(i, mean=mean_of, bar=lambda s, w: np.maximum(s, s[w]), keys=ANSWERS, off=0.0):
    """The four answers for all grids; mean, bar and off: the slips in them."""
    made = {}
    for grid in GRIDS:
        losses, shared = grid_of(i, grid), int(i[f"shared_{grid}"])
        means = mean(losses)
        at, best = best_of(losses, means)
        spread, winner = spread_of(losses, at), best.argmin()
        with np.errstate(all="ignore"):
            equal = best - best[winner] <= bar(spread, winner) - off
        four = (means[:, shared].argmin(), winner, equal, (at == 0) | (at == means.shape[1] - 1))
        made |= {f"{k}_{grid}": v for k, v in zip(ANSWERS, four, strict=True) if k in keys}
    return made


def largest(i):
    """Both winners taken at the other end."""
    made = {}
    for grid in GRIDS:
        means = mean_of(grid_of(i, grid))
        column = means[:, int(i[f"shared_{grid}"])]
        claimed = np.where(np.isfinite(column), column, -np.inf).argmax()
        made |= {f"claimed_{grid}": claimed, f"winner_{grid}": means.min(1).argmax()}
    return made


def winners(first, second):
    """The two winners in other places: which right answer stands where."""

    def values(i):
        right = unmasked(i)
        return {f"{key}_{grid}": right[f"{source}_{grid}"] for grid in GRIDS
                for key, source in (("claimed", first), ("winner", second))}  # fmt: skip

    return values


def other_bar(bar):
    return lambda i: unmasked(i, bar=bar, keys=("claimed", "winner", "equal"))


UNMASKED = {
    "one_rate": winners("claimed", "claimed"),
    "own_for_both": winners("winner", "winner"),
    "swapped": winners("winner", "claimed"),
    "worst": largest,
    "survivors": lambda i: unmasked(i, mean=survivors, keys=ANSWERS[:3]),
    "best_seed": lambda i: unmasked(i, mean=best_seed, keys=ANSWERS[:3]),
    "nan_wins": lambda i: unmasked(i, mean=lambda v: v.astype(float).mean(-1),
                                   keys=ANSWERS[:3]),
    "no_spread": other_bar(lambda s, w: 0 * s),
    "own_spread": other_bar(lambda s, w: s),
    "winner_spread": other_bar(lambda s, w: np.full_like(s, s[w])),
    "sum_spread": other_bar(lambda s, w: s + s[w]),
    "small_spread": other_bar(lambda s, w: np.minimum(s, s[w])),
    "strict": lambda i: unmasked(i, keys=ANSWERS[:3], off=1e-9),
}  # fmt: skip


def spread_by(rule):
    """Right winners, and equality by another rule of the seeds' losses at the best rates."""

    def values(i):
        made = unmasked(i, keys=("claimed", "winner"))
        for grid in GRIDS:
            losses, winner = grid_of(i, grid), made[f"winner_{grid}"]
            at, best = best_of(losses)
            rows = losses[np.arange(len(at)), at].astype(float)
            made[f"equal_{grid}"] = rule(rows, best, winner)
        return made

    return values


def within(best, winner, spread):
    return best - best[winner] <= np.maximum(spread, spread[winner])


def equal_in(rule):
    """Right winners, and equality by another comparison. rule: losses, shared -> equal."""

    def values(i):
        made = unmasked(i, keys=("claimed", "winner"))
        for grid in GRIDS:
            made[f"equal_{grid}"] = rule(grid_of(i, grid), int(i[f"shared_{grid}"]))
        return made

    return values


def from_claimed(losses, shared):
    """Equal to the winner of the shared rate."""
    at, best = best_of(losses)
    w, spread = mean_of(losses)[:, shared].argmin(), spread_of(losses, at)
    return within(best, w, spread)


def in_column(losses, shared):
    """Equal by the losses at the shared rate, with the spreads of the best ones."""
    column, spread = mean_of(losses)[:, shared], spread_of(losses, best_of(losses)[0])
    with np.errstate(all="ignore"):
        return within(column, column.argmin(), spread)


def over_rates(losses, shared):
    """Equal within the spread of a method's means over its rates."""
    means, (_, best) = mean_of(losses), best_of(losses)
    spread = np.where(np.isfinite(means), means, -np.inf).max(1) - best
    return within(best, best.argmin(), spread)


def over_grid(losses, shared):
    """Equal within the spread of all of a method's losses."""
    low, high = (np.where(np.isfinite(losses), losses, end) for end in (np.inf, -np.inf))
    best = best_of(losses)[1]
    return within(best, best.argmin(), high.max((1, 2)) - low.min((1, 2)))


def winner_is(rule):
    """Another second winner. rule: losses -> position."""
    return lambda i: unmasked(i, keys=("claimed",)) | {
        f"winner_{grid}": rule(grid_of(i, grid)) for grid in GRIDS}  # fmt: skip


def median(losses):
    """The median of the seeds, or the lower of two, where none diverged."""
    middle = np.sort(losses, -1)[..., (losses.shape[-1] - 1) // 2]
    return np.where(np.isfinite(mean_of(losses)), middle, np.inf)


def never_diverged(losses):
    """Means of the methods that never diverged."""
    return np.where(np.isfinite(losses).all((1, 2))[:, None], mean_of(losses), np.inf)


def best_seeds(losses):
    """Where each method's best seed is."""
    return np.where(np.isfinite(losses), losses, np.inf).min(-1).argmin(1)


def with_edges(rule):
    """Right answers but for the last: rule(at, finite means, L, S) -> edge."""

    def values(i):
        made = unmasked(i)
        for grid in GRIDS:
            losses = grid_of(i, grid)
            at, means = best_of(losses)[0], mean_of(losses)
            made[f"edge_{grid}"] = rule(at, np.isfinite(means), *losses.shape[1:])
            if rule is at_shared_end:
                made[f"edge_{grid}"] = at == int(i[f"shared_{grid}"])
            elif rule is at_best_seed:
                made[f"edge_{grid}"] = rule(best_seeds(losses), None, *losses.shape[1:])
            elif rule is of_winner:
                made[f"edge_{grid}"] &= np.arange(len(at)) == made[f"winner_{grid}"]
        return made

    return values


def at_ends(at, finite, L, S):
    return (at == 0) | (at == L - 1)


at_shared_end, at_best_seed, of_winner = (
    lambda *a, name=name: at_ends(*a) for name in ("shared", "seed", "winner")
)


def finite_ends(at, finite, L, S):
    ends = finite.argmax(1), L - 1 - finite[:, ::-1].argmax(1)
    return (at == ends[0]) | (at == ends[1])


def at_shared(i):
    """The spread taken at the shared rate."""
    made = unmasked(i, keys=("claimed", "winner"))
    for grid in GRIDS:
        losses, winner = grid_of(i, grid), made[f"winner_{grid}"]
        shared = np.full(len(losses), int(i[f"shared_{grid}"]))
        spread, best = spread_of(losses, shared), best_of(losses)[1]
        made[f"equal_{grid}"] = within(best, winner, spread)
    return made


def changed_equal(change):
    """Right answers but for the third. change: equal, winner, edge -> equal, edge."""

    def values(i):
        made = unmasked(i)
        for grid in GRIDS:
            names = (f"{key}_{grid}" for key in ("equal", "winner", "edge"))
            made[f"equal_{grid}"], made[f"edge_{grid}"] = change(*(made[n] for n in names))
        return made

    return values


UNMASKED |= {
    "nan_left_out": lambda i: unmasked(i, mean=lambda v: left_out(v), keys=ANSWERS[:3]),
    "zeros": lambda i: unmasked(i, mean=lambda v: np.where(np.isfinite(mean_of(v)), mean_of(v), 0),
                                keys=ANSWERS[:3]),
    "edge": with_edges(lambda at, finite, L, S: at == L - 1),
    "left_edge": with_edges(lambda at, finite, L, S: at == 0),
    "seeds_edge": with_edges(lambda at, finite, L, S: (at == 0) | (at == S - 1)),
    "finite_edge": with_edges(finite_ends),
    "count_edge": with_edges(lambda at, finite, L, S: (at == 0) | (at == finite.sum(1) - 1)),
    "methods_edge": with_edges(lambda at, finite, L, S: (at == 0) | (at == len(at) - 1)),
    "six_edge": with_edges(lambda at, finite, L, S: (at == 0) | (at == 5)),
    "wide_edge": with_edges(lambda at, finite, L, S: (at <= 1) | (at >= L - 2)),
    "no_edge": with_edges(lambda at, finite, L, S: at < 0),
    "edge_shared": with_edges(at_shared_end),
    "edge_seed": with_edges(at_best_seed),
    "edge_winner": with_edges(of_winner),
    "flat": winner_is(lambda v: mean_of(v).argmin()),
    "rates": winner_is(lambda v: best_of(v)[0][best_of(v)[1].argmin()]),
    "left_for_good": lambda i: unmasked(i, mean=never_diverged, keys=("claimed", "winner")),
    "worst_seed": lambda i: unmasked(i, mean=lambda v: np.where(
        np.isfinite(mean_of(v)), v.max(-1), np.inf), keys=ANSWERS[:3]),
    "first_seeds": lambda i: unmasked(i, mean=lambda v: mean_of(v[..., :3]), keys=ANSWERS[:3]),
    "median": lambda i: unmasked(i, mean=median, keys=ANSWERS[:3]),
    "all_equal": other_bar(lambda s, w: np.full_like(s, np.inf)),
    "unequal": changed_equal(lambda equal, winner, edge: (~equal, edge)),
    "from_claimed": equal_in(from_claimed),
    "in_column": equal_in(in_column),
    "over_rates": equal_in(over_rates),
    "over_grid": equal_in(over_grid),
    "half_sum": other_bar(lambda s, w: (s + s[w]) / 2),
    "half": other_bar(lambda s, w: np.maximum(s, s[w]) / 2),
    "part": other_bar(lambda s, w: np.maximum(s, s[w]) * 0.4),
    "deviations": spread_by(lambda rows, best, w: within(best, w, rows.std(1, ddof=1))),
    "deviations_0": spread_by(lambda rows, best, w: within(best, w, rows.std(1))),
    "overlapping": spread_by(lambda rows, best, w: rows.min(1) <= rows[w].max()),
    "inside": with_edges(lambda at, finite, L, S: (at > 0) & (at < L - 1)),
    "equal_edge": changed_equal(lambda equal, winner, edge: (edge, equal)),
    "itself": changed_equal(lambda equal, winner, edge: (
        equal & (np.arange(len(equal)) != winner), edge)),
}  # fmt: skip


def left_out(losses):
    """Means without the nan, but with inf."""
    with np.errstate(all="ignore"):
        sums = np.nansum(losses.astype(float), -1) / np.maximum((~np.isnan(losses)).sum(-1), 1)
    return np.where(np.isnan(losses).all(-1), np.inf, sums)


def probe_unmask(namespace, a):
    made = {}
    for grid in GRIDS:
        losses = tensor(grid_of(a, grid))
        result = namespace["unmask"](losses, a[f"shared_{grid}"].item())
        names = ("winner at the shared rate", "winner at own rates", "equal", "at an end")
        four = fixtures.several(result, names, "unmask")
        made |= {f"{key}_{grid}": value for key, value in zip(ANSWERS, four, strict=True)}
        same = np.array_equal(losses.numpy(), grid_of(a, grid), equal_nan=True)
        made[f"left_{grid}"] = 0 if same else 2
    return made


def alike(wanted):
    """A condition: these numbers, whatever their type and with or without an axis for one."""
    wanted = np.ravel(wanted).astype(float)

    def fits(value):
        if value.dtype.kind == "c" or value.size != wanted.size:
            return False
        return bool(np.array_equal(value.reshape(-1).astype(float), wanted))

    return fits


def judge_unmask(i, o):
    promises, right = [], unmasked(i)
    for grid in GRIDS:
        words = {
            "claimed": f"the winner at the shared rate (position {i[f'shared_{grid}']})",
            "winner": "the winner when each method has its own best rate",
            "equal": "who is equal to the winner", "edge": "whose best rate lies at an end",
        }  # fmt: skip
        for key in ANSWERS:
            wanted, here = right[f"{key}_{grid}"], f"in the {grid} grid, {words[key]}"
            seen = lambda v, here=here: f"{here}: {np.asarray(v).tolist()}"[:160]  # noqa: E731
            promises.append(Promise(f"{key}_{grid}", alike(wanted), seen=seen,
                                    expected=str(np.asarray(wanted).tolist())))  # fmt: skip
        promises.append(callers.unchanged(f"left_{grid}", "losses"))
    return judged(i, o, promises, UNMASK)


def value_of(*names):
    return lambda i: [{key: alike(value) for key, value in UNMASKED[name](i).items()}
                      for name in names]  # fmt: skip


ALSO = {
    "nan_wins": ("zeros",),
    "edge": ("left_edge", "seeds_edge", "finite_edge", "count_edge", "methods_edge", "six_edge",
             "wide_edge", "no_edge", "edge_shared"),
    "best_seed": ("worst_seed", "median"),
    "other_spread": ("deviations", "deviations_0", "half", "half_sum", "part", "overlapping"),
    "all_equal": ("over_rates", "over_grid"),
    "from_claimed": ("in_column",),
}  # fmt: skip


UNMASK = tuple(
    Slip(name, advice, value_of(*(n for n in (name, *ALSO.get(name, ())) if n in UNMASKED)))
    for name, advice in (
        ("one_rate", "The second winner was taken at the shared rate as well. Each method gets its "
         "own best rate."),
        ("own_for_both", "The first answer is that of the fair comparison. At the shared rate only "
         "the column `shared` counts."),
        ("swapped", "The two winners are exchanged: first the one at the shared rate."),
        ("worst", "The largest loss was taken. Lower is better."),
        ("survivors", "A rate at which one seed diverged was judged by the other seeds. Such a "
         "rate does not count: you cannot choose the seed."),
        ("best_seed", "One seed stands for a method: the best, the worst or the middle one. Take "
         "the mean over the seeds."),
        ("nan_wins", "A run that diverged won: `min` and `argmin` return a `nan`, and a 0 in its "
         "place is lower than every loss. Put infinity there first."),
        ("no_spread", "Only the winner itself is called equal. Two methods are equal when their "
         "difference is within the spread of the seeds."),
        ("own_spread", "Only the method's own spread was used. The larger of the two counts, the "
         "winner's included."),
        ("winner_spread", "Only the winner's spread was used. The larger of the two counts."),
        ("sum_spread", "The two spreads were added. The larger one counts."),
        ("small_spread", "The smaller of the two spreads was used. The larger one counts."),
        ("strict", "A loss that exceeds the winner's by exactly the spread is still equal: at "
         "most, not less than."),
        ("edge", "A grid ends at rate 0 and at rate L - 1, at these two and nowhere else, whatever "
         "diverged: `(at == 0) | (at == losses.shape[1] - 1)`."),
        ("edge_winner", "Only the winner is asked. Every method has a best rate of its own, which "
         "may lie at an end."),
        ("edge_seed", "The end was looked for at the rate of the best seed. A method's best rate "
         "is that of the lowest mean."),
        ("flat", "`argmin` of the whole table counts through all its entries. Who wins is a "
         "method: take each method's lowest mean first, `means.min(dim=1)`."),
        ("rates", "That is the position of a rate. Who wins is the position of a method."),
        ("left_for_good", "A method with one diverged run was left out everywhere. Only the rate "
         "at which it diverged does not count."),
        ("all_equal", "Every method is called equal to the winner. It must lie within the larger "
         "spread of the two."),
        ("unequal", "True stands where a method is not equal to the winner."),
        ("from_claimed", "Equal to whom? To the winner at own rates, with the losses at own rates, "
         "not to the one at the shared rate."),
        ("inside", "True means that the best rate lies at an end of the grid."),
        ("equal_edge", "The third and the fourth answer are in each other's place."),
        ("itself", "The winner is equal to itself: its loss exceeds its own by 0."),
        ("other_spread", "The bar is the larger spread as it is, the largest loss of a seed minus "
         "the smallest: no standard deviation, no half, and not whether the seeds overlap."),
    )
) + (
    Slip("at_shared", "The spread of a method is that at its own best rate, not at the shared one.",
         lambda i: {key: alike(value) for key, value in at_shared(i).items()}),
    Slip("places", "One bool for each method, (M,): not the positions of those that are.",
         lambda i: [{f"{key}_first": lambda v: v.dtype.kind != "b" and (
             v.size != len(i["losses_first"]) or (v > 1).any())} for key in ("equal", "edge")]),
    Slip("losses_named", "A winner is a position: `argmin`, not `min`.",
         lambda i: {"claimed_first": lambda v: v.size == 1 and not (v % 1 == 0).all()}),
    Slip("in_place", "The losses that were given stay as they are: `torch.where` makes new ones.",
         lambda i: [{f"left_{grid}": lambda v: v > 0} for grid in GRIDS]),
)  # fmt: skip

unmask = Check(
    name="unmask", title="A comparison with one shared rate", wants=("unmask",),
    difficulty=4, minutes=18, points=15,
    verified="both winners, who is equal within the seeds' spread, whose grid was too narrow, and "
    "rates with a diverged run",
    hints=(
        "First a table of means, (M, L), in which a rate with a diverged run can never be the "
        "best.",
        "`means[:, shared]` is the first comparison, `means.min(dim=1)` the fair one. The spread "
        "needs the seeds again, at each method's best rate.",
        "`means = torch.where(means.isfinite(), means, inf)`; `best, at = means.min(dim=1)`; "
        "`rows = losses[torch.arange(M), at]`; the spread is its largest minus its smallest entry.",
    ),
    slips=UNMASK, other="Work out one method by hand: means, best rate, spread.",
    make=make_unmask, probe=probe_unmask, judge=judge_unmask,
)  # fmt: skip


EXERCISES = (dora_forward, pissa_start, allocate, vera_deltas, unmask)
