"""A project that holds every property of the rubric, and projects that look as good and do not.

One is trained for the module; most wrong ones are its copy with one thing done as people do it.
"""

import hashlib
import json
import shutil
from functools import cache, partial, wraps

import pytest

from lora_course.kit.clean import as_row, cleaned, split
from lora_course.kit.data import encode
from lora_course.kit.models import load_base, load_tokenizer
from lora_course.kit.town import messy
from lora_course.rubric import conduct, used_rows, whole
from lora_course.rubric.judge import RUBRIC, as_lines, judge_project
from lora_course.rubric.project import Project


def clean(rows, test, tokens, limit, wrong):
    return cleaned(rows, test, tokens, limit)[0]


def first(runs, keep, megabytes):
    return 0


kinds, hidden = cache(messy.kinds), cache(messy.hidden)  # the same at every call
make = partial(whole.make_project, clean=clean, split=split, decide=first, rates=(0.003,))


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    folder = tmp_path_factory.mktemp("good")
    make(folder, seeds=(0,), steps=45)
    return folder


@pytest.fixture
def copy(good, tmp_path):
    return shutil.copytree(good, tmp_path / "copy")


FILES = {"base": (), "merged": ("merged",), "adapted": ("adapter",)}  # what each model is read from


def as_read(project, model):
    """All bytes that a model is read from, in short; its card is not among them."""
    files = [f for part in FILES[model] for f in sorted((project.folder / part).iterdir())]
    return model, *(
        (file.name, hashlib.sha256(file.read_bytes()).digest())
        for file in files
        if file.name != "README.md"
    )


@pytest.fixture(scope="module")
def once():
    """The same files on the same rows, with the same tokenizer, score the same: measured once.

    The reference is judged without this.
    """
    known, real = {}, Project.measure

    def measure(self, model, rows):
        given = getattr(self, model), getattr(self, rows)  # what fails to load, fails
        asked = as_read(self, model), rows, json.dumps(given[1]), self.tokenizer.chat_template
        if asked not in known:
            known[asked] = real(self, model, rows)
        return known[asked]

    return measure


@pytest.fixture(scope="module")
def look_ups_once():
    """The same weights find the same words: asked once."""
    known, real = {}, conduct.look_ups

    def look_ups(model, tokenizer):
        text = hashlib.sha256(model.config.to_json_string().encode())
        for name, tensor in model.state_dict().items():
            text.update(name.encode() + tensor.numpy().tobytes())
        if text.digest() not in known:
            known[text.digest()] = real(model, tokenizer)
        return known[text.digest()]

    return look_ups


@pytest.fixture(scope="module")
def rules():
    """The rubric; whether the same model stops on the same rows is asked once."""
    known = {}

    @wraps(conduct.stops)
    def stops(p):
        p.merged.eval()  # what fails to load, fails
        asked = as_read(p, "merged"), json.dumps(p.hidden), p.tokenizer.chat_template
        if asked not in known:
            known[asked] = conduct.stops(p)
        return known[asked]

    return [stops if rule is conduct.stops else rule for rule in RUBRIC]


CODED = {}


def encoded_once(tokenizer, prompt, completion):
    """For the base's tokenizer, of which a project changes the template alone."""
    asked = tokenizer.chat_template, prompt, completion
    if asked not in CODED:
        CODED[asked] = encode(tokenizer, prompt, completion)
    return CODED[asked]


@pytest.fixture
def open_ones(once, look_ups_once, rules, monkeypatch):
    def names(folder):
        with monkeypatch.context() as patch:
            patch.setattr(Project, "measure", once)
            patch.setattr(conduct, "look_ups", look_ups_once)
            patch.setattr(messy, "kinds", kinds)
            patch.setattr(messy, "hidden", hidden)
            patch.setattr(used_rows, "encode", encoded_once)
            found = judge_project(folder, rules=rules)
            return {one.name for one in found if one.holds is False}

    return names


@pytest.fixture
def make_wrong(monkeypatch):
    """A project for its faults: its one run is shipped, so nothing is asked to choose it."""
    test, real = messy.messy()[1], whole.measure

    def measure(model, tokenizer, rows):
        return real(model, tokenizer, rows) if rows == test else (0.0, 0.0, None)

    monkeypatch.setattr(whole, "measure", measure)
    monkeypatch.setattr(whole, "look_ups", lambda model, tokenizer: 1.0)
    return partial(make, seeds=(0,))


@pytest.mark.slow
def test_the_reference_holds_every_property_for_every_judge(good):
    assert len(RUBRIC) >= 10
    for seed in (0, 7):
        found = judge_project(good, seed)
        assert all(one.holds for one in found), as_lines(found)
    assert f"{len(RUBRIC)} of {len(RUBRIC)}" in as_lines(found)


@pytest.mark.slow
def test_nothing_cleaned(tmp_path, make_wrong, open_ones):
    """However it scores, its rows tell."""
    make_wrong(tmp_path, clean=lambda rows, *_: [as_row(row) for row in rows], steps=5)
    bad = open_ones(tmp_path)
    assert {"no leak", "no copies", "no wrong labels", "one format"} <= bad
    assert not bad & {"adapter only", "merged is adapter", "card complete", "tokenizer saved"}


