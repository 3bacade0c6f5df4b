"""From a policy and the ports observed to the flows of one bridge. PURE.

Compilation is a union of small units (the bridge, a network, its way to another host, a member, the shared members). A
unit's input is a small value and its output is kept beside it: compiled again with an earlier result at hand, only
units whose input changed are made anew. With or without an earlier result the flows are the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType

from controller.flow.flow import Flow
from controller.pipeline import EMITTERS
from controller.pipeline.view import (
    ABLE,
    BridgeView,
    Carried,
    CarriedView,
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
    """A compiled network on a bridge: what it was made of, the flows of the whole, those of each of its ways
    to other hosts, and its members by endpoint name.
    """

    made_of: SegmentMadeOf
    view: NetworkView
    flows: Flows
    ways: Mapping[Carried, Flows]
    members: Mapping[str, Member]


@dataclass(frozen=True, slots=True)
class Shared:
    """The compiled untagged shared members of a bridge."""

    view: SharedView
    flows: Flows


MadeOf = tuple[Policy, Mapping[str, int], "Mapping[str, tuple[Carrier, ...]]"]
"""The policy, the endpoints bound here, and the carriers."""
SegmentMadeOf = tuple[tuple[Seat, ...], "tuple[Carrier, ...]", tuple[SharedMember, ...]]
"""The network's members here, its carriers, and what the untagged shared members behind them are on this bridge."""


@dataclass(frozen=True, slots=True)
class Compiled:
    """A bridge's flows, in units. Two results share every unit that did not change between them.

    made_of: what `compile_bridge` was given.
    """

    bridge: Flows = ()
    shared: Shared = field(default_factory=lambda: Shared(SharedView(()), ()))
    segments: Mapping[str, Segment] = field(default_factory=dict)
    view: BridgeView = ABLE
    made_of: MadeOf | None = field(default=None, compare=False)

    def units(self) -> Iterator[Flows]:
        """Every unit's flows; a flow that two units need comes twice."""
        yield self.bridge
        yield self.shared.flows
        for segment in self.segments.values():
            yield segment.flows
            yield from segment.ways.values()
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
    """A port of this bridge that leads to members of one network on other hosts: the trunk, or the tunnel to a host.

    members: those behind it whose frames travel here. native: the network that is plain on the trunk.
    clones: of the members those that are untagged in several networks.
    """

    port: int
    tunnel: bool
    members: tuple[Endpoint, ...]
    native: str | None = None
    clones: tuple[Endpoint, ...] = field(init=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "clones", tuple(endpoint for endpoint in self.members if _clones(endpoint)))


NO_CARRIERS: Mapping[str, tuple[Carrier, ...]] = MappingProxyType({})


def compile_bridge(
    policy: Policy,
    ports: Mapping[str, int],
    before: Compiled = NOTHING,
    carriers: Mapping[str, tuple[Carrier, ...]] = NO_CARRIERS,
    *,
    bridge: BridgeView = ABLE,
) -> Compiled:
    """The flows of a bridge on which the endpoints in `ports` (name -> ofport, each in the policy) are bound.

    carriers: network -> how its members on other hosts are reached; only networks matter in which one is bound here.
    """
    made_of = (policy, ports, carriers)
    if before.view == bridge and before.made_of is not None and _is_same(before.made_of, made_of):
        return replace(before, made_of=made_of)
    if before.view != bridge:
        before = Compiled(view=bridge)
    seats: dict[str, list[Seat]] = {}
    local = [_seat(policy, policy.endpoints[name], port) for name, port in ports.items()]
    for seat in local:
        for network in seat[0].networks:
            seats.setdefault(network, []).append(seat)
    here = {name: carriers.get(name, ()) for name in seats}
    remote = _remote_shared(policy, here)
    segments = {
        name: _segment(policy.networks[name], tuple(members), here[name], remote, before)
        for name, members in seats.items()
    }
    shared = sorted((seat[2] for seat in local if seat[2] is not None), key=lambda member: member.port)
    view = SharedView(tuple(shared), tuple(remote[name] for name in sorted(remote)))
    return Compiled(before.bridge or _bridge(bridge), _shared(view, before.shared), segments, bridge, made_of)


