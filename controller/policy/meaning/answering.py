"""Step 4, what the switch answers by itself: who has this address? PURE."""

from __future__ import annotations

from typing import Final

from controller.flow.packet import (
    ADVERT,
    ETH_ARP,
    ETH_IPV6,
    ICMPV6,
    SOLICIT,
    SOLICITED_OVERRIDE,
    TLL_OPTION,
    Packet,
)
from controller.policy.meaning.here import Here

ARP_REQUEST: Final = 1
ARP_REPLY: Final = 2


def answer(here: Here, frame: Packet) -> Packet | None:
    if asks_arp(frame):
        tpa = frame.get("arp_tpa")
        owner = here.owner(tpa, 4)
        if owner and owner.mac:
            mac = owner.mac.value
            told = frame.with_(arp_tha=frame.get("arp_sha"), arp_tpa=frame.get("arp_spa"), eth_dst=frame.eth_src)
            return told.with_(arp_op=ARP_REPLY, eth_src=mac, arp_sha=mac, arp_spa=tpa)
    if asks_neighbor(frame):
        asked = frame.get("nd_target")
        owner = here.owner(asked, 6)
        if owner and owner.mac and here.advertises:
            mac = owner.mac.value
            told = frame.with_(eth_src=mac, eth_dst=frame.eth_src, ipv6_src=asked, ipv6_dst=frame.get("ipv6_src"))
            told = told.with_(icmpv6_type=ADVERT, nd_reserved=SOLICITED_OVERRIDE)
            return told.with_(nd_options_type=TLL_OPTION, nd_tll=mac)
    return None


def asks_arp(frame: Packet) -> bool:
    spa = frame.get("arp_spa")
    is_request = frame.eth_type == ETH_ARP and frame.get("arp_op") == ARP_REQUEST and frame.is_multicast
    return is_request and spa not in (0, frame.get("arp_tpa"))


def asks_neighbor(frame: Packet) -> bool:
    is_icmp = frame.eth_type == ETH_IPV6 and frame.get("nw_proto") == ICMPV6
    is_request = is_icmp and frame.get("icmpv6_type") == SOLICIT and frame.is_multicast
    return is_request and frame.get("nd_sll") != 0 and frame.get("ipv6_src") != 0
