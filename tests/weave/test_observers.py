"""A person's own observers: shown each call, able to add to it, and unable to harm it."""

import time

import pytest

from dytopo_autotrace import agent
from dytopo_autotrace.account import drops, remarks
from dytopo_autotrace.rules.load import load_text
from dytopo_autotrace.testing import capture

WATCHED = """
def work(question, *more, tone="calm", **others):
    if question == "hard":
        raise ValueError("too hard")
    return question.upper()

async def work_later(question):
    return work.__wrapped__(question) if hasattr(work, "__wrapped__") else work(question)

def items(question):
    yield question
    return "done"
"""
OBSERVERS = """
import time
seen = []
def start(call):
    call.set_attribute("asked", call.arguments["question"])
    seen.append(("start", dict(call.arguments), call.result, call.error))
def end(call):
    seen.append(("end", call.result, call.error, call.operation, call.span_id, call.trace_id))
    call.set_attribute("answer", call.result)
    call.set_attribute("api_key", "sesame")
    call.measure("answers_total", 1, "counter", outcome=type(call.error).__name__)
async def later(call):
    seen.append(call)
def raises(call):
    seen.append(call)
    raise SystemExit("I am broken")
def slow(call):
    seen.append(call)
    time.sleep(0.012)
def calls_back(call):
    import watched
    seen.append(watched.work("from the observer"))
def stores(call):
    seen.append(call)
"""


@pytest.fixture
def watched(program):
    """Install a rule on the functions of a module, with observers, and give both modules."""
    program(watched=WATCHED, observing=OBSERVERS)

    def install(target, **keys):
        said = "".join(f'{key} = "{value}"\n' for key, value in keys.items())
        text = f'[[rule]]\nname = "r"\ntarget = "watched:{target}"\n{said}'
        installation = agent.install(load_text(text, "rules.toml"))
        import watched

        return installation, watched

    yield install
    agent.uninstall()


def observing():
    import observing

    return observing.seen


async def test_an_observer_is_shown_each_call_and_adds_to_its_span(watched):
    """Arguments by name, then the result; what it adds is on the span, and secrets are not."""
    with capture() as seen:
        _, module = watched("work", on_start="observing:start", on_end="observing:end")
        module.work("why", 1, tone="cross", who="me")
    (span,) = seen.spans
    first, last = observing()
    arguments = {"question": "why", "more": (1,), "tone": "cross", "others": {"who": "me"}}
    assert first == ("start", arguments, None, None)
    assert last == ("end", "WHY", None, "work", span.span_id, span.trace_id)
    assert span.metadata == {"asked": "why", "answer": "WHY", "api_key": "[redacted]"}
    assert span.measurements == (("answers_total", "counter", 1.0, (("outcome", "NoneType"),)),)


async def test_errors_and_iterations_and_coroutines_are_shown_as_well(watched):
    """At the end of a call that raised there is the error; of an iteration, its return value."""
    with capture() as seen:
        _, module = watched("*", on_end="observing:end")
        with pytest.raises(ValueError, match="too hard"):
            module.work("hard")
        assert list(module.items("a")) == ["a"]
        assert await module.work_later("b") == "B"
    found = [(each[1], type(each[2]).__name__, each[3]) for each in observing()]
    assert found == [
        (None, "ValueError", "work"),
        ("done", "NoneType", "items"),
        ("B", "NoneType", "work_later"),
    ]
    assert {span.metadata["api_key"] for span in seen.spans} == {"[redacted]"}


def test_one_that_raises_is_retired_with_one_line_and_counted(watched, capsys):
    """The host sees nothing, not even of SystemExit; later calls are only counted."""
    installation, module = watched("work", on_start="observing:raises")
    assert [module.work("a") for _ in range(3)] == ["A"] * 3
    assert len(observing()) == 1
    line = "dytopo-autotrace: observer observing:raises is called no more: it raised SystemExit"
    assert capsys.readouterr().err == f"{line}: I am broken\n"
    assert drops(installation)["times that a call was not shown to observer observing:raises"] == 2
    assert any("observing:raises" in remark for remark in remarks(installation))


def test_one_that_is_slow_three_times_is_retired(watched, capsys):
    """More than 10 ms, three times: the program is held up no more."""
    _, module = watched("work", on_end="observing:slow")
    for _ in range(5):
        module.work("a")
    assert len(observing()) == 3
    assert "it took more than 10 ms in 3 of 3 calls" in capsys.readouterr().err


def test_an_observer_that_calls_what_it_observes_is_not_called_by_itself(watched):
    """What it calls is not the program's doing: neither recorded nor shown."""
    with capture() as seen:
        _, module = watched("work", on_end="observing:calls_back")
        assert module.work("a") == "A"
    assert observing() == ["FROM THE OBSERVER"]
    assert len(seen.spans) == 1


def test_what_is_shown_cannot_be_changed_and_is_not_held(watched):
    """Arguments cannot be replaced, and once the observer has returned, nothing can be added."""
    _, module = watched("work", on_end="observing:stores")
    module.work("a")
    (call,) = observing()
    assert (dict(call.arguments), call.result, call.error) == ({}, None, None)
    with pytest.raises(AttributeError):
        call.result = 1
    with pytest.raises(RuntimeError, match="has returned"):
        call.set_attribute("late", 1)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("observing:strat", "Did you mean 'start'"),
        ("no_such_module:start", "there is no module 'no_such_module'"),
        ("observing:seen", "is a list, which cannot be called"),
        ("observing:later", "is an async function: nobody would await it"),
    ],
)
def test_an_observer_that_there_is_not_is_a_reason_not_to_weave(watched, text, why):
    """The function stays as it is, and the ledger says what to do."""
    installation, module = watched("work", on_start=text)
    assert not hasattr(module.work, "__wrapped__")
    (entry,) = installation.weaver.ledger.entries
    assert entry.fate == "refused"
    assert why in entry.reason


def test_the_time_of_an_observer_at_the_start_is_not_the_calls(watched):
    """The span begins when the observer has returned."""
    with capture() as seen:
        _, module = watched("work", on_start="observing:slow")
        began = time.perf_counter()
        module.work("a")
        took = time.perf_counter() - began
    assert took >= 0.012
    assert seen.one("work").duration < took - 0.011
