"""The metrics collector: what it takes, what it answers, and what it does when it is too much."""

import asyncio
import itertools
import json
import math
import os
import signal
import statistics
import threading
import time
import warnings
from dataclasses import replace
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from dytopo_autotrace.collect import clock
from dytopo_autotrace.collect import metrics as module
from dytopo_autotrace.collect.metrics import OVERFLOW, MetricsCollector
from dytopo_autotrace.collect.series import MetricPoint

NUMBERS = st.floats(-1e12, 1e12) | st.integers(-(10**9), 10**9) | st.booleans()
LABELS = st.dictionaries(st.sampled_from("abc"), st.sampled_from(["x", "y", ""]), max_size=3)


@pytest.fixture
def collector():
    return MetricsCollector()


@given(st.lists(NUMBERS, min_size=1, max_size=200))
def test_stats_are_exact(values):
    """Stats are those of the recorded values; a percentile is a value that was recorded."""
    collector = MetricsCollector()
    for value in values:
        collector.record("m", value)
    stats = collector.stats("m")
    kept = sorted(map(float, values))
    assert stats["count"] == len(kept)
    assert (stats["min"], stats["max"]) == (kept[0], kept[-1])
    assert stats["sum"] == pytest.approx(math.fsum(kept), rel=1e-9, abs=1e-3)
    assert stats["mean"] == stats["sum"] / stats["count"]
    assert stats["median"] == statistics.median(kept)
    for name, p in (("p50", 0.5), ("p95", 0.95), ("p99", 0.99)):
        assert stats[name] == kept[min(int(len(kept) * p), len(kept) - 1)]
    assert set(stats) == {"count", "sum", "min", "max", "mean", "median", "p50", "p95", "p99"}


@given(st.lists(st.tuples(LABELS, NUMBERS), max_size=50), LABELS)
def test_a_label_filter_merges_all_series_that_include_it(recorded, wanted):
    """A filter by some labels gives the same stats as all matching values in one series."""
    collector, merged = MetricsCollector(), MetricsCollector()
    for labels, value in recorded:
        collector.record("m", value, **labels)
        if wanted.items() <= labels.items():
            merged.record("m", value)
    assert collector.stats("m", wanted) == merged.stats("m")


async def test_nothing_recorded_says_nothing(collector):
    """An empty collector answers with empty values, not with zeros that look measured."""
    assert await collector.get_stats("m") == {}
    assert await collector.get_all_metrics() == []
    assert await collector.get_summary() == {"total_metrics": 0}
    assert await collector.cleanup_old_metrics() == 0
    assert collector.families() == []


