"""Hostile members and a hostile world at the router, on real packets.

Every frame carries a mark of its own; where it is seen, and where not, is what is tested. `watching` proves that the
captures would have seen it.
"""

from __future__ import annotations

import random
import socket
import struct
from collections.abc import Iterable, Iterator
from ipaddress import ip_address

import pytest

from tests.lab.conftest import LABS
from tests.lab.stand import Stand, standing, watching
from topologies import frames, netns
from topologies.capture import packet_socket
from topologies.frames import BROADCAST, UDP, Party
from topologies.traffic import mark_bytes

ROUTER = "02:74:70:00:00:01"
PUBLIC = "198.51.100.2"
FORWARDED = OPEN = 7000
SHORT, LONG = 90, 160
"""How often the mark is in a datagram that is cut: in two pieces of any size, or with a first one that Open vSwitch
takes for honest (ovs-appctl(8) dpctl/ipf-set-min-frag)."""
CUT = 1400
MORE = 0x2000
"""The flag of a fragment that others follow (RFC 791 section 3.1)."""


@pytest.fixture(scope="module")
def stand() -> Iterator[Stand]:
    with standing(LABS / "router_under_attack.yaml") as made:
        for node in ("alice", "web"):
            made.pings(node, "198.51.100.1")
        yield made


def new_mark() -> bytes:
    return mark_bytes(random.randrange(1 << 24))


def me(stand: Stand, node: str, port: int = 1000, *, claiming: str = "") -> Party:
    """A node as it is, or under somebody else's address."""
    return Party(stand.mac(node), ip_address(claiming or stand.address(node)), port)


def by_router(stand: Stand, target: str, port: int = OPEN) -> Party:
    """A node or an address, by way of the router."""
    return Party(ROUTER, ip_address(target if "." in target else stand.address(target)), port)


def send(stand: Stand, node: str, sent: Iterable[bytes]) -> None:
    with packet_socket(stand.record.namespaces[node], "eth0", receive=False) as sender:
        for frame in sent:
            assert sender.send(frame) == len(frame)


def seen_at(stand: Stand, node: str, sent: Iterable[bytes], mark: bytes) -> set[str]:
    """Where the mark of frames that a node sends comes in."""
    with watching(stand) as watch:
        send(stand, node, sent)
        watch.settle()
        return {name for name in stand.lab.nodes for frame in watch.at(name) if mark in frame}


def datagrams(stand: Stand, node: str, targets: Iterable[Party], mark: bytes) -> list[bytes]:
    return [frames.udp(me(stand, node), target, mark) for target in targets]


# -- who may go where --------------------------------------------------------------------------------------------------


def test_what_members_may_send_does_arrive(stand: Stand) -> None:
    """Or the other tests here show nothing."""
    for node, target, where in (("alice", "office", "office"), ("isp", "alice", "alice"), ("isp", PUBLIC, "web")):
        mark = new_mark()
        assert where in seen_at(stand, node, datagrams(stand, node, [by_router(stand, target)], mark), mark)


def test_an_isolated_member_is_served_by_no_router(stand: Stand) -> None:
    mark = new_mark()
    targets = [by_router(stand, name) for name in ("alice", "office", "web", "isp", "corp", PUBLIC, "10.1.0.1")]
    assert seen_at(stand, "green", datagrams(stand, "green", targets, mark), mark) == set()


def test_an_uplink_leads_to_its_own_networks_only(stand: Stand) -> None:
    for node, targets in (
        ("corp", ["alice", "office", "web", "green", PUBLIC, "172.20.0.2", "198.51.100.1"]),
        ("isp", ["office", "web", "green", "172.20.0.2", "172.20.0.1"]),
    ):
        mark = new_mark()
        parties = [by_router(stand, name) for name in targets]
        assert seen_at(stand, node, datagrams(stand, node, parties, mark), mark) == set(), node


def test_nobody_outside_passes_for_somebody_inside(stand: Stand) -> None:
    mark = new_mark()
    claims = ("10.1.0.12", "10.1.0.1", "10.3.0.99", "10.4.0.11", "172.20.0.9", PUBLIC, "127.0.0.1", "0.0.0.0")
    sent = [frames.udp(me(stand, "isp", claiming=c), by_router(stand, "alice"), mark) for c in claims]
    others = [Party(mac, ip_address(stand.address("alice")), OPEN) for mac in (stand.mac("alice"), BROADCAST)]
    sent += datagrams(stand, "isp", others, mark)
    assert seen_at(stand, "isp", sent, mark) == set()


def test_a_link_local_sender_stays_on_its_link(stand: Stand) -> None:
    mark = new_mark()
    local = frames.link_local(stand.mac("alice"))
    target = Party(ROUTER, ip_address(stand.address("office", 6)), 9)
    assert seen_at(stand, "alice", [frames.udp(Party(stand.mac("alice"), local, 9), target, mark)], mark) == set()


