"""Asking for the MAC of a next hop, hearing it, saying one's own. PURE.

ARP (RFC 826) and Neighbor Discovery (RFC 4861).
"""

from __future__ import annotations

import struct
from ipaddress import IPv4Address, IPv6Address
from typing import Final

from controller.flow.packet import (
    ADVERT,
    ETH_ARP,
    ETH_IPV4,
    ICMPV6,
    ROUTER_OVERRIDE,
    ROUTER_SOLICITED_OVERRIDE,
    SLL_OPTION,
    SOLICIT,
    TLL_OPTION,
)
from controller.frames.ip_heads import Address, IpHeads, read_ip
from controller.frames.octets import form_ethernet, form_ip, sum_up
from controller.mac import BROADCAST, Mac

_REQUEST: Final = 1
_ND_HOPS: Final = 255
"""Nobody beyond the segment can make such a packet arrive (RFC 4861 section 3.1)."""
_SOLICITED_NODE = int(IPv6Address("ff02::1:ff00:0"))
_ALL_NODES = IPv6Address("ff02::1")
_MOST_OPTIONS = 16


def ask_for(next_hop: Address, mac: Mac, address: Address) -> bytes:
    """The frame that asks the whole segment for the MAC of `next_hop`; address, mac: who asks, in the same version."""
    if isinstance(next_hop, IPv4Address):
        return _arp_request(next_hop, mac, address)
    return _solicitation(next_hop, mac, address)


def announcement(address: Address, mac: Mac) -> bytes:
    """The frame that says to the whole segment which MAC an address has, unasked: a question for the address itself
    (RFC 5227 section 2.3), or a router's advertisement to all nodes (RFC 4861 section 7.2.6).
    """
    if isinstance(address, IPv4Address):
        return _arp_request(address, mac, address)
    return _advertisement(address, mac, _ALL_NODES, b"\x33\x33" + _ALL_NODES.packed[12:], ROUTER_OVERRIDE)


def _arp_request(next_hop: IPv4Address, mac: Mac, address: Address) -> bytes:
    sender = _octets(mac)
    body = struct.pack("!HHBBH", 1, ETH_IPV4, 6, 4, _REQUEST) + sender + address.packed + bytes(6) + next_hop.packed
    return form_ethernet(_octets(BROADCAST), sender, ETH_ARP, body)


def _advertisement(target: IPv6Address, mac: Mac, to: Address, eth_dst: bytes, flags: int) -> bytes:
    body = struct.pack("!BBHI", ADVERT, 0, 0, flags) + target.packed + struct.pack("!BB", TLL_OPTION, 1) + _octets(mac)
    segment = sum_up(target, to, ICMPV6, body, 2)
    return form_ethernet(eth_dst, _octets(mac), *form_ip(target, to, ICMPV6, segment, hops=_ND_HOPS))


def _solicitation(next_hop: IPv6Address, mac: Mac, address: Address) -> bytes:
    """To the solicited-node group (RFC 4291 section 2.7.1), whose MAC is that of RFC 2464 section 7."""
    group = IPv6Address(_SOLICITED_NODE | int(next_hop) & 0xFFFFFF)
    body = struct.pack("!BBHI", SOLICIT, 0, 0, 0) + next_hop.packed + struct.pack("!BB", SLL_OPTION, 1) + _octets(mac)
    segment = sum_up(address, group, ICMPV6, body, 2)
    return form_ethernet(
        b"\x33\x33" + group.packed[12:], _octets(mac), *form_ip(address, group, ICMPV6, segment, hops=_ND_HOPS)
    )


def answer_for(solicitation: bytes, mac: Mac) -> bytes | None:
    """The router's advertisement in answer to a solicitation: the address asked for is at this MAC (RFC 4861 4.4).

    None where it is no solicitation, or asks from no address, as one does who probes for an address of its own.
    """
    heads = read_ip(solicitation)
    if heads is None or not _is_discovery(heads) or heads.segment[0] != SOLICIT or heads.source.is_unspecified:
        return None
    message = heads.segment
    target = IPv6Address(message[8:24])
    eth_dst = _option(message[24:], SLL_OPTION) or heads.eth_src
    return _advertisement(target, mac, heads.source, eth_dst, ROUTER_SOLICITED_OVERRIDE)


def hear(frame: bytes) -> tuple[Address, Mac] | None:
    """Which address is at which MAC, as an ARP message or a neighbor solicitation or advertisement says; or None."""
    if int.from_bytes(frame[12:14], "big") == ETH_ARP:
        return _hear_arp(frame[14:])
    heads = read_ip(frame)
    return None if heads is None else _hear_discovery(heads)


def _hear_arp(body: bytes) -> tuple[Address, Mac] | None:
    if len(body) < 28 or body[:6] != struct.pack("!HHBB", 1, ETH_IPV4, 6, 4) or body[6:8] not in (b"\0\1", b"\0\2"):
        return None
    return _believed(IPv4Address(body[14:18]), body[8:14])


def _hear_discovery(heads: IpHeads) -> tuple[Address, Mac] | None:
    if not _is_discovery(heads):
        return None
    message = heads.segment
    if message[0] == SOLICIT:
        return _believed(heads.source, _option(message[24:], SLL_OPTION))
    if message[0] == ADVERT:
        # An answer to a question asked of one may leave the option out (RFC 4861 section 4.4).
        return _believed(IPv6Address(message[8:24]), _option(message[24:], TLL_OPTION) or heads.eth_src)
    return None


def _is_discovery(heads: IpHeads) -> bool:
    """Whether it is a whole message of Neighbor Discovery's length, from this segment."""
    if heads.protocol != ICMPV6 or heads.version != 6 or heads.fragment_at or heads.more:
        return False
    return len(heads.segment) >= 24 and heads.packet[7] == _ND_HOPS and not heads.segment[1]


def _option(options: bytes, kind: int) -> bytes:
    """The link-layer address in the first option of a kind; b"" where there is none."""
    at = 0
    for _ in range(_MOST_OPTIONS):
        if len(options) < at + 8 or options[at + 1] == 0:
            break
        if options[at] == kind:
            return options[at + 2 : at + 8]
        at += options[at + 1] * 8
    return b""


def _believed(address: Address, octets: bytes) -> tuple[Address, Mac] | None:
    """None for what cannot be one machine's."""
    mac = Mac(int.from_bytes(octets, "big"))
    if len(octets) != 6 or not mac.value or mac.is_multicast or address.is_unspecified or address.is_multicast:
        return None
    return (address, mac)


def _octets(mac: Mac) -> bytes:
    return mac.value.to_bytes(6, "big")
