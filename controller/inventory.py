"""What is observed of bridges and ports, and which endpoint is bound where. PURE."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from controller.flow.fields import LOCAL_PORT
from controller.hosts import DatabaseSeen, HostSeen, PortSeen
from controller.pipeline.compile import Carrier, Membership
from controller.policy.model import Dpid, Host, Policy, of_attached_mac, of_iface_id
from controller.tunnels import trunk_carries, tunnel_joins, tunnel_port

MAX_OFPORT = 0xFF00
"""OFPP_MAX of OpenFlow 1.0, which Open vSwitch keeps to: ports above it are reserved."""
NO_HOSTS_SEEN: Mapping[str, HostSeen] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class BridgePorts:
    """A bridge as it was last seen. ports: name -> ofport. present: it is there, or has not been gone for long.

    labels: `Endpoint.place` by which a port is known besides its name -> the port's name. strangers: ports that have
    the name of a tunnel's and lead elsewhere.
    """

    dpid: Dpid
    name: str
    ports: Mapping[str, int]
    present: bool
    labels: Mapping[str, str] = field(default_factory=dict)
    strangers: frozenset[str] = frozenset()

    def ofport(self, place: str) -> int | None:
        """Of the port that an endpoint's place names; None where there is none, or no endpoint can be on it."""
        ofport = self.ports.get(self.labels.get(place, place))
        return ofport if ofport is not None and _is_seat(ofport) else None

    def carrier(self, name: str) -> int | None:
        """The ofport of a port that leads to other hosts, which the bridge's own port never does."""
        ofport = self.ofport(name)
        return None if ofport == LOCAL_PORT or name in self.strangers else ofport


def _is_seat(ofport: int) -> bool:
    return ofport < MAX_OFPORT or ofport == LOCAL_PORT


@dataclass(frozen=True, slots=True)
class Bindings:
    """Where every endpoint is. seats: dpid -> endpoint name -> ofport. home: endpoint -> its dpid.

    rivals: endpoint -> other bridges that show a port of its name; they get nothing. hosts: which bridge is which host.
    uplinks: dpid -> name of an uplink -> ofport.
    """

    seats: Mapping[Dpid, Mapping[str, int]] = field(default_factory=dict)
    home: Mapping[str, Dpid] = field(default_factory=dict)
    rivals: Mapping[str, tuple[Dpid, ...]] = field(default_factory=dict)
    hosts: Mapping[Dpid, str] = field(default_factory=dict)
    uplinks: Mapping[Dpid, Mapping[str, int]] = field(default_factory=dict)


def bind(policy: Policy, bridges: Collection[BridgePorts], before: Bindings) -> Bindings:
    """Bind every endpoint to the port of its name, or with its label.

    An endpoint with a host is looked for on that host's bridge only. One without stays on the bridge where it was as
    long as that bridge showed the port last and is present, or no other present bridge shows it: a stranger that shows
    a port of the same name takes nothing away. Among several new ones the first in `bridges` wins.
    """
    known = {bridge.dpid: bridge for bridge in bridges}
    showing: dict[str, list[Dpid]] = {}
    for bridge in known.values():
        for name, ofport in bridge.ports.items():
            if _is_seat(ofport):
                showing.setdefault(name, []).append(bridge.dpid)
        for label in bridge.labels:
            if bridge.ofport(label) is not None:
                showing.setdefault(label, []).append(bridge.dpid)
    seats: dict[Dpid, dict[str, int]] = {dpid: {} for dpid in known}
    taken: dict[Dpid, set[int]] = {dpid: set() for dpid in known}
    home: dict[str, Dpid] = {}
    rivals: dict[str, tuple[Dpid, ...]] = {}
    for endpoint in policy.endpoints.values():
        candidates = showing.get(endpoint.place)
        if not candidates:
            continue
        if endpoint.host is not None:
            host = policy.hosts[endpoint.host]
            candidates = [dpid for dpid in candidates if _is_on(host, known[dpid])]
        if not candidates:
            continue
        chosen = _choose(candidates, known, before.home.get(endpoint.name))
        seat = known[chosen].ofport(endpoint.place)
        assert seat is not None
        if seat in taken[chosen]:
            continue  # a port has one endpoint, also where several know it by different labels
        taken[chosen].add(seat)
        seats[chosen][endpoint.name] = seat
        home[endpoint.name] = chosen
        if len(candidates) > 1:
            others = tuple(dpid for dpid in candidates if dpid != chosen and known[dpid].present)
            if others:
                rivals[endpoint.name] = others
    return Bindings(seats, home, rivals, {dpid: host.name for dpid, host in find_hosts(policy, bridges).items()})


def find_hosts(policy: Policy, bridges: Collection[BridgePorts]) -> Mapping[Dpid, Host]:
    """Which of the bridges is which host."""
    return {bridge.dpid: host for host in policy.hosts.values() for bridge in bridges if _is_on(host, bridge)}


