"""Rules as the stages see them: numbered, sorted into tables, with their peers as classes and networks. PURE.

Each tier has a table of its own, and a rule that only logs ends one: what comes after it in its tier is the next
table's. Within a table, and a tier, the first rule has the highest rank.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from controller.errors import pointer
from controller.flow.flow import Flow
from controller.pipeline.classes import NO_CLASSES, Classes, Side, atoms_of
from controller.pipeline.ranks import Ranks, rank_tiers
from controller.policy.firewall import Action, Peers, Rule
from controller.policy.model import Network, Policy
from controller.policy.peers import ResolvedGroup

RULE_TABLES = 8
"""How many tiers and rules that only log there may be together."""


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


@dataclass(frozen=True, slots=True)
class ClassFlows:
    """A flow for each class of origins or targets.

    frame: what they are made of besides: where it is the same, they differ in nothing but which classes there are.
    version: of these very flows; since: of those that they were made from, by what has come and gone.
    """

    frame: tuple[object, ...]
    classes: frozenset[int]
    flows: Mapping[int, Flow]
    version: object = field(default_factory=object, compare=False)
    since: object = field(default=None, compare=False)
    come: frozenset[int] = field(default=frozenset(), compare=False)
    gone: frozenset[int] = field(default=frozenset(), compare=False)


@dataclass(frozen=True, slots=True)
class RuleFlows:
    """What a rule is compiled to: flows for its classes, and the rest.

    made_of: of what the rest was made. rule, services: the rule, and what its stage made of its service.
    """

    rest: tuple[Flow, ...] = ()
    by_class: tuple[ClassFlows, ...] = ()
    made_of: tuple[object, ...] = field(default=(), compare=False)
    rule: Rule | None = field(default=None, compare=False)
    services: tuple[object, ...] = field(default=(), compare=False)


NO_FLOWS = RuleFlows()


@dataclass(frozen=True)
class RuleViews:
    """Every rule by name; equal rules in equal places have equal views. Besides, what tells who their sides are, and
    ranks for the next views to keep.
    """

    by_name: Mapping[str, RuleView] = field(default_factory=dict)
    networks: Mapping[str, Network] = field(default_factory=dict, compare=False)
    classes: Classes = field(default=NO_CLASSES, compare=False)
    groups: Mapping[str, ResolvedGroup] = field(default_factory=dict, compare=False)
    ranks: Ranks = field(default_factory=dict, compare=False)


NO_VIEWS = RuleViews()


def view_rules(
    policy: Policy, classes: Classes, groups: Mapping[str, ResolvedGroup], before: RuleViews = NO_VIEWS
) -> RuleViews:
    """before: earlier ones; equal ones are kept, and so are ranks."""
    ranks = rank_tiers(policy, before.ranks)
    same_networks = policy.networks == before.networks
    others = {name for name, group in groups.items() if before.groups.get(name) is not group}
    others |= classes.differing(before.classes)
    sides: dict[Peers, Side | None] = {}

    def side(peers: Peers) -> Side | None:
        if peers not in sides:
            sides[peers] = None if peers.anybody else _side(policy, peers, classes, groups)
        return sides[peers]

    def same(peers: Peers) -> bool:
        return (
            others.isdisjoint(peers.groups)
            and others.isdisjoint(peers.endpoints)
            and (not peers.cidrs or others.isdisjoint(map(str, peers.cidrs)))
        )

    found: dict[str, RuleView] = {}
    for rule, table, onward, rank in _place(policy, ranks):
        known = before.by_name.get(rule.name)
        if known is not None and same_networks and known.rule is rule:
            origin = known.origin if same(rule.origin) else side(rule.origin)
            target = known.target if same(rule.target) else side(rule.target)
            stays = origin is known.origin and target is known.target
            if stays and (known.table, known.onward, known.rank) == (table, onward, rank):
                found[rule.name] = known
                continue
        else:
            origin, target = side(rule.origin), side(rule.target)
        view = RuleView(rule, table, onward, rank, origin, target)
        found[rule.name] = known if known == view else view
    return RuleViews(found, policy.networks, classes, groups, ranks)


def _place(policy: Policy, ranks: Ranks) -> Iterator[tuple[Rule, int, int | None, int]]:
    by_tier: dict[str, list[list[Rule]]] = {tier: [[]] for tier in policy.tiers}
    for rule in policy.rules.values():
        tables = by_tier[rule.tier]
        tables[-1].append(rule)
        if rule.action is Action.LOG:
            tables.append([])
    n_tables, table = sum(map(len, by_tier.values())), 0
    for tier, tables in by_tier.items():
        following = table + len(tables)
        onward = following if following < n_tables else None
        for rules in tables:
            for rule in rules:
                yield rule, table, onward, ranks[tier][rule.name]
            table += 1


def _side(policy: Policy, peers: Peers, classes: Classes, groups: Mapping[str, ResolvedGroup]) -> Side:
    names, outside = set(peers.networks), peers.outside
    for name in peers.groups:
        names |= groups[name].networks
        outside = outside or groups[name].outside
    numbers = {policy.networks[name].number for name in names} | ({0} if outside else set())
    return Side(classes.with_any(atoms_of(peers)), tuple(sorted(numbers)))
