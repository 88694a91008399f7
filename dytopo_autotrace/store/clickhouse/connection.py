"""What a writer or a reader asks of ClickHouse, whichever way it is reached."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, Protocol

from dytopo_autotrace.store.model import StoreBusy, StoreLost

EXTRA: Final = "pip install 'dytopo-autotrace[{}]'"

_REFUSED: Final = frozenset({192, 193, 194, 497, 516})
_REMOVED: Final = frozenset({60, 81})
_FULL: Final = frozenset({243})
_OVERLOADED: Final = frozenset({159, 160, 202, 209, 210, 241, 252, 319, 439})
_LOCKED: Final = frozenset({76})


class Connection(Protocol):
    """Every method raises `StoreBusy` or `StoreLost`, or `Rejected` for what ClickHouse will not do."""

    def query(self, sql: str, values: Mapping[str, Any] | None = None) -> list[dict[str, Any]]:
        """The rows of an answer, by the names of its columns."""

    def command(self, sql: str, values: Mapping[str, Any] | None = None) -> None:
        """Do something that has no answer."""

    def insert(self, table: str, columns: Sequence[str], rows: bytes) -> None:
        """Write rows (see `lines`), all of them or none; they are there when this returns."""

    def rest(self) -> None:
        """Hold nothing open until the next call."""

    def close(self) -> None:
        """Let go; never raises."""

    def abandon(self) -> None:
        """In a forked child: forget what is the parent's without touching it."""


class Rejected(Exception):  # noqa: N818 - an answer
    """ClickHouse understood and said no: the fault is in what was asked."""


def refusal(code: int | None, detail: str) -> Exception:
    """What to raise for an error of ClickHouse, by its number; None for one without.

    https://github.com/ClickHouse/ClickHouse/blob/master/src/Common/ErrorCodes.cpp
    """
    if code is None:
        return StoreBusy("store_unreachable", detail)
    if code in _REFUSED:
        return StoreLost("store_refused", detail)
    if code in _REMOVED:
        return StoreBusy("store_removed", detail)
    if code in _FULL:
        return StoreBusy("store_full", detail)
    if code in _LOCKED:
        return StoreBusy("store_locked", detail)
    if code in _OVERLOADED:
        return StoreBusy("store_overloaded", detail)
    return Rejected(detail)
