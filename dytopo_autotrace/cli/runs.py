"""`runs`: the runs that are kept, the latest first."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from dytopo_autotrace.analyze.wording import seconds
from dytopo_autotrace.cli.stored import moment, plain, program, reading, store_option, took, width
from dytopo_autotrace.store.location import short_id

if TYPE_CHECKING:
    from dytopo_autotrace.store.model import RunInfo


@click.command("runs")
@store_option
@click.option(
    "--limit",
    "-n",
    type=click.IntRange(min=0),
    default=20,
    show_default=True,
    help="How many; 0 for all.",
)
@click.option("--json", "as_json", is_flag=True, help="One JSON document, for programs.")
def command(store: str | None, limit: int, *, as_json: bool) -> None:
    """List the runs that are kept, the latest first."""
    with reading(store) as reader:
        found = reader.runs()
        size = reader.size()
    shown = found[: limit or None]
    if as_json:
        click.echo(json.dumps([plain(info) for info in shown], indent=2))
        return
    for line in lines(shown, found, width()):
        click.echo(line)
    if found:
        click.echo(f"\n{_of(len(shown), len(found))}, {size / 1e6:.1f} MB")
    else:
        click.echo("No runs are kept. Watch one: python -m dytopo_autotrace script.py")


def _of(shown: int, found: int) -> str:
    runs = f"{found} run{'' if found == 1 else 's'}"
    return runs if shown == found else f"{shown} of {runs} (--limit 0 shows all)"


def lines(shown: Sequence[RunInfo], known: Sequence[RunInfo], columns: int) -> list[str]:
    """A table of runs; an id is as long as it takes to tell it from all that are known."""
    from dytopo_autotrace.report.table import Column, layout
    from dytopo_autotrace.report.text import clean

    if not shown:
        return []

    def count(number: int) -> str:
        return f"{number:,}" if number else ""

    return layout(
        [
            Column("run", tuple(short_id(info, known) for info in shown)),
            Column("program", tuple(clean(program(info)) for info in shown), is_name=True),
            Column(
                "started",
                tuple(began(info.start.started_unix_ns) for info in shown),
                expendable=1,
            ),
            Column("took", tuple(seconds(took(info)) for info in shown)),
            Column("end", tuple(outcome(info) for info in shown), is_name=True),
            Column("spans", tuple(f"{info.spans:,}" for info in shown)),
            Column("errors", tuple(count(info.errors) for info in shown)),
            Column("lost", tuple(count(info.drops) for info in shown)),
        ],
        columns,
    )


def began(unix_ns: int) -> str:
    """A moment of this year to the minute, one of another year by its date."""
    said = moment(unix_ns)
    return said[5:16] if said[:4] == moment(time.time_ns())[:4] else said[:10]


def outcome(info: RunInfo) -> str:
    """How a run ended, in a word or two."""
    if info.end is None:
        return info.status
    if info.end.exit_status:
        return f"status {info.end.exit_status}"
    if info.end.ended in ("running", ""):
        return "unknown"  # Imported from what was written before the end, or does not tell it.
    return "ok" if info.end.exit_status == 0 else info.end.ended
