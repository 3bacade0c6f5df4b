"""Who is meant by the names that rules use. PURE.

Groups are resolved once: what a group holds, by way of other groups, too. `selects` asks of one participant of a
connection whether a rule means it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from controller.policy.firewall import Group, Peers
from controller.policy.model import OUTSIDE, Address, Cidr, Policy


@dataclass(frozen=True, slots=True)
class Prefixes:
    """The addresses in `included` that are not in `excluded`."""

    included: tuple[Cidr, ...]
    excluded: tuple[Cidr, ...] = ()

    def hold(self, address: Address) -> bool:
        def is_in(cidrs: tuple[Cidr, ...]) -> bool:
            return any(cidr.version == address.version and address in cidr for cidr in cidrs)

        return is_in(self.included) and not is_in(self.excluded)


@dataclass(frozen=True, slots=True)
class ResolvedGroup:
    """All that a group holds: endpoints and networks by name, the outside, and sets of addresses."""

    endpoints: frozenset[str] = frozenset()
    networks: frozenset[str] = frozenset()
    outside: bool = False
    cidrs: tuple[Prefixes, ...] = ()


def resolve_groups(policy: Policy) -> Mapping[str, ResolvedGroup]:
    """Group name -> what it holds. Groups of groups have no cycles: `check` has seen to it."""
    labelled: dict[tuple[str, str], set[str]] = {}
    if any(group.selector for group in policy.groups.values()):
        for endpoint in policy.endpoints.values():
            for label in endpoint.labels:
                labelled.setdefault(label, set()).add(endpoint.name)
    found: dict[str, ResolvedGroup] = {}
    for group in policy.groups.values():
        _resolve(group, policy.groups, labelled, found)
    return found


def _resolve(
    group: Group,
    groups: Mapping[str, Group],
    labelled: Mapping[tuple[str, str], set[str]],
    found: dict[str, ResolvedGroup],
) -> ResolvedGroup:
    if group.name in found:
        return found[group.name]
    members = group.members
    endpoints, networks, outside = set(members.endpoints), set(members.networks), members.outside
    cidrs = [Prefixes(members.cidrs, group.excluded)] if members.cidrs else []
    if group.selector:
        endpoints |= set.intersection(*(labelled.get(label, set()) for label in group.selector))
    for name in members.groups:
        part = _resolve(groups[name], groups, labelled, found)
        endpoints |= part.endpoints
        networks |= part.networks
        outside = outside or part.outside
        cidrs += part.cidrs
    found[group.name] = ResolvedGroup(frozenset(endpoints), frozenset(networks), outside, tuple(dict.fromkeys(cidrs)))
    return found[group.name]


@dataclass(frozen=True, slots=True)
class Participant:
    """One end of a connection: the network it is in or OUTSIDE, its address, and the endpoint that has it, if any."""

    network: str
    address: Address
    endpoint: str | None = None


def selects(peers: Peers, who: Participant, groups: Mapping[str, ResolvedGroup]) -> bool:
    """Whether a rule that names these peers means this participant."""
    if peers.anybody or who.network in peers.networks or (peers.outside and who.network == OUTSIDE):
        return True
    if who.endpoint in peers.endpoints or Prefixes(peers.cidrs).hold(who.address):
        return True
    return any(_holds(groups[name], who) for name in peers.groups)


def _holds(group: ResolvedGroup, who: Participant) -> bool:
    if who.network in group.networks or who.endpoint in group.endpoints:
        return True
    return (group.outside and who.network == OUTSIDE) or any(one.hold(who.address) for one in group.cidrs)
