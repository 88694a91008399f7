"""What the workers of multiprocessing need besides: a parent for each, and nothing lost at their end.

A forked child leaves by `os._exit`, which runs no exit handler, and the workers of a pool are killed as
soon as their last result has arrived. So what was recorded is written before either.
"""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Callable
from typing import Any, Final

from dytopo_autotrace.weave.ledger import Ledger

_KEY: Final = "dytopo_autotrace_traceparent"


def before_exit(finish: Callable[[], object]) -> None:
    """Have something done before `os._exit`."""
    leave = os._exit

    @functools.wraps(leave)
    def finish_and_leave(status: int) -> None:
        try:
            finish()
        except BaseException:
            pass
        leave(status)

    os._exit = finish_and_leave  # type: ignore[assignment]


def before_results(flush: Callable[[], object]) -> None:
    """Have something done before a worker of a pool hands a result over."""
    queues: Any = sys.modules.get("multiprocessing.queues")
    if queues is None or hasattr(queues.SimpleQueue.put, "__wrapped__"):
        return
    put = queues.SimpleQueue.put

    @functools.wraps(put)
    def flush_and_put(self: Any, obj: Any) -> None:
        try:
            flush()
        except Exception:
            pass
        put(self, obj)

    queues.SimpleQueue.put = flush_and_put


def give_parent(traceparent: Callable[[], str], ledger: Ledger) -> None:
    """Have multiprocessing tell each new worker where in the trace it was started.

    The environment says so only to the first child of a fork server, which outlives it.
    """
    spawn: Any = sys.modules.get("multiprocessing.spawn")
    if spawn is None or hasattr(spawn.get_preparation_data, "__wrapped__"):
        return
    prepare = spawn.get_preparation_data

    @functools.wraps(prepare)
    def prepare_with_parent(*given: Any, **named: Any) -> Any:
        data = prepare(*given, **named)
        try:
            data[_KEY] = traceparent()
        except Exception:
            pass
        return data

    spawn.get_preparation_data = prepare_with_parent

    def put_back() -> None:
        if spawn.get_preparation_data is prepare_with_parent:
            spawn.get_preparation_data = prepare

    ledger.undo.append(put_back)


def take_parent(enter: Callable[[str], object]) -> None:
    """In a process that multiprocessing started: go on where `give_parent` said."""
    spawn: Any = sys.modules["multiprocessing.spawn"]
    prepare = spawn.prepare

    @functools.wraps(prepare)
    def enter_and_prepare(data: Any) -> None:
        try:
            enter(data.pop(_KEY, ""))
        except Exception:
            pass
        prepare(data)

    spawn.prepare = enter_and_prepare
