"""Right and wrong answers to the exercises of chapter 05."""

from tests.answers import Answer

ROW = "return prompt_ids + answer, [-100] * len(prompt_ids) + answer"
FILL_IDS = 'batch["input_ids"].append(ids + [pad_id] * n)'
FILL_MASK = 'batch["attention_mask"].append([1] * len(ids) + [0] * n)'
FILL_LABELS = 'batch["labels"].append(labels + [-100] * n)'
RISE = "return peak * (step + 1) / warmup"
PROGRESS = "(step - warmup) / (steps - warmup)"
FALL = "floor + (peak - floor) * (1 + math.cos(math.pi * progress)) / 2"
SAVE = 'save_file({name: state[name] for name in state if "lora_" in name}, path)'
NAMES = "if loaded.keys() != places.keys():"
SHAPES = "if value.shape != places[name].shape:"
COPY = "places[name].copy_(value)"
MASKED = "    if (labels == -100).all():\n        return 1\n"
ZEROS = "    if grad_A.max() == 0 and grad_B.max() == 0:\n        return 3\n"
STUCK = "    if B[-1] == B[0] and A[-1] == A[0]:\n        return 2\n"
SLOW = "return 4 if losses[-10:].mean() > 0.95 * losses[:10].mean() else 0"


def loader(body):
    """The solution's save_adapter with another load_adapter."""
    lines = "\n".join("    " + line for line in body.strip().splitlines())
    return f"""def save_adapter(model, path):
    state = model.state_dict()
    save_file({{name: state[name] for name in state if "lora_" in name}}, path)


def load_adapter(model, path):
{lines}
"""


RIGHT = [
    # 5.1
    Answer(
        "loss_mask",
        "tensors",
        code="""
def encode_row(prompt_ids, completion_ids, eos_id):
    ids = torch.tensor([*prompt_ids, *completion_ids, eos_id])
    labels = ids.clone()
    labels[: len(prompt_ids)] = -100
    return ids, labels
""",
    ),
    Answer(
        "loss_mask",
        "one by one",
        code="""
def encode_row(prompt_ids, completion_ids, eos_id):
    ids, labels = [], []
    for token in prompt_ids:
        ids.append(token)
        labels.append(-100)
    for token in (*completion_ids, eos_id):
        ids.append(token)
        labels.append(token)
    return [ids, labels]
""",
    ),
    # 5.2
    Answer(
        "collate",
        "full tensors, then slices",
        code="""
def collate(rows, pad_id):
    shape = len(rows), max(len(ids) for ids, _ in rows)
    batch = {
        "input_ids": torch.full(shape, pad_id),
        "attention_mask": torch.zeros(shape, dtype=torch.long),
        "labels": torch.full(shape, -100),
    }
    for i, (ids, labels) in enumerate(rows):
        batch["input_ids"][i, : len(ids)] = torch.tensor(ids)
        batch["attention_mask"][i, : len(ids)] = 1
        batch["labels"][i, : len(ids)] = torch.tensor(labels)
    return batch
""",
    ),
    Answer(
        "collate",
        "pad_sequence, mask from lengths, as bool",
        code="""
def collate(rows, pad_id):
    from torch.nn.utils.rnn import pad_sequence
    ids = [torch.tensor(i) for i, _ in rows]
    labels = [torch.tensor(l) for _, l in rows]
    ids = pad_sequence(ids, batch_first=True, padding_value=pad_id)
    lengths = torch.tensor([len(i) for i, _ in rows])
    return {
        "input_ids": ids,
        "attention_mask": torch.arange(ids.shape[1]) < lengths[:, None],
        "labels": pad_sequence(labels, batch_first=True, padding_value=-100),
    }
""",
    ),
    # 5.3
    Answer(
        "schedule",
        "interpolated",
        edits=[(FALL, "peak + (floor - peak) * (1 - math.cos(math.pi * progress)) / 2")],
    ),
    Answer(
        "schedule",
        "the square of a sine, as a tensor",
        code="""
def schedule(step, steps, peak, warmup, floor):
    if step + 1 <= warmup:
        return torch.tensor(peak * (step + 1) / warmup)
    left = 1 - (step - warmup) / (steps - warmup)
    return floor + (peak - floor) * torch.sin(torch.tensor(math.pi / 2 * left)) ** 2
""",
    ),
    # 5.4
    Answer(
        "save_load",
        "named_parameters are saved, load_state_dict puts it back",
        code="""
def save_adapter(model, path):
    save_file({n: p.data for n, p in model.named_parameters() if "lora_" in n}, path)


def load_adapter(model, path):
    loaded, state = load_file(path), model.state_dict()
    shapes = {n: t.shape for n, t in state.items() if "lora_" in n}
    if {n: t.shape for n, t in loaded.items()} != shapes:
        raise ValueError("this file does not fit")
    model.load_state_dict(loaded, strict=False)
""",
    ),
    Answer(
        "save_load",
        "checks with a copy first",
        code=loader("""
import copy
loaded = load_file(path)
trial = copy.deepcopy(model)
for target in (trial, model):
    state = {n: t for n, t in target.state_dict().items() if "lora_" in n}
    if set(loaded) - set(state) or set(state) - set(loaded):
        raise ValueError("names")
    try:
        target.load_state_dict(loaded, strict=False)
    except RuntimeError as error:
        raise ValueError(str(error)) from error
"""),
    ),
    Answer("save_load", "writes to data", edits=[(COPY, "places[name].data = value.clone()")]),
    # 5.5
    Answer(
        "triage",
        "counts",
        code="""
def diagnose(labels, losses, grad_A, grad_B, A, B):
    if not int((labels >= 0).sum()):
        return torch.tensor(1)
    if float(grad_A.sum() + grad_B.sum()) == 0:
        return 3
    if len(set(B.tolist())) == 1:
        return 2
    return 0 if losses[30:].sum() <= 0.95 * losses[:10].sum() else 4
""",
    ),
    Answer(
        "triage",
        "factors first",
        code="""
def diagnose(labels, losses, grad_A, grad_B, A, B):
    if (labels == -100).all():
        return 1
    if not A.any() and not B.any():
        return 3
    moves = bool((A != A[0]).any() or (B != B[0]).any())
    falls = losses[-10:].mean() < 0.95 * losses[:10].mean()
    return 2 if not moves else 0 if falls else 4
""",
    ),
    Answer(
        "loss_mask",
        "torch, painted over by a slice",
        code="""
def encode_row(prompt_ids, completion_ids, eos_id):
    ids = torch.tensor([*prompt_ids, *completion_ids, eos_id])
    labels = ids.clone()
    labels[: -len(completion_ids) - 1].fill_(-100)
    return ids.tolist(), labels.tolist()
""",
    ),
    Answer(
        "loss_mask",
        "by enumerate",
        code="""
def encode_row(prompt_ids, completion_ids, eos_id):
    ids = [t for part in (prompt_ids, completion_ids, [eos_id]) for t in part]
    return ids, [t if place >= len(prompt_ids) else -100 for place, t in enumerate(ids)]
""",
    ),
    Answer(
        "collate",
        "full tensors, rows written in",
        code="""
def collate(rows, pad_id):
    shape = len(rows), max(map(len, (ids for ids, _ in rows)))
    batch = dict(
        input_ids=torch.full(shape, pad_id),
        attention_mask=torch.zeros(shape, dtype=torch.bool),
        labels=torch.full(shape, -100),
    )
    for k, (ids, labels) in enumerate(rows):
        for name, values in zip(batch, (ids, True, labels)):
            batch[name][k, : len(ids)] = values if values is True else torch.tensor(values)
    return batch
""",
    ),
    Answer(
        "collate",
        "zip_longest",
        code="""
def collate(rows, pad_id):
    from itertools import zip_longest
    ids = list(zip(*zip_longest(*[i for i, _ in rows], fillvalue=pad_id)))
    labels = list(zip(*zip_longest(*[l for _, l in rows], fillvalue=-100)))
    mask = [[int(k < len(i)) for k in range(len(ids[0]))] for i, _ in rows]
    made = {"input_ids": ids, "attention_mask": mask, "labels": labels}
    return {key: torch.tensor(lines) for key, lines in made.items()}
""",
    ),
    Answer(
        "schedule",
        "a product and a half cosine",
        code="""
def schedule(step, steps, peak, warmup, floor):
    if step + 1 <= warmup:
        return (step + 1) * (peak / warmup)
    share = math.cos(math.pi / 2 * (step - warmup) / (steps - warmup)) ** 2
    return peak * share + floor * (1 - share)
""",
    ),
    Answer(
        "schedule",
        "torch lerp",
        code="""
def schedule(step, steps, peak, warmup, floor):
    if warmup > step:
        return torch.linspace(0, peak, warmup + 1)[step + 1].item()
    angle = torch.tensor(math.pi * (step - warmup) / (steps - warmup), dtype=torch.float64)
    middle, half = (peak + floor) / 2, (peak - floor) / 2
    return middle + half * angle.cos()
""",
    ),
    Answer(
        "triage",
        "both factors start at zero",
        edits=(("grad_A.max() == 0 and grad_B.max() == 0", "A[0] == 0 and B[0] == 0"),),
    ),
    Answer(
        "training_loop",
        "all parameters trained",
        edits=(("[p for p in model.parameters() if p.requires_grad]", "list(model.parameters())"),),
    ),
    Answer(
        "save_load",
        "state_dict of the places",
        code="""
def save_adapter(model, path):
    kept = {n: p.detach().clone() for n, p in model.named_parameters() if n.count("lora_")}
    save_file(kept, str(path))


def load_adapter(model, path):
    new, own = load_file(path), model.state_dict()
    wanted = {n: t.shape for n, t in own.items() if "lora_" in n}
    fits = {n: t.shape for n, t in new.items()} == wanted
    if not fits:
        raise ValueError(path)
    model.load_state_dict({**own, **new})
""",
    ),
    Answer(
        "save_load",
        "sets data of a list",
        code="""
def save_adapter(model, path):
    save_file(dict(filter(lambda pair: "lora_" in pair[0], model.state_dict().items())), path)


def load_adapter(model, path):
    tensors = load_file(path)
    pairs = []
    for n, p in model.named_parameters():
        if "lora_" in n:
            if n not in tensors or tensors[n].size() != p.size():
                raise ValueError(n)
            pairs.append((p, tensors.pop(n)))
    if tensors:
        raise ValueError(str(list(tensors)))
    for p, t in pairs:
        p.data[...] = t
""",
    ),
    Answer(
        "triage",
        "from the end",
        code="""
def diagnose(labels, losses, grad_A, grad_B, A, B):
    if not (labels != -100).any():
        return 1
    if not torch.cat([grad_A, grad_B]).any():
        return 3
    if torch.equal(A[:1], A[-1:]) and torch.equal(B[:1], B[-1:]):
        return 2
    first, last = losses[:10].sum(), losses[30:].sum()
    return 0 if last / first < 0.95 else 4
""",
    ),
    Answer(
        "triage",
        "a table of truths",
        code="""
def diagnose(labels, losses, grad_A, grad_B, A, B):
    label = bool((labels >= 0).sum())
    pushed = bool(grad_A.norm() + grad_B.norm() > 0)
    moved = len(set(A.tolist())) > 1 or len(set(B.tolist())) > 1
    falls = losses[-10:].mean() < 0.95 * losses[:10].mean()
    return torch.tensor([1, 3, 2, 4, 0][[label, pushed, moved, bool(falls), False].index(False)])
""",
    ),
    Answer(
        "training_loop",
        "a LambdaLR and two groups",
        code="""
def train_adapter(model, batches, lr, warmup, clip, weight_decay):
    named = [(n, p) for n, p in model.named_parameters() if p.requires_grad]
    groups = [{"params": [p for n, p in named if ("lora_A" in n) == a]} for a in (True, False)]
    optimizer = torch.optim.AdamW(groups, lr=lr, weight_decay=weight_decay)
    share = lambda step: min(step + 1, warmup) / warmup
    rates = torch.optim.lr_scheduler.LambdaLR(optimizer, share)
    losses, lengths = [], []
    for batch in batches:
        model.train()
        optimizer.zero_grad(set_to_none=False)
        out = model(**batch)
        out.loss.backward()
        every = [p for _, p in named]
        lengths.append(torch.nn.utils.clip_grad_norm_(every, clip, error_if_nonfinite=True))
        optimizer.step()
        rates.step()
        losses.append(out.loss.detach())
    model.train(False)
    return torch.stack(losses), torch.stack(lengths)
""",
    ),
    Answer(
        "training_loop",
        "clips by hand, grad of autograd",
        code="""
def train_adapter(model, batches, lr, warmup, clip, weight_decay):
    model.train()
    weights = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(weights, lr=0.0, weight_decay=weight_decay)
    log = []
    for step, batch in enumerate(batches, 1):
        loss = model(**batch)["loss"] if False else model(**batch).loss
        grads = torch.autograd.grad(loss, weights)
        length = sum(g.square().sum() for g in grads).sqrt().item()
        for p, g in zip(weights, grads):
            p.grad = g * min(1.0, clip / (length + 1e-6))
        for group in optimizer.param_groups:
            group["lr"] = lr if step >= warmup else lr * step / warmup
        optimizer.step()
        log.append((float(loss), length))
    model.eval()
    return tuple(zip(*log))
""",
    ),
]