def _is_same(before: MadeOf, now: MadeOf) -> bool:
    """Whether nothing that shows on the bridge differs. Objects of a policy that did not change stay the same ones."""
    (old, *_), (policy, ports, _) = before, now
    if before[1:] != now[1:] or old is policy:
        return before[1:] == now[1:]
    if any(old.endpoints.get(name) is not policy.endpoints[name] for name in ports):
        return False
    networks = {network for name in ports for network in policy.endpoints[name].networks}
    return all(old.networks.get(name) is policy.networks[name] for name in networks)


def _carried(carrier: Carrier, network: Network) -> Carried:
    learning = sum(endpoint.mac is None for endpoint in carrier.members)
    if carrier.tunnel:
        return Carried(carrier.port, network.vni, None, learning)
    return Carried(carrier.port, None, tag_of(network, carrier.native), learning)


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
        found[name] = _shared_member(policy.endpoints[name], ports[networks[0]], [policy.networks[n] for n in networks])
    return found


def _clones(endpoint: Endpoint) -> bool:
    """Whether each of its frames goes into several networks."""
    return endpoint.shared and endpoint.attach is Attach.UNTAGGED


def _shared_member(endpoint: Endpoint, port: int, networks: Iterable[Network]) -> SharedMember:
    seated = (Seated(n.number, *addresses_in(endpoint, n), broadcasts_of(n)) for n in networks)
    return SharedMember(endpoint.name, port, tuple(seated))


def _seat(policy: Policy, endpoint: Endpoint, port: int) -> Seat:
    if not _clones(endpoint):
        return endpoint, port, None, False
    return endpoint, port, _shared_member(endpoint, port, (policy.networks[name] for name in endpoint.networks)), False


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


def _segment(
    network: Network,
    local: tuple[Seat, ...],
    carriers: tuple[Carrier, ...],
    shared: Mapping[str, SharedMember],
    whole: Compiled,
) -> Segment:
    """shared: of the whole bridge, on other hosts. whole: the earlier result that it may be a part of."""
    made_of = (local, carriers, tuple(shared[endpoint.name] for carrier in carriers for endpoint in carrier.clones))
    before = whole.segments.get(network.name)
    if before is not None and before.view.network != network:
        before = None
    if before is not None and before.made_of == made_of:
        return before
    remote = ((endpoint, carrier.port, shared.get(endpoint.name), True)
              for carrier in carriers for endpoint in carrier.members)  # fmt: skip
    ports = sorted((port, endpoint.mac is None) for endpoint, port, _, _ in local)
    learning = tuple(port for port, learns in ports if learns)
    ways = tuple(_carried(carrier, network) for carrier in carriers)
    view = NetworkView(network, tuple(port for port, _ in ports), learning, ways)
    if before is not None and before.view == view:
        flows = before.flows
    else:
        flows = tuple(flow for make, emit in _NETWORK_STAGES for flow in make(emit, view))
    known = before.ways if before is not None else {}
    by_way = {way: known[way] if way in known else _way(network, way, view.origin) for way in ways}
    kept = before.members if before is not None else {}
    members = {seat[0].name: _member(network, seat, kept, whole.view) for seat in (*local, *remote)}
    return Segment(made_of, view, flows, by_way, members)


def _way(network: Network, carried: Carried, origin: str) -> Flows:
    view = CarriedView(network, carried, origin)
    return tuple(flow for make, emit in _CARRIED_STAGES for flow in make(emit, view))


def _member(network: Network, seat: Seat, kept: Mapping[str, Member], bridge: BridgeView) -> Member:
    known = kept.get(seat[0].name)
    if known is not None and known.seat == seat:
        return known
    if seat[0].mac is None and seat[3]:
        return Member(seat, ())  # the carrier learns, for all of its ports together
    view = MemberView(network, *seat, bridge=bridge)
    return Member(seat, tuple(flow for make, emit in _MEMBER_STAGES for flow in make(emit, view)))


_NETWORK_STAGES = [(stage.network, emit) for stage, emit in EMITTERS if stage.network is not None]
_CARRIED_STAGES = [(stage.carried, emit) for stage, emit in EMITTERS if stage.carried is not None]
_MEMBER_STAGES = [(stage.member, emit) for stage, emit in EMITTERS if stage.member is not None]
