"""`operations/troubleshooting.md`: what went wrong, how to see it, and what to do about it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from dytopo_autotrace.analyze.wording import count, death, in_rounds, listing, seconds
from dytopo_autotrace.documentation import troubles
from dytopo_autotrace.documentation.markdown import Markdown
from dytopo_autotrace.documentation.model import Run, Swarm, Trouble
from dytopo_autotrace.documentation.pages import common

GOOD_SCORE: Final = 70
GOOD_PARALLELIZATION: Final = 2.0
SMALL_SHARE: Final = 0.01
LONG_SECONDS: Final = 10.0

TARGETS: Final = (
    ("Score", f"above {GOOD_SCORE} of 100"),
    ("Calls at a time, on average", f"{GOOD_PARALLELIZATION:.1f} or more"),
    (f"Calls over {LONG_SECONDS:.0f} s in themselves", "none"),
    ("Agents slower than their peers", "none"),
    ("Dead agents", "none"),
    ("Failures not made good", "none"),
    ("Rounds that isolated every agent", "none"),
    ("Largest share of own time", "the model's"),
    ("Watching, of wall time", f"under {SMALL_SHARE:.0%}"),
    ("Records lost", "none"),
)


@dataclass(frozen=True, slots=True)
class Issue:
    """A trouble that every swarm can have."""

    title: str
    symptom: str
    here: str
    remedies: tuple[Markdown, ...]
    commands: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Item:
    """A line of the checklist: `mark` says whether the target is met."""

    title: str
    target: str
    here: str
    mark: str


def troubleshooting(swarm: Swarm, sources: str) -> str:
    """The page; `sources` leads from it to the root of the sources."""
    newest = swarm.runs[0] if swarm.runs else None
    return common.page(
        "troubleshooting.md.jinja",
        swarm,
        sources,
        report=common.report,
        show=common.show,
        export=common.export,
        agents=lambda each: [name for name, _ in each.group.agents],
        fate=lambda each: each.group.first.fate,
        death=death,
        when=_when,
        percent=lambda share: f"{share:.0%}",
        slow=troubles.bottlenecks(swarm.runs),
        newest=newest,
        recovered=troubles.recovered(swarm.runs),
        issues=tuple(_issues(swarm, newest)),
        checklist=tuple(_checklist(newest)) if newest else (),
        targets=TARGETS,
    )


def _when(each: Trouble) -> str:
    group = each.group
    rounds = in_rounds(group.rounds)
    return f",{rounds}, first after {seconds(group.first.at_seconds)}" if rounds else ""


def _issues(swarm: Swarm, newest: Run | None) -> Iterator[Issue]:
    report = common.report(newest) if newest else ("dytopo-autotrace report",)
    spans = common.show(newest) if newest else ("dytopo-autotrace show --spans 40",)
    runs = common.runs(newest) if newest else ("dytopo-autotrace runs",)
    died = next((run for run in swarm.runs if run.summary.dead_agents), newest)
    silent = (*common.report(died), common.show(died)[-1]) if died else (*report, *spans)
    graph = (
        (common.export(newest, "mermaid"),)
        if newest
        else ("dytopo-autotrace export --format mermaid --output -",)
    )
    yield Issue(
        "The swarm is too slow",
        "A run takes long, although no single answer of the model does.",
        _slow_here(newest),
        (
            Markdown(
                "Read *where time went*: own time is what a call spent in itself, not in what it called."
            ),
            Markdown(
                "Calls that ran one after another and do not need each other: start them together (`asyncio.gather`)."
            ),
            Markdown(
                "One agent the others wait for: a faster model, less context, or its work split."
            ),
            Markdown(
                "Calls of the model that wait for a free slot: raise the client's concurrency."
            ),
        ),
        report,
    )
    yield Issue(
        "An agent is silent",
        "An agent contributes nothing, and the program reports success all the same.",
        _silent_here(swarm),
        (
            Markdown("Look for the agent under *who did what*: calls without tokens are stubs."),
            Markdown(
                "Follow its failure to the origin above; what it raised may have been swallowed on the way."
            ),
            Markdown(
                "Make the failure visible: `failed_if` in the rule of the worker, for results that are stubs."
            ),
        ),
        silent,
    )
    yield Issue(
        "Routing isolates everyone",
        "Agents repeat what others have done; the graph of a round has no edges.",
        _isolated_here(swarm),
        (
            Markdown(
                "Lower tau: fewer than one edge for an agent means that no offer comes close enough to a need."
            ),
            Markdown(
                "Look at the queries and keys: a failed agent's error text is embedded as its key like any other."
            ),
            Markdown(
                "See that the embedding fits the language of the task; hashed n-grams know words, not meaning."
            ),
        ),
        graph,
    )
    yield Issue(
        "It does not converge",
        "Runs end by the limit of rounds.",
        _converged_here(swarm),
        (
            Markdown(
                "Compare the goals of the last rounds: a manager that repeats a goal has nothing new to go by."
            ),
            Markdown("Look for an agent that fails in every round; the others wait for its work."),
            Markdown(
                "Lower the similarity that counts as converged, or raise the limit of rounds."
            ),
        ),
        (*report, *runs),
    )
    yield Issue(
        "Spans are missing",
        "A function that ran does not appear.",
        _missing_here(newest),
        (
            Markdown(
                "The report's last part lists every rule with what became of it: *nothing matched*, *never imported*, *never called* or *refused*."
            ),
            Markdown(
                "`--strict` refuses to start with a rule that names nothing, and says the nearest valid name."
            ),
            Markdown("An earlier rule may take the function: the first that matches wins."),
            Markdown("Records that were dropped are counted; `show` says why."),
        ),
        (*report, *spans[-1:]),
    )


def _slow_here(newest: Run | None) -> str:
    if newest is None:
        return "no run is recorded."
    found = newest.summary
    text = (
        f"run {newest.name} took {seconds(found.wall_seconds)}; "
        f"{found.parallelization_factor:.2f} calls ran at a time"
    )
    if found.operations:
        top = found.operations[0]
        who = f" of {top.agent}" if top.agent else ""
        text += f", and {top.share:.0%} of own time is {top.operation}{who}"
    return f"{text}."


def _silent_here(swarm: Swarm) -> str:
    dead = [(each, run) for run in swarm.runs for each in run.summary.dead_agents]
    if dead:
        return "; ".join(f"in run {run.name}, {death(each)}" for each, run in dead[:6]) + "."
    return "no agent was dead." if swarm.runs else "no run is recorded."


def _isolated_here(swarm: Swarm) -> str:
    rows = swarm.routing.rows
    if not rows:
        return "no routing was recorded."
    empty = [row for row in rows if row[2] == 0]
    alone = sum(row[4] for row in rows)
    thresholds = listing(swarm.routing.tau, 4)
    at = f" at tau {thresholds}" if thresholds else ""
    return (
        f"{len(empty)} of {count(len(rows), 'routing')} had no edge{at}; "
        f"{count(alone, 'agent')} in all {'was' if alone == 1 else 'were'} isolated."
    )


def _converged_here(swarm: Swarm) -> str:
    said = [
        f"{run.name} by {run.summary.outcome} after {count(run.summary.rounds, 'round')}"
        for run in swarm.runs
        if run.summary.outcome
    ]
    if said:
        return f"runs ended: {listing(said, 6)}."
    return "no run said how it ended." if swarm.runs else "no run is recorded."


def _missing_here(newest: Run | None) -> str:
    if newest is None:
        return "no run is recorded."
    found = newest.summary
    lost = sum(number for _, number in found.drops)
    silent = [
        rule.name for rule in found.rules if rule.state in ("nothing_matched", "refused", "failed")
    ]
    own = [
        rule.name
        for rule in found.rules
        if not rule.origin.startswith("pack") and rule.state != "woven"
    ]
    text = f"in run {newest.name}, {count(lost, 'record')} lost"
    if silent:
        text += f"; nothing was woven for {listing(sorted(set(silent)), 8)}"
    if own:
        text += f"; of the rule file's own, {listing(own, 5)} did nothing"
    return f"{text}."


def _checklist(run: Run) -> Iterator[Item]:
    found = run.summary
    titles = iter(TARGETS)

    def item(here: str, *, good: bool | None) -> Item:
        title, target = next(titles)
        mark = "not known" if good is None else "met" if good else "**missed**"
        return Item(title, target, here, Markdown(mark))

    yield item(f"{found.score:.0f}", good=found.score > GOOD_SCORE)
    factor = found.parallelization_factor
    yield item(f"{factor:.2f}", good=factor >= GOOD_PARALLELIZATION)
    poles = len(found.long_poles)
    yield item(str(poles), good=not poles)
    slow = [f"{each.agent} ({each.ratio:.1f}x)" for each in found.slow_agents]
    yield item(listing(slow) or "none", good=not slow)
    dead = [each.agent for each in found.dead_agents if each.calls > 1]
    yield item(listing(dead) or "none", good=not dead)
    left = sum(group.count for group in found.failures if not group.first.rescued)
    yield item(str(left), good=not left)
    routed = [each for each in run.rounds if each.edges is not None]
    empty = sum(not each.edges for each in routed)
    yield item(f"{empty} of {len(routed)}", good=not empty if routed else None)
    top = found.operations[0] if found.operations else None
    whose = f"{top.share:.0%}, {top.operation}" if top else "-"
    yield item(whose, good=None if top is None else top.role in ("llm", "attempt", "io"))
    share = found.cost.share if found.cost else None
    yield item(
        "not measured" if share is None else f"{share:.3%}",
        good=None if share is None else share < SMALL_SHARE,
    )
    lost = sum(number for _, number in found.drops)
    yield item(str(lost), good=not lost)
