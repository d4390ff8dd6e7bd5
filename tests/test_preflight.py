"""preflight: each fault is found, no healthy run is accused, and nothing is left changed."""

import ast
import copy
import random
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from datasets import Dataset
from torch import nn

import lora_course
from lora_course import cli, preflight
from lora_course.kit.models import load_base, load_tokenizer, quiet
from lora_course.preflight import PreflightCallback, bugs
from lora_course.preflight.report import Undecided, ok, problem
from lora_course.preflight.rules import RULES, SAVED_RULES

from . import faults, flights
from .saved_flights import SAVED_FAULTS, SAVED_HEALTHY
from .warm import run_script

pytestmark = pytest.mark.filterwarnings("ignore")
quiet()


def said(report):
    return [finding.rule for finding in report.problems + report.warnings]


# The matrix
@pytest.mark.slow
@pytest.mark.parametrize("name", flights.HEALTHY)
def test_a_healthy_run_is_not_accused(name, capsys):
    args, more = flights.HEALTHY[name]()
    capsys.readouterr()
    report = preflight(*args, **more)
    out = capsys.readouterr().out
    assert not said(report), report
    assert len(out.splitlines()) == 1 and "nothing found" in out
    failed = [f for f in report.not_examined if "Error" in f.saw.split(":")[0]]
    assert not failed, "a rule broke"


@pytest.mark.slow
@pytest.mark.parametrize("name", faults.FAULTS)
def test_a_fault_is_found(name):
    rules, maker = faults.FAULTS[name]
    args, more = maker()
    report = preflight(*args, **more, show=False)
    assert set(rules) & set(said(report)), report.table()
    for finding in report.problems + report.warnings:
        assert finding.saw and finding.do and finding.chapter


@pytest.mark.parametrize("name", SAVED_HEALTHY)
def test_a_healthy_folder_is_not_accused(name, tmp_path):
    report = preflight(*SAVED_HEALTHY[name](tmp_path), show=False)
    assert not said(report), report
    assert not [f for f in report.not_examined if "Error" in f.saw.split(":")[0]]


@pytest.mark.parametrize("name", SAVED_FAULTS)
def test_a_fault_in_a_folder_is_found(name, tmp_path):
    rules, maker = SAVED_FAULTS[name]
    folder, *base = maker(tmp_path)
    report = preflight(folder, base=base[0] if base else None, show=False)
    assert set(rules) & set(said(report)), report.table()


def test_every_rule_has_a_fault_a_sentence_and_a_chapter():
    tested = {rule for rules, _ in faults.FAULTS.values() for rule in rules}
    tested |= {rule for rules, _ in SAVED_FAULTS.values() for rule in rules}
    elsewhere = {"weights_repacked", "computes_in_float32"}  # below: need another machine
    for rules in (RULES, SAVED_RULES):
        for rule, chapter in rules.items():
            assert rule.__name__ in tested | elsewhere, rule.__name__
            assert rule.__doc__ and 3 <= chapter <= 17
    there = {
        node.name
        for path in (Path(lora_course.__file__).parent / "preflight/rules").glob("*.py")
        for node in ast.parse(path.read_text(encoding="utf-8")).body
        if isinstance(node, ast.FunctionDef) and node.name[0] != "_"
    }
    assert there == {rule.__name__ for rule in [*RULES, *SAVED_RULES]}


# It examines and never changes
def everything(model, optimizer=None):
    """All that an examination could move, to compare."""
    state = {n: t.clone() for n, t in model.state_dict(keep_vars=False).items()}
    return {
        "weights": state,
        "buffers": {n: b.clone() for n, b in model.named_buffers()},
        "grads": {n: None if p.grad is None else p.grad.clone() for n, p in
                  model.named_parameters()},
        "trains": [p.requires_grad for p in model.parameters()],
        "modes": [m.training for m in model.modules()],
        "hooks": [[list(vars(m)[k]) for k in sorted(vars(m)) if k.endswith("_hooks")] for m in
                  model.modules()],
        "attributes": [sorted(vars(m)) for m in model.modules()],
        "ids": [id(p) for p in model.parameters()],
        "optimizer": copy.deepcopy(optimizer.state_dict()) if optimizer else None,
        "torch": torch.get_rng_state(),
        "numpy": np.random.get_state()[1].tolist() + list(np.random.get_state()[2:]),
        "python": random.getstate(),
        "filters": list(warnings.filters),
        "grad mode": torch.is_grad_enabled(),
    }  # fmt: skip


