"""One method, one file: what changes LoRA, stands beside it, or combines its updates."""
