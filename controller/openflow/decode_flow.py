"""A whole flow back from its bytes: from a flow-mod of ours, or from a flow as the switch reports it. PURE.

Not for the running controller, which knows flows by their cookies: this is the second reader that keeps `encode`
honest, and what shows in tests that the switch holds the flow that was meant.
"""

from __future__ import annotations

from struct import Struct
from struct import error as StructError
from typing import Final

from controller.flow.actions import Action
from controller.flow.fields import XXREG3, Term
from controller.flow.flow import Flow
from controller.openflow.decode import FLOW_STATS
from controller.openflow.decode_actions import UnknownFlow, decode_actions, field_of, pieces
from controller.openflow.oxm import XXREG3_PARTS, split_match
from controller.openflow.protocol import FlowCommand, Message

_FLOW_MOD: Final = Struct("!8xQ8xBB4xH16x")
_TYPE_LENGTH: Final = Struct("!HH")

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
    for kind, body in pieces(data[match_length + 7 & ~7 :]):
        if kind == 4:
            actions = decode_actions(body[4:])
        elif kind == 1:
            goto = body[0]
        else:
            raise UnknownFlow(f"instruction {kind}")
    return Flow(table, priority, terms, actions, goto=goto)


def decode_match(data: bytes) -> tuple[Term, ...]:
    """The conditions of an ofp_match; bytes beyond the length it says are ignored."""
    terms: list[Term] = []
    long_value = long_mask = 0
    for head, value, mask in split_match(data, 0, _TYPE_LENGTH.unpack_from(data)[1]):
        if head in XXREG3_PARTS:
            long_value |= value << XXREG3_PARTS[head]
            long_mask |= mask << XXREG3_PARTS[head]
        else:
            field = field_of(head)
            terms.append(field(value, mask & field.all_ones))
    if long_mask:
        terms.append(XXREG3(long_value, long_mask))
    return tuple(terms)
