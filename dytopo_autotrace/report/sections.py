"""Parts of the report that answer one question each: rounds, messages, time, path, what-if, money."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from dytopo_autotrace.analyze import wording
from dytopo_autotrace.analyze.activity import Activity
from dytopo_autotrace.analyze.rounds import Round
from dytopo_autotrace.analyze.spending import Spent
from dytopo_autotrace.analyze.summary import RunSummary
from dytopo_autotrace.analyze.swarms import names_by_trace
from dytopo_autotrace.analyze.topology import Churn, RoundGraph
from dytopo_autotrace.report.lines import HEADING, QUIET, Line, decimal, labelled, table
from dytopo_autotrace.report.table import Column
from dytopo_autotrace.report.text import clean

_ROUNDS_SHOWN: Final = 12
_GRAPHS_SHOWN: Final = 6
_AGENTS_SHOWN: Final = 12
_PATH_SHOWN: Final = 5
_PREDICTIONS_SHOWN: Final = 6
_BARS: Final = " .:-=+*#%@"


def blocked(summary: RunSummary, width: int, most: int = 3) -> Iterator[Line]:
    """What held the event loop, and who stood still."""
    found = summary.blocked_loops
    if not found:
        return
    yield "WHAT HELD THE EVENT LOOP", HEADING
    for each in found[:most]:
        who = f"{wording.call(each.holder)}, {each.where}" if each.holder else each.where
        text = who if each.is_exact else f"at least, {who}"
        if each.standing_still:
            text += f". Stood still meanwhile: {wording.listing(each.standing_still)}"
        elif each.standing_still is not None:
            text += ". No other agent had a call open on it"
        text += "."
        if each.standing_still != ():
            text += " Run it in a thread (asyncio.to_thread), or before the agents start."
        yield from labelled(wording.seconds(each.seconds), text, width)
    if len(found) > most:
        yield f"  and {len(found) - most} more", QUIET


def rounds(summary: RunSummary, width: int, most: int = _ROUNDS_SHOWN) -> Iterator[Line]:
    """Each round: how long, how much at once, how much waiting, and its graph's figures."""
    found = summary.told_rounds
    if not found:
        return
    shown = found[:most]
    times = [each.time for each in shown]
    graphs = [each.graph for each in shown]
    churn = [g.churn if g else None for g in graphs]
    yield "ROUNDS (seconds)", HEADING
    columns = [
        Column("round", tuple(clean(each.round) for each in times), is_name=True),
        Column("took", decimal([each.seconds for each in times])),
        Column("at once", tuple(f"{each.at_once:.2f}" for each in times)),
        Column("allowed", tuple(_figure(each.allowed) for each in shown), expendable=2),
        Column("waiting", decimal([_waiting(each.agents) for each in times])),
        Column("calls", tuple(str(each.calls) for each in times), expendable=5),
        Column("edges", tuple(str(len(g.edges)) if g else "" for g in graphs)),
        Column("density", tuple(f"{g.density:.2f}" if g else "" for g in graphs), expendable=4),
        Column(
            "changed",
            tuple(f"+{len(c.new)} -{len(c.gone)}" if c else "" for c in churn),
            expendable=1,
        ),
        Column("jaccard", tuple(f"{c.jaccard:.2f}" if c else "" for c in churn), expendable=1),
        Column("similar", tuple(_figure(each.similarity) for each in shown), expendable=3),
    ]
    if any(each.swarm for each in found):
        columns.insert(0, Column("swarm", tuple(clean(e.swarm) for e in shown), is_name=True))
    yield from table(columns, width)
    unchanged = [
        wording.of_swarm(each.time.round, each.swarm)
        for each in found
        if each.graph and each.graph.churn and each.graph.churn.jaccard == 1.0
    ]
    if unchanged:
        listed = wording.listing(unchanged, 8)
        yield from labelled("", f"the same edges as the graph before: {listed}", width)
    if len(found) > len(shown):
        yield f"  and {len(found) - len(shown)} more", QUIET


