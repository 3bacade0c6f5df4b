"""A channel of plain threads over a socket: a session outside any framework, for tests."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from controller.openflow import requests
from controller.openflow.decode import datapath_id, message_type
from controller.openflow.guard import Framer, Phase
from controller.openflow.protocol import Message
from controller.openflow.session import PortChange, Session
from controller.switch import PacketIn

WAIT_S = 10.0


class ThreadWaiter:
    """`Waiter` for threads."""

    def __init__(self) -> None:
        self._event = threading.Event()

    def wait(self, timeout_s: float) -> bool:
        return self._event.wait(timeout_s)

    def set(self) -> None:
        self._event.set()


class SocketChannel:
    """`Channel` on a connected socket. sizes: of everything sent since the connection began."""

    def __init__(self, connection: socket.socket) -> None:
        self.sizes: list[int] = []
        self.n_pauses = 0
        self._connection = connection
        self._lock = threading.Lock()

    def send(self, data: bytes) -> None:
        with self._lock:
            self.sizes.append(len(data))
            self._connection.sendall(data)

    def pause(self) -> None:
        self.n_pauses += 1

    def close(self) -> None:
        self._connection.shutdown(socket.SHUT_RDWR)


class Connection:
    """A switch that has connected and finished the handshake. messages: all that came since, while `record` is set."""

    def __init__(self, connection: socket.socket) -> None:
        self.channel = SocketChannel(connection)
        self.port_changes: list[PortChange] = []
        self.packets: list[PacketIn] = []
        self.messages: list[bytes] = []
        self.record = False
        self._connection = connection
        self._framer = Framer()
        self._ready = threading.Event()
        self._session: Session | None = None
        self._thread = threading.Thread(target=self._receive, daemon=True)
        self._thread.start()

    @property
    def session(self) -> Session:
        assert self._ready.wait(WAIT_S), "the handshake does not end"
        assert self._session is not None
        return self._session

    def _receive(self) -> None:
        self.channel.send(requests.hello(1))
        try:
            while data := self._connection.recv(65536):
                for message in self._framer.feed(data):
                    self._take(message)
        except OSError:
            pass  # hung up by us
        if self._session is not None:
            self._session.lost("the connection ended")

    def _take(self, message: bytes) -> None:
        if self.record:
            self.messages.append(message)
        if self._session is not None and self._framer.phase is Phase.READY:
            self._session.receive(message)
        if message_type(message) == Message.HELLO:
            self.channel.send(requests.features_request(2))
        elif message_type(message) == Message.FEATURES_REPLY:
            self._session = Session(
                self.channel,
                ThreadWaiter,
                dpid=datapath_id(message),
                peer="test",
                on_port_change=self.port_changes.append,
                on_packet_in=self.packets.append,
                timeout_s=WAIT_S,
            )
            self.channel.send(requests.port_desc_request(3))
        elif self._framer.phase is Phase.READY:
            self._ready.set()

    def join(self) -> None:
        self._thread.join(WAIT_S)
        self._connection.close()


@contextmanager
def accepted(point_switch_at: Callable[[str], None]) -> Iterator[Connection]:
    """Listen on loopback, let the switch connect, and hang up afterwards."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(WAIT_S)
        point_switch_at(f"tcp:127.0.0.1:{listener.getsockname()[1]}")
        connected, _ = listener.accept()
    connected.settimeout(None)
    connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    connection = Connection(connected)
    try:
        connection.session.ping()
        yield connection
    finally:
        connection.session.close("the test is over")
        connection.join()
