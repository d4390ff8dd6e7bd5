"""The patients of chapter 19: each has its fault, and looking at one changes nothing."""

import re
from pathlib import Path

import pytest
import torch

from lora_course.kit import clinic
from lora_course.kit.chart import evidence
from lora_course.preflight.bugs import BUGS

ROOT = Path(__file__).parents[1]


@pytest.mark.slow
def test_evidence_changes_nothing():
    patient = clinic.healthy()
    before = {name: value.clone() for name, value in patient.model.state_dict().items()}
    torch.manual_seed(3)
    first = torch.rand(1)
    torch.manual_seed(3)
    seen = evidence(patient)
    assert seen["losses"] == evidence(patient)["losses"], "seen twice, the same"
    after = patient.model.state_dict()
    assert all(torch.equal(after[name], value) for name, value in before.items())
    assert not patient.optimizer.state and torch.equal(torch.rand(1), first)


def test_every_patient_has_its_own_fault():
    runs = {made.__name__: made() for made in clinic.RUNS}
    held = {
        name: {id(p) for group in run.optimizer.param_groups for p in group["params"]}
        for name, run in runs.items()
    }
    trained = {
        name: {id(p) for p in run.model.parameters() if p.requires_grad}
        for name, run in runs.items()
    }
    lacking = [name for name in runs if not trained[name] <= held[name]]
    assert lacking == ["run_1"]
    rates = {name: run.optimizer.param_groups[0]["lr"] for name, run in runs.items()}
    assert [name for name, rate in rates.items() if rate < 1e-4] == ["run_2"]
    right = clinic.healthy().batches[0]
    other = [name for name, run in runs.items()
             if run.batches[0]["labels"].shape != right["labels"].shape
             or not torch.equal(run.batches[0]["labels"], right["labels"])]  # fmt: skip
    assert other == ["run_3", "run_4", "run_5", "run_6", "run_7"]
    assert len(trained["run_8"]) > len(trained["run_9"]) and runs["run_9"].test_rows


def test_no_loss_of_a_graded_batch_is_lost():
    """Patient 5's labels say the same tokens one place early; patient 4 lacks the end alone."""
    right, five, four = (made().batches[0]["labels"] for made in
                         (clinic.healthy, clinic.run_5, clinic.run_4))  # fmt: skip
    assert torch.equal(five[:, :-1], right[:, 1:])
    eos = clinic.load_tokenizer().eos_token_id
    assert torch.equal(four, right.masked_fill(right == eos, -100))


def test_twelve_patients_have_a_public_report():
    """The chapter names the bug of each by its number; the table of bugs sends readers back."""
    text = (ROOT / "chapters" / "source" / "19_the_clinic.py").read_text(encoding="utf-8")
    named = set(re.findall(r"\bD\d\d\b", text)) - {"D12"}  # a relative that no cell shows
    assert named == {name for name, _, _, chapters, _ in BUGS if 19 in chapters}
    assert len(named) == 12
