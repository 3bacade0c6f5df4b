"""What a policy means for a packet: the reference that compiled flows are held against. PURE.

Written from the policy's words only and without any knowledge of tables, so that agreement of the two says something.
`judge` follows a frame through seven steps: port, network, source check, answers, forwarding, egress check, delivery.
It favours being read over being fast. `reachability` answers who reaches whom without a packet.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Network
from types import MappingProxyType
from typing import Final

from controller.flow.packet import (
    ADVERT,
    ETH_ARP,
    ETH_IPV4,
    ETH_IPV6,
    ICMPV6,
    SOLICIT,
    SOLICITED_OVERRIDE,
    TLL_OPTION,
    UDP,
    Packet,
)
from controller.mac import Mac
from controller.policy.model import Attach, Endpoint, Members, Network, Policy, ips_in

Learned = Mapping[tuple[str, Mac], int]
"""(network name, MAC) -> the ofport that MAC was last seen on. Never mutated."""
NOTHING_LEARNED: Final[Learned] = MappingProxyType({})

_ROUTER_ADVERT: Final = 134
_REDIRECT: Final = 137
_ARP_REQUEST: Final = 1
_ARP_REPLY: Final = 2
_ALL_ONES_IPV4: Final = 0xFFFFFFFF
_DHCP: Final = {"ip_src": 0, "ip_dst": _ALL_ONES_IPV4, "nw_proto": UDP, "udp_src": 68, "udp_dst": 67}


@dataclass(frozen=True, slots=True)
class Verdict:
    """deliveries: (ofport, frame as it leaves). learned: what is known afterwards.

    why: for every network the frame was in, one sentence on why it was dropped there or towards whom; empty where
    nothing was held back.
    """

    deliveries: frozenset[tuple[int, Packet]]
    learned: Learned
    why: tuple[str, ...]


def deliver(
    policy: Policy, bindings: Mapping[str, int], in_port: int, frame: Packet, learned: Learned = NOTHING_LEARNED
) -> tuple[frozenset[tuple[int, Packet]], Learned]:
    """Who gets what of a frame that arrives at in_port, and what is learned then. bindings: endpoint name -> ofport."""
    verdict = judge(policy, bindings, in_port, frame, learned)
    return verdict.deliveries, verdict.learned


def judge(
    policy: Policy,
    bindings: Mapping[str, int],
    in_port: int,
    frame: Packet,
    learned: Learned = NOTHING_LEARNED,
    *,
    advertises: bool = True,
) -> Verdict:
    """As `deliver`, with reasons. advertises: whether the switch can make neighbor advertisements."""
    sender = next((policy.endpoints[name] for name, port in bindings.items() if port == in_port), None)
    if sender is None:
        return Verdict(frozenset(), learned, (f"port {in_port} belongs to no endpoint",))
    networks, refusal = _networks_of(policy, sender, frame)
    if refusal:
        return Verdict(frozenset(), learned, (refusal,))
    deliveries: set[tuple[int, Packet]] = set()
    why: list[str] = []
    for network in networks:
        there = _Here(policy, bindings, network, learned, advertises)
        found, learned, reasons = there.judge(sender, frame.with_tags())
        deliveries |= found
        why += (f"{network.name}: {reason}" for reason in reasons)
    return Verdict(frozenset(deliveries), learned, tuple(why))


def _networks_of(policy: Policy, sender: Endpoint, frame: Packet) -> tuple[list[Network], str]:
    """The networks a frame enters, or none and why."""
    networks = [policy.networks[name] for name in sender.networks]
    if sender.attach is Attach.UNTAGGED:
        return ([], f"{sender.name} is untagged and sent a tag") if frame.tags else (networks, "")
    if sender.native is not None and not frame.tags:
        return [policy.networks[sender.native]], ""
    if len(frame.tags) != 1:
        return [], f"{sender.name} is tagged and sent {len(frame.tags)} tags"
    chosen = [network for network in networks if network.vlan == frame.tags[0] and network.name != sender.native]
    return chosen, "" if chosen else f"{sender.name} has no network with VLAN {frame.tags[0]}"


def _addresses(endpoint: Endpoint, network: Network, version: int) -> frozenset[int]:
    """What an endpoint may call itself in a network. IPv6: link-local too, but only beside a declared address."""
    declared = frozenset(int(ip) for ip in ips_in(endpoint, network) if ip.version == version)
    if version == 6 and declared and endpoint.mac:
        return declared | {int(endpoint.mac.link_local)}
    return declared


def _is_group(ipv6: int) -> bool:
    return ipv6 >> 120 == 0xFF


@dataclass(frozen=True)
class _Here:
    """One network on one bridge, for one frame without tags."""

    policy: Policy
    bindings: Mapping[str, int]
    network: Network
    learned: Learned
    advertises: bool

    @property
    def members(self) -> list[Endpoint]:
        return [member for member in self.policy.members[self.network.name] if member.name in self.bindings]

    @property
    def declared(self) -> list[Endpoint]:
        return [member for member in self.members if member.mac is not None]

    def judge(self, sender: Endpoint, frame: Packet) -> tuple[set[tuple[int, Packet]], Learned, list[str]]:
        reason, learned = self.refuse_macs(sender, frame), self.learned
        if not reason and sender.mac is None:
            learned, reason = self.learn(sender, frame)
        reason = reason or self.refuse_source(sender, frame)
        if reason:
            return set(), learned, [reason]
        answer = self.answer(frame)
        if answer is not None:
            reason = self.refuse_target(sender, answer)
            return (set() if reason else {self.deliver(sender, answer)}), learned, [reason] if reason else []
        targets, reason = self.forward(sender, frame)
        deliveries = set()
        reasons = [reason] if reason else []
        for target in targets:
            reason = self.refuse_target(target, frame)
            if reason:
                reasons.append(f"not to {target.name}: {reason}")
            else:
                deliveries.add(self.deliver(target, frame))
        return deliveries, learned, reasons

    # Step 3: who speaks

    def refuse_macs(self, sender: Endpoint, frame: Packet) -> str:
        """Why the sender may not send from this MAC or to that one; "" if it may, as far as there is room to learn."""
        if frame.eth_dst >> 4 == 0x0180C200000:
            return "the destination is reserved for the link (IEEE 802.1Q table 8-1)"
        if frame.eth_src >> 40 & 1 or not frame.eth_src:
            return "the source is no unicast address"
        if sender.mac is not None:
            return "" if frame.eth_src == sender.mac.value else f"the source is not the MAC of {sender.name}"
        owner = next((m.name for m in self.declared if m.mac and m.mac.value == frame.eth_src), None)
        return f"the source is the MAC of {owner}" if owner else ""

    def refuse_source(self, sender: Endpoint, frame: Packet) -> str:
        """Why the sender may not send this from its MAC; "" if it may. A MAC is learned from refused frames too."""
        if frame.eth_type not in (ETH_ARP, ETH_IPV4, ETH_IPV6):
            return f"ethertype {frame.eth_type:#06x} does not pass"
        if sender.mac is None:
            return self._refuse_stranger(frame)
        if frame.eth_type == ETH_IPV4:
            return self._refuse_ipv4_source(sender, frame)
        if frame.eth_type == ETH_ARP:
            return self._refuse_arp_source(sender, sender.mac, frame)
        return self._refuse_ipv6_source(sender, sender.mac, frame)

    def _refuse_stranger(self, frame: Packet) -> str:
        """A learning port may use every address that no declared member here has."""
        if frame.eth_type == ETH_ARP and frame.get("arp_op") not in (_ARP_REQUEST, _ARP_REPLY):
            return "this is no ARP request or reply about Ethernet and IPv4"
        name, version = {ETH_IPV4: ("ip_src", 4), ETH_ARP: ("arp_spa", 4), ETH_IPV6: ("ipv6_src", 6)}[frame.eth_type]
        owner = next((m.name for m in self.declared if frame.get(name) in _addresses(m, self.network, version)), None)
        if owner:
            return f"the source address belongs to {owner}"
        if frame.get("nw_proto") != ICMPV6 or frame.eth_type != ETH_IPV6:
            return ""
        if reason := self._refuse_discovery(frame):
            return reason
        if frame.get("icmpv6_type") == ADVERT:
            target = frame.get("nd_target")
            owner = next((m.name for m in self.declared if target in _addresses(m, self.network, 6)), None)
        return f"the advertised address belongs to {owner}" if owner else ""

    def _refuse_ipv4_source(self, sender: Endpoint, frame: Packet) -> str:
        if frame.get("ip_src") in _addresses(sender, self.network, 4):
            return ""
        if all(frame.get(name) == value for name, value in _DHCP.items()):
            return ""
        return f"the IPv4 source is not one of {sender.name}"

    def _refuse_arp_source(self, sender: Endpoint, mac: Mac, frame: Packet) -> str:
        if frame.get("arp_sha") != mac.value:
            return f"the ARP sender is not the MAC of {sender.name}"
        spa = frame.get("arp_spa")
        own = _addresses(sender, self.network, 4)
        is_probe = spa == 0 and frame.get("arp_op") == _ARP_REQUEST and frame.get("arp_tpa") in own
        if spa in own or is_probe:
            return ""
        return f"the ARP sender address is not one of {sender.name}"

    def _refuse_ipv6_source(self, sender: Endpoint, mac: Mac, frame: Packet) -> str:
        own = _addresses(sender, self.network, 6)
        if not own:
            return f"{sender.name} has no IPv6 address"
        source = frame.get("ipv6_src")
        is_icmp = frame.get("nw_proto") == ICMPV6
        if source not in own and not (source == 0 and is_icmp and _is_group(frame.get("ipv6_dst"))):
            return f"the IPv6 source is not one of {sender.name}"
        if is_icmp and (reason := self._refuse_discovery(frame)):
            return reason
        kind = frame.get("icmpv6_type") if is_icmp else None
        if kind == SOLICIT and source == 0 and not (frame.get("nd_target") in own and frame.get("nd_sll") == 0):
            return f"the probe is not for an address of {sender.name}"
        if kind == SOLICIT and frame.get("nd_sll") not in (0, mac.value):
            return f"the solicitation names a MAC that is not the one of {sender.name}"
        if kind == ADVERT and (frame.get("nd_target") not in own or frame.get("nd_tll") not in (0, mac.value)):
            return f"the advertisement is not of an address and the MAC of {sender.name}"
        return ""

    def _refuse_discovery(self, frame: Packet) -> str:
        """Why nobody may send this ICMPv6 message; "" if somebody may."""
        kind = frame.get("icmpv6_type")
        if not kind:
            return "the message has no type: it is in a later fragment"
        if kind in (_ROUTER_ADVERT, _REDIRECT):
            return "router advertisements and redirects are not for members to send"
        if kind in (SOLICIT, ADVERT) and frame.get("icmpv6_code") != 0:
            return "Neighbor Discovery has code 0 (RFC 4861 section 7.1)"
        if kind in (SOLICIT, ADVERT) and frame.get("nd_target") == 0:
            return "the message is about no address"
        return ""

    def learn(self, sender: Endpoint, frame: Packet) -> tuple[Learned, str]:
        port, name = self.bindings[sender.name], self.network.name
        key = (name, Mac(frame.eth_src))
        mine = [known for known, where in self.learned.items() if where == port and known[0] == name]
        if key not in mine and len(mine) >= self.network.macs_per_port:
            return self.learned, f"{sender.name} has {self.network.macs_per_port} MACs already"
        return MappingProxyType({**self.learned, key: port}), ""

    # Step 4: what the switch answers by itself

    def answer(self, frame: Packet) -> Packet | None:
        if self._asks_arp(frame):
            tpa = frame.get("arp_tpa")
            owner = next((m for m in self.declared if tpa in _addresses(m, self.network, 4)), None)
            if owner and owner.mac:
                mac = owner.mac.value
                told = frame.with_(arp_tha=frame.get("arp_sha"), arp_tpa=frame.get("arp_spa"), eth_dst=frame.eth_src)
                return told.with_(arp_op=_ARP_REPLY, eth_src=mac, arp_sha=mac, arp_spa=tpa)
        if self._asks_neighbor(frame):
            asked = frame.get("nd_target")
            owner = self.owner(asked)
            if owner and owner.mac and self.advertises:
                mac = owner.mac.value
                told = frame.with_(eth_src=mac, eth_dst=frame.eth_src, ipv6_src=asked, ipv6_dst=frame.get("ipv6_src"))
                told = told.with_(icmpv6_type=ADVERT, nd_reserved=SOLICITED_OVERRIDE)
                return told.with_(nd_options_type=TLL_OPTION, nd_tll=mac)
        return None

    def owner(self, ipv6: int) -> Endpoint | None:
        """The member that is declared to have this IPv6 address here."""
        return next((m for m in self.declared if ipv6 in _addresses(m, self.network, 6)), None)

    def _asks_arp(self, frame: Packet) -> bool:
        spa = frame.get("arp_spa")
        is_request = frame.eth_type == ETH_ARP and frame.get("arp_op") == _ARP_REQUEST and frame.is_multicast
        return is_request and spa not in (0, frame.get("arp_tpa"))

    def _asks_neighbor(self, frame: Packet) -> bool:
        is_icmp = frame.eth_type == ETH_IPV6 and frame.get("nw_proto") == ICMPV6
        is_request = is_icmp and frame.get("icmpv6_type") == SOLICIT and frame.is_multicast
        return is_request and frame.get("nd_sll") != 0 and frame.get("ipv6_src") != 0

    # Step 5: to whom

    def forward(self, sender: Endpoint, frame: Packet) -> tuple[list[Endpoint], str]:
        """The members it goes to, by what earlier frames have taught."""
        others = [member for member in self.members if member is not sender]
        is_open = self.network.members is Members.OPEN
        if frame.is_multicast:
            asked = self.owner(frame.get("nd_target")) if self._asks_neighbor(frame) else None
            if asked is not None:
                return [member for member in [asked] if member is not sender], ""
            if not is_open and (self._asks_arp(frame) or self._asks_neighbor(frame)):
                return [], "nobody here has the address that is asked for"
            return others, ""
        declared = [m for m in self.declared if m.mac and m.mac.value == frame.eth_dst]
        if declared:
            targets = declared
        elif not is_open:
            return [], "nobody here has the destination MAC"
        else:
            learners = [member for member in self.members if member.mac is None]
            port = self.learned.get((self.network.name, Mac(frame.eth_dst)))
            targets = [m for m in learners if self.bindings[m.name] == port] if port is not None else learners
        kept = [target for target in targets if target is not sender]
        return kept, "" if kept else "the destination is where the frame came from"

    # Steps 6 and 7: what may be handed to a member, and how

    def refuse_target(self, target: Endpoint, frame: Packet) -> str:
        if target.mac is None:
            return ""
        if frame.eth_type == ETH_IPV4:
            passes = frame.get("ip_dst") in self._ipv4_targets(target) or frame.get("ip_dst") >> 28 == 0xE
        elif frame.eth_type == ETH_ARP:
            tpa = frame.get("arp_tpa")
            is_known = frame.get("arp_op") in (_ARP_REQUEST, _ARP_REPLY)
            passes = (frame.is_multicast and is_known) or tpa in _addresses(target, self.network, 4)
            passes = passes or (frame.get("arp_op") == _ARP_REPLY and tpa == 0)
        else:
            own = _addresses(target, self.network, 6)
            passes = frame.get("ipv6_dst") in own or _is_group(frame.get("ipv6_dst"))
        return "" if passes else "it is not addressed to it"

    def _ipv4_targets(self, target: Endpoint) -> set[int]:
        cidrs = [cidr for cidr in self.network.cidrs if isinstance(cidr, IPv4Network)]
        broadcasts = {int(cidr.broadcast_address) for cidr in cidrs if cidr.prefixlen < 31}
        return {*_addresses(target, self.network, 4), _ALL_ONES_IPV4, *broadcasts}

    def deliver(self, target: Endpoint, frame: Packet) -> tuple[int, Packet]:
        is_tagged = target.attach is Attach.TAGGED and target.native != self.network.name
        tags = (self.network.vlan,) if is_tagged and self.network.vlan else ()
        return self.bindings[target.name], frame.with_tags(*tags)


def reachable(policy: Policy, source: str, target: str) -> tuple[str, ...]:
    """The networks in which two endpoints exchange frames, in the order of the first one's; none with itself."""
    if source == target:
        return ()
    theirs = policy.endpoints[target].networks
    return tuple(name for name in policy.endpoints[source].networks if name in theirs)