def same(a, b):
    if torch.is_tensor(a):
        return torch.is_tensor(b) and a.dtype == b.dtype and torch.equal(a, b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[k], b[k]) for k in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(same(x, y) for x, y in zip(a, b, strict=True))
    return a == b


def assert_unchanged(before, after):
    changed = [key for key in before if not same(before[key], after[key])]
    assert not changed


LOOPS = [
    "plain_inject base", "peft_loop gpt2", "continued_adapter qwen3", "between_backward_and_step",
    "after_some_steps base", "checkpoints_reentrant_with_input_gradients", "dora", "ia3",
    "four_bits_bare_in_float32", "four_bits_prepared", "dropout_in_training_mode",
    "prompt_tuning", "prepared_by_accelerate", "plain_by_hand base", "classification",
]  # fmt: skip


@pytest.mark.parametrize("name", LOOPS)
def test_a_loop_is_left_as_it_was(name):
    args, more = flights.HEALTHY[name]()
    model, _, batch, optimizer = args
    for n, module in enumerate(model.modules()):
        module.training = n % 3 == 0  # a mode that no train() or eval() restores
    given, before = {k: v.clone() for k, v in batch.items()}, everything(model, optimizer)
    preflight(*args, **more, show=False)
    assert_unchanged(before, everything(model, optimizer))
    assert same(given, batch)


@pytest.mark.parametrize("fault", ["four_bits_in_bfloat16_unprepared", "trained_while_merged"])
def test_a_faulty_run_is_left_as_it_was(fault):
    args, _ = faults.FAULTS[fault][1]()
    before = everything(args[0], args[3])
    preflight(*args, show=False)
    assert_unchanged(before, everything(args[0], args[3]))


def plain_notes(trainer):
    kinds = int | float | str | list | dict | type(None)
    notes = {key: value for key, value in vars(trainer).items() if isinstance(value, kinds)}
    return copy.deepcopy({k: v for k, v in notes.items() if k != "label_names"})


@pytest.mark.parametrize("name", ["trl_chat base", "trainer_tokenized gpt2", "streaming"])
def test_a_trainer_is_left_as_it_was(name):
    (trainer,), _ = flights.HEALTHY[name]()
    notes, before = plain_notes(trainer), everything(trainer.model)
    state = copy.deepcopy(vars(trainer.state))
    preflight(trainer, show=False)
    assert_unchanged(before, everything(trainer.model))
    assert vars(trainer.state) == state
    assert {k: v for k, v in plain_notes(trainer).items() if k in notes} == notes
    assert plain_notes(trainer).keys() == notes.keys()


@pytest.mark.slow
@pytest.mark.parametrize("make", [flights.sft, flights.hf])
def test_training_after_an_examination_is_the_same_training(make):
    """The losses, with dropout and shuffled rows, to the last bit."""
    losses = []
    for look in (False, True):
        torch.manual_seed(7)
        model = flights.peft_model(lora_dropout=0.2)
        more = {"model_": model} | ({"peft_config": None} if make is flights.sft else {})
        (trainer,), _ = make(**more)
        if look:
            preflight(trainer, show=False)
        trainer.train()
        logs = trainer.state.log_history
        losses.append([(e["loss"], e["grad_norm"]) for e in logs if "loss" in e])
        losses[-1].append([e.get("num_tokens") for e in logs])
    assert losses[0] == losses[1] and len(losses[0]) > 3


def test_an_examination_in_the_middle_of_a_loader():
    """Neither a loader nor a stream moves."""
    generator = torch.Generator().manual_seed(3)
    loader = torch.utils.data.DataLoader(
        list(flights.tokens()), batch_size=4, shuffle=True, generator=generator,
        collate_fn=flights.Padding(load_tokenizer()),
    )  # fmt: skip
    model, running = flights.peft_model(), iter(loader)
    next(running)
    before = generator.get_state()
    report = preflight(model, load_tokenizer(), loader, show=False)
    assert not said(report) and torch.equal(generator.get_state(), before)
    assert len(list(running)) == len(loader) - 1


