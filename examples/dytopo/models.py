"""The values that the parts of a swarm hand to each other."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, TypedDict

from inference.llm_client import InferenceClient

Edge = tuple[str, str, float]
"""Source, target, similarity: what the source offers is what the target needs."""

Vector = list[float]
Matrix = list[Vector]
Embedder = Callable[[Sequence[str]], Matrix]

Status = Literal["pending", "running", "completed", "failed"]
TerminationReason = Literal["", "manager_halt", "converged", "max_rounds"]


@dataclass(frozen=True, slots=True)
class AgentSpec:
    """A member of the team.

    Attributes:
        role: what the agent is in the team; two agents may share a role.
        mission: what it is told to do.
        needs: its query when it cannot state one.
        offers: its key when it cannot state one.
    """

    agent_id: str
    role: str
    mission: str
    needs: str
    offers: str


@dataclass(frozen=True, slots=True)
class AgentDescriptor:
    """What an agent says in one call.

    Attributes:
        key: what it offers to others.
        query: what it needs from others.
        work: its contribution; empty if it was asked for a descriptor only.
    """

    key: str
    query: str
    work: str = ""


class IncomingMessage(TypedDict):
    """The work of another agent, on its way to a reader."""

    agent_id: str
    role: str
    content: str


@dataclass(frozen=True, slots=True)
class ManagerDecision:
    """The manager's word at the beginning of a round: the next goal, or the end."""

    goal: str
    terminate: bool
    reasoning: str
    final_answer: str


@dataclass(frozen=True, slots=True)
class RoundRecord:
    """What happened in one round.

    Attributes:
        number: counted from 1.
        edges: along which work was sent; none in the broadcast of the first round.
        tiers: who worked side by side, in order.
        outputs: by agent id; an agent that gave none in time is missing.
    """

    number: int
    goal: str
    edges: Sequence[Edge]
    tiers: Sequence[Sequence[str]]
    outputs: Mapping[str, AgentDescriptor]


@dataclass(frozen=True, slots=True)
class AgentMetrics:
    """What one worker has cost so far."""

    calls: int = 0
    tokens: int = 0


@dataclass(frozen=True, slots=True)
class SwarmConfig:
    """How a swarm reaches its model and how long it waits.

    Attributes:
        worker_timeout_s: seconds for one call of a worker, waiting for a free slot included.
    """

    client: InferenceClient
    embed: Embedder
    worker_timeout_s: float = 120.0
    temperature: float = 0.3
    max_tokens: int = 1024


@dataclass(slots=True)
class SwarmTask:
    """A task for a team, and what has become of it.

    Attributes:
        T_max: rounds at most.
        tau: the similarity from which on an offer meets a need.
        K_in: agents at most that one agent reads in a round.
    """

    task_id: str
    task: str
    domain: str
    agents: Sequence[AgentSpec]
    config: SwarmConfig
    T_max: int = 5
    tau: float = 0.3
    K_in: int = 2
    status: Status = "pending"
    rounds: list[RoundRecord] = field(default_factory=list)
    termination_reason: TerminationReason = ""
    final_answer: str = ""
    total_tokens: int = 0
    total_llm_calls: int = 0
    agent_metrics: dict[str, AgentMetrics] = field(default_factory=dict)
