"""What the tests of rules share."""

import textwrap

import pytest

from dytopo_autotrace.rules.load import load


@pytest.fixture
def loaded(tmp_path):
    """Write a rule file and load it."""

    def write_and_load(text):
        path = tmp_path / "rules.toml"
        path.write_text(textwrap.dedent(text), encoding="utf-8")
        return load(str(path), cwd=str(tmp_path), environ={})

    return write_and_load
