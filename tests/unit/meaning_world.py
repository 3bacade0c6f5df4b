"""A small world for sentences about rules, the router and the outside, in which packets follow one another."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import ip_address, ip_interface, ip_network
from typing import Any

from controller.flow import packet as p
from controller.flow.fields import Punt
from controller.flow.packet import Packet
from controller.mac import Mac
from controller.policy.firewall import DEFAULT_TIER, Action, Group, Peers, PortRange, Rule, Service
from controller.policy.meaning import NOTHING_KNOWN, Known, Verdict, judge
from controller.policy.model import (
    DEFAULT_ROUTER_MAC,
    OUTSIDE,
    Defaults,
    Endpoint,
    Mode,
    Network,
    Policy,
    Route,
    Uplink,
    Vlan,
)
from controller.policy.rewrites import Rewrite

ROUTER = DEFAULT_ROUTER_MAC.value
ANY = Service()
Make = Callable[[tuple[int, int], tuple[int, int], tuple[int, int]], Packet]
HOP_MAC, CLIENT_MAC = 0x02000000FF01, 0x02000000FF02


def ip(text: str) -> int:
    return int(ip_address(text))


def endpoint(name: str, networks: str, number: int, ips: str, routes: str = "", **labels: str) -> Endpoint:
    addresses = tuple(map(ip_address, ips.split()))
    prefixes = tuple(map(ip_network, routes.split()))
    mac = Mac(0x020000000000 | number)
    return Endpoint(
        name, tuple(networks.split()), name, mac=mac, ips=addresses, labels=tuple(labels.items()), routes=prefixes
    )


LAN = Network(
    "lan",
    Vlan(10),
    cidrs=(ip_network("10.1.0.0/24"), ip_network("2001:db8:1::/64")),
    mode=Mode.ROUTED,
    gateways=(ip_address("10.1.0.254"), ip_address("2001:db8:1::fe")),
    uplink="wan",
)
OFFICE = Network(
    "office",
    Vlan(20),
    cidrs=(ip_network("10.2.0.0/24"), ip_network("2001:db8:2::/64")),
    mode=Mode.ROUTED,
    gateways=(ip_address("10.2.0.254"), ip_address("2001:db8:2::fe")),
)
DMZ = Network(
    "dmz",
    Vlan(30),
    cidrs=(ip_network("10.3.0.0/24"),),
    mode=Mode.NAT,
    gateways=(ip_address("10.3.0.254"),),
    uplink="wan",
)
GREEN = Network("green", Vlan(40), cidrs=(ip_network("10.4.0.0/24"), ip_network("fd00:4::/64")))
WAN = Uplink(
    "wan",
    "eth1",
    (ip_interface("172.16.200.1/24"), ip_interface("2001:db8:ff::1/64")),
    routes=(
        Route(ip_network("0.0.0.0/0"), ip_address("172.16.200.254")),
        Route(ip_network("2001:db8:8::/48"), ip_address("2001:db8:ff::fe")),
    ),
)
PRIVATE = Uplink(
    "private",
    "eth2",
    (ip_interface("172.17.0.1/24"),),
    routes=(Route(ip_network("172.20.0.0/16"), ip_address("172.17.0.9")),),
)
MEMBERS = (
    endpoint("lan1", "lan", 1, "10.1.0.1 2001:db8:1::1"),
    endpoint("lan2", "lan", 2, "10.1.0.2 2001:db8:1::2"),
    endpoint("office1", "office", 3, "10.2.0.1 2001:db8:2::1"),
    endpoint("web1", "dmz", 4, "10.3.0.1", app="web"),
    endpoint("web2", "dmz", 5, "10.3.0.2", app="web"),
    endpoint("green1", "green", 6, "10.4.0.1 fd00:4::1"),
    endpoint("green2", "green", 7, "10.4.0.2 fd00:4::2", app="web"),
    endpoint("fw", "green", 8, "10.4.0.9", "0.0.0.0/0"),
    endpoint("away", "office", 9, "10.2.0.9"),
)
PORTS = {member.name: at + 1 for at, member in enumerate(MEMBERS) if member.name != "away"}
UPLINKS = {"wan": 100, "private": 101}
NEIGHBORS = Known(
    neighbors={
        ("wan", ip_address("172.16.200.254")): Mac(HOP_MAC),
        ("wan", ip_address("2001:db8:ff::fe")): Mac(HOP_MAC),
        ("wan", ip_address("172.16.200.77")): Mac(CLIENT_MAC),
    }
)


def world(*rules: Rule, rewrites: tuple[Rewrite, ...] = (), groups: tuple[Group, ...] = (), **more: Any) -> Policy:
    """All of the above with these. more: other fields of Defaults, and `tiers`."""
    return Policy(
        {n.name: n for n in (LAN, OFFICE, DMZ, GREEN)},
        {m.name: m for m in MEMBERS},
        {},
        uplinks={u.name: u for u in (WAN, PRIVATE)},
        groups={g.name: g for g in groups},
        tiers=more.pop("tiers", (DEFAULT_TIER,)),
        rules={r.name: r for r in rules},
        rewrites={r.name: r for r in rewrites},
        defaults=Defaults(**more),
    )


def peers(text: str) -> Peers:
    """Names and prefixes, parted by spaces; "any" is anybody."""
    words = [word for word in text.split() if word != "any"]
    networks = {network.name for network in (LAN, OFFICE, DMZ, GREEN)}
    members = {member.name for member in MEMBERS}
    cidrs = tuple(ip_network(word) for word in words if "." in word or ":" in word)
    names = [word for word in words if "." not in word and ":" not in word and word != OUTSIDE]
    return Peers(
        endpoints=tuple(name for name in names if name in members),
        networks=tuple(name for name in names if name in networks),
        groups=tuple(name for name in names if name not in members | networks),
        outside=OUTSIDE in words,
        cidrs=cidrs,
    )


def rule(action: Action, origin: str = "any", target: str = "any", service: Service = ANY, **more: Any) -> Rule:
    """Called by its action, unless `name` is given. more: other fields of Rule."""
    name = more.pop("name", action.value)
    return Rule(name, action, origin=peers(origin), target=peers(target), service=service, **more)


def tcp(*ports: int, source_ports: tuple[tuple[int, int], ...] = ()) -> Service:
    ranges = tuple(PortRange(first, last) for first, last in source_ports)
    return Service(p.TCP, tuple(PortRange(port, port) for port in ports), ranges)


NOTHING_SENT = Verdict(frozenset(), NOTHING_KNOWN, ())


@dataclass
class Play:
    """Frames one after the other, with what is known between them. policy may be replaced on the way."""

    policy: Policy
    known: Known = NEIGHBORS
    last: Verdict = NOTHING_SENT

    def send(self, who: str, frame: Packet) -> set[str]:
        """Who gets something of a frame from a member or at an uplink."""
        port = {**PORTS, **UPLINKS}[who]
        self.last = judge(self.policy, PORTS, port, frame, self.known, uplinks=UPLINKS)
        self.known = self.last.known
        names = {port: name for name, port in {**PORTS, **UPLINKS}.items()}
        return {names[port] for port, _ in self.last.deliveries}

    @property
    def sent(self) -> Packet:
        """The one frame that the last one became."""
        ((_, frame),) = self.last.deliveries
        return frame

    @property
    def told(self) -> set[tuple[Punt, str]]:
        """What the controller was handed of the last frame, and for which rule."""
        return {(punt.kind, punt.rule) for punt in self.last.punts}


def eth(source: str, target: str) -> tuple[int, int]:
    """MACs of a frame from a member to another, or to the router where the other one is in no network of its own."""
    one, other = policy_member(source), policy_member(target)
    assert one.mac is not None
    assert other.mac is not None
    near = set(one.networks) & set(other.networks)
    return one.mac.value, other.mac.value if near else ROUTER


def policy_member(name: str) -> Endpoint:
    return next(member for member in MEMBERS if member.name == name)


def address(name: str, version: int = 4) -> int:
    """A member's first of the version; or the address that is written there."""
    if "." in name or ":" in name:
        return ip(name)
    return int(next(each for each in policy_member(name).ips if each.version == version))


