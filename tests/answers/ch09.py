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
    Answer(
        "chat_template",
        "roles by a condition, loop.first, line breaks by a filter",
        code=template(
            "{% for m in messages %}{{ bos_token if loop.first else '' }}"
            "{{ ['# ', m.role, '\n'] | join }}{% set own = m.role == 'assistant' %}"
            "{% if own %}{%- generation -%}{{ m.content }}{%- endgeneration -%}"
            "{%- generation -%}{{ eos_token }}{%- endgeneration -%}{% else %}{{ m.content }}"
            "{% endif %}{{ '\n' }}{% endfor %}"
            "{{ '# assistant\n' if add_generation_prompt }}"
        ),
    ),
    # 9.2
    Answer(
        "talk_labels",
        "numpy, with running counts",
        code="""
def talk_labels(ids, assistant_id, end_id):
    import numpy as np

    ids, state, on = np.array(ids), 0, []
    for token in ids:
        on.append(state)
        state = 1 if token == assistant_id else 0 if token == end_id else state
    return np.where(on, ids, -100)
""",
    ),
    Answer(
        "talk_labels",
        "a copy that is masked",
        code="""
def talk_labels(ids, assistant_id, end_id):
    labels, start = list(ids), 0
    while start < len(ids):
        try:
            stop = ids.index(assistant_id, start) + 1
        except ValueError:
            stop = len(ids)
        labels[start:stop] = [-100] * (stop - start)
        start = ids.index(end_id, stop) + 1 if end_id in ids[stop:] else len(ids)
    return labels
""",
    ),
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
        "tuples, the newest of two equal bins, the last of two equal rows",
        edits=[
            ("key=lambda i: -lengths[i])", "key=lambda i: (-lengths[i], -i))"),
            ("b = min(fits, key=lambda b: room[b])", "b = min(fits, key=lambda b: (room[b], -b))"),
            ("return bins", "return tuple(tuple(b) for b in bins)"),
        ],
    ),
    Answer(
        "pack",
        "numpy, and bins that are kept by their room",
        code="""
def pack(lengths, max_length):
    import numpy as np
    from bisect import bisect_left, insort
    bins, rooms = [], []  # rooms: sorted pairs (room, bin)
    for i in np.argsort(lengths)[::-1]:
        k = bisect_left(rooms, (lengths[i], -1))
        if k == len(rooms):
            bins.append([])
            room, b = max_length, len(bins) - 1
        else:
            room, b = rooms.pop(k)
        bins[b].append(i)
        insort(rooms, (room - lengths[i], b))
    return bins

def join(rows):
    ids = [t for row, _ in rows for t in row]
    labels = [-100 if n == 0 else t for _, row in rows for n, t in enumerate(row)]
    return ids, labels, [n for row, _ in rows for n in range(len(row))]
""",
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
    Answer(
        "make_trainer",
        "an adapter of another name, a share of the steps",
        edits=[
            ("eval_steps=5", "eval_steps=0.25"),
            (
                "        model=model,",
                "        model=get_peft_model(model, lora, adapter_name='x'),",
            ),
            (
                "    args = SFTConfig(",
                "    from peft import get_peft_model\n    lora = "
                + LORA
                + "\n    args = SFTConfig(",
            ),
            (f"        peft_config={LORA},\n", ""),
        ],
    ),
    Answer(
        "make_trainer",
        "positional, fp32 by name, default alpha",
        code="""
def make_trainer(model, tokenizer, rows, new_rows, folder, length, rate):
    from transformers import IntervalStrategy
    settings = dict(max_steps=20, warmup_steps=0.1, eval_steps=5, max_length=length)
    args = SFTConfig(
        folder, **settings, learning_rate=rate, eval_strategy=IntervalStrategy.STEPS,
        train_sampling_strategy="group_by_length", bf16=False, fp16=False,
        activation_checkpointing=False, use_cpu=True, report_to=[], logging_steps=1,
        per_device_train_batch_size=8, save_strategy="no",
    )
    lora = LoraConfig(task_type="CAUSAL_LM", r=4, target_modules={"q_proj", "v_proj"})
    return SFTTrainer(model, args, None, rows, new_rows, tokenizer, peft_config=lora)
""",
    ),
    Answer(
        "make_trainer",
        "TRL's own collator, shuffled rows, the old name of checkpointing",
        edits=[
            ("activation_checkpointing", "gradient_checkpointing"),
            ("train_dataset=rows", "train_dataset=rows.shuffle(seed=1)"),
            (
                "    args = SFT",
                "    from trl.trainer.sft_trainer import DataCollatorForLanguageModeling as C\n"
                "    args = SFT",
            ),
            (
                "        processing",
                "        data_collator=C(tokenizer.pad_token_id),\n        processing",
            ),
        ],
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
    Answer("chat_template", "line breaks of its own", "spaces", edits=[("{%- for", "{% for")]),
    Answer(
        "chat_template",
        "sign to answer inside the loop",
        "prompt_in_loop",
        edits=[(READY, ""), ("{%- endfor %}", READY + "{%- endfor %}")],
    ),
    Answer(
        "chat_template",
        "sign to answer after a user",
        "prompt_by_role",
        edits=[("if add_generation_prompt", "if messages[-1]['role'] == 'user'")],
    ),
    Answer(
        "chat_template",
        "sign to answer without a line break",
        "prompt_break",
        edits=[(READY, READY.replace("\\\\n", ""))],
    ),
    Answer(
        "chat_template",
        "everything but the user is the model",
        "system",
        edits=[("== 'assistant'", "!= 'user'")],
    ),
    Answer(
        "chat_template",
        "end token on a line of its own",
        "eos_below",
        edits=[("message['content'] + eos_token", "message['content'] + '\\\\n' + eos_token")],
    ),
    Answer(
        "chat_template",
        "no line break at the end",
        "last_break",
        edits=[
            (
                "    {{- '\\\\n' }}\n",
                "    {%- if add_generation_prompt or not loop.last %}{{- '\\\\n' }}{% endif %}\n",
            )
        ],
    ),
    Answer(
        "chat_template",
        "role and content on one line",
        "one_line",
        edits=[(HEAD, HEAD.replace("\\\\n", " "))],
    ),
    Answer(
        "chat_template",
        "backslashes outside the quotes",
        "backslash",
        code="""
def chat_template():
    return (
        r"{{ bos_token }}{% for m in messages %}# {{ m.role }}\\n{% if m.role == 'assistant' %}"
        r"{% generation %}{{ m.content + eos_token }}{% endgeneration %}{% else %}{{ m.content }}"
        r"{% endif %}\\n{% endfor %}{% if add_generation_prompt %}# assistant\\n{% endif %}"
    )
""",
    ),
    Answer(
        "chat_template",
        "the whole turn inside the marks",
        "turn_marked",
        code=template(
            "{{ bos_token }}{% for m in messages %}{% if m['role'] == 'assistant' %}"
            "{% generation %}{{ '# assistant\n' + m['content'] + eos_token + '\n' }}"
            "{% endgeneration %}{% else %}{{ '# ' + m['role'] + '\n' + m['content'] + '\n' }}"
            "{% endif %}{% endfor %}{% if add_generation_prompt %}{{ '# assistant\n' }}{% endif %}"
        ),
    ),
    Answer(
        "chat_template",
        "marks around every content",
        "all_marked",
        edits=[
            (
                "{{- message['content'] }}",
                "{%- generation %}{{ message['content'] }}{% endgeneration %}",
            )
        ],
    ),
    Answer(
        "chat_template",
        "marks around the content of all, end token outside",
        "all_marked",
        code=template(
            "{{ bos_token }}{% for m in messages %}{{ '# ' + m['role'] + '\n' }}"
            "{% generation %}{{ m['content'] }}{% endgeneration %}"
            "{{ eos_token if m['role'] == 'assistant' else '' }}{{ '\n' }}"
            "{% endfor %}{% if add_generation_prompt %}{{ '# assistant\n' }}{% endif %}"
        ),
    ),
    Answer(
        "chat_template",
        "the end token alone inside the marks",
        "other",
        edits=[
            ("{{ message['content'] + eos_token }}{%", "{{ eos_token }}{%"),
            ("{%- generation", "{{- message['content'] }}{%- generation"),
        ],
    ),
    Answer(
        "chat_template",
        "user as a fixed word",
        "role_spelled",
        edits=[("{{- '# ' + message['role'] + '", "{{- '# user' + '")],
    ),
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
    Answer("talk_labels", "zero in place of -100", "zero", edits=[("else -100", "else 0")]),
    Answer(
        "talk_labels",
        "switches before it looks",
        "both_ends",
        code="""
def talk_labels(ids, assistant_id, end_id):
    labels, speaking = [], False
    for token in ids:
        if token == end_id:
            speaking = False
        elif token == assistant_id:
            speaking = True
        labels.append(token if speaking else -100)
    return labels
""",
    ),
    Answer(
        "talk_labels",
        "shifted the other way",
        "shifted_back",
        edits=[("return labels", "return [-100] + labels[:-1]")],
    ),
    Answer(
        "talk_labels",
        "the last token is taken for the end",
        "cut_short",
        code="""
def talk_labels(ids, assistant_id, end_id):
    labels, start = [-100] * len(ids), 0
    while assistant_id in ids[start:]:
        start = ids.index(assistant_id, start) + 1
        stop = ids.index(end_id, start) + 1 if end_id in ids[start:] else -1
        labels[start:stop] = ids[start:stop]
        start = stop if stop > 0 else len(ids)
    return labels
""",
    ),
    Answer(
        "talk_labels",
        "a mask",
        "flags",
        edits=[("token if speaking else -100", "speaking")],
    ),
    Answer(
        "talk_labels",
        "only the graded tokens",
        "filtered",
        edits=[(GRADE, "labels += [token] if speaking else []")],
    ),
    Answer(
        "talk_labels",
        "writes into the list",
        "in_place",
        code="""
def talk_labels(ids, assistant_id, end_id):
    speaking = False
    for t, token in enumerate(ids):
        if not speaking:
            ids[t] = -100
        speaking = token != end_id if speaking else token == assistant_id
    return ids
""",
    ),
    Answer(
        "talk_labels",
        "an answer of the end token alone is skipped",
        "other",
        code="""
def talk_labels(ids, assistant_id, end_id):
    labels, speaking = [], False
    for t, token in enumerate(ids):
        labels.append(token if speaking and ids[t - 1 : t + 1] != [assistant_id, end_id] else -100)
        speaking = token != end_id if speaking else token == assistant_id
    return labels
""",
    ),
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
        "any_room",
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
    Answer("pack", "shortest first", "shortest_first", edits=[("-lengths[i]", "lengths[i]")]),
    Answer(
        "pack",
        "stops a bin at half",
        "other",
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
        "halves",
        "other",
        edits=[("bins[b].append(i)", "bins[b].append(lengths[i] + 0.5)")],
    ),
    Answer(
        "pack",
        "lengths in place of row numbers",
        "lengths",
        edits=[("bins[b].append(i)", "bins[b].append(lengths[i])")],
    ),
    Answer(
        "pack",
        "first fit, decreasing",
        "first_fit",
        edits=[("b = min(fits, key=lambda b: room[b])", "b = fits[0]")],
    ),
    Answer(
        "pack",
        "the bin with the most room",
        "worst_fit",
        edits=[("b = min(fits", "b = max(fits")],
    ),
    Answer("pack", "room must be larger", "strict", edits=[(">= lengths[i]", "> lengths[i]")]),
    Answer(
        "pack",
        "room that stays",
        "not_reduced",
        edits=[("        room[b] -= lengths[i]\n", "")],
    ),
    Answer(
        "pack",
        "sorts the list that was given",
        "sorted_numbers",
        edits=[
            (
                "    bins, room = [], []\n",
                "    bins, room = [], []\n    lengths.sort()\n    lengths.reverse()\n",
            ),
            (ORDER, "range(len(lengths))"),
        ],
    ),
    Answer(
        "pack", "smaller bins", "other", edits=[("room.append(max_length)", "room.append(100)")]
    ),
    Answer(
        "pack",
        "the first row's label stays",
        "first_free",
        edits=[(JOINED, "labels += [-100] + graded[1:] if labels else graded")],
    ),
    Answer("pack", "-100 on top", "moved", edits=[(JOINED, "labels += [-100] + graded")]),
    Answer(
        "pack",
        "masks the caller's labels",
        "in_place",
        edits=[(JOINED, "graded[0] = -100\n        labels += graded")],
    ),
    Answer(
        "pack",
        "tokens as labels",
        "tokens_graded",
        edits=[(JOINED, "labels += [-100] + row[1:]")],
    ),
    Answer(
        "pack",
        "ids and labels only",
        "type",
        edits=[("return ids, labels, positions", "return ids, labels")],
    ),
    Answer(
        "pack",
        "one list of bin numbers",
        "type",
        edits=[("return bins", "return [i for b in bins for i in b]")],
    ),
    # 9.4
    Answer("make_trainer", "no length", "not_cut", edits=[("        max_length=length,\n", "")]),
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
        "all_linear",
        edits=[('["q_proj", "v_proj"]', '"all-linear"')],
    ),
    Answer("make_trainer", "q alone", "other", edits=[('["q_proj", "v_proj"]', '["q_proj"]')]),
    Answer("make_trainer", "no LoRA", "no_lora", edits=[(f"        peft_config={LORA},\n", "")]),
    Answer("make_trainer", "bfloat16", "bf16", edits=[("        bf16=False,\n", "")]),
    Answer(
        "make_trainer",
        "bfloat16 without a CPU",
        "needs_gpu",
        edits=[("        bf16=False,\n", ""), ("        use_cpu=True,\n", "")],
    ),
    Answer(
        "make_trainer",
        "checkpointing",
        "checkpointing",
        edits=[("        activation_checkpointing=False,\n", "")],
    ),
    *(
        Answer("make_trainer", f"still {old}", f"old_{old}", edits=edits)
        for old, edits in {
            "tokenizer": [("processing_class=", "tokenizer=")],
            "evaluation_strategy": [("eval_strategy=", "evaluation_strategy=")],
            "warmup_ratio": [("warmup_steps=", "warmup_ratio=")],
            "group_by_length": [
                ('train_sampling_strategy="group_by_length"', "group_by_length=True")
            ],
            "LoRAConfig": [("LoraConfig", "LoRAConfig")],
            "TrainingArguments": [("SFTConfig(", "TrainingArguments(")],
            "max_seq_length": [
                ("        max_length=length,\n", ""),
                (
                    "        model=model,\n",
                    "        model=model,\n        max_seq_length=length,\n",
                ),
            ],
            "DataCollatorForCompletionOnlyLM": [
                (
                    "    args = SFT",
                    "    from trl import DataCollatorForCompletionOnlyLM\n    args = SFT",
                )
            ],
        }.items()
    ),
    Answer(
        "make_trainer",
        "the old collator without its import",
        "old_DataCollatorForCompletionOnlyLM",
        edits=[
            (
                "    args = SFT",
                "    collator = DataCollatorForCompletionOnlyLM('x')\n    args = SFT",
            )
        ],
    ),
    Answer(
        "make_trainer", "the comma", "comma", edits=[('["q_proj", "v_proj"]', '"q_proj,v_proj"')]
    ),
    Answer(
        "make_trainer",
        "train and eval swapped",
        "swapped",
        edits=[
            ("train_dataset=rows", "train_dataset=new_rows"),
            ("eval_dataset=new_rows", "eval_dataset=rows"),
        ],
    ),
    Answer(
        "make_trainer", "evaluates what it trains on", "eval_rows", edits=[("=new_rows", "=rows")]
    ),
    Answer(
        "make_trainer",
        "a collator that knows texts alone",
        "collator",
        edits=[
            (
                "        processing",
                "        data_collator=lambda rows: tokenizer("
                "[row['text'] for row in rows]),\n        processing",
            )
        ],
    ),
    Answer(
        "make_trainer",
        "a collator that grades everything",
        "collator",
        edits=[
            (
                "    args = SFT",
                "    from transformers import DataCollatorForLanguageModeling\n"
                "    collator = DataCollatorForLanguageModeling(tokenizer, mlm=False)\n"
                "    args = SFT",
            ),
            ("        processing", "        data_collator=collator,\n        processing"),
        ],
    ),
    Answer(
        "make_trainer",
        "tells all services",
        "other",
        edits=[('report_to="none"', 'report_to="all"')],
    ),
    Answer(
        "make_trainer",
        "has taken a step",
        "ran",
        edits=[
            ("return SFTTrainer(", "trainer = SFTTrainer("),
            (
                f"peft_config={LORA},\n    )",
                f"peft_config={LORA},\n    )\n"
                "    batch = next(iter(trainer.get_train_dataloader()))\n"
                "    trainer.model(**batch).loss.backward()\n"
                "    trainer.create_optimizer().step()\n    return trainer",
            ),
        ],
    ),
    Answer(
        "make_trainer",
        "batches of 32",
        "other",
        edits=[("max_steps=20,", "max_steps=20, per_device_train_batch_size=32,")],
    ),
    Answer(
        "make_trainer",
        "packed",
        "other",
        edits=[("max_steps=20,", "max_steps=20, packing=True,")],
    ),
    Answer("make_trainer", "no steps", "lost", edits=[("        max_steps=20,\n", "")]),
    Answer("make_trainer", "no rate", "lost", edits=[("        learning_rate=rate,\n", "")]),
    Answer(
        "make_trainer",
        "no order",
        "lost",
        edits=[('        train_sampling_strategy="group_by_length",\n', "")],
    ),
    Answer(
        "make_trainer",
        "factors that do not train",
        "other",
        edits=[("r=4,", "r=4, inference_mode=True,")],
    ),
    Answer("make_trainer", "dropout", "other", edits=[("r=4,", "r=4, lora_dropout=0.1,")]),
    Answer("make_trainer", "rank-stabilized", "other", edits=[("r=4,", "r=4, use_rslora=True,")]),
    Answer(
        "make_trainer",
        "the head trains as well",
        "other",
        edits=[("r=4,", "r=4, modules_to_save=['lm_head'],")],
    ),
    Answer(
        "make_trainer", "no evaluation", "lost", edits=[('        eval_strategy="steps",\n', "")]
    ),
    Answer(
        "make_trainer", "rows as they come", "other", edits=[('"group_by_length"', '"sequential"')]
    ),
    Answer("make_trainer", "once an epoch", "other", edits=[('"steps"', '"epoch"')]),
    Answer("make_trainer", "every ten steps", "lost", edits=[("eval_steps=5", "eval_steps=10")]),
    Answer(
        "make_trainer",
        "accumulates",
        "other",
        edits=[("max_steps=20,", "max_steps=20, gradient_accumulation_steps=4,")],
    ),
    Answer(
        "make_trainer",
        "a cosine",
        "other",
        edits=[("max_steps=20,", 'max_steps=20, lr_scheduler_type="cosine",')],
    ),
    Answer(
        "make_trainer", "half the model", "other", edits=[("model=model,", "model=model.half(),")]
    ),
    Answer("make_trainer", "some rows", "other", edits=[("=rows,", "=rows.select([0, 1]),")]),
    Answer("make_trainer", "alpha 16", "other", edits=[("lora_alpha=8", "lora_alpha=16")]),
    Answer("make_trainer", "r 8", "lost", edits=[("r=4", "r=8")]),
    Answer("make_trainer", "another folder", "other", edits=[("=folder", "='/tmp/never'")]),
    Answer(
        "make_trainer",
        "gives back the settings",
        "type",
        edits=[("return SFTTrainer(", "return args\n    SFTTrainer(")],
    ),
    # 9.5
    Answer("choose", "too many rows", "budget", code=settings(steps=500)),
    Answer("choose", "rank 64", "rank_limit", code=settings(r=64, alpha=128)),
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
    Answer(
        "choose",
        "a schedule without numbers",
        "type",
        code=settings(lr_scheduler_type="inverse_sqrt"),
    ),
    Answer(
        "choose", "epochs beyond the budget", "budget", code=settings(steps=-1, num_train_epochs=5)
    ),
    Answer(
        "choose",
        "all settings at their defaults",
        "slow",
        code="""
def choose(folder):
    return SFTConfig(folder, use_cpu=True, bf16=False), LoraConfig()
""",
    ),
    Answer("choose", "one dict", "type", code="def choose(folder):\n    return {'r': 4}\n"),
]

