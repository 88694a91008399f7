"""Record the runs that docs/example-swarm is made from, and make it, and docs/api-reference.md.

    python .ci/example_docs.py            # anew: figures change
    python .ci/example_docs.py --keep     # the pages only, from the runs that are there

The runs are kept as files beside the pages, so that the pages can be made again, byte for byte, from what
is in the repository. Paths of this machine are taken out of them.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path

from dytopo_autotrace.collect.records import records_to_json
from dytopo_autotrace.documentation import DocumentationGenerator
from dytopo_autotrace.store.location import open_reader

ROOT = Path(__file__).resolve().parents[1]
PAGES = ROOT / "docs" / "example-swarm"
RUNS = {
    "timeout": ("--fault", "timeout"),
    "swallowed": ("--fault", "swallowed"),
    "retry": ("--fault", "retry", "--agent", "developer"),
    "plain": (),
}


def record(name: str, options: tuple[str, ...]) -> None:
    """Let the swarm run under the launcher, and keep the run as a file."""
    with tempfile.TemporaryDirectory() as directory:
        store = Path(directory) / "traces.db"
        subprocess.run(  # noqa: S603
            [
                *(sys.executable, "-m", "dytopo_autotrace", "--rules", "instrumentation.toml"),
                *("--store", str(store), "--report", "none", "--quiet", "examples/run_swarm.py"),
                *("--embedding", "hashing", *options),
            ],
            cwd=ROOT,
            check=True,
            stdout=subprocess.DEVNULL,
        )
        reader = open_reader(str(store))
        try:
            (info,) = reader.runs()
            text = records_to_json(reader.load(info.start.run_id))
        finally:
            reader.close()
    library = sysconfig.get_path("stdlib")
    document = json.loads(text.replace(f"{ROOT}/", "").replace(library, "<python>"))
    file = PAGES / "runs" / f"{name}.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    spans = ",\n".join(json.dumps(span, separators=(",", ":")) for span in document.pop("spans"))
    # A span a line, so that a difference can be read.
    head = json.dumps(document, separators=(",", ":"))
    file.write_text(f'{head[:-1]},"spans":[\n{spans}\n]}}\n', encoding="utf-8")


def command() -> list[str]:
    """What makes the pages, as a person would type it."""
    files = [f"docs/example-swarm/runs/{name}.json" for name in RUNS]
    return [
        *("docs", *files, "--out", "docs/example-swarm", "--rules", "instrumentation.toml"),
        *("--source", "examples/run_swarm.py", "--content"),
    ]


def reference(path: Path = ROOT / "docs" / "api-reference.md") -> None:
    """Write what this package offers to code."""
    name = "dytopo_autotrace"
    asyncio.run(DocumentationGenerator.generate_api_reference(path, name))


def main() -> None:
    """Record, then write the pages."""
    parser = argparse.ArgumentParser(description="Make docs/example-swarm.")
    parser.add_argument("--keep", action="store_true", help="keep the runs as they are")
    if not parser.parse_args().keep:
        for name, options in RUNS.items():
            record(name, options)
    subprocess.run(  # noqa: S603
        [sys.executable, "-m", "dytopo_autotrace", *command()], cwd=ROOT, check=True
    )
    os.chdir(ROOT)
    reference()


if __name__ == "__main__":
    main()
