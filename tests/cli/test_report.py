"""`report`: of a kept run beside those before it, and of what --out wrote."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from dytopo_autotrace.cli import report
from dytopo_autotrace.collect import clock
from dytopo_autotrace.collect.records import RUN_FILE, records_to_json
from dytopo_autotrace.collect.span import ErrorInfo, Site, Span
from dytopo_autotrace.store.location import open_writer
from dytopo_autotrace.store.model import Batch, RunEnd, RunStart
from dytopo_autotrace.store.process import this_process
from tests.export.sample_runs import swarm

SECOND = 10**9
BEGUN = 1_700_000_000 * SECOND


@pytest.fixture
def keep(tmp_path):
    """Keeps the so-manieth run of a script, in which the named operations failed."""

    def make(number, *failed, script="swarm.py"):
        begun = BEGUN + number * 60 * SECOND
        writer = open_writer(str(tmp_path / "traces.db"))
        run_id = f"{number:032x}"
        writer.begin(RunStart(run_id, this_process(), begun, argv=(script,), script=script))
        first = clock.counter_ns(begun)
        spans = [Span(number * 100 + 1, 0, number, Site("main"), first)]
        for index, operation in enumerate(failed):
            span = Span(number * 100 + 2 + index, number * 100 + 1, number, Site(operation), first)
            span.error = ErrorInfo("OSError", f"refused by port {number}", identity=number)
            spans.append(span)
        for span in spans:
            span.end_ns = first + SECOND
            span.status = "error" if span.error else "success"
        writer.write(Batch(finished=spans, unix_ns=begun + SECOND))
        writer.end(RunEnd(begun + SECOND, 1.0, 0))
        writer.close()
        return run_id

    return make


def said(*args):
    done = CliRunner().invoke(report.command, [str(arg) for arg in args])
    assert done.exception is None, done.output
    return done.output


def test_what_failed_in_each_run_before_is_told_apart(tmp_path, keep):
    """Runs of other scripts, and later runs, do not count."""
    keep(1, "save", script="other.py")
    keep(2, "save")
    keep(3, "save", "load")
    latest = keep(4, "save", "load")
    keep(5)
    told = json.loads(said(latest, "--store", tmp_path / "traces.db", "--json"))
    recurring = {g["first"]["origin"]["operation"]: g["recurring"] for g in told["failures"]}
    assert recurring == {"load": 0, "save": 2}
    page = said(latest, "--store", tmp_path / "traces.db")
    assert "THE SAME IN EVERY ONE OF THE 2 RUNS BEFORE" in page


def test_a_directory_is_reported_as_its_run_was(tmp_path):
    """What --out wrote has all that the report at the end of the run was made of."""
    run = swarm()
    (tmp_path / RUN_FILE).write_text(records_to_json(run))
    told = json.loads(said(tmp_path, "--json"))
    assert told == json.loads(said(tmp_path / RUN_FILE, "--json"))
    assert told["service"] == run.service
    assert told["span_count"] == len(run.spans)


def test_a_path_without_traces_is_refused_with_a_reason(tmp_path):
    """No traceback: what is missing, and what would do."""
    done = CliRunner().invoke(report.command, [str(tmp_path)])
    assert done.exit_code == 1
    assert "trace-*.json" in done.output


def test_json_has_the_parts_that_the_options_ask_for(tmp_path):
    """`--agent`, `--round` and the others narrow the document down as they do the page."""
    run = swarm()
    (tmp_path / RUN_FILE).write_text(records_to_json(run))
    whole = json.loads(said(tmp_path, "--json"))
    agent = whole["activities"]["agents"][0]["agent"]
    parts = json.loads(said(tmp_path, "--json", "--agent", agent, "--failures"))
    assert parts.keys() >= {"verdict", "agent", "failures"}
    assert "rules" not in parts
    assert parts["failures"] == whole["failures"]
    assert [row["name"] for row in parts["agent"]["rows"]] == [
        row["name"] for row in whole["agents"] if row["name"] == agent
    ]
    number = whole["activities"]["rounds"][0]["round"]
    told = json.loads(said(tmp_path, "--json", "--round", number))["round"]
    assert told["activities"] == [
        each for each in whole["activities"]["rounds"] if each["round"] == number
    ]


@pytest.mark.parametrize("option", ["--round", "--agent"])
def test_json_of_what_is_not_there_is_refused(tmp_path, option):
    """A program must not take an empty answer for one."""
    (tmp_path / RUN_FILE).write_text(records_to_json(swarm()))
    done = CliRunner().invoke(report.command, [str(tmp_path), "--json", option, "nowhere"])
    assert done.exit_code == 1
    assert "There is no" in done.output
