"""The replay takes short cuts; what it says is what going through all moments in order says."""

import heapq
from collections import deque

from builders import SECOND, Spans, any_spans
from hypothesis import assume, given
from hypothesis import strategies as st
from strategies import programs

from dytopo_autotrace.analyze.dependencies import dependencies
from dytopo_autotrace.analyze.replay import Change, Replays
from dytopo_autotrace.analyze.tree import build


def plainly(graph, capacity, delays):
    """The definition: every moment in order of time, of several at a time the lowest number first."""
    free = {name: each.capacity for name, each in graph.resources.items() if each.contended}
    free |= {name: slots for name, slots in capacity.items() if name in graph.resources}
    waits = {2 * call + 1: name for call, name in graph.resource_of.items() if name in free}
    queues = {name: deque() for name in free}
    holds, left = {}, {moment: len(reasons) for moment, reasons in enumerate(graph.before)}
    followers = {}
    for moment, reasons in enumerate(graph.before):
        followers.setdefault(id(reasons), (reasons, []))[1].append(moment)
    ready, end = [(0, graph.first)], None

    def take(name, wait):
        holds.setdefault(graph.holder_of[wait // 2], []).append(name)

    while ready:
        now, moment = heapq.heappop(ready)
        end = now if moment == graph.last else end
        for name in holds.pop(moment, ()):
            if queues[name]:
                wait = queues[name].popleft()
                take(name, wait)
                heapq.heappush(ready, (now, wait))
            else:
                free[name] += 1
        for reasons, after in followers.values():
            for follower in after if moment in reasons else ():
                left[follower] -= 1
                if left[follower]:
                    continue
                if follower not in waits:
                    heapq.heappush(ready, (now + delays[follower], follower))
                elif free[waits[follower]] > 0:
                    free[waits[follower]] -= 1
                    take(waits[follower], follower)
                    heapq.heappush(ready, (now, follower))
                else:
                    queues[waits[follower]].append(follower)
    return end


@st.composite
def queues(draw):
    """Calls that wait for slots, often at the same moment, and call one another."""
    spans = Spans()
    run = spans.add("run", 0, 40)
    for number in range(draw(st.integers(1, 8))):
        start = draw(st.integers(0, 4))
        granted = start + draw(st.integers(0, 4))
        end = granted + draw(st.integers(0, 5))
        call = spans.add("act", start, end, run, agent=f"a{number % 3}")
        slot = draw(st.sampled_from(["slot", "lock"]))
        spans.add(slot, start, granted, call, role="wait", free=int(granted == start))
        inner = spans.add("model", granted, end, call)
        for _ in range(draw(st.integers(0, 2))):
            spans.add("http", granted, draw(st.integers(granted, end)), inner)
    return spans


@given(
    st.one_of(queues(), programs(), any_spans()),
    st.dictionaries(st.sampled_from(["slot", "lock"]), st.integers(1, 4)),
    st.sets(st.integers(0, 12)),
)
def test_a_replay_is_all_moments_in_order(spans, capacity, halved):
    """With any slots, and any calls faster, short cuts change nothing: ties neither."""
    graph = dependencies(build(spans, 60 * SECOND))
    assume(graph.tree.spans)
    delays = [
        round(delay * 0.5) if owner in halved else delay
        for owner, delay in zip(graph.owner, graph.delay, strict=True)
    ]
    replays = Replays(graph)
    change = Change(scale=dict.fromkeys(halved, 0.5), capacity=capacity)
    assert replays.run(change) == plainly(graph, capacity, delays)
    assert replays.run() == plainly(graph, {}, graph.delay), "one replay does not mind another"


@given(st.one_of(queues(), programs(), any_spans()))
def test_a_delay_is_the_time_since_the_latest_reason(spans):
    """What is worked out while the graph is made is what the finished graph says."""
    graph = dependencies(build(spans, 60 * SECOND))
    for moment, reasons in enumerate(graph.before):
        since = max((graph.at[each] for each in reasons), default=graph.at[moment])
        assert graph.delay[moment] == max(graph.at[moment] - since, 0)
    assert graph.size == sum(map(len, {id(each): each for each in graph.before}.values()))
