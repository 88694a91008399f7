"""What would help, and by how much: the run replayed with one thing changed at a time."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from dytopo_autotrace.analyze.critical_path import CriticalPath
from dytopo_autotrace.analyze.dependencies import Dependencies, dependencies
from dytopo_autotrace.analyze.off_loop import off_the_loop
from dytopo_autotrace.analyze.ownership import Owners
from dytopo_autotrace.analyze.propagation import is_failed
from dytopo_autotrace.analyze.replay import Change, Replays, replay
from dytopo_autotrace.analyze.siblings import Siblings
from dytopo_autotrace.analyze.timing import WAIT_ROLE
from dytopo_autotrace.analyze.tree import Tree
from dytopo_autotrace.collect.span import Span

Sureness = Literal["high", "medium", "low"]
MOST_DEPENDENCIES: Final = 150_000
"""Beyond so many dependencies no replay is made: it would take longer than anybody waits."""
FASTER: Final = 0.5
"""What own time is multiplied with when something is twice as fast."""
WORTH_TRYING: Final = 0.03
"""Share of the critical path below which making something faster is not tried."""
FITS: Final = 0.1
"""How far the replay without a change may be off, as a share, before nothing is said of slots."""
WORTH_TELLING: Final = 0.01
"""Share of the wall time below which a saving is not told."""
REPEATED: Final = 5
"""Calls of one operation from which on a cache is tried."""
_UNCACHED_ROLES: Final = frozenset(
    {"orchestrator", "manager", "worker", "llm", "attempt", WAIT_ROLE}
)
_UNKNOWN: Final = frozenset({"side_by_side", "off_loop", "cached"})
"""Kinds of changes of which the records do not say whether the program would allow them."""
_ENDED: Final = ("success", "error")
_SURENESS: Final[tuple[Sureness, ...]] = ("low", "medium", "high")
_TRIED: Final = 5
_EVIDENCE: Final = 3

Kind = Literal[
    "faster_operation",
    "faster_agent",
    "slots",
    "side_by_side",
    "no_retries",
    "off_loop",
    "cached",
]


@dataclass(frozen=True, slots=True)
class Prediction:
    """One change, and the wall time that the replay gives with it."""

    kind: Kind
    subject: str
    """The operation, agent, resource or retried operation that is changed."""
    text: str
    seconds: float
    """Predicted wall time."""
    saved_seconds: float
    saved_share: float
    sureness: Sureness
    """`high` if the replay without a change is within 2 % of what was measured, `medium` within 10 %.

    No more than `medium` where calls waited for what is no slot, `low` if nothing tells for what.
    """
    evidence: tuple[str, ...]
    """Ids of the spans that take the most of what is saved."""


@dataclass(frozen=True, slots=True)
class WhatIf:
    """All that was tried, the largest saving first."""

    wall_seconds: float
    """As measured, from the first call to the last."""
    replayed_seconds: float
    """The same by replay, without a change: the difference is how well the replay fits."""
    least_seconds: float
    """With slots for everybody: what the order of the calls itself allows."""
    predictions: tuple[Prediction, ...]
    cached: tuple[Prediction, ...] = ()
    """What caches would save if inputs repeat, which the records do not say; the largest first."""
    remarks: tuple[str, ...] = ()


def what_if(graph: Dependencies, path: CriticalPath, owned: Owners) -> WhatIf:
    """Try the changes that the critical path suggests."""
    wall = graph.wall_ns
    if not graph.tree.spans or not wall:
        return WhatIf(wall / 1e9, wall / 1e9, wall / 1e9, ())
    if graph.size > MOST_DEPENDENCIES:
        remark = (
            f"No what-if: {graph.size:,} dependencies between calls are more than "
            f"{MOST_DEPENDENCIES:,}."
        )
        return WhatIf(wall / 1e9, wall / 1e9, wall / 1e9, (), (), (remark,))
    replays = Replays(graph)
    base = replays.run()
    if base is None:
        remark = "No what-if: by the records, calls waited for each other and none could go on."
        return WhatIf(wall / 1e9, wall / 1e9, wall / 1e9, (), (), (remark,))
    fits = abs(base - wall) <= FITS * wall
    unlimited = Change(capacity=dict.fromkeys(graph.resources, len(graph.tree.spans)))
    least = replays.run(unlimited) if fits and _contended(graph) else base
    sureness = _sureness(graph, base)
    tried = list(_tried(graph, replays, path, owned, fits))
    cached = list(_cached(graph, replays))
    stuck = sum(each.replayed is None for each in (*tried, *cached))
    halted = (
        f"Left out of what would help: {stuck} of {len(tried) + len(cached)} changes, with which "
        "the replay came to a halt."
    )
    remarks = (halted,) if stuck else ()
    return WhatIf(
        wall / 1e9,
        base / 1e9,
        ((base if least is None else least) + wall - base) / 1e9,
        _worth_telling(tried, wall, base, sureness),
        _worth_telling(cached, wall, base, sureness),
        remarks,
    )


@dataclass(frozen=True, slots=True)
class _Try:
    kind: Kind
    subject: str
    text: str
    replayed: int | None
    evidence: tuple[str, ...]
    removed: int | None = None
    """The own time that the change takes away, in nanoseconds: no more can be saved."""


def _worth_telling(
    tried: Iterable[_Try], wall: int, base: int, sureness: Sureness
) -> tuple[Prediction, ...]:
    found = []
    for each in tried:
        if each.replayed is None:
            continue
        saved = max(base - each.replayed, 0)
        if each.removed is not None:
            saved = min(saved, each.removed)
        if saved < WORTH_TELLING * wall:
            continue
        found.append(
            Prediction(
                each.kind,
                each.subject,
                each.text,
                (wall - saved) / 1e9,
                saved / 1e9,
                saved / wall,
                "low" if each.kind in _UNKNOWN else sureness,
                each.evidence,
            )
        )
    found.sort(key=lambda each: (-each.saved_seconds, each.kind, each.subject))
    return tuple(found)


def _sureness(graph: Dependencies, base: int) -> Sureness:
    wall = graph.wall_ns
    off = abs(base - wall) / wall
    fit = 2 if off <= 0.02 else 1 if off <= FITS else 0
    long = [
        wait
        for wait in graph.plain_waits
        if graph.at[2 * wait + 1] - graph.at[2 * wait] >= WORTH_TELLING * wall
    ]
    known = 0 if any(wait not in graph.ended_by for wait in long) else 1 if long else 2
    return _SURENESS[min(fit, known)]


def _tried(
    graph: Dependencies, replays: Replays, path: CriticalPath, owned: Owners, fits: bool
) -> Iterator[_Try]:
    yield from _faster(graph, replays, path, owned)
    if fits:
        yield from _slots(graph, replays)
    yield from _no_retries(graph, replays, owned)
    yield from _side_by_side(graph, owned)
    for each in off_the_loop(graph):
        text = f"{each.operation} off the event loop, at best"
        yield _Try("off_loop", each.operation, text, replay(each.graph), each.evidence)


def faster(graph: Dependencies, spans: Iterable[int], factor: float = FASTER) -> Change:
    """The own time of these calls multiplied; waits take as long as what they wait for.

    How long calls would have taken that never ended, or were cut off, nobody knows: they stay.
    """
    tree = graph.tree
    return Change(
        scale={
            call: factor
            for call in spans
            if tree.spans[call].role != WAIT_ROLE and tree.spans[call].status in _ENDED
        }
    )


def _faster(
    graph: Dependencies, replays: Replays, path: CriticalPath, owned: Owners
) -> Iterator[_Try]:
    by_agent: dict[str, list[int]] = {}
    by_operation: dict[str, list[int]] = {}
    for number, span in enumerate(graph.tree.spans):
        by_agent.setdefault(owned.agents[span.id], []).append(number)
        by_operation.setdefault(span.operation, []).append(number)
    own = _own_ns(graph)
    on_path: dict[str, float] = {}
    spans: dict[str, tuple[str, ...]] = {}
    for share in path.by_operation:
        on_path[share.operation] = on_path.get(share.operation, 0.0) + share.share
        spans.setdefault(share.operation, share.spans)
    operations: dict[frozenset[int], str] = {}
    for operation in sorted(on_path, key=lambda name: -on_path[name])[:_TRIED]:
        if operation and on_path[operation] >= WORTH_TRYING:
            change = faster(graph, by_operation[operation])
            operations[_most_of(change, own)] = operation
    agents = [each for each in path.by_agent if each.agent and each.share >= WORTH_TRYING]
    for share in agents[:_TRIED]:
        change = faster(graph, by_agent[share.agent])
        text = f"agent {share.agent} twice as fast"
        same = operations.pop(_most_of(change, own), "")
        if same and same != share.agent:
            text += f", in calls of {same}"
        removed = _removed_ns(own, change)
        yield _Try("faster_agent", share.agent, text, replays.run(change), share.spans, removed)
    for operation in operations.values():
        change = faster(graph, by_operation[operation])
        text = f"calls of {operation} twice as fast"
        removed = _removed_ns(own, change)
        evidence = spans[operation]
        yield _Try("faster_operation", operation, text, replays.run(change), evidence, removed)


def _own_ns(graph: Dependencies) -> list[int]:
    """By call: the time of its own between the moments of the graph."""
    own = [0] * (len(graph.tree.spans) + 1)  # The last is of nobody who was watched.
    for owner, delay in zip(graph.owner, graph.delay, strict=True):
        own[owner] += delay
    return own


def _removed_ns(own: Sequence[int], change: Change) -> int:
    return math.ceil(sum(own[call] * (1 - factor) for call, factor in change.scale.items()))


def _most_of(change: Change, own: Sequence[int]) -> frozenset[int]:
    """The calls that hold 99 % of what a change scales: with the same ones it is the same change."""
    longest = sorted(change.scale, key=lambda call: (-own[call], call))
    left = 0.99 * sum(own[call] for call in longest)
    found = []
    for call in longest:
        if left <= 0:
            break
        left -= own[call]
        found.append(call)
    return frozenset(found)


def _contended(graph: Dependencies) -> bool:
    return any(resource.contended for resource in graph.resources.values())


def _slots(graph: Dependencies, replays: Replays) -> Iterator[_Try]:
    tree = graph.tree
    for name, resource in graph.resources.items():
        if not resource.contended:
            continue
        longest = sorted(resource.waits, key=lambda call: -tree.seconds(tree.spans[call]))
        evidence = tuple(tree.spans[call].span_id for call in longest[:_EVIDENCE])
        for slots in (resource.capacity + 1, resource.capacity * 2):
            if slots == resource.capacity * 2 == resource.capacity + 1 and resource.capacity > 1:
                continue
            text = f"{slots} slots of {name} instead of {resource.capacity}"
            change = Change(capacity={name: slots})
            yield _Try("slots", name, text, replays.run(change), evidence)
            if resource.capacity == 1:
                break


def _no_retries(graph: Dependencies, replays: Replays, owned: Owners) -> Iterator[_Try]:
    """The failed attempts of calls that were tried again, and the pauses after them."""
    left_out: dict[str, list[int]] = {}
    for number in failed_attempts(graph.tree, owned):
        left_out.setdefault(graph.tree.spans[number].operation, []).append(number)
    for operation, attempts in left_out.items():
        below = subtrees(graph.tree, attempts)
        spans = [graph.tree.spans[number] for number in attempts]
        spans.sort(key=lambda span: -graph.tree.seconds(span))
        text = f"no failed tries of {operation} ({len(attempts)})"
        evidence = tuple(span.span_id for span in spans[:_EVIDENCE])
        change = Change(left_out=below, pauses=frozenset(attempts))
        yield _Try("no_retries", operation, text, replays.run(change), evidence)


def failed_attempts(tree: Tree, owned: Owners) -> list[int]:
    """Failed calls after which their caller surely asked the same of the same model again."""
    siblings = Siblings(tree, owned)
    return [
        number
        for number, span in enumerate(tree.spans)
        if is_failed(span)
        and tree.parent_of(span) is not None
        and (attempt := siblings.next_attempt(span)) is not None
        and attempt.sure
        and not attempt.other_model
    ]


def subtrees(tree: Tree, calls: Iterable[int]) -> frozenset[int]:
    """Calls and all that was called below them, as indices."""
    found: set[int] = set()
    for call in calls:
        found.add(call)
        depth = tree.depths[tree.spans[call].id]
        below = call + 1
        while below < len(tree.spans) and tree.depths[tree.spans[below].id] > depth:
            found.add(below)
            below += 1
    return frozenset(found)


def _cached(graph: Dependencies, replays: Replays) -> Iterator[_Try]:
    """Operations repeated often, without all their calls but the first.

    Not calls of agents and models, nor what lies below a model call: their answers are new each time.
    """
    own = _own_ns(graph)
    groups: dict[str, list[int]] = {}
    of_models: set[int] = set()
    for number, span in enumerate(graph.tree.spans):
        if span.role == "llm" or span.parent in of_models:
            of_models.add(span.id)
        elif span.role not in _UNCACHED_ROLES and span.status == "success" and not is_failed(span):
            groups.setdefault(span.operation, []).append(number)
    repeated = {name: calls for name, calls in groups.items() if len(calls) >= REPEATED}
    ordered = sorted(repeated, key=lambda name: -sum(own[call] for call in repeated[name]))
    for operation in ordered[:_TRIED]:
        calls = sorted(repeated[operation], key=lambda call: graph.at[2 * call])
        again = calls[1:]
        if sum(own[call] for call in again) < WORTH_TRYING * graph.wall_ns:
            continue
        longest = sorted(again, key=lambda call: graph.at[2 * call] - graph.at[2 * call + 1])
        yield _Try(
            "cached",
            operation,
            f"{len(again)} of {len(calls)} calls of {operation} answered from a cache",
            replays.run(Change(left_out=subtrees(graph.tree, again))),
            tuple(graph.tree.spans[call].span_id for call in longest[:_EVIDENCE]),
        )


def _side_by_side(graph: Dependencies, owned: Owners) -> Iterator[_Try]:
    tree = graph.tree
    for operation, groups in queues(tree, owned).items():
        together = {span.id: number for number, group in enumerate(groups) for span in group}
        changed = dependencies(tree, together)
        calls = [span for group in groups for span in group]
        calls.sort(key=lambda span: -tree.seconds(span))
        agents = dict.fromkeys(filter(None, (owned.agents[span.id] for span in calls)))
        who = f" ({', '.join(list(agents)[:4])})" if agents else ""
        yield _Try(
            "side_by_side",
            operation,
            f"calls of {operation} side by side{who}",
            replay(changed),
            tuple(span.span_id for span in calls[:_EVIDENCE]),
        )


def queues(tree: Tree, owned: Owners) -> Mapping[str, Sequence[Sequence[Span]]]:
    """Operations of which several agents' calls ran one right after another, never side by side.

    Not where one read the other's output, nor where anything else ran between two of them.
    """
    found: dict[str, list[list[Span]]] = {}
    refused: set[str] = set()
    for parent in tree.spans:
        run: list[Span] = []
        for child in (*tree.children_of(parent), None):
            follows = (
                child is not None
                and run
                and child.operation == run[-1].operation
                and owned.rounds[child.id] == owned.rounds[run[-1].id]
            )
            if child is not None and follows and child.start_ns < tree.end_ns(run[-1]):
                refused.add(child.operation)
            if follows and child is not None:
                run.append(child)
                continue
            # Calls of nobody known may be one agent's, whose calls follow from one another.
            agents = {owned.agents[span.id] for span in run}
            several = len(run) > 1 and len(agents) == len(run)
            ended = all(span.status in _ENDED for span in run)
            if several and ended and not _read_each_other(tree, run):
                found.setdefault(run[0].operation, []).append(run)
            run = [child] if child is not None else []
    kept = {name: groups for name, groups in found.items() if name not in refused}
    longest = sorted(
        kept, key=lambda name: -math.fsum(tree.seconds(s) for g in kept[name] for s in g)
    )
    return {name: kept[name] for name in longest[:_TRIED]}


def _read_each_other(tree: Tree, run: Sequence[Span]) -> bool:
    mine: set[int] = set()
    for span in run:
        below = [span]
        while below:
            at = below.pop()
            if mine & set(at.links):
                return True
            below.extend(tree.children_of(at))
        below = [span]
        while below:
            at = below.pop()
            mine.add(at.id)
            below.extend(tree.children_of(at))
    return False
