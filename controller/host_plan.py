"""What the Open vSwitch of each managed host is to have. PURE."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace

from controller.errors import pointer
from controller.hosts import HostSeen, WantedHost, WantedPort
from controller.inventory import Bindings
from controller.mtu import member_mtus, underlay_mtus
from controller.policy.model import (
    Attach,
    Encapsulation,
    Endpoint,
    Host,
    Interface,
    Overlay,
    Policy,
    Uplink,
)
from controller.tunnels import Reach, find_reach, patch_peer, peers_of, tunnel_port

L4_PORTS = {Encapsulation.VXLAN: 4789, Encapsulation.GENEVE: 6081}
"""RFC 7348 section 5, RFC 8926 section 3.3."""


@dataclass(frozen=True, slots=True)
class Underlay:
    """What lies between the hosts: to which each needs a tunnel, and what fits in it (`HostPlan.mtus`).

    made_of: hosts, networks and overlay of the policy, the networks present on each host, and the MTU observed there.
    reach: the same of each network.
    """

    made_of: tuple[object, ...] = ()
    reach: Mapping[str, Reach] = field(default_factory=dict)
    peers: Mapping[str, frozenset[str]] = field(default_factory=dict)
    mtus: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class HostPlan:
    """What is wanted of every managed host. mtus: network -> what its members may send, where it uses tunnels.

    policy, underlay: what it was made of. units: what each host was made of.
    """

    hosts: tuple[WantedHost, ...] = ()
    mtus: Mapping[str, int] = field(default_factory=dict)
    policy: Policy | None = field(default=None, compare=False)
    underlay: Underlay = field(default_factory=Underlay, compare=False)
    units: Mapping[str, HostUnit] = field(default_factory=dict, compare=False)


NO_HOSTS = HostPlan()


def plan_hosts(policy: Policy, bindings: Bindings, seen: Collection[HostSeen], before: HostPlan = NO_HOSTS) -> HostPlan:
    """From a policy, where endpoints are, and what is observed of the network between the hosts.

    before: an earlier plan, which is returned where it was made of the same.
    """
    if not policy.hosts:
        return NO_HOSTS
    underlay = _underlay(policy, networks_present(policy, bindings), underlay_mtus(seen), before.underlay)
    if before.policy is policy and before.underlay is underlay:
        return before
    units = _units(policy, underlay)
    wanted = {host.name: host for host in before.hosts}
    hosts = tuple(unit.want(before.units.get(name), wanted.get(name)) for name, unit in units.items())
    return HostPlan(hosts, underlay.mtus, policy, underlay, units)


def _underlay(
    policy: Policy, present: Mapping[str, frozenset[str]], observed: Mapping[str, int], before: Underlay
) -> Underlay:
    made_of = (policy.hosts, policy.networks, policy.overlay, present, observed)
    if before.made_of == made_of:
        return before
    reach = find_reach(policy, present, before.reach)
    return Underlay(made_of, reach, peers_of(policy, reach), member_mtus(policy, reach, observed))


def networks_present(policy: Policy, bindings: Bindings) -> dict[str, frozenset[str]]:
    """Host -> the networks that have members on it, or to which a router there leads.

    Members are where they say, or where they were observed; so are uplinks.
    """
    found: dict[str, set[str]] = {name: set() for name in policy.hosts}
    for endpoint in policy.endpoints.values():
        name = endpoint.host
        if name is None:
            dpid = bindings.home.get(endpoint.name)
            name = None if dpid is None else bindings.hosts.get(dpid)
        if name is not None:
            found[name].update(endpoint.networks)
    routed = {name for name, network in policy.networks.items() if network.routed}
    if routed:
        with_uplink = {uplink.host for uplink in policy.uplinks.values()}
        with_uplink |= {bindings.hosts.get(dpid) for dpid, names in bindings.uplinks.items() if names}
        for name, networks in found.items():
            if name in with_uplink or not routed.isdisjoint(networks):
                networks |= routed
    return {name: frozenset(networks) for name, networks in found.items()}


def _units(policy: Policy, underlay: Underlay) -> dict[str, HostUnit]:
    """One for each host with a database, in the document's order."""
    managed = [host for host in policy.hosts.values() if host.ovsdb is not None]
    members: dict[str, list[Endpoint]] = {host.name: [] for host in managed}
    for endpoint in policy.endpoints.values():
        if endpoint.host in members and endpoint.port:
            members[endpoint.host].append(endpoint)
    vlans = tuple(sorted(int(network.vlan) for network in policy.networks.values() if network.vlan is not None))
    found: dict[str, HostUnit] = {}
    for host in managed:
        names = dict.fromkeys(network for endpoint in members[host.name] for network in endpoint.networks)
        found[host.name] = HostUnit(
            host,
            policy.overlay,
            tuple(policy.hosts[name] for name in sorted(underlay.peers[host.name])),
            tuple(members[host.name]),
            {name: (policy.networks[name].vlan, underlay.mtus.get(name)) for name in names},
            vlans if host.trunk is not None else (),
            tuple(uplink for uplink in policy.uplinks.values() if uplink.host == host.name),
        )
    return found


