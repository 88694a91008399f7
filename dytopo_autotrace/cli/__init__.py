"""The command line: one command, one file."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Sequence

COMMANDS = {
    "run": "run",
    "runs": "runs",
    "show": "show",
    "report": "report",
    "delete": "delete",
    "docs": "docs",
    "export": "export",
    "import": "import_",
    "check": "check",
    "init": "init",
    "doctor": "doctor",
}
"""The module of each command, imported when the command is asked for."""


def main(argv: Sequence[str] | None = None) -> None:
    """`dytopo-autotrace COMMAND ...`, or, for `run`, without naming it: `[options] script.py`."""
    _leave_search_path()
    args = list(sys.argv[1:] if argv is None else argv)
    name = args.pop(0) if args and args[0] in COMMANDS else "run"
    module = importlib.import_module(f"{__name__}.{COMMANDS[name]}")
    if name == "run":
        module.main(args)
    else:
        module.command.main(args, prog_name=f"dytopo-autotrace {name}")


def _leave_search_path() -> None:
    """Take what Python put in front of `sys.path` for us off again: the program gets its own.

    Until then a module there, which may have the name of a standard one, must not be imported by us.
    """
    if sys.flags.safe_path or not sys.path:
        return
    ours = [os.path.dirname(os.path.realpath(sys.argv[0]))]
    try:
        ours.append(os.getcwd())
    except FileNotFoundError:
        pass  # The working directory is gone, so nothing was put there for it.
    if sys.path[0] in ours:
        del sys.path[0]
