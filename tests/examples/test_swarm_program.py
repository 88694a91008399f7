"""The example program as a person meets it: command line, stdout, stderr, exit status."""

import socket

import pytest


def test_two_runs_print_the_same(launch):
    """Two runs print the same bytes, whatever the hash seed, and nothing on stderr."""
    first, second = launch(PYTHONHASHSEED="1"), launch(PYTHONHASHSEED="2")

    assert (first.returncode, first.stderr) == (0, "")
    assert first.stdout == second.stdout
    assert "Ended by manager_halt after 3 rounds" in first.stdout


def test_rounds_have_different_graphs(launch):
    """The routed rounds of a default run print different edges in more than one tier."""
    blocks = launch().stdout.split("\n\n")
    second, third = (block for block in blocks if block.startswith(("Round 2", "Round 3")))

    assert "designer -> tester 0.88" in second
    assert "tester -> reviewer" in third
    assert [block.splitlines()[1].count("|") for block in (second, third)] == [2, 3]


@pytest.mark.parametrize("kind", ["retry", "slow-agent"])
def test_passing_faults_leave_the_result_alone(launch, kind):
    """A fault that only costs time changes nothing that the program prints."""
    assert launch().stdout == launch("--fault", kind).stdout


def test_swallowed_looks_healthy(launch):
    """With a dead agent the program still exits with 0, and prints no word of the failure."""
    run = launch("--fault", "swallowed", "--rounds", "2")

    assert (run.returncode, run.stderr) == (0, "")
    assert "failed" not in run.stdout


def test_unknown_agent_is_refused_with_the_ids(launch):
    """A fault for an agent that does not exist is refused, and the known ids are listed."""
    run = launch("--fault", "retry", "--agent", "plumber")

    assert run.returncode == 2
    assert "there is no 'plumber'" in run.stderr
    assert "researcher, designer, developer, tester, reviewer" in run.stderr


@pytest.mark.parametrize(
    ("argv", "complaint"),
    [
        (("--agent", "tester"), "add --fault"),
        (("--fault", "retry", "--base-url", "http://localhost/v1"), "leave out --base-url"),
        (("--rounds", "0"), "less than 1"),
        (("--base-url", "localhost:80"), "not an http or https URL"),
    ],
)
def test_contradictions_are_refused(launch, argv, complaint):
    """A command line that makes no sense ends with status 2 and says why."""
    run = launch(*argv)

    assert (run.returncode, complaint in run.stderr) == (2, True)


def test_absent_endpoint_is_one_line(launch):
    """An endpoint that is not there ends the program with one line, not with a traceback."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        host, port = unused.getsockname()
        run = launch("--base-url", f"http://{host}:{port}/v1")

    assert run.returncode == 1
    assert len(run.stderr.splitlines()) == 1
    assert run.stderr.startswith(f"run_swarm: {host}:{port}")
