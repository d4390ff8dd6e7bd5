"""What a quoted definition needs: its free names, each defined above its cell and there only."""

import ast
import builtins
import symtable

from lora_course.builder.source import Cell, SourceError, parse

GIVEN = {*dir(builtins), "__name__", "get_ipython", "display"}


def check_names(cells: list[Cell]) -> None:
    """Raise SourceError for a quote whose names are not above it, or that has a twin.

    A twin is the package's original of a quoted name, used beside the quoted copy: two classes of
    one name, of which `isinstance` knows one, and a change of the cell that changes only half.
    """
    above, quoted = set(GIVEN), {}
    for cell in cells:
        if cell.kind != "code":
            continue
        needed, made = names(cell.source)
        missing = sorted(needed - made - above)
        if cell.quoted and missing:
            raise SourceError(
                f"{cell.where}: the quoted code uses {', '.join(missing)}, which no cell above "
                "defines; import it, or quote it in the same cell"
            )
        above |= made
        quoted |= cell.quoted
    for cell in cells:
        twins = sorted(set(quoted.items()) & originals(cell)) if cell.kind == "code" else []
        if twins and not cell.quoted:
            name, module = twins[0]
            raise SourceError(
                f"{cell.where}: {name} is quoted from {module} in this chapter, and here the "
                "package's own is used as well; use the quoted one"
            )


def names(text: str) -> tuple[set[str], set[str]]:
    """Return the global names that a cell reads anywhere, and those that it defines."""
    needed, made, tables = set(), set(), [symtable.symtable(text, "a cell", "exec")]
    for table in tables:
        tables += table.get_children()
        for symbol in table.get_symbols():
            if table is tables[0] or symbol.is_global():
                if symbol.is_referenced():
                    needed.add(symbol.get_name())
                if symbol.is_assigned() or symbol.is_imported():
                    made.add(symbol.get_name())
    return needed, made


def originals(cell: Cell) -> set[tuple[str, str]]:
    """Return (name, module) of everything that a cell takes from the package by name.

    `from lora_course.lora import LoRALinear` and, where `lora` is that module, `lora.LoRALinear`.
    """
    found, modules = set(), {"lora_course": "lora_course"}
    nodes = list(ast.walk(parse(cell)))
    for node in nodes:
        if isinstance(node, ast.ImportFrom):
            found |= {(alias.name, node.module) for alias in node.names}
            modules |= {a.asname or a.name: f"{node.module}.{a.name}" for a in node.names}
        elif isinstance(node, ast.Import):
            modules |= {a.asname: a.name for a in node.names if a.asname}
    for node in nodes:
        if isinstance(node, ast.Attribute):
            first, _, rest = ast.unparse(node.value).partition(".")
            module = modules.get(first, first) + (f".{rest}" if rest else "")
            found.add((node.attr, module))
    return found
