"""A project on disk, and what a check says of rules for it."""

import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

import dytopo_autotrace

ROOT = str(Path(dytopo_autotrace.__file__).parents[1])


class Project:
    """A directory with modules in it, and our commands run there as a person runs them."""

    def __init__(self, directory):
        self.directory = directory

    def write(self, name, source):
        file = self.directory / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(textwrap.dedent(source).lstrip("\n"), encoding="utf-8")
        return file

    root = ROOT

    def run(self, *argv, flags=(), code=None, paths=(), **env):
        """The ending of one of our commands.

        Args:
            code: where the package is, for a Python that ignores PYTHONPATH.
            paths: of PYTHONPATH, before the package's own.
        """
        start = ["-m", "dytopo_autotrace"]
        if code is not None:
            text = f"import sys; sys.path.insert(0, {code!r}); from dytopo_autotrace.cli import main; main()"
            start = ["-c", text]
        return subprocess.run(
            [sys.executable, *flags, *start, *map(str, argv)],
            cwd=self.directory,
            env={
                "PATH": os.environ["PATH"],
                "PYTHONPATH": os.pathsep.join([*map(str, paths), ROOT]),
                "HOME": "/nowhere",
                **env,
            },
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    def json(self, *argv, **env):
        """The document that a command prints with `--json`, and its exit status."""
        ended = self.run(*argv, "--json", **env)
        assert ended.stdout, ended.stderr
        return json.loads(ended.stdout), ended.returncode

    def rules(self, text):
        self.write("instrumentation.toml", text)


@pytest.fixture
def project(tmp_path):
    return Project(tmp_path)
