"""Packets to and from the controller, meters and counters, on a real Open vSwitch with ports that carry nothing."""

from __future__ import annotations

import re
import shutil
import time
from collections.abc import Callable, Iterator

import pytest

from controller.flow import fields as f
from controller.flow.actions import (
    Action,
    Ct,
    DecTtl,
    Load,
    Move,
    Output,
    Resubmit,
    SetField,
    ToController,
)
from controller.flow.fields import CtState, Punt, whole
from controller.flow.flow import Flow
from controller.flow.frame import form_frame, parse_frame
from controller.flow.meters import RATES_PPS
from controller.flow.packet import ipv4_icmp, ipv4_udp, ipv6_udp
from controller.switch import PacketIn
from tests.trace.switch import BRIDGE, CANARY_FLOW, Switch, running_switch
from tests.wire.channel import Connection, accepted

IN, OUT = 1, 2
ETH, IP, PORTS = (0x020000000001, 0x020000000002), (0x0A000001, 0x0A000002), (1024, 53)
UDP = form_frame(ipv4_udp(ETH, IP, PORTS))
V6 = (0x20010DB8 << 96 | 1, 0x20010DB8 << 96 | 2)
FROM_IN, IPV4 = f.IN_PORT(IN), f.ETH_TYPE(0x0800)


@pytest.fixture(scope="module")
def switch() -> Iterator[Switch]:
    if shutil.which("ovs-vswitchd") is None:
        pytest.skip("Open vSwitch is not installed")
    with running_switch() as running:
        running.add_ports((IN, OUT))
        yield running


@pytest.fixture
def connection(switch: Switch) -> Iterator[Connection]:
    """Prepared, with no flow but the canary's: the first controller of a bridge makes it forget its flows."""
    with accepted(lambda target: switch.configure("set-controller", BRIDGE, target)) as connected:
        connected.session.prepare()
        switch.load([CANARY_FLOW])
        yield connected
    switch.configure("del-controller", BRIDGE)


def wait_for(condition: Callable[[], object], what: str) -> None:
    end = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < end, what
        time.sleep(0.005)


def handed_over(switch: Switch, connection: Connection, frame: bytes) -> PacketIn:
    """The one packet that the controller gets when a frame arrives; nothing leaves through a port."""
    assert switch.pass_through(IN, frame, (OUT,)) == []
    wait_for(lambda: connection.packets, "no packet comes")
    connection.session.ping()
    (packet,) = connection.packets
    return packet


def test_packet_comes_with_the_flows_cookie_and_its_registers(switch: Switch, connection: Connection) -> None:
    flow = Flow(
        5,
        7,
        (FROM_IN,),
        (
            SetField(f.REG0, 7),
            SetField(f.REG1, 0xFFFFFFFE),
            Load(f.PUNTED, Punt.LOG),
            Load(f.CAME_IN, 0x01020304),
            SetField(f.XXREG3, 0x20010DB8 << 96 | 0xFFFF << 32 | 5),
            SetField(f.TUN_ID, 5010),
            ToController(0xFFFF, Punt.LOG),
        ),
    )
    connection.session.apply((Flow(0, 1, (FROM_IN,), (), goto=5), flow), ())
    packet = handed_over(switch, connection, UDP)
    assert (packet.cookie, packet.table, packet.in_port) == (flow.cookie, 5, IN)
    assert (packet.frame, packet.total_bytes) == (UDP, len(UDP))
    registers = (f.NETWORK, f.OUT_PORT, f.PUNTED, f.CAME_IN, f.NEXT_HOP6, f.SENDER_SET, whole(f.TUN_ID))
    assert [packet.read(part) for part in registers] == [
        *(7, 0xFFFFFFFE, Punt.LOG, 0x01020304, 0x20010DB8 << 96 | 0xFFFF << 32 | 5, 0, 5010)
    ]


