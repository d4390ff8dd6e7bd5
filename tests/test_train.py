"""train.py against PEFT with a loop of its own, and runs that are killed and resumed."""

import ast
import os
import signal
from pathlib import Path

import pytest
import torch

from lora_course.inject import inject_lora, lora_layers
from lora_course.train import learning_rate, train
from tests.warm import run_script

ROOT = Path(__file__).resolve().parents[1]


def tiny(dropout=0.1, lora=True):
    """A two-layer Llama with LoRA in every linear layer; always the same weights."""
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=40, hidden_size=16, intermediate_size=32, num_hidden_layers=2,
            num_attention_heads=2, num_key_value_heads=1, max_position_embeddings=32,
        )
    ).eval()  # fmt: skip
    if lora:
        inject_lora(model, r=3, lora_alpha=5, lora_dropout=dropout, seed=1)
    return model


def tiny_batches(steps, seed=0, size=4):
    """Random tokens; the first half of each row is the prompt, the end of some rows is padding."""
    generator = torch.Generator().manual_seed(seed)
    for _ in range(steps):
        ids = torch.randint(3, 40, (size, 12), generator=generator)  # (B, T)
        mask = torch.ones_like(ids)
        mask[0, 9:] = 0
        labels = ids.clone()
        labels[:, :6] = -100
        labels[mask == 0] = -100
        yield {"input_ids": ids, "attention_mask": mask, "labels": labels}


def weights(model):
    return {name: p.detach().clone() for name, p in model.named_parameters()}


def equal(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


# The schedule
@pytest.mark.parametrize("warmup", [0, 1, 7])
def test_schedule_equals_that_of_transformers(warmup):
    """The same, except that theirs spends the first step of a warm-up on a rate of 0."""
    from transformers import get_cosine_schedule_with_warmup

    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.ones(1))], lr=0.3)
    theirs = get_cosine_schedule_with_warmup(optimizer, warmup, 50)
    rates = []
    for _ in range(50):
        rates.append(theirs.get_last_lr()[0])
        optimizer.step()
        theirs.step()
    rates = [*rates[1 : warmup + 1], *rates[warmup:]]
    ours = [learning_rate(step, 50, 0.3, warmup) for step in range(50)]
    assert ours == pytest.approx(rates, abs=1e-12)
    assert min(ours) > 0 and max(ours) == pytest.approx(0.3)


def test_schedule_with_nothing_but_warmup():
    assert [learning_rate(step, 4, 1.0, 8) for step in range(4)] == [1 / 8, 2 / 8, 3 / 8, 4 / 8]


