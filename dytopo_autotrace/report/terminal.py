"""The report on a terminal: what matters most comes first, and everything fits.

Texts of the host are shown as text: markup, escape sequences and control characters do nothing.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final, TextIO

from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

from dytopo_autotrace.analyze import wording
from dytopo_autotrace.analyze.findings import AgentRow, FailureGroup, Level
from dytopo_autotrace.analyze.infection import Infection
from dytopo_autotrace.analyze.recurring import is_weather
from dytopo_autotrace.analyze.summary import RunSummary
from dytopo_autotrace.analyze.timing import SWARM_ROLES
from dytopo_autotrace.collect.records import RuleCondition, RuleState
from dytopo_autotrace.errors import nearest
from dytopo_autotrace.report import sections
from dytopo_autotrace.report.lines import HEADING, QUIET, Line, decimal, item, labelled, table
from dytopo_autotrace.report.table import Column
from dytopo_autotrace.report.text import clean, wrap

WIDTH: Final = 80
_NARROWEST: Final = 30
_WIDEST: Final = 120
_FAILURES_SHOWN: Final = 5
_SLOW_SHOWN: Final = 3
_AGENTS_SHOWN: Final = 24
_OTHERS_SHOWN: Final = 5
_OPERATIONS_SHOWN: Final = 5
_RULES_SHOWN: Final = 8
_REMARKS_SHOWN: Final = 8
_WORDS: Final[dict[Level, tuple[str, str]]] = {
    "failed": ("FAILED", "bold red"),
    "degraded": ("DEGRADED", "bold yellow"),
    "recovered": ("RECOVERED", "bold green"),
    "healthy": ("OK", "bold green"),
    "empty": ("NOTHING RECORDED", "bold yellow"),
}
_TOLD_ABOVE: Final = frozenset({"dead_agent", "errors", "timeouts", "retries"})
"""Categories of recommendations that stand beside their failure already."""
_SILENT: Final[dict[RuleCondition, str]] = {
    "nothing_matched": "no such function",
    "refused": "could not be woven",
    "failed": "weaving failed",
    "off": "switched off",
    "never_called": "woven, never called",
    "never_imported": "its module was never imported",
}
_STATES: Final[dict[RuleCondition, str]] = {
    "woven": "woven",
    "never_called": "never called",
    "never_imported": "never imported",
    "nothing_matched": "nothing matched",
    "refused": "refused",
    "failed": "failed",
    "off": "switched off",
}


@dataclass(frozen=True, slots=True)
class View:
    """Which part of the report is wanted; all of it if nothing is said."""

    round: str = ""
    agent: str = ""
    failures: bool = False
    critical_path: bool = False
    what_if: bool = False
    verbose: bool = False
    """Tell every rule, not only those of which there is something to say."""

    @property
    def is_everything(self) -> bool:
        return replace(self, verbose=False) == View()


def render(
    summary: RunSummary, file: TextIO, width: int | None = None, view: View | None = None
) -> None:
    """Write the report: in the terminal's width, in 80 columns and without colour elsewhere."""
    is_terminal = file.isatty()
    console = Console(
        file=file,
        width=width or (None if is_terminal else WIDTH),
        force_terminal=is_terminal,
        highlight=False,
        markup=False,
        emoji=False,
    )
    columns = min(max(console.width, _NARROWEST), _WIDEST)
    encoding = getattr(file, "encoding", None) or "utf-8"
    for text, style in _page(summary, columns, view or View()):
        console.print(Text(_encodable(text, encoding), style), soft_wrap=True)


def _encodable(text: str, encoding: str) -> str:
    try:
        text.encode(encoding)
    except UnicodeEncodeError:
        return text.replace("µ", "u").encode(encoding, "replace").decode(encoding)
    return text


def _page(summary: RunSummary, width: int, view: View) -> Iterator[Line]:
    word, style = _WORDS[summary.verdict.level]
    yield "", ""
    first, *rest = wrap(f"{word}  {clean(summary.verdict.text)}", width)
    yield first, style
    yield from ((line, style) for line in rest)
    parts = (
        _everything(summary, width, view) if view.is_everything else _wanted(summary, width, view)
    )
    for section in parts:
        lines = list(section)
        if lines:
            yield "", ""
            for text, style in lines:
                fits = cell_len(text) <= width
                yield from ((part, style) for part in ([text] if fits else wrap(text, width)))
    if summary.cost is not None and view.is_everything:
        yield "", ""
        yield from ((line, QUIET) for line in wrap(_cost(summary), width))


