"""Runs with one fault each. FAULTS: {name: (rules of which one must speak, maker)}.

A maker returns what preflight() is called with: (args, kwargs), as in flights.py.
"""

import copy
import functools
import tempfile

import torch
from datasets import Dataset
from torch import nn
from torch.nn.utils import parametrize

from lora_course.bridges.sft import as_chat
from lora_course.inject import inject_lora
from lora_course.kit.models import load_tokenizer

from .flights import (
    FOLDER,
    KINDS,
    HandLoRA,
    OwnLoRA,
    Padding,
    a_plain_torch_model,
    adamw,
    batch,
    by_hand,
    changed,
    chatml,
    four_bits,
    gpt2_like,
    hf,
    loop,
    lora,
    model,
    peft_model,
    pictures,
    rows,
    sft,
    tokens,
    trained,
)

FAULTS = {}


def fault(*rules, kinds=("base",)):
    def add(maker):
        for kind in kinds:
            name = maker.__name__ + ("" if kinds == ("base",) else f" {kind}")
            FAULTS[name] = (rules, functools.partial(maker, kind))
        return maker

    return add


@fault("nothing_trains", kinds=KINDS)
def frozen_after_injection(kind):
    made = peft_model(kind).requires_grad_(False)
    return loop(made, optimizer=torch.optim.AdamW(made.parameters(), lr=1e-3))


@fault("nothing_trains")
def loaded_without_is_trainable(kind):
    from peft import PeftModel

    folder = tempfile.mkdtemp(dir=FOLDER.name)
    peft_model(kind).save_pretrained(folder)
    made = PeftModel.from_pretrained(model(kind), folder)
    return (made, load_tokenizer(), batch()), {}


@fault("nothing_trains")
def frozen_in_a_trainer(kind):
    return hf(kind, model_=peft_model(kind).requires_grad_(False))


@fault("base_trains", kinds=KINDS)
def everything_trains(kind):
    return loop(peft_model(kind).requires_grad_(True))


@fault("base_trains", kinds=KINDS)
def not_frozen_by_hand(kind):
    return loop(by_hand(kind, freeze=False))


@fault("base_trains")
def everything_trains_in_trl(kind):
    args, more = sft(kind)
    args[0].model.requires_grad_(True)
    return args, more


@fault("base_trains")
def one_layer_of_the_base_trains(kind):
    made = inject_lora(model(kind), r=4)
    made.get_submodule("model.layers.1.mlp.up_proj.base_layer").requires_grad_(True)
    return loop(made)


@fault("base_trains")
def biases_left_trainable(kind):
    made = peft_model("gpt2")
    for name, p in made.named_parameters():
        if name.endswith("bias"):
            p.requires_grad_(True)
    return loop(made)


@fault("head_or_embeddings_train", kinds=KINDS)
def head_trains_unasked(kind):
    made = peft_model(kind)
    made.get_output_embeddings().requires_grad_(True)
    return loop(made)


@fault("head_or_embeddings_train")
def embeddings_train_unasked_by_hand(kind):
    made = by_hand("qwen3")
    made.get_input_embeddings().requires_grad_(True)
    return loop(made)


@fault("target_missed")
def misspelt_target(kind):
    return loop(peft_model(kind, target_modules=["q_proj", "v_porj"]))


@fault("target_missed")
def regex_in_a_list(kind):
    return loop(peft_model(kind, target_modules=["q_proj", ".*mlp[.]up.*"]))


@fault("target_missed")
def names_of_another_model(kind):
    return loop(peft_model("gpt2", target_modules=["c_attn", "up_proj", "down_proj"]))


@fault("head_adapted")
def rule_hits_the_tied_head(kind):
    return loop(peft_model(kind, target_modules=r".*(q_proj|lm_head)"))


@fault("head_adapted")
def rule_hits_a_head_of_its_own(kind):
    return loop(peft_model("qwen3", target_modules=r".*(proj|head)"))


@fault("wrapped_twice")
def adapter_in_an_adapter(kind):
    from peft import get_peft_model

    return loop(get_peft_model(peft_model(kind), lora(kind)))


