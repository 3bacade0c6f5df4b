"""What the sender of a packet is told: the octets of a frame in answer to a frame. PURE; None: nothing may be said.

TCP resets: RFC 9293 section 3.10.7.1. ICMP errors: RFC 792, RFC 1812 sections 4.3.2.3 to 4.3.2.5 and 5.2.7, RFC 4443
sections 2.4 and 3.
"""

from __future__ import annotations

import struct
from typing import Final

from controller.flow.packet import ICMP, ICMPV6, TCP, UDP
from controller.frames.ip_heads import IPV4_BYTES, IPV6_BYTES, Address, IpHeads, may_be_answered, read_ip, read_tcp
from controller.frames.octets import checksum, form_ethernet, form_ip, put_checksum, sum_up
from controller.mac import Mac

ICMP_MOST_BYTES: Final = 576
"""An ICMP error quotes as much as fits into an IPv4 packet of this size (RFC 1812 section 4.3.2.3)."""
ICMPV6_MOST_BYTES: Final = 1280
"""The least MTU of IPv6, and no more (RFC 4443 section 3.1)."""
_ERROR_HEAD_BYTES = 8
_UNREACHABLE, _TIME_EXCEEDED = 3, 11
_UNREACHABLE6, _TIME_EXCEEDED6 = 1, 3
_NET, _PROTOCOL, _PORT = 0, 2, 3
_NO_ROUTE6, _PORT6 = 0, 4
_INTERNETWORK_CONTROL = 0xC0
"""The precedence of ICMP errors; the type of service stays that of the packet (RFC 1812 section 4.3.2.5)."""
_TOS = 0x1E
_RST, _RST_ACK = 0x04, 0x14


def reject(frame: bytes, eth_dst: Mac | None = None) -> bytes | None:
    """In the name of the address that the packet was for: RST for TCP; port or protocol unreachable for others.

    eth_dst: who the answer is handed to; None: the frame's source. Its source is the frame's target.
    """
    heads = _answerable(frame)
    if heads is None:
        return None
    if heads.protocol == TCP:
        answer = _reset(heads)
    elif heads.version == 6:
        answer = _error(heads, heads.target, _UNREACHABLE6, _PORT6)
    else:
        answer = _error(heads, heads.target, _UNREACHABLE, _PORT if heads.protocol == UDP else _PROTOCOL)
    return None if answer is None else _send_back(heads, answer, eth_dst)


def time_exceeded(frame: bytes, router: Address) -> bytes | None:
    """From the router's address to the frame's source: the packet had no hops left."""
    return _by_router(frame, router, (_TIME_EXCEEDED, 0), (_TIME_EXCEEDED6, 0))


def unreachable(frame: bytes, router: Address) -> bytes | None:
    """From the router's address to the frame's source: nothing leads to where the packet was for."""
    return _by_router(frame, router, (_UNREACHABLE, _NET), (_UNREACHABLE6, _NO_ROUTE6))


def _by_router(frame: bytes, router: Address, kind: tuple[int, int], kind6: tuple[int, int]) -> bytes | None:
    heads = _answerable(frame)
    if heads is None or heads.version != router.version:
        return None
    return _send_back(heads, _error(heads, router, *(kind if router.version == 4 else kind6)))


def _answerable(frame: bytes) -> IpHeads | None:
    heads = read_ip(frame)
    return heads if heads is not None and may_be_answered(heads) else None


def _send_back(heads: IpHeads, answer: tuple[int, bytes], eth_dst: Mac | None = None) -> bytes:
    target = heads.eth_src if eth_dst is None else eth_dst.value.to_bytes(6, "big")
    return form_ethernet(target, heads.eth_dst, *answer)


def _reset(heads: IpHeads) -> tuple[int, bytes] | None:
    """As a TCP without the connection resets it: the sender believes it, for it knows what it has just sent."""
    head = read_tcp(heads)
    if head is None or (heads.more and not head.acknowledges):  # how long the segment is, only all fragments tell
        return None
    if head.acknowledges:
        sequence, acknowledged, flags = head.acknowledged, 0, _RST
    else:
        sequence, acknowledged, flags = 0, (head.sequence + head.n_sequence) & 0xFFFFFFFF, _RST_ACK
    ports = (head.target_port, head.source_port)
    segment = struct.pack("!HHIIBBHHH", *ports, sequence, acknowledged, 5 << 4, flags, 0, 0, 0)
    return form_ip(heads.target, heads.source, TCP, sum_up(heads.target, heads.source, TCP, segment, 16))


def _error(heads: IpHeads, source: Address, kind: int, code: int) -> tuple[int, bytes]:
    head = struct.pack("!BBHI", kind, code, 0, 0)
    if heads.version == 4:
        message = head + heads.packet[: ICMP_MOST_BYTES - IPV4_BYTES - _ERROR_HEAD_BYTES]
        message = put_checksum(message, 2, checksum(message))
        return form_ip(
            source, heads.source, ICMP, message, traffic_class=_INTERNETWORK_CONTROL | heads.traffic_class & _TOS
        )
    message = head + heads.packet[: ICMPV6_MOST_BYTES - IPV6_BYTES - _ERROR_HEAD_BYTES]
    return form_ip(source, heads.source, ICMPV6, sum_up(source, heads.source, ICMPV6, message, 2))
