"""What the Open vSwitch of each managed host is to have. PURE."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace

from controller.errors import pointer
from controller.hosts import HostSeen, WantedHost, WantedPort
from controller.inventory import Bindings
from controller.mtu import member_mtus, underlay_mtus
from controller.policy.model import (
    Attach,
    Dpid,
    Encapsulation,
    Endpoint,
    Host,
    Interface,
    Overlay,
    Policy,
)
from controller.tunnels import patch_peer, peers_of, tunnel_port

L4_PORTS = {Encapsulation.VXLAN: 4789, Encapsulation.GENEVE: 6081}
"""RFC 7348 section 5, RFC 8926 section 3.3."""


@dataclass(frozen=True, slots=True)
class HostPlan:
    """What is wanted of every managed host. mtus: network -> what its members may send, where it uses tunnels.

    made_of: what `plan_hosts` was given.
    """

    hosts: tuple[WantedHost, ...] = ()
    mtus: Mapping[str, int] = field(default_factory=dict)
    made_of: tuple[Policy, Mapping[str, Dpid], Mapping[str, int]] | None = field(default=None, compare=False)


NO_HOSTS = HostPlan()


def plan_hosts(policy: Policy, bindings: Bindings, seen: Collection[HostSeen], before: HostPlan = NO_HOSTS) -> HostPlan:
    """From a policy, where endpoints are, and what is observed of the network between the hosts.

    before: an earlier plan, which is returned where it was made of the same.
    """
    if not policy.hosts:
        return NO_HOSTS
    made_of = (policy, bindings.home, underlay_mtus(seen))
    if before.made_of is not None and before.made_of[0] is policy and before.made_of[1:] == made_of[1:]:
        return before
    present = networks_present(policy, bindings)
    mtus = member_mtus(policy, present, made_of[2])
    return HostPlan(want_hosts(policy, present, mtus), mtus, made_of)


def networks_present(policy: Policy, bindings: Bindings) -> dict[str, frozenset[str]]:
    """Host -> the networks that have members on it: those that name the host, and those that were observed there."""
    by_dpid = {host.datapath_id: host.name for host in policy.hosts.values() if host.datapath_id is not None}
    found: dict[str, set[str]] = {name: set() for name in policy.hosts}
    for endpoint in policy.endpoints.values():
        name = endpoint.host
        if name is None:
            dpid = bindings.home.get(endpoint.name)
            name = None if dpid is None else by_dpid.get(dpid)
        if name is not None:
            found[name].update(endpoint.networks)
    return {name: frozenset(networks) for name, networks in found.items()}


def want_hosts(
    policy: Policy, present: Mapping[str, frozenset[str]], mtus: Mapping[str, int]
) -> tuple[WantedHost, ...]:
    """One for each host with a database, in the document's order. mtus: network -> what its members may send."""
    managed = [host for host in policy.hosts.values() if host.ovsdb is not None]
    if not managed:
        return ()
    peers = peers_of(policy, present)
    members: dict[str, list[Endpoint]] = {}
    for endpoint in policy.endpoints.values():
        if endpoint.host is not None and endpoint.port:
            members.setdefault(endpoint.host, []).append(endpoint)
    return tuple(_want(policy, host, peers[host.name], members.get(host.name, []), mtus) for host in managed)


def _want(
    policy: Policy, host: Host, peers: Collection[str], members: Iterable[Endpoint], mtus: Mapping[str, int]
) -> WantedHost:
    assert host.ovsdb is not None
    assert host.bridge is not None
    assert host.datapath_id is not None
    ports = [_member_port(policy, host.bridge, endpoint, mtus) for endpoint in members]
    if host.trunk is not None:
        ports += _trunk_ports(policy, host, host.bridge, host.trunk)
    for name in sorted(peers):
        ports.append(_tunnel(policy.overlay, host, host.bridge, policy.hosts[name]))
    kind = host.datapath_type.value
    return WantedHost(host.name, host.ovsdb, host.bridge, host.datapath_id, host.controller, tuple(ports), kind)


def _member_port(policy: Policy, bridge: str, endpoint: Endpoint, mtus: Mapping[str, int]) -> WantedPort:
    networks = [policy.networks[name] for name in endpoint.networks]
    vlans = tuple(sorted(int(network.vlan) for network in networks if network.vlan is not None))
    port = WantedPort(endpoint.port, bridge, pointer("endpoints", endpoint.name))
    if endpoint.attach is Attach.TAGGED:
        native = policy.networks[endpoint.native].vlan if endpoint.native is not None else None
        port = replace(port, trunks=vlans, tag=native)
    elif len(vlans) == 1 and len(networks) == 1:
        port = replace(port, tag=vlans[0])
    if endpoint.interface is Interface.INTERNAL:
        fits = [mtus[name] for name in endpoint.networks if name in mtus]
        port = replace(port, type="internal", mac=endpoint.mac, mtu_bytes=min(fits, default=None))
    return port


def _trunk_ports(policy: Policy, host: Host, bridge: str, trunk: str) -> list[WantedPort]:
    origin = pointer("hosts", host.name, "trunk")
    vlans = tuple(sorted(int(network.vlan) for network in policy.networks.values() if network.vlan is not None))
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
