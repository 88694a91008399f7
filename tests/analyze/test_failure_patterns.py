"""Patterns in failure records, and advice by type of error."""

from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dytopo_autotrace.analyze.failure_patterns import patterns, suggestions


@dataclass
class Record:
    component: str = "llm"
    operation: str = "call"
    error_type: str = "ValueError"
    timestamp: object = 0.0
    recovered: bool = False


RECORDS = st.lists(
    st.builds(
        Record,
        component=st.sampled_from(["llm", "router"]),
        error_type=st.sampled_from(["A", "B", "C"]),
        timestamp=st.integers(0, 600).map(float),
        recovered=st.booleans(),
    ),
    min_size=1,
    max_size=30,
)


def test_no_failures_have_no_patterns():
    """Nothing but the count is said of nothing."""
    assert patterns([]) == {"total_failures": 0}


@given(RECORDS)
def test_counts_add_up(records):
    """Types and components each count every record; the rate is the share that recovered."""
    found = patterns(records)
    assert sum(found["by_type"].values()) == found["total_failures"] == len(records)
    assert found["by_component"] == Counter(record.component for record in records)
    assert found["by_type"][found["most_common_error"]] == max(found["by_type"].values())
    assert found["recovery_rate"] * len(records) == pytest.approx(found["recovered_count"])


@given(RECORDS)
def test_clusters_are_runs_of_three_within_a_minute_of_each_other(records):
    """A cluster ends at a gap of more than 60 s; smaller runs are none."""
    moments = sorted(record.timestamp for record in records)
    runs = [[moments[0]]]
    for moment in moments[1:]:
        if moment - runs[-1][-1] > 60:
            runs.append([])
        runs[-1].append(moment)
    assert patterns(records)["temporal_clusters"] == sum(len(run) >= 3 for run in runs)


def test_moments_may_be_dates():
    """A timestamp is Unix seconds or a datetime."""
    records = [Record(timestamp=datetime(2025, 1, 1, 0, minute, tzinfo=UTC)) for minute in range(3)]
    assert patterns(records)["temporal_clusters"] == 1


@pytest.mark.parametrize(
    ("error_type", "message", "word"),
    [
        ("RateLimitError", "", "fewer requests"),
        ("APIStatusError", "503 Service Unavailable", "server"),
        ("HTTPError", "HTTP 429", "fewer requests"),
        ("TimeoutError", "", "limit"),
        ("JSONDecodeError", "", "raw answer"),
        ("KeyError", "'x'", "fault in the code"),
        ("ModuleNotFoundError", "No module named 'x'", "Install"),
        ("AuthenticationError", "", "API key"),
    ],
)
def test_advice_fits_the_error(error_type, message, word):
    """The first suggestion names what usually helps, and the component."""
    assert word in suggestions("router", error_type, message)[0]


def test_a_number_in_a_message_is_not_a_status():
    """`processed 500 items` is no fault of a server."""
    assert "server" not in " ".join(suggestions("router", "ValueError", "processed 500 items"))


@pytest.mark.parametrize("message", ["boom", "no room for it", "a sparse matrix"])
def test_a_word_within_a_word_says_nothing(message):
    """`boom` is not out of memory, and nothing sparse could not be parsed."""
    found = " ".join(suggestions("router", "ValueError", message))
    assert "memory" not in found
    assert "raw answer" not in found


@given(st.text(max_size=20), st.text(max_size=20))
def test_there_is_always_a_suggestion(component, error_type):
    """No type is without advice, and none of it has a hole in it."""
    found = suggestions(component, error_type)
    assert found
    assert component or "{component}" not in " ".join(found)