WRONG = [
    # 5.1
    Answer(
        "loss_mask",
        "labels are the tokens",
        "prompt_in_loss",
        edits=[("[-100] * len(prompt_ids) + answer", "prompt_ids + answer")],
    ),
    Answer(
        "loss_mask",
        "eos masked",
        "eos_masked",
        edits=[(ROW, ROW.replace(") + answer", ") + completion_ids + [-100]"))],
    ),
    Answer("loss_mask", "no eos", "no_eos", edits=[("+ [eos_id]", "")]),
    Answer(
        "loss_mask",
        "shifted by hand",
        "shifted",
        edits=[
            (
                ROW,
                ROW.replace(
                    "* len(prompt_ids) + answer", "* (len(prompt_ids) - 1) + answer + [-100]"
                ),
            )
        ],
    ),
    Answer(
        "loss_mask",
        "shifted and one shorter",
        "shifted",
        edits=[(ROW, ROW.replace("* len(prompt_ids)", "* (len(prompt_ids) - 1)"))],
    ),
    Answer(
        "loss_mask",
        "mask one too short",
        "one_early",
        edits=[
            (
                ROW,
                "ids, n = prompt_ids + answer, len(prompt_ids) - 1\n"
                "    return ids, [-100] * n + ids[n:]",
            )
        ],
    ),
    Answer(
        "loss_mask",
        "mask one too long",
        "one_late",
        edits=[
            (
                ROW,
                "ids, n = prompt_ids + answer, len(prompt_ids) + 1\n"
                "    return ids, [-100] * n + ids[n:]",
            )
        ],
    ),
    Answer(
        "loss_mask",
        "the reverse",
        "inverted",
        edits=[("[-100] * len(prompt_ids) + answer", "prompt_ids + [-100] * len(answer)")],
    ),
    Answer(
        "loss_mask",
        "everything masked",
        "all_masked",
        edits=[(ROW, "return prompt_ids + answer, [-100] * len(prompt_ids + answer)")],
    ),
    Answer("loss_mask", "masked with 0", "other_number", edits=[("[-100]", "[0]")]),
    Answer("loss_mask", "masked with eos", "other_number", edits=[("[-100]", "[eos_id]")]),
    Answer(
        "loss_mask",
        "tokens masked",
        "inputs_masked",
        edits=[("return prompt_ids + answer,", "return [-100] * len(prompt_ids) + answer,")],
    ),
    Answer("loss_mask", "eos without a list", "raised", edits=[("[eos_id]", "eos_id")]),
    Answer(
        "loss_mask",
        "eos between prompt and completion",
        "eos_place",
        edits=[("completion_ids + [eos_id]", "[eos_id] + completion_ids")],
    ),
    Answer("loss_mask", "tokens alone", "type", edits=[(ROW, "return prompt_ids + answer")]),
    # 5.2
    Answer(
        "collate",
        "filled on the left",
        "left_padding",
        edits=[
            (FILL_IDS, 'batch["input_ids"].append([pad_id] * n + ids)'),
            (FILL_MASK, 'batch["attention_mask"].append([0] * n + [1] * len(ids))'),
            (FILL_LABELS, 'batch["labels"].append([-100] * n + labels)'),
        ],
    ),
    Answer("collate", "to 16", "width", edits=[("max(len(ids) for ids, _ in rows)", "16")]),
    Answer(
        "collate",
        "cut to the shortest",
        "truncated",
        code="""
def collate(rows, pad_id):
    width = min(len(ids) for ids, _ in rows)
    ids = torch.tensor([ids[:width] for ids, _ in rows])
    labels = torch.tensor([labels[:width] for _, labels in rows])
    return {"input_ids": ids, "attention_mask": torch.ones_like(ids), "labels": labels}
""",
    ),
    Answer(
        "collate",
        "floats",
        "floats",
        edits=[("torch.tensor(lines)", "torch.tensor(lines, dtype=torch.float)")],
    ),
    Answer("collate", "filled with 0", "pad_id", edits=[("ids + [pad_id]", "ids + [0]")]),
    Answer("collate", "mask of ones", "mask_ones", edits=[("[0] * n", "[1] * n")]),
    Answer(
        "collate",
        "mask by the padding token",
        "mask_by_id",
        edits=[
            (
                FILL_MASK,
                'batch["attention_mask"].append([int(t != pad_id) for t in ids + [pad_id] * n])',
            )
        ],
    ),
    Answer(
        "collate",
        "mask of the loss",
        "mask_hides_prompt",
        edits=[("[1] * len(ids)", "[int(v != -100) for v in labels]")],
    ),
    Answer(
        "collate",
        "1 is padding",
        "mask_inverted",
        edits=[("[1] * len(ids) + [0] * n", "[0] * len(ids) + [1] * n")],
    ),
    Answer(
        "collate",
        "labels masked where the padding token is",
        "eos_masked",
        edits=[
            (
                FILL_LABELS,
                'batch["labels"].append([-100 if t == pad_id else v for t, v in zip(ids, labels)]'
                " + [-100] * n)",
            )
        ],
    ),
    Answer(
        "collate",
        "padding in the loss",
        "pads_in_loss",
        edits=[("labels + [-100]", "labels + [pad_id]")],
    ),
    Answer(
        "collate",
        "labels filled with 0",
        "pads_in_loss",
        edits=[("labels + [-100]", "labels + [0]")],
    ),
    Answer(
        "collate",
        "labels from the tokens",
        "prompt_in_loss",
        edits=[("labels + [-100]", "ids + [-100]")],
    ),
    Answer(
        "collate",
        "labels from the tokens, masked by id, as transformers does",
        "prompt_in_loss",
        edits=[
            (
                FILL_LABELS,
                'batch["labels"].append([-100 if t == pad_id else t for t in ids] + [-100] * n)',
            )
        ],
    ),
    Answer(
        "collate",
        "not filled at all",
        "raised",
        edits=[("n = width - len(ids)", "n = 0")],
    ),
    Answer(
        "collate",
        "rows in another order",
        "sorted",
        edits=[("in rows:", "in rows[::-1]:")],
    ),
    # 5.3
    Answer(
        "schedule", "starts at 0", "from_zero", edits=[("(step + 1) / warmup", "step / warmup")]
    ),
    Answer(
        "schedule",
        "no warm-up",
        "no_warmup",
        edits=[("step < warmup", "False"), (PROGRESS, "step / steps")],
    ),
    Answer("schedule", "cosine from step 0", "jump", edits=[(PROGRESS, "step / steps")]),
    Answer("schedule", "down to 0", "no_floor", edits=[("floor + (peak - floor)", "peak")]),
    Answer("schedule", "floor on top", "floor_added", edits=[("(peak - floor)", "peak")]),
    Answer("schedule", "a full turn", "full_turn", edits=[("math.pi", "2 * math.pi")]),
    Answer(
        "schedule",
        "a quarter of a turn",
        "quarter_turn",
        edits=[("(1 + math.cos(math.pi * progress)) / 2", "math.cos(math.pi / 2 * progress)")],
    ),
    Answer(
        "schedule",
        "a straight line",
        "straight",
        edits=[("(1 + math.cos(math.pi * progress)) / 2", "(1 - progress)")],
    ),
    Answer(
        "schedule",
        "the bare cosine",
        "no_half",
        edits=[("(1 + math.cos(math.pi * progress)) / 2", "math.cos(math.pi * progress)")],
    ),
    Answer(
        "schedule",
        "floor in the last step",
        "floor_early",
        edits=[("(steps - warmup)", "(steps - 1 - warmup)")],
    ),
    Answer("schedule", "upwards", "reversed", edits=[("(1 + math.cos", "(1 - math.cos")]),
    Answer(
        "schedule",
        "rises from the floor",
        "rise_from_floor",
        edits=[(RISE, "return floor + (peak - floor) * (step + 1) / warmup")],
    ),
    Answer("schedule", "stays at the peak", "no_fall", edits=[(FALL, "peak")]),
    Answer(
        "schedule",
        "divides first",
        "zero_warmup",
        edits=[
            ("    if step < warmup:\n", "    share = (step + 1) / warmup\n    if step < warmup:\n")
        ],
    ),
    Answer("schedule", "degrees", "degrees", edits=[("math.pi", "180")]),
    # 5.4
    Answer(
        "save_load", "writes nothing", "no_file", edits=[(SAVE, "save_file(state, path + '.tmp')")]
    ),
    Answer(
        "save_load",
        "torch.save",
        "not_safetensors",
        edits=[(SAVE, 'torch.save({n: state[n] for n in state if "lora_" in n}, path)')],
    ),
    Answer("save_load", "the whole model", "base_saved", edits=[(' if "lora_" in name', "")]),
    Answer(
        "save_load",
        "shorter names",
        "names",
        edits=[("{name: state[name]", '{name.split(".")[0] + name[-1]: state[name]')],
    ),
    Answer(
        "save_load",
        "only B",
        "one_factor",
        edits=[('if "lora_" in name}', 'if "lora_B" in name}')],
    ),
    Answer(
        "save_load",
        "in half precision",
        "cast",
        edits=[("state[name] for", "state[name].half() for")],
    ),
    Answer(
        "save_load",
        "resets the base",
        "other",
        edits=[
            (
                "    with torch.no_grad():",
                "    for p in model.parameters():\n        p.data.zero_()\n"
                "    with torch.no_grad():",
            )
        ],
    ),
    Answer("save_load", "rebinds a name", "nothing_loaded", edits=[(COPY, "places[name] = value")]),
    Answer(
        "save_load",
        "replaces the parameter",
        "replaced",
        edits=[
            (
                COPY,
                "layer, _, last = name.rpartition('.')\n"
                "            setattr(model.get_submodule(layer), last, "
                "torch.nn.Parameter(value, requires_grad=False))",
            )
        ],
    ),
    Answer(
        "save_load",
        "strict is off",
        "not_strict",
        code=loader("model.load_state_dict(load_file(path), strict=False)"),
    ),
    Answer(
        "save_load",
        "one direction",
        "silent_lacking",
        edits=[(NAMES, "if loaded.keys() - places.keys():")],
    ),
    Answer(
        "save_load",
        "the other direction",
        "silent_extra",
        edits=[
            (NAMES, "if places.keys() - loaded.keys():"),
            ("in loaded.items()", "in {n: loaded[n] for n in places}.items()"),
        ],
    ),
    Answer(
        "save_load",
        "any shape",
        "any_shape",
        edits=[(SHAPES, "if False:"), (COPY, "places[name].data = value")],
    ),
    Answer(
        "save_load",
        "copies while it checks",
        "half_loaded",
        code=loader("""
loaded = load_file(path)
places = {n: p for n, p in model.named_parameters() if "lora_" in n}
if loaded.keys() != places.keys():
    raise ValueError("names")
for name in sorted(loaded):
    if loaded[name].shape != places[name].shape:
        raise ValueError("shape")
    places[name].data.copy_(loaded[name])
"""),
    ),
    Answer(
        "save_load",
        "asserts",
        "wrong_error",
        edits=[
            (NAMES, "if set(loaded) != set(places):\n        raise KeyError(path)\n    if False:"),
        ],
    ),
    Answer(
        "save_load",
        "strict",
        "whole_state",
        code=loader("model.load_state_dict(load_file(path))"),
    ),
    Answer(
        "save_load",
        "swaps the layers",
        "other_values",
        edits=[(COPY, "places[name].copy_(value + 1)")],
    ),
    # 5.5
    Answer(
        "triage",
        "gradient of A in step 0",
        "first_step",
        edits=[(ZEROS, "    if grad_A[0] == 0:\n        return 3\n")],
    ),
    Answer(
        "triage",
        "gradients before labels",
        "labels_first",
        edits=[(MASKED + ZEROS, ZEROS + MASKED)],
    ),
    Answer(
        "triage",
        "weights before labels",
        "labels_first",
        code="""
def diagnose(labels, losses, grad_A, grad_B, A, B):
    if B[-1] == B[0]:
        return 3 if A[0] == 0 else 2
    return 4 if losses[-10:].mean() > 0.95 * losses[:10].mean() else 0
""",
    ),
    Answer(
        "triage",
        "nan only",
        "nan_only",
        edits=[(MASKED, "    if losses.isnan().any():\n        return 1\n")],
    ),
    Answer(
        "triage",
        "a full gradient of A",
        "one_gradient",
        edits=[(ZEROS, "    if grad_A.max() == 0:\n        return 3\n")],
    ),
    Answer(
        "triage",
        "weights before gradients",
        "zeros_are_stuck",
        edits=[(ZEROS + STUCK, STUCK + ZEROS)],
    ),
    Answer(
        "triage",
        "nearly equal",
        "slow_is_stuck",
        edits=[("B[-1] == B[0] and A[-1] == A[0]", "torch.allclose(B[-1], B[0], atol=0.1)")],
    ),
    Answer("triage", "never slow", "slow_is_healthy", edits=[(SLOW, "return 0")]),
    Answer("triage", "always slow", "healthy_is_slow", edits=[(SLOW, "return 4")]),
    Answer(
        "triage",
        "the loss alone",
        "labels_first",
        code="""
def diagnose(labels, losses, grad_A, grad_B, A, B):
    return 0 if losses[-1] < 0.8 * losses[0] else 4
""",
    ),
    Answer("triage", "no case for the optimizer", "stuck_is_slow", edits=[(STUCK, "")]),
    Answer(
        "triage",
        "labels never asked",
        "labels_first",
        code="""
def diagnose(labels, losses, grad_A, grad_B, A, B):
    return 4 if losses[-10:].mean() > 0.95 * losses[:10].mean() else 0
""",
    ),
    Answer("triage", "counts from 1", "other", edits=[("return 4 if", "return 5 if")]),
    Answer(
        "triage",
        "healthy for all that moves not",
        "other",
        edits=[(ZEROS, "    if grad_B.max() == 0:\n        return 0\n")],
    ),
    Answer(
        "loss_mask",
        "eos also after the prompt",
        "eos_place",
        edits=(
            (
                "return prompt_ids + answer, [-100] * len(prompt_ids) + answer",
                "return prompt_ids + [eos_id] + answer, [-100] * (len(prompt_ids) + 1) + answer",
            ),
        ),
    ),
    Answer(
        "loss_mask",
        "minus 100 in the middle: mask appended after",
        "mark_after",
        edits=(
            (
                "return prompt_ids + answer, [-100] * len(prompt_ids) + answer",
                "return prompt_ids + answer, answer + [-100] * len(prompt_ids)",
            ),
        ),
    ),
    Answer(
        "loss_mask",
        "labels all -100 but last",
        "only_eos",
        edits=(
            (
                "return prompt_ids + answer, [-100] * len(prompt_ids) + answer",
                "ids = prompt_ids + answer\n    return ids, [-100] * (len(ids) - 1) + [eos_id]",
            ),
        ),
    ),
    Answer(
        "loss_mask",
        "eos twice",
        "eos_place",
        edits=(("completion_ids + [eos_id]", "completion_ids + [eos_id, eos_id]"),),
    ),
    Answer(
        "loss_mask",
        "eos id in labels as -100 and shifted",
        "shifted",
        edits=(
            (
                "return prompt_ids + answer, [-100] * len(prompt_ids) + answer",
                "ids, marks = prompt_ids + answer, [-100] * len(prompt_ids)\n"
                "    return ids, marks + answer[1:] + [-100]",
            ),
        ),
    ),
    Answer(
        "loss_mask",
        "labels of the completion length mask",
        "long_as_answer",
        edits=(
            (
                "return prompt_ids + answer, [-100] * len(prompt_ids) + answer",
                "ids, n = prompt_ids + answer, len(completion_ids)\n"
                "    return ids, [-100] * n + ids[n:]",
            ),
        ),
    ),
    Answer(
        "loss_mask",
        "completion first",
        "answer_first",
        edits=(
            (
                "return prompt_ids + answer, [-100] * len(prompt_ids) + answer",
                "return answer + prompt_ids, answer + [-100] * len(prompt_ids)",
            ),
        ),
    ),
    Answer(
        "loss_mask",
        "attention masks",
        "ones",
        edits=(
            (
                "return prompt_ids + answer, [-100] * len(prompt_ids) + answer",
                "return prompt_ids + answer, [1] * len(prompt_ids + answer)",
            ),
        ),
    ),
    Answer(
        "loss_mask",
        "None for masked",
        "type",
        edits=(
            (
                "return prompt_ids + answer, [-100] * len(prompt_ids) + answer",
                "return prompt_ids + answer, [None] * len(prompt_ids) + answer",
            ),
        ),
    ),
    Answer(
        "loss_mask",
        "nested list",
        "type",
        edits=(
            (
                "return prompt_ids + answer, [-100] * len(prompt_ids) + answer",
                "return prompt_ids + answer, [[-100] * len(prompt_ids)] + answer",
            ),
        ),
    ),
    Answer(
        "loss_mask",
        "string -100",
        "type",
        edits=(
            (
                "return prompt_ids + answer, [-100] * len(prompt_ids) + answer",
                "return prompt_ids + answer, ['-100'] * len(prompt_ids) + answer",
            ),
        ),
    ),
    Answer(
        "loss_mask",
        "a batch of one",
        "one_row",
        edits=(
            (
                "return prompt_ids + answer, [-100] * len(prompt_ids) + answer",
                "return [prompt_ids + answer], [[-100] * len(prompt_ids) + answer]",
            ),
        ),
    ),
    Answer(
        "loss_mask",
        "if eos there then none",
        "by_eos",
        edits=(
            (
                "completion_ids + [eos_id]",
                "completion_ids if completion_ids[-1] == eos_id else completion_ids + [eos_id]",
            ),
        ),
    ),
    Answer(
        "loss_mask",
        "-100 for one prompt place",
        "one_mark",
        edits=(
            (
                "return prompt_ids + answer, [-100] * len(prompt_ids) + answer",
                "return prompt_ids + answer, [-100] + answer",
            ),
        ),
    ),
    Answer(
        "collate",
        "pads with -100 in ids",
        "pad_id",
        edits=(("ids + [pad_id] * n", "ids + [-100] * n"),),
    ),
    Answer("collate", "mask -100 filled", "mask_values", edits=(("[0] * n", "[-100] * n"),)),
    Answer("collate", "mask pad_id filled", "mask_values", edits=(("[0] * n", "[pad_id] * n"),)),
    Answer("collate", "ids copy as mask", "mask_values", edits=(("[1] * len(ids)", "ids"),)),
    Answer(
        "collate",
        "width minus one",
        "raised",
        edits=(("max(len(ids) for ids, _ in rows)", "max(len(ids) for ids, _ in rows) - 1"),),
    ),
    Answer(
        "collate",
        "width of first",
        "raised",
        edits=(("max(len(ids) for ids, _ in rows)", "len(rows[0][0])"),),
    ),
    Answer("collate", "512", "width", edits=(("max(len(ids) for ids, _ in rows)", "512"),)),
    Answer(
        "collate",
        "left labels only",
        "two_sides",
        edits=(
            (
                'batch["labels"].append(labels + [-100] * n)',
                'batch["labels"].append([-100] * n + labels)',
            ),
        ),
    ),
    Answer(
        "collate",
        "left mask only",
        "two_sides",
        edits=(
            (
                'batch["attention_mask"].append([1] * len(ids) + [0] * n)',
                'batch["attention_mask"].append([0] * n + [1] * len(ids))',
            ),
        ),
    ),
    Answer(
        "collate",
        "left ids only",
        "left_padding",
        edits=(
            (
                'batch["input_ids"].append(ids + [pad_id] * n)',
                'batch["input_ids"].append([pad_id] * n + ids)',
            ),
        ),
    ),
    Answer(
        "collate",
        "labels masked everywhere mask 0, ids as labels",
        "prompt_in_loss",
        edits=(("labels + [-100] * n", "[t if t != pad_id else -100 for t in ids] + [-100] * n"),),
    ),
    Answer(
        "collate",
        "labels shifted right",
        "shifted",
        edits=(("labels + [-100] * n", "[-100] + labels[:-1] + [-100] * n"),),
    ),
    Answer(
        "collate",
        "float mask",
        "floats",
        edits=(
            (
                "torch.tensor(lines)",
                "torch.tensor(lines).float() if name == 'attention_mask' else torch.tensor(lines)",
            ),
        ),
    ),
    Answer(
        "collate",
        "flattened",
        "rectangle",
        edits=(("torch.tensor(lines)", "torch.tensor(lines).flatten()"),),
    ),
    Answer(
        "collate",
        "one long row (concatenated)",
        "rectangle",
        edits=(("torch.tensor(lines)", "torch.cat([torch.tensor(l) for l in lines])[None]"),),
    ),
    Answer(
        "collate",
        "int mask of 2D lists not tensors",
        "type",
        edits=(("torch.tensor(lines)", "[torch.tensor(l) for l in lines]"),),
    ),
    Answer(
        "collate",
        "labels missing mask: pad with eos label",
        "filled_labels",
        edits=(("labels + [-100] * n", "labels + [-100] * (n - 1) + [pad_id] * min(n, 1)"),),
    ),
    Answer(
        "collate",
        "one pad attended",
        "mask_count",
        edits=(
            ("[1] * len(ids) + [0] * n", "[1] * (len(ids) + min(n, 1)) + [0] * (n - min(n, 1))"),
        ),
    ),
    Answer(
        "collate",
        "eos cut",
        "real_tokens",
        edits=(
            (
                'batch["input_ids"].append(ids + [pad_id] * n)',
                'batch["input_ids"].append(ids[:-1] + [pad_id] * (n + 1))',
            ),
        ),
    ),
    Answer(
        "schedule",
        "warmup rises to steps",
        "rise",
        edits=(("step + 1) / warmup", "step + 1) / steps"),),
    ),
    Answer(
        "schedule",
        "no plus one both",
        "from_zero",
        edits=(("return peak * (step + 1) / warmup", "return peak * step / max(1, warmup - 1)"),),
    ),
    Answer(
        "schedule",
        "cosine without half turn (pi*progress*2/2)",
        "no_pi",
        edits=(("math.cos(math.pi * progress)", "math.cos(progress)"),),
    ),
    Answer(
        "schedule",
        "power of progress",
        "fall",
        edits=(("(1 + math.cos(math.pi * progress)) / 2", "(1 - progress) ** 2"),),
    ),
    Answer(
        "schedule",
        "exponential",
        "fall",
        edits=(
            (
                "floor + (peak - floor) * (1 + math.cos(math.pi * progress)) / 2",
                "peak * (floor / peak) ** progress",
            ),
        ),
    ),
    Answer(
        "schedule",
        "floor lacks stretch: peak*cos + floor*(1-..)",
        "fall",
        edits=(
            (
                "floor + (peak - floor) * (1 + math.cos(math.pi * progress)) / 2",
                "max(floor, peak * math.cos(math.pi / 2 * progress))",
            ),
        ),
    ),
    Answer(
        "schedule",
        "rise with cosine",
        "rise",
        edits=(
            (
                "return peak * (step + 1) / warmup",
                "return peak * (1 - math.cos(math.pi * (step + 1) / warmup)) / 2",
            ),
        ),
    ),
    Answer(
        "schedule",
        "step <= warmup",
        "overshoot",
        edits=(("if step < warmup", "if step <= warmup and warmup"),),
    ),
    Answer(
        "schedule",
        "brackets",
        "fall_begins",
        edits=(
            (
                "floor + (peak - floor) * (1 + math.cos(math.pi * progress)) / 2",
                "floor + (peak - floor) * 1 + math.cos(math.pi * progress) / 2",
            ),
        ),
    ),
    Answer(
        "schedule",
        "half outside",
        "half_of_all",
        edits=(
            (
                "floor + (peak - floor) * (1 + math.cos(math.pi * progress)) / 2",
                "(floor + (peak - floor) * (1 + math.cos(math.pi * progress))) / 2",
            ),
        ),
    ),
    Answer(
        "schedule",
        "peak and floor exchanged",
        "reversed",
        edits=(
            (
                "floor + (peak - floor) * (1 + math.cos(math.pi * progress)) / 2",
                "peak + (floor - peak) * (1 + math.cos(math.pi * progress)) / 2",
            ),
        ),
    ),
    Answer(
        "schedule",
        "progress over steps only, count from warmup",
        "fall_begins",
        edits=(("(step - warmup) / (steps - warmup)", "step / (steps - warmup)"),),
    ),
    Answer(
        "schedule",
        "returns factor",
        "fall_begins",
        edits=(
            (
                "floor + (peak - floor) * (1 + math.cos(math.pi * progress)) / 2",
                "(1 + math.cos(math.pi * progress)) / 2",
            ),
        ),
    ),
    Answer(
        "schedule",
        "no rise when warmup 0 but returns floor",
        "no_rise",
        edits=(
            (
                "if step < warmup:",
                """if warmup == 0:
        return peak
    if step < warmup:""",
            ),
        ),
    ),
    Answer(
        "schedule",
        "warmup at steps not handled",
        "all_rise",
        edits=(
            (
                "    if step < warmup:",
                """    if warmup == steps:
        return peak
    if step < warmup:""",
            ),
        ),
    ),
    Answer(
        "schedule",
        "floor share",
        "floor_share",
        edits=(
            (
                "floor + (peak - floor) * (1 + math.cos(math.pi * progress)) / 2",
                "peak * (floor + (1 - floor) * (1 + math.cos(math.pi * progress)) / 2)",
            ),
        ),
    ),
    Answer(
        "save_load",
        "whole names cut: strips lora_ suffix",
        "names",
        edits=(("{name: state[name] for", "{name.replace('.weight', ''): state[name] for"),),
    ),
    Answer(
        "save_load",
        "only keys",
        "other_values",
        edits=(
            (
                'save_file({name: state[name] for name in state if "lora_" in name}, path)',
                'save_file({n: torch.zeros_like(state[n]) for n in state if "lora_" in n}, path)',
            ),
        ),
    ),
    Answer(
        "save_load",
        "adds .safetensors",
        "no_file",
        edits=(
            (
                'save_file({name: state[name] for name in state if "lora_" in name}, path)',
                SAVE.replace("path", 'path + ".safetensors"'),
            ),
        ),
    ),
    Answer(
        "save_load",
        "delta instead",
        "other_values",
        edits=(
            (
                'save_file({name: state[name] for name in state if "lora_" in name}, path)',
                SAVE.replace("state[name] for", "state[name] / 2 for"),
            ),
        ),
    ),
    Answer(
        "save_load",
        "not lora",
        "inverted",
        edits=(('if "lora_" in name}', 'if "lora_" not in name}'),),
    ),
    Answer(
        "save_load",
        "startswith",
        "some_missing",
        edits=(('if "lora_" in name}', 'if name.startswith("lora_")}'),),
    ),
    Answer(
        "save_load",
        "base_layer excluded",
        "lora_word",
        edits=(('if "lora_" in name}', 'if "base_layer" not in name}'),),
    ),
    Answer(
        "save_load",
        "subset only",
        "not_strict",
        code="""def save_adapter(model, path):
    state = model.state_dict()
    save_file({name: state[name] for name in state if "lora_" in name}, path)


def load_adapter(model, path):
    loaded = load_file(path)
    places = dict(model.named_parameters())
    with torch.no_grad():
        for name in loaded:
            if name in places:
                places[name].copy_(loaded[name])
""",
    ),
    Answer(
        "save_load",
        "checks missing only via KeyError to ValueError",
        "half_loaded",
        code="""def save_adapter(model, path):
    state = model.state_dict()
    save_file({name: state[name] for name in state if "lora_" in name}, path)


def load_adapter(model, path):
    loaded = load_file(path)
    try:
        with torch.no_grad():
            for name, p in model.named_parameters():
                if "lora_" in name:
                    p.copy_(loaded[name])
    except (KeyError, RuntimeError) as error:
        raise ValueError("does not fit") from error
""",
    ),
    Answer(
        "save_load",
        "resets the data",
        "any_shape",
        code="""def save_adapter(model, path):
    state = model.state_dict()
    save_file({name: state[name] for name in state if "lora_" in name}, path)


def load_adapter(model, path):
    loaded = load_file(path)
    places = {n: p for n, p in model.named_parameters() if "lora_" in n}
    if loaded.keys() != places.keys():
        raise ValueError("names")
    for name, p in places.items():
        p.data = loaded[name]
""",
    ),
    Answer(
        "save_load",
        "checks number of elements",
        "size_only",
        code="""def save_adapter(model, path):
    state = model.state_dict()
    save_file({name: state[name] for name in state if "lora_" in name}, path)


def load_adapter(model, path):
    loaded = load_file(path)
    places = {n: p for n, p in model.named_parameters() if "lora_" in n}
    if loaded.keys() != places.keys():
        raise ValueError("names")
    if sum(t.numel() for t in loaded.values()) != sum(p.numel() for p in places.values()):
        raise ValueError("sizes")
    with torch.no_grad():
        for name, p in places.items():
            p.copy_(loaded[name])
""",
    ),
    Answer(
        "save_load",
        "unloads on failure, names only",
        "silent_lacking",
        code="""def save_adapter(model, path):
    state = model.state_dict()
    save_file({name: state[name] for name in state if "lora_" in name}, path)


def load_adapter(model, path):
    loaded = load_file(path)
    result = model.load_state_dict(loaded, strict=False)
    if result.unexpected_keys:
        raise ValueError("unexpected")
""",
    ),
    Answer(
        "save_load",
        "loads doubled precision cast",
        "other_values",
        edits=(("places[name].copy_(value)", "places[name].copy_(value.half())"),),
    ),
    Answer(
        "save_load",
        "frees the frozen",
        "frozen",
        edits=(
            (
                "places[name].copy_(value)",
                """places[name].copy_(value)
            places[name].requires_grad_()""",
            ),
        ),
    ),
    Answer(
        "save_load",
        "prints",
        "late_error",
        edits=(('raise ValueError(f"{name} is', 'print(f"{name} is'),),
    ),
    Answer(
        "save_load",
        "trainable only compared",
        "good_refused",
        edits=(('if "lora_" in n}', "if p.requires_grad}"),),
    ),
    Answer(
        "triage",
        "nan means masked",
        "nan_only",
        edits=(("(labels == -100).all()", "torch.isnan(losses).any()"),),
    ),
    Answer(
        "triage",
        "A or B zero",
        "first_step",
        edits=(("grad_A.max() == 0 and grad_B.max() == 0", "A[0] == 0 or B[0] == 0"),),
    ),
    Answer(
        "triage",
        "max change",
        "slow_is_stuck",
        edits=(("B[-1] == B[0] and A[-1] == A[0]", "(B.max() - B.min()) < 1e-6"),),
    ),
    Answer(
        "triage",
        "last five",
        "single_loss",
        edits=(
            (
                "losses[-10:].mean() > 0.95 * losses[:10].mean()",
                "losses[-5:].mean() > 0.95 * losses[:5].mean()",
            ),
        ),
    ),
    Answer("triage", "0.9 of first", "healthy_is_slow", edits=(("0.95", "0.9"),)),
    Answer(
        "triage",
        "min to first",
        "single_loss",
        edits=(
            ("losses[-10:].mean() > 0.95 * losses[:10].mean()", "losses.min() > 0.95 * losses[0]"),
        ),
    ),
    Answer(
        "triage",
        "difference 0.05 absolute",
        "slow_is_healthy",
        edits=(
            (
                "losses[-10:].mean() > 0.95 * losses[:10].mean()",
                "losses[:10].mean() - losses[-10:].mean() < 0.05",
            ),
        ),
    ),
    Answer(
        "triage",
        "reversed ratio",
        "zero_or_four",
        edits=(
            (
                "losses[-10:].mean() > 0.95 * losses[:10].mean()",
                "losses[:10].mean() > 0.95 * losses[-10:].mean()",
            ),
        ),
    ),
    Answer("triage", "0 for labels", "labels_first", edits=(("return 1", "return 0"),)),
    Answer(
        "triage",
        "gradient small is 4",
        "slow_is_healthy",
        edits=(("losses[-10:].mean() > 0.95 * losses[:10].mean()", "grad_B.mean() < 1e-3"),),
    ),
    Answer(
        "triage",
        "ignores last check A",
        "a_alone",
        edits=(("B[-1] == B[0] and A[-1] == A[0]", "A[-1] == A[0] and A[1] == A[0]"),),
    ),
    Answer(
        "training_loop",
        "clip twice lr scaled",
        "in_warmup",
        edits=(("lr * min(1, (step + 1) / warmup)", "lr * min(1, (step + 1) / warmup) / 2"),),
    ),
    Answer(
        "training_loop",
        "lr only first group step enumerates 1",
        "rise_fast",
        edits=(("enumerate(batches)", "enumerate(batches, 1)"),),
    ),
    Answer(
        "training_loop",
        "loss divided by batch",
        "scaled_loss",
        edits=(("loss.backward()", "(loss / len(batch['x'])).backward()"),),
    ),
    Answer(
        "training_loop",
        "loss summed gradient accumulation every two",
        "in_warmup",
        edits=(
            (
                """        optimizer.step()
""",
                """        if step % 2:
            optimizer.step()
""",
            ),
        ),
    ),
    Answer(
        "training_loop",
        "clip value 1 default",
        "other_norm",
        edits=(("clip_grad_norm_(weights, clip)", "clip_grad_norm_(weights, clip, norm_type=1)"),),
    ),
    Answer(
        "training_loop",
        "infinite norm",
        "other_norm",
        edits=(
            (
                "clip_grad_norm_(weights, clip)",
                "clip_grad_norm_(weights, clip, norm_type=float('inf'))",
            ),
        ),
    ),
    Answer(
        "training_loop",
        "loss kept of last only",
        "one_a_step",
        edits=(("losses.append(loss.item())", "losses = [loss.item()]"),),
    ),
    Answer(
        "training_loop",
        "sum of norms",
        "lengths",
        edits=(
            (
                "lengths.append(torch.nn.utils.clip_grad_norm_(weights, clip).item())",
                """lengths.append(sum(p.grad.norm().item() for p in weights))
        torch.nn.utils.clip_grad_norm_(weights, clip)""",
            ),
        ),
    ),
    Answer(
        "training_loop",
        "norm after",
        "clipped_length",
        edits=(
            (
                "lengths.append(torch.nn.utils.clip_grad_norm_(weights, clip).item())",
                """torch.nn.utils.clip_grad_norm_(weights, clip)
        lengths.append(torch.nn.utils.get_total_norm([p.grad for p in weights]).item())""",
            ),
        ),
    ),
    Answer(
        "training_loop",
        "no grad under inference",
        "raised",
        edits=(
            (
                "loss = model(**batch).loss",
                """with torch.no_grad():
            loss = model(**batch).loss""",
            ),
        ),
    ),
    Answer(
        "training_loop",
        "eval inside the loop at the end",
        "other",
        edits=(
            (
                """        losses.append(loss.item())
""",
                """        losses.append(loss.item())
        model.eval()
""",
            ),
        ),
    ),
    Answer(
        "training_loop",
        "skips first batch",
        "one_a_step",
        edits=(
            (
                "for step, batch in enumerate(batches)",
                """next(batches)
    for step, batch in enumerate(batches)""",
            ),
        ),
    ),
    Answer(
        "training_loop",
        "freeze bias",
        "only_lora",
        edits=(
            (
                "    weights = [p",
                """    model.requires_grad_(False)
    for n, p in model.named_parameters():
        p.requires_grad = 'lora_' in n
    weights = [p""",
            ),
        ),
    ),
    Answer(
        "training_loop",
        "warmup share squared",
        "in_warmup",
        edits=(("(step + 1) / warmup)", "((step + 1) / warmup) ** 2)"),),
    ),
    Answer(
        "training_loop",
        "rounded losses",
        "rounded",
        edits=(("losses.append(loss.item())", "losses.append(round(loss.item(), 1))"),),
    ),
    Answer(
        "training_loop",
        "linear then cosine",
        "falls",
        edits=(
            (
                "lr * min(1, (step + 1) / warmup)",
                "lr * min((step + 1) / warmup, 1 - (step - warmup) / (9 - warmup))",
            ),
        ),
    ),
]


