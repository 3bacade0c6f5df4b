"""Flows to OpenFlow 1.4 bytes: flow-mods with their matches and actions. PURE.

Layouts: OpenFlow 1.4.0 sections 7.2.3 (match), 7.2.4 (instructions), 7.2.5 (actions), 7.3.4.3 (flow-mod); the NXAST_*
actions are those of ovs-actions(7). Encoded conditions are remembered (bounded), so that 50,000 flows take well under
0.2 s. Whatever cannot be put on the wire raises CompileError: a flow of ours that is not sendable is our defect.
"""

from __future__ import annotations

from struct import Struct
from struct import error as StructError
from typing import Final, assert_never

from controller.errors import CompileError
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
from controller.flow.fields import FIELDS, IN_PORT, Field, Slice, Term
from controller.flow.flow import Flow
from controller.openflow.oxm import HEADERS, NXM_OF_IN_PORT, encode_term
from controller.openflow.protocol import (
    ALL_COOKIE_BITS,
    GROUP_ANY,
    NICIRA,
    NO_BUFFER,
    PORT_ANY,
    TABLE_ALL,
    VERSION,
    FlowCommand,
    Message,
)
from controller.switch import ForeignFlow

_PADDING: Final = tuple(bytes(-length % 8) for length in range(8))
"""By length modulo 8: the zeros that make it a multiple of 8."""

# header: version, type, length, xid; then cookie, cookie mask, table, command, idle and hard timeout (never used: 4x),
# priority, buffer, out_port, out_group, flags and importance (never used: 4x); what follows is the ofp_match
_FLOW_MOD: Final = Struct("!BBHIQQBB4xHIII4x")
# the same with the octets that are alike in every flow added: version and type, length, xid, cookie, table, priority,
# then no buffer, no out_port, no out_group
_ADD: Final = Struct("!HHIQ8xB5xH12s4x")
_VERSION_AND_FLOW_MOD: Final = VERSION << 8 | Message.FLOW_MOD
_NO_BUFFER_PORT_GROUP: Final = bytes.fromhex("ff" * 12)
_MATCH_HEAD: Final = Struct("!HH")
_MATCH_OXM: Final = 1
_EMPTY_MATCH: Final = bytes.fromhex("0001000400000000")

_APPLY: Final = Struct("!HH4x")
_APPLY_ACTIONS: Final = 4
_GOTO_TABLE: Final = tuple(Struct("!HHB3x").pack(1, 8, table) for table in range(256))
"""By table: the instruction that goes there."""

_OUTPUT: Final = Struct("!HHIH6x")
_PUSH_VLAN: Final = bytes.fromhex("0011000881000000")
_POP_VLAN: Final = bytes.fromhex("0012000800000000")
_SET_FIELD: Final = Struct("!HHI")
_OFPAT_SET_FIELD: Final = 25


def _set_field_parts(field: Field) -> tuple[bytes, int, int, bytes]:
    """What stands before the value, the value's width in bits and octets, what stands after it."""
    # Open vSwitch refuses to set in_port by its standard header, but takes its own, which has 16 bits.
    place, n_bits = (NXM_OF_IN_PORT, 16) if field is IN_PORT else (HEADERS[field.index], field.n_bits)
    n_bytes = (n_bits + 7) // 8
    padding = _PADDING[n_bytes & 7]
    return _SET_FIELD.pack(_OFPAT_SET_FIELD, 8 + n_bytes + len(padding), place), n_bits, n_bytes, padding


_SET_FIELD_PARTS: Final = tuple(map(_set_field_parts, FIELDS))
"""By Field.index."""

_EXPERIMENTER: Final = 0xFFFF
_NX: Final = Struct("!HHIH")
_LOAD: Final = Struct("!HHIHHIQ")
_NXAST_REG_LOAD: Final = 7
_MOVE: Final = Struct("!HHIHHHHII")
_NXAST_REG_MOVE: Final = 6
_RESUBMIT: Final = Struct("!HHIHHB3x")
_NXAST_RESUBMIT_TABLE: Final = 14
_IN_PORT_OF_PACKET: Final = 0xFFF8
_NXAST_CLONE: Final = 42
# idle and hard timeout, priority, cookie, flags, table, two timeouts after FIN, limit, bit of the result, result header
_LEARN: Final = Struct("!HHIHHHHQHBxHHIHxxI")
_NXAST_LEARN2: Final = 45
_LEARN_FLAGS: Final = 2 | 4  # NX_LEARN_F_DELETE_LEARNED | NX_LEARN_F_WRITE_RESULT
_SPEC: Final = Struct("!HIHIH")
_SPEC_LOAD: Final = 1 << 11


def encode_match(terms: tuple[Term, ...]) -> bytes:
    """An ofp_match, padded to a multiple of 8 octets."""
    body = b"".join(map(encode_term, terms))
    length = 4 + len(body)
    return _MATCH_HEAD.pack(_MATCH_OXM, length) + body + _PADDING[length & 7]


def encode_actions(actions: tuple[Action, ...]) -> bytes:
    """A list of actions, each a multiple of 8 octets."""
    return b"".join(map(encode_action, actions))


