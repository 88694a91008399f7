"""ClickHouse's HTTP interface in front of the embedded engine: a server for one machine's tests.

Prints its port and serves until its stdin ends. Started as a process of its own, as the engine must be.
Users: `default` without a password, `ada` with the password `s3cret:/@`.
"""

import base64
import os
import re
import sys
import tempfile
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qsl, urlsplit

import chdb
from clickhouse_connect.driver._backend.chdb_backend import _decompress

USERS = {"default": "", "ada": "s3cret:/@"}
FORMAT = re.compile(rb"FORMAT\s+(\w+)\s*$", re.IGNORECASE)
ENGINE = threading.Lock()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        data = self.body()
        if packed := self.headers.get("Content-Encoding"):
            data = _decompress(data, packed)
        asked = dict(parse_qsl(urlsplit(self.path).query, keep_blank_values=True))
        token = self.headers.get("Authorization", "").partition(" ")[2]
        user, _, password = base64.b64decode(token).decode().partition(":")
        if USERS.get(user or "default") != password:
            self.reply(403, b"Code: 516. DB::Exception: Authentication failed", "516")
            return
        values = {key[6:]: each for key, each in asked.items() if key.startswith("param_")}
        query = asked["query"].encode() if "query" in asked else b""
        try:
            with ENGINE:
                answer = run(asked.get("database"), query, data, values)
        except Exception as error:
            code = re.search(r"Code: (\d+)", str(error))
            self.reply(500, str(error).encode(), code[1] if code else "1")
            return
        self.reply(200, answer)

    do_GET = do_POST  # noqa: N815 - the name that its base looks for

    def body(self):
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        data = b""
        while length := int(self.rfile.readline(), 16):
            data += self.rfile.read(length)
            self.rfile.readline()
        self.rfile.readline()
        return data

    def reply(self, status, body, code=None):
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        if code:
            self.send_header("X-ClickHouse-Exception-Code", code)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args):
        pass


def run(database, query, data, values):
    insert = re.match(rb"\s*INSERT", query or data, re.IGNORECASE)
    if not query:
        # The rows come after the first line, which ends with their format.
        query, _, data = data.partition(b"\n") if insert else (data, b"", b"")
    CONNECTION.query(f"USE `{database or 'default'}`")
    if not insert:
        named = FORMAT.search(query)
        answer = CONNECTION.query(
            (FORMAT.sub(b"", query) if named else query).decode(),
            named[1].decode() if named else "TabSeparated",
            params=values,
        )
        return answer.bytes()
    with tempfile.NamedTemporaryFile() as file:
        file.write(data)
        file.flush()
        text = FORMAT.sub(rb"", query).decode()
        named = FORMAT.search(query)[1].decode()
        CONNECTION.query(f"{text} FROM INFILE '{file.name}' FORMAT {named}")
    return b""


if __name__ == "__main__":
    CONNECTION = chdb.connect(sys.argv[1])
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    sys.stdout.write(f"{server.server_port}\n")
    sys.stdout.flush()
    sys.stdin.read()
    os._exit(0)