@pytest.mark.slow
def test_a_run_that_never_learned_to_stop(tmp_path, monkeypatch, make_wrong, open_ones):
    def without_end(*given, **settings):
        for batch in batches(*given, **settings):
            for row in batch["labels"]:
                row[(row != -100).nonzero()[-1]] = -100
            yield batch

    batches = whole.batches
    monkeypatch.setattr(whole, "batches", without_end)
    make_wrong(tmp_path, steps=20)
    assert open_ones(tmp_path) == {"stops", "score"}


@pytest.mark.slow
def test_a_rate_that_forgets(tmp_path, make_wrong, open_ones):
    make_wrong(tmp_path, rates=(0.02,), steps=40)
    assert open_ones(tmp_path) == {"old skills"}


@pytest.mark.slow
def test_the_whole_embedding_in_the_adapters_file(copy, open_ones):
    from peft import PeftModel

    model = PeftModel.from_pretrained(load_base(), copy / "adapter")
    model.save_pretrained(copy / "adapter", save_embedding_layers=True)
    file = copy / "adapter/adapter_config.json"
    config = json.loads(file.read_text()) | {"base_model_name_or_path": whole.NAME}
    file.write_text(json.dumps(config))
    assert {"adapter only"} <= open_ones(copy)


@pytest.mark.slow
def test_adapter_and_merged_model_in_one_folder(copy, open_ones):
    for file in (copy / "adapter").glob("adapter_*"):
        shutil.copy(file, copy / "merged")
    bad = open_ones(copy)
    assert "merged is plain" in bad and "merged is adapter" in bad


def done(kind, folder):
    """One wrong thing in a good project; returns what the judge must find open."""
    config, card = folder / "adapter/adapter_config.json", folder / "merged/README.md"
    if kind == "a row of the test is among the training rows":
        with (folder / "train.jsonl").open("a") as file:
            row = messy.messy()[1][3]
            file.write(json.dumps(row | {"prompt": row["prompt"].upper() + "  "}) + "\n")
        return {"no leak", "card true"}
    if kind == "validation rows are training rows":
        shutil.copy(folder / "train.jsonl", folder / "validation.jsonl")
        return {"no copies", "good rows kept"}
    if kind == "a row in the other format":
        with (folder / "train.jsonl").open("a") as file:
            file.write(
                json.dumps(
                    {
                        "messages": [
                            {"role": "user", "content": "Who?"},
                            {"role": "assistant", "content": "Me."},
                        ]
                    }
                )
                + "\n"
            )
        return {"one format", "card true"}
    if kind == "a row that is none":
        with (folder / "validation.jsonl").open("a") as file:
            file.write('{"prompt": "Who?"}\n')
        return {"one format", "no leak", "no copies", "no wrong labels", "good rows kept",
                "merged is adapter", "tokenizer saved", "score", "stops"}  # fmt: skip
    if kind == "half of the good rows thrown away":
        lines = (folder / "train.jsonl").read_text().splitlines(keepends=True)
        (folder / "train.jsonl").write_text("".join(lines[::2]))
        return {"good rows kept", "card true"}
    if kind == "the test was thrown away":
        (folder / "test.jsonl").unlink()
        return {"no leak", "card true"}
    if kind == "merged in bfloat16":
        load_base(str(folder / "merged")).bfloat16().save_pretrained(folder / "merged")
        return {"merged is adapter"}
    if kind == "the base's path":
        text = config.read_text().replace(whole.NAME, "/home/me/base")
        config.write_text(text)
        return {"base named"}
    if kind == "no tokenizer":
        for file in folder.glob("merged/tokenizer*"):
            file.unlink()
        return {"tokenizer saved"}
    if kind == "no chat template":
        (folder / "merged/chat_template.jinja").unlink()
        return {"tokenizer saved"}
    if kind == "another tokenizer":
        tokenizer = load_tokenizer()
        tokenizer.chat_template = tokenizer.chat_template.replace("<|user|>", "user: ").replace(
            "'<|' + message['role'] + '|>'", "message['role']")  # fmt: skip
        tokenizer.save_pretrained(folder / "merged")
        return {"tokenizer saved"}
    if kind == "the config has another alpha":
        config.write_text(config.read_text().replace('"lora_alpha": 16', '"lora_alpha": 8'))
        return {"merged is adapter", "card true"}
    if kind == "the card is not written":
        card.write_text("# my model\n")
        return {"card complete", "card true", "base named"}
    if kind == "the card boasts":
        text = card.read_text()
        assert "| base | 0.0% |" in text
        card.write_text(text.replace("| base | 0.0% |", "| base | 12.0% |"))
        return {"card true"}
    if kind == "an unfinished card":
        card.write_text(card.read_text() + "\n[More Information Needed]\n")
        return {"card complete"}
    assert kind == "the base as the merged model"
    load_base().save_pretrained(folder / "merged")
    return {"merged is adapter", "score", "stops", "card true"}


KINDS = (
    "a row of the test is among the training rows", "validation rows are training rows",
    "a row in the other format", "a row that is none",
    "half of the good rows thrown away", "the test was thrown away", "merged in bfloat16",
    "the base's path", "no tokenizer", "no chat template", "another tokenizer",
    "the config has another alpha", "the card is not written", "the card boasts",
    "an unfinished card", "the base as the merged model",
)  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_one_wrong_thing_opens_its_properties_and_no_others(kind, copy, open_ones):
    wanted = done(kind, copy)
    assert open_ones(copy) == wanted


@pytest.mark.slow
def test_an_empty_folder_is_judged(tmp_path):
    found = judge_project(tmp_path)
    assert not any(one.holds for one in found)
    assert "0 of 16" in as_lines(found)
