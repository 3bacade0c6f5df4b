"""From a policy and the ports observed to the flows of one bridge. PURE.

Compilation is a union of small units (the bridge, a network, a member, the shared members). A unit's input is a small
value and its output is kept beside it: compiled again with an earlier result at hand, only units whose input changed
are made anew. With or without an earlier result the flows are the same.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import chain
from types import MappingProxyType
from typing import assert_never

from controller.flow.flow import Flow
from controller.pipeline import EMITTERS
from controller.pipeline.router_view import RealmView, UplinkView, WayOut
from controller.pipeline.rule_view import RuleView
from controller.pipeline.rulebook import Rulebook, make_rulebook, place_of, rules_for, view_uplink
from controller.pipeline.view import (
    ABLE,
    NO_CLASSES,
    BridgeView,
    Carried,
    MemberView,
    NetworkView,
    Place,
    Seated,
    SharedMember,
    SharedView,
    addresses_in,
    broadcasts_of,
)
from controller.policy.model import Attach, Cidr, Endpoint, Network, Policy, tag_of

Flows = tuple[Flow, ...]
NO_UPLINKS: Mapping[str, int] = MappingProxyType({})
Seat = tuple[Endpoint, int, SharedMember | None, bool, Mapping[tuple[int, int], int], tuple[Cidr, ...]]
"""An endpoint, its ofport here, what it is as an untagged member of several networks, whether it is remote, the classes
of its addresses, and where its networks are, if it is a router.

A remote endpoint's ofport is that of the carrier which leads to its host."""
View = RealmView | RuleView | UplinkView


@dataclass(frozen=True, slots=True)
class Member:
    """A compiled member of a network."""

    seat: Seat
    flows: Flows


@dataclass(frozen=True, slots=True)
class Segment:
    """A compiled network on a bridge: what it was made of, the flows of the whole, and its members by endpoint name."""

    network: Network
    seats: tuple[Seat, ...]
    ways: tuple[Carried, ...]
    place: Place
    flows: Flows
    members: Mapping[str, Member]


@dataclass(frozen=True, slots=True)
class Shared:
    """The compiled untagged shared members of a bridge."""

    view: SharedView
    flows: Flows


@dataclass(frozen=True, slots=True)
class Unit:
    """What a view of the realm, of a rule or of an uplink was compiled to."""

    view: View
    flows: Flows


MadeOf = tuple[Policy, Mapping[str, int], "tuple[Carrier, ...]", Rulebook, Mapping[str, int]]
"""The policy, the endpoints bound here, the carriers, the rulebook, and the uplinks bound here."""


@dataclass(frozen=True, slots=True)
class Compiled:
    """A bridge's flows, in units. Two results share every unit that did not change between them.

    made_of: what `compile_bridge` was given.
    """

    bridge: Flows = ()
    shared: Shared = field(default_factory=lambda: Shared(SharedView(()), ()))
    segments: Mapping[str, Segment] = field(default_factory=dict)
    others: Mapping[str, Unit] = field(default_factory=dict)
    view: BridgeView = ABLE
    made_of: MadeOf | None = field(default=None, compare=False)

    def units(self) -> Iterator[Flows]:
        """Every unit's flows; a flow that two units need comes twice."""
        yield self.bridge
        yield self.shared.flows
        for segment in self.segments.values():
            yield segment.flows
            for member in segment.members.values():
                yield member.flows
        for unit in self.others.values():
            yield unit.flows

    def flows(self) -> Flows:
        """All flows, each once, by table, descending priority, match."""
        unique = {flow.cookie: flow for unit in self.units() for flow in unit}
        return tuple(sorted(unique.values(), key=lambda flow: (flow.table, -flow.priority, flow.match)))


NOTHING = Compiled()
"""What a bridge has that was never compiled for."""


Membership = tuple[str, str]
"""An endpoint and one of its networks, by name."""


@dataclass(frozen=True, slots=True)
class Carrier:
    """A port of this bridge that leads to other hosts: the trunk, or the tunnel to one of them.

    seats: the memberships on the hosts behind it whose frames travel here. native: the network that is plain on the
    trunk. uplinks: names of those that the hosts behind it have.
    """

    port: int
    tunnel: bool
    seats: tuple[Membership, ...]
    native: str | None = None
    uplinks: tuple[str, ...] = ()


