"""What failed, where it began, what became of it."""

import random

import pytest
from builders import SECOND, Spans, any_spans, soft, swarm
from hypothesis import given
from hypothesis import strategies as st

from dytopo_autotrace.analyze.findings import to_json
from dytopo_autotrace.analyze.outcomes import outcomes, recoveries
from dytopo_autotrace.analyze.propagation import is_failed
from dytopo_autotrace.analyze.tree import build
from dytopo_autotrace.collect.span import ErrorInfo


def failures(spans):
    return outcomes(build(spans)).failures


def only(spans):
    (failure,) = failures(spans)
    return failure


def names(places):
    return [place.operation for place in places]


@pytest.fixture
def spans():
    return Spans()


def test_an_exception_crossing_five_calls_is_one_failure(spans):
    """Its origin is the innermost call; the others only passed it on."""
    error = spans.error()
    spans.chain(["a", "b", "c", "d", "e"], 0, 1, error=error)
    failure = only(spans)
    assert failure.origin.operation == "e"
    assert names(failure.passed_through) == ["d", "c", "b", "a"]
    assert (failure.fate, failure.crossed, failure.attempts) == ("raised", 4, 1)
    assert failure.path == ("a", "b", "c", "d", "e")
    assert failure.frame == ("/app/client.py", 88, "post")


def test_a_wrapper_is_the_same_failure_under_another_name(spans):
    """A caller that raises from a cause changes the type on the surface, not the origin."""
    inner = spans.error("ReadError")
    outer = spans.error("RetryError", related=(inner.identity,))
    top = spans.add("top", 0, 3, error=outer)
    spans.add("call", 0, 2, top, error=inner)
    failure = only(spans)
    assert (failure.error_type, failure.surface_type) == ("ReadError", "RetryError")


def test_the_members_of_a_group_are_failures_of_their_own(spans):
    """Two exceptions raised on together began in two places."""
    first, second = spans.error(), spans.error("KeyError")
    group = spans.error("ExceptionGroup", related=(first.identity, second.identity))
    top = spans.add("task_group", 0, 3, error=group)
    spans.add("a", 0, 1, top, error=first)
    spans.add("b", 0, 2, top, error=second)
    assert {failure.origin.operation for failure in failures(spans)} == {"a", "b"}


def test_an_identity_used_again_does_not_join_two_failures(spans):
    """Of two children with the identity that a parent raised, the last to end handed it on."""
    error = spans.error()
    top = spans.add("top", 0, 9, error=error)
    spans.add("early", 1, 2, top, error=error)
    spans.add("late", 7, 9, top, error=error)
    found = {failure.origin.operation: failure.fate for failure in failures(spans)}
    assert found == {"early": "swallowed", "late": "raised"}


def test_records_without_identities_are_joined_by_their_looks(spans):
    """A parent that failed like its last child passed it on, if nothing better is known."""
    top = spans.add("top", 0, 3, status="error")
    spans.add("call", 0, 2, top, status="error")
    failure = only(spans)
    assert (failure.origin.operation, failure.error_type) == ("call", "(type not recorded)")


def test_a_later_call_of_the_same_operation_is_a_retry(spans):
    """The failure is made good; attempts and the time from the first failure are told."""
    root = spans.add("client", 0, 9)
    spans.add("attempt", 0, 1, root, error=spans.error())
    spans.add("attempt", 2, 3, root, error=spans.error())
    spans.add("attempt", 5, 6, root)
    failure = only(spans)
    assert (failure.fate, failure.attempts, failure.rescued) == ("retry", 3, True)
    assert failure.rescued_after_seconds == 5


def test_exhausted_attempts_are_one_failure(spans):
    """Three failed attempts whose last error is raised on count three attempts, not failures."""
    last = spans.error()
    client = spans.add("client", 0, 9, error=last)
    spans.add("attempt", 0, 1, client, error=spans.error())
    spans.add("attempt", 2, 3, client, error=spans.error())
    spans.add("attempt", 5, 6, client, error=last)
    failure = only(spans)
    assert (failure.fate, failure.attempts, failure.lost_seconds) == ("raised", 3, 6)


