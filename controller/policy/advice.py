"""What is odd about a policy, though nothing in it is wrong: warnings, which refuse nothing. PURE but for memory.

Groups and rules that are about nobody, rules that can never match, rules that allow what no way leads to, and rewrites
that cannot do all that others of their kind do. As with `check`, an `Adviser` keeps what it found of parts whose inputs
are the same. Paths have rules by name; `document.as_written` makes them paths of a document.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import chain

from controller.errors import Problem
from controller.policy import rules
from controller.policy.cover_peers import NOTHING_COVERED, Covered, find_coverers
from controller.policy.cover_services import service_covers
from controller.policy.firewall import Action, Peers, Rule
from controller.policy.memory import Memory
from controller.policy.model import OUTSIDE, Endpoint, Members, Network, Policy
from controller.policy.peers import NO_GROUPS, Groups, ResolvedGroup, resolve_again
from controller.policy.rewrites import OneToOne

COMPARISONS = 400_000
"""How many services and ranges of ports, in one tier, are compared with those of other rules; the rest is not looked
at."""


def advise(policy: Policy) -> tuple[Problem, ...]:
    """Every warning about a policy that `check` finds nothing in."""
    return Adviser().advise(policy)


@dataclass(frozen=True, slots=True)
class _Sides:
    """The peers of a tier's rules, each once; and of each rule the places of its origin and target among them."""

    peers: tuple[Peers, ...]
    of_rules: tuple[tuple[int, int], ...]


class Adviser:
    """Advises on policies one after the other, each at the cost of its difference from the one before."""

    def __init__(self) -> None:
        self.memory = Memory()
        self._groups = NO_GROUPS
        self._endpoints: Mapping[str, Endpoint] = {}
        self._covered: Mapping[str, Covered] = {}

    def advise(self, policy: Policy, groups: Groups = NO_GROUPS) -> tuple[Problem, ...]:
        """As the function `advise`. groups: what they mean, where somebody has resolved them already."""
        stateless = _look_at_rewrites(policy)
        if not policy.rules and not policy.groups:
            return tuple(stateless)
        self.memory.begin()
        self._groups = resolve_again(policy, groups if groups.means else self._groups)
        means = self._groups.means
        problems = [
            rules.GROUP_EMPTY.problem(("groups", name), group=name) for name, group in means.items() if group.empty
        ]
        everybody = (policy.endpoints, policy.networks)
        endpoints, deserted = self.memory.recall(("around",), _look_around, everybody, _names_of(policy, means))
        if not _same_places(endpoints, self._endpoints):
            self._covered = {}
        self._endpoints, covered_before, self._covered = endpoints, self._covered, {}
        tiers: dict[str, list[Rule]] = {name: [] for name in policy.tiers}
        for rule in policy.rules.values():
            tiers[rule.tier].append(rule)
        surroundings = (deserted, tuple(policy.networks.values()))
        for name, rules_of_tier in tiers.items():
            within = tuple(rules_of_tier)
            sides = self.memory.recall(("sides", name), _number_sides, within, None)
            covered = find_coverers(sides.peers, means, endpoints, covered_before.get(name, NOTHING_COVERED))
            self._covered[name] = covered
            tier = (within, sides, covered)
            found, hopeless = self.memory.recall(("tier", name), _look_at_tier, tier, surroundings)
            problems += found
            sound = (within, sides, hopeless)
            problems += self.memory.recall(("shadows", name), _look_for_shadows, sound, covered.coverers)
        self.memory.end()
        return (*problems, *stateless)


def _names_of(policy: Policy, groups: Mapping[str, ResolvedGroup]) -> frozenset[str]:
    """The endpoints that rules and groups name."""
    in_rules = ((*rule.origin.endpoints, *rule.target.endpoints) for rule in policy.rules.values())
    return frozenset(chain.from_iterable(in_rules)).union(*(group.endpoints for group in groups.values()))


def _look_around(
    everybody: tuple[Mapping[str, Endpoint], Mapping[str, Network]], named: frozenset[str]
) -> tuple[Mapping[str, Endpoint], frozenset[str]]:
    """The endpoints that are named, with those that networks share; declared networks without a member."""
    endpoints, networks = everybody
    places = {endpoint.networks for endpoint in endpoints.values()}
    peopled = {network for networks in places for network in networks}
    if any(len(networks) > 1 for networks in places):
        named |= {endpoint.name for endpoint in endpoints.values() if len(endpoint.networks) > 1}
    declared = (n.name for n in networks.values() if n.members is Members.DECLARED)
    return {name: endpoint for name, endpoint in endpoints.items() if name in named}, frozenset(
        name for name in declared if name not in peopled
    )


def _same_places(now: Mapping[str, Endpoint], before: Mapping[str, Endpoint]) -> bool:
    """Whether each endpoint that is in both has the networks and addresses that it had, and all that are shared are."""

    def place(endpoint: Endpoint) -> object:
        return (endpoint.networks, endpoint.ips, endpoint.mac)

    changed = [name for name, endpoint in now.items() if before.get(name) is not endpoint]
    changed += [name for name in before if name not in now]
    for name in changed:
        one, other = now.get(name), before.get(name)
        if one is not None and other is not None:
            if place(one) != place(other):
                return False
        elif any(each is not None and len(each.networks) > 1 for each in (one, other)):
            return False
    return True


def _look_at_rewrites(policy: Policy) -> Iterator[Problem]:
    for rewrite in policy.rewrites.values():
        if isinstance(rewrite, OneToOne) and rewrite.stateless:
            at = ("rewrites", rewrite.name, "stateless")
            yield rules.STATELESS.problem(at, rewrite=rewrite.name, endpoint=rewrite.target.endpoint)


