"""Reaching functions that no attribute leads to, by their source."""

import asyncio
import importlib
import inspect
import sys
import traceback
import warnings

import pytest

from dytopo_autotrace.testing import capture
from dytopo_autotrace.weave.source import compile_woven


def rule(*targets, **keys):
    lines = [f"{key} = {value}" for key, value in keys.items()]
    return "\n".join(["[[rule]]", f"target = {list(targets)!r}", *lines, ""])


def test_nested_functions_are_reached(load):
    """A function defined inside another is recorded, sync and async, each time it is defined."""
    text = rule("patient.nested:*.<locals>.inner", attributes="{ step = 'step' }")
    with capture(text) as seen:
        nested = load("patient.nested")
        assert nested.outer(1)(2) == nested.outer(2)(1) == 3
        assert asyncio.run(nested.outer_later(1)) == 2
    assert [(span.operation, span.metadata) for span in seen.spans] == [
        ("outer.<locals>.inner", {"step": 2}),
        ("outer.<locals>.inner", {"step": 1}),
        ("outer_later.<locals>.inner", {"step": 1}),
    ]


def test_a_nested_function_is_what_it_was_written_as(load):
    """Name, doc, line, source and signature of a woven nested function are those of its `def`."""
    bare = load("patient.nested").outer(1)
    facts = [
        (function.__name__, function.__qualname__, function.__doc__, inspect.getsource(function))
        + (str(inspect.signature(function)), inspect.unwrap(function).__code__.co_firstlineno)
        for function in [bare]
    ]
    del sys.modules["patient.nested"]
    with capture(rule("patient.nested:outer.<locals>.inner")):
        function = load("patient.nested").outer(1)
        assert function.__wrapped__
        facts += [
            (
                function.__name__,
                function.__qualname__,
                function.__doc__,
                inspect.getsource(function),
            )
            + (str(inspect.signature(function)), inspect.unwrap(function).__code__.co_firstlineno)
        ]
    assert facts[0] == facts[1]


def test_methods_of_local_classes_are_reached(load):
    """A method of a class inside a function is recorded."""
    with capture(rule("patient.nested:with_class.<locals>.Local.method")) as seen:
        assert load("patient.nested").with_class().method() == "local"
    assert seen.tree() == [("with_class.<locals>.Local.method", [])]


def test_tracebacks_through_woven_source_are_the_same(load):
    """Lines, names and carets of a traceback do not change when the source is woven."""

    def shown():
        with pytest.raises(ValueError, match="deep inside") as raised:
            load("patient.nested").fail_inside()
        return traceback.format_tb(raised.value.__traceback__.tb_next)

    bare = shown()
    del sys.modules["patient.nested"]
    with capture(rule("patient.nested:fail_inside.<locals>.deep")) as seen:
        assert shown() == bare
    assert seen.one("fail_inside.<locals>.deep").status == "error"


def test_every_line_number_stays(load, program):
    """The code object of a woven module has the lines of the bare one, function by function."""
    source = (
        "import functools\n\n\n@functools.cache\n@functools.lru_cache\ndef f(\n    a,\n):\n"
        "    def g():\n        return a\n\n    @functools.cache\n    def h(): return a\n"
        "    class C:\n        async def m(self):\n            pass\n    return g, h, C\n"
    )
    program(lines=source)

    def lines(code):
        yield code.co_name, code.co_firstlineno, {line for *_, line in code.co_lines() if line}
        for const in code.co_consts:
            if hasattr(const, "co_lines"):
                yield from lines(const)

    with capture(rule("lines:**.<locals>.**", "lines:f.__wrapped__")) as seen:
        modules = seen.installation.modules
        woven = modules.compile(source, "lines.py", "lines")
    assert [*lines(woven)] == [*lines(compile(source, "lines.py", "exec"))]


def test_the_layer_below_decorators_is_each_attempt(load):
    """`f.__wrapped__` records the attempts that a retry hides, and `f` the call as a whole."""
    text = rule("patient.decorated:fetch*.__wrapped__", operation="'attempt'")
    with capture(text + rule("patient.decorated:fetch*")) as seen:
        decorated = load("patient.decorated")
        assert decorated.fetch("a", failing=2) == "content of a"
        decorated.attempts.clear()
        assert asyncio.run(decorated.fetch_later("b", failing=1)) == "content of b"
    assert seen.tree() == [
        ("fetch", [("attempt", []), ("attempt", []), ("attempt", [])]),
        ("fetch_later", [("attempt", []), ("attempt", [])]),
    ]
    statuses = [span.status for span in seen.spans if span.operation == "attempt"]
    assert statuses == ["error", "error", "success", "error", "success"]