def edit(exercise, note, mistake, *edits):
    return Answer(exercise, note, mistake, edits=edits)


ANSWER = "    answer = completion_ids + [eos_id]\n"
WIDTH = "max(len(ids) for ids, _ in rows)"
TENSORS = "torch.tensor(lines)"
FILTER = '{n: p for n, p in model.named_parameters() if "lora_" in n}'
BUILD = "    optimizer = torch.optim.AdamW(weights, lr=lr, weight_decay=weight_decay)\n"
RATE = """        for group in optimizer.param_groups:
            group["lr"] = lr * min(1, (step + 1) / warmup)
"""
ZERO = "        optimizer.zero_grad()\n"
BACK = "        loss.backward()\n"
CLIP = "        lengths.append(torch.nn.utils.clip_grad_norm_(weights, clip).item())\n"
STEP = "        optimizer.step()\n"
FACTORS = '[p for n, p in model.named_parameters() if "lora_" in n],'

RIGHT += [
    Answer(
        "loss_mask",
        "numpy, painted over",
        code="""
def encode_row(prompt_ids, completion_ids, eos_id):
    import numpy as np

    ids = np.concatenate([prompt_ids, completion_ids, [eos_id]])
    labels = ids.copy()
    labels[np.arange(len(ids)) < len(prompt_ids)] = -100
    return ids, labels
""",
    ),
    Answer(
        "loss_mask",
        "tuples by comprehension",
        code="""
def encode_row(prompt_ids, completion_ids, eos_id):
    pairs = [(t, -100) for t in prompt_ids] + [(t, t) for t in [*completion_ids, eos_id]]
    return tuple(zip(*pairs))
""",
    ),
    Answer(
        "collate",
        "padded by torch, row by row",
        code="""
def collate(rows, pad_id):
    import torch.nn.functional as F

    T = max(len(labels) for _, labels in rows)
    fill = lambda line, value: F.pad(torch.as_tensor(line), (0, T - len(line)), value=value)
    return {
        "labels": torch.stack([fill(labels, -100) for _, labels in rows]),
        "input_ids": torch.stack([fill(ids, pad_id) for ids, _ in rows]),
        "attention_mask": torch.stack([fill([1] * len(ids), 0) for ids, _ in rows]),
    }
""",
    ),
    Answer(
        "collate",
        "zip_longest, a BatchEncoding, a mask of int32",
        code="""
def collate(rows, pad_id):
    from itertools import zip_longest

    from transformers import BatchEncoding

    ids, labels = zip(*rows)
    columns = lambda lines, fill: torch.tensor(list(zip_longest(*lines, fillvalue=fill))).T
    mask = columns([[1] * len(line) for line in ids], 0).int()
    return BatchEncoding(
        {"input_ids": columns(ids, pad_id), "attention_mask": mask,
         "labels": columns(labels, -100)}
    )
""",
    ),
    Answer(
        "schedule",
        "numpy, falling counted from the end",
        code="""
def schedule(step, steps, peak, warmup, floor):
    import numpy as np

    if step >= warmup:
        left = (steps - step) / (steps - warmup)
        return np.float64(floor + (peak - floor) * (0.5 - 0.5 * np.cos(np.pi * left)))
    return np.interp(step + 1, [0, warmup], [0, peak])
""",
    ),
    Answer(
        "schedule",
        "a mean of peak and floor",
        code="""
def schedule(step, steps, peak, warmup, floor):
    rising = step < warmup
    angle = 0 if rising else math.pi * (step - warmup) / (steps - warmup)
    fall = (peak + floor) / 2 + (peak - floor) / 2 * math.cos(angle)
    return fall * (step + 1) / warmup if rising else fall
""",
    ),
    Answer(
        "save_load",
        "through named_parameters, whole state first",
        code="""
def save_adapter(model, path):
    factors = {}
    for name, p in model.named_parameters():
        if "lora_" in name:
            factors[name] = p.detach().clone()
    save_file(factors, str(path), metadata={"format": "pt"})


def load_adapter(model, path):
    loaded, state = load_file(path), model.state_dict()
    mine = {n: t for n, t in state.items() if "lora_" in n}
    fits = set(mine) == set(loaded) and all(mine[n].shape == loaded[n].shape for n in mine)
    if not fits:
        raise ValueError("names or shapes differ")
    model.load_state_dict({**state, **loaded})
""",
    ),
    Answer(
        "save_load",
        "a subclass of ValueError, the file opened piece by piece",
        code="""
class DoesNotFit(ValueError):
    pass


def save_adapter(model, path):
    with torch.inference_mode():
        save_file({n: t for n, t in model.state_dict().items() if ".lora_" in n}, path)


def load_adapter(model, path):
    from safetensors import safe_open

    with safe_open(path, framework="pt") as file:
        names = sorted(n for n, _ in model.named_parameters() if ".lora_" in n)
        if sorted(file.keys()) != names:
            raise DoesNotFit(path)
        pairs = [(model.get_parameter(n), file.get_tensor(n)) for n in names]
    if any(place.shape != value.shape for place, value in pairs):
        raise DoesNotFit("shape")
    for place, value in pairs:
        place.data[:] = value
""",
    ),
    Answer(
        "triage",
        "numpy, a table of questions",
        code="""
def diagnose(labels, losses, grad_A, grad_B, A, B):
    grads = torch.stack([grad_A, grad_B]).numpy()
    ways = torch.stack([A, B]).numpy()
    if labels.max() < 0:
        return 1
    if not grads.any():
        return 3
    if (ways == ways[:, :1]).all():
        return 2
    start, end = losses.view(4, 10).double().mean(1)[[0, 3]]
    return int(4 * (end / start > 0.95))
""",
    ),
    Answer(
        "triage",
        "differences, as a float",
        code="""
def diagnose(labels, losses, grad_A, grad_B, A, B):
    if torch.all(torch.eq(labels, torch.full_like(labels, -100))):
        return 1.0
    if torch.count_nonzero(grad_A) + torch.count_nonzero(grad_B) == 0:
        return 3.0
    if A.diff().abs().sum() + B.diff().abs().sum() == 0:
        return 2.0
    fallen = 1 - losses[-10:].mean() / losses[:10].mean()
    return 4.0 if fallen < 0.05 else 0.0
""",
    ),
    Answer(
        "training_loop",
        "a scheduler of torch, clipped by hand",
        code="""
def train_adapter(model, batches, lr, warmup, clip, weight_decay):
    trained = list(filter(lambda p: p.requires_grad, model.parameters()))
    optimizer = torch.optim.AdamW(trained, lr, weight_decay=weight_decay)
    rise = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda s: min(1.0, (s + 1) / warmup))
    rows = []
    for batch in batches:
        model.train()
        optimizer.zero_grad(set_to_none=False)
        out = model(**batch)
        out.loss.backward()
        norm = torch.cat([p.grad.flatten() for p in trained]).norm()
        for p in trained:
            p.grad *= min(1.0, clip / float(norm))
        optimizer.step()
        rise.step()
        rows.append([out.loss.detach(), norm])
    model.eval()
    return torch.tensor(rows).T
""",
    ),
    Answer(
        "training_loop",
        "AdamW over all parameters, model.zero_grad, tensors",
        code="""
def train_adapter(model, batches, lr, warmup, clip, weight_decay):
    optimizer = torch.optim.AdamW(model.parameters(), weight_decay=weight_decay, foreach=False)
    losses, lengths = [], []
    for step, batch in enumerate(list(batches), 1):
        model.train()
        model.zero_grad()
        loss = model(**batch).loss
        loss.backward()
        lengths += [torch.nn.utils.clip_grad_norm_(model.parameters(), max_norm=clip)]
        optimizer.param_groups[0]["lr"] = lr if step >= warmup else step / warmup * lr
        optimizer.step()
        losses += [loss.detach()]
    model.train(False)
    return losses, lengths
""",
    ),
    Answer(
        "training_loop",
        "a group for each tensor, AdamW by hand",
        code="""
def train_adapter(model, batches, lr, warmup, clip, weight_decay):
    trained = [p for p in model.parameters() if p.requires_grad]
    means = [torch.zeros_like(p) for p in trained]
    squares = [torch.zeros_like(p) for p in trained]
    losses, lengths = [], []
    model.train()
    for t, batch in enumerate(batches, 1):
        loss = model(**batch).loss
        grads = torch.autograd.grad(loss, trained)
        norm = torch.stack([g.norm() for g in grads]).norm()
        rate = lr * min(t / warmup, 1)
        with torch.no_grad():
            for p, g, m, s in zip(trained, grads, means, squares):
                g = g * (clip / norm).clamp(max=1)
                m.lerp_(g, 0.1)
                s.lerp_(g * g, 0.001)
                p.mul_(1 - rate * weight_decay)
                p.sub_(rate * (m / (1 - 0.9**t)) / ((s / (1 - 0.999**t)).sqrt() + 1e-8))
        losses.append(float(loss))
        lengths.append(float(norm))
    model.eval()
    return losses, lengths
""",
    ),
]

