"""The text exposition format, read back by parsers that are not ours."""

import math
import shutil
import subprocess
from collections import Counter

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from dytopo_autotrace.collect.metrics import MetricsCollector
from dytopo_autotrace.collect.series import MetricFamily, MetricSeries
from dytopo_autotrace.export.prometheus import render

PROMTOOL = shutil.which("promtool")

# Few letters, so that names differ in what is not valid in them and collide once it is replaced.
NAMES = (
    st.text("ab_.-9é:", max_size=4)
    | st.text(max_size=6)
    | st.sampled_from(["h", "h_count", "h_sum", "h_bucket", "h_total", "_total", "le", "__name__"])
)
VALUES = st.sampled_from(["", "x", 'q"uo"te', "back\\slash", "new\nline", "\\n", "é€😀", "},"])
LABELS = st.dictionaries(NAMES, VALUES | st.text(max_size=6), max_size=3).map(
    lambda labels: tuple(sorted(labels.items()))
)
FLOATS = st.floats() | st.integers(0, 10**20).map(float)


@st.composite
def family_of(draw):
    kind = draw(st.sampled_from(["counter", "gauge", "histogram"]))
    bounds = ()
    if kind == "histogram":
        bounds = tuple(sorted(draw(st.sets(st.floats(-1e9, 1e9), max_size=4))))
    series = []
    for labels in draw(st.lists(LABELS, max_size=4, unique=True)):
        buckets = (
            tuple(draw(st.integers(0, 9)) for _ in range(len(bounds) + 1)) if kind[0] == "h" else ()
        )
        value = draw(FLOATS)
        series.append(
            MetricSeries(
                labels,
                sum(buckets) or 1,
                value,
                value,
                value,
                value,
                draw(st.floats(0, 9)),
                buckets,
            )
        )
    return MetricFamily(draw(NAMES), kind, draw(st.text(max_size=20)), tuple(series), bounds)


FAMILIES = st.lists(family_of(), max_size=5, unique_by=lambda family: family.name)


def samples(text):
    return [sample for family in text_string_to_metric_families(text) for sample in family.samples]


def written(value):
    """A label value as UTF-8 can hold it."""
    return "".join("\ufffd" if "\ud800" <= char <= "\udfff" else char for char in value)


@settings(max_examples=200, deadline=None)
@given(FAMILIES)
def test_what_is_rendered_reads_back(families):
    """Every value and label value comes back from the parser, under the family's type."""
    for family in families:  # Merging is proved below; here no two label sets may become one.
        sets = [
            frozenset((key, written(value)) for key, value in series.labels if value)
            for series in family.series
        ]
        assume(len(sets) == len(set(sets)))
    given_values, read_values = Counter(), Counter()
    for family in families:
        for series in family.series:
            texts = tuple(sorted(written(value) for _, value in series.labels if value))
            if family.kind == "histogram":
                total = 0
                for bound, count in zip(
                    (*family.bounds, math.inf), series.bucket_counts, strict=True
                ):
                    total += count
                    given_values["bucket", texts, bound, total] += 1
                given_values["sum", texts, repr(series.sum)] += 1
                given_values["count", texts, total] += 1
            else:
                value = series.sum if family.kind == "counter" else series.last
                given_values[family.kind, texts, repr(value)] += 1
    for family in text_string_to_metric_families(render(families)):
        for sample in family.samples:
            labels = dict(sample.labels)
            if family.type != "histogram":
                # A gauge is of no type under a name that belongs to another one.
                is_odd = family.name.endswith(("_total", "_sum", "_count", "_bucket"))
                kind = "gauge" if family.type == "unknown" and is_odd else family.type
                key = (kind, tuple(sorted(labels.values())), repr(float(sample.value)))
            elif sample.name.endswith("_bucket"):
                bound = float(labels.pop("le"))
                key = ("bucket", tuple(sorted(labels.values())), bound, sample.value)
            elif sample.name.endswith("_sum"):
                key = ("sum", tuple(sorted(labels.values())), repr(float(sample.value)))
            else:
                key = ("count", tuple(sorted(labels.values())), sample.value)
            read_values[key] += 1
    assert read_values == given_values


GOOD_NAMES = st.from_regex(r"(?!__)[a-zA-Z_][a-zA-Z0-9_]{0,8}", fullmatch=True)


