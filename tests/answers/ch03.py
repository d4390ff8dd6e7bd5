"""Right and wrong answers to the exercises of chapter 03."""

from tests.answers import Answer


def layer(factors, forward):
    """A LoRALinear with these lines in __init__ and in forward."""
    return f"""class LoRALinear(nn.Module):
    def __init__(self, base_layer, r=8, lora_alpha=16, lora_dropout=0.0):
        super().__init__()
        self.base_layer = base_layer.requires_grad_(False)
        self.r, self.lora_alpha, self.scaling = r, lora_alpha, lora_alpha / r
        self.p, self.lora_dropout = lora_dropout, nn.Dropout(lora_dropout)
        d_in, d_out = base_layer.in_features, base_layer.out_features
{indented(factors)}

    def forward(self, x):
{indented(forward)}
"""


def table(factors, forward):
    """A LoRAEmbedding with these lines in __init__ and in forward."""
    return f"""class LoRAEmbedding(nn.Module):
    def __init__(self, base_layer, r=8, lora_alpha=16):
        super().__init__()
        self.base_layer = base_layer.requires_grad_(False)
        self.scaling = lora_alpha / r
        n, d = base_layer.weight.shape
{indented(factors)}

    def forward(self, ids):
{indented(forward)}
"""


def indented(lines):
    return "\n".join("        " + line for line in lines.strip().splitlines())


PLAIN = """
self.lora_A = nn.Parameter(nn.init.kaiming_uniform_(torch.empty(r, d_in), a=5**0.5))
self.lora_B = nn.Parameter(torch.zeros(d_out, r))
"""
MODULES = """
self.lora_A = nn.Linear(d_in, r, bias=False)
self.lora_B = nn.Linear(r, d_out, bias=False)
nn.init.zeros_(self.lora_B.weight)
"""
TABLE = """
self.lora_A = nn.Parameter(torch.zeros(r, n))
self.lora_B = nn.Parameter(torch.randn(d, r))
"""
A_START = "nn.init.kaiming_uniform_(self.lora_A, a=math.sqrt(5))"
B_START = "torch.zeros(base_layer.out_features, r)"
UPDATE = "self.lora_dropout(x) @ self.lora_A.T @ self.lora_B.T"
RETURN = "return self.base_layer(x) + self.scaling * update"
FREEZE = "parameter.requires_grad = False"
ROWS = "rows = self.lora_A.T[ids]"
JOIN_A, JOIN_B = "torch.cat([lora_A, rows])", "torch.cat([lora_B, columns], dim=1)"

