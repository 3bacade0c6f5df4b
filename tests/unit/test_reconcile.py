"""The reconciler with a switch that is a dictionary, and plain threads in place of green ones."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from controller.control import DeleteObject, NoSuchObject, PortsAs, PutObject, PutPolicy, RevisionConflict
from controller.errors import PolicyError, StoreError, SwitchError
from controller.flow.flow import Flow
from controller.reconcile import Reconciler
from controller.store import Store
from controller.switch import FlowDump, ForeignFlow

LOCAL = 0xFFFFFFFE
WITHIN_S = 5.0


class ThreadWaiter:
    def __init__(self) -> None:
        self._event = threading.Event()

    def wait(self, timeout_s: float) -> bool:
        return self._event.wait(timeout_s)

    def set(self) -> None:
        self._event.set()


class ThreadLoop:
    def spawn(self, function: Callable[[], None]) -> None:
        threading.Thread(target=function, daemon=True).start()

    def in_thread(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        return function(*args, **kwargs)

    def waiter(self) -> ThreadWaiter:
        return ThreadWaiter()

    def lock(self) -> AbstractContextManager[object]:
        return threading.Lock()

    def now(self) -> float:
        return time.monotonic()


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
        self.refuse = ""

    def prepare(self) -> None:
        pass

    def read_ports(self) -> Mapping[str, int]:
        return dict(self.ports)

    def read_flows(self) -> FlowDump:
        return FlowDump(frozenset(self.flows), 0, tuple(self.foreign))

    def find_flows(self, cookies: Collection[int]) -> frozenset[int]:
        return frozenset(cookies) & frozenset(self.flows)

    def apply(self, add: Sequence[Flow], remove: Sequence[int], foreign: Sequence[ForeignFlow] = ()) -> None:
        if self.refuse:
            raise SwitchError(self.refuse)
        self.changes.append((len(add), len(remove)))
        for cookie in remove:
            del self.flows[cookie]
        self.flows.update((flow.cookie, flow) for flow in add)
        self.foreign = [flow for flow in self.foreign if flow not in foreign]

    def close(self, reason: str) -> None:
        self.alive = False


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = Store.open(tmp_path / "store.db")
    yield opened
    opened.close()


def make(store: Store) -> Reconciler:
    return Reconciler(store, ThreadLoop(), lambda: datetime.now(UTC), dict)


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
        def apply(self, add: Sequence[Flow], remove: Sequence[int], foreign: Sequence[ForeignFlow] = ()) -> None:
            if self.refuse:
                raise SwitchError(self.refuse)

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
