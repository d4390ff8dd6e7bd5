"""Right and wrong answers to the exercises of chapter 19."""

from tests.answers import Answer

HELD = '{id(p) for group in optimizer.param_groups for p in group["params"]}'
WANTED = "{id(p) for p in model.parameters() if p.requires_grad}"
FINE = 'return "fine" if wanted <= held else "some missing"'
TRAINED = "[p for p in model.parameters() if p.requires_grad]"
RATE = 'optimizer.param_groups[0]["lr"]'
SHIFTED = '    if torch.equal(labels, shifted):\n        return "shifted"\n'
PROMPT = '    if (labels[:start] != -100).any():\n        return "prompt graded"\n'
NEAR = "delta.abs().max() / 100"
CLOSE = "(stored - W - times * delta).abs().max() <= near"
KEPT = '"".join(c if c.isalnum() else " " for c in text.casefold())'
LARGE = "pair.first.numel() + pair.second.numel() >= weight"


def edit(exercise, note, mistake, *edits):
    return Answer(exercise, note, mistake, edits=edits)


OPTIMIZER_CURE = """

def cure_optimizer(model, optimizer):
    trained = [p for p in model.parameters() if p.requires_grad]
    return torch.optim.AdamW(trained, lr=optimizer.param_groups[0]["lr"])
"""
LABEL_CURE = """

def cure_labels(ids, mask, start):
    right = ids.clone()
    right[:start] = -100
    right[mask == 0] = -100
    return right
"""

RIGHT = [
    Answer(
        "optimizer_case",
        "loops with is",
        code="""
def diagnose_optimizer(model, optimizer):
    trained = [p for p in model.parameters() if p.requires_grad]
    if not trained:
        return "nothing trains"
    found = 0
    for p in trained:
        for group in optimizer.param_groups:
            if any(p is q for q in group["params"]):
                found += 1
                break
    return {0: "none held", len(trained): "fine"}.get(found, "some missing")


def cure_optimizer(model, optimizer):
    lr = optimizer.param_groups[0]["lr"]
    groups = [{"params": [p], "lr": lr} for p in model.parameters() if p.requires_grad]
    return torch.optim.AdamW(groups)
""",
    ),
    edit(
        "optimizer_case",
        "filter",
        "",
        (TRAINED, "list(filter(lambda p: p.requires_grad, model.parameters()))"),
    ),
    Answer(
        "label_case",
        "where and arange",
        code="""
def diagnose_labels(ids, labels, mask, start):
    right = cure_labels(ids, mask, start)
    if torch.equal(labels[:-1], right[1:]) and labels[-1] == -100:
        return "shifted"
    wrong = (labels != right).nonzero().flatten()
    if len(wrong) == 0:
        return "fine"
    if wrong[0] < start:
        return "prompt graded"
    return "filler graded" if mask[wrong[0]] == 0 else "end lost"


def cure_labels(ids, mask, start):
    place = torch.arange(len(ids))
    return torch.where((place >= start) & mask.bool(), ids, -100)
""",
    ),
    edit(
        "label_case",
        "masked fill",
        "",
        (
            LABEL_CURE.split("start):\n    ")[1].rstrip(),
            "off = mask.eq(0)\n    off[:start] = True\n    return ids.masked_fill(off, -100)",
        ),
    ),
    Answer(
        "merge_case",
        "distances in a list",
        code="""
def diagnose_merge(stored, W, delta):
    far = [float((stored - (W + k * delta)).abs().amax()) for k in range(3)]
    best = min(range(3), key=far.__getitem__)
    if far[best] > 0.01 * float(delta.abs().amax()):
        return "another base"
    return ["base", "merged", "merged twice"][best]


def cure_merge(stored, delta, case):
    if case == "base":
        return stored + delta
    if case == "merged":
        return stored.clone()
    if case == "merged twice":
        return stored - delta
    raise ValueError(case)
""",
    ),
    edit(
        "merge_case",
        "allclose",
        "",
        (CLOSE, "torch.allclose(stored, W + times * delta, rtol=0, atol=float(near))"),
    ),
    Answer(
        "leaks",
        "a regular expression for what is no letter or digit",
        code="""
import re

def find_leaks(train, test):
    def clean(text):
        return re.sub(r"[\\W_]+", " ", text.casefold()).strip()
    train = [clean(t) for t in train]
    leaked = [n for n, t in enumerate(test) if clean(t) and clean(t) in train]
    test = [clean(t) for t in test]
    repeated = [n for n, t in enumerate(test) if t and t in test[:n] and n not in leaked]
    return leaked, repeated


def cure_test(train, test):
    left = dict(enumerate(test))
    for places in find_leaks(train, test):
        for place in places:
            left.pop(place)
    return list(left.values())
""",
    ),
    edit(
        "leaks",
        "arrays",
        "",
        ("return leaked, repeated", "return torch.tensor(leaked), torch.tensor(repeated)"),
        ("leaked + repeated]", "{*leaked.tolist(), *repeated.tolist()}]"),
    ),
    Answer(
        "rank_rule",
        "shapes by name, a list comprehension",
        code="""
def adapter_smaller_than_weight(run):
    if len(run.pairs) == 0:
        raise Undecided("There is no adapter to look at.")
    large = []
    for pair in run.pairs:
        (r, wide), (out, _) = pair.first.shape, pair.second.shape
        if r * (wide + out) >= wide * out:
            large += [f"{pair.layer} (r = {r})"]
    return problem("; ".join(large), "Take a smaller r.") if large else ok()
""",
    ),
    edit(
        "rank_rule",
        "nelement",
        "",
        (LARGE, "pair.first.nelement() + pair.second.nelement() >= weight"),
    ),
]

