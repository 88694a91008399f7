"""What a person reads without scrolling, for each fault of the example swarm."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
LINES, COLUMNS = 24, 80
SAID = {
    "retry": (
        "RECOVERED",
        "ModelUnavailable in llm_attempt (tester), 3 times in rounds 1 and 3",
        "HTTP 503",
        "Attempt 2 succeeded",
        "Trying again was enough",
    ),
    "swallowed": (
        "tester was dead (all 7 calls failed)",
        "in rounds 1, 2, 3 and 4",
        "HTTP 500",
        "turned it into a failed result and went on",
        "read as 3 messages by reviewer",
        "The server behind tester failed: look at its health and its logs",
    ),
    "unreadable": (
        "llm_step returned a failed result (tester), all 7 calls in rounds 1, 2, 3 and 4",
        "_parse_failed",
        "Look at the raw answer",
    ),
    "timeout": (
        "http_request was cut off (tester), 3 times in rounds 2, 3 and 4",
        "exec_agent was cancelled",
        "as by a time limit",
        "See what held up http_request of tester",
    ),
    "slow-agent": (
        "But tester is",
        "x slower than its peers in rounds 1, 2 and 3",
        "of its own time went to http_request",
        "Give it a faster model or less context, or split its work.",
        "with agent tester twice as fast",
    ),
}
"""For each fault: the cause, the agent, the rounds and the remedy, in the words of the report."""


@pytest.mark.parametrize(
    "fault",
    # The others take seconds each, too long for every day.
    [
        each if each in ("slow-agent", "unreadable") else pytest.param(each, marks=pytest.mark.slow)
        for each in SAID
    ],
)
def test_the_first_screen_names_cause_agent_round_and_remedy(tmp_path, fault):
    """Nobody has to scroll to know what happened, to whom, when, and what to do."""
    done = subprocess.run(
        [
            *(sys.executable, "-m", "dytopo_autotrace", "--store", "none"),
            *("--rules", ROOT / "instrumentation.toml", ROOT / "examples" / "run_swarm.py"),
            *("--embedding", "hashing", "--latency-scale", "0.3", "--fault", fault),
        ],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        check=True,
        capture_output=True,
        text=True,
        timeout=120,
    )
    lines = done.stderr.splitlines()[:LINES]
    assert all(len(line) <= COLUMNS for line in lines)
    screen = " ".join(" ".join(lines).split())
    for words in SAID[fault]:
        assert words in screen
