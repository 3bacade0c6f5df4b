"""What becomes of packets that a bridge hands over, with a switch that notes what it is told to send."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import suppress
from ipaddress import ip_address, ip_interface, ip_network
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controller.control import RuleEvent
from controller.directory import Directory, PuntView, rule_in
from controller.errors import CompileError, SwitchError
from controller.flow.actions import Action, Load, Output, Resubmit, SetField
from controller.flow.fields import (
    ADMITTED,
    ASKED,
    CAME_IN,
    ETH_DST,
    ETH_SRC,
    FIELDS,
    LOCAL_PORT,
    NETWORK,
    NEXT_HOP,
    NEXT_HOP6,
    OUT_PORT,
    PUNTED,
    Field,
    Punt,
    Slice,
)
from controller.flow.flow import Flow
from controller.frames.neighbors import ask_for, hear
from controller.mac import Mac
from controller.next_hops import MOST_BYTES, MOST_HOPS, PACKETS_EACH, Hop, NextHops
from controller.policy.firewall import Action as Does
from controller.policy.firewall import LogRate, Rule
from controller.policy.model import Defaults, Endpoint, Mode, Network, Policy, Route, Uplink, Vlan
from controller.punts import QUEUED_BYTES, QUEUED_PACKETS, Punts
from controller.switch import PacketIn
from tests.unit.test_frames import party, tcp, understand
from topologies import frames
from topologies.frames import Party

ROUTER_MAC = Mac.parse("02:74:70:00:00:01")
WAN_MAC = Mac.parse("02:00:00:00:0a:01")
GREEN = Network(
    "green", Vlan(10), cidrs=(), mode=Mode.ROUTED, gateways=(ip_address("192.0.2.254"), ip_address("2001:db8::ffff")),
    uplink="wan",
)  # fmt: skip
PINK = Network("pink", Vlan(20), mode=Mode.ROUTED, gateways=(ip_address("192.0.3.254"),))
PLAIN = Network("plain", Vlan(30))
WAN = Uplink(
    "wan", "eth1",
    tuple(map(ip_interface, ("198.51.100.1/24", "203.0.113.1/24", "2001:db8:f::1/64"))),
    mac=WAN_MAC, routes=(Route(ip_network("0.0.0.0/0"), ip_address("203.0.113.254")),),
)  # fmt: skip
POLICY = Policy(
    networks={network.name: network for network in (GREEN, PINK, PLAIN)},
    endpoints={
        "web1": Endpoint("web1", ("green",), "p1", mac=Mac(0x020000000001), ips=(ip_address("192.0.2.1"),)),
        "web2": Endpoint("web2", ("pink",), "p2", mac=Mac(0x020000000002), ips=(ip_address("192.0.3.2"),)),
    },
    hosts={},
    uplinks={"wan": WAN},
    rules={
        "loud": Rule("loud", Does.DROP, log=LogRate(3, 60)),
        "quiet": Rule("quiet", Does.DROP),
    },
    defaults=Defaults(router_mac=ROUTER_MAC),
)
VIEW = PuntView(0xA1, "br0", Directory(POLICY), {"wan": 9}, {"route": 4, "egress": 20})
WEB1 = Party("02:00:00:00:00:01", ip_address("192.0.2.1"), 40000)
WEB2 = Party("02:00:00:00:00:02", ip_address("192.0.3.2"), 80)
NEXT = ip_address("203.0.113.254")
NEXT_MAC = "02:00:00:00:0b:fe"


class Waits:
    """A waiter of `FakeLoop`."""

    def __init__(self, loop: FakeLoop) -> None:
        self._loop = loop
        self.is_set = False

    def wait(self, timeout_s: float) -> bool:
        if not self.is_set:
            self._loop.sleep(timeout_s)
        return self.is_set

    def set(self) -> None:
        self.is_set = True


class FakeLoop:
    """A loop whose one green thread runs when the test says so, and whose time passes only while it waits.

    until_s: when the test looks again; a thread that would sleep longer is left behind, as an exception.
    """

    class Left(Exception):
        pass

    def __init__(self) -> None:
        self.now_s = 100.0
        self.until_s = 100.0
        self.spawned: list[Callable[[], None]] = []

    def spawn(self, function: Callable[[], None]) -> None:
        self.spawned.append(function)

    def in_thread(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        return function(*args, **kwargs)

    def waiter(self) -> Waits:
        return Waits(self)

    def now(self) -> float:
        return self.now_s

    def sleep(self, timeout_s: float) -> None:
        if self.now_s + timeout_s > self.until_s:
            raise self.Left
        self.now_s += timeout_s

    def run(self, seconds: float = 0.0) -> None:
        self.until_s = self.now_s + seconds
        while self.spawned:
            with suppress(self.Left):
                self.spawned.pop(0)()
        self.now_s = max(self.now_s, self.until_s)

    def bell(self) -> Any:
        raise AssertionError

    def lock(self) -> Any:
        raise AssertionError


class FakeSwitch:
    dpid = 0xA1

    def __init__(self) -> None:
        self.alive = True
        self.failing: Exception | None = None
        self.sent: list[tuple[tuple[Action, ...], bytes]] = []

    def send_packet(self, actions: tuple[Action, ...], frame: bytes) -> None:
        if self.failing is not None:
            raise self.failing
        self.sent.append((actions, frame))


class Bench:
    """Punts of one bridge with everything around it faked."""

    def __init__(self, view: PuntView = VIEW) -> None:
        self.loop = FakeLoop()
        self.switch = FakeSwitch()
        self.view = view
        self.flows: dict[int, Flow] = {}
        self.noted: list[tuple[RuleEvent, LogRate]] = []
        self.punts = Punts(
            self.loop, lambda: self.view, self.flows.get, lambda event, rate: self.noted.append((event, rate))
        )

    def put(self, packet: PacketIn) -> None:
        self.punts.put(self.switch, packet)

    def sent(self) -> list[tuple[tuple[Action, ...], bytes]]:
        """What was sent since this was last asked."""
        sent, self.switch.sent = self.switch.sent, []
        return sent


def punt(why: Punt, frame: bytes, *, in_port: int = 7, cookie: int = 1, total: int = 0, **registers: int) -> PacketIn:
    """registers: by the names of slices, in lower case."""
    names: dict[str, Slice] = {one.name: one for one in (NETWORK, CAME_IN, OUT_PORT, NEXT_HOP, NEXT_HOP6, ASKED)}
    fields: dict[Field, int] = {PUNTED.field: why << PUNTED.low | 0xFF}
    for name, value in registers.items():
        part = names[name]
        fields[part.field] = fields.get(part.field, 0) | value << part.low
    return PacketIn(cookie, 5, 1, in_port, fields, frame, total or len(frame))


# Replies


def test_a_packet_that_was_not_routed_is_rejected_to_the_port_it_came_from() -> None:
    bench = Bench()
    bench.put(punt(Punt.REJECT, tcp(WEB1, WEB2, 2, 1), network=PLAIN.number))
    bench.loop.run()
    [(actions, frame)] = bench.sent()
    assert actions == (
        SetField(NETWORK.field, PLAIN.number), SetField(OUT_PORT.field, 7), Load(ADMITTED, 1), Resubmit(20),
    )  # fmt: skip
    told = understand(frame)
    assert (told.eth_dst, told.eth_src, told.source) == (WEB1.mac, WEB2.mac, str(WEB2.ip))


def test_a_packet_that_was_routed_is_rejected_through_the_router_as_if_by_its_target() -> None:
    bench = Bench()
    sent = tcp(Party(str(ROUTER_MAC), WEB1.ip, 1), WEB2, 2, 1)
    bench.put(punt(Punt.REJECT, sent, network=PINK.number, came_in=GREEN.number))
    bench.loop.run()
    [(actions, frame)] = bench.sent()
    assert actions == (SetField(NETWORK.field, PINK.number), Load(ADMITTED, 1), Resubmit(4))
    told = understand(frame)
    assert (told.eth_dst, told.eth_src) == (str(ROUTER_MAC), WEB2.mac)
    assert (told.source, told.target) == (str(WEB2.ip), str(WEB1.ip))


@pytest.mark.parametrize(("why", "kind"), [(Punt.TTL_EXCEEDED, 11), (Punt.UNREACHABLE, 3)])
def test_the_gateway_of_the_network_a_packet_came_from_tells_its_sender(why: Punt, kind: int) -> None:
    bench = Bench()
    packet = frames.udp(WEB1, party(str(ROUTER_MAC), "198.18.0.1"), b"x")
    bench.put(punt(why, packet, network=GREEN.number, came_in=GREEN.number))
    bench.put(punt(why, packet, network=GREEN.number, in_port=LOCAL_PORT))
    bench.loop.run()
    (actions, frame), (at_local, _) = bench.sent()
    assert actions[:2] == (SetField(NETWORK.field, GREEN.number), SetField(OUT_PORT.field, 7))
    assert at_local[1] == SetField(OUT_PORT.field, LOCAL_PORT)
    told = understand(frame)
    assert (told.source, told.target, told.body[0]) == ("192.0.2.254", str(WEB1.ip), kind)
    assert (told.eth_dst, told.eth_src) == (WEB1.mac, str(ROUTER_MAC))


def test_who_is_outside_is_told_from_the_uplinks_address_at_its_port() -> None:
    bench = Bench()
    packet = frames.udp(party(NEXT_MAC, "198.18.0.1"), party(str(WAN_MAC), "192.0.2.1"), b"x")
    bench.put(punt(Punt.TTL_EXCEEDED, packet, network=WAN.number, in_port=9))
    bench.loop.run()
    [(actions, frame)] = bench.sent()
    assert actions == (SetField(ETH_SRC, WAN_MAC.value), Output(9))
    assert understand(frame).source == "198.51.100.1"


def test_a_packet_routed_back_into_its_own_network_is_rejected_through_the_router_too() -> None:
    bench = Bench()
    sent = tcp(Party(str(ROUTER_MAC), WEB1.ip, 1), party(WEB2.mac, "192.0.2.9"), 2, 1)
    bench.put(punt(Punt.REJECT, sent, network=GREEN.number, came_in=GREEN.number, in_port=0))
    bench.loop.run()
    [(actions, _)] = bench.sent()
    assert actions[-1] == Resubmit(4)


def test_a_packet_for_the_outside_still_has_its_senders_frame() -> None:
    bench = Bench()
    sent = tcp(WEB1, Party(str(ROUTER_MAC), ip_address("198.18.0.1"), 80), 2, 1)
    bench.put(punt(Punt.REJECT, sent, network=WAN.number, came_in=GREEN.number))
    bench.loop.run()
    [(actions, frame)] = bench.sent()
    assert actions[:2] == (SetField(NETWORK.field, GREEN.number), SetField(OUT_PORT.field, 7))
    told = understand(frame)
    assert (told.eth_dst, told.eth_src, told.source) == (WEB1.mac, str(ROUTER_MAC), "198.18.0.1")


def test_what_another_host_has_routed_is_rejected_to_that_host() -> None:
    bench = Bench()
    sent = tcp(Party(str(ROUTER_MAC), WEB1.ip, 1), WEB2, 2, 1)
    bench.put(punt(Punt.REJECT, sent, network=PINK.number, in_port=12))
    bench.loop.run()
    [(actions, frame)] = bench.sent()
    assert actions[:2] == (SetField(NETWORK.field, PINK.number), SetField(OUT_PORT.field, 12))
    assert understand(frame).eth_dst == str(ROUTER_MAC)


def test_a_solicitation_for_the_gateway_is_answered_where_the_datapath_cannot() -> None:
    bench = Bench()
    gateway = ip_address("2001:db8::fe")
    bench.put(
        punt(Punt.SOLICITATION, ask_for(gateway, Mac.parse(WEB1.mac), ip_address("2001:db8::1")), network=PINK.number)
    )
    bench.loop.run()
    [(actions, frame)] = bench.sent()
    assert actions[:2] == (SetField(NETWORK.field, PINK.number), SetField(OUT_PORT.field, 7))
    assert hear(frame) == (gateway, ROUTER_MAC)
    told = understand(frame)
    assert (told.eth_dst, told.eth_src) == (WEB1.mac, str(ROUTER_MAC))
    assert (told.source, told.target) == (str(gateway), "2001:db8::1")


@pytest.mark.parametrize("cut", [0, 14, 60, 77])
def test_what_is_no_whole_solicitation_is_not_answered(cut: int) -> None:
    bench = Bench()
    whole = ask_for(ip_address("2001:db8::fe"), Mac.parse(WEB1.mac), ip_address("2001:db8::1"))
    bench.put(punt(Punt.SOLICITATION, whole[:cut], network=PINK.number))
    bench.put(punt(Punt.SOLICITATION, asked(), network=PINK.number))
    bench.loop.run()
    assert bench.sent() == []


@pytest.mark.parametrize("why", [Punt.TTL_EXCEEDED, Punt.UNREACHABLE])
def test_the_router_says_nothing_of_addresses_that_it_has_rewritten(why: Punt) -> None:
    bench = Bench()
    packet = frames.udp(party(NEXT_MAC, "198.18.0.1"), party(str(WAN_MAC), "192.0.2.1"), b"x")
    bench.put(punt(why, packet, network=WAN.number, in_port=9, asked=1))
    bench.loop.run()
    assert bench.sent() == []


@pytest.mark.parametrize("in_port", [0, 0xFFFFFFFD, 0xFF01, 0xFFFFFFFB])
def test_nothing_goes_back_to_a_reserved_port(in_port: int) -> None:
    bench = Bench()
    bench.put(punt(Punt.REJECT, tcp(WEB1, WEB2, 2, 1), network=PLAIN.number, in_port=in_port))
    bench.loop.run()
    assert bench.sent() == []


@pytest.mark.parametrize("number", [PLAIN.number, PINK.number, 12345, 0])
def test_a_network_without_a_gateway_of_the_version_tells_nothing(number: int) -> None:
    bench = Bench()
    six = frames.udp(party(WEB1.mac, "2001:db8::1"), party(str(ROUTER_MAC), "2001:db8:9::1"), b"x")
    bench.put(punt(Punt.UNREACHABLE, six, network=number))
    bench.loop.run()
    assert bench.sent() == []


# Next hops


def asked() -> bytes:
    mine = Party(str(WAN_MAC), ip_address("203.0.113.1"))
    return frames.arp(1, mine, Party(frames.ZERO_MAC, NEXT), str(WAN_MAC), frames.BROADCAST)


def to_resolve(n: int = 0, **more: Any) -> PacketIn:
    frame = frames.udp(Party(str(WAN_MAC), WEB1.ip, 1), Party(str(ROUTER_MAC), ip_address("198.18.0.1"), n), b"x")
    return punt(Punt.RESOLVE, frame, **{"network": WAN.number, "next_hop": int(NEXT), **more})


def answered(mac: str = NEXT_MAC, address: str = str(NEXT), **more: Any) -> PacketIn:
    mine = Party(str(WAN_MAC), ip_address("203.0.113.1"))
    frame = frames.arp(2, party(mac, address), mine, mac, str(WAN_MAC))
    return punt(Punt.NEIGHBOR, frame, **{"network": WAN.number, "in_port": 9, **more})


def test_a_packet_waits_until_its_next_hop_has_said_its_mac() -> None:
    bench = Bench()
    bench.put(to_resolve())
    bench.loop.run(0.5)
    assert bench.sent() == [((Output(9),), asked())]
    bench.put(answered())
    bench.loop.run()
    assert bench.sent() == [((SetField(ETH_DST, Mac.parse(NEXT_MAC).value), Output(9)), to_resolve().frame)]
    assert bench.punts.dropped == 0


def test_the_first_address_on_the_next_hops_segment_asks() -> None:
    bench = Bench()
    six = frames.udp(party(WEB1.mac, "2001:db8::1"), party(str(ROUTER_MAC), "2001:db8:9::1"), b"x")
    next6 = ip_address("2001:db8:f::77")
    bench.put(punt(Punt.RESOLVE, six, network=WAN.number, next_hop6=int(next6)))
    bench.loop.run()
    [(actions, frame)] = bench.sent()
    assert actions == (Output(9),)
    assert frame == frames.solicitation(party(str(WAN_MAC), "2001:db8:f::1"), next6)


def test_it_is_asked_once_a_second_and_given_up_after_three() -> None:
    bench = Bench()
    for number in range(5):
        bench.put(to_resolve(number))
    began_s = bench.loop.now()
    times: list[float] = []
    send = bench.switch.send_packet
    bench.switch.send_packet = lambda a, f: (times.append(bench.loop.now() - began_s), send(a, f))[1]  # type: ignore
    bench.loop.run(10)
    assert times == [0, 1, 2]
    assert bench.sent() == [((Output(9),), asked())] * 3
    assert bench.punts.dropped == 5
    bench.put(answered())
    bench.loop.run()
    assert bench.sent() == []


def test_packets_under_way_when_the_answer_came_go_on_at_once() -> None:
    bench = Bench()
    bench.put(to_resolve(1))
    bench.put(answered())
    bench.put(to_resolve(2))
    bench.loop.run()
    assert [actions for actions, _ in bench.sent()][1:] == [
        (SetField(ETH_DST, Mac.parse(NEXT_MAC).value), Output(9))
    ] * 2


@pytest.mark.parametrize(
    "answer",
    [
        answered(address="203.0.113.253"),
        answered(in_port=8),
        answered(network=GREEN.number),
        answered(frames.BROADCAST),
    ],
    ids=["another address", "another port", "another network", "no MAC of one machine"],
)
def test_only_the_next_hop_itself_is_believed(answer: PacketIn) -> None:
    bench = Bench()
    bench.put(to_resolve())
    bench.put(answer)
    bench.loop.run()
    assert len(bench.sent()) == 1


@pytest.mark.parametrize(
    "packet",
    [to_resolve(total=9000), to_resolve(next_hop=0), to_resolve(network=GREEN.number)],
    ids=["cut", "no next hop", "no uplink"],
)
def test_what_cannot_be_sent_on_is_dropped_and_counted(packet: PacketIn) -> None:
    bench = Bench()
    bench.put(packet)
    bench.loop.run(5)
    assert bench.sent() == []
    assert bench.punts.dropped == 1


def test_an_uplink_of_another_bridge_is_not_asked_on() -> None:
    bench = Bench(PuntView(0xA1, "br0", VIEW.directory, {}, VIEW.tables))
    bench.put(to_resolve())
    bench.loop.run(5)
    assert bench.sent() == []


def test_the_thread_ends_when_nothing_waits_and_begins_again() -> None:
    bench = Bench()
    for _ in range(2):
        bench.put(to_resolve())
        assert len(bench.loop.spawned) == 1
        bench.loop.run(10)
        assert bench.loop.spawned == []


# What is kept has an end


def hop(number: int) -> Hop:
    return Hop(WAN.number, ip_address(number))


def test_few_packets_wait_for_a_hop_and_the_newest_stay() -> None:
    hops = NextHops()
    assert [hops.hold(hop(1), bytes([n]), 0) for n in range(5)] == [True, False, False, False, False]
    assert hops.hear(hop(1), ROUTER_MAC, 1) == (b"\2", b"\3", b"\4")
    assert hops.dropped == 5 - PACKETS_EACH


def test_few_hops_are_waited_for_and_the_newest_stay() -> None:
    hops = NextHops()
    for number in range(MOST_HOPS + 5):
        assert hops.hold(hop(number), b"x", 0)
    assert hops.dropped == 5
    assert hops.hear(hop(0), ROUTER_MAC, 1) == ()
    assert hops.hear(hop(MOST_HOPS + 4), ROUTER_MAC, 1) == (b"x",)


def test_waiting_packets_take_so_much_memory_and_no_more() -> None:
    hops = NextHops()
    for number in range(50):
        hops.hold(hop(number), bytes(60_000), 0)
    kept = sum(len(frame) for number in range(50) for frame in hops.hear(hop(number), ROUTER_MAC, 1))
    assert MOST_BYTES - 60_000 < kept <= MOST_BYTES


def test_an_answer_is_remembered_for_seconds_only() -> None:
    hops = NextHops()
    assert hops.known(hop(1), 0) is None
    hops.hold(hop(1), b"x", 0)
    hops.hear(hop(1), ROUTER_MAC, 1)
    assert hops.known(hop(1), 2) == ROUTER_MAC
    assert hops.known(hop(1), 4) is None


@given(st.lists(st.tuples(st.sampled_from(["hold", "hear", "due"]), st.integers(0, 3), st.floats(0, 2)), max_size=60))
def test_every_packet_goes_once_or_is_dropped_and_no_hop_is_asked_twice_a_second(
    steps: list[tuple[str, int, float]],
) -> None:
    hops, now_s, n_held, n_gone = NextHops(), 0.0, 0, 0
    asked_s: dict[int, float] = {}

    def note_asked(number: int) -> None:
        assert now_s - asked_s.get(number, -9) >= 1 or number not in waiting
        asked_s[number] = now_s
        waiting.add(number)

    waiting: set[int] = set()
    for what, number, passing_s in steps:
        now_s += passing_s
        for again in hops.due(now_s):
            note_asked(int(again.address))
        if what == "hold":
            n_held += 1
            if hops.hold(hop(number), b"x", now_s):
                waiting.discard(number)
                note_asked(number)
        elif what == "hear":
            n_gone += len(hops.hear(hop(number), ROUTER_MAC, now_s))
    hops.due(now_s + 100)
    assert n_held == n_gone + hops.dropped
    assert hops.due_s() is None


def test_the_queue_drops_its_oldest() -> None:
    bench = Bench()
    for number in range(QUEUED_PACKETS + 10):
        bench.put(punt(Punt.REJECT, tcp(WEB1, WEB2, 2, number), network=PLAIN.number))
    bench.loop.run()
    sent = bench.sent()
    assert len(sent) == QUEUED_PACKETS
    assert (bench.punts.received, bench.punts.dropped) == (QUEUED_PACKETS + 10, 10)
    assert int.from_bytes(understand(sent[0][1]).body[8:12], "big") == 10 + 1


def test_the_queue_has_an_end_in_octets_too() -> None:
    bench = Bench()
    for _ in range(100):
        bench.put(punt(Punt.LOG, bytes(65_000), network=1))
    assert bench.punts.dropped == 100 - QUEUED_BYTES // 65_000


@pytest.mark.parametrize("error", [SwitchError("the connection is gone"), CompileError("70000 octets")])
def test_a_switch_that_has_gone_gets_nothing_and_stops_nothing(
    error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    bench = Bench()
    bench.switch.alive = False
    bench.put(punt(Punt.REJECT, tcp(WEB1, WEB2, 2, 1), network=PLAIN.number))
    bench.loop.run()
    bench.switch.alive, bench.switch.failing = True, error
    bench.put(punt(Punt.REJECT, tcp(WEB1, WEB2, 2, 1), network=PLAIN.number))
    with caplog.at_level(logging.WARNING, "tripoint.punts"):
        bench.loop.run()
    assert str(error) in caplog.text
    bench.switch.failing = None
    bench.put(punt(Punt.REJECT, tcp(WEB1, WEB2, 2, 1), network=PLAIN.number))
    bench.loop.run()
    assert len(bench.sent()) == 1


# Events of rules


def test_a_rule_that_logs_tells_who_and_whom() -> None:
    bench = Bench()
    flow = Flow(5, 1, (), origin="/rules/loud", why="")
    bench.flows[flow.cookie] = flow
    packet = tcp(WEB1, WEB2, 2, 1)
    bench.put(punt(Punt.LOG, packet, cookie=flow.cookie, network=PINK.number, came_in=GREEN.number))
    bench.put(punt(Punt.LOG, packet, cookie=flow.cookie, network=WAN.number, came_in=GREEN.number))
    bench.loop.run()
    (event, rate), (outwards, _) = bench.noted
    assert rate == LogRate(3, 60)
    assert (event.rule, event.action, event.bridge, event.dpid) == ("loud", "drop", "br0", "00000000000000a1")
    assert (event.network, event.target_network, event.origin, event.target) == ("green", "pink", "web1", "web2")
    assert (event.protocol, event.source_ip, event.source_port) == ("tcp", "192.0.2.1", 40000)
    assert (event.target_ip, event.target_port, event.icmp) == ("192.0.3.2", 80, None)
    assert (outwards.target_network, outwards.target) == ("outside", None)
    assert bench.sent() == []


@pytest.mark.parametrize("origin", ["/rules/quiet", "/rules/gone", "/networks/green", "/rules"])
def test_what_is_of_no_rule_that_logs_is_not_told(origin: str) -> None:
    bench = Bench()
    flow = Flow(5, 1, (), origin=origin, why="")
    bench.flows[flow.cookie] = flow
    bench.put(punt(Punt.LOG, tcp(WEB1, WEB2, 2, 1), cookie=flow.cookie, network=PINK.number))
    bench.put(punt(Punt.LOG, tcp(WEB1, WEB2, 2, 1), cookie=99, network=PINK.number))
    bench.loop.run()
    assert bench.noted == []


def test_a_rule_is_recognised_below_its_place_too() -> None:
    assert [rule_in(origin) for origin in ("/rules/a", "/rules/a/from", "/networks/a", "")] == ["a", "a", None, None]


# Anything at all


@settings(max_examples=200, deadline=None)
@given(
    st.lists(
        st.builds(
            PacketIn,
            st.integers(0, 3),
            st.integers(0, 255),
            st.integers(0, 255),
            st.sampled_from([0, 7, 9, LOCAL_PORT, 0xFFFFFFFD]),
            st.dictionaries(
                st.sampled_from([one for one in FIELDS if one.name.startswith(("reg", "xxreg"))]),
                st.one_of(
                    st.sampled_from([GREEN.number, WAN.number, int(NEXT)]), st.integers(0, 15).map(lambda n: n << 24)
                ),
            ),
            st.one_of(st.binary(max_size=80), st.sampled_from([tcp(WEB1, WEB2, 2, 1), asked(), answered().frame])),
            st.integers(0, 100),
        ),
        max_size=8,
    )
)
def test_whatever_a_switch_hands_over_nothing_raises(packets: list[PacketIn]) -> None:
    bench = Bench()
    for cookie in range(4):
        bench.flows[cookie] = Flow(5, 1, (), origin="/rules/loud", why="")
    for packet in packets:
        bench.put(packet)
    bench.loop.run(10)
    assert bench.loop.spawned == []
    assert bench.punts.received == len(packets)
