"""`architecture/system-overview.md`: what there is, how a round goes, how routing decides."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from dytopo_autotrace.analyze.wording import count, listing, seconds
from dytopo_autotrace.documentation import mermaid
from dytopo_autotrace.documentation.categories import CATEGORIES, Category
from dytopo_autotrace.documentation.markdown import Markdown, code, link, prose, short, source_link
from dytopo_autotrace.documentation.model import (
    Component,
    Figures,
    Function,
    Place,
    Round,
    Run,
    Swarm,
)
from dytopo_autotrace.documentation.pages import common
from dytopo_autotrace.rules.schema import key_table

UP: Final = "../"
MOST_ROUNDS: Final = 12
MOST_FUNCTIONS: Final = 40
"""Functions of one category that are shown with their signatures; `api-reference.md` has all."""
RECORD: Final = "python -m dytopo_autotrace your_swarm.py"


@dataclass(frozen=True, slots=True)
class Group:
    """The components of a category."""

    category: Category
    sentence: str
    components: tuple[Component, ...]
    functions: tuple[Function, ...]
    says: tuple[tuple[str, dict[str, str]], ...]


def system_overview(swarm: Swarm, sources: str) -> str:
    """The page; `sources` leads from it to the root of the sources."""
    told = _told(swarm.runs)
    shown = told.rounds if told else ()
    return common.page(
        "system-overview.md.jinja",
        swarm,
        sources,
        up=UP,
        canvas_name=code("overview-obsidian.canvas"),
        story=_story(swarm),
        programs=list(
            dict.fromkeys(" ".join(run.summary.argv) for run in swarm.runs if run.summary.argv)
        ),
        report=common.report,
        groups=tuple(_groups(swarm)),
        failed=_failed,
        places=lambda each: _places(each, sources),
        told=told,
        goal=next((r.goal for r in shown if told and r.number == told.told_round), ""),
        sequence=mermaid.sequence(told.steps, _orchestrator(swarm)) if told else "",
        record=RECORD,
        rounds=shown[:MOST_ROUNDS],
        topology_intro=_topology_intro(told, shown),
        topology=mermaid.topology,
        cut=lambda each: sum(edge.cut for edge in each.edges or ()),
        routers=_routers(swarm, told),
        rule_file=source_link(Place(swarm.rule_file, 1), sources, swarm.rule_file),
        settings=tuple(_settings(swarm)),
        keys=Markdown(key_table()),
        points=tuple(_points(swarm, sources)),
    )


def _told(runs: Sequence[Run]) -> Run | None:
    """The run whose rounds are shown: the latest that had rounds and no dead agent."""
    with_rounds = [run for run in runs if run.steps]
    whole = [run for run in with_rounds if not run.summary.failures]
    return next(iter((*whole, *with_rounds)), None)


def _story(swarm: Swarm) -> str:
    """What the swarm is and how a run goes, from what was observed."""
    parts = []
    agents = [each.title for each in swarm.components if each.role == "worker" and each.agent]
    if agents:
        parts.append(
            f"{count(len(agents), 'worker')} ({listing(agents, 10)}) work for {swarm.service}."
        )
    managers = [each for each in swarm.components if each.role == "manager"]
    orchestrators = [each for each in swarm.components if each.role == "orchestrator"]
    if orchestrators and managers:
        parts.append(
            f"{orchestrators[0].operation} runs the rounds; in each, "
            f"{managers[0].title} sets a goal or ends the run."
        )
    routed = [each for run in swarm.runs for each in run.rounds if each.edges is not None]
    silent = [
        each for run in swarm.runs for each in run.rounds if each.edges is None and each.agents
    ]
    if routed:
        edges = [sum(not edge.cut for edge in each.edges or ()) for each in routed]
        low, high = min(edges), max(edges)
        many = str(low) if low == high else f"{low} to {high}"
        parts.append(
            f"A router decides who reads whom: {many} edges in a round"
            + (
                f", none in {count(len(silent), 'round')} in which agents work alone."
                if silent
                else "."
            )
        )
    outcomes = list(dict.fromkeys(run.summary.outcome for run in swarm.runs if run.summary.outcome))
    if outcomes:
        parts.append(f"The documented runs ended by {listing(outcomes, 6)}.")
    called = [each.figures for each in swarm.components if each.role == "llm" and each.figures]
    parts += [
        f"The model was called {figures.calls:,} times, p50 {seconds(figures.p50_seconds)}."
        for figures in called[:1]
    ]
    return " ".join(parts)


def _groups(swarm: Swarm) -> Iterator[Group]:
    for name, category in CATEGORIES.items():
        parts = tuple(each for each in swarm.components if each.category == name)
        if not parts:
            continue
        functions = {each.place: each for part in parts for each in part.functions}
        meaning = category.meaning[:1].upper() + category.meaning[1:]
        says = tuple((part.title, dict(part.says)) for part in parts if part.says)
        yield Group(
            category, f"{meaning}.", parts, tuple(functions.values())[:MOST_FUNCTIONS], says
        )


def _failed(figures: Figures) -> str:
    cut = f", {figures.cancelled:,} cut off" if figures.cancelled else ""
    return f"{figures.failures:,}{cut}"


def _places(component: Component, sources: str) -> Markdown:
    shown = [
        source_link(each.place, sources, short(each.place)) for each in component.functions[:2]
    ]
    more = len(component.functions) - 2
    text = ", ".join(shown) + (f" and {more} more" if more > 0 else "")
    return Markdown(text or "not in the sources that were read")


def _orchestrator(swarm: Swarm) -> str:
    found = [each.operation for each in swarm.components if each.role == "orchestrator"]
    return found[0] if found else "orchestrator"


def _topology_intro(told: Run | None, shown: Sequence[Round]) -> str:
    if told is None:
        return ""
    more = len(shown) - MOST_ROUNDS
    cut = f" The first {MOST_ROUNDS} of {len(shown)} rounds." if more > 0 else ""
    return (
        f"Of run {told.name}, as the router captured it: an arrow leads from the agent that is read "
        f"to the one that reads, with the similarity that made the edge.{cut}"
    )


def _routers(swarm: Swarm, told: Run | None) -> tuple[Function, ...]:
    """What routing goes through, in the order in which it was called, then what was not."""
    parts = [each for each in swarm.components if each.category == "routing"]
    order: list[Function] = []
    spans = [span for each in (told.rounds if told else ()) for span in each.spans]
    for span in spans:
        for part in parts:
            if part.operation == span.operation and span.rule in part.rules:
                order += part.functions
    order += [function for part in parts for function in part.functions]
    return tuple(
        {each.place: each for each in reversed(order)}[place]
        for place in dict.fromkeys(each.place for each in order)
    )


def _settings(swarm: Swarm) -> Iterator[tuple[str, Markdown]]:
    rules, capture, keeping = swarm.ruleset, swarm.ruleset.capture, swarm.ruleset.store
    yield "agent.service", code(rules.service) or Markdown("the name of the program")
    yield "agent.packs", common.codes(rules.packs) or Markdown("none")
    yield "agent.adopt", common.codes(rules.adopt) or Markdown("none")
    yield "agent.capture.max_length", prose(f"{capture.max_length:,} characters")
    yield "agent.capture.redact", common.codes(capture.redact) or Markdown("nothing")
    yield "store.path", code(keeping.path) or Markdown("the default, `.dytopo/traces.db`")
    yield (
        "store.keep_*",
        prose(
            f"{keeping.keep_days} days, {keeping.keep_runs} runs, {keeping.keep_megabytes} MB; "
            "0 is no limit"
        ),
    )
    own = sum(not rule.origin.pack for rule in rules.rules)
    yield "rules", prose(f"{own} of its own, {len(rules.rules) - own} of packs")


def _points(swarm: Swarm, sources: str) -> Iterator[Markdown]:
    where = (
        source_link(Place(swarm.rule_file, 1), sources, swarm.rule_file)
        if swarm.rule_file
        else Markdown("an `instrumentation.toml`")
    )
    yield Markdown(
        f"Watch another function: a `[[rule]]` with its `target` in {where}; the first rule that "
        "matches wins, so a rule there replaces a pack's."
    )
    yield Markdown(
        "Give a function a role (`orchestrator`, `manager`, `router`, `worker`, `llm`, `tool`): it "
        "decides how it is analyzed, and where it stands on these pages."
    )
    yield Markdown(
        "Count something: `[[rule.metric]]` below a rule, with an expression as its `value`."
    )
    yield Markdown(
        "Add spans in code: `from dytopo_autotrace import traced`, with the same keys as a rule; or "
        "keep the classic calls and name their module in `agent.adopt`."
    )
    yield Markdown(
        f"Hand runs to other tools: {link(Markdown('export formats'), f'{UP}OBSERVABILITY.md#export-formats')}."
    )
