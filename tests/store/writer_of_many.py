"""One of several programs that write one store at once. Arguments: store, run id, name, spans."""

import sys
import time

from dytopo_autotrace.collect import clock
from dytopo_autotrace.collect.metrics import MetricsCollector
from dytopo_autotrace.collect.span import AGENT, Site, Span
from dytopo_autotrace.store.intake import Intake
from dytopo_autotrace.store.location import open_writer
from dytopo_autotrace.store.model import RunEnd, RunStart
from dytopo_autotrace.store.process import this_process
from dytopo_autotrace.store.recorder import Recorder, Sources


def main(path, run_id, name, count):
    site = Site("call", rule=name, entry=(AGENT, "number"))
    metrics = MetricsCollector()
    start = RunStart(run_id, this_process(), time.time_ns(), service=name)
    sources = Sources(families=metrics.families)
    intake = Intake(lambda backlog: Recorder(backlog, open_writer(path), start, sources))
    for first in range(0, count, 50):
        opened, batch = [], []
        for number in range(first, first + 50):
            # The same ids in every process, as a forked child could count on from where it was.
            span = Span(number + 1, 0, 1, site, clock.now_ns())
            span.at_entry = (name, number)
            opened.append(span)
        intake.tick(opened)
        for span in opened:
            span.finish("error" if span.id % 10 == 0 else "success")
            metrics.observe("counter", "calls", 1, (), 1.0)
            batch.append(span)
        intake.take(batch)
        intake.tick()
    intake.finish(lambda: RunEnd(time.time_ns()))
    intake.tick()
    sys.stdout.write(f"{intake.recorder.written} {intake.losses()}\n")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4]))
