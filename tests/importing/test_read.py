"""What a file is shows in its content, and whatever it is, a person gets one message."""

import gzip
import json

import pytest
from click.testing import CliRunner
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dytopo_autotrace.cli import import_
from dytopo_autotrace.collect.records import records_from_json, records_to_json
from dytopo_autotrace.errors import UsageError
from dytopo_autotrace.export.formats import render
from dytopo_autotrace.importing import parse, read
from tests.export.sample_runs import records, span, swarm

IDS = {each.id for each in swarm().spans}


def exported(name, run=None, **options):
    return b"".join(render(name, swarm() if run is None else run, **options))


def ids(found):
    return {each.id for each in found.spans}


@pytest.mark.parametrize("name", ["otlp", "jaeger", "zipkin", "classic"])
@pytest.mark.parametrize("form", ["as it is", "gzip", "BOM", "UTF-16", "space around"])
def test_content_tells_the_format(name, form):
    """Every trace format is known by its content, compressed or not, in any encoding of JSON."""
    data = exported(name)
    wrapped = {
        "as it is": data,
        "gzip": gzip.compress(data),
        "BOM": b"\xef\xbb\xbf" + data,
        "UTF-16": data.decode().encode("utf-16"),
        "space around": b"\n \t" + data + b"\n\n",
    }[form]
    assert ids(parse(wrapped)) == IDS


def test_our_own_records_are_read_whole():
    """What the records of a run are kept in is read as it is, measurements and all."""
    text = records_to_json(records_from_json(records_to_json(swarm())))
    assert records_to_json(parse(text.encode())) == text


def test_a_directory_that_out_wrote_is_read(tmp_path):
    """All its traces are one run; its other files are not looked at."""
    for number, trace in enumerate(json.loads(exported("classic"))["traces"]):
        (tmp_path / f"trace-{number}.json").write_text(json.dumps(trace))
    (tmp_path / "metrics.json").write_text("{}")
    assert ids(read(tmp_path)) == IDS
    with pytest.raises(UsageError, match=r"has no trace-\*\.json"):
        read(tmp_path / "..")


def test_several_requests_are_one_run():
    """Lines, documents one after another, and a list of documents hold the same spans."""
    one = exported("otlp", records([span(1, "a", 0, 1)])).strip()
    two = exported("otlp", records([span(2, "b", 0, 1)])).strip()
    for together in (one + b"\n" + two + b"\n", one + two, b"[" + one + b"," + two + b"]"):
        assert ids(parse(together)) == {1, 2}


def test_metrics_between_the_traces_are_passed_over():
    """A file of a collector may hold all signals."""
    assert ids(parse(exported("otlp") + exported("otlp-metrics"))) == IDS


def test_a_line_that_breaks_off_is_left_out_and_counted():
    """A writer that was stopped leaves half a line; the lines before it count."""
    whole = exported("otlp")
    found = parse(whole + whole[:100])
    assert ids(found) == IDS
    assert "1 left out, a line is not JSON: first at line 2." in found.remarks


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "<input>: is empty"),
        (b"  \n", "<input>: is empty"),
        (b"hello", r"<input>:1:1: not JSON: .*'hello'"),
        (b'{\n  "data": [,]\n}', r"<input>:2:12: not JSON: .*\[,\]"),
        (b'{"a": 1', "<input>:1:8: not JSON"),
        (b"[1, 2]", "is a JSON int and no trace"),
        (b"null", "is a JSON NoneType and no trace"),
        (b'{"rows": [], "x": 1}', r"no known format \(its keys: 'rows', 'x'\)"),
        (b'{"traceEvents": []}', "is a Chrome or Perfetto trace, .*Use --format otlp"),
        (b"\x1f\x8b\x08nonsense", "is gzip that breaks off or is damaged"),
        (gzip.compress(b"[[]]", mtime=0)[:-9], "is gzip that breaks off or is damaged"),
        (b'{"a": "\xff"}', "byte 7 is not UTF-8"),
        (b"[" * 100_000, "<input>:1: not JSON that can be read: too deeply nested"),
        (b'{"n": ' + b"9" * 5000 + b"}", "<input>:1: not JSON that can be read: Exceeds the limit"),
        (b'{"spans": 1, "now_unix_ns": "x"}', "<input>: "),
    ],
)
def test_what_is_no_trace_teaches(data, message):
    """Where, what was seen, and what it has to be."""
    with pytest.raises(UsageError, match=message):
        parse(data)


