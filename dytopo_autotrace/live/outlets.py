"""All ways by which one run's records leave the process while it runs."""

from __future__ import annotations

import logging  # noqa: F401 - registers for forks, where it takes its lock: ours must come before
import threading
import time
import weakref
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

from dytopo_autotrace.collect.faults import around_forks
from dytopo_autotrace.collect.metrics import MetricsCollector, metrics
from dytopo_autotrace.collect.pipeline import pipeline
from dytopo_autotrace.collect.series import MetricFamily, MetricSeries
from dytopo_autotrace.live.file import FileExport
from dytopo_autotrace.live.worker import Worker

if TYPE_CHECKING:
    from dytopo_autotrace.collect.records import RunRecords
    from dytopo_autotrace.collect.span import Span
    from dytopo_autotrace.live.otlp import OtlpSender
    from dytopo_autotrace.live.scrape import Endpoint
    from dytopo_autotrace.rules.model import Export

PATIENCE_AT_FORK: Final = 0.5
"""How long a fork is held up by a thread that is in the middle of something..."""

IMPORT_PATIENCE_AT_FORK: Final = 5.0
"""...or of an import: a child in which a module is half imported could never import it."""

LOST: Final = "dytopo_lost_records_total"
"""Counter under which a scrape tells what the run has lost so far, by reason."""
NEVER_ABSENT: Final = "spans: the buffer was full"
"""The reason that a scrape has from the first, since a rate needs a value to rise from."""


@dataclass(frozen=True, slots=True)
class Sources:
    """What the outlets ask of the run that they belong to."""

    run_id: str
    service: str
    started_unix_ns: int
    directory: str
    """Where the program was started."""
    records: Callable[[], RunRecords]
    drops: Callable[[], Mapping[str, int]]
    spans_of: Callable[..., Sequence[Span]]
    """All spans of these traces and all that run; without traces, all spans."""
    say: Callable[[str], None]


class Outlet(Protocol):
    """What all have in common, besides being a worker's job."""

    trouble: str
    ready: threading.Event
    """Not set while it imports something."""

    @property
    def name(self) -> str: ...

    def patience(self) -> float: ...


