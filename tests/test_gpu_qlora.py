"""The benchmark of chapter 11 without a GPU: a tiny shape on the CPU, and the arithmetic."""

import importlib.util
import json
from pathlib import Path

import pytest
import torch

from lora_course.bits import fourbit
from lora_course.costs import gpu_records, memory, peak
from lora_course.costs.shapes import SHAPES
from lora_course.kit import plots
from tests.warm import run_script

ROOT = Path(__file__).resolve().parents[1]
SCRIPT = ROOT / "benchmarks" / "gpu_qlora.py"
SPEC = importlib.util.spec_from_file_location("gpu_qlora", SCRIPT)
bench = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(bench)


@pytest.fixture(autouse=True)
def tiny(monkeypatch):
    monkeypatch.setitem(SHAPES, "tiny", bench.TINY)
    monkeypatch.setitem(SHAPES, "tiny-qwen2", ("qwen2", *bench.TINY[1:-1], True))  # biases, tied


@pytest.mark.parametrize("shape", ["tiny", "tiny-qwen2"])
@pytest.mark.parametrize("four_bit", [False, True])
def test_the_model_is_whole(shape, four_bit):
    model, wanted = bench.random_model(shape, four_bit, "cpu"), bench.skeleton(shape)
    assert not any(t.is_meta for t in [*model.parameters(), *model.buffers()])
    assert len(list(model.parameters())) == len(list(wanted.parameters()))  # tied ones once
    head, embedding = model.get_output_embeddings(), model.get_input_embeddings()
    assert (head.weight is embedding.weight) == (shape == "tiny-qwen2")
    packed = fourbit.four_bit_layers(model)
    assert packed.keys() == (memory.block_linears(wanted).keys() if four_bit else set())
    assert not any(m.support_avx512bf16_for_cpu for m in packed.values())
    rotary = next(m for m in model.modules() if hasattr(m, "inv_freq"))
    assert rotary.inv_freq[0] == 1 and torch.isfinite(rotary.inv_freq).all()
    with torch.no_grad():
        logits = model(torch.arange(20)[None]).logits
    assert torch.isfinite(logits).all() and logits.std() > 0.01


@pytest.mark.slow
@pytest.mark.parametrize("prepare", [False, True])
@pytest.mark.parametrize("method", bench.METHODS)
def test_what_lies_there_between_steps_is_predicted(method, prepare):
    made = bench.run("tiny", method, True, 1, 64, 8, 1, "cpu", prepare)
    predicted = made["predicted"]
    assert made["measured"] == {k: predicted[k] for k in ("weights", "gradients", "optimizer")}
    assert made["tokens_per_second"] > 0
    assert made["peak"] > 0.9 * sum(made["measured"].values())


@pytest.mark.slow
def test_checkpointing_lowers_the_peak_and_loses_no_gradient():
    peaks = [bench.run("tiny", "qlora", on, 1, 256, 8, 1, "cpu")["peak"] for on in (True, False)]
    assert peaks[0] < peaks[1]


@pytest.mark.slow
@pytest.mark.parametrize("checkpointing", [True, False])
@pytest.mark.parametrize("method", ["full", "lora"])
def test_prediction_at_full_size(method, checkpointing):
    """An 8B model on the meta device: every tensor of the step has its size, none has memory.

    QLoRA's step is LoRA's but for the frozen weights, which are counted to the byte above.
    """
    tokens = 1024
    made = {"shape": "Llama-3.1-8B", "method": method, "checkpointing": checkpointing, "batch": 1,
            "tokens": tokens, "rank": 16, "prepare": False}  # fmt: skip
    model = bench.for_training(bench.skeleton(made["shape"]), method, checkpointing, 16)
    ids = torch.zeros(1, tokens, dtype=torch.long, device="meta")
    mask = torch.zeros(1, 1, tokens, tokens, dtype=torch.bfloat16, device="meta")
    inputs = dict(input_ids=ids, attention_mask=mask, position_ids=ids, labels=ids)

    def step():
        model(**inputs, use_cache=False).loss.backward()

    predicted = bench.predict(made)
    model.set_attn_implementation("eager")
    counted = peak.peak_bytes(step, model) + predicted["optimizer"]
    if not checkpointing and method == "lora":  # eager attention keeps its scores, the fused not
        counted -= 32 * 32 * tokens**2 * (4 + 2)
    said = gpu_records.predicted_peak(made)
    print(f"counted {counted / 1e9:.2f} GB, predicted {said / 1e9:.2f} GB")
    assert abs(said / counted - 1) < 0.02
    if method == "lora" and checkpointing:
        assert gpu_records.predicted_peak(made | {"method": "qlora"}) < 0.8 * 16 * memory.GIB


def test_a_run_out_of_memory_is_recorded(monkeypatch):
    def full(*args):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20 GiB.\nmore")

    monkeypatch.setattr(bench, "random_model", full)
    made = bench.run("tiny", "full", False, 1, 64, 8, 1, "cpu")
    assert made["peak"] is None and made["error"].startswith("CUDA out of memory")
    assert "out of memory" in bench.line(made)


@pytest.mark.slow
def test_the_command_writes_a_record_that_the_chapter_reads(tmp_path):
    words = "--shape tiny --device cpu --tokens 64 --steps 1 --out".split()
    code, said = run_script(SCRIPT, ROOT, tmp_path / "printed", [*words, tmp_path])
    assert code == 0, said
    record = json.loads(next(tmp_path.glob("gpu_qlora_tiny_CPU*.json")).read_text())
    assert record["command"].startswith("python benchmarks/gpu_qlora.py --shape tiny")
    assert record["versions"].keys() >= {"torch", "transformers", "peft", "bitsandbytes"}
    runs = gpu_records.load_records(tmp_path)
    assert len(runs) == 6 and all(run["peak"] for run in runs)
    assert gpu_records.record_table(runs).count("\n") == 7
    fig, ax = plots.figure()
    gpu_records.draw_records(ax, runs)
    assert len(ax.patches) == 6 * 4


def test_without_a_gpu_the_command_says_so(monkeypatch, capsys):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(SystemExit):
        bench.main(["--shape", "Llama-3.1-8B"])
    assert "there is no GPU here" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU of 16 GB")
def test_an_8b_model_fits_16_gb():
    made = bench.run("Llama-3.1-8B", "qlora", True, 1, 1024, 16, 3, "cuda")
    assert made["peak"] < 16 * memory.GIB
    assert abs(gpu_records.predicted_peak(made) / made["peak"] - 1) < 0.05