# -- unit: the rules of a tier


def _number_sides(within: tuple[Rule, ...], _: None) -> _Sides:
    numbers: dict[Peers, int] = {}
    of_rules = tuple(
        (numbers.setdefault(rule.origin, len(numbers)), numbers.setdefault(rule.target, len(numbers)))
        for rule in within
    )
    return _Sides(tuple(numbers), of_rules)


def _look_at_tier(
    tier: tuple[tuple[Rule, ...], _Sides, Covered], surroundings: tuple[frozenset[str], tuple[Network, ...]]
) -> tuple[list[Problem], frozenset[str]]:
    """What is odd about each rule by itself; and the names of those that are about nobody."""
    within, sides, covered = tier
    deserted, networks = surroundings
    void = {
        number
        for number, (peers, united) in enumerate(zip(covered.peers, covered.united, strict=True))
        if not peers.anybody and _nobody(united, deserted)
    }
    places = _Places(covered, {network.name: network for network in networks})
    problems: list[Problem] = []
    hopeless: set[str] = set()
    for rule, ends in zip(within, sides.of_rules, strict=True):
        if not void.isdisjoint(ends):
            for key, number in zip(("from", "to"), ends, strict=True):
                if number in void:
                    problems.append(rules.SELECTS_NOBODY.problem(("rules", rule.name, key), rule=rule.name))
            hopeless.add(rule.name)
        elif rule.action is Action.ALLOW and not places.has_way(*ends):
            problems.append(_no_way(rule, ends, places))
    return problems, frozenset(hopeless)


def _nobody(peers: ResolvedGroup, deserted: frozenset[str]) -> bool:
    return not (peers.endpoints or peers.outside or peers.blocks or peers.networks - deserted)


def _look_for_shadows(
    tier: tuple[tuple[Rule, ...], _Sides, frozenset[str]], coverers: tuple[frozenset[int], ...]
) -> list[Problem]:
    """Rules of which all that they are about is decided by one before them, but for hopeless ones."""
    within, sides, hopeless = tier
    problems: list[Problem] = []
    before: dict[int, dict[int, list[tuple[int, Rule]]]] = {}
    left = COMPARISONS
    for place, (rule, (origin, target)) in enumerate(zip(within, sides.of_rules, strict=True)):
        if rule.name in hopeless:
            continue
        shadow: tuple[int, Rule] | None = None
        cost = 1 + len(rule.service.ports) + len(rule.service.source_ports)
        for wide_origin in coverers[origin] & before.keys():
            left -= 1
            for wide_target in coverers[target].intersection(before[wide_origin]):
                for earlier in before[wide_origin][wide_target]:
                    left -= cost
                    if service_covers(earlier[1].service, rule.service):
                        shadow = earlier if shadow is None or earlier[0] < shadow[0] else shadow
                        break
        if shadow is not None:
            other = shadow[1]
            problems.append(
                rules.SHADOWED.problem(
                    ("rules", rule.name), rule=rule.name, other=other.name, action=rules.Words(other.action.value)
                )
            )
        elif rule.action is not Action.LOG:
            before.setdefault(origin, {}).setdefault(target, []).append((place, rule))
        if left < 0:
            break
    return problems


def _no_way(rule: Rule, ends: tuple[int, int], places: _Places) -> Problem:
    """What a rule allows can pass nowhere: no network and no router has both of its ends."""
    one, other = (min(places.of(number)) for number in ends)
    shared = [e.name for e in places.endpoints.values() if one in e.networks and other in e.networks]
    hint = f"endpoint {min(shared)!r} is in both, and passes nothing on" if shared else ""
    return rules.NO_WAY.problem(
        ("rules", rule.name),
        hint,
        rule=rule.name,
        origin=rules.Words(_place(one, places.networks)),
        target=rules.Words(_place(other, places.networks)),
    )


class _Places:
    """The networks that peers can be in, each looked for once; peers are known by their numbers."""

    def __init__(self, covered: Covered, networks: Mapping[str, Network]) -> None:
        self.endpoints = covered.endpoints
        self.networks = networks
        self._covered = covered
        self._found: dict[int, set[str]] = {}

    def has_way(self, origin: int, target: int) -> bool:
        """Whether something can pass: within a network, by a router between two, or to the outside; or only packets
        tell.
        """
        if self._unknown(origin) or self._unknown(target):
            return True
        if self._leads(self._first(origin), self._first(target)):
            return True  # as nearly always where networks have a router
        return any(self._leads(one, other) for one in self.of(origin) for other in self.of(target))

    def of(self, number: int) -> set[str]:
        """Networks, and OUTSIDE."""
        if number not in self._found:
            self._found[number] = set(self._each(number))
        return self._found[number]

    def _leads(self, one: str, other: str) -> bool:
        if OUTSIDE in (one, other):
            inner = self.networks.get(other if one == OUTSIDE else one)
            return inner is not None and inner.routed and inner.uplink is not None
        return one == other or (self.networks[one].routed and self.networks[other].routed)

    def _unknown(self, number: int) -> bool:
        return self._covered.peers[number].anybody or bool(self._covered.united[number].blocks)

    def _first(self, number: int) -> str:
        return next(self._each(number))

    def _each(self, number: int) -> Iterator[str]:
        united = self._covered.united[number]
        yield from united.networks
        if united.outside:
            yield OUTSIDE
        for name in united.endpoints:
            yield from self.endpoints[name].networks


def _place(name: str, networks: Mapping[str, Network]) -> str:
    if name == OUTSIDE:
        return OUTSIDE
    return f"{networks[name].mode.value} network {name!r}"
