"""Spans to an OpenTelemetry collector while the program runs: bounded, again on failure, counted.

A span is sent when it has ended, with the names and attributes that the OTLP file has. What cannot
be delivered now waits; when too much waits the oldest are let go of. A request whose answer is lost
is made again, so a collector can see a span twice, under the same id.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from dytopo_autotrace.collect import clock
from dytopo_autotrace.collect.records import RunRecords
from dytopo_autotrace.collect.span import Span
from dytopo_autotrace.store.backlog import Backlog

if TYPE_CHECKING:
    from dytopo_autotrace.export.run import Run
    from dytopo_autotrace.live.collector import Collector
    from dytopo_autotrace.rules.model import Export

MAX_WAITING: Final = 100_000
"""Spans that may wait for a collector that takes none."""

REQUEST_SPANS: Final = 512
"""Spans of one request, as opentelemetry's own processor has it."""

LONGEST_PAUSE_SECONDS: Final = 30.0
PATIENCE_SECONDS: Final = 1.5
"""How long the end of the program is held up by a collector that does not answer."""

LONGEST_PATIENCE_SECONDS: Final = 8.0
"""How long it is held up at most while spans arrive, or opentelemetry is still being imported."""

LAST_REQUEST_SECONDS: Final = 0.3
"""How long the request that is under way when all is given up is waited for: it may have arrived."""

SHARE: Final = 20
"""One part in so many is the most of its time that the thread spends on preparing."""

INSTALL: Final = "pip install 'dytopo-autotrace[otlp]'"

SpansOf = Callable[[Collection[int]], Sequence[Span]]


