"""shards.py on groups of one process, and on rank 0 of a group whose others do not exist."""

import pytest
import torch
import torch.distributed as dist

from lora_course.adapters import load_adapter, save_adapter
from lora_course.fast import shards
from tests.test_train import tiny, tiny_batches, weights


@pytest.fixture
def one():
    """A group of one rank: shards are whole, and everything else is as with many."""
    dist.init_process_group("gloo", rank=0, world_size=1, store=dist.HashStore())
    yield
    dist.destroy_process_group()


@pytest.fixture
def four():
    from torch.testing._internal.distributed.fake_pg import FakeStore

    dist.init_process_group("fake", rank=0, world_size=4, store=FakeStore())
    yield
    dist.destroy_process_group()


def step(model, optimizer):
    (batch,) = tiny_batches(1)
    optimizer.zero_grad()
    model(**batch, use_cache=False).loss.backward()
    optimizer.step()


def trained(model):
    return [p for p in model.parameters() if p.requires_grad]


def test_every_tensor_is_cut_once(four):
    """Blocks and the rest; LoRA layers keep their names and their scale."""
    plain, model = tiny(), shards.shard(tiny())
    whole = dict(plain.named_parameters())
    assert whole.keys() == dict(model.named_parameters()).keys()
    for name, p in model.named_parameters():
        assert p.shape == whole[name].shape
        assert len(shards.local(p)) == -(-len(p) // 4), name
        assert p.requires_grad == whole[name].requires_grad


def test_a_step_in_shards_is_a_step(one):
    plain, model = tiny(dropout=0), shards.shard(tiny(dropout=0))
    optimizers = [torch.optim.AdamW(trained(m), lr=1e-2) for m in (plain, model)]
    for _ in range(3):
        for each, optimizer in zip((plain, model), optimizers, strict=True):
            step(each, optimizer)
    for name, p in model.named_parameters():
        torch.testing.assert_close(shards.whole(p).detach(), plain.get_parameter(name).detach())
    assert shards.held_bytes(model, optimizers[1]) == shards.held_bytes(plain, optimizers[0])


def test_the_adapter_is_gathered(one, tmp_path):
    model = shards.shard(tiny())
    optimizer = torch.optim.AdamW(trained(model), lr=1e-2)
    step(model, optimizer)
    right = {
        n: shards.whole(p).detach().clone() for n, p in model.named_parameters() if p.requires_grad
    }
    shards.gather_adapter(model)
    save_adapter(model, tmp_path / "a.safetensors")
    fresh = tiny()
    load_adapter(fresh, tmp_path / "a.safetensors")
    assert right and all(torch.equal(fresh.get_parameter(n), t) for n, t in right.items())


# Checkpoints
@pytest.mark.parametrize("after", [True, False], ids=["into shards", "out of shards"])
def test_a_state_goes_from_shards_to_whole_and_back(one, tmp_path, after):
    first, second = tiny(dropout=0), tiny(dropout=0)
    (second if after else first) and shards.shard(second if after else first)
    optimizers = [torch.optim.AdamW(trained(m), lr=1e-2) for m in (first, second)]
    step(first, optimizers[0])
    path = tmp_path / "new" / "state.pt"
    shards.save_state(path, ["plan"], trained(first), optimizers[0], [1.5], 7, 0)
    found = shards.load_state(path, ["plan"], trained(second), optimizers[1])
    assert found == ([1.5], 7)
    for model, optimizer in zip((first, second), optimizers, strict=True):
        step(model, optimizer)
    for a, b in zip(trained(first), trained(second), strict=True):
        torch.testing.assert_close(shards.whole(a).detach(), shards.whole(b).detach())


def test_only_rank_0_writes(tmp_path):
    model = tiny()
    optimizer = torch.optim.AdamW(trained(model))
    step(model, optimizer)
    shards.save_state(tmp_path / "state.pt", [], trained(model), optimizer, [], 0, 1)
    assert not list(tmp_path.iterdir())


def test_other_files_are_refused_and_nothing_changes(tmp_path):
    model, path = tiny(), tmp_path / "state.pt"
    optimizer, was = torch.optim.AdamW(trained(model)), weights(model)
    assert shards.load_state(path, [1], trained(model), optimizer) == ([], 0)
    path.write_bytes(b"no checkpoint")
    with pytest.raises(ValueError, match="is no checkpoint of this script. Delete it"):
        shards.load_state(path, [1], trained(model), optimizer)
    other = tiny()
    step(other, theirs := torch.optim.AdamW(trained(other)))
    shards.save_state(path, [2], trained(other), theirs, [1.0], 0, 0)
    with pytest.raises(ValueError, match="is of another run.*Delete it"):
        shards.load_state(path, [1], trained(model), optimizer)
    assert all(torch.equal(p, was[n]) for n, p in model.named_parameters()) and not optimizer.state
