"""Every kind of callable keeps what it is when it is woven."""

import asyncio
import copy
import functools
import inspect
import pickle
import types

import pytest

from dytopo_autotrace import traced
from dytopo_autotrace.testing import capture


def rule(*targets, **keys):
    lines = [f"{key} = {value}" for key, value in keys.items()]
    return "\n".join(["[[rule]]", f"target = {list(targets)!r}", *lines, ""])


@pytest.fixture
def classes(load):
    return load("patient.classes")


def test_a_classmethod_keeps_the_class_that_it_is_called_on(classes):
    """`cls` is the subclass, through class and instance, and can be read by expressions."""
    with capture(rule("patient.classes:Base.make", attributes="{ of = 'cls.name' }")) as seen:
        assert type(classes.Base.make()) is classes.Base
        assert type(classes.Derived.make()) is classes.Derived
        assert type(classes.Further().make()) is classes.Further
        assert type(vars(classes.Base)["make"]) is classmethod
        assert classes.Base.make.__self__ is classes.Base
        assert classes.Base.make.__doc__ == "Make one of the class that it is called on."
    assert [span.metadata["of"] for span in seen.spans] == ["base", "derived", "derived"]


def test_a_staticmethod_works_from_class_and_instance(classes):
    """Nothing is passed in that was not passed before."""
    with capture(rule("patient.classes:Base.helper", attributes="{ v = 'value' }")) as seen:
        assert classes.Base.helper(1) == classes.Base().helper(1) == classes.Further.helper(1) == 2
        assert type(vars(classes.Base)["helper"]) is staticmethod
    assert [span.metadata["v"] for span in seen.spans] == [1, 1, 1]


def test_methods_bind_as_they_did(classes):
    """A woven method is a bound method of its instance, and a function of its class."""
    with capture(rule("patient.classes:Base.*", "patient.classes:Slotted.*")) as seen:
        base = classes.Base()
        assert base.greet.__self__ is base
        assert type(base.greet) is types.MethodType
        assert type(classes.Base.greet) is types.FunctionType
        assert base.greet == base.greet
        assert classes.Slotted(5).get() == 5
        assert base.call_private(7) == 7
        assert asyncio.run(base.work(1)) == 2
        assert base.Inner().nested() == "nested"
    assert [span.operation for span in seen.spans] == [
        *("Slotted.get", "Base.__private", "Base.call_private", "Base.work"),
    ]


def test_abstract_methods_stay_abstract(classes):
    """A class with woven abstract methods cannot be made, and says so in the same words."""
    with pytest.raises(TypeError) as bare:
        classes.Model()
    with capture(rule("patient.classes:Model.*", "patient.classes:Echo.*")) as seen:
        with pytest.raises(TypeError) as woven:
            classes.Model()
        assert classes.Model.__abstractmethods__ == {"ask", "build"}
        assert vars(classes.Model)["build"].__isabstractmethod__

        class Half(classes.Model):
            def ask(self, question):
                return question

        with pytest.raises(TypeError, match="build"):
            Half()
        assert classes.Echo.build().ask(3) == 3
    assert str(woven.value) == str(bare.value)
    assert [span.operation for span in seen.spans] == ["Echo.build", "Echo.ask"]


def test_dataclasses_and_enums_keep_what_makes_them(classes):
    """Fields, equality, members and values are untouched by woven methods."""
    import dataclasses

    with capture(rule("patient.classes:Point.*", "patient.classes:Colour.*")) as seen:
        assert [field.name for field in dataclasses.fields(classes.Point)] == ["x", "y"]
        assert classes.Point(3, 4) == classes.Point(3, 4)
        assert classes.Point(3, 4).length() == 5
        assert [*classes.Colour] == [classes.Colour.RED]
        assert classes.Colour(1).describe() == "colour RED"
    assert [span.operation for span in seen.spans] == ["Point.length", "Colour.describe"]


def test_a_metaclass_method_is_recorded(classes):
    """A method of a metaclass is called with the class."""
    text = rule("patient.classes:Meta.of_the_class", attributes="{ of = 'cls.name' }")
    with capture(text) as seen:
        classes.WithMeta.name = "w"
        assert classes.WithMeta.of_the_class() == "WithMeta"
    assert seen.one("Meta.of_the_class").metadata == {"of": "w"}


