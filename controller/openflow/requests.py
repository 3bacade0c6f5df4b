"""The other messages we send: handshake, echo, meters, conntrack, barrier, bundles, multipart requests. PURE.

Layouts: OpenFlow 1.4.0 sections 7.3.4.5 (meters), 7.3.5 (multipart), 7.3.8 (barrier), 7.3.9 (bundles), 7.5 (hello,
echo).
"""

from __future__ import annotations

from struct import Struct
from typing import Final

from controller.errors import CompileError
from controller.flow.connections import Connections, End
from controller.flow.flow import OWNER
from controller.openflow.protocol import (
    ALL_COOKIE_BITS,
    ATOMIC_ORDERED,
    CT_FLUSH,
    FRAGMENTS_NX_MATCH,
    GROUP_ANY,
    HEADER_BYTES,
    MAX_MESSAGE_BYTES,
    NICIRA,
    PADDING,
    PORT_ANY,
    TABLE_ALL,
    VERSION,
    BundleControl,
    Message,
    MeterCommand,
    Multipart,
)

_HEADER: Final = Struct("!BBHI")
_HELLO: Final = Struct("!BBHIHHI")
_HELLO_VERSION_BITMAP: Final = 1
_BUNDLE: Final = Struct("!BBHIIHH")
_BUNDLE_ADD: Final = Struct("!BBHIIxxH")
_MULTIPART: Final = Struct("!BBHIHH4x")
_FLOW_STATS: Final = Struct("!BBHIHH4xB3xII4xQQHH4x")
_MATCH_OXM: Final = 1
_METER_MOD: Final = Struct("!BBHIHHIHHII4x")
_METER_PKTPS: Final = 2
_METER_BURST: Final = 4
_BAND_DROP: Final = 1
_BAND_BYTES: Final = 16
_CT_FLUSH: Final = Struct("!BBHIIIB7x")
_PROPERTY: Final = Struct("!HH")
_FLUSH_ORIGINAL: Final = 0
_FLUSH_REPLY: Final = 1
_FLUSH_ZONE: Final = 2
_TUPLE_SOURCE: Final = 0
_TUPLE_TARGET: Final = 1
_TUPLE_SOURCE_PORT: Final = 2
_TUPLE_TARGET_PORT: Final = 3
_SET_CONFIG: Final = Struct("!BBHIHH")


def hello(xid: int) -> bytes:
    """HELLO that offers OpenFlow 1.4 and nothing else."""
    return _HELLO.pack(VERSION, Message.HELLO, _HELLO.size, xid, _HELLO_VERSION_BITMAP, 8, 1 << VERSION)


def features_request(xid: int) -> bytes:
    return _HEADER.pack(VERSION, Message.FEATURES_REQUEST, HEADER_BYTES, xid)


def echo_request(xid: int) -> bytes:
    return _HEADER.pack(VERSION, Message.ECHO_REQUEST, HEADER_BYTES, xid)


def echo_reply(request: bytes) -> bytes:
    """The answer to a whole echo request: the same xid and data."""
    return request[:1] + bytes((Message.ECHO_REPLY,)) + request[2:]


def set_config(xid: int) -> bytes:
    """Let the layer-4 fields of first fragments be matched, so that a message cannot hide in fragments."""
    return _SET_CONFIG.pack(VERSION, Message.SET_CONFIG, _SET_CONFIG.size, xid, FRAGMENTS_NX_MATCH, 0)


def meter_mod(command: MeterCommand, meter: int, rate_pps: int, xid: int) -> bytes:
    """Have a meter let so many packets a second through, and as many at once after a silence; others are dropped."""
    return _METER_MOD.pack(
        VERSION,
        Message.METER_MOD,
        _METER_MOD.size,
        xid,
        command,
        _METER_PKTPS | _METER_BURST,
        meter,
        _BAND_DROP,
        _BAND_BYTES,
        rate_pps,
        rate_pps,
    )


