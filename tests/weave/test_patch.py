"""Putting advice in place of what rules name, and taking it out again."""

import contextlib
import importlib
import sys

import pytest
import wrapt

from dytopo_autotrace import agent
from dytopo_autotrace.testing import capture

KINDS = [
    ("patient.plain", "add"),
    ("patient.plain", "double"),
    ("patient.plain", "remember"),
    ("patient.plain", "greet"),
    ("patient.plain", "add_one"),
    ("patient.classes", "Base.greet"),
    ("patient.classes", "Base.work"),
    ("patient.classes", "Base.make"),
    ("patient.classes", "Base.helper"),
    ("patient.classes", "Base.remembered"),
    ("patient.classes", "Base.upper"),
    ("patient.classes", "Base.slow"),
    ("patient.plain", "count"),
    ("patient.plain", "count_later"),
    ("patient.classes", "Base.__private"),
    ("patient.classes", "Base.Inner.nested"),
    ("patient.classes", "Derived.greet"),
    ("patient.classes", "Derived.inherited"),
    ("patient.classes", "Further.make"),
    ("patient.classes", "Slotted.get"),
    ("patient.classes", "Point.length"),
    ("patient.classes", "Model.ask"),
    ("patient.classes", "Model.build"),
    ("patient.classes", "Colour.describe"),
    ("patient.decorated", "fetch"),
    ("patient.decorated", "session"),
    ("patient.decorated", "function"),
    ("patient.decorated", "Client.method"),
    ("patient.decorated", "Client.build"),
    ("patient.decorated", "Client.noted_class"),
]


def rule(*targets, **keys):
    """The text of a rule."""
    lines = [f"{key} = {value}" for key, value in keys.items()]
    return "\n".join(["[[rule]]", f"target = {list(targets)!r}", *lines, ""])


def contents(module):
    """Everything that a module and its classes hold, by identity."""
    held = {}
    pending = [("", module)]
    while pending:
        prefix, owner = pending.pop()
        for name, value in vars(owner).items():
            held[prefix + name] = value
            if isinstance(value, type) and value.__module__ == module.__name__:
                pending.append((f"{prefix}{name}.", value))
    return held


def fates(seen):
    return {(entry.place, entry.fate) for entry in seen.installation.weaver.ledger.entries}


@pytest.mark.parametrize(("module", "qualname"), KINDS)
def test_everything_is_what_it_was_after_uninstalling(load, module, qualname):
    """A module holds the same objects after uninstalling as before, and something else between."""
    patient = load(module)
    before = contents(patient)
    with capture(rule(f"{module}:{qualname}")) as seen:
        assert (f"{module}:{qualname}", "woven") in fates(seen)
        assert any(contents(patient).get(name) is not value for name, value in before.items()) or (
            contents(patient).keys() != before.keys()
        )
    after = contents(patient)
    assert after.keys() == before.keys()
    assert [name for name, value in before.items() if after[name] is not value] == []


@pytest.mark.parametrize("first", [True, False], ids=["before", "after"])
def test_modules_are_woven_whether_imported_before_or_after(load, first):
    """It makes no difference whether a module was there when the agent came."""
    if first:
        load("patient.plain")
    with capture(rule("patient.plain:add")) as seen:
        assert load("patient.plain").add(1) == 3
    assert seen.tree() == [("add", [])]


def test_a_rule_on_an_inherited_method_means_that_class_only(load):
    """Calls through the named class are seen, through its base not; the class gets no copy to keep."""
    classes = load("patient.classes")
    with capture(rule("patient.classes:Derived.inherited")) as seen:
        assert classes.Base().inherited() == "inherited by Base"
        assert classes.Derived().inherited() == "inherited by Derived"
        assert "inherited" in vars(classes.Derived)
    assert "inherited" not in vars(classes.Derived)
    assert [span.operation for span in seen.spans] == ["Derived.inherited"]