RIGHT += [
    Answer(
        "rate_case",
        "a table of rates, the best one",
        code="""
import numpy as np

def diagnose_rate(losses, moved):
    losses = np.array(losses)
    if not moved:
        return "nothing moves"
    if not np.isfinite(losses).all() or losses.max() > losses[0]:
        return "too high"
    return "fine" if 2 * losses[-1] <= losses[0] else "too low"


def cure_rate(train, rate):
    for power in range(-14, 3):
        case = diagnose_rate(*train(10 ** (power / 2)))
        if case == "fine":
            return 10 ** (power / 2)
        if case == "nothing moves":
            break
    raise ValueError
""",
    ),
    Answer(
        "rate_case",
        "halving between two bounds, a tensor back",
        code="""
def diagnose_rate(losses, moved):
    first, *_, last = losses
    if moved == 0.0:
        return "nothing moves"
    if math.inf == first or not all(x <= first for x in losses):
        return "too high"
    return "too low" if last / first > 0.5 else "fine"


def cure_rate(train, rate):
    low, high = math.log(1e-9), math.log(1e4)
    while True:
        middle = (low + high) / 2
        case = diagnose_rate(*train(math.exp(middle)))
        if case == "fine":
            return torch.tensor(math.exp(middle))
        if case == "nothing moves":
            raise ValueError("not held by the optimizer?")
        low, high = (middle, high) if case == "too low" else (low, middle)
""",
    ),
    edit("rate_case", "twice", "", ("rate * 5", "rate * 2"), ("rate / 5", "rate / 2")),
    Answer(
        "flags_case",
        "sets of names, only the wrong flags are set",
        code="""
def role(name, new):
    path = name.split(".")
    if any(path[:len(m.split("."))] == m.split(".") for m in new):
        return "head"
    return "factor" if "lora_A" in path or "lora_B" in path else "base"


def diagnose_flags(model, new):
    on = {n for n, p in model.named_parameters() if p.requires_grad}
    names = dict(model.named_parameters()).keys()
    if not on:
        return "nothing trains"
    if any(role(n, new) == "base" for n in on):
        return "base trains"
    off = {role(n, new) for n in names - on}
    return "head frozen" if "head" in off else "factor frozen" if "factor" in off else "fine"


def cure_flags(model, new):
    for n, p in model.named_parameters():
        if p.requires_grad != (role(n, new) != "base"):
            p.requires_grad_(not p.requires_grad)
""",
    ),
    Answer(
        "flags_case",
        "freeze all, then the modules",
        code="""
def role(name, new):
    for module in new:
        if name.removeprefix(module + ".") != name:
            return "head"
    return "factor" if ".lora_A." in f".{name}." or ".lora_B." in f".{name}." else "base"


def diagnose_flags(model, new):
    seen = {(role(n, new), p.requires_grad) for n, p in model.named_parameters()}
    if not any(on for _, on in seen):
        return "nothing trains"
    for wrong, word in ((("base", True), "base trains"), (("head", False), "head frozen"),
                        (("factor", False), "factor frozen")):
        if wrong in seen:
            return word
    return "fine"


def cure_flags(model, new):
    model.requires_grad_(False)
    for name in new:
        model.get_submodule(name).requires_grad_(True)
    for name, p in model.named_parameters():
        if ".lora_" in name:
            p.requires_grad_()
    return model
""",
    ),
    edit(
        "leaks",
        "a loop that pops",
        "",
        (
            "return [text for place, text in enumerate(test) if place not in leaked + repeated]",
            "left = list(test)\n    for place in sorted(leaked + repeated, reverse=True):\n"
            "        del left[place]\n    return tuple(left)",
        ),
    ),
]


def cured(note, mistake, *edits):
    """A right diagnosis, and another cure."""
    code = source_of_diagnosis + LABEL_CURE
    for old, new in edits:
        assert old in code
        code = code.replace(old, new)
    return Answer("label_case", note, mistake, code=code)


source_of_diagnosis = """
def diagnose_labels(ids, labels, mask, start):
    place = torch.arange(len(ids))
    right = torch.where((place >= start) & mask.bool(), ids, -100)
    if torch.equal(labels[:-1], right[1:]) and labels[-1] == -100:
        return "shifted"
    wrong = (labels != right).nonzero().flatten()
    if len(wrong) == 0:
        return "fine"
    if wrong[0] < start:
        return "prompt graded"
    return "filler graded" if mask[wrong[0]] == 0 else "end lost"
"""

