"""Somebody on the OpenFlow port who is no Open vSwitch: a socket into a host's namespace. I/O; for tests."""

from __future__ import annotations

import socket
import struct
import time
from contextlib import suppress

from tests.wire import switch_bytes as sw
from topologies.netns import inside


class Peer:
    """One connection."""

    def __init__(self, namespace: str) -> None:
        with inside(namespace):
            self._socket = socket.create_connection(("127.0.0.1", 6653), 20)
        self.began = time.monotonic()

    def send(self, data: bytes) -> None:
        """What the other end does not want any more is lost."""
        with suppress(ConnectionError):
            self._socket.sendall(data)

    def hung_up_after(self, within_s: float) -> float | None:
        """Seconds from the beginning of the connection until the other end hung up; None: it did not in time."""
        self._socket.settimeout(within_s)
        try:
            while self._socket.recv(1 << 16):
                pass
        except TimeoutError:
            return None
        except ConnectionError:
            pass
        return time.monotonic() - self.began

    def close(self) -> None:
        self._socket.close()


def handshake(dpid: int, *ports: bytes) -> bytes:
    """What a switch of this dpid says up to the description of its ports."""
    features = sw.message(6, struct.pack("!QIBB2xII", dpid, 0, 254, 0, 0x4F, 0))
    return sw.hello() + features + sw.port_desc(*ports, sw.port(0xFFFFFFFE, b"br0"))
