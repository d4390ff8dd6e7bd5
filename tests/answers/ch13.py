"""Right and wrong answers to the exercises of chapter 13."""

from tests.answers import Answer

INIT = "nn.init.normal_(layer.weight, std=1e-3)"
ZEROS = "            nn.init.zeros_(layer.bias)\n"
OUT = "return y + self.up(torch.relu(self.down(y)))"
LAYERS = "self.down, self.up = nn.Linear(d, m), nn.Linear(m, d)"
VECTORS = "torch.cat([prompt.expand(B, -1, -1), embeds], dim=1)"
MASK = "torch.cat([attention_mask.new_ones(B, p), attention_mask], dim=1)"
LABELS = "torch.cat([labels.new_full((B, p), -100), labels], dim=1)"
PLACES = "(mask.cumsum(1) - 1).clamp(min=0)"
ALONG = "torch.arange(mask.shape[1]).expand(B, -1)"
TRIANGLE = "torch.ones(T, p + T, dtype=torch.bool, device=q.device).tril(p)"
KEYS = "torch.cat([prefix_k.expand(B, -1, -1, -1), k], dim=2)"
VALUES = "torch.cat([prefix_v.expand(B, -1, -1, -1), v], dim=2)"
SOFTMAX = "return scores.masked_fill(~seen, -math.inf).softmax(-1) @ values"
SCALED_OUT = "return nn.functional.linear(x, weight, bias) * scale"
SCALED_IN = "return nn.functional.linear(x * scale, weight, bias)"
FOLD_OUT = "return weight * scale[:, None], None if bias is None else bias * scale"
FOLD_IN = "return weight * scale, bias"
LORA = "blocks * sum(n * (i + o) for i, o in layers)"
BOTTLENECK = "blocks * 2 * (2 * n * d + n + d)"
PREFIX = "n * blocks * 2 * kv"
IA3 = "blocks * (2 * kv + ff)"


def edit(exercise, note, mistake, *edits):
    return Answer(exercise, note, mistake, edits=edits)


RIGHT = [
    edit(
        "bottleneck",
        "up at zero, down as it comes",
        "",
        (INIT, "pass"),
        ("        for layer in", "        nn.init.zeros_(self.up.weight)\n        for layer in"),
    ),
    Answer(
        "bottleneck",
        "in plain products, wider start",
        "",
        code="""
class Bottleneck(nn.Module):
    def __init__(self, base_layer, m):
        super().__init__()
        for p in base_layer.parameters():
            p.requires_grad = False
        self.base_layer = base_layer
        d = len(base_layer.weight)
        self.up = nn.Linear(m, d)
        self.down = nn.Linear(d, m)
        with torch.no_grad():
            self.down.weight.normal_(0, 0.01)
            self.up.weight.uniform_(-0.001, 0.001)
            self.down.bias.fill_(0)
            self.up.bias *= 0

    def forward(self, x):
        y = self.base_layer(x)
        h = (y @ self.down.weight.T + self.down.bias).clamp(min=0)
        return h @ self.up.weight.T + self.up.bias + y
""",
    ),
    edit("prepend", "positions without clamp", "", (PLACES, "mask.cumsum(1) - 1")),
    Answer(
        "prepend",
        "row by row, from torch.arange",
        "",
        code="""
def prepend(prompt, embeds, attention_mask, labels):
    p, rows = prompt.shape[0], []
    for e, m, l in zip(embeds, attention_mask, labels):
        place = torch.zeros(p + len(m), dtype=torch.long)
        place[:p] = torch.arange(p)
        real = torch.nonzero(m)[:, 0] + p
        place[real] = torch.arange(p, p + len(real))
        longer = torch.cat([torch.ones(p, dtype=m.dtype), m])
        asked = torch.nn.functional.pad(l, (p, 0), value=-100)
        rows.append((torch.cat([prompt, e]), longer, asked, place))
    return [torch.stack(part) for part in zip(*rows)]
""",
    ),
    Answer(
        "attend",
        "with scaled_dot_product_attention",
        "",
        code="""
def attend(q, k, v, prefix_k, prefix_v):
    B, H, T, h = q.shape
    G, p, _ = prefix_k.shape
    keys = torch.cat([prefix_k[None].repeat(B, 1, 1, 1), k], -2)
    values = torch.cat([prefix_v[None].repeat(B, 1, 1, 1), v], -2)
    bias = torch.full((T, T), float("-inf")).triu(1)
    bias = torch.cat([torch.zeros(T, p), bias], 1)
    return nn.functional.scaled_dot_product_attention(q, keys, values, bias, enable_gqa=True)
""",
    ),
    Answer(
        "attend",
        "grouped by einsum",
        "",
        code="""
def attend(q, k, v, prefix_k, prefix_v):
    B, H, T, h = q.shape
    G, p, _ = prefix_k.shape
    q = q.reshape(B, G, H // G, T, h)
    old = torch.einsum("bgnth,gph->bgntp", q, prefix_k)
    new = torch.einsum("bgnth,bgsh->bgnts", q, k)
    new = new.masked_fill(torch.ones(T, T).triu(1) == 1, -1e9)
    shares = torch.softmax(torch.cat([old, new], -1) / h**0.5, -1)
    out = torch.einsum("bgntp,gph->bgnth", shares[..., :p], prefix_v)
    out = out + torch.einsum("bgnts,bgsh->bgnth", shares[..., p:], v)
    return out.reshape(B, H, T, h)
""",
    ),
    Answer(
        "ia3",
        "by diagonal matrices",
        "",
        code="""
def scaled(x, weight, bias, scale, feedforward):
    weight, bias = fold(weight, bias, scale, feedforward)
    out = torch.einsum("oi,...i->...o", weight, x)
    return out if bias is None else out + bias


def fold(weight, bias, scale, feedforward):
    D = torch.diag(scale)
    if feedforward:
        return weight @ D, bias
    return D @ weight, bias if bias is None else D @ bias
""",
    ),
    Answer(
        "ia3",
        "a list of two, a copy of the bias",
        "",
        code="""
def scaled(x, weight, bias, scale, feedforward):
    y = (scale * x if feedforward else x) @ weight.T
    y = y if bias is None else y + bias
    return y if feedforward else scale * y


def fold(weight, bias, scale, feedforward):
    bias = None if bias is None else bias.clone()
    if not feedforward:
        return [(weight.T * scale).T, None if bias is None else scale * bias]
    return [torch.mul(weight, scale.unsqueeze(0)), bias]
""",
    ),
    Answer(
        "count",
        "tensor by tensor",
        "",
        code="""
def count(method, n, blocks, d, q, kv, ff):
    shapes = {
        "lora": [(n, d), (q, n)] + 2 * [(n, d), (kv, n)] + [(n, q), (d, n)]
        + 2 * [(n, d), (ff, n)] + [(n, ff), (d, n)],
        "bottleneck": 2 * [(n, d), (n, 1), (d, n), (d, 1)],
        "prefix": [(n, kv), (n, kv)],
        "ia3": [(kv, 1), (kv, 1), (1, ff)],
    }
    if method == "prompt":
        return d * n
    if method not in shapes:
        raise ValueError("what is " + method)
    return blocks * sum(a * b for a, b in shapes[method])
""",
    ),
    edit("count", "as a tensor", "", ("return n * d", "return torch.tensor(n) * d")),
    Answer(
        "bottleneck",
        "clamp, up of zeros",
        "",
        code="""
class Bottleneck(nn.Module):
    def __init__(self, base_layer, m):
        super().__init__()
        for p in base_layer.parameters():
            p.requires_grad = False
        self.base_layer = base_layer
        d = base_layer.weight.shape[0]
        self.down, self.up = nn.Linear(d, m), nn.Linear(m, d)
        nn.init.zeros_(self.up.weight)
        for part in (self.up, self.down):
            part.bias.data.zero_()

    def forward(self, x):
        out = self.base_layer(x)
        hidden = self.down(out).clamp(min=0)
        return torch.add(out, self.up(hidden))
""",
    ),
    Answer(
        "prepend",
        "fills empty tensors",
        "",
        code="""
def prepend(prompt, embeds, attention_mask, labels):
    (B, T, d), p = embeds.shape, prompt.shape[0]
    vectors = torch.stack([torch.vstack([prompt, row]) for row in embeds])
    mask = torch.ones(B, p + T, dtype=attention_mask.dtype)
    mask[:, p:] = attention_mask
    asked = torch.full((B, p + T), -100)
    asked[:, p:] = labels
    places = torch.zeros(B, p + T, dtype=torch.long)
    for b in range(B):
        places[b, mask[b] == 1] = torch.arange(int(mask[b].sum()))
    return vectors, mask, asked, places
""",
    ),
    Answer(
        "attend",
        "row by row, head by head",
        "",
        code="""
def attend(q, k, v, prefix_k, prefix_v):
    B, H, T, h = q.shape
    G, p, _ = prefix_k.shape
    rows = []
    for b in range(B):
        heads = []
        for n in range(H):
            g = n * G // H
            out = []
            for t in range(T):
                keys = torch.cat([prefix_k[g], k[b, g, : t + 1]])
                share = torch.softmax(keys @ q[b, n, t] / h**0.5, 0)
                out.append(share @ torch.cat([prefix_v[g], v[b, g, : t + 1]]))
            heads.append(torch.stack(out))
        rows.append(torch.stack(heads))
    return torch.stack(rows)
""",
    ),
    Answer(
        "attend",
        "the library with a mask",
        "",
        code="""
def attend(q, k, v, prefix_k, prefix_v):
    B, _, T, _ = q.shape
    p = prefix_k.shape[-2]
    keys = torch.cat([prefix_k[None].repeat(B, 1, 1, 1), k], -2)
    values = torch.cat([prefix_v[None].repeat(B, 1, 1, 1), v], -2)
    place = torch.arange(p + T)[None] - p
    mask = place <= torch.arange(T)[:, None]
    return nn.functional.scaled_dot_product_attention(q, keys, values, mask, enable_gqa=True)
""",
    ),
    Answer(
        "ia3",
        "diagonal matrices",
        "",
        code="""
def scaled(x, weight, bias, scale, feedforward):
    w, b = fold(weight, bias, scale, feedforward)
    return x @ w.T if b is None else x @ w.T + b


def fold(weight, bias, scale, feedforward):
    s = torch.diag(scale)
    if feedforward:
        return weight @ s, bias
    return s @ weight, bias if bias is None else s @ bias
""",
    ),
    Answer(
        "count",
        "shapes listed",
        "",
        code="""
def count(method, n, blocks, d, q, kv, ff):
    pair = lambda i, o: n * i + n * o
    one = {
        "lora": pair(d, q) + 2 * pair(d, kv) + pair(q, d) + 3 * pair(d, ff),
        "bottleneck": 2 * (pair(d, d) + n + d),
        "prefix": n * kv + n * kv,
        "ia3": kv + kv + ff,
    }
    if method == "prompt":
        return n * d
    if method not in one:
        raise ValueError("unknown method " + method)
    return blocks * one[method]
""",
    ),
]

