"""What people and programs may ask of a running controller, and the answers. PURE: values and one Protocol.

`reconcile.Reconciler` implements `Control`; `api` is written against it and nothing else.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from typing import Literal, Protocol

from controller.errors import TripointError
from controller.policy.model import Policy

Kind = Literal["networks", "endpoints", "hosts"]
Document = dict[str, object]
"""A policy document as plain dicts, lists, strings, numbers, booleans and None."""


@dataclass(frozen=True, slots=True)
class PutPolicy:
    """Replace the whole document."""

    document: object


@dataclass(frozen=True, slots=True)
class PutObject:
    """Create or replace one named object."""

    kind: Kind
    name: str
    value: object


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


@dataclass(frozen=True, slots=True)
class Status:
    """The whole: revision stored, whether every connected bridge has it in force, and each bridge."""

    revision: int
    in_force: bool
    bridges: tuple[BridgeStatus, ...]
    refused: tuple[str, ...]
    """Why connections were refused lately, newest last."""


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
class Outcome:
    """What became of a change. revision: the one now stored. changed: False where the document was the same."""

    revision: int
    changed: bool
    in_force: bool
    bridges: tuple[BridgeOutcome, ...]


@dataclass(frozen=True, slots=True)
class Pair:
    """Two endpoints by name, and the network in which they reach each other."""

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
class PlanReport:
    """What a change would do. Nothing was sent and nothing was stored.

    members_*: names of endpoints. reachable, unreachable: pairs (source < target) that become so; at most `SHOWN` are
    listed, the counts are whole.
    """

    revision: int
    bridges: tuple[BridgePlan, ...]
    members_added: tuple[str, ...]
    members_removed: tuple[str, ...]
    members_changed: tuple[str, ...]
    reachable_count: int
    unreachable_count: int
    reachable: tuple[Pair, ...]
    unreachable: tuple[Pair, ...]


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

    def flows(self, dpid: str | None = None, origin: str | None = None, stage: str | None = None) -> Iterator[FlowView]:
        """Desired flows, by bridge, stage, priority; filters: exact dpid, prefix of origin, exact stage."""
        ...