WRONG = [
    cured("the end stays out", "other", ("[mask == 0]", "[int(mask.sum()) - 1 :]")),
    cured("filler stays graded", "other", ("    right[mask == 0] = -100\n", "")),
    cured("the prompt stays graded", "other", ("    right[:start] = -100\n", "")),
    cured("one late", "other", ("right[:start]", "right[: start + 1]")),
    cured(
        "shifted as well",
        "cured_shifted",
        ("return right\n", "return torch.cat([right[1:], right.new_tensor([-100])])\n"),
    ),
    cured("writes into ids", "other", ("ids.clone()", "ids")),
    cured("the mask alone, by number", "by_number", ("[mask == 0]", "[ids == ids[-1]]")),
    edit("optimizer_case", "one is enough", "other", (FINE, 'return "fine"')),
    edit("optimizer_case", "sets must be equal", "other", ("wanted <= held", "wanted == held")),
    edit(
        "optimizer_case",
        "the first group alone",
        "other",
        (HELD, '{id(p) for p in optimizer.param_groups[0]["params"]}'),
    ),
    edit(
        "optimizer_case",
        "asks for frozen last",
        "other",
        ('    if not wanted:\n        return "nothing trains"\n', ""),
    ),
    edit(
        "optimizer_case",
        "an empty set is fine",
        "other",
        ('return "nothing trains"', 'return "fine"'),
    ),
    Answer(
        "optimizer_case",
        "counts parameters",
        "counts",
        code="""
def diagnose_optimizer(model, optimizer):
    held = sum(len(group["params"]) for group in optimizer.param_groups)
    trained = sum(p.requires_grad for p in model.parameters())
    if trained == 0:
        return "nothing trains"
    if held == 0:
        return "none held"
    return "fine" if held >= trained else "some missing"
"""
        + OPTIMIZER_CURE,
    ),
    Answer(
        "optimizer_case",
        "compares by shape",
        "counts",
        code="""
def diagnose_optimizer(model, optimizer):
    held = [p for group in optimizer.param_groups for p in group["params"] if p.requires_grad]
    shapes = {p.shape for p in held}
    wanted = [p.shape in shapes for p in model.parameters() if p.requires_grad]
    if not wanted:
        return "nothing trains"
    if not any(wanted):
        return "none held"
    return "fine" if all(wanted) else "some missing"
"""
        + OPTIMIZER_CURE,
    ),
    edit(
        "optimizer_case",
        "cure with all parameters",
        "other",
        (TRAINED, "list(model.parameters())"),
    ),
    edit(
        "optimizer_case",
        "cure from the old list",
        "other",
        (TRAINED, "[p for g in optimizer.param_groups for p in g['params']]"),
    ),
    edit("optimizer_case", "the default rate", "other", (f", lr={RATE}", "")),
    edit(
        "optimizer_case",
        "the last group's rate",
        "other",
        (RATE, 'optimizer.param_groups[-1]["lr"]'),
    ),
    edit("optimizer_case", "Adam", "other", ("torch.optim.AdamW", "torch.optim.Adam")),
    edit(
        "optimizer_case",
        "adds to the old optimizer",
        "other",
        (
            f"return torch.optim.AdamW(trained, lr={RATE})",
            "optimizer.param_groups[0]['params'] = trained\n    return optimizer",
        ),
    ),
    edit(
        "optimizer_case",
        "unfreezes everything first",
        "other",
        (TRAINED, "list(model.requires_grad_(True).parameters())"),
    ),
    edit("label_case", "no question about the shift", "shift_unseen", (SHIFTED, "")),
    edit(
        "label_case",
        "the end before the shift",
        "shift_unseen",
        (SHIFTED, '    if labels[last] == -100:\n        return "end lost"\n' + SHIFTED),
    ),
    edit(
        "label_case",
        "filler is not looked at",
        "other",
        ("if torch.equal(labels, right):", "if torch.equal(labels[mask == 1], right[mask == 1]):"),
    ),
    edit(
        "label_case",
        "the end is not looked at",
        "other",
        (
            'return "end lost" if labels[last] == -100 else "filler graded"',
            'return "fine" if labels[last] == -100 else "filler graded"',
        ),
    ),
    Answer(
        "label_case",
        "the end token is not graded",
        "other",
        code="""
def diagnose_labels(ids, labels, mask, start):
    right = ids.clone()
    right[:start] = -100
    right[mask == 0] = -100
    shifted = torch.cat([right[1:], right.new_tensor([-100])])
    if torch.equal(labels, right):
        return "fine"
    if torch.equal(labels, shifted):
        return "shifted"
    if (labels[:start] != -100).any():
        return "prompt graded"
    return "end lost" if labels[int(mask.sum()) - 1] == -100 else "filler graded"


def cure_labels(ids, mask, start):
    right = ids.clone()
    right[:start] = -100
    right[int(mask.sum()) - 1:] = -100
    return right
""",
    ),
    edit(
        "label_case",
        "masks the number of the filler",
        "other",
        ("right[mask == 0] = -100", "right[ids == ids[-1]] = -100\n    right[start] = -1"),
    ),
    edit(
        "label_case",
        "everything from start on",
        "other",
        ("    right[mask == 0] = -100\n", ""),
    ),
    edit("label_case", "writes into ids", "other", ("right = ids.clone()", "right = ids")),
    edit(
        "label_case",
        "one place late",
        "other",
        ("right[:start] = -100", "right[:start + 1] = -100"),
    ),
    edit("merge_case", "equality", "other", (CLOSE, "torch.equal(stored, W + times * delta)")),
    edit(
        "merge_case",
        "the mean difference",
        "other",
        (".abs().max() <= near", ".abs().mean() <= near"),
    ),
    edit(
        "merge_case",
        "the nearest one",
        "other",
        (
            '    return "another base"\n',
            "    far = [(stored - W - t * delta).abs().max() for t in range(3)]\n"
            '    return ("base", "merged", "merged twice")[far.index(min(far))]\n',
        ),
    ),
    edit("merge_case", "a hundredth of the weight", "other", (NEAR, "W.abs().max() / 100")),
    edit(
        "merge_case",
        "always subtracts",
        "other",
        ("stored + (1 - times[case]) * delta", "stored - delta"),
    ),
    edit(
        "merge_case",
        "upside down",
        "other",
        ("stored + (1 - times[case]) * delta", "stored - (1 - times[case]) * delta"),
    ),
    edit(
        "merge_case",
        "in place",
        "other",
        (
            "return stored + (1 - times[case]) * delta",
            "stored += (1 - times[case]) * delta\n    return stored",
        ),
    ),
    edit(
        "merge_case",
        "a KeyError for another base",
        "other",
        ("    if case not in times:\n", "    if False:\n"),
    ),
    edit("merge_case", "an absolute tolerance", "other", (NEAR, "1e-6")),
    edit("leaks", "letter by letter", "other", (f"kept = {KEPT}", "return text")),
    edit("leaks", "small letters only", "other", (f"kept = {KEPT}", "return text.casefold()")),
    edit("leaks", "small letters and spaces", "other", (KEPT, "text.casefold()")),
    edit("leaks", "lower", "other", ("text.casefold()", "text.lower()")),
    edit(
        "leaks",
        "marks vanish with the spaces",
        "other",
        ('c if c.isalnum() else " "', 'c if c.isalnum() else ""'),
    ),
    edit(
        "leaks",
        "sorted words",
        "other",
        ('" ".join(kept.split())', '" ".join(sorted(kept.split()))'),
    ),
    edit(
        "leaks",
        "a set of words",
        "other",
        ('" ".join(kept.split())', '" ".join(sorted(set(kept.split())))'),
    ),
    edit(
        "leaks",
        "nothing equals nothing",
        "other",
        (' - {""}', ""),
        ("elif text and text in seen", "elif text in seen"),
    ),
    edit(
        "leaks",
        "leaked ones are repeated too",
        "other",
        ("        elif text and text in seen:", "        if text and text in seen:"),
    ),
    edit(
        "leaks",
        "parts count",
        "other",
        ("if text in known:", "if text and any(text in k for k in known):"),
    ),
    edit(
        "leaks",
        "the texts themselves",
        "type",
        ("return leaked, repeated", "return [test[n] for n in leaked], repeated"),
    ),
    edit("leaks", "only the first list", "type", ("return leaked, repeated", "return leaked")),
    edit("rank_rule", "only more is too many", "other", (">= weight", "> weight")),
    edit(
        "rank_rule",
        "rank against the sides",
        "other",
        (LARGE, "pair.first.shape[0] >= min(pair.first.shape[1], pair.second.shape[0])"),
    ),
    edit("rank_rule", "A alone", "other", (LARGE, "pair.first.numel() >= weight")),
    edit("rank_rule", "B alone", "other", (LARGE, "pair.second.numel() >= weight")),
    edit("rank_rule", "a fixed rank", "other", (LARGE, "pair.first.shape[0] >= 16")),
    edit(
        "rank_rule",
        "the first pair",
        "other",
        ("for pair in run.pairs:", "for pair in run.pairs[:1]:"),
    ),
    edit(
        "rank_rule",
        "ok without pairs",
        "no_pairs",
        ('raise Undecided("no layer is adapted")', "return ok()"),
    ),
    edit(
        "rank_rule",
        "names every layer",
        "other",
        ("', '.join(large)", "', '.join(p.layer for p in run.pairs)"),
    ),
    edit("rank_rule", "says nothing of what to do", "other", ('"Lower r there."', '""')),
    edit("rank_rule", "names nothing", "other", ("{', '.join(large)}", "{len(large)} layers")),
    edit(
        "rank_rule",
        "a truth value",
        "type",
        (
            'return problem(f"As large as the weight: {\', \'.join(large)}.", "Lower r there.")',
            "return True",
        ),
    ),
    edit(
        "rank_rule",
        "empties the list",
        "other",
        ("for pair in run.pairs:", "while run.pairs:\n        pair = run.pairs.pop()"),
    ),
    edit("optimizer_case", "defaults", "other", (RATE, 'optimizer.defaults["lr"]')),
    edit(
        "optimizer_case",
        "cures what is called lora",
        "other",
        (
            "trained = " + TRAINED,
            'trained = [p for n, p in model.named_parameters() if "lora_" in n]',
        ),
    ),
    edit(
        "optimizer_case",
        "module by module",
        "each_name",
        (
            "trained = " + TRAINED,
            "every = [p for m in model.modules() for p in m.parameters(recurse=False)]\n"
            "    trained = [p for p in every if p.requires_grad]",
        ),
    ),
    edit("label_case", "the first place", "part_of_prompt", ("labels[:start]", "labels[:1]")),
    edit("label_case", "the last place", "part_of_prompt", ("labels[:start]", "labels[start - 1]")),
    edit(
        "label_case",
        "all of the prompt",
        "part_of_prompt",
        ("(labels[:start] != -100).any()", "(labels[:start] != -100).all()"),
    ),
    edit("merge_case", "the largest number", "other", (NEAR, "delta.max() / 100")),
    edit("merge_case", "one side", "other", (CLOSE, CLOSE.replace(".abs()", ""))),
    edit("merge_case", "a tenth", "other", (NEAR, NEAR.replace("100", "10"))),
    edit("merge_case", "a thousandth of one", "other", (NEAR, "1e-3")),
    edit("leaks", "letters only", "other", (KEPT, KEPT.replace("isalnum", "isalpha"))),
    edit(
        "leaks",
        "underscores stay",
        "other",
        (KEPT, KEPT.replace("c.isalnum()", 'c.isalnum() or c == "_"')),
    ),
    edit(
        "leaks",
        "ASCII",
        "other",
        (KEPT, KEPT.replace("c.isalnum()", "c.isalnum() and c.isascii()")),
    ),
    edit(
        "leaks",
        "each word once",
        "other",
        ('" ".join(kept.split())', '" ".join(dict.fromkeys(kept.split()))'),
    ),
    edit(
        "rank_rule",
        "a square weight",
        "other",
        ("pair.second.shape[0] * pair.first.shape[1]", "pair.second.shape[0] ** 2"),
    ),
    edit(
        "rank_rule",
        "a square weight, the other way",
        "other",
        ("pair.second.shape[0] * pair.first.shape[1]", "pair.first.shape[1] ** 2"),
    ),
]

