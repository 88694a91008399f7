"""Records of the example swarm leave it while it runs: the launcher's side, in processes of their own."""

import json
import os
import re
import subprocess
import sys
import textwrap
import time
import urllib.request
from pathlib import Path

import pytest

from tests.live.collectors import Collector, nobody

ROOT = Path(__file__).resolve().parents[2]
SWARM = ROOT / "examples" / "run_swarm.py"


def environment(**more):
    return {**os.environ, "PYTHONPATH": str(ROOT), **more}


def start(directory, rules, *program, options=("--report", "none"), env=None):
    (directory / "rules.toml").write_text(textwrap.dedent(rules))
    return subprocess.Popen(
        [sys.executable, "-m", "dytopo_autotrace", "--rules", "rules.toml", *options, *program],
        cwd=directory,
        env=env or environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def run(directory, rules, *program, **how):
    process = start(directory, rules, *program, **how)
    out, said = process.communicate(timeout=60)
    return process.returncode, out, said


def swarm(directory, rules, scale, *more):
    quick = ("--embedding", "hashing", "--latency-scale", scale)
    return run(directory, rules, str(SWARM), *quick, *more)


def report(directory):
    done = subprocess.run(
        [sys.executable, "-m", "dytopo_autotrace", "report", "--json"],
        cwd=directory,
        env=environment(),
        capture_output=True,
        text=True,
        check=True,
    )
    told = json.loads(done.stdout)
    return {**told, "drops": dict(told["drops"])}


AGENT = '[agent]\npacks = ["dytopo"]\nservice = "swarm"\n'


def to(url):
    return f'{AGENT}[[export]]\nformat = "otlp"\nendpoint = "{url}"\nevery_seconds = 0.2\n'


def test_a_collector_gets_the_run_that_the_store_keeps(tmp_path):
    """The same spans with the same parents arrive, while the program runs and at its end."""
    with Collector() as collector:
        code, _, said = swarm(tmp_path, to(collector.url), "0.3")
        assert (code, said) == (0, "")
        arrived = {
            bytes(each.span_id).hex(): bytes(each.parent_span_id).hex() for each in collector.spans
        }
        assert len(collector.requests) > 1
    exported = subprocess.run(
        [sys.executable, "-m", "dytopo_autotrace", "export", "--format", "otlp", "-o", "-"],
        cwd=tmp_path,
        env=environment(),
        capture_output=True,
        text=True,
        check=True,
    )
    (line,) = exported.stdout.splitlines()
    kept = json.loads(line)["resourceSpans"][0]["scopeSpans"][0]["spans"]
    assert arrived == {each["spanId"]: each.get("parentSpanId", "") for each in kept}
    assert not report(tmp_path)["drops"]


@pytest.mark.slow
def test_the_command_line_adds_to_the_rule_file(tmp_path):
    """`--export` takes what `[[export]]` takes, several times; what makes no sense is said at once."""
    (tmp_path / "program.py").write_text(textwrap.dedent(PROGRAM))
    with Collector() as collector:
        exports = ("--export", f"otlp={collector.url}", "--export=csv=out/")
        code, _, said = run(
            tmp_path, RULE, "program.py", options=("--report", "none", "--store", "none", *exports)
        )
        assert (code, said) == (0, "")
        assert len(collector.spans) == 10
    (table,) = (tmp_path / "out").iterdir()
    assert len(table.read_text().splitlines()) == 11
    for wrong, advice in (
        ("jager=x", "Did you mean 'jaeger'?"),
        ("jaeger", "--export jaeger=FILE"),
        ("csv=http://host", "Only otlp is sent"),
    ):
        code, _, said = run(tmp_path, RULE, "program.py", options=("--export", wrong))
        assert code == 2
        assert advice in said


PROGRAM = """
    import time
    def work():
        pass
    for _ in range(10):
        work()
    print("done", flush=True)
    time.sleep(0.8)
    began = time.time()
    import atexit
    atexit.register(lambda: print(time.time(), flush=True))  # runs before our own
"""
RULE = '[[rule]]\ntarget = "__main__:work"\n'


@pytest.mark.parametrize(
    "kind", [401, *(pytest.param(each, marks=pytest.mark.slow) for each in ("dead", "hang", 503))]
)
def test_a_bad_collector_does_not_hold_the_program_up(tmp_path, kind):
    """Whatever the collector does, the program ends soon after and is as it was; the
    loss is told by reason, on stderr and in the report."""
    (tmp_path / "program.py").write_text(textwrap.dedent(PROGRAM))
    with Collector(kind) as collector:
        url = nobody() if kind == "dead" else collector.url
        rules = to(url) + RULE
        code, out, said = run(tmp_path, rules, "program.py", options=("--report", "none"))
        ended = time.time()
    word, at_exit = out.split()
    assert (code, word) == (0, "done")
    assert ended - float(at_exit) < 3.5  # of which starting and ending Python, on a busy machine
    assert f"10 spans did not reach {url}" in said
    reason = "refused" if kind == 401 else "unreachable"
    assert report(tmp_path)["drops"] == {f"spans for the collector: {reason}": 10}


@pytest.mark.slow
def test_a_missing_extra_is_one_line_that_says_what_to_install(tmp_path):
    """Without opentelemetry the program runs and is watched; nothing is sent, and that is told."""
    (tmp_path / "program.py").write_text(textwrap.dedent(PROGRAM))
    (tmp_path / "opentelemetry.py").write_text("")  # a module of the name that has nothing in it
    code, out, said = run(tmp_path, to("http://127.0.0.1:1") + RULE, "program.py")
    assert (code, out.split()[0]) == (0, "done")
    assert "pip install 'dytopo-autotrace[otlp]'" in said.splitlines()[0]
    assert report(tmp_path)["drops"] == {"spans for the collector: not installed": 10}


OWN_REQUESTS = """
    import requests, sys, time
    requests.post(sys.argv[1] + "/v1/traces", data=b"", timeout=5)
    time.sleep(1.5)
"""


@pytest.mark.slow
def test_our_own_requests_are_not_the_programs(tmp_path):
    """A rule that watches requests sees the program's request and none of the exporter's."""
    (tmp_path / "program.py").write_text(textwrap.dedent(OWN_REQUESTS))
    rule = """
        [[rule]]
        name = "http"
        target = ["requests.sessions:Session.request", "requests.adapters:HTTPAdapter.send"]
        role = "orchestrator"
        [[rule]]
        name = "exporting"
        target = "opentelemetry.exporter.**:*.export"
    """
    with Collector() as collector:
        rules = to(collector.url) + textwrap.dedent(rule)
        code, _, said = run(tmp_path, rules, "program.py", collector.url)
        assert (code, said) == (0, "")
        assert collector.attempts > 1
        assert [each.name for each in collector.spans].count("Session.request") <= 1
    told = report(tmp_path)
    assert told["span_count"] == 2
    calls = {rule["name"]: rule["calls"] for rule in told["rules"]}
    assert (calls["http"], calls["exporting"]) == (2, 0)


@pytest.mark.slow
def test_a_file_is_there_while_the_program_runs_and_complete_at_its_end(tmp_path):
    """A reader in between sees a whole file; the last one has every span, and how the run ended."""
    rules = f'{AGENT}[[export]]\nformat = "otlp"\npath = "run.json"\nevery_seconds = 0.1\n'
    process = start(
        *(tmp_path, rules, str(SWARM), "--embedding", "hashing", "--latency-scale", "0.5")
    )
    seen = []
    while process.poll() is None:
        if (tmp_path / "run.json").exists():
            seen.append((tmp_path / "run.json").read_text())
    process.communicate()
    documents = [json.loads(text)["resourceSpans"][0] for text in dict.fromkeys(seen)]
    documents.append(json.loads((tmp_path / "run.json").read_text())["resourceSpans"][0])
    assert len(documents) > 1
    ended = [
        next(each["value"] for each in document["resource"]["attributes"] if "ended" in each["key"])
        for document in documents
    ]
    assert ended[0] == {"stringValue": "running"}
    assert ended[-1] == {"stringValue": "SystemExit"}
    rounds = {"key": "dytopo.role", "value": {"stringValue": "scope"}}
    calls = [
        each for each in documents[-1]["scopeSpans"][0]["spans"] if rounds not in each["attributes"]
    ]
    assert len(calls) == report(tmp_path)["span_count"]


@pytest.mark.slow
def test_a_scrape_of_a_live_run_has_its_metrics(tmp_path):
    """Port 0 takes a free one and says which; there are the durations, and the conventions' two."""
    rules = AGENT + 'prometheus = ":0"\n'
    process = start(
        *(tmp_path, rules, str(SWARM), "--embedding", "hashing", "--latency-scale", "0.5")
    )
    line = process.stderr.readline()
    url = re.search(r"http://127\.0\.0\.1:\d+/metrics", line)[0]
    text = ""
    while process.poll() is None and 'seconds_count{agent="tester"' not in text:
        with urllib.request.urlopen(url, timeout=5) as answer:
            text = answer.read().decode()
    said = process.communicate(timeout=60)[1]
    assert (process.returncode, said) == (0, "")
    assert 'dytopo_operation_duration_seconds_count{agent="tester"' in text
    assert "gen_ai_client_operation_duration_seconds_count" in text
    assert "gen_ai_client_token_usage_sum" in text


@pytest.mark.slow
def test_a_port_in_use_is_one_line_and_the_program_goes_on(tmp_path):
    """What cannot be listened on is said, and nothing else changes."""
    (tmp_path / "program.py").write_text(textwrap.dedent(PROGRAM))
    with Collector() as collector:
        port = collector.server.server_address[1]
        rules = f'[agent]\nprometheus = ":{port}"\n{RULE}'
        code, out, said = run(tmp_path, rules, "program.py")
    assert (code, out.split()[0]) == (0, "done")
    (line,) = said.splitlines()
    assert f"prometheus = ':{port}': cannot listen there: Address already in use" in line


FORKS = """
    import os, warnings, time, sys
    warnings.simplefilter("error")
    def work():
        pass
    work()
    time.sleep(0.5)
    pid = os.fork()
    if not pid:
        work()
        time.sleep(1)
        os._exit(0)
    work()
    time.sleep(1)
    sys.exit(os.waitpid(pid, 0)[1])
"""


def test_a_fork_finds_no_thread_of_ours_and_both_sides_go_on(tmp_path):
    """Python warns of a fork while there are threads; parent and child send what they record."""
    (tmp_path / "program.py").write_text(textwrap.dedent(FORKS))
    with Collector() as collector:
        rules = to(collector.url).replace("[[export]]", 'prometheus = ":0"\n[[export]]')
        rules += '[[export]]\nformat = "csv"\npath = "spans.csv"\nevery_seconds = 0.1\n' + RULE
        code, _, said = run(tmp_path, rules, "program.py")
        assert code == 0, said
        assert "Warning" not in said
        assert len(collector.spans) == 3
    assert len((tmp_path / "spans.csv").read_text().splitlines()) == 1 + 3
