"""Metric families as Prometheus's text exposition format 0.0.4, and as OpenMetrics 1.0.

Samples carry no timestamp: Prometheus takes the time of its scrape, and with timestamps of our own a
series that stops would neither go stale nor be told from one that is late.

https://prometheus.io/docs/instrumenting/exposition_formats/
https://prometheus.io/docs/specs/om/open_metrics_spec/
"""

from __future__ import annotations

import math
import re
from dataclasses import replace
from operator import add
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from dytopo_autotrace.collect.series import MetricFamily, MetricSeries

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
OPENMETRICS_CONTENT_TYPE: Final = "application/openmetrics-text; version=1.0.0; charset=utf-8"

_ENDINGS_OF_OTHERS: Final = ("_total", "_sum", "_count", "_bucket")
_INVALID = re.compile(r"[^a-zA-Z0-9_]")
_SURROGATE = re.compile(r"[\ud800-\udfff]")


def render(families: Iterable[MetricFamily]) -> str:
    """The families as text, by name. Names become valid ones, and stay apart when they do."""
    lines: list[str] = []
    for name, family in _named(families, openmetrics=False):
        lines += (
            f"# HELP {name} {_help(family)}",
            f"# TYPE {name} {_type(name, family)}",
            *_samples(name, family),
        )
    return "".join(f"{line}\n" for line in lines)


def _type(name: str, family: MetricFamily) -> str:
    """A plain value under a name that promises a counter or a part of a histogram is of no type."""
    is_other = family.kind == "gauge" and name.endswith(_ENDINGS_OF_OTHERS)
    return "untyped" if is_other else family.kind


def render_openmetrics(families: Iterable[MetricFamily]) -> str:
    """The families as OpenMetrics: a counter's family goes without the `_total` of its sample."""
    lines: list[str] = []
    for name, family in _named(families, openmetrics=True):
        title = name.removesuffix("_total") if family.kind == "counter" else name
        lines.append(f"# TYPE {title} {family.kind}")
        if title.endswith("_seconds"):
            lines.append(f"# UNIT {title} seconds")
        escaped = _help(family).replace('"', r"\"")
        lines += (f"# HELP {title} {escaped}", *_samples(name, family, openmetrics=True))
    return "".join(f"{line}\n" for line in (*lines, "# EOF"))


def _named(
    families: Iterable[MetricFamily], *, openmetrics: bool
) -> Iterator[tuple[str, MetricFamily]]:
    """The families that have something to say, each with a valid name of its own."""
    taken: set[str] = set()
    # Names that are valid as they are come first, so that those that have to change make way.
    for family in sorted(families, key=lambda each: (_valid(each.name) != each.name, each.name)):
        if family.series:
            yield _family_name(family, taken, openmetrics=openmetrics), family


def _family_name(family: MetricFamily, taken: set[str], *, openmetrics: bool) -> str:
    """A name under which nothing else is written, nor could be, given what a histogram adds."""
    base, ending = _valid(family.name), ""
    if family.kind == "counter":
        base, ending = base.removesuffix("_total").rstrip("_") or "unnamed", "_total"

    def written(base: str) -> set[str]:
        name = base + ending
        parts = ("_bucket", "_sum", "_count") if family.kind == "histogram" else ()
        # There the family's own name counts, and so do samples that could have been written.
        more = (base, f"{base}_created") if openmetrics and family.kind != "gauge" else ()
        return {name, *(name + part for part in parts), *more}

    base = _first(base, lambda candidate: taken.isdisjoint(written(candidate)))
    taken |= written(base)
    return base + ending


def _samples(name: str, family: MetricFamily, *, openmetrics: bool = False) -> Iterator[str]:
    for labels, series in sorted(_merged(family).items()):
        pairs = [f'{key}="{_escaped(value)}"' for key, value in labels]
        if family.kind == "histogram":
            total = 0
            for bound, count in zip((*family.bounds, math.inf), series.bucket_counts, strict=True):
                total += count
                limit = _number(float(bound) if openmetrics else bound)
                yield _sample(f"{name}_bucket", [*pairs, f'le="{limit}"'], total)
            # In OpenMetrics, a sum that negative values made fall, or could, is not allowed, and there
            # is no count without a sum; the last bucket has it too.
            if not openmetrics or (series.sum >= 0 and all(bound >= 0 for bound in family.bounds)):
                yield _sample(f"{name}_sum", pairs, series.sum)
                yield _sample(f"{name}_count", pairs, total)
        else:
            yield _sample(name, pairs, series.sum if family.kind == "counter" else series.last)


def _merged(family: MetricFamily) -> dict[tuple[tuple[str, str], ...], MetricSeries]:
    """Series by the labels they are written with; those that become the same are added up."""
    names = _label_names(family)
    found: dict[tuple[tuple[str, str], ...], MetricSeries] = {}
    for series in family.series:
        # To Prometheus, a label without a value is no label.
        labels = tuple(
            sorted(
                (names[key], _SURROGATE.sub("\ufffd", value))
                for key, value in series.labels
                if value
            )
        )
        found[labels] = _sum(found[labels], series) if labels in found else series
    return found


def _sum(one: MetricSeries, other: MetricSeries) -> MetricSeries:
    latest = max(one, other, key=lambda series: series.timestamp)
    return replace(
        latest,
        count=one.count + other.count,
        sum=one.sum + other.sum,
        min=min(one.min, other.min),
        max=max(one.max, other.max),
        bucket_counts=tuple(map(add, one.bucket_counts, other.bucket_counts)),
    )


def _label_names(family: MetricFamily) -> dict[str, str]:
    """The family's label names to those they are written with, no two the same."""
    # Prometheus's own word for a label of ours that has the name of one of its own.
    reserved = {"le": "exported_le", "quantile": "exported_quantile"}
    taken = set(reserved)
    names: dict[str, str] = {}
    given = {key for series in family.series for key, _ in series.labels}
    for key in sorted(given, key=lambda each: (_valid(each) != each, each)):
        names[key] = _first(
            reserved.get(key, _valid(key)), lambda candidate: candidate not in taken
        )
        taken.add(names[key])
    return names


def _valid(name: str) -> str:
    """The nearest name that is valid for metrics and labels; `__` and `:` are Prometheus's own."""
    valid = _INVALID.sub("_", name) or "unnamed"
    if valid[0].isdigit():
        valid = f"_{valid}"
    return f"_{valid.lstrip('_')}" if valid.startswith("__") else valid


def _first(name: str, is_free: Callable[[str], bool]) -> str:
    candidate, number = name, 1
    while not is_free(candidate):
        number += 1
        candidate = f"{name.rstrip('_')}_{number}"
    return candidate


def _help(family: MetricFamily) -> str:
    text = family.help.strip() or f"Recorded as {family.name}."
    return _SURROGATE.sub("\ufffd", text).replace("\\", r"\\").replace("\n", r"\n")


def _escaped(value: str) -> str:
    return value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")


def _sample(name: str, pairs: list[str], value: float) -> str:
    labels = f"{{{','.join(pairs)}}}" if pairs else ""
    return f"{name}{labels} {_number(value)}"


def _number(value: float) -> str:
    if math.isfinite(value):
        return repr(value)
    if math.isnan(value):
        return "NaN"
    return "+Inf" if value > 0 else "-Inf"
