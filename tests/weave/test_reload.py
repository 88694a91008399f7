"""Rules that change while the program runs: old calls end as they began, off is off, faults change nothing."""

import os
import threading

import pytest

import dytopo_autotrace
from dytopo_autotrace import agent
from dytopo_autotrace.collect.pipeline import pipeline
from dytopo_autotrace.collect.tracing import traces
from dytopo_autotrace.watch_rules import RuleWatch

RULE = '[[rule]]\nname = "{0}"\ntarget = "reloaded:{1}"\noperation = "{0}"\n'
PROGRAM = """
import threading
inside, go_on = threading.Event(), threading.Event()
def waits():
    inside.set()
    go_on.wait(30)
def other():
    return "other"
"""


@pytest.fixture
def rules(tmp_path, program):
    program(reloaded=PROGRAM)
    file = tmp_path / "rules.toml"
    file.write_text(RULE.format("old", "waits"))
    yield file
    agent.uninstall()


def operations():
    pipeline.drain()
    return [span.operation for spans in traces.all().values() for span in spans]


def test_a_call_in_flight_ends_under_the_rule_that_it_began_with(rules):
    """Others that begin after the reload fall under the new rule; the old name is not lost."""
    agent.install(rules)
    import reloaded

    thread = threading.Thread(target=reloaded.waits)
    thread.start()
    assert reloaded.inside.wait(30)
    rules.write_text(RULE.format("new", "waits"))
    assert dytopo_autotrace.reload() == ()
    reloaded.go_on.set()
    thread.join()
    reloaded.waits()
    assert operations() == ["old", "new"]


def test_a_rule_that_is_gone_leaves_the_original_function(rules):
    """By identity; what the new file names is woven, and is taken out in the end as well."""
    program = rules.parent / "reloaded.py"
    import reloaded

    waits, other = reloaded.waits, reloaded.other
    assert program.exists()
    agent.install(rules)
    assert reloaded.waits is not waits
    rules.write_text(RULE.format("new", "other"))
    dytopo_autotrace.reload()
    assert reloaded.waits is waits
    assert reloaded.other is not other
    agent.uninstall()
    assert reloaded.other is other


def test_a_malformed_file_keeps_the_old_rules_and_says_so_in_one_line(rules):
    """The watch tells what is wrong and where; the functions are what they were."""
    installation = agent.install(rules)
    import reloaded

    woven, said = reloaded.waits, []
    watch = RuleWatch(installation, said.append)
    rules.write_text("[[rule]]\ntarget = ")
    os.utime(rules, ns=(1, 1))
    watch.look()
    assert reloaded.waits is woven
    (line,) = said
    assert "\n" not in line
    assert line.startswith(f"the rules stay as they were: {rules}:2")
