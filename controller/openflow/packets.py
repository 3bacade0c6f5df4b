"""Packets that a switch hands to the controller, and packets that the controller hands to a switch. PURE.

Layouts: OpenFlow 1.4.0 sections 7.3.7 (packet-out) and 7.4.1 (packet-in). A packet-in carries the metadata of the
packet as an ofp_match; of it only the fields that `controller.flow.fields` names are read.
"""

from __future__ import annotations

from struct import Struct
from struct import error as StructError
from types import MappingProxyType
from typing import Final

from controller.errors import CompileError
from controller.flow.actions import Action
from controller.flow.fields import IN_PORT, XXREG3, Field
from controller.openflow.encode_actions import encode_actions
from controller.openflow.oxm import FIELD_OF, XXREG3_PARTS, split_match
from controller.openflow.protocol import CONTROLLER_PORT, MAX_MESSAGE_BYTES, NO_BUFFER, VERSION, Message
from controller.switch import PacketIn

PACKET_IN: Final = Struct("!12xHBBQ")
"""octets the packet has, reason, table, cookie. The ofp_match follows, then two octets of padding and the frame."""
FRAME_PADDING_BYTES: Final = 2
_MATCH_LENGTH: Final = Struct("!2xH")
_PACKET_OUT: Final = Struct("!BBHIIIH6x")


def decode_packet_in(message: bytes) -> PacketIn:
    """A whole PACKET_IN that the framer has let through."""
    total_bytes, reason, table, cookie = PACKET_IN.unpack_from(message)
    start = PACKET_IN.size
    (match_length,) = _MATCH_LENGTH.unpack_from(message, start)
    fields: dict[Field, int] = {}
    for head, value, mask in split_match(message, start, match_length):
        if head in XXREG3_PARTS:
            fields[XXREG3] = fields.get(XXREG3, 0) | (value & mask) << XXREG3_PARTS[head]
        elif (field := FIELD_OF.get(head)) is not None:
            fields[field] = value & mask & field.all_ones
    frame = message[start + (match_length + 7 & ~7) + FRAME_PADDING_BYTES :]
    return PacketIn(cookie, table, reason, fields.get(IN_PORT, 0), MappingProxyType(fields), frame, total_bytes)


def encode_packet_out(actions: tuple[Action, ...], frame: bytes, xid: int) -> bytes:
    """Let the switch do the actions with this frame, which came in on no port. Raises CompileError."""
    try:
        body = encode_actions(actions)
        length = _PACKET_OUT.size + len(body) + len(frame)
        if length > MAX_MESSAGE_BYTES:
            raise OverflowError(f"{length} octets")
        head = _PACKET_OUT.pack(VERSION, Message.PACKET_OUT, length, xid, NO_BUFFER, CONTROLLER_PORT, len(body))
    except (StructError, OverflowError, IndexError, KeyError) as error:
        raise CompileError(f"a packet cannot be put into an OpenFlow message: {error}") from error
    return head + body + frame
