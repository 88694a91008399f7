"""The SQLite store: what is written is what is read, and a file that fails harms nobody."""

import os
import shutil
import sqlite3
import stat
from pathlib import Path

import pytest

from dytopo_autotrace.store import schema, sqlite, sqlite_reader
from dytopo_autotrace.store.location import StoreError, open_reader, open_writer
from dytopo_autotrace.store.model import Batch, StoreBusy, StoreLost


@pytest.fixture
def writer(path, start):
    made = open_writer(path)
    made.begin(start(service="svc", argv=("a.py", "--x\udcff"), script="a.py", task="why"))
    yield made
    made.close()


def only_run(read):
    reader = read()
    (info,) = reader.runs()
    return info, reader.load(info.start.run_id)


def test_views_speak_to_people(writer, span, path):
    """The view shows hex ids, names for numbers and captured values by name."""
    made = span()
    writer.write(Batch(finished=[made]))
    with sqlite3.connect(path) as connection:
        connection.row_factory = sqlite3.Row
        (row,) = connection.execute("SELECT * FROM spans").fetchall()
    connection.close()
    assert (row["span_id"], row["trace_id"]) == (made.span_id, made.trace_id)
    assert (row["operation"], row["agent"], row["status"]) == (
        made.operation,
        made.agent,
        made.status,
    )
    assert row["captured"] == f'{{"round":{made.id % 3},"answer":"done"}}'


def test_files_are_private_and_out_of_git(writer, span, folder):
    """The folder and the files are for the owner only, and git is told to look away."""
    writer.write(Batch(finished=[span()]))
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    files = {file.name: file for file in folder.iterdir()}
    assert files.pop(".gitignore").read_text() == "*\n"
    assert {"traces.db", "traces.db-wal"} <= set(files)
    assert {stat.S_IMODE(file.stat().st_mode) for file in files.values()} == {0o600}


def test_our_folder_is_out_of_git_whoever_made_it(path, folder, start):
    """A `.dytopo` that was there already, without a word to git, gets one."""
    folder.mkdir()
    writer = open_writer(path)
    writer.begin(start())
    writer.close()
    assert (folder / ".gitignore").read_text() == "*\n"


def test_the_last_commits_are_read_where_nothing_can_be_written(
    writer, span, folder, path, read, monkeypatch
):
    """From media that are read-only, what is still in the log is read too, and nothing is changed."""
    writer.write(Batch(finished=[span()]))
    assert (folder / "traces.db-wal").stat().st_size
    migrate = sqlite_reader.schema.migrate

    def refuse(connection):
        _, _, file = connection.execute("PRAGMA database_list").fetchone()
        if file == path:
            error = sqlite3.OperationalError("attempt to write a readonly database")
            error.sqlite_errorcode = sqlite3.SQLITE_READONLY
            raise error
        migrate(connection)

    monkeypatch.setattr(sqlite_reader.schema, "migrate", refuse)
    info, records = only_run(read)
    assert info.spans == len(records.spans) == 1


def test_a_folder_of_the_users_is_left_as_it_is(tmp_path, start):
    """A folder that was there keeps its mode and gets no file of ours besides the store."""
    tmp_path.chmod(0o755)
    writer = open_writer(str(tmp_path / "mine.db"))
    writer.begin(start())
    writer.close()
    assert stat.S_IMODE(tmp_path.stat().st_mode) == 0o755
    assert [file.name for file in tmp_path.iterdir()] == ["mine.db"]


def test_closing_leaves_one_file(writer, folder):
    """After the last connection is closed, the log is part of the file."""
    writer.close()
    assert sorted(each.name for each in folder.iterdir()) == [".gitignore", "traces.db"]


def test_a_locked_store_is_busy_and_then_takes_the_same_batch(writer, read, span, path):
    """While someone else writes, the batch is refused for now; later it is written once."""
    batch = Batch(finished=[span()])
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(StoreBusy) as busy:
        writer.write(batch)
    assert busy.value.reason == "store_locked"
    other.execute("ROLLBACK")
    other.close()
    writer.write(batch)
    info, records = only_run(read)
    assert info.spans == len(records.spans) == 1


def test_a_full_disk_is_busy_and_nothing_is_half_written(writer, read, span, path):
    """What was committed before the disk was full reads back; the batch that did not fit does not."""
    writer.write(Batch(finished=[span()]))
    writer._connection.execute("PRAGMA max_page_count = 1")
    with pytest.raises(StoreBusy) as busy:
        writer.write(Batch(finished=[span() for _ in range(5000)]))
    assert busy.value.reason == "store_full"
    info, records = only_run(read)
    assert info.spans == len(records.spans) == 1


def test_reading_goes_on_while_it_is_written(writer, read, span):
    """A reader sees whole batches, and neither waits for the other."""
    writer.write(Batch(finished=[span()]))
    reader = read()
    with reader._reading():
        run_id = writer._start.run_id
        before = reader._processes(run_id)[0]["spans"]
        writer.write(Batch(finished=[span(), span()]))
        assert reader._processes(run_id)[0]["spans"] == before == 1
    assert only_run(read)[0].spans == 3


@pytest.mark.parametrize("damage", ["nonsense", "torn"])
def test_a_corrupt_file_is_put_aside(path, folder, start, span, read, damage):
    """A file that is no database, or a damaged one, is moved and kept, and a new one begun."""
    file = Path(path)
    if damage == "nonsense":
        folder.mkdir()
        content = b"this is no database at all" * 1000
    else:
        writer = open_writer(path)
        writer.begin(start())
        writer.write(Batch(finished=[span() for _ in range(2000)]))
        writer.close()
        content = file.read_bytes()
        content = content[:100] + b"\xff" * (len(content) - 100)
    file.write_bytes(content)
    writer = open_writer(path)
    with pytest.raises(StoreBusy, match="store_corrupt"):
        writer.begin(start())
    writer.begin(start())
    writer.write(Batch(finished=[span()]))
    writer.close()
    (aside,) = folder.glob("traces.db.corrupt-*")
    assert aside.read_bytes() == content
    assert only_run(read)[0].spans == 1