WRONG += [
    # 5.1
    edit("loss_mask", "returns labels first", "exchanged",
         (ROW, "return [-100] * len(prompt_ids) + answer, prompt_ids + answer")),
    edit("loss_mask", "labels of the answer alone", "completion_only",
         (ROW, "return prompt_ids + answer, answer")),
    edit("loss_mask", "masks tokens that stand in the prompt", "by_token",
         (ROW, "ids = prompt_ids + answer\n"
          "    return ids, [-100 if t in prompt_ids else t for t in ids]")),
    edit("loss_mask", "the same, with the end token kept", "by_token",
         (ROW, "ids = prompt_ids + answer\n"
          "    return ids, [-100 if t in prompt_ids and t != eos_id else t for t in ids]")),
    edit("loss_mask", "masked with -1", "other_number", ("[-100]", "[-1]")),
    edit("loss_mask", "a plus for the minus", "other_number", ("[-100]", "[100]")),
    edit("loss_mask", "eos in the labels alone", "no_eos",
         (ROW, "return prompt_ids + completion_ids, [-100] * len(prompt_ids) + answer")),
    edit("loss_mask", "the prompt's own list grows", "in_place",
         (ROW, "n = len(prompt_ids)\n    prompt_ids += answer\n"
          "    return prompt_ids, [-100] * n + answer")),
    edit("loss_mask", "the completion's own list grows", "in_place",
         (ANSWER, "    completion_ids.append(eos_id)\n    answer = completion_ids\n")),
    edit("loss_mask", "floats", "other",
         (ROW, "ids = prompt_ids + answer\n    labels = torch.tensor(ids).float()\n"
          "    labels[: len(prompt_ids)] = -100\n    return ids, labels")),
    edit("loss_mask", "a mask of true and false", "ones",
         (ROW, "return prompt_ids + answer, [False] * len(prompt_ids) + [True] * len(answer)")),
    edit("loss_mask", "up to the first end token", "by_eos",
         (ROW, "ids = prompt_ids + answer\n    end = ids.index(eos_id) + 1\n"
          "    return ids[:end], ([-100] * len(prompt_ids) + answer)[:end]")),
    edit("loss_mask", "an end token after the prompt too", "eos_place",
         ("answer = completion_ids", "answer = [eos_id] + completion_ids")),
    edit("loss_mask", "a dict", "type",
         (ROW, 'return {"ids": prompt_ids + answer, "labels": [-100] * len(prompt_ids) + answer}')),
    edit("loss_mask", "one list of pairs", "type",
         (ROW, "return list(zip(prompt_ids + answer, [-100] * len(prompt_ids) + answer))")),
    edit("loss_mask", "forgets return", "none", ("return prompt", "prompt")),
    # 5.2
    edit("collate", "lists", "type", (TENSORS, "lines")),
    edit("collate", "NumPy arrays", "type", (TENSORS, "torch.tensor(lines).numpy()")),
    edit("collate", "int32", "other", (TENSORS, "torch.tensor(lines, dtype=torch.int32)")),
    edit("collate", "labels of int32", "other",
         (TENSORS, 'torch.tensor(lines, dtype=torch.int32 if name == "labels" else torch.long)')),
    edit("collate", "a mask of floats", "floats",
         (TENSORS, 'torch.tensor(lines).to(torch.float if name[0] == "a" else torch.long)')),
    edit("collate", "labels of floats", "floats",
         (TENSORS, 'torch.tensor(lines).to(torch.float if name == "labels" else torch.long)')),
    edit("collate", "bfloat16", "floats", (TENSORS, "torch.tensor(lines).bfloat16()")),
    edit("collate", "the first row's length", "width", (WIDTH, "len(rows[0][0])"),
         ("ids + [pad_id] * n", "(ids + [pad_id] * n)[:width]"),
         ("[1] * len(ids) + [0] * n", "([1] * len(ids) + [0] * n)[:width]"),
         ("labels + [-100] * n", "(labels + [-100] * n)[:width]")),
    edit("collate", "one place more", "width", (WIDTH, WIDTH + " + 1")),
    edit("collate", "a multiple of eight", "width", (WIDTH, f"-(-{WIDTH} // 8) * 8")),
    Answer(
        "collate",
        "pad_sequence without batch_first",
        "transposed",
        code="""
def collate(rows, pad_id):
    from torch.nn.utils.rnn import pad_sequence
    ids = [torch.tensor(i) for i, _ in rows]
    labels = [torch.tensor(l) for _, l in rows]
    mask = [torch.ones_like(i) for i in ids]
    return {
        "input_ids": pad_sequence(ids, padding_value=pad_id),
        "attention_mask": pad_sequence(mask),
        "labels": pad_sequence(labels, padding_value=-100),
    }
""",
    ),
    edit("collate", "the rows themselves are filled", "in_place",
         (FILL_IDS, 'ids += [pad_id] * n\n        batch["input_ids"].append(ids)'),
         (FILL_MASK, 'batch["attention_mask"].append([1] * (width - n) + [0] * n)')),
    edit("collate", "labels filled with -1", "pads_in_loss",
         ("labels + [-100] * n", "labels + [-1] * n")),
    edit("collate", "labels are the padded tokens", "prompt_in_loss",
         ("labels + [-100] * n", "ids + [pad_id] * n")),
    edit("collate", "no mask", "type",
         ('"attention_mask": [], ', ""), ("        " + FILL_MASK, "")),
    edit("collate", "other names", "type", ('"input_ids"', '"ids"')),
    edit("collate", "lengths as well", "type",
         ("return {name", 'batch["lengths"] = [len(ids) for ids, _ in rows]\n    return {name')),
    edit("collate", "a tuple", "type",
         ("return {name: torch.tensor(lines) for name, lines in batch.items()}",
          "return tuple(torch.tensor(lines) for lines in batch.values())")),
    edit("collate", "the end token is filling too", "mask_by_id",
         ("[1] * len(ids) + [0] * n", "[1 if t != pad_id else 0 for t in ids] + [0] * n")),
    edit("collate", "the last end token hidden", "mask_count",
         ("[1] * len(ids) + [0] * n", "[1] * (len(ids) - 1) + [0] * (n + 1)")),
    edit("collate", "forgets return", "none", ("return {", "{")),
    # 5.3
    edit("schedule", "one step more rises", "overshoot", ("step < warmup", "step <= warmup"),
         ("/ warmup\n", "/ max(warmup, 1)\n"), ("if step <= ", "if warmup and step <= ")),
    edit("schedule", "falls to the end of steps", "not_stretched",
         (PROGRESS, "(step - warmup) / steps")),
    edit("schedule", "held at the floor", "clamped",
         (FALL, "max(floor, peak * (1 + math.cos(math.pi * progress)) / 2)")),
    edit("schedule", "no half", "no_halving",
         ("(1 + math.cos(math.pi * progress)) / 2", "(1 + math.cos(math.pi * progress))")),
    edit("schedule", "progress counted from 1", "floor_early",
         (PROGRESS, "(step + 1 - warmup) / (steps - warmup)")),
    edit("schedule", "rises from the floor, from step 0", "rise_from_floor",
         (RISE, "return floor + (peak - floor) * step / warmup")),
    edit("schedule", "a sine", "sine", ("math.cos", "math.sin")),
    edit("schedule", "a share of the peak", "share", (RISE, RISE.replace("peak * ", "")),
         (FALL, "(" + FALL + ") / peak")),
    edit("schedule", "whole numbers", "cut", ("(step + 1) / warmup", "((step + 1) // warmup)")),
    edit("schedule", "progress first", "all_warmup",
         ("    if step < warmup:\n", f"    progress = {PROGRESS}\n    if step < warmup:\n")),
    edit("schedule", "warmup never used", "no_warmup",
         ("    if step < warmup:\n", "    warmup = 0\n    if step < warmup:\n")),
    edit("schedule", "forgets the second return", "none", ("return floor", "floor")),
    edit("schedule", "a text", "type", ("return floor", "return str(floor"), (") / 2", ") / 2)")),
    # 5.4
    edit("save_load", "lora without the underscore", "lora_word",
         ('if "lora_" in name}', 'if "lora" in name}')),
    edit("save_load", "names that end in A or B", "ends_with",
         ('if "lora_" in name}', 'if name.endswith(("lora_A", "lora_B"))}')),
    edit("save_load", "only A", "one_factor", ('if "lora_" in name}', 'if "lora_A" in name}')),
    edit("save_load", "bfloat16", "cast", ("state[name] for", "state[name].bfloat16() for")),
    edit("save_load", "with the scale inside", "other_values",
         ("state[name] for", "state[name] * 2 for")),
    edit("save_load", "the model loses its factors", "other",
         (SAVE, SAVE + "\n    for name, p in model.named_parameters():\n"
          '        if "lora_B" in name:\n            p.data.zero_()')),
    edit("save_load", "saving switches to train()", "other",
         ("    state = model.state_dict()", "    state = model.train().state_dict()")),
    edit("save_load", "no file at all", "no_file", (SAVE, "return state")),
    edit("save_load", "numbers without names", "names",
         (SAVE, 'kept = [state[n] for n in state if "lora_" in n]\n'
          "    save_file({str(n): t for n, t in enumerate(kept)}, path)")),
    Answer("save_load", "by the order of the file", "by_order", code=loader("""
loaded = load_file(path)
places = {n: p for n, p in model.named_parameters() if "lora_" in n}
if loaded.keys() != places.keys() or any(loaded[n].shape != places[n].shape for n in places):
    raise ValueError("does not fit")
with torch.no_grad():
    for place, value in zip(places.values(), loaded.values()):
        place.copy_(value)
""")),
    Answer("save_load", "new parameters", "replaced", code=loader("""
loaded = load_file(path)
places = {n: p for n, p in model.named_parameters() if "lora_" in n}
if loaded.keys() != places.keys() or any(loaded[n].shape != places[n].shape for n in places):
    raise ValueError("does not fit")
for name, value in loaded.items():
    layer, _, last = name.rpartition(".")
    setattr(model.get_submodule(layer), last, torch.nn.Parameter(value))
""")),
    Answer("save_load", "load_state_dict with assign", "replaced", code=loader("""
loaded = load_file(path)
places = {n: p for n, p in model.named_parameters() if "lora_" in n}
if loaded.keys() != places.keys() or any(loaded[n].shape != places[n].shape for n in places):
    raise ValueError("does not fit")
model.load_state_dict(loaded, strict=False, assign=True)
""")),
    edit("save_load", "frozen afterwards", "frozen",
         (COPY, COPY + "\n            places[name].requires_grad = False")),
    edit("save_load", "compares the shapes of B alone", "only_B",
         ("if value.shape != places[name].shape:",
          'if "lora_B" in name and value.shape != places[name].shape:')),
    edit("save_load", "compares the shapes of A alone", "only_A",
         ("if value.shape != places[name].shape:",
          'if "lora_A" in name and value.shape != places[name].shape:')),
    edit("save_load", "compares numel", "size_only",
         (SHAPES, "if value.numel() != places[name].numel():")),
    edit("save_load", "compares the number of axes", "late_error",
         (SHAPES, "if value.dim() != places[name].dim():")),
    edit("save_load", "copy_ is the test", "half_loaded", (SHAPES, "if False:"),
         (COPY, "try:\n                places[name].copy_(value)\n"
          "            except RuntimeError as error:\n"
          "                raise ValueError(name) from error")),
    edit("save_load", "copy_ into a copy is the test", "spread",
         (SHAPES, "try:\n            places[name].detach().clone().copy_(value)\n"
          "        except RuntimeError:"),
         ('raise ValueError(f"{name} is {value.shape}, not {places[name].shape}")',
          'raise ValueError(name)')),
    edit("save_load", "compares the number of names", "count",
         (NAMES, "if len(loaded) != len(places):")),
    edit("save_load", "no look at the names", "accepted", (NAMES, "if False:")),
    edit("save_load", "a KeyError for a name", "wrong_error",
         (NAMES, "if len(loaded) > len(places):"),
         ("in loaded.items()", "in {n: loaded[n] for n in places}.items()")),
    edit("save_load", "an assertion", "wrong_error",
         (NAMES, "assert loaded.keys() == places.keys()\n    if False:")),
    edit("save_load", "a RuntimeError", "wrong_error",
         ("raise ValueError(f\"other", "raise RuntimeError(f\"other")),
    edit("save_load", "prints instead of raising", "not_strict",
         ('raise ValueError(f"other names: {sorted(loaded.keys() ^ places.keys())}")',
          'return print("this file does not fit")')),
    Answer("save_load", "copies what fits, then complains", "half_loaded", code=loader("""
loaded = load_file(path)
places = {n: p for n, p in model.named_parameters() if "lora_" in n}
with torch.no_grad():
    for name, place in places.items():
        if name in loaded and loaded[name].shape == place.shape:
            place.copy_(loaded[name])
if loaded.keys() != places.keys() or any(loaded[n].shape != places[n].shape for n in places):
    raise ValueError("does not fit")
""")),
    Answer("save_load", "load_state_dict, its error renamed", "half_loaded", code=loader("""
loaded = load_file(path)
try:
    result = model.load_state_dict(loaded, strict=False)
except RuntimeError as error:
    raise ValueError(str(error)) from error
if result.unexpected_keys or any("lora_" in n for n in result.missing_keys):
    raise ValueError(str(result))
""")),
    edit("save_load", "adds to what is there", "other_values", (COPY, "places[name].add_(value)")),
    edit("save_load", "reads with no_grad forgotten", "needs_no_grad",
         ("    with torch.no_grad():", "    if True:")),
    edit("save_load", "the model in train() afterwards", "other",
         ("    with torch.no_grad():", "    model.train()\n    with torch.no_grad():")),
    edit("save_load", "everything thaws", "frozen",
         ("    with torch.no_grad():",
          "    model.requires_grad_(True)\n    with torch.no_grad():")),
    # 5.5
    edit("triage", "gradient of B in step 0", "first_step",
         (ZEROS, "    if grad_B[0] == 0:\n        return 3\n")),
    edit("triage", "one gradient is enough", "one_gradient",
         ("grad_A.max() == 0 and grad_B", "grad_A.max() == 0 or grad_B")),
    edit("triage", "the gradient of B alone", "one_gradient",
         ("grad_A.max() == 0 and ", "")),
    edit("triage", "B is still zero", "b_is_zero",
         ("B[-1] == B[0] and A[-1] == A[0]", "B[-1] == 0")),
    edit("triage", "A is the same", "a_alone",
         ("B[-1] == B[0] and A[-1] == A[0]", "A[-1] == A[0]")),
    edit("triage", "A or B is the same", "a_alone",
         ("B[-1] == B[0] and A[-1] == A[0]", "B[-1] == B[0] or A[-1] == A[0]")),
    edit("triage", "the first two steps", "second_step",
         ("B[-1] == B[0] and A[-1] == A[0]", "B[1] == B[0]")),
    edit("triage", "a limit of 0.99", "slow_is_healthy", ("0.95", "0.99")),
    edit("triage", "not lower at all", "slow_is_healthy", ("0.95 * ", "")),
    edit("triage", "the limit upside down", "healthy_is_slow", ("> 0.95", "> 0.05")),
    edit("triage", "the last loss against the first", "single_loss",
         (SLOW, "return 4 if losses[-1] > 0.95 * losses[0] else 0")),
    edit("triage", "the last loss alone", "single_loss",
         ("losses[-10:].mean()", "losses[-1]")),
    edit("triage", "the lowest loss against the highest", "slow_is_healthy",
         (SLOW, "return 4 if losses.min() > 0.95 * losses.max() else 0")),
    edit("triage", "medians", "single_loss",
         (SLOW, "return 4 if losses[-10:].median() > 0.95 * losses[:10].median() else 0")),
    edit("triage", "halves instead of tens", "single_loss",
         (SLOW, "return 4 if losses[20:].mean() > 0.95 * losses[:20].mean() else 0")),
    edit("triage", "the first row of labels", "one_row",
         ("(labels == -100).all()", "(labels[0] == -100).all()")),
    edit("triage", "any masked label", "one_row",
         ("(labels == -100).all()", "(labels == -100).any()")),
    edit("triage", "any masked row", "one_row",
         ("(labels == -100).all()", "(labels == -100).all(1).any()")),
    edit("triage", "2 and 3 exchanged", "two_and_three", ("return 3", "return 5"),
         ("return 2", "return 3"), ("return 5", "return 2")),
    edit("triage", "0 and 4 exchanged", "zero_and_four",
         ("return 4 if", "return 0 if"), ("else 0", "else 4")),
    edit("triage", "always 2", "labels_first", (MASKED, "    return 2\n")),
    edit("triage", "words", "type", ("return 1", 'return "labels"')),
    edit("triage", "forgets a return", "none", (SLOW, SLOW.replace("return ", ""))),
    edit("triage", "writes into the losses", "other",
         (MASKED, "    losses[losses.isnan()] = 0\n    losses /= losses[0].item()\n" + MASKED)),
    # 5.6
    edit("training_loop", "no clipping", "no_clip",
         (CLIP, "        lengths.append(float(torch.cat([p.grad.view(-1) for p in weights])"
          ".norm()))\n")),
    edit("training_loop", "clips before backward", "no_clip",
         (ZERO + BACK + CLIP, ZERO + CLIP + BACK)),
    edit("training_loop", "clips after the step", "no_clip", (CLIP + STEP, STEP + CLIP)),
    edit("training_loop", "clips the loss", "no_clip",
         (BACK + CLIP, BACK + CLIP.replace("clip)", "1e9)"))),
    edit("training_loop", "clips each tensor", "each_clipped",
         (CLIP, "        lengths.append(sum(torch.nn.utils.clip_grad_norm_([p], clip)**2 "
          "for p in weights) ** 0.5)\n")),
    edit("training_loop", "clips each number", "value_clipped",
         (CLIP, CLIP.replace("clip)", "1e9)")
          + "        torch.nn.utils.clip_grad_value_(weights, clip)\n")),
    edit("training_loop", "clips at 1", "all_alike",
         ("clip_grad_norm_(weights, clip)", "clip_grad_norm_(weights, 1.0)")),
    edit("training_loop", "always at the length clip", "all_alike",
         (CLIP, CLIP + "        for p in weights:\n"
          "            p.grad *= max(1, clip / lengths[-1])\n")),
    edit("training_loop", "zero_grad forgotten", "no_zero", (ZERO, "")),
    edit("training_loop", "zero_grad once, before the loop", "no_zero", (ZERO, ""),
         ("    model.train()\n", "    model.train()\n    optimizer.zero_grad()\n")),
    edit("training_loop", "zero_grad after the step", "zero_after",
         (ZERO, ""), (STEP, STEP + ZERO)),
    edit("training_loop", "zero_grad after backward", "no_gradient", (ZERO + BACK, BACK + ZERO)),
    edit("training_loop", "zero_grad between clip and step", "no_gradient", (ZERO, ""),
         (CLIP, CLIP + ZERO)),
    edit("training_loop", "the step before backward", "no_gradient",
         (BACK + CLIP + STEP, STEP + BACK + CLIP)),
    edit("training_loop", "step, zero, backward", "raised", (ZERO + BACK + CLIP + STEP,
         STEP + ZERO + BACK + CLIP)),
    edit("training_loop", "the step at the top of the loop", "late",
         (STEP, ""), (RATE, RATE + STEP)),
    edit("training_loop", "no backward", "no_gradient", (BACK, "")),
    edit("training_loop", "the step forgotten", "no_gradient", (STEP, "")),
    edit("training_loop", "no warm-up", "no_warmup", (RATE, "")),
    edit("training_loop", "the rate in a variable", "no_warmup",
         (RATE, "        rate = lr * min(1, (step + 1) / warmup)\n")),
    edit("training_loop", "the rate in the optimizer's defaults", "no_warmup",
         (RATE, '        optimizer.defaults["lr"] = lr * min(1, (step + 1) / warmup)\n')),
    edit("training_loop", "a warm-up without end", "endless_warmup",
         ("min(1, (step + 1) / warmup)", "(step + 1) / warmup")),
    edit("training_loop", "max for min", "max_for_min", ("min(1,", "max(1,")),
    edit("training_loop", "from a rate of 0", "from_zero",
         ("(step + 1) / warmup", "step / warmup")),
    edit("training_loop", "the rate after the step", "rate_late", (RATE, ""), (STEP, STEP + RATE)),
    edit("training_loop", "the rate multiplied in place", "compounds",
         ('group["lr"] = lr * min', 'group["lr"] *= min')),
    edit("training_loop", "warm-up, then a rate of 0", "falls",
         ("min(1, (step + 1) / warmup)", "((step + 1) / warmup if step < warmup else 0)")),
    edit("training_loop", "SGD", "sgd", ("torch.optim.AdamW", "torch.optim.SGD")),
    edit("training_loop", "SGD without decay", "sgd",
         (BUILD, "    optimizer = torch.optim.SGD(weights, lr=lr)\n")),
    edit("training_loop", "Adam", "adam", ("torch.optim.AdamW", "torch.optim.Adam")),
    edit("training_loop", "the default decay", "default_decay",
         (", weight_decay=weight_decay", "")),
    edit("training_loop", "no decay", "default_decay", ("=weight_decay", "=0.0")),
    edit("training_loop", "an optimizer in each step", "new_optimizer",
         (BUILD, ""), (RATE, "    " + BUILD + RATE)),
    edit("training_loop", "the factors alone", "only_lora",
         ("[p for p in model.parameters() if p.requires_grad]",
          '[p for n, p in model.named_parameters() if "lora_" in n]'),
         (ZERO, "        model.zero_grad()\n")),
    edit("training_loop", "everything thaws", "unfrozen",
         ("    weights = [", "    model.requires_grad_(True)\n    weights = [")),
    edit("training_loop", "what is trained is frozen at the end", "other",
         ("    model.eval()", "    model.requires_grad_(False)\n    model.eval()")),
    edit("training_loop", "eval mode left on", "eval_mode", ("    model.train()\n", "")),
    edit("training_loop", "train mode left on", "other", ("    model.eval()\n", "")),
    edit("training_loop", "eval after the first step", "other",
         ("        losses.append", "        model.eval()\n        losses.append")),
    edit("training_loop", "lengths after clipping", "clipped_length",
         (CLIP, CLIP.replace(".item())", ".clamp(max=clip).item())"))),
    edit("training_loop", "one length of each tensor", "other_length",
         (CLIP, CLIP.replace("(weights, clip).item()", "(weights, clip) ** 2"))),
    edit("training_loop", "the loss after the step", "loss_after",
         ("losses.append(loss.item())", "losses.append(model(**batch).loss.item())")),
    edit("training_loop", "running mean of the losses", "running",
         ("return losses, lengths", "sums = torch.tensor(losses).cumsum(0)\n"
          "    return sums / torch.arange(1, len(sums) + 1), lengths")),
    edit("training_loop", "the first batch again and again", "one_batch",
         ("        loss = model(**batch).loss\n",
          "        first = batch if step == 0 else first\n        loss = model(**first).loss\n")),
    edit("training_loop", "stops after the warm-up", "other",
         ("        losses.append(loss.item())\n",
          "        losses.append(loss.item())\n        if step >= warmup:\n            break\n")),
    edit("training_loop", "losses alone", "type", ("return losses, lengths", "return losses")),
    edit("training_loop", "the mean loss", "one_a_step",
         ("return losses, lengths", "return sum(losses) / len(losses), lengths")),
    edit("training_loop", "lengths first", "exchanged",
         ("return losses, lengths", "return lengths, losses")),
    edit("training_loop", "len of a generator", "raised",
         ("    model.train()\n", "    model.train()\n    steps = len(batches)\n")),
    edit("training_loop", "forgets return", "none",
         ("    return losses, lengths", "    losses, lengths")),
    edit("training_loop", "the factors alone, old gradients of others in the clip", "only_lora",
         (BUILD, BUILD.replace("weights,", FACTORS)),
         (ZERO, "        model.zero_grad()\n"),
         (CLIP, CLIP.replace("weights,", FACTORS))),
]  # fmt: skip