def test_a_stream_of_ones_own_is_not_read():
    class Once(torch.utils.data.IterableDataset):
        read = 0

        def __iter__(self):
            Once.read += 1
            yield from flights.tokens(8)

    (trainer,), _ = flights.hf(data=Once())
    report = preflight(trainer, show=False)
    assert Once.read == 0
    why = {f.rule: f.saw for f in report.not_examined}
    assert "stream" in why["prompt_graded"] and "stream" in why["layers_without_gradient"]


def test_a_stream_of_datasets_stays_where_it_is():
    data = flights.rows(40).to_iterable_dataset()
    reader = iter(data)
    first = [next(reader) for _ in range(5)]
    model = flights.peft_model()
    state = copy.deepcopy(data.state_dict())
    preflight(model, load_tokenizer(), flights.batch(), train_rows=data, show=False)
    assert data.state_dict() == state
    assert [*first, *reader] == list(flights.rows(40))


def test_optimizers_that_step_in_the_backward_pass_do_not_step():
    model, stepped = flights.peft_model(), []
    for p in model.parameters():
        if p.requires_grad:
            p.register_post_accumulate_grad_hook(lambda p: stepped.append(1))
    report = preflight(model, load_tokenizer(), flights.batch(), show=False)
    assert not stepped and not said(report)


# Parts of the tool
IMPORTS = """
import sys
assert not [name for name in sys.modules if name.startswith("lora_course")]
from lora_course import preflight, PreflightCallback; import lora_course.preflight as p
from lora_course.preflight.rules import RULES; from lora_course import preflight as q
print(callable(preflight), p is preflight is q, PreflightCallback.__name__)
"""


def test_the_package_is_called_and_is_a_package(tmp_path):
    (tmp_path / "imports.py").write_text(IMPORTS, encoding="utf-8")
    code, said = run_script(tmp_path / "imports.py", tmp_path, tmp_path / "log")
    assert code == 0 and said.split() == ["True", "True", "PreflightCallback"], said
    assert lora_course.preflight is preflight
    from lora_course.preflight import RULES as rules
    from lora_course.preflight import Finding, Report
    from lora_course.preflight import preflight as again

    assert again is preflight and rules is RULES and Report([Finding("ok")])
    with pytest.raises(AttributeError):
        _ = lora_course.nothing


def test_what_cannot_be_examined_is_refused():
    with pytest.raises(TypeError, match="str.*folder|list"):
        preflight([1, 2])
    with pytest.raises(FileNotFoundError, match="no such folder"):
        preflight("/nowhere/at/all")


def test_a_rule_of_ones_own():
    def has_few_rows(run):
        """A batch has many rows."""
        rows = len(run.rows)
        return ok() if rows > 16 else problem(f"{rows} rows", "More.")

    def breaks(run):
        """Always."""
        raise KeyError("x")

    def waits(run):
        """Never."""
        raise Undecided("not today")

    args, _ = flights.loop(flights.peft_model())
    report = preflight(*args, rules={has_few_rows: 5, breaks: 6, waits: 7}, show=False)
    assert [f.verdict for f in report.findings] == ["problem", "not examined", "not examined"]
    assert report.findings[0].chapter == 5 and report.findings[0].saw == "8 rows"
    assert "KeyError" in report.findings[1].saw and report.findings[2].saw == "not today"
    assert not report and "has few rows" in str(report) and "not today" in report.table()
    assert "not today" not in str(report)


def test_a_bare_model_is_examined_as_far_as_it_goes():
    report = preflight(nn.Linear(3, 3), show=False)
    assert not said(report) and len(report.not_examined) > 20
    assert said(preflight(nn.Linear(3, 3).requires_grad_(False), show=False)) == ["nothing_trains"]


def test_fast_enough(record_property):
    import time

    args, _ = flights.HEALTHY["trl_chat base"]()
    started = time.perf_counter()
    preflight(*args, show=False)
    assert time.perf_counter() - started < 5


