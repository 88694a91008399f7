"""Importing with the agent in place is importing without it."""

import importlib
import importlib.metadata
import importlib.resources
import importlib.util
import inspect
import linecache
import pkgutil
import sys
import threading
import traceback
import types
import warnings

import pytest

from dytopo_autotrace import agent
from dytopo_autotrace.testing import capture
from dytopo_autotrace.weave.finder import Finder
from dytopo_autotrace.weave.loader import WatchedLoader

PATIENT = '[[rule]]\ntarget = ["patient:*", "patient.**:*", "nowhere.**:*"]\n'


def rule(*targets):
    return f"[[rule]]\ntarget = {list(targets)!r}\n"


def facts_of(module):
    """What a program can learn about a module from its import machinery."""
    spec = module.__spec__
    return {
        "name": module.__name__,
        "file": module.__file__,
        "cached": module.__cached__,
        "package": module.__package__,
        "path": [*getattr(module, "__path__", ())],
        "loader": type(module.__loader__),
        "same loader": spec.loader is module.__loader__,
        "spec": (spec.name, spec.origin, spec.cached, spec.parent, spec.has_location),
        "spec type": type(spec),
        "source": inspect.getsource(module),
        "loader source": module.__loader__.get_source(module.__name__),
        "code": module.__loader__.get_code(module.__name__).co_filename,
        "names": [*vars(module)],
    }


@pytest.mark.parametrize("name", ["patient", "patient.plain", "patient.nested", "nowhere.inner"])
def test_a_watched_module_looks_as_it_does_without_us(load, name):
    """Spec, loader, file, cache, source and names are those of a bare import."""
    bare = facts_of(load(name))
    for each in [*sys.modules]:
        if each.partition(".")[0] in ("patient", "nowhere"):
            del sys.modules[each]
    with capture(PATIENT + rule("patient.nested:outer.<locals>.inner")):
        assert facts_of(load(name)) == bare


def test_package_data_is_found(load):
    """`importlib.resources` and `pkgutil` read the files of a watched package."""
    with capture(PATIENT):
        package = load("patient")
        assert (
            importlib.resources.files(package).joinpath("answer.txt").read_text() == "forty-two\n"
        )
        assert pkgutil.get_data("patient", "answer.txt") == b"forty-two\n"
        names = {each.name for each in pkgutil.iter_modules(package.__path__)}
        assert {"plain", "classes"} <= names


def test_sources_of_woven_functions_are_found(load):
    """`inspect` shows the source and the signature of a function as it was written."""
    bare = load("patient.plain")
    expected = inspect.getsource(bare.add), str(inspect.signature(bare.order))
    with capture(PATIENT):
        assert (inspect.getsource(bare.add), str(inspect.signature(bare.order))) == expected


def test_a_namespace_package_stays_one(load):
    """A package without a file of its own keeps its kind of path, and its modules are woven."""
    with capture(PATIENT) as seen:
        inner = load("nowhere.inner")
        package = load("nowhere")
        assert inner.here() == "nowhere.inner"
        assert type(package.__path__).__name__ == "_NamespacePath"
        assert package.__file__ is None
    assert seen.tree() == [("here", [])]


def test_an_import_that_no_rule_names_is_not_touched(load):
    """The finder answers `None` at once, and the module's loader was never ours."""
    with capture(rule("patient.plain:add")) as seen:
        finder = seen.installation.finder
        assert finder.find_spec("json") is None
        assert finder.find_spec("patient.classes", load("patient").__path__) is None
        spec = finder.find_spec("patient.plain", load("patient").__path__)
        assert type(spec.loader) is WatchedLoader
        assert isinstance(spec.loader, importlib.machinery.SourceFileLoader)


def test_looking_for_a_module_does_not_execute_it(load):
    """`find_spec` of a watched module gives a spec that can be used by hand."""
    with capture(PATIENT) as seen:
        spec = importlib.util.find_spec("patient.lazy")
        assert "patient.lazy" not in sys.modules
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        assert module.real() == "real"
        assert type(module.__loader__) is importlib.machinery.SourceFileLoader
    assert seen.tree() == [("real", [])]