class Outlets:
    """The outlets of one run; nothing of it raises, and nothing of it waits without a limit."""

    def __init__(self, sources: Sources) -> None:
        self.sources = sources
        self.files: list[FileExport] = []
        self.senders: list[OtlpSender] = []
        self.endpoint: Endpoint | None = None
        self.workers: list[tuple[Worker, Outlet]] = []

    def open(self, exports: Sequence[Export], prometheus: str) -> None:
        """Make them as the rule file says."""
        for export in exports:
            if export.path:
                self._add_file(export)
            else:
                self._add_sender(export)
        if prometheus:
            self._listen(prometheus)
        _outlets.add(self)
        pipeline.watchers.append(self.tick)
        self.tick()

    def tick(self, _: Sequence[Span] = ()) -> None:
        """Have all threads run; called on the background thread, so a fork may end them."""
        for worker, _outlet in self.workers:
            worker.ensure_running()
        if self.endpoint is not None:
            self.endpoint.ensure_running()

    def finish(self) -> None:
        """The program has ended and all is drained: have the rest written and sent; returns at once."""
        for sender in self.senders:
            sender.hurry()
        for worker, _ in self.workers:
            worker.finish()
        if self.endpoint is not None:
            self.endpoint.close()

    def wait(self) -> None:
        """Wait for the rest, not for long; then say what did not arrive."""
        try:
            for worker, outlet in self.workers:
                while not worker.wait(min(outlet.patience(), 0.25)) and outlet.patience():
                    pass
        except KeyboardInterrupt:
            pass  # Whoever is impatient does without the rest; it is counted.
        for sender in self.senders:
            sender.give_up()
            if complaint := sender.complaint:
                self.sources.say(complaint)
        for each in self.files:
            if each.trouble:
                self.sources.say(f"{each.name}: not written: {each.trouble}")

    def losses(self) -> dict[str, int]:
        """Spans that no collector got, by reason."""
        lost: Counter[str] = Counter()
        for sender in self.senders:
            lost.update(sender.losses())
        return dict(lost)

    def _add_file(self, export: Export) -> None:
        sources = self.sources
        job = FileExport(
            export, sources.run_id, sources.directory, sources.records, _version, sources.say
        )
        self.files.append(job)
        worker = Worker("dytopo-autotrace export", job, export.every_seconds)
        self.workers.append((worker, job))

    def _add_sender(self, export: Export) -> None:
        from dytopo_autotrace.live.otlp import OtlpSender  # noqa: PLC0415 - not without a collector

        sources = self.sources
        resource = {
            "service.name": sources.service,
            "service.instance.id": sources.run_id,
            "telemetry.sdk.name": "dytopo-autotrace",
            "telemetry.sdk.language": "python",
            "dytopo.run.started_unix_ns": sources.started_unix_ns,
        }
        job = OtlpSender(export, resource, sources.spans_of, pipeline.open_spans, sources.say)
        self.senders.append(job)
        pipeline.consumers.append(job.take)
        # Soon for the first time: importing what it needs takes half a second.
        worker = Worker("dytopo-autotrace otlp", job, min(export.every_seconds, 0.5))
        self.workers.append((worker, job))

    def _listen(self, address: str) -> None:
        # Now, and not on the thread: the program may have a module of its own that is called http.
        from dytopo_autotrace.live.scrape import Endpoint  # noqa: PLC0415 - not without an address

        client = _ClientMetrics(self.sources.service)
        try:
            self.endpoint = Endpoint(address, lambda: self._families(client))
        except (OSError, OverflowError) as error:
            reason = getattr(error, "strerror", None) or error
            self.sources.say(f"prometheus = {address!r}: cannot listen there: {reason}")
            return
        pipeline.consumers.append(client.take)
        if address.endswith(":0"):
            self.sources.say(f"metrics are at {self.endpoint.url}")

    def _families(self, client: _ClientMetrics) -> list[MetricFamily]:
        from dytopo_autotrace.export.families import as_prometheus_names  # noqa: PLC0415

        found = [*metrics.families(), *client.families(), *_lost(self.sources.drops())]
        return as_prometheus_names(found)

    def before_fork(self) -> None:
        """Let the threads rest: Python warns of a fork while there are others."""
        for _, outlet in self.workers:
            outlet.ready.wait(IMPORT_PATIENCE_AT_FORK)
        until = time.monotonic() + PATIENCE_AT_FORK
        for each in (*(worker for worker, _ in self.workers), self.endpoint):
            if each is not None:
                each.rest(max(until - time.monotonic(), 0.0))

    def after_fork_in_child(self) -> None:
        """A child has files and the endpoint in common with its parent, whose they stay."""
        self.files.clear()
        self.workers = [(each, job) for each, job in self.workers if job in self.senders]
        for worker, _ in self.workers:
            worker.forked()
        for sender in self.senders:
            sender.forked()
        if self.endpoint is not None:
            self.endpoint.let_go()
            self.endpoint = None


class _ClientMetrics:
    """The two histograms of the conventions for model calls, which nothing else keeps."""

    def __init__(self, service: str) -> None:
        self._service = service
        self._collector = MetricsCollector(max_points=1)

    def take(self, spans: Sequence[Span]) -> None:
        """Take finished spans; a consumer of the pipeline."""
        calls = tuple(span for span in spans if span.role == "llm")
        if not calls:
            return
        from dytopo_autotrace.collect.records import RunRecords  # noqa: PLC0415 - on use
        from dytopo_autotrace.export.families import observe_client  # noqa: PLC0415
        from dytopo_autotrace.export.run import Run  # noqa: PLC0415

        run = Run(RunRecords(service=self._service, spans=calls))
        for span in calls:
            observe_client(self._collector, run, span, span.end_time or 0.0)

    def families(self) -> list[MetricFamily]:
        return [each for each in self._collector.families() if "." in each.name]


def _lost(drops: Mapping[str, int]) -> list[MetricFamily]:
    series = tuple(
        MetricSeries((("reason", reason),), count, count, count, count, count, 0.0)
        for reason, count in sorted({NEVER_ABSENT: 0, **drops}.items())
    )
    text = "Records that were lost on the way, by what they were and why."
    return [MetricFamily(LOST, "counter", text, series)]


def _version() -> tuple[int, int]:
    pipeline.drain()
    return pipeline.started, pipeline.finished


_outlets: weakref.WeakSet[Outlets] = weakref.WeakSet()


def _before_fork() -> None:
    for each in list(_outlets):
        each.before_fork()


def _after_fork_in_child() -> None:
    for each in list(_outlets):
        each.after_fork_in_child()


around_forks(before=_before_fork, after_in_child=_after_fork_in_child)