def test_a_file_that_is_not_there_teaches(tmp_path):
    """The name and the system's reason."""
    with pytest.raises(UsageError, match=r"nothing\.json: cannot be read: No such file"):
        read(tmp_path / "nothing.json")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=5,
)
KEYS = (
    *("resourceSpans", "scopeSpans", "spans", "data", "traceID", "traceId", "id", "trace_id"),
    *("attributes", "tags", "references", "events", "logs", "links", "status", "traces", "batches"),
)


def places(node, path=()):
    """The path to everything in a document."""
    yield path
    if isinstance(node, (dict, list)):
        for key, child in node.items() if isinstance(node, dict) else enumerate(node):
            yield from places(child, (*path, key))


def replaced(node, path, value):
    if not path:
        return value
    copy = dict(node) if isinstance(node, dict) else list(node)
    copy[path[0]] = replaced(node[path[0]], path[1:], value)
    return copy


def read_or_taught(document):
    """The records, or the message that a person gets."""
    try:
        return parse(json.dumps(document).encode())
    except UsageError as error:
        return str(error)


SMALL = records([each for each in swarm().spans if each.id in (1, 8, 10)])
DOCUMENTS = {
    name: json.loads(exported(name, SMALL)) for name in ("otlp", "jaeger", "zipkin", "classic")
}
PLACES = {name: list(places(document)) for name, document in DOCUMENTS.items()}


@settings(max_examples=150, suppress_health_check=[HealthCheck.too_slow])
@given(st.sampled_from(sorted(DOCUMENTS)), st.data())
def test_a_damaged_file_never_makes_a_traceback(name, data):
    """Whatever stands in the place of anything, there are records or there is one message."""
    document = DOCUMENTS[name]
    for _ in range(data.draw(st.integers(1, 2))):
        where = data.draw(st.sampled_from(PLACES[name]))
        try:
            document = replaced(document, where, data.draw(JSON))
        except (KeyError, IndexError, TypeError, ValueError):
            continue
    found = read_or_taught(document)
    if isinstance(found, str):
        assert found.startswith("<input>")
    else:
        # What was read can be kept, and written again.
        records_from_json(records_to_json(found))
        b"".join(render("otlp", found))


@settings(max_examples=100)
@given(
    st.recursive(
        JSON,
        lambda inner: st.dictionaries(
            st.sampled_from(KEYS), inner | st.lists(inner, max_size=2), max_size=4
        ),
        max_leaves=6,
    )
)
def test_any_json_is_read_or_refused(document):
    """Documents that begin like a format and go on like none are no traceback either."""
    found = read_or_taught(document)
    assert not isinstance(found, str) or found.startswith("<input>")


def test_the_command_says_what_it_found(tmp_path):
    """Spans, traces, agents and roles on stderr, and the records in the file that was asked for."""
    source, target = tmp_path / "traces.json", tmp_path / "run.json"
    source.write_bytes(exported("jaeger"))
    found = CliRunner().invoke(import_.command, [str(source), "--output", str(target)])
    assert (found.exit_code, found.stdout) == (0, "")
    assert "poets: 15 spans in 2 traces, 3 agents; 5 worker, 3 llm" in found.stderr
    assert ids(records_from_json(target.read_text())) == IDS


def test_the_command_teaches(tmp_path):
    """A file that is none of the formats is one message."""
    source = tmp_path / "notes.txt"
    source.write_text("hello")
    found = CliRunner().invoke(import_.command, [str(source)])
    assert found.exit_code == 1
    assert found.stderr.startswith(f"Error: {source}:1:1: not JSON")
    source.write_bytes(exported("jaeger", records([span(1, "GET /", 0, 1)])))
    assert (
        "No span says what it was to a swarm"
        in CliRunner().invoke(import_.command, [str(source)]).stderr
    )
