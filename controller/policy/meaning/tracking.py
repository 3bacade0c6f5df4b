"""Which networks have their connections looked at. PURE."""

from __future__ import annotations

from controller.policy.firewall import Decision, Peers
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
    return any(
        _can_be_in(policy, rule.origin, network) and _can_be_in(policy, rule.target, network)
        for rule in policy.rules.values()
    )


def _can_be_in(policy: Policy, peers: Peers, network: Network) -> bool:
    """Whether somebody in the network may be meant. Whoever has a certain address may be anywhere."""
    return peers.anybody or _names_one_in(policy, peers, network)


def _names_one_in(policy: Policy, peers: Peers, network: Network) -> bool:
    return (
        bool(peers.cidrs)
        or network.name in peers.networks
        or any(member.name in peers.endpoints for member in _declared(policy, network))
        or any(_group_names_one_in(policy, name, network) for name in peers.groups)
    )


def _group_names_one_in(policy: Policy, name: str, network: Network) -> bool:
    group = policy.groups[name]
    selected = bool(group.selector) and any(_has(member, group.selector) for member in _declared(policy, network))
    return selected or _names_one_in(policy, group.members, network)


def _declared(policy: Policy, network: Network) -> list[Endpoint]:
    """The members that are known by their addresses."""
    return [member for member in policy.members[network.name] if member.mac is not None]


def _has(endpoint: Endpoint, selector: tuple[tuple[str, str], ...]) -> bool:
    return set(selector) <= set(endpoint.labels)
