"""Who reaches whom, without a packet. PURE."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from controller.policy.model import Policy


def reachable(policy: Policy, source: str, target: str) -> tuple[str, ...]:
    """The networks in which two endpoints exchange frames, in the order of the first one's; none with itself."""
    if source == target:
        return ()
    theirs = policy.endpoints[target].networks
    return tuple(name for name in policy.endpoints[source].networks if name in theirs)


def pairs(policy: Policy) -> Iterator[tuple[str, str, str]]:
    """(source, target, network) of everyone who reaches each other, source < target; by network, then by name."""
    for network, members in policy.members.items():
        names = sorted(member.name for member in members)
        for at, source in enumerate(names):
            for target in names[at + 1 :]:
                yield source, target, network


def pairs_of(policy: Policy, names: frozenset[str]) -> Iterator[tuple[str, str, str]]:
    """Those of `pairs` in which one of the names occurs; names that are no endpoints are passed over."""
    touched = {network for name in names if name in policy.endpoints for network in policy.endpoints[name].networks}
    for network in policy.networks:
        if network in touched:
            members = sorted(member.name for member in policy.members[network])
            changed = [name for name in members if name in names]
            for at, source in enumerate(members):
                later = members[at + 1 :]
                if source not in names:
                    later = [name for name in changed if name > source]
                for target in later:
                    yield source, target, network


@dataclass(frozen=True, slots=True)
class Row:
    """source and, by name, every target it reaches with the networks in which it does."""

    source: str
    reaches: tuple[tuple[str, tuple[str, ...]], ...]


def matrix(policy: Policy, names: tuple[str, ...]) -> Iterator[Row]:
    """One row for each of these endpoints, in their order; targets are limited to them too."""
    wanted = frozenset(names)
    for source in names:
        endpoint = policy.endpoints[source]
        targets = {m.name for network in endpoint.networks for m in policy.members[network] if m.name in wanted}
        targets.discard(source)
        yield Row(source, tuple((target, reachable(policy, source, target)) for target in sorted(targets)))
