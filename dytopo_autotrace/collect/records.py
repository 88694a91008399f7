"""All that one run left behind, as plain values that travel to another process as JSON.

The watched process writes it, the process that renders the report reads it; neither needs the
other's imports. Times travel as Unix nanoseconds, so the reader's clock makes sense of them.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal, get_args

from dytopo_autotrace.collect import clock
from dytopo_autotrace.collect.span import ErrorInfo, Site, Span, Status

RuleCondition = Literal[
    "woven", "never_imported", "never_called", "nothing_matched", "refused", "failed", "off"
]

RUN_FILE: Final = "run.json"
"""What `--out` calls the records of a run in its directory."""
_DEEPEST: Final = 8
"""Levels of nesting kept of a captured value."""


@dataclass(frozen=True, slots=True)
class RuleState:
    """What became of one rule in this run.

    `origin` begins with `pack` for a rule that ships with the package.
    """

    name: str
    target: str
    origin: str
    state: RuleCondition
    woven: int = 0
    calls: int = 0
    reason: str = ""
    """Why it is not woven, or not everywhere that it names."""
    left_out: str = ""
    """Which of its calls are none of these, as the rule itself says."""


@dataclass(frozen=True, slots=True)
class ModelPrice:
    """What a million tokens of a model cost, as the rule file says; `model` may have `*` and `?`."""

    model: str
    input: float
    output: float
    cached: float | None = None
    """Of tokens read from a cache; None if they cost what others cost."""


@dataclass(frozen=True, slots=True)
class Cost:
    """What watching cost: calls recorded, and seconds per call as calibrated in that process.

    `drain_seconds` is what the background thread spent on the records.
    """

    calls: int
    seconds_per_call: float
    drain_seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class RunRecords:
    """One run of the watched program.

    `ended` is `returned`, `SystemExit`, `KeyboardInterrupt` or the type of the exception that
    ended the program; `died` or `running` if it did not say, `""` if that is not known. `now_ns` is the moment on the span clock up to which open spans are measured.
    """

    service: str = ""
    argv: tuple[str, ...] = ()
    started_unix_ns: int = 0
    wall_seconds: float = 0.0
    exit_status: int | None = None
    ended: str = "returned"
    ended_message: str = ""
    now_ns: int = 0
    spans: tuple[Span, ...] = ()
    prices: tuple[ModelPrice, ...] = ()
    rules: tuple[RuleState, ...] = ()
    drops: Mapping[str, int] = field(default_factory=dict)
    cost: Cost | None = None
    faults: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()


def records_to_json(records: RunRecords) -> str:
    """The records as one line of ASCII."""
    return json.dumps(
        {
            "service": records.service,
            "argv": list(records.argv),
            "started_unix_ns": records.started_unix_ns,
            "wall_seconds": _plain(records.wall_seconds),
            "exit_status": records.exit_status,
            "ended": records.ended,
            "ended_message": records.ended_message,
            "now_unix_ns": clock.unix_ns(records.now_ns),
            "spans": [_span_to_plain(span) for span in records.spans],
            "prices": [[p.model, p.input, p.output, p.cached] for p in records.prices],
            "rules": [
                {
                    "name": rule.name,
                    "target": rule.target,
                    "origin": rule.origin,
                    "state": rule.state,
                    "woven": rule.woven,
                    "calls": rule.calls,
                    "reason": rule.reason,
                    "left_out": rule.left_out,
                }
                for rule in records.rules
            ],
            "drops": dict(records.drops),
            "cost": _cost_to_plain(records.cost),
            "faults": list(records.faults),
            "remarks": list(records.remarks),
        },
        separators=(",", ":"),
    )


def records_from_json(text: str) -> RunRecords:
    """The records that `records_to_json` wrote; keys that are missing take their defaults.

    Raises `ValueError` when the text is not such a document at all.
    """
    document = json.loads(text)
    if not isinstance(document, dict):
        raise ValueError(  # noqa: TRY004 - for the caller it is one fault: not our document
            f"Run records are a JSON object, not {type(document).__name__}. "
            "Pass what records_to_json wrote."
        )
    try:
        return _records_from(document)
    except (KeyError, TypeError, AttributeError, IndexError) as fault:
        raise ValueError(
            f"Run records are damaged: {type(fault).__name__}: {fault}. "
            "Pass what records_to_json of the same version wrote."
        ) from fault


def _records_from(document: dict[str, Any]) -> RunRecords:
    sites: dict[tuple[Any, ...], Site] = {}
    cost = document.get("cost")
    now = document.get("now_unix_ns")
    return RunRecords(
        service=str(document.get("service", "")),
        argv=tuple(str(word) for word in document.get("argv", ())),
        started_unix_ns=int(document.get("started_unix_ns", 0)),
        wall_seconds=float(document.get("wall_seconds") or 0.0),
        exit_status=document.get("exit_status"),
        ended=str(document.get("ended", "returned")),
        ended_message=str(document.get("ended_message", "")),
        now_ns=clock.counter_ns(now) if now is not None else clock.now_ns(),
        spans=tuple(_span_from_plain(plain, sites) for plain in document.get("spans", ())),
        prices=tuple(ModelPrice(*each) for each in document.get("prices", ())),
        rules=tuple(RuleState(**rule) for rule in document.get("rules", ())),
        drops={str(reason): int(count) for reason, count in document.get("drops", {}).items()},
        cost=Cost(*cost) if cost else None,
        faults=tuple(str(fault) for fault in document.get("faults", ())),
        remarks=tuple(str(remark) for remark in document.get("remarks", ())),
    )


def _cost_to_plain(cost: Cost | None) -> list[float] | None:
    return None if cost is None else [cost.calls, cost.seconds_per_call, cost.drain_seconds]


def _span_to_plain(span: Span) -> dict[str, Any]:
    plain: dict[str, Any] = {
        "id": f"{span.id:x}",
        "trace": f"{span.trace:x}",
        "operation": span.operation,
        "start": clock.unix_ns(span.start_ns),
        "status": span.status,
    }
    # Most spans are short of most of these; leaving them out halves what goes through the pipe.
    if span.parent:
        plain["parent"] = f"{span.parent:x}"
    if span.end_ns:
        plain["end"] = clock.unix_ns(span.end_ns)
    named = (("role", span.role), ("agent", span.agent), ("rule", span.rule))
    plain.update((key, text) for key, text in named if text)
    if metadata := span.metadata:
        plain["metadata"] = _plain(metadata)
        if span.site.entry or span.site.exit:
            # What a call was asked is compared with what others were, its answer is not.
            plain["asked"] = [name for name in span.site.entry if name in metadata]
    if measured := span.measurements:
        plain["measured"] = [
            [name, kind, _plain(value), [list(label) for label in labels]]
            for name, kind, value, labels in measured
        ]
    if span.links:
        plain["links"] = [f"{link:x}" for link in span.links]
    if (error := span.error) is not None:
        plain["error"] = {
            "type": error.type_name,
            "message": error.message,
            "module": error.module,
            "frames": [list(frame) for frame in error.frames],
            "identity": error.identity,
            "related": list(error.related),
            "soft": error.soft,
        }
    return plain


def _span_from_plain(plain: dict[str, Any], sites: dict[tuple[Any, ...], Site]) -> Span:
    metadata = plain.get("metadata", {})
    asked = plain.get("asked")
    at_entry = () if asked is None else tuple(str(name) for name in asked if name in metadata)
    at_exit = () if asked is None else tuple(name for name in metadata if name not in at_entry)
    key = (plain["operation"], plain.get("role", ""), plain.get("rule", ""), at_entry, at_exit)
    site = sites.get(key)
    if site is None:
        site = sites[key] = Site(*key)
    span = Span(
        int(plain["id"], 16),
        int(plain.get("parent", "0"), 16),
        int(plain["trace"], 16),
        site,
        clock.counter_ns(plain["start"]),
    )
    end = plain.get("end")
    span.end_ns = clock.counter_ns(end) if end is not None else 0
    span.status = _status(plain.get("status"))
    span.agent = plain.get("agent", "")
    span.at_entry = tuple(metadata[name] for name in at_entry)
    span.at_exit = tuple(metadata[name] for name in at_exit)
    span.metadata = metadata
    span.measurements = tuple(
        (str(name), str(kind), float(value), tuple((str(k), str(v)) for k, v in labels))
        for name, kind, value, labels in plain.get("measured", ())
    )
    span.links = tuple(int(link, 16) for link in plain.get("links", ()))
    if (error := plain.get("error")) is not None:
        span.error = ErrorInfo(
            type_name=error["type"],
            message=error["message"],
            module=error.get("module", ""),
            frames=tuple((str(f), int(n), str(w)) for f, n, w in error.get("frames", ())),
            identity=error.get("identity", 0),
            related=tuple(error.get("related", ())),
            soft=bool(error.get("soft")),
        )
    return span


def _status(value: Any) -> Status:
    return value if value in get_args(Status) else "in_progress"


def _plain(value: Any, depth: int = 0) -> Any:
    """A captured value as JSON can carry it: what it cannot carry becomes text."""
    if value is None or isinstance(value, (bool, str)):
        return value
    if isinstance(value, int):
        # Python refuses to print very long integers, and other readers of JSON lose such digits.
        return int(value) if -(2**63) <= value < 2**63 else hex(value)
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else str(float(value))
    if depth < _DEEPEST:
        if isinstance(value, Mapping):
            return {_text(key): _plain(each, depth + 1) for key, each in value.items()}
        if isinstance(value, (list, tuple, set, frozenset)):
            return [_plain(each, depth + 1) for each in value]
    return _text(value)


def _text(value: Any) -> str:
    try:
        return str(value)
    except Exception:
        return f"<{type(value).__name__} that cannot be shown>"
