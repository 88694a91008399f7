"""What it costs to have a span at rest: from the call to the disk, beside OpenTelemetry's way out.

One function, called over and over, keeps who it was, a number and a text of its result. Watched by us,
its spans end in the store; watched by opentelemetry-sdk as it comes (its batch processor, its OTLP
exporter over HTTP), they end in a receiver on this machine, in a process of its own that answers 200 and
counts. Each contestant is a process; what is compared is the processor time of all its threads, user and
system, until its last span has arrived, less that of the same program unwatched.

  paced   calls in groups with rests between them, slow enough that neither loses any;
  burst   calls as fast as they come: spans per second until all is at rest, and who loses how many.

Run with: pip install dytopo-autotrace opentelemetry-sdk opentelemetry-exporter-otlp-proto-http
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from statistics import median
from typing import NamedTuple

from _rounds import (
    Check,
    interleave,
    machine,
    missing,
    quartiles,
    table,
    version,
)

LIMIT = 0.5
"""Share of OpenTelemetry's cost that ours may be."""

GROUP = 400
"""Calls between two rests of the paced program: fewer than half of what OpenTelemetry's queue holds."""
REST_SECONDS = 0.02

PEERS = ("opentelemetry-sdk", "opentelemetry-exporter-otlp-proto-http")


class Sample(NamedTuple):
    """One run of one contestant."""

    microseconds: float
    """Processor time per call, all threads."""
    seconds: float
    """From the first call until the last span is at rest."""
    arrived: int
    bytes_per_span: float = 0.0