# Another round of novices' answers: written from the exercise's text alone
RIGHT += [
    Answer(
        "chat_template",
        "dots and one liner",
        "",
        code=r"""
def chat_template():
    return (
        "{{ bos_token }}{% for m in messages %}{{ '# ' ~ m.role ~ '\\n' }}{% if "
        "m.role == 'assistant' %}{% generation %}{{ m.content }}{{ eos_token }}"
        "{% endgeneration %}{% else %}{{ m.content }}{% endif %}{{ '\\n' }}{% en"
        "dfor %}{% if add_generation_prompt %}{{ '# assistant\\n' }}{% endif %}"
    )
""",
    ),
    Answer(
        "chat_template",
        "join of list",
        "",
        code=r"""
def chat_template():
    parts = [
        '{{- bos_token }}',
        '{%- for message in messages %}',
        "    {{- '# ' + message['role'] + '\\n' }}",
        "    {%- if message['role'] == 'assistant' %}",
        "        {%- generation %}{{ message['content'] + eos_token }}{% endgeneration %}",
        '    {%- else %}',
        "        {{- message['content'] }}",
        '    {%- endif %}',
        "    {{- '\\n' }}",
        '{%- endfor %}',
        "{%- if add_generation_prompt %}{{ '# assistant\\n' }}{% endif %}",
    ]
    return "\n".join(parts)
""",
    ),
    Answer(
        "chat_template",
        "str subclass and set",
        "",
        code=r"""
class T(str):
    pass


def chat_template():
    return T(
        "{%- set nl = '\\n' -%}\n"
        '{{- bos_token }}\n'
        '{%- for message in messages %}\n'
        "    {{- '# ' + message['role'] + nl }}\n"
        "    {%- if message['role'] == 'assistant' %}\n"
        "        {%- generation %}{{ message['content'] + eos_token }}{% endgen"
        'eration %}\n'
        '    {%- else %}\n'
        "        {{- message['content'] }}\n"
        '    {%- endif %}\n'
        '    {{- nl }}\n'
        '{%- endfor %}\n'
        "{%- if add_generation_prompt %}{{ '# assistant' + nl }}{% endif %}"
    )
""",
    ),
    Answer(
        "talk_labels",
        "generator-ish tensor",
        "",
        code="""
def talk_labels(ids, assistant_id, end_id):
    on, labels = 0, torch.full((len(ids),), -100) if False else []
    it = iter(ids)
    for t in it:
        labels.append(-100)
        if t == assistant_id:
            for t in it:
                labels.append(t)
                if t == end_id:
                    break
    return tuple(labels)
""",
    ),
    Answer(
        "talk_labels",
        "numpy",
        "",
        code="""
def talk_labels(ids, assistant_id, end_id):
    import numpy as np
    x = np.array(ids)
    keep = np.zeros(len(x), bool)
    for a in np.flatnonzero(x == assistant_id):
        if keep[a]:
            continue
        e = np.flatnonzero(x[a + 1:] == end_id)
        keep[a + 1: a + 2 + e[0] if len(e) else None] = True
    return np.where(keep, x, -100)
""",
    ),
    Answer(
        "talk_labels",
        "opener said again inside",
        "",
        code="""
def talk_labels(ids, assistant_id, end_id):
    labels, on = [], False
    for t in ids:
        labels.append(t if on else -100)
        on = (on or t == assistant_id) and not (on and t == end_id)
    return labels
""",
    ),
    Answer(
        "pack",
        "heap tuples arrays",
        "",
        edits=(
            ("return bins", ("import numpy as np\n    return tuple(np.array(b) for b in bins)")),
            (
                "return ids, labels, positions",
                ("import numpy as np\n    return np.array([ids, labels, positions])"),
            ),
        ),
    ),
    Answer(
        "pack",
        "reverse=True ties",
        "",
        edits=(
            ("lambda i: -lengths[i]", "lengths.__getitem__, reverse=True"),
            ("return bins\n", "return [b[::-1] for b in bins[::-1]]\n"),
        ),
    ),
    Answer(
        "make_trainer",
        "gradient_checkpointing False",
        "",
        edits=(("activation_checkpointing", "gradient_checkpointing"),),
    ),
    Answer("make_trainer", "no report_to", "", edits=(('        report_to="none",\n', ""),)),
    Answer(
        "make_trainer",
        "get_peft_model first",
        "",
        edits=(
            (
                "    args =",
                (
                    "    from peft import get_peft_model\n"
                    "    model = get_peft_model(model, LoraConfig(r=4, lora_alpha=8, "
                    "target_modules=['q_proj', 'v_proj'], task_type='CAUSAL_LM'))\n"
                    "    args ="
                ),
            ),
            (
                (
                    "        peft_config=LoraConfig(r=4, lora_alpha=8, "
                    'target_modules=["q_proj", "v_proj"]),\n'
                ),
                "",
            ),
        ),
    ),
    Answer(
        "make_trainer",
        "regex targets and completion_only",
        "",
        edits=(
            ('["q_proj", "v_proj"]', 'r".*\\.(q|v)_proj"'),
            ("max_length=length,", ("max_length=length,\n        completion_only_loss=True,")),
        ),
    ),
    Answer(
        "make_trainer",
        "report list, set targets",
        "",
        edits=(
            ('"none"', "[]"),
            ('["q_proj", "v_proj"]', '{"v_proj", "q_proj"}'),
        ),
    ),
    Answer("choose", "default max_steps", "", edits=(("        max_steps=250,\n", ""),)),
    Answer(
        "choose",
        "linear, small batch",
        "",
        edits=(
            ("cosine", "linear"),
            ("max_steps=250", "max_steps=500"),
            ("size=32", "size=16"),
        ),
    ),
    Answer(
        "choose",
        "constant r=8",
        "",
        edits=(
            ("cosine", "constant"),
            ("2e-2", "1e-2"),
            ("4, lora_alpha=8", "8, lora_alpha=16"),
        ),
    ),
    Answer(
        "choose",
        "list return, rslora off, ratio warmup",
        "",
        edits=(
            (
                "args, LoraConfig(r=4, lora_alpha=8)",
                (
                    "[args, LoraConfig(r=4, lora_alpha=8, target_modules='all-linear', "
                    "lora_dropout=0.5)]"
                ),
            ),
            ("warmup_steps=10", "warmup_steps=0.05"),
        ),
    ),
]

