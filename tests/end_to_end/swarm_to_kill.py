"""The example swarm, which says on stdout which calls have ended and when, until it is killed.

Lines: `begun ID START`, `ended ID END`, `beat NOW`, `dies NOW`; ids in hex, times in nanoseconds of
the monotonic clock, which all processes of a host share. Arguments: how to die, and how many seconds
after the first call; a signal that comes from outside is waited for.
"""

import asyncio
import faulthandler
import os
import sys
import threading
import time
from collections import deque

from dytopo_autotrace.collect.pipeline import pipeline
from dytopo_autotrace.collect.span import END_NS, ID, START_NS

BEAT_NS = 20_000_000
"""How often the thread that listens says that it got to run."""

ENDS = {
    "SIGSEGV": faulthandler._sigsegv,
    "exit": lambda: os._exit(3),
    "abort": os.abort,
}


class Overheard(deque):
    """The pipeline's buffer, which keeps for itself what was appended."""

    calls = deque()  # noqa: RUF012 - shared with the thread that listens
    has_begun = threading.Event()

    def append(self, record):
        self.calls.append(record)
        super().append(record)


def say(text):
    os.write(1, f"{text}\n".encode())


def listen():
    """Say within about a millisecond what began and what ended: nothing of it waits in this process."""
    running = []
    beat = time.perf_counter_ns()
    while True:
        now = time.perf_counter_ns()
        if now - beat > BEAT_NS and Overheard.has_begun.is_set():
            beat = now
            say(f"beat {now}")
        while Overheard.calls:
            running.append(record := Overheard.calls.popleft())
            say(f"begun {record[ID]:x} {record[START_NS]}")
            Overheard.has_begun.set()
        for record in [each for each in running if each[END_NS]]:
            running.remove(record)
            say(f"ended {record[ID]:x} {record[END_NS]}")
        time.sleep(0.001)


def die(how, seconds):
    Overheard.has_begun.wait()
    time.sleep(seconds)
    say(f"dies {time.perf_counter_ns()}")
    ENDS[how]()


def main(how, seconds):
    sys.path.insert(0, sys.argv[3])
    pipeline.buffer = Overheard(maxlen=pipeline.buffer.maxlen)
    import run_swarm  # Woven now: its calls are appended where they are overheard.

    sys.stdout = open(os.devnull, "w")  # noqa: SIM115 - until the process is killed
    threading.Thread(target=listen, daemon=True).start()
    if how in ENDS:
        threading.Thread(target=die, args=(how, seconds), daemon=True).start()
    while True:
        asyncio.run(run_swarm.main(["--embedding", "hashing", "--latency-scale", "1.0"]))


main(sys.argv[1], float(sys.argv[2]))
