"""The process of its own that renders a report, started as the launcher starts it."""

import io
import json
import sys

import pytest
from builders import run, swarm

from dytopo_autotrace.analyze.findings import to_json
from dytopo_autotrace.analyze.summary import summarize
from dytopo_autotrace.collect.records import records_to_json
from dytopo_autotrace.report import json_report, render, show


def test_the_report_of_a_child_process_appears_on_stderr(capfd):
    """Nothing is written to stdout, which belongs to the program."""
    show(records_to_json(run(swarm("swallowed"))))
    out, err = capfd.readouterr()
    assert out == ""
    assert "developer is dead" in err


def test_the_json_report_is_the_summary(capfd):
    """Every finding, as plain JSON."""
    records = run(swarm("timeout"))
    show(records_to_json(records), "json")
    assert json.loads(capfd.readouterr().err) == json.loads(json.dumps(to_json(summarize(records))))


def test_the_child_finds_the_package_from_anywhere(capfd, monkeypatch, tmp_path):
    """The program may have changed its directory and its path since."""
    (tmp_path / "rich.py").write_text("raise SystemExit('the wrong rich')")
    monkeypatch.chdir(tmp_path)
    show(records_to_json(run(swarm())))
    assert "OK  The program ended normally" in capfd.readouterr().err


def test_text_that_is_no_run_is_refused(capfd):
    """One line says what was wrong; no traceback."""
    show("[]")
    err = capfd.readouterr().err
    assert err.startswith("dytopo-autotrace: no report: ")
    assert len(err.splitlines()) == 1


def test_an_unknown_kind_names_the_nearest(capsys, monkeypatch):
    """A typing error is answered with what was meant."""
    monkeypatch.setattr(sys, "stdin", io.StringIO(""))
    assert render.main(["jsn"]) == 1
    assert "Did you mean 'json'?" in capsys.readouterr().err


def test_without_an_interpreter_the_reason_is_told(monkeypatch):
    """An embedded Python may not know its own executable."""
    monkeypatch.setattr(sys, "executable", "")
    with pytest.raises(RuntimeError, match=r"sys\.executable"):
        show("{}")


def test_json_has_every_part_of_the_summary():
    """What a terminal shortens is whole here."""
    document = json.loads(json_report.render(summarize(run(swarm("retry")))))
    assert document["verdict"]["level"] == "recovered"
    assert document["failures"][0]["first"]["attempts"] == 2
    assert len(document["agents"]) > 10
