"""What the manager and the workers are told."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from inference.llm_client import Message

from .models import AgentSpec, IncomingMessage, RoundRecord

MANAGER_SYSTEM = """\
You are the manager of a {domain} team. At the beginning of each round you read what the team did in
the last one, and either set one goal for the next round or end the work with the final answer.
Answer with one JSON object with the keys "goal" (string), "terminate" (true or false),
"reasoning" (string) and "final_answer" (string, empty unless you end the work)."""

WORKER_SYSTEM = """\
You are the {role} of a {domain} team. {mission}
Answer with one JSON object with the keys {keys}."""

DESCRIPTOR_KEYS = '"query" (what you need from others) and "key" (what you offer to others)'
WORK_KEYS = (
    '"query" (what you need from others), "key" (what you offer to others) '
    'and "work" (your contribution to the goal)'
)


def manager_messages(
    task: str,
    round_history: Sequence[RoundRecord],
    round_num: int,
    domain: str,
    agent_map: Mapping[str, AgentSpec],
    pre_context: str,
) -> list[Message]:
    """The conversation in which the manager decides about a round."""
    team = "\n".join(f"- {agent.role}: {agent.mission}" for agent in agent_map.values())
    sections = [f"Task: {task}\nRound: {round_num}\nTeam:\n{team}"]
    if pre_context:
        sections.append(pre_context)
    if round_history:
        last = round_history[-1]
        sections.append(f"Goal of the last round: {last.goal}")
        sections += [
            f"## Work of {agent_id}\n{last.outputs[agent_id].work}"
            if agent_id in last.outputs
            else f"## Work of {agent_id}\n(none)"
            for agent_id in agent_map
        ]
    return _conversation(MANAGER_SYSTEM.format(domain=domain), sections)


def worker_messages(
    agent: AgentSpec,
    round_goal: str,
    task: str,
    incoming_messages: Sequence[IncomingMessage],
    domain: str,
    *,
    descriptor_only: bool,
) -> list[Message]:
    """The conversation in which a worker describes itself and, unless spared, works."""
    system = WORKER_SYSTEM.format(
        role=agent.role,
        domain=domain,
        mission=agent.mission,
        keys=DESCRIPTOR_KEYS if descriptor_only else WORK_KEYS,
    )
    sections = [f"Task: {task}\nGoal of this round: {round_goal}"]
    sections += [
        f"## From {message['agent_id']}\n{message['content']}" for message in incoming_messages
    ]
    return _conversation(system, sections)


def _conversation(system: str, sections: Sequence[str]) -> list[Message]:
    return [
        {"role": "system", "content": system},
        {"role": "user", "content": "\n\n".join(sections)},
    ]
