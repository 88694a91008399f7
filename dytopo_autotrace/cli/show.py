"""`show`: what is known of one run, and what was running when it was last heard of."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from dytopo_autotrace.analyze.wording import seconds
from dytopo_autotrace.cli.runs import outcome
from dytopo_autotrace.cli.stored import moment, plain, program, reading, store_option, took, width
from dytopo_autotrace.store.location import choose
from dytopo_autotrace.store.model import LOSSES

if TYPE_CHECKING:
    from dytopo_autotrace.collect.span import Span
    from dytopo_autotrace.store.model import RunInfo, RunRecords

_LABEL = 10


@click.command("show")
@click.argument("run", required=False)
@store_option
@click.option(
    "--spans", "-n", default=0, help="Also list so many spans, in the order of their start."
)
@click.option("--json", "as_json", is_flag=True, help="One JSON document, for programs.")
def command(run: str | None, store: str | None, spans: int, *, as_json: bool) -> None:
    """Show what is known of RUN: an id, or the beginning of one; by default the latest.

    `report RUN` explains it.
    """
    with reading(store) as reader:
        info = choose(reader.runs(), run)
        records = reader.load(info.start.run_id)
    if as_json:
        click.echo(json.dumps(document(info, records, spans), indent=2))
        return
    for line in page(info, records, spans, width()):
        click.echo(line)


def document(info: RunInfo, records: RunRecords, spans: int) -> dict[str, object]:
    """All of it as JSON has it."""
    return {
        **plain(info),
        "losses": dict(records.drops),
        "faults": list(records.faults),
        "remarks": list(records.remarks),
        "running": [
            {**span.to_dict(), "running_seconds": (records.now_ns - span.start_ns) / 1e9}
            for span in records.spans
            if not span.end_ns
        ],
        "spans_listed": [span.to_dict() for span in _by_start(records)[:spans]],
    }


def page(info: RunInfo, records: RunRecords, spans: int, columns: int) -> Iterator[str]:
    """All of it as lines of at most so many columns."""
    from dytopo_autotrace.report.text import clean, wrap

    for label, text in _facts(info, records):
        for number, line in enumerate(wrap(clean(text), columns - _LABEL)):
            yield f"{'' if number else label:<{_LABEL}}{line}".rstrip()
    running = [span for span in _by_start(records) if not span.end_ns]
    if running:
        heard = "now" if info.status == "running" else "when it was last heard of"
        yield ""
        yield from _table(f"running {heard}", running, records, columns)
    if spans:
        yield ""
        yield from _table("spans", _by_start(records)[:spans], records, columns)


def _facts(info: RunInfo, records: RunRecords) -> Iterator[tuple[str, str]]:
    start, process = info.start, info.start.process
    yield "run", start.run_id
    yield "program", program(info)
    if start.service not in ("", start.script):
        yield "service", start.service
    if start.task:
        yield "task", start.task
    yield "in", start.directory
    others = f", and {info.processes - 1} more" if info.processes > 1 else ""
    yield "process", f"{process.pid} on {process.host}, Python {process.python}{others}"
    yield "started", moment(start.started_unix_ns)
    yield "end", f"{_end(info)} after {seconds(took(info))}"
    yield "spans", f"{info.spans:,}, errors in {info.errors:,}, running {info.running_spans:,}"
    for reason, count in records.drops.items():
        yield "lost", f"{count:,}: {LOSSES.get(reason, reason)}"
    for fault in records.faults:
        yield "fault", fault
    for remark in records.remarks:
        yield "remark", remark


def _end(info: RunInfo) -> str:
    end = info.end
    if end is None and info.status == "running":
        return f"runs still, last heard of {moment(info.heard_unix_ns)}"
    if end is None:
        return f"died: its process is gone, last heard of {moment(info.heard_unix_ns)}"
    is_said = end.ended in ("returned", "", outcome(info))
    # An exit with status 0 is a normal end, by whatever road.
    is_normal = end.ended == "SystemExit" and not end.exit_status
    what = "" if is_said or is_normal else f" ({end.ended})"
    message = f": {end.message}" if end.message else ""
    return f"{outcome(info)}{what}{message},"


def _by_start(records: RunRecords) -> list[Span]:
    return sorted(records.spans, key=lambda span: (span.start_ns, span.id))


def _table(title: str, spans: list[Span], records: RunRecords, columns: int) -> list[str]:
    from dytopo_autotrace.report.table import Column, layout
    from dytopo_autotrace.report.text import clean

    def lasted(span: Span) -> str:
        return seconds(((span.end_ns or records.now_ns) - span.start_ns) / 1e9)

    return layout(
        [
            Column(title, tuple(clean(span.operation) for span in spans), is_name=True),
            Column("agent", tuple(clean(span.agent) for span in spans), is_name=True),
            Column("for", tuple(map(lasted, spans))),
            Column("status", tuple("" if not span.end_ns else span.status for span in spans)),
            Column("span", tuple(span.span_id for span in spans), expendable=1),
        ],
        columns,
    )
