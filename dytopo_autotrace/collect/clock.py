"""The one clock: durations from the monotonic counter, wall-clock times as one anchor plus that."""

import time
from collections.abc import Callable

now_ns: Callable[[], int] = time.perf_counter_ns
"""Nanoseconds on the monotonic counter. Read once when a function is woven, so tests can swap it."""

ANCHOR_NS = time.time_ns() - time.perf_counter_ns()
"""Unix time, in nanoseconds, of the counter's zero. Taken once, so no span ends before it starts
even when the wall clock is stepped while the program runs."""


def unix_ns(counter_ns: int) -> int:
    """Unix time in nanoseconds of a moment on the counter."""
    return counter_ns + ANCHOR_NS


def unix_seconds(counter_ns: int) -> float:
    """Unix time in seconds of a moment on the counter."""
    return (counter_ns + ANCHOR_NS) / 1e9


def counter_ns(unix_time_ns: int) -> int:
    """Moment on this process's counter of a Unix time in nanoseconds: the inverse of `unix_ns`."""
    return unix_time_ns - ANCHOR_NS
