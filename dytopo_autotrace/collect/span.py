"""The values that cross the borders: what a call left behind. Behaviour lives in functions around them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, Literal

from dytopo_autotrace.collect import clock

Status = Literal["in_progress", "success", "error", "cancelled"]

MISSING: Final = type("Missing", (), {"__slots__": (), "__repr__": lambda _: "<no value>"})()
"""The value of an expression that could not be evaluated."""


@dataclass(frozen=True, slots=True)
class Measurement:
    """A metric that each span of a site records, from values that it captured.

    `value` is the capture name of the number; `labels` are (label, capture name).
    """

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    value: str
    labels: tuple[tuple[str, str], ...] = ()
    help: str = ""
    buckets: tuple[float, ...] | None = None


Measured = tuple[str, str, float, tuple[tuple[str, str], ...]]
"""One measurement: metric, kind, value, labels."""


@dataclass(frozen=True, slots=True)
class Site:
    """What all spans of one woven function have in common, settled when it is woven.

    `entry` and `exit` name the values that a span captured, in order. A name is an attribute's,
    or one of the reserved ones below.
    """

    operation: str
    role: str = ""
    rule: str = ""
    entry: tuple[str, ...] = ()
    exit: tuple[str, ...] = ()
    measurements: tuple[Measurement, ...] = ()
    failed_if: str = ""
    max_length: int = 1024
    scope: str = ""
    """Name of the scope that each call opens or continues; its key is captured as `SCOPE`."""
    stall_after: float = 0.0
    """Seconds after which an open call is told of; 0 where the rule does not say."""
    observed: bool = False
    """Whether observers may have added something."""
    min_seconds: float = 0.0
    """Shorter calls that raised nothing, and below which nothing was watched, become no spans."""
    receives: bool = False
    """Whether `receives` among the captured values names agents whose output the call read."""
    awaits: bool = False
    """Whether its calls are those of a coroutine function, which go on only while their loop does."""


AGENT: Final = "\0agent"
"""Reserved capture name: the value is the span's agent."""
FAILED: Final = "\0failed"
"""Reserved capture name: a true value means that the call failed although it raised nothing."""
SCOPE: Final = "\0scope"
"""Reserved capture name: the value says which scope the call opens or continues."""
ON_START: Final = "\0on_start"
ON_END: Final = "\0on_end"
"""Reserved capture names: what a person's own observers added, as a dict of `attributes` and what was
`measured`."""
RECEIVES: Final = "receives"
"""Capture name of the agents whose output a call read."""
SCOPE_ROLE: Final = "scope"
"""Role of a span that no function call owns."""
NOT_CALLS: Final = frozenset({SCOPE_ROLE, "blocked"})
"""Roles of spans that no function call owns; callers and callees are those of the calls alone."""
RESERVED: Final = "\0"
"""Prefix of capture names that are not attributes."""


@dataclass(frozen=True, slots=True)
class ErrorInfo:
    """What is kept of an exception: never the exception itself, nor its traceback.

    A soft failure (`failed_if` held, nothing was raised) has `soft` set, no frames and identity 0.
    """

    type_name: str
    message: str
    module: str = ""
    frames: tuple[tuple[str, int, str], ...] = ()
    """(file, line, function) of the traceback, outermost first, cut to the innermost few."""
    identity: int = 0
    """`id()` of the exception: equal in spans that one exception crossed on its way up."""
    related: tuple[int, ...] = ()
    """Identities of its cause, its context and the members of a group."""
    soft: bool = False


