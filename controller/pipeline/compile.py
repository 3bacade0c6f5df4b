"""From a policy and the ports observed to the flows of one bridge. PURE.

Compilation is a union of small units (the bridge, a network, a member, the shared members). A unit's input is a small
value and its output is kept beside it: compiled again with an earlier result at hand, only units whose input changed
are made anew. With or without an earlier result the flows are the same.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from controller.flow.flow import Flow
from controller.pipeline import EMITTERS
from controller.pipeline.view import (
    BridgeView,
    MemberView,
    NetworkView,
    Seated,
    SharedMember,
    SharedView,
    addresses_in,
    broadcasts_of,
)
from controller.policy.model import Attach, Endpoint, Network, Policy

Flows = tuple[Flow, ...]
Seat = tuple[Endpoint, int, SharedMember | None]
"""An endpoint, the ofport it is bound to, and what it is as an untagged member of several networks, if it is one."""


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


def compile_bridge(policy: Policy, ports: Mapping[str, int], before: Compiled = NOTHING) -> Compiled:
    """The flows of a bridge on which the endpoints in `ports` (name -> ofport, each in the policy) are bound."""
    seats: dict[str, list[Seat]] = {}
    shared: list[SharedMember] = []
    for name, port in ports.items():
        endpoint = policy.endpoints[name]
        if not endpoint.shared:
            seats.setdefault(endpoint.networks[0], []).append((endpoint, port, None))
            continue
        member = None
        if endpoint.attach is Attach.UNTAGGED:
            networks = [policy.networks[network] for network in endpoint.networks]
            seated = (Seated(n.number, *addresses_in(endpoint, n), broadcasts_of(n)) for n in networks)
            member = SharedMember(name, port, tuple(seated))
            shared.append(member)
        for network in endpoint.networks:
            seats.setdefault(network, []).append((endpoint, port, member))
    segments = {
        name: _segment(policy.networks[name], tuple(members), before.segments.get(name))
        for name, members in seats.items()
    }
    return Compiled(
        bridge=before.bridge or _bridge(),
        shared=_shared(SharedView(tuple(sorted(shared, key=lambda member: member.port))), before.shared),
        segments=segments,
    )


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


def _segment(network: Network, seats: tuple[Seat, ...], before: Segment | None) -> Segment:
    if before is not None and before.network == network and before.seats == seats:
        return before
    ports = tuple(sorted(port for _, port, _ in seats))
    learning = tuple(sorted(port for endpoint, port, _ in seats if endpoint.mac is None))
    view = NetworkView(network, ports, learning)
    flows = tuple(flow for make, emit in _NETWORK_STAGES for flow in make(emit, view))
    kept = before.members if before is not None and before.network == network else {}
    return Segment(network, seats, flows, {seat[0].name: _member(network, seat, kept) for seat in seats})


def _member(network: Network, seat: Seat, kept: Mapping[str, Member]) -> Member:
    known = kept.get(seat[0].name)
    if known is not None and known.seat == seat:
        return known
    view = MemberView(network, *seat)
    return Member(seat, tuple(flow for make, emit in _MEMBER_STAGES for flow in make(emit, view)))


_NETWORK_STAGES = [(stage.network, emit) for stage, emit in EMITTERS if stage.network is not None]
_MEMBER_STAGES = [(stage.member, emit) for stage, emit in EMITTERS if stage.member is not None]
