"""Calls of plain functions that held an event loop: known exactly, from the calls themselves.

A function that is no coroutine lets nothing else run on its thread. If that thread runs an event loop,
the loop is held from the start of the call to its end.
"""

from __future__ import annotations

import sys
from collections import deque
from dataclasses import dataclass
from threading import get_ident
from typing import Any, Final

from dytopo_autotrace.collect.span import ID, SITE, START_NS, TRACE, UNWATCHED, Record

HELD_NS: Final = 100_000_000
"""What holds a loop for so long is told of: as long as what asyncio calls a slow callback."""
_MOST: Final = 1000
_FETCH: Final = "_get_running_loop"


@dataclass(frozen=True, slots=True)
class Hold:
    """One time in which a thread's loop was held."""

    thread: int
    start_ns: int
    end_ns: int
    call: int
    """Id of the innermost watched call that held it, 0 for none."""
    trace: int
    operation: str
    where: str
    is_exact: bool
    looks: int = 0
    before_ns: int = 0
    """How long before the start the loop did nothing else either, whoever held it then."""
    after_ns: int = 0
    """How long after the end it may have gone on: until it was looked at again."""


class Holds:
    """What the call path noted since it was last taken. Where nobody takes it, the oldest are lost."""

    def __init__(self) -> None:
        self._noted: deque[Hold] = deque(maxlen=_MOST)

    def note(self, record: Record, ended_ns: int, where: str) -> None:
        """A call of a plain function took long; kept if a loop runs on its thread."""
        if record[TRACE] == UNWATCHED or not _holds_a_loop():
            return
        site = record[SITE]
        self._noted.append(
            Hold(
                *(get_ident(), record[START_NS], ended_ns, record[ID], record[TRACE]),
                *(site.operation, where, True),
            )
        )

    def take(self) -> list[Hold]:
        """What was noted; it is then forgotten."""
        return [self._noted.popleft() for _ in range(len(self._noted))]

    def clear(self) -> None:
        """Forget all of it."""
        self._noted.clear()


def _holds_a_loop() -> bool:
    """Whether a loop runs on this thread, and did nothing else while this code ran."""
    loop = running_loop()
    # A loop that may be run within itself, and a greenlet that may have let the loop go on, may not.
    return loop is not None and not hasattr(loop, "_nest_patched") and not _in_greenlet()


def running_loop() -> Any:
    """The event loop of this thread that runs, None if there is none; loads nothing."""
    events = sys.modules.get("asyncio.events")
    fetch = getattr(events, _FETCH, None)
    return None if fetch is None else fetch()


def _in_greenlet() -> bool:
    current = getattr(sys.modules.get("greenlet"), "getcurrent", None)
    return current is not None and current().parent is not None
