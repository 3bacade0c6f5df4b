"""The union of a bridge's units, counted: which flows come and go when units change. PURE, but for its own counts.

Two units may need the same flow: it stays until the last of them goes. Two different flows with one (table, priority,
match) contradict each other; a table could hold only one of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from typing import Protocol, TypeVar

from controller.diff import Difference
from controller.errors import CompileError
from controller.flow.flow import Flow
from controller.pipeline.compile import Compiled
from controller.pipeline.rule_view import NO_FLOWS, ClassFlows
from controller.pipeline.segment import Flows

Units = list[Sequence[Flow]]
K = TypeVar("K")


class _Unit(Protocol):
    """Whatever was compiled by itself."""

    @property
    def flows(self) -> Flows: ...


def changed_units(before: Compiled, after: Compiled) -> tuple[Units, Units]:
    """The units that are gone and those that are new, without the flows that one unit has kept.

    A unit that both share costs one comparison.
    """
    gone: Units = []
    new: Units = []

    def compare(old: Flows, now: Flows) -> None:
        if old is not now:
            left, right = _apart(old, now)
            gone.append(left)
            new.append(right)

    def compare_each(old: Mapping[K, _Unit], now: Mapping[K, _Unit]) -> None:
        n_common = 0
        for key, unit in now.items():
            was = old.get(key)
            n_common += was is not None
            if was is not unit:
                compare(was.flows if was is not None else (), unit.flows)
        if n_common < len(old):
            gone.extend(unit.flows for key, unit in old.items() if key not in now)

    compare(before.bridge, after.bridge)
    compare(before.shared.flows, after.shared.flows)
    if before.segments is after.segments and before.rules is after.rules and before.others is after.others:
        return gone, new
    for name in chain(after.segments, (name for name in before.segments if name not in after.segments)):
        old, now = before.segments.get(name), after.segments.get(name)
        if old is now:
            continue
        compare(old.flows if old else (), now.flows if now else ())
        compare_each(old.ways if old else {}, now.ways if now else {})
        compare_each(old.members if old else {}, now.members if now else {})
    for name in chain(after.rules, (name for name in before.rules if name not in after.rules)):
        old_rule, rule = before.rules.get(name), after.rules.get(name)
        if old_rule is rule:
            continue
        old_flows, flows = old_rule.flows if old_rule else NO_FLOWS, rule.flows if rule else NO_FLOWS
        compare(old_flows.rest, flows.rest)
        had, has = ({one.frame: one for one in each.by_class} for each in (old_flows, flows))
        for frame in had.keys() | has.keys():
            left, right = _apart_by_class(had.get(frame), has.get(frame))
            gone.append(left)
            new.append(right)
    compare_each(before.others, after.others)
    return gone, new


def _apart_by_class(old: ClassFlows | None, now: ClassFlows | None) -> tuple[list[Flow], list[Flow]]:
    """Both, which have one frame, without the flows of classes that are in both."""
    if old is None or now is None:
        return [*(old.flows.values() if old else ())], [*(now.flows.values() if now else ())]
    if now.since is old.version:
        gone, come = now.gone, now.come
    else:
        gone, come = old.classes - now.classes, now.classes - old.classes
    return [old.flows[number] for number in gone], [now.flows[number] for number in come]


def _apart(old: Flows, now: Flows) -> tuple[Flows, Flows]:
    """Both without the flows that are the very same ones in both; whole where one has a flow twice."""
    ids, others = set(map(id, old)), set(map(id, now))
    kept = ids & others
    if not kept or len(ids) < len(old) or len(others) < len(now):
        return old, now
    return tuple(flow for flow in old if id(flow) not in kept), tuple(flow for flow in now if id(flow) not in kept)


class Tally:
    """The desired flows of one bridge."""

    def __init__(self) -> None:
        self._flows: dict[int, Flow] = {}
        self._extra: dict[int, int] = {}  # cookie -> how many units beyond the first need it
        self._keys: dict[int, int] = {}  # hash of a flow's key -> its cookie

    @property
    def flows(self) -> Mapping[int, Flow]:
        """Cookie -> flow."""
        return self._flows

    def difference(self, before: Compiled, after: Compiled) -> Difference[int, Flow]:
        """What replacing `before` (which is in the tally) by `after` adds and removes.

        Raises CompileError where two flows contradict each other.
        """
        gone, new = changed_units(before, after)
        net: dict[int, int] = {}
        made: dict[int, Flow] = {}
        for flow in _each(new):
            net[flow.cookie] = net.get(flow.cookie, 0) + 1
            made[flow.cookie] = flow
        for flow in _each(gone):
            net[flow.cookie] = net.get(flow.cookie, 0) - 1
        add = tuple(made[cookie] for cookie, n in net.items() if n > 0 and cookie not in self._flows)
        remove = tuple(cookie for cookie, n in net.items() if n < 0 and self._extra.get(cookie, 0) + 1 + n <= 0)
        self._refuse_contradictions(add, frozenset(remove))
        return Difference(add, remove)

    def replace(self, before: Compiled, after: Compiled) -> None:
        """Count `after` in and `before` (which is in the tally) out."""
        gone, new = changed_units(before, after)
        for flow in _each(new):
            if flow.cookie in self._flows:
                self._extra[flow.cookie] = self._extra.get(flow.cookie, 0) + 1
            self._flows[flow.cookie] = flow
            self._keys[flow.place] = flow.cookie
        for flow in _each(gone):
            extra = self._extra.pop(flow.cookie, 0)
            if extra > 1:
                self._extra[flow.cookie] = extra - 1
            elif extra == 0:
                del self._flows[flow.cookie]
                if self._keys.get(flow.place) == flow.cookie:
                    del self._keys[flow.place]

    def _refuse_contradictions(self, add: tuple[Flow, ...], remove: frozenset[int]) -> None:
        keys: dict[int, int] = {}
        added = {flow.cookie: flow for flow in add}
        for flow in add:
            key = flow.place
            other = keys.get(key, self._keys.get(key))
            keys[key] = flow.cookie
            if other is None or other == flow.cookie or other in remove:
                continue
            rival = added.get(other) or self._flows[other]
            if rival.key == flow.key:
                raise CompileError(f"two flows for one match: {flow} of {flow.origin}, {rival} of {rival.origin}")


def _each(units: Units) -> Iterator[Flow]:
    return chain.from_iterable(units)
