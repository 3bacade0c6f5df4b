"""From a policy and the ports observed to the flows of one bridge. PURE.

Compilation is a union of small units (the bridge, a network, a way to another host, a member, the shared members, a
rule, an uplink). A unit's input is a small value and its output is kept beside it: compiled again with an earlier
result at hand, only units whose input changed are made anew. With or without an earlier result the flows are the same.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from itertools import chain
from types import MappingProxyType
from typing import assert_never

from controller.flow.flow import Flow
from controller.pipeline import EMITTERS
from controller.pipeline.router_view import RealmView, UplinkView, WayOut
from controller.pipeline.rule_view import NO_FLOWS, RuleFlows, RuleView
from controller.pipeline.rulebook import Rulebook, make_rulebook, place_of, rules_for, view_uplink
from controller.pipeline.segment import (
    NO_CARRIERS,
    Carrier,
    Flows,
    Parts,
    Seat,
    Segment,
    beside_of,
    make_segment,
    seat_of,
    shared_member,
)
from controller.pipeline.view import ABLE, BridgeView, SharedMember, SharedView
from controller.policy.model import Policy, Uplink

View = RealmView | UplinkView
NO_UPLINKS: Mapping[str, int] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Shared:
    """The compiled untagged shared members of a bridge."""

    view: SharedView
    flows: Flows


@dataclass(frozen=True, slots=True)
class Unit:
    """What a view of the realm or of an uplink was compiled to."""

    view: View
    flows: Flows


@dataclass(frozen=True, slots=True)
class RuleUnit:
    """What a view of a rule was compiled to."""

    view: RuleView
    flows: RuleFlows


MadeOf = tuple[Policy, Mapping[str, int], Mapping[str, tuple[Carrier, ...]], Rulebook, Mapping[str, int]]
"""The policy, the endpoints bound here, the carriers, the rulebook, and the uplinks bound here."""


@dataclass(frozen=True, slots=True)
class Compiled:
    """A bridge's flows, in units. Two results share every unit that did not change between them.

    made_of: what `compile_bridge` was given. seats: of the endpoints that are bound here.
    """

    bridge: Flows = ()
    shared: Shared = field(default_factory=lambda: Shared(SharedView(()), ()))
    segments: Mapping[str, Segment] = field(default_factory=dict)
    rules: Mapping[str, RuleUnit] = field(default_factory=dict)
    others: Mapping[str, Unit] = field(default_factory=dict)
    view: BridgeView = ABLE
    made_of: MadeOf | None = field(default=None, compare=False)
    seats: Mapping[str, Seat] = field(default_factory=dict, compare=False)

    def units(self) -> Iterator[Iterable[Flow]]:
        """Every unit's flows; a flow that two units need comes twice."""
        yield self.bridge
        yield self.shared.flows
        for segment in self.segments.values():
            yield segment.flows
            for way in segment.ways.values():
                yield way.flows
            for member in segment.members.values():
                yield member.flows
        for rule in self.rules.values():
            yield rule.flows.rest
            for of_class in rule.flows.by_class:
                yield of_class.flows.values()
        for unit in self.others.values():
            yield unit.flows

    @property
    def uplinks(self) -> Mapping[str, Flows]:
        """Those of each uplink that is bound here."""
        return {unit.view.uplink.name: unit.flows for unit in self.others.values() if isinstance(unit.view, UplinkView)}

    @property
    def declared_uplinks(self) -> Mapping[str, Uplink]:
        """The policy's, wherever they are."""
        return self.made_of[0].uplinks if self.made_of is not None else {}

    def flows(self) -> Flows:
        """All flows, each once, by table, descending priority, match."""
        by_priority: dict[tuple[int, int], list[Flow]] = {}
        for flow in {flow.cookie: flow for unit in self.units() for flow in unit}.values():
            by_priority.setdefault((flow.table, -flow.priority), []).append(flow)
        # Not all at a time: a call that sorts very many is one step of the interpreter, which no thread interrupts.
        few = (sorted(by_priority[key], key=lambda flow: flow.match) for key in sorted(by_priority))
        return tuple(chain.from_iterable(few))


