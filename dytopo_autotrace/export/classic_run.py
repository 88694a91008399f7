"""All traces of a run in the classic JSON form, one document."""

from __future__ import annotations

from collections.abc import Iterator

from dytopo_autotrace.collect.span import Span
from dytopo_autotrace.export import classic
from dytopo_autotrace.export.run import Run
from dytopo_autotrace.export.values import compact, plain, separated


def render(run: Run) -> Iterator[str]:
    """`{"traces": [...]}` with what `export_trace` writes for each, a chunk a trace."""
    traces: dict[int, list[Span]] = {}
    for span in run.tree.spans:
        traces.setdefault(span.trace, []).append(span)
    yield '{"traces":[\n'
    yield from separated(_trace(run, spans) for spans in traces.values())
    yield "\n]}\n"


def _trace(run: Run, spans: list[Span]) -> str:
    document = classic.trace(spans)
    ordered = sorted(spans, key=lambda span: span.start_ns)
    for each, span in zip(document["spans"], ordered, strict=True):
        each["metadata"], _ = run.metadata(span)
    return compact(plain_document(document))


def plain_document(document: dict[str, object]) -> object:
    """The document with every value fit for JSON."""
    return {
        key: [plain(each, -1) for each in value] if isinstance(value, list) else plain(value)
        for key, value in document.items()
    }
