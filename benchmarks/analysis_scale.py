"""How analysis grows with a trace: seconds and memory from a thousand spans to a million.

Each size is analyzed in a process of its own, several times, in an order that turns from round to
round. The trace is that of one swarm with five workers that goes on for as many rounds as it takes:
steps, calls, attempts of which some fail and are tried again, and requests below them.
"""

from __future__ import annotations

import argparse
import json
import math
import resource
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from functools import partial
from itertools import count
from statistics import linear_regression, median

from _rounds import Check, interleave, machine, table

from dytopo_autotrace.analyze.summary import summarize
from dytopo_autotrace.collect.records import RunRecords
from dytopo_autotrace.collect.span import AGENT, ErrorInfo, Site, Span

SIZES = (1_000, 10_000, 100_000, 1_000_000)
SECONDS = {10_000: 0.5, 1_000_000: 60.0}
"""The longest that the analysis of a trace of that size may take."""
MEBIBYTES = 2048
"""The most memory that the process that analyzes a million spans may use, the spans included."""
EXPONENT = 1.1
"""Time may grow with the size to that power: 1 is linear, and what sorts is a little more."""

AGENTS = ("developer", "tester", "researcher", "designer", "reviewer")
MS = 1_000_000
ERROR = ErrorInfo("ModelUnavailable", "HTTP 503", "llm", (("llm.py", 7, "send"),), 1)

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
    spans = tuple(swarm(size))
    started = time.perf_counter()
    summary = summarize(RunRecords(spans=spans, now_ns=spans[0].end_ns))
    seconds = time.perf_counter() - started
    if summary.span_count != size:
        sys.exit(f"{summary.span_count} spans of {size} were analyzed")
    return seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def swarm(size: int) -> Iterator[Span]:
    """So many spans of one trace, callers before what they call."""
    sites = {
        name: Site(name, role, entry=(AGENT, "round_num"))
        for name, role in (
            *(("swarm", "orchestrator"), ("manager_call", "manager"), ("route", "router")),
            *(("agent_call", "worker"), ("llm_step", "step"), ("llm_call", "llm")),
            *(("llm_attempt", "attempt"), ("http_request", "io")),
        )
    }
    ids = count(1)
    start = 1_000 * MS
    rounds = math.ceil((size - 1) / (2 + 6 * len(AGENTS)))
    end = start + rounds * 100 * MS

    def span(name: str, parent: int, begun: int, ended: int, agent: str, number: int) -> Span:
        made = Span(next(ids), parent, 7, sites[name], begun)
        made.end_ns, made.status, made.at_entry = ended, "success", (agent, number)
        return made

    root = span("swarm", 0, start, end, "", 0)
    yield root
    left = size - 1
    for number in range(rounds):
        for each in _round(span, root.id, start + number * 100 * MS, number):
            if not left:
                return
            yield each
            left -= 1


def _round(span, root: int, start: int, number: int) -> Iterator[Span]:
    yield span("manager_call", root, start, start + 10 * MS, "manager", number)
    yield span("route", root, start + 10 * MS, start + 12 * MS, "", number)
    for place, agent in enumerate(AGENTS):
        begun, ended = start + 12 * MS, start + (60 + 8 * place) * MS
        parent = root
        for name in ("agent_call", "llm_step", "llm_call"):
            made = span(name, parent, begun, ended, agent, number)
            yield made
            parent = made.id
        failed = span("llm_attempt", parent, begun, begun + 5 * MS, agent, number)
        if (number + place) % 7 == 0:
            failed.status, failed.error = "error", ERROR
        yield failed
        tried = span("llm_attempt", parent, begun + 6 * MS, ended, agent, number)
        yield tried
        yield span("http_request", tried.id, begun + 6 * MS, ended, agent, number)


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
