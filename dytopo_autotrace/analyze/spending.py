"""Tokens and money: who spent them, in which round, on which model, and for what was thrown away.

Tokens are counted at the innermost call that tells of any, however many callers repeat them. Cached
tokens are part of those read. A model of which no price is known is unpriced, never free.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal

from dytopo_autotrace.analyze.ownership import Owners
from dytopo_autotrace.analyze.propagation import is_failed
from dytopo_autotrace.analyze.tree import Tree, ancestors
from dytopo_autotrace.analyze.what_if import failed_attempts, subtrees
from dytopo_autotrace.collect.records import ModelPrice
from dytopo_autotrace.collect.span import RECEIVES, Span

_TOKENS: Final = "tokens"
"""What a counter's name holds if it counts tokens."""
_READ: Final = frozenset({"in", "input", "prompt", "read"})
_WRITTEN: Final = frozenset({"out", "output", "completion", "written"})
_CACHED: Final = frozenset({"cached", "cache_read", "cached_in"})
_MILLION: Final = 1_000_000

Fate = Literal["failed", "retried", "unread"]
FATES: Final[tuple[Fate, ...]] = ("failed", "retried", "unread")


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens of one call. `cached` are among those read; `other` have no direction."""

    read: float = 0.0
    written: float = 0.0
    cached: float = 0.0
    other: float = 0.0

    @property
    def total(self) -> float:
        return self.read + self.written + self.other


@dataclass(frozen=True, slots=True)
class Spent:
    """Tokens and money of one agent, round, model, or fate."""

    name: str
    calls: int
    tokens: float
    read: float
    written: float
    cached: float
    cost: float | None
    """Of what is priced, None if nothing is."""
    unpriced_tokens: float
    trace_id: str = ""
    """Of a round: the trace that it belongs to."""


@dataclass(frozen=True, slots=True)
class Spending:
    total: Spent
    by_agent: tuple[Spent, ...]
    by_round: tuple[Spent, ...]
    by_model: tuple[Spent, ...]
    wasted: tuple[Spent, ...]
    """By fate: `failed`, `retried`, or `unread` by any other agent."""
    unpriced_models: tuple[str, ...]
    priced_by: tuple[str, ...]
    """Where the prices came from: `rules`, `genai-prices`."""


def usage_of(span: Span) -> Usage | None:
    """The tokens that a call tells of, by its counters or, of a model call, by its attributes."""
    read = written = cached = other = 0.0
    found = False
    for name, kind, value, labels in span.measurements:
        if kind != "counter" or _TOKENS not in name:
            continue
        found = True
        directions = {said.lower() for _, said in labels}
        if directions & _CACHED:
            cached += value
        elif directions & _READ:
            read += value
        elif directions & _WRITTEN:
            written += value
        else:
            other += value
    if found:
        cached = cached or _number(span, "cache_read_tokens")
        return Usage(read, written, cached, other)
    if span.role != "llm":
        return None
    read, written = _number(span, "tokens_in"), _number(span, "tokens_out")
    if not read and not written:
        return None
    return Usage(read, written, _number(span, "cache_read_tokens"))


def leaf_usage(tree: Tree) -> dict[int, Usage]:
    """By span id: the tokens of each call below which no other call tells of any."""
    found: dict[int, Usage] = {}
    tells_below: set[int] = set()
    for span in reversed(tree.spans):
        usage = usage_of(span)
        parent = tree.parent_of(span)
        if usage is not None and span.id not in tells_below:
            found[span.id] = usage
        if parent is not None and (usage is not None or span.id in tells_below):
            tells_below.add(parent.id)
    return found


def spending(
    tree: Tree, owned: Owners, usage: Mapping[int, Usage], prices: Sequence[ModelPrice] = ()
) -> Spending:
    """What the run spent; `usage` is that of the leaves."""
    book = _Prices(prices)
    fates = _fates(tree, owned, usage) if usage else {}
    calls: list[_Call] = []
    for span in tree.spans:
        used = usage.get(span.id)
        if used is None:
            continue
        model = _model(tree, span)
        calls.append(
            _Call(
                owned.agents[span.id],
                owned.rounds[span.id],
                span.trace_id,
                model,
                fates.get(span.id, ""),
                used,
                book.cost(model, used),
            )
        )
    return Spending(
        _spent("", calls),
        tuple(_groups(calls, "agent")),
        tuple(_rounds(calls)),
        tuple(_groups(calls, "model")),
        tuple(each for each in _groups(calls, "fate") if each.name),
        tuple(sorted({call.model for call in calls if call.cost is None and call.used.total})),
        tuple(sorted(book.sources)),
    )


@dataclass(frozen=True, slots=True)
class _Call:
    agent: str
    round: str
    trace_id: str
    model: str
    fate: str
    used: Usage
    cost: float | None


def _groups(calls: Iterable[_Call], key: str) -> Iterator[Spent]:
    groups: dict[str, list[_Call]] = {}
    for call in calls:
        groups.setdefault(getattr(call, key), []).append(call)
    named = [_spent(name, each) for name, each in groups.items()]
    return iter(sorted(named, key=lambda each: (-(each.cost or 0.0), -each.tokens, each.name)))


def _rounds(calls: Iterable[_Call]) -> Iterator[Spent]:
    """By round and trace, in order of time."""
    groups: dict[tuple[str, str], list[_Call]] = {}
    for call in calls:
        groups.setdefault((call.round, call.trace_id), []).append(call)
    for (number, trace_id), each in groups.items():
        yield replace(_spent(number, each), trace_id=trace_id)


def _spent(name: str, calls: Sequence[_Call]) -> Spent:
    costs = [call.cost for call in calls if call.cost is not None]
    return Spent(
        name,
        len(calls),
        sum(call.used.total for call in calls),
        sum(call.used.read for call in calls),
        sum(call.used.written for call in calls),
        sum(call.used.cached for call in calls),
        sum(costs) if costs else None,
        sum(call.used.total for call in calls if call.cost is None),
    )


class _Prices:
    """What a model costs: by the rule file, else by the genai-prices library, else unknown."""

    def __init__(self, prices: Sequence[ModelPrice]) -> None:
        self._prices = prices
        self.sources: set[str] = set()
        self._known: dict[str, ModelPrice | None] = {}
        self._asked: dict[tuple[str, float, float, float], float | None] = {}

    def cost(self, model: str, used: Usage) -> float | None:
        if not model or used.other:
            return None  # of tokens without a direction nobody knows which price is theirs
        if model not in self._known:
            self._known[model] = self._of_rules(model)
        price = self._known[model]
        if price is not None:
            self.sources.add("rules")
            cached = min(used.cached, used.read)
            of_cached = price.input if price.cached is None else price.cached
            dear = (used.read - cached) * price.input + cached * of_cached
            return (dear + used.written * price.output) / _MILLION
        # Prices have steps, so what a call costs does not follow from what another did.
        asked = (model, used.read, used.written, used.cached)
        if asked not in self._asked:
            self._asked[asked] = self._of_library(model, used)
        return self._asked[asked]

    def _of_rules(self, model: str) -> ModelPrice | None:
        fitting = [each for each in self._prices if fnmatch.fnmatchcase(model, each.model)]
        exact = (each for each in self._prices if each.model == model)
        return next(exact, fitting[0] if fitting else None)

    def _of_library(self, model: str, used: Usage) -> float | None:
        try:
            import genai_prices  # noqa: PLC0415 - an extra, and only for models without a price
        except ImportError:
            return None
        tokens = genai_prices.Usage(
            input_tokens=round(used.read),
            output_tokens=round(used.written),
            cache_read_tokens=round(min(used.cached, used.read)),
        )
        try:
            price = float(genai_prices.calc_price(tokens, model_ref=model).total_price)
        except (LookupError, ValueError):
            return None
        self.sources.add("genai-prices")
        return price


def _fates(tree: Tree, owned: Owners, usage: Mapping[int, Usage]) -> dict[int, Fate]:
    """Of each call that spent tokens in vain: why."""
    again = subtrees(tree, failed_attempts(tree, owned))
    unread = _unread(tree, owned)
    found: dict[int, Fate] = {}
    for number, span in enumerate(tree.spans):
        if span.id not in usage:
            continue
        above = [span]
        for each in ancestors(tree, span):
            if each.role == "orchestrator":
                break
            above.append(each)
        if number in again:
            found[span.id] = "retried"
        elif any(is_failed(each) or each.status == "cancelled" for each in above):
            found[span.id] = "failed"
        elif any(each.id in unread for each in above):
            found[span.id] = "unread"
    return found


def _unread(tree: Tree, owned: Owners) -> set[int]:
    """Workers' last calls of a round that no other agent read; not of the last round, whose output
    is the answer, nor of a round after which nobody is known to have read anything."""
    readers = [
        span
        for span in tree.spans
        if RECEIVES in span.metadata and span.role == "worker" and span.status == "success"
    ]
    if not any(span.links for span in readers):
        return set()
    read = {link for span in readers for link in span.links}
    rounds: dict[tuple[int, str], int] = {}
    with_messages: set[tuple[int, str]] = set()
    last: dict[tuple[int, str, str], Span] = {}
    for span in readers:
        place = (span.trace, owned.rounds[span.id])
        rounds[place] = max(rounds.get(place, 0), span.start_ns)
        if span.links:
            with_messages.add(place)
        key = (*place, owned.agents[span.id])
        if key not in last or last[key].start_ns < span.start_ns:
            last[key] = span
    final: dict[int, str] = {}
    for (trace, number), _ in sorted(rounds.items(), key=lambda item: item[1]):
        final[trace] = number
    return {
        span.id
        for (trace, number, _), span in last.items()
        if (trace, number) in with_messages and final[trace] != number and span.id not in read
    }


def _model(tree: Tree, span: Span) -> str:
    for each in (span, *ancestors(tree, span)):
        model = each.metadata.get("model")
        if isinstance(model, str) and model:
            return model
        if each.role == "worker":
            break
    return ""


def _number(span: Span, key: str) -> float:
    value = span.metadata.get(key)
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return max(float(value), 0.0)
    return 0.0