@pytest.mark.parametrize("reverse", [False, True])
def test_base_and_heir_under_rules_of_their_own_record_one_span_a_call(load, reverse):
    """Whichever rule comes first, a call through the heir is the heir's and only the heir's."""
    classes = load("patient.classes")
    rules = [
        rule("patient.classes:Base.inherited", operation="'base'"),
        rule("patient.classes:Derived.inherited", operation="'heir'"),
    ]
    with capture("\n".join(rules[::-1] if reverse else rules)) as seen:
        classes.Derived().inherited()
        classes.Base().inherited()
        classes.Further().inherited()
    assert [span.operation for span in seen.spans] == ["heir", "base", "heir"]


def test_a_method_that_calls_its_base_gives_one_span_per_body(load):
    """`super().greet()` below a watched `greet` is a child, each body recorded once."""
    classes = load("patient.classes")
    with capture(rule("patient.classes:*.greet")) as seen:
        assert classes.Derived().greet() == "and derived greets you"
    assert seen.tree() == [("Derived.greet", [("Base.greet", [])])]


def test_aliases_from_before_are_rebound_and_put_back(load):
    """`from x import f`, under any name and in the package itself, calls the woven function."""
    aliases, plain = load("patient.aliases"), load("patient.plain")
    original = plain.add
    with capture(rule("patient.plain:add")) as seen:
        for function in (aliases.add, aliases.plus, aliases.own, plain.same, load("patient").add):
            assert function(1, 1) == 2
        aliases.use_by_name(1, 1)
        assert len(seen.spans) == 6
    for function in (aliases.add, aliases.plus, aliases.own, plain.same, load("patient").add):
        assert function is original


def test_aliases_taken_while_woven_are_put_back_too(load):
    """A module that imports the woven function holds the real one after uninstalling."""
    plain = load("patient.plain")
    original = plain.add
    with capture(rule("patient.plain:add")) as seen:
        aliases = load("patient.aliases")
        aliases.plus(1, 1)
    assert [aliases.add, aliases.plus, aliases.own] == [original] * 3
    assert aliases.add is original
    assert len(seen.spans) == 1


def test_references_out_of_reach_fall_silent_and_keep_working(load):
    """What a dict, a default or a partial holds calls the function, and records nothing afterwards."""
    with capture(rule("patient.plain:add")) as seen:
        aliases = load("patient.aliases")
        assert aliases.TABLE["add"](1, 1) == 2
        assert len(seen.spans) == 1
    assert aliases.TABLE["add"](1, 1) == aliases.use(1, 1) == 2
    assert aliases.add_ten(1) == 11
    with capture() as later:
        aliases.TABLE["add"](1, 1)
    assert later.spans == []


def test_a_name_that_was_only_imported_is_woven_there_alone(load):
    """A rule that names another package's function in a module means that module's use of it."""
    import asyncio

    plain = load("patient.plain")
    sleep = asyncio.sleep
    with capture(rule("patient.plain:sleep")) as seen:
        assert plain.sleep is not sleep
        assert asyncio.sleep is asyncio.tasks.sleep is sleep
        asyncio.run(plain.double(1))
    assert plain.sleep is sleep
    assert seen.tree() == [("sleep", [])]


def test_a_module_half_done_in_a_circle_is_woven_when_it_is_done(load):
    """A name that a circular import took too early is rebound once the module is complete."""
    with capture(rule("patient.circular_a:*")) as seen:
        a = load("patient.circular_a")
        assert a.through() == "first"
        a.last()
    assert seen.tree() == [("through", [("first", [])]), ("last", [])]


def test_the_first_rule_that_matches_wins(load):
    """Of two rules on one function the earlier counts, and the call is recorded once."""
    rules = rule("patient.plain:add", operation="'one'") + rule(
        "patient.plain:*", operation="'two'"
    )
    plain = load("patient.plain")
    with capture(rules) as seen:
        plain.add(1)
        plain.factorial(1)
    assert [span.operation for span in seen.spans] == ["one", "two"]


