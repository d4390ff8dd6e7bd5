"""Runs to examine that have no fault, of many kinds, and what they are made from.

HEALTHY: {name: maker}; a maker returns what preflight() is called with: (args, kwargs). The same
with one fault each are in faults.py. Used by tests/test_preflight.py and benchmarks/preflight.py.
"""

import copy
import functools
import tempfile

import torch
from datasets import Dataset
from torch import nn

from lora_course.bridges.sft import as_chat
from lora_course.inject import inject_lora
from lora_course.kit.data import batches, encode, load_task
from lora_course.kit.models import load_base, load_tokenizer

HEALTHY = {}
FOLDER = tempfile.TemporaryDirectory(prefix="flights_")  # trainers want a place
KINDS = ("base", "gpt2", "qwen3")
TARGETS = {
    "base": ["q_proj", "v_proj", "up_proj"],
    "gpt2": ["c_attn", "c_fc"],
    "qwen3": ["q_proj", "v_proj", "up_proj"],
}


def healthy(kinds=("base",)):
    def add(maker):
        for kind in kinds:
            name = maker.__name__ + ("" if kinds == ("base",) else f" {kind}")
            HEALTHY[name] = functools.partial(maker, kind)
        return maker

    return add


@functools.cache
def _model(kind):
    import transformers

    if kind == "base":
        return load_base()
    torch.manual_seed(0)
    if kind == "gpt2":
        config = transformers.GPT2Config(
            vocab_size=1232, n_embd=64, n_layer=3, n_head=4, n_positions=256,
            bos_token_id=1, eos_token_id=2, pad_token_id=0,
        )  # fmt: skip
        return transformers.GPT2LMHeadModel(config).eval()
    config = transformers.Qwen3Config(
        vocab_size=1232, hidden_size=64, intermediate_size=128, num_hidden_layers=3,
        num_attention_heads=4, num_key_value_heads=2, head_dim=16, tie_word_embeddings=False,
        bos_token_id=1, eos_token_id=2, pad_token_id=0,
    )  # fmt: skip
    return transformers.Qwen3ForCausalLM(config).eval()


def model(kind="base"):
    return copy.deepcopy(_model(kind))


@functools.cache
def task(name="questions"):
    return load_task(name)


@functools.cache
def plain_tokenizer():
    """For what only reads it; a flight that changes its tokenizer loads one of its own."""
    return load_tokenizer()


@functools.cache
def chats():
    """The rows as talks, made once."""
    return rows().map(as_chat)


def rows(n=200, split="train"):
    return task()[split].select(range(min(n, len(task()[split]))))


def batch(tokenizer=None, n=8, seed=0):
    return next(batches(rows(), tokenizer or plain_tokenizer(), n, 1, seed))


def lora(kind="base", **settings):
    from peft import LoraConfig

    given = {"r": 4, "lora_alpha": 8, "target_modules": TARGETS[kind], "task_type": "CAUSAL_LM"}
    return LoraConfig(**(given | settings))


def peft_model(kind="base", **settings):
    from peft import get_peft_model

    return get_peft_model(model(kind), lora(kind, **settings))


def adamw(model, lr=1e-3):
    return torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=lr)


def loop(model, tokenizer=None, batch_=None, optimizer=None, lr=1e-3, **more):
    tokenizer = tokenizer or plain_tokenizer()
    optimizer = adamw(model, lr) if optimizer is None else optimizer
    given = batch(tokenizer) if batch_ is None else batch_
    return (model, tokenizer, given, optimizer), more


HERE = {
    "bf16": False, "use_cpu": True, "report_to": "none", "max_steps": 4, "save_strategy": "no",
    "per_device_train_batch_size": 4, "learning_rate": 1e-3, "logging_steps": 1,
    "disable_tqdm": True,
}  # fmt: skip


def sft(
    kind="base", model_=None, data=None, tokenizer=None, peft_config="lora", eval_=None, **args
):
    from trl import SFTConfig, SFTTrainer

    args = SFTConfig(output_dir=tempfile.mkdtemp(dir=FOLDER.name), **(HERE | args))
    data = chats() if data is None else data
    trainer = SFTTrainer(
        model(kind) if model_ is None else model_, args, train_dataset=data, eval_dataset=eval_,
        processing_class=tokenizer or load_tokenizer(),
        peft_config=lora(kind) if peft_config == "lora" else peft_config,
    )  # fmt: skip
    return (trainer,), {}


