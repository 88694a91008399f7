"""ClickHouse as a store: its tables are the Collector's, and a server that fails harms nobody."""

import importlib.util
import os
import random
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

import dytopo_autotrace
from dytopo_autotrace.collect.span import AGENT, Site
from dytopo_autotrace.recording import describe
from dytopo_autotrace.store.clickhouse import tables
from dytopo_autotrace.store.clickhouse import writer as writing
from dytopo_autotrace.store.clickhouse.address import Address, parse
from dytopo_autotrace.store.clickhouse.client import ClientConnection
from dytopo_autotrace.store.location import StoreError, locate, open_reader, open_writer, shown
from dytopo_autotrace.store.model import LOSSES, Batch, RunEnd, StoreBusy, StoreLost

CHAT = Site("call", role="llm", entry=(AGENT, "model", "prompt"), exit=("answer", "tokens_in"))
PROGRAM = """
import os, sys, time
def think(number):
    time.sleep(0.002)
def wait_for_model():
    time.sleep(60)
def main(how, seconds):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        think(1)
    print(sorted({"clickhouse_connect", "chdb", "numpy"} & set(sys.modules)))
    try:
        while True:
            os.wait()  # The shell that starts the courier may be about to end; nothing else is there.
    except ChildProcessError:
        print("no child")
    sys.stdout.flush()
    if how == "wait":
        wait_for_model()
    return 5
sys.exit(main(sys.argv[1], float(sys.argv[2])))
"""
RULES = '[[rule]]\ntarget = "__main__:*"\n'


@pytest.fixture
def path(clickhouse_url):
    return clickhouse_url


@pytest.fixture
def ask(path, clickhouse_server):
    """Asks the server something, past all of ours."""
    connection = ClientConnection(parse(path), creates=True)
    yield connection
    connection.close()


@pytest.fixture
def program(tmp_path):
    """Starts a watched program with a store; it is to end with status 5."""
    (tmp_path / "program.py").write_text(PROGRAM)
    (tmp_path / "rules.toml").write_text(RULES)

    def start(store, how="end", seconds=0.3, **environment):
        root = str(Path(dytopo_autotrace.__file__).parents[1])
        return subprocess.Popen(
            [
                *(sys.executable, "-m", "dytopo_autotrace", "--rules", "rules.toml"),
                *("--report", "none", "--store", store, "program.py", how, str(seconds)),
            ],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": root, **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    return start


def needs_engine():
    for name in ("chdb", "clickhouse_connect"):
        if importlib.util.find_spec(name) is None:
            pytest.skip(f"{name} is not installed: pip install 'dytopo-autotrace[chdb]'")


def still_open(reader):
    """The only run, how long each operation had been running when it was last heard of, and the rest."""
    (info,) = reader.runs()
    records = reader.load(info.start.run_id)
    running = [each for each in records.spans if not each.end_ns]
    took = {each.operation: records.now_ns - each.start_ns for each in running}
    return info, took, len(records.spans) - len(running)


def test_a_url_says_where(monkeypatch):
    """User, password with any character, port, database, TLS; what is left out has a default."""
    monkeypatch.setenv("CLICKHOUSE_PASSWORD", "hidden")
    whole = parse("clickhouse://ada:p%40ss%2F@host:9000/runs?secure=1&verify=0")
    assert whole == Address(
        "host", 9000, "ada", "p@ss/", "runs", is_secure=True, options=(("verify", "0"),)
    )
    assert parse("clickhouses://host") == Address("host", 8443, is_secure=True)
    assert parse("clickhouse://ada@host") == Address("host", 8123, "ada", "hidden")
    assert parse(locate("chdb://here/engine", "/w")).path == "/w/here/engine"


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("clickhouse://a:secret@/db", "no host"),
        ("clickhouse://a:secret@host:port/db", "[Pp]ort"),
        ("clickhouse://a:secret@host/db?verfy=0", "Did you mean 'verify'"),
        ("clickhose://a:secret@host/db", "Did you mean 'clickhouse'"),
    ],
)
def test_a_wrong_url_is_answered_without_its_password(url, said):
    """What is wrong is said, with the nearest that is right, and the password is not."""
    with pytest.raises(StoreError, match=said) as wrong:
        parse(locate(url, "/"))
    assert "secret" not in str(wrong.value)


