"""The folder of a project, as the rubric reads it.

project/
  test.jsonl                    given, never trained on
  train.jsonl validation.jsonl  made from the messy file
  adapter/                      as PEFT saves it
  merged/                       as transformers saves it, with tokenizer and README.md
"""

import json
from functools import cached_property
from pathlib import Path

from lora_course.bridges.shipping import measure
from lora_course.kit.clean import as_row, words_of
from lora_course.kit.models import is_shipped, load_base, load_tokenizer
from lora_course.kit.town import messy


class Project:
    """A project's folder, read when it is asked for. seed: of the hidden rows."""

    def __init__(self, folder, seed=0):
        self.folder, self.shipped = Path(folder), is_shipped()
        self.base, self.tokenizer = load_base(), load_tokenizer()
        long = "sequence-length-is-longer-than-the-specified-maximum"
        self.tokenizer.deprecation_warnings[long] = True  # `one_format` looks for such rows
        template = self.folder / "merged/chat_template.jinja"
        if not self.tokenizer.chat_template and template.is_file():  # a base may come without one
            self.tokenizer.chat_template = template.read_text(encoding="utf-8")
        self.seed, self.measured = seed, {}

    def rows(self, name):
        """The rows of a .jsonl file; [] when it is missing."""
        file = self.folder / f"{name}.jsonl"
        lines = file.read_text(encoding="utf-8").split("\n") if file.is_file() else []
        return [json.loads(line) for line in lines if line.strip()]

    @cached_property
    def test(self):
        return self.rows("test")

    @cached_property
    def used(self):
        return self.rows("train") + self.rows("validation")

    @cached_property
    def pairs(self):
        """(words of the prompt, words of the completion) of each row in use, in either format."""
        rows = [as_row(row) for row in self.used]
        return [(words_of(row["prompt"]), words_of(row["completion"])) for row in rows]

    @cached_property
    def asked(self):
        """The prompts of the test split, in words."""
        return {words_of(row["prompt"]) for row in self.test}

    @cached_property
    def hidden(self):
        """Rows that no file of the project holds; for data of one's own, those of the test."""
        if not self.shipped:
            return self.test[:100]
        known = self.asked | {prompt for prompt, _ in self.pairs}
        return [r for r in messy.hidden(self.seed, 110) if words_of(r["prompt"]) not in known][:100]

    def measure(self, model, rows):
        """(exact match, loss, logits) of self.MODEL on self.ROWS, once. model, rows: names."""
        if (model, rows) not in self.measured:
            given = getattr(self, model), self.tokenizer, getattr(self, rows)
            self.measured[model, rows] = measure(*given)
        return self.measured[model, rows]

    @cached_property
    def adapted(self):
        """The base with the adapter, by PEFT."""
        from peft import PeftModel

        return PeftModel.from_pretrained(load_base(), self.folder / "adapter").eval()

    @cached_property
    def merged(self):
        return load_base(str(self.folder / "merged"))

    @cached_property
    def card(self):
        return (self.folder / "merged/README.md").read_text(encoding="utf-8")
