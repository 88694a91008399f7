"""`runs`, `show` and `delete`: what is kept, for people and for programs."""

from __future__ import annotations

import json
import sqlite3
import time

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from dytopo_autotrace.cli import delete, runs, show
from dytopo_autotrace.collect import clock
from dytopo_autotrace.collect.span import AGENT, Site, Span
from dytopo_autotrace.store.location import open_writer
from dytopo_autotrace.store.model import Batch, ProcessInfo, RunEnd, RunInfo, RunStart, RunState
from dytopo_autotrace.store.process import this_process

GONE = this_process()._replace(birth=this_process().birth.rsplit("/", 1)[0] + "/1")


@pytest.fixture
def path(tmp_path):
    return str(tmp_path / "traces.db")


@pytest.fixture
def keep(path):
    """Keeps a run whose program ended, runs or died, with one span that ended and one that did not."""

    def make(run_id, process, status=None, **more):
        begun = time.time_ns() - 3 * 10**9
        writer = open_writer(path)
        writer.begin(RunStart(run_id, process, begun, argv=("swarm.py", "--fast"), **more))
        site = Site("agent_call", entry=(AGENT,))
        spans = [Span(number, 0, 1, site, clock.counter_ns(begun)) for number in (1, 2)]
        spans[0].end_ns, spans[0].status = spans[0].start_ns + 10**9, "error"
        for span in spans:
            span.at_entry = ("researcher",)
        state = RunState(drops={"store_locked": 7}, remarks=("a remark",))
        heard = begun + 2 * 10**9
        writer.write(Batch(finished=spans[:1], opened=spans[1:], unix_ns=heard, state=state))
        if status is not None:
            writer.end(RunEnd(heard, 2.0, status, "SystemExit", "as it wished"))
        writer.close()
        return run_id

    return make


def said(command, *args):
    done = CliRunner().invoke(command, args)
    assert done.exception is None, done.output
    return done.output


def refused(command, *args):
    done = CliRunner().invoke(command, args)
    assert done.exit_code == 1
    return done.output


def test_runs_are_listed_the_latest_first(path, keep):
    """Each run is a line that fits, with how it ended and what it left."""
    keep("a" * 32, GONE)
    keep("b" * 32, this_process())
    keep("c" * 32, this_process(), status=3)
    head, *lines = said(runs.command, "--store", path).splitlines()
    assert head.split() == ["run", "program", "started", "took", "end", "spans", "errors", "lost"]
    assert [line.split()[0] for line in lines[:3]] == ["c" * 8, "b" * 8, "a" * 8]
    assert ["status 3" in lines[0], "running" in lines[1], "died" in lines[2]] == [True] * 3
    assert all("swarm.py --fast" in line and len(line) <= 80 for line in lines[:3])
    assert lines[-1].startswith("3 runs, ")
    assert "1 of 3 runs" in said(runs.command, "--store", path, "-n", "1")


def test_a_run_that_died_says_what_was_running(path, keep):
    """What was running when the process was last heard of, for how long, and what was lost."""
    keep("a" * 32, GONE, task="why is it slow?")
    page = said(show.command, "--store", path)
    assert "died: its process is gone" in page
    assert "task      why is it slow?" in page
    assert "7: another program held the store's lock" in page
    (line,) = [line for line in page.splitlines() if line.startswith("agent_call")]
    assert line.split() == ["agent_call", "researcher", "2.00", "s", "0" * 15 + "2"]
    assert "a remark" in page


def test_values_of_metrics_are_no_lost_records(path, keep):
    """What a metric did not keep as it came is not counted among the records that are missing."""
    run = keep("a" * 32, GONE)
    connection = sqlite3.connect(path)
    connection.execute("UPDATE process SET drops = ?", ('{"metrics: overflowed": 90, "x": 2}',))
    connection.commit()
    connection.close()
    (info,) = json.loads(said(runs.command, "--store", path, "--json"))
    assert (info["run_id"], info["drops"]) == (run, 2)


def test_fewer_than_no_runs_cannot_be_listed(path, keep):
    """A negative limit is refused."""
    keep("a" * 32, GONE)
    done = CliRunner().invoke(runs.command, ["--store", path, "-n", "-3"])
    assert done.exit_code == 2


