"""Which faults do preflight, peft-doctor and trainsight-preflight find, and whom do they accuse?

    pip install --no-deps --target FOLDER peft-doctor==0.9.2 trainsight-preflight==0.2.3
    python benchmarks/preflight.py --others FOLDER

prints one matrix: every run of tests/flights.py and tests/faults.py, and every folder of
tests/saved_flights.py, against the three tools. The two packages are read from FOLDER alone and
never installed beside the course. Each gets all that its functions take of a run: peft-doctor the
model, tokenizer, config, arguments, data sets, labels and a snapshot of gradients; trainsight the
batch and the true lengths of the prompts, with a contract that asks for no template. They count as
having found a fault when they say anything, as warning or error, that they do not say of four
healthy runs; preflight only when a rule that belongs to the fault speaks. The runs are the
project's own, so the numbers say less about what preflight misses elsewhere.
"""

import argparse
import contextlib
import io
import json
import sys
import tempfile
import time
import types
import warnings
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import torch  # noqa: E402

from lora_course import preflight  # noqa: E402
from lora_course.kit.models import quiet  # noqa: E402
from lora_course.preflight import sampled  # noqa: E402
from lora_course.preflight.evidence import Run  # noqa: E402
from lora_course.preflight.talk import Reader  # noqa: E402
from tests import faults, flights  # noqa: E402
from tests.saved_flights import SAVED_FAULTS, SAVED_HEALTHY  # noqa: E402

LIKE = ("plain_inject base", "peft_loop base", "trl_chat base", "trainer_tokenized base")


def ours(args, more):
    report = preflight(*args, **more, show=False)
    return {finding.rule for finding in report.problems + report.warnings}


def evidence_of(args, more):
    """The parts of a run, for tools that take them one by one."""
    trainer = args[0] if len(args) == 1 else None
    model = trainer.model if trainer is not None else args[0]
    tokenizer, batch, optimizer = (
        (*args[1:], None, None, None)[:3] if trainer is None else [None] * 3
    )
    rows = [more.get("train_rows"), more.get("test_rows")]
    return Run(model, tokenizer, batch, optimizer, trainer, *rows, True)


def peft_doctor(args, more):
    import peft_doctor as doctor
    from peft_doctor.intelligence import collect_gradient_snapshot, inspect_gradient_snapshot

    run, issues = evidence_of(args, more), []
    config = getattr(run.model, "peft_config", None)
    config = next(iter(config.values())) if isinstance(config, dict) else None
    settings = run.args
    if settings is None and run.optimizers:
        settings = types.SimpleNamespace(learning_rate=run.optimizers[0].param_groups[0]["lr"])
    issues += attempt(
        doctor.diagnose_peft, model=run.model, tokenizer=run.tokenizer, peft_config=config,
        training_args=settings, train_dataset=run.train_rows, eval_dataset=run.test_rows,
    )  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        with contextlib.suppress(Exception):
            rows = [{"input_ids": r.ids, "labels": r.labels} for r in run.rows]
            write(folder / "rows.jsonl", rows)
            pad = run.tokenizer.pad_token_id
            issues += attempt(doctor.audit_label_masking, folder / "rows.jsonl", pad_token_id=pad)
        with contextlib.suppress(Exception):
            sets = {"train": run.train_rows, "test": run.test_rows}
            for name, rows in sets.items():
                texts = sampled.texts(sampled.sampled_rows(rows, 1000), run.tokenizer)
                write(folder / f"{name}.jsonl", [{"text": text} for text, _ in texts])
            issues += attempt(
                doctor.check_dataset_leakage, folder / "train.jsonl", folder / "test.jsonl"
            )
        with contextlib.suppress(Exception):
            run.model.train()
            run.model(**run.few).loss.backward()
            made = run.optimizers[0] if run.optimizers else None
            told = collect_gradient_snapshot(run.model, made)
            (folder / "gradients.json").write_text(json.dumps(told))
            issues += attempt(inspect_gradient_snapshot, folder / "gradients.json")
    return set(issues)


def attempt(function, *args, **more):
    """The codes of warnings and errors of one check of peft-doctor."""
    try:
        report = function(*args, **more)
    except Exception:
        return []
    return [issue.code for issue in report.issues if issue.severity in ("warning", "error")]


