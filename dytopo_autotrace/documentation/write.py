"""Brings documents to disk: only what differs, and all of it or nothing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from dytopo_autotrace.errors import AutotraceError
from dytopo_autotrace.export import replace_file

Change = Literal["new", "changed", "same"]


@dataclass(frozen=True, slots=True)
class Page:
    """One file: where it goes, and what is to be in it."""

    path: str
    text: str
    change: Change


def read(path: str) -> str:
    """The text of a file as it is, `""` if there is none.

    Raises:
        AutotraceError: it is there and cannot be read.
    """
    try:
        with Path(path).open(encoding="utf-8", newline="") as stream:
            return stream.read()
    except FileNotFoundError:
        return ""
    except UnicodeDecodeError as error:
        raise AutotraceError(
            f"{path}: is not UTF-8 (byte {error.start}), so what people wrote into it cannot be "
            "kept. Save it as UTF-8, or remove it."
        ) from error
    except OSError as error:
        raise AutotraceError(f"{path}: cannot be read: {error.strerror or error}.") from error


def compare(path: str, before: str, text: str) -> Page:
    """What writing a text would do."""
    if before == text:
        return Page(path, text, "same")
    return Page(path, text, "changed" if before else "new")


def write(pages: Mapping[str, Page]) -> None:
    """Write the pages that differ, each in one step.

    Raises:
        AutotraceError: one of them cannot be written.
    """
    for page in pages.values():
        if page.change == "same":
            continue
        try:
            replace_file(page.path, [page.text.encode("utf-8")])
        except OSError as error:
            raise AutotraceError(f"{page.path}: not written: {error.strerror or error}.") from error
