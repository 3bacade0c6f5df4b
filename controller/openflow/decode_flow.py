"""A whole flow back from its bytes: from a flow-mod of ours, or from a flow as the switch reports it. PURE.

Not for the running controller, which knows flows by their cookies: this is the second reader that keeps `encode`
honest, and what shows in tests that the switch holds the flow that was meant.
"""

from __future__ import annotations

from struct import Struct
from struct import error as StructError
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
from controller.flow.fields import IN_PORT, Field, Slice, Term
from controller.flow.flow import Flow
from controller.openflow.decode import FLOW_STATS
from controller.openflow.oxm import FIELD_OF, HAS_MASK, NXM_OF_IN_PORT
from controller.openflow.protocol import FlowCommand, Message

_FLOW_MOD: Final = Struct("!8xQ8xBB4xH16x")
_U16: Final = Struct("!H")
_TYPE_LENGTH: Final = Struct("!HH")
_LEARN: Final = Struct("!10xHHHQHBx4xIHxxI")
_SPEC: Final = Struct("!HIHIH")


class UnknownFlow(SwitchError):
    """The bytes are no flow that `controller.flow` can express."""


Decoded = tuple[int, Flow]
"""(the cookie on the wire, the flow). The flow's own cookie is made anew from its content: the two can be compared."""


def decode_flow_mod(message: bytes) -> Decoded:
    """An OFPFC_ADD flow-mod. Raises UnknownFlow for anything else."""
    try:
        cookie, table, command, priority = _FLOW_MOD.unpack_from(message)
        if message[1] != Message.FLOW_MOD or command != FlowCommand.ADD:
            raise UnknownFlow("this message is no flow-mod that adds a flow")
        return cookie, _flow(table, priority, message[_FLOW_MOD.size :])
    except StructError as error:
        raise UnknownFlow(f"the flow-mod is cut short: {error}") from error


def decode_flow_stats_entry(entry: bytes) -> Decoded:
    """One entry of an OFPMP_FLOW reply, from its length field on. Raises UnknownFlow."""
    try:
        length, table, priority, cookie = FLOW_STATS.unpack_from(entry)
        return cookie, _flow(table, priority, entry[FLOW_STATS.size : length])
    except StructError as error:
        raise UnknownFlow(f"the flow is cut short: {error}") from error


def _flow(table: int, priority: int, data: bytes) -> Flow:
    """data: an ofp_match, then instructions."""
    match_type, match_length = _TYPE_LENGTH.unpack_from(data)
    if match_type != 1 or match_length < 4:
        raise UnknownFlow(f"match of type {match_type} and length {match_length}")
    terms = decode_match(data[:match_length])
    actions: tuple[Action, ...] = ()
    goto: int | None = None
    for kind, body in _pieces(data[match_length + 7 & ~7 :]):
        if kind == 4:
            actions = decode_actions(body[4:])
        elif kind == 1:
            goto = body[0]
        else:
            raise UnknownFlow(f"instruction {kind}")
    return Flow(table, priority, terms, actions, goto=goto)


def _pieces(data: bytes) -> list[tuple[int, bytes]]:
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


def decode_match(data: bytes) -> tuple[Term, ...]:
    """The conditions of an ofp_match; bytes beyond the length it says are ignored."""
    end = _TYPE_LENGTH.unpack_from(data)[1]
    terms, offset = [], 4
    while offset < end:
        head = int.from_bytes(data[offset : offset + 4], "big")
        n_octets = head & 0xFF
        body = data[offset + 4 : offset + 4 + n_octets]
        if head & HAS_MASK:
            half = n_octets // 2
            field = _field(head - HAS_MASK - half)
            mask = int.from_bytes(body[half:], "big")
            terms.append(field(int.from_bytes(body[:half], "big"), mask))
        else:
            terms.append(_field(head)(int.from_bytes(body, "big")))
        offset += 4 + n_octets
    return tuple(terms)


def _field(head: int) -> Field:
    field = FIELD_OF.get(head)
    if field is None:
        raise UnknownFlow(f"field with header {head:#010x}")
    return field


def _slice(head: int, low: int, n_bits: int) -> Slice:
    field = _field(head)
    return Slice(field.name, field, low, n_bits)


def decode_actions(data: bytes) -> tuple[Action, ...]:
    """A list of actions. Raises UnknownFlow at the first that we never send."""
    return tuple(_decode_action(kind, body) for kind, body in _pieces(data))


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
            field = _field(head)
            return SetField(field, int.from_bytes(body[4 : 4 + field.n_bytes], "big"))
        case 0xFFFF if body[:4] == b"\x00\x00\x23\x20":
            return _decode_nicira(_U16.unpack_from(body, 4)[0], body[6:])
        case _:
            raise UnknownFlow(f"action {kind}")


def _decode_nicira(subtype: int, body: bytes) -> Action:
    """body: what follows the subtype."""
    match subtype:
        case 6:
            n_bits, source_low, target_low, source, target = Struct("!HHHII").unpack_from(body)
            return Move(_slice(source, source_low, n_bits), _slice(target, target_low, n_bits))
        case 7:
            bits, target, value = Struct("!HIQ").unpack_from(body)
            return Load(_slice(target, bits >> 6, (bits & 0x3F) + 1), value)
        case 14:
            return Resubmit(body[2])
        case 42:
            return Clone(decode_actions(body[6:]))
        case 45:
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