def write(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def trainsight(args, more):
    from trainsight import LossContract, SFTReconciler

    run = evidence_of(args, more)
    contract = LossContract(expected_template_prefix="", expected_template_suffix="", strict=False)
    try:
        reader, batch = Reader(run.tokenizer), run.batch
        lengths = [(reader.answers(ids.tolist()) or [(0, 0)])[0][1] for ids in batch["input_ids"]]
        report = SFTReconciler(run.tokenizer, contract).audit_batch(batch, lengths)
    except Exception:
        return set()
    return {diagnosis.error_code for diagnosis in report.diagnoses}


def doctor_of_folders(folder, base=None):
    import peft_doctor as doctor

    checks = doctor.check_adapter_integrity, doctor.inspect_adapter_tensors
    return set(sum((attempt(check, folder) for check in checks), []))


def timed(tool, *args):
    started = time.perf_counter()
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        said = tool(*args)
    return said, time.perf_counter() - started


def shown(mark, seconds):
    return f"{mark:>8} {seconds:5.1f}"


def matrix(tools):
    """Prints a line for each run; returns the counts of each tool."""
    sums = {name: {"found": 0, "accused": 0, "alarms": 0, "slowest": 0.0} for name in tools}
    usual = {name: {} for name in tools}
    print(f"{'run':48}" + "".join(f"{name:>16}" for name in tools))
    for name, maker in flights.HEALTHY.items():
        cells = []
        for tool, look in tools.items():
            torch.manual_seed(0)
            with contextlib.redirect_stdout(io.StringIO()):
                args, more = maker()
            said, seconds = timed(look, args, more)
            kind = "trainer" if len(args) == 1 else "loop"
            if name in LIKE:
                usual[tool].setdefault(kind, set()).update(said)
            sums[tool]["accused"] += bool(said)
            sums[tool]["alarms"] += len(said)
            sums[tool]["slowest"] = max(sums[tool]["slowest"], seconds)
            cells.append(shown(f"{len(said)} alarm" if said else "-", seconds))
        print(f"{'healthy: ' + name:48}" + "".join(f"{cell:>16}" for cell in cells), flush=True)
    for name, (rules, maker) in faults.FAULTS.items():
        cells = []
        for tool, look in tools.items():
            torch.manual_seed(0)
            with contextlib.redirect_stdout(io.StringIO()):
                args, more = maker()
            said, seconds = timed(look, args, more)
            kind = "trainer" if len(args) == 1 else "loop"
            hit = said & set(rules) if tool == "preflight" else said - usual[tool][kind]
            sums[tool]["found"] += bool(hit)
            sums[tool]["slowest"] = max(sums[tool]["slowest"], seconds)
            cells.append(shown("found" if hit else "missed", seconds))
        print(f"{'fault: ' + name:48}" + "".join(f"{cell:>16}" for cell in cells), flush=True)
    return sums


def folders(tools):
    """The same for saved folders; returns the counts."""
    sums = {name: {"found": 0, "accused": 0} for name in tools}
    usual = {name: set() for name in tools}
    makers = [("healthy", n, (), m) for n, m in SAVED_HEALTHY.items()]
    makers += [("fault", n, *entry) for n, entry in SAVED_FAULTS.items()]
    for sort, name, rules, maker in makers:
        cells = []
        for tool, look in tools.items():
            with tempfile.TemporaryDirectory() as place:
                with contextlib.redirect_stdout(io.StringIO()):
                    folder, *base = maker(Path(place))
                said, seconds = timed(look, folder, base[0] if base else None)
            hit = said & set(rules) if tool == "preflight" else said - usual[tool]
            if sort == "healthy":
                usual[tool] |= said
                sums[tool]["accused"] += bool(said)
                mark = f"{len(said)} alarm" if said else "-"
            else:
                sums[tool]["found"] += bool(hit)
                mark = "found" if hit else "missed"
            cells.append(shown(mark, seconds))
        print(f"{sort + ': ' + name:48}" + "".join(f"{cell:>16}" for cell in cells), flush=True)
    return sums


def our_folders(folder, base):
    return ours((folder,), {"base": base})


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--others", help="folder that holds peft-doctor and trainsight-preflight")
    given = parser.parse_args()
    warnings.simplefilter("ignore")
    quiet()
    import transformers

    transformers.utils.logging.set_verbosity_error()
    tools, saved = {"preflight": ours}, {"preflight": our_folders}
    if given.others:
        sys.path.append(str(Path(given.others).resolve()))  # last: nothing there hides the course's
        tools |= {"peft-doctor": peft_doctor, "trainsight": trainsight}
        saved |= {"peft-doctor": doctor_of_folders}
    counts, more = matrix(tools), folders(saved)
    print()
    for tool, sums in counts.items():
        print(
            f"{tool:12} found {sums['found']} of {len(faults.FAULTS)} faults; accused "
            f"{sums['accused']} of {len(flights.HEALTHY)} healthy runs ({sums['alarms']} alarms); "
            f"slowest {sums['slowest']:.1f} s"
        )
    for tool, sums in more.items():
        print(
            f"{tool:12} found {sums['found']} of {len(SAVED_FAULTS)} faults in folders; accused "
            f"{sums['accused']} of {len(SAVED_HEALTHY)} healthy ones"
        )


if __name__ == "__main__":
    main()
