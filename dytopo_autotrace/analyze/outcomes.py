"""What failed, where it began, and what became of it, worked out from the tree.

One exception crossing five calls is one failure with one origin; three attempts of one call are one
failure with three attempts; a stub made of a caught exception is that failure's visible effect.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice, takewhile
from typing import Final

from dytopo_autotrace.analyze.aftermath import Step, steps
from dytopo_autotrace.analyze.asked import answer_of, model_of
from dytopo_autotrace.analyze.cancellation import TOGETHER_NS, Cancelled, cancelled, is_timeout
from dytopo_autotrace.analyze.dead_agents import dead_agents
from dytopo_autotrace.analyze.findings import Culprit, Failure, Fate, Kind, Outcomes
from dytopo_autotrace.analyze.holds import Hold, holds, stood_ns
from dytopo_autotrace.analyze.ownership import Owners, owners
from dytopo_autotrace.analyze.propagation import carriers, is_failed, is_soft
from dytopo_autotrace.analyze.tree import Tree, ancestors, build
from dytopo_autotrace.collect.span import Span

CROSSED_LISTED: Final = 32
_PATH_LISTED: Final = 10
NOT_RECORDED: Final = "(type not recorded)"


def outcomes(
    tree: Tree, owned: Owners | None = None, tokens: Mapping[int, float] | None = None
) -> Outcomes:
    """Every failure in the records by its origin, in order of time; dead agents; cancellations.

    `tokens` are those that calls spent, by the id of the span that counts.
    """
    owned = owned or owners(tree)
    cuts = cancelled(tree, owned)
    story = steps(tree, owned, carriers(tree), cuts.cut_off)
    routes = _Routes(tree, story)
    calls = _Calls(tree, owned, frozenset(s.operation for s in tree.spans if s.id in story))
    first_ns = tree.first_ns
    held = holds(tree)
    found = [
        _failure(tree, owned, cuts, routes, calls, origins, first_ns, tokens or {}, held)
        for origins in routes.attempts_by_origin()
    ]
    found = _merge_cut_off_together(found)
    found.sort(key=lambda each: (each.at_seconds, each.origin.span_id))
    failures = tuple(found)
    return Outcomes(failures, dead_agents(tree, owned, failures, cuts.stopped), cuts.others)


def recoveries(spans: Iterable[Span], now_ns: int | None = None) -> dict[int, str]:
    """Ids of failed spans whose failure was made good, and how: `retry` or `fallback`."""
    tree = build(spans, now_ns)
    owned = owners(tree)
    cuts = cancelled(tree, owned)
    story = steps(tree, owned, carriers(tree), cuts.cut_off)
    routes = _Routes(tree, story)
    made_good: dict[int, str] = {}
    for attempts in routes.attempts_by_origin():
        how = routes.exit(attempts[-1]).step.kind
        if how in ("retry", "fallback"):
            for origin in attempts:
                for span in routes.way(origin):
                    made_good[span.id] = how
    return made_good


@dataclass(frozen=True, slots=True)
class _Exit:
    """Where the way of a failure up the tree came to its end."""

    step: Step
    crossed: int
    surface: Span
    """The outermost span that raised it."""
    effect: Span | None
    """The first failed result it was turned into."""


class _Routes:
    """The steps followed from origin to end."""

    def __init__(self, tree: Tree, story: dict[int, Step]) -> None:
        self._tree = tree
        self._story = story
        self._exits: dict[int, _Exit] = {}
        self._fed: dict[int, list[Span]] = {}
        failed = [span for span in tree.spans if span.id in story]
        for span in failed:  # callers come first, so the rest of the way is known already
            step = story[span.id]
            if step.kind in ("carried", "effect") and step.other is not None:
                ahead = self._exits[step.other.id]
                self._fed.setdefault(step.other.id, []).append(span)
                effect = step.other if step.kind == "effect" else ahead.effect
                surface = ahead.surface if step.kind == "carried" else span
                self._exits[span.id] = _Exit(ahead.step, ahead.crossed + 1, surface, effect)
            else:
                self._exits[span.id] = _Exit(step, 0, span, None)
        self.origins = [span for span in failed if span.id not in self._fed]

    def exit(self, origin: Span) -> _Exit:
        return self._exits[origin.id]

    def way(self, origin: Span) -> Iterator[Span]:
        """The origin and the spans above it that its failure reached."""
        yield origin
        step = self._story[origin.id]
        while step.kind in ("carried", "effect") and step.other is not None:
            yield step.other
            step = self._story[step.other.id]

    def crossed(self, origin: Span) -> list[Span]:
        """Spans above the origin that passed it on, innermost first, the first few."""
        above = islice(self.way(origin), 1, None)
        return list(islice((span for span in above if not is_soft(span)), CROSSED_LISTED))

    def attempts_by_origin(self) -> list[list[Span]]:
        """Origins grouped into attempts of the same thing, in order, the last one last."""
        source: dict[int, Span] = {}
        for span in reversed(self._tree.spans):
            if span.id in self._story:
                fed = self._fed.get(span.id)
                last = max(fed, key=self._tree.end_ns) if fed else None
                source[span.id] = span if last is None else source[last.id]
        final: dict[int, Span] = {}
        groups: dict[int, list[Span]] = {}
        for origin in reversed(self.origins):
            step = self.exit(origin).step
            last = origin
            # A next attempt is a later sibling, so it and all below it have been met already.
            if step.kind == "again" and step.other is not None:
                following = source[step.other.id]
                last = final.get(following.id, following)
            final[origin.id] = last
            groups.setdefault(last.id, []).append(origin)
        return [sorted(group, key=self._tree.end_ns) for group in groups.values()]


def _failure(
    tree: Tree,
    owned: Owners,
    cuts: Cancelled,
    routes: _Routes,
    calls: _Calls,
    attempts: list[Span],
    first_ns: int,
    tokens: Mapping[int, float],
    held: Sequence[Hold],
) -> Failure:
    last = attempts[-1]
    way = routes.exit(last)
    running = cuts.timeouts.get(last.id) or cuts.cut_off.get(last.id) or ()
    culprits = tuple(owned.culprit(tree, span) for span in running)
    if not culprits and is_timeout(last):
        culprits = (owned.culprit(tree, last),)
    origin = running[0] if last.id in cuts.cut_off and running else last
    crossed = routes.crossed(last)
    above = way.crossed
    if origin is not last:
        lowest = tree.depths[last.id]
        lifted = list(takewhile(lambda s: tree.depths[s.id] >= lowest, ancestors(tree, origin)))
        crossed = (lifted + crossed)[:CROSSED_LISTED]
        above += len(lifted)
    taken = {step.span.id: step for each in attempts if (step := routes.exit(each).step)}
    tries = {span_id: step.span for span_id, step in taken.items()}
    fate, rescuer, handler = _fate(tree, last, way)
    by_another = way.step.other if way.step.kind == "end" else None
    first_end = min(tree.end_ns(each) for each in attempts)
    error = last.error
    done, succeeded = calls.counts[origin.operation, owned.agents[origin.id]]
    model = model_of(origin)
    rescuer_model = model_of(rescuer) if rescuer and rescuer.operation == origin.operation else ""
    asked_model, answered = calls.by_model.get((origin.operation, model), (0, 0))
    return Failure(
        kind=_kind(last, cuts),
        certain=last.id not in cuts.cut_off,
        error_type=_type_name(last),
        message=error.message if error else "",
        surface_type=_type_name(way.surface),
        frame=_frame(error.frames) if error else None,
        origin=owned.place(origin),
        path=_path(tree, running[0] if running else origin),
        passed_through=tuple(owned.place(span) for span in crossed),
        crossed=above,
        attempts=len(tries) + (fate == "retry"),
        fate=fate,
        assumed=any(not step.sure for step in taken.values()),
        rescuer=owned.place(rescuer) if rescuer else None,
        followed_by=owned.place(by_another) if by_another else None,
        rescued_after_seconds=(tree.end_ns(rescuer) - first_end) / 1e9 if rescuer else None,
        handled_by=owned.place(handler) if handler else None,
        handler_failed=handler is not None and is_failed(handler) and not is_soft(handler),
        effect=owned.place(way.effect) if way.effect else None,
        effect_message=way.effect.error.message if way.effect and way.effect.error else "",
        culprits=culprits,
        cut_off=owned.culprit(tree, last) if last.id in cuts.cut_off else None,
        agents=_agents(owned, running or (last,)),
        round=owned.rounds[origin.id],
        at_seconds=(first_end - first_ns) / 1e9,
        lost_seconds=(
            max(tree.end_ns(each) for each in attempts) - min(each.start_ns for each in attempts)
        )
        / 1e9,
        recovery_seconds=_recovery_ns(tries.values(), rescuer, held) / 1e9 if rescuer else None,
        recovery_tokens=_spent(tree, tries.values(), tokens) if rescuer and tokens else None,
        operation_calls=done,
        operation_successes=succeeded,
        model=model,
        rescuer_model=rescuer_model if fate == "fallback" else "",
        model_calls=asked_model,
        model_successes=answered,
        rule=origin.rule,
        returned=answer_of(last) if is_soft(last) else "",
        of_answer=origin.role == "llm" or origin.id in calls.answered,
        readers=calls.readers.get((way.effect or last).id, 0) if is_soft(last) else 0,
        slowest_success_seconds=calls.slowest.get((running[0] if running else origin).operation),
    )


def _recovery_ns(tries: Iterable[Span], rescuer: Span, held: Sequence[Hold]) -> int:
    """From the first try to what made it good, but for what another call held the loop meanwhile."""
    start, end = min(each.start_ns for each in tries), rescuer.start_ns
    return max(end - start - stood_ns(held, rescuer.parent, start, end), 0)


def _spent(tree: Tree, calls: Iterable[Span], tokens: Mapping[int, float]) -> float:
    """Tokens of calls and of all that was called below them."""
    stack = list(calls)
    spent = 0.0
    while stack:
        span = stack.pop()
        spent += tokens.get(span.id, 0.0)
        stack.extend(tree.children_of(span))
    return spent


def _fate(tree: Tree, last: Span, way: _Exit) -> tuple[Fate, Span | None, Span | None]:
    """The fate, who rescued, who ended the exception's way."""
    step = way.step
    parent = tree.parent_of(step.span)
    # An exception that became a failed result ended there, whatever became of the result.
    handler = way.effect if way.effect is not None and not is_soft(last) else None
    if step.kind in ("retry", "fallback"):
        return ("retry" if step.kind == "retry" else "fallback"), step.other, handler or parent
    if handler is not None:
        return "swallowed", None, handler
    if parent is None:
        return ("returned" if is_soft(step.span) else "raised"), None, None
    if parent.status == "cancelled":
        return "interrupted", None, parent
    if parent.status == "in_progress":
        return "unsettled", None, parent
    return "swallowed", None, parent


