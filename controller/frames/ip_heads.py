"""An Ethernet frame read down to the head of what IP carries. PURE; never raises, whatever the octets.

RFC 791 section 3.1; RFC 8200 sections 3 and 4 (extension headers); RFC 4302 section 2.2 (the length of AH).
"""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from typing import Final

from controller.flow.packet import ETH_IPV4, ETH_IPV6, ICMP, ICMPV6, TCP

Address = IPv4Address | IPv6Address

ETH_BYTES: Final = 14
IPV4_BYTES: Final = 20
IPV6_BYTES: Final = 40
MOST_EXTENSIONS: Final = 8
"""So many extension headers are walked over; nobody sends more for a good reason (RFC 9098)."""

_HOP_BY_HOP, _ROUTING, _FRAGMENT, _AUTHENTICATION, _DESTINATION = 0, 43, 44, 51, 60
_EXTENSIONS = frozenset({_HOP_BY_HOP, _ROUTING, _FRAGMENT, _AUTHENTICATION, _DESTINATION})
_FIN, _SYN, _RST, _ACK = 0x01, 0x02, 0x04, 0x10

ICMP_QUERIES: Final = frozenset({0, 8, 9, 10, 13, 14, 15, 16, 17, 18, 42, 43})
"""ICMP types that are no errors: RFC 792, 950, 1256, 8335. What is not known is taken for an error."""
ICMPV6_INFORMATION: Final = 128
"""From here on ICMPv6 types are informational (RFC 4443 section 2.1)."""
_ICMPV6_REDIRECT = 137


@dataclass(frozen=True, slots=True)
class IpHeads:
    """One IP packet in a frame without tags.

    packet: from its IP head to the end that its length tells, or to where the frame was cut. n_bytes: its length as it
    says itself. segment_at: where in it the head of `protocol` begins, behind options and extension headers.
    fragment_at: the fragment offset, in octets. more: other fragments follow. forwarded: a routing header has not been
    done with, so that the target is not the last one.
    """

    eth_dst: bytes
    eth_src: bytes
    source: Address
    target: Address
    protocol: int
    traffic_class: int
    packet: bytes
    n_bytes: int
    segment_at: int
    fragment_at: int = 0
    more: bool = False
    forwarded: bool = False

    @property
    def version(self) -> int:
        return self.source.version

    @property
    def segment(self) -> bytes:
        """What IP carries, as far as it is there."""
        return self.packet[self.segment_at :]


@dataclass(frozen=True, slots=True)
class TcpHead:
    """RFC 9293 section 3.1. n_sequence: how much of the sequence space the segment takes (SEG.LEN)."""

    source_port: int
    target_port: int
    sequence: int
    acknowledged: int
    n_sequence: int
    reset: bool
    acknowledges: bool


def read_ip(frame: bytes) -> IpHeads | None:
    """None where the frame is no whole IP head in an untagged frame."""
    kind, body = int.from_bytes(frame[12:14], "big"), frame[ETH_BYTES:]
    if kind == ETH_IPV4:
        return _read_ipv4(frame, body)
    return _read_ipv6(frame, body) if kind == ETH_IPV6 else None


def _read_ipv4(frame: bytes, body: bytes) -> IpHeads | None:
    if len(body) < IPV4_BYTES:
        return None
    n_head, n_bytes = (body[0] & 15) * 4, int.from_bytes(body[2:4], "big")
    if body[0] >> 4 != 4 or n_head < IPV4_BYTES or n_bytes < n_head or len(body) < n_head:
        return None
    flags = int.from_bytes(body[6:8], "big")
    return IpHeads(
        frame[:6],
        frame[6:12],
        IPv4Address(body[12:16]),
        IPv4Address(body[16:20]),
        body[9],
        body[1],
        body[:n_bytes],
        n_bytes,
        n_head,
        (flags & 0x1FFF) * 8,
        bool(flags & 0x2000),
    )