# Another round of novices' answers: written from the exercise's text alone
WRONG += [
    Answer(
        "chat_template",
        "no bos",
        "no_bos",
        code=r"""
def chat_template():
    return (
        '{%- for message in messages %}\n'
        "    {{- '# ' + message['role'] + '\\n' }}\n"
        "    {%- if message['role'] == 'assistant' %}\n"
        "        {%- generation %}{{ message['content'] + eos_token }}{% endgen"
        'eration %}\n'
        '    {%- else %}\n'
        "        {{- message['content'] }}\n"
        '    {%- endif %}\n'
        "    {{- '\\n' }}\n"
        '{%- endfor %}\n'
        "{%- if add_generation_prompt %}{{ '# assistant\\n' }}{% endif %}"
    )
""",
    ),
    Answer(
        "chat_template",
        "no minus signs",
        "spaces",
        code=r"""
def chat_template():
    return (
        '{{ bos_token }}\n'
        '{% for message in messages %}\n'
        "    {{ '# ' + message['role'] + '\\n' }}\n"
        "    {% if message['role'] == 'assistant' %}\n"
        "        {% generation %}{{ message['content'] + eos_token }}{% endgene"
        'ration %}\n'
        '    {% else %}\n'
        "        {{ message['content'] }}\n"
        '    {% endif %}\n'
        "    {{ '\\n' }}\n"
        '{% endfor %}\n'
        "{% if add_generation_prompt %}{{ '# assistant\\n' }}{% endif %}"
    )
""",
    ),
    Answer(
        "chat_template",
        "bos per message",
        "bos_each",
        code=r"""
def chat_template():
    return (
        '{{- bos_token }}\n'
        '{%- for message in messages %}\n'
        "    {{- bos_token + '# ' + message['role'] + '\\n' }}\n"
        "    {%- if message['role'] == 'assistant' %}\n"
        "        {%- generation %}{{ message['content'] + eos_token }}{% endgen"
        'eration %}\n'
        '    {%- else %}\n'
        "        {{- message['content'] }}\n"
        '    {%- endif %}\n'
        "    {{- '\\n' }}\n"
        '{%- endfor %}\n'
        "{%- if add_generation_prompt %}{{ '# assistant\\n' }}{% endif %}"
    )
""",
    ),
    Answer(
        "chat_template",
        "eos after each",
        "eos_each",
        code=r"""
def chat_template():
    return (
        '{{- bos_token }}\n'
        '{%- for message in messages %}\n'
        "    {{- '# ' + message['role'] + '\\n' }}\n"
        "    {%- if message['role'] == 'assistant' %}\n"
        "        {%- generation %}{{ message['content'] + eos_token }}{% endgen"
        'eration %}\n'
        '    {%- else %}\n'
        "        {{- message['content'] + eos_token }}\n"
        '    {%- endif %}\n'
        "    {{- '\\n' }}\n"
        '{%- endfor %}\n'
        "{%- if add_generation_prompt %}{{ '# assistant\\n' }}{% endif %}"
    )
""",
    ),
    Answer(
        "chat_template",
        "eos on own line",
        "eos_below",
        code=r"""
def chat_template():
    return (
        '{{- bos_token }}\n'
        '{%- for message in messages %}\n'
        "    {{- '# ' + message['role'] + '\\n' }}\n"
        "    {%- if message['role'] == 'assistant' %}\n"
        "        {%- generation %}{{ message['content'] + '\\n' + eos_token }}{%"
        ' endgeneration %}\n'
        '    {%- else %}\n'
        "        {{- message['content'] }}\n"
        '    {%- endif %}\n'
        "    {{- '\\n' }}\n"
        '{%- endfor %}\n'
        "{%- if add_generation_prompt %}{{ '# assistant\\n' }}{% endif %}"
    )
""",
    ),
    Answer(
        "chat_template",
        "eos outside generation",
        "eos_outside",
        code=r"""
def chat_template():
    return (
        '{{- bos_token }}\n'
        '{%- for message in messages %}\n'
        "    {{- '# ' + message['role'] + '\\n' }}\n"
        "    {%- if message['role'] == 'assistant' %}\n"
        "        {%- generation %}{{ message['content'] }}{% endgeneration %}{{"
        ' eos_token }}\n'
        '    {%- else %}\n'
        "        {{- message['content'] }}\n"
        '    {%- endif %}\n'
        "    {{- '\\n' }}\n"
        '{%- endfor %}\n'
        "{%- if add_generation_prompt %}{{ '# assistant\\n' }}{% endif %}"
    )
""",
    ),
    Answer(
        "chat_template",
        "no generation",
        "no_marks",
        code=r"""
def chat_template():
    return (
        '{{- bos_token }}\n'
        '{%- for message in messages %}\n'
        "    {{- '# ' + message['role'] + '\\n' }}\n"
        "    {%- if message['role'] == 'assistant' %}\n"
        "        {{- message['content'] + eos_token }}\n"
        '    {%- else %}\n'
        "        {{- message['content'] }}\n"
        '    {%- endif %}\n'
        "    {{- '\\n' }}\n"
        '{%- endfor %}\n'
        "{%- if add_generation_prompt %}{{ '# assistant\\n' }}{% endif %}"
    )
""",
    ),
    Answer(
        "chat_template",
        "role line in generation",
        "role_spelled",
        code=r"""
def chat_template():
    return (
        '{{- bos_token }}\n'
        '{%- for message in messages %}\n'
        "    {%- if message['role'] == 'assistant' %}\n"
        "        {%- generation %}{{ '# assistant\\n' +  message['content'] + eo"
        's_token }}{% endgeneration %}\n'
        '    {%- else %}\n'
        "        {{- '# user\\n' + message['content'] }}\n"
        '    {%- endif %}\n'
        "    {{- '\\n' }}\n"
        '{%- endfor %}\n'
        "{%- if add_generation_prompt %}{{ '# assistant\\n' }}{% endif %}"
    )
""",
    ),
    Answer(
        "chat_template",
        "linebreak inside generation",
        "newline_marked",
        code=r"""
def chat_template():
    return (
        '{{- bos_token }}\n'
        '{%- for message in messages %}\n'
        "    {{- '# ' + message['role'] + '\\n' }}\n"
        "    {%- if message['role'] == 'assistant' %}\n"
        "        {%- generation %}{{ message['content'] + eos_token + '\\n' }}{%"
        ' endgeneration %}\n'
        '    {%- else %}\n'
        "        {{- message['content'] + '\\n' }}\n"
        '    {%- endif %}\n'
        '{%- endfor %}\n'
        "{%- if add_generation_prompt %}{{ '# assistant\\n' }}{% endif %}"
    )
""",
    ),
    Answer(
        "chat_template",
        "generation around everything",
        "all_marked",
        code=r"""
def chat_template():
    return (
        '{{- bos_token }}\n'
        '{%- generation %}{%- for message in messages %}\n'
        "    {{- '# ' + message['role'] + '\\n' }}\n"
        "    {%- if message['role'] == 'assistant' %}\n"
        "        {{- message['content'] + eos_token }}\n"
        '    {%- else %}\n'
        "        {{- message['content'] }}\n"
        '    {%- endif %}\n'
        "    {{- '\\n' }}\n"
        '{%- endfor %}{% endgeneration %}\n'
        "{%- if add_generation_prompt %}{{ '# assistant\\n' }}{% endif %}"
    )
""",
    ),
    Answer(
        "chat_template",
        "no prompt",
        "no_prompt",
        code=r"""
def chat_template():
    return (
        '{{- bos_token }}\n'
        '{%- for message in messages %}\n'
        "    {{- '# ' + message['role'] + '\\n' }}\n"
        "    {%- if message['role'] == 'assistant' %}\n"
        "        {%- generation %}{{ message['content'] + eos_token }}{% endgen"
        'eration %}\n'
        '    {%- else %}\n'
        "        {{- message['content'] }}\n"
        '    {%- endif %}\n'
        "    {{- '\\n' }}\n"
        '{%- endfor %}'
    )
""",
    ),
    Answer(
        "chat_template",
        "prompt always",
        "always_prompt",
        code=r"""
def chat_template():
    return (
        '{{- bos_token }}\n'
        '{%- for message in messages %}\n'
        "    {{- '# ' + message['role'] + '\\n' }}\n"
        "    {%- if message['role'] == 'assistant' %}\n"
        "        {%- generation %}{{ message['content'] + eos_token }}{% endgen"
        'eration %}\n'
        '    {%- else %}\n'
        "        {{- message['content'] }}\n"
        '    {%- endif %}\n'
        "    {{- '\\n' }}\n"
        '{%- endfor %}\n'
        "{{- '# assistant\\n' }}"
    )
""",
    ),
    Answer(
        "chat_template",
        "prompt without newline",
        "prompt_break",
        code=r"""
def chat_template():
    return (
        '{{- bos_token }}\n'
        '{%- for message in messages %}\n'
        "    {{- '# ' + message['role'] + '\\n' }}\n"
        "    {%- if message['role'] == 'assistant' %}\n"
        "        {%- generation %}{{ message['content'] + eos_token }}{% endgen"
        'eration %}\n'
        '    {%- else %}\n'
        "        {{- message['content'] }}\n"
        '    {%- endif %}\n'
        "    {{- '\\n' }}\n"
        '{%- endfor %}\n'
        "{%- if add_generation_prompt %}{{ '# assistant' }}{% endif %}"
    )
""",
    ),
    Answer(
        "chat_template",
        "no space",
        "no_space",
        code=r"""
def chat_template():
    return (
        '{{- bos_token }}\n'
        '{%- for message in messages %}\n'
        "    {{- '#' + message['role'] + '\\n' }}\n"
        "    {%- if message['role'] == 'assistant' %}\n"
        "        {%- generation %}{{ message['content'] + eos_token }}{% endgen"
        'eration %}\n'
        '    {%- else %}\n'
        "        {{- message['content'] }}\n"
        '    {%- endif %}\n'
        "    {{- '\\n' }}\n"
        '{%- endfor %}\n'
        "{%- if add_generation_prompt %}{{ '# assistant\\n' }}{% endif %}"
    )
""",
    ),
    Answer(
        "chat_template",
        "literal bos eos",
        "hard_coded",
        code=r"""
def chat_template():
    return (
        '<bos>\n'
        '{%- for message in messages %}\n'
        "    {{- '# ' + message['role'] + '\\n' }}\n"
        "    {%- if message['role'] == 'assistant' %}\n"
        "        {%- generation %}{{ message['content'] + '<eos>' }}{% endgener"
        'ation %}\n'
        '    {%- else %}\n'
        "        {{- message['content'] }}\n"
        '    {%- endif %}\n'
        "    {{- '\\n' }}\n"
        '{%- endfor %}\n'
        "{%- if add_generation_prompt %}{{ '# assistant\\n' }}{% endif %}"
    )
""",
    ),
    Answer(
        "chat_template",
        "no last line break",
        "last_break",
        code=r"""
def chat_template():
    return (
        '{{- bos_token }}\n'
        '{%- for message in messages %}\n'
        "    {{- '# ' + message['role'] + '\\n' }}\n"
        "    {%- if message['role'] == 'assistant' %}\n"
        "        {%- generation %}{{ message['content'] + eos_token }}{% endgen"
        'eration %}\n'
        '    {%- else %}\n'
        "        {{- message['content'] }}\n"
        '    {%- endif %}\n'
        "    {%- if not loop.last %}{{ '\\n' }}{% endif %}\n"
        '{%- endfor %}\n'
        "{%- if add_generation_prompt %}{{ '# assistant\\n' }}{% endif %}"
    )
""",
    ),
    Answer(
        "chat_template",
        "only user and assistant",
        "role_spelled",
        code=r"""
def chat_template():
    return (
        '{{- bos_token }}\n'
        '{%- for message in messages %}\n'
        "    {{- ('# assistant' if message['role'] == 'assistant' else '# user'"
        ") + '\\n' }}\n"
        "    {%- if message['role'] == 'assistant' %}\n"
        "        {%- generation %}{{ message['content'] + eos_token }}{% endgen"
        'eration %}\n'
        '    {%- else %}\n'
        "        {{- message['content'] }}\n"
        '    {%- endif %}\n'
        "    {{- '\\n' }}\n"
        '{%- endfor %}\n'
        "{%- if add_generation_prompt %}{{ '# assistant\\n' }}{% endif %}"
    )
""",
    ),
    Answer(
        "chat_template",
        "f-string python",
        "literal",
        code=r"""
def chat_template():
    return "{bos_token}# {role}\n{content}{eos_token}\n"
""",
    ),
    Answer(
        "chat_template",
        "role upper",
        "capitals",
        code=r"""
def chat_template():
    return (
        '{{- bos_token }}\n'
        '{%- for message in messages %}\n'
        "    {{- '# ' + message['role'].upper() + '\\n' }}\n"
        "    {%- if message['role'] == 'assistant' %}\n"
        "        {%- generation %}{{ message['content'] + eos_token }}{% endgen"
        'eration %}\n'
        '    {%- else %}\n'
        "        {{- message['content'] }}\n"
        '    {%- endif %}\n'
        "    {{- '\\n' }}\n"
        '{%- endfor %}\n'
        "{%- if add_generation_prompt %}{{ '# assistant\\n' }}{% endif %}"
    )
""",
    ),
    Answer(
        "chat_template",
        "alternating by index",
        "by_number",
        code=r"""
def chat_template():
    return (
        '{{- bos_token }}\n'
        '{%- for message in messages %}\n'
        "    {{- '# ' + message['role'] + '\\n' }}\n"
        '    {%- if loop.index0 % 2 == 1 %}\n'
        "        {%- generation %}{{ message['content'] + eos_token }}{% endgen"
        'eration %}\n'
        '    {%- else %}\n'
        "        {{- message['content'] }}\n"
        '    {%- endif %}\n'
        "    {{- '\\n' }}\n"
        '{%- endfor %}\n'
        "{%- if add_generation_prompt %}{{ '# assistant\\n' }}{% endif %}"
    )
""",
    ),
    Answer(
        "chat_template",
        "only last turn marked",
        "eos_last",
        code=r"""
def chat_template():
    return (
        '{{- bos_token }}\n'
        '{%- for message in messages %}\n'
        "    {{- '# ' + message['role'] + '\\n' }}\n"
        "    {%- if message['role'] == 'assistant' and loop.last %}\n"
        "        {%- generation %}{{ message['content'] + eos_token }}{% endgen"
        'eration %}\n'
        '    {%- else %}\n'
        "        {{- message['content'] }}\n"
        '    {%- endif %}\n'
        "    {{- '\\n' }}\n"
        '{%- endfor %}\n'
        "{%- if add_generation_prompt %}{{ '# assistant\\n' }}{% endif %}"
    )
""",
    ),
    Answer(
        "chat_template",
        "trimmed content",
        "trimmed",
        code=r"""
def chat_template():
    return (
        '{{- bos_token }}\n'
        '{%- for message in messages %}\n'
        "    {{- '# ' + message['role'] + '\\n' }}\n"
        "    {%- if message['role'] == 'assistant' %}\n"
        "        {%- generation %}{{ message['content'] | trim + eos_token }}{%"
        ' endgeneration %}\n'
        '    {%- else %}\n'
        "        {{- message['content'] | trim }}\n"
        '    {%- endif %}\n'
        "    {{- '\\n' }}\n"
        '{%- endfor %}\n'
        "{%- if add_generation_prompt %}{{ '# assistant\\n' }}{% endif %}"
    )
""",
    ),
    Answer(
        "chat_template",
        "real newline swallowed",
        "eaten",
        code=r"""
def chat_template():
    return (
        "{{ bos_token }}{% for message in messages %}# {{ message['role'] }}\n"
        "{% if message['role'] == 'assistant' %}{% generation %}{{ message['con"
        "tent'] }}{{ eos_token }}{% endgeneration %}{% else %}{{ message['conte"
        "nt'] }}{% endif %}\n"
        '{% endfor %}{% if add_generation_prompt %}# assistant\n'
        '{% endif %}'
    )
""",
    ),
    Answer(
        "chat_template",
        "syntax error",
        "raised",
        code=r"""
def chat_template():
    return (
        '{{- bos_token }}\n'
        '{%- for message in messages %}\n'
        "    {{- '# ' + message['role'] + '\\n' }}\n"
        "    {%- if message['role'] == 'assistant' %}\n"
        "        {%- generation %}{{ message['content'] + eos_token }}{% endgen"
        'eration %}\n'
        '    {%- else %}\n'
        "        {{- message['content'] }}\n"
        '    {%- endif %}\n'
        "    {{- '\\n' }}\n"
        '\n'
        "{%- if add_generation_prompt %}{{ '# assistant\\n' }}{% endif %}"
    )
""",
    ),
    Answer(
        "talk_labels",
        "first turn to the end",
        "never_closed",
        code="""
def talk_labels(ids, assistant_id, end_id):
    start = ids.index(assistant_id) + 1
    return [-100] * start + ids[start:]
""",
    ),
    Answer(
        "talk_labels",
        "includes opener",
        "sign_graded",
        code="""
def talk_labels(ids, assistant_id, end_id):
    labels, on = [], False
    for t in ids:
        if t == assistant_id:
            on = True
        labels.append(t if on else -100)
        if t == end_id:
            on = False
    return labels
""",
    ),
    Answer(
        "talk_labels",
        "without end",
        "end_masked",
        code="""
def talk_labels(ids, assistant_id, end_id):
    labels, on = [], False
    for t in ids:
        if t == end_id:
            on = False
        labels.append(t if on else -100)
        if t == assistant_id:
            on = True
    return labels
""",
    ),
    Answer(
        "talk_labels",
        "end always graded",
        "ends_everywhere",
        code="""
def talk_labels(ids, assistant_id, end_id):
    labels, on = [], False
    for t in ids:
        labels.append(t if on or t == end_id else -100)
        if t == end_id:
            on = False
        elif t == assistant_id:
            on = True
    return labels
""",
    ),
    Answer(
        "talk_labels",
        "index pairs, cut last lost",
        "cut_lost",
        code="""
def talk_labels(ids, assistant_id, end_id):
    labels = [-100] * len(ids)
    i = 0
    while assistant_id in ids[i:]:
        a = ids.index(assistant_id, i) + 1
        if end_id not in ids[a:]:
            break
        e = ids.index(end_id, a)
        labels[a:e + 1] = ids[a:e + 1]
        i = e
    return labels
""",
    ),
    Answer(
        "talk_labels",
        "raises when cut",
        "raised",
        code="""
def talk_labels(ids, assistant_id, end_id):
    labels = [-100] * len(ids)
    i = 0
    while assistant_id in ids[i:]:
        a = ids.index(assistant_id, i) + 1
        e = ids.index(end_id, a)
        labels[a:e + 1] = ids[a:e + 1]
        i = e
    return labels
""",
    ),
    Answer(
        "talk_labels",
        "zip starts ends",
        "paired",
        code="""
def talk_labels(ids, assistant_id, end_id):
    labels = [-100] * len(ids)
    starts = [i for i, t in enumerate(ids) if t == assistant_id]
    ends = [i for i, t in enumerate(ids) if t == end_id]
    for a, e in zip(starts, ends):
        labels[a + 1:e + 1] = ids[a + 1:e + 1]
    return labels
""",
    ),
    Answer(
        "talk_labels",
        "shifted, again",
        "shifted",
        code="""
def talk_labels(ids, assistant_id, end_id):
    labels, on = [], False
    for t in ids:
        if t == assistant_id:
            on = True
        labels.append(t if on else -100)
        if t == end_id:
            on = False
    return labels[1:] + [-100]
""",
    ),
    Answer(
        "talk_labels",
        "toggle on end",
        "toggles",
        code="""
def talk_labels(ids, assistant_id, end_id):
    labels, on = [], False
    for t in ids:
        labels.append(t if on else -100)
        if t == assistant_id or t == end_id:
            on = not on
    return labels
""",
    ),
    Answer(
        "talk_labels",
        "in place",
        "in_place",
        code="""
def talk_labels(ids, assistant_id, end_id):
    on = False
    for i, t in enumerate(ids):
        if not on:
            ids[i] = -100
        if t == end_id:
            on = False
        elif t == assistant_id:
            on = True
    return ids
""",
    ),
    Answer(
        "talk_labels",
        "drops ungraded",
        "filtered",
        code="""
def talk_labels(ids, assistant_id, end_id):
    labels, on = [], False
    for t in ids:
        if on:
            labels.append(t)
        if t == end_id:
            on = False
        elif t == assistant_id:
            on = True
    return labels
""",
    ),
    Answer(
        "talk_labels",
        "mask bools",
        "flags",
        code="""
def talk_labels(ids, assistant_id, end_id):
    labels, on = [], False
    for t in ids:
        labels.append(int(on))
        if t == end_id:
            on = False
        elif t == assistant_id:
            on = True
    return labels
""",
    ),
    Answer(
        "talk_labels",
        "inverted",
        "inverted",
        code="""
def talk_labels(ids, assistant_id, end_id):
    labels, on = [], False
    for t in ids:
        labels.append(-100 if on else t)
        if t == end_id:
            on = False
        elif t == assistant_id:
            on = True
    return labels
""",
    ),
    Answer(
        "talk_labels",
        "0 instead of -100",
        "zero",
        code="""
def talk_labels(ids, assistant_id, end_id):
    labels, on = [], False
    for t in ids:
        labels.append(t if on else 0)
        if t == end_id:
            on = False
        elif t == assistant_id:
            on = True
    return labels
""",
    ),
    Answer(
        "talk_labels",
        "last end of talk",
        "other",
        code="""
def talk_labels(ids, assistant_id, end_id):
    a = ids.index(assistant_id) + 1
    e = len(ids) - ids[::-1].index(end_id)
    return [-100] * a + ids[a:e] + [-100] * (len(ids) - e)
""",
    ),
    Answer(
        "talk_labels",
        "only first turn",
        "first_only",
        code="""
def talk_labels(ids, assistant_id, end_id):
    a = ids.index(assistant_id) + 1
    e = ids.index(end_id, a) + 1 if end_id in ids[a:] else len(ids)
    return [-100] * a + ids[a:e] + [-100] * (len(ids) - e)
""",
    ),
    Answer(
        "talk_labels",
        "never closes",
        "never_closed",
        code="""
def talk_labels(ids, assistant_id, end_id):
    labels, on = [], False
    for t in ids:
        labels.append(t if on else -100)
        if t == assistant_id:
            on = True
    return labels
""",
    ),
    Answer(
        "pack",
        "index by value: duplicates",
        "by_value",
        code="""
def pack(lengths, max_length):
    bins, room = [], []
    for n in sorted(lengths, reverse=True):
        i = lengths.index(n)
        fits = [b for b in range(len(bins)) if room[b] >= n]
        if not fits:
            bins.append([])
            room.append(max_length)
            fits = [len(bins) - 1]
        b = min(fits, key=lambda b: room[b])
        bins[b].append(i)
        room[b] -= n
    return bins


def join(rows):
    ids, labels, positions = [], [], []
    for row, graded in rows:
        ids += row
        labels += [-100] + graded[1:]
        positions += range(len(row))
    return ids, labels, positions
""",
    ),
    Answer(
        "pack",
        "sorts in place",
        "sorted_numbers",
        edits=(
            (
                "for i in sorted(range(len(lengths)), key=lambda i: -lengths[i]",
                ("lengths.sort(reverse=True)\n    for i in range(len(lengths)"),
            ),
        ),
    ),
    Answer("pack", "one row each", "one_each", edits=(("  if", ("  fits = []\n        if")),)),
    Answer(
        "pack",
        "fullest by number of rows",
        "most_rows",
        edits=(("b: room[b])", "b: -len(bins[b]))"),),
    ),
    Answer(
        "pack",
        "first row keeps its label",
        "first_free",
        edits=(("= [-100", "= graded if not labels else [-100"),),
    ),
    Answer(
        "pack", "last label", "last_masked", edits=(("[-100] + graded[1:", "graded[:-1] + [-100"),)
    ),
    Answer("pack", "append", "type", edits=(("ids += row", "ids.append(row)"),)),
    Answer("pack", "-1", "other_number", edits=(("-100] ", "-1] "),)),
    Answer("pack", "0", "other_number", edits=(("-100", "0"),)),
    Answer(
        "pack",
        "order",
        "exchanged",
        edits=(("return ids, labels, positions", "return ids, positions, labels"),),
    ),
    Answer(
        "pack",
        "positions are row numbers",
        "positions_rows",
        edits=(
            ("row, graded in rows", "k, (row, graded) in enumerate(rows)"),
            ("range(len(row)", "[k] * len(row"),
        ),
    ),
    Answer(
        "pack",
        "extends the first row",
        "in_place",
        edits=(
            (
                ("[], [], []\n    for row, graded in rows:\n"),
                (
                    "rows[0][0], [], []\n"
                    "    for k, (row, graded) in enumerate(rows):\n"
                    "        if k:\n"
                    "    "
                ),
            ),
        ),
    ),
    Answer("make_trainer", "eval_steps 20", "other", edits=(("eval_steps=5", "eval_steps=20"),)),
    Answer(
        "make_trainer", "warmup 1 step", "other", edits=(("warmup_steps=0.1", "warmup_steps=1"),)
    ),
    Answer(
        "make_trainer",
        "max_seq_length",
        "old_max_seq_length",
        edits=(("max_length", "max_seq_length"),),
    ),
    Answer(
        "make_trainer",
        "assistant_only_loss",
        "marks_asked",
        edits=(("length,\n", ("length,\n        assistant_only_loss=True,\n")),),
    ),
    Answer(
        "make_trainer",
        "no eval rows",
        "no_new_rows",
        edits=(
            ("        eval_dataset=new_rows,\n", ""),
            (('        eval_strategy="steps",\n        eval_steps=5,\n'), ""),
        ),
    ),
    Answer(
        "make_trainer",
        "trains on new rows",
        "swapped",
        edits=(("train_dataset=rows", "train_dataset=new_rows"),),
    ),
    Answer(
        "make_trainer",
        "no tokenizer",
        "no_tokenizer",
        edits=(("        processing_class=tokenizer,\n", ""),),
    ),
    Answer("make_trainer", "max_steps 200", "other", edits=(("max_steps=20,", "max_steps=200,"),)),
    Answer("make_trainer", "epochs", "lost", edits=(("max_steps", "num_train_epochs"),)),
    Answer(
        "make_trainer",
        "output dir fixed",
        "other",
        edits=(("output_dir=folder", 'output_dir="out"'),),
    ),
    Answer(
        "make_trainer",
        "returns args",
        "type",
        edits=(
            ("return SFTTrainer", "SFTTrainer"),
            (("),\n    )"), ("),\n    )\n    return args")),
        ),
    ),
    Answer(
        "make_trainer",
        "bigger batch",
        "other",
        edits=(("max_steps=20,", ("max_steps=20,\n        per_device_train_batch_size=4,")),),
    ),
    Answer(
        "make_trainer",
        "dropout, again",
        "other",
        edits=(("lora_alpha=8,", "lora_alpha=8, lora_dropout=0.1,"),),
    ),
    Answer("choose", "r 16", "rank_limit", edits=(("r=4", "r=16"),)),
    Answer("choose", "few steps", "short", edits=(("max_steps=250", "max_steps=20"),)),
    Answer(
        "choose",
        "swapped",
        "type",
        edits=(("args, LoraConfig(r=4, lora_alpha=8)", "LoraConfig(r=4, lora_alpha=8), args"),),
    ),
    Answer(
        "choose",
        "batch 8000 one step",
        "few_updates",
        edits=(
            ("max_steps=250", "max_steps=1"),
            ("size=32", "size=8000"),
        ),
    ),
    Answer(
        "choose",
        "dict",
        "type",
        code="""
def choose(folder):
    return {"learning_rate": 2e-2}, {"r": 4}
""",
    ),
    Answer("choose", "only args", "type", edits=(("args, LoraConfig(r=4, lora_alpha=8)", "args"),)),
    Answer("choose", "polynomial", "type", edits=(("cosine", "polynomial"),)),
    Answer("choose", "just over", "budget", edits=(("max_steps=250", "max_steps=251"),)),
]

