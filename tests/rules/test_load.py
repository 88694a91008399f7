"""Which file is read, and that nothing in it or about it raises."""

import os
import textwrap

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dytopo_autotrace.rules.load import available_packs, load
from dytopo_autotrace.rules.model import Capture

RULE = '[[rule]]\nname = "{}"\ntarget = "a:f"\n'


def in_directory(tmp_path, **options):
    options.setdefault("environ", {})
    path = options.pop("path", None)
    return load(path, cwd=str(tmp_path), **options)


def own(ruleset):
    return [rule.name for rule in ruleset.rules if not rule.origin.pack]


def test_the_file_asked_for_counts_before_all_others(tmp_path):
    """An option counts before the variable, that before instrumentation.toml, that before pyproject."""
    (tmp_path / "option.toml").write_text(RULE.format("option"))
    (tmp_path / "variable.toml").write_text(RULE.format("variable"))
    (tmp_path / "instrumentation.toml").write_text(RULE.format("file"))
    (tmp_path / "pyproject.toml").write_text(
        "[tool.dytopo-autotrace]\n"
        + RULE.format("project").replace("[[", "[[tool.dytopo-autotrace.")
    )
    variable = {"DYTOPO_AUTOTRACE_RULES": "variable.toml"}
    assert own(in_directory(tmp_path, path="option.toml", environ=variable)) == ["option"]
    assert own(in_directory(tmp_path, environ=variable)) == ["variable"]
    assert own(in_directory(tmp_path, environ={"DYTOPO_AUTOTRACE_RULES": ""})) == ["file"]
    (tmp_path / "instrumentation.toml").unlink()
    assert own(in_directory(tmp_path)) == ["project"]
    (tmp_path / "pyproject.toml").unlink()
    default = in_directory(tmp_path)
    assert own(default) == []
    assert default.packs == ("dytopo",)
    assert default.rules
    assert default.faults == ()


def test_relative_paths_start_at_the_directory_given(tmp_path, monkeypatch):
    """The working directory of the process plays no part: programs change it while they run."""
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "r.toml").write_text(RULE.format("r"))
    monkeypatch.chdir(tmp_path)
    assert own(load("r.toml", cwd=str(tmp_path / "sub"), environ={})) == ["r"]
    assert own(load(str(tmp_path / "sub" / "r.toml"), cwd="/", environ={})) == ["r"]


def test_pyproject_tables_have_their_faults_where_they_are(tmp_path):
    """In pyproject.toml the tables are below tool.dytopo-autotrace, and lines are those of that file."""
    (tmp_path / "pyproject.toml").write_text(
        textwrap.dedent(
            """\
            [project]
            name = "x"
            [tool.dytopo-autotrace.agent]
            service = "shop"
            [[tool.dytopo-autotrace.rule]]
            target = "a:f"
            [[tool.dytopo-autotrace.rule]]
            target = "a.f"
            """
        )
    )
    for path in (None, "pyproject.toml"):
        ruleset = in_directory(tmp_path, path=path)
        assert ruleset.service == "shop"
        assert own(ruleset) == ["f"]
        (fault,) = ruleset.faults
        assert (fault.line, fault.key, fault.rule) == (8, "rule.target", 1)
        assert fault.file == str(tmp_path / "pyproject.toml")


@pytest.mark.parametrize(
    "text", ["[project]\n", "not toml", "[tool.other]\nx = 'dytopo-autotrace'\n"]
)
def test_a_pyproject_without_our_table_is_none_of_our_business(tmp_path, text):
    """A pyproject.toml that does not speak of us is passed over, unless it was asked for."""
    (tmp_path / "pyproject.toml").write_text(text)
    assert in_directory(tmp_path).packs == ("dytopo",)
    asked = in_directory(tmp_path, path="pyproject.toml")
    assert len(asked.faults) == 1
    assert asked.rules == ()


@pytest.mark.parametrize(
    ("data", "line", "says", "advises"),
    [
        (b"[agent]\nservice = shop\n", 2, "Invalid value", "in quotes"),
        (b"[agent]\nservice: 'shop'\n", 2, "Expected '='", "`=`"),
        (b"[agent]\n[agent]\n", 2, "Cannot declare", ""),
        (b'x = 1\ny = "\\q"\n', 2, "Unescaped", ""),
        (b"x = [1,", 1, "Invalid value", ""),
        (b"x = '\xff'\n", 1, "byte 0xff is no UTF-8", "UTF-8"),
        (b"\n\n\xc3(", 3, "byte 0xc3", ""),
        (b"x = " + b"[" * 5000, None, "Nested too deeply", ""),
        (b"#" * (2 << 20), None, "larger than", ""),
    ],
)
def test_a_file_that_is_no_toml_says_where(tmp_path, data, line, says, advises):
    """What cannot be read as TOML has no rules, one fault, and the line that is to blame."""
    (tmp_path / "instrumentation.toml").write_bytes(data)
    ruleset = in_directory(tmp_path)
    (fault,) = ruleset.faults
    assert ruleset.rules == ()
    assert fault.line == line
    assert says in fault.message
    assert advises in fault.hint


def test_a_byte_order_mark_is_no_fault(tmp_path):
    """Editors on Windows begin a UTF-8 file with a mark."""
    (tmp_path / "instrumentation.toml").write_bytes(b"\xef\xbb\xbf" + RULE.format("r").encode())
    assert own(in_directory(tmp_path)) == ["r"]


