"""Open vSwitch's own actions as bytes (NXAST_*). PURE.

Layouts: struct nx_action_* of Open vSwitch's lib/ofp-actions.c; what they do: ovs-actions(7). Every action is padded to
a multiple of 8 octets. Raises OverflowError and struct.error where a value has no place.
"""

from __future__ import annotations

from struct import Struct
from typing import Final

from controller.flow.actions import Learn, Load, Move, Resubmit
from controller.flow.fields import Slice
from controller.openflow.oxm import HEADERS
from controller.openflow.protocol import EXPERIMENTER, NICIRA, PADDING, NiciraAction

_NX: Final = Struct("!HHIH")
_LOAD: Final = Struct("!HHIHHIQ")
_MOVE: Final = Struct("!HHIHHHHII")
_RESUBMIT: Final = Struct("!HHIHHB3x")
_IN_PORT_OF_PACKET: Final = 0xFFF8
# idle and hard timeout, priority, cookie, flags, table, two timeouts after FIN, limit, bit of the result, result header
_LEARN: Final = Struct("!HHIHHHHQHBxHHIHxxI")
_LEARN_FLAGS: Final = 2 | 4  # NX_LEARN_F_DELETE_LEARNED | NX_LEARN_F_WRITE_RESULT
_SPEC: Final = Struct("!HIHIH")
_SPEC_LOAD: Final = 1 << 11


def encode_load(load: Load) -> bytes:
    """NXAST_REG_LOAD."""
    target = load.target
    if load.value >> target.n_bits:
        raise OverflowError(f"{load.value:#x} does not fit {target.nxm}")
    bits = target.low << 6 | target.n_bits - 1
    place = HEADERS[target.field.index]
    return _LOAD.pack(EXPERIMENTER, 24, NICIRA, NiciraAction.REG_LOAD, bits, place, load.value)


def encode_move(move: Move) -> bytes:
    """NXAST_REG_MOVE."""
    source, target = move.source, move.target
    n_bits = source.n_bits
    if n_bits != target.n_bits:
        raise OverflowError(f"{source.nxm} and {target.nxm} are not of one width")
    return _MOVE.pack(
        EXPERIMENTER,
        24,
        NICIRA,
        NiciraAction.REG_MOVE,
        n_bits,
        source.low,
        target.low,
        HEADERS[source.field.index],
        HEADERS[target.field.index],
    )


def encode_resubmit(resubmit: Resubmit) -> bytes:
    """NXAST_RESUBMIT_TABLE."""
    return _RESUBMIT.pack(EXPERIMENTER, 16, NICIRA, NiciraAction.RESUBMIT_TABLE, _IN_PORT_OF_PACKET, resubmit.table)


def encode_clone(body: bytes) -> bytes:
    """NXAST_CLONE around encoded actions."""
    return _NX.pack(EXPERIMENTER, 16 + len(body), NICIRA, NiciraAction.CLONE) + bytes(6) + body


def encode_learn(learn: Learn) -> bytes:
    """NXAST_LEARN2: its head, its result field, then one flow_mod_spec a pair."""
    if learn.result.n_bits != 1:
        raise OverflowError(f"the result of learn is one bit, {learn.result.nxm} is not")
    specs = b"".join(
        [_encode_spec(0, source, target) for source, target in learn.match]
        + [_encode_spec(_SPEC_LOAD, source, target) for source, target in learn.loads]
    )
    length = _LEARN.size + len(specs)
    padding = PADDING[length & 7]
    head = _LEARN.pack(
        EXPERIMENTER,
        length + len(padding),
        NICIRA,
        NiciraAction.LEARN2,
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
