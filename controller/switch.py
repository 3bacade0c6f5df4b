"""What the reconciler needs of a switch, as a Protocol. PURE.

`openflow.session.Session` implements it over OpenFlow 1.4; tests put small fakes in its place.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from controller.flow.actions import Action
from controller.flow.connections import Connections
from controller.flow.fields import Field, Slice
from controller.flow.flow import Flow


@dataclass(frozen=True, slots=True)
class ForeignFlow:
    """A flow on the switch that no cookie marks as ours. match: the ofp_match as it came, padding included."""

    table: int
    priority: int
    cookie: int
    match: bytes


@dataclass(frozen=True, slots=True)
class FlowDump:
    """What is installed: cookies of compiled flows, the number of learned flows, and everything that is not ours."""

    cookies: frozenset[int]
    learned: int
    foreign: tuple[ForeignFlow, ...]


@dataclass(frozen=True, slots=True)
class PacketIn:
    """A packet that a flow has handed to the controller. Whoever sends such packets decides what is in them.

    cookie, table: of the flow. reason: OFPR_*. in_port: 0 where the packet has none any more. fields: what the pipeline
    knew of the packet at that point: registers, in_port, tun_id, ct_*; a field that is 0 is left out.
    frame: as it was at that point, maybe cut; total_bytes: how long it was before that.
    """

    cookie: int
    table: int
    reason: int
    in_port: int
    fields: Mapping[Field, int]
    frame: bytes
    total_bytes: int

    def read(self, part: Slice) -> int:
        """What a slice of a register held."""
        return self.fields.get(part.field, 0) >> part.low & (1 << part.n_bits) - 1


class Sender(Protocol):
    """What is needed of a switch to send packets by it."""

    @property
    def dpid(self) -> int: ...

    @property
    def alive(self) -> bool: ...

    def send_packet(self, actions: tuple[Action, ...], frame: bytes) -> None:
        """Have the switch do the actions with a frame that came in on no port. What becomes of it is not told."""
        ...


class Switch(Sender, Protocol):
    """A connected switch. Calls block the calling green thread only; SwitchError where the switch refuses or goes."""

    @property
    def peer(self) -> str:
        """Address and port of the other end, "192.0.2.1:51234"."""
        ...

    def prepare(self) -> None:
        """Set on the switch what the flows rely on; what is set so already does not change. Find out what it can do."""
        ...

    @property
    def advertises(self) -> bool:
        """Whether its datapath can make neighbor advertisements; known once it is prepared."""
        ...

    def read_ports(self) -> Mapping[str, int]:
        """Port name -> ofport of every port, the bridge's own local port (0xfffffffe) included."""
        ...

    def read_flows(self) -> FlowDump:
        """Everything installed in tables 0 to 253. Yields to other green threads at least every few milliseconds."""
        ...

    def find_flows(self, cookies: Collection[int]) -> frozenset[int]:
        """Which of these cookies are installed; cost grows with the number asked for, not with what is installed."""
        ...

    def apply(
        self,
        add: Sequence[Flow],
        remove: Sequence[int],
        foreign: Sequence[ForeignFlow] = (),
        verify: Collection[int] = (),
    ) -> frozenset[int]:
        """One bundle: removals by cookie, then additions; all of it in force at its end or, with SwitchError, none.

        Returns which of the cookies in `verify` are installed then, as `find_flows` would, without another round trip;
        where only they could not be had, SwitchError says that they were being looked for.
        """
        ...

    def read_counters(self, cookies: Collection[int] | None = None) -> Mapping[int, tuple[int, int]]:
        """Cookie -> (packets, bytes) of compiled flows: those of `cookies` that are installed, or all.

        Some are asked for at a cost that grows with their number, all at the cost of `read_flows`.
        """
        ...

    def forget(self, connections: Collection[Connections]) -> None:
        """Have conntrack forget them; each of their next packets is as the first of a new connection."""
        ...

    def close(self, reason: str) -> None:
        """Hang up."""
        ...
