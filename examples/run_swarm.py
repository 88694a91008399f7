"""Let a team of five agents work on a task, with a real model or an offline one.

    python run_swarm.py
    python run_swarm.py --task "Write a spell checker" --base-url http://localhost:8000/v1
    python run_swarm.py --fault retry --agent developer

Without --base-url an offline model answers; its answers are canned and fit the default task. The
key for a real endpoint is read from OPENAI_API_KEY.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any, get_args
from urllib.parse import urlsplit

from dytopo.agents import DOMAIN, TEAM
from dytopo.embedding import EmbeddingKind, EmbeddingUnavailable, select_embedder
from dytopo.models import RoundRecord, SwarmConfig, SwarmTask
from dytopo.orchestrator import run_swarm
from inference import http
from inference.errors import InferenceError
from inference.faults import FAULT_KINDS, Fault
from inference.llm_client import InferenceClient, authorization
from inference.offline_model import OfflineModel

DEFAULT_TASK = "Write a thread-safe LRU cache in Python whose entries expire after a time to live."
DEFAULT_FAULTY_AGENT = "tester"
WORKER_TIMEOUT_S = 120.0
# Someone who asks to see a timeout does not want to wait two minutes for it.
WORKER_TIMEOUT_UNDER_FAULT_S = 1.0
PREFLIGHT_TIMEOUT_S = 10.0


class SetupError(Exception):
    """The run cannot begin; the message says what to change."""


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line; anything that makes no sense ends the program with status 2."""
    parser = argparse.ArgumentParser(
        description="Let a team of five agents work on a task.",
        epilog="Without --base-url an offline model answers, whose answers fit the default task.",
    )
    parser.add_argument("--task", default=DEFAULT_TASK, help="what the team shall do")
    parser.add_argument("--rounds", type=_positive_int, default=5, help="rounds at most (5)")
    parser.add_argument(
        "--tau", type=float, default=0.3, help="similarity that makes an edge (0.3)"
    )
    parser.add_argument(
        "--k-in", type=_positive_int, default=2, help="agents that one agent reads at most (2)"
    )
    parser.add_argument(
        "--base-url", type=_http_url, help="an OpenAI-compatible endpoint, such as http://host/v1"
    )
    parser.add_argument("--model", help="the model to ask for (the first that the endpoint lists)")
    parser.add_argument(
        "--concurrency", type=_positive_int, default=2, help="requests under way at once (2)"
    )
    parser.add_argument(
        "--worker-timeout", type=_seconds, metavar="SECONDS", help="for one call of a worker (120)"
    )
    parser.add_argument("--embedding", choices=get_args(EmbeddingKind), default="auto")
    offline = parser.add_argument_group("offline model")
    offline.add_argument(
        "--latency-scale", type=_seconds, default=1.0, help="multiplies its latency (1.0)"
    )
    offline.add_argument("--fault", choices=FAULT_KINDS, help="what goes wrong")
    offline.add_argument(
        "--agent", metavar="ID", help=f"whom the fault hits ({DEFAULT_FAULTY_AGENT})"
    )
    args = parser.parse_args(argv)

    agent_ids = [agent.agent_id for agent in TEAM]
    if args.agent is not None and args.agent not in agent_ids:
        parser.error(f"--agent: there is no {args.agent!r}; the agents are {', '.join(agent_ids)}")
    if args.agent is not None and args.fault is None:
        parser.error("--agent says whom a fault hits: add --fault")
    if args.fault is not None and args.base_url is not None:
        parser.error("--fault is played by the offline model: leave out --base-url")
    return args


@contextlib.asynccontextmanager
async def open_model(args: argparse.Namespace) -> AsyncIterator[str]:
    """Yield the base URL of the model: the given one, or that of an offline model."""
    if args.base_url is not None:
        yield args.base_url
        return
    fault = Fault(args.fault, args.agent or DEFAULT_FAULTY_AGENT) if args.fault else None
    async with OfflineModel(latency_scale=args.latency_scale, fault=fault) as model:
        yield model.base_url


