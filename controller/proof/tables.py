"""Flows made ready for lookups, conjunctive matches included. PURE.

Open vSwitch finds the flow of highest priority that matches; two of one priority that differ are an error here.
A conjunctive match is found as lib/classifier.c does it (ovs-fields(7), Conjunctive Match Fields).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable, Iterable
from dataclasses import dataclass
from functools import lru_cache
from operator import itemgetter

from controller.flow.actions import Action, Conjunction
from controller.flow.fields import CONJ_ID, FIELDS, Term
from controller.flow.flow import Flow
from controller.proof.error import EvaluationError
from controller.proof.refuse import refuse_malformed


@dataclass(frozen=True, slots=True)
class LearnedFlow:
    """A flow that a packet put into a table."""

    table: int
    priority: int
    match: tuple[Term, ...]
    actions: tuple[Action, ...]
    cookie: int
    goto: None = None

    @property
    def key(self) -> tuple[int, int, tuple[Term, ...]]:
        return (self.table, self.priority, self.match)


Found = Flow | LearnedFlow


class Masks:
    """What flows look at of a packet: some fields, each under a mask. One object for each combination there is.

    key_of: what a packet with these values (by Field.index) has there, in the form of `Entry.key`.
    """

    __slots__ = ("key_of",)

    def __init__(self, masks: tuple[tuple[int, int], ...]) -> None:
        self.key_of = _key_of(masks)


@lru_cache(maxsize=1 << 14)
def _masks(masks: tuple[tuple[int, int], ...]) -> Masks:
    return Masks(masks)


def _key_of(masks: tuple[tuple[int, int], ...]) -> Callable[[list[int]], Hashable]:
    """No value has bits beyond the width of its field, so that what is matched whole is taken as it is."""
    indices = [index for index, _ in masks]
    if not masks:
        return lambda values: None
    if all(mask == FIELDS[index].all_ones for index, mask in masks):
        return itemgetter(*indices)
    if len(masks) == 1:
        ((index, mask),) = masks
        return lambda values: values[index] & mask
    return lambda values: tuple([values[index] & mask for index, mask in masks])


@dataclass(frozen=True, slots=True)
class Entry:
    """How a flow is looked up."""

    masks: Masks
    key: Hashable
    parts: tuple[Conjunction, ...]


@lru_cache(maxsize=1 << 17)
def _entry(flow: Flow) -> Entry:
    """Raises EvaluationError for one that Open vSwitch would refuse. Flows of one content are looked at once."""
    refuse_malformed(flow)
    masks = _masks(tuple((index, mask) for index, _, mask in flow.match))
    values = [0] * len(FIELDS)
    for index, value, _ in flow.match:
        values[index] = value
    parts = tuple(part for part in flow.actions if isinstance(part, Conjunction))
    return Entry(masks, masks.key_of(values), parts)


_Group = dict[Masks, dict[Hashable, Flow]]
_Chains = dict[Masks, dict[Hashable, list[Flow]]]


class Tables:
    """Per table and priority, one hash table for every combination of masks; and where flows are parts of conjunctive
    matches, per table and combination of masks the flows of one match, highest priority first."""

    def __init__(self, flows: Iterable[Flow]) -> None:
        """Raises EvaluationError for a flow that Open vSwitch would refuse, for two with one key that differ, and for
        parts of one conjunctive match that do not fit each other."""
        groups: dict[tuple[int, int], _Group] = {}
        parts: dict[tuple[int, int], tuple[int, int]] = {}
        for flow in flows:
            entry = _entry(flow)
            at = (flow.table, flow.priority)
            group = groups.get(at)
            if group is None:
                group = groups[at] = {}
            hashed = group.get(entry.masks)
            if hashed is None:
                hashed = group[entry.masks] = {}
            other = hashed.setdefault(entry.key, flow)
            if other is not flow and other != flow:
                raise EvaluationError(f"two flows with one key: {flow} and {other}")
            for part in entry.parts:
                shape = (part.dimensions, flow.priority)
                if parts.setdefault((flow.table, part.number), shape) != shape:
                    raise EvaluationError(f"parts of conjunction {part.number} differ in dimensions or priority")
        self._tables: dict[int, list[tuple[int, _Group]]] = {}
        for (table, priority), group in sorted(groups.items(), key=itemgetter(0), reverse=True):
            self._tables.setdefault(table, []).append((priority, group))
        self._conjunctive = {number: _chains(self._tables[number]) for number in {table for table, _ in parts}}

    def find(self, table: int, values: list[int], learned: Collection[LearnedFlow]) -> Found | None:
        """The flow that a packet with these values (by Field.index) meets, None on a miss. values are left as they are.

        Raises EvaluationError where several match at one priority and disagree.
        """
        extra = [flow for flow in learned if flow.table == table and _matches(flow.match, values)] if learned else []
        if table in self._conjunctive:
            return self._find_conjunctive(self._conjunctive[table], values, extra)
        highest = max([flow.priority for flow in extra]) if extra else -1
        for priority, group in self._tables.get(table, ()):
            if priority < highest:
                break
            found: list[Found] = [flow for flow in extra if flow.priority == priority] if extra else []
            for masks, flows in group.items():
                flow = flows.get(masks.key_of(values))
                if flow is not None:
                    found.append(flow)
            if found:
                return _only(found)
        return _only([flow for flow in extra if flow.priority == highest]) if extra else None

    def _find_conjunctive(self, chains: _Chains, values: list[int], extra: list[LearnedFlow]) -> Found | None:
        matching = _matching(chains, values)
        at = [0] * len(matching)
        while True:
            heads = [chain[n] if n < len(chain) else None for chain, n in zip(matching, at, strict=True)]
            hard: list[Found] = [flow for flow in heads if flow is not None and not _is_part(flow)]
            hard += extra
            floor = max((flow.priority for flow in hard), default=-1)
            parts = [flow for flow in heads if flow is not None and _is_part(flow) and flow.priority > floor]
            if not parts:
                return _only([flow for flow in hard if flow.priority == floor]) if hard else None
            priority = max(flow.priority for flow in parts)
            complete = _complete([flow for flow in parts if flow.priority == priority])
            found = [self._find_with(number, chains, values, extra) for number in complete]
            if any(flow is None for flow in found) and any(flow is not None for flow in found):
                raise EvaluationError(f"of the conjunctions {complete}, some lead nowhere: it is left to chance which")
            if met := [flow for flow in found if flow is not None]:
                return _only(met)
            # As if the match had not been there: what the same conditions say at lower priorities comes in its place.
            at = [
                n + (flow is not None and _is_part(flow) and flow.priority == priority)
                for n, flow in zip(at, heads, strict=True)
            ]

    def _find_with(self, number: int, chains: _Chains, values: list[int], extra: list[LearnedFlow]) -> Found | None:
        """What a packet meets whose conj_id is number; parts of conjunctions do not count, nor what they hide."""
        values = list(values)
        values[CONJ_ID.index] = number
        hard: list[Found] = [chain[0] for chain in _matching(chains, values) if not _is_part(chain[0])]
        hard += extra
        highest = max((flow.priority for flow in hard), default=-1)
        return _only([flow for flow in hard if flow.priority == highest]) if hard else None


def _chains(table: list[tuple[int, _Group]]) -> _Chains:
    chains: _Chains = {}
    for _, group in table:
        for masks, flows in group.items():
            for match, flow in flows.items():
                chains.setdefault(masks, {}).setdefault(match, []).append(flow)
    return chains


def _matching(chains: _Chains, values: list[int]) -> list[list[Flow]]:
    found = [flows.get(masks.key_of(values)) for masks, flows in chains.items()]
    return [chain for chain in found if chain is not None]


def _is_part(flow: Flow) -> bool:
    return bool(flow.actions) and isinstance(flow.actions[0], Conjunction)


def _complete(parts: list[Flow]) -> list[int]:
    """The numbers of the conjunctions of which a flow of every dimension is there, no flow counted twice."""
    there: dict[tuple[int, int], set[int]] = {}
    for flow in parts:
        for part in flow.actions:
            if isinstance(part, Conjunction) and part.dimensions <= len(parts):
                there.setdefault((part.number, part.dimensions), set()).add(part.dimension)
    return sorted(number for (number, dimensions), seen in there.items() if len(seen) == dimensions)


def _matches(match: tuple[Term, ...], values: list[int]) -> bool:
    return all(values[index] & mask == value for index, value, mask in match)


def _only(found: list[Found]) -> Found:
    first = found[0]
    for other in found[1:]:
        if (other.actions, other.goto) != (first.actions, first.goto):
            raise EvaluationError(f"two flows of one priority match and differ: {first} and {other}")
    return first
