"""What the tests of the store share: spans made by hand, and recorders on a store of the test's own."""

import importlib.util
import itertools
import subprocess
import sys
import time
import uuid
from pathlib import Path

import pytest

from dytopo_autotrace.collect import clock
from dytopo_autotrace.collect.span import AGENT, FAILED, Measurement, Site, Span
from dytopo_autotrace.store.intake import Intake
from dytopo_autotrace.store.location import open_reader, open_writer
from dytopo_autotrace.store.model import RunStart
from dytopo_autotrace.store.process import this_process
from dytopo_autotrace.store.recorder import Recorder

SITE = Site(
    "agent_call",
    role="worker",
    rule="worker",
    entry=(AGENT, "round"),
    exit=("answer", FAILED, "\0tokens\x000"),
    measurements=(Measurement("tokens", "counter", "\0tokens\x000"),),
    failed_if="result is None",
)


@pytest.fixture
def path(tmp_path):
    """Where the store of this test is: its folder is not there yet."""
    return str(tmp_path / ".dytopo" / "traces.db")


@pytest.fixture(scope="session")
def clickhouse_server(tmp_path_factory):
    """The port of a server in front of the embedded engine, for all tests."""
    for name in ("chdb", "clickhouse_connect"):
        if importlib.util.find_spec(name) is None:
            pytest.skip(f"{name} is not installed: pip install 'dytopo-autotrace[chdb]'")
    server = subprocess.Popen(
        [
            *(sys.executable, Path(__file__).with_name("clickhouse_http.py")),
            tmp_path_factory.mktemp("engine") / "data",
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    port = server.stdout.readline()
    assert port, "the server did not start"
    yield int(port)
    server.communicate()


@pytest.fixture
def clickhouse_url(clickhouse_server):
    """A database of this test's own, which is not there yet."""
    return f"clickhouse://ada:s3cret%3A%2F%40@127.0.0.1:{clickhouse_server}/{uuid.uuid4().hex}"


@pytest.fixture
def folder(path):
    """The folder that the store is in."""
    return Path(path).parent


@pytest.fixture
def start():
    """Makes the start of a run by this process."""

    def make(run_id=None, **more):
        return RunStart(run_id or uuid.uuid4().hex, this_process(), time.time_ns(), **more)

    return make


@pytest.fixture
def span():
    """Makes spans of one site, one after the other; `is_open` for one that runs."""
    ids = itertools.count(1 << 40)

    def make(*, is_open=False, parent=0, site=SITE, trace=7):
        made = Span(next(ids), parent, trace, site, clock.now_ns())
        made.at_entry = (f"worker_{made.id % 4}", made.id % 3)
        made.at_exit = ("done", False, 12)
        if not is_open:
            made.end_ns = made.start_ns + 1_500
            made.status = "success"
        return made

    return make


@pytest.fixture
def record(path, start):
    """Makes intakes, with a recorder each, on the store of this test."""
    made = []

    def make(run_start=None, **more):
        def recorder(backlog):
            return Recorder(backlog, open_writer(path), run_start or start(), **more)

        made.append(Intake(recorder))
        return made[-1]

    yield make
    for intake in made:
        if intake.recorder is not None:
            intake.recorder.writer.close()


@pytest.fixture
def read(path):
    """Opens readers on the store of this test."""
    made = []

    def open_one():
        made.append(open_reader(path))
        return made[-1]

    yield open_one
    for reader in made:
        reader.close()