RIGHT += [
    Answer(
        "chat_template",
        "loop.first",
        edits=(
            ("{{- bos_token }}\n", ""),
            (
                "    {{- '# ' +",
                "    {%- if loop.first %}{{ bos_token }}{% endif %}\n    {{- '# ' +",
            ),
        ),
    ),
    Answer(
        "chat_template",
        "two writes and attributes",
        edits=(("message['content'] + eos_token", "message.content }}{{ eos_token"),),
    ),
    Answer("pack", "tuples", edits=(("return bins", "return tuple(tuple(b) for b in bins)"),)),
    Answer(
        "pack",
        "reverse sort, next and numpy",
        edits=(
            (
                "sorted(range(len(lengths)), key=lambda i: -lengths[i])",
                "sorted(range(len(lengths)), key=lengths.__getitem__, reverse=True)",
            ),
        ),
    ),
    Answer(
        "make_trainer",
        "a regular expression",
        edits=(('["q_proj", "v_proj"]', 'r".*\\.(q_proj|v_proj)"'),),
    ),
    Answer(
        "make_trainer",
        "steps of warm-up counted, completion only",
        edits=(("warmup_steps=0.1", "warmup_steps=2, completion_only_loss=True"),),
    ),
    Answer(
        "choose", "rslora", edits=(("r=4, lora_alpha=8", "r=4, lora_alpha=4, use_rslora=True"),)
    ),
    Answer("choose", "epochs", edits=(("max_steps=250", "num_train_epochs=3"),)),
]

