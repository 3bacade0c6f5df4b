"""What nodes do while expectations are checked: route, bridge, relay, flood, lie. I/O; each is undone at its end."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from itertools import islice
from typing import assert_never

from topologies import netns
from topologies.capture import packet_socket, receive
from topologies.netns import NetworkError
from topologies.routers import router_macs
from topologies.spec import ECHO_PORT, Attack, Conduct, Lab, Point, Probe, Situation
from topologies.traffic import Scene, claim_address, exchanged, hostile, mark_bytes

RELAYED_AT_MOST = 1000
"""Frames that a relay takes up, so that two relays on a switch without a policy do not circle for ever."""
FLOOD_CYCLES = 4
FLOOD_BURST = 64
PAUSE_S = 0.02


@dataclass(frozen=True, slots=True)
class Stage:
    """The lab as situations see it: its namespaces (node -> namespace) and the probes that take place.

    mark: the first of FLOOD_CYCLES marks. send: puts frames on the wire at a point, and says how many (`Wires.send`).
    """

    lab: Lab
    namespaces: dict[str, str]
    probes: tuple[Probe, ...]
    mark: int
    send: Callable[[Point, Iterable[bytes]], Awaitable[int]]


@asynccontextmanager
async def during(stage: Stage, situations: tuple[Situation, ...]) -> AsyncIterator[dict[str, int]]:
    """All of them at once. Yields counters by situation: what each has sent so far. Raises NetworkError."""
    counters = {str(situation): 0 for situation in situations}
    async with contextlib.AsyncExitStack() as stack:
        for situation in situations:

            def count(number: int, name: str = str(situation)) -> None:
                counters[name] += number

            match situation.conduct:
                case Conduct.FORWARD:
                    stack.enter_context(_forwarding(stage, situation))
                case Conduct.BRIDGE:
                    stack.enter_context(_bridging(stage, situation))
                case Conduct.RELAY:
                    await stack.enter_async_context(_relaying(stage, situation, count))
                case Conduct.MAC_FLOOD:
                    await stack.enter_async_context(_flooding(stage, situation, count))
                case Conduct.FORGED_ARP:
                    await stack.enter_async_context(_claiming(stage, situation, count))
                case _ as unreachable:
                    assert_never(unreachable)
        yield counters


@contextlib.contextmanager
def _forwarding(stage: Stage, situation: Situation) -> Iterator[None]:
    """The node forwards, IPv4 and IPv6, and whoever probes another node routes through it."""
    router = stage.namespaces[situation.node]
    names = ("net.ipv4.ip_forward", "net.ipv6.conf.all.forwarding", "net.ipv4.conf.all.send_redirects")
    before = {name: netns.read_sysctl(router, name) for name in names}
    routes: set[tuple[str, str]] = set()
    for probe in stage.probes:
        for target in stage.lab.points(probe.target):
            for version in (4, 6):
                address = target.address(version)
                via = next((p.address(version) for p in stage.lab.points(situation.node) if p.address(version)), None)
                for source in stage.lab.points(probe.source):
                    same = source.address(version) == address
                    if (
                        address
                        and via
                        and source.address(version)
                        and not same
                        and situation.node not in (source.node, target.node)
                    ):
                        word = f"{address} via {via} dev {source.device}" + ("" if source.vid is None else " onlink")
                        routes.add((source.node, word))
    try:
        for name, value in zip(names, ("1", "1", "0"), strict=True):
            netns.sysctl(router, name, value)
        for node, words in sorted(routes):
            netns.batch([f"route replace {words}"], stage.namespaces[node])
        yield
    finally:
        for node, words in sorted(routes):
            with contextlib.suppress(NetworkError):
                netns.batch([f"route del {words.removesuffix(' onlink')}"], stage.namespaces[node])
        for name in names:
            netns.sysctl(router, name, before[name])


@contextlib.contextmanager
def _bridging(stage: Stage, situation: Situation) -> Iterator[None]:
    """A Linux bridge that joins the interfaces; it forwards at once."""
    namespace = stage.namespaces[situation.node]
    lines = ["link add joined type bridge forward_delay 0 stp_state 0"]
    lines += [f"link set dev {device} master joined" for device in situation.over]
    try:
        netns.batch([*lines, "link set dev joined up"], namespace)
        yield
    finally:
        with contextlib.suppress(NetworkError):
            netns.batch(["link del dev joined"], namespace)


@asynccontextmanager
async def _relaying(stage: Stage, situation: Situation, count: Callable[[int], None]) -> AsyncIterator[None]:
    """Whatever comes in goes out again at once, in many guises (`traffic.exchanged`)."""
    loop = asyncio.get_running_loop()
    points = stage.lab.points(situation.node)
    macs = (*(p.mac for p in stage.lab.all_points if p.node != situation.node), *router_macs(stage.lab))
    incoming: asyncio.Queue[tuple[Point, bytes]] = asyncio.Queue(RELAYED_AT_MOST)
    handles: list[socket.socket] = []

    def take(point: Point, handle: socket.socket) -> None:
        while (got := receive(handle)) is not None:
            frame, outgoing = got
            if not outgoing and not incoming.full():
                plain = frame[:12] + frame[16:] if frame[12:14] == b"\x81\x00" else frame
                incoming.put_nowait((point, plain))

    async def pass_on() -> None:
        for _ in range(RELAYED_AT_MOST):
            point, frame = await incoming.get()
            vids = tuple(dict.fromkeys([None, *(p.vid for p in points if p.interface == point.interface)]))
            with contextlib.suppress(NetworkError):
                count(await stage.send(point, exchanged(frame, point, macs, vids)))

    async with _beside(pass_on()):
        try:
            for interface in dict.fromkeys(p.interface for p in points):
                point = next(p for p in points if p.interface == interface)
                handles.append(packet_socket(stage.namespaces[situation.node], interface, receive=True))
                loop.add_reader(handles[-1], take, point, handles[-1])
            yield
        finally:
            for handle in handles:
                loop.remove_reader(handle)
                handle.close()


@asynccontextmanager
async def _beside(work: Coroutine[None, None, None]) -> AsyncIterator[None]:
    """The work goes on beside the block, and ends with it."""
    task = asyncio.create_task(work)
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


@asynccontextmanager
async def _flooding(stage: Stage, situation: Situation, count: Callable[[int], None]) -> AsyncIterator[None]:
    """Frames from ever new MACs: some thousand before anything is probed, and more meanwhile."""
    point = stage.lab.points(situation.node)[0]
    others = tuple(p for p in stage.lab.all_points if p.node != situation.node)

    async def cycle(number: int) -> None:
        flood = hostile(Attack.MAC_FLOOD, Scene(point, others, mark_bytes(stage.mark + number), ECHO_PORT + 2))
        while burst := list(islice(flood, FLOOD_BURST)):
            count(await stage.send(point, burst))
            if number:
                await asyncio.sleep(PAUSE_S)

    async def go_on() -> None:
        for number in range(1, FLOOD_CYCLES):
            await cycle(number)

    await cycle(0)
    async with _beside(go_on()):
        yield


@asynccontextmanager
async def _claiming(stage: Stage, situation: Situation, count: Callable[[int], None]) -> AsyncIterator[None]:
    """The victim's address is claimed by ARP, before anything is probed and again and again meanwhile."""
    point = stage.lab.points(situation.node)[0]
    claims = claim_address(point, stage.lab.points(situation.claiming or "")[0])
    count(await stage.send(point, claims))

    async def go_on() -> None:
        while True:
            await asyncio.sleep(PAUSE_S)
            count(await stage.send(point, claims))

    async with _beside(go_on()):
        yield
