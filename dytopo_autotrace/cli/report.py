"""`report`: the report of a run that is kept, made anew from the store."""

from __future__ import annotations

import sys

import click

from dytopo_autotrace.cli.stored import reading, store_option
from dytopo_autotrace.store.location import choose


@click.command("report")
@click.argument("run", required=False)
@store_option
@click.option("--verbose", "-v", is_flag=True, help="Every rule with its state.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document, for programs.")
def command(run: str | None, store: str | None, *, verbose: bool, as_json: bool) -> None:
    """Report RUN: an id, or the beginning of one; by default the latest.

    A run that died is told up to the last that was heard of it, with what was running then.
    """
    with reading(store) as reader:
        info = choose(reader.runs(), run)
        records = reader.load(info.start.run_id)
    from dytopo_autotrace.analyze.summary import summarize

    summary = summarize(records)
    if as_json:
        from dytopo_autotrace.report import json_report

        click.echo(json_report.render(summary))
        return
    from dytopo_autotrace.report import terminal

    terminal.render(summary, sys.stdout, verbose=verbose)