def test_a_cache_stays_a_cache(load):
    """A function under `lru_cache` keeps its cache, its statistics and its identity of results."""
    plain = load("patient.plain")
    first = plain.remember("a")
    with capture(rule("patient.plain:remember", attributes="{ key = 'key' }")) as seen:
        assert plain.remember("a") is first
        assert plain.remember("b")[1] == "b"
        assert plain.remember.cache_info().hits == 1
        assert plain.remember.cache_parameters()["maxsize"] == 8
        plain.remember.cache_clear()
        assert plain.remember.__wrapped__ is not None
        assert inspect.signature(plain.remember) == inspect.signature(plain.remember.__wrapped__)
    assert plain.remember.cache_info().misses == 0
    assert [span.metadata["key"] for span in seen.spans] == ["a", "b"]


def test_a_cached_method_gets_its_instance(classes):
    """What a class holds that is no function still binds to the instance it is reached by."""
    text = rule("patient.classes:Base.remembered", attributes="{ who = 'self.name', key = 'key' }")
    with capture(text) as seen:
        base = classes.Base()
        assert base.remembered("k") == classes.Base.remembered(base, "k") == ("base", "k")
        assert classes.Derived().remembered(key="d") == ("derived", "d")
        assert classes.Base.remembered.cache_info().hits == 1
    assert [span.metadata for span in seen.spans] == [
        {"who": "base", "key": "k"},
        {"who": "base", "key": "k"},
        {"who": "derived", "key": "d"},
    ]


def test_callable_instances_and_partials_are_recorded(load):
    """What is called without being a function is recorded by the name it goes by, result and all."""
    plain = load("patient.plain")
    greet = plain.greet
    with capture(
        rule("patient.plain:greet", "patient.plain:add_one", attributes="{ r = 'result' }")
    ) as seen:
        assert plain.greet("you") == "hello, you"
        assert plain.greet.greeting == "hello"
        plain.greet.greeting = "goodbye"
        assert isinstance(plain.greet, plain.Greeter)
        assert plain.add_one(b=5) == 6
        assert plain.add_one.func is plain.add
    assert greet.greeting == "goodbye"
    assert [(span.operation, span.metadata["r"]) for span in seen.spans] == [
        ("greet", "hello, you"),
        ("add_one", 6),
    ]


def test_expressions_over_parameters_that_cannot_be_seen_are_refused(load):
    """A rule that reads a parameter of something without any is refused, with a reason."""
    with capture(rule("patient.plain:greet", attributes="{ name = 'name' }")) as seen:
        assert load("patient.plain").greet("you") == "hello, you"
        (entry,) = seen.installation.weaver.ledger.entries
    assert entry.fate == "refused"
    assert "names 'name', which is no parameter of greet" in entry.reason


def test_a_misspelt_parameter_is_refused_with_the_nearest(load):
    """The ledger says which name was meant."""
    with capture(rule("patient.plain:add", attributes="{ first = 'aa' }")) as seen:
        assert load("patient.plain").add(1) == 3
        (entry,) = seen.installation.weaver.ledger.entries
    assert entry.reason.startswith("first = 'aa' names 'aa', which is no parameter of add.")


def test_a_text_without_its_own_quotes_is_told_how_to_write_it(load):
    """Whoever means a text and writes a bare name is shown the text in quotes."""
    with capture(rule("patient.plain:add", agent='"manager"')) as seen:
        load("patient.plain").add(1)
        (entry,) = seen.installation.weaver.ledger.entries
    assert entry.reason.endswith("""For the text itself write "'manager'".""")


def test_decorated_functions_are_read_by_the_parameters_they_were_written_with(load):
    """Below a decorator that takes anything, expressions name the function's own parameters."""
    text = rule(
        "patient.decorated:fetch",
        "patient.decorated:Client.call",
        attributes="{ url = 'url', failing = 'failing' }",
    )
    with capture(text) as seen:
        decorated = load("patient.decorated")
        decorated.fetch("a")
        decorated.Client().call(failing=0, url="b")
        with pytest.raises(TypeError):
            decorated.fetch()
    assert [span.metadata for span in seen.spans] == [
        {"url": "a", "failing": 0},
        {"url": "b", "failing": 0},
        {},
    ]


def test_a_context_manager_function_makes_context_managers(load):
    """A function under `contextmanager` is a function; its call is the making of the manager."""
    with capture(rule("patient.decorated:session", attributes="{ name = 'name' }")) as seen:
        with load("patient.decorated").session("s") as name:
            assert name == "s"
    assert seen.one("session").metadata == {"name": "s"}


