"""The process that carries what the watched program writes: it has the libraries and the connection.

Started as `python -P -m dytopo_autotrace.store.clickhouse.courier_process`. A line of JSON comes in, with
rows after it where some are to be written, and one goes out; it ends when nobody is left to write to it.
"""

from __future__ import annotations

import json
import os
import sys
from typing import TYPE_CHECKING, Any

from dytopo_autotrace.store.clickhouse.address import Address
from dytopo_autotrace.store.clickhouse.connection import Rejected
from dytopo_autotrace.store.model import StoreBusy, StoreLost

if TYPE_CHECKING:
    from dytopo_autotrace.store.clickhouse.connection import Connection


def main() -> None:
    # Libraries may print: what is read is this alone.
    out = os.fdopen(os.dup(1), "w", encoding="ascii")
    os.dup2(2, 1)
    connection: Connection | None = None
    asking = sys.stdin.buffer
    for line in asking:
        if not line.endswith(b"\n"):
            break  # Whoever wrote it was killed on the way.
        asked = json.loads(line)
        more = asking.read(asked.get("bytes", 0))
        if len(more) < asked.get("bytes", 0):
            break
        answer, connection = _answer(asked, more, connection)
        try:
            out.write(json.dumps(answer) + "\n")
            out.flush()
        except OSError:
            break
    if connection is not None:
        connection.close()
    sys.stdout.flush()
    # The engine's threads and the libraries' handlers have nothing left to do.
    os._exit(0)


def _answer(
    asked: dict[str, Any], more: bytes, connection: Connection | None
) -> tuple[dict[str, Any], Connection | None]:
    try:
        if connection is None:
            from dytopo_autotrace.store.clickhouse.client import (  # noqa: PLC0415 - it is told what is missing
                ANSWER_SECONDS,
                ClientConnection,
            )

            address = Address(*asked["address"])
            address = address._replace(options=tuple((key, each) for key, each in address.options))
            connection = ClientConnection(address, creates=True, answer_seconds=ANSWER_SECONDS)
            if asked["do"] == "start":
                import clickhouse_connect  # noqa: F401, PLC0415 - slow, and not the server's fault

                if address.path:
                    connection.query("SELECT 1")
                return {"rows": []}, connection
        return {"rows": _done(asked, more, connection)}, connection
    except ImportError as error:
        from dytopo_autotrace.store.clickhouse.connection import EXTRA  # noqa: PLC0415

        extra = "chdb" if asked.get("address", [""] * 8)[7] else "clickhouse"
        said = f"{error}. Install it: {EXTRA.format(extra)}"
        return {"lost": "store_library_missing", "detail": said}, connection
    except StoreBusy as busy:
        return {"busy": busy.reason, "detail": busy.detail}, connection
    except StoreLost as lost:
        return {"lost": lost.reason, "detail": lost.detail}, connection
    except Rejected as rejected:
        return {"rejected": str(rejected)}, connection
    except Exception as fault:
        return {"rejected": f"{type(fault).__name__}: {fault}"}, connection


def _done(asked: dict[str, Any], more: bytes, connection: Connection) -> list[dict[str, Any]]:
    what = asked["do"]
    if what == "query":
        return connection.query(asked["sql"], asked["values"])
    if what == "command":
        connection.command(asked["sql"], asked["values"])
    elif what == "insert":
        connection.insert(asked["table"], asked["columns"], more)
    elif what == "rest":
        connection.rest()
    return []


if __name__ == "__main__":
    main()
