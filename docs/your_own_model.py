"""Your model, your data: QLoRA, a merge, and a folder that plain transformers loads.

    python your_own_model.py --model HuggingFaceTB/SmolLM2-135M --data rows.jsonl --out my-model

Every step is one of the course, with the chapter that explains it. lora_course is not needed.
With a GPU the base is loaded in 4 bits; without one, in float32. What cannot work is refused before
the first step; `--merge-only` takes up a run whose adapter is there.
"""

import argparse
import copy
import csv
import functools
import gc
import os
import random
import shutil
from pathlib import Path

import psutil
import torch
from datasets import Dataset, load_dataset
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import (
    MODEL_FOR_CAUSAL_LM_MAPPING,
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    BitsAndBytesConfig,
    GenerationConfig,
)
from transformers.pytorch_utils import Conv1D
from trl import SFTConfig, SFTTrainer

GPU = torch.cuda.is_available()
BF16 = GPU and torch.cuda.is_bf16_supported(including_emulation=False)
HALF = torch.bfloat16 if BF16 else torch.float16  # the 16-bit type of this GPU
RANK, WORLD, PLACE = (  # several processes, by torchrun or accelerate launch. Chapter 17
    int(os.environ.get(name, alone))
    for name, alone in (("RANK", 0), ("WORLD_SIZE", 1), ("LOCAL_RANK", 0))
)
FEWEST = 10  # different prompts, so that there are some to train on and some to test
NEW = 64  # tokens of an answer, at most


def arguments():
    ask = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    ask.add_argument("--model", default=os.environ.get("LORA_COURSE_MODEL"), help="hub id, folder")
    ask.add_argument(
        "--data", default=os.environ.get("LORA_COURSE_DATA"), help="hub id, .jsonl, .csv, .parquet"
    )
    ask.add_argument("--out", type=Path, default=Path("my-model"))
    ask.add_argument("--epochs", type=float, default=1)
    ask.add_argument("--rate", type=float, default=2e-4, help="learning rate")
    ask.add_argument("--rank", type=int, default=16)
    ask.add_argument("--batch", type=int, default=16, help="rows of a step")
    ask.add_argument("--length", type=int, default=1024, help="tokens of a row, at most")
    ask.add_argument("--test", type=int, default=100, help="rows to answer before and after; or 0")
    ask.add_argument(
        "--lean", action="store_true", help="chapter 17's LoRA layer: needs lora_course"
    )
    ask.add_argument("--merge-only", action="store_true", help="merge the adapter in --out")
    given = ask.parse_args()
    if not given.model or not given.data:
        ask.error("give --model and --data (or set LORA_COURSE_MODEL and LORA_COURSE_DATA)")
    low = [n for n in ("epochs", "rate", "rank", "batch", "length") if getattr(given, n) <= 0]
    if low or given.test < 0:
        ask.error(f"--{(low or ['test'])[0]} is too small; see --help")
    if given.batch % WORLD:
        ask.error(f"--batch {given.batch} cannot be shared evenly by {WORLD} processes")
    if given.merge_only and not (given.out / "adapter/adapter_config.json").is_file():
        ask.error(f"--merge-only needs an adapter in {given.out / 'adapter'}; train one first")
    return given


# --- before anything is loaded: the model, the data, the room for them


def look_at(name):
    """The model without its weights, refused if it is none that this script can train."""
    if (Path(name) / "adapter_config.json").is_file():
        raise SystemExit(f"{name} holds an adapter. Give the base that it was trained on.")
    try:
        config = AutoConfig.from_pretrained(name)
    except Exception as error:
        raise SystemExit(f"{name} is no model that can be loaded: {error}") from error
    saved_as = (config.architectures or ["ForCausalLM"])[0]
    if stored := getattr(config, "quantization_config", None):
        raise SystemExit(
            f"{name} is stored quantized ({dict(stored).get('quant_method')}), and an adapter is "
            "merged into whole numbers. Give the model that it was made from."
        )
    causal = saved_as.endswith(("ForCausalLM", "LMHeadModel", "ForConditionalGeneration"))
    if type(config) not in MODEL_FOR_CAUSAL_LM_MAPPING or not causal:
        raise SystemExit(f"{name} is a {saved_as}. Give a causal language model, such as Qwen3.")
    with torch.device("meta"):
        return AutoModelForCausalLM.from_config(config)