WRONG = [
    edit("bottleneck", "no skip", "no_skip", (OUT, OUT.replace("y + ", "", 1))),
    edit("bottleneck", "no ReLU", "no_relu",
         (OUT, "return y + self.up(self.down(y))")),
    edit("bottleneck", "ReLU after up", "relu_late",
         (OUT, "return y + torch.relu(self.up(self.down(y)))")),
    edit("bottleneck", "ReLU around all", "relu_late",
         (OUT, "return torch.relu(y + self.up(torch.relu(self.down(y))))")),
    edit("bottleneck", "ReLU before down", "relu_late",
         (OUT, "return y + self.up(self.down(torch.relu(y)))")),
    edit("bottleneck", "ReLU twice", "relu_late",
         (OUT, "return y + torch.relu(self.up(torch.relu(self.down(y))))")),
    edit("bottleneck", "returns y", "unused", (OUT, "return y")),
    edit("bottleneck", "GELU", "gelu", ("torch.relu(", "nn.functional.gelu(")),
    edit("bottleneck", "base trains", "base_trains", (".requires_grad_(False)", "")),
    edit("bottleneck", "default start", "default_start", (INIT, "pass")),
    edit("bottleneck", "starts with std 1", "default_start", ("std=1e-3", "std=1.0")),
    edit("bottleneck", "both zero", "dead", (INIT, "nn.init.zeros_(layer.weight)")),
    edit("bottleneck", "down zero", "dead",
         (INIT, "pass"), ("        for layer in", "        nn.init.zeros_(self.down.weight)\n"
                          "        for layer in")),
    edit("bottleneck", "random biases", "biases_left", (ZEROS, "")),
    edit("bottleneck", "down and up swapped", "swapped",
         (LAYERS, "self.down, self.up = nn.Linear(m, d), nn.Linear(d, m)")),
    edit("bottleneck", "in instead of out", "wrong_width", ("out_features", "in_features")),
    edit("bottleneck", "no biases", "no_bias",
         (LAYERS, "self.down, self.up = nn.Linear(d, m, False), nn.Linear(m, d, False)"),
         (ZEROS, "")),
    edit("bottleneck", "a copy of the base", "not_kept",
         ("self.base_layer = base_layer", "import copy\n        "
          "self.base_layer = copy.deepcopy(base_layer)"), (".requires_grad_(False)", "")),
    edit("bottleneck", "adapter frozen too", "adapter_frozen",
         (OUT, OUT), (ZEROS, ZEROS + "        self.requires_grad_(False)\n")),
    edit("bottleneck", "skip from half of y", "skip_twice", (OUT, OUT.replace("y +", "0.5 * y +"))),
    edit("prepend", "prompt at the end", "at_the_end",
         (VECTORS, "torch.cat([embeds, prompt.expand(B, -1, -1)], dim=1)")),
    edit("prepend", "mask of zeros", "mask_zeros", ("new_ones(B, p)", "new_zeros(B, p)")),
    edit("prepend", "short mask", "mask_short", (MASK, "attention_mask")),
    edit("prepend", "mask all ones", "mask_ones",
         (MASK, "attention_mask.new_ones(B, p + attention_mask.shape[1])")),
    edit("prepend", "mask behind", "mask_behind",
         (MASK, "torch.cat([attention_mask, attention_mask.new_ones(B, p)], dim=1)")),
    edit("prepend", "short labels", "labels_short", (LABELS, "labels")),
    edit("prepend", "zeros as labels", "labels_zero", ("(B, p), -100", "(B, p), 0")),
    edit("prepend", "minus one as label", "labels_zero", ("(B, p), -100", "(B, p), -1")),
    edit("prepend", "labels behind", "labels_behind",
         (LABELS, "torch.cat([labels, labels.new_full((B, p), -100)], dim=1)")),
    edit("prepend", "arange", "padding_counts", (PLACES, ALONG)),
    edit("prepend", "cumsum without minus one", "from_one", (PLACES, "mask.cumsum(1)")),
    edit("prepend", "text starts at 0", "restart",
         (PLACES, "torch.cat([torch.arange(p).expand(B, -1), "
          "(attention_mask.cumsum(1) - 1).clamp(min=0)], 1)")),
    edit("prepend", "text starts at 0, pads count", "restart",
         (PLACES, "torch.cat([torch.arange(p).expand(B, -1), "
          "torch.arange(embeds.shape[1]).expand(B, -1)], 1)")),
    edit("prepend", "float mask", "floats", (MASK, MASK + ".float()")),
    edit("prepend", "labels of another type", "floats",
         ("labels.new_full", "prompt.new_full")),
    edit("prepend", "float positions", "other", (PLACES, PLACES + ".float()")),
    edit("prepend", "writes into the labels", "in_place",
         ("    asked =", "    labels[attention_mask == 0] = 7\n    asked =")),
    edit("prepend", "one row of the prompt", "prompt_rows",
         ("prompt.expand(B, -1, -1)", "prompt[:1].expand(p, -1).expand(B, -1, -1)")),
    edit("prepend", "no gradient to the prompt", "cut", ("prompt.expand", "prompt.data.expand")),
    edit("prepend", "three values", "type",
         (f"asked, {PLACES}", "asked")),
    edit("attend", "no mask", "sees_the_future", (".tril(p)", "")),
    edit("attend", "tril without p", "shifted", ("tril(p)", "tril()")),
    edit("attend", "not itself", "blind_to_itself", ("tril(p)", "tril(p - 1)")),
    edit("attend", "without the prefix", "no_prefix",
         (KEYS, "k"), (VALUES, "v"), ("p = prefix_k.shape[1]", "p = 0")),
    edit("attend", "values of zeros", "keys_only",
         (VALUES, VALUES.replace("prefix_v.", "torch.zeros_like(prefix_v)."))),
    edit("attend", "repeat", "tiled",
         ("keys.repeat_interleave(H // len(prefix_k), dim=1)",
          "keys.repeat(1, H // len(prefix_k), 1, 1)"),
         ("values.repeat_interleave(H // len(prefix_k), dim=1)",
          "values.repeat(1, H // len(prefix_k), 1, 1)")),
    edit("attend", "no scale", "no_scale", (" / math.sqrt(h)", "")),
    edit("attend", "divided by h", "wrong_scale", ("math.sqrt(h)", "h")),
    edit("attend", "whole width", "wrong_scale", ("math.sqrt(h)", "math.sqrt(H * h)")),
    edit("attend", "multiplied", "wrong_scale", ("/ math.sqrt(h)", "* math.sqrt(h)")),
    edit("attend", "score 0", "zero_scores", ("-math.inf", "0.0")),
    edit("attend", "masked late", "masked_late",
         (SOFTMAX, "return scores.softmax(-1).masked_fill(~seen, 0.0) @ values")),
    edit("attend", "softmax over tokens", "axis",
         (SOFTMAX, "return scores.masked_fill(~seen, -1e9).softmax(-2) @ values")),
    edit("attend", "prefix behind", "behind",
         (KEYS, "torch.cat([k, prefix_k.expand(B, -1, -1, -1)], dim=2)"),
         (VALUES, "torch.cat([v, prefix_v.expand(B, -1, -1, -1)], dim=2)")),
    edit("attend", "in place on v", "in_place",
         ("    values = torch.cat", "    v.mul_(1.0 + 1e-7)\n    v += 0.5\n"
          "    values = torch.cat")),
    edit("attend", "tokens on the second axis", "flat",
         (SOFTMAX, "return (" + SOFTMAX[7:] + ").transpose(1, 2)")),
    edit("attend", "no gradient to the prefix", "cut",
         ("prefix_k.expand", "prefix_k.data.expand")),
    edit("ia3", "bias after the scale", "bias_after",
         (SCALED_OUT, "y = nn.functional.linear(x, weight) * scale\n"
          "    return y if bias is None else y + bias")),
    edit("ia3", "one plus scale", "plus_one",
         ("    if feedforward:\n        return nn", "    scale = 1 + scale\n    if feedforward:\n"
          "        return nn")),
    edit("ia3", "one plus scale in the merge", "plus_one",
         ("    if feedforward:\n        return weight", "    scale = 1 + scale\n"
          "    if feedforward:\n        return weight")),
    edit("ia3", "bias not merged", "bias_left", (FOLD_OUT, "return weight * scale[:, None], bias")),
    edit("ia3", "rows or columns by shape", "by_shape",
         ("    if feedforward:\n        return weight", "    if len(scale) != len(weight):\n"
          "        return weight")),
    edit("ia3", "side by shape in scaled", "by_shape",
         ("    if feedforward:\n        return nn", "    if len(scale) != len(weight):\n"
          "        return nn")),
    edit("ia3", "bias by shape", "by_shape",
         (FOLD_IN, "fits = bias is not None and len(bias) == len(scale)\n"
          "        return weight * scale, bias * scale if fits else bias")),
    edit("ia3", "in place", "in_place",
         (FOLD_OUT, "weight *= scale[:, None]\n"
          "    return weight, None if bias is None else bias * scale")),
    edit("ia3", "in place, bias", "in_place",
         (FOLD_OUT, "return weight * scale[:, None], None if bias is None else bias.mul_(scale)")),
    edit("ia3", "zeros where there was no bias", "bias_made",
         (FOLD_IN, "return weight * scale, torch.zeros(len(weight)) if bias is None else bias")),
    edit("ia3", "never scales", "not_scaled", (FOLD_OUT, "return weight, bias")),
    edit("ia3", "scaled twice", "scaled_twice", (SCALED_OUT, SCALED_OUT + " * scale")),
    edit("ia3", "always the output", "outputs_alone",
         ("    if feedforward:\n        return nn", "    if False:\n        return nn")),
    edit("ia3", "one value", "type", (FOLD_IN, "return weight * scale")),
    edit("count", "in times out", "product", ("n * (i + o)", "n * i * o")),
    edit("count", "the whole weight", "product", ("n * (i + o)", "i * o")),
    edit("count", "no rank", "rank", ("n * (i + o)", "(i + o)")),
    edit("count", "q and v", "some_layers", ("for i, o in layers)", "for i, o in layers[:3:2])")),
    edit("count", "attention only", "some_layers",
         ("for i, o in layers)", "for i, o in layers[:4])")),
    edit("count", "q is d", "q_is_not_d", ("(d, q)", "(d, d)"), ("(q, d)", "(d, d)")),
    edit("count", "all of attention is d", "q_is_not_d",
         ("(d, q), (d, kv), (d, kv), (q, d)", "(d, d), (d, d), (d, d), (d, d)")),
    edit("count", "lora in one block", "one_block", (LORA, LORA.replace("blocks * ", ""))),
    edit("count", "one block of bottlenecks", "one_block",
         (BOTTLENECK, BOTTLENECK.replace("blocks * ", ""))),
    edit("count", "one layer of prefix", "one_block", (PREFIX, "n * 2 * kv")),
    edit("count", "ia3 in one block", "one_block", (IA3, "2 * kv + ff")),
    edit("count", "no biases", "biases", ("+ n + d)", ")")),
    edit("count", "bias below only", "biases", ("+ n + d)", "+ n)")),
    edit("count", "one adapter", "one_adapter",
         (BOTTLENECK, BOTTLENECK.replace("* 2 * (", "* ("))),
    edit("count", "one matrix", "one_matrix", ("(2 * n * d + n + d)", "(n * d + n + d)")),
    edit("count", "behind up", "wrong_side",
         (BOTTLENECK, "blocks * (2 * n * d + n + d + 2 * n * ff + n + ff)")),
    edit("count", "before its layer", "wrong_side",
         (BOTTLENECK, "blocks * (2 * n * q + n + q + 2 * n * ff + n + ff)")),
    edit("count", "prompt in every layer", "prompt_layers",
         ("return n * d", "return n * d * blocks")),
    edit("count", "prompt of n", "prompt_width", ("return n * d", "return n")),
    edit("count", "keys only", "keys_only", (PREFIX, "n * blocks * kv")),
    edit("count", "prefix of query heads", "query_heads", (PREFIX, "n * blocks * 2 * q")),
    edit("count", "prefix of d", "query_heads", (PREFIX, "n * blocks * 2 * d")),
    edit("count", "ia3 of d", "query_heads", (IA3, "blocks * (2 * d + ff)")),
    edit("count", "prefix as prompt", "prefix_is_prompt", (PREFIX, "n * d")),
    edit("count", "output of down", "down_output", (IA3, "blocks * (2 * kv + d)")),
    edit("count", "only k", "ia3_part", (IA3, "blocks * (kv + ff)")),
    edit("count", "no mlp", "ia3_part", (IA3, "blocks * 2 * kv")),
    edit("count", "ia3 times n", "ia3_n", (IA3, "n * blocks * (2 * kv + ff)")),
    edit("count", "no error", "silent",
         ("    raise ValueError", "    return 0\n    raise ValueError")),
    edit("count", "a KeyError", "silent", ("raise ValueError", "raise KeyError")),
    edit("count", "an error without the name", "silent", ('f"{method!r} is none', '"it is none')),
]  # fmt: skip