def test_attempts_whose_errors_are_chained_are_one_failure(spans):
    """An attempt made while handling the one before names it; it still is the same failure."""
    first = spans.error()
    last = spans.error(related=(first.identity,))
    client = spans.add("client", 0, 9, error=last)
    spans.add("attempt", 0, 1, client, error=first)
    spans.add("attempt", 2, 3, client, error=last)
    assert only(spans).attempts == 2


def test_retries_within_retries_count_every_attempt(spans):
    """A client that tries twice, called twice, made four attempts."""
    root = spans.add("root", 0, 20)
    for start in (0, 10):
        last = spans.error()
        client = spans.add("client", start, start + 9, root, error=last)
        spans.add("attempt", start, start + 1, client, error=spans.error())
        spans.add("attempt", start + 2, start + 3, client, error=last)
    failure = only(spans)
    assert (failure.attempts, failure.fate) == (4, "swallowed")


def test_the_same_call_for_another_agent_is_no_retry(spans):
    """A colleague's success rescues nobody."""
    root = spans.add("root", 0, 9)
    spans.add("agent_call", 0, 1, root, agent="x", error=spans.error())
    spans.add("agent_call", 2, 3, root, agent="y")
    assert only(spans).fate == "swallowed"


def test_a_call_begun_before_the_failure_is_no_retry(spans):
    """A sibling that ran at the same time was not made because of it."""
    root = spans.add("root", 0, 9)
    spans.add("ask", 0, 3, root, error=spans.error())
    spans.add("ask", 1, 5, root)
    assert only(spans).fate == "swallowed"


@pytest.mark.parametrize("rounds", [{}, {"round": 1}])
def test_the_next_rounds_call_is_no_retry(spans, rounds):
    """Once the manager has decided anew, the same call is another one."""
    root = spans.add("swarm", 0, 9, role="orchestrator")
    worker = {"role": "worker", "agent": "x"}
    spans.add("agent_call", 0, 1, root, error=spans.error(), **worker, **rounds)
    spans.add("manager_call", 2, 3, root, role="manager", agent="manager")
    spans.add("agent_call", 4, 5, root, **worker)
    assert only(spans).fate == "swallowed"


def test_roots_of_one_trace_are_attempts_too(spans):
    """A retry loop that is not watched itself shows in the calls it made."""
    spans.add("call", 0, 1, error=spans.error())
    spans.add("call", 2, 3)
    assert only(spans).fate == "retry"


def test_another_operation_of_the_same_role_is_a_fallback(spans):
    """It began after the failure, succeeded, and the caller returned normally."""
    root = spans.add("answer", 0, 9, role="worker", agent="x")
    spans.add("primary", 0, 1, root, role="llm", error=spans.error())
    spans.add("backup", 2, 4, root, role="llm")
    failure = only(spans)
    assert (failure.fate, failure.rescuer.operation) == ("fallback", "backup")
    assert failure.rescued_after_seconds == 3


def test_a_step_that_also_follows_success_is_no_fallback(spans):
    """What runs after the operation anyway did not replace it."""
    for start, error in ((0, spans.error()), (10, None)):
        root = spans.add("route", start, start + 9)
        spans.add("embed", start, start + 1, root, role="router", error=error)
        spans.add("compare", start + 2, start + 3, root, role="router")
    assert only(spans).fate == "swallowed"


def test_another_role_is_no_fallback(spans):
    """An orchestrator runs many unrelated operations."""
    root = spans.add("swarm", 0, 9)
    spans.add("agent_call", 0, 1, root, role="worker", error=spans.error())
    spans.add("save", 2, 4, root, role="io")
    assert only(spans).fate == "swallowed"


def test_who_swallowed_it_is_named(spans):
    """The caller that returned normally ended the exception's way."""
    error = spans.error()
    root = spans.add("root", 0, 9)
    caller = spans.add("caller", 0, 5, root)
    spans.chain(["call", "inner"], 0, 1, caller, error=error)
    failure = only(spans)
    assert (failure.fate, failure.handled_by.operation) == ("swallowed", "caller")