async def test_record_needs_no_await(collector):
    """A record counts whether it is awaited, left alone or given to the loop, and never warns."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        collector.record("m", 1)
        await collector.record("m", 2)
        await asyncio.gather(collector.record("m", 3), collector.record("m", 4))
        await asyncio.create_task(collector.record("m", 5))
        await asyncio.wait_for(collector.record("m", 6), 1)
    assert (await collector.get_stats("m"))["count"] == 6


def test_record_returns_what_an_event_loop_runs(collector):
    """`asyncio.run(metrics.record(...))` works: to a loop, the result is a coroutine."""
    assert asyncio.iscoroutine(collector.record("m", 1))
    assert asyncio.run(collector.record("m", 2)) is None
    module.DONE.close()
    with pytest.raises(KeyError):
        module.DONE.throw(KeyError("k"))


def test_event_loops_one_after_another_and_at_once(collector):
    """One collector serves several event loops, since nothing in it belongs to a loop."""

    async def work():
        for _ in range(100):
            await collector.record("m", 1)
            await asyncio.sleep(0)
        return await collector.get_stats("m")

    threads = [threading.Thread(target=lambda: asyncio.run(work())) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert asyncio.run(work())["count"] == 500


def test_no_number_is_lost_between_threads(collector):
    """Threads that record while others ask lose nothing: points, series and counts agree."""
    going = threading.Event()

    def work(number):
        for _ in range(2000):
            collector.record("m_seconds", 1.0, worker=number % 3)

    def ask():
        while not going.is_set():
            collector.stats("m_seconds")
            collector.families()

    asking = threading.Thread(target=ask)
    threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
    asking.start()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    going.set()
    asking.join()
    assert collector.stats("m_seconds")["count"] == 12_000
    assert sum(each.count for each in collector.families()[0].series) == 12_000
    assert not any(collector.losses().values())


def test_recording_while_the_same_thread_holds_the_lock_waits_its_turn(collector):
    """A finalizer or signal handler that records in the middle of a record does not deadlock."""
    with collector._lock:
        collector.record("m", 7, agent="a")
    assert collector.stats("m", {"agent": "a"})["sum"] == 7


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
@pytest.mark.filterwarnings("ignore:This process.*is multi-threaded:DeprecationWarning")
def test_a_fork_while_the_lock_is_held_leaves_the_child_free(collector):
    """A child forked while another thread was recording can record and ask."""
    with collector._lock:
        child = os.fork()
        if child == 0:
            signal.alarm(10)
            collector.record("m", 1)
            os._exit(0 if collector.stats("m") else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


class Unfriendly:
    def __str__(self):
        raise RuntimeError("no text")

    def __float__(self):
        raise RuntimeError("no number")


@pytest.mark.parametrize(
    "value",
    [math.nan, math.inf, -math.inf, "1", b"1", None, [1], 1j, 10**400, Unfriendly(), object],
)
def test_what_is_no_finite_number_is_refused_and_counted(collector, value):
    """A value that is no finite number is not kept, is counted, and does not raise."""
    collector.record("m", value)
    collector.observe("counter", "c", value, (), 1.0)
    assert collector.points() == []
    assert collector.refused == 2


@pytest.mark.parametrize("value", [True, 3, Fraction(1, 2), 2.5])
def test_numbers_of_every_type_are_taken(collector, value):
    """Whatever is a number is kept as a float, a boolean as 0 or 1."""
    collector.record("m", value)
    assert [point.value for point in collector.points()] == [float(value)]


def test_labels_are_text(collector):
    """Label values become text, equal numbers that read differently stay apart, errors stay in."""
    for value in (1, True, 1.0, "1", None, Unfriendly(), "x" * 5000):
        collector.record("m", 1, key=value)
    found = [point.labels["key"] for point in collector.points()]
    assert found[:6] == ["1", "True", "1.0", "1", "None", "<Unfriendly>"]
    assert len(found[6]) == 1024
    assert collector.stats("m", {"key": 1})["count"] == 2
    assert collector.stats("m", {"key": "x" * 5000})["count"] == 1


def test_no_name_or_label_raises(collector):
    """Names and labels of the wrong type are made text or refused; the host is never told."""
    collector.record(None, 1)
    collector.record(Unfriendly(), 1)
    collector.observe("gauge", [], 1, (), 1.0)
    collector.observe("gauge", "m", 1, 5, 1.0)
    collector.observe("gauge", "m", 1, ((1, 2, 3),), 1.0)
    collector.observe("gauge", "m", 1, (([], {}),), 1.0)
    collector.observe("summary", "s", 1, (), 1.0)
    assert {point.name for point in collector.points()} == {"None", "<Unfriendly>", "[]", "m"}
    assert collector.refused == 3


def test_a_name_that_asks_the_collector_does_not_deadlock(collector):
    """The host's own conversions run while no lock is held, so they may do as they like."""

    class Curious:
        def __str__(self):
            return f"seen {len(collector.points())}"

    for _ in range(2):
        collector.record(Curious(), 1, label=Curious())
    assert [point.name for point in collector.points()] == ["seen 0", "seen 1"]


