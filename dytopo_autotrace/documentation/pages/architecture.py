"""`architecture/system-overview.md`: what there is, how a round goes, how routing decides."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from dytopo_autotrace.analyze.wording import clip, count, listing, seconds
from dytopo_autotrace.documentation import mermaid
from dytopo_autotrace.documentation.categories import CATEGORIES, Category
from dytopo_autotrace.documentation.markdown import (
    Markdown,
    block,
    code,
    link,
    prose,
    source_link,
)
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
MOST_IN_ORDER: Final = 12
MOST_TROUBLES: Final = 5
MOST_OF_TASK: Final = 300
MOST_FUNCTIONS: Final = 40
"""Functions of one category that are shown with their signatures; `api-reference.md` has all."""
RECORD: Final = "python -m dytopo_autotrace your_swarm.py"


To = Callable[..., Markdown]
"""Makes a link to another document from a label, its name and a `#fragment`, or the label alone."""


@dataclass(frozen=True, slots=True)
class Group:
    """The components of a category."""

    category: Category
    sentence: str
    components: tuple[Component, ...]
    functions: tuple[Function, ...]
    says: tuple[tuple[str, dict[str, str]], ...]

    @property
    def has_tokens(self) -> bool:
        return any(each.figures and each.figures.tokens for each in self.components)


def system_overview(
    swarm: Swarm, sources: str, others: Container[str] = frozenset(common.PATHS.values())
) -> str:
    """The page.

    Args:
        sources: leads from it to the root of the sources.
        others: the documents that there are beside it, by their paths below the directory of all.
    """

    def to(label: str, name: str, fragment: str = "") -> Markdown:
        path = common.PATHS[name]
        shown = Markdown(label)
        return link(shown, f"{UP}{path}{fragment}") if path in others else shown

    told = _told(swarm.runs)
    shown = told.rounds if told else ()
    return common.page(
        "system-overview.md.jinja",
        swarm,
        sources,
        see_also=_see_also(swarm, others, to),
        story=_story(swarm, told, to),
        rules_page=to("the page on rules", "observability", "#rules"),
        programs=list(
            dict.fromkeys(" ".join(run.summary.argv) for run in swarm.runs if run.summary.argv)
        ),
        report=common.report,
        groups=tuple(_groups(swarm)),
        failed=_failed,
        named=lambda each: _named(each, sources),
        elsewhere=lambda group: tuple(_elsewhere(group, sources)),
        told=told,
        goal=next((r.goal for r in shown if told and r.number == told.told_round), ""),
        sequence=mermaid.sequence(told.steps, _orchestrator(swarm)) if told else None,
        record=RECORD,
        rounds=shown[:MOST_ROUNDS],
        topology_intro=_topology_intro(told, shown),
        topology=mermaid.topology,
        drawn=_drawn,
        asked=_asked,
        has_routing=common.has_routing(swarm),
        cut=lambda each: sum(edge.cut for edge in each.edges or ()),
        routers=_routers(swarm, told),
        rule_file=source_link(Place(swarm.rule_file, 1), sources, swarm.rule_file),
        settings=tuple(_settings(swarm)),
        keys=Markdown(key_table()),
        points=tuple(_points(swarm, sources, to)),
    )


def _see_also(swarm: Swarm, others: Container[str], to: To) -> str:
    """Where the other documents are, those that there are."""
    pages = (
        (f"what {'goes' if swarm.runs else 'can go'} wrong", "troubleshooting"),
        ("how it is observed", "observability"),
        ("all functions", "api"),
    )
    shown = [to(label, name) for label, name in pages if common.PATHS[name] in others]
    text = f"See also {listing(shown)}." if shown else ""
    if common.PATHS["canvas"] in others:
        text += (
            f" A drawing of the whole is in {to('overview-obsidian.canvas', 'canvas')}, for Obsidian "
            "and other readers of JSON Canvas."
        )
    return Markdown(text.strip())


def _told(runs: Sequence[Run]) -> Run | None:
    """The run whose rounds are shown: the latest that had rounds and no dead agent."""
    with_rounds = [run for run in runs if run.steps]
    whole = [run for run in with_rounds if not run.summary.failures]
    return next(iter((*whole, *with_rounds)), None)


def _story(swarm: Swarm, told: Run | None, to: To) -> tuple[Markdown, ...]:
    """What the swarm is and how a run goes, from what was observed: a paragraph each."""
    found = (
        " ".join(_who(swarm)),
        " ".join(_course(swarm, told)),
        _task(swarm),
        _wrong(swarm, to),
    )
    return tuple(Markdown(each) for each in found if each)


def _who(swarm: Swarm) -> Iterator[str]:
    agents = [each.title for each in swarm.components if each.role == "worker" and each.agent]
    if agents:
        verb = "work" if len(agents) > 1 else "works"
        names = listing([code(name) for name in agents], 10)
        yield f"{count(len(agents), 'worker')} ({names}) {verb} for {prose(swarm.service)}."
    managers = [each for each in swarm.components if each.role == "manager" and each.figures]
    orchestrators = [
        each for each in swarm.components if each.role == "orchestrator" and each.figures
    ]
    has_rounds = any(run.rounds for run in swarm.runs)
    if orchestrators and managers:
        yield (
            f"{code(orchestrators[0].operation)} runs the rounds; in each, "
            f"{code(managers[0].title)} sets a goal or ends the run."
        )
    elif orchestrators:
        what = "the rounds; no manager was recorded" if has_rounds else "them"
        yield f"{code(orchestrators[0].operation)} runs {what}."
    tools = [
        code(each.operation) for each in swarm.components if each.role == "tool" and each.figures
    ]
    if tools:
        yield f"{count(len(tools), 'tool')} {'was' if len(tools) == 1 else 'were'} called: {listing(tools, 8)}."
    for each in swarm.components:
        if each.role == "llm" and each.figures:
            calls, p50 = each.figures.calls, seconds(each.figures.p50_seconds)
            yield f"The model was called {count(calls, 'time')}, p50 {p50}."
            break


def _course(swarm: Swarm, told: Run | None) -> Iterator[str]:
    numbers = sorted({run.summary.rounds for run in swarm.runs if run.summary.rounds})
    if numbers:
        many = str(numbers[0]) if len(numbers) == 1 else f"{numbers[0]} to {numbers[-1]}"
        yield f"A run has {many} round{'' if many == '1' else 's'}."
    order = _order(told) if told else ()
    if order:
        named = prose(told.told_round if told else "")
        yield f"In round {named} of run {code(told.name if told else '')}, {order}."
    routed = [each for run in swarm.runs for each in run.rounds if each.is_routed]
    silent = [
        each for run in swarm.runs for each in run.rounds if not each.is_routed and each.agents
    ]
    if routed:
        edges = [sum(not edge.cut for edge in each.edges or ()) for each in routed]
        low, high = min(edges), max(edges)
        many = str(low) if low == high else f"{low} to {high}"
        rest = (
            f", none in {count(len(silent), 'round')} in which no router was recorded"
            if silent
            else ""
        )
        yield f"A router decides who reads whom: {many} edges in a round{rest}."
    outcomes = list(dict.fromkeys(run.summary.outcome for run in swarm.runs if run.summary.outcome))
    if outcomes:
        yield f"The documented runs ended by {prose(listing(outcomes, 6))}."


def _order(told: Run) -> str:
    """The agents in the order in which they were asked, those that were asked at once together."""
    groups: list[str] = []
    for step in told.steps:
        names = list(dict.fromkeys(call.actor for call in step.calls if call.role == "worker"))
        said = listing([code(name) for name in names], 6)
        if said and (not groups or groups[-1] != said):
            groups.append(said)
    if not groups:
        return ""
    more = f", and {count(len(groups) - MOST_IN_ORDER, 'more step')}" * (
        len(groups) > MOST_IN_ORDER
    )
    return f"the order was {'; then '.join(groups[:MOST_IN_ORDER])}{more}"


def _task(swarm: Swarm) -> str:
    """What a run is for: the task where it may be told, else the function that the work begins with."""
    tasks = list(dict.fromkeys(run.summary.task for run in swarm.runs if run.summary.task))
    if tasks:
        more = f" (and {len(tasks) - 1} more)" if len(tasks) > 1 else ""
        return f"The task: “{prose(clip(tasks[0], MOST_OF_TASK))}”{more}"
    for each in swarm.components:
        if each.role == "orchestrator":
            doc = next((function.doc for function in each.functions if function.doc), "")
            said = common.first_sentence(doc)
            return (
                f"What a run is for, in the words of {code(each.operation)}: “{said}”"
                if said
                else ""
            )
    return ""


def _wrong(swarm: Swarm, to: To) -> str:
    """What goes wrong, the gravest first, with links to what is said of it."""
    if not swarm.runs:
        return ""
    if not swarm.troubles:
        return f"What goes wrong: nothing failed in {count(len(swarm.runs), 'recorded run')}."
    shown = [
        f"{to(prose(each.title), 'troubleshooting', f'#{common.failure_anchor(each)}')}"
        f" ({each.count} in {len(each.runs)} of {count(each.of_runs, 'run')})"
        for each in swarm.troubles[:MOST_TROUBLES]
    ]
    more = len(swarm.troubles) - MOST_TROUBLES
    return f"What goes wrong: {'; '.join(shown)}{f'; and {more} more' if more > 0 else ''}."


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


def _named(component: Component, sources: str) -> Markdown:
    """Its name, which leads to its source where that is one function."""
    if len(component.functions) != 1:
        return code(component.title)
    return source_link(component.functions[0].place, sources, component.title)


def _elsewhere(group: Group, sources: str) -> Iterator[Markdown]:
    """What the names in a table do not lead to: one of several functions, or none that was read."""
    several: dict[tuple[Function, ...], list[Component]] = {}
    nowhere = []
    for part in group.components:
        if not part.functions:
            nowhere.append(code(part.title))
        elif len(part.functions) > 1:
            several.setdefault(part.functions, []).append(part)
    for functions, parts in several.items():
        shown = [source_link(each.place, sources, each.qualname) for each in functions]
        names = listing([code(part.title) for part in parts], 10)
        yield Markdown(
            f"Behind {'each of ' if len(parts) > 1 else ''}{names} is one or more of "
            f"{listing(shown, 8)}: no span says which."
        )
    if nowhere:
        verb = "is" if len(nowhere) == 1 else "are"
        yield Markdown(f"{listing(nowhere, 10)} {verb} not in the sources that were read.")


def _orchestrator(swarm: Swarm) -> str:
    found = [each.operation for each in swarm.components if each.role == "orchestrator"]
    return found[0] if found else "orchestrator"


def _topology_intro(told: Run | None, shown: Sequence[Round]) -> str:
    if told is None:
        return ""
    more = len(shown) - MOST_ROUNDS
    cut = f" The first {MOST_ROUNDS} of {len(shown)} rounds." if more > 0 else ""
    routed = any(each.is_routed for each in shown)
    read = any(each.edges and not each.is_routed for each in shown)
    sources = []
    if routed:
        sources.append("as the router captured it, with the similarity that made the edge")
    if read:
        sources.append(
            f"{'where no router did, ' if routed else ''}as the calls captured whom they read"
        )
    if not sources:
        return f"Of run {told.name}.{cut}"
    return (
        f"Of run {told.name}: an arrow leads from the agent that is read to the one that reads, "
        f"{'; '.join(sources)}.{cut}"
    )


def _drawn(diagram: mermaid.Drawn) -> Markdown:
    """A diagram as a block, with what it leaves out below."""
    left = f"\n\nAnd {diagram.left_out}, too many to draw." if diagram.left_out else ""
    return Markdown(f"{block(diagram.text, 'mermaid')}{left}")


def _asked(told: Round) -> Markdown:
    number = len(told.agents)
    return Markdown(
        f"{count(number, 'agent')} {'was' if number == 1 else 'were'} asked "
        f"({common.codes(told.agents)})"
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


def _points(swarm: Swarm, sources: str, to: To) -> Iterator[Markdown]:
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
        f"Hand runs to other tools: {to('export formats', 'observability', '#export-formats')}."
    )
