"""To which agent and round a span belongs."""

from builders import Spans, swarm

from dytopo_autotrace.analyze.ownership import owners
from dytopo_autotrace.analyze.tree import build


def test_a_closure_belongs_to_the_one_agent_it_calls():
    """A span above a single agent's call takes that agent's name."""
    tree = build(swarm())
    agents = owners(tree).agents
    named = {agents[span.id] for span in tree.spans if span.operation == "exec_agent"}
    assert named == {"analyst", "developer", "designer", "tester"}


def test_a_call_above_several_agents_belongs_to_none():
    """What calls two agents is nobody's, and so is an orchestrator with a single one."""
    spans = Spans()
    tier = spans.add("tier", 0, 9)
    spans.add("call", 0, 1, tier, agent="x")
    spans.add("call", 1, 2, tier, agent="y")
    alone = spans.add("swarm", 10, 19, role="orchestrator")
    spans.add("call", 11, 12, alone, agent="x")
    agents = owners(build(spans)).agents
    assert (agents[tier.id], agents[alone.id]) == ("", "")


def test_workers_belong_to_the_round_that_the_manager_named_before():
    """Rounds are a loop, not a call: the manager's word beside them counts until its next."""
    tree = build(swarm(rounds=2))
    rounds = owners(tree).rounds
    calls = [rounds[span.id] for span in tree.spans if span.operation == "agent_call"]
    assert calls == ["1"] * 4 + ["2"] * 4


def test_a_span_without_a_round_above_has_none():
    """The run itself belongs to no round."""
    tree = build(swarm())
    assert owners(tree).rounds[tree.roots[0].id] == ""


def test_what_is_called_beside_the_one_agent_is_nobodys():
    """A caller that is taken for its one agent's does not pass that name on to its other calls."""
    spans = Spans()
    alone = spans.add("solo", 0, 9)
    config = spans.add("fetch_config", 0, 1, alone)
    act = spans.add("act", 1, 5, alone, agent="x")
    chat = spans.add("chat", 2, 3, act)
    agents = owners(build(spans)).agents
    assert {span.operation: agents[span.id] for span in (config, act, chat)} == {
        "fetch_config": "",
        "act": "x",
        "chat": "x",
    }
