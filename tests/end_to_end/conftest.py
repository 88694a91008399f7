"""Programs in a directory of their own, run by the launcher, and what their run became."""

import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from dytopo_autotrace.store.location import open_reader

ROOT = Path(__file__).resolve().parents[2]
RULES = """
[[rule]]
target = ["__main__:*", "helper*:*"]
exclude = ["unwatched*"]
"""


class Workshop:
    """A directory with programs in it."""

    def __init__(self, directory):
        self.directory = directory
        self.store = str(directory / "kept" / "traces.db")
        (directory / "rules.toml").write_text(RULES)

    def write(self, **sources):
        for name, source in sources.items():
            (self.directory / f"{name}.py").write_text(textwrap.dedent(source))

    def begin(self, *arguments, options=(), env=(), plain=False):
        """Start `program.py` with arguments, watched unless `plain`."""
        ours = ["-m", "dytopo_autotrace", "--rules", "rules.toml", "--store", self.store]
        ours += ["--report", "json", *options]
        return subprocess.Popen(
            [sys.executable, *([] if plain else ours), "program.py", *arguments],
            cwd=self.directory,
            env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), **dict(env)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, *arguments, **how):
        """Run `program.py` to its end: status, what it printed, and the report of its run."""
        process = self.begin(*arguments, **how)
        out, err = process.communicate(timeout=60)
        if how.get("plain"):
            return process.returncode, out, err
        said, brace, report = err.partition('{\n  "')
        return process.returncode, out, (said, json.loads(brace + report))

    def spans(self):
        """All spans of the one run that is kept."""
        reader = open_reader(self.store)
        try:
            (info,) = reader.runs()
            return info, reader.load(info.start.run_id).spans
        finally:
            reader.close()


@pytest.fixture
def workshop(tmp_path):
    return Workshop(tmp_path)
