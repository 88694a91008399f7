"""The current span as text that travels: to other processes, to other hosts, and back to a parent.

The text is W3C Trace Context's `traceparent` (https://www.w3.org/TR/trace-context/).
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterable, Iterator, Mapping, MutableMapping
from typing import Any, Final

from dytopo_autotrace.collect.pipeline import pipeline
from dytopo_autotrace.collect.span import ID, TRACE, UNWATCHED, Record
from dytopo_autotrace.collect.tracing import current

HEADER: Final = "traceparent"

Carrier = Mapping[str, str] | Iterable[tuple[bytes, bytes]]
"""Headers of a request, as a mapping or as ASGI has them."""

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
def extracted(carrier: Carrier | None) -> Iterator[None]:
    """What begins in the block belongs below the span that was injected into the carrier.

    Args:
        carrier: what `inject` gave, or the headers of a request in any case of letters, also as the
            pairs of bytes that ASGI has. One without a `traceparent`, or with one that is not
            well-formed, changes nothing.
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
    return "" if record is None else _text(record)


def inject_into(carrier: MutableMapping[str, str], record: Record) -> None:
    """Put a span into the headers of a request that is about to leave.

    One that the program put there itself, for another trace, stays.
    """
    if record[TRACE] == UNWATCHED:
        return
    there = carrier.get(HEADER)
    if there is not None:
        theirs = parent_of(str(there))
        if theirs is None or theirs[TRACE] != record[TRACE]:
            return
    carrier[HEADER] = _text(record)


def extract_from(carrier: Carrier | None, here: Record | None) -> Record | None:
    """What a request's span has for a parent: the span in its headers, or what is current here."""
    if carrier is None or (here is not None and here[TRACE] == UNWATCHED):
        return here
    record = parent_of(_header(carrier))
    if record is None:
        return here
    pipeline.ensure_running()
    return record


def _text(record: Record) -> str:
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


def _header(carrier: Carrier | None) -> str:
    try:
        items = getattr(carrier, "items", None)
        pairs: Iterable[Any] = carrier or () if items is None else items()
        for name, value in pairs:
            if _plain(name).lower() == HEADER:
                return _plain(value)
    except Exception:
        pass  # A carrier comes from outside; what cannot be read carries nothing.
    return ""


def _plain(text: object) -> str:
    return text.decode("latin-1") if isinstance(text, bytes) else str(text)