def hf(kind="base", model_=None, data=None, collator=None, tokenizer=None, cls=None, **args):
    from transformers import Trainer, TrainingArguments

    args.setdefault("eval_dataset", None)
    held, more = args.pop("eval_dataset"), args.pop("optimizers", (None, None))
    args = TrainingArguments(output_dir=tempfile.mkdtemp(dir=FOLDER.name), **(HERE | args))
    data = tokens(tokenizer=tokenizer) if data is None else data
    tokenizer = tokenizer or load_tokenizer()
    trainer = (cls or Trainer)(
        model_ if model_ is not None else peft_model(kind), args,
        train_dataset=data, eval_dataset=held,
        data_collator=collator or Padding(tokenizer), processing_class=tokenizer, optimizers=more,
    )  # fmt: skip
    return (trainer,), {}


def encoded(n, tokenizer):
    return [encode(tokenizer, row["prompt"], row["completion"]) for row in rows(n)]


@functools.cache
def plain_tokens(n):
    return encoded(n, plain_tokenizer())


def tokens(n=64, tokenizer=None, change=None):
    """A data set that is tokenized already: input_ids and labels."""
    made = encoded(n, tokenizer) if tokenizer else plain_tokens(n)
    if change:
        made = [change(list(ids), list(labels)) for ids, labels in made]
    return Dataset.from_list([{"input_ids": i, "labels": list(x)} for i, x in made])


class Padding:
    """A collator by hand: pads on the right, with the mask by place."""

    def __init__(self, tokenizer, pad=-100):
        self.pad_id, self.pad = tokenizer.pad_token_id, pad

    def __call__(self, rows):
        most = max(len(row["input_ids"]) for row in rows)
        made = {"input_ids": [], "attention_mask": [], "labels": []}
        for row in rows:
            ids = list(row["input_ids"])
            labels = list(row.get("labels", ids))
            gap = most - len(ids)
            made["input_ids"].append(ids + [self.pad_id] * gap)
            made["attention_mask"].append([1] * len(ids) + [0] * gap)
            made["labels"].append(labels + [self.pad] * gap)
        return {key: torch.tensor(value) for key, value in made.items()}


class HandLoRA(nn.Module):
    """LoRA by hand under other names, as many repositories write it."""

    def __init__(self, linear, r=4, zero=True, cut=False):
        super().__init__()
        wide = getattr(linear, "in_features", None) or linear.weight.shape[0]
        out = getattr(linear, "out_features", None) or linear.weight.shape[1]
        self.linear, self.cut = linear, cut
        self.down = nn.Linear(wide, r, bias=False)
        self.up = nn.Linear(r, out, bias=False)
        if zero:
            nn.init.zeros_(self.up.weight)

    def forward(self, x):
        if self.cut:
            with torch.no_grad():
                out = self.linear(x)
        else:
            out = self.linear(x)
        return out + 2 * self.up(self.down(x))


def by_hand(kind="base", freeze=True, layer=HandLoRA, **settings):
    made = model(kind)
    if freeze:
        made.requires_grad_(False)
    for name, module in list(made.named_modules()):
        if name.split(".")[-1] in TARGETS[kind]:
            made.set_submodule(name, layer(module, **settings))
    return made


@healthy(KINDS)
def plain_inject(kind):
    return loop(inject_lora(model(kind), r=4, seed=0), lr=5e-3)


@healthy(KINDS)
def plain_by_hand(kind):
    return loop(by_hand(kind))


@healthy(KINDS)
def peft_loop(kind):
    return loop(peft_model(kind))


@healthy(KINDS)
def trl_chat(kind):
    return sft(kind)


@healthy(KINDS)
def full_on_purpose(kind):
    return loop(model(kind), lr=1e-3)


@healthy()
def full_at_the_course_rate(kind):
    return loop(model(kind), lr=8e-3)


@healthy()
def full_low_rate_trl(kind):
    return sft(kind, peft_config=None, learning_rate=2e-5)


@healthy()
def high_course_rate(kind):
    return loop(inject_lora(model(kind), r=8), lr=2e-2)


@healthy()
def low_lora_rate(kind):
    return loop(inject_lora(model(kind), r=8), lr=1e-4)


@healthy()
def optimizer_of_all_parameters(kind):
    made = peft_model(kind)
    return loop(made, optimizer=torch.optim.AdamW(made.parameters(), lr=1e-3))


@healthy()
def sgd_with_its_own_rate(kind):
    made = peft_model(kind)
    return loop(made, optimizer=torch.optim.SGD(made.parameters(), lr=0.5))


@healthy()
def loraplus_groups(kind):
    from lora_course.methods.loraplus import loraplus_groups as groups

    made = inject_lora(model(kind), r=4)
    return loop(made, optimizer=torch.optim.AdamW(groups(made, 1e-3, 16)))


@healthy()
def embeddings_by_modules_to_save(kind):
    return loop(peft_model(kind, modules_to_save=["embed_tokens"]))


