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
from controller.policy.meaning.here import is_of_host
from controller.policy.meaning.router import asked, refuse_route, route_from_outside
from controller.policy.meaning.speaking import is_reserved
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
    elif is_ip(frame) and asked(course, source_of(frame)) is not None:
        course.drop(uplink.name, "the source is the router's own address")
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
    if is_reserved(frame.eth_dst):
        return "the destination is reserved for the link (IEEE 802.1Q table 8-1)"
    if frame.eth_src >> 40 & 1 or not frame.eth_src:
        return "the source is no unicast address"
    return "" if frame.eth_type == ETH_ARP or is_ip(frame) else f"ethertype {frame.eth_type:#06x} does not pass"


def _refuse_source(course: Course, uplink: Uplink, source: Address) -> str:
    """Why nobody behind this uplink may have this address; "" if somebody may."""
    if not is_of_host(source):
        return "the source is no address of a host"
    for network in course.policy.networks.values():
        if any(source in cidr for cidr in network.cidrs if cidr.version == source.version):
            return f"the source is an address of {network.name}"
    longest = {name: longest_prefix(other, source) for name, other in course.policy.uplinks.items()}
    if longest[uplink.name] < 0:
        return f"nothing leads to the source by uplink {uplink.name}"
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
    address, said_mac = _said(frame)
    if not said_mac:
        return course.drop(uplink.name, "it names no MAC of a neighbor")
    if _is_answered(course, uplink, address):
        return course.drop(uplink.name, "it claims the router's own address")
    if any(address in attached.network for attached in uplink.addresses):
        course.known = course.known.with_neighbor(uplink.name, address, Mac(said_mac))
        if frame.get("arp_op") == ARP_REPLY or frame.get("icmpv6_type") == ADVERT:
            course.tell(Punt.NEIGHBOR, "", frame)
    told = _answer(course, uplink, frame, mac)
    if told is None:
        return course.drop(uplink.name, "it asks nothing that the switch answers")
    course.deliveries.add((course.uplinks[uplink.name], told))
    return None


def _said(frame: Packet) -> tuple[Address, int]:
    """The address that a neighbor says it has, and its MAC; 0: it names none, or one of several."""
    address: Address
    if frame.eth_type == ETH_ARP:
        address, mac = IPv4Address(frame.get("arp_spa")), frame.get("arp_sha")
    elif is_solicitation(frame):
        address, mac = IPv6Address(frame.get("ipv6_src")), frame.get("nd_sll")
    else:
        address, mac = IPv6Address(frame.get("nd_target")), frame.get("nd_tll")
    return address, 0 if mac >> 40 & 1 else mac


def _is_answered(course: Course, uplink: Uplink, address: Address) -> bool:
    """Whether the router answers for it on the uplink's segments."""
    on_segment = any(address in attached.network for attached in uplink.addresses)
    return on_segment and is_outside_address(course.policy, uplink, address)


def _answer(course: Course, uplink: Uplink, frame: Packet, mac: int) -> Packet | None:
    """To whoever asks for an outside address on one of the segments."""
    if is_arp_request(frame) and _is_answered(course, uplink, IPv4Address(frame.get("arp_tpa"))):
        return told_by_arp(frame, mac)
    if is_answerable_solicitation(frame) and _is_answered(course, uplink, IPv6Address(frame.get("nd_target"))):
        if course.advertises:
            return advertised(frame, mac, BY_ROUTER)
        course.tell(Punt.SOLICITATION, "", frame)
    return None
