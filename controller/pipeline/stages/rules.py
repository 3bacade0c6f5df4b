"""The rules: one table for each tier, and one more after each rule that only logs. PURE.

A rule from m origins to n targets at p ports takes m + n + p flows where that is fewer than their product: a
conjunctive match (ovs-fields(7), Conjunctive Match Fields). Rules look at the packet that opened the connection, also
for its answers, so that each packet of a connection meets the rules that are in force now.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import product
from math import prod

from controller.flow.actions import Action as FlowAction
from controller.flow.actions import Conjunction, Load
from controller.flow.fields import (
    CONJ_ID,
    CT_MARK,
    CT_NW_PROTO,
    CT_STATE,
    CT_TP_DST,
    CT_TP_SRC,
    ETH_TYPE,
    IP_FRAG,
    KEEP,
    KEPT,
    ORIGIN_CLASS,
    ORIGIN_NETWORK,
    PUNTED,
    TARGET_CLASS,
    TARGET_NETWORK,
    CtState,
    Field,
    Punt,
    Slice,
    Term,
)
from controller.flow.flow import Flow
from controller.pipeline.classes import Side
from controller.pipeline.ip_fields import BY_VERSION, LATER_FRAGMENT, TRACKED, ct_state
from controller.pipeline.protocols import ICMP, ICMPV6, IPV4, IPV6
from controller.pipeline.punting import hand_over
from controller.pipeline.ranks import RANKS
from controller.pipeline.router_view import RealmView
from controller.pipeline.rule_view import NO_FLOWS, RULE_TABLES, ClassFlows, RuleFlows, RuleView
from controller.pipeline.stage import Emit, Miss, Priority, Stage
from controller.policy.firewall import Action, OnChange, PortRange, Service

Terms = tuple[Term, ...]
_NEW = ct_state(CtState.NEW, CtState.INV)
_KNOWN = ct_state(CtState.TRK, CtState.NEW | CtState.INV)
_IP_VERSION_OF = {ICMP: ETH_TYPE(IPV4), ICMPV6: ETH_TYPE(IPV6)}
"""These protocol numbers mean ICMP in one IP version only."""


def name_of(table: int | None) -> str:
    """The stage of a table of rules, or what comes after the last one."""
    return "default" if table is None else f"rules_{table + 1}"


@dataclass(frozen=True, slots=True)
class _Dimension:
    """Conditions of which one must hold, each with TRACKED: a class each, in this slice of a register; and others."""

    others: tuple[Terms, ...]
    slice: Slice | None = None
    classes: frozenset[int] = frozenset()

    def __len__(self) -> int:
        return len(self.others) + len(self.classes)

    def of_classes(self, classes: Iterable[int]) -> Iterator[Terms]:
        if self.slice is not None:
            for number in classes:
                yield tuple(sorted((TRACKED, self.slice(number))))

    def each(self) -> Iterator[Terms]:
        yield from self.of_classes(self.classes)
        yield from self.others


def _dimension_of(side: Side, class_: Slice, network: Slice) -> _Dimension:
    networks = tuple(tuple(sorted((TRACKED, network(number)))) for number in side.networks)
    return _Dimension(networks, class_, side.classes)


def _service_dimensions(service: Service) -> tuple[_Dimension, ...]:
    found = [_services(service), _ports(service, service.source_ports, CT_TP_SRC) if service.source_ports else None]
    return tuple(_Dimension(tuple(terms)) for terms in found if terms is not None)


def _services(service: Service) -> list[Terms] | None:
    if service.protocol is None:
        return None
    proto: Terms = (TRACKED, CT_NW_PROTO(service.protocol))
    if service.protocol in _IP_VERSION_OF:
        proto = (_IP_VERSION_OF[service.protocol], *proto)
    if service.icmp:
        return [
            (*proto, CT_TP_SRC(one.type), *(() if one.code is None else (CT_TP_DST(one.code),))) for one in service.icmp
        ]
    return _ports(service, service.ports, CT_TP_DST) if service.ports else [proto]


def _ports(service: Service, ranges: tuple[PortRange, ...], field: Field) -> list[Terms]:
    assert service.protocol is not None
    proto = CT_NW_PROTO(service.protocol)
    masks = (mask for one in ranges for mask in port_masks(one))
    return [(TRACKED, proto, field(value, mask)) if mask else (TRACKED, proto) for value, mask in masks]


def port_masks(ports: PortRange) -> Iterator[tuple[int, int]]:
    """The fewest (value, mask) that hold exactly the ports of a range."""
    first, last = ports.first, ports.last
    while first <= last:
        n_bits = 16 if first == 0 else (first & -first).bit_length() - 1
        while first + (1 << n_bits) - 1 > last:
            n_bits -= 1
        yield first, 0xFFFF >> n_bits << n_bits
        first += 1 << n_bits


def _join(parts: tuple[Terms, ...]) -> Terms:
    """All conditions of the parts, each once, with what conntrack's fields need."""
    return tuple(dict.fromkeys((TRACKED, *(term for part in parts for term in part))))


