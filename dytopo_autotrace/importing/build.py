"""From foreign spans to the records of a run."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final

from dytopo_autotrace.collect import clock
from dytopo_autotrace.collect.records import ModelPrice, RunRecords
from dytopo_autotrace.collect.span import Site, Span
from dytopo_autotrace.importing import identifiers
from dytopo_autotrace.importing.conventions import meaning
from dytopo_autotrace.importing.foreign import Findings, ForeignSpan, text

UNKNOWN_SERVICE: Final = "unknown_service"
LATEST_NS: Final = 2**63 - 1


def records(foreign: Iterable[ForeignSpan], findings: Findings) -> RunRecords:
    """The records of a run that left these spans behind."""
    numbers = _Numbers()
    kept: list[tuple[ForeignSpan, int, int]] = []
    for span in foreign:
        trace = identifiers.number(span.trace, identifiers.TRACE_BITS)
        own = identifiers.number(span.id, identifiers.SPAN_BITS)
        if not trace or not own:
            missing = "trace id" if not trace else "span id"
            findings.leave_out(f"a span has no {missing}", span.name or "a span without a name")
            continue
        if max(abs(span.start_ns), abs(span.end_ns or 0)) > LATEST_NS:
            findings.leave_out("a time of a span is beyond every calendar", span.name)
            continue
        numbers.take(trace, own)
        kept.append((span, trace, own))
    service = _service(kept)
    sites: dict[tuple[str, str, str], Site] = {}
    spans = tuple(_span(*each, service, numbers, sites) for each in kept)
    first = min((span.start_ns for span in spans), default=0)
    last = max(
        (clock.counter_ns(span.end_ns or span.start_ns) for span, _, _ in kept), default=first
    )
    resource = findings.resource
    return RunRecords(
        service="" if service == UNKNOWN_SERVICE else service,
        argv=tuple(map(text, _listed(resource.get("process.command_args")))),
        started_unix_ns=_whole(resource.get("dytopo.run.started_unix_ns"))
        or (clock.unix_ns(first) if spans else 0),
        wall_seconds=_seconds(resource.get("dytopo.run.wall_seconds"), (last - first) / 1e9),
        exit_status=_exit_status(resource.get("dytopo.run.exit_status")),
        ended=text(resource.get("dytopo.run.ended")),
        ended_message=text(resource.get("dytopo.run.ended_message")),
        now_ns=last,
        spans=spans,
        prices=tuple(_prices(resource.get("dytopo.run.prices"))),
        drops={
            key.removeprefix("dytopo.run.drops."): _whole(count)
            for key, count in resource.items()
            if key.startswith("dytopo.run.drops.")
        },
        remarks=_remarks(findings, numbers),
    )


class _Numbers:
    """Span ids, made one of a kind across traces: foreign tracers promise it within a trace only."""

    def __init__(self) -> None:
        self._traces: dict[int, int] = {}
        self.renumbered = 0

    def take(self, trace: int, span: int) -> None:
        if self._traces.setdefault(span, trace) != trace:
            self.renumbered += 1

    def of(self, trace: int, span: int) -> int:
        """The number by which a span of a trace is known; a trace of 0 is any trace."""
        if not span or not trace or self._traces.get(span, trace) == trace:
            return span
        return identifiers.renumbered(trace, span)


def _span(
    foreign: ForeignSpan,
    trace: int,
    own: int,
    service: str,
    numbers: _Numbers,
    sites: dict[tuple[str, str, str], Site],
) -> Span:
    said = meaning(foreign)
    key = (said.operation, said.role, said.rule)
    site = sites.get(key)
    if site is None:
        site = sites[key] = Site(*key)
    parent = identifiers.number(foreign.parent, identifiers.SPAN_BITS)
    start = clock.counter_ns(foreign.start_ns)
    span = Span(numbers.of(trace, own), numbers.of(trace, parent), trace, site, start)
    if foreign.end_ns is not None and not said.is_open:
        end = min(foreign.end_ns, foreign.start_ns + LATEST_NS)  # No store has more for a duration.
        span.end_ns = clock.counter_ns(end) or 1  # 0 would say that it runs
    span.status = said.status
    span.error = said.error
    span.agent = said.agent
    span.metadata = said.metadata
    if foreign.service and foreign.service != service:
        span.metadata.setdefault("service.name", foreign.service)
    span.links = tuple(
        numbers.of(
            identifiers.number(trace_of_link, identifiers.TRACE_BITS),
            identifiers.number(link, identifiers.SPAN_BITS),
        )
        for trace_of_link, link in foreign.links
    )
    return span


def _service(kept: Sequence[tuple[ForeignSpan, int, int]]) -> str:
    """The service of most spans that have no parent, or else of most spans."""
    roots = Counter(span.service for span, _, _ in kept if not span.parent)
    return next(
        iter((roots or Counter(span.service for span, _, _ in kept)).most_common(1)), ("",)
    )[0]


def _remarks(findings: Findings, numbers: _Numbers) -> tuple[str, ...]:
    found = [text(each) for each in _listed(findings.resource.get("dytopo.run.remarks"))]
    for reason, (count, first) in findings.left_out.items():
        found.append(f"{count} left out, {reason}: first at {first}.")
    if numbers.renumbered:
        found.append(
            f"{numbers.renumbered} {'span was' if numbers.renumbered == 1 else 'spans were'} given "
            "another id, since a span of another trace has the same."
        )
    return tuple(found)


def _prices(written: Any) -> Iterator[ModelPrice]:
    for each in _listed(written):
        match each:
            case [str(model), *numbers] if len(numbers) == 3:
                of_input, of_output, cached = map(_price, numbers)
                if of_input is not None and of_output is not None:
                    yield ModelPrice(model, of_input, of_output, cached)


def _price(value: Any) -> float | None:
    return float(value) if type(value) in (int, float) and 0 <= value < 1e12 else None


def _listed(value: Any) -> list[Any]:
    """The value if it is a list, also one that its format has no form for and that is JSON text."""
    if isinstance(value, str) and value.startswith("["):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            return []
    return value if isinstance(value, list) else []


def _whole(value: Any) -> int:
    try:
        return int(value)
    except (TypeError, ValueError, OverflowError):
        return 0


def _seconds(value: Any, otherwise: float) -> float:
    try:
        found = float(value)
    except (TypeError, ValueError, OverflowError):
        return otherwise
    return found if 0 <= found < 2**63 / 1e9 else otherwise


def _exit_status(value: Any) -> int | None:
    return _whole(value) if isinstance(value, int) or text(value).isdigit() else None
