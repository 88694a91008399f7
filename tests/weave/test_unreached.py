"""References that no attribute reaches are named, not silently missed."""

import subprocess
import sys
import threading

from dytopo_autotrace.testing import capture
from dytopo_autotrace.weave.unreached import held_elsewhere

HELD = """
import functools

def f(x=1):
    return x

class C:
    def m(self):
        return "m"
    registry = [m]

class Thing: pass

TOOLS = {"f": f}
NESTED = {"a": ({"b": [f]},)}
part = functools.partial(f, 2)
fast = functools.cache(f)
thing = Thing()
thing.f = f

def default(x=f): pass

def outer(g):
    def inner():
        return g()
    return inner

closed = outer(f)
"""


def test_everything_that_holds_a_bare_function_is_named(program):
    """Dicts, lists, partials, caches, instances, defaults, closures and classes, by their names."""
    program(held=HELD)
    with capture('[[rule]]\ntarget = ["held:f", "held:C.m"]') as seen:
        import held

        found = {(each.function, each.holder) for each in held_elsewhere(_ledger(seen))}
        held.TOOLS["f"]()
    assert seen.spans == []
    assert found == {
        ("held:f", "held.TOOLS (dict)"),
        ("held:f", "held.NESTED (dict)"),
        ("held:f", "held.part (a functools.partial)"),
        ("held:f", "held.fast (a functools._lru_cache_wrapper)"),
        ("held:f", "held.thing (a held.Thing)"),
        ("held:f", "held:default (default, closure or attribute)"),
        ("held:f", "held:outer.<locals>.inner (default, closure or attribute)"),
        ("held:C.m", "class held:C"),
    }


def _ledger(seen):
    return seen.installation.weaver.ledger


def test_what_is_reached_is_not_complained_about(load):
    """Modules, aliases, classes, generators and what we hold ourselves are no news."""
    for name in ("plain", "classes"):
        load(f"patient.{name}")
    with capture(
        '[[rule]]\ntarget = ["patient.plain:add", "patient.plain:count", "patient.classes:Base.*"]'
    ) as seen:
        generator = load("patient.plain").count(2)
        next(generator)
        found = {each.function for each in held_elsewhere(_ledger(seen))}
    assert found <= {"patient.plain:add"}  # `add_one = functools.partial(add, 1)`


def test_a_program_of_compiled_code_says_what_its_rules_cannot_reach(program):
    """A `.pyc` runs as it is, and a line on stderr says why nothing of it is watched."""
    import py_compile

    folder = program(compiled="def f():\n    return 1\nprint(f())\n")
    file = py_compile.compile(str(folder / "compiled.py"), cfile=str(folder / "c.pyc"))
    rules = folder / "rules.toml"
    rules.write_text('[[rule]]\ntarget = "__main__:f"\n', encoding="utf-8")
    options = ["--rules", str(rules), "--store", "none"]
    done = subprocess.run(
        [sys.executable, "-m", "dytopo_autotrace", *options, file],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "1\n")
    assert "is compiled code: rules on its own functions need its source" in done.stderr


def test_a_run_tells_of_what_it_could_not_reach(program):
    """The report of a launched program has a line for it."""
    folder = program(held=HELD, main_of_it="import held\nheld.f()\nheld.TOOLS['f']()\n")
    rules = folder / "rules.toml"
    rules.write_text('[[rule]]\ntarget = "held:f"\n', encoding="utf-8")
    command = [sys.executable, "-m", "dytopo_autotrace", "--rules", str(rules), "--store", "none"]
    done = subprocess.run(
        [*command, str(folder / "main_of_it.py")],
        capture_output=True,
        text=True,
        check=False,
        cwd=folder,
    )
    assert done.returncode == 0
    assert "held:f is also held by held.TOOLS" in done.stdout + done.stderr


MADE_ANEW = """
import dataclasses, functools

class Base:
    def ask(self):
        return 1

class Sub(Base): pass

@dataclasses.dataclass(slots=True)
class D:
    x: int
    def double(self):
        return 2 * self.x

class Holder:
    def m(self, x):
        return x
    part = functools.partialmethod(m, 1)
"""


def test_what_nobody_calls_from_is_not_named(program):
    """A base below a rule of its own, and a class from before its slots, hold nothing that counts."""
    program(anew=MADE_ANEW)
    rules = (
        '[[rule]]\ntarget = ["anew:Base+.ask", "anew:Sub.ask", "anew:D.double", "anew:Holder.m"]'
    )
    with capture(rules) as seen:
        __import__("anew")
        found = {(each.function, each.holder) for each in held_elsewhere(_ledger(seen))}
    assert found == {("anew:Holder.m", "class anew:Holder")}


def test_holders_are_found_however_many_functions_are_woven(program):
    """Hundreds of functions, held one by one among very many objects, are each named."""
    count = 300
    source = "".join(f"def f{each}(): pass\n" for each in range(count))
    program(many=f"{source}TABLE = {{'f7': f7}}\nLAST = [f{count - 1}]\n")
    others = [[] for _ in range(400_000)]
    with capture('[[rule]]\ntarget = "many:*"') as seen:
        __import__("many")
        found = {(each.function, each.holder) for each in held_elsewhere(_ledger(seen))}
    assert len(others) == 400_000
    assert found == {("many:f7", "many.TABLE (dict)"), (f"many:f{count - 1}", "many.LAST (list)")}


def test_a_search_that_takes_too_long_is_given_up(program, monkeypatch):
    """Nothing is claimed then: the report says that nobody was asked."""
    program(held=HELD)
    monkeypatch.setattr("dytopo_autotrace.weave.unreached.MAX_SECONDS", -1.0)
    with capture('[[rule]]\ntarget = "held:f"') as seen:
        __import__("held")
        assert held_elsewhere(_ledger(seen)) is None


def test_looking_disturbs_no_other_thread(program):
    """A tuple that another thread is making can be finished, whatever is looked at meanwhile."""
    program(busy="def f(): pass\nTABLE = {'f': f}\n")
    others = [[] for _ in range(200_000)]
    faults, done = [], threading.Event()

    def make():
        while not done.is_set():
            try:
                tuple(each for each in range(10_000))
            except SystemError as fault:
                faults.append(fault)

    threads = [threading.Thread(target=make) for _ in range(3)]
    for thread in threads:
        thread.start()
    with capture('[[rule]]\ntarget = "busy:*"') as seen:
        __import__("busy")
        for _ in range(5):
            assert held_elsewhere(_ledger(seen))
    done.set()
    for thread in threads:
        thread.join()
    assert len(others) == 200_000
    assert faults == []
