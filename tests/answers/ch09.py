"""Right and wrong answers to the exercises of chapter 09."""

from tests.answers import Answer

BOS = "{{- bos_token }}\n"
HEAD = "{{- '# ' + message['role'] + '\\\\n' }}"
SPEAKS = "{%- generation %}{{ message['content'] + eos_token }}{% endgeneration %}"
READY = "{%- if add_generation_prompt %}{{ '# assistant\\\\n' }}{% endif %}"
GRADE = "labels.append(token if speaking else -100)"
CLOSE = "        if token == end_id:\n            speaking = False\n        elif"
ORDER = "sorted(range(len(lengths)), key=lambda i: -lengths[i])"
FITS = "[b for b in range(len(bins)) if room[b] >= lengths[i]]"
JOINED = "labels += [-100] + graded[1:]"
LORA = 'LoraConfig(r=4, lora_alpha=8, target_modules=["q_proj", "v_proj"])'


def template(text):
    """An answer to 9.1 that returns this text."""
    return f"def chat_template():\n    return {text!r}\n"


def settings(rate=2e-2, steps=250, batch=32, r=4, alpha=8, **more):
    """An answer to 9.5."""
    extra = "".join(f", {name}={value!r}" for name, value in more.items())
    return f"""def choose(folder):
    args = SFTConfig(
        output_dir=folder, learning_rate={rate}, max_steps={steps},
        per_device_train_batch_size={batch}, use_cpu=True, activation_checkpointing=False{extra}
    )
    return args, LoraConfig(r={r}, lora_alpha={alpha})
"""


RIGHT = [
    # 9.1
    Answer(
        "chat_template",
        "on one line, branches the other way round",
        code=template(
            "{{ bos_token }}{% for m in messages %}{% if m['role'] != 'assistant' %}"
            "{{ '# ' + m['role'] + '\n' + m['content'] + '\n' }}{% else %}{{ '# assistant\n' }}"
            "{% generation %}{{ m['content'] }}{{ eos_token }}{% endgeneration %}{{ '\n' }}"
            "{% endif %}{% endfor %}{% if add_generation_prompt %}{{ '# assistant\n' }}{% endif %}"
        ),
    ),
    Answer(
        "chat_template",
        "attributes, and a minus in the marks",
        code=template(
            "{{- bos_token -}}{%- for m in messages -%}{{- '# ' ~ m.role ~ '\n' -}}"
            "{%- if m.role == 'assistant' -%}{%- generation -%}{{- m.content ~ eos_token -}}"
            "{%- endgeneration -%}{%- else -%}{{- m.content -}}{%- endif -%}{{- '\n' -}}"
            "{%- endfor -%}{%- if add_generation_prompt -%}{{- '# assistant\n' -}}{%- endif -%}"
        ),
    ),
    # 9.2
    Answer(
        "talk_labels",
        "span by span",
        code="""
def talk_labels(ids, assistant_id, end_id):
    labels, t = [-100] * len(ids), 0
    while t < len(ids):
        if ids[t] == assistant_id:
            t += 1
            while t < len(ids):
                labels[t] = ids[t]
                if ids[t] == end_id:
                    break
                t += 1
        t += 1
    return labels
""",
    ),
    Answer(
        "talk_labels",
        "a tensor",
        code="""
def talk_labels(ids, assistant_id, end_id):
    import torch

    labels, on = torch.full((len(ids),), -100), False
    for t, token in enumerate(ids):
        if on:
            labels[t] = token
        on = token != end_id if on else token == assistant_id
    return labels
""",
    ),
    # 9.3
    Answer(
        "pack",
        "first fit, decreasing, and tuples",
        edits=[
            ("b = min(fits, key=lambda b: room[b])", "b = fits[0]"),
            ("return bins", "return tuple(tuple(b) for b in bins)"),
        ],
    ),
    Answer(
        "pack",
        "tensors from join",
        edits=[
            (
                "return ids, labels, positions",
                "import torch\n    return [torch.tensor(p) for p in (ids, labels, positions)]",
            ),
        ],
    ),
    # 9.4
    Answer(
        "make_trainer",
        "a whole number of warm-up steps, a regular expression",
        edits=[
            ("warmup_steps=0.1", "warmup_steps=2"),
            ('["q_proj", "v_proj"]', 'r".*\\.(q_proj|v_proj)"'),
        ],
    ),
    Answer(
        "make_trainer",
        "a PeftModel in place of peft_config",
        code="""
def make_trainer(model, tokenizer, rows, new_rows, folder, length, rate):
    from peft import get_peft_model

    lora = LoraConfig(r=4, lora_alpha=8, target_modules=["v_proj", "q_proj"])
    model = get_peft_model(model, lora)
    args = SFTConfig(
        folder, eval_strategy="steps", eval_steps=5, max_steps=20, warmup_steps=0.1,
        train_sampling_strategy="group_by_length", learning_rate=rate, max_length=length,
        completion_only_loss=True, use_cpu=True, bf16=False, activation_checkpointing=False,
        report_to="none", dataloader_pin_memory=False,
    )
    return SFTTrainer(
        model, args, train_dataset=rows, eval_dataset=new_rows, processing_class=tokenizer
    )
""",
    ),
    # 9.5
    Answer(
        "choose",
        "smaller batches, rank 8",
        code=settings(3e-2, 500, 16, 8, 16, lr_scheduler_type="cosine"),
    ),
    Answer(
        "choose", "linear decay, warm-up", code=settings(4e-2, 250, 32, 4, 8, warmup_steps=0.05)
    ),
    Answer("choose", "passes over the rows", code=settings(3e-2, -1, 16, 4, 8, num_train_epochs=4)),
]

