"""What mkdocs cannot be told in a file: the order of the pages that there are, and links to source.

Pages link to source files as GitHub reads them, relative to the repository. A site has only what is in
docs/: there such a link leads to `repo_url`, or, while that is not set, is its label alone.
"""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from typing import Any

FIRST = (
    ("Start", ("index.md", "quickstart.md")),
    ("Use", ("rules.md", "formats.md", "store.md", "living-documentation.md")),
    ("Understand", ("design.md", "weaving.md", "analysis.md", "processes.md", "overhead.md")),
    (
        "Extend",
        ("add-a-rule-pack.md", "add-an-exporter.md", "add-an-analyzer.md", "api-reference.md"),
    ),
    (
        "Example swarm",
        (
            "example-swarm/architecture/system-overview.md",
            "example-swarm/operations/troubleshooting.md",
            "example-swarm/OBSERVABILITY.md",
            "example-swarm/api-reference.md",
        ),
    ),
)
"""Sections and their pages in order, those that are there; any others come last."""

_LINK = re.compile(r"\[((?:\\.|[^\[\]\\])*)\]\(((?:\.\./)+[^)\s]+)\)")


def on_config(config: Any) -> Any:
    """Set the navigation."""
    docs = Path(config.docs_dir)
    there = sorted(each.relative_to(docs).as_posix() for each in docs.rglob("*.md"))
    nav = [{title: [page for page in pages if page in there]} for title, pages in FIRST]
    known = {page for _, pages in FIRST for page in pages}
    others = [page for page in there if page not in known]
    config.nav = [*nav, *([{"More": others}] if others else [])]
    return config


def on_page_markdown(markdown: str, page: Any, config: Any, **_: Any) -> str:
    """Redirect links that lead out of docs/."""
    here = posixpath.dirname(page.file.src_uri)

    def redirected(found: re.Match[str]) -> str:
        label, target = found.groups()
        inside = posixpath.normpath(posixpath.join(here, target.partition("#")[0]))
        if not inside.startswith("../"):
            return found[0]
        if not config.repo_url:
            return label
        file = posixpath.normpath(posixpath.join("docs", inside))
        line = target.partition("#")[2]
        return f"[{label}]({config.repo_url}/blob/main/{file}{'#' + line if line else ''})"

    return _LINK.sub(redirected, markdown)
