"""One HTTP/1.1 exchange per connection, on asyncio streams."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import SplitResult, urlsplit

from .errors import AnswerTimeout, ConnectionFailed, MalformedAnswer

CLOSING_GRACE_S = 1.0


@dataclass(frozen=True, slots=True)
class HttpResponse:
    """A complete answer; header names are lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


async def request(
    method: str,
    url: str,
    *,
    headers: Mapping[str, str] | None = None,
    body: bytes = b"",
    timeout_s: float = 60.0,
) -> HttpResponse:
    """Send one request to an http or https URL and read the whole answer.

    Args:
        timeout_s: seconds for everything from connecting to the last byte.

    Raises:
        ConnectionFailed: the host was not reached, or the connection broke.
        AnswerTimeout: there was no complete answer in time.
        MalformedAnswer: what came back is not HTTP.
    """
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError(f"not an http or https URL: {url!r}")
    try:
        async with asyncio.timeout(timeout_s):
            return await _exchange(method, parts, headers or {}, body)
    except TimeoutError as error:
        raise AnswerTimeout(f"no complete answer within {timeout_s:g} s") from error
    except (OSError, EOFError) as error:
        raise ConnectionFailed(f"{parts.netloc}: {error}") from error
    except ValueError as error:
        raise MalformedAnswer(f"not an HTTP answer: {error}") from error


async def read_head(reader: asyncio.StreamReader) -> tuple[str, dict[str, str]]:
    """Read the start line and the headers of a message.

    Raises:
        EOFError: the peer closed the connection before the end of the head.
        ValueError: a line is too long or is not a header.
    """
    start_line = await _read_line(reader)
    headers = {}
    while line := await _read_line(reader):
        name, colon, value = line.partition(":")
        if not colon:
            raise ValueError(f"not a header: {line[:80]!r}")
        headers[name.strip().lower()] = value.strip()
    return start_line, headers


async def read_body(reader: asyncio.StreamReader, headers: Mapping[str, str]) -> bytes | None:
    """Read the body that the headers announce; None if they announce no length."""
    if "chunked" in headers.get("transfer-encoding", "").lower():
        return await _read_chunks(reader)
    if "content-length" in headers:
        return await reader.readexactly(int(headers["content-length"]))
    return None


async def _exchange(
    method: str, parts: SplitResult, headers: Mapping[str, str], body: bytes
) -> HttpResponse:
    tls = parts.scheme == "https"
    port = parts.port or (443 if tls else 80)
    reader, writer = await asyncio.open_connection(parts.hostname, port, ssl=tls or None)
    try:
        writer.write(_request_head(method, parts, headers, len(body)) + body)
        await writer.drain()
        start_line, answer_headers = await read_head(reader)
        status = int(start_line.split()[1]) if start_line.startswith("HTTP/1.") else 0
        if not 200 <= status <= 599:
            raise ValueError(f"unexpected start line {start_line[:80]!r}")
        answer_body = await read_body(reader, answer_headers)
        if answer_body is None:
            answer_body = await reader.read()
        return HttpResponse(status, answer_headers, answer_body)
    finally:
        await _close(writer)


def _request_head(
    method: str, parts: SplitResult, headers: Mapping[str, str], length: int
) -> bytes:
    target = parts.path or "/"
    if parts.query:
        target += f"?{parts.query}"
    fields = {
        "Host": parts.netloc.rpartition("@")[2],
        "Connection": "close",
        "Content-Length": str(length),
        **headers,
    }
    lines = [f"{method} {target} HTTP/1.1", *(f"{name}: {value}" for name, value in fields.items())]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


async def _read_line(reader: asyncio.StreamReader) -> str:
    line = await reader.readline()
    if not line.endswith(b"\n"):
        raise EOFError("the peer closed the connection")
    return line.decode("latin-1").rstrip("\r\n")


async def _read_chunks(reader: asyncio.StreamReader) -> bytes:
    chunks = []
    while size := int((await _read_line(reader)).partition(";")[0], 16):
        chunks.append(await reader.readexactly(size))
        await reader.readexactly(2)
    while await _read_line(reader):
        pass  # trailers say nothing that we need
    return b"".join(chunks)


async def _close(writer: asyncio.StreamWriter) -> None:
    writer.close()
    # A TLS peer may never answer our farewell, and a broken connection raises here again.
    with contextlib.suppress(OSError):
        async with asyncio.timeout(CLOSING_GRACE_S):
            await writer.wait_closed()
