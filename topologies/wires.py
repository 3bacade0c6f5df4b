"""Everything that touches a lab's cables while it is judged: captures, servers, raw senders, canaries. I/O."""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import dataclass, field

from topologies import clients, frames, traffic
from topologies.backlog import Ports
from topologies.capture import UNTAGGED, Captures, Notebook, Sighting, packet_socket
from topologies.frames import WELL_KNOWN
from topologies.netns import NetworkError
from topologies.ovs import switch_of
from topologies.records import Record
from topologies.routers import router_addresses
from topologies.spec import CLIENT_PORTS, Address, Carries, End, Expectation, Lab, Point, as_address

CANARY_TIMEOUT_S = 1.5
SEND_BURST = 16
Place = tuple[str, str]
"""(node, interface): where a capture listens."""


@dataclass
class Wires:
    """For one run of the judge, inside one event loop."""

    record: Record
    lab: Lab
    notebook: Notebook = field(default_factory=Notebook)
    _senders: dict[tuple[str, str], socket.socket] = field(default_factory=dict)
    # Two runs on one lab must not share marks, nor ports that are still in use.
    _mark: int = field(default_factory=lambda: random.randrange(1, 0xF00000))
    _port: int = field(default_factory=lambda: random.randrange(10000))

    def __post_init__(self) -> None:
        self.captures = Captures(self.notebook)
        ports: dict[str, list[str]] = {}
        for link in self.lab.links:
            for end in (link.a, link.b):
                if end.owner in self.lab.bridges:
                    ports.setdefault(self._namespace(end), []).append(end.name)
        self.ports = Ports({namespace: tuple(devices) for namespace, devices in ports.items()})
        # What a fabric puts on a cable has been seen where it came from; only where that is asked it is seen again.
        named = {where for e in self.lab.expectations for where in _watched(e)}
        asked = (p for p in self.lab.cable_ends if str(self.lab.cable_end(p)) in named)
        points = (*self.lab.all_points, *self.lab.trunk_ends, *asked)
        self.places: dict[Place, Point] = {(p.node, p.interface): p for p in points}
        kind, l4_port = self.lab.encapsulation
        self.notebook.l4_ports = {**WELL_KNOWN, l4_port: kind} if l4_port else WELL_KNOWN
        self.notebook.service_ports = self.lab.service_ports
        self.routers = router_addresses(self.lab)

    @contextlib.asynccontextmanager
    async def session(self) -> AsyncIterator[None]:
        """Captures at every place and echo servers at every node, for the block. Raises NetworkError."""
        servers = clients.Servers()
        try:
            for point in self.places.values():
                self.captures.add(point, self.record.namespaces[point.node])
            l4_ports = self.lab.service_ports - self.lab.closed_ports
            await servers.start(self.record.namespaces.values(), l4_ports)
            yield
        finally:
            self.captures.close()
            await servers.close()
            for handle in self._senders.values():
                handle.close()

    def mark(self, count: int = 1) -> int:
        """The first of `count` marks that nobody else has."""
        self._mark += count
        return self._mark - count

    def port(self, mark: int) -> int:
        """A client port; TCP and UDP frames with it belong to the mark."""
        self._port = (self._port + 1) % 10000
        self.notebook.ports[CLIENT_PORTS + self._port] = mark
        return CLIENT_PORTS + self._port

    def places_of(self, where: str) -> list[Place]:
        """Of a node, a point, or whoever has an address."""
        address = as_address(where)
        names = (where,) if address is None else self.lab.holders(address)
        return list(dict.fromkeys((p.node, p.interface) for name in names for p in self.lab.points(name)))

    def arrived(self, mark: int, where: str) -> Sighting:
        """Frames of a mark at a node, at one point of it, or at whoever has an address."""
        vid = self.vid_of(where) if ":" in where and as_address(where) is None else None
        found = Sighting()
        for place in self.places_of(where):
            found.add(self.notebook.of_mark(mark, *place, vid))
        return found

    def vid_of(self, where: str) -> int | None:
        """What a point's own frames have as tag, maybe UNTAGGED; None where all frames there are its own."""
        point = self.lab.points(where)[0]
        beside = [p for p in self.lab.points(point.node) if p.interface == point.interface]
        return UNTAGGED if point.vid is None and len(beside) > 1 else point.vid

    # -- sending -----------------------------------------------------------------------------------------------------

    async def send(self, point: Point, outgoing: Iterable[bytes]) -> int:
        """Frames out of a point, no faster than a switch at its other end takes them; how many the kernel took.

        Raises NetworkError when it takes none.
        """
        handle, sent, refusal = self._sender(self.record.namespaces[point.node], point.interface), 0, ""
        end = None if point.local else self.lab.other_end(self.lab.cable_end(point))
        if point.tunnels is not None:
            outgoing = traffic.in_tunnels(point.tunnels, outgoing)
        for number, frame in enumerate(outgoing):
            if number % SEND_BURST == 0:
                await asyncio.sleep(0)
                if end is not None and end.owner in self.lab.bridges:
                    await self.ports.room(self._namespace(end), end.name)
            try:
                handle.send(frame)
                sent += 1
            except OSError as error:
                refusal = error.strerror or str(error)
        if refusal and not sent:
            raise NetworkError(f"{point.node}:{point.interface} cannot send: {refusal}")
        return sent

    def _namespace(self, end: End) -> str:
        bridge = self.lab.bridges.get(end.owner)
        return self.record.namespaces[end.owner if bridge is None else bridge.node]

    def _sender(self, namespace: str, interface: str) -> socket.socket:
        if (namespace, interface) not in self._senders:
            self._senders[namespace, interface] = packet_socket(namespace, interface, receive=False)
        return self._senders[namespace, interface]

    # -- canaries ----------------------------------------------------------------------------------------------------

    async def canaries(self, places: Iterable[Place]) -> dict[Place, str]:
        """place -> "" when its capture saw one, else what went wrong."""
        places = list(places)
        return dict(zip(places, await asyncio.gather(*(self._canary(place) for place in places)), strict=True))

    async def _canary(self, place: Place) -> str:
        mark = self.mark()
        try:
            point = self.places[place]
            # What comes to a trunk's end must not get past the switch that it comes to, whatever switch that is.
            target = frames.LINK_LOCAL_GROUP if point.trunk else point.mac
            self._inject(place, traffic.canary(traffic.mark_bytes(mark), target))
        except (NetworkError, OSError) as error:
            return f"not sent: {error}"
        if await until(lambda: self.notebook.of_mark(mark, *place).count > 0, CANARY_TIMEOUT_S):
            return ""
        return "not seen"

    def _inject(self, place: Place, frame: bytes) -> None:
        """Puts a frame in at the other end of the cable; for a bridge's own port, by way of the bridge."""
        node, interface = place
        bridge = self.lab.bridges.get(interface)
        if bridge is not None and bridge.node == node:
            switch = switch_of(self.record, node)
            words = f"in_port=CONTROLLER packet={frame.hex()} actions=LOCAL"
            switch.ofctl("-O", "OpenFlow14", "packet-out", switch.management(interface), words)
            return
        end = self.lab.other_end(self.lab.cable_end(self.places[place]))
        assert end is not None
        self._sender(self._namespace(end), end.name).send(frame)


def _watched(expectation: Expectation) -> tuple[str, ...]:
    """The places that an expectation names beside its ends."""
    return (expectation.on,) if isinstance(expectation, Carries) else expectation.unseen_at


async def until(condition: Callable[[], bool], timeout_s: float) -> bool:
    """Whether it came true in time."""
    deadline = asyncio.get_running_loop().time() + timeout_s
    while not condition():
        if asyncio.get_running_loop().time() > deadline:
            return False
        await asyncio.sleep(0.005)
    return True


def targets_of(lab: Lab, source: str, target: str) -> list[tuple[Address, Point | None]]:
    """The addresses that are meant by `target` (and who has them): one for each IP version that both ends have."""
    address = as_address(target)
    if address is not None:
        return [(address, next((p for p in lab.all_points if any(a.ip == address for a in p.addresses)), None))]
    found: list[tuple[Address, Point | None]] = []
    for version in (4, 6):
        if any(p.address(version) for p in lab.points(source)):
            for point in lab.points(target):
                if (one := point.address(version)) is not None:
                    found.append((one, point))
                    break
    return found
