"""The classic face: the names and signatures of `dytopo.observability`, over our collectors.

Everything is asked and answered at once; that most of it is `async` is the classic interface. No
lock of asyncio's is involved, so it works from several event loops, and from none.
"""

from __future__ import annotations

import functools
import os
import time
from collections.abc import Awaitable, Mapping, Sequence
from contextvars import Token
from importlib import import_module
from typing import TYPE_CHECKING, Any

from dytopo_autotrace.collect import clock, ids
from dytopo_autotrace.collect.failures import (
    FailureLog,
    FailureRecord,
    error_info,
    new_failure_id,
)
from dytopo_autotrace.collect.failures import failures as _failures
from dytopo_autotrace.collect.metrics import MetricsCollector, metrics
from dytopo_autotrace.collect.pipeline import pipeline
from dytopo_autotrace.collect.series import MetricPoint
from dytopo_autotrace.collect.span import ID, TRACE, Record, Span, trace_anchor
from dytopo_autotrace.collect.tracing import TraceContext, current, traces

if TYPE_CHECKING:
    import cProfile

__all__ = [
    "BottleneckAnalyzer",
    "FailureAnalyzer",
    "FailureRecord",
    "MetricPoint",
    "MetricsCollector",
    "PerformanceProfiler",
    "Span",
    "TraceCollector",
    "TraceContext",
    "failure_analyzer",
    "metrics",
    "profiler",
    "span_stack_var",
    "trace_id_var",
]


class _TraceIdVar:
    """Reads and sets like a `ContextVar[str | None]`: the trace that this context belongs to."""

    name = "trace_id"

    def get(self, default: str | None = None) -> str | None:
        here = current.get()
        return default if here is None else f"{here[TRACE]:032x}"

    def set(self, trace_id: str | None) -> Token[Record | None]:
        return current.set(None if trace_id is None else trace_anchor(_number(trace_id)))

    def reset(self, token: Token[Record | None]) -> None:
        current.reset(token)


class _SpanStackVar:
    """Reads and sets like a `ContextVar[list[str]]`: ids of the open spans of this context, outermost
    first."""

    name = "span_stack"

    def get(self, default: list[str] | None = None) -> list[str]:
        here = current.get()
        if here is None or not here[ID]:
            return [] if default is None else default
        above = {
            span.id: span.parent for span in (*pipeline.open_spans(), *traces.get(here[TRACE]))
        }
        stack: list[str] = []
        step = here[ID]
        while step and len(stack) <= len(above):
            stack.append(f"{step:016x}")
            step = above.get(step, 0)
        return stack[::-1]

    def set(self, stack: Sequence[str]) -> Token[Record | None]:
        """The last one is the parent of what comes now."""
        here = current.get()
        trace = here[TRACE] if here is not None else ids.new_trace_id()
        return current.set([_number(stack[-1]) if stack else 0, 0, trace])

    def reset(self, token: Token[Record | None]) -> None:
        current.reset(token)


trace_id_var = _TraceIdVar()
span_stack_var = _SpanStackVar()


def _number(some_id: object) -> int:
    text = str(some_id).replace("-", "")  # as uuid writes them
    try:
        return int(text, 16) % (1 << 128)
    except ValueError:
        # A program may use ids of its own making: the same text is the same id.
        return int.from_bytes(text.encode()[-16:], "big")


class TraceCollector:
    """The finished spans of this process, by trace."""

    @staticmethod
    async def record(span: Span) -> None:
        """Keep a span that was made and finished by hand; one that we made is kept already."""
        pipeline.drain()
        if all(span is not kept for kept in traces.get(span.trace)):
            traces.add((span,))

    @staticmethod
    async def get_trace(trace_id: str) -> list[Span]:
        """The finished spans of a trace, in the order in which they ended."""
        pipeline.drain()
        return traces.get(_number(trace_id))

    @staticmethod
    async def get_all_traces() -> dict[str, list[Span]]:
        pipeline.drain()
        return {f"{trace:032x}": spans for trace, spans in traces.all().items()}

    @staticmethod
    async def export_trace(trace_id: str, output_path: str | os.PathLike[str]) -> None:
        """Write a trace as classic JSON."""
        from dytopo_autotrace.export import classic  # noqa: PLC0415 - loaded on use

        spans = await TraceCollector.get_trace(trace_id)
        classic.write_json(output_path, {**classic.trace(spans), "trace_id": trace_id})

    @staticmethod
    async def analyze_trace(trace_id: str) -> dict[str, Any]:
        """Statistics of a trace by operation; `{"error": …}` for one that is not known."""
        from dytopo_autotrace.analyze import timing  # noqa: PLC0415 - loaded on use

        spans = await TraceCollector.get_trace(trace_id)
        if not spans:
            return {"error": f"No spans found for trace {trace_id}"}
        return {"trace_id": trace_id, **timing.trace_statistics(spans)}

    @staticmethod
    async def clear() -> None:
        pipeline.drain()
        traces.clear()


class BottleneckAnalyzer:
    """What slowed a trace down, and what would help."""

    @staticmethod
    async def analyze(trace_id: str) -> dict[str, Any]:
        """Durations, parallelization, long poles, recommendations and a score of 0 to 100."""
        from dytopo_autotrace.analyze import bottlenecks  # noqa: PLC0415 - loaded on use

        spans = await TraceCollector.get_trace(trace_id)
        if not spans:
            return {"error": f"No trace found for {trace_id}"}
        return bottlenecks.analyze(spans, clock.now_ns())

    @staticmethod
    def format_report(analysis: Mapping[str, Any]) -> str:
        from dytopo_autotrace.analyze import bottlenecks  # noqa: PLC0415 - loaded on use

        return bottlenecks.format_report(analysis)


