import html
import io
import json
import re
import subprocess
import sys

import pytest

from lora_course.checks.display import Box, say

ATTACK = '<script>alert("x")</script> & `<b>code</b>` "quoted"'

IPYTHON = """
import json
from IPython.core.interactiveshell import InteractiveShell
from IPython.utils.capture import capture_output
shell = InteractiveShell.instance()
shell.run_cell("from tests.ch97 import scaled")
shown = []
for body in ("x * scale", "x", "undefined_name", "(_ for _ in ()).throw(NotImplementedError)"):
    shell.run_cell(f"def learner(x, scale):\\n    return {body}")
    with capture_output() as seen:
        done = shell.run_cell("scaled(learner)")
    assert done.success and done.result is None
    shown.append([seen.stdout, seen.stderr, [out.data for out in seen.outputs]])
print(json.dumps(shown))
"""


def words(page):
    """What a reader sees of the HTML, line by line."""
    return html.unescape(re.sub(r"<[^>]+>", "", page.replace("<br>", "\n")))


@pytest.mark.parametrize("state", ["right", "todo", "wrong"])
def test_html_says_the_same_as_the_text(state):
    text = f"3.1 Layer: not right yet (0/10).\nSeen: {ATTACK}.\nStuck?"
    box = Box(text, state)
    assert repr(box) == text
    assert words(box._repr_html_()) == text.replace("`", "")
    assert "<script" not in box._repr_html_() and "<b>" not in box._repr_html_()
    assert "<code>&lt;b&gt;code&lt;/b&gt;</code>" in box._repr_html_()


def test_states_differ_by_more_than_color():
    looks = [Box("a", state)._repr_html_() for state in ("right", "todo", "wrong")]
    assert [re.search(r"6px (\w+)", look)[1] for look in looks] == ["solid", "dashed", "double"]
    assert all("color: inherit" in look for look in looks)  # the theme's own text color


def test_terminal_without_unicode(monkeypatch):
    narrow = io.TextIOWrapper(io.BytesIO(), encoding="cp1252")
    monkeypatch.setattr(sys, "stdout", narrow)
    say("Δ ok")
    narrow.flush()
    assert narrow.buffer.getvalue().split() == [b"?", b"ok"]


def test_in_ipython(tmp_path, monkeypatch):
    monkeypatch.setenv("LORA_COURSE_HOME", str(tmp_path))
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path))
    done = subprocess.run([sys.executable, "-c", IPYTHON], capture_output=True, text=True)
    assert done.returncode == 0 and done.stderr == "", done.stderr
    shown = json.loads(done.stdout)
    for stdout, stderr, outputs in shown:
        assert (stdout, stderr, len(outputs)) == ("", "", 1)
        assert words(outputs[0]["text/html"]) == outputs[0]["text/plain"].replace("`", "")
    texts = [outputs[0]["text/plain"] for _, _, outputs in shown]
    right = "97.1 Scale <it>: 10/10 points. Verified: 3 random inputs."
    assert texts[0] == f"{right}\nChapter 97: 1 of 2 exercises done, 10 of 15 points."
    assert "Likely mistake: The factor" in texts[1]
    assert "NameError: name 'undefined_name' is not defined (in line 2: `return und" in texts[2]
    assert "not done yet" in texts[3]
