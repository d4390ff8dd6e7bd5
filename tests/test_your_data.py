"""Data of one's own: from a file, and a sentence for what cannot be used."""

import json

import pytest
from datasets import Dataset

from lora_course.kit import data


def lines(rows):
    return "".join(json.dumps(row) + "\n" for row in rows)


def some(n=50):
    return [{"prompt": f"p{i}", "completion": f"c{i}"} for i in range(n)]


def written(folder, text, name="mine.jsonl", encoding="utf-8"):
    (folder / name).write_text(text, encoding=encoding, newline="")
    return str(folder / name)


def test_own_data_from_a_file(tmp_path, monkeypatch):
    monkeypatch.setenv("LORA_COURSE_DATA", written(tmp_path, lines(some())))
    task = data.load_task()
    assert set(task) == {"train", "validation", "test"}
    assert sum(len(rows) for rows in task.values()) == 50
    assert len(data.load_task("hard")["test"]) == data.SIZES["test"]  # a name counts more


def test_unfit_data_says_what_to_do(tmp_path):
    with pytest.raises(ValueError, match="no file .*nowhere.jsonl"):
        data.load_task(str(tmp_path / "nowhere.jsonl"))
    with pytest.raises(ValueError, match="no completion and no prompt.*Rename"):
        data.load_task(written(tmp_path, '{"question": "a", "answer": "b"}\n'))
    with pytest.raises(ValueError, match="could not be loaded.*prompt and completion.*line 1"):
        data.load_task(written(tmp_path, "not json\n"))
    with pytest.raises(ValueError, match="line 2 is a list"):
        data.load_task(written(tmp_path, lines(some(1)) + "[1]\n"))
    with pytest.raises(ValueError, match="questions, clinic"):
        data.load_task("qestions")


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("crlf.jsonl", lines(some()).replace("\n", "\r\n")),
        ("bom.jsonl", "\ufeff" + lines(some())),
        ("list.json", json.dumps(some())),
        ("blank.jsonl", lines(some()).replace("\n", "\n\n")),
        ("comma.csv", "prompt,completion\n" + "".join(f"p{i},c{i}\n" for i in range(50))),
        ("odd.jsonl", lines([*some(49), {"prompt": "a\u2028b \u05d0 😀", "completion": "c"}])),
    ],
)
def test_forms_of_a_file(name, text, tmp_path):
    task = data.load_task(written(tmp_path, text, name))
    assert {split: len(rows) for split, rows in task.items()} == {
        "train": 38, "validation": 6, "test": 6,
    }  # fmt: skip
    found = {row["prompt"]: row["completion"] for rows in task.values() for row in rows}
    assert len(found) == 50 and all(found[f"p{i}"] == f"c{i}" for i in range(49))


def test_parquet_and_a_folder_of_splits(tmp_path):
    Dataset.from_list(some()).to_parquet(tmp_path / "rows.parquet")
    assert sum(map(len, data.load_task(str(tmp_path / "rows.parquet")).values())) == 50
    folder = tmp_path / "splits"
    folder.mkdir()
    written(folder, lines(some(40)), "train.jsonl")
    written(folder, lines([{"prompt": f"t{n}", "completion": "u"} for n in range(7)]), "test.jsonl")
    task = data.load_task(str(folder))
    assert list(task["test"]["prompt"]) == [f"t{n}" for n in range(7)]
    assert len(task["validation"]) == 6 and len(task["train"]) == 34


@pytest.mark.parametrize(
    ("cell", "seen"),
    [
        (None, "NoneType, 'None'"),
        (5, "int, '5'"),
        (True, "bool"),
        (["a", "b"], "list of 2 messages"),
        ({"text": "a"}, "dict"),
    ],
)
@pytest.mark.parametrize("column", ["prompt", "completion"])
def test_a_cell_of_the_wrong_type_is_named(cell, seen, column, tmp_path):
    rows = some()
    rows[37][column] = cell
    place = written(tmp_path, lines(rows))
    with pytest.raises(ValueError, match=f"{place}, train row 37, column {column}: {seen}"):
        data.load_task(place)


def test_a_row_that_lacks_a_column_is_named(tmp_path):
    rows = [*some(), {"prompt": "alone"}]
    with pytest.raises(ValueError, match="train row 50, column completion: NoneType"):
        data.load_task(written(tmp_path, lines(rows)))
    text = "prompt,completion\n" + "p,c\n" * 30 + "alone\n"
    with pytest.raises(ValueError, match="train row 30, column completion: NoneType"):
        data.load_task(written(tmp_path, text, "short.csv"))