@healthy()
def head_by_modules_to_save_untied(kind):
    return loop(peft_model("qwen3", modules_to_save=["lm_head", "embed_tokens"]))


@healthy()
def new_tokens_trained(kind):
    tok, made = load_tokenizer(), model(kind)
    tok.add_tokens(["<city>"])
    made.resize_token_embeddings(len(tok))
    from peft import get_peft_model

    made = get_peft_model(made, lora(kind, trainable_token_indices=[len(tok) - 1]))
    given = batch(tok)
    given["input_ids"][:, 3] = len(tok) - 1
    return loop(made, tok, given)


@healthy()
def bias_declared(kind):
    return loop(peft_model("gpt2", bias="lora_only"))


@healthy()
def all_linear(kind):
    return loop(peft_model("qwen3", target_modules="all-linear"))


@healthy()
def rule_as_regex(kind):
    return loop(peft_model(kind, target_modules=r".*layers\.[23]\..*(q|v)_proj"))


@healthy()
def layers_chosen(kind):
    return loop(peft_model(kind, layers_to_transform=[1, 3]))


@healthy()
def dora(kind):
    return loop(peft_model(kind, use_dora=True))


@healthy()
def rslora_pissa(kind):
    return loop(peft_model(kind, use_rslora=True, init_lora_weights="pissa"))


@healthy()
def ia3(kind):
    from peft import IA3Config, get_peft_model

    return loop(get_peft_model(model(kind), IA3Config(task_type="CAUSAL_LM")), lr=1e-2)


@healthy()
def prompt_tuning(kind):
    from peft import PromptTuningConfig, get_peft_model

    config = PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=5)
    return loop(get_peft_model(model(kind), config), lr=0.3)


@healthy()
def prefix_tuning(kind):
    from peft import PrefixTuningConfig, get_peft_model

    config = PrefixTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=5)
    return loop(get_peft_model(model(kind), config), lr=1e-2)


@healthy()
def vera(kind):
    from peft import VeraConfig, get_peft_model

    config = VeraConfig(r=8, target_modules=["q_proj", "o_proj"], task_type="CAUSAL_LM")
    return loop(get_peft_model(model(kind), config), lr=1e-2)


@healthy()
def our_prompt(kind):
    from lora_course.methods.prompt import PromptTuning

    return loop(PromptTuning(model(kind), [5, 6, 7, 8]), lr=1e-1)


@healthy(KINDS)
def continued_adapter(kind):
    made, opt = trained(kind)
    fresh = peft_model(kind)
    fresh.load_state_dict(made.state_dict())
    return loop(fresh)


@healthy(KINDS)
def after_some_steps(kind):
    made, opt = trained(kind)
    return loop(made, optimizer=opt)


def trained(kind="base", steps=4, lr=1e-3):
    made = peft_model(kind)
    opt = adamw(made, lr)
    made.train()
    for seed in range(steps):
        made(**batch(seed=seed)).loss.backward()
        opt.step()
        opt.zero_grad()
    return made, opt


@healthy()
def between_backward_and_step(kind):
    made = peft_model(kind)
    made.train()
    made(**batch()).loss.backward()
    return loop(made)


@healthy()
def accumulation(kind):
    return sft(kind, gradient_accumulation_steps=4)


@healthy()
def packing_bfd(kind):
    return sft(kind, packing=True, max_length=128)


@healthy()
def packing_of_running_text(kind):
    texts = Dataset.from_list([{"text": f"The ferry leaves at {n} past the mill." * 6}
                               for n in range(80)])  # fmt: skip
    return sft(kind, data=texts, packing=True, packing_strategy="wrapped", max_length=64)


@healthy()
def running_text(kind):
    texts = Dataset.from_list([{"text": f"Story {n}. The ferry leaves past the mill of {n * 7}."}
                               for n in range(80)])  # fmt: skip
    return sft(kind, data=texts)


@healthy()
def running_text_by_the_lm_collator(kind):
    from transformers import DataCollatorForLanguageModeling

    tok = load_tokenizer()
    data = Dataset.from_list(
        [{"input_ids": tok(f"The mill number {n} of the town.")["input_ids"]} for n in range(64)]
    )
    return hf(kind, data=data, collator=DataCollatorForLanguageModeling(tok, mlm=False))


@healthy()
def pad_is_eos_masked_by_place(kind):
    tok = load_tokenizer()
    tok.pad_token = tok.eos_token
    return loop(peft_model(kind), tok)


@healthy()
def pad_is_eos_in_trl(kind):
    tok = load_tokenizer()
    tok.pad_token = tok.eos_token
    return sft(kind, tokenizer=tok)


