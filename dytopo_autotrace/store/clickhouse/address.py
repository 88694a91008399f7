"""What a URL of a ClickHouse store says."""

from __future__ import annotations

import os
from typing import Final, NamedTuple
from urllib.parse import parse_qsl, unquote, urlsplit

from dytopo_autotrace.errors import nearest
from dytopo_autotrace.store.location import StoreError, shown

OPTIONS: Final = ("secure", "verify", "ca_cert", "client_cert", "client_cert_key")
"""What may follow the `?`: TLS, whether its certificate is checked, and files for that."""

DATABASE: Final = "dytopo"
PASSWORD: Final = "CLICKHOUSE_PASSWORD"  # noqa: S105 - the name of a variable
"""Environment variable with the password, for a URL that names a user and no password."""


class Address(NamedTuple):
    """A server, or the folder of the embedded engine in `path`."""

    host: str = ""
    port: int = 0
    user: str = ""
    password: str = ""
    database: str = DATABASE
    is_secure: bool = False
    options: tuple[tuple[str, str], ...] = ()
    path: str = ""


def parse(location: str) -> Address:
    """The parts of `clickhouse[s]://user:password@host:port/database` or `chdb:///path`.

    Raises:
        StoreError: it is no such URL.
    """
    if location.startswith("chdb://"):
        return Address(path=location.removeprefix("chdb://"))
    try:
        parts = urlsplit(location)
        port = parts.port
    except ValueError as error:
        raise StoreError(f"--store {shown(location)}: {error}. {_FORM}") from error
    if not parts.hostname:
        raise StoreError(f"--store {shown(location)}: no host is named. {_FORM}")
    options = dict(parse_qsl(parts.query, keep_blank_values=True))
    for name in options:
        if name not in OPTIONS:
            raise StoreError(
                f"--store {shown(location)}: no option {name!r}. {nearest(name, OPTIONS)}"
            )
    is_secure = parts.scheme == "clickhouses" or _is_on(options.pop("secure", "no"))
    user = unquote(parts.username or "")
    password = unquote(parts.password or "")
    if user and parts.password is None:
        password = os.environ.get(PASSWORD, "")
    return Address(
        host=parts.hostname,
        port=port or (8443 if is_secure else 8123),
        user=user,
        password=password,
        database=unquote(parts.path.strip("/")) or DATABASE,
        is_secure=is_secure,
        options=tuple(options.items()),
    )


_FORM: Final = "The form is clickhouse://user:password@host:8123/database."


def _is_on(text: str) -> bool:
    return text.lower() in ("", "1", "true", "yes", "on")
