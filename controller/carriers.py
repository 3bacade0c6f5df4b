"""Which ports lead to other hosts, and which members of each network are behind them. PURE.

The result is a union of small units: a site (a host's bridge and its ports that lead elsewhere), and what a network is
at each site (its members at all others). Made again with an earlier result at hand, a unit whose inputs are the same is
the very same object, so that a bridge sees at once which of its networks is another one than before.
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


@dataclass(frozen=True, slots=True)
class Presence:
    """Where a network is.

    at: bridge and host of each site where it has members, and those; of a routed network also of the sites to which a
    router leads. gateway: the bridge of its uplink.
    """

    network: Network
    at: tuple[tuple[Dpid, Host, tuple[Endpoint, ...]], ...]
    gateway: Dpid | None


@dataclass(frozen=True, slots=True)
class Spread:
    """A network over several hosts. at: bridge -> its site, and its carriers there."""

    presence: Presence
    at: Mapping[Dpid, tuple[Site, tuple[Carrier, ...]]]


@dataclass(frozen=True, slots=True)
class Carriers:
    """by_bridge: the bridge of every host -> its carriers; empty where there is one host only. sites: with what they
    were made of.
    """

    by_bridge: Mapping[Dpid, Ways] = field(default_factory=dict)
    sites: Mapping[Dpid, tuple[SiteMadeOf, Site]] = field(default_factory=dict, compare=False)
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
        at = _where(homes, hosts, routing if network.routed else ())
        presence = Presence(network, at, gateways.get(network.uplink or ""))
        spread = spreads[network.name] = _spread(presence, sites, before.spreads.get(network.name))
        for dpid, (_, carriers) in spread.at.items():
            if carriers:
                by_bridge[dpid][network.name] = carriers
    return Carriers(by_bridge, sites, spreads)


def _made_of(bridge: BridgePorts, bindings: Bindings, hosts: Mapping[Dpid, Host]) -> SiteMadeOf:
    return (bridge.ports, bridge.labels, bridge.strangers, bindings.seats[bridge.dpid], hosts)


def _site(
    host: Host,
    bridge: BridgePorts,
    made_of: SiteMadeOf,
    ports: Mapping[Dpid, str],
    before: tuple[SiteMadeOf, Site] | None,
) -> tuple[SiteMadeOf, Site]:
    """ports: bridge -> the name of the port of a tunnel to it."""
    if before is not None and before[0] == made_of:
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
    site = Site(bridge.dpid, host, tunnels, free(host.trunk))
    return (made_of, before[1] if before is not None and before[1] == site else site)


def _where(
    homes: Iterable[tuple[Endpoint, Dpid | None]], hosts: Mapping[Dpid, Host], besides: Iterable[Dpid]
) -> tuple[tuple[Dpid, Host, tuple[Endpoint, ...]], ...]:
    """`Presence.at`, in the order of hosts. homes: of the members. besides: sites that count without members, too."""
    found: dict[Dpid, list[Endpoint]] = {dpid: [] for dpid in besides}
    for endpoint, dpid in homes:
        if dpid is not None:
            found.setdefault(dpid, []).append(endpoint)
    return tuple((dpid, host, tuple(found[dpid])) for dpid, host in hosts.items() if dpid in found)


def _spread(presence: Presence, sites: Mapping[Dpid, tuple[SiteMadeOf, Site]], before: Spread | None) -> Spread:
    at_before = {} if before is None else before.at
    same = before is not None and before.presence == presence
    at: dict[Dpid, tuple[Site, tuple[Carrier, ...]]] = {}
    for dpid, _, _ in presence.at:
        (_, site), (site_before, carriers) = sites[dpid], at_before.get(dpid, (None, ()))
        if same and site_before is site:
            at[dpid] = at_before[dpid]
        else:
            at[dpid] = (site, _carriers(presence, site, carriers))
    if before is not None and same and all(at[dpid] is old for dpid, old in at_before.items()):
        return before
    return Spread(presence, at)


def _carriers(presence: Presence, site: Site, before: tuple[Carrier, ...]) -> tuple[Carrier, ...]:
    """Those of one network at one site. before: the same earlier; what is the same is that very object."""
    network = presence.network
    on_trunk: list[Endpoint] = []
    trunk_leads = False
    in_tunnels: dict[int, list[Endpoint]] = {}
    uplink_ports: set[int | None] = set()
    for dpid, host, members in presence.at:
        if host.name == site.host.name:
            continue  # itself, or another bridge that goes by the same name
        if trunk_carries(site.host, host, network):
            on_trunk += members
            trunk_leads, port = True, site.trunk
        elif network.vni is not None and dpid in site.tunnels:
            port = site.tunnels[dpid]
            in_tunnels.setdefault(port, []).extend(members)
        else:
            continue
        if dpid == presence.gateway:
            uplink_ports.add(port)
    known = {one.port: one for one in before}

    def carrier(port: int, members: list[Endpoint], *, tunnel: bool, native: str | None = None) -> Carrier:
        old, made_of = known.get(port), (tunnel, tuple(members), native, port in uplink_ports)
        if old is not None and (old.tunnel, old.members, old.native, old.to_uplink) == made_of:
            return old
        return Carrier(port, *made_of)

    carriers = [carrier(port, members, tunnel=True) for port, members in in_tunnels.items()]
    if trunk_leads and site.trunk is not None:
        carriers.append(carrier(site.trunk, on_trunk, tunnel=False, native=site.host.native))
    kept = len(carriers) == len(before) and all(new is old for new, old in zip(carriers, before, strict=True))
    return before if kept else tuple(carriers)
