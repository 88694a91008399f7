"""`docs`: documents of the swarm from its rules, its code and its recorded runs."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from dytopo_autotrace.documentation import RUNS
from dytopo_autotrace.errors import AutotraceError

if TYPE_CHECKING:
    from dytopo_autotrace.documentation.model import Recorded


@click.command("docs")
@click.argument("files", nargs=-1, type=click.Path(exists=True))
@click.option("--out", default="docs", show_default=True, metavar="DIR", help="Where to.")
@click.option(
    "--runs",
    default=RUNS,
    show_default=True,
    type=click.IntRange(min=0),
    metavar="N",
    help="How many of the store's runs, the latest; 0 for none.",
)
@click.option(
    "--program",
    default="",
    metavar="NAME",
    help="Whose runs, as it was started; else what the latest run of a swarm was of.",
)
@click.option("--check", is_flag=True, help="Write nothing; exit with 1 if a document is stale.")
@click.option("--store", metavar="PATH", help="The store to read, instead of .dytopo/traces.db.")
@click.option(
    "--rules", metavar="FILE", help="The rule file, found as the launcher does otherwise."
)
@click.option(
    "--source",
    "sources",
    multiple=True,
    metavar="PATH",
    help="A script, or a directory that modules are imported from; can be repeated.",
)
@click.option(
    "--content", is_flag=True, help="Also what was said: tasks, goals, prompts and answers."
)
def command(
    files: Sequence[str],
    out: str,
    runs: int,
    store: str | None,
    rules: str | None,
    sources: Sequence[str],
    *,
    program: str = "",
    check: bool,
    content: bool,
) -> None:
    """Write documents of the swarm in the working directory.

    From its rules, its code (which is read, not imported) and its recorded runs: those of the store, or
    those in FILES, which `import` can read. What people wrote between keep comments stays.
    """
    try:
        stale = generate(
            files, out, runs, store, rules, sources, program=program, check=check, content=content
        )
    except AutotraceError as error:
        raise click.ClickException(str(error)) from error
    if check and stale:
        sys.exit(1)


def generate(
    files: Sequence[str],
    out: str,
    runs: int,
    store: str | None,
    rules: str | None,
    sources: Sequence[str],
    *,
    program: str = "",
    check: bool,
    content: bool,
) -> int:
    """Write the documents, or with `check` only compare; the number of those that differ."""
    from dytopo_autotrace.documentation import documents, here, write

    remarks: tuple[str, ...] = ()
    if files and program:
        raise click.UsageError("--program chooses among the runs of a store; FILES are all taken.")
    if files:
        given = _read(files)
    else:
        given, remarks = here.stored(store, runs, must_exist=store is not None, program=program)
    swarm, root = here.swarm(rules, sources, given, content=content, remarks=remarks)
    pages = documents.pages(swarm, out, root)
    if not check:
        write.write(pages)
    stale = [name for name, page in pages.items() if page.change != "same"]
    for name, page in pages.items():
        if page.change == "same":
            continue
        said = {"new": "is missing", "changed": "is stale"} if check else {}
        click.echo(f"{os.path.join(out, name)}: {said.get(page.change, page.change)}", err=True)
    if check:
        verdict = f"{len(stale)} of {len(pages)} documents are stale." if stale else "Up to date."
        again = " Generate them again: the same command without --check." if stale else ""
        click.echo(f"{verdict}{again}", err=True)
    elif not stale:
        click.echo("Nothing changed.", err=True)
    if not given:
        click.echo(
            "No run is recorded: the documents say what rules and code alone tell. Watch one: "
            "python -m dytopo_autotrace script.py",
            err=True,
        )
    return len(stale)


def _read(files: Sequence[str]) -> list[Recorded]:
    from dytopo_autotrace.documentation.here import top
    from dytopo_autotrace.documentation.model import Recorded, Source
    from dytopo_autotrace.importing import read

    root = top(os.getcwd())
    found = [
        Recorded(
            Source(
                os.path.relpath(os.path.realpath(file), root).replace(os.sep, "/"), is_file=True
            ),
            read(file),
        )
        for file in files
    ]
    return sorted(found, key=lambda each: -each.records.started_unix_ns)