FINITE = "all(math.isfinite(loss) and loss <= losses[0] for loss in losses)"
LOW = 'return "too low" if losses[-1] > losses[0] / 2 else "fine"'
STEP = 'rate * 5 if case == "too low" else rate / 5'
LOOP = """    case = diagnose_rate(*train(rate))
    while case != "fine":
        if case == "nothing moves":
            raise ValueError("No rate helps: nothing moves.")
        rate = rate * 5 if case == "too low" else rate / 5
        case = diagnose_rate(*train(rate))
    return rate
"""
DEAD = """        if case == "nothing moves":
            raise ValueError("No rate helps: nothing moves.")
"""


def rate(note, mistake, *edits):
    return edit("rate_case", note, mistake, *edits)


WRONG += [
    rate(
        "all but the first loss must be finite",
        "every_loss",
        (FINITE, FINITE.replace("in losses)", "in losses[1:])")),
    ),
    edit(
        "optimizer_case",
        "switches the old one off",
        "other",
        (
            "    return torch.optim.AdamW(",
            f"    lr = {RATE}\n    optimizer.param_groups[0]['lr'] = 0.0\n"
            "    return torch.optim.AdamW(",
        ),
        (f"lr={RATE})", "lr=lr)"),
    ),
    edit(
        "label_case",
        "a list",
        "type",
        (
            "    right = cure_labels(ids, mask, start)",
            "    right = torch.tensor(cure_labels(ids, mask, start))",
        ),
        ("    return right", "    return right.tolist()"),
    ),
    edit(
        "leaks",
        "counts from 1",
        "from_one",
        ("enumerate(map(clean, test))", "enumerate(map(clean, test), 1)"),
        ("enumerate(test) if", "enumerate(test, 1) if"),
    ),
    edit(
        "merge_case",
        "allclose with its rtol",
        "other",
        (CLOSE, "torch.allclose(stored, W + times * delta, atol=near.item())"),
    ),
    edit("rank_rule", "three names at most", "other", ("', '.join(large)", "', '.join(large[:3])")),
    rate(
        "asks only whether a loss is larger",
        "every_loss",
        (f"not {FINITE}", "any(loss > losses[0] for loss in losses)"),
    ),
    rate("the largest loss", "every_loss", (f"not {FINITE}", "max(losses) > losses[0]")),
    rate("the last loss alone", "every_loss", (f"not {FINITE}", "not losses[-1] <= losses[0]")),
    rate("the last loss, by >", "every_loss", (f"not {FINITE}", "losses[-1] > losses[0]")),
    rate(
        "only what is no number",
        "every_loss",
        (f"not {FINITE}", "not all(map(math.isfinite, losses))"),
    ),
    rate(
        "moved last",
        "other",
        ('    if moved == 0:\n        return "nothing moves"\n', ""),
        (LOW, 'if moved == 0:\n        return "nothing moves"\n    ' + LOW),
    ),
    rate(
        "moved is not asked",
        "other",
        ('    if moved == 0:\n        return "nothing moves"\n', ""),
    ),
    rate("still by a tolerance", "other", ("moved == 0", "moved < 1e-6")),
    rate(
        "half is too much",
        "half",
        ("losses[-1] > losses[0] / 2", "losses[-1] >= losses[0] / 2"),
    ),
    rate("any fall will do", "half", ("losses[-1] > losses[0] / 2", "losses[-1] >= losses[0]")),
    rate("flat means nothing moves", "other", ("moved == 0", "len(set(losses)) == 1")),
    rate(
        "the rate comes back",
        "other",
        (
            LOOP,
            '    if diagnose_rate(*train(rate)) == "nothing moves":\n        raise ValueError\n'
            "    return rate\n",
        ),
    ),
    rate(
        "once",
        "other",
        ('    while case != "fine":', '    if case != "fine":'),
        ("rate * 5", "rate * 10"),
        ("rate / 5", "rate / 10"),
    ),
    rate("always up", "no_end", (STEP, "rate * 5")),
    rate("always down", "no_end", (STEP, "rate / 5")),
    rate(
        "upside down",
        "no_end",
        ("rate * 5 if", "rate / 5 if"),
        ("else rate / 5", "else rate * 5"),
    ),
    rate(
        "ten times the rate of full fine-tuning",
        "other",
        (LOOP, "    if train(rate)[1] == 0:\n        raise ValueError\n    return 2e-4\n"),
    ),
    rate("searches where nothing moves", "other", (DEAD, "")),
    rate(
        "gives up without a word",
        "other",
        ('raise ValueError("No rate helps: nothing moves.")', "return rate"),
    ),
    rate("small steps", "no_end", ("rate * 5", "rate * 1.1"), ("rate / 5", "rate / 1.1")),
    rate("the case comes back", "type", ("    return rate\n", "    return case\n")),
]

