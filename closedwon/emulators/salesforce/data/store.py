"""The state of an org in SQLite: one table per object, ids, and a few named values. No rules of Salesforce here.

A file is opened with WAL and synchronous=NORMAL: committed data survives a SIGKILL. Everything is synchronous and
short, so that one API call is atomic on the event loop.
"""

from __future__ import annotations

import secrets
import sqlite3
import string
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from closedwon.emulators.salesforce.data.schema import Schema, SObject
from closedwon.emulators.salesforce.data.values import Stored, column_type
from closedwon.ids import RecordId

_ALPHABET = string.digits + string.ascii_uppercase + string.ascii_lowercase
_POD, _SERIAL_DIGITS, _FIRST_SERIAL = "Qy", 9, 8_123_456_789
"""All orgs start at the same number, so that two orgs have equal record ids, like a sandbox and its production org."""

Row = dict[str, Stored]

_TABLES = """
CREATE TABLE IF NOT EXISTS meta (key TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS serial (prefix TEXT PRIMARY KEY, next INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS token (
    token TEXT PRIMARY KEY, user_id TEXT NOT NULL, issued_ms INTEGER NOT NULL, used_ms INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS event (
    replay_id INTEGER PRIMARY KEY, channel TEXT NOT NULL, uuid TEXT NOT NULL, created_ms INTEGER NOT NULL,
    data TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS event_created ON event (created_ms);
"""


class Store:
    """Rows of objects, and the connection for the few modules that have tables of their own."""

    def __init__(self, schema: Schema, path: Path | None = None) -> None:
        """Open `path`, or a database in memory without one; add the tables and columns that the schema needs."""
        self.db = sqlite3.connect(path or ":memory:", isolation_level=None)
        self.db.row_factory = sqlite3.Row
        self.db.executescript("PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;" + _TABLES)
        if path is not None:
            path.chmod(0o600)
        with self.transaction():
            for one in schema.objects:
                self._migrate(one)

    def close(self) -> None:
        """Close the connection."""
        self.db.close()

    def _migrate(self, one: SObject) -> None:
        self.db.execute(f'CREATE TABLE IF NOT EXISTS "{one.name}" (Id TEXT PRIMARY KEY)')
        present = {row["name"] for row in self.db.execute(f'PRAGMA table_info("{one.name}")')}
        for wanted in one.fields + one.unseen:
            if wanted.name not in present:
                self.db.execute(f'ALTER TABLE "{one.name}" ADD COLUMN "{wanted.name}" {column_type(wanted)}')
            if wanted.refers_to or wanted.name == "SystemModstamp":
                index = f"{one.name}_{wanted.name}"
                self.db.execute(f'CREATE INDEX IF NOT EXISTS "{index}" ON "{one.name}" ("{wanted.name}")')

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Commit at the end, or roll back on an error. Inside another transaction, it is a savepoint."""
        inner = self.db.in_transaction
        self.db.execute("SAVEPOINT inner_step" if inner else "BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            if inner:
                self.db.execute("ROLLBACK TO inner_step")
                self.db.execute("RELEASE inner_step")
            else:
                self.db.execute("ROLLBACK")
            raise
        self.db.execute("RELEASE inner_step" if inner else "COMMIT")

    def new_id(self, prefix: str) -> RecordId:
        """The next id of a key prefix."""
        row = self.db.execute(
            "INSERT INTO serial (prefix, next) VALUES (?, ?) "
            "ON CONFLICT (prefix) DO UPDATE SET next = next + 1 RETURNING next",
            (prefix, _FIRST_SERIAL),
        ).fetchone()
        return record_id(prefix, row["next"])

    def get(self, object_name: str, record: str) -> Row | None:
        """One row by its 18-character id, deleted or not."""
        row = self.db.execute(f'SELECT * FROM "{object_name}" WHERE Id = ?', (record,)).fetchone()  # noqa: S608 - a name of the schema
        return None if row is None else dict(row)

    def put(self, object_name: str, row: Mapping[str, Stored]) -> None:
        """Insert or replace a whole row."""
        columns = ", ".join(f'"{name}"' for name in row)
        marks = ", ".join("?" * len(row))
        self.db.execute(
            f'INSERT OR REPLACE INTO "{object_name}" ({columns}) VALUES ({marks})',  # noqa: S608 - names of the schema
            tuple(row.values()),
        )

    def erase(self, object_name: str, record: str) -> None:
        """Delete a row (a deleted record only has IsDeleted set)."""
        self.db.execute(f'DELETE FROM "{object_name}" WHERE Id = ?', (record,))  # noqa: S608 - a name of the schema

    def select(self, sql: str, values: Iterable[Any] = ()) -> list[sqlite3.Row]:
        """All rows of an SQL query."""
        return self.db.execute(sql, tuple(values)).fetchall()

    def meta(self, key: str) -> str | None:
        """A named value."""
        row = self.db.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()
        return None if row is None else str(row["value"])

    def set_meta(self, key: str, value: str) -> None:
        """Store a named value."""
        self.db.execute("INSERT OR REPLACE INTO meta (key, value) VALUES (?, ?)", (key, value))


def random_id(prefix: str) -> RecordId:
    """A random id."""
    return record_id(prefix, secrets.randbelow(len(_ALPHABET) ** _SERIAL_DIGITS))


def record_id(prefix: str, serial: int) -> RecordId:
    """Build an id: 3 characters key prefix, 2 pod, 1 reserved, 9 serial in base 62, and the checksum."""
    digits = ""
    while serial:
        serial, rest = divmod(serial, len(_ALPHABET))
        digits = _ALPHABET[rest] + digits
    return RecordId(f"{prefix}{_POD}0{digits.rjust(_SERIAL_DIGITS, '0')}")