def test_a_file_that_breaks_while_it_is_used_is_put_aside(writer, read, span, path):
    """Damage that shows only later costs what was written before, which is counted."""
    writer.write(Batch(finished=[span() for _ in range(3000)]))
    writer._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    with Path(path).open("r+b") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(sqlite.PAGE_BYTES)
        file.write(b"\xff" * (size - sqlite.PAGE_BYTES))
    writer._connection.execute("PRAGMA shrink_memory")  # What it remembers is not damaged.
    batch = Batch(finished=[span()])
    with pytest.raises(StoreBusy, match="store_corrupt"):
        writer.write(batch)
    writer.write(batch)
    assert dict(writer.losses) == {"store_corrupt": 3000}
    assert only_run(read)[0].spans == 1


def test_a_store_that_was_removed_is_begun_again(writer, read, span, folder):
    """Who removes the files of a running program gets new ones, and the loss is counted."""
    writer.write(Batch(finished=[span(), span()]))
    shutil.rmtree(folder)
    writer.write(Batch(finished=[span()]))
    assert only_run(read)[0].spans == 1
    assert dict(writer.losses) == {"store_removed": 2}


def test_a_run_that_was_deleted_is_not_written_to(writer, read, span):
    """Who deletes a running run has it deleted: its writer stops."""
    read().delete(writer._start.run_id)
    with pytest.raises(StoreLost) as lost:
        writer.write(Batch(finished=[span()]))
    assert lost.value.reason == "store_deleted"
    assert read().runs() == []


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="descriptors cannot be listed")
def test_a_descriptor_that_became_the_programs_is_not_written_to(path, start, span, tmp_path):
    """A program that closes all descriptors and opens its own file keeps that file as it wrote it."""
    writer = open_writer(path)
    writer.begin(start())
    writer.write(Batch(finished=[span()]))
    held = [number for number, *_ in writer._descriptors._held]
    assert len(held) == 3
    saved = [os.dup(number) for number in held]
    mine = os.open(tmp_path / "mine", os.O_CREAT | os.O_RDWR)
    try:
        for number in held:
            os.dup2(mine, number)
        with pytest.raises(StoreLost, match="store_descriptors"):
            writer.write(Batch(finished=[span()]))
        writer.close()
        assert (tmp_path / "mine").stat().st_size == 0
        assert all(os.fstat(number) for number in held)
    finally:
        for number, old in zip(held, saved, strict=True):
            os.dup2(old, number)
            os.close(old)
        os.close(mine)


def test_a_reader_in_the_same_process_may_come_and_go(path, start, span):
    """What else this process has opened of the store, and closes, is no concern of the writer."""
    first = open_writer(path)
    first.begin(start())
    reader, writer = open_reader(path), open_writer(path)
    reader.runs()
    writer.begin(start())
    reader.close()
    first.close()
    writer.write(Batch(finished=[span()]))
    writer.close()


def test_a_folder_that_cannot_be_made_is_lost(start):
    """Where no file can be made, the writer says so once and for all."""
    writer = open_writer("/proc/no/traces.db")
    with pytest.raises(StoreLost) as lost:
        writer.begin(start())
    assert lost.value.reason == "store_unwritable"


def test_anothers_database_is_left_alone(tmp_path, start):
    """A database of another program gets no tables of ours, from the writer or the reader."""
    path = str(tmp_path / "app.db")
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE theirs (a)")
    connection.commit()
    connection.close()
    with pytest.raises(StoreLost) as lost:
        open_writer(path).begin(start())
    assert lost.value.reason == "store_foreign"
    with pytest.raises(StoreError, match="another program"):
        open_reader(path)
    connection = sqlite3.connect(path)
    assert connection.execute("SELECT name FROM sqlite_master").fetchall() == [("theirs",)]
    assert connection.execute("PRAGMA journal_mode").fetchone() == ("delete",)
    connection.close()


def test_a_later_schema_is_left_alone(writer, path, start):
    """A file that a later version wrote is neither written nor misread, and both say what to do."""
    writer._connection.execute(f"PRAGMA user_version = {len(schema.MIGRATIONS) + 1}")
    writer.close()
    with pytest.raises(StoreLost) as lost:
        open_writer(path).begin(start())
    assert lost.value.reason == "store_newer"
    with pytest.raises(StoreError, match="Upgrade"):
        open_reader(path)


def test_a_migration_happens_whole_or_not_at_all(tmp_path, monkeypatch):
    """An older file is brought forward; one that fails on the way stays what it was."""
    connection = sqlite3.connect(tmp_path / "a.db", isolation_level=None)
    schema.migrate(connection)
    before = len(schema.MIGRATIONS)
    monkeypatch.setattr(
        schema,
        "MIGRATIONS",
        (*schema.MIGRATIONS, "CREATE TABLE extra (a);", "CREATE TABLE extra (b);"),
    )
    with pytest.raises(sqlite3.OperationalError):
        schema.migrate(connection)
    assert connection.execute("PRAGMA user_version").fetchone() == (before,)
    assert not connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'extra'").fetchone()
    monkeypatch.setattr(schema, "MIGRATIONS", schema.MIGRATIONS[: before + 1])
    schema.migrate(connection)
    assert connection.execute("PRAGMA user_version").fetchone() == (before + 1,)
    assert connection.execute("SELECT * FROM extra").fetchall() == []
    connection.close()
