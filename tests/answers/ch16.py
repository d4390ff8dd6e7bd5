"""Right and wrong answers to the exercises of chapter 16."""

from tests.answers import Answer

DOWN = "nn.functional.conv2d(x, A, None, conv.stride, conv.padding, conv.dilation)"
UP = "conv(x) + scaling * nn.functional.conv2d(down, B[:, :, None, None])"
DELTA = "scaling * (B @ A.flatten(1)).view(len(B), *A.shape[1:])"
BLOCK = 'next((int(p) for p in n.split(".") if p.isdigit()), None)'
CHOSEN = "set(numbers[len(numbers) - last :] if last < len(numbers) else numbers)"
NAMES = '[n for n, kind in layers.items() if kind == "Linear" and block[n] in chosen]'
CUT = "masks.unflatten(2, (-1, size)).unflatten(1, (-1, size))"
FIT = "(cut == kind).sum((2, 4)) >= least"
PARTS = "torch.cat([table[row[:at]], picture, table[row[at + 1 :]]])"
ASKED = "torch.cat([label[:at], nothing, label[at + 1 :]])"


def edit(exercise, note, mistake, *edits):
    return Answer(exercise, note, mistake, edits=edits)


RIGHT = [
    Answer(
        "lora_conv",
        "through the delta",
        "",
        code="""
def lora_conv(conv, A, B, scaling, x):
    W = conv.weight + conv_delta(A, B, scaling)
    return nn.functional.conv2d(x, W, conv.bias, conv.stride, conv.padding, conv.dilation)


def conv_delta(A, B, scaling):
    return torch.einsum("or,rihw->oihw", scaling * B, A)
""",
    ),
    Answer(
        "lora_conv",
        "by patches, B as a product over channels",
        "",
        code="""
def lora_conv(conv, A, B, scaling, x):
    y = conv(x)
    cut = nn.functional.unfold(
        x, conv.kernel_size, conv.dilation, conv.padding, conv.stride
    )
    down = A.reshape(len(A), -1) @ cut
    return y + ((scaling * B) @ down).reshape(y.shape)


def conv_delta(A, B, scaling):
    return nn.functional.conv2d(A.transpose(0, 1), B[:, :, None, None]).transpose(0, 1) * scaling
""",
    ),
    Answer(
        "last_blocks",
        "by the highest numbers",
        "",
        code="""
def last_blocks(layers, last):
    def number(name):
        for part in name.split("."):
            if part.isdecimal():
                return int(part)
        return -1

    left = {number(n) for n in layers} - {-1}
    for _ in range(max(0, len(left) - last)):
        left.remove(min(left))
    found = tuple(n for n in layers if number(n) in left and layers[n] == "Linear")
    if len(found) == 0:
        raise ValueError("nothing")
    return found
""",
    ),
    edit("last_blocks", "slices from the end", "", (CHOSEN, "set(numbers[-last:])")),
    Answer(
        "urgent",
        "with unfold",
        "",
        code="""
def urgent(masks, size, least, order):
    cut = masks.unfold(1, size, size).unfold(2, size, size).flatten(3)
    out = torch.zeros(cut.shape[:3], dtype=torch.long)
    free = torch.ones(cut.shape[:3], dtype=torch.bool)
    for kind in order:
        hit = free & ((cut == kind).sum(-1) >= least)
        out[hit] = kind
        free &= ~hit
    return out
""",
    ),
    Answer(
        "urgent",
        "patch by patch",
        "",
        code="""
def urgent(masks, size, least, order):
    B, H, W = masks.shape
    out = torch.zeros(B, H // size, W // size, dtype=torch.int64)
    for b in range(B):
        for y in range(H // size):
            for x in range(W // size):
                patch = masks[b, y * size:(y + 1) * size, x * size:(x + 1) * size]
                for kind in order:
                    if int((patch == kind).sum()) >= least:
                        out[b, y, x] = kind
                        break
    return out
""",
    ),
    Answer(
        "expand",
        "by places",
        "",
        code="""
def expand(ids, labels, table, seen):
    B, T = ids.shape
    n = seen.shape[1]
    at = (ids == -200).int().argmax(1)
    place = torch.arange(T - 1 + n).expand(B, -1)
    inside = (place >= at[:, None]) & (place < at[:, None] + n)
    old = torch.where(place < at[:, None], place, (place - n + 1).clamp(min=0))
    words = table[ids.gather(1, old).clamp(min=0)]
    vectors = words.masked_scatter(inside[..., None], seen)
    return vectors, labels.gather(1, old).masked_fill(inside, -100)
""",
    ),
    edit("expand", "a list of two", "",
         ("return torch.stack(vectors), torch.stack(asked)",
          "return [torch.stack(vectors), torch.stack(asked)]")),
]  # fmt: skip

