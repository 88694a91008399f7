"""The example swarm, importable for one module of tests at a time."""

from __future__ import annotations

import asyncio
import importlib
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"
EXAMPLE_MODULES = {"dytopo", "inference", "run_swarm"}


@pytest.fixture(scope="module")
def load() -> Iterator[Callable[[str], ModuleType]]:
    """Import a module of the example program by name; all are forgotten afterwards."""
    _forget_example_modules()
    sys.path.insert(0, str(EXAMPLES))
    yield importlib.import_module
    sys.path.remove(str(EXAMPLES))
    _forget_example_modules()


@pytest.fixture
def play(load: Callable[[str], ModuleType]) -> Callable[..., Any]:
    """Run the swarm of a command line inside this process, without latency, and return it."""
    program = load("run_swarm")

    async def run(argv: tuple[str, ...]) -> Any:
        args = program.parse_args(["--latency-scale", "0", "--embedding", "hashing", *argv])
        async with program.open_model(args) as base_url:
            return await program.run_swarm(program.build_swarm(args, base_url, "any"))

    return lambda *argv: asyncio.run(run(argv))


@pytest.fixture
def launch() -> Callable[..., subprocess.CompletedProcess[str]]:
    """Start the example program as a person would, without latency."""

    def run(*argv: str, **environment: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-X", "dev", "-W", "error", str(EXAMPLES / "run_swarm.py")]
        options = ["--latency-scale", "0", "--embedding", "hashing"]
        return subprocess.run(
            [*command, *options, *argv],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            env={"PATH": "", "PYTHONDONTWRITEBYTECODE": "1", **environment},
        )

    return run


@pytest.fixture
def record_worker_calls(
    load: Callable[[str], ModuleType], monkeypatch: pytest.MonkeyPatch
) -> list[dict[str, Any]]:
    """The calls of workers in the order in which they end, each with its result."""
    orchestrator = load("dytopo.orchestrator")
    call_worker = orchestrator._call_worker
    calls: list[dict[str, Any]] = []

    async def recorded(agent, goal, task, messages, domain, config, descriptor_only=False):
        call = {
            "agent_id": agent.agent_id,
            "goal": goal,
            "received": {message["agent_id"]: message["content"] for message in messages},
            "descriptor_only": descriptor_only,
            "result": None,
        }
        try:
            call["result"] = await call_worker(
                agent, goal, task, messages, domain, config, descriptor_only
            )
        finally:
            calls.append(call)
        return call["result"]

    monkeypatch.setattr(orchestrator, "_call_worker", recorded)
    return calls


@pytest.fixture
def record_statuses(
    load: Callable[[str], ModuleType], monkeypatch: pytest.MonkeyPatch
) -> list[tuple[str, int]]:
    """Who got which HTTP status, one entry for each request that was answered."""
    http = load("inference.http")
    send = http.request
    statuses: list[tuple[str, int]] = []

    async def recorded(method, url, *, body=b"", **options):
        response = await send(method, url, body=body, **options)
        statuses.append((json.loads(body or "{}").get("user", ""), response.status))
        return response

    monkeypatch.setattr(http, "request", recorded)
    return statuses


def _forget_example_modules() -> None:
    for name in list(sys.modules):
        if name.partition(".")[0] in EXAMPLE_MODULES:
            del sys.modules[name]
