"""Functions of every kind."""

import asyncio
import functools
import math
import operator
from asyncio import sleep

import patient


def add(a, b=2):
    """Add two numbers."""
    return a + b


async def double(value):
    """Double a value, later."""
    await sleep(0)
    return value * 2


async def quadruple(value):
    return await double(await double(value))


def fail(message="as asked"):
    raise ValueError(message)


async def fail_later(message="as asked"):
    await sleep(0)
    raise ValueError(message)


def fail_because(message="as asked"):
    try:
        fail("the cause")
    except ValueError as cause:
        raise RuntimeError(message) from cause


def order(first, /, second, *rest, third=3, **others):
    return first, second, rest, third, others


def count(limit):
    yield from range(limit)


async def count_later(limit):
    for number in range(limit):
        await sleep(0)
        yield number


def later(value):
    """Hand back a coroutine, as clients do that hide their `async`."""
    return double(value)


@functools.lru_cache(maxsize=8)
def remember(key):
    return object(), key


class Greeter:
    """Its instances are called."""

    def __init__(self, greeting):
        self.greeting = greeting

    def __call__(self, name):
        return f"{self.greeting}, {name}"


greet = Greeter("hello")
add_one = functools.partial(add, 1)
same = add
square = lambda number: number * number  # noqa: E731
root = math.sqrt
itself = patient


def factorial(number):
    return 1 if number < 2 else number * factorial(number - 1)


def dive(depth):
    """Call itself until there is no room left, and say how deep it came."""
    try:
        return dive(depth + 1)
    except RecursionError:
        return depth


def counter():
    counter.calls += 1
    return counter.calls


counter.calls = 0

run = asyncio.run
plus = operator.add
