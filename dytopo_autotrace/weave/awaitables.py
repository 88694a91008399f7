"""Calls that hand back a coroutine or a future: what they are about has ended when that has."""

from __future__ import annotations

import inspect
import sys
import weakref
from collections.abc import Callable
from functools import partial
from types import CoroutineType
from typing import Any

from dytopo_autotrace.collect.failures import without_our_head
from dytopo_autotrace.collect.faults import attempt
from dytopo_autotrace.collect.span import END_NS, OUTCOME, VOID, Record
from dytopo_autotrace.collect.tracing import current
from dytopo_autotrace.weave.ending import end
from dytopo_autotrace.weave.frames import pass_over

_unstarted: set[weakref.ref[Any]] = set()
"""Keeps the references alive that tell of coroutines which nobody ever awaited."""


def end_with(
    record: Record,
    theirs: CoroutineType[Any, Any, Any],
    returned: Callable[[Any], Any],
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
            attempt(end, record, raised, error)
            attempt(without_our_head, error)
            if current.get() is record:
                current.set(outer)
            raise
        attempt(end, record, returned, result)
        if current.get() is record:
            current.set(outer)
        return result

    ours: Any = advice()
    ours.__name__, ours.__qualname__ = theirs.__name__, theirs.__qualname__

    def gone(reference: weakref.ref[Any]) -> None:
        _unstarted.discard(reference)
        if not was_started:
            # Python warns that ours was never awaited, by its name; once is enough.
            theirs.close()
            record[OUTCOME], record[END_NS] = VOID, 1

    _unstarted.add(weakref.ref(ours, partial(attempt, gone)))
    return ours  # type: ignore[no-any-return]


pass_over(end_with, "advice")


def end_with_future(
    record: Record,
    theirs: Any,
    returned: Callable[[Any], Any],
    raised: Callable[[BaseException], None],
) -> Any:
    """The same future, which ends the record when it is done; `None` if it is done already."""
    if theirs.done():
        return None

    def done(future: Any) -> None:
        if future.cancelled():
            end(record, raised, _cancelled_error(future)())
            return
        # Its method would say that somebody has looked, and asyncio warn of nothing.
        error = future._exception  # noqa: SLF001
        if error is None:
            end(record, returned, future.result())
        else:
            end(record, raised, error)

    theirs.add_done_callback(partial(attempt, done))
    return theirs


def _cancelled_error(future: Any) -> type[BaseException]:
    home = "asyncio" if hasattr(future, "get_loop") else "concurrent.futures"
    kind: type[BaseException] = sys.modules[home].CancelledError
    return kind


def known_futures() -> frozenset[type]:
    """The classes of futures and tasks, of the libraries for them that are loaded."""
    places = (("_asyncio", "Future"), ("_asyncio", "Task"), ("concurrent.futures._base", "Future"))
    found = (getattr(sys.modules.get(module), name, None) for module, name in places)
    return frozenset(each for each in found if each is not None)
