"""One run as every format sees it: each span under the names and in the values it goes out with."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final

from dytopo_autotrace.analyze.ownership import Owners, owners
from dytopo_autotrace.analyze.propagation import is_failed
from dytopo_autotrace.analyze.tree import Tree, build
from dytopo_autotrace.collect import clock
from dytopo_autotrace.collect.span import ErrorInfo, Span
from dytopo_autotrace.export import content, genai
from dytopo_autotrace.export.values import compact, plain, text

if TYPE_CHECKING:
    from dytopo_autotrace.collect.records import RunRecords

UNKNOWN_SERVICE: Final = "unknown_service"
"""OpenTelemetry's word for a program that did not say its name."""

SERVICE_KEY: Final = "service.name"
"""Metadata key of a span that another service recorded than the run's own."""

RUN: Final = "dytopo.run."
"""How the names begin of what is true of a whole run."""

OWN: Final = frozenset(
    (
        *("operation", "role", "agent", "rule", "round", "status", "open", "links"),
        *("lost_links", "withheld", "service", "metadata"),
    )
)
"""What `dytopo.` says of itself; metadata under one of these names goes to `dytopo.metadata.`."""


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened at one moment of a span."""

    name: str
    unix_ns: int
    attributes: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class ExportedSpan:
    """A span as it goes out: conventional name, plain values, Unix times.

    `end_ns` of a span that still runs is the moment up to which the run was recorded, and its
    attributes say so.
    """

    span: Span
    name: str
    service: str
    is_client: bool
    start_ns: int
    end_ns: int
    failed: bool
    message: str
    """What the failure says, `""` for a span that did not fail."""
    attributes: Mapping[str, Any]
    events: tuple[Event, ...]
    links: tuple[Span, ...]
    lost_links: int
    """Links to spans that were not recorded."""
    withheld: int
    """Values left out because they are content."""


class Run:
    """The records of one run, indexed, and whether content may go out."""

    def __init__(self, records: RunRecords, *, content: bool = False) -> None:
        self.records = records
        self.content = content
        self.service = text(records.service) or UNKNOWN_SERVICE
        self.tree: Tree = build(records.spans, records.now_ns or None, as_recorded=True)

    @cached_property
    def calls(self) -> Tree:
        """Who called whom, as the analyzers see it: without the scopes in between."""
        return build(self.records.spans, self.records.now_ns or None)

    @cached_property
    def owners(self) -> Owners:
        """Agent and round of every span, by its own word or its callers'."""
        return owners(self.tree)

    @cached_property
    def _by_id(self) -> Mapping[int, Span]:
        return {span.id: span for span in self.tree.spans}

    def spans(self) -> Iterator[ExportedSpan]:
        """Every span, made when it is asked for: a parent before its children."""
        return map(self.exported, self.tree.spans)

    def linked(self, span: Span) -> tuple[Span, ...]:
        """The recorded spans that a span links to."""
        found = (self._by_id.get(link) for link in span.links) if span.links else ()
        return tuple(each for each in found if each is not None)

    def metadata(self, span: Span) -> tuple[dict[str, Any], int]:
        """The metadata that may go out, as plain values, and how many values may not."""
        values = _plain_metadata(span)
        return (values, 0) if self.content else content.without_content(values)

    def service_of(self, span: Span) -> str:
        """The service that recorded the span."""
        other = span.metadata.get(SERVICE_KEY)
        return text(other) if other else self.service

    def exported(self, span: Span) -> ExportedSpan:
        """The span as it goes out."""
        metadata, withheld = self.metadata(span)
        links = self.linked(span)
        return _exported(
            span,
            metadata,
            withheld,
            service=self.service_of(span),
            workflow="" if self.service is UNKNOWN_SERVICE else self.service,
            agent=self.owners.agents[span.id],
            round_number=self.owners.rounds[span.id],
            end_ns=clock.unix_ns(self.tree.ends[span.id]),
            links=links,
            lost_links=len(span.links) - len(links),
        )

    def resource(self) -> dict[str, Any]:
        """What is true of the whole run, its losses included."""
        from dytopo_autotrace import __version__  # noqa: PLC0415 - it is set last

        records = self.records
        found: dict[str, Any] = {
            "telemetry.sdk.name": "dytopo-autotrace",
            "telemetry.sdk.language": "python",
            "telemetry.sdk.version": __version__,
            "dytopo.run.started_unix_ns": records.started_unix_ns,
            "dytopo.run.wall_seconds": plain(records.wall_seconds),
        }
        if records.ended:  # else it is not known
            found["dytopo.run.ended"] = text(records.ended)
        if records.ended_message:
            found["dytopo.run.ended_message"] = text(records.ended_message)
        if records.exit_status is not None:
            found["dytopo.run.exit_status"] = records.exit_status
        # What is typed on the command line is as likely as not the task itself.
        if self.content and records.argv:
            found["process.command_args"] = [text(word) for word in records.argv]
        for reason, count in records.drops.items():
            if count:
                found[f"dytopo.run.drops.{text(reason)}"] = count
        remarks = [text(remark) for remark in records.remarks]
        if remarks:
            found["dytopo.run.remarks"] = remarks
        if records.prices:
            # As text: attributes have no lists of lists.
            prices = [[text(p.model), p.input, p.output, p.cached] for p in records.prices]
            found["dytopo.run.prices"] = compact(plain(prices))
        return found


