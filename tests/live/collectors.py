"""A collector of the test's own, which answers as it is told."""

import contextlib
import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

trace_service = pytest.importorskip("opentelemetry.proto.collector.trace.v1.trace_service_pb2")
pytest.importorskip("opentelemetry.exporter.otlp.proto.http.trace_exporter")


class Collector:
    """Takes requests and answers each with the next of `statuses`, the last one for ever."""

    def __init__(self, *statuses, rejects=0):
        self.statuses = list(statuses) or [200]
        self.rejects = rejects
        self.requests = []
        self.headers = []
        self.attempts = 0
        self.never = threading.Event()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                outer.answer(self)

            def log_message(self, *_):
                pass

        class Server(ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, *_):
                pass  # The client was cut short, as it is to be.

        self.server = Server(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"

    def answer(self, handler):
        body = handler.rfile.read(int(handler.headers["Content-Length"]))
        self.attempts += 1
        status = self.statuses.pop(0) if len(self.statuses) > 1 else self.statuses[0]
        if status == "hang":
            self.never.wait()
            return
        answer = b""
        if status == 200:
            assert handler.path == "/v1/traces"
            self.headers.append(handler.headers)
            self.requests.append(trace_service.ExportTraceServiceRequest.FromString(body))
            partial = {"rejected_spans": self.rejects, "error_message": "too old"}
            answer = trace_service.ExportTraceServiceResponse(
                partial_success=partial if self.rejects else None
            ).SerializeToString()
        handler.send_response(status)
        handler.send_header("Content-Type", "application/x-protobuf")
        handler.send_header("Content-Length", str(len(answer)))
        if 300 <= status < 400:
            handler.send_header("Location", "/login")
        handler.end_headers()
        handler.wfile.write(answer)

    @property
    def spans(self):
        return [
            span
            for request in self.requests
            for resource in request.resource_spans
            for scope in resource.scope_spans
            for span in scope.spans
        ]

    def __enter__(self):
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True)
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.never.set()
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()


def nobody():
    """The URL of a port where nobody listens."""
    with contextlib.closing(socket.create_server(("127.0.0.1", 0))) as taken:
        return f"http://127.0.0.1:{taken.getsockname()[1]}"
