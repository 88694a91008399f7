"""Times in which something held the event loop's thread, so that no agent could go on.

Looked at from the background thread, which sees what each thread executes: an idle loop is in its
selector. One that is found in the same place of the host's code look after look was held there, or kept
busy; nothing is put into the host's loop to find out.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import FrameType
from typing import Final

from dytopo_autotrace.collect import clock
from dytopo_autotrace.collect.failures import is_hidden
from dytopo_autotrace.collect.pipeline import Pipeline
from dytopo_autotrace.collect.span import Site, Span

FEWEST_LOOKS: Final = 3
"""Looks in a row at which a thread must be in the same place; they are a tenth of a second apart."""
BLOCKED: Final = Site("event_loop_blocked", role="blocked")
_ASYNCIO: Final = os.sep + "asyncio" + os.sep
_SITE: Final = "__dytopo_site"
"""The name by which generated advice knows its site."""


@dataclass(slots=True)
class _Hold:
    place: tuple[object, ...]
    where: str
    operation: str
    since_ns: int
    last_ns: int
    looks: int = 1


class LoopWatch:
    """Records a span of the role `blocked` for each time that a loop's thread was held."""

    def __init__(
        self,
        pipeline: Pipeline,
        now_ns: Callable[[], int] = clock.now_ns,
        frames: Callable[[], Mapping[int, FrameType]] = sys._current_frames,  # noqa: SLF001
    ) -> None:
        self._pipeline = pipeline
        self._now_ns = now_ns
        self._frames = frames
        self._holds: dict[int, _Hold] = {}
        self._trace = 0

    def look(self, opened: Sequence[Span]) -> None:
        """A watcher of the pipeline."""
        if opened:
            self._trace = opened[-1].trace
        if not self._trace:
            return
        now = self._now_ns()
        mine = threading.get_ident()
        for thread, frame in self._frames().items():
            found = None if thread == mine else _place(frame)
            known = self._holds.get(thread)
            if known is not None and found is not None and known.place == found[0]:
                known.looks += 1
                known.last_ns = now
                continue
            self._let_go(thread)
            if found is not None:
                self._holds[thread] = _Hold(*found, now, now)

    def finish(self) -> None:
        """The program has ended."""
        for thread in list(self._holds):
            self._let_go(thread)

    def _let_go(self, thread: int) -> None:
        hold = self._holds.pop(thread, None)
        if hold is None or hold.looks < FEWEST_LOOKS:
            return
        pipeline = self._pipeline
        span = Span(pipeline.next_id(), 0, self._trace, BLOCKED, hold.since_ns)
        span.metadata = {"where": hold.where, "operation": hold.operation, "looks": hold.looks}
        span.status, span.end_ns = "success", hold.last_ns
        pipeline.buffer.append(
            [span.id, 0, span.trace, BLOCKED, span.start_ns, span.end_ns, None, None, span]
        )


def _place(frame: FrameType) -> tuple[tuple[object, ...], str, str] | None:
    """Where the host's code holds a loop, in words, and the watched call in it; None if it does not.

    The place is that of the host's outermost code in the loop's turn: what it calls may move on.
    """
    inner: list[FrameType] = []
    at: FrameType | None = frame
    while at is not None:
        code = at.f_code
        if code.co_name == "_run_once" and _ASYNCIO in code.co_filename:
            break
        inner.append(at)
        at = at.f_back
    if at is None:
        return None
    operation, where = "", ""
    place: list[tuple[object, int]] = []
    for each in reversed(inner):
        code = each.f_code
        if is_hidden(code):
            operation = getattr(each.f_globals.get(_SITE), "operation", operation)
        elif _ASYNCIO not in code.co_filename and code.co_name != "select":
            if len(place) < 4:
                place.append((code, each.f_lasti))
            if len(place) == 1 or not _is_library(code.co_filename):
                where = f"{code.co_filename}:{each.f_lineno} in {code.co_name}"
    return (tuple(place), where, operation) if place else None


def _is_library(filename: str) -> bool:
    return filename.startswith("<") or f"{os.sep}lib{os.sep}python" in filename
