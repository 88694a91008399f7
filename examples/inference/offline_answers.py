"""What the offline model says: a pure function from a conversation to an answer."""

from __future__ import annotations

import functools
import json
import re
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

MANAGER = "manager"
SCRIPT_PATH = Path(__file__).with_name("offline_script.toml")


def compose_answer(agent_id: str, messages: Sequence[dict[str, str]]) -> str:
    """The JSON text that this agent answers to this conversation."""
    prompt = prompt_text(messages)
    answer = _manager_answer(prompt) if agent_id == MANAGER else _worker_answer(agent_id, prompt)
    return json.dumps(answer)


def break_answer(answer: str) -> str:
    """The same answer as a talkative model would spoil it: prose around JSON that is cut short."""
    return f"Of course! Here are my thoughts so far:\n\n{answer[: len(answer) // 3]}"


def prompt_text(messages: Sequence[dict[str, str]]) -> str:
    """All messages of a conversation as one text."""
    return "\n".join(message["content"] for message in messages)


def stage_number(prompt: str) -> int:
    """Which stage's goal the prompt quotes, from 1; 0 if none."""
    for number, stage in enumerate(_script()["stage"], start=1):
        if stage["goal"] in prompt:
            return number
    return 0


def asks_for_work(prompt: str) -> bool:
    """Whether the prompt asks for a contribution, not only for a query and a key."""
    return '"work"' in prompt


def _manager_answer(prompt: str) -> dict[str, Any]:
    script = _script()
    if all(phrase in prompt for phrase in script["finish"]["needs"]):
        outcome, terminate = script["finish"], True
    else:
        asked = re.search(r"^Round: (\d+)", prompt, re.MULTILINE)
        number = int(asked[1]) if asked else 1
        outcome, terminate = script["stage"][min(number, len(script["stage"])) - 1], False
    return {
        "goal": outcome["goal"],
        "terminate": terminate,
        "reasoning": outcome["reasoning"],
        "final_answer": outcome.get("final_answer", ""),
    }


def _worker_answer(agent_id: str, prompt: str) -> dict[str, str]:
    stage = _script()["stage"][max(stage_number(prompt), 1) - 1]
    lines = stage.get(agent_id, {"query": "", "key": "", "work": "I have nothing to add."})
    answer = {"query": lines["query"], "key": lines["key"]}
    if asks_for_work(prompt):
        senders = re.findall(r"^## From (\S+)", prompt, re.MULTILINE)
        heard = f" This builds on what {' and '.join(senders)} sent me." if senders else ""
        answer["work"] = lines["work"] + heard
    return answer


@functools.cache
def _script() -> dict[str, Any]:
    return tomllib.loads(SCRIPT_PATH.read_text(encoding="utf-8"))