HEAD = 'any(name.startswith(f"{module}.") for module in new)'
FACTOR = '{"lora_A", "lora_B"} & set(name.split("."))'
CURE = 'p.requires_grad = role(name, new) != "base"'
ALL_HEAD = '    if not all(flags["head"]):\n        return "head frozen"\n'
ANY_BASE = '    if any(flags["base"]):\n        return "base trains"\n'
NONE = '    if not any(map(any, flags.values())):\n        return "nothing trains"\n'


def flags(note, mistake, *edits):
    return edit("flags_case", note, mistake, *edits)


WRONG += [
    flags("lora in the name", "whole_parts", (FACTOR, '"lora_" in name')),
    flags(
        "a point before and behind",
        "whole_parts",
        (FACTOR, '".lora_A." in name or ".lora_B." in name'),
    ),
    flags(
        "another word for a role",
        "other",
        ('return "head"', 'return "Head"'),
        ('{"head": []', '{"Head": []'),
        ('flags["head"]', 'flags["Head"]'),
    ),
    flags("switches to train", "other", (CURE, CURE + "\n    model.train()")),
    flags(
        "lora_A or lora_B in the name",
        "whole_parts",
        (FACTOR, '"lora_A" in name or "lora_B" in name'),
    ),
    flags("the head anywhere", "whole_parts", (HEAD, "any(module in name for module in new)")),
    flags(
        "begins with it", "whole_parts", (HEAD, "any(name.startswith(module) for module in new)")
    ),
    flags(
        "its last part",
        "whole_parts",
        (HEAD, 'any(module.split(".")[-1] in name.split(".") for module in new)'),
    ),
    flags("the part before the last", "whole_parts", (HEAD, 'name.split(".")[-2] in new')),
    flags("the first part", "whole_parts", (HEAD, 'name.split(".")[0] in new')),
    flags("the first new module", "whole_parts", (HEAD, HEAD.replace("in new", "in new[:1]"))),
    flags("A alone", "whole_parts", (FACTOR, '"lora_A" in name.split(".")')),
    flags("a head is base", "whole_parts", (HEAD, "False")),
    flags("any of the head", "other", ('not all(flags["head"])', 'not any(flags["head"])')),
    flags("any of the factors", "other", ('all(flags["factor"])', 'any(flags["factor"])')),
    flags("all of the base", "other", ('any(flags["base"])', 'all(flags["base"])')),
    flags("head before base", "other", (ANY_BASE, ""), (ALL_HEAD, ALL_HEAD + ANY_BASE)),
    flags(
        "factors before the head",
        "other",
        (ALL_HEAD, '    if not all(flags["factor"]):\n        return "factor frozen"\n' + ALL_HEAD),
    ),
    flags("nothing trains is not asked", "other", (NONE, "")),
    flags("only switches on", "one_way", (CURE, 'p.requires_grad |= role(name, new) != "base"')),
    flags("only switches off", "one_way", (CURE, 'p.requires_grad &= role(name, new) != "base"')),
    flags("everything on", "other", (CURE, "p.requires_grad = True")),
    flags("only factors", "other", (CURE, 'p.requires_grad = role(name, new) == "factor"')),
    flags("only the head", "other", (CURE, 'p.requires_grad = role(name, new) == "head"')),
    flags(
        "a name that is no flag", "untouched", (CURE, 'p.require_grad = role(name, new) != "base"')
    ),
    flags("no biases", "other", (CURE, CURE + ' and "bias" not in name')),
    flags("a new head", "other", (CURE, CURE + "\n        p.data = p.data * 1.01")),
    flags(
        "cures a copy",
        "untouched",
        (
            "    for name, p in model.named_parameters():\n        p.requires",
            "    import copy\n    for name, p in copy.deepcopy(model).named_parameters():\n"
            "        p.requires",
        ),
    ),
]

