"""A program that records without pause and says on stdout what it knows to be on disk, until it dies.

Its lines: `open ID` for a span that stays open, `kept N` after each tick that has written N spans, `busy`
when it has recorded for a while. Arguments: the store, how to die, and after how many seconds.
"""

import os
import sys
import threading
import time

from dytopo_autotrace.collect.pipeline import pipeline
from dytopo_autotrace.collect.tracing import TraceContext
from dytopo_autotrace.store.intake import Intake
from dytopo_autotrace.store.location import open_writer
from dytopo_autotrace.store.model import RunStart
from dytopo_autotrace.store.process import this_process
from dytopo_autotrace.store.recorder import Recorder


def say(text):
    os.write(1, f"{text}\n".encode())


def keep(intake):
    seen = set()
    while True:
        began = time.monotonic()
        opened = [span for span in pipeline.open_spans() if span.id not in seen]
        seen.update(span.id for span in opened)
        intake.tick(opened)
        say(f"kept {intake.recorder.written}")
        time.sleep(max(0.0, 0.1 - (time.monotonic() - began)))


def die(how):
    if how == "exit":
        os._exit(3)
    if how == "abort":
        os.abort()
    time.sleep(60)  # The signal comes from outside.


def main(path, how, seconds):
    start = RunStart("d" * 32, this_process(), time.time_ns(), script="swarm_that_dies.py")
    intake = Intake(lambda backlog: Recorder(backlog, open_writer(path), start))
    pipeline.consumers.append(intake.take)
    end = time.monotonic() + seconds
    with TraceContext("swarm", agent="outer") as outer:
        say(f"open {outer.span_id}")
        threading.Thread(target=keep, args=(intake,), daemon=True).start()
        number = 0
        while time.monotonic() < end:
            with TraceContext("round"):
                for _ in range(50):
                    with TraceContext("call", agent="worker", number=number):
                        number += 1
            time.sleep(0.001)
        if how in ("exit", "abort"):
            die(how)
        say("busy")
        while True:
            with TraceContext("call", agent="worker", number=number):
                number += 1


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], float(sys.argv[3]))
