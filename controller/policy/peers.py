"""Whom peers select: groups resolved once, and one question asked of them. PURE.

`meaning`, the reference, does not use this: it is written from the policy's words alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from controller.policy.firewall import Group, Peers
from controller.policy.model import OUTSIDE, Address, Cidr, Endpoint, Policy


class Block(NamedTuple):
    """Addresses in cidrs that are in none of excluded."""

    cidrs: tuple[Cidr, ...]
    excluded: tuple[Cidr, ...] = ()

    def holds(self, address: Address) -> bool:
        return in_any(address, self.cidrs) and not in_any(address, self.excluded)


@dataclass(frozen=True, slots=True)
class ResolvedGroup:
    """All that a group means, the groups in it included; of each group the cidrs with what that group excludes."""

    endpoints: frozenset[str] = frozenset()
    networks: frozenset[str] = frozenset()
    outside: bool = False
    blocks: tuple[Block, ...] = ()

    @property
    def empty(self) -> bool:
        """Whether nobody is in it, whatever packets may come."""
        return not (self.endpoints or self.networks or self.outside or self.blocks)

    def selects(self, network: str, address: Address | None, endpoint: str | None) -> bool:
        """As the function `selects`."""
        return (
            network in self.networks
            or (self.outside and network == OUTSIDE)
            or (endpoint is not None and endpoint in self.endpoints)
            or (address is not None and any(block.holds(address) for block in self.blocks))
        )


NOBODY = ResolvedGroup()


def selects(
    groups: Mapping[str, ResolvedGroup],
    peers: Peers,
    network: str,
    address: Address | None = None,
    endpoint: str | None = None,
) -> bool:
    """Whether one side of a connection is among peers. groups: of `resolve_groups`.

    network: the name of the one it is in, or OUTSIDE. address: its own; None: not known, so that no prefix holds it.
    endpoint: the name of the member that it is; None for a broadcast, a multicast, and for whoever is no member.
    """
    return (
        peers.anybody
        or network in peers.networks
        or (peers.outside and network == OUTSIDE)
        or (endpoint is not None and endpoint in peers.endpoints)
        or (address is not None and in_any(address, peers.cidrs))
        or any(groups[name].selects(network, address, endpoint) for name in peers.groups)
    )


def resolve_groups(policy: Policy) -> Mapping[str, ResolvedGroup]:
    """What each group means, by name in the document's order. The policy is one that `check` finds nothing in."""
    return resolve(tuple(policy.groups.values()), tuple(policy.endpoints.values()) if policy.groups else ())


def resolve(groups: tuple[Group, ...], endpoints: tuple[Endpoint, ...]) -> Mapping[str, ResolvedGroup]:
    """As `resolve_groups`, of what it depends on."""
    labelled = _index_labels(endpoints, {pair for group in groups for pair in group.selector})
    by_name = {group.name: group for group in groups}
    resolved: dict[str, ResolvedGroup] = {}
    for group in groups:
        # Not recursive: a chain of groups may be as long as the document.
        waiting = [group.name]
        while waiting:
            name = waiting[-1]
            missing = [one for one in by_name[name].members.groups if one not in resolved]
            if missing and name not in resolved:
                waiting += missing
            else:
                waiting.pop()
                if name not in resolved:
                    resolved[name] = _resolve_one(by_name[name], resolved, labelled)
    return {name: resolved[name] for name in by_name}


@dataclass(frozen=True)
class Groups:
    """What each group means, and the groups and endpoints that this was made of."""

    means: Mapping[str, ResolvedGroup]
    made_of: tuple[tuple[Group, ...], tuple[Endpoint, ...]] = ((), ())


NO_GROUPS = Groups({})


def resolve_again(policy: Policy, before: Groups) -> Groups:
    """As `resolve_groups`. before: of an earlier policy; a group that means the same is the very same object."""
    selecting = any(group.selector for group in policy.groups.values())
    made_of = (tuple(policy.groups.values()), tuple(policy.endpoints.values()) if selecting else ())
    if made_of == before.made_of:
        return before
    known = before.means
    means = {name: known[name] if known.get(name) == now else now for name, now in resolve(*made_of).items()}
    return Groups(means, made_of)


def unite(peers: Peers, groups: Mapping[str, ResolvedGroup]) -> ResolvedGroup:
    """All that peers mean, as one group would; NOBODY for anybody, which no union of names is."""
    own = ResolvedGroup(
        frozenset(peers.endpoints),
        frozenset(peers.networks),
        peers.outside,
        (Block(peers.cidrs),) if peers.cidrs else (),
    )
    return _union([each for each in (own, *(groups[name] for name in peers.groups)) if not each.empty])


def _resolve_one(
    group: Group, resolved: Mapping[str, ResolvedGroup], labelled: Mapping[tuple[str, str], frozenset[str]]
) -> ResolvedGroup:
    members = group.members
    chosen: frozenset[str] = frozenset()
    if group.selector:
        sets = sorted((labelled[pair] for pair in group.selector), key=len)
        chosen = sets[0].intersection(*sets[1:])
    own = ResolvedGroup(
        chosen.union(members.endpoints),
        frozenset(members.networks),
        members.outside,
        (Block(members.cidrs, group.excluded),) if members.cidrs else (),
    )
    return _union([own, *(resolved[name] for name in members.groups)])


def _union(parts: list[ResolvedGroup]) -> ResolvedGroup:
    if len(parts) == 1:
        return parts[0]
    return ResolvedGroup(
        frozenset().union(*(part.endpoints for part in parts)),
        frozenset().union(*(part.networks for part in parts)),
        any(part.outside for part in parts),
        tuple(dict.fromkeys(block for part in parts for block in part.blocks)),
    )


def _index_labels(
    endpoints: Iterable[Endpoint], wanted: set[tuple[str, str]]
) -> Mapping[tuple[str, str], frozenset[str]]:
    alike: dict[tuple[tuple[str, str], ...], list[str]] = {}
    if wanted:
        for endpoint in endpoints:
            alike.setdefault(endpoint.labels, []).append(endpoint.name)
    found: dict[tuple[str, str], list[str]] = {pair: [] for pair in wanted}
    for labels, names in alike.items():
        for pair in labels:
            if pair in found:
                found[pair] += names
    return {pair: frozenset(names) for pair, names in found.items()}


def in_any(address: Address, cidrs: tuple[Cidr, ...]) -> bool:
    """Whether one of the prefixes holds the address."""
    return any(cidr.version == address.version and address in cidr for cidr in cidrs)