def _wanted(summary: RunSummary, width: int, view: View) -> Iterator[Iterator[Line]]:
    if view.failures:
        yield _failures(summary, width)
    if view.critical_path:
        yield sections.critical_path(summary, width, most=20)
        yield sections.path_steps(summary, width)
    if view.what_if:
        yield sections.what_if(summary, width, most=20, evidence=True)
    if view.round:
        found = [each for each in summary.told_rounds if each.time.round == view.round]
        known = [each.time.round for each in summary.told_rounds]
        if not found:
            yield iter(
                [(f"There is no round {clean(view.round)}. {nearest(view.round, known)}", "")]
            )
        for each in found:
            yield sections.one_round(each, width)
        told = [group for group in summary.failures if view.round in group.rounds]
        yield _told(told, summary, width)
    if view.agent:
        known = [each.agent for each in summary.activities.agents]
        if view.agent not in known:
            yield iter(
                [(f"There is no agent {clean(view.agent)}. {nearest(view.agent, known)}", "")]
            )
            return
        yield _agents(_of_agent(summary, view.agent), width)
        yield sections.one_agent(summary, view.agent, width)
        told = [g for g in summary.failures if view.agent in {name for name, _ in g.agents}]
        yield _told(told, summary, width)


def _of_agent(summary: RunSummary, agent: str) -> RunSummary:
    rows = tuple(row for row in summary.agents if row.name == agent)
    return replace(summary, agents=rows)


def _told(groups: Sequence[FailureGroup], summary: RunSummary, width: int) -> Iterator[Line]:
    for number, group in enumerate(groups[:_FAILURES_SHOWN], 1):
        yield from _failure(number, group, summary, width)


def _everything(summary: RunSummary, width: int, view: View) -> Sequence[Iterator[Line]]:
    return (
        _failures(summary, width),
        _slow_agents(summary, width),
        _header(summary, width),
        _agents(summary, width),
        _operations(summary, width),
        sections.blocked(summary, width),
        sections.critical_path(summary, width),
        sections.what_if(summary, width),
        _recommendations(summary, width),
        sections.rounds(summary, width),
        sections.messages(summary, width),
        sections.agents_time(summary, width),
        sections.money(summary, width),
        _all_rules(summary, width) if view.verbose else _rules(summary, width),
        _remarks(summary, width),
    )


def _failures(summary: RunSummary, width: int) -> Iterator[Line]:
    told = [g for g in summary.failures if not (g.ambient or is_weather(g))]
    weather = [g for g in summary.failures if is_weather(g) and not g.ambient]
    ambient = [group for group in summary.failures if group.ambient]
    if told:
        yield "WHAT FAILED, AND WHAT BECAME OF IT", HEADING
    for number, group in enumerate(told[:_FAILURES_SHOWN], 1):
        yield from _failure(number, group, summary, width)
    if more := told[_FAILURES_SHOWN:]:
        count = sum(group.count for group in more)
        names = wording.listing([group.headline for group in more], 3)
        yield from item("", f"and {wording.count(count, 'failure')} more: {names}", width)
    if weather:
        runs = wording.count(weather[0].recurring, "run")
        yield f"THE SAME IN EVERY ONE OF THE {runs.upper()} BEFORE", HEADING
    for number, group in enumerate(weather[:_FAILURES_SHOWN], len(told) + 1):
        if told:  # new failures are what is looked at; these are known
            text = f"{group.headline}{wording.times(group)}"
            yield from item(f"{number}.", text, width, style=QUIET, most=2)
        else:
            yield from _failure(number, group, summary, width)
    if ambient:
        count = sum(group.count for group in ambient)
        names = wording.listing([group.headline for group in ambient], 4)
        text = f"Beside the agents' work, {wording.count(count, 'failure')} unheeded: {names}"
        yield from ((line, QUIET) for line in wrap(clean(text), width))
    if summary.cancellations:
        names = wording.listing(
            [
                f"{wording.call(each.place)} after {wording.seconds(each.ran_seconds)}"
                f" ({each.reason})"
                for each in summary.cancellations
            ],
            3,
        )
        yield from ((line, QUIET) for line in wrap(clean(f"Cancelled: {names}"), width))