class OtlpSender:
    """Sends to one collector; all but `take`, `hurry` and `losses` is for the worker's thread.

    Args:
        spans_of: all that is known of some traces, and what is running: who called whom.
        say: tells a person, at most once or twice a run.
    """

    def __init__(
        self,
        export: Export,
        resource: Mapping[str, Any],
        spans_of: SpansOf,
        still_open: Callable[[], Sequence[Span]],
        say: Callable[[str], None],
    ) -> None:
        self.sent = 0
        self.trouble = ""
        self.ready = threading.Event()
        self.ready.set()
        self._export = export
        self._resource = resource
        self._spans_of = spans_of
        self._still_open = still_open
        self._say = say
        self._backlog = Backlog()
        self._collector: Collector | None = None
        self._of_parent: Collector | None = None
        self._deadline: float | None = None
        self._is_last = False
        self._give_up_at = float("inf")
        self._in_hand = 0
        self._pause = 0.0
        self._settling = threading.Lock()
        self._is_over = self._is_counted = False
        self._is_idle = threading.Event()
        self._is_idle.set()

    @property
    def name(self) -> str:
        """Where to, for a person."""
        return self._export.endpoint or "the OTLP collector"

    def take(self, spans: Sequence[Span]) -> None:
        """Take finished spans; a consumer of the pipeline."""
        self._backlog.take(spans)
        self._backlog.shed(MAX_WAITING, "queue full")

    def step(self) -> float:
        if self._backlog.closed_for:
            return 3600.0
        if not self._backlog.waiting:
            return self._export.every_seconds
        began = time.monotonic()
        indexing = self._deliver(self._backlog.next(MAX_WAITING))
        if self._pause:
            return self._pause
        took = time.monotonic() - began
        return max(self._export.every_seconds - took, SHARE * indexing, 0.0)

    def last(self) -> None:
        self._is_last = True
        self._collector = None  # The one that was hurried takes no more.
        rest = [*self._backlog.next(MAX_WAITING), *self._still_open()]
        if rest and not self._backlog.closed_for:
            self._deliver(rest)
        self._backlog.close(self._late)
        if self._collector is not None:
            self._collector.close()

    def failed(self, fault: Exception) -> None:
        self.trouble = f"{type(fault).__name__}: {fault}"
        self._lose(self._in_hand, "fault of ours")
        self._is_idle.set()

    def hurry(self) -> None:
        """The program has ended: from another thread, cut short what is under way."""
        now = time.monotonic()
        self._give_up_at = now + LONGEST_PATIENCE_SECONDS
        self._deadline = now + PATIENCE_SECONDS
        collector = self._collector
        if collector is not None:
            collector.deadline = self._deadline
            try:
                collector.close()
            except Exception as fault:
                self.trouble = f"{type(fault).__name__}: {fault}"

    def patience(self) -> float:
        """How long to wait for `last`, seconds; it is renewed with every request that succeeds."""
        if not self.ready.is_set():
            return max(self._give_up_at - time.monotonic(), 0.0)
        left = PATIENCE_SECONDS if self._deadline is None else self._deadline - time.monotonic()
        return max(left + 0.2, 0.0)

    def give_up(self) -> None:
        """Nothing is sent any more: what was not delivered by now is lost."""
        with self._settling:
            self._is_over = True
        self._is_idle.wait(LAST_REQUEST_SECONDS)
        reason = self._late
        with self._settling:
            self._is_counted = True
            self._backlog.lose(self._in_hand, reason)
            self._in_hand = 0
        self._backlog.close(reason)

    def losses(self) -> dict[str, int]:
        """Spans that did not arrive, by reason; those that are under way count once it is given up."""
        lost = Counter(self._backlog.drops)
        return {reason: count for reason, count in sorted(lost.items()) if count}

    @property
    def complaint(self) -> str:
        """The losses in words for a person, `""` if there are none."""
        lost = self.losses()
        if not lost:
            return ""
        reasons = ", ".join(f"{count:,} {reason}" for reason, count in lost.items())
        said = f" ({self.trouble})" if self.trouble else ""
        return f"{sum(lost.values()):,} spans did not reach {self.name}: {reasons}{said}"

    @property
    def _late(self) -> str:
        """Why what is left at the end is lost."""
        return "not sent in time" if self.sent and not self.trouble else "unreachable"

    def forked(self) -> None:
        """In a forked child: what waits is the parent's to send, and so is the connection."""
        self.ready = threading.Event()
        self.ready.set()
        self._backlog = Backlog()
        # Kept, since the connection is the parent's to close.
        self._of_parent, self._collector = self._collector, None
        self._deadline = None
        self._is_last = False
        self._in_hand = self.sent = 0
        self._settling = threading.Lock()
        self._is_over = self._is_counted = False
        self._is_idle = threading.Event()
        self._is_idle.set()

    def _deliver(self, spans: Sequence[Span]) -> float:
        """Send spans in several requests, put back what may be sent later; seconds of indexing."""
        self._in_hand = len(spans)
        collector = self._collector or self._connect()
        if collector is None:
            self._lose(len(spans), "not installed")
            self._backlog.close("not installed")
            return 0.0
        began = time.thread_time()
        run = self._index(spans)
        indexing = time.thread_time() - began
        for first in range(0, len(spans), REQUEST_SPANS):
            batch = spans[first : first + REQUEST_SPANS]
            if self._is_last and time.monotonic() > self._give_up_at:
                self._lose(len(spans) - first, self._late)
                break
            with self._settling:
                if self._is_over:
                    break
                self._is_idle.clear()
            is_cut_short = self._deadline is not None and not self._is_last
            outcome = "unreachable" if is_cut_short else collector.send(map(run.exported, batch))
            if outcome == "unsent":
                # It was cut short a moment ago, or there is something that cannot be encoded.
                is_cut_short = self._deadline is not None and not self._is_last
                outcome = "unreachable" if is_cut_short else "refused"
            if outcome == "unreachable":
                self.trouble = self.trouble if is_cut_short else collector.reply.said
                self._put_off(spans[first:])
                self._is_idle.set()
                break
            refused = len(batch) if outcome == "refused" else collector.reply.refused
            self._sent(len(batch), min(refused, len(batch)), collector)
            self._is_idle.set()
        return indexing

    def _put_off(self, spans: Sequence[Span]) -> None:
        if self._is_last:
            self._lose(len(spans), "unreachable")
            return
        self._pause = min(max(2 * self._pause, 1.0), LONGEST_PAUSE_SECONDS)
        with self._settling:
            if self._is_counted:
                return
            self._backlog.back(spans)
            self._in_hand = 0
        self._backlog.shed(MAX_WAITING, "queue full")

    def _lose(self, count: int, reason: str) -> None:
        with self._settling:
            if not self._is_counted:
                self._backlog.lose(count, reason)
                self._in_hand -= count

    def _sent(self, count: int, refused: int, collector: Collector) -> None:
        with self._settling:
            if self._is_counted:
                return
            self.sent += count - refused
            self._in_hand -= count - refused
        if self._pause:
            self._pause, self.trouble = 0.0, ""  # What was unreachable is not any more.
        if refused:
            self.trouble = collector.reply.said or "it cannot be encoded"
            self._lose(refused, "refused")
        if self._is_last:
            self._deadline = min(time.monotonic() + PATIENCE_SECONDS, self._give_up_at)
            collector.deadline = self._deadline

    def _index(self, spans: Sequence[Span]) -> Run:
        from dytopo_autotrace.export.run import Run  # noqa: PLC0415 - on the thread that sends

        known = self._spans_of({span.trace for span in spans})
        ids = {span.id for span in known}
        missing = {link for span in spans for link in span.links if link not in ids}
        if missing:
            known = [*known, *(each for each in self._spans_of(()) if each.id in missing)]
        records = RunRecords(
            service=str(self._resource["service.name"]),
            spans=(*known, *spans),
            now_ns=clock.now_ns(),
        )
        return Run(records, content=self._export.content)

    def _connect(self) -> Collector | None:
        self.ready.clear()
        try:
            from dytopo_autotrace import __version__  # noqa: PLC0415 - it is set last
            from dytopo_autotrace.live.collector import Collector  # noqa: PLC0415 - not ours
        except ImportError as missing:
            is_missing = isinstance(missing, ModuleNotFoundError)
            self.trouble = f"{missing.name} is not installed" if is_missing else str(missing)
            self._say(f"nothing is sent to {self.name}: {self.trouble}. Install it: {INSTALL}")
            return None
        finally:
            self.ready.set()
        if self._is_last:
            self._deadline = min(time.monotonic() + PATIENCE_SECONDS, self._give_up_at)
        export = self._export
        self._collector = Collector(
            export.endpoint, export.headers, self._resource, __version__, self._deadline
        )
        return self._collector
