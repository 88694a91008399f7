"""Whatever is named as a program is found, or refused with a message."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dytopo_autotrace.cli.programs import find_module, find_script, why_not
from dytopo_autotrace.errors import UsageError


def test_script_that_does_not_compile_has_no_code(tmp_path):
    """A script that does not compile is found; that it cannot run is Python's to say."""
    (tmp_path / "start.py").write_text("x = (\n")

    assert find_script(str(tmp_path / "start.py")).code is None


@given(st.binary(max_size=200).filter(lambda data: b"\0" not in data))
def test_any_file_is_found(tmp_path_factory, data):
    """Whatever a file holds but null bytes, it is a program, and nothing is raised."""
    file = tmp_path_factory.getbasetemp() / "any.py"
    file.write_bytes(data)

    program = find_script(str(file))
    assert program.source == data
    if program.code is not None:
        assert program.code.co_filename == str(file)


@given(st.text(st.characters(exclude_characters="\0", codec="utf-8"), min_size=1, max_size=30))
def test_any_name_gives_a_message(name):
    """Whatever script is asked for, one that is not there is refused with a message that has it."""
    name = f"{name}.not here"
    with pytest.raises(UsageError) as refused:
        find_script(name)

    assert repr(name) in str(refused.value)


@given(st.from_regex(r"\.?(\w{1,5}\.){0,3}\w{1,5}", fullmatch=True))
def test_any_module_gives_a_reason(name):
    """Whatever module runpy refuses, there is a sentence on it."""
    reason = why_not(name, "No module named x")

    assert reason.endswith((".", "?"))
    assert 10 < len(reason) < 400


def test_module_beside_a_file_of_its_name(tmp_path, monkeypatch):
    """A file without a suffix does not stand in the way of a module of its name."""
    (tmp_path / "tool").write_text("")
    (tmp_path / "tool.py").write_text("")
    monkeypatch.chdir(tmp_path)

    assert find_module("tool").name == "tool"
    with pytest.raises(UsageError, match="Leave out -m"):
        find_module("tool.py")
