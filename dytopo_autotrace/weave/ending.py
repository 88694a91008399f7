"""The end of a call whose result was still to come when it returned."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from dytopo_autotrace.collect import clock
from dytopo_autotrace.collect.faults import attempt
from dytopo_autotrace.collect.span import END_NS, Record

GOES_ON: Final = object()
"""What reading a result gives if the call has not ended with it."""


def end(record: Record, read: Callable[..., Any], *ended_with: Any) -> None:
    """Keep of the end of a call what is to be kept, and hand its record over.

    Args:
        read: reads it from what the call ended with, and counts for itself what cannot be read.
    """
    now = clock.now_ns()
    read_as = None
    try:
        read_as = attempt(read, *ended_with)
    finally:
        if read_as is not GOES_ON:
            record[END_NS] = now
