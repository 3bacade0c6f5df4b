"""Managed hosts as people and programs are told of them. PURE."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping

from controller.control import HostOutcome, HostPlanned, HostStatus, HostView, PortView, TunnelView
from controller.diff import difference
from controller.host_plan import HostPlan, networks_present
from controller.hosts import HostSeen, PortSeen
from controller.inventory import Bindings
from controller.mtu import mtu_problems
from controller.policy.model import Dpid, Policy


def view_hosts(
    policy: Policy, bindings: Bindings, plan: HostPlan, seen: Mapping[str, HostSeen], bridges: Mapping[Dpid, str]
) -> list[HostView]:
    """Every host of the policy. bridges: those that are connected over OpenFlow, dpid -> name."""
    present, peers = networks_present(policy, bindings), _peers(policy)
    states = {state.name: state for state in status_of_hosts(policy, bindings, plan, seen, bridges)}
    members = {(dpid, ofport): name for dpid, seats in bindings.seats.items() for name, ofport in seats.items()}
    found: list[HostView] = []
    for host in policy.hosts.values():
        dpid, one = host.datapath_id, seen.get(host.name)
        if dpid is None:
            dpid = next((number for number, name in bridges.items() if name == host.bridge), None)
        mtus = {name: plan.mtus[name] for name in policy.networks if name in present[host.name] & plan.mtus.keys()}
        view = HostView(
            name=host.name,
            ovsdb=host.ovsdb,
            vtep=None if host.vtep is None else str(host.vtep),
            bridge=host.bridge if host.bridge is not None or dpid is None else bridges.get(dpid),
            dpid=None if dpid is None else f"{dpid:016x}",
            bridge_connected=dpid in bridges,
            status=states.get(host.name),
            corrected=() if one is None else one.corrected,
            ovs_version="" if one is None else one.ovs_version,
            system_id="" if one is None else one.system_id,
            tunnels=() if one is None else tuple(_tunnels(one, peers)),
            ports=() if one is None else tuple(_port(one, port, members) for port in one.shown.ports),
            mtu=mtus,
        )
        found.append(view)
    return found


def status_of_hosts(
    policy: Policy, bindings: Bindings, plan: HostPlan, seen: Mapping[str, HostSeen], bridges: Collection[Dpid]
) -> tuple[HostStatus, ...]:
    """Every managed host in short, in the document's order. bridges: those that are connected over OpenFlow."""
    wanted = {host.name: host for host in plan.hosts}
    outcomes = {
        name: outcome_of(one, wanted[name].bridge, wanted[name].dpid in bridges)
        for name, one in seen.items()
        if name in wanted
    }
    hosts, peers = [seen[name] for name in policy.hosts if name in outcomes], _peers(policy)
    too_large = mtu_problems(policy, bindings, hosts, plan.mtus)
    return tuple(
        HostStatus(
            name=one.name,
            connected=one.connected,
            since=one.since.isoformat(timespec="milliseconds"),
            in_force=outcomes[one.name].in_force,
            error=one.why or outcomes[one.name].error,
            warnings=(*too_large.get(one.name, ()), *_tunnels_down(one, peers)),
        )
        for one in hosts
    )


def _tunnels_down(seen: HostSeen, peers: Mapping[str, str]) -> Iterator[str]:
    for tunnel in _tunnels(seen, peers):
        if tunnel.up is False:
            why = f": {tunnel.diagnostic}" if tunnel.diagnostic else ""
            yield f"host {seen.name}: the tunnel to {tunnel.peer or tunnel.peer_ip} is down{why}"


def _peers(policy: Policy) -> dict[str, str]:
    """vtep -> host."""
    return {str(host.vtep): host.name for host in policy.hosts.values() if host.vtep is not None}


def outcome_of(seen: HostSeen, bridge: str, bridge_connected: bool) -> HostOutcome:
    """bridge_connected: over OpenFlow. Where its switch daemon is dead, the database goes on saying what it said."""
    if not (seen.connected and seen.in_force):
        return HostOutcome(seen.name, False, seen.why or "not as wanted yet")
    return HostOutcome(seen.name, bridge_connected, None if bridge_connected else f"bridge {bridge} is not connected")


def planned_hosts(before: HostPlan, after: HostPlan) -> tuple[HostPlanned, ...]:
    """Which ports would be made and removed, of the hosts where any would."""
    old = {host.name: dict.fromkeys(host.ports) for host in before.hosts}
    new = {host.name: {port: port for port in host.ports} for host in after.hosts}
    found: list[HostPlanned] = []
    for name in dict.fromkeys((*new, *old)):
        changes = difference(new.get(name, {}), old.get(name, {}))
        if changes or (name in new) != (name in old):
            made, removed = (tuple(port.name for port in ports) for ports in (changes.add, changes.remove))
            found.append(HostPlanned(name, made, removed))
    return tuple(found)


def _tunnels(seen: HostSeen, peers: Mapping[str, str]) -> Collection[TunnelView]:
    return [
        TunnelView(
            port.name, peers.get(port.tunnel.peer_ip, ""), port.tunnel.peer_ip, port.tunnel.up, port.tunnel.diagnostic
        )
        for port in seen.shown.ports
        if port.tunnel is not None
    ]


def _port(seen: HostSeen, port: PortSeen, members: Mapping[tuple[Dpid, int], str]) -> PortView:
    dpid = seen.shown.bridges.get(port.bridge)
    endpoint = members.get((dpid, port.ofport)) if dpid is not None and port.ofport is not None else None
    return PortView(
        name=port.name,
        bridge=port.bridge,
        type=port.type,
        ofport=port.ofport,
        endpoint=endpoint,
        link_up=port.link_up,
        mtu=port.mtu_bytes,
        iface_id=port.iface_id,
        attached_mac=None if port.attached_mac is None else str(port.attached_mac),
        error=port.error,
        ours=port.ours,
    )