# Against PEFT
def ours_and_peft(base, other, batches, steps, lr, **lora):
    """Losses and gradients of `steps` steps, ours and those of PEFT in a loop of its own."""
    from peft import LoraConfig, inject_adapter_in_model

    inject_lora(base, **lora, seed=4)
    seen = {name: [] for name, p in base.named_parameters() if p.requires_grad}
    for name, p in base.named_parameters():
        if p.requires_grad:
            p.register_hook(lambda g, name=name: seen[name].append(g.clone()))
    start = weights(base)
    losses = train(base, batches(), steps, lr, warmup=4)

    model = inject_adapter_in_model(LoraConfig(task_type="CAUSAL_LM", **lora), other)
    places = {
        name.replace(".default.weight", ""): p
        for name, p in model.named_parameters()
        if p.requires_grad
    }
    assert places.keys() == seen.keys()
    with torch.no_grad():
        for name, place in places.items():
            place.copy_(start[name])
    optimizer = torch.optim.AdamW(places.values(), lr=lr, weight_decay=0.0)
    rises = torch.optim.lr_scheduler.LinearLR(optimizer, 1 / 4, 1, total_iters=3)
    falls = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps - 4)
    theirs, grads = [], {name: [] for name in places}
    model.train()
    for step, batch in enumerate(batches()):
        loss = model(**batch).loss
        theirs.append(loss.item())
        loss.backward()
        for name, place in places.items():
            grads[name].append(place.grad.clone())
        torch.nn.utils.clip_grad_norm_(places.values(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        if step < 3:
            rises.step()
        elif step > 3:
            falls.step()
    ends = {name: p.detach() for name, p in places.items()}
    return (losses, seen, weights(base)), (theirs, grads, ends)


def same_run(ours, theirs, steps):
    assert len(ours[0]) == len(theirs[0]) == steps
    assert ours[0] == pytest.approx(theirs[0], abs=1e-5)
    assert ours[0][0] != pytest.approx(ours[0][-1], abs=1e-3)  # something was learned
    for name, grads in theirs[1].items():
        for step, grad in enumerate(grads):
            assert (ours[1][name][step] - grad).abs().max() <= 1e-5, f"{name} in step {step}"
        # Adam makes a step of the rounding in a gradient near 0: compare the whole, not entries
        end = theirs[2][name]
        assert (ours[2][name] - end).norm() <= 1e-4 * end.norm(), name


def test_ten_steps_equal_those_of_peft():
    lora = {"r": 3, "lora_alpha": 7, "target_modules": "all-linear"}
    bases = tiny(lora=False), tiny(lora=False)
    same_run(*ours_and_peft(*bases, lambda: tiny_batches(10), 10, 5e-3, **lora), 10)


@pytest.mark.slow
def test_ten_steps_on_the_base_equal_those_of_peft():
    from lora_course.kit.data import batches, load_task
    from lora_course.kit.models import load_base, load_tokenizer

    tokenizer, rows = load_tokenizer("base"), load_task("questions")["train"].select(range(80))
    lora = {"r": 4, "lora_alpha": 9, "target_modules": ["q_proj", "v_proj"]}
    bases = load_base("base"), load_base("base")
    same_run(
        *ours_and_peft(*bases, lambda: batches(rows, tokenizer, 8, 10, 0), 10, 3e-3, **lora), 10
    )


# What a run leaves behind
def test_only_lora_moves_and_the_rest_of_the_world_stays():
    model = tiny()
    before, state = weights(model), torch.get_rng_state()
    train(model.train(), tiny_batches(6), 6, 1e-2, warmup=2)
    after = weights(model)
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    assert moved == {name for name in before if ".lora_" in name}
    assert torch.equal(state, torch.get_rng_state()) and not model.training


def test_full_fine_tuning_with_the_same_loop():
    model = tiny(lora=False)
    before = weights(model)
    losses = train(model, [next(tiny_batches(1))] * 6, 6, 1e-2, warmup=2)
    after = weights(model)
    assert losses == sorted(losses, reverse=True)
    assert not [name for name in before if torch.equal(before[name], after[name])]


def test_seed_decides_what_is_dropped():
    runs = [train(tiny(), tiny_batches(4), 4, 1e-2, seed=seed) for seed in (0, 0, 1)]
    assert runs[0] == runs[1] != runs[2]


def test_groups_have_rates_of_their_own():
    model = tiny(dropout=0.0)
    factors = {key: [p for n, p in model.named_parameters() if n.endswith(key)]
               for key in ("lora_A", "lora_B")}  # fmt: skip
    groups = [{"params": factors["lora_A"]}, {"params": factors["lora_B"], "lr": 4e-2}]
    before = [p.detach().clone() for p in factors["lora_A"]]
    train(model, tiny_batches(1), 1, 1e-2, warmup=0, groups=groups)
    # In its first step Adam moves every number by the rate, whatever the size of the gradient.
    assert max(p.abs().max().item() for p in factors["lora_B"]) == pytest.approx(4e-2, rel=1e-3)
    assert all(torch.equal(p, q) for p, q in zip(before, factors["lora_A"], strict=True))


def test_progress_bar_shows_to_a_person_and_leaves_nothing_else(capsys):
    train(tiny(), tiny_batches(2), 2, 1e-2)
    said = capsys.readouterr()
    assert said.out == "" and said.err == ""


def test_the_loop_can_be_read_at_one_sitting():
    """At most 60 lines of code."""
    text = (ROOT / "lora_course/train.py").read_text(encoding="utf-8")
    kept = set(range(1, len(text.splitlines()) + 1))
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Module | ast.FunctionDef) and ast.get_docstring(node):
            kept -= set(range(node.body[0].lineno, node.body[0].end_lineno + 1))
    lines = text.splitlines()
    (loop,) = (node for node in ast.parse(text).body if getattr(node, "name", "") == "train")
    inside = [lines[n - 1].strip() for n in kept if loop.lineno <= n <= loop.end_lineno]
    assert len([line for line in inside if line and not line.startswith("#")]) <= 60


# What it refuses
def test_nothing_to_train():
    model = tiny(lora=False).requires_grad_(False)
    with pytest.raises(ValueError, match="Inject LoRA first"):
        train(model, tiny_batches(2), 2, 1e-3)


def test_too_few_batches():
    with pytest.raises(ValueError, match="after 3 of 5 steps"):
        train(tiny(), tiny_batches(3), 5, 1e-3)


def test_no_more_batches_are_drawn_than_steps():
    source = tiny_batches(5)
    train(tiny(), source, 3, 1e-3)
    assert len(list(source)) == 2


def test_a_loss_of_nan_stops_the_run_and_spoils_nothing():
    model = tiny()
    before = weights(model)
    batch = next(tiny_batches(1))
    batch["labels"][:] = -100
    with pytest.raises(FloatingPointError, match="labels"):
        train(model, iter([batch]), 1, 1e-3)
    assert equal(before, weights(model))


# Interruption and resumption
class Cut(Exception):
    pass


def cut(batches, step):
    for number, batch in enumerate(batches):
        if number == step:
            raise Cut
        yield batch


def whole(steps=7):
    model = tiny()
    losses = train(model, tiny_batches(steps), steps, 1e-2, warmup=3)
    return losses, weights(model)


@pytest.mark.slow
@pytest.mark.parametrize("every", [1, 3, 50])
@pytest.mark.parametrize("same_object", [True, False])
def test_a_run_broken_at_any_step_ends_like_an_unbroken_one(tmp_path, every, same_object):
    losses, end = whole()
    for step in range(8):
        options = {"warmup": 3, "checkpoint": tmp_path / f"{step}.pt", "every": every}
        model = tiny()
        if step < 7:
            with pytest.raises(Cut):
                train(model, cut(tiny_batches(7), step), 7, 1e-2, **options)
        else:
            train(model, tiny_batches(7), 7, 1e-2, **options)
        model = model if same_object else tiny()
        assert train(model, tiny_batches(7), 7, 1e-2, **options) == losses, step
        assert equal(weights(model), end), step


def test_a_run_broken_many_times(tmp_path):
    losses, end = whole()
    options = {"warmup": 3, "checkpoint": tmp_path / "run.pt", "every": 2}
    for step in (1, 2, 3, 5, 5, 6):
        with pytest.raises(Cut):
            train(tiny(), cut(tiny_batches(7), step), 7, 1e-2, **options)
    model = tiny()
    assert train(model, tiny_batches(7), 7, 1e-2, **options) == losses
    assert equal(weights(model), end) and os.listdir(tmp_path) == ["run.pt"]


@pytest.mark.parametrize("moment", ["forward", "backward", "save", "replace"])
def test_a_run_broken_inside_a_step(tmp_path, monkeypatch, moment):
    """The third time that it is called, something in the middle of a step fails."""
    losses, end = whole()
    options = {"warmup": 3, "checkpoint": tmp_path / "run.pt", "every": 2}
    place, name = {
        "forward": (torch.nn.Embedding, "forward"),
        "backward": (torch.nn.utils, "clip_grad_norm_"),
        "save": (torch, "save"),
        "replace": (os, "replace"),
    }[moment]
    honest, calls = getattr(place, name), []

    def failing(*args, **kwargs):
        calls.append(1)
        if len(calls) == 3:
            raise Cut
        return honest(*args, **kwargs)

    with monkeypatch.context() as patch, pytest.raises(Cut):
        patch.setattr(place, name, failing)
        train(tiny(), tiny_batches(7), 7, 1e-2, **options)
    model = tiny()
    assert train(model, tiny_batches(7), 7, 1e-2, **options) == losses
    assert equal(weights(model), end)


KILLED = """
import os, signal, sys, torch
from tests.test_train import tiny, tiny_batches, weights
from lora_course import train as module

path, moment, step, out = sys.argv[1:]
torch.set_num_threads(1)

def deadly(batches):
    for number, batch in enumerate(batches):
        if moment == "step" and number == int(step):
            os.kill(os.getpid(), signal.SIGKILL)
        yield batch

if moment == "write":
    honest, calls = torch.save, []
    def save(state, file):  # dies when half of the file is written
        calls.append(1)
        honest(state, file)
        if len(calls) == int(step):
            with open(file, "r+b") as half:
                half.truncate(os.path.getsize(file) // 2)
            os.kill(os.getpid(), signal.SIGKILL)
    torch.save = save
model = tiny()
losses = module.train(model, deadly(tiny_batches(7)), 7, 1e-2, warmup=3, checkpoint=path, every=2)
torch.save({"losses": losses, "weights": weights(model)}, out)
"""


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no SIGKILL here")
@pytest.mark.parametrize(("moment", "step"), [("step", 5), ("write", 3)])
def test_a_killed_process_is_resumed(tmp_path, moment, step):
    script = tmp_path / "script.py"
    script.write_text(KILLED, encoding="utf-8")

    def run(name, *how):
        out = tmp_path / f"{name}.end"
        options = tmp_path / f"{name}.pt", *how, out
        return run_script(script, ROOT, tmp_path / "printed", options)[0], out

    code, out = run("killed", moment, str(step))
    assert code == -signal.SIGKILL and not out.exists()
    assert run("killed", "never", "0")[0] == 0 == run("unbroken", "never", "0")[0]
    first, second = (torch.load(tmp_path / f"{name}.end") for name in ("killed", "unbroken"))
    assert first["losses"] == second["losses"] and equal(first["weights"], second["weights"])


def test_a_checkpoint_of_another_run_is_refused(tmp_path):
    options = {"warmup": 3, "checkpoint": tmp_path / "run.pt", "every": 2}
    train(tiny(), tiny_batches(4), 4, 1e-2, **options)
    model = tiny()
    before = weights(model)
    with pytest.raises(ValueError, match="of another run"):
        train(model, tiny_batches(4), 4, 2e-2, **options)
    with pytest.raises(ValueError, match="of another run"):
        train(tiny(lora=False), tiny_batches(4), 4, 1e-2, **options)
    assert equal(before, weights(model))
    with pytest.raises(ValueError, match="other batches"):
        train(tiny(), tiny_batches(4, seed=1), 4, 1e-2, **options)


@pytest.mark.parametrize("content", [b"", b"nonsense", b"PK\x03\x04 cut off"])
def test_a_damaged_checkpoint_is_refused(tmp_path, content):
    path, model = tmp_path / "run.pt", tiny()
    path.write_bytes(content)
    before = weights(model)
    with pytest.raises(ValueError, match="Delete it to start anew"):
        train(model, tiny_batches(2), 2, 1e-2, checkpoint=path)
    assert equal(before, weights(model)) and path.read_bytes() == content


def test_the_layers_that_train_are_those_of_the_model():
    assert len(lora_layers(tiny())) == 14
