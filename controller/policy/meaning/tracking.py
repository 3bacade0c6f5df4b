"""Which networks have their connections looked at. PURE."""

from __future__ import annotations

from controller.policy.firewall import Decision, Group, Peers
from controller.policy.meaning.grouping import with_holders
from controller.policy.model import Endpoint, Network, Policy


def tracked_networks(policy: Policy) -> frozenset[str]:
    """All with a router; an isolated one where something may be held back, or a rule could be about its members.

    In the others every connection is allowed, and nobody asks which one a packet belongs to.
    """
    return frozenset(name for name, network in policy.networks.items() if network.routed or _asks(policy, network))


def _asks(policy: Policy, network: Network) -> bool:
    pairs = {(pair.origin, pair.target): pair.decision for pair in policy.defaults.pairs}
    if pairs.get((network.name, network.name), policy.defaults.intra_network) is not Decision.ALLOW:
        return True
    # Those that are known by their addresses.
    declared = [member for member in policy.members[network.name] if member.mac is not None]
    groups = with_holders(policy, (name for name, group in policy.groups.items() if _says(group, network, declared)))

    def can_be_here(peers: Peers) -> bool:
        return peers.anybody or _names_one(peers, network, declared) or not groups.isdisjoint(peers.groups)

    return any(can_be_here(rule.origin) and can_be_here(rule.target) for rule in policy.rules.values())


def _says(group: Group, network: Network, declared: list[Endpoint]) -> bool:
    """Whether a group means somebody in the network, apart from the groups in it."""
    selected = bool(group.selector) and any(_has(member, group.selector) for member in declared)
    return selected or _names_one(group.members, network, declared)


def _names_one(peers: Peers, network: Network, declared: list[Endpoint]) -> bool:
    """Whether somebody in the network may be meant. Whoever has a certain address may be anywhere."""
    return (
        bool(peers.cidrs)
        or network.name in peers.networks
        or any(member.name in peers.endpoints for member in declared)
    )


def _has(endpoint: Endpoint, selector: tuple[tuple[str, str], ...]) -> bool:
    return set(selector) <= set(endpoint.labels)
