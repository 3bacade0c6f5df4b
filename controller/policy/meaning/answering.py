"""Step 4, what the switch answers by itself: who has this address? Is the gateway there? PURE."""

from __future__ import annotations

from typing import Final

from controller.flow.packet import (
    ADVERT,
    ETH_ARP,
    ETH_IPV4,
    ETH_IPV6,
    ICMP,
    ICMPV6,
    SOLICIT,
    SOLICITED_OVERRIDE,
    TLL_OPTION,
    Packet,
)
from controller.policy.meaning.here import Here

BY_ROUTER: Final = SOLICITED_OVERRIDE | 1 << 31
"""With the R flag: the sender is a router (RFC 4861 section 4.4)."""
ARP_REQUEST: Final = 1
ARP_REPLY: Final = 2
_ECHO_REQUEST: Final = 8
_ECHO_REQUEST_V6: Final = 128
_ECHO_REPLY_V6: Final = 129
_ANSWER_TTL: Final = 64


def answer(here: Here, frame: Packet) -> Packet | None:
    """For declared members: what is asked of all. For the gateway: also what is asked of the router alone."""
    if is_arp_request(frame) and here.is_gateway(frame.get("arp_tpa"), 4):
        return told_by_arp(frame, here.router_mac)
    if asks_arp(frame):
        owner = here.owner(frame.get("arp_tpa"), 4)
        if owner and owner.mac:
            return told_by_arp(frame, owner.mac.value)
    if asks_gateway(here, frame) and here.advertises:
        return advertised(frame, here.router_mac, BY_ROUTER)
    if asks_neighbor(frame):
        owner = here.owner(frame.get("nd_target"), 6)
        if owner and owner.mac and here.advertises:
            return advertised(frame, owner.mac.value)
    return _echoed(here, frame) if here.network.routed and frame.eth_dst == here.router_mac else None


def asks_gateway(here: Here, frame: Packet) -> bool:
    """Whether somebody with an address asks for the router's MAC, of all or of the router alone."""
    return is_solicitation(frame) and frame.get("ipv6_src") != 0 and here.is_gateway(frame.get("nd_target"), 6)


def is_arp_request(frame: Packet) -> bool:
    return frame.eth_type == ETH_ARP and frame.get("arp_op") == ARP_REQUEST


def asks_arp(frame: Packet) -> bool:
    spa = frame.get("arp_spa")
    return is_arp_request(frame) and frame.is_multicast and spa not in (0, frame.get("arp_tpa"))


def told_by_arp(request: Packet, mac: int) -> Packet:
    """The reply to the asker: what is asked for is at this MAC."""
    asked, asker = request.get("arp_tpa"), request.get("arp_spa")
    told = request.with_(arp_tha=request.get("arp_sha"), arp_tpa=asker, eth_dst=request.eth_src)
    return told.with_(arp_op=ARP_REPLY, eth_src=mac, arp_sha=mac, arp_spa=asked)


def is_solicitation(frame: Packet) -> bool:
    is_icmp = frame.eth_type == ETH_IPV6 and frame.get("nw_proto") == ICMPV6
    return is_icmp and frame.get("icmpv6_type") == SOLICIT and frame.get("icmpv6_code") == 0


def is_answerable_solicitation(frame: Packet) -> bool:
    """With room for the MAC, and an address to send it to."""
    return is_solicitation(frame) and frame.get("nd_sll") != 0 and frame.get("ipv6_src") != 0


def asks_neighbor(frame: Packet) -> bool:
    return is_answerable_solicitation(frame) and frame.is_multicast


def advertised(solicitation: Packet, mac: int, flags: int = SOLICITED_OVERRIDE) -> Packet:
    """The advertisement to the asker: what is asked for is at this MAC; said in the option that was in the question."""
    asked, asker = solicitation.get("nd_target"), solicitation.get("ipv6_src")
    told = solicitation.with_(eth_src=mac, eth_dst=solicitation.eth_src, ipv6_src=asked, ipv6_dst=asker)
    told = told.with_(icmpv6_type=ADVERT, nd_reserved=flags)
    return told.with_(nd_options_type=TLL_OPTION, nd_tll=mac) if solicitation.get("nd_options_type") else told


def _echoed(here: Here, frame: Packet) -> Packet | None:
    """The answer of the gateway to an echo request."""
    version = 4 if frame.eth_type == ETH_IPV4 else 6
    if here.owner(frame.get("ip_src" if version == 4 else "ipv6_src"), version) is None:
        return None  # from behind a member that is a router of its own
    turned = frame.with_(eth_src=frame.eth_dst, eth_dst=frame.eth_src)
    if frame.eth_type == ETH_IPV4 and frame.get("nw_proto") == ICMP:
        is_request = (frame.get("icmp_type"), frame.get("icmp_code")) == (_ECHO_REQUEST, 0)
        if is_request and here.is_gateway(frame.get("ip_dst"), 4):
            turned = turned.with_(ip_src=frame.get("ip_dst"), ip_dst=frame.get("ip_src"))
            return turned.with_(icmp_type=0, nw_ttl=_ANSWER_TTL)
    if frame.eth_type == ETH_IPV6 and frame.get("nw_proto") == ICMPV6:
        is_request = (frame.get("icmpv6_type"), frame.get("icmpv6_code")) == (_ECHO_REQUEST_V6, 0)
        if is_request and here.is_gateway(frame.get("ipv6_dst"), 6):
            turned = turned.with_(ipv6_src=frame.get("ipv6_dst"), ipv6_dst=frame.get("ipv6_src"))
            return turned.with_(icmpv6_type=_ECHO_REPLY_V6, nw_ttl=_ANSWER_TTL)
    return None