RIGHT += [
    Answer(
        "bottleneck",
        "zero up",
        "",
        edits=(
            (("            nn.init.normal_(layer.weight, std=1e-3)\n"), ""),
            (
                "nn.init.zeros_(layer.bias)",
                ("nn.init.zeros_(layer.bias)\n        nn.init.zeros_(self.up.weight)"),
            ),
        ),
    ),
    Answer(
        "bottleneck",
        "functional, clamp",
        "",
        edits=(
            (
                "torch.relu(self.down(y))",
                "nn.functional.linear(y, self.down.weight, self.down.bias).clamp_min(0)",
            ),
        ),
    ),
    Answer(
        "bottleneck",
        "in place relu, addcmul",
        "",
        edits=(
            (
                "return y + self.up(torch.relu(self.down(y)))",
                ("h = self.down(y).relu_()\n        return torch.add(self.up(h), y)"),
            ),
        ),
    ),
    Answer(
        "prepend",
        "pad with F.pad; positions -1 at padding",
        "",
        edits=(
            (
                "mask = torch.cat([attention_mask.new_ones(B, p), attention_mask], dim=1)",
                "mask = nn.functional.pad(attention_mask, (p, 0), value=1)",
            ),
            (
                "asked = torch.cat([labels.new_full((B, p), -100), labels], dim=1)",
                "asked = nn.functional.pad(labels, (p, 0), value=-100)",
            ),
        ),
    ),
    Answer(
        "prepend",
        "list of results, row by row",
        "",
        code="""
def prepend(prompt, embeds, attention_mask, labels):
    p = prompt.size(0)
    out = [[], [], [], []]
    for e, m, l in zip(embeds, attention_mask, labels):
        out[0].append(torch.vstack([prompt, e]))
        out[1].append(torch.hstack([torch.ones(p, dtype=torch.long), m]))
        out[2].append(torch.hstack([torch.tensor([-100] * p), l]))
        start = int(m.argmax())
        where = torch.arange(len(m)) - start + p
        where[m == 0] = 1
        out[3].append(torch.hstack([torch.arange(p), where]))
    return [torch.stack(o) for o in out]
""",
    ),
    Answer(
        "prepend",
        "repeat and masked_fill",
        "",
        edits=(
            ("prompt.expand(B, -1, -1)", "prompt.unsqueeze(0).repeat(B, 1, 1)"),
            ("(mask.cumsum(1) - 1).clamp(min=0)", "(mask.cumsum(1) - 1).masked_fill(mask == 0, 0)"),
        ),
    ),
    Answer(
        "attend",
        "sdpa with mask",
        "",
        code="""
def attend(q, k, v, prefix_k, prefix_v):
    B, T, p = q.shape[0], q.shape[2], prefix_k.shape[1]
    K = torch.cat([prefix_k[None].repeat(B, 1, 1, 1), k], -2)
    V = torch.cat([prefix_v[None].repeat(B, 1, 1, 1), v], -2)
    mask = torch.ones(T, p + T, dtype=torch.bool).tril(diagonal=p)
    return nn.functional.scaled_dot_product_attention(q, K, V, attn_mask=mask, enable_gqa=True)
""",
    ),
    Answer(
        "attend",
        "einsum with groups",
        "",
        code="""
def attend(q, k, v, prefix_k, prefix_v):
    B, H, T, h = q.shape
    G, p, _ = prefix_k.shape
    Q = q.reshape(B, G, H // G, T, h)
    a = torch.einsum("bgnth,gph->bgntp", Q, prefix_k)
    b = torch.einsum("bgnth,bgsh->bgnts", Q, k)
    b = b + torch.full((T, T), float("-inf")).triu(1)
    w = torch.cat([a, b], -1).mul(h**-0.5).softmax(-1)
    o = torch.einsum("bgntp,gph->bgnth", w[..., :p], prefix_v) + w[..., p:] @ v[:, :, None]
    return o.reshape(B, H, T, h)
""",
    ),
    Answer(
        "attend",
        "loop over heads and tokens",
        "",
        code="""
def attend(q, k, v, prefix_k, prefix_v):
    B, H, T, h = q.shape
    per = H // k.size(1)
    heads = []
    for n in range(H):
        g = n // per
        rows = []
        for t in range(T):
            K = torch.cat([prefix_k[g].expand(B, -1, -1), k[:, g, : t + 1]], 1)
            V = torch.cat([prefix_v[g].expand(B, -1, -1), v[:, g, : t + 1]], 1)
            s = torch.bmm(K, q[:, n, t, :, None])[..., 0] / h**0.5
            rows.append((s.softmax(1)[..., None] * V).sum(1))
        heads.append(torch.stack(rows, 1))
    return torch.stack(heads, 1)
""",
    ),
    Answer(
        "ia3",
        "diag and einsum",
        "",
        code="""
def scaled(x, weight, bias, scale, feedforward):
    y = torch.einsum("...i,oi->...o", x.mul(scale) if feedforward else x, weight)
    if bias is not None:
        y = y + bias
    return y if feedforward else torch.mul(y, scale)


def fold(weight, bias, scale, feedforward):
    if feedforward:
        return [weight @ torch.diag(scale), bias]
    return [torch.diag(scale) @ weight, bias if bias is None else scale * bias]
""",
    ),
    Answer(
        "ia3",
        "fold from scaled",
        "",
        code="""
def fold(weight, bias, scale, feedforward):
    w = weight.T.mul(scale[:, None]).T if feedforward else weight.T.mul(scale).T
    return w.clone(), None if bias is None else bias.clone() * (1 if feedforward else scale)


def scaled(x, weight, bias, scale, feedforward):
    w, b = fold(weight, bias, scale, feedforward)
    return nn.functional.linear(x, w, b)
""",
    ),
    Answer(
        "ia3",
        "numpy numbers in fold",
        "",
        edits=(
            (
                ("    if feedforward:\n        return weight * scale, bias"),
                (
                    "    if feedforward:\n"
                    "        return (weight.double() * scale.double()).to(weight.dtype), bias"
                ),
            ),
        ),
    ),
    Answer("count", "float", "", edits=(("return n * d", "return n * d / 1"),)),
    Answer(
        "count",
        "match",
        "",
        code="""
def count(method, n, blocks, d, q, kv, ff):
    match method:
        case "lora":
            per = n * (d + q) + 2 * n * (d + kv) + n * (q + d) + 3 * n * (d + ff)
        case "bottleneck":
            per = 2 * (n * d + n + d * n + d)
        case "prompt":
            return d * n
        case "prefix":
            per = 2 * n * kv
        case "ia3":
            per = kv + kv + ff
        case _:
            raise ValueError("unknown method: " + method)
    return per * blocks
""",
    ),
    Answer(
        "count",
        "numpy table, builds nn.Linear sizes",
        "",
        code="""
import numpy as np


def count(method, n, blocks, d, q, kv, ff):
    table = {
        "lora": lambda: (
            np.int64(blocks) * n * np.sum([d, q, d, kv, d, kv, q, d, d, ff, d, ff, ff, d])
        ),
        "bottleneck": lambda: (
            blocks
            * 2
            * sum(p.numel() for l in (nn.Linear(d, n), nn.Linear(n, d)) for p in l.parameters())
        ),
        "prompt": lambda: torch.zeros(n, d).numel(),
        "prefix": lambda: torch.tensor(blocks * 2 * n * kv),
        "ia3": lambda: float(blocks * (kv * 2 + ff)),
    }
    if method not in table:
        raise ValueError(method)
    return table[method]()
""",
    ),
]