def _read_ipv6(frame: bytes, body: bytes) -> IpHeads | None:
    if len(body) < IPV6_BYTES or body[0] >> 4 != 6:
        return None
    n_bytes = IPV6_BYTES + int.from_bytes(body[4:6], "big")
    packet = body[:n_bytes]
    protocol, at = body[6], IPV6_BYTES
    fragment_at, more, forwarded = 0, False, False
    for _ in range(MOST_EXTENSIONS + 1):
        if protocol not in _EXTENSIONS or fragment_at:  # a later fragment does not begin with a head
            break
        if len(packet) < at + 8:
            return None
        following, n_units = packet[at], packet[at + 1]
        if protocol == _FRAGMENT:
            flags = int.from_bytes(packet[at + 2 : at + 4], "big")
            fragment_at, more, n_extension = flags & 0xFFF8, bool(flags & 1), 8
        elif protocol == _AUTHENTICATION:
            n_extension = (n_units + 2) * 4
        else:
            n_extension = (n_units + 1) * 8
            forwarded = forwarded or (protocol == _ROUTING and packet[at + 3] > 0)
        protocol, at = following, at + n_extension
    else:
        return None
    if at > n_bytes:
        return None
    source, target = IPv6Address(body[8:24]), IPv6Address(body[24:40])
    traffic_class = (int.from_bytes(body[:2], "big") >> 4) & 0xFF
    return IpHeads(
        frame[:6],
        frame[6:12],
        source,
        target,
        protocol,
        traffic_class,
        packet,
        n_bytes,
        at,
        fragment_at,
        more,
        forwarded,
    )


def read_tcp(heads: IpHeads) -> TcpHead | None:
    """The TCP head, as far as an answer needs it; None where it is cut, or its lengths contradict each other."""
    segment = heads.segment
    if heads.protocol != TCP or heads.fragment_at or len(segment) < 14:
        return None
    n_head, flags = (segment[12] >> 4) * 4, segment[13]
    n_data = heads.n_bytes - heads.segment_at - n_head
    if n_head < 20 or n_data < 0:
        return None
    return TcpHead(
        int.from_bytes(segment[:2], "big"),
        int.from_bytes(segment[2:4], "big"),
        int.from_bytes(segment[4:8], "big"),
        int.from_bytes(segment[8:12], "big"),
        n_data + bool(flags & _SYN) + bool(flags & _FIN),
        bool(flags & _RST),
        bool(flags & _ACK),
    )


def may_be_answered(heads: IpHeads) -> bool:
    """Whether anything may be said about this packet to its sender, by TCP or ICMP.

    Not about an ICMP error or a RST, a fragment other than the first, a packet to several (on either layer), or one
    whose source is no single machine (RFC 1122 section 3.2.2, RFC 4443 section 2.4 (e), RFC 9293 section 3.10.7.1).
    """
    if heads.fragment_at or heads.forwarded or _is_group(heads.eth_dst) or _is_group(heads.eth_src):
        return False
    if not (_is_single(heads.source) and _is_single(heads.target)):
        return False
    if heads.protocol == TCP:
        head = read_tcp(heads)
        return head is not None and not head.reset
    if heads.protocol in (ICMP, ICMPV6):
        kind = heads.segment[0] if heads.segment else 0
        if heads.version == 4 and heads.protocol == ICMP:
            return bool(heads.segment) and kind in ICMP_QUERIES
        if heads.version == 6 and heads.protocol == ICMPV6:
            return kind >= ICMPV6_INFORMATION and kind != _ICMPV6_REDIRECT
    return True


def _is_group(mac: bytes) -> bool:
    return bool(mac[0] & 1)


def _is_single(address: Address) -> bool:
    """Whether it may be one machine's: not unspecified, loopback, multicast, broadcast or reserved."""
    if isinstance(address, IPv4Address):
        return 0 < address.packed[0] < 224 and address.packed[0] != 127
    return not (address.is_unspecified or address.is_loopback or address.is_multicast)
