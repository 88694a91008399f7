"""Modules that were executing when the agent came."""

import importlib.machinery
import subprocess
import sys

RULES = '[[rule]]\ntarget = ["app:go", "app:fail"]\n'
APP = """
import dytopo_autotrace, sys
installed = dytopo_autotrace.install("rules.toml")
def go():
    return 2
def uninstall():
    dytopo_autotrace.uninstall()
"""


def run(folder, script):
    (folder / "app.py").write_text(APP)
    (folder / "rules.toml").write_text(RULES)
    (folder / "start.py").write_text(script)
    done = subprocess.run(
        [sys.executable, "start.py"], cwd=folder, capture_output=True, text=True, check=False
    )
    return done.stdout.split(), done.stderr


def test_a_module_that_installs_the_agent_is_woven_as_soon_as_it_is_done(tmp_path):
    """No other import has to follow; its spec is an ordinary one again; and all can be taken out."""
    script = (
        "from app import go\nimport app\n"
        "print(hasattr(go, '__wrapped__'), go(), type(app.__spec__).__name__)\n"
        "print(type(app.__spec__) is type(__import__('types').__spec__))\n"
        "app.uninstall()\nprint(hasattr(app.go, '__wrapped__'))\n"
    )
    out, _ = run(tmp_path, script)
    assert out == ["True", "2", importlib.machinery.ModuleSpec.__name__, "True", "False"]


def test_a_module_that_raises_after_it_installed_the_agent_raises_what_it_raised(tmp_path):
    """Nothing is woven that is not there afterwards."""
    (tmp_path / "app_2.py").write_text(APP + "raise LookupError('theirs')\n")
    out, err = run(tmp_path, "import app_2\n")
    assert out == []
    assert err.endswith("LookupError: theirs\n")