def test_a_caller_that_failed_later_of_something_else_did_not_end_normally(spans):
    """It caught the one failure; the other is its own."""
    root = spans.add("root", 0, 9, error=spans.error("KeyError"))
    spans.add("call", 0, 1, root, error=spans.error())
    found = {failure.origin.operation: failure for failure in failures(spans)}
    assert (found["call"].fate, found["call"].handler_failed) == ("swallowed", True)
    assert found["root"].fate == "raised"


def test_a_stub_is_the_visible_effect_of_what_it_swallowed(spans):
    """A failed result above a failed call of the same agent is the same story."""
    root = spans.add("swarm", 0, 9, role="orchestrator")
    stub = spans.add("agent_call", 0, 5, root, role="worker", agent="x", error=soft())
    spans.chain(["llm_call", "attempt"], 0, 1, stub, role="llm", error=spans.error())
    failure = only(spans)
    assert failure.effect.operation == failure.handled_by.operation == "agent_call"
    assert (failure.kind, failure.fate) == ("error", "swallowed")


def test_a_rescued_failure_has_no_effect_above(spans):
    """A failed result above a failure that was made good began by itself."""
    stub = spans.add("agent_call", 0, 9, role="worker", agent="x", error=soft())
    spans.add("attempt", 0, 1, stub, error=spans.error())
    spans.add("attempt", 2, 3, stub)
    assert {(each.kind, each.fate) for each in failures(spans)} == {
        ("error", "retry"),
        ("soft", "returned"),
    }


def test_a_failed_result_made_good_by_calling_again(spans):
    """A worker called once more after its stub is a retry of the exception below the stub."""
    root = spans.add("swarm", 0, 9)
    worker = {"role": "worker", "agent": "x"}
    stub = spans.add("agent_call", 0, 2, root, error=soft(), **worker)
    spans.add("llm_call", 0, 1, stub, role="llm", error=spans.error())
    spans.add("agent_call", 3, 4, root, **worker)
    failure = only(spans)
    assert (failure.fate, failure.attempts, failure.error_type) == ("retry", 2, "ValueError")


def test_a_failed_result_alone_is_soft(spans):
    """Nothing was raised; the caller went on with it."""
    root = spans.add("caller", 0, 9)
    spans.add("llm_call", 0, 1, root, role="llm", error=soft("failed_if held: x"))
    failure = only(spans)
    assert (failure.kind, failure.fate, failure.message) == (
        "soft",
        "swallowed",
        "failed_if held: x",
    )


def test_a_timeout_names_what_was_running(spans):
    """The caller raised TimeoutError; the innermost cancelled call is the culprit."""
    root = spans.add("root", 0, 9)
    limit = spans.add("exec", 0, 5, root, error=spans.error("TimeoutError", ""))
    done = spans.add("prepare", 0, 1, limit)
    spans.chain(["agent_call", "llm_call", "attempt"], 1, 5, limit, status="cancelled")
    failure = only(spans)
    assert (failure.kind, failure.certain, failure.fate) == ("timeout", True, "swallowed")
    assert names(culprit.place for culprit in failure.culprits) == ["attempt"]
    assert failure.path == ("root", "exec", "agent_call", "llm_call", "attempt")
    assert failure.culprits[0].ran_seconds == 4
    assert done.status == "success"


def test_a_race_decided_earlier_is_not_what_timed_out(spans):
    """Calls cancelled long before the timeout were cancelled for another reason."""
    limit = spans.add("exec", 0, 9, error=spans.error("TimeoutError", ""))
    spans.add("loser", 0, 1, limit, status="cancelled")
    spans.add("slow", 2, 9, limit, status="cancelled")
    assert names(culprit.place for culprit in only(spans).culprits) == ["slow"]


def test_a_call_that_raised_its_own_timeout_is_its_own_culprit(spans):
    """A client's own timeout has nothing cancelled below it."""
    spans.add("post", 0, 3, error=spans.error("ReadTimeout"))
    failure = only(spans)
    assert (failure.kind, names(c.place for c in failure.culprits)) == ("timeout", ["post"])


