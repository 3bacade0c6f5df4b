"""The segments that uplinks lie on: what comes in from there, and who is there. PURE."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address
from typing import Final

from controller.flow.fields import Punt
from controller.flow.packet import ADVERT, ETH_ARP, ETH_IPV6, ICMPV6, Packet
from controller.mac import Mac
from controller.policy.meaning.answering import (
    ARP_REPLY,
    ARP_REQUEST,
    BY_ROUTER,
    advertised,
    is_answerable_solicitation,
    is_arp_request,
    is_solicitation,
    told_by_arp,
)
from controller.policy.meaning.connections import is_ip, source_of
from controller.policy.meaning.course import Course
from controller.policy.meaning.router import refuse_route, route_from_outside
from controller.policy.meaning.uplinks import is_outside_address, longest_prefix
from controller.policy.model import Address, Uplink

_ON_THE_LINK: Final = 255
"""The hop limit of Neighbor Discovery: no router has passed it on (RFC 4861 section 7.1)."""


def hear(course: Course, uplink: Uplink, frame: Packet) -> None:
    """A frame that comes in at the port of an uplink."""
    mac = (uplink.mac or course.policy.defaults.router_mac).value
    reason = _refuse(course, uplink, frame)
    if reason:
        course.drop(uplink.name, reason)
    elif frame.eth_type == ETH_ARP or _is_discovery(frame):
        _hear_neighbor(course, uplink, frame, mac)
    elif frame.eth_dst != mac:
        course.drop(uplink.name, "it is not for the router's MAC")
    elif reason := refuse_route(frame) or _refuse_source(course, uplink, source_of(frame)):
        course.drop(uplink.name, reason)
    else:
        route_from_outside(course, uplink, frame)


def _refuse(course: Course, uplink: Uplink, frame: Packet) -> str:
    if frame.tags:
        return "nothing outside has a tag"
    if frame.eth_src >> 40 & 1 or not frame.eth_src:
        return "the source is no unicast address"
    return "" if frame.eth_type == ETH_ARP or is_ip(frame) else f"ethertype {frame.eth_type:#06x} does not pass"


def _refuse_source(course: Course, uplink: Uplink, source: Address) -> str:
    """Why nobody behind this uplink may have this address; "" if somebody may."""
    if source.is_unspecified or source.is_multicast or source == IPv4Address("255.255.255.255"):
        return "the source is no unicast address"
    for network in course.policy.networks.values():
        if any(source in cidr for cidr in network.cidrs if cidr.version == source.version):
            return f"the source is an address of {network.name}"
    longest = {name: longest_prefix(other, source) for name, other in course.policy.uplinks.items()}
    nearer = next((name for name, length in longest.items() if length > longest[uplink.name]), None)
    return f"the source is behind uplink {nearer}" if nearer else ""


# Who is there


def _is_discovery(frame: Packet) -> bool:
    is_icmp = frame.eth_type == ETH_IPV6 and frame.get("nw_proto") == ICMPV6
    return is_solicitation(frame) or (is_icmp and frame.get("icmpv6_type") == ADVERT and not frame.get("icmpv6_code"))


def _hear_neighbor(course: Course, uplink: Uplink, frame: Packet, mac: int) -> None:
    """What it says of its sender is learned; what it asks about the router is answered."""
    if frame.eth_type == ETH_ARP and frame.get("arp_op") not in (ARP_REQUEST, ARP_REPLY):
        return course.drop(uplink.name, "this is no ARP request or reply about Ethernet and IPv4")
    if _is_discovery(frame) and frame.get("nw_ttl") not in (0, _ON_THE_LINK):
        return course.drop(uplink.name, "it comes from beyond the segment")
    said = _said(frame)
    if said is not None and any(said[0] in attached.network for attached in uplink.addresses):
        course.known = course.known.with_neighbor(uplink.name, *said)
        course.tell(Punt.NEIGHBOR, "", frame)
    told = _answer(course, uplink, frame, mac)
    if told is None:
        return course.drop(uplink.name, "it asks nothing that the switch answers")
    course.deliveries.add((course.uplinks[uplink.name], told))
    return None


def _said(frame: Packet) -> tuple[Address, Mac] | None:
    """The address that a neighbor says it has, and its MAC."""
    address: Address
    if frame.eth_type == ETH_ARP:
        address, mac = IPv4Address(frame.get("arp_spa")), frame.get("arp_sha")
    elif is_solicitation(frame):
        address, mac = IPv6Address(frame.get("ipv6_src")), frame.get("nd_sll")
    else:
        address, mac = IPv6Address(frame.get("nd_target")), frame.get("nd_tll")
    return None if not mac or mac >> 40 & 1 or address.is_unspecified else (address, Mac(mac))


def _answer(course: Course, uplink: Uplink, frame: Packet, mac: int) -> Packet | None:
    """To whoever asks for an outside address on one of the segments."""
    if is_arp_request(frame) and frame.get("arp_spa") != frame.get("arp_tpa"):
        asked: Address = IPv4Address(frame.get("arp_tpa"))
        told = told_by_arp(frame, mac)
    elif is_answerable_solicitation(frame) and course.advertises:
        asked = IPv6Address(frame.get("nd_target"))
        told = advertised(frame, mac, BY_ROUTER)
    else:
        return None
    on_segment = any(asked in attached.network for attached in uplink.addresses)
    return told if on_segment and is_outside_address(course.policy, uplink, asked) else None
