"""Rules across the objects of a policy. PURE but for what a `Checker` remembers.

A check is the sum of small pure units: one a network, one a shared member, one a set of networks that an untagged
member joins, and a few that look at names, ports and numbers only. A `Checker` keeps the inputs and the result of each
unit of its last run; a unit whose inputs are the same is not run again, so that a change costs what it touches, and
there is one way to check all the same. The words of each rule are in `rules`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TypeVar, cast

from controller.errors import Problem
from controller.mac import Mac
from controller.policy import rules
from controller.policy.findings import Nearest
from controller.policy.load_peers import Names, names_of
from controller.policy.model import Address, Attach, Cidr, Endpoint, Interface, Members, Network, Policy, ips_in

A = TypeVar("A")
B = TypeVar("B")
R = TypeVar("R")
Held = Mac | Address
"""What two members of one network must not both have."""

MEMBERS_MAX = 1000
"""Members of one network. Open vSwitch gives up a packet after 4,096 resubmissions; a flood to a member costs a few."""
JOINED_MAX = 1900
"""Members of all networks of an untagged shared member, which one frame of it is flooded to. A member of several of
them counts in each, because the switch takes it up in each."""

_CIDRS_SHOWN = 4


def check(policy: Policy) -> tuple[Problem, ...]:
    """Every problem between the objects of a policy; () for a policy that downstream code may trust."""
    return Checker().check(policy)


class Checker:
    """Checks policies one after the other, each at the cost of its difference from the one before."""

    def __init__(self) -> None:
        self._before: dict[tuple[str, ...], tuple[object, object]] = {}
        self._now: dict[tuple[str, ...], tuple[object, object]] = {}

    def check(self, policy: Policy, known: Names | None = None) -> tuple[Problem, ...]:
        """As the function `check`. known: for a policy from which objects with problems of their own are missing."""
        self._now = {}
        survey = _survey(policy, known or names_of(policy))
        problems = [*_check_numbers(policy.networks.values()), *_check_hosts(policy, survey.networks), *survey.problems]
        members = policy.members if known is None and survey.sound else _members(policy)
        singles: dict[str, _Singles] = {}
        for name, network in policy.networks.items():
            found, singles[name] = self._unit(("network", name), _check_network, network, members[name])
            problems += found
        self._check_shared(policy, survey.shared, singles, problems)
        self._before = self._now
        return tuple(dict.fromkeys(problems))

    def _check_shared(
        self, policy: Policy, shared: list[Endpoint], singles: dict[str, _Singles], problems: list[Problem]
    ) -> None:
        spans: dict[str, list[_Span]] = {name: [] for name in policy.networks}
        joined: dict[tuple[str, ...], list[str]] = {}
        for endpoint in shared:
            networks = tuple(policy.networks[name] for name in endpoint.networks if name in policy.networks)
            found, span = self._unit(("shared", endpoint.name), _check_member, endpoint, networks)
            problems += found
            for network in networks:
                spans[network.name].append(span)
            if endpoint.attach is Attach.UNTAGGED:
                joined.setdefault(tuple(sorted(network.name for network in networks)), []).append(endpoint.name)
        for names, sharers in joined.items():
            parts = tuple((name, singles[name], tuple(spans[name])) for name in names)
            problems += self._unit(("joined", *names), _check_joined, tuple(sharers), parts)

    def _unit(self, key: tuple[str, ...], run: Callable[[A, B], R], one: A, two: B) -> R:
        """run(one, two), or what that returned last time, where both are the same."""
        last = self._before.get(key)
        inputs = (one, two)
        if last is None or last[0] != inputs:
            last = (inputs, run(one, two))
        self._now[key] = last
        return cast(R, last[1])


# -- names, ports, numbers: one pass over everything, a few dict look-ups an object


@dataclass(slots=True)
class _Survey:
    """What one pass over all endpoints finds. sound: every network named is known."""

    networks: Collection[str]
    problems: list[Problem] = field(default_factory=list)
    shared: list[Endpoint] = field(default_factory=list)
    sound: bool = True


def _survey(policy: Policy, known: Names) -> _Survey:
    survey, nearest = _Survey(known.networks), Nearest()
    on_port: dict[str, Endpoint] = {}
    crowded: dict[str, list[Endpoint]] = {}
    networks, hosts = known.networks, policy.hosts
    for endpoint in policy.endpoints.values():
        first = on_port.setdefault(endpoint.place, endpoint)
        if first is not endpoint:
            crowded.setdefault(endpoint.place, [first]).append(endpoint)
        names = endpoint.networks
        if len(names) > 1:
            survey.shared.append(endpoint)
        for index, name in enumerate(names):
            if name not in networks:
                survey.sound = False
                hint = nearest.hint("network", name, networks)
                survey.problems.append(rules.UNKNOWN_NETWORK.problem(_at_network(endpoint, index), hint, network=name))
        if endpoint.host is not None:
            host = hosts.get(endpoint.host)
            if host is None and endpoint.host not in known.hosts:
                at = ("endpoints", endpoint.name, "host")
                hint = nearest.hint("host", endpoint.host, known.hosts)
                survey.problems.append(rules.UNKNOWN_HOST.problem(at, hint, host=endpoint.host))
            elif host is not None and host.trunk == endpoint.port:
                at = ("endpoints", endpoint.name, "port")
                survey.problems.append(rules.TRUNK_PORT.problem(at, port=endpoint.port, host=host.name))
            elif endpoint.interface is Interface.INTERNAL and host is not None and host.ovsdb is None:
                at = ("endpoints", endpoint.name, "interface")
                survey.problems.append(rules.NOT_MANAGED.problem(at, host=host.name))
    trunks = {host.trunk: host.name for host in policy.hosts.values() if host.trunk is not None}
    for port, host_name in trunks.items():
        found = on_port.get(port)
        if found is not None and found.host is None:
            at = ("endpoints", found.name, "port")
            survey.problems.append(rules.TRUNK_PORT.problem(at, port=port, host=host_name))
    for endpoints in crowded.values():
        survey.problems += _check_port(endpoints)
    return survey


def _check_port(endpoints: list[Endpoint]) -> Iterator[Problem]:
    """Endpoints on ports of one name: on one host each, and each of them says on which, or they clash."""
    by_host: dict[str | None, Endpoint] = {}
    for endpoint in endpoints:
        at, port = ("endpoints", endpoint.name, "port" if endpoint.port else "iface_id"), endpoint.place
        rival = by_host.get(endpoint.host)
        if rival is not None and endpoint.host is not None:
            yield rules.PORT_TAKEN.problem(at, other=rival.name, port=port, host=endpoint.host)
        elif by_host and (endpoint.host is None or None in by_host):
            other = by_host.get(None) or next(iter(by_host.values()))
            yield rules.PORT_TAKEN_ANYWHERE.problem(at, other=other.name, port=port)
        by_host.setdefault(endpoint.host, endpoint)


def _check_numbers(networks: Iterable[Network]) -> Iterator[Problem]:
    """No vlan, no vni and no number in the switch is two networks'."""
    vlans: dict[int, str] = {}
    vnis: dict[int, str] = {}
    numbers: dict[int, str] = {}
    for network in networks:
        told = False
        if network.vlan is not None and (other := vlans.setdefault(network.vlan, network.name)) != network.name:
            yield rules.VLAN_TWICE.problem(("networks", network.name, "vlan"), vlan=network.vlan, other=other)
            told = True
        if network.vni is not None and (other := vnis.setdefault(network.vni, network.name)) != network.name:
            yield rules.VNI_TWICE.problem(("networks", network.name, "vni"), vni=network.vni, other=other)
            told = True
        if (other := numbers.setdefault(network.number, network.name)) != network.name and not told:
            yield rules.NUMBER_TWICE.problem(("networks", network.name), number=network.number, other=other)


