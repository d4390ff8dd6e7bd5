"""Around TRL's SFTTrainer: rows as a chat, a progress bar in place of printed logs, the losses.

The trainer itself is TRL's; nothing here changes what it computes.
TRL: von Werra et al., https://github.com/huggingface/trl
"""

import os

from tqdm.auto import tqdm


# owned by chapter 09
def as_chat(row):
    """A row of prompt and completion, two str, as the two halves of a talk: lists of messages."""
    return {
        "prompt": [{"role": "user", "content": row["prompt"]}],
        "completion": [{"role": "assistant", "content": row["completion"]}],
    }


def logged_losses(trainer, key="loss"):
    """What the trainer wrote down: {step: value}; key "loss" or, after an evaluation, "eval_loss".

    A step's loss is there for every step when SFTConfig has logging_steps=1.
    """
    return {entry["step"]: entry[key] for entry in trainer.state.log_history if key in entry}


def with_bar(trainer):
    """One progress bar that disappears, in place of the trainer's tables and printed logs.

    What the trainer writes down is not touched: it is in trainer.state.log_history. TQDM_DISABLE=1
    hides the bar as well. Returns the trainer.
    """
    from transformers import TrainerCallback

    class Bar(TrainerCallback):
        """Steps and loss while a person runs the cell."""

        def on_train_begin(self, args, state, control, **kwargs):
            hidden = os.environ.get("TQDM_DISABLE") == "1"  # tqdm itself forgets it in a notebook
            done, steps = state.global_step, state.max_steps
            self.bar = tqdm(total=steps, initial=done, unit="step", leave=False, disable=hidden)

        def on_step_end(self, args, state, control, **kwargs):
            self.bar.update()

        def on_log(self, args, state, control, logs=None, **kwargs):
            if "loss" in (logs or {}):
                self.bar.set_postfix(loss=f"{logs['loss']:.3f}")

        def on_train_end(self, args, state, control, **kwargs):
            self.bar.close()

    for callback in list(trainer.callback_handler.callbacks):
        if type(callback).__name__ in LOUD:
            trainer.remove_callback(callback)
    trainer.add_callback(Bar())
    return trainer


LOUD = ("PrinterCallback", "ProgressCallback", "NotebookProgressCallback", "Bar")
