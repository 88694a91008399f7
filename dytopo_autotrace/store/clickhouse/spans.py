"""Spans as rows of `otel_traces` and of `dytopo_open`, and back.

What people and dashboards read is in the columns and in attributes; what is read back is under
`dytopo.store.`, as the JSON that the other stores have in columns of their own.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, Protocol

from dytopo_autotrace.collect.span import Site, Span
from dytopo_autotrace.store.clickhouse.lines import moment
from dytopo_autotrace.store.plain import clean, from_text, text_of, to_text
from dytopo_autotrace.store.rows import STATUSES, Row, signed, site_of, span_of, unsigned

RUN: Final = "dytopo.run.id"
PROCESS: Final = "dytopo.process"
KEPT: Final = "dytopo.store."
"""What follows in an attribute's key: site, status, agent, captured, metadata, error, links, measured."""

_STATUS: Final = {status: number for number, status in enumerate(STATUSES)}


class Event(Protocol):
    """Something that happened at one moment of a span."""

    @property
    def name(self) -> str: ...
    @property
    def unix_ns(self) -> int: ...
    @property
    def attributes(self) -> Mapping[str, Any]: ...


class Described(Protocol):
    """A span in OpenTelemetry's words, without what was said in it."""

    @property
    def name(self) -> str: ...
    @property
    def is_client(self) -> bool: ...
    @property
    def failed(self) -> bool: ...
    @property
    def message(self) -> str: ...
    @property
    def attributes(self) -> Mapping[str, Any]: ...
    @property
    def events(self) -> Sequence[Event]: ...


Describe = Callable[[Span, str], Described]
"""Describes a span of a service; handed in by whoever may know the conventions."""


def finished_rows(
    rows: Iterable[Row],
    spans: Mapping[int, Span],
    service: str,
    describe: Describe | None,
) -> Iterator[Row]:
    """Rows of `otel_traces`.

    Args:
        rows: as `RowMaker` makes them.
        spans: the spans that they were made of, by the id in the row.
        describe: without it a span goes by its own name and has no attributes.
    """
    for row in rows:
        _, number, parent, _, site, start, duration, status, agent = row[:9]
        span = spans[number]
        outside = describe(span, service) if describe is not None else None
        attributes = _texts(outside.attributes) if outside else {}
        attributes[f"{KEPT}site"] = str(site)
        attributes[f"{KEPT}status"] = STATUSES[status]
        if agent:
            attributes[f"{KEPT}agent"] = to_text(text_of(agent))
        for name, text in zip(_NAMES, row[9:], strict=True):
            if text is not None:
                attributes[KEPT + name] = text
        events = outside.events if outside else ()
        failed = outside.failed if outside else span.status == "error"
        links = [f"{link & _ID:016x}" for link in span.links]
        yield (
            moment(start),
            f"{span.trace & _TRACE:032x}",
            f"{unsigned(number):016x}",
            "" if parent is None else f"{unsigned(parent):016x}",
            outside.name if outside else clean(span.operation),
            "Client" if outside and outside.is_client else "Internal",
            attributes,
            duration,
            # What succeeded is left unset: OK is for a person's final word, say the conventions.
            "Error" if failed else "Unset",
            clean(outside.message) if outside else "",
            [moment(event.unix_ns) for event in events],
            [event.name for event in events],
            [_texts(event.attributes) for event in events],
            # A link is to a span of this run, whose trace is not known here.
            *([""] * len(links), links, [""] * len(links), [{} for _ in links]),
        )


def open_rows(rows: Iterable[Row], spans: Mapping[int, Span], run: str, process: str) -> list[Row]:
    """Rows of `dytopo_open`."""
    return [
        (
            run,
            process,
            f"{unsigned(row[1]):016x}",
            "" if row[2] is None else f"{unsigned(row[2]):016x}",
            f"{spans[row[1]].trace & _TRACE:032x}",
            moment(row[5]),
            row[4],
            to_text(text_of(row[8])),
            row[9] or "",
            row[10] or "",
            row[12] or "",
        )
        for row in rows
    ]


def finished_span(found: Mapping[str, Any], sites: Mapping[int, Site]) -> Span:
    """The span of a row that the reader's query for finished ones gave."""
    kept = {name: found[name] or None for name in ("agent", *_NAMES)}
    return _span(found, sites, found["duration"], _STATUS[found["status"]], kept)


def open_span(found: Mapping[str, Any], sites: Mapping[int, Site]) -> Span:
    """The span of a row that the reader's query for open ones gave."""
    kept = {name: found.get(name) or None for name in ("agent", *_NAMES)}
    return _span(found, sites, None, _STATUS["in_progress"], kept)


def site_row(run: str, row: Row) -> Row:
    """A row of `dytopo_site`; names that UTF-8 cannot carry are read back from the last column."""
    process, number, *texts, rest = row
    names = [text_of(text) for text in texts]
    return (run, process, number, *map(clean, names), to_text([*names, rest]))


def site(text: str) -> Site:
    """The site that `site_row` wrote."""
    operation, role, rule, rest = from_text(text)
    return site_of(operation, role, rule, rest)


_NAMES: Final = ("captured", "metadata", "error", "links", "measured")
_ID: Final = (1 << 64) - 1
_TRACE: Final = (1 << 128) - 1


def _texts(values: Mapping[str, Any]) -> dict[str, str]:
    """Attributes as the Collector writes them: text as it is, all else as JSON."""
    return {
        clean(key): clean(value) if isinstance(value, str) else json.dumps(value)
        for key, value in values.items()
    }


def _span(
    found: Mapping[str, Any],
    sites: Mapping[int, Site],
    duration: int | None,
    status: int,
    kept: Mapping[str, str | None],
) -> Span:
    parent = found["parent"]
    agent = kept["agent"]
    row = (
        0,
        signed(int(found["id"], 16)),
        signed(int(parent, 16)) if parent else None,
        0,
        0,
        found["start"],
        duration,
        status,
        from_text(agent) if agent else None,
        *(kept[name] for name in _NAMES),
    )
    return span_of(row, sites[int(found["site"])], int(found["trace"], 16))
