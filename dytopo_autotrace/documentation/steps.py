"""What happened in a round, in the order of a sequence diagram: calls, side by side where they were."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final

from dytopo_autotrace.analyze.propagation import is_failed
from dytopo_autotrace.collect.span import Span
from dytopo_autotrace.documentation import rounds
from dytopo_autotrace.documentation.model import Round
from dytopo_autotrace.export.run import Run
from dytopo_autotrace.export.values import text

ACTORS: Final = ("manager", "router", "worker", "governance", "verifier", "tool")
"""Roles whose calls are steps of a round; what they call in turn is told with them."""


@dataclass(frozen=True, slots=True)
class Use:
    """Calls of a tool in a row by one actor, all of them ended alike."""

    tool: str
    seconds: float
    """Of the longest."""
    failed: str
    times: int = 1


@dataclass(frozen=True, slots=True)
class Call:
    """One call of an actor, as the orchestrator saw it."""

    actor: str
    role: str
    operation: str
    seconds: float
    model_calls: int
    attempts: int
    tokens: int
    failed: str
    """How it failed, `""` if it did not."""
    times: int = 1
    """How often in a row; then `seconds` is the longest."""
    within: str = ""
    """The step that made the call, `""` if the orchestrator itself did."""
    reads: tuple[tuple[str, float | None], ...] = ()
    """Whose output it was sent, with the weight of the edge."""
    uses: tuple[Use, ...] = ()
    """The tools that it called, in order."""


@dataclass(frozen=True, slots=True)
class Step:
    """Calls that ran side by side, or a single one."""

    calls: tuple[Call, ...]


def steps(run: Run, told: Round) -> tuple[Step, ...]:
    """The steps of a round; calls that overlap in time stand side by side in one step."""
    chosen = [span for span in told.spans if span.role in ACTORS and _is_outermost(run, span)]
    routed_at = min((span.start_ns for span in chosen if span.role == "router"), default=None)
    found: list[Step] = []
    group: list[Span] = []
    reach = 0
    for span in chosen:
        if group and span.start_ns < reach and span.role == group[0].role:
            group.append(span)
            reach = max(reach, run.tree.end_ns(span))
            continue
        if group:
            found.append(_step(run, told, group, routed_at))
        group, reach = [span], run.tree.end_ns(span)
    if group:
        found.append(_step(run, told, group, routed_at))
    return tuple(_folded(found))


def _folded(found: Sequence[Step]) -> Iterator[Step]:
    """The steps, with the same small call several times in a row as one."""
    held: Call | None = None
    for step in found:
        call = step.calls[0]
        alike = held is not None and (call.actor, call.operation, call.within, call.failed) == (
            held.actor,
            held.operation,
            held.within,
            held.failed,
        )
        is_small = len(step.calls) == 1 and not (call.model_calls or call.uses or call.reads)
        if held is not None and alike and is_small:
            held = replace(held, times=held.times + 1, seconds=max(held.seconds, call.seconds))
            continue
        if held is not None:
            yield Step((held,))
            held = None
        if is_small:
            held = call
        else:
            yield step
    if held is not None:
        yield Step((held,))


def telling(found: Sequence[Round]) -> Round | None:
    """The round that shows most: the first with edges, or else the first at all."""
    return next((each for each in found if each.edges), found[0] if found else None)


def _is_outermost(run: Run, span: Span) -> bool:
    above = run.tree.parent_of(span)
    while above is not None:
        if above.role in ACTORS:
            return False
        above = run.tree.parent_of(above)
    return True


def _step(run: Run, told: Round, group: Sequence[Span], routed_at: int | None) -> Step:
    return Step(tuple(_call(run, told, span, routed_at) for span in group))


def _call(run: Run, told: Round, span: Span, routed_at: int | None) -> Call:
    agent = text(run.owners.agents[span.id]) or span.role
    below = _below(run, span)
    models = [each for each in below if each.role == "llm"]
    attempts = sum(each.role == "attempt" for each in below)
    tokens = 0
    for each in models:
        for key in ("tokens_in", "tokens_out"):
            value = each.metadata.get(key)
            tokens += value if isinstance(value, int) and not isinstance(value, bool) else 0
    return Call(
        actor=_actor(span, agent),
        role=span.role,
        operation=text(span.operation),
        seconds=run.tree.seconds(span),
        model_calls=len(models),
        attempts=attempts,
        tokens=tokens,
        failed=_failure(span),
        within=_step_around(run, span),
        reads=_reads(run, told, span, agent, routed_at),
        uses=_uses(run, span),
    )


def _actor(span: Span, agent: str) -> str:
    if span.role == "tool":
        return text(span.operation)
    return agent if span.role in ("worker", "manager") else span.role


def _reads(
    run: Run, told: Round, span: Span, agent: str, routed_at: int | None
) -> tuple[tuple[str, float | None], ...]:
    """Whose output a call read: as it captured itself, else as a router said, if it got messages."""
    weights = {edge.source: edge.weight for edge in told.edges or () if edge.target == agent}
    said = rounds.reads(run, span)
    if said is not None:
        return tuple((sender, weights.get(sender)) for sender in said)
    was_sent = span.role == "worker" and routed_at is not None and span.start_ns > routed_at
    if not was_sent or not span.metadata.get("messages"):
        return ()
    return tuple(
        (edge.source, edge.weight)
        for edge in told.edges or ()
        if edge.target == agent and not edge.cut
    )


def _uses(run: Run, span: Span) -> tuple[Use, ...]:
    """The tools called below a call; what a tool calls in turn is its own doing."""
    found: list[Use] = []
    for each in sorted(_tools(run, span), key=lambda tool: (tool.start_ns, tool.id)):
        use = Use(text(each.operation), run.tree.seconds(each), _failure(each))
        last = found[-1] if found else None
        if last is not None and (last.tool, last.failed) == (use.tool, use.failed):
            took = max(last.seconds, use.seconds)
            found[-1] = replace(last, seconds=took, times=last.times + 1)
        else:
            found.append(use)
    return tuple(found)


def _tools(run: Run, span: Span) -> list[Span]:
    found: list[Span] = []
    stack = [] if span.role == "tool" else [*run.tree.children_of(span)]
    while stack:
        each = stack.pop()
        if each.role == "tool":
            found.append(each)
        else:
            stack.extend(run.tree.children_of(each))
    return found


def _step_around(run: Run, span: Span) -> str:
    above = run.tree.parent_of(span)
    return text(above.operation) if above is not None and above.role == "step" else ""


def _failure(span: Span) -> str:
    if span.status == "cancelled":
        return "cancelled"
    if not is_failed(span):
        return ""
    if span.error is None or span.error.soft:
        return "failed result"
    return text(span.error.type_name)


def _below(run: Run, span: Span) -> list[Span]:
    found: list[Span] = []
    stack = [*run.tree.children_of(span)]
    while stack:
        each = stack.pop()
        found.append(each)
        stack.extend(run.tree.children_of(each))
    return found