def _failure(number: int, group: FailureGroup, summary: RunSummary, width: int) -> Iterator[Line]:
    style = "green" if group.first.rescued else "red"
    runs = wording.count(group.recurring, "run")
    before = f", as in every one of the {runs} before" if group.recurring else ""
    for dead in group.dead_agents:
        text = f"{wording.death(dead)}{before}"
        yield from item(f"{number}.", text, width, style=f"bold {style}")
    title = group.headline + wording.times(group)
    told = {dead.agent for dead in group.dead_agents}
    if not told or any(name not in told for name, _ in group.agents):
        yield from item("" if told else f"{number}.", title, width, style=f"bold {style}")
    yield from labelled("cause", group.cause, width)
    yield from labelled("where", group.where, width)
    yield from labelled("became", group.became, width)
    names = {name for name, _ in group.agents}
    for each in summary.infections:
        if each.agent in names:
            yield from labelled("spread", _spread(each), width)
    yield from labelled("do", group.remedy, width)


def _slow_agents(summary: RunSummary, width: int) -> Iterator[Line]:
    """Agents that the others wait for, and why."""
    if summary.slow_agents:
        yield "WHO IS SLOW, AND WHO WAITS FOR IT", HEADING
    for number, slow in enumerate(summary.slow_agents[:_SLOW_SHOWN], 1):
        title = f"{wording.slowness(slow)}{wording.in_rounds(slow.rounds)}"
        yield from item(f"{number}.", title, width, style="bold yellow")
        yield from labelled("cause", wording.slow_cause(slow), width)
        yield from labelled("waits", wording.held_up(slow), width)
        remedy = [wording.SLOW_REMEDY] + [
            wording.replayed(each.text, each.saved_seconds)
            for each in summary.what_if.predictions
            if each.kind == "faster_agent" and each.subject == slow.agent
        ]
        yield from labelled("do", " ".join(remedy), width)
    if more := summary.slow_agents[_SLOW_SHOWN:]:
        yield from item("", f"and {wording.listing([each.agent for each in more], 3)}", width)


def _spread(found: Infection) -> str:
    told = []
    if found.messages:
        readers = wording.listing(found.readers) or "others"
        told.append(
            f"its failed results were read as {wording.count(found.messages, 'message')} by {readers}"
        )
    if found.edges:
        verb = "was" if found.edges == 1 else "were"
        told.append(f"{wording.count(found.edges, 'edge')} {verb} drawn by what it said it offers")
    return f"{', and '.join(told)}{wording.in_rounds(found.rounds)}" if told else ""


def _header(summary: RunSummary, width: int) -> Iterator[Line]:
    yield "RUN", HEADING
    command = " ".join(summary.argv)
    named = command if summary.service in command else f"{summary.service}: {command}"
    yield from labelled("program", named, width, most=2)
    yield from labelled("task", summary.task, width, most=2)
    rounds = wording.count(summary.rounds, "round") if summary.rounds else ""
    if len(summary.swarms) > 1:
        rounds = wording.runs_of(summary.swarms)
    yield from labelled("outcome", ", ".join(filter(None, (summary.outcome, rounds))), width)
    if not summary.span_count:
        return
    figures = [
        wording.seconds(summary.wall_seconds) + " wall time",
        f"parallelization {summary.parallelization_factor:.2f}x",
        wording.count(summary.failure_count, "failure"),
        wording.count(summary.span_count, "span"),
    ]
    if summary.tokens is not None:
        figures.append(f"{summary.tokens:,.0f} tokens")
    yield from labelled("figures", ", ".join(figures), width)
    yield from labelled("score", f"{summary.score:.0f} of 100 (target above 70)", width)
    started = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(summary.started_unix_ns / 1e9))
    more = len(summary.trace_ids) - 1
    traces = summary.trace_ids[0] + (f" and {more} more" if more else "")
    yield from labelled("trace", f"{traces}, started {started}", width)