def between(source: str, target: str, ports: tuple[int, int] = (1000, 80), make: Make = p.ipv4_udp) -> Packet:
    """What a member sends to another, or to an address that only the router knows."""
    macs = eth(source, target) if "." not in target else (eth(source, source)[0], ROUTER)
    return make(macs, (address(source), address(target)), ports)


def ping(source: str, target: str, version: int = 4) -> Packet:
    is_far = "." in target or ":" in target
    macs = (eth(source, source)[0], ROUTER) if is_far else eth(source, target)
    ends = address(source, version), address(target, version)
    return p.ipv4_icmp(macs, ends) if version == 4 else p.icmpv6(macs, ends, 128)


def from_outside(source: str, target: str, ports: tuple[int, int] = (5000, 80), make: Make = p.ipv4_udp) -> Packet:
    """What comes in at an uplink, to an address or a member."""
    return make((HOP_MAC, ROUTER), (ip(source), address(target)), ports)


def turned(frame: Packet) -> Packet:
    """What answers a frame, from whoever got it."""
    found = frame.with_(eth_src=frame.eth_dst, eth_dst=frame.eth_src)
    names = [("ip_src", "ip_dst"), ("ipv6_src", "ipv6_dst")]
    names += [(f"{name}_src", f"{name}_dst") for name in ("tcp", "udp", "sctp")]
    for one, other in names:
        if p.has_header(one, frame.get):
            found = found.with_(**{one: frame.get(other), other: frame.get(one)})
    if frame.get("icmp_type") == 8:
        return found.with_(icmp_type=0)
    return found.with_(icmpv6_type=129) if frame.get("icmpv6_type") == 128 else found


def error(frame: Packet, source: str = "", kind: int = 3, code: int = 1) -> Packet:
    """What whoever got a frame, or a router at `source` on the way, tells its sender."""
    name = "ip_dst" if frame.eth_type == p.ETH_IPV4 else "ipv6_dst"
    return p.icmp_error((frame.eth_dst, frame.eth_src), ip(source) if source else frame.get(name), frame, kind, code)
