"""The current span goes along to threads and thread pools, which inherit no context by themselves.

asyncio copies the context wherever it goes. A `Thread` and the workers of a `ThreadPoolExecutor` (and
so `run_in_executor`) begin with an empty one: there only our own variable is carried over, so that the
host's context variables are what they would be. Woven while installed, undone by the ledger.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable
from types import ModuleType
from typing import Any, Final

from dytopo_autotrace.collect.failures import without_our_head
from dytopo_autotrace.collect.faults import attempt
from dytopo_autotrace.collect.span import Record
from dytopo_autotrace.collect.tracing import current
from dytopo_autotrace.weave.frames import pass_over
from dytopo_autotrace.weave.ledger import Ledger

POOLS: Final = "concurrent.futures.thread"
"""The module of the thread pool; it is not imported for our sake."""


def cross_threads(ledger: Ledger) -> None:
    """Have threads begin under the span that was current where they were started."""
    waiting: dict[int, Record] = {}
    """By the `id()` of a thread that was started and has not begun."""
    theirs: Any = threading.Thread.start
    begin: Any = getattr(threading.Thread, "_bootstrap", None)
    if begin is None:
        return

    def start(self: Any) -> None:
        record = current.get()
        if record is not None:
            waiting[id(self)] = record
        try:
            theirs(self)
        except BaseException as error:
            waiting.pop(id(self), None)
            attempt(without_our_head, error)
            raise

    def _bootstrap(self: Any) -> None:
        record = waiting.pop(id(self), None)
        if record is not None:
            current.set(record)
        begin(self)

    _put(ledger, threading.Thread, "start", start)
    _put(ledger, threading.Thread, "_bootstrap", _bootstrap)


def cross_pools(module: ModuleType, ledger: Ledger) -> None:
    """Have what is submitted to a thread pool run under the span that was current there."""
    pool: Any = getattr(module, "ThreadPoolExecutor", None)
    theirs: Any = getattr(pool, "submit", None)
    if theirs is None or ledger.original_of(theirs) is not theirs:
        return

    def submit(self: Any, fn: Any, /, *args: Any, **kwargs: Any) -> Any:
        record = current.get()
        try:
            if record is None:
                return theirs(self, fn, *args, **kwargs)
            # A worker that is started for this is there for everyone: it begins under no span.
            current.set(None)
            try:
                return theirs(self, attempt(_carried, fn, record) or fn, *args, **kwargs)
            finally:
                current.set(record)
        except BaseException as error:
            attempt(without_our_head, error)
            raise

    _put(ledger, pool, "submit", submit)


def _carried(function: Any, record: Record) -> Callable[..., Any]:
    def run(*args: Any, **kwargs: Any) -> Any:
        outer = current.get()
        current.set(record)
        try:
            return function(*args, **kwargs)
        except BaseException as error:
            attempt(without_our_head, error)
            raise
        finally:
            current.set(outer)

    return run


pass_over(_carried, "run")


def _put(ledger: Ledger, owner: type, name: str, ours: Any) -> None:
    theirs = vars(owner)[name]
    functools.update_wrapper(ours, theirs)
    ours.__code__ = ours.__code__.replace(co_qualname=f"{owner.__name__}.{name}")
    pass_over(ours)
    setattr(owner, name, ours)
    ledger.replaced[id(ours)] = (ours, theirs)

    def put_back() -> None:
        if vars(owner).get(name) is ours:
            setattr(owner, name, theirs)

    ledger.undo.append(put_back)
