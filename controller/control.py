"""What people and programs may ask of a running controller, and the answers. PURE: values and one Protocol.

`reconcile.Reconciler` implements `Control`; `api` is written against it and nothing else.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Literal, Protocol

from controller.errors import Problem, TripointError
from controller.policy.model import Policy

Kind = Literal["networks", "endpoints", "hosts", "uplinks", "groups", "rules", "rewrites"]
Document = dict[str, object]
"""A policy document as plain dicts, lists, strings, numbers, booleans and None."""


@dataclass(frozen=True, slots=True)
class PutPolicy:
    """Replace the whole document."""

    document: object


@dataclass(frozen=True, slots=True)
class PutObject:
    """Create or replace one named object. before: of its kind, the one that it is to come right before; None: it stays
    in its place, or comes last.
    """

    kind: Kind
    name: str
    value: object
    before: str | None = None


@dataclass(frozen=True, slots=True)
class DeleteObject:
    """Remove one named object. It must exist."""

    kind: Kind
    name: str


Change = PutPolicy | PutObject | DeleteObject


class RevisionConflict(TripointError):
    """If-Match named another revision than the one in force."""

    def __init__(self, expected: int, current: int) -> None:
        self.expected = expected
        self.current = current
        super().__init__(f"the policy is at revision {current}, not {expected}")


class NoSuchObject(TripointError):
    """The object to be deleted or shown does not exist."""


class PortsAs(Enum):
    """How an endpoint stands to the ports observed."""

    BOUND = "bound"
    ABSENT = "absent"
    RIVAL = "rival"


@dataclass(frozen=True, slots=True)
class Stored:
    """A stored policy version. revision 0 is the empty policy of a new store; `document` must not be mutated."""

    revision: int
    document: Document
    policy: Policy


@dataclass(frozen=True, slots=True)
class BridgeStatus:
    """One bridge that is connected, or was.

    in_force: the revision whose flows are all installed, or None. counts are of flows. added, removed: since the
    controller started. foreign: flows removed that were not ours. warnings: sentences with the command that mends.
    """

    dpid: str
    name: str
    peer: str
    connected: bool
    in_force: int | None
    flows_desired: int
    flows_installed: int | None
    flows_added: int
    flows_removed: int
    flows_foreign: int
    fail_mode: str
    last_error: str | None
    warnings: tuple[str, ...]
    packets_in: int = 0
    """Packets that it handed over to be answered or logged, since the controller started."""
    packets_dropped: int = 0
    """Those of them that were dropped: too many at a time, or their next hop never answered."""


@dataclass(frozen=True, slots=True)
class HostStatus:
    """A managed host in short. connected: to its database, or not, since (RFC 3339); error: why it is not as wanted."""

    name: str
    connected: bool
    since: str
    in_force: bool
    error: str | None
    warnings: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Status:
    """The whole: revision stored, whether every connected bridge and every managed host is as it says, and each."""

    revision: int
    in_force: bool
    bridges: tuple[BridgeStatus, ...]
    hosts: tuple[HostStatus, ...]
    refused: tuple[str, ...]
    """Why connections were refused lately, newest last."""


@dataclass(frozen=True, slots=True)
class PortView:
    """A port of a managed host, as its database shows it. endpoint: who is bound there."""

    name: str
    bridge: str
    type: str
    ofport: int | None
    endpoint: str | None
    link_up: bool | None
    mtu: int | None
    iface_id: str | None
    attached_mac: str | None
    error: str | None
    ours: bool


@dataclass(frozen=True, slots=True)
class TunnelView:
    """A tunnel of a managed host. peer: the host at its other end. up: None where BFD does not watch it."""

    port: str
    peer: str
    peer_ip: str
    up: bool | None
    diagnostic: str


@dataclass(frozen=True, slots=True)
class HostView:
    """A host of the policy: what is seen of it. ovsdb None: nobody manages it, and only its bridge is known.

    bridge_connected: over OpenFlow. status: of its database; None without one. corrected: what others had changed there
    and was set right, newest last. mtu: network -> what its members may send.
    """

    name: str
    ovsdb: str | None
    vtep: str | None
    bridge: str | None
    dpid: str | None
    bridge_connected: bool
    status: HostStatus | None
    corrected: tuple[str, ...] = ()
    ovs_version: str = ""
    system_id: str = ""
    tunnels: tuple[TunnelView, ...] = ()
    ports: tuple[PortView, ...] = ()
    mtu: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Binding:
    """An endpoint and where it was observed. state `rival`: a second bridge shows its port; the first one keeps it."""

    endpoint: str
    port: str
    state: PortsAs
    dpid: str | None
    bridge: str | None
    ofport: int | None
    rivals: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class BridgeOutcome:
    """What became of a change on one connected bridge."""

    dpid: str
    name: str
    in_force: bool
    added: int
    removed: int
    error: str | None


@dataclass(frozen=True, slots=True)
class HostOutcome:
    """What became of a change on one managed host. error: why its database, or its bridge, is not as wanted."""

    name: str
    in_force: bool
    error: str | None


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a change. revision: the one now stored. changed: False where the document was the same.

    mtu: network -> the largest IP packet in bytes that its members may send, for networks that travel in tunnels.
    warnings: what is odd about the policy, at most `SHOWN`; none of it refuses a change.
    """

    revision: int
    changed: bool
    in_force: bool
    bridges: tuple[BridgeOutcome, ...]
    hosts: tuple[HostOutcome, ...] = ()
    mtu: Mapping[str, int] = field(default_factory=dict)
    warnings: tuple[Problem, ...] = ()


