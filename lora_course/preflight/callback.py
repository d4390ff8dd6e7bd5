"""preflight inside a trainer: once before training, once after the first step that moves."""

import logging

import torch

from lora_course.preflight import adapted
from lora_course.preflight.added import added_names
from lora_course.preflight.check import check_run
from lora_course.preflight.report import Report, named, ok, problem, some
from lora_course.preflight.untouched import untouched

# The import below makes bitsandbytes say that an optional package is missing; see kit.models.quiet.
logging.getLogger("bitsandbytes.backends.cpu.ops").setLevel(logging.ERROR)

from transformers import TrainerCallback  # noqa: E402


class PreflightCallback(TrainerCallback):
    """Examines the run when training begins, and what its first optimizer step moved.

    stop: True raises RuntimeError at the first problem, before or right after the first step;
    False prints what is wrong and lets the run go on. trainer: give it where its own loss shall
    be examined as well; without it, the model's loss on the loader's rows is.
    reports: the two Reports.
    """

    def __init__(self, stop=False, trainer=None, show=True):
        self.stop, self.trainer, self.show = stop, trainer, show
        self.reports, self._before, self._rate = [], None, 0.0

    def on_train_begin(self, args, state, control, model=None, **parts):
        """The examination of preflight(); a resumed run is examined as well."""
        loader, self.reports = parts.get("train_dataloader"), []
        if self.trainer is not None:
            report = check_run(self.trainer, show=False)
        else:
            report = check_run(
                model, parts.get("processing_class"), loader, parts.get("optimizer"),
                train_rows=getattr(loader, "dataset", None), show=False,
            )  # fmt: skip
        self._before = {n: p.detach().clone() for n, p in self._watched(model)}
        self._tell(report)

    def on_optimizer_step(self, args, state, control, optimizer=None, **parts):
        """Notes the rate of this step: the scheduler changes it next."""
        groups = getattr(optimizer, "param_groups", ())
        skipped = getattr(optimizer, "step_was_skipped", False)  # by a gradient scaler
        self._rate = 0.0 if skipped else max((float(g["lr"]) for g in groups), default=0.0)
        self._mode = getattr(parts.get("model"), "training", True)

    def on_step_end(self, args, state, control, model=None, **parts):
        """After the first step whose rate was not 0: which layers moved?"""
        if self._before is None or not self._rate:
            return
        with untouched(model):
            findings = [named(first_step_moves, self._moved(model), 5)]
            findings.append(named(trains_in_training_mode, self._mode_kept(), 5))
        self._before = None
        self._tell(Report(findings))

    def _watched(self, model):
        """What an adapter trains; of a model without one, the first numbers of each weight."""
        model = adapted.inner(model)
        added = added_names(model)
        for name, p in model.named_parameters():
            if p.requires_grad and (not added or name in added):
                yield name, p if added else p.flatten()[:1000]

    def _moved(self, model):
        now = dict(self._watched(model))
        still = [n for n in now if n in self._before and torch.equal(now[n], self._before[n])]
        pairs = adapted.find_pairs(adapted.inner(model), added_names(model))
        dead = [p.layer for p in pairs if set(p.names) <= set(still)]
        if pairs and not dead or not pairs and len(still) < max(1, len(now)):
            return ok(f"{len(now) - len(still)} of {len(now)} parameters moved")
        told = f"{len(dead)} of {len(pairs)} adapted layers: {some(dead)}" if pairs else "all"
        return problem(
            f"The first step at a rate of {self._rate:g} moved nothing in {told}.",
            "Look at the optimizer's parameters, at the gradients of these layers, and at skipped "
            "steps of a gradient scaler.",
        )

    def _mode_kept(self):
        if self._mode:
            return ok()
        return problem(
            "The model is in eval mode while it trains: dropout does nothing.",
            "Look for model.eval() in the loss or in a callback.",
        )

    def _tell(self, report):
        self.reports.append(report)
        if self.show and (len(self.reports) == 1 or not report):
            print(report)
        if self.stop and report.problems:
            names = some([finding.rule for finding in report.problems])
            raise RuntimeError(f"preflight stopped this run: {names}. See the table above.")


def first_step_moves():
    """The first optimizer step moves every adapted layer."""


def trains_in_training_mode():
    """A model is in training mode while it trains."""
