"""The tables of the SQLite store, and how an older store becomes a present one.

`PRAGMA user_version` counts the migrations that a file has seen. A migration, once released, is never
changed: a change is a new one at the end.

What is watched often is written compactly: a span names its site and its trace by small numbers, and
its process stands for its run. Ids of 64 bits are kept as SQLite's signed integers. The views at the end
are for people: `sqlite3 .dytopo/traces.db 'select * from spans limit 5'`.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from typing import Final

APPLICATION_ID: Final = 0x64794154
"""`dyAT`, in the header of the file: what is not marked so is someone else's database."""

STATUSES: Final = ("success", "error", "cancelled", "in_progress")
"""A span's status is kept as its place here; the first two take no room in a row."""

# A span's key is (process, id) rather than (run, id): a process stands for its run, and a forked child,
# which goes on counting ids where its parent was, can never write over its parent's spans.
_FIRST: Final = """
CREATE TABLE run (
    number   INTEGER PRIMARY KEY AUTOINCREMENT,
    id       TEXT NOT NULL UNIQUE,
    started  INTEGER NOT NULL,           -- Unix nanoseconds, as all times here
    service  TEXT NOT NULL,
    script   TEXT NOT NULL,
    argv     TEXT NOT NULL,              -- JSON, as all that is a list or a table here
    directory TEXT NOT NULL,
    task     TEXT NOT NULL,
    deleted  INTEGER NOT NULL DEFAULT 0  -- hidden at once, removed step by step
);
CREATE TABLE process (
    number   INTEGER PRIMARY KEY AUTOINCREMENT,
    run      INTEGER NOT NULL,
    host     TEXT NOT NULL,
    pid      INTEGER NOT NULL,
    birth    TEXT NOT NULL,
    python   TEXT NOT NULL,
    version  TEXT NOT NULL,
    started  INTEGER NOT NULL,
    heard    INTEGER NOT NULL,           -- when it was last heard of
    spans    INTEGER NOT NULL DEFAULT 0, -- finished ones
    errors   INTEGER NOT NULL DEFAULT 0,
    finished INTEGER,                    -- NULL until it has ended
    wall_seconds REAL,
    exit_status  INTEGER,
    ended    TEXT,
    message  TEXT,
    rules    TEXT,
    tokens   TEXT,
    drops    TEXT,
    cost     TEXT,
    faults   TEXT,
    remarks  TEXT
);
CREATE INDEX process_of_run ON process (run);
CREATE TABLE site (
    process  INTEGER NOT NULL,
    number   INTEGER NOT NULL,
    operation TEXT NOT NULL,
    role     TEXT NOT NULL,
    rule     TEXT NOT NULL,
    rest     TEXT NOT NULL,              -- what it captures and measures
    PRIMARY KEY (process, number)
) WITHOUT ROWID;
CREATE TABLE trace (
    process  INTEGER NOT NULL,
    number   INTEGER NOT NULL,
    id       BLOB NOT NULL,
    PRIMARY KEY (process, number)
) WITHOUT ROWID;
CREATE TABLE span (
    process  INTEGER NOT NULL,
    id       INTEGER NOT NULL,
    parent   INTEGER,
    trace    INTEGER NOT NULL,
    site     INTEGER NOT NULL,
    start    INTEGER NOT NULL,
    duration INTEGER,                    -- nanoseconds; NULL while it runs
    status   INTEGER NOT NULL,
    agent    TEXT,
    captured TEXT,                       -- values in the order of the site's names
    metadata TEXT,                       -- what the program added by hand
    error    TEXT,
    links    TEXT,
    measured TEXT,                       -- what the captured values do not tell
    PRIMARY KEY (process, id)
) WITHOUT ROWID;
CREATE INDEX open_span ON span (process) WHERE duration IS NULL;
CREATE TABLE failure (
    process  INTEGER NOT NULL,
    id       TEXT NOT NULL,
    time     REAL NOT NULL,
    record   TEXT NOT NULL,
    PRIMARY KEY (process, id)
) WITHOUT ROWID;
CREATE TABLE metric (
    process  INTEGER NOT NULL,
    name     TEXT NOT NULL,
    labels   TEXT NOT NULL,
    kind     TEXT NOT NULL,
    help     TEXT NOT NULL,
    bounds   TEXT,
    count    INTEGER NOT NULL,
    sum      REAL,
    min      REAL,
    max      REAL,
    last     REAL,
    time     REAL,
    buckets  TEXT,
    PRIMARY KEY (process, name, labels)
) WITHOUT ROWID;

CREATE VIEW spans AS
SELECT run.id AS run,
       process.pid AS pid,
       lower(hex(trace.id)) AS trace_id,
       printf('%016x', span.id) AS span_id,
       printf('%016x', span.parent) AS parent_id,
       site.operation AS operation,
       site.role AS role,
       span.agent AS agent,
       site.rule AS rule,
       CASE span.status WHEN 0 THEN 'success' WHEN 1 THEN 'error'
                        WHEN 2 THEN 'cancelled' ELSE 'in_progress' END AS status,
       strftime('%Y-%m-%d %H:%M:%f', span.start / 1e9, 'unixepoch') AS started,
       span.duration / 1e9 AS seconds,
       json_extract(span.error, '$[0]') AS error_type,
       json_extract(span.error, '$[1]') AS error_message,
       (SELECT json_group_object(names.value, json_extract(span.captured, '$[' || names.key || ']'))
          FROM json_each(site.rest, '$.kept') AS names
         WHERE unicode(names.value) > 0
           AND names.key < json_array_length(span.captured)) AS captured,
       span.metadata AS metadata
  FROM span
  JOIN process ON process.number = span.process
  JOIN run ON run.number = process.run AND NOT run.deleted
  JOIN site ON site.process = span.process AND site.number = span.site
  JOIN trace ON trace.process = span.process AND trace.number = span.trace;
"""

