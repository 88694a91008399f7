"""What goes into a store and what comes out, and the two sides that every kind of store has.

The values are named tuples, which take a quarter of the time of a dataclass to make: most of this is
imported into the watched program.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Final, Literal, NamedTuple, Protocol

from dytopo_autotrace.collect.failures import FailureRecord
from dytopo_autotrace.collect.records import Cost, ModelPrice, RuleState, RunRecords
from dytopo_autotrace.collect.series import MetricFamily
from dytopo_autotrace.collect.span import Span

__all__ = [
    "LOSSES",
    "Batch",
    "Cost",
    "ModelPrice",
    "ProcessInfo",
    "Reader",
    "Retention",
    "RuleState",
    "RunEnd",
    "RunInfo",
    "RunRecords",
    "RunStart",
    "RunState",
    "RunStatus",
    "StoreBusy",
    "StoreLost",
    "Writer",
]

LOSSES: Final[Mapping[str, str]] = {
    "store_locked": "another program held the store's lock",
    "store_full": "the disk was full",
    "store_io_error": "the disk refused to write",
    "store_no_memory": "SQLite ran out of memory",
    "store_unwritable": "the store could not be opened for writing",
    "store_corrupt": "the store was damaged; it was moved aside",
    "store_removed": "the store's file was removed while the program ran",
    "store_deleted": "the run was deleted while it ran",
    "store_descriptors": "the program closed the store's file",
    "store_foreign": "the file is another program's database",
    "store_newer": "the store was written by a later version",
    "store_pruned": "the store's limit of size was reached; the oldest went",
    "store_behind": "the store did not keep up",
    "store_stuck": "the store did not answer when the program ended",
    "store_unreachable": "the server did not answer",
    "store_refused": "the server refused the user, or what was asked",
    "store_overloaded": "the server had too much to do",
    "store_library_missing": "a library that this kind of store needs is not installed",
    "store_no_process": "the process that writes to the store could not be started",
    "store_fault": "a fault of ours, contained",
    "store_unreadable": "a value of the span raised when it was read",
    "store_closed": "they ended after the last of the run was written",
}
"""Why spans are not in the store, in words, by the reason under which they are counted."""


def said(losses: Mapping[str, int]) -> dict[str, int]:
    """Losses with the reason in words, for a report; what has no words stays as it is."""
    return {
        f"spans not in the store: {LOSSES[reason]}" if reason in LOSSES else reason: count
        for reason, count in losses.items()
    }


RunStatus = Literal["running", "ended", "died"]
"""A run that has no end and whose process is gone has died."""


class StoreBusy(Exception):  # noqa: N818 - it is a state that passes
    """This batch could not be written now; the same batch may be written later.

    `reason` is the one under which spans are counted that cannot be kept waiting.
    """

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(reason, detail)
        self.reason = reason
        self.detail = detail


class StoreLost(Exception):  # noqa: N818 - it is a state that lasts
    """This store will take nothing any more; the process goes on in memory."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(reason, detail)
        self.reason = reason
        self.detail = detail


class ProcessInfo(NamedTuple):
    """A process in a way that tells it from a later one with the same number.

    `birth` is text that only this process has on this host, `""` where the system does not say.
    """

    host: str
    pid: int
    birth: str = ""
    python: str = ""
    version: str = ""


class RunStart(NamedTuple):
    """What is known of a run when it begins. Processes of one run share its `run_id`: 32 hex digits."""

    run_id: str
    process: ProcessInfo
    started_unix_ns: int
    service: str = ""
    argv: tuple[str, ...] = ()
    script: str = ""
    directory: str = ""
    task: str = ""
    joined_unix_ns: int = 0
    """When this process began, for one that another process of the run has started."""


class RunState(NamedTuple):
    """What is known of a run besides its spans, as of now; each replaces the one before."""

    rules: tuple[RuleState, ...] = ()
    prices: tuple[ModelPrice, ...] = ()
    drops: Mapping[str, int] = MappingProxyType({})
    cost: Cost | None = None
    faults: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()


class RunEnd(NamedTuple):
    """How a process of a run ended; the words are those of `RunRecords`."""

    unix_ns: int
    wall_seconds: float = 0.0
    exit_status: int | None = None
    ended: str = "returned"
    message: str = ""


class Batch(NamedTuple):
    """What is written at once: all of it is kept, or nothing."""

    finished: Sequence[Span] = ()
    opened: Sequence[Span] = ()
    """Spans that began since the last batch and still run; each is given once."""
    unix_ns: int = 0
    """The moment up to which this batch tells what happened."""
    state: RunState | None = None
    """None while it is the same as before; so are the next two while empty."""
    failures: Sequence[FailureRecord] = ()
    families: Sequence[MetricFamily] = ()


class RunInfo(NamedTuple):
    """One line of the list of runs. `heard_unix_ns` is the last that its process let hear."""

    start: RunStart
    status: RunStatus
    heard_unix_ns: int
    end: RunEnd | None = None
    spans: int = 0
    errors: int = 0
    running_spans: int = 0
    processes: int = 1
    drops: int = 0


class Retention(NamedTuple):
    """What is kept when a new run begins; 0 means without limit. A run that runs is never removed."""

    days: float = 30.0
    runs: int = 200
    megabytes: float = 1024.0


class Writer(Protocol):
    """The side of the watched process: one thread calls it, and it may take its time.

    Every method raises `StoreBusy` or `StoreLost` and nothing else on purpose.
    """

    def begin(self, start: RunStart) -> None:
        """Enter this process into the run, and the run into the store unless it is there."""

    def write(self, batch: Batch) -> None:
        """Keep a batch, as one transaction."""

    def end(self, end: RunEnd) -> None:
        """Enter the end of this process."""

    def close(self) -> None:
        """Let go of the store; never raises."""

    def prune(self, keep: Retention) -> Iterator[None]:
        """Remove what retention does not keep, in steps of a few milliseconds each."""

    def make_room(self) -> None:
        """The store is full, and the end is all that is still to be written; never raises."""

    def hurry(self) -> None:
        """The program has ended: from now on wait two seconds at most for what does not answer.

        Called by another thread, perhaps in the middle of another method.
        """

    def abandon(self) -> None:
        """In a forked child: forget the parent's connection without touching it."""

    @property
    def pace_seconds(self) -> float:
        """Time between two batches while no full one waits."""

    @property
    def prunes_at_end(self) -> bool:
        """Whether steps of `prune` are short enough for a program that waits for its end."""

    @property
    def losses(self) -> Mapping[str, int]:
        """Spans that were written and are not there any more, by reason."""


class Reader(Protocol):
    """The side of those who ask, in a process of its own or in the watched one.

    Every method raises `StoreError` if the store cannot answer.
    """

    def runs(self) -> list[RunInfo]:
        """All runs, the latest first."""

    def load(self, run_id: str) -> RunRecords:
        """All that a run left behind, as of now."""

    def failures(self, run_id: str) -> list[FailureRecord]:
        """The failure records of a run, in the order of their time."""

    def metrics(self, run_id: str) -> list[MetricFamily]:
        """The metrics of a run as they last were, all its processes together."""

    def delete(self, run_id: str) -> None:
        """Remove a run and all that belongs to it."""

    def prune(self, keep: Retention) -> list[str]:
        """Remove what retention does not keep; the ids of the runs that are gone."""

    def size(self) -> int:
        """Bytes that the store takes."""

    def close(self) -> None:
        """Let go of the store."""