def compile_bridge(
    policy: Policy,
    ports: Mapping[str, int],
    before: Compiled = NOTHING,
    carriers: tuple[Carrier, ...] = (),
    *,
    bridge: BridgeView = ABLE,
    book: Rulebook | None = None,
    uplinks: Mapping[str, int] = NO_UPLINKS,
) -> Compiled:
    """The flows of a bridge on which the endpoints in `ports` (name -> ofport, each in the policy) are bound.

    Of the endpoints behind its carriers only those matter that share a network with one that is bound here, or that a
    router leads to. book: made of the policy; None: it is made here. uplinks: those bound here, name -> ofport.
    """
    book = make_rulebook(policy) if book is None else book
    made_of = (policy, ports, carriers, book, uplinks)
    if before.view == bridge and before.made_of is not None and _is_same(before.made_of, made_of):
        return replace(before, made_of=made_of)
    if before.view != bridge:
        before = Compiled(view=bridge)
    seats: dict[str, list[Seat]] = {}
    carried: dict[str, list[Carried]] = {}
    local = [_seat(policy, policy.endpoints[name], port, book) for name, port in ports.items()]
    for seat in local:
        for network in seat[0].networks:
            seats.setdefault(network, []).append(seat)
    ways = _ways(policy, carriers, uplinks)
    for name in _reached(policy, seats, uplinks):
        seats.setdefault(name, [])
    here = frozenset(seats)
    remote = _remote_shared(policy, carriers, here)
    for carrier in carriers:
        learning: dict[str, int] = {}
        for name, network in carrier.seats:
            if network in here:
                endpoint = policy.endpoints[name]
                told = _told(policy, endpoint, book)
                seats[network].append((endpoint, carrier.port, remote.get(name), True, *told))
                learning[network] = learning.get(network, 0) + (endpoint.mac is None)
        for network, count in learning.items():
            carried.setdefault(network, []).append(_carried(carrier, policy.networks[network], count))
    segments = {
        name: _segment(
            policy.networks[name],
            tuple(members),
            tuple(carried.get(name, ())),
            place_of(policy, book, policy.networks[name], ways),
            before,
        )
        for name, members in seats.items()
    }
    shared = sorted((seat[2] for seat in local if seat[2] is not None), key=lambda member: member.port)
    shared_view = SharedView(tuple(shared), tuple(remote[name] for name in sorted(remote)))
    views: dict[str, View] = {} if book.realm is None else {"": book.realm}
    views |= {f"rule {view.rule.name}": view for view in rules_for(book, [policy.networks[name] for name in seats])}
    for name, port in uplinks.items():
        views[f"uplink {name}"] = view_uplink(policy, policy.uplinks[name], port)
    others = {key: _unit(view, before.others.get(key)) for key, view in views.items()}
    return Compiled(
        before.bridge or _bridge(bridge), _shared(shared_view, before.shared), segments, others, bridge, made_of
    )


def _is_same(before: MadeOf, now: MadeOf) -> bool:
    """Whether nothing that shows on the bridge differs. Objects of a policy that did not change stay the same ones."""
    (old, *_), (policy, ports, carriers, *_) = before, now
    if before[1:] != now[1:] or old is policy:
        return before[1:] == now[1:]
    names = chain(ports, (name for carrier in carriers for name, _ in carrier.seats))
    if any(old.endpoints.get(name) is not policy.endpoints[name] for name in names):
        return False
    networks = {network for name in ports for network in policy.endpoints[name].networks}
    return all(old.networks.get(name) is policy.networks[name] for name in networks)


def _ways(policy: Policy, carriers: tuple[Carrier, ...], uplinks: Mapping[str, int]) -> dict[str, WayOut]:
    """Uplink name -> where it is from here."""
    found: dict[str, WayOut] = {}
    for carrier in carriers:
        for name in carrier.uplinks:
            found[name] = WayOut(policy.uplinks[name].number, carrier.port, False)
    return found | {name: WayOut(policy.uplinks[name].number, port, True) for name, port in uplinks.items()}


def _reached(policy: Policy, here: Collection[str], uplinks: Mapping[str, int]) -> Iterator[str]:
    """Networks without members here that a router here leads to: routed ones, where any is, or an uplink."""
    if uplinks or any(policy.networks[name].routed for name in here):
        yield from (name for name, network in policy.networks.items() if network.routed)


def _carried(carrier: Carrier, network: Network, learning: int) -> Carried:
    if carrier.tunnel:
        return Carried(carrier.port, network.vni, None, learning)
    return Carried(carrier.port, None, tag_of(network, carrier.native), learning)


def _remote_shared(policy: Policy, carriers: tuple[Carrier, ...], here: Collection[str]) -> dict[str, SharedMember]:
    """The untagged shared members behind the carriers, each in those of its networks in which its frames come here."""
    arriving: dict[str, list[tuple[int, Network]]] = {}
    for carrier in carriers:
        for name, network in carrier.seats:
            if network in here and _clones(policy.endpoints[name]):
                arriving.setdefault(name, []).append((carrier.port, policy.networks[network]))
    return {name: _shared_member(policy.endpoints[name], ways[0][0], [n for _, n in ways])
            for name, ways in arriving.items()}  # fmt: skip


