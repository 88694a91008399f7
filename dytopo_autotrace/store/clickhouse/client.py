"""A `Connection` through clickhouse-connect, to a server or to the embedded engine.

In our own processes only: it imports half a second's worth of libraries, and the embedded engine takes
over the signals of the process that it is in, starts threads, and hangs in a forked child.
"""

from __future__ import annotations

import gzip
import logging
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from dytopo_autotrace.store.clickhouse.address import Address
from dytopo_autotrace.store.clickhouse.connection import EXTRA, Rejected, refusal
from dytopo_autotrace.store.clickhouse.lines import FORMAT
from dytopo_autotrace.store.model import StoreBusy, StoreLost

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

CONNECT_SECONDS: Final = 3
ANSWER_SECONDS: Final = 4
"""How long a server may take for what a writer asks; who reads waits longer."""
READER_SECONDS: Final = 120

ASYNC_INSERT: Final[Mapping[str, Any]] = {"async_insert": 1, "wait_for_async_insert": 1}
"""The server collects the small batches of many programs into one part on disk, and says that a batch is
written when it is. Without the first there would be a part a batch, and soon too many; without the second
nobody would know what was lost."""


class ClientConnection:
    """One client, connected when something is asked.

    Args:
        creates: whether the database is made if there is none.
    """

    def __init__(
        self, address: Address, *, creates: bool = False, answer_seconds: int = READER_SECONDS
    ) -> None:
        self._address = address
        self._creates = creates
        self._answer_seconds = answer_seconds
        self._client: Client | None = None

    def query(self, sql: str, values: Mapping[str, Any] | None = None) -> list[dict[str, Any]]:
        with _Guard(self._address):
            return list(self._connected().query(sql, dict(values or {})).named_results())

    def command(self, sql: str, values: Mapping[str, Any] | None = None) -> None:
        with _Guard(self._address):
            self._connected().command(sql, dict(values or {}))

    def insert(self, table: str, columns: Sequence[str], rows: bytes) -> None:
        with _Guard(self._address):
            client = self._connected()
            if self._address.path:
                client.raw_insert(table, columns, rows, fmt=FORMAT)
                return
            packed = gzip.compress(rows, compresslevel=1)
            settings = dict(ASYNC_INSERT)
            client.raw_insert(table, columns, packed, settings, FORMAT, compression="gzip")

    def rest(self) -> None:
        if self._client is not None and not self._address.path:
            self._client.close_connections()

    def close(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            try:
                client.close()
            except Exception:
                pass

    def abandon(self) -> None:
        self._client = None

    def _connected(self) -> Client:
        if self._client is None:
            address = self._address
            client = connect(address, self._answer_seconds)
            try:
                # The engine's own folder has a database of its own.
                if self._creates and not _has_database(client, address.database):
                    client.command(f"CREATE DATABASE IF NOT EXISTS {_quoted(address.database)}")
                client.database = address.database
            except BaseException:
                client.close()
                raise
            self._client = client
        return self._client


def connect(address: Address, answer_seconds: int) -> Client:
    """A client of clickhouse-connect.

    Raises:
        StoreLost: it is not installed.
    """
    extra = "chdb" if address.path else "clickhouse"
    try:
        import clickhouse_connect  # noqa: PLC0415 - an extra

        # Its warnings are raised as well, and said by whoever asked.
        logging.getLogger("clickhouse_connect").setLevel(logging.CRITICAL)
        logging.getLogger("urllib3").setLevel(logging.CRITICAL)
        if address.path:
            return clickhouse_connect.get_client(interface="chdb", path=address.path)
    except ImportError as error:
        raise StoreLost(
            "store_library_missing", f"{error}. Install it: {EXTRA.format(extra)}"
        ) from error
    options: dict[str, Any] = dict(address.options)
    return clickhouse_connect.get_client(
        interface="https" if address.is_secure else "http",
        host=address.host,
        port=address.port,
        username=address.user or None,
        password=address.password,
        connect_timeout=CONNECT_SECONDS,
        send_receive_timeout=answer_seconds,
        query_retries=0,
        autogenerate_session_id=False,
        dedicated_pool=True,
        client_name="dytopo-autotrace",
        **options,
    )


def _has_database(client: Client, name: str) -> bool:
    found = client.query(
        "SELECT count() FROM system.databases WHERE name = {name:String}", {"name": name}
    )
    return bool(found.result_rows[0][0])


def _quoted(name: str) -> str:
    return "`" + name.replace("\\", "\\\\").replace("`", "\\`") + "`"


class _Guard:
    """Turns what clickhouse-connect raises into what a `Connection` raises."""

    def __init__(self, address: Address) -> None:
        self._address = address

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if not isinstance(error, Exception) or isinstance(error, StoreBusy | StoreLost | Rejected):
            return
        import clickhouse_connect.driver.exceptions as known  # noqa: PLC0415 - an extra

        detail = self._brief(error)
        if isinstance(error, known.ClickHouseError):
            code = getattr(error, "code", None)
            if code is None and self._address.path and "Unable to open the chdb" in str(error):
                code = 76  # Without a number: another process has the engine's folder.
            if code is None and isinstance(error, known.DataError):
                raise Rejected(detail) from error
            raise refusal(code, detail) from error
        if isinstance(error, OSError):
            raise StoreBusy("store_unreachable", detail) from error
        raise Rejected(detail) from error

    def _brief(self, error: Exception) -> str:
        address = self._address
        where = address.path or f"{address.host}:{address.port}"
        text = " ".join((_cause(error) or str(error)).split())
        if address.password:
            text = text.replace(address.password, "***")
        return f"{where}: {text if len(text) <= 300 else text[:300] + '...'}"


def _cause(error: BaseException) -> str:
    """What the system said, if it is behind all the rest."""
    while (deeper := error.__cause__ or error.__context__) is not None:
        error = deeper
    return (error.strerror or str(error)) if isinstance(error, OSError) else ""
