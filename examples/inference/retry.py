"""Trying again: a decorator for coroutine functions whose failures may pass."""

from __future__ import annotations

import asyncio
import functools
import itertools
from collections.abc import Awaitable, Callable
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


def retry(
    *,
    attempts: int,
    first_delay_s: float,
    retry_on: tuple[type[Exception], ...],
) -> Callable[[Callable[P, Awaitable[T]]], Callable[P, Awaitable[T]]]:
    """Call again, after a delay that doubles each time, when one of `retry_on` is raised.

    Args:
        attempts: calls in all; the error of the last one is raised.
        first_delay_s: seconds between the first and the second call.
        retry_on: the exceptions worth another attempt; all others are raised at once.
    """

    def decorate(call: Callable[P, Awaitable[T]]) -> Callable[P, Awaitable[T]]:
        @functools.wraps(call)
        async def call_until_it_succeeds(*args: P.args, **kwargs: P.kwargs) -> T:
            for attempt in itertools.count(1):
                try:
                    return await call(*args, **kwargs)
                except retry_on:
                    if attempt >= attempts:
                        raise
                await asyncio.sleep(first_delay_s * 2 ** (attempt - 1))
            raise AssertionError("unreachable: count() does not end")

        return call_until_it_succeeds

    return decorate
