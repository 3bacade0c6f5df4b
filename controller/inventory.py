"""What is observed of bridges and ports, and which endpoint is bound where. PURE."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field

from controller.flow.fields import LOCAL_PORT
from controller.hosts import DatabaseSeen
from controller.pipeline.compile import Carrier, Membership
from controller.policy.model import Dpid, Host, Policy, of_attached_mac, of_iface_id
from controller.tunnels import trunk_carries, tunnel_joins, tunnel_port

MAX_OFPORT = 0xFF00
"""OFPP_MAX of OpenFlow 1.0, which Open vSwitch keeps to: ports above it are reserved."""


@dataclass(frozen=True, slots=True)
class BridgePorts:
    """A bridge as it was last seen. ports: name -> ofport. present: it is there, or has not been gone for long.

    labels: `Endpoint.place` by which a port is known besides its name -> the port's name.
    """

    dpid: Dpid
    name: str
    ports: Mapping[str, int]
    present: bool
    labels: Mapping[str, str] = field(default_factory=dict)

    def ofport(self, place: str) -> int | None:
        """Of the port that an endpoint's place names; None where there is none, or no endpoint can be on it."""
        ofport = self.ports.get(self.labels.get(place, place))
        return ofport if ofport is not None and _is_seat(ofport) else None

    def carrier(self, name: str) -> int | None:
        """The ofport of a port that leads to other hosts, which the bridge's own port never does."""
        ofport = self.ofport(name)
        return None if ofport == LOCAL_PORT else ofport


def _is_seat(ofport: int) -> bool:
    return ofport < MAX_OFPORT or ofport == LOCAL_PORT


@dataclass(frozen=True, slots=True)
class Bindings:
    """Where every endpoint is. seats: dpid -> endpoint name -> ofport. home: endpoint -> its dpid.

    rivals: endpoint -> other bridges that show a port of its name; they get nothing.
    """

    seats: Mapping[Dpid, Mapping[str, int]] = field(default_factory=dict)
    home: Mapping[str, Dpid] = field(default_factory=dict)
    rivals: Mapping[str, tuple[Dpid, ...]] = field(default_factory=dict)


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
    return Bindings(seats, home, rivals)


def find_hosts(policy: Policy, bridges: Collection[BridgePorts]) -> Mapping[Dpid, Host]:
    """Which of the bridges is which host."""
    return {bridge.dpid: host for host in policy.hosts.values() for bridge in bridges if _is_on(host, bridge)}


def find_carriers(
    policy: Policy, bridges: Collection[BridgePorts], bindings: Bindings
) -> Mapping[Dpid, tuple[Carrier, ...]]:
    """The ports of every bridge that lead to other hosts, and which memberships are behind them.

    A host's trunk leads to every other host that has one; a tunnel to one host. An endpoint is where it is bound; of
    those elsewhere only the memberships matter whose networks have members here.
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
        here = members[bridge.dpid]
        on_trunk: list[Membership] = []
        carriers: list[Carrier] = []
        for dpid, peer in hosts.items():
            if dpid == bridge.dpid:
                continue
            tunnel = bridge.carrier(tunnel_ports[dpid]) if tunnel_joins(host, peer) else None
            in_tunnel: list[Membership] = []
            for name, memberships in members[dpid].items():
                if name not in here:
                    continue
                if trunk_carries(host, peer, policy.networks[name]):
                    on_trunk += memberships
                elif tunnel is not None and policy.networks[name].vni is not None:
                    in_tunnel += memberships
            if tunnel is not None and in_tunnel:
                carriers.append(Carrier(tunnel, True, tuple(in_tunnel)))
        trunk = None if host.trunk is None else bridge.carrier(host.trunk)
        if on_trunk and trunk is not None:
            carriers.append(Carrier(trunk, False, tuple(on_trunk), host.native))
        found[bridge.dpid] = tuple(carriers)
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


def labels_of(policy: Policy, shown: Iterable[DatabaseSeen]) -> dict[Dpid, dict[str, str]]:
    """Bridge -> `Endpoint.place` -> port, for the places that labels make. What joins hosts has none."""
    trunks = {host.trunk for host in policy.hosts.values()}
    found: dict[Dpid, dict[str, str]] = {}
    for database in shown:
        for port in database.ports:
            dpid = database.bridges.get(port.bridge)
            if dpid is None or port.tunnel is not None or port.name in trunks:
                continue
            labels = found.setdefault(dpid, {})
            if port.iface_id is not None:
                labels.setdefault(of_iface_id(port.iface_id), port.name)
            if port.attached_mac is not None:
                labels.setdefault(of_attached_mac(port.attached_mac), port.name)
    return found