def _agents(summary: RunSummary, width: int) -> Iterator[Line]:
    swarm = [row for row in summary.agents if row.role in SWARM_ROLES]
    others = sorted(
        (row for row in summary.agents if row.role not in SWARM_ROLES),
        key=lambda row: -row.total_seconds,
    )
    rows = [*swarm[:_AGENTS_SHOWN], *others[:_OTHERS_SHOWN]]
    if not rows:
        return
    yield "WHO DID WHAT (seconds)", HEADING
    yield from table(_agent_columns(rows), width)
    hidden = len(summary.agents) - len(rows)
    if hidden:
        yield f"  and {hidden} more", QUIET


def _agent_columns(rows: Sequence[AgentRow]) -> list[Column]:
    def numbers(title: str, values: Iterable[int], expendable: int = 0) -> Column:
        return Column(title, tuple(str(value or "") for value in values), expendable=expendable)

    def seconds(title: str, values: Sequence[float], expendable: int = 0) -> Column:
        return Column(title, decimal(values), expendable=expendable)

    tokens = ("" if row.tokens is None else f"{row.tokens:,.0f}" for row in rows)
    return [
        Column("role", tuple(clean(row.role) for row in rows), is_name=True),
        Column("who", tuple(clean(row.name) or "-" for row in rows), is_name=True),
        numbers("calls", [row.calls for row in rows]),
        seconds("total", [row.total_seconds for row in rows]),
        seconds("p50", [row.p50_seconds for row in rows]),
        seconds("p95", [row.p95_seconds for row in rows], 3),
        seconds("p99", [row.p99_seconds for row in rows], 4),
        numbers("errors", [row.errors for row in rows]),
        numbers("cancelled", [row.cancelled for row in rows], 1),
        numbers("running", [row.running for row in rows], 1),
        Column("tokens", tuple(tokens), expendable=2),
    ]


def _operations(summary: RunSummary, width: int) -> Iterator[Line]:
    rows = [row for row in summary.operations if row.own_seconds > 0][:_OPERATIONS_SHOWN]
    if not rows:
        return
    yield "WHERE TIME WENT (seconds in the operation itself, not in what it called)", HEADING
    columns = [
        Column("operation", tuple(clean(row.operation) for row in rows), is_name=True),
        Column("agent", tuple(clean(row.agent) or "-" for row in rows), is_name=True),
        Column("calls", tuple(str(row.calls) for row in rows)),
        Column("itself", decimal([row.own_seconds for row in rows])),
        Column("share", tuple(f"{row.share:.0%}" for row in rows)),
        Column("longest", decimal([row.longest_seconds for row in rows]), expendable=1),
    ]
    yield from table(columns, width)


def _recommendations(summary: RunSummary, width: int) -> Iterator[Line]:
    told = [
        each
        for each in summary.recommendations
        if each.category not in _TOLD_ABOVE and not each.from_replay and not each.slow_agent
    ]
    if told:
        yield "WHAT TO DO ABOUT SPEED" if summary.failures else "WHAT TO DO", HEADING
    for each in told:
        yield from labelled(each.priority, each.message, width)