def test_weights_repacked_by_an_evaluation():
    """The state that bitsandbytes leaves on CPUs with AVX512-BF16, on any CPU."""
    from peft import get_peft_model

    model = get_peft_model(flights.four_bits(), flights.lora("base"))
    assert not said(preflight(model, load_tokenizer(), flights.batch(), show=False))
    packed = [m for m in model.modules() if hasattr(m, "support_avx512bf16_for_cpu")]
    assert packed and not any(
        getattr(m.weight.quant_state, "packing_format_for_cpu", False) for m in packed
    ), "the examination repacked them"
    packed[0].weight.quant_state.packing_format_for_cpu = True
    report = preflight(model, rules={r: c for r, c in RULES.items() if "repack" in r.__name__},
                       show=False)  # fmt: skip
    assert said(report) == ["weights_repacked"]


# The callback
def test_callback_examines_twice(capsys):
    (trainer,), _ = flights.sft(warmup_steps=2)
    callback = PreflightCallback()
    trainer.add_callback(callback)
    trainer.train()
    assert len(callback.reports) == 2 and all(callback.reports)
    assert "nothing found" in capsys.readouterr().out


def test_callback_stops_before_training():
    (trainer,), _ = flights.sft(learning_rate=2e-6)
    trainer.add_callback(PreflightCallback(stop=True, trainer=trainer))
    with pytest.raises(RuntimeError, match="rate_out_of_range"):
        trainer.train()
    assert trainer.state.global_step == 0


def test_callback_sees_that_nothing_moves():
    model = flights.peft_model()
    copied = copy.deepcopy(model)
    (trainer,), _ = flights.hf(model_=model, optimizers=(flights.adamw(copied), None))
    callback = PreflightCallback(show=False)
    trainer.add_callback(callback)
    trainer.train()
    assert "optimizer_misses" in said(callback.reports[0])
    assert said(callback.reports[1]) == ["first_step_moves"]


def test_callback_does_not_change_the_training():
    losses = []
    for watched in (False, True):
        torch.manual_seed(5)
        (trainer,), _ = flights.hf(model_=flights.peft_model(lora_dropout=0.1))
        if watched:
            trainer.add_callback(PreflightCallback(show=False))
        trainer.train()
        losses.append([e["loss"] for e in trainer.state.log_history if "loss" in e])
    assert losses[0] == losses[1]


# The command
def test_the_command(tmp_path, capsys):
    folder, *_ = SAVED_HEALTHY["adapter_and_tokenizer"](tmp_path)
    assert cli.main(["preflight", str(folder), "--base", "base"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 1
    assert cli.main(["preflight", str(folder), "--base", "base", "--all"]) == 0
    assert "keys would not load" in capsys.readouterr().out
    load_base().save_pretrained(folder)
    assert cli.main(["preflight", str(folder)]) == 1
    assert "merged beside adapter" in capsys.readouterr().out
    assert cli.main(["preflight", str(tmp_path / "none")]) == 2
    assert "no such folder" in capsys.readouterr().err


def test_rows_without_a_known_form_are_not_examined():
    args, _ = flights.loop(flights.peft_model())
    odd = Dataset.from_list([{"number": n} for n in range(9)])
    report = preflight(*args, train_rows=odd, test_rows=odd, show=False)
    assert {"train_rows_in_test", "rows_repeat"} <= {f.rule for f in report.not_examined}


def test_every_known_bug_has_a_rule_or_a_reason():
    names = [bug[0] for bug in bugs.BUGS]
    assert names == [f"D{n:02}" for n in range(1, 52)]
    rules = {rule.__name__ for rule in [*RULES, *SAVED_RULES]}
    for name, what, found, chapters, why in bugs.BUGS:
        assert set(found) <= rules and bool(found) != bool(why), name
        assert what and all(1 <= chapter <= 20 for chapter in chapters), name
        assert found or chapters or why, name
    assert len(bugs.bug_table().splitlines()) == 53


def test_the_rule_in_the_readme_works():
    text = (Path(bugs.__file__).parent / "README.md").read_text(encoding="utf-8")
    code = text.split("```python")[2].split("```")[0]
    space = {}
    exec(code, space)
    args, _ = flights.loop(flights.peft_model())
    report = preflight(*args, rules={space["rows_are_short"]: 5}, show=False)
    assert report and "the longest row has" in report.table()
