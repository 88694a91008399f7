"""Rounds and phases as spans, although no function call owns them.

Worked out when records are drained, so that a call pays nothing for it: a rule says that its calls open
a scope, and with which key. Everything that is needed is in the records by then, since a call is in the
buffer from its start on, and its key was read when it began.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from typing import Any, Final

from dytopo_autotrace.collect.span import (
    END_NS,
    ID,
    MISSING,
    OUTCOME,
    PARENT,
    SCOPE,
    SCOPE_ROLE,
    SITE,
    START_NS,
    TRACE,
    VALUES,
    Record,
    Site,
    Span,
    Status,
)

MAX_PLACES: Final = 1024
"""Callers whose closed scopes are remembered, for the calls that outlive them."""


class Scopes:
    """The scopes of the calls that have been drained, and which of them a call belongs to."""

    def __init__(self) -> None:
        self._places: OrderedDict[tuple[int, int], _Place] = OrderedDict()
        """By the id of the caller, or by the trace where no caller is watched."""

    def opened_by(self, records: Iterable[Record]) -> None:
        """Open scopes for the calls that began, and close those that they replace."""
        opening = [record for record in records if record[SITE].scope]
        opening.sort(key=_start)
        for record in opening:
            site: Site = record[SITE]
            key = record[VALUES + site.entry.index(SCOPE)] if SCOPE in site.entry else MISSING
            if key is MISSING or key is None:
                continue  # which one it is cannot be said, so it is the one that is open
            place = self._places.get(_caller(record))
            if place is None:
                place = self._places[_caller(record)] = _Place(record[PARENT], record[TRACE])
            place.announce(record[ID], site.scope, key, record[START_NS])

    def closed_by(self, records: Iterable[Record]) -> list[Span]:
        """The scopes that have ended by now; `records` are the calls that ended."""
        if not self._places:
            return []
        for record in records:
            place = self._places.get((record[ID], 0))
            if place is not None:
                place.end(record[END_NS], record[OUTCOME][0] if record[OUTCOME] else "success")
        done = [span for place in self._places.values() for span in place.take_done()]
        if len(self._places) > MAX_PLACES:
            over = [key for key, place in self._places.items() if place.is_over]
            for key in over[: len(self._places) - MAX_PLACES]:
                del self._places[key]
        return done

    def place(self, spans: Iterable[Span]) -> None:
        """Put each call below the scope in which it began."""
        if not self._places:
            return
        for span in spans:
            place = self._places.get((span.parent, 0) if span.parent else (0, span.trace))
            if place is not None and span.role != SCOPE_ROLE:
                span.parent = place.scope_of(span)

    def running(self) -> list[Span]:
        """The scopes that are open now."""
        return [span for place in self._places.values() for span in place.open]

    def end_rootless(self) -> list[Span]:
        """Close what no watched caller closes, with the last call in it: at the end of the program."""
        done = []
        for (caller, _), place in self._places.items():
            if not caller:
                place.end(place.last_ns, "success")
                done += place.take_done()
        return done

    def clear(self) -> None:
        """Forget all of them."""
        self._places.clear()


class _Place:
    """The scopes below one caller, in the order in which they opened."""

    __slots__ = (
        *("_by_call", "_by_key", "_done", "_parent", "_trace"),
        *("is_over", "last_ns", "open", "scopes"),
    )

    def __init__(self, parent: int, trace: int) -> None:
        self._parent = parent
        self._trace = trace
        self._by_key: dict[tuple[int, str, Any], Span] = {}
        self._by_call: dict[int, Span] = {}
        self._done: list[Span] = []
        self.scopes: list[Span] = []
        self.open: list[Span] = []
        """Innermost last: a phase that opened in a round is inside it."""
        self.is_over = False
        self.last_ns = 0

    def announce(self, call: int, name: str, key: Any, start_ns: int) -> None:
        """A call that knows its scope begins; one whose scope has closed belongs to it all the same."""
        key = key if isinstance(key, (str, int, float, bool)) else repr(key)
        depth = next((at for at, one in enumerate(self.open) if one.operation == name), None)
        above = self.open[:depth]
        parent = above[-1].id if above else self._parent
        scope = self._by_key.get((parent, name, key))
        if scope is None:
            if depth is not None:
                self._close(depth, start_ns, "success")
            scope = self._open(parent, name, key, start_ns)
        self._by_call[call] = scope

    def _open(self, parent: int, name: str, key: Any, start_ns: int) -> Span:
        site = Site(name, role=SCOPE_ROLE)
        span = Span(_id(parent or self._trace, name, key), parent, self._trace, site, start_ns)
        span.metadata = {name: key}
        self._by_key[parent, name, key] = span
        self.open.append(span)
        self.scopes.append(span)
        return span

    def _close(self, first: int, end_ns: int, status: Status) -> None:
        for span in reversed(self.open[first:]):
            span.status = status
            span.end_ns = max(end_ns, span.start_ns + 1)
            self._done.append(span)
        del self.open[first:]

    def end(self, end_ns: int, status: Status) -> None:
        """The caller has ended, and with it what is still open."""
        self._close(0, end_ns, status)
        self.is_over = True

    def take_done(self) -> list[Span]:
        done, self._done = self._done, []
        return done

    def scope_of(self, span: Span) -> int:
        """The id of what a call is below: its own scope, or the one that was open when it began."""
        self.last_ns = max(self.last_ns, span.end_ns)
        own = self._by_call.pop(span.id, None) if span.end_ns else self._by_call.get(span.id)
        if own is not None:
            return own.id
        for scope in reversed(self.scopes):
            if scope.start_ns <= span.start_ns and (
                not scope.end_ns or span.start_ns < scope.end_ns
            ):
                return scope.id
        return span.parent


def _caller(record: Record) -> tuple[int, int]:
    return (record[PARENT], 0) if record[PARENT] else (0, record[TRACE])


def _id(parent: int, name: str, key: Any) -> int:
    """The same scope has the same id, whenever and wherever it is worked out."""
    import hashlib  # noqa: PLC0415 - loads OpenSSL, for the first scope, on the background thread

    text = f"{parent:x} {name} {type(key).__name__} {key}"
    return int.from_bytes(hashlib.blake2b(text.encode("utf-8", "replace"), digest_size=8).digest())


def _start(record: Record) -> int:
    return int(record[START_NS])