@settings(deadline=None)
@given(
    st.dictionaries(
        GOOD_NAMES,
        st.dictionaries(
            st.dictionaries(GOOD_NAMES, VALUES.filter(bool), max_size=3).map(
                lambda labels: tuple(sorted(labels.items()))
            ),
            FLOATS,
            min_size=1,
            max_size=3,
        ),
        max_size=3,
    )
)
def test_valid_names_are_kept(values):
    """A name that Prometheus can write is written as it is, of a metric and of a label."""
    families = [gauge(name, *series.items()) for name, series in values.items()]
    read = {
        (each.name, tuple(sorted(each.labels.items()))): repr(float(each.value))
        for each in samples(render(families))
    }
    assert read == {
        (name, labels): repr(value)
        for name, series in values.items()
        for labels, value in series.items()
    }


@settings(max_examples=200, deadline=None)
@given(FAMILIES)
def test_no_sample_is_written_twice_and_no_family_apart(families):
    """Names that become the same stay apart: each family has one block, each sample one line."""
    text = render(families)
    found = [(sample.name, tuple(sorted(sample.labels.items()))) for sample in samples(text)]
    assert len(found) == len(set(found))
    types = [line.split()[2] for line in text.split("\n") if line.startswith("# TYPE ")]
    helps = [line.split()[2] for line in text.split("\n") if line.startswith("# HELP ")]
    assert types == helps
    assert len(types) == len(set(types)) == sum(bool(family.series) for family in families)
    for line in text.split("\n"):
        if line.startswith("# TYPE ") and line.endswith(" counter"):
            assert line.split()[2].endswith("_total")


def gauge(name, *labels_and_values, at=0.0):
    series = tuple(
        MetricSeries(labels, 1, value, value, value, value, at)
        for labels, value in labels_and_values
    )
    return MetricFamily(name, "gauge", "A gauge.", series)


def test_a_plain_gauge():
    """A family is its help, its type and one line for each series; no line has a timestamp."""
    text = render([gauge("load", ((("agent", "a"),), 1.5), ((), math.nan))])
    assert text == ('# HELP load A gauge.\n# TYPE load gauge\nload NaN\nload{agent="a"} 1.5\n')


def test_a_histogram_is_cumulative():
    """Buckets add up, `+Inf` equals the count, and a label called `le` is not mistaken for ours."""
    series = MetricSeries((("le", "mine"),), 6, 9.5, 0.0, 9.0, 9.0, 0.0, (1, 2, 3))
    text = render([MetricFamily("t_seconds", "histogram", "Times.", (series,), (0.1, 1.0))])
    assert text.splitlines()[2:] == [
        't_seconds_bucket{exported_le="mine",le="0.1"} 1',
        't_seconds_bucket{exported_le="mine",le="1.0"} 3',
        't_seconds_bucket{exported_le="mine",le="+Inf"} 6',
        't_seconds_sum{exported_le="mine"} 9.5',
        't_seconds_count{exported_le="mine"} 6',
    ]


def test_a_counter_ends_in_total_once():
    """`_total` is appended to a counter that lacks it, in its help, type and samples alike."""
    series = (MetricSeries((), 2, 5.0, 1.0, 4.0, 4.0, 0.0),)
    families = [MetricFamily(name, "counter", "", series) for name in ("calls", "calls_total")]
    text = render(families)
    assert [line for line in text.splitlines() if not line.startswith("#")] == [
        "calls_total 5.0",
        "calls_2_total 5.0",
    ]
    assert "# HELP calls_2_total Recorded as calls_total.\n# TYPE calls_2_total counter" in text


def test_names_that_become_the_same_stay_apart():
    """A name that is valid keeps its own, whoever comes first; one that was not gets a number."""
    text = render([gauge("a.b", ((), 1.0)), gauge("a_b", ((), 2.0)), gauge("9", ((), 3.0))])
    assert [(each.name, each.value) for each in samples(text)] == [
        ("a_b", 2.0),
        ("_9", 3.0),
        ("a_b_2", 1.0),
    ]
    text = render([gauge("g", ((("x.y", "1"), ("x_y", "2"), ("__z", "3")), 1.0))])
    assert samples(text)[0].labels == {"x_y": "2", "x_y_2": "1", "_z": "3"}


