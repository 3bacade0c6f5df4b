"""Captures at every point of a lab, and whose frames they saw. I/O.

A frame belongs to a probe when it carries the probe's mark, or one of its TCP or UDP ports (a SYN carries no
payload). Beside that every source MAC is noted, ARP's included, for frames that carry neither.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from topologies import frames
from topologies.netns import NetworkError, inside
from topologies.spec import ECHO_PORT, Address, Encapsulation, Point, Refusal
from topologies.traffic import CANARY_MAC, MARK

_ETH_P_ALL = 3
_SOL_PACKET, _PACKET_STATISTICS, _PACKET_AUXDATA = 263, 6, 8
_SO_RCVBUFFORCE = 33
_PACKET_OUTGOING = 4
_TP_STATUS_VLAN_VALID = 1 << 4
_BUFFER_BYTES = 64 << 20
_READS_AT_ONCE = 256
UNTAGGED = -1
"""In place of a VID: frames that have no tag."""


@dataclass
class Sighting:
    """How often, and the first one."""

    count: int = 0
    first: bytes = b""

    def note(self, frame: bytes) -> None:
        self.count += 1
        self.first = self.first or frame

    def add(self, other: Sighting) -> None:
        self.count += other.count
        self.first = self.first or other.first

    def __str__(self) -> str:
        return f"{self.count}: {frames.read(self.first)}" if self.count else "0"


@dataclass
class Notebook:
    """What the captures of a lab saw. ports: TCP or UDP port of a probe -> its mark. l4_ports: of tunnels over UDP.

    service_ports: where the probes go; a frame without a mark belongs to a probe by its port and one of these.
    """

    ports: dict[int, int] = field(default_factory=dict)
    service_ports: frozenset[int] = frozenset({ECHO_PORT})
    l4_ports: Mapping[int, Encapsulation] = field(default_factory=lambda: frames.WELL_KNOWN)
    impostors: set[int] = field(default_factory=set)
    """Marks of frames that an impostor sends: they say nothing about what a host puts on a cable."""
    tags: dict[tuple[str, str, str, tuple[str, ...]], Sighting] = field(default_factory=dict)
    """(node, interface, source MAC, tags with the outermost first), without canaries and impostors' frames

    A tag is written `vid 10`. A tunnel counts as one, `vxlan 5010`, and then the MAC is that of the frame inside. Of
    frames without any, those of ARP are under `arp`.
    """
    marks: dict[tuple[int, str, str, int | None], Sighting] = field(default_factory=dict)
    """(mark, node, interface, outermost VID)"""
    macs: dict[tuple[str, str, str, int | None], Sighting] = field(default_factory=dict)
    """(source MAC, node, interface, outermost VID)"""
    answers: dict[tuple[Address, str, str, str], int] = field(default_factory=dict)
    """(address, its MAC, node, interface) -> how often ARP or ND said so"""
    origins: dict[tuple[int, str, str], set[Address]] = field(default_factory=dict)
    """(mark, node, interface) -> the source addresses of such frames"""
    refusals: dict[tuple[int, str, str], dict[tuple[Refusal, Address], Sighting]] = field(default_factory=dict)
    """(mark, node, interface) -> how what was sent with this mark was refused there, and from which address"""

    def note(self, node: str, interface: str, frame: bytes, trunk: bool = False) -> None:
        """trunk: other hosts are at the cable's end, so that frames may be inside a tunnel's."""
        tags: tuple[str, ...] = ()
        if trunk and (inside_tunnel := frames.tunnelled(frame, self.l4_ports)) is not None:
            kind, vni, frame = inside_tunnel
            tags = (f"{kind.value} {vni}",)
        vid = int.from_bytes(frame[14:16], "big") & 0xFFF if frame[12:14] in (b"\x81\x00", b"\x88\xa8") else None
        marked, seen = MARK.search(frame), frames.read(frame)
        mark = int(marked[1], 16) if marked is not None else None
        if mark is None and self.service_ports & set(seen.ports):
            mark = self.ports.get(seen.ports[0]) or self.ports.get(seen.ports[1])
        if mark is None and seen.refusal is not None:
            mark = self.ports.get(seen.refusal[1])
        if mark not in self.impostors and seen.source != CANARY_MAC:
            tags += tuple(f"vid {one}" for one in seen.tags)
            if not tags:
                tags = ("arp",) if seen.ethertype == frames.ARP else ()
            self.tags.setdefault((node, interface, seen.source, tags), Sighting()).note(frame)
        if seen.answers is not None:
            key = (*seen.answers, node, interface)
            self.answers[key] = self.answers.get(key, 0) + 1
        if mark is not None and seen.ip_source is not None and seen.arp is None:
            self.origins.setdefault((mark, node, interface), set()).add(seen.ip_source)
            if seen.refusal is not None:
                told = self.refusals.setdefault((mark, node, interface), {})
                told.setdefault((seen.refusal[0], seen.ip_source), Sighting()).note(frame)
        if mark is not None:
            self.marks.setdefault((mark, node, interface, vid), Sighting()).note(frame)
        else:
            for mac in {seen.source} | ({seen.arp[1]} if seen.arp is not None else set()):
                self.macs.setdefault((mac, node, interface, vid), Sighting()).note(frame)

    def of_mark(self, mark: int, node: str, interface: str | None = None, vid: int | None = None) -> Sighting:
        """Frames of a probe at a node, or at one interface of it, or in one VLAN of that (or UNTAGGED)."""
        wanted = (node, interface, vid)
        return _sum(s for (m, n, i, v), s in self.marks.items() if m == mark and _fits((n, i, v), wanted))

    def of_mac(self, mac: str, node: str, interface: str | None = None) -> Sighting:
        wanted = (node, interface, None)
        return _sum(s for (m, n, i, v), s in self.macs.items() if m == mac and _fits((n, i, v), wanted))


def _fits(at: tuple[str, str, int | None], wanted: tuple[str, str | None, int | None]) -> bool:
    vid = UNTAGGED if at[2] is None else at[2]
    return at[0] == wanted[0] and wanted[1] in (None, at[1]) and wanted[2] in (None, vid)


def _sum(sightings: Iterable[Sighting]) -> Sighting:
    total = Sighting()
    for sighting in sightings:
        total.add(sighting)
    return total


def packet_socket(namespace: str, interface: str, receive: bool) -> socket.socket:
    """A raw socket on an interface of a namespace. Raises NetworkError."""
    with inside(namespace):
        handle = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(_ETH_P_ALL) if receive else 0)
    try:
        handle.setblocking(False)
        if receive:
            handle.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _BUFFER_BYTES)
            handle.setsockopt(_SOL_PACKET, _PACKET_AUXDATA, 1)
        handle.bind((interface, _ETH_P_ALL if receive else 0))
    except OSError as error:
        handle.close()
        raise NetworkError(f"capture at {interface} in {namespace}: {error.strerror}") from error
    return handle


def receive(handle: socket.socket) -> tuple[bytes, bool] | None:
    """(frame with its tags, whether this node sent it), or None when there is nothing to read now.

    The kernel takes the outermost tag off and hands it over beside the frame (packet(7), PACKET_AUXDATA).
    """
    try:
        data, ancillary, _, address = handle.recvmsg(1 << 16, 256)
    except (BlockingIOError, InterruptedError):
        return None
    except OSError:
        # The interface is down: the socket says so once. What that means for a verdict, the canary tells.
        return None
    for level, kind, value in ancillary:
        if (level, kind) == (_SOL_PACKET, _PACKET_AUXDATA) and len(value) >= 20:
            status, _, _, _, _, tci, tpid = struct.unpack("=IIIHHHH", value[:20])
            if status & _TP_STATUS_VLAN_VALID:
                data = data[:12] + struct.pack("!HH", tpid or frames.DOT1Q, tci) + data[12:]
    return data, address[2] == _PACKET_OUTGOING


class Captures:
    """Open captures, read by the running event loop into a notebook."""

    def __init__(self, notebook: Notebook) -> None:
        self.notebook = notebook
        self._open: dict[tuple[str, str], socket.socket] = {}
        self._lost: dict[tuple[str, str], int] = {}

    def add(self, point: Point, namespace: str) -> None:
        """Of a trunk's end: for what goes out there, in place of what comes in. Raises NetworkError."""
        handle = packet_socket(namespace, point.interface, receive=True)
        self._open[point.node, point.interface] = handle
        asyncio.get_running_loop().add_reader(handle, self._read, point, handle)

    def _read(self, point: Point, handle: socket.socket) -> None:
        for _ in range(_READS_AT_ONCE):
            got = receive(handle)
            if got is None:
                return
            frame, outgoing = got
            # A canary comes in from the far end of the cable, also where only what goes out matters.
            if outgoing is not point.trunk and frame[6:12] != frames.mac_bytes(CANARY_MAC):
                continue
            # Where tunnels end at a host's own address, a switch in the kernel is handed them through this device.
            if point.local and frames.tunnelled(frame, self.notebook.l4_ports) is not None:
                continue
            self.notebook.note(point.node, point.interface, frame, point.trunk)

    def lost(self, node: str, interface: str) -> int:
        """Frames that the kernel could not keep for this capture since the last call."""
        packed = self._open[node, interface].getsockopt(_SOL_PACKET, _PACKET_STATISTICS, 8)
        lost = int(struct.unpack("=II", packed)[1])
        self._lost[node, interface] = self._lost.get((node, interface), 0) + lost
        return lost

    def lost_ever(self, node: str, interface: str) -> int:
        """The same since the capture began."""
        self.lost(node, interface)
        return self._lost[node, interface]

    def close(self) -> None:
        loop = asyncio.get_running_loop()
        for handle in self._open.values():
            with contextlib.suppress(ValueError, OSError):
                loop.remove_reader(handle)
            handle.close()
        self._open.clear()
