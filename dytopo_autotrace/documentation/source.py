"""Reads modules by their source: signatures and docstrings, nothing imported and nothing run."""

from __future__ import annotations

import ast
import logging
import os
import textwrap
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from dytopo_autotrace.documentation.markdown import INSTALL
from dytopo_autotrace.documentation.model import Class, Function, Module, Place, Value
from dytopo_autotrace.errors import AutotraceError

if TYPE_CHECKING:
    import griffe

LOCALS: Final = "<locals>"
UNDECORATED: Final = ".__wrapped__"
LONGEST_LINE: Final = 96
LONGEST_VALUE: Final = 60
"""Characters of a default value; a longer one is cut."""


class Sources:
    """Modules by file, each read once.

    Args:
        root: what the files of places are relative to, as far as they are below it.
    """

    def __init__(self, root: str) -> None:
        self.root = os.path.realpath(root)
        self._griffe = _load_griffe()
        self._paths: dict[str, str] = {}
        self._read: dict[tuple[str, str], tuple[Module, griffe.Module | None, str]] = {}

    def module(self, name: str, file: str) -> Module:
        """What a module offers."""
        return self._module(name, file)[0]

    def function(self, module: str, qualname: str, file: str, line: int, kind: str) -> Function:
        """One function by its qualname, nested ones included."""
        _, tree, text = self._module(module, file)
        place = self.place(file, line)
        plain = qualname.removesuffix(UNDECORATED)
        found = _member(tree, plain) if tree is not None and LOCALS not in plain else None
        if found is None or not found.is_function:
            found = self._nested(text, plain)
        if found is None:
            return Function(module, qualname, place, kind, "", "")
        return Function(module, qualname, place, kind, _signature(found), _doc(found))

    def place(self, file: str, line: int) -> Place:
        """A line of a file as pages name it, with slashes."""
        real = os.path.realpath(file)
        inside = real.startswith(os.path.join(self.root, ""))
        name = os.path.relpath(real, self.root if inside else _above_package(real))
        name = name.replace(os.sep, "/")
        self._paths[name] = real
        return Place(name, line, linked=inside)

    def path(self, name: str) -> str:
        """The file that a page calls by this name."""
        return self._paths.get(name, os.path.join(self.root, name))

    def offered(self, name: str, file: str) -> Module:
        """A module reduced to what its `__all__` names, things that it takes from others included."""
        described, tree, _ = self._module(name, file)
        if tree is None or not tree.exports:
            return described
        functions: list[Function] = []
        classes: list[Class] = []
        values: list[Value] = []
        for export in tree.exports:
            found = self._resolve(tree, str(export), file)
            if found is None:
                continue
            where = self.place(str(found.filepath), 1)
            if found.is_function:
                functions.append(_function(found, name, "", where))
            elif found.is_class:
                classes.append(_class(found, name, where))
            else:
                values.append(_value(found, where))
        return Module(
            name, described.file, described.doc, tuple(functions), tuple(classes), tuple(values)
        )

    def _resolve(self, tree: Any, name: str, file: str) -> Any:
        """What a name stands for, following imports within the same package only."""
        for _ in range(8):
            found = tree.members.get(name)
            if found is None or not found.is_alias:
                return found
            home, _, name = found.target_path.rpartition(".")
            path = self._file_of(home, tree.path, file)
            if path is None:
                return None
            tree = self._module(home, path)[1]
            if tree is None:
                return None
        return None

    @staticmethod
    def _file_of(module: str, near: str, file: str) -> str | None:
        """The file of a module of the same package as another one, whose file is known."""
        top = near.partition(".")[0]
        if module.partition(".")[0] != top:
            return None
        depth = near.count(".") + (os.path.basename(file) == "__init__.py")
        base = file
        for _ in range(depth or 1):
            base = os.path.dirname(base)
        path = os.path.join(os.path.dirname(base) if depth == 0 else base, *module.split(".")[1:])
        for each in (f"{path}.py", os.path.join(path, "__init__.py")):
            if os.path.isfile(each):
                return each
        return None

    def _module(self, name: str, file: str) -> tuple[Module, griffe.Module | None, str]:
        known = self._read.get((name, file))
        if known is None:
            known = self._read[name, file] = self._visit(name, file)
        return known

    def _visit(self, name: str, file: str) -> tuple[Module, griffe.Module | None, str]:
        where = self.place(file, 1)
        try:
            text = Path(file).read_text(encoding="utf-8-sig")
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # its author is warned when it is compiled
                tree = self._griffe.visit(name, filepath=Path(file), code=text)
        except (OSError, SyntaxError, ValueError, RecursionError) as error:
            return Module(name, where.file, fault=f"{type(error).__name__}: {error}"), None, ""
        functions = tuple(
            _function(each, name, "", where) for each in _members(tree) if each.is_function
        )
        classes = tuple(_class(each, name, where) for each in _members(tree) if each.is_class)
        values = tuple(_value(each, where) for each in _members(tree) if _is_value(each))
        return Module(name, where.file, _doc(tree), functions, classes, values), tree, text

    def _nested(self, text: str, qualname: str) -> Any:
        """A function inside of another one, visited alone: what griffe reads ends at a body."""
        node = _find(text, qualname.replace(f"{LOCALS}.", "").split("."))
        if node is None:
            return None
        source = ast.get_source_segment(text, node)
        if source is None:
            return None
        first, _, rest = source.partition("\n")
        dedented = f"{first}\n{textwrap.dedent(rest)}" if rest else first
        indented = f"{first}\n{textwrap.indent(textwrap.dedent(rest), '    ')}" if rest else first
        for code in (source, indented, dedented):
            try:
                visited = self._griffe.visit("nested", filepath=Path("nested.py"), code=code)
            except (SyntaxError, ValueError):
                continue
            return visited.members.get(node.name)
        return None