WRONG = [
    edit("lora_conv", "kernel turned in view", "axes",
         (DELTA, "scaling * (B @ A.flatten(1)).view(len(B), A.shape[1], A.shape[3], A.shape[2])")),
    edit("lora_conv", "delta from the other side", "axes",
         (DELTA, "scaling * (A.flatten(1).T @ B.T).reshape(len(B), *A.shape[1:])")),
    edit("urgent", "reshaped without turning", "strided",
         (CUT, "masks.reshape(len(masks), masks.shape[1] // size, -1, size, size)"),
         ("cut[:, :, 0, :, 0]", "cut[..., 0, 0]"), ("sum((2, 4))", "sum((3, 4))")),
    edit("urgent", "two classes alone", "chapter_order", ("reversed(order)", "order[1::-1]")),
    edit("urgent", "without the last row and column of a patch", "corner",
         (FIT, "(cut[:, :, :-1, :, :-1] == kind).sum((2, 4)) >= least")),
    edit("expand", "labels of the picture first", "labels_elsewhere",
         (ASKED, "torch.cat([nothing, label[:at], label[at + 1 :]])")),
    edit("expand", "the placeholder's label stays behind the picture", "kept",
         (ASKED, "torch.cat([label[:at], nothing, label[at:]])")),
    edit("expand", "four vectors of the picture", "always_four",
         ("vectors, asked = [], []", "vectors, asked, seen = [], [], seen[:, [0, 1, -2, -1]]")),
    edit("lora_conv", "no scale", "no_scale", ("scaling * nn", "nn")),
    edit("lora_conv", "delta without scale", "no_scale", (DELTA, DELTA.replace("scaling * ", ""))),
    edit("lora_conv", "scaled twice", "scaled_twice", ("scaling * nn", "scaling * scaling * nn")),
    edit("lora_conv", "update alone", "no_base", (UP, UP.replace("conv(x) + ", ""))),
    edit("lora_conv", "base alone", "no_update", (UP, "conv(x) + 0 * down.sum()")),
    edit("lora_conv", "bias in A's place", "bias_twice",
         (UP, "conv(x) + scaling * nn.functional.conv2d(down, B[:, :, None, None]) + "
          "(0 if conv.bias is None else conv.bias[:, None, None])")),
    edit("lora_conv", "bias in B", "bias_twice",
         (UP, "conv(x) + scaling * nn.functional.conv2d(down, B[:, :, None, None], conv.bias)")),
    edit("lora_conv", "off by one", "other", (DELTA, f"{DELTA} + 1.0")),
    edit("lora_conv", "a matrix", "flat", (DELTA, "scaling * B @ A.flatten(1)")),
    edit("lora_conv", "stride forgotten", "raised",
         (DOWN, "nn.functional.conv2d(x, A, None, 1, conv.padding, conv.dilation)")),
    edit("lora_conv", "padding forgotten", "raised",
         (DOWN, "nn.functional.conv2d(x, A, None, conv.stride, 0, conv.dilation)")),
    edit("lora_conv", "dilation forgotten", "raised",
         (DOWN, "nn.functional.conv2d(x, A, None, conv.stride, conv.padding)")),
    edit("lora_conv", "changes A", "changed",
         (f"    down = {DOWN}", f"    A *= 1.0 + 1e-6\n    A += 1e-3\n    down = {DOWN}")),
    edit("lora_conv", "the convolution's bias is lost", "no_bias",
         (UP, UP.replace("conv(x)", "(conv(x) - (0 if conv.bias is None else "
                         "conv.bias[:, None, None]))"))),
    edit("lora_conv", "base scaled as well", "all_scaled", (UP, UP.replace("conv(x)",
         "scaling * conv(x)"))),
    edit("lora_conv", "scaling / r", "over_r", (UP, UP.replace("scaling", "scaling / len(A)"))),
    edit("lora_conv", "delta by scaling / r", "over_r",
         (DELTA, DELTA.replace("scaling", "scaling / len(A)"))),
    edit("lora_conv", "merges into the weight", "merged",
         (f"    down = {DOWN}\n    return {UP}",
          "    conv.weight.data += conv_delta(A, B, scaling)\n    return conv(x)")),
    edit("lora_conv", "merges, and takes it out again", "merged",
         (f"    down = {DOWN}\n    return {UP}",
          "    conv.weight.data += conv_delta(A, B, scaling)\n    y = conv(x)\n"
          "    conv.weight.data -= conv_delta(A, B, scaling)\n    return y")),
    edit("lora_conv", "freezes the convolution", "changed",
         (f"    down = {DOWN}", f"    conv.requires_grad_(False)\n    down = {DOWN}")),
    edit("lora_conv", "leaves a factor in the convolution", "changed",
         (f"    down = {DOWN}", f"    conv.lora_A = nn.Parameter(A)\n    down = {DOWN}")),
    edit("lora_conv", "detached", "cut_off", (f"{DOWN}", f"{DOWN}.detach()"),
         ("B[:, :, None, None]", "B.detach()[:, :, None, None]")),
    edit("lora_conv", "A detached", "cut_off", (f"{DOWN}", f"{DOWN}.detach()")),
    edit("last_blocks", "sorted as text", "as_text",
         ("(int(p) for p", "(p for p")),
    edit("last_blocks", "in the order given", "as_given",
         ("sorted({b for b in block.values() if b is not None})",
          "list(dict.fromkeys(b for b in block.values() if b is not None))")),
    edit("last_blocks", "the first ones", "first", (CHOSEN, "set(numbers[:last])")),
    edit("last_blocks", "the last number", "last_number",
         ("n.split(\".\") if", "reversed(n.split(\".\")) if")),
    edit("last_blocks", "all kinds", "any_kind", ("kind == \"Linear\" and ", "")),
    edit("last_blocks", "with the head", "head",
         ("block[n] in chosen]", "(block[n] in chosen or n == \"classifier\")]")),
    edit("last_blocks", "with what has no number", "head",
         ("block[n] in chosen]", "(block[n] in chosen or block[n] is None)]")),
    edit("last_blocks", "sorted names", "sorted", ("return names", "return sorted(names)")),
    edit("last_blocks", "one block too many", "count",
         (CHOSEN, "set(numbers[-last - 1:])")),
    edit("last_blocks", "an empty list", "no_error", ("if not names:", "if False:")),
    edit("last_blocks", "another error", "no_error", ("raise ValueError", "raise KeyError")),
    edit("last_blocks", "a set", "type", ("return names", "return set(names)")),
    edit("last_blocks", "digits anywhere", "digits",
         (BLOCK, 'next((int(m) for m in __import__("re").findall(r"\\d+", n)), None)')),
    edit("last_blocks", "between two points", "place",
         (BLOCK, 'next((int(m) for m in __import__("re").findall(r"\\.(\\d+)\\.", n)), None)')),
    edit("last_blocks", "parts that end in a digit", "digits",
         (BLOCK, 'next((int(p[-1]) for p in n.split(".") if p[-1].isdigit()), None)')),
    edit("last_blocks", "parts that begin with a digit", "digits",
         (BLOCK, 'next((int(p[0]) for p in n.split(".") if p[0].isdigit()), None)')),
    edit("last_blocks", "not the last part", "place",
         (BLOCK, BLOCK.replace('split(".")', 'split(".")[:-1]'))),
    edit("last_blocks", "not the first part", "place",
         (BLOCK, BLOCK.replace('split(".")', 'split(".")[1:]'))),
    edit("last_blocks", "behind words that are known", "raised",
         (BLOCK, 'next((int(m) for m in __import__("re").findall('
          'r"(?:layer|blocks)\\.(\\d+)", n)), None)')),
    edit("last_blocks", "down from the highest", "in_a_row",
         (CHOSEN, "set(range(max(numbers, default=0) - last + 1, max(numbers, default=0) + 1))")),
    edit("last_blocks", "blocks with a linear layer", "linear_alone",
         ("for b in block.values() if b is not None",
          'for n, b in block.items() if b is not None and layers[n] == "Linear"')),
    edit("last_blocks", "raises without blocks alone", "no_error",
         ("if not names:", "if not numbers:")),
    edit("last_blocks", "kinds with Linear in their name", "like_linear",
         ('kind == "Linear"', '"Linear" in kind')),
    edit("last_blocks", "kinds that end so", "like_linear",
         ('kind == "Linear"', 'kind.endswith("Linear")')),
    edit("last_blocks", "all but norms", "any_kind", ('kind == "Linear"', 'kind != "LayerNorm"')),
    edit("last_blocks", "convolutions as well", "any_kind",
         ('kind == "Linear"', 'kind in ("Linear", "Conv2d")')),
    edit("last_blocks", "a number for each layer", "some_layers",
         ("numbers = sorted({b for b in block.values() if b is not None})",
          "numbers = sorted(b for b in block.values() if b is not None)")),
    edit("last_blocks", "block 0 is no block", "falsy",
         ("if b is not None})", "if b})")),
    edit("last_blocks", "one digit alone", "digits",
         ("if p.isdigit()", "if len(p) == 1 and p.isdigit()")),
    edit("last_blocks", "down from the highest, -1 for none", "in_a_row",
         (BLOCK, BLOCK.replace("None", "-1")),
         ("if b is not None}", "if b >= 0}"),
         (CHOSEN, "range(max(numbers, default=0) - last + 1, max(numbers, default=0) + 1)"),
         (NAMES, NAMES.replace("block[n] in", "numbers and block[n] in"))),
    edit("last_blocks", "one block too few", "count", (CHOSEN, "set(numbers[1 - last :])")),
    edit("last_blocks", "raises where one block has none", "raised",
         ("    if not names:", "    if len({block[n] for n in names}) < min(last, len(numbers)):")),
    edit("last_blocks", "the highest block first", "sorted",
         ("return names", "return sorted(names, key=block.get, reverse=True)")),
    edit("last_blocks", "one name twice", "other", ("return names", "return names + names[:1]")),
    edit("last_blocks", "pairs", "other",
         ("return names", "return [(n, layers[n]) for n in names]")),
    edit("last_blocks", "sorted by block", "sorted",
         ("return names", "return sorted(names, key=block.get)")),
    edit("urgent", "order not reversed", "order", ("reversed(order)", "order")),
    edit("urgent", "by number", "order", ("reversed(order)", "sorted(order, reverse=True)")),
    edit("urgent", "more than", "at_least", (FIT, FIT.replace(">=", ">"))),
    edit("urgent", "one pixel", "one_pixel", (FIT, "(cut == kind).sum((2, 4)) >= 1")),
    edit("urgent", "the other classes as well", "left_out",
         ("reversed(order)",
          "reversed([*order, *(k for k in masks.unique().tolist() if k not in order)])")),
    edit("urgent", "the most frequent", "most",
         ("    for kind in reversed(order):\n"
          "        labels[(cut == kind).sum((2, 4)) >= least] = kind\n",
          "    counts = torch.stack([(cut == k).sum((2, 4)) for k in order])\n"
          "    best = counts.max(0)\n"
          "    kinds = torch.tensor(order)[best.indices]\n"
          "    labels = torch.where(best.values >= least, kinds, 0)\n")),
    edit("urgent", "the most frequent of all", "most",
         ("return labels", "return cut.transpose(2, 3).flatten(3).mode(-1).values")),
    edit("urgent", "from the largest number down", "order",
         ("reversed(order)", "sorted(order)")),
    edit("urgent", "always two", "two_pixels", (FIT, "(cut == kind).sum((2, 4)) >= 2")),
    edit("urgent", "0 means free", "zero",
         ("reversed(order)", "order"), (f"[{FIT}]", f"[(labels == 0) & ({FIT})]")),
    edit("urgent", "0 is left out", "zero", ("reversed(order)", "filter(None, reversed(order))")),
    edit("urgent", "the place in order", "place", ("] = kind", "] = order.index(kind)")),
    edit("urgent", "the place in order, from 1", "place",
         ("] = kind", "] = order.index(kind) + 1")),
    edit("urgent", "as in the chapter", "chapter_order",
         ("reversed(order)", "(2, 1)")),
    edit("urgent", "int32", "other", ("return labels", "return labels.int()")),
    edit("urgent", "minus one for none", "none", ("torch.zeros_like(", "-1 + torch.zeros_like(")),
    edit("urgent", "pixels of the more urgent count, too", "together",
         ("reversed(order)", "range(len(order), 0, -1)"),
         (FIT, "sum((cut == k).sum((2, 4)) for k in order[:kind]) >= least"),
         ("] = kind", "] = order[kind - 1]")),
    edit("urgent", "the largest number", "max",
         ("return labels", "return cut.amax((2, 4))")),
    edit("urgent", "one pixel of each", "corner", ("return labels", "return cut[:, :, 0, :, 0]")),
    edit("urgent", "transposed", "transposed", ("return labels", "return labels.mT")),
    edit("urgent", "counts one axis", "corner", (FIT, "(cut == kind).sum(2)[..., 0] >= least")),
    edit("urgent", "float", "other", ("return labels", "return labels.float()")),
    edit("urgent", "reverses the list", "changed",
         ("for kind in reversed(order)", "order.reverse()\n    for kind in order")),
    edit("urgent", "writes into the masks", "changed",
         (f"cut = {CUT}", f"masks[masks == 4] = 0\n    cut = {CUT}")),
    edit("expand", "picture in front", "elsewhere",
         (PARTS, "torch.cat([picture, table[row[:at]], table[row[at + 1 :]]])"),
         (ASKED, "torch.cat([nothing, label[:at], label[at + 1 :]])")),
    edit("expand", "placeholder kept", "kept",
         (PARTS, "torch.cat([table[row[:at]], picture, table[row[at :]]])"),
         (ASKED, "torch.cat([label[:at], nothing, label[at :]])")),
    edit("expand", "place of the first row", "one_place",
         ("at = int((row == -200).nonzero())",
          "at = int((ids[0] == -200).nonzero())")),
    edit("expand", "vectors in front, labels right", "elsewhere",
         (PARTS, "torch.cat([picture, table[row[:at]], table[row[at + 1 :]]])")),
    edit("expand", "picture at the end", "elsewhere",
         (PARTS, "torch.cat([table[row[:at]], table[row[at + 1 :]], picture])")),
    edit("expand", "the first picture in all rows", "one_picture",
         (PARTS, PARTS.replace("picture", "seen[0]"))),
    edit("expand", "the placeholder's label stays", "own_label",
         (ASKED, "torch.cat([label[: at + 1], nothing[1:], label[at + 1 :]])")),
    edit("expand", "the placeholder's label stays behind", "own_label",
         (ASKED, "torch.cat([label[:at], nothing[1:], label[at:]])")),
    edit("expand", "the placeholder's label, n times", "own_label",
         ("label.new_full((len(picture),), -100)", "label[at].repeat(len(picture))")),
    edit("expand", "labels that do not grow", "other", ("torch.stack(asked)", "labels")),
    edit("expand", "float labels", "other", ("torch.stack(asked)", "torch.stack(asked).float()")),
    edit("expand", "lists of tensors", "type",
         ("torch.stack(vectors), torch.stack(asked)", "vectors, asked")),
    edit("expand", "always four", "always_four", ("(len(picture),)", "(4,)")),
    edit("expand", "the prompt's labels go, too", "label_missing",
         (ASKED, "torch.cat([torch.full_like(label[:at], -100), nothing, label[at + 1 :]])")),
    edit("expand", "backwards", "backwards", (PARTS, PARTS.replace("picture", "picture.flip(0)"))),
    edit("expand", "labels zero", "label_number", ("-100)", "0)")),
    edit("expand", "labels -200", "label_number", ("-100)", "-200)")),
    edit("expand", "labels at the end", "labels_elsewhere",
         (ASKED, "torch.cat([label[:at], label[at + 1 :], nothing])")),
    edit("expand", "detached", "no_gradient",
         (PARTS, PARTS.replace("picture", "picture.detach()"))),
    edit("expand", "one vector", "one_vector",
         (PARTS, PARTS.replace("picture", "picture[:1].expand(len(picture), -1)"))),
    edit("expand", "vectors alone", "type",
         ("return torch.stack(vectors), torch.stack(asked)", "return torch.stack(vectors)")),
    edit("expand", "writes into the labels", "changed",
         ("    vectors, asked = [], []", "    labels[:, 0] = 5\n    vectors, asked = [], []")),
]  # fmt: skip