def _clones(endpoint: Endpoint) -> bool:
    """Whether each of its frames goes into several networks."""
    return endpoint.shared and endpoint.attach is Attach.UNTAGGED


def _shared_member(endpoint: Endpoint, port: int, networks: Iterable[Network]) -> SharedMember:
    seated = (Seated(n.number, *addresses_in(endpoint, n), broadcasts_of(n)) for n in networks)
    return SharedMember(endpoint.name, port, tuple(seated))


def _seat(policy: Policy, endpoint: Endpoint, port: int, book: Rulebook) -> Seat:
    shared = None
    if _clones(endpoint):
        shared = _shared_member(endpoint, port, (policy.networks[name] for name in endpoint.networks))
    return endpoint, port, shared, False, *_told(policy, endpoint, book)


def _told(policy: Policy, endpoint: Endpoint, book: Rulebook) -> tuple[Mapping[tuple[int, int], int], tuple[Cidr, ...]]:
    """The classes of an endpoint's addresses, where rules name any, and all its networks' prefixes, where it routes."""
    classes: Mapping[tuple[int, int], int] = NO_CLASSES
    if book.classes.numbers:
        addresses = list(endpoint.ips)
        if endpoint.mac is not None and any(ip.version == 6 for ip in addresses):
            addresses.append(endpoint.mac.link_local)
        classes = {(ip.version, int(ip)): book.classes.of(endpoint.name, ip) for ip in addresses}
    beside: tuple[Cidr, ...] = ()
    if endpoint.routes:
        beside = tuple(dict.fromkeys(cidr for name in endpoint.networks for cidr in policy.networks[name].cidrs))
    return classes, beside


def _bridge(view: BridgeView) -> Flows:
    flows: list[Flow] = []
    for stage, emit in EMITTERS:
        if not stage.learns:
            flows.append(emit.miss())
        if stage.bridge is not None:
            flows.extend(stage.bridge(emit, view))
    return tuple(flows)


def _shared(view: SharedView, before: Shared) -> Shared:
    if view == before.view:
        return before
    stages = [(stage.shared, emit) for stage, emit in EMITTERS if stage.shared is not None]
    return Shared(view, tuple(flow for make, emit in stages for flow in make(emit, view)))


def _unit(view: View, before: Unit | None) -> Unit:
    if before is not None and before.view == view:
        return before
    match view:
        case RealmView():
            return Unit(view, tuple(flow for make, emit in _REALM_STAGES for flow in make(emit, view)))
        case RuleView():
            return Unit(view, tuple(flow for make, emit in _RULE_STAGES for flow in make(emit, view)))
        case UplinkView():
            return Unit(view, tuple(flow for make, emit in _UPLINK_STAGES for flow in make(emit, view)))
        case never:
            assert_never(never)


def _segment(
    network: Network, seats: tuple[Seat, ...], ways: tuple[Carried, ...], place: Place, whole: Compiled
) -> Segment:
    """whole: the earlier result that it may be a part of, and the bridge it is for."""
    before = whole.segments.get(network.name)
    if before is not None and (before.network, before.seats, before.ways, before.place) == (
        network,
        seats,
        ways,
        place,
    ):
        return before
    local = sorted((seat[1], seat[0].mac is None) for seat in seats if not seat[3])
    learning = tuple(port for port, learns in local if learns)
    view = NetworkView(network, tuple(port for port, _ in local), learning, ways, place)
    flows = tuple(flow for make, emit in _NETWORK_STAGES for flow in make(emit, view))
    kept = before.members if before is not None and (before.network, before.place) == (network, place) else {}
    members = {seat[0].name: _member(network, seat, kept, place, whole.view) for seat in seats}
    return Segment(network, seats, ways, place, flows, members)


def _member(network: Network, seat: Seat, kept: Mapping[str, Member], place: Place, bridge: BridgeView) -> Member:
    known = kept.get(seat[0].name)
    if known is not None and known.seat == seat:
        return known
    if seat[0].mac is None and seat[3]:
        return Member(seat, ())  # the carrier learns, for all of its ports together
    view = MemberView(network, *seat, place=place, bridge=bridge)
    return Member(seat, tuple(flow for make, emit in _MEMBER_STAGES for flow in make(emit, view)))


_NETWORK_STAGES = [(stage.network, emit) for stage, emit in EMITTERS if stage.network is not None]
_MEMBER_STAGES = [(stage.member, emit) for stage, emit in EMITTERS if stage.member is not None]
_REALM_STAGES = [(stage.realm, emit) for stage, emit in EMITTERS if stage.realm is not None]
_RULE_STAGES = [(stage.rule, emit) for stage, emit in EMITTERS if stage.rule is not None]
_UPLINK_STAGES = [(stage.uplink, emit) for stage, emit in EMITTERS if stage.uplink is not None]
