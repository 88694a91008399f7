"""Where ids come from: counted on from a random start, so a gap among them is a span that was lost."""

import os
from collections.abc import Callable, Iterator
from typing import Any

from dytopo_autotrace.collect.faults import around_forks


def _random(bits: int) -> int:
    # The module `random` is three more to import at the start of every program.
    return int.from_bytes(os.urandom(16)) >> 128 - bits


def _counting() -> Iterator[int]:
    # As unique across processes as random ids are at this size, and a third of their cost. Below
    # 2**63, where databases keep whole numbers.
    return iter(range(_random(62) | 1, (1 << 63) - 1))


# Woven functions hold this object's `__next__`, so a forked child must go on with the same object,
# elsewhere: the iterator of a range counts as fast as itertools.count and can be sent ahead.
_span_ids: Any = _counting()

next_span_id: Callable[[], int] = _span_ids.__next__
"""The id of the next span."""


def new_trace_id() -> int:
    """A random id of 128 bits, never 0. Asked each time, so tests can swap it."""
    return _random(128) or 1


def _forked() -> None:
    _span_ids.__setstate__(_random(61))


around_forks(after_in_child=_forked)
