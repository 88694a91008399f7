"""Strategies for runs whose truth is known: spans as a program that joins what it starts leaves them."""

from builders import SECOND, Spans
from hypothesis import strategies as st


@st.composite
def programs(draw, depth=3, waits=False):
    """A structured program: every call does things itself, in order, and starts calls in tiers.

    The calls of a tier start together and are joined before what follows.
    """
    spans = Spans()

    def call(start, parent, level):
        name = draw(st.sampled_from("abc"))
        agent = draw(st.sampled_from(["", "x", "y"]))
        span = spans.add(name, start / 10, start / 10, parent, role="step", agent=agent)
        now = start + draw(st.integers(0, 5))
        for _ in range(draw(st.integers(0, 2)) if level else 0):
            ends = [call(now, span, level - 1) for _ in range(draw(st.integers(1, 3)))]
            now = max(ends) + draw(st.integers(0, 3))
        span.end_ns = round(now / 10 * SECOND)
        return now

    call(draw(st.integers(0, 3)), None, depth)
    return spans
