"""`operations/troubleshooting.md`: what went wrong, how to see it, and what to do about it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from dytopo_autotrace.analyze.wording import count, death, in_rounds, listing, seconds
from dytopo_autotrace.documentation import troubles
from dytopo_autotrace.documentation.markdown import Markdown, code, prose
from dytopo_autotrace.documentation.model import Run, Swarm, Trouble
from dytopo_autotrace.documentation.pages import common

GOOD_SCORE: Final = 70
GOOD_PARALLELIZATION: Final = 2.0
SMALL_SHARE: Final = 0.01
LONG_SECONDS: Final = 10.0

ISOLATION: Final = "Rounds that isolated every agent"
OF_AGENTS: Final = ("Agents slower than their peers", "Dead agents")
TARGETS: Final = (
    ("Score", f"above {GOOD_SCORE} of 100"),
    ("Calls at a time, on average", f"{GOOD_PARALLELIZATION:.1f} or more"),
    (f"Calls over {LONG_SECONDS:.0f} s in themselves", "none"),
    *((title, "none") for title in OF_AGENTS),
    ("Failures not made good", "none"),
    (ISOLATION, "none"),
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
    here: Markdown
    mark: Markdown


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
        fate=lambda each: each.group.first.fate,
        anchor=common.failure_anchor,
        said=_said,
        when=_when,
        percent=lambda share: f"{share:.0%}",
        slow=troubles.bottlenecks(swarm.runs),
        newest=newest,
        recovered=troubles.recovered(swarm.runs),
        issues=tuple(_issues(swarm, newest)),
        checklist=tuple(_checklist(swarm)) if newest else (),
        targets=TARGETS,
    )


def _when(each: Trouble) -> str:
    rounds = in_rounds(each.rounds)
    of_run = f" of run {each.told.name}" if len(each.runs) > 1 else ""
    first = seconds(each.group.first.at_seconds)
    return f",{rounds}, first after {first}{of_run}" if rounds else ""


def _said(words: tuple[str, str]) -> Markdown:
    """What is said of a failure, with the run that it is true of unless it is of all."""
    text, run = words
    return Markdown(f"in run {code(run)}: {prose(text)}") if run else prose(text)


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
    if common.has_routing(swarm):
        yield _isolation(swarm, graph)
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


def _isolation(swarm: Swarm, graph: tuple[str, ...]) -> Issue:
    return Issue(
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


Measured = tuple[str, bool | None, float]
"""A value in words, whether it is good (None if that is not known), and how bad it is."""


def _checklist(swarm: Swarm) -> Iterator[Item]:
    """Each line as the run has it in which it is worst."""
    runs = swarm.runs
    columns = zip(*(tuple(_measured(run)) for run in runs), strict=True)
    for (title, target), column in zip(TARGETS, columns, strict=True):
        if title == ISOLATION and not common.has_routing(swarm):
            continue
        worst = max(range(len(runs)), key=lambda i: (_gravity(column[i][1]), column[i][2]))
        here, good, _ = column[worst]
        text = prose(here)
        if any(each != column[worst] for each in column):
            told = [worst]
            if title in OF_AGENTS:  # each of them is somebody else's
                told = [i for i in range(len(runs)) if column[i][1] is False] or told
            text = Markdown(
                listing([f"{prose(column[i][0])} ({code(runs[i].name)})" for i in told], 4)
            )
        mark = "not known" if good is None else "met" if good else "**missed**"
        yield Item(title, target, text, Markdown(mark))


def _gravity(good: bool | None) -> int:
    return 0 if good is None else 1 if good else 2


def _measured(run: Run) -> Iterator[Measured]:
    """The values of a run, in the order of the targets."""
    found = run.summary
    yield f"{found.score:.0f}", found.score > GOOD_SCORE, -found.score
    factor = found.parallelization_factor
    yield f"{factor:.2f}", factor >= GOOD_PARALLELIZATION, -factor
    poles = len(found.long_poles)
    yield str(poles), not poles, poles
    slow = [f"{each.agent} ({each.ratio:.1f}x)" for each in found.slow_agents]
    yield listing(slow) or "none", not slow, len(slow)
    dead = [each.agent for each in found.dead_agents if each.calls > 1]
    yield listing(dead) or "none", not dead, len(dead)
    left = sum(group.count for group in found.failures if not group.first.rescued)
    yield str(left), not left, left
    routed = [each for each in run.rounds if each.is_routed]
    empty = sum(not each.edges for each in routed)
    yield f"{empty} of {len(routed)}", (not empty if routed else None), empty
    yield _largest(run)
    share = found.cost.share if found.cost else None
    yield (
        "not measured" if share is None else f"{share:.3%}",
        None if share is None else share < SMALL_SHARE,
        share or 0.0,
    )
    lost = sum(number for _, number in found.drops)
    yield str(lost), not lost, lost


def _largest(run: Run) -> Measured:
    """Whose the largest share of own time is; whether it is the model's only where one is watched."""
    rows = run.summary.operations
    if not rows:
        return "-", None, 0.0
    top = rows[0]
    is_watched = any(row.role == "llm" for row in run.summary.agents)
    good = top.role in ("llm", "attempt", "io") if is_watched else None
    return f"{top.share:.0%}, {top.operation}", good, top.share
