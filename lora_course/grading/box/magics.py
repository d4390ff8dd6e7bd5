"""Cells as Jupyter reads them: lines that begin with % or ! are no Python."""

import ast
import re

OTHER_LANGUAGE = r"%%(bash|sh|cmd|script|perl|ruby|html|javascript|js|latex|markdown|svg|writefile)"


def tree(source, file):
    """The cell's syntax tree and the text it is of, with the magics of Jupyter taken out."""
    text = source.replace("\r\n", "\n").replace("\r", "\n").lstrip("\ufeff")
    if re.match(r"\s*" + OTHER_LANGUAGE, text):
        text = ""
    text = re.sub(r"\A\s*%%.*", "", text)
    try:
        return ast.parse(text, file), text
    except SyntaxError:
        plain = re.sub(r"(?m)^([ \t]*)([%!?].*|[\w.]+\?{1,2}[ \t]*)$", r"\1pass", text)
        plain = re.sub(r"(?m)^([ \t]*\w+[ \t]*=[ \t]*)[%!].*$", r"\1None", plain)
        if plain == text:
            raise
        return ast.parse(plain, file), plain
