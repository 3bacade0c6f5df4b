"""Frames that follow one another in a `strategies_firewall.World`: openings, and what they bring about.

What comes next depends on what was delivered: answers, ICMP errors, the same again. So a story is told frame by frame:
`Story.next` says one, and hears what became of it by `Story.heard`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from ipaddress import ip_address

from controller.flow import packet as p
from controller.flow.packet import Packet
from controller.policy.meaning.uplinks import longest_prefix
from controller.policy.model import Address, Attach, Endpoint, Network, Uplink, ips_in
from tests.unit.meaning_world import turned
from tests.unit.strategies import (
    FOREIGN_IPV4,
    FOREIGN_IPV6,
    NOBODY,
    STRANGERS,
    Make,
    Pick,
    changed,
    make_arrival,
)
from tests.unit.strategies_firewall import GATEWAYS, UNUSED, WORLD, World, outside_addresses

Arrival = tuple[int, Packet]
"""(ofport, frame)"""
HOP_MAC, NEAR_MAC = 0x02000000FF01, 0x02000000FF02
SOURCE_PORTS, TARGET_PORTS = (1000, 1001, 5000, 2000), (80, 23, 8001, 53)
_REMEMBERED = 8
_ALL_IPV4 = int(ip_address("255.255.255.255"))


@dataclass
class Story:
    """delivered: what the last frames have become, latest last. told: every frame so far."""

    pick: Pick
    world: World
    delivered: list[Arrival] = field(default_factory=list)
    told: list[Arrival] = field(default_factory=list)
    waiting: list[Arrival] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Mostly the next routers make themselves known first."""
        for name, port in self.world.uplinks.items():
            uplink = self.world.policy.uplinks[name]
            for via in dict.fromkeys(route.via for route in uplink.routes):
                if self.pick([True, True, True, False]):
                    self.waiting.append((port, _announcement(uplink, self._mac_of(uplink), via, HOP_MAC)))

    def next(self) -> Arrival:
        arrival = self.waiting.pop(0) if self.waiting else self._next()
        if is_even(arrival[1]):
            arrival = arrival[0], arrival[1].with_(nw_proto=p.UDP, udp_src=self.pick(SOURCE_PORTS), udp_dst=80)
        self.told.append(arrival)
        return arrival

    def heard(self, deliveries: set[Arrival]) -> None:
        """What became of the last frame."""
        self.delivered = [*self.delivered, *sorted(deliveries, key=str)][-_REMEMBERED:]

    def _next(self) -> Arrival:
        kinds = ["open"] * 8 + ["answer"] * 6 + ["error", "again", "neighbor", "question", "plain"] + ["outside"] * 5
        match self.pick(kinds):
            case "answer" if self.delivered:
                return self.answer(self.pick(self.delivered))
            case "error" if self.delivered:
                return self._error(self.pick(self.delivered))
            case "again" if self.told:
                return self.pick(self.told[-_REMEMBERED:])
            case "outside" if self.world.uplinks:
                return self._from_outside()
            case "neighbor" if self.world.uplinks:
                return self._from_neighbor()
            case "question" if self.world.bindings:
                return self._asking_the_router()
            case "open" if self.world.bindings:
                return self._opening()
        return make_arrival(self.pick, self.world.policy, self.world.bindings)

    # What follows from a delivery

    def answer(self, delivery: Arrival) -> Arrival:
        port, frame = delivery
        if frame.eth_type == p.ETH_ARP:
            sha = self._own_mac(port, frame)
            reply = p.arp_reply(sha, frame.get("arp_tpa"), frame.get("arp_sha"), frame.get("arp_spa"))
            return port, reply.with_tags(*frame.tags)
        return port, turned(frame).with_(nw_ttl=self.pick([0] * 9 + [1]))

    def _error(self, delivery: Arrival) -> Arrival:
        """What the receiver, or a router on its side, has to say about it."""
        port, frame = delivery
        name = {p.ETH_IPV4: "ip_dst", p.ETH_IPV6: "ipv6_dst"}.get(frame.eth_type)
        if name is None:
            return self.answer(delivery)
        version = 4 if frame.eth_type == p.ETH_IPV4 else 6
        source = self.pick([frame.get(name)] * 3 + [int(ip) for ip in WORLD if ip.version == version])
        kind, code = self.pick([(3, 3), (3, 1), (11, 0)] if version == 4 else [(1, 4), (3, 0), (2, 0)])
        macs = self._own_mac(port, frame), frame.eth_src
        return port, p.icmp_error(macs, source, frame.with_tags(), kind, code).with_tags(*frame.tags)

    def _own_mac(self, port: int, frame: Packet) -> int:
        who = self.world.ports.get(port)
        mac = who.mac if isinstance(who, Endpoint) else None
        return frame.eth_dst if mac is None else mac.value

    # What members begin

    def _sender(self) -> tuple[Endpoint, Network, int, tuple[int, ...]]:
        """Somebody in one of its networks, mostly with an address there; the port, and the tag there."""
        policy = self.world.policy
        bound = [policy.endpoints[name] for name in sorted(self.world.bindings)]
        seats = [(member, policy.networks[name]) for member in bound for name in member.networks]
        able = [(m, network) for m, network in seats if m.mac is None or ips_in(m, network)]
        sender, network = self.pick([*able * 9, *seats])
        tags = (int(network.vlan or 0),) if sender.attach is Attach.TAGGED else ()
        return sender, network, self.world.bindings[sender.name], tags

    def _opening(self) -> Arrival:
        sender, network, port, tags = self._sender()
        own = list(ips_in(sender, network)) or [ip_address("10.0.0.77")]
        source = self.pick(own * 12 + _beyond(sender) * 3 + WORLD[:1])
        mac = sender.mac.value if sender.mac is not None else self.pick(STRANGERS).value
        near = [m for m in self.world.policy.members[network.name] if m.mac is not None and m is not sender]
        router = self.world.policy.defaults.router_mac.value
        target_mac, targets = router, self._far(network)
        if near and (not network.routed or self.pick([True, False, False])):
            target = self.pick(near)
            target_mac = target.mac.value if target.mac is not None else router
            targets = [*ips_in(target, network), *_beyond(target)]
        fit = [int(ip) for ip in targets if ip.version == source.version]
        frame = self._service((mac, target_mac), int(source), self.pick(fit or self._any(source.version)))
        return port, self._altered(frame).with_tags(*tags)

    def _far(self, network: Network) -> list[Address]:
        """What may be meant at the router: members, its own addresses, the world, and what rewrites use."""
        policy = self.world.policy
        outside, odd = outside_addresses(policy), [*network.gateways, *GATEWAYS[:2], *map(ip_address, UNUSED)]
        return [*self._reached() * 3, *WORLD * 2, *outside * 3, *odd]

    def _reached(self) -> list[Address]:
        """The addresses of members to whom a router leads."""
        policy = self.world.policy
        routed = [network for network in policy.networks.values() if network.routed]
        members = [(m, network) for network in routed for m in policy.members[network.name]]
        return [ip for m, network in members if m.name in self.world.bindings for ip in ips_in(m, network)]

    def _any(self, version: int) -> list[int]:
        return FOREIGN_IPV4 if version == 4 else FOREIGN_IPV6

    def _service(self, eth: tuple[int, int], source: int, target: int) -> Packet:
        is_ipv4 = self._version(source, target) == 4
        ip, ports = (source, target), (self.pick(SOURCE_PORTS), self.pick(TARGET_PORTS))
        tcp, udp, sctp = (p.ipv4_tcp, p.ipv4_udp, p.ipv4_sctp) if is_ipv4 else (p.ipv6_tcp, p.ipv6_udp, p.ipv6_sctp)
        to_all = (p.BROADCAST, _ALL_IPV4) if is_ipv4 else (p.multicast_mac(p.ALL_NODES), p.ALL_NODES)
        common: list[Make] = [
            lambda: tcp(eth, ip, ports),
            lambda: udp(eth, ip, ports),
            lambda: tcp(eth, ip, ports),
            lambda: p.ipv4_icmp(eth, ip) if is_ipv4 else p.icmpv6(eth, ip, 128),
        ]
        rare: list[Make] = [
            lambda: sctp(eth, ip, ports),
            lambda: tcp(eth, ip, ports).with_(nw_proto=47),
            lambda: udp((eth[0], to_all[0]), (source, to_all[1]), ports),
        ]
        return self.pick([*common * 4, *rare])()

    def _version(self, source: int, target: int) -> int:
        return 4 if max(source, target) < 1 << 32 else 6

    def _altered(self, frame: Packet) -> Packet:
        if self.pick([False] * 9 + [True]):
            frame = frame.with_(nw_ttl=self.pick([1, 2, 255]))
        return changed(self.pick, frame) if self.pick([False] * 7 + [True]) else frame

    def _asking_the_router(self) -> Arrival:
        """Who is the gateway, or some other address of the router? And is it there?"""
        sender, network, port, tags = self._sender()
        mac = sender.mac.value if sender.mac is not None else STRANGERS[0].value
        router = self.world.policy.defaults.router_mac.value
        asked = self.pick([*(network.gateways or GATEWAYS) * 3, *GATEWAYS, *outside_addresses(self.world.policy)])
        own = [int(ip) for ip in ips_in(sender, network) if ip.version == asked.version]
        source, target = self.pick([*own, 0] if own else [0]), int(asked)
        if asked.version == 4:
            options = [
                p.arp_request(mac, source, target),
                p.arp_request(mac, source, target, router),
                p.ipv4_icmp((mac, router), (source, target)),
                p.ipv4_icmp((mac, router), (source, target), 8, 1),
            ]
        else:
            asks = p.neighbor_solicitation(mac, source, target, mac if source else 0)
            echo = p.icmpv6((mac, router), (source, target), 128)
            options = [asks, asks.with_(eth_dst=router, ipv6_dst=target), echo, echo.with_(nw_ttl=1)]
        return port, self.pick(options).with_tags(*tags)

    # What comes from outside

    def _at_uplink(self) -> tuple[Uplink, int, int]:
        name = self.pick(sorted(self.world.uplinks))
        uplink = self.world.policy.uplinks[name]
        return uplink, self.world.uplinks[name], self._mac_of(uplink)

    def _mac_of(self, uplink: Uplink) -> int:
        return (uplink.mac or self.world.policy.defaults.router_mac).value

    def _from_outside(self) -> Arrival:
        uplink, port, mac = self._at_uplink()
        policy = self.world.policy
        members = self._reached()
        targets = [*members * 2, *outside_addresses(policy) * 6, *GATEWAYS[:1], *WORLD[:1]]
        target = self.pick(targets)
        there = [ip for ip in WORLD if longest_prefix(uplink, ip) >= 0]
        sources = [ip for ip in [*there * 9, *WORLD] if ip.version == target.version]
        foreign = [ip for ip in [*members, *outside_addresses(policy)] if ip.version == target.version]
        source = self.pick([*sources, *foreign])
        frame = self._service((HOP_MAC, mac), int(source), int(target))
        tags = self.pick([()] * 19 + [(10,)])
        return self.pick([port] * 29 + [NOBODY]), self._altered(frame).with_tags(*tags)

    def _from_neighbor(self) -> Arrival:
        """ARP or ND, about itself and about us, and not always honest."""
        uplink, port, mac = self._at_uplink()
        near = [route.via for route in uplink.routes] + WORLD
        own = [attached.ip for attached in uplink.addresses] + outside_addresses(self.world.policy)
        asker = self.pick([*near, *near, *own])
        fit = [ip for ip in [*own, *own, *near] if ip.version == asker.version]
        asked, teller = int(self.pick(fit)), self.pick([HOP_MAC, NEAR_MAC])
        if asker.version == 4:
            options = [
                p.arp_request(teller, int(asker), asked),
                p.arp_request(teller, int(asker), asked, mac),
                p.arp_request(teller, 0, asked),
                p.arp_reply(teller, int(asker), mac, asked),
            ]
        else:
            asks = p.neighbor_solicitation(teller, int(asker), asked, teller)
            local = int(ip_address("fe80::1"))
            options = [
                asks,
                asks.with_(nd_sll=0, nd_options_type=0),
                asks.with_(ipv6_src=local),
                p.neighbor_solicitation(teller, 0, asked),
                p.neighbor_advertisement((teller, mac), (int(asker), asked), int(asker), teller),
                p.neighbor_advertisement((teller, mac), (int(asker), asked), int(asker)),
                p.icmpv6((teller, p.multicast_mac(p.ALL_NODES)), (local, p.ALL_NODES), 134),
            ]
        frame = self.pick(options)
        return port, changed(self.pick, frame) if self.pick([False] * 5 + [True]) else frame


def is_even(frame: Packet) -> bool:
    """Whether nothing but addresses tells its two ends apart.

    A member that sends such to itself, by way of the router, is asked and answered by the same packet: which it is,
    conntrack decides as it likes.
    """
    ends = [(frame.get(f"{name}_src"), frame.get(f"{name}_dst")) for name in ("tcp", "udp", "sctp")]
    icmp = {p.ETH_IPV4: p.ICMP, p.ETH_IPV6: p.ICMPV6}.get(frame.eth_type)
    return icmp is not None and frame.get("nw_proto") != icmp and all(one == other for one, other in ends)


def _beyond(member: Endpoint) -> list[Address]:
    """A few addresses that may be behind a member that is a router."""
    return [ip for ip in WORLD if any(ip in cidr for cidr in member.routes if cidr.version == ip.version)]


def _announcement(uplink: Uplink, mac: int, address: Address, told: int) -> Packet:
    """A neighbor says its address to the router."""
    own = next(int(attached.ip) for attached in uplink.addresses if attached.version == address.version)
    if address.version == 4:
        return p.arp_reply(told, int(address), mac, own)
    return p.neighbor_advertisement((told, mac), (int(address), own), int(address), told)