def shown(load, name):
    with pytest.raises(BaseException) as raised:
        load(name)
    linecache.clearcache()
    return "".join(traceback.format_exception(raised.value.with_traceback(_beyond(raised.value))))


def _beyond(error):
    """The traceback below this file and pytest."""
    step = error.__traceback__
    while step.tb_next and step.tb_frame.f_code.co_filename in (__file__, pytest.__file__):
        step = step.tb_next
    return step


BROKEN = {
    "syntax": "def f(:\n    pass\n",
    "indentation": "def f():\npass\n",
    "null": "x = 1\0\n",
    "raises": "def f():\n    raise ValueError('from within')\n\n\ndef outer():\n    f()\n\n\nouter()\n",
    "missing": "import no_such_module_at_all\n",
    "missing_name": "from sys import no_such_name\n",
    "exits": "raise SystemExit(3)\n",
    "interrupted": "raise KeyboardInterrupt\n",
    "chained": "try:\n    1 / 0\nexcept ZeroDivisionError as e:\n    raise OSError('second') from e\n",
    "deep": "import broken_syntax\n",
}


@pytest.mark.parametrize("kind", BROKEN)
@pytest.mark.parametrize("target", ["*", "f.<locals>.g"])
def test_an_import_that_fails_fails_as_it_would(program, kind, target):
    """The exception of a module that cannot be imported has the same text and traceback."""
    program(**{f"broken_{name}": source for name, source in BROKEN.items()})
    name = f"broken_{kind}"
    bare = shown(importlib.import_module, name)
    with capture(rule(*(f"broken_{each}:{target}" for each in BROKEN))):
        assert shown(importlib.import_module, name) == bare
        assert name not in sys.modules


def test_an_exception_of_another_finder_comes_through(program, monkeypatch):
    """A finder that raises does so with its own traceback, not with a frame of ours."""

    class Raising:
        def find_spec(self, name, path=None, target=None):
            if name == "raised_for":
                raise ImportError("as the other finder says")

    program(raised_for="x = 1\n")
    with capture(rule("raised_for:*")):
        monkeypatch.setattr(sys, "meta_path", [*sys.meta_path[:1], Raising(), *sys.meta_path[1:]])
        with pytest.raises(ImportError, match="as the other finder says") as raised:
            importlib.import_module("raised_for")
        frames = [frame.filename for frame in traceback.extract_tb(raised.value.__traceback__)]
        assert not any("dytopo_autotrace" in name for name in frames)
        monkeypatch.undo()


def test_a_loader_without_exec_module_is_left_alone(monkeypatch):
    """A loader of the old kind loads its module as it always did."""

    class Old:
        def find_spec(self, name, path=None, target=None):
            if name == "of_old":
                return importlib.machinery.ModuleSpec(name, loader=self)

        def load_module(self, name):
            module = sys.modules[name] = types.ModuleType(name)
            module.value = 17
            return module

    with capture(rule("of_old:*")):
        sys.meta_path.append(old := Old())
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                assert importlib.import_module("of_old").value == 17
        finally:
            sys.meta_path.remove(old)
            sys.modules.pop("of_old", None)


def test_a_module_that_puts_something_else_in_its_place(program):
    """A module that replaces itself in `sys.modules` is imported as it wants to be."""
    program(
        chameleon="import sys\ndef f():\n    return 1\n"
        "class Other:\n    f = staticmethod(f)\nsys.modules[__name__] = Other()\n"
    )
    with capture(rule("chameleon:*")):
        assert importlib.import_module("chameleon").f() == 1