RIGHT = [
    Answer(
        "lora_linear",
        "submodules, as in peft",
        code=layer(
            MODULES,
            "x2 = self.lora_dropout(x)\n"
            "return self.base_layer(x) + self.lora_B(self.lora_A(x2)) * self.scaling",
        ),
    ),
    Answer(
        "lora_linear",
        "einsum",
        code=layer(
            PLAIN,
            """
update = torch.einsum("...i,ri,or->...o", self.lora_dropout(x), self.lora_A, self.lora_B)
return self.base_layer(x) + self.lora_alpha / self.r * update
""",
        ),
    ),
    Answer(
        "lora_linear",
        "the delta weight first",
        code=layer(
            PLAIN,
            """
delta = self.scaling * (self.lora_B @ self.lora_A)
return self.base_layer(x) + nn.functional.linear(self.lora_dropout(x), delta)
""",
        ),
    ),
    Answer(
        "lora_linear",
        "merged on the fly without dropout",
        code=layer(
            PLAIN,
            """
base = self.base_layer
if self.training and self.p:
    dropped = nn.functional.dropout(x, self.p, self.training)
    return base(x) + self.scaling * (dropped @ self.lora_A.T @ self.lora_B.T)
delta = self.scaling * (self.lora_B @ self.lora_A)
return nn.functional.linear(x, base.weight + delta, base.bias)
""",
        ),
    ),
    Answer(
        "delta_weight",
        "einsum by layout",
        code="""
def delta_weight(base_layer, lora_A, lora_B, lora_alpha):
    order = "io" if hasattr(base_layer, "nf") else "oi"
    return torch.einsum(f"ri,or->{order}", lora_A, lora_B) * (lora_alpha / len(lora_A))
""",
    ),
    Answer(
        "delta_weight",
        "sum of outer products",
        code="""
def delta_weight(base_layer, lora_A, lora_B, lora_alpha):
    delta = sum(torch.outer(b, a) for a, b in zip(lora_A, lora_B.T)) * lora_alpha / lora_B.shape[1]
    return delta if isinstance(base_layer, nn.Linear) else delta.T.contiguous()
""",
    ),
    Answer(
        "broken_starts",
        "one start for all",
        code="""
def init_1(d_in, d_out, r):
    lora_A = nn.Parameter((torch.rand(r, d_in) * 2 - 1) / math.sqrt(d_in))
    return lora_A, nn.Parameter(torch.zeros(d_out, r))

init_2 = init_3 = init_4 = init_1
""",
    ),
    Answer(
        "broken_starts",
        "the weights of two linear layers",
        code="""
def init_1(d_in, d_out, r):
    lora_A, lora_B = nn.Linear(d_in, r, bias=False), nn.Linear(r, d_out, bias=False)
    nn.init.zeros_(lora_B.weight)
    return lora_A.weight, lora_B.weight

def init_2(d_in, d_out, r):
    return [nn.Parameter(torch.randn(r, d_in) * d_in**-0.5), nn.Parameter(torch.zeros(d_out, r))]

init_3, init_4 = init_1, init_2
""",
    ),
    Answer(
        "lora_embedding",
        "one-hot rows",
        code=table(
            TABLE,
            """
onehot = nn.functional.one_hot(ids, self.lora_A.shape[1]).to(self.lora_A.dtype)
return self.base_layer(ids) + onehot @ self.lora_A.T @ self.lora_B.T * self.scaling
""",
        ),
    ),
    Answer(
        "lora_embedding",
        "the whole new table",
        code=table(
            TABLE,
            """
delta = self.scaling * self.lora_B @ self.lora_A
return nn.functional.embedding(ids, self.base_layer.weight + delta.T)
""",
        ),
    ),
    Answer(
        "lora_embedding",
        "columns of A",
        code=table(
            TABLE,
            """
columns = torch.movedim(self.lora_A[:, ids], 0, -1)
return self.base_layer(ids) + self.scaling * nn.functional.linear(columns, self.lora_B)
""",
        ),
    ),
    Answer(
        "grow_rank",
        "the growth goes into B",
        edits=[
            (JOIN_B, "torch.cat([lora_B * new_r / r, columns], dim=1)"),
            ("lora_alpha * new_r / r", "lora_alpha"),
        ],
    ),
    Answer(
        "grow_rank",
        "new A zero and new B random",
        edits=[
            (
                "nn.init.kaiming_uniform_(torch.empty(new_r - r, d_in), a=math.sqrt(5))",
                "torch.zeros(new_r - r, d_in)",
            ),
            ("torch.zeros(lora_B.shape[0], new_r - r)", "torch.randn(lora_B.shape[0], new_r - r)"),
        ],
    ),
    Answer(
        "grow_rank",
        "filled in place",
        code="""
def grow_rank(lora_A, lora_B, lora_alpha, new_r):
    r = len(lora_A)
    new_A, new_B = torch.randn(new_r, lora_A.shape[1]) * 0.05, torch.zeros(len(lora_B), new_r)
    new_A[:r], new_B[:, :r] = lora_A, lora_B
    return nn.Parameter(new_A), nn.Parameter(new_B), lora_alpha / r * new_r
""",
    ),
    Answer(
        "lora_linear",
        "A drawn by hand",
        edits=[
            (
                A_START,
                "bound = base_layer.weight.shape[1] ** -0.5\n"
                "        with torch.no_grad():\n"
                "            self.lora_A.copy_(bound - 2 * bound * torch.rand_like(self.lora_A))",
            ),
        ],
    ),
    Answer(
        "lora_linear",
        "a mask of one's own",
        code=layer(
            PLAIN,
            """
if self.training and self.p > 0:
    x = x, x * (torch.rand_like(x) >= self.p) / (1 - self.p)
else:
    x = x, x
return self.base_layer(x[0]) + self.scaling * (x[1] @ self.lora_A.T @ self.lora_B.T)
""",
        ),
    ),
    Answer(
        "broken_starts",
        "the repaired one is used twice",
        edits=[
            (
                "    lora_A = torch.empty(r, d_in)\n"
                "    nn.init.kaiming_uniform_(lora_A, a=math.sqrt(5))\n"
                "    return nn.Parameter(lora_A), nn.Parameter(torch.zeros(d_out, r))",
                "    pass\n\n\ninit_4 = init_2",
            ),
        ],
    ),
    Answer(
        "delta_weight",
        "a loop over the directions, as NumPy",
        code="""
def delta_weight(base_layer, lora_A, lora_B, lora_alpha):
    A, B = lora_A.numpy(), lora_B.numpy()
    made = (B * (lora_alpha / B.shape[-1])).dot(A)
    return torch.from_numpy(made.T.copy() if type(base_layer).__name__ == "Conv1D" else made)
""",
    ),
    Answer(
        "lora_embedding",
        "two tables",
        code=table(
            TABLE.replace("torch.randn(d, r)", "torch.empty(d, r).normal_()"),
            "update = nn.functional.embedding(ids, (self.lora_B @ self.lora_A).T)\n"
            "return self.base_layer(ids) + self.scaling * update",
        ),
    ),
    Answer(
        "grow_rank",
        "half of the growth in A, half in B",
        code="""
def grow_rank(lora_A, lora_B, lora_alpha, new_r):
    r, more = lora_A.shape[0], new_r - lora_A.shape[0]
    rows, columns = torch.randn(more, lora_A.shape[1]), torch.randn(lora_B.shape[0], more)
    rows[: more // 2], columns[:, more // 2 :] = 0, 0
    return torch.cat([lora_A, rows]), torch.cat([lora_B, columns], 1), lora_alpha * new_r / r
""",
    ),
    Answer(
        "grow_rank",
        "the new ones first",
        edits=[
            (JOIN_A, "torch.cat([rows, lora_A])"),
            (JOIN_B, "torch.cat([columns, lora_B], dim=1)"),
        ],
    ),
    Answer(
        "broken_starts",
        "orthogonal rows, random signs",
        "",
        edits=(
            (
                "torch.randn(r, d_in) / d_in**0.5",
                "torch.randint(0, 2, (r, d_in)).float().mul(2).sub(1) / d_in**0.5",
            ),
        ),
    ),
    Answer(
        "grow_rank",
        "rows at right angles, long",
        "",
        edits=(
            (
                "nn.init.kaiming_uniform_(torch.empty(new_r - r, d_in), a=math.sqrt(5))",
                "100 * torch.linalg.svd(lora_A)[2][r:new_r]",
            ),
        ),
    ),
]