def test_packet_comes_with_what_conntrack_knows_of_it(switch: Switch, connection: Connection) -> None:
    new = f.CT_STATE(CtState.TRK | CtState.NEW, CtState.TRK | CtState.NEW | CtState.INV)
    connection.session.apply(
        (
            Flow(0, 1, (FROM_IN, IPV4), (SetField(f.REG8, 77), Ct(f.ZONE, 1))),
            Flow(
                1,
                1,
                (IPV4, new, f.CT_NW_PROTO(17), f.CT_NW_SRC(IP[0]), f.CT_NW_DST(IP[1]), f.CT_TP_DST(PORTS[1])),
                (ToController(0xFFFF, Punt.REJECT),),
            ),
        ),
        (),
    )
    packet = handed_over(switch, connection, UDP)
    assert {field: packet.fields[field] for field in packet.fields if field.name.startswith("ct_")} == {
        f.CT_STATE: CtState.TRK | CtState.NEW,
        f.CT_NW_SRC: IP[0],
        f.CT_NW_DST: IP[1],
        f.CT_NW_PROTO: 17,
        f.CT_TP_SRC: PORTS[0],
        f.CT_TP_DST: PORTS[1],
    }


def test_miss_that_asks_the_controller_does_so(switch: Switch, connection: Connection) -> None:
    """Open vSwitch gives another reason for a flow of priority 0 that matches all, which must not be filtered."""
    connection.session.apply((Flow(0, 0, (), (ToController(0xFFFF, Punt.RESOLVE),)),), ())
    assert handed_over(switch, connection, UDP).cookie == Flow(0, 0, (), (ToController(0xFFFF, Punt.RESOLVE),)).cookie


def test_flow_without_a_controller_action_hands_nothing_over(switch: Switch, connection: Connection) -> None:
    connection.session.apply((Flow(0, 1, (FROM_IN,), (Output(OUT),)),), ())
    assert switch.pass_through(IN, UDP, (OUT,)) == [(OUT, UDP)]
    connection.session.ping()
    assert connection.packets == []


def send(switch: Switch, connection: Connection, actions: tuple[Action, ...], frame: bytes) -> list[bytes]:
    """What leaves through OUT when the controller sends a frame."""
    switch.received(OUT)
    connection.session.send_packet(actions, frame)
    connection.session.ping()
    assert connection.session.last_error is None
    return switch.received(OUT)


def test_packet_out_goes_through_a_table_with_the_registers_it_is_given(switch: Switch, connection: Connection) -> None:
    admitted = (f.NETWORK(7), f.ADMITTED(1), f.NEXT_HOP6(V6[1]))
    connection.session.apply((Flow(9, 1, admitted, (Move(f.OUT_PORT, f.NEXT_HOP), Output(OUT))),), ())
    register = (SetField(f.REG0, 7), SetField(f.XXREG3, V6[1]))
    assert send(switch, connection, (*register, Load(f.ADMITTED, 1), Resubmit(9)), UDP) == [UDP]
    assert send(switch, connection, (*register, Resubmit(9)), UDP) == []


def test_packet_out_comes_from_no_port(switch: Switch, connection: Connection) -> None:
    """So it may leave through any, and no flow that is about a port is about it."""
    connection.session.apply((Flow(9, 2, (FROM_IN,), ()), Flow(9, 1, (), (Output(OUT),))), ())
    assert send(switch, connection, (Resubmit(9),), UDP) == [UDP]


def test_packet_out_that_is_refused_is_remembered(connection: Connection) -> None:
    connection.session.send_packet((SetField(f.ARP_OP, 2),), UDP)
    connection.session.ping()
    assert connection.session.last_error == "OFPBAC_MATCH_INCONSISTENT"


