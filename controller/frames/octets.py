"""How frames are put together: Ethernet and IP heads, and the Internet checksum. PURE.

IEEE 802.3; RFC 791, 8200; RFC 1071 and RFC 8200 section 8.1 (the pseudo-header).
"""

from __future__ import annotations

import struct
from typing import Final

from controller.flow.packet import ETH_IPV4, ETH_IPV6
from controller.frames.ip_heads import Address

LEAST_BYTES: Final = 60
"""Of a frame without its check sequence."""
HOPS: Final = 64


def form_ethernet(target: bytes, source: bytes, kind: int, body: bytes) -> bytes:
    """Padded with zeros to the least length of a frame."""
    return (target + source + struct.pack("!H", kind) + body).ljust(LEAST_BYTES, b"\0")


def form_ip(
    source: Address, target: Address, protocol: int, segment: bytes, *, traffic_class: int = 0, hops: int = HOPS
) -> tuple[int, bytes]:
    """(ethertype, packet) from two addresses of one version; not to be fragmented."""
    if source.version == 4:
        head = struct.pack(
            "!BBHHHBBH4s4s",
            0x45,
            traffic_class,
            20 + len(segment),
            0,
            0x4000,
            hops,
            protocol,
            0,
            source.packed,
            target.packed,
        )
        return ETH_IPV4, head[:10] + struct.pack("!H", checksum(head)) + head[12:] + segment
    first = 6 << 28 | traffic_class << 20
    return ETH_IPV6, struct.pack(
        "!IHBB16s16s", first, len(segment), protocol, hops, source.packed, target.packed
    ) + segment  # fmt: skip


def sum_up(source: Address, target: Address, protocol: int, segment: bytes, at: int) -> bytes:
    """The segment with its checksum at octet `at`, where there are zeros; over the pseudo-header as well."""
    pseudo = source.packed + target.packed + struct.pack("!IHBB", len(segment), 0, 0, protocol)
    return put_checksum(segment, at, checksum(pseudo + segment))


def put_checksum(data: bytes, at: int, value: int) -> bytes:
    return data[:at] + struct.pack("!H", value) + data[at + 2 :]


def checksum(data: bytes) -> int:
    """RFC 1071, over data in which the checksum itself is zero."""
    total: int = sum(struct.unpack(f"!{(len(data) + 1) // 2}H", data + b"\0" * (len(data) % 2)))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF
