"""Unit of a check: a network and its members. PURE."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from controller.errors import Problem
from controller.mac import Mac
from controller.policy import rules
from controller.policy.model import Address, Attach, Cidr, Endpoint, Members, Network, ips_in

Held = Mac | Address
"""What two members of one network must not both have."""

MEMBERS_MAX = 1000
"""Members of one network. Open vSwitch gives up a packet after 4,096 resubmissions; a flood to a member costs a few."""

_CIDRS_SHOWN = 4


@dataclass(frozen=True, slots=True)
class Singles:
    """Who holds which address among the members that are in this network only. held: the same addresses, as a set.

    count: of all members of the network.
    """

    holders: Mapping[Held, Endpoint]
    held: frozenset[Held]
    count: int


def held_in(endpoint: Endpoint, network: Network) -> list[Held]:
    """What an endpoint has in a network: its MAC, its addresses there, with an IPv6 one also MAC.link_local."""
    if endpoint.mac is None:
        return []
    addresses = ips_in(endpoint, network)
    held: list[Held] = [endpoint.mac, *addresses]
    if any(address.version == 6 for address in addresses) and endpoint.mac.link_local not in addresses:
        held.append(endpoint.mac.link_local)
    return held


def follows(address: Held, one: Endpoint, other: Endpoint) -> bool:
    """Whether two endpoints have an address in common only because they have a MAC in common."""
    return one.mac == other.mac and one.mac is not None and address == one.mac.link_local


def check_network(network: Network, members: tuple[Endpoint, ...]) -> tuple[list[Problem], Singles]:
    problems: list[Problem] = []
    if len(members) > MEMBERS_MAX:
        at = ("networks", network.name)
        problems.append(rules.MANY_MEMBERS.problem(at, network=network.name, count=len(members), most=MEMBERS_MAX))
    edges = edges_of(network)
    holders: dict[Held, Endpoint] = {}
    singles: dict[Held, Endpoint] = {}
    for endpoint in members:
        problems += _check_attachment(network, endpoint)
        if not endpoint.shared:
            problems += check_inside(endpoint, (network,))
        for address in held_in(endpoint, network):
            holder = holders.setdefault(address, endpoint)
            if holder is not endpoint and not follows(address, holder, endpoint):
                rule = rules.MAC_TWICE if isinstance(address, Mac) else rules.IP_TWICE
                where = at_address(endpoint, address)
                problems.append(rule.problem(where, address=address, other=holder.name, network=network.name))
            if address in edges:
                rule, cidr = edges[address]
                where = at_address(endpoint, address)
                problems.append(rule.problem(where, address=address, cidr=cidr, network=network.name))
            if not endpoint.shared:
                singles.setdefault(address, endpoint)
    return problems, Singles(singles, frozenset(singles), len(members))


def edges_of(network: Network) -> dict[Held, tuple[rules.Rule, Cidr]]:
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
        yield rules.OPEN_SHARED.problem(at_network(endpoint, index), network=network.name)
    if endpoint.mac is None and network.members is Members.DECLARED:
        yield rules.MAC_MISSING.problem(("endpoints", endpoint.name), network=network.name)


def check_inside(endpoint: Endpoint, networks: tuple[Network, ...]) -> Iterator[Problem]:
    for address in endpoint.ips:
        if not any(network.holds(address) for network in networks):
            names = tuple(network.name for network in networks)
            cidrs = tuple(cidr for network in networks for cidr in network.cidrs)[:_CIDRS_SHOWN]
            yield rules.IP_OUTSIDE.problem(at_address(endpoint, address), address=address, networks=names, cidrs=cidrs)


def at_network(endpoint: Endpoint, index: int) -> tuple[str | int, ...]:
    at = ("endpoints", endpoint.name)
    return (*at, "networks", index) if endpoint.shared else (*at, "network")


def at_address(endpoint: Endpoint, address: Held) -> tuple[str | int, ...]:
    if address in endpoint.ips:
        return ("endpoints", endpoint.name, "ips", endpoint.ips.index(address))
    return ("endpoints", endpoint.name, "mac")
