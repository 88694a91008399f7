"""The classic names on their own: all that a program written for them imports."""

import asyncio
import contextlib
import contextvars
import subprocess
import sys

import pytest

from dytopo_autotrace import testing, traced
from dytopo_autotrace.observability import failure_analyzer

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


@pytest.mark.parametrize("inside", [True, False])
def test_what_a_program_records_itself_of_a_watched_call_is_one_failure(inside):
    """The exception that a watched call raised is recorded once, with what the program says of it."""

    def noted(error):
        return asyncio.run(failure_analyzer.record_failure("mine", "act", error, attempt=1))

    @traced(role="worker")
    def act():
        try:
            raise ValueError("no")
        except ValueError as error:
            if inside:
                noted(error)
            raise

    testing.clear()
    for _ in range(3):
        try:
            contextvars.copy_context().run(act)
        except ValueError as error:
            if not inside:
                noted(error)
    found = asyncio.run(failure_analyzer.get_all_failures())
    assert [each.context["attempt"] for each in found] == [1, 1, 1]
    assert len({each.failure_id for each in found}) == 3


def test_another_exception_is_another_failure():
    """What was raised elsewhere is not taken for the failure of a watched call."""

    @traced
    def act():
        raise ValueError("no")

    testing.clear()
    with contextlib.suppress(ValueError):
        contextvars.copy_context().run(act)
    asyncio.run(failure_analyzer.record_failure("mine", "act", ValueError("no")))
    assert len(asyncio.run(failure_analyzer.get_all_failures())) == 2
