"""How long it takes to explain a run, and how much memory, by the number of its spans.

    python benchmarks/analysis_scale.py [most spans, 1000000]

Each size runs in a process of its own. The exponent is that of a line through the logarithms: 1 is linear.
"""

from __future__ import annotations

import gc
import math
import resource
import subprocess
import sys
import time

from dytopo_autotrace.analyze.summary import summarize
from dytopo_autotrace.collect.records import RunRecords
from dytopo_autotrace.collect.span import Site, Span

SIZES = (1_000, 10_000, 100_000, 1_000_000)
AGENTS = tuple(f"agent{number}" for number in range(8))
MS = 1_000_000
RUN, ROUND = Site("run_swarm", role="orchestrator"), Site("round", role="scope")
MANAGER, WORKER = Site("manager_call", role="manager"), Site("agent_call", role="worker")
MODEL, SLOT, HTTP = (
    Site("llm_call", role="llm"),
    Site("semaphore", role="wait"),
    Site("http_request", role="io"),
)


def swarm(count: int) -> list[Span]:
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
        add(HTTP, held_from, end, model)
        return work

    root = add(RUN, MS, MS, task="scale")
    now, number = 2 * MS, 0
    while len(spans) < count:
        number += 1
        scope = add(ROUND, now, now, root, round=number)
        add(MANAGER, now, now + 10 * MS, scope, "manager")
        now += 10 * MS
        first = [call(now, now, now + 20 * MS, scope, agent) for agent in AGENTS[:4]]
        for agent, source in zip(AGENTS[4:], first, strict=True):
            call(now, now + 20 * MS, now + 40 * MS, scope, agent).links = (source.id,)
        now = scope.end_ns = now + 41 * MS
    root.end_ns = now
    return spans[:count]


def measure(count: int) -> None:
    """Print seconds and the most MiB of this process for so many spans."""
    gc.disable()  # as the process that reports has it
    spans = tuple(swarm(count))
    before = time.perf_counter()
    summary = summarize(RunRecords(spans=spans, now_ns=spans[0].end_ns))
    seconds = time.perf_counter() - before
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(seconds, most, len(summary.what_if.predictions))


def main() -> None:
    most = int(sys.argv[1]) if len(sys.argv) > 1 else SIZES[-1]
    points = []
    for count in (size for size in SIZES if size <= most):
        command = [sys.executable, __file__, "--one", str(count)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        seconds, mebibytes, predictions = map(float, done.stdout.split())
        points.append((math.log(count), math.log(seconds)))
        print(
            f"{count:>9,} spans: {seconds:8.3f} s {mebibytes:8.0f} MiB, {predictions:.0f} what-ifs"
        )
    if len(points) > 1:
        mean_x = sum(x for x, _ in points) / len(points)
        mean_y = sum(y for _, y in points) / len(points)
        slope = sum((x - mean_x) * (y - mean_y) for x, y in points)
        print(f"exponent {slope / sum((x - mean_x) ** 2 for x, _ in points):.2f}")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--one"]:
        measure(int(sys.argv[2]))
    else:
        main()
