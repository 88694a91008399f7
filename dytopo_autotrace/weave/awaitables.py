"""Calls that hand back a coroutine: what they are about has ended when that has."""

from __future__ import annotations

import inspect
import weakref
from collections.abc import Callable
from types import CoroutineType
from typing import Any

from dytopo_autotrace.collect import clock
from dytopo_autotrace.collect.failures import hide, without_our_head
from dytopo_autotrace.collect.span import END_NS, OUTCOME, VOID, Record
from dytopo_autotrace.collect.tracing import current

_unstarted: set[weakref.ref[Any]] = set()
"""Keeps the references alive that tell of coroutines which nobody ever awaited."""


def end_with(
    record: Record,
    theirs: CoroutineType[Any, Any, Any],
    returned: Callable[[Any], None],
    raised: Callable[[BaseException], None],
) -> CoroutineType[Any, Any, Any] | None:
    """A coroutine that does what theirs does, and ends the record when that ends.

    Args:
        record: of a call that is over, but for this.
        theirs: what the call returned.
        returned: reads what is kept of the result.
        raised: reads what is kept of an exception.

    Returns:
        `None` if somebody else runs theirs already.
    """
    if inspect.getcoroutinestate(theirs) != inspect.CORO_CREATED:
        return None
    was_started = False

    async def advice() -> Any:
        nonlocal was_started
        was_started = True
        outer = current.get()
        current.set(record)
        try:
            result = await theirs
        except BaseException as error:
            _end(record, raised, error)
            without_our_head(error)
            if current.get() is record:
                current.set(outer)
            raise
        _end(record, returned, result)
        if current.get() is record:
            current.set(outer)
        return result

    hide(advice.__code__)
    ours: Any = advice()
    ours.__name__, ours.__qualname__ = theirs.__name__, theirs.__qualname__

    def gone(reference: weakref.ref[Any]) -> None:
        _unstarted.discard(reference)
        if not was_started:
            # Python warns that ours was never awaited, by its name; once is enough.
            theirs.close()
            record[OUTCOME], record[END_NS] = VOID, 1

    _unstarted.add(weakref.ref(ours, gone))
    return ours  # type: ignore[no-any-return]


def _end(record: Record, read: Callable[[Any], None], ended_with: Any) -> None:
    now = clock.now_ns()
    try:
        read(ended_with)
    except Exception:
        pass  # It counts for itself what cannot be read.
    finally:
        record[END_NS] = now
