"""A small program with a run to document, and the tools that read documents as their readers do."""

import json
import os
import shutil
import subprocess
import textwrap
from html.parser import HTMLParser
from pathlib import Path

import pytest

from dytopo_autotrace.collect.records import records_to_json
from tests.export.sample_runs import swarm

ROOT = Path(__file__).resolve().parents[2]
PARSER = Path(__file__).with_name("parse_mermaid.mjs")

PROGRAM = '''
"""A team of poets | that *rhymes* <b>well</b>."""

ANSWER: int = 42
"""What `they` all ask for."""


class Café:
    """Where poets meet."""

    def order(self, what: str = "a|b", *more, **others) -> str:
        """Order `what`, and <script>alert(1)</script> | nothing else.

        Args:
            what: *anything*.
        """


async def run_swarm(task):
    """Run it."""

    async def inner(verse: str, /, *, loud: bool = False) -> None:
        """Read one verse."""
'''

RULES = """
[agent]
service = "poets"

[[rule]]
name = "run"
target = "poets:run_swarm"
role = "orchestrator"
operation = "run_swarm"

[[rule]]
name = "verse"
target = "poets:run_swarm.<locals>.inner"
role = "worker"
operation = "verse"

[[rule]]
name = "bar"
target = "poets:Café.*"
role = "tool"
attributes = { what = "what or '|'" }
"""


@pytest.fixture
def poets(tmp_path, monkeypatch):
    """A repository with a program, its rules and a kept run, as the working directory."""
    (tmp_path / "pyproject.toml").touch()
    (tmp_path / "poets.py").write_text(textwrap.dedent(PROGRAM).lstrip(), encoding="utf-8")
    (tmp_path / "instrumentation.toml").write_text(RULES, encoding="utf-8")
    (tmp_path / "run.json").write_text(records_to_json(swarm()), encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DYTOPO_AUTOTRACE_RULES", raising=False)
    return tmp_path


@pytest.fixture(scope="session")
def mermaid():
    """What mermaid itself says of each diagram of a list: an empty text if it can be drawn."""
    folder = os.environ.get(
        "DYTOPO_MERMAID", str(Path.home() / ".cache" / "dytopo-autotrace" / "mermaid")
    )
    if shutil.which("node") is None or not Path(folder, "node_modules", "mermaid").is_dir():
        pytest.skip(f"no mermaid in {folder}: npm install --prefix {folder} mermaid@11 jsdom@29")

    def parse(diagrams):
        done = subprocess.run(
            ["node", str(PARSER), folder],
            input=json.dumps(list(diagrams)),
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    return parse


class Text(HTMLParser):
    """The text that a reader of a page sees, and the tags it is made of."""

    def __init__(self):
        super().__init__(convert_charrefs=True)
        self.parts = []
        self.tags = []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)

    def handle_data(self, data):
        self.parts.append(data)


def seen(html):
    """Text and tags of a piece of HTML, white space folded."""
    reader = Text()
    reader.feed(html)
    reader.close()
    return " ".join("".join(reader.parts).split()), reader.tags
