"""Step 3, who speaks: what a member may send from its port (port security). PURE."""

from __future__ import annotations

from typing import Final

from controller.flow.packet import ADVERT, ETH_ARP, ETH_IPV4, ETH_IPV6, ICMPV6, SOLICIT, UDP, Packet
from controller.mac import Mac
from controller.policy.meaning.answering import ARP_REPLY, ARP_REQUEST
from controller.policy.meaning.connections import source_of
from controller.policy.meaning.here import Here, addresses, is_group
from controller.policy.model import Endpoint

_ROUTER_ADVERT: Final = 134
_REDIRECT: Final = 137
_DHCP: Final = {"ip_src": 0, "ip_dst": 0xFFFFFFFF, "nw_proto": UDP, "udp_src": 68, "udp_dst": 67}


def is_reserved(eth_dst: int) -> bool:
    """Whether bridges keep it to themselves: 01:80:c2:00:00:00 to :0f."""
    return eth_dst >> 4 == 0x0180C200000


def refuse_macs(here: Here, sender: Endpoint, frame: Packet) -> str:
    """Why the sender may not send from this MAC or to that one; "" if it may, as far as there is room to learn."""
    if is_reserved(frame.eth_dst):
        return "the destination is reserved for the link (IEEE 802.1Q table 8-1)"
    if frame.eth_src >> 40 & 1 or not frame.eth_src:
        return "the source is no unicast address"
    if sender.mac is not None:
        return "" if frame.eth_src == sender.mac.value else f"the source is not the MAC of {sender.name}"
    owner = next((m.name for m in here.declared if m.mac and m.mac.value == frame.eth_src), None)
    return f"the source is the MAC of {owner}" if owner else ""


def refuse_source(here: Here, sender: Endpoint, frame: Packet) -> str:
    """Why the sender may not send this from its MAC; "" if it may. A MAC is learned from refused frames too."""
    if frame.eth_type not in (ETH_ARP, ETH_IPV4, ETH_IPV6):
        return f"ethertype {frame.eth_type:#06x} does not pass"
    if sender.mac is None:
        return _refuse_stranger(here, frame)
    if frame.eth_type == ETH_IPV4:
        return _refuse_ipv4_source(here, sender, frame)
    if frame.eth_type == ETH_ARP:
        return _refuse_arp_source(here, sender, sender.mac, frame)
    return _refuse_ipv6_source(here, sender, sender.mac, frame)


def _refuse_stranger(here: Here, frame: Packet) -> str:
    """A learning port may use every address that no declared member here has."""
    if frame.eth_type == ETH_ARP and frame.get("arp_op") not in (ARP_REQUEST, ARP_REPLY):
        return "this is no ARP request or reply about Ethernet and IPv4"
    name, version = {ETH_IPV4: ("ip_src", 4), ETH_ARP: ("arp_spa", 4), ETH_IPV6: ("ipv6_src", 6)}[frame.eth_type]
    owner = here.owner(frame.get(name), version)
    if owner:
        return f"the source address belongs to {owner.name}"
    if frame.get("nw_proto") != ICMPV6 or frame.eth_type != ETH_IPV6:
        return ""
    if reason := _refuse_discovery(frame):
        return reason
    if frame.get("icmpv6_type") == ADVERT:
        owner = here.owner(frame.get("nd_target"), 6)
    return f"the advertised address belongs to {owner.name}" if owner else ""


def _refuse_ipv4_source(here: Here, sender: Endpoint, frame: Packet) -> str:
    if frame.get("ip_src") in addresses(sender, here.network, 4):
        return ""
    if all(frame.get(name) == value for name, value in _DHCP.items()):
        return ""
    if here.is_beyond(sender, source_of(frame)):
        return ""
    return f"the IPv4 source is not one of {sender.name}"


def _refuse_arp_source(here: Here, sender: Endpoint, mac: Mac, frame: Packet) -> str:
    if frame.get("arp_sha") != mac.value:
        return f"the ARP sender is not the MAC of {sender.name}"
    spa = frame.get("arp_spa")
    own = addresses(sender, here.network, 4)
    is_probe = spa == 0 and frame.get("arp_op") == ARP_REQUEST and frame.get("arp_tpa") in own
    if spa in own or is_probe:
        return ""
    return f"the ARP sender address is not one of {sender.name}"


def _refuse_ipv6_source(here: Here, sender: Endpoint, mac: Mac, frame: Packet) -> str:
    own = addresses(sender, here.network, 6)
    is_beyond = here.is_beyond(sender, source_of(frame))
    if not own and not is_beyond:
        return f"{sender.name} has no IPv6 address"
    source = frame.get("ipv6_src")
    is_icmp = frame.get("nw_proto") == ICMPV6
    if source not in own and not is_beyond and not (source == 0 and is_icmp and is_group(frame.get("ipv6_dst"))):
        return f"the IPv6 source is not one of {sender.name}"
    if is_icmp and (reason := _refuse_discovery(frame)):
        return reason
    kind = frame.get("icmpv6_type") if is_icmp else None
    if kind == SOLICIT and source == 0 and not (frame.get("nd_target") in own and frame.get("nd_sll") == 0):
        return f"the probe is not for an address of {sender.name}"
    if kind == SOLICIT and frame.get("nd_sll") not in (0, mac.value):
        return f"the solicitation names a MAC that is not the one of {sender.name}"
    if kind == ADVERT and (frame.get("nd_target") not in own or frame.get("nd_tll") not in (0, mac.value)):
        return f"the advertisement is not of an address and the MAC of {sender.name}"
    return ""


def _refuse_discovery(frame: Packet) -> str:
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


def refuse_learning(here: Here, sender: Endpoint, frame: Packet) -> str:
    """Why a learning port may not have this MAC; "" if it has it, or has room for it."""
    port, name = here.bindings[sender.name], here.network.name
    mine = [known for known, where in here.learned.items() if where == port and known[0] == name]
    if (name, Mac(frame.eth_src)) not in mine and len(mine) >= here.network.macs_per_port:
        return f"{sender.name} has {here.network.macs_per_port} MACs already"
    return ""