def cell(note, mistake, body):
    """A wrong encode_row with this body."""
    return Answer("loss_mask", note, mistake,
                  f"def encode_row(prompt_ids, completion_ids, eos_id):\n    {body}\n")  # fmt: skip


# What others tried, without having seen the checks.
WRONG += [
    cell("no second eos", "by_eos", "ids = prompt_ids + completion_ids\n"
         "    ids = ids if ids[-1] == eos_id else ids + [eos_id]\n"
         "    return ids, [-100] * len(prompt_ids) + ids[len(prompt_ids):]"),
    cell("an eos on the way masked", "by_eos", "ids = prompt_ids + completion_ids + [eos_id]\n"
         "    inner = [-100 if t == eos_id else t for t in completion_ids]\n"
         "    return ids, [-100] * len(prompt_ids) + inner + [eos_id]"),
    cell("looks for the first token of the answer", "by_token",
         "ids = prompt_ids + completion_ids + [eos_id]\n"
         "    n = ids.index(completion_ids[0])\n    return ids, [-100] * n + ids[n:]"),
    Answer("save_load", "saves what requires a gradient", "by_flag", edits=(
        ("state = model.state_dict()",
         "state = {n: p for n, p in model.named_parameters() if p.requires_grad}"),)),
    Answer("save_load", "loads into what requires a gradient", "good_refused", edits=(
        ('if "lora_" in n}', 'if "lora_" in n and p.requires_grad}'),)),
    Answer("save_load", "unfreezes the factors", "frozen", edits=(
        ("copy_(value)", "copy_(value).requires_grad_(True)"),)),
    Answer("save_load", "leaves eval mode", "other", edits=(
        ("    with torch.no_grad()", "    model.eval()\n    with torch.no_grad()"),)),
    Answer("triage", "a change in either direction", "rises", edits=(
        ("losses[-10:].mean() > 0.95 * losses[:10].mean()",
         "abs(1 - losses[-10:].mean() / losses[:10].mean()) < 0.05"),)),
    Answer("triage", "1.05 times the last", "of_the_last", edits=(
        ("losses[-10:].mean() > 0.95 * losses", "1.05 * losses[-10:].mean() > losses"),)),
    Answer("training_loop", "keeps the graphs", "graph_kept", edits=(
        ("losses.append(loss.item())", "losses.append(loss)"),)),
]  # fmt: skip

