"""The bytes of a `Packet` on the wire, and back. PURE.

`form_frame` makes a whole, valid Ethernet frame (lengths, checksums, a short payload); `parse_frame` reads what the
parser of Open vSwitch would see of one. Layouts: IEEE 802.3 and 802.1Q, RFC 826, 791, 8200, 768, 9293, 792, 4443, 4861.
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
    SLL_OPTION,
    SOLICIT,
    TCP,
    TLL_OPTION,
    UDP,
    Packet,
    packet,
)

_PAYLOAD = b"tripoint"
_LLC = b"\x42\x42\x03" + bytes(35)
"""An LLC header and body: what a spanning tree BPDU looks like from outside."""
_MIN_BYTES = 60


def form_frame(frame: Packet) -> bytes:
    """At least 60 bytes, without the frame check sequence."""
    get = frame.get
    head = get("eth_dst").to_bytes(6, "big") + get("eth_src").to_bytes(6, "big")
    head += b"".join(struct.pack("!HH", ETH_VLAN, tag) for tag in frame.tags)
    match frame.eth_type:
        case 0x0806 | 0x8035:
            body = _form_arp(frame)
        case 0x0800:
            body = _form_ipv4(frame)
        case 0x86DD:
            body = _form_ipv6(frame)
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


def _form_ipv4(frame: Packet) -> bytes:
    addresses = struct.pack("!II", frame.get("ip_src"), frame.get("ip_dst"))
    proto = frame.get("nw_proto")
    body = _form_transport(frame, addresses)
    head = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(body), 1, 0x4000, 64, proto, 0) + addresses
    return head[:10] + _checksum(head) + head[12:] + body


def _form_ipv6(frame: Packet) -> bytes:
    addresses = frame.get("ipv6_src").to_bytes(16, "big") + frame.get("ipv6_dst").to_bytes(16, "big")
    body = _form_transport(frame, addresses)
    return struct.pack("!IHBB", 6 << 28, len(body), frame.get("nw_proto"), 255) + addresses + body


def _form_transport(frame: Packet, addresses: bytes) -> bytes:
    get = frame.get
    proto = get("nw_proto")
    if proto == UDP:
        body, at = struct.pack("!HHHH", get("udp_src"), get("udp_dst"), 8 + len(_PAYLOAD), 0) + _PAYLOAD, 6
    elif proto == TCP:
        body, at = struct.pack("!HHIIHHHH", get("tcp_src"), get("tcp_dst"), 1, 0, 0x5002, 65535, 0, 0), 16
    elif proto == ICMP and frame.eth_type == ETH_IPV4:
        echo = struct.pack("!BBHHH", 8, 0, 0, 1, 1) + _PAYLOAD
        return echo[:2] + _checksum(echo) + echo[4:]
    elif proto == ICMPV6 and frame.eth_type == ETH_IPV6:
        body, at = _form_icmpv6(frame), 2
    else:
        return _PAYLOAD
    pseudo = addresses + struct.pack("!IHBB", len(body), 0, 0, proto)
    return body[:at] + _checksum(pseudo + body) + body[at + 2 :]


def _form_icmpv6(frame: Packet) -> bytes:
    get = frame.get
    body = struct.pack("!BBHI", get("icmpv6_type"), get("icmpv6_code"), 0, get("nd_reserved"))
    if get("icmpv6_type") not in (SOLICIT, ADVERT) or get("icmpv6_code"):
        return body + _PAYLOAD
    body += get("nd_target").to_bytes(16, "big")
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
    if kind in (ETH_ARP, ETH_RARP):
        headers |= {"arp_op": _number(body, 6, 2), "arp_sha": _number(body, 8, 6), "arp_spa": _number(body, 14, 4)}
        headers |= {"arp_tha": _number(body, 18, 6), "arp_tpa": _number(body, 24, 4)}
    elif kind == ETH_IPV4:
        proto = body[9]
        headers |= {"nw_proto": proto, "ip_src": _number(body, 12, 4), "ip_dst": _number(body, 16, 4)}
        headers |= _parse_ports(proto, body[(body[0] & 15) * 4 : _number(body, 2, 2)])
    elif kind == ETH_IPV6:
        proto = body[6]
        rest = body[40 : 40 + _number(body, 4, 2)]
        headers |= {"nw_proto": proto, "ipv6_src": _number(body, 8, 16), "ipv6_dst": _number(body, 24, 16)}
        headers |= _parse_icmpv6(rest) if proto == ICMPV6 else _parse_ports(proto, rest)
    return packet(tuple(tags), **headers)


def _parse_ports(proto: int, body: bytes) -> dict[str, int]:
    word = {TCP: "tcp", UDP: "udp"}.get(proto)
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
