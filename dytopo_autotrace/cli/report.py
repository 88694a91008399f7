"""`report`: the report of a run that is kept, made anew from the store."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Final

import click

from dytopo_autotrace.cli.stored import reading, store_option
from dytopo_autotrace.errors import AutotraceError
from dytopo_autotrace.store.location import choose
from dytopo_autotrace.store.model import RunInfo, RunRecords, said

if TYPE_CHECKING:
    from dytopo_autotrace.analyze.summary import RunSummary

_RUNS_COMPARED: Final = 5
"""Earlier runs that are looked at for what fails in every run."""
_SPANS_COMPARED: Final = 50_000


@click.command("report")
@click.argument("run", required=False)
@store_option
@click.option("--round", "number", default="", help="Only this round.")
@click.option("--agent", default="", help="Only this agent.")
@click.option("--failures", is_flag=True, help="Only what failed.")
@click.option("--critical-path", is_flag=True, help="Only what decided the wall time, in steps.")
@click.option("--what-if", is_flag=True, help="Only what would help, with evidence.")
@click.option("--verbose", "-v", is_flag=True, help="Every rule with its state.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document, for programs.")
def command(
    run: str | None,
    store: str | None,
    *,
    number: str,
    agent: str,
    failures: bool,
    critical_path: bool,
    what_if: bool,
    verbose: bool,
    as_json: bool,
) -> None:
    """Report RUN: an id, or the beginning of one; by default the latest. Or what --out wrote: its
    directory, or a file of traces.

    A run that died is told up to the last that was heard of it, with what was running then.
    """
    records, before = _of_files(run) if run and os.path.exists(run) else _kept(store, run)
    records = replace(records, drops=said(records.drops))
    from dytopo_autotrace.analyze.summary import summarize

    summary = summarize(records, before)
    if as_json:
        click.echo(_json(summary, number, agent, failures, critical_path, what_if))
        return
    from dytopo_autotrace.report import terminal

    view = terminal.View(number, agent, failures, critical_path, what_if, verbose)
    terminal.render(summary, sys.stdout, view=view)


def _json(
    summary: RunSummary,
    number: str,
    agent: str,
    failures: bool,
    critical_path: bool,
    what_if: bool,
) -> str:
    """All of the report, or the parts that the options ask for."""
    from dytopo_autotrace.report import json_report

    if not (number or agent or failures or critical_path or what_if):
        return json_report.render(summary)
    try:
        return json_report.render_parts(
            summary,
            number=number,
            agent=agent,
            failures=failures,
            critical_path=critical_path,
            what_if=what_if,
        )
    except AutotraceError as error:
        raise click.ClickException(str(error)) from error


def _of_files(path: str) -> tuple[RunRecords, list[RunRecords]]:
    from dytopo_autotrace.importing import read

    try:
        return read(path), []
    except AutotraceError as error:
        raise click.ClickException(str(error)) from error


def _kept(store: str | None, run: str | None) -> tuple[RunRecords, list[RunRecords]]:
    """The records of a kept run, and of the runs of the same script before it."""
    with reading(store) as reader:
        runs = reader.runs()
        info = choose(runs, run)
        records = reader.load(info.start.run_id)
        return records, [reader.load(each.start.run_id) for each in _earlier(runs, info)]


def _earlier(runs: Sequence[RunInfo], info: RunInfo) -> list[RunInfo]:
    """The last few runs of the same script that ended before this one began, none of them huge."""
    if not info.start.script:
        return []
    found = [
        run
        for run in runs
        if run.start.script == info.start.script
        and run.status == "ended"
        and run.start.started_unix_ns < info.start.started_unix_ns
        and 0 < run.spans <= _SPANS_COMPARED
    ]
    return sorted(found, key=lambda run: -run.start.started_unix_ns)[:_RUNS_COMPARED]
