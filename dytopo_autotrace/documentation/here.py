"""Where rules, code and runs are when nobody says: the working directory, its repository and its store."""

from __future__ import annotations

import os
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Final

from dytopo_autotrace.analyze.wording import count, listing
from dytopo_autotrace.documentation import RUNS
from dytopo_autotrace.documentation.gather import PACKAGE, PUBLIC, Program, gather, offered
from dytopo_autotrace.documentation.model import Module, Recorded, Source, Swarm
from dytopo_autotrace.documentation.source import Sources
from dytopo_autotrace.errors import AutotraceError
from dytopo_autotrace.rules.load import load
from dytopo_autotrace.store.location import DEFAULT, locate, open_reader, short_id

if TYPE_CHECKING:
    from dytopo_autotrace.collect.records import RunRecords
    from dytopo_autotrace.store.model import RunInfo

MOST_LOOKED_AT: Final = 20
"""Runs that are read to find one of a swarm."""
SWARM_ROLES: Final = frozenset({"orchestrator", "worker"})
TOPS = (".git", "pyproject.toml", "setup.cfg", "setup.py")
"""What the top of a repository has in it."""


def swarm(
    rules: str | None = None,
    sources: Sequence[str] = (),
    runs: Sequence[Recorded] | None = None,
    *,
    content: bool = False,
    remarks: Sequence[str] = (),
) -> tuple[Swarm, str]:
    """All that is known in the working directory, and the root that links are made relative to.

    Args:
        rules: the rule file, if it is not the one that the launcher would find.
        sources: scripts and directories to look for code in; else the script of the latest run,
            the working directory and its `src`.
        runs: what to document; else the latest in the store.
        remarks: what is to be said of the choice of them.
    """
    directory = os.getcwd()
    root = top(directory)
    if runs is None:
        runs, remarks = stored(None, RUNS, must_exist=False)
    ruleset = load(rules, cwd=directory, environ=os.environ)
    program = _program(directory, root, sources, runs)
    return gather(ruleset, program, runs, content=content, remarks=remarks), root


def stored(
    store: str | None, number: int, *, must_exist: bool, program: str = ""
) -> tuple[list[Recorded], tuple[str, ...]]:
    """The latest runs of one program in a store, and what was left out; none where there is no store.

    Args:
        program: as it was started, its file's name will do; else that of the latest run in which
            something orchestrated or worked, so that no script that was run once takes its place.

    Raises:
        StoreError: the store cannot be read, or was asked for by name and is not there.
        AutotraceError: no run of the program that was asked for is in the store.
    """
    location = locate(store, os.getcwd())
    if location is None or number < 1:
        return [], ()
    if not must_exist and not os.path.exists(location):
        return [], ()
    shown = "" if location == os.path.join(os.getcwd(), DEFAULT) else store or location
    reader = open_reader(location)
    try:
        infos = reader.runs()
        latest = sorted(
            (info for info in infos if info.status != "running"),
            key=lambda info: -info.start.started_unix_ns,
        )
        loaded: dict[str, RunRecords] = {}

        def records(info: RunInfo) -> RunRecords:
            run_id = info.start.run_id
            if run_id not in loaded:
                loaded[run_id] = reader.load(run_id)
            return loaded[run_id]

        chosen = (
            _asked_for(latest, program) if program else _swarms(latest, MOST_LOOKED_AT, records)
        )
        mine = [info for info in latest if _started(info) in chosen]
        found = [
            Recorded(Source(short_id(info, infos), store=shown), records(info))
            for info in mine[:number]
        ]
        return found, _left_out(latest, chosen)
    finally:
        reader.close()


def _swarms(
    latest: Sequence[RunInfo], most: int, records: Callable[[RunInfo], RunRecords]
) -> set[str]:
    """The program of the latest run with an orchestrator or a worker; of the latest at all if none has."""
    for info in latest[:most]:
        if any(span.role in SWARM_ROLES for span in records(info).spans):
            return {_started(info)}
    return {_started(info) for info in latest[:1]}


def _asked_for(latest: Sequence[RunInfo], program: str) -> set[str]:
    names = {_started(info) for info in latest}
    found = {name for name in names if program in (name, os.path.basename(name))}
    if not found:
        known = ", ".join(sorted(names)) or "none"
        raise AutotraceError(
            f"--program {program}: no run of it is in the store. Programs that are: {known}."
        )
    return found


def _started(info: RunInfo) -> str:
    """What was started, without its arguments."""
    start = info.start
    return start.argv[0] if start.argv else start.script or start.service


def _left_out(latest: Sequence[RunInfo], chosen: set[str]) -> tuple[str, ...]:
    others = Counter(_started(info) for info in latest if _started(info) not in chosen)
    if not others:
        return ()
    said = listing(
        [f"{count(number, 'run')} of {name}" for name, number in others.most_common()], 6
    )
    verb = "is" if sum(others.values()) == 1 else "are"
    return (f"In the same store, {said} {verb} left out. --program names another one.",)


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
    """A module or package by its name, with all public modules below it; of this one what it offers.

    A module that says in `__all__` what it offers is told of by that alone.

    Raises:
        AutotraceError: no source of that name is found.
    """
    read = Sources(root)
    if name == next(iter(PUBLIC)):
        return offered(read)
    parts = name.split(".")
    for base in dict.fromkeys((*_directories(os.getcwd()), os.path.dirname(PACKAGE), *sys.path)):
        path = os.path.join(base or os.curdir, *parts)
        if os.path.isfile(f"{path}.py"):
            return (read.offered(name, f"{path}.py"),)
        if os.path.isdir(path):
            found = tuple(read.offered(each, file) for each, file in _below(name, path))
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
