"""The rule file of the example fits the example."""

import ast
import asyncio.locks
import pathlib

import pytest

from dytopo_autotrace.rules.load import load
from dytopo_autotrace.rules.match import compile_rules

ROOT = pathlib.Path(__file__).parents[2]
RULESET = load("instrumentation.toml", cwd=str(ROOT), environ={})
MATCHER = compile_rules(RULESET)
MODULES = {
    ".".join(path.relative_to(ROOT / "examples").with_suffix("").parts): path
    for path in (ROOT / "examples").rglob("*.py")
}
MODULES["asyncio.locks"] = pathlib.Path(asyncio.locks.__file__)


def functions(path):
    """The qualname and the parameters of every function in a source."""

    def walk(node, prefix):
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.ClassDef):
                yield from walk(child, f"{prefix}{child.name}.")
            elif isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
                yield f"{prefix}{child.name}", {each.arg for each in _arguments(child.args)}
                yield from walk(child, f"{prefix}{child.name}.<locals>.")

    yield from walk(ast.parse(path.read_text(encoding="utf-8")), "")


def _arguments(arguments):
    variable = filter(None, (arguments.vararg, arguments.kwarg))
    return [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs, *variable]


def expressions(rule):
    """All expressions of a rule."""
    yield from filter(None, (rule.agent, rule.failed_if))
    yield from rule.attributes.values()
    for metric in rule.metrics:
        yield metric.value
        yield from metric.labels.values()


@pytest.mark.parametrize("module", sorted(MODULES))
def test_the_rules_read_parameters_that_the_functions_have(module):
    """Whatever rule matches a function of the example reads only what that function has."""
    for qualname, parameters in functions(MODULES[module]):
        rule = MATCHER.rule_for(module, qualname)
        if rule is not None:
            needed = {name for expression in expressions(rule) for name in expression.names}
            assert needed <= parameters | {"result", "error"}, qualname


@pytest.mark.parametrize(
    "rule", [rule for rule in RULESET.rules if not rule.origin.pack], ids=lambda rule: rule.name
)
def test_each_rule_of_the_example_has_a_function(rule):
    """No rule of the example's own is for nothing, or shadowed by another one."""
    assert any(
        MATCHER.rule_for(module, qualname) is rule
        for module, path in MODULES.items()
        for qualname, _ in functions(path)
    )


def test_private_helpers_of_the_script_are_left_out():
    """The rule for the whole script spares its private functions."""
    watched = {
        qualname
        for qualname, _ in functions(MODULES["run_swarm"])
        if MATCHER.rule_for("run_swarm", qualname)
    }
    assert {"main", "preflight", "build_swarm", "summarize"} <= watched
    assert not [name for name in watched if name.startswith("_")]
