"""Notebooks in any state as cells, and what a teacher is told about their imports."""

import json

import pytest

from lora_course.grading.intake import submitted


def test_code_cells_of_odd_files():
    cell = {"cell_type": "code", "source": ["a = 1\n", 7, "b = 2"]}
    text = json.dumps({"cells": [cell, {"cell_type": "markdown", "source": "x"}, 3]})
    for data in (text.encode(), b"\xef\xbb\xbf" + text.encode(), text.encode("utf-16")):
        assert submitted.code_sources(data) == ["a = 1\nb = 2"]
    old = {"worksheets": [{"cells": [{"cell_type": "code", "input": "a = 1"}]}, None]}
    assert submitted.code_sources(json.dumps(old).encode()) == ["a = 1"]


@pytest.mark.parametrize(
    "data", [b"", b"{", b"[" * 100_000, b"null", b'"a"', b'{"cells": 3}', b"\xff\xfe\x00"]
)
def test_no_notebook(data):
    with pytest.raises(submitted.Unreadable):
        submitted.code_sources(data)


def test_flags():
    setup = "from lora_course.lora import LoRALinear"
    assert submitted.flags([setup, "import math"], setup) == []
    assert (
        len(submitted.flags(["  from peft.tuners import lora", "import loralib as l"], setup)) == 2
    )
    assert submitted.flags(["from lora_course.merge import merge"], setup)
    assert submitted.flags(["from lora_course.lora import LoRALinear, LoRAEmbedding"], setup) == []
    assert submitted.flags(["import lora_course"], setup)
    assert submitted.flags(["from lora_course.checks.core import array"], setup) == []
    assert submitted.flags(["from peft.tuners import lora"], "from peft import LoraConfig") == []
    assert submitted.flags(["__import__('peft')"], setup)


@pytest.mark.parametrize(
    "code",
    [
        "import math; import peft",
        "import math, peft",
        "import math as m, peft as p",
        "if 1: from peft import LoraConfig",
        "def f():\n    import bitsandbytes as bnb",
        "x = 1; from unsloth import y",
        "import \\\n    peft",
        "from peft \\\n    import x",
        "lambda: __import__('peft')",
        "importlib.import_module('pe' + 'ft')",
        "exec('import ' + name)",
        "m = sys.modules['peft']",
        "load('bitsandbytes')",
        "eval (text)",
    ],
)
def test_imports_anywhere(code):
    assert submitted.flags([code], "import math")


@pytest.mark.parametrize(
    "code",
    [
        "import math",
        "adapters = []",
        "x['adapters']",
        "# no peft here",
        "retrieval(x)",
        "model.eval()",
        "torch.compile(f)",
    ],
)
def test_no_import(code):
    assert submitted.flags([code], "import math") == []
