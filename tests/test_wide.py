"""The training script on one and on two ranks: one result; killed and started again; in shards."""

import contextlib
import io
import sys

import psutil
import pytest
import torch

from lora_course.adapters import load_adapter, read_adapter
from lora_course.bits.fourbit import load_four_bit
from lora_course.fast.ranks import launch
from lora_course.fast.wide import average_gradients, main, share_loss
from lora_course.inject import inject_lora
from lora_course.kit.data import batches, load_task
from lora_course.kit.models import load_base, load_tokenizer
from tests import warm_programs
from tests.test_train import tiny, tiny_batches
from tests.wide_worker import THEN, look

WORKER = "tests.wide_worker"
RANKS = {
    "alone": (1,),
    "two": (2,),
    "shards": (2, "--shard"),
    "four bits": (2, "--shard", "--four-bit"),
}


OPTIONS = ("--cpu", "--batch", 5)


def start(out, *options, ranks, **environment):
    """(exit code, lines) of the worker; the variables are there for its ranks only."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", "1")
        warm_programs.use(patch)
        for name, value in environment.items():
            patch.setenv(name, str(value))
        return launch(WORKER, *OPTIONS, "--out", out, *options, ranks=ranks)


def here(out, *options):
    """The lines of the worker alone, in this process."""
    words, said = [WORKER, *map(str, (*OPTIONS, "--out", out, *options))], io.StringIO()
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(said):
        patch.setattr(sys, "argv", words)
        patch.setenv("WIDE_SEEN", "1")
        main(look)
    return said.getvalue().splitlines()


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """{name: folder} of ten steps each, with the gradients of the last one beside the adapter."""
    made = {name: tmp_path_factory.mktemp(name.replace(" ", "_")) for name in RANKS}
    wide, words = [name for name, (count, *_) in RANKS.items() if count == 2], []
    for name in wide[1:]:
        words += [THEN, *OPTIONS, "--out", made[name], *RANKS[name][1:]]
    code, lines = start(made[wide[0]], *RANKS[wide[0]][1:], *words, ranks=2, WIDE_SEEN=1)
    assert code == 0 and lines.count(THEN) == len(wide) - 1, "\n".join(lines)
    parts = "\n".join(lines).split(f"\n{THEN}\n")
    said = dict(zip(wide, parts, strict=True)) | {"alone": "\n".join(here(made["alone"]))}
    for name, text in said.items():
        (made[name] / "lines").write_text(text)
    return made


# In this process
def test_shares_add_up_to_the_batch():
    """Rows of different length, five rows on three ranks: mean of gradients = that of the batch."""
    model, (batch,) = tiny(dropout=0), tiny_batches(1, size=5)
    batch["labels"][1, :9] = -100  # this row asks for less than the others
    weights = [p for p in model.parameters() if p.requires_grad]
    torch.nn.init.normal_(weights[1])  # a B that is not zero
    right = torch.autograd.grad(model(**batch).loss, weights)
    shares = [torch.autograd.grad(share_loss(model, batch, r, 3), weights) for r in range(3)]
    for place, expected in enumerate(right):
        mean = sum(share[place] for share in shares) / 3
        torch.testing.assert_close(mean, expected, rtol=1e-5, atol=1e-7)


def test_fewer_rows_than_ranks_are_refused():
    (batch,) = tiny_batches(1, size=2)
    with pytest.raises(ValueError, match="2 rows cannot feed 3 ranks"):
        share_loss(tiny(), batch, 0, 3)


def test_gradients_go_in_one_message(monkeypatch):
    sent = []
    monkeypatch.setattr(
        "torch.distributed.all_reduce", lambda t: (sent.append(t.numel()), t.mul_(3))
    )
    weights = [torch.zeros(2, 3, requires_grad=True), torch.zeros(4, requires_grad=True)]
    for p in weights:
        p.grad = torch.arange(p.numel()).view(p.shape).float()
    average_gradients(weights, 2)
    assert sent == [10]
    for p in weights:
        assert torch.equal(p.grad, 1.5 * torch.arange(p.numel()).view(p.shape))


# On ranks
@pytest.mark.slow
@pytest.mark.parametrize("name", ["two", "shards"])
def test_two_ranks_are_one_process(runs, name):
    """Gradients and weights after 10 steps, to a millionth."""
    ours, alone = (read_adapter(runs[n] / "adapter.safetensors")[1] for n in (name, "alone"))
    assert ours.keys() == alone.keys()
    gap = max((ours[n] - alone[n]).abs().max().item() for n in ours)
    moved = max(alone[n].abs().max().item() for n in alone if n.endswith("lora_B"))
    seen = [torch.load(runs["alone"] / "seen.0")]
    seen += [torch.load(runs[name] / f"seen.{rank}") for rank in (0, 1)]
    top = max(g.abs().max().item() for g in seen[0])
    gaps = [max((a - b).abs().max().item() for a, b in zip(s, seen[0], strict=True)) for s in seen]
    print(f"{name}: weights {gap:.1e} (moved {moved:.1e}), gradients {gaps} of {top:.1e}")
    assert moved > 1e-3 and gap < 1e-6 and max(gaps) < 1e-6 * max(top, 1)


@pytest.mark.slow
def test_every_rank_says_what_it_holds(runs):
    """Predicted to the byte: all of it on each of two ranks, or the shard of one."""
    from lora_course.costs.planner import shard_numbers

    model = inject_lora(load_base(), r=8)
    for name, world in (("alone", 1), ("two", 1), ("shards", 2)):
        base, adapter = 0, 0
        for p in model.parameters():
            base += 4 * shard_numbers(p.shape, world) * (not p.requires_grad)
            adapter += 4 * shard_numbers(p.shape, world) * p.requires_grad
        expected = f"weights {base + adapter:,}, gradients {adapter:,}, optimizer {2 * adapter:,}"
        said = [n for n in (runs[name] / "lines").read_text().splitlines() if " holds " in n]
        assert len(said) == RANKS[name][0], said
        assert all(line.endswith(f"holds {expected} bytes") for line in said), said


@pytest.mark.slow
@pytest.mark.parametrize("name", ["shards", "four bits"])
def test_the_gathered_adapter_is_an_ordinary_file(runs, name):
    """A fresh base takes it, and has the loss that training ended near; so does PEFT."""
    from peft import PeftModel

    from lora_course.bridges.peft_adapters import to_peft

    base = (lambda: load_four_bit(device="cpu")) if name == "four bits" else load_base
    file = runs[name] / "adapter.safetensors"
    model = inject_lora(base(), r=8, seed=5)
    load_adapter(model, file)
    (batch,) = batches(load_task()["validation"], load_tokenizer(), 5, 1, seed=0)
    with torch.no_grad():
        ours, before = model(**batch).loss, base()(**batch).loss
        to_peft(model, runs[name] / "peft")
        theirs = PeftModel.from_pretrained(base(), runs[name] / "peft").eval()(**batch).loss
    assert ours < before - 0.5
    assert theirs.item() == pytest.approx(ours.item(), rel=1e-5)


@pytest.mark.slow
def test_a_killed_rank_ends_the_run_and_the_next_start_goes_on(runs, tmp_path):
    """Killed on two ranks in shards after step 6 of 10, saved after 4; ended by one process."""
    options = ("--every", 4)
    code, lines = start(tmp_path, *options, "--shard", ranks=2, WIDE_DIE="1:5")
    assert code != 0
    said = [line for line in lines if "rank 0 ends" in line]
    assert len(said) == 1 and "start the same command again" in said[0], lines
    assert not (tmp_path / "adapter.safetensors").exists()
    pids = [int(line.split()[-1]) for line in lines if " is process " in line]
    assert len(pids) == 2 and not any(psutil.pid_exists(pid) for pid in pids)
    lines = here(tmp_path, *options)
    assert "going on after step 4 of 10" in lines, lines
    ours, right = (
        read_adapter(folder / "adapter.safetensors")[1] for folder in (tmp_path, runs["alone"])
    )
    assert max((ours[n] - right[n]).abs().max().item() for n in ours) < 1e-6


@pytest.mark.slow
@pytest.mark.parametrize(
    "options, word",
    [
        (("--steps", "12"), "of another run"),
        (("--batch", "6"), "other batches"),
        (("--four-bit",), "of another run"),
    ],
)
def test_a_checkpoint_of_another_run_is_refused(runs, options, word):
    with pytest.raises(ValueError, match=f"{word}.*Delete it"):
        here(runs["two"], *options)


@pytest.mark.slow
def test_a_finished_run_changes_nothing_when_started_again(runs):
    _, was = read_adapter(runs["two"] / "adapter.safetensors")
    assert "going on after step 10 of 10" in here(runs["two"])
    _, now = read_adapter(runs["two"] / "adapter.safetensors")
    assert now.keys() == was.keys() and all(torch.equal(now[n], was[n]) for n in was)


@pytest.mark.slow
def test_four_bits_in_shards_are_four_bits_alone(runs, tmp_path):
    """uint8 storage, cut by fully_shard on two ranks: the same adapter, to a hundred thousandth."""
    here(tmp_path, "--four-bit")
    ours, alone = (
        read_adapter(folder / "adapter.safetensors")[1] for folder in (runs["four bits"], tmp_path)
    )
    assert max((ours[n] - alone[n]).abs().max().item() for n in ours) < 1e-5
