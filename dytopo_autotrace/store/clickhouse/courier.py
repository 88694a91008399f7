"""A `Connection` for the watched program: another process has the libraries, the sockets and the engine.

Nothing of ClickHouse is imported into the program, whose own rules could watch it and whose signals the
embedded engine would take. What is left here are two pipes, and a limit to how long they are waited for.
"""

from __future__ import annotations

import errno
import json
import os
import select
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, NoReturn

from dytopo_autotrace.store.clickhouse.address import Address
from dytopo_autotrace.store.clickhouse.connection import Rejected
from dytopo_autotrace.store.model import StoreBusy, StoreLost

START_SECONDS: Final = 20.0
"""How long the process may take to import its libraries and to open an engine on this machine."""
ANSWER_SECONDS: Final = 5.0
"""How long an answer is waited for: longer than the process itself waits for the server."""
HURRY_SECONDS: Final = 2.0
"""How long nothing may come when the program has ended."""

_MODULE: Final = "dytopo_autotrace.store.clickhouse.courier_process"
_SLICE_SECONDS: Final = 0.1
_SHELL: Final = "/bin/sh"
_DETACHED: Final = 'exec 3<&0; "$0" "$@" <&3 3<&- &'
"""The shell ends at once and leaves the process to the system: a program that waits for any of its children
does not get this one. What runs in the background has no stdin unless it is said."""


