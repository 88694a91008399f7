"""Which span is current, how a span opens and closes by hand, and where finished spans are kept."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from contextvars import ContextVar
from types import TracebackType
from typing import Any

from dytopo_autotrace.collect import clock, ids
from dytopo_autotrace.collect.failures import outcome_of
from dytopo_autotrace.collect.faults import around_forks
from dytopo_autotrace.collect.pipeline import pipeline
from dytopo_autotrace.collect.span import (
    END_NS,
    ID,
    TRACE,
    UNWATCHED,
    Record,
    Site,
    Span,
    trace_anchor,
)

current: ContextVar[Record | None] = ContextVar("dytopo_autotrace_current", default=None)
"""The record of the innermost open span of this context, or the anchor of its trace.

No token is ever held: a span that ends puts its parent back if it is still the current one, which
stays right when a coroutine is closed from another context.
"""

MAX_SPANS = 200_000
"""Finished spans kept in memory; beyond that the oldest trace goes, whole, and is counted."""


def begin_trace(outer: Record | None) -> tuple[Record, Record]:
    """A new trace's anchor, and what is current again once its root has ended.

    A context keeps its trace after the root has ended, so that the program can still ask for it;
    a trace that began under an open span gives way to that span again.
    """
    if outer is not None and outer[TRACE] == UNWATCHED:
        return outer, outer
    pipeline.ensure_running()
    anchor = trace_anchor(ids.new_trace_id())
    return anchor, outer if outer is not None and outer[ID] else anchor


class TraceContext:
    """A span opened by hand: `async with TraceContext("op", key=value) as span`, or plain `with`.

    Args:
        operation: the span's name.
        metadata: kept on the span; `agent` and `role`, when given, are also the span's own.
    """

    __slots__ = ("_metadata", "_outer", "_record", "_site", "span")

    def __init__(self, operation: str, **metadata: Any) -> None:
        role = metadata.get("role")
        self._site = Site(operation, role=role if isinstance(role, str) else "")
        self._metadata = metadata
        self._outer: Record | None = None
        self._record: Record | None = None
        self.span: Span | None = None

    def __enter__(self) -> Span:
        parent = self._outer = current.get()
        if parent is None:
            parent, self._outer = begin_trace(None)
        span = Span(pipeline.next_id(), parent[ID], parent[TRACE], self._site, clock.now_ns())
        span.agent = _name(self._metadata.get("agent", self._metadata.get("agent_id")))
        span.metadata = self._metadata
        self.span = span
        self._record = [
            *(span.id, span.parent, span.trace, self._site, span.start_ns, 0, None, None, span)
        ]
        pipeline.buffer.append(self._record)
        current.set(self._record)
        return span

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        span, record = self.span, self._record
        if span is None or record is None:
            return
        if not span.end_ns:
            if error is None:
                span.finish()
            else:
                status, span.error = outcome_of(error)
                if span.error is not None:
                    span.metadata.setdefault("error_type", span.error.type_name)
                    span.metadata.setdefault("error_message", span.error.message)
                span.finish(status)
        record[END_NS] = span.end_ns
        if current.get() is record:
            current.set(self._outer)

    async def __aenter__(self) -> Span:
        return self.__enter__()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.__exit__(kind, error, traceback)


def _name(agent: object) -> str:
    try:
        return "" if agent is None else str(agent)
    except Exception:
        return ""


class Traces:
    """Finished spans by trace, in memory, bounded.

    A trace that alone exceeds the bound loses its newest spans; otherwise the oldest trace goes.
    """

    def __init__(self, max_spans: int = MAX_SPANS) -> None:
        self.dropped = 0
        self._max_spans = max_spans
        self._count = 0
        self._traces: dict[int, list[Span]] = {}
        # Reentrant: letting go of a span may run a finalizer of the host's, which may ask for spans.
        self._lock = threading.RLock()

    def add(self, spans: Sequence[Span]) -> None:
        with self._lock:
            for span in spans:
                kept = self._traces.get(span.trace)
                if kept is None:
                    kept = self._traces[span.trace] = []
                kept.append(span)
            self._count += len(spans)
            if self._count > self._max_spans:
                self._shrink()

    def _shrink(self) -> None:
        while self._count > self._max_spans and len(self._traces) > 1:
            gone = len(self._traces.pop(next(iter(self._traces))))
            self._count -= gone
            self.dropped += gone
        if self._count > self._max_spans:
            (spans,) = self._traces.values()
            self.dropped += len(spans) - self._max_spans
            del spans[self._max_spans :]
            self._count = self._max_spans

    def get(self, trace: int) -> list[Span]:
        """The finished spans of a trace in the order in which they ended."""
        with self._lock:
            return list(self._traces.get(trace, ()))

    def all(self) -> dict[int, list[Span]]:
        with self._lock:
            return {trace: list(spans) for trace, spans in self._traces.items()}

    def clear(self) -> None:
        with self._lock:
            self._traces.clear()
            self._count = self.dropped = 0

    def after_fork_in_child(self) -> None:
        """What was recorded so far is the parent's, and so is the lock."""
        self._lock = threading.RLock()
        self.clear()


traces = Traces()
"""The finished spans of this process."""

around_forks(after_in_child=traces.after_fork_in_child)
