"""The reports: right numbers, no flag for students, hostile names and texts without effect."""

import csv
import html.parser
import json
import os
import re
from xml.etree import ElementTree

import pytest

from lora_course.grading.results.reports import write_reports

FILES = {"grades.csv", "canvas.csv", "junit.xml", "summary.md"}
HOSTILE = (
    "<script>alert(1)</script> & \"x\" 'y' | a | [b](http://c.example) **d** `e`\n"
    "\x00\x1b[31mred\x1b[0m \u202eback ]]> <!-- \ud800 \ufffe https://f.example www.g.example"
)


def exercise(number="3.1", points=20.0, out_of=20.0, status="right", message="fine", **more):
    name = {"3.1": "lora_linear", "3.2": "delta_weight", "10.1": "absmax"}[number]
    found = {"name": name, "number": number, "title": f"Title of {name}", "points": points}
    found |= {"out_of": out_of, "status": status, "message": message}
    return {**found, "hidden": False, "variant": False, **more}


def record(student="ann", exercises=None, assignment="03_the_lora_layer", **more):
    found = {
        "student": student,
        "file": f"{student}/{assignment}.ipynb",
        "chapter": assignment[:2],
        "assignment": assignment,
        "problem": "",
        "exercises": [exercise()] if exercises is None else exercises,
        "flags": [],
        "isolation": "full",
        "seconds": 1.25,
        "course_version": "0.1.0",
        "graded_at": "2026-01-02T03:04:05+00:00",
    }
    return {**found, **more}


CLASS = [
    record("bea", [exercise(), exercise("3.2", 7.5, 15.0, "wrong", "the scale is missing")]),
    record("ann", [exercise("3.2", 0.0, 15.0, "todo", "not done yet"), exercise()]),
    record("carl", [], problem="is not JSON"),
    record("ann", [exercise("10.1", 10.0, 10.0)], "10_quantization"),
]


def rows(path):
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_grades(tmp_path):
    write_reports(CLASS, tmp_path)
    found = {(row["student"], row["assignment"]): row for row in rows(tmp_path / "grades.csv")}
    assert len(found) == 4
    bea = found["bea", "03_the_lora_layer"]
    assert (bea["points"], bea["out_of"]) == ("27.5", "35")
    assert (bea["3.1 lora_linear"], bea["3.2 delta_weight"]) == ("20", "7.5")
    assert bea["10.1 absmax"] == "" and bea["problem"] == ""
    carl = found["carl", "03_the_lora_layer"]
    assert (carl["points"], carl["out_of"], carl["problem"]) == ("0", "35", "is not JSON")
    assert found["ann", "10_quantization"]["10.1 absmax"] == "10"
    head = list(bea)  # in the order of the course, whatever the order of the records
    assert [h for h in head if h[0].isdigit()] == [
        "3.1 lora_linear",
        "3.2 delta_weight",
        "10.1 absmax",
    ]
    assert (tmp_path / bea["feedback"]).is_file()


def test_canvas(tmp_path):
    better = record("bea", [exercise(), exercise("3.2", 15.0, 15.0)], file="bea/second.ipynb")
    download = record("doe", canvas_id="4321")
    again = record("doe 2", [exercise(points=5.0)], canvas_id="4321")
    forged = record("eve", file="doejane_4321_8765_03_the_lora_layer.ipynb")
    write_reports([*CLASS, better, download, again, forged], tmp_path)
    possible, *students = rows(tmp_path / "canvas.csv")
    assert possible["Student"].strip() == "Points Possible"
    assert (possible["03_the_lora_layer"], possible["10_quantization"]) == ("35", "10")
    found = {row["Student"]: row for row in students}
    assert found["bea"]["03_the_lora_layer"] == "35" and found["bea"]["SIS Login ID"] == "bea"
    assert found["ann"]["10_quantization"] == "10" and found["carl"]["10_quantization"] == ""
    assert found["doe"]["ID"] == "4321" and found["doe"]["SIS Login ID"] == ""
    assert found["doe"]["03_the_lora_layer"] == "20" and "doe 2" not in found
    assert found["eve"]["ID"] == "" and found["eve"]["SIS Login ID"] == "eve"
    head = (tmp_path / "canvas.csv").read_text().splitlines()[0]
    assert head.startswith("Student,ID,SIS User ID,SIS Login ID,Section,")