def test_what_is_excluded_is_not_woven(load):
    """An excluded function stays the same object."""
    plain = load("patient.plain")
    add = plain.add
    with capture(rule("patient.plain:*", exclude="['add', 'fail*']")) as seen:
        assert plain.add is add
        plain.add(1)
        with pytest.raises(ValueError, match="as asked"):
            plain.fail()
        plain.factorial(1)
    assert [span.operation for span in seen.spans] == ["factorial"]


def test_globs_take_only_what_a_module_defines_itself(load):
    """`*` means no imported function, no class, no dunder, no lambda, no alias and no instance."""
    load("patient.plain")
    load("patient.classes")
    with capture(rule("patient.plain:**", "patient.classes:**")) as seen:
        woven = {place.partition(":")[2] for place, fate in fates(seen) if fate == "woven"}
    assert woven == {
        *("add", "double", "quadruple", "fail", "fail_later", "fail_because"),
        *("order", "later", "remember", "factorial", "dive", "counter", "count", "count_later"),
        *("Base.greet", "Base.inherited", "Base.work", "Base.make", "Base.helper"),
        *("Base.remembered", "Base.__private", "Base.call_private", "Base.Inner.nested"),
        *("Derived.greet", "Slotted.get", "Point.length", "Model.ask", "Model.build"),
        *("Echo.ask", "Echo.build", "Colour.describe", "Meta.of_the_class"),
    }


@pytest.mark.parametrize(
    ("target", "fate", "reason"),
    [
        ("patient.plain:ad", "nothing_matched", "Did you mean 'add'?"),
        ("patient.classes:Base.gret", "nothing_matched", "Did you mean 'greet'?"),
        ("patient.classes:Bas.greet", "nothing_matched", "Did you mean 'Base'?"),
        ("patient.classes:the_base.greet", "refused", "name it by its class"),
        ("patient.classes:Base.name", "refused", "cannot be called"),
        ("patient.classes:Base.dispatched", "refused", "cannot be called"),
        ("patient.classes:Base.Inner", "refused", "class"),
        ("patient.plain:root", "refused", "written in C"),
        ("patient.plain:plus", "refused", "written in C"),
        ("patient.plain:itself", "refused", "cannot be called"),
    ],
)
def test_what_cannot_be_woven_is_noted_with_a_reason(load, target, fate, reason):
    """A target that is missing, or no function, never raises into the import; the ledger says why."""
    with capture(rule(target)) as seen:
        load(target.partition(":")[0])
        (entry,) = seen.installation.weaver.ledger.entries
    assert (entry.place, entry.fate) == (target, fate)
    assert reason in entry.reason


def test_a_type_that_cannot_be_changed_is_refused(program):
    """A method of a built-in type stays as it is, and the ledger says so."""
    program(immutable="from decimal import Decimal\nint_ = int\n")
    with capture(rule("decimal:Decimal.sqrt")) as seen:
        importlib.import_module("immutable")
        (entry,) = seen.installation.weaver.ledger.entries
    assert entry.fate == "refused"


def test_a_lazy_attribute_is_not_made_by_looking(load):
    """A module's own `__getattr__` is not set off by rules that name what it would make."""
    lazy = load("patient.lazy")
    lazy.asked.clear()
    with capture(rule("patient.lazy:made", "patient.lazy:*", "patient.lazy:other")) as seen:
        lazy.real()
        assert lazy.asked == []
    assert [span.operation for span in seen.spans] == ["real"]


def test_a_reloaded_module_is_woven_again_and_taken_out_again(load):
    """A reload gives new functions, which are woven, and are what is left after uninstalling."""
    plain = load("patient.plain")
    with capture(rule("patient.plain:add")) as seen:
        plain.add(1)
        importlib.reload(plain)
        plain.add(1)
        bare = plain.add.__wrapped__
        assert len(seen.spans) == 2
    assert plain.add is bare
    assert not hasattr(plain.add, "__wrapped__")