def _kind(span: Span, cuts: Cancelled) -> Kind:
    if span.id in cuts.cut_off or is_timeout(span):
        return "timeout"
    return "soft" if is_soft(span) else "error"


def _type_name(span: Span) -> str:
    if span.error is not None and span.error.type_name:
        return span.error.type_name
    return "CancelledError" if span.status == "cancelled" else NOT_RECORDED


def _path(tree: Tree, span: Span) -> tuple[str, ...]:
    names = [span.operation]
    for above in ancestors(tree, span):
        if len(names) == _PATH_LISTED:
            names.append("...")
            break
        names.append(above.operation)
    return tuple(reversed(names))


def _frame(frames: Sequence[tuple[str, int, str]]) -> tuple[str, int, str] | None:
    """The innermost place in the program itself; in a library only if there is no other."""
    own = [frame for frame in frames if not _LIBRARY.search(frame[0])]
    innermost = own or frames
    return innermost[-1] if innermost else None


_LIBRARY: Final = re.compile(
    r"^<(?:frozen |python>)|[/\\](?:site|dist)-packages[/\\]"
    r"|[/\\]lib[/\\]python3[^/\\]*[/\\]|[/\\]Python3\d+[/\\]Lib[/\\]"
)
"""Where Python keeps libraries: its own ones and those that were installed."""


