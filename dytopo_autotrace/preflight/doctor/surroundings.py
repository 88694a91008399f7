"""What the environment adds to every Python process that is started from here."""

from __future__ import annotations

import os
import site
import sys
from collections.abc import Iterator, Mapping
from typing import Final

from dytopo_autotrace.preflight.doctor.answer import Answer, listed, without_password

_OURS: Final = "DYTOPO_AUTOTRACE_"
_THAT_MATTER: Final = {
    "TRACEPARENT": "the run joins the trace that it names",
    "WRAPT_DISABLE_EXTENSIONS": "wrapt is pure Python, and calls cost more",
    "PYTHONHOME": "says where the standard library is",
    "PYTHONSAFEPATH": "the program's directory is not on sys.path",
    "PYTHONNOUSERSITE": "what is installed for the user alone is not found",
    "PYTHONNODEBUGRANGES": "failures are told without columns",
}


def surrounding_answers(environ: Mapping[str, str]) -> Iterator[Answer]:
    """Variables, PYTHONPATH, and what runs before a program does."""
    for name in sorted(name for name in environ if name.startswith(_OURS)):
        yield Answer("environment", f"{name}={without_password(environ[name])}")
    for name, what in _THAT_MATTER.items():
        if environ.get(name):
            yield Answer("environment", f"{name}={environ[name]}: {what}")
    yield from _python_path(environ.get("PYTHONPATH", ""))
    for name in ("sitecustomize", "usercustomize"):
        module = sys.modules.get(name)
        if module is not None:
            where = getattr(module, "__file__", None) or "somewhere"
            yield Answer("environment", f"{name} runs before every program: {where}", "note")
    lines = list(_startup_lines())
    if lines:
        text = f".pth files that import something before every program: {listed(lines)}"
        yield Answer("environment", text, "note")


def _python_path(value: str) -> Iterator[Answer]:
    for entry in filter(None, value.split(os.pathsep)):
        if not os.path.exists(entry):
            yield Answer("environment", f"PYTHONPATH has {entry}, which is not there", "warning")
        elif os.path.exists(os.path.join(entry, "sitecustomize.py")):
            text = f"PYTHONPATH has {entry}, with a sitecustomize.py"
            yield Answer("environment", text, "note")
        else:
            yield Answer("environment", f"PYTHONPATH has {entry}")


def _startup_lines() -> Iterator[str]:
    """Files in site-packages that execute a line at every start."""
    try:
        places = [*site.getsitepackages(), site.getusersitepackages()]
    except Exception:
        return  # Some embedders have a site of their own.
    for place in places:
        try:
            names = sorted(name for name in os.listdir(place) if name.endswith(".pth"))
        except OSError:
            continue
        for name in names:
            try:
                with open(os.path.join(place, name), encoding="utf-8", errors="replace") as stream:
                    is_import = any(line.startswith(("import ", "import\t")) for line in stream)
            except OSError:
                continue
            if is_import:
                yield name
