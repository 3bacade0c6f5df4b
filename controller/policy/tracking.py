"""Which networks' connections are tracked, and in which conntrack zone. PURE.

A network that no rule can be about and whose default is to allow costs nothing: its packets are not tracked. Routed
networks share one zone, the realm, for everything between unique addresses, so that a connection is one connection
wherever its packets enter; what is local to one of them (broadcast, link-local addresses) has the network's own zone.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

from controller.policy.firewall import Decision, Peers
from controller.policy.model import Policy, Vlan
from controller.policy.peers import ResolvedGroup, resolve_groups

REALM_ZONE = 65535
SNAT_ZONE = 65534
DNAT_ZONE = 65533
_FIRST_FREE = int(Vlan(4094)) + 2
_N_FREE = DNAT_ZONE - _FIRST_FREE
"""Zones are 16 bits: 1 to 4094 are the networks' vlans, those above are shared out to networks without one."""


def zone_of_networks(policy: Policy, groups: Mapping[str, ResolvedGroup] | None = None) -> Mapping[str, int]:
    """Tracked network -> its own zone. Networks that are not tracked have none. groups: of `resolve_groups`."""
    judged = _judged(policy, groups)
    tracked = [network for network in policy.networks.values() if network.routed or network.name in judged]
    zones = {network.name: int(network.vlan) for network in tracked if network.vlan is not None}
    taken: set[int] = set()
    for network in sorted((n for n in tracked if n.vlan is None), key=lambda network: network.number):
        zone = network.number % _N_FREE
        while zone in taken:
            zone = (zone + 1) % _N_FREE
        taken.add(zone)
        zones[network.name] = _FIRST_FREE + zone
    return zones


def _judged(policy: Policy, groups: Mapping[str, ResolvedGroup] | None) -> Collection[str]:
    """Isolated networks that a rule, or a default other than to allow, could be about; others may be among them."""
    if all(network.routed for network in policy.networks.values()):
        return ()
    found = _defaults_of(policy)
    if not policy.rules:
        return found
    about = _About(policy, resolve_groups(policy) if groups is None else groups)
    for rule in policy.rules.values():
        origin, target = about.networks(rule.origin), about.networks(rule.target)
        if origin is None and target is None:
            return policy.networks
        if origin is None or target is None:
            found |= origin or target or set()
        else:
            found |= origin & target
    return found


class _About:
    """In which networks peers may be, each group looked at once."""

    def __init__(self, policy: Policy, groups: Mapping[str, ResolvedGroup]) -> None:
        self._policy = policy
        self._groups = groups
        self._of_group: dict[str, frozenset[str] | None] = {}

    def networks(self, peers: Peers) -> set[str] | None:
        """Those in which one of the peers may be; None: any."""
        if peers.anybody or peers.cidrs:
            return None
        found = set(peers.networks) | self._of(peers.endpoints)
        for name in peers.groups:
            if name not in self._of_group:
                group = self._groups[name]
                self._of_group[name] = None if group.blocks else group.networks.union(self._of(group.endpoints))
            within = self._of_group[name]
            if within is None:
                return None
            found |= within
        return found

    def _of(self, endpoints: Iterable[str]) -> set[str]:
        found: set[str] = set()
        for name in endpoints:
            if self._policy.endpoints[name].mac is not None:  # who has none is known by no address either
                found.update(self._policy.endpoints[name].networks)
        return found


def _defaults_of(policy: Policy) -> set[str]:
    """Networks within which something else than to allow is the default."""
    intra = {pair.origin: pair.decision for pair in policy.defaults.pairs if pair.origin == pair.target}
    otherwise = policy.defaults.intra_network
    return {name for name in policy.networks if intra.get(name, otherwise) is not Decision.ALLOW}
