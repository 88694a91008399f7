"""Which later call made a failed one good, and how sure that is."""

import pytest
from builders import Spans, run, soft

from dytopo_autotrace.analyze.outcomes import outcomes, recoveries
from dytopo_autotrace.analyze.ownership import owners
from dytopo_autotrace.analyze.summary import summarize
from dytopo_autotrace.analyze.tree import build
from dytopo_autotrace.analyze.what_if import failed_attempts


@pytest.fixture
def spans():
    return Spans()


@pytest.fixture
def caller(spans):
    root = spans.add("swarm", 0, 100, role="orchestrator")
    return spans.add("agent", 0, 100, root, role="worker", agent="x")


@pytest.fixture
def ask(spans, caller):
    """Calls of one operation, one after another; what is captured may differ."""

    def call(*, fails=False, operation="ask", under=None, **asked):
        start = len(spans.all)
        error = spans.error() if fails is True else fails or None
        return spans.add(operation, start, start + 0.5, under or caller, error=error, asked=asked)

    return call


def fates(spans):
    return [each.fate for each in outcomes(build(spans)).failures]


def only(spans):
    (failure,) = outcomes(build(spans)).failures
    return failure


def tried_again(spans):
    tree = build(spans)
    return [tree.spans[number].id for number in failed_attempts(tree, owners(tree))]


def test_another_item_of_a_loop_is_no_retry(spans, ask):
    """What failed for one item is lost, however many others succeeded after it."""
    for item in range(1, 6):
        ask(fails=item in (2, 4), item=item)
    assert fates(spans) == ["swallowed", "swallowed"]
    assert recoveries(spans) == {}
    assert tried_again(spans) == []


def test_the_same_item_tried_again_is_a_retry_though_others_lie_between(spans, ask):
    """The items of a loop that failed are often collected and tried again at its end."""
    lost = ask(fails=True, item=1)
    ask(item=2)
    ask(item=1)
    failure = only(spans)
    assert (failure.fate, failure.attempts, failure.assumed) == ("retry", 2, False)
    assert tried_again(spans) == [lost.id]


@pytest.mark.parametrize("name", ["attempt", "retry_count", "messages", "prompt", "request.id"])
def test_what_changes_with_each_try_does_not_make_it_another_input(spans, ask, name):
    """A counter or a growing conversation differs from attempt to attempt of the same thing."""
    ask(fails=True, item=1, **{name: 1})
    ask(item=1, **{name: 2})
    assert only(spans).fate == "retry"


def test_different_items_that_fail_are_different_failures(spans, ask):
    """Four jobs that fail are not four attempts of one."""
    for item in range(4):
        ask(fails=True, item=item)
    assert fates(spans) == ["swallowed"] * 4


def test_what_came_back_says_nothing_of_what_was_asked(spans, caller):
    """Only what was captured when the call began is compared."""
    spans.add("ask", 1, 2, caller, error=spans.error(), asked={"item": 1}, answer={"seen": 0})
    spans.add("ask", 3, 4, caller, asked={"item": 1}, answer={"seen": 7})
    assert only(spans).fate == "retry"


def test_of_spans_that_no_rule_made_all_that_is_said_is_compared(spans, caller):
    """A block opened by hand says what it is for in its metadata, and not when it was put there."""
    spans.add("ask", 1, 2, caller, error=spans.error(), item=1, status_code=500)
    spans.add("ask", 3, 4, caller, item=2, status_code=200)
    spans.add("ask", 5, 6, caller, item=1, status_code=200)
    assert only(spans).attempts == 2
    assert only(spans).rescued_after_seconds == 4


def test_after_a_failed_result_the_same_may_be_asked_in_other_words(spans, ask):
    """Only what names a thing tells two requests apart then, not the sentence that asks."""
    ask(fails=soft(), tool="search", question="name the city")
    ask(tool="search", question="name the city, as JSON")
    assert only(spans).fate == "retry"


def test_another_tool_is_no_retry_of_a_failed_result(spans, ask):
    """An agent that calls the next tool did not repeat the first."""
    ask(fails=soft(), tool="search")
    ask(tool="calculator")
    assert only(spans).fate == "swallowed"


