"""Takes a packet through compiled flow tables, as Open vSwitch would. PURE. One half of `meaning == evaluate(compile)`.

It knows what OpenFlow and ovs-actions(7) say and nothing of policies or stages. What Open vSwitch would refuse to
install, and what it would leave to chance (two flows of one priority that both match), is an `EvaluationError` here.
Not modelled: time (idle timeouts), fragments, PCP bits, conntrack, groups, meters.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, assert_never

from controller.errors import TripointError
from controller.flow.actions import Action, Clone, Learn, Load, Move, Output, PopVlan, PushVlan, Resubmit, SetField
from controller.flow.fields import FIELDS, IN_PORT, LOCAL_PORT, TUN_ID, VLAN_VID, Field, Slice, Term
from controller.flow.flow import Flow
from controller.flow.packet import ETH_VLAN, SLL_OPTION, TLL_OPTION, WIDTHS, Packet, has_header, packet

VLAN_LIMIT: Final = 1
"""How many tags Open vSwitch looks behind unless told otherwise (other_config:vlan-limit)."""
MAX_DEPTH: Final = 64
MAX_LOOKUPS: Final = 4096
"""How deep resubmits nest and how many flows one packet meets (ofproto-dpif-xlate.c MAX_DEPTH, MAX_RESUBMITS)."""
MAX_TAGS: Final = 2
"""How many tags a packet can have in Open vSwitch (FLOW_MAX_VLAN_HEADERS)."""
_VLAN_PRESENT: Final = 0x1000
_FIRST_RESERVED_PORT: Final = 0xFFFFFF00

_HEADERS: Final = tuple(field for field in FIELDS if field.name in WIDTHS)
_READ_ONLY: Final = ("eth_type", "nw_proto")
_BY_NAME: Final = {field.name: field for field in FIELDS}


class EvaluationError(TripointError):
    """The tables are not ones that Open vSwitch would take, or what they do is left to chance."""


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


@dataclass(frozen=True, slots=True)
class Result:
    """outputs: (port, packet) in the order in which they leave, doubles included. keys: the tunnel key of each.

    learned: the learned flows after the packet. trail: every flow that was met, in order.
    """

    outputs: tuple[tuple[int, Packet], ...]
    keys: tuple[int, ...]
    learned: tuple[LearnedFlow, ...]
    trail: tuple[Flow | LearnedFlow, ...]


_Masks = tuple[tuple[int, int], ...]
_Group = dict[_Masks, dict[tuple[int, ...], Flow]]


class Tables:
    """Flows made ready for lookups: per table and priority, one hash table for every combination of masks."""

    def __init__(self, flows: Iterable[Flow]) -> None:
        """Raises EvaluationError for a flow that Open vSwitch would refuse and for two with one key that differ."""
        tables: dict[int, dict[int, _Group]] = {}
        for flow in flows:
            _refuse_malformed(flow)
            group = tables.setdefault(flow.table, {}).setdefault(flow.priority, {})
            masks = tuple((index, mask) for index, _, mask in flow.match)
            other = group.setdefault(masks, {}).setdefault(tuple(value for _, value, _ in flow.match), flow)
            if other != flow:
                raise EvaluationError(f"two flows with one key: {flow} and {other}")
        self._tables = {number: sorted(table.items(), reverse=True) for number, table in tables.items()}

    def find(self, table: int, values: list[int], learned: Iterable[LearnedFlow]) -> Flow | LearnedFlow | None:
        """The flow of highest priority that matches values (by Field.index), None on a miss.

        Raises EvaluationError where several do and disagree.
        """
        extra = [flow for flow in learned if flow.table == table and _matches(flow.match, values)]
        highest = max((flow.priority for flow in extra), default=-1)
        for priority, group in self._tables.get(table, ()):
            if priority < highest:
                break
            found: list[Flow | LearnedFlow] = [flow for flow in extra if flow.priority == priority]
            for masks, flows in group.items():
                flow = flows.get(tuple([values[index] & mask for index, mask in masks]))
                if flow is not None:
                    found.append(flow)
            if found:
                return _only(found)
        return _only([flow for flow in extra if flow.priority == highest]) if extra else None


def _matches(match: tuple[Term, ...], values: list[int]) -> bool:
    return all(values[index] & mask == value for index, value, mask in match)


def _only(found: list[Flow | LearnedFlow]) -> Flow | LearnedFlow:
    first = found[0]
    for other in found[1:]:
        if (other.actions, other.goto) != (first.actions, first.goto):
            raise EvaluationError(f"two flows of one priority match and differ: {first} and {other}")
    return first


def evaluate(
    tables: Tables,
    in_port: int,
    frame: Packet,
    learned: tuple[LearnedFlow, ...] = (),
    *,
    vlan_limit: int = VLAN_LIMIT,
    tunnel_key: int = 0,
) -> Result:
    """What becomes of a packet that arrives at in_port (an ofport) and enters table 0.

    learned: what earlier packets left behind; it does not change. Behind vlan_limit (1 or 2) tags nothing is readable
    and a further tag is the ethertype. tunnel_key: with which it came through a tunnel. Raises EvaluationError.
    """
    walk = _Walk(tables, in_port, frame, learned, vlan_limit)
    walk.values[TUN_ID.index] = tunnel_key
    walk.look_up(0, 0)
    return Result(tuple(walk.outputs), tuple(walk.keys), tuple(walk.learned.values()), tuple(walk.trail))


class _Walk:
    """One packet on its way. values: by Field.index, 0 where absent; tags: VIDs that can be read, outermost first."""

    def __init__(
        self, tables: Tables, in_port: int, frame: Packet, learned: tuple[LearnedFlow, ...], vlan_limit: int
    ) -> None:
        self.tables = tables
        self.frame = frame
        self.tags = list(frame.tags[:vlan_limit])
        self.hidden = frame.tags[vlan_limit:]
        self.values = [0] * len(FIELDS)
        for name, value in frame.fields:
            if not self.hidden or name in ("eth_src", "eth_dst"):
                self.values[_BY_NAME[name].index] = value
        if self.hidden:
            self.values[_BY_NAME["eth_type"].index] = ETH_VLAN
        self.values[IN_PORT.index] = in_port
        self._see_tags()
        self.before = learned
        self.learned = {flow.key: flow for flow in learned}
        self.outputs: list[tuple[int, Packet]] = []
        self.keys: list[int] = []
        self.trail: list[Flow | LearnedFlow] = []

    def look_up(self, table: int, depth: int) -> None:
        """Do what `table` says, follow its gotos; return where a table misses or says no more."""
        if depth > MAX_DEPTH:
            raise EvaluationError(f"resubmits nest deeper than {MAX_DEPTH}")
        number: int | None = table
        while number is not None:
            # What this packet teaches is seen by the next one only: the lookups of one packet are of one version.
            flow = self.tables.find(number, self.values, self.before)
            if flow is None:
                return
            self.trail.append(flow)
            if len(self.trail) > MAX_LOOKUPS:
                raise EvaluationError(f"one packet meets more than {MAX_LOOKUPS} flows")
            self.run(flow.actions, depth)
            number = flow.goto

    def run(self, actions: tuple[Action, ...], depth: int) -> None:
        for action in actions:
            match action:
                case Output():
                    self._output(action.port)
                case SetField():
                    self._set(action.field, action.value)
                case Load():
                    self._load(action.target, action.value)
                case Move():
                    self._load(action.target, self._read(action.source))
                case PushVlan():
                    self.tags.insert(0, 0)
                    if len(self.tags) > MAX_TAGS:
                        raise EvaluationError(f"Open vSwitch keeps {MAX_TAGS} tags at most")
                    self._see_tags()
                case PopVlan():
                    # Taking a tag off where there is none changes nothing.
                    self.tags = self.tags[1:]
                    self._see_tags()
                case Resubmit():
                    self.look_up(action.table, depth + 1)
                case Clone():
                    values, tags = list(self.values), list(self.tags)
                    self.run(action.actions, depth)
                    self.values, self.tags = values, tags
                case Learn():
                    self._learn(action)
                case never:
                    assert_never(never)

    def _output(self, port: int) -> None:
        if port >= _FIRST_RESERVED_PORT and port != LOCAL_PORT:
            raise EvaluationError(f"output to the reserved port {port:#x} is not modelled")
        if port != self.values[IN_PORT.index]:
            self.outputs.append((port, self._packet()))
            self.keys.append(self.values[TUN_ID.index])

    def _packet(self) -> Packet:
        headers = {field.name: self.values[field.index] for field in _HEADERS}
        if self.hidden:
            mine = {name: headers[name] for name in ("eth_src", "eth_dst")}
            return packet((*self.tags, *self.hidden), **{**dict(self.frame.fields), **mine})
        # A link-layer address is written into the option that carries it, and only if there is one.
        option = headers["nd_options_type"] if self.frame.get("nd_options_type") else 0
        headers["nd_options_type"] = option
        headers["nd_sll"] *= option == SLL_OPTION
        headers["nd_tll"] *= option == TLL_OPTION
        return packet(tuple(self.tags), **{n: v for n, v in headers.items() if has_header(n, headers.get)})

    def _see_tags(self) -> None:
        self.values[VLAN_VID.index] = _VLAN_PRESENT | self.tags[0] if self.tags else 0

    def _set(self, field: Field, value: int) -> None:
        if field is VLAN_VID:
            self.tags[0] = value & 0xFFF
        self.values[field.index] = value

    def _read(self, part: Slice) -> int:
        return self.values[part.field.index] >> part.low & (1 << part.n_bits) - 1

    def _load(self, part: Slice, value: int) -> None:
        kept = self.values[part.field.index] & ~(((1 << part.n_bits) - 1) << part.low)
        self._set(part.field, kept | value << part.low)

    def _learn(self, action: Learn) -> None:
        conditions: dict[int, tuple[int, int]] = {}
        for source, target in action.match:
            index, value, mask = target(self._read(source))
            before = conditions.get(index, (0, 0))
            conditions[index] = (before[0] | value, before[1] | mask)
        match = tuple(sorted((index, value, mask) for index, (value, mask) in conditions.items()))
        loads = tuple(Load(target, self._read(source)) for source, target in action.loads)
        flow = LearnedFlow(action.table, action.priority, match, loads, action.cookie)
        standing = sum(1 for f in self.learned.values() if (f.table, f.cookie) == (action.table, action.cookie))
        # The same flow, where it stands there already, is renewed whatever the limit (ofproto_flow_mod_learn).
        room = not action.limit or standing < action.limit or self.learned.get(flow.key) == flow
        if room:
            self.learned.pop(flow.key, None)
            self.learned[flow.key] = flow
        self._load(action.result, int(room))


def _refuse_malformed(flow: Flow) -> None:
    """Raise EvaluationError for what Open vSwitch answers with an error: prerequisites, masks, jumps backwards."""

    def refuse(what: str) -> None:
        raise EvaluationError(f"{what}: {flow}")

    exact = {FIELDS[index].name: value for index, value, mask in flow.match if mask == FIELDS[index].all_ones}
    for index, value, mask in flow.match:
        if not mask or value & ~mask or mask > FIELDS[index].all_ones:
            refuse(f"the match on {FIELDS[index].name} is not canonical")
        if not has_header(FIELDS[index].name, exact.get):
            refuse(f"the match on {FIELDS[index].name} lacks its prerequisite")
    if len({index for index, _, _ in flow.match}) != len(flow.match):
        refuse("a field is matched twice")
    if flow.goto is not None and flow.goto <= flow.table:
        refuse("goto leads backwards")
    tags = sum(1 for index, value, _ in flow.match if index == VLAN_VID.index and value & _VLAN_PRESENT)
    _refuse_actions(flow, flow.actions, exact, tags)


def _refuse_actions(flow: Flow, actions: tuple[Action, ...], exact: dict[str, int], tags: int) -> None:
    """exact: the header values that are sure when the actions begin. tags: how many are sure."""

    def need(part: Slice | Field) -> None:
        field = part.field if isinstance(part, Slice) else part
        if not has_header(field.name, exact.get) or (field is VLAN_VID and not tags):
            raise EvaluationError(f"an action on {field.name} lacks its prerequisite: {flow}")

    for action in actions:
        match action:
            case PushVlan():
                tags += 1
                if tags > MAX_TAGS:
                    raise EvaluationError(f"Open vSwitch keeps {MAX_TAGS} tags at most: {flow}")
            case PopVlan():
                tags = max(tags - 1, 0)
            case SetField(field=field, value=value):
                need(field)
                if field.name in _READ_ONLY:
                    raise EvaluationError(f"{field.name} cannot be set: {flow}")
                if value > field.all_ones or (field is VLAN_VID and not value & _VLAN_PRESENT):
                    raise EvaluationError(f"{field.name} cannot be set to {value:#x}: {flow}")
            case Load(target=target, value=value):
                need(target)
                if value >> target.n_bits:
                    raise EvaluationError(f"{value:#x} is wider than {target.name}: {flow}")
            case Move(source=source, target=target):
                need(source)
                need(target)
                if source.n_bits != target.n_bits:
                    raise EvaluationError(f"{source.name} and {target.name} differ in width: {flow}")
            case Learn():
                for part in (action.result, *(source for source, _ in (*action.match, *action.loads))):
                    need(part)
                if action.result.n_bits != 1:
                    raise EvaluationError(f"the result of learn takes one bit, {action.result.name} is wider: {flow}")
            case Clone(actions=inner):
                _refuse_actions(flow, inner, exact, tags)
            case Output() | Resubmit():
                pass
            case never:
                assert_never(never)