def main() -> int:
    arguments = _arguments()
    if arguments.contestant:
        _contestant(arguments)
        return 0
    absent = [name for name in PEERS if version(name) is None]
    for name in absent:
        print(f"opentelemetry: {missing(name)}")
    names = ["unwatched", "dytopo-autotrace", *([] if absent else ["opentelemetry"])]
    print(f"{machine()}, {', '.join(f'{name} {version(name)}' for name in PEERS if version(name))}")
    checks = []
    for pace, calls in (("paced", arguments.paced), ("burst", arguments.burst)):
        samples = interleave(
            {name: partial(_run, name, pace, calls) for name in names}, arguments.rounds
        )
        print(f"\n{pace}: {calls} calls, {arguments.rounds} rounds\n")
        print(_shown(samples, calls))
        ours = samples["dytopo-autotrace"]
        checks.append(("spans of ours lost", Check(max(calls - each.arrived for each in ours), 0)))
        if not absent and pace == "paced":
            costs = [_costs(samples, name) for name in ("dytopo-autotrace", "opentelemetry")]
            ratio = median(own / other for own, other in zip(*costs, strict=True))
            checks.append(("our cost as a share of opentelemetry's", Check(ratio, LIMIT)))
    print()
    for what, check in checks:
        print(f"{what}: {check} (at most {check.limit:g})")
    return 0 if all(check.met for _, check in checks) else 1


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--paced", type=int, default=40_000, help="calls of the paced program")
    parser.add_argument("--burst", type=int, default=200_000, help="calls of the burst")
    parser.add_argument("--contestant", help=argparse.SUPPRESS)
    parser.add_argument("--pace", help=argparse.SUPPRESS)
    parser.add_argument("--calls", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--sink", help=argparse.SUPPRESS)
    return parser.parse_args()


def _costs(samples: dict[str, list[Sample]], name: str) -> list[float]:
    base = samples["unwatched"]
    return [
        own.microseconds - other.microseconds
        for own, other in zip(samples[name], base, strict=True)
    ]


def _shown(samples: dict[str, list[Sample]], calls: int) -> str:
    rows = []
    for name, taken in samples.items():
        if name == "unwatched":
            continue
        costs = _costs(samples, name)
        low, high = quartiles(costs)
        size = median(each.bytes_per_span for each in taken)
        rows.append(
            (
                name,
                f"{median(costs):.1f}",
                f"{low:.1f} - {high:.1f}",
                f"{median(each.arrived / each.seconds for each in taken):,.0f}",
                f"{median(calls - each.arrived for each in taken):,.0f}",
                f"{size:.0f}" if size else "",
            )
        )
    head = ("", "CPU us per call", "middle half", "spans/s at rest", "lost", "bytes per span")
    return table(head, rows)


def _run(name: str, pace: str, calls: int) -> Sample:
    """One contestant in a process of its own."""
    command = [
        sys.executable,
        __file__,
        "--contestant",
        name,
        "--pace",
        pace,
        "--calls",
        str(calls),
    ]
    with tempfile.TemporaryDirectory() as directory, _sink(name) as sink:
        # OpenTelemetry says on stderr which spans it drops; it is counted at the sink.
        done = subprocess.run(
            [*command, "--sink", sink or str(Path(directory, "traces.db"))],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL if sink else None,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
            check=True,
        )
        sample = Sample(*json.loads(done.stdout))
        if sink:
            with urllib.request.urlopen(sink) as answer:  # noqa: S310 - our own sink
                sample = sample._replace(arrived=int(answer.read()))
    return sample


@contextmanager
def _sink(name: str) -> Iterator[str]:
    """The address of a receiver, `""` for who needs none."""
    if name != "opentelemetry":
        yield ""
        return
    sink = subprocess.Popen(
        [sys.executable, str(Path(__file__).with_name("_sink.py"))],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        yield f"http://127.0.0.1:{sink.stdout.readline().strip()}/"
    finally:
        sink.terminate()
        sink.communicate()


def _contestant(arguments: argparse.Namespace) -> None:
    contestants: dict[
        str, Callable[[str], tuple[Callable[..., object], Callable[[], Sequence[float]]]]
    ]
    contestants = {
        "unwatched": _unwatched,
        "dytopo-autotrace": _ours,
        "opentelemetry": _opentelemetry,
    }
    call, finish = contestants[arguments.contestant](arguments.sink)
    group = GROUP if arguments.pace == "paced" else arguments.calls
    call(0, "warm up")
    cpu, began = time.process_time(), time.perf_counter()
    for first in range(1, arguments.calls, group):
        for number in range(first, min(first + group, arguments.calls)):
            call(number, "worker")
        if arguments.pace == "paced":
            time.sleep(REST_SECONDS)
    arrived, size = finish()
    used, took = time.process_time() - cpu, time.perf_counter() - began
    print(json.dumps([used / arguments.calls * 1e6, took, arrived, size]))


def answer(number: int, who: str) -> str:  # noqa: ARG001 - the rule names them
    return "an answer of some length, as models give them"


def _unwatched(_: str) -> tuple[Callable[..., object], Callable[[], Sequence[float]]]:
    return answer, lambda: (0, 0)


def _ours(path: str) -> tuple[Callable[..., object], Callable[[], Sequence[float]]]:
    from dytopo_autotrace import agent
    from dytopo_autotrace.collect.pipeline import pipeline
    from dytopo_autotrace.store.intake import Intake
    from dytopo_autotrace.store.location import open_reader, open_writer
    from dytopo_autotrace.store.model import RunEnd, RunStart
    from dytopo_autotrace.store.process import this_process
    from dytopo_autotrace.store.recorder import Recorder, Sources
    from dytopo_autotrace.weave.decorators import traced

    start = RunStart("b" * 32, this_process(), time.time_ns())
    sources = Sources(failures=agent.failures.all, families=agent.metrics.families)
    intake = Intake(lambda backlog: Recorder(backlog, open_writer(path), start, sources))
    pipeline.consumers.append(intake.take)
    pipeline.watchers.append(intake.tick)

    def finish() -> Sequence[float]:
        pipeline.stop()
        intake.finish(lambda: RunEnd(time.time_ns()))
        intake.tick()
        reader = open_reader(path)
        (info,) = reader.runs()
        return info.spans, reader.size() / info.spans

    watched = traced(
        operation="call", agent="who", attributes={"number": "number", "answer": "result"}
    )
    return watched(answer), finish


def _opentelemetry(sink: str) -> tuple[Callable[..., object], Callable[[], Sequence[float]]]:
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    provider = TracerProvider()
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(f"{sink}v1/traces")))
    tracer = provider.get_tracer("benchmark")

    def watched(number: int, who: str) -> str:
        with tracer.start_as_current_span("call") as span:
            span.set_attribute("agent", who)
            span.set_attribute("number", number)
            result = answer(number, who)
            span.set_attribute("answer", result)
            return result

    def finish() -> Sequence[float]:
        provider.shutdown()
        return 0, 0

    return watched, finish


if __name__ == "__main__":
    sys.exit(main())
