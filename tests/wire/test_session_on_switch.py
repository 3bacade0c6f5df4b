"""The session against a real Open vSwitch, which connects to it as to its controller."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator

import pytest

from controller.errors import CompileError, SwitchError
from controller.flow import fields as f
from controller.flow.actions import Output
from controller.flow.flow import Flow
from controller.openflow.decode import PORT, decode_flow_stats
from controller.openflow.decode_flow import decode_flow_stats_entry
from controller.openflow.exchange import CHUNK_BYTES
from controller.openflow.session import PortChange
from controller.switch import FlowDump
from tests.trace.switch import BRIDGE, Switch, running_switch
from tests.wire.channel import Connection, accepted
from tests.wire.flows import one_of_each_action, one_of_each_field

LOCAL = 0xFFFFFFFE


@pytest.fixture(scope="module")
def switch() -> Iterator[Switch]:
    if shutil.which("ovs-vswitchd") is None:
        pytest.skip("Open vSwitch is not installed")
    with running_switch() as running:
        yield running


@pytest.fixture
def connection(switch: Switch) -> Iterator[Connection]:
    """Connected to a switch without flows."""
    switch.load([])
    with accepted(lambda target: switch.configure("set-controller", BRIDGE, target)) as connected:
        yield connected
    switch.configure("del-controller", BRIDGE)


def make(number: int, table: int = 1) -> Flow:
    """The number-th of many flows."""
    return Flow(table, 100, (f.ETH_DST(0x020000000000 + number),), (Output(number % 1000 + 1),), goto=table + 1)


def cookies(*flows: Flow) -> frozenset[int]:
    return frozenset(flow.cookie for flow in flows)


def wait_for(condition: object, what: str) -> None:
    end = time.monotonic() + 10
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < end, what
        time.sleep(0.005)


def test_switch_returns_every_kind_of_flow_as_it_was_meant(connection: Connection) -> None:
    unique = {flow.key: flow for flow in one_of_each_field() + one_of_each_action()}
    sent = {flow.cookie: flow for flow in unique.values()}
    connection.session.apply(tuple(sent.values()), ())
    connection.record = True
    dump = connection.session.read_flows()
    connection.record = False
    assert dump == FlowDump(frozenset(sent), 0, ())
    returned = {}
    for message in connection.messages:
        assert len(decode_flow_stats(message)) > 0
        place = 16
        while place < len(message):
            length = int.from_bytes(message[place : place + 2], "big")
            cookie, flow = decode_flow_stats_entry(message[place : place + length])
            returned[cookie] = flow
            place += length
    assert {cookie: str(flow) for cookie, flow in returned.items()} == {k: str(flow) for k, flow in sent.items()}


def test_bundle_adds_and_removes_at_once(connection: Connection) -> None:
    session = connection.session
    session.apply([make(1), make(2), make(3)], ())
    session.apply([make(4)], [make(1).cookie, make(2).cookie])
    assert session.read_flows() == FlowDump(cookies(make(3), make(4)), 0, ())


def test_flow_takes_the_place_of_one_with_its_match(connection: Connection) -> None:
    before, after = Flow(1, 5, (f.IN_PORT(1),), goto=2), Flow(1, 5, (f.IN_PORT(1),), goto=3)
    connection.session.apply([before], ())
    connection.session.apply([after], [before.cookie])
    assert connection.session.read_flows().cookies == cookies(after)


def test_bundle_with_a_flow_that_goes_back_changes_nothing_and_names_it(connection: Connection) -> None:
    session = connection.session
    session.apply([make(1)], ())
    bad = Flow(5, 9, (f.IN_PORT(1),), goto=3)
    with pytest.raises(SwitchError) as caught:
        session.apply([make(2), bad, make(3)], [make(1).cookie])
    assert "1 of 4 changes, nothing was changed" in str(caught.value)
    assert f"OFPBIC_BAD_TABLE_ID for {bad}" in str(caught.value)
    assert session.read_flows().cookies == cookies(make(1))


def test_only_the_first_five_refusals_are_spelled_out(connection: Connection) -> None:
    bad = [Flow(5, priority, (f.IN_PORT(1),), goto=3) for priority in range(1, 10)]
    with pytest.raises(SwitchError, match="9 of 9 changes") as caught:
        connection.session.apply(bad, ())
    assert str(caught.value).count("OFPBIC_BAD_TABLE_ID") == 5
    assert connection.session.read_flows().cookies == frozenset()


def test_flow_without_its_prerequisite_is_refused(connection: Connection) -> None:
    with pytest.raises(SwitchError, match="OFPBMC_BAD_PREREQ"):
        connection.session.apply([make(1), Flow(1, 1, (f.ARP_OP(1),))], ())
    assert connection.session.read_flows().cookies == frozenset()


def test_bundle_that_fails_at_its_commit_changes_nothing_and_names_the_flow(
    switch: Switch, connection: Connection
) -> None:
    session = connection.session
    session.apply([make(1)], ())
    limit = ["--", "--id=@full", "create", "Flow_Table", "flow_limit=1", "overflow_policy=refuse"]
    switch.configure("--no-wait", "--", *limit[1:], "--", "set", "Bridge", BRIDGE, "flow_tables:9=@full")
    switch.configure("show")
    try:
        with pytest.raises(SwitchError) as caught:
            session.apply([make(2), make(3, table=9), make(4, table=9)], [make(1).cookie])
        assert f"OFPFMFC_TABLE_FULL for {make(4, table=9)}" in str(caught.value)
        assert session.read_flows().cookies == cookies(make(1))
    finally:
        switch.configure("clear", "Bridge", BRIDGE, "flow_tables")
    session.apply([make(2)], ())
    assert session.read_flows().cookies == cookies(make(1), make(2))


def test_flow_that_cannot_be_encoded_leaves_no_bundle_behind(connection: Connection) -> None:
    session = connection.session
    with pytest.raises(CompileError):
        session.apply([make(1), Flow(1, 0x10000, ())], ())
    assert session.read_flows().cookies == frozenset()
    session.apply([make(2)], ())
    assert session.read_flows().cookies == cookies(make(2))


def test_foreign_flow_is_reported_and_removed_and_its_neighbour_stays(switch: Switch, connection: Connection) -> None:
    learned = "cookie=0x7471000000000001,table=4,priority=1,dl_dst=02:00:00:00:00:09,actions=drop"
    kept, gone = (f"table=3,priority={p},arp,reg0=0x7,in_port=4,arp_tpa=10.0.0.0/9,actions=NORMAL" for p in (7, 8))
    switch.load([make(1), learned, f"cookie=0x5,{kept}", f"cookie=0x6,{gone}"])
    session = connection.session
    dump = session.read_flows()
    assert (dump.cookies, dump.learned) == (cookies(make(1)), 1)
    assert sorted((flow.table, flow.priority, flow.cookie) for flow in dump.foreign) == [(3, 7, 5), (3, 8, 6)]
    session.apply((), (), [flow for flow in dump.foreign if flow.cookie == 6])
    after = session.read_flows()
    assert (after.cookies, after.learned) == (cookies(make(1)), 1)
    assert [flow.cookie for flow in after.foreign] == [5]


def test_addition_stays_where_it_takes_the_place_of_a_foreign_flow(switch: Switch, connection: Connection) -> None:
    ours = Flow(3, 7, (f.IN_PORT(4),), goto=4)
    switch.load(["cookie=0x5,table=3,priority=7,in_port=4,actions=drop"])
    session = connection.session
    session.apply([ours], (), session.read_flows().foreign)
    assert session.read_flows() == FlowDump(cookies(ours), 0, ())


def test_find_flows_finds_what_is_installed_and_nothing_else(connection: Connection) -> None:
    session = connection.session
    session.apply([make(number) for number in range(300)], ())
    asked = [make(number).cookie for number in range(200, 600)]
    assert session.find_flows(asked) == frozenset(asked[:100])
    assert session.find_flows([]) == frozenset()


def test_what_is_verified_with_a_change_is_what_is_installed_after_it(connection: Connection) -> None:
    session = connection.session
    old, new = [make(number) for number in range(50)], [make(number) for number in range(50, 100)]
    asked = [flow.cookie for flow in (*old, *new)]
    assert session.apply(old, (), verify=asked) == cookies(*old)
    for _ in range(10):
        assert session.apply(new, [flow.cookie for flow in old], verify=asked) == cookies(*new)
        assert session.apply(old, [flow.cookie for flow in new], verify=asked) == cookies(*old)
    assert session.apply((), (), verify=asked) == cookies(*old)


def test_five_thousand_flows_there_and_back(connection: Connection) -> None:
    session = connection.session
    flows = [make(number, table) for number in range(2500) for table in (1, 2)]
    session.apply(flows, ())
    assert session.read_flows() == FlowDump(cookies(*flows), 0, ())
    assert max(connection.channel.sizes) <= CHUNK_BYTES
    n_chunks = sum(size > CHUNK_BYTES // 2 for size in connection.channel.sizes)
    assert n_chunks > 5
    assert connection.channel.n_pauses >= n_chunks
    session.apply((), [flow.cookie for flow in flows[10:]])
    assert session.read_flows().cookies == cookies(*flows[:10])


def test_ports_are_read_and_their_coming_and_going_is_told(switch: Switch, connection: Connection) -> None:
    session = connection.session
    assert session.read_ports() == {BRIDGE: LOCAL}
    port = ["--", "set", "Interface", "web1", "type=dummy", "ofport_request=7"]
    switch.configure("add-port", BRIDGE, "web1", *port)
    wait_for(lambda: connection.port_changes == [PortChange(7, None, "web1")], "no port status came")
    assert session.read_ports() == {BRIDGE: LOCAL, "web1": 7}
    switch.configure("del-port", "web1")
    wait_for(lambda: connection.port_changes[1:] == [PortChange(7, "web1", None)], "no second port status came")
    assert session.read_ports() == {BRIDGE: LOCAL}


def test_closed_session_says_so(connection: Connection) -> None:
    session = connection.session
    session.close("enough")
    assert not session.alive
    with pytest.raises(SwitchError, match="we hung up: enough"):
        session.read_flows()


def test_switch_that_hangs_up_ends_the_session(switch: Switch, connection: Connection) -> None:
    switch.configure("del-controller", BRIDGE)
    wait_for(lambda: not connection.session.alive, "the session does not end")
    with pytest.raises(SwitchError, match="the connection ended"):
        connection.session.apply([make(1)], ())


def test_port_description_layout() -> None:
    assert PORT.size == 40
