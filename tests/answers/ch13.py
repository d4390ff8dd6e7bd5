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
    edit("bottleneck", "no biases", "other",
         (LAYERS, "self.down, self.up = nn.Linear(d, m, False), nn.Linear(m, d, False)"),
         (ZEROS, "")),
    edit("bottleneck", "a copy of the base", "other",
         ("self.base_layer = base_layer", "import copy\n        "
          "self.base_layer = copy.deepcopy(base_layer)"), (".requires_grad_(False)", "")),
    edit("bottleneck", "adapter frozen too", "other",
         (OUT, OUT), (ZEROS, ZEROS + "        self.requires_grad_(False)\n")),
    edit("bottleneck", "skip from half of y", "other", (OUT, OUT.replace("y +", "0.5 * y +"))),
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
    edit("prepend", "float mask", "other", (MASK, MASK + ".float()")),
    edit("prepend", "labels of another type", "other",
         ("labels.new_full", "prompt.new_full")),
    edit("prepend", "float positions", "other", (PLACES, PLACES + ".float()")),
    edit("prepend", "writes into the labels", "other",
         ("    asked =", "    labels[attention_mask == 0] = 7\n    asked =")),
    edit("prepend", "one row of the prompt", "other",
         ("prompt.expand(B, -1, -1)", "prompt[:1].expand(p, -1).expand(B, -1, -1)")),
    edit("prepend", "no gradient to the prompt", "other", ("prompt.expand", "prompt.data.expand")),
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
    edit("attend", "softmax over tokens", "other",
         (SOFTMAX, "return scores.masked_fill(~seen, -1e9).softmax(-2) @ values")),
    edit("attend", "prefix behind", "other",
         (KEYS, "torch.cat([k, prefix_k.expand(B, -1, -1, -1)], dim=2)"),
         (VALUES, "torch.cat([v, prefix_v.expand(B, -1, -1, -1)], dim=2)")),
    edit("attend", "in place on v", "other",
         ("    values = torch.cat", "    v.mul_(1.0 + 1e-7)\n    v += 0.5\n"
          "    values = torch.cat")),
    edit("attend", "tokens on the second axis", "other",
         (SOFTMAX, "return (" + SOFTMAX[7:] + ").transpose(1, 2)")),
    edit("attend", "no gradient to the prefix", "other",
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
    edit("ia3", "zeros where there was no bias", "other",
         (FOLD_IN, "return weight * scale, torch.zeros(len(weight)) if bias is None else bias")),
    edit("ia3", "never scales", "other", (FOLD_OUT, "return weight, bias")),
    edit("ia3", "scaled twice", "other", (SCALED_OUT, SCALED_OUT + " * scale")),
    edit("ia3", "always the output", "raised",
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
    edit("count", "no error", "other",
         ("    raise ValueError", "    return 0\n    raise ValueError")),
    edit("count", "a KeyError", "other", ("raise ValueError", "raise KeyError")),
    edit("count", "an error without the name", "other", ('f"{method!r} is none', '"it is none')),
]  # fmt: skip
