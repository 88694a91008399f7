"""Spans and whole runs built by hand, and strategies for records in any state."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import strategies as st

from dytopo_autotrace.collect.records import Cost, RuleState, RunRecords
from dytopo_autotrace.collect.span import ErrorInfo, Site, Span

SECOND = 1_000_000_000


class Spans:
    """Makes spans with counted ids; times are seconds."""

    def __init__(self):
        self.all = []
        self._identity = 0x7F00

    def __iter__(self):
        return iter(self.all)

    def add(
        self,
        operation,
        start,
        end,
        parent=None,
        *,
        role="",
        agent="",
        status=None,
        error=None,
        trace=1,
        rule="",
        asked=None,
        answer=None,
        **metadata,
    ):
        """A finished span, or one still running if `end` is None.

        `asked` and `answer` are what a rule captured when the call began and when it ended.
        """
        asked, answer = asked or {}, answer or {}
        site = Site(operation, role=role, rule=rule, entry=tuple(asked), exit=tuple(answer))
        span = Span(
            len(self.all) + 1,
            parent.id if parent is not None else 0,
            trace if parent is None else parent.trace,
            site,
            round(start * SECOND),
        )
        span.at_entry, span.at_exit = tuple(asked.values()), tuple(answer.values())
        if end is not None:
            span.end_ns = round(end * SECOND)
            span.status = status or ("error" if error is not None else "success")
        span.error = error
        span.agent = agent
        span.metadata = metadata
        self.all.append(span)
        return span

    def error(self, type_name="ValueError", message="it broke", related=()):
        """An exception with an identity of its own."""
        self._identity += 16
        frame = ("/app/client.py", 88, "post")
        return ErrorInfo(type_name, message, "app", (frame,), self._identity, tuple(related))

    def held(self, start, end, holder, *calls, exact=True, thread=1, before_ns=0, after_ns=0):
        """A time in which a call held the event loop of these others."""
        span = self.add("event_loop_blocked", start, end, holder, role="blocked", exact=exact)
        span.metadata |= {"thread": thread, "where": "app.py:3 in load"}
        span.metadata |= {"before_ns": before_ns, "after_ns": after_ns}
        span.links = tuple(each.id for each in calls)
        return span

    def chain(self, names, start, end, parent=None, **shared):
        """Spans below one another, outermost first."""
        made = []
        for name in names:
            parent = self.add(name, start, end, parent, **shared)
            made.append(parent)
        return made


def soft(message="failed_if held: result is None"):
    """A failure that raised nothing."""
    return ErrorInfo("SoftFailure", message, soft=True)


AGENTS = ("analyst", "developer", "designer", "tester")
ROUNDS = 3


def swarm(fault="", *, agents=AGENTS, rounds=ROUNDS, victim="developer", base=0.2):
    """The spans of a swarm run: rounds of one manager call and the workers side by side.

    Faults: `retry`, `swallowed`, `unreadable`, `timeout`, `slow-agent`, or none.
    """
    spans = Spans()
    root = spans.add("swarm_run", 0, 1, role="orchestrator", task="Write an LRU cache")
    now = 0.05
    for number in range(1, rounds + 1):
        manager = spans.add(
            "manager_call", now, now + 0.12, root, role="manager", agent="manager", round=number
        )
        spans.add("llm_call", now, now + 0.12, manager, role="llm")
        now += 0.13
        ends = [
            _worker(spans, root, now, name, base * (1 + 0.03 * index), fault * (name == victim))
            for index, name in enumerate(agents)
        ]
        now = max(ends) + 0.01
        router = spans.add("build_routing_result", now, now + 0.02, root, role="router")
        spans.add("embed_descriptors", now, now + 0.015, router, role="step")
        now += 0.03
    root.end_ns = round((now + 0.05) * SECOND)
    return spans


def _worker(spans, root, start, agent, seconds, fault):
    seconds *= 6 if fault == "slow-agent" else 1
    end = start + (2.0 if fault == "timeout" else 0.31 if fault == "swallowed" else seconds)
    end += 0.25 if fault == "retry" else 0
    cut = "cancelled" if fault == "timeout" else None
    outer = spans.add("exec_agent", start, end, root, role="step", status=cut)
    call = spans.add("agent_call", start, end, outer, role="worker", agent=agent, status=cut)
    model = spans.add("llm_call", start, end, call, role="llm", status=cut)
    client = spans.add("chat_completion", start, end, model, role="llm", status=cut)
    if fault == "timeout":
        spans.add("chat_attempt", start, end, client, role="attempt", status=cut)
    elif fault == "retry":
        error = spans.error("APIStatusError", "503 Service Unavailable")
        spans.add("chat_attempt", start, start + 0.05, client, role="attempt", error=error)
        spans.add("chat_attempt", start + 0.25, end, client, role="attempt")
    elif fault == "swallowed":
        for index in range(3):
            error = spans.error("APIStatusError", "503 Service Unavailable")
            begin = start + index * 0.1
            spans.add("chat_attempt", begin, begin + 0.05, client, role="attempt", error=error)
        for span in (client, model):
            span.status, span.error = "error", error
        call.status, call.error = "error", soft("failed_if held: result[1] == 0")
    elif fault == "unreadable":
        spans.add("chat_attempt", start, end, client, role="attempt")
        model.status, model.error = "error", soft("failed_if held: result['parsed']['_failed']")
    else:
        spans.add("chat_attempt", start, end, client, role="attempt")
    return end


def run(spans, **changes):
    """The records of a run that ended normally."""
    spans = tuple(spans)
    last = max((span.end_ns for span in spans), default=0)
    records = RunRecords(
        service="swarm",
        argv=("run_swarm.py", "--rounds", "3"),
        started_unix_ns=1_700_000_000 * SECOND,
        wall_seconds=last / SECOND + 0.1,
        exit_status=0,
        now_ns=last,
        spans=spans,
        rules=(
            RuleState("worker", "dytopo.orchestrator:_call_worker", "pack dytopo", "woven", 1, 12),
            RuleState("hyde", "dytopo.router:hyde", "pack dytopo", "never_imported"),
            RuleState("mine", "app:run", "instrumentation.toml:3", "nothing_matched", 0, 0, "app"),
        ),
        cost=Cost(len(spans), 1.3e-6),
    )
    return replace(records, **changes)


ERRORS = st.builds(
    ErrorInfo,
    type_name=st.sampled_from(["ValueError", "TimeoutError", "CancelledError", ""]),
    message=st.text(max_size=8),
    identity=st.integers(0, 3),
    related=st.lists(st.integers(0, 3), max_size=2).map(tuple),
    soft=st.booleans(),
)


@st.composite
def any_spans(draw, most=8):
    """Spans in any state: loops, repeated ids, missing parents, ends before starts, still open."""
    made = []
    for _ in range(draw(st.integers(0, most))):
        site = Site(
            draw(st.sampled_from(["a", "b", "llm"])),
            role=draw(st.sampled_from(["", "orchestrator", "manager", "worker", "llm", "step"])),
        )
        span = Span(
            draw(st.integers(1, most)),
            draw(st.integers(0, most + 1)),
            draw(st.integers(1, 2)),
            site,
            draw(st.integers(-5, 40)),
        )
        span.end_ns = draw(st.integers(-5, 50))
        span.status = draw(st.sampled_from(["in_progress", "success", "error", "cancelled"]))
        span.error = draw(st.none() | ERRORS)
        span.agent = draw(st.sampled_from(["", "x", "y"]))
        span.metadata = draw(st.dictionaries(st.sampled_from(["round", "task"]), st.integers(0, 2)))
        made.append(span)
    return made


@st.composite
def trees(draw, most=10):
    """Well-formed finished spans of one trace: children within their parent."""
    spans = Spans()
    spans.add("root", 1, 100)
    for _ in range(draw(st.integers(0, most))):
        parent = draw(st.sampled_from(spans.all))
        low, high = parent.start_ns // SECOND, parent.end_ns // SECOND
        start = draw(st.integers(low, high))
        name, agent = draw(st.sampled_from("abc")), draw(st.sampled_from(["", "x", "y"]))
        role = draw(st.sampled_from(["", "worker", "llm"]))
        spans.add(name, start, draw(st.integers(start, high)), parent, role=role, agent=agent)
    return spans.all
