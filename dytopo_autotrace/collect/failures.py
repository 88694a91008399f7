"""What is kept of an exception: a plain value taken while it flies, a failure record once drained."""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from types import CodeType, TracebackType
from typing import Any

from dytopo_autotrace.collect.faults import around_forks, is_for_the_program
from dytopo_autotrace.collect.span import ErrorInfo, Span, Status

MAX_FRAMES = 12
MAX_MESSAGE = 1024
MAX_FAILURES = 10_000
MAX_WAITING = 10_000
"""Open calls whose failed calls are remembered, and how many of one call's are."""
MAX_BELOW = 1_000
MAX_LATEST = 256
"""Records that one of the same exception from the other source, program or watched call, can meet."""

_our_code: dict[int, CodeType] = {}
# By id, since a code object's own hash walks its constants.


def hide(code: CodeType) -> None:
    """Have frames that run this code left out of tracebacks: they are ours, not the host's."""
    _our_code[id(code)] = code


def is_hidden(code: CodeType) -> bool:
    """Whether this code is ours."""
    return id(code) in _our_code


def without_our_head(error: BaseException) -> None:
    """Take our own frame off the head of a traceback in flight.

    A bare `raise` then goes on with the traceback that the host would have had without us. Nothing is
    left of it when what raised is written in C, or when the exception was thrown into a generator.
    """
    head = error.__traceback__
    if head is not None and is_hidden(head.tb_frame.f_code):
        error.__traceback__ = head.tb_next


def outcome_of(error: BaseException) -> tuple[Status, ErrorInfo | None]:
    """What an exception says about the call that it ended; never raises, keeps nothing of it alive."""
    try:
        status = _status(error)
        return status, None if status == "success" else error_info(error)
    except Exception:
        kind = type(error).__name__
        return "error", ErrorInfo(kind, "<could not be read>", identity=id(error))


def _status(error: BaseException) -> Status:
    if isinstance(error, SystemExit):
        return "success" if error.code in (None, 0) else "error"
    if isinstance(error, StopIteration | StopAsyncIteration):
        return "success"
    if isinstance(error, KeyboardInterrupt | GeneratorExit):
        return "cancelled"
    # By name, since asyncio must not be imported for it, and other libraries have their own.
    if any(kind.__name__ in ("CancelledError", "Cancelled") for kind in type(error).__mro__):
        return "cancelled"
    return "error"


def error_info(error: BaseException) -> ErrorInfo:
    """What is kept of an exception, as a plain value."""
    kind = type(error)
    try:
        message = str(error)
    except BaseException as fault:
        if is_for_the_program(fault):
            raise
        message = f"<str() raised {type(fault).__name__}>"
    related = [id(other) for other in (error.__cause__, error.__context__) if other is not None]
    if isinstance(error, BaseExceptionGroup):
        related += [id(member) for member in error.exceptions[:100]]
    return ErrorInfo(
        type_name=kind.__qualname__,
        message=message if len(message) <= MAX_MESSAGE else message[:MAX_MESSAGE] + "…",
        module=kind.__module__,
        frames=_frames(error.__traceback__),
        identity=id(error),
        related=tuple(related),
    )


def _frames(step: TracebackType | None) -> tuple[tuple[str, int, str], ...]:
    kept: deque[tuple[str, int, str]] = deque(maxlen=MAX_FRAMES)
    while step is not None:
        code = step.tb_frame.f_code
        if not is_hidden(code):
            kept.append((code.co_filename, step.tb_lineno, code.co_name))
        step = step.tb_next
    return tuple(kept)


@dataclass(slots=True)
class FailureRecord:
    """One failure, however many woven calls its exception crossed, and whether it was recovered."""

    failure_id: str
    timestamp: float
    component: str
    operation: str
    error_type: str
    error_message: str
    trace_id: str
    span_id: str
    context: dict[str, Any] = field(default_factory=dict)
    recovered: bool = False
    recovery_strategy: str | None = None

    def to_dict(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.__slots__}


def format_stack(frames: Sequence[tuple[str, int, str]]) -> str:
    """A short stack as Python prints it, source lines where they can be read."""
    import traceback  # noqa: PLC0415 - only a program that fails pays for it

    return "".join(
        traceback.format_list([traceback.FrameSummary(*frame) for frame in frames])
    ).rstrip()