def test_where_such_a_call_also_follows_success_a_retry_is_an_assumption(spans, ask):
    """Nothing captured tells that it was asked the same: an agent's loop calls again anyway."""
    ask()
    ask(fails=True)
    ask()
    assert (only(spans).fate, only(spans).assumed) == ("retry", True)
    assert tried_again(spans) == []
    verdict = summarize(run(spans)).verdict.text
    assert "1 failure taken for made good by retry" in verdict


def test_it_is_none_where_the_operation_ends_with_its_success(spans, ask):
    """A loop that ends as soon as a call succeeds tries the same again."""
    ask(fails=True)
    ask()
    assert (only(spans).fate, only(spans).assumed) == ("retry", False)


def test_success_in_an_earlier_round_makes_no_assumption(spans):
    """That an agent is called again in the next round says nothing of calls within one."""
    root = spans.add("swarm", 0, 100, role="orchestrator")
    shared = {"role": "worker", "agent": "x"}
    for number in (1, 2):
        spans.add("agent", number, number + 0.5, root, round=number, **shared)
    spans.add("agent", 3, 4, root, round=3, error=spans.error(), **shared)
    spans.add("agent", 5, 6, root, round=3, **shared)
    assert (only(spans).fate, only(spans).assumed) == ("retry", False)


def test_another_model_is_a_fallback(spans, ask):
    """Trying again would not have helped: the model that failed never answered."""
    for item in (1, 2):
        ask(fails=True, item=item, model="large")
        ask(item=item, model="small")
    found = outcomes(build(spans)).failures
    assert [each.fate for each in found] == ["fallback", "fallback"]
    assert {(each.model, each.rescuer_model) for each in found} == {("large", "small")}
    (group,) = summarize(run(spans)).failures
    assert "taken for a fallback to small" in group.became
    assert "Not one of the 2 calls of ask with large succeeded." in group.became
    assert "keep the retries" not in group.remedy
    assert "ask small at once" in group.remedy
    assert tried_again(spans) == []


def test_another_model_that_also_follows_success_is_the_next_step(spans, ask, caller):
    """Where one model plans and another writes, the second rescues nobody."""
    above = spans.all[0]
    ask(model="planner")
    ask(model="writer")
    again = spans.add("agent", 0, 100, above, role="worker", agent="x")
    ask(under=again, fails=True, model="planner")
    ask(under=again, model="writer")
    assert fates(spans) == ["swallowed"]


def test_models_tried_in_vain_are_attempts_of_one_failure(spans, ask):
    """One request that three models refused has failed once."""
    for model in ("a", "b", "c"):
        ask(fails=True, model=model)
    failure = only(spans)
    assert (failure.fate, failure.attempts) == ("swallowed", 3)


def test_the_next_tool_is_no_fallback(spans, caller):
    """An agent calls one tool after the other, whatever became of the first."""
    spans.add("web_search", 1, 2, caller, role="tool", error=spans.error("TimeoutError"))
    spans.add("calculator", 3, 4, caller, role="tool")
    assert only(spans).fate == "swallowed"


def test_a_fallback_is_hedged_in_the_verdict(spans, caller):
    """That the other operation did the work is taken from the order of the calls."""
    spans.add("large", 1, 2, caller, role="llm", error=spans.error())
    spans.add("small", 3, 4, caller, role="llm")
    assert "1 failure taken for made good by fallback" in summarize(run(spans)).verdict.text


def test_another_agent_that_did_it_is_named(spans, caller):
    """That nothing else did the work is not said where a colleague's call succeeded."""
    spans.add("solo", 1, 2, caller, agent="f1", error=spans.error())
    spans.add("solo", 3, 4, caller, agent="f2")
    (group,) = summarize(run(spans)).failures
    assert group.first.fate == "swallowed"
    assert group.became == "agent swallowed it: it ended normally. solo of f2 then succeeded."


def test_values_that_cannot_be_compared_tell_nothing(spans, ask):
    """A host's object that raises when it is compared makes no difference and no fault."""

    class Odd:
        def __eq__(self, other):
            raise RuntimeError

        __hash__ = None

    ask(fails=True, item=Odd())
    ask(item=Odd())
    assert only(spans).fate == "retry"
