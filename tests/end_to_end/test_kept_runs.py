"""A run survives its process, whatever ends it, and the commands tell its story afterwards."""

import importlib.util
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SWARM = ROOT / "examples" / "run_swarm.py"


def environment():
    return {**os.environ, "PYTHONPATH": str(ROOT)}


def start(cwd, *arguments, options=("--report", "none")):
    return subprocess.Popen(
        [
            *(sys.executable, "-m", "dytopo_autotrace", *options, str(SWARM)),
            *("--embedding", "hashing", *arguments),
        ],
        cwd=cwd,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def command(cwd, *arguments):
    done = subprocess.run(
        [sys.executable, "-m", "dytopo_autotrace", *arguments],
        cwd=cwd,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def is_call(span):
    """Whether it is no round: those are spans that no call owns."""
    return {"key": "dytopo.role", "value": {"stringValue": "scope"}} not in span["attributes"]


def test_a_run_is_kept_and_reported_again(tmp_path):
    """What the report said at the end is what `report` says later, from the store."""
    process = start(tmp_path, "--latency-scale", "0.2", options=("--report", "json"))
    _, said = process.communicate(timeout=60)
    at_the_end = json.loads(said)
    later = json.loads(command(tmp_path, "report", "--json"))
    for told in ("verdict", "agents", "failures", "rounds", "tokens", "span_count", "task"):
        assert later[told] == at_the_end[told], told


@pytest.mark.slow
def test_a_run_in_clickhouse_is_the_same_run(tmp_path):
    """Kept in the embedded engine, a run is listed, shown, reported, exported and deleted as from a file."""
    for name in ("chdb", "clickhouse_connect"):
        if importlib.util.find_spec(name) is None:
            pytest.skip(f"{name} is not installed: pip install 'dytopo-autotrace[chdb]'")
    store = ("--store", f"chdb://{tmp_path / 'engine'}")
    options = ("--report", "json", *store)
    _, said = start(tmp_path, "--latency-scale", "0.2", options=options).communicate(timeout=60)
    at_the_end = json.loads(said)
    later = json.loads(command(tmp_path, "report", "--json", *store))
    assert later == at_the_end
    (run,) = json.loads(command(tmp_path, "runs", "--json", *store))
    assert (run["status"], run["drops"]) == ("ended", 0)
    assert "run_swarm.py" in command(tmp_path, "show", run["run_id"][:6], *store)
    exported = command(
        *(tmp_path, "export", "--format", "otlp", "--content", "--output", "-", *store)
    )
    spans = json.loads(exported.splitlines()[0])["resourceSpans"][0]["scopeSpans"][0]["spans"]
    assert len(spans) == run["spans"]
    assert sum(map(is_call, spans)) == later["span_count"]
    assert "deleted" in command(tmp_path, "delete", run["run_id"][:6], *store)
    assert json.loads(command(tmp_path, "runs", "--json", *store)) == []


def test_nothing_is_kept_when_nothing_is_to_be_kept(tmp_path):
    """`--store none` leaves no file behind."""
    start(tmp_path, "--latency-scale", "0.1", options=("--store", "none", "-q")).communicate(
        timeout=60
    )
    assert list(tmp_path.iterdir()) == []


def test_the_store_is_private_and_no_business_of_git(tmp_path):
    """Only its owner reads the store, and its folder has an ignore file of its own."""
    start(tmp_path, "--latency-scale", "0.1").communicate(timeout=60)
    store = tmp_path / ".dytopo"
    assert (store / ".gitignore").read_text().strip() == "*"
    assert (store / "traces.db").stat().st_mode & 0o077 == 0
    assert store.stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM, signal.SIGABRT])
def test_what_was_running_is_told_after_a_kill(tmp_path, how):
    """Killed in the middle, the run is one that died, and its open calls are listed as running."""
    process = start(tmp_path, "--latency-scale", "3")
    until_spans_are_kept(tmp_path, process)
    process.send_signal(how)
    process.communicate(timeout=60)
    (run,) = json.loads(command(tmp_path, "runs", "--json"))
    assert run["status"] == "died"
    assert run["running_spans"] > 0
    summary = json.loads(command(tmp_path, "report", "--json"))
    assert any("still running" in remark for remark in summary["remarks"])


def until_spans_are_kept(directory, process):
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline and process.poll() is None:
        if (directory / ".dytopo" / "traces.db").exists():
            runs = json.loads(command(directory, "runs", "--json"))
            if runs and runs[0]["spans"] and runs[0]["running_spans"]:
                return
    pytest.fail(f"no span was kept; the program ended with {process.poll()}")
