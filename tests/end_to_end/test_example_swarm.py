"""The README's first command and its faults: an unmodified swarm, a real process, a real report."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SWARM = ROOT / "examples" / "run_swarm.py"
QUICK = ("--embedding", "hashing", "--latency-scale", "0.3")


def launch(*arguments, options=(), cwd=ROOT, env=None):
    return subprocess.run(
        [sys.executable, "-m", "dytopo_autotrace", *options, str(SWARM), *QUICK, *arguments],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(ROOT), **(env or {})},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def summary_of(*arguments, **how):
    done = launch(*arguments, options=("--report", "json"), **how)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stderr)


@pytest.fixture(scope="module")
def healthy():
    return summary_of()


def test_the_swarm_prints_what_it_prints_without_us():
    """Watched or not, the program's output is the same, byte for byte."""
    bare = subprocess.run(
        [sys.executable, str(SWARM), *QUICK], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert launch(options=("--report", "none")).stdout == bare.stdout


def test_every_role_and_agent_has_a_row(healthy):
    """The table has the orchestrator, the manager, the router and each worker, with all calls."""
    rows = {(row["role"], row["name"]): row for row in healthy["agents"]}
    assert rows["worker", "tester"]["calls"] == 5
    assert rows["manager", "manager"]["calls"] == 4
    assert rows["router", ""]["calls"] == 2
    assert rows["orchestrator", ""]["calls"] == 1


def test_tokens_are_those_that_the_program_counts(healthy):
    """Counted at the leaf, the tokens add up to the program's own total."""
    printed = re.search(r"(\d+) tokens", launch(options=("--report", "none")).stdout)
    assert healthy["tokens"] == int(printed[1])


def test_functions_of_the_script_and_nested_coroutines_are_woven(healthy):
    """What no attribute leads to is watched as well: `__main__` functions, `<locals>`, attempts."""
    woven = {rule["name"]: rule for rule in healthy["rules"] if rule["state"] == "woven"}
    assert woven["main"]["calls"] == 1
    assert woven["execution"]["calls"] == 10
    attempts = next(r for r in woven.values() if "chat_completion.__wrapped__" in r["target"])
    assert attempts["calls"] == 29


def test_a_healthy_run_is_called_healthy(healthy):
    """Nothing is found where nothing is wrong."""
    assert healthy["verdict"]["level"] == "healthy"
    assert healthy["failures"] == []
    assert not healthy["drops"]


def test_watching_takes_a_small_share_of_the_run(healthy):
    """The calibrated cost of all calls is below one percent of the wall time."""
    assert healthy["cost"]["calls"] == healthy["span_count"]
    assert healthy["cost"]["share"] < 0.01


def test_a_retry_is_told_as_a_retry():
    """Three attempts failed and the next one succeeded: recovered, agent and cause named."""
    summary = summary_of("--fault", "retry")
    assert summary["verdict"]["level"] == "recovered"
    (group,) = summary["failures"]
    assert group["first"]["fate"] == "retry"
    assert group["count"] == 3
    assert "503" in group["cause"]
    assert [name for name, _ in group["agents"]] == ["tester"]


def test_a_swallowed_agent_is_told_as_dead():
    """The program exits 0 and looks healthy, and the first thing said is that an agent was dead."""
    summary = summary_of("--fault", "swallowed", "--agent", "developer")
    assert summary["verdict"]["level"] == "degraded"
    assert "developer was dead" in summary["verdict"]["text"]
    (group,) = summary["failures"]
    assert [dead["agent"] for dead in group["dead_agents"]] == ["developer"]
    assert "500" in group["cause"]


def test_an_unreadable_answer_is_told_though_nothing_was_raised():
    """An answer that cannot be parsed is a failure by rule, with the agent it came from."""
    summary = summary_of("--fault", "unreadable")
    (group,) = summary["failures"]
    assert group["first"]["kind"] == "soft"
    assert "_parse_failed" in group["cause"]
    assert [name for name, _ in group["agents"]] == ["tester"]


def test_a_timeout_is_told_with_its_culprit():
    """The call that was running when the time ran out is named, with how long it had run."""
    summary = summary_of("--fault", "timeout")
    (group,) = summary["failures"]
    assert group["first"]["kind"] == "timeout"
    assert [name for name, _ in group["agents"]] == ["tester"]
    assert "cut off" in group["headline"]


def test_a_slow_agent_is_told_as_slow():
    """An agent that only is slow is no failure, but the first advice."""
    summary = summary_of("--fault", "slow-agent")
    assert summary["failures"] == []
    assert [each["agent"] for each in summary["slow_agents"]] == ["tester"]
    assert "tester" in summary["recommendations"][0]["message"]


def test_the_report_fits_80_columns_and_has_no_colour_in_a_file():
    """What goes to a file is plain text of at most 80 columns."""
    report = launch("--fault", "swallowed").stderr
    assert "\x1b" not in report
    assert max(map(len, report.splitlines())) <= 80


def test_the_pack_alone_watches_the_swarm_from_anywhere(tmp_path):
    """Without a rule file in sight the shipped pack applies."""
    summary = summary_of(cwd=tmp_path)
    assert {"orchestrator", "manager", "router", "worker", "llm"} <= {
        row["role"] for row in summary["agents"]
    }


def test_out_leaves_traces_metrics_and_failures(tmp_path):
    """`--out` writes every format, readable on its own."""
    done = launch("--fault", "retry", options=("--report", "none", "--out", str(tmp_path / "o")))
    assert done.returncode == 0
    names = {path.name for path in (tmp_path / "o").iterdir()}
    assert {"metrics.prom", "metrics.json", "failures.json"} <= names
    failures = json.loads((tmp_path / "o" / "failures.json").read_text())
    assert failures["total_failures"] == 3
    assert all(failure["recovered"] for failure in failures["failures"])
    traces = [json.loads(p.read_text()) for p in (tmp_path / "o").glob("trace-*.json")]
    assert sum(trace["total_spans"] for trace in traces) > 200


def test_disabled_means_that_nothing_is_said():
    """With the environment variable set the program runs as if we were not there."""
    done = launch(env={"DYTOPO_AUTOTRACE_DISABLED": "1"})
    assert done.returncode == 0
    assert done.stderr == ""


def test_the_rounds_and_messages_are_those_that_the_program_prints(healthy):
    """Edges that were not cut, and the order of work, are what the example says of itself."""
    printed = launch(options=("--report", "none")).stdout
    sections = re.split(r"\nRound (\d+): .*\n", printed)[1:]
    told = dict(zip(sections[::2], sections[1::2], strict=True))
    graphs = healthy["topology"]["graphs"]
    assert [graph["round"] for graph in graphs] == ["2", "3"]
    for graph in graphs:
        edges = re.findall(r"^  (\w+) -> (\w+) ([\d.]+)$", told[graph["round"]], re.MULTILINE)
        cut = {tuple(pair) for pair in graph["cut"]}
        ours = {
            (edge["source"], edge["target"], f"{edge['weight']:.2f}")
            for edge in graph["edges"]
            if (edge["source"], edge["target"]) not in cut
        }
        assert ours == set(edges)
        assert graph["unread"] == []
        assert graph["cut_recorded"]
        order = re.search(r"order: (.*)", told[graph["round"]])[1]
        tiers = [set(tier.split(", ")) for tier in order.split(" | ")]
        assert [set(tier) for tier in graph["tiers"]] == tiers
    assert healthy["topology"]["unresolved_messages"] == 0


def test_the_rounds_are_spans_with_their_calls_below(tmp_path):
    """In the files of a run each round is a span, and the workers' calls lie below their round."""
    launch(options=("--report", "none", "--out", str(tmp_path)))
    spans = [
        span
        for file in tmp_path.glob("trace-*.json")
        for span in json.loads(file.read_text())["spans"]
    ]
    by_id = {span["span_id"]: span for span in spans}
    rounds = [span for span in spans if span["role"] == "scope"]
    assert sorted(span["metadata"]["round"] for span in rounds) == [1, 2, 3, 4]
    for span in spans:
        if span["operation"] in ("manager_call", "exec_agent", "gen_descriptor"):
            assert by_id[span["parent_id"]]["role"] == "scope"


def test_waiting_is_what_the_semaphore_made_them_wait():
    """With a slot for each nobody waits; with two, those that come last do."""
    few, many = summary_of(), summary_of("--concurrency", "5")

    def waited(summary):
        return sum(each["waiting_seconds"] for each in summary["activities"]["agents"])

    assert waited(few) > 0.1
    assert waited(many) < waited(few) / 10
    assert few["activities"]["concurrency"]["most"] == 2
    assert few["what_if"]["least_seconds"] < few["what_if"]["wall_seconds"]
    assert not [each for each in many["what_if"]["predictions"] if each["kind"] == "slots"]