def _figure(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"


def _waiting(agents: Iterable[Activity]) -> float:
    return sum(each.waiting_seconds for each in agents)


def messages(summary: RunSummary, width: int, most: int = _GRAPHS_SHOWN) -> Iterator[Line]:
    """Who read whom in each round, the order of work, what was cut, and who never heard anything."""
    graphs = summary.topology.graphs
    if not graphs:
        return
    yield "WHO READ WHOM", HEADING
    swarms = names_by_trace(summary.swarms)
    order = list(swarms)
    shown = sorted(
        graphs[-most:],
        key=lambda g: order.index(g.trace_id) if g.trace_id in swarms else len(order),
    )
    before = ""
    for graph in shown:
        swarm = swarms.get(graph.trace_id, "")
        if swarm != before:
            yield f"  {clean(swarm)}:", ""
        before = swarm
        yield from _graph(graph, width)
    if len(graphs) > most:
        yield f"  and {len(graphs) - most} earlier graphs", QUIET
    ranked = [each for each in summary.topology.agents if each.in_degree + each.out_degree]
    if ranked:
        names = [f"{each.agent} {each.in_degree} in, {each.out_degree} out" for each in ranked[:5]]
        yield from labelled("central", "; ".join(names), width)
    lonely = [each.agent for each in summary.topology.agents if each.isolated_rounds == len(graphs)]
    if lonely:
        yield from labelled("isolated", f"in every round: {wording.listing(lonely)}", width)


def _graph(graph: RoundGraph, width: int) -> Iterator[Line]:
    label = f"round {graph.round}" if graph.round else "graph"
    by_reader: dict[str, list[str]] = {}
    cut = set(graph.cut)
    for edge in graph.edges:
        weight = "" if edge.weight is None else f" {edge.weight:.2f}"
        mark = " (cut)" if (edge.source, edge.target) in cut else ""
        by_reader.setdefault(edge.target, []).append(f"{edge.source}{weight}{mark}")
    read = "; ".join(f"{reader} < {', '.join(of)}" for reader, of in by_reader.items())
    yield from labelled(label, read or "no edges", width, most=6)
    if len(graph.tiers) > 1:
        order = " | ".join(", ".join(tier) for tier in graph.tiers)
        yield from labelled("", f"order: {order}", width, most=3)
    if cut and not graph.cut_recorded:
        said = ", ".join(f"{source} > {target}" for source, target in graph.cut)
        text = f"cycles: the program must have cut an edge; the weakest would be {said}"
        yield from labelled("", text, width, most=3)
    if graph.isolated:
        yield from labelled("", f"isolated: {wording.listing(graph.isolated)}", width, most=2)
    if graph.unread:
        said = ", ".join(f"{source} > {target}" for source, target in graph.unread)
        yield from labelled("", f"routed and never read: {said}", width, most=2)


def agents_time(summary: RunSummary, width: int) -> Iterator[Line]:
    """Busy, waiting, unattributed and idle time of each agent, and how much ran at once."""
    found = sorted(summary.activities.agents, key=lambda each: -each.busy_seconds)[:_AGENTS_SHOWN]
    concurrency = summary.activities.concurrency
    if not found:
        return
    yield "WHAT AGENTS DID WITH THEIR TIME (seconds)", HEADING
    columns = [
        Column("agent", tuple(clean(each.agent) for each in found), is_name=True),
        Column("busy", decimal([each.busy_seconds for each in found])),
        Column("waiting", decimal([each.waiting_seconds for each in found])),
        Column("unattributed", decimal([e.unattributed_seconds for e in found]), expendable=1),
        Column("idle", decimal([each.idle_seconds for each in found])),
    ]
    yield from table(columns, width)
    if concurrency.most:
        peak = max(concurrency.over_time, default=0.0) or 1.0
        bars = "".join(
            _BARS[min(round(part / peak * (len(_BARS) - 1)), len(_BARS) - 1)]
            for part in concurrency.over_time
        )
        text = f"{concurrency.mean:.2f} on average, {concurrency.most} at most"
        allowed = summary.what_if
        if allowed.least_seconds < allowed.wall_seconds * 0.99 and allowed.least_seconds > 0:
            could = concurrency.mean * allowed.wall_seconds / allowed.least_seconds
            text += f"; {could:.2f} with slots for all ({wording.seconds(allowed.least_seconds)})"
        yield from labelled("at once", text, width)
        if len(bars) + 11 <= width:
            yield f"           {bars}".rstrip(), QUIET


def critical_path(summary: RunSummary, width: int, most: int = _PATH_SHOWN) -> Iterator[Line]:
    """What decided how long the run took."""
    path = summary.critical_path
    shown = [each for each in path.by_operation if each.seconds > 0][:most]
    if not shown:
        return
    yield f"CRITICAL PATH (what the {wording.seconds(path.seconds)} were spent on)", HEADING
    columns = [
        Column(
            "operation",
            tuple(clean(each.operation) or "outside watched calls" for each in shown),
            is_name=True,
        ),
        Column("agent", tuple(clean(each.agent) or "-" for each in shown), is_name=True),
        Column("seconds", decimal([each.seconds for each in shown])),
        Column("share", tuple(f"{each.share:.0%}" for each in shown)),
        Column("steps", tuple(str(each.steps) for each in shown), expendable=1),
    ]
    yield from table(columns, width)
    agents = [f"{each.agent} {each.share:.0%}" for each in path.by_agent if each.agent]
    if agents:
        yield from labelled("agents", ", ".join(agents[:8]), width, most=2)


def path_steps(summary: RunSummary, width: int, most: int = 60) -> Iterator[Line]:
    """The path itself, step by step; the shortest steps are left out where there are many."""
    steps = summary.critical_path.steps
    if not steps:
        return
    longest = sorted(steps, key=lambda step: -step.seconds)[:most]
    kept = sorted(longest, key=lambda step: step.start_seconds)
    yield "", ""
    yield "STEP BY STEP (seconds)", HEADING
    places = [step.place for step in kept]
    columns = [
        Column("at", decimal([step.start_seconds for step in kept])),
        Column("for", decimal([step.seconds for step in kept])),
        Column("operation", tuple(clean(p.operation) if p else "-" for p in places), is_name=True),
        Column("agent", tuple(clean(p.agent) if p else "-" for p in places), is_name=True),
        Column("round", tuple(clean(p.round) if p else "" for p in places), expendable=2),
        Column("span", tuple(p.span_id if p else "" for p in places), expendable=1),
    ]
    yield from table(columns, width)
    if len(steps) > len(kept):
        yield f"  and {len(steps) - len(kept)} shorter ones", QUIET


def what_if(
    summary: RunSummary, width: int, most: int = _PREDICTIONS_SHOWN, *, evidence: bool = False
) -> Iterator[Line]:
    """What the run would have taken with one thing changed."""
    found = summary.what_if
    shown = found.predictions[:most]
    if not shown:
        return
    yield "WHAT WOULD HELP (the run replayed with one change at a time)", HEADING
    columns = [
        Column("with", tuple(clean(each.text) for each in shown), is_name=True, wraps=True),
        Column("takes", tuple(wording.seconds(each.seconds) for each in shown)),
        Column("saves", tuple(wording.seconds(each.saved_seconds) for each in shown)),
        Column("share", tuple(f"{each.saved_share:.0%}" for each in shown)),
        Column("sure", tuple(each.sureness for each in shown), expendable=1),
    ]
    yield from table(columns, width)
    if found.replayed_seconds > 0:
        off = found.replayed_seconds / found.wall_seconds - 1 if found.wall_seconds else 0.0
        text = (
            f"without a change the replay takes {wording.seconds(found.replayed_seconds)}, "
            f"{abs(off):.1%} off what was measured"
        )
        yield from ((line, QUIET) for line, _ in labelled("", text, width))
    if evidence:
        for each in shown:
            text = f"{each.text}: spans {', '.join(each.evidence)}"
            yield from labelled("why", text, width, most=3)


def money(summary: RunSummary, width: int) -> Iterator[Line]:
    """Tokens and cost by agent, round and model, and what was thrown away."""
    spending = summary.spending
    if not spending.total.calls:
        return
    yield "TOKENS" + (" AND COST (USD)" if spending.total.cost is not None else ""), HEADING
    shown = [each for each in spending.by_agent if each.tokens][:_AGENTS_SHOWN]
    yield from table(_spent_columns("agent", shown), width)
    swarms = names_by_trace(summary.swarms)
    for label, of in (("rounds", spending.by_round), ("models", spending.by_model)):
        named = [f"{swarms.get(e.trace_id, '')} {_said(e)}".strip() for e in of if e.name]
        if named:
            yield from labelled(label, "; ".join(named[:8]), width, most=3)
    for each in spending.wasted:
        yield from labelled("wasted", f"{_said(each)} {_WHY[each.name]}", width)
    if spending.unpriced_models and (spending.total.cost is not None or spending.priced_by):
        names = wording.listing(
            [clean(name) or "no model named" for name in spending.unpriced_models]
        )
        count = f"{spending.total.unpriced_tokens:,.0f} tokens"
        yield from labelled("unpriced", f"{count} of {names}", width)


_WHY: Final = {
    "failed": "for calls that failed or were cut off",
    "retried": "for failed attempts that were made again",
    "unread": "for output that no other agent read (the manager may have)",
}


def _said(spent: Spent) -> str:
    cost = "" if spent.cost is None else f" ${spent.cost:.4f}"
    return f"{clean(spent.name)} {spent.tokens:,.0f}{cost}"


def _spent_columns(title: str, shown: Sequence[Spent]) -> list[Column]:
    def numbers(values: Iterable[float]) -> tuple[str, ...]:
        return tuple(f"{value:,.0f}" if value else "" for value in values)

    return [
        Column(title, tuple(clean(each.name) or "-" for each in shown), is_name=True),
        Column("calls", tuple(str(each.calls) for each in shown)),
        Column("tokens", numbers(each.tokens for each in shown)),
        Column("read", numbers(each.read for each in shown), expendable=2),
        Column("cached", numbers(each.cached for each in shown), expendable=3),
        Column("written", numbers(each.written for each in shown), expendable=2),
        Column("cost", tuple("" if e.cost is None else f"{e.cost:.4f}" for e in shown)),
        Column("unpriced", numbers(each.unpriced_tokens for each in shown), expendable=1),
    ]


def one_round(told: Round, width: int) -> Iterator[Line]:
    """All about one round."""
    found = told.time
    of = f" of {clean(told.swarm)}" if told.swarm else ""
    yield f"ROUND {clean(found.round)}{of}", HEADING
    yield from labelled("took", f"{wording.seconds(found.seconds)}, {found.calls} calls", width)
    at_once = f"{found.at_once:.2f} calls busy on average"
    if told.allowed is not None:
        at_once += f"; the edges would have allowed {told.allowed:.2f} agents after routing"
    yield from labelled("at once", at_once, width)
    share = f"{wording.seconds(told.path_seconds)} of the critical path, {told.path_share:.0%}"
    yield from labelled("path", share, width)
    if told.spent is not None:
        yield from labelled("tokens", _spent_in_round(told.spent), width)
    if told.similarity is not None:
        yield from labelled("similar", f"{told.similarity:.2f}, as the program said", width)
    rows = found.agents
    columns = [
        Column("agent", tuple(clean(each.agent) for each in rows), is_name=True),
        Column("busy", decimal([each.busy_seconds for each in rows])),
        Column("waiting", decimal([each.waiting_seconds for each in rows])),
        Column("unattributed", decimal([e.unattributed_seconds for e in rows]), expendable=1),
        Column("idle", decimal([each.idle_seconds for each in rows])),
    ]
    yield from table(columns, width)
    if told.graph is not None:
        yield from _graph(told.graph, width)
        if told.graph.churn is not None:
            yield from labelled("changed", _changed(told.graph.churn), width, most=4)


def _spent_in_round(spent: Spent) -> str:
    cost = "" if spent.cost is None else f", ${spent.cost:.4f}"
    unpriced = f", {spent.unpriced_tokens:,.0f} of them unpriced" if spent.unpriced_tokens else ""
    return f"{spent.tokens:,.0f}{cost}{unpriced if cost else ''}"


def _changed(churn: Churn) -> str:
    """Which edges came and went since the graph before."""
    parts = [
        f"{label} {', '.join(f'{source} > {target}' for source, target in pairs)}"
        for label, pairs in (("new", churn.new), ("gone", churn.gone))
        if pairs
    ]
    said = "; ".join(parts) or "no edge"
    return f"{said}; {churn.kept} kept, jaccard {churn.jaccard:.2f}"


def one_agent(summary: RunSummary, agent: str, width: int) -> Iterator[Line]:
    """All about one agent: its time, its share of the path, its messages, what it spent."""
    yield f"AGENT {clean(agent)}", HEADING
    for each in summary.activities.agents:
        if each.agent == agent:
            kinds = (
                ("busy", each.busy_seconds),
                ("waiting", each.waiting_seconds),
                ("unattributed", each.unattributed_seconds),
                ("idle", each.idle_seconds),
            )
            text = ", ".join(f"{name} {wording.seconds(value)}" for name, value in kinds)
            yield from labelled("time", text, width)
    for share in summary.critical_path.by_agent:
        if share.agent == agent:
            text = f"{wording.seconds(share.seconds)} of the critical path, {share.share:.0%}"
            yield from labelled("path", text, width)
    for prediction in summary.what_if.predictions:
        if prediction.kind == "faster_agent" and prediction.subject == agent:
            saved = wording.seconds(prediction.saved_seconds)
            yield from labelled("what if", f"twice as fast saves {saved}", width)
    for place in summary.topology.agents:
        if place.agent == agent:
            text = (
                f"{place.in_degree} edges in, {place.out_degree} out, centrality "
                f"{place.degree_centrality:.2f}, betweenness {place.betweenness:.2f}; "
                f"{place.messages_received} messages read, {place.messages_sent} read by others"
            )
            yield from labelled("messages", text, width)
    for spent in summary.spending.by_agent:
        if spent.name == agent:
            yield from labelled("tokens", _said(spent), width)
    for told in summary.told_rounds:
        for each in told.time.agents:
            if each.agent == agent:
                text = (
                    f"busy {wording.seconds(each.busy_seconds)}, waiting "
                    f"{wording.seconds(each.waiting_seconds)}, idle "
                    f"{wording.seconds(each.idle_seconds)}"
                )
                of = f"in {told.swarm}: " if told.swarm else ""
                yield from labelled(f"round {told.time.round}", of + text, width)