def test_a_label_has_one_value(collector):
    """Of a label given twice, or under two names that read the same, the last value counts."""
    collector.observe("gauge", "m", 1, (("a", "1"), ("a", "2")), 1.0)
    collector.observe("gauge", "m", 1, {1: "x", "1": "y"}, 2.0)
    assert [point.labels for point in collector.points()] == [{"a": "2"}, {"1": "y"}]


def test_labels_in_any_order_and_form_are_one_series(collector):
    """A label set is a set: its order, and whether it came as a mapping, make no difference."""
    collector.observe("counter", "c_total", 1, (("a", "1"), ("b", "2")), 1.0)
    collector.observe("counter", "c_total", 1, (("b", "2"), ("a", "1")), 1.0)
    collector.observe("counter", "c_total", 1, {"b": 2, "a": 1}, 1.0)
    (series,) = collector.families()[0].series
    assert (series.labels, series.sum) == ((("a", "1"), ("b", "2")), 3.0)


def test_the_kind_of_what_the_program_records_follows_from_the_name(collector):
    """A value recorded without a kind is a gauge, one whose name ends in `_seconds` a histogram."""
    collector.record("load", 3)
    collector.record("load", 2)
    collector.record("call_seconds", 0.3)
    load, call = collector.families()[1], collector.families()[0]
    assert (load.kind, load.series[0].last) == ("gauge", 2.0)
    assert (call.kind, call.bounds) == ("histogram", module.SECONDS)


def test_a_kind_once_known_stays(collector):
    """Recording without a kind adds to what the metric is; another kind is counted as a conflict."""
    collector.observe("counter", "c", 2, (), 1.0)
    collector.record("c", 3)
    assert collector.conflicting == 0
    collector.observe("gauge", "c", 4, (), 1.0)
    (family, _) = collector.families()
    assert (family.kind, family.series[0].sum, collector.conflicting) == ("counter", 9.0, 1)


def test_a_counter_does_not_go_down(collector):
    """A negative step of a counter is refused and counted, and leaves no point behind."""
    collector.observe("counter", "c_total", 2, (), 1.0)
    collector.observe("counter", "c_total", -1, (), 1.0)
    assert collector.families()[0].series[0].sum == 2
    assert (len(collector.points()), collector.refused) == (1, 1)
    collector.observe("counter", "never_total", -1, (), 1.0)
    assert "never_total" not in {family.name for family in collector.families()}


@given(st.lists(st.floats(-10, 1e6), max_size=50), st.lists(st.floats(-5, 1e5), max_size=8))
def test_a_value_is_in_the_first_bucket_that_it_does_not_exceed(values, buckets):
    """Bucket counts say how many values lie above the bound before and not above the bound."""
    collector = MetricsCollector()
    for value in [1.0, *values]:
        collector.observe("histogram", "h", value, (), 1.0, buckets)
    family = collector.families()[0]
    assert family.bounds == (tuple(sorted(set(buckets))) or module.AMOUNTS)
    edges = [-math.inf, *family.bounds, math.inf]
    for low, high, count in zip(edges, edges[1:], family.series[0].bucket_counts, strict=False):
        assert count == sum(low < value <= high for value in [1.0, *values])


def test_the_default_bounds_suit_model_calls():
    """Bounds for durations ascend from 1 ms to 300 s and at most double where model calls live."""
    bounds = module.SECONDS
    assert (bounds[0], bounds[-1]) == (0.001, 300.0)
    assert list(bounds) == sorted(set(bounds))
    live = [bound for bound in bounds if 0.5 <= bound <= 120]
    assert all(after <= 2 * before for before, after in itertools.pairwise(live))


def test_a_gauge_shows_its_latest_value_not_the_last_to_arrive(collector):
    """Threads hand over late: the value with the latest time is the gauge's."""
    collector.observe("gauge", "g", 1, (), 20.0)
    collector.observe("gauge", "g", 2, (), 10.0)
    assert collector.families()[0].series[0].last == 1
    assert [point.value for point in collector.points()] == [2, 1]


