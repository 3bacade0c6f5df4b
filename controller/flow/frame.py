"""The bytes of a `Packet` on the wire, and back. PURE.

`form_frame` makes a whole, valid Ethernet frame (lengths, checksums, a short payload); `parse_frame` reads what the
parser of Open vSwitch would see of one, and what an ICMP error is about. A time to live that is not said is
`default_ttl` on the wire, and read as not said. Layouts: IEEE 802.3 and 802.1Q, RFC 826, 791, 8200, 768, 9293, 9260,
792, 4443, 4861.
"""

from __future__ import annotations

import struct

from controller.flow.packet import (
    ADVERT,
    ETH_ARP,
    ETH_IPV4,
    ETH_IPV6,
    ETH_LLC,
    ETH_RARP,
    ETH_VLAN,
    ICMP,
    ICMPV6,
    SCTP,
    SLL_OPTION,
    SOLICIT,
    TCP,
    TLL_OPTION,
    UDP,
    Packet,
    default_ttl,
    is_icmp_error,
    packet,
)

_PAYLOAD = b"tripoint"
_LLC = b"\x42\x42\x03" + bytes(35)
"""An LLC header and body: what a spanning tree BPDU looks like from outside."""
_MIN_BYTES = 60
SYN = 0x02
ACK = 0x10
"""TCP flags (RFC 9293 section 3.1)."""


def form_frame(frame: Packet, *, tcp_flags: int = SYN) -> bytes:
    """At least 60 bytes, without the frame check sequence. tcp_flags: of a TCP segment; a packet does not say them."""
    get = frame.get
    head = get("eth_dst").to_bytes(6, "big") + get("eth_src").to_bytes(6, "big")
    head += b"".join(struct.pack("!HH", ETH_VLAN, tag) for tag in frame.tags)
    match frame.eth_type:
        case 0x0806 | 0x8035:
            body = _form_arp(frame)
        case 0x0800:
            body = _form_ipv4(frame, tcp_flags)
        case 0x86DD:
            body = _form_ipv6(frame, tcp_flags)
        case 0x05FF:
            body = _LLC
        case _:
            body = _PAYLOAD
    kind = len(body) if frame.eth_type == ETH_LLC else frame.eth_type
    return (head + struct.pack("!H", kind) + body).ljust(_MIN_BYTES, b"\0")


def _form_arp(frame: Packet) -> bytes:
    get = frame.get
    sender = get("arp_sha").to_bytes(6, "big") + get("arp_spa").to_bytes(4, "big")
    target = get("arp_tha").to_bytes(6, "big") + get("arp_tpa").to_bytes(4, "big")
    return struct.pack("!HHBBH", 1, ETH_IPV4, 6, 4, get("arp_op")) + sender + target


def _form_ipv4(frame: Packet, tcp_flags: int = SYN) -> bytes:
    addresses = struct.pack("!II", frame.get("ip_src"), frame.get("ip_dst"))
    proto = frame.get("nw_proto")
    body = _form_transport(frame, addresses, tcp_flags)
    head = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(body), 1, 0x4000, _ttl(frame), proto, 0) + addresses
    return head[:10] + _checksum(head) + head[12:] + body


def _form_ipv6(frame: Packet, tcp_flags: int = SYN) -> bytes:
    addresses = frame.get("ipv6_src").to_bytes(16, "big") + frame.get("ipv6_dst").to_bytes(16, "big")
    body = _form_transport(frame, addresses, tcp_flags)
    return struct.pack("!IHBB", 6 << 28, len(body), frame.get("nw_proto"), _ttl(frame)) + addresses + body


def _ttl(frame: Packet) -> int:
    return frame.get("nw_ttl") or default_ttl(frame.get)


def _form_transport(frame: Packet, addresses: bytes, tcp_flags: int) -> bytes:
    get = frame.get
    proto = get("nw_proto")
    if proto == UDP:
        body, at = struct.pack("!HHHH", get("udp_src"), get("udp_dst"), 8 + len(_PAYLOAD), 0) + _PAYLOAD, 6
    elif proto == TCP:
        ports, flags = (get("tcp_src"), get("tcp_dst")), 0x5000 | tcp_flags
        body, at = struct.pack("!HHIIHHHH", *ports, 1, int(bool(tcp_flags & ACK)), flags, 65535, 0, 0), 16
    elif proto == SCTP:
        return _form_sctp(get("sctp_src"), get("sctp_dst"))
    elif proto == ICMP and frame.eth_type == ETH_IPV4:
        message = struct.pack("!BBH", get("icmp_type"), get("icmp_code"), 0) + _form_echo_or_inner(frame)
        return message[:2] + _checksum(message) + message[4:]
    elif proto == ICMPV6 and frame.eth_type == ETH_IPV6:
        body, at = _form_icmpv6(frame), 2
    else:
        return _PAYLOAD
    pseudo = addresses + struct.pack("!IHBB", len(body), 0, 0, proto)
    return body[:at] + _checksum(pseudo + body) + body[at + 2 :]


def _form_echo_or_inner(frame: Packet) -> bytes:
    """What follows the checksum: identifier and sequence number, or four bytes unused and the packet it is about."""
    if frame.inner is None:
        return struct.pack("!HH", 1, 1) + _PAYLOAD
    return bytes(4) + (_form_ipv4(frame.inner) if frame.inner.eth_type == ETH_IPV4 else _form_ipv6(frame.inner))


