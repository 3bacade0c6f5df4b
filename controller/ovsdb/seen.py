"""What is told of a host's database to the rest of the controller. PURE."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from controller.bridge_settings import BridgeSettings
from controller.hosts import DatabaseSeen, HostSeen, PortSeen, TunnelSeen
from controller.mac import Mac
from controller.ovsdb.found import DISABLE_IN_BAND, Found, FoundInterface, FoundPort
from controller.policy.model import Dpid

TUNNELS = ("vxlan", "geneve", "gre")
STANDALONE = "standalone"
"""What a bridge does whose fail_mode nobody has set."""


class PortsSeen:
    """Makes `PortSeen` of rows, anew only of those that have changed since the last time."""

    def __init__(self) -> None:
        self._made: dict[tuple[str, str, str], tuple[FoundPort, FoundInterface, PortSeen]] = {}

    def read(self, found: Found) -> tuple[PortSeen, ...]:
        """Every interface of every port of every bridge, by bridge and name."""
        made: dict[tuple[str, str, str], tuple[FoundPort, FoundInterface, PortSeen]] = {}
        for bridge in found.bridges.values():
            for port in (found.ports[uuid] for uuid in bridge.ports if uuid in found.ports):
                for uuid in port.interfaces:
                    interface = found.interfaces.get(uuid)
                    if interface is None:
                        continue
                    key = (bridge.name, interface.name, uuid)
                    before = self._made.get(key)
                    if before is not None and before[0] is port and before[1] is interface:
                        made[key] = before
                    else:
                        made[key] = (port, interface, see_port(bridge.name, port, interface))
        self._made = made
        return tuple(made[key][2] for key in sorted(made))


def see_port(bridge: str, port: FoundPort, interface: FoundInterface) -> PortSeen:
    return PortSeen(
        name=interface.name,
        bridge=bridge,
        type=interface.type,
        ofport=interface.ofport if interface.ofport is not None and interface.ofport >= 0 else None,
        link_up=interface.link_up,
        mtu_bytes=interface.mtu,
        iface_id=interface.iface_id,
        attached_mac=_mac(interface.attached_mac),
        error=interface.error or None,
        ours=port.ours,
        tunnel=_see_tunnel(interface),
    )


def see_bridges(found: Found) -> Mapping[str, Dpid | None]:
    return {name: bridge.dpid for name, bridge in found.bridges_by_name().items()}


def read_settings(found: Found) -> Mapping[Dpid, BridgeSettings]:
    """Those of every bridge that the daemon has made."""
    return {
        bridge.dpid: BridgeSettings(
            bridge.fail_mode or STANDALONE, in_band=bridge.other_config.get(DISABLE_IN_BAND) != "true"
        )
        for bridge in found.bridges.values()
        if bridge.dpid is not None
    }


def matters(shown: DatabaseSeen, hosts: Iterable[HostSeen]) -> object:
    """What binding and compiling depend on: equal values mean that nothing needs to be done again."""
    ports = tuple(
        (port.name, port.bridge, port.ofport, port.iface_id, port.attached_mac, port.mtu_bytes, port.ours)
        + ((port.tunnel.peer_ip, port.tunnel.leaves_by) if port.tunnel is not None else ())
        for port in shown.ports
    )
    states = tuple((host.name, host.connected, host.in_force, host.system_id) for host in hosts)
    return (states, tuple(shown.bridges.items()), ports)


def _see_tunnel(interface: FoundInterface) -> TunnelSeen | None:
    if interface.type not in TUNNELS:
        return None
    status = dict(interface.bfd_status)
    watched = dict(interface.bfd).get("enable") == "true"
    return TunnelSeen(
        peer_ip=dict(interface.options).get("remote_ip", ""),
        up=status.get("state") == "up" if watched else None,
        diagnostic=status.get("diagnostic", "") if watched else "",
        leaves_by=interface.leaves_by,
    )


def _mac(text: str | None) -> Mac | None:
    try:
        return None if text is None else Mac.parse(text)
    except ValueError:
        return None
