# %% [markdown]
# # Exercises 09: Supervised fine-tuning with TRL
#
# Five exercises to the chapter
# [Supervised fine-tuning with TRL](../chapters/09_supervised_fine_tuning_with_trl.ipynb).
# Write your code in place of the line that raises `NotImplementedError`, run the cell,
# then run the check under it. Hints open one at a time.
# Run the next cell first.

# %% tags=["setup"]
from lora_course.checks import ch09 as check
from lora_course.kit.models import quiet

quiet()

from peft import LoraConfig
from trl import SFTConfig, SFTTrainer

# %% [markdown]
# ## 9.1 A chat template
#
# Return a Jinja template, as a text. It writes the first token, and then for each
# message a line `# role` and a line with the content. The end token closes what the
# assistant says, on the same line. Mark what the model itself says, end token included.
# When an answer is asked for, the text ends with the line `# assistant`.
#
# With `<bos>` and `<eos>` as first and end token, two messages become
#
# ```
# <bos># user
# Where is Mira?
# # assistant
# At the mill.<eos>
# ```
#
# Every line ends with a line break, the last one too. `At the mill.<eos>` is marked.

# %% exercise="chat_template"
def chat_template():
    """A Jinja template, str.

    It may use messages (role, content), bos_token, eos_token, add_generation_prompt.
    """
    ### BEGIN SOLUTION
    return """\
{{- bos_token }}
{%- for message in messages %}
    {{- '# ' + message['role'] + '\\n' }}
    {%- if message['role'] == 'assistant' %}
        {%- generation %}{{ message['content'] + eos_token }}{% endgeneration %}
    {%- else %}
        {{- message['content'] }}
    {%- endif %}
    {{- '\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}{{ '# assistant\\n' }}{% endif %}"""
    ### END SOLUTION


# %%
check.chat_template(chat_template)

# %% [markdown]
# ## 9.2 The mask of a talk
#
# You get the tokens of a whole talk. `assistant_id` opens a turn of the assistant,
# `end_id` closes it. Grade what the assistant says in **every** turn, with the end
# token and without the sign that opens it. A user may quote the end token. The last
# answer may have been cut, and has no end token then.

# %% exercise="talk_labels"
def talk_labels(ids, assistant_id, end_id):
    """The labels of a talk.

    ids: list of T tokens, left as it is. Returns T labels: the token, or -100 where it
    is not graded.
    """
    ### BEGIN SOLUTION
    labels, speaking = [], False
    for token in ids:
        labels.append(token if speaking else -100)
        if token == end_id:
            speaking = False
        elif token == assistant_id:
            speaking = True
    return labels
    ### END SOLUTION


# %%
check.talk_labels(talk_labels)

# %% [markdown]
# ## 9.3 Pack
#
# `pack` puts rows into bins of `max_length` tokens by *best fit, decreasing*: the longest
# row first, each into the fullest bin that still has room for it, or into a new one.
# `join` makes one row out of those of a bin. Positions begin again at 0 with each row,
# and the first label of each row, of the first one too, is -100: the token before it
# belongs to another row. Neither changes the lists that it is given.

# %% exercise="pack"
def pack(lengths, max_length):
    """Bins, as lists of row numbers.

    lengths: list of n whole numbers, none above max_length. Every row is in one bin.
    """
    ### BEGIN SOLUTION
    bins, room = [], []
    for i in sorted(range(len(lengths)), key=lambda i: -lengths[i]):
        fits = [b for b in range(len(bins)) if room[b] >= lengths[i]]
        if not fits:
            bins.append([])
            room.append(max_length)
            fits = [len(bins) - 1]
        b = min(fits, key=lambda b: room[b])
        bins[b].append(i)
        room[b] -= lengths[i]
    return bins
    ### END SOLUTION


def join(rows):
    """One row out of several.

    rows: list of pairs (ids, labels), lists of equal length.
    Returns three lists: ids, labels, positions.
    """
    ### BEGIN SOLUTION
    ids, labels, positions = [], [], []
    for row, graded in rows:
        ids += row
        labels += [-100] + graded[1:]
        positions += range(len(row))
    return ids, labels, positions
    ### END SOLUTION


