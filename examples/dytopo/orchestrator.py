"""The rounds of a swarm: the manager sets a goal, the workers are routed to each other and work."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from typing import Any

from inference.llm_client import CompletionResult, Message

from .agents import MANAGER_ID
from .governance import detect_convergence, update_agent_metrics
from .graph import Graph, break_cycles, build_execution_graph, get_execution_tiers
from .models import (
    AgentDescriptor,
    AgentSpec,
    Edge,
    IncomingMessage,
    ManagerDecision,
    RoundRecord,
    SwarmConfig,
    SwarmTask,
)
from .prompts import manager_messages, worker_messages
from .router import build_routing_result

KEY_CHARS = 80

OnProgress = Callable[[str, Mapping[str, Any]], Awaitable[None]]

logger = logging.getLogger(__name__)


async def run_swarm(swarm: SwarmTask, on_progress: OnProgress | None = None) -> SwarmTask:
    """Work on the task until the manager ends it, nothing new is said, or T_max is reached.

    A worker that fails or takes too long costs its own contribution, never the run.

    Args:
        swarm: changed in place and returned.
        on_progress: awaited with the name of an event and its details.

    Raises:
        InferenceError: the manager got no answer.
    """
    config = swarm.config
    agent_map = {agent.agent_id: agent for agent in swarm.agents}
    agent_ids = list(agent_map)

    async def progress(event: str, **details: Any) -> None:
        if on_progress is not None:
            await on_progress(event, details)

    async def ask(
        agent: AgentSpec,
        goal: str,
        messages: Sequence[IncomingMessage],
        *,
        descriptor_only: bool = False,
    ) -> AgentDescriptor:
        swarm.total_llm_calls += 1
        descriptor, tokens = await _call_worker(
            agent, goal, swarm.task, messages, swarm.domain, config, descriptor_only
        )
        swarm.total_tokens += tokens
        await update_agent_metrics(swarm.agent_metrics, agent.agent_id, tokens)
        return descriptor

    async def _broadcast_agent(agent: AgentSpec, goal: str) -> AgentDescriptor:
        return await ask(agent, goal, [])

    async def _gen_descriptor(agent: AgentSpec, goal: str) -> AgentDescriptor:
        return await ask(agent, goal, [], descriptor_only=True)

    async def _exec_agent(
        agent: AgentSpec, goal: str, messages: Sequence[IncomingMessage]
    ) -> AgentDescriptor:
        return await ask(agent, goal, messages)

    swarm.status = "running"
    swarm.termination_reason = "max_rounds"
    try:
        for round_num in range(1, swarm.T_max + 1):
            swarm.total_llm_calls += 1
            decision, tokens = await _call_manager(
                swarm.task,
                swarm.rounds,
                round_num,
                swarm.domain,
                agent_map,
                config,
                pre_context=f"Tokens spent so far: {swarm.total_tokens}",
            )
            swarm.total_tokens += tokens
            if decision.terminate:
                swarm.termination_reason = "manager_halt"
                swarm.final_answer = decision.final_answer
                break
            goal = decision.goal
            await progress("round_started", number=round_num, goal=goal)

            if round_num == 1:
                graph = build_execution_graph([], agent_ids)
                tiers = [agent_ids]
                outputs = await _gather_in_time(
                    {agent.agent_id: _broadcast_agent(agent, goal) for agent in swarm.agents},
                    config.worker_timeout_s,
                )
            else:
                descriptors = await _gather_in_time(
                    {agent.agent_id: _gen_descriptor(agent, goal) for agent in swarm.agents},
                    config.worker_timeout_s,
                )
                routing = build_routing_result(
                    list(descriptors), descriptors, swarm.tau, swarm.K_in, config.embed
                )
                graph = break_cycles(build_execution_graph(routing["edges"], agent_ids))
                tiers = get_execution_tiers(graph, agent_ids)
                await progress("routed", number=round_num, edges=_edges_of(graph), tiers=tiers)

                outputs = {}
                for tier in tiers:
                    calls = {
                        agent_id: _exec_agent(
                            agent_map[agent_id],
                            goal,
                            _messages_for(agent_id, graph, outputs, agent_map),
                        )
                        for agent_id in tier
                    }
                    outputs |= await _gather_in_time(calls, config.worker_timeout_s)

            swarm.rounds.append(RoundRecord(round_num, goal, _edges_of(graph), tiers, outputs))
            await progress("round_finished", number=round_num, outputs=outputs)

            has_converged, _ = detect_convergence(swarm.rounds)
            if has_converged:
                swarm.termination_reason = "converged"
                break
    except BaseException:
        swarm.status = "failed"
        raise

    swarm.final_answer = swarm.final_answer or _last_word(swarm.rounds)
    swarm.status = "completed"
    await progress("finished", reason=swarm.termination_reason)
    return swarm


async def _call_manager(
    task: str,
    round_history: Sequence[RoundRecord],
    round_num: int,
    domain: str,
    agent_map: Mapping[str, AgentSpec],
    config: SwarmConfig,
    pre_context: str = "",
) -> tuple[ManagerDecision, int]:
    """Let the manager set the goal of a round or end the run; also returns the tokens spent.

    An unreadable decision keeps the team at the goal it has.
    """
    answer = await _llm_call(
        manager_messages(task, round_history, round_num, domain, agent_map, pre_context),
        config=config,
        agent_id=MANAGER_ID,
    )
    parsed = answer["parsed"]
    decision = ManagerDecision(
        goal=str(parsed.get("goal") or (round_history[-1].goal if round_history else task)),
        terminate=parsed.get("terminate") is True,
        reasoning=str(parsed.get("reasoning", "")),
        final_answer=str(parsed.get("final_answer", "")),
    )
    return decision, answer["tokens_in"] + answer["tokens_out"]


async def _call_worker(
    agent: AgentSpec,
    round_goal: str,
    task: str,
    incoming_messages: Sequence[IncomingMessage],
    domain: str,
    config: SwarmConfig,
    descriptor_only: bool = False,
) -> tuple[AgentDescriptor, int]:
    """Ask a worker for its descriptor and, unless spared, its work; also returns the tokens spent.

    A worker that fails is replaced by a stub that says so, at 0 tokens.
    """
    try:
        answer = await _llm_call(
            worker_messages(
                agent,
                round_goal,
                task,
                incoming_messages,
                domain,
                descriptor_only=descriptor_only,
            ),
            config=config,
            agent_id=agent.agent_id,
        )
        return _read_descriptor(answer, agent), answer["tokens_in"] + answer["tokens_out"]
    except Exception as error:  # whatever it is, the other agents can go on without this one
        logger.warning("agent %s failed", agent.agent_id, exc_info=True)
        return _stub_descriptor(agent, error), 0


async def _llm_call(
    messages: Sequence[Message], *, config: SwarmConfig, agent_id: str = ""
) -> dict[str, Any]:
    """Ask the model and read its JSON answer.

    Returns:
        `content`, `parsed`, `tokens_in` and `tokens_out`; `parsed["_parse_failed"]` is true if the
        content holds no JSON object.
    """
    completion: CompletionResult = await config.client.chat_completion(
        messages,
        agent_id=agent_id,
        temperature=config.temperature,
        max_tokens=config.max_tokens,
    )
    return {
        "content": completion.content,
        "parsed": _parse_answer(completion.content),
        "tokens_in": completion.tokens_in,
        "tokens_out": completion.tokens_out,
    }


async def _gather_in_time(
    calls: Mapping[str, Coroutine[Any, Any, AgentDescriptor]], timeout_s: float
) -> dict[str, AgentDescriptor]:
    """Run the calls side by side; those that fail or take longer than the timeout are left out."""
    results = await asyncio.gather(
        *(asyncio.wait_for(call, timeout_s) for call in calls.values()), return_exceptions=True
    )
    in_time = {}
    for agent_id, result in zip(calls, results, strict=True):
        if isinstance(result, BaseException):
            logger.warning("agent %s gave no result: %r", agent_id, result)
        else:
            in_time[agent_id] = result
    return in_time


def _parse_answer(content: str) -> dict[str, Any]:
    # Models like to wrap their JSON in prose or code fences: read from brace to brace.
    try:
        parsed = json.loads(content[content.index("{") : content.rindex("}") + 1])
    except ValueError:
        return {"_parse_failed": True}
    return parsed if isinstance(parsed, dict) else {"_parse_failed": True}


def _read_descriptor(answer: Mapping[str, Any], agent: AgentSpec) -> AgentDescriptor:
    parsed = answer["parsed"]
    if parsed.get("_parse_failed"):
        content = answer["content"].strip()
        return AgentDescriptor(key=content[:KEY_CHARS], query=agent.needs, work=content)
    return AgentDescriptor(
        key=str(parsed.get("key") or agent.offers),
        query=str(parsed.get("query") or agent.needs),
        work=str(parsed.get("work", "")),
    )


def _stub_descriptor(agent: AgentSpec, error: Exception) -> AgentDescriptor:
    return AgentDescriptor(
        key=f"[Agent {agent.agent_id} failed] {agent.offers}",
        query=agent.needs,
        work=f"[Agent {agent.agent_id} failed: {type(error).__name__}: {error}]",
    )


def _messages_for(
    agent_id: str,
    graph: Graph,
    outputs: Mapping[str, AgentDescriptor],
    agent_map: Mapping[str, AgentSpec],
) -> list[IncomingMessage]:
    return [
        {
            "agent_id": source,
            "role": agent_map[source].role,
            "content": outputs[source].work,
        }
        for source in graph[agent_id]
        if source in outputs
    ]


def _edges_of(graph: Graph) -> list[Edge]:
    return [
        (source, target, weight)
        for target, sources in graph.items()
        for source, weight in sources.items()
    ]


def _last_word(rounds: Sequence[RoundRecord]) -> str:
    # The last tier has read the others, so its work comes closest to an answer.
    for record in reversed(rounds):
        for tier in reversed(record.tiers):
            for agent_id in reversed(tier):
                if agent_id in record.outputs:
                    return record.outputs[agent_id].work
    return ""
