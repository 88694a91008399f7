"""Whose output a call read, as links between spans: a rule names the agents, the records say which span."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import Final

from dytopo_autotrace.collect.span import RECEIVES, Span

MAX_SENDERS: Final = 50_000
"""Agents, of any trace, whose latest outputs are remembered."""
REMEMBERED: Final = 16
"""Outputs remembered of one agent: a reader that runs long began before the latest of them."""


class Messages:
    """Links each call to the latest call of every agent that it read, as far as that had ended."""

    def __init__(self) -> None:
        self._outputs: OrderedDict[tuple[int, str], list[tuple[int, int]]] = OrderedDict()

    def link(self, spans: Sequence[Span]) -> None:
        """Comes before all consumers that keep spans; they come in the order of their ends."""
        for span in spans:
            site = span.site
            if site.receives:
                found = (self._output(span, name) for name in _names(span.captured(RECEIVES)))
                links = [link for link in found if link and link not in span.links]
                if links:
                    span.links = (*span.links, *dict.fromkeys(links))
            if site.receives or site.role == "worker":
                self._remember(span)

    def _output(self, reader: Span, agent: str) -> int:
        for ended, sender in reversed(self._outputs.get((reader.trace, agent), ())):
            if ended <= reader.start_ns:
                return sender
        return 0

    def _remember(self, span: Span) -> None:
        if not span.agent or span.status == "cancelled":
            return
        key = (span.trace, span.agent)
        outputs = self._outputs.get(key)
        if outputs is None:
            outputs = self._outputs[key] = []
            if len(self._outputs) > MAX_SENDERS:
                self._outputs.popitem(last=False)
        outputs.append((span.end_ns, span.id))
        if len(outputs) > REMEMBERED:
            del outputs[0]


def _names(value: object) -> list[str]:
    return [str(each) for each in value] if isinstance(value, list | tuple) else []
