"""From what waits to a writer: in batches, again when the store is busy, not at all once it is lost."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Final, NamedTuple

from dytopo_autotrace.collect import clock
from dytopo_autotrace.collect.failures import FailureRecord
from dytopo_autotrace.collect.series import MetricFamily
from dytopo_autotrace.collect.span import Span
from dytopo_autotrace.store.backlog import Backlog
from dytopo_autotrace.store.model import (
    Batch,
    Retention,
    RunEnd,
    RunStart,
    RunState,
    StoreBusy,
    StoreLost,
    Writer,
)

BATCH_SPANS: Final = 5_000
"""Spans of one transaction: tens of milliseconds in which no other process can write."""

TICK_SECONDS: Final = 0.1
"""How long one tick goes on writing, so that the thread that does it can be stopped and still drains."""

HEARTBEAT_SECONDS: Final = 0.25
"""How often a process that has nothing to write is heard of: how exactly it is known how long a span
ran that was running when the process died."""

SUMMARY_SECONDS: Final = 1.0
"""How often counts, failures and metrics are written while the program runs."""

PRUNE_SECONDS: Final = 60.0
"""How often a program that runs for long looks for what retention does not keep."""

PRUNE_SHARE_SECONDS: Final = 0.025
"""How long one tick goes on removing what is not kept, after it has written."""

LAST_PRUNE_SECONDS: Final = 0.1
"""How long the end of the program is held up, at most, by removing what is not kept."""

MAX_STUCK: Final = 200_000
"""Spans that may wait while the store takes none: as many as are kept in memory anyway."""

MAX_FAULTS: Final = 10
"""Batches in a row that may fail for a reason nobody thought of, before the store is given up."""

PATIENCE_SECONDS: Final = 2.0
"""How long the end of the program is held up by a store that takes nothing."""


class Sources(NamedTuple):
    """What is asked once a second, on the background thread, besides the spans."""

    state: Callable[[], RunState] = RunState
    failures: Callable[[], Sequence[FailureRecord]] = tuple
    families: Callable[[], Sequence[MetricFamily]] = tuple


class Recorder:
    """Writes what waits to a store; never raises, and counts what it could not write."""

    def __init__(
        self,
        backlog: Backlog,
        writer: Writer,
        start: RunStart,
        sources: Sources = Sources(),  # noqa: B008 - a value that never changes
        keep: Retention | None = None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.writer = writer
        self.written = 0
        self.progress = 0
        """Counts what succeeds."""
        self.trouble = ""
        """What the store last said that it could not do."""
        self._backlog = backlog
        self._start = start
        self._sources = sources
        self._keep = keep
        self._monotonic = monotonic
        self._has_begun = False
        self._opened: list[Span] = []
        self._heard = self._summed = -SUMMARY_SECONDS
        self._summary_every = SUMMARY_SECONDS
        self._faults = 0
        self._busy_with = ""
        self._retry_at = self._pause = self._prune_at = 0.0
        self._pruning: Iterator[None] | None = None
        self._seen = _Seen()

    def tick(self, opened: Sequence[Span], end: Callable[[], RunEnd] | None = None) -> None:
        """Write what waits, for a while; all of it, and the end, if the program has ended."""
        self._opened.extend(opened)
        try:
            if end is None:
                self._step()
            else:
                self._finish(end)
        except StoreLost as lost:
            self._give_up(lost.reason, lost.detail, end)
        except Exception as fault:
            self._fault(fault, is_last=end is not None)

    def writer_losses(self) -> Mapping[str, int]:
        """Spans that the writer had taken and that are lost, by reason."""
        return self.writer.losses

    def hurry(self) -> None:
        """The program has ended: a store that does not answer is given up soon."""
        self.writer.hurry()

    def abandon(self) -> None:
        """In a forked child: let go of the parent's connection without touching it."""
        self.writer.abandon()
        self._opened = []

    def _step(self) -> None:
        now = self._monotonic()
        if now < self._retry_at:
            self._backlog.shed(MAX_STUCK, self._busy_with)
            return
        try:
            if self._is_time_to_write(now):
                self._write(until=now + TICK_SECONDS)
            if self._keep is not None and self._has_begun:
                self._prune(self._keep, PRUNE_SHARE_SECONDS)
        except StoreBusy as busy:
            self.trouble, self._busy_with = busy.detail, busy.reason
            self._pause = min(max(self._pause * 2, 0.05), 2.0)
            self._retry_at = self._monotonic() + self._pause
            self._backlog.shed(MAX_STUCK, busy.reason)
        else:
            self._pause = self._retry_at = 0.0
            self._faults = 0

    def _is_time_to_write(self, now: float) -> bool:
        silent = now - self._heard
        if silent < self.writer.pace_seconds and self._backlog.waiting < BATCH_SPANS:
            return False
        return bool(self._backlog.waiting or self._opened) or silent > HEARTBEAT_SECONDS

    def _finish(self, end: Callable[[], RunEnd]) -> None:
        deadline, progress = self._monotonic() + PATIENCE_SECONDS, self.progress
        while True:
            try:
                self._write(until=float("inf"), is_last=True)
                self.writer.end(end())
                break
            except StoreBusy as busy:
                if self.progress != progress:
                    deadline, progress = self._monotonic() + PATIENCE_SECONDS, self.progress
                elif self._monotonic() > deadline:
                    raise StoreLost(busy.reason, busy.detail) from busy
                time.sleep(0.02)
        self.progress += 1
        self._tidy_up()
        self.writer.close()
        self.progress += 1
        self._backlog.close("store_closed")

    def _tidy_up(self) -> None:
        """After the end, for a moment: a program may be over before any tick came to it."""
        if self._keep is None or not self.writer.prunes_at_end:
            return
        lost = dict(self.writer.losses)
        try:
            self._prune_at = 0.0
            self._prune(self._keep, LAST_PRUNE_SECONDS)
            if self.writer.losses != lost:
                self.writer.write(self._with_summary(Batch(unix_ns=0)))
        except (StoreBusy, StoreLost) as problem:
            # The run is written; who comes next tidies up.
            self.trouble = problem.detail or problem.reason

    def _write(self, *, until: float, is_last: bool = False) -> None:
        """Write batch after batch while any wait, but begin none after a moment."""
        if not self._has_begun:
            self.writer.begin(self._start)
            self._has_begun = True
        while True:
            chunk = self._backlog.next(BATCH_SPANS)
            try:
                is_summed = self._write_batch(chunk, is_last=is_last)
            except (StoreBusy, StoreLost):
                self._backlog.back(chunk)
                raise
            except BaseException:
                self._backlog.drop("store_fault")
                raise
            self._backlog.kept()
            if not self._backlog.waiting and (is_summed or not is_last):
                return
            if self._monotonic() > until:
                return

    def _write_batch(self, chunk: Sequence[Span], *, is_last: bool) -> bool:
        batch = Batch(chunk, self._opened, clock.unix_ns(clock.now_ns()))
        now = self._monotonic()
        is_summed = is_last or now - self._summed >= self._summary_every
        if is_summed and not self._backlog.waiting:
            batch = self._with_summary(batch)
        else:
            is_summed = False
        self.writer.write(batch)
        self.written += len(chunk)
        self.progress += 1
        self._opened = []
        self._heard = self._monotonic()
        if is_summed:
            self._summed = self._heard
            self._seen.remember(batch)
        return is_summed

    def _with_summary(self, batch: Batch) -> Batch:
        began = self._monotonic()
        try:
            state = self._sources.state()
            lost = Counter(self._backlog.drops) + Counter(self.writer.losses)
            if lost:
                state = state._replace(drops={**state.drops, **lost})
            batch = batch._replace(
                state=self._seen.new_state(state),
                failures=self._seen.new_failures(self._sources.failures()),
                families=self._seen.new_families(self._sources.families()),
            )
        except Exception as fault:
            # Whoever is asked may fail, and fail again: the spans are written without its sums.
            self.trouble = f"no summary of the run: {type(fault).__name__}: {fault}"
        # A program with very many series must not spend its time on looking through them.
        self._summary_every = max(SUMMARY_SECONDS, 20 * (self._monotonic() - began))
        return batch

    def _prune(self, keep: Retention, seconds: float) -> None:
        """Remove what is not kept, step by step, if it is time to; begin no step after a moment."""
        now = self._monotonic()
        if self._pruning is None:
            if now < self._prune_at:
                return
            self._pruning = self.writer.prune(keep)
        try:
            next(self._pruning)
            while self._monotonic() < now + seconds:
                next(self._pruning)
        except StopIteration:
            self._pruning = None
            self._prune_at = self._monotonic() + PRUNE_SECONDS
        except StoreBusy:
            # Not now, then: what was begun is taken up again.
            self._pruning = None
            self._prune_at = self._monotonic() + PRUNE_SECONDS

    def _fault(self, fault: Exception, *, is_last: bool) -> None:
        """Go on without what cannot be written; give up when it is not the batch's fault."""
        self.trouble = f"{type(fault).__name__}: {fault}"
        self._opened = []
        self._faults += 1
        if is_last or self._faults > MAX_FAULTS:
            self._give_up("store_fault", self.trouble)

    def _give_up(self, reason: str, detail: str, end: Callable[[], RunEnd] | None = None) -> None:
        """Go on in memory only: what waits, and what comes, is counted."""
        self.trouble = detail or reason
        self._opened = []
        self._backlog.close(reason)
        if end is not None and reason == "store_full":
            self._write_end_only(end)
        self.writer.close()

    def _write_end_only(self, end: Callable[[], RunEnd]) -> None:
        """On a full disk: say at least how the run ended, and how much of it is missing."""
        try:
            self.writer.make_room()
            lost = Counter(self._backlog.drops) + Counter(self.writer.losses)
            state = self._sources.state()
            state = state._replace(drops={**state.drops, **lost})
            self.writer.write(Batch(state=state))
            self.writer.end(end())
        except (StoreBusy, StoreLost):
            pass  # There is no room even for that.


class _Seen:
    """What the store has of what is written once a second, so that only what changed is written."""

    def __init__(self) -> None:
        self._state: RunState | None = None
        self._failures: dict[str, tuple[bool, str | None]] = {}
        self._series: dict[object, tuple[int, float]] = {}

    def new_state(self, state: RunState) -> RunState | None:
        return state if state != self._state else None

    def new_failures(self, records: Sequence[FailureRecord]) -> list[FailureRecord]:
        return [
            each
            for each in records
            if self._failures.get(each.failure_id) != (each.recovered, each.recovery_strategy)
        ]

    def new_families(self, families: Sequence[MetricFamily]) -> list[MetricFamily]:
        new = []
        for family in families:
            series = tuple(
                each
                for each in family.series
                if self._series.get((family.name, each.labels)) != (each.count, each.sum)
            )
            if series:
                new.append(replace(family, series=series))
        return new

    def remember(self, batch: Batch) -> None:
        if batch.state is not None:
            self._state = batch.state
        for record in batch.failures:
            self._failures[record.failure_id] = (record.recovered, record.recovery_strategy)
        for family in batch.families:
            for each in family.series:
                self._series[family.name, each.labels] = (each.count, each.sum)
