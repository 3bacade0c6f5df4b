"""Actions as bytes: OpenFlow's own here, Open vSwitch's in `encode_nicira`. PURE.

Layouts: OpenFlow 1.4.0 section 7.2.5. Raises OverflowError and struct.error where a value has no place.
"""

from __future__ import annotations

from struct import Struct
from typing import Final, assert_never

from controller.flow.actions import (
    Action,
    Clone,
    Conjunction,
    Ct,
    DecTtl,
    Learn,
    Load,
    Move,
    Output,
    PopVlan,
    PushVlan,
    Resubmit,
    SetField,
    ToController,
)
from controller.flow.fields import FIELDS, IN_PORT, Field
from controller.openflow.encode_nicira import (
    encode_clone,
    encode_conjunction,
    encode_ct,
    encode_learn,
    encode_load,
    encode_move,
    encode_resubmit,
    encode_to_controller,
)
from controller.openflow.oxm import HEADERS, NXM_OF_IN_PORT
from controller.openflow.protocol import PADDING

_OUTPUT: Final = Struct("!HHIH6x")
_PUSH_VLAN: Final = bytes.fromhex("0011000881000000")
_POP_VLAN: Final = bytes.fromhex("0012000800000000")
_DEC_TTL: Final = bytes.fromhex("0018000800000000")
_SET_FIELD: Final = Struct("!HHI")
_OFPAT_SET_FIELD: Final = 25


def _set_field_parts(field: Field) -> tuple[bytes, int, int, bytes]:
    """What stands before the value, the value's width in bits and octets, what stands after it."""
    # Open vSwitch refuses to set in_port by its standard header, but takes its own, which has 16 bits.
    place, n_bits = (NXM_OF_IN_PORT, 16) if field is IN_PORT else (HEADERS[field.index], field.n_bits)
    n_bytes = (n_bits + 7) // 8
    padding = PADDING[n_bytes & 7]
    return _SET_FIELD.pack(_OFPAT_SET_FIELD, 8 + n_bytes + len(padding), place), n_bits, n_bytes, padding


_SET_FIELD_PARTS: Final = tuple(map(_set_field_parts, FIELDS))
"""By Field.index."""


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
            return encode_load(action)
        case Move():
            return encode_move(action)
        case Resubmit():
            return encode_resubmit(action)
        case PushVlan():
            return _PUSH_VLAN
        case PopVlan():
            return _POP_VLAN
        case Clone():
            return encode_clone(encode_actions(action.actions))
        case Learn():
            return encode_learn(action)
        case Ct():
            return encode_ct(action)
        case Conjunction():
            return encode_conjunction(action)
        case ToController():
            return encode_to_controller(action)
        case DecTtl():
            return _DEC_TTL
        case never:
            assert_never(never)