RIGHT += [
    Answer(
        "loss_mask",
        "copy and slice",
        edits=(
            (
                "return prompt_ids + answer, [-100] * len(prompt_ids) + answer",
                (
                    "ids = [*prompt_ids, *answer]\n"
                    "    labels = ids.copy()\n"
                    "    labels[: len(prompt_ids)] = [-100] * len(prompt_ids)\n"
                    "    return [ids, labels]"
                ),
            ),
        ),
    ),
    Answer(
        "loss_mask",
        "tensors",
        edits=(
            (
                "return prompt_ids + answer, [-100] * len(prompt_ids) + answer",
                (
                    "ids = torch.tensor(prompt_ids + answer)\n"
                    "    labels = ids.clone()\n"
                    "    labels[: len(prompt_ids)] = -100\n"
                    "    return ids, labels"
                ),
            ),
        ),
    ),
    Answer(
        "collate",
        "pad_sequence",
        code="""
from torch.nn.utils.rnn import pad_sequence


def collate(rows, pad_id):
    ids, labels = zip(*((torch.tensor(i), torch.tensor(l)) for i, l in rows))
    return dict(
        labels=pad_sequence(labels, batch_first=True, padding_value=-100),
        attention_mask=pad_sequence([torch.ones_like(i) for i in ids], batch_first=True).bool(),
        input_ids=pad_sequence(ids, batch_first=True, padding_value=pad_id),
    )
""",
    ),
    Answer(
        "collate",
        "torch.full",
        code="""
def collate(rows, pad_id):
    T = max(map(len, (r[0] for r in rows)))
    ids = torch.full((len(rows), T), pad_id)
    labels = torch.full_like(ids, -100)
    mask = torch.zeros_like(ids, dtype=torch.int32)
    for i, (row, label) in enumerate(rows):
        ids[i, : len(row)] = torch.tensor(row)
        labels[i, : len(label)] = torch.tensor(label)
        mask[i, : len(row)] = 1
    return {"input_ids": ids, "labels": labels, "attention_mask": mask}
""",
    ),
    Answer(
        "schedule",
        "lerp",
        edits=(
            (
                ("return floor + (peak - floor) * (1 + math.cos(math.pi * progress)) / 2"),
                (
                    "c = math.cos(math.pi * progress)\n"
                    "    return 0.5 * (peak + floor) + 0.5 * (peak - floor) * c"
                ),
            ),
        ),
    ),
    Answer(
        "schedule",
        "torch",
        edits=(
            (
                ("return floor + (peak - floor) * (1 + math.cos(math.pi * progress)) / 2"),
                (
                    "return floor + (peak - floor) * torch.cos(torch.tensor(math.pi * progres"
                    "s / 2, dtype=torch.float64)) ** 2"
                ),
            ),
        ),
    ),
    Answer(
        "save_load",
        "data copy_",
        edits=(
            (
                (
                    "with torch.no_grad():\n"
                    "        for name, value in loaded.items():\n"
                    "            places[name].copy_(value)"
                ),
                ("for name, value in loaded.items():\n        places[name].data.copy_(value)"),
            ),
        ),
    ),
    Answer(
        "save_load",
        "state_dict for load after checks",
        edits=(
            (
                (
                    "with torch.no_grad():\n"
                    "        for name, value in loaded.items():\n"
                    "            places[name].copy_(value)"
                ),
                "model.load_state_dict(loaded, strict=False)",
            ),
        ),
    ),
    Answer(
        "triage",
        "numpy any",
        edits=(
            (
                "if grad_A.max() == 0 and grad_B.max() == 0:\n        return 3",
                ("if not (grad_A.numpy().any() or grad_B.numpy().any()):\n        return 3"),
            ),
        ),
    ),
    Answer(
        "triage",
        "whole paths",
        edits=(
            (
                "if B[-1] == B[0] and A[-1] == A[0]:\n        return 2",
                ("if len(set(B.tolist())) == 1 and len(set(A.tolist())) == 1:\n        return 2"),
            ),
        ),
    ),
    Answer(
        "training_loop",
        "LambdaLR",
        edits=(
            (
                ("optimizer = torch.optim.AdamW(weights, lr=lr, weight_decay=weight_decay)"),
                (
                    "optimizer = torch.optim.AdamW(weights, lr=lr, weight_decay=weight_decay)"
                    "\n"
                    "    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda s: mi"
                    "n(1, (s + 1) / warmup))"
                ),
            ),
            (
                (
                    "for group in optimizer.param_groups:\n"
                    '            group["lr"] = lr * min(1, (step + 1) / warmup)'
                ),
                "pass",
            ),
            ("optimizer.step()\n", "optimizer.step()\n        schedule.step()\n"),
        ),
    ),
    Answer(
        "training_loop",
        "by hand clip",
        edits=(
            (
                "lengths.append(torch.nn.utils.clip_grad_norm_(weights, clip).item())",
                (
                    "n = sum(p.grad.double().pow(2).sum() for p in weights if p.grad is not N"
                    "one) ** 0.5\n"
                    "        lengths.append(n)\n"
                    "        if n > clip:\n"
                    "            for p in weights:\n"
                    "                if p.grad is not None:\n"
                    "                    p.grad.mul_(clip / n)"
                ),
            ),
        ),
    ),
]