def _compile(emit: Emit, view: RuleView, before: RuleFlows) -> RuleFlows:
    """before: earlier ones of the same table; what they have in common is kept, whatever the view was."""
    if view.is_void:
        return NO_FLOWS
    services = before.services if before.rule is view.rule else _service_dimensions(view.rule.service)
    dimensions = (
        *(() if view.origin is None else (_dimension_of(view.origin, ORIGIN_CLASS, ORIGIN_NETWORK),)),
        *(() if view.target is None else (_dimension_of(view.target, TARGET_CLASS, TARGET_NETWORK),)),
        *services,
    )
    single = tuple(next(one.each()) for one in dimensions if len(one) == 1)
    several = [one for one in dimensions if len(one) > 1]
    if prod(map(len, several)) <= sum(map(len, several)) + 1:
        parts = product(*(one.each() for one in several))
        rest = tuple(flow for chosen in parts for flow in _decide(emit, view, _join((*single, *chosen))))
        return RuleFlows(rest, rule=view.rule, services=services)
    by_class: list[ClassFlows] = []
    made_of = (view.rule, view.table, view.onward, view.rank, single, tuple(one.others for one in several))
    rest = before.rest if made_of == before.made_of else ()
    make_rest = not rest
    for number, dimension in enumerate(several, 1):
        one_of = Conjunction(_conjunction_number(view), number, len(several))
        common = single if number == len(several) else ()
        if dimension.classes:
            by_class.append(_of_classes(emit, view, dimension, one_of, common, before))
        if make_rest:
            rest += tuple(_one_of(emit, view, dimension.others, one_of, common))
    if make_rest:
        rest += tuple(_decide(emit, view, (CONJ_ID(_conjunction_number(view)), TRACKED)))
    return RuleFlows(rest, tuple(by_class), made_of, view.rule, services)


def _of_classes(
    emit: Emit,
    view: RuleView,
    dimension: _Dimension,
    one_of: Conjunction,
    common: tuple[Terms, ...],
    before: RuleFlows,
) -> ClassFlows:
    frame = (view.pointer, view.table, view.rank, one_of, common, dimension.slice)
    old = next((one for one in before.by_class if one.frame == frame), None)
    if old is not None and old.classes == dimension.classes:
        return old
    had = frozenset[int]() if old is None else old.classes
    flows = {} if old is None else dict(old.flows)
    come, gone = dimension.classes - had, had - dimension.classes
    for number in gone:
        del flows[number]
    flows.update(zip(come, _one_of(emit, view, dimension.of_classes(come), one_of, common), strict=True))
    since = None if old is None else old.version
    return ClassFlows(frame, dimension.classes, flows, since=since, come=come, gone=gone)