@fault("adapter_merged", "layers_without_gradient")
def trained_while_merged(kind):
    made = peft_model(kind)
    made.merge_adapter()
    return loop(made)


@fault("new_head_frozen")
def classifier_frozen(kind):
    import transformers
    from peft import LoraConfig, get_peft_model

    config = transformers.GPT2Config(
        vocab_size=1232, n_embd=64, n_layer=2, n_head=4, num_labels=3, pad_token_id=0
    )
    made = transformers.GPT2ForSequenceClassification(config)
    made = get_peft_model(made, LoraConfig(r=4, target_modules=["c_attn"]))
    given = batch()
    given["labels"] = torch.arange(8) % 3
    return loop(made, batch_=given)


@fault("layers_without_gradient", kinds=KINDS)
def both_factors_zero(kind):
    made = peft_model(kind)
    for name, p in made.named_parameters():
        if "lora_A" in name:
            p.data.zero_()
    return loop(made)


@fault("layers_without_gradient")
def one_layer_out_of_the_graph(kind):
    made = peft_model(kind)
    layer = made.base_model.model.model.layers[1].self_attn.q_proj
    real = layer.forward
    layer.forward = lambda *a, **k: real(*a, **k).detach()
    return loop(made)


@fault("base_path_cut", kinds=KINDS)
def base_under_no_grad(kind):
    return loop(by_hand(kind, cut=True))


@fault("layers_without_gradient")
def disabled_adapter(kind):
    made = peft_model(kind)
    made.base_model.disable_adapter_layers()
    for name, p in made.named_parameters():
        p.requires_grad_("lora_" in name)
    return loop(made)


@fault("checkpoints_without_input_gradients")
def checkpoints_reentrant(kind):
    made = peft_model(kind)
    made.gradient_checkpointing_enable({"use_reentrant": True})
    made.disable_input_require_grads()
    made.model.disable_input_require_grads()
    return loop(made)


@fault("layers_without_gradient", "checkpoints_without_input_gradients")
def checkpoints_by_hand_with_another_module(kind):
    from torch.utils.checkpoint import checkpoint

    made = peft_model(kind, target_modules=["q_proj"])
    made.base_model.model.model.norm.requires_grad_(True)
    for layer in made.base_model.model.model.layers:
        real = layer.forward
        layer.forward = functools.partial(
            lambda real, x, **k: checkpoint(
                functools.partial(real, **k), x, use_reentrant=True
            ), real
        )  # fmt: skip
    return loop(made)


@fault("optimizer_misses", kinds=KINDS)
def optimizer_before_injection(kind):
    made = model(kind)
    opt = torch.optim.AdamW(made.parameters(), lr=1e-3)
    return loop(inject_lora(made, r=4), optimizer=opt)


@fault("optimizer_misses")
def optimizer_of_half_the_factors(kind):
    made = peft_model(kind)
    opt = torch.optim.AdamW([p for n, p in made.named_parameters() if "lora_B" in n], lr=1e-3)
    return loop(made, optimizer=opt)


@fault("optimizer_misses")
def optimizer_of_a_copy(kind):
    made = peft_model(kind)
    return loop(copy.deepcopy(made), optimizer=adamw(made))


@fault("optimizer_misses")
def optimizer_of_a_trainer_before_injection(kind):
    from peft import get_peft_model

    made = model(kind)
    opt = torch.optim.AdamW(made.parameters(), lr=1e-3)
    return hf(kind, model_=get_peft_model(made, lora(kind)), optimizers=(opt, None))


@fault("rate_out_of_range")
def rate_of_full_fine_tuning(kind):
    return loop(inject_lora(model(kind), r=4), lr=2e-6)


@fault("rate_out_of_range", kinds=KINDS)
def default_rate_of_trl(kind):
    return sft(kind, learning_rate=2e-5)


@fault("rate_out_of_range")
def rate_far_too_high(kind):
    return loop(peft_model(kind), lr=0.5)


@fault("rate_out_of_range")
def full_at_a_rate_of_prompts(kind):
    return hf(kind, model_=model(kind), learning_rate=0.1)