WRONG = [
    Answer("lora_linear", "no scale", "no_scale", edits=[("self.scaling * update", "update")]),
    Answer("lora_linear", "alpha alone", "only_alpha", edits=[("lora_alpha / r", "lora_alpha")]),
    Answer(
        "lora_linear", "alpha times r", "wrong_scale", edits=[("lora_alpha / r", "lora_alpha * r")]
    ),
    Answer(
        "lora_linear", "r over alpha", "wrong_scale", edits=[("lora_alpha / r", "r / lora_alpha")]
    ),
    Answer(
        "lora_linear",
        "scale applied twice",
        "wrong_scale",
        edits=[
            (
                "self.base_layer(x) + self.scaling * update",
                "self.base_layer(x) + self.scaling**2 * update",
            ),
        ],
    ),
    Answer(
        "lora_linear",
        "alpha over the root of r",
        "wrong_scale",
        edits=[
            ("lora_alpha / r", "lora_alpha / r**0.5"),
        ],
    ),
    Answer(
        "lora_linear",
        "everything scaled",
        "scale_all",
        edits=[
            (
                "self.base_layer(x) + self.scaling * update",
                "self.scaling * (self.base_layer(x) + update)",
            ),
        ],
    ),
    Answer(
        "lora_linear",
        "base path left out",
        "base_missing",
        edits=[
            ("self.base_layer(x) + self.scaling", "self.scaling"),
        ],
    ),
    Answer("lora_linear", "update left out", "no_update", edits=[(" + self.scaling * update", "")]),
    Answer(
        "lora_linear",
        "bias lost",
        "bias_lost",
        edits=[
            ("self.base_layer(x) +", "x @ self.base_layer.weight.T +"),
        ],
    ),
    Answer(
        "lora_linear",
        "A and B swapped",
        "shapes",
        code=layer(
            """
self.lora_A = nn.Parameter(torch.randn(d_out, r) / d_in**0.5)
self.lora_B = nn.Parameter(torch.zeros(r, d_in))
""",
            "update = self.lora_dropout(x) @ self.lora_B.T @ self.lora_A.T\n"
            "return self.base_layer(x) + self.scaling * update",
        ),
    ),
    Answer(
        "lora_linear",
        "factors stored for x @ A @ B",
        "shapes",
        code=layer(
            """
self.lora_A = nn.Parameter(torch.randn(d_in, r) / d_in**0.5)
self.lora_B = nn.Parameter(torch.zeros(r, d_out))
""",
            "update = self.lora_dropout(x) @ self.lora_A @ self.lora_B\n"
            "return self.base_layer(x) + self.scaling * update",
        ),
    ),
    Answer(
        "lora_linear",
        "base under no_grad",
        "base_detached",
        edits=[
            (
                RETURN,
                "with torch.no_grad():\n            base = self.base_layer(x)\n"
                "        return base + self.scaling * update",
            ),
        ],
    ),
    Answer(
        "lora_linear",
        "base detached",
        "base_detached",
        edits=[
            ("self.base_layer(x) +", "self.base_layer(x).detach() +"),
        ],
    ),
    Answer(
        "lora_linear",
        "B detached",
        "factor_detached",
        edits=[("self.lora_B.T", "self.lora_B.data.T")],
    ),
    Answer(
        "lora_linear",
        "everything under no_grad",
        "factor_detached",
        edits=[
            ("    def forward", "    @torch.no_grad()\n    def forward"),
        ],
    ),
    Answer(
        "lora_linear", "both zero", "both_zero", edits=[(A_START, "nn.init.zeros_(self.lora_A)")]
    ),
    Answer(
        "lora_linear",
        "B random",
        "b_random",
        edits=[
            (B_START, "torch.randn(base_layer.out_features, r)"),
        ],
    ),
    Answer(
        "lora_linear",
        "B kaiming too",
        "b_random",
        edits=[
            (A_START, A_START + "\n        nn.init.kaiming_uniform_(self.lora_B, a=math.sqrt(5))"),
        ],
    ),
    Answer(
        "lora_linear",
        "A zero and B random",
        "factors_exchanged",
        edits=[
            (A_START, "nn.init.zeros_(self.lora_A)"),
            (B_START, "torch.randn(base_layer.out_features, r)"),
        ],
    ),
    Answer(
        "lora_linear",
        "A standard normal",
        "fixed_size",
        edits=[(A_START, "nn.init.normal_(self.lora_A)")],
    ),
    Answer(
        "lora_linear",
        "A tiny",
        "fixed_size",
        edits=[(A_START, "nn.init.normal_(self.lora_A, std=0.001)")],
    ),
    Answer(
        "lora_linear",
        "kaiming on the transposed tensor",
        "transposed",
        edits=[
            (
                A_START,
                "turned = nn.init.kaiming_uniform_(self.lora_A.data.T.clone(), a=5**0.5)\n"
                "        self.lora_A.data = turned.T",
            ),
        ],
    ),
    Answer(
        "lora_linear",
        "plain tensors",
        "not_parameter",
        edits=[
            (
                "nn.Parameter(torch.empty(r, base_layer.in_features))",
                "torch.empty(r, base_layer.in_features)",
            ),
        ],
    ),
    Answer(
        "lora_linear",
        "arithmetic after Parameter",
        "not_parameter",
        code=layer(
            """
self.lora_A = nn.Parameter(torch.randn(r, d_in)) / d_in**0.5
self.lora_B = nn.Parameter(torch.zeros(d_out, r))
""",
            "update = self.lora_dropout(x) @ self.lora_A.T @ self.lora_B.T\n"
            "return self.base_layer(x) + self.scaling * update",
        ),
    ),
    Answer("lora_linear", "base not frozen", "base_trains", edits=[(FREEZE, "pass")]),
    Answer(
        "lora_linear",
        "bias not frozen",
        "base_trains",
        edits=[
            (FREEZE, "base_layer.weight.requires_grad = False"),
        ],
    ),
    Answer(
        "lora_linear",
        "nn.Linear with its bias",
        "extra_bias",
        code=layer(
            MODULES.replace(", bias=False", ""),
            "update = self.lora_B(self.lora_A(self.lora_dropout(x)))\n"
            "return self.base_layer(x) + self.scaling * update",
        ),
    ),
    Answer(
        "lora_linear",
        "dropout before both paths",
        "dropout_base",
        edits=[
            (
                f"update = {UPDATE}",
                "x = self.lora_dropout(x)\n        update = x @ self.lora_A.T @ self.lora_B.T",
            ),
        ],
    ),
    Answer(
        "lora_linear",
        "dropout on the output",
        "dropout_base",
        edits=[
            (UPDATE, "x @ self.lora_A.T @ self.lora_B.T"),
            (RETURN, "return self.lora_dropout(self.base_layer(x) + self.scaling * update)"),
        ],
    ),
    Answer(
        "lora_linear",
        "dropout also in eval",
        "dropout_eval",
        code=layer(
            PLAIN,
            """
x_dropped = nn.functional.dropout(x, self.p)
return self.base_layer(x) + self.scaling * (x_dropped @ self.lora_A.T @ self.lora_B.T)
""",
        ),
    ),
    Answer(
        "lora_linear", "dropout forgotten", "no_dropout", edits=[("self.lora_dropout(x) @", "x @")]
    ),
    Answer(
        "lora_linear",
        "dropout after A",
        "dropout_place",
        edits=[
            (UPDATE, "self.lora_dropout(x @ self.lora_A.T) @ self.lora_B.T"),
        ],
    ),
    Answer(
        "lora_linear",
        "dropout on the update",
        "dropout_place",
        edits=[
            (UPDATE, "self.lora_dropout(x @ self.lora_A.T @ self.lora_B.T)"),
        ],
    ),
    Answer("lora_linear", "forgets return", "none", edits=[("return self.base", "self.base")]),
    Answer(
        "lora_linear",
        "B first",
        "raised",
        edits=[
            (UPDATE, "self.lora_dropout(x) @ self.lora_B.T @ self.lora_A.T"),
        ],
    ),
    Answer("lora_linear", "own names", "raised", edits=[("self.lora_A", "self.A")]),
    # 3.2
    Answer("delta_weight", "no scale", "no_scale", edits=[("lora_alpha / lora_A.shape[0] * ", "")]),
    Answer("delta_weight", "alpha alone", "only_alpha", edits=[(" / lora_A.shape[0]", "")]),
    Answer("delta_weight", "alpha times r", "wrong_scale", edits=[("/ lora_A", "* lora_A")]),
    Answer("delta_weight", "columns of A for r", "wrong_r", edits=[("shape[0]", "shape[1]")]),
    Answer(
        "delta_weight",
        "never transposed",
        "conv_layout",
        edits=[
            ("return delta.T if isinstance(base_layer, Conv1D) else delta", "return delta"),
        ],
    ),
    Answer(
        "delta_weight",
        "always transposed",
        "linear_layout",
        edits=[
            (" if isinstance(base_layer, Conv1D) else delta", ""),
        ],
    ),
    Answer(
        "delta_weight",
        "transposed for the wrong kind",
        "linear_layout",
        edits=[
            ("isinstance(base_layer, Conv1D)", "not isinstance(base_layer, Conv1D)"),
        ],
    ),
    Answer(
        "delta_weight",
        "decides by the shape",
        "square",
        edits=[
            ("isinstance(base_layer, Conv1D)", "delta.shape != base_layer.weight.shape"),
        ],
    ),
    Answer(
        "delta_weight",
        "returns the merged weight",
        "with_base",
        edits=[
            (
                "return delta.T",
                "delta = delta + (base_layer.weight.T if isinstance(base_layer, Conv1D) "
                "else base_layer.weight)\n    return delta.T",
            ),
        ],
    ),
    Answer(
        "delta_weight",
        "merges in place",
        "changed_base",
        edits=[
            (
                "return delta.T if isinstance(base_layer, Conv1D) else delta",
                "base_layer.weight += delta.T if isinstance(base_layer, Conv1D) else delta\n"
                "    return base_layer.weight",
            ),
        ],
    ),
    Answer("delta_weight", "zero", "no_update", edits=[("* lora_B @", "* 0 * lora_B @")]),
    Answer(
        "delta_weight",
        "A times B",
        "raised",
        edits=[("lora_B @ lora_A", "lora_A @ lora_B")],
    ),
    Answer(
        "delta_weight",
        "elementwise layout guess",
        "other",
        edits=[
            ("lora_B @ lora_A", "lora_B.flip(0) @ lora_A"),
        ],
    ),
    # 3.3
    Answer(
        "broken_starts",
        "the first one as it was",
        "both_zero",
        edits=[
            (
                "    nn.init.kaiming_uniform_(lora_A, a=math.sqrt(5))\n    return lora_A, lora_B",
                "    nn.init.zeros_(lora_A)\n    return lora_A, lora_B",
            ),
        ],
    ),
    Answer(
        "broken_starts",
        "the second one as it was",
        "b_random",
        edits=[
            (
                "uniform_(-1, 1) / d_in**0.5)\n    lora_B = nn.Parameter(torch.zeros(d_out, r))",
                "uniform_(-1, 1) / d_in**0.5)\n    lora_B = nn.Parameter(torch.rand(d_out, r))",
            ),
        ],
    ),
    Answer(
        "broken_starts",
        "the third one as it was",
        "constant",
        edits=[
            (
                "nn.Parameter(torch.randn(r, d_in) / d_in**0.5)",
                "nn.Parameter(torch.full((r, d_in), d_in**-0.5))",
            ),
        ],
    ),
    Answer(
        "broken_starts",
        "one random row for all",
        "constant",
        edits=[
            ("torch.randn(r, d_in)", "torch.randn(1, d_in).repeat(r, 1)"),
        ],
    ),
    Answer(
        "broken_starts",
        "the fourth one as it was",
        "turned",
        edits=[
            ("    lora_A = torch.empty(r, d_in)\n", "    lora_A = torch.empty(d_in, r)\n"),
            ("return nn.Parameter(lora_A)", "return nn.Parameter(lora_A.T)"),
        ],
    ),
    Answer(
        "broken_starts",
        "standard normal A",
        "grows",
        edits=[
            ("torch.randn(r, d_in) / d_in**0.5", "torch.randn(r, d_in)"),
        ],
    ),
    Answer(
        "broken_starts",
        "divides after Parameter",
        "not_parameter",
        edits=[
            (
                "nn.Parameter(torch.randn(r, d_in) / d_in**0.5)",
                "nn.Parameter(torch.randn(r, d_in)) / d_in**0.5",
            ),
        ],
    ),
    Answer(
        "broken_starts",
        "the other factor zero",
        "factors_exchanged",
        edits=[
            (
                "    nn.init.kaiming_uniform_(lora_A, a=math.sqrt(5))\n    return lora_A, lora_B",
                "    nn.init.zeros_(lora_A), nn.init.normal_(lora_B)\n    return lora_A, lora_B",
            ),
        ],
    ),
    Answer(
        "broken_starts",
        "A for d_out",
        "shapes",
        edits=[("torch.randn(r, d_in)", "torch.randn(r, d_out)")],
    ),
    Answer(
        "broken_starts",
        "one still open",
        "unfinished",
        edits=[
            (
                "    return nn.Parameter(lora_A), nn.Parameter(torch.zeros(d_out, r))",
                '    raise NotImplementedError("Exercise 3.3 is not done yet.")',
            ),
        ],
    ),
    Answer(
        "broken_starts",
        "no return",
        "none",
        edits=[("return nn.Parameter(lora_A),", "nn.Parameter(lora_A),")],
    ),
    # 3.4
    Answer("lora_embedding", "no scale", "no_scale", edits=[("self.scaling * rows", "rows")]),
    Answer("lora_embedding", "alpha alone", "only_alpha", edits=[("lora_alpha / r", "lora_alpha")]),
    Answer(
        "lora_embedding",
        "alpha times r",
        "wrong_scale",
        edits=[("lora_alpha / r", "lora_alpha * r")],
    ),
    Answer(
        "lora_embedding",
        "base path left out",
        "base_missing",
        edits=[
            ("self.base_layer(ids) + ", ""),
        ],
    ),
    Answer(
        "lora_embedding",
        "update left out",
        "no_update",
        edits=[
            (" + self.scaling * rows @ self.lora_B.T", ""),
        ],
    ),
    Answer(
        "lora_embedding",
        "everything scaled",
        "scale_all",
        edits=[
            (
                "self.base_layer(ids) + self.scaling * rows @ self.lora_B.T",
                "self.scaling * (self.base_layer(ids) + rows @ self.lora_B.T)",
            ),
        ],
    ),
    Answer("lora_embedding", "both zero", "both_zero", edits=[("torch.randn", "torch.zeros")]),
    Answer("lora_embedding", "both random", "b_random", edits=[("torch.zeros(r", "torch.randn(r")]),
    Answer(
        "lora_embedding",
        "the linear layer's start",
        "wrong_zero",
        edits=[
            ("torch.randn(base", "torch.zeros(base"),
            ("torch.zeros(r", "torch.randn(r"),
        ],
    ),
    Answer("lora_embedding", "B of ones", "constant", edits=[("torch.randn", "torch.ones")]),
    Answer(
        "lora_embedding",
        "A as a table",
        "shapes",
        code=table(
            """
self.lora_A = nn.Embedding(n, r)
self.lora_B = nn.Parameter(torch.zeros(d, r))
""",
            "return self.base_layer(ids) + self.scaling * self.lora_A(ids) @ self.lora_B.T",
        ),
    ),
    Answer(
        "lora_embedding",
        "A and B swapped",
        "shapes",
        code=table(
            """
self.lora_A = nn.Parameter(torch.zeros(d, r))
self.lora_B = nn.Parameter(torch.randn(r, n))
""",
            "return self.base_layer(ids) + self.scaling * self.lora_B.T[ids] @ self.lora_A.T",
        ),
    ),
    Answer(
        "lora_embedding", "table not frozen", "base_trains", edits=[(".requires_grad_(False)", "")]
    ),
    Answer(
        "lora_embedding",
        "a bias of its own",
        "extra_bias",
        edits=[
            (
                "self.scaling = lora_alpha / r",
                "self.scaling = lora_alpha / r\n"
                "        self.bias = nn.Parameter(torch.zeros(base_layer.embedding_dim))",
            ),
        ],
    ),
    Answer(
        "lora_embedding",
        "plain tensors",
        "not_parameter",
        edits=[
            (
                "nn.Parameter(torch.zeros(r, base_layer.num_embeddings))",
                "torch.zeros(r, base_layer.num_embeddings)",
            ),
        ],
    ),
    Answer(
        "lora_embedding",
        "A detached",
        "factor_detached",
        edits=[("self.lora_A.T[ids]", "self.lora_A.data.T[ids]")],
    ),
    Answer(
        "lora_embedding",
        "multiplies the ids",
        "raised",
        edits=[(ROWS, "rows = ids @ self.lora_A.T")],
    ),
    Answer(
        "lora_embedding",
        "rows of A",
        "raised",
        edits=[(ROWS, "rows = self.lora_A[ids]")],
    ),
    # 3.5
    Answer(
        "grow_rank", "alpha kept", "alpha_kept", edits=[("lora_alpha * new_r / r", "lora_alpha")]
    ),
    Answer(
        "grow_rank", "alpha the other way", "alpha_wrong", edits=[("* new_r / r", "* r / new_r")]
    ),
    Answer(
        "grow_rank",
        "alpha over the root of r",
        "alpha_wrong",
        edits=[("* new_r / r", "* (new_r / r) ** 0.5")],
    ),
    Answer(
        "grow_rank",
        "new columns random",
        "adds",
        edits=[
            ("torch.zeros(lora_B.shape[0]", "torch.randn(lora_B.shape[0]"),
        ],
    ),
    Answer(
        "grow_rank",
        "padded with zeros",
        "dead",
        edits=[
            (
                "nn.init.kaiming_uniform_(torch.empty(new_r - r, d_in), a=math.sqrt(5))",
                "torch.zeros(new_r - r, d_in)",
            ),
        ],
    ),
    Answer(
        "grow_rank",
        "new rows equal",
        "copies",
        edits=[
            (
                "nn.init.kaiming_uniform_(torch.empty(new_r - r, d_in), a=math.sqrt(5))",
                "torch.full((new_r - r, d_in), 0.1)",
            ),
        ],
    ),
    Answer(
        "grow_rank",
        "old rows again",
        "copies",
        edits=[
            (
                "nn.init.kaiming_uniform_(torch.empty(new_r - r, d_in), a=math.sqrt(5))",
                "lora_A[[0] * (new_r - r)]",
            ),
        ],
    ),
    Answer(
        "grow_rank",
        "B grows by rows",
        "raised",
        edits=[(JOIN_B, "torch.cat([lora_B, columns])")],
    ),
    Answer(
        "grow_rank",
        "nothing grows",
        "shapes",
        code="""
def grow_rank(lora_A, lora_B, lora_alpha, new_r):
    return lora_A, lora_B, lora_alpha * new_r / len(lora_A)
""",
    ),
    Answer(
        "grow_rank",
        "starts anew",
        "lost",
        edits=[
            (JOIN_A, "nn.init.kaiming_uniform_(torch.empty(new_r, d_in), a=math.sqrt(5))"),
        ],
    ),
    # What a closer look found
    Answer(
        "lora_linear",
        "kaiming alone",
        "kaiming_alone",
        edits=[("lora_A, a=math.sqrt(5)", "lora_A")],
    ),
    Answer(
        "lora_linear",
        "xavier",
        "xavier",
        edits=[(A_START, "nn.init.xavier_uniform_(self.lora_A)")],
    ),
    Answer(
        "lora_linear",
        "a fixed standard deviation",
        "fixed_size",
        edits=[(A_START, "nn.init.normal_(self.lora_A, std=0.05)")],
    ),
    Answer(
        "lora_linear",
        "the width of the output",
        "by_out",
        edits=[
            (
                A_START,
                "nn.init.uniform_(self.lora_A, -1, 1)\n"
                "        self.lora_A.data /= base_layer.out_features**0.5",
            ),
        ],
    ),
    Answer(
        "lora_linear",
        "Gaussian A",
        "gaussian",
        edits=[(A_START, "nn.init.normal_(self.lora_A, std=base_layer.in_features**-0.5)")],
    ),
    Answer(
        "lora_linear",
        "Gaussian A of the right spread",
        "gaussian",
        edits=[(A_START, "nn.init.normal_(self.lora_A, std=(3 * base_layer.in_features) ** -0.5)")],
    ),
    Answer(
        "lora_linear",
        "only positive",
        "one_side",
        edits=[(A_START, "nn.init.uniform_(self.lora_A, 0, base_layer.in_features**-0.5)")],
    ),
    Answer(
        "lora_linear",
        "the argument of dropout ignored",
        "dropout_fixed",
        edits=[("nn.Dropout(lora_dropout)", "nn.Dropout()")],
    ),
    Answer(
        "lora_linear",
        "dropout keeps what it should drop",
        "dropout_keep",
        edits=[("nn.Dropout(lora_dropout)", "nn.Dropout(1 - lora_dropout)")],
    ),
    Answer(
        "lora_linear",
        "a mask without its factor",
        "no_rescale",
        code=layer(
            PLAIN,
            """
dropped = x * (torch.rand_like(x) >= self.p) if self.training else x
return self.base_layer(x) + self.scaling * (dropped @ self.lora_A.T @ self.lora_B.T)
""",
        ),
    ),
    Answer(
        "lora_linear",
        "whole numbers",
        "whole_number",
        edits=[("lora_alpha / r", "lora_alpha // r")],
    ),
    Answer(
        "lora_linear",
        "trains the base layer's numbers away",
        "other",
        edits=[
            (
                RETURN,
                "self.base_layer.weight.data += 0.1\n        " + RETURN,
            ),
        ],
    ),
    Answer(
        "delta_weight", "whole numbers", "whole_number", edits=[("lora_alpha /", "lora_alpha //")]
    ),
    Answer(
        "delta_weight", "rows of B for r", "wrong_r", edits=[("lora_A.shape[0]", "lora_B.shape[0]")]
    ),
    Answer(
        "delta_weight",
        "square layers turned",
        "square",
        edits=[
            (
                "isinstance(base_layer, Conv1D)",
                "base_layer.weight.shape[0] == base_layer.weight.shape[1] or "
                "isinstance(base_layer, Conv1D)",
            ),
        ],
    ),
    Answer(
        "delta_weight",
        "scales B in place",
        "in_place",
        edits=[
            (
                "delta = lora_alpha / lora_A.shape[0] * lora_B @ lora_A",
                "delta = lora_B.mul_(lora_alpha / lora_A.shape[0]) @ lora_A",
            ),
        ],
    ),
    Answer(
        "delta_weight",
        "rounded",
        "other",
        edits=[("    return delta.T", "    delta = delta.round(decimals=1)\n    return delta.T")],
    ),
    Answer(
        "broken_starts",
        "a fixed size in the fourth",
        "grows",
        edits=[
            (
                "    lora_A = torch.empty(r, d_in)\n"
                "    nn.init.kaiming_uniform_(lora_A, a=math.sqrt(5))\n",
                "    lora_A = torch.randn(r, d_in) * 0.05\n",
            ),
        ],
    ),
    Answer(
        "broken_starts",
        "the fourth divided by 10",
        "grows",
        edits=[
            (
                "    lora_A = torch.empty(r, d_in)\n"
                "    nn.init.kaiming_uniform_(lora_A, a=math.sqrt(5))\n",
                "    lora_A = torch.empty(d_in, r)\n"
                "    nn.init.kaiming_uniform_(lora_A, a=math.sqrt(5))\n"
                "    lora_A = lora_A.T / 10\n",
            ),
        ],
    ),
    Answer(
        "broken_starts",
        "one raises",
        "raised",
        edits=[
            (
                "    return nn.Parameter(lora_A), nn.Parameter(torch.zeros(d_out, r))",
                "    return nn.Parameter(lora_a), nn.Parameter(torch.zeros(d_out, r))",
            ),
        ],
    ),
    Answer(
        "broken_starts",
        "one returns A alone",
        "type",
        edits=[
            (
                "    return nn.Parameter(lora_A), nn.Parameter(torch.zeros(d_out, r))",
                "    return nn.Parameter(lora_A)",
            ),
        ],
    ),
    Answer(
        "lora_embedding", "B of 1e-6", "b_size", edits=[("torch.randn(", "1e-6 * torch.randn(")]
    ),
    Answer(
        "lora_embedding", "B of 0.01", "b_size", edits=[("torch.randn(", "0.01 * torch.randn(")]
    ),
    Answer("lora_embedding", "B of 100", "b_size", edits=[("torch.randn(", "100 * torch.randn(")]),
    Answer("lora_embedding", "B uniform", "b_size", edits=[("torch.randn(", "torch.rand(")]),
    Answer(
        "lora_embedding",
        "whole numbers",
        "whole_number",
        edits=[("lora_alpha / r", "lora_alpha // r")],
    ),
    Answer(
        "lora_embedding",
        "adds the update to the table",
        "other",
        edits=[
            (
                ROWS,
                ROWS + "\n        self.base_layer.weight.data += 0.001",
            ),
        ],
    ),
    Answer(
        "grow_rank",
        "new columns of 1e-3",
        "adds",
        edits=[
            (
                "torch.zeros(lora_B.shape[0], new_r - r)",
                "1e-3 * torch.randn(lora_B.shape[0], new_r - r)",
            ),
        ],
    ),
    Answer(
        "grow_rank",
        "rows of 1e-9",
        "dead",
        edits=[("    columns =", "    rows *= 1e-9\n    columns =")],
    ),
    Answer(
        "grow_rank",
        "new rows on top",
        "below",
        edits=[(JOIN_A, "torch.cat([rows, lora_A])")],
    ),
    Answer(
        "grow_rank",
        "whole numbers",
        "whole_number",
        edits=[("lora_alpha * new_r / r", "lora_alpha // r * new_r")],
    ),
    Answer(
        "grow_rank",
        "two values",
        "type",
        edits=[("return new_A, new_B, lora_alpha * new_r / r", "return new_A, new_B")],
    ),
    Answer(
        "grow_rank",
        "zeroes the old one",
        "other",
        edits=[("    return new_A", "    lora_B.zero_()\n    return new_A")],
    ),
    Answer(
        "lora_linear",
        "equal rows of A",
        "constant",
        edits=(
            (
                "nn.init.kaiming_uniform_(self.lora_A, a=math.sqrt(5))",
                "nn.init.kaiming_uniform_(self.lora_A, a=math.sqrt(5))\n"
                "        self.lora_A.data[:] = self.lora_A.data[0]",
            ),
        ),
    ),
    Answer(
        "lora_linear",
        "drops whole tokens",
        "other",
        edits=(
            ("self.lora_dropout(x) @", "(self.lora_dropout(torch.ones_like(x[..., :1])) * x) @"),
        ),
    ),
    Answer(
        "lora_linear",
        "squeezed",
        "other",
        edits=(
            (
                "return self.base_layer(x) + self.scaling * update",
                "return (self.base_layer(x) + self.scaling * update).squeeze()",
            ),
        ),
    ),
    Answer(
        "broken_starts",
        "an identity",
        "other",
        edits=(("torch.randn(r, d_in) / d_in**0.5", "torch.eye(r, d_in)"),),
    ),
    Answer(
        "lora_embedding",
        "squeezed",
        "other",
        edits=(
            (
                "return self.base_layer(ids) + self.scaling * rows @ self.lora_B.T",
                "return (self.base_layer(ids) + self.scaling * rows @ self.lora_B.T).squeeze()",
            ),
        ),
    ),
    Answer(
        "grow_rank",
        "mixes the old rows",
        "copies",
        edits=(
            (
                "nn.init.kaiming_uniform_(torch.empty(new_r - r, d_in), a=math.sqrt(5))",
                "torch.randn(new_r - r, r) @ lora_A",
            ),
        ),
    ),
]