def test_files_that_cannot_be_read_name_the_nearest(tmp_path):
    """A missing file, a directory, an endless device and an impossible path are faults, not exceptions."""
    (tmp_path / "rules.toml").write_text("")
    (tmp_path / "directory").mkdir()
    cases = {
        "rule.toml": ("no such file", "Did you mean 'rules.toml'?"),
        "nowhere/rules.toml": ("no such file", "directory does not exist"),
        "directory": ("is a directory", "instrumentation.toml"),
        "/dev/zero": ("larger than", ""),
        "a\0b": ("cannot be read", ""),
        "rules.toml/x": ("cannot be read", ""),
    }
    for path, (says, advises) in cases.items():
        ruleset = in_directory(tmp_path, path=path)
        (fault,) = ruleset.faults
        assert says in fault.message
        assert advises in fault.hint
        assert fault.key == "--rules"
        assert ruleset.rules == ruleset.packs == ()
    (fault,) = in_directory(tmp_path, environ={"DYTOPO_AUTOTRACE_RULES": "x.toml"}).faults
    assert fault.key == "DYTOPO_AUTOTRACE_RULES"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_without_permission_is_a_fault(tmp_path):
    """A file that may not be read is a fault."""
    (tmp_path / "instrumentation.toml").touch(mode=0)
    assert "cannot be read" in in_directory(tmp_path).faults[0].message


def test_settings_become_values(loaded):
    """The keys of [agent] arrive in the rule set; a list of one may be a plain string."""
    ruleset = loaded(
        """
        [agent]
        service = "shop"
        packs = "dytopo"
        adopt = ["shop.observability", "größe.b"]
        [agent.capture]
        max_length = 0
        redact = "*mail*"
        """
    )
    assert ruleset.faults == ()
    assert ruleset.service == "shop"
    assert ruleset.packs == ("dytopo",)
    assert ruleset.adopt == ("shop.observability", "größe.b")
    assert ruleset.capture == Capture(0, ("*mail*",))


def test_an_empty_file_watches_nothing(loaded):
    """No rules and no packs named is no fault, and no default comes in their place."""
    ruleset = loaded("")
    assert (ruleset.rules, ruleset.packs, ruleset.faults) == ((), (), ())
    assert ruleset.capture == Capture()


def test_own_rules_come_before_those_of_packs(loaded):
    """Own rules are asked first, in order; a pack is applied once, and its name tells two rules apart."""
    ruleset = loaded(
        """
        [agent]
        packs = ["dytopo", "dytopo"]
        [[rule]]
        name = "worker"
        target = "dytopo.orchestrator:_call_worker"
        [[rule]]
        target = "a:g"
        """
    )
    assert ruleset.faults == ()
    assert ruleset.packs == ("dytopo",)
    assert [rule.name for rule in ruleset.rules[:2]] == ["worker", "g"]
    assert {rule.origin.pack for rule in ruleset.rules[2:]} == {"dytopo"}
    names = [rule.name for rule in ruleset.rules]
    assert "dytopo/worker" in names
    assert len(names) == len(set(names))
    assert ruleset.rules[0].origin.line == 4
    assert str(ruleset.rules[-1].origin) == "pack dytopo"


def test_the_packs_are_found():
    """The shipped packs are listed by name."""
    assert "dytopo" in available_packs()


TOML_VALUES = st.recursive(
    st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats()
    | st.sampled_from(["", "a:f", "result", "x y", "counter", "worker", "a_total"])
    | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [
                    "agent",
                    "rule",
                    "name",
                    "target",
                    "role",
                    "kind",
                    "value",
                    "labels",
                    "buckets",
                    "attributes",
                    "metric",
                    "capture",
                    "max_length",
                    "packs",
                    "redact",
                    "x-y",
                ]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


def toml(value):
    """A value in TOML's notation."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, dict):
        return "{" + ", ".join(f'"{key}" = {toml(each)}' for key, each in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(toml, value)) + "]"
    if isinstance(value, str):
        escaped = "".join(f"\\U{ord(character):08x}" for character in value)
        return f'"{escaped}"'
    return repr(value)


@given(
    st.dictionaries(st.sampled_from(["agent", "rule", "name"]), TOML_VALUES)
    | st.fixed_dictionaries({"rule": st.lists(TOML_VALUES, max_size=3)})
)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_no_content_raises_and_every_fault_is_complete(tmp_path, values):
    """Whatever TOML a file has, loading returns; each fault says where, what and why."""
    lines = "\n".join(f"{key} = {toml(value)}" for key, value in values.items())
    (tmp_path / "instrumentation.toml").write_text(lines, encoding="utf-8")
    ruleset = in_directory(tmp_path)
    for fault in ruleset.faults:
        assert fault.file
        assert fault.message
        assert fault.key
        assert str(fault.line) in str(fault)
    for rule in ruleset.rules:
        assert rule.name
        assert rule.targets


@given(st.binary(max_size=200))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_no_bytes_raise(tmp_path, data):
    """Whatever bytes a file has, loading returns."""
    (tmp_path / "instrumentation.toml").write_bytes(data)
    in_directory(tmp_path)


def test_the_store_is_described_in_a_table_of_its_own(tmp_path):
    """Where runs are kept and for how long is read from `[store]`; what is not said is the default."""
    file = tmp_path / "rules.toml"
    file.write_text('[store]\npath = "none"\nkeep_days = 7\n', encoding="utf-8")
    ruleset = load(str(file), cwd=str(tmp_path), environ={})
    assert not ruleset.faults
    assert (ruleset.store.path, ruleset.store.keep_days) == ("none", 7)
    assert ruleset.store.keep_runs == 200