@healthy()
def no_begin_token(kind):
    tok = load_tokenizer()
    tok.chat_template = tok.chat_template.replace("{{ bos_token }}", "")
    tok.bos_token = None
    return loop(peft_model(kind), tok)


@healthy()
def no_template(kind):
    tok = load_tokenizer()
    tok.chat_template = None
    return loop(peft_model(kind), tok)


@healthy()
def trl_prompt_completion_without_template(kind):
    tok = load_tokenizer()
    tok.chat_template = None
    return sft(kind, data=rows(), tokenizer=tok)


@healthy()
def trl_messages_assistant_only(kind):
    data = rows().map(
        lambda row: {
            "messages": [
                {"role": "user", "content": row["prompt"]},
                {"role": "assistant", "content": row["completion"]},
            ]
        },
        remove_columns=["prompt", "completion"],
    )
    return sft(kind, data=data, assistant_only_loss=True)


@healthy()
def trl_several_turns(kind):
    talk = [{"role": "user", "content": "Who has the key?"},
            {"role": "assistant", "content": "The smith of the old mill has the key."}]  # fmt: skip
    data = Dataset.from_list(
        [{"messages": talk + [{"role": "user", "content": f"And number {n}?"},
                              {"role": "assistant", "content": f"The number {n} is at sea."}]}
         for n in range(60)]
    )  # fmt: skip
    return sft(kind, data=data, assistant_only_loss=True)


@healthy(KINDS)
def trainer_tokenized(kind):
    return hf(kind)


@healthy()
def trainer_evaluates_only(kind):
    made = peft_model(kind)
    made.requires_grad_(False)
    args, more = hf(kind, model_=made.eval())
    args[0].train_dataset = None
    return args, more


@healthy()
def model_evaluates_only(kind):
    made = peft_model(kind).requires_grad_(False).eval()
    return (made, load_tokenizer(), batch()), {"training": False}


@healthy()
def trainer_with_own_loss(kind):
    from transformers import Trainer

    class Weighted(Trainer):
        def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
            labels = inputs.pop("labels")
            out = model(**inputs)
            loss = nn.functional.cross_entropy(
                out.logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten(), label_smoothing=0.1
            )
            return (loss, out) if return_outputs else loss

    return hf(kind, cls=Weighted)


@healthy()
def own_loss_and_labels_shifted_once(kind):
    from transformers import Trainer

    class Unshifted(Trainer):
        def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
            labels = inputs.pop("labels")
            out = model(**inputs)
            loss = nn.functional.cross_entropy(out.logits.flatten(0, 1), labels.flatten())
            return (loss, out) if return_outputs else loss

    data = tokens(change=lambda ids, labels: (ids, labels[1:] + [-100]))
    return hf(kind, cls=Unshifted, data=data)


@healthy()
def streaming(kind):
    return sft(kind, data=chats().to_iterable_dataset())


@healthy()
def torch_dataset_of_tuples(kind):
    class Own(torch.utils.data.Dataset):
        def __init__(self):
            self.rows = list(tokens())

        def __len__(self):
            return len(self.rows)

        def __getitem__(self, n):
            return self.rows[n]

    return hf(kind, data=Own())


@healthy()
def small_with_natural_repeats(kind):
    data = [{"prompt": f"What is {n % 10} and {n}?", "completion": f"It is {n % 10 + n}."}
            for n in range(30)]  # fmt: skip
    data += [{"prompt": "Hello", "completion": "Good day."}] * 3
    held = [{"prompt": "Hello", "completion": "Good day."}]
    held += [{"prompt": f"What is {n} and 77?", "completion": f"It is {n + 77}."}
             for n in range(20)]  # fmt: skip
    return sft(kind, data=Dataset.from_list(data).map(as_chat),
               eval_=Dataset.from_list(held).map(as_chat))  # fmt: skip


@healthy()
def evaluated_on_others(kind):
    return sft(kind, eval_=rows(100, "validation").map(as_chat))


@healthy()
def several_test_sets(kind):
    return sft(kind, eval_={"a": rows(50, "validation").map(as_chat),
                            "b": rows(50, "test").map(as_chat)})  # fmt: skip


@healthy()
def prepared_by_accelerate(kind):
    from accelerate import Accelerator

    made = peft_model(kind)
    made, opt = Accelerator(cpu=True).prepare(made, adamw(made))
    return loop(made, optimizer=opt)


@healthy()
def bfloat16_base_and_adapter(kind):
    from peft import get_peft_model

    made = get_peft_model(model(kind).bfloat16(), lora(kind), autocast_adapter_dtype=False)
    return loop(made)


