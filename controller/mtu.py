"""How large a packet members may send, where their network travels in tunnels. PURE."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from controller.hosts import HostSeen, PortSeen
from controller.inventory import Bindings
from controller.policy.load_host import MTU_MAX, MTU_MIN
from controller.policy.model import Dpid, Encapsulation, Host, Policy
from controller.tunnels import Reach

UNDERLAY_MTU = 1500
"""Of the network between the hosts, where nobody says otherwise (RFC 894)."""
_INNER_ETHERNET = 14
_IP = {4: 20, 6: 40}
_BEHIND_IP = {
    Encapsulation.VXLAN: 8 + 8,  # UDP, VXLAN (RFC 7348 section 5)
    Encapsulation.GENEVE: 8 + 8,  # UDP, Geneve without options (RFC 8926 section 3.4)
    Encapsulation.GRE: 4 + 4,  # GRE with a key (RFC 2890 section 2)
}


def overhead_bytes(type: Encapsulation, ip_version: int) -> int:
    """What lies between the start of the outer IP packet and that of the inner one."""
    return _IP[ip_version] + _BEHIND_IP[type] + _INNER_ETHERNET


def member_mtus(policy: Policy, reach: Mapping[str, Reach], underlay: Mapping[str, int]) -> Mapping[str, int]:
    """Network -> the largest IP packet in bytes that each of its members may send, for networks that use tunnels.

    reach: every network's. underlay: host -> what was observed of the network between the hosts; the policy's own word
    goes first.
    """
    fits = policy.overlay.mtu
    rooms = {host.name: _room(policy, host, underlay) for host in policy.hosts.values() if host.vtep is not None}
    return {
        name: fits if fits is not None else min(rooms[end] for end in one.peers)
        for name, one in reach.items()
        if one.peers
    }


def _room(policy: Policy, host: Host, underlay: Mapping[str, int]) -> int:
    assert host.vtep is not None
    outer = host.mtu if host.mtu is not None else underlay.get(host.name, UNDERLAY_MTU)
    return outer - overhead_bytes(policy.overlay.type, host.vtep.version)


def underlay_mtus(seen: Iterable[HostSeen]) -> dict[str, int]:
    """Host -> the MTU of the device that its tunnels leave by, where its database has that device too.

    Never outside of what a policy may say: what members may send depends on it, on other hosts too.
    """
    shown = ((host.name, host.shown.underlay_mtu) for host in seen)
    return {name: min(max(mtu, MTU_MIN), MTU_MAX) for name, mtu in shown if mtu is not None}


def mtu_problems(
    policy: Policy, bindings: Bindings, seen: Iterable[HostSeen], mtus: Mapping[str, int]
) -> Mapping[str, tuple[str, ...]]:
    """Host -> a sentence for every port of a member whose MTU is larger than fits, naming host and port."""
    if not mtus:
        return {}
    by_seat = {(dpid, ofport): name for dpid, seats in bindings.seats.items() for name, ofport in seats.items()}
    said: dict[str, list[str]] = {}
    for host in seen:
        for port in host.shown.ports:
            endpoint = policy.endpoints.get(by_seat.get(_seat_of(host, port), ""))
            fits = min((mtus[name] for name in endpoint.networks if name in mtus), default=None) if endpoint else None
            if fits is not None and port.mtu_bytes is not None and port.mtu_bytes > fits:
                said.setdefault(host.name, []).append(
                    f"host {host.name}: port {port.name} has an MTU of {port.mtu_bytes}, and {fits} fit in its tunnels;"
                    f" mend it on both ends: ip link set dev {port.name} mtu {fits}"
                )
    return {name: tuple(sentences) for name, sentences in said.items()}


def _seat_of(host: HostSeen, port: PortSeen) -> tuple[Dpid, int]:
    return host.shown.bridges.get(port.bridge) or Dpid(0), port.ofport or 0