def test_a_call_cut_off_while_its_caller_went_on_is_uncertain(spans):
    """A timeout above may be raised in code that is not watched: no more is said than is known."""
    root = spans.add("swarm", 0, 9, role="orchestrator")
    spans.chain(["exec", "agent_call", "attempt"], 0, 5, root, agent="x", status="cancelled")
    failure = only(spans)
    assert (failure.kind, failure.certain, failure.handled_by.operation) == (
        "timeout",
        False,
        "swarm",
    )
    assert (failure.origin.operation, failure.culprits[0].ran_seconds) == ("attempt", 5)
    assert failure.agents == ("x",)


def test_calls_cut_off_together_are_one_failure(spans):
    """One act of cancelling has several culprits, the longest-running first."""
    root = spans.add("swarm", 0, 9)
    spans.add("exec", 1, 5, root, agent="x", status="cancelled")
    spans.add("exec", 0, 5.1, root, agent="y", status="cancelled")
    failure = only(spans)
    assert [each.place.agent for each in failure.culprits] == ["y", "x"]
    assert set(failure.agents) == {"x", "y"}


def test_a_cut_off_call_that_was_made_again_is_a_retry(spans):
    """A time limit per attempt is rescued like any failed attempt."""
    root = spans.add("client", 0, 9)
    spans.add("attempt", 0, 3, root, status="cancelled")
    spans.add("attempt", 4, 5, root)
    failure = only(spans)
    assert (failure.kind, failure.fate, failure.attempts) == ("timeout", "retry", 2)


def test_cancellation_by_a_failing_caller_is_no_failure(spans):
    """A task group that fails cancels the others: theirs is no failure of their own."""
    error = spans.error()
    group = spans.add("group", 0, 5, error=error)
    spans.add("bad", 0, 4, group, error=error)
    spans.add("good", 0, 5, group, status="cancelled")
    found = outcomes(build(spans))
    assert [failure.origin.operation for failure in found.failures] == ["bad"]
    assert names(each.place for each in found.cancellations) == ["good"]


def test_a_cancelled_run_is_no_failure(spans):
    """All the way to the root nobody caught it: somebody wanted to stop."""
    spans.chain(["swarm", "agent_call"], 0, 5, status="cancelled")
    found = outcomes(build(spans))
    assert (found.failures, len(found.cancellations)) == ((), 1)


def test_a_failure_whose_caller_was_cancelled_is_interrupted(spans):
    """Nobody knows what the caller would have done."""
    root = spans.add("swarm", 0, 9)
    caller = spans.add("client", 0, 5, root, status="cancelled")
    spans.add("attempt", 0, 1, caller, error=spans.error())
    found = {failure.kind: failure.fate for failure in failures(spans)}
    assert found == {"error": "interrupted", "timeout": "swallowed"}


def test_a_failure_whose_caller_still_runs_is_unsettled(spans):
    """What becomes of it lies beyond the records."""
    caller = spans.add("client", 0, None)
    spans.add("attempt", 0, 1, caller, error=spans.error())
    assert only(spans).fate == "unsettled"


def test_recoveries_mark_every_span_that_the_failure_reached():
    """Attempts and the calls that passed them on are marked, and nothing else."""
    spans = Spans()
    root = spans.add("root", 0, 9)
    error = spans.error()
    first = spans.chain(["client", "attempt"], 0, 1, root, error=error)
    spans.add("client", 2, 3, root)
    lost = spans.add("other", 4, 5, root, error=spans.error())
    assert recoveries(spans) == {span.id: "retry" for span in first}
    assert lost.id not in recoveries(spans)


