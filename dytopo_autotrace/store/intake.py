"""The store's end of the pipeline: takes from the first moment, and opens nothing before it must.

The recorder, and all that it imports, is made by the background thread: the program's own start does not
wait for a database library.
"""

from __future__ import annotations

import weakref
from collections import Counter
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from dytopo_autotrace.collect.faults import around_forks
from dytopo_autotrace.collect.span import Span
from dytopo_autotrace.store.backlog import Backlog

if TYPE_CHECKING:
    from dytopo_autotrace.store.model import RunEnd
    from dytopo_autotrace.store.recorder import Recorder

_intakes: weakref.WeakSet[Intake] = weakref.WeakSet()


class Intake:
    """Keeps one process's records in a store; never raises, and counts what it could not keep.

    Args:
        make: makes the recorder, on the background thread.
    """

    def __init__(self, make: Callable[[Backlog], Recorder]) -> None:
        self.recorder: Recorder | None = None
        self.backlog = Backlog()
        self.take = self.backlog.take
        """Takes finished spans: a consumer of the pipeline."""
        self._make = make
        self._end: Callable[[], RunEnd] | None = None
        self._fault = ""
        self._is_wanted = False
        _intakes.add(self)

    @property
    def progress(self) -> int:
        """Grows with what is written: who waits for the end sees that it comes nearer."""
        return self.recorder.progress if self.recorder else 0

    @property
    def is_used(self) -> bool:
        """Whether there was anything to keep."""
        return self._is_wanted or self.recorder is not None or bool(self.backlog.waiting)

    def want(self) -> None:
        """Enter this process into the store although it has nothing to keep."""
        self._is_wanted = True

    @property
    def is_behind(self) -> bool:
        """Whether there is anything that was taken and is not written."""
        return bool(self.backlog.waiting or self.backlog.in_hand)

    @property
    def is_done(self) -> bool:
        """Whether nothing will be written any more: it has ended, or the store was lost."""
        return bool(self.backlog.closed_for)

    @property
    def trouble(self) -> str:
        """What the store last said that it could not do, `""` if it could do all."""
        return self.recorder.trouble if self.recorder else self._fault

    def tick(self, opened: Sequence[Span] = ()) -> None:
        """Write what waits; on the background thread, at least every tenth of a second.

        Args:
            opened: spans that began since the last tick and still run.
        """
        if self.is_done:
            return
        if self.recorder is None:
            if not self.is_used and not opened:
                return  # A program in which nothing was watched leaves nothing behind.
            try:
                self.recorder = self._make(self.backlog)
            except Exception as fault:
                self._fault = f"{type(fault).__name__}: {fault}"
                self.backlog.close("store_fault")
                return
        self.recorder.tick(opened, self._end)

    def hurry(self) -> None:
        """Say that the program has ended, to a tick that may be waiting for the store."""
        if self.recorder is not None:
            self.recorder.hurry()

    def finish(self, end: Callable[[], RunEnd]) -> None:
        """Say that the program has ended; the next tick, the last, writes all the rest and lets go."""
        self._end = end

    def give_up(self) -> None:
        """The thread hangs in the store and is waited for no longer: count what it leaves."""
        self.backlog.give_up("store_stuck")

    def losses(self) -> dict[str, int]:
        """Spans that are not in the store, by reason (see `model.LOSSES`)."""
        lost = Counter(self.backlog.drops)
        if self.recorder is not None:
            lost.update(self.recorder.writer_losses())
        return {reason: count for reason, count in sorted(lost.items()) if count}

    def forked(self) -> None:
        """In a forked child: all of this is the parent's. The child may have an intake of its own."""
        if self.recorder is not None:
            self.recorder.abandon()
        self.backlog.forked()


def _after_fork() -> None:
    for intake in list(_intakes):
        intake.forked()


around_forks(after_in_child=_after_fork)