def _above_package(file: str) -> str:
    """The directory that the outermost package of a file is in."""
    directory = os.path.dirname(file)
    while os.path.isfile(os.path.join(directory, "__init__.py")):
        directory = os.path.dirname(directory)
    return directory


def _load_griffe() -> Any:
    try:
        import griffe  # noqa: PLC0415 - of the extra
    except ImportError as error:
        raise AutotraceError(f"Reading code needs griffe. Install it: {INSTALL}") from error
    # It logs what it thinks of docstrings; that is for their authors, not for who reads pages.
    logging.getLogger("griffe").setLevel(logging.CRITICAL)
    return griffe


def _member(tree: Any, qualname: str) -> Any:
    found = tree
    for part in qualname.split("."):
        found = found.members.get(part) if not found.is_alias else None
        if found is None:
            return None
    return found


def _members(owner: Any) -> Iterator[Any]:
    """What a module or class defines itself and shows, in the order of its source."""
    own = [each for each in owner.members.values() if not each.is_alias]
    for each in sorted(own, key=lambda each: each.lineno or 0):
        if not each.name.startswith("_"):
            yield each


def _is_value(member: Any) -> bool:
    return bool(member.is_attribute and "property" not in member.labels and member.docstring)


def _function(found: Any, module: str, owner: str, where: Place) -> Function:
    line = _line(found)
    if found.is_attribute:  # a property
        returns = f" -> {found.annotation}" if found.annotation else ""
        kind, signature = "property", f"{found.name}{returns}"
    else:
        kind = "method" if owner else "function"
        for label in ("staticmethod", "classmethod"):
            kind = label if label in found.labels else kind
        kind = f"async {kind}" if "async" in found.labels else kind
        signature = _signature(found)
    qualname = f"{owner}.{found.name}" if owner else found.name
    return Function(module, qualname, replace(where, line=line), kind, signature, _doc(found))


def _line(found: Any) -> int:
    """The line of the `def`, as everything else has it: griffe's is that of the first decorator."""
    line = found.lineno or 1
    decorators = getattr(found, "decorators", None) or ()
    return max(line, *((each.endlineno or 0) + 1 for each in decorators)) if decorators else line


def _class(found: Any, module: str, where: Place) -> Class:
    functions = [
        _function(each, module, found.name, where)
        for each in _members(found)
        if each.is_function or (each.is_attribute and "property" in each.labels)
    ]
    values = tuple(
        _value(each, where)
        for each in _members(found)
        if each.is_attribute and "property" not in each.labels
    )
    bases = tuple(str(base) for base in found.bases)
    place = replace(where, line=_line(found))
    return Class(found.name, place, bases, _doc(found), tuple(functions), values)


def _value(found: Any, where: Place) -> Value:
    annotation = str(found.annotation) if found.annotation else ""
    return Value(found.name, replace(where, line=found.lineno or 1), annotation, _doc(found))


def _doc(found: Any) -> str:
    return str(found.docstring.value) if found.docstring else ""


def _signature(found: Any) -> str:
    """The function as its `def` has it, defaults of any length cut to what can be read."""
    parts: list[str] = []
    before = ""
    for each in found.parameters:
        kind = each.kind.name if each.kind else ""
        if before == "positional_only" and kind != "positional_only":
            parts.append("/")
        if kind == "keyword_only" and before not in ("keyword_only", "var_positional"):
            parts.append("*")
        parts.append(_parameter(each, kind))
        before = kind
    if before == "positional_only":
        parts.append("/")
    returns = f" -> {found.returns}" if found.returns else ""
    prefix = "async def " if "async" in found.labels else "def "
    line = f"{prefix}{found.name}({', '.join(parts)}){returns}"
    if len(line) <= LONGEST_LINE:
        return line
    rows = "".join(f"    {part},\n" for part in parts)
    return f"{prefix}{found.name}(\n{rows}){returns}"


def _parameter(each: Any, kind: str) -> str:
    stars = {"var_positional": "*", "var_keyword": "**"}.get(kind, "")
    text = f"{stars}{each.name}"
    if each.annotation:
        text += f": {each.annotation}"
    if each.default is not None and not stars:
        default = str(each.default)
        cut = default if len(default) <= LONGEST_VALUE else f"{default[:LONGEST_VALUE]}…"
        text += f" = {cut}" if each.annotation else f"={cut}"
    return text


def _find(text: str, names: Sequence[str]) -> Any:
    """The definition that is reached by these names, each inside of the one before."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            at: Any = ast.parse(text)
        except (SyntaxError, ValueError, RecursionError):
            return None
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    for name in names:
        inside = (node for node in _walk_body(at) if isinstance(node, kinds))
        at = next((node for node in inside if node.name == name), None)
        if at is None:
            return None
    return at if isinstance(at, kinds[:2]) else None


def _walk_body(node: ast.AST) -> Iterator[ast.AST]:
    """All below a node, without going into definitions that are there."""
    for child in ast.iter_child_nodes(node):
        yield child
        if not isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            yield from _walk_body(child)
