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
    # 7.4
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
    # 7.5
    Answer(
        "rounding",
        "frexp and a threshold",
        code="""
def half_unit(weight):
    return torch.ldexp(torch.tensor(1.0), torch.frexp(weight)[1] - 9)


def survives(weight, update):
    return update.abs() > half_unit(weight)
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
    Answer(
        "rounding",
        "bfloat16 on both sides",
        edits=[
            ("(weight + update).bfloat16()", "(weight.bfloat16() + update.bfloat16())"),
        ],
    ),
]

WRONG = [
    # 7.1
    Answer(
        "merge_layer", "never transposed", "raised:RuntimeError", edits=[(TURN, "return delta")]
    ),
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
        "no_update",
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
        "raised:ValueError",
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
        "raised:TypeError",
        edits=[
            (ADD, "            self.base_layer.weight = self.base_layer.weight + self.delta()\n"),
        ],
    ),
    Answer(
        "merge_layer",
        "A times B",
        "raised:RuntimeError",
        edits=[
            ("self.lora_B @ self.lora_A  #", "self.lora_A @ self.lora_B  #"),
        ],
    ),
    Answer("merge_layer", "delta of nothing", "none", edits=[(TURN, "pass")]),
    Answer(
        "merge_layer",
        "adds the weight",
        "other",
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
        "silent",
        edits=[
            ("any(layer.merged for layer in layers)", "layers[0].merged"),
            (FOLD, "        if layer.merged:\n            continue\n" + FOLD),
        ],
    ),
    Answer(
        "merge_all",
        "all instead of any",
        "silent",
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
    Answer("merge_all", "subtracts", "other", edits=[(".data += ", ".data -= ")]),
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
        "frozen",
        edits=[
            (
                "    try:",
                "    for p in model.parameters():\n        p.requires_grad = False\n    try:",
            ),
        ],
    ),
    Answer("adapter", "every parameter", "raised:KeyError", edits=[(" if n in state", "")]),
    Answer(
        "adapter",
        "yields twice",
        "raised:RuntimeError",
        edits=[
            ("        yield\n", "        yield\n        yield\n"),
        ],
    ),
    Answer(
        "adapter",
        "no yield",
        "raised:TypeError",
        edits=[
            ("        yield\n", "        return None\n"),
        ],
    ),
    Answer(
        "adapter",
        "zeros after it",
        "other",
        edits=[
            ("place.copy_(before[name])", "place.zero_()"),
        ],
    ),
    # 7.4
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
        "raised:RuntimeError",
        edits=[
            (JOIN_B, "torch.cat([alpha1 / r1 * B1, alpha2 / r2 * B2]) @ torch.eye(2)"),
        ],
    ),
    Answer("add_adapters", "B joined along rows", "shapes", edits=[(", dim=1)", ")")]),
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
        "r of the first for both",
        "unequal",
        code="""
def add_adapters(A1, B1, alpha1, A2, B2, alpha2):
    r = len(A1)
    A = torch.stack([A1, A2]).reshape(2 * r, -1)
    B = torch.cat([alpha1 / r * B1, alpha2 / r * B2], dim=1)
    return A, B, 2 * r
""",
    ),
    Answer("add_adapters", "a difference", "other", edits=[("alpha2 / r2 * B2", "-B2")]),
    # 7.5
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
    Answer("rounding", "log2 rounded up", "whole", edits=[("torch.floor(", "torch.ceil(")]),
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
        "other",
        edits=[
            (SURVIVES, "return update.abs() > weight.abs()"),
        ],
    ),
    Answer("rounding", "no return", "none", edits=[("return (weight", "(weight")]),
]
