"""Writes the records of a run that another process, or another tool, recorded into a store."""

from __future__ import annotations

import contextlib
import time
from typing import Final

from dytopo_autotrace.analyze import outcomes
from dytopo_autotrace.collect.failures import FailureLog, FailureRecord
from dytopo_autotrace.collect.records import RunRecords
from dytopo_autotrace.collect.span import Span
from dytopo_autotrace.export.families import families
from dytopo_autotrace.export.run import Run
from dytopo_autotrace.store.model import (
    Batch,
    Retention,
    RunEnd,
    RunStart,
    RunState,
    StoreBusy,
    Writer,
)
from dytopo_autotrace.store.process import this_process

_LATEST_NS: Final = 2**63 - 1


def keep(records: RunRecords, writer: Writer, run_id: str) -> None:
    """Write records as a run of this id that is over; the writer is left open.

    Raises:
        StoreBusy, StoreLost: the store does not take it.
    """
    start = RunStart(
        run_id=run_id,
        process=this_process(),
        started_unix_ns=records.started_unix_ns,
        service=records.service,
        argv=records.argv,
        joined_unix_ns=time.time_ns(),  # It is kept from now on, however long ago it ran.
    )
    ended = min(records.started_unix_ns + round(records.wall_seconds * 1e9), _LATEST_NS)
    finished = sorted((each for each in records.spans if each.end_ns), key=lambda each: each.end_ns)
    batch = Batch(
        finished=finished,
        opened=[each for each in records.spans if not each.end_ns],
        unix_ns=ended,
        state=RunState(
            rules=records.rules,
            prices=records.prices,
            drops=records.drops,
            cost=records.cost,
            faults=records.faults,
            remarks=records.remarks,
        ),
        failures=failures(finished),
        families=families(Run(records), client=False),
    )
    end = RunEnd(
        ended, records.wall_seconds, records.exit_status, records.ended, records.ended_message
    )
    writer.begin(start)
    writer.write(batch)
    writer.end(end)
    with contextlib.suppress(StoreBusy):  # Who may not delete may still keep.
        for _ in writer.prune(Retention(0, 0, 0)):
            pass  # What others have marked as deleted and not removed.


def failures(finished: list[Span]) -> list[FailureRecord]:
    """The failures of spans in the order of their ends, those marked that were recovered from."""
    log = FailureLog(limit=len(finished) or 1)
    log.add_spans(finished)
    records = {each.span_id: each for each in log.all()}
    traces: dict[int, list[Span]] = {}
    for span in finished if records else ():
        traces.setdefault(span.trace, []).append(span)
    for trace in {each.trace_id for each in records.values()}:
        for span_id, strategy in outcomes.recoveries(traces[int(trace, 16)]).items():
            if record := records.get(f"{span_id:016x}"):
                record.recovered, record.recovery_strategy = True, strategy
    return list(records.values())
