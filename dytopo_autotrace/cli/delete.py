"""`delete`: remove kept runs for good."""

from __future__ import annotations

from collections.abc import Sequence

import click

from dytopo_autotrace.cli.stored import program, reading, store_option
from dytopo_autotrace.store.location import StoreError, choose
from dytopo_autotrace.store.model import Reader, RunInfo


@click.command("delete")
@click.argument("runs", nargs=-1, required=True)
@store_option
@click.option("--force", is_flag=True, help="Also a run that still runs; what it does is lost.")
def command(runs: Sequence[str], store: str | None, *, force: bool) -> None:
    """Remove each of RUNS: an id, or the beginning of one; `last` is the latest."""
    with reading(store) as reader:
        for info in delete(reader, runs, force=force):
            click.echo(f"deleted {info.start.run_id}  {program(info)}  ({info.spans:,} spans)")


def delete(reader: Reader, asked: Sequence[str], *, force: bool = False) -> list[RunInfo]:
    """Remove the runs that are asked for; all of them are found before any is removed.

    Raises:
        StoreError: one is not there, or it still runs.
    """
    known = reader.runs()
    found = list(dict.fromkeys(choose(known, each) for each in asked))
    for info in found:
        if info.status == "running" and not force:
            raise StoreError(
                f"{info.start.run_id} still runs (process {info.start.process.pid}). "
                "Wait for its end, or delete it with --force."
            )
    for info in found:
        reader.delete(info.start.run_id)
    return found