@fault("rate_out_of_range")
def rate_behind_a_warm_up(kind):
    made = peft_model(kind)
    opt = adamw(made, 3e-6)
    torch.optim.lr_scheduler.LambdaLR(opt, lambda step: step / 10)
    return loop(made, optimizer=opt)


@fault("adapter_in_16_bits")
def adapter_in_float16(kind):
    made = peft_model(kind)
    for name, p in made.named_parameters():
        if "lora_" in name:
            p.data = p.data.half()
    return (made, load_tokenizer(), batch(), adamw(made)), {}


@fault("adapter_in_16_bits")
def adapter_in_bfloat16_with_a_small_rate(kind):
    from peft import get_peft_model

    made = get_peft_model(model(kind).bfloat16(), lora(kind), autocast_adapter_dtype=False)
    return loop(made, lr=6e-5)


@fault("dropout_off")
def dropout_in_eval_mode(kind):
    return loop(peft_model(kind, lora_dropout=0.1).eval())


@fault("update_still_zero", kinds=KINDS)
def factors_zero_after_steps(kind):
    made, opt = trained(kind)
    for name, p in made.named_parameters():
        if "lora_B" in name:
            p.data.zero_()
    return loop(made, optimizer=opt)


@fault("scale_is_zero")
def alpha_zero(kind):
    return loop(peft_model(kind, lora_alpha=0))


@fault("started_damaged")
def both_factors_random(kind):
    return loop(peft_model(kind, init_lora_weights=False))


@fault("started_damaged", kinds=KINDS)
def both_factors_random_by_hand(kind):
    return loop(by_hand(kind, zero=False))


@fault("every_label_ignored", kinds=KINDS)
def all_labels_ignored(kind):
    return changed(lambda b: b | {"labels": torch.full_like(b["labels"], -100)}, kind=kind)


@fault("every_label_ignored")
def all_labels_ignored_in_a_trainer(kind):
    return hf(kind, data=tokens(change=lambda ids, labels: (ids, [-100] * len(ids))))


@fault("every_label_ignored")
def some_rows_without_an_answer(kind):
    def cut(b):
        b["labels"][:3] = -100
        return b

    return changed(cut)


@fault("prompt_graded", kinds=KINDS)
def prompt_graded_in_a_batch(kind):
    def all_of_it(b):
        return b | {"labels": b["input_ids"].masked_fill(b["attention_mask"] == 0, -100)}

    return changed(all_of_it, kind=kind)


@fault("prompt_graded")
def prompt_graded_in_trl(kind):
    return sft(kind, completion_only_loss=False)


@fault("prompt_graded")
def messages_graded_in_full(kind):
    data = rows().map(
        lambda row: {
            "messages": [
                {"role": "user", "content": row["prompt"]},
                {"role": "assistant", "content": row["completion"]},
            ]
        },
        remove_columns=["prompt", "completion"],
    )
    return sft(kind, data=data)


@fault("prompt_graded")
def alpaca_text_graded_in_full(kind):
    tok = load_tokenizer()
    tok.chat_template = None
    data = rows().map(
        lambda r: {"text": f"### Instruction:\n{r['prompt']}\n\n### Response:\n{r['completion']}"},
        remove_columns=["prompt", "completion"],
    )
    return sft(kind, data=data, tokenizer=tok)


@fault("answer_not_graded", "every_label_ignored")
def mask_upside_down(kind):
    def turned(ids, labels):
        return ids, [i if label == -100 else -100 for i, label in zip(ids, labels, strict=True)]

    return hf(kind, data=tokens(change=turned))


@fault("answer_not_graded")
def mask_too_long(kind):
    from lora_course.kit.data import encode

    made = [encode(load_tokenizer(), f"Who is {n}?", "The smith of the old mill has the key to it.")
            for n in range(40)]  # fmt: skip
    data = [{"input_ids": ids, "labels": [-100] * (len(ids) - 3) + labels[-3:]}
            for ids, labels in made]  # fmt: skip
    return hf(kind, data=Dataset.from_list(data))


@fault("end_never_graded", kinds=KINDS)
def end_masked(kind):
    def no_end(b):
        return b | {"labels": b["labels"].masked_fill(b["labels"] == 2, -100)}

    return changed(no_end, kind=kind)