def encode_action(action: Action) -> bytes:
    """One action."""
    match action:
        case SetField():
            value = action.value
            head, n_bits, n_bytes, padding = _SET_FIELD_PARTS[action.field.index]
            if value >> n_bits:
                raise OverflowError(f"{action.field.name} cannot be set to {value:#x}")
            return head + value.to_bytes(n_bytes, "big") + padding
        case Output():
            return _OUTPUT.pack(0, 16, action.port, 0)
        case Load():
            target = action.target
            if action.value >> target.n_bits:
                raise OverflowError(f"{action.value:#x} does not fit {target.nxm}")
            bits = target.low << 6 | target.n_bits - 1
            place = HEADERS[target.field.index]
            return _LOAD.pack(_EXPERIMENTER, 24, NICIRA, _NXAST_REG_LOAD, bits, place, action.value)
        case Move():
            source, target = action.source, action.target
            n_bits = source.n_bits
            if n_bits != target.n_bits:
                raise OverflowError(f"{source.nxm} and {target.nxm} are not of one width")
            return _MOVE.pack(
                _EXPERIMENTER,
                24,
                NICIRA,
                _NXAST_REG_MOVE,
                n_bits,
                source.low,
                target.low,
                HEADERS[source.field.index],
                HEADERS[target.field.index],
            )
        case Resubmit():
            return _RESUBMIT.pack(_EXPERIMENTER, 16, NICIRA, _NXAST_RESUBMIT_TABLE, _IN_PORT_OF_PACKET, action.table)
        case PushVlan():
            return _PUSH_VLAN
        case PopVlan():
            return _POP_VLAN
        case Clone():
            body = encode_actions(action.actions)
            return _NX.pack(_EXPERIMENTER, 16 + len(body), NICIRA, _NXAST_CLONE) + bytes(6) + body
        case Learn():
            return _encode_learn(action)
        case never:
            assert_never(never)


def _encode_learn(learn: Learn) -> bytes:
    """nx_action_learn2, its result field, then one flow_mod_spec a pair."""
    if learn.result.n_bits != 1:
        raise OverflowError(f"the result of learn is one bit, {learn.result.nxm} is not")
    specs = b"".join(
        [_encode_spec(0, source, target) for source, target in learn.match]
        + [_encode_spec(_SPEC_LOAD, source, target) for source, target in learn.loads]
    )
    length = _LEARN.size + len(specs)
    padding = _PADDING[length & 7]
    head = _LEARN.pack(
        _EXPERIMENTER,
        length + len(padding),
        NICIRA,
        _NXAST_LEARN2,
        0,
        learn.hard_timeout_s,
        learn.priority,
        learn.cookie,
        _LEARN_FLAGS,
        learn.table,
        0,
        0,
        learn.limit,
        learn.result.low,
        HEADERS[learn.result.field.index],
    )
    return head + specs + padding


def _encode_spec(kind: int, source: Slice, target: Slice) -> bytes:
    if source.n_bits != target.n_bits:
        raise OverflowError(f"{source.nxm} and {target.nxm} are not of one width")
    return _SPEC.pack(
        kind | source.n_bits, HEADERS[source.field.index], source.low, HEADERS[target.field.index], target.low
    )


def encode_instructions(actions: tuple[Action, ...], goto: int | None) -> bytes:
    """Apply-actions (left out where there are none), then goto-table (left out where there is none)."""
    parts = b""
    if actions:
        body = encode_actions(actions)
        parts = _APPLY.pack(_APPLY_ACTIONS, 8 + len(body)) + body
    if goto is not None:
        parts += _GOTO_TABLE[goto]
    return parts


def encode_add(flow: Flow, xid: int) -> bytes:
    """The flow-mod that adds the flow, or puts it in the place of one with its table, priority and match."""
    try:
        rest = encode_match(flow.match) + encode_instructions(flow.actions, flow.goto)
        head = _ADD.pack(
            _VERSION_AND_FLOW_MOD,
            _ADD.size + len(rest),
            xid,
            flow.cookie,
            flow.table,
            flow.priority,
            _NO_BUFFER_PORT_GROUP,
        )
    except (StructError, OverflowError, IndexError) as error:
        # The flow is named without its text: a value that does not fit its field may have no text either.
        name = f"flow {flow.cookie:#x} (table {flow.table}, priority {flow.priority}, from {flow.origin or 'nowhere'})"
        raise CompileError(f"{name} cannot be put into an OpenFlow message: {error}") from error
    return head + rest


def encode_delete(cookie: int, xid: int) -> bytes:
    """The flow-mod that deletes what has exactly this cookie, in every table."""
    return _delete(FlowCommand.DELETE, (cookie, TABLE_ALL, 0), _EMPTY_MATCH, xid)


def encode_delete_foreign(flow: ForeignFlow, xid: int) -> bytes:
    """The flow-mod that deletes one flow by its table, priority, match and cookie."""
    return _delete(FlowCommand.DELETE_STRICT, (flow.cookie, flow.table, flow.priority), flow.match, xid)


def _delete(command: FlowCommand, place: tuple[int, int, int], match: bytes, xid: int) -> bytes:
    cookie, table, priority = place
    head = _FLOW_MOD.pack(
        VERSION,
        Message.FLOW_MOD,
        _FLOW_MOD.size + len(match),
        xid,
        cookie,
        ALL_COOKIE_BITS,
        table,
        command,
        priority,
        NO_BUFFER,
        PORT_ANY,
        GROUP_ANY,
    )
    return head + match


def shorten(text: str, limit: int = 300) -> str:
    """A long flow, cut for a message to people."""
    return text if len(text) <= limit else text[: limit - 3] + "..."
