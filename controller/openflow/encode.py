"""Flows to OpenFlow 1.4 bytes: flow-mods with their matches and instructions. Actions are in `encode_actions`. PURE.

Layouts: OpenFlow 1.4.0 sections 7.2.3 (match), 7.2.4 (instructions), 7.3.4.3 (flow-mod). Encoded conditions are
remembered (bounded), so that 50,000 flows take well under 0.2 s. Whatever cannot be put on the wire raises
CompileError: a flow of ours that is not sendable is our defect.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from struct import Struct
from struct import error as StructError
from typing import Final

from controller.errors import CompileError
from controller.flow.actions import Action
from controller.flow.fields import Term
from controller.flow.flow import Flow
from controller.openflow.encode_actions import encode_actions
from controller.openflow.oxm import encode_term
from controller.openflow.protocol import (
    ALL_COOKIE_BITS,
    GROUP_ANY,
    NO_BUFFER,
    PADDING,
    PORT_ANY,
    TABLE_ALL,
    VERSION,
    FlowCommand,
    Message,
)
from controller.switch import ForeignFlow

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


def encode_match(terms: tuple[Term, ...]) -> bytes:
    """An ofp_match, padded to a multiple of 8 octets."""
    body = b"".join(map(encode_term, terms))
    length = 4 + len(body)
    return _MATCH_HEAD.pack(_MATCH_OXM, length) + body + PADDING[length & 7]


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
    return next(encode_adds((flow,), xid))


def encode_adds(flows: Iterable[Flow], first_xid: int) -> Iterator[bytes]:
    """As `encode_add`, with xids from first_xid up. Flows that follow each other most often do the same."""
    actions: tuple[Action, ...] = ()
    goto: int | None = None
    instructions = b""
    for xid, flow in enumerate(flows, first_xid):
        try:
            if flow.actions is not actions or flow.goto != goto:
                instructions = encode_instructions(flow.actions, flow.goto)
                actions, goto = flow.actions, flow.goto
            rest = encode_match(flow.match) + instructions
            head = _ADD.pack(
                _VERSION_AND_FLOW_MOD,
                _ADD.size + len(rest),
                xid,
                flow.cookie,
                flow.table,
                flow.priority,
                _NO_BUFFER_PORT_GROUP,
            )
        except (StructError, OverflowError, IndexError, KeyError) as error:
            # The flow is named without its text: a value that does not fit its field may have no text either.
            place = f"table {flow.table}, priority {flow.priority}, from {flow.origin or 'nowhere'}"
            raise CompileError(
                f"flow {flow.cookie:#x} ({place}) cannot be put into an OpenFlow message: {error}"
            ) from error
        yield head + rest


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
