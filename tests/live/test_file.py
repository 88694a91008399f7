"""A file that is written anew while the program runs."""

import json
import os

import pytest

from dytopo_autotrace.live.file import FileExport
from dytopo_autotrace.rules.model import EXPORT_FORMATS, Export
from tests.export.sample_runs import swarm

RUN = "0123456789abcdef" * 2


def file_in(directory, path, name="jaeger", version=lambda: None, **how):
    said = []
    export = Export(name, path=path, **how)
    made = FileExport(export, RUN, str(directory), swarm, version, said.append)
    return made, said


def test_the_formats_of_a_rule_file_are_those_that_there_are():
    """The list that rule files are checked against is that of the exporters."""
    from dytopo_autotrace.export.formats import FORMATS

    assert set(EXPORT_FORMATS) == set(FORMATS)


def test_it_is_written_where_the_program_was_started(tmp_path, monkeypatch):
    """A relative path is relative to the start; missing folders are made."""
    made, said = file_in(tmp_path, "deep/run.json", version=lambda: 1)
    monkeypatch.chdir("/")
    made.step()
    assert json.loads((tmp_path / "deep" / "run.json").read_text())["data"]
    assert said == []


def test_a_directory_gets_a_file_for_each_run(tmp_path):
    """A path that ends in a slash has the run's first digits and the format's ending in it."""
    made, _ = file_in(tmp_path, "traces/")
    made.last()
    assert os.listdir(tmp_path / "traces") == ["01234567.jaeger.json"]


def test_it_is_written_anew_only_when_there_is_something_new(tmp_path):
    """The same file stays while nothing changed; a change replaces it as a whole."""
    versions = iter([1, 1, 2])
    made, _ = file_in(tmp_path, "run.json", version=lambda: next(versions))
    inodes = []
    for _ in range(3):
        made.step()
        inodes.append((tmp_path / "run.json").stat().st_ino)
    assert inodes[0] == inodes[1] != inodes[2]
    assert os.listdir(tmp_path) == ["run.json"]


def test_content_goes_out_only_when_the_rule_file_says_so(tmp_path):
    """A goal is what somebody said."""
    for content in (False, True):
        made, _ = file_in(tmp_path, "run.json", content=content)
        made.last()
        assert ("Write a poem" in (tmp_path / "run.json").read_text()) == content


def test_what_cannot_be_written_is_trouble_until_it_can(tmp_path):
    """A place that cannot be written to is told, and tried again."""
    (tmp_path / "blocked").write_text("")
    versions = iter(range(9))
    made, said = file_in(tmp_path, "blocked/run.json", version=lambda: next(versions))
    made.step()
    assert made.trouble
    (tmp_path / "blocked").unlink()
    made.step()
    assert not made.trouble
    assert said == []


def test_a_missing_library_is_said_once(tmp_path, monkeypatch):
    """A format that needs a library that is not there says what to install, and is left alone."""
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    versions = iter(range(9))
    made, said = file_in(tmp_path, "run.parquet", "parquet", version=lambda: next(versions))
    made.step()
    made.step()
    made.last()
    (line,) = said
    assert "pyarrow" in line
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("name", [each for each in EXPORT_FORMATS if each != "parquet"])
def test_every_format_can_be_written(tmp_path, name):
    """The file is there and has something in it."""
    made, said = file_in(tmp_path, "run", name)
    made.last()
    assert (tmp_path / "run").stat().st_size
    assert said == []
