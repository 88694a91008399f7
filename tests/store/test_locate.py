"""Where the store is, and which run is meant."""

from pathlib import Path

import pytest

from dytopo_autotrace.store.location import StoreError, choose, locate, open_reader, short_id, shown
from dytopo_autotrace.store.model import RunInfo


def test_the_place_is_settled_at_the_start(tmp_path):
    """Every way to name a file becomes an absolute path below the directory of the start."""
    here = str(tmp_path)
    assert locate(None, here) == str(tmp_path / ".dytopo" / "traces.db")
    assert locate("a.db", here) == locate("sqlite://a.db", here) == str(tmp_path / "a.db")
    assert locate("/x/a.db", here) == locate("sqlite:///x/a.db", here) == "/x/a.db"
    assert locate("~/a.db", here) == str(Path("~/a.db").expanduser())


def test_a_directory_gets_the_usual_file_name(tmp_path):
    """A path that is a directory, or says so, means the store in it."""
    assert locate(str(tmp_path), "/") == str(tmp_path / "traces.db")
    assert locate("sub/", str(tmp_path)) == str(tmp_path / "sub" / "traces.db")


def test_no_store_and_other_kinds():
    """`none` is no store; a URL stays what it is; an unknown kind is answered with the nearest."""
    assert locate("none", "/x") is None
    assert locate("clickhouse://host/db", "/x") == "clickhouse://host/db"
    with pytest.raises(StoreError, match="Did you mean 'clickhouse'"):
        locate("clickhose://host/db", "/x")


def run(run_id, started, start):
    made = start(run_id, script="swarm.py")
    return RunInfo(made.__class__(run_id, made.process, started), "ended", started)


def test_a_prefix_names_a_run(start):
    """A prefix of one id is enough; without one the latest run is meant."""
    runs = [run(digits * 16, number, start) for number, digits in enumerate(("ab", "ac", "b0"))]
    assert choose(runs, "b") is runs[2]
    assert choose(runs, "AC") is runs[1]
    assert choose(runs, None) is choose(runs, "last") is runs[2]


def test_a_bad_prefix_is_answered_with_candidates(start):
    """An ambiguous prefix lists the runs it fits, an unknown one the latest."""
    runs = [run(digits * 16, number, start) for number, digits in enumerate(("ab", "ac", "b0"))]
    with pytest.raises(StoreError, match=r"2 runs.*\n.*abababab.*\n.*acacacac"):
        choose(runs, "a")
    with pytest.raises(StoreError, match=r"no run's id begins with 'f'.*\n.*b0b0b0b0"):
        choose(runs, "f")
    with pytest.raises(StoreError, match="no runs yet"):
        choose([], "a")


def test_a_short_id_is_long_enough(start):
    """The short form of an id names one run among all."""
    runs = [run("0" * 12 + digit * 20, 1, start) for digit in "12"]
    assert {short_id(each, runs) for each in runs} == {"0" * 12 + "1", "0" * 12 + "2"}


def test_a_store_that_is_not_there_is_not_made(path, folder):
    """Asking for runs where none were kept says so, and leaves nothing behind."""
    with pytest.raises(StoreError, match="no store there"):
        open_reader(path)
    assert not folder.exists()


def test_no_secret_of_a_url_is_printed():
    """Neither the password of the user nor what follows the question mark, but what is no secret."""
    assert shown("clickhouse://ada:pw@h:1/db?password=sekret&secure=1&x") == (
        "clickhouse://ada:***@h:1/db?password=***&secure=1&x"
    )
    assert shown("clickhouse://h/db?password=sekret") == "clickhouse://h/db?password=***"
    assert shown("/a/path?with=mark") == "/a/path?with=mark"
