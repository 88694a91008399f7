"""`import`: the traces of another tool as the records of a run."""

from __future__ import annotations

import contextlib
import os
import secrets
from collections import Counter
from typing import TYPE_CHECKING

import click

from dytopo_autotrace.analyze.wording import count
from dytopo_autotrace.cli.keeping import keep
from dytopo_autotrace.errors import AutotraceError
from dytopo_autotrace.export import replace_file
from dytopo_autotrace.export.run import alone
from dytopo_autotrace.importing import read
from dytopo_autotrace.store.location import locate, open_reader, open_writer, shown
from dytopo_autotrace.store.model import StoreBusy, StoreLost

if TYPE_CHECKING:
    from dytopo_autotrace.collect.records import RunRecords


@click.command("import")
@click.argument("file")
@click.option(
    "--store", metavar="PATH", help="The store to keep it in, instead of .dytopo/traces.db here."
)
@click.option("--output", "-o", metavar="FILE", help="Write the records there instead.")
def command(file: str, store: str | None, output: str | None) -> None:
    """Keep traces that another tool recorded as a run, for `report` to explain.

    FILE is OTLP JSON (one request, or one a line), Jaeger JSON, Zipkin v2 JSON, gzipped or not, or
    what --out wrote; what it is shows in its content.
    """
    try:
        records = read(file)
    except AutotraceError as error:
        raise click.ClickException(str(error)) from error
    if not records.spans:
        remarks = "".join(f"\n{remark}" for remark in records.remarks)
        raise click.ClickException(f"{file}: there is no span in it, so nothing is kept.{remarks}")
    for line in described(records):
        click.echo(line, err=True)
    if output is None:
        try:
            run_id = kept(records, store)
        except AutotraceError as error:
            raise click.ClickException(str(error)) from error
        click.echo(f"kept as {run_id[:8]}: dytopo-autotrace report {run_id[:8]}", err=True)
    else:
        from dytopo_autotrace.collect.records import records_to_json

        try:
            replace_file(output, records_to_json(records).encode() + b"\n")
        except OSError as error:
            raise click.ClickException(
                f"{output}: not written: {error.strerror or error}."
            ) from error


def described(records: RunRecords) -> list[str]:
    """What the records hold, and what was left out of them, a line each."""
    spans = records.spans
    roles = Counter(span.role or "no role" for span in spans)
    agents = {span.agent for span in spans if span.agent}
    named = ", ".join(f"{number} {role}" for role, number in roles.most_common())
    lines = [
        f"{records.service or 'A program without a name'}: {count(len(spans), 'span')} in "
        f"{count(len({span.trace for span in spans}), 'trace')}, {count(len(agents), 'agent')}"
        + (f"; {named}." if named else ".")
    ]
    if spans and set(roles) == {"no role"}:
        lines.append(
            "No span says what it was to a swarm (gen_ai.operation.name, openinference.span.kind or "
            "dytopo.role), so agents and models cannot be told apart."
        )
    return [*lines, *records.remarks]


def kept(records: RunRecords, store: str | None) -> str:
    """Write records into a store as a run that has ended, and give its id."""
    location = locate(store, os.getcwd())
    if location is None:
        raise click.ClickException("--store none: there is nothing to keep it in. Give a path.")
    run_id = secrets.token_hex(16)
    writer = open_writer(location, alone)
    is_kept = False
    try:
        keep(records, writer, run_id)
        is_kept = True
    except (StoreBusy, StoreLost) as problem:
        raise click.ClickException(
            f"{shown(location)}: not kept: {problem.detail or problem.reason}"
        ) from problem
    finally:
        writer.close()
        if not is_kept:
            _forget(location, run_id)
    return run_id


def _forget(location: str, run_id: str) -> None:
    """Remove what was written of a run that could not be written whole."""
    with contextlib.suppress(AutotraceError):
        reader = open_reader(location)
        try:
            reader.delete(run_id)
        finally:
            reader.close()
