"""Ethernet frames made and read by hand: what the labs send past the kernel, and what captures say. PURE.

MACs and addresses are text and `ipaddress` values here; a frame is bytes without preamble and FCS.
Sources: IEEE 802.3, 802.1Q; RFC 826 (ARP), 791 (IPv4), 792 (ICMP), 8200 (IPv6), 4443, 4861 (ND), 768 (UDP), 9293 (TCP);
7348 (VXLAN), 8926 (Geneve), 2784 and 2890 (GRE with a key).
"""

from __future__ import annotations

import ipaddress
import struct
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import assert_never

from topologies.spec import L4_PORTS, Address, Encapsulation, Refusal

BROADCAST = "ff:ff:ff:ff:ff:ff"
LINK_LOCAL_GROUP = "01:80:c2:00:00:0e"
"""For the next station only: no bridge passes it on (IEEE 802.1Q table 8-1)."""
ZERO_MAC = "00:00:00:00:00:00"
ARP, IPV4, IPV6, DOT1Q, DOT1AD, RARP = 0x0806, 0x0800, 0x86DD, 0x8100, 0x88A8, 0x8035
EXPERIMENTAL = 0x88B5
"""IEEE 802 local experimental ethertype 1: the canary's, so that no protocol stack acts on it."""
ICMP, TCP, UDP, ICMPV6 = 1, 6, 17, 58
GRE = 47
SYN, RST, ACK = 0x02, 0x04, 0x10
_TRANSPARENT_ETHERNET = 0x6558
MINIMUM_BYTES = 60


@dataclass(frozen=True, slots=True)
class Party:
    """Who a frame is from or to, on both layers. port: of TCP or UDP."""

    mac: str
    ip: Address
    port: int = 0


def mac_bytes(mac: str) -> bytes:
    return bytes.fromhex(mac.replace(":", ""))


def mac_text(octets: bytes) -> str:
    return octets.hex(":")


def ethernet(source: str, target: str, ethertype: int, payload: bytes) -> bytes:
    """A frame; padded by zeros to 60 bytes."""
    return (mac_bytes(target) + mac_bytes(source) + struct.pack("!H", ethertype) + payload).ljust(MINIMUM_BYTES, b"\0")


def tagged(frame: bytes, vid: int, priority: int = 0, tpid: int = DOT1Q) -> bytes:
    """The frame with one more tag, outermost."""
    return frame[:12] + struct.pack("!HH", tpid, priority << 13 | vid) + frame[12:]


def checksum(data: bytes) -> int:
    """The Internet checksum (RFC 1071)."""
    if len(data) % 2:
        data += b"\0"
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def ip_packet(source: Address, target: Address, protocol: int, payload: bytes, ttl: int = 64) -> bytes:
    """An IPv4 or IPv6 packet without options, by the addresses' version."""
    if source.version == 4:
        head = struct.pack(
            "!BBHHHBBH4s4s", 0x45, 0, 20 + len(payload), 0, 0, ttl, protocol, 0, source.packed, target.packed
        )
        return head[:10] + struct.pack("!H", checksum(head)) + head[12:] + payload
    return struct.pack("!IHBB16s16s", 6 << 28, len(payload), protocol, ttl, source.packed, target.packed) + payload


def _with_checksum(source: Address, target: Address, protocol: int, segment: bytes, offset: int) -> bytes:
    """The segment with the checksum over pseudo-header and segment at `offset` (where it holds zeros)."""
    if source.version == 4:
        pseudo = source.packed + target.packed + struct.pack("!BBH", 0, protocol, len(segment))
    else:
        pseudo = source.packed + target.packed + struct.pack("!IHBB", len(segment), 0, 0, protocol)
    value = checksum(pseudo + segment)
    if protocol == UDP and value == 0:
        value = 0xFFFF
    return segment[:offset] + struct.pack("!H", value) + segment[offset + 2 :]


def _framed(source: Party, target: Party, protocol: int, segment: bytes, ttl: int = 64) -> bytes:
    ethertype = IPV4 if source.ip.version == 4 else IPV6
    return ethernet(source.mac, target.mac, ethertype, ip_packet(source.ip, target.ip, protocol, segment, ttl))


def udp(source: Party, target: Party, payload: bytes) -> bytes:
    head = struct.pack("!HHHH", source.port, target.port, 8 + len(payload), 0)
    return _framed(source, target, UDP, _with_checksum(source.ip, target.ip, UDP, head + payload, 6))


