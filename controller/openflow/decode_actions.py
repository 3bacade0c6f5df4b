"""Actions back from their bytes: the second reader, as `decode_flow` is for whole flows. PURE."""

from __future__ import annotations

from struct import Struct
from typing import Final

from controller.errors import SwitchError
from controller.flow.actions import (
    Action,
    Clone,
    Learn,
    Load,
    Move,
    Output,
    PopVlan,
    PushVlan,
    Resubmit,
    SetField,
)
from controller.flow.fields import IN_PORT, Field, Slice
from controller.openflow.oxm import FIELD_OF, NXM_OF_IN_PORT
from controller.openflow.protocol import NiciraAction

_U16: Final = Struct("!H")
_TYPE_LENGTH: Final = Struct("!HH")
_LEARN: Final = Struct("!10xHHHQHBx4xIHxxI")
_SPEC: Final = Struct("!HIHIH")


class UnknownFlow(SwitchError):
    """The bytes are no flow that `controller.flow` can express."""


def pieces(data: bytes) -> list[tuple[int, bytes]]:
    """(type, what follows its type and length) of every instruction or action in a list."""
    found = []
    while data:
        kind, length = _checked_head(data)
        found.append((kind, data[4:length]))
        data = data[length:]
    return found


def _checked_head(data: bytes) -> tuple[int, int]:
    if len(data) < 8:
        raise UnknownFlow(f"{len(data)} octets left where an action or instruction is to be")
    kind, length = _TYPE_LENGTH.unpack_from(data)
    if length < 8 or length % 8 or length > len(data):
        raise UnknownFlow(f"an action or instruction of {length} octets where {len(data)} are left")
    return kind, length


def field_of(head: int) -> Field:
    field = FIELD_OF.get(head)
    if field is None:
        raise UnknownFlow(f"field with header {head:#010x}")
    return field


def _slice(head: int, low: int, n_bits: int) -> Slice:
    field = field_of(head)
    return Slice(field.name, field, low, n_bits)


def decode_actions(data: bytes) -> tuple[Action, ...]:
    """A list of actions. Raises UnknownFlow at the first that we never send."""
    return tuple(_decode_action(kind, body) for kind, body in pieces(data))


def _decode_action(kind: int, body: bytes) -> Action:
    """body: what follows type and length, padding included."""
    match kind:
        case 0:
            return Output(int.from_bytes(body[:4], "big"))
        case 17 if body[:2] == b"\x81\x00":
            return PushVlan()
        case 18:
            return PopVlan()
        case 25:
            head = int.from_bytes(body[:4], "big")
            if head == NXM_OF_IN_PORT:
                return SetField(IN_PORT, _U16.unpack_from(body, 4)[0])
            field = field_of(head)
            return SetField(field, int.from_bytes(body[4 : 4 + field.n_bytes], "big"))
        case 0xFFFF if body[:4] == b"\x00\x00\x23\x20":
            return _decode_nicira(_U16.unpack_from(body, 4)[0], body[6:])
        case _:
            raise UnknownFlow(f"action {kind}")


def _decode_nicira(subtype: int, body: bytes) -> Action:
    """body: what follows the subtype."""
    match subtype:
        case NiciraAction.REG_MOVE:
            n_bits, source_low, target_low, source, target = Struct("!HHHII").unpack_from(body)
            return Move(_slice(source, source_low, n_bits), _slice(target, target_low, n_bits))
        case NiciraAction.REG_LOAD:
            bits, target, value = Struct("!HIQ").unpack_from(body)
            return Load(_slice(target, bits >> 6, (bits & 0x3F) + 1), value)
        case NiciraAction.RESUBMIT_TABLE:
            return Resubmit(body[2])
        case NiciraAction.CLONE:
            return Clone(decode_actions(body[6:]))
        case NiciraAction.LEARN2:
            return _decode_learn(bytes(10) + body)
        case _:
            raise UnknownFlow(f"Open vSwitch action {subtype}")


def _decode_learn(action: bytes) -> Learn:
    """action: an nx_action_learn2, its first ten octets ignored."""
    idle, hard, priority, cookie, flags, table, limit, low, head = _LEARN.unpack_from(action)
    if flags != 6 or idle:
        raise UnknownFlow(f"learn with flags {flags} and idle timeout {idle}")
    matches, loads = [], []
    offset = _LEARN.size
    while offset + _SPEC.size <= len(action):
        kind, source, source_low, target, target_low = _SPEC.unpack_from(action, offset)
        if kind == 0:
            break  # padding
        n_bits = kind & 0x3FF
        pair = (_slice(source, source_low, n_bits), _slice(target, target_low, n_bits))
        if kind >> 11 == 0:
            matches.append(pair)
        elif kind >> 11 == 1:
            loads.append(pair)
        else:
            raise UnknownFlow(f"learn with a part of kind {kind:#06x}")
        offset += _SPEC.size
    return Learn(table, cookie, priority, hard, limit, tuple(matches), tuple(loads), _slice(head, low, 1))
