"""Rules as the stages see them: numbered, sorted into tables, with their peers as classes and networks. PURE.

Each tier has a table of its own, and a rule that only logs ends one: what comes after it in its tier is the next
table's. Within a table the first rule has the highest rank.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from controller.errors import pointer
from controller.pipeline.classes import Classes, Side, atoms_of
from controller.policy.firewall import Action, Peers, Rule
from controller.policy.model import Policy
from controller.policy.peers import ResolvedGroup

RULE_TABLES = 8
"""How many tiers and rules that only log there may be together."""
RANKS = 60_000
"""How many rules a table can hold, and more."""


@dataclass(frozen=True, slots=True)
class RuleView:
    """A rule in its place.

    table: 0 to RULE_TABLES - 1. onward: the table of the next tier, where PASS leads, None: no tier follows.
    rank: above those of the rules that follow in the table. origin, target: None: anybody.
    """

    rule: Rule
    table: int
    onward: int | None
    rank: int
    origin: Side | None
    target: Side | None

    @property
    def pointer(self) -> str:
        return pointer("rules", self.rule.name)

    @property
    def is_void(self) -> bool:
        """Whether it can be about nobody."""
        return any(side is not None and not (side.classes or side.networks) for side in (self.origin, self.target))


def view_rules(policy: Policy, classes: Classes, groups: Mapping[str, ResolvedGroup]) -> Mapping[str, RuleView]:
    """Every rule by name. Equal rules in equal places have equal views."""
    sides: dict[Peers, Side | None] = {}

    def side(peers: Peers) -> Side | None:
        if peers not in sides:
            sides[peers] = None if peers.anybody else _side(policy, peers, classes, groups)
        return sides[peers]

    return {
        rule.name: RuleView(rule, table, onward, rank, side(rule.origin), side(rule.target))
        for rule, table, onward, rank in _place(policy)
    }


def _place(policy: Policy) -> Iterator[tuple[Rule, int, int | None, int]]:
    by_tier: dict[str, list[Rule]] = {tier: [] for tier in policy.tiers}
    for rule in policy.rules.values():
        by_tier[rule.tier].append(rule)
    firsts = [0]
    for rules in by_tier.values():
        firsts.append(firsts[-1] + 1 + sum(1 for rule in rules if rule.action is Action.LOG))
    for rules, first, following in zip(by_tier.values(), firsts[:-1], firsts[1:], strict=True):
        onward = following if following < firsts[-1] else None
        table, rank = first, RANKS
        for rule in rules:
            rank -= 1
            yield rule, table, onward, rank
            if rule.action is Action.LOG:
                table, rank = table + 1, RANKS


def _side(policy: Policy, peers: Peers, classes: Classes, groups: Mapping[str, ResolvedGroup]) -> Side:
    names, outside = set(peers.networks), peers.outside
    for name in peers.groups:
        names |= groups[name].networks
        outside = outside or groups[name].outside
    numbers = {policy.networks[name].number for name in names} | ({0} if outside else set())
    return Side(classes.with_any(atoms_of(peers)), tuple(sorted(numbers)))