def _check_hosts(policy: Policy, networks: Collection[str]) -> Iterator[Problem]:
    dpids: dict[int, str] = {}
    bridges: dict[tuple[str | None, str], str] = {}
    vteps: dict[Address, str] = {}
    nearest = Nearest()
    trunks = [host for host in policy.hosts.values() if host.trunk is not None]
    for host in trunks[1:]:
        if host.native != trunks[0].native:
            at = ("hosts", host.name, "native" if host.native is not None else "trunk")
            yield rules.NATIVE_DIFFERS.problem(at, native=host.native or "none", other=trunks[0].name,
                                               other_native=trunks[0].native or "none")  # fmt: skip
    for host in policy.hosts.values():
        if host.native is not None and host.native not in networks:
            hint = nearest.hint("network", host.native, networks)
            yield rules.UNKNOWN_NETWORK.problem(("hosts", host.name, "native"), hint, network=host.native)
        if host.vtep is not None and (other := vteps.setdefault(host.vtep, host.name)) != host.name:
            yield rules.VTEP_TWICE.problem(("hosts", host.name, "vtep"), other=other, vtep=host.vtep)
        first = next(iter(vteps), host.vtep)
        if host.vtep is not None and first is not None and first.version != host.vtep.version:
            yield rules.VTEP_VERSION.problem(("hosts", host.name, "vtep"), vtep=host.vtep, other=vteps[first],
                                             other_vtep=first)  # fmt: skip
        if host.trunk is not None and host.trunk == host.bridge:
            yield rules.LOCAL_PORT.problem(("hosts", host.name, "trunk"), port=host.trunk)
        dpid = host.datapath_id
        if dpid is not None and (other := dpids.setdefault(dpid, host.name)) != host.name:
            yield rules.DPID_TWICE.problem(("hosts", host.name, "dpid"), other=other, dpid=f"{dpid:016x}")
        if host.bridge is None or (other := bridges.setdefault((host.ovsdb, host.bridge), host.name)) == host.name:
            continue
        at = ("hosts", host.name, "bridge")
        if host.ovsdb is None:
            yield rules.BRIDGE_TWICE.problem(at, other=other, bridge=host.bridge)
        else:
            yield rules.DATABASE_TWICE.problem(at, other=other, ovsdb=host.ovsdb, bridge=host.bridge)


