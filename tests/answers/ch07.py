"""Right and wrong answers to the exercises of chapter 07."""

from tests.answers import Answer

HEAD = """class LoRALayer(nn.Module):
    def __init__(self, base_layer, lora_A, lora_B, lora_alpha):
        super().__init__()
        self.base_layer = base_layer
        self.lora_A, self.lora_B = nn.Parameter(lora_A), nn.Parameter(lora_B)
        self.scaling = lora_alpha / lora_A.shape[0]
        self.merged = False

"""
DELTA = "        delta = self.scaling * self.lora_B @ self.lora_A  # (out, in)\n"
TURN = "return delta.T if isinstance(self.base_layer, Conv1D) else delta"
ADD = "            self.base_layer.weight += self.delta()\n"
TAKE = "            self.base_layer.weight -= self.delta()\n"
UPDATE = "return out + self.scaling * (x @ self.lora_A.T @ self.lora_B.T)"
MERGED = "        if self.merged:\n            return out\n"

LOOK = """    if any(layer.merged for layer in layers):
        raise ValueError("A layer is merged already: unmerge it first.")
"""
FOLD = "        layer.base_layer.weight.data += layer.get_delta_weight()\n"
FLAG = "        layer.merged = True\n"
ASK = "        if layer.merged:\n            raise ValueError('merged already')\n"

CLONES = "before = {n: place.clone() for n, place in places.items()}"
PUT = "    for name, place in places.items():\n        place.copy_(state[name])\n"
BACK = "        for name, place in places.items():\n            place.copy_(before[name])"
TRY = f"    try:\n        yield\n    finally:\n{BACK}"

JOIN_A = "torch.cat([A1, A2])"
JOIN_B = "torch.cat([alpha1 / r1 * B1, alpha2 / r2 * B2], dim=1)"
RETURN = "return A, B, r1 + r2"

UNIT = "return 2.0 ** (exponent - 8)"
SURVIVES = "return (weight + update).bfloat16() != weight.bfloat16()"


def edit(exercise, note, mistake, *edits):
    return Answer(exercise, note, mistake, edits=edits)


RIGHT = [
    # 7.1
    Answer(
        "merge_layer",
        "keeps a copy of the weight",
        code=HEAD
        + """    def delta(self):
        delta = torch.einsum("or,ri->oi", self.lora_B, self.lora_A) * self.scaling
        return delta.t() if type(self.base_layer).__name__ == "Conv1D" else delta

    @torch.no_grad()
    def merge(self):
        self.old = self.base_layer.weight.clone()
        self.base_layer.weight.copy_(self.old + self.delta())
        self.merged = True

    @torch.no_grad()
    def unmerge(self):
        self.base_layer.weight.copy_(self.old)
        self.merged = False

    def forward(self, x):
        out = self.base_layer(x)
        if not self.merged:
            out = out + (self.scaling * x) @ self.lora_A.T @ self.lora_B.T
        return out
""",
    ),
    Answer(
        "merge_layer",
        "a new Parameter",
        code=HEAD
        + """    def delta(self):
        if isinstance(self.base_layer, nn.Linear):
            return self.lora_B @ self.lora_A * self.scaling
        return self.lora_A.T @ self.lora_B.T * self.scaling

    def change(self, sign):
        new = self.base_layer.weight + sign * self.delta()
        self.base_layer.weight = nn.Parameter(new.detach(), requires_grad=False)
        self.merged = sign > 0

    def merge(self):
        self.change(1)

    def unmerge(self):
        self.change(-1)

    def forward(self, x):
        factor = 0 if self.merged else self.scaling
        return self.base_layer(x) + factor * (x @ self.lora_A.T @ self.lora_B.T)
""",
    ),
    Answer(
        "merge_layer",
        "through data",
        edits=[
            (ADD, "            self.base_layer.weight.data.add_(self.delta())\n"),
            (TAKE, "            self.base_layer.weight.data.sub_(self.delta())\n"),
        ],
    ),
    # 7.2
    Answer(
        "merge_all",
        "two loops",
        edits=[
            (
                LOOK,
                "    for layer in layers:\n" + ASK,
            ),
            (
                FOLD,
                "        with torch.no_grad():\n            layer.base_layer.weight += "
                "layer.get_delta_weight()\n",
            ),
        ],
    ),
    Answer(
        "merge_all",
        "sums first, then new parameters",
        edits=[
            (
                FOLD,
                "        total = layer.base_layer.weight + layer.get_delta_weight()\n"
                "        layer.base_layer.weight = nn.Parameter(total.detach(), False)\n",
            ),
            ("any(layer.merged for layer in layers)", "sum(la.merged for la in layers) > 0"),
        ],
    ),
    # 7.3
    Answer(
        "adapter",
        "load_state_dict",
        code="""
@contextmanager
def adapter(model, state):
    own = model.state_dict()
    before = {n: own[n].clone() for n in state}
    model.load_state_dict(state, strict=False)
    try:
        yield model
    finally:
        model.load_state_dict(before, strict=False)
""",
    ),
    Answer(
        "adapter",
        "clones on both sides",
        code="""
@contextmanager
def adapter(model, state):
    found = dict(model.named_parameters())
    kept = {n: found[n].data for n in state}
    for n in state:
        found[n].data = state[n].clone()
    try:
        yield
    finally:
        for n, value in kept.items():
            found[n].data = value
""",
    ),
    Answer(
        "adapter",
        "a class",
        code="""
class adapter:
    def __init__(self, model, state):
        self.model, self.state = model, state

    def __enter__(self):
        self.kept = {}
        with torch.no_grad():
            for n, p in self.model.named_parameters():
                if "lora_" in n:
                    self.kept[n] = p.clone()
                    p.copy_(self.state[n])
        return self.model

    def __exit__(self, *error):
        for n, value in self.kept.items():
            self.model.get_parameter(n).data.copy_(value)
""",
    ),
    # 7.5
    Answer(
        "add_adapters",
        "scales into A, alpha as it comes",
        code="""
def add_adapters(A1, B1, alpha1, A2, B2, alpha2):
    r = A1.shape[0] + A2.shape[0]
    A = torch.cat([alpha1 / len(A1) * A1, alpha2 / len(A2) * A2]) * r / 16
    return A, torch.hstack([B1, B2]), 16
""",
    ),
    Answer(
        "add_adapters",
        "the other one first",
        edits=[
            (JOIN_A, "torch.cat([A2, A1])"),
            (JOIN_B, "torch.cat([alpha2 / r2 * B2, alpha1 / r1 * B1], dim=1)"),
        ],
    ),
    Answer(
        "add_adapters",
        "by an SVD",
        code="""
def add_adapters(A1, B1, alpha1, A2, B2, alpha2):
    r = len(A1) + len(A2)
    total = alpha1 / len(A1) * B1 @ A1 + alpha2 / len(A2) * B2 @ A2
    U, s, Vh = torch.linalg.svd(total)
    return Vh[:r], U[:, :r] * s[:r], r
""",
    ),
    # 7.4
    Answer(
        "rounding",
        "frexp",
        code="""
def half_unit(weight):
    return torch.ldexp(torch.tensor(1.0), torch.frexp(weight)[1] - 9)


def survives(weight, update):
    return weight.bfloat16().ne((weight + update).to(torch.bfloat16))
""",
    ),
    Answer(
        "rounding",
        "finfo and zeros and ones",
        code="""
def half_unit(weight):
    power = 2 ** weight.abs().double().log2().floor()
    return power * torch.finfo(torch.bfloat16).eps / 2


def survives(weight, update):
    merged = (weight.bfloat16().float() + update).to(torch.bfloat16)
    return (merged.float() - weight).abs() > 0
""",
    ),
]

RIGHT += [
    # 7.1
    Answer(
        "merge_layer",
        "F.linear with the weight itself, subclass of the type",
        code=HEAD
        + """    def delta(self):
        flat = torch.outer
        total = sum(flat(self.lora_B[:, k], self.lora_A[k]) for k in range(len(self.lora_A)))
        turned = self.base_layer.__class__ is Conv1D
        return self.scaling * (total.T if turned else total)

    def _fold(self, times):
        with torch.no_grad():
            torch.add(self.base_layer.weight, self.delta(), alpha=times,
                      out=self.base_layer.weight.data)

    def merge(self):
        if not self.merged:
            self._fold(1)
        self.merged = True

    def unmerge(self):
        if self.merged:
            self._fold(-1)
        self.merged = False

    def forward(self, x):
        if self.merged:
            return self.base_layer(x)
        W = self.base_layer.weight + self.delta()
        W = W.T if isinstance(self.base_layer, Conv1D) else W
        return nn.functional.linear(x, W, self.base_layer.bias)
""",
    ),
    Answer(
        "merge_layer",
        "einsum, inference mode",
        edits=[
            (
                UPDATE,
                "return torch.einsum('...i,ri,or->...o', x, self.lora_A, self.lora_B)"
                ".mul(self.scaling).add(out)",
            ),
            ("torch.no_grad()", "torch.inference_mode()"),
        ],
    ),
    # 7.2
    Answer(
        "merge_all",
        "takes back what it did",
        code="""
def merge_all(layers):
    done = []
    try:
        for layer in layers:
            if layer.merged:
                raise ValueError("merged already")
            done.append((layer, layer.base_layer.weight.data.clone()))
            layer.base_layer.weight.data.add_(layer.get_delta_weight().detach())
            layer.merged = True
    except ValueError:
        for layer, old in done:
            layer.base_layer.weight.data.copy_(old)
            layer.merged = False
        raise
""",
    ),
    Answer(
        "merge_all",
        "an error of one's own, no_grad",
        code="""
class Merged(ValueError):
    pass


@torch.no_grad()
def merge_all(layers):
    found = [n for n, layer in enumerate(layers) if layer.merged]
    if found:
        raise Merged(f"layers {found} are merged")
    for layer in reversed(layers):
        weight = layer.base_layer.weight
        weight.copy_(weight + layer.get_delta_weight())
        layer.merged = 1
""",
    ),
    # 7.3
    Answer(
        "adapter",
        "except and else",
        code="""
@contextmanager
def adapter(model, state):
    old = {n: model.get_parameter(n).data.clone() for n in state}

    def put(values):
        with torch.no_grad():
            for n in values:
                model.get_parameter(n).copy_(values[n])

    put(state)
    try:
        yield state
    except BaseException:
        put(old)
        raise
    else:
        put(old)
""",
    ),
    Answer(
        "adapter",
        "exchanges the data",
        code="""
@contextmanager
def adapter(model, state):
    mine = {n: t.clone() for n, t in state.items()}

    def swap():
        for n, p in model.named_parameters():
            if n in mine:
                p.data, mine[n] = mine[n], p.data

    swap()
    try:
        yield
    finally:
        swap()
""",
    ),
    edit(
        "adapter",
        "no_grad on the function",
        "",
        ("@contextmanager", "@contextmanager\n@torch.no_grad()"),
    ),
    # 7.5
    Answer(
        "add_adapters",
        "fills empty tensors",
        code="""
def add_adapters(A1, B1, alpha1, A2, B2, alpha2):
    r1 = A1.size(0)
    r = r1 + A2.size(0)
    A, B = A1.new_empty(r, A1.size(1)), B1.new_zeros(B1.size(0), r)
    A[:r1], A[r1:] = A1, A2
    B[:, :r1], B[:, r1:] = B1 * alpha1 / r1, B2 * alpha2 / (r - r1)
    return [A.numpy(), B.numpy(), torch.tensor([r])]
""",
    ),
    Answer(
        "add_adapters",
        "roots of the scales in both",
        code="""
def add_adapters(A1, B1, alpha1, A2, B2, alpha2):
    s1, s2 = (alpha1 / len(A1)) ** 0.5, (alpha2 / len(A2)) ** 0.5
    A, B = torch.vstack((s1 * A1, s2 * A2)), torch.hstack((s1 * B1, s2 * B2))
    return A, B, B.shape[1]
""",
    ),
    Answer(
        "add_adapters",
        "columns mixed",
        code="""
def add_adapters(A1, B1, alpha1, A2, B2, alpha2):
    rows = [(b * alpha1 / len(A1), a) for b, a in zip(B1.T, A1)]
    rows += [(b * alpha2 / len(A2), a) for b, a in zip(B2.T, A2)]
    rows = rows[::-1]
    return (torch.stack([a for _, a in rows]), torch.stack([b for b, _ in rows], -1),
            float(len(rows)))
""",
    ),
    # 7.4
    Answer(
        "rounding",
        "by the next number, by a list",
        code="""
def half_unit(weight):
    size = weight.abs().bfloat16()
    more = torch.nextafter(size, torch.tensor(float("inf"), dtype=torch.bfloat16))
    return (more.float() - size.float()) / 2


def survives(weight, update):
    pairs = zip(weight.tolist(), update.tolist())
    return [torch.tensor(w + u).to(torch.bfloat16).item() != w for w, u in pairs]
""",
    ),
    Answer(
        "rounding",
        "by the bits",
        code="""
def half_unit(weight):
    bits = weight.view(torch.int32) & 0x7F800000
    return bits.view(torch.float32) / 256


def survives(weight, update):
    old = weight.bfloat16().view(torch.int16)
    return ((weight.double() + update.double()).float().bfloat16().view(torch.int16) - old).bool()
""",
    ),
    Answer(
        "rounding",
        "numpy and zeros and ones",
        code="""
def half_unit(weight):
    import numpy as np
    return 2.0 ** (np.floor(np.log2(np.abs(weight.double().numpy()))) - 8)


def survives(weight, update):
    return torch.where((weight + update).bfloat16().eq(weight), 0, 1)
""",
    ),
]

