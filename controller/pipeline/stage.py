"""What a stage of the pipeline is, and the one way to make a flow in it. PURE.

A stage declares what it matches, reads, writes, where it goes and at which priorities; `Emit` refuses a flow that is
outside the declaration, so the rendered pipeline page cannot say less than the switch does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import assert_never

from controller.errors import CompileError
from controller.flow.actions import (
    Action,
    Clone,
    Conjunction,
    Ct,
    DecTtl,
    Learn,
    Load,
    Move,
    Output,
    PopVlan,
    PushVlan,
    Resubmit,
    SetField,
    ToController,
)
from controller.flow.fields import FIELDS, NW_TTL, VLAN_VID, Field, Slice, Term
from controller.flow.flow import Flow
from controller.pipeline.router_view import RealmView, UplinkView
from controller.pipeline.rule_view import RuleFlows, RuleView
from controller.pipeline.view import BridgeView, CarriedView, MemberView, NetworkView, SharedView


@dataclass(frozen=True, slots=True)
class Priority:
    """One of a stage's priorities: higher is looked at first. meaning: what flows of this priority decide.

    ranks: how many priorities from `number` on it takes, where its flows have an order among themselves: longer
    prefixes before shorter ones, rules in their order.
    """

    number: int
    meaning: str
    ranks: int = 1


MISS = "miss"
"""The name of the priority-0 flow that every stage has."""


@dataclass(frozen=True, slots=True)
class Miss:
    """What becomes of a packet that no flow of a stage is about. goto: the stage it goes on to, or None: dropped."""

    why: str
    goto: str | None = None


@dataclass(frozen=True, slots=True)
class Stage:
    """A named step of the pipeline; its table number is its place in PIPELINE.

    matches, reads, writes: every field its flows may match, copy from, and change. next: stages it may lead to.
    bridge, network, carried, member, shared, realm, rule, uplink: the flows that a view of that kind needs in this
    stage, each a pure function. learns: its flows are written by the switch itself (Learn), none is compiled.
    outputs: its flows send to ports. tracks: they ask conntrack. punts: they hand packets to the controller.
    """

    name: str
    purpose: str
    matches: frozenset[Field]
    next: tuple[str, ...]
    priorities: Mapping[str, Priority]
    miss: Miss
    reads: frozenset[Field] = frozenset()
    writes: frozenset[Field] = frozenset()
    outputs: bool = False
    learns: bool = False
    tracks: bool = False
    punts: bool = False
    bridge: Callable[[Emit, BridgeView], Iterator[Flow]] | None = None
    network: Callable[[Emit, NetworkView], Iterator[Flow]] | None = None
    carried: Callable[[Emit, CarriedView], Iterator[Flow]] | None = None
    member: Callable[[Emit, MemberView], Iterator[Flow]] | None = None
    shared: Callable[[Emit, SharedView], Iterator[Flow]] | None = None
    realm: Callable[[Emit, RealmView], Iterator[Flow]] | None = None
    rule: Callable[[Emit, RuleView, RuleFlows], RuleFlows] | None = None
    uplink: Callable[[Emit, UplinkView], Iterator[Flow]] | None = None


def _merge(terms: tuple[Term, ...]) -> tuple[Term, ...]:
    """One condition a field: slices of one register that are apart make one."""
    if len(terms) < 2 or len({index for index, _, _ in terms}) == len(terms):
        return terms
    found: dict[int, Term] = {}
    for index, value, mask in terms:
        _, other_value, other_mask = found.get(index, (index, 0, 0))
        if (value ^ other_value) & mask & other_mask:
            raise CompileError(f"a flow cannot match two values of {FIELDS[index].name}")
        found[index] = (index, value | other_value, mask | other_mask)
    return tuple(found.values())


class Emit:
    """Makes the flows of one stage, with its numbers filled in and its declaration enforced.

    Calling it raises CompileError for a flow that the stage has not declared.
    """

    def __init__(self, stage: Stage, tables: Mapping[str, int]) -> None:
        self._stage = stage
        self._table = tables[stage.name]
        self._tables = {name: tables[name] for name in stage.next}
        self._priorities = stage.priorities
        self._matches = frozenset(field.index for field in stage.matches)

    def __call__(
        self,
        priority: str,
        match: Iterable[Term],
        actions: tuple[Action, ...] = (),
        *,
        goto: str | None = None,
        rank: int = 0,
        origin: str,
        why: str,
    ) -> Flow:
        """A flow of this stage. priority, goto: names from the declaration. No actions and no goto: drop.

        rank: among the flows of this priority; the higher is looked at first.
        """
        return next(self.each(priority, (match,), actions, goto=goto, rank=rank, origin=origin, why=why))

    def each(
        self,
        priority: str,
        matches: Iterable[Iterable[Term]],
        actions: tuple[Action, ...] = (),
        *,
        goto: str | None = None,
        rank: int = 0,
        origin: str,
        why: str,
    ) -> Iterator[Flow]:
        """Flows that differ in their matches only."""
        declared = self._priorities.get(priority)
        if declared is None or not 0 <= rank < declared.ranks:
            raise CompileError(f"stage {self._stage.name} has no priority {priority} of rank {rank}")
        for action in actions:
            self._enforce(action)
        number = declared.number + rank
        target = None if goto is None else self.table(goto)
        keys = tuple(action.key for action in actions)
        for match in matches:
            terms = _merge(tuple(match))
            for index, _, _ in terms:
                if index not in self._matches:
                    raise CompileError(
                        f"stage {self._stage.name} matches {FIELDS[index].name}, which it does not declare"
                    )
            yield Flow(self._table, number, terms, actions, goto=target, origin=origin, why=why, action_keys=keys)

    def table(self, stage: str) -> int:
        """The number of a stage that this one may go or resubmit to."""
        number = self._tables.get(stage)
        if number is None:
            raise CompileError(f"stage {self._stage.name} does not lead to {stage}")
        return number

    def miss(self) -> Flow:
        """The priority-0 flow: what the declaration says of a packet that nothing else is about."""
        miss = self._stage.miss
        target = None if miss.goto is None else self.table(miss.goto)
        return Flow(self._table, 0, (), goto=target, origin="", why=miss.why)

    def _enforce(self, action: Action) -> None:
        stage = self._stage
        written: Iterable[Field] = ()
        read: Iterable[Field] = ()
        match action:
            case SetField(field=field):
                written = (field,)
            case Load(target=target):
                written = (target.field,)
            case Move(source=source, target=target):
                read, written = (source.field,), (target.field,)
            case PushVlan() | PopVlan():
                written = (VLAN_VID,)
            case Clone(actions=inner):
                for part in inner:
                    self._enforce(part)
            case Resubmit(table=table):
                if table not in self._tables.values():
                    raise CompileError(f"stage {stage.name} does not lead to table {table}")
            case Output():
                if not stage.outputs:
                    raise CompileError(f"stage {stage.name} may not output")
            case Learn(table=table, match=match, loads=loads, result=result):
                read = tuple(source.field for source, _ in (*match, *loads))
                written = () if result is None else (result.field,)
                if table not in self._tables.values():
                    raise CompileError(f"stage {stage.name} may not learn into table {table}")
            case Ct(zone=zone, table=table, mark=mark):
                read = tuple(source.field for source, _ in mark)
                if isinstance(zone, Slice):
                    read = (*read, zone.field)
                if not stage.tracks:
                    raise CompileError(f"stage {stage.name} may not ask conntrack")
                if table is not None and table not in self._tables.values():
                    raise CompileError(f"stage {stage.name} does not lead to table {table}")
            case ToController():
                if not stage.punts:
                    raise CompileError(f"stage {stage.name} may not hand packets to the controller")
            case DecTtl():
                written = (NW_TTL,)
            case Conjunction():
                pass
            case never:
                assert_never(never)
        for field in written:
            if field not in stage.writes:
                raise CompileError(f"stage {stage.name} writes {field.name}, which it does not declare")
        for field in read:
            if field not in stage.reads:
                raise CompileError(f"stage {stage.name} reads {field.name}, which it does not declare")