WRONG = [
    # 9.1
    Answer("chat_template", "no first token", "no_bos", edits=[(BOS, "")]),
    Answer(
        "chat_template",
        "first token in the loop",
        "bos_each",
        edits=[(BOS, ""), (HEAD, "{{- bos_token }}" + HEAD)],
    ),
    Answer(
        "chat_template",
        "the model's own tokens spelled out",
        "hard_coded",
        edits=[("bos_token", "'<bos>'"), ("eos_token", "'<eos>'")],
    ),
    Answer("chat_template", "no end token", "no_eos", edits=[(" + eos_token", "")]),
    Answer(
        "chat_template",
        "end token for everybody",
        "eos_each",
        edits=[("{{- message['content'] }}", "{{- message['content'] + eos_token }}")],
    ),
    Answer("chat_template", "no sign to answer", "no_prompt", edits=[(READY, "")]),
    Answer(
        "chat_template",
        "always a sign to answer",
        "always_prompt",
        edits=[(READY, "{{- '# assistant\\\\n' }}")],
    ),
    Answer(
        "chat_template",
        "no marks",
        "no_marks",
        edits=[("{%- generation %}{{", "{{-"), ("{% endgeneration %}", "")],
    ),
    Answer(
        "chat_template",
        "end token outside the marks",
        "eos_outside",
        edits=[(" + eos_token }}{% endgeneration %}", " }}{% endgeneration %}{{ eos_token }}")],
    ),
    Answer(
        "chat_template",
        "header inside the marks",
        "header_marked",
        code=template(
            "{{ bos_token }}{% for m in messages %}{% if m['role'] == 'assistant' %}"
            "{% generation %}{{ '# assistant\n' + m['content'] + eos_token }}{% endgeneration %}"
            "{% else %}{{ '# ' + m['role'] + '\n' + m['content'] }}{% endif %}{{ '\n' }}"
            "{% endfor %}{% if add_generation_prompt %}{{ '# assistant\n' }}{% endif %}"
        ),
    ),
    Answer(
        "chat_template",
        "line break inside the marks",
        "newline_marked",
        code=template(
            "{{ bos_token }}{% for m in messages %}{{ '# ' + m['role'] + '\n' }}"
            "{% if m['role'] == 'assistant' %}"
            "{% generation %}{{ m['content'] + eos_token + '\n' }}{% endgeneration %}"
            "{% else %}{{ m['content'] + '\n' }}{% endif %}"
            "{% endfor %}{% if add_generation_prompt %}{{ '# assistant\n' }}{% endif %}"
        ),
    ),
    Answer("chat_template", "line breaks of its own", "other", edits=[("{%- for", "{% for")]),
    Answer("chat_template", "an if without its end", "raised", edits=[("{%- endif %}", "")]),
    Answer(
        "chat_template",
        "the dict of the chapter",
        "type",
        code="def chat_template():\n    return {'template': 1}\n",
    ),
    # 9.2
    Answer(
        "talk_labels", "grades everything", "everything", edits=[(GRADE, "labels.append(token)")]
    ),
    Answer(
        "talk_labels",
        "grades the sign",
        "sign_graded",
        edits=[(GRADE, "labels.append(token if speaking or token == assistant_id else -100)")],
    ),
    Answer(
        "talk_labels",
        "masks the end token",
        "end_masked",
        edits=[(GRADE, "labels.append(token if speaking and token != end_id else -100)")],
    ),
    Answer(
        "talk_labels",
        "only the last answer",
        "last_only",
        code="""
def talk_labels(ids, assistant_id, end_id):
    start = len(ids) - ids[::-1].index(assistant_id)
    return [-100] * start + ids[start:]
""",
    ),
    Answer(
        "talk_labels",
        "only the first answer",
        "first_only",
        code="""
def talk_labels(ids, assistant_id, end_id):
    start = ids.index(assistant_id) + 1
    stop = ids.index(end_id, start) + 1
    return [-100] * start + ids[start:stop] + [-100] * (len(ids) - stop)
""",
    ),
    Answer("talk_labels", "never switched off", "never_closed", edits=[(CLOSE, "        if")]),
    Answer(
        "talk_labels", "shifted", "shifted", edits=[("return labels", "return labels[1:] + [-100]")]
    ),
    Answer(
        "talk_labels",
        "grades a quoted end token",
        "ends_everywhere",
        edits=[(GRADE, "labels.append(token if speaking or token == end_id else -100)")],
    ),
    Answer(
        "talk_labels",
        "loses an answer that was cut",
        "cut_lost",
        code="""
def talk_labels(ids, assistant_id, end_id):
    labels, start = [-100] * len(ids), None
    for t, token in enumerate(ids):
        if start is None and token == assistant_id:
            start = t + 1
        elif start is not None and token == end_id:
            labels[start : t + 1] = ids[start : t + 1]
            start = None
    return labels
""",
    ),
    Answer(
        "talk_labels",
        "the reverse",
        "inverted",
        edits=[("token if speaking else -100", "-100 if speaking else token")],
    ),
    Answer("talk_labels", "zero in place of -100", "other", edits=[("else -100", "else 0")]),
    Answer("talk_labels", "forgets return", "none", edits=[("return labels", "labels")]),
    # 9.3
    Answer(
        "pack",
        "a new bin stays empty",
        "lost",
        edits=[("            fits = [len(bins) - 1]", "            continue")],
    ),
    Answer(
        "pack",
        "in every bin with room",
        "twice",
        edits=[
            (
                "        bins[b].append(i)\n        room[b] -= lengths[i]",
                "        for b in fits:\n            bins[b].append(i)\n"
                "            room[b] -= lengths[i]",
            )
        ],
    ),
    Answer(
        "pack",
        "room for any row",
        "overfull",
        edits=[(FITS, "[b for b in range(len(bins)) if room[b] > 0]")],
    ),
    Answer("pack", "a bin for every row", "one_each", edits=[(FITS, "[]")]),
    Answer(
        "pack",
        "looks at the last bin only",
        "last_bin",
        edits=[(FITS, "[b for b in range(len(bins))[-1:] if room[b] >= lengths[i]]")],
    ),
    Answer(
        "pack",
        "in the given order, last bin only",
        "last_bin",
        edits=[
            (ORDER, "range(len(lengths))"),
            (FITS, "[b for b in range(len(bins))[-1:] if room[b] >= lengths[i]]"),
        ],
    ),
    Answer("pack", "in the given order", "unsorted", edits=[(ORDER, "range(len(lengths))")]),
    Answer("pack", "shortest first", "unsorted", edits=[("-lengths[i]", "lengths[i]")]),
    Answer(
        "pack",
        "stops a bin at half",
        "too_many",
        edits=[(FITS, "[b for b in range(len(bins)) if room[b] - lengths[i] >= 16]")],
    ),
    Answer(
        "pack",
        "begins with an empty bin for each row",
        "empty",
        edits=[("return bins", "return bins + [[]]")],
    ),
    Answer(
        "pack",
        "positions run on",
        "positions_run",
        edits=[
            (
                "positions += range(len(row))",
                "positions += range(len(positions), len(positions) + len(row))",
            )
        ],
    ),
    Answer(
        "pack",
        "positions from 1",
        "positions_from_1",
        edits=[("range(len(row))", "range(1, len(row) + 1)")],
    ),
    Answer("pack", "first labels graded", "first_graded", edits=[(JOINED, "labels += graded")]),
    Answer(
        "pack",
        "only the first label masked",
        "one_masked",
        edits=[(JOINED, "labels += graded if labels else [-100] + graded[1:]")],
    ),
    Answer(
        "pack",
        "lengths in place of row numbers",
        "other",
        edits=[("bins[b].append(i)", "bins[b].append(lengths[i] + 0.5)")],
    ),
    # 9.4
    Answer("make_trainer", "no length", "lost", edits=[("        max_length=length,\n", "")]),
    Answer("make_trainer", "no warm-up", "lost", edits=[("        warmup_steps=0.1,\n", "")]),
    Answer(
        "make_trainer",
        "grades the prompt",
        "prompt_graded",
        edits=[("max_length=length,", "max_length=length, completion_only_loss=False,")],
    ),
    Answer(
        "make_trainer",
        "all linear layers",
        "targets",
        edits=[('["q_proj", "v_proj"]', '"all-linear"')],
    ),
    Answer("make_trainer", "no LoRA", "no_lora", edits=[(f"        peft_config={LORA},\n", "")]),
    Answer("make_trainer", "bfloat16", "machine", edits=[("        bf16=False,\n", "")]),
    Answer(
        "make_trainer",
        "the tokenizer by its old name",
        "raised",
        edits=[("processing_class=", "tokenizer=")],
    ),
    Answer(
        "make_trainer", "the comma", "raised", edits=[('["q_proj", "v_proj"]', '"q_proj,v_proj"')]
    ),
    Answer(
        "make_trainer",
        "gives back the settings",
        "type",
        edits=[("return SFTTrainer(", "return args\n    SFTTrainer(")],
    ),
    # 9.5
    Answer("choose", "too many rows", "budget", code=settings(steps=500)),
    Answer("choose", "rank 64", "rank_over", code=settings(r=64, alpha=128)),
    Answer("choose", "rank 1", "low_rank", code=settings(r=1, alpha=2, lr_scheduler_type="cosine")),
    Answer(
        "choose", "the default rate", "slow", code=settings(rate=2e-5, lr_scheduler_type="cosine")
    ),
    Answer("choose", "a rate of 1", "fast", code=settings(rate=1.0, lr_scheduler_type="cosine")),
    Answer("choose", "twenty steps", "short", code=settings(steps=20, lr_scheduler_type="cosine")),
    Answer(
        "choose",
        "all rows in 16 batches",
        "few_updates",
        code=settings(steps=16, batch=500, lr_scheduler_type="cosine"),
    ),
    Answer("choose", "one dict", "type", code="def choose(folder):\n    return {'r': 4}\n"),
]
