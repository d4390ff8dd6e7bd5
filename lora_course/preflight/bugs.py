"""Known bugs of people who learn LoRA: which rule finds each, which chapter shows it, or why none.

BUGS: (name, what it is, rules of preflight, chapters, why no rule). Collected from public issues
and pull requests of PEFT, TRL, transformers, bitsandbytes and others.
"""

RAISES = "the libraries raise an error"
AFTER = "it happens after training, to the weights alone"
IDEA = "a belief about cost or quality: nothing in a run is wrong"

BUGS = (
    ("D01", "A and B both start at zero", ("layers_without_gradient",), (3,), ""),
    ("D02", "A and B both start at random", ("started_damaged",), (3,), ""),
    ("D03", "alpha / r forgotten, or only alpha", ("scale_not_alpha_over_r",), (3, 6), ""),
    ("D04", "scale twice, or not at all, in the merge", ("merge_changes_output",), (7,), ""),
    ("D05", "merged, and added once more", ("merge_changes_output", "adapter_merged"), (7,), ""),
    ("D06", "shapes of A and B swapped", (), (3,), "on square layers it is another valid layer"),
    ("D07", "dropout on the base's path", ("dropout_on_base_path",), (3,), ""),
    ("D08", "base path under no_grad", ("base_path_cut", "layers_without_gradient"), (3,), ""),
    ("D09", "Conv1D stores its weight as (in, out)", ("merge_changes_output",), (3, 4), ""),
    ("D10", "merged into 4-bit weights", (), (12,), AFTER),
    ("D11", "merge and unmerge thought to be exact", (), (7,), AFTER),
    ("D12", "bias trained, thought to be in the adapter", ("base_trains",), (), ""),
    ("D13", "PiSSA treated like plain LoRA", (), (14, 19), "right in training, wrong in use"),
    ("D14", "frozen after injection", ("nothing_trains",), (4,), ""),
    ("D15", "optimizer built before injection", ("optimizer_misses",), (4, 19), ""),
    ("D16", "return value of merge_and_unload() ignored", ("whole_model_saved",), (8,), ""),
    ("D17", "checkpoints without input gradients", ("checkpoints_without_input_gradients",
     "layers_without_gradient"), (11,), ""),
    ("D18", "is_trainable=True forgotten", ("nothing_trains",), (8,), ""),
    ("D19", "an adapter in an adapter", ("wrapped_twice", "keys_would_not_load"), (8, 9), ""),
    ("D20", 'target_modules="q_proj,v_proj"', (), (9,), RAISES),
    ("D21", "one name of the list is misspelt", ("target_missed",), (8, 19), ""),
    ("D22", "a regular expression in a list", ("target_missed",), (8,), ""),
    ("D23", "a new head stays random", ("new_head_frozen",), (19,), ""),
    ("D24", "rate of full fine-tuning", ("rate_out_of_range",), (5, 6, 19), ""),
    ("D25", "r, alpha and rate changed at once", (), (6,), "a run alone does not show it"),
    ("D26", "AdaLoRA without update_and_allocate", ("ranks_never_change",), (14,), ""),
    ("D27", "float16 weights with a gradient scaler", ("adapter_in_16_bits",), (11,), ""),
    ("D28", "pad = eos, masked by number", ("pad_masked_by_number", "end_never_graded"),
     (5, 19), ""),
    ("D29", "padding in the loss", ("padding_graded",), (5, 19), ""),
    ("D30", "loss on the prompt, or not on the answer", ("prompt_graded", "answer_not_graded",
     "loss_ignores_labels"), (5, 9, 19), ""),
    ("D31", "response template not found", ("every_label_ignored",), (9,), ""),
    ("D32", "labels shifted by hand", ("labels_shifted",), (5, 19), ""),
    ("D33", "begin token doubled", ("begin_token_doubled",), (9, 19), ""),
    ("D34", "mean of unequal micro-batch means", (), (), "a loss of one's own may mean it so"),
    ("D35", "answers cut by max_length", ("completion_cut",), (9,), ""),
    ("D36", "whole model saved", ("whole_model_saved",), (5,), ""),
    ("D37", "embeddings in the adapter's file", ("embeddings_saved",), (12,), ""),
    ("D38", "merged model in the adapter's folder", ("merged_beside_adapter",), (12, 19), ""),
    ("D39", "new tokens untrained or not resized", ("new_tokens_untrained",
     "saved_tokenizer_too_large"), (8, 12), ""),
    ("D40", "LoRA on a tied head", ("head_adapted",), (4, 7), ""),
    ("D41", "loaded into another class", ("keys_would_not_load", "update_saved_zero"), (8, 19), ""),
    ("D42", "old argument names", (), (9,), RAISES),
    ("D43", "4-bit defaults: float32 compute", ("computes_in_float32",), (11,), ""),
    ("D44", "prepare_model_for_kbit_training costs", ("four_bits_not_prepared",), (11,), ""),
    ("D45", "a purely quantized model trained", (), (11,), RAISES),
    ("D46", "memory does not shrink as hoped", ("float32_copies",), (1, 17), ""),
    ("D47", "LoRA thought to be faster in use", (), (7,), IDEA),
    ("D48", "factors averaged in place of updates", (), (7,), AFTER),
    ("D49", "the percentage of what trains compared", (), (8, 9), IDEA),
    ("D50", "lora_bias merged into 4 bits", (), (12,), AFTER),
    ("D51", "4-bit weights repacked by an evaluation", ("weights_repacked",), (11,), ""),
)  # fmt: skip


def bug_table():
    """The table as Markdown: bug, rule, chapter, and why there is no rule."""
    lines = ["| | bug | rule of preflight | chapter |", "|:--|:--|:--|:--|"]
    for name, what, rules, chapters, why in BUGS:
        told = ", ".join(f"`{rule}`" for rule in rules) or f"none: {why}"
        shown = ", ".join(f"{chapter:02}" for chapter in chapters) or "none"
        lines.append(f"| {name} | {what} | {told} | {shown} |")
    return "\n".join(lines)
