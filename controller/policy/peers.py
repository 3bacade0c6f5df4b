"""Whom peers select: groups resolved once, and one question asked of them. PURE.

`meaning`, the reference, does not use this: it is written from the policy's words alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from controller.policy.firewall import Group, Peers
from controller.policy.model import OUTSIDE, Address, Cidr, Endpoint, Policy

Label = tuple[str, str]
"""Key and value."""


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


@dataclass(frozen=True)
class Groups:
    """What each group means, by name in the document's order; and the groups and endpoints that this was made of.

    labelled: a label that a group selects by -> the endpoints that have it.
    """

    means: Mapping[str, ResolvedGroup]
    groups: Mapping[str, Group] = field(default_factory=dict)
    endpoints: Mapping[str, Endpoint] = field(default_factory=dict)
    labelled: Mapping[Label, frozenset[str]] = field(default_factory=dict)


NO_GROUPS = Groups({})


def resolve_groups(policy: Policy) -> Mapping[str, ResolvedGroup]:
    """What each group means, by name in the document's order. The policy is one that `check` finds nothing in."""
    return resolve_again(policy, NO_GROUPS).means


def resolve_again(policy: Policy, before: Groups) -> Groups:
    """As `resolve_groups`. before: of an earlier policy; a group that means the same is the very same object."""
    groups = policy.groups
    wanted = {pair for group in groups.values() for pair in group.selector}
    endpoints = policy.endpoints if wanted else {}
    if groups == before.groups and [*groups] == [*before.groups] and endpoints == before.endpoints:
        return before
    labelled = _index_labels(endpoints, wanted, before)
    means: dict[str, ResolvedGroup] = {}
    for start in groups:
        # Not recursive: a chain of groups may be as long as the document.
        waiting = [start]
        while waiting:
            name = waiting[-1]
            group = groups[name]
            missing = [one for one in group.members.groups if one not in means]
            if missing and name not in means:
                waiting += missing
                continue
            waiting.pop()
            if name in means:
                continue
            known = before.means.get(name)
            if (
                known is None
                or before.groups[name] is not group
                or any(labelled[pair] is not before.labelled[pair] for pair in group.selector)
                or any(means[one] is not before.means[one] for one in group.members.groups)
            ):
                found = _resolve_one(group, means, labelled)
                known = known if found == known else found
            means[name] = known
    return Groups({name: means[name] for name in groups}, groups, endpoints, labelled)


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
    group: Group, resolved: Mapping[str, ResolvedGroup], labelled: Mapping[Label, frozenset[str]]
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
    endpoints: Mapping[str, Endpoint], wanted: set[Label], before: Groups
) -> Mapping[Label, frozenset[str]]:
    """The endpoints that have each of the labels. Where those are the same as before, it is the very same object."""
    known = before.labelled if wanted == before.labelled.keys() else {}
    old = before.endpoints if known else {}
    changed = [name for name, endpoint in endpoints.items() if old.get(name) is not endpoint]
    changed += [name for name in old if name not in endpoints]
    come: dict[Label, list[str]] = {pair: [] for pair in wanted}
    gone: dict[Label, list[str]] = {pair: [] for pair in wanted}
    for name in changed:
        had, has = (_labels_of(each.get(name)) for each in (old, endpoints))
        if had is not has:
            for pair in has:
                if pair in come and pair not in had:
                    come[pair].append(name)
            for pair in had:
                if pair in gone and pair not in has:
                    gone[pair].append(name)
    found: dict[Label, frozenset[str]] = {}
    for pair in wanted:
        names = known.get(pair, _NONE)
        found[pair] = names.union(come[pair]).difference(gone[pair]) if come[pair] or gone[pair] else names
    return found


_NONE: frozenset[str] = frozenset()


def _labels_of(endpoint: Endpoint | None) -> tuple[Label, ...]:
    return () if endpoint is None else endpoint.labels


def in_any(address: Address, cidrs: tuple[Cidr, ...]) -> bool:
    """Whether one of the prefixes holds the address."""
    return any(cidr.version == address.version and address in cidr for cidr in cidrs)
