"""Frames on their way into a switch: how many wait to be read by it, and how many were lost before it read them. I/O.

The userspace datapath reads each port through a packet socket with room for some 200 small frames. What comes faster
is lost before the switch has looked at it, and then says nothing about the switch. So senders wait while the queue is
long, verdicts wait until all queues are empty, and a loss makes a verdict invalid. A switch in the kernel has no such
queue: nothing is waited for there.
"""

from __future__ import annotations

import asyncio
import re
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from topologies.netns import inside, run

LONG_BYTES = 48 << 10
"""A queue as long as this is waited for; a frame counts with its buffer, about 1 KB."""
POLL_S = 0.002
PATIENCE_S = 10.0
_SOCKET = re.compile(r"\*:(?P<device>\S+)\s.*ovs-vswitchd.*skmem:\(.*\bd(?P<lost>\d+)\)")


@dataclass
class Ports:
    """The ports of a lab's bridges. by_namespace: namespace -> devices."""

    by_namespace: Mapping[str, tuple[str, ...]]
    _indexes: dict[tuple[str, str], int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for namespace, devices in self.by_namespace.items():
            with inside(namespace):
                self._indexes |= {(namespace, device): socket.if_nametoindex(device) for device in devices}

    def waiting_bytes(self, namespace: str, device: str | None = None) -> int:
        """In the queue of one port, or of all ports in the namespace (proc(5), /proc/net/packet)."""
        wanted = {i for (n, d), i in self._indexes.items() if n == namespace and device in (None, d)}
        with inside(namespace):
            lines = Path("/proc/thread-self/net/packet").read_text().splitlines()[1:]
        return sum(int(fields[6]) for line in lines if int((fields := line.split())[4]) in wanted)

    async def room(self, namespace: str, device: str) -> None:
        """Until the port's queue is short."""
        deadline = asyncio.get_running_loop().time() + PATIENCE_S
        while self.waiting_bytes(namespace, device) > LONG_BYTES and asyncio.get_running_loop().time() < deadline:
            await asyncio.sleep(POLL_S)

    async def empty(self) -> None:
        """Until every queue was found empty twice, some milliseconds apart."""
        deadline, quiet = asyncio.get_running_loop().time() + PATIENCE_S, 0
        while quiet < 2 and asyncio.get_running_loop().time() < deadline:
            quiet = 0 if any(self.waiting_bytes(namespace) for namespace in self.by_namespace) else quiet + 1
            await asyncio.sleep(5 * POLL_S)

    def lost(self) -> dict[tuple[str, str], int]:
        """(namespace, device) -> frames lost since the port was added. Raises NetworkError."""
        found = {}
        for namespace in self.by_namespace:
            for match in _SOCKET.finditer(run(["ip", "netns", "exec", namespace, "ss", "-0", "-n", "-m", "-p", "-O"])):
                found[namespace, match["device"]] = int(match["lost"])
        return found
