"""What the reconciler needs of a switch, as a Protocol. PURE.

`openflow.session.Session` implements it over OpenFlow 1.4; tests put small fakes in its place.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from controller.flow.actions import Action
from controller.flow.fields import Field
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
    """A packet that the switch handed to the controller.

    cookie, table: of the flow that did it. reason: why, as OpenFlow numbers it. fields: metadata that is not zero,
    registers among it. frame: as it was then, perhaps cut; total_bytes: how long it is.
    """

    cookie: int
    table: int
    reason: int
    in_port: int
    fields: Mapping[Field, int]
    frame: bytes
    total_bytes: int


@dataclass(frozen=True, slots=True)
class FlowCount:
    """What a flow has counted since it was installed."""

    n_packets: int
    n_bytes: int


class Switch(Protocol):
    """A connected switch. Calls block the calling green thread only; SwitchError where the switch refuses or goes."""

    @property
    def dpid(self) -> int: ...

    @property
    def peer(self) -> str:
        """Address and port of the other end, "192.0.2.1:51234"."""
        ...

    @property
    def alive(self) -> bool: ...

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

    def read_counters(self, cookies: Collection[int] | None = None) -> Mapping[int, FlowCount]:
        """Cookie -> counters, of the installed flows with these cookies, or of every compiled flow (None)."""
        ...

    def send_packet(self, actions: Sequence[Action], frame: bytes) -> None:
        """Let the switch do this with a frame (packet-out, in_port CONTROLLER). Not waited for; it may be lost."""
        ...

    def apply(self, add: Sequence[Flow], remove: Sequence[int], foreign: Sequence[ForeignFlow] = ()) -> None:
        """One bundle: removals by cookie, then additions; all of it in force at its end or, with SwitchError, none."""
        ...

    def close(self, reason: str) -> None:
        """Hang up."""
        ...
