"""What is called: a coroutine, a function and a method that do nothing, and the loops that call them."""

# ruff: noqa: ARG001, ARG002 - what does nothing leaves its arguments alone

from __future__ import annotations

from collections.abc import Callable
from typing import Final

BATCH: Final = 1000
"""Calls below one root span. Sentry keeps no more of one transaction, so nobody gets more."""

KINDS: Final = ("coroutine", "function", "method")


async def coroutine(first: int, second: int) -> int:
    return second


def function(first: int, second: int) -> int:
    return second


class Thing:
    def method(self, first: int, second: int) -> int:
        return second


async def coroutine_batch() -> None:
    for _ in range(BATCH):
        await coroutine(1, 2)


def function_batch() -> None:
    for _ in range(BATCH):
        function(1, 2)


def method_batch() -> None:
    thing = Thing()
    for _ in range(BATCH):
        thing.method(1, 2)


def replace(around_call: Callable, around_batch: Callable) -> None:
    """Put decorators around all of them."""
    names = globals()
    for kind in ("coroutine", "function"):
        names[kind] = around_call(names[kind])
    Thing.method = around_call(Thing.method)
    for kind in KINDS:
        names[f"{kind}_batch"] = around_batch(names[f"{kind}_batch"])
