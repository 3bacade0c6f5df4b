"""Many numbered UDP datagrams of several kinds, sent by one process and counted by another. I/O.

A kind is where its datagrams go. The sender sends one of each kind in turn, so many a millisecond; the receiver notes
of each kind which ones have arrived. Both are processes of their own, so that neither waits for the other, nor for
whoever measures.
"""

from __future__ import annotations

import multiprocessing
import select
import socket
import struct
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from multiprocessing.synchronize import Event
from typing import Any

from topologies.netns import inside

EVERY_S = 0.001
QUIET_S = 0.5
"""When nothing has come for so long after the last was sent, nothing more will."""
_SO_RCVBUFFORCE = 33
_BUFFER_BYTES = 32 << 20
_fork = multiprocessing.get_context("fork")


@dataclass(frozen=True, slots=True)
class Kind:
    """Where datagrams go: a namespace, the address that it has, and the UDP port."""

    namespace: str
    address: str
    l4_port: int


@dataclass
class Bursts:
    """sent: how many of each kind the kernel was given. arrived: which of them came. Known when it is over."""

    sent: int = 0
    seconds: float = 0.0
    arrived: Mapping[str, frozenset[int]] = field(default_factory=dict)

    def lost(self, kind: str) -> int:
        return self.sent - len(self.arrived[kind])

    @property
    def rate_pps(self) -> float:
        """Of all kinds together."""
        return self.sent * len(self.arrived) / self.seconds


@contextmanager
def bursts(source: str, kinds: Mapping[str, Kind], rate_pps: int) -> Iterator[Bursts]:
    """Runs during the block. source: the sender's namespace."""
    running, ready, done, over = Bursts(), _fork.Event(), _fork.Event(), _fork.Event()
    with ExitStack() as stack:
        senders, receivers = [], []
        for kind in kinds.values():
            with inside(kind.namespace):
                receiver = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
            receiver.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _BUFFER_BYTES)
            receiver.bind((kind.address, kind.l4_port))
            receiver.setblocking(False)
            receivers.append(receiver)
            with inside(source):
                sender = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
            sender.connect((kind.address, kind.l4_port))
            senders.append(sender)
        (sent, told_sent), (arrived, told_arrived) = _fork.Pipe(False), _fork.Pipe(False)
        receiving = _fork.Process(target=_receive, args=(receivers, over, told_arrived), daemon=True)
        sending = _fork.Process(target=_send, args=(senders, rate_pps, (ready, done), told_sent), daemon=True)
        receiving.start()
        sending.start()
        assert ready.wait(10), "the sender does not begin"
        try:
            yield running
        finally:
            done.set()
            running.sent, running.seconds = sent.recv()
            over.set()
            running.arrived = dict(zip(kinds, map(frozenset, arrived.recv()), strict=True))
            sending.join()
            receiving.join()


def _send(senders: list[socket.socket], rate_pps: int, events: tuple[Event, Event], told: Any) -> None:
    ready, done = events
    turns = rate_pps / len(senders) * EVERY_S
    number, began = 0, time.monotonic()
    ready.set()
    while not done.is_set():
        elapsed_s = time.monotonic() - began
        # After a time without a processor no more than a burst is made good, or it would be a flood.
        due = min(turns * elapsed_s / EVERY_S, number + 2 * turns)
        while number < due:
            datagram = struct.pack("!I", number)
            for sender in senders:
                sender.send(datagram)
            number += 1
        time.sleep(EVERY_S / 2)
    told.send((number, time.monotonic() - began))


def _receive(receivers: list[socket.socket], over: Event, told: Any) -> None:
    poll = select.poll()
    arrived: dict[int, list[int]] = {}
    by_handle = {receiver.fileno(): receiver for receiver in receivers}
    for handle in by_handle:
        arrived[handle] = []
        poll.register(handle, select.POLLIN)
    while True:
        readable = poll.poll(QUIET_S * 1000)
        if not readable and over.is_set():
            break
        for handle, _ in readable:
            try:
                while True:
                    arrived[handle].append(struct.unpack("!I", by_handle[handle].recv(16))[0])
            except BlockingIOError:
                pass
    told.send(list(arrived.values()))
