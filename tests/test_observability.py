"""The classic names on their own: all that a program written for them imports."""

import subprocess
import sys

PROGRAM = """
import asyncio
from dytopo_autotrace.observability import (
    BottleneckAnalyzer, TraceCollector, TraceContext, failure_analyzer, metrics, trace_id_var,
)

async def main():
    try:
        async with TraceContext("outer", agent="a"):
            async with TraceContext("inner"):
                raise ValueError("no")
    except ValueError:
        pass
    spans = await TraceCollector.get_trace(trace_id_var.get())
    print([span.operation for span in spans])
    print((await BottleneckAnalyzer.analyze(trace_id_var.get()))["total_spans"])
    print([each.operation for each in await failure_analyzer.get_all_failures()])
    print((await metrics.get_stats("dytopo_operation_duration_seconds"))["count"])

asyncio.run(main())
"""


def test_the_classic_module_alone_records_everything():
    """Spans, analysis, failures and durations are there although nothing else of ours was imported."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=False
    )
    assert done.stderr == ""
    assert done.stdout.splitlines() == ["['inner', 'outer']", "2", "['inner']", "2"]
