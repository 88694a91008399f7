"""The keys that packs need: what they do where a function of one's own is watched."""

import email.message

import pytest

from dytopo_autotrace import TraceContext, extracted, inject, testing, traced
from dytopo_autotrace.account import rule_states
from dytopo_autotrace.collect.pipeline import pipeline
from dytopo_autotrace.rules.build import rule_from
from dytopo_autotrace.rules.model import Origin

CALLER = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def test_when_leaves_calls_out_and_counts_them(program):
    """Calls for which `when` does not hold are not recorded, run as ever, and are counted."""
    program(counted="def half(n):\n    return n // 2\n")
    rules = '[[rule]]\ntarget = "counted:half"\nwhen = "n % 2 == 0"\n'
    with testing.capture(rules) as seen:
        import counted

        assert [counted.half(n) for n in range(5)] == [0, 0, 1, 1, 2]
        assert len(seen.spans) == 3
        (state,) = rule_states(seen.installation)
    assert (state.state, state.calls) == ("woven", 3)
    assert state.left_out == "2 calls left out by `when`"


def test_a_condition_that_cannot_be_read_leaves_nothing_out():
    """Not knowing whether a call is wanted, it is recorded: too much is better than a gap."""
    with testing.capture() as seen:

        @traced(when="n.missing")
        def half(n):
            return n // 2

        assert half(4) == 2
    assert len(seen.spans) == 1


@pytest.mark.parametrize("carrier", [{"TraceParent": CALLER}, [(b"traceparent", CALLER.encode())]])
def test_extract_takes_mappings_and_pairs_of_bytes(carrier):
    """Headers are read as web servers and ASGI have them; afterwards all is as it was."""
    with testing.capture() as seen:

        @traced(extract="headers")
        def serve(headers):
            return inject()["traceparent"]

        inside = serve(carrier)
        assert inject() == {}
    span = seen.one("test_extract_takes_mappings_and_pairs_of_bytes.<locals>.serve")
    assert f"00-{span.trace_id}-{span.parent_id}-01" == CALLER
    assert inside == f"00-{span.trace_id}-{span.span_id}-01"


def test_headers_of_the_standard_librarys_server_are_read():
    """Its messages are no mappings, but have items as those do."""
    message = email.message.Message()
    message["Traceparent"] = CALLER
    with testing.capture() as seen, extracted(message), TraceContext("inside"):
        pass
    assert seen.one("inside").parent_id == CALLER.split("-")[2]


@pytest.mark.parametrize("headers", [None, 7, (), {"traceparent": CALLER}])
def test_inject_never_harms(headers):
    """What is no mapping is left alone, and a trace of somebody else's too."""
    with testing.capture() as seen:

        @traced(operation="send", inject="headers")
        def send(headers):
            return headers

        assert send(headers) is headers
    assert headers in (None, 7, (), {"traceparent": CALLER})
    assert seen.one("send").status == "success"


def test_a_rule_that_adds_to_the_call_around_has_no_spans_of_its_own():
    """The attributes are those of the running call of that operation; the last value counts."""
    with testing.capture() as seen:

        @traced(adds_to="outer", attributes={"step": "name"})
        def note(name):
            return name

        @traced(operation="outer", attributes={"given": "value", "got": "result"})
        def outer(value):
            return note("first") + note("last")

        assert note("nobody") == "nobody"
        assert outer(1) == "firstlast"
    assert [span.operation for span in seen.spans] == ["outer"]
    assert seen.one("outer").metadata == {"given": 1, "got": "firstlast", "step": "last"}


def test_the_last_item_of_an_iteration_can_be_read():
    """`last` is the last item that a generator gave, and None where there was none."""
    with testing.capture() as seen:

        @traced(operation="count", attributes={"top": "last", "sum": "result"})
        def count(n):
            yield from range(n)
            return n

        assert list(count(3)) == [0, 1, 2]
        assert list(count(0)) == []
    assert [span.metadata["top"] for span in seen.spans] == [2, None]
    assert [span.metadata["sum"] for span in seen.spans] == [3, 0]


def test_a_parameter_named_last_is_that_parameter():
    """A function that has a parameter of that name is read as ever."""
    with testing.capture() as seen:

        @traced(operation="name", attributes={"family": "last"})
        def name(first, last):
            return first + last

        name("a", "b")
    assert seen.one("name").metadata == {"family": "b"}


class Stream:
    def __init__(self, *items):
        self.kept = self.parts(items)

    def parts(self, items):
        yield from items

    def __iter__(self):
        return self.kept


def test_a_call_goes_on_until_the_stream_that_it_gave_has_ended():
    """What is called while the stream runs dry stands beside it; an error in it is the call's."""
    with testing.capture() as seen:

        @traced(operation="ask", stream="kept", attributes={"final": "last"})
        def ask(stream):
            return stream

        given = Stream(1, 2)
        assert ask(given) is given
        assert seen.spans == []
        for _ in given:
            with TraceContext("between"):
                pass
    assert [span.operation for span in seen.spans] == ["between", "between", "ask"]
    assert seen.one("ask").metadata["final"] == 2
    assert all(span.parent != seen.one("ask").id for span in seen.spans[:2])


@pytest.mark.parametrize("given", [7, None, Stream, object()])
def test_what_is_no_stream_ends_with_the_call(given):
    """A result without such a generator is handed on, and the call is over."""
    with testing.capture() as seen:

        @traced(operation="ask", stream="kept")
        def ask():
            return given

        assert ask() is given
    assert seen.one("ask").metadata == {}


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"when": "result == 1"}, "names 'result', but it is read when the call begins."),
        ({"inject": "error.headers"}, "names 'error', but it is read when the call begins."),
        ({"extract": "h", "role": "orchestrator"}, "is of no use"),
        ({"adds_to": "x", "role": "llm"}, "has no meaning beside adds_to"),
        ({"stream": "a.b"}, "has characters that cannot be there."),
    ],
)
def test_keys_that_cannot_work_are_faults(keys, message):
    """What a key cannot do is said when the file is read, in its own words."""
    rule, faults = rule_from("mine", keys, Origin("here"))
    assert rule is None
    assert any(message in fault.message for fault in faults)


def test_a_short_call_is_kept_if_it_called_what_is_watched():
    """No span loses its parent: a caller is kept however short it was."""
    with testing.capture() as seen:

        @traced(operation="inner")
        def inner():
            pass

        @traced(operation="outer", min_seconds=60)
        def outer(calls):
            for _ in range(calls):
                inner()

        outer(0)
        outer(1)
        with pytest.raises(TypeError):
            outer(None)
    assert [span.operation for span in seen.spans] == ["inner", "outer", "outer"]
    assert [span.status for span in seen.spans] == ["success", "success", "error"]
    assert seen.spans[0].parent == seen.spans[1].id


def test_a_call_that_may_be_too_short_is_not_told_of_while_it_is():
    """What watches running calls hears only of those that will be kept."""
    clock, told = testing.FakeClock(), []
    with testing.capture(clock=clock):
        pipeline.stop()
        pipeline.watchers.append(told.extend)
        try:

            @traced(operation="slow", min_seconds=1)
            def slow():
                for seconds in (0.5, 0.5):
                    clock.advance(seconds)
                    pipeline.drain()
                    pipeline._tell()
                    counts.append(len(told))

            counts = []
            slow()
        finally:
            pipeline.watchers.remove(told.extend)
    assert counts == [0, 1]