@fault("end_never_graded")
def end_missing(kind):
    return hf(kind, data=tokens(change=lambda ids, labels: (ids[:-1], labels[:-1])))


@fault("pad_masked_by_number", "end_never_graded")
def pad_is_eos_masked_by_number(kind):
    from transformers import DataCollatorForLanguageModeling

    tok = load_tokenizer()
    tok.pad_token = tok.eos_token
    data = tokens(tokenizer=tok).remove_columns("labels")
    return hf(kind, data=data, collator=DataCollatorForLanguageModeling(tok, mlm=False))


@fault("pad_masked_by_number", "end_never_graded")
def pad_is_eos_masked_in_a_loop(kind):
    tok = load_tokenizer()
    tok.pad_token = tok.eos_token
    b = batch(tok)
    b["labels"] = b["labels"].masked_fill(b["input_ids"] == tok.pad_token_id, -100)
    return loop(peft_model(kind), tok, b)


@fault("padding_graded", kinds=KINDS)
def padding_in_the_loss(kind):
    return hf(kind, collator=Padding(load_tokenizer(), pad=0))


@fault("padding_graded")
def padding_in_the_loss_without_a_mask(kind):
    b = batch()
    b["labels"] = torch.where(b["attention_mask"] == 0, b["input_ids"], b["labels"])
    del b["attention_mask"]
    return loop(peft_model(kind), None, b)


@fault("padding_graded")
def padding_on_the_left_in_the_loss(kind):
    b = batch()
    for n in range(len(b["input_ids"])):
        gap = int((b["attention_mask"][n] == 0).sum())
        for key in b:
            b[key][n] = b[key][n].roll(gap)
        b["labels"][n, :gap] = b["input_ids"][n, :gap]
    return loop(peft_model(kind), None, b)


@fault("labels_shifted", kinds=KINDS)
def labels_shifted_by_hand(kind):
    def shifted(b):
        labels = torch.full_like(b["labels"], -100)
        labels[:, :-1] = b["labels"][:, 1:]
        return b | {"labels": labels}

    return changed(shifted, kind=kind)


@fault("labels_shifted")
def loss_without_a_shift(kind):
    from transformers import Trainer

    class Unshifted(Trainer):
        def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
            labels = inputs.pop("labels")
            out = model(**inputs)
            loss = nn.functional.cross_entropy(out.logits.flatten(0, 1), labels.flatten())
            return (loss, out) if return_outputs else loss

    return hf(kind, cls=Unshifted)


@fault("labels_shifted")
def labels_shifted_in_the_collator(kind):
    class Shifting(Padding):
        def __call__(self, rows):
            made = super().__call__(rows)
            made["labels"] = made["labels"].roll(-1, 1)
            made["labels"][:, -1] = -100
            return made

    return hf(kind, collator=Shifting(load_tokenizer()))


@fault("begin_token_doubled", kinds=KINDS)
def begin_token_twice(kind):
    data = tokens(change=lambda ids, labels: ([1, *ids], [-100, *labels]))
    return hf(kind, data=data)


@fault("begin_token_doubled")
def begin_token_before_the_answer(kind):
    def again(ids, labels):
        first = next(n for n, label in enumerate(labels) if label != -100)
        return [*ids[:first], 1, *ids[first:]], [*labels[:first], -100, *labels[first:]]

    return hf(kind, data=tokens(change=again))


@fault("no_generation_prompt")
def template_without_a_generation_prompt(kind):
    tok = load_tokenizer()
    tok.chat_template = tok.chat_template.partition("{% if add_generation_prompt %}")[0]
    return sft(kind, tokenizer=tok)


@fault("tokenizer_of_another_model", kinds=("gpt2", "qwen3"))
def ids_out_of_range(kind):
    tok = load_tokenizer()
    tok.add_tokens([f"<new{n}>" for n in range(20)])
    given = batch(tok)
    return (peft_model(kind), tok, given), {}


@fault("tokenizer_of_another_model")
def pad_token_out_of_range(kind):
    tok = load_tokenizer()
    tok.add_special_tokens({"pad_token": "[PAD]"})
    return sft(kind, tokenizer=tok)


