"""Open vSwitch's own actions as bytes (NXAST_*). PURE.

Layouts: struct nx_action_* of Open vSwitch's lib/ofp-actions.c; what they do: ovs-actions(7). Every action is padded to
a multiple of 8 octets. Raises OverflowError and struct.error where a value has no place.
"""

from __future__ import annotations

from struct import Struct
from typing import Final

from controller.flow.actions import Conjunction, Ct, Learn, Load, Move, Nat, Resubmit, ToController
from controller.flow.fields import Slice
from controller.openflow.oxm import HEADERS
from controller.openflow.protocol import EXPERIMENTER, NICIRA, PADDING, NiciraAction

_NX: Final = Struct("!HHIH")
_LOAD: Final = Struct("!HHIHHIQ")
_MOVE: Final = Struct("!HHIHHHHII")
_RESUBMIT: Final = Struct("!HHIHHB3x")
_IN_PORT_OF_PACKET: Final = 0xFFF8
# idle and hard timeout, priority, cookie, flags, table, two timeouts after FIN, limit, bit of the result
_LEARN: Final = Struct("!HHIHHHHQHBxHHIHxx")
_LEARN_RESULT: Final = Struct("!I")
_DELETE_LEARNED: Final = 2
_WRITE_RESULT: Final = 4
_SPEC: Final = Struct("!HIHIH")
_SPEC_LOAD: Final = 1 << 11
_CONJUNCTION: Final = Struct("!HHIHBBI")
_NO_TABLE: Final = 0xFF
# flags, header of the zone's field or 0, the zone's bits or number, table, helper of a protocol (none)
_CT: Final = Struct("!HHIHHIHB3xH")
_COMMIT: Final = 1
ZONE_BITS: Final = 16
_NAT: Final = Struct("!HHIHxxHH")
NAT_FLAGS: Final = {"": 0, "src": 1, "dst": 2}
"""NX_NAT_F_*, by `Nat.kind`."""
NAT_RANGE: Final = {4: (1, 2, 4), 6: (4, 8, 16)}
"""By IP version: the bits that say that the first and the last address are there, and an address's octets."""
NAT_PORTS: Final = (16, 32)
"""The same bits for the first and the last port."""
_CONTROLLER2: Final = Struct("!HHIH6xHHHxxHHI")
MAX_LEN_PROPERTY: Final = 0
METER_PROPERTY: Final = 5
"""NXAC2PT_*: properties of NXAST_CONTROLLER2."""


def encode_load(load: Load) -> bytes:
    """NXAST_REG_LOAD."""
    target = load.target
    if load.value >> target.n_bits:
        raise OverflowError(f"{load.value:#x} does not fit {target.nxm}")
    if target.n_bits > 64:
        raise OverflowError(f"{target.nxm} has more than the 64 bits that one load can set")
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


def encode_conjunction(conjunction: Conjunction) -> bytes:
    """NXAST_CONJUNCTION, which counts dimensions from 0."""
    return _CONJUNCTION.pack(
        EXPERIMENTER,
        _CONJUNCTION.size,
        NICIRA,
        NiciraAction.CONJUNCTION,
        conjunction.dimension - 1,
        conjunction.dimensions,
        conjunction.number,
    )


def encode_to_controller(action: ToController) -> bytes:
    """NXAST_CONTROLLER2 with the properties of length and meter."""
    if not action.meter:
        raise OverflowError("a controller action without a meter")
    return _CONTROLLER2.pack(
        EXPERIMENTER,
        _CONTROLLER2.size,
        NICIRA,
        NiciraAction.CONTROLLER2,
        MAX_LEN_PROPERTY,
        8,
        action.max_bytes,
        METER_PROPERTY,
        8,
        action.meter,
    )


def encode_ct(ct: Ct) -> bytes:
    """NXAST_CT around its nat and its moves."""
    if isinstance(ct.zone, int):
        place, zone = 0, ct.zone
    else:
        place, zone = HEADERS[ct.zone.field.index], ct.zone.low << 6 | ct.zone.n_bits - 1
        if ct.zone.n_bits != ZONE_BITS:
            raise OverflowError(f"a zone has {ZONE_BITS} bits, {ct.zone.nxm} has not")
    if ct.table == _NO_TABLE:
        raise OverflowError(f"there is no table {ct.table}")
    nested = b"" if ct.nat is None else _encode_nat(ct.nat)
    nested += b"".join(encode_move(Move(source, target)) for source, target in ct.mark)
    head = _CT.pack(
        EXPERIMENTER,
        _CT.size + len(nested),
        NICIRA,
        NiciraAction.CT,
        _COMMIT if ct.commit else 0,
        place,
        zone,
        _NO_TABLE if ct.table is None else ct.table,
        0,
    )
    return head + nested


def _encode_nat(nat: Nat) -> bytes:
    """NXAST_NAT; of its range only what is said: a last address or port that is the first is not."""
    body, present = b"", 0
    if nat.kind:
        if not nat.first or (nat.ports is not None and not nat.ports[0]):
            raise OverflowError("a zero as first address or port of nat, which Open vSwitch takes for none")
        first_bit, last_bit, n_bytes = NAT_RANGE[nat.version]
        parts = [(first_bit, nat.first, n_bytes), (last_bit, nat.last, n_bytes)][: 1 + (nat.first != nat.last)]
        if nat.ports is not None:
            low, high = nat.ports
            parts += [(NAT_PORTS[0], low, 2), (NAT_PORTS[1], high, 2)][: 1 + (low != high)]
        for bit, value, size in parts:
            present |= bit
            body += value.to_bytes(size, "big")
    length = _NAT.size + len(body)
    padding = PADDING[length & 7]
    head = _NAT.pack(EXPERIMENTER, length + len(padding), NICIRA, NiciraAction.NAT, NAT_FLAGS[nat.kind], present)
    return head + body + padding


def encode_learn(learn: Learn) -> bytes:
    """NXAST_LEARN2: its head, its result field where there is one, then one flow_mod_spec a pair."""
    flags, low, result = _DELETE_LEARNED, 0, b""
    if learn.result is not None:
        if learn.result.n_bits != 1:
            raise OverflowError(f"the result of learn is one bit, {learn.result.nxm} is not")
        flags, low = flags | _WRITE_RESULT, learn.result.low
        result = _LEARN_RESULT.pack(HEADERS[learn.result.field.index])
    specs = b"".join(
        [_encode_spec(0, source, target) for source, target in learn.match]
        + [_encode_spec(_SPEC_LOAD, source, target) for source, target in learn.loads]
    )
    length = _LEARN.size + len(result) + len(specs)
    padding = PADDING[length & 7]
    head = _LEARN.pack(
        EXPERIMENTER,
        length + len(padding),
        NICIRA,
        NiciraAction.LEARN2,
        learn.idle_timeout_s,
        learn.hard_timeout_s,
        learn.priority,
        learn.cookie,
        flags,
        learn.table,
        0,
        0,
        learn.limit,
        low,
    )
    return head + result + specs + padding


def _encode_spec(kind: int, source: Slice, target: Slice) -> bytes:
    if source.n_bits != target.n_bits:
        raise OverflowError(f"{source.nxm} and {target.nxm} are not of one width")
    return _SPEC.pack(
        kind | source.n_bits, HEADERS[source.field.index], source.low, HEADERS[target.field.index], target.low
    )