WRONG = [
    # 7.1
    Answer("merge_layer", "never transposed", "conv_layout", edits=[(TURN, "return delta")]),
    Answer(
        "merge_layer",
        "decides by the shape",
        "conv_layout",
        edits=[
            ("isinstance(self.base_layer, Conv1D)", "delta.shape != self.base_layer.weight.shape"),
        ],
    ),
    Answer(
        "merge_layer",
        "always transposed",
        "linear_layout",
        edits=[
            (TURN, TURN.replace(" else", " or len(delta) == delta.shape[1] else")),
        ],
    ),
    Answer(
        "merge_layer",
        "delta without the scale",
        "no_scale",
        edits=[
            ("delta = self.scaling * self.lora_B", "delta = self.lora_B"),
        ],
    ),
    Answer(
        "merge_layer",
        "forward without the scale",
        "no_scale",
        edits=[
            (UPDATE, UPDATE.replace("self.scaling * ", "")),
        ],
    ),
    Answer(
        "merge_layer",
        "merges B A",
        "no_scale",
        edits=[
            (ADD, "            self.base_layer.weight += self.delta() / self.scaling\n"),
        ],
    ),
    Answer(
        "merge_layer",
        "scales again in merge",
        "scale_twice",
        edits=[
            (ADD, "            self.base_layer.weight += self.scaling * self.delta()\n"),
            (TAKE, "            self.base_layer.weight -= self.scaling * self.delta()\n"),
        ],
    ),
    Answer(
        "merge_layer",
        "scales twice in delta",
        "scale_twice",
        edits=[
            ("delta = self.scaling * ", "delta = self.scaling**2 * "),
        ],
    ),
    Answer(
        "merge_layer",
        "the base alone before the merge",
        "no_update",
        edits=[
            (UPDATE, "return out"),
        ],
    ),
    Answer(
        "merge_layer",
        "the flag the wrong way",
        "reversed",
        edits=[
            ("if self.merged:", "if not self.merged:"),
        ],
    ),
    Answer(
        "merge_layer",
        "adds to a copy",
        "not_folded",
        edits=[
            (ADD, "            self.base_layer.weight + self.delta()\n"),
        ],
    ),
    Answer("merge_layer", "only sets the flag", "not_folded", edits=[(ADD, "            pass\n")]),
    Answer("merge_layer", "forward still adds", "adds_again", edits=[(MERGED, "")]),
    Answer(
        "merge_layer",
        "the flag forgotten",
        "adds_again",
        edits=[
            ("        self.merged = True\n", ""),
        ],
    ),
    Answer(
        "merge_layer",
        "unmerge sets the flag only",
        "not_taken",
        edits=[
            (TAKE, "            pass\n"),
        ],
    ),
    Answer("merge_layer", "unmerge adds", "added", edits=[(TAKE, ADD)]),
    Answer(
        "merge_layer",
        "the flag stays",
        "flag_stays",
        edits=[
            (TAKE + "        self.merged = False\n", TAKE),
        ],
    ),
    Answer(
        "merge_layer",
        "a trainable Parameter",
        "trains",
        edits=[
            (
                ADD,
                "            new = nn.Parameter(self.base_layer.weight + self.delta())\n"
                "            self.base_layer.weight = new\n",
            ),
        ],
    ),
    Answer(
        "merge_layer",
        "no no_grad",
        "graph",
        edits=[
            ("        with torch.no_grad():\n" + ADD, ADD[4:]),
            ("        with torch.no_grad():\n" + TAKE, TAKE[4:]),
        ],
    ),
    Answer(
        "merge_layer",
        "add_ without no_grad",
        "trains",
        edits=[
            (
                "        with torch.no_grad():\n" + ADD,
                ADD[4:].replace(" += self.delta()", ".add_(self.delta())"),
            ),
            (
                "        with torch.no_grad():\n" + TAKE,
                TAKE[4:].replace(" -= self.delta()", ".sub_(self.delta())"),
            ),
        ],
    ),
    Answer(
        "merge_layer",
        "a plain tensor",
        "other",
        edits=[
            (ADD, "            self.base_layer.weight = self.base_layer.weight + self.delta()\n"),
        ],
    ),
    Answer(
        "merge_layer",
        "A times B",
        "raised",
        edits=[
            ("self.lora_B @ self.lora_A  #", "self.lora_A @ self.lora_B  #"),
        ],
    ),
    Answer("merge_layer", "delta of nothing", "none", edits=[(TURN, "pass")]),
    Answer(
        "merge_layer",
        "adds the weight",
        "merge",
        edits=[
            (ADD, "            self.base_layer.weight += self.delta() + 0.1\n"),
        ],
    ),
    # 7.2
    Answer("merge_all", "no question asked", "adds_twice", edits=[(LOOK, "")]),
    Answer(
        "merge_all",
        "passes over merged ones",
        "silent",
        edits=[
            (LOOK, ""),
            (FOLD, "        if layer.merged:\n            continue\n" + FOLD),
        ],
    ),
    Answer(
        "merge_all",
        "returns",
        "silent",
        edits=[
            ('raise ValueError("A layer is merged already: unmerge it first.")', "return"),
        ],
    ),
    Answer(
        "merge_all",
        "prints",
        "silent",
        edits=[
            ('raise ValueError("A layer is merged already: unmerge it first.")', "return None"),
        ],
    ),
    Answer("merge_all", "asks on the way", "partial", edits=[(LOOK, ""), (FOLD, ASK + FOLD)]),
    Answer(
        "merge_all",
        "looks at the first one",
        "only_first",
        edits=[
            ("any(layer.merged for layer in layers)", "layers[0].merged"),
            (FOLD, "        if layer.merged:\n            continue\n" + FOLD),
        ],
    ),
    Answer(
        "merge_all",
        "all instead of any",
        "all",
        edits=[
            ("any(layer.merged", "all(layer.merged"),
        ],
    ),
    Answer(
        "merge_all",
        "assert",
        "wrong_error",
        edits=[
            (LOOK, "    assert not any(layer.merged for layer in layers)\n"),
        ],
    ),
    Answer("merge_all", "RuntimeError", "wrong_error", edits=[("ValueError", "RuntimeError")]),
    Answer("merge_all", "forgets the flag", "no_flag", edits=[(FLAG, "")]),
    Answer(
        "merge_all",
        "asks the wrong way",
        "refuses_first",
        edits=[
            ("any(layer.merged", "any(not layer.merged"),
        ],
    ),
    Answer("merge_all", "sum is thrown away", "not_folded", edits=[(".data += ", ".data + ")]),
    Answer("merge_all", "subtracts", "subtracted", edits=[(".data += ", ".data -= ")]),
    # 7.3
    Answer("adapter", "never copies in", "not_put", edits=[(PUT, "")]),
    Answer(
        "adapter",
        "copies A only",
        "some_put",
        edits=[
            (
                PUT,
                PUT.replace("        place", "        if name.endswith('A'):\n            place"),
            ),
        ],
    ),
    Answer("adapter", "never copies back", "not_restored", edits=[(TRY, "    yield")]),
    Answer("adapter", "keeps the same memory", "not_restored", edits=[(".clone()", "")]),
    Answer("adapter", "detach is no clone", "not_restored", edits=[(".clone()", ".detach()")]),
    Answer(
        "adapter",
        "hands the tensors over",
        "state_changed",
        code="""
@contextmanager
def adapter(model, state):
    found = dict(model.named_parameters())
    kept = {n: found[n].data for n in state}
    for n in state:
        found[n].data = state[n]
    try:
        yield
    finally:
        for n, value in kept.items():
            found[n].data = value
""",
    ),
    Answer(
        "adapter",
        "no finally",
        "no_finally",
        edits=[
            (
                TRY,
                "    yield\n"
                + BACK.replace("        for", "    for").replace("    place", "place"),
            ),
        ],
    ),
    Answer(
        "adapter",
        "catches the error",
        "swallowed",
        edits=[
            ("    finally:\n", "    except Exception:\n        pass\n    if True:\n"),
        ],
    ),
    Answer(
        "adapter",
        "returns inside finally",
        "swallowed",
        edits=[
            (BACK, BACK + "\n        return"),
        ],
    ),
    Answer(
        "adapter",
        "freezes",
        "flags",
        edits=[
            (
                "    try:",
                "    for p in model.parameters():\n        p.requires_grad = False\n    try:",
            ),
        ],
    ),
    Answer("adapter", "every parameter", "raised", edits=[(" if n in state", "")]),
    Answer(
        "adapter",
        "yields twice",
        "type",
        edits=[
            ("        yield\n", "        yield\n        yield\n"),
        ],
    ),
    Answer(
        "adapter",
        "no yield",
        "type",
        edits=[
            ("        yield\n", "        return None\n"),
        ],
    ),
    Answer(
        "adapter",
        "zeros after it",
        "zeroed",
        edits=[
            ("place.copy_(before[name])", "place.zero_()"),
        ],
    ),
    # 7.5
    Answer(
        "add_adapters",
        "averages the factors",
        "averaged",
        code="""
def add_adapters(A1, B1, alpha1, A2, B2, alpha2):
    return (A1 + A2) / 2, (B1 + B2) / 2, (alpha1 + alpha2) / 2
""",
    ),
    Answer(
        "add_adapters",
        "adds scaled factors",
        "averaged",
        code="""
def add_adapters(A1, B1, alpha1, A2, B2, alpha2):
    r = len(A1)
    return A1 + A2, alpha1 / r * B1 + alpha2 / r * B2, r
""",
    ),
    Answer(
        "add_adapters",
        "root of the scale in both",
        "averaged",
        code="""
def add_adapters(A1, B1, alpha1, A2, B2, alpha2):
    r = len(A1)
    a, b = (alpha1 / r) ** 0.5, (alpha2 / r) ** 0.5
    return a * A1 + b * A2, a * B1 + b * B2, r
""",
    ),
    Answer(
        "add_adapters",
        "no scales",
        "scales_lost",
        edits=[
            (JOIN_B, "torch.cat([B1, B2], dim=1)"),
        ],
    ),
    Answer(
        "add_adapters",
        "alphas added",
        "scales_lost",
        edits=[
            (JOIN_B, "torch.cat([B1, B2], dim=1)"),
            (RETURN, "return A, B, alpha1 + alpha2"),
        ],
    ),
    Answer(
        "add_adapters",
        "scales in both",
        "scaled_twice",
        edits=[
            (JOIN_A, "torch.cat([alpha1 / r1 * A1, alpha2 / r2 * A2])"),
        ],
    ),
    Answer("add_adapters", "alpha one", "scale", edits=[(RETURN, "return A, B, 1")]),
    Answer("add_adapters", "alpha of the first", "scale", edits=[(RETURN, "return A, B, alpha1")]),
    Answer(
        "add_adapters",
        "orders differ",
        "crossed",
        edits=[
            (JOIN_A, "torch.cat([A2, A1])"),
        ],
    ),
    Answer(
        "add_adapters",
        "B as a list of rows",
        "other",
        edits=[
            (JOIN_B, "torch.cat([alpha1 / r1 * B1, alpha2 / r2 * B2]) @ torch.eye(2)"),
        ],
    ),
    Answer("add_adapters", "B joined along rows", "rows", edits=[(", dim=1)", ")")]),
    Answer(
        "add_adapters",
        "multiplied out",
        "too_large",
        code="""
def add_adapters(A1, B1, alpha1, A2, B2, alpha2):
    total = alpha1 / len(A1) * B1 @ A1 + alpha2 / len(A2) * B2 @ A2
    return torch.eye(total.shape[1]), total, total.shape[1]
""",
    ),
    Answer(
        "add_adapters",
        "r of the first for both, stacked",
        "unequal",
        code="""
def add_adapters(A1, B1, alpha1, A2, B2, alpha2):
    r = len(A1)
    A = torch.stack([A1, A2]).reshape(2 * r, -1)
    B = torch.cat([alpha1 / r * B1, alpha2 / r * B2], dim=1)
    return A, B, 2 * r
""",
    ),
    Answer("add_adapters", "a difference", "other_sum", edits=[("alpha2 / r2 * B2", "-B2")]),
    # 7.4
    Answer("rounding", "the whole step", "whole", edits=[(UNIT, UNIT.replace("8", "7"))]),
    Answer("rounding", "bits of float16", "float16", edits=[(UNIT, UNIT.replace("8", "11"))]),
    Answer("rounding", "bits of float32", "float32", edits=[(UNIT, UNIT.replace("8", "24"))]),
    Answer(
        "rounding",
        "relative",
        "relative",
        edits=[
            (UNIT, "return weight.abs() * torch.finfo(torch.bfloat16).eps / 2"),
        ],
    ),
    Answer(
        "rounding",
        "one number for all",
        "fixed",
        edits=[
            (UNIT, "return torch.full_like(weight, 2.0**-8)"),
        ],
    ),
    Answer(
        "rounding",
        "with the sign",
        "sign",
        edits=[
            (UNIT, "return weight.sign() * 2.0 ** (exponent - 8)"),
        ],
    ),
    Answer("rounding", "log2 not rounded down", "relative", edits=[("torch.floor(", "(")]),
    Answer("rounding", "log2 rounded up", "ceil", edits=[("torch.floor(", "torch.ceil(")]),
    Answer(
        "rounding",
        "compares in float32",
        "all_survive",
        edits=[
            (SURVIVES, "return weight + update != weight"),
        ],
    ),
    Answer("rounding", "equal instead of different", "reversed", edits=[("!=", "==")]),
    Answer(
        "rounding",
        "no abs",
        "no_abs",
        edits=[
            (SURVIVES, "return update > half_unit(weight)"),
        ],
    ),
    Answer(
        "rounding",
        "one threshold",
        "one_threshold",
        edits=[
            (SURVIVES, "return update.abs() > torch.finfo(torch.bfloat16).eps / 2"),
        ],
    ),
    Answer(
        "rounding",
        "a whole unit",
        "whole_unit",
        edits=[
            (SURVIVES, "return update.abs() > 2 * half_unit(weight)"),
        ],
    ),
    Answer(
        "rounding",
        "compares sizes",
        "too_few",
        edits=[
            (SURVIVES, "return update.abs() > weight.abs()"),
        ],
    ),
    Answer("rounding", "no return", "none", edits=[("return (weight", "(weight")]),
]