def _form_sctp(src: int, dst: int) -> bytes:
    """An INIT (RFC 9260 section 3.3.2): tag 1, window, one stream each way, first TSN 1."""
    init = struct.pack("!BBHIIHHI", 1, 0, 20, 1, 65535, 1, 1, 1)
    head = struct.pack("!HHI", src, dst, 0)
    return head + struct.pack("<I", crc32c(head + bytes(4) + init)) + init


def crc32c(data: bytes) -> int:
    """The checksum of SCTP (RFC 9260 appendix A)."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def _form_icmpv6(frame: Packet) -> bytes:
    get = frame.get
    head = struct.pack("!BBH", get("icmpv6_type"), get("icmpv6_code"), 0)
    if get("icmpv6_type") not in (SOLICIT, ADVERT) or get("icmpv6_code"):
        return head + _form_echo_or_inner(frame)
    body = head + get("nd_reserved").to_bytes(4, "big") + get("nd_target").to_bytes(16, "big")
    kind = get("nd_options_type")
    if kind:
        body += struct.pack("!BB", kind, 1) + (get("nd_sll") or get("nd_tll")).to_bytes(6, "big")
    return body


def _checksum(data: bytes) -> bytes:
    """RFC 1071, over data in which the checksum itself is zero."""
    total = sum(struct.unpack(f"!{(len(data) + 1) // 2}H", data + b"\0" * (len(data) % 2)))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return struct.pack("!H", ~total & 0xFFFF)


def parse_frame(data: bytes) -> Packet:
    """What a flow could match of a frame. Raises ValueError where a header is cut short."""
    try:
        return _parse(data)
    except (struct.error, IndexError) as error:
        raise ValueError(f"the frame of {len(data)} bytes ends inside a header") from error


def _parse(data: bytes) -> Packet:
    headers = {"eth_dst": _number(data, 0, 6), "eth_src": _number(data, 6, 6)}
    tags = []
    at = 12
    while (kind := _number(data, at, 2)) == ETH_VLAN:
        tags.append(_number(data, at + 2, 2) & 0xFFF)
        at += 4
    body = data[at + 2 :]
    headers["eth_type"] = kind if kind >= 0x600 else ETH_LLC
    payload = b""
    if kind in (ETH_ARP, ETH_RARP):
        headers |= {"arp_op": _number(body, 6, 2), "arp_sha": _number(body, 8, 6), "arp_spa": _number(body, 14, 4)}
        headers |= {"arp_tha": _number(body, 18, 6), "arp_tpa": _number(body, 24, 4)}
    elif kind in (ETH_IPV4, ETH_IPV6):
        found, payload = _parse_ip(kind, body)
        headers |= found
    parsed = packet(tuple(tags), **headers)
    return parsed.with_inner(_parse_inner(kind, payload[8:])) if is_icmp_error(parsed.get) else parsed


def _parse_ip(kind: int, body: bytes) -> tuple[dict[str, int], bytes]:
    """The headers of an IP packet of that ethertype, and what follows its IP header."""
    if kind == ETH_IPV4:
        proto, ttl, rest = body[9], body[8], body[(body[0] & 15) * 4 : _number(body, 2, 2)]
        headers = {"ip_src": _number(body, 12, 4), "ip_dst": _number(body, 16, 4)}
    else:
        proto, ttl, rest = body[6], body[7], body[40 : 40 + _number(body, 4, 2)]
        headers = {"ipv6_src": _number(body, 8, 16), "ipv6_dst": _number(body, 24, 16)}
    headers |= {"eth_type": kind, "nw_proto": proto}
    if proto == ICMP and kind == ETH_IPV4:
        headers |= {"icmp_type": _number(rest, 0, 1), "icmp_code": _number(rest, 1, 1)}
    elif proto == ICMPV6 and kind == ETH_IPV6:
        headers |= _parse_icmpv6(rest)
    else:
        headers |= _parse_ports(proto, rest)
    return headers | {"nw_ttl": 0 if ttl == default_ttl(headers.get) else ttl}, rest


def _parse_inner(kind: int, body: bytes) -> Packet | None:
    """The packet that an ICMP error is about, None where there is none to be read."""
    if not body or body[0] >> 4 != (4 if kind == ETH_IPV4 else 6):
        return None
    headers, _ = _parse_ip(kind, body)
    return packet((), **{**headers, "nw_ttl": 0})


def _parse_ports(proto: int, body: bytes) -> dict[str, int]:
    word = {TCP: "tcp", UDP: "udp", SCTP: "sctp"}.get(proto)
    return {f"{word}_src": _number(body, 0, 2), f"{word}_dst": _number(body, 2, 2)} if word else {}


def _parse_icmpv6(body: bytes) -> dict[str, int]:
    headers = {"icmpv6_type": body[0], "icmpv6_code": body[1]}
    if body[0] not in (SOLICIT, ADVERT) or body[1]:
        return headers
    headers |= {"nd_reserved": _number(body, 4, 4), "nd_target": _number(body, 8, 16)}
    option = body[24:]
    if len(option) >= 8:
        headers["nd_options_type"] = option[0]
        name = {(SOLICIT, SLL_OPTION): "nd_sll", (ADVERT, TLL_OPTION): "nd_tll"}.get((body[0], option[0]))
        if name:
            headers[name] = _number(option, 2, 6)
    return headers


def _number(data: bytes, at: int, n_bytes: int) -> int:
    if len(data) < at + n_bytes:
        raise ValueError(f"the frame of {len(data)} bytes ends inside a header")
    return int.from_bytes(data[at : at + n_bytes], "big")
