"""The rules are loaded before the program starts, so they load little."""

import subprocess
import sys

UNWANTED = {
    "asyncio",
    "click",
    "jinja2",
    "jsonschema",
    "logging",
    "pathlib",
    "rich",
    "typing_extensions",
}


def test_loading_rules_imports_nothing_heavy():
    """Reading the default pack needs none of the modules that take long to import."""
    program = (
        "import sys, types\n"
        "before = set(sys.modules)\n"
        "package = types.ModuleType('dytopo_autotrace')\n"
        "import importlib.util\n"
        "package.__path__ = importlib.util.find_spec('dytopo_autotrace').submodule_search_locations\n"
        "sys.modules['dytopo_autotrace'] = package  # without what its __init__ imports\n"
        "from dytopo_autotrace.rules.load import load\n"
        "assert load(None, cwd='/', environ={}).rules\n"
        "from dytopo_autotrace.rules.match import compile_rules\n"
        "print(*sorted(set(sys.modules) - before))\n"
    )
    run = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, check=True, text=True
    )
    assert not UNWANTED & set(run.stdout.split())