class FailureLog:
    """Failure records in memory, bounded: beyond `limit` the oldest go, and are counted."""

    def __init__(self, limit: int = MAX_FAILURES) -> None:
        self.dropped = 0
        self._records: deque[FailureRecord] = deque(maxlen=limit)
        self._below: dict[int, deque[ErrorInfo]] = {}
        self._latest: deque[tuple[ErrorInfo, FailureRecord, bool]] = deque(maxlen=MAX_LATEST)
        # Reentrant: a finalizer of the host's that runs in between may record a failure itself.
        self._lock = threading.RLock()

    def add_by_hand(self, error: ErrorInfo, record: FailureRecord) -> FailureRecord:
        """Keep what the program recorded itself; of an exception that a watched call raised, once."""
        with self._lock:
            known = self._take_latest(error, by_hand=False)
            if known is not None:
                known.context.update(record.context)
                return known
            self._latest.append((error, record, True))
            self._add(record)
            return record

    def _take_latest(self, error: ErrorInfo, *, by_hand: bool) -> FailureRecord | None:
        """The latest record of the same exception from the other source, for this one time."""
        for place in range(len(self._latest) - 1, -1, -1):
            other, record, was_by_hand = self._latest[place]
            is_one = was_by_hand is by_hand and not error.soft and error.message == other.message
            if is_one and error.identity == other.identity and _same(error, other):
                del self._latest[place]
                return record
        return None

    def _add(self, record: FailureRecord) -> None:
        if len(self._records) == self._records.maxlen:
            self.dropped += 1
        self._records.append(record)

    def add_spans(self, spans: Sequence[Span]) -> None:
        """Record the failures that began in these spans; one that only passed through is known."""
        with self._lock:
            for span in spans:
                below = self._below.pop(span.id, ()) if self._below else ()
                error = span.error
                # A cancelled call is no failure, but the timeout that it leads to above is one.
                if error is None or span.status != "error":
                    continue
                if span.parent:
                    self._remember(span.parent, error)
                if any(_same(error, other) for other in below):
                    continue
                if self._take_latest(error, by_hand=True) is None:
                    record = _record(span, error)
                    self._latest.append((error, record, False))
                    self._add(record)

    def _remember(self, parent: int, error: ErrorInfo) -> None:
        known = self._below.get(parent)
        if known is None:
            if len(self._below) >= MAX_WAITING:
                # Parents that ended before their calls did; the oldest will hardly be asked for.
                del self._below[next(iter(self._below))]
            known = self._below[parent] = deque(maxlen=MAX_BELOW)
        known.append(error)

    def all(self) -> list[FailureRecord]:
        with self._lock:
            return list(self._records)

    def find(self, failure_id: str) -> FailureRecord | None:
        with self._lock:
            return next((each for each in self._records if each.failure_id == failure_id), None)

    def clear(self) -> None:
        with self._lock:
            self._records.clear()
            self._below.clear()
            self._latest.clear()
            self.dropped = 0

    def after_fork_in_child(self) -> None:
        """What was recorded so far is the parent's, and so is the lock."""
        self._lock = threading.RLock()
        self.clear()


def _same(error: ErrorInfo, below: ErrorInfo) -> bool:
    if error.soft or below.soft:
        return False
    if error.identity == below.identity:
        # An address is used again once an exception is gone: the place it was raised at tells.
        return error.type_name == below.type_name and error.frames[-1:] == below.frames[-1:]
    return below.identity in error.related


def _record(span: Span, error: ErrorInfo) -> FailureRecord:
    context: dict[str, Any] = dict(span.metadata)
    if span.agent:
        context["agent"] = span.agent
    if error.frames:
        context["stack"] = format_stack(error.frames)
    return FailureRecord(
        failure_id=span.span_id,
        timestamp=span.end_time or span.start_time,
        component=span.role or span.site.rule or "unknown",
        operation=span.operation,
        error_type=error.type_name,
        error_message=error.message,
        trace_id=span.trace_id,
        span_id=span.span_id,
        context=context,
    )


def new_failure_id() -> str:
    return os.urandom(8).hex()


failures = FailureLog()
"""The failure records of this process."""

around_forks(after_in_child=failures.after_fork_in_child)
