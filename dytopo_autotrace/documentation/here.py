"""Where rules, code and runs are when nobody says: the working directory, its repository and its store."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence

from dytopo_autotrace.documentation import RUNS
from dytopo_autotrace.documentation.gather import PACKAGE, Program, gather
from dytopo_autotrace.documentation.model import Module, Recorded, Source, Swarm
from dytopo_autotrace.documentation.source import Sources
from dytopo_autotrace.errors import AutotraceError
from dytopo_autotrace.rules.load import load
from dytopo_autotrace.store.location import DEFAULT, locate, open_reader, short_id

TOPS = (".git", "pyproject.toml", "setup.cfg", "setup.py")
"""What the top of a repository has in it."""


def swarm(
    rules: str | None = None,
    sources: Sequence[str] = (),
    runs: Sequence[Recorded] | None = None,
    *,
    content: bool = False,
) -> tuple[Swarm, str]:
    """All that is known in the working directory, and the root that links are made relative to.

    Args:
        rules: the rule file, if it is not the one that the launcher would find.
        sources: scripts and directories to look for code in; else the script of the latest run,
            the working directory and its `src`.
        runs: what to document; else the latest in the store.
    """
    directory = os.getcwd()
    root = top(directory)
    chosen = stored(None, RUNS, must_exist=False) if runs is None else runs
    ruleset = load(rules, cwd=directory, environ=os.environ)
    program = _program(directory, root, sources, chosen)
    return gather(ruleset, program, chosen, content=content), root


def stored(store: str | None, number: int, *, must_exist: bool) -> list[Recorded]:
    """The latest runs of a store; none where there is no store.

    Raises:
        StoreError: the store cannot be read, or was asked for by name and is not there.
    """
    location = locate(store, os.getcwd())
    if location is None or number < 1:
        return []
    if not must_exist and not os.path.exists(location):
        return []
    shown = "" if location == os.path.join(os.getcwd(), DEFAULT) else store or location
    reader = open_reader(location)
    try:
        infos = reader.runs()
        latest = sorted(infos, key=lambda info: -info.start.started_unix_ns)[:number]
        return [
            Recorded(Source(short_id(info, infos), store=shown), reader.load(info.start.run_id))
            for info in latest
            if info.status != "running"
        ]
    finally:
        reader.close()


def top(directory: str) -> str:
    """The top of the repository that a directory is in; the directory itself if it is in none."""
    at = os.path.realpath(directory)
    while True:
        if any(os.path.exists(os.path.join(at, name)) for name in TOPS):
            return at
        above = os.path.dirname(at)
        if above == at:
            return os.path.realpath(directory)
        at = above


def modules(name: str, root: str) -> tuple[Module, ...]:
    """A module or package by its name, with all public modules below it.

    Raises:
        AutotraceError: no source of that name is found.
    """
    read = Sources(root)
    parts = name.split(".")
    for base in dict.fromkeys((*_directories(os.getcwd()), os.path.dirname(PACKAGE), *sys.path)):
        path = os.path.join(base or os.curdir, *parts)
        if os.path.isfile(f"{path}.py"):
            return (read.module(name, f"{path}.py"),)
        if os.path.isdir(path):
            found = tuple(read.module(each, file) for each, file in _below(name, path))
            if found:
                return found
    raise AutotraceError(
        f"{name}: no source of a module of this name is in the working directory, in its src, or on "
        "Python's path. Say it as it is imported: package.module."
    )


def _program(
    directory: str, root: str, sources: Sequence[str], runs: Sequence[Recorded]
) -> Program:
    scripts = [each for each in sources if os.path.isfile(each)]
    folders = [each for each in sources if not os.path.isfile(each)]
    for each in folders:
        if not os.path.isdir(each):
            raise AutotraceError(f"--source {each}: is neither a script nor a directory.")
    if not sources:
        # What ran last is what its documents are about.
        ran = [run.records.argv[0] for run in runs if run.records.argv]
        found = (os.path.join(base, each) for each in ran for base in (directory, root))
        scripts = [each for each in found if os.path.isfile(each)][:1]
        folders = _directories(directory)
    path = [*(os.path.dirname(os.path.abspath(each)) for each in scripts), *folders]
    absolute = tuple(dict.fromkeys(os.path.abspath(each) for each in path))
    return Program(root, absolute, os.path.abspath(scripts[0]) if scripts else None)


def _directories(directory: str) -> list[str]:
    source = os.path.join(directory, "src")
    return [directory, *([source] if os.path.isdir(source) else [])]


def _below(package: str, path: str) -> Iterator[tuple[str, str]]:
    init = os.path.join(path, "__init__.py")
    if os.path.isfile(init):
        yield package, init
    for entry in sorted(os.scandir(path), key=lambda entry: entry.name):
        name = entry.name.removesuffix(".py")
        if name.startswith("_") or not name.isidentifier():
            continue
        if entry.is_dir():
            yield from _below(f"{package}.{name}", entry.path)
        elif entry.name.endswith(".py"):
            yield f"{package}.{name}", entry.path