@pytest.mark.parametrize(
    ("fault", "kind", "fate", "attempts", "dead"),
    [
        ("retry", "error", "retry", 2, ()),
        ("swallowed", "error", "swallowed", 3, ("developer",)),
        ("unreadable", "soft", "swallowed", 1, ("developer",)),
        ("timeout", "timeout", "swallowed", 1, ("developer",)),
    ],
)
def test_each_fault_of_a_swarm_is_told_as_what_it_is(fault, kind, fate, attempts, dead):
    """One failure a round, of the right kind and agent, and death only where nothing succeeded."""
    found = outcomes(build(swarm(fault)))
    stories = {(each.kind, each.fate, each.attempts, each.agents) for each in found.failures}
    assert stories == {(kind, fate, attempts, ("developer",))}
    assert [failure.round for failure in found.failures] == ["1", "2", "3"]
    assert tuple(each.agent for each in found.dead_agents) == dead


@pytest.mark.parametrize("fault", ["", "slow-agent"])
def test_a_healthy_swarm_has_no_failures(fault):
    """Slowness is not failure."""
    found = outcomes(build(swarm(fault)))
    assert (found.failures, found.dead_agents, found.cancellations) == ((), (), ())


@given(any_spans())
def test_any_records_are_told_without_an_exception(spans):
    """Each failure begins in one span that failed or was cut off; no two begin in the same one."""
    found = outcomes(build(spans, 45))
    tree = build(spans, 45)
    failed = {span.span_id for span in tree.spans if is_failed(span)}
    cancelled = {span.span_id for span in tree.spans if span.status == "cancelled"}
    origins = [failure.origin.span_id for failure in found.failures]
    assert len(origins) == len(set(origins))
    assert set(origins) <= failed | cancelled
    assert bool(failed) <= bool(found.failures)
    for failure in found.failures:
        assert failure.rescued == (failure.rescuer is not None)
        assert failure.attempts >= 1 + (failure.fate == "retry")
        assert failure.certain or failure.culprits


@given(any_spans(), st.randoms(use_true_random=False))
def test_the_order_of_the_records_does_not_matter(spans, shuffler: random.Random):
    """Spans come in the order of their ends or any other; the story is the same."""
    unique = list({span.id: span for span in spans}.values())
    mixed = list(unique)
    shuffler.shuffle(mixed)
    assert to_json(outcomes(build(unique, 45))) == to_json(outcomes(build(mixed, 45)))


def test_a_dead_agent_needs_no_exception():
    """An agent whose model calls all failed is dead even though its calls returned normally."""
    (dead,) = outcomes(build(swarm("unreadable"))).dead_agents
    assert (dead.calls, dead.returned, dead.rounds) == (3, 3, ("1", "2", "3"))


def test_one_success_means_alive():
    """An agent that answered once is not dead."""
    spans = swarm("swallowed")
    call = next(s for s in spans if s.operation == "agent_call" and s.agent == "developer")
    call.status, call.error = "success", None
    for span in spans:
        if span.parent == call.id:
            span.status, span.error = "success", None
    assert outcomes(build(spans)).dead_agents == ()


def test_an_agent_that_still_runs_is_not_called_dead(spans):
    """Calls that have not ended say nothing."""
    spans.add("agent_call", 0, None, role="worker", agent="x")
    assert outcomes(build(spans, 9 * SECOND)).dead_agents == ()


@pytest.mark.parametrize(
    "library",
    [
        "/usr/lib/python3.12/json/decoder.py",
        "/app/.venv/lib/python3.11/site-packages/httpx/_client.py",
        r"C:\Python311\Lib\json\decoder.py",
        "<frozen importlib._bootstrap>",
    ],
)
def test_the_place_to_look_at_is_in_the_program(library):
    """Of a failure deep in a library the program's own innermost line is named, if it has one."""
    spans = Spans()
    root = spans.add("run", 0, 9, role="orchestrator")
    for frames in (
        (("/app/main.py", 3, "main"), ("/app/lib/python.py", 7, "ask"), (library, 88, "raw")),
        ((library, 12, "outer"), (library, 88, "raw")),
    ):
        error = ErrorInfo("OddError", "no", "app", frames, id(frames))
        spans.add(f"ask{len(spans.all)}", 1, 2, root, error=error)
    found = outcomes(build(spans)).failures
    assert {each.frame for each in found} == {
        ("/app/lib/python.py", 7, "ask"),
        (library, 88, "raw"),
    }
