"""Hosts joined by trunks and tunnels, with the flows of each, and what becomes of a frame on its way among them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from ipaddress import ip_address
from random import Random

from controller.carriers import find_carriers
from controller.flow.fields import LOCAL_PORT
from controller.flow.packet import Packet
from controller.inventory import Bindings, BridgePorts, bind
from controller.pipeline.compile import compile_bridge
from controller.pipeline.rulebook import make_rulebook
from controller.policy.check import check
from controller.policy.model import Dpid, Host, Members, Policy, Vni
from controller.proof.evaluate import NO_CONNECTIONS, Connections, LearnedFlow, Result, Tables, evaluate
from controller.tunnels import tunnel_port
from tests.unit.strategies import unused
from tests.unit.strategies_firewall import World

TRUNK = 200
"""The ofport of every host's trunk; no endpoint has it."""
TUNNEL = 300
"""TUNNEL + n is the ofport of the tunnel to host n."""
WAYS = ("trunk", "tunnels", "both")
"""both: the first two hosts have trunks, and all have tunnels."""
_MOST_HOPS = 4


@dataclass
class Place:
    """A host: its tables, and what it knows."""

    tables: Tables
    learned: tuple[LearnedFlow, ...] = ()
    connections: Connections = NO_CONNECTIONS


@dataclass
class Fabric:
    """world: all endpoints and uplinks, as if on one bridge. home: their ports -> the number of the host."""

    world: World
    home: dict[int, int]
    places: list[Place] = field(default_factory=list)
    results: list[Result] = field(default_factory=list)

    def load(self, policy: Policy) -> None:
        """Compile for every host; what hosts know stays."""
        self.world = replace(self.world, policy=policy)
        bridges = [
            BridgePorts(host.dpid or Dpid(0), f"br{at}", self._ports(at), True)
            for at, host in enumerate(policy.hosts.values())
        ]
        bindings = bind(policy, bridges, Bindings())
        carriers = find_carriers(policy, bridges, bindings).by_bridge
        book = make_rulebook(policy)
        for at, bridge in enumerate(bridges):
            dpid, ways = bridge.dpid, carriers.get(bridge.dpid, {})
            seats, uplinks = bindings.seats[dpid], bindings.uplinks[dpid]
            tables = Tables(compile_bridge(policy, seats, unused(), ways, book=book, uplinks=uplinks).flows())
            if at == len(self.places):
                self.places.append(Place(tables))
            self.places[at].tables = tables

    def _ports(self, at: int) -> dict[str, int]:
        policy, world = self.world.policy, self.world
        ports = {policy.endpoints[name].port: port for name, port in world.bindings.items() if self.home[port] == at}
        ports |= {policy.uplinks[name].port: port for name, port in world.uplinks.items() if self.home[port] == at}
        others = {tunnel_port(host): TUNNEL + n for n, host in enumerate(policy.hosts) if n != at}
        return {**ports, "up": TRUNK, **others}

    def send(self, port: int, frame: Packet) -> Counter[tuple[int, Packet]]:
        """What members and uplinks get. results: of every bridge that the frame, or what it became, came to."""
        self.results = []
        got: Counter[tuple[int, Packet]] = Counter()
        self._arrive(self.home[port], port, frame, 0, got, 0)
        return got

    def _arrive(self, at: int, port: int, frame: Packet, key: int, got: Counter[tuple[int, Packet]], hops: int) -> None:
        assert hops < _MOST_HOPS, "a frame goes round"
        place = self.places[at]
        result = evaluate(place.tables, port, frame, place.learned, connections=place.connections, tunnel_key=key)
        place.learned, place.connections = result.learned, result.connections
        self.results.append(result)
        for (to, out), tunnel_key in zip(result.outputs, result.keys, strict=True):
            if to in self.home:
                assert self.home[to] == at
                got[to, out] += 1
            elif to == TRUNK:
                for other, host in enumerate(self.world.policy.hosts.values()):
                    if other != at and host.trunk is not None:
                        self._arrive(other, TRUNK, out, 0, got, hops + 1)
            else:
                self._arrive(to - TUNNEL, TUNNEL + at, out, tunnel_key, got, hops + 1)


def join(world: World, random: Random, ways: str) -> Fabric | None:
    """The world on two or three hosts; None: it is none for hosts.

    Without networks in which a switch learns: several switches learn at other times than one. All networks with a
    router have the same uplink, if there is any: what others may do with outside addresses depends on where they are.
    """
    policy, n_hosts = world.policy, random.choice((2, 3))
    routed = [network for network in policy.networks.values() if network.routed]
    if len(policy.uplinks) > 1 or any(network.uplink not in (None, *policy.uplinks) for network in routed):
        return None
    if policy.uplinks and any(network.uplink is None for network in routed):
        return None
    hosts = {f"box{n}": _host(n, ways) for n in range(n_hosts)}
    of: Mapping[str, int] = {name: random.randrange(n_hosts) for name in (*policy.endpoints, *policy.uplinks)}
    networks = {
        name: replace(network, members=Members.DECLARED, vni=Vni(5000 + (network.vlan or 0)))
        for name, network in policy.networks.items()
    }
    joined = replace(
        policy,
        networks=networks,
        hosts=hosts,
        endpoints={n: replace(e, host=f"box{of[n]}") for n, e in policy.endpoints.items()},
        uplinks={n: replace(u, host=f"box{of[n]}") for n, u in policy.uplinks.items()},
    )
    bound = {name: port for name, port in world.bindings.items() if port != LOCAL_PORT}
    if check(joined):
        return None
    home = {port: of[name] for name, port in (*bound.items(), *world.uplinks.items())}
    fabric = Fabric(World(joined, bound, world.uplinks), home)
    fabric.load(joined)
    return fabric


def _host(n: int, ways: str) -> Host:
    trunk = "up" if ways == "trunk" or (ways == "both" and n < 2) else None
    vtep = None if ways == "trunk" else ip_address(f"192.0.2.{n + 1}")
    return Host(f"box{n}", Dpid(n + 1), trunk=trunk, vtep=vtep)
