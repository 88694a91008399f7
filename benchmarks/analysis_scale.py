"""How analysis grows with a trace: seconds and memory from a thousand spans to a million.

Each size is analyzed in a process of its own, several times, in an order that turns from round to
round. The trace is that of one swarm with eight workers that goes on for as many rounds as it takes:
messages, model calls that wait for a slot, and attempts of which some fail and are tried again.
"""

from __future__ import annotations

import argparse
import gc
import json
import math
import resource
import subprocess
import sys
import time
from collections.abc import Sequence
from functools import partial
from statistics import linear_regression, median

from _rounds import Check, interleave, machine, table

from dytopo_autotrace.analyze.summary import summarize
from dytopo_autotrace.collect.records import RunRecords
from dytopo_autotrace.collect.span import ErrorInfo, Site, Span

SIZES = (1_000, 10_000, 100_000, 1_000_000)
SECONDS = {10_000: 0.5, 1_000_000: 60.0}
"""The longest that the analysis of a trace of that size may take."""
MEBIBYTES = 2048
"""The most memory that the process that analyzes a million spans may use, the spans included."""
EXPONENT = 1.1
"""Time may grow with the size to that power: 1 is linear, and what sorts is a little more."""

AGENTS = tuple(f"agent{number}" for number in range(8))
MS = 1_000_000
ERROR = ErrorInfo("ModelUnavailable", "HTTP 503", "llm", (("llm.py", 7, "send"),), 1)
RUN, ROUND = Site("run_swarm", role="orchestrator"), Site("round", role="scope")
MANAGER, WORKER = Site("manager_call", role="manager"), Site("agent_call", role="worker")
MODEL, SLOT, ATTEMPT = (
    Site("llm_call", role="llm"),
    Site("semaphore", role="wait"),
    Site("llm_attempt", role="attempt"),
)

Sample = tuple[float, float]
"""Seconds, and mebibytes at the peak."""


def main() -> int:
    arguments = _arguments()
    if arguments.spans:
        print(json.dumps(_analyze(arguments.spans)))
        return 0
    sizes = [size for size in SIZES if size <= arguments.most]
    print(machine())
    print(f"Analysis of one trace; medians of {arguments.rounds} runs.\n")
    samples = interleave(
        {str(size): partial(_ask, size) for size in sizes}, arguments.rounds, warm_up=0
    )
    medians = {
        size: tuple(median(column) for column in zip(*samples[str(size)], strict=True))
        for size in sizes
    }
    rows = [
        [f"{size:,}", f"{seconds:.3f}", f"{seconds / size * 1e6:.1f}", f"{mebibytes:.0f}"]
        for size, (seconds, mebibytes) in medians.items()
    ]
    print(table(["spans", "seconds", "µs per span", "MiB at the peak"], rows), end="\n\n")
    checks = _judge(medians)
    print(
        table(
            ["target", "limit", "measured"],
            [[name, f"{check.limit:.2f}", str(check)] for name, check in checks.items()],
        )
    )
    return int(arguments.check and not all(check.met for check in checks.values()))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=3, help="runs of each size (3)")
    parser.add_argument("--most", type=int, default=SIZES[-1], help="spans of the largest trace")
    parser.add_argument("--check", action="store_true", help="exit with 1 if a target is missed")
    parser.add_argument("--spans", type=int, help=argparse.SUPPRESS)
    return parser.parse_args()


def _ask(size: int) -> Sample:
    done = subprocess.run(
        [sys.executable, __file__, "--spans", str(size)], check=True, capture_output=True, text=True
    )
    seconds, mebibytes = json.loads(done.stdout)
    return seconds, mebibytes


def _analyze(size: int) -> Sample:
    gc.disable()  # As the process that reports has it.
    spans = tuple(swarm(size))
    started = time.perf_counter()
    summary = summarize(RunRecords(spans=spans, now_ns=spans[0].end_ns))
    seconds = time.perf_counter() - started
    calls = sum(span.role != "scope" for span in spans)
    if summary.span_count != calls:
        sys.exit(f"{summary.span_count} calls of {calls} were analyzed")
    return seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def swarm(size: int) -> list[Span]:
    """Rounds of a manager and eight workers, four at a time, until there are so many spans."""
    spans: list[Span] = []

    def add(site, start, end, parent=None, agent="", **metadata):
        span = Span(len(spans) + 1, parent.id if parent else 0, 1, site, start)
        span.end_ns, span.status, span.agent, span.metadata = end, "success", agent, metadata
        span.measurements = ()
        spans.append(span)
        return span

    def call(start, held_from, end, parent, agent):
        work = add(WORKER, start, end, parent, agent, receives=[])
        model = add(MODEL, start, end, work, model="m-1", tokens_in=100, tokens_out=50)
        add(SLOT, start, held_from, model, free=0 if held_from > start else 1)
        if len(spans) % 29 == 0:
            failed = add(ATTEMPT, held_from, held_from + MS, model)
            failed.status, failed.error = "error", ERROR
        add(ATTEMPT, held_from + MS, end, model)
        return work

    root = add(RUN, MS, MS, task="scale")
    now, number = 2 * MS, 0
    while len(spans) < size:
        number += 1
        scope = add(ROUND, now, now, root, round=number)
        add(MANAGER, now, now + 10 * MS, scope, "manager")
        now += 10 * MS
        first = [call(now, now, now + 20 * MS, scope, agent) for agent in AGENTS[:4]]
        for agent, source in zip(AGENTS[4:], first, strict=True):
            call(now, now + 20 * MS, now + 40 * MS, scope, agent).links = (source.id,)
        now = scope.end_ns = now + 41 * MS
    root.end_ns = now
    return spans[:size]


def _judge(medians: dict[int, Sequence[float]]) -> dict[str, Check]:
    checks = {
        f"{size:,} spans, seconds": Check(medians[size][0], limit)
        for size, limit in SECONDS.items()
        if size in medians
    }
    if SIZES[-1] in medians:
        checks[f"{SIZES[-1]:,} spans, MiB"] = Check(medians[SIZES[-1]][1], MEBIBYTES)
    large = [size for size in medians if size > SIZES[0]]
    if len(large) > 1:
        fit = linear_regression(
            [math.log(size) for size in large], [math.log(medians[size][0]) for size in large]
        )
        checks["seconds grow with size to the power of"] = Check(fit.slope, EXPONENT)
    return checks


if __name__ == "__main__":
    sys.exit(main())