def tcp_syn(source: Party, target: Party, payload: bytes) -> bytes:
    """A SYN that carries data, as RFC 9293 section 3.4 allows."""
    return tcp(source, target, SYN, payload)


def tcp(source: Party, target: Party, flags: int, payload: bytes) -> bytes:
    """A segment with sequence number 1 that acknowledges 1, where it has ACK."""
    acknowledged = 1 if flags & ACK else 0
    head = struct.pack("!HHIIBBHHH", source.port, target.port, 1, acknowledged, 5 << 4, flags, 8192, 0, 0)
    return _framed(source, target, TCP, _with_checksum(source.ip, target.ip, TCP, head + payload, 16))


def echo_segment(version: int, identifier: int, sequence: int, payload: bytes) -> bytes:
    """An echo request, with its checksum for ICMP; for ICMPv6 the checksum is left to the kernel or to `echo`."""
    head = struct.pack("!BBHHH", 8 if version == 4 else 128, 0, 0, identifier, sequence)
    if version == 6:
        return head + payload
    return head[:2] + struct.pack("!H", checksum(head + payload)) + head[4:] + payload


def echo(source: Party, target: Party, payload: bytes) -> bytes:
    version = source.ip.version
    return icmp(source, target, (8 if version == 4 else 128, 0), struct.pack("!HH", 0x5450, 1) + payload)


def echo_reply(source: Party, target: Party, payload: bytes) -> bytes:
    version = source.ip.version
    return icmp(source, target, (0 if version == 4 else 129, 0), struct.pack("!HH", 0x5450, 1) + payload)


def port_unreachable(source: Party, target: Party, packet: bytes) -> bytes:
    """In answer to an IP packet (RFC 792, RFC 4443 section 3.1)."""
    kind = (3, 3) if source.ip.version == 4 else (1, 4)
    return icmp(source, target, kind, bytes(4) + packet)


def icmp(source: Party, target: Party, kind: tuple[int, int], body: bytes) -> bytes:
    """ICMP or ICMPv6, by the addresses' version. kind: type and code. body: what follows the checksum."""
    segment = bytes(kind) + bytes(2) + body
    if source.ip.version == 4:
        return _framed(source, target, ICMP, segment[:2] + struct.pack("!H", checksum(segment)) + body)
    return _framed(source, target, ICMPV6, _with_checksum(source.ip, target.ip, ICMPV6, segment, 2))


def arp(operation: int, sender: Party, asked: Party, source: str, target: str, trailer: bytes = b"") -> bytes:
    """An ARP packet (RFC 826), operation 1 or 2.

    source, target: the frame's MACs. trailer: stands where a frame is padded, outside the packet.
    """
    body = struct.pack("!HHBBH", 1, IPV4, 6, 4, operation) + mac_bytes(sender.mac) + sender.ip.packed
    return ethernet(source, target, ARP, body + mac_bytes(asked.mac) + asked.ip.packed + trailer)


