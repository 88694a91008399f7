"""The interpreter, what it was started with, and the libraries that the agent stands on."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import re
import sys
import sysconfig
from collections.abc import Iterator, Mapping
from typing import Final

from dytopo_autotrace import __version__
from dytopo_autotrace.preflight.doctor.answer import Answer, listed

TESTED: Final = ((3, 11), (3, 13))
_OLDEST_WRAPT: Final = (1, 17)
_NEXT_WRAPT: Final = 3
_DISTRIBUTION: Final = "dytopo-autotrace"
_FOR_DEVELOPERS: Final = frozenset({"test", "bench", "dev"})


def python_answers() -> Iterator[Answer]:
    """Which Python this is, and whether the agent is tested on it."""
    name, version = platform.python_implementation(), platform.python_version()
    where = sys.executable or "an executable that it does not know"
    text = f"{name} {version} at {where}"
    if sys.prefix != sys.base_prefix:
        text += ", in a virtual environment"
    here = sys.version_info[:2]
    if name != "CPython":
        yield Answer("python", text, "warning", "The agent is tested on CPython only.")
    elif not TESTED[0] <= here <= TESTED[1]:
        yield Answer("python", text, "note", "The agent is tested on 3.11, 3.12 and 3.13.")
    else:
        yield Answer("python", text)
    if sysconfig.get_config_var("Py_GIL_DISABLED"):
        yield Answer("python", "a free-threaded build", "note", "The agent is not tested on it.")
    if not sys.executable:
        yield Answer(
            "python",
            "sys.executable is empty, so no process can be started",
            "stops",
            "Reports are made by a process of its own, and child processes cannot be reached.",
        )
    package = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    yield Answer("autotrace", f"{__version__} at {package}")


def wrapt_answers() -> Iterator[Answer]:
    """Which wrapt there is, and whether its C extension is used."""
    try:
        import wrapt  # noqa: PLC0415 - whether it can be imported is the question
    except Exception as error:
        text = f"cannot be imported: {type(error).__name__}: {error}"
        yield Answer("wrapt", text, "stops", "pip install 'wrapt>=1.17,<3'")
        return
    version = str(getattr(wrapt, "__version__", "?"))
    native = sys.modules.get("wrapt._wrappers")
    is_c = native is not None and getattr(native, "FunctionWrapper", 0) is wrapt.FunctionWrapper
    text = f"{version}, {'C extension' if is_c else 'pure Python'}"
    numbers = tuple(int(number) for number in re.findall(r"\d+", version)[:2])
    if not _OLDEST_WRAPT <= numbers < (_NEXT_WRAPT,):
        yield Answer("wrapt", text, "warning", "The agent needs wrapt>=1.17,<3: pip install it.")
    elif not is_c:
        because = "WRAPT_DISABLE_EXTENSIONS is set" if _disables_c() else "its C part is missing"
        yield Answer("wrapt", text, "note", f"Calls cost more than they need to: {because}.")
    else:
        yield Answer("wrapt", text)


def _disables_c() -> bool:
    return bool(os.environ.get("WRAPT_DISABLE_EXTENSIONS"))


def flag_answers(environ: Mapping[str, str]) -> Iterator[Answer]:
    """What the interpreter was started with that keeps functions from being woven."""
    if environ.get("DYTOPO_AUTOTRACE_DISABLED", "") not in ("", "0", "false", "no"):
        yield Answer(
            "flags", "DYTOPO_AUTOTRACE_DISABLED is set: nothing is watched", "stops", "Unset it."
        )
    flag = "-I" if sys.flags.isolated else "-E" if sys.flags.ignore_environment else ""
    if flag:
        yield Answer(
            "flags",
            f"Python was started with {flag}: processes that the program starts by multiprocessing "
            "inherit it, ignore PYTHONPATH, and are not woven",
            "stops",
            f"Leave out {flag}; this process itself can be woven.",
        )
    if sys.flags.no_site:
        yield Answer("flags", "Python was started with -S: site-packages are not there", "warning")
    if getattr(sys, "frozen", False):
        yield Answer(
            "flags",
            "this is a frozen application: its modules have no source",
            "stops",
            "Run the program from its source.",
        )


def extra_answers() -> Iterator[Answer]:
    """Which optional parts can be used."""
    try:
        about = importlib.metadata.metadata(_DISTRIBUTION)
        required = importlib.metadata.requires(_DISTRIBUTION) or []
    except importlib.metadata.PackageNotFoundError:
        yield Answer("extras", "unknown: the package is used without being installed", "note")
        return
    for name in sorted(set(about.get_all("Provides-Extra") or ()) - _FOR_DEVELOPERS):
        needs = [
            found[0]
            for text in required
            if re.search(rf"""extra\s*==\s*["']{re.escape(name)}["']""", text)
            and (found := re.match(r"[\w.-]+", text))
        ]
        missing = [each for each in needs if not _is_installed(each)]
        if missing:
            hint = f"pip install 'dytopo-autotrace[{name}]'"
            yield Answer("extras", f"{name}: without {listed(missing)}", "note", hint)
        else:
            yield Answer("extras", f"{name}: installed")


def _is_installed(name: str) -> bool:
    try:
        importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True
