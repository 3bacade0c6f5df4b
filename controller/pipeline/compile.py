"""From a policy and the ports observed to the flows of one bridge. PURE.

Compilation is a union of small units (the bridge, a network, a member, the shared members). A unit's input is a small
value and its output is kept beside it: compiled again with an earlier result at hand, only units whose input changed
are made anew. With or without an earlier result the flows are the same.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

from controller.flow.flow import Flow
from controller.pipeline import EMITTERS
from controller.pipeline.view import (
    BridgeView,
    Carried,
    MemberView,
    NetworkView,
    Seated,
    SharedMember,
    SharedView,
    addresses_in,
    broadcasts_of,
)
from controller.policy.model import Attach, Endpoint, Network, Policy, tag_of

Flows = tuple[Flow, ...]
Seat = tuple[Endpoint, int, SharedMember | None, bool]
"""An endpoint, its ofport here, what it is as an untagged member of several networks, and whether it is remote.

A remote endpoint's ofport is that of the carrier which leads to its host."""


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
    flows: Flows
    members: Mapping[str, Member]


@dataclass(frozen=True, slots=True)
class Shared:
    """The compiled untagged shared members of a bridge."""

    view: SharedView
    flows: Flows


@dataclass(frozen=True, slots=True)
class Compiled:
    """A bridge's flows, in units. Two results share every unit that did not change between them."""

    bridge: Flows = ()
    shared: Shared = field(default_factory=lambda: Shared(SharedView(()), ()))
    segments: Mapping[str, Segment] = field(default_factory=dict)

    def units(self) -> Iterator[Flows]:
        """Every unit's flows; a flow that two units need comes twice."""
        yield self.bridge
        yield self.shared.flows
        for segment in self.segments.values():
            yield segment.flows
            for member in segment.members.values():
                yield member.flows

    def flows(self) -> Flows:
        """All flows, each once, by table, descending priority, match."""
        unique = {flow.cookie: flow for unit in self.units() for flow in unit}
        return tuple(sorted(unique.values(), key=lambda flow: (flow.table, -flow.priority, flow.match)))


NOTHING = Compiled()
"""What a bridge has that was never compiled for."""


@dataclass(frozen=True, slots=True)
class Carrier:
    """A trunk of this bridge: the port that leads to other hosts. seats: the endpoints there. native: plain on it."""

    port: int
    seats: tuple[str, ...]
    native: str | None = None


def compile_bridge(
    policy: Policy, ports: Mapping[str, int], before: Compiled = NOTHING, carriers: tuple[Carrier, ...] = ()
) -> Compiled:
    """The flows of a bridge on which the endpoints in `ports` (name -> ofport, each in the policy) are bound.

    Of the endpoints behind its carriers only those matter that share a network with one that is bound here.
    """
    seats: dict[str, list[Seat]] = {}
    carried: dict[str, dict[int, Carried]] = {}
    local = [_seat(policy, policy.endpoints[name], port, remote=False) for name, port in ports.items()]
    for seat in local:
        for network in seat[0].networks:
            seats.setdefault(network, []).append(seat)
    here = frozenset(seats)
    remote: list[SharedMember] = []
    for carrier in carriers:
        for name in carrier.seats:
            seat = _seat(policy, policy.endpoints[name], carrier.port, remote=True)
            joint = [n for n in seat[0].networks if n in here and _carries(carrier, policy.networks[n])]
            if joint and seat[2] is not None:
                remote.append(seat[2])
            for network in joint:
                seats[network].append(seat)
                ways = carried.setdefault(network, {})
                tag = tag_of(policy.networks[network], carrier.native)
                known = ways.get(carrier.port, Carried(carrier.port, tag, 0))
                ways[carrier.port] = replace(known, learning=known.learning + (seat[0].mac is None))
    segments = {
        name: _segment(policy.networks[name], tuple(members), _ways(carried, name), before.segments.get(name))
        for name, members in seats.items()
    }
    shared = sorted((seat[2] for seat in local if seat[2] is not None), key=lambda member: member.port)
    view = SharedView(tuple(shared), tuple(sorted(remote, key=lambda member: member.endpoint)))
    return Compiled(before.bridge or _bridge(), _shared(view, before.shared), segments)


def _carries(carrier: Carrier, network: Network) -> bool:
    """A trunk tells networks by their vlan, and the native one by its having no tag."""
    return network.vlan is not None or network.name == carrier.native


def _ways(carried: Mapping[str, Mapping[int, Carried]], network: str) -> tuple[Carried, ...]:
    return tuple(sorted(carried.get(network, {}).values(), key=lambda way: way.port))


def _seat(policy: Policy, endpoint: Endpoint, port: int, *, remote: bool) -> Seat:
    if not endpoint.shared or endpoint.attach is not Attach.UNTAGGED:
        return endpoint, port, None, remote
    networks = [policy.networks[name] for name in endpoint.networks]
    seated = (Seated(n.number, *addresses_in(endpoint, n), broadcasts_of(n)) for n in networks)
    return endpoint, port, SharedMember(endpoint.name, port, tuple(seated)), remote


def _bridge() -> Flows:
    view = BridgeView()
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


def _segment(network: Network, seats: tuple[Seat, ...], ways: tuple[Carried, ...], before: Segment | None) -> Segment:
    if before is not None and (before.network, before.seats, before.ways) == (network, seats, ways):
        return before
    local = sorted((port, endpoint.mac is None) for endpoint, port, _, remote in seats if not remote)
    learning = tuple(port for port, learns in local if learns)
    view = NetworkView(network, tuple(port for port, _ in local), learning, ways)
    flows = tuple(flow for make, emit in _NETWORK_STAGES for flow in make(emit, view))
    kept = before.members if before is not None and before.network == network else {}
    return Segment(network, seats, ways, flows, {seat[0].name: _member(network, seat, kept) for seat in seats})


def _member(network: Network, seat: Seat, kept: Mapping[str, Member]) -> Member:
    known = kept.get(seat[0].name)
    if known is not None and known.seat == seat:
        return known
    if seat[0].mac is None and seat[3]:
        return Member(seat, ())  # the carrier learns, for all of its ports together
    view = MemberView(network, *seat)
    return Member(seat, tuple(flow for make, emit in _MEMBER_STAGES for flow in make(emit, view)))


_NETWORK_STAGES = [(stage.network, emit) for stage, emit in EMITTERS if stage.network is not None]
_MEMBER_STAGES = [(stage.member, emit) for stage, emit in EMITTERS if stage.member is not None]
