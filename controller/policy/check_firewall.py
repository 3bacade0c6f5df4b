"""Rules, groups and pairs of networks: what they name, how many they are, and that groups have an end. PURE."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from controller.errors import Problem
from controller.policy import rules
from controller.policy.findings import Nearest
from controller.policy.firewall import Action, Group, Peers, Rule
from controller.policy.load_peers import Names
from controller.policy.model import OUTSIDE, Network, Policy

TABLES_MAX = 8
"""Tables that rules may take: one a tier, and one more for each rule that only logs."""
RULES_MAX = 5000
PREFIXES_MAX = 20_000
"""Prefixes that rules and groups may name; what is in a group of a group counts in each."""


def check_rules(policy: Policy, known: Names, held: int) -> Iterator[Problem]:
    """Names of tiers; numbers of rules, tables and prefixes. held: of `prefixes_held`."""
    nearest = Nearest()
    if len(policy.rules) > RULES_MAX:
        yield rules.MANY_RULES.problem(("rules",), count=len(policy.rules), most=RULES_MAX)
    logs = sum(1 for rule in policy.rules.values() if rule.action is Action.LOG)
    if len(policy.tiers) + logs > TABLES_MAX:
        where = "rules" if logs else "tiers"
        yield rules.MANY_TABLES.problem((where,), tiers=len(policy.tiers), logs=logs, most=TABLES_MAX)
    if held > PREFIXES_MAX:
        yield rules.MANY_PREFIXES.problem(("groups" if policy.groups else "rules",), count=held, most=PREFIXES_MAX)
    for rule in policy.rules.values():
        if rule.tier not in known.tiers:
            hint = nearest.hint("tier", rule.tier, known.tiers)
            yield rules.UNKNOWN_TIER.problem(
                ("rules", rule.name, "tier"), hint, tier=rule.tier, tiers=tuple(known.tiers)
            )


def prefixes_held(by_name: Mapping[str, Rule], groups: Mapping[str, Group]) -> int:
    """Unit: how many prefixes rules and groups name, with those that groups hold by way of other groups."""
    own = {group.name: len(group.members.cidrs) + len(group.excluded) for group in groups.values()}
    named = sum(own.values())
    held: dict[str, int] = {}
    for start in groups:
        waiting, opened = [start], {start}
        while waiting:
            name = waiting[-1]
            inner = [one for one in groups[name].members.groups if one in groups]
            missing = [one for one in inner if one not in held and one not in opened]
            if name not in held and missing:
                waiting += missing
                opened.update(missing)
                continue
            waiting.pop()
            # A group holds no prefix twice, whichever ways lead to it; one that is in itself is told of elsewhere.
            held[name] = min(named, own[name] + sum(held.get(one, 0) for one in inner))
    sides = (len(rule.origin.cidrs) + len(rule.target.cidrs) for rule in by_name.values())
    return sum(held.values()) + sum(sides)


@dataclass(frozen=True, slots=True)
class Used:
    """The names that rules and groups use."""

    endpoints: frozenset[str]
    networks: frozenset[str]
    groups: frozenset[str]


def names_used(named: tuple[Rule, ...], groups: tuple[Group, ...]) -> Used:
    """Unit: all rules and groups."""
    peers = [side for rule in named for side in (rule.origin, rule.target)] + [group.members for group in groups]
    return Used(
        frozenset(name for each in peers for name in each.endpoints),
        frozenset(name for each in peers for name in each.networks),
        frozenset(name for each in peers for name in each.groups),
    )


def check_named(policy: Policy, known: Names, used: Used) -> Iterator[Problem]:
    """That the names in rules and groups are there.

    A document's names are told apart when it is read; this is for policies that were made in another way.
    """
    pairs = ((used.endpoints, known.endpoints), (used.networks, known.networks), (used.groups, known.groups))
    if all(name in there for names, there in pairs for name in names):
        return
    for rule in policy.rules.values():
        yield from _check_peers(rule.origin, ("rules", rule.name, "from"), known)
        yield from _check_peers(rule.target, ("rules", rule.name, "to"), known)
    for group in policy.groups.values():
        yield from _check_peers(group.members, ("groups", group.name, "members"), known)


def _check_peers(peers: Peers, at: tuple[str | int, ...], known: Names) -> Iterator[Problem]:
    for names, there in (
        (peers.endpoints, known.endpoints),
        (peers.networks, known.networks),
        (peers.groups, known.groups),
    ):
        for name in names:
            if name not in there:
                yield rules.UNKNOWN_PEER.problem(at, name=name)


def check_cycles(groups: tuple[Group, ...], _: None) -> list[Problem]:
    """Unit: all groups. No group is in itself; each cycle is told once, with its way round."""
    by_name = {group.name: group for group in groups}
    problems: list[Problem] = []
    done: set[str] = set()
    for start in by_name:
        # Not recursive: a chain of groups may be as long as the document.
        way: list[str] = []
        on_way: dict[str, int] = {}
        waiting: list[tuple[str, int]] = [(start, 0)]
        while waiting:
            name, depth = waiting.pop()
            for left in way[depth:]:
                done.add(left)
                del on_way[left]
            del way[depth:]
            if name in on_way:
                cycle = (*way[on_way[name] :], name)
                at = ("groups", way[-1], "members")
                words = rules.Words(" -> ".join(repr(each) for each in cycle))
                problems.append(rules.GROUP_CYCLE.problem(at, cycle=words))
            elif name not in done and name in by_name:
                on_way[name] = len(way)
                way.append(name)
                waiting += [(member, len(way)) for member in reversed(by_name[name].members.groups)]
        done.update(way)
    return problems


def check_pairs(policy: Policy, known: Names) -> Iterator[Problem]:
    """The pairs of the defaults: networks that are there, each pair once, and something that could pass."""
    nearest = Nearest()
    said: dict[tuple[str, str], int] = {}
    for index, pair in enumerate(policy.defaults.pairs):
        at = ("defaults", "pairs", index)
        sides = (("from", pair.origin), ("to", pair.target))
        for key, name in sides:
            if name != OUTSIDE and name not in known.networks:
                hint = nearest.hint("network", name, (*known.networks, OUTSIDE))
                yield rules.UNKNOWN_NETWORK.problem((*at, key), hint, network=name)
        first = said.setdefault((pair.origin, pair.target), index)
        if first != index:
            yield rules.PAIR_TWICE.problem(at, origin=pair.origin, target=pair.target, first=first + 1)
        elif all(name == OUTSIDE or name in policy.networks for _, name in sides):
            yield from _check_way(pair.origin, pair.target, at, policy.networks)


def _check_way(
    origin: str, target: str, at: tuple[str | int, ...], networks: Mapping[str, Network]
) -> Iterator[Problem]:
    if origin == target == OUTSIDE:
        yield rules.PAIR_OUTSIDE.problem(at)
    if origin == target:
        return
    for name in (origin, target):
        if name == OUTSIDE:
            continue
        if not networks[name].routed:
            yield rules.PAIR_ISOLATED.problem(at, origin=origin, target=target, network=name)
            return
        if OUTSIDE in (origin, target) and networks[name].uplink is None:
            yield rules.PAIR_NO_UPLINK.problem(at, origin=origin, target=target, network=name)
