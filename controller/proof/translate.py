"""One pass of a packet through the tables, as ofproto-dpif-xlate.c makes it: what the datapath is to do. PURE.

A pass sees the packet as the datapath's parser saw it when the pass began; what it does to headers is written into
the packet right before the next step. What conntrack does in a step the pass never sees: that is for the pass which
`ct` with a table begins, and until then the fields of conntrack are 0 (ovs-actions(7) ct).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final, assert_never

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
from controller.flow.fields import (
    CONJ_ID,
    CT_MARK,
    CT_STATE,
    ETH_TYPE,
    FIELDS,
    IN_PORT,
    LOCAL_PORT,
    NW_TTL,
    TUN_ID,
    VLAN_VID,
    CtState,
    Field,
    Slice,
)
from controller.flow.packet import ETH_IPV4, ETH_IPV6, ETH_VLAN, WIDTHS, Packet, default_ttl
from controller.proof.conntrack import Ask, Tracked
from controller.proof.error import EvaluationError
from controller.proof.refuse import MAX_TAGS, VLAN_PRESENT
from controller.proof.tables import Found, LearnedFlow, Tables

MAX_DEPTH: Final = 64
MAX_LOOKUPS: Final = 4096
"""How deep resubmits nest and how many flows one pass meets (ofproto-dpif-xlate.c MAX_DEPTH, MAX_RESUBMITS)."""
_FIRST_RESERVED_PORT: Final = 0xFFFFFF00

HEADERS: Final = tuple(field for field in FIELDS if field.name in WIDTHS)
CT_FIELDS: Final = tuple(field for field in FIELDS if field.name.startswith("ct_"))
_CT_TUPLE: Final = frozenset(CT_FIELDS) - {CT_STATE, CT_MARK}
_CT_KNOWN: Final = CtState.NEW | CtState.EST | CtState.RPL
METADATA: Final = tuple(
    field for field in FIELDS if field not in HEADERS and field not in CT_FIELDS and field not in (VLAN_VID, CONJ_ID)
)
"""What stays with a packet from one pass to the next: registers, the port and the tunnel key it came with."""
_INDEX: Final = {field.name: field.index for field in FIELDS}
_METADATA_AT: Final = tuple(field.index for field in METADATA)
_CT_AT: Final = tuple(field.index for field in CT_FIELDS)
_HEADERS_AT: Final = tuple((field.name, field.index) for field in HEADERS)


@dataclass(frozen=True, slots=True)
class Send:
    """Send it out, with this tunnel key."""

    port: int
    key: int


@dataclass(frozen=True, slots=True)
class Track:
    """Ask conntrack. table: where a copy goes on, with this metadata (by METADATA); None: nowhere."""

    ask: Ask
    table: int | None
    metadata: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Punt:
    """Hand a copy to the controller."""

    action: ToController
    flow: Found | None
    metadata: tuple[tuple[Field, int], ...]


@dataclass(frozen=True, slots=True)
class Copy:
    """Do these steps to a copy."""

    steps: tuple[Step, ...]


@dataclass(frozen=True, slots=True)
class Step:
    """changed: headers that are written first; tags: what stands then for the tags that the pass could read."""

    changed: Mapping[str, int]
    tags: tuple[int, ...]
    do: Send | Track | Punt | Copy


class Pass:
    """values: by Field.index, 0 where absent; tags: VIDs that can be read, outermost first."""

    def __init__(
        self, tables: Tables, learned: Iterable[LearnedFlow], frame: Packet, vlan_limit: int, sctp_ports: bool = True
    ) -> None:
        self.values = [0] * len(FIELDS)
        self.tags = list(frame.tags[:vlan_limit])
        self.steps: list[Step] = []
        self.trail: list[Found] = []
        self.before = tuple(learned)
        self.learned = {flow.key: flow for flow in self.before}
        self._tables = tables
        self._sctp_ports = sctp_ports
        self._flow: Found | None = None
        hidden = len(frame.tags) > vlan_limit
        for name, value in frame.fields:
            if not hidden or name in ("eth_src", "eth_dst"):
                self.values[_INDEX[name]] = value
        ttl = frame.get("nw_ttl")
        if hidden:
            self.values[ETH_TYPE.index] = ETH_VLAN
        elif self.values[ETH_TYPE.index] in (ETH_IPV4, ETH_IPV6):
            self.values[NW_TTL.index] = ttl or default_ttl(frame.get)
        self._ttl_said = bool(ttl)
        self._written = list(self.values)
        self._see_tags()

    def set_metadata(self, values: tuple[int, ...]) -> None:
        """By METADATA."""
        for index, value in zip(_METADATA_AT, values, strict=True):
            self.values[index] = value

    def set_tracked(self, tracked: Tracked) -> None:
        """What conntrack has said before this pass (ovs-fields(7), Connection Tracking Fields)."""
        said = {"ct_state": tracked.state, "ct_mark": tracked.mark}
        if (it := tracked.original) is not None:
            ends = ("ct_nw_src", "ct_nw_dst") if it.eth_type == ETH_IPV4 else ("ct_ipv6_src", "ct_ipv6_dst")
            said |= {ends[0]: it.src, ends[1]: it.dst, "ct_nw_proto": it.proto, "ct_tp_src": it.src_port}
            # Of ICMP the code, which is 0 in all that conntrack takes.
            said |= {"ct_tp_dst": 0 if it.is_icmp else it.dst_port}
        for name, value in said.items():
            self.values[_INDEX[name]] = value

    def look_up(self, table: int, depth: int = 0) -> None:
        """Do what `table` says, follow its gotos; return where a table misses or says no more."""
        if depth > MAX_DEPTH:
            raise EvaluationError(f"resubmits nest deeper than {MAX_DEPTH}")
        caller = self._flow
        number: int | None = table
        while number is not None:
            # What this pass teaches is seen by the next one only: the lookups of one pass are of one version.
            flow = self._tables.find(number, self.values, self.before)
            if flow is None:
                break
            self.trail.append(flow)
            if len(self.trail) > MAX_LOOKUPS:
                raise EvaluationError(f"one packet meets more than {MAX_LOOKUPS} flows")
            self._flow = flow
            number = flow.goto if self.run(flow.actions, depth) else None
        self._flow = caller

    def run(self, actions: tuple[Action, ...], depth: int = 0) -> bool:
        """Do the actions; False where they end before their end, and the goto behind them, too (dec_ttl)."""
        for action in actions:
            match action:
                case Output():
                    self._output(action.port)
                case SetField():
                    self._set(action.field, action.value)
                case Load():
                    self._load(action.target, action.value)
                case Move():
                    # Of an ICMP error in the direction of its connection, a move finds nothing to copy.
                    if action.source.field not in _CT_TUPLE or self.values[CT_STATE.index] & _CT_KNOWN:
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
                    self._clone(action.actions, depth)
                case Learn():
                    self._learn(action)
                case Ct():
                    self._track(action)
                case ToController():
                    self._step(Punt(action, self._flow, self._told()))
                case DecTtl():
                    if not self._count_down():
                        return False
                case Conjunction():
                    raise AssertionError("a lookup does not find parts of conjunctions")
                case never:
                    assert_never(never)
        return True

    def _step(self, do: Send | Track | Punt | Copy) -> None:
        now, before = self.values, self._written
        changed = {name: now[index] for name, index in _HEADERS_AT if now[index] != before[index]}
        self._written = list(now)
        if not self._ttl_said:
            changed.pop("nw_ttl", None)
        self.steps.append(Step(changed, tuple(self.tags), do))

    def _output(self, port: int) -> None:
        if port >= _FIRST_RESERVED_PORT and port != LOCAL_PORT:
            raise EvaluationError(f"output to the reserved port {port:#x} is not modelled")
        if port != self.values[IN_PORT.index]:
            self._step(Send(port, self.values[TUN_ID.index]))

    def _clone(self, actions: tuple[Action, ...], depth: int) -> None:
        self._step(Copy(()))
        kept = self.values, self.tags, self._written, self._ttl_said, self.steps
        self.values, self.tags, self._written, self.steps = list(self.values), list(self.tags), list(self._written), []
        self.run(actions, depth)
        steps = tuple(self.steps)
        self.values, self.tags, self._written, self._ttl_said, self.steps = kept
        self.steps[-1] = Step(self.steps[-1].changed, self.steps[-1].tags, Copy(steps))

    def _track(self, action: Ct) -> None:
        value = mask = 0
        for source, target in action.mark:
            value |= self._read(source) << target.low
            mask |= (1 << target.n_bits) - 1 << target.low
        zone = action.zone if isinstance(action.zone, int) else self._read(action.zone)
        ask = Ask(zone, action.commit, action.nat, (value, mask), self._sctp_ports)
        self._step(Track(ask, action.table, tuple([self.values[index] for index in _METADATA_AT])))
        for index in _CT_AT:
            self.values[index] = 0

    def _told(self) -> tuple[tuple[Field, int], ...]:
        """What a packet-in says beside the packet: all that is not 0."""
        told = ((field, self.values[field.index]) for field in (*METADATA, *CT_FIELDS))
        return tuple((field, value) for field, value in told if value)

    def _count_down(self) -> bool:
        ttl = self.values[NW_TTL.index]
        if ttl > 1:
            self.values[NW_TTL.index] = ttl - 1
        return ttl > 1

    def _see_tags(self) -> None:
        self.values[VLAN_VID.index] = VLAN_PRESENT | self.tags[0] if self.tags else 0

    def _set(self, field: Field, value: int) -> None:
        if field is VLAN_VID:
            self.tags[0] = value & 0xFFF
        if field is NW_TTL:
            if not value:
                raise EvaluationError("a time to live of 0 is not modelled")
            self._ttl_said = True
            self._written[field.index] = 0
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
        if action.result is not None:
            self._load(action.result, int(room))