def _members(policy: Policy) -> Mapping[str, tuple[Endpoint, ...]]:
    """As `Policy.members`, for a policy in which endpoints name networks that are not there."""
    found: dict[str, list[Endpoint]] = {name: [] for name in policy.networks}
    for endpoint in policy.endpoints.values():
        for name in endpoint.networks:
            if name in found:
                found[name].append(endpoint)
    return {name: tuple(members) for name, members in found.items()}


# -- unit: a network and its members


@dataclass(frozen=True, slots=True)
class _Singles:
    """Who holds which address among the members that are in this network only. held: the same addresses, as a set.

    count: of all members of the network.
    """

    holders: Mapping[Held, Endpoint]
    held: frozenset[Held]
    count: int


def _held_in(endpoint: Endpoint, network: Network) -> list[Held]:
    """What an endpoint has in a network: its MAC, its addresses there, with an IPv6 one also MAC.link_local."""
    if endpoint.mac is None:
        return []
    addresses = ips_in(endpoint, network)
    held: list[Held] = [endpoint.mac, *addresses]
    if any(address.version == 6 for address in addresses) and endpoint.mac.link_local not in addresses:
        held.append(endpoint.mac.link_local)
    return held


def _follows(address: Held, one: Endpoint, other: Endpoint) -> bool:
    """Whether two endpoints have an address in common only because they have a MAC in common."""
    return one.mac == other.mac and one.mac is not None and address == one.mac.link_local


def _check_network(network: Network, members: tuple[Endpoint, ...]) -> tuple[list[Problem], _Singles]:
    problems: list[Problem] = []
    if len(members) > MEMBERS_MAX:
        at = ("networks", network.name)
        problems.append(rules.MANY_MEMBERS.problem(at, network=network.name, count=len(members), most=MEMBERS_MAX))
    edges = _edges(network)
    holders: dict[Held, Endpoint] = {}
    singles: dict[Held, Endpoint] = {}
    for endpoint in members:
        problems += _check_attachment(network, endpoint)
        if not endpoint.shared:
            problems += _check_inside(endpoint, (network,))
        for address in _held_in(endpoint, network):
            holder = holders.setdefault(address, endpoint)
            if holder is not endpoint and not _follows(address, holder, endpoint):
                rule = rules.MAC_TWICE if isinstance(address, Mac) else rules.IP_TWICE
                where = _at_address(endpoint, address)
                problems.append(rule.problem(where, address=address, other=holder.name, network=network.name))
            if address in edges:
                rule, cidr = edges[address]
                where = _at_address(endpoint, address)
                problems.append(rule.problem(where, address=address, cidr=cidr, network=network.name))
            if not endpoint.shared:
                singles.setdefault(address, endpoint)
    return problems, _Singles(singles, frozenset(singles), len(members))


def _edges(network: Network) -> dict[Held, tuple[rules.Rule, Cidr]]:
    """The network and broadcast addresses of IPv4 prefixes; a /31 and a /32 have none (RFC 3021)."""
    edges: dict[Held, tuple[rules.Rule, Cidr]] = {}
    for cidr in network.cidrs:
        if cidr.version == 4 and cidr.prefixlen < 31:
            edges[cidr.network_address] = (rules.IP_OF_NETWORK, cidr)
            edges[cidr.broadcast_address] = (rules.IP_OF_BROADCAST, cidr)
    return edges


def _check_attachment(network: Network, endpoint: Endpoint) -> Iterator[Problem]:
    if endpoint.attach is Attach.TAGGED:
        if network.vlan is None and network.name != endpoint.native:
            yield rules.TAG_MISSING.problem(("endpoints", endpoint.name, "attach"), network=network.name)
    elif endpoint.shared and network.members is Members.OPEN:
        index = endpoint.networks.index(network.name)
        yield rules.OPEN_SHARED.problem(_at_network(endpoint, index), network=network.name)
    if endpoint.mac is None and network.members is Members.DECLARED:
        yield rules.MAC_MISSING.problem(("endpoints", endpoint.name), network=network.name)


