"""To which part of a swarm a function belongs: by its role, or else by the words in its name."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Category:
    """A group of components; `colour` is one of JSON Canvas's six, or a hex colour."""

    name: str
    title: str
    colour: str
    meaning: str


CATEGORIES: Final[Mapping[str, Category]] = {
    each.name: each
    for each in (
        Category("program", "Program", "#7f8c8d", "what starts the swarm and is not part of it"),
        Category("orchestrator", "Orchestrator", "1", "runs the rounds"),
        Category("manager", "Manager", "2", "sets the goal of each round and ends the run"),
        Category("routing", "Routing", "5", "decides who reads whom"),
        Category("workers", "Workers", "4", "the agents that do the work"),
        Category("governance", "Governance", "3", "watches over the run and its limits"),
        Category("model", "Model", "6", "the language model and the way to it"),
        Category("tools", "Tools", "#00838f", "what agents call to act"),
        Category("observability", "Observability", "#8d6e63", "health, progress and metrics"),
        Category("audit", "Audit and memory", "#5c6bc0", "what is kept: checkpoints, memory, logs"),
    )
}
"""All categories, in the order in which a swarm's work goes through them."""

_BY_ROLE: Final = {
    "orchestrator": "orchestrator",
    "delegation": "orchestrator",
    "manager": "manager",
    "worker": "workers",
    "router": "routing",
    "llm": "model",
    "attempt": "model",
    "tool": "tools",
    "governance": "governance",
    "verifier": "governance",
    "wait": "governance",
    "safeguard": "governance",
    "health": "observability",
    "memory": "audit",
    "audit": "audit",
}
_BY_WORD: Final = (
    ("audit", {"audit", "checkpoint", "checkpoints", "memory", "history", "journal", "ledger"}),
    ("observability", {"observability", "health", "metrics", "telemetry", "progress", "logging"}),
    ("governance", {"governance", "verifier", "safeguards", "policy", "guard", "guards"}),
    ("routing", {"router", "routing", "graph", "topology", "embedding", "stigmergic"}),
    ("model", {"inference", "llm", "model", "models", "client", "completions"}),
    ("tools", {"tool", "tools"}),
    ("manager", {"manager"}),
    ("orchestrator", {"orchestrator", "swarm", "coordinator"}),
    ("workers", {"worker", "workers", "agent", "agents"}),
)


def category(role: str, module: str, qualname: str) -> str:
    """The name of a function's category; what nothing speaks for belongs to the program.

    A function inside of another one counts by its own name first: `run_swarm.<locals>.progress` tells of
    progress, whatever module it is in. A step in there belongs to what it is a step of, one that stands
    for itself does not: `orchestrator:_llm_call` is on the way to the model.
    """
    if role in _BY_ROLE:
        return _BY_ROLE[role]
    is_told = ("<locals>" in qualname) != (role == "step") and not (
        role == "step" and _is_script(module)
    )
    own = qualname.rpartition(".")[2] if is_told else ""
    for text in (own, module):
        words = set(re.findall(r"[a-z]+", text.lower()))
        for name, known in _BY_WORD:
            if words & known and not _is_script(text):
                return name
    return "program"


def _is_script(module: str) -> bool:
    """A module without a package is a script: `run_swarm` runs a swarm, it is not its orchestrator."""
    return "." not in module and module.startswith(("run_", "__main__"))