class Span:
    """One call: private and mutable while open, never changed once finished and handed over.

    Ids are integers inside; `span_id`, `parent_id` and `trace_id` render them as lower-case hex.
    `start_ns` and `end_ns` are on the process's monotonic counter (see `clock`); `end_ns` is 0
    while the call runs.
    """

    __slots__ = (
        "_agent",
        "_measurements",
        "_metadata",
        "at_entry",
        "at_exit",
        "end_ns",
        "error",
        "id",
        "links",
        "parent",
        "site",
        "start_ns",
        "status",
        "trace",
    )

    def __init__(self, span_id: int, parent: int, trace: int, site: Site, start_ns: int) -> None:
        self.id = span_id
        self.parent = parent
        self.trace = trace
        self.site = site
        self.start_ns = start_ns
        self.end_ns = 0
        self.status: Status = "in_progress"
        self.at_entry: tuple[Any, ...] = ()
        self.at_exit: tuple[Any, ...] = ()
        self.error: ErrorInfo | None = None
        self.links: tuple[int, ...] = ()
        self._agent: str | None = None
        self._metadata: dict[str, Any] | None = None
        self._measurements: tuple[Measured, ...] | None = None

    @property
    def operation(self) -> str:
        return self.site.operation

    @property
    def role(self) -> str:
        return self.site.role

    @property
    def rule(self) -> str:
        return self.site.rule

    @property
    def agent(self) -> str:
        """The agent that the call belongs to, `""` if no rule says."""
        if self._agent is None:
            value = self.captured(AGENT)
            self._agent = "" if value is MISSING or value is None else str(value)
        return self._agent

    @agent.setter
    def agent(self, name: str) -> None:
        self._agent = name

    def captured(self, name: str) -> Any:
        """The value captured under a name, at exit if it was captured there, else at entry."""
        site = self.site
        for names, values in ((site.exit, self.at_exit), (site.entry, self.at_entry)):
            if name in names:
                index = names.index(name)
                if index < len(values):
                    return values[index]
        return MISSING

    @property
    def metadata(self) -> dict[str, Any]:
        """The captured attributes by name; those of a span opened by hand can be added to."""
        if self._metadata is None:
            self._metadata = {}
        if self.at_entry or self.at_exit:
            pairs = (
                *zip(self.site.entry, self.at_entry, strict=False),
                *zip(self.site.exit, self.at_exit, strict=False),
            )
            for name, value in pairs:
                if value is not MISSING and not name.startswith(RESERVED):
                    self._metadata.setdefault(name, value)
            for added in self._observed():
                for name, value in added["attributes"].items():
                    self._metadata.setdefault(name, value)
        return self._metadata

    @metadata.setter
    def metadata(self, values: dict[str, Any]) -> None:
        self._metadata = values

    @property
    def measurements(self) -> tuple[Measured, ...]:
        """What the rule's metrics measured: (metric, kind, value, labels); no value, no entry."""
        if self._measurements is None:
            self._measurements = tuple(
                (each.name, each.kind, value, self._labels(each))
                for each in self.site.measurements
                if isinstance(value := self.captured(each.value), int | float)
            )
            for added in self._observed():
                self._measurements += tuple(
                    (name, kind, value, tuple((label, text) for label, text in labels))
                    for name, kind, value, labels in added["measured"]
                )
        return self._measurements

    @measurements.setter
    def measurements(self, measured: tuple[Measured, ...]) -> None:
        self._measurements = measured

    def _observed(self) -> list[dict[str, Any]]:
        """What observers added to the call."""
        names = (*self.site.entry, *self.site.exit)
        if ON_START not in names and ON_END not in names:
            return []
        found = (self.captured(ON_START), self.captured(ON_END))
        return [added for added in found if isinstance(added, dict)]

    def _labels(self, measurement: Measurement) -> tuple[tuple[str, str], ...]:
        values = ((label, self.captured(slot)) for label, slot in measurement.labels)
        return tuple(
            (label, "" if value is MISSING or value is None else str(value))
            for label, value in values
        )

    @property
    def span_id(self) -> str:
        return f"{self.id:016x}"

    @property
    def parent_id(self) -> str | None:
        return f"{self.parent:016x}" if self.parent else None

    @property
    def trace_id(self) -> str:
        return f"{self.trace:032x}"

    @property
    def start_time(self) -> float:
        """Unix time in seconds."""
        return clock.unix_seconds(self.start_ns)

    @property
    def end_time(self) -> float | None:
        """Unix time in seconds, `None` while the call runs."""
        return clock.unix_seconds(self.end_ns) if self.end_ns else None

    @property
    def duration(self) -> float | None:
        """Seconds, `None` while the call runs."""
        return (self.end_ns - self.start_ns) / 1e9 if self.end_ns else None

    def finish(self, status: Status = "success", **metadata: Any) -> None:
        """End the span with a status; more metadata can be given along."""
        if metadata:
            self.metadata.update(metadata)
        self.status = status
        self.end_ns = max(clock.now_ns(), self.start_ns + 1)

    def to_dict(self) -> dict[str, Any]:
        """The classic form, fit for JSON: hex ids, Unix seconds, metadata."""
        return {
            "span_id": self.span_id,
            "parent_id": self.parent_id,
            "trace_id": self.trace_id,
            "operation": self.operation,
            "role": self.role,
            "agent": self.agent,
            "rule": self.rule,
            "start_time": self.start_time,
            "end_time": self.end_time,
            "duration": self.duration,
            "status": self.status,
            "metadata": self.metadata,
            "links": [f"{link:016x}" for link in self.links],
        }

    def __repr__(self) -> str:
        duration = self.duration
        took = "running" if duration is None else f"{duration * 1e3:.1f} ms"
        who = f" agent={self.agent}" if self.agent else ""
        return f"<Span {self.operation}{who} {self.status} {took} {self.span_id}>"


# A call that runs is a list: a list display is the cheapest thing that can be filled in later, a
# fifth of what making a `Span` costs. It begins as below and ends with the captured values, those of
# the entry first. It becomes a span, once and for good, when it is drained.
Record = list[Any]
ID, PARENT, TRACE, SITE, START_NS, END_NS, OUTCOME, LINKS, SPAN, VALUES = range(10)
"""Places in a record. `END_NS` is 0 while the call runs, and is set last. `OUTCOME` is None or
(status, ErrorInfo | None). `SPAN` is the span itself where the host holds it, None elsewhere."""

VOID: Final[tuple[Status, None]] = ("cancelled", None)
"""The outcome of a record that has ended without becoming a span: what it began never took place."""


UNWATCHED: Final = 1 << 128
"""The trace, beyond all that a trace can have for an id, of calls that are our own: not recorded."""


def from_record(record: Record) -> Span:
    """The span of a call, as it is now."""
    if record[SPAN] is not None:
        opened_by_hand: Span = record[SPAN]
        return opened_by_hand
    site: Site = record[SITE]
    span = Span(record[ID], record[PARENT], record[TRACE], site, record[START_NS])
    span.end_ns = record[END_NS]
    entries = VALUES + len(site.entry)
    span.at_entry = tuple(record[VALUES:entries])
    span.at_exit = tuple(record[entries:])
    span.links = record[LINKS] or ()
    if record[OUTCOME] is not None:
        span.status, span.error = record[OUTCOME]
    elif span.end_ns:
        span.status = "success"
    return span


def trace_anchor(trace: int) -> Record:
    """The place in a trace where no span is open: what its roots have for a parent."""
    return [0, 0, trace]