def test_a_histogram_keeps_the_names_it_adds_to_itself():
    """A gauge called like a histogram's count gets another name."""
    series = (MetricSeries((), 1, 1.0, 1.0, 1.0, 1.0, 0.0, (1,)),)
    text = render([gauge("h_count", ((), 7.0)), MetricFamily("h", "histogram", "", series)])
    assert ("h_count_2", 7.0) in [(each.name, each.value) for each in samples(text)]


@pytest.mark.parametrize(
    ("kind", "expected"), [("gauge", {"m": 1.0}), ("counter", {"m_total": 3.0})]
)
def test_label_sets_that_become_the_same_are_one(kind, expected):
    """An empty label is no label: counters add up, a gauge shows the later value."""
    series = (
        MetricSeries((), 1, 1.0, 1.0, 1.0, 1.0, timestamp=20.0),
        MetricSeries((("a", ""),), 1, 2.0, 2.0, 2.0, 2.0, timestamp=10.0),
    )
    found = samples(render([MetricFamily("m", kind, "", series)]))
    assert {each.name: each.value for each in found} == expected


def test_histograms_that_become_the_same_add_up():
    """Two histograms under one label set are one, bucket by bucket."""
    series = (
        MetricSeries((), 3, 1.0, 0.0, 1.0, 1.0, 0.0, (1, 2)),
        MetricSeries((("a", ""),), 4, 9.0, 0.0, 5.0, 5.0, 0.0, (4, 0)),
    )
    text = render([MetricFamily("h", "histogram", "", series, (1.0,))])
    assert [(each.name, each.value) for each in samples(text)] == [
        ("h_bucket", 5),
        ("h_bucket", 7),
        ("h_sum", 10.0),
        ("h_count", 7),
    ]


def test_nothing_renders_to_nothing():
    """Neither no families nor a family without series leaves a trace."""
    assert render([]) == ""
    assert render([MetricFamily("m", "gauge", "help", ())]) == ""


def check(text):
    """What promtool says: 0 is clean, 3 has lint, 1 cannot be read."""
    done = subprocess.run(
        [PROMTOOL, "check", "metrics"],
        input=text.encode(),
        capture_output=True,
        timeout=60,
        check=False,
    )
    return done.returncode, (done.stdout + done.stderr).decode()


@pytest.mark.skipif(PROMTOOL is None, reason="promtool (Debian package prometheus) not installed")
def test_promtool_has_no_complaint_about_our_own_metrics():
    """The agent's metrics, as it records them, pass Prometheus's own linter without a line."""
    collector = MetricsCollector(max_label_sets=2)
    for agent in ("developer", 'tes"ter\n', "päpstin", ""):
        collector.observe(
            "histogram",
            "dytopo_operation_duration_seconds",
            1.2,
            {"operation": "agent_call", "role": "worker", "agent": agent, "status": "success"},
            1.0,
            help="Seconds that watched calls took.",
        )
        collector.observe("counter", "swarm_tokens", 12, {"agent": agent}, 1.0, help="Tokens.")
    collector.observe("gauge", "swarm_round", 3, (), 1.0)
    collector.record("swarm_load", "no number")
    assert check(render(collector.families())) == (0, "")


@pytest.mark.skipif(PROMTOOL is None, reason="promtool (Debian package prometheus) not installed")
def test_promtool_has_no_complaint_about_plain_values_under_names_of_other_types():
    """What a program records as it is passes, also where its name promises a counter or a histogram."""
    collector = MetricsCollector()
    for ending in ("total", "sum", "count", "bucket"):
        collector.record(f"requests_{ending}", 1, le="7", quantile="0.5")
    assert check(render(collector.families())) == (0, "")


@pytest.mark.skipif(PROMTOOL is None, reason="promtool (Debian package prometheus) not installed")
@settings(max_examples=15, deadline=None)
@given(st.lists(family_of(), min_size=3, max_size=12, unique_by=lambda family: family.name))
def test_promtool_reads_whatever_a_program_records(families):
    """Names chosen by others may be linted (3), but the text can always be read (never 1)."""
    code, said = check(render(families))
    assert code in {0, 3}, said