class PerformanceProfiler:
    """Runs a swarm under cProfile and says where the time went."""

    def __init__(self) -> None:
        self.profiler: cProfile.Profile | None = None
        self.async_timings: dict[str, list[float]] = {}

    async def profile_swarm(
        self, orchestrator_run_coro: Awaitable[Any], task: str, enable_cpu_profile: bool = True
    ) -> dict[str, Any]:
        """Await a swarm's run and profile it.

        Args:
            orchestrator_run_coro: the run; its exception comes out unchanged.
            task: kept in the report.
            enable_cpu_profile: run cProfile, which slows every Python call down.
        """
        profile = self._start_cpu_profile() if enable_cpu_profile else None
        started = time.perf_counter()
        try:
            result = await orchestrator_run_coro
        finally:
            wall_time = time.perf_counter() - started
            if profile is not None:
                profile.disable()
        trace_id = trace_id_var.get()
        return {
            "task": task,
            "result": result,
            "wall_time": wall_time,
            "cpu_profile": _top_functions(profile) if profile is not None else "",
            "trace_analysis": await TraceCollector.analyze_trace(trace_id) if trace_id else {},
            "bottleneck_analysis": await BottleneckAnalyzer.analyze(trace_id) if trace_id else {},
        }

    def _start_cpu_profile(self) -> cProfile.Profile | None:
        import cProfile  # noqa: PLC0415 - loaded on use

        profile = cProfile.Profile()
        try:
            profile.enable()
        except ValueError:
            return None  # Another profiler runs in this process; the swarm runs all the same.
        self.profiler = profile
        return profile

    def record_async_timing(self, operation: str, duration: float) -> None:
        """Note how many seconds an operation took, in `async_timings`."""
        self.async_timings.setdefault(operation, []).append(duration)


def _top_functions(profile: cProfile.Profile, count: int = 20) -> str:
    import io  # noqa: PLC0415 - loaded on use
    import pstats  # noqa: PLC0415

    text = io.StringIO()
    pstats.Stats(profile, stream=text).sort_stats("cumulative").print_stats(count)
    return text.getvalue()


class FailureAnalyzer:
    """Failures of the program: those of woven calls come by themselves, others can be recorded."""

    def __init__(self, log: FailureLog | None = None) -> None:
        self._log = log or FailureLog()

    async def record_failure(
        self, component: str, operation: str, error: BaseException, **context: Any
    ) -> str:
        """Record a failure by hand; returns the id to mark its recovery with.

        An exception that a watched call raised has a record already: the context is added to that.
        """
        pipeline.drain()
        info = error_info(error)
        here = current.get()
        record = FailureRecord(
            failure_id=new_failure_id(),
            timestamp=time.time(),
            component=component,
            operation=operation,
            error_type=info.type_name,
            error_message=info.message,
            trace_id=trace_id_var.get() or "unknown",
            span_id=f"{here[ID]:016x}" if here is not None and here[ID] else "unknown",
            context=context,
        )
        return self._log.add_by_hand(info, record).failure_id

    async def mark_recovered(self, failure_id: str, strategy: str) -> None:
        """Note that a failure was recovered from, and how; an unknown id is passed over."""
        record = self._find(failure_id)
        if record is not None:
            record.recovered, record.recovery_strategy = True, strategy

    def _find(self, failure_id: str) -> FailureRecord | None:
        return next((each for each in self.settled() if each.failure_id == failure_id), None)

    def settled(self) -> list[FailureRecord]:
        """Every record, those marked that the trees show as recovered."""
        pipeline.drain()
        records = self._log.all()
        if self._log is _failures:
            _mark_recoveries(records)
        return records

    async def get_failure(self, failure_id: str) -> FailureRecord | None:
        return self._find(failure_id)

    async def get_all_failures(self) -> list[FailureRecord]:
        return self.settled()

    async def analyze_patterns(self) -> dict[str, Any]:
        """How many, of what type, where, how many recovered, and whether they came together."""
        from dytopo_autotrace.analyze import failure_patterns  # noqa: PLC0415 - loaded on use

        return failure_patterns.patterns(self.settled())

    async def get_recovery_suggestions(self, component: str, error_type: str) -> list[str]:
        from dytopo_autotrace.analyze import failure_patterns  # noqa: PLC0415 - loaded on use

        return failure_patterns.suggestions(component, error_type)

    async def export_failures_json(self, output_path: str | os.PathLike[str]) -> None:
        from dytopo_autotrace.export import classic  # noqa: PLC0415 - loaded on use

        classic.write_json(output_path, classic.failures(self.settled()))

    async def clear(self) -> None:
        pipeline.drain()
        self._log.clear()


def _mark_recoveries(records: list[FailureRecord]) -> None:
    """Mark what the trees show as recovered; what the program marked itself stays as it is."""
    from dytopo_autotrace.analyze import outcomes  # noqa: PLC0415 - loaded on use

    open_records = {r.span_id: r for r in records if not r.recovered and r.trace_id != "unknown"}
    for trace_id in {record.trace_id for record in open_records.values()}:
        for span_id, strategy in outcomes.recoveries(traces.get(int(trace_id, 16))).items():
            record = open_records.get(f"{span_id:016x}")
            if record is not None:
                record.recovered, record.recovery_strategy = True, strategy


import_module("dytopo_autotrace.agent")  # wires the collectors: this may be all that is imported

profiler = PerformanceProfiler()
failure_analyzer = FailureAnalyzer(_failures)


@functools.cache
def classic_names() -> Mapping[str, Any]:
    """The classic names and what they stand for here, for modules whose names are adopted."""
    return {name: globals()[name] for name in __all__}
