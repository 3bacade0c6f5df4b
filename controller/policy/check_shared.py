"""Units of a check: a shared member, and a set of networks that an untagged one joins. PURE."""

from __future__ import annotations

from dataclasses import dataclass

from controller.errors import Problem
from controller.policy import rules
from controller.policy.check_network import Held, Singles, at_address, check_inside, follows, held_in
from controller.policy.model import Attach, Endpoint, Network

JOINED_MAX = 1900
"""Members of all networks of an untagged shared member, which one frame of it is flooded to. A member of several of
them counts in each, because the switch takes it up in each."""


@dataclass(frozen=True, slots=True)
class Span:
    """In which networks a shared member holds each of its addresses."""

    endpoint: Endpoint
    addresses: tuple[tuple[Held, frozenset[str]], ...]


def check_member(endpoint: Endpoint, networks: tuple[Network, ...]) -> tuple[list[Problem], Span]:
    """networks: those of the endpoint's that could be read."""
    problems: list[Problem] = []
    if len(networks) == len(endpoint.networks):
        problems += check_inside(endpoint, networks)
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
        for address in held_in(endpoint, network):
            where.setdefault(address, set()).add(network.name)
    return problems, Span(endpoint, tuple((address, frozenset(names)) for address, names in where.items()))


def check_joined(sharers: tuple[str, ...], parts: tuple[tuple[str, Singles, tuple[Span, ...]], ...]) -> list[Problem]:
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
        if not follows(address, endpoint, other):
            found = {"name": endpoint.name, "network": network, "other": other.name, "other_network": other_network}
            at = at_address(endpoint, address)
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
