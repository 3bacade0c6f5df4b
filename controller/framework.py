"""The one seam to the framework: Ryu's connections, its REST server, and eventlet's green threads. I/O.

Ryu accepts connections, does the handshake and runs the app; every byte of a peer passes the framer before any parser
of Ryu's sees it, and after the handshake only our own session reads. A change of framework is a change of this file and
of `apps/`.
"""

from __future__ import annotations

import logging
import socket
import time
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, suppress
from typing import Any, ParamSpec, Protocol, TypeVar

import eventlet.hubs
import eventlet.semaphore
import eventlet.tpool
import eventlet.wsgi
from ryu import cfg
from ryu.controller import controller as ryu_controller
from ryu.controller import ofp_event
from ryu.controller.handler import MAIN_DISPATCHER
from ryu.lib import hub
from ryu.ofproto import ofproto_parser

from controller import process
from controller.errors import SwitchError
from controller.openflow.guard import Framer
from controller.openflow.session import PortChange, Session
from controller.pipeline import LEARNED_TABLES
from controller.switch import PacketIn

LOG = logging.getLogger("tripoint.connection")

OPENFLOW_PORT = 6653
HANDSHAKE_WITHIN_S = 10.0
"""A peer that has not said all of the handshake by then is hung up on."""
MESSAGE_WITHIN_S = 10.0
"""The rest of a message must come within this time of its first octet."""
PING_AFTER_S = 10.0
"""A peer silent for so long is asked whether it is there."""
PING_WITHIN_S = 10.0
RIVAL_PING_WITHIN_S = 2.0
"""A switch whose dpid another peer claims is asked at once; only if it is silent does its place become free."""
SEND_WITHIN_S = 60.0
"""A switch may be busy for so long before it reads on."""
STRANGERS = 256
"""How many peers may be in the handshake at a time. A switch is through in milliseconds, so the oldest makes room."""
MOST_CONNECTIONS = 4096
RESERVED_FILES = 512
"""For everything that is not an OpenFlow connection, REST clients above all."""
REST_CLIENTS = 256
RECEIVE_BYTES = 64 * 1024
LOOK_AFTER_S = 0.05
"""So long after a thread computed something the collector looks at what is new."""
COMPUTING_THREADS = 2
"""How many calls of `in_thread` run at a time. More of them do not compute faster, and keep the loop from its turn."""
REST_IDLE_S = 120.0
"""A REST client silent for so long is hung up on."""

P = ParamSpec("P")
T = TypeVar("T")


class GreenWaiter:
    """Implements `loop.Waiter`."""

    def __init__(self) -> None:
        self._event = hub.Event()

    def wait(self, timeout_s: float) -> bool:
        self._event.wait(timeout_s)
        return bool(self._event.is_set())

    def set(self) -> None:
        if not self._event.is_set():
            self._event.set()


class GreenBell:
    """Implements `loop.Bell`."""

    def __init__(self) -> None:
        self._rung = False
        self._waiting: Any = None

    def wait(self, timeout_s: float | None, fileno: int | None = None, writable: bool = False) -> None:
        if not self._rung:
            self._sleep(timeout_s, fileno, writable)
        self._rung = False

    def ring(self) -> None:
        self._rung = True
        if self._waiting is not None:
            eventlet.hubs.get_hub().schedule_call_global(0, self._wake)

    def _sleep(self, timeout_s: float | None, fileno: int | None, writable: bool) -> None:
        green_hub = eventlet.hubs.get_hub()
        self._waiting = eventlet.getcurrent()
        listener = timer = None
        try:
            if timeout_s is not None:
                timer = green_hub.schedule_call_global(max(timeout_s, 0.0), self._wake)
            if fileno is not None:
                kind = green_hub.WRITE if writable else green_hub.READ
                listener = green_hub.add(kind, fileno, self._wake, self._wake, self._wake)
            green_hub.switch()
        finally:
            self._waiting = None
            if timer is not None:
                timer.cancel()
            if listener is not None:
                green_hub.remove(listener)

    def _wake(self, *_: object) -> None:
        """Called by the hub, maybe by several of its reasons: the first one counts."""
        waiting, self._waiting = self._waiting, None
        if waiting is not None:
            waiting.switch()