def test_new_actions_do_to_a_frame_what_they_say(switch: Switch, connection: Connection) -> None:
    icmp, ipv6 = form_frame(ipv4_icmp(ETH, IP)), form_frame(ipv6_udp(ETH, V6, PORTS))
    is_v6 = f.ETH_TYPE(0x86DD)
    swap = (Move(whole(f.IPV6_DST), f.NEXT_HOP6), Move(whole(f.IPV6_SRC), whole(f.IPV6_DST)))
    connection.session.apply(
        (
            Flow(0, 3, (FROM_IN, IPV4, f.IP_PROTO(1), f.ICMP_TYPE(8)), (SetField(f.ICMP_TYPE, 0), Output(OUT))),
            Flow(0, 2, (FROM_IN, IPV4, f.IP_PROTO(17)), (DecTtl(), DecTtl(), Output(OUT))),
            Flow(0, 2, (FROM_IN, is_v6), (*swap, Move(f.NEXT_HOP6, whole(f.IPV6_SRC)), Output(OUT))),
        ),
        (),
    )
    ((_, answered),) = switch.pass_through(IN, icmp[:34] + b"\x08\0" + icmp[36:], (OUT,))
    assert answered[34] == 0
    ((_, counted),) = switch.pass_through(IN, UDP, (OUT,))
    assert counted[22] == UDP[22] - 2
    ((_, swapped),) = switch.pass_through(IN, ipv6, (OUT,))
    assert parse_frame(swapped).with_(ipv6_src=V6[0], ipv6_dst=V6[1]) == parse_frame(ipv6)
    assert swapped[22:38] == V6[1].to_bytes(16, "big")


def meters(switch: Switch) -> dict[int, int]:
    """Meter -> packets a second, of all that the bridge has."""
    text = switch.run("ovs-ofctl", "-O", "OpenFlow14", "dump-meters", switch.target)
    found = re.findall(r"meter=(\d+) pktps burst bands=\ntype=drop rate=(\d+) burst_size=(\d+)", text)
    assert all(rate == burst for _, rate, burst in found)
    assert len(found) == text.count("meter=")
    return {int(meter): int(rate) for meter, rate, _ in found}


def test_meters_are_there_once_the_switch_is_prepared_and_are_set_right_again(
    switch: Switch, connection: Connection
) -> None:
    wanted = {int(punt): rate_pps for punt, rate_pps in RATES_PPS.items()}
    assert meters(switch) == wanted
    for command in ("mod-meter", "del-meter"):
        meter = f"meter=2{',pktps,burst,band=type=drop,rate=5,burst_size=5' if command == 'mod-meter' else ''}"
        switch.run("ovs-ofctl", "-O", "OpenFlow14", command, switch.target, meter)
        assert meters(switch) != wanted
        connection.session.prepare()
        assert meters(switch) == wanted
    assert connection.session.last_error is None


def test_meter_holds_a_flood(switch: Switch, connection: Connection) -> None:
    rate_pps = RATES_PPS[Punt.LOG]
    flow = Flow(0, 1, (FROM_IN,), (ToController(128, Punt.LOG),))
    connection.session.apply((flow,), ())
    began = time.monotonic()

    def most() -> float:
        """What the meter lets through in this time, and at once at its beginning."""
        return rate_pps * (time.monotonic() - began + 1) + 1

    def is_flooded() -> bool:
        for _ in range(rate_pps):
            switch.receive(IN, UDP)
        return connection.session.read_counters()[flow.cookie][0] > 2 * most()

    wait_for(is_flooded, "the switch does not see more packets than the meter lets through")
    connection.session.ping()
    assert rate_pps / 2 <= len(connection.packets) <= most()


def test_counters_count_what_a_flow_has_seen(switch: Switch, connection: Connection) -> None:
    hit, idle = Flow(0, 1, (FROM_IN,), (Output(OUT),)), Flow(0, 2, (f.IN_PORT(9),))
    connection.session.apply((hit, idle), ())
    for _ in range(3):
        switch.pass_through(IN, UDP, (OUT,))
    wanted = {hit.cookie: (3, 3 * len(UDP)), idle.cookie: (0, 0)}
    wait_for(lambda: connection.session.read_counters() == wanted, "the counters do not come to what was sent")
    assert connection.session.read_counters((hit.cookie, 5)) == {hit.cookie: wanted[hit.cookie]}
