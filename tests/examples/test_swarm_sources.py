"""The example is an unmodified host program: its sources know nothing of tracing."""

import ast
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"
SOURCES = sorted([EXAMPLES / "run_swarm.py", *EXAMPLES.glob("dytopo/*.py")]) + sorted(
    EXAMPLES.glob("inference/*.py")
)
OWN_PACKAGES = {"dytopo", "inference"}
OPTIONAL_PACKAGES = {"sentence_transformers"}


def imported_modules(path):
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            yield node.module


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(EXAMPLES)))
def test_only_the_standard_library_is_imported(path):
    """No source imports the tracer or anything else beyond the standard library."""
    roots = {name.partition(".")[0] for name in imported_modules(path)}

    assert set() == roots - sys.stdlib_module_names - OWN_PACKAGES - OPTIONAL_PACKAGES
    assert "autotrace" not in path.read_text(encoding="utf-8")
