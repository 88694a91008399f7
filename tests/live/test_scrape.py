"""The scrape endpoint: who can reach it, in which form it answers, and that it goes away."""

import socket
import urllib.error
import urllib.request

import pytest
from prometheus_client.openmetrics import parser as openmetrics
from prometheus_client.parser import text_string_to_metric_families

from dytopo_autotrace.collect.metrics import MetricsCollector
from dytopo_autotrace.export import prometheus
from dytopo_autotrace.live import outlets
from dytopo_autotrace.live.scrape import Endpoint, rendered

PROMETHEUS = (
    "application/openmetrics-text;version=1.0.0;q=0.5,"
    "application/openmetrics-text;version=0.0.1;q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.2"
)


def families():
    collector = MetricsCollector()
    collector.observe("counter", "calls_total", 3.0, (("agent", "a"),), 1.0)
    return collector.families()


@pytest.fixture
def endpoint():
    made = Endpoint(":0", families)
    made.ensure_running()
    yield made
    made.close()


def get(url, accept="", method="GET"):
    request = urllib.request.Request(url, headers={"Accept": accept}, method=method)
    with urllib.request.urlopen(request, timeout=5) as answer:
        return answer.headers["Content-Type"], answer.read().decode()


def test_it_answers_with_what_there_is_at_that_moment(endpoint):
    """A scrape is text that Prometheus's own parser reads."""
    kind, text = get(endpoint.url)
    assert kind == prometheus.CONTENT_TYPE
    (sample,) = [
        sample
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name == "calls_total"
    ]
    assert (sample.labels, sample.value) == ({"agent": "a"}, 3.0)


def test_a_prometheus_server_gets_openmetrics(endpoint):
    """What Prometheus prefers it gets, and it is valid."""
    kind, text = get(endpoint.url, PROMETHEUS)
    assert kind == prometheus.OPENMETRICS_CONTENT_TYPE
    assert "calls" in [f.name for f in openmetrics.text_string_to_metric_families(text)]


@pytest.mark.parametrize(
    ("accept", "is_openmetrics"),
    [
        ("", False),
        ("*/*", False),
        ("text/plain", False),
        ("application/openmetrics-text", True),
        ("text/plain;q=0.5, Application/OpenMetrics-Text; q=0.9", True),
        ("text/plain;q=0.9, application/openmetrics-text;q=0.5", False),
        ("application/openmetrics-text;q=0", False),
        ("application/openmetrics-text;q=nonsense", False),
    ],
)
def test_the_preferred_form_is_chosen(accept, is_openmetrics):
    """By weight, plain text when nobody says; a weight that is none does not count."""
    kind, _ = rendered(families(), accept)
    assert (kind == prometheus.OPENMETRICS_CONTENT_TYPE) == is_openmetrics


def test_other_paths_say_where_the_metrics_are(endpoint):
    """Whoever opens the address in a browser is told the path; HEAD has no body."""
    with pytest.raises(urllib.error.HTTPError) as caught:
        get(f"http://127.0.0.1:{endpoint.port}/")
    assert caught.value.code == 404
    assert "/metrics" in caught.value.read().decode()
    caught.value.close()
    assert get(endpoint.url, method="HEAD")[1] == ""


def test_it_is_on_loopback_unless_a_host_is_given(endpoint):
    """Without a host only this machine can ask; `[::1]` and names are hosts too."""
    assert endpoint.url.startswith("http://127.0.0.1:")
    wide = Endpoint("0.0.0.0:0", families)
    assert wide.url == f"http://0.0.0.0:{wide.port}/metrics"
    wide.close()
    if socket.has_ipv6:
        six = Endpoint("[::1]:0", families)
        six.ensure_running()
        assert "calls_total" in get(six.url)[1]
        six.close()


def test_a_client_that_says_nothing_does_not_keep_the_others_out(endpoint):
    """After its time is up the next one is answered."""
    with socket.create_connection(("127.0.0.1", endpoint.port)):
        assert "calls_total" in get(endpoint.url)[1]


def test_a_port_in_use_raises_and_a_closed_one_is_free_again(endpoint):
    """A second endpoint on the port is refused, and takes it once the first has closed."""
    address = f":{endpoint.port}"
    with pytest.raises(OSError, match="in use"):
        Endpoint(address, families)
    endpoint.close()
    Endpoint(address, families).close()


def test_it_rests_and_goes_on(endpoint):
    """Around a fork the thread ends and comes back, on the same port."""
    thread = endpoint.rest(5)
    assert not thread.is_alive()
    endpoint.ensure_running()
    assert "calls_total" in get(endpoint.url)[1]


def test_a_fault_while_rendering_is_an_answer():
    """The server goes on, and says what was wrong."""

    def broken():
        raise ValueError("no families today")

    endpoint = Endpoint(":0", broken)
    endpoint.ensure_running()
    for _ in range(2):
        with pytest.raises(urllib.error.HTTPError) as caught:
            get(endpoint.url)
        assert "no families today" in caught.value.read().decode()
        caught.value.close()
    endpoint.close()


def test_a_run_that_lost_nothing_says_zero():
    """The counter of losses is there from the first scrape, so that a rate can see it rise."""
    (family,) = outlets._lost({})
    assert (family.name, [each.sum for each in family.series]) == ("dytopo_lost_records_total", [0])
