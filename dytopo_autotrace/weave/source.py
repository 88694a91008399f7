"""Reaches functions that no attribute reaches, by a decorator at their `def`, before compilation.

Such are the functions of the launched script, which run before anyone could patch them, nested
functions, and the undecorated body below a decorator. The decorator is put into the syntax tree as a
constant, which becomes our callable in the code object: no name appears in the module, and every
line number stays.
"""

from __future__ import annotations

import ast
import contextlib
import re
import warnings
from collections.abc import Callable, Iterator
from types import CodeType
from typing import Any, Final

Decorator = Callable[[Any], Any]
Wanted = Callable[[str], Decorator | None]
"""The decorator for a qualified name, None if no rule names it. The name ends in `.__wrapped__` for
the layer below all decorators."""

_MARK: Final = "\0dytopo_autotrace decorator "


def compile_woven(source: str | bytes, filename: str, wanted: Wanted) -> CodeType | None:
    """Compile a module with decorators put in, or None if nothing in it is wanted.

    Compile it without us first: what Python warns of in the source is not said here.

    Raises:
        SyntaxError, ValueError: as `compile` does.
    """
    decorators: list[Decorator] = []
    with _no_warnings_of(filename):
        tree = ast.parse(source, filename)
        _mark(tree, "", wanted, decorators)
        if not decorators:
            return None
        code = compile(tree, filename, "exec", dont_inherit=True)
    return _with_callables(code, decorators)


@contextlib.contextmanager
def _no_warnings_of(filename: str) -> Iterator[None]:
    """Have Python say nothing of one file, and everything else as ever.

    The filter is put in by hand: `catch_warnings` would have Python forget what it has said once, and
    hold for other threads and files too.
    """
    known_as = re.compile(re.escape(filename.removesuffix(".py")) + r"\Z")
    ours = ("ignore", None, Warning, known_as, 0)
    filters: list[Any] = warnings.filters  # type: ignore[assignment]
    filters.insert(0, ours)
    try:
        yield
    finally:
        filters.remove(ours)


def _mark(node: ast.AST, prefix: str, wanted: Wanted, decorators: list[Decorator]) -> None:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.ClassDef):
            _mark(child, f"{prefix}{child.name}.", wanted, decorators)
        elif isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
            qualname = prefix + child.name
            _mark(child, f"{qualname}.<locals>.", wanted, decorators)
            if child.decorator_list and (inner := wanted(f"{qualname}.__wrapped__")):
                child.decorator_list.append(_constant(child.decorator_list[-1], inner, decorators))
            if outer := wanted(qualname):
                at = child.decorator_list[0] if child.decorator_list else child
                child.decorator_list.insert(0, _constant(at, outer, decorators))
        else:
            _mark(child, prefix, wanted, decorators)


def _constant(at: ast.AST, decorator: Decorator, decorators: list[Decorator]) -> ast.expr:
    decorators.append(decorator)
    return ast.copy_location(ast.Constant(f"{_MARK}{len(decorators) - 1}"), at)


def _with_callables(code: CodeType, decorators: list[Decorator]) -> CodeType:
    consts: list[Any] = []
    for const in code.co_consts:
        if isinstance(const, CodeType):
            consts.append(_with_callables(const, decorators))
        elif isinstance(const, str) and const.startswith(_MARK):
            consts.append(decorators[int(const.removeprefix(_MARK))])
        else:
            consts.append(const)
    return code.replace(co_consts=tuple(consts))