def _rules(summary: RunSummary, width: int) -> Iterator[Line]:
    # A rule that is switched off has its faults among those of the file.
    told = {"woven", "off"} if summary.faults else {"woven"}
    silent = [rule for rule in summary.rules if rule.state not in told]
    partly = [
        rule
        for rule in summary.rules
        if rule.woven and rule.reason and not rule.origin.startswith("pack")
    ]
    if not summary.rules and not summary.faults:
        return
    yield "RULES", HEADING
    for fault in summary.faults[:_RULES_SHOWN]:
        yield from item("!", fault, width, style="red")
    if len(summary.faults) > _RULES_SHOWN:
        yield f"   and {len(summary.faults) - _RULES_SHOWN} more faults", ""
    for rule in partly[:_RULES_SHOWN]:
        yield from item("-", f"{rule.name}: not all of it is woven. {rule.reason}", width, most=3)
    if len(partly) > _RULES_SHOWN:
        yield f"   and {len(partly) - _RULES_SHOWN} more: not all of it is woven", ""
    for rule in summary.rules:
        if rule.left_out and not rule.origin.startswith("pack"):
            yield from item("-", f"{rule.name}: {rule.left_out}", width, style=QUIET)
    for state, words in _SILENT.items():
        packed = [r for r in silent if r.state == state and r.origin.startswith("pack")]
        own = [r for r in silent if r.state == state and not r.origin.startswith("pack")]
        if state == "never_called":
            yield from _names(words, [*own, *packed], width)
            continue
        for rule in own[:_RULES_SHOWN]:
            named = f"{rule.name} ({_origin(rule)}): {words}"
            # A reason names its place; without one the target says where to look.
            text = f"{named}. {rule.reason or rule.target}".rstrip(". ")
            yield from item("-", text, width, most=3)
        if len(own) > _RULES_SHOWN:
            yield f"   and {len(own) - _RULES_SHOWN} more: {words}", ""
        if packed and state == "never_imported":
            text = f"{wording.count(len(packed), 'rule')} of packs for modules never imported"
            yield from item("-", text, width, style=QUIET)
        else:
            yield from _names(f"{words}, in packs", packed, width)
    yield from _count_of_woven(summary, width)


def _count_of_woven(summary: RunSummary, width: int) -> Iterator[Line]:
    called = sum(rule.state == "woven" for rule in summary.rules)
    if called:
        text = f"{wording.count(called, 'rule')} woven and called; report --verbose tells each"
        yield from item("-", text, width, style=QUIET)


def _all_rules(summary: RunSummary, width: int) -> Iterator[Line]:
    """Each rule with its state, and why where it is not simply woven and called."""
    if not summary.rules and not summary.faults:
        return
    yield "RULES", HEADING
    for fault in summary.faults:
        yield from item("!", fault, width, style="red")
    columns = [
        Column("rule", tuple(clean(rule.name) for rule in summary.rules), is_name=True),
        Column("state", tuple(_STATES[rule.state] for rule in summary.rules)),
        Column("woven", tuple(f"{rule.woven:,}" for rule in summary.rules)),
        Column("called", tuple(f"{rule.calls:,}" for rule in summary.rules)),
        Column("from", tuple(_origin(rule) for rule in summary.rules), is_name=True),
    ]
    if summary.rules:
        yield from table(columns, width)
    for rule in summary.rules:
        said = ". ".join(filter(None, (rule.reason, rule.left_out)))
        if said and rule.state != "never_imported":
            yield from item("-", f"{rule.name}: {said}", width)


def _origin(rule: RuleState) -> str:
    # The directory is that of the run, which its reader knows, and takes the room of a name.
    return clean(rule.origin.replace("\\", "/").rpartition("/")[2])


def _names(told: str, rules: Sequence[RuleState], width: int) -> Iterator[Line]:
    if rules:
        names = wording.listing([rule.name for rule in rules], _RULES_SHOWN)
        yield from item("-", f"{told}: {names}", width, style=QUIET)


def _remarks(summary: RunSummary, width: int) -> Iterator[Line]:
    if summary.drops or summary.remarks:
        yield "TO KEEP IN MIND", HEADING
    for reason, count in summary.drops:
        yield from item("!", f"{count:,} lost: {reason}", width, style="yellow")
    for remark in summary.remarks[:_REMARKS_SHOWN]:
        yield from item("-", remark, width)
    if len(summary.remarks) > _REMARKS_SHOWN:
        yield f"  and {len(summary.remarks) - _REMARKS_SHOWN} more remarks", ""


def _cost(summary: RunSummary) -> str:
    cost = summary.cost
    if cost is None:
        return ""
    per_call = wording.seconds(cost.seconds_per_call)
    text = f"autotrace itself: {cost.calls:,} calls x {per_call} = {wording.seconds(cost.seconds)}"
    if cost.share is not None:
        percent = f"{cost.share * 100:.2f}" if cost.share >= 0.0001 else "under 0.01"
        text += f", {percent} % of wall time"
    if cost.drain_seconds > 0:
        text += f"; {wording.seconds(cost.drain_seconds)} beside it in the background"
    return text
