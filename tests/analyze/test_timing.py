"""Busy time, parallelization, percentiles, the agent table."""

import pytest
from builders import SECOND, Spans, any_spans, soft, swarm, trees
from hypothesis import given
from hypothesis import strategies as st

from dytopo_autotrace.analyze.ownership import owners
from dytopo_autotrace.analyze.timing import (
    agent_rows,
    busy_ns,
    covered_ns,
    operation_rows,
    parallelization,
    percentile,
    trace_statistics,
)
from dytopo_autotrace.analyze.tree import build


def factor(spans):
    tree = build(spans)
    return parallelization(tree, busy_ns(tree))


def rows(spans, tokens=None):
    tree = build(spans)
    return {(row.role, row.name): row for row in agent_rows(tree, owners(tree), tokens)}


def test_a_sequential_run_has_factor_one():
    """Nested and consecutive calls, however deep, run one at a time."""
    spans = Spans()
    root = spans.add("root", 0, 10)
    spans.chain(["a", "b", "c"], 1, 4, root)
    spans.chain(["a", "b"], 4, 9, root)
    assert factor(spans) == pytest.approx(1)


def test_five_workers_side_by_side_have_factor_five():
    """An orchestrator that only awaits its workers is not busy meanwhile."""
    spans = Spans()
    root = spans.add("root", 0, 10)
    for _ in range(5):
        spans.chain(["worker", "llm"], 0, 10, root)
    assert factor(spans) == pytest.approx(5)


def test_a_gap_between_roots_is_not_idle_time():
    """Two roots one after another are sequential, whatever passed unwatched between them."""
    spans = Spans()
    spans.add("first", 0, 1)
    spans.add("second", 50, 51)
    assert factor(spans) == pytest.approx(1)


def test_a_child_that_outlives_its_parent_is_clipped_to_it():
    """What a child does after its parent's end takes nothing from the parent's own time."""
    spans = Spans()
    root = spans.add("root", 0, 4)
    child = spans.add("background", 3, 9, root)
    busy = busy_ns(build(spans))
    assert (busy[root.id], busy[child.id]) == (3 * SECOND, 6 * SECOND)


@given(any_spans())
def test_at_every_moment_something_watched_is_busy(spans):
    """The factor is one or more for any records, and zero only without any."""
    assert factor(spans) >= 1 if spans else factor(spans) == 0


@given(trees())
def test_own_time_adds_up_to_the_whole(spans):
    """Of spans within one another no second is lost: own times sum to the root's time or more."""
    tree = build(spans)
    busy = busy_ns(tree)
    assert all(0 <= busy[s.id] <= s.end_ns - s.start_ns for s in spans)
    assert sum(busy.values()) >= tree.last_ns - tree.first_ns


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(0, 10)), max_size=12))
def test_coverage_is_that_of_the_single_units(lengths):
    """The union's length is the number of unit cells that any interval covers."""
    intervals = [(start, start + length) for start, length in lengths]
    cells = {cell for start, end in intervals for cell in range(start, end)}
    assert covered_ns(intervals) == len(cells)


@given(st.lists(st.integers(), min_size=1), st.integers(1, 100))
def test_a_percentile_is_a_value_that_occurred(values, percent):
    """At least that share of the values is not above it, and it is one of them."""
    found = percentile(sorted(values), percent)
    assert found in values
    assert sum(value <= found for value in values) * 100 >= percent * len(values)


@given(trees())
def test_an_agents_total_never_exceeds_the_time_that_passed(spans):
    """Nested and simultaneous calls of one agent are not added twice."""
    tree = build(spans)
    for row in agent_rows(tree, owners(tree)):
        assert row.total_seconds <= (tree.last_ns - tree.first_ns) / 1e9 + 1e-9
        assert row.calls <= row.spans
        assert row.p50_seconds <= row.p95_seconds <= row.p99_seconds


