"""Local servers that the libraries of the packs talk to."""

import json
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest


class Answer:
    """What the server says to a request, and when: an event waits for its turn to be released."""

    def __init__(self, status=200, body=None, events=None, headers=None):
        self.status, self.body, self.events = status, body, events
        self.headers = headers or {}


class Server:
    """Answers what it was told to, and remembers what it was asked.

    `answers` are given in their order; the last one for ever.
    """

    def __init__(self, url):
        self.url = url
        self.answers = [Answer(body={"fine": True})]
        self.asked = []

    def next_answer(self):
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


@contextmanager
def _serving():
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_):
            pass

        def do_GET(self):
            self._answer(b"")

        def do_POST(self):
            self._answer(self.rfile.read(int(self.headers.get("Content-Length") or 0)))

        def _answer(self, body):
            told.asked.append((self.command, self.path, dict(self.headers), body))
            answer = told.next_answer()
            if answer.events is None:
                content, kind = json.dumps(answer.body).encode(), "application/json"
            else:
                lines = [f"data: {json.dumps(each)}\n\n" for each in answer.events]
                content, kind = "".join([*lines, "data: [DONE]\n\n"]).encode(), "text/event-stream"
            self.send_response(answer.status)
            for name, value in {"Content-Type": kind, **answer.headers}.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(content)))
            self.send_header("Connection", "close")
            self.end_headers()
            self.wfile.write(content)
            self.close_connection = True

    listening = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    listening.daemon_threads = False
    told = Server(f"http://127.0.0.1:{listening.server_port}")
    thread = threading.Thread(target=listening.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield told
    finally:
        listening.shutdown()
        thread.join()
        listening.server_close()


@pytest.fixture
def server():
    """A web server on this machine that answers what a test tells it to."""
    with _serving() as told:
        yield told
