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
        "what trains is saved, load_state_dict puts it back",
        code="""
def save_adapter(model, path):
    save_file({n: p.data for n, p in model.named_parameters() if p.requires_grad}, path)


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
        "other",
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
    Answer("collate", "to 16", "other", edits=[("max(len(ids) for ids, _ in rows)", "16")]),
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
        "other",
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
        "raised",
        edits=[
            ("    if step < warmup:\n", "    share = (step + 1) / warmup\n    if step < warmup:\n")
        ],
    ),
    Answer("schedule", "degrees", "other", edits=[("math.pi", "180")]),
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
        "other",
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
        "other",
        edits=[
            (NAMES, "if set(loaded) != set(places):\n        raise KeyError(path)\n    if False:"),
        ],
    ),
    Answer(
        "save_load",
        "strict",
        "raised",
        code=loader("model.load_state_dict(load_file(path))"),
    ),
    Answer(
        "save_load", "swaps the layers", "other", edits=[(COPY, "places[name].copy_(value + 1)")]
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
]
