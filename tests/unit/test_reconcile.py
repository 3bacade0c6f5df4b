"""The reconciler with a switch that is a dictionary, and plain threads in place of green ones."""

from __future__ import annotations

import contextlib
import threading
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest

from controller import announcing, forgetting
from controller.announcing import TIMES
from controller.bridge import Bridge
from controller.bridge_settings import BridgeSettings
from controller.control import DeleteObject, NoSuchObject, PortsAs, PutObject, PutPolicy, RevisionConflict
from controller.errors import PolicyError, StoreError, SwitchError
from controller.flow.actions import Action, Output, SetField
from controller.flow.connections import Connections, End
from controller.flow.fields import NETWORK, PUNTED, Punt
from controller.flow.flow import Flow
from controller.frames.neighbors import announcement
from controller.host_wait import HOSTS_WITHIN_S
from controller.hosts import DatabaseSeen, HostSeen, PortSeen, WantedHost
from controller.pipeline import rulebook
from controller.policy.load import load
from controller.policy.model import Dpid
from controller.policy.tracking import DNAT_ZONE, SNAT_ZONE
from controller.reconcile import Reconciler
from controller.store import Store
from controller.switch import FlowDump, ForeignFlow, PacketIn
from controller.tunnels import tunnel_port
from tests.wire.threads import ThreadLoop
from topologies.frames import Party, udp

LOCAL = 0xFFFFFFFE
WITHIN_S = 5.0
AGAIN_AFTER_S = (0.02, 0.02, 0.02)
EVERY_S = 0.1


class FakeSwitch:
    """Holds flows; every change that was asked of it is in `changes` as (added, removed)."""

    def __init__(self, dpid: int = 1, **ports: int) -> None:
        self.dpid = dpid
        self.peer = "192.0.2.1:1"
        self.alive = True
        self.ports = {"br0": LOCAL, **ports}
        self.flows: dict[int, Flow] = {}
        self.foreign: list[ForeignFlow] = []
        self.changes: list[tuple[int, int]] = []
        self.packets: list[tuple[tuple[Action, ...], bytes]] = []
        self.forgotten: list[Connections] = []
        self.refuse = ""

    def prepare(self) -> None:
        pass

    @property
    def advertises(self) -> bool:
        return True

    def read_ports(self) -> Mapping[str, int]:
        return dict(self.ports)

    def read_flows(self) -> FlowDump:
        return FlowDump(frozenset(self.flows), 0, tuple(self.foreign))

    def find_flows(self, cookies: Collection[int]) -> frozenset[int]:
        return frozenset(cookies) & frozenset(self.flows)

    def read_counters(self, cookies: Collection[int] | None = None) -> Mapping[int, tuple[int, int]]:
        return {cookie: (0, 0) for cookie in self.flows if cookies is None or cookie in cookies}

    def forget(self, connections: Collection[Connections]) -> None:
        self.forgotten += sorted(connections, key=str)

    def send_packet(self, actions: tuple[Action, ...], frame: bytes) -> None:
        self.packets.append((actions, frame))

    def apply(
        self,
        add: Sequence[Flow],
        remove: Sequence[int],
        foreign: Sequence[ForeignFlow] = (),
        verify: Collection[int] = (),
    ) -> frozenset[int]:
        if self.refuse:
            raise SwitchError(self.refuse)
        self.changes.append((len(add), len(remove)))
        for cookie in remove:
            del self.flows[cookie]
        self.flows.update((flow.cookie, flow) for flow in add)
        self.foreign = [flow for flow in self.foreign if flow not in foreign]
        return self.find_flows(verify)

    def close(self, reason: str) -> None:
        self.alive = False


class FakeDatabases:
    """Implements HostDatabases. shown_hosts: what is seen of a host once it is wanted."""

    def __init__(self) -> None:
        self.wanted: tuple[WantedHost, ...] = ()
        self.shown_hosts: dict[str, HostSeen] = {}

    def want(self, hosts: tuple[WantedHost, ...]) -> None:
        self.wanted = hosts

    def seen(self) -> Mapping[str, HostSeen]:
        return {host.name: self.shown_hosts[host.name] for host in self.wanted if host.name in self.shown_hosts}

    def shown(self) -> Collection[DatabaseSeen]:
        return [host.shown for host in self.shown_hosts.values()]

    def settings(self) -> Mapping[Dpid, BridgeSettings]:
        return {}


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = Store.open(tmp_path / "store.db")
    yield opened
    opened.close()