def alone(span: Span, service: str) -> ExportedSpan:
    """A span as it goes out, without content, while its callers still run and nobody knows them.

    What is known from other spans only is not there: an agent or a round of its callers', links.
    """
    metadata, withheld = content.without_content(_plain_metadata(span))
    return _exported(
        span,
        metadata,
        withheld,
        service=text(metadata.get(SERVICE_KEY) or service),
        workflow=service,
        agent=span.agent,
        round_number=None,
        end_ns=clock.unix_ns(span.end_ns or span.start_ns),
    )


def _plain_metadata(span: Span) -> dict[str, Any]:
    found = plain(span.metadata)
    if not isinstance(found, dict):  # The host's own type, which could not be walked.
        found = {"metadata": found}
    return {key: value for key, value in found.items() if value is not None}


def _exported(
    span: Span,
    metadata: dict[str, Any],
    withheld: int,
    *,
    service: str,
    workflow: str,
    agent: str,
    round_number: object,
    end_ns: int,
    links: tuple[Span, ...] = (),
    lost_links: int = 0,
) -> ExportedSpan:
    metadata.pop(SERVICE_KEY, None)
    failed = is_failed(span)
    attributes, taken = genai.attributes(span, metadata, workflow, text(agent))
    # A key with a dot is a name that the author of the rule chose from some convention.
    named = {key: value for key, value in metadata.items() if _is_foreign(key)}
    attributes.update(named)
    name = text(genai.name(span, attributes))
    if failed:
        attributes["error.type"] = error_type(span.error)
    attributes.update(_ours(span, round_number))
    attributes.update(
        (own_key(key), value)
        for key, value in metadata.items()
        if key not in taken and key not in named
    )
    if lost_links:
        attributes["dytopo.lost_links"] = lost_links
    if withheld:
        attributes["dytopo.withheld"] = withheld
    return ExportedSpan(
        span=span,
        name=name or "unnamed",
        service=service,
        is_client=genai.is_client(span),
        start_ns=clock.unix_ns(span.start_ns),
        end_ns=end_ns,
        failed=failed,
        message=_message(span.error) if failed else "",
        attributes=attributes,
        events=_events(span.error, end_ns),
        links=links,
        lost_links=lost_links,
        withheld=withheld,
    )


def _ours(span: Span, round_number: object) -> Iterator[tuple[str, Any]]:
    yield "dytopo.operation", text(span.operation)
    for key, value in (("role", span.role), ("agent", span.agent), ("rule", span.rule)):
        if value:
            yield f"dytopo.{key}", text(value)
    if round_number:
        yield "dytopo.round", text(round_number)
    yield "dytopo.status", span.status
    if not span.end_ns:
        yield "dytopo.open", True
    if span.error is not None and span.error.soft:
        yield "dytopo.error.soft", True


def withheld(run: Run) -> int:
    """How many values the formats leave out of this run because they are content."""
    return sum(run.metadata(span)[1] for span in run.tree.spans)


def own_key(key: str) -> str:
    """The attribute's name for a metadata key."""
    return f"dytopo.metadata.{key}" if key in OWN or "." in key else f"dytopo.{key}"


def error_type(error: ErrorInfo | None) -> str:
    """The exception's class as OpenTelemetry writes it; `_OTHER` where it was not recorded."""
    if error is None or not error.type_name:
        return "_OTHER"
    in_module = error.module and error.module != "builtins"
    return text(f"{error.module}.{error.type_name}" if in_module else error.type_name)


def stack_text(error: ErrorInfo) -> str:
    """The traceback as Python prints it, without source lines: files may have changed since."""
    frames = (f'  File "{file}", line {line}, in {where}' for file, line, where in error.frames)
    last = f"{error_type(error)}: {error.message}" if error.message else error_type(error)
    return text("\n".join(("Traceback (most recent call last):", *frames, last)))


def _is_foreign(key: str) -> bool:
    return "." in key and not key.startswith("dytopo.")


def _message(error: ErrorInfo | None) -> str:
    return text(error.message or error.type_name) if error is not None else ""


def _events(error: ErrorInfo | None, unix_ns: int) -> tuple[Event, ...]:
    if error is None or error.soft:
        return ()
    attributes: dict[str, Any] = {
        "exception.type": error_type(error),
        "exception.message": text(error.message),
    }
    if error.frames:
        attributes["exception.stacktrace"] = stack_text(error)
    if error.module or "." in error.type_name:  # else nobody could tell a module from a class
        attributes["dytopo.exception.module"] = text(error.module)
    # Identities tell one exception that crossed five calls from five; as hex, since they have up to
    # 64 bits and readers of JSON may take numbers for doubles.
    if error.identity:
        attributes["dytopo.exception.identity"] = f"{error.identity:x}"
    if error.related:
        attributes["dytopo.exception.related"] = " ".join(f"{each:x}" for each in error.related)
    return (Event("exception", unix_ns, attributes),)