def test_a_comma_without_quotes_cuts_no_answer(tmp_path):
    text = "prompt,completion\n" + "p,c\n" * 30 + "Is it so?,Yes, it is\n"
    with pytest.raises(ValueError, match="line 32 has more cells than columns"):
        data.load_task(written(tmp_path, text, "commas.csv"))


@pytest.mark.parametrize("name", ["latin.jsonl", "latin.csv"])
def test_another_encoding_is_named_with_its_line(name, tmp_path):
    text = lines(some(3)) if name.endswith("l") else "prompt,completion\nq,a\nr,b\n"
    text += '{"prompt": "café", "completion": "b"}\n' if name.endswith("l") else "café,b\n"
    with pytest.raises(ValueError, match="could not be loaded.*line 4 is not in UTF-8"):
        data.load_task(written(tmp_path, text, name, "latin-1"))


def talk(i, **more):
    return [
        {"role": "user", "content": f"p{i}", **more},
        {"role": "assistant", "content": f"c{i}", **more},
    ]


@pytest.mark.parametrize("form", ["messages", "halves"])
def test_talks_of_trl_are_understood(form, tmp_path):
    rows = [
        {"messages": talk(i)}
        if form == "messages"
        else {"prompt": talk(i)[:1], "completion": talk(i)[1:]}
        for i in range(50)
    ]
    task = data.load_task(written(tmp_path, lines(rows)))
    want = data.load_task(written(tmp_path, lines(some()), "plain.jsonl"))
    assert all(task[split][:] == want[split][:] for split in want)


@pytest.mark.parametrize(
    ("messages", "seen"),
    [
        ([{"role": "system", "content": "s"}, *talk(0)], "prompt: list of 2 messages"),
        ([*talk(0), *talk(1)], "prompt: list of 3 messages"),
        (talk(0)[:1], "prompt: list of 0 messages"),
        (talk(0)[::-1], "prompt: list of 1 messages"),
        ([{"role": "user", "content": [{"type": "image"}]}, talk(0)[1]], "prompt: list"),
        (None, "prompt: list of 0 messages"),
        ("hello", "prompt: list of 0 messages"),
    ],
)
def test_other_talks_are_named(messages, seen, tmp_path):
    rows = [{"messages": talk(i)} for i in range(50)]
    rows[8]["messages"] = messages
    with pytest.raises(ValueError, match=f"train row 8, column {seen}.*longer talks"):
        data.load_task(written(tmp_path, lines(rows)))


@pytest.mark.parametrize("count", [0, 1, 2, 12, 39])
def test_too_few_rows(count, tmp_path):
    with pytest.raises(ValueError, match=f"{count} different prompts|no completion and no prompt"):
        data.load_task(written(tmp_path, lines(some(count))))


@pytest.mark.parametrize("count", [40, 41, 100, 1000])
def test_enough_rows(count, tmp_path):
    task = data.load_task(written(tmp_path, lines(some(count))))
    assert sum(map(len, task.values())) == count and min(map(len, task.values())) >= 6


def test_the_same_prompt_is_in_one_split_only(tmp_path):
    rows = [{"prompt": f"p{i % 50}", "completion": f"c{i}"} for i in range(100)]
    task = data.load_task(written(tmp_path, lines(rows)))
    prompts = [set(task[split]["prompt"]) for split in task]
    assert sum(map(len, prompts)) == len(set.union(*prompts)) == 50
    assert sum(map(len, task.values())) == 100
    again = data.load_task(written(tmp_path, lines(rows)))
    assert all(task[split][:] == again[split][:] for split in task)


def test_five_distinct_rows_of_a_hundred(tmp_path):
    with pytest.raises(ValueError, match="5 different prompts in 100 rows. Give at least 40"):
        data.load_task(written(tmp_path, lines(some(5) * 20)))


def test_splits_that_share_prompts(tmp_path):
    written(tmp_path, lines(some(50)), "train.jsonl")
    written(tmp_path, lines(some(10)), "test.jsonl")
    with pytest.warns(UserWarning, match="were in other splits.*'train': 10"):
        task = data.load_task(str(tmp_path))
    assert len(task["test"]) == 10 and len(task["train"]) + len(task["validation"]) == 40
    assert not set(task["test"]["prompt"]) & set(task["train"]["prompt"])


def test_a_train_split_that_is_all_in_test(tmp_path):
    for name in ("train.jsonl", "test.jsonl"):
        written(tmp_path, lines(some(60)), name)
    with pytest.raises(ValueError, match="too few rows .*0 in train"):
        data.load_task(str(tmp_path))