WRONG += [
    Answer(
        "loss_mask",
        "labels short",
        "label_short",
        edits=(
            (
                "return prompt_ids + answer, [-100] * len(prompt_ids) + answer",
                "return prompt_ids + answer, [-100] * len(prompt_ids) + completion_ids",
            ),
        ),
    ),
    Answer(
        "loss_mask",
        "shifted right",
        "shifted_right",
        edits=(
            (
                "return prompt_ids + answer, [-100] * len(prompt_ids) + answer",
                ("return prompt_ids + answer, [-100] * (len(prompt_ids) + 1) + answer[:-1]"),
            ),
        ),
    ),
    Answer(
        "loss_mask",
        "0/1 mask",
        "ones",
        edits=(
            (
                "return prompt_ids + answer, [-100] * len(prompt_ids) + answer",
                "return prompt_ids + answer, [0] * len(prompt_ids) + [1] * len(answer)",
            ),
        ),
    ),
    Answer(
        "loss_mask",
        "all eos masked",
        "by_eos",
        edits=(
            (
                "return prompt_ids + answer, [-100] * len(prompt_ids) + answer",
                (
                    "return prompt_ids + answer, [-100 if t == eos_id else t for t in [-100] "
                    "* len(prompt_ids) + answer]"
                ),
            ),
        ),
    ),
    Answer(
        "loss_mask",
        "by first eos",
        "by_eos",
        edits=(
            (
                "return prompt_ids + answer, [-100] * len(prompt_ids) + answer",
                (
                    "return prompt_ids + answer, (lambda ids: [-100] * ids.index(eos_id) + id"
                    "s[ids.index(eos_id):])(prompt_ids + answer)"
                ),
            ),
        ),
    ),
    Answer(
        "collate",
        "in place labels",
        "in_place",
        edits=(
            (
                'batch["labels"].append(labels + [-100] * n)',
                'labels.extend([-100] * n)\n        batch["labels"].append(labels)',
            ),
        ),
    ),
    Answer(
        "collate",
        "sorted rows",
        "sorted",
        edits=(
            (
                "for ids, labels in rows:",
                "for ids, labels in sorted(rows, key=lambda r: -len(r[0])):",
            ),
        ),
    ),
    Answer(
        "collate",
        "shifted labels",
        "shifted",
        edits=(("labels + [-100] * n", "labels[1:] + [-100] * (n + 1)"),),
    ),
    Answer(
        "schedule",
        "(step+1)/(warmup+1)",
        "rise_slow",
        edits=(
            (
                "if step < warmup:\n        return peak * (step + 1) / warmup",
                "if step < warmup:\n        return peak * (step + 1) / (warmup + 1)",
            ),
        ),
    ),
    Answer(
        "schedule",
        "peak - floor without adding",
        "floor_lost",
        edits=(
            (
                ("return floor + (peak - floor) * (1 + math.cos(math.pi * progress)) / 2"),
                "return (peak - floor) * (1 + math.cos(math.pi * progress)) / 2",
            ),
        ),
    ),
    Answer(
        "schedule",
        "ratio, not rate",
        "share",
        edits=(
            (
                ("return floor + (peak - floor) * (1 + math.cos(math.pi * progress)) / 2"),
                "return (1 + math.cos(math.pi * progress)) / 2",
            ),
            (
                "if step < warmup:\n        return peak * (step + 1) / warmup",
                "if step < warmup:\n        return (step + 1) / warmup",
            ),
        ),
    ),
    Answer(
        "schedule",
        "warmup without peak",
        "share",
        edits=(
            (
                "if step < warmup:\n        return peak * (step + 1) / warmup",
                "if step < warmup:\n        return (step + 1) / warmup",
            ),
        ),
    ),
    Answer(
        "schedule",
        "warm-up rounds",
        "rounded",
        edits=(
            (
                "if step < warmup:\n        return peak * (step + 1) / warmup",
                "if step < warmup:\n        return round(peak * (step + 1) / warmup, 4)",
            ),
        ),
    ),
    Answer(
        "schedule",
        "floor in warm-up too",
        "floor_in_rise",
        edits=(
            (
                "if step < warmup:\n        return peak * (step + 1) / warmup",
                ("if step < warmup:\n        return max(floor, peak * (step + 1) / warmup)"),
            ),
        ),
    ),
    Answer(
        "save_load",
        "saves trainable only",
        "by_flag",
        edits=(
            (
                ('save_file({name: state[name] for name in state if "lora_" in name}, path)'),
                (
                    "save_file({n: p.data for n, p in model.named_parameters() if p.requires_"
                    "grad}, path)"
                ),
            ),
        ),
    ),
    Answer(
        "save_load",
        "float32 cast",
        "cast",
        edits=(("{name: state[name]", "{name: state[name].float()"),),
    ),
    Answer(
        "save_load",
        "no shape check",
        "late_error",
        edits=(
            (
                (
                    "for name, value in loaded.items():\n"
                    "        if value.shape != places[name].shape:\n"
                    '            raise ValueError(f"{name} is {value.shape}, not {places[name'
                    '].shape}")'
                ),
                "",
            ),
        ),
    ),
    Answer(
        "save_load",
        "broadcast shapes pass",
        "late_error",
        edits=(
            (
                (
                    "for name, value in loaded.items():\n"
                    "        if value.shape != places[name].shape:\n"
                    '            raise ValueError(f"{name} is {value.shape}, not {places[name'
                    '].shape}")'
                ),
                (
                    "for name, value in loaded.items():\n"
                    "        if value.ndim != places[name].ndim:\n"
                    '            raise ValueError(f"{name} is {value.shape}, not {places[name'
                    '].shape}")'
                ),
            ),
        ),
    ),
    Answer(
        "triage",
        "loss 0 for 1",
        "nan_only",
        edits=(("(labels == -100).all()", "(losses == 0).all()"),),
    ),
    Answer(
        "triage",
        "2 by small tolerance",
        "slow_is_stuck",
        edits=(
            (
                "if B[-1] == B[0] and A[-1] == A[0]:\n        return 2",
                ("if abs(B[-1] - B[0]) < 1e-3 and abs(A[-1] - A[0]) < 1e-3:\n        return 2"),
            ),
        ),
    ),
    Answer(
        "triage",
        "4 by weights hardly moving",
        "by_distance",
        edits=(
            (
                "return 4 if losses[-10:].mean() > 0.95 * losses[:10].mean() else 0",
                "return 4 if (B[-1] - B[0]).abs() < 0.01 else 0",
            ),
        ),
    ),
    Answer(
        "training_loop",
        "decays after",
        "falls",
        edits=(
            (
                'group["lr"] = lr * min(1, (step + 1) / warmup)',
                (
                    'group["lr"] = lr * min(1, (step + 1) / warmup)\n'
                    "            if step >= warmup:\n"
                    "                group['lr'] = lr * warmup / (step + 1)"
                ),
            ),
        ),
    ),
    Answer(
        "training_loop",
        "one step late",
        "rise_slow",
        edits=(
            (
                'group["lr"] = lr * min(1, (step + 1) / warmup)',
                'group["lr"] = lr * min(1, (step + 1) / (warmup + 1))',
            ),
        ),
    ),
    Answer(
        "training_loop",
        "normalised always",
        "all_alike",
        edits=(
            (
                "lengths.append(torch.nn.utils.clip_grad_norm_(weights, clip).item())",
                (
                    "n = torch.nn.utils.get_total_norm([p.grad for p in weights if p.grad is "
                    "not None])\n"
                    "        lengths.append(n.item())\n"
                    "        for p in weights:\n"
                    "            if p.grad is not None:\n"
                    "                p.grad *= clip / n"
                ),
            ),
        ),
    ),
    Answer(
        "training_loop",
        "lr only",
        "stays_low",
        edits=(
            (
                ("optimizer = torch.optim.AdamW(weights, lr=lr, weight_decay=weight_decay)"),
                (
                    "optimizer = torch.optim.AdamW(weights, lr=lr / warmup, weight_decay=weig"
                    "ht_decay)"
                ),
            ),
            (
                (
                    "for group in optimizer.param_groups:\n"
                    '            group["lr"] = lr * min(1, (step + 1) / warmup)'
                ),
                "pass",
            ),
        ),
    ),
    Answer(
        "loss_mask",
        "sorted tokens",
        "tokens",
        edits=(
            (
                "return prompt_ids + answer, [-100] * len(prompt_ids) + answer",
                "return sorted(prompt_ids) + answer, [-100] * len(prompt_ids) + answer",
            ),
        ),
    ),
    Answer(
        "loss_mask",
        "labels two places longer",
        "length",
        edits=(
            (
                "return prompt_ids + answer, [-100] * len(prompt_ids) + answer",
                "return prompt_ids + answer, [-100] * (len(prompt_ids) + 2) + answer",
            ),
        ),
    ),
    Answer(
        "loss_mask",
        "every second place of the prompt",
        "prompt_labels",
        edits=(
            (
                "return prompt_ids + answer, [-100] * len(prompt_ids) + answer",
                "marks = [t if k % 2 else -100 for k, t in enumerate(prompt_ids)]\n"
                "    return prompt_ids + answer, marks + answer",
            ),
        ),
    ),
    Answer(
        "loss_mask",
        "the answer's labels turned round",
        "answer_labels",
        edits=(
            (
                "return prompt_ids + answer, [-100] * len(prompt_ids) + answer",
                "return prompt_ids + answer, [-100] * len(prompt_ids) + answer[::-1]",
            ),
        ),
    ),
    Answer(
        "collate",
        "the first label of a row lost",
        "real_labels",
        edits=(("labels + [-100] * n", "[v if v == -100 else 1 for v in labels] + [-100] * n"),),
    ),
    Answer(
        "collate",
        "the mask ends two places late",
        "more_mask",
        edits=(("[1] * len(ids) + [0] * n", "([1] * (len(ids) + 2) + [0] * n)[:width]"),),
    ),
    Answer(
        "collate",
        "the mask without the first token",
        "real_mask",
        edits=(("[1] * len(ids) + [0] * n", "[0] + [1] * (len(ids) - 1) + [0] * n"),),
    ),
    Answer(
        "triage",
        "any gradient counts as none",
        "first_step",
        edits=(("grad_A.max() == 0 and grad_B.max() == 0", "grad_A.sum() + grad_B.sum() < 1e9"),),
    ),
    Answer(
        "triage",
        "whatever has labels is stuck",
        "moves_or_not",
        edits=(("B[-1] == B[0] and A[-1] == A[0]", "B[-1] >= B[0] or A[-1] >= A[0] or True"),),
    ),
    Answer(
        "training_loop",
        "the loss of all rows",
        "before_any",
        edits=(("losses.append(loss.item())", "losses.append(loss.item() * len(batch['x']))"),),
    ),
    Answer(
        "training_loop",
        "half the rate after the warm-up",
        "after_warmup",
        edits=(
            (
                "lr * min(1, (step + 1) / warmup)",
                "lr * ((step + 1) / warmup if step < warmup else 0.5)",
            ),
        ),
    ),
    Answer(
        "triage",
        "more than 25 labels masked",
        "label_or_not",
        edits=(("(labels == -100).all()", "(labels == -100).sum() > 25"),),
    ),
]

