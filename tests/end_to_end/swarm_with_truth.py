"""The example swarm, keeping a truth of its own in a file: what its model was asked and by whom.

    python swarm_with_truth.py TRUTH.jsonl --fault retry --agent developer

Nothing here knows of the package under test. Every line of the file is one JSON object with the key
`what`; the round is that of the manager's last call, 0 before the first.
"""

import asyncio
import contextvars
import functools
import json
import sys
import time
from collections import Counter
from pathlib import Path

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
COUNTED = {
    "dytopo.orchestrator": (
        "_call_manager",
        "_call_worker",
        "_llm_call",
        "build_routing_result",
        "build_execution_graph",
        "break_cycles",
        "get_execution_tiers",
        "detect_convergence",
        "update_agent_metrics",
    ),
    "dytopo.router": (
        "embed_descriptors",
        "compute_similarity_matrix",
        "apply_threshold",
        "enforce_max_indegree",
    ),
    "inference.http": ("request",),
}
asking = contextvars.ContextVar("asking", default="")


class Truth:
    """The file, and the round that the swarm is in."""

    def __init__(self, path):
        self._file = open(path, "w", encoding="utf-8")  # noqa: SIM115 - open for the whole run
        self._calls = Counter()
        self.round = 0

    def tell(self, what, **facts):
        line = {"what": what, "round": self.round, **facts}
        self._file.write(json.dumps(line) + "\n")

    def count(self, function):
        self._calls[function, self.round] += 1

    def close(self):
        for (function, number), calls in self._calls.items():
            self._file.write(
                json.dumps({"what": "calls", "function": function, "round": number, "n": calls})
                + "\n"
            )
        self._file.close()


def count_calls(truth, module, name):
    """Replace a function by one that counts its calls and calls it."""
    function = getattr(module, name)

    @functools.wraps(function)
    def counted(*args, **kwargs):
        if name == "_call_manager":
            truth.round = args[2]
        truth.count(name)
        return function(*args, **kwargs)

    setattr(module, name, counted)


def tell_results(truth, orchestrator):
    """Replace the functions whose results say what went wrong by some that write it down."""
    call_worker, llm_call = orchestrator._call_worker, orchestrator._llm_call
    gather, route = orchestrator._gather_in_time, orchestrator.build_routing_result
    break_cycles = orchestrator.break_cycles

    async def worker(agent, goal, task, messages, domain, config, descriptor_only=False):
        read = [message["agent_id"] for message in messages]
        number = truth.round
        answer = await call_worker(agent, goal, task, messages, domain, config, descriptor_only)
        is_stub = answer[0].work.startswith("[Agent")
        truth.tell("worker", agent=agent.agent_id, read=read, stub=is_stub, began_in=number)
        return answer

    async def answer(*args, agent_id="", **kwargs):
        result = await llm_call(*args, agent_id=agent_id, **kwargs)
        if result["parsed"].get("_parse_failed"):
            truth.tell("unreadable", agent=agent_id)
        return result

    async def gathered(calls, timeout_s):
        results = await gather(calls, timeout_s)
        for agent_id in calls:
            if agent_id not in results:
                truth.tell("given_up", agent=agent_id)
        return results

    def routed(*args):
        result = route(*args)
        truth.tell("edges", edges=[edge[:2] for edge in result["edges"]])
        return result

    def without_cycles(graph):
        acyclic = break_cycles(graph)
        cut = [(s, r) for r in graph for s in graph[r] if s not in acyclic[r]]
        truth.tell("cut", edges=cut)
        return acyclic

    orchestrator._call_worker, orchestrator._llm_call = worker, answer
    orchestrator._gather_in_time, orchestrator.build_routing_result = gathered, routed
    orchestrator.break_cycles = without_cycles


def telling_parts(truth):
    """Subclasses of the example's client and offline model that write down what they see."""
    from inference.llm_client import InferenceClient
    from inference.offline_model import OfflineModel

    class TellingSemaphore(asyncio.Semaphore):
        async def acquire(self):
            started, number = time.perf_counter(), truth.round
            try:
                return await super().acquire()
            finally:
                seconds = time.perf_counter() - started
                truth.tell("waited", agent=asking.get(), seconds=seconds, began_in=number)

    class TellingClient(InferenceClient):
        def __init__(self, *args, concurrency=2, **kwargs):
            super().__init__(*args, concurrency=concurrency, **kwargs)
            self._slots = TellingSemaphore(concurrency)

        async def chat_completion(self, messages, *, agent_id="", **kwargs):
            asking.set(agent_id)
            truth.count("chat_completion")
            return await super().chat_completion(messages, agent_id=agent_id, **kwargs)

    class TellingModel(OfflineModel):
        async def _complete(self, agent_id, messages, reader):
            truth.tell("asked", agent=agent_id)
            started = time.perf_counter()
            status, content = await super()._complete(agent_id, messages, reader)
            usage = content.get("usage", {})
            truth.tell(
                "answered",
                agent=agent_id,
                status=status.value,
                seconds=time.perf_counter() - started,
                tokens=usage.get("total_tokens", 0),
            )
            return status, content

    return TellingClient, TellingModel


def main():
    path, *argv = sys.argv[1:]
    sys.path.insert(0, str(EXAMPLES))
    import run_swarm
    from dytopo import orchestrator

    truth = Truth(path)
    tell_results(truth, orchestrator)
    for module, names in COUNTED.items():
        for name in names:
            count_calls(truth, sys.modules[module], name)
    run_swarm.InferenceClient, run_swarm.OfflineModel = telling_parts(truth)
    try:
        return asyncio.run(run_swarm.main(argv))
    finally:
        truth.close()


if __name__ == "__main__":
    sys.exit(main())