WRONG += [
    Answer(
        "bottleneck",
        "reads x",
        "wrong_width",
        edits=(
            ("self.down(y)", "self.down(x)"),
            (
                "nn.Linear(d, m), nn.Linear(m, d)",
                "nn.Linear(base_layer.in_features, m), nn.Linear(m, d)",
            ),
        ),
    ),
    Answer(
        "bottleneck",
        "default init",
        "biases_left",
        edits=(
            (
                (
                    "        for layer in (self.down, self.up):\n"
                    "            nn.init.normal_(layer.weight, std=1e-3)\n"
                    "            nn.init.zeros_(layer.bias)\n"
                ),
                "",
            ),
        ),
    ),
    Answer(
        "bottleneck",
        "copy of base",
        "not_kept",
        edits=(
            (
                "base_layer.requires_grad_(False)",
                "__import__('copy').deepcopy(base_layer).requires_grad_(False)",
            ),
        ),
    ),
    Answer(
        "bottleneck",
        "no_grad base",
        "cut",
        edits=(
            (
                "y = self.base_layer(x)",
                ("with torch.no_grad():\n            y = self.base_layer(x)"),
            ),
        ),
    ),
    Answer(
        "bottleneck",
        "freezes the adapter",
        "adapter_frozen",
        edits=(
            (
                "self.down, self.up = nn.Linear(d, m), nn.Linear(m, d)",
                "self.down, self.up = nn.Linear(d, m).requires_grad_(False), nn.Linear(m, d)",
            ),
        ),
    ),
    Answer(
        "bottleneck",
        "freezes weight only",
        "base_trains",
        edits=(
            (
                "base_layer.requires_grad_(False)",
                ("base_layer\n        base_layer.weight.requires_grad = False"),
            ),
        ),
    ),
    Answer(
        "bottleneck",
        "detach y into adapter",
        "cut",
        edits=(("self.down(y)", "self.down(y.detach())"),),
    ),
    Answer(
        "bottleneck",
        "skip twice",
        "skip_twice",
        edits=(
            (
                "return y + self.up(torch.relu(self.down(y)))",
                "return y + y + self.up(torch.relu(self.down(y)))",
            ),
        ),
    ),
    Answer(
        "bottleneck",
        "in-place add on y (+=)",
        "raised",
        edits=(
            (
                "return y + self.up(torch.relu(self.down(y)))",
                ("y += self.up(torch.relu(self.down(y)))\n        return y"),
            ),
        ),
    ),
    Answer("bottleneck", "sigmoid", "curve", edits=(("torch.relu(", "torch.sigmoid("),)),
    Answer(
        "bottleneck", "std 0.02 both too large?", "default_start", edits=(("std=1e-3", "std=0.3"),)
    ),
    Answer(
        "bottleneck",
        "train flag: eval changes nothing; requires x grad off",
        "cut",
        edits=(("y = self.base_layer(x)", "y = self.base_layer(x.detach())"),),
    ),
    Answer(
        "bottleneck",
        "down in_features",
        "wrong_width",
        edits=(
            (
                "nn.Linear(d, m), nn.Linear(m, d)",
                "nn.Linear(base_layer.in_features, m), nn.Linear(m, d)",
            ),
        ),
    ),
    Answer(
        "bottleneck",
        "dropout",
        "other",
        edits=(
            ("torch.relu(self.down(y))", "nn.functional.dropout(torch.relu(self.down(y)), 0.1)"),
        ),
    ),
    Answer(
        "prepend",
        "positions of text only",
        "positions_short",
        edits=(
            ("(mask.cumsum(1) - 1).clamp(min=0)", "(attention_mask.cumsum(1) - 1).clamp(min=0)"),
        ),
    ),
    Answer(
        "prepend",
        "labels zeros",
        "labels_zero",
        edits=(("new_full((B, p), -100)", "new_zeros((B, p))"),),
    ),
    Answer(
        "prepend",
        "labels of prompt = 1",
        "labels_zero",
        edits=(("new_full((B, p), -100)", "new_ones((B, p))"),),
    ),
    Answer(
        "prepend",
        "prompt after left padding? detach",
        "cut",
        edits=(("prompt.expand", "prompt.detach().expand"),),
    ),
    Answer(
        "prepend",
        "embeds detached",
        "cut",
        edits=((", embeds], dim=1)", ", embeds.detach()], dim=1)"),),
    ),
    Answer(
        "prepend",
        "float labels",
        "floats",
        edits=(("labels.new_full((B, p), -100)", "torch.full((B, p), -100.0)"),),
    ),
    Answer(
        "prepend",
        "order of the results",
        "exchanged",
        edits=(("return vectors, mask, asked, ", "return vectors, asked, mask, "),),
    ),
    Answer("prepend", "cat on dim 0", "raised", edits=(("dim=1)  # (B, p + T, d)", "dim=-1)"),)),
    Answer(
        "prepend",
        "repeat prompt only first row",
        "prompt_rows",
        edits=(
            (
                "prompt.expand(B, -1, -1)",
                "torch.cat([prompt[None], prompt.new_zeros(B - 1, *prompt.shape)])",
            ),
        ),
    ),
    Answer(
        "prepend",
        "p is d",
        "p_is_d",
        edits=(("B, p = len(embeds), len(prompt)", "B, p = len(embeds), prompt.shape[1]"),),
    ),
    Answer(
        "prepend",
        "positions p + arange for text, right padding only",
        "padding_counts",
        edits=(
            (
                "(mask.cumsum(1) - 1).clamp(min=0)",
                "torch.cat([torch.arange(p), p + torch.arange(embeds.shape[1])]).expand(B, -1)",
            ),
        ),
    ),
    Answer(
        "prepend",
        "positions count from 1",
        "from_one",
        edits=(("(mask.cumsum(1) - 1).clamp(min=0)", "mask.cumsum(1) * mask"),),
    ),
    Answer(
        "prepend",
        "mean prompt",
        "prompt_rows",
        edits=(("prompt.expand(B, -1, -1)", "prompt.mean(0).expand(B, p, -1)"),),
    ),
    Answer(
        "prepend",
        "shift labels",
        "labels_moved",
        edits=(
            (
                "asked = torch.cat([labels.new_full((B, p), -100), labels], dim=1)",
                "asked = torch.cat([labels.new_full((B, p), -100), labels.roll(-1, 1)], dim=1)",
            ),
        ),
    ),
    Answer("attend", "scale by sqrt T", "wrong_scale", edits=(("math.sqrt(h)", "math.sqrt(T)"),)),
    Answer("attend", "triu", "inverted", edits=(("masked_fill(~seen", "masked_fill(seen"),)),
    Answer(
        "attend",
        "only keys interleaved, values repeated",
        "tiled",
        edits=(
            (
                "values = values.repeat_interleave(H // len(prefix_k), dim=1)",
                "values = values.repeat(1, H // len(prefix_k), 1, 1)",
            ),
        ),
    ),
    Answer("attend", "softmax over queries", "axis", edits=((".softmax(-1)", ".softmax(-2)"),)),
    Answer(
        "attend",
        "softmax twice: prefix apart",
        "apart",
        code="""
def attend(q, k, v, prefix_k, prefix_v):
    B, H, T, h = q.shape
    n = H // k.shape[1]
    K, V = k.repeat_interleave(n, 1), v.repeat_interleave(n, 1)
    PK, PV = prefix_k.repeat_interleave(n, 0), prefix_v.repeat_interleave(n, 0)
    s = q @ K.mT / math.sqrt(h)
    s = s.masked_fill(~torch.ones(T, T, dtype=torch.bool).tril(), -math.inf)
    return s.softmax(-1) @ V + (q @ PK.mT / math.sqrt(h)).softmax(-1) @ PV
""",
    ),
    Answer(
        "attend",
        "prefix ignored",
        "no_prefix",
        code="""
def attend(q, k, v, prefix_k, prefix_v):
    return nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True)
""",
    ),
    Answer(
        "attend",
        "is_causal aligned to the top left",
        "shifted",
        code="""
def attend(q, k, v, prefix_k, prefix_v):
    B = len(q)
    K = torch.cat([prefix_k.expand(B, -1, -1, -1), k], 2)
    V = torch.cat([prefix_v.expand(B, -1, -1, -1), v], 2)
    return nn.functional.scaled_dot_product_attention(q, K, V, is_causal=True, enable_gqa=True)
""",
    ),
    Answer(
        "attend",
        "mask after softmax",
        "masked_late",
        edits=(
            ("scores.masked_fill(~seen, -math.inf).softmax(-1)", "(scores.softmax(-1) * seen)"),
        ),
    ),
    Answer(
        "attend",
        "prefix causal too",
        "prefix_hidden",
        edits=(
            (
                "seen = torch.ones(T, p + T, dtype=torch.bool, device=q.device).tril(p)",
                (
                    "seen = torch.cat([torch.ones(T, p, dtype=torch.bool).tril(), "
                    "torch.ones(T, T, dtype=torch.bool).tril()], 1)"
                ),
            ),
        ),
    ),
    Answer(
        "attend",
        "detach the prefix keys",
        "cut",
        edits=(("prefix_k.expand", "prefix_k.detach().expand"),),
    ),
    Answer(
        "attend",
        "text not seen: only prefix",
        "no_text",
        edits=(
            (
                "seen = torch.ones(T, p + T, dtype=torch.bool, device=q.device).tril(p)",
                "seen = torch.arange(p + T).expand(T, -1) < p",
            ),
        ),
    ),
    Answer(
        "attend",
        "k and v swapped in prefix",
        "crossed",
        edits=(("prefix_k.expand", "prefix_v.expand"),),
    ),
    Answer(
        "attend",
        "scales q in place",
        "in_place",
        edits=(
            (
                "scores = q @ keys.mT / math.sqrt(h)",
                ("q.data.div_(math.sqrt(h))\n    scores = q @ keys.mT"),
            ),
        ),
    ),
    Answer(
        "attend",
        "softmax in float16",
        "other",
        edits=((".softmax(-1)", ".half().softmax(-1).float()"),),
    ),
    Answer(
        "attend",
        "output (B, T, H h)",
        "flat",
        edits=(
            (
                ".softmax(-1) @ values",
                (".softmax(-1) @ values\n           ).transpose(1, 2).flatten(2)"),
            ),
            ("return scores", "return (scores"),
        ),
    ),
    Answer(
        "ia3",
        "scale before bias",
        "bias_after",
        edits=(
            (
                "nn.functional.linear(x, weight, bias) * scale",
                "nn.functional.linear(x, weight * scale[:, None], bias)",
            ),
        ),
    ),
    Answer(
        "ia3",
        "scale on input always",
        "inputs_alone",
        edits=(
            (
                (
                    "    if feedforward:\n"
                    "        return nn.functional.linear(x * scale, weight, bias)\n"
                    "    return nn.functional.linear(x, weight, bias) * scale"
                ),
                "    return nn.functional.linear(x * scale, weight, bias)",
            ),
        ),
    ),
    Answer(
        "ia3",
        "feedforward inverted in scaled",
        "exchanged",
        edits=(
            (
                ("    if feedforward:\n        return nn.functional.linear(x"),
                ("    if not feedforward:\n        return nn.functional.linear(x"),
            ),
        ),
    ),
    Answer(
        "ia3",
        "feedforward inverted in fold",
        "exchanged",
        edits=(
            (
                ("    if feedforward:\n        return weight"),
                ("    if not feedforward:\n        return weight"),
            ),
        ),
    ),
    Answer(
        "ia3",
        "fold scales bias also with feedforward",
        "other",
        edits=(
            (
                "return weight * scale, bias",
                "return weight * scale, None if bias is None else bias * scale.mean()",
            ),
        ),
    ),
    Answer(
        "ia3",
        "fold columns for outputs",
        "inputs_alone",
        edits=(("weight * scale[:, None], None", "weight * scale, None"),),
    ),
    Answer(
        "ia3",
        "fold rows for feedforward",
        "outputs_alone",
        edits=(("return weight * scale, bias", "return weight * scale[:, None], bias"),),
    ),
    Answer(
        "ia3",
        "fold in place",
        "in_place",
        edits=(
            (
                "return weight * scale[:, None], None",
                ("weight.mul_(scale[:, None])\n    return weight, None"),
            ),
        ),
    ),
    Answer(
        "ia3",
        "fold: bias zeros instead of None",
        "bias_made",
        edits=(
            (
                "None if bias is None else bias * scale",
                "torch.zeros_like(scale) if bias is None else bias * scale",
            ),
        ),
    ),
    Answer(
        "ia3",
        "bias None crashes",
        "raised",
        edits=(("None if bias is None else bias * scale", "bias * scale"),),
    ),
    Answer(
        "ia3",
        "1 + scale",
        "plus_one",
        edits=(("(x, weight, bias) * scale", "(x, weight, bias) * (1 + scale)"),),
    ),
    Answer(
        "ia3",
        "adds scale",
        "added",
        edits=(("(x, weight, bias) * scale", "(x, weight, bias) + scale"),),
    ),
    Answer(
        "ia3",
        "scale detached",
        "cut",
        edits=(("(x, weight, bias) * scale", "(x, weight, bias) * scale.detach()"),),
    ),
    Answer(
        "ia3",
        "divides in fold",
        "divided",
        edits=(("weight * scale[:, None], None", "weight / scale[:, None], None"),),
    ),
    Answer(
        "ia3",
        "scaled writes into x",
        "in_place",
        edits=(
            (
                "return nn.functional.linear(x * scale, weight, bias)",
                ("x.data.mul_(scale)\n        return nn.functional.linear(x, weight, bias)"),
            ),
        ),
    ),
    Answer(
        "ia3",
        "bias outside of scale",
        "bias_after",
        edits=(
            (
                "nn.functional.linear(x, weight, bias) * scale",
                "nn.functional.linear(x, weight) * scale + (0 if bias is None else bias)",
            ),
        ),
    ),
    Answer(
        "ia3",
        "feedforward: scale input and output",
        "scaled_twice",
        edits=(
            (
                "return nn.functional.linear(x * scale, weight, bias)",
                "return nn.functional.linear(x * scale, weight * scale, bias)",
            ),
        ),
    ),
    Answer(
        "ia3",
        "returns merged twice",
        "scaled_twice",
        edits=(
            ("return weight * scale[:, None], None", "return weight * scale[:, None] ** 2, None"),
        ),
    ),
    Answer(
        "ia3",
        "x detached",
        "cut",
        edits=(
            (
                "return nn.functional.linear(x, weight, bias) * scale",
                "return nn.functional.linear(x.detach(), weight, bias) * scale",
            ),
        ),
    ),
    Answer(
        "ia3",
        "weight.T",
        "raised",
        edits=(
            (
                "return nn.functional.linear(x, weight, bias) * scale",
                "return (x @ weight + (0 if bias is None else bias)) * scale",
            ),
        ),
    ),
    Answer(
        "count",
        "prompt in every block",
        "prompt_layers",
        edits=(("return n * d", "return blocks * n * d"),),
    ),
    Answer("count", "ia3 of q k v", "ia3_part", edits=(("(2 * kv + ff)", "(q + 2 * kv + ff)"),)),
    Answer("count", "lora q square", "q_is_not_d", edits=(("(d, q), (d, kv)", "(d, d), (d, kv)"),)),
    Answer(
        "count",
        "lora without o",
        "some_layers",
        edits=((", (q, d), (d, ff), (d, ff), (ff, d)]", ", (d, ff), (d, ff), (ff, d)]"),),
    ),
    Answer(
        "count",
        "no gate",
        "some_layers",
        edits=(("(d, ff), (d, ff), (ff, d)", "(d, ff), (ff, d)"),),
    ),
    Answer(
        "count",
        "returns None for other",
        "silent",
        edits=(
            (
                (
                    '    raise ValueError(f"{method!r} is none of lora, bottleneck, prompt, '
                    'prefix, ia3.")'
                ),
                "    return None",
            ),
        ),
    ),
    Answer(
        "count",
        "KeyError",
        "silent",
        edits=(
            (
                (
                    'raise ValueError(f"{method!r} is none of lora, bottleneck, prompt, '
                    'prefix, ia3.")'
                ),
                "raise KeyError(method)",
            ),
        ),
    ),
    Answer(
        "count", "message does not name", "silent", edits=(("{method!r} is none", "It is none"),)
    ),
    Answer(
        "count",
        "ValueError for upper case too? accepts LoRA",
        "silent",
        edits=(("    layers =", ("    method = method.lower()\n    layers =")),),
    ),
    Answer(
        "count",
        "else: ia3",
        "silent",
        edits=(
            (
                (
                    '    if method == "ia3":\n'
                    "        return blocks * (2 * kv + ff)\n"
                    '    raise ValueError(f"{method!r} is none of lora, bottleneck, prompt, '
                    'prefix, ia3.")'
                ),
                "    return blocks * (2 * kv + ff)",
            ),
        ),
    ),
    Answer(
        "count",
        "startswith",
        "prefix_is_prompt",
        edits=(('method == "prompt"', 'method.startswith("p")'),),
    ),
    Answer(
        "count",
        "o as d -> q is same; k and v one layer",
        "some_layers",
        edits=(("(d, kv), (d, kv)", "(d, kv)"),),
    ),
    Answer("count", "bottleneck bias wrong: 2n + d", "biases", edits=(("+ n + d)", "+ 2 * n)"),)),
    Answer(
        "count",
        "prefix plus prompt",
        "no_prompt",
        edits=(("return n * blocks * 2 * kv", "return n * blocks * 2 * kv + n * d"),),
    ),
    Answer(
        "prepend",
        "labels wiped after use",
        "in_place",
        edits=(("    return vectors", ("    labels.fill_(-100)\n    return vectors")),),
    ),
    Answer(
        "ia3",
        "feedforward scales the bias",
        "bias_of_inputs",
        edits=(
            (
                "return weight * scale, bias",
                "return weight * scale, None if bias is None else bias * scale",
            ),
        ),
    ),
    Answer(
        "bottleneck",
        "skip of x",
        "skip_twice",
        edits=(
            (
                ("return y + self.up(torch.relu(self.down(y)))"),
                ("return self.base_layer(x) + self.up(torch.relu(self.down(y))) + y"),
            ),
        ),
    ),
    Answer(
        "bottleneck",
        "the skip around down alone",
        "other",
        edits=(
            (
                ("return y + self.up(torch.relu(self.down(y)))"),
                ("return self.up(torch.relu(self.down(y))) + self.up(self.down(y))"),
            ),
        ),
    ),
    Answer(
        "bottleneck",
        "leaky relu",
        "curve",
        edits=(("torch.relu(self.down(y))", "nn.functional.leaky_relu(self.down(y))"),),
    ),
    Answer(
        "bottleneck",
        "minus",
        "update_scaled",
        edits=(("return y + self.up", "return y - self.up"),),
    ),
    Answer(
        "bottleneck",
        "half of the update",
        "update_scaled",
        edits=(("return y + self.up", "return y + 0.5 * self.up"),),
    ),
    Answer(
        "bottleneck",
        "relu on both sides of down",
        "relu_late",
        edits=(("self.down(y)", "self.down(torch.relu(y))"),),
    ),
    Answer(
        "bottleneck",
        "up and down by another name",
        "other",
        edits=(
            (
                ("self.down, self.up = nn.Linear(d, m), nn.Linear(m, d)"),
                ("self.A, self.B = nn.Linear(d, m), nn.Linear(m, d)"),
            ),
            ("(self.down, self.up)", "(self.A, self.B)"),
            ("self.up(torch.relu(self.down(y)))", "self.B(torch.relu(self.A(y)))"),
        ),
    ),
    Answer(
        "bottleneck",
        "ones as biases",
        "biases_left",
        edits=(("nn.init.zeros_(layer.bias)", "nn.init.ones_(layer.bias)"),),
    ),
    Answer(
        "bottleneck",
        "a base of its own",
        "not_kept",
        edits=(
            (
                "base_layer.requires_grad_(False)",
                ("nn.Linear(base_layer.in_features, d).requires_grad_(False)"),
            ),
        ),
    ),
    Answer(
        "prepend",
        "positions from the text's mask shifted",
        "restart",
        edits=(
            (
                "(mask.cumsum(1) - 1).clamp(min=0)",
                (
                    "torch.cat([mask[:, :p].cumsum(1) - 1, (attention_mask.cumsum(1) "
                    "+ p).clamp(min=0)], 1)"
                ),
            ),
        ),
    ),
    Answer(
        "prepend",
        "positions from p",
        "from_one",
        edits=(("(mask.cumsum(1) - 1).clamp(min=0)", "(mask.cumsum(1) - 1 + p).clamp(min=0)"),),
    ),
    Answer(
        "prepend",
        "labels: -100 over the text",
        "labels_lost",
        edits=(
            (
                ("asked = torch.cat([labels.new_full((B, p), -100), labels], dim=1)"),
                "asked = torch.full_like(mask, -100)",
            ),
        ),
    ),
    Answer(
        "prepend",
        "labels from the mask",
        "labels_zero",
        edits=(
            (
                ("asked = torch.cat([labels.new_full((B, p), -100), labels], dim=1)"),
                (
                    "asked = torch.cat([labels.new_full((B, p), -100), labels * "
                    "attention_mask], dim=1)"
                ),
            ),
        ),
    ),
    Answer(
        "prepend",
        "mask of T",
        "mask_short",
        edits=(
            (
                ("mask = torch.cat([attention_mask.new_ones(B, p), attention_mask], dim=1)"),
                (
                    "mask = torch.cat([attention_mask.new_ones(B, p), "
                    "attention_mask], dim=1)[:, : attention_mask.shape[1]]"
                ),
            ),
        ),
    ),
    Answer(
        "prepend",
        "prompt added to the first vectors",
        "prompt_rows",
        edits=(
            (
                ("torch.cat([prompt.expand(B, -1, -1), embeds], dim=1)"),
                ("torch.cat([embeds[:, :p] + prompt, embeds], dim=1)"),
            ),
        ),
    ),
    Answer(
        "prepend",
        "prompt in reverse",
        "prompt_rows",
        edits=(("prompt.expand", "prompt.flip(0).expand"),),
    ),
    Answer(
        "prepend",
        "bool mask",
        "floats",
        edits=(
            (
                ("mask = torch.cat([attention_mask.new_ones(B, p), attention_mask], dim=1)"),
                ("mask = torch.cat([attention_mask.new_ones(B, p), attention_mask], dim=1).bool()"),
            ),
            ("(mask.cumsum(1) - 1).clamp(min=0)", ("(mask.long().cumsum(1) - 1).clamp(min=0)")),
        ),
    ),
    Answer(
        "prepend",
        "positions as mask",
        "other",
        edits=((("asked, (mask.cumsum(1) - 1).clamp(min=0)"), "asked, mask"),),
    ),
    Answer(
        "attend",
        "mean over the heads",
        "other",
        edits=(
            (
                ("return scores.masked_fill(~seen, -math.inf).softmax(-1) @ values"),
                (
                    "return (scores.masked_fill(~seen, -math.inf).softmax(-1) @ "
                    "values).mean(1, keepdim=True).expand(-1, H, -1, -1)"
                ),
            ),
        ),
    ),
    Answer(
        "attend",
        "prefix scores not scaled",
        "other",
        edits=(
            (
                "scores = q @ keys.mT / math.sqrt(h)",
                (
                    "scores = q @ keys.mT / math.sqrt(h)\n"
                    "    scores = torch.cat([scores[..., :p] * math.sqrt(h), "
                    "scores[..., p:]], -1)"
                ),
            ),
        ),
    ),
    Answer(
        "attend",
        "the first text token alone",
        "other",
        edits=(
            (
                ("seen = torch.ones(T, p + T, dtype=torch.bool, device=q.device).tril(p)"),
                ("seen = torch.arange(p + T).expand(T, -1) <= p"),
            ),
        ),
    ),
    Answer(
        "attend",
        "window of two",
        "other",
        edits=(
            (
                ("seen = torch.ones(T, p + T, dtype=torch.bool, device=q.device).tril(p)"),
                (
                    "seen = torch.ones(T, p + T, dtype=torch.bool, "
                    "device=q.device).tril(p)\n"
                    "    seen = seen & ~torch.ones(T, p + T, "
                    "dtype=torch.bool).tril(p - 2)"
                ),
            ),
        ),
    ),
    Answer("attend", "upper triangle", "upper", edits=((".tril(p)", ".triu(p)"),)),
    Answer(
        "attend",
        "values of the prefix added",
        "other",
        edits=(
            (
                ("return scores.masked_fill(~seen, -math.inf).softmax(-1) @ values"),
                (
                    "return scores.masked_fill(~seen, -math.inf).softmax(-1) @ "
                    "values + prefix_v.mean()"
                ),
            ),
        ),
    ),
    Answer(
        "attend",
        "no softmax",
        "no_softmax",
        edits=(
            (
                ("return scores.masked_fill(~seen, -math.inf).softmax(-1) @ values"),
                ("return scores.masked_fill(~seen, 0.0) @ values"),
            ),
        ),
    ),
    Answer(
        "ia3",
        "transposed scale in fold",
        "scaled_twice",
        edits=(("weight * scale[:, None]", "(weight.T * scale).T * scale[:, None]"),),
    ),
    Answer(
        "ia3",
        "bias scaled alone",
        "not_scaled",
        edits=(
            (
                ("return weight * scale[:, None], None if bias is None else bias * scale"),
                ("return weight, None if bias is None else bias * scale"),
            ),
        ),
    ),
    Answer(
        "ia3",
        "scaled without bias",
        "bias_lost",
        edits=(
            (
                ("return nn.functional.linear(x, weight, bias) * scale"),
                ("return nn.functional.linear(x, weight) * scale"),
            ),
        ),
    ),
    Answer(
        "ia3",
        "x plus scaled x",
        "plus_one",
        edits=(
            (
                ("return nn.functional.linear(x * scale, weight, bias)"),
                ("return nn.functional.linear(x + x * scale, weight, bias)"),
            ),
        ),
    ),
    Answer(
        "ia3",
        "mean of the scale",
        "other",
        edits=(
            (
                ("return nn.functional.linear(x, weight, bias) * scale"),
                ("return nn.functional.linear(x, weight, bias) * scale.mean()"),
            ),
        ),
    ),
    Answer(
        "ia3",
        "fold drops the bias",
        "bias_lost",
        edits=(("return weight * scale, bias", "return weight * scale, None"),),
    ),
    Answer("ia3", "fold divides the bias", "other", edits=(("bias * scale\n", "bias / scale\n"),)),
    Answer(
        "ia3",
        "rounds",
        "other",
        edits=(
            (
                ("return weight * scale[:, None], None if bias is None else bias * scale"),
                (
                    "return (weight * scale[:, None]).bfloat16().float(), None if "
                    "bias is None else bias * scale"
                ),
            ),
        ),
    ),
    Answer(
        "count",
        "bottleneck behind every layer",
        "factor",
        edits=(
            (
                ("return blocks * 2 * (2 * n * d + n + d)"),
                ("return blocks * 7 * (2 * n * d + n + d)"),
            ),
        ),
    ),
    Answer("count", "prompt of one vector", "prompt_width", edits=(("return n * d", "return d"),)),
    Answer(
        "count",
        "prefix without n",
        "no_n",
        edits=(("return n * blocks * 2 * kv", "return blocks * 2 * kv"),),
    ),
    Answer(
        "count", "ia3 of both sides", "ia3_part", edits=(("(2 * kv + ff)", "(2 * kv + 2 * ff)"),)
    ),
    Answer("count", "lora twice", "factor", edits=(("blocks * sum(n", "2 * blocks * sum(n"),)),
    Answer("count", "ia3 with d", "ia3_part", edits=(("(2 * kv + ff)", "(2 * kv + ff + d)"),)),
    Answer(
        "count",
        "an error of the name alone",
        "silent",
        edits=(
            (
                (
                    'raise ValueError(f"{method!r} is none of lora, bottleneck, '
                    'prompt, prefix, ia3.")'
                ),
                "raise ValueError('method')",
            ),
        ),
    ),
    Answer("count", "gigabytes", "other", edits=(("return n * d", "return n * d / 1e9"),)),
    Answer("count", "lora: max for sum", "product", edits=(("n * (i + o)", "n * max(i, o)"),)),
]