def test_a_lazy_module_sleeps_on_and_is_woven_when_it_wakes(program):
    """Rules and alias scans do not execute a lazy module; its first use does, and weaves it."""
    program(sleeping="import builtins\nbuiltins.woke = True\ndef f():\n    return 'awake'\n")
    import builtins

    builtins.woke = False
    spec = importlib.util.find_spec("sleeping")
    spec.loader = importlib.util.LazyLoader(spec.loader)
    module = importlib.util.module_from_spec(spec)
    sys.modules["sleeping"] = module
    spec.loader.exec_module(module)
    try:
        with capture(rule("sleeping:*", "textwrap:shorten")) as seen:
            importlib.import_module("textwrap")
            assert not builtins.woke
            assert module.f() == "awake"
            assert builtins.woke
        assert seen.tree() == [("f", [])]
        assert type(module.__spec__.loader) is not WatchedLoader
    finally:
        del builtins.woke


def test_a_lazy_module_that_never_wakes_gets_its_loader_back(program):
    """Uninstalling leaves a lazy module asleep, with the loader it had."""
    program(dozing="raise AssertionError('woken')\n")
    spec = importlib.util.find_spec("dozing")
    real = spec.loader
    spec.loader = importlib.util.LazyLoader(real)
    module = importlib.util.module_from_spec(spec)
    sys.modules["dozing"] = module
    spec.loader.exec_module(module)
    with capture(rule("dozing:*")):
        assert type(spec.loader) is WatchedLoader
    assert spec.loader is real


def test_a_module_that_installs_the_agent_is_woven_when_it_is_done(program):
    """A module executing when the agent comes is woven at the next import after its end."""
    program(
        installer="import own_rules\nown_rules.install()\ndef f():\n    return 1\n",
        own_rules="def install():\n    pass\n",
        something_else="",
    )
    own_rules = importlib.import_module("own_rules")
    with capture() as seen:
        text = "[[rule]]\ntarget = 'installer:f'\n"
        entered = capture(text)
        own_rules.install = entered.__enter__
        module = importlib.import_module("installer")
        importlib.import_module("something_else")
        assert module.f() == 1
        assert [span.operation for span in seen.spans] == ["f"]
        assert entered.__exit__(None, None, None) is not True


def test_a_module_that_another_thread_executes_is_waited_for(program):
    """A half-done module is neither woven half nor complained about."""
    program(
        slow_start="import gate\ngate.reached.set()\ngate.go.wait(10)\ndef f():\n    return 1\n",
        gate="import threading\nreached = threading.Event()\ngo = threading.Event()\n",
        afterwards="",
    )
    gate = importlib.import_module("gate")
    thread = threading.Thread(target=importlib.import_module, args=("slow_start",))
    thread.start()
    gate.reached.wait(10)
    with capture(rule("slow_start:f")) as seen:
        assert not seen.installation.weaver.ledger.entries
        gate.go.set()
        thread.join(10)
        importlib.import_module("afterwards")
        assert sys.modules["slow_start"].f() == 1
        assert [entry.fate for entry in seen.installation.weaver.ledger.entries] == ["woven"]
    assert seen.tree() == [("f", [])]


def test_many_threads_import_at_once(program):
    """Threads that import watched modules at the same time all get them, woven once each."""
    names = [f"crowd_{number}" for number in range(12)]
    program(**dict.fromkeys(names, "def f():\n    return __name__\n"))
    with capture(rule(*(f"{name}:f" for name in names))) as seen:
        threads = [
            threading.Thread(target=lambda: [importlib.import_module(name).f() for name in names])
            for _ in range(4)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
        assert len(seen.spans) == 4 * len(names)
        assert len(seen.installation.weaver.ledger.entries) == len(names)


def test_the_finder_is_gone_after_uninstalling(load):
    """`sys.meta_path` is as it was, and later imports are bare."""
    before = [*sys.meta_path]
    with capture(PATIENT):
        assert type(sys.meta_path[0]) is Finder
    assert sys.meta_path == before
    assert not hasattr(load("patient.plain").add, "__wrapped__")


def test_disabled_by_the_environment_nothing_is_put_in(load, monkeypatch):
    """With the switch in the environment, `install` leaves the import system alone."""
    monkeypatch.setenv("DYTOPO_AUTOTRACE_DISABLED", "1")
    before = [*sys.meta_path]
    with agent.install("no/such/file.toml") as installation:
        assert not installation.is_active
        assert sys.meta_path == before
        assert load("patient.plain").add(1) == 3