def test_wrapt_decorators_below_ours_get_what_they_got(load):
    """A wrapt decorator is told the same instance, class and arguments, through any access."""
    decorated = load("patient.decorated")

    def use():
        decorated.noted.clear()
        client = decorated.Client()
        results = [
            client.method(1),
            decorated.Client.method(client, 2),
            decorated.Client.noted_class(3),
            client.noted_class(4),
            decorated.function(5),
            asyncio.run(client.method_later(6)),
        ]
        told = [(instance, args) for instance, args, _ in decorated.noted]
        return [
            ["client" if each is client else each for each in pair]
            for pair in (*results[:4], *told)
        ]

    bare = use()
    with capture(rule("patient.decorated:Client.*", "patient.decorated:function")) as seen:
        assert use() == bare
    assert [span.operation for span in seen.spans] == [
        *("Client.method", "Client.method", "Client.noted_class", "Client.noted_class"),
        *("function", "Client.method_later"),
    ]


def test_exceptions_through_proxies_have_no_frame_of_ours(load):
    """A traceback through a woven cache or partial shows the host's frames only."""
    import traceback

    plain = load("patient.plain")

    def fail():
        raise ValueError("in there")

    shown = []
    for weave in (lambda f: f, traced):
        plain.cached = weave(functools.lru_cache(fail))
        with capture():
            try:
                plain.cached()
            except ValueError as error:
                shown.append([frame.name for frame in traceback.extract_tb(error.__traceback__)])
    assert shown[0] == shown[1]
    assert shown[0][-1] == "fail"


def test_single_dispatch_keeps_registering():
    """A generic function dispatches, and takes registrations, after weaving."""

    @traced(operation="shown")
    @functools.singledispatch
    def shown(value):
        return "anything"

    @shown.register
    def _(value: int):
        return "number"

    with capture() as seen:
        assert [shown("a"), shown(1)] == ["anything", "number"]
    assert len(seen.spans) == 2


@pytest.mark.parametrize("name", ["add", "double", "remember", "add_one", "greet", "counter"])
def test_woven_things_pickle_and_copy_as_they_did(load, name):
    """A pickle made while woven is the one made before; copies are equal to copies of the bare."""
    plain = load("patient.plain")
    original = getattr(plain, name)
    bare = [pickle.dumps(original, protocol) for protocol in range(2, pickle.HIGHEST_PROTOCOL + 1)]
    by_identity = copy.deepcopy(original) is original
    with capture(rule(f"patient.plain:{name}")) as seen:
        woven = getattr(plain, name)
        assert woven is not original
        assert [pickle.dumps(woven, protocol) for protocol in range(2, 6)] == bare
        for again in (copy.copy(woven), copy.deepcopy(woven), pickle.loads(pickle.dumps(woven))):
            assert again is woven or not by_identity
        assert seen.installation.weaver.ledger.faults == []


@pytest.mark.parametrize("name", ["greet", "make", "remembered", "work"])
def test_bound_methods_pickle_as_they_did(classes, name):
    """A bound method pickles as its instance and its name."""
    base = classes.Base()
    bare = pickle.dumps(getattr(base, name))
    with capture(rule(f"patient.classes:Base.{name}")):
        assert pickle.dumps(getattr(base, name)) == bare
        again = pickle.loads(bare)
        assert getattr(again, "__self__", None) is not None


def test_what_is_woven_already_is_not_woven_twice(load):
    """A rule on a function with `@traced` is refused, and the call is recorded once."""
    plain = load("patient.plain")
    plain.add = traced(operation="by decorator")(plain.add)
    with capture(rule("patient.plain:add")) as seen:
        plain.add(1)
        (entry,) = seen.installation.weaver.ledger.entries
    assert (entry.fate, entry.reason) == ("refused", "add is woven already.")
    assert seen.tree() == [("by decorator", [])]


def test_a_rule_matched_by_two_names_records_each_by_its_own(load):
    """Two attributes of one function, each named by a rule, give one span a call."""
    text = rule("patient.plain:add", operation="'add'") + rule(
        "patient.plain:same", operation="'same'"
    )
    with capture(text) as seen:
        plain = load("patient.plain")
        plain.add(1)
        plain.same(1)
    assert [span.operation for span in seen.spans] == ["add", "same"]