def _agents(owned: Owners, spans: tuple[Span, ...]) -> tuple[str, ...]:
    names = (owned.agents[span.id] for span in spans)
    return tuple(dict.fromkeys(name for name in names if name))


class _Calls:
    """What the other calls of an operation did."""

    def __init__(self, tree: Tree, owned: Owners, failed: frozenset[str]) -> None:
        self.counts: dict[tuple[str, str], tuple[int, int]] = {}
        """Calls and successes by operation and agent."""
        self.by_model: dict[tuple[str, str], tuple[int, int]] = {}
        """Calls and successes of failed operations by model, where the model was captured."""
        self.slowest: dict[str, float] = {}
        """Seconds of the slowest success by operation."""
        self.readers: Counter[int] = Counter()
        """By the id of a call: how many calls read what it returned."""
        self.answered = _answered(tree) if failed else frozenset()
        for span in tree.spans:
            key = (span.operation, owned.agents[span.id])
            calls, successes = self.counts.get(key, (0, 0))
            good = span.status == "success" and not is_failed(span)
            self.counts[key] = (calls + 1, successes + good)
            if span.operation in failed and (model := model_of(span)):
                calls, successes = self.by_model.get((span.operation, model), (0, 0))
                self.by_model[span.operation, model] = (calls + 1, successes + good)
            if span.links:
                self.readers.update(set(span.links))
            if good:
                took = tree.seconds(span)
                self.slowest[span.operation] = max(took, self.slowest.get(span.operation, took))


