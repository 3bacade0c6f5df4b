"""What is odd about a policy, though nothing in it is wrong: warnings, which refuse nothing. PURE but for memory.

Groups and rules that are about nobody, rules that can never match, rules that allow what no way leads to, and rewrites
that cannot do all that others of their kind do. As with `check`, an `Adviser` keeps what it found of parts whose inputs
are the same. Paths have rules by name; `document.as_written` makes them paths of a document.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TypeVar, cast

from controller.errors import Problem
from controller.policy import rules
from controller.policy.cover import PeerCovers, service_covers
from controller.policy.firewall import Action, Peers, Rule
from controller.policy.model import OUTSIDE, Endpoint, Members, Network, Policy
from controller.policy.peers import NO_GROUPS, Groups, ResolvedGroup, resolve_again
from controller.policy.rewrites import OneToOne

A = TypeVar("A")
B = TypeVar("B")
R = TypeVar("R")

COMPARISONS = 400_000
"""How many services and ranges of ports, in one tier, are compared with those of other rules; the rest is not looked
at."""


def advise(policy: Policy) -> tuple[Problem, ...]:
    """Every warning about a policy that `check` finds nothing in."""
    return Adviser().advise(policy)


@dataclass(frozen=True, slots=True)
class _Around:
    """What the names in rules mean. endpoints: those that rules and groups name, and those that networks share."""

    groups: Mapping[str, ResolvedGroup]
    endpoints: tuple[Endpoint, ...]
    networks: tuple[Network, ...]
    deserted: frozenset[str]
    """Declared networks without a member."""


class Adviser:
    """Advises on policies one after the other, each at the cost of its difference from the one before."""

    def __init__(self) -> None:
        self._before: dict[tuple[str, ...], tuple[object, object]] = {}
        self._now: dict[tuple[str, ...], tuple[object, object]] = {}
        self._groups = NO_GROUPS

    def advise(self, policy: Policy, groups: Groups = NO_GROUPS) -> tuple[Problem, ...]:
        """As the function `advise`. groups: what they mean, where somebody has resolved them already."""
        stateless = _look_at_rewrites(policy)
        if not policy.rules and not policy.groups:
            return tuple(stateless)
        self._now = {}
        self._groups = resolve_again(policy, groups if groups.means else self._groups)
        means = self._groups.means
        problems = [
            rules.GROUP_EMPTY.problem(("groups", name), group=name) for name, group in means.items() if group.empty
        ]
        around = self._around(policy, means)
        tiers: dict[str, list[Rule]] = {name: [] for name in policy.tiers}
        for rule in policy.rules.values():
            tiers[rule.tier].append(rule)
        for name, within in tiers.items():
            problems += self._unit(("tier", name), _look_at_tier, tuple(within), around)
        self._before = self._now
        return (*problems, *stateless)

    def _around(self, policy: Policy, groups: Mapping[str, ResolvedGroup]) -> _Around:
        named: set[str] = set()
        for group in groups.values():
            named |= group.endpoints
        for rule in policy.rules.values():
            named.update(rule.origin.endpoints, rule.target.endpoints)
        peopled: set[str] = set()
        for endpoint in policy.endpoints.values():
            if len(endpoint.networks) > 1:
                named.add(endpoint.name)
                peopled.update(endpoint.networks)
            else:
                peopled.add(endpoint.networks[0])
        networks = policy.networks.values()
        deserted = frozenset(n.name for n in networks if n.members is Members.DECLARED and n.name not in peopled)
        endpoints = tuple(policy.endpoints[name] for name in policy.endpoints.keys() & named)
        around = _Around(groups, tuple(sorted(endpoints, key=lambda each: each.name)), tuple(networks), deserted)
        last = self._before.get(("around",), (None, None))[1]
        if last == around:
            around = last
        self._now["around",] = ((), around)
        return around

    def _unit(self, key: tuple[str, ...], run: Callable[[A, B], R], one: A, two: B) -> R:
        """run(one, two), or what that returned last time, where both are the same."""
        last = self._before.get(key)
        inputs = (one, two)
        if last is None or last[0] != inputs:
            last = (inputs, run(one, two))
        self._now[key] = last
        return cast(R, last[1])


def _look_at_rewrites(policy: Policy) -> Iterator[Problem]:
    for rewrite in policy.rewrites.values():
        if isinstance(rewrite, OneToOne) and rewrite.stateless:
            at = ("rewrites", rewrite.name, "stateless")
            yield rules.STATELESS.problem(at, rewrite=rewrite.name, endpoint=rewrite.target.endpoint)


# -- unit: the rules of a tier


def _look_at_tier(within: tuple[Rule, ...], around: _Around) -> list[Problem]:
    endpoints = {endpoint.name: endpoint for endpoint in around.endpoints}
    networks = {network.name: network for network in around.networks}
    covers = PeerCovers((side for rule in within for side in (rule.origin, rule.target)), around.groups, endpoints)
    places = _Places(covers, endpoints)
    problems: list[Problem] = []
    hopeless: set[str] = set()
    for rule in within:
        for key, peers in (("from", rule.origin), ("to", rule.target)):
            if not peers.anybody and _nobody(covers.united(peers), around.deserted):
                problems.append(rules.SELECTS_NOBODY.problem(("rules", rule.name, key), rule=rule.name))
                hopeless.add(rule.name)
        if rule.action is Action.ALLOW and rule.name not in hopeless:
            problems += _look_for_a_way(rule, places, networks)
    problems += _look_for_shadows([rule for rule in within if rule.name not in hopeless], covers)
    return problems


def _nobody(peers: ResolvedGroup, deserted: frozenset[str]) -> bool:
    return not (peers.endpoints or peers.outside or peers.blocks or peers.networks - deserted)


def _look_for_shadows(within: list[Rule], covers: PeerCovers) -> Iterator[Problem]:
    """Rules of which all that they are about is decided by one before them."""
    place = {rule.name: index for index, rule in enumerate(within)}
    before: dict[int, dict[int, list[Rule]]] = {}
    left = COMPARISONS
    for rule in within:
        shadow: Rule | None = None
        cost = 1 + len(rule.service.ports) + len(rule.service.source_ports)
        targets = covers.coverers(rule.target)
        for origin in covers.coverers(rule.origin) & before.keys():
            for target in before[origin].keys() & targets:
                for earlier in before[origin][target]:
                    left -= cost
                    if service_covers(earlier.service, rule.service):
                        shadow = earlier if shadow is None or place[earlier.name] < place[shadow.name] else shadow
                        break
        if shadow is not None:
            yield rules.SHADOWED.problem(
                ("rules", rule.name), rule=rule.name, other=shadow.name, action=rules.Words(shadow.action.value)
            )
        elif rule.action is not Action.LOG:
            by_target = before.setdefault(covers.number(rule.origin), {})
            by_target.setdefault(covers.number(rule.target), []).append(rule)
        if left < 0:
            return


def _look_for_a_way(rule: Rule, places: _Places, networks: Mapping[str, Network]) -> Iterator[Problem]:
    """That what a rule allows can pass somewhere: within a network, or by a router between two, or to the outside."""
    if places.unknown(rule.origin) or places.unknown(rule.target):
        return

    def leads(one: str, other: str) -> bool:
        if OUTSIDE in (one, other):
            inner = networks.get(other if one == OUTSIDE else one)
            return inner is not None and inner.routed and inner.uplink is not None
        return one == other or (networks[one].routed and networks[other].routed)

    if leads(places.first(rule.origin), places.first(rule.target)):
        return  # as nearly always where networks have a router
    origins, targets = places.of(rule.origin), places.of(rule.target)
    if any(leads(one, other) for one in origins for other in targets):
        return
    one, other = min(origins), min(targets)
    both = [e.name for e in places.endpoints.values() if one in e.networks and other in e.networks]
    hint = f"endpoint {both[0]!r} is in both, and passes nothing on" if both else ""
    yield rules.NO_WAY.problem(
        ("rules", rule.name),
        hint,
        rule=rule.name,
        origin=rules.Words(_place(one, networks)),
        target=rules.Words(_place(other, networks)),
    )


class _Places:
    """The networks that peers can be in, each looked for once."""

    def __init__(self, covers: PeerCovers, endpoints: Mapping[str, Endpoint]) -> None:
        self.endpoints = endpoints
        self._covers = covers
        self._found: dict[int, set[str]] = {}

    def unknown(self, peers: Peers) -> bool:
        """Whether only packets tell."""
        return peers.anybody or bool(self._covers.united(peers).blocks)

    def first(self, peers: Peers) -> str:
        """One of them."""
        return next(self._each(peers))

    def of(self, peers: Peers) -> set[str]:
        """Networks, and OUTSIDE."""
        number = self._covers.number(peers)
        if number not in self._found:
            self._found[number] = set(self._each(peers))
        return self._found[number]

    def _each(self, peers: Peers) -> Iterator[str]:
        united = self._covers.united(peers)
        yield from united.networks
        if united.outside:
            yield OUTSIDE
        for name in united.endpoints:
            yield from self.endpoints[name].networks


def _place(name: str, networks: Mapping[str, Network]) -> str:
    if name == OUTSIDE:
        return OUTSIDE
    return f"{networks[name].mode.value} network {name!r}"
