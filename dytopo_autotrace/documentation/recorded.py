"""Recorded runs as the documents tell them: rounds, routing, samples."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from dytopo_autotrace.analyze.summary import RunSummary, summarize
from dytopo_autotrace.collect.records import RunRecords
from dytopo_autotrace.collect.span import ErrorInfo, Span
from dytopo_autotrace.documentation.model import Recorded, Round, Routing, Run, Sample, Source
from dytopo_autotrace.documentation.rounds import rounds
from dytopo_autotrace.documentation.steps import steps, telling
from dytopo_autotrace.export.content import without_content
from dytopo_autotrace.export.run import Run as Index
from dytopo_autotrace.export.values import plain, text

LONGEST_SAMPLE: Final = 160
"""Characters of one value in a sample."""


@dataclass(frozen=True, slots=True)
class Read:
    """A run, with the index of its spans."""

    run: Run
    index: Index


def read(given: Recorded, root: str, *, content: bool) -> Read:
    """A run as documents tell it; files below the root are named relative to it."""
    records = _below(given.records, root)
    index = Index(records, content=content)
    found = rounds(index)
    told = telling(found)
    return Read(
        Run(
            name=_name(given.source),
            source=given.source,
            started=time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(records.started_unix_ns / 1e9)),
            started_unix_ns=records.started_unix_ns,
            program=_program(records, content=content),
            summary=_without_task(summarize(records), content=content),
            rounds=found if content else tuple(_silent(each) for each in found),
            steps=steps(index, told) if told else (),
            told_round=told.number if told else "",
        ),
        index,
    )


def routing(reads: Sequence[Read]) -> Routing:
    """The thresholds that were captured, and what routing came to in each round."""
    taus: dict[str, None] = {}
    limits: dict[str, None] = {}
    rows = []
    for each in reads:
        for span in each.index.tree.spans:
            if span.role in ("orchestrator", "router"):
                _remember(taus, span.metadata.get("tau"))
                _remember(limits, span.metadata.get("k_in"))
            if span.role == "router":
                rows.append(_row(each, span))
    return Routing(tuple(taus), tuple(limits), tuple(rows))


def samples(reads: Sequence[Read], *, content: bool) -> tuple[tuple[str, Sample], ...]:
    """One real span of each rule, from the latest run that has one."""
    found: dict[str, Sample] = {}
    for number, each in enumerate(reads):
        for span in each.index.tree.spans:
            if span.rule and span.end_ns and span.rule not in found:
                found[text(span.rule)] = _sample(each, span, number, content=content)
    return tuple(found.items())


def _sample(each: Read, span: Span, number: int, *, content: bool) -> Sample:
    values = plain(span.metadata)
    values = values if isinstance(values, dict) else {}
    withheld = 0
    if not content:
        values, withheld = without_content(values)
    document: dict[str, Any] = {"operation": text(span.operation)}
    for key, value in (("role", span.role), ("agent", each.index.owners.agents[span.id])):
        if value:
            document[key] = text(value)
    document["seconds"] = round(each.index.tree.seconds(span), 6)
    document["status"] = span.status
    if values:
        document["attributes"] = _short(values)
    if span.error is not None:
        document["error"] = text(span.error.type_name)
    shown = json.dumps(document, indent=2, ensure_ascii=False)
    return Sample(text(span.operation), shown, withheld, number)


def _short(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _short(each) for key, each in list(value.items())[:20]}
    if isinstance(value, list):
        more = [f"… {len(value) - 5} more"] if len(value) > 5 else []
        return [*(_short(each) for each in value[:5]), *more]
    if isinstance(value, float):
        return float(f"{value:.4g}")
    if isinstance(value, str) and len(value) > LONGEST_SAMPLE:
        return f"{value[:LONGEST_SAMPLE]}…"
    return value


def _row(each: Read, span: Span) -> tuple[str, str, int, int, int, str, str]:
    values = span.metadata

    def size(key: str) -> int:
        value = values.get(key)
        return len(value) if isinstance(value, (list, tuple)) else 0

    def number(key: str) -> str:
        value = values.get(key)
        known = isinstance(value, (int, float)) and not isinstance(value, bool)
        return f"{value:.3f}" if known else ""

    round_number = text(each.index.owners.rounds[span.id])
    return (
        each.run.name,
        round_number,
        size("edges"),
        size("removed_edges"),
        size("isolated"),
        number("density"),
        number("mean_similarity"),
    )


def _name(source: Source) -> str:
    return os.path.basename(source.ref).partition(".")[0] if source.is_file else source.ref


def _remember(found: dict[str, None], value: object) -> None:
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        found[f"{value:g}"] = None


def _program(records: RunRecords, *, content: bool) -> str:
    """What ran; its arguments may be the task itself, so they are content."""
    if not records.argv:
        return text(records.service)
    shown: Iterable[str] = records.argv if content else records.argv[:1]
    return " ".join(map(text, shown))


def _without_task(summary: RunSummary, *, content: bool) -> RunSummary:
    return summary if content else replace(summary, task="", argv=summary.argv[:1])


def _silent(told: Round) -> Round:
    return replace(told, goal="")


def _below(records: RunRecords, root: str) -> RunRecords:
    """The records with the files of tracebacks and arguments relative to the root.

    A finished span is never changed, so those that are told otherwise are made anew.
    """
    prefix = root.rstrip(os.sep) + os.sep
    return replace(
        records,
        spans=tuple(_relative(span, prefix) for span in records.spans),
        argv=tuple(word.removeprefix(prefix) for word in records.argv),
        rules=tuple(
            replace(rule, origin=rule.origin.replace(prefix, "")) for rule in records.rules
        ),
        faults=tuple(fault.replace(prefix, "") for fault in records.faults),
        remarks=tuple(remark.replace(prefix, "") for remark in records.remarks),
    )


def _relative(span: Span, prefix: str) -> Span:
    error = span.error
    if error is None or not any(frame[0].startswith(prefix) for frame in error.frames):
        return span
    other = Span(span.id, span.parent, span.trace, span.site, span.start_ns)
    other.end_ns, other.status, other.agent = span.end_ns, span.status, span.agent
    other.metadata, other.measurements, other.links = span.metadata, span.measurements, span.links
    frames = tuple((file.removeprefix(prefix), line, name) for file, line, name in error.frames)
    other.error = ErrorInfo(
        error.type_name,
        error.message,
        error.module,
        frames,
        error.identity,
        error.related,
        error.soft,
    )
    return other
