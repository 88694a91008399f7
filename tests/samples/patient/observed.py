"""Uses the host's own tracing."""

from patient.observability import TraceContext, metrics
from patient.observability import TraceContext as Traced


async def work():
    async with TraceContext("work", agent="worker") as span:
        await metrics.record("worked", 1)
        return span


async def work_by_other_name():
    async with Traced("work") as span:
        return span
