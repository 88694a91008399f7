"""Spans as rows of plain columns, and back: the same for every kind of store.

A row has what varies from call to call. What all calls of a function share (its site) is written once
per process, and so is each trace id; a row names them by number.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from operator import itemgetter
from typing import Any, Final, NamedTuple, get_args

from dytopo_autotrace.collect import clock
from dytopo_autotrace.collect.span import (
    AGENT,
    FAILED,
    MISSING,
    RESERVED,
    ErrorInfo,
    Measurement,
    Site,
    Span,
    Status,
)
from dytopo_autotrace.store.model import RunState
from dytopo_autotrace.store.plain import fields_of, from_text, text_of, text_or_bytes, to_text

STATUSES: Final[tuple[Status, ...]] = ("success", "error", "cancelled", "in_progress")
"""A status is written as its place here."""

_NUMBER: Final = {status: number for number, status in enumerate(STATUSES)}
_IN_PROGRESS: Final = _NUMBER["in_progress"]
_SETTLED: Final = frozenset({AGENT, FAILED})
"""Captured values that have become a column of their own."""

MAX_REMEMBERED: Final = 20_000
"""Sites and traces whose numbers are remembered; one that comes back later gets another number."""

Row = tuple[Any, ...]
"""(process, id, parent, trace, site, start, duration, status, agent, captured, metadata, error, links,
measured)"""

_WRAP: Final = 1 << 64
_SIGN: Final = 1 << 63
_TRACE: Final = (1 << 128) - 1


def signed(number: int) -> int:
    """An id of 64 bits without a sign as the integer of 64 bits that databases have."""
    number &= _WRAP - 1
    return number - _WRAP if number >= _SIGN else number


def unsigned(number: int) -> int:
    """The inverse of `signed`."""
    return number + _WRAP if number < 0 else number


class _Known(NamedTuple):
    """A site that has a number, and how its values become a column."""

    site: Site
    number: int
    width: int
    """How many values it captures."""
    pick: Callable[[Sequence[Any]], Sequence[Any]] | None
    """Takes those values that are written; None when all of them are."""
    writes: bool
    """Whether any value is written."""
    attributes: bool
    """Whether it captures any value by itself that shows in the metadata."""


class RowMaker:
    """Makes the rows of one process and numbers its sites and traces.

    `new_sites` and `new_traces` are rows to be written before those that name them; whoever has
    written them empties the lists.
    """

    def __init__(self, process: int) -> None:
        self.process = process
        self.new_sites: list[Row] = []
        self.new_traces: list[Row] = []
        self._by_identity: dict[int, _Known] = {}
        self._sites: dict[Site, _Known] = {}
        self._traces: dict[int, int] = {}
        self._count = 0
        self.unreadable = 0
        """Spans that no row could be made of."""

    def rows(self, spans: Iterable[Span], *, still_open: bool = False) -> list[Row]:
        """One row a span; with `still_open` a span counts as open even if it has ended since."""
        process, anchor = self.process, clock.ANCHOR_NS
        by_identity, traces = self._by_identity, self._traces
        made: list[Row] = []
        for span in spans:
            try:
                site = span.site
                # By identity first, since hashing a site costs as much as all the rest of its row.
                known = by_identity.get(id(site)) or self._known(site)
                added = span._metadata  # noqa: SLF001 - the property would copy captures into it
                ended = span.end_ns and not still_open
                agent = span.agent
                made.append(
                    (
                        process,
                        signed(span.id),
                        signed(span.parent) if span.parent else None,
                        traces.get(span.trace) or self._trace(span.trace),
                        known.number,
                        span.start_ns + anchor,
                        span.end_ns - span.start_ns if ended else None,
                        _NUMBER.get(span.status, _IN_PROGRESS) if ended else _IN_PROGRESS,
                        (agent if agent.isascii() else text_or_bytes(agent)) if agent else None,
                        _captured(span, known) if known.writes else None,
                        _added(span, added, known) if added else None,
                        error_text(span.error) if span.error is not None else None,
                        to_text(span.links) if span.links else None,
                        _measured(span) if span._measurements else None,  # noqa: SLF001
                    )
                )
            except Exception:
                # A value of the host's that cannot be asked, in a span that was opened by hand.
                self.unreadable += 1
        return made

    def _known(self, site: Site) -> _Known:
        known = self._sites.get(site)
        if known is None:
            if len(self._sites) >= MAX_REMEMBERED:
                self._sites.clear()
            self._count += 1
            known = self._sites[site] = _plan(site, self._count)
            self.new_sites.append(site_row(self.process, self._count, site))
        if len(self._by_identity) >= MAX_REMEMBERED:
            self._by_identity.clear()
        if known.site is site:
            # Only a site that is kept alive: the identity of any other may be used again.
            self._by_identity[id(site)] = known
        return known

    def _trace(self, trace: int) -> int:
        if len(self._traces) >= MAX_REMEMBERED:
            self._traces.clear()
        self._count += 1
        self._traces[trace] = self._count
        self.new_traces.append((self.process, self._count, (trace & _TRACE).to_bytes(16, "big")))
        return self._count


def _plan(site: Site, number: int) -> _Known:
    names = (*site.entry, *site.exit)
    places = [place for place, name in enumerate(names) if name not in _SETTLED]
    pick: Any = None
    if len(places) == 1:
        (only,) = places
        pick = itemgetter(slice(only, only + 1))  # By its place alone it would not be a tuple.
    elif len(places) < len(names) and places:
        pick = itemgetter(*places)
    attributes = any(not name.startswith(RESERVED) for name in names)
    return _Known(site, number, len(names), pick, bool(places), attributes)


def _captured(span: Span, known: _Known) -> str | None:
    values: Sequence[Any] = span.at_entry + span.at_exit
    if len(values) != known.width:
        missing = (MISSING,) * known.width
        entries, exits = len(span.site.entry), len(span.site.exit)
        values = (span.at_entry + missing)[:entries] + (span.at_exit + missing)[:exits]
    if known.pick is not None:
        values = known.pick(values)
    if values[-1] is MISSING:
        values = list(values)
        while values and values[-1] is MISSING:
            values.pop()
        if not values:
            return None
    return to_text(values)


def _added(span: Span, added: dict[str, Any], known: _Known) -> str | None:
    """The metadata without what was captured: only what the program put there by hand."""
    if known.attributes:
        added = {
            name: value for name, value in list(added.items()) if span.captured(name) is not value
        }
    return to_text(added) if added else None


def _measured(span: Span) -> str | None:
    """What was measured, unless it can be read off what was captured."""
    return None if span.site.measurements else to_text(span.measurements)


def error_text(error: ErrorInfo) -> str:
    """An error as JSON: type, message, module, frames, identity, related, soft."""
    return to_text(
        (
            *(error.type_name, error.message, error.module, error.frames),
            *(error.identity, error.related, error.soft),
        )
    )


def error_of(text: str | None) -> ErrorInfo | None:
    """The error that `error_text` wrote."""
    if text is None:
        return None
    kind, message, module, frames, identity, related, soft = from_text(text)
    return ErrorInfo(
        type_name=kind,
        message=message,
        module=module,
        frames=tuple((file, line, name) for file, line, name in frames),
        identity=identity,
        related=tuple(related),
        soft=soft,
    )


def site_row(process: int, number: int, site: Site) -> Row:
    """(process, number, operation, role, rule, rest) of a site."""
    rest = {
        "kept": [name for name in (*site.entry, *site.exit) if name not in _SETTLED],
        "entry": site.entry,
        "exit": site.exit,
        "measurements": [
            [each.name, each.kind, each.value, each.labels, each.help, each.buckets]
            for each in site.measurements
        ],
        "failed_if": site.failed_if,
        "max_length": site.max_length,
    }
    texts = (text_or_bytes(text) for text in (site.operation, site.role, site.rule))
    return (process, number, *texts, to_text(rest))


def site_of(operation: str | bytes, role: str | bytes, rule: str | bytes, rest: str) -> Site:
    """The site that `site_row` wrote."""
    more = from_text(rest)
    return Site(
        operation=text_of(operation),
        role=text_of(role),
        rule=text_of(rule),
        entry=tuple(more["entry"]),
        exit=tuple(more["exit"]),
        measurements=tuple(
            Measurement(
                name=name,
                kind=kind,
                value=value,
                labels=tuple((label, slot) for label, slot in labels),
                help=text,
                buckets=None if buckets is None else tuple(buckets),
            )
            for name, kind, value, labels, text, buckets in more["measurements"]
        ),
        failed_if=more["failed_if"],
        max_length=more["max_length"],
    )


def span_of(row: Row, site: Site, trace: int) -> Span:
    """The span that a row was made of, on this process's clock."""
    (
        _,
        number,
        parent,
        _,
        _,
        start,
        duration,
        status,
        agent,
        captured,
        added,
        error,
        links,
        measured,
    ) = row
    start_ns = clock.counter_ns(start)
    span = Span(unsigned(number), 0 if parent is None else unsigned(parent), trace, site, start_ns)
    if duration is not None:
        span.end_ns = start_ns + duration
    span.status = STATUSES[status]
    span.agent = text_of(agent)
    if site.entry or site.exit:
        values = iter(() if captured is None else from_text(captured))
        filled = [
            MISSING if name in _SETTLED else next(values, MISSING)
            for name in (*site.entry, *site.exit)
        ]
        if span.agent:
            filled = [
                span.agent if name == AGENT else value
                for name, value in zip((*site.entry, *site.exit), filled, strict=True)
            ]
        span.at_entry = tuple(filled[: len(site.entry)])
        span.at_exit = tuple(filled[len(site.entry) :])
    if added is not None:
        span.metadata = from_text(added)
    span.error = error_of(error)
    if links is not None:
        span.links = tuple(json.loads(links))
    if measured is not None:
        span.measurements = tuple(
            (name, kind, value, tuple((label, text) for label, text in labels))
            for name, kind, value, labels in from_text(measured)
        )
    return span


def state_columns(state: RunState) -> tuple[str, ...]:
    """Rules, prices, drops, cost, faults and remarks of a process, as JSON each."""
    return (
        to_text([fields_of(each) for each in state.rules]),
        to_text([fields_of(each) for each in state.prices]),
        to_text(dict(state.drops)),
        to_text(fields_of(state.cost) if state.cost else None),
        to_text(state.faults),
        to_text(state.remarks),
    )


assert set(STATUSES) == set(get_args(Status))  # noqa: S101 - a status more needs a place here
