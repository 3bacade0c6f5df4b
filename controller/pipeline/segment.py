"""One network on one bridge, compiled: its whole, its ways to other hosts and its members, each a unit. PURE."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from ipaddress import ip_network
from types import MappingProxyType

from controller.flow.flow import Flow
from controller.pipeline import EMITTERS
from controller.pipeline.rulebook import Rulebook
from controller.pipeline.view import (
    BridgeView,
    Carried,
    CarriedView,
    ClassNumbers,
    MemberView,
    NetworkView,
    Place,
    Seated,
    SharedMember,
    addresses_in,
    broadcasts_of,
)
from controller.policy.model import Attach, Cidr, Endpoint, Network, Policy, tag_of

Flows = tuple[Flow, ...]


@dataclass(frozen=True, slots=True)
class Seat:
    """An endpoint where it is, as this bridge sees it.

    port: its ofport here; of a remote one that of the carrier which leads to its host. shared: what it is as an
    untagged member of several networks. classes: of its addresses, where rules name any. beside: where its networks
    are, if it is a router.
    """

    endpoint: Endpoint
    port: int
    shared: SharedMember | None
    remote: bool
    classes: ClassNumbers
    beside: tuple[Cidr, ...]


@dataclass(frozen=True, slots=True)
class Carrier:
    """A port of this bridge that leads to members of one network on other hosts: the trunk, or the tunnel to a host.

    members: those behind it whose frames travel here. native: the network that is plain on the trunk. to_uplink: the
    host that has the network's uplink is behind it. clones: of the members those that are untagged in several networks;
    routers: those that are routers of their own.
    """

    port: int
    tunnel: bool
    members: tuple[Endpoint, ...]
    native: str | None = None
    to_uplink: bool = False
    clones: tuple[Endpoint, ...] = field(init=False, compare=False)
    routers: tuple[Endpoint, ...] = field(init=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "clones", tuple(endpoint for endpoint in self.members if clones(endpoint)))
        object.__setattr__(self, "routers", tuple(endpoint for endpoint in self.members if endpoint.routes))


NO_CARRIERS: Mapping[str, tuple[Carrier, ...]] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Member:
    """A compiled member of a network."""

    seat: Seat
    flows: Flows


@dataclass(frozen=True, slots=True)
class Way:
    """A network's compiled way to other hosts."""

    carried: Carried
    flows: Flows


SegmentMadeOf = tuple[
    tuple[Seat, ...],
    tuple[Carrier, ...],
    tuple[SharedMember, ...],
    Place,
    tuple[ClassNumbers, ...],
    tuple[tuple[Cidr, ...], ...],
]
"""The network's members here, its carriers, what the untagged shared members behind them are on this bridge, how the
network is judged and routed, the classes of the members on other hosts, and where the networks of the routers among
them are."""


@dataclass(frozen=True, slots=True)
class Segment:
    """A compiled network on a bridge: what it was made of, the flows of the whole, its ways to other hosts by port, and
    its members by endpoint name.
    """

    made_of: SegmentMadeOf
    view: NetworkView
    flows: Flows
    ways: Mapping[int, Way]
    members: Mapping[str, Member]


def clones(endpoint: Endpoint) -> bool:
    """Whether each of its frames goes into several networks."""
    return endpoint.shared and endpoint.attach is Attach.UNTAGGED


def seat_of(policy: Policy, endpoint: Endpoint, port: int, book: Rulebook) -> Seat:
    """Of an endpoint that is bound here."""
    shared = None
    if clones(endpoint):
        shared = shared_member(endpoint, port, (policy.networks[name] for name in endpoint.networks))
    return Seat(endpoint, port, shared, False, book.classes.of(endpoint.name), beside_of(policy, endpoint))


def shared_member(endpoint: Endpoint, port: int, networks: Iterable[Network]) -> SharedMember:
    """An untagged member of several networks, as it is seen in these."""
    seated = (Seated(n.number, *addresses_in(endpoint, n), broadcasts_of(n)) for n in networks)
    return SharedMember(endpoint.name, port, tuple(seated), endpoint.routes)


def beside_of(policy: Policy, endpoint: Endpoint) -> tuple[Cidr, ...]:
    """Where the members of a router's own networks are; nothing of an endpoint that is no router."""
    if not endpoint.routes:
        return ()
    return tuple(dict.fromkeys(cidr for name in endpoint.networks for cidr in _occupied(policy, name)))


def _occupied(policy: Policy, network: str) -> tuple[Cidr, ...]:
    """Where the members of a network are: in its prefixes, or without any at their addresses."""
    members = policy.members[network]
    return policy.networks[network].cidrs or tuple(ip_network(ip) for member in members for ip in member.ips)