async def preflight(base_url: str, api_key: str | None = None) -> list[str]:
    """Make sure that the endpoint is there, and return the models that it lists.

    Raises:
        InferenceError: nothing answers at this address.
    """
    response = await http.request(
        "GET",
        f"{base_url.rstrip('/')}/models",
        headers=authorization(api_key),
        timeout_s=PREFLIGHT_TIMEOUT_S,
    )
    # Not every endpoint lists its models; one that answers at all is good enough.
    with contextlib.suppress(ValueError, KeyError, TypeError):
        return [entry["id"] for entry in json.loads(response.body)["data"]]
    return []


def build_swarm(args: argparse.Namespace, base_url: str, model: str) -> SwarmTask:
    """Put the team, its task and its model together.

    Raises:
        SetupError: the chosen embedding is not on this machine.
    """
    client = InferenceClient(base_url, model, api_key=_api_key(args), concurrency=args.concurrency)
    try:
        embed = select_embedder(args.embedding)
    except EmbeddingUnavailable as error:
        raise SetupError(str(error)) from error
    worker_timeout_s = args.worker_timeout
    if worker_timeout_s is None:
        is_hanging = args.fault == "timeout"
        worker_timeout_s = WORKER_TIMEOUT_UNDER_FAULT_S if is_hanging else WORKER_TIMEOUT_S
    return SwarmTask(
        task_id="example",
        task=args.task,
        domain=DOMAIN,
        agents=TEAM,
        config=SwarmConfig(
            client=client,
            embed=embed,
            worker_timeout_s=worker_timeout_s,
        ),
        T_max=args.rounds,
        tau=args.tau,
        K_in=args.k_in,
    )


def summarize(swarm: SwarmTask) -> str:
    """What happened, for a person: each round with its tiers and edges, and how it ended."""
    lines = [f"Task: {swarm.task}"]
    for record in swarm.rounds:
        lines += ["", f"Round {record.number}: {record.goal}", *_describe_topology(record)]
    cost = f"{swarm.total_llm_calls} calls, {swarm.total_tokens} tokens"
    lines += [
        "",
        f"Ended by {swarm.termination_reason} after {len(swarm.rounds)} rounds, {cost}.",
        f"Answer: {swarm.final_answer}",
    ]
    return "\n".join(lines)


async def report_progress(event: str, details: Mapping[str, Any]) -> None:
    """Say that a round begins, so that a person sees the program live."""
    if event == "round_started":
        print(f"... round {details['number']}", flush=True)


async def main(argv: Sequence[str] | None = None) -> int:
    """Run the swarm that the command line describes; returns the exit status."""
    args = parse_args(argv)
    try:
        async with open_model(args) as base_url:
            model = await _choose_model(args, base_url)
            swarm = build_swarm(args, base_url, model)
            await run_swarm(swarm, on_progress=report_progress)
    except (SetupError, InferenceError) as error:
        print(f"run_swarm: {error}", file=sys.stderr)
        return 1
    print(summarize(swarm))
    return 0


async def _choose_model(args: argparse.Namespace, base_url: str) -> str:
    """The model that was asked for, or else the first one that the endpoint lists.

    Raises:
        SetupError: neither says which.
    """
    models = await preflight(base_url, _api_key(args))
    if not (args.model or models):
        raise SetupError(f"{base_url} does not list its models: name one with --model")
    return args.model or models[0]


def _describe_topology(record: RoundRecord) -> list[str]:
    tiers = " | ".join(", ".join(tier) for tier in record.tiers)
    edges = [f"  {source} -> {target} {weight:.2f}" for source, target, weight in record.edges]
    return [f"  order: {tiers}", *edges]


def _api_key(args: argparse.Namespace) -> str | None:
    # A key is for the endpoint that its owner named, not for a model on this machine.
    return os.environ.get("OPENAI_API_KEY") if args.base_url else None


def _http_url(text: str) -> str:
    parts = urlsplit(text)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise argparse.ArgumentTypeError(f"{text!r} is not an http or https URL")
    return text


def _positive_int(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text} is less than 1")
    return number


def _seconds(text: str) -> float:
    number = float(text)
    if not 0 <= number < float("inf"):
        raise argparse.ArgumentTypeError(f"{text} is not a number from 0 up")
    return number


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
