"""train_eye.py: a run that was stopped goes on to the same weights; the files load."""

import json

import pytest
import torch
from safetensors.torch import load_file

from lora_course.kit.vision import load_eye
from lora_course.make_eye import train_eye


def run(folder, steps, stop=None):
    argv = ["--steps", str(steps), "--batch", "4", "--every", "2"]
    argv += ["--work", str(folder / "work"), "--out", str(folder / "out")]
    if stop:
        real = train_eye.skill
        count = iter(range(100))

        def interrupted(*given):
            if next(count) == stop:
                raise KeyboardInterrupt
            return real(*given)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(train_eye, "skill", interrupted)
            with pytest.raises(KeyboardInterrupt):
                train_eye.main(argv)
    else:
        train_eye.main(argv)


def test_resume_gives_the_same_weights(tmp_path, monkeypatch):
    monkeypatch.setattr(train_eye.torch.cuda, "is_available", lambda: False)
    one, two = tmp_path / "one", tmp_path / "two"
    run(one, 6)
    run(two, 6, stop=1)
    assert not (two / "out").exists()
    run(two, 6)
    a, b = (load_file(folder / "out/model.safetensors") for folder in (one, two))
    assert all(torch.equal(a[name], b[name]) for name in a)
    model = load_eye(name=str(one / "out"))
    assert model.num_parameters() == sum(t.numel() for t in a.values())
    with pytest.raises(SystemExit, match="Give the same values"):
        run(two, 8)


def test_the_last_loss_is_the_mean_of_the_steps_that_were_left(tmp_path, monkeypatch):
    monkeypatch.setattr(train_eye.torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(train_eye, "skill", lambda *_: 0.0)
    monkeypatch.setattr(train_eye, "eye_loss", lambda eye, *_: 0 * eye.classifier.bias.sum() + 6)
    run(tmp_path, 3)
    log = json.loads((tmp_path / "out/training_log.json").read_text(encoding="utf-8"))
    assert [(row["step"], row["loss"]) for row in log] == [(2, 6.0), (3, 6.0)]


def test_quarters_lie_as_in_the_picture():
    states = torch.zeros(1, 65, 2)
    states[0, 1 + 8 * 1 + 6] = 16.0  # row 1, column 6: the upper right quarter
    states[0, 0] = 99.0  # the class token takes no part
    assert train_eye.quarters(states)[0, :, 0].tolist() == [0, 1, 0, 0]