WRONG += [
    # 7.1
    edit(
        "merge_layer",
        "no_grad on forward",
        "no_grad",
        ("    def forward(", "    @torch.no_grad()\n    def forward("),
    ),
    edit(
        "merge_layer",
        "the output detached",
        "no_grad",
        (UPDATE, UPDATE.replace("return out", "return (out") + ").detach()"),
        ("            return out\n", "            return out.detach()\n"),
    ),
    edit(
        "merge_layer",
        "no_grad around the update alone",
        "detached",
        (
            UPDATE,
            "with torch.no_grad():\n            update = x @ self.lora_A.T @ self.lora_B.T\n"
            "        return out + self.scaling * update",
        ),
    ),
    edit(
        "merge_layer",
        "data of the factors",
        "detached",
        (UPDATE, UPDATE.replace("lora_A.T", "lora_A.data.T").replace("lora_B.T", "lora_B.data.T")),
    ),
    edit(
        "merge_layer",
        "the update of x detached",
        "x_cut",
        (UPDATE, UPDATE.replace("(x @", "(x.detach() @")),
    ),
    edit(
        "merge_layer",
        "base under no_grad",
        "base_cut",
        ("out = self.base_layer(x)", "out = self.base_layer(x).detach()"),
    ),
    edit(
        "merge_layer",
        "A detached",
        "detached",
        (UPDATE, UPDATE.replace("lora_A.T", "lora_A.T.detach()")),
    ),
    edit(
        "merge_layer",
        "the merged output cut off",
        "no_grad_merged",
        ("            return out\n", "            return out.detach()\n"),
    ),
    edit(
        "merge_layer",
        "only the unmerged one under no_grad",
        "no_grad_outside",
        (UPDATE, UPDATE.replace("return out", "return (out") + ").detach()"),
    ),
    edit(
        "merge_layer",
        "keeps the first delta",
        "stale",
        (
            "        self.merged = False\n\n    def delta",
            "        self.merged, self.kept = False, None\n\n    def delta",
        ),
        (
            ADD,
            "            if self.kept is None:\n                self.kept = self.delta().clone()\n"
            "            self.base_layer.weight += self.kept\n",
        ),
    ),
    edit(
        "merge_layer",
        "transposes the wrong one",
        "swapped_layout",
        (TURN, "return delta if isinstance(self.base_layer, Conv1D) else delta.T"),
    ),
    edit(
        "merge_layer",
        "divides by the scale",
        "upside_down",
        (
            "delta = self.scaling * self.lora_B @ self.lora_A",
            "delta = self.lora_B @ self.lora_A / self.scaling",
        ),
    ),
    edit("merge_layer", "merge subtracts", "subtracted", (ADD, TAKE)),
    edit(
        "merge_layer",
        "B transposed",
        "raised",
        ("self.lora_B @ self.lora_A  #", "self.lora_B.T @ self.lora_A  #"),
    ),
    edit(
        "merge_layer",
        "element by element",
        "raised",
        ("self.lora_B @ self.lora_A  #", "self.lora_B * self.lora_A  #"),
    ),
    edit(
        "merge_layer",
        "merge returns the sum",
        "not_folded",
        (ADD, "            return self.base_layer.weight + self.delta()\n"),
    ),
    edit(
        "merge_layer",
        "adds to a local name",
        "not_folded",
        (
            ADD,
            "            W = self.base_layer.weight\n            W = W + self.delta()\n",
        ),
    ),
    edit(
        "merge_layer",
        "the scale twice in forward",
        "scale_twice",
        (
            UPDATE,
            UPDATE.replace("self.scaling", "self.scaling**2"),
        ),
    ),
    edit(
        "merge_layer",
        "merges in forward",
        "merged_twice",
        (
            MERGED,
            "        if not self.merged:\n            self.merge()\n"
            "        return self.base_layer(x)\n",
        ),
    ),
    # 7.2
    edit("merge_all", "+= outside no_grad", "graph", (".weight.data +=", ".weight +=")),
    edit(
        "merge_all",
        "add_ outside no_grad",
        "trains",
        (FOLD, "        layer.base_layer.weight.add_(layer.get_delta_weight())\n"),
    ),
    edit(
        "merge_all",
        "a Parameter that trains",
        "trains",
        (
            FOLD,
            "        total = layer.base_layer.weight + layer.get_delta_weight()\n"
            "        layer.base_layer.weight = nn.Parameter(total)\n",
        ),
    ),
    edit(
        "merge_all",
        "a plain tensor",
        "other",
        (
            FOLD,
            "        base = layer.base_layer\n"
            "        base.weight = base.weight + layer.get_delta_weight()\n",
        ),
    ),
    edit(
        "merge_all",
        "looks at the last one",
        "only_last",
        (
            LOOK,
            "    for layer in layers:\n        bad = layer.merged\n    if bad:\n"
            "        raise ValueError('merged')\n",
        ),
    ),
    edit(
        "merge_all",
        "looks at all but the first",
        "not_asked",
        ("for layer in layers):", "for layer in layers[1:]):"),
    ),
    edit(
        "merge_all",
        "looks at all but the last",
        "not_asked",
        ("for layer in layers):", "for layer in layers[:-1]):"),
    ),
    edit(
        "merge_all",
        "sets a local name",
        "no_flag",
        (FLAG, "        merged = True\n"),
    ),
    edit("merge_all", "flags only the last", "other", (FLAG, "    layer.merged = True\n")),
    edit("merge_all", "returns after the first", "first_alone", (FLAG, FLAG + "        break\n")),
    edit("merge_all", "transposes", "other", ("get_delta_weight()", "get_delta_weight().T")),
    edit(
        "merge_all",
        "takes the merged ones out of the list",
        "silent",
        (LOOK, "    layers = [layer for layer in layers if not layer.merged]\n"),
    ),
    edit(
        "merge_all",
        "resets the flags, then raises",
        "unmarked",
        (
            LOOK,
            LOOK.replace(
                "        raise",
                "        for layer in layers:\n            layer.merged = False\n        raise",
            ),
        ),
    ),
    edit(
        "merge_all",
        "raises after all",
        "partial",
        (LOOK, "    bad = any(layer.merged for layer in layers)\n"),
        (FLAG, FLAG + "    if bad:\n        raise ValueError('merged already')\n"),
    ),
    edit(
        "merge_all",
        "TypeError for an Exception",
        "wrong_error",
        ("raise ValueError", "raise Exception"),
    ),
    # 7.3
    edit(
        "adapter",
        "the yield under no_grad",
        "no_grad_inside",
        (TRY, "    with torch.no_grad():\n" + "\n".join("    " + line for line in TRY.split("\n"))),
    ),
    edit(
        "adapter",
        "new parameters",
        "replaced",
        (
            TRY,
            "    for name in places:\n        part, _, last = name.rpartition('.')\n"
            "        flag = model.get_parameter(name).requires_grad\n"
            "        new = nn.Parameter(state[name].clone(), flag)\n"
            "        setattr(model.get_submodule(part), last, new)\n"
            + TRY.replace(
                "place.copy_(before[name])", "model.get_parameter(name).data.copy_(before[name])"
            ),
        ),
    ),
    Answer(
        "adapter",
        "the whole state dict comes back",
        "all_restored",
        code="""
@contextmanager
def adapter(model, state):
    import copy
    before = copy.deepcopy(model.state_dict())
    model.load_state_dict(state, strict=False)
    try:
        yield
    finally:
        model.load_state_dict(before)
""",
    ),
    edit(
        "adapter",
        "by the names of A alone",
        "some_put",
        (" if n in state}", " if n.endswith('lora_A')}"),
    ),
    edit(
        "adapter",
        "adds instead of copying",
        "added_in",
        ("place.copy_(state[name])", "place.add_(state[name])"),
    ),
    edit(
        "adapter",
        "restores the visitor",
        "untrained",
        ("place.copy_(before[name])", "place.copy_(state[name])"),
    ),
    edit(
        "adapter",
        "raises another error",
        "swallowed",
        (
            "    finally:\n",
            "    except Exception as e:\n        raise OSError('in it') from e\n    finally:\n",
        ),
    ),
    edit(
        "adapter",
        "restores only after an error",
        "only_on_error",
        ("    finally:\n", "    except Exception:\n"),
        ("before[name])", "before[name])\n        raise"),
    ),
    edit(
        "adapter",
        "switches the factors on",
        "flags",
        (
            "    try:\n",
            "    for n in state:\n        model.get_parameter(n).requires_grad_(True)\n    try:\n",
        ),
    ),
    edit("adapter", "no decorator", "type", ("@contextmanager\n", "")),
    edit("adapter", "returns the model", "type", (TRY, "    return model")),
    edit(
        "adapter",
        "swaps the names of A and B",
        "raised",
        ("place.copy_(state[name])", "place.copy_(state[name.replace('lora_A', 'lora_B')])"),
    ),
    edit(
        "adapter",
        "empties state",
        "emptied",
        ("place.copy_(state[name])", "place.copy_(state.pop(name))"),
    ),
    edit(
        "adapter",
        "eval inside",
        "mode",
        ("    try:\n", "    model.training = not model.training\n    try:\n"),
    ),
    edit("adapter", "loads with strict", "raised", (PUT, "    model.load_state_dict(state)\n")),
    edit(
        "adapter",
        "zeroes the gradients and the bias",
        "rest",
        ("    try:\n", "    model.get_parameter('alpha.bias').data.zero_()\n    try:\n"),
    ),
    # 7.5
    edit(
        "add_adapters",
        "alphas not divided",
        "own_rank",
        (JOIN_B, "torch.cat([alpha1 * B1, alpha2 * B2], dim=1)"),
    ),
    edit(
        "add_adapters",
        "the new rank in each scale",
        "own_rank",
        (JOIN_B, "torch.cat([alpha1 / (r1 + r2) * B1, alpha2 / (r1 + r2) * B2], dim=1)"),
    ),
    edit("add_adapters", "both with r1", "own_rank", ("alpha2 / r2", "alpha2 / r1")),
    edit(
        "add_adapters",
        "scales exchanged",
        "scales_swapped",
        (JOIN_B, "torch.cat([alpha2 / r2 * B1, alpha1 / r1 * B2], dim=1)"),
    ),
    edit(
        "add_adapters",
        "in place",
        "in_place",
        (JOIN_B, "torch.cat([B1.mul_(alpha1 / r1), B2.mul_(alpha2 / r2)], dim=1)"),
    ),
    edit("add_adapters", "a pair", "type", (RETURN, "return A, B")),
    edit("add_adapters", "a dict", "type", (RETURN, "return {'A': A, 'B': B, 'alpha': r1 + r2}")),
    edit("add_adapters", "one text", "type", (RETURN, "return 'A, B, alpha'")),
    edit("add_adapters", "no return", "none", (RETURN, "A, B, r1 + r2")),
    edit("add_adapters", "alpha NaN", "other", (RETURN, "return A, B, float('nan')")),
    edit("add_adapters", "alpha complex", "other", (RETURN, "return A, B, (r1 + r2) * (1 + 0j)")),
    edit("add_adapters", "complex factors", "other_sum", (RETURN, "return A + 0j, B, r1 + r2")),
    edit("add_adapters", "A joined by columns", "rows", (JOIN_A, "torch.cat([A1, A2], dim=1)")),
    edit(
        "add_adapters",
        "the first alone, filled with zeros",
        "one_only",
        (JOIN_B, "torch.cat([alpha1 / r1 * B1, 0 * B2], dim=1)"),
    ),
    edit("add_adapters", "takes off", "difference", ("alpha2 / r2 * B2", "-alpha2 / r2 * B2")),
    edit(
        "add_adapters",
        "rank from the wrong axis",
        "scale",
        ("r1, r2 = len(A1), len(A2)", "r1, r2 = len(A1), len(A2)\n    new = A1.shape[1]"),
        (RETURN, "return A, B, new"),
    ),
    edit("add_adapters", "order returned wrong", "exchanged", (RETURN, "return B, A, r1 + r2")),
    edit(
        "add_adapters",
        "doubled rank",
        "rank",
        (JOIN_A, "torch.cat([A1, A2, A1, A2])"),
        (JOIN_B, "torch.cat([alpha1 / r1 * B1, alpha2 / r2 * B2, 0 * B1, 0 * B2], dim=1)"),
        (RETURN, "return A, B, 2 * (r1 + r2)"),
    ),
    # 7.4
    edit(
        "rounding",
        "a threshold of half a unit",
        "threshold",
        (SURVIVES, "return update.abs() > half_unit(weight)"),
    ),
    edit(
        "rounding",
        "a threshold, the edge included",
        "threshold",
        (SURVIVES, "return update.abs() >= half_unit(weight)"),
    ),
    edit("rounding", "natural logarithm", "log_base", ("torch.log2", "torch.log")),
    edit("rounding", "decimal logarithm", "log_base", ("torch.log2", "torch.log10")),
    edit(
        "rounding",
        "int",
        "trunc",
        ("torch.floor(torch.log2(weight.abs()))", "torch.log2(weight.abs()).int()"),
    ),
    edit("rounding", "round", "nearest", ("torch.floor", "torch.round")),
    edit("rounding", "nine bits", "half_again", (UNIT, UNIT.replace("8", "9"))),
    edit(
        "rounding",
        "frexp as it comes",
        "whole",
        ("torch.floor(torch.log2(weight.abs()))", "torch.frexp(weight)[1]"),
    ),
    edit(
        "rounding",
        "the next number of a negative weight",
        "toward_zero",
        (
            UNIT,
            "w = weight.bfloat16()\n    top = torch.full_like(w, float('inf'))\n"
            "    more = torch.nextafter(w, top)\n"
            "    return (more.float() - weight) / 2",
        ),
    ),
    edit(
        "rounding",
        "a share of the weight",
        "relative_update",
        (SURVIVES, "return update.abs() > weight.abs() * torch.finfo(torch.bfloat16).eps / 2"),
    ),
    edit(
        "rounding",
        "half instead of bfloat16",
        "as_float16",
        (SURVIVES, "return (weight + update).half() != weight.half()"),
    ),
    edit("rounding", "takes off", "minus", ("(weight + update)", "(weight - update)")),
    edit(
        "rounding",
        "update unequal zero",
        "all_survive",
        (SURVIVES, "return update.bfloat16() != 0"),
    ),
    edit(
        "rounding",
        "one bool",
        "one_number",
        (SURVIVES, "return ((weight + update).bfloat16() != weight.bfloat16()).any()"),
    ),
    edit("rounding", "no abs in half_unit", "negative", ("weight.abs()", "weight")),
    edit("rounding", "half_unit not done", "unfinished", (UNIT, "raise NotImplementedError")),
    edit("rounding", "changes the weight", "other", ("weight.abs()", "weight.abs_()")),
    # a second round
    Answer(
        "merge_layer",
        "delta without gradient in forward",
        "detached",
        code=HEAD
        + """    @torch.no_grad()
    def delta(self):
        delta = self.scaling * self.lora_B @ self.lora_A
        return delta.T if isinstance(self.base_layer, Conv1D) else delta

    def merge(self):
        self.base_layer.weight.data += self.delta()
        self.merged = True

    def unmerge(self):
        self.base_layer.weight.data -= self.delta()
        self.merged = False

    def forward(self, x):
        y = self.base_layer(x)
        if self.merged:
            return y
        delta = self.delta()
        return y + (x @ delta if isinstance(self.base_layer, Conv1D) else x @ delta.T)
""",
    ),
    edit(
        "merge_layer",
        "two axes only",
        "raised",
        (UPDATE, "return out + self.scaling * torch.mm(torch.mm(x, self.lora_A.T), self.lora_B.T)"),
    ),
    edit("merge_all", "prints and goes on", "adds_twice", ("raise ValueError", "print")),
    edit("merge_all", "does nothing", "not_folded", (LOOK, ""), (FOLD, "        pass\n")),
    Answer(
        "adapter",
        "by the order of the model",
        "raised",
        code="""
@contextmanager
def adapter(model, state):
    places = [p.data for n, p in model.named_parameters() if n in state]
    before = [place.clone() for place in places]
    for place, value in zip(places, state.values()):
        place.copy_(value)
    try:
        yield
    finally:
        for place, value in zip(places, before):
            place.copy_(value)
""",
    ),
    Answer(
        "adapter",
        "assigns the tensors",
        "state_changed",
        code="""
@contextmanager
def adapter(model, state):
    before = {n: model.state_dict()[n].clone() for n in state}
    model.load_state_dict(state, strict=False, assign=True)
    try:
        yield
    finally:
        model.load_state_dict(before, strict=False, assign=True)
""",
    ),
    Answer(
        "adapter",
        "switches gradients off and on",
        "no_grad_inside",
        code="""
@contextmanager
def adapter(model, state):
    places = {n: p for n, p in model.named_parameters() if n in state}
    before = {n: p.detach().clone() for n, p in places.items()}
    torch.set_grad_enabled(False)
    for n, p in places.items():
        p.copy_(state[n])
    try:
        yield
    finally:
        for n, p in places.items():
            p.copy_(before[n])
        torch.set_grad_enabled(True)
""",
    ),
    edit(
        "add_adapters",
        "scales upside down",
        "upside_down",
        (JOIN_B, "torch.cat([r1 / alpha1 * B1, r2 / alpha2 * B2], dim=1)"),
    ),
    edit("add_adapters", "whole scales", "integer", ("1 / r1", "1 // r1"), ("2 / r2", "2 // r2")),
    edit("rounding", "the power itself", "power", (UNIT, "return 2.0**exponent")),
    edit("rounding", "greater", "only_larger", (SURVIVES, SURVIVES.replace("!=", ">"))),
    edit(
        "rounding",
        "cuts the bits off",
        "cut_bits",
        (
            SURVIVES,
            "a = (weight + update).view(torch.int32) >> 16\n"
            "    return a != weight.view(torch.int32) >> 16",
        ),
    ),
    edit(
        "rounding",
        "isclose",
        "relative_update",
        (SURVIVES, "return ~torch.isclose(weight + update, weight, rtol=2**-8)"),
    ),
]

