"""What analysis found out: frozen values, all of them fit for JSON through `to_json`."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Any, Literal

Kind = Literal["error", "soft", "timeout"]
"""What failed: an exception, a result that a rule calls a failure, or time that ran out."""

Fate = Literal["retry", "fallback", "swallowed", "raised", "returned", "interrupted", "unsettled"]
"""What became of a failure.

`retry`: a later call of the same operation and agent succeeded. `fallback`: another operation did
the work instead. `swallowed`: a caller returned normally with nothing of the kind. `raised`: it left
the outermost watched call. `returned`: a failed result left the outermost watched call.
`interrupted`: the caller was cancelled before it could react. `unsettled`: the caller still runs.
"""

RESCUED: frozenset[str] = frozenset({"retry", "fallback"})
"""The fates after which the work was done all the same."""

Priority = Literal["high", "medium", "low"]
Level = Literal["failed", "degraded", "recovered", "healthy", "empty"]


@dataclass(frozen=True, slots=True)
class Place:
    """One span, by the names a person knows it by. `agent` and `round` may be an ancestor's."""

    operation: str
    role: str
    agent: str
    round: str
    span_id: str
    trace_id: str


@dataclass(frozen=True, slots=True)
class Culprit:
    """A span that was still running when its caller's time was up, and how long it had run."""

    place: Place
    ran_seconds: float


@dataclass(frozen=True, slots=True)
class Failure:
    """One failure with one origin, however many calls it crossed and however often it was tried."""

    kind: Kind
    certain: bool
    """False when a call was cancelled while its caller went on: a timeout, or the caller's wish."""
    error_type: str
    message: str
    surface_type: str
    """The type under which it was last seen; differs from `error_type` when it was wrapped."""
    frame: tuple[str, int, str] | None
    """(file, line, function) where it was raised, if a traceback was kept."""
    origin: Place
    path: tuple[str, ...]
    """Operations from the outermost call to the origin, of a timeout to what was running then.

    `...` stands for those left out.
    """
    passed_through: tuple[Place, ...]
    """Spans that the exception crossed on its way up, innermost first, the first 32 of `crossed`."""
    crossed: int
    attempts: int
    """Calls made in all: failed ones, plus the one that succeeded if the fate is `retry`."""
    fate: Fate
    assumed: bool
    """What followed is taken for another attempt or a fallback; it may as well be the next step."""
    rescuer: Place | None
    """The call that succeeded, for `retry` and `fallback`."""
    followed_by: Place | None
    """Of what was not made good: a call of the same operation by another agent that succeeded next."""
    rescued_after_seconds: float | None
    """From the end of the first failed attempt to the end of the rescuer."""
    handled_by: Place | None
    """The span that caught it and so ended its way up; it returned normally unless told otherwise."""
    handler_failed: bool
    """The span that caught it failed later, of something else."""
    effect: Place | None
    """The span whose failed result was the visible sign of it."""
    effect_message: str
    culprits: tuple[Culprit, ...]
    """Of a timeout: what was running, longest first."""
    cut_off: Culprit | None
    """The outermost call that was cut off, and how long it had run; None if nothing was cut off."""
    agents: tuple[str, ...]
    round: str
    at_seconds: float
    """When the first attempt failed, since the first span began."""
    lost_seconds: float
    """From the start of the first attempt to the end of the last failed one."""
    recovery_seconds: float | None
    """Of what was made good: from the start of the first attempt to that of the call that succeeded."""
    recovery_tokens: float | None
    """Of what was made good: tokens of the failed attempts; None if no call tells of tokens."""
    operation_calls: int
    operation_successes: int
    """Of all calls of the origin's operation by the same agent in the records."""
    model: str
    """The model that was asked, if that was captured when the call began."""
    rescuer_model: str
    """Of a fallback to another model: that one, else `""`."""
    model_calls: int
    model_successes: int
    """Of the calls of that operation that asked that model, by any agent."""
    rule: str
    """The rule that the origin was recorded by."""
    returned: str
    """Of a failed result: the text of it, if its rule captures any."""
    readers: int
    """Of a failed result: later calls that read it."""
    of_answer: bool
    """A model's answer was there to be read: it is a model's call, or one succeeded in it."""
    slowest_success_seconds: float | None
    """The slowest call of that operation (of a timeout, the culprit's) that succeeded, by any agent."""

    @property
    def rescued(self) -> bool:
        return self.fate in RESCUED


@dataclass(frozen=True, slots=True)
class Cancellation:
    """A call cancelled for a reason that is no failure of its own."""

    place: Place
    ran_seconds: float
    reason: str


