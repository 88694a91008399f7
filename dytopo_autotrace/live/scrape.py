"""An endpoint that Prometheus scrapes while the program runs, on a thread of its own.

It is loopback unless a host is given. The server answers one request at a time: a thread for each
could not be started any more while the program ends.
"""

from __future__ import annotations

import selectors
import socket
import socketserver
import threading
from collections.abc import Callable, Iterable
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any, Final

from dytopo_autotrace.collect.series import MetricFamily
from dytopo_autotrace.collect.span import UNWATCHED, trace_anchor
from dytopo_autotrace.collect.tracing import current
from dytopo_autotrace.export import prometheus

PATH: Final = "/metrics"
LOOPBACK: Final = "127.0.0.1"
CLIENT_SECONDS: Final = 1.0
"""How long the others wait for one that asks slowly."""


class Endpoint:
    """Listens from when it is made until it is closed.

    Raises:
        OSError: the address is in use, or not one of this machine.
        OverflowError: there is no such port.
    """

    def __init__(self, address: str, families: Callable[[], Iterable[MetricFamily]]) -> None:
        host, _, port = address.rpartition(":")
        host = host.strip("[]") or LOOPBACK
        self._server = _Server(host, int(port), families)
        self.port: int = self._server.server_address[1]
        shown = f"[{host}]" if ":" in host else host
        self.url = f"http://{shown}:{self.port}{PATH}"
        self._waker, self._woken = socket.socketpair()
        self._thread: threading.Thread | None = None

    def ensure_running(self) -> None:
        """Start to answer, unless it does."""
        if self._thread is None and self._server.fileno() >= 0:
            thread = threading.Thread(
                target=self._answer, name="dytopo-autotrace scrape", daemon=True
            )
            self._thread = thread
            try:
                thread.start()
            except RuntimeError:
                self._thread = None  # Out of threads, or the interpreter is shutting down.

    def rest(self, patience: float) -> threading.Thread | None:
        """Stop answering, for `ensure_running` to go on; the thread that was there."""
        thread, self._thread = self._thread, None
        if thread is not None:
            self._waker.send(b"\0")
            thread.join(patience)
        return thread

    def close(self) -> None:
        """Stop listening."""
        self.rest(CLIENT_SECONDS / 2)
        self.let_go()

    def let_go(self) -> None:
        """Close what is open, which in a forked child is not its own."""
        self._thread = None
        for each in (self._server, self._waker, self._woken):
            try:
                each.close() if isinstance(each, socket.socket) else each.server_close()
            except OSError:
                pass

    def _answer(self) -> None:
        # What we call on this thread is not the program's doing, even where rules name it.
        current.set(trace_anchor(UNWATCHED))
        server = self._server
        try:
            with selectors.DefaultSelector() as selector:
                selector.register(server, selectors.EVENT_READ)
                selector.register(self._woken, selectors.EVENT_READ)
                while True:
                    ready = {key.fileobj for key, _ in selector.select()}
                    if self._woken in ready:
                        self._woken.recv(1)
                        return
                    server.handle_request()
        except (OSError, ValueError):
            return  # It was closed.


class _Server(HTTPServer):
    timeout = 0  # It has been waited for already.

    def __init__(
        self, host: str, port: int, families: Callable[[], Iterable[MetricFamily]]
    ) -> None:
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self.families = families
        super().__init__((host, port), _Handler)

    def server_bind(self) -> None:
        # Not HTTPServer's, which asks the name service for the machine's name.
        socketserver.TCPServer.server_bind(self)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away is nobody's business, and stderr is the program's."""


class _Handler(BaseHTTPRequestHandler):
    timeout = CLIENT_SECONDS
    server: _Server
    server_version = "dytopo-autotrace"
    sys_version = ""

    def do_GET(self) -> None:
        if self.path.partition("?")[0] != PATH:
            self._reply(404, "text/plain; charset=utf-8", f"Metrics are at {PATH}\n")
            return
        try:
            kind, text = rendered(self.server.families(), self.headers.get("Accept", ""))
        except Exception as fault:
            self._reply(500, "text/plain; charset=utf-8", f"{type(fault).__name__}: {fault}\n")
            return
        self._reply(200, kind, text)

    do_HEAD = do_GET  # noqa: N815 - http.server's name

    def _reply(self, status: int, kind: str, text: str) -> None:
        body = text.encode()
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Nothing: stderr is the program's."""


def rendered(families: Iterable[MetricFamily], accept: str) -> tuple[str, str]:
    """Content type and text, in the form that an `Accept` header prefers; of equals, plain text."""
    wishes = [_wish(each) for each in accept.split(",")]
    weights = {
        name: max((weight for kind, weight in wishes if kind in kinds), default=0.0)
        for name, kinds in _ACCEPTED.items()
    }
    if weights["openmetrics"] > weights["text"]:
        return prometheus.OPENMETRICS_CONTENT_TYPE, prometheus.render_openmetrics(families)
    return prometheus.CONTENT_TYPE, prometheus.render(families)


_ACCEPTED: Final = {
    "openmetrics": ("application/openmetrics-text",),
    "text": ("text/plain", "text/*"),
}


def _wish(accepted: str) -> tuple[str, float]:
    kind, *parameters = (part.strip().lower() for part in accepted.split(";"))
    weight = 1.0
    for each in parameters:
        if each.startswith("q="):
            try:
                weight = float(each[2:])
            except ValueError:
                weight = 0.0
    return kind, weight