# Another round of novices' answers: written from the exercise's text alone
RIGHT += [
    Answer(
        "merge_layer",
        "merge idempotent",
        "",
        edits=(
            (
                ("        with torch.no_grad():\n            self.base_layer.weight += self"),
                (
                    "        if self.merged:\n"
                    "            return\n"
                    "        with torch.no_grad():\n"
                    "            self.base_layer.weight += self"
                ),
            ),
        ),
    ),
    Answer(
        "merge_layer",
        "new weight, kept old",
        "",
        edits=(
            (
                ("with torch.no_grad():\n            self.base_layer.weight += self.delta("),
                (
                    "self.old = self.base_layer.weight\n"
                    "        self.base_layer.weight = nn.Parameter((self.old + "
                    "self.delta()).detach(), requires_grad=False"
                ),
            ),
            (
                ("with torch.no_grad():\n            self.base_layer.weight -= self.delta()"),
                "self.base_layer.weight = self.old",
            ),
        ),
    ),
    Answer(
        "merge_layer",
        "einsum and forward from delta",
        "",
        edits=(
            (
                "self.scaling * self.lora_B @ self.lora_A  # (out, in",
                "torch.einsum('or,ri->oi', self.lora_B, self.lora_A).mul(self.scaling",
            ),
            (
                (
                    "out = self.base_layer(x)  # (..., out)\n"
                    "        if self.merged:\n"
                    "            return out\n"
                    "        return out + self.scaling * (x @ self.lora_A.T @ self.lora_B.T"
                ),
                (
                    "if self.merged:\n"
                    "            return self.base_layer(x)\n"
                    "        d = self.delta()\n"
                    "        return self.base_layer(x) + x @ (d if type(self.base_layer) "
                    "is Conv1D else d.t()"
                ),
            ),
        ),
    ),
    Answer(
        "merge_layer",
        "data and copy_",
        "",
        edits=(
            (
                (
                    "with torch.no_grad():\n"
                    "            self.base_layer.weight += self.delta()\n"
                    "        self.merged = True"
                ),
                (
                    "w = self.base_layer.weight\n"
                    "        w.data.copy_((w.double() + self.delta().double()).float())\n"
                    "        self.merged = not self.merged"
                ),
            ),
        ),
    ),
    Answer(
        "merge_all",
        "rollback",
        "",
        code="""
def merge_all(layers):
    done = []
    for layer in layers:
        if layer.merged:
            for d, old in done:
                d.base_layer.weight.data.copy_(old)
                d.merged = False
            raise ValueError("merged")
        done.append((layer, layer.base_layer.weight.detach().clone()))
        with torch.no_grad():
            layer.base_layer.weight.add_(layer.get_delta_weight())
        layer.merged = True
""",
    ),
    Answer(
        "merge_all",
        "new frozen weight",
        "",
        edits=(
            (
                "layer.base_layer.weight.data += layer.get_delta_weight(",
                (
                    "w = layer.base_layer.weight\n"
                    "        layer.base_layer.weight = nn.Parameter((w + "
                    "layer.get_delta_weight()).detach(), requires_grad=False"
                ),
            ),
        ),
    ),
    Answer(
        "merge_all",
        "subclass of ValueError",
        "",
        edits=(
            ("  if", ("  class Merged(ValueError):\n        pass\n\n    if")),
            ("raise ValueError", "raise Merged"),
        ),
    ),
    Answer(
        "adapter",
        "class",
        "",
        code="""
class adapter:
    def __init__(self, model, state):
        self.model, self.state = model, state

    def __enter__(self):
        p = dict(self.model.named_parameters())
        self.old = {n: p[n].detach().clone() for n in self.state}
        with torch.no_grad():
            for n in self.state:
                p[n].copy_(self.state[n])
        return self.model

    def __exit__(self, *error):
        p = dict(self.model.named_parameters())
        with torch.no_grad():
            for n in self.old:
                p[n].copy_(self.old[n])
""",
    ),
    Answer(
        "adapter",
        "load_state_dict with clones of factors only",
        "",
        edits=(
            (
                (
                    "places = {n: p.data for n, p in model.named_parameters() if n in "
                    "state}\n"
                    "    before = {n: place.clone() for n, place in places.items()}\n"
                    "    for name, place in places.items():\n"
                    "        place.copy_(state[name])\n"
                    "    try:\n"
                    "        yield\n"
                    "    finally:\n"
                    "        for name, place in places.items():\n"
                    "            place.copy_(before[name]"
                ),
                (
                    "before = {n: model.state_dict()[n].clone() for n in state}\n"
                    "    model.load_state_dict(state, strict=False)\n"
                    "    try:\n"
                    "        yield model\n"
                    "    finally:\n"
                    "        model.load_state_dict(before, strict=False"
                ),
            ),
        ),
    ),
    Answer(
        "adapter",
        "data swapped with clones",
        "",
        edits=(
            (
                (
                    "places = {n: p.data for n, p in model.named_parameters() if n in "
                    "state}\n"
                    "    before = {n: place.clone() for n, place in places.items()}\n"
                    "    for name, place in places.items():\n"
                    "        place.copy_(state[name])\n"
                    "    try:\n"
                    "        yield\n"
                    "    finally:\n"
                    "        for name, place in places.items():\n"
                    "            place.copy_(before[name])"
                ),
                (
                    "before = {}\n"
                    "    for n, p in model.named_parameters():\n"
                    "        if n in state:\n"
                    "            before[n] = p.data\n"
                    "            p.data = state[n].clone()\n"
                    "    try:\n"
                    "        yield\n"
                    "    finally:\n"
                    "        for n, p in model.named_parameters():\n"
                    "            if n in before:\n"
                    "                p.data = before[n]"
                ),
            ),
        ),
    ),
    Answer(
        "rounding",
        "numpy",
        "",
        edits=(
            (
                (
                    "exponent = torch.floor(torch.log2(weight.abs()))  # 2**exponent <= "
                    "|weight|\n"
                    "    return 2.0 ** (exponent - 8)"
                ),
                ("import numpy as np\n    return np.spacing(np.abs(weight.numpy())) * 2.0 ** 15"),
            ),
        ),
    ),
    Answer(
        "rounding",
        "nextafter up bf16",
        "",
        edits=(
            (
                (
                    "exponent = torch.floor(torch.log2(weight.abs()))  # 2**exponent <= "
                    "|weight|\n"
                    "    return 2.0 ** (exponent - 8"
                ),
                (
                    "b = weight.abs().bfloat16()\n"
                    "    return ((torch.nextafter(b, torch.full_like(b, "
                    "float('inf'))).float() - b.float()) / 2"
                ),
            ),
        ),
    ),
    Answer(
        "rounding",
        "math lists",
        "",
        code="""
import math


def half_unit(weight):
    return [2.0 ** (math.frexp(w)[1] - 9) for w in weight.tolist()]


def survives(weight, update):
    total = (weight + update).to(torch.bfloat16).float()
    return [bool(t != w) for t, w in zip(total, weight)]
""",
    ),
    Answer(
        "add_adapters",
        "scaling in A, alpha 1 with rank",
        "",
        edits=(
            ("A1, A2", "A1 * alpha1 / r1, A2 * alpha2 / r2"),
            ("alpha1 / r1 * B1, alpha2 / r2 *", "B1,"),
            ("B, r1 + r2\n", "B, float(r1 + r2)\n"),
        ),
    ),
    Answer(
        "add_adapters",
        "alpha kept",
        "",
        edits=(
            ("alpha1 / r1 * B1, alpha2 / r2 * B2", "B1, B2 * (alpha2 / r2) / (alpha1 / r1)"),
            ("B, r1 + r2\n", "B, alpha1 / r1 * (r1 + r2)\n"),
        ),
    ),
    Answer(
        "add_adapters",
        "vstack hstack numpy",
        "",
        edits=(("A, B, r1 + r2", "[A.numpy(), B.numpy(), torch.tensor(r1 + r2)]"),),
    ),
    Answer(
        "add_adapters",
        "svd to rank r1+r2",
        "",
        code="""
def add_adapters(A1, B1, alpha1, A2, B2, alpha2):
    A = torch.vstack((A2, A1)).double()
    B = torch.hstack((B2 * alpha2 / len(A2), B1 * alpha1 / len(A1))).double()
    return A, B, A.shape[0]
""",
    ),
    Answer(
        "merge_all",
        "two lists, index",
        code="""
def merge_all(layers):
    merged = [n for n, layer in enumerate(layers) if layer.merged]
    if merged:
        raise ValueError(f"merged already: {merged}")
    with torch.no_grad():
        new = [layer.base_layer.weight + layer.get_delta_weight() for layer in layers]
        for layer, weight in zip(layers, new):
            layer.base_layer.weight.copy_(weight)
            setattr(layer, "merged", True)
""",
    ),
    Answer(
        "adapter",
        "ExitStack",
        code="""
from contextlib import ExitStack


@contextmanager
def adapter(model, state):
    with ExitStack() as back:
        for name, value in state.items():
            p = model.get_parameter(name)
            back.callback(p.data.copy_, p.detach().clone())
            p.data.copy_(value.detach())
        yield model
""",
    ),
    Answer(
        "rounding",
        "by frexp and nextafter",
        code="""
def half_unit(weight):
    mantissa, exponent = torch.frexp(weight)
    return torch.ldexp(torch.ones_like(weight), exponent - 9)


def survives(weight, update):
    new = torch.add(weight, update).to(torch.bfloat16)
    return new.sub(weight.to(torch.bfloat16)).ne(0)
""",
    ),
    Answer(
        "add_adapters",
        "roots of the scales",
        code="""
def add_adapters(A1, B1, alpha1, A2, B2, alpha2):
    parts = [(a, b, alpha / a.shape[0]) for a, b, alpha in ((A2, B2, alpha2), (A1, B1, alpha1))]
    A = torch.vstack([s**0.5 * a for a, _, s in parts])
    B = torch.hstack([b * s**0.5 for _, b, s in parts])
    return A, B, torch.tensor(float(len(A)))
""",
    ),
    Answer(
        "merge_layer",
        "keeps the delta of the merge",
        code="""
class LoRALayer(nn.Module):
    def __init__(self, base_layer, lora_A, lora_B, lora_alpha):
        super().__init__()
        self.base_layer, self.merged = base_layer, False
        self.lora_A, self.lora_B = nn.Parameter(lora_A), nn.Parameter(lora_B)
        self.scaling = lora_alpha / len(lora_A)

    def delta(self):
        out_in = torch.mm(self.lora_B, self.lora_A).mul(self.scaling)
        return out_in if isinstance(self.base_layer, nn.Linear) else out_in.transpose(0, 1)

    def merge(self):
        self.added = self.delta().detach().clone()
        self.base_layer.weight.data.add_(self.added)
        self.merged = True

    def unmerge(self):
        self.base_layer.weight.data.sub_(self.added)
        self.merged = False

    def forward(self, x):
        update = 0 if self.merged else (x @ self.lora_A.mT) @ (self.scaling * self.lora_B).mT
        return self.base_layer(x) + update
""",
    ),
]

