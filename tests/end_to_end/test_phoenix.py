"""A real OTLP backend, arize-phoenix, receives a run of the example swarm and answers with the same tree."""

import json
import os
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from contextlib import closing, contextmanager
from pathlib import Path
from socket import create_server

import pytest

from tests.end_to_end.test_live import AGENT, environment, report, swarm

PYTHON = os.environ.get("DYTOPO_PHOENIX_PYTHON", "")
PATIENCE_SECONDS = 180
"""Phoenix imports a lot and makes its database first."""

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not Path(PYTHON or "none").with_name("phoenix").is_file(),
        reason="needs DYTOPO_PHOENIX_PYTHON: the python of an environment with arize-phoenix",
    ),
]


def free_ports(count):
    taken = [create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [each.getsockname()[1] for each in taken]
    for each in taken:
        each.close()
    return ports


@contextmanager
def phoenix(directory):
    port, grpc = free_ports(2)
    url = f"http://127.0.0.1:{port}"
    with (directory / "phoenix.log").open("wb") as log:
        server = subprocess.Popen(
            [PYTHON, "-m", "phoenix.server.main", "serve"],
            cwd=directory,
            env={
                **{key: value for key, value in os.environ.items() if "PYTHON" not in key},
                "PHOENIX_HOST": "127.0.0.1",
                "PHOENIX_PORT": str(port),
                "PHOENIX_GRPC_PORT": str(grpc),
                "PHOENIX_WORKING_DIR": str(directory / "phoenix"),
                "PHOENIX_TELEMETRY_ENABLED": "false",
                "PHOENIX_ALLOW_EXTERNAL_RESOURCES": "false",
            },
            stdout=log,
            stderr=log,
        )
    try:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while get(f"{url}/healthz") is None:
            assert server.poll() is None, (directory / "phoenix.log").read_text()[-2000:]
            assert time.monotonic() < deadline, "Phoenix did not start in time"
            time.sleep(0.2)
        yield url
    finally:
        server.terminate()
        server.wait(30)


def get(url):
    try:
        with closing(urllib.request.urlopen(url, timeout=10)) as answer:
            return answer.read()
    except (urllib.error.URLError, ConnectionError):
        return None


def spans_in(url):
    found, cursor = [], ""
    while cursor is not None:
        asked = urllib.parse.urlencode({"limit": 500, **({"cursor": cursor} if cursor else {})})
        page = get(f"{url}/v1/projects/default/spans?{asked}")
        document = json.loads(page) if page else {"data": []}
        found += document["data"]
        cursor = document.get("next_cursor")
    return found


def kept_in(directory):
    done = subprocess.run(
        [sys.executable, "-m", "dytopo_autotrace", "export", "--format", "otlp", "-o", "-"],
        cwd=directory,
        env=environment(),
        capture_output=True,
        text=True,
        check=True,
    )
    (line,) = done.stdout.splitlines()
    return json.loads(line)["resourceSpans"][0]["scopeSpans"][0]["spans"]


STATUS = {None: "UNSET", 2: "ERROR"}


def test_phoenix_has_the_tree_that_the_store_has(tmp_path):
    """Ids, parents, names and statuses are the same, of a run in which an agent failed three times."""
    with phoenix(tmp_path) as url:
        rules = f'{AGENT}[[export]]\nformat = "otlp"\nendpoint = "{url}"\nevery_seconds = 0.2\n'
        code, _, said = swarm(tmp_path, rules, "0.3", "--fault", "retry")
        assert (code, said) == (0, "")
        kept = kept_in(tmp_path)
        deadline = time.monotonic() + 60
        received = spans_in(url)
        while len(received) < len(kept) and time.monotonic() < deadline:
            time.sleep(0.2)  # Phoenix writes what it has accepted in batches.
            received = spans_in(url)
    assert {
        each["context"]["span_id"]: (
            each["context"]["trace_id"],
            each["parent_id"],
            each["name"],
            each["status_code"],
        )
        for each in received
    } == {
        each["spanId"]: (
            each["traceId"],
            each.get("parentSpanId"),
            each["name"],
            STATUS[each["status"].get("code")],
        )
        for each in kept
    }
    assert sum(each["status_code"] == "ERROR" for each in received) >= 3
    assert not report(tmp_path)["drops"]
