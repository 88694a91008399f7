"""The classes that inherit from one, as far as imports lead to their source."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from typing import Final

from dytopo_autotrace.rules.survey.outline import DoubtError, Outline, Scope, WrongError
from dytopo_autotrace.rules.survey.search import MAIN, Program

MAX_MODULES: Final = 300
"""Modules that are read for one class."""
_MAX_STEPS: Final = 10
"""Modules through which a name is followed to where it is defined."""


def family(program: Program, module: str, base: str) -> Iterator[tuple[str, Outline, str, Scope]]:
    """A class and its heirs: module, outline, qualname and scope of each, the class first.

    Looked at is what the class's module and the program import, and what that imports in turn.

    Raises:
        WrongError: there is no such class.
        DoubtError: the source does not tell what the name is.
    """
    origin = program.outline(module)
    first = origin.class_of(base)
    yield module, origin, base, first
    known = {id(first)}
    modules = _reachable(program, module)
    found = True
    while found:
        found = False
        for name, outline in modules.items():
            for qualname, scope in outline.classes():
                if id(scope) in known:
                    continue
                bases = (_resolve(program, name, outline, each) for each in scope.bases)
                if any(id(each) in known for each in bases if each is not None):
                    known.add(id(scope))
                    found = True
                    yield name, outline, qualname, scope


def _reachable(program: Program, module: str) -> dict[str, Outline]:
    found: dict[str, Outline] = {}
    seen: set[str] = set()
    outlines: set[int] = set()
    pending = [module, MAIN]
    while pending and len(found) < MAX_MODULES:
        name = pending.pop(0)
        if name in seen or name.partition(".")[0] in sys.stdlib_module_names - {MAIN}:
            continue
        seen.add(name)
        outline = _outline(program, name)
        if outline is None or id(outline) in outlines:
            continue
        outlines.add(id(outline))
        found[name] = outline
        for source, attribute in outline.imports(name).values():
            pending += [source, f"{source}.{attribute}"] if attribute else [source]
    return found


def _outline(program: Program, name: str) -> Outline | None:
    try:
        return program.outline(name)
    except (WrongError, DoubtError):
        return None


def _resolve(program: Program, module: str, outline: Outline, expression: ast.expr) -> Scope | None:
    """The class that an expression after `class Name(...)` means; None if that is not seen."""
    if isinstance(expression, ast.Subscript):
        expression = expression.value
    if not isinstance(expression, ast.Name | ast.Attribute):
        return None
    at: Outline | None = outline
    name, where = ast.unparse(expression), module
    for _ in range(_MAX_STEPS):
        if at is None:
            return None
        if (scope := dict(at.classes()).get(name)) is not None:
            return scope
        imports = at.imports(where)
        bound = next((each for each in _prefixes(name) if each in imports), "")
        if not bound:
            return None
        source, attribute = imports[bound]
        rest = name[len(bound) + 1 :]
        if attribute and (inner := _outline(program, f"{source}.{attribute}")) is not None and rest:
            at, where, name = inner, f"{source}.{attribute}", rest
        else:
            at, where = _outline(program, source), source
            name = ".".join(filter(None, (attribute, rest)))
    return None


def _prefixes(dotted: str) -> Iterator[str]:
    """`a.b.c`, `a.b`, `a`."""
    while dotted:
        yield dotted
        dotted = dotted.rpartition(".")[0]
