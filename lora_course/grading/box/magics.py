"""Cells as Jupyter reads them: lines that begin with % or ! are no Python."""

import ast
import re

OTHER_LANGUAGE = r"%%(bash|sh|cmd|script|perl|ruby|html|javascript|js|latex|markdown|svg)\b"
WRITES = re.compile(r"\s*%%(?:writefile|file)[ \t]+(-a[ \t]+)?(.+)\n?")
RUN = ("time", "timeit", "prun", "memit", "mprun", "lprun")  # magics whose rest is Python


def tree(source, file):
    """The cell's syntax tree and the text it is of, with the magics of Jupyter taken out."""
    text = source.replace("\r\n", "\n").replace("\r", "\n").lstrip("\ufeff")
    if re.match(r"\s*" + OTHER_LANGUAGE, text):
        text = ""
    if written := WRITES.match(text):
        mode, name = "a" if written[1] else "w", written[2].strip().strip("\"'")
        text = f"with open({name!r}, {mode!r}) as file: file.write({text[written.end() :]!r})"
    first = re.match(r"\s*%%(\w+)(.*)", text)
    if first:
        code = first[2].strip() if first[1] in RUN and not first[2].strip().startswith("-") else ""
        text = code + text[first.end() :]
    try:
        return ast.parse(text, file), text
    except SyntaxError:
        plain = _without_lines(text)
        if plain == text:
            raise
        try:
            found = ast.parse(plain, file)
        except SyntaxError:
            plain = _without_lines(text, strict=False)
            found = ast.parse(plain, file)
        return ast.fix_missing_locations(_Run().visit(found)), plain


def _without_lines(text, strict=True):
    """The text with magics as calls, by IPython where it is installed, else roughly."""
    if strict:
        try:
            from IPython.core.inputtransformer2 import TransformerManager

            return TransformerManager().transform_cell(text)
        except Exception:  # not installed, or a cell that it cannot read either
            pass
    plain = re.sub(r"(?m)^([ \t]*)([%!?].*|[\w.]+\?{1,2}[ \t]*)$", r"\1pass", text)
    return re.sub(r"(?m)^([ \t]*\w+[ \t]*=[ \t]*)[%!].*$", r"\1None", plain)


class _Run(ast.NodeTransformer):
    """Puts `%time X = f()` back as `X = f()`, so that what it defines is seen."""

    def visit_Expr(self, node):
        code = _code(node.value)
        return ast.parse(code).body if code else node

    def visit_Assign(self, node):
        code = _code(node.value)
        if code:
            node.value = ast.parse(code, mode="eval").body
        return node


def _code(call):
    """The Python in get_ipython().run_line_magic("time", "..."), or ""."""
    if not isinstance(call, ast.Call) or getattr(call.func, "attr", "") != "run_line_magic":
        return ""
    words = [getattr(argument, "value", "") for argument in call.args]
    if len(words) != 2 or words[0] not in RUN or not isinstance(words[1], str):
        return ""
    code = re.sub(r"\A(\s*-\w+(?:[ =]?\d+)?)+\s", "", words[1]).strip()
    try:
        ast.parse(code)
        return code
    except (SyntaxError, ValueError):
        return ""