def test_gradescope(tmp_path):
    write_reports(CLASS, tmp_path)
    found = json.loads((tmp_path / "bea/results.json").read_text())
    assert found["score"] == 27.5 == sum(test["score"] for test in found["tests"])
    second = found["tests"][1]
    assert (second["number"], second["max_score"], second["status"]) == ("3.2", 15, "failed")
    assert second["output"] == "the scale is missing" and second["output_format"] == "text"
    assert found["stdout_visibility"] == "hidden"
    broken = json.loads((tmp_path / "carl/results.json").read_text())
    assert broken["score"] == 0 and broken["tests"] == [] and broken["output"] == "is not JSON"
    assert len(json.loads((tmp_path / "ann/results.json").read_text())["tests"]) == 3


def test_junit(tmp_path):
    raised = exercise("3.1", 0.0, status="broken", message="no numbers")
    write_reports([*CLASS, record("dora", [raised])], tmp_path)
    suites = {s.get("name"): s for s in ElementTree.parse(tmp_path / "junit.xml").getroot()}
    assert len(suites) == 5
    bea = suites["bea: 03_the_lora_layer"]
    assert (bea.get("tests"), bea.get("failures"), bea.get("errors")) == ("2", "1", "0")
    assert bea.find("testcase/failure").text == "the scale is missing"
    assert suites["ann: 03_the_lora_layer"].get("skipped") == "1"
    assert suites["carl: 03_the_lora_layer"].find("testcase/error").text == "is not JSON"
    assert suites["dora: 03_the_lora_layer"].get("errors") == "1"


def test_summary(tmp_path):
    write_reports(CLASS, tmp_path)
    text = (tmp_path / "summary.md").read_text()
    row = next(line for line in text.splitlines() if "bea" in line)
    assert "27.5 / 35" in row and row.count("|") == 6
    assert "10.1" not in text.split("## 10")[0]  # one table for each assignment


def test_summary_stays_under_the_limit(tmp_path, monkeypatch):
    monkeypatch.setattr("lora_course.grading.results.reports.SUMMARY_LIMIT", 2000)
    write_reports([record(f"student {n}") for n in range(200)], tmp_path)
    text = (tmp_path / "summary.md").read_text()
    assert len(text) < 2500 and "more rows than fit" in text
    assert len(rows(tmp_path / "grades.csv")) == 200


class Tags(html.parser.HTMLParser):
    def __init__(self):
        super().__init__()
        self.tags, self.text, self.attributes = [], "", []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs

    def handle_data(self, data):
        self.text += data


def test_feedback_page(tmp_path):
    write_reports(CLASS, tmp_path)
    text = (tmp_path / "bea/feedback.html").read_text()
    seen = Tags()
    seen.feed(text)
    for word in ("bea", "27.5 of 35", "right", "not right yet", "the scale is missing"):
        assert word in seen.text
    assert "prefers-color-scheme: dark" in text and "color-scheme: light dark" in text
    assert not {"script", "img", "link", "iframe", "a"} & set(seen.tags)  # self-contained
    assert "is not JSON" in (tmp_path / "carl/feedback.html").read_text()


def seen_on_page(tmp_path, *exercises, **more):
    write_reports([record("bea", list(exercises), **more)], tmp_path)
    text = (tmp_path / "bea/feedback.html").read_text()
    seen = Tags()
    seen.feed(text)
    return seen, text