WRONG += [
    Answer(
        "lora_linear",
        "a frozen copy of the base layer",
        "base_copied",
        edits=[
            (
                "self.base_layer = base_layer",
                "import copy; self.base_layer = copy.deepcopy(base_layer)",
            ),
            ("in base_layer.parameters()", "in self.base_layer.parameters()"),
        ],
    ),
]

RIGHT += [
    Answer(
        "lora_linear",
        "F.linear",
        edits=(
            (
                "update = self.lora_dropout(x) @ self.lora_A.T @ self.lora_B.T",
                (
                    "update = nn.functional.linear(nn.functional.linear(self.lora_dropout(x),"
                    " self.lora_A), self.lora_B)"
                ),
            ),
        ),
    ),
    Answer(
        "lora_linear",
        "einsum",
        edits=(
            (
                "update = self.lora_dropout(x) @ self.lora_A.T @ self.lora_B.T",
                (
                    "update = torch.einsum('...i,ri,or->...o', self.lora_dropout(x), self.lor"
                    "a_A, self.lora_B)"
                ),
            ),
        ),
    ),
    Answer(
        "delta_weight",
        "hasattr nx",
        edits=(("isinstance(base_layer, Conv1D)", "not hasattr(base_layer, 'in_features')"),),
    ),
    Answer(
        "delta_weight",
        "einsum numpy",
        edits=(
            (
                "delta = lora_alpha / lora_A.shape[0] * lora_B @ lora_A",
                (
                    "import numpy as np\n"
                    "    delta = torch.from_numpy(np.einsum('or,ri->oi', lora_B.detach().nump"
                    "y(), lora_A.detach().numpy()) * (lora_alpha / len(lora_A)))"
                ),
            ),
        ),
    ),
    Answer(
        "broken_starts",
        "list, dirac-like orthogonal",
        edits=(
            (
                (
                    "    lora_A = nn.Parameter(torch.empty(r, d_in))\n"
                    "    lora_B = nn.Parameter(torch.zeros(d_out, r))\n"
                    "    nn.init.kaiming_uniform_(lora_A, a=math.sqrt(5))\n"
                    "    return lora_A, lora_B"
                ),
                (
                    "    lora_A = nn.Parameter(torch.empty(r, d_in))\n"
                    "    nn.init.xavier_normal_(lora_A, gain=1)\n"
                    "    lora_A.data = torch.randn(r, d_in) / math.sqrt(d_in)\n"
                    "    return [lora_A, nn.Parameter(torch.zeros(d_out, r))]"
                ),
            ),
        ),
    ),
    Answer(
        "broken_starts",
        "nn.Linear weights",
        edits=(
            (
                (
                    "    lora_A = nn.Parameter(torch.empty(r, d_in))\n"
                    "    lora_B = nn.Parameter(torch.zeros(d_out, r))\n"
                    "    nn.init.kaiming_uniform_(lora_A, a=math.sqrt(5))\n"
                    "    return lora_A, lora_B"
                ),
                (
                    "    lora_A = nn.Linear(d_in, r, bias=False).weight\n"
                    "    return lora_A, nn.Parameter(torch.zeros(d_out, r))"
                ),
            ),
        ),
    ),
    Answer(
        "lora_embedding",
        "F.embedding",
        edits=(
            ("rows = self.lora_A.T[ids]", "rows = nn.functional.embedding(ids, self.lora_A.T)"),
        ),
    ),
    Answer(
        "lora_embedding",
        "index_select",
        edits=(
            (
                "rows = self.lora_A.T[ids]",
                ("rows = self.lora_A.index_select(1, ids.reshape(-1)).T.reshape(*ids.shape, -1)"),
            ),
        ),
    ),
    Answer(
        "grow_rank",
        "rescaled B, alpha the same",
        edits=(
            (
                "return new_A, new_B, lora_alpha * new_r / r",
                "return new_A, new_B * new_r / r, lora_alpha",
            ),
        ),
    ),
    Answer(
        "grow_rank",
        "parameters",
        edits=(
            (
                "return new_A, new_B, lora_alpha * new_r / r",
                ("return nn.Parameter(new_A), nn.Parameter(new_B), lora_alpha * new_r / r"),
            ),
        ),
    ),
]

