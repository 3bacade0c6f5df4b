"""A copy of one database that follows it, and transactions on it: the one place that knows the ovs package's IDL. I/O.

Nothing here waits: `run` does what can be done now, and `waits_for` says what for to call it again. All of it is called
by one thread at a time.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterable
from dataclasses import dataclass
from ssl import SSL_ERROR_EOF, SSL_ERROR_SSL
from typing import Any

from ovs import jsonrpc, reconnect, stream, timeval
from ovs.db import idl
from ovs.util import EOF

from controller.errors import TripointError
from controller.ovsdb.found import Found
from controller.ovsdb.json_text import Texts
from controller.ovsdb.operations import Operation
from controller.ovsdb.schema import plain_row, put_row, schema_text

PROBE_MS = 3000
"""A database silent for so long is asked whether it is there, and has as long to answer."""
FIRST_BACKOFF_MS = 100
EARLY_BACKOFF_MS = 800
"""The longest wait between attempts while the database has not been away for EARLY_MS."""
EARLY_MS = 60_000
LATE_BACKOFF_MS = 8000


class ReplicaError(TripointError):
    """What the database sends cannot be followed."""


@dataclass(frozen=True, slots=True)
class Need:
    """What to wait for: a file (for writing: writable), at most so long. timeout_s: None for no end."""

    timeout_s: float | None = None
    fileno: int | None = None
    writable: bool = False


class _Attempts(reconnect.Reconnect):  # type: ignore[misc] # the package has no types
    """Remembers why the last attempt or connection ended, and hurries at first."""

    def __init__(self) -> None:
        super().__init__(timeval.msec())
        self.set_quiet(True)
        self.set_probe_interval(PROBE_MS)
        self.min_backoff = FIRST_BACKOFF_MS
        self.max_backoff = EARLY_BACKOFF_MS
        self.ended = "has not answered yet"

    def disconnected(self, now: int, error: int) -> None:
        attempting = self.state is reconnect.Reconnect.ConnectInProgress
        if error == EOF:
            self.ended = "has hung up"
        elif 0 < error <= SSL_ERROR_EOF and self.name.startswith("ssl:"):
            # The package takes the numbers of TLS errors for those of the system.
            reason = "the certificates do not fit" if error == SSL_ERROR_SSL else "the other side breaks it off"
            self.ended = f"cannot be reached: TLS fails, {reason}"
        elif error:
            self.ended = f"cannot be reached: {os.strerror(error)}" if attempting else f"is lost: {os.strerror(error)}"
        else:
            self.ended = "does not answer"
        away_ms = now - (self.last_disconnected if self.last_disconnected is not None else self.creation_time)
        was_there = self.state in (reconnect.Reconnect.Active, reconnect.Reconnect.Idle)
        self.max_backoff = EARLY_BACKOFF_MS if was_there or away_ms < EARLY_MS else LATE_BACKOFF_MS
        super().disconnected(now, error)


class _Session(jsonrpc.Session):  # type: ignore[misc]
    """The package's session, reading with `Texts`."""

    rpc: Any

    def run(self) -> None:
        before = self.stream
        super().run()
        if self.stream is not None and self.stream is not before:
            super().run()  # what has connected at once is to begin its handshake at once: the other side waits for it
        if self.rpc is not None and not isinstance(self.rpc, Texts):
            # Just made: nothing has been read from it or written to it yet.
            self.rpc = Texts(self.rpc.stream)