def test_a_password_is_never_shown():
    """A location that is printed has stars where its password is."""
    assert shown("clickhouse://ada:s@:c@host/db") == "clickhouse://ada:***@host/db"
    assert shown("clickhouse://ada@host/db") == "clickhouse://ada@host/db"
    assert shown("/a/b:c@d.db") == "/a/b:c@d.db"


def test_dashboards_for_the_collectors_tables_see_our_spans(path, ask, start, span):
    """Columns, words and the look-up of traces are the Collector's; what was said is in none of them."""
    writer = open_writer(path, describe)
    writer.begin(start("a" * 32, service="svc"))
    made = span(site=CHAT)
    made.at_entry, made.at_exit = ("solver", "gpt-9", "the prompt"), ("the answer", 12)
    made.status = "error"
    writer.write(Batch(finished=[made], unix_ns=time.time_ns()))
    writer.close()
    (row,) = ask.query(
        "SELECT *, toUnixTimestamp64Nano(Timestamp) AS ns FROM otel_traces"
        " WHERE TraceId = {trace:String} AND Timestamp >= (SELECT min(Start) FROM"
        " otel_traces_trace_id_ts WHERE TraceId = {trace:String})",
        {"trace": made.trace_id},
    )
    assert (row["SpanId"], row["ParentSpanId"], row["Duration"]) == (made.span_id, "", 1500)
    assert abs(row["ns"] / 1e9 - made.start_time) < 1e-3
    assert (row["SpanName"], row["SpanKind"], row["StatusCode"]) == (
        "chat gpt-9",
        "Client",
        "Error",
    )
    assert (row["ServiceName"], row["ResourceAttributes"]["service.name"]) == ("svc", "svc")
    assert row["ResourceAttributes"]["dytopo.run.id"] == "a" * 32
    attributes = row["SpanAttributes"]
    assert attributes["gen_ai.operation.name"] == "chat"
    assert attributes["gen_ai.usage.input_tokens"] == "12"
    assert attributes["dytopo.agent"] == "solver"
    kept = {key for key, value in attributes.items() if "the answer" in value}
    assert kept == {"dytopo.store.captured"}


@pytest.mark.slow
def test_tables_that_the_collector_made_are_written_to(path, ask, start, span):
    """An older Collector's table, with its own order, time to live and type of a duration, will do."""
    older = tables.TABLES[tables.TRACES].replace("Duration UInt64", "Duration Int64")
    older = older.replace(
        "toDateTime(Timestamp))\n", "Timestamp)\nTTL toDateTime(Timestamp) + toIntervalDay(9)\n"
    )
    ask.command(older)
    writer = open_writer(path)
    writer.begin(start())
    writer.write(Batch(finished=[span()], unix_ns=time.time_ns()))
    writer.close()
    assert ask.query("SELECT Duration AS took, ServiceName AS who FROM otel_traces") == [
        {"took": 1500, "who": ""}
    ]


@pytest.mark.slow
def test_a_run_that_was_deleted_is_not_written_to(path, read, start, span):
    """Who deletes a run that runs has it deleted, hidden at once, and its writer stops within seconds."""
    now = [100.0]
    writer = writing.ClickHouseWriter(path, monotonic=lambda: now[0])
    writer.begin(start("a" * 32))
    writer.write(Batch(finished=[span()], unix_ns=time.time_ns()))
    read().delete("a" * 32)
    writer.write(Batch(finished=[span()], unix_ns=time.time_ns()))
    assert read().runs() == []
    now[0] += writing.LOOK_SECONDS
    with pytest.raises(StoreLost, match="store_deleted"):
        writer.write(Batch(finished=[span()], unix_ns=time.time_ns()))
    writer.close()


