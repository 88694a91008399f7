"""What `--out DIR` leaves behind: every trace, the metrics and the failures of one run."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence

from dytopo_autotrace.collect.failures import FailureRecord
from dytopo_autotrace.collect.metrics import MetricsCollector
from dytopo_autotrace.collect.records import RUN_FILE, RunRecords, records_to_json
from dytopo_autotrace.collect.span import Span
from dytopo_autotrace.export import classic, replace_file


def write_run(
    directory: str,
    traces: Mapping[int, Sequence[Span]],
    metrics: MetricsCollector,
    failures: Iterable[FailureRecord],
    records: RunRecords,
) -> None:
    """Write trace-<id>.json for each trace, metrics.prom, metrics.json and failures.json.

    And run.json, with everything that a report is made of.

    Raises:
        OSError: the directory cannot be written to.
    """
    for trace, spans in traces.items():
        classic.write_json(
            os.path.join(directory, f"trace-{trace:032x}.json"), classic.trace(spans)
        )
    metrics.write_prometheus(os.path.join(directory, "metrics.prom"))
    metrics.write_json(os.path.join(directory, "metrics.json"))
    classic.write_json(os.path.join(directory, "failures.json"), classic.failures(failures))
    replace_file(os.path.join(directory, RUN_FILE), records_to_json(records).encode() + b"\n")
