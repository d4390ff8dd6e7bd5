"""How a check's message looks: a small box in Jupyter, the same words in a terminal."""

import html
import re
import sys

# The border says it as well as the color, and the words say it alone.
_LOOK = {
    "right": ("solid", "#009e73", "0, 158, 115"),
    "todo": ("dashed", "#e69f00", "230, 159, 0"),
    "wrong": ("double", "#d55e00", "213, 94, 0"),
}


class Box:
    """A message; state is "right", "todo" or "wrong". Lines are separated by line breaks."""

    def __init__(self, text, state):
        self.text, self.state = text, state

    def __repr__(self):
        return self.text

    def _repr_html_(self):
        style, color, shade = _LOOK[self.state]
        first, *rest = [_marked(line) for line in self.text.splitlines()] or [""]
        head, stop, tail = first.partition("points.")
        lines = [f"<strong>{head}{stop}</strong>{tail}", *rest]
        return (
            f'<div role="status" style="border-left: 6px {style} {color}; '
            f"background: rgba({shade}, 0.12); color: inherit; padding: 0.5em 0.8em; "
            f'margin: 0.3em 0; line-height: 1.5">{"<br>".join(lines)}</div>'
        )


def show(text, state):
    """Displays the message where the reader is: rich in Jupyter, plain on stdout elsewhere."""
    box = Box(text, state)
    if "IPython" in sys.modules:
        from IPython import get_ipython
        from IPython.display import display

        if get_ipython() is not None:
            display(box)
            return
    say(repr(box))


def say(text):
    """Prints to stdout; characters that the terminal cannot show become question marks."""
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    print(text.encode(encoding, "replace").decode(encoding))


def _marked(line):
    """One line escaped, `code` between backticks set as code."""
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", html.escape(line))
