"""`doctor`: what decides whether a program here is watched, and what is in the way."""

from __future__ import annotations

import dataclasses
import json
import os
import sys

import click

from dytopo_autotrace.agent import working_directory
from dytopo_autotrace.cli.stored import width


@click.command("doctor")
@click.option("--rules", metavar="FILE", help="The rule file that a program would be run with.")
@click.option("--store", metavar="PATH", help="The store that a program would be run with.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document, for programs.")
def command(rules: str | None, store: str | None, *, as_json: bool) -> None:
    """Say which Python, wrapt, rules and store a program started here would have, and who else is there.

    Sample functions are woven in a process of its own. Exit status 1 if something stops weaving.
    """
    from dytopo_autotrace.preflight.doctor import is_stopped, look

    answers = look(rules, store, cwd=working_directory(), environ=os.environ)
    stopped = is_stopped(answers)
    if as_json:
        document = {"ok": not stopped, "answers": [dataclasses.asdict(each) for each in answers]}
        click.echo(json.dumps(document, indent=2))
    else:
        from dytopo_autotrace.preflight.doctor.page import page

        for line in page(answers, width()):
            click.echo(line)
    sys.exit(1 if stopped else 0)
