"""Which files of a project are read, and what its own imports call them."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator
from typing import Final

MAX_FILES: Final = 5000
MAX_BYTES: Final = 1 << 20
"""A file of source that is larger was made by a machine."""

_SKIPPED: Final = frozenset(
    {
        "__pycache__",
        "bench",
        "benchmarks",
        "build",
        "dist",
        "docs",
        "env",
        "migrations",
        "node_modules",
        "site-packages",
        "test",
        "tests",
        "venv",
    }
)


def python_files(path: str) -> Iterator[str]:
    """The source files below a directory, or beside a script, without tests and what is installed."""
    top = path if os.path.isdir(path) else os.path.dirname(os.path.abspath(path))
    count = 0
    for directory, names, files in os.walk(top):
        names[:] = sorted(name for name in names if not _is_skipped(directory, name))
        for name in sorted(files):
            if name.endswith(".py") and not _is_test(name):
                yield os.path.join(directory, name)
                count += 1
                if count >= MAX_FILES:
                    return


def _is_skipped(directory: str, name: str) -> bool:
    if name in _SKIPPED or name.startswith(".") or name.endswith(".egg-info"):
        return True
    return os.path.exists(os.path.join(directory, name, "pyvenv.cfg"))


def _is_test(name: str) -> bool:
    return (
        name.startswith("test_") or name.endswith("_test.py") or name in ("conftest.py", "setup.py")
    )


def names_of(file: str, top: str) -> list[tuple[str, str]]:
    """What a file may be called as a module, and from which directory; the likeliest first.

    A package is a directory with an `__init__.py`, but namespace packages have none: only the
    imports of a project tell how far up its names begin (see `choose`).
    """
    directory, name = os.path.split(os.path.abspath(file))
    parts = [] if name == "__init__.py" else [name.removesuffix(".py")]
    top = os.path.abspath(top)
    # A directory without one may still be within a package that has one further up.
    while _is_in_package(directory, top):
        directory, package = os.path.split(directory)
        parts.insert(0, package)
        if not package:
            return []
    found = [(".".join(parts), directory)] if parts else []
    while directory.startswith(top) and directory != top:
        directory, package = os.path.split(directory)
        parts.insert(0, package)
        found.append((".".join(parts), directory))
    return [(name, root) for name, root in found if all(map(str.isidentifier, name.split(".")))]


def _is_in_package(directory: str, top: str) -> bool:
    while True:
        if os.path.exists(os.path.join(directory, "__init__.py")):
            return True
        parent = os.path.dirname(directory)
        if directory == top or not directory.startswith(top) or parent == directory:
            return False
        directory = parent


def choose(names: list[tuple[str, str]], imported: Collection[str]) -> tuple[str, str] | None:
    """The name that the project's own imports use; else that of the packages with `__init__.py`."""
    for name, root in names:
        if name in imported:
            return name, root
    for name, root in names[1:]:
        if name.rpartition(".")[0] in imported:
            return name, root
    return names[0] if names else None
