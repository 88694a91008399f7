"""`export`: a run in the format of another tool."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

import click

from dytopo_autotrace.cli.stored import reading, store_option
from dytopo_autotrace.errors import AutotraceError
from dytopo_autotrace.export import replace_file
from dytopo_autotrace.export.formats import FORMATS, Chunks, encoded, find
from dytopo_autotrace.export.run import Run, withheld
from dytopo_autotrace.importing import read
from dytopo_autotrace.store.location import choose

if TYPE_CHECKING:
    from dytopo_autotrace.collect.records import RunRecords

LONG = 20_000
"""Spans from which on it takes seconds, so that it is worth showing how far it is."""

_LISTED = "\n".join(f"  {name:<13} {each.description}" for name, each in FORMATS.items())


@click.command("export", epilog=f"\b\nFormats:\n{_LISTED}")
@click.argument("run", required=False)
@store_option
@click.option("--format", "-f", "name", required=True, help="One of the formats below.")
@click.option(
    "--output",
    "-o",
    metavar="FILE",
    help="Where to; - is stdout. By default RUN and a suffix, here.",
)
@click.option(
    "--content",
    is_flag=True,
    help="Also prompts, answers and whatever else was said; see the docs.",
)
def command(
    run: str | None, store: str | None, name: str, output: str | None, *, content: bool
) -> None:
    """Write RUN in the format of another tool.

    RUN is a kept run's id, or the beginning of one, by default the latest; or a file that `import`
    can read, or a directory that --out wrote.
    """
    try:
        if run is not None and Path(run).exists():
            export(read(run), run, name, output, content=content)
            return
        with reading(store) as reader:
            info = choose(reader.runs(), run)
            with _busy("Reading", info.spans):
                records = reader.load(info.start.run_id)
        export(records, info.start.run_id[:8], name, output, content=content)
    except AutotraceError as error:
        raise click.ClickException(str(error)) from error


def export(
    records: RunRecords, run: str, name: str, output: str | None, *, content: bool = False
) -> None:
    """Write records in a format, and say on stderr where to and what was left out.

    Raises:
        AutotraceError: there is no such format, or it needs a library that is missing.
    """
    wanted = find(name)
    count = len(records.spans)
    with _busy("Preparing", count):
        seen = Run(records, content=content)
    chunks = encoded(_watched(wanted.render(seen), count if wanted.is_streamed else 0))
    with nullcontext() if wanted.is_streamed else _busy("Exporting", count):
        private = content and wanted.has_spans
        _write(chunks, run, name, output, wanted.suffix, count, private=private)
    if wanted.has_spans and not content and (held_back := withheld(seen)):
        click.echo(
            f"{held_back:,} values left out because they look like content, such as prompts and "
            "answers. --content writes them too.",
            err=True,
        )


def _write(
    chunks: Iterator[bytes],
    run: str,
    name: str,
    output: str | None,
    suffix: str,
    spans: int,
    *,
    private: bool,
) -> None:
    if output == "-":
        for chunk in chunks:
            sys.stdout.buffer.write(chunk)
        sys.stdout.buffer.flush()
    else:
        path = output or f"{Path(run).name.split('.')[0] or 'run'}{suffix}"
        if Path(path).exists() and Path(run).exists() and Path(path).samefile(run):
            raise click.ClickException(
                f"{path}: is what is being exported. Say with --output where to write."
            )
        try:
            replace_file(path, chunks, private=private)
        except OSError as error:
            raise click.ClickException(
                f"{path}: not written: {error.strerror or error}."
            ) from error
        click.echo(f"{path}: {spans:,} spans as {name}.", err=True)


@contextmanager
def _busy(what: str, spans: int) -> Iterator[None]:
    """Something that moves on stderr while many spans are worked on without steps to count."""
    if spans < LONG or not sys.stderr.isatty():
        yield
        return
    from rich.console import Console

    with Console(stderr=True).status(f"{what} {spans:,} spans"):
        yield


def _watched(chunks: Chunks, spans: int) -> Chunks:
    """The chunks, and a bar on stderr that shows how many of the spans are done."""
    if spans < LONG or not sys.stderr.isatty():
        return chunks
    from rich.console import Console
    from rich.progress import track

    return track(chunks, "Exporting", total=spans, console=Console(stderr=True), transient=True)  # type: ignore[return-value]
