"""Records in the formats of others: Gradescope's results.json and JUnit XML."""

from collections import Counter
from xml.etree import ElementTree

from lora_course.grading.results.graded import is_ungraded, points
from lora_course.grading.results.harmless import clean, line

JUNIT = {"right": "", "wrong": "failure", "todo": "skipped", "broken": "error"}
JUNIT["ungraded"] = "error"


def label(exercise):
    """Number and name, as in a column's head."""
    return f"{exercise['number']} {exercise['name']}" + (" variant" if exercise["variant"] else "")


def gradescope(records):
    """What Gradescope reads from results.json, for the records of one student; a dict.

    Students see all of it, so that flags have no place here, and neither has the time that it took,
    which code could make to depend on a secret input. What is not graded has no score.
    """
    tests = [
        {
            "name": line(f"{exercise['number']} {exercise['title']}"),
            "number": exercise["number"],
            "score": exercise["points"],
            "max_score": exercise["out_of"],
            "status": "passed" if exercise["status"] == "right" else "failed",
            "output": clean(exercise["message"]),
            "output_format": "text",
            "visibility": "visible",
        }
        for record in records
        for exercise in record["exercises"]
    ]
    for test, status in zip(
        tests, (e["status"] for r in records for e in r["exercises"]), strict=True
    ):
        if status == "ungraded":
            del test["score"], test["status"]
    total = {"score": round(sum(points(record)[0] for record in records), 2)}
    return {
        **({} if any(map(is_ungraded, records)) else total),
        "output": "\n".join(clean(r["problem"]) for r in records if r["problem"]),
        "output_format": "text",
        "visibility": "visible",
        "stdout_visibility": "hidden",
        "tests": tests,
        "extra_data": {
            "assignments": [line(record["assignment"]) for record in records],
            "course_version": sorted({record["course_version"] for record in records}),
            "graded_at": max((record["graded_at"] for record in records), default=""),
        },
    }


def junit(records):
    """JUnit XML as text: a suite for each submission, a case for each exercise.

    Not done yet is "skipped", a wrong answer a failure, what could not be run an error.
    """
    root = ElementTree.Element("testsuites", name="lora-course")
    for record in records:
        student = record.get("shown", record["student"])
        name = line(f"{student}: {record['assignment'] or record['file']}")
        cases = [(label(e), JUNIT[e["status"]], e["message"]) for e in record["exercises"]]
        if record["problem"]:
            cases.append(("submission", "error", record["problem"]))
        counts = Counter(kind for _, kind, _ in cases)
        about = {"name": name, "tests": str(len(cases)), "time": f"{record['seconds']:.2f}"}
        about |= {"failures": str(counts["failure"]), "errors": str(counts["error"])}
        suite = ElementTree.SubElement(root, "testsuite", about, skipped=str(counts["skipped"]))
        for case, kind, message in cases:
            made = ElementTree.SubElement(suite, "testcase", classname=name, name=line(case))
            if kind:
                ElementTree.SubElement(made, kind, message=line(message)).text = clean(message)
    ElementTree.indent(root)
    text = ElementTree.tostring(root, "unicode")
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{text}\n'
