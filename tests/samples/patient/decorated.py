"""Functions under decorators, of the kinds that libraries have."""

import contextlib
import functools
import inspect

import wrapt

attempts = []


def retry(times):
    """Call again, up to so many times, while it fails."""

    def decorate(function):
        if inspect.iscoroutinefunction(function):

            @functools.wraps(function)
            async def call_later(*args, **kwargs):
                for attempt in range(1, times + 1):
                    try:
                        return await function(*args, **kwargs)
                    except ConnectionError:
                        if attempt == times:
                            raise

            return call_later

        @functools.wraps(function)
        def call(*args, **kwargs):
            for attempt in range(1, times + 1):
                try:
                    return function(*args, **kwargs)
                except ConnectionError:
                    if attempt == times:
                        raise

        return call

    return decorate


def plain(function):
    """A decorator that hides `async` behind a plain function."""

    @functools.wraps(function)
    def call(*args, **kwargs):
        return function(*args, **kwargs)

    return call


@wrapt.decorator
def noting(wrapped, instance, args, kwargs):
    """Keep what a wrapt decorator is told."""
    noted.append((instance, args, kwargs))
    return wrapped(*args, **kwargs)


noted = []


@retry(3)
def fetch(url, failing=0):
    attempts.append(url)
    if len(attempts) <= failing:
        raise ConnectionError(url)
    return f"content of {url}"


@retry(3)
async def fetch_later(url, failing=0):
    attempts.append(url)
    if len(attempts) <= failing:
        raise ConnectionError(url)
    return f"content of {url}"


@plain
async def hidden(value):
    return value


@contextlib.contextmanager
def session(name):
    yield name


class Client:
    @retry(2)
    def call(self, url, failing=0):
        attempts.append(url)
        if len(attempts) <= failing:
            raise ConnectionError(url)
        return self, url

    @noting
    def method(self, value):
        return self, value

    @noting
    async def method_later(self, value):
        return self, value

    @classmethod
    @retry(2)
    def build(cls, *args):
        return cls, args

    @noting
    @classmethod
    def noted_class(cls, value):
        return cls, value


@noting
def function(value):
    return value
