"""An Ethernet frame as a value: its 802.1Q tags and the header fields that flows can see. PURE.

Not the bytes on the wire (those are made in `frame`): no lengths, no checksums, no payload but the packet that an ICMP
error is about. Header names are `Field.name` of `fields`. As in Open vSwitch, a header that is absent and a header that
is zero are the same thing, so zeros are not kept and two packets are equal exactly when no match can tell them apart.
One header is not said rather than zero: a packet without `nw_ttl` has the time to live of one just sent
(`default_ttl`), and still is not said to have any after it was counted down.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache, lru_cache
from types import MappingProxyType
from typing import Final

ETH_IPV4: Final = 0x0800
ETH_ARP: Final = 0x0806
ETH_RARP: Final = 0x8035
ETH_VLAN: Final = 0x8100
ETH_IPV6: Final = 0x86DD
ETH_LLC: Final = 0x05FF
"""What Open vSwitch calls the type of a frame that has a length in its place (ovs-fields(7) eth_type)."""
TCP: Final = 6
UDP: Final = 17
SCTP: Final = 132
ICMP: Final = 1
ICMPV6: Final = 58
SOLICIT: Final = 135
ADVERT: Final = 136
"""ICMPv6 types of Neighbor Discovery (RFC 4861 section 4)."""
ICMP_ERRORS: Final = frozenset({3, 4, 5, 11, 12})
ICMPV6_ERRORS: Final = frozenset({1, 2, 3, 4})
"""Types of the messages that carry the packet they are about (RFC 792; RFC 4443 section 2.1)."""
SLL_OPTION: Final = 1
TLL_OPTION: Final = 2
"""Neighbor Discovery options: source and target link-layer address (RFC 4861 section 4.6.1)."""
SOLICITED_OVERRIDE: Final = 0x60000000
"""The S and O flags of an advertisement, as nd_reserved holds them (RFC 4861 section 4.4)."""
ROUTER_SOLICITED_OVERRIDE: Final = 0xE0000000
"""The same with the R flag, of a router's."""
ROUTER_OVERRIDE: Final = 0xA0000000
"""Of a router's that nobody asked for."""

WIDTHS: Final[Mapping[str, int]] = MappingProxyType(
    {
        "eth_dst": 48,
        "eth_src": 48,
        "eth_type": 16,
        "nw_proto": 8,
        "nw_ttl": 8,
        "ip_src": 32,
        "ip_dst": 32,
        "tcp_src": 16,
        "tcp_dst": 16,
        "udp_src": 16,
        "udp_dst": 16,
        "sctp_src": 16,
        "sctp_dst": 16,
        "icmp_type": 8,
        "icmp_code": 8,
        "arp_op": 8,  # Open vSwitch reads an operation above 255 as 0
        "arp_spa": 32,
        "arp_tpa": 32,
        "arp_sha": 48,
        "arp_tha": 48,
        "ipv6_src": 128,
        "ipv6_dst": 128,
        "icmpv6_type": 8,
        "icmpv6_code": 8,
        "nd_target": 128,
        "nd_sll": 48,
        "nd_tll": 48,
        "nd_reserved": 32,
        "nd_options_type": 8,
    }
)
"""Every header name, and how many bits its value has."""
_LIMITS: Final = {name: 1 << n_bits for name, n_bits in WIDTHS.items()}
"""What no value of a header reaches."""

Get = Callable[[str], int | None]


def _is_ip(get: Get) -> bool:
    return get("eth_type") in (ETH_IPV4, ETH_IPV6)


def _is_icmpv6(get: Get) -> bool:
    return get("eth_type") == ETH_IPV6 and get("nw_proto") == ICMPV6


def _is_discovery(get: Get, *types: int) -> bool:
    return _is_icmpv6(get) and get("icmpv6_type") in types and not get("icmpv6_code")