RIGHT += [
    Answer(
        "lora_conv",
        "layers of torch, weights put in by functional_call",
        "",
        code="""
def lora_conv(conv, A, B, scaling, x):
    new = {"weight": conv.weight + conv_delta(A, B, scaling)}
    return torch.func.functional_call(conv, new, (x,))


def conv_delta(A, B, scaling):
    return torch.tensordot(B * scaling, A, dims=1)
""",
    ),
    Answer(
        "lora_conv",
        "B over the last axis",
        "",
        code="""
def lora_conv(conv, A, B, scaling, x):
    down = torch.conv2d(x, A, stride=conv.stride, padding=conv.padding, dilation=conv.dilation)
    up = nn.functional.linear(down.permute(0, 2, 3, 1), B).permute(0, 3, 1, 2)
    return up.mul(scaling).add(conv.forward(x))


def conv_delta(A, B, scaling):
    return sum(B[:, k, None, None, None] * A[k] for k in range(len(A))) * scaling
""",
    ),
    Answer(
        "last_blocks",
        "regular expression at the dots",
        "",
        code="""
def last_blocks(layers, last):
    import re

    found = {n: re.search(r"(?:^|\\.)(\\d+)(?=\\.|$)", n) for n in layers}
    number = {n: int(m.group(1)) for n, m in found.items() if m}
    kept = sorted(set(number.values()), reverse=True)[:last]
    chosen = list(filter(lambda n: layers[n] == "Linear" and number.get(n) in kept, layers))
    if chosen == []:
        raise ValueError
    return chosen
""",
    ),
    Answer(
        "urgent",
        "max pool of counts, argmax over order",
        "",
        code="""
def urgent(masks, size, least, order):
    hot = torch.stack([(masks == k).float() for k in order], 1)
    n = nn.functional.avg_pool2d(hot, size) * size**2
    enough = (n.round() >= least).to(torch.int64)
    place = enough.argmax(1)
    return torch.tensor(order)[place] * enough.amax(1)
""",
    ),
    Answer(
        "expand",
        "index into words and pictures",
        "",
        code="""
def expand(ids, labels, table, seen):
    n = seen.shape[1]
    times = torch.where(ids == -200, n, 1)
    rows = [
        table.index_select(0, r.clamp(min=0)).repeat_interleave(t, 0)
        for r, t in zip(ids, times, strict=True)
    ]
    spots = torch.stack(
        [(r == -200).repeat_interleave(t) for r, t in zip(ids, times, strict=True)]
    )
    told = torch.stack([l.repeat_interleave(t) for l, t in zip(labels, times, strict=True)])
    vectors = torch.stack(rows).index_put((spots,), seen.reshape(-1, seen.shape[-1]))
    return vectors, torch.where(spots, -100, told)
""",
    ),
]

