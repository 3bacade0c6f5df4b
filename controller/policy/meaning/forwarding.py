"""Steps 5 to 7: to whom a frame goes, what may be handed to a member, and how it arrives. PURE."""

from __future__ import annotations

from ipaddress import IPv4Network
from typing import Final

from controller.flow.packet import ETH_ARP, ETH_IPV4, Packet
from controller.mac import Mac
from controller.policy.meaning.answering import ARP_REPLY, ARP_REQUEST, asks_arp, asks_neighbor
from controller.policy.meaning.connections import target_of
from controller.policy.meaning.here import Here, addresses, is_group
from controller.policy.model import Attach, Endpoint, Members

_ALL_ONES_IPV4: Final = 0xFFFFFFFF


def forward(here: Here, sender: Endpoint, frame: Packet) -> tuple[list[Endpoint], str]:
    """The members it goes to, by what earlier frames have taught; for one MAC its sender may be among them."""
    others = [member for member in here.members if member is not sender]
    is_open = here.network.members is Members.OPEN
    if frame.is_multicast:
        asked = here.owner(frame.get("nd_target"), 6) if asks_neighbor(frame) else None
        if asked is not None:
            return [member for member in [asked] if member is not sender], ""
        if not is_open and (asks_arp(frame) or asks_neighbor(frame)):
            return [], "nobody here has the address that is asked for"
        return others, ""
    declared = [m for m in here.declared if m.mac and m.mac.value == frame.eth_dst]
    if declared:
        targets = declared
    elif not is_open:
        return [], "nobody here has the destination MAC"
    else:
        learners = [member for member in here.members if member.mac is None]
        port = here.learned.get((here.network.name, Mac(frame.eth_dst)))
        targets = [m for m in learners if here.bindings[m.name] == port] if port is not None else learners
    return targets, ""


def refuse_target(here: Here, target: Endpoint, frame: Packet) -> str:
    if target.mac is None:
        return ""
    if frame.eth_type == ETH_IPV4:
        passes = frame.get("ip_dst") in _ipv4_targets(here, target) or frame.get("ip_dst") >> 28 == 0xE
        passes = passes or here.is_beyond(target, target_of(frame))
    elif frame.eth_type == ETH_ARP:
        tpa = frame.get("arp_tpa")
        is_known = frame.get("arp_op") in (ARP_REQUEST, ARP_REPLY)
        passes = (frame.is_multicast and is_known) or tpa in addresses(target, here.network, 4)
        passes = passes or (frame.get("arp_op") == ARP_REPLY and tpa == 0)
    else:
        own = addresses(target, here.network, 6)
        passes = frame.get("ipv6_dst") in own or is_group(frame.get("ipv6_dst"))
        passes = passes or here.is_beyond(target, target_of(frame))
    return "" if passes else "it is not addressed to it"


def _ipv4_targets(here: Here, target: Endpoint) -> set[int]:
    cidrs = [cidr for cidr in here.network.cidrs if isinstance(cidr, IPv4Network)]
    broadcasts = {int(cidr.broadcast_address) for cidr in cidrs if cidr.prefixlen < 31}
    return {*addresses(target, here.network, 4), _ALL_ONES_IPV4, *broadcasts}


def form(here: Here, target: Endpoint, frame: Packet) -> tuple[int, Packet]:
    is_tagged = target.attach is Attach.TAGGED and target.native != here.network.name
    tags = (here.network.vlan,) if is_tagged and here.network.vlan else ()
    return here.bindings[target.name], frame.with_tags(*tags)