@pytest.fixture(autouse=True)
def shortly(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is done again after some time is done again soon."""
    monkeypatch.setattr(forgetting, "AGAIN_AFTER_S", AGAIN_AFTER_S)
    monkeypatch.setattr(announcing, "EVERY_S", EVERY_S)


def make(store: Store, databases: FakeDatabases | None = None) -> Reconciler:
    return Reconciler(store, ThreadLoop(), lambda: datetime.now(UTC), databases or FakeDatabases())


@contextmanager
def connected(reconciler: Reconciler, switch: FakeSwitch) -> Iterator[FakeSwitch]:
    before = {bridge.dpid: bridge.in_force for bridge in reconciler.status().bridges}
    thread = threading.Thread(target=reconciler.connect, args=(switch,), daemon=True)
    thread.start()
    if not switch.refuse:
        until(lambda: in_force(reconciler, switch))
    try:
        yield switch
    finally:
        switch.alive = False
        switch.refuse = ""
        reconciler.gone(switch)
        thread.join(WITHIN_S)
    assert not thread.is_alive(), before


def in_force(reconciler: Reconciler, switch: FakeSwitch) -> bool:
    status = reconciler.status()
    return any(b.dpid == f"{switch.dpid:016x}" and b.in_force == status.revision for b in status.bridges)


def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + WITHIN_S
    while not condition():
        assert time.monotonic() < end, "not within the time"
        time.sleep(0.002)


def document(*names: str) -> dict[str, object]:
    return {
        "apiVersion": "tripoint/v1",
        "networks": {"green": {"vlan": 10, "cidrs": ["10.0.0.0/24"]}},
        "endpoints": {name: endpoint(number) for number, name in enumerate(names, 1)},
    }


def endpoint(number: int) -> dict[str, object]:
    return {
        "network": "green",
        "port": f"p{number}",
        "mac": f"02:00:00:00:00:{number:02x}",
        "ips": [f"10.0.0.{number}"],
    }


def test_without_a_policy_a_bridge_gets_the_flows_that_drop(store: Store) -> None:
    reconciler = make(store)
    with connected(reconciler, FakeSwitch(p1=1)) as switch:
        assert switch.flows
        assert not any("output" in str(flow) for flow in switch.flows.values())
        assert reconciler.status().bridges[0].name == "br0"


def test_change_answers_when_it_is_in_force(store: Store) -> None:
    reconciler = make(store)
    with connected(reconciler, FakeSwitch(p1=1, p2=2)) as switch:
        outcome = reconciler.change(PutPolicy(document("a", "b")))
        assert (outcome.revision, outcome.changed, outcome.in_force) == (1, True, True)
        assert sum("output" in str(flow) for flow in switch.flows.values()) == 2
        assert [binding.state for binding in reconciler.bindings()] == [PortsAs.BOUND, PortsAs.BOUND]


def test_the_same_policy_again_changes_nothing(store: Store) -> None:
    reconciler = make(store)
    with connected(reconciler, FakeSwitch(p1=1, p2=2)) as switch:
        reconciler.change(PutPolicy(document("a", "b")))
        before = list(switch.changes)
        outcome = reconciler.change(PutPolicy(document("a", "b")))
        assert (outcome.revision, outcome.changed, outcome.in_force) == (1, False, True)
        assert switch.changes == before


def test_one_endpoint_sends_only_its_own_flows(store: Store) -> None:
    reconciler = make(store)
    with connected(reconciler, FakeSwitch(p1=1, p2=2, p3=3)) as switch:
        reconciler.change(PutPolicy(document("a", "b")))
        outcome = reconciler.change(PutObject("endpoints", "c", endpoint(3)))
        own = 11
        assert switch.changes[-1] == (own + 1, 1)  # and the network's list of members
        assert (outcome.bridges[0].added, outcome.bridges[0].removed) == (own + 1, 1)
        reconciler.change(DeleteObject("endpoints", "c"))
        assert switch.changes[-1] == (1, own + 1)


def test_stored_policy_is_in_force_after_a_restart_with_nothing_sent(store: Store) -> None:
    first = make(store)
    with connected(first, FakeSwitch(p1=1)) as switch:
        first.change(PutPolicy(document("a")))
        flows = dict(switch.flows)
    again = make(store)
    returned = FakeSwitch(p1=1)
    returned.flows = flows
    with connected(again, returned):
        assert again.current().revision == 1
        assert returned.changes == []


def filtered(*names: str) -> dict[str, object]:
    """Three members, and a rule for each name."""
    rules = [{"name": name, "action": "drop", "from": "a", "proto": "tcp", "ports": [ord(name)]} for name in names]
    return {**document("a", "b", "c"), "rules": rules}


def test_rules_that_came_and_went_amid_their_tier_are_in_force_after_a_restart_with_nothing_sent(store: Store) -> None:
    first = make(store)
    ports = {"p1": 1, "p2": 2, "p3": 3}
    with connected(first, FakeSwitch(**ports)) as switch:
        first.change(PutPolicy(filtered("f", "g", "h", "i")))
        drop = {"action": "drop", "from": "b"}
        for number in range(20):
            first.change(PutObject("rules", f"new{number}", drop, before="h"))
        for name in ("g", "new3", "new19"):
            first.change(DeleteObject("rules", name))
        first.change(PutObject("rules", "i", drop, before="f"))
        flows, stored = dict(switch.flows), first.current()
    again = make(store)
    returned = FakeSwitch(**ports)
    returned.flows = flows
    with connected(again, returned):
        assert again.current() == stored
        assert returned.changes == []
        again.change(DeleteObject("rules", "new7"))
        (added, removed) = returned.changes[-1]
        assert (added, removed > 0) == (0, True)


def test_a_document_that_is_put_back_brings_back_its_flows_and_moves_no_other(store: Store) -> None:
    reconciler = make(store)
    with connected(reconciler, FakeSwitch(p1=1, p2=2, p3=3)) as switch:
        reconciler.change(PutPolicy(filtered("f", "g", "h", "i")))
        first = dict(switch.flows)
        reconciler.change(PutPolicy(filtered("f", "x", "h", "y", "i")))
        second = dict(switch.flows)
        n_changes = len(switch.changes)
        reconciler.change(PutPolicy(filtered("f", "x", "h", "y", "i")))
        assert len(switch.changes) == n_changes
        for _ in range(3):
            reconciler.change(PutPolicy(filtered("f", "g", "h", "i")))
            assert switch.flows == first
            reconciler.change(PutPolicy(filtered("f", "x", "h", "y", "i")))
            assert switch.flows == second
        assert first.keys() - second.keys() == {c for c, flow in first.items() if flow.origin == "/rules/g"}


def test_a_plan_of_a_rule_before_another_one_is_what_comes_of_it(store: Store) -> None:
    reconciler = make(store)
    with connected(reconciler, FakeSwitch(p1=1, p2=2, p3=3)) as switch:
        reconciler.change(PutPolicy(filtered("f", "g", "h")))
        change = PutObject("rules", "new", {"action": "drop", "from": "a", "proto": "udp"}, before="g")
        (planned,) = reconciler.plan(change).bridges
        n_changes = len(switch.changes)
        reconciler.change(change)
        assert switch.changes[n_changes:] == [(planned.add, planned.remove)]
        assert planned.remove == 0
        assert list(reconciler.current().policy.rules) == ["f", "new", "g", "h"]


def test_a_store_without_ranks_gets_them_with_its_next_revision(store: Store) -> None:
    store.append(0, PutPolicy(filtered("f", "g")), datetime.now(UTC))
    reconciler = make(store)
    assert store.ranks() == {}
    with connected(reconciler, FakeSwitch(p1=1, p2=2, p3=3)) as switch:
        reconciler.change(PutObject("endpoints", "c", {**endpoint(3), "labels": {"x": "y"}}))
        assert list(store.ranks()["default"]) == ["f", "g"]
        flows = dict(switch.flows)
    returned = FakeSwitch(p1=1, p2=2, p3=3)
    returned.flows = flows
    with connected(make(store), returned):
        assert returned.changes == []


def test_rejected_policy_leaves_everything_as_it_was(store: Store) -> None:
    reconciler = make(store)
    with connected(reconciler, FakeSwitch(p1=1)) as switch:
        reconciler.change(PutPolicy(document("a")))
        before = dict(switch.flows)
        bad = document("a")
        bad["endpoints"] = {"a": {**endpoint(1), "network": "gren"}}
        with pytest.raises(PolicyError, match="green"):
            reconciler.change(PutPolicy(bad))
        assert switch.flows == before
        assert reconciler.current().revision == 1


def test_store_that_cannot_be_written_leaves_everything_as_it_was(store: Store) -> None:
    reconciler = make(store)
    with connected(reconciler, FakeSwitch(p1=1)) as switch:
        before = dict(switch.flows)
        store.close()
        with pytest.raises(StoreError):
            reconciler.change(PutPolicy(document("a")))
        assert switch.flows == before
        assert reconciler.current().revision == 0
        assert reconciler.status().bridges[0].flows_desired == len(before)


def test_ports_that_come_and_go_take_their_endpoint_along(store: Store) -> None:
    reconciler = make(store)
    reconciler.change(PutPolicy(document("a")))
    with connected(reconciler, FakeSwitch()) as switch:
        bare = len(switch.flows)
        reconciler.change_port(switch, 5, "p1")
        until(lambda: len(switch.flows) > bare)
        reconciler.change_port(switch, 5, None)
        until(lambda: len(switch.flows) == bare)
        reconciler.change_port(switch, 9, "p1")
        until(lambda: any("output:9" in str(flow) for flow in switch.flows.values()))


def test_foreign_flows_are_removed_and_counted(store: Store) -> None:
    reconciler = make(store)
    switch = FakeSwitch()
    switch.foreign = [ForeignFlow(0, 1, 0, b"")]
    with connected(reconciler, switch):
        assert switch.foreign == []
        assert reconciler.status().bridges[0].flows_foreign == 1


def test_switch_that_refuses_is_reported_and_tried_again(store: Store) -> None:
    reconciler = make(store)
    with connected(reconciler, FakeSwitch(p1=1)) as switch:
        switch.refuse = "table full"
        outcome = reconciler.change(PutPolicy(document("a")))
        assert not outcome.in_force
        assert outcome.bridges[0].error == "table full"
        assert outcome.revision == 1
        assert reconciler.status().bridges[0].last_error == "table full"
        switch.refuse = ""
        until(lambda: in_force(reconciler, switch))
        assert reconciler.status().bridges[0].last_error is None


def test_switch_that_lies_about_success_is_found_out(store: Store) -> None:
    reconciler = make(store)

    class Liar(FakeSwitch):
        def apply(
            self,
            add: Sequence[Flow],
            remove: Sequence[int],
            foreign: Sequence[ForeignFlow] = (),
            verify: Collection[int] = (),
        ) -> frozenset[int]:
            if self.refuse:
                raise SwitchError(self.refuse)
            return self.find_flows(verify)

    liar = Liar(p1=1)
    liar.refuse = "not yet"
    with connected(reconciler, liar):
        liar.refuse = ""
        outcome = reconciler.change(PutPolicy(document("a")))
        assert not outcome.in_force
        assert "missing" in (outcome.bridges[0].error or "")


def test_revision_guards_against_lost_updates(store: Store) -> None:
    reconciler = make(store)
    reconciler.change(PutPolicy(document("a")), if_match=0)
    with pytest.raises(RevisionConflict):
        reconciler.change(PutPolicy(document("b")), if_match=0)
    with pytest.raises(NoSuchObject):
        reconciler.change(DeleteObject("endpoints", "nobody"))
    assert reconciler.current().document == document("a")
    assert reconciler.revision(1).document == document("a")


def test_plan_says_what_would_change_and_changes_nothing(store: Store) -> None:
    reconciler = make(store)
    with connected(reconciler, FakeSwitch(p1=1, p2=2)) as switch:
        reconciler.change(PutPolicy(document("a")))
        before = dict(switch.flows)
        report = reconciler.plan(PutPolicy(document("a", "b")))
        assert report.members_added == ("b",)
        assert [(pair.source, pair.target, pair.network) for pair in report.reachable] == [("a", "b", "green")]
        assert report.unreachable_count == 0
        assert (report.bridges[0].add, report.bridges[0].remove) == (12, 1)
        assert switch.flows == before
        assert reconciler.current().revision == 1
        away = reconciler.plan(DeleteObject("endpoints", "a"))
        assert away.members_removed == ("a",)


def test_a_plan_names_the_pairs_that_a_rule_parts_or_joins(store: Store) -> None:
    reconciler = make(store)
    reconciler.change(PutPolicy(document("a", "b")))
    report = reconciler.plan(PutObject("rules", "apart", {"action": "drop", "from": "a", "to": "b"}))
    assert (report.unreachable_count, report.reachable_count) == (0, 0), "b may still open connections to a"
    report = reconciler.plan(PutObject("rules", "apart", {"action": "drop"}))
    assert [(pair.source, pair.target, pair.network) for pair in report.unreachable] == [("a", "b", "green")]
    reconciler.change(PutObject("rules", "apart", {"action": "drop"}))
    assert reconciler.plan(DeleteObject("rules", "apart")).reachable_count == 1


def test_rules_that_need_more_flows_than_a_switch_can_have_are_refused(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    reconciler = make(store)
    monkeypatch.setattr(rulebook, "FLOWS_MAX", 3)
    listed = [{"name": name, "action": "drop", "from": ["a", "b"], "to": ["a", "b"]} for name in ("r", "s")]
    assert reconciler.change(PutPolicy({**document("a", "b"), "rules": []})).revision == 1
    for ask in (reconciler.change, reconciler.plan):
        with pytest.raises(PolicyError) as caught:
            ask(PutPolicy({**document("a", "b"), "rules": listed}))
        ((path, message),) = [(each.path, each.message) for each in caught.value.problems]
        assert (path, message[:20]) == ("/rules", "rules need 8 flows, ")
    assert reconciler.current().revision == 1


def test_changes_and_plans_warn_of_what_is_odd_with_paths_in_the_document(store: Store) -> None:
    reconciler = make(store)
    odd = {**document("a"), "rules": [{"name": "x", "action": "drop"}, {"name": "y", "action": "drop"}]}
    assert [warning.path for warning in reconciler.plan(PutPolicy(odd)).warnings] == ["/rules/1"]
    assert [warning.path for warning in reconciler.change(PutPolicy(odd)).warnings] == ["/rules/1"]
    assert [warning.path for warning in reconciler.change(PutPolicy(odd)).warnings] == ["/rules/1"]
    assert reconciler.change(DeleteObject("rules", "x")).warnings == ()


def test_policy_put_while_a_bridge_is_away_is_in_force_when_it_returns(store: Store) -> None:
    reconciler = make(store)
    with connected(reconciler, FakeSwitch(p1=1)) as switch:
        flows = dict(switch.flows)
    outcome = reconciler.change(PutPolicy(document("a")))
    assert outcome.bridges == ()
    returned = FakeSwitch(p1=1)
    returned.flows = flows
    with connected(reconciler, returned):
        assert any("output:1" in str(flow) for flow in returned.flows.values())


def test_bridge_that_is_gone_is_remembered_only_if_it_carries_somebody(store: Store) -> None:
    reconciler = make(store)
    reconciler.change(PutPolicy(document("a")))
    with connected(reconciler, FakeSwitch(dpid=1, p1=1)):
        with connected(reconciler, FakeSwitch(dpid=2)):
            assert len(reconciler.status().bridges) == 2
        assert [bridge.dpid for bridge in reconciler.status().bridges] == ["0000000000000001"]
    assert [bridge.connected for bridge in reconciler.status().bridges] == [False]
    assert reconciler.bindings()[0].state is PortsAs.BOUND


def test_flows_are_explained_by_origin_and_stage(store: Store) -> None:
    reconciler = make(store)
    with connected(reconciler, FakeSwitch(p1=1)):
        reconciler.change(PutPolicy(document("a")))
        shown = list(reconciler.flows(origin="/endpoints/a", stage="deliver"))
        assert [view.text.split("actions=")[1] for view in shown] == ["output:1"]
        assert shown[0].installed
        assert shown[0].why


# Hosts whose databases are managed

MANAGED: dict[str, object] = {
    "apiVersion": "tripoint/v1",
    "hosts": {
        name: {"bridge": "br0", "dpid": f"{number:016x}", "ovsdb": f"from:{name}", "vtep": f"192.0.2.{number}"}
        for number, name in enumerate(("boxA", "boxB"), 1)
    },
    "networks": {"green": {"vni": 5010}},
    "endpoints": {
        "a": {**endpoint(1), "ips": [], "host": "boxA"},
        "b": {**endpoint(2), "ips": [], "host": "boxB"},
        "vm": {"network": "green", "iface_id": "6a7b", "mac": "02:00:00:00:00:03"},
    },
}


def shown(name: str, dpid: int, *ports: PortSeen, in_force: bool = True, why: str = "") -> HostSeen:
    since, database = datetime(2024, 1, 1, tzinfo=UTC), DatabaseSeen({"br0": Dpid(dpid)}, ports)
    return HostSeen(name, f"from:{name}", not why, since, why, in_force, (), "3.1.0", name, database)


def port_seen(name: str, ofport: int | None, iface_id: str | None = None) -> PortSeen:
    return PortSeen(name, "br0", "", ofport, True, 1500, iface_id, None, None, True, None)


def test_hosts_are_wanted_from_the_start_and_with_every_change(store: Store) -> None:
    databases = FakeDatabases()
    reconciler = make(store, databases)
    assert databases.wanted == ()
    reconciler.change(PutPolicy(MANAGED))
    assert [host.name for host in databases.wanted] == ["boxA", "boxB"]
    assert {port.name for port in databases.wanted[0].ports} == {"p1", tunnel_port("boxB")}
    again = FakeDatabases()
    make(store, again)
    assert again.wanted == databases.wanted
    (planned,) = reconciler.plan(DeleteObject("endpoints", "b")).hosts[:1]
    assert (planned.name, planned.made, planned.removed) == ("boxA", (), (tunnel_port("boxB"),))
    reconciler.change(DeleteObject("endpoints", "b"))
    assert {port.name for port in databases.wanted[0].ports} == {"p1"}


def test_a_host_that_cannot_be_reached_delays_nobody_and_is_named(store: Store) -> None:
    databases = FakeDatabases()
    reconciler = make(store, databases)
    databases.shown_hosts = {name: shown(name, 9, why=f"from:{name} has not connected") for name in ("boxA", "boxB")}
    began = time.monotonic()
    outcome = reconciler.change(PutPolicy(MANAGED))
    assert time.monotonic() - began < HOSTS_WITHIN_S / 2
    assert not outcome.in_force
    assert [(h.name, h.error) for h in outcome.hosts] == [
        ("boxA", "from:boxA has not connected"), ("boxB", "from:boxB has not connected"),
    ]  # fmt: skip
    assert outcome.mtu == {"green": 1450}
    assert [host.error for host in reconciler.status().hosts] == [h.error for h in outcome.hosts]


def test_a_change_waits_for_the_bridge_and_the_ports_of_a_host(store: Store) -> None:
    databases = FakeDatabases()
    reconciler = make(store, databases)
    one = {**MANAGED, "hosts": {"boxA": MANAGED["hosts"]["boxA"]}, "endpoints": {"a": MANAGED["endpoints"]["a"]}}  # type: ignore[index]
    databases.shown_hosts = {"boxA": shown("boxA", 1, port_seen("p1", 5))}
    with ThreadPoolExecutor() as pool:
        outcome = pool.submit(reconciler.change, PutPolicy(one))
        with connected(reconciler, switch := FakeSwitch(1)):
            time.sleep(0.1)
            assert not outcome.done()
            reconciler.change_port(switch, 5, "p1")
            assert outcome.result(WITHIN_S).in_force
            assert [binding.ofport for binding in reconciler.bindings()] == [5]


def test_labels_and_tunnels_come_into_force_when_the_databases_show_them(store: Store) -> None:
    databases = FakeDatabases()
    reconciler = make(store, databases)
    tunnel = {name: tunnel_port(peer) for name, peer in (("boxA", "boxB"), ("boxB", "boxA"))}
    with (
        connected(reconciler, FakeSwitch(1, p1=1, vnet0=2, **{tunnel["boxA"]: 9})) as near,
        connected(reconciler, FakeSwitch(2, p2=1, **{tunnel["boxB"]: 9})) as far,
    ):
        reconciler.change(PutPolicy(MANAGED))
        assert all("in_port=9" in "".join(map(str, switch.flows.values())) for switch in (near, far))
        assert {b.endpoint: b.state for b in reconciler.bindings()}["vm"] is PortsAs.ABSENT
        databases.shown_hosts = {"boxA": shown("boxA", 1, port_seen("p1", 1), port_seen("vnet0", 2, "6a7b"))}
        reconciler.hosts_changed()
        until(lambda: {b.endpoint: b.ofport for b in reconciler.bindings()}["vm"] == 2)
        until(lambda: reconciler.status().bridges[1].in_force is not None)
        until(lambda: any("02:00:00:00:00:03" in str(flow) for flow in far.flows.values()))
        (view, _) = reconciler.hosts()
        assert [(port.name, port.endpoint) for port in view.ports] == [("p1", "a"), ("vnet0", "vm")]
        assert view.bridge_connected


def test_a_host_whose_bridge_has_gone_is_not_in_force_whatever_its_database_says(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("controller.host_wait.HOSTS_WITHIN_S", 0.2)
    databases = FakeDatabases()
    reconciler = make(store, databases)
    one = {**MANAGED, "hosts": {"boxA": MANAGED["hosts"]["boxA"]}, "endpoints": {"a": MANAGED["endpoints"]["a"]}}  # type: ignore[index]
    databases.shown_hosts = {"boxA": shown("boxA", 1, port_seen("p1", 5))}
    with connected(reconciler, FakeSwitch(1, p1=5)):
        assert reconciler.change(PutPolicy(one)).in_force
        assert reconciler.status().hosts[0].in_force
    until(lambda: not reconciler.connected())
    outcome = reconciler.change(DeleteObject("endpoints", "a"))
    assert not outcome.in_force
    assert outcome.hosts[0].error == "bridge br0 is not connected"
    assert not reconciler.status().in_force
    assert reconciler.status().hosts[0].error == "bridge br0 is not connected"


def test_a_port_whose_name_is_too_long_for_openflow_is_not_waited_for(store: Store) -> None:
    databases = FakeDatabases()
    reconciler = make(store, databases)
    one = {**MANAGED, "hosts": {"boxA": MANAGED["hosts"]["boxA"]}, "endpoints": {"a": MANAGED["endpoints"]["a"]}}  # type: ignore[index]
    databases.shown_hosts = {"boxA": shown("boxA", 1, port_seen("p1", 5), port_seen("patch-to-somewhere-else", 6))}
    with connected(reconciler, FakeSwitch(1, p1=5)):
        began = time.monotonic()
        assert reconciler.change(PutPolicy(one)).in_force
        assert time.monotonic() - began < HOSTS_WITHIN_S / 2


def test_labels_are_bound_while_another_bridge_does_not_answer(store: Store) -> None:
    databases = FakeDatabases()
    reconciler = make(store, databases)
    answer = threading.Event()

    class Silent(FakeSwitch):
        def read_ports(self) -> Mapping[str, int]:
            answer.wait(WITHIN_S * 2)
            return super().read_ports()

    threading.Thread(target=reconciler.connect, args=(Silent(9),), daemon=True).start()
    until(lambda: bool(reconciler.connected()))
    try:
        with connected(reconciler, FakeSwitch(1, p1=1, vnet0=2)):
            databases.shown_hosts = {"boxA": shown("boxA", 1, port_seen("p1", 1))}
            one = {
                **MANAGED,
                "hosts": {"boxA": MANAGED["hosts"]["boxA"]},
                "endpoints": {"vm": MANAGED["endpoints"]["vm"]},
            }  # type: ignore[index]
            threading.Thread(target=reconciler.change, args=(PutPolicy(one),), daemon=True).start()
            until(lambda: bool(databases.wanted))
            databases.shown_hosts = {"boxA": shown("boxA", 1, port_seen("p1", 1), port_seen("vnet0", 2, "6a7b"))}
            reconciler.hosts_changed()
            until(lambda: {b.endpoint: b.ofport for b in reconciler.bindings()} == {"vm": 2})
    finally:
        answer.set()


def test_bridge_that_is_forgotten_before_all_is_bound_again_leaves_bindings_that_can_be_shown(store: Store) -> None:
    reconciler = make(store)
    reconciler.change(PutPolicy(document("a")))
    with connected(reconciler, FakeSwitch(1, p1=1)):
        gone = reconciler._bridges.pop(Dpid(1))
        assert [(b.dpid, b.bridge, b.ofport) for b in reconciler.bindings()] == [(f"{1:016x}", None, 1)]
        reconciler._bridges[Dpid(1)] = gone


# Packets that a switch hands over


def handed_over(frame: bytes, network: int) -> PacketIn:
    fields = {NETWORK.field: network, PUNTED.field: Punt.REJECT << PUNTED.low}
    return PacketIn(1, 0, 1, 7, fields, frame, len(frame))


def test_a_packet_handed_over_is_answered_and_counted(store: Store) -> None:
    reconciler = make(store)
    reconciler.change(PutPolicy(document("a", "b")))
    asking, asked = (Party(f"02:00:00:00:00:0{n}", ip_address(f"10.0.0.{n}"), 1) for n in (1, 2))
    with connected(reconciler, FakeSwitch(a=1, b=2)) as switch:
        number = reconciler.current().policy.networks["green"].number
        reconciler.packet_in(switch, handed_over(udp(asking, asked, b"x"), number))
        until(lambda: len(switch.packets) == 1)
        actions, frame = switch.packets[0]
        assert SetField(NETWORK.field, number) in actions
        assert frame[:6] == bytes.fromhex("020000000001")
        [bridge] = reconciler.status().bridges
        assert (bridge.packets_in, bridge.packets_dropped) == (1, 0)
        reconciler.packet_in(FakeSwitch(a=1), handed_over(udp(asking, asked, b"x"), number))
        assert reconciler.status().bridges[0].packets_in == 1


def test_rules_are_counted_on_the_bridges_that_are_there(store: Store) -> None:
    reconciler = make(store)
    reconciler.change(PutPolicy(document("a")))
    with connected(reconciler, FakeSwitch(a=1)):
        view = reconciler.rules()
        assert (view.revision, view.rules, view.silent) == (1, (), ())
    assert list(reconciler.log()) == []


def led_to(*targets: str, address: str = "198.51.100.2") -> dict[str, object]:
    """A port of an uplink led to members, which go out by its address."""
    gateway: dict[str, object] = {"mode": "nat", "gateway": "10.0.0.254", "uplink": "wan"}
    return {
        **document("a", "b"),
        "networks": {"green": {"vlan": 10, "cidrs": ["10.0.0.0/24"], **gateway}},
        "uplinks": {"wan": {"port": "p9", "addresses": [f"{address}/24"]}},
        "rewrites": [
            {"name": "dns", "network": "green", "type": "forward", "proto": "udp", "l4_port": 53, "to": list(targets)}
        ],
    }


def test_translations_that_the_policy_does_not_make_any_more_are_forgotten(store: Store) -> None:
    reconciler = make(store)
    first, second = 0x0A000001, 0x0A000002
    uplink, new = 0xC6336402, 0xC6336403

    def dns(target: int, address: int = uplink) -> Connections:
        return Connections(DNAT_ZONE, 4, 17, asked=End(address, 53), answers_from=End(target, 53))

    with connected(reconciler, FakeSwitch(p1=1, p2=2, p9=9)) as switch:

        def forgotten_by(policy: dict[str, object]) -> set[Connections]:
            switch.forgotten.clear()
            assert reconciler.change(PutPolicy(policy)).in_force
            time.sleep(sum(AGAIN_AFTER_S) * 2)
            times = Counter(switch.forgotten)
            assert set(times.values()) <= {1 + len(AGAIN_AFTER_S)}, "caches may have held on to it for a while"
            return set(times)

        assert forgotten_by(led_to("a")) == set()
        assert forgotten_by(led_to("a", "b")) == set(), "who was led to the first one may stay there"
        assert forgotten_by({**led_to("a", "b"), "endpoints": document("a", "b", "c")["endpoints"]}) == set()
        assert forgotten_by(led_to("b")) == {dns(first)}
        gone = Connections(SNAT_ZONE, 4, answers_to=End(uplink))
        assert forgotten_by(led_to("b", address="198.51.100.3")) == {dns(second), gone}
        del switch.ports["p9"]
        reconciler.change_port(switch, 9, None)  # type: ignore[arg-type]
        until(lambda: in_force(reconciler, switch))
        assert set(switch.forgotten) == {dns(second), gone}, "a port that is gone for a while is no change of mind"
        reconciler.change_port(switch, 9, "p9")  # type: ignore[arg-type]
        until(lambda: in_force(reconciler, switch))
        gone = Connections(SNAT_ZONE, 4, answers_to=End(new))
        assert forgotten_by(document("a", "b")) == {dns(second, new), gone}


def test_connections_out_go_on_while_their_address_is_one_of_the_uplink_or_of_a_rewrite(store: Store) -> None:
    reconciler = make(store)
    plain = {**led_to("a"), "rewrites": []}
    snat = {"name": "out", "network": "green", "type": "snat", "to": "198.51.100.20-198.51.100.21"}
    with connected(reconciler, FakeSwitch(p1=1, p2=2, p9=9)) as switch:
        for policy in (
            plain,
            {**plain, "rewrites": [snat]},
            {
                **plain,
                "rewrites": [snat],
                "uplinks": {"wan": {"port": "p9", "addresses": ["198.51.100.3/24", "198.51.100.2/24"]}},
            },
        ):
            assert reconciler.change(PutPolicy(policy)).in_force
            assert switch.forgotten == []
        reconciler.change(PutPolicy(plain))
        assert set(switch.forgotten) == {
            Connections(SNAT_ZONE, 4, answers_to=End(0xC6336400 + last)) for last in (3, 20, 21)
        }


def test_translations_that_the_policy_makes_again_before_a_bridge_hears_of_it_are_not_forgotten(store: Store) -> None:
    reconciler = make(store)
    switch = FakeSwitch(p1=1, p2=2, p9=9)
    with connected(reconciler, switch):
        reconciler.change(PutPolicy(led_to("a")))
    reconciler.change(PutPolicy(led_to("b")))
    reconciler.change(PutPolicy(led_to("a")))
    switch.alive = True
    with connected(reconciler, switch):
        led_away = Connections(DNAT_ZONE, 4, 17, asked=End(0xC6336402, 53), answers_from=End(0x0A000002, 53))
        assert set(switch.forgotten) <= {led_away}


def test_a_bridge_with_an_uplink_and_nobody_else_forgets_what_changed_while_it_was_away(store: Store) -> None:
    reconciler = make(store)
    switch = FakeSwitch(p9=9)
    with connected(reconciler, switch):
        reconciler.change(PutPolicy(led_to("a")))
    reconciler.change(PutPolicy(led_to("b")))
    switch.alive = True
    with connected(reconciler, switch):
        led_away = Connections(DNAT_ZONE, 4, 17, asked=End(0xC6336402, 53), answers_from=End(0x0A000001, 53))
        assert set(switch.forgotten) == {led_away}


@pytest.mark.parametrize(
    ("meanwhile", "forgotten"),
    [
        (led_to("a"), set()),
        (led_to("b"), {Connections(DNAT_ZONE, 4, 17, asked=End(0xC6336402, 53), answers_from=End(0x0A000001, 53))}),
        (
            led_to("a", address="198.51.100.3"),
            {
                Connections(DNAT_ZONE, 4, 17, asked=End(0xC6336402, 53), answers_from=End(0x0A000001, 53)),
                Connections(SNAT_ZONE, 4, answers_to=End(0xC6336402)),
            },
        ),
    ],
)
def test_what_a_policy_gave_up_while_the_port_of_the_uplink_was_gone_is_forgotten_when_it_is_back(
    store: Store, meanwhile: dict[str, object], forgotten: set[Connections]
) -> None:
    reconciler = make(store)
    with connected(reconciler, FakeSwitch(p1=1, p2=2, p9=9)) as switch:
        assert reconciler.change(PutPolicy(led_to("a"))).in_force
        del switch.ports["p9"]
        reconciler.change_port(switch, 9, None)  # type: ignore[arg-type]
        # It may be heard of with the change, or before.
        assert reconciler.change(PutPolicy({**meanwhile, "groups": {"g": {"members": ["a"]}}})).in_force
        assert set(switch.forgotten) <= forgotten
        switch.ports["p9"] = 8
        reconciler.change_port(switch, 8, "p9")  # type: ignore[arg-type]
        until(lambda: reconciler.status().in_force)
        assert set(switch.forgotten) == forgotten


LED_AWAY = Connections(DNAT_ZONE, 4, 17, asked=End(0xC6336402, 53), answers_from=End(0x0A000001, 53))
"""What `led_to("a")` leads in."""


def renamed(policy: dict[str, Any]) -> dict[str, Any]:
    """The uplink has another name."""
    green = {**policy["networks"]["green"], "uplink": "isp"}
    return {**policy, "uplinks": {"isp": policy["uplinks"]["wan"]}, "networks": {"green": green}}


@pytest.mark.parametrize("port_is_gone", [False, True])
def test_what_the_policy_takes_from_an_uplink_is_forgotten_at_once(store: Store, *, port_is_gone: bool) -> None:
    """Its name and its port go to two others; or the same address is led elsewhere while its port is gone."""
    other = renamed(led_to("b"))
    other["uplinks"]["wan"] = {"port": "p7", "addresses": ["203.0.113.2/24"]}
    reconciler = make(store)
    with connected(reconciler, FakeSwitch(p1=1, p2=2, p8=8, p9=9)) as switch:
        assert reconciler.change(PutPolicy(led_to("a"))).in_force
        if port_is_gone:
            del switch.ports["p9"]
            reconciler.change_port(switch, 9, None)  # type: ignore[arg-type]
            until(lambda: reconciler.status().in_force)
            other["uplinks"]["isp"] = {**other["uplinks"]["isp"], "port": "p8"}
        assert reconciler.change(PutPolicy(other)).in_force
        assert set(switch.forgotten) == {LED_AWAY}


def test_what_was_translated_where_the_uplink_was_is_forgotten_when_the_policy_moves_it(store: Store) -> None:
    reconciler = make(store)

    def at(host: str) -> dict[str, Any]:
        hosts = {name: {"dpid": f"{n:016x}", "vtep": f"192.0.2.{n}"} for n, name in enumerate("AB", 1)}
        policy: dict[str, Any] = led_to("a")
        return {**policy, "hosts": hosts, "uplinks": {"wan": {**policy["uplinks"]["wan"], "host": host}}}

    with connected(reconciler, FakeSwitch(1, p1=1, p2=2, p9=9)) as one, connected(reconciler, FakeSwitch(2, p9=9)):
        assert reconciler.change(PutPolicy(at("A"))).in_force
        assert reconciler.change(PutPolicy(at("B"))).in_force
        assert LED_AWAY in one.forgotten


def test_what_was_translated_is_forgotten_also_where_no_flow_changes(store: Store) -> None:
    reconciler = make(store)

    def out_by(uplink: str) -> dict[str, Any]:
        policy: dict[str, Any] = led_to("a")
        networks = {"green": {**policy["networks"]["green"], "uplink": uplink}, "iso": {"vlan": 77}}
        isolated = {"network": "iso", "port": "p5", "mac": "02:00:00:00:00:55"}
        uplinks = {"lte": {"port": "p8", "addresses": ["203.0.113.2/24"]}}
        if uplink == "wan":
            uplinks = {**policy["uplinks"], **uplinks}
        return {
            **policy, "networks": networks, "endpoints": {**policy["endpoints"], "z": isolated}, "uplinks": uplinks
        }  # fmt: skip

    with connected(reconciler, FakeSwitch(p5=5, p9=9)) as switch:
        assert reconciler.change(PutPolicy(out_by("wan"))).in_force
        del switch.ports["p9"]
        reconciler.change_port(switch, 9, None)  # type: ignore[arg-type]
        until(lambda: reconciler.status().in_force)
        assert reconciler.change(PutPolicy(out_by("lte"))).in_force
        assert LED_AWAY in switch.forgotten


def test_a_bridge_that_has_something_to_forget_is_remembered(store: Store) -> None:
    reconciler = make(store)
    with connected(reconciler, FakeSwitch(p9=9)) as switch:
        reconciler.change(PutPolicy(led_to("a")))
        del switch.ports["p9"]
        reconciler.change_port(switch, 9, None)  # type: ignore[arg-type]
        until(lambda: reconciler.status().in_force)
    reconciler.change(PutPolicy(led_to("b")))
    reconciler.change(PutPolicy({**led_to("b"), "groups": {"g": {"members": ["a"]}}}))
    with connected(reconciler, FakeSwitch(p9=9)) as switch:
        until(lambda: reconciler.status().in_force)
        assert set(switch.forgotten) == {LED_AWAY}


@pytest.mark.parametrize("meanwhile", ["another bridge binds", "the policy changes"])
def test_what_the_last_change_gave_up_is_forgotten_whatever_comes_before_the_ports_are_read(
    store: Store, meanwhile: str
) -> None:
    before = make(store)
    for policy in (led_to("a"), renamed(led_to("b"))):
        before.change(PutPolicy(policy))
    after, switch, other = make(store), FakeSwitch(p1=1, p2=2, p9=9), FakeSwitch(dpid=2)
    with contextlib.ExitStack() as stack:

        def prepare() -> None:
            if meanwhile == "another bridge binds":
                stack.enter_context(connected(after, other))
                return
            changed = PutPolicy({**renamed(led_to("b")), "groups": {"g": {"members": ["a"]}}})
            threading.Thread(target=after.change, args=(changed,), daemon=True).start()
            until(lambda: after.current().revision == 3)

        switch.prepare = prepare  # type: ignore[method-assign]
        with connected(after, switch):
            assert set(switch.forgotten) == {LED_AWAY}


def test_a_host_written_otherwise_is_the_same_host(store: Store) -> None:
    """What is known of it goes by what it is, not by the object."""
    reconciler = make(store)

    def member(n: int, host: str) -> dict[str, object]:
        return {"network": "g", "host": host, "port": f"p{n}", "mac": f"02:00:00:00:00:0{n}"}

    policy = {
        "apiVersion": "tripoint/v1",
        "hosts": {"A": {"dpid": "000000000000000a", "trunk": "up"}, "B": {"dpid": "000000000000000b", "trunk": "up"}},
        "networks": {"g": {"vlan": 10}},
        "endpoints": {"e1": member(1, "A"), "e2": member(2, "B"), "e3": member(3, "A")},
    }
    ports = {"p1": 1, "p2": 2, "p3": 3, "up": 9}
    with connected(reconciler, FakeSwitch(10, **ports)) as one, connected(reconciler, FakeSwitch(11, **ports)):
        assert reconciler.change(PutPolicy(policy)).in_force
        reconciler.change(PutObject("hosts", "A", {"dpid": "000000000000000A", "trunk": "up"}))
        assert reconciler.change(PutObject("endpoints", "e3", member(3, "B"))).in_force
        assert any("output:1" in str(flow) for flow in one.flows.values())


def test_what_a_router_may_not_speak_for_follows_the_members_of_its_networks(store: Store) -> None:
    reconciler = make(store)

    def policy(ip: str) -> dict[str, object]:
        router = {"networks": ["g", "h"], "attach": "tagged", "port": "p1", "mac": "02:00:00:00:00:01"}
        return {
            "apiVersion": "tripoint/v1",
            "networks": {"g": {"vlan": 10}, "h": {"vlan": 11}},
            "endpoints": {
                "r": {**router, "ips": ["10.0.0.1"], "routes": ["10.0.0.0/8"]},
                "e2": {"network": "h", "port": "p2", "mac": "02:00:00:00:00:02", "ips": [ip]},
            },
        }

    with connected(reconciler, FakeSwitch(p1=1, p2=2)) as switch:
        for ip, other in (("10.1.1.2", "10.1.1.3"), ("10.1.1.3", "10.1.1.2")):
            assert reconciler.change(PutPolicy(policy(ip))).in_force
            drops = [str(flow) for flow in switch.flows.values() if str(flow).endswith(",actions=drop")]
            assert any(ip in flow for flow in drops)
            assert not any(other in flow for flow in drops)


def test_all_ports_read_and_what_is_heard_of_them_count_in_their_order() -> None:
    bridge = Bridge(Dpid(1), ThreadLoop().waiter())
    bridge.see_ports({"a": 1, "b": 2})
    bridge.port_events.append((1, None))
    bridge.port_events.append((3, "c"))
    assert bridge.observe(0.0, {}, frozenset()).ports == {"b": 2, "c": 3}
    bridge.port_events.append((2, None))
    bridge.see_ports({"b": 2})
    assert bridge.observe(0.0, {}, frozenset()).ports == {"b": 2}


def test_a_controller_that_starts_has_forgotten_what_the_last_change_gave_up(store: Store) -> None:
    """The one before may have gone down when the change was stored, even in force, and nothing was forgotten yet."""
    before = make(store)
    for policy in (led_to("a"), led_to("b")):
        before.change(PutPolicy(policy))
    led_away = Connections(DNAT_ZONE, 4, 17, asked=End(0xC6336402, 53), answers_from=End(0x0A000001, 53))
    after = make(store)
    with connected(after, FakeSwitch(p1=1, p2=2, p9=9)) as switch:
        assert set(switch.forgotten) == {led_away}
        time.sleep(sum(AGAIN_AFTER_S) * 2)
        switch.forgotten.clear()
        assert after.change(PutPolicy({**led_to("b"), "groups": {"g": {"members": ["a"]}}})).in_force
    with connected(make(store), FakeSwitch(p1=1, p2=2, p9=9)) as switch:
        assert switch.forgotten == []


def test_what_was_translated_at_an_uplink_that_is_gone_is_forgotten_with_it(store: Store) -> None:
    reconciler = make(store)
    with connected(reconciler, FakeSwitch(p1=1, p2=2, p9=9)) as switch:
        assert reconciler.change(PutPolicy(led_to("a"))).in_force
        del switch.ports["p9"]
        reconciler.change_port(switch, 9, None)  # type: ignore[arg-type]
        until(lambda: reconciler.status().in_force)
        assert reconciler.change(PutPolicy(document("a", "b"))).in_force
        assert len(set(switch.forgotten)) == 2


def test_a_bridge_that_is_met_anew_while_a_change_is_stored_is_brought_to_it(store: Store) -> None:
    reconciler, first, second = make(store), FakeSwitch(), FakeSwitch()
    append = store.append
    with contextlib.ExitStack() as stack:
        first_connection = stack.enter_context(contextlib.ExitStack())

        def append_meanwhile(*args: Any) -> int:
            first_connection.close()
            threading.Thread(target=reconciler.connect, args=(second,), daemon=True).start()
            until(lambda: any(bridge.peer == second.peer for bridge in reconciler.status().bridges))
            return append(*args)

        first_connection.enter_context(connected(reconciler, first))
        reconciler.change(PutPolicy(led_to("a")))
        store.append = append_meanwhile  # type: ignore[method-assign]
        assert reconciler.change(PutPolicy({**led_to("a"), "defaults": {"inter_network": "allow"}})).in_force
        assert in_force(reconciler, second)
        second.alive = False
        reconciler.gone(second)


def test_a_translation_that_is_made_again_is_forgotten_no_more(store: Store) -> None:
    reconciler = make(store)
    with connected(reconciler, FakeSwitch(p1=1, p2=2, p9=9)) as switch:
        for target in ("a", "b", "a"):
            assert reconciler.change(PutPolicy(led_to(target))).in_force
        switch.forgotten.clear()
        time.sleep(sum(AGAIN_AFTER_S) * 1.2)
        assert {each.answers_from for each in switch.forgotten} == {End(0x0A000002, 53)}


def test_what_is_to_be_forgotten_once_more_waits_for_the_flows_however_long_they_take(store: Store) -> None:
    reconciler = make(store)
    with connected(reconciler, FakeSwitch(p1=1, p2=2, p9=9)) as switch:
        for target in ("a", "b", "a"):
            assert reconciler.change(PutPolicy(led_to(target))).in_force
        switch.refuse = "no"
        assert not reconciler.change(PutPolicy(led_to("b"))).in_force
        time.sleep(sum(AGAIN_AFTER_S) * 1.2)
        switch.forgotten.clear()
        switch.refuse = ""
        until(lambda: in_force(reconciler, switch))
        assert End(0x0A000001, 53) in {each.answers_from for each in switch.forgotten}


def test_what_was_to_be_forgotten_while_the_bridge_was_away_is_forgotten_when_it_is_back(store: Store) -> None:
    reconciler = make(store)
    with connected(reconciler, FakeSwitch(p1=1, p2=2, p9=9)) as switch:
        assert reconciler.change(PutPolicy(led_to("a"))).in_force
    reconciler.change(PutPolicy(led_to("b")))
    back = FakeSwitch(p1=1, p2=2, p9=9)
    back.flows = switch.flows
    with connected(reconciler, back):
        assert {each.answers_from for each in back.forgotten} == {End(0x0A000001, 53)}


def test_addresses_at_an_uplink_are_announced_where_they_come_to_be(store: Store) -> None:
    reconciler = make(store)
    router_mac = load(led_to("a")).defaults.router_mac

    def said(*addresses: str) -> list[tuple[tuple[Action, ...], bytes]]:
        return [((Output(9),), announcement(ip_address(each), router_mac)) for each in addresses]

    with connected(reconciler, FakeSwitch(p1=1, p2=2, p9=9)) as switch:
        assert reconciler.change(PutPolicy(led_to("a"))).in_force
        until(lambda: switch.packets == said("198.51.100.2") * TIMES)
        assert reconciler.change(PutPolicy(led_to("b"))).in_force
        second = led_to("b", address="198.51.100.3")
        assert reconciler.change(PutPolicy(second)).in_force
        until(lambda: switch.packets == said("198.51.100.2") * TIMES + said("198.51.100.3") * TIMES)
        assert reconciler.change(PutPolicy(document("a"))).in_force
        assert reconciler.change(PutPolicy(second)).in_force, "it may have been elsewhere meanwhile"
        until(lambda: len(switch.packets) > 2 * TIMES)
        assert reconciler.change(PutPolicy(document("a"))).in_force
        time.sleep(EVERY_S * 1.5)
        once = said("198.51.100.2") * TIMES + said("198.51.100.3") * (TIMES + 1)
        assert switch.packets == once, "an address that is gone is not announced again"