def test_a_start_in_another_year_has_its_year():
    """What ran this year is told to the minute, what was imported from before by its date."""
    now = time.time_ns()
    assert runs.began(now) == time.strftime("%m-%d %H:%M", time.localtime(now / 1e9))
    assert runs.began(1_000_000_000 * 10**9) == "2001-09-09"


def test_an_empty_id_names_no_run(path, keep):
    """`delete ''`, from a variable that is not set, deletes nothing."""
    keep("a" * 32, GONE)
    assert "names no run" in refused(delete.command, "--store", path, "")
    assert "a" * 8 in said(runs.command, "--store", path)


def test_an_exit_with_status_0_is_simply_ok(path, keep):
    """`sys.exit(0)` is no special end."""
    keep("a" * 32, this_process(), status=0)
    assert "ok: as it wished, after 2.00 s" in said(show.command, "--store", path)


def test_a_run_that_ended_says_how(path, keep):
    """Exit status, the kind of the end and its message are shown; spans when asked for."""
    keep("a" * 32, this_process(), status=3)
    page = said(show.command, "--store", path, "--spans", "5", "aaa")
    assert "status 3 (SystemExit): as it wished, after 2.00 s" in page
    assert page.count("agent_call") == 3  # one that runs, and both in the list


def test_programs_get_json(path, keep):
    """Both commands give all they know as JSON."""
    keep("a" * 32, GONE)
    (listed,) = json.loads(said(runs.command, "--store", path, "--json"))
    shown = json.loads(said(show.command, "--store", path, "--json", "--spans", "9"))
    assert listed.items() <= shown.items()
    assert (listed["status"], listed["spans"], listed["running_spans"]) == ("died", 1, 1)
    assert [span["running_seconds"] for span in shown["running"]] == [2.0]
    assert len(shown["spans_listed"]) == 2


def test_runs_are_deleted_by_prefix_all_or_none(path, keep):
    """What is asked for is looked up first: with one that is not there, none is removed."""
    for digit in "abc":
        keep(digit * 32, this_process(), status=0)
    assert "no run's id begins with 'f'" in refused(delete.command, "--store", path, "a", "f")
    assert len(json.loads(said(runs.command, "--store", path, "--json"))) == 3
    assert said(delete.command, "--store", path, "a", "c", "aa").count("deleted") == 2
    (left,) = json.loads(said(runs.command, "--store", path, "--json"))
    assert left["run_id"] == "b" * 32


def test_a_run_that_runs_is_deleted_by_force_only(path, keep):
    """A run that still runs stays, unless it is meant."""
    keep("a" * 32, this_process())
    assert "still runs" in refused(delete.command, "--store", path, "last")
    assert "deleted" in said(delete.command, "--store", path, "--force", "last")


def test_what_cannot_be_answered_is_explained(tmp_path, path, keep):
    """No store, no runs and none to read are said with what to do."""
    assert "no store there" in refused(runs.command, "--store", str(tmp_path / "x.db"))
    assert "nothing to read from" in refused(show.command, "--store", "none")
    keep("a" * 32, this_process(), status=0)
    said(delete.command, "--store", path, "a")
    assert "No runs are kept" in said(runs.command, "--store", path)
    assert "no runs yet" in refused(show.command, "--store", path)


@given(
    st.lists(
        st.builds(
            RunInfo,
            st.builds(
                RunStart,
                st.integers(0, 2**128 - 1).map("{:032x}".format),
                st.just(ProcessInfo("host", 1)),
                st.integers(0, 2**60),
                argv=st.lists(st.text(max_size=300), max_size=3).map(tuple),
            ),
            st.sampled_from(["running", "died"]),
            st.integers(0, 2**60),
            st.none()
            | st.builds(RunEnd, st.integers(0, 2**60), st.floats(0, 1e6), st.integers(0, 255)),
            spans=st.integers(0, 10**9),
            errors=st.integers(0, 10**6),
            drops=st.integers(0, 10**6),
        ),
        max_size=4,
    ),
    st.integers(80, 200),
)
def test_lines_always_fit(infos, columns):
    """Whatever a program is called, a run is one line that fits."""
    from rich.cells import cell_len

    lines = runs.lines(infos, infos, columns)
    assert len(lines) == (len(infos) + 1 if infos else 0)
    assert all(cell_len(line) <= columns and line.isprintable() for line in lines)