WRONG += [
    edit("triage", "the last row of labels", "one_row",
         ("(labels == -100).all()", "(labels[-1] == -100).all()")),
    edit("triage", "the third row of labels", "label_or_not",
         ("(labels == -100).all()", "(labels[2] == -100).all()")),
    edit("training_loop", "clips all parameters, clears those of the optimizer", "frozen_clipped",
         ("clip_grad_norm_(weights", "clip_grad_norm_(model.parameters()")),
    edit("training_loop", "LambdaLR with the rate itself", "lr_twice", (RATE, ""),
         (BUILD, BUILD + "    rise = torch.optim.lr_scheduler.LambdaLR(\n"
          "        optimizer, lambda s: lr * min(1, (s + 1) / warmup))\n"),
         (STEP, STEP + "        rise.step()\n")),
    edit("training_loop", "LinearLR over warmup steps", "rise_slow", (RATE, ""),
         (BUILD, BUILD + "    rise = torch.optim.lr_scheduler.LinearLR(\n"
          "        optimizer, 1 / warmup, 1.0, warmup)\n"),
         (STEP, STEP + "        rise.step()\n")),
    edit("training_loop", "clips by the squared length", "other_norm",
         (CLIP, "        n = sum(w.grad.pow(2).sum() for w in weights)\n"
          "        for w in weights:\n            w.grad *= min(1, clip / n)\n"
          "        lengths.append(n.item())\n")),
]  # fmt: skip

RIGHT += [
    edit("training_loop", "LinearLR over one step less", "", (RATE, ""),
         (BUILD, BUILD + "    rise = torch.optim.lr_scheduler.LinearLR(\n"
          "        optimizer, 1 / warmup, 1.0, warmup - 1)\n"),
         (STEP, STEP + "        rise.step()\n")),
    edit("training_loop", "eval by train(False), gradients kept as zeros", "",
         ("model.eval()", "model.train(False)"),
         ("optimizer.zero_grad()", "model.zero_grad(set_to_none=False)")),
    edit("triage", "by the weights' sizes, with diff", "",
         ("grad_A.max() == 0 and grad_B.max() == 0", "A.max() == 0 and B.max() == 0"),
         ("B[-1] == B[0] and A[-1] == A[0]", "not B.diff().any() and not torch.diff(A).any()")),
]  # fmt: skip

WRONG += [
    edit("training_loop", "the sum of sizes for the length", "other_norm",
         ("(weights, clip)", "(weights, clip, 1)")),
]  # fmt: skip

WRONG += [
    edit("triage", "a sum below 0", "label_or_not",
         ("(labels == -100).all()", "labels.sum() < 0")),
    edit("triage", "the last column of labels", "label_or_not",
         ("(labels == -100).all()", "(labels[:, -1] == -100).all()")),
    edit("training_loop", "backward twice", "twice",
         (BACK, "        loss.backward(retain_graph=True)\n" + BACK)),
]  # fmt: skip