@fault("new_tokens_untrained", kinds=KINDS)
def vocabulary_resized_only(kind):
    tok, made = load_tokenizer(), model(kind)
    tok.add_tokens(["<city>", "<river>"])
    made.resize_token_embeddings(len(tok))
    from peft import get_peft_model

    given = batch(tok)
    given["input_ids"][:, 3] = len(tok) - 1
    return loop(get_peft_model(made, lora(kind)), tok, given)


@fault("completion_cut")
def cut_by_max_length(kind):
    return sft(kind, max_length=40)


@fault("completion_cut")
def cut_by_the_tokenizer(kind):
    return hf(kind, data=tokens(change=lambda ids, labels: (ids[:42], labels[:42])))


@fault("packed_without_reset")
def packed_end_to_end(kind):
    made = list(tokens(60))
    data = []
    for n in range(0, 60, 3):
        three = made[n : n + 3]
        data.append({k: sum((row[k] for row in three), []) for k in ("input_ids", "labels")})
    return hf(kind, data=Dataset.from_list(data))


@fault("packed_without_reset")
def packed_wrapped_in_trl(kind):
    return sft(kind, packing=True, packing_strategy="wrapped", max_length=128)


@fault("train_rows_in_test")
def test_rows_from_training(kind):
    from datasets import concatenate_datasets

    held = concatenate_datasets([rows(50, "test"), rows(200).select(range(10))])
    return sft(kind, eval_=held.map(as_chat))


@fault("train_rows_in_test")
def test_rows_touched_up(kind):
    held = rows(200).select(range(60)).map(
        lambda r: {"prompt": r["prompt"].upper() + " ", "completion": r["completion"] + "!"}
    )  # fmt: skip
    return sft(kind, eval_=held.map(as_chat))


@fault("train_rows_in_test")
def test_rows_in_a_plain_loop(kind):
    args, _ = loop(peft_model(kind))
    held = [*rows(30, "test"), *list(rows(200))[:5]]
    return args, {"train_rows": rows(200), "test_rows": held}


@fault("train_rows_in_test")
def training_set_as_test_set(kind):
    data = tokens()
    return hf(kind, data=data, eval_dataset=data)


@fault("rows_repeat")
def rows_repeated(kind):
    from datasets import concatenate_datasets

    return sft(kind, data=concatenate_datasets([rows(60)] * 3).map(as_chat))


@fault("rows_repeat")
def five_distinct_rows(kind):
    return hf(kind, data=tokens(5).select([n % 5 for n in range(100)]))


@fault("four_bits_not_prepared")
def four_bits_in_float16_unprepared(kind):
    from peft import get_peft_model

    return loop(get_peft_model(four_bits(dtype=torch.float16), lora("base")))


@fault("four_bits_not_prepared")
def four_bits_in_bfloat16_unprepared(kind):
    from peft import get_peft_model

    return loop(get_peft_model(four_bits(dtype=torch.bfloat16), lora("base")))


@fault("head_in_4_bits")
def head_quantized(kind):
    import bitsandbytes as bnb
    from peft import get_peft_model, prepare_model_for_kbit_training

    made = four_bits()
    old = made.lm_head
    head = bnb.nn.Linear4bit(128, 1232, bias=False, quant_type="nf4", compute_dtype=torch.float32)
    head.load_state_dict({"weight": old.weight.detach().clone()})
    made.lm_head = head.to("cpu")
    return loop(get_peft_model(prepare_model_for_kbit_training(made), lora("base")))


@fault("float32_copies")
def float32_adapter_on_bfloat16(kind):
    from peft import get_peft_model

    return loop(get_peft_model(model(kind).bfloat16(), lora(kind, target_modules="all-linear")))


@fault("scale_not_alpha_over_r", kinds=("base", "qwen3"))
def own_layer_scaled_by_alpha(kind):
    return loop(by_hand(kind, layer=OwnLoRA, scale=12))


@fault("scale_not_alpha_over_r")
def own_layer_not_scaled(kind):
    return loop(by_hand(kind, layer=OwnLoRA, scale=1))


@fault("dropout_on_base_path", kinds=("base", "qwen3"))
def own_layer_drops_the_base(kind):
    return loop(by_hand(kind, layer=OwnLoRA, noisy=True))


