"""Spans that begin in one call and end in another for the same object, such as attempts of a retry."""

from __future__ import annotations

import weakref
from functools import partial
from typing import Any

from dytopo_autotrace.collect import clock
from dytopo_autotrace.collect.failures import outcome_of
from dytopo_autotrace.collect.faults import attempt
from dytopo_autotrace.collect.pipeline import Pipeline
from dytopo_autotrace.collect.span import END_NS, ID, OUTCOME, TRACE, Record, Site
from dytopo_autotrace.collect.tracing import begin_trace, current

_open: dict[tuple[str, int], tuple[weakref.ref[Any], Record, Record | None]] = {}
"""By operation and the `id()` of the object: its open span, and what was current before it.

The reference is what tells that the object is gone and its `id()` free for another one.
"""


def begin(holder: Any, site: Site, values: tuple[Any, ...], into: Pipeline) -> None:
    """Begin the span of an object, current from now on; one that it still has is over.

    Raises:
        TypeError: there are no weak references to such an object.
    """
    key = (site.operation, id(holder))

    def gone(_: object) -> None:
        _abandon(key)

    reference = weakref.ref(holder, partial(attempt, gone))
    _abandon(key)
    parent = before = current.get()
    if parent is None:
        parent, before = begin_trace(None)
    record = [
        *(into.next_id(), parent[ID], parent[TRACE], site, clock.now_ns(), 0, None, None, None),
        *values,
    ]
    _open[key] = reference, record, before
    into.buffer.append(record)
    current.set(record)


def end(holder: Any, operation: str, error: BaseException | None) -> None:
    """End the span of an object, if it has one; what was current before it is so again."""
    known = _open.pop((operation, id(holder)), None)
    if known is None:
        return
    _, record, before = known
    now = clock.now_ns()
    try:
        if error is not None:
            record[OUTCOME] = outcome_of(error)
    finally:
        record[END_NS] = now
        if current.get() is record:
            current.set(before)


def _abandon(key: tuple[str, int]) -> None:
    known = _open.pop(key, None)
    if known is not None:
        _, record, before = known
        record[OUTCOME], record[END_NS] = ("cancelled", None), clock.now_ns()
        if current.get() is record:
            current.set(before)