@healthy()
def checkpoints_transformers(kind):
    made = peft_model(kind)
    made.gradient_checkpointing_enable()
    return loop(made)


@healthy()
def checkpoints_reentrant_with_input_gradients(kind):
    made = peft_model(kind)
    made.enable_input_require_grads()
    made.gradient_checkpointing_enable({"use_reentrant": True})
    return loop(made)


@healthy()
def dropout_in_training_mode(kind):
    return loop(peft_model(kind, lora_dropout=0.1).train())


@healthy()
def two_adapters_one_trains(kind):
    made = peft_model(kind)
    made.add_adapter("other", lora(kind))
    made.set_adapter("other")
    return loop(made)


@healthy()
def four_bits_prepared(kind):
    from peft import get_peft_model, prepare_model_for_kbit_training

    made = prepare_model_for_kbit_training(four_bits())
    return loop(get_peft_model(made, lora("base")))


@healthy()
def four_bits_bare_in_float32(kind):
    from peft import get_peft_model

    return loop(get_peft_model(four_bits(), lora("base")))


def four_bits(**settings):
    from transformers import AutoModelForCausalLM, BitsAndBytesConfig

    from lora_course.kit.models import BASE

    given = {"load_in_4bit": True, "bnb_4bit_quant_type": "nf4"} | settings
    dtype = given.pop("dtype", torch.float32)
    return AutoModelForCausalLM.from_pretrained(
        BASE, dtype=dtype, quantization_config=BitsAndBytesConfig(**given)
    )


@healthy()
def a_plain_torch_model(kind):
    torch.manual_seed(0)

    class Tiny(nn.Module):
        def __init__(self):
            super().__init__()
            self.table, self.mid = nn.Embedding(1232, 32), HandLoRA(nn.Linear(32, 32))
            self.head = nn.Linear(32, 1232)
            for module in (self.table, self.mid.linear, self.head):
                module.requires_grad_(False)

        def forward(self, input_ids, attention_mask=None, labels=None):
            logits = self.head(self.mid(self.table(input_ids)).tanh())
            loss = nn.functional.cross_entropy(
                logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten()
            )
            return {"loss": loss, "logits": logits}

    return loop(Tiny())


@healthy()
def a_loader_for_a_batch(kind):
    loader = torch.utils.data.DataLoader(
        list(tokens()), batch_size=4, shuffle=True, collate_fn=Padding(load_tokenizer())
    )
    return loop(peft_model(kind), batch_=loader)


@healthy()
def classification(kind):
    import transformers
    from peft import LoraConfig, get_peft_model

    config = transformers.Qwen3Config(
        vocab_size=1232, hidden_size=64, intermediate_size=128, num_hidden_layers=2,
        num_attention_heads=4, num_key_value_heads=2, head_dim=16, num_labels=3, pad_token_id=0,
    )  # fmt: skip
    made = transformers.Qwen3ForSequenceClassification(config)
    made = get_peft_model(made, LoraConfig(task_type="SEQ_CLS", r=4))
    given = batch()
    given["labels"] = torch.arange(8) % 3
    return loop(made, batch_=given)


@healthy()
def encoder_and_decoder(kind):
    import transformers
    from peft import LoraConfig, get_peft_model

    config = transformers.T5Config(
        vocab_size=1232, d_model=32, d_kv=8, d_ff=64, num_layers=2, num_heads=4, pad_token_id=0,
        decoder_start_token_id=0, eos_token_id=2,
    )  # fmt: skip
    made = transformers.T5ForConditionalGeneration(config)
    made = get_peft_model(made, LoraConfig(task_type="SEQ_2_SEQ_LM", r=4))
    given = batch()
    given["labels"] = given["input_ids"][:, :9].clone()
    return loop(made, batch_=given)


def changed(change, tokenizer=None, kind="base"):
    given = change(batch(tokenizer))
    return loop(peft_model(kind), tokenizer, given)


class OwnLoRA(nn.Module):
    """A layer with alpha, rank, dropout and merge, each of which can be wrong."""

    def __init__(self, linear, r=4, alpha=12, scale=None, noisy=False, add_twice=False):
        super().__init__()
        self.base, self.r, self.alpha = linear, r, alpha
        self.A = nn.Parameter(torch.randn(r, linear.in_features) / linear.in_features**0.5)
        self.B = nn.Parameter(torch.zeros(linear.out_features, r))
        self.drop, self.noisy, self.merged = nn.Dropout(0.2), noisy, False
        self.times = alpha / r if scale is None else scale
        self.add_twice = add_twice

    def forward(self, x):
        if self.noisy:
            x = self.drop(x)
        out = self.base(x)
        if self.merged and not self.add_twice:
            return out
        return out + self.times * (self.drop(x) @ self.A.T @ self.B.T)

    @torch.no_grad()
    def merge(self):
        self.base.weight += self.times * self.B @ self.A
        self.merged = True


