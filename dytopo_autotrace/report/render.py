"""A process of its own that renders one run: records as JSON in, report on stderr.

    python -P -m dytopo_autotrace.report.render [terminal|verbose|json] < records.json

So that nothing that a report needs is ever imported into the watched program.
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Sequence

from dytopo_autotrace.analyze.summary import summarize
from dytopo_autotrace.collect.records import records_from_json
from dytopo_autotrace.errors import nearest

KINDS = ("terminal", "verbose", "json")


def main(argv: Sequence[str] | None = None) -> int:
    """Read records from stdin and write their report to stderr; returns the exit status."""
    words = sys.argv[1:] if argv is None else argv
    kind = words[0] if words else KINDS[0]
    if kind not in KINDS:
        return _fail(f"there is no report {kind!r}. {nearest(kind, KINDS)}")
    try:
        records = records_from_json(sys.stdin.read())
    except ValueError as fault:
        return _fail(str(fault))
    summary = summarize(records)
    if kind == "json":
        from dytopo_autotrace.report import json_report  # noqa: PLC0415 - the other kind needs rich

        sys.stderr.write(json_report.render(summary) + "\n")
        return 0
    try:
        from dytopo_autotrace.report import terminal  # noqa: PLC0415
    except ImportError as missing:
        return _fail(f"{missing.name} is missing: pip install rich, or ask for --report json")
    terminal.render(summary, sys.stderr, view=terminal.View(verbose=kind == "verbose"))
    return 0


def _fail(message: str) -> int:
    sys.stderr.write(f"dytopo-autotrace: no report: {message}\n")
    return 1


if __name__ == "__main__":
    gc.disable()  # it ends with the report; collecting takes a third of the time of a large run
    sys.exit(main())