def _check_inside(endpoint: Endpoint, networks: tuple[Network, ...]) -> Iterator[Problem]:
    for address in endpoint.ips:
        if not any(network.holds(address) for network in networks):
            names = tuple(network.name for network in networks)
            cidrs = tuple(cidr for network in networks for cidr in network.cidrs)[:_CIDRS_SHOWN]
            yield rules.IP_OUTSIDE.problem(_at_address(endpoint, address), address=address, networks=names, cidrs=cidrs)


# -- unit: a shared member, and a set of networks that an untagged one joins


@dataclass(frozen=True, slots=True)
class _Span:
    """In which networks a shared member holds each of its addresses."""

    endpoint: Endpoint
    addresses: tuple[tuple[Held, frozenset[str]], ...]


def _check_member(endpoint: Endpoint, networks: tuple[Network, ...]) -> tuple[list[Problem], _Span]:
    """networks: those of the endpoint's that could be read."""
    problems: list[Problem] = []
    if len(networks) == len(endpoint.networks):
        problems += _check_inside(endpoint, networks)
    if endpoint.attach is Attach.TAGGED:
        tags: dict[int, str] = {}
        for network in networks:
            if network.vlan is None:
                continue
            other = tags.setdefault(network.vlan, network.name)
            if other != network.name:
                at = ("endpoints", endpoint.name, "attach")
                problems.append(rules.TAG_TWICE.problem(at, network=network.name, other=other, vlan=network.vlan))
    where: dict[Held, set[str]] = {}
    for network in networks:
        for address in _held_in(endpoint, network):
            where.setdefault(address, set()).add(network.name)
    return problems, _Span(endpoint, tuple((address, frozenset(names)) for address, names in where.items()))


def _check_joined(
    sharers: tuple[str, ...], parts: tuple[tuple[str, _Singles, tuple[_Span, ...]], ...]
) -> list[Problem]:
    """One frame reaches all members of these networks; nothing held in two of the networks may be two endpoints'.

    Clashes within one network are told there.
    """
    problems: list[Problem] = []
    sharer = sharers[0]
    count = sum(singles.count for _, singles, _ in parts)
    if len(parts) > 1 and count > JOINED_MAX:
        for name in sharers:
            at = ("endpoints", name, "networks")
            problems.append(rules.JOINED_MANY.problem(at, count=count, most=JOINED_MAX))

    def tell(address: Held, endpoint: Endpoint, network: str, other: Endpoint, other_network: str) -> None:
        if not _follows(address, endpoint, other):
            found = {"name": endpoint.name, "network": network, "other": other.name, "other_network": other_network}
            at = _at_address(endpoint, address)
            problems.append(rules.JOINED_TWICE.problem(at, address=address, sharer=sharer, **found))

    seen: set[Held] = set()
    for index, (network, singles, _) in enumerate(parts):
        # Sets of addresses are met and united as wholes, because hashing an address again costs more than all the rest.
        if not seen.isdisjoint(singles.held):
            for address in sorted(seen & singles.held, key=str):
                other_network, other = next(
                    (name, before.holders[address]) for name, before, _ in parts[:index] if address in before.held
                )
                tell(address, singles.holders[address], network, other, other_network)
        seen |= singles.held
    joined = {name for name, _, _ in parts}
    spans = {span.endpoint.name: span for _, _, spans in parts for span in spans}
    taken: dict[Held, dict[frozenset[str], Endpoint]] = {}
    for span in spans.values():
        for address, everywhere in span.addresses:
            here = everywhere & joined
            if not here:
                continue
            rivals = taken.setdefault(address, {})
            for there, other in rivals.items():
                if here.isdisjoint(there):
                    tell(address, span.endpoint, min(here), other, min(there))
            rivals.setdefault(here, span.endpoint)
            if address in seen:
                for name, singles, _ in parts:
                    if address in singles.held and name not in here:
                        tell(address, span.endpoint, min(here), singles.holders[address], name)
    return problems


# -- where a problem is


def _at_network(endpoint: Endpoint, index: int) -> tuple[str | int, ...]:
    at = ("endpoints", endpoint.name)
    return (*at, "networks", index) if endpoint.shared else (*at, "network")


def _at_address(endpoint: Endpoint, address: Held) -> tuple[str | int, ...]:
    if address in endpoint.ips:
        return ("endpoints", endpoint.name, "ips", endpoint.ips.index(address))
    return ("endpoints", endpoint.name, "mac")