@healthy(("base", "qwen3"))
def own_layer(kind):
    return loop(by_hand(kind, layer=OwnLoRA))


@healthy()
def adalora(kind):
    from peft import AdaLoraConfig, get_peft_model

    config = AdaLoraConfig(target_modules=["q_proj"], total_step=100, task_type="CAUSAL_LM")
    return loop(get_peft_model(model(kind), config))


@healthy()
def loha(kind):
    from peft import LoHaConfig, get_peft_model

    return loop(get_peft_model(model(kind), LoHaConfig(r=4, target_modules=["q_proj"])))


@healthy()
def lokr_oft_and_layer_norms(kind):
    from peft import LNTuningConfig, get_peft_model

    return loop(get_peft_model(model(kind), LNTuningConfig(task_type="CAUSAL_LM")))


@healthy()
def lora_fa(kind):
    made = peft_model(kind)
    for name, p in made.named_parameters():
        if "lora_A" in name:
            p.requires_grad_(False)
    return loop(made)


@healthy()
def injected_without_a_wrapper(kind):
    from peft import inject_adapter_in_model

    made = inject_adapter_in_model(lora(kind), model(kind))
    for name, p in made.named_parameters():
        p.requires_grad_("lora_" in name)
    return loop(made)


@healthy()
def pad_token_added(kind):
    tok, made = load_tokenizer(), model(kind)
    tok.add_special_tokens({"pad_token": "[PAD]"})
    made.resize_token_embeddings(len(tok))
    from peft import get_peft_model

    return loop(get_peft_model(made, lora(kind)), tok)


@healthy()
def chatml_with_a_pad_of_its_own(kind):
    return loop(peft_model(kind), chatml())


def chatml():
    """The course's tokenizer with a template of another family: no begin token, a system turn."""
    tok = load_tokenizer()
    tok.chat_template = (
        "{% if messages[0]['role'] != 'system' %}<|system|>You help.<|end|>\n{% endif %}"
        "{% for m in messages %}<|{{ m['role'] }}|>{{ m['content'] }}"
        "{{ eos_token if m['role'] == 'assistant' else '<|end|>' }}\n{% endfor %}"
        "{% if add_generation_prompt %}<|assistant|>{% endif %}"
    )
    tok.bos_token = None
    return tok


@healthy()
def chatml_in_trl(kind):
    return sft(kind, tokenizer=chatml())


@healthy()
def every_turn_opens_with_the_begin_token_on_a_line_of_its_own(kind):
    """As SmolLM2 has it."""
    tok = load_tokenizer()
    tok.chat_template = (
        "{% for m in messages %}{{ bos_token }}{{ m['role'] }}\n{{ m['content'] }}{{ eos_token }}\n"
        "{% endfor %}{% if add_generation_prompt %}{{ bos_token }}assistant\n{% endif %}"
    )
    return sft(kind, tokenizer=tok)


@healthy()
def one_token_for_begin_end_and_padding(kind):
    """As GPT-2 has it."""
    tok = load_tokenizer()
    tok.bos_token = tok.pad_token = tok.eos_token
    return loop(peft_model("gpt2"), tok)


@healthy()
def left_padding(kind):
    b = batch()
    for n in range(len(b["input_ids"])):
        gap = int((b["attention_mask"][n] == 0).sum())
        for key in b:
            b[key][n] = b[key][n].roll(gap)
    return loop(peft_model(kind), None, b)


@healthy()
def gpt2_with_the_default_ids(kind):
    import transformers
    from peft import get_peft_model

    made = transformers.GPT2LMHeadModel(
        transformers.GPT2Config(vocab_size=1232, n_embd=32, n_layer=2, n_head=2)
    )
    return loop(get_peft_model(made, lora("gpt2")))


@healthy()
def mixture_of_experts(kind):
    import transformers
    from peft import get_peft_model

    made = transformers.MixtralForCausalLM(transformers.MixtralConfig(
        vocab_size=1232, hidden_size=32, intermediate_size=64, num_hidden_layers=2,
        num_attention_heads=2, num_key_value_heads=2, num_local_experts=4,
    ))  # fmt: skip
    return loop(get_peft_model(made, lora("base", target_modules=["q_proj", "v_proj"])))


@healthy()
def label_smoothing(kind):
    return hf(kind, label_smoothing_factor=0.1)


@healthy()
def optimizer_of_ones_own(kind):
    from transformers import Trainer

    class Own(Trainer):
        def create_optimizer(self, model=None):
            self.optimizer = adamw(self.model, 2e-3)
            return self.optimizer

    return hf(kind, cls=Own)