@given(st.integers(1, 60), st.integers(0, 200))
def test_the_oldest_points_give_way_and_are_counted(limit, recorded):
    """Beyond the limit exactly the newest points are kept, and the rest is counted."""
    collector = MetricsCollector(max_points=limit)
    for number in range(recorded):
        collector.observe("gauge", "g", number, (), float(number))
    kept = [point.value for point in collector.points()]
    assert kept == list(range(max(0, recorded - limit), recorded))
    assert collector.dropped_points == recorded - len(kept)
    assert collector.stats("g").get("count", 0) == len(kept)


@given(
    st.lists(st.lists(st.tuples(st.floats(0, 1e6), st.integers(0, 99)), max_size=9), max_size=9),
    st.integers(1, 30),
    st.sampled_from(["histogram", "gauge"]),
)
def test_values_recorded_at_once_are_those_recorded_one_by_one(batches, limit, first_kind):
    """A batch gives the points, totals and buckets that its values would have given in turns."""
    at_once, in_turns = (MetricsCollector(max_points=limit) for _ in range(2))
    for collector in (at_once, in_turns):
        collector.observe(first_kind, "m_seconds", 1.0, (("a", "x"),), 50.0)
    for number, batch in enumerate(batches):
        values = [value for value, _ in batch]
        times = sorted(float(time) for _, time in batch)
        labels = (("a", "xyx"[number % 3]),)
        at_once.observe_many("m_seconds", labels, values, times, "help")
        for value, time_ in zip(values, times, strict=True):
            in_turns.observe("histogram", "m_seconds", value, labels, time_, help="help")
    assert at_once.points() == in_turns.points()
    assert at_once.losses() == in_turns.losses()
    for ours, theirs in zip(at_once.families(), in_turns.families(), strict=True):
        assert (ours.kind, ours.help) == (theirs.kind, theirs.help)
        for one, other in zip(ours.series, theirs.series, strict=True):
            assert one.sum == pytest.approx(other.sum)
            assert replace(one, sum=0.0) == replace(other, sum=0.0)


def test_values_recorded_at_once_while_the_lock_is_held_wait_their_turn(collector):
    """A batch that comes in the middle of a record is recorded by whoever comes next."""
    with collector._lock:
        collector.observe_many("m_seconds", (("a", "x"),), [1.0, 2.0], [5.0, 6.0])
    assert collector.stats("m_seconds", {"a": "x"})["sum"] == 3


def test_points_grow_beyond_one_chunk():
    """Columns grow as points come in and wrap at the limit, wherever that lies in a chunk."""
    collector = MetricsCollector(max_points=5000)
    for number in range(12_345):
        collector.observe("gauge", "g", number, (), float(number))
    assert [point.value for point in collector.points()] == list(range(7345, 12_345))


def test_label_sets_beyond_the_limit_share_one_series():
    """A metric's label sets are bounded; what exceeds them is kept together and counted."""
    collector = MetricsCollector(max_label_sets=3)
    for _ in range(2):
        for number in range(5):
            collector.record("m", 1, task=number)
    collector.record("other", 1, task=9)
    assert collector.overflowed == 4
    assert collector.stats("m", dict(OVERFLOW))["count"] == 4
    assert collector.stats("m", {"task": 2})["count"] == 2
    assert collector.stats("m")["count"] == 10
    assert collector.stats("other", {"task": 9})["count"] == 1


def test_series_and_names_are_bounded_in_all():
    """Beyond the limit of all series a known metric overflows and a new name is refused."""
    collector = MetricsCollector(max_series=2)
    collector.record("a", 1, task=1)
    collector.record("a", 1, task=2)
    collector.record("a", 1, task=3)
    collector.record("b", 1)
    assert (collector.overflowed, collector.refused) == (1, 1)
    assert collector.losses()["refused"] == 1


def test_losses_are_exposed(collector):
    """What was lost is a metric itself, at zero before anything is lost."""
    collector.record("m", 1)
    family = collector.families()[-1]
    assert family.name == module.LOSSES
    assert {dict(each.labels)["reason"]: each.sum for each in family.series} == dict.fromkeys(
        ("dropped_points", "refused", "overflowed", "conflicting"), 0
    )


