"""Which ports lead to other hosts, and which members of each network are behind them. PURE.

The result is a union of small units: a site (a host's bridge and its ports that lead elsewhere), and a network (its
members at every site). Made again with an earlier result at hand, a unit whose inputs are the same is the very same
object, so that a bridge sees at once which of its networks is another one than before.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field

from controller.inventory import Bindings, BridgePorts, find_hosts, routing_bridges
from controller.pipeline.segment import Carrier
from controller.policy.model import Dpid, Endpoint, Host, Network, Policy
from controller.tunnels import trunk_carries, tunnel_joins, tunnel_port

Ways = Mapping[str, tuple[Carrier, ...]]
"""Network -> the carriers by which a bridge reaches its members on other hosts."""
SiteMadeOf = tuple[Mapping[str, int], Mapping[str, str], frozenset[str], Mapping[str, int], Mapping[Dpid, Host]]
"""A bridge's ports, labels and strangers, the endpoints bound there, and which bridge is which host."""


@dataclass(frozen=True, slots=True)
class Site:
    """A host's bridge. tunnels: bridge of another host -> ofport of the tunnel to it. trunk: its ofport."""

    dpid: Dpid
    host: Host
    tunnels: Mapping[Dpid, int]
    trunk: int | None
    made_of: SiteMadeOf = field(compare=False)


Presence = tuple[tuple[Site, tuple[Endpoint, ...]], ...]
"""The sites where a network has members, and those; of a routed network also those to which a router leads."""


@dataclass(frozen=True, slots=True)
class Spread:
    """A network over several hosts. at: bridge -> its carriers there. made_of: with the bridge of its uplink."""

    made_of: tuple[Network, Presence, Dpid | None]
    at: Mapping[Dpid, tuple[Carrier, ...]]


@dataclass(frozen=True, slots=True)
class Carriers:
    """by_bridge: the bridge of every host -> its carriers; empty where there is one host only."""

    by_bridge: Mapping[Dpid, Ways] = field(default_factory=dict)
    sites: Mapping[Dpid, Site] = field(default_factory=dict, compare=False)
    spreads: Mapping[str, Spread] = field(default_factory=dict, compare=False)


NO_CARRIERS = Carriers()


def find_carriers(
    policy: Policy, bridges: Collection[BridgePorts], bindings: Bindings, before: Carriers = NO_CARRIERS
) -> Carriers:
    """The ports of every bridge that lead to other hosts, and which members are behind them.

    A host's trunk leads to every other host that has one; a tunnel to one host. An endpoint is where it is bound, or
    where its port is about to be made; of those elsewhere only the ones matter whose networks have members here. A port
    that an endpoint is bound to leads nowhere else. before: an earlier result, of whose units those stay that were made
    of the same.
    """
    hosts = find_hosts(policy, bridges)
    if len(hosts) < 2:
        return NO_CARRIERS
    known = {bridge.dpid: bridge for bridge in bridges}
    ports = {dpid: tunnel_port(host.name) for dpid, host in hosts.items()}
    sites = {
        dpid: _site(host, known[dpid], _made_of(known[dpid], bindings, hosts), ports, before.sites.get(dpid))
        for dpid, host in hosts.items()
    }
    routing = tuple(filter(routing_bridges(policy, bindings).__contains__, sites))
    gateways = {name: dpid for dpid, names in bindings.uplinks.items() for name in names}
    managed = {host.name: dpid for dpid, host in hosts.items() if host.ovsdb is not None}
    spreads: dict[str, Spread] = {}
    by_bridge: dict[Dpid, dict[str, tuple[Carrier, ...]]] = {dpid: {} for dpid in hosts}
    for network in policy.networks.values():
        members = policy.members[network.name]
        homes = [(one, bindings.home.get(one.name) or managed.get(one.host or "")) for one in members]
        presence = _presence(homes, sites, routing if network.routed else ())
        made_of = (network, presence, gateways.get(network.uplink or ""))
        spread = spreads[network.name] = _spread(made_of, before.spreads.get(network.name))
        for dpid, carriers in spread.at.items():
            by_bridge[dpid][network.name] = carriers
    return Carriers(by_bridge, sites, spreads)


def _made_of(bridge: BridgePorts, bindings: Bindings, hosts: Mapping[Dpid, Host]) -> SiteMadeOf:
    return (bridge.ports, bridge.labels, bridge.strangers, bindings.seats[bridge.dpid], hosts)


def _site(host: Host, bridge: BridgePorts, made_of: SiteMadeOf, ports: Mapping[Dpid, str], before: Site | None) -> Site:
    """ports: bridge -> the name of the port of a tunnel to it."""
    if before is not None and before.made_of == made_of:
        return before
    *_, seats, hosts = made_of
    taken = frozenset(seats.values())

    def free(name: str | None) -> int | None:
        ofport = None if name is None else bridge.carrier(name)
        return None if ofport in taken else ofport

    tunnels: dict[Dpid, int] = {}
    for dpid, peer in hosts.items():
        if peer is not host and tunnel_joins(host, peer) and (ofport := free(ports[dpid])) is not None:
            tunnels[dpid] = ofport
    return Site(bridge.dpid, host, tunnels, free(host.trunk), made_of)


def _presence(
    homes: Iterable[tuple[Endpoint, Dpid | None]], sites: Mapping[Dpid, Site], besides: Iterable[Dpid]
) -> Presence:
    """By site, in the order of hosts. homes: of the members. besides: sites that count without members, too."""
    found: dict[Dpid, list[Endpoint]] = {dpid: [] for dpid in besides}
    for endpoint, dpid in homes:
        if dpid is not None:
            found.setdefault(dpid, []).append(endpoint)
    return tuple((site, tuple(found[dpid])) for dpid, site in sites.items() if dpid in found)


def _spread(made_of: tuple[Network, Presence, Dpid | None], before: Spread | None) -> Spread:
    network, presence, gateway = made_of
    if before is not None and before.made_of == made_of:
        return before
    at: dict[Dpid, tuple[Carrier, ...]] = {}
    for site, _ in presence:
        on_trunk: list[Endpoint] = []
        trunk_leads = False
        in_tunnels: dict[int, list[Endpoint]] = {}
        uplink_ports: set[int | None] = set()
        for other, members in presence:
            if other.host is site.host:
                continue  # itself, or another bridge that goes by the same name
            if trunk_carries(site.host, other.host, network):
                on_trunk += members
                trunk_leads, port = True, site.trunk
            elif network.vni is not None and other.dpid in site.tunnels:
                port = site.tunnels[other.dpid]
                in_tunnels.setdefault(port, []).extend(members)
            else:
                continue
            if other.dpid == gateway:
                uplink_ports.add(port)
        carriers = [
            Carrier(port, True, tuple(members), to_uplink=port in uplink_ports) for port, members in in_tunnels.items()
        ]
        if trunk_leads and site.trunk is not None:
            to_uplink = site.trunk in uplink_ports
            carriers.append(Carrier(site.trunk, False, tuple(on_trunk), site.host.native, to_uplink))
        if carriers:
            at[site.dpid] = _kept(tuple(carriers), before, site.dpid)
    return Spread(made_of, at)


def _kept(carriers: tuple[Carrier, ...], before: Spread | None, dpid: Dpid) -> tuple[Carrier, ...]:
    """The very carriers of before, where they are the same."""
    old = None if before is None else before.at.get(dpid)
    return old if old is not None and old == carriers else carriers
