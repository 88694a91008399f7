"""The schema and the manual say what the loader does."""

import json
import pathlib
import re
import subprocess
import sys
import tomllib

import jsonschema
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dytopo_autotrace.rules import keys, schema
from dytopo_autotrace.rules.expressions import FUNCTIONS, METHODS
from dytopo_autotrace.rules.load import PACKS, load

ROOT = pathlib.Path(__file__).parents[2]
SCHEMA = schema.schema()
SHIPPED = pathlib.Path(schema.__file__).with_name(schema.FILE_NAME)
VALIDATOR = jsonschema.Draft7Validator(SCHEMA)


def test_the_shipped_schema_is_the_generated_one():
    """Run `python -m dytopo_autotrace.rules.schema` into the shipped file after changing a key."""
    printed = subprocess.run(
        [sys.executable, "-m", "dytopo_autotrace.rules.schema"],
        capture_output=True,
        check=True,
        cwd=ROOT,
        text=True,
    ).stdout
    assert SHIPPED.read_text(encoding="utf-8") == printed
    assert json.loads(printed) == SCHEMA
    jsonschema.Draft7Validator.check_schema(SCHEMA)


@pytest.mark.parametrize(
    "path",
    [ROOT / "instrumentation.toml", *pathlib.Path(PACKS).glob("*.toml")],
    ids=lambda p: p.name,
)
def test_what_we_ship_is_valid(path):
    """Our own rule file and every pack are valid by the schema and have no faults."""
    VALIDATOR.validate(tomllib.loads(path.read_text(encoding="utf-8")))
    ruleset = load(str(path), cwd="/", environ={})
    assert ruleset.faults == ()
    assert ruleset.rules


def test_the_example_points_editors_to_the_schema():
    """The first line of the example is the notation by which editors find the schema."""
    first, *_ = (ROOT / "instrumentation.toml").read_text(encoding="utf-8").splitlines()
    assert (ROOT / first.removeprefix("#:schema ")).samefile(SHIPPED)


def test_the_example_has_every_key():
    """The annotated reference mentions each key, if only in a comment."""
    text = (ROOT / "instrumentation.toml").read_text(encoding="utf-8")
    for header, table in keys.TABLES.items():
        for key in table:
            name = f"{header.strip('[]')}.{key.name}"
            if key.keys:
                assert f"[{name}]" in text
            else:
                assert re.search(rf"^\s*(# )?{key.name} = ", text, re.MULTILINE), name


@pytest.mark.parametrize(
    "text",
    [
        "agents = {}",
        "agent = 1",
        "agent.servce = 'x'",
        "agent.service = 1",
        "agent.service = ''",
        "agent.packs = [1]",
        "agent.adopt = 'a:b'",
        "agent.capture = []",
        "agent.capture.max_length = -1",
        "agent.capture.max_length = 1.5",
        "agent.capture.redact = {}",
        "rule = { target = 'a:f' }",
        "rule = ['a:f']",
        "rule = [{}]",
        "rule = [{ target = 'a.f' }]",
        "rule = [{ target = [] }]",
        "rule = [{ target = 1 }]",
        "rule = [{ target = 'a:f', exclude = 'a:b:c' }]",
        "rule = [{ target = 'a:f', role = 'My Role' }]",
        "rule = [{ target = 'a:f', agent = 1 }]",
        "rule = [{ target = 'a:f', agent = '' }]",
        "rule = [{ target = 'a:f', attributes = 'x' }]",
        "rule = [{ target = 'a:f', attributes = { 'a b' = 'x' } }]",
        "rule = [{ target = 'a:f', attributes = { a = { b = 'x' } } }]",
        "rule = [{ target = 'a:f', scope = {} }]",
        "rule = [{ target = 'a:f', metric = {} }]",
        "rule = [{ target = 'a:f', metric = [{ name = 'x', kind = 'gauge' }] }]",
        "rule = [{ target = 'a:f', metric = [{ name = 'x', kind = 'sum', value = '1' }] }]",
        "rule = [{ target = 'a:f', metric = [{ name = 'x y', kind = 'gauge', value = '1' }] }]",
        "rule = [{ target = 'a:f', metric = [{ name = 'x', kind = 'gauge', value = 1 }] }]",
        "rule = [{ target = 'a:f', metric = [{ name = 'x', kind = 'gauge', value = '1', labels = { __a = '1' } }] }]",
        "rule = [{ target = 'a:f', metric = [{ name = 'x', kind = 'histogram', value = '1', buckets = ['1'] }] }]",
    ],
)
def test_the_schema_and_the_loader_refuse_the_same_structures(loaded, text):
    """An editor that knows the schema marks each structural fault that the loader reports."""
    assert not VALIDATOR.is_valid(tomllib.loads(text))
    assert loaded(text).faults


NAMES = sorted({key.name for table in keys.TABLES.values() for key in table} | {"x"})
SCALARS = st.sampled_from(
    ["1", "-1", "true", "''", "'a:f'", "'x'", "'counter'", "'io'", "[]", "[1, 2]"]
)
INLINE = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=2).map(lambda values: f"[{', '.join(values)}]")
        | st.dictionaries(st.sampled_from(NAMES), inner, max_size=3).map(
            lambda table: "{" + ", ".join(f"{key} = {value}" for key, value in table.items()) + "}"
        )
    ),
    max_leaves=6,
)


@given(
    st.dictionaries(st.sampled_from(["agent", "rule"]), INLINE)
    | st.dictionaries(st.sampled_from(NAMES), INLINE, max_size=3).map(
        lambda table: {
            "rule": "[{target = 'a:f'"
            + "".join(f", {key} = {value}" for key, value in table.items() if key != "target")
            + "}]"
        }
    )
)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_what_the_loader_takes_the_schema_takes(loaded, table):
    """A file without faults is valid by the schema, so no editor marks what works."""
    text = "\n".join(f"{key} = {value}" for key, value in table.items())
    if not loaded(text).faults:
        VALIDATOR.validate(tomllib.loads(text))


def test_the_manual_has_every_key_and_every_function():
    """The tables of keys, functions and methods in docs/rules.md are the generated ones."""
    text = (ROOT / "docs" / "rules.md").read_text(encoding="utf-8")
    _, _, rest = text.partition("<!-- keys: generated from dytopo_autotrace/rules/keys.py -->\n")
    assert rest.partition("\n<!-- /keys -->")[0] == schema.key_table()
    for kind, names in (("functions", FUNCTIONS), ("methods", METHODS)):
        listed = re.search(rf"^\| {kind} \| (.*) \|$", text, re.MULTILINE)
        assert listed[1] == " ".join(f"`{name}`" for name in sorted(names))
