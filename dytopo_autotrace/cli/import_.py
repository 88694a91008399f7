"""`import`: the traces of another tool as the records of a run."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import click

from dytopo_autotrace.errors import AutotraceError
from dytopo_autotrace.export import replace_file
from dytopo_autotrace.importing import read

if TYPE_CHECKING:
    from dytopo_autotrace.analyze.records import RunRecords


@click.command("import")
@click.argument("file")
@click.option("--output", "-o", metavar="FILE", help="Write the records of the run there.")
def command(file: str, output: str | None) -> None:
    """Read traces that another tool recorded, and say what was found.

    FILE is OTLP JSON (one request, or one a line), Jaeger JSON, Zipkin v2 JSON, gzipped or not, or
    what --out wrote; what it is shows in its content.
    """
    try:
        records = read(file)
    except AutotraceError as error:
        raise click.ClickException(str(error)) from error
    for line in described(records):
        click.echo(line, err=True)
    if output is not None:
        from dytopo_autotrace.analyze.records import records_to_json

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
    named = ", ".join(f"{count} {role}" for role, count in roles.most_common())
    lines = [
        f"{records.service or 'A program without a name'}: {len(spans):,} spans in "
        f"{len({span.trace for span in spans}):,} traces, {len(agents):,} agents"
        + (f"; {named}." if named else ".")
    ]
    if spans and set(roles) == {"no role"}:
        lines.append(
            "No span says what it was to a swarm (gen_ai.operation.name, openinference.span.kind or "
            "dytopo.role), so agents and models cannot be told apart."
        )
    return [*lines, *records.remarks]


def main(args: list[str]) -> None:
    """The command with these arguments; ends the process."""
    command.main(args, prog_name="dytopo-autotrace import")
