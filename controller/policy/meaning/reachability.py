"""Who reaches whom, without a packet. PURE.

A reaches B where A can open at least one connection to B (`reach`). A network without rules lets all of its members
reach each other. Where they meet is a network's name, or for connections through the router "lan->dmz": from whose, to
whose.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from controller.policy.meaning.reach import Bits, Reach, Seat
from controller.policy.model import EMPTY_POLICY, Endpoint, Policy

Pair = tuple[str, str, str]
"""(source, target, where), source < target."""


def reachable(policy: Policy, source: str, target: str) -> tuple[str, ...]:
    """Where one endpoint reaches another: networks that both are in, in the order of the first one's, and then through
    the router; none with itself.
    """
    return _places(Reach(policy, {}), policy.endpoints[source], policy.endpoints[target])


def pairs(policy: Policy) -> set[Pair]:
    """Everyone of whom one reaches the other.

    In a network it is said once for both directions; through the router "lan->dmz" is one, and "dmz->lan" another.
    """
    gained, _ = changed_pairs(EMPTY_POLICY, policy)
    return gained


def changed_pairs(old: Policy, new: Policy) -> tuple[set[Pair], set[Pair]]:
    """Those of `pairs` that come with a change of the policy, and those that go, whatever part of it changes."""
    bits: dict[object, int] = {}
    before, after = Reach(old, bits), Reach(new, bits)
    gained: set[Pair] = set()
    lost: set[Pair] = set()
    for seat in dict.fromkeys((*before.seats, *after.seats)):
        was, becomes = before.reached(seat), after.reached(seat)
        gained.update(_apart(seat, becomes & ~was, after, before))
        lost.update(_apart(seat, was & ~becomes, before, after))
    return gained, lost


def _apart(seat: Seat, targets: Bits, by: Reach, other: Reach) -> Iterator[Pair]:
    """The pairs of somebody with those whom it reaches by one policy, of which by the other none reaches the other."""
    network, name = seat
    for target in by.seats_of(targets):
        mirrored = (network, target[1]), (target[0], name)
        if not (other.is_reached(seat, target) or other.is_reached(*mirrored)):
            one, two = sorted((name, target[1]))
            yield one, two, _place(network, target[0])


@dataclass(frozen=True, slots=True)
class Row:
    """source and, by name, every other endpoint of its networks and of those the router joins to them, with the places
    in which it reaches that one.
    """

    source: str
    reaches: tuple[tuple[str, tuple[str, ...]], ...]


def matrix(policy: Policy, names: tuple[str, ...]) -> Iterator[Row]:
    """One row for each of these endpoints, in their order; targets are limited to them too."""
    reach = Reach(policy, {})
    wanted = frozenset(names)
    routed = [name for name, network in policy.networks.items() if network.routed]
    for source in names:
        endpoint = policy.endpoints[source]
        near = {*endpoint.networks, *(routed if set(routed) & set(endpoint.networks) else ())}
        targets = {m.name for network in near for m in policy.members[network] if m.name in wanted} - {source}
        found = ((target, _places(reach, endpoint, policy.endpoints[target])) for target in sorted(targets))
        yield Row(source, tuple(found))


def _places(reach: Reach, source: Endpoint, target: Endpoint) -> tuple[str, ...]:
    ways = [(name, name) for name in source.networks if name in target.networks]
    ways += [(one, other) for one in source.networks for other in target.networks if one != other]
    return tuple(_place(*way) for way in ways if reach.is_reached((way[0], source.name), (way[1], target.name)))


def _place(one: str, other: str) -> str:
    return one if one == other else f"{one}->{other}"
