"""Methods of every kind."""

import abc
import dataclasses
import enum
import functools


class Base:
    name = "base"

    def greet(self, whom="you"):
        return f"{self.name} greets {whom}"

    def inherited(self):
        return f"inherited by {type(self).__name__}"

    async def work(self, amount):
        return amount + 1

    @classmethod
    def make(cls, *args):
        """Make one of the class that it is called on."""
        return cls(*args)

    @staticmethod
    def helper(value):
        return value + 1

    @property
    def upper(self):
        return self.name.upper()

    @functools.cached_property
    def slow(self):
        return object()

    @functools.lru_cache(maxsize=4)  # noqa: B019
    def remembered(self, key):
        return self.name, key

    @functools.singledispatchmethod
    def dispatched(self, value):
        return "anything", value

    def __private(self, value):
        return value

    def call_private(self, value):
        return self.__private(value)

    def __repr__(self):
        return f"<{type(self).__name__}>"

    class Inner:
        def nested(self):
            return "nested"


class Derived(Base):
    name = "derived"

    def greet(self, whom="you"):
        return "and " + super().greet(whom)


class Further(Derived):
    pass


class Slotted:
    __slots__ = ("value",)

    def __init__(self, value):
        self.value = value

    def get(self):
        return self.value


@dataclasses.dataclass
class Point:
    x: int
    y: int = 0

    def length(self):
        return (self.x**2 + self.y**2) ** 0.5


class Model(abc.ABC):
    @abc.abstractmethod
    def ask(self, question):
        """Answer."""

    @classmethod
    @abc.abstractmethod
    def build(cls):
        """Make one."""


class Echo(Model):
    def ask(self, question):
        return question

    @classmethod
    def build(cls):
        return cls()


class Colour(enum.Enum):
    RED = 1

    def describe(self):
        return f"colour {self.name}"


class Meta(type):
    def of_the_class(cls):
        return cls.__name__


class WithMeta(metaclass=Meta):
    pass


the_base = Base()
