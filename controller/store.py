"""The store: every revision of the policy document, kept through crashes. I/O: one SQLite file, nothing to set up.

What it promises: when `append` has returned, the revision is on the disk (write-ahead log, synchronous=FULL; the
directory is synced when the file is created) and outlives `kill -9` and power loss. What it refuses: any file whose
content is not beyond doubt; an unreadable store is a `StoreError`, never an empty policy.

Layout, schema 2 (`PRAGMA user_version`):

    revision  number (from 1, without gaps), time (RFC 3339), whole, body, digest
              whole 1: body is the msgpack document. whole 0: the msgpack change to the revision before it,
              [kind, name, value], [kind, name, value, before] or, for a removal, [kind, name]. At least every 64th is
              whole.
    head      number and digest of the newest revision, in one row: a revision that went missing is noticed
    ranks     number, body, digest, in one row: the ranks of rules, as msgpack, and the revision that brought them

A digest covers its row and the digest before it: the rows are a chain. That of the ranks covers their row and the
digest of their revision. Schema 1 had neither ranks nor changes with `before`; what is of it is brought to schema 2.

Calls block and may come from any thread; one is served at a time. The file `<path>.lock` is locked while the store is
open: two controllers cannot share one. It also holds the newest revision acknowledged: a store that lost it (deleted,
an older copy, a broken log) is noticed.
"""

from __future__ import annotations

import hashlib
import os
import sqlite3
from _thread import RLock
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import cast

import msgpack

from controller.control import Change, DeleteObject, Document, NoSuchObject, PutObject, PutPolicy, RevisionConflict
from controller.errors import StoreError
from controller.pipeline.ranks import Ranks
from controller.policy.document import objects_of, with_object, without_object
from controller.policy.model import API_VERSION
from controller.side_file import SideFile

SCHEMA = 2
APPLICATION_ID = 0x54524950
"""`PRAGMA application_id` of a store: "TRIP"."""
WHOLE_EVERY = 64
"""A whole document is never more than this many revisions away."""

_TABLES = {
    "revision": "CREATE TABLE revision (number INTEGER PRIMARY KEY, time TEXT NOT NULL, whole INTEGER NOT NULL,"
    " body BLOB NOT NULL, digest BLOB NOT NULL)",
    "head": "CREATE TABLE head (number INTEGER NOT NULL, digest BLOB NOT NULL)",
    "ranks": "CREATE TABLE ranks (number INTEGER NOT NULL, body BLOB NOT NULL, digest BLOB NOT NULL)",
}
_TABLES_1 = {name: _TABLES[name] for name in ("revision", "head")}
_NO_DIGEST = bytes(32)
"""What revision 1 chains to."""


def empty_document() -> Document:
    """Revision 0, the policy of a new store: nothing exists and nothing passes."""
    return {"apiVersion": API_VERSION}


def edited(document: Document, change: Change) -> Document:
    """The document after a change. PURE: `document` is not touched; parts that do not change are shared with it.

    Raises NoSuchObject where an object to be removed does not exist, StoreError where it cannot be a document.
    """
    match change:
        case PutPolicy(whole):
            if not isinstance(whole, dict):
                raise StoreError("a policy document is a mapping")
            return whole
        case PutObject(kind, name, value, before):
            return with_object(document, kind, name, value, before=before)
        case DeleteObject(kind, name):
            if name not in objects_of(document, kind):
                raise NoSuchObject(f"there is no /{kind}/{name}")
            return without_object(document, kind, name)


