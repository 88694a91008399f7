"""`check`: what each rule names in a program, before it is run."""

from __future__ import annotations

import dataclasses
import json
import os
import sys
from typing import TYPE_CHECKING

import click

from dytopo_autotrace.agent import working_directory
from dytopo_autotrace.cli.programs import find_module, find_script
from dytopo_autotrace.cli.stored import width
from dytopo_autotrace.errors import UsageError

if TYPE_CHECKING:
    from dytopo_autotrace.preflight.model import Subject


@click.command("check")
@click.argument("script", required=False)
@click.option("-m", "module", metavar="MODULE", help="The program is a module, as for python -m.")
@click.option("--rules", metavar="FILE", help="The rule file, instead of the one that counts here.")
@click.option(
    "--import",
    "by_import",
    is_flag=True,
    help="Also import the program's modules, in a process of its own, and weave them.",
)
@click.option("--all", "show_all", is_flag=True, help="Every function of every rule.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document, for programs.")
def command(
    script: str | None,
    module: str | None,
    rules: str | None,
    *,
    by_import: bool,
    show_all: bool,
    as_json: bool,
) -> None:
    """Hold every rule against SCRIPT, a directory or zip file, or the modules found from here.

    Nothing is executed, unless --import asks for it; the program itself never runs. Exit status 1
    if a rule of the rule file matches nothing or has a fault; 2 if what is asked for is not there.
    """
    from dytopo_autotrace.preflight.check import check, why_missing
    from dytopo_autotrace.preflight.imported import weave
    from dytopo_autotrace.rules.load import load
    from dytopo_autotrace.rules.survey.search import other_finders

    if script and module:
        raise click.UsageError("SCRIPT and -m are two programs: name one of them.")
    if rules is not None and not os.path.exists(rules):
        raise click.UsageError(f"--rules {rules}: there is no such file.")
    try:
        subject = _subject(script, module)
    except UsageError as error:
        raise click.UsageError(str(error)) from error
    if module and (why := why_missing(subject, other_finders())):
        raise click.UsageError(f"-m {module}: {why}")
    found = check(
        load(rules, cwd=working_directory(), environ=os.environ),
        subject,
        finders=other_finders(),
        weave=(lambda modules: weave(rules, subject, modules)) if by_import else None,
    )
    if as_json:
        document = {"ok": found.is_good, **dataclasses.asdict(found)}
        click.echo(json.dumps(document, indent=2))
    else:
        from dytopo_autotrace.preflight.check_page import page

        for line in page(found, width(), all_functions=show_all):
            click.echo(line)
    sys.exit(0 if found.is_good else 1)


def _subject(script: str | None, module: str | None) -> Subject:
    from dytopo_autotrace.preflight.model import Subject

    if script is not None:
        path0 = find_script(script).path0
    elif module is not None:
        path0 = find_module(module).path0
    else:
        path0 = working_directory()
    # A project that keeps its packages in src/ is mostly installed; where it is not, look there.
    src = os.path.join(working_directory(), "src")
    return Subject((*filter(None, (path0,)), *sys.path, src), script, module)
