"""Which networks' connections are tracked, and in which conntrack zone. PURE.

A network that no rule can be about and whose default is to allow costs nothing: its packets are not tracked. Routed
networks share one zone, the realm, for everything between unique addresses, so that a connection is one connection
wherever its packets enter; what is local to one of them (broadcast, link-local addresses) has the network's own zone.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from controller.policy.firewall import Decision, Peers, Rule
from controller.policy.model import Network, Policy, Vlan
from controller.policy.peers import ResolvedGroup, resolve_groups

REALM_ZONE = 65535
SNAT_ZONE = 65534
DNAT_ZONE = 65533
_FIRST_FREE = int(Vlan(4094)) + 2
_N_FREE = DNAT_ZONE - _FIRST_FREE
"""Zones are 16 bits: 1 to 4094 are the networks' vlans, those above are shared out to networks without one."""


def zone_of_networks(policy: Policy) -> Mapping[str, int]:
    """Tracked network -> its own zone. Networks that are not tracked have none."""
    groups = resolve_groups(policy)
    about = _About(policy, groups)
    tracked = [network for network in policy.networks.values() if network.routed or about.is_judged(network)]
    zones = {network.name: int(network.vlan) for network in tracked if network.vlan is not None}
    taken: set[int] = set()
    for network in sorted((n for n in tracked if n.vlan is None), key=lambda network: network.number):
        zone = network.number % _N_FREE
        while zone in taken:
            zone = (zone + 1) % _N_FREE
        taken.add(zone)
        zones[network.name] = _FIRST_FREE + zone
    return zones


class _About:
    """Which isolated networks a rule, or a default other than to allow, could be about."""

    def __init__(self, policy: Policy, groups: Mapping[str, ResolvedGroup]) -> None:
        self._policy = policy
        self._groups = groups
        self._judged = _defaults_of(policy)
        self._everywhere = False
        for rule in policy.rules.values():
            self._note(rule)

    def is_judged(self, network: Network) -> bool:
        return self._everywhere or network.name in self._judged

    def _note(self, rule: Rule) -> None:
        origin, target = self._networks(rule.origin), self._networks(rule.target)
        if origin is None and target is None:
            self._everywhere = True
        elif origin is None or target is None:
            self._judged |= origin or target or set()
        else:
            self._judged |= origin & target

    def _networks(self, peers: Peers) -> set[str] | None:
        """Those in which one of the peers may be; None: any."""
        if peers.anybody or peers.cidrs:
            return None
        found = set(peers.networks) | self._of(peers.endpoints)
        for name in peers.groups:
            group = self._groups[name]
            if group.blocks:
                return None
            found |= group.networks | self._of(group.endpoints)
        return found

    def _of(self, endpoints: Iterable[str]) -> set[str]:
        """Who has no MAC of its own is known by no address either."""
        known = (self._policy.endpoints[name] for name in endpoints)
        return {network for endpoint in known if endpoint.mac is not None for network in endpoint.networks}


def _defaults_of(policy: Policy) -> set[str]:
    """Networks within which something else than to allow is the default."""
    intra = {pair.origin: pair.decision for pair in policy.defaults.pairs if pair.origin == pair.target}
    otherwise = policy.defaults.intra_network
    return {name for name in policy.networks if intra.get(name, otherwise) is not Decision.ALLOW}