def find_carriers(
    policy: Policy, bridges: Collection[BridgePorts], bindings: Bindings
) -> Mapping[Dpid, tuple[Carrier, ...]]:
    """The ports of every bridge that lead to other hosts, and which memberships are behind them.

    A host's trunk leads to every other host that has one; a tunnel to one host. An endpoint is where it is bound; of
    those elsewhere only the memberships matter whose networks have members here. A port that an endpoint is bound to
    leads nowhere else.
    """
    hosts = find_hosts(policy, bridges)
    if len(hosts) < 2:
        return {}
    tunnel_ports = {dpid: tunnel_port(host.name) for dpid, host in hosts.items()}
    members = {dpid: _members_by_network(policy, bindings.seats.get(dpid, ())) for dpid in hosts}
    found: dict[Dpid, tuple[Carrier, ...]] = {}
    for bridge in bridges:
        host = hosts.get(bridge.dpid)
        if host is None:
            continue
        seats = bindings.seats.get(bridge.dpid, {}).values()
        here = members[bridge.dpid]
        on_trunk: list[Membership] = []
        in_tunnels: dict[int, list[Membership]] = {}
        for dpid, peer in hosts.items():
            if peer is host:
                continue  # itself, or another bridge that goes by the same name
            tunnel = bridge.carrier(tunnel_ports[dpid]) if tunnel_joins(host, peer) else None
            for name, memberships in members[dpid].items():
                if name not in here:
                    continue
                if trunk_carries(host, peer, policy.networks[name]):
                    on_trunk += memberships
                elif tunnel is not None and policy.networks[name].vni is not None:
                    in_tunnels.setdefault(tunnel, []).extend(memberships)
        carriers = [Carrier(port, True, tuple(there)) for port, there in in_tunnels.items()]
        trunk = None if host.trunk is None else bridge.carrier(host.trunk)
        if on_trunk and trunk is not None:
            carriers.append(Carrier(trunk, False, tuple(on_trunk), host.native))
        found[bridge.dpid] = tuple(carrier for carrier in carriers if carrier.port not in seats)
    return found


def _members_by_network(policy: Policy, names: Iterable[str]) -> Mapping[str, list[Membership]]:
    found: dict[str, list[Membership]] = {}
    for name in names:
        for network in policy.endpoints[name].networks:
            found.setdefault(network, []).append((name, network))
    return found


def _is_on(host: Host, bridge: BridgePorts) -> bool:
    dpid = host.datapath_id
    return bridge.dpid == dpid if dpid is not None else bridge.name == host.bridge


def _choose(candidates: list[Dpid], known: Mapping[Dpid, BridgePorts], before: Dpid | None) -> Dpid:
    present = [dpid for dpid in candidates if known[dpid].present]
    if before in candidates and (before in present or not present):
        return before
    return (present or candidates)[0]


def labels_of(
    policy: Policy, shown: Iterable[DatabaseSeen], seen: Mapping[str, HostSeen] = NO_HOSTS_SEEN
) -> dict[Dpid, dict[str, str]]:
    """Bridge -> `Endpoint.place` -> port, for the places that labels make and the policy names.

    What joins hosts has none. Of a managed host's bridge only its own database is believed, which is among `seen`:
    another host's may claim any dpid. Of several ports with one label, one that the switch has made goes first.
    """
    places = {endpoint.place for endpoint in policy.endpoints.values() if not endpoint.port}
    if not places:
        return {}
    managed = {host.datapath_id: host.name for host in policy.hosts.values() if host.ovsdb is not None}
    own = [(name, seen[name].shown) for name in managed.values() if name in seen]
    joining = {host.trunk for host in policy.hosts.values()} | {tunnel_port(name) for name in policy.hosts}
    found: dict[Dpid, dict[str, str]] = {}
    for owner, database in (*own, *((None, database) for database in shown)):
        for port in sorted(database.ports, key=lambda port: port.ofport is None):
            dpid = database.bridges.get(port.bridge)
            if dpid is None or managed.get(dpid) != owner or port.tunnel is not None or port.name in joining:
                continue
            for place in _labels(port):
                if place in places:
                    found.setdefault(dpid, {}).setdefault(place, port.name)
    return found


def strangers_of(policy: Policy, seen: Iterable[HostSeen]) -> dict[Dpid, frozenset[str]]:
    """Bridge of a managed host -> its ports that have the name of a tunnel's, and are no tunnel to that host's vtep."""
    ends = {tunnel_port(host.name): str(host.vtep) for host in policy.hosts.values()}
    found: dict[Dpid, set[str]] = {}
    for host in seen:
        for port in host.shown.ports:
            dpid = host.shown.bridges.get(port.bridge)
            if (
                dpid is not None
                and port.name in ends
                and (port.tunnel is None or port.tunnel.peer_ip != ends[port.name])
            ):
                found.setdefault(dpid, set()).add(port.name)
    return {dpid: frozenset(names) for dpid, names in found.items()}


def _labels(port: PortSeen) -> Iterator[str]:
    if port.iface_id is not None:
        yield of_iface_id(port.iface_id)
    if port.attached_mac is not None:
        yield of_attached_mac(port.attached_mac)