@fault("merge_changes_output", kinds=("base", "qwen3"))
def own_layer_adds_twice(kind):
    return loop(by_hand(kind, layer=OwnLoRA, add_twice=True))


@fault("adapter_of_another_base")
def adapter_on_another_base(kind):
    from peft import PeftModel

    folder = tempfile.mkdtemp(dir=FOLDER.name)
    made = peft_model(kind)
    made.peft_config["default"].base_model_name_or_path = "someone/another-model"
    made.save_pretrained(folder)
    return loop(PeftModel.from_pretrained(model(kind), folder, is_trainable=True))


@fault("ranks_never_change")
def adalora_without_its_call(kind):
    from peft import AdaLoraConfig, get_peft_model

    config = AdaLoraConfig(target_modules=["q_proj"], total_step=100, task_type="CAUSAL_LM")
    return hf(kind, model_=get_peft_model(model(kind), config))


@fault("warm_up_never_ends")
def warm_up_longer_than_the_training(kind):
    return sft(kind, warmup_steps=100)


@fault("loss_not_finite")
def a_weight_is_not_a_number(kind):
    made = peft_model(kind)
    made.base_model.model.model.norm.weight.data[0] = float("nan")
    return loop(made)


@fault("optimizer_misses")
def optimizer_made_by_a_subclass(kind):
    from transformers import Trainer

    class Own(Trainer):
        def create_optimizer(self, model=None):
            wanted = [p for n, p in self.model.named_parameters() if "lora_A" in n]
            self.optimizer = torch.optim.AdamW(wanted, lr=1e-3)
            return self.optimizer

    return hf(kind, cls=Own)


@fault("rate_out_of_range")
def rate_set_by_a_subclass(kind):
    from transformers import Trainer

    class Own(Trainer):
        def create_optimizer(self, model=None):
            self.optimizer = adamw(self.model, 1e-6)
            return self.optimizer

    return hf(kind, cls=Own)


@fault("prompt_graded")
def prompt_graded_without_a_template(kind):
    tok = load_tokenizer()
    tok.chat_template = None
    return sft(kind, data=rows(), tokenizer=tok, completion_only_loss=False)


@fault("completion_cut")
def rows_that_vanish(kind):
    return sft(kind, max_length=34)


@fault("packed_without_reset")
def packed_without_a_begin_token(kind):
    made = list(tokens(60, tokenizer=chatml()))
    data = []
    for n in range(0, 60, 3):
        three = made[n : n + 3]
        data.append({k: sum((row[k] for row in three), []) for k in ("input_ids", "labels")})
    return hf(kind, data=Dataset.from_list(data), tokenizer=chatml())


@fault("begin_token_doubled")
def begin_token_twice_as_in_gpt2(kind):
    tok = load_tokenizer()
    tok.bos_token = tok.pad_token = tok.eos_token
    b = batch(tok)
    for key, first in (("input_ids", 2), ("attention_mask", 1), ("labels", -100)):
        b[key] = torch.cat([torch.full((8, 1), first), b[key]], 1)
    return loop(peft_model("gpt2"), tok, b)


@fault("end_never_graded")
def ends_with_a_token_that_ends_nothing(kind):
    def other(ids, labels):
        end = load_tokenizer().convert_tokens_to_ids("<|end|>")
        return ids[:-1] + [end], labels[:-1] + [end]

    return hf(kind, data=tokens(change=other))


@fault("layers_without_gradient")
def a_layer_cut_in_a_plain_torch_model(kind):
    args, more = a_plain_torch_model(kind)
    args[0].mid.up.weight.requires_grad_(False)
    args[0].mid.down.weight.requires_grad_(True)
    args[0].head.requires_grad_(True)
    return args, more


@fault("layers_without_gradient")
def the_other_adapter_is_active(kind):
    made = peft_model(kind)
    made.add_adapter("other", lora(kind))
    made.set_adapter("other")
    for name, p in made.named_parameters():
        p.requires_grad_(".default." in name)
    return loop(made)


@fault("adapter_in_16_bits")
def float16_with_a_gradient_scaler(kind):
    return loop(model(kind).half(), lr=1e-4)


