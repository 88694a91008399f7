"""`@traced` is a rule that stands at the function."""

import asyncio
import subprocess
import sys

import pytest

from dytopo_autotrace import traced
from dytopo_autotrace.testing import CountingIds, FakeClock, capture
from dytopo_autotrace.weave import decorators

KEYS = {
    "operation": "answer",
    "role": "worker",
    "agent": "who",
    "attributes": {"asked": "question", "length": "len(result)"},
    "failed_if": "result == ''",
    "metric": [
        {"name": "answers_total", "kind": "counter", "value": "1", "labels": {"by": "who"}},
        {"name": "answer_characters", "kind": "histogram", "value": "len(result)"},
    ],
}
RULE = """
[[rule]]
target = "answering:answer"
operation = "answer"
role = "worker"
agent = "who"
attributes = { asked = "question", length = "len(result)" }
failed_if = "result == ''"
  [[rule.metric]]
  name = "answers_total"
  kind = "counter"
  value = "1"
  labels = { by = "who" }
  [[rule.metric]]
  name = "answer_characters"
  kind = "histogram"
  value = "len(result)"
"""
SOURCE = "def answer(who, question):\n    return question[::-1]\n"


def records(seen, answer):
    answer("ann", "abc")
    answer("bob", question="")
    spans = [
        {key: value for key, value in span.to_dict().items() if key != "rule"}
        for span in seen.spans
    ]
    failures = [failure.to_dict() for failure in seen.failures]
    families = [family for family in seen.metrics.families() if family.series]
    return spans, failures, families


def test_it_records_what_a_rule_with_the_same_keys_records(program):
    """Spans, failures and metrics of `@traced` are those of a rule, to the last value."""
    import importlib

    program(answering=SOURCE)
    module = importlib.import_module("answering")
    with capture(RULE, clock=FakeClock(0.5), ids=CountingIds()) as seen:
        by_rule = records(seen, module.answer)
    with capture(clock=FakeClock(0.5), ids=CountingIds()) as seen:
        by_decorator = records(seen, traced(**KEYS)(module.answer))
    assert by_decorator == by_rule
    spans, failures, families = by_rule
    assert [span["status"] for span in spans] == ["success", "error"]
    assert len(failures) == 1
    assert {"answers_total", "answer_characters"} <= {family.name for family in families}


def test_it_stands_with_and_without_parentheses():
    """Both forms decorate functions, coroutine functions, methods and classmethods."""

    class C:
        @traced
        def method(self):
            return self

        @traced(role="tool")
        @classmethod
        def build(cls):
            return cls

        @classmethod
        @traced()
        def make(cls):
            return cls

        @traced
        @staticmethod
        def helper(value):
            return value

    @traced
    async def later():
        return 1

    with capture() as seen:
        instance = C()
        assert instance.method() is instance
        assert C.build() is C.make() is C
        assert C.helper(3) == 3
        assert asyncio.run(later()) == 1
    assert [span.operation.rpartition(".")[2] for span in seen.spans] == [
        *("method", "build", "make", "helper", "later"),
    ]


def test_disabled_by_the_environment_it_returns_the_function_itself(monkeypatch):
    """With the switch set, nothing of ours is put around anything."""

    def f():
        pass

    for value in ("1", "true", "yes"):
        monkeypatch.setenv("DYTOPO_AUTOTRACE_DISABLED", value)
        assert traced(f) is traced(role="worker")(f) is f
    for value in ("", "0", "false", "no"):
        monkeypatch.setenv("DYTOPO_AUTOTRACE_DISABLED", value)
        assert traced(f) is not f


@pytest.mark.parametrize(
    ("keys", "reason"),
    [
        ({"role": "woker"}, "Did you mean 'worker'?"),
        ({"agent": "a +"}, "agent"),
        ({"attributes": {"x": "bb"}}, "names 'bb', which is no parameter of"),
        ({"attributes": {"x": "__import__('os')"}}, "attributes"),
        ({"metric": [{"name": "x"}]}, "metric"),
    ],
)
@pytest.mark.parametrize("how", ["called", "bare"])
def test_wrong_keys_are_warned_about_where_the_decorator_stands(keys, reason, how):
    """The function comes back as it was, and the warning names the line and what is wrong."""

    def f(a, b=1):
        return a

    with pytest.warns(RuntimeWarning) as warned:
        if how == "bare":
            f.__code__ = f.__code__
            result = traced(item for item in ())
        else:
            result = traced(**keys)(f)
            assert reason in str(warned[0].message)
            assert result is f
    assert warned[0].filename == __file__
    assert "records nothing" in str(warned[0].message)


def test_it_says_in_the_ledger_what_became_of_it():
    """What was decorated, and what was refused, can be looked up."""

    @traced
    def watched():
        pass

    places = {entry.place: entry.fate for entry in decorators.ledger.entries}
    assert places[f"{__name__}:{watched.__qualname__}"] == "woven"


def test_importing_it_imports_next_to_nothing():
    """A program that only decorates pays for the standard library and wrapt, and no rules."""
    program = (
        "import sys; from dytopo_autotrace import traced; "
        "print([n for n in sys.modules if n.startswith('dytopo_autotrace.rules')], "
        "[n for n in ('rich', 'click', 'asyncio', 'sqlite3', 'tomllib') if n in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout == "[] []\n"
