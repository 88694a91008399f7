"""Faults of ours: kept from the program, and counted."""

from __future__ import annotations

import os
import sys
from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import TypeVar

T = TypeVar("T")

contained: Counter[str] = Counter()
"""How many there were, by what failed and how."""


def attempt(ours: Callable[..., T], *given: object) -> T | None:
    """What something of ours gives; None if it fails."""
    try:
        return ours(*given)
    except Exception as fault:
        contained[f"{getattr(ours, '__qualname__', ours)}: {type(fault).__name__}"] += 1
        return None


def is_for_the_program(error: BaseException) -> bool:
    """Whether what came while something of the program's was read is to go on to the program.

    Whatever an object of the program's raises when it is read ends there, an exit too. An interrupt, or
    what a signal handler of the program's raised, only happened to come at that moment.
    """
    if isinstance(error, Exception):
        return False
    if isinstance(error, KeyboardInterrupt):
        return True
    signals = sys.modules.get("signal")
    if signals is None:
        return False
    handlers = [signals.getsignal(each) for each in signals.valid_signals()]
    codes = [getattr(getattr(each, "__func__", each), "__code__", None) for each in handlers]
    step = error.__traceback__
    while step is not None:
        if any(step.tb_frame.f_code is code for code in codes):
            return True
        step = step.tb_next
    return False


def around_forks(
    *,
    before: Callable[[], object] | None = None,
    after_in_parent: Callable[[], object] | None = None,
    after_in_child: Callable[[], object] | None = None,
) -> None:
    """Have something of ours done around each fork, like `os.register_at_fork`, where there is that.

    Python would print what is raised there on the program's own stderr.
    """
    if not hasattr(os, "register_at_fork"):
        return
    given = {"before": before, "after_in_parent": after_in_parent, "after_in_child": after_in_child}
    os.register_at_fork(
        **{when: partial(attempt, ours) for when, ours in given.items() if ours is not None}
    )


def _forked() -> None:
    contained.clear()


around_forks(after_in_child=_forked)