def ct_flush(connections: Connections, xid: int) -> bytes:
    """Have conntrack forget connections (nicira-ext.h, nx_ct_flush)."""
    both = ((None, connections.asked), (connections.answers_from, connections.answers_to))
    properties = b"".join(
        _property(kind, bytes(4) + _ends(connections.version, *ends))
        for kind, ends in zip((_FLUSH_ORIGINAL, _FLUSH_REPLY), both, strict=True)
        if any(ends)
    )
    properties += _property(_FLUSH_ZONE, connections.zone.to_bytes(2) + bytes(2))
    length = _CT_FLUSH.size + len(properties)
    protocol = connections.protocol or 0
    return _CT_FLUSH.pack(VERSION, Message.EXPERIMENTER, length, xid, NICIRA, CT_FLUSH, protocol) + properties


def _ends(version: int, source: End | None, target: End | None) -> bytes:
    """A tuple's properties: addresses as IPv6 ones, those of IPv4 mapped (RFC 4291 section 2.5.5.2)."""
    found = b""
    for kind, end in ((_TUPLE_SOURCE, source), (_TUPLE_TARGET, target)):
        if end is not None:
            mapped = end.address if version == 6 else 0xFFFF << 32 | end.address
            found += _property(kind, mapped.to_bytes(16))
    for kind, end in ((_TUPLE_SOURCE_PORT, source), (_TUPLE_TARGET_PORT, target)):
        if end is not None and end.port is not None:
            found += _property(kind, end.port.to_bytes(2) + bytes(2))
    return found


def _property(kind: int, content: bytes) -> bytes:
    length = _PROPERTY.size + len(content)
    return _PROPERTY.pack(kind, length) + content + PADDING[length % 8]


def barrier_request(xid: int) -> bytes:
    return _HEADER.pack(VERSION, Message.BARRIER_REQUEST, HEADER_BYTES, xid)


def bundle_control(step: BundleControl, bundle: int, xid: int) -> bytes:
    """Open, commit or discard a bundle that is atomic and keeps the order of its messages."""
    return _BUNDLE.pack(VERSION, Message.BUNDLE_CONTROL, _BUNDLE.size, xid, bundle, step, ATOMIC_ORDERED)


def bundle_add(bundle: int, xid: int, message: bytes) -> bytes:
    """Put a message into a bundle. xid is the message's own: the wrapper has to carry the same.

    Raises CompileError where the two do not fit into the 65,535 octets of a message.
    """
    length = 16 + len(message)
    if length > MAX_MESSAGE_BYTES:
        raise CompileError(f"a flow takes {len(message)} octets, more than an OpenFlow bundle message can carry")
    return _BUNDLE_ADD.pack(VERSION, 34, length, xid, bundle, ATOMIC_ORDERED) + message


def port_desc_request(xid: int) -> bytes:
    return _MULTIPART.pack(VERSION, Message.MULTIPART_REQUEST, _MULTIPART.size, xid, Multipart.PORT_DESC, 0)


def flow_stats_request(xid: int, cookie: int | None = None) -> bytes:
    """Every flow of every table; with a cookie only those that have exactly it (the switch keeps an index of them)."""
    return _flow_stats_request(xid, cookie or 0, 0 if cookie is None else ALL_COOKIE_BITS)


def own_flow_stats_request(xid: int) -> bytes:
    """Every flow whose cookie says that it is a compiled one."""
    return _flow_stats_request(xid, OWNER << 48, 0xFFFF << 48)


def _flow_stats_request(xid: int, cookie: int, mask: int) -> bytes:
    return _FLOW_STATS.pack(
        VERSION,
        Message.MULTIPART_REQUEST,
        _FLOW_STATS.size,
        xid,
        Multipart.FLOW,
        0,
        TABLE_ALL,
        PORT_ANY,
        GROUP_ANY,
        cookie,
        mask,
        _MATCH_OXM,
        4,
    )
