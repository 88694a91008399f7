"""A thread of our own: step by step, one at a time, and never waited for without a limit."""

import threading

from dytopo_autotrace.collect.span import TRACE, UNWATCHED
from dytopo_autotrace.collect.tracing import current
from dytopo_autotrace.live.worker import Worker


class Job:
    def __init__(self, step=lambda: 0.0):
        self.done = []
        self.stepped = threading.Event()
        self.do = step

    def step(self):
        self.done.append(current.get()[TRACE])
        self.stepped.set()
        return self.do()

    def last(self):
        self.done.append("last")

    def failed(self, fault):
        self.done.append(fault)


def test_all_the_rest_is_done_once_whoever_does_it():
    """The thread does it, or whoever waits where there is none; never both, never again."""
    job = Job()
    worker = Worker("test", job, 0.0)
    worker.ensure_running()
    assert job.stepped.wait(10)
    worker.finish()
    assert worker.wait(10)
    assert worker.wait(10)
    worker.ensure_running()
    assert job.done.count("last") == 1
    alone = Job()
    unstarted = Worker("test", alone, 0.0)
    unstarted.finish()
    assert unstarted.wait(10)
    assert alone.done == ["last"]
    assert current.get() is None


def test_what_it_calls_is_marked_as_ours():
    """Woven functions that the job calls are not recorded as the program's."""
    job = Job(lambda: 60.0)
    worker = Worker("test", job, 0.0)
    worker.ensure_running()
    assert job.stepped.wait(10)
    worker.finish()
    assert worker.wait(10)
    assert job.done == [UNWATCHED, "last"]


def test_a_fault_is_told_and_the_thread_goes_on():
    """A step that raises is not the last one."""

    def broken():
        raise ValueError("today")

    job = Job(broken)
    worker = Worker("test", job, 0.0)
    worker.ensure_running()
    assert job.stepped.wait(10)
    worker.finish()
    assert worker.wait(10)
    assert isinstance(job.done[1], ValueError)
    assert job.done[-1] == "last"


def test_no_second_thread_while_the_first_is_in_the_middle_of_something():
    """One that could not rest in time goes on alone, and the next begins when it has ended."""
    release = threading.Event()
    job = Job(lambda: release.wait(30) * 60.0)
    worker = Worker("test", job, 0.0)
    worker.ensure_running()
    assert job.stepped.wait(10)
    thread = worker.rest(0.0)
    job.stepped.clear()
    worker.ensure_running()
    assert len(job.done) == 1
    release.set()
    thread.join(10)
    worker.ensure_running()
    assert job.stepped.wait(10)
    worker.finish()
    assert worker.wait(10)
    assert job.done == [UNWATCHED, UNWATCHED, "last"]
