"""LoRA on several processes: one script, alone or wide, the base whole on each rank or in shards.

    python -m lora_course.fast.wide --out run
    torchrun --standalone --nproc-per-node 2 -m lora_course.fast.wide --out run --shard

A rank is one of the processes, world is how many there are. Each works on its share of every batch,
the gradients are averaged, so all ranks make the same step. A run that was cut off goes on when it
is started again, on any number of ranks. Li et al. 2020, "PyTorch Distributed", arXiv 2006.15704.
"""

import argparse
import os
import sys
from pathlib import Path
from zlib import crc32

import torch
import torch.distributed as dist
from torch.distributed.tensor import DTensor

from lora_course.adapters import save_adapter
from lora_course.bits.fourbit import load_four_bit
from lora_course.fast.ranks import join, leaving, print_line, same_everywhere
from lora_course.fast.shards import gather_adapter, held_bytes, load_state, save_state, shard
from lora_course.inject import inject_lora
from lora_course.kit.data import batches, load_task
from lora_course.kit.models import load_base, load_tokenizer
from lora_course.train import learning_rate


# owned by chapter 17
def share_loss(model, batch, rank, world):
    """The loss of this rank's rows; the mean of it over ranks is the loss of the whole batch.

    batch: all rows, (B, T), the same on every rank, which takes every world-th of them. The sum of
    its tokens' losses is divided by its fair share of ALL tokens, not by its own number of them.
    Raises ValueError when there are fewer rows than ranks.
    """
    rows = len(batch["labels"])
    if rows < world:
        raise ValueError(f"{rows} rows cannot feed {world} ranks: give a batch of {world} or more.")
    tokens = (batch["labels"][:, 1:] != -100).sum()  # nothing predicts the first token
    mine = {key: value[rank::world] for key, value in batch.items()}
    return model(**mine, num_items_in_batch=tokens / world, use_cache=False).loss


# owned by chapter 17
def average_gradients(weights, world):
    """Give every rank the mean of all ranks' gradients, in one message."""
    flat = torch.cat([p.grad.flatten() for p in weights])
    dist.all_reduce(flat)  # now the sum, on every rank
    for p, mean in zip(weights, (flat / world).split([p.numel() for p in weights]), strict=True):
        p.grad.copy_(mean.view_as(p))


def train_wide(model, optimizer, data, steps, rank, world, checkpoint, every=10, look=None):
    """The loop of chapter 05 on several ranks; returns the losses of all rows, one a step.

    Without dropout the result is that of one process; with it, every rank drops inputs of its own.
    data: whole batches, the same on every rank. checkpoint: a file that all ranks can read, written
    every `every` steps. look: called with (step, weights) after each step, to look on.
    """
    (group,) = optimizer.param_groups
    weights, peak = group["params"], group["lr"]
    kinds = sorted({str(p.dtype) for p in model.parameters()})  # a 4-bit base is another run
    plan = [steps, peak, crc32(repr(kinds).encode()), *(list(p.shape) for p in weights)]
    losses, expected = load_state(checkpoint, plan, weights, optimizer)
    done, seen = len(losses), 0  # seen: a check sum of all batches so far
    same_everywhere(done, world)
    if done and rank == 0:
        print_line(f"going on after step {done} of {steps}")
    model.train()
    device = weights[0].device
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        for step, batch in zip(range(steps), data, strict=False):
            seen = crc32(batch["input_ids"].numpy().tobytes(), seen)
            if step < done:  # made before the interruption
                if step + 1 == done and seen != expected:
                    raise ValueError(f"{checkpoint} saw other batches. Delete it to start anew.")
                continue
            torch.manual_seed(step * world + rank)  # ranks must not drop the same inputs
            group["lr"] = learning_rate(step, steps, peak, warmup=10)
            batch = {key: value.to(device) for key, value in batch.items()}
            loss = share_loss(model, batch, rank, world)
            optimizer.zero_grad()
            loss.backward()  # shards are averaged in here
            mean = loss.detach() / world
            if world > 1:
                dist.all_reduce(mean)  # the loss of all rows: a NaN stops every rank at once
            if world > 1 and not isinstance(weights[0], DTensor):
                average_gradients(weights, world)
            if not torch.isfinite(mean):
                raise FloatingPointError(f"Step {step}: the loss is {mean.item()}. Lower --lr.")
            torch.nn.utils.clip_grad_norm_(weights, 1.0)
            optimizer.step()
            losses.append(mean.item())
            if look:
                look(step, weights)
            if (step + 1) % every == 0 or step + 1 == steps:
                save_state(checkpoint, plan, weights, optimizer, losses, seen, rank)
                if rank == 0:
                    print_line(f"step {step + 1}: loss {losses[-1]:.2f}, saved")
    model.eval()
    return losses


def main(look=None):
    ask = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    ask.add_argument("--out", type=Path, required=True, help="folder of adapter and checkpoint")
    for name, value in (("steps", 10), ("batch", 8), ("lora-r", 8), ("every", 10)):
        ask.add_argument(f"--{name}", type=int, default=value, help=f"{value} if left out")
    ask.add_argument("--lr", type=float, default=1e-3)
    ask.add_argument("--shard", action="store_true", help="each rank holds a part of every tensor")
    ask.add_argument("--four-bit", action="store_true", help="the base in NF4, as in chapter 11")
    ask.add_argument("--cpu", action="store_true", help="also where there is a GPU")
    given = ask.parse_args()
    rank, world, device = join(given.cpu)
    print_line(f"rank {rank} of {world} is process {os.getpid()}")
    with leaving(rank, world):
        run(given, rank, world, device, look)


def run(given, rank, world, device, look):
    base = load_four_bit(device=device) if given.four_bit else load_base().to(device)
    model = inject_lora(base, r=given.lora_r, seed=0)
    model = shard(model) if given.shard and world > 1 else model
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=given.lr)
    data = batches(load_task()["train"], load_tokenizer(), given.batch, given.steps, seed=0)
    losses = train_wide(
        model, optimizer, data, given.steps, rank, world, given.out / "state.pt", given.every, look
    )
    parts = ", ".join(f"{part} {size:,}" for part, size in held_bytes(model, optimizer).items())
    print_line(f"rank {rank} holds {parts} bytes")
    gather_adapter(model)
    if rank == 0:
        save_adapter(model, given.out / "adapter.safetensors")
        print_line(f"loss {losses[0]:.2f} -> {losses[-1]:.2f}")


if __name__ == "__main__":
    main()
    sys.stdout.flush()
    os._exit(0)  # a thread of the process group that still runs would abort Python's own end
