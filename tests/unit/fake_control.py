"""A Control without switches: real loading, checking and editing, outcomes as a test wants them; and a real server."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

import eventlet
import eventlet.wsgi

from controller.api import Api
from controller.control import (
    Binding,
    BridgeOutcome,
    BridgePlan,
    BridgeStatus,
    Change,
    FlowView,
    HostStatus,
    HostView,
    NoSuchObject,
    Outcome,
    Pair,
    PlanReport,
    PortsAs,
    RevisionConflict,
    RuleEvent,
    RulesView,
    RuleView,
    Status,
    Stored,
    TooManyReaders,
    TunnelView,
)
from controller.policy.advice import advise
from controller.policy.document import as_written
from controller.policy.edit import apply_change
from controller.policy.load import load
from controller.store import empty_document

BR0 = BridgeStatus(
    dpid="00000000000000a1", name="br0", peer="192.0.2.1:51234", connected=True, in_force=0, flows_desired=12,
    flows_installed=12, flows_added=12, flows_removed=0, flows_foreign=0, fail_mode="secure", last_error=None,
    warnings=(),
)  # fmt: skip
BR1 = replace(BR0, dpid="00000000000000b2", name="br1", peer="192.0.2.2:51234")

HOST_STATUS = HostStatus("boxA", False, "2024-01-01T00:00:00.000+00:00", False, "tcp:192.0.2.4:6640: refused", ())
HOST = HostView(
    "boxA", "tcp:192.0.2.4:6640", "192.0.2.4", "br0", BR0.dpid, True, HOST_STATUS, ("bridge br0: gone, made again",),
    tunnels=(TunnelView("tp-0123456789", "boxB", "192.0.2.5", False, "Neighbor Signaled Session Down"),),
    mtu={"green": 1450},
)  # fmt: skip

DOCUMENT: dict[str, object] = {
    "apiVersion": "tripoint/v1",
    "networks": {"green": {"vlan": 10}, "pink": {"vlan": 20}},
    "endpoints": {
        "web1": {"network": "green", "port": "p1", "mac": "02:00:00:00:00:01", "ips": ["192.168.5.1"]},
        "web2": {"network": "pink", "port": "p2", "mac": "02:00:00:00:00:02", "ips": ["192.168.5.2"]},
        "nas": {"networks": ["green", "pink"], "attach": "tagged", "port": "p9", "mac": "02:00:00:00:00:09"},
    },
}


EVENT = RuleEvent(
    number=1, time="2024-01-01T00:00:00.000+00:00", rule="no-telnet", action="drop", bridge="br0", dpid=BR0.dpid,
    network="green", target_network="outside", origin="web1", target=None, protocol="tcp", source_ip="192.168.5.1",
    target_ip="203.0.113.9", source_port=40000, target_port=23, icmp=None, suppressed=2,
)  # fmt: skip


@dataclass
class FakeReader:
    """What is given, and then heartbeats without an end for one that follows."""

    events: list[RuleEvent]
    follow: bool
    closed: bool = False

    def __iter__(self) -> FakeReader:
        return self

    def __next__(self) -> RuleEvent | None:
        if self.events:
            return self.events.pop(0)
        if not self.follow or self.closed:
            raise StopIteration
        eventlet.sleep(0.05)
        return None

    def close(self) -> None:
        self.closed = True


@dataclass
class FakeControl:
    """failing: bridge name -> why a change is not in force there. raising: what every call raises. rival: what happens
    to the policy between looking at it and changing it, once a call."""

    stored: list[Stored] = field(default_factory=lambda: [Stored(0, empty_document(), load(empty_document()))])
    bridges: tuple[BridgeStatus, ...] = (BR0, BR1)
    failing: dict[str, str] = field(default_factory=dict)
    raising: Exception | None = None
    rival: list[Change] = field(default_factory=list)
    flow_count: int = 5
    events: list[RuleEvent] = field(default_factory=lambda: [EVENT])
    full: bool = False
    readers: list[FakeReader] = field(default_factory=list)
    rule_views: tuple[RuleView, ...] = (
        RuleView("no-telnet", "emergency", "drop", 1, 3, 180),
        RuleView("web-in", "default", "allow", 2, 1200, 90000),
    )
    looked: list[tuple[object, ...]] = field(default_factory=list)

    def current(self) -> Stored:
        if self.raising is not None:
            raise self.raising
        return self.stored[-1]

    def revision(self, number: int) -> Stored:
        if number >= len(self.stored):
            raise NoSuchObject(f"there is no revision {number}")
        return self.stored[number]

    def revisions(self) -> list[tuple[int, str]]:
        return [(stored.revision, f"2024-01-01T00:00:0{stored.revision}.000Z") for stored in self.stored[1:]]

    def change(self, change: Change, if_match: int | None = None) -> Outcome:
        if self.rival:
            self._store(self.rival.pop(0))
        before = self.current()
        self._guard(if_match)
        self._store(change)
        after = self.current()
        bridges = tuple(
            BridgeOutcome(b.dpid, b.name, b.name not in self.failing, 3, 1, self.failing.get(b.name))
            for b in self.bridges
        )
        in_force = all(bridge.in_force for bridge in bridges)
        warnings = tuple(as_written(each, after.document) for each in advise(after.policy))
        return Outcome(after.revision, after is not before, in_force, bridges, warnings=warnings)

    def plan(self, change: Change, if_match: int | None = None) -> PlanReport:
        self._guard(if_match)
        document, policy = apply_change(self.current(), change)
        changes = document is not self.current().document
        added = ("table=0,priority=1 actions=drop",) * 2 * changes
        return PlanReport(
            self.current().revision, tuple(BridgePlan(b.dpid, b.name, len(added), 0, added, ()) for b in self.bridges),
            (), ("web1",) * changes, (), (), 1 * changes, 0, (Pair("nas", "web1", "green"),) * changes, (),
            tuple(as_written(each, document) for each in advise(policy)),
        )  # fmt: skip

    def status(self) -> Status:
        revision = self.current().revision
        bridges = tuple(
            replace(b, in_force=None if b.name in self.failing else revision, last_error=self.failing.get(b.name))
            for b in self.bridges
        )
        refused = ("192.0.2.9:4711: a datapath of this id is connected",)
        return Status(revision, not self.failing, bridges, (HOST_STATUS,), refused)

    def hosts(self) -> list[HostView]:
        return [HOST]

    def bindings(self) -> list[Binding]:
        names = list(self.current().policy.endpoints)
        return [
            Binding(name, f"port-{name}", PortsAs.ABSENT, None, None, None)
            if name == "web2"
            else Binding(name, f"port-{name}", PortsAs.BOUND, BR0.dpid, "br0", 7)
            for name in names
        ]

    def flows(self, dpid: str | None = None, origin: str | None = None, stage: str | None = None) -> Iterator[FlowView]:
        self.looked.append((dpid, origin, stage))
        for bridge in self.bridges:
            for number in range(self.flow_count if dpid in (None, bridge.dpid) else 0):
                why = f"flow {number} lets web1 in"
                yield FlowView(
                    bridge.dpid, bridge.name, "classify", f"{number:#018x}", "/endpoints/web1", why,
                    f"table=0,priority=100,in_port={number} actions=drop", True,
                )  # fmt: skip

    def rules(self) -> RulesView:
        return RulesView(self.current().revision, self.rule_views, ("br1",))

    def log(self, follow: bool = False) -> FakeReader:
        if self.full:
            raise TooManyReaders("64 readers follow the log already")
        reader = FakeReader(list(self.events), follow)
        self.readers.append(reader)
        return reader

    def _guard(self, if_match: int | None) -> None:
        if if_match is not None and if_match != self.current().revision:
            raise RevisionConflict(if_match, self.current().revision)

    def _store(self, change: Change) -> None:
        stored = self.current()
        document, policy = apply_change(stored, change)
        if document is not stored.document:
            self.stored.append(Stored(stored.revision + 1, document, policy))


@contextmanager
def serving(api: Api) -> Iterator[int]:
    """A real eventlet.wsgi server on a port of its own, in a thread of its own; yields the port."""
    listening = threading.Event()
    stop = threading.Event()
    port: list[int] = []

    def serve() -> None:
        listener = eventlet.listen(("127.0.0.1", 0))
        port.append(listener.getsockname()[1])
        server = eventlet.spawn(eventlet.wsgi.server, listener, api, log_output=False, debug=False, socket_timeout=5)
        listening.set()
        while not stop.is_set():
            eventlet.sleep(0.01)
        server.kill()
        listener.close()

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    assert listening.wait(10)
    try:
        yield port[0]
    finally:
        stop.set()
        thread.join(10)
