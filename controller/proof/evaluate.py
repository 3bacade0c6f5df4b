"""Takes a packet through compiled flow tables, as Open vSwitch would. PURE. One half of `meaning == evaluate(compile)`.

It knows what OpenFlow and ovs-actions(7) say and nothing of policies or stages. What Open vSwitch would refuse to
install, and what it would leave to chance (two flows of one priority that both match), is an `EvaluationError`.
A pass through the tables (`translate`) says what is to be done, and here it is done to the packet, step by step, as a
datapath would; where a step asks conntrack with a table, the copy that goes on there is followed to its end first.
Not modelled: time (idle timeouts), fragments, PCP bits, groups, meters (they let everything through).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final, assert_never

from controller.flow.actions import Action, ToController
from controller.flow.fields import FIELDS, IN_PORT, TUN_ID, Field
from controller.flow.packet import SLL_OPTION, TLL_OPTION, Packet, packet
from controller.proof.conntrack import NO_CONNECTIONS, UNTRACKED, Connections, Tracked, track
from controller.proof.error import EvaluationError
from controller.proof.refuse import MAX_TAGS, Sure, refuse_actions
from controller.proof.tables import Found, LearnedFlow, Tables
from controller.proof.translate import MAX_DEPTH, MAX_LOOKUPS, METADATA, Copy, Pass, Punt, Send, Step, Track

__all__ = [
    "CONTROLLER_PORT",
    "MAX_DEPTH",
    "MAX_LOOKUPS",
    "MAX_RECIRCULATIONS",
    "MAX_TAGS",
    "NO_CONNECTIONS",
    "Connections",
    "EvaluationError",
    "LearnedFlow",
    "Punted",
    "Result",
    "Tables",
    "evaluate",
    "evaluate_packet_out",
]

VLAN_LIMIT: Final = 1
"""How many tags Open vSwitch looks behind unless told otherwise (other_config:vlan-limit)."""
MAX_RECIRCULATIONS: Final = 6
"""How often a packet may go on in another table after `ct`; the userspace datapath drops it beyond (dpif-netdev.c,
MAX_RECIRC_DEPTH)."""
CONTROLLER_PORT: Final = 0xFFFFFFFD
"""OFPP_CONTROLLER: in_port of a packet that the controller has made."""
_NO_FRAME: Final = packet((), eth_type=0xFFFF)


@dataclass(frozen=True, slots=True)
class Punted:
    """A packet for the controller, as it was then. flow: that handed it over, None in the actions of a packet-out.

    metadata: registers, in_port, and what conntrack has said of it, without zeros.
    """

    packet: Packet
    action: ToController
    flow: Found | None
    metadata: tuple[tuple[Field, int], ...]

    def get(self, field: Field) -> int:
        """The value of a register or another field that is no header."""
        return dict(self.metadata).get(field, 0)


@dataclass(frozen=True, slots=True)
class Result:
    """outputs: (port, packet) in the order in which they leave, doubles included. keys: the tunnel key of each.

    learned: the learned flows after the packet. trail: every flow that was met, pass by pass. punts: what went to the
    controller, in order. connections: those that stand after the packet.
    """

    outputs: tuple[tuple[int, Packet], ...]
    keys: tuple[int, ...]
    learned: tuple[LearnedFlow, ...]
    trail: tuple[Found, ...]
    punts: tuple[Punted, ...] = ()
    connections: Connections = NO_CONNECTIONS


def evaluate(
    tables: Tables,
    in_port: int,
    frame: Packet,
    learned: tuple[LearnedFlow, ...] = (),
    *,
    connections: Connections = NO_CONNECTIONS,
    vlan_limit: int = VLAN_LIMIT,
    tunnel_key: int = 0,
    table: int = 0,
    registers: Mapping[Field, int] | None = None,
    sctp_ports: bool = True,
) -> Result:
    """What becomes of a packet that arrives at in_port (an ofport) and enters `table`, its registers as given.

    learned, connections: what earlier packets left behind; they do not change. Behind vlan_limit (1 or 2) tags nothing
    is readable and a further tag is the ethertype. tunnel_key: with which it came through a tunnel. sctp_ports: whether
    conntrack knows SCTP's ports (`conntrack.Ask`). Raises EvaluationError.
    """
    given = {**(registers or {}), IN_PORT: in_port, TUN_ID: tunnel_key}
    walk = _Walk(tables, learned, connections, vlan_limit, sctp_ports)
    walk.enter(frame, table, tuple([given.get(field, 0) for field in METADATA]))
    return walk.result()


def evaluate_packet_out(
    tables: Tables,
    actions: tuple[Action, ...],
    frame: Packet,
    learned: tuple[LearnedFlow, ...] = (),
    *,
    in_port: int = CONTROLLER_PORT,
    connections: Connections = NO_CONNECTIONS,
    vlan_limit: int = VLAN_LIMIT,
    sctp_ports: bool = True,
) -> Result:
    """What becomes of a packet that the controller sends with these actions: as `evaluate`, but no table is entered
    that no action leads to. Raises EvaluationError, for actions that do not fit the packet, too."""
    walk = _Walk(tables, learned, connections, vlan_limit, sctp_ports)
    start = walk.begin(frame, tuple(in_port if field is IN_PORT else 0 for field in METADATA))
    seen = tuple(field(start.values[field.index]) for field in FIELDS if start.values[field.index])
    refuse_actions(actions, Sure(seen), len(start.tags), "the actions of a packet-out")
    start.run(actions)
    walk.finish(start)
    return walk.result()


class _Walk:
    """One packet on its way: what the datapath has of it, and what has come of it so far."""

    def __init__(
        self,
        tables: Tables,
        learned: Iterable[LearnedFlow],
        connections: Connections,
        vlan_limit: int,
        sctp_ports: bool,
    ) -> None:
        self._tables = tables
        self._limit = vlan_limit
        self._sctp_ports = sctp_ports
        self._frame = _NO_FRAME
        self._tracked = UNTRACKED
        self._depth = 0
        self._learned = tuple(learned)
        self._connections = connections
        self._outputs: list[tuple[int, Packet]] = []
        self._keys: list[int] = []
        self._trail: list[Found] = []
        self._punts: list[Punted] = []

    def result(self) -> Result:
        return Result(
            tuple(self._outputs),
            tuple(self._keys),
            self._learned,
            tuple(self._trail),
            tuple(self._punts),
            self._connections,
        )

    def enter(self, frame: Packet, table: int, metadata: tuple[int, ...]) -> None:
        """Take it through the tables from `table` on, and do what they say."""
        start = self.begin(frame, metadata)
        start.look_up(table)
        self.finish(start)

    def begin(self, frame: Packet, metadata: tuple[int, ...]) -> Pass:
        """A pass that has looked nothing up yet."""
        self._frame = frame
        start = Pass(self._tables, self._learned, frame, self._limit, self._sctp_ports)
        start.set_metadata(metadata)
        start.set_tracked(self._tracked)
        return start

    def finish(self, made: Pass) -> None:
        """Do what a pass came to."""
        self._learned = tuple(made.learned.values())
        self._trail += made.trail
        self._do(made.steps, self._frame.tags[self._limit :])

    def _do(self, steps: Iterable[Step], hidden: tuple[int, ...]) -> None:
        for step in steps:
            self._frame = _rewritten(self._frame, step, hidden)
            match step.do:
                case Send(port=port, key=key):
                    self._outputs.append((port, self._frame))
                    self._keys.append(key)
                case Punt(action=action, flow=flow, metadata=metadata):
                    self._punts.append(Punted(self._frame, action, flow, metadata))
                case Copy(steps=inner):
                    kept = self._frame, self._tracked
                    self._do(inner, hidden)
                    self._frame, self._tracked = kept
                case Track():
                    self._track(step.do)
                case never:
                    assert_never(never)

    def _track(self, it: Track) -> None:
        after = track(self._connections, self._frame, self._tracked, it.ask)
        self._frame, self._tracked, self._connections = after
        if it.table is None:
            return
        if self._depth == MAX_RECIRCULATIONS:
            raise EvaluationError(f"a packet goes on after ct more than {MAX_RECIRCULATIONS} times")
        kept: tuple[Packet, Tracked] = self._frame, self._tracked
        self._depth += 1
        self.enter(self._frame, it.table, it.metadata)
        self._depth -= 1
        self._frame, self._tracked = kept


def _rewritten(frame: Packet, step: Step, hidden: tuple[int, ...]) -> Packet:
    """The packet with what a step writes. hidden: the tags behind those that the pass could read."""
    tags = (*step.tags, *hidden)
    if tags != frame.tags:
        frame = frame.with_tags(*tags)
    if not step.changed:
        return frame
    # A link-layer address is written into the option that carries it, and only if there is one.
    headers = {**dict(frame.fields), **step.changed}
    option = headers.get("nd_options_type", 0) if frame.get("nd_options_type") else 0
    sll = headers.get("nd_sll", 0) if option == SLL_OPTION else 0
    tll = headers.get("nd_tll", 0) if option == TLL_OPTION else 0
    return frame.with_(**{**step.changed, "nd_options_type": option, "nd_sll": sll, "nd_tll": tll})
