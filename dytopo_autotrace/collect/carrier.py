"""The current span as text that travels: to other processes, to other hosts, and back to a parent.

The text is W3C Trace Context's `traceparent` (https://www.w3.org/TR/trace-context/).
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Mapping
from typing import Final

from dytopo_autotrace.collect.pipeline import pipeline
from dytopo_autotrace.collect.span import ID, TRACE, Record
from dytopo_autotrace.collect.tracing import current

HEADER: Final = "traceparent"

_FORM: Final = re.compile(
    r"\s*([\da-f]{2})-([\da-f]{32})-([\da-f]{16})-[\da-f]{2}(-.*)?\s*", re.ASCII
)
_HALF: Final = (1 << 64) - 1


def inject() -> dict[str, str]:
    """What a message to another process or host should carry: `{"traceparent": ...}`.

    Send it as HTTP headers or beside a message in a queue; the receiver works inside of
    `extracted(carrier)`. Empty where there is no trace to join.
    """
    text = traceparent()
    return {HEADER: text} if text else {}


@contextlib.contextmanager
def extracted(carrier: Mapping[str, str] | None) -> Iterator[None]:
    """What begins in the block belongs below the span that was injected into the carrier.

    Args:
        carrier: what `inject` gave, or the headers of a request in any case of letters. One without a
            `traceparent`, or with one that is not well-formed, changes nothing.
    """
    record = parent_of(_header(carrier))
    if record is None:
        yield
        return
    pipeline.ensure_running()
    before = current.get()
    current.set(record)
    try:
        yield
    finally:
        if current.get() is record:
            current.set(before)


def traceparent() -> str:
    """The current span, or the place in a trace where no span is open, as text; `""` for neither."""
    record = current.get()
    if record is None:
        return ""
    # A parent of zeros is not allowed. Between spans the trace's own digits stand for "no span".
    return f"00-{record[TRACE]:032x}-{record[ID] or _no_span(record[TRACE]):016x}-01"


def parent_of(text: str) -> Record | None:
    """What spans have for a parent that come after a `traceparent`; None if it is not well-formed."""
    found = _FORM.fullmatch(text)
    if found is None or found[1] == "ff" or (found[1] == "00" and found[4]):
        return None
    trace, span = int(found[2], 16), int(found[3], 16)
    if not trace or not span:
        return None
    return [0 if span == _no_span(trace) else span, 0, trace]


def _no_span(trace: int) -> int:
    return (trace & _HALF) or 1


def _header(carrier: Mapping[str, str] | None) -> str:
    try:
        for name, value in (carrier or {}).items():
            if str(name).lower() == HEADER:
                return str(value)
    except Exception:
        pass  # A carrier comes from outside; what cannot be read carries nothing.
    return ""
