"""Faults of ours: kept from the program, and counted."""

from __future__ import annotations

import os
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