# Another round of novices' answers: written from the exercise's text alone
WRONG += [
    Answer(
        "merge_layer",
        "transposed by shape",
        "conv_layout",
        edits=(
            (
                "delta.T if isinstance(self.base_layer, Conv1D) else delta",
                "delta if delta.shape == self.base_layer.weight.shape else delta.T",
            ),
        ),
    ),
    Answer(
        "merge_layer",
        "always transposed, again",
        "linear_layout",
        edits=(("T if isinstance(self.base_layer, Conv1D) else delta", "T"),),
    ),
    Answer(
        "merge_layer",
        "transposed for Linear",
        "swapped_layout",
        edits=(("base_layer, Conv1D) else", "base_layer, nn.Linear) else"),),
    ),
    Answer(
        "merge_layer",
        "no no_grad in merge",
        "graph",
        edits=(
            (
                ("        with torch.no_grad():\n            self.base_layer.weight +="),
                "        self.base_layer.weight +=",
            ),
        ),
    ),
    Answer(
        "merge_layer",
        "merge with a new trainable Parameter",
        "trains",
        edits=(
            (
                ("with torch.no_grad():\n            self.base_layer.weight += self.delta("),
                ("self.base_layer.weight = nn.Parameter(self.base_layer.weight + self.delta()"),
            ),
        ),
    ),
    Answer(
        "merge_layer",
        "forward merges",
        "merged_twice",
        edits=(
            (
                (
                    "out = self.base_layer(x)  # (..., out)\n"
                    "        if self.merged:\n"
                    "            return out\n"
                    "        return out + self.scaling * (x @ self.lora_A.T @ self.lora_B.T"
                ),
                ("if not self.merged:\n            self.merge()\n        return self.base_layer(x"),
            ),
        ),
    ),
    Answer(
        "merge_layer",
        "no_grad around base",
        "base_cut",
        edits=(
            (
                "out = self.base_layer(x)  # (..., out",
                ("with torch.no_grad():\n            out = self.base_layer(x"),
            ),
        ),
    ),
    Answer(
        "merge_layer",
        "forward via detached delta",
        "detached",
        edits=(
            (
                "self.scaling * (x @ self.lora_A.T @ self.lora_B.T",
                "x @ (self.scaling * self.lora_B @ self.lora_A).T.detach(",
            ),
        ),
    ),
    Answer(
        "merge_layer",
        "forward without bias",
        "no_bias",
        edits=(
            (
                (
                    "out = self.base_layer(x)  # (..., out)\n"
                    "        if self.merged:\n"
                    "            return out\n"
                    "        return out + self.scaling * (x @ self.lora_A.T @ "
                    "self.lora_B.T)"
                ),
                (
                    "W = self.base_layer.weight\n"
                    "        W = W if isinstance(self.base_layer, Conv1D) else W.T\n"
                    "        if not self.merged:\n"
                    "            d = self.delta()\n"
                    "            W = W + (d if isinstance(self.base_layer, Conv1D) else "
                    "d.T)\n"
                    "        return x @ W"
                ),
            ),
        ),
    ),
    Answer(
        "merge_layer",
        "forward with delta untransposed",
        "raised",
        edits=(("self.scaling * (x @ self.lora_A.T @ self.lora_B.T", "x @ self.delta("),),
    ),
    Answer(
        "merge_layer",
        "forward with delta T",
        "raised",
        edits=(("self.scaling * (x @ self.lora_A.T @ self.lora_B.T)", "x @ self.delta().T"),),
    ),
    Answer(
        "merge_layer",
        "forward scale twice",
        "scale_twice",
        edits=(
            (
                "(x @ self.lora_A.T @ self.lora_B",
                (
                    "nn.functional.linear(x, self.delta() if not "
                    "isinstance(self.base_layer, Conv1D) else self.delta()"
                ),
            ),
        ),
    ),
    Answer(
        "merge_layer",
        "backup in first merge only",
        "stale",
        edits=(
            (
                ("with torch.no_grad():\n            self.base_layer.weight += self.delta()"),
                (
                    "if not hasattr(self, 'old'):\n"
                    "            self.d = self.delta().detach().clone()\n"
                    "            self.old = 1\n"
                    "        with torch.no_grad():\n"
                    "            self.base_layer.weight += self.d"
                ),
            ),
            (("self.delta()\n "), ("self.d\n ")),
        ),
    ),
    Answer(
        "merge_layer",
        "merge toggles only the flag",
        "not_folded",
        edits=(
            (
                (
                    "with torch.no_grad():\n"
                    "            self.base_layer.weight += self.delta()\n"
                    "        self"
                ),
                "self",
            ),
            (
                (
                    "with torch.no_grad():\n"
                    "            self.base_layer.weight -= self.delta()\n"
                    "        self"
                ),
                "self",
            ),
        ),
    ),
    Answer(
        "merge_layer",
        "merge ends in no requires_grad off factors",
        "frozen_factors",
        edits=(
            (
                "True\n",
                (
                    "True\n"
                    "        self.lora_A.requires_grad_(False)\n"
                    "        self.lora_B.requires_grad_(False)\n"
                ),
            ),
        ),
    ),
    Answer(
        "merge_layer",
        "unmerge zeroes B",
        "factors_lost",
        edits=(
            (
                (")\n        self.merged = False\n"),
                (")\n        self.merged = False\n        nn.init.zeros_(self.lora_B)\n"),
            ),
        ),
    ),
    Answer(
        "merge_layer",
        "divided by r again",
        "over_r",
        edits=(
            (
                "* self.lora_B @ self.lora_A  # (out, in)",
                "/ self.lora_A.shape[0] * self.lora_B @ self.lora_A",
            ),
        ),
    ),
    Answer(
        "merge_all",
        "checks while merging",
        "partial",
        code="""
def merge_all(layers):
    for layer in layers:
        if layer.merged:
            raise ValueError("merged already")
        layer.base_layer.weight.data += layer.get_delta_weight()
        layer.merged = True
""",
    ),
    Answer(
        "merge_all",
        "skips merged",
        "silent",
        code="""
def merge_all(layers):
    for layer in layers:
        if not layer.merged:
            layer.base_layer.weight.data += layer.get_delta_weight()
            layer.merged = True
""",
    ),
    Answer(
        "merge_all",
        "RuntimeError, again",
        "wrong_error",
        edits=(("raise ValueError", "raise RuntimeError"),),
    ),
    Answer("merge_all", "returns the error", "silent", edits=(("raise", "return"),)),
    Answer(
        "merge_all",
        "new Parameter trainable",
        "trains",
        edits=(
            (
                "weight.data += layer.get_delta_weight(",
                ("weight = nn.Parameter(layer.base_layer.weight + layer.get_delta_weight()"),
            ),
        ),
    ),
    Answer(
        "merge_all",
        "transposed",
        "other",
        edits=(("layer.get_delta_weight()", "layer.get_delta_weight().T"),),
    ),
    Answer(
        "merge_all",
        "first only return in loop",
        "first_alone",
        edits=(("True\n", ("True\n        return\n")),),
    ),
    Answer(
        "merge_all",
        "checks only the first",
        "only_first",
        edits=(("any(layer.merged for layer in layers)", "layers[0].merged"),),
    ),
    Answer(
        "merge_all",
        "checks only the last",
        "only_last",
        edits=(("any(layer.merged for layer in layers)", "layers[-1].merged"),),
    ),
    Answer(
        "merge_all",
        "checks neighbours, merges in the check",
        "all",
        edits=(
            ("any(layer.merged for layer in layers)", "sum(layer.merged for layer in layers) > 1"),
        ),
    ),
    Answer(
        "merge_all",
        "unmerges then raise",
        "unmarked",
        edits=(
            (
                'raise ValueError("A layer is merged already: unmerge it first.',
                (
                    "for layer in layers:\n"
                    "            layer.merged = False\n"
                    '        raise ValueError("x'
                ),
            ),
        ),
    ),
    Answer(
        "merge_all",
        "sets all weights requires grad",
        "trains",
        edits=(
            (
                "  layer.merged =",
                ("  layer.base_layer.weight.requires_grad = True\n        layer.merged ="),
            ),
        ),
    ),
    Answer(
        "merge_all",
        "catch and print",
        "silent",
        code="""
def merge_all(layers):
    try:
        for layer in layers:
            if layer.merged:
                raise ValueError("x")
        for layer in layers:
            layer.base_layer.weight.data += layer.get_delta_weight()
            layer.merged = True
    except ValueError as e:
        print(e)
""",
    ),
    Answer(
        "adapter",
        "except re-raises only on error restores",
        "only_on_error",
        edits=(("finally", "except Exception"),),
    ),
    Answer(
        "adapter",
        "no_grad around yield",
        "no_grad_inside",
        edits=(
            (
                (
                    "p.data for n, p in model.named_parameters() if n in state}\n"
                    "    before = {n: place.clone() for n, place in places.items()}\n"
                    "    for name, place in places.items():\n"
                    "        place.copy_(state[name])\n"
                    "    try:\n"
                    "        yield\n"
                    "    finally:\n"
                    "        for name, place in places.items():\n"
                ),
                (
                    "p for n, p in model.named_parameters() if n in state}\n"
                    "    before = {n: place.clone() for n, place in places.items()}\n"
                    "    with torch.no_grad():\n"
                    "        for name, place in places.items():\n"
                    "            place.copy_(state[name])\n"
                    "        try:\n"
                    "            yield\n"
                    "        finally:\n"
                    "            for name, place in places.items():\n"
                    "    "
                ),
            ),
        ),
    ),
    Answer(
        "adapter",
        "data = state tensor",
        "state_changed",
        edits=(
            (
                (
                    "places = {n: p.data for n, p in model.named_parameters() if n in "
                    "state}\n"
                    "    before = {n: place.clone() for n, place in places.items()}\n"
                    "    for name, place in places.items():\n"
                    "        place.copy_(state[name])\n"
                    "    try:\n"
                    "        yield\n"
                    "    finally:\n"
                    "        for name, place in places.items():\n"
                    "            place.copy_(before[name])"
                ),
                (
                    "before = {}\n"
                    "    for n, p in model.named_parameters():\n"
                    "        if n in state:\n"
                    "            before[n] = p.data\n"
                    "            p.data = state[n]\n"
                    "    try:\n"
                    "        yield\n"
                    "    finally:\n"
                    "        for n, p in model.named_parameters():\n"
                    "            if n in before:\n"
                    "                p.data = before[n]"
                ),
            ),
        ),
    ),
    Answer(
        "adapter",
        "load_state_dict whole model back",
        "all_restored",
        edits=(
            (
                (
                    "places = {n: p.data for n, p in model.named_parameters() if n in "
                    "state}\n"
                    "    before = {n: place.clone() for n, place in places.items()}\n"
                    "    for name, place in places.items():\n"
                    "        place.copy_(state[name])\n"
                    "    try:\n"
                    "        yield\n"
                    "    finally:\n"
                    "        for name, place in places.items():\n"
                    "            place.copy_(before[name]"
                ),
                (
                    "before = {n: p.clone() for n, p in model.state_dict().items()}\n"
                    "    model.load_state_dict(state, strict=False)\n"
                    "    try:\n"
                    "        yield\n"
                    "    finally:\n"
                    "        model.load_state_dict(before"
                ),
            ),
        ),
    ),
    Answer(
        "adapter",
        "state_dict before without clone",
        "not_restored",
        edits=(
            (
                (
                    "places = {n: p.data for n, p in model.named_parameters() if n in "
                    "state}\n"
                    "    before = {n: place.clone() for n, place in places.items()}\n"
                    "    for name, place in places.items():\n"
                    "        place.copy_(state[name])\n"
                    "    try:\n"
                    "        yield\n"
                    "    finally:\n"
                    "        for name, place in places.items():\n"
                    "            place.copy_(before[name]"
                ),
                (
                    "before = model.state_dict()\n"
                    "    model.load_state_dict(state, strict=False)\n"
                    "    try:\n"
                    "        yield\n"
                    "    finally:\n"
                    "        model.load_state_dict(before"
                ),
            ),
        ),
    ),
    Answer(
        "adapter",
        "replaces parameters",
        "replaced",
        edits=(
            (
                (
                    "places = {n: p.data for n, p in model.named_parameters() if n in "
                    "state}\n"
                    "    before = {n: place.clone() for n, place in places.items()}\n"
                    "    for name, place in places.items():\n"
                    "        place.copy_(state[name])\n"
                    "    try:\n"
                    "        yield\n"
                    "    finally:\n"
                    "        for name, place in places.items():\n"
                    "            place.copy_(before[name"
                ),
                (
                    "before = {}\n"
                    "    for n in state:\n"
                    '        parent, leaf = n.rsplit(".", 1)\n'
                    "        parent = model.get_submodule(parent)\n"
                    "        before[n] = getattr(parent, leaf)\n"
                    "        setattr(parent, leaf, nn.Parameter(state[n].clone()))\n"
                    "    try:\n"
                    "        yield\n"
                    "    finally:\n"
                    "        for n in state:\n"
                    '            parent, leaf = n.rsplit(".", 1)\n'
                    "            setattr(model.get_submodule(parent), leaf, before[n"
                ),
            ),
        ),
    ),
    Answer(
        "adapter",
        "restores only A",
        "some_restored",
        edits=(
            (
                "          place.copy_",
                ("          if 'lora_A' in name:\n                place.copy_"),
            ),
        ),
    ),
    Answer("adapter", "without data: error in leaf", "raised", edits=(("p.data", "p"),)),
    Answer(
        "adapter",
        "freezes afterwards",
        "flags",
        edits=(("before[name])", ("before[name])\n        model.requires_grad_(False)")),),
    ),
    Answer(
        "adapter",
        "yields twice, again",
        "type",
        edits=(("yield", ("yield model\n        yield model")),),
    ),
    Answer(
        "adapter",
        "swaps: writes back to state",
        "state_changed",
        edits=(
            (
                "          place.copy_",
                ("          state[name].copy_(place)\n            place.copy_"),
            ),
        ),
    ),
    Answer(
        "adapter",
        "clears grads",
        "gradients_lost",
        edits=(("before[name])\n", ("before[name])\n        model.zero_grad()\n")),),
    ),
    Answer(
        "rounding",
        "without floor",
        "relative",
        edits=(
            (
                (
                    "exponent = torch.floor(torch.log2(weight.abs()))  # 2**exponent <= "
                    "|weight|\n"
                    "    return 2.0 ** (exponent - 8)"
                ),
                "return weight.abs() / 256",
            ),
        ),
    ),
    Answer(
        "rounding",
        "frexp off by one",
        "whole",
        edits=(
            (
                (
                    "exponent = torch.floor(torch.log2(weight.abs()))  # 2**exponent <= "
                    "|weight|\n"
                    "    return 2.0 ** (exponent"
                ),
                "return 2.0 ** (torch.frexp(weight)[1]",
            ),
        ),
    ),
    Answer(
        "rounding",
        "eps of bf16",
        "fixed",
        edits=(
            (
                (
                    "exponent = torch.floor(torch.log2(weight.abs()))  # 2**exponent <= "
                    "|weight|\n"
                    "    return 2.0 ** (exponent - 8"
                ),
                "return torch.full_like(weight, torch.finfo(torch.bfloat16).eps / 2",
            ),
        ),
    ),
    Answer(
        "rounding",
        "in place",
        "other",
        edits=(
            (
                "return (weight + update).bfloat16() != weight.bfloat16()",
                (
                    "old = weight.bfloat16()\n"
                    "    weight += update\n"
                    "    return weight.bfloat16() != old"
                ),
            ),
        ),
    ),
    Answer(
        "rounding",
        "update != 0",
        "all_survive",
        edits=(("(weight + update).bfloat16() != weight.bfloat16()", "update != 0"),),
    ),
    Answer(
        "rounding",
        "nextafter fp32",
        "float32",
        edits=(
            (
                (
                    "exponent = torch.floor(torch.log2(weight.abs()))  # 2**exponent <= "
                    "|weight|\n"
                    "    return 2.0 ** (exponent - 8)"
                ),
                (
                    "return (torch.nextafter(weight.abs(), torch.tensor(float('inf'))) - "
                    "weight.abs()) / 2"
                ),
            ),
        ),
    ),
    Answer(
        "rounding",
        "nextafter down bf16",
        "below",
        edits=(
            (
                (
                    "exponent = torch.floor(torch.log2(weight.abs()))  # 2**exponent <= "
                    "|weight|\n"
                    "    return 2.0 ** (exponent - 8"
                ),
                (
                    "b = weight.abs().bfloat16()\n"
                    "    return ((b - torch.nextafter(b, torch.zeros_like(b))) / 2).float("
                ),
            ),
        ),
    ),
    Answer(
        "rounding",
        "bfloat16 log",
        "short_log",
        edits=(("))  # 2**exponent <= |weight|", ".bfloat16()))"),),
    ),
    Answer(
        "rounding",
        "allclose",
        "tolerance",
        edits=(
            (
                "(weight + update).bfloat16() != weight.bfloat16(",
                "~torch.isclose((weight + update).bfloat16(), weight.bfloat16()",
            ),
        ),
    ),
    Answer(
        "rounding",
        "scalar of first",
        "one_number",
        edits=(
            (
                (
                    "exponent = torch.floor(torch.log2(weight.abs()))  # 2**exponent <= "
                    "|weight|\n"
                    "    return 2.0 ** (exponent"
                ),
                "return 2.0 ** (torch.floor(torch.log2(weight.abs().max()))",
            ),
        ),
    ),
    Answer(
        "add_adapters",
        "r from out",
        "own_rank",
        edits=(("len(A1), len(A2)", "A1.shape[1], A2.shape[1]"),),
    ),
    Answer(
        "add_adapters",
        "B in other order",
        "own_order",
        edits=(("alpha1 / r1 * B1, alpha2 / r2 * B2", "alpha2 / r2 * B2, alpha1 / r1 * B1"),),
    ),
    Answer(
        "add_adapters", "returns scaling not alpha", "scale", edits=(("B, r1 + r2\n", "B, 1.0\n"),)
    ),
    Answer("add_adapters", "sum of A and B", "rank", edits=(("torch.cat([A1, A2])", "A1 + A2"),)),
    Answer(
        "add_adapters",
        "delta svd rank wrong",
        "rank",
        code="""
def add_adapters(A1, B1, alpha1, A2, B2, alpha2):
    r1, r2 = len(A1), len(A2)
    delta = alpha1 / r1 * B1 @ A1 + alpha2 / r2 * B2 @ A2
    U, S, V = torch.linalg.svd(delta, full_matrices=False)
    r = max(r1, r2)
    return V[:r], U[:, :r] * S[:r], r
""",
    ),
    Answer(
        "add_adapters",
        "returns delta eye",
        "too_large",
        code="""
def add_adapters(A1, B1, alpha1, A2, B2, alpha2):
    r1, r2 = len(A1), len(A2)
    delta = alpha1 / r1 * B1 @ A1 + alpha2 / r2 * B2 @ A2
    return torch.eye(A1.shape[1]), delta, A1.shape[1]
""",
    ),
    Answer(
        "add_adapters",
        "in place B",
        "in_place",
        edits=(
            ("  A ", ("  B1 *= alpha1 / r1\n    B2 *= alpha2 / r2\n    A ")),
            ("alpha1 / r1 * B1, alpha2 / r2 *", "B1,"),
        ),
    ),
    Answer(
        "add_adapters", "alpha product", "scale", edits=(("B, r1 + r2\n", "B, alpha1 * alpha2\n"),)
    ),
    Answer("add_adapters", "mean", "scale", edits=(("B, r1 + r2\n", "B, (r1 + r2) / 2\n"),)),
    Answer(
        "add_adapters",
        "keeps alpha1, B2 scaled without rank",
        "own_rank",
        edits=(
            ("alpha1 / r1 * B1, alpha2 / r2", "B1, alpha2 / alpha1"),
            ("B, r1 + r2\n", "B, alpha1\n"),
        ),
    ),
    Answer("add_adapters", "stack", "stacked", edits=(("torch.cat([A1", "torch.stack([A1"),)),
]

