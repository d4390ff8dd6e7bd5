"""The doctor's questions: every outcome, by faking it."""

import types

import pytest

from lora_course.learner import doctor, machine, pins
from lora_course.learner.machine import GIB, Line


def answer(question):
    return doctor._ask("it", question, 60)


def test_old_python_stops(monkeypatch):
    monkeypatch.setattr(machine.sys, "version_info", (3, 10, 9, "final", 0))
    line = machine.python()
    assert line.state == "problem" and "3.10.9" in line.text and "3.11" in line.advice


def test_this_python_is_fine():
    assert machine.python().state == "ok"


def test_missing_package_stops(monkeypatch):
    real = pins.installed
    monkeypatch.setattr(pins, "installed", lambda n: None if n == "transformers" else real(n))
    line = machine.packages()
    assert line.state == "problem" and "transformers" in line.text
    assert "pip install -r requirements.txt" in line.advice


def test_other_versions_warn(monkeypatch):
    odd = [f"package{n} 1.0 (tested: ==2.0)" for n in range(8)]
    monkeypatch.setattr(pins, "differences", lambda: odd)
    line = machine.packages()
    assert line.state == "warning" and odd[4] in line.text and odd[5] not in line.text
    assert "3 more" in line.text


def test_pinned_packages_are_fine(monkeypatch):
    monkeypatch.setattr(pins, "differences", lambda: [])
    line = machine.packages()
    assert line.state == "ok" and "torch" in line.text


def test_cpu(monkeypatch):
    assert answer(machine.cpu).state in ("ok", "warning")
    monkeypatch.setattr(machine.os, "sched_getaffinity", lambda pid: {0}, raising=False)
    line = machine.cpu()
    assert line.state == "warning" and "1 core," in line.text
    monkeypatch.delattr(machine.os, "sched_getaffinity")  # macOS, Windows
    monkeypatch.setattr(machine.os, "cpu_count", lambda: 8)
    line = machine.cpu()
    assert line.state == "ok" and "8 cores" in line.text


@pytest.mark.parametrize(("free", "state"), [(1, "warning"), (6, "ok")])
def test_memory(monkeypatch, free, state):
    import psutil

    fake = types.SimpleNamespace(available=free * GIB, total=8 * GIB)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: fake)
    line = machine.memory()
    assert line.state == state and f"{free:.1f} of 8.0 GiB" in line.text


@pytest.mark.parametrize(("bf16", "state"), [(True, "ok"), (False, "warning")])
def test_gpu(monkeypatch, bf16, state):
    import torch

    card = types.SimpleNamespace(name="Card 9000", total_memory=24 * GIB)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda index: card)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: bf16)
    line = machine.gpu()
    assert line.state == state and "Card 9000, 24 GiB" in line.text and "bf16" in line.text


@pytest.mark.parametrize(
    ("smi", "mps", "state", "word"),
    [
        ("/usr/bin/nvidia-smi", False, "warning", "cannot use it"),
        (None, True, "ok", "Apple"),
        (None, False, "ok", "none is needed"),
    ],
)
def test_no_usable_gpu(monkeypatch, smi, mps, state, word):
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)
    monkeypatch.setattr(machine.shutil, "which", lambda name: smi)
    line = machine.gpu()
    assert line.state == state and word in line.text


def test_bitsandbytes_really_quantizes():
    line = machine.bitsandbytes()
    assert line == Line("ok", "bitsandbytes: NF4 there and back on the CPU, error 9%")


def test_bitsandbytes_broken(monkeypatch):
    import bitsandbytes.functional as functional

    real = functional.dequantize_4bit
    monkeypatch.setattr(functional, "dequantize_4bit", lambda *a: 2 * real(*a))
    assert "error of" in machine.bitsandbytes().text

    def fail(*args, **kwargs):
        raise RuntimeError("no\n\nkernel " + 200 * "x")

    monkeypatch.setattr(functional, "quantize_4bit", fail)
    line = machine.bitsandbytes()
    assert line.state == "warning" and "RuntimeError: no kernel" in line.text
    assert "\n" not in line.text and len(line.text) < 140


@pytest.mark.parametrize(("free", "state"), [(1, "warning"), (50, "ok")])
def test_disk(monkeypatch, free, state):
    fake = types.SimpleNamespace(free=free * GIB)
    monkeypatch.setattr(machine.shutil, "disk_usage", lambda path: fake)
    assert machine.disk().state == state


class TestHub:
    @pytest.fixture(autouse=True)
    def online(self, monkeypatch):
        for name in ("HF_HUB_OFFLINE", "LORA_COURSE_MODEL", "HF_ENDPOINT"):
            monkeypatch.delenv(name, raising=False)

    @staticmethod
    def fake(monkeypatch, failure=None):
        """The hub as a fake: answers, or fails in the given way."""
        import urllib.request

        asked = []

        def urlopen(request, timeout):
            asked.append((request.full_url, timeout))
            if failure:
                raise failure
            return types.SimpleNamespace(close=lambda: None)

        monkeypatch.setattr(urllib.request, "urlopen", urlopen)
        return asked

    def test_answers(self, monkeypatch):
        asked = self.fake(monkeypatch)
        assert machine.hub() == Line("ok", "hub: answers")
        assert asked == [("https://huggingface.co", 3)]

    def test_an_error_page_is_an_answer(self, monkeypatch):
        from urllib.error import HTTPError

        self.fake(monkeypatch, HTTPError("https://huggingface.co", 405, "no HEAD", None, None))
        assert machine.hub().text == "hub: answers"

    @pytest.mark.parametrize("failure", [OSError("unreachable"), TimeoutError(), ValueError("url")])
    def test_no_network_is_fine(self, monkeypatch, failure):
        self.fake(monkeypatch, failure)
        line = machine.hub()
        assert line.state == "ok" and "does not need it" in line.text

    def test_no_network_and_a_model_from_the_hub(self, monkeypatch):
        self.fake(monkeypatch, OSError())
        monkeypatch.setenv("LORA_COURSE_MODEL", "someone/some-model")
        line = machine.hub()
        assert line.state == "warning" and "someone/some-model" in line.advice

    def test_no_network_and_a_model_in_a_folder(self, monkeypatch, tmp_path):
        self.fake(monkeypatch, OSError())
        monkeypatch.setenv("LORA_COURSE_MODEL", str(tmp_path))
        assert machine.hub().state == "ok"

    def test_offline_by_choice(self, monkeypatch):
        monkeypatch.setenv("HF_HUB_OFFLINE", "1")
        asked = self.fake(monkeypatch)
        assert machine.hub().state == "ok" and not asked


def test_base_model_missing_stops(monkeypatch, tmp_path):
    from lora_course.kit import models

    (tmp_path / "config.json").write_text("{}")
    monkeypatch.setattr(models, "BASE", tmp_path)
    line = machine.base_model()
    assert line.state == "problem" and "model.safetensors, tokenizer.json missing" in line.text
    assert "git checkout" in line.advice


def test_base_model_damaged_stops(monkeypatch, tmp_path):
    from lora_course.kit import models

    for name in ("config.json", "model.safetensors", "tokenizer.json"):
        (tmp_path / name).write_text("damaged")
    monkeypatch.setattr(models, "BASE", tmp_path)
    line = machine.base_model()
    assert line.state == "problem" and "does not load" in line.text


def test_base_model_loads():
    line = machine.base_model()
    assert line.state == "ok" and "M parameters" in line.text
