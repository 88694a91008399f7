"""The index of spans: complete and in order, whatever state the records are in."""

from builders import SECOND, Spans, any_spans, trees
from hypothesis import given

from dytopo_autotrace.analyze.tree import ancestors, build


@given(any_spans())
def test_every_id_is_indexed_once(spans):
    """Loops, repeated ids and missing parents lose no span and show none twice."""
    tree = build(spans, 45)
    ids = [span.id for span in tree.spans]
    assert sorted(ids) == sorted({span.id for span in spans})


@given(any_spans())
def test_parents_come_before_their_children(spans):
    """Depth first: a span's parent is before it and one level above it."""
    tree = build(spans, 45)
    places = {span.id: place for place, span in enumerate(tree.spans)}
    for span in tree.spans:
        parent = tree.parent_of(span)
        above = tree.depths[parent.id] if parent else -1
        assert tree.depths[span.id] == above + 1
        assert parent is None or places[parent.id] < places[span.id]


@given(any_spans())
def test_no_span_ends_before_it_starts(spans):
    """An end before the start counts as no time."""
    tree = build(spans, 45)
    assert all(tree.end_ns(span) >= span.start_ns for span in tree.spans)


@given(trees())
def test_well_formed_records_are_not_remarked_on(spans):
    """Nothing is odd about finished spans of one tree, in whatever order they come."""
    forwards, backwards = build(spans), build(reversed(spans))
    assert forwards.remarks == ()
    assert forwards.spans == backwards.spans
    assert len(forwards.roots) == 1


def test_children_are_in_order_of_start():
    """Spans arrive in the order of their ends; children are listed by their starts."""
    spans = Spans()
    root = spans.add("root", 0, 9)
    late, early = spans.add("late", 5, 6, root), spans.add("early", 1, 8, root)
    assert list(build(spans).children_of(root)) == [early, late]


def test_ancestors_go_up_to_the_root():
    """The nearest caller comes first."""
    spans = Spans()
    chain = spans.chain(["a", "b", "c"], 0, 1)
    assert list(ancestors(build(spans), chain[2])) == [chain[1], chain[0]]


def test_a_span_still_running_is_measured_up_to_now():
    """An open span lasts until the given moment and is remarked on by name."""
    spans = Spans()
    span = spans.add("waiting", 1, None)
    tree = build(spans, 4 * SECOND)
    assert tree.seconds(span) == 3
    assert "1 span still running" in tree.remarks[0]
    assert "waiting" in tree.remarks[0]


def test_a_missing_parent_makes_a_root_of_its_own():
    """A span whose parent was not recorded is kept and remarked on."""
    spans = Spans()
    span = spans.add("lost", 0, 1)
    span.parent = 99
    tree = build(spans)
    assert tree.roots == (span,)
    assert "a parent that was not recorded" in tree.remarks[0]


def test_a_circle_is_cut_at_its_earliest_span():
    """Spans that are each other's parents become one tree, the earliest at its root."""
    spans = Spans()
    first = spans.add("first", 0, 9)
    second = spans.add("second", 1, 8, first)
    below = spans.add("below", 2, 3, second)
    first.parent = second.id
    tree = build([below, second, first])
    assert tree.spans == (first, second, below)
    assert "circle" in tree.remarks[0]


def test_of_a_span_seen_open_and_finished_the_finished_one_counts():
    """The same id twice is one span, and the finished record is the better one."""
    spans = Spans()
    done = spans.add("call", 0, 2)
    seen_open = spans.add("call", 0, None)
    seen_open.id = done.id
    assert build([seen_open, done]).spans == (done,)
    assert build([done, seen_open]).spans == (done,)


def test_a_chain_deeper_than_the_stack_is_walked():
    """Depth costs no recursion."""
    spans = Spans()
    spans.chain(["call"] * 5000, 0, 1)
    assert max(build(spans).depths.values()) == 4999


def test_traces_are_listed_in_order_of_their_first_root():
    """Several traces stay apart, the earliest first."""
    spans = Spans()
    spans.add("late", 5, 6, trace=7)
    spans.add("early", 1, 2, trace=9)
    assert build(spans).traces == (9, 7)


def test_no_spans_make_an_empty_tree():
    """Nothing recorded is a valid record."""
    tree = build([])
    assert (tree.spans, tree.first_ns, tree.last_ns, tree.traces) == ((), 0, 0, ())


def test_a_trace_begun_under_a_span_is_indexed_below_it():
    """The root of a trace of its own, linked to the span around it, is that span's child."""
    spans = Spans()
    main = spans.add("main", 0, 4)
    run = spans.add("run", 1, 3, trace=2)
    run.links = (main.id,)
    tree = build(spans)
    assert tree.parent_of(run) is main
    assert tree.roots == (main,)
    assert len(tree.traces) == 2


def test_a_link_to_what_was_not_recorded_leaves_a_root():
    """A link that leads nowhere, or to the span itself, makes no parent."""
    spans = Spans()
    run = spans.add("run", 1, 3)
    run.links = (999, run.id)
    assert build(spans).roots == (run,)


def test_a_trace_begun_within_a_round_hangs_below_the_call_around_that_round():
    """A root that is linked to a scope belongs where the scope does: to the call that has it."""
    spans = Spans()
    root = spans.add("root", 0, 9)
    scope = spans.add("round", 1, 8, root, role="scope")
    nested = spans.add("nested", 2, 7)
    nested.links = (scope.id,)
    tree = build([root, scope, nested])
    assert tree.parent_of(nested) is root
    assert tree.remarks == ()