def test_a_row_counts_outermost_calls():
    """A client's method and its attempts below are part of the one call that the agent made."""
    spans = Spans()
    call = spans.add("agent_call", 0, 9, role="worker", agent="x")
    for start in (0, 5):
        spans.chain(["llm_call", "chat_completion"], start, start + 2, call, role="llm")
    row = rows(spans)["llm", "x"]
    assert (row.calls, row.spans, row.total_seconds, row.p50_seconds) == (2, 4, 4, 2)


def test_what_runs_below_an_agents_call_is_the_agents():
    """A span without an agent belongs to its caller's."""
    assert ("llm", "developer") in rows(swarm())


def test_functions_of_other_roles_are_listed_by_operation():
    """What has no role, or one that is no kind of call, shares a row with its own name only."""
    spans = Spans()
    spans.add("parse", 0, 1, agent="x")
    spans.add("save", 1, 2, role="io", agent="x")
    assert set(rows(spans)) == {("-", "parse"), ("io", "save")}


def test_failures_and_cancellations_are_counted_apart():
    """A soft failure is an error; a cancelled call is not."""
    spans = Spans()
    root = spans.add("root", 0, 9)
    shared = {"role": "worker", "agent": "x"}
    spans.add("call", 0, 1, root, error=spans.error(), **shared)
    spans.add("call", 1, 2, root, error=soft(), **shared)
    spans.add("call", 2, 3, root, status="cancelled", **shared)
    spans.add("call", 3, None, root, **shared)
    row = rows(spans)["worker", "x"]
    assert (row.calls, row.errors, row.cancelled, row.running) == (4, 2, 1, 1)


def test_tokens_stand_in_their_row_and_nowhere_else():
    """A row without a token count has none, which is not zero."""
    table = rows(swarm(), {("llm", "tester"): 12.0})
    assert table["llm", "tester"].tokens == 12
    assert table["worker", "tester"].tokens is None


def test_time_is_attributed_to_the_operation_itself():
    """The attempts did the work, so the calls around them have no time of their own."""
    tree = build(swarm())
    table = operation_rows(tree, owners(tree), busy_ns(tree))
    assert table[0].operation == "chat_attempt"
    assert sum(row.share for row in table) <= 1.000001


def test_classic_statistics_of_a_trace():
    """Each operation has count, total, average, minimum, maximum, errors and their rate."""
    spans = Spans()
    root = spans.add("root", 0, 4)
    spans.add("call", 0, 1, root)
    spans.add("call", 1, 4, root, error=spans.error())
    statistics = trace_statistics(spans)
    assert statistics["total_duration"] == 4
    assert statistics["operation_stats"]["call"] == {
        "count": 2,
        "total_duration": 4.0,
        "avg_duration": 2.0,
        "min_duration": 1.0,
        "max_duration": 3.0,
        "errors": 1,
        "error_rate": 0.5,
    }


def test_calls_of_a_swarm_within_a_call_are_calls_of_their_own():
    """An orchestrator below an agent's call begins anew, whatever its agents are called."""
    spans = Spans()
    outer = spans.add("swarm", 0, 9, role="orchestrator")
    work = spans.add("work", 1, 8, outer, role="worker", agent="dev")
    inner = spans.add("swarm", 1, 8, work, role="orchestrator")
    spans.add("work", 2, 3, inner, role="worker", agent="dev", error=soft())
    table = rows(spans)
    assert (table["worker", "dev"].calls, table["worker", "dev"].errors) == (2, 1)
    assert sum(row.calls for key, row in table.items() if key[0] == "orchestrator") == 2


def test_an_error_inside_a_call_that_succeeded_is_counted():
    """A row tells of every failure once, however deep it began and whoever passed it on."""
    spans = Spans()
    shared = {"role": "llm", "agent": "x"}
    good = spans.add("ask", 0, 9, **shared)
    spans.add("attempt", 1, 2, good, error=spans.error(), **shared)
    error = spans.error()
    spans.chain(["ask", "attempt"], 10, 12, error=error, **shared)
    row = rows(spans)["llm", "x"]
    assert (row.calls, row.errors) == (2, 2)