@healthy()
def adapter_by_transformers_itself(kind):
    made = model(kind)
    made.add_adapter(lora(kind))
    return loop(made)


@healthy()
def peft_model_given_to_trl(kind):
    return sft(kind, model_=peft_model(kind), peft_config=None)


@healthy()
def peft_inside_a_module_of_ones_own(kind):
    class Outer(nn.Module):
        def __init__(self, inner):
            super().__init__()
            self.inner = inner

        def forward(self, **batch):
            return self.inner(**batch)

    return loop(Outer(peft_model(kind, modules_to_save=["embed_tokens"])))


@healthy()
def after_a_whole_training(kind):
    (trainer,), more = sft(kind, lr_scheduler_type="linear")
    trainer.train()
    return (trainer,), more


@healthy()
def paused_after_two_steps(kind):
    from transformers import TrainerCallback

    class Pause(TrainerCallback):
        def on_step_end(self, args, state, control, **parts):
            control.should_training_stop = state.global_step >= 2

    (trainer,), more = hf(kind, warmup_steps=3)
    trainer.add_callback(Pause())
    trainer.train()
    return (trainer,), more


@healthy()
def preferences(kind):
    from trl import DPOConfig, DPOTrainer

    args = DPOConfig(
        output_dir=tempfile.mkdtemp(dir=FOLDER.name), **(HERE | {"learning_rate": 5e-6})
    )
    data = Dataset.from_list(
        [{"prompt": f"Who is {n}?", "chosen": "The old smith.", "rejected": "Nobody at all."}
         for n in range(20)]
    )  # fmt: skip
    trainer = DPOTrainer(
        model(kind), args=args, train_dataset=data, processing_class=load_tokenizer(),
        peft_config=lora(kind),
    )  # fmt: skip
    return (trainer,), {}


@healthy()
def template_with_thoughts(kind):
    """As Qwen3: the last answer gets an empty thought before it, the prompt does not open one."""
    tok = load_tokenizer()
    tok.chat_template = tok.chat_template.replace(
        "{{ message['content'] + eos_token }}",
        "<think>\n\n</think>\n\n{{ message['content'] + eos_token }}",
    )
    return sft(kind, tokenizer=tok)


@healthy()
def seq2seq_collator_and_types(kind):
    from transformers import DataCollatorForSeq2Seq

    return hf(kind, collator=DataCollatorForSeq2Seq(load_tokenizer(), padding=True))


@healthy()
def rows_as_a_list(kind):
    return hf(kind, data=list(tokens()))


@healthy()
def no_tokenizer(kind):
    args, more = peft_loop(kind)
    return (args[0], None, *args[2:]), more


@healthy()
def compiled(kind):
    return loop(torch.compile(peft_model(kind), backend="eager"))


@healthy()
def base_from_the_cache_of_the_hub(kind):
    made = peft_model(kind)
    made.base_model.model.name_or_path = "/x/hub/models--org--small/snapshots/0a1b2c3d"
    made.peft_config["default"].base_model_name_or_path = "org/small"
    return loop(made)


@healthy()
def question_and_answer_without_special_tokens(kind):
    tok = gpt2_like()
    made = []
    for row in rows(64):
        asked = tok(f"Question: {row['prompt']}\nAnswer:")["input_ids"]
        told = tok(f" {row['completion']}")["input_ids"] + [tok.eos_token_id]
        made.append({"input_ids": asked + told, "labels": [-100] * len(asked) + told})
    return hf("gpt2", data=Dataset.from_list(made), tokenizer=tok)


@functools.cache
def _gpt2_like():
    from tokenizers import ByteLevelBPETokenizer
    from transformers import PreTrainedTokenizerFast

    trained = ByteLevelBPETokenizer()
    texts = [f"Question: {r['prompt']}\nAnswer: {r['completion']}" for r in rows(200)]
    trained.train_from_iterator(texts, vocab_size=800, special_tokens=["<|endoftext|>"])
    return PreTrainedTokenizerFast(
        tokenizer_object=trained._tokenizer, bos_token="<|endoftext|>", eos_token="<|endoftext|>",
        unk_token="<|endoftext|>", pad_token="<|endoftext|>",
    )  # fmt: skip


def gpt2_like():
    return copy.deepcopy(_gpt2_like())


@healthy()
def course_dora(kind):
    from lora_course.methods.dora import use_dora

    return loop(use_dora(inject_lora(model(kind), r=4)))


@healthy()
def course_adalora(kind):
    from lora_course.methods.adalora import use_adalora

    return loop(use_adalora(inject_lora(model(kind), r=4)))


