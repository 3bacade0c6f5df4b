"""What an honest Open vSwitch sends during and after the handshake, as bytes, with every length open to be bent."""

from __future__ import annotations

import struct

DPID = 0x00005E0053A1B2C3


def message(kind: int, body: bytes = b"", *, version: int = 5, xid: int = 7, length: int | None = None) -> bytes:
    """length: what the header says, where it is to lie."""
    return struct.pack("!BBHI", version, kind, 8 + len(body) if length is None else length, xid) + body


def hello(elements: bytes | None = None, version: int = 6) -> bytes:
    """With a bitmap of OpenFlow 1.0 to 1.5, as Open vSwitch sends it."""
    return message(0, struct.pack("!HHI", 1, 8, 0x7E) if elements is None else elements, version=version)


def features(auxiliary: int = 0) -> bytes:
    return message(6, struct.pack("!QIBB2xII", DPID, 0, 254, auxiliary, 0x4F, 0))


def ethernet_property(length: int = 32) -> bytes:
    return struct.pack("!HH4xIIIIII", 0, length, 1, 2, 3, 4, 5, 6)


def port(
    ofport: int = 1, name: bytes = b"web1", *, properties: bytes | None = None, length: int | None = None
) -> bytes:
    body = ethernet_property() if properties is None else properties
    size = 40 + len(body) if length is None else length
    return struct.pack("!IH2x6s2x16sII", ofport, size, b"\x02\0\0\0\0\1", name, 0, 4) + body


def multipart(kind: int, body: bytes, *, more: bool = False, xid: int = 7) -> bytes:
    return message(19, struct.pack("!HH4x", kind, more) + body, xid=xid)


def port_desc(*ports: bytes, more: bool = False, xid: int = 7) -> bytes:
    return multipart(13, b"".join(ports), more=more, xid=xid)


def port_status(reason: int, description: bytes) -> bytes:
    return message(12, struct.pack("!B7x", reason) + description)


EMPTY_MATCH = b"\0\1\0\4\0\0\0\0"


def flow_entry(
    cookie: int, *, table: int = 0, match: bytes = EMPTY_MATCH, instructions: bytes = b"", length: int | None = None
) -> bytes:
    size = 48 + len(match) + len(instructions) if length is None else length
    return struct.pack("!HBxIIHHHHH2xQQQ", size, table, 1, 2, 5, 0, 0, 0, 0, cookie, 3, 4) + match + instructions


def flow_stats(*entries: bytes, more: bool = False, xid: int = 7) -> bytes:
    return multipart(1, b"".join(entries), more=more, xid=xid)


def packet_in(match: bytes = EMPTY_MATCH, frame: bytes = b"", *, cookie: int = 1, total: int | None = None) -> bytes:
    """Handed over by an action, from table 4; match: padded."""
    size = len(frame) if total is None else total
    return message(10, struct.pack("!IHBBQ", 0xFFFFFFFF, size, 1, 4, cookie) + match + bytes(2) + frame, xid=0)


def oxm_match(*terms: bytes) -> bytes:
    """An ofp_match of these conditions."""
    body = b"".join(terms)
    return struct.pack("!HH", 1, 4 + len(body)) + body + bytes(-(4 + len(body)) % 8)


def error(kind: int, code: int, xid: int, data: bytes = b"") -> bytes:
    return message(1, struct.pack("!HH", kind, code) + data, xid=xid)


def bundle(step: int, xid: int, number: int = 1) -> bytes:
    return message(33, struct.pack("!IHH", number, step, 3), xid=xid)


HANDSHAKE = (hello(), features(), port_desc(port(1), port(0xFFFFFFFE, b"br0")))
