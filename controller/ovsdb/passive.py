"""Databases that connect by themselves (`ovs-vsctl set-manager`): who comes is asked for its system-id. I/O.

Anybody may connect, so little is spent on one who has not said who it is: one small question, a short time, a few
places. What a name is worth depends on the transport: by `pssl:` only holders of our authority's certificates come in.
"""

from __future__ import annotations

import errno
import logging
import socket
import ssl
from collections.abc import Callable
from typing import Any

from ovs import jsonrpc, stream

from controller.errors import TripointError
from controller.loop import Loop
from controller.ovsdb.json_text import MOST_BYTES, Texts
from controller.ovsdb.schema import DATABASE, SYSTEM_ID

LOG = logging.getLogger("tripoint.ovsdb")

STRANGERS = 64
"""How many may be unknown at a time; the oldest makes room."""
STRANGER_BYTES = 64 << 10
TELLS_WITHIN_S = 5.0
WANTED_WITHIN_S = 10.0
"""A database that nobody wants is hung up on after so long; it comes again by itself."""
AFTER_ERROR_S = 0.5
"""Accepting fails where the process has no file left; that passes."""
_BACKLOG = 128


class ListenError(TripointError):
    """Nobody can connect there."""


def open_listener(address: str) -> socket.socket:
    """address: `ptcp:PORT[:IP]` or `pssl:PORT[:IP]`, an IPv6 address in brackets. Raises ListenError."""
    _, _, place = address.partition(":")
    port_text, _, ip = place.partition(":")
    ip = ip.removeprefix("[").removesuffix("]") or "0.0.0.0"
    if not address.startswith(("ptcp:", "pssl:")) or not (port_text.isdecimal() and int(port_text) < 1 << 16):
        raise ListenError(f"{address!r} is no place to listen at; write ptcp:6640 or ptcp:6640:192.0.2.1")
    listener = socket.socket(socket.AF_INET6 if ":" in ip else socket.AF_INET, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((ip, int(port_text)))
        listener.listen(_BACKLOG)
    except OSError as error:
        listener.close()
        raise ListenError(f"cannot listen for databases at {address}: {error.strerror or error}") from error
    listener.setblocking(False)
    return listener


class Door:
    """Accepts at one address. take: given a system-id and its connection, whether it is wanted.

    tls: for `pssl:`; None: plain.
    """

    def __init__(
        self, listener: socket.socket, loop: Loop, take: Callable[[str, Texts], bool], tls: ssl.SSLContext | None
    ) -> None:
        self._listener = listener
        self._loop = loop
        self._take = take
        self._tls = tls
        self._bell = loop.bell()
        self._closed = False
        self._strangers: dict[_Stranger, None] = {}
        """Oldest first."""

    def begin(self) -> None:
        self._loop.spawn(self._run)

    def look(self) -> None:
        """Others may be wanted now."""
        for stranger in tuple(self._strangers):
            stranger.bell.ring()

    def close(self) -> None:
        self._closed = True
        self._bell.ring()

    def _run(self) -> None:
        while not self._closed:
            try:
                connection, address = self._listener.accept()
            except BlockingIOError:
                self._bell.wait(None, self._listener.fileno())
                continue
            except OSError as error:
                LOG.warning("cannot accept a database error=%s", error)
                self._bell.wait(AFTER_ERROR_S)
                continue
            self._admit(connection, f"{address[0]}:{address[1]}")
        self._listener.close()
        for stranger in tuple(self._strangers):
            stranger.leave()

    def _admit(self, connection: socket.socket, peer: str) -> None:
        try:
            made = self._make_stream(connection, peer)
        except OSError as error:
            LOG.info("database refused peer=%s error=%s", peer, error)
            connection.close()
            return
        if len(self._strangers) >= STRANGERS:
            oldest = next(iter(self._strangers))
            del self._strangers[oldest]
            oldest.leave()
        stranger = _Stranger(made, peer, self._loop)
        self._strangers[stranger] = None
        self._loop.spawn(lambda: self._meet(stranger))

    def _make_stream(self, connection: socket.socket, peer: str) -> Any:  # noqa: ANN401 - the package's own
        connection.setblocking(False)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self._tls is None:
            return stream.TCPStream(connection, peer, 0)
        wrapped = self._tls.wrap_socket(connection, server_side=True, do_handshake_on_connect=False)
        return stream.SSLStream(wrapped, peer, 0)

    def _meet(self, stranger: _Stranger) -> None:
        """From the first octet until it is somebody's, or gone."""
        try:
            system_id = stranger.ask()
            if not system_id:
                LOG.debug("database refused peer=%s error=%s", stranger.peer, stranger.complaint)
                stranger.hang_up()
                return
            until = self._loop.now() + WANTED_WITHIN_S
            while not stranger.left:
                if self._take(system_id, stranger.texts):
                    LOG.info("database has connected peer=%s system-id=%s", stranger.peer, system_id)
                    return
                if (left_s := until - self._loop.now()) <= 0:
                    LOG.info("nobody wants this database peer=%s system-id=%s", stranger.peer, system_id)
                    break
                stranger.bell.wait(left_s)
            stranger.hang_up()
        finally:
            self._strangers.pop(stranger, None)


class _Stranger:
    """A connection of which nothing is known yet."""

    def __init__(self, made: Any, peer: str, loop: Loop) -> None:  # noqa: ANN401
        self.peer = peer
        self.texts = Texts(made, STRANGER_BYTES)
        self.bell = loop.bell()
        self.left = False
        self.complaint = "it did not tell its system-id in time"
        self._loop = loop

    def leave(self) -> None:
        """It has to go; its own thread sees to that."""
        self.left = True
        self.bell.ring()

    def hang_up(self) -> None:
        self.texts.hang_up()

    def ask(self) -> str:
        """Its system-id; "" if it does not tell, then `complaint` says more."""
        until = self._loop.now() + TELLS_WITHIN_S
        if not self._shake_hands(until):
            return ""
        select = {"op": "select", "table": DATABASE, "where": [], "columns": ["external_ids"]}
        request = jsonrpc.Message.create_request("transact", [DATABASE, select])
        self.texts.send(request)
        while not self.left:
            self.texts.run()
            code, message = self.texts.recv()
            if not code:
                if message.type == jsonrpc.Message.T_REQUEST and message.method == "echo":
                    self.texts.send(jsonrpc.Message.create_reply(message.params, message.id))
                elif message.id == request.id:
                    self.texts.allow(MOST_BYTES)
                    return self._read(message.result)
                # Whatever else it says was not asked for; one who never stops talking must not keep others from it.
                self._wait(until, 0.0)
            elif code != errno.EAGAIN:
                self.complaint = self.texts.complaint or "it has hung up"
                return ""
            elif not self._wait(until, None, writable=self.texts.get_backlog() > 0):
                return ""
            if self._loop.now() >= until:
                return ""
        return ""

    def _shake_hands(self, until: float) -> bool:
        while not self.left:
            code = self.texts.stream.connect()
            if not code:
                return True
            if code != errno.EAGAIN:
                self.complaint = "TLS fails: it shows no certificate of our authority"
                return False
            if not self._wait(until, None):
                return False
        return False

    def _wait(self, until: float, at_most_s: float | None, writable: bool = False) -> bool:
        """Until something comes. False: the time is over."""
        left_s = until - self._loop.now()
        if left_s <= 0:
            return False
        at_most_s = left_s if at_most_s is None else min(at_most_s, left_s)
        self.bell.wait(at_most_s, self.texts.stream.socket.fileno(), writable)
        return True

    def _read(self, result: Any) -> str:  # noqa: ANN401 - JSON
        try:
            system_id = dict(result[0]["rows"][0]["external_ids"][1])[SYSTEM_ID]
        except (TypeError, LookupError, ValueError):
            self.complaint = "it has no external_ids:system-id"
            return ""
        if not isinstance(system_id, str) or not system_id:
            self.complaint = "its external_ids:system-id is no text"
            return ""
        return system_id
