"""`init`: where the starter goes, and what a person is told to do with it."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from dytopo_autotrace.cli import check, init

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return lambda *argv: CliRunner().invoke(init.command, list(map(str, argv)))


def test_what_it_writes_passes_check(run, tmp_path):
    """The starter for the example, written where it counts, passes `check` for its script."""
    written = run(EXAMPLES)
    checked = CliRunner().invoke(check.command, [str(EXAMPLES / "run_swarm.py")])

    assert (written.exit_code, written.stdout) == (0, "")
    assert "1 orchestrator, 1 manager, 1 router, 1 worker, 1 llm of" in written.stderr
    assert f"dytopo-autotrace check {Path('..')}" in written.stderr
    assert checked.exit_code == 0, checked.output
    assert "5 rules of instrumentation.toml" in checked.output
    assert "All rules match." in checked.output


def test_it_does_not_write_over_a_file(run, tmp_path):
    """A file that is there stays as it is, unless --force says otherwise."""
    file = tmp_path / "instrumentation.toml"
    file.write_text("# mine")
    refused = run(EXAMPLES)

    assert refused.exit_code == 2
    assert "--force" in refused.stderr
    assert file.read_text() == "# mine"
    assert run(EXAMPLES, "--force").exit_code == 0
    assert "[[rule]]" in file.read_text()


def test_on_stdout(run, tmp_path):
    """`--out -` writes the file to stdout and nothing else anywhere."""
    shown = run(EXAMPLES, "--out", "-")

    assert shown.stdout.startswith("# A starter")
    assert shown.stderr == ""
    assert list(tmp_path.iterdir()) == []


def test_a_project_without_a_swarm(run, tmp_path):
    """Where nothing looks like a swarm the file says how to name functions."""
    (tmp_path / "plain.py").write_text("def add(a, b): return a + b\n")
    done = run()

    assert done.exit_code == 0
    assert "nothing of 1 functions in 1 modules" in done.stderr
    assert "# [[rule]]" in (tmp_path / "instrumentation.toml").read_text()


@pytest.mark.parametrize(
    ("argv", "said"),
    [(["nowhere"], "there is no 'nowhere'"), (["."], "has no Python source")],
)
def test_nothing_to_read(run, argv, said):
    """What is not there, or has no source, is bad usage."""
    done = run(*argv)

    assert done.exit_code == 2
    assert said in done.stderr