def pairs(policy: Policy) -> Iterator[tuple[str, str, str]]:
    """(source, target, network) of everyone who reaches each other, source < target; by network, then by name."""
    for network, members in policy.members.items():
        names = sorted(member.name for member in members)
        for at, source in enumerate(names):
            for target in names[at + 1 :]:
                yield source, target, network


def pairs_of(policy: Policy, names: frozenset[str]) -> Iterator[tuple[str, str, str]]:
    """Those of `pairs` in which one of the names occurs; names that are no endpoints are passed over."""
    touched = {network for name in names if name in policy.endpoints for network in policy.endpoints[name].networks}
    for network in policy.networks:
        if network in touched:
            members = sorted(member.name for member in policy.members[network])
            changed = [name for name in members if name in names]
            for at, source in enumerate(members):
                later = members[at + 1 :]
                if source not in names:
                    later = [name for name in changed if name > source]
                for target in later:
                    yield source, target, network


@dataclass(frozen=True, slots=True)
class Row:
    """source and, by name, every target it reaches with the networks in which it does."""

    source: str
    reaches: tuple[tuple[str, tuple[str, ...]], ...]


def matrix(policy: Policy, names: tuple[str, ...]) -> Iterator[Row]:
    """One row for each of these endpoints, in their order; targets are limited to them too."""
    wanted = frozenset(names)
    for source in names:
        endpoint = policy.endpoints[source]
        targets = {m.name for network in endpoint.networks for m in policy.members[network] if m.name in wanted}
        targets.discard(source)
        yield Row(source, tuple((target, reachable(policy, source, target)) for target in sorted(targets)))
