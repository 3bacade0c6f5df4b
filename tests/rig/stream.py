"""A steady stream of numbered UDP datagrams from one namespace to another, counted where it arrives. I/O; for tests."""

from __future__ import annotations

import socket
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from topologies.netns import inside

PORT = 7777
_SO_RCVBUFFORCE = 33
EVERY_S = 0.001
BURST = 2


class Stream:
    """sent: how many the kernel was given. lost: the numbers that did not arrive, known once the stream has ended."""

    def __init__(self) -> None:
        self.sent = 0
        self.lost: set[int] = set()
        self.seconds = 0.0

    @property
    def rate_pps(self) -> float:
        return self.sent / self.seconds


@contextmanager
def stream(source: str, target: str, address: str) -> Iterator[Stream]:
    """Runs during the block, at 2,000 packets a second. source, target: namespaces. address: the target's."""
    running = Stream()
    done = threading.Event()
    arrived: set[int] = set()
    with inside(target):
        receiver = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with inside(source):
        sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with receiver, sender:
        receiver.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, 64 << 20)
        receiver.bind((address, PORT))
        receiver.settimeout(0.5)
        sender.connect((address, PORT))

        def send() -> None:
            began = next_at = time.monotonic()
            while not done.is_set():
                for _ in range(BURST):
                    sender.send(struct.pack("!Q", running.sent))
                    running.sent += 1
                next_at += EVERY_S
                if (ahead_s := next_at - time.monotonic()) > 0:
                    time.sleep(ahead_s)
                running.seconds = time.monotonic() - began

        def receive() -> None:
            """Until nothing has come for half a second after the last was sent."""
            while True:
                try:
                    arrived.add(struct.unpack("!Q", receiver.recv(64))[0])
                except TimeoutError:
                    if done.is_set():
                        return

        threads = [threading.Thread(target=work) for work in (receive, send)]
        for thread in threads:
            thread.start()
        try:
            yield running
        finally:
            done.set()
            for thread in reversed(threads):
                thread.join()
            running.lost = set(range(running.sent)) - arrived