def test_a_reload_that_leaves_a_function_alone_weaves_it_once(program):
    """A function that survives a reload is neither woven twice nor complained about."""
    program(surviving="if 'keep' not in globals():\n    def keep():\n        return 1\n")
    with capture(rule("surviving:keep")) as seen:
        module = importlib.import_module("surviving")
        importlib.reload(module)
        module.keep()
        assert fates(seen) == {("surviving:keep", "woven")}
    assert seen.tree() == [("keep", [])]


def test_a_second_import_is_woven_too(load):
    """A module that was forgotten and is imported again is woven again."""
    with capture(rule("patient.plain:add")) as seen:
        load("patient.plain").add(1)
        del sys.modules["patient.plain"]
        load("patient.plain").add(1)
    assert len(seen.spans) == 2


def test_installing_again_takes_the_first_installation_out(load):
    """Two installations in a row leave one layer, and uninstalling leaves none."""
    plain = load("patient.plain")
    add = plain.add
    with capture(rule("patient.plain:add", operation="'first'")) as seen:
        first = seen.installation
        agent.install(type(first.ruleset)(first.ruleset.origin, rules=first.ruleset.rules))
        assert not first.is_active
        first.uninstall()
        assert agent._installed.is_active
        plain.add(1)
        assert plain.add.__wrapped__ is add
        assert len(seen.spans) == 1
    assert plain.add is add


def test_what_another_tool_put_over_ours_stays(load):
    """A wrapper that came after ours is not removed with it; ours falls silent inside."""
    plain = load("patient.plain")
    calls = []

    def theirs(wrapped, instance, args, kwargs):
        calls.append(args)
        return wrapped(*args, **kwargs)

    with capture(rule("patient.plain:add")) as seen:
        plain.add = wrapper = wrapt.FunctionWrapper(plain.add, theirs)
        plain.add(1)
        assert len(seen.spans) == 1
    assert plain.add is wrapper
    with capture() as later:
        assert plain.add(1) == 3
    assert calls == [(1,), (1,)]
    assert later.spans == []


def test_what_another_tool_put_under_ours_stays(load):
    """A wrapper that came before ours sees its calls, with the right instance, and stays."""
    classes = load("patient.classes")
    calls = []

    def theirs(wrapped, instance, args, kwargs):
        calls.append((instance, args))
        return wrapped(*args, **kwargs)

    classes.Base.greet = wrapper = wrapt.FunctionWrapper(classes.Base.greet, theirs)
    with capture(rule("patient.classes:Base.greet")) as seen:
        base = classes.Base()
        assert base.greet("me") == classes.Base.greet(base, "me") == "base greets me"
    assert vars(classes.Base)["greet"] is wrapper
    assert calls == [(base, ("me",)), (base, ("me",))]
    assert len(seen.spans) == 2


def test_attributes_hung_on_a_woven_function_are_there_afterwards(load):
    """A function that counts its own calls in an attribute goes on counting after uninstalling."""
    plain = load("patient.plain")
    plain.counter.mark = "before"
    with capture(rule("patient.plain:counter")):
        assert plain.counter() == 1
        assert plain.counter() == 2
        plain.counter.new = "new"
        del plain.counter.mark
    assert plain.counter() == 3
    assert plain.counter.new == "new"
    assert not hasattr(plain.counter, "mark")
    assert not hasattr(plain.counter, "__wrapped__")


def test_a_module_with_a_strange_dict_does_not_disturb(load):
    """Modules that load themselves, raise or pretend when looked at are passed by."""

    class Strange(type(sys)):
        def __getattribute__(self, name):
            raise RuntimeError("do not look at me")

    class Pretender:
        @property
        def __class__(self):
            raise RuntimeError("do not ask what I am")

    sys.modules["strange"] = Strange("strange")
    sys.modules["pretender"] = Pretender()
    sys.modules[17] = sys
    try:
        plain = load("patient.plain")
        plain.pretender = Pretender()
        with capture(rule("patient.plain:*")) as seen:
            plain.add(1)
            assert seen.installation.weaver.ledger.faults == []
        assert len(seen.spans) == 1
    finally:
        for name in ("strange", "pretender", 17):
            del sys.modules[name]