WRONG += [
    Answer(
        "lora_conv",
        "base without a graph",
        "base_cut",
        edits=(("return conv(x) +", "return conv(x).detach() +"),),
    ),
    Answer(
        "lora_conv",
        "base under no_grad",
        "base_cut",
        edits=(
            (
                "    return conv(x) +",
                ("    with torch.no_grad():\n        base = conv(x)\n    return base +"),
            ),
        ),
    ),
    Answer(
        "lora_conv",
        "x detached for the update",
        "update_cut",
        edits=(("conv2d(x, A,", "conv2d(x.detach(), A,"),),
    ),
    Answer(
        "lora_conv",
        "all under no_grad",
        "cut_off",
        edits=(("def lora_conv(", ("@torch.no_grad()\ndef lora_conv(")),),
    ),
    Answer("lora_conv", "B without its kernel", "raised", edits=(("B[:, :, None, None]", "B"),)),
    Answer(
        "lora_conv",
        "B transposed",
        "raised",
        edits=(("B[:, :, None, None]", "B.T[:, :, None, None]"),),
    ),
    Answer(
        "lora_conv",
        "bias of the base in A",
        "raised",
        edits=(("conv2d(x, A, None,", "conv2d(x, A, conv.bias,"),),
    ),
    Answer(
        "lora_conv",
        "stride and padding swapped",
        "raised",
        edits=(("conv.stride, conv.padding,", "conv.padding, conv.stride,"),),
    ),
    Answer(
        "lora_conv",
        "stride in B as well",
        "raised",
        edits=(("B[:, :, None, None])", "B[:, :, None, None], None, conv.stride)"),),
    ),
    Answer(
        "lora_conv",
        "padding in B as well",
        "raised",
        edits=(("B[:, :, None, None])", "B[:, :, None, None], None, 1, conv.padding)"),),
    ),
    Answer(
        "lora_conv",
        "only the first of stride",
        "raised",
        edits=(("conv.stride, conv.padding", "conv.stride[0], conv.padding"),),
    ),
    Answer(
        "lora_conv",
        "only the first of padding",
        "raised",
        edits=(("conv.padding, conv.dilation", "conv.padding[0], conv.dilation"),),
    ),
    Answer(
        "lora_conv", "times r", "over_r", edits=(("+ scaling * nn", "+ scaling * len(A) * nn"),)
    ),
    Answer(
        "lora_conv",
        "scales A in place",
        "changed",
        edits=(
            ("    down =", ("    A *= scaling\n    down =")),
            ("+ scaling * nn", "+ nn"),
        ),
    ),
    Answer(
        "lora_conv",
        "update of the output",
        "raised",
        edits=(
            (
                "nn.functional.conv2d(x, A, None, conv.stride, conv.padding, conv.dilation)",
                "nn.functional.conv2d(conv(x), A, None)",
            ),
        ),
    ),
    Answer(
        "lora_conv",
        "delta of the flipped kernel",
        "axes",
        edits=(("view(len(B), *A.shape[1:])", "view(len(B), *A.shape[1:]).flip(2, 3)"),),
    ),
    Answer(
        "lora_conv",
        "delta with axes exchanged",
        "axes",
        edits=((".view(len(B), *A.shape[1:])", ".view(len(B), *A.shape[1:]).transpose(0, 1)"),),
    ),
    Answer(
        "lora_conv",
        "delta as a square",
        "other",
        edits=(
            (
                "scaling * (B @ A.flatten(1)).view(len(B), *A.shape[1:])",
                "scaling * torch.einsum('or,rihw->oi', B, A)[:, :, None, None]",
            ),
        ),
    ),
    Answer(
        "lora_conv",
        "delta of A alone",
        "other",
        edits=(("scaling * (B @ A.flatten(1)).view(len(B), *A.shape[1:])", "scaling * A"),),
    ),
    Answer(
        "lora_conv",
        "delta with the weight",
        "scaled_twice",
        edits=(
            (
                "scaling * (B @ A.flatten(1)).view(len(B), *A.shape[1:])",
                "scaling**2 * (B @ A.flatten(1)).view(len(B), *A.shape[1:])",
            ),
        ),
    ),
    Answer(
        "last_blocks",
        "the last block alone",
        "count",
        edits=(
            (
                "set(numbers[len(numbers) - last :] if last < len(numbers) else numbers)",
                "{numbers[-1]} if numbers else set()",
            ),
        ),
    ),
    Answer(
        "last_blocks",
        "the block so many from the end",
        "count",
        edits=(
            (
                "set(numbers[len(numbers) - last :] if last < len(numbers) else numbers)",
                "{numbers[-last:][0]} if numbers else set()",
            ),
        ),
    ),
    Answer(
        "last_blocks",
        "from a number on",
        "in_a_row",
        edits=(("block[n] in chosen", "block[n] is not None and block[n] >= max(numbers) - last"),),
    ),
    Answer(
        "last_blocks",
        "number above the count",
        "in_a_row",
        edits=(("block[n] in chosen", "block[n] is not None and block[n] >= len(numbers) - last"),),
    ),
    Answer(
        "last_blocks",
        "number by position in the name",
        "raised",
        edits=(
            (
                'next((int(p) for p in n.split(".") if p.isdigit()), None)',
                'next((int(p) for p in n.split(".")[2:3] if p.isdigit()), None)',
            ),
        ),
    ),
    Answer(
        "last_blocks",
        "names of the first library only",
        "raised",
        edits=(
            (
                'next((int(p) for p in n.split(".") if p.isdigit()), None)',
                'int(n.split("layer.")[1].split(".")[0]) if "layer." in n else None',
            ),
        ),
    ),
    Answer(
        "last_blocks",
        "no block counts as block 0",
        "head",
        edits=(
            ("if p.isdigit()), None)", "if p.isdigit()), 0)"),
            ("if b is not None", ""),
        ),
    ),
    Answer(
        "last_blocks",
        "no block counts as block -1",
        "head",
        edits=(
            ("if p.isdigit()), None)", "if p.isdigit()), -1)"),
            ("if b is not None", ""),
        ),
    ),
    Answer(
        "last_blocks",
        "an IndexError without blocks",
        "no_error",
        edits=(("    chosen =", ("    numbers[-1]\n    chosen =")),),
    ),
    Answer(
        "last_blocks",
        "names of other kinds",
        "other",
        edits=(('kind == "Linear"', 'kind != "Linear"'),),
    ),
    Answer(
        "last_blocks",
        "linear in lower case",
        "raised",
        edits=(('kind == "Linear"', 'kind == "linear"'),),
    ),
    Answer(
        "last_blocks",
        "prints instead of raising",
        "no_error",
        edits=(
            (
                'raise ValueError(f"No linear layer in the last {last} blocks.")',
                'print("nothing left")',
            ),
        ),
    ),
    Answer(
        "last_blocks",
        "pops from the dict",
        "changed",
        edits=(
            (
                "    names = ",
                (
                    "    for n in [n for n, k in layers.items() if k != 'Linear']:\n"
                    "        layers.pop(n)\n"
                    "    names = "
                ),
            ),
        ),
    ),
    Answer(
        "last_blocks",
        "a dict",
        "type",
        edits=(("return names", "return {n: layers[n] for n in names}"),),
    ),
    Answer(
        "last_blocks",
        "one layer of each block",
        "some_layers",
        edits=(("return names", "return list({block[n]: n for n in names}.values())"),),
    ),
    Answer(
        "last_blocks",
        "the last names",
        "some_layers",
        edits=(("return names", "return names[-last:]"),),
    ),
    Answer(
        "urgent",
        "frees the first pixels only",
        "strided",
        edits=(
            (
                "masks.unflatten(2, (-1, size)).unflatten(1, (-1, size))",
                "masks.unflatten(2, (size, -1)).unflatten(1, (size, -1)).permute(0, 2, 1, 4, 3)",
            ),
        ),
    ),
    Answer(
        "urgent",
        "the size the other way round",
        "strided",
        edits=(
            (
                "unflatten(2, (-1, size)).unflatten(1, (-1, size))",
                "unflatten(2, (size, -1)).unflatten(1, (size, -1))",
            ),
        ),
    ),
    Answer(
        "urgent",
        "sizes of the chapter",
        "raised",
        edits=(
            (
                "masks.unflatten(2, (-1, size)).unflatten(1, (-1, size))",
                "masks.unflatten(2, (-1, 4)).unflatten(1, (-1, 4))",
            ),
        ),
    ),
    Answer(
        "urgent", "a share of the pixels", "one_pixel", edits=((">= least", ">= least / size"),)
    ),
    Answer("urgent", "exactly least", "at_least", edits=((">= least", "== least"),)),
    Answer(
        "urgent",
        "the first that is there at all",
        "one_pixel",
        edits=(
            (".sum((2, 4)) >= least", ".sum((2, 4)).bool() & ((cut == kind).sum((2, 4)) >= 1)"),
        ),
    ),
    Answer("urgent", "flags", "place", edits=(("] = kind", "] = 1"),)),
    Answer(
        "urgent",
        "counts",
        "place",
        edits=(("] = kind", "] = (cut == kind).sum((2, 4))[(cut == kind).sum((2, 4)) >= least]"),),
    ),
    Answer(
        "urgent",
        "none is the last of order",
        "none",
        edits=(
            (
                "torch.zeros_like(cut[:, :, 0, :, 0])",
                "torch.full_like(cut[:, :, 0, :, 0], order[-1])",
            ),
        ),
    ),
    Answer(
        "urgent",
        "none is the first of order",
        "none",
        edits=(
            (
                "torch.zeros_like(cut[:, :, 0, :, 0])",
                "torch.full_like(cut[:, :, 0, :, 0], order[0])",
            ),
        ),
    ),
    Answer(
        "urgent",
        "the pixel in the middle",
        "corner",
        edits=(("return labels", "return cut[:, :, size // 2, :, size // 2]"),),
    ),
    Answer(
        "urgent",
        "the smallest number",
        "max",
        edits=(("return labels", "return cut.amin((2, 4))"),),
    ),
    Answer(
        "urgent",
        "one row of a patch",
        "corner",
        edits=((".sum((2, 4)) >= least", "[:, :, 0].sum(3) >= least"),),
    ),
    Answer(
        "urgent", "flat patches", "other", edits=(("return labels", "return labels.flatten(1)"),)
    ),
    Answer("urgent", "a list", "other", edits=(("return labels", "return labels.tolist()"),)),
    Answer(
        "urgent",
        "only the first picture",
        "other",
        edits=(("return labels", "return labels[:1].expand(len(labels), -1, -1)"),),
    ),
    Answer(
        "urgent",
        "pops the order",
        "changed",
        edits=(("for kind in reversed(order):", ("while order:\n        kind = order.pop()")),),
    ),
    Answer(
        "expand",
        "the row at 200 from the end",
        "kept",
        edits=(
            (
                "torch.cat([table[row[:at]], picture, table[row[at + 1 :]]])",
                (
                    "torch.cat([table[row[:at]], picture, table[row[at:]]])[: len(row) - 1 + "
                    "len(picture)]"
                ),
            ),
        ),
    ),
    Answer(
        "expand",
        "overwrites what follows",
        "raised",
        edits=(
            (
                "torch.cat([table[row[:at]], picture, table[row[at + 1 :]]])",
                "torch.cat([table[row[:at]], picture, table[row[at + len(picture) :]]])",
            ),
        ),
    ),
    Answer(
        "expand",
        "one place later",
        "kept",
        edits=(
            (
                "torch.cat([table[row[:at]], picture, table[row[at + 1 :]]])",
                "torch.cat([table[row[: at + 1]], picture, table[row[at + 1 :]]])",
            ),
        ),
    ),
    Answer("expand", "label -1", "label_number", edits=(("-100)", "-1)"),)),
    Answer(
        "expand",
        "labels shifted",
        "shifted",
        edits=(
            (
                "return torch.stack(vectors), torch.stack(asked)",
                "return torch.stack(vectors), torch.stack(asked).roll(-1, 1)",
            ),
        ),
    ),
    Answer(
        "expand",
        "returns the ids",
        "ids",
        edits=(
            (
                "asked.append(torch.cat([label[:at], nothing, label[at + 1 :]]))",
                "asked.append(torch.cat([row[:at], nothing, row[at + 1 :]]))",
            ),
        ),
    ),
    Answer(
        "expand",
        "labels first",
        "swapped",
        edits=(
            (
                "return torch.stack(vectors), torch.stack(asked)",
                "return torch.stack(asked), torch.stack(vectors)",
            ),
        ),
    ),
    Answer(
        "expand",
        "under no_grad",
        "no_gradient",
        edits=(("def expand(", ("@torch.no_grad()\ndef expand(")),),
    ),
    Answer(
        "expand",
        "placeholder found by the largest id",
        "other",
        edits=(("int((row == -200).nonzero())", "int(row.argmax())"),),
    ),
    Answer(
        "expand",
        "the middle of each row",
        "one_place",
        edits=(("int((row == -200).nonzero())", "len(row) // 2"),),
    ),
    Answer(
        "expand",
        "one row only",
        "other",
        edits=(("return torch.stack(vectors), torch.stack(asked)", "return vectors[0], asked[0]"),),
    ),
    Answer(
        "expand",
        "table with a zero row for the placeholder",
        "changed",
        edits=(
            (
                "    vectors, asked = [], []",
                ("    ids[ids == -200] = 0\n    vectors, asked = [], []"),
            ),
            ("int((row == -200).nonzero())", "int((row == 0).nonzero()[0])"),
        ),
    ),
    Answer(
        "expand",
        "all labels of the row -100",
        "label_missing",
        edits=(
            (
                "asked.append(torch.cat([label[:at], nothing, label[at + 1 :]]))",
                "asked.append(torch.full((len(label) - 1 + len(picture),), -100))",
            ),
        ),
    ),
    Answer(
        "expand",
        "picture added to the placeholder",
        "other",
        edits=(
            (
                "torch.cat([table[row[:at]], picture, table[row[at + 1 :]]])",
                "torch.cat([table[row[:at]], picture + table[row[at]], table[row[at + 1 :]]])",
            ),
        ),
    ),
    Answer(
        "expand",
        "joined along the numbers",
        "other",
        edits=(
            (
                "return torch.stack(vectors), torch.stack(asked)",
                "return torch.cat(vectors), torch.cat(asked)",
            ),
        ),
    ),
    Answer(
        "expand",
        "picture of the next row",
        "one_picture",
        edits=(
            (
                "picture, table[row[at + 1 :]]])",
                "seen.roll(-1, 0)[len(vectors)], table[row[at + 1 :]]])",
            ),
        ),
    ),
]
