"""Your model, your data: QLoRA, a merge, and a folder that plain transformers loads.

    python your_own_model.py --model HuggingFaceTB/SmolLM2-135M --data rows.jsonl --out my-model

Every step is one of the course, with the chapter that explains it. lora_course is not needed.
With a GPU the base is loaded in 4 bits; without one, in float32.
"""

import argparse
import gc
import os
from pathlib import Path

import torch
from datasets import load_dataset
from peft import LoraConfig, PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer, BitsAndBytesConfig
from transformers.pytorch_utils import Conv1D
from trl import SFTConfig, SFTTrainer

GPU = torch.cuda.is_available()
BF16 = GPU and torch.cuda.is_bf16_supported(including_emulation=False)
HALF = torch.bfloat16 if BF16 else torch.float16  # the 16-bit type of this GPU


def arguments():
    ask = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    ask.add_argument("--model", default=os.environ.get("LORA_COURSE_MODEL"), help="hub id, folder")
    ask.add_argument("--data", default=os.environ.get("LORA_COURSE_DATA"), help="hub id, .jsonl")
    ask.add_argument("--out", type=Path, default=Path("my-model"))
    ask.add_argument("--epochs", type=float, default=1)
    ask.add_argument("--rate", type=float, default=2e-4, help="learning rate")
    ask.add_argument("--rank", type=int, default=16)
    ask.add_argument("--batch", type=int, default=16, help="rows of a step")
    ask.add_argument("--length", type=int, default=1024, help="tokens of a row, at most")
    ask.add_argument("--test", type=int, default=100, help="rows to answer before and after")
    given = ask.parse_args()
    if not given.model or not given.data:
        ask.error("give --model and --data (or set LORA_COURSE_MODEL and LORA_COURSE_DATA)")
    return given


def load_rows(name):
    """(train, test): rows of prompt and completion, as text. Chapter 05."""
    rows = load_dataset("json", data_files=name) if Path(name).is_file() else load_dataset(name)
    if "test" not in rows:
        rows = rows["train"].train_test_split(test_size=0.1, seed=0)
    return (rows[split].select_columns(["prompt", "completion"]) for split in ("train", "test"))


def as_chat(tokenizer, prompt, completion):
    """The row as TRL takes it: a talk where the tokenizer has a chat template. Chapter 09."""
    if not tokenizer.chat_template:
        return {"prompt": prompt + "\n", "completion": completion}
    return {
        "prompt": [{"role": "user", "content": prompt}],
        "completion": [{"role": "assistant", "content": completion}],
    }


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
        name, quantization_config=four_bit, dtype=HALF, device_map={"": 0}
    )


def write_out(four_bit, base):
    """Put the weights that the adapter was trained on, 4 bits written out, into `base`."""
    from bitsandbytes.functional import dequantize_4bit

    for place, layer in four_bit.named_modules():
        if state := getattr(getattr(layer, "weight", None), "quant_state", None):
            value = dequantize_4bit(layer.weight.data, state).float().cpu()
            home = base.get_submodule(place)
            home.weight.data.copy_(value.T if isinstance(home, Conv1D) else value)


@torch.no_grad()
def answers(model, tokenizer, prompts):
    """Greedy answers, eight prompts at a time, padded on the left. Chapter 05."""
    model.eval()
    said = []
    for start in range(0, len(prompts), 8):
        texts = [as_chat(tokenizer, p, "")["prompt"] for p in prompts[start : start + 8]]
        if tokenizer.chat_template:
            texts = [
                tokenizer.apply_chat_template(talk, tokenize=False, add_generation_prompt=True)
                for talk in texts
            ]
        batch = tokenizer(
            texts, add_special_tokens=not tokenizer.chat_template, padding=True,
            padding_side="left", return_tensors="pt", return_token_type_ids=False,
        ).to(model.device)  # fmt: skip
        out = model.generate(
            **batch, max_new_tokens=64, do_sample=False, pad_token_id=tokenizer.pad_token_id
        )
        fresh = out[:, batch["input_ids"].shape[1] :]
        said += [t.strip() for t in tokenizer.batch_decode(fresh, skip_special_tokens=True)]
    return said


def exact_match(model, tokenizer, rows):
    """The share of rows whose answer is the completion, word for word. Chapter 05."""
    said = answers(model, tokenizer, rows["prompt"])
    return sum(a == c.strip() for a, c in zip(said, rows["completion"], strict=True)) / len(rows)


def main():
    given = arguments()
    tokenizer = AutoTokenizer.from_pretrained(given.model)
    tokenizer.pad_token = tokenizer.pad_token or tokenizer.eos_token
    train, test = load_rows(given.data)
    test = test.select(range(min(given.test, len(test))))
    talks = train.map(
        lambda row: as_chat(tokenizer, row["prompt"], row["completion"]),
        remove_columns=train.column_names,
    )

    model = load_model(given.model)
    print(f"exact match before: {exact_match(model, tokenizer, test):.0%} of {len(test)}")

    small = 1 if GPU else given.batch  # rows at a time; the rest is accumulated. Chapter 01
    trainer = SFTTrainer(  # chapters 06 and 09; the loss covers the completion only
        model=model,
        processing_class=tokenizer,
        train_dataset=talks,
        peft_config=LoraConfig(
            r=given.rank,
            lora_alpha=2 * given.rank,
            target_modules="all-linear",
            task_type="CAUSAL_LM",
        ),
        args=SFTConfig(
            output_dir=given.out / "checkpoints",
            num_train_epochs=given.epochs,
            learning_rate=given.rate,
            lr_scheduler_type="cosine",
            warmup_steps=0.05,
            per_device_train_batch_size=small,
            gradient_accumulation_steps=given.batch // small,
            max_length=given.length,
            optim="paged_adamw_8bit" if GPU else "adamw_torch",
            bf16=BF16,
            fp16=GPU and not BF16,
            use_cpu=not GPU,
            save_strategy="no",
            report_to="none",
        ),
    )
    if GPU:
        torch.cuda.reset_peak_memory_stats()  # what answering took does not count
    trainer.train()
    if GPU:
        print(f"peak: {torch.cuda.max_memory_allocated() / 1e6:,.0f} MB")
    trainer.save_model(given.out / "adapter")  # the adapter alone. Chapter 08

    del model, trainer  # then merge, in main memory and in float32. Chapter 12
    gc.collect()
    base = AutoModelForCausalLM.from_pretrained(given.model, dtype=torch.float32)
    if GPU:
        write_out(load_model(given.model), base)
    merged = PeftModel.from_pretrained(base, given.out / "adapter").merge_and_unload()
    merged = merged.to(HALF if GPU else torch.float32)  # rounded once, at the end
    merged.save_pretrained(given.out / "merged")
    tokenizer.save_pretrained(given.out / "merged")  # template and special tokens go with it

    del base, merged
    gc.collect()
    model = AutoModelForCausalLM.from_pretrained(  # a plain model: neither PEFT nor an adapter
        given.out / "merged", dtype="auto", device_map={"": 0} if GPU else None
    )
    print(f"exact match after:  {exact_match(model, tokenizer, test):.0%}, from the merged folder")
    prompt = test[0]["prompt"]
    print(f"{prompt}\n-> {answers(model, tokenizer, [prompt])[0]}")


if __name__ == "__main__":
    main()