@dataclass(frozen=True, slots=True)
class HostUnit:
    """Everything that what is wanted of one host depends on.

    peers: hosts to which it has tunnels. networks: of its members, with the vlan and the MTU of each. vlans: of all
    networks, where it has a trunk. uplinks: those that are on this host.
    """

    host: Host
    overlay: Overlay
    peers: tuple[Host, ...]
    members: tuple[Endpoint, ...]
    networks: Mapping[str, tuple[int | None, int | None]]
    vlans: tuple[int, ...]
    uplinks: tuple[Uplink, ...] = ()

    def want(self, before: HostUnit | None, wanted: WantedHost | None) -> WantedHost:
        """before, wanted: what was wanted of the same host, and of what; what is the same is that very object."""
        if before is not None and wanted is not None and before == self:
            return wanted
        host = self.host
        assert host.ovsdb is not None
        assert host.bridge is not None
        assert host.datapath_id is not None
        own = next((endpoint.mac for endpoint in self.members if endpoint.port == host.bridge), None)
        kept = self._kept_ports(before, wanted)
        members = self._with_ports()
        ports = [kept.get(id(endpoint)) or self._member_port(host.bridge, endpoint) for endpoint in members]
        ports += (
            WantedPort(uplink.port, host.bridge, pointer("uplinks", uplink.name))
            for uplink in self.uplinks
            if uplink.port != host.bridge
        )
        if host.trunk is not None:
            ports += _trunk_ports(host, host.bridge, host.trunk, self.vlans)
        ports += (_tunnel(self.overlay, host, host.bridge, peer) for peer in self.peers)
        return WantedHost(
            name=host.name,
            remote=host.ovsdb,
            bridge=host.bridge,
            dpid=host.datapath_id,
            target=host.controller,
            ports=tuple(ports),
            datapath_type=host.datapath_type.value,
            mac=own,
        )

    def _with_ports(self) -> list[Endpoint]:
        """Members but for the one that is the bridge's own port."""
        return [endpoint for endpoint in self.members if endpoint.port != self.host.bridge]

    def _kept_ports(self, before: HostUnit | None, wanted: WantedHost | None) -> dict[int, WantedPort]:
        """id of a member that was there before, the very same, -> its port. `before` keeps all that had these ids."""
        if before is None or wanted is None or (before.host, before.networks) != (self.host, self.networks):
            return {}
        return {id(endpoint): port for endpoint, port in zip(before._with_ports(), wanted.ports, strict=False)}

    def _member_port(self, bridge: str, endpoint: Endpoint) -> WantedPort:
        of_networks = [self.networks[name] for name in endpoint.networks]
        vlans = tuple(sorted(vlan for vlan, _ in of_networks if vlan is not None))
        port = WantedPort(endpoint.port, bridge, pointer("endpoints", endpoint.name))
        if endpoint.attach is Attach.TAGGED:
            native = self.networks[endpoint.native][0] if endpoint.native is not None else None
            port = replace(port, trunks=vlans, tag=native)
        elif len(vlans) == 1 and len(of_networks) == 1:
            port = replace(port, tag=vlans[0])
        if endpoint.interface is Interface.INTERNAL:
            fits = min((mtu for _, mtu in of_networks if mtu is not None), default=None)
            port = replace(port, type="internal", mac=endpoint.mac, mtu_bytes=fits)
        return port


def _trunk_ports(host: Host, bridge: str, trunk: str, vlans: tuple[int, ...]) -> list[WantedPort]:
    origin = pointer("hosts", host.name, "trunk")
    port = WantedPort(trunk, bridge, origin, trunks=vlans)
    if host.patch is None:
        return [port]
    far = patch_peer(host.name)
    near = replace(port, type="patch", options=(("peer", far),))
    return [near, WantedPort(far, host.patch, origin, type="patch", options=(("peer", trunk),))]


def _tunnel(overlay: Overlay, host: Host, bridge: str, peer: Host) -> WantedPort:
    options = {"key": "flow", "local_ip": str(host.vtep), "remote_ip": str(peer.vtep)}
    l4_port = overlay.l4_port or L4_PORTS.get(overlay.type)
    if l4_port is not None:
        options["dst_port"] = str(l4_port)
    pairs = tuple(sorted(options.items()))
    origin = pointer("hosts", peer.name, "vtep")
    return WantedPort(tunnel_port(peer.name), bridge, origin, overlay.type.value, pairs, bfd=overlay.bfd)
