"""What the offline model can be told to do wrong, and to whom."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

FaultKind = Literal["retry", "swallowed", "unreadable", "timeout", "slow-agent"]
FAULT_KINDS: tuple[FaultKind, ...] = get_args(FaultKind)


@dataclass(frozen=True, slots=True)
class Fault:
    """One kind of misbehaviour towards one agent.

    - `retry`: in some rounds a request is refused once with 503 and then answered.
    - `swallowed`: each request is answered with 500.
    - `unreadable`: answers are prose around broken JSON, with status 200.
    - `timeout`: from the second round on, a request for work is never answered.
    - `slow-agent`: answers take several times longer.
    """

    kind: FaultKind
    agent_id: str
