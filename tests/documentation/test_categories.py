"""A part stands where its role says, or else where its name does."""

import pytest

from dytopo_autotrace.documentation.categories import category


@pytest.mark.parametrize(
    ("role", "module", "qualname", "expected"),
    [
        ("worker", "app.router", "route", "workers"),
        ("step", "app.orchestrator", "_llm_call", "model"),
        ("step", "app.orchestrator", "run_swarm.<locals>._exec_agent", "orchestrator"),
        ("step", "run_swarm", "build_swarm", "program"),
        ("io", "app.orchestrator", "run_swarm.<locals>.progress", "observability"),
        ("", "app.main", "start", "program"),
    ],
)
def test_a_part_stands_where_it_belongs(role, module, qualname, expected):
    """The role comes first, then the own name of a step or of a nested function, then the module's."""
    assert category(role, module, qualname) == expected
