"""What one process of a run writes into a store: while the program runs, and at its end."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from dytopo_autotrace.collect.metrics import metrics
from dytopo_autotrace.collect.pipeline import pipeline
from dytopo_autotrace.store.intake import Intake

if TYPE_CHECKING:
    from dytopo_autotrace.collect.failures import FailureRecord
    from dytopo_autotrace.collect.span import Span
    from dytopo_autotrace.export.run import ExportedSpan
    from dytopo_autotrace.rules.model import Keeping
    from dytopo_autotrace.store.backlog import Backlog
    from dytopo_autotrace.store.model import RunEnd, RunStart, RunState
    from dytopo_autotrace.store.recorder import Recorder

FLUSH_SECONDS: Final = 1.0
"""How long the worker of a pool waits, at most, for what it recorded to be written."""


class Recording:
    """Hands what the pipeline drains to the store, on the background thread.

    Args:
        store: where, as `store.location.locate` settled it.
        start: what is known of the run when it begins; asked when there is something to write.
        state: what is known of it by now, besides its spans.
        keeping: for how long runs are kept.
    """

    def __init__(
        self,
        store: str,
        start: Callable[[], RunStart],
        state: Callable[[], RunState],
        keeping: Keeping,
    ) -> None:
        self._store = store
        self._start = start
        self._state = state
        self._keeping = keeping
        self._intake = self._open()

    def _open(self) -> Intake:
        intake = Intake(self._recorder)
        pipeline.consumers.append(intake.take)
        pipeline.watchers.append(intake.tick)
        return intake

    def go_on_in_child(self) -> None:
        """In a forked child: what was recorded so far is the parent's, what follows is its own."""
        pipeline.consumers.remove(self._intake.take)
        pipeline.watchers.remove(self._intake.tick)
        self._intake = self._open()

    @property
    def is_used(self) -> bool:
        """Whether there was anything to keep."""
        return self._intake.is_used

    def flush(self) -> None:
        """Write what a worker has recorded before its result is known."""
        intake = self._intake
        deadline = time.monotonic() + FLUSH_SECONDS
        while not intake.is_done and (pipeline.has_news or intake.is_behind):
            left = deadline - time.monotonic()
            if left <= 0:
                return
            pipeline.flush(left)
            if intake.is_behind:
                time.sleep(0.005)  # Another process has the store's lock.

    def end(self, end: Callable[[], RunEnd], is_wanted: Callable[[], bool]) -> None:
        """Have the background thread write what is left; it is waited for while it gets on.

        Args:
            end: how the run ended.
            is_wanted: whether to enter this process into the store although it has nothing to keep.
        """
        intake = self._intake

        def last() -> None:
            if not intake.is_used:
                if not is_wanted():
                    return
                intake.want()
            intake.finish(end)
            intake.tick(pipeline.open_spans())

        intake.hurry()
        if not pipeline.stop(last, lambda: intake.progress):
            intake.give_up()

    def losses(self) -> dict[str, int]:
        """What is not in the store, by the reason in words."""
        losses = self._intake.losses()
        if not losses:
            return {}
        from dytopo_autotrace.store.model import said  # noqa: PLC0415 - the store is there by now

        return said(losses)

    def complaints(self) -> list[str]:
        """The losses as lines for a person."""
        losses = self.losses()
        if not losses:
            return []
        from dytopo_autotrace.store.location import shown  # noqa: PLC0415 - after a loss only

        return [
            f"{shown(self._store)}: {count} {reason} ({self._intake.trouble})"
            for reason, count in losses.items()
        ]

    def _recorder(self, backlog: Backlog) -> Recorder:
        """Made on the background thread, where importing a database holds nobody up."""
        from dytopo_autotrace.store.location import open_writer  # noqa: PLC0415
        from dytopo_autotrace.store.model import Retention  # noqa: PLC0415
        from dytopo_autotrace.store.recorder import Recorder, Sources  # noqa: PLC0415

        sources = Sources(self._state, failure_records, metrics.families)
        keeping = self._keeping
        keep = Retention(keeping.keep_days, keeping.keep_runs, keeping.keep_megabytes)
        return Recorder(backlog, open_writer(self._store, describe), self._start(), sources, keep)


def failure_records() -> list[FailureRecord]:
    """The failures so far, those marked that were recovered from."""
    from dytopo_autotrace.observability import failure_analyzer  # noqa: PLC0415

    return failure_analyzer.settled()


def describe(span: Span, service: str) -> ExportedSpan:
    """A span in the words of OpenTelemetry's conventions, for a store that other tools read too."""
    from dytopo_autotrace.export.run import alone  # noqa: PLC0415 - most stores do without

    return alone(span, service)
