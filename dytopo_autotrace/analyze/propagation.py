"""Which failed spans only passed on what failed below them.

An exception keeps its identity (`id()`) while it travels, and a wrapper names the identities of
what it wraps. Identities are used again once an exception is gone, so of several spans that could
have handed the same identity to one caller, only the last to end did.
"""

from __future__ import annotations

from dytopo_autotrace.analyze.tree import Tree
from dytopo_autotrace.collect.span import Span


def is_failed(span: Span) -> bool:
    """It raised, or its result is one that a rule calls a failure. Cancellation is neither."""
    if span.status == "error":
        return True
    return span.error is not None and span.status == "success"


def is_soft(span: Span) -> bool:
    """Its result is a failure although it raised nothing."""
    return span.error is not None and span.error.soft and is_failed(span)


def is_hard(span: Span) -> bool:
    """It raised."""
    return is_failed(span) and not is_soft(span)


def carriers(tree: Tree) -> dict[int, Span]:
    """For each span that raised: the nearest caller that raised the same exception, or a wrapper.

    Keys are span ids; a span whose exception ended with it has no entry.
    """
    same: dict[tuple[int, str], list[Span]] = {}
    wrapped: dict[int, list[Span]] = {}
    path: list[Span] = []
    claims: dict[tuple[int, int], tuple[int, Span, Span]] = {}

    for span in tree.spans:
        while len(path) > tree.depths[span.id]:
            _forget(path.pop(), same, wrapped)
        if is_hard(span) and (carrier := _carrier(tree, span, same, wrapped)) is not None:
            identity = span.error.identity if span.error else 0
            claim = (tree.end_ns(span), span, carrier)
            known = claims.get((carrier.id, identity))
            if known is None or known[0] <= claim[0]:
                claims[carrier.id, identity] = claim
        path.append(span)
        _remember(span, same, wrapped)
    return {span.id: carrier for _, span, carrier in claims.values()}


def _carrier(
    tree: Tree,
    span: Span,
    same: dict[tuple[int, str], list[Span]],
    wrapped: dict[int, list[Span]],
) -> Span | None:
    error = span.error
    if error is None or not error.identity:
        return _unidentified(tree, span)
    found = [
        stack[-1]
        for stack in (same.get((error.identity, error.type_name)), wrapped.get(error.identity))
        if stack
    ]
    carrier = max(found, key=lambda each: tree.depths[each.id], default=None)
    if carrier is None or tree.end_ns(carrier) < tree.end_ns(span):
        return None  # a caller that was gone before cannot have passed it on
    return carrier


def _unidentified(tree: Tree, span: Span) -> Span | None:
    """The parent, if it failed and looks the same: all that records without identities can say."""
    parent = tree.parent_of(span)
    if parent is None or not is_hard(parent):
        return None
    mine, theirs = span.error, parent.error
    if mine is None or theirs is None:
        return parent if mine is theirs else None
    alike = (mine.type_name, mine.message) == (theirs.type_name, theirs.message)
    return parent if alike and not theirs.identity else None


def _remember(
    span: Span, same: dict[tuple[int, str], list[Span]], wrapped: dict[int, list[Span]]
) -> None:
    if (error := span.error) is not None and is_hard(span):
        if error.identity:
            same.setdefault((error.identity, error.type_name), []).append(span)
        for identity in error.related:
            wrapped.setdefault(identity, []).append(span)


def _forget(
    span: Span, same: dict[tuple[int, str], list[Span]], wrapped: dict[int, list[Span]]
) -> None:
    if (error := span.error) is not None and is_hard(span):
        if error.identity:
            same[error.identity, error.type_name].pop()
        for identity in error.related:
            wrapped[identity].pop()
