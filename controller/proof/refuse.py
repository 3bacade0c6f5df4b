"""What Open vSwitch answers with an error instead of installing it, as an `EvaluationError`. PURE.

Prerequisites and masks (ovs-fields(7)), jumps backwards, and actions that cannot stand where they stand
(ovs-actions(7)).
"""

from __future__ import annotations

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
    Nat,
    Output,
    PopVlan,
    PushVlan,
    Resubmit,
    SetField,
    ToController,
)
from controller.flow.fields import CT_MARK, CT_STATE, FIELDS, VLAN_VID, CtState, Field, Slice, Term
from controller.flow.flow import Flow
from controller.flow.packet import ETH_IPV4, ETH_IPV6, has_header
from controller.proof.error import EvaluationError

MAX_TAGS: Final = 2
"""How many tags a packet can have in Open vSwitch (FLOW_MAX_VLAN_HEADERS)."""
VLAN_PRESENT: Final = 0x1000
MAX_DIMENSIONS: Final = 64
_READ_ONLY: Final = ("eth_type", "nw_proto", "conj_id")
_WHOLE: Final = frozenset(
    ("eth_type", "nw_proto", "nw_ttl", "icmp_type", "icmp_code", "icmpv6_type", "icmpv6_code", "conj_id", "ct_nw_proto")
)
"""Fields that are matched whole or not at all."""
_VALID: Final = CtState.NEW | CtState.EST | CtState.REL | CtState.RPL | CtState.SNAT | CtState.DNAT
_CT_TYPES: Final = {"ct_nw_src": ETH_IPV4, "ct_nw_dst": ETH_IPV4, "ct_ipv6_src": ETH_IPV6, "ct_ipv6_dst": ETH_IPV6}
_CT_TUPLE: Final = (*_CT_TYPES, "ct_nw_proto", "ct_tp_src", "ct_tp_dst")


class Sure:
    """What is sure of a packet when actions begin: header values, what conntrack said, and how many tags it has."""

    def __init__(self, match: tuple[Term, ...]) -> None:
        self.exact = {FIELDS[index].name: value for index, value, mask in match if mask == FIELDS[index].all_ones}
        self.tags = sum(1 for index, value, _ in match if index == VLAN_VID.index and value & VLAN_PRESENT)
        states = [(value, mask) for index, value, mask in match if index == CT_STATE.index]
        self.invalid = any(value & CtState.INV for value, _ in states)
        self.tracked = any(
            value & _VALID or (value & CtState.TRK and mask & CtState.INV and not value & CtState.INV)
            for value, mask in states
        )

    def has(self, field: Field) -> bool:
        """Whether a field is there to be matched or written (lib/meta-flow.c, is_ct_valid)."""
        name = field.name
        if name in _CT_TUPLE:
            return self.tracked and self.exact.get("eth_type") == _CT_TYPES.get(name, self.exact.get("eth_type"))
        return has_header(name, self.exact.get)


def refuse_malformed(flow: Flow) -> None:
    """Raise EvaluationError for a flow that Open vSwitch would not take."""

    def refuse(what: str) -> None:
        raise EvaluationError(f"{what}: {flow}")

    sure = Sure(flow.match)
    for index, value, mask in flow.match:
        field = FIELDS[index]
        if not mask or value & ~mask or mask > field.all_ones:
            refuse(f"the match on {field.name} is not canonical")
        if not sure.has(field):
            refuse(f"the match on {field.name} lacks its prerequisite")
        if field.name in _WHOLE and mask != field.all_ones:
            refuse(f"{field.name} is matched whole or not at all")
        if field is CT_STATE and value > 0xFF:
            refuse("ct_state has eight flags")
    if len({index for index, _, _ in flow.match}) != len(flow.match):
        refuse("a field is matched twice")
    if flow.goto is not None and flow.goto <= flow.table:
        refuse("goto leads backwards")
    parts = [action for action in flow.actions if isinstance(action, Conjunction)]
    if parts and (len(parts) != len(flow.actions) or flow.goto is not None):
        refuse("a part of a conjunction does nothing else")
    for part in parts:
        if not (2 <= part.dimensions <= MAX_DIMENSIONS and 1 <= part.dimension <= part.dimensions):
            refuse(f"a conjunction has no dimension {part.dimension} of {part.dimensions}")
    if not parts:
        refuse_actions(flow.actions, sure, sure.tags, flow)


