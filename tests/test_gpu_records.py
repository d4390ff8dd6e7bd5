import json
from pathlib import Path

import pytest

from lora_course.costs import gpu_records
from lora_course.kit import plots


def run_of(method="qlora", peak=9e9, **more):
    parts = {"weights": 6e9, "gradients": 1e8, "optimizer": 2e8}
    made = {
        "shape": "Llama-3.1-8B", "method": method, "checkpointing": True, "batch": 1,
        "tokens": 1024, "rank": 16, "prepare": False, "measured": parts, "peak": peak,
        "tokens_per_second": 1000.0 if peak else None,
    }  # fmt: skip
    return {**made, **more}


RECORDED = gpu_records.load_records(Path(__file__).resolve().parents[1] / "chapters" / "results")


def test_the_recorded_runs_are_there():
    assert len(RECORDED) >= 7 and {run["method"] for run in RECORDED} == {"full", "lora", "qlora"}


@pytest.mark.parametrize("run", RECORDED, ids=gpu_records.name_of)
def test_a_recorded_run_is_predicted(run):
    """States to the byte, the peak within 2 percent."""
    parts = gpu_records.predict(run)
    assert run["measured"] == {part: parts[part] for part in run["measured"]}
    ratio = gpu_records.predicted_peak(run) / run["peak"]
    print(f"{gpu_records.name_of(run)}: {run['peak'] / 1e9:.2f} GB, {ratio:.3f}")
    assert 0.98 < ratio < 1.02


def write(folder, name, runs):
    """A record of a GPU that does not exist."""
    made = {"device": "Made-up 1000", "versions": {}, "command": "python ...", "runs": runs}
    (folder / name).write_text(json.dumps(made))


def test_no_folder_and_no_files(tmp_path):
    assert gpu_records.load_records(tmp_path / "nothing") == []
    assert gpu_records.load_records(tmp_path) == []
    assert "no record of a GPU" in gpu_records.NONE


def test_runs_of_all_files(tmp_path):
    write(tmp_path, "gpu_qlora_a.json", [run_of(peak=9e9), run_of("lora", peak=20e9)])
    write(tmp_path, "gpu_qlora_b.json", [run_of("full", peak=None)])
    runs = gpu_records.load_records(tmp_path)
    assert [run["method"] for run in runs] == ["full", "lora", "qlora"]
    assert {run["device"] for run in runs} == {"Made-up 1000"}


@pytest.mark.parametrize("text", ["{", "[]", '{"device": "x"}', '{"device": "x", "runs": [{}]}'])
def test_files_that_are_no_record(tmp_path, text):
    (tmp_path / "gpu_qlora_bad.json").write_text(text)
    with pytest.raises(ValueError, match="gpu_qlora_bad.json is no record"):
        gpu_records.load_records(tmp_path)


def test_table():
    table = gpu_records.record_table(
        [run_of(device="A"), run_of("full", peak=None, checkpointing=False, device="A")]
    )
    lines = table.splitlines()
    assert "| 9.0 | 8.1 | 0.89 | 1,000 |" in lines[2]
    assert "full, bf16 |" in lines[3] and "out of memory | 64.2 |" in lines[3]
    assert len({line.count("|") for line in lines}) == 1


def test_figure():
    fig, ax = plots.figure()
    runs = [run_of("full", peak=None), run_of("lora", 20e9), run_of("qlora", 9e9)]
    gpu_records.draw_records(ax, runs)
    assert len(ax.patches) == 2 * 4  # what ran out of memory has no bar
    ends = [bar.get_x() + bar.get_width() for bar in ax.patches][3::4]
    assert ends == pytest.approx([20, 9])  # stacked up to the peak
    dots = [line.get_xdata()[0] for line in ax.lines[:2]]
    assert dots == pytest.approx([gpu_records.predicted_peak(run) / 1e9 for run in runs[1:]])
    assert [t.get_text() for t in ax.get_yticklabels()][1] == "Llama-3.1-8B, QLoRA, checkpointing"
    assert plots.png(fig)[:4] == b"\x89PNG"
