"""More room for packets that Open vSwitch has not read yet, on a machine that does other things too. I/O.

Without a kernel module ovs-vswitchd reads its ports from packet sockets, between all else that it does. The kernel
keeps some 270 small packets for each of them: at 20,000 a second, what comes in 14 ms. Where others have the processor
for longer, packets are lost that no flow table ever saw.
"""

from __future__ import annotations

import ctypes
import os
import re
import socket
from contextlib import closing

from tests.rig.host import Host
from topologies import netns

ROOM_BYTES = 64 << 20
_PIDFD_GETFD = 438
_SO_RCVBUFFORCE, _SO_DOMAIN = 33, 39
_libc = ctypes.CDLL(None, use_errno=True)


def make_room(machine: Host) -> None:
    """For the ports that its switch has now (pidfd_getfd(2): the very sockets)."""
    (daemon,) = (one for one in machine.daemons if one.role == "ovs-vswitchd")
    process = os.pidfd_open(daemon.pid)
    try:
        for name in os.listdir(f"/proc/{daemon.pid}/fd"):
            if not os.readlink(f"/proc/{daemon.pid}/fd/{name}").startswith("socket:"):
                continue
            handle = _libc.syscall(_PIDFD_GETFD, process, int(name), 0)
            if handle < 0:
                raise OSError(ctypes.get_errno(), "pidfd_getfd")
            with closing(socket.socket(fileno=handle)) as found:
                if found.getsockopt(socket.SOL_SOCKET, _SO_DOMAIN) == socket.AF_PACKET:
                    found.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, ROOM_BYTES)
    finally:
        os.close(process)


def lost_unread(machine: Host) -> int:
    """How many packets the kernel has had no room for in packet sockets of the host (ss(8) skmem)."""
    told = netns.run(["ip", "netns", "exec", machine.namespace, "ss", "--packet", "--memory", "--numeric"])
    return sum(int(count) for count in re.findall(r",d(\d+)\)", told))