PLACES = "place not in leaked + repeated]"
WRONG += [
    edit("leaks", "repeats stay", "other", (PLACES, "place not in leaked]")),
    edit("leaks", "leaks stay", "other", (PLACES, "place not in repeated]")),
    edit("leaks", "all of test", "other", (" if " + PLACES, "]")),
    edit("leaks", "those that go", "other", ("place not in leaked", "place in leaked")),
    edit(
        "leaks",
        "empty ones go",
        "other",
        (PLACES, PLACES[:-1] + " and any(map(str.isalnum, text))]"),
    ),
    edit(
        "leaks",
        "cleaned",
        "other",
        ("return [text for place", "return [text.casefold() for place"),
    ),
    edit(
        "leaks",
        "sorted",
        "other",
        ("return [text for", "return sorted(text for"),
        (PLACES, PLACES[:-1] + ")"),
    ),
    edit(
        "leaks",
        "a set",
        "type",
        ("return [text for", "return {text for"),
        (PLACES, PLACES[:-1] + "}"),
    ),
    edit("leaks", "places for texts", "type", ("return [text for", "return [place for")),
    edit(
        "leaks",
        "by the texts as written",
        "other",
        (PLACES, "text not in train and place not in repeated]"),
    ),
]

WRONG += [
    rate(
        "above the loss before",
        "other",
        (f"not {FINITE}", f"not {FINITE} or any(b > a for a, b in zip(losses, losses[1:]))"),
    ),
    rate(
        "not a number, or larger",
        "every_loss",
        (f"not {FINITE}", "any(math.isnan(x) or x > losses[0] for x in losses)"),
    ),
    rate(
        "moved, and not a float's sign",
        "every_loss",
        (f"not {FINITE}", "not all(x <= losses[0] for x in losses)"),
    ),
    flags(
        "new may not be empty",
        "other",
        ('not all(flags["head"])', 'not (flags["head"] and all(flags["head"]))'),
    ),
    flags(
        "the module before it",
        "whole_parts",
        (HEAD, 'name.startswith(f"{new[0] if new else None}.")'),
    ),
]

