"""A real Prometheus scrapes a live run of the example swarm and is asked for a percentile."""

import json
import math
import re
import shutil
import subprocess
import sys
import textwrap
import time
import urllib.error
import urllib.parse
import urllib.request
from contextlib import closing, contextmanager
from socket import create_server

import pytest

from dytopo_autotrace.collect.series import SECONDS
from tests.end_to_end.test_live import AGENT, SWARM, environment, start

PROMETHEUS = shutil.which("prometheus")
PATIENCE_SECONDS = 60

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(PROMETHEUS is None, reason="needs prometheus: apt-get install prometheus"),
]

# The swarm, and then a while in which the last of it can be scraped.
PROGRAM = f"""
    import os, runpy, sys, time
    sys.argv = [{str(SWARM)!r}, "--embedding", "hashing", "--latency-scale", "0.5"]
    sys.path.insert(0, {str(SWARM.parent)!r})
    try:
        runpy.run_path(sys.argv[0], run_name="__main__")
    except SystemExit:
        pass
    while not os.path.exists("enough"):
        time.sleep(0.05)
"""


def free_port():
    with closing(create_server(("127.0.0.1", 0))) as taken:
        return taken.getsockname()[1]


@contextmanager
def prometheus(directory, target):
    (directory / "prometheus.yml").write_text(
        textwrap.dedent(f"""
            global: {{ scrape_interval: 200ms }}
            scrape_configs:
              - job_name: swarm
                static_configs: [{{ targets: ["{target}"] }}]
        """)
    )
    port = free_port()
    with (directory / "prometheus.log").open("wb") as log:
        server = subprocess.Popen(
            [
                PROMETHEUS,
                "--config.file=prometheus.yml",
                "--storage.tsdb.path=data",
                f"--web.listen-address=127.0.0.1:{port}",
            ],
            cwd=directory,
            stdout=log,
            stderr=log,
        )
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        server.terminate()
        server.wait(30)


def ask(url, query):
    """The values of an instant query, by label set; nothing while the server is starting."""
    asked = f"{url}/api/v1/query?{urllib.parse.urlencode({'query': query})}"
    try:
        with urllib.request.urlopen(asked, timeout=5) as answer:
            found = json.load(answer)["data"]["result"]
    except (urllib.error.URLError, ConnectionError):
        return []
    return [float(each["value"][1]) for each in found]


def until(found):
    deadline = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline:
        if found():
            return
        time.sleep(0.05)
    pytest.fail("it did not come to this in time")


def kept_durations(directory):
    """Seconds of every model call, as the run itself has them."""
    done = subprocess.run(
        [sys.executable, "-m", "dytopo_autotrace", "export", "--format", "classic", "-o", "-"],
        cwd=directory,
        env=environment(),
        capture_output=True,
        text=True,
        check=True,
    )
    spans = [span for trace in json.loads(done.stdout)["traces"] for span in trace["spans"]]
    return sorted(span["duration"] for span in spans if span["role"] == "llm")


def test_prometheus_knows_the_percentile_that_the_run_has(tmp_path):
    """Its 95th percentile of model calls lies in the very bucket in which the run's own does."""
    (tmp_path / "program.py").write_text(textwrap.dedent(PROGRAM))
    address = f"127.0.0.1:{free_port()}"
    process = start(tmp_path, f'{AGENT}prometheus = "{address}"\n', "program.py")
    try:
        family = 'dytopo_operation_duration_seconds_{}{{role="llm"}}'
        with prometheus(tmp_path, address) as url:
            until(lambda: ask(url, "up") == [1.0])
            until(lambda: (tmp_path / ".dytopo" / "traces.db").exists())
            assert process.poll() is None
            # The swarm's model calls, all of which end before it says what they cost.
            printed = next(line for line in process.stdout if line.startswith("Ended by"))
            calls = int(re.search(r"(\d+) calls", printed)[1])
            until(lambda: sum(ask(url, family.format("count"))) >= calls)
            buckets = f"sum by (le) ({family.format('bucket')})"
            (p95,) = ask(url, f"histogram_quantile(0.95, {buckets})")
            (count,) = ask(url, f"sum({family.format('count')})")
            (tokens,) = ask(url, 'sum(gen_ai_client_token_usage_sum{gen_ai_token_type="input"})')
        (tmp_path / "enough").touch()
        _, said = process.communicate(timeout=30)
        assert (process.returncode, said) == (0, "")
    finally:
        process.kill()
        process.communicate()
    durations = kept_durations(tmp_path)
    assert len(durations) == count
    true = durations[math.ceil(0.95 * len(durations)) - 1]
    low = max((each for each in SECONDS if each < true), default=0.0)
    high = min(each for each in SECONDS if each >= true)
    assert low <= p95 <= high
    assert tokens > 0
