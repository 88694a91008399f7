"""When a swarm should stop by itself, and what its members cost."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from difflib import SequenceMatcher

from .models import AgentMetrics, RoundRecord

CONVERGENCE_THRESHOLD = 0.95


def detect_convergence(
    round_history: Sequence[RoundRecord], threshold: float = CONVERGENCE_THRESHOLD
) -> tuple[bool, float]:
    """Whether the last two rounds said the same.

    Returns:
        The verdict, and the mean similarity (0 to 1) of what each agent said in both rounds.
    """
    if len(round_history) < 2:
        return False, 0.0
    before, after = (record.outputs for record in round_history[-2:])
    similarities = [
        SequenceMatcher(None, before[agent_id].work, after[agent_id].work, autojunk=False).ratio()
        for agent_id in after
        if agent_id in before
    ]
    if not similarities:
        return False, 0.0
    mean = sum(similarities) / len(similarities)
    return mean >= threshold, mean


async def update_agent_metrics(
    agent_metrics: dict[str, AgentMetrics], agent_id: str, tokens: int
) -> None:
    """Add one call to what the agent has cost; a coroutine, since a shared store may wait."""
    so_far = agent_metrics.get(agent_id, AgentMetrics())
    agent_metrics[agent_id] = replace(so_far, calls=so_far.calls + 1, tokens=so_far.tokens + tokens)
