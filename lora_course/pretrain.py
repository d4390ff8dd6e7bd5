"""Makes the base model again: `python -m lora_course.pretrain` (within an hour on two cores).

A Llama of about 1.1 million parameters learns next-token prediction on documents of
`lora_course.stories`. A checkpoint is written every few hundred steps; the same command
continues after it was stopped.
"""

import argparse
import json
import math
import os
import random
import shutil
import time
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from tqdm import tqdm
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from lora_course import stories, town

SPECIAL = "<pad> <bos> <eos> <|user|> <|assistant|> <|end|> <|system|> <|spare|>".split()
CHAT_TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}"
    "{% if message['role'] == 'assistant' %}<|assistant|>"
    "{% generation %}{{ message['content'] + eos_token }}{% endgeneration %}"
    "{% else %}{{ '<|' + message['role'] + '|>' + message['content'] + '<|end|>' }}{% endif %}"
    "{% endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
HELD_OUT = 10**9  # seeds from here on are never trained on


def make_tokenizer(size=1400):
    """A byte-level BPE tokenizer in which every word of the town is one token.

    size: the most tokens, bytes and special tokens included; fewer when all words are whole.
    """
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        special_tokens=SPECIAL,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    bpe.train_from_iterator(stories.documents(0, 20_000), trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=bpe,
        bos_token="<bos>",
        eos_token="<eos>",
        pad_token="<pad>",
        chat_template=CHAT_TEMPLATE,
        model_max_length=256,
    )


def make_model(tokenizer):
    """The untrained model: 4 layers of width 128, grouped-query attention, tied embeddings."""
    torch.manual_seed(0)
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(tokenizer),
            hidden_size=128,
            intermediate_size=512,
            num_hidden_layers=4,
            num_attention_heads=4,
            num_key_value_heads=2,
            max_position_embeddings=256,
            tie_word_embeddings=True,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    )


def make_batches(tokenizer, seed, count, size):
    """`count` batches of `size` documents of like length: input_ids and labels, both (B, T)."""
    texts = stories.documents(seed, count * size)
    rows = [[tokenizer.bos_token_id, *ids, tokenizer.eos_token_id]
            for ids in tokenizer(texts, add_special_tokens=False)["input_ids"]]  # fmt: skip
    rows.sort(key=len)
    groups = [rows[i : i + size] for i in range(0, len(rows), size)]
    random.Random(seed).shuffle(groups)
    for group in groups:
        ids = torch.full((size, len(group[-1])), tokenizer.pad_token_id)
        for i, row in enumerate(group):
            ids[i, : len(row)] = torch.tensor(row)
        yield ids, ids.masked_fill(ids == tokenizer.pad_token_id, -100)


def probe(model, tokenizer, count=50):
    """Reading back: for each kind of question, how often the next token is the right answer.

    Prompts are held-out reports with a question and the full answer cut off before the word that
    was asked for. Returns {kind: share in [0, 1]}.
    """
    rng = random.Random(HELD_OUT)
    score = {}
    for kind, forms in town.QUESTIONS.items():
        hits = 0
        for _ in range(count):
            facts = town.draw_facts(rng, 3)
            words = rng.choice(facts).words()
            question, answer = (part.format(**words) for part in rng.choice(forms))
            target = words[town.ANSWER[kind]]
            start = answer[: answer.index(target)].strip()
            text = f"{town.tell(rng, facts)} {question} {start}".strip()
            ids = [tokenizer.bos_token_id, *tokenizer(text, add_special_tokens=False)["input_ids"]]
            with torch.no_grad():
                best = model(torch.tensor([ids])).logits[0, -1].argmax()
            hits += tokenizer.decode(best).strip() == target
        score[kind] = hits / count
    return score


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "base")
    parser.add_argument("--work", type=Path, default=Path(".pretrain"), help="checkpoints go here")
    parser.add_argument("--steps", type=int, default=5000)
    parser.add_argument("--batch", type=int, default=64, help="documents per step")
    parser.add_argument("--lr", type=float, default=2e-3)
    args = parser.parse_args()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    tokenizer = make_tokenizer()
    model = make_model(tokenizer).to(device)
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=args.lr, betas=(0.9, 0.98), weight_decay=0.05
    )
    warm = max(1, args.steps // 30)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer,
        lambda s: (
            min(1.0, (s + 1) / warm)
            * (0.05 + 0.95 * 0.5 * (1 + math.cos(math.pi * min(1.0, s / args.steps))))
        ),
    )
    args.work.mkdir(parents=True, exist_ok=True)
    checkpoint, log = args.work / "checkpoint.pt", []
    step, chunk = 0, 100
    if checkpoint.exists():
        saved = torch.load(checkpoint, weights_only=True, map_location=device)
        if saved["plan"] != [args.steps, args.batch, args.lr]:
            raise SystemExit(
                f"{checkpoint} belongs to a run with steps, batch, lr = {saved['plan']}; this run "
                f"has {[args.steps, args.batch, args.lr]}. Give the same values, or another --work."
            )
        model.load_state_dict(saved["model"])
        optimizer.load_state_dict(saved["optimizer"])
        schedule.load_state_dict(saved["schedule"])
        step, log = saved["step"], saved["log"]
    bar = tqdm(total=args.steps, initial=step, unit="step")
    while step < args.steps:
        began, total = time.perf_counter(), 0.0
        model.train()
        for ids, labels in make_batches(tokenizer, 1 + step // chunk, chunk, args.batch):
            loss = model(input_ids=ids.to(device), labels=labels.to(device)).loss
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            optimizer.zero_grad()
            total += loss.item()
            step += 1
            bar.update()
        model.eval()
        row = {"step": step, "loss": round(total / chunk, 4), **probe(model.cpu(), tokenizer)}
        row["seconds"] = round(time.perf_counter() - began, 1)
        model.to(device)
        log.append(row)
        bar.write(json.dumps(row))
        state = {
            "plan": [args.steps, args.batch, args.lr],
            "model": model.state_dict(),
            "optimizer": optimizer.state_dict(),
            "schedule": schedule.state_dict(),
            "step": step,
            "log": log,
        }
        torch.save(state, checkpoint.with_suffix(".new"))
        os.replace(checkpoint.with_suffix(".new"), checkpoint)
    bar.close()
    save(model, tokenizer, args.out, log)


def save(model, tokenizer, out, log):
    """Writes model, tokenizer and training log to `out`, each file whole or not at all."""
    fresh = out.with_name(out.name + ".new")
    shutil.rmtree(fresh, ignore_errors=True)
    model.save_pretrained(fresh)
    tokenizer.save_pretrained(fresh)
    (fresh / "training_log.json").write_text(json.dumps(log, indent=0) + "\n")
    out.mkdir(exist_ok=True)
    for file in sorted(fresh.iterdir()):
        os.replace(file, out / file.name)
    fresh.rmdir()


if __name__ == "__main__":
    main()
