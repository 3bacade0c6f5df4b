"""The session against a switch that is played by the test: silence, loss, rudeness, and answers out of order."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from controller.errors import SwitchError
from controller.flow import fields as f
from controller.flow.flow import Flow
from controller.openflow.pending import Pending
from controller.openflow.protocol import MAX_XID, BundleControl, Message
from controller.openflow.session import PortChange, Session
from controller.switch import FlowDump, Switch
from tests.wire import switch_bytes as sw
from tests.wire.channel import ThreadWaiter

FLOW = Flow(1, 5, (f.IN_PORT(1),), goto=2)
Answer = Callable[[bytes], list[bytes]]


class Played:
    """A channel whose other end is a function from a message to the messages that answer it."""

    def __init__(self, answer: Answer, timeout_s: float = 5) -> None:
        self.sent: list[bytes] = []
        self.changes: list[PortChange] = []
        self.n_pauses = 0
        self.closed = False
        self.broken = False
        self._answer = answer
        self.session = Session(
            self, ThreadWaiter, dpid=7, peer="192.0.2.1:5", on_port_change=self.changes.append, timeout_s=timeout_s
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


def test_find_flows_does_not_end_without_a_last_part() -> None:
    held: list[bytes] = []

    def answer(message: bytes) -> list[bytes]:
        held.append(message)
        return [sw.flow_stats(more=len(held) == 1, xid=xid_of(message))]

    with pytest.raises(SwitchError, match="looking for 2 flows"):
        Played(answer, timeout_s=0.01).session.find_flows([1, 2])


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