@healthy()
def course_pissa(kind):
    from lora_course.methods.pissa import use_pissa

    return loop(use_pissa(inject_lora(model(kind), r=4)))


@healthy()
def course_vera(kind):
    from lora_course.methods.vera import use_vera

    return loop(use_vera(inject_lora(model(kind), r=4)), lr=1e-2)


@healthy()
def course_ia3(kind):
    from lora_course.methods.ia3 import inject_ia3

    return loop(inject_ia3(model(kind)), lr=1e-2)


@healthy()
def course_bottlenecks(kind):
    from lora_course.methods.bottleneck import inject_bottlenecks

    return loop(inject_bottlenecks(model(kind)))


@healthy()
def course_hybrid(kind):
    from lora_course.methods.hybrid import hybrid_groups, inject_hybrid

    made = inject_hybrid(model(kind), [5, 6, 7])
    return loop(made, optimizer=torch.optim.AdamW(hybrid_groups(made, 1e-3)))


@healthy()
def course_prefix(kind):
    from lora_course.methods.prefix import PrefixTuning

    return loop(PrefixTuning(model(kind), [5, 6, 7, 8]), lr=1e-2)


@healthy()
def course_embedding(kind):
    return loop(inject_lora(model("qwen3"), ["embed_tokens", "q_proj"], r=4))


@healthy()
def masked_language_model(kind):
    import transformers
    from peft import LoraConfig, get_peft_model

    config = transformers.BertConfig(
        vocab_size=1232, hidden_size=32, num_hidden_layers=2, num_attention_heads=2,
        intermediate_size=64,
    )  # fmt: skip
    made = get_peft_model(
        transformers.BertForMaskedLM(config), LoraConfig(target_modules=["query"])
    )
    given = batch()
    hidden = torch.rand(given["input_ids"].shape) < 0.3
    given["labels"] = given["input_ids"].masked_fill(~hidden, -100)
    given["input_ids"] = given["input_ids"].masked_fill(hidden, 3)
    return loop(made, batch_=given)


@healthy()
def token_classification(kind):
    import transformers
    from peft import LoraConfig, get_peft_model

    config = transformers.BertConfig(
        vocab_size=1232, hidden_size=32, num_hidden_layers=2, num_attention_heads=2,
        intermediate_size=64, num_labels=4,
    )  # fmt: skip
    made = transformers.BertForTokenClassification(config)
    made = get_peft_model(made, LoraConfig(task_type="TOKEN_CLS", target_modules=["query"]))
    given = batch()
    given["labels"] = given["input_ids"] % 4
    return loop(made, batch_=given)


@healthy()
def pictures(kind):
    import transformers
    from peft import LoraConfig, get_peft_model

    config = transformers.ViTConfig(
        image_size=16, patch_size=4, hidden_size=32, num_hidden_layers=2, num_attention_heads=2,
        intermediate_size=64, num_labels=3,
    )  # fmt: skip
    made = transformers.ViTForImageClassification(config)
    settings = LoraConfig(
        target_modules=r".*attention.*q.*|.*projection", modules_to_save=["classifier"], r=4
    )
    made = get_peft_model(made, settings)
    given = {"pixel_values": torch.randn(6, 3, 16, 16), "labels": torch.arange(6) % 3}
    return (made, None, given, adamw(made)), {}


@healthy()
def rows_chosen_after_the_trainer_was_made(kind):
    args, more = sft(kind)
    args[0].train_dataset = args[0].train_dataset.select(range(40))
    return args, more


@healthy()
def tokenized_rows_chosen_for_trl(kind):
    return sft(kind, data=tokens().select(range(20)), max_length=None)


@healthy()
def an_architecture_with_adapters_of_its_own(kind):
    import transformers

    class Own(transformers.LlamaForCausalLM):
        def __init__(self, config):
            super().__init__(config)
            self.model.adapter = nn.Linear(4, 4)

    config = transformers.LlamaConfig(
        vocab_size=1232, hidden_size=32, intermediate_size=64, num_hidden_layers=2,
        num_attention_heads=2, num_key_value_heads=2,
    )  # fmt: skip
    return loop(Own(config), lr=1e-3)


@healthy()
def sums_and_differences_of_the_same_numbers(kind):
    def asked(sign):
        value = (lambda a, b: a + b) if sign == "+" else (lambda a, b: a - b)
        return [
            {"prompt": f"What is {a} {sign} {b} here?", "completion": str(value(a, b))}
            for a in range(1, 10)
            for b in range(1, 10)
        ]

    args, more = loop(peft_model(kind))
    return args, more | {"train_rows": asked("+"), "test_rows": asked("-")}