def test_attempts_alone_can_be_watched(load):
    """A rule for the layer below does not touch the function that the module holds."""
    text = rule(
        "patient.decorated:fetch.__wrapped__",
        "patient.decorated:Client.call.__wrapped__",
        attributes="{ url = 'url' }",
    )
    with capture(text) as seen:
        decorated = load("patient.decorated")
        decorated.fetch("a", failing=1)
        decorated.attempts.clear()
        client, url = decorated.Client().call("b", failing=1)
        assert url == "b"
        assert type(client) is decorated.Client
    assert [span.operation for span in seen.spans] == ["fetch"] * 2 + ["Client.call"] * 2
    assert [span.metadata["url"] for span in seen.spans] == ["a", "a", "b", "b"]


@pytest.mark.parametrize(
    ("target", "reason"),
    [
        ("patient.nested:outer.<locals>.iner", "Did you mean 'outer.<locals>.inner'?"),
        ("patient.nested:noisy.__wrapped__", "It has no decorators"),
        ("patient.nested:no_such.__wrapped__", "no such def"),
    ],
)
def test_what_the_source_does_not_define_is_noted(load, target, reason):
    """A target that only the source could reach, and does not, is noted with a hint."""
    with capture(rule(target)) as seen:
        load("patient.nested")
        (entry,) = seen.installation.weaver.ledger.entries
    assert (entry.place, entry.fate) == (target, "nothing_matched")
    assert reason in entry.reason


def test_a_module_imported_too_early_is_out_of_reach_and_noted(load):
    """What needs the source of a module that was there before is refused, and the rest is woven."""
    nested = load("patient.nested")
    with capture(rule("patient.nested:outer.<locals>.inner") + rule("patient.nested:*")) as seen:
        nested.outer(1)(1)
        entries = {
            entry.place: (entry.fate, entry.reason)
            for entry in seen.installation.weaver.ledger.entries
        }
    fate, reason = entries["patient.nested:outer.<locals>.inner"]
    assert fate == "refused"
    assert "had been imported" in reason
    assert entries["patient.nested:outer"][0] == "woven"


def test_a_module_without_source_is_out_of_reach_and_noted(program):
    """Compiled code without a source beside it is executed as it is."""
    import py_compile

    directory = program(compiled="def f():\n    def g():\n        return 1\n    return g()\n")
    py_compile.compile(str(directory / "compiled.py"), str(directory / "compiled.pyc"))
    (directory / "compiled.py").unlink()
    importlib.invalidate_caches()
    with capture(rule("compiled:f.<locals>.g", "compiled:f")) as seen:
        assert importlib.import_module("compiled").f() == 1
        fates = {each.place: each.fate for each in seen.installation.weaver.ledger.entries}
    assert fates == {"compiled:f.<locals>.g": "refused", "compiled:f": "woven"}


def test_closures_defined_after_uninstalling_are_bare(load):
    """Woven code that stays behind puts no advice around what it defines later."""
    with capture(rule("patient.nested:outer.<locals>.inner")):
        nested = load("patient.nested")
        woven = nested.outer(1)
    assert woven(1) == 2
    assert not hasattr(nested.outer(1), "__wrapped__")


def test_warnings_about_the_source_are_the_host_compilers_own(program):
    """A source that Python warns of is warned of as often with us as without."""
    source = "def f():\n    def g():\n        return '\\d' is 1\n    return g\n"
    program(warned_bare=source, warned_woven=source)
    told = []
    for name in ("warned_bare", "warned_woven"):
        for _ in range(2):  # The second time it comes from the cache, without a warning.
            sys.modules.pop(name, None)
            with (
                warnings.catch_warnings(record=True) as caught,
                capture(rule("warned_woven:f.<locals>.g")),
            ):
                warnings.simplefilter("always")
                importlib.import_module(name)
            told.append([(each.category, each.lineno) for each in caught])
    assert told[:2] == told[2:]


