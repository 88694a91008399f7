"""Which rules count and why, and where runs are kept."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping

from dytopo_autotrace.errors import AutotraceError
from dytopo_autotrace.preflight.doctor.answer import Answer, listed, without_password
from dytopo_autotrace.rules.find import FILE_NAME, OPTION, PYPROJECT, VARIABLE
from dytopo_autotrace.rules.load import available_packs
from dytopo_autotrace.rules.match import needs_source
from dytopo_autotrace.rules.model import RuleSet
from dytopo_autotrace.rules.survey import examine
from dytopo_autotrace.rules.survey.search import WITHOUT_SOURCE, other_finders
from dytopo_autotrace.store.location import locate, open_reader

_LITTLE_ROOM = 100_000_000
"""Bytes; a run of a swarm is a few megabytes."""


def rule_answers(
    ruleset: RuleSet, asked: str | None, *, cwd: str, environ: Mapping[str, str]
) -> Iterator[Answer]:
    """The rule file, the packs, and what is wrong with either."""
    if asked:
        why = f"{OPTION} names it"
    elif environ.get(VARIABLE):
        why = f"{VARIABLE} names it"
    elif ruleset.origin.pack:
        why = (
            f"no {FILE_NAME} and no [tool.dytopo-autotrace] in {cwd or 'a directory that is gone'}"
        )
    else:
        why = "it is in the working directory"
    own = [rule for rule in ruleset.rules if not rule.origin.pack]
    what = "none, so the pack alone" if ruleset.origin.pack else ruleset.origin.file
    yield Answer("rules", f"{what} ({why}): {len(own)} rules of your own")
    unread = os.path.join(cwd, FILE_NAME)
    if (
        (asked or environ.get(VARIABLE))
        and os.path.exists(unread)
        and not _same(unread, ruleset.origin.file)
    ):
        yield Answer("rules", f"{unread} is there too, and is not read", "note")
    if os.path.basename(ruleset.origin.file) == FILE_NAME and not asked:
        yield from _unread_pyproject(cwd)
    for name in ruleset.packs:
        count = sum(rule.origin.pack == name for rule in ruleset.rules)
        yield Answer("packs", f"{name}: {count} rules")
    others = sorted(set(available_packs()) - set(ruleset.packs))
    if others:
        yield Answer("packs", f"shipped and not asked for: {listed(others)}")
    for fault in ruleset.faults:
        is_end = not ruleset.rules
        hint = "No rule is left, so nothing is watched." if is_end else ""
        yield Answer("rules", str(fault), "stops" if is_end else "warning", hint)
    if not ruleset.rules and not ruleset.faults:
        text = "there is no rule in it, and no pack"
        yield Answer("rules", text, "stops", "dytopo-autotrace init --force writes some.")


def _same(one: str, other: str) -> bool:
    try:
        return os.path.samefile(one, other)
    except OSError:
        return False


def _unread_pyproject(cwd: str) -> Iterator[Answer]:
    try:
        with open(os.path.join(cwd, PYPROJECT), encoding="utf-8", errors="replace") as stream:
            is_there = "[tool.dytopo-autotrace" in stream.read(1 << 20)
    except OSError:
        return
    if is_there:
        text = f"{PYPROJECT} has a [tool.dytopo-autotrace] too, which is not read"
        yield Answer("rules", text, "note")


def store_answers(asked: str | None, cwd: str) -> Iterator[Answer]:
    """Where runs are kept, and whether they can be."""
    try:
        location = locate(asked, cwd)
    except AutotraceError as error:
        yield Answer("store", str(error), "warning", "Runs are not kept.")
        return
    if location is None:
        yield Answer("store", "none: runs are not kept")
        return
    if "://" in location:
        yield Answer("store", f"{without_password(location)}; it is not asked whether it answers")
        return
    trouble = _trouble_writing(location)
    if trouble:
        hint = "Runs are watched and reported, not kept. Name another place: --store PATH"
        yield Answer("store", f"{location} {trouble}", "warning", hint)
        return
    size = os.path.getsize(location) if os.path.exists(location) else 0
    state = f"{size / 1e6:.1f} MB, can be written" if size else "not there yet, can be made"
    yield Answer("store", f"{location}: {state}")
    free = shutil.disk_usage(_existing_parent(location)).free
    if free < _LITTLE_ROOM:
        yield Answer("store", f"{free / 1e6:.0f} MB are free on its disk", "warning")


def _trouble_writing(location: str) -> str:
    """Why nothing can be written there, `""` if it can; leaves nothing behind."""
    parent = _existing_parent(location)
    try:
        with tempfile.TemporaryFile(dir=parent):
            pass  # The database makes files beside its own.
    except OSError as error:
        return f"cannot be written: {parent}: {error.strerror or error}"
    if not os.path.exists(location):
        return ""
    if not os.access(location, os.R_OK | os.W_OK):
        return "cannot be written: it is there, and is not ours to write"
    try:
        open_reader(location).close()
    except Exception as error:
        return f"is there, and cannot be read as a store: {error}"
    return ""


def _existing_parent(location: str) -> str:
    parent = os.path.dirname(location)
    while parent and not os.path.exists(parent) and parent != os.path.dirname(parent):
        parent = os.path.dirname(parent)
    return parent or os.curdir


def source_answers(ruleset: RuleSet, cwd: str) -> Iterator[Answer]:
    """Which of the user's own rules name what has no source beside its compiled code."""
    path = (*filter(None, (cwd,)), *sys.path, os.path.join(cwd, "src"))
    for doubt in examine(ruleset, path, finders=other_finders()).doubts:
        if not doubt.why.endswith(WITHOUT_SOURCE):
            continue
        text = f"{doubt.target} (rule {doubt.rule}): {doubt.why}"
        if needs_source(doubt.target.partition(":")[2]):
            hint = "Only the source leads to it: install the .py files."
            yield Answer("rules", text, "stops", hint)
        else:
            yield Answer("rules", text, "note", "Whether it can be woven: check --import")