def test_a_property_is_read_through_a_watched_getter(program):
    """The getter is recorded; setter, deleter, doc, class and the type of the value are untouched."""
    program(
        held="""
import abc

class Special(property):
    "A property of the host's own."

class Held:
    _value = 1

    @property
    def value(self):
        "What is held."
        return self._value

    @value.setter
    def value(self, value):
        self._value = value

    @value.deleter
    def value(self):
        self._value = 0

    @Special
    def special(self):
        return "special"

    @property
    @abc.abstractmethod
    def still_to_come(self): ...

    write_only = property(None, lambda self, value: None)
"""
    )
    text = rule(
        *(f"held:Held.{each}" for each in ("value", "special", "still_to_come", "write_only")),
        attributes="{ read = 'result' }",
    )
    with capture(text) as seen:
        from held import Held, Special

        held = Held()
        held.value = 5
        assert type(held.value) is int
        del held.value
        assert held.value == 0
        assert Held.value.__doc__ == "What is held."
        assert type(vars(Held)["special"]) is Special
        assert held.special == "special"
        assert Held.still_to_come.__isabstractmethod__
        with pytest.raises(AttributeError, match="^property 'special' of 'Held' object has no set"):
            held.special = 1
        refused = [
            entry.reason for entry in seen.installation.weaver.ledger.entries if entry.reason
        ]
    assert [span.metadata["read"] for span in seen.spans] == [5, 0, "special"]
    assert seen.spans[0].operation == "Held.value"
    assert refused == ["Held.write_only is a property that cannot be read."]


def test_a_cached_property_is_recorded_when_it_is_computed(classes):
    """The first access of an instance is a call, the next ones are none, and the cache can be emptied."""
    with capture(rule("patient.classes:Base.slow")) as seen:
        base = classes.Base()
        assert base.slow is base.slow
        del base.slow
        assert base.slow is vars(base)["slow"]
        assert type(vars(classes.Base)["slow"]) is functools.cached_property
    assert [span.operation for span in seen.spans] == ["Base.slow"] * 2


def test_a_partial_method_binds_what_it_bound(program):
    """The call has the arguments of both, by the names of the function that they reach."""
    program(
        lamp="""
import functools

class Lamp:
    def set(self, state, *, colour="white"):
        return state, colour

    on = functools.partialmethod(set, True)
    red = functools.partialmethod(on, colour="red")
"""
    )
    text = rule("lamp:Lamp.on", "lamp:Lamp.red", attributes="{ state = 'state', c = 'colour' }")
    with capture(text) as seen:
        from lamp import Lamp

        assert Lamp().on() == (True, "white")
        assert Lamp().red() == (True, "red")
        assert type(vars(Lamp)["on"]) is functools.partialmethod
        assert inspect.signature(Lamp.on).parameters.keys() >= {"self", "colour"}
    assert [(span.operation, span.metadata) for span in seen.spans] == [
        ("Lamp.on", {"state": True, "c": "white"}),
        ("Lamp.red", {"state": True, "c": "red"}),
    ]


def test_what_is_written_in_c_or_cannot_change_is_refused(program):
    """Builtins, methods of built-in types and of other closed types stay, and the ledger says why."""
    program(closed="from collections import deque\nfrom math import sqrt\nappend = [].append\n")
    with capture(rule("closed:sqrt", "closed:deque.append", "closed:append")) as seen:
        import closed

        assert closed.sqrt(4) == 2
        reasons = {entry.place: entry.reason for entry in seen.installation.weaver.ledger.entries}
    assert reasons.keys() == {"closed:sqrt", "closed:deque.append", "closed:append"}
    assert all("written in C" in reason for reason in reasons.values())


def test_a_slotted_dataclass_keeps_its_fields_and_its_methods(program):
    """`dataclass(slots=True, frozen=True)` makes its class anew; its methods are woven once."""
    program(
        slotted="""
import dataclasses

@dataclasses.dataclass(slots=True, frozen=True, order=True)
class Point:
    x: int
    y: int = 0

    def norm(self):
        return abs(self.x) + abs(self.y)
"""
    )
    with capture(rule("slotted:Point.*")) as seen:
        import dataclasses
        import pickle

        from slotted import Point

        assert Point(1, -2).norm() == 3
        assert pickle.loads(pickle.dumps(Point(1))) == Point(1) < Point(2)
        assert not hasattr(Point(1), "__dict__")
        assert dataclasses.replace(Point(1), y=4).norm() == 5
    assert [span.operation for span in seen.spans] == ["Point.norm"] * 2


def test_a_function_that_exchanges_its_own_code_is_left_alone(program):
    """Who has itself for a default may have other parameters after its first call."""
    program(
        lazy="""
def compiled(a):
    return a

def f(*args, _self=None):
    _self.__code__ = compiled.__code__
    _self.__kwdefaults__ = None
    return _self(*args)

f.__kwdefaults__ = {"_self": f}
"""
    )
    with capture(rule("lazy:f")) as seen:
        import lazy

        assert [lazy.f(1), lazy.f(2)] == [1, 2]
        (entry,) = seen.installation.weaver.ledger.entries
    assert (entry.fate, seen.spans) == ("refused", [])