@dataclass(frozen=True, slots=True)
class Pair:
    """Two endpoints by name (or `outside`), and the network in which, or the way on which, one reaches the other."""

    source: str
    target: str
    network: str


@dataclass(frozen=True, slots=True)
class BridgePlan:
    """Flows to be added and removed on one bridge, in ovs-ofctl(8) syntax; at most `SHOWN` of each are listed."""

    dpid: str
    name: str
    add: int
    remove: int
    added: tuple[str, ...]
    removed: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class HostPlanned:
    """Ports, tunnels among them, to be made and taken away on one managed host; changed ones are in both."""

    name: str
    made: tuple[str, ...]
    removed: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class PlanReport:
    """What a change would do. Nothing was sent and nothing was stored.

    members_*: names of endpoints. reachable, unreachable: pairs (source < target) that become so; at most `SHOWN` are
    listed, the counts are whole. warnings: what is odd about the policy then.
    """

    revision: int
    bridges: tuple[BridgePlan, ...]
    hosts: tuple[HostPlanned, ...]
    members_added: tuple[str, ...]
    members_removed: tuple[str, ...]
    members_changed: tuple[str, ...]
    reachable_count: int
    unreachable_count: int
    reachable: tuple[Pair, ...]
    unreachable: tuple[Pair, ...]
    warnings: tuple[Problem, ...] = ()


SHOWN = 1000
"""How many lines of a kind a plan lists."""


@dataclass(frozen=True, slots=True)
class FlowView:
    """One desired flow, explained. text: ovs-ofctl(8) syntax. installed: None where that is not known yet."""

    dpid: str
    bridge: str
    stage: str
    cookie: str
    origin: str
    why: str
    text: str
    installed: bool | None


@dataclass(frozen=True, slots=True)
class RuleView:
    """A rule of the policy in force and what its flows have counted, on all bridges that could be asked.

    position: its place in the order in which packets meet rules, from 1. tier, action: as the document has them.
    """

    name: str
    tier: str
    action: str
    position: int
    packets: int
    bytes: int


@dataclass(frozen=True, slots=True)
class RulesView:
    """Every rule, in the order in which packets meet them. silent: names of bridges that could not be asked."""

    revision: int
    rules: tuple[RuleView, ...]
    silent: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class RuleEvent:
    """A connection that a rule with `log` is about.

    number: consecutive; where one is missing, a reader has lost lines. time: RFC 3339. network, target_network: where
    the packet came from and where it is for; `outside` beyond an uplink. origin, target: endpoints of these addresses,
    None where there are none. icmp: "type/code". suppressed: events of this rule since the line before, of which
    nothing was written because its rate was used up.
    """

    number: int
    time: str
    rule: str
    action: str
    bridge: str
    dpid: str
    network: str | None
    target_network: str | None
    origin: str | None
    target: str | None
    protocol: str
    source_ip: str
    target_ip: str
    source_port: int | None
    target_port: int | None
    icmp: str | None
    suppressed: int


class TooManyReaders(TripointError):
    """As many as may be follow the log already."""


class LogReader(Protocol):
    """Events, oldest first; an iterator that must be closed. None: nothing has happened for a while."""

    def __iter__(self) -> Iterator[RuleEvent | None]: ...

    def __next__(self) -> RuleEvent | None: ...

    def close(self) -> None: ...


class Control(Protocol):
    """Every method may be called from any green thread; those that take long yield."""

    def current(self) -> Stored: ...

    def revision(self, number: int) -> Stored:
        """An older revision. Raises NoSuchObject."""
        ...

    def revisions(self) -> list[tuple[int, str]]:
        """(revision, RFC 3339 time) of all that are kept, oldest first."""
        ...

    def change(self, change: Change, if_match: int | None = None) -> Outcome:
        """Validate, compile, store (synced), send, wait until in force on every connected bridge or known why not.

        Raises PolicyError (all problems), RevisionConflict, NoSuchObject, StoreError; then the state is as before.
        """
        ...

    def plan(self, change: Change, if_match: int | None = None) -> PlanReport:
        """What `change` would do; raises the same."""
        ...

    def status(self) -> Status: ...

    def bindings(self) -> list[Binding]: ...

    def hosts(self) -> list[HostView]:
        """Every host of the policy, in the document's order."""
        ...

    def flows(self, dpid: str | None = None, origin: str | None = None, stage: str | None = None) -> Iterator[FlowView]:
        """Desired flows, by bridge, stage, priority; filters: exact dpid, prefix of origin, exact stage."""
        ...

    def rules(self) -> RulesView:
        """Every rule of the policy in force, with its counters, which are a second old at most."""
        ...

    def log(self, follow: bool = False) -> LogReader:
        """The events that are kept; with follow also those to come, without an end. Raises TooManyReaders."""
        ...
