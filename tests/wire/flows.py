"""Flows for the wire tests: one of each field and action, and any number of generated ones that a switch accepts."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import strategies as st

from controller.flow import fields as f
from controller.flow.actions import Action, Clone, Learn, Load, Move, Output, PopVlan, PushVlan, Resubmit, SetField
from controller.flow.fields import Field, Slice, Term, whole
from controller.flow.flow import OWNER_LEARNED, Flow

_REGISTERS: Sequence[Field] = tuple(field for field in f.FIELDS if field.name.startswith("reg"))
_ANY: Sequence[Field] = (*_REGISTERS, f.IN_PORT, f.ETH_DST, f.ETH_SRC, f.VLAN_VID, f.TUN_ID)
_IP: Sequence[Field] = (f.ETH_TYPE, f.IP_PROTO)
_FAMILIES: Sequence[tuple[tuple[Term, ...], Sequence[Field]]] = (
    ((), ()),
    ((f.ETH_TYPE(0x88CC),), ()),
    ((f.ETH_TYPE(0x0806),), (f.ARP_OP, f.ARP_SPA, f.ARP_TPA, f.ARP_SHA, f.ARP_THA)),
    ((f.ETH_TYPE(0x0800),), (f.IPV4_SRC, f.IPV4_DST)),
    ((f.ETH_TYPE(0x0800), f.IP_PROTO(6)), (f.IPV4_SRC, f.TCP_SRC, f.TCP_DST)),
    ((f.ETH_TYPE(0x0800), f.IP_PROTO(17)), (f.IPV4_DST, f.UDP_SRC, f.UDP_DST)),
    ((f.ETH_TYPE(0x86DD),), (f.IPV6_SRC, f.IPV6_DST)),
    ((f.ETH_TYPE(0x86DD), f.IP_PROTO(58)), (f.IPV6_SRC, f.IPV6_DST, f.ICMPV6_TYPE, f.ICMPV6_CODE)),
    (
        (f.ETH_TYPE(0x86DD), f.IP_PROTO(58), f.ICMPV6_TYPE(135), f.ICMPV6_CODE(0)),
        (f.ND_TARGET, f.ND_SLL, f.ND_RESERVED),
    ),
    (
        (f.ETH_TYPE(0x86DD), f.IP_PROTO(58), f.ICMPV6_TYPE(136), f.ICMPV6_CODE(0)),
        (f.ND_TARGET, f.ND_TLL, f.ND_RESERVED, f.ND_OPTIONS_TYPE),
    ),
)
"""What a match begins with, and the fields that may be matched, set and copied because of that."""

_EXACT_ONLY = {f.IN_PORT, f.ICMPV6_TYPE, f.ICMPV6_CODE, f.ARP_OP, f.ND_RESERVED, f.ND_OPTIONS_TYPE}
_NOT_SET = {f.ICMPV6_TYPE, f.ICMPV6_CODE, f.VLAN_VID}
"""Not set at random: a type other than NS and NA takes the prerequisite of the ND fields away; no tag, no VID."""


_PORT = st.one_of(st.integers(1, 0xFE00), st.just(f.LOCAL_PORT))


def _value(field: Field) -> st.SearchStrategy[int]:
    if field is f.IN_PORT:
        return st.integers(1, 0xFE00)
    if field is f.VLAN_VID:
        return st.integers(0x1000, 0x1FFE)
    if field is f.ARP_OP:
        return st.integers(0, 255)  # Open vSwitch keeps no more of it
    return st.one_of(st.integers(0, field.all_ones), st.just(field.all_ones))


@st.composite
def _term(draw: st.DrawFn, field: Field) -> Term:
    value = draw(_PORT if field is f.IN_PORT else _value(field))
    if field in _EXACT_ONLY or field is f.VLAN_VID or draw(st.booleans()):
        return field(value)
    if field.form is f.Form.IPV6:
        # ovs-ofctl takes a mask whose text begins with a decimal digit, as 8000:: does, for a prefix length.
        return field(value, field.all_ones ^ (1 << draw(st.integers(1, 126))) - 1)
    return field(value, draw(st.integers(1, field.all_ones)))


@st.composite
def _register_slice(draw: st.DrawFn, n_bits: int | None = None) -> Slice:
    field = draw(st.sampled_from(_REGISTERS))
    width = n_bits or draw(st.integers(1, 32))
    return Slice("x", field, draw(st.integers(0, 32 - width)), width)


@st.composite
def _action(draw: st.DrawFn, settable: Sequence[Field], depth: int) -> tuple[Action, ...]:
    """One action, or two that only make sense together."""
    kinds = ["output", "set", "load", "move", "resubmit", "vlan"] + (["clone", "learn"] if depth else [])
    match draw(st.sampled_from(kinds)):
        case "output":
            return (Output(draw(_PORT)),)
        case "set":
            field = draw(st.sampled_from(settable))
            return (SetField(field, draw(_value(field))),)
        case "load":
            target = draw(_register_slice())
            return (Load(target, draw(st.integers(0, (1 << target.n_bits) - 1))),)
        case "move":
            source = draw(st.one_of(st.sampled_from(settable).map(whole), _register_slice()))
            same_width = [whole(field) for field in settable if field.n_bits == source.n_bits]
            if source.n_bits <= 32:
                same_width.append(draw(_register_slice(source.n_bits)))
            return (Move(source, draw(st.sampled_from(same_width))),)
        case "resubmit":
            return (Resubmit(draw(st.integers(0, 253))),)
        case "vlan":
            return (PushVlan(), SetField(f.VLAN_VID, draw(_value(f.VLAN_VID))), PopVlan())
        case "clone":
            return (Clone(draw(_actions(settable, depth - 1))),)
        case _:
            return (draw(_learn()),)


@st.composite
def _learn(draw: st.DrawFn) -> Learn:
    register = draw(_register_slice())
    return Learn(
        table=draw(st.integers(0, 253)),
        cookie=OWNER_LEARNED << 48 | draw(st.integers(0, 0xFFFF)),
        priority=draw(st.integers(1, 0xFFFF)),
        hard_timeout_s=draw(st.integers(1, 0xFFFF)),
        limit=draw(st.integers(1, 0xFFFFFFFF)),
        match=((register, register), (whole(f.ETH_SRC), whole(f.ETH_DST))),
        loads=(
            (
                whole(f.IN_PORT),
                whole(draw(st.sampled_from(_REGISTERS))),
            ),
        ),
        result=draw(_register_slice(1)),
    )


def _actions(settable: Sequence[Field], depth: int) -> st.SearchStrategy[tuple[Action, ...]]:
    return st.lists(_action(settable, depth), min_size=1, max_size=4).map(lambda parts: sum(parts, ()))


@st.composite
def flows(draw: st.DrawFn) -> Flow:
    """A flow that Open vSwitch accepts: prerequisites are met, widths agree, goto leads forward."""
    start, extra = draw(st.sampled_from(_FAMILIES))
    fixed = {term[0] for term in start}
    choices = [field for field in (*_ANY, *extra) if field.index not in fixed]
    chosen = draw(st.lists(st.sampled_from(choices), unique=True, max_size=5))
    settable = [field for field in (*_ANY, *extra) if field not in _NOT_SET]
    table = draw(st.integers(0, 252))
    return Flow(
        table,
        draw(st.integers(0, 0xFFFF)),
        (*start, *(draw(_term(field)) for field in chosen)),
        draw(st.one_of(st.just(()), _actions(settable, 2))),
        goto=draw(st.one_of(st.none(), st.integers(table + 1, 253))),
    )


_SAMPLES = {f.VLAN_VID: 0x1005, f.ETH_TYPE: 0x0806, f.IP_PROTO: 17, f.IN_PORT: 0x1234, f.ARP_OP: 2}
"""Values where not every number will do."""


def _start_for(field: Field) -> tuple[Term, ...]:
    """What must be matched before a field may be."""
    if field in _ANY or field is f.ETH_TYPE:
        return ()
    if field is f.IP_PROTO:
        return (f.ETH_TYPE(0x0800),)
    return next(start for start, extra in _FAMILIES if field in extra)


def one_of_each_field() -> list[Flow]:
    """A flow that matches it, for every field, and where it can be masked one that does so under a mask."""
    found = []
    for field in f.FIELDS:
        value = _SAMPLES.get(field, 0x0123456789ABCDEF % field.all_ones)
        found.append(Flow(1, 7, (*_start_for(field), field(value)), (Output(1),)))
        if field not in _EXACT_ONLY and field not in _IP:
            found.append(Flow(1, 8, (*_start_for(field), field(value, field.all_ones - 1)), (Output(1),)))
    found.append(Flow(1, 7, (f.VLAN_VID(0),)))
    found.append(Flow(1, 7, (f.VLAN_VID(0x1000, 0x1000),)))
    return found


def one_of_each_action() -> list[Flow]:
    """For every action a flow that does only that, every field that a flow may set among them; goto, drop, and all."""
    learn = Learn(
        table=5,
        cookie=0x7471000000000003,
        priority=3,
        hard_timeout_s=300,
        limit=64,
        match=((whole(f.REG0), whole(f.REG0)), (whole(f.ETH_SRC), whole(f.ETH_DST))),
        loads=((whole(f.IN_PORT), whole(f.REG1)),),
        result=Slice("learned", f.REG2, 3, 1),
    )
    found = [
        Flow(2, 9, _start_for(field), (SetField(field, _SAMPLES.get(field, 0x0123456789ABCDEF % field.all_ones)),))
        for field in f.FIELDS
        if field not in (f.VLAN_VID, f.ETH_TYPE, f.IP_PROTO, f.IN_PORT)
    ]
    lists: list[tuple[Action, ...]] = [
        (),
        (Output(5),),
        (SetField(f.IN_PORT, 0),),
        (PushVlan(), SetField(f.VLAN_VID, 0x1005)),
        (Load(whole(f.REG2), 0xFFFFFFFF),),
        (Load(Slice("x", f.REG2, 31, 1), 1),),
        (Move(whole(f.ETH_SRC), whole(f.ETH_DST)),),
        (Move(Slice("x", f.REG0, 3, 7), Slice("y", f.REG1, 25, 7)),),
        (Move(whole(f.IN_PORT), whole(f.REG1)),),
        (Resubmit(253),),
        (Clone((Output(3), Clone((SetField(f.REG0, 1), Resubmit(9))), Output(4))),),
        (learn,),
    ]
    found += [Flow(2, 9, (), actions) for actions in lists]
    found += [Flow(2, 10, (), actions, goto=3) for actions in lists]
    found.append(Flow(2, 11, (f.VLAN_VID(0x1000, 0x1000),), (PopVlan(),)))
    found.append(Flow(2, 12, (), sum(lists, ())))
    return found