_PREREQUISITES: Final[Mapping[str, Callable[[Get], bool]]] = {
    "ip": lambda get: get("eth_type") == ETH_IPV4,
    "nw": _is_ip,
    "ip_frag": _is_ip,
    "tcp": lambda get: _is_ip(get) and get("nw_proto") == TCP,
    "udp": lambda get: _is_ip(get) and get("nw_proto") == UDP,
    "sctp": lambda get: _is_ip(get) and get("nw_proto") == SCTP,
    "icmp": lambda get: get("eth_type") == ETH_IPV4 and get("nw_proto") == ICMP,
    "arp": lambda get: get("eth_type") in (ETH_ARP, ETH_RARP),
    "ipv6": lambda get: get("eth_type") == ETH_IPV6,
    "icmpv6": _is_icmpv6,
    "nd_sll": lambda get: _is_discovery(get, SOLICIT),
    "nd_tll": lambda get: _is_discovery(get, ADVERT),
    "nd": lambda get: _is_discovery(get, SOLICIT, ADVERT),
}


def has_header(name: str, get: Get) -> bool:
    """Whether the header `name` exists, going by the others that `get` tells (prerequisites, ovs-fields(7)).

    name: any Field.name; those that are no part of `WIDTHS` (registers, in_port, vlan_vid) always exist.
    get: name -> value, 0 or None where it is not known.
    """
    test = _test_of(name)
    return test is None or test(get)


@cache
def _test_of(name: str) -> Callable[[Get], bool] | None:
    return _PREREQUISITES.get(name) or _PREREQUISITES.get(name.split("_")[0])


def _headers_beside(headers: Mapping[str, int]) -> frozenset[str]:
    """The names of WIDTHS that `has_header` finds beside these."""
    get = headers.get
    return _headers_of(get("eth_type", 0), get("nw_proto", 0), get("icmpv6_type", 0), get("icmpv6_code", 0))


@lru_cache(maxsize=1 << 14)
def _headers_of(eth_type: int, nw_proto: int, icmpv6_type: int, icmpv6_code: int) -> frozenset[str]:
    """All that prerequisites look at, so that packets of one kind are looked at once."""
    told = {"eth_type": eth_type, "nw_proto": nw_proto, "icmpv6_type": icmpv6_type, "icmpv6_code": icmpv6_code}
    return frozenset(name for name in WIDTHS if has_header(name, told.get))


def is_icmp_error(get: Get) -> bool:
    """Whether the message carries the packet that it is about."""
    if get("eth_type") == ETH_IPV4:
        return get("nw_proto") == ICMP and get("icmp_type") in ICMP_ERRORS
    return _is_icmpv6(get) and get("icmpv6_type") in ICMPV6_ERRORS


def default_ttl(get: Get) -> int:
    """The time to live of a packet just sent that says none: 255 in Neighbor Discovery (RFC 4861), 64 elsewhere."""
    return 255 if _is_icmpv6(get) and get("icmpv6_type") in range(133, 138) else 64


@dataclass(frozen=True, slots=True)
class Packet:
    """tags: VIDs (0 to 4095), outermost first; eth_type and what follows are those behind the last tag.

    fields: (name, value) by name, without zeros. inner: the packet that an ICMP error is about, as it was when it ran
    into the error: from `eth_type` on, MACs, tags and time to live left out. No flow can match it; conntrack reads it.
    Make one with `packet(...)`, which checks.
    """

    tags: tuple[int, ...]
    fields: tuple[tuple[str, int], ...]
    inner: Packet | None = None

    @property
    def headers(self) -> Mapping[str, int]:
        return MappingProxyType(dict(self.fields))

    def get(self, name: str) -> int:
        """The value of a header, 0 where it is absent."""
        for found, value in self.fields:
            if found == name:
                return value
        return 0

    @property
    def eth_src(self) -> int:
        return self.get("eth_src")

    @property
    def eth_dst(self) -> int:
        return self.get("eth_dst")

    @property
    def eth_type(self) -> int:
        return self.get("eth_type")

    @property
    def is_multicast(self) -> bool:
        """The group bit of the destination is set; broadcast included."""
        return bool(self.eth_dst >> 40 & 1)

    def with_(self, **fields: int) -> Packet:
        """A copy with these headers changed (0 takes one away). Headers that lose their prerequisite go, and so does
        what an ICMP error is about when it is none any more."""
        merged = {**dict(self.fields), **fields}
        there = _headers_beside(merged)
        changed = packet(self.tags, **{n: value for n, value in merged.items() if n in there or n not in WIDTHS})
        if self.inner is None or not is_icmp_error(changed.get):
            return changed
        return changed.with_inner(self.inner)

    def with_tags(self, *tags: int) -> Packet:
        """A copy with exactly these tags."""
        _refuse_tags(tags)
        return Packet(tags, self.fields, self.inner)

    def with_inner(self, inner: Packet | None) -> Packet:
        """A copy that is about `inner`. Raises ValueError where only an ICMP error can be, of the same IP version."""
        if inner is not None and not (is_icmp_error(self.get) and inner.eth_type == self.eth_type):
            raise ValueError("only an ICMP error is about a packet, and that is of its own IP version")
        return Packet(self.tags, self.fields, inner)

    def __str__(self) -> str:
        words = [f"tag={tag}" for tag in self.tags]
        words += [f"{name}={value:#x}" for name, value in self.fields]
        return " ".join(words) + (f" about ({self.inner})" if self.inner is not None else "")


