"""The tables: those of the OpenTelemetry Collector's ClickHouse exporter, and beside them our own.

`otel_traces` has one row a span that has ended, in the Collector's columns and words, so that what reads
that layout reads ours. What the layout has no place for is in `SpanAttributes` under `dytopo.store.`: the
values as they were, as JSON. Whatever changes while a program runs is in tables of our own, as rows of which
the latest counts (ReplacingMergeTree); they are read with FINAL, since merges come when they come.

https://github.com/open-telemetry/opentelemetry-collector-contrib/tree/main/exporter/clickhouseexporter
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

VERSION: Final = 1
"""The layout of our own tables; it is in the comment of `dytopo_process`."""

COMMENT: Final = "dytopo-autotrace, layout "

TRACES: Final = "otel_traces"
LOOKUP: Final = "otel_traces_trace_id_ts"
PROCESS: Final = "dytopo_process"
SITE: Final = "dytopo_site"
OPEN: Final = "dytopo_open"
FAILURE: Final = "dytopo_failure"
METRIC: Final = "dytopo_metric"
DELETED: Final = "dytopo_deleted"

OF_A_RUN: Final = (SITE, OPEN, FAILURE, METRIC, PROCESS)
"""Our tables whose rows belong to a run, that of the processes last: without it the run does not show."""

_MAP: Final = "Map(LowCardinality(String), String)"
_INDEX: Final = "TYPE bloom_filter(0.01) GRANULARITY 1"

TABLES: Final[Mapping[str, str]] = {
    TRACES: f"""
CREATE TABLE IF NOT EXISTS otel_traces (
    Timestamp DateTime64(9) CODEC(Delta, ZSTD(1)),
    TraceId String CODEC(ZSTD(1)),
    SpanId String CODEC(ZSTD(1)),
    ParentSpanId String CODEC(ZSTD(1)),
    TraceState String CODEC(ZSTD(1)),
    SpanName LowCardinality(String) CODEC(ZSTD(1)),
    SpanKind LowCardinality(String) CODEC(ZSTD(1)),
    ServiceName LowCardinality(String) CODEC(ZSTD(1)),
    ResourceAttributes {_MAP} CODEC(ZSTD(1)),
    ScopeName String CODEC(ZSTD(1)),
    ScopeVersion String CODEC(ZSTD(1)),
    SpanAttributes {_MAP} CODEC(ZSTD(1)),
    Duration UInt64 CODEC(ZSTD(1)),
    StatusCode LowCardinality(String) CODEC(ZSTD(1)),
    StatusMessage String CODEC(ZSTD(1)),
    Events Nested (
        Timestamp DateTime64(9),
        Name LowCardinality(String),
        Attributes {_MAP}
    ) CODEC(ZSTD(1)),
    Links Nested (
        TraceId String,
        SpanId String,
        TraceState String,
        Attributes {_MAP}
    ) CODEC(ZSTD(1)),
    INDEX idx_trace_id TraceId TYPE bloom_filter(0.001) GRANULARITY 1,
    INDEX idx_res_attr_key mapKeys(ResourceAttributes) {_INDEX},
    INDEX idx_res_attr_value mapValues(ResourceAttributes) {_INDEX},
    INDEX idx_span_attr_key mapKeys(SpanAttributes) {_INDEX},
    INDEX idx_span_attr_value mapValues(SpanAttributes) {_INDEX},
    INDEX idx_duration Duration TYPE minmax GRANULARITY 1
) ENGINE = MergeTree
PARTITION BY toDate(Timestamp)
ORDER BY (ServiceName, SpanName, toDateTime(Timestamp))
SETTINGS index_granularity = 8192, ttl_only_drop_parts = 1""",
    LOOKUP: f"""
CREATE TABLE IF NOT EXISTS otel_traces_trace_id_ts (
    TraceId String CODEC(ZSTD(1)),
    Start DateTime CODEC(Delta, ZSTD(1)),
    End DateTime CODEC(Delta, ZSTD(1)),
    INDEX idx_trace_id TraceId {_INDEX}
) ENGINE = MergeTree
PARTITION BY toDate(Start)
ORDER BY (TraceId, Start)
SETTINGS index_granularity = 8192, ttl_only_drop_parts = 1""",
    "otel_traces_trace_id_ts_mv": """
CREATE MATERIALIZED VIEW IF NOT EXISTS otel_traces_trace_id_ts_mv TO otel_traces_trace_id_ts AS
SELECT TraceId, min(Timestamp) AS Start, max(Timestamp) AS End
  FROM otel_traces WHERE TraceId != '' GROUP BY TraceId""",
    SITE: """
