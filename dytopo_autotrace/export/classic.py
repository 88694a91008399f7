"""The classic JSON forms of traces, metrics and failures."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet
from typing import TYPE_CHECKING, Any, Final, Protocol

from dytopo_autotrace.export import replace_file

if TYPE_CHECKING:
    import os

    from dytopo_autotrace.collect.series import MetricPoint
    from dytopo_autotrace.collect.span import Span

LONGEST_REPR: Final = 1024
"""Characters kept of a value that JSON has no form for."""
DEEPEST: Final = 100
"""Levels of nesting kept; whatever is deeper is written as its repr."""


class Record(Protocol):
    """Anything that gives its own classic form."""

    def to_dict(self) -> dict[str, Any]: ...


def trace(spans: Iterable[Span]) -> dict[str, Any]:
    """One trace by start time. Its end and duration are those of the spans that have finished."""
    ordered = sorted(spans, key=lambda span: span.start_ns)
    end = max((span for span in ordered if span.end_ns), key=lambda span: span.end_ns, default=None)
    return {
        "trace_id": ordered[0].trace_id if ordered else None,
        "total_spans": len(ordered),
        "start_time": ordered[0].start_time if ordered else None,
        "end_time": end.end_time if end else None,
        "total_duration": (end.end_ns - ordered[0].start_ns) / 1e9 if end else None,
        "spans": [span.to_dict() for span in ordered],
    }


def metrics(
    points: Iterable[MetricPoint],
    retention_hours: float,
    losses: Mapping[str, int] | None = None,
) -> dict[str, Any]:
    """Points as they are, and how many were lost, by reason."""
    found = [
        {
            "name": point.name,
            "value": point.value,
            "timestamp": point.timestamp,
            "labels": point.labels,
        }
        for point in points
    ]
    return {
        "total_metrics": len(found),
        "retention_hours": retention_hours,
        "losses": dict(losses or {}),
        "metrics": found,
    }


def failures(records: Iterable[Record]) -> dict[str, Any]:
    """Failure records as they are."""
    found = [record.to_dict() for record in records]
    return {"total_failures": len(found), "failures": found}


def write_json(path: str | os.PathLike[str], data: object) -> None:
    """Write any value to a JSON file (see `replace_file`); a value never makes it raise.

    What JSON has no form for becomes its repr, cut. Numbers that are not finite become the strings
    "NaN", "Infinity" and "-Infinity": null would say that there was no value.
    """
    try:
        text = json.dumps(data, ensure_ascii=False, allow_nan=False, indent=2, default=_plain)
    except Exception:
        text = json.dumps(_plain(data), ensure_ascii=False, allow_nan=False, indent=2)
    # Half a surrogate pair has no UTF-8 form, and its backslash escape is the one that JSON reads.
    replace_file(path, text.encode("utf-8", "backslashreplace") + b"\n")


def _plain(value: object, inside: tuple[int, ...] = ()) -> Any:
    """The value in types that JSON has, `inside` being the identities of what contains it."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, float):
        return _finite(float.__float__(value))
    if isinstance(value, int):
        # Python refuses to write, or read back, integers of more than 4300 digits.
        return int.__index__(value) if int.bit_length(value) < 4096 else _clamped(hex, value)
    if id(value) in inside:
        return "<contains itself>"
    if len(inside) < DEEPEST:
        within = (*inside, id(value))
        try:
            if isinstance(value, Mapping):
                return {_key(key): _plain(item, within) for key, item in value.items()}
            if isinstance(value, (list, tuple)):
                return [_plain(item, within) for item in value]
            if isinstance(value, AbstractSet):
                return [_plain(item, within) for item in sorted(value, key=_repr)]
        except Exception:
            return f"<{type(value).__name__}>"
    return _repr(value)


def _key(key: object) -> str:
    plain = _plain(key) if key is None or isinstance(key, (str, int, float)) else _repr(key)
    return plain if isinstance(plain, str) else json.dumps(plain)


def _finite(value: float) -> float | str:
    if math.isfinite(value):
        return value
    if math.isnan(value):
        return "NaN"
    return "Infinity" if value > 0 else "-Infinity"


def _repr(value: object) -> str:
    return _clamped(repr, value)


def _clamped(form: Any, value: object) -> str:
    try:
        text = str.__str__(form(value))
    except Exception:
        text = f"<{type(value).__name__}>"
    return text if len(text) <= LONGEST_REPR else text[: LONGEST_REPR - 1] + "…"
