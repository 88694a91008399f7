"""OpenMetrics and Prometheus text, read by Prometheus's own parsers."""

import shutil
import subprocess

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from dytopo_autotrace.collect.metrics import MetricsCollector
from dytopo_autotrace.collect.series import MetricFamily
from dytopo_autotrace.export import genai, prometheus
from dytopo_autotrace.export.formats import render
from tests.export.sample_runs import runs, swarm


def written(name, run):
    return b"".join(render(name, run)).decode()


def parsed(text):
    return {family.name: family for family in text_string_to_metric_families(text)}


@settings(max_examples=40)
@given(runs())
def test_any_run_parses(run):
    """Whatever names a run has, the parser of OpenMetrics takes them, and the end is marked."""
    text = written("openmetrics", run)
    assert text.endswith("# EOF\n")
    parsed(text)


RECORDED = st.lists(
    st.tuples(
        st.sampled_from(["counter", "gauge", "histogram"]),
        st.sampled_from(["a", "a_total", "a_created", "a_count", "a_seconds", "b c", "é"])
        | st.text(max_size=6),
        st.floats(-1e300, 1e300),
        st.dictionaries(st.text(max_size=3), st.text(max_size=5), max_size=2),
        st.none() | st.lists(st.floats(-5, 5), max_size=3),
    ),
    max_size=8,
)


@settings(max_examples=80)
@given(RECORDED)
def test_any_metrics_parse(recorded):
    """Families, samples and help keep to the format whatever they are called, and none is lost."""
    collector = MetricsCollector()
    for kind, name, value, labels, buckets in recorded:
        collector.observe(kind, name, value, labels, 1.0, buckets, 'a "quoted" \\ help\n')
    families = collector.families()
    assert len(parsed(prometheus.render_openmetrics(families))) == len(families)


def test_a_counter_is_named_without_total():
    """The family's name has no suffix, its sample has; seconds are declared as the unit."""
    found = parsed(written("openmetrics", swarm()))
    assert found["swarm_tokens"].type == "counter"
    assert {each.name for each in found["swarm_tokens"].samples} == {"swarm_tokens_total"}
    assert found["dytopo_operation_duration_seconds"].unit == "seconds"


def test_bounds_are_canonical_numbers():
    """A bound is written as a float whatever it was given as, so that series stay the same."""
    family = MetricFamily("m", "histogram", "", collected("m"), (1, 2))
    text = prometheus.render_openmetrics([family])
    assert 'm_bucket{le="1.0"} 0\nm_bucket{le="2.0"} 1\nm_bucket{le="+Inf"} 1\n' in text


def collected(name):
    collector = MetricsCollector()
    collector.observe("histogram", name, 1.5, (), 1.0, (1, 2))
    return collector.families()[0].series


def test_the_conventions_names_get_prometheus_form():
    """Dots become underscores and seconds are named; tokens have no suffix."""
    found = parsed(written("openmetrics", swarm()))
    assert "gen_ai_client_operation_duration_seconds" in found
    tokens = found["gen_ai_client_token_usage"]
    counts = {
        each.labels["gen_ai_token_type"]: each.value
        for each in tokens.samples
        if each.name.endswith("_sum") and each.labels.get("gen_ai_request_model") == "m-1"
    }
    assert counts == {"input": 120.0, "output": 30.0}


def test_the_numbers_are_those_of_the_run():
    """Calls that still run have no duration yet; the others are counted once, by their outcome."""
    found = parsed(written("openmetrics", swarm()))
    counts = {
        (each.labels["operation"], each.labels["status"]): each.value
        for each in found["dytopo_operation_duration_seconds"].samples
        if each.name.endswith("_count") and each.labels.get("agent") == "writer"
    }
    assert counts == {
        ("agent_call", "success"): 1,
        ("agent_call", "error"): 1,
        ("agent_call", "cancelled"): 1,
    }


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed")
def test_promtool_finds_nothing_wrong():
    """Prometheus's own linter has nothing to say of the text format."""
    text = written("prometheus", swarm())
    assert genai.TOKEN_USAGE.replace(".", "_") in text
    found = subprocess.run(
        ["promtool", "check", "metrics"], input=text, capture_output=True, text=True, check=False
    )
    assert (found.returncode, found.stdout, found.stderr) == (0, "", "")
