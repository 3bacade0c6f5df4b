"""Keeps every bridge at what is desired. State; all I/O is passed in.

One lock guards what is desired. One green thread a bridge compares desired with installed and sends the difference; it
alone touches what is installed. What computes for long runs in a thread of the operating system, so that the loop is
never held.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import datetime
from functools import partial
from typing import ParamSpec, TypeVar

from controller.announcing import announce, at_uplinks
from controller.binding_view import view_bindings
from controller.bridge import Bridge
from controller.control import (
    Binding,
    BridgeOutcome,
    Change,
    FlowView,
    HostView,
    Outcome,
    PlanReport,
    RevisionConflict,
    RulesView,
    Status,
    Stored,
)
from controller.desired import Desired
from controller.directory import Directory, PuntView
from controller.errors import CompileError, Problem, SwitchError
from controller.forgetting import forget
from controller.host_view import planned_hosts, status_of_hosts, view_hosts
from controller.host_wait import HostWait
from controller.hosts import HostDatabases, WantedHost
from controller.loop import Loop
from controller.news import News
from controller.pipeline import PIPELINE, TABLES
from controller.plan_report import Draft, Standing, report_plan
from controller.policy.load import load
from controller.policy.model import Dpid
from controller.punts import Punts
from controller.revisions import Revisions
from controller.rule_counters import Counted, RuleCounters
from controller.rule_log import Reader, RuleLog
from controller.switch import ForeignFlow, PacketIn, Switch
from controller.verifying import carry_out, size_of, verified_singly, verify_plan

LOG = logging.getLogger("tripoint.reconcile")

IN_FORCE_WITHIN_S = 30.0
"""How long a change waits for the bridges before it answers that it is not in force yet."""
AUDIT_EVERY_S = 60.0
"""How often everything installed is read again, to find what others have changed."""
AT_ONCE_UP_TO = 1000
"""A set of so many flows is compared in a fraction of a millisecond."""
REFUSALS_KEPT = 20

P = ParamSpec("P")
T = TypeVar("T")


class Reconciler:
    """Implements `control.Control`, and is told of switches by the framework's app."""

    def __init__(
        self, revisions: Revisions, loop: Loop, wall_clock: Callable[[], datetime], databases: HostDatabases
    ) -> None:
        """Raises StoreError and PolicyError where the stored policy cannot be read: then nothing may be touched."""
        self._revisions = revisions
        self._loop = loop
        self._wall_clock = wall_clock
        self._databases = databases
        self._lock = loop.lock()
        self._advice_lock = loop.lock()
        self._bridges: dict[Dpid, Bridge] = {}
        self._desired = Desired(revisions, self._bridges, databases, loop.now)
        self._wanted: tuple[WantedHost, ...] = self._desired.in_effect.hosts.hosts
        self._port_news = News()
        """Of ports and labels; the bindings are made of what is taken into account."""
        self._refused: list[str] = []
        self._directory = Directory(self._desired.stored.policy)
        self._rule_log = RuleLog(loop, wall_clock)
        self._rule_counters = RuleCounters(loop)
        self._host_facts: object = None
        self._host_news = News()
        self._look_is_due = False
        self._host_wait = HostWait(loop, wall_clock, databases, self._bridges, (self._port_news, self._host_news))
        databases.want(self._wanted)

    # What the framework tells

    def connect(self, switch: Switch) -> None:
        """A switch is there: read its ports, bind, and bring it to what is desired. Runs until it goes."""
        dpid = Dpid(switch.dpid)
        bridge = self._bridges.get(dpid)
        if bridge is None:
            bridge = self._bridges[dpid] = self._meet(dpid)
        bridge.begin(switch)
        LOG.info("bridge connected dpid=%016x peer=%s", dpid, switch.peer)
        try:
            switch.prepare()
            bridge.see_abilities(switch)
            while switch.alive:
                self._serve(bridge, switch)
        except SwitchError as error:
            LOG.warning("bridge not usable dpid=%016x error=%s", dpid, error)
            switch.close(str(error))
        finally:
            if bridge.switch is switch:
                bridge.switch, bridge.gone_at_s = None, self._loop.now()
                bridge.forget_installed()
                bridge.tell_settled()
                self._forget(bridge)
                self._wake_all()
            LOG.info("bridge gone dpid=%016x peer=%s", dpid, switch.peer)

    def change_port(self, switch: Switch, ofport: int, name: str | None) -> None:
        """A port appeared or got another name; name None: it disappeared."""
        bridge = self._bridges.get(Dpid(switch.dpid))
        if bridge is None or bridge.switch is not switch:
            return
        bridge.port_events.append((ofport, name))
        self._port_news.hear()
        bridge.wake.set()

    def packet_in(self, switch: Switch, packet: PacketIn) -> None:
        """The switch handed a packet over. Never waits."""
        bridge = self._bridges.get(Dpid(switch.dpid))
        if bridge is not None and bridge.switch is switch and bridge.punts is not None:
            bridge.punts.put(switch, packet)

    def gone(self, switch: Switch) -> None:
        """A connection ended: its `connect`, which may sleep, is to return now."""
        bridge = self._bridges.get(Dpid(switch.dpid))
        if bridge is not None and bridge.switch is switch:
            bridge.wake.set()

    def refused(self, why: str) -> None:
        """A connection was refused; shown in status."""
        LOG.warning("connection refused: %s", why)
        self._refused = [*self._refused, why][-REFUSALS_KEPT:]

    def hosts_changed(self) -> None:
        """The databases show something else than before."""
        self._host_wait.look_again()
        self._host_news.hear()
        if not self._look_is_due:
            self._look_is_due = True
            self._loop.spawn(self._look_at_hosts)

    def connected(self) -> frozenset[Dpid]:
        """The bridges that are there right now."""
        return frozenset(dpid for dpid, bridge in self._bridges.items() if bridge.connected)

    # What people and programs ask (control.Control)

    def current(self) -> Stored:
        return self._desired.stored

    def revision(self, number: int) -> Stored:
        if number == self._desired.stored.revision:
            return self._desired.stored
        document = self._loop.in_thread(self._revisions.read, number)
        return Stored(number, document, self._loop.in_thread(load, document))

    def revisions(self) -> list[tuple[int, str]]:
        return self._loop.in_thread(self._revisions.revisions)

    def change(self, change: Change, if_match: int | None = None) -> Outcome:
        with self._lock:
            stored = self._expect(if_match)
            draft = self._loop.in_thread(self._desired.draft, change)
            changed = draft.document is not stored.document
            if changed:
                self._loop.in_thread(self._store, change, draft)
                self._want()
                LOG.info("policy stored revision=%d", self._desired.stored.revision)
            revision, plan = self._desired.stored.revision, self._desired.in_effect.hosts
            for bridge in self._bridges.values():
                if bridge.connected and not (changed and bridge.pass_over(stored.revision, revision)):
                    bridge.wake.set()
        warnings = self._advise(draft)  # while the bridges take it
        hosts = self._host_wait.wait(plan)
        bridges = [bridge for bridge in self._bridges.values() if bridge.connected]
        outcomes = tuple(self._await(bridge, revision) for bridge in bridges)
        in_force = all(o.in_force for o in outcomes) and all(h.in_force for h in hosts)
        return Outcome(revision, changed, in_force, outcomes, hosts, plan.mtus, warnings)

    def plan(self, change: Change, if_match: int | None = None) -> PlanReport:
        with self._lock:
            stored = self._expect(if_match)
            draft = self._loop.in_thread(self._desired.draft, change)
            names = {dpid: bridge.name for dpid, bridge in self._bridges.items()}
            flows = {dpid: bridge.tally.flows for dpid, bridge in self._bridges.items()}
            hosts = planned_hosts(self._desired.in_effect.hosts, draft.hosts)
            draft = replace(draft, warnings=self._advise(draft))
            return self._loop.in_thread(report_plan, stored, draft, Standing(names, flows, hosts))

    def status(self) -> Status:
        now, settings, seen = self._desired.in_effect, self._databases.settings(), self._databases.seen()
        revision, here, refused = now.stored.revision, self.connected(), tuple(self._refused)
        bridges = tuple(bridge.status(settings.get(dpid)) for dpid, bridge in sorted(self._bridges.items()))
        in_force = all(b.in_force == revision for b in bridges if b.connected) and not self._port_news.pending
        hosts = self._loop.in_thread(status_of_hosts, now.stored.policy, now.bindings, now.hosts, seen, here)
        return Status(revision, in_force and all(h.in_force for h in hosts), bridges, hosts, refused)

    def bindings(self) -> list[Binding]:
        names, now = {dpid: bridge.name for dpid, bridge in self._bridges.items()}, self._desired.in_effect
        return self._loop.in_thread(view_bindings, now.stored.policy, now.bindings, names)

    def hosts(self) -> list[HostView]:
        bridges = {dpid: bridge.name for dpid, bridge in self._bridges.items() if bridge.connected}
        now, seen = self._desired.in_effect, self._databases.seen()
        return self._loop.in_thread(view_hosts, now.stored.policy, now.bindings, now.hosts, seen, bridges)

    def flows(self, dpid: str | None = None, origin: str | None = None, stage: str | None = None) -> Iterator[FlowView]:
        for number, bridge in sorted(self._bridges.items()):
            label = f"{number:016x}"
            if dpid is not None and dpid != label:
                continue
            for flow in self._loop.in_thread(bridge.compiled.flows):
                name = PIPELINE[flow.table].name
                if (stage is None or stage == name) and (origin is None or flow.origin.startswith(origin)):
                    installed = None if bridge.installed is None else flow.cookie in bridge.installed
                    cookie = f"{flow.cookie:#x}"
                    yield FlowView(label, bridge.name, name, cookie, flow.origin, flow.why, str(flow), installed)

    def rules(self) -> RulesView:
        bridges = [
            Counted(dpid, bridge.name, bridge.switch, bridge.tally.flows, bridge.generation)
            for dpid, bridge in sorted(self._bridges.items())
        ]
        return self._rule_counters.read(self._desired.stored, bridges)

    def log(self, follow: bool = False) -> Reader:
        return self._rule_log.read(follow)

    def _meet(self, dpid: Dpid) -> Bridge:
        """A bridge that is not known yet, or not any more."""
        bridge = Bridge(dpid, self._loop.waiter())
        bridge.punts = Punts(
            self._loop,
            view=lambda: self._punt_view(bridge),
            flow_of=lambda cookie: bridge.tally.flows.get(cookie),
            note=self._rule_log.note,
        )
        return bridge

    def _punt_view(self, bridge: Bridge) -> PuntView:
        policy = self._desired.stored.policy
        if self._directory.policy is not policy:
            self._directory = Directory(policy)
        uplinks = self._desired.in_effect.bindings.uplinks.get(bridge.dpid, {})
        return PuntView(bridge.dpid, bridge.name, self._directory, uplinks, TABLES)

    def _wake_all(self) -> None:
        """What a bridge that is gone carried may be found elsewhere."""
        self._port_news.hear()
        self._wake_connected()

    def _wake_connected(self) -> None:
        for bridge in self._bridges.values():
            if bridge.connected:
                bridge.wake.set()

    def _forget(self, bridge: Bridge) -> None:
        """A bridge that is gone and carries nobody, nor an uplink, now or before, is not remembered: strangers may come
        with any number of dpids.
        """
        if not bridge.seats and not bridge.given_up and not self._desired.in_effect.bindings.uplinks.get(bridge.dpid):
            del self._bridges[bridge.dpid]

    # Desired: under the lock

    def _expect(self, if_match: int | None) -> Stored:
        stored = self._desired.stored
        if if_match is not None and if_match != stored.revision:
            raise RevisionConflict(if_match, stored.revision)
        return stored

    def _advise(self, draft: Draft) -> tuple[Problem, ...]:
        with self._advice_lock:
            return self._loop.in_thread(self._desired.advise, draft)

    def _store(self, change: Change, draft: Draft) -> None:
        """The revision is on the disk before anything of it is in effect."""
        ranks, before = draft.book.rules.ranks, self._desired.stored.revision
        number = self._revisions.append(before, change, self._wall_clock(), ranks)
        self._desired.put_in_effect(draft, number)

    def _bind_again(self) -> Draft:
        draft = self._desired.draft_again()
        self._desired.put_in_effect(draft)
        return draft

    def _look_at_hosts(self) -> None:
        """Bind again if the databases show what binding depends on otherwise. However often they change, one look is
        taken at a time, and no bridge is waited for.
        """
        with self._lock:
            self._look_is_due, n_changes = False, self._host_news.count
            facts = self._loop.in_thread(self._desired.read_host_facts)
            if facts != self._host_facts:
                self._host_facts = facts
                self._port_news.hear()
            try:
                self._rebind()
            except CompileError as error:
                LOG.error("what the databases show cannot be compiled error=%s", error)
                self._wake_connected()  # each of them says so in its status
            self._host_news.take(n_changes)
        self._host_wait.look_again()

    def _want(self) -> None:
        """Tell the databases what their hosts are to have, where that is something else now."""
        hosts = self._desired.in_effect.hosts.hosts
        if hosts != self._wanted:
            self._wanted = hosts
            self._databases.want(hosts)

    def _rebind(self, asking: Bridge | None = None) -> None:
        """Bring bindings and compiled flows to the ports as they are now; wake the other bridges that this concerns.

        asking: the bridge that does this in order to send what comes of it.
        """
        if not self._port_news.pending:
            return
        n_changes = self._port_news.count
        draft = self._loop.in_thread(self._bind_again)
        self._port_news.take(n_changes)
        self._want()
        for dpid, changes in draft.differences.items():
            bridge = self._bridges.get(dpid)
            if changes and bridge is not None and bridge.connected and bridge is not asking:
                bridge.wake.set()

    # Installed: by the bridge's own green thread

    def _compute(self, size: int, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Where a call takes less time than to hand it to a thread, it is made here. size: flows that it looks at."""
        if size <= AT_ONCE_UP_TO:
            return function(*args, **kwargs)
        return self._loop.in_thread(function, *args, **kwargs)

    def _serve(self, bridge: Bridge, switch: Switch) -> None:
        """Settle once, then sleep until something changes, an audit is due, or a failed attempt may be repeated."""
        wait_s = AUDIT_EVERY_S
        bridge.wake = self._loop.waiter()
        bridge.busy = True
        try:
            self._settle(bridge, switch)
        except (SwitchError, CompileError) as error:
            if bridge.switch is not switch:
                return
            wait_s = bridge.note_failure(str(error))
            LOG.warning("not in force dpid=%016x retry_s=%.1f error=%s", bridge.dpid, wait_s, error)
        bridge.busy = False
        bridge.tell_settled()
        self._host_wait.look_again()
        if switch.alive and not bridge.wake.wait(wait_s) and bridge.switch is switch:
            bridge.forget_installed()

    def _settle(self, bridge: Bridge, switch: Switch) -> None:
        """Send the difference and verify it. Raises SwitchError and CompileError.

        Wherever this waits, a newer connection of the same bridge may begin: the bridge's state is then that one's.
        """
        bridge.attempted, bridge.failed = self._desired.stored.revision, None
        foreign: tuple[ForeignFlow, ...] = ()
        installed = bridge.installed
        if installed is None:
            bridge.see_ports(switch.read_ports())
            self._port_news.hear()
            dump = switch.read_flows()
            installed, foreign = set(dump.cookies), dump.foreign
        with self._lock:
            _require_current(bridge, switch)
            bridge.wake = self._loop.waiter()  # what it was woken for until now is in what follows
            self._rebind(bridge)
            _require_current(bridge, switch)
            revision = bridge.attempted = self._desired.stored.revision
            bridge.installed = installed
            plan = self._compute(bridge.plan_size, bridge.take_plan, installed)
            each = verified_singly(plan, len(bridge.tally.flows))
            present = at_uplinks(bridge.compiled)
        found: frozenset[int] | None = None
        if plan or foreign:
            verify = [*(flow.cookie for flow in plan.add), *plan.remove] if each else []
            found = switch.apply(plan.add, plan.remove, foreign, verify)
            self._compute(size_of(plan), carry_out, plan, installed)
        _require_current(bridge, switch)
        bridge.note_change(plan)
        if found is not None:
            verify_plan(self._loop, switch, installed, plan, found if each else None)
            LOG.info("in force dpid=%016x revision=%d added=%d removed=%d foreign=%d",
                     bridge.dpid, revision, len(plan.add), len(plan.remove), len(foreign))  # fmt: skip
        forget(self._loop, self._lock, bridge, switch)
        _require_current(bridge, switch)
        bridge.note_in_force(revision, len(foreign))
        new, bridge.announced = present - bridge.announced, present
        if new:
            self._loop.spawn(partial(announce, self._loop, switch, new, lambda: bridge.announced))

    def _await(self, bridge: Bridge, revision: int) -> BridgeOutcome:
        until = self._loop.now() + IN_FORCE_WITHIN_S
        while not bridge.is_settled(revision) and (left_s := until - self._loop.now()) > 0:
            waiter = self._loop.waiter()
            bridge.settled.append(waiter)
            waiter.wait(left_s)
        return bridge.outcome(revision)


def _require_current(bridge: Bridge, switch: Switch) -> None:
    """Raise SwitchError where a newer connection of the bridge has taken this one's place."""
    if bridge.switch is not switch:
        raise SwitchError("a newer connection of this bridge has taken over")