def packet(tags: tuple[int, ...] = (), **headers: int) -> Packet:
    """A packet of these tags and headers. Raises ValueError where a value does not fit or a header cannot be."""
    _refuse_tags(tags)
    kept: dict[str, int] = {}
    for name, value in headers.items():
        limit = _LIMITS.get(name)
        if limit is None:
            raise ValueError(f"there is no header {name}")
        if not 0 <= value < limit:
            raise ValueError(f"{name} cannot be {value}")
        if value:
            kept[name] = value
    eth_type = kept.get("eth_type", 0)
    if eth_type < ETH_LLC or eth_type == ETH_VLAN:
        raise ValueError(f"eth_type cannot be {eth_type:#x}; tags are given as `tags`")
    there = _headers_beside(kept)
    if not kept.keys() <= there:
        name = next(name for name in kept if name not in there)
        raise ValueError(f"a packet of this type has no {name}")
    for name, option in (("nd_sll", SLL_OPTION), ("nd_tll", TLL_OPTION)):
        if name in kept and kept.get("nd_options_type") != option:
            raise ValueError(f"{name} stands in an option of type {option}")
    return Packet(tuple(tags), tuple(sorted(kept.items())))


def _refuse_tags(tags: tuple[int, ...]) -> None:
    for tag in tags:
        if not 0 <= tag <= 4095:
            raise ValueError(f"{tag} is not a VLAN id")


BROADCAST: Final = 0xFFFFFFFFFFFF
ALL_NODES: Final = 0xFF02 << 112 | 1
"""ff02::1 (RFC 4291 section 2.7.1)."""


def multicast_mac(ipv6: int) -> int:
    """The group address of an IPv6 multicast destination (RFC 2464 section 7)."""
    return 0x3333 << 32 | ipv6 & 0xFFFFFFFF


def solicited_node(ipv6: int) -> int:
    """ff02::1:ffXX:XXXX (RFC 4291 section 2.7.1)."""
    return 0xFF02 << 112 | 0x1FF << 24 | ipv6 & 0xFFFFFF


def raw(eth_src: int, eth_dst: int, eth_type: int) -> Packet:
    """A frame of any ethertype from 0x600, or `ETH_LLC` for one with a length there."""
    return packet(eth_src=eth_src, eth_dst=eth_dst, eth_type=eth_type)


def arp_request(sha: int, spa: int, tpa: int, eth_dst: int = BROADCAST) -> Packet:
    """Who has tpa? tell spa (RFC 826)."""
    return packet(eth_src=sha, eth_dst=eth_dst, eth_type=ETH_ARP, arp_op=1, arp_sha=sha, arp_spa=spa, arp_tpa=tpa)


def arp_reply(sha: int, spa: int, tha: int, tpa: int) -> Packet:
    """spa is at sha, told to tpa at tha (RFC 826)."""
    frame = {"eth_src": sha, "eth_dst": tha, "eth_type": ETH_ARP, "arp_op": 2}
    return packet((), **frame, arp_sha=sha, arp_spa=spa, arp_tha=tha, arp_tpa=tpa)


def _ip(eth: tuple[int, int], ip: tuple[int, int], version: int, **more: int) -> Packet:
    names = ("ip_src", "ip_dst", ETH_IPV4) if version == 4 else ("ipv6_src", "ipv6_dst", ETH_IPV6)
    headers = {"eth_src": eth[0], "eth_dst": eth[1], "eth_type": names[2], names[0]: ip[0], names[1]: ip[1]}
    return packet((), **headers, **more)


