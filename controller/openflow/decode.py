"""OpenFlow 1.4 messages from a switch, read with struct. PURE.

Every function takes one whole message that `guard.Framer` has let through: lengths are consistent, names are UTF-8.
Layouts: OpenFlow 1.4.0 sections 7.2.1 (ports), 7.3.1 (features), 7.3.5 (multipart), 7.3.9 (bundles), 7.4.3 (port
status), 7.5.4 (errors).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from struct import Struct
from typing import Final

from controller.openflow.error_names import name_error
from controller.openflow.protocol import REPLY_MORE

FLOW_STATS: Final = Struct("!HBx8xH8x2xQ16x")
"""length, table, priority, cookie; durations, timeouts, flags and counters are passed over. The ofp_match follows."""
_COUNTERS: Final = Struct("!H22xQQQ")
"""length, cookie, packets, bytes of the same."""
_MATCH_LENGTH: Final = Struct("!2xH")
MULTIPART_BYTES: Final = 16
PORT: Final = Struct("!IH2x6s2x16s4x4x")
"""ofport, length of the description with its properties, MAC, name padded with zeros."""
_PORT_STATUS_REASON: Final = 8
_PORT_STATUS_DESC: Final = 16
_ERROR: Final = Struct("!HH")

FlowEntry = tuple[int, int, int, int]
"""(cookie, table, priority, where in the reply its ofp_match begins)."""


def message_type(message: bytes) -> int:
    return message[1]


def message_xid(message: bytes) -> int:
    return int.from_bytes(message[4:8], "big")


def datapath_id(features_reply: bytes) -> int:
    """The 64-bit datapath id of a FEATURES_REPLY."""
    return int.from_bytes(features_reply[8:16], "big")


def multipart_type(reply: bytes) -> int:
    return int.from_bytes(reply[8:10], "big")


def has_more(reply: bytes) -> bool:
    """Whether further parts of this multipart reply follow."""
    return bool(reply[11] & REPLY_MORE)


def decode_flow_stats(reply: bytes) -> list[FlowEntry]:
    """The flows in one part of an OFPMP_FLOW reply, in the switch's order."""
    found: list[FlowEntry] = []
    offset, end = MULTIPART_BYTES, len(reply)
    read, size = FLOW_STATS.unpack_from, FLOW_STATS.size
    while offset < end:
        length, table, priority, cookie = read(reply, offset)
        found.append((cookie, table, priority, offset + size))
        offset += length
    return found


def match_at(reply: bytes, start: int) -> bytes:
    """The ofp_match that begins there, with its padding."""
    (length,) = _MATCH_LENGTH.unpack_from(reply, start)
    return reply[start : start + (length + 7 & ~7)]


def decode_counters(reply: bytes) -> Iterator[tuple[int, tuple[int, int]]]:
    """(cookie, (packets, bytes)) of the flows in one part of an OFPMP_FLOW reply."""
    offset, end = MULTIPART_BYTES, len(reply)
    while offset < end:
        length, cookie, n_packets, n_bytes = _COUNTERS.unpack_from(reply, offset)
        yield cookie, (n_packets, n_bytes)
        offset += length


def decode_ports(reply: bytes) -> list[tuple[int, str]]:
    """(ofport, name) of every port in one part of an OFPMP_PORT_DESC reply. The switch cuts names to 15 octets."""
    found: list[tuple[int, str]] = []
    offset = MULTIPART_BYTES
    while offset < len(reply):
        ofport, length, name = _port(reply, offset)
        found.append((ofport, name))
        offset += length
    return found


class PortReason(Enum):
    """OFPPR_*: what happened to a port."""

    ADDED = 0
    REMOVED = 1
    MODIFIED = 2


@dataclass(frozen=True, slots=True)
class PortStatus:
    """An unasked report about one port."""

    reason: PortReason
    ofport: int
    name: str


def decode_port_status(message: bytes) -> PortStatus:
    ofport, _, name = _port(message, _PORT_STATUS_DESC)
    return PortStatus(PortReason(message[_PORT_STATUS_REASON]), ofport, name)


def _port(message: bytes, offset: int) -> tuple[int, int, str]:
    ofport, length, _, name = PORT.unpack_from(message, offset)
    return ofport, length, name.partition(b"\0")[0].decode()


@dataclass(frozen=True, slots=True)
class ErrorReply:
    """Why the switch refused a message. xid: that of the message refused."""

    xid: int
    type: int
    code: int

    def __str__(self) -> str:
        return name_error(self.type, self.code)


def decode_error(message: bytes) -> ErrorReply:
    """For an experimenter error (type 0xffff) code is the experimenter's type."""
    type_, code = _ERROR.unpack_from(message, 8)
    return ErrorReply(message_xid(message), type_, code)


def bundle_step(message: bytes) -> int:
    """The `BundleControl` number of a bundle control message."""
    return int.from_bytes(message[12:14], "big")