CREATE TABLE IF NOT EXISTS dytopo_site (
    Run String,
    Process String,
    Number UInt32,
    Operation LowCardinality(String),
    Role LowCardinality(String),
    Rule LowCardinality(String),
    Site String CODEC(ZSTD(1))
) ENGINE = ReplacingMergeTree
ORDER BY (Run, Process, Number)""",
    OPEN: """
CREATE TABLE IF NOT EXISTS dytopo_open (
    Run String,
    Process String,
    SpanId String,
    ParentSpanId String,
    TraceId String,
    Started DateTime64(9),
    Site UInt32,
    Agent String,
    Captured String CODEC(ZSTD(1)),
    Metadata String CODEC(ZSTD(1)),
    Links String
) ENGINE = ReplacingMergeTree
ORDER BY (Run, Process, SpanId)""",
    FAILURE: """
CREATE TABLE IF NOT EXISTS dytopo_failure (
    Run String,
    Process String,
    Id String,
    Revision UInt64,
    Record String CODEC(ZSTD(1))
) ENGINE = ReplacingMergeTree(Revision)
ORDER BY (Run, Process, Id)""",
    METRIC: """
CREATE TABLE IF NOT EXISTS dytopo_metric (
    Run String,
    Process String,
    Name LowCardinality(String),
    Labels String,
    Revision UInt64,
    Kind LowCardinality(String),
    Help String,
    Bounds String,
    Count UInt64,
    Sum Float64,
    Min Float64,
    Max Float64,
    Last Float64,
    Time Float64,
    Buckets String
) ENGINE = ReplacingMergeTree(Revision)
ORDER BY (Run, Process, Name, Labels)""",
    DELETED: """
CREATE TABLE IF NOT EXISTS dytopo_deleted (
    Run String,
    Moment DateTime DEFAULT now()
) ENGINE = ReplacingMergeTree
ORDER BY Run""",
    # Last, since it is what tells that the others are there.
    PROCESS: f"""
CREATE TABLE IF NOT EXISTS dytopo_process (
    Run String,
    Process String,
    Revision UInt64,
    Started DateTime64(9),
    Service LowCardinality(String),
    Script String,
    Argv String,
    Directory String,
    Task String,
    Host LowCardinality(String),
    Pid Int64,
    Birth String,
    Python LowCardinality(String),
    Version LowCardinality(String),
    Joined DateTime64(9),
    Earliest DateTime64(9),
    Heard DateTime64(9),
    Spans UInt64,
    Errors UInt64,
    Finished Nullable(DateTime64(9)),
    WallSeconds Nullable(Float64),
    ExitStatus Nullable(Int64),
    Ended Nullable(String),
    Message Nullable(String),
    Rules Nullable(String) CODEC(ZSTD(1)),
    Prices Nullable(String),
    Drops Nullable(String),
    Cost Nullable(String),
    Faults Nullable(String),
    Remarks Nullable(String)
) ENGINE = ReplacingMergeTree(Revision)
ORDER BY (Run, Process)
COMMENT '{COMMENT}{VERSION}'""",
}
"""The statement that makes each, in the order in which they are made."""

COLUMNS: Final[Mapping[str, tuple[str, ...]]] = {
    TRACES: (
        *("Timestamp", "TraceId", "SpanId", "ParentSpanId", "SpanName", "SpanKind"),
        *("SpanAttributes", "Duration", "StatusCode", "StatusMessage"),
        *("Events.Timestamp", "Events.Name", "Events.Attributes"),
        *("Links.TraceId", "Links.SpanId", "Links.TraceState", "Links.Attributes"),
        # What all spans of a process share.
        *("ServiceName", "ResourceAttributes", "ScopeName", "ScopeVersion", "TraceState"),
    ),
    SITE: ("Run", "Process", "Number", "Operation", "Role", "Rule", "Site"),
    OPEN: (
        *("Run", "Process", "SpanId", "ParentSpanId", "TraceId", "Started", "Site", "Agent"),
        *("Captured", "Metadata", "Links"),
    ),
    FAILURE: ("Run", "Process", "Id", "Revision", "Record"),
    METRIC: (
        *("Run", "Process", "Name", "Labels", "Revision", "Kind", "Help", "Bounds", "Count"),
        *("Sum", "Min", "Max", "Last", "Time", "Buckets"),
    ),
    DELETED: ("Run",),
    PROCESS: (
        *("Run", "Process", "Revision", "Started", "Service", "Script", "Argv", "Directory"),
        *(
            "Task",
            "Host",
            "Pid",
            "Birth",
            "Python",
            "Version",
            "Joined",
            "Earliest",
            "Heard",
            "Spans",
        ),
        *("Errors", "Finished", "WallSeconds", "ExitStatus", "Ended", "Message", "Rules"),
        *("Prices", "Drops", "Cost", "Faults", "Remarks"),
    ),
}
"""The columns that are written, in the order of a row."""