WRONG += [
    Answer(
        "rounding",
        "bfloat16 on both sides",
        "early",
        edits=[
            ("(weight + update).bfloat16()", "(weight.bfloat16() + update.bfloat16())"),
        ],
    ),
    Answer(
        "merge_layer",
        "flag set before and returned early",
        "adds_again",
        edits=(
            (
                """        self.merged = True
""",
                """        return
        self.merged = True
""",
            ),
        ),
    ),
    Answer(
        "merge_layer",
        "unmerge takes scaled again",
        "unmerge",
        edits=(
            (
                """            self.base_layer.weight -= self.delta()
""",
                """            self.base_layer.weight -= self.delta() * self.scaling
""",
            ),
        ),
    ),
    Answer(
        "merge_layer",
        "bias merged twice",
        "forward",
        edits=(
            (
                "return out + self.scaling * (x @ self.lora_A.T @ self.lora_B.T)",
                "out = out + self.base_layer.bias\n        "
                "return out + self.scaling * (x @ self.lora_A.T @ self.lora_B.T)",
            ),
        ),
    ),
    Answer(
        "merge_layer",
        "B at A order in forward scaled by alpha",
        "delta_factor",
        edits=(("lora_alpha / lora_A.shape[0]", "lora_alpha"),),
    ),
    Answer(
        "merge_layer",
        "r of the wrong axis",
        "delta_factor",
        edits=(("lora_alpha / lora_A.shape[0]", "lora_alpha / lora_A.shape[1]"),),
    ),
    Answer(
        "merge_layer",
        "eval while merged",
        "frozen_factors",
        edits=(
            (
                """        self.merged = True
""",
                """        self.merged = True
        self.requires_grad_(False)
""",
            ),
        ),
    ),
    Answer(
        "merge_layer",
        "relu on the update",
        "forward",
        edits=(
            (
                "return out + self.scaling * (x @ self.lora_A.T @ self.lora_B.T)",
                "return out + self.scaling * torch.relu(x @ self.lora_A.T) @ self.lora_B.T",
            ),
        ),
    ),
    Answer(
        "merge_layer",
        "clones the base at unmerge",
        "unmerge",
        edits=(
            (
                """            self.base_layer.weight -= self.delta()
""",
                """            self.base_layer.weight.zero_()
""",
            ),
        ),
    ),
    Answer(
        "merge_layer",
        "forward merges in train mode",
        "by_mode",
        edits=(("if self.merged:", "if self.merged or not self.training:"),),
    ),
    Answer(
        "merge_layer",
        "merge leaves weight trainable",
        "trains",
        edits=(
            (
                """        self.merged = True
""",
                """        self.merged = True
        self.base_layer.weight.requires_grad = True
""",
            ),
        ),
    ),
    Answer(
        "merge_all",
        "checks the weights not flags",
        "adds_twice",
        edits=(
            (
                "any(layer.merged for layer in layers)",
                "any(not layer.base_layer.weight.any() for layer in layers)",
            ),
        ),
    ),
    Answer(
        "merge_all",
        "unmerges instead",
        "silent",
        edits=(
            (
                """    if any(layer.merged for layer in layers):
        raise ValueError("A layer is merged already: unmerge it first.")
""",
                """    for layer in layers:
        if layer.merged:
            layer.base_layer.weight.data -= layer.get_delta_weight()
""",
            ),
        ),
    ),
    Answer(
        "merge_all",
        "skips and raises at the end",
        "partial",
        edits=(
            (
                """    if any(layer.merged for layer in layers):
        raise ValueError("A layer is merged already: unmerge it first.")
""",
                "",
            ),
            (
                """        layer.base_layer.weight.data += layer.get_delta_weight()
""",
                """        if layer.merged:
            bad = True
            continue
        layer.base_layer.weight.data += layer.get_delta_weight()
""",
            ),
            (
                """        layer.merged = True
""",
                """        layer.merged = True
    if 'bad' in dir() and bad:
        raise ValueError('merged')
""",
            ),
        ),
    ),
    Answer(
        "merge_all",
        "flags only",
        "not_folded",
        edits=(
            (
                """        layer.base_layer.weight.data += layer.get_delta_weight()
""",
                "",
            ),
        ),
    ),
    Answer(
        "merge_all",
        "adds delta transposed for all",
        "first_weights",
        edits=(("layer.get_delta_weight()", "layer.get_delta_weight() * 2"),),
    ),
    Answer(
        "merge_all",
        "sets False",
        "no_flag",
        edits=(("layer.merged = True", "layer.merged = False"),),
    ),
    Answer(
        "merge_all",
        "returns True for merged",
        "silent",
        edits=(
            ('raise ValueError("A layer is merged already: unmerge it first.")', "return True"),
        ),
    ),
    Answer(
        "merge_all",
        "middle only",
        "not_asked",
        edits=(("any(layer.merged for layer in layers)", "layers[0].merged or layers[-1].merged"),),
    ),
    Answer(
        "merge_all", "warns", "adds_twice", edits=(("raise ValueError(", 'print("warning: ",'),)
    ),
    Answer(
        "merge_all",
        "detached weight as attribute",
        "not_folded",
        edits=(
            (
                """        layer.base_layer.weight.data += layer.get_delta_weight()
""",
                """        layer.weight = layer.base_layer.weight + layer.get_delta_weight()
""",
            ),
        ),
    ),
    Answer(
        "merge_all",
        "resets base after error",
        "wrong_error",
        edits=(
            (
                """    if any(layer.merged for layer in layers):
        raise ValueError("A layer is merged already: unmerge it first.")
""",
                """    try:
        assert not any(layer.merged for layer in layers)
    except AssertionError as error:
        raise TypeError('merged') from error
""",
            ),
        ),
    ),
    Answer(
        "adapter",
        "train inside",
        "mode",
        edits=(
            (
                """    try:
""",
                """    model.train()
    try:
""",
            ),
        ),
    ),
    Answer(
        "adapter",
        "eval inside, train afterwards",
        "mode",
        edits=(
            (
                """    try:
""",
                """    model.eval()
    try:
""",
            ),
            (
                """        for name, place in places.items():
            place.copy_(before[name])""",
                """        for name, place in places.items():
            place.copy_(before[name])
        model.train()""",
            ),
        ),
    ),
    Answer(
        "adapter",
        "swaps only frozen ones",
        "other_inside",
        edits=(("if n in state}", "if n in state and p.requires_grad}"),),
    ),
    Answer(
        "adapter",
        "inference mode",
        "no_grad_inside",
        edits=(
            (
                """        yield
""",
                """        with torch.inference_mode():
            yield
""",
            ),
        ),
    ),
    Answer(
        "adapter",
        "catches ValueError only",
        "not_restored",
        edits=(("finally:", "except ValueError:"),),
    ),
    Answer(
        "adapter",
        "else instead of finally",
        "no_finally",
        edits=(
            (
                """    finally:
""",
                """    except Exception:
        raise
    else:
""",
            ),
        ),
    ),
    Answer(
        "adapter",
        "reraises other",
        "swallowed",
        edits=(
            (
                "finally:",
                """except Exception as error:
        raise RuntimeError('failed') from error
    finally:""",
            ),
        ),
    ),
    Answer(
        "adapter",
        "merges means",
        "other_inside",
        edits=(("place.copy_(state[name])", "place.copy_((place + state[name]) / 2)"),),
    ),
    Answer(
        "adapter",
        "places of lora_ names",
        "some_put",
        edits=(("if n in state}", 'if n.startswith("lora_")}'),),
    ),
    Answer(
        "adapter",
        "freezes inside",
        "flags",
        edits=(
            (
                """    try:
""",
                """    model.requires_grad_(False)
    try:
""",
            ),
        ),
    ),
    Answer(
        "adapter", "zero after", "zeroed", edits=(("place.copy_(before[name])", "place.fill_(0)"),)
    ),
    Answer(
        "adapter",
        "restores halves",
        "other_after",
        edits=(("place.copy_(before[name])", "place.copy_(before[name] / 2)"),),
    ),
    Answer(
        "rounding",
        "float16 eps",
        "relative",
        edits=(
            (
                "return 2.0 ** (exponent - 8)",
                "return weight.abs() * torch.finfo(torch.float16).eps",
            ),
        ),
    ),
    Answer(
        "rounding",
        "nextafter below",
        "below",
        edits=(
            (
                """    exponent = torch.floor(torch.log2(weight.abs()))  # 2**exponent <= |weight|
    return 2.0 ** (exponent - 8)""",
                """    w = weight.abs().bfloat16()
    return (w - torch.nextafter(w, torch.zeros_like(w))).float() / 2""",
            ),
        ),
    ),
    Answer(
        "rounding",
        "minus 7 bits of 8",
        "shift",
        edits=(("return 2.0 ** (exponent - 8)", "return 2.0 ** (exponent - 16)"),),
    ),
    Answer(
        "rounding",
        "1 / 256",
        "no_power",
        edits=(("return 2.0 ** (exponent - 8)", "return exponent / 256"),),
    ),
    Answer(
        "rounding",
        "floor of the log of half",
        "half_again",
        edits=(("torch.log2(weight.abs())", "torch.log2(weight.abs() / 2)"),),
    ),
    Answer(
        "rounding",
        "log2 with 1 plus",
        "no_power",
        edits=(("torch.log2(weight.abs())", "torch.log2(1 + weight.abs())"),),
    ),
    Answer(
        "rounding",
        "strictly more than a half, quarter below",
        "too_many",
        edits=(
            (
                "return (weight + update).bfloat16() != weight.bfloat16()",
                "return update.abs() > half_unit(weight) / 2",
            ),
        ),
    ),
    Answer(
        "rounding",
        "float32 rounding of update",
        "early",
        edits=(
            (
                "return (weight + update).bfloat16() != weight.bfloat16()",
                "return (weight + update.bfloat16().float()).bfloat16() != weight.bfloat16()",
            ),
        ),
    ),
    Answer(
        "rounding",
        "sign",
        "too_few",
        edits=(
            (
                "return (weight + update).bfloat16() != weight.bfloat16()",
                "return (weight + update).sign() != weight.sign()",
            ),
        ),
    ),
    Answer(
        "rounding",
        "always",
        "too_many",
        edits=(
            (
                "return (weight + update).bfloat16() != weight.bfloat16()",
                "return torch.ones_like(weight, dtype=torch.bool)",
            ),
        ),
    ),
    Answer(
        "rounding",
        "never",
        "too_few",
        edits=(
            (
                "return (weight + update).bfloat16() != weight.bfloat16()",
                "return torch.zeros_like(weight, dtype=torch.bool)",
            ),
        ),
    ),
    Answer(
        "rounding",
        "the rounded sum",
        "no_truth",
        edits=(
            (
                "return (weight + update).bfloat16() != weight.bfloat16()",
                "return (weight + update).bfloat16()",
            ),
        ),
    ),
    Answer(
        "add_adapters",
        "alpha average",
        "scale",
        edits=(("return A, B, r1 + r2", "return A, B, (alpha1 + alpha2) / 2"),),
    ),
    Answer(
        "add_adapters",
        "alpha max",
        "scale",
        edits=(("return A, B, r1 + r2", "return A, B, max(r1, r2)"),),
    ),
    Answer(
        "add_adapters",
        "unscaled, alpha sum",
        "scales_lost",
        edits=(
            (
                "torch.cat([alpha1 / r1 * B1, alpha2 / r2 * B2], dim=1)",
                "torch.cat([B1, B2], dim=1)",
            ),
            ("return A, B, r1 + r2", "return A, B, alpha1 / r1 + alpha2 / r2"),
        ),
    ),
    Answer(
        "add_adapters",
        "product of B",
        "scales_lost",
        edits=(
            (
                "torch.cat([alpha1 / r1 * B1, alpha2 / r2 * B2], dim=1)",
                "torch.cat([alpha1 / r1 * B1, alpha1 / r1 * B2], dim=1)",
            ),
        ),
    ),
    Answer(
        "add_adapters",
        "adds one adapter twice",
        "other_sum",
        edits=(
            (
                "torch.cat([A1, A2])",
                "torch.cat([A1, A1]) if A1.shape == A2.shape else torch.cat([A1, A2])",
            ),
        ),
    ),
    Answer(
        "add_adapters",
        "padded",
        "one_only",
        edits=(
            (
                "torch.cat([alpha1 / r1 * B1, alpha2 / r2 * B2], dim=1)",
                "torch.cat([alpha1 / r1 * B1, torch.zeros_like(B2)], dim=1)",
            ),
        ),
    ),
    Answer(
        "add_adapters",
        "stacks B by rows",
        "rows",
        edits=(
            (
                "torch.cat([alpha1 / r1 * B1, alpha2 / r2 * B2], dim=1)",
                "torch.cat([alpha1 / r1 * B1, alpha2 / r2 * B2], dim=0)",
            ),
        ),
    ),
    Answer(
        "add_adapters",
        "half each",
        "scale",
        edits=(
            (
                "torch.cat([alpha1 / r1 * B1, alpha2 / r2 * B2], dim=1)",
                "torch.cat([alpha1 / r1 * B1 / 2, alpha2 / r2 * B2 / 2], dim=1)",
            ),
        ),
    ),
    Answer(
        "add_adapters", "r alone", "scale", edits=(("return A, B, r1 + r2", "return A, B, r1"),)
    ),
    Answer(
        "merge_layer",
        "freezes B at the end",
        "frozen_factors",
        edits=(
            (
                """            self.base_layer.weight -= self.delta()
""",
                """            self.base_layer.weight -= self.delta()
        self.lora_B.requires_grad_(False)
""",
            ),
        ),
    ),
    Answer(
        "rounding",
        "one limit of 1",
        "both_ways",
        edits=(
            (
                "return (weight + update).bfloat16() != weight.bfloat16()",
                "return update.abs() > 1.0",
            ),
        ),
    ),
]