@dataclass(frozen=True, slots=True)
class DeadAgent:
    """An agent of whose calls not one succeeded."""

    agent: str
    role: str
    calls: int
    """Those that came to an end: not those that still ran, or were cancelled for no fault of theirs."""
    unsettled: int
    """The others."""
    returned: int
    """Those of its calls that returned normally, although each of their model calls had failed."""
    rounds: tuple[str, ...]
    error_type: str
    message: str


@dataclass(frozen=True, slots=True)
class Outcomes:
    """Everything that went wrong in the records, and what became of it."""

    failures: tuple[Failure, ...]
    dead_agents: tuple[DeadAgent, ...]
    cancellations: tuple[Cancellation, ...]


@dataclass(frozen=True, slots=True)
class FailureGroup:
    """Failures that tell the same story, told once, in words."""

    first: Failure
    count: int
    agents: tuple[tuple[str, int], ...]
    """Agent and how many of the failures were its own."""
    rounds: tuple[str, ...]
    dead_agents: tuple[DeadAgent, ...]
    """Agents that this is the cause of death of."""
    ambient: bool
    """It touched no agent and no step of the swarm's work, and nobody minded."""
    headline: str
    cause: str
    where: str
    became: str
    remedy: str
    recovery_seconds: float | None
    """What making it good took, of all these failures added up; None if it was not made good."""
    recovery_tokens: float | None
    recurring: int = 0
    """How many earlier runs of the program were looked at, if every one of them had it; else 0."""


@dataclass(frozen=True, slots=True)
class AgentRow:
    """One line of the agent table; `timing.agent_rows` says which spans form a row."""

    role: str
    name: str
    """The agent; for spans without a role, the operation."""
    calls: int
    spans: int
    total_seconds: float
    p50_seconds: float
    p95_seconds: float
    p99_seconds: float
    errors: int
    """Failed spans, without those that failed like one of the row below them."""
    cancelled: int
    running: int
    tokens: float | None


@dataclass(frozen=True, slots=True)
class OperationRow:
    """Where time went: the own time of one operation of one agent, while none of its children ran."""

    operation: str
    role: str
    agent: str
    calls: int
    own_seconds: float
    longest_seconds: float
    share: float
    """Of all own time."""


@dataclass(frozen=True, slots=True)
class SlowAgent:
    """An agent that is slower than its peers of the same role and that the others wait for."""

    agent: str
    role: str
    calls: int
    p50_seconds: float
    peers_p50_seconds: float
    peers: int
    ratio: float
    last_calls: int
    """Calls during which every peer that ran beside it finished first."""
    alone_calls: int
    """Calls beside which no peer ran at all."""
    waited_seconds: float
    """Time in which those that ran beside it had finished and it had not."""
    alone_seconds: float
    """Time of its calls beside which no peer ran."""
    rounds: tuple[str, ...]
    """Rounds in which a call of its took as many times its peers' median as makes it slow."""
    spent_in: str
    """The operation in which it spent most of its own time."""
    spent_share: float
    """Of all its own time."""


@dataclass(frozen=True, slots=True)
class LongPole:
    """A single call of more than ten seconds that spent most of them in itself."""

    place: Place
    seconds: float
    own_seconds: float
    running: bool


@dataclass(frozen=True, slots=True)
class Recommendation:
    """Something to do, with the numbers that say why."""

    priority: Priority
    category: str
    message: str
    saved_seconds: float | None = None
    """Predicted by replay, see `what_if`; None where nothing was predicted."""
    sureness: str = ""
    evidence: tuple[str, ...] = ()
    """Ids of the spans that say so."""
    from_replay: bool = False
    """Whether a prediction is all that it is."""
    slow_agent: str = ""
    """The agent that it is about, if that it is slow is the reason."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """The one line that is read first."""

    level: Level
    text: str


def to_json(finding: Any) -> Any:
    """A finding as plain dicts, lists, strings and numbers; numbers that JSON lacks become null."""
    if dataclasses.is_dataclass(finding) and not isinstance(finding, type):
        return {
            field.name: to_json(getattr(finding, field.name))
            for field in dataclasses.fields(finding)
        }
    if isinstance(finding, dict):
        return {str(key): to_json(value) for key, value in finding.items()}
    if isinstance(finding, (list, tuple, set, frozenset)):
        return [to_json(value) for value in finding]
    if isinstance(finding, float) and not math.isfinite(finding):
        return None
    return finding
