"""Programs made at random do the same woven as bare: output, results, exceptions and exit code."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

HEADER = """
import asyncio, functools, re, sys
def tag(function):
    @functools.wraps(function)
    def wrapper(*args, **kwargs):
        print("tag", function.__name__)
        return function(*args, **kwargs)
    return wrapper
def retry(function):
    @functools.wraps(function)
    def again(*args, **kwargs):
        for attempt in range(2):
            try:
                return function(*args, **kwargs)
            except LookupError as error:
                print("retry", type(error).__name__, error)
        return function(*args, **kwargs)
    return again
def shown(value):
    if hasattr(value, "__await__"):
        return shown(asyncio.run(wait(value)))
    if hasattr(value, "__anext__"):
        return shown(asyncio.run(collect(value)))
    if hasattr(value, "__next__"):
        return [*value]
    return value
async def wait(value):
    return await value
async def collect(value):
    return [each async for each in value]
def chain(error):
    while error is not None:
        yield type(error).__name__, str(error), error.__suppress_context__, frames(error)
        error = error.__cause__ or error.__context__
def frames(error):
    step, names = error.__traceback__, []
    while step is not None:
        names.append((step.tb_frame.f_code.co_name, step.tb_lineno))
        step = step.tb_next
    return names
def attempt(call):
    try:
        print(type(call()).__name__, re.sub(" at 0x[^>]*", "", str(shown(call()))))
    except Exception as error:
        print([*chain(error)])
"""

bodies = st.sampled_from(
    [
        "return a + b",
        "return [a, b, *rest]",
        "raise KeyError(a)",
        "raise ValueError(b) from KeyError(a)",
        "try:\n    raise LookupError(a)\nexcept LookupError:\n    return missing",
        "return sorted(locals())",
        "def nested(x):\n    return x, a\nreturn nested(b)",
        "return nope() if a else 0",
        "print('called', a, b)\nreturn None",
        "sys.exit(a)",
    ]
)
generators = st.sampled_from(
    [
        "yield a\nyield b",
        "got = yield a\nprint('got', got)\nyield b",
        "try:\n    yield a\nfinally:\n    print('finally')",
        "yield a\nraise KeyError(b)",
    ]
)
decorators = st.lists(
    st.sampled_from(["tag", "retry", "functools.cache", "functools.wraps(shown)"]), max_size=2
)
signatures = st.sampled_from(
    ["a, b, *rest", "a, b=2, *rest", "a, /, b=2, *rest", "a, *rest, b=3", "a=1, *rest, b=2, **more"]
)
arguments = st.sampled_from(
    ["", "1", "1, 2", "1, b=5", "a=1", "0, 1, 2, 3", "1, c=2", "'x', b='y'"]
)
LATER = "await asyncio.sleep(0)\n"


def indented(text, depth):
    return "".join(f"{'    ' * depth}{line}\n" for line in text.splitlines())


@st.composite
def functions(draw, name, depth, *, of_a_class=False):
    kind = draw(st.sampled_from(["def", "async def", "generator", "async generator"]))
    signature, body = draw(signatures), draw(generators if "generator" in kind else bodies)
    lines = [f"@{each}" for each in draw(decorators) if not of_a_class or each == "tag"]
    if of_a_class:
        descriptor = draw(st.sampled_from(["", "classmethod", "staticmethod", "property"]))
        if descriptor:
            lines.insert(0, f"@{descriptor}")
        if descriptor == "property":
            signature = "self, a=1, b=2, *rest"
        elif descriptor != "staticmethod":
            signature = f"cls, {signature}" if descriptor else f"self, {signature}"
    lines.append(f"{'async def' if 'async' in kind else 'def'} {name}({signature}):")
    text = "\n".join(lines) + "\n" + indented((LATER if "async" in kind else "") + body, 1)
    return indented(text, depth)


@st.composite
def programs(draw):
    """A module of functions and classes, and a script that calls them."""
    module, calls = HEADER, []
    for index in range(draw(st.integers(1, 4))):
        module += draw(functions(f"f{index}", 0))
        calls += [f"subject.f{index}({draw(arguments)})" for _ in range(2)]
    for index in range(draw(st.integers(0, 2))):
        base = f"(C{draw(st.integers(0, index - 1))})" if index else ""
        module += f"class C{index}{base}:\n    x = 1\n"
        for method in draw(st.sets(st.integers(0, 2), max_size=2)):
            module += draw(functions(f"m{method}", 1, of_a_class=True))
        calls += [f"subject.C{index}().m{n}({draw(arguments)})" for n in range(3)]
        calls += [f"subject.C{index}.m{n}({draw(arguments)})" for n in range(3)]
        calls.append(f"subject.C{index}().m0")
    script = "import subject\n" + "".join(f"subject.attempt(lambda: {call})\n" for call in calls)
    last = draw(st.sampled_from(["subject.f0(1, 2)", "subject.shown(subject.f0(3))", "None"]))
    return module, f"{script}subject.missing = 1\nprint({last} is None)\n"


def run(folder, *launcher):
    done = subprocess.run(
        [sys.executable, *launcher, "script.py"],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    return done.stdout, done.stderr, done.returncode


RULES = """
[[rule]]
target = ["subject:f*", "subject:C*.*", "subject:C0.m0", "subject:C0.m1", "subject:C1.m0",
          "subject:f0.<locals>.*"]
attributes = { r = "result" }
"""


def compare(program):
    module, script = program
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "subject.py").write_text(module, encoding="utf-8")
        (folder / "script.py").write_text(script, encoding="utf-8")
        (folder / "rules.toml").write_text(RULES, encoding="utf-8")
        bare = run(folder)
        woven = run(
            folder,
            *("-m", "dytopo_autotrace", "--rules", "rules.toml", "--report", "none"),
            *("--store", "none"),
        )
    assert woven == bare


@given(programs())
@settings(max_examples=3, deadline=None, suppress_health_check=list(HealthCheck))
def test_a_few_random_programs_do_the_same(program):
    """A handful of generated programs, run bare and woven, cannot be told apart from outside."""
    compare(program)


@pytest.mark.slow
@given(programs())
@settings(
    max_examples=int(os.environ.get("PROGRAMS", "100")),
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
def test_many_random_programs_do_the_same(program):
    """Many generated programs, run bare and woven, cannot be told apart from outside."""
    compare(program)
