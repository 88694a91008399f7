"""Runs to export: one made by hand with something of everything, and any run that can be thought of."""

from hypothesis import strategies as st

from dytopo_autotrace.collect import clock
from dytopo_autotrace.collect.records import RunRecords
from dytopo_autotrace.collect.span import ErrorInfo, Site, Span

STARTED_UNIX_NS = 1_790_000_000_123_456_789
MS = 1_000_000
TRACE = 0x0AF7651916CD43DD8448EB211C80319C


def at(milliseconds):
    """A moment on the span clock, so long after the run began."""
    return clock.counter_ns(STARTED_UNIX_NS + round(milliseconds * MS))


def span(
    number,
    operation,
    start,
    end,
    *,
    parent=0,
    role="",
    agent="",
    rule="",
    trace=TRACE,
    status="success",
    error=None,
    links=(),
    measurements=None,
    **metadata,
):
    """A span from and to so many milliseconds after the run began; `end=None` still runs."""
    made = Span(number, parent, trace, Site(operation, role, rule), at(start))
    made.end_ns = 0 if end is None else at(end)
    made.status = "in_progress" if end is None else status
    made.error = error
    made.links = tuple(links)
    made.agent = agent
    made.metadata = metadata
    if measurements is not None:
        made.measurements = measurements
    return made


TIMEOUT = ErrorInfo(
    "ReadTimeout",
    "no answer\nwithin 5 s",
    "httpx",
    (("/app/swarm.py", 12, "call"), ("/app/client.py", 7, "post")),
    identity=0xDEADBEEF,
    related=(0xFEED,),
)
CANCELLED = ErrorInfo("CancelledError", "", "asyncio.exceptions", (("/app/swarm.py", 3, "x"),), 7)
SOFT = ErrorInfo("SoftFailure", "failed_if held: result[1] == 0", soft=True)


def swarm():
    """Two rounds of a small team: messages, edges, tools, tokens, and every way to fail."""
    tokens = (
        ("swarm_tokens_total", "counter", 900, (("agent", "writer"), ("direction", "in"))),
        ("swarm_tokens_total", "counter", 100, (("agent", "writer"), ("direction", "out"))),
    )
    spans = (
        span(
            1, "run_swarm", 0, 1000, role="orchestrator", rule="run", task="Write a poem", tau=0.3
        ),
        span(2, "round", 0, 500, parent=1, role="round", round=1),
        span(3, "manager_call", 0, 100, parent=2, role="manager", agent="manager", goal="A rhyme"),
        span(
            4, "llm_call", 10, 90, parent=3, role="llm", model="m-1", tokens_in=120, tokens_out=30
        ),
        span(
            5,
            "route",
            100,
            101,
            parent=2,
            role="router",
            edges=[["writer", "critic", 0.75], ["critic", "writer", 0.5]],
            isolated=["idle"],
        ),
        span(6, "agent_call", 110, 300, parent=2, role="worker", agent="writer"),
        span(7, "llm_call", 120, 290, parent=6, role="llm", measurements=tokens),
        span(8, "agent_call", 110, 400, parent=2, role="worker", agent="critic", links=(6, 404)),
        span(9, "search", 120.5, 130.25, parent=8, role="tool", tool="web search", query="rhymes"),
        span(10, "llm_call", 140, 390, parent=8, role="llm", status="error", error=TIMEOUT),
        span(
            11,
            "agent_call",
            410,
            480,
            parent=2,
            role="worker",
            agent="writer",
            links=(6, 8),
            status="error",
            error=SOFT,
        ),
        span(12, "round", 500, None, parent=1, role="round", round=2),
        span(
            13,
            "agent_call",
            510,
            800,
            parent=12,
            role="worker",
            agent="writer",
            status="cancelled",
            error=CANCELLED,
            links=(8,),
        ),
        span(14, "agent_call", 520, None, parent=12, role="worker", agent="writer"),
        span(15, "sub_swarm", 600, 700, role="orchestrator", trace=TRACE + 1, links=(13,)),
    )
    return records(spans)


def records(spans, **others):
    """The records of a run that left these spans and took a second."""
    given = {
        "service": "poets",
        "argv": ("swarm.py", "--task", "Write a poem"),
        "started_unix_ns": STARTED_UNIX_NS,
        "wall_seconds": 1.0,
        "exit_status": 0,
        "now_ns": at(1000),
        "drops": {"buffer": 3},
        **others,
    }
    return RunRecords(spans=tuple(spans), **given)


NAMES = st.text(max_size=12)
TEXT = st.text(st.characters(exclude_categories=()), max_size=20)
SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | TEXT
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=8,
)
ERRORS = st.builds(
    ErrorInfo,
    type_name=st.from_regex(r"[A-Z][A-Za-z]{0,8}(\.[A-Z][a-z]{1,5})?", fullmatch=True),
    message=TEXT,
    module=st.sampled_from(["", "builtins", "app.errors"]),
    frames=st.lists(
        st.tuples(
            st.from_regex(r"/[a-z \"é]{1,8}\.py", fullmatch=True),
            st.integers(1, 10**6),
            st.from_regex(r"<?[a-z_]{1,8}>?", fullmatch=True),
        ),
        max_size=3,
    ).map(tuple),
    identity=st.integers(0, 2**64 - 1),
    related=st.lists(st.integers(1, 2**64 - 1), max_size=2).map(tuple),
)


@st.composite
def runs(draw, *, values=VALUES, names=TEXT, max_spans=8):
    """Any run: spans in any order, parents and links that may be missing, calls that still run."""
    count = draw(st.integers(0, max_spans))
    ids = draw(st.lists(st.integers(1, 2**64 - 1), min_size=count, max_size=count, unique=True))
    traces = draw(st.lists(st.integers(1, 2**128 - 1), min_size=1, max_size=2, unique=True))
    missing = next(number for number in range(1, count + 2) if number not in ids)
    spans = []
    for number in ids:
        # A parent comes before its children here, so there are no circles.
        parent = draw(st.sampled_from([0, missing, *(one.id for one in spans)]))
        trace = next(
            (one.trace for one in spans if one.id == parent), draw(st.sampled_from(traces))
        )
        start = draw(st.integers(0, 10**7))
        length = draw(st.none() | st.integers(1, 10**10))
        made = span(
            number,
            draw(names),
            0,
            0,
            parent=parent,
            trace=trace,
            role=draw(
                st.sampled_from(["", "orchestrator", "manager", "worker", "llm", "tool", "x"])
            ),
            agent=draw(names),
            rule=draw(names),
        )
        made.start_ns = at(0) + start
        made.end_ns = 0 if length is None else made.start_ns + length
        made.status = (
            "in_progress"
            if length is None
            else draw(st.sampled_from(["success", "error", "cancelled"]))
        )
        if made.status in ("error", "cancelled"):
            made.error = draw(st.none() | ERRORS if made.status == "error" else ERRORS)
            if made.status == "error" and made.error is None and draw(st.booleans()):
                made.error = SOFT
        made.metadata = draw(st.dictionaries(TEXT, values, max_size=4))
        made.links = tuple(draw(st.lists(st.sampled_from(ids), max_size=2)))
        spans.append(made)
    now = max((max(one.start_ns, one.end_ns) for one in spans), default=at(0)) + 5000
    return records(draw(st.permutations(spans)), now_ns=now, service=draw(names))
