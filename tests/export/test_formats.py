"""The list of formats, the command that writes them, and the page that describes them."""

import json
import os
import re
import stat
from pathlib import Path

import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from dytopo_autotrace.cli import export as command
from dytopo_autotrace.collect.records import records_to_json
from dytopo_autotrace.collect.span import ErrorInfo
from dytopo_autotrace.errors import UsageError
from dytopo_autotrace.export import content, genai, replace_file
from dytopo_autotrace.export.formats import FORMATS, find, render
from dytopo_autotrace.export.run import Run
from dytopo_autotrace.importing import conventions
from tests.export.sample_runs import records, runs, span, swarm

DOCS = (Path(__file__).parents[2] / "docs" / "formats.md").read_text(encoding="utf-8")
WITHOUT_EXTRAS = [name for name in FORMATS if name != "parquet"]


@pytest.fixture
def run_file(tmp_path):
    """The sample run as a file of records."""
    path = tmp_path / "poets.run.json"
    path.write_text(records_to_json(swarm()), encoding="utf-8")
    return path


def invoke(*args):
    return CliRunner().invoke(command.command, list(args), prog_name="export")


@settings(max_examples=25)
@given(runs(), st.sampled_from(WITHOUT_EXTRAS), st.booleans())
def test_every_format_writes_every_run(run, name, asked):
    """No run makes an exporter raise, and what it writes is UTF-8 and the same each time."""
    written = b"".join(render(name, run, content=asked))
    written.decode("utf-8")
    assert b"".join(render(name, run, content=asked)) == written


HALF = "half a pair: \ud800"


@pytest.mark.parametrize("name", WITHOUT_EXTRAS)
@pytest.mark.parametrize("role", ["orchestrator", "manager", "llm", "tool", "router", HALF])
def test_text_without_a_utf8_form_is_written(name, role):
    """Half a surrogate pair, wherever it stands, becomes the character that stands for such."""
    error = ErrorInfo(HALF, HALF, HALF, ((HALF, 1, HALF),))
    measured = ((HALF, "gauge", 1, ((HALF, HALF),)),)
    made = span(
        1,
        HALF,
        0,
        1,
        role=role,
        agent=HALF,
        rule=HALF,
        status="error",
        error=error,
        measurements=measured,
        **{HALF: HALF, "model": HALF, "tool": 1, "edges": [[HALF, HALF, 1]], "round": HALF},
    )
    running = span(2, HALF, 0, None, links=(1,))
    run = records([made, running], service=HALF, drops={HALF: 1}, remarks=(HALF,), ended=HALF)
    b"".join(render(name, run, content=True)).decode("utf-8")


@pytest.mark.parametrize("name", ["otlp", "jaeger", "zipkin", "perfetto", "csv"])
def test_spans_come_in_chunks(name):
    """Nothing is put together in memory: each span comes as a chunk of its own."""
    run = swarm()
    assert sum(1 for _ in FORMATS[name].render(Run(run))) >= len(run.spans)


def test_an_unknown_format_teaches():
    """The nearest valid name is told."""
    with pytest.raises(UsageError, match=r"no format 'jaegr'\. Did you mean 'jaeger'"):
        find("jaegr")


@pytest.mark.parametrize("name", WITHOUT_EXTRAS)
def test_the_command_writes_a_file(name, run_file, tmp_path, monkeypatch):
    """Without --output the file is named after the run and the format, here; both ways are the same."""
    monkeypatch.chdir(tmp_path)
    found = invoke(str(run_file), "--format", name)
    assert found.exit_code == 0, found.output
    path = tmp_path / f"poets{FORMATS[name].suffix}"
    assert path.read_bytes() == b"".join(render(name, swarm()))
    assert f"{path.name}: 15 spans as {name}." in found.stderr
    # What was only worked out from the spans has no place for what they said.
    assert ("3 values left out" in found.stderr) == FORMATS[name].has_spans
    assert ("--content" in found.stderr) == FORMATS[name].has_spans


@pytest.mark.parametrize(("asked", "mode"), [(("--content",), 0o600), ((), 0o644)])
def test_a_file_with_content_is_its_owners(run_file, tmp_path, asked, mode):
    """Prompts and answers are for nobody else's eyes; what has none is as the umask says."""
    before = os.umask(0o022)
    try:
        invoke(str(run_file), "-f", "otlp", "-o", str(tmp_path / "out.json"), *asked)
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "out.json").stat().st_mode) == mode


def test_the_command_writes_to_stdout(run_file):
    """With `-` stdout has the document and nothing else."""
    found = invoke(str(run_file), "-f", "jaeger", "-o", "-", "--content")
    assert len(json.loads(found.stdout)["data"]) == 2
    assert found.stderr == ""


def test_the_command_does_not_write_over_what_it_reads(run_file):
    """A lossy copy never takes the place of the run itself."""
    before = run_file.read_bytes()
    found = invoke(str(run_file), "-f", "otlp", "-o", str(run_file))
    assert found.exit_code == 1
    assert "is what is being exported" in found.stderr
    assert run_file.read_bytes() == before


def test_the_command_teaches(tmp_path, run_file):
    """What is wrong is one message without a traceback: the format, the run, the place to write."""
    for args in (
        (str(run_file), "-f", "jaegr"),
        (str(tmp_path / "nothing.json"), "-f", "otlp"),
        (str(run_file), "-f", "otlp", "-o", str(run_file / "below" / "a file")),
    ):
        found = invoke(*args)
        assert found.exit_code == 1
        assert found.stderr.startswith("Error: ")
        assert found.stdout == ""


def test_a_file_that_cannot_be_finished_is_not_begun(tmp_path):
    """If a chunk cannot be made, the old file stays and nothing is left beside it."""
    path = tmp_path / "out.json"
    path.write_text("old")

    def chunks():
        yield b"new"
        raise KeyError

    with pytest.raises(KeyError):
        replace_file(path, chunks())
    assert [each.read_text() for each in tmp_path.iterdir()] == ["old"]


def test_the_page_has_every_format():
    """Name, suffix and description in the documentation are those of the list."""
    for name, each in FORMATS.items():
        assert f"| `{name}` | `{each.suffix}` | {each.description} |" in DOCS


def test_the_page_has_every_name():
    """Metadata keys, foreign attributes and the words of content are documented as they are."""
    quoted = set(re.findall(r"`([^`\n]+)`", DOCS))
    names = {name for keys in genai.KEYS_BY_ROLE.values() for name in keys}
    spellings = {
        key for keys in genai.KEYS_BY_ROLE.values() for listed in keys.values() for key in listed
    }
    foreign = {key for listed in conventions.RENAMED.values() for key in listed}
    for expected in (
        *(names, spellings, foreign, conventions.AGENTS, conventions.ROLES),
        *(content.WORDS, content.HARMLESS_ENDINGS, content.NEVER),
    ):
        assert set(expected) - quoted == set()
