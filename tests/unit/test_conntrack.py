"""Conntrack as a value. tests/trace holds it against the userspace datapath itself."""

from __future__ import annotations

import pytest

from controller.flow import packet as p
from controller.flow.actions import Nat
from controller.flow.fields import CtState
from controller.flow.packet import Packet
from controller.proof.conntrack import NO_CONNECTIONS, UNTRACKED, Ask, Connections, Tracked, track
from controller.proof.error import EvaluationError

ETH = (0x020000000001, 0x020000000002)
A, B, C, X = 1, 2, 3, 8
NEW, EST, RPL = (CtState.TRK | bit for bit in (CtState.NEW, CtState.EST, CtState.EST | CtState.RPL))
INVALID = CtState.TRK | CtState.INV
OUT, BACK = p.ipv4_udp(ETH, (A, B), (1, 80)), p.ipv4_udp(ETH, (B, A), (80, 1))


def states(*frames: Packet, ask: Ask | None = None) -> list[int]:
    connections = NO_CONNECTIONS
    said = []
    for frame in frames:
        _, tracked, connections = track(connections, frame, UNTRACKED, ask or Ask(1, commit=True))
        said.append(tracked.state)
    return said


def known(*frames: Packet, ask: Ask | None = None) -> Connections:
    connections = NO_CONNECTIONS
    for frame in frames:
        _, _, connections = track(connections, frame, UNTRACKED, ask or Ask(1, commit=True))
    return connections


def test_established_is_what_has_been_answered() -> None:
    assert states(OUT, OUT, BACK, OUT, BACK) == [NEW, NEW, RPL, EST, RPL]


def test_without_a_commit_nothing_is_kept() -> None:
    assert states(OUT, BACK, ask=Ask(1)) == [NEW, NEW]
    assert len(known(OUT, ask=Ask(1))) == 0


def test_what_connections_were_does_not_change() -> None:
    before = known(OUT)
    _, _, after = track(before, BACK, UNTRACKED, Ask(1))
    assert [it.answered for it in before] == [False]
    assert [it.answered for it in after] == [True]


def test_the_tuple_is_of_the_packet_that_opened_it_even_for_errors_and_answers() -> None:
    connections = known(OUT)
    for frame in (OUT, BACK, p.icmp_error(ETH, C, OUT, 3, 3), p.icmp_error(ETH, A, BACK, 3, 3)):
        _, tracked, _ = track(connections, frame, UNTRACKED, Ask(1))
        assert tracked.original is not None
        assert (tracked.original.src, tracked.original.dst, tracked.original.dst_port) == (A, B, 80)
    _, tracked, _ = track(connections, p.icmp_error(ETH, C, p.ipv4_udp(ETH, (A, C), (1, 2)), 3), UNTRACKED, Ask(1))
    assert tracked == Tracked(INVALID, 1)


def test_neighbor_discovery_and_arp_are_nothing_for_conntrack() -> None:
    assert states(p.neighbor_solicitation(1, 2, 3, 1), p.arp_request(1, 2, 3)) == [INVALID, INVALID]


def test_a_zone_knows_nothing_of_another() -> None:
    _, tracked, _ = track(known(OUT), BACK, UNTRACKED, Ask(2))
    assert tracked.state == NEW


def test_translation_happens_once_in_a_zone_and_again_in_another() -> None:
    first, second = Ask(1, True, Nat("src", 4, X, X)), Ask(2, True, Nat("src", 4, X + 1, X + 1))
    packet, tracked, connections = track(NO_CONNECTIONS, OUT, UNTRACKED, first)
    packet, tracked, connections = track(connections, packet, tracked, first)
    assert (packet.get("ip_src"), tracked.state, len(connections)) == (X, NEW | CtState.SNAT, 1)
    packet, tracked, connections = track(connections, packet, tracked, second)
    assert (packet.get("ip_src"), tracked.state, len(connections)) == (X + 1, NEW | CtState.SNAT, 2)
    answer = p.ipv4_udp(ETH, (B, X + 1), (80, 1))
    for zone, expected in ((2, X), (1, A)):
        answer, tracked, connections = track(connections, answer, UNTRACKED, Ask(zone, nat=Nat()))
        assert (answer.get("ip_dst"), tracked.state) == (expected, RPL | CtState.DNAT)


def test_addresses_and_ports_are_taken_in_order_and_run_out() -> None:
    ask = Ask(1, True, Nat("src", 4, X, X + 1, (7, 8)))
    frames = [p.ipv4_udp(ETH, (source, B), (1, 80)) for source in range(20, 24)]
    assert [(it.answer.dst, it.answer.dst_port) for it in known(*frames, ask=ask)] == [
        (X, 7),
        (X, 8),
        (X + 1, 7),
        (X + 1, 8),
    ]
    with pytest.raises(EvaluationError, match="no free"):
        known(*frames, p.ipv4_udp(ETH, (24, B), (1, 80)), ask=ask)


def test_a_source_port_stays_while_it_is_free_with_any_address() -> None:
    ask = Ask(1, True, Nat("src", 4, X, X + 1))
    frames = [p.ipv4_tcp(ETH, (source, B), (2000, 80)) for source in (20, 21, 22)]
    assert [(it.answer.dst, it.answer.dst_port) for it in known(*frames, ask=ask)] == [
        (X, 2000),
        (X + 1, 2000),
        (X, 2001),
    ]


def test_what_datapaths_differ_in_is_refused() -> None:
    with pytest.raises(EvaluationError, match="no address"):
        known(OUT, ask=Ask(1, True, Nat()))
    connections = known(OUT, ask=Ask(1, True, Nat("src", 4, X, X)))
    with pytest.raises(EvaluationError, match="another connection"):
        track(connections, p.ipv4_udp(ETH, (B, A), (80, 1)), UNTRACKED, Ask(1, True))


def test_sctp_has_ports_for_linux_and_none_for_the_userspace_datapath() -> None:
    one, two = (p.ipv6_sctp(ETH, (A, B), (port, 80)) for port in (1, 2))
    assert len(known(one, two)) == 2
    assert len(known(one, two, ask=Ask(1, True, sctp_ports=False))) == 1


def test_a_mark_is_set_under_its_mask_at_every_commit() -> None:
    connections = known(OUT, ask=Ask(1, True, mark=(0xF5, 0x0F)))
    _, tracked, connections = track(connections, BACK, UNTRACKED, Ask(1, True, mark=(0x30, 0xF0)))
    assert [it.mark for it in connections] == [0x35]
    assert tracked.mark == 0x35
