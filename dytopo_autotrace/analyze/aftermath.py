"""What happened next to a failed span: tried again, replaced, passed on, turned into a result, dropped.

Each failed span gets one step; following the steps from an origin leads to what became of it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Literal

from dytopo_autotrace.analyze.ownership import Owners
from dytopo_autotrace.analyze.propagation import is_failed, is_hard, is_soft
from dytopo_autotrace.analyze.siblings import Siblings
from dytopo_autotrace.analyze.tree import Tree
from dytopo_autotrace.collect.span import Span


@dataclass(frozen=True, slots=True)
class Step:
    """What happened to `span`'s failure, and the other span that had to do with it.

    `again`: `other` is the next attempt and failed too. `carried`: `other` raised it on.
    `effect`: `other` turned it into a failed result. `retry`, `fallback`: `other` succeeded.
    `end`: nothing followed; `other` is None, or a call by another agent that succeeded.
    """

    kind: Literal["again", "carried", "effect", "retry", "fallback", "end"]
    span: Span
    other: Span | None = None
    sure: bool = True
    """False where `other` may as well be the next step, asked something else; as any fallback may."""


def steps(
    tree: Tree, owners: Owners, carried: Mapping[int, Span], cut_off: Collection[int]
) -> dict[int, Step]:
    """The step of every failed span, and of every span that was cut off, by span id."""
    siblings = Siblings(tree, owners)
    soft_above = _soft_above(tree, owners)
    result: dict[int, Step] = {}
    effects: dict[int, Span] = {}
    for span in tree.spans:
        if not is_failed(span) and span.id not in cut_off:
            continue
        carrier = carried.get(span.id)
        attempt = siblings.next_attempt(span)
        again = attempt.span if attempt is not None else None
        sure = attempt is None or attempt.sure
        failed_again = again is not None and (is_failed(again) or again.id in cut_off)
        if again is not None and failed_again and carrier in (None, carried.get(again.id)):
            result[span.id] = Step("again", span, again, sure)
        elif carrier is not None:
            result[span.id] = Step("carried", span, carrier)
        elif attempt is not None and attempt.span.status == "success" and not failed_again:
            kind: Literal["retry", "fallback"] = "fallback" if attempt.other_model else "retry"
            result[span.id] = Step(kind, span, again, sure and not attempt.other_model)
        elif (other := siblings.fallback(span)) is not None:
            result[span.id] = Step("fallback", span, other, sure=False)
        else:
            result[span.id] = Step("end", span, siblings.by_another(span))
            if (soft := soft_above.get(span.id)) is not None:
                known = effects.get(soft.id)
                # A stub made of several failures shows the last: the others were got over before.
                if known is None or tree.end_ns(known) <= tree.end_ns(span):
                    effects[soft.id] = span
    for span in effects.values():
        result[span.id] = Step("effect", span, soft_above[span.id])
    return result


def _soft_above(tree: Tree, owners: Owners) -> dict[int, Span]:
    """The nearest caller with a failed result, of the same agent, with no exception in between."""
    nearest: dict[int, Span] = {}
    for span in tree.spans:
        parent = tree.parent_of(span)
        if parent is None or is_hard(parent):
            continue
        soft = parent if is_soft(parent) else nearest.get(parent.id)
        if soft is not None and owners.agents[soft.id] == owners.agents[span.id]:
            nearest[span.id] = soft
    return nearest