@dataclass(frozen=True, slots=True)
class Parts:
    """What a segment is made of. shared: of the whole bridge, on other hosts, by endpoint name."""

    network: Network
    local: tuple[Seat, ...]
    carriers: tuple[Carrier, ...]
    shared: Mapping[str, SharedMember]
    place: Place

    def made_of(self, policy: Policy, book: Rulebook) -> SegmentMadeOf:
        remote: tuple[ClassNumbers, ...] = ()
        if book.classes.numbers:
            remote = tuple(book.classes.of(one.name) for carrier in self.carriers for one in carrier.members)
        cloned = tuple(self.shared[one.name] for carrier in self.carriers for one in carrier.clones)
        beside = tuple(beside_of(policy, one) for carrier in self.carriers for one in carrier.routers)
        return (self.local, self.carriers, cloned, self.place, remote, beside)


def make_segment(policy: Policy, book: Rulebook, parts: Parts, before: Segment | None, bridge: BridgeView) -> Segment:
    """before: an earlier one of this network on this bridge, of which what is still true is kept."""
    made_of = parts.made_of(policy, book)
    network = parts.network
    if before is not None and before.view.network != network:
        before = None
    if before is not None and before.made_of == made_of:
        return before
    ports = sorted((seat.port, seat.endpoint.mac is None) for seat in parts.local)
    learning = tuple(port for port, learns in ports if learns)
    ways = tuple(_carried(carrier, network) for carrier in parts.carriers)
    view = NetworkView(network, tuple(port for port, _ in ports), learning, ways, parts.place)
    if before is not None and before.view == view:
        flows = before.flows
    else:
        flows = tuple(flow for make, emit in _NETWORK_STAGES for flow in make(emit, view))
    kept = before if before is not None and before.view.place == parts.place else None
    known = kept.ways if kept is not None else {}
    by_port = {way.port: _way(view, way, known.get(way.port)) for way in ways}
    old = kept.members if kept is not None else {}
    members = {seat.endpoint.name: _member(view, seat, old.get(seat.endpoint.name), bridge) for seat in parts.local}
    for carrier in parts.carriers:
        for one in carrier.members:
            was = old.get(one.name)
            seat = _remote(policy, book, parts, carrier, one, was)
            members[one.name] = _member(view, seat, was, bridge)
    return Segment(made_of, view, flows, by_port, members)


def _remote(
    policy: Policy, book: Rulebook, parts: Parts, carrier: Carrier, endpoint: Endpoint, was: Member | None
) -> Seat:
    """Of a member on another host. was: what it was, whose seat is kept where nothing else can be different."""
    classes = book.classes.of(endpoint.name)
    if was is not None and not (carrier.clones or carrier.routers):
        seat = was.seat
        if seat.endpoint is endpoint and seat.port == carrier.port and seat.remote and seat.classes is classes:
            return seat
    shared = parts.shared.get(endpoint.name)
    return Seat(endpoint, carrier.port, shared, True, classes, beside_of(policy, endpoint))


def _carried(carrier: Carrier, network: Network) -> Carried:
    learning = sum(endpoint.mac is None for endpoint in carrier.members)
    if carrier.tunnel:
        return Carried(carrier.port, network.vni, None, learning, bool(carrier.members), carrier.to_uplink)
    tag = tag_of(network, carrier.native)
    return Carried(carrier.port, None, tag, learning, bool(carrier.members), carrier.to_uplink)


def _way(view: NetworkView, carried: Carried, before: Way | None) -> Way:
    if before is not None and before.carried == carried:
        return before
    way = CarriedView(view.network, carried, view.origin, view.place)
    return Way(carried, tuple(flow for make, emit in _CARRIED_STAGES for flow in make(emit, way)))


def _member(network: NetworkView, seat: Seat, before: Member | None, bridge: BridgeView) -> Member:
    if before is not None and (before.seat is seat or before.seat == seat):
        return before
    if seat.endpoint.mac is None and seat.remote:
        return Member(seat, ())  # the carrier learns, for all of its ports together
    view = MemberView(
        network.network,
        seat.endpoint,
        seat.port,
        seat.shared,
        seat.remote,
        seat.classes,
        seat.beside,
        place=network.place,
        bridge=bridge,
    )
    return Member(seat, tuple(flow for make, emit in _MEMBER_STAGES for flow in make(emit, view)))


_NETWORK_STAGES = [(stage.network, emit) for stage, emit in EMITTERS if stage.network is not None]
_CARRIED_STAGES = [(stage.carried, emit) for stage, emit in EMITTERS if stage.carried is not None]
_MEMBER_STAGES = [(stage.member, emit) for stage, emit in EMITTERS if stage.member is not None]
