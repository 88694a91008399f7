"""Which program a command line means; if there is none, why, and what there is instead."""

# pathlib takes longer to import than all of this.

from __future__ import annotations

import os
import sys
from collections.abc import Iterable

from dytopo_autotrace.errors import UsageError, nearest
from dytopo_autotrace.weave.launch import MAIN, Module, Program, importer_of, read_script


def find_script(path: str) -> Program:
    """A script, or a directory or zip file with a `__main__.py`.

    Raises:
        UsageError: there is nothing at this path that could be run.
    """
    if not os.path.exists(path):
        raise UsageError(f"can't open file {path!r}: {_why_missing(path)}")
    container = importer_of(path)
    if container is not None:
        if container.find_spec(MAIN) is None:
            raise UsageError(
                f"can't find '__main__' in {path!r}: "
                f"give it a __main__.py, or name a script in it.{_scripts_in(path)}"
            )
        return Module(MAIN, path)
    try:
        with open(path, "rb") as stream:
            source = stream.read()
    except OSError as error:
        raise UsageError(
            f"can't open file {path!r}: {error.strerror}. Name a Python script that can be read."
        ) from None
    script = read_script(path, source)
    if b"\0" in source and not script.is_compiled:
        raise UsageError(
            f"{path!r} is no Python script: byte {source.index(0)} is null. "
            "Name the script that it starts, or use -m with a module."
        )
    return script


def find_module(name: str) -> Program:
    """A module by name, as `python -m` takes it; it is looked up when it is run.

    Raises:
        UsageError: the name is that of a file.
    """
    if (name.endswith(".py") or os.sep in name) and os.path.isfile(name):
        # runpy would look for a module in a module, and import the file for that.
        raise UsageError(f"can't run -m {name}: that is a file. Leave out -m: {name}")
    return Module(name)


def why_not(name: str, said: str) -> str:
    """Why a module that runpy refused cannot be run, beyond what runpy said."""
    import pkgutil

    found = name
    while found and found not in sys.modules:
        found = found.rpartition(".")[0]
    where = getattr(sys.modules[found], "__path__", None) if found else None
    if name.startswith(".") or (found == name and where is None):
        return f"{said}."
    if found and where is None:
        return f"{found!r} is a module, so there is no {name!r} in it."
    there = [each.name for each in pkgutil.iter_modules(where)]
    if found == name:
        such = f", such as {', '.join(f'{name}.{each}' for each in there[:5])}" if there else ""
        return f"the package has no __main__. Give it one, or name a module in it{such}."
    missing = name.removeprefix(f"{found}.").partition(".")[0]
    if missing in there:
        return f"{said}."
    prefix = f"{found}." if found else ""
    near = _did_you_mean(missing, there).replace("'", f"'{prefix}", 1)
    return f"there is no module {prefix + missing!r}.{near}"


def _why_missing(path: str) -> str:
    if os.path.islink(path):
        return f"it is a link to {os.readlink(path)!r}, which does not exist."
    where, name = os.path.split(path)
    if not where and name.startswith("python"):
        return "there is no such file. The interpreter is not named: leave it out."
    try:
        names = os.listdir(where or os.curdir)
    except OSError:
        return f"there is no directory {where or os.curdir!r}."
    return f"there is no such file.{_did_you_mean(name, names)}"


def _scripts_in(path: str) -> str:
    try:
        names = sorted(name for name in os.listdir(path) if name.endswith(".py"))
    except OSError:
        return ""
    return f" It has {', '.join(names[:5])}." if names else ""


def _did_you_mean(name: str, names: Iterable[str]) -> str:
    hint = nearest(name, names)
    return f" {hint}" if hint.startswith("Did") else ""
