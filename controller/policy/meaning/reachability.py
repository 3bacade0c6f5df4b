"""Who reaches whom, without a packet. PURE.

A reaches B where A can open at least one connection to B (`reach`). A network without rules lets all of its members
reach each other. Where they meet is a network's name, or for connections through the router "lan->dmz": from whose, to
whose. In a policy with uplinks the outside is one more name, as in "dmz->outside".
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from controller.policy.meaning.reach import Bits, Reach, Seat
from controller.policy.model import EMPTY_POLICY, OUTSIDE, Policy

Pair = tuple[str, str, str]
"""(source, target, where), source < target."""


def reachable(policy: Policy, source: str, target: str) -> tuple[str, ...]:
    """Where one endpoint reaches another: networks that both are in, in the order of the first one's, and then through
    the router; none with itself.
    """
    return _places(Reach(policy, {}), policy, source, target)


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
    """source and, by name, everybody else whom it reaches, with the places."""

    source: str
    reaches: tuple[tuple[str, tuple[str, ...]], ...]


def matrix(policy: Policy, names: tuple[str, ...]) -> Iterator[Row]:
    """One row for each of these endpoints (or OUTSIDE), in their order; targets are limited to them too."""
    reach = Reach(policy, {})
    for source in names:
        found = ((target, _places(reach, policy, source, target)) for target in sorted(names))
        yield Row(source, tuple((target, places) for target, places in found if places))


def _places(reach: Reach, policy: Policy, source: str, target: str) -> tuple[str, ...]:
    here, there = ((OUTSIDE,) if name == OUTSIDE else policy.endpoints[name].networks for name in (source, target))
    ways = [(name, name) for name in here if name in there]
    ways += [(one, other) for one in here for other in there if one != other]
    return tuple(_place(*way) for way in ways if reach.is_reached((way[0], source), (way[1], target)))


def _place(one: str, other: str) -> str:
    return one if one == other else f"{one}->{other}"