@pytest.mark.slow
def test_tables_that_were_dropped_are_begun_again(path, ask, read, start, span):
    """Who drops the tables of a running program gets new ones, and the loss is counted."""
    writer = open_writer(path)
    writer.begin(start())
    writer.write(Batch(finished=[span(), span()], unix_ns=time.time_ns()))
    for name in tables.TABLES:
        ask.command(f"DROP TABLE {name} SYNC")
    batch = Batch(finished=[span()], unix_ns=time.time_ns())
    with pytest.raises(StoreBusy, match="store_removed"):
        writer.write(batch)
    writer.write(batch)
    assert dict(writer.losses) == {"store_removed": 2}
    (info,) = read().runs()
    assert (info.spans, len(read().load(info.start.run_id).spans)) == (1, 1)
    writer.close()


@pytest.mark.slow
def test_a_later_layout_is_left_alone(path, ask, start, span):
    """What a later version made is neither written nor misread, and both say what to do."""
    open_writer(path).begin(start())
    ask.command(f"ALTER TABLE dytopo_process MODIFY COMMENT '{tables.COMMENT}{tables.VERSION + 1}'")
    with pytest.raises(StoreLost, match="store_newer"):
        open_writer(path).begin(start())
    with pytest.raises(StoreError, match="Upgrade"):
        open_reader(path)


@pytest.mark.slow
def test_who_is_refused_hears_so_without_the_password(clickhouse_server, start):
    """A wrong password ends it for the writer, and the reader says what the server said."""
    url = f"clickhouse://ada:wrong-one@127.0.0.1:{clickhouse_server}/x"
    writer = open_writer(url)
    with pytest.raises(StoreLost) as lost:
        writer.begin(start())
    writer.close()
    assert (lost.value.reason, "Authentication failed" in lost.value.detail) == (
        "store_refused",
        True,
    )
    with pytest.raises(StoreError, match="Authentication failed") as wrong:
        open_reader(url)
    assert "wrong-one" not in f"{lost.value} {wrong.value}"


def test_where_nothing_was_kept_there_is_nothing(path, ask):
    """Asking a server that keeps no runs says so, and makes nothing there."""
    with pytest.raises(StoreError, match="no store there"):
        open_reader(path)
    assert ask.query("SHOW TABLES") == []


@pytest.mark.slow
def test_a_forked_child_leaves_the_connection_to_its_parent(record, read, span):
    """A child that ends closes nothing of its parent's, which goes on writing."""
    kept = record()
    kept.take([span()])
    kept.tick()
    child = os.fork()
    if child == 0:
        os._exit(0 if kept.recorder.writer._start is None else 1)
    assert os.waitpid(child, 0)[1] == 0
    kept.take([span()])
    kept.finish(lambda: RunEnd(time.time_ns()))
    kept.tick()
    assert (kept.losses(), read().runs()[0].spans) == ({}, 2)


@pytest.mark.slow
def test_a_file_that_took_the_place_of_a_pipe_is_not_written_to(path, start, span, tmp_path):
    """A program that closes all descriptors and opens its own file keeps that file as it wrote it."""
    writer = open_writer(path)
    writer.begin(start())
    pipes = writer._courier._pipes
    (tmp_path / "mine").touch()
    for number in (pipes._write_to, pipes._read_from):
        mine = os.open(tmp_path / "mine", os.O_RDWR)
        os.dup2(mine, number)
        os.close(mine)
    with pytest.raises(StoreLost, match="store_descriptors"):
        writer.write(Batch(finished=[span()], unix_ns=time.time_ns()))
    writer.close()
    assert (tmp_path / "mine").stat().st_size == 0
    os.close(pipes._write_to)
    os.close(pipes._read_from)