class Replica(idl.Idl):  # type: ignore[misc]
    """found: the copy; it is current while `following`. remote: connected to, again and again.

    connection: one that the database has made by itself, used in place of that; when it ends, the replica is `dead`.
    """

    def __init__(self, remote: str, connection: Texts | None = None) -> None:
        columns = idl.SchemaHelper(schema_json=schema_text())
        columns.register_all()
        super().__init__(remote, columns, leader_only=False)
        self.remote = remote
        self.found = Found()
        self._complaint = ""
        self._copied = -1
        """The number of the connection whose first answer `found` was made of."""
        self._attempts = _Attempts()
        self._session = _Session(self._attempts, connection, [remote])
        self._session.pick_remote()
        now = timeval.msec()
        if connection is None:
            self._attempts.enable(now)
            self._attempts.set_backoff_free_tries(1)
        else:
            self._attempts.set_max_tries(0)
            self._attempts.connected(now)
        self._changed = False

    @property
    def following(self) -> bool:
        """Whether the copy is whole and the connection stands."""
        return bool(self.state == self.IDL_S_MONITORING and self._session.is_connected())

    @property
    def dead(self) -> bool:
        return not self._session.is_alive()

    @property
    def ended(self) -> str:
        """Why it is not being followed, in words that continue its name."""
        if self._complaint:
            return f"cannot be understood: {self._complaint}"
        return "answers, but has not been read yet" if self._session.is_connected() else self._attempts.ended

    @property
    def received_bytes(self) -> int:
        rpc = self._session.rpc
        return 0 if rpc is None else int(rpc.received_bytes)

    @property
    def local_ip(self) -> str | None:
        """Our end of the connection; None where it has no IP address."""
        rpc = self._session.rpc
        if rpc is None or rpc.status or rpc.stream.socket.family not in (socket.AF_INET, socket.AF_INET6):
            return None
        address = str(rpc.stream.socket.getsockname()[0]).partition("%")[0]
        return address.removeprefix("::ffff:") if "." in address else address

    def run(self) -> bool:
        """Do what can be done now. Whether `found` has changed. Raises ReplicaError; then it is of no use any more."""
        rpc = self._session.rpc
        self._changed = False
        if self.remote.startswith("ssl:") and stream.Stream._SSL_ca_cert_file is None:
            raise ReplicaError("cannot be reached: no key and certificates are set up for TLS")
        try:
            super().run()
        except OSError as error:
            raise ReplicaError(f"cannot be reached: {error.strerror or error}") from error
        except Exception as error:
            # The package takes for granted that a peer keeps to the protocol; what it raises if not is its own.
            raise ReplicaError(f"does not speak OVSDB as RFC 7047 has it ({type(error).__name__}: {error})") from error
        if isinstance(rpc, Texts) and rpc.complaint:
            self._complaint = rpc.complaint
        if self.state != self.IDL_S_MONITORING:
            self._copied = -1
        if self.following:
            self._complaint = ""
            if self._copied != self._session.get_seqno():
                self._copy()
        return self._changed

    def waits_for(self) -> Need:
        """What to call `run` again for."""
        session = self._session
        wait_ms = self._attempts.timeout(timeval.msec())
        timeout_s = None if wait_ms is None else wait_ms / 1000
        rpc = session.rpc
        if rpc is not None:
            if rpc.status or (isinstance(rpc, Texts) and rpc.has_more) or not isinstance(rpc, Texts):
                return Need(0.0)
            return Need(timeout_s, rpc.stream.socket.fileno(), writable=rpc.get_backlog() > 0)
        if session.stream is not None and session.stream.socket is not None:
            # A TLS handshake waits for the other side once the connection beneath it stands.
            shaking = isinstance(session.stream, stream.SSLStream) and session.stream.state == _CONNECTED
            return Need(timeout_s, session.stream.socket.fileno(), writable=not shaking)
        return Need(timeout_s)

    def close(self) -> None:
        """Of no use after that."""
        super().close()
        # Tables and replica refer to each other: without this they would stay until the collector looks at everything.
        self.tables: dict[str, Any] = {}

    def probe(self) -> None:
        """Ask the database whether it is there; `received_bytes` grows if so."""
        request = jsonrpc.Message.create_request("echo", [])
        request.id = "echo"
        self._session.send(request)

    def transact(self, operations: Iterable[Operation]) -> idl.Transaction:
        """Send one transaction; its `commit()` tells how it is getting on."""
        transaction = idl.Transaction(self)
        for operation in operations:
            transaction.add_op(operation)
        transaction.commit()
        return transaction

    def notify(self, event: str, row: Any, updates: Any = None) -> None:  # noqa: ANN401 - the package's own
        """The package tells of a row."""
        if self._copied == self._session.get_seqno():
            gone = event == idl.ROW_DELETE
            put_row(self.found, row._table.name, str(row.uuid), None if gone else plain_row(row))
            self._changed = True

    def _copy(self) -> None:
        """All of it: a first answer does not tell which rows it has taken away."""
        self.found = Found()
        for name, table in self.tables.items():
            for uuid, row in table.rows.items():
                put_row(self.found, name, str(uuid), plain_row(row))
        self._copied = self._session.get_seqno()
        self._changed = True


_CONNECTED = stream.Stream._Stream__S_CONNECTED