WRONG += [
    Answer(
        "lora_linear",
        "A rand positive",
        "one_side",
        edits=(
            (
                "nn.init.kaiming_uniform_(self.lora_A, a=math.sqrt(5))",
                ("nn.init.uniform_(self.lora_A, 0, 1 / math.sqrt(base_layer.in_features))"),
            ),
        ),
    ),
    Answer(
        "lora_linear",
        "A pm 1/in",
        "no_root",
        edits=(
            (
                "nn.init.kaiming_uniform_(self.lora_A, a=math.sqrt(5))",
                (
                    "nn.init.uniform_(self.lora_A, -1 / base_layer.in_features, 1 / base_laye"
                    "r.in_features)"
                ),
            ),
        ),
    ),
    Answer(
        "lora_linear",
        "x detached for the update",
        "x_detached",
        edits=(
            (
                "update = self.lora_dropout(x) @ self.lora_A.T @ self.lora_B.T",
                ("update = self.lora_dropout(x.detach()) @ self.lora_A.T @ self.lora_B.T"),
            ),
        ),
    ),
    Answer(
        "lora_linear",
        "bias added twice",
        "bias_twice",
        edits=(
            (
                "return self.base_layer(x) + self.scaling * update",
                (
                    "return self.base_layer(x) + self.base_layer.bias + self.scaling * update"
                    " if self.base_layer.bias is not None else self.base_layer(x) + self.scal"
                    "ing * update"
                ),
            ),
        ),
    ),
    Answer(
        "lora_linear",
        "minus",
        "minus",
        edits=(
            (
                "return self.base_layer(x) + self.scaling * update",
                "return self.base_layer(x) - self.scaling * update",
            ),
        ),
    ),
    Answer(
        "lora_linear",
        "replaces W in eval",
        "only_training",
        edits=(
            (
                "return self.base_layer(x) + self.scaling * update",
                (
                    "if not self.training:\n"
                    "            return self.base_layer(x)\n"
                    "        return self.base_layer(x) + self.scaling * update"
                ),
            ),
        ),
    ),
    Answer(
        "lora_linear",
        "swapped in/out",
        "shapes",
        edits=(
            (
                "self.lora_A = nn.Parameter(torch.empty(r, base_layer.in_features))",
                "self.lora_A = nn.Parameter(torch.empty(r, base_layer.out_features))",
            ),
            (
                "self.lora_B = nn.Parameter(torch.zeros(base_layer.out_features, r))",
                "self.lora_B = nn.Parameter(torch.zeros(base_layer.in_features, r))",
            ),
        ),
    ),
    Answer(
        "lora_linear",
        "F.linear with base weight copy",
        "base_copied",
        edits=(
            (
                "self.base_layer = base_layer\n",
                ("self.base_layer = nn.Linear(base_layer.in_features, base_layer.out_features)\n"),
            ),
        ),
    ),
    Answer(
        "lora_linear",
        "deepcopy",
        "base_copied",
        edits=(
            (
                "self.base_layer = base_layer\n",
                "import copy\n        self.base_layer = copy.deepcopy(base_layer)\n",
            ),
        ),
    ),
    Answer(
        "delta_weight",
        "reshape",
        "reshaped",
        edits=(
            (
                "return delta.T if isinstance(base_layer, Conv1D) else delta",
                "return delta.reshape(base_layer.weight.shape)",
            ),
        ),
    ),
    Answer(
        "delta_weight",
        "B scaled in place",
        "in_place",
        edits=(
            (
                "delta = lora_alpha / lora_A.shape[0] * lora_B @ lora_A",
                "lora_B *= lora_alpha / lora_A.shape[0]\n    delta = lora_B @ lora_A",
            ),
        ),
    ),
    Answer(
        "delta_weight",
        "A scaled in place by data",
        "in_place",
        edits=(
            (
                "delta = lora_alpha / lora_A.shape[0] * lora_B @ lora_A",
                ("lora_A.data.mul_(lora_alpha / lora_A.shape[0])\n    delta = lora_B @ lora_A"),
            ),
        ),
    ),
    Answer(
        "broken_starts",
        "1: A randn over in",
        "shrinks",
        edits=(
            (
                (
                    "    lora_A = nn.Parameter(torch.empty(r, d_in))\n"
                    "    lora_B = nn.Parameter(torch.zeros(d_out, r))\n"
                    "    nn.init.kaiming_uniform_(lora_A, a=math.sqrt(5))\n"
                    "    return lora_A, lora_B"
                ),
                (
                    "    lora_A = nn.Parameter(torch.randn(r, d_in) / d_in)\n"
                    "    lora_B = nn.Parameter(torch.zeros(d_out, r))\n"
                    "    return lora_A, lora_B"
                ),
            ),
        ),
    ),
    Answer(
        "broken_starts",
        "1: A rand (positive)",
        "one_side",
        edits=(
            (
                (
                    "    lora_A = nn.Parameter(torch.empty(r, d_in))\n"
                    "    lora_B = nn.Parameter(torch.zeros(d_out, r))\n"
                    "    nn.init.kaiming_uniform_(lora_A, a=math.sqrt(5))\n"
                    "    return lora_A, lora_B"
                ),
                (
                    "    lora_A = nn.Parameter(torch.rand(r, d_in) / d_in**0.5)\n"
                    "    lora_B = nn.Parameter(torch.zeros(d_out, r))\n"
                    "    return lora_A, lora_B"
                ),
            ),
        ),
    ),
    Answer(
        "broken_starts",
        "1: kaiming default a",
        "kaiming_alone",
        edits=(
            (
                (
                    "    lora_A = nn.Parameter(torch.empty(r, d_in))\n"
                    "    lora_B = nn.Parameter(torch.zeros(d_out, r))\n"
                    "    nn.init.kaiming_uniform_(lora_A, a=math.sqrt(5))\n"
                    "    return lora_A, lora_B"
                ),
                (
                    "    lora_A = nn.Parameter(torch.empty(r, d_in))\n"
                    "    lora_B = nn.Parameter(torch.zeros(d_out, r))\n"
                    "    nn.init.kaiming_uniform_(lora_A)\n"
                    "    return lora_A, lora_B"
                ),
            ),
        ),
    ),
    Answer(
        "broken_starts",
        "4: divided by width",
        "shrinks",
        edits=(
            (
                (
                    "    lora_A = torch.empty(r, d_in)\n"
                    "    nn.init.kaiming_uniform_(lora_A, a=math.sqrt(5))\n"
                    "    return nn.Parameter(lora_A), nn.Parameter(torch.zeros(d_out, r))"
                ),
                (
                    "    lora_A = torch.empty(d_in, r)\n"
                    "    nn.init.kaiming_uniform_(lora_A, a=math.sqrt(5))\n"
                    "    return nn.Parameter(lora_A.T / d_in), nn.Parameter(torch.zeros(d_out"
                    ", r))"
                ),
            ),
        ),
    ),
    Answer(
        "lora_embedding",
        "rows of A first axis",
        "reshaped",
        edits=(
            ("rows = self.lora_A.T[ids]", "rows = self.lora_A[:, ids].reshape(*ids.shape, -1)"),
        ),
    ),
    Answer(
        "lora_embedding",
        "frozen copy",
        "base_copied",
        edits=(
            (
                "base_layer.requires_grad_(False)",
                "nn.Embedding.from_pretrained(base_layer.weight.data.clone())",
            ),
        ),
    ),
    Answer(
        "grow_rank",
        "alpha to new_r",
        "alpha_rule",
        edits=(("return new_A, new_B, lora_alpha * new_r / r", "return new_A, new_B, new_r"),),
    ),
    Answer(
        "grow_rank",
        "alpha 2 new_r",
        "alpha_rule",
        edits=(("return new_A, new_B, lora_alpha * new_r / r", "return new_A, new_B, 2 * new_r"),),
    ),
    Answer(
        "grow_rank",
        "alpha plus",
        "alpha_wrong",
        edits=(
            (
                "return new_A, new_B, lora_alpha * new_r / r",
                "return new_A, new_B, lora_alpha + new_r - r",
            ),
        ),
    ),
    Answer(
        "grow_rank",
        "alpha is scale",
        "scale_itself",
        edits=(
            ("return new_A, new_B, lora_alpha * new_r / r", "return new_A, new_B, lora_alpha / r"),
        ),
    ),
    Answer(
        "delta_weight",
        "subtracted",
        "minus",
        edits=(
            (
                "return delta.T if isinstance(base_layer, Conv1D) else delta",
                ("delta = -delta\n    return delta.T if isinstance(base_layer, Conv1D) else delta"),
            ),
        ),
    ),
    Answer(
        "lora_embedding",
        "subtracted",
        "minus",
        edits=(
            (
                "return self.base_layer(ids) + self.scaling * rows @ self.lora_B.T",
                "return self.base_layer(ids) - self.scaling * rows @ self.lora_B.T",
            ),
        ),
    ),
]