def test_feedback_says_each_thing_once(tmp_path):
    """A title for a slug, one status, code as code, and the hints where they are spoken of."""
    broken = "3.2 Title of delta_weight: not right yet (0/15).\nSeen: a TypeError in `f(x)`."
    hints = ["Look at `B`, **not** at $A$.", "The `2**3 * 2**4` of it.", "<b>x</b>"]
    open_one = exercise("3.2", 0.0, 15.0, "broken", broken, hints=hints)
    done = exercise(
        message="3.1 Title of lora_linear: 20/20 points. Verified: numbers.", hints=hints
    )
    seen, text = seen_on_page(tmp_path, done, open_one, title="03 The LoRA layer")
    assert "03 The LoRA layer: 20 of 35 points" in seen.text
    assert "not right yet" not in seen.text and seen.text.count("could not be run") == 1
    assert text.count("Title of lora_linear") == 1 and "20/20 points" not in text
    assert "Verified: numbers." in seen.text and "Seen: a TypeError in f(x)." in seen.text
    assert seen.tags.count("details") == 3 and "Hint 3: nearly the answer" in seen.text
    assert "<code>f(x)</code>" in text and "<code>2**3 * 2**4</code>" in text
    assert "<strong>not</strong> at <em>A</em>" in text and "&lt;b&gt;x&lt;/b&gt;" in text
    assert "`" not in seen.text
    after = re.search(r"What next: (.*)", seen.text)[1]
    assert after.startswith("3.2 Title of delta_weight.") and "15 points are still open" in after


def test_what_next(tmp_path):
    todo = exercise(
        "3.2", 0.0, 15.0, "todo", "3.2 Title of delta_weight: not done yet. Replace it."
    )
    seen, _ = seen_on_page(tmp_path / "1", todo, exercise("10.1", 4.0, 10.0, "wrong"))
    assert "What next: 10.1" in seen.text and "Replace it." in seen.text  # first what was begun
    assert seen.text.count("not done yet") == 1
    seen, _ = seen_on_page(tmp_path / "2", exercise())
    assert "What next: all is right" in seen.text
    gap = exercise(status="ungraded", message="3.1 Title of lora_linear: not graded, by no fault.")
    seen, _ = seen_on_page(tmp_path / "3", gap)
    assert "What next: nothing to be done by you" in seen.text and "By no fault." in seen.text
    lost = exercise(status="broken", message="is not JSON", points=0.0, hints=["a", "b", "c"])
    seen, _ = seen_on_page(tmp_path / "4", lost, problem="is not JSON")
    assert "hand the notebook in again" in seen.text and "Hint" not in seen.text
    assert seen.text.count("is not JSON") == 1


@pytest.mark.parametrize("where", ["student", "message", "problem", "file", "assignment"])
def test_hostile_text_has_no_effect(tmp_path, where):
    hostile = record("ann", [exercise(message=HOSTILE if where == "message" else "fine")])
    if where != "message":
        hostile[where] = HOSTILE
    write_reports([hostile, record("bea")], tmp_path)
    folder = next(path for path in tmp_path.iterdir() if path.is_dir() and path.name != "bea")
    plain = Tags()
    plain.feed((tmp_path / "bea/feedback.html").read_text())
    seen = Tags()
    seen.feed((folder / "feedback.html").read_text())
    extra = set(seen.attributes) - set(plain.attributes)
    allowed = {*plain.tags, "p", "code"}  # `e` is shown as code
    assert set(seen.tags) <= allowed and extra <= {("class", "message problem")}
    ElementTree.parse(tmp_path / "junit.xml")
    json.loads((folder / "results.json").read_text())
    assert len(rows(tmp_path / "grades.csv")) == 2
    summary = (tmp_path / "summary.md").read_text()
    assert not set("<>`[]*") & set(summary.replace("<!-- -->", ""))
    assert not re.search(r"https?:|www\.", summary)  # GitHub makes links of these
    for path in tmp_path.rglob("*.*"):
        text = path.read_text(encoding="utf-8") if path.is_file() else ""
        assert not set(text) & set("\x00\x1b\ufffe\u202e")


def test_flags_are_for_the_instructor(tmp_path):
    flagged = record(flags=["imports peft", "the notebook deletes files"])
    write_reports([flagged, record("bea")], tmp_path)
    found = [
        path for path in tmp_path.rglob("*.*") if path.is_file() and b"peft" in path.read_bytes()
    ]
    assert found == [tmp_path / "grades.csv"]
    assert rows(tmp_path / "grades.csv")[0]["flags"] == "imports peft; the notebook deletes files"


@pytest.mark.parametrize(
    "name", ["=1+1", "+1", "-1", "@x", "\t=1", "\r=1", " =1", "＝1", "\u200b=1"]
)
def test_no_cell_is_a_formula(tmp_path, name):
    write_reports([record(name, problem=name, flags=[name], file=name, assignment=name)], tmp_path)
    for file in ("grades.csv", "canvas.csv"):
        for row in csv.reader((tmp_path / file).read_text().splitlines()):
            for value in row[:5] + row[-8:]:
                assert not value.startswith(("=", "+", "-", "@", "\t", "\r", "＝")), (file, value)


