"""What is read from source is what Python would say after importing it."""

import inspect
from pathlib import Path

from dytopo_autotrace import testing
from dytopo_autotrace.analyze import timing
from dytopo_autotrace.documentation.source import Sources
from tests.documentation.conftest import ROOT


def test_signatures_are_those_that_python_knows():
    """Names, kinds and defaults of the functions of a real module are those that `inspect` gives."""
    for module in (testing, timing):
        read = Sources(str(ROOT)).module(module.__name__, module.__file__)
        assert read.functions
        for function in read.functions:
            known = getattr(module, function.name)
            local = {}
            code = f"from __future__ import annotations\n{function.signature}: ..."
            exec(code, vars(module), local)
            expected = inspect.signature(inspect.unwrap(known))
            found = inspect.signature(local[function.name])
            assert [(p.name, p.kind) for p in found.parameters.values()] == [
                (p.name, p.kind) for p in expected.parameters.values()
            ]
            assert function.doc == inspect.getdoc(known)
            source = Path(module.__file__).read_text("utf-8").splitlines()
            assert any(
                f"def {function.name}(" in line for line in source[function.place.line - 1 :][:3]
            )


def test_nested_functions_have_signature_and_docstring(poets):
    """A function that no attribute reaches is read like any other."""
    found = Sources(str(poets)).function(
        "poets", "run_swarm.<locals>.inner", str(poets / "poets.py"), 24, "async function"
    )

    assert found.signature == "async def inner(verse: str, /, *, loud: bool = False) -> None"
    assert found.doc == "Read one verse."


def test_nothing_is_imported(tmp_path):
    """A module that would end the program when it is imported is read all the same."""
    file = tmp_path / "grim.py"
    file.write_text('raise SystemExit("imported")\n\ndef f(x: int) -> int:\n    "F."\n')

    assert Sources(str(tmp_path)).module("grim", str(file)).functions[0].doc == "F."


def test_a_module_that_does_not_compile_is_said(tmp_path):
    """Source with a fault is a module with a fault, not an error."""
    file = tmp_path / "broken.py"
    file.write_text("def f(:\n")

    assert Sources(str(tmp_path)).module("broken", str(file)).fault.startswith("SyntaxError")
