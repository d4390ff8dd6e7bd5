import json

import pytest
import torch

from lora_course.kit import models
from lora_course.kit.town import probes
from lora_course.make_base import curriculum, pretrain, untrained


@pytest.fixture
def small(monkeypatch):
    """A tokenizer that is made at once, and a probe that looks at one report only."""
    tokenizer = models.load_tokenizer("base")
    monkeypatch.setattr(pretrain, "make_tokenizer", lambda: tokenizer)
    monkeypatch.setattr(pretrain, "probe", lambda m, t, count, facts: probes.probe(m, t, 1, facts))


def arguments(folder, *more):
    base = ["--steps", "6", "--drills", "2", "--batch", "4", "--every", "2"]
    return [*base, "--work", str(folder / "work"), "--out", str(folder / "out"), *more]


@pytest.mark.slow
def test_a_run_that_was_stopped_ends_like_an_unbroken_one(tmp_path, small, monkeypatch):
    pretrain.main(arguments(tmp_path / "whole"))

    class Killed(BaseException):
        pass

    saves = iter(range(3))

    def save_once_then_die(state, file):
        if next(saves) == 1:
            raise Killed
        torch.serialization.save(state, file)

    with monkeypatch.context() as patch:
        patch.setattr(pretrain.torch, "save", save_once_then_die)
        with pytest.raises(Killed):
            pretrain.main(arguments(tmp_path / "broken"))
    assert not (tmp_path / "broken" / "out").exists()
    pretrain.main(arguments(tmp_path / "broken"))
    whole, broken = (
        models.load_base(str(tmp_path / name / "out")).state_dict() for name in ("whole", "broken")
    )
    assert all(torch.equal(whole[name], broken[name]) for name in whole)
    log = json.loads((tmp_path / "broken" / "out" / "training_log.json").read_text())
    assert [row["step"] for row in log] == [2, 4, 6]


def test_a_checkpoint_of_another_run_is_refused(tmp_path, small):
    pretrain.main(arguments(tmp_path))
    with pytest.raises(SystemExit, match="belongs to a run with .*another --work"):
        pretrain.main(arguments(tmp_path, "--lr", "0.1"))


def test_shipped_tokenizer_is_the_one_that_the_command_makes():
    made, shipped = untrained.make_tokenizer(), models.load_tokenizer("base")
    assert made.get_vocab() == shipped.get_vocab()
    assert made.chat_template == shipped.chat_template


def test_the_loss_is_the_models_own():
    """Computed on the graded tokens only, it is what transformers computes from all of them."""
    tokenizer = models.load_tokenizer("base")
    model = models.load_base("base").eval()
    for mix in ({"story": 1}, {"exam": 1}):
        ((ids, labels),) = curriculum.make_batches(tokenizer, seed=1, count=1, size=4, mix=mix)
        with torch.no_grad():
            ours, theirs = (
                pretrain.loss_of(model, ids, labels),
                model(input_ids=ids, labels=labels).loss,
            )
        torch.testing.assert_close(ours, theirs)
