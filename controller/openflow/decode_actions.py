"""Actions back from their bytes: the second reader, as `decode_flow` is for whole flows. PURE."""

from __future__ import annotations

from collections.abc import Iterator
from struct import Struct
from typing import Final

from controller.errors import SwitchError
from controller.flow.actions import (
    Action,
    Clone,
    Conjunction,
    Ct,
    DecTtl,
    Learn,
    Load,
    Move,
    Nat,
    Output,
    PopVlan,
    PushVlan,
    Resubmit,
    SetField,
    ToController,
)
from controller.flow.fields import IN_PORT, Field, Slice
from controller.openflow.encode_nicira import MAX_LEN_PROPERTY, METER_PROPERTY, NAT_FLAGS, NAT_PORTS, NAT_RANGE
from controller.openflow.oxm import FIELD_OF, NXM_OF_IN_PORT
from controller.openflow.protocol import EXPERIMENTER, NICIRA, NiciraAction

_U16: Final = Struct("!H")
_TYPE_LENGTH: Final = Struct("!HH")
_LEARN: Final = Struct("!10xHHHQHBx4xIHxx")
_CONJUNCTION: Final = Struct("!BBI")
_CT: Final = Struct("!HIHB3xH")
_NAT: Final = Struct("!xxHH")
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
        case 24:
            return DecTtl()
        case 25:
            head = int.from_bytes(body[:4], "big")
            if head == NXM_OF_IN_PORT:
                return SetField(IN_PORT, _U16.unpack_from(body, 4)[0])
            field = field_of(head)
            return SetField(field, int.from_bytes(body[4 : 4 + field.n_bytes], "big"))
        case 0xFFFF if body[:4] == NICIRA.to_bytes(4, "big"):
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
        case NiciraAction.CONJUNCTION:
            dimension, dimensions, number = _CONJUNCTION.unpack_from(body)
            return Conjunction(number, dimension + 1, dimensions)
        case NiciraAction.CT:
            return _decode_ct(body)
        case NiciraAction.CONTROLLER2:
            return _decode_to_controller(body)
        case NiciraAction.CLONE:
            return Clone(decode_actions(body[6:]))
        case NiciraAction.LEARN2:
            return _decode_learn(bytes(10) + body)
        case _:
            raise UnknownFlow(f"Open vSwitch action {subtype}")


def _decode_ct(body: bytes) -> Ct:
    flags, head, zone, table, helper = _CT.unpack_from(body)
    if flags & ~1 or helper:
        raise UnknownFlow(f"ct with flags {flags} and helper {helper}")
    nat: Nat | None = None
    moves: list[tuple[Slice, Slice]] = []
    for kind, part in pieces(body[_CT.size :]):
        if kind == EXPERIMENTER and part[:6] == NICIRA.to_bytes(4, "big") + NiciraAction.NAT.to_bytes(2, "big"):
            nat = _decode_nat(part[6:])
            continue
        action = _decode_action(kind, part)
        if not isinstance(action, Move):
            raise UnknownFlow(f"ct with {action} in it")
        moves.append((action.source, action.target))
    place = _slice(head, zone >> 6, (zone & 0x3F) + 1) if head else zone
    return Ct(place, None if table == 0xFF else table, bool(flags), nat, tuple(moves))


def _decode_nat(body: bytes) -> Nat:
    """body: what follows the subtype of NXAST_NAT."""
    flags, present = _NAT.unpack_from(body)
    kind = {number: name for name, number in NAT_FLAGS.items()}.get(flags)
    if kind is None:
        raise UnknownFlow(f"nat with flags {flags}")
    offset, found = _NAT.size, {}
    for bit, n_bytes in ((1, 4), (2, 4), (4, 16), (8, 16), (16, 2), (32, 2)):
        if present & bit:
            found[bit] = int.from_bytes(body[offset : offset + n_bytes], "big")
            offset += n_bytes
    for version, (first_bit, last_bit, _) in NAT_RANGE.items():
        if kind and first_bit in found:
            first, low = found[first_bit], found.get(NAT_PORTS[0])
            ports = None if low is None else (low, found.get(NAT_PORTS[1], low))
            return Nat(kind, version, first, found.get(last_bit, first), ports)
    if kind:
        raise UnknownFlow(f"nat of {kind} without an address")
    return Nat()


def _decode_to_controller(body: bytes) -> ToController:
    """Without the property of length, a packet comes whole."""
    found = {MAX_LEN_PROPERTY: 0xFFFF}
    for kind, value in _properties(body[6:]):
        found[kind] = int.from_bytes(value[:2] if kind == MAX_LEN_PROPERTY else value, "big")
    if found.keys() != {MAX_LEN_PROPERTY, METER_PROPERTY}:
        raise UnknownFlow(f"controller with properties {sorted(found)}")
    return ToController(found[MAX_LEN_PROPERTY], found[METER_PROPERTY])


def _properties(data: bytes) -> Iterator[tuple[int, bytes]]:
    """(type, value) of every property, each padded to a multiple of 8 octets."""
    while data:
        kind, length = _TYPE_LENGTH.unpack_from(data)
        if length < _TYPE_LENGTH.size:
            raise UnknownFlow(f"a property of {length} octets")
        yield kind, data[_TYPE_LENGTH.size : length]
        data = data[length + 7 & ~7 :]


def _decode_learn(action: bytes) -> Learn:
    """action: an nx_action_learn2, its first ten octets ignored."""
    idle, hard, priority, cookie, flags, table, limit, low = _LEARN.unpack_from(action)
    if flags not in (2, 6):
        raise UnknownFlow(f"learn with flags {flags}")
    offset, result = _LEARN.size, None
    if flags == 6:
        result = _slice(int.from_bytes(action[offset : offset + 4], "big"), low, 1)
        offset += 4
    matches, loads = [], []
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
    return Learn(table, cookie, priority, hard, limit, tuple(matches), tuple(loads), result, idle)