WRONG += [
    edit(
        "optimizer_case",
        "all are wanted",
        "frozen_wanted",
        (WANTED, "{id(p) for p in model.parameters()}"),
    ),
    edit(
        "optimizer_case", "nothing held", "held_is_empty", ("if not wanted & held", "if not held")
    ),
    edit("optimizer_case", "a tenfold rate", "other", (RATE, RATE + " * 10")),
    edit(
        "optimizer_case",
        "the kind of the old one",
        "other",
        ("torch.optim.AdamW(trained", "type(optimizer)(trained"),
    ),
    edit(
        "label_case",
        "before the start",
        "other",
        ("right[:start] = -100", "right[: start - 1] = -100"),
    ),
    edit(
        "label_case",
        "0 for filler",
        "other",
        ("right[mask == 0] = -100", "right[mask == 0] = 0"),
    ),
    edit(
        "label_case",
        "shifted the other way",
        "shift_unseen",
        (
            "torch.cat([right[1:], right.new_tensor([-100])])",
            "torch.cat([right.new_tensor([-100]), right[:-1]])",
        ),
    ),
    edit(
        "label_case",
        "roll of ids",
        "shift_unseen",
        ("torch.cat([right[1:], right.new_tensor([-100])])", "ids.roll(-1)"),
    ),
    edit(
        "merge_case", "the smallest difference", "other", (CLOSE, CLOSE.replace("max()", "min()"))
    ),
    edit("merge_case", "down to the base", "other", ("(1 - times[case])", "(0 - times[case])")),
    edit(
        "merge_case",
        "halves",
        "other",
        ("stored + (1 - times[case]) * delta", "stored / (times[case] or 1)"),
    ),
    edit(
        "merge_case",
        "names in another order",
        "other",
        ('("base", "merged", "merged twice")', '("merged", "base", "merged twice")'),
    ),
    edit("leaks", "train as it is", "other", ("{clean(text) for text in train}", "set(train)")),
    edit(
        "leaks",
        "counts equal ones",
        "other",
        ("text in seen:", "list(map(clean, test)).count(text) > 1:"),
    ),
    edit(
        "leaks",
        "upside down",
        "swapped",
        ("    return leaked, repeated", "    return repeated, leaked"),
    ),
    edit("leaks", "strip", "other", ('" ".join(kept.split())', "kept.strip()")),
    edit(
        "rank_rule",
        "every layer must be large",
        "other",
        ("if large:", "if large and len(large) == len(run.pairs):"),
    ),
    edit(
        "rank_rule",
        "the rank against the weight",
        "other",
        (LARGE, "pair.first.shape[0] >= weight"),
    ),
    edit(
        "rank_rule",
        "raises",
        "other",
        (
            'return problem(f"As large as the weight: {\', \'.join(large)}.", "Lower r there.")',
            'raise Undecided(", ".join(large))',
        ),
    ),
    edit(
        "rank_rule", "the last name", "other", ("large.append(pair.layer)", "large = [pair.layer]")
    ),
    rate(
        "the mean loss",
        "half",
        ("losses[-1] > losses[0] / 2", "sum(losses) / len(losses) > losses[0] / 2"),
    ),
    rate("a tenth", "half", ("losses[0] / 2", "losses[0] / 10")),
    rate(
        "too low first",
        "every_loss",
        (LOW, 'return "fine"'),
        (
            "    if not all(",
            '    if losses[-1] > losses[0] / 2:\n        return "too low"\n    if not all(',
        ),
    ),
    rate("one more step", "other", ("    return rate\n", "    return 5 * rate\n")),
    rate("adds to the rate", "no_end", ("rate * 5", "rate + 1e-4"), ("rate / 5", "rate - 1e-4")),
    flags(
        "the end of the name",
        "whole_parts",
        (FACTOR, 'name.endswith(("lora_A.weight", "lora_B.weight"))'),
    ),
    flags("a list as a truth", "has_a_base", ('if any(flags["base"])', 'if flags["base"]')),
    flags(
        "head and factors at once",
        "other",
        ('not all(flags["head"])', 'not all(flags["head"] + flags["factor"])'),
    ),
    flags(
        "cures while it looks",
        "other",
        (
            "flags[role(name, new)].append",
            'p.requires_grad = role(name, new) != "base"\n        flags[role(name, new)].append',
        ),
    ),
    flags(
        "only the new modules",
        "other",
        (
            CURE,
            "pass\n    for part in new:\n        model.get_submodule(part).requires_grad_(True)",
        ),
    ),
]
# What a stranger wrote and the checks accepted, or explained badly
WRONG += [
    Answer(
        "leaks",
        "the first place of a text",
        "other",
        edits=(
            ("leaked.append(place)", "leaked.append(test.index(test[place]))"),
            ("repeated.append(place)", "repeated.append(test.index(test[place]))"),
        ),
    ),
    Answer(
        "leaks",
        "takes out every copy of a text",
        "other",
        edits=(
            (
                "[text for place, text in enumerate(test) if place not in leaked + repeated]",
                "[text for text in test if text not in [test[k] for k in leaked + repeated]]",
            ),
        ),
    ),
    Answer(
        "flags_case",
        "only what stands at the top of a new module",
        "whole_parts",
        edits=(
            (
                'any(name.startswith(f"{module}.") for module in new)',
                'name.rpartition(".")[0] in new',
            ),
        ),
    ),
    Answer(
        "flags_case",
        "nothing trains where only the base does",
        "other",
        edits=(
            ("if not any(map(any, flags.values()))", 'if not any(flags["factor"] + flags["head"])'),
        ),
    ),
    Answer(
        "rate_case",
        "the smallest loss",
        "half",
        edits=(("if losses[-1] > losses[0] / 2", "if min(losses) > losses[0] / 2"),),
    ),
    Answer(
        "rate_case",
        "as large as the first is too high",
        "other",
        edits=(
            (
                "all(math.isfinite(loss) and loss <= losses[0] for loss in losses)",
                "all(math.isfinite(loss) and loss < losses[0] for loss in losses[1:])",
            ),
        ),
    ),
    Answer(
        "label_case",
        "labels with a fraction",
        "type",
        edits=(("right = ids.clone()", "right = ids.float()"),),
    ),
    Answer(
        "rank_rule",
        "Undecided is returned",
        "type",
        edits=(("raise Undecided", "return Undecided"),),
    ),
]