class GreenLoop:
    """Implements `loop.Loop` with eventlet's green threads."""

    def __init__(self) -> None:
        self._look_is_due = False

    def spawn(self, function: Callable[[], None]) -> None:
        hub.spawn(function)

    def in_thread(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        result: T = eventlet.tpool.execute(function, *args, **kwargs)
        if not self._look_is_due:
            self._look_is_due = True
            eventlet.spawn_after(LOOK_AFTER_S, self._look)
        return result

    def _look(self) -> None:
        self._look_is_due = False
        process.look_at_what_is_new()

    def waiter(self) -> GreenWaiter:
        return GreenWaiter()

    def bell(self) -> GreenBell:
        return GreenBell()

    def lock(self) -> AbstractContextManager[object]:
        lock: AbstractContextManager[object] = eventlet.semaphore.Semaphore()
        return lock

    def now(self) -> float:
        return time.monotonic()


def pause() -> None:
    """Let other green threads run."""
    hub.sleep(0)


def sleep(seconds: float) -> None:
    hub.sleep(seconds)


class SwitchboardListener(Protocol):
    """Who is told of ports, endings and refusals: the reconciler."""

    def change_port(self, switch: Session, ofport: int, name: str | None) -> None: ...

    def gone(self, switch: Session) -> None: ...

    def refused(self, why: str) -> None: ...


class Switchboard:
    """All connections: who is in the handshake, and which dpid is whose.

    on_packet_in: told of every packet that a switch hands over, in that switch's receive loop: it must not wait and
    bounds what it keeps. None: they are dropped unread.
    """

    def __init__(
        self, listener: SwitchboardListener, on_packet_in: Callable[[Session, PacketIn], None] | None = None
    ) -> None:
        self.listener = listener
        self._on_packet_in = on_packet_in
        # A listener that runs out of file descriptors ends, and with it the process: never let it come to that.
        self._most = max(STRANGERS, min(MOST_CONNECTIONS, process.raise_file_limit() - RESERVED_FILES))
        self._sessions: dict[int, Session] = {}
        self._strangers: dict[_Connection, None] = {}
        """Oldest first."""

    def serve(self, connection_socket: Any, address: tuple[Any, ...]) -> None:  # noqa: ANN401 - Ryu's socket
        """One connection from its first octet to its end."""
        if len(self._sessions) + len(self._strangers) >= self._most:
            self.listener.refused(f"{address[0]}: {self._most} connections are open already")
            connection_socket.close()
            return
        connection = _Connection(connection_socket, address, self)
        if len(self._strangers) >= STRANGERS:
            oldest = next(iter(self._strangers))
            del self._strangers[oldest]
            oldest.close()
        self._strangers[connection] = None
        try:
            connection.serve()
        except SwitchError as error:
            self.listener.refused(f"{connection.peer}: {error}")
        except OSError as error:
            LOG.info("connection lost peer=%s error=%s", connection.peer, error)
        finally:
            self._strangers.pop(connection, None)
            connection.end()

    def welcome(self, connection: _Connection) -> Session:
        """The handshake is done: the connection's session, unless its dpid is a live one's. Raises SwitchError."""
        dpid = int(connection.id)
        rival = self._sessions.get(dpid)
        if rival is not None and rival.alive:
            hub.spawn(_ask_whether_there, rival)
            raise SwitchError(f"dpid {dpid:016x} is connected already from {rival.peer}")
        tell = self._on_packet_in
        session = Session(
            connection,
            GreenWaiter,
            dpid=dpid,
            peer=connection.peer,
            on_port_change=lambda change: self._tell(session, change),
            on_packet_in=None if tell is None else lambda packet: tell(session, packet),
            learned_tables=LEARNED_TABLES,
        )
        self._sessions[dpid] = session
        self._strangers.pop(connection, None)
        return session

    def leave(self, session: Session) -> None:
        if self._sessions.get(session.dpid) is session:
            del self._sessions[session.dpid]
        self.listener.gone(session)

    def _tell(self, session: Session, change: PortChange) -> None:
        self.listener.change_port(session, change.ofport, change.after)


def _ask_whether_there(session: Session) -> None:
    with suppress(SwitchError), hub.Timeout(RIVAL_PING_WITHIN_S, False):
        session.ping()
        return
    session.close("it does not answer, and another connection claims its dpid")


class _Connection(ryu_controller.Datapath):  # type: ignore[misc] # Ryu has no types
    """A Ryu datapath whose bytes pass the framer first; also the session's `Channel`."""

    def __init__(self, connection_socket: Any, address: tuple[Any, ...], board: Switchboard) -> None:  # noqa: ANN401
        super().__init__(connection_socket, address)
        self.peer = f"{address[0]}:{address[1]}" if len(address) > 1 else "local"
        self.session: Session | None = None
        self._board = board
        self._framer = Framer()
        self._ended = False
        self.socket.settimeout(SEND_WITHIN_S)

    # Channel

    def send(self, data: bytes, close_socket: bool = False) -> bool:
        """Queue for sending; blocks while too much is queued. Raises SwitchError where the connection is gone."""
        if not super().send(data, close_socket):
            raise SwitchError(f"the connection to {self.peer} is gone")
        return True

    def pause(self) -> None:
        pause()

    def close(self) -> None:
        """Ryu marks it dead; the socket is shut for reading too, so that the receive loop ends now."""
        super().close()
        with suppress(OSError):
            self.socket.shutdown(socket.SHUT_RDWR)

    def end(self) -> None:
        """The connection is over, whatever ended it."""
        if self._ended:
            return
        self._ended = True
        if self.session is not None:
            self.session.lost(f"the connection to {self.peer} ended")
            self._board.leave(self.session)
        self.close()
        with suppress(OSError):
            self.socket.close()

    # Receiving, in place of Ryu's loop

    def _recv_loop(self) -> None:
        began = time.monotonic()
        while self.state != ryu_controller.DEAD_DISPATCHER:
            data = self._receive(began)
            if not data:
                return
            for message in self._framer.feed(data):
                if self.session is not None:
                    self.session.receive(message)
                else:
                    self._shake_hands(message)
            # A peer that sends without a break always has more to read, which alone lets nobody else run.
            pause()

    def _receive(self, began: float) -> bytes:
        """What comes next; b"" at the end. Raises SwitchError when the peer keeps us waiting for too long."""
        patience_s, complaint = PING_AFTER_S, ""
        if self.session is None:
            patience_s = began + HANDSHAKE_WITHIN_S - time.monotonic()
            complaint = f"the handshake was not done within {HANDSHAKE_WITHIN_S:.0f} s"
        elif self._framer.pending_bytes:
            patience_s = MESSAGE_WITHIN_S
            complaint = f"the rest of a message did not come within {MESSAGE_WITHIN_S:.0f} s"
        data = self._receive_within(patience_s)
        if data is None and not complaint:
            session = self.session
            assert session is not None
            hub.spawn(_ping, session)
            data = self._receive_within(PING_WITHIN_S)
            complaint = "it does not answer"
        if data is None:
            raise SwitchError(complaint)
        return data

    def _receive_within(self, seconds: float) -> bytes | None:
        with hub.Timeout(max(seconds, 0.001), False):
            return bytes(self.socket.recv(RECEIVE_BYTES))
        return None

    def _shake_hands(self, message: bytes) -> None:
        """Ryu's own handlers negotiate; the framer has seen to it that its parsers are safe with what they get."""
        version, kind, length, xid = ofproto_parser.header(message)
        parsed = ofproto_parser.msg(self, version, kind, length, xid, bytearray(message))
        if parsed is None:
            raise SwitchError("the handshake could not be read")
        event = ofp_event.ofp_msg_to_ev(parsed)
        for handler in self.ofp_brick.get_handlers(event, self.state):
            handler(event)
        # Not the framer's phase: that one is ahead by as many messages as came together.
        if self.state == MAIN_DISPATCHER:
            self.session = self._board.welcome(self)


def _ping(session: Session) -> None:
    with suppress(SwitchError), hub.Timeout(PING_WITHIN_S, False):
        session.ping()


def serve_rest(application: Callable[..., Iterable[bytes]]) -> None:
    """Serve a WSGI application on ryu-manager's --wsapi-host and --wsapi-port.

    eventlet's server directly: Ryu's wrapper of it loses chunked request bodies and writes a log line a request.
    """
    host = cfg.CONF.wsapi_host
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = eventlet.listen((host, cfg.CONF.wsapi_port), family=family)
    options = {"max_size": REST_CLIENTS, "log_output": False, "debug": False, "socket_timeout": REST_IDLE_S}
    hub.spawn(eventlet.wsgi.server, listener, application, **options)


def prepare() -> None:
    """Settings that differ from Ryu's: REST on loopback, OpenFlow on 6653 only. Flags of ryu-manager win.

    Raises SystemExit with a sentence where one of the two ports cannot be had.
    """
    configuration = cfg.CONF
    configuration.set_default("wsapi_host", "127.0.0.1")
    configuration.set_default("ofp_tcp_listen_port", OPENFLOW_PORT)
    configuration.set_default("ofp_ssl_listen_port", OPENFLOW_PORT)
    _require_free("OpenFlow", configuration.ofp_listen_host, openflow_port(), "--ofp-tcp-listen-port")
    _require_free("REST", configuration.wsapi_host, configuration.wsapi_port, "--wsapi-port")
    process.settle()
    eventlet.tpool.set_num_threads(COMPUTING_THREADS)


def openflow_port() -> int:
    """Where bridges find the controller."""
    configuration = cfg.CONF
    tls = configuration.ctl_privkey is not None and configuration.ctl_cert is not None
    return int(configuration.ofp_ssl_listen_port if tls else configuration.ofp_tcp_listen_port)


def tls_files() -> tuple[str, str, str] | None:
    """Private key, certificate and authorities, as ryu-manager's --ctl-privkey, --ctl-cert and --ca-certs name them."""
    configuration = cfg.CONF
    files = (configuration.ctl_privkey, configuration.ctl_cert, configuration.ca_certs)
    return None if None in files else (str(files[0]), str(files[1]), str(files[2]))


def accept_with(board: Switchboard) -> None:
    """Let Ryu's listener hand its connections to the switchboard."""
    ryu_controller.datapath_connection_factory = board.serve


def _require_free(what: str, host: str, port: int, flag: str) -> None:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
            probe.listen(1)
        except OSError as error:
            raise SystemExit(
                f"tripoint: cannot listen for {what} on {host} port {port}: {error.strerror}; {flag} sets it"
            ) from error