WRONG += [
    Answer(
        "chat_template",
        "two line breaks after each message",
        "spaces",
        edits=(("    {{- '\\\\n' }}\n", "    {{- '\\\\n\\\\n' }}\n"),),
    ),
    Answer(
        "chat_template",
        "the chapter's role tags",
        "tags",
        edits=(("'# ' + message['role']", "'<|' + message['role'] + '|>'"),),
    ),
    Answer(
        "chat_template",
        "end token also in the sign to answer",
        "other",
        edits=(
            (
                "{{ '# assistant\\\\n' }}{% endif %}",
                "{{ '# assistant\\\\n' + eos_token }}{% endif %}",
            ),
        ),
    ),
    Answer(
        "chat_template",
        "marks around the sign to answer as well",
        "prompt_marked",
        edits=(
            (
                "{%- if add_generation_prompt %}{{ '# assistant\\\\n' }}{% endif %}",
                (
                    "{%- if add_generation_prompt %}{% generation %}{{ '# assistant\\\\n' }"
                    "}{% endgeneration %}{% endif %}"
                ),
            ),
        ),
    ),
    Answer(
        "chat_template",
        "leaves the system out",
        "no_system",
        edits=(
            ("for message in messages", "for message in messages if message['role'] != 'system'"),
        ),
    ),
    Answer(
        "chat_template",
        "the example itself",
        "constant",
        code="""
def chat_template():
    return "<bos># user\\nWhere is Mira?\\n# assistant\\nAt the mill.<eos>\\n"
""",
    ),
    Answer(
        "chat_template",
        "capital roles",
        "capitals",
        edits=(("message['role'] + '", "message['role'].title() + '"),),
    ),
    Answer(
        "chat_template",
        "end token after the last answer only",
        "eos_last",
        edits=(
            (
                "message['content'] + eos_token",
                "message['content'] + (eos_token if loop.last else '')",
            ),
        ),
    ),
    Answer(
        "chat_template",
        "colon after the role",
        "colon",
        edits=(("message['role'] + '\\\\n'", "message['role'] + ': '"),),
    ),
    Answer(
        "chat_template",
        "bos_token without braces",
        "literal",
        edits=(("{{- bos_token }}", "bos_token"),),
    ),
    Answer(
        "chat_template",
        "no else, so users are silent",
        "silent",
        edits=(("    {%- else %}\n        {{- message['content'] }}\n", ""),),
    ),
    Answer(
        "chat_template",
        "a line break after the first token",
        "spaces",
        edits=(("{{- bos_token }}", "{{- bos_token + '\\\\n' }}"),),
    ),
    Answer(
        "chat_template",
        "end token before the content",
        "other",
        edits=(("message['content'] + eos_token", "eos_token + message['content']"),),
    ),
    Answer(
        "chat_template",
        "forgets the role line in the loop",
        "other",
        edits=(("    {{- '# ' + message['role'] + '\\\\n' }}\n", ""),),
    ),
    Answer(
        "chat_template",
        "a hash without the role",
        "other",
        edits=(("'# ' + message['role'] + '", "'# ' + '"),),
    ),
    Answer(
        "chat_template",
        "bos_token at every user turn",
        "other",
        edits=(
            ("{{- bos_token }}\n", ""),
            (
                "    {{- '# ' +",
                (
                    "    {%- if message['role'] == 'user' %}{{ bos_token }}{% endif %}\n  "
                    "  {{- '# ' +"
                ),
            ),
        ),
    ),
    Answer(
        "chat_template",
        "marks only the last answer",
        "last_marked",
        edits=(
            (
                ("{%- generation %}{{ message['content'] + eos_token }}{% endgeneration %}"),
                (
                    "{%- if loop.last %}{% generation %}{{ message['content'] + eos_token"
                    " }}{% endgeneration %}{% else %}{{ message['content'] + eos_token }}"
                    "{% endif %}"
                ),
            ),
        ),
    ),
    Answer(
        "chat_template",
        "eos and bos exchanged",
        "other",
        edits=(
            ("bos_token", "X_TOKEN"),
            ("eos_token", "bos_token"),
            ("X_TOKEN", "eos_token"),
        ),
    ),
    Answer("chat_template", "two hashes", "other", edits=(("'# ' + message", "'## ' + message"),)),
    Answer(
        "talk_labels",
        "skips the first token of each answer",
        "late",
        code="""
def talk_labels(ids, assistant_id, end_id):
    labels, on, wait = [], False, False
    for t in ids:
        labels.append(t if on and not wait else -100)
        wait = t == assistant_id
        if t == end_id:
            on = False
        elif t == assistant_id:
            on = True
    return labels
""",
    ),
    Answer(
        "talk_labels",
        "continue at the sign: one label too few",
        "other",
        code="""
def talk_labels(ids, assistant_id, end_id):
    labels, on = [], False
    for t in ids:
        if t == assistant_id:
            on = True
            continue
        labels.append(t if on else -100)
        if t == end_id:
            on = False
    return labels
""",
    ),
    Answer(
        "talk_labels",
        "appends an end token to a cut answer",
        "filtered",
        code="""
def talk_labels(ids, assistant_id, end_id):
    labels, on = [], False
    for t in ids:
        labels.append(t if on else -100)
        if t == end_id:
            on = False
        elif t == assistant_id:
            on = True
    return labels + ([end_id] if on else [])
""",
    ),
    Answer(
        "talk_labels",
        "stops at the first end token",
        "first_only",
        code="""
def talk_labels(ids, assistant_id, end_id):
    labels, on = [], False
    for t in ids:
        labels.append(t if on else -100)
        if t == end_id:
            break
        if t == assistant_id:
            on = True
    return labels + [-100] * (len(ids) - len(labels))
""",
    ),
    Answer(
        "talk_labels",
        "1 for graded, -100 else",
        "flags",
        edits=(("token if speaking else -100", "1 if speaking else -100"),),
    ),
    Answer("talk_labels", "None where not graded", "type", edits=(("else -100", "else None"),)),
    Answer(
        "talk_labels",
        "pairs of token and flag",
        "filtered",
        edits=(("token if speaking else -100", "(token, speaking)"),),
    ),
    Answer(
        "talk_labels",
        "grades the first answer from the sign to the last end",
        "first_only",
        code="""
def talk_labels(ids, assistant_id, end_id):
    starts = [i for i, t in enumerate(ids) if t == assistant_id]
    labels = [-100] * len(ids)
    for a in starts:
        e = ids.index(end_id) + 1
        labels[a + 1:e] = ids[a + 1:e]
    return labels
""",
    ),
    Answer(
        "talk_labels",
        "end token masked by an elif order",
        "end_masked",
        code="""
def talk_labels(ids, assistant_id, end_id):
    labels, on = [], False
    for t in ids:
        if t == assistant_id:
            on = True
            labels.append(-100)
        elif t == end_id:
            on = False
            labels.append(-100)
        elif on:
            labels.append(t)
        else:
            labels.append(-100)
    return labels
""",
    ),
    Answer(
        "talk_labels",
        "end token graded even for the user, appended while off",
        "ends_everywhere",
        code="""
def talk_labels(ids, assistant_id, end_id):
    labels, on = [], False
    for t in ids:
        if t == assistant_id:
            on = True
            labels.append(-100)
        elif t == end_id:
            on = False
            labels.append(t)
        else:
            labels.append(t if on else -100)
    return labels
""",
    ),
    Answer(
        "talk_labels",
        "forgets the break between: slice to the next sign",
        "never_closed",
        code="""
def talk_labels(ids, assistant_id, end_id):
    labels = [-100] * len(ids)
    for i, t in enumerate(ids):
        if t == assistant_id:
            j = i + 1
            while j < len(ids) and ids[j] != assistant_id:
                labels[j] = ids[j]
                j += 1
    return labels
""",
    ),
    Answer(
        "talk_labels",
        "ends one too early: slice without plus one",
        "end_masked",
        code="""
def talk_labels(ids, assistant_id, end_id):
    labels = [-100] * len(ids)
    for i, t in enumerate(ids):
        if t == assistant_id:
            j = i + 1
            while j < len(ids) and ids[j] != end_id:
                labels[j] = ids[j]
                j += 1
    return labels
""",
    ),
    Answer(
        "talk_labels",
        "flips the ids: -100 on assistants sign only",
        "signs_only",
        code="""
def talk_labels(ids, assistant_id, end_id):
    return [-100 if t in (assistant_id, end_id) else t for t in ids]
""",
    ),
    Answer(
        "pack",
        "pairs of row and length",
        "type",
        edits=(("bins[b].append(i)", "bins[b].append((i, lengths[i]))"),),
    ),
    Answer(
        "pack",
        "only an exact fit",
        "one_each",
        edits=(("room[b] >= lengths[i]", "room[b] == lengths[i]"),),
    ),
    Answer(
        "pack",
        "bins one token smaller",
        "strict",
        edits=(("room.append(max_length)", "room.append(max_length - 1)"),),
    ),
    Answer(
        "pack",
        "index of the value",
        "by_value",
        edits=(
            (
                "for i in sorted(range(len(lengths)), key=lambda i: -lengths[i]):",
                "for n in sorted(lengths, reverse=True):\n        i = lengths.index(n)",
            ),
        ),
    ),
    Answer(
        "pack",
        "does not take its own room in a new bin",
        "not_reduced",
        edits=(
            (
                (
                    "        if not fits:\n            bins.append([])\n            room.ap"
                    "pend(max_length)\n            fits = [len(bins) - 1]\n"
                ),
                (
                    "        if not fits:\n            bins.append([i])\n            room.a"
                    "ppend(max_length)\n            continue\n"
                ),
            ),
        ),
    ),
    Answer(
        "pack",
        "goes on after a new bin: rows twice",
        "twice",
        edits=(("            bins.append([])\n", "            bins.append([i])\n"),),
    ),
    Answer(
        "pack",
        "a bin closes once a row does not fit",
        "last_lost",
        code="""
def pack(lengths, max_length):
    bins, current, room = [], [], max_length
    for i in sorted(range(len(lengths)), key=lambda i: -lengths[i]):
        if lengths[i] > room:
            bins.append(current)
            current, room = [], max_length
        current.append(i)
        room -= lengths[i]
    return bins


def join(rows):
    ids, labels, positions = [], [], []
    for row, graded in rows:
        ids += row
        labels += [-100] + graded[1:]
        positions += range(len(row))
    return ids, labels, positions
""",
    ),
    Answer(
        "pack",
        "the last bin kept in a loop is never appended",
        "last_lost",
        code="""
def pack(lengths, max_length):
    bins, current, room = [], [], max_length
    for i in range(len(lengths)):
        if lengths[i] > room:
            bins.append(current)
            current, room = [], max_length
        current.append(i)
        room -= lengths[i]
    return bins


def join(rows):
    ids, labels, positions = [], [], []
    for row, graded in rows:
        ids += row
        labels += [-100] + graded[1:]
        positions += range(len(row))
    return ids, labels, positions
""",
    ),
    Answer(
        "pack",
        "positions count down",
        "other",
        edits=(("range(len(row))", "range(len(row))[::-1]"),),
    ),
    Answer(
        "pack",
        "lists of lists of positions",
        "type",
        edits=(("positions += range(len(row))", "positions.append(list(range(len(row))))"),),
    ),
    Answer(
        "pack",
        "all labels masked",
        "all_masked",
        edits=(("[-100] + graded[1:]", "[-100] * len(graded)"),),
    ),
    Answer(
        "pack",
        "-100 for whole first row",
        "all_masked",
        edits=(
            ("[-100] + graded[1:]", "([-100] + graded[1:]) if labels else [-100] * len(graded)"),
        ),
    ),
    Answer(
        "pack",
        "labels shifted: drops the first",
        "moved",
        edits=(("[-100] + graded[1:]", "graded[1:] + [-100]"),),
    ),
    Answer(
        "pack", "ids masked too", "ids_masked", edits=(("ids += row", "ids += [-100] + row[1:]"),)
    ),
    Answer(
        "pack",
        "labels first element only dropped",
        "moved",
        edits=(("[-100] + graded[1:]", "graded[1:]"),),
    ),
    Answer(
        "pack",
        "bins of 1-based rows",
        "from_1",
        edits=(("bins[b].append(i)", "bins[b].append(i + 1)"),),
    ),
    Answer(
        "pack",
        "sorts by index not length",
        "unsorted",
        edits=(("key=lambda i: -lengths[i]", "key=lambda i: -i"),),
    ),
    Answer(
        "make_trainer",
        "max_steps given to the trainer",
        "trainer_setting",
        edits=(
            ("        max_steps=20,\n", ""),
            ("        model=model,\n", "        model=model,\n        max_steps=20,\n"),
        ),
    ),
    Answer("make_trainer", "args not passed", "args_lost", edits=(("        args=args,\n", ""),)),
    Answer(
        "make_trainer",
        "TrainingArguments from transformers",
        "not_cut",
        edits=(
            (
                "    args = SFTConfig(",
                ("    from transformers import TrainingArguments\n\n    args = TrainingArguments("),
            ),
            ("        max_length=length,\n", ""),
            ("        activation_checkpointing=False,\n", ""),
        ),
    ),
    Answer(
        "make_trainer",
        "get_peft_model before the trainer",
        "wrapped",
        edits=(
            (
                "    return SFTTrainer(\n        model=model,",
                (
                    "    from peft import get_peft_model\n    model = get_peft_model(model"
                    ", LoraConfig(r=4, lora_alpha=8, target_modules=['q_proj', 'v_proj'])"
                    ")\n    return SFTTrainer(\n        model=model,"
                ),
            ),
        ),
    ),
    Answer("make_trainer", "no r", "lost", edits=(("r=4, ", ""),)),
    Answer(
        "make_trainer",
        "train_sampling_strategy true",
        "other",
        edits=(('train_sampling_strategy="group_by_length"', "train_sampling_strategy=True"),),
    ),
    Answer(
        "make_trainer",
        "a fixed rate",
        "other",
        edits=(("learning_rate=rate", "learning_rate=5e-3"),),
    ),
    Answer(
        "make_trainer",
        "a fixed length",
        "not_cut",
        edits=(("max_length=length", "max_length=256"),),
    ),
    Answer(
        "make_trainer",
        "warm-up of ten steps",
        "other",
        edits=(("warmup_steps=0.1", "warmup_steps=10"),),
    ),
    Answer(
        "make_trainer", "eval_steps forgotten", "lost", edits=(("        eval_steps=5,\n", ""),)
    ),
    Answer(
        "make_trainer",
        "max_length given to the trainer",
        "trainer_setting",
        edits=(
            ("        max_length=length,\n", ""),
            ("        model=model,\n", "        model=model,\n        max_length=length,\n"),
        ),
    ),
    Answer(
        "make_trainer",
        "eval rows forgotten",
        "no_new_rows",
        edits=(("        eval_dataset=new_rows,\n", ""),),
    ),
    Answer(
        "make_trainer",
        "rows and tokenizer exchanged",
        "other",
        edits=(
            ("train_dataset=rows", "train_dataset=tokenizer"),
            ("processing_class=tokenizer", "processing_class=rows"),
        ),
    ),
    Answer(
        "make_trainer",
        "a setting that does not exist",
        "unknown_setting",
        edits=(("        max_steps=20,\n", "        max_steps=20,\n        lora_rank=4,\n"),),
    ),
    Answer(
        "pack",
        "all but a row's first label goes too: half of the row",
        "other",
        edits=(("range(len(row))", "[k // 2 for k in range(len(row))]"),),
    ),
    Answer(
        "choose",
        "accumulates eight",
        "budget",
        edits=(
            (
                "per_device_train_batch_size=32",
                "per_device_train_batch_size=32, gradient_accumulation_steps=8",
            ),
        ),
    ),
    Answer(
        "choose",
        "rank 1 at the default rate",
        "several",
        edits=(
            ("learning_rate=2e-2", "learning_rate=2e-5"),
            ("r=4, lora_alpha=8", "r=1, lora_alpha=2"),
        ),
    ),
    Answer(
        "choose",
        "full fine-tuning's rate of a blog and 4 epochs",
        "slow",
        edits=(
            ("learning_rate=2e-2", "learning_rate=2e-4"),
            ("max_steps=250", "num_train_epochs=3"),
        ),
    ),
    Answer("choose", "batch one", "short", edits=(("size=32", "size=1"),)),
    Answer("choose", "rate 0", "slow", edits=(("learning_rate=2e-2", "learning_rate=0"),)),
    Answer(
        "choose",
        "a list of three",
        "type",
        edits=(
            (
                "return args, LoraConfig(r=4, lora_alpha=8)",
                "return args, LoraConfig(r=4, lora_alpha=8), folder",
            ),
        ),
    ),
]

WRONG += [
    Answer("choose", "alpha in thousands", "alpha", edits=(("alpha=8", "alpha=8000"),)),
    Answer("choose", "alpha a thousandth", "alpha", edits=(("alpha=8", "alpha=0.01"),)),
]

WRONG += [
    Answer("choose", "a class", "type", edits=(("LoraConfig(r=4, lora_alpha=8)", "LoraConfig"),)),
]