@fault("wrapped_twice", kinds=("base", "gpt2"))
def injected_twice_by_hand(kind):
    made = by_hand(kind)
    for module in list(made.modules()):
        if isinstance(module, HandLoRA):
            module.linear = HandLoRA(module.linear)
    return loop(made)


@fault("padding_graded")
def one_pad_of_its_own_in_the_loss(kind):
    data = tokens(change=lambda ids, labels: (ids + [0], labels + [0]))
    return hf(kind, data=data)


@fault("end_never_graded")
def end_graded_in_one_row_of_four(kind):
    b = batch()
    b["labels"][:6] = b["labels"][:6].masked_fill(b["labels"][:6] == 2, -100)
    return loop(peft_model(kind), None, b)


@fault("rows_repeat")
def one_row_in_eight_repeated(kind):
    from datasets import concatenate_datasets

    return sft(kind, data=concatenate_datasets([rows(140), rows(20)]).map(as_chat))


@fault("prompt_graded")
def question_graded_without_special_tokens(kind):
    tok = gpt2_like()
    made = []
    for row in rows(64):
        ids = tok(f"Question: {row['prompt']}\nAnswer: {row['completion']}")["input_ids"]
        made.append({"input_ids": ids + [0], "labels": ids + [0]})
    return hf("gpt2", data=Dataset.from_list(made), tokenizer=tok)


@fault("end_never_graded")
def answer_without_an_end_in_gpt2(kind):
    tok = gpt2_like()
    made = []
    for row in rows(64):
        asked = tok(f"Question: {row['prompt']}\nAnswer:")["input_ids"]
        told = tok(f" {row['completion']}")["input_ids"]
        made.append({"input_ids": asked + told, "labels": [-100] * len(asked) + told})
    return hf("gpt2", data=Dataset.from_list(made), tokenizer=tok)


@fault("train_rows_in_test")
def leak_in_a_language_without_blanks(kind):
    asked = [f"渡船在第{n}天早上离开码头吗" for n in range(60)]
    data = [{"prompt": a, "completion": "是的它离开了"} for a in asked]
    args, _ = loop(peft_model(kind))
    other = [f"钥匙在第{n}号房间里面吗" for n in range(20)]
    held = data[:5] + [{"prompt": q, "completion": "不在"} for q in other]
    return args, {"train_rows": data, "test_rows": held}


@fault("train_rows_in_test")
def leak_of_short_rows(kind):
    data = [{"prompt": f"{n} + {n}", "completion": str(2 * n)} for n in range(60)]
    args, _ = loop(peft_model(kind))
    return args, {"train_rows": data, "test_rows": data[:30]}


@fault("layers_without_gradient")
def pictures_with_a_cut(kind):
    args, more = pictures(kind)
    layers = [m for n, m in args[0].named_modules() if hasattr(m, "lora_A") and len(m.lora_A)]
    real = layers[-1].forward
    layers[-1].forward = lambda *a, **k: real(*a, **k).detach()
    return args, more


@fault("loss_ignores_labels")
def loss_over_all_tokens(kind):
    from transformers import Trainer

    class All(Trainer):
        def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
            ids, mask = inputs["input_ids"], inputs["attention_mask"]
            labels = ids.masked_fill(mask == 0, -100)
            out = model(input_ids=ids, attention_mask=mask, labels=labels)
            return (out.loss, out) if return_outputs else out.loss

    return hf(kind, cls=All)


class Parametrized(nn.Module):
    """An update as a parametrization of torch, with both factors random."""

    def __init__(self, out, wide):
        super().__init__()
        self.lora_A = nn.Parameter(torch.randn(4, wide) / wide**0.5)
        self.lora_B = nn.Parameter(torch.randn(out, 4))

    def forward(self, weight):
        return weight + 2 * self.lora_B @ self.lora_A


@fault("started_damaged")
def parametrized_and_damaged(kind):
    made = model("qwen3").requires_grad_(False)
    for name, module in list(made.named_modules()):
        if name.endswith(("q_proj", "v_proj")):
            update = Parametrized(*module.weight.shape)
            parametrize.register_parametrization(module, "weight", update)
    return loop(made)