NOTHING = Compiled()
"""What a bridge has that was never compiled for."""


def compile_bridge(
    policy: Policy,
    ports: Mapping[str, int],
    before: Compiled = NOTHING,
    carriers: Mapping[str, tuple[Carrier, ...]] = NO_CARRIERS,
    *,
    bridge: BridgeView = ABLE,
    book: Rulebook | None = None,
    uplinks: Mapping[str, int] = NO_UPLINKS,
) -> Compiled:
    """The flows of a bridge on which the endpoints in `ports` (name -> ofport, each in the policy) are bound.

    carriers: network -> how its members on other hosts are reached; only networks matter in which one is bound here,
    or to which a router here leads. book: made of the policy; None: it is made here. uplinks: those bound here, name ->
    ofport.
    """
    book = make_rulebook(policy) if book is None else book
    made_of = (policy, ports, carriers, book, uplinks)
    if before.view == bridge and before.made_of is not None and _is_same(before.made_of, made_of):
        return replace(before, made_of=made_of)
    if before.view != bridge:
        before = Compiled(view=bridge)
    seats: dict[str, list[Seat]] = {}
    local = _seats(policy, ports, book, before)
    for seat in local.values():
        for name in seat.endpoint.networks:
            seats.setdefault(name, []).append(seat)
    for name in _reached(policy, seats, uplinks):
        seats.setdefault(name, [])
    here = {name: carriers.get(name, ()) for name in seats}
    remote = _remote_shared(policy, here)
    segments = {}
    for name, members in seats.items():
        network = policy.networks[name]
        place = place_of(policy, book, network, _way_out(policy, here[name], network.uplink, uplinks), bridge)
        parts = Parts(network, tuple(members), here[name], remote, place)
        segments[name] = make_segment(policy, book, parts, before.segments.get(name), bridge)
    shared = sorted((seat.shared for seat in local.values() if seat.shared is not None), key=lambda member: member.port)
    shared_view = SharedView(tuple(shared), tuple(remote[name] for name in sorted(remote)))
    rules = rules_for(book, [policy.networks[name] for name in seats])
    others = _others(policy, book, uplinks, bridge)
    return Compiled(
        _bridge(bridge),
        _shared(shared_view, before.shared),
        segments,
        {view.rule.name: _rule_unit(view, before.rules.get(view.rule.name)) for view in rules},
        {key: _unit(view, before.others.get(key)) for key, view in others.items()},
        bridge,
        made_of,
        local,
    )


def _seats(policy: Policy, ports: Mapping[str, int], book: Rulebook, before: Compiled) -> Mapping[str, Seat]:
    """By endpoint name. What is still true of earlier ones is kept."""
    if before.made_of is None:
        return {name: seat_of(policy, policy.endpoints[name], port, book) for name, port in ports.items()}
    old, old_ports, _, old_book, _ = before.made_of
    same_networks = policy.networks == old.networks
    if same_networks and policy.endpoints == old.endpoints and ports == old_ports and book.classes is old_book.classes:
        return before.seats
    known = before.seats if same_networks else {}
    found: dict[str, Seat] = {}
    for name, port in ports.items():
        endpoint, seat = policy.endpoints[name], known.get(name)
        if (
            seat is None
            or seat.endpoint is not endpoint
            or seat.port != port
            or seat.classes is not book.classes.of(name)
            or (endpoint.routes and seat.beside != beside_of(policy, endpoint))
        ):
            seat = seat_of(policy, endpoint, port, book)
        found[name] = seat
    return found


def _is_same(before: MadeOf, now: MadeOf) -> bool:
    """Whether nothing that shows on the bridge differs. Objects of a policy that did not change stay the same ones."""
    (old, *_), (policy, ports, carriers, *_) = before, now
    if before[1:] != now[1:] or old is policy:
        return before[1:] == now[1:]
    if any(old.endpoints.get(name) is not policy.endpoints[name] for name in ports):
        return False
    networks = {network for name in ports for network in policy.endpoints[name].networks}
    if any(old.networks.get(name) is not policy.networks[name] for name in networks):
        return False
    # What a router may not speak for depends on networks and members that need not be here.
    routers = [policy.endpoints[name] for name in ports if policy.endpoints[name].routes]
    routers += [one for ways in carriers.values() for carrier in ways if carrier.routers for one in carrier.routers]
    return all(old.endpoints.get(one.name) is one and beside_of(old, one) == beside_of(policy, one) for one in routers)


