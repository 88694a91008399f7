"""The classic JSON forms, and that writing them neither fails nor leaves half a file."""

import json
import math
import os
import stat
import threading
from enum import IntEnum, StrEnum
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dytopo_autotrace.collect.series import MetricPoint
from dytopo_autotrace.collect.span import Site, Span
from dytopo_autotrace.export import classic, replace_file


def span(span_id, start_ns, end_ns, parent=0):
    made = Span(span_id, parent, 7, Site("call"), start_ns)
    made.end_ns = end_ns
    return made


def test_a_trace_is_its_spans_by_start():
    """Spans come by start time, and the trace lasts from the first start to the last end."""
    root, child = span(1, 1_000_000_000, 4_500_000_000), span(2, 2_000_000_000, 3_000_000_000, 1)
    found = classic.trace([child, root])
    assert found == {
        "trace_id": f"{7:032x}",
        "total_spans": 2,
        "start_time": root.start_time,
        "end_time": root.end_time,
        "total_duration": 3.5,
        "spans": [root.to_dict(), child.to_dict()],
    }


def test_a_trace_says_nothing_of_what_has_not_ended():
    """Without a finished span there is no end and no duration; without spans no trace."""
    running = classic.trace([span(1, 5, 0)])
    assert (running["end_time"], running["total_duration"]) == (None, None)
    assert classic.trace([span(1, 5, 0), span(2, 6, 1_000_000_005)])["total_duration"] == 1.0
    assert classic.trace([])["total_spans"] == 0
    assert classic.trace([])["trace_id"] is None


def test_metrics_and_failures_say_how_many():
    """Each form counts what it lists."""
    found = classic.metrics([MetricPoint("m", 1.0, 2.0, {"a": "b"})], 24.0, {"refused": 1})
    assert found["total_metrics"] == 1
    assert found["metrics"] == [{"name": "m", "value": 1.0, "timestamp": 2.0, "labels": {"a": "b"}}]
    assert (found["retention_hours"], found["losses"]) == (24.0, {"refused": 1})
    assert classic.failures([span(1, 1, 2)])["total_failures"] == 1


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


def no_constants(name):
    raise AssertionError(f"{name} is no JSON")


def read(path):
    return json.loads(path.read_bytes().decode("utf-8"), parse_constant=no_constants)


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return tmp_path_factory.mktemp("json") / "out.json"


@given(JSON)
def test_what_is_json_reads_back_as_it_was(path, value):
    """Values that JSON has a form for, half surrogate pairs too, are written without a change."""
    classic.write_json(path, value)
    assert read(path) == value


class Unprintable:
    def __repr__(self):
        raise RuntimeError("no repr")


class Awkward(dict):
    def items(self):
        raise RuntimeError("no items")


class Level(IntEnum):
    HIGH = 3


class Name(StrEnum):
    A = "a"


CIRCLE: list = [1]
CIRCLE.append(CIRCLE)
DEEP: list = []
for _ in range(50_000):
    DEEP = [DEEP]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (math.nan, "NaN"),
        (math.inf, "Infinity"),
        (-math.inf, "-Infinity"),
        (Path("a"), repr(Path("a"))),
        (b"\xff", r"b'\xff'"),
        ({3, 1, 2}, [1, 2, 3]),
        ((1, 2), [1, 2]),
        (Level.HIGH, 3),
        (Name.A, "a"),
        (Unprintable(), "<Unprintable>"),
        (Awkward(a=1, b=math.nan), "<Awkward>"),
        (CIRCLE, [1, "<contains itself>"]),
        (10**30, 10**30),
    ],
)
def test_what_is_no_json_becomes_something_a_person_can_read(path, value, expected):
    """A value that JSON has no form for is written as its repr; beside one that forces care too."""
    classic.write_json(path, {"value": value})
    assert read(path) == {"value": expected}
    classic.write_json(path, {"value": value, ("a", 1): 1, None: 2, 1.5: 3, "nan": math.nan})
    assert read(path) == {"value": expected, "('a', 1)": 1, "null": 2, "1.5": 3, "nan": "NaN"}


@pytest.mark.parametrize(
    "value", [10**5000, DEEP, {object(): object()}], ids=["int", "deep", "keys"]
)
def test_nothing_keeps_it_from_writing(path, value):
    """Integers without end, nesting without end, keys that are objects: valid JSON comes out."""
    classic.write_json(path, [value, "after"])
    assert read(path)[1] == "after"


def test_long_reprs_are_cut(path):
    """What is kept of a value that is no JSON has a limit."""
    classic.write_json(path, [b"x" * 100_000])
    assert len(read(path)[0]) == classic.LONGEST_REPR


@settings(max_examples=100)
@given(
    st.recursive(
        st.floats() | st.binary(max_size=3) | st.complex_numbers() | st.integers(),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.tuples(inner, inner)
            | st.dictionaries(st.tuples(st.integers()) | st.floats() | st.none(), inner, max_size=3)
            | st.frozensets(st.binary(max_size=2), max_size=3)
        ),
        max_leaves=10,
    )
)
def test_the_file_is_always_valid_json(path, value):
    """Whatever is written, a strict JSON parser reads it."""
    classic.write_json(path, value)
    read(path)


def test_readers_see_the_old_file_or_the_new(tmp_path):
    """While a file is written over and over, every reading of it is whole."""
    path = tmp_path / "deep" / "out.json"
    classic.write_json(path, ["x" * 50_000] * 10)
    done, torn = threading.Event(), []

    def look():
        while not done.is_set():
            try:
                read(path)
            except ValueError as error:
                torn.append(error)

    looking = threading.Thread(target=look)
    looking.start()
    for number in range(40):
        classic.write_json(path, [str(number) * 50_000] * 10)
    done.set()
    looking.join()
    assert not torn
    assert [each.name for each in path.parent.iterdir()] == ["out.json"]


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path):
    """If the file cannot be put in place, the error says so and no temporary file stays."""
    (tmp_path / "file").write_text("old")
    with pytest.raises(OSError, match="file"):
        replace_file(tmp_path / "file" / "out", b"new")
    with pytest.raises(TypeError):
        replace_file(tmp_path / "file", "text")
    assert [each.name for each in tmp_path.iterdir()] == ["file"]
    assert (tmp_path / "file").read_text() == "old"


def test_links_and_pipes_are_written_to_not_replaced(tmp_path):
    """A link keeps pointing where it did; a pipe gets the content and stays a pipe."""
    (tmp_path / "link").symlink_to(tmp_path / "real")
    replace_file(tmp_path / "link", b"new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real").read_bytes() == b"new"
    os.mkfifo(tmp_path / "pipe")
    reader = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    try:
        replace_file(tmp_path / "pipe", b"through")
        assert os.read(reader, 100) == b"through"
    finally:
        os.close(reader)
    assert stat.S_ISFIFO((tmp_path / "pipe").stat().st_mode)


def test_the_file_has_the_mode_that_the_umask_says(tmp_path):
    """Other users may read the file if they may read what the user writes."""
    old = os.umask(0o022)
    try:
        replace_file(tmp_path / "out", b"")
    finally:
        os.umask(old)
    assert stat.S_IMODE((tmp_path / "out").stat().st_mode) == 0o644
