"""Flows for the wire tests: one of each field and action, and any number of generated ones that a switch accepts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cache

from hypothesis import strategies as st

from controller.flow import fields as f
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
from controller.flow.fields import CtState, Field, Slice, Term, whole
from controller.flow.flow import OWNER_LEARNED, Flow

_REGISTERS: Sequence[Field] = tuple(field for field in f.FIELDS if field.name.startswith("reg"))
_LONG: Sequence[Field] = (*_REGISTERS, f.XXREG3)
_ANY: Sequence[Field] = (
    *_LONG,
    f.IN_PORT,
    f.ETH_DST,
    f.ETH_SRC,
    f.VLAN_VID,
    f.TUN_ID,
    f.CT_STATE,
    f.CT_MARK,
    f.CONJ_ID,
)
_VALID = f.CT_STATE(CtState.TRK, CtState.TRK | CtState.INV)
"""What the fields of a connection's first packet need to be matched (ovs-fields(7) ct_nw_src)."""
_IP: Sequence[Field] = (f.ETH_TYPE, f.IP_PROTO)
_FAMILIES: Sequence[tuple[tuple[Term, ...], Sequence[Field]]] = (
    ((), ()),
    ((f.ETH_TYPE(0x88CC),), ()),
    ((f.ETH_TYPE(0x0806),), (f.ARP_OP, f.ARP_SPA, f.ARP_TPA, f.ARP_SHA, f.ARP_THA)),
    ((f.ETH_TYPE(0x0800),), (f.IPV4_SRC, f.IPV4_DST, f.NW_TTL, f.IP_FRAG)),
    ((f.ETH_TYPE(0x0800), f.IP_PROTO(1)), (f.IPV4_SRC, f.NW_TTL, f.ICMP_TYPE, f.ICMP_CODE)),
    ((f.ETH_TYPE(0x0800), f.IP_PROTO(132)), (f.IPV4_DST, f.SCTP_SRC, f.SCTP_DST)),
    ((f.ETH_TYPE(0x86DD), f.IP_PROTO(132)), (f.IPV6_SRC, f.SCTP_SRC, f.SCTP_DST)),
    ((f.ETH_TYPE(0x0800), _VALID), (f.CT_NW_SRC, f.CT_NW_DST, f.CT_NW_PROTO)),
    ((f.ETH_TYPE(0x86DD), _VALID), (f.CT_IPV6_SRC, f.CT_IPV6_DST, f.NW_TTL)),
    ((f.ETH_TYPE(0x0800), _VALID, f.CT_NW_PROTO(17)), (f.CT_NW_SRC, f.CT_TP_SRC, f.CT_TP_DST)),
    ((f.ETH_TYPE(0x0800), f.IP_PROTO(1), _VALID, f.CT_NW_PROTO(1)), (f.ICMP_TYPE, f.CT_TP_SRC, f.CT_TP_DST)),
    ((f.ETH_TYPE(0x86DD), _VALID, f.CT_NW_PROTO(6)), (f.CT_IPV6_DST, f.CT_TP_SRC, f.CT_TP_DST)),
    ((f.ETH_TYPE(0x0800), f.IP_PROTO(6)), (f.IPV4_SRC, f.TCP_SRC, f.TCP_DST)),
    ((f.ETH_TYPE(0x0800), f.IP_PROTO(17)), (f.IPV4_DST, f.UDP_SRC, f.UDP_DST)),
    ((f.ETH_TYPE(0x86DD),), (f.IPV6_SRC, f.IPV6_DST, f.IP_FRAG)),
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

_EXACT_ONLY = {
    f.IN_PORT,
    f.ICMPV6_TYPE,
    f.ICMPV6_CODE,
    f.ARP_OP,
    f.ND_RESERVED,
    f.ND_OPTIONS_TYPE,
    f.CONJ_ID,
    f.NW_TTL,
    f.ICMP_TYPE,
    f.ICMP_CODE,
    f.CT_NW_PROTO,
}
_READ_ONLY = {
    f.ETH_TYPE,
    f.IP_PROTO,
    f.CONJ_ID,
    f.CT_STATE,
    f.CT_MARK,
    f.CT_NW_PROTO,
    f.CT_NW_SRC,
    f.CT_NW_DST,
    f.CT_IPV6_SRC,
    f.CT_IPV6_DST,
    f.CT_TP_SRC,
    f.CT_TP_DST,
    f.IP_FRAG,
}
"""Open vSwitch sets these itself, ct_mark at the commit of a connection."""
_NOT_SET = _READ_ONLY | {f.ICMPV6_TYPE, f.ICMPV6_CODE, f.VLAN_VID}
"""Not set at random: a type other than NS and NA takes the prerequisite of the ND fields away; no tag, no VID."""


_PORT = st.one_of(st.integers(1, 0xFE00), st.just(f.LOCAL_PORT))


@cache
def _value(field: Field) -> st.SearchStrategy[int]:
    if field is f.IN_PORT:
        return st.integers(1, 0xFE00)
    if field is f.VLAN_VID:
        return st.integers(0x1000, 0x1FFE)
    if field is f.ARP_OP:
        return st.integers(0, 255)  # Open vSwitch keeps no more of it
    if field is f.CT_NW_PROTO:
        return st.integers(1, 255)  # ovs-ofctl leaves 0 out of a match
    if field is f.CT_STATE:
        # There are no more flags than these; where +inv is matched, Open vSwitch refuses a commit.
        return st.integers(0, 255).map(lambda flags: flags & ~CtState.INV)
    return st.one_of(st.integers(0, field.all_ones), st.just(field.all_ones))


_FRAGMENTS = (f.IP_FRAG(1, 1), f.IP_FRAG(2, 2))
"""What ovs-ofctl has words for; there are no other bits than these two."""


@cache
@st.composite
def _term(draw: st.DrawFn, field: Field) -> Term:
    if field is f.IP_FRAG:
        return draw(st.sampled_from(_FRAGMENTS))
    value = draw(_PORT if field is f.IN_PORT else _value(field))
    if field in _EXACT_ONLY or field is f.VLAN_VID or draw(st.booleans()):
        return field(value)
    if field is f.CT_STATE:
        return field(value, draw(st.integers(1, 255)))
    if field.form is f.Form.IPV6:
        # ovs-ofctl takes a mask whose text begins with a decimal digit, as 8000:: does, for a prefix length.
        return field(value, field.all_ones ^ (1 << draw(st.integers(1, 126))) - 1)
    return field(value, draw(st.integers(1, field.all_ones)))


@cache
@st.composite
def _register_slice(draw: st.DrawFn, n_bits: int | None = None) -> Slice:
    field = draw(st.sampled_from(_REGISTERS))
    width = n_bits or draw(st.integers(1, 32))
    return Slice("x", field, draw(st.integers(0, 32 - width)), width)


@cache
@st.composite
def _action(draw: st.DrawFn, settable: tuple[Field, ...], version: int, depth: int) -> tuple[Action, ...]:
    """One action, or two that only make sense together. version: of IP, 0 where the packet is of neither."""
    kinds = ["output", "set", "load", "move", "resubmit", "vlan", "punt"]
    kinds += (["clone", "learn"] if depth else []) + (["ct", "ttl"] if version else [])
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
        case "ct":
            return (draw(_ct(version)),)
        case "ttl":
            return (DecTtl(),)
        case "punt":
            return (ToController(draw(st.integers(0, 0xFFFF)), draw(st.integers(1, 0xFFFF))),)
        case "clone":
            return (Clone(draw(_actions(settable, version, depth - 1))),)
        case _:
            return (draw(_learn()),)


@cache
@st.composite
def _nat(draw: st.DrawFn, version: int) -> Nat:
    limit = f.IPV4_SRC.all_ones if version == 4 else f.IPV6_SRC.all_ones
    first, last = sorted(draw(st.tuples(st.integers(1, limit), st.integers(1, limit))))
    low, high = sorted(draw(st.tuples(st.integers(1, 0xFFFF), st.integers(1, 0xFFFF))))
    ports = draw(st.sampled_from((None, (low, low), (low, high))))
    return Nat(draw(st.sampled_from(("src", "dst"))), version, first, draw(st.sampled_from((first, last))), ports)


@cache
@st.composite
def _ct(draw: st.DrawFn, version: int) -> Ct:
    """Without a commit no address is chosen and nothing is kept."""
    zone = draw(st.one_of(st.integers(0, 0xFFFF), _register_slice(16)))
    table = draw(st.one_of(st.none(), st.integers(0, 253)))
    if draw(st.booleans()):
        return Ct(zone, table, nat=draw(st.sampled_from((None, Nat()))))
    bit = draw(_register_slice(1))
    mark = draw(st.sampled_from(((), ((bit, f.KEPT),), ((bit, f.KEPT), (whole(f.REG0), whole(f.CT_MARK))))))
    return Ct(zone, table, True, draw(st.one_of(st.none(), st.just(Nat()), _nat(version))), mark)


@cache
@st.composite
def _learn(draw: st.DrawFn) -> Learn:
    register = draw(_register_slice())
    return Learn(
        table=draw(st.integers(0, 253)),
        cookie=OWNER_LEARNED << 48 | draw(st.integers(0, 0xFFFF)),
        priority=draw(st.integers(1, 0xFFFF)),
        hard_timeout_s=draw(st.integers(0, 0xFFFF)),
        limit=draw(st.integers(1, 0xFFFFFFFF)),
        match=((register, register), (whole(f.ETH_SRC), whole(f.ETH_DST))),
        loads=(
            (
                whole(f.IN_PORT),
                whole(draw(st.sampled_from(_REGISTERS))),
            ),
        ),
        result=draw(st.one_of(st.none(), _register_slice(1))),
        idle_timeout_s=draw(st.integers(0, 0xFFFF)),
    )


@cache
def _actions(settable: tuple[Field, ...], version: int, depth: int) -> st.SearchStrategy[tuple[Action, ...]]:
    one = _action(settable, version, depth)
    return st.lists(one, min_size=1, max_size=4).map(lambda parts: sum(parts, ()))


@cache
def _some_of(fields: tuple[Field, ...]) -> st.SearchStrategy[list[Field]]:
    return st.lists(st.sampled_from(fields), unique=True, max_size=5)


@st.composite
def flows(draw: st.DrawFn) -> Flow:
    """A flow that Open vSwitch accepts: prerequisites are met, widths agree, goto leads forward."""
    start, extra = draw(st.sampled_from(_FAMILIES))
    fixed = {term[0] for term in start}
    chosen = draw(_some_of(tuple(field for field in (*_ANY, *extra) if field.index not in fixed)))
    settable = tuple(field for field in (*_ANY, *extra) if field not in _NOT_SET)
    version = next((version for kind, version in ((0x0800, 4), (0x86DD, 6)) if f.ETH_TYPE(kind) in start), 0)
    table = draw(st.integers(0, 252))
    actions = draw(st.one_of(st.just(()), _actions(settable, version, 2), _conjunctions()))
    conjunctive = any(isinstance(action, Conjunction) for action in actions)
    goto = None if conjunctive else draw(st.one_of(st.none(), st.integers(table + 1, 253)))
    match = (*start, *(draw(_term(field)) for field in chosen))
    return Flow(table, draw(st.integers(0, 0xFFFF)), match, actions, goto=goto)


@cache
@st.composite
def _conjunctions(draw: st.DrawFn) -> tuple[Conjunction, ...]:
    n_dimensions = draw(st.integers(2, 64))
    one = st.builds(Conjunction, st.integers(0, 0xFFFFFFFF), st.integers(1, n_dimensions), st.just(n_dimensions))
    return tuple(draw(st.lists(one, min_size=1, max_size=3)))


_SAMPLES = {
    f.VLAN_VID: 0x1005,
    f.ETH_TYPE: 0x0806,
    f.IP_PROTO: 17,
    f.IN_PORT: 0x1234,
    f.ARP_OP: 2,
    f.CT_STATE: CtState.TRK | CtState.NEW,
    f.XXREG3: 0x20010DB8 << 96 | 0x123456789ABCDEF,
}
"""Values where not every number will do."""


def _start_for(field: Field) -> tuple[Term, ...]:
    """What must be matched before a field may be."""
    if field in _ANY or field is f.ETH_TYPE:
        return ()
    if field is f.IP_PROTO:
        return (f.ETH_TYPE(0x0800),)
    return next(start for start, extra in _FAMILIES if field in extra)


_WORDS = (1, 6, 17, 47, 58, 132)
"""Protocols, of which ovs-ofctl(8) has words for some."""


def one_of_each_field() -> list[Flow]:
    """A flow that matches it, for every field, and where it can be masked one that does so under a mask."""
    found = []
    found += [Flow(1, 7, (*_start_for(f.IP_FRAG), term), (Output(1),)) for term in _FRAGMENTS]
    for field in (field for field in f.FIELDS if field is not f.IP_FRAG):
        value = _SAMPLES.get(field, 0x0123456789ABCDEF % field.all_ones)
        if field is not f.CT_STATE:  # the switch returns it under the mask of the flags that there are
            found.append(Flow(1, 7, (*_start_for(field), field(value)), (Output(1),)))
        if field not in _EXACT_ONLY and field not in _IP:
            mask = sum(CtState) if field is f.CT_STATE else field.all_ones - 1
            found.append(Flow(1, 8, (*_start_for(field), field(value, mask)), (Output(1),)))
    found.append(Flow(1, 9, (f.ETH_TYPE(0x0800), f.CT_STATE(CtState.TRK, CtState.TRK | CtState.INV))))
    found.append(Flow(1, 9, (f.CT_STATE(CtState.TRK | CtState.INV, CtState.TRK | CtState.INV),)))
    found += [Flow(1, 9, (f.ETH_TYPE(kind), f.IP_PROTO(proto))) for kind in (0x0800, 0x86DD) for proto in _WORDS]
    found.append(Flow(1, 7, (f.VLAN_VID(0),)))
    found.append(Flow(1, 7, (f.VLAN_VID(0x1000, 0x1000),)))
    return found


def _learn_neighbor(learn: Learn, next_hop: Slice, address: Field, mac: Field) -> Learn:
    """The MAC of an address, for packets whose next hop it is."""
    match, loads = ((whole(address), next_hop),), ((whole(mac), whole(f.ETH_DST)),)
    return replace(learn, match=match, loads=loads, result=None, idle_timeout_s=60)


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
        if field not in _READ_ONLY | {f.VLAN_VID, f.IN_PORT}
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
        (replace(learn, result=None, idle_timeout_s=60, hard_timeout_s=0),),
        (Load(Slice("x", f.REG8, 19, 1), 1), Load(f.TO_GROUP, 1), Load(f.ZONE, 0xFFFF)),
        (Load(Slice("x", f.XXREG3, 64, 64), 0xFFFFFFFFFFFFFFFF),),
        (Move(whole(f.CT_MARK), whole(f.REG11)), Move(f.KEPT, f.KEEP)),
        (ToController(0xFFFF, 1),),
        (ToController(0, 0xFFFF0000),),
    ]
    ip: list[tuple[Action, ...]] = [
        (Ct(5, None),),
        (Ct(0, 7),),
        (Ct(f.ZONE, 7, commit=True, mark=((f.KEEP, f.KEPT),)),),
        (Ct(65535, None, commit=True),),
        (DecTtl(),),
        (SetField(f.NW_TTL, 64),),
        (Ct(5, 7, nat=Nat()),),
        (Ct(f.ZONE, 7, commit=True, nat=Nat(), mark=((f.KEEP, f.KEPT), (f.NETWORK, whole(f.CT_MARK)))),),
        (Clone((Ct(5, 7, nat=Nat()), DecTtl(), ToController(128, 2))),),
    ]
    for eth_type, version, first in ((0x0800, 4, 0x0A000001), (0x86DD, 6, 0x20010DB8 << 96 | 1)):
        nats = [
            (Ct(65534, 7, commit=True, nat=Nat(kind, version, first, last, ports), mark=mark),)
            for kind in ("src", "dst")
            for last in (first, first + 9)
            for ports in (None, (80, 80), (1024, 65535))
            for mark in ((), ((f.KEEP, f.KEPT),))
        ]
        found += [Flow(3, index, (f.ETH_TYPE(eth_type),), actions) for index, actions in enumerate(ip + nats)]
    found += [
        Flow(3, 90, (f.ETH_TYPE(0x0800), f.IP_PROTO(1)), (SetField(f.ICMP_TYPE, 0), Load(whole(f.ICMP_TYPE), 3))),
        Flow(
            3, 90, (f.ETH_TYPE(0x86DD),), (Move(whole(f.IPV6_DST), f.NEXT_HOP6), Move(f.NEXT_HOP6, whole(f.IPV6_DST)))
        ),
        Flow(3, 90, (f.ETH_TYPE(0x0806),), (Move(whole(f.ARP_SPA), Slice("x", f.XXREG3, 0, 32)),)),
        Flow(3, 91, (f.ETH_TYPE(0x0806),), (_learn_neighbor(learn, f.NEXT_HOP, f.ARP_SPA, f.ARP_SHA),)),
        Flow(3, 91, _start_for(f.ND_SLL), (_learn_neighbor(learn, f.NEXT_HOP6, f.ND_TARGET, f.ND_SLL),)),
        Flow(3, 92, (f.CONJ_ID(7), f.ETH_TYPE(0x0800)), (), goto=4),
        Flow(3, 92, (f.REG6(3),), (Conjunction(7, 1, 2), Conjunction(0xFFFFFFFF, 64, 64))),
    ]
    found += [Flow(2, 9, (), actions) for actions in lists]
    found += [Flow(2, 10, (), actions, goto=3) for actions in lists]
    found.append(Flow(2, 11, (f.VLAN_VID(0x1000, 0x1000),), (PopVlan(),)))
    found.append(Flow(2, 12, (), sum(lists, ())))
    return found