async def test_cleanup_forgets_what_is_older_than_the_retention():
    """Points and series older than the retention go, the rest stays and stays consistent."""
    collector = MetricsCollector(retention_hours=1.0)
    now = clock.unix_seconds(clock.now_ns())
    collector.observe("gauge", "gone", 1, (("task", "1"),), now - 3601)
    collector.observe("gauge", "stays", 2, (("task", "1"),), now - 7200)
    collector.observe("gauge", "stays", 3, (("task", "1"),), now - 10)
    collector.observe("gauge", "stays", 4, (("task", "2"),), now)
    assert await collector.cleanup_old_metrics() == 2
    assert await collector.cleanup_old_metrics() == 0
    assert [(point.name, point.value) for point in collector.points()] == [
        ("stays", 3),
        ("stays", 4),
    ]
    assert [family.name for family in collector.families()] == [module.LOSSES, "stays"][::-1]
    collector.observe("gauge", "stays", 5, (("task", "2"),), now)
    collector.observe("gauge", "gone", 6, (("task", "1"),), now)
    assert collector.stats("stays", {"task": "2"})["sum"] == 9
    assert collector.stats("gone")["sum"] == 6
    assert collector.dropped_points == 0


async def test_a_summary_names_every_metric(collector):
    """The summary counts points and names, and gives each metric's count, mean, min and max."""
    for value, at in ((1, 10.0), (3, 30.0), (5, 20.0)):
        collector.observe("gauge", "a" if value < 5 else "b", value, (("v", str(value)),), at)
    assert await collector.get_summary() == {
        "total_metrics": 3,
        "unique_metric_names": 2,
        "oldest_metric": 10.0,
        "newest_metric": 30.0,
        "metrics": {
            "a": {"count": 2, "mean": 2.0, "min": 1.0, "max": 3.0},
            "b": {"count": 1, "mean": 5.0, "min": 5.0, "max": 5.0},
        },
    }


async def test_every_query_drains_first(collector, tmp_path):
    """Each query calls `before_query` first, so what is handed over late is in its answer."""
    calls = []

    def hand_over():
        calls.append(1)
        collector.record("late", 1)

    collector.before_query = hand_over
    assert (await collector.get_stats("late"))["count"] == 1
    assert len(await collector.get_all_metrics()) == 2
    assert (await collector.get_summary())["total_metrics"] == 3
    await collector.cleanup_old_metrics()
    await collector.export_prometheus(tmp_path / "m.prom")
    await collector.export_json(tmp_path / "m.json")
    assert json.loads((tmp_path / "m.json").read_text())["total_metrics"] == 6
    await collector.clear()
    collector.before_query = lambda: 1 / 0
    assert await collector.get_all_metrics() == []
    assert len(calls) == 7


async def test_exports_write_files(collector, tmp_path):
    """Both exports create the directories they need and write what the collector holds."""
    collector.record("load", 1.5, agent="a")
    await collector.export_json(str(tmp_path / "new" / "m.json"))
    await collector.export_prometheus(tmp_path / "new" / "m.prom")
    (point,) = collector.points()
    assert json.loads((tmp_path / "new" / "m.json").read_text()) == {
        "total_metrics": 1,
        "retention_hours": 24.0,
        "losses": collector.losses(),
        "metrics": [
            {
                "name": "load",
                "value": 1.5,
                "timestamp": point.timestamp,
                "labels": {"agent": "a"},
            }
        ],
    }
    assert 'load{agent="a"} 1.5' in (tmp_path / "new" / "m.prom").read_text()


async def test_clear_forgets_everything(collector):
    """After a clear the collector is as new, its counts of losses too."""
    collector.record("m", 1)
    collector.record("m", "x")
    await collector.clear()
    assert await collector.get_summary() == {"total_metrics": 0}
    assert not any(collector.losses().values())
    collector.record("m", 2)
    assert collector.stats("m")["sum"] == 2