def lora_config(model, rank):
    """LoRA on every linear layer that text goes through, chapter 04, once PEFT has tried it."""
    targets = "all-linear"
    if hasattr(model.config, "vision_config") or hasattr(model.config, "audio_config"):
        other = ("vision", "visual", "image", "audio", "speech", "multi_modal")
        head = model.get_output_embeddings()
        linear = {n: m for n, m in model.named_modules() if isinstance(m, torch.nn.Linear)}
        targets = [n for n in linear if linear[n] is not head and not any(o in n for o in other)]
    config = LoraConfig(r=rank, lora_alpha=2 * rank, target_modules=targets, task_type="CAUSAL_LM")
    total = sum(p.numel() for p in model.parameters())
    try:
        tried = get_peft_model(model, copy.deepcopy(config))
    except ValueError as error:
        raise SystemExit(f"PEFT has no LoRA for this model: {error}") from error
    layers = [m for m in tried.modules() if hasattr(m, "lora_A")]
    under = {p for m in layers for n, p in m.named_parameters() if "lora_" not in n}
    share = sum(p.numel() for p in under) / total
    trained = tried.get_nb_trainable_parameters()[0]
    print(f"{total:,} numbers; LoRA covers {share:.0%} of them and trains {trained:,} new ones")
    return config, total


def check_room(total, out):
    """Main memory for the model in float32, disk for the merged one: SystemExit where they lack."""
    out.mkdir(parents=True, exist_ok=True)
    needs = {
        "main memory": (4.4 * total, psutil.virtual_memory().available),
        f"disk space in {out}": ((2 if GPU else 4) * 1.1 * total, shutil.disk_usage(out).free),
    }
    if GPU:
        needs["GPU memory"] = (0.8 * total, torch.cuda.mem_get_info()[0])
    for what, (need, free) in needs.items():
        if need > free:
            raise SystemExit(
                f"The run needs {need / 1e9:.1f} GB of {what}, and {free / 1e9:.1f} GB are free. "
                "Free some, or take a smaller model."
            )


def load_tokenizer(name, vocabulary):
    tokenizer = AutoTokenizer.from_pretrained(name)
    if not (ends := end_ids(tokenizer)):
        raise SystemExit(f"The tokenizer of {name} has no end token: set its eos_token, save it.")
    tokenizer.eos_token = tokenizer.eos_token or tokenizer.convert_ids_to_tokens(ends[0])
    tokenizer.pad_token = tokenizer.pad_token or tokenizer.eos_token
    if max(*ends, tokenizer.pad_token_id) >= vocabulary:
        raise SystemExit(f"The tokenizer of {name} has tokens that its model ({vocabulary}) lacks.")
    return tokenizer