def refuse_actions(actions: tuple[Action, ...], sure: Sure, tags: int, where: Flow | str) -> None:
    """As `refuse_malformed`, of a list of actions. tags: how many are sure when they begin. where: for the message."""

    def refuse(what: str) -> None:
        raise EvaluationError(f"{what}: {where}")

    def need(part: Slice | Field) -> None:
        field = part.field if isinstance(part, Slice) else part
        if not sure.has(field) or (field is VLAN_VID and not tags):
            refuse(f"an action on {field.name} lacks its prerequisite")

    def need_writable(field: Field) -> None:
        need(field)
        if field.name in _READ_ONLY or field.name.startswith("ct_"):
            refuse(f"{field.name} cannot be set")

    for action in actions:
        match action:
            case PushVlan():
                tags += 1
                if tags > MAX_TAGS:
                    refuse(f"Open vSwitch keeps {MAX_TAGS} tags at most")
            case PopVlan():
                tags = max(tags - 1, 0)
            case SetField(field=field, value=value):
                need_writable(field)
                if value > field.all_ones or (field is VLAN_VID and not value & VLAN_PRESENT):
                    refuse(f"{field.name} cannot be set to {value:#x}")
            case Load(target=target, value=value):
                need_writable(target.field)
                if value >> target.n_bits:
                    refuse(f"{value:#x} is wider than {target.name}")
            case Move(source=source, target=target):
                need(source)
                need_writable(target.field)
                _refuse_widths(source, target, where)
            case Learn():
                for source, _ in (*action.match, *action.loads):
                    need(source)
                if action.result is not None:
                    need_writable(action.result.field)
                    if action.result.n_bits != 1:
                        refuse(f"the result of learn takes one bit, {action.result.name} is wider")
            case Clone(actions=inner):
                refuse_actions(inner, sure, tags, where)
            case Ct():
                _refuse_ct(action, sure, where)
                for source, _ in action.mark:
                    need(source)
            case DecTtl():
                if sure.exact.get("eth_type") not in (ETH_IPV4, ETH_IPV6):
                    refuse("only IP has a time to live")
            case Conjunction():
                refuse("a conjunction stands in no list of other actions")
            case Output() | Resubmit() | ToController():
                pass
            case never:
                assert_never(never)


def _refuse_widths(source: Slice, target: Slice, where: Flow | str) -> None:
    if source.n_bits != target.n_bits:
        raise EvaluationError(f"{source.name} and {target.name} differ in width: {where}")


def _refuse_ct(action: Ct, sure: Sure, where: Flow | str) -> None:
    def refuse(what: str) -> None:
        raise EvaluationError(f"{what}: {where}")

    eth_type = sure.exact.get("eth_type")
    if eth_type not in (ETH_IPV4, ETH_IPV6):
        refuse("conntrack takes IP only")
    if action.commit and sure.invalid:
        refuse("what is invalid is not committed")
    zone = action.zone
    if isinstance(zone, int) and zone >> 16:
        refuse(f"a zone has 16 bits, not {zone:#x}")
    if isinstance(zone, Slice) and zone.n_bits != 16:
        refuse(f"a zone has 16 bits, {zone.name} has {zone.n_bits}")
    if action.mark and not action.commit:
        refuse("a mark is set at a commit only")
    for source, target in action.mark:
        _refuse_widths(source, target, where)
        if target.field is not CT_MARK:
            refuse(f"ct writes ct_mark, not {target.field.name}")
    if action.nat is not None and action.nat.kind:
        _refuse_nat(action, action.nat, 4 if eth_type == ETH_IPV4 else 6, where)


def _refuse_nat(action: Ct, nat: Nat, version: int, where: Flow | str) -> None:
    if not action.commit:
        raise EvaluationError(f"addresses are chosen at a commit only: {where}")
    if nat.kind not in ("src", "dst") or nat.version != version:
        raise EvaluationError(f"{nat} cannot be for IPv{version}: {where}")
    low, high = nat.ports or (1, 1)
    if not 0 < nat.first <= nat.last or not 0 < low <= high <= 0xFFFF:
        raise EvaluationError(f"{nat} is no range, or none that is modelled: {where}")