def neighbour(kind: int, source: Party, target: Party, body: bytes, trailer: bytes = b"") -> bytes:
    """An ND message (RFC 4861), hop limit 255. body: what follows the checksum, options included.

    trailer: an option of an unassigned type (253, RFC 4727) that carries it; receivers skip it.
    """
    if trailer:
        padded = trailer.ljust(-(-(len(trailer) + 2) // 8) * 8 - 2, b"\0")
        body += struct.pack("!BB", 253, (len(padded) + 2) // 8) + padded
    segment = struct.pack("!BBH", kind, 0, 0) + body
    return _framed(source, target, ICMPV6, _with_checksum(source.ip, target.ip, ICMPV6, segment, 2), 255)


def link_address_option(kind: int, mac: str) -> bytes:
    """kind 1: source, 2: target link-layer address (RFC 4861 section 4.6.1)."""
    return struct.pack("!BB", kind, 1) + mac_bytes(mac)


def solicitation(source: Party, asked: Address, trailer: bytes = b"") -> bytes:
    """A multicast neighbour solicitation, as the kernel sends it."""
    low = asked.packed[13:]
    group = ipaddress.IPv6Address(b"\xff\x02" + b"\0" * 9 + b"\x01\xff" + low)
    target = Party("33:33:ff:" + mac_text(low), group)
    return neighbour(135, source, target, b"\0" * 4 + asked.packed + link_address_option(1, source.mac), trailer)


def link_local(mac: str) -> ipaddress.IPv6Address:
    """fe80::/64 with the modified EUI-64 (RFC 4291 appendix A)."""
    octets = mac_bytes(mac)
    eui = bytes([octets[0] ^ 2]) + octets[1:3] + b"\xff\xfe" + octets[3:]
    return ipaddress.IPv6Address(b"\xfe\x80" + b"\0" * 6 + eui)


def multicast_mac(group: Address) -> str:
    """RFC 1112 section 6.4, RFC 2464 section 7."""
    if group.version == 6:
        return "33:33:" + mac_text(group.packed[12:])
    return mac_text(b"\x01\x00\x5e" + bytes([group.packed[1] & 0x7F]) + group.packed[2:])


@dataclass(frozen=True, slots=True)
class Seen:
    """A frame taken apart as far as it goes.

    tags: VIDs, outermost first. protocol and ports: 0 where there are none.
    """

    source: str
    target: str
    tags: tuple[int, ...]
    ethertype: int
    ip_source: Address | None = None
    ip_target: Address | None = None
    protocol: int = 0
    ports: tuple[int, int] = (0, 0)
    arp: tuple[int, str, str] | None = None
    """(operation, sender MAC, target MAC)"""
    answers: tuple[Address, str] | None = None
    """An ARP answer or a neighbour advertisement: (the address, the MAC it is at)."""
    refusal: tuple[Refusal, int] | None = None
    """A reset or an ICMP error: (how it refuses, the port or echo identifier of who is refused)."""

    def __str__(self) -> str:
        what = {ARP: "ARP", IPV4: "IPv4", IPV6: "IPv6", RARP: "RARP"}.get(
            self.ethertype, f"ethertype 0x{self.ethertype:04x}"
        )
        if self.arp is not None:
            what += f" op {self.arp[0]} {self.ip_source} is at {self.arp[1]}, asks {self.ip_target}"
        elif self.ip_source is not None:
            word = {ICMP: "ICMP", TCP: "TCP", UDP: "UDP", ICMPV6: "ICMPv6"}.get(self.protocol, str(self.protocol))
            ports = f" port {self.ports[0]} > {self.ports[1]}" if self.protocol in (TCP, UDP) else ""
            what += f" {word} {self.ip_source} > {self.ip_target}{ports}"
            what += f" {self.refusal[0].value}" if self.refusal is not None else ""
        return f"{self.source} > {self.target}{''.join(f' vid {t}' for t in self.tags)} {what}"


def read(frame: bytes) -> Seen:
    """Never raises: what is too short is left out."""
    target, source, rest = mac_text(frame[:6]), mac_text(frame[6:12]), frame[12:]
    tags: list[int] = []
    while len(rest) >= 6 and int.from_bytes(rest[:2], "big") in (DOT1Q, DOT1AD):
        tags.append(int.from_bytes(rest[2:4], "big") & 0xFFF)
        rest = rest[4:]
    ethertype, body = int.from_bytes(rest[:2], "big"), rest[2:]
    plain = Seen(source, target, tuple(tags), ethertype)
    if ethertype == ARP and len(body) >= 28:
        ips = ipaddress.IPv4Address(body[14:18]), ipaddress.IPv4Address(body[24:28])
        words = int.from_bytes(body[6:8], "big"), mac_text(body[8:14]), mac_text(body[18:24])
        answers = (ips[0], words[1]) if words[0] == 2 else None
        return Seen(source, target, tuple(tags), ethertype, *ips, arp=words, answers=answers)
    if ethertype == IPV4 and len(body) >= 20:
        segment = body[(body[0] & 15) * 4 :]
        v4 = ipaddress.IPv4Address(body[12:16]), ipaddress.IPv4Address(body[16:20])
        refusal = _refusal(body[9], segment)
        return Seen(source, target, tuple(tags), ethertype, *v4, body[9], _ports(body[9], segment), refusal=refusal)
    if ethertype == IPV6 and len(body) >= 40:
        v6 = ipaddress.IPv6Address(body[8:24]), ipaddress.IPv6Address(body[24:40])
        advertised = (
            (ipaddress.IPv6Address(body[48:64]), source)
            if body[6] == ICMPV6 and body[40:41] == b"\x88" and len(body) >= 64
            else None
        )
        ports, refusal = _ports(body[6], body[40:]), _refusal(body[6], body[40:])
        ends = Seen(source, target, tuple(tags), ethertype, *v6, body[6], ports)
        return replace(ends, answers=advertised, refusal=refusal)
    return plain


def encapsulated(kind: Encapsulation, vni: int, source: Party, target: Party, inner: bytes) -> bytes:
    """The frame inside a tunnel's. source, target: the tunnel's ends; the target's port is the tunnel's own."""
    match kind:
        case Encapsulation.VXLAN:
            return udp(source, target, struct.pack("!II", 1 << 27, vni << 8) + inner)
        case Encapsulation.GENEVE:
            return udp(source, target, struct.pack("!HHI", 0, _TRANSPARENT_ETHERNET, vni << 8) + inner)
        case Encapsulation.GRE:
            return _framed(source, target, GRE, struct.pack("!HHI", 1 << 13, _TRANSPARENT_ETHERNET, vni) + inner)
        case _ as unreachable:
            assert_never(unreachable)


WELL_KNOWN = {port: kind for kind, port in L4_PORTS.items()}


def tunnelled(
    frame: bytes, l4_ports: Mapping[int, Encapsulation] = WELL_KNOWN
) -> tuple[Encapsulation, int, bytes] | None:
    """(kind, VNI, the frame inside) of VXLAN, Geneve or GRE with a key, over either IP. l4_ports: UDP port -> kind."""
    head = frame[12:14]
    if head == b"\x08\x00" and len(frame) >= 34:
        protocol, body = frame[23], frame[14 + (frame[14] & 15) * 4 :]
    elif head == b"\x86\xdd" and len(frame) >= 54:
        protocol, body = frame[20], frame[54:]
    else:
        return None
    kind = l4_ports.get(int.from_bytes(body[2:4], "big")) if protocol == UDP and len(body) >= 16 else None
    if kind is Encapsulation.VXLAN:
        return kind, int.from_bytes(body[12:15], "big"), body[16:]
    if kind is Encapsulation.GENEVE:
        return kind, int.from_bytes(body[12:15], "big"), body[16 + (body[8] & 0x3F) * 4 :]
    if protocol == GRE and body[:4] == b"\x20\x00\x65\x58" and len(body) >= 8:
        return Encapsulation.GRE, int.from_bytes(body[4:8], "big"), body[8:]
    return None


_ICMP_ERRORS = {
    **{(3, 0): Refusal.NET, (3, 1): Refusal.HOST, (3, 2): Refusal.PROTOCOL, (3, 3): Refusal.PORT},
    **{(3, 4): Refusal.TOO_BIG, (11, 0): Refusal.TIME_EXCEEDED},
    **{(3, code): Refusal.PROHIBITED for code in (9, 10, 13)},
}
_ICMPV6_ERRORS = {
    **{(1, 0): Refusal.NET, (1, 1): Refusal.PROHIBITED, (1, 3): Refusal.HOST, (1, 4): Refusal.PORT},
    **{(2, 0): Refusal.TOO_BIG, (3, 0): Refusal.TIME_EXCEEDED},
}


def _refusal(protocol: int, segment: bytes) -> tuple[Refusal, int] | None:
    if protocol == TCP and len(segment) >= 14 and segment[13] & 0x04:
        return Refusal.RESET, int.from_bytes(segment[2:4], "big")
    errors = {ICMP: _ICMP_ERRORS, ICMPV6: _ICMPV6_ERRORS}.get(protocol, {})
    kind = errors.get((segment[0], segment[1])) if len(segment) >= 8 else None
    if kind is None:
        return None
    quoted = segment[8:]
    head, inner = ((quoted[0] & 15) * 4, quoted[9:10]) if quoted[:1] and protocol == ICMP else (40, quoted[6:7])
    body = quoted[head : head + 8]
    if inner == b"" or len(body) < 8:
        return kind, 0
    return kind, int.from_bytes(body[4:6] if inner[0] in (ICMP, ICMPV6) else body[:2], "big")


def _ports(protocol: int, segment: bytes) -> tuple[int, int]:
    if protocol in (TCP, UDP) and len(segment) >= 4:
        first, second = struct.unpack("!HH", segment[:4])
        return first, second
    return 0, 0