STRANGE = [
    *("../../etc", "a/b", "a\\b", "..", ".", "", " ", "CON", "nul.txt", "grades.csv", ".hidden"),
    *("李雷", "Łukasz Żółć", "мария", "عمر", 'o\'neil, "x"', "a:b", "a*?b", "x" * 300, "é" * 200),
    *("ann", "Ann", "ANN ", "ann.", "e\u0301ve", "\u00e9ve", "\udcff", "tab\there", "\n", "a\x00b"),
]


def test_strange_names_get_their_reports(tmp_path):
    write_reports([record(name) for name in STRANGE], tmp_path)
    assert {path.name for path in tmp_path.iterdir() if path.is_file()} == FILES
    assert sum(path.is_dir() for path in tmp_path.iterdir()) == len(STRANGE)
    for row in rows(tmp_path / "grades.csv"):
        assert (tmp_path / row["feedback"].removeprefix("'")).is_file()


def test_an_old_report_is_replaced_whole(tmp_path, monkeypatch):
    write_reports(CLASS, tmp_path)
    before = (tmp_path / "grades.csv").read_bytes()

    def stop(*paths):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", stop)
    with pytest.raises(OSError):
        write_reports([record("zoe")], tmp_path)
    assert (tmp_path / "grades.csv").read_bytes() == before


def test_nobody_handed_in(tmp_path):
    write_reports([], tmp_path)
    assert rows(tmp_path / "grades.csv") == []
    assert len(ElementTree.parse(tmp_path / "junit.xml").getroot()) == 0


def test_what_is_not_graded_is_blank(tmp_path):
    """Not a zero in any report."""
    parts = [exercise(), exercise("3.2", 0.0, 15.0, "ungraded", "not graded")]
    gaps = [record("ann", parts), record("bea", [], ungraded=True, problem="Not graded: a link")]
    write_reports([*gaps, record("carl", parts[:1])], tmp_path)
    found = {row["student"]: row for row in rows(tmp_path / "grades.csv")}
    assert [found[s]["points"] for s in ("ann", "bea", "carl")] == ["", "", "20"]
    assert found["ann"]["3.2 delta_weight"] == "" and found["ann"]["3.1 lora_linear"] == "20"
    _, *students = rows(tmp_path / "canvas.csv")
    assert {r["Student"]: r["03_the_lora_layer"] for r in students} == {
        "ann": "",
        "bea": "",
        "carl": "20",
    }
    made = json.loads((tmp_path / "ann/results.json").read_text())
    assert "score" not in made and "score" not in made["tests"][1]
    assert made["tests"][0]["score"] == 20
    assert "no zero either" in (tmp_path / "ann/feedback.html").read_text()
    assert "not graded / 35" in (tmp_path / "summary.md").read_text()
    junit = ElementTree.parse(tmp_path / "junit.xml").getroot()
    assert junit[0].get("errors") == "1"


def test_no_two_rows_read_alike(tmp_path):
    names = ["ann", "ann ", "a\u200bnn", "аnn", "ａnn", "an\u0301n", "Ann", "ann\u00a0", "bea"]
    write_reports([record(name) for name in names], tmp_path)
    for file in ("grades.csv", "canvas.csv"):
        seen = [list(row.values())[0] for row in rows(tmp_path / file)]
        seen = [name for name in seen if "Points" not in name]
        assert len(set(seen)) == len(names) and {"ann", "Ann", "bea"} <= set(seen)
        assert all("[" in name for name in seen if name not in ("ann", "Ann", "bea"))
    logins = {row["SIS Login ID"] for row in rows(tmp_path / "canvas.csv")}
    assert logins == {"", "ann", "Ann", "bea"}


def test_time_is_not_told_to_students(tmp_path):
    write_reports([record(seconds=12.5)], tmp_path)
    for path in (tmp_path / "ann").iterdir():
        assert "12.5" not in path.read_text() and "execution_time" not in path.read_text()
