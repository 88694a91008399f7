"""Functions that no attribute leads to."""

import functools


def outer(start):
    def inner(step):
        """Go on."""
        return start + step

    return inner


async def outer_later(start):
    async def inner(step):
        return start + step

    return await inner(1)


def noisy(function):
    @functools.wraps(function)
    def call(*args):
        return function(*args)

    return call


def fail_inside():
    def deep():
        raise ValueError("deep inside")

    return deep()


def with_class():
    class Local:
        def method(self):
            return "local"

    return Local()


@noisy
def decorated(value):
    return value * 2