# Tokens are what spans measured; what they cost is for the rule file to say. The column `tokens` stays,
# empty: SQLite before 3.35 cannot drop one.
_PRICES: Final = """
ALTER TABLE process ADD COLUMN prices TEXT;
"""

MIGRATIONS: Final = (_FIRST, _PRICES)


class NewerSchema(Exception):  # noqa: N818 - an answer
    """The file was written by a later version of ours."""


class ForeignDatabase(Exception):  # noqa: N818 - an answer
    """The file is a database of someone else's."""


def is_present(connection: sqlite3.Connection) -> bool:
    """Whether the file has the schema of this version.

    Raises:
        NewerSchema, ForeignDatabase: it has another one that we must not touch.
    """
    with _one_state(connection):
        version = _pragma(connection, "user_version")
        application = _pragma(connection, "application_id")
        has_tables = connection.execute("SELECT 1 FROM sqlite_master").fetchone() is not None
    if application != APPLICATION_ID and (application or version or has_tables):
        raise ForeignDatabase
    if version > len(MIGRATIONS):
        raise NewerSchema
    return application == APPLICATION_ID and version == len(MIGRATIONS)


@contextlib.contextmanager
def _one_state(connection: sqlite3.Connection) -> Iterator[None]:
    """All that is read inside is read as of one moment: another process may be making the tables."""
    if connection.in_transaction:
        yield
        return
    connection.execute("BEGIN")
    try:
        yield
    finally:
        if connection.in_transaction:
            connection.execute("COMMIT")


def migrate(connection: sqlite3.Connection) -> None:
    """Bring a new or an older file to the schema of this version; one process does, others wait."""
    if is_present(connection):
        return
    connection.execute("BEGIN IMMEDIATE")
    try:
        if not is_present(connection):
            for script in MIGRATIONS[_pragma(connection, "user_version") :]:
                for statement in _statements(script):
                    connection.execute(statement)
            connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            connection.execute(f"PRAGMA user_version = {len(MIGRATIONS)}")
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def _pragma(connection: sqlite3.Connection, name: str) -> int:
    return int(connection.execute(f"PRAGMA {name}").fetchone()[0])


def _statements(script: str) -> list[str]:
    """The statements of a script: `executescript` would commit first, and part the migration."""
    statements, statement = [], ""
    for line in script.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            statements.append(statement)
            statement = ""
    return statements