def test_one_undo_that_fails_does_not_stop_the_others(load):
    """Everything that can be put back is, and what cannot is counted."""
    plain = load("patient.plain")
    add, fail = plain.add, plain.fail
    with capture(rule("patient.plain:add", "patient.plain:fail")) as seen:
        ledger = seen.installation.weaver.ledger
        ledger.undo.insert(2, lambda: 1 / 0)
    assert plain.add is add
    assert plain.fail is fail
    assert "ZeroDivisionError" in ledger.faults[0]


def test_uninstalling_lets_calls_in_flight_finish():
    """A call that runs while the agent is taken out ends as it would, and is recorded."""
    from dytopo_autotrace import traced

    with capture() as seen:

        @traced(operation="work")
        def work():
            with contextlib.suppress(Exception):
                agent.uninstall()
            return "done"

        assert work() == "done"
    assert seen.one("work").status == "success"


async def test_uninstalling_lets_coroutines_in_flight_finish(load):
    """A coroutine that waits while the agent is taken out is recorded to its end."""
    import asyncio

    plain = load("patient.plain")
    with capture(rule("patient.plain:double")) as seen:
        task = asyncio.create_task(plain.double(2))
        await asyncio.sleep(0)
        agent.uninstall()
        assert await task == 4
    assert seen.one("double").status == "success"


def test_other_names_of_a_method_in_its_class_lead_to_the_woven_one(program):
    """`__radd__ = __add__` stays one function with two names, woven and afterwards."""
    program(
        named="class N:\n"
        "    def __add__(self, other):\n        return other\n"
        "    __radd__ = __add__\n"
        "    def m(self):\n        return 'm'\n"
        "    n = m\n"
        "    @staticmethod\n    def s():\n        return 's'\n"
        "    t = s\n"
    )
    with capture('[[rule]]\ntarget = ["named:N.m", "named:N.__add__", "named:N.s"]') as seen:
        import named

        number = named.N()
        assert (number + 1, 2 + number, number.n(), number.m(), named.N.t()) == (
            1,
            2,
            "m",
            "m",
            "s",
        )
        assert vars(named.N)["n"] is vars(named.N)["m"]
    assert sorted(span.operation for span in seen.spans) == [
        *["N.__add__"] * 2,
        *["N.m"] * 2,
        "N.s",
    ]
    for one, other in (("__add__", "__radd__"), ("m", "n"), ("s", "t")):
        assert vars(named.N)[one] is vars(named.N)[other]
        assert not hasattr(vars(named.N)[one], "_self_switch")
    assert not hasattr(named.N.n, "__wrapped__")


def test_another_name_of_a_method_that_a_rule_names_is_woven_by_that_rule(program):
    """Two rules on the two names of one function give each name its own advice."""
    program(named="class N:\n    def m(self):\n        return 'm'\n    n = m\n")
    rules = '[[rule]]\ntarget = "named:N.m"\n[[rule]]\ntarget = "named:N.n"\noperation = "other"\n'
    with capture(rules) as seen:
        import named

        assert named.N().n() + named.N().m() == "mm"
    assert [span.operation for span in seen.spans] == ["other", "N.m"]
    assert vars(named.N)["n"] is vars(named.N)["m"]


def test_a_module_is_found_by_each_name_that_it_is_known_by():
    """`os.path` calls itself by another name: a rule may use either, and calls are spans once."""
    import os

    bare = os.path.commonpath
    for target in (
        '"os.path:commonpath"',
        '"posixpath:commonpath"',
        '["os.path:commonpath", "posixpath:commonpath"]',
    ):
        with capture(f"[[rule]]\ntarget = {target}\n") as seen:
            assert os.path.commonpath(["a/b", "a/c"]) == "a"
        assert [span.operation for span in seen.spans] == ["commonpath"]
        assert os.path.commonpath is bare
