"""What tells one connection from another, as conntrack sees it. PURE.

Not modelled: fragments (they are put together first), TCP flags and sequence numbers, ICMP identifiers, and that a
connection ends.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from ipaddress import IPv4Address, IPv6Address
from typing import Final

from controller.flow.packet import (
    ETH_IPV4,
    ETH_IPV6,
    ICMP,
    ICMPV6,
    SCTP,
    TCP,
    UDP,
    Packet,
    is_icmp_error,
)
from controller.policy.model import Address

PORTS: Final = {TCP: "tcp", UDP: "udp", SCTP: "sctp"}
"""Protocols whose packets have ports -> how the headers' names begin."""
_ASKED: Final = {4: {8: 0, 13: 14, 15: 16}, 6: {128: 129}}
"""IP version -> ICMP types that open a connection -> the type that answers (lib/conntrack.c, extract_l4_icmp).

Address mask requests (17) are none of them in Open vSwitch's own conntrack.
"""
_ANSWERED: Final = {version: {answer: asked for asked, answer in types.items()} for version, types in _ASKED.items()}
_LINK_SCOPED: Final = frozenset({*range(130, 138), 143})
"""ICMPv6 types of Neighbor Discovery (RFC 4861) and Multicast Listener Discovery (RFC 2710, RFC 3810)."""


@dataclass(frozen=True, slots=True)
class FiveTuple:
    """A packet's protocol and both of its ends. Of ICMP the ports are the type, and the type that is its answer.

    Other protocols without ports: 0.
    """

    protocol: int
    source: Address
    target: Address
    source_port: int = 0
    target_port: int = 0

    def reversed(self) -> FiveTuple:
        """That of a packet in the other direction."""
        return FiveTuple(self.protocol, self.target, self.source, self.target_port, self.source_port)

    @property
    def version(self) -> int:
        return self.source.version

    @property
    def is_icmp(self) -> bool:
        return self.protocol == (ICMP if self.version == 4 else ICMPV6)

    @property
    def opens(self) -> bool:
        """Whether such a packet may be the first of its connection: answers of ICMP may not."""
        return not self.is_icmp or self.source_port in _ASKED[self.version]


def is_ip(frame: Packet) -> bool:
    return frame.eth_type in (ETH_IPV4, ETH_IPV6)


def is_link_scoped(frame: Packet) -> bool:
    """Whether it is about the link only: rules are not asked, and no router passes it on."""
    return frame.eth_type == ETH_IPV6 and frame.get("nw_proto") == ICMPV6 and frame.get("icmpv6_type") in _LINK_SCOPED


def source_of(packet: Packet) -> Address:
    """Of an IP packet."""
    return IPv4Address(packet.get("ip_src")) if packet.eth_type == ETH_IPV4 else IPv6Address(packet.get("ipv6_src"))


def target_of(packet: Packet) -> Address:
    """Of an IP packet."""
    return IPv4Address(packet.get("ip_dst")) if packet.eth_type == ETH_IPV4 else IPv6Address(packet.get("ipv6_dst"))


def tuple_of(packet: Packet) -> FiveTuple | None:
    """Of the connection that an IP packet belongs to, in the packet's direction; None: conntrack calls it invalid.

    An ICMP error belongs to the connection that it is about, and goes against the direction of the packet in it.
    """
    if not is_icmp_error(packet.get):
        return _own_tuple(packet)
    inner = packet.inner
    if inner is None or is_icmp_error(inner.get) or source_of(inner) != target_of(packet):
        return None
    about = _own_tuple(inner)
    return None if about is None else about.reversed()


def _own_tuple(packet: Packet) -> FiveTuple | None:
    protocol = packet.get("nw_proto")
    found = FiveTuple(protocol, source_of(packet), target_of(packet))
    if protocol in PORTS:
        source_port, target_port = (packet.get(f"{PORTS[protocol]}_{end}") for end in ("src", "dst"))
        return replace(found, source_port=source_port, target_port=target_port) if source_port and target_port else None
    if not found.is_icmp:
        return found
    name = "icmp" if found.version == 4 else "icmpv6"
    kind = packet.get(f"{name}_type")
    answer = {**_ASKED[found.version], **_ANSWERED[found.version]}.get(kind)
    if answer is None or packet.get(f"{name}_code"):
        return None
    return replace(found, source_port=kind, target_port=answer)


def rewritten(packet: Packet, new: FiveTuple) -> Packet:
    """The packet with the ends of `new`, which is in the packet's direction.

    Of an ICMP error: the packet that it is about gets them, and of its own addresses the one that was changed there.
    """
    if not is_icmp_error(packet.get):
        return _with_ends(packet, new)
    old, inner = tuple_of(packet), packet.inner
    assert old is not None
    assert inner is not None
    ends = {}
    if old.source != new.source:
        ends["ip_src" if new.version == 4 else "ipv6_src"] = int(new.source)
    if old.target != new.target:
        ends["ip_dst" if new.version == 4 else "ipv6_dst"] = int(new.target)
    return packet.with_(**ends).with_inner(_with_ends(inner, new.reversed()))


def _with_ends(packet: Packet, new: FiveTuple) -> Packet:
    ends = with_addresses(packet, new.source, new.target)
    if new.protocol not in PORTS:
        return ends
    name = PORTS[new.protocol]
    return ends.with_(**{f"{name}_src": new.source_port, f"{name}_dst": new.target_port})


def with_addresses(packet: Packet, source: Address, target: Address) -> Packet:
    """The packet with these addresses, and nothing that it is about changed."""
    if packet.eth_type == ETH_IPV4:
        return packet.with_(ip_src=int(source), ip_dst=int(target))
    return packet.with_(ipv6_src=int(source), ipv6_dst=int(target))
