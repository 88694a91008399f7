"""A call that runs far longer than its like is told of while it runs, once."""

import os
import subprocess
import sys
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from dytopo_autotrace.collect.span import Site, Span
from dytopo_autotrace.collect.stalls import Stalls

SECOND = 1_000_000_000
ROOT = Path(__file__).parents[2]


class Watch:
    def __init__(self, stall_after=0.0):
        self.said, self.now, self.count = [], 0, 0
        self.stalls = Stalls(self.said.append, stall_after, lambda: self.now)

    def begin(self, operation="ask", parent=0, agent="", **site):
        self.count += 1
        span = Span(self.count, parent, 1, Site(operation, **site), self.now)
        span.agent = agent
        self.stalls.look([span])
        return span

    def pass_time(self, seconds, *ended):
        self.now += round(seconds * SECOND)
        for span in ended:
            span.finish()
            span.end_ns = self.now
        self.stalls.learn(ended)
        self.stalls.look(())


@given(st.lists(st.floats(0.01, 3), min_size=5, max_size=9), st.floats(0, 100))
def test_a_call_stalls_when_its_history_does_not_allow_it(lengths, ran):
    """Five times the slowest of five or more, and five seconds: not before, and only once."""
    watch = Watch()
    for length in lengths:
        watch.pass_time(length, watch.begin())
    watch.begin()
    watch.pass_time(ran)
    watch.pass_time(0)
    assert len(watch.said) == (ran >= max(5 * max(lengths), 5.0) - 1e-6)


def test_a_new_operation_has_no_history_to_break():
    """Without enough calls before it, nothing is known, and nothing is said."""
    watch = Watch()
    for _ in range(4):
        watch.pass_time(0.1, watch.begin())
    watch.begin()
    watch.pass_time(1000)
    assert watch.said == []


def test_the_callee_is_told_not_its_callers():
    """Who waits for a stalled call does not stall; its agent is named."""
    watch = Watch()
    for _ in range(5):
        outer = watch.begin("act")
        watch.pass_time(0.1, watch.begin("ask", outer.id), outer)
    outer = watch.begin("act", agent="tester")
    watch.begin("ask", outer.id)
    watch.pass_time(60)
    (said,) = watch.said
    assert said.startswith("ask still runs after 60.0 s; 5 calls of it took 0.10 s at most")
    assert said.endswith("it is a call of tester")


def test_a_round_between_caller_and_callee_changes_nothing():
    """The caller of a call in a round is the call around the round."""
    watch = Watch(stall_after=1.0)
    run = watch.begin("run")
    scope = watch.begin("round", run.id, role="scope")
    watch.begin("ask", scope.id)
    watch.pass_time(5)
    assert [said.split()[0] for said in watch.said] == ["ask"]


def test_a_limit_of_the_rule_holds_without_history():
    """`stall_after` of a rule is told for the call itself, with what it waits for."""
    watch = Watch()
    outer = watch.begin("act", agent="a", stall_after=2.0)
    watch.begin("slot", outer.id, role="wait")
    watch.pass_time(2.5)
    assert watch.said == ["act (a) still runs after 2.5 s (stall_after = 2); it waits for slot"]


def test_a_hanging_program_says_so_while_it_hangs(tmp_path):
    """The sentence is on stderr before the call ends, and in the report after it."""
    script = tmp_path / "hangs.py"
    script.write_text(
        "import sys\n"
        "def hang():\n"
        "    while not (line := sys.stdin.readline()): pass\n"
        "    print('released')\n"
        "hang()\n"
    )
    rules = tmp_path / "rules.toml"
    rules.write_text("[[rule]]\ntarget = 'hangs:hang'\noperation = 'hang'\nstall_after = 0.1\n")
    watched = subprocess.Popen(
        [sys.executable, "-m", "dytopo_autotrace", "--rules", rules, "--store", "none", script],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    said = watched.stderr.readline()
    assert "hang still runs after" in said
    out, report = watched.communicate("go\n", timeout=60)
    assert out == "released\n"
    assert "Stalled, as told while it ran" in " ".join(report.split())
