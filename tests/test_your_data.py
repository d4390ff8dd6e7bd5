"""Data of one's own: from a file, and a sentence for what cannot be used."""

import json

import pytest

from lora_course.kit import data


def test_own_data_from_a_file(tmp_path, monkeypatch):
    file = tmp_path / "mine.jsonl"
    lines = [json.dumps({"prompt": f"p{i}", "completion": f"c{i}"}) for i in range(50)]
    file.write_text("\n".join(lines))
    monkeypatch.setenv("LORA_COURSE_DATA", str(file))
    task = data.load_task()
    assert set(task) == {"train", "validation", "test"}
    assert sum(len(rows) for rows in task.values()) == 50
    assert len(data.load_task("hard")["test"]) == data.SIZES["test"]  # a name counts more


def test_unfit_data_says_what_to_do(tmp_path):
    with pytest.raises(ValueError, match="no file .*nowhere.jsonl"):
        data.load_task(str(tmp_path / "nowhere.jsonl"))
    file = tmp_path / "other.jsonl"
    file.write_text('{"question": "a", "answer": "b"}\n')
    with pytest.raises(ValueError, match="no completion and no prompt.*Rename"):
        data.load_task(str(file))
    file.write_text("not json\n")
    with pytest.raises(ValueError, match="could not be loaded.*prompt and completion"):
        data.load_task(str(file))
    with pytest.raises(ValueError, match="questions, clinic"):
        data.load_task("qestions")