WRONG += [
    Answer(
        "prepend",
        "the text one place further on",
        "restart",
        code="""
def prepend(prompt, embeds, attention_mask, labels):
    B, p = len(embeds), len(prompt)
    vec = torch.cat([prompt.expand(B, -1, -1), embeds], 1)
    mask = torch.cat([torch.ones(B, p, dtype=torch.long), attention_mask], 1)
    lab = torch.cat([torch.full((B, p), -100), labels], 1)
    pos = torch.cat([torch.arange(p).expand(B, -1), attention_mask.cumsum(1) + p], 1)
    return vec, mask, lab, pos
""",
    ),
    Answer(
        "prepend",
        "the first labels for the prompt's",
        "labels_zero",
        code="""
def prepend(prompt, embeds, attention_mask, labels):
    B, p = len(embeds), len(prompt)
    vec = torch.cat([prompt.expand(B, -1, -1), embeds], 1)
    mask = torch.cat([torch.ones(B, p, dtype=torch.long), attention_mask], 1)
    lab = torch.cat([labels[:, :p], labels], 1)
    pos = (mask.cumsum(1) - 1).clamp(min=0)
    return vec, mask, lab, pos
""",
    ),
    Answer(
        "attend",
        "triu(p + 2)",
        "one_ahead",
        code="""
def attend(q, k, v, prefix_k, prefix_v):
    B, H, T, h = q.shape
    G, p, _ = prefix_k.shape
    k = torch.cat([prefix_k.expand(B, -1, -1, -1), k], 2).repeat_interleave(H // G, 1)
    v = torch.cat([prefix_v.expand(B, -1, -1, -1), v], 2).repeat_interleave(H // G, 1)
    scores = q @ k.mT / math.sqrt(h)
    hidden = torch.ones(T, p + T, dtype=torch.bool).triu(p + 2)
    scores = scores.masked_fill(hidden, -math.inf)
    return scores.softmax(-1) @ v
""",
    ),
    Answer(
        "ia3",
        "asks the shape, inputs first",
        "by_shape",
        code="""
def scaled(x, weight, bias, scale, feedforward):
    if len(scale) == weight.shape[1]:
        return torch.nn.functional.linear(x * scale, weight, bias)
    return torch.nn.functional.linear(x, weight, bias) * scale
def fold(weight, bias, scale, feedforward):
    if len(scale) == weight.shape[1]:
        return weight * scale, bias
    return weight * scale[:, None], None if bias is None else bias * scale
""",
    ),
    Answer(
        "count",
        "the start of a name",
        "silent",
        code="""
def count(method, n, blocks, d, q, kv, ff):
    if method == "lora":
        one = n * ((d + q) + 2 * (d + kv) + (q + d) + 3 * (d + ff))
    elif method == "bottleneck":
        one = 2 * (2 * n * d + n + d)
    elif method == "prompt":
        return n * d
    elif method.startswith("pre"):
        one = n * 2 * kv
    elif method == "ia3":
        one = 2 * kv + ff
    else:
        raise ValueError(f"unknown method {method}")
    return blocks * one
""",
    ),
]
