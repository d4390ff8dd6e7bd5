"""Deliberate breaks: python -m tests.breaks [NAME ...]; without a name all of them.

Each changes one line in a copy of the course and runs the tests that must notice. A break that
they let through means that something false could be written there, so exit status 1. Before the
breaks the same tests run on the unchanged copy, because a test that fails anyway notices nothing.
tests/test_breaks.py keeps the list true to the code.
"""

import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
LEFT_OUT = shutil.ignore_patterns(".*", "work", "__pycache__", "*.egg-info")
PYTEST = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", "--color=no"]


class Break(NamedTuple):
    name: str
    file: str
    old: str  # occurs once in the file
    new: str
    tests: str  # what pytest is called with

    def place(self, root):
        return root / self.file

    def apply(self, root):
        text = self.place(root).read_text(encoding="utf-8")
        assert text.count(self.old) == 1, f"{self.name}: {text.count(self.old)} times {self.old!r}"
        self.place(root).write_text(text.replace(self.old, self.new), encoding="utf-8")


LORA, INJECT, TRAIN = "tests/test_lora.py", "tests/test_inject.py", "tests/test_train.py"
ADAPTERS, MERGE, BUILD = "tests/test_adapters.py", "tests/test_merge.py", "tests/test_build.py"
FAST = ' -m "not slow"'
BREAKS = (
    # The core
    Break(
        "scaling_upside_down",
        "lora_course/lora.py",
        "r, lora_alpha, lora_alpha / r",
        "r, lora_alpha, r / lora_alpha",
        LORA,
    ),
    Break(
        "scaling_left_out",
        "lora_course/lora.py",
        "update = (self.scaling * down) @ self.lora_B.to(x.dtype).T",
        "update = down @ self.lora_B.to(x.dtype).T",
        LORA,
    ),
    Break(
        "delta_without_scaling",
        "lora_course/lora.py",
        "return self.scaling * self.lora_B @ self.lora_A",
        "return self.lora_B @ self.lora_A",
        LORA,
    ),
    Break(
        "base_not_frozen",
        "lora_course/lora.py",
        "self.base_layer = base_layer.requires_grad_(False)",
        "self.base_layer = base_layer",
        LORA,
    ),
    Break(
        "b_not_zero",
        "lora_course/lora.py",
        "nn.init.zeros_(self.lora_B)",
        "nn.init.normal_(self.lora_B, std=1e-3)",
        LORA,
    ),
    Break(
        "a_too_large",
        "lora_course/lora.py",
        "nn.init.kaiming_uniform_(self.lora_A, a=math.sqrt(5))",
        "nn.init.kaiming_uniform_(self.lora_A)",
        LORA,
    ),
    Break(
        "dropout_on_the_base",
        "lora_course/lora.py",
        "out = self.base_layer(x)  #",
        "out = self.base_layer(self.lora_dropout(x))  #",
        LORA,
    ),
    Break(
        "padding_row_trains",
        "lora_course/lora.py",
        "rows = nn.functional.embedding(ids, self.lora_A.T, padding_idx=pad)",
        "rows = nn.functional.embedding(ids, self.lora_A.T)",
        LORA,
    ),
    Break(
        "head_is_adapted",
        "lora_course/inject.py",
        "if isinstance(m, LINEAR) and m is not head]",
        "if isinstance(m, LINEAR)]",
        INJECT,
    ),
    Break(
        "ending_inside_a_name",
        "lora_course/inject.py",
        'if f".{n}".endswith(f".{e}")]',
        "if n.endswith(e)]",
        INJECT,
    ),
    Break(
        "everything_trains",
        "lora_course/inject.py",
        "    mark_only_lora_as_trainable(model)\n    return model",
        "    return model",
        INJECT,
    ),
    Break(
        "wrapper_in_train_mode",
        "lora_course/inject.py",
        "return kind(base, r, lora_alpha, lora_dropout).train(base.training)",
        "return kind(base, r, lora_alpha, lora_dropout)",
        INJECT,
    ),
    Break(
        "frozen_after_a_failure",
        "lora_course/inject.py",
        "nn.ParameterList(trained).requires_grad_(True)",
        "nn.ParameterList(trained)",
        INJECT,
    ),
    Break(
        "first_rate_is_zero",
        "lora_course/train.py",
        "return peak * (step + 1) / warmup",
        "return peak * step / warmup",
        TRAIN + FAST,
    ),
    Break(
        "resumed_run_drops_others",
        "lora_course/train.py",
        "torch.manual_seed(seed + step)",
        "torch.manual_seed(seed + step - done)",
        TRAIN,
    ),
    Break(
        "stays_in_train_mode",
        "lora_course/train.py",
        "    model.eval()\n    return losses",
        "    return losses",
        TRAIN,
    ),
    Break(
        "any_checkpoint_will_do",
        "lora_course/train.py",
        "    if found != plan:",
        "    if len(found) != len(plan):",
        TRAIN,
    ),
    Break(
        "check_sum_not_looked_at",
        "lora_course/adapters.py",
        "if found != _check_sum(header, data):",
        "if not found:",
        ADAPTERS,
    ),
    Break(
        "scaling_of_a_file_ignored",
        "lora_course/adapters.py",
        'for key in ("r", "scaling") if header',
        'for key in ("r",) if header',
        ADAPTERS,
    ),
    Break(
        "merged_twice",
        "lora_course/merge.py",
        'if any(getattr(module, "merged", None) for module in model.modules()):',
        "if False:",
        MERGE,
    ),
    Break(
        "shared_weight_changed",
        "lora_course/merge.py",
        "base_layer.weight] > 1}",
        "base_layer.weight] > 2}",
        MERGE,
    ),
    Break(
        "adapter_left_behind",
        "lora_course/merge.py",
        "place.copy_(before[name])",
        "place.copy_(place)",
        MERGE,
    ),
    Break(
        "concatenated_without_weights",
        "lora_course/merge.py",
        "factors = [w * s for",
        "factors = [s for",
        MERGE,
    ),
    Break(
        "energy_unsquared",
        "lora_course/rank.py",
        "s.double().square().cumsum(0)",
        "s.double().cumsum(0)",
        "tests/test_rank.py",
    ),
    Break(
        "one_piece_too_few",
        "lora_course/rank.py",
        "(energy(s) < share).sum()) + 1",
        "(energy(s) < share).sum())",
        "tests/test_rank.py",
    ),
    # Methods, bits, costs
    Break(
        "rslora_without_root",
        "lora_course/methods/rslora.py",
        "math.sqrt(layer.r)",
        "layer.r",
        "tests/test_rslora.py",
    ),
    Break(
        "dare_not_rescaled",
        "lora_course/methods/combine.py",
        "return update * stays / density",
        "return update * stays",
        "tests/test_combine.py",
    ),
    Break(
        "nibbles_swapped",
        "lora_course/bits/quantize.py",
        "return codes[0::2] << 4 | codes[1::2]",
        "return codes[1::2] << 4 | codes[0::2]",
        "tests/test_quantize.py" + FAST,
    ),
    Break(
        "int8_of_128_steps",
        "lora_course/bits/quantize.py",
        "(rows * (127 / absmax",
        "(rows * (128 / absmax",
        "tests/test_quantize.py" + FAST,
    ),
    Break(
        "activations_of_llama",
        "lora_course/costs/activations.py",
        "others = 4 * hidden + 3 * intermediate",
        "others = 5 * hidden + 3 * intermediate",
        "tests/test_activations.py" + FAST,
    ),
    # Checks and the record
    Break(
        "nan_is_close",
        "lora_course/checks/values.py",
        "near = abs(seen - wanted) <= atol + rtol * abs(wanted)",
        "near = ~(abs(seen - wanted) > atol + rtol * abs(wanted))",
        "tests/test_values.py",
    ),
    Break(
        "judge_writes_its_inputs",
        "lora_course/checks/values.py",
        "copy.setflags(write=False)",
        "copy.setflags(write=True)",
        "tests/test_core.py tests/test_values.py",
    ),
    Break(
        "probe_gets_the_inputs_themselves",
        "lora_course/checks/core.py",
        "copies = {key: np.array(value) for key, value in inputs.items()}",
        "copies = dict(inputs)",
        "tests/test_core.py",
    ),
    Break(
        "random_state_not_put_back",
        "lora_course/checks/guard.py",
        "torch.set_rng_state(state)",
        "pass",
        "tests/test_guard.py",
    ),
    Break(
        "progress_falls",
        "lora_course/learner/record.py",
        "if share > shares.get(key, -1.0):",
        "if True:",
        "tests/test_record.py -k best",
    ),
    Break(
        "changed_copy_overwritten",
        "lora_course/learner/copies.py",
        "mine == known.get(name) != newest",
        "mine != newest",
        "tests/test_copies.py",
    ),
    # Builder
    Break(
        "names_not_checked",
        "lora_course/builder/notebook.py",
        "    check_names(cells)\n",
        "",
        BUILD + FAST,
    ),
    Break(
        "digest_of_the_cells_only",
        "lora_course/builder/digest.py",
        "waiting += [path.read_text",
        "_ = [path.read_text",
        BUILD + FAST,
    ),
    Break(
        "data_not_in_the_digest",
        "lora_course/builder/digest.py",
        "total.update(hashlib.sha256(path.read_bytes()).digest())",
        "pass",
        BUILD + FAST,
    ),
    Break(
        "answer_left_in_the_stub",
        "lora_course/builder/exercises.py",
        "elif not marker and not inside:",
        "elif not marker:",
        BUILD + FAST,
    ),
    Break(
        "hints_side_by_side",
        "lora_course/builder/exercises.py",
        'parts += [text, ""] if text else []',
        "parts += []",
        BUILD + FAST,
    ),
    Break(
        "lab_makes_it_stale",
        "lora_course/builder/build.py",
        'if stored.metadata.get("lora_course") != fresh.metadata.get("lora_course"):',
        "if stored.metadata != fresh.metadata:",
        BUILD + FAST,
    ),
    # Grading
    Break(
        "formula_in_a_cell",
        "lora_course/grading/results/harmless.py",
        'FORMULA = "=+-@',
        'FORMULA = "+-@',
        "tests/test_reports.py" + FAST,
    ),
    Break(
        "two_students_one_folder",
        "lora_course/grading/results/harmless.py",
        "and seen[_folded(name)] == 1",
        "and name",
        "tests/test_harmless.py",
    ),
    # Sources and notebooks
    Break(
        "import_upwards",
        "lora_course/lora.py",
        "import math\n",
        "import math\n\nimport lora_course.merge  # noqa: F401\n",
        "tests/test_package.py -k imports",
    ),
    Break(
        "exclamation_mark",
        "chapters/source/03_the_lora_layer.py",
        "# # 03 The LoRA layer\n",
        "# # 03 The LoRA layer\n# At last!\n",
        "tests/test_notebooks.py -k words",
    ),
    Break(
        "figure_without_alt",
        "lora_course/kit/plots.py",
        "if not caption or not alt:",
        "if not caption:",
        "tests/test_plots.py",
    ),
    Break(
        "another_output",
        "solutions/01_what_full_fine_tuning_costs.ipynb",
        '"1.1 Bytes of full fine-tuning: 10/10',
        '"1.1 Bytes of full fine-tuning: 9/10',
        "--nbval --nbval-current-env solutions/01_what_full_fine_tuning_costs.ipynb",
    ),
)