def ipv4_icmp(eth: tuple[int, int], ip: tuple[int, int], kind: int = 8, code: int = 0) -> Packet:
    """An echo request, or another ICMP message. eth, ip: (source, destination)."""
    return _ip(eth, ip, 4, nw_proto=ICMP, icmp_type=kind, icmp_code=code)


def ipv4_udp(eth: tuple[int, int], ip: tuple[int, int], ports: tuple[int, int]) -> Packet:
    """eth, ip, ports: (source, destination)."""
    return _ip(eth, ip, 4, nw_proto=UDP, udp_src=ports[0], udp_dst=ports[1])


def ipv4_tcp(eth: tuple[int, int], ip: tuple[int, int], ports: tuple[int, int]) -> Packet:
    """eth, ip, ports: (source, destination)."""
    return _ip(eth, ip, 4, nw_proto=TCP, tcp_src=ports[0], tcp_dst=ports[1])


def ipv4_sctp(eth: tuple[int, int], ip: tuple[int, int], ports: tuple[int, int]) -> Packet:
    """eth, ip, ports: (source, destination)."""
    return _ip(eth, ip, 4, nw_proto=SCTP, sctp_src=ports[0], sctp_dst=ports[1])


def ipv6_udp(eth: tuple[int, int], ip: tuple[int, int], ports: tuple[int, int]) -> Packet:
    """eth, ip, ports: (source, destination)."""
    return _ip(eth, ip, 6, nw_proto=UDP, udp_src=ports[0], udp_dst=ports[1])


def ipv6_tcp(eth: tuple[int, int], ip: tuple[int, int], ports: tuple[int, int]) -> Packet:
    """eth, ip, ports: (source, destination)."""
    return _ip(eth, ip, 6, nw_proto=TCP, tcp_src=ports[0], tcp_dst=ports[1])


def ipv6_sctp(eth: tuple[int, int], ip: tuple[int, int], ports: tuple[int, int]) -> Packet:
    """eth, ip, ports: (source, destination)."""
    return _ip(eth, ip, 6, nw_proto=SCTP, sctp_src=ports[0], sctp_dst=ports[1])


def icmpv6(eth: tuple[int, int], ip: tuple[int, int], kind: int, code: int = 0) -> Packet:
    """Any ICMPv6 message without the fields of Neighbor Discovery. eth, ip: (source, destination)."""
    return _ip(eth, ip, 6, nw_proto=ICMPV6, icmpv6_type=kind, icmpv6_code=code)


def icmp_error(eth: tuple[int, int], src: int, about: Packet, kind: int, code: int = 0) -> Packet:
    """What src tells the sender of `about` (an IP packet as src has seen it): type and code of ICMP, or of ICMPv6.

    eth: (source, destination). Raises ValueError if that type is none of an error.
    """
    version = 4 if about.eth_type == ETH_IPV4 else 6
    ip = src, about.get("ip_src" if version == 4 else "ipv6_src")
    error = ipv4_icmp(eth, ip, kind, code) if version == 4 else icmpv6(eth, ip, kind, code)
    inner = about.with_(eth_src=0, eth_dst=0, nw_ttl=0).with_tags().with_inner(None)
    return error.with_inner(inner)


def dhcp_discover(eth_src: int) -> Packet:
    """The first message of a client that has no address yet (RFC 2131 section 4.1)."""
    return ipv4_udp((eth_src, BROADCAST), (0, 0xFFFFFFFF), (68, 67))


def neighbor_solicitation(eth_src: int, ipv6_src: int, target: int, sll: int = 0) -> Packet:
    """Who has target? To its solicited-node group; sll 0: without the option (RFC 4861 section 4.3)."""
    group = solicited_node(target)
    asked = icmpv6((eth_src, multicast_mac(group)), (ipv6_src, group), SOLICIT)
    return asked.with_(nd_target=target, nd_sll=sll, nd_options_type=SLL_OPTION if sll else 0)


def neighbor_advertisement(eth: tuple[int, int], ip: tuple[int, int], target: int, tll: int = 0) -> Packet:
    """target is at tll, S and O set; tll 0: no option. eth, ip: (source, destination) (RFC 4861 section 4.4)."""
    told = icmpv6(eth, ip, ADVERT).with_(nd_target=target, nd_reserved=SOLICITED_OVERRIDE)
    return told.with_(nd_tll=tll, nd_options_type=TLL_OPTION if tll else 0)