def test_points_carry_the_time_they_were_recorded(collector):
    """A point's time is Unix time in seconds, on the clock that spans use."""
    before = clock.unix_seconds(clock.now_ns())
    collector.record("m", 1)
    (point,) = collector.points()
    assert before <= point.timestamp <= clock.unix_seconds(clock.now_ns())
    assert abs(point.timestamp - time.time()) < 60
    assert MetricPoint("m", 1.0, point.timestamp) == point


def test_an_interrupt_leaves_no_torn_point(collector, monkeypatch):
    """An interrupt in the middle of a record loses that value only."""
    collector.record("m", 1)

    class Interrupting:
        def __setitem__(self, slot, value):
            raise KeyboardInterrupt

    owners = collector._points.owners
    monkeypatch.setattr(collector._points, "owners", Interrupting())
    with pytest.raises(KeyboardInterrupt):
        collector.record("m", 2)
    monkeypatch.setattr(collector._points, "owners", owners)
    collector.record("m", 3)
    assert [point.value for point in collector.points()] == [1, 3]


class Model(RuleBasedStateMachine):
    """The collector against a list of points: whatever is done, every answer agrees with it."""

    LIMIT = 12

    def __init__(self):
        super().__init__()
        self.collector = MetricsCollector(retention_hours=1.0, max_points=self.LIMIT)
        self.kept = []
        self.dropped = 0

    @rule(
        name=st.sampled_from(["g", "c_total", "h_seconds"]),
        value=st.integers(-2, 5),
        labels=LABELS,
        age=st.sampled_from([0, 10, 4000]),
    )
    def observe(self, name, value, labels, age):
        kind = {"g": "gauge", "c": "counter", "h": "histogram"}[name[0]]
        at = clock.unix_seconds(clock.now_ns()) - age
        self.collector.observe(kind, name, value, labels, at)
        if kind != "counter" or value >= 0:
            self.kept.append(MetricPoint(name, value, at, labels))
            self.dropped += len(self.kept) > self.LIMIT
            self.kept = self.kept[-self.LIMIT :]

    @precondition(lambda self: self.kept)
    @rule()
    def cleanup(self):
        now = clock.unix_seconds(clock.now_ns())
        young = [point for point in self.kept if point.timestamp > now - 3600]
        assert self.collector.cleanup() == len(self.kept) - len(young)
        self.kept = young

    @rule()
    def clear(self):
        self.collector.reset()
        self.kept, self.dropped = [], 0

    @invariant()
    def answers_agree(self):
        assert self.collector.points() == sorted(self.kept, key=lambda point: point.timestamp)
        assert self.collector.dropped_points == self.dropped
        for name in ("g", "c_total", "h_seconds"):
            values = [point.value for point in self.kept if point.name == name]
            stats = self.collector.stats(name)
            assert stats.get("count", 0) == len(values)
            assert stats.get("sum", 0) == sum(values)
        for family in self.collector.families():
            for series in family.series:
                if family.kind == "histogram":
                    assert sum(series.bucket_counts) == series.count


TestModel = Model.TestCase
TestModel.settings = settings(max_examples=25, stateful_step_count=25, deadline=None)


def test_what_was_not_kept_as_it_came_is_said_in_words():
    """A refusal names its metric and its reason; totals are told from single values."""
    collector = MetricsCollector(max_points=2, max_label_sets=1)
    for step in (1, -1, 2):
        collector.observe("counter", "c_total", step, (), 1.0)
    for value in (math.inf, math.nan, 1.0):
        collector.record("load", value, where="here")
    collector.record("load", 2.0, where="there")
    assert list(collector.remarks()) == [
        "c_total: 1 refused (negative step)",
        "load: 2 refused (not finite)",
        "metrics: single values that gave way to newer ones: 2; totals are complete",
        "metrics: values merged, since they had too many labels: 1; totals are complete",
    ]