def load_talks(name, template):
    """(train, test): talks, each a list of messages that ends with the answer. Chapters 05, 09."""
    kind = {".json": "json", ".jsonl": "json", ".parquet": "parquet"}.get(Path(name).suffix)
    try:
        if name.endswith(".csv"):
            with open(name, encoding="utf-8-sig", newline="") as file:
                data = {"train": list(csv.DictReader(file, strict=True))}
        else:
            if kind == "json":
                Path(name).read_bytes().decode()  # or it says where it is not UTF-8
            data = load_dataset(kind, data_files=name) if kind else load_dataset(name)
            data = {split: list(rows) for split, rows in data.items()}
    except Exception as error:
        raise SystemExit(f"The data {name} could not be read: {str(error)[:300]}") from error
    if "train" not in data:
        raise SystemExit(f"{name} has no split called train, but {list(data)}.")
    talks = {
        split: [as_talk(row, f"{name}, {split} row {n}", template) for n, row in enumerate(rows)]
        for split, rows in data.items()
        if split in ("train", "test")
    }
    asked = sorted({str(talk[:-1]) for rows in talks.values() for talk in rows})
    if len(asked) < FEWEST:
        raise SystemExit(f"{name} has {len(asked)} different prompts; at least {FEWEST} are needed")
    held = {str(talk[:-1]) for talk in talks.get("test", ())}
    held = held or set(random.Random(0).sample(asked, max(1, len(asked) // 10)))
    everything = talks["train"] + talks.get("test", [])
    train = [talk for talk in talks["train"] if str(talk[:-1]) not in held]
    if not train:
        raise SystemExit(f"{name}: every prompt of train is in test as well.")
    test = talks.get("test") or [talk for talk in everything if str(talk[:-1]) in held]
    print(f"{len(train)} rows to train on, {len(test)} held back; no prompt is in both")
    return train, test


def as_talk(row, where, template):
    """The messages of a row: `messages`, or `prompt` and `completion` as text or messages."""
    if None in row:  # csv puts there what stands beyond the last column
        raise SystemExit(f"{where}: more cells than columns. Put quotes around texts with commas.")
    talk = row.get("messages")
    if talk is None:
        talk = []
        for column, role in (("prompt", "user"), ("completion", "assistant")):
            cell = row.get(column)
            talk += cell if isinstance(cell, list) else [{"role": role, "content": cell}]
    for message in talk if isinstance(talk, list) else [talk]:
        if not isinstance(message, dict) or not isinstance(message.get("content"), str):
            raise SystemExit(
                f"{where}: expected `prompt` and `completion` (text or messages), or `messages` "
                f"with text, and found {str(row)[:200]}."
            )
    if len(talk) < 2 or talk[-1]["role"] != "assistant":
        raise SystemExit(f"{where}: it does not end with an answer of the assistant.")
    if len(talk) > 2 and not template:
        raise SystemExit(f"{where}: {len(talk)} messages, and the tokenizer has no chat template.")
    return [{"role": m["role"], "content": m["content"]} for m in talk]


# --- how this model is asked, and where its answers begin and end


def prompt_text(tokenizer, talk):
    """The text up to the answer. Without a template: the tokenizer's own start, prompt, newline."""
    if tokenizer.chat_template:
        return tokenizer.apply_chat_template(talk[:-1], tokenize=False, add_generation_prompt=True)
    bare = tokenizer("word", add_special_tokens=False)["input_ids"]
    ids = tokenizer("word")["input_ids"]
    begin = next((i for i in range(len(ids)) if ids[i : i + len(bare)] == bare), 0)
    return tokenizer.decode(ids[:begin]) + talk[0]["content"] + "\n"


def around(tokenizer):
    """What the chat template writes before an answer (Qwen3: a block of thoughts) and after it."""
    if not tokenizer.chat_template:
        return "", ""
    talk = [{"role": "user", "content": "Hello"}, {"role": "assistant", "content": "lanternfish"}]
    before, found, tail = tokenizer.apply_chat_template(talk, tokenize=False).rpartition(
        "lanternfish"
    )
    if not found:
        raise SystemExit("The chat template leaves out what the assistant says.")
    asked = prompt_text(tokenizer, talk)
    return before[len(asked) :] if before.startswith(asked) else "", tail


def end_ids(tokenizer):
    """The tokens that end an answer: the template's own, and the end of text."""
    first = tokenizer(around(tokenizer)[1].strip(), add_special_tokens=False)["input_ids"][:1]
    marks = {*tokenizer.all_special_ids, *tokenizer.added_tokens_decoder}
    return [i for i in dict.fromkeys((*first, tokenizer.eos_token_id)) if i in marks]


def encode(tokenizer, talk):
    """input_ids, and labels with -100 on all but the answer and its end. Chapter 05."""
    asked, told = prompt_text(tokenizer, talk), talk[-1]["content"]
    if tokenizer.chat_template:
        whole = tokenizer.apply_chat_template(talk, tokenize=False)
        told = whole[len(asked) :] if whole.startswith(asked) else told
    if told == talk[-1]["content"] or not around(tokenizer)[1].strip():
        told += tokenizer.eos_token
    ids, whole = tokenizer([asked, asked + told], add_special_tokens=False)["input_ids"]
    answer = whole[len(ids) :]
    if whole[: len(ids)] != ids:
        answer = tokenizer(told, add_special_tokens=False)["input_ids"]
    return {"input_ids": ids + answer, "labels": [-100] * len(ids) + answer}


def that_fit(tokenizer, talks, length):
    """The encoded rows of at most `length` tokens; a row that were cut would lose its end."""
    rows = [encode(tokenizer, talk) for talk in talks]
    fit = [row for row in rows if len(row["input_ids"]) <= length]
    if len(fit) < len(rows):
        longest = max(len(row["input_ids"]) for row in rows)
        print(f"{len(rows) - len(fit)} rows are longer than --length {length} and are left out")
        if not fit:
            raise SystemExit(f"No row is left: raise --length; the longest has {longest} tokens.")
    return fit


def answer_of(tokenizer, ids):
    """The answer in what a model made: without what its template writes before and after."""
    lead, tail = (text.strip() for text in around(tokenizer))
    ends = end_ids(tokenizer)
    ids = ids[: next((n for n, i in enumerate(ids) if i in ends), len(ids))]
    begun = ["".join(tokenizer.decode(ids[:n]).split()) for n in range(len(ids) + 1)]
    whole, marks = "".join(lead.split()), lead.split()
    if lead and begun[-1].startswith(whole):
        ids = ids[next(n for n, text in enumerate(begun) if text.endswith(whole)) :]
    elif lead and marks[0][0] in "<[" and begun[-1].startswith(marks[0]):  # a block with thoughts
        ids = ids[next((n for n, text in enumerate(begun) if text.endswith(marks[-1])), 0) :]
    text = tokenizer.decode(ids, skip_special_tokens=True)
    return text.partition(tail)[0].strip() if tail else text.strip()


def plain_generation(tokenizer):
    """Greedy, whatever came with the checkpoint, up to the template's own end."""
    return GenerationConfig(
        do_sample=False, num_beams=1, eos_token_id=end_ids(tokenizer),
        pad_token_id=tokenizer.pad_token_id, bos_token_id=tokenizer.bos_token_id,
    )  # fmt: skip


@torch.no_grad()
def answers(model, tokenizer, talks):
    """Greedy answers, eight prompts at a time, padded on the left. Chapter 05."""
    model.eval()
    lead = len(tokenizer(around(tokenizer)[0], add_special_tokens=False)["input_ids"])
    model.generation_config, said = plain_generation(tokenizer), []
    for start in range(0, len(talks), 8):
        batch = tokenizer(
            [prompt_text(tokenizer, talk) for talk in talks[start : start + 8]],
            add_special_tokens=False, padding=True, padding_side="left", return_tensors="pt",
            return_token_type_ids=False,
        ).to(model.device)  # fmt: skip
        out = model.generate(**batch, max_new_tokens=NEW + lead)
        fresh = out[:, batch["input_ids"].shape[1] :].tolist()
        said += [answer_of(tokenizer, ids) for ids in fresh]
    return said


def exact_match(model, tokenizer, talks):
    """The share of rows whose answer is the completion, word for word, in words. Chapter 05."""
    if not talks:
        return "not measured (--test 0)"
    said = answers(model, tokenizer, talks)
    wanted = [talk[-1]["content"].strip() for talk in talks]
    right = sum(a == want for a, want in zip(said, wanted, strict=True))
    coded = tokenizer(wanted, add_special_tokens=False)["input_ids"]
    long = sum(len(ids) > NEW for ids in coded)
    note = f"; {long} cannot be right: an answer gets {NEW} tokens" if long else ""
    return f"{right / len(talks):.0%} of {len(talks)}{note}"


# --- the work


def load_model(name):
    """The model as it is trained and tested: 4 bits on a GPU, float32 without. Chapter 11.

    4 bits on a CPU need one more line, which chapter 11 explains; here they are not used there.
    """
    if not GPU:
        return AutoModelForCausalLM.from_pretrained(name, dtype=torch.float32)
    four_bit = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=HALF,
    )
    return AutoModelForCausalLM.from_pretrained(
        name, quantization_config=four_bit, dtype=HALF, device_map={"": PLACE}
    )


def write_out(four_bit, base):
    """Put the weights that the adapter was trained on, 4 bits written out, into `base`."""
    from bitsandbytes.functional import dequantize_4bit

    for place, layer in four_bit.named_modules():
        if state := getattr(getattr(layer, "weight", None), "quant_state", None):
            value = dequantize_4bit(layer.weight.data, state).float().cpu()
            home = base.get_submodule(place)
            home.weight.data.copy_(value.T if isinstance(home, Conv1D) else value)


def train(model, tokenizer, rows, config, given):
    """The trained adapter, saved in --out/adapter. Chapters 06, 08 and 09."""
    each = given.batch // WORLD  # rows of this process
    small = 1 if GPU else each  # rows at a time; the rest is accumulated. Chapter 01
    trainer = SFTTrainer(
        model=model,
        processing_class=tokenizer,
        train_dataset=Dataset.from_list(rows),  # the loss covers the answers only
        peft_config=config,
        args=SFTConfig(
            output_dir=given.out / "checkpoints",
            num_train_epochs=given.epochs,
            learning_rate=given.rate,
            lr_scheduler_type="cosine",
            warmup_steps=0.05,
            per_device_train_batch_size=small,
            gradient_accumulation_steps=each // small,
            max_length=given.length,
            optim="paged_adamw_8bit" if GPU else "adamw_torch",
            bf16=BF16,
            fp16=GPU and not BF16,
            use_cpu=not GPU,
            save_strategy="no",
            report_to="none",
        ),
    )
    if given.lean:
        make_lean(trainer.model)
    if GPU:
        torch.cuda.reset_peak_memory_stats()  # what answering took does not count
    trainer.train()
    if GPU:
        print(f"peak: {torch.cuda.max_memory_allocated() / 1e6:,.0f} MB")
    trainer.save_model(given.out / "adapter")  # the adapter alone


def make_lean(model):
    """PEFT's linear LoRA layers compute as chapter 17's; parameters, names and files stay."""
    from lora_course.fast.lean import LeanProduct

    def lean(layer, x, *args, **kwargs):
        base, (A, B) = layer.base_layer, (layer.lora_A["default"], layer.lora_B["default"])
        dtype = HALF if GPU else x.dtype  # the trainer's autocast
        state = getattr(base.weight, "quant_state", None)
        p = getattr(layer.lora_dropout["default"], "p", 0.0) * layer.training
        scale, flat = layer.scaling["default"], x.reshape(-1, x.shape[-1])
        packed = base.weight, state, base.bias
        out = LeanProduct.apply(flat, *packed, A.weight, B.weight, scale, p, dtype)
        return out.view(*x.shape[:-1], -1)

    for layer in model.modules():
        plain = isinstance(getattr(layer, "base_layer", None), torch.nn.Linear)
        if plain and "default" in getattr(layer, "lora_A", {}):
            layer.forward = functools.partial(lean, layer)


@torch.no_grad()
def logits_of(model, tokenizer, talk):
    ids = tokenizer(prompt_text(tokenizer, talk), add_special_tokens=False, return_tensors="pt")
    return model.eval()(input_ids=ids["input_ids"].to(model.device)).logits.float().cpu()


def merge(tokenizer, talk, given):
    """The adapter merged in main memory and in float32, rounded once; compared. Chapter 12."""
    base = AutoModelForCausalLM.from_pretrained(given.model, dtype=torch.float32)
    if GPU:
        write_out(load_model(given.model), base)
    model = PeftModel.from_pretrained(base, given.out / "adapter")
    want = logits_of(model, tokenizer, talk)
    merged = model.merge_and_unload().to(HALF if GPU else torch.float32)
    merged.generation_config = plain_generation(tokenizer)  # the folder says where answers end
    merged.save_pretrained(given.out / "merged")
    tokenizer.save_pretrained(given.out / "merged")  # template and special tokens go with it
    del base, model, merged
    gc.collect()
    made = AutoModelForCausalLM.from_pretrained(  # a plain model: neither PEFT nor an adapter
        given.out / "merged", dtype="auto", device_map={"": PLACE} if GPU else None
    )
    off = ((logits_of(made, tokenizer, talk) - want).norm() / want.norm()).item()
    print(f"merged: logits differ by {off:.2%} from base and adapter")
    if not off < 0.05:
        raise SystemExit("That is too much: keep the adapter, the merged folder is not the same.")
    return made


def main():
    given = arguments()
    bare = look_at(given.model)
    tokenizer = load_tokenizer(given.model, bare.get_input_embeddings().num_embeddings)
    talks, test = load_talks(given.data, tokenizer.chat_template)
    sample, test = test[0], test[: given.test]
    rows = that_fit(tokenizer, talks, given.length)
    config, total = lora_config(bare, given.rank)
    check_room(total, given.out)
    if not given.merge_only:
        model = load_model(given.model)
        if RANK == 0:
            print(f"exact match before: {exact_match(model, tokenizer, test)}")
        train(model, tokenizer, rows, config, given)
        del model
        gc.collect()
    if RANK:  # the first process merges
        return
    merged = merge(tokenizer, sample, given)
    print(f"exact match after:  {exact_match(merged, tokenizer, test)}, from the merged folder")
    print(f"{sample[-2]['content']}\n-> {answers(merged, tokenizer, [sample])[0]}")


if __name__ == "__main__":
    main()