# %%
check.pack(pack, join)

# %% [markdown]
# ## 9.4 Repair the outdated script
#
# This was written for earlier releases. Make it run today, with the same meaning; what it
# does not name stays at its default. `rows` and `new_rows` have the columns prompt and
# completion, as messages. It must run on a CPU in float32 without checkpointing, and
# report to no web service.
#
# ```python
# args = TrainingArguments(
#     output_dir=folder, evaluation_strategy="steps", eval_steps=5, max_steps=20,
#     warmup_ratio=0.1, group_by_length=True, learning_rate=rate)
# collator = DataCollatorForCompletionOnlyLM("<|assistant|>", tokenizer=tokenizer)
# trainer = SFTTrainer(
#     model=model, tokenizer=tokenizer, args=args, data_collator=collator,
#     train_dataset=rows, eval_dataset=new_rows, max_seq_length=length,
#     peft_config=LoRAConfig(r=4, lora_alpha=8, target_modules="q_proj,v_proj"))
# ```

# %% exercise="make_trainer"
def make_trainer(model, tokenizer, rows, new_rows, folder, length, rate):
    """An SFTTrainer, made and not yet run.

    length: rows are cut to so many tokens. rate: the highest learning rate.
    """
    ### BEGIN SOLUTION
    args = SFTConfig(
        output_dir=folder,
        eval_strategy="steps",
        eval_steps=5,
        max_steps=20,
        warmup_steps=0.1,
        train_sampling_strategy="group_by_length",
        learning_rate=rate,
        max_length=length,
        use_cpu=True,
        bf16=False,
        activation_checkpointing=False,
        report_to="none",
    )
    return SFTTrainer(
        model=model,
        args=args,
        train_dataset=rows,
        eval_dataset=new_rows,
        processing_class=tokenizer,
        peft_config=LoraConfig(r=4, lora_alpha=8, target_modules=["q_proj", "v_proj"]),
    )
    ### END SOLUTION


# %%
check.make_trainer(make_trainer)

# %% [markdown]
# ## 9.5 Pass the exam
#
# A small network must learn to sort rows into five classes. You choose the numbers, the
# check trains an adapter with them and asks 1,000 rows that it was never trained on.
# There are 2,000 rows to train on; you may read 8,000 in all (steps times batch), and r
# may be 8 at most. 85 % right is a pass. You will need some attempts. Rate, warm-up,
# schedule (constant, linear or cosine), steps, batch, r and lora_alpha count, nothing else.

# %% exercise="choose"
def choose(folder):
    """An SFTConfig (rate, schedule, steps, batch) and a LoraConfig (r, lora_alpha)."""
    ### BEGIN SOLUTION
    args = SFTConfig(
        output_dir=folder,
        learning_rate=2e-2,
        lr_scheduler_type="cosine",
        warmup_steps=10,
        max_steps=250,
        per_device_train_batch_size=32,
        use_cpu=True,
        activation_checkpointing=False,
    )
    return args, LoraConfig(r=4, lora_alpha=8)
    ### END SOLUTION


# %%
check.choose(choose)

# %% [markdown] tags=["answers"]
# ## Answers to the problems without code
#
# <details><summary>Problem 1</summary>
#
# Let a turn have q tokens of question and a of answer. If each answer is a row of its
# own, with all turns before it, the ten rows have 1 + 2 + … + 10 = 55 turns: 5.5 (q + a)
# / a tokens are read for each graded one. Assistant-only loss reads the talk once, and
# grades all ten answers: (q + a) / a.
#
# </details>
#
# <details><summary>Problem 2</summary>
#
# A step grades another number of tokens. 8 full bins can hold more answers than 32 short
# rows, and an epoch has fewer steps. A larger batch wants another rate.
#
# </details>
#
# <details><summary>Problem 3</summary>
#
# The loss is a mean over the labels that are there. A token that was cut off is not among
# them, so nothing looks wrong. It may even look better.
#
# </details>
#
# <details><summary>Problem 4</summary>
#
# From 91 to 100 steps: a tenth, rounded up, is then 10.
#
# </details>
