"""Networks that have a router, and the uplinks that they reach the world by. PURE."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass

from controller.errors import Problem
from controller.policy import rules
from controller.policy.check_network import at_address, edges_of, held_in
from controller.policy.findings import Nearest
from controller.policy.load_peers import Names
from controller.policy.model import Address, Endpoint, Host, Network, Policy, Uplink, ips_in
from controller.policy.prefixes import Prefixes

_CIDRS_SHOWN = 4


@dataclass(frozen=True, slots=True)
class Routed:
    """A network with a router. addresses: its members', without link-local ones, which are never routed."""

    network: Network
    members: tuple[Endpoint, ...]
    addresses: frozenset[Address]


def check_routed(network: Network, members: tuple[Endpoint, ...]) -> tuple[list[Problem], Routed]:
    """Unit: the gateways of a network and its members."""
    problems: list[Problem] = []
    edges = edges_of(network)
    gateways = set(network.gateways)
    taken = {address: endpoint for endpoint in members for address in held_in(endpoint, network) if address in gateways}
    for index, gateway in enumerate(network.gateways):
        at = ("networks", network.name, "gateway", index)
        if not network.holds(gateway):
            cidrs = network.cidrs[:_CIDRS_SHOWN]
            problems.append(rules.GATEWAY_OUTSIDE.problem(at, address=gateway, network=network.name, cidrs=cidrs))
        elif gateway in edges:
            rule, cidr = edges[gateway]
            problems.append(rule.problem(at, address=gateway, cidr=cidr, network=network.name))
        if gateway in taken:
            problems.append(rules.GATEWAY_TAKEN.problem(at, address=gateway, endpoint=taken[gateway].name))
    addresses = frozenset(
        ip for endpoint in members for ip in ips_in(endpoint, network) if not (ip.version == 6 and ip.is_link_local)
    )
    return problems, Routed(network, members, addresses)


def check_realm(realm: tuple[Routed, ...], _: None) -> list[Problem]:
    """Unit: all networks with a router. An address is one member's, in one of them, and no other's gateway.

    Sets of addresses are met as wholes, because hashing an address again costs more than all the rest.
    """
    problems: list[Problem] = []
    seen: set[Address] = set()
    gateways = {gateway: routed.network.name for routed in reversed(realm) for gateway in routed.network.gateways}
    for index, routed in enumerate(realm):
        if not seen.isdisjoint(routed.addresses):
            for address in sorted(seen & routed.addresses, key=str):
                before = next(each for each in realm[:index] if address in each.addresses)
                endpoint, other = _holder(routed, address), _holder(before, address)
                problems.append(
                    rules.ROUTED_TWICE.problem(
                        at_address(endpoint, address),
                        address=address,
                        network=routed.network.name,
                        other=other.name,
                        other_network=before.network.name,
                    )
                )
        seen |= routed.addresses
        for address in sorted(gateways.keys() & routed.addresses, key=str):
            if address not in routed.network.gateways:
                at = at_address(_holder(routed, address), address)
                problems.append(rules.IP_OF_GATEWAY.problem(at, address=address, network=gateways[address]))
    return problems


def _holder(routed: Routed, address: Address) -> Endpoint:
    return next(each for each in routed.members if address in ips_in(each, routed.network))


def check_uplinks(policy: Policy, known: Names, on_port: Mapping[str, Collection[Endpoint]]) -> Iterator[Problem]:
    """What uplinks name and who names them; on_port: the endpoints on each port that an uplink is on."""
    nearest = Nearest()
    for network in policy.networks.values():
        if network.uplink is not None and network.uplink not in known.uplinks:
            hint = nearest.hint("uplink", network.uplink, known.uplinks)
            yield rules.UNKNOWN_UPLINK.problem(("networks", network.name, "uplink"), hint, uplink=network.uplink)
    holders: dict[Address, str] = {}
    before: list[Uplink] = []
    for uplink in policy.uplinks.values():
        at = ("uplinks", uplink.name)
        if uplink.host is not None and uplink.host not in known.hosts:
            hint = nearest.hint("host", uplink.host, known.hosts)
            yield rules.UNKNOWN_HOST.problem((*at, "host"), hint, host=uplink.host)
        yield from _check_port(uplink, before, on_port.get(uplink.port, ()), policy.hosts.values())
        before.append(uplink)
        for index, attached in enumerate(uplink.addresses):
            other = holders.setdefault(attached.ip, uplink.name)
            if other != uplink.name:
                where = (*at, "addresses", index)
                yield rules.UPLINK_ADDRESS_TWICE.problem(where, address=attached.ip, other=other)
        for index, route in enumerate(uplink.routes):
            if not any(route.via in attached.network for attached in uplink.addresses):
                segments = tuple(attached.network for attached in uplink.addresses)
                yield rules.VIA_OUTSIDE.problem((*at, "routes", index, "via"), via=route.via, segments=segments)


def _check_port(
    uplink: Uplink, before: Iterable[Uplink], endpoints: Iterable[Endpoint], hosts: Iterable[Host]
) -> Iterator[Problem]:
    """Nothing else is on an uplink's port; ports of one name may be two where both say on which host they are."""
    at = ("uplinks", uplink.name, "port")

    def meets(host: str | None) -> bool:
        return host is None or uplink.host is None or host == uplink.host

    for endpoint in endpoints:
        if meets(endpoint.host):
            yield rules.UPLINK_PORT.problem(at, kind=rules.Words("endpoint"), other=endpoint.name, port=uplink.port)
            break
    for other in before:
        if other.port == uplink.port and meets(other.host):
            yield rules.UPLINK_PORT.problem(at, kind=rules.Words("uplink"), other=other.name, port=uplink.port)
            break
    for host in hosts:
        if host.trunk == uplink.port and meets(host.name):
            yield rules.TRUNK_PORT.problem(at, port=uplink.port, host=host.name)
            break


def index_cidrs(networks: tuple[Network, ...], _: None) -> Prefixes[str]:
    """Unit: the network of each prefix."""
    return Prefixes((cidr, network.name) for network in networks for cidr in network.cidrs)


def check_segments(uplinks: tuple[Uplink, ...], inside: Prefixes[str]) -> list[Problem]:
    """Unit: the router's addresses and next hops outside lie in no network; inside: the networks' cidrs."""
    problems: list[Problem] = []
    for uplink in uplinks:
        for index, attached in enumerate(uplink.addresses):
            problems += check_outside(("uplinks", uplink.name, "addresses", index), attached.ip, inside)
        for index, route in enumerate(uplink.routes):
            problems += check_outside(("uplinks", uplink.name, "routes", index, "via"), route.via, inside)
    return problems


def check_outside(at: tuple[str | int, ...], address: Address, inside: Prefixes[str]) -> Iterator[Problem]:
    """That an address of the world outside lies in no network's cidrs."""
    for cidr, network in inside.holding(address):
        yield rules.OUTSIDE_INSIDE.problem(at, address=address, cidr=cidr, network=network)
        return
