"""The card of a model that was changed: written from the facts of a run, and checked.

The first part is what the hub reads, the table at the end is what Regulation (EU) 2024/1689 (the AI
Act) asks of whoever modifies a general-purpose model: recital 109 limits the duties to the change,
Article 53(1) and Annex XI, section 1, name the points. Openly licensed models are free of (a) and
(b), not of (c) and (d): Article 53(2). Help for writing, not legal advice.
"""

NEEDED = {
    "name": "what the changed model is called",
    "base": "id of the base model", "base_license": "licence of the base",
    "license": "licence of the changed model, as the hub spells it",
    "data": "where the new training data come from", "rows": "number of new training rows",
    "hyperparameters": "dict", "changed": "names of the changed modules",
    "parameters": "all parameters", "trained": "parameters that were trained",
    "metric": "name of the metric", "before": "its value for the base",
    "after": "its value for the changed model", "test_rows": "number of rows it was measured on",
    "intended_use": "what it is for", "limits": "what it is not for, and what is not known",
    "flops": "floating point operations of the change",
    "input": "form of input and output", "how_to_load": "what is needed to run it",
}  # fmt: skip
EU_POINTS = (
    ("Annex XI 1(1)(a)", "tasks, and systems it may go into", "{intended_use}"),
    ("Annex XI 1(1)(b)", "acceptable use", "{limits}"),
    ("Annex XI 1(1)(c)", "release and distribution", "{release}"),
    ("Annex XI 1(1)(d)", "architecture, parameters",
     "as the base; {trained:,} numbers trained, {parameters:,} in the merged model"),
    ("Annex XI 1(1)(e)", "modality and format", "{input}"),
    ("Annex XI 1(1)(f)", "licence", "{license} (base: {base_license})"),
    ("Annex XI 1(2)(a)", "means for integration", "{how_to_load}"),
    ("Annex XI 1(2)(b)", "training method and choices", "see Training"),
    ("Annex XI 1(2)(c)", "data of the change", "{rows:,} new rows; {data}"),
    ("Annex XI 1(2)(d)", "compute of the change", "{flops:.1e} FLOP (estimated)"),
    ("Annex XI 1(2)(e)", "energy", "{energy}"),
    ("Art. 53(1)(c)", "copyright policy", "{copyright}"),
    ("Art. 53(1)(d)", "summary of training content", "{summary}"),
)  # fmt: skip
LATER = {
    "release": "not released", "energy": "not measured", "copyright": "to be written",
    "summary": "to be written on the Commission's template, for the new data alone",
}  # fmt: skip


def training_flops(parameters, trained, tokens):
    """Floating point operations of a LoRA training, estimated.

    2 for each frozen weight and token forward, 2 backward to the layer below, and 2 more for each
    trained one. parameters: all of the base. tokens: in all batches together, with padding.
    """
    return (4 * parameters + 6 * trained) * tokens


def model_card(facts):
    """The text of README.md: metadata that the hub reads, then prose and tables.

    facts: a dict with every key of NEEDED; keys of LATER are optional.
    Raises ValueError when a fact is missing: it says which, and what it is.
    """
    from huggingface_hub import EvalResult, ModelCardData

    missing = [f"{key} ({NEEDED[key]})" for key in NEEDED if facts.get(key) in (None, "", [], {})]
    if missing:
        raise ValueError(f"The card lacks {', '.join(missing)}. Measure it or ask; do not guess.")
    facts = LATER | facts
    result = EvalResult(
        task_type="text-generation", dataset_type="generated", dataset_name=facts["data"],
        dataset_split="test", metric_type="exact_match", metric_name=facts["metric"],
        metric_value=round(facts["after"], 3),
    )  # fmt: skip
    about = ModelCardData(
        base_model=facts["base"], base_model_relation="finetune", license=facts["license"],
        library_name="transformers", pipeline_tag="text-generation", model_name=facts["name"],
        tags=["lora", "merged"], eval_results=[result],
    )  # fmt: skip
    settings = [f"| {key} | {value} |" for key, value in facts["hyperparameters"].items()]
    points = [f"| {where} | {what} | {text.format(**facts)} |" for where, what, text in EU_POINTS]
    lines = [
        "---", about.to_yaml(), "---", "", f"# {facts['name']}", "",
        f"Made from {facts['base']} by LoRA, then merged: the weights are changed, size and "
        "architecture are not.", "",
        "## Intended use", "", facts["intended_use"], "", "## Limits", "", facts["limits"], "",
        "## Training", "", f"Data: {facts['data']}, {facts['rows']:,} rows.", "",
        "| setting | value |", "| --- | --- |", *settings, "",
        f"Changed modules: {', '.join(facts['changed'])}.", "",
        "## Evaluation", "", "| model | " + facts["metric"] + " |", "| --- | --- |",
        f"| base | {facts['before']:.1%} |", f"| this model | {facts['after']:.1%} |", "",
        f"On {facts['test_rows']:,} rows of the test split, none of which was trained on.", "",
        "## Documentation of the change", "",
        "The points that Regulation (EU) 2024/1689 names, for the change alone (recital 109). "
        "For the base, see its own card.", "",
        "| source | asked for | answer |", "| --- | --- | --- |", *points, "",
    ]  # fmt: skip
    return "\n".join(lines)


def card_problems(text):
    """What a reader of this card would miss: a list of sentences, empty when there is nothing.

    text: of README.md. Reads it as the hub does; nothing is sent.
    """
    from huggingface_hub import ModelCard

    card = ModelCard(text)
    about, body = card.data, f"\n{card.text}"
    results = about.get("eval_results") or []
    lacking = {
        "The base model is not named.": not about.get("base_model"),
        "There is no licence.": not about.get("license"),
        "No result on a test split.": not any(r.dataset_split == "test" for r in results),
        "It does not say which modules were changed.": "Changed modules: " not in body,
    }
    for title in ("Intended use", "Limits", "Training", "Evaluation"):
        said = body.partition(f"\n## {title}\n")[2].partition("\n## ")[0].strip()
        lacking[f"The section {title} is missing or empty."] = not said
    return [sentence for sentence, lacks in lacking.items() if lacks]
