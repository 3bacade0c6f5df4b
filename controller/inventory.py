"""What is observed of bridges and ports, and which endpoint is bound where. PURE."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import chain
from types import MappingProxyType

from controller.flow.fields import LOCAL_PORT
from controller.hosts import DatabaseSeen, HostSeen, PortSeen
from controller.policy.model import Dpid, Endpoint, Host, Policy, Uplink, of_attached_mac, of_iface_id
from controller.tunnels import tunnel_port

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


MadeOf = tuple[Mapping[str, Endpoint], Mapping[str, Host], Mapping[str, Uplink], tuple[BridgePorts, ...]]
BOUND_SINGLY = 32
"""So many endpoints that are others than before are bound by themselves, where the ports are the same."""


@dataclass(frozen=True, slots=True)
class Bindings:
    """Where every endpoint and every uplink is.

    seats: dpid -> endpoint name -> ofport. home: endpoint -> its dpid. uplinks: dpid -> uplink name -> ofport.
    rivals: endpoint -> other bridges that show a port of its name; they get nothing. hosts: which bridge is which host.
    contested: somebody has no port because another one has it. made_of: endpoints, hosts and uplinks of the policy, and
    the bridges.
    """

    seats: Mapping[Dpid, Mapping[str, int]] = field(default_factory=dict)
    home: Mapping[str, Dpid] = field(default_factory=dict)
    rivals: Mapping[str, tuple[Dpid, ...]] = field(default_factory=dict)
    hosts: Mapping[Dpid, str] = field(default_factory=dict)
    uplinks: Mapping[Dpid, Mapping[str, int]] = field(default_factory=dict)
    contested: bool = field(default=False, compare=False)
    made_of: MadeOf | None = field(default=None, compare=False)


def bind(policy: Policy, bridges: Collection[BridgePorts], before: Bindings) -> Bindings:
    """Bind every endpoint to the port of its name, or with its label, and every uplink to the port of its name.

    What has a host is looked for on that host's bridge only. What has none stays on the bridge where it was as long as
    that bridge showed the port last and is present, or no other present bridge shows it: a stranger that shows a port
    of the same name takes nothing away. Among several new ones the first in `bridges` wins.
    """
    made_of = (policy.endpoints, policy.hosts, policy.uplinks, tuple(bridges))
    if made_of == before.made_of and _in_order(made_of) == _in_order(before.made_of):
        return before
    on = _bridges_of(policy, bridges)
    few = _bind_few(made_of, on, before)
    if few is not None:
        return few
    known = {bridge.dpid: bridge for bridge in bridges}
    bridges_on = {name: [known[dpid] for dpid in dpids] for name, dpids in on.items()}
    hosts_named = chain(
        (endpoint.host for endpoint in policy.endpoints.values()), (uplink.host for uplink in policy.uplinks.values())
    )
    showing = _showing(bridges) if any(host is None for host in hosts_named) else {}
    seats: dict[Dpid, dict[str, int]] = {dpid: {} for dpid in known}
    uplinks: dict[Dpid, dict[str, int]] = {dpid: {} for dpid in known}
    taken: dict[Dpid, set[int]] = {dpid: set() for dpid in known}
    home: dict[str, Dpid] = {}
    rivals: dict[str, tuple[Dpid, ...]] = {}

    def showing_port(host: str | None, place: str) -> list[tuple[Dpid, int]]:
        """The bridges where the port is looked for and that show it, with its ofport."""
        if host is None:
            return showing.get(place, [])
        return [(bridge.dpid, seat) for bridge in bridges_on[host] if (seat := bridge.ofport(place)) is not None]

    contested = False

    def take(dpid: Dpid, seat: int) -> bool:
        """Whether nobody had the port: it has one user, also where several know it by different labels."""
        nonlocal contested
        free = seat not in taken[dpid]
        taken[dpid].add(seat)
        contested = contested or not free
        return free

    at_uplink = {name: dpid for dpid, names in before.uplinks.items() for name in names}
    for uplink in policy.uplinks.values():
        candidates = showing_port(uplink.host, uplink.port)
        if candidates:
            dpid, seat = _choose(candidates, known, at_uplink.get(uplink.name))
            if take(dpid, seat):
                uplinks[dpid][uplink.name] = seat
    for name, endpoint in policy.endpoints.items():
        candidates = showing_port(endpoint.host, endpoint.place)
        if not candidates:
            continue
        dpid, seat = candidates[0] if len(candidates) == 1 else _choose(candidates, known, before.home.get(name))
        if not take(dpid, seat):
            continue
        seats[dpid][name] = seat
        home[name] = dpid
        if len(candidates) > 1:
            others = tuple(other for other, _ in candidates if other != dpid and known[other].present)
            if others:
                rivals[name] = others
    hosts = {dpid: name for name, dpids in on.items() for dpid in dpids}
    return Bindings(
        {dpid: _kept(here, before.seats.get(dpid)) for dpid, here in seats.items()},
        home,
        rivals,
        hosts,
        {dpid: _kept(here, before.uplinks.get(dpid)) for dpid, here in uplinks.items()},
        contested,
        made_of,
    )


def _in_order(made_of: MadeOf) -> tuple[list[str], ...]:
    """The names of endpoints, hosts and uplinks: of two that want one thing the first gets it."""
    endpoints, hosts, uplinks, _ = made_of
    return [*endpoints], [*hosts], [*uplinks]


def _bind_few(made_of: MadeOf, on: Mapping[str, list[Dpid]], before: Bindings) -> Bindings | None:
    """As `bind`, where ports are as before, a few endpoints are not, and each port is wanted by one; else None."""
    if before.made_of is None or before.contested or before.rivals or made_of[1:] != before.made_of[1:]:
        return None
    if _in_order(made_of)[1:] != _in_order(before.made_of)[1:]:
        return None
    endpoints, old, bridges = made_of[0], before.made_of[0], made_of[3]
    changed = [endpoint for name, endpoint in endpoints.items() if old.get(name) is not endpoint]
    gone = [name for name in old if name not in endpoints] if len(endpoints) - len(changed) < len(old) else []
    if len(changed) + len(gone) > BOUND_SINGLY:
        return None
    home, seats = dict(before.home), dict(before.seats)
    for name in (*gone, *(endpoint.name for endpoint in changed)):
        if (dpid := home.pop(name, None)) is not None:
            seats[dpid] = {one: seat for one, seat in seats[dpid].items() if one != name}
    for endpoint in changed:
        wanted = None if endpoint.host is None else on[endpoint.host]
        shown = ((b.dpid, b.ofport(endpoint.place)) for b in bridges if wanted is None or b.dpid in wanted)
        candidates = [(dpid, seat) for dpid, seat in shown if seat is not None]
        if not candidates:
            continue
        dpid, seat = candidates[0]
        if len(candidates) > 1 or seat in seats[dpid].values() or seat in before.uplinks[dpid].values():
            return None
        home[endpoint.name] = dpid
        seats[dpid] = {**seats[dpid], endpoint.name: seat}
    kept = {dpid: _kept(here, before.seats.get(dpid)) for dpid, here in seats.items()}
    return Bindings(kept, home, {}, before.hosts, before.uplinks, False, made_of)


def routing_bridges(policy: Policy, bindings: Bindings) -> frozenset[Dpid]:
    """Bridges with a member of a routed network, or with an uplink: each must reach every routed network."""
    routed = {name for name, network in policy.networks.items() if network.routed}
    if not routed:
        return frozenset()
    found = {dpid for dpid, names in bindings.uplinks.items() if names}
    for name, dpid in bindings.home.items():
        if dpid not in found and not routed.isdisjoint(policy.endpoints[name].networks):
            found.add(dpid)
    return frozenset(found)


def _kept(seats: Mapping[str, int], before: Mapping[str, int] | None) -> Mapping[str, int]:
    """The very seats of before, where they are the same: whoever compares them sees it at once."""
    return before if before is not None and before == seats else seats


def _showing(bridges: Iterable[BridgePorts]) -> dict[str, list[tuple[Dpid, int]]]:
    """`Endpoint.place` -> the bridges that show such a port, with its ofport."""
    found: dict[str, list[tuple[Dpid, int]]] = {}
    for bridge in bridges:
        for name in chain(bridge.ports, bridge.labels):
            if (ofport := bridge.ofport(name)) is not None:
                found.setdefault(name, []).append((bridge.dpid, ofport))
    return found


def find_hosts(policy: Policy, bridges: Collection[BridgePorts]) -> Mapping[Dpid, Host]:
    """Which of the bridges is which host."""
    return {dpid: policy.hosts[name] for name, dpids in _bridges_of(policy, bridges).items() for dpid in dpids}


def _bridges_of(policy: Policy, bridges: Iterable[BridgePorts]) -> dict[str, list[Dpid]]:
    """Host -> its bridges, of those that are there: one, or by name as many as have that name."""
    known: set[Dpid] = set()
    named: dict[str, list[Dpid]] = {}
    for bridge in bridges:
        known.add(bridge.dpid)
        named.setdefault(bridge.name, []).append(bridge.dpid)
    found: dict[str, list[Dpid]] = {}
    for host in policy.hosts.values():
        dpid = host.datapath_id
        if dpid is None:
            found[host.name] = [] if host.bridge is None else named.get(host.bridge, [])
        else:
            found[host.name] = [dpid] if dpid in known else []
    return found


def _choose(
    candidates: list[tuple[Dpid, int]], known: Mapping[Dpid, BridgePorts], before: Dpid | None
) -> tuple[Dpid, int]:
    if len(candidates) == 1:
        return candidates[0]
    present = [one for one in candidates if known[one[0]].present]
    at_home = next((one for one in candidates if one[0] == before), None)
    if at_home is not None and (at_home in present or not present):
        return at_home
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


@dataclass(frozen=True, slots=True)
class Strangers:
    """by_bridge: bridge -> its ports that have the name of a tunnel's and lead elsewhere.

    ends: the port of a tunnel -> the vtep that it is to lead to. of_host: host -> what its database shows, and the same
    of that.
    """

    by_bridge: Mapping[Dpid, frozenset[str]] = field(default_factory=dict)
    ends: Mapping[str, str] = field(default_factory=dict)
    of_host: Mapping[str, tuple[DatabaseSeen, Mapping[Dpid, frozenset[str]]]] = field(default_factory=dict)


NO_STRANGERS = Strangers()


def find_strangers(policy: Policy, seen: Iterable[HostSeen], before: Strangers = NO_STRANGERS) -> Strangers:
    """Of the managed hosts. before: an earlier result; only hosts whose databases show something else are looked at."""
    ends = {tunnel_port(host.name): str(host.vtep) for host in policy.hosts.values()}
    known = before.of_host if before.ends == ends else {}
    of_host: dict[str, tuple[DatabaseSeen, Mapping[Dpid, frozenset[str]]]] = {}
    by_bridge: dict[Dpid, frozenset[str]] = {}
    for host in seen:
        old = known.get(host.name)
        one = old if old is not None and old[0] is host.shown else (host.shown, _strangers(host.shown, ends))
        of_host[host.name] = one
        for dpid, names in one[1].items():
            by_bridge[dpid] = by_bridge.get(dpid, frozenset()) | names
    return Strangers(by_bridge, ends, of_host)


def _strangers(shown: DatabaseSeen, ends: Mapping[str, str]) -> dict[Dpid, frozenset[str]]:
    found: dict[Dpid, frozenset[str]] = {}
    for port in shown.ports:
        end = ends.get(port.name)
        if end is None or (port.tunnel is not None and port.tunnel.peer_ip == end):
            continue
        dpid = shown.bridges.get(port.bridge)
        if dpid is not None:
            found[dpid] = found.get(dpid, frozenset()) | {port.name}
    return found


def _labels(port: PortSeen) -> Iterator[str]:
    if port.iface_id is not None:
        yield of_iface_id(port.iface_id)
    if port.attached_mac is not None:
        yield of_attached_mac(port.attached_mac)