def run(tests, root):
    """Pytest's exit code and its closing lines."""
    import shlex

    variables = {"PYTHONPATH": str(root), "PYTHONDONTWRITEBYTECODE": "1", "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(
        [*PYTEST, *shlex.split(tests)],
        cwd=root,
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
    )
    return done.returncode, done.stdout.strip().splitlines()[-3:]


def main(names):
    known = {found.name: found for found in BREAKS}
    if unknown := [name for name in names if name not in known]:
        print(f"There is no break {', '.join(unknown)}. Known: {', '.join(known)}")
        return 2
    chosen, missed, sound = [known[name] for name in names or known], [], {}
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        root = Path(folder) / "course"
        shutil.copytree(ROOT, root, ignore=LEFT_OUT)
        for found in chosen:
            if found.tests not in sound:
                code, lines = run(found.tests, root)
                sound[found.tests] = code == 0
                if code:
                    print(f"unbroken, yet it fails: {found.tests}", *lines, sep="\n  ", flush=True)
            before, start = found.place(root).read_bytes(), time.perf_counter()
            found.apply(root)
            code, lines = run(found.tests, root)
            found.place(root).write_bytes(before)
            caught = code == 1 and sound[found.tests]
            word = "caught" if caught else "MISSED"
            said = next((line for line in lines if line.startswith(("FAILED", "ERROR"))), lines[-1])
            seconds = time.perf_counter() - start
            print(f"{word}  {found.name:34} {seconds:4.0f} s  {said[:110]}", flush=True)
            missed += [] if caught else [found.name]
    print(f"{len(chosen) - len(missed)} of {len(chosen)} caught", *missed)
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
