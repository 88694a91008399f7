"""`Base+.method` reaches the method wherever a class that inherits from `Base` defines it."""

import gc
import inspect
import weakref

import pytest

from dytopo_autotrace.rules.match import TargetError, parse_target
from dytopo_autotrace.testing import capture

MODELS = """
import abc
import dataclasses

class Model(abc.ABC):
    @abc.abstractmethod
    def ask(self, question):
        return "asked " + question

    @classmethod
    def build(cls):
        return cls()

    def close(self):
        return "closed"

class Echo(Model):
    def ask(self, question):
        return question

class Further(Echo):
    def ask(self, question):
        return super().ask(question) + "!"

class Quiet(Echo):
    def close(self):
        return "quietly"
"""


def rule(*targets, **keys):
    lines = [f"{key} = {value}" for key, value in keys.items()]
    return "\n".join(["[[rule]]", f"target = {list(targets)!r}", *lines, ""])


@pytest.mark.parametrize("first", [True, False], ids=["before", "after"])
def test_a_method_is_woven_in_every_class_that_defines_it(program, first):
    """Base and heirs alike, each body once, whether the module was there before or not."""
    program(models=MODELS)
    if first:
        import models  # noqa: F401
    text = rule("models:Model+.ask", role="'llm'", attributes="{ asked = 'question' }")
    with capture(text) as seen:
        from models import Further, Quiet

        assert Further.build().ask("a") == "a!"
        assert Quiet().ask("b") == "b"
        assert Quiet().close() == "quietly"
    assert seen.tree() == [("Further.ask", [("Echo.ask", [])]), ("Echo.ask", [])]
    assert {(span.role, span.metadata["asked"]) for span in seen.spans} == {
        ("llm", "a"),
        ("llm", "b"),
    }


def test_classes_that_come_later_are_woven_when_they_are_defined(program):
    """In another module, in a function, or made by a decorator: no call is missed."""
    program(
        models=MODELS,
        later="""
import dataclasses
from models import Echo, Model

@dataclasses.dataclass(slots=True)
class Slotted(Model):
    prefix: str = ">"
    def ask(self, question):
        return self.prefix + question

first = Slotted().ask("while the module executes")
""",
    )
    with capture(rule("models:Model+.ask")) as seen:
        import later
        from models import Echo

        class Local(Echo):
            def ask(self, question):
                return "local"

        assert later.Slotted().ask("q") == ">q"
        assert Local().ask("q") == "local"
        raw = Local.ask.__wrapped__
    assert [span.operation for span in seen.spans] == [
        *("Slotted.ask", "Slotted.ask"),
        f"{test_classes_that_come_later_are_woven_when_they_are_defined.__name__}.<locals>.Local.ask",
    ]
    assert Local.ask is raw
    assert not hasattr(later.Slotted.ask, "__wrapped__")


def test_everything_is_put_back_in_all_classes(program):
    """After uninstalling every class has what it had, and a new heir is left alone."""
    program(models=MODELS)
    import models

    classes = (models.Model, models.Echo, models.Further, models.Quiet)
    before = [dict(vars(each)) for each in classes]
    with capture(rule("models:Model+.*")) as seen:
        assert "__init_subclass__" in vars(models.Model)
        assert models.Echo.ask is not before[1]["ask"]
        woven = {entry.place for entry in seen.installation.weaver.ledger.entries}
    after = [dict(vars(each)) for each in classes]
    assert after == before
    assert woven == {
        f"models:{each}"
        for each in (
            *("Model.ask", "Model.build", "Model.close"),
            *("Echo.ask", "Further.ask", "Quiet.close"),
        )
    }

    class New(models.Echo):
        def ask(self, question):
            return question

    assert not hasattr(New.ask, "__wrapped__")


def test_a_class_that_is_told_of_its_heirs_still_is(program):
    """An `__init_subclass__` of the host's runs as it did, with its keywords and its errors."""
    program(
        registry="""
class Base:
    known = {}
    def __init_subclass__(cls, /, name=None, **kwargs):
        super().__init_subclass__(**kwargs)
        if name == "forbidden":
            raise ValueError("no such name")
        cls.known[name] = cls

class Silent(Base, name="silent"):
    def __init_subclass__(cls):
        pass
    def run(self):
        return "silent"

class Plain:
    pass
"""
    )
    with capture(rule("registry:Base+.run", "registry:Plain+.run")) as seen:
        from registry import Base, Plain, Silent

        class Named(Base, name="named"):
            def run(self):
                return "named"

        class Quiet(Silent):
            def run(self):
                return "quiet"

        assert Base.known["named"] is Named
        assert [Named().run(), Quiet().run()] == ["named", "quiet"]
        with pytest.raises(ValueError, match="no such name") as raised:

            class Forbidden(Base, name="forbidden"): ...

        frames = [each.name for each in raised.traceback]
        assert frames.count("__init_subclass__") == 1
        with pytest.raises(TypeError, match=r"Wrong\.__init_subclass__\(\) takes no keyword"):

            class Wrong(Plain, name="x"): ...

        assert inspect.signature(Base.__init_subclass__)
    assert len(seen.spans) == 2


def test_the_first_rule_wins_between_a_family_and_a_name(program):
    """An heir that another rule names falls under whichever rule stands first, once."""
    program(models=MODELS)
    family = rule("models:Model+.ask", operation="'family'")
    named = rule("models:Echo.ask", operation="'named'")
    for text, expected in ((family + named, "family"), (named + family, "named")):
        with capture(text) as seen:
            from models import Echo

            Echo().ask("q")
        assert [span.operation for span in seen.spans] == [expected]


def test_an_heir_can_be_excluded(program):
    """`exclude` names classes of the family by their own module and name."""
    program(models=MODELS)
    with capture(rule("models:Model+.ask", exclude="['models:Further.*']")) as seen:
        from models import Further

        Further().ask("q")
    assert [span.operation for span in seen.spans] == ["Echo.ask"]


def test_a_class_that_is_gone_is_not_kept(program):
    """Classes that a function defines again and again live no longer than without us."""
    program(models=MODELS)
    with capture(rule("models:Model+.ask")):
        from models import Echo

        class Local(Echo):
            def ask(self, question):
                return super().ask(question)

        assert Local().ask("q") == "q"
        gone = weakref.ref(Local)
        del Local
        gc.collect()
        assert gone() is None


@pytest.mark.parametrize(
    ("target", "reason"),
    [
        ("models:Nobody+.ask", "has no 'Nobody'"),
        ("models:dataclasses+.ask", "is no class"),
    ],
)
def test_what_has_no_heirs_is_noted(program, target, reason):
    """A base that is missing, or is no class, is in the ledger with the reason."""
    program(models=MODELS)
    with capture(rule(target)) as seen:
        import models  # noqa: F401

        (entry,) = seen.installation.weaver.ledger.entries
    assert reason in entry.reason


@pytest.mark.parametrize(
    "target", ["m:Base+", "m:+.f", "m:B*+.f", "m:A+.B+.f", "m:Ba+se.f", "m:A+.B.f", "m:A+.**"]
)
def test_a_misplaced_plus_is_explained(target):
    """A plus stands after one class and before its method."""
    with pytest.raises(TargetError):
        parse_target(target)
