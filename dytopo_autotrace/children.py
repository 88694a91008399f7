"""What a run does about the processes that its program starts and forks: they write to the same store.

Each is a process of its own in the run: with a recorder of its own, below the span in which it was
started. The report is the parent's.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from dytopo_autotrace import __version__
from dytopo_autotrace.collect import clock
from dytopo_autotrace.collect.carrier import traceparent
from dytopo_autotrace.collect.faults import around_forks
from dytopo_autotrace.weave import workers
from dytopo_autotrace.weave.starts import Get, Starts

if TYPE_CHECKING:
    from dytopo_autotrace.collect.records import RunRecords
    from dytopo_autotrace.weave.ledger import Ledger

VARIABLE: Final = "DYTOPO_AUTOTRACE_CHILD"
"""What a child is told, as JSON."""
PATH: Final = "PYTHONPATH"
TRACEPARENT: Final = "TRACEPARENT"
MAX_SAID: Final = 16_384
"""Characters: the system refuses to start a program with a variable that is too long."""

_HOME: Final = os.path.dirname(os.path.abspath(__file__))
STARTUP: Final = os.path.join(_HOME, "startup")
"""The folder of the `sitecustomize` that children find first."""


class Children:
    """The children of one process.

    Args:
        run: what is said to each of them about the run, as plain values; empty if none is to join.
    """

    def __init__(self, run: Mapping[str, Any]) -> None:
        self._run = run
        self._starts = Starts(self._additions)
        self._forks = self._told = 0
        self._ledger: Ledger | None = None
        around_forks(after_in_parent=self._forked, after_in_child=self._begin_anew)

    def put_in(self, ledger: Ledger) -> None:
        """See to it that children of this process join the run."""
        self._ledger = ledger
        self._starts.put_in(ledger)

    @property
    def may_have_written(self) -> bool:
        """Whether there was a child that may have recorded something."""
        return bool(self._told or (self._run and self._forks))

    @property
    def left_out(self) -> int:
        """How many there were that could have joined and were not to."""
        return 0 if self._run else self._starts.pythons + self._forks

    def _additions(self, get: Get) -> Mapping[str, str]:
        if not self._run or os.pathsep in STARTUP:
            return {}
        import json  # noqa: PLC0415 - not for a program that starts none

        if self._ledger is not None:
            workers.give_parent(traceparent, self._ledger)
        path, trace = get(PATH), traceparent()
        said = {
            **self._run,
            "their_traceparent": get(TRACEPARENT),
            "python": sys.version_info[:2],
            "prefix": sys.prefix,
            "root": os.path.dirname(_HOME),
            "version": __version__,
            "anchor_ns": clock.ANCHOR_NS,
            "boot": boot(),
        }
        text = json.dumps(said)
        if len(text) > MAX_SAID:
            text = json.dumps({**said, "argv": said["argv"][:1]})
        if len(text) > MAX_SAID:
            return {}
        self._told += 1
        added = {PATH: STARTUP if path is None else f"{STARTUP}{os.pathsep}{path}", VARIABLE: text}
        return {**added, TRACEPARENT: trace} if trace else added

    def _forked(self) -> None:
        self._forks += 1

    def _begin_anew(self) -> None:
        self._forks = self._told = 0


def boot() -> str:
    """Which start of which machine this is, `""` where the system does not say."""
    try:
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
            return file.read().strip()
    except OSError:
        return ""


def read_kept(store: str, run_id: str) -> RunRecords | None:
    """All that the processes of a run have in its store; None if only one has anything."""
    from dytopo_autotrace.store.location import open_reader  # noqa: PLC0415 - at the end of a run

    reader = open_reader(store)
    try:
        found = [info for info in reader.runs() if info.start.run_id == run_id]
        return reader.load(run_id) if found and found[0].processes > 1 else None
    finally:
        reader.close()


def has_run(store: str, run_id: str) -> bool:
    """Whether any process of a run has written to the store."""
    from dytopo_autotrace.store.location import open_reader  # noqa: PLC0415 - at the end of a run

    reader = open_reader(store)
    try:
        return any(info.start.run_id == run_id for info in reader.runs())
    finally:
        reader.close()


def together(mine: RunRecords, kept: RunRecords) -> RunRecords:
    """The records of the parent, which has all of its own in memory, with those of its children."""
    known = {span.id for span in mine.spans}
    spans = [*mine.spans, *(span for span in kept.spans if span.id not in known)]
    finished = sorted((span for span in spans if span.end_ns), key=lambda span: span.end_ns)
    running = sorted((span for span in spans if not span.end_ns), key=lambda span: span.start_ns)
    return replace(
        mine,
        spans=(*finished, *running),
        rules=kept.rules,
        drops={**mine.drops, **kept.drops},
        cost=kept.cost,
        remarks=tuple(dict.fromkeys((*mine.remarks, *kept.remarks))),
    )
