"""The report for programs: the whole summary as JSON."""

from __future__ import annotations

import json

from dytopo_autotrace.analyze.findings import to_json
from dytopo_autotrace.analyze.summary import RunSummary


def render(summary: RunSummary) -> str:
    """The summary as indented JSON, in ASCII; seconds are numbers, ids lower-case hex."""
    return json.dumps(to_json(summary), indent=2, allow_nan=False)
