"""`doctor`: what decides whether a program here is watched, and what is in the way."""

from __future__ import annotations

import os
import py_compile
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dytopo_autotrace.preflight.doctor.answer import Answer, without_password
from dytopo_autotrace.preflight.doctor.configuration import (
    rule_answers,
    source_answers,
    store_answers,
)
from dytopo_autotrace.preflight.doctor.interpreter import flag_answers
from dytopo_autotrace.preflight.doctor.neighbours import neighbour_answers
from dytopo_autotrace.preflight.doctor.page import page
from dytopo_autotrace.preflight.doctor.surroundings import surrounding_answers
from dytopo_autotrace.rules.load import load

RULE = '[[rule]]\ntarget = "os.path:join"\n'


def texts(answers):
    return " | ".join(f"{each.text} {each.hint}" for each in answers)


def test_here_nothing_is_in_the_way(project):
    """With a rule file, a place for the store and wrapt, a sample is woven and the status is 0."""
    project.rules(RULE)
    document, status = project.json("doctor")
    said = {each["topic"]: each for each in document["answers"] if each["level"] == "ok"}

    assert (document["ok"], status) == (True, 0)
    assert f"{sys.version_info[0]}.{sys.version_info[1]}" in said["python"]["text"]
    assert "4 of 4 sample functions" in said["weaving"]["text"]
    assert "C extension" in said["wrapt"]["text"] or "pure" in texts_of(document, "wrapt")
    assert "traces.db: not there yet, can be made" in said["store"]["text"]
    assert not (project.directory / ".dytopo").exists()


def texts_of(document, topic):
    return " ".join(each["text"] for each in document["answers"] if each["topic"] == topic)


@pytest.mark.parametrize(
    ("flags", "env", "topic", "said"),
    [
        (["-I"], {}, "flags", "started with -I"),
        (["-E"], {}, "flags", "started with -E"),
        ([], {"DYTOPO_AUTOTRACE_DISABLED": "1"}, "flags", "nothing is watched"),
        ([], {"DYTOPO_AUTOTRACE_RULES": "gone.toml"}, "rules", "there is no such file"),
    ],
)
def test_what_stops_weaving_ends_with_status_1(project, flags, env, topic, said):
    """Each thing that keeps functions from being woven is marked, named again at the end, and fails."""
    project.rules(RULE)
    root = {"-I": project.root, "-E": project.root}.get(next(iter(flags), ""))
    ended = project.run("doctor", flags=flags, code=root, **env)

    assert ended.returncode == 1, ended.stderr
    assert said in " ".join(ended.stdout.split())
    assert f"Something stops weaving: see X ({topic})." in ended.stdout
    assert max(map(len, ended.stdout.splitlines())) <= 80


def test_wrapt_in_pure_python_is_said(project):
    """Without wrapt's C extension calls cost more, which is told and stops nothing."""
    document, status = project.json("doctor", WRAPT_DISABLE_EXTENSIONS="1")

    assert "pure Python" in texts_of(document, "wrapt")
    assert status == 0


def test_what_runs_before_a_program_is_found(project):
    """A sitecustomize of the environment, and what it imports, is seen as the program will see it."""
    project.write("before/sitecustomize.py", "import sys, types\nsys.modules['ddtrace'] = sys\n")
    ended = project.run("doctor", paths=(project.directory / "before",))
    said = " ".join(ended.stdout.split())

    assert "Datadog is in this process" in said
    assert "sitecustomize runs before every program" in said


def test_why_a_rule_file_counts(tmp_path):
    """The file is named with the reason why it is that one, and one that is not read is named too."""
    (tmp_path / "instrumentation.toml").write_text(RULE)
    (tmp_path / "other.toml").write_text(RULE)
    (tmp_path / "empty").mkdir()
    cwd = str(tmp_path)

    def answers(asked=None, *, cwd=cwd, **environ):
        return texts(
            rule_answers(load(asked, cwd=cwd, environ=environ), asked, cwd=cwd, environ=environ)
        )

    assert "instrumentation.toml (it is in the working directory): 1 rules" in answers()
    assert "other.toml (--rules names it)" in answers("other.toml")
    assert "is there too, and is not read" in answers("other.toml")
    assert "(DYTOPO_AUTOTRACE_RULES names it)" in answers(DYTOPO_AUTOTRACE_RULES="other.toml")
    assert "none, so the pack alone (no instrumentation.toml" in answers(
        cwd=str(tmp_path / "empty")
    )


def test_compiled_modules_stop_what_needs_their_source(tmp_path):
    """A function that only the source leads to is out of reach where there are .pyc files alone."""
    source = tmp_path / "compiled.py"
    source.write_text("def f():\n    def g(): pass\n")
    py_compile.compile(str(source), cfile=str(tmp_path / "compiled.pyc"))
    source.unlink()
    (tmp_path / "r.toml").write_text(
        '[[rule]]\ntarget = "compiled:f.<locals>.g"\n[[rule]]\ntarget = "compiled:f"\n'
    )
    ruleset = load("r.toml", cwd=str(tmp_path), environ={})

    assert [each.level for each in source_answers(ruleset, str(tmp_path))] == ["stops", "note"]


def test_the_store(tmp_path):
    """A place that cannot be written, and a file that is no store, are told with the reason."""
    (tmp_path / "text.db").write_text("no database, but long enough to be looked into " * 50)
    blocked = tmp_path / "file"
    blocked.write_text("")

    (fine,) = (each for each in store_answers(None, str(tmp_path)) if "disk" not in each.text)
    assert fine.level == "ok"
    assert "cannot be read as a store" in texts(store_answers("text.db", str(tmp_path)))
    assert next(store_answers(str(blocked / "x.db"), str(tmp_path))).level == "warning"
    assert texts(store_answers("none", "")).startswith("none: runs are not kept")
    assert "no store of the kind 'mongo'" in texts(store_answers("mongo://x", ""))
    assert sorted(os.listdir(tmp_path)) == ["file", "text.db"]


def test_who_else_is_asked_for():
    """Another tool's variables are named without their values."""
    said = texts(neighbour_answers({"SENTRY_DSN": "https://secret@host"}))

    assert "SENTRY_DSN" in said
    assert "secret" not in said


def test_pythonpath():
    """Each entry of PYTHONPATH is looked at; one that is not there is a warning."""
    answers = list(surrounding_answers({"PYTHONPATH": os.pathsep.join(["/nowhere/at/all", "/"])}))
    levels = {
        each.text.split()[2].rstrip(","): each.level for each in answers if "PATH" in each.text
    }

    assert levels == {"/nowhere/at/all": "warning", "/": "ok"}


def test_nothing_is_in_the_way_of_this_interpreter():
    """Without flags and variables there is nothing to say about them."""
    assert [each for each in flag_answers({}) if each.level == "stops"] == []


@given(st.text(), st.text(alphabet="abc123", min_size=1))
def test_passwords_are_not_shown(name, password):
    """Of a URL neither the password nor the parameters are shown."""
    shown = without_password(
        f"clickhouse://{name.replace(':', '')}:{password}ZZ@host/db?key={password}ZZ"
    )

    assert "ZZ" not in shown.replace(name, "")


@given(st.text(), st.sampled_from(["ok", "note", "warning", "stops"]), st.integers(30, 120))
def test_it_fits(text, level, width):
    """Whatever an answer says, no line is wider than the terminal."""
    from rich.cells import cell_len

    for line in list(page([Answer("environment", text, level, text)], width))[:-1]:
        assert cell_len(line) <= width