def _one_of(
    emit: Emit, view: RuleView, alternatives: Iterable[Terms], one_of: Conjunction, common: tuple[Terms, ...]
) -> Iterator[Flow]:
    matches = (_join((*common, terms)) for terms in alternatives) if common else alternatives
    why = "one of the origins, targets or ports that the rule names"
    yield from emit.each("rule", matches, (one_of,), rank=view.rank, origin=view.pointer, why=why)


def _conjunction_number(view: RuleView) -> int:
    """As apart as the ranks are: no two rules of a table have the same, and 0 is none."""
    return view.rank + 1


def _decide(emit: Emit, view: RuleView, match: Terms) -> Iterator[Flow]:
    rule = view.rule
    actions, goto, why = _decision(view)
    logs: tuple[FlowAction, ...] = hand_over(Punt.LOG) if rule.log is not None else ()

    def flow(terms: Terms, actions: tuple[FlowAction, ...], why: str) -> Flow:
        return emit("rule", terms, actions, goto=goto, rank=view.rank, origin=view.pointer, why=why)

    if not logs:
        yield flow(match, actions, why)
        return
    # Lines are about connections, not about packets.
    rest = tuple(term for term in match if term != TRACKED)
    yield flow((*rest, _NEW), (*logs, Load(PUNTED, 0), *actions), f"{why}, and a line is written")
    yield flow((*rest, _KNOWN), actions, why)


def _decision(view: RuleView) -> tuple[tuple[FlowAction, ...], str | None, str]:
    match view.rule.action:
        case Action.ALLOW:
            keep = (Load(KEEP, 1),) if view.rule.on_change is OnChange.KEEP else ()
            return keep, "commit", "the rule allows the connection"
        case Action.DROP:
            return (), None, "the rule drops the connection"
        case Action.REJECT:
            return hand_over(Punt.REJECT), None, "the rule rejects the connection, and its sender is told"
        case Action.PASS:
            return (), name_of(view.onward), "the rule passes the connection on to the next tier"
        case Action.LOG:
            return (), name_of(view.table + 1), "the rule looks on, and the next one decides"


def _first(emit: Emit, _: RealmView) -> Iterator[Flow]:
    for state in (CtState.EST, CtState.REL):
        yield emit(
            "kept",
            (ct_state(state, CtState.INV), KEPT(1)),
            goto="undnat",
            origin="",
            why="the rule that allowed the connection lets it go on to its end",
        )

    for fields in BY_VERSION.values():
        yield emit(
            "fragment",
            (fields.is_it, TRACKED, LATER_FRAGMENT),
            goto="commit",
            origin="",
            why="the first fragment is judged, by its ports; without it this one passes conntrack no more",
        )


def _stage(index: int) -> Stage:
    following = tuple(name_of(table) for table in range(index + 1, RULE_TABLES))

    return Stage(
        name=name_of(index),
        purpose="Rules, the first that fits decides. Each tier has a table, and so have the rules after one that logs.",
        matches=frozenset(
            {
                CONJ_ID,
                CT_MARK,
                CT_NW_PROTO,
                CT_STATE,
                CT_TP_DST,
                CT_TP_SRC,
                ETH_TYPE,
                IP_FRAG,
                ORIGIN_CLASS.field,
                ORIGIN_NETWORK.field,
                TARGET_CLASS.field,
                TARGET_NETWORK.field,
            }
        ),
        writes=frozenset({KEEP.field, PUNTED.field}),
        next=(*following, "default", "commit", "undnat"),
        priorities={
            "fragment": Priority(RANKS + 2, "later fragments"),
            "kept": Priority(RANKS + 1, "connections that stay, whatever rules say now"),
            "rule": Priority(1, "a rule, each at a priority of its own, in their order", RANKS),
        },
        miss=Miss("no rule of this table is about the connection", goto=(*following, "default")[0]),
        punts=True,
        realm=_first if index == 0 else None,
        rule=_compile,
    )


RULES: tuple[Stage, ...] = tuple(_stage(index) for index in range(RULE_TABLES))
