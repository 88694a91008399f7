"""A project as its source has it: its modules by name, its functions, and who calls whom."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Final

from dytopo_autotrace.rules.scaffold.facts import Class, Function, Module, read
from dytopo_autotrace.rules.scaffold.files import MAX_BYTES, choose, names_of, python_files

MAX_NAMESAKES: Final = 8
"""Methods of one name beyond which a call by that name says nothing."""


@dataclass(slots=True)
class Project:
    """What was read."""

    modules: list[Module] = field(default_factory=list)
    roots: dict[str, None] = field(default_factory=dict)
    """Directories that its names begin in."""
    unread: list[str] = field(default_factory=list)
    """Files that are no Python source, or too large."""
    classes: dict[str, list[Class]] = field(default_factory=dict)
    functions: dict[str, Function] = field(default_factory=dict)
    """By place."""
    called: dict[str, set[str]] = field(default_factory=dict)
    """By place: the places of what it calls."""
    callers: dict[str, set[str]] = field(default_factory=dict)

    def bases_of(self, name: str) -> Iterator[str]:
        """A class's name and those of its base classes, as far as they can be followed."""
        seen: set[str] = set()
        pending = [name]
        while pending:
            each = pending.pop()
            if each and each not in seen:
                seen.add(each)
                yield each
                for cls in self.classes.get(each, ())[:MAX_NAMESAKES]:
                    pending.extend(cls.bases)

    def fields_of(self, name: str) -> set[str]:
        """What instances of a class have."""
        return {
            each
            for base in self.bases_of(name)
            for cls in self.classes.get(base, ())
            for each in cls.fields
        }

    def reaching(self, places: Iterable[str]) -> set[str]:
        """All functions from which calls lead to one of these, themselves included."""
        found = set(places)
        pending = list(found)
        while pending:
            for caller in self.callers.get(pending.pop(), ()):
                if caller not in found:
                    found.add(caller)
                    pending.append(caller)
        return found


def read_project(path: str) -> Project:
    """Read a directory, a package or a script with what is beside it; nothing of it is executed."""
    project = Project()
    files = list(python_files(path))
    top = path if os.path.isdir(path) else os.path.dirname(os.path.abspath(path))
    imported: set[str] = set()
    for file in files:
        module = _read(file)
        if module is None:
            project.unread.append(file)
            continue
        imported |= module.imported
        project.modules.append(module)
    named: list[Module] = []
    for module in project.modules:
        chosen = choose(names_of(module.file, top), imported)
        if chosen is not None:
            module.name, root = chosen
            project.roots.setdefault(root)
            named.append(module)
    project.modules = named
    _index(project)
    return project


def _read(file: str) -> Module | None:
    try:
        with open(file, "rb") as stream:
            source = stream.read(MAX_BYTES + 1)
    except OSError:
        return None
    return read(file, source) if len(source) <= MAX_BYTES else None


def _index(project: Project) -> None:
    by_name: dict[str, list[Function]] = defaultdict(list)
    for module in project.modules:
        for cls in module.classes:
            project.classes.setdefault(cls.name, []).append(cls)
        for function in module.functions:
            function.module = module.name
            project.functions[function.place] = function
            by_name[function.name].append(function)
    methods = {(each.owner, each.name): each for each in project.functions.values() if each.owner}
    for module in project.modules:
        for function in module.functions:
            for receiver, called in function.calls:
                for each in _meant(project, module, function, receiver, called, by_name, methods):
                    if each.place != function.place:
                        project.called.setdefault(function.place, set()).add(each.place)
                        project.callers.setdefault(each.place, set()).add(function.place)


def _meant(
    project: Project,
    module: Module,
    function: Function,
    receiver: str,
    called: str,
    by_name: dict[str, list[Function]],
    methods: dict[tuple[str, str], Function],
) -> list[Function]:
    """The functions that a call may mean."""
    if not receiver:
        local = project.functions.get(f"{module.name}:{called}")
        if local is not None:
            return [local]
        source, _, name = module.imports.get(called, "").partition(":")
        named = [each for each in by_name.get(name or called, ()) if not each.owner]
        if source:
            tail = source.lstrip(".")
            named = [each for each in named if each.module.endswith(tail)] or named
        return named if len(named) == 1 else []
    if receiver in ("self", "cls", "super"):
        for base in project.bases_of(function.owner):
            found = methods.get((base, called))
            if found is not None and not found.is_stub:
                return [found]
    source = module.imports.get(receiver, "")
    if source:
        tail = source.replace(":", ".").lstrip(".")
        named = [e for e in by_name.get(called, ()) if not e.owner and e.module.endswith(tail)]
        if named:
            return named[:1]
    found_all = [each for each in by_name.get(called, ()) if each.owner and not each.is_stub]
    return found_all if len(found_all) <= MAX_NAMESAKES else []