def _answered(tree: Tree) -> frozenset[int]:
    """Ids of the calls in which a model's call succeeded."""
    found: set[int] = set()
    for span in reversed(tree.spans):
        if span.id in found or (span.role == "llm" and span.status == "success"):
            parent = tree.parent_of(span)
            if parent is not None:
                found.add(parent.id)
    return frozenset(found)


def _merge_cut_off_together(failures: list[Failure]) -> list[Failure]:
    """Calls that one caller cut off at one moment are one failure with several culprits."""
    merged: list[Failure] = []
    open_cuts: dict[tuple[str, Fate], Failure] = {}
    for failure in sorted(failures, key=lambda each: each.at_seconds):
        if failure.certain or failure.attempts > 1 or failure.handled_by is None:
            merged.append(failure)
            continue
        key = (failure.handled_by.span_id, failure.fate)
        known = open_cuts.get(key)
        if known is None or failure.at_seconds - known.at_seconds > TOGETHER_NS / 1e9:
            if known is not None:
                merged.append(known)
            open_cuts[key] = failure
            continue
        culprits: tuple[Culprit, ...] = (*known.culprits, *failure.culprits)
        longest = (
            known if known.culprits[0].ran_seconds >= failure.culprits[0].ran_seconds else failure
        )
        open_cuts[key] = replace(
            longest,
            culprits=tuple(sorted(culprits, key=lambda each: -each.ran_seconds)),
            agents=tuple(dict.fromkeys((*known.agents, *failure.agents))),
            at_seconds=known.at_seconds,
            lost_seconds=max(known.lost_seconds, failure.lost_seconds),
        )
    return [*merged, *open_cuts.values()]
