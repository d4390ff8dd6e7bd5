"""Every rule, in the order of the table, with the chapter that explains it.

A rule is a function: it takes the evidence (evidence.Run, or saved.Saved for folders) and returns
ok(saw), warning(saw, do) or problem(saw, do), or raises Undecided(why). Its docstring is the rule.
"""

from lora_course.preflight.rules import (
    folders,
    four_bits,
    labels,
    learning,
    texts,
    tokens,
    what_trains,
)

RULES = {
    what_trains.nothing_trains: 4,
    what_trains.base_trains: 4,
    what_trains.head_or_embeddings_train: 4,
    what_trains.new_head_frozen: 8,
    what_trains.target_missed: 8,
    what_trains.head_adapted: 8,
    what_trains.wrapped_twice: 8,
    what_trains.adapter_merged: 7,
    learning.layers_without_gradient: 4,
    learning.loss_not_finite: 5,
    learning.checkpoints_without_input_gradients: 11,
    learning.optimizer_misses: 4,
    learning.rate_out_of_range: 6,
    learning.adapter_in_16_bits: 11,
    learning.dropout_off: 3,
    learning.update_still_zero: 5,
    learning.scale_is_zero: 6,
    learning.started_damaged: 3,
    labels.every_label_ignored: 5,
    labels.prompt_graded: 5,
    labels.answer_not_graded: 5,
    labels.end_never_graded: 5,
    labels.pad_masked_by_number: 9,
    labels.padding_graded: 5,
    labels.labels_shifted: 5,
    tokens.begin_token_doubled: 9,
    tokens.no_generation_prompt: 9,
    tokens.tokenizer_of_another_model: 9,
    tokens.new_tokens_untrained: 12,
    tokens.completion_cut: 9,
    tokens.packed_without_reset: 9,
    texts.train_rows_in_test: 5,
    texts.rows_repeat: 5,
    four_bits.four_bits_not_prepared: 11,
    four_bits.head_in_4_bits: 11,
    four_bits.weights_repacked: 11,
    four_bits.computes_in_float32: 11,
    four_bits.float32_copies: 17,
}
SAVED_RULES = {
    folders.file_damaged: 5,
    folders.whole_model_saved: 5,
    folders.merged_beside_adapter: 12,
    folders.base_differs: 12,
    folders.embeddings_saved: 12,
    folders.keys_would_not_load: 8,
    folders.update_saved_zero: 5,
    folders.tokenizer_missing: 12,
    folders.saved_tokenizer_too_large: 12,
}