def _reached(policy: Policy, here: Collection[str], uplinks: Mapping[str, int]) -> tuple[str, ...]:
    """Networks to which a router here leads: the routed ones, where one of them or an uplink is here."""
    if uplinks or any(policy.networks[name].routed for name in here):
        return tuple(name for name, network in policy.networks.items() if network.routed)
    return ()


def _way_out(
    policy: Policy, carriers: tuple[Carrier, ...], uplink: str | None, uplinks: Mapping[str, int]
) -> WayOut | None:
    """Where a network's uplink is from here; None: nowhere."""
    if uplink is None:
        return None
    number = policy.uplinks[uplink].number
    if uplink in uplinks:
        return WayOut(number, uplinks[uplink], True)
    return next((WayOut(number, carrier.port, False) for carrier in carriers if carrier.to_uplink), None)


def _remote_shared(policy: Policy, here: Mapping[str, tuple[Carrier, ...]]) -> dict[str, SharedMember]:
    """The untagged shared members behind the carriers, each in those of its networks in which its frames come here."""
    arriving: dict[str, dict[str, int]] = {}
    for network, carriers in here.items():
        for carrier in carriers:
            for endpoint in carrier.clones:
                arriving.setdefault(endpoint.name, {})[network] = carrier.port
    found: dict[str, SharedMember] = {}
    for name, ports in arriving.items():
        networks = [network for network in policy.endpoints[name].networks if network in ports]
        found[name] = shared_member(policy.endpoints[name], ports[networks[0]], [policy.networks[n] for n in networks])
    return found


def _others(policy: Policy, book: Rulebook, uplinks: Mapping[str, int], bridge: BridgeView) -> dict[str, View]:
    """What is compiled besides networks and rules, by a name of its own."""
    found: dict[str, View] = {} if book.realm is None else {"realm": book.realm}
    for name, port in uplinks.items():
        found[f"uplink {name}"] = view_uplink(policy, policy.uplinks[name], port, bridge)
    return found


@cache
def _bridge(view: BridgeView) -> Flows:
    flows = []
    for stage, emit in EMITTERS:
        if not stage.learns:
            flows.append(emit.miss())
        if stage.bridge is not None:
            flows.extend(stage.bridge(emit, view))
    return tuple(flows)


def _shared(view: SharedView, before: Shared) -> Shared:
    if view == before.view:
        return before
    return Shared(view, tuple(flow for make, emit in _SHARED_STAGES for flow in make(emit, view)))


def _rule_unit(view: RuleView, before: RuleUnit | None) -> RuleUnit:
    if before is not None and (before.view is view or before.view == view):
        return before
    compile_rule, emit = _RULE_STAGES[view.table]
    return RuleUnit(view, compile_rule(emit, view, NO_FLOWS if before is None else before.flows))


def _unit(view: View, before: Unit | None) -> Unit:
    if before is not None and before.view == view:
        return before
    match view:
        case RealmView():
            return Unit(view, tuple(flow for make, emit in _REALM_STAGES for flow in make(emit, view)))
        case UplinkView():
            return Unit(view, tuple(flow for make, emit in _UPLINK_STAGES for flow in make(emit, view)))
        case never:
            assert_never(never)


_SHARED_STAGES = [(stage.shared, emit) for stage, emit in EMITTERS if stage.shared is not None]
_REALM_STAGES = [(stage.realm, emit) for stage, emit in EMITTERS if stage.realm is not None]
# One for each table of rules, in their order.
_RULE_STAGES = [(stage.rule, emit) for stage, emit in EMITTERS if stage.rule is not None]
_UPLINK_STAGES = [(stage.uplink, emit) for stage, emit in EMITTERS if stage.uplink is not None]
