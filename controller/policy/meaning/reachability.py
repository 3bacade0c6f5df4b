"""Who reaches whom, without a packet. PURE.

A reaches B where A can open at least one connection to B. It is said on the safe side: where rules let a part pass, it
passes, though an earlier rule may hold that very part back. A network without rules lets all of its members reach each
other. Where they meet is a network's name, or for connections through the router "lan->dmz": from whose, to whose.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address

from controller.flow.packet import ICMP, ICMPV6
from controller.policy.firewall import Action, Decision, Peers, Rule, Service
from controller.policy.meaning.grouping import with_holders
from controller.policy.meaning.here import addresses
from controller.policy.meaning.rules import Party, default, groups_of, is_among, is_link_local
from controller.policy.meaning.tracking import tracked_networks
from controller.policy.model import Endpoint, Network, Policy

_WHOLE = Service()


def reachable(policy: Policy, source: str, target: str) -> tuple[str, ...]:
    """Where one endpoint reaches another: networks that both are in, in the order of the first one's, and then through
    the router; none with itself.
    """
    return _Reach(policy).places(policy.endpoints[source], policy.endpoints[target])


def pairs(policy: Policy) -> Iterator[tuple[str, str, str]]:
    """(source, target, where) of everyone of whom one reaches the other, source < target; by place, then by name.

    In a network it is said once for both directions; through the router "lan->dmz" is one, and "dmz->lan" another.
    """
    return pairs_of(policy, frozenset(policy.endpoints))


def pairs_of(policy: Policy, names: frozenset[str]) -> Iterator[tuple[str, str, str]]:
    """Those of `pairs` in which one of the names occurs; names that are no endpoints are passed over."""
    reach = _Reach(policy)
    touched = {network for name in names if name in policy.endpoints for network in policy.endpoints[name].networks}
    for name, network in policy.networks.items():
        if name in touched:
            for source, target in _two_of(policy.members[name], names):
                if reach.within(network, source, target) or reach.within(network, target, source):
                    yield source.name, target.name, name
    routed = [network for network in policy.networks.values() if network.routed]
    for one, other in ((one, other) for one in routed for other in routed if one is not other):
        if {one.name, other.name} & touched and reach.is_crossed(one, other):
            found = {
                (min(source.name, target.name), max(source.name, target.name))
                for source in policy.members[one.name]
                for target in policy.members[other.name]
                if (source.name in names or target.name in names) and reach.across(one, other, source, target)
            }
            yield from ((source, target, _crossing(one, other)) for source, target in sorted(found))


def _two_of(members: tuple[Endpoint, ...], names: frozenset[str]) -> Iterator[tuple[Endpoint, Endpoint]]:
    """Every two members of which one is named, by name."""
    ordered = sorted(members, key=lambda member: member.name)
    named = [member for member in ordered if member.name in names]
    for at, source in enumerate(ordered):
        if source.name in names:
            yield from ((source, target) for target in ordered[at + 1 :])
        else:
            yield from ((source, target) for target in named if target.name > source.name)


@dataclass(frozen=True, slots=True)
class Row:
    """source and, by name, every other endpoint of its networks and of those the router joins to them, with the places
    in which it reaches that one.
    """

    source: str
    reaches: tuple[tuple[str, tuple[str, ...]], ...]


def matrix(policy: Policy, names: tuple[str, ...]) -> Iterator[Row]:
    """One row for each of these endpoints, in their order; targets are limited to them too."""
    reach = _Reach(policy)
    wanted = frozenset(names)
    routed = [name for name, network in policy.networks.items() if network.routed]
    for source in names:
        endpoint = policy.endpoints[source]
        near = {*endpoint.networks, *(routed if set(routed) & set(endpoint.networks) else ())}
        targets = {m.name for network in near for m in policy.members[network] if m.name in wanted} - {source}
        found = ((target, reach.places(endpoint, policy.endpoints[target])) for target in sorted(targets))
        yield Row(source, tuple(found))


def _crossing(one: Network, other: Network) -> str:
    return f"{one.name}->{other.name}"


class _Reach:
    """The answers for one policy. Parties that the same rules are about are asked for once."""

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self._tracked = tracked_networks(policy)
        addressed = (name for name, group in policy.groups.items() if group.members.cidrs)
        self._by_address = with_holders(policy, addressed)
        self._kinds: dict[tuple[Party, bool], _Kind] = {}
        self._opens: dict[tuple[_Kind, _Kind], bool] = {}

    def places(self, source: Endpoint, target: Endpoint) -> tuple[str, ...]:
        networks = self._policy.networks
        if source.name == target.name:
            return ()
        common = [networks[name] for name in source.networks if name in target.networks]
        within = [network.name for network in common if self.within(network, source, target)]
        ways = [(networks[a], networks[b]) for a in source.networks for b in target.networks if a != b]
        return (*within, *(_crossing(a, b) for a, b in ways if self.across(a, b, source, target)))

    def within(self, network: Network, source: Endpoint, target: Endpoint) -> bool:
        """Whether source opens anything to target in a network that both are in."""
        if network.name not in self._tracked:
            return True
        return self._any_opens(_parties(source, network), _parties(target, network))

    def across(self, one: Network, other: Network, source: Endpoint, target: Endpoint) -> bool:
        """Whether source, in one network, opens anything to target, in another, through the router."""
        if source.name == target.name or not self.is_crossed(one, other):
            return False
        origins, targets = _parties(source, one), _parties(target, other)
        return self._any_opens([p for p in origins if _is_routed(p)], [p for p in targets if _is_routed(p)])

    def is_crossed(self, one: Network, other: Network) -> bool:
        """Whether anything can pass from one network to another at all."""
        is_open = default(self._policy, None, Party(one.name), Party(other.name)) is Decision.ALLOW
        return one.routed and other.routed and (is_open or bool(self._policy.rules))

    def _any_opens(self, origins: list[Party], targets: list[Party]) -> bool:
        return any(self._asked(o, t) for o in origins for t in targets if _could_meet(o, t))

    def _asked(self, origin: Party, target: Party) -> bool:
        key = self._kind(origin, is_origin=True), self._kind(target, is_origin=False)
        if key not in self._opens:
            self._opens[key] = self._decide(*key)
        return self._opens[key]

    def _kind(self, who: Party, *, is_origin: bool) -> _Kind:
        if (who, is_origin) not in self._kinds:
            seen: dict[Peers, bool | None] = {}
            groups = groups_of(self._policy, who)
            rules = []
            for rule in self._policy.rules.values():
                peers = rule.origin if is_origin else rule.target
                if peers not in seen:
                    seen[peers] = self._selects(peers, who, groups)
                if seen[peers] is not False:
                    rules.append((rule.name, bool(seen[peers])))
            version = who.address.version if who.address is not None else 0
            self._kinds[who, is_origin] = _Kind(who.network or "", version, tuple(rules))
        return self._kinds[who, is_origin]

    def _selects(self, peers: Peers, who: Party, groups: frozenset[str]) -> bool | None:
        """Whether a side in these groups is meant; None: it depends on the address, which is not known."""
        if is_among(peers, who, groups):
            return True
        names_addresses = bool(peers.cidrs) or not self._by_address.isdisjoint(peers.groups)
        return None if who.address is None and names_addresses else False

    def _decide(self, origin: _Kind, target: _Kind) -> bool:
        """Whether anything may be opened, by the first rules that decide."""
        from_it, to_it = dict(origin.rules), dict(target.rules)
        about = [(self._policy.rules[name], from_it[name] and to_it[name]) for name in from_it if name in to_it]
        about = [(rule, sure) for rule, sure in about if _occurs(rule, origin.version or target.version)]
        for tier in self._policy.tiers:
            is_passed = False
            for rule, sure in about:
                if rule.tier != tier or rule.action is Action.LOG:
                    continue
                if rule.action is Action.ALLOW:
                    return True
                is_whole = sure and rule.service == _WHOLE
                if rule.action is Action.PASS:
                    is_passed = True
                elif is_whole and not is_passed:
                    return False
                if is_whole:
                    break
        return default(self._policy, None, Party(origin.network), Party(target.network)) is Decision.ALLOW


@dataclass(frozen=True, slots=True)
class _Kind:
    """What is the same for parties that the same rules are about. version: 0: not known.

    rules: their names, each with whether it is certainly about them.
    """

    network: str
    version: int
    rules: tuple[tuple[str, bool], ...]


def _parties(endpoint: Endpoint, network: Network) -> list[Party]:
    """An endpoint as rules know it, by each of its addresses; without any it is somebody in the network."""
    known = [
        (IPv4Address if v == 4 else IPv6Address)(ip) for v in (4, 6) for ip in sorted(addresses(endpoint, network, v))
    ]
    return [Party(network.name, endpoint, ip) for ip in known] or [Party(network.name)]


def _is_routed(who: Party) -> bool:
    return who.address is not None and not is_link_local(who.address)


def _could_meet(one: Party, other: Party) -> bool:
    return one.address is None or other.address is None or one.address.version == other.address.version


def _occurs(rule: Rule, version: int) -> bool:
    """Whether a rule's protocol is one of the IP version's (0: of any)."""
    return (version, rule.service.protocol) not in ((4, ICMPV6), (6, ICMP))