def test_warnings_that_are_errors_stay_the_hosts(program):
    """With warnings as errors the import fails as it would without us."""
    source = "def f():\n    def g():\n        return '\\d'\n    return g\n"
    program(erring_bare=source, erring_woven=source)
    texts = []
    for name in ("erring_bare", "erring_woven"):
        with capture(rule("erring_woven:f.<locals>.g")), pytest.raises(SyntaxError) as raised:
            importlib.import_module(name)
        texts.append((raised.value.msg, raised.value.lineno, raised.value.offset))
    assert texts[0] == texts[1]


@pytest.mark.parametrize(
    "source",
    [
        "from __future__ import annotations\ndef f(a: NoSuch) -> 'x':\n    def g(): return a\n    return g()\n",
        "'''Doc.'''\ndef f(a):\n    '''Doc of f.'''\n    def g(): return a\n    return g()\n",
        "def f(a):\n    b = 0\n    def g():\n        nonlocal b\n        b = a\n        return b\n    return g()\n",
        "def f(a):\n    if a:\n        def g(): return a\n    else:\n        def g(): return -1\n    return g()\n",
        "def f(a):\n    try:\n        def g(b=a, /, *, c=1): return b\n    finally:\n        pass\n    return g()\n",
        "def f(a):\n    class C:\n        __x = a\n        def g(self): return self.__x\n    return C().g()\n",
        "# -*- coding: latin-1 -*-\ndef f(a):\n    def g(): return a\n    return g() # \xe9\n",
    ],
)
def test_sources_of_every_shape_behave_the_same(program, source):
    """Futures, docstrings, cells, branches, mangled names and encodings survive weaving."""
    directory = program(shaped="")
    encoding = "latin-1" if "latin-1" in source else "utf-8"
    (directory / "shaped.py").write_bytes(source.encode(encoding))
    with capture(rule("shaped:**.<locals>.g", "shaped:f.<locals>.C.g")) as seen:
        module = importlib.import_module("shaped")
        assert module.f(17) == 17
    assert len(seen.spans) == 1
    bare = {}
    exec(compile(source.encode(encoding), "shaped.py", "exec"), bare)
    assert module.__doc__ == bare.get("__doc__")
    assert module.f.__doc__ == bare["f"].__doc__
    assert module.f.__annotations__ == bare["f"].__annotations__


def test_a_main_module_is_woven_at_the_source(tmp_path):
    """What a launcher compiles records the functions of the script, under either of its names."""
    source = (
        "def f():\n    return 1\n\nclass C:\n    def m(self):\n        return 2\n\nf(), C().m()\n"
    )
    with capture(rule("script:f", "main:C.m", "script:gone")) as seen:
        code = seen.installation.modules.compile(source, "script.py", "main", "script")
        exec(code, {"__name__": "__main__"})
        entries = [(entry.place, entry.fate) for entry in seen.installation.weaver.ledger.entries]
    assert seen.tree() == [("f", []), ("C.m", [])]
    assert entries == [
        ("script:gone", "nothing_matched"),
        ("script:f", "woven"),
        ("main:C.m", "woven"),
    ]


def test_a_source_that_does_not_compile_is_left_to_the_host():
    """Nothing comes back for a source with an error, so that the host raises its own."""
    with capture(rule("script:f")) as seen:
        assert seen.installation.modules.compile("def f(:", "script.py", "script") is None
        assert seen.installation.modules.compile(b"\xff\xfe", "script.py", "script") is None
        assert seen.installation.weaver.ledger.faults == []


@pytest.mark.parametrize("filename", ["/x/sub.ject.py", "odd", "<string>"])
def test_compiling_says_nothing_and_leaves_what_was_said_once_said(filename):
    """Neither the file's own warnings are given, nor those of before a second time; others are."""
    source = "def f():\n    return '\\d' is 1\n"
    once = "import warnings\nwarnings.warn('once')\n"
    scope = {"__name__": "host"}
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("default")
        before = list(warnings.filters)
        exec(compile(once, "host.py", "exec"), scope)
        code = compile_woven(source, filename, lambda name: lambda raw: raw)
        exec(compile(once, "host.py", "exec"), scope)
        assert code is not None
        assert warnings.filters == before
        assert [str(each.message) for each in seen] == ["once"]
        compile(source, filename, "exec")
        assert len(seen) == 3
