"""`init`: a rule file to begin with, from the source of a project."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

import click

from dytopo_autotrace.agent import working_directory

if TYPE_CHECKING:
    from dytopo_autotrace.rules.scaffold import Scaffold

DEFAULT = "instrumentation.toml"


@click.command("init")
@click.argument("path", default=".")
@click.option(
    "--out", default=DEFAULT, show_default=True, metavar="FILE", help="Where to; - for stdout."
)
@click.option("--force", is_flag=True, help="Write over the file that is there.")
def command(path: str, out: str, *, force: bool) -> None:
    """Write a rule file for PATH: a directory, a package, or a script and what is beside it.

    The source is read, never run. Likely orchestrators, managers, routers, workers, model calls and
    tools are picked by name, by signature and by who calls whom; each rule says why.
    """
    from dytopo_autotrace.rules.scaffold import scaffold

    if not working_directory():
        raise click.UsageError("the working directory is gone. Change to one that is there.")
    if not os.path.exists(path):
        raise click.UsageError(f"there is no {path!r}. Name a directory or a script.")
    if out != "-" and os.path.lexists(out) and not force:
        raise click.UsageError(
            f"{out} is there already. --force writes over it, --out FILE elsewhere, --out - shows it."
        )
    made = scaffold(path)
    if not made.modules:
        raise click.UsageError(f"{path!r} has no Python source. Name a directory that has.")
    if out == "-":
        click.echo(made.text, nl=False)
    else:
        try:
            with open(out, "w", encoding="utf-8") as stream:
                stream.write(made.text)
        except OSError as error:
            raise click.ClickException(f"{out}: not written: {error.strerror}") from error
    for line in _told(made, out):
        click.echo(line, err=True)
    sys.exit(0)


def _told(made: Scaffold, out: str) -> list[str]:
    """What a person does next."""
    if out == "-":
        return []
    picked = ", ".join(f"{count} {role}" for role, count in made.picked.items())
    lines = [
        f"{out}: {picked or 'nothing'} of {made.functions} functions in {made.modules} modules."
    ]
    if made.unread:
        lines.append(f"Could not be read: {', '.join(map(os.path.relpath, made.unread[:5]))}")
    if made.picked:
        rules = "" if out == DEFAULT else f" --rules {out}"
        script = f" {made.scripts[0]}" if 0 < len(made.scripts) <= 3 else ""
        lines.append(f"Look through it, then: dytopo-autotrace check{rules}{script}")
    here = {os.getcwd(), os.path.abspath("src")}
    strange = [root for root in made.roots if root not in here]
    if strange and not made.scripts:
        lines.append(f"Its modules are found with PYTHONPATH={os.pathsep.join(strange)}")
    return lines