def test_nothing_looks_like_an_answer_that_is_none(stand: Stand) -> None:
    """desks may open nothing towards lan, whatever its packets look like."""
    mark, office, alice = new_mark(), me(stand, "office", 80), by_router(stand, "alice", 2222)
    sent = [frames.tcp(office, alice, flags, mark) for flags in (0x02, 0x12, 0x10, 0x11, 0x18, 0x04, 0x14, 0x00, 0x29)]
    sent.append(frames.udp(me(stand, "office", OPEN), alice, mark))
    sent.append(frames.echo_reply(office, alice, mark))
    quoted = frames.ip_packet(alice.ip, office.ip, UDP, struct.pack("!HHHH", 9, 9, 8 + len(mark), 0) + mark)
    sent += [frames.icmp(office, alice, kind, b"\0" * 4 + quoted) for kind in ((3, 1), (3, 4), (11, 0), (5, 1))]
    assert seen_at(stand, "office", sent, mark) == set()


def test_an_error_about_an_open_connection_goes_to_its_other_end_only(stand: Stand) -> None:
    alice, office = me(stand, "alice", 4000), by_router(stand, "office", OPEN)
    send(stand, "alice", [frames.udp(alice, office, b"opens")])
    mark = new_mark()
    segment = struct.pack("!HHHH", OPEN, 4000, 8 + len(mark), 0) + mark
    quoted = b"\0" * 4 + frames.ip_packet(office.ip, alice.ip, UDP, segment)
    for target, where in (("office", {"office"}), ("web", set()), ("green", set())):
        sent = [frames.icmp(me(stand, "alice"), by_router(stand, target), (3, 1), quoted)]
        assert seen_at(stand, "alice", sent, mark) == where


# -- fragments --------------------------------------------------------------------------------------------------------


def pieces(frame: bytes, cut: int, number: int) -> list[bytes]:
    """An IPv4 frame in two fragments, cut after so many octets of its payload."""
    body = frame[34:]
    made = []
    for offset, part, flag in ((0, body[:cut], MORE), (cut, body[cut:], 0)):
        head = bytearray(frame[14:34])
        struct.pack_into("!HHH", head, 2, 20 + len(part), number, offset // 8 | flag)
        struct.pack_into("!H", head, 10, 0)
        struct.pack_into("!H", head, 10, frames.checksum(bytes(head)))
        made.append(frame[:14] + bytes(head) + part)
    return made


@pytest.mark.parametrize("cut", [8, 24, 1256])
@pytest.mark.parametrize("turned", [False, True], ids=["in order", "last first"])
def test_fragments_evade_no_port(stand: Stand, cut: int, turned: bool) -> None:
    mark = new_mark()
    whole = frames.udp(me(stand, "alice"), by_router(stand, "office", OPEN + 1), mark * SHORT)
    sent = pieces(whole, cut, random.randrange(1 << 16))
    assert seen_at(stand, "alice", reversed(sent) if turned else sent, mark) == set()


def test_a_fragment_does_not_follow_another_ones_first(stand: Stand) -> None:
    """A first fragment to the port that is open, and one to the shut port under the same number and place."""
    mark, number = new_mark(), random.randrange(1 << 16)
    shut = pieces(frames.udp(me(stand, "alice"), by_router(stand, "office", OPEN + 1), mark * LONG), CUT, number)
    good = pieces(frames.udp(me(stand, "alice"), by_router(stand, "office"), b"\0" * len(mark) * LONG), CUT, number)
    for sent in ([good[0], shut[0], shut[1]], [shut[0], good[0], shut[1]], [shut[1], shut[0], good[0]]):
        send(stand, "alice", sent)
    assert seen_at(stand, "alice", [], mark) == set()
    whole = pieces(frames.udp(me(stand, "alice"), by_router(stand, "office"), mark * LONG), CUT, number ^ 1)
    assert "office" in seen_at(stand, "alice", whole, mark)


@pytest.mark.parametrize("version", [4, 6])
def test_what_a_rule_lets_through_by_its_port_comes_in_fragments_too(stand: Stand, version: int) -> None:
    assert exchange(stand, "alice", ("office", OPEN), stand.address("office", version), (4000, 100, 8000)) == 3
    done = stand.do("alice", "ping", "-c2", "-i0.05", "-W2", "-s4000", stand.address("office", version))
    assert " 2 received" in done.stdout, done.stdout + done.stderr


@pytest.mark.parametrize("node", ["isp", "web"], ids=["from outside", "hairpin"])
def test_fragments_pass_a_forward_in_both_directions(stand: Stand, node: str) -> None:
    """Once a whole packet has opened the connection."""
    assert exchange(stand, node, ("web", FORWARDED), PUBLIC, (100, 4000, 8000)) == 3


def exchange(stand: Stand, client: str, server: tuple[str, int], address: str, sizes: Iterable[int]) -> int:
    """How many datagrams of these sizes a server gets and answers by as many octets, on one connection."""
    node, port = server
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    ends = []
    for name in (node, client):
        with netns.inside(stand.record.namespaces[name]):
            ends.append(socket.socket(family, socket.SOCK_DGRAM))
    done = 0
    with ends[0] as server_end, ends[1] as client_end:
        server_end.bind(("", port))
        for end in ends:
            end.settimeout(2)
        for size in sizes:
            client_end.sendto(random.randbytes(size), (address, port))
            try:
                got, sender = server_end.recvfrom(1 << 16)
                server_end.sendto(got, sender)
                back, source = client_end.recvfrom(1 << 16)
            except TimeoutError:
                continue
            done += back == got and len(got) == size and source[0] == address
    return done
