"""Rules across the objects of a policy. PURE but for what a `Checker` remembers.

A check is the sum of small pure units: one a network, one a shared member, one a set of networks that an untagged
member joins, and a few that look at names, ports and numbers only. A `Checker` keeps the inputs and the result of each
unit of its last run; a unit whose inputs are the same is not run again, so that a change costs what it touches, and
there is one way to check all the same. The words of each rule are in `rules`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from controller.errors import Problem
from controller.policy.check_firewall import (
    check_cycles,
    check_named,
    check_pairs,
    check_rules,
    names_used,
    prefixes_held,
)
from controller.policy.check_hosts import check_hosts, check_numbers
from controller.policy.check_network import Singles, check_network
from controller.policy.check_ports import survey
from controller.policy.check_rewrites import check_names, check_places, check_uplinked, places_of
from controller.policy.check_router import (
    Routed,
    check_realm,
    check_routed,
    check_segments,
    check_uplinks,
    index_cidrs,
)
from controller.policy.check_shared import Span, check_joined, check_member
from controller.policy.load_peers import Names, names_of
from controller.policy.memory import Memory
from controller.policy.model import Attach, Endpoint, Policy, members_of


def check(policy: Policy) -> tuple[Problem, ...]:
    """Every problem between the objects of a policy; () for a policy that downstream code may trust."""
    return Checker().check(policy)


class Checker:
    """Checks policies one after the other, each at the cost of its difference from the one before."""

    def __init__(self) -> None:
        self.memory = Memory()
        self._given: Mapping[str, Endpoint] = {}
        self._kept: Mapping[str, Endpoint] = {}

    def check(self, policy: Policy, known: Names | None = None) -> tuple[Problem, ...]:
        """As the function `check`. known: for a policy from which objects with problems of their own are missing."""
        self.memory.begin()
        policy = replace(policy, endpoints=self._but_for_labels(policy.endpoints))
        names = known or names_of(policy)
        parts = (policy.endpoints, policy.networks, policy.hosts, policy.uplinks, policy.defaults)
        named = Names(networks=names.networks, hosts=names.hosts)
        surveyed = self.memory.recall(("survey",), lambda _, known: survey(policy, known), parts, named)
        problems = [*check_numbers(policy.networks.values()), *check_hosts(policy, names.networks), *surveyed.problems]
        members = self.memory.recall(("members",), members_of, policy.networks, policy.endpoints)
        singles: dict[str, Singles] = {}
        for name, network in policy.networks.items():
            found, singles[name] = self.memory.recall(("network", name), check_network, network, members[name])
            problems += found
        self._check_shared(policy, surveyed.shared, singles, problems)
        self._check_router(policy, members, problems)
        problems += check_uplinks(policy, names, surveyed.on_uplink)
        self._check_outside(policy, names, problems)
        held = self.memory.recall(("prefixes",), prefixes_held, policy.rules, policy.groups)
        problems += check_rules(policy, names, held)
        groups = tuple(policy.groups.values())
        if policy.rules or groups:
            used = self.memory.recall(("used",), names_used, tuple(policy.rules.values()), groups)
            problems += check_named(policy, names, used)
            problems += self.memory.recall(("groups",), check_cycles, groups, None)
        problems += check_pairs(policy, names)
        self.memory.end()
        return tuple(dict.fromkeys(problems))

    def _but_for_labels(self, endpoints: Mapping[str, Endpoint]) -> Mapping[str, Endpoint]:
        """Endpoints that differ in nothing but labels, about which nothing is checked, are the ones before."""
        given, kept = self._given, self._kept
        changed = [endpoint for name, endpoint in endpoints.items() if given.get(name) is not endpoint]
        alike = {
            e.name: kept[e.name] for e in changed if e.name in kept and replace(kept[e.name], labels=e.labels) == e
        }
        self._given = endpoints
        if len(alike) < len(changed) or list(endpoints) != list(given):
            same = {name: kept[name] for name, endpoint in endpoints.items() if given.get(name) is endpoint}
            self._kept = {**endpoints, **same, **alike}
        return self._kept

    def _check_shared(
        self, policy: Policy, shared: list[Endpoint], singles: dict[str, Singles], problems: list[Problem]
    ) -> None:
        spans: dict[str, list[Span]] = {name: [] for name in policy.networks}
        joined: dict[tuple[str, ...], list[str]] = {}
        for endpoint in shared:
            networks = tuple(policy.networks[name] for name in endpoint.networks if name in policy.networks)
            found, span = self.memory.recall(("shared", endpoint.name), check_member, endpoint, networks)
            problems += found
            for network in networks:
                spans[network.name].append(span)
            if endpoint.attach is Attach.UNTAGGED:
                joined.setdefault(tuple(sorted(network.name for network in networks)), []).append(endpoint.name)
        for names, sharers in joined.items():
            parts = tuple((name, singles[name], tuple(spans[name])) for name in names)
            problems += self.memory.recall(("joined", *names), check_joined, tuple(sharers), parts)

    def _check_router(
        self, policy: Policy, members: Mapping[str, tuple[Endpoint, ...]], problems: list[Problem]
    ) -> None:
        realm: list[Routed] = []
        for name, network in policy.networks.items():
            if network.routed:
                found, routed = self.memory.recall(("routed", name), check_routed, network, members[name])
                problems += found
                realm.append(routed)
        if realm:
            problems += self.memory.recall(("realm",), check_realm, tuple(realm), None)

    def _check_outside(self, policy: Policy, names: Names, problems: list[Problem]) -> None:
        if policy.rewrites:
            problems += check_names(policy, names)
            problems += check_uplinked(policy)
        if policy.uplinks:
            uplinks = tuple(policy.uplinks.values())
            inside = self.memory.recall(("cidrs",), index_cidrs, tuple(policy.networks.values()), None)
            problems += self.memory.recall(("segments",), check_segments, uplinks, inside)
            problems += self.memory.recall(("rewrites",), check_places, places_of(policy), (uplinks, inside))
