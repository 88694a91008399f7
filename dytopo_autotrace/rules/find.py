"""Which rule file counts, and what is in it: TOML or the fault that keeps it from being TOML."""

# pathlib takes longer to import than all of this to run, and this runs at every start.

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from dytopo_autotrace.errors import Fault, nearest

FILE_NAME: Final = "instrumentation.toml"
VARIABLE: Final = "DYTOPO_AUTOTRACE_RULES"
OPTION: Final = "--rules"
PYPROJECT: Final = "pyproject.toml"
PYPROJECT_TABLE: Final = ("tool", "dytopo-autotrace")
MAX_BYTES: Final = 1 << 20
"""Nobody writes a rule file of this size; a device or a log, taken for one, has no end."""

_MENTIONED: Final = re.compile(rb"""tool\s*\.\s*["']?dytopo-autotrace""")
_LINE: Final = re.compile(r" \(at line (\d+), column \d+\)$")


@dataclass(frozen=True, slots=True)
class Document:
    """A file that was read: its rules are below `prefix` in it; `values` is empty with a fault."""

    file: str
    text: str = ""
    values: Mapping[str, Any] = field(default_factory=dict)
    prefix: tuple[str, ...] = ()
    faults: tuple[Fault, ...] = ()


def find(path: str | None, *, cwd: str, environ: Mapping[str, str]) -> Document | None:
    """The file asked for, else the one in the directory, else `None`: there is none.

    Asked for is `path`, else what the variable `DYTOPO_AUTOTRACE_RULES` says; in the directory
    is `instrumentation.toml`, else `[tool.dytopo-autotrace]` in `pyproject.toml`.
    """
    for asked, by in ((path, OPTION), (environ.get(VARIABLE), VARIABLE)):
        if asked:
            file = os.path.join(cwd, os.path.expanduser(asked))
            return _pyproject(file, by) if os.path.basename(file) == PYPROJECT else read(file, by)
    file = os.path.join(cwd, FILE_NAME)
    if os.path.lexists(file):
        return read(file, FILE_NAME)
    return _pyproject_that_mentions_us(os.path.join(cwd, PYPROJECT))


def read(file: str, by: str) -> Document:
    """Read a file that `by` asks for."""
    data = _bytes(file, by)
    return data if isinstance(data, Document) else parse(file, data)


def _pyproject(file: str, by: str) -> Document:
    document = read(file, by)
    if document.faults:
        return document
    table = _our_table(document.values)
    if table is None:
        return _unusable(file, by, "has no table [tool.dytopo-autotrace].", "Add it.")
    return Document(file, document.text, table, PYPROJECT_TABLE)


def _pyproject_that_mentions_us(file: str) -> Document | None:
    if not os.path.lexists(file):
        return None  # What stands nearby matters only to who asks for a file.
    data = _bytes(file, PYPROJECT)
    if isinstance(data, Document) or not _MENTIONED.search(data):
        return None
    document = parse(file, data)
    table = _our_table(document.values)
    if document.faults or table is None:
        return document if document.faults else None
    return Document(file, document.text, table, PYPROJECT_TABLE)


def _our_table(values: Mapping[str, Any]) -> Mapping[str, Any] | None:
    for part in PYPROJECT_TABLE:
        values = values.get(part, {}) if isinstance(values, Mapping) else {}
    return values if isinstance(values, Mapping) and values else None


def _bytes(file: str, by: str) -> bytes | Document:
    try:
        with open(file, "rb") as stream:
            data = stream.read(MAX_BYTES + 1)
    except FileNotFoundError:
        return _unusable(file, by, "there is no such file.", _nearby(file))
    except IsADirectoryError:
        return _unusable(file, by, "is a directory.", f"Name the file in it: {FILE_NAME}?")
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        return _unusable(file, by, f"cannot be read: {reason}.")
    if len(data) > MAX_BYTES:
        return _unusable(file, by, f"is larger than {MAX_BYTES} bytes.", "Is it a rule file?")
    return data


def _nearby(file: str) -> str:
    try:
        names = [name for name in os.listdir(os.path.dirname(file)) if name.endswith(".toml")]
    except (OSError, ValueError):
        return "Its directory does not exist either."
    return nearest(os.path.basename(file), names)


def parse(file: str, data: bytes) -> Document:
    """The document that some bytes are, or the fault that keeps them from being TOML."""
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line: int | None = data.count(b"\n", 0, error.start) + 1
        message = f"byte {data[error.start]:#04x} is no UTF-8."
        return _unusable(file, "TOML", message, "Save it as UTF-8.", line)
    try:
        return Document(file, text, tomllib.loads(text))
    except (ValueError, RecursionError) as error:
        message = str(error)
        found = _LINE.search(message)
        at_end = text.count("\n") + 1 if message.endswith("(at end of document)") else None
        line = int(found[1]) if found else at_end
        message = _LINE.sub("", message) if isinstance(error, ValueError) else "Nested too deeply"
        return _unusable(file, "TOML", f"{message}.", _toml_hint(text, line), line)


def _toml_hint(text: str, line: int | None) -> str:
    lines = text.splitlines()
    seen = lines[line - 1].strip() if line and line <= len(lines) else ""
    if re.match(r"[\w.-]+\s*=\s*[^\W\d]", seen) and not re.search(r"= *(true|false)\b", seen):
        return "Texts and expressions stand in quotes."
    if re.match(r"[\w.-]+\s*:", seen):
        return "A key and its value are joined by `=`."
    return ""


def _unusable(
    file: str, key: str, message: str, hint: str = "", line: int | None = None
) -> Document:
    return Document(file, faults=(Fault(file, line, key, "", message, hint),))