class Courier:
    """One process and its pipes, started when something is asked and again when it has gone."""

    def __init__(self, address: Address, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._address = address
        self._monotonic = monotonic
        self._pipes: _Pipes | None = None
        self._is_starting = False
        self._hurry_until = 0.0

    def query(self, sql: str, values: Mapping[str, Any] | None = None) -> list[dict[str, Any]]:
        return self._ask({"do": "query", "sql": sql, "values": dict(values or {})})

    def command(self, sql: str, values: Mapping[str, Any] | None = None) -> None:
        self._ask({"do": "command", "sql": sql, "values": dict(values or {})})

    def insert(self, table: str, columns: Sequence[str], rows: bytes) -> None:
        asked = {"do": "insert", "table": table, "columns": list(columns), "bytes": len(rows)}
        self._ask(asked, rows)

    def rest(self) -> None:
        """Nothing is open here but the pipes."""

    def hurry(self) -> None:
        """The program has ended: from now on give up when nothing comes for a while."""
        self._hurry_until = self._hurry_until or self._monotonic() + HURRY_SECONDS

    def close(self) -> None:
        pipes, self._pipes = self._pipes, None
        if pipes is None:
            return
        if self._address.path:
            # Whoever asks next for the engine's folder must find it free.
            pipes.wait_for_the_end(self._waits(self._monotonic(), HURRY_SECONDS))
        pipes.close()

    def abandon(self) -> None:
        # The copies of the child; the parent's stay open. While they are, the process would not end.
        self._drop()

    def _drop(self) -> None:
        pipes, self._pipes = self._pipes, None
        if pipes is not None:
            pipes.close()

    def _ask(self, asked: dict[str, Any], more: bytes = b"") -> list[dict[str, Any]]:
        if self._pipes is None:
            self._pipes = _start()
            self._is_starting = True
            self._exchange({"do": "start", "address": self._address}, START_SECONDS)
            self._is_starting = False
        return self._exchange(asked, ANSWER_SECONDS, more)

    def _exchange(
        self, asked: dict[str, Any], seconds: float, more: bytes = b""
    ) -> list[dict[str, Any]]:
        pipes = self._pipes
        if pipes is None or not pipes.are_ours():
            self._pipes = None
            raise StoreLost("store_descriptors", "the program closed our pipes")
        began = self._monotonic()
        try:
            pipes.send(json.dumps(asked).encode("ascii") + b"\n", self._waits(began, seconds))
            pipes.send(more, self._waits(began, seconds))
            line = pipes.receive(self._waits(began, seconds))
        except _TooLate:
            self._give_up("store_unreachable", "there was no answer in time")
        except OSError as error:
            self._give_up("store_unreachable", f"its process is gone: {error.strerror}")
        if not line.endswith(b"\n"):
            self._give_up("store_unreachable", "its process ended")
        if self._hurry_until:
            self._hurry_until = self._monotonic() + HURRY_SECONDS
        return _rows(json.loads(line))

    def _waits(self, began: float, seconds: float) -> Callable[[], None]:
        def check() -> None:
            now = self._monotonic()
            hurries = self._hurry_until and not self._is_starting and now > self._hurry_until
            if hurries or now > began + seconds:
                raise _TooLate

        return check

    def _give_up(self, reason: str, what: str) -> NoReturn:
        # It ends by itself when its pipes are closed, at the latest when the server's time is up.
        self._drop()
        where = self._address.path or f"{self._address.host}:{self._address.port}"
        if self._hurry_until and self._monotonic() > self._hurry_until:
            raise StoreLost(reason, f"{where}: {what}")
        raise StoreBusy(reason, f"{where}: {what}")


class _TooLate(Exception):  # noqa: N818 - an answer
    """Nobody took or gave anything for too long."""


class _Pipes:
    """The two ends that are ours; neither blocks."""

    def __init__(self, write_to: int, read_from: int) -> None:
        self._write_to = write_to
        self._read_from = read_from
        os.set_blocking(write_to, False)
        os.set_blocking(read_from, False)
        self._are = [_identity(each) for each in (write_to, read_from)]

    def are_ours(self) -> bool:
        """Whether the numbers still mean our pipes, and no file of the program's."""
        now = [_identity(each) for each in (self._write_to, self._read_from) if each >= 0]
        return now == self._are

    def send(self, data: bytes, check: Callable[[], None]) -> None:
        rest = memoryview(data)
        while rest:
            try:
                rest = rest[os.write(self._write_to, rest) :]
            except BlockingIOError:
                check()
                self._wait(self._write_to, select.POLLOUT)

    def receive(self, check: Callable[[], None]) -> bytes:
        parts = []
        while True:
            try:
                part = os.read(self._read_from, 1 << 16)
            except BlockingIOError:
                check()
                self._wait(self._read_from, select.POLLIN)
                continue
            parts.append(part)
            if not part or part.endswith(b"\n"):
                return b"".join(parts)

    def _wait(self, descriptor: int, event: int) -> None:
        poll = select.poll()
        poll.register(descriptor, event)
        poll.poll(_SLICE_SECONDS * 1000)
        if not self.are_ours():
            raise OSError(errno.EBADF, "the program closed our pipes")

    def wait_for_the_end(self, check: Callable[[], None]) -> None:
        if not self.are_ours():
            return
        os.close(self._write_to)
        self._write_to = -1
        del self._are[0]
        try:
            self.receive(check)
        except (_TooLate, OSError):
            pass

    def close(self) -> None:
        if self.are_ours():
            for each in (self._write_to, self._read_from):
                if each >= 0:
                    os.close(each)


def _identity(descriptor: int) -> tuple[int, int] | None:
    try:
        status = os.fstat(descriptor)
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _start() -> _Pipes:
    if not sys.executable:
        raise StoreLost("store_unwritable", "this interpreter does not know where it is")
    root = os.path.abspath(os.path.join(os.path.dirname(__file__), *[os.pardir] * 3))
    environment = {
        **os.environ,
        # Where this package is found may be known to this process alone.
        "PYTHONPATH": os.pathsep.join(filter(None, (root, os.environ.get("PYTHONPATH")))),
        "DYTOPO_AUTOTRACE_DISABLED": "1",
    }
    theirs_in, write_to = os.pipe()
    read_from, theirs_out = os.pipe()
    try:
        process = subprocess.Popen(  # noqa: S603 - our own module in our own interpreter
            [_SHELL, "-c", _DETACHED, sys.executable, "-P", "-m", _MODULE],
            stdin=theirs_in,
            stdout=theirs_out,
            stderr=subprocess.DEVNULL,
            env=environment,
            start_new_session=True,  # Ctrl-C is not for it.
        )
        process.wait()
    except OSError as error:
        os.close(write_to)
        os.close(read_from)
        raise StoreBusy("store_no_process", f"no process: {error.strerror}") from error
    finally:
        os.close(theirs_in)
        os.close(theirs_out)
    return _Pipes(write_to, read_from)


def _rows(answer: dict[str, Any]) -> list[dict[str, Any]]:
    detail = answer.get("detail", "")
    if "busy" in answer:
        raise StoreBusy(answer["busy"], detail)
    if "lost" in answer:
        raise StoreLost(answer["lost"], detail)
    if "rejected" in answer:
        raise Rejected(answer["rejected"])
    rows: list[dict[str, Any]] = answer["rows"]
    return rows