class Store:
    """An open store; made by `Store.open`. Documents that it takes or returns must not be mutated afterwards."""

    def __init__(self, path: Path, connection: sqlite3.Connection, side: SideFile, content: _Content) -> None:
        self.path = path
        self._connection: sqlite3.Connection | None = connection
        self._side = side
        self._latest = content.number, content.document
        self._ranks = content.ranks
        # The interpreter's own lock, which no green-thread library replaces: calls come from native threads.
        self._one_at_a_time = RLock()

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> Store:
        """Open the store, or create it (with its directories) where there is none.

        Checks the whole file and the newest revision's chain before it returns. Raises StoreError when the file is
        damaged, not a store, of a newer version, not writable, or in use by another controller.
        """
        where = Path(os.path.realpath(path))
        with _clear_errors(where):
            if os.path.lexists(where):
                _require_file(where)
            where.parent.mkdir(parents=True, exist_ok=True)
            side = SideFile(where)
            try:
                if not os.path.lexists(where):
                    _create(where, side)
                connection = _connect(where)
                try:
                    content = _check(where, connection)
                    side.require(where, content.number)
                    side.note(content.number)
                    _upgrade(connection)
                    _sync_directory(where.parent)
                except BaseException:
                    connection.close()
                    raise
            except BaseException:
                side.close()
                raise
        return cls(where, connection, side, content)

    def close(self) -> None:
        """Close the file and let go of the lock. Closing twice is allowed."""
        with self._one_at_a_time:
            if self._connection is None:
                return
            with suppress(sqlite3.Error):
                self._connection.close()
            self._connection = None
            self._side.close()

    def latest(self) -> tuple[int, Document]:
        """The newest revision and its document; (0, the empty document) in a new store."""
        with self._open():
            return self._latest

    def read(self, revision: int) -> Document:
        """The document of any revision kept. Raises NoSuchObject where there is none of that number."""
        with self._open() as connection:
            number, document = self._latest
            if not 0 <= revision <= number:
                raise NoSuchObject(f"there is no revision {revision}")
            return document if revision == number else _replay(connection, revision)

    def revisions(self) -> list[tuple[int, str]]:
        """(revision, RFC 3339 time in UTC) of all that are kept, oldest first. Revision 0 was never stored."""
        with self._open() as connection:
            return list(connection.execute("SELECT number, time FROM revision ORDER BY number"))

    def ranks(self) -> Ranks:
        """Those that the newest revision was stored with; none in a new store, and in one that was of schema 1."""
        with self._open():
            return self._ranks

    def append(self, expected_latest: int, change: Change, now: datetime, ranks: Ranks | None = None) -> int:
        """Apply a change to revision `expected_latest`, and return the new revision once it is on the disk.

        now: with a time zone. ranks: of its rules; None: they are as they were. Raises RevisionConflict when another
        revision is the newest, NoSuchObject for the removal of what is not there, StoreError when it cannot be written;
        in each case nothing is stored.
        """
        if now.tzinfo is None:
            raise ValueError("a time of day needs its time zone")
        with self._open() as connection:
            latest, before = self._latest
            if latest != expected_latest:
                raise RevisionConflict(expected_latest, latest)
            document = edited(before, change)
            number = latest + 1
            whole = isinstance(change, PutPolicy) or number - _whole_before(connection, latest) >= WHOLE_EVERY
            time = now.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
            body = _packed(document if whole else change)
            ranks = self._ranks if ranks is None else ranks
            with _transaction(connection):
                digest = _digest(number, time, whole, body, _digest_of(connection, latest))
                connection.execute("INSERT INTO revision VALUES (?, ?, ?, ?, ?)", (number, time, whole, body, digest))
                connection.execute("UPDATE head SET number = ?, digest = ?", (number, digest))
                if ranks != self._ranks:
                    row = _row_of(ranks, number, digest)
                    connection.execute("UPDATE ranks SET number = ?, body = ?, digest = ?", row)
            self._latest, self._ranks = (number, document), ranks
            self._side.note(number)
            return number

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        with self._one_at_a_time:
            if self._connection is None:
                raise StoreError(f"the store {self.path} is closed")
            with _clear_errors(self.path):
                yield self._connection


@dataclass(frozen=True, slots=True)
class _Content:
    """The newest revision, its document, and the ranks."""

    number: int
    document: Document
    ranks: Ranks


class _DamagedError(Exception):
    """What is read cannot be what was written."""


