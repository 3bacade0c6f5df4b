"""What is observed of bridges and ports, and which endpoint is bound where. PURE."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from controller.pipeline.compile import Carrier
from controller.policy.model import Dpid, Host, Policy

MAX_OFPORT = 0xFF00
"""OFPP_MAX of OpenFlow 1.0, which Open vSwitch keeps to: ports above it are reserved (the bridge's own local port)."""


@dataclass(frozen=True, slots=True)
class BridgePorts:
    """A bridge as it was last seen. ports: name -> ofport. present: it is there, or has not been gone for long."""

    dpid: Dpid
    name: str
    ports: Mapping[str, int]
    present: bool


@dataclass(frozen=True, slots=True)
class Bindings:
    """Where every endpoint is. seats: dpid -> endpoint name -> ofport. home: endpoint -> its dpid.

    rivals: endpoint -> other bridges that show a port of its name; they get nothing.
    """

    seats: Mapping[Dpid, Mapping[str, int]] = field(default_factory=dict)
    home: Mapping[str, Dpid] = field(default_factory=dict)
    rivals: Mapping[str, tuple[Dpid, ...]] = field(default_factory=dict)


def bind(policy: Policy, bridges: Collection[BridgePorts], before: Bindings) -> Bindings:
    """Bind every endpoint to the port of its name.

    An endpoint with a host is looked for on that host's bridge only. One without stays on the bridge where it was as
    long as that bridge showed the port last and is present, or no other present bridge shows it: a stranger that shows
    a port of the same name takes nothing away. Among several new ones the first in `bridges` wins.
    """
    known = {bridge.dpid: bridge for bridge in bridges}
    showing: dict[str, list[Dpid]] = {}
    for bridge in known.values():
        for name, ofport in bridge.ports.items():
            if ofport < MAX_OFPORT:
                showing.setdefault(name, []).append(bridge.dpid)
    seats: dict[Dpid, dict[str, int]] = {dpid: {} for dpid in known}
    home: dict[str, Dpid] = {}
    rivals: dict[str, tuple[Dpid, ...]] = {}
    for endpoint in policy.endpoints.values():
        candidates = showing.get(endpoint.port)
        if not candidates:
            continue
        if endpoint.host is not None:
            host = policy.hosts[endpoint.host]
            candidates = [dpid for dpid in candidates if _is_on(host, known[dpid])]
        if not candidates:
            continue
        chosen = _choose(candidates, known, before.home.get(endpoint.name))
        seats[chosen][endpoint.name] = known[chosen].ports[endpoint.port]
        home[endpoint.name] = chosen
        if len(candidates) > 1:
            others = tuple(dpid for dpid in candidates if dpid != chosen and known[dpid].present)
            if others:
                rivals[endpoint.name] = others
    return Bindings(seats, home, rivals)


def find_carriers(
    policy: Policy, bridges: Collection[BridgePorts], bindings: Bindings
) -> Mapping[Dpid, tuple[Carrier, ...]]:
    """The ports of every bridge that lead to other hosts, and who is behind them.

    A host's trunk leads to every other host that has one. An endpoint is where it is bound.
    """
    trunks = [host for host in policy.hosts.values() if host.trunk is not None]
    joined = {bridge.dpid: host for bridge in bridges for host in trunks if _is_on(host, bridge)} if trunks else {}
    found: dict[Dpid, tuple[Carrier, ...]] = {}
    for bridge in bridges:
        host = joined.get(bridge.dpid)
        ofport = bridge.ports.get(host.trunk) if host is not None and host.trunk is not None else None
        if host is None or ofport is None or ofport >= MAX_OFPORT:
            continue
        others = (bindings.seats.get(dpid, {}) for dpid in joined if dpid != bridge.dpid)
        seats = tuple(name for seated in others for name in seated)
        found[bridge.dpid] = (Carrier(ofport, seats, host.native),)
    return found


def _is_on(host: Host, bridge: BridgePorts) -> bool:
    return bridge.dpid == host.dpid if host.dpid is not None else bridge.name == host.bridge


def _choose(candidates: list[Dpid], known: Mapping[Dpid, BridgePorts], before: Dpid | None) -> Dpid:
    present = [dpid for dpid in candidates if known[dpid].present]
    if before in candidates and (before in present or not present):
        return before
    return (present or candidates)[0]
