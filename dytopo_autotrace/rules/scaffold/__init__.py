"""Reads a project without running it, and writes the rule file that one would begin with."""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import dataclass

from dytopo_autotrace.rules.scaffold.project import read_project
from dytopo_autotrace.rules.scaffold.roles import guess, likeliest
from dytopo_autotrace.rules.scaffold.starter import scripts, starter

__all__ = ["Scaffold", "scaffold"]


@dataclass(frozen=True, slots=True)
class Scaffold:
    """A starter, and what it was made from."""

    text: str
    modules: int
    functions: int
    picked: dict[str, int]
    """How many functions of each role have a rule."""
    unread: tuple[str, ...]
    """Files that are no Python source that can be read."""
    scripts: tuple[str, ...]
    """Programs that lead to what was picked."""
    roots: tuple[str, ...]
    """Directories that the names of its modules begin in."""


def scaffold(path: str) -> Scaffold:
    """A starter for a directory, a package, or a script and what is beside it."""
    project = read_project(path)
    guesses, left = likeliest(guess(project), project)
    name = os.path.basename(os.path.abspath(path)).removesuffix(".py") or "swarm"
    text = starter(project, guesses, left, name)
    modules = {each.function.module for each in guesses}
    roots = {
        root
        for module in project.modules
        if module.name in modules
        for root in project.roots
        if os.path.splitext(os.path.relpath(module.file, root))[0].replace(os.sep, ".")
        in (module.name, f"{module.name}.__init__")
    }
    return Scaffold(
        text=text,
        modules=len(project.modules),
        functions=len(project.functions),
        picked=dict(Counter(each.role for each in guesses)),
        unread=tuple(project.unread),
        scripts=tuple(scripts(project, guesses)),
        roots=tuple(sorted(roots)),
    )