def _create(path: Path, side: SideFile) -> None:
    """A new, empty store, complete or not there at all: built beside its place, synced, then renamed."""
    log = Path(f"{path}-wal")
    if side.acknowledged or log.exists():
        left = side.path if side.acknowledged else log
        raise StoreError(f"the store {path} is missing: put it back, or remove {left} as well to start a new one")
    draft = Path(f"{path}.new")
    draft.unlink(missing_ok=True)
    os.close(os.open(draft, os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    connection = sqlite3.connect(draft, isolation_level=None)
    try:
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        with _transaction(connection):
            for statement in _TABLES.values():
                connection.execute(statement)
            connection.execute("INSERT INTO head VALUES (0, ?)", (_NO_DIGEST,))
            connection.execute("INSERT INTO ranks VALUES (?, ?, ?)", _row_of({}, 0, _NO_DIGEST))
            connection.execute(f"PRAGMA user_version = {SCHEMA}")
    finally:
        connection.close()
    draft.rename(path)
    _sync_directory(path.parent)


def _require_file(path: Path) -> None:
    if not path.is_file():
        raise StoreError(f"the store {path} is not a file")
    if path.stat().st_size == 0:
        raise StoreError(f"the store {path} is an empty file: put its content back, or remove it to start a new one")
    if not os.access(path, os.R_OK | os.W_OK):
        raise StoreError(f"the store {path} is not readable and writable for this user")


def _connect(path: Path) -> sqlite3.Connection:
    uri = f"{path.as_uri()}?mode=rw"  # rw: a file that vanished meanwhile is an error, not a new store
    return sqlite3.connect(uri, uri=True, timeout=5, isolation_level=None, check_same_thread=False)


def _check(path: Path, connection: sqlite3.Connection) -> _Content:
    """What is in the store, after everything that could cast doubt on it has been looked at."""
    if connection.execute("PRAGMA application_id").fetchone()[0] != APPLICATION_ID:
        raise StoreError(f"{path} is a database, but not a Tripoint store")
    schema = connection.execute("PRAGMA user_version").fetchone()[0]
    if schema > SCHEMA:
        raise StoreError(f"the store {path} was written by a newer version (schema {schema}, this one reads {SCHEMA})")
    connection.execute("PRAGMA trusted_schema = OFF")
    connection.execute("PRAGMA cell_size_check = ON")
    found = "; ".join(str(line) for (line,) in connection.execute("PRAGMA quick_check(3)"))
    if found != "ok":
        raise _DamagedError(found)
    tables = dict(connection.execute("SELECT name, sql FROM sqlite_schema"))
    if (schema, tables) not in ((SCHEMA, _TABLES), (1, _TABLES_1)):
        raise _DamagedError(f"its tables are not those of schema {schema}")
    if connection.execute("PRAGMA journal_mode = WAL").fetchone()[0] != "wal":
        raise StoreError(f"the store {path} is on a file system that cannot keep a write-ahead log")
    connection.execute("PRAGMA synchronous = FULL")
    heads = connection.execute("SELECT number, digest FROM head").fetchall()
    newest, count = connection.execute("SELECT coalesce(max(number), 0), count(*) FROM revision").fetchone()
    if len(heads) != 1 or heads[0][0] != newest or count != newest or heads[0][1] != _digest_of(connection, newest):
        raise _DamagedError("revisions are missing")
    content = _Content(newest, _replay(connection, newest), _ranks_in(connection) if schema == SCHEMA else {})
    with _transaction(connection):  # what cannot be written is noticed now, not at the first change
        connection.execute("UPDATE head SET number = number")
    return content


def _upgrade(connection: sqlite3.Connection) -> None:
    """Bring a store of schema 1, which was checked, to this one. Its rules get ranks as new ones do."""
    if connection.execute("PRAGMA user_version").fetchone()[0] == SCHEMA:
        return
    with _transaction(connection):
        connection.execute(_TABLES["ranks"])
        connection.execute("INSERT INTO ranks VALUES (?, ?, ?)", _row_of({}, 0, _NO_DIGEST))
        connection.execute(f"PRAGMA user_version = {SCHEMA}")


def _ranks_in(connection: sqlite3.Connection) -> Ranks:
    rows = connection.execute("SELECT number, CAST(body AS BLOB), digest FROM ranks").fetchall()
    if len(rows) != 1:
        raise _DamagedError("the ranks of its rules are missing")
    number, body, digest = rows[0]
    if digest != _digest_of_ranks(number, body, _digest_of(connection, number)):
        raise _DamagedError("the ranks of its rules are not what was written")
    return cast(Ranks, msgpack.unpackb(body))


def _row_of(ranks: Ranks, number: int, revision: bytes) -> tuple[int, bytes, bytes]:
    """revision: the digest of the one of this number."""
    body = _packed(ranks)
    return number, body, _digest_of_ranks(number, body, revision)


def _digest_of_ranks(number: int, body: bytes, revision: bytes) -> bytes:
    return hashlib.sha256(b"ranks" + msgpack.packb(number) + revision + body).digest()


def _whole_before(connection: sqlite3.Connection, number: int) -> int:
    """The newest whole revision up to `number`; 0, the empty document, counts."""
    newest = "SELECT number FROM revision WHERE number <= ? AND whole ORDER BY number DESC LIMIT 1"
    found = connection.execute(newest, (number,)).fetchone()
    return found[0] if found else 0


def _replay(connection: sqlite3.Connection, number: int) -> Document:
    """The document of a revision: the newest whole one up to it and the changes since, each held against its digest."""
    start = _whole_before(connection, number)
    document = empty_document()
    before = _digest_of(connection, max(start - 1, 0))
    columns = "number, time, whole, CAST(body AS BLOB), digest"
    chain = f"SELECT {columns} FROM revision WHERE number BETWEEN ? AND ? ORDER BY number"
    rows = connection.execute(chain, (start, number)).fetchall()
    if [row[0] for row in rows] != list(range(max(start, 1), number + 1)):
        raise _DamagedError(f"revisions before {number} are missing")
    for at, time, whole, body, digest in rows:
        if digest != _digest(at, time, whole, body, before):
            raise _DamagedError(f"the content of revision {at} is not what was written")
        document = edited(document, _unpacked(whole, body))
        before = digest
    return document


def _digest_of(connection: sqlite3.Connection, number: int) -> bytes:
    if number == 0:
        return _NO_DIGEST
    row = connection.execute("SELECT digest FROM revision WHERE number = ?", (number,)).fetchone()
    if row is None:
        raise _DamagedError(f"revision {number} is missing")
    return bytes(row[0])


def _digest(number: int, time: str, whole: bool, body: bytes, before: bytes) -> bytes:
    """SHA-256 over the row and the digest of the row before it; every part but the last two is of known length."""
    head = msgpack.packb([number, time, bool(whole)])
    return hashlib.sha256(before + head + body).digest()


def _packed(content: Change | Document | Ranks) -> bytes:
    """msgpack of a whole document, of a change to one, or of ranks. Raises StoreError for what msgpack cannot hold."""
    match content:
        case PutPolicy():
            raise AssertionError("a whole document is stored as such")
        case PutObject(kind, name, value, None):
            plain: object = [kind, name, value]
        case PutObject(kind, name, value, before):
            plain = [kind, name, value, before]
        case DeleteObject(kind, name):
            plain = [kind, name]
        case mapping:
            plain = mapping
    try:
        return cast(bytes, msgpack.packb(plain))
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise StoreError(f"the document cannot be stored: {error}") from error


def _unpacked(whole: bool, body: bytes) -> Change:
    plain = msgpack.unpackb(body, strict_map_key=False)
    if whole:
        return PutPolicy(plain)
    return PutObject(*plain) if len(plain) > 2 else DeleteObject(*plain)


@contextmanager
def _transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """All of the statements inside, synced, or none of them."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        with suppress(sqlite3.Error):
            connection.execute("ROLLBACK")
        raise


@contextmanager
def _clear_errors(path: Path) -> Iterator[None]:
    """What SQLite, msgpack and the file system raise, as a StoreError that names the file."""
    try:
        yield
    except sqlite3.Error as error:
        raise StoreError(f"the store {path} cannot be used: {error}") from error
    except OSError as error:
        raise StoreError(f"the store {path} cannot be used: {error}") from error
    except (_DamagedError, msgpack.UnpackException, msgpack.ExtraData, UnicodeDecodeError) as error:
        raise StoreError(f"the store {path} is damaged: {error}") from error


def _sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