def test_the_program_meets_nothing_of_it(program, path, read):
    """No library is in it, no child stays, and its status and output are what they would be."""
    watched = program(path)
    out, said = watched.communicate(timeout=60)
    assert (watched.returncode, out, said) == (5, "[]\nno child\n", "")
    (info,) = read().runs()
    assert (info.status, info.end.exit_status) == ("ended", 5)
    assert info.spans == len(read().load(info.start.run_id).spans) > 20


@pytest.mark.slow
def test_a_killed_program_tells_what_was_running(program, path, read):
    """After SIGKILL the run has died, and what ran for more than a second is listed as running."""
    watched = program(path, "wait", 0.2)
    assert watched.stdout.readline() == "[]\n"
    running, deadline = set(), time.monotonic() + 30
    while "wait_for_model" not in running and time.monotonic() < deadline:
        try:
            running = set(still_open(read())[1])
        except (StoreError, ValueError):
            time.sleep(0.1)  # It has not begun yet.
    watched.kill()
    watched.communicate()
    info, running, finished = still_open(read())
    assert (info.status, {"main", "wait_for_model"} - running.keys()) == ("died", set())
    assert running["main"] > running["wait_for_model"] > 0
    assert finished > 10


@pytest.mark.slow
@pytest.mark.parametrize("how", ["away", "hangs", "says nonsense", "no library"])
def test_a_server_that_fails_costs_the_program_two_seconds(program, tmp_path, how):
    """Nothing of the program changes but that its end comes up to seconds later; what was lost is said."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        environment = {}
        if how == "away":
            server.close()
        if how == "says nonsense":
            chance = random.Random(1)
            child = os.fork()
            if child == 0:
                while True:
                    server.accept()[0].sendall(chance.randbytes(99))
        if how == "no library":
            (tmp_path / "lib").mkdir()
            (tmp_path / "lib" / "clickhouse_connect.py").write_text("raise ImportError('none')")
            environment["PYTHONPATH"] = f"{tmp_path / 'lib'}:{Path(__file__).parents[2]}"
        began = time.monotonic()
        watched = program(f"clickhouse://u:s3cret@127.0.0.1:{port}/x", **environment)
        out, said = watched.communicate(timeout=60)
        took = time.monotonic() - began
        if how == "says nonsense":
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
    assert (watched.returncode, out) == (5, "[]\nno child\n")
    (line,) = said.splitlines()
    assert line.startswith("dytopo-autotrace: clickhouse://u:***@")
    assert " spans not in the store: " in line
    assert "s3cret" not in line
    if how == "no library":
        assert "pip install 'dytopo-autotrace[clickhouse]'" in line
    assert took < 10  # two seconds of patience, on a machine with other things to do


@pytest.mark.slow
def test_the_embedded_engine_serves_one_process_at_a_time(tmp_path, start, span):
    """A second writer waits and a reader says so; when the first has closed, all is there."""
    needs_engine()
    url = f"chdb://{tmp_path / 'engine'}"
    first, second = open_writer(url), open_writer(url)
    first.begin(start(service="one"))
    first.write(Batch(finished=[span()], unix_ns=time.time_ns()))
    with pytest.raises(StoreBusy) as busy:
        second.begin(start())
    assert busy.value.reason == "store_locked"
    second.close()
    first.end(RunEnd(time.time_ns()))
    first.close()
    done = subprocess.run(
        [sys.executable, "-m", "dytopo_autotrace", "runs", "--store", url, "--json"],
        env={**os.environ, "PYTHONPATH": str(Path(dytopo_autotrace.__file__).parents[1])},
        capture_output=True,
        text=True,
        check=False,
    )
    assert '"service": "one"' in done.stdout, done.stderr


def test_losses_have_words():
    """Every reason that ClickHouse's side counts under has words for people."""
    folder = Path(writing.__file__).parent
    said = "".join(path.read_text() for path in folder.glob("*.py"))
    reasons = {word.split('"')[0] for word in said.split('"store_')[1:]}
    assert {f"store_{reason}" for reason in reasons} <= set(LOSSES)
