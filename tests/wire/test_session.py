"""The session against a switch that is played by the test: silence, loss, rudeness, and answers out of order."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from controller.errors import CompileError, SwitchError
from controller.flow import fields as f
from controller.flow.actions import Action, Load, Output
from controller.flow.connections import Connections, End
from controller.flow.flow import Flow
from controller.openflow.pending import Pending
from controller.openflow.protocol import MAX_XID, BundleControl, Message
from controller.openflow.session import FORGOTTEN_AT_A_TIME, PortChange, Session
from controller.switch import FlowDump, PacketIn, Switch
from tests.wire import switch_bytes as sw
from tests.wire.channel import ThreadWaiter

FLOW = Flow(1, 5, (f.IN_PORT(1),), goto=2)
Answer = Callable[[bytes], list[bytes]]


class Played:
    """A channel whose other end is a function from a message to the messages that answer it."""

    def __init__(self, answer: Answer, timeout_s: float = 5) -> None:
        self.sent: list[bytes] = []
        self.changes: list[PortChange] = []
        self.packets: list[PacketIn] = []
        self.n_pauses = 0
        self.closed = False
        self.broken = False
        self._answer = answer
        self.session = Session(
            self,
            ThreadWaiter,
            dpid=7,
            peer="192.0.2.1:5",
            on_port_change=self.changes.append,
            on_packet_in=self.packets.append,
            timeout_s=timeout_s,
        )

    def send(self, data: bytes) -> None:
        if self.broken:
            raise ConnectionResetError("reset by peer")
        while data:
            length = int.from_bytes(data[2:4], "big")
            message, data = data[:length], data[length:]
            self.sent.append(message)
            for reply in self._answer(message):
                self.session.receive(reply)

    def pause(self) -> None:
        self.n_pauses += 1

    def close(self) -> None:
        self.closed = True

    def steps(self) -> list[BundleControl]:
        """The bundle control messages sent."""
        return [BundleControl(m[13]) for m in self.sent if m[1] == Message.BUNDLE_CONTROL]


def xid_of(message: bytes) -> int:
    return int.from_bytes(message[4:8], "big")


def agree(message: bytes) -> list[bytes]:
    """What a switch answers that accepts everything."""
    match message[1]:
        case Message.BUNDLE_CONTROL:
            return [sw.bundle(message[13] + 1, xid_of(message))]
        case Message.BARRIER_REQUEST:
            return [sw.message(21, xid=xid_of(message))]
        case Message.ECHO_REQUEST:
            return [sw.message(3, xid=xid_of(message))]
    return []


def silent_about(*kinds: tuple[int, int | None]) -> Answer:
    """Agrees, but does not answer (message type, bundle step)."""

    def answer(message: bytes) -> list[bytes]:
        step = message[13] if message[1] == Message.BUNDLE_CONTROL else None
        return [] if (message[1], step) in kinds else agree(message)

    return answer


def test_session_is_a_switch() -> None:
    switch: Switch = Played(agree).session
    assert (switch.dpid, switch.peer, switch.alive) == (7, "192.0.2.1:5", True)


def test_bundle_is_opened_filled_checked_by_a_barrier_and_committed() -> None:
    played = Played(agree)
    played.session.apply([FLOW], [3])
    assert [message[1] for message in played.sent] == [33, 34, 34, 20, 33]
    assert played.steps() == [BundleControl.OPEN_REQUEST, BundleControl.COMMIT_REQUEST]
    inner_xids = [message[20:24] for message in played.sent if message[1] == Message.BUNDLE_ADD_MESSAGE]
    assert inner_xids == [message[4:8] for message in played.sent if message[1] == Message.BUNDLE_ADD_MESSAGE]
    assert len(set(map(xid_of, played.sent))) == 5


def test_nothing_to_change_sends_nothing() -> None:
    played = Played(agree)
    played.session.apply((), ())
    assert played.sent == []


def test_refused_message_is_discarded_before_the_commit() -> None:
    def answer(message: bytes) -> list[bytes]:
        if message[1] == Message.BUNDLE_ADD_MESSAGE:
            return [sw.error(5, 1, xid_of(message))]
        return agree(message)

    played = Played(answer)
    with pytest.raises(SwitchError, match="OFPFMFC_TABLE_FULL for cookie="):
        played.session.apply([FLOW], ())
    assert played.steps() == [BundleControl.OPEN_REQUEST, BundleControl.DISCARD_REQUEST]


def test_refused_opening_says_why() -> None:
    def answer(message: bytes) -> list[bytes]:
        if message[1] == Message.BUNDLE_CONTROL:
            return [sw.error(17, 5, xid_of(message))]
        return agree(message)

    with pytest.raises(SwitchError, match=r"OFPBFC_OUT_OF_BUNDLES \(bundle open\)"):
        Played(answer).session.apply([FLOW], ())


def test_refused_commit_without_a_flow_at_fault_says_why() -> None:
    def answer(message: bytes) -> list[bytes]:
        if message[1] == Message.BUNDLE_CONTROL and message[13] == BundleControl.COMMIT_REQUEST:
            return [sw.error(17, 14, xid_of(message))]
        return agree(message)

    with pytest.raises(SwitchError, match=r"OFPBFC_TIMEOUT \(bundle commit\)"):
        Played(answer).session.apply([FLOW], ())


def test_unanswered_request_ends_after_its_time() -> None:
    played = Played(lambda _: [], timeout_s=0.01)
    for ask in (played.session.read_flows, played.session.read_ports, played.session.ping):
        with pytest.raises(SwitchError, match=r"did not answer within 0\.01 s"):
            ask()
    with pytest.raises(SwitchError, match="looking for 1 flows"):
        played.session.find_flows([1])
    assert played.session.alive


def test_unanswered_barrier_commits_nothing() -> None:
    played = Played(silent_about((Message.BARRIER_REQUEST, None)), timeout_s=0.01)
    with pytest.raises(SwitchError, match="barrier"):
        played.session.apply([FLOW], ())
    assert played.steps() == [BundleControl.OPEN_REQUEST, BundleControl.DISCARD_REQUEST]


def test_unanswered_commit_hangs_up_because_its_outcome_is_unknown() -> None:
    played = Played(silent_about((Message.BUNDLE_CONTROL, BundleControl.COMMIT_REQUEST)), timeout_s=0.01)
    with pytest.raises(SwitchError, match="hung up"):
        played.session.apply([FLOW], ())
    assert played.closed
    assert not played.session.alive


def test_loss_of_the_connection_wakes_everybody_and_refuses_the_next() -> None:
    asked = threading.Semaphore(0)

    def answer(_: bytes) -> list[bytes]:
        asked.release()
        return []

    played = Played(answer)
    with ThreadPoolExecutor() as pool:
        waiting = [
            pool.submit(played.session.read_flows),
            pool.submit(played.session.read_ports),
            pool.submit(played.session.apply, [FLOW], ()),
        ]
        for _ in waiting:
            assert asked.acquire(timeout=5)
        played.session.lost("the cable is out")
        for future in waiting:
            with pytest.raises(SwitchError, match="the cable is out"):
                future.result(timeout=5)
    with pytest.raises(SwitchError, match="the cable is out"):
        played.session.find_flows([1])
    assert not played.session.alive


def test_broken_channel_is_a_switch_error() -> None:
    played = Played(agree)
    played.broken = True
    with pytest.raises(SwitchError, match="reset by peer"):
        played.session.read_flows()


def test_echo_request_is_answered_with_its_data() -> None:
    played = Played(agree)
    played.session.receive(sw.message(2, b"abc", xid=99))
    assert played.sent == [sw.message(3, b"abc", xid=99)]


def test_error_for_no_request_is_remembered_and_hurts_nobody() -> None:
    played = Played(agree)
    played.session.receive(sw.error(2, 4, 0xDEAD))
    assert played.session.last_error == "OFPBAC_BAD_OUT_PORT"
    played.session.apply([FLOW], ())


def test_replies_for_nobody_and_of_the_wrong_kind_are_ignored() -> None:
    def answer(message: bytes) -> list[bytes]:
        xid = xid_of(message)
        return [
            sw.port_desc(sw.port(9, b"no"), xid=xid),
            sw.message(21, xid=xid),
            sw.bundle(5, xid),
            sw.flow_stats(sw.flow_entry(0x7470000000000009), xid=xid + 1),
            sw.flow_stats(sw.flow_entry(FLOW.cookie), xid=xid),
            sw.flow_stats(sw.flow_entry(0x7470000000000008), xid=xid),
        ]

    assert Played(answer).session.read_flows().cookies == {FLOW.cookie, 0x7470000000000008}


def test_dump_in_parts_is_sorted_by_owner() -> None:
    match = b"\0\1\0\x0c\x80\0\0\4\0\0\0\x09" + bytes(4)

    def answer(message: bytes) -> list[bytes]:
        xid = xid_of(message)
        return [
            sw.flow_stats(sw.flow_entry(FLOW.cookie), sw.flow_entry(0x7471000000000001), more=True, xid=xid),
            sw.flow_stats(more=True, xid=xid),
            sw.flow_stats(sw.flow_entry(0, table=3, match=match), sw.flow_entry(0x7471000000000001), xid=xid),
        ]

    played = Played(answer)
    dump = played.session.read_flows()
    assert isinstance(dump, FlowDump)
    assert (dump.cookies, dump.learned) == (frozenset({FLOW.cookie}), 2)
    assert [(x.table, x.priority, x.cookie, x.match) for x in dump.foreign] == [(3, 5, 0, match)]


@pytest.mark.parametrize("case", [(sw.flow_stats(*[sw.flow_entry(1)] * 1100), 20), (sw.message(3), 5000)])
def test_receiving_pauses_often_whoever_the_messages_are_for(case: tuple[bytes, int]) -> None:
    played, (message, n_messages) = Played(agree), case
    for _ in range(n_messages):
        played.session.receive(message)
    assert played.n_pauses >= n_messages * (len(message) + 256) // (2 * 64 * 1024) > 0


def test_find_flows_waits_for_the_last_part_of_every_answer() -> None:
    wanted = [0x7470000000000001, 0x7470000000000002, 0x7470000000000003]
    held: list[bytes] = []

    def answer(message: bytes) -> list[bytes]:
        held.append(message)
        if len(held) < 3:
            return []
        first, second, third = map(xid_of, held)
        return [
            sw.flow_stats(xid=third),
            sw.flow_stats(sw.flow_entry(wanted[0]), more=True, xid=first),
            sw.flow_stats(sw.flow_entry(0x7470000000000099), xid=first),
            sw.flow_stats(sw.flow_entry(wanted[1]), xid=second),
        ]

    assert Played(answer).session.find_flows(wanted) == set(wanted[:2])
    assert [int.from_bytes(message[32:40], "big") for message in held] == wanted
    assert {message[40:48] for message in held} == {b"\xff" * 8}


def test_what_is_to_be_verified_is_asked_behind_the_commit_without_waiting_for_its_answer() -> None:
    gone, held = FLOW.cookie ^ 1, list[bytes]()

    def answer(message: bytes) -> list[bytes]:
        commit = message[1] == Message.BUNDLE_CONTROL and message[13] == BundleControl.COMMIT_REQUEST
        if not (commit or message[1] == Message.MULTIPART_REQUEST):
            return agree(message)
        held.append(message)
        if len(held) < 3:
            return []
        first, second, third = held
        return [*agree(first), sw.flow_stats(sw.flow_entry(FLOW.cookie), xid=xid_of(second)),
                sw.flow_stats(xid=xid_of(third))]  # fmt: skip

    assert Played(answer).session.apply([FLOW], [gone], verify=[FLOW.cookie, gone]) == {FLOW.cookie}


def test_what_cannot_be_verified_is_an_error_and_no_reason_to_hang_up() -> None:
    played = Played(agree, timeout_s=0.01)
    with pytest.raises(SwitchError, match="looking for 1 flows"):
        played.session.apply([FLOW], [], verify=[FLOW.cookie])
    assert played.session.alive


def test_find_flows_does_not_end_without_a_last_part() -> None:
    held: list[bytes] = []

    def answer(message: bytes) -> list[bytes]:
        held.append(message)
        return [sw.flow_stats(more=len(held) == 1, xid=xid_of(message))]

    with pytest.raises(SwitchError, match="looking for 2 flows"):
        Played(answer, timeout_s=0.01).session.find_flows([1, 2])


def test_counters_of_flows_are_asked_for_by_their_cookies() -> None:
    wanted = [FLOW.cookie, FLOW.cookie ^ 1]

    def answer(message: bytes) -> list[bytes]:
        cookie, xid = int.from_bytes(message[32:40], "big"), xid_of(message)
        return [sw.flow_stats(*[sw.flow_entry(cookie)] * (cookie == FLOW.cookie), xid=xid)]

    played = Played(answer)
    assert played.session.read_counters(wanted) == {FLOW.cookie: (3, 4)}
    assert [int.from_bytes(message[32:40], "big") for message in played.sent] == wanted
    assert {message[40:48] for message in played.sent} == {b"\xff" * 8}
    assert played.session.read_counters(()) == {}
    assert len(played.sent) == 2


def test_counters_of_all_flows_are_those_of_ours() -> None:
    def answer(message: bytes) -> list[bytes]:
        entries = [sw.flow_entry(cookie) for cookie in (FLOW.cookie, 0x7471000000000001, 5)]
        return [sw.flow_stats(*entries, more=True, xid=xid_of(message)), sw.flow_stats(xid=xid_of(message))]

    played = Played(answer)
    assert played.session.read_counters() == {FLOW.cookie: (3, 4)}
    assert [message[32:48] for message in played.sent] == [b"\x74\x70" + bytes(6) + b"\xff\xff" + bytes(6)]


REGISTER_3, REGISTER_14, REGISTER_15 = (bytes((0, 1, number << 1, 4)) for number in (3, 14, 15))
CT_STATE_UNDER_MASK = b"\0\1\xd3\x08\0\0\0\x61\0\0\0\x21"
UNKNOWN = b"\xff\xff\x02\x08\0\0\x23\x20abcd" + b"\x80\0\4\2zz"


def test_packet_that_a_flow_hands_over_is_told_with_what_the_pipeline_knew() -> None:
    terms = (
        b"\x80\0\0\4\0\0\0\x09",
        UNKNOWN,
        REGISTER_3 + b"\0\0\1\2",
        REGISTER_14 + b"\x20\0\0\0",
        REGISTER_15 + b"\0\0\0\1",
        CT_STATE_UNDER_MASK,
    )
    played = Played(agree)
    played.session.receive(sw.packet_in(sw.oxm_match(*terms), b"frame", cookie=FLOW.cookie, total=1500))
    fields = {f.IN_PORT: 9, f.REG3: 0x102, f.XXREG3: 0x20000000 << 32 | 1, f.CT_STATE: 0x21}
    (packet,) = played.packets
    assert packet == PacketIn(FLOW.cookie, 4, 1, 9, fields, b"frame", 1500)
    assert (packet.read(f.SENDER_SET), packet.read(f.NEXT_HOP6), packet.read(f.ZONE)) == (
        0x102,
        0x20000000 << 32 | 1,
        0,
    )


def test_packet_without_fields_or_frame_is_told_as_it_is() -> None:
    played = Played(agree)
    played.session.receive(sw.packet_in())
    assert played.packets == [PacketIn(1, 4, 1, 0, {}, b"", 0)]


def test_packets_are_for_nobody_where_nobody_asked_for_them() -> None:
    played = Played(agree)
    session = Session(played, ThreadWaiter, dpid=7, peer="")
    session.receive(sw.packet_in(frame=b"frame"))
    assert played.packets == played.sent == []


def test_packet_is_sent_without_waiting() -> None:
    played = Played(lambda _: [])
    played.session.send_packet((Output(3),), b"frame")
    action = b"\0\0\0\x10\0\0\0\3" + bytes(8)
    fixed = b"\xff\xff\xff\xff" + b"\xff\xff\xff\xfd" + b"\0\x10" + bytes(6)
    assert played.sent == [sw.message(13, fixed + action + b"frame", xid=0)]


@pytest.mark.parametrize(
    ("actions", "frame"),
    [((Output(1 << 32),), b""), ((), bytes(65536 - 24)), ((Load(f.PUNTED, 16),), b"")],
    ids=["port", "length", "value"],
)
def test_packet_that_has_no_place_on_the_wire_is_refused(actions: tuple[Action, ...], frame: bytes) -> None:
    played = Played(agree)
    with pytest.raises(CompileError, match="cannot be put into an OpenFlow message"):
        played.session.send_packet(actions, frame)
    assert played.sent == []


def test_connections_are_forgotten_some_at_a_time_and_the_switch_says_when_it_is_done() -> None:
    def refuse(message: bytes) -> list[bytes]:
        return [sw.error(1, 2, xid_of(message))] if message[1] == Message.EXPERIMENTER else agree(message)

    for answer in (agree, refuse):
        played = Played(answer)
        played.session.forget([Connections(1, 4, answers_to=End(number)) for number in range(FORGOTTEN_AT_A_TIME + 1)])
        kinds = [Message(message[1]) for message in played.sent]
        barrier = Message.BARRIER_REQUEST
        assert kinds == [*[Message.EXPERIMENTER] * FORGOTTEN_AT_A_TIME, barrier, Message.EXPERIMENTER, barrier]
        assert len(set(map(xid_of, played.sent))) == len(played.sent)
    played = Played(agree)
    played.session.forget([])
    assert not played.sent


def test_meters_are_added_then_set_before_any_flow() -> None:
    played = Played(agree)
    played.session.prepare()
    meters = [message for message in played.sent if message[1] == Message.METER_MOD]
    assert [(m[9], int.from_bytes(m[12:16], "big")) for m in meters] == [
        (command, punt) for command in (0, 1) for punt in f.Punt
    ]
    kinds = [message[1] for message in played.sent]
    assert kinds.index(Message.BUNDLE_ADD_MESSAGE) > len(kinds) - 1 - kinds[::-1].index(Message.METER_MOD)


@pytest.mark.parametrize("refused", [(0,), (0, 1)], ids=["they are there", "the datapath has none"])
def test_switch_is_prepared_whatever_becomes_of_its_meters(
    refused: tuple[int, ...], caplog: pytest.LogCaptureFixture
) -> None:
    def answer(message: bytes) -> list[bytes]:
        if message[1] == Message.METER_MOD and message[9] in refused:
            return [sw.error(12, 1 if refused == (0,) else 10, xid_of(message))]
        return agree(message)

    played = Played(answer)
    played.session.prepare()
    assert played.session.advertises
    assert played.session.last_error is None
    assert ("OFPMMFC_OUT_OF_METERS" in caplog.text) == (refused == (0, 1))


def test_port_changes_are_told_once_each() -> None:
    def answer(message: bytes) -> list[bytes]:
        return [sw.port_desc(sw.port(1, b"web1"), sw.port(2, b"web2"), xid=xid_of(message))]

    played = Played(answer)
    assert played.session.read_ports() == {"web1": 1, "web2": 2}
    for reason, ofport, name in [
        (2, 1, b"web1"),  # only its link state changed
        (2, 2, b"renamed"),
        (0, 3, b"web3"),
        (0, 3, b"web3"),
        (1, 3, b"web3"),
        (1, 4, b"never-seen"),
    ]:
        played.session.receive(sw.port_status(reason, sw.port(ofport, name)))
    assert played.changes == [
        PortChange(2, "web2", "renamed"),
        PortChange(3, None, "web3"),
        PortChange(3, "web3", None),
        PortChange(4, "never-seen", None),
    ]


def test_xids_start_again_before_they_overflow() -> None:
    pending = Pending(ThreadWaiter)
    pending._next_xid = MAX_XID - 5
    first = pending.open(4, None)
    second = pending.open(4, None)
    assert (first.first, second.first) == (MAX_XID - 5, 1)
    assert [pending.find(xid) for xid in (0, 1, 4, 5, MAX_XID - 2, MAX_XID - 1)] == [
        None,
        second,
        second,
        None,
        first,
        None,
    ]
