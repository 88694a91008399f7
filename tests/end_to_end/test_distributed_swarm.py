"""A swarm whose workers are separate processes, reached by messages: one trace, one report."""

PROGRAM = """
import json, multiprocessing, subprocess, sys, urllib.request
from dytopo_autotrace import extracted, inject

def orchestrate(http, inbox, outbox):
    answers = [ask_over_http(http, f"question {number}") for number in range(2)]
    return [*answers, *(ask_over_queue(inbox, outbox, f"task {number}") for number in range(2))]

def ask_over_http(url, question):
    request = urllib.request.Request(url, question.encode(), headers=inject())
    with urllib.request.urlopen(request, timeout=30) as response:
        return response.read().decode()

def ask_over_queue(inbox, outbox, task):
    inbox.put((inject(), task))
    return outbox.get(timeout=30)

def unwatched_serve(inbox, outbox):
    while (message := inbox.get()) is not None:
        carrier, task = message
        with extracted(carrier):
            outbox.put(work(task))

def work(task):
    return f"done: {task}"

if __name__ == "__main__":
    server = subprocess.Popen([sys.executable, "server.py"], stdout=subprocess.PIPE, text=True)
    url = server.stdout.readline().strip()
    context = multiprocessing.get_context("spawn")
    inbox, outbox = context.Queue(), context.Queue()
    worker = context.Process(target=unwatched_serve, args=(inbox, outbox))
    worker.start()
    print(orchestrate(url, inbox, outbox))
    inbox.put(None)
    worker.join()
    urllib.request.urlopen(url, b"", timeout=30).close()
    server.communicate()
"""
SERVER = """
import http.server, threading
from dytopo_autotrace import extracted

class Handler(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        question = self.rfile.read(int(self.headers["content-length"])).decode()
        self.send_response(200)
        self.end_headers()
        if not question:
            threading.Thread(target=self.server.shutdown).start()
            return
        with extracted(self.headers):
            self.wfile.write(answer(question).encode())
    def log_message(self, *_):
        pass

def answer(question):
    return f"answer to {question}"

server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
print(f"http://127.0.0.1:{server.server_port}", flush=True)
server.serve_forever()
"""


def test_messages_carry_the_trace(workshop):
    """What a worker does for a message belongs below the call that sent it, wherever the worker runs."""
    workshop.write(program=PROGRAM, server=SERVER)
    status, out, (said, report) = workshop.run()
    assert (status, said) == (0, "")
    assert out.count("answer to question") == out.count("done: task") == 2
    info, spans = workshop.spans()
    assert info.processes == 3
    assert report["span_count"] == len(spans)
    (root,) = [span for span in spans if span.operation == "orchestrate"]
    assert {span.trace for span in spans} == {root.trace}
    asks = {span.id: span for span in spans if span.operation.startswith("ask_over")}
    answers = [span for span in spans if span.operation in ("answer", "work")]
    assert len(asks) == len(answers) == 4
    assert {span.parent for span in answers} == set(asks)
    assert {span.parent for span in asks.values()} == {root.id}
    for span in answers:
        sent = asks[span.parent]
        assert (span.operation == "answer") == (sent.operation == "ask_over_http")
        assert sent.start_ns <= span.start_ns <= span.end_ns <= sent.end_ns
