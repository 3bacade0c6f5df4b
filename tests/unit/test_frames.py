"""Frames in answer to frames: read back by a reader of their own, and never an exception for whatever comes."""

from __future__ import annotations

import struct
from dataclasses import dataclass, replace
from ipaddress import IPv4Address, IPv6Address, ip_address

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from controller.frames.answers import reject, time_exceeded, unreachable
from controller.frames.ip_heads import may_be_answered, read_ip
from controller.frames.neighbors import announcement, ask_for, hear
from controller.frames.summary import summarize
from controller.mac import Mac
from topologies import frames
from topologies.frames import Party

WEB1 = Party("02:00:00:00:00:01", ip_address("192.0.2.1"), 40000)
WEB2 = Party("02:00:00:00:00:02", ip_address("192.0.2.2"), 80)
SIX1 = Party("02:00:00:00:00:01", ip_address("2001:db8::1"), 40000)
SIX2 = Party("02:00:00:00:00:02", ip_address("2001:db8::2"), 80)
ROUTER = ip_address("192.0.2.254")
ROUTER6 = ip_address("2001:db8::ffff")
TCP, UDP, ICMP, ICMPV6 = 6, 17, 1, 58

# A reader of its own


@dataclass(frozen=True)
class Told:
    eth_dst: str
    eth_src: str
    source: str
    target: str
    protocol: int
    hops: int
    traffic_class: int
    body: bytes


def folded(data: bytes) -> int:
    """0 where a checksum in data is right: one's complement arithmetic is arithmetic modulo 0xffff."""
    return int.from_bytes(data + b"\0" * (len(data) % 2), "big") % 0xFFFF


def understand(frame: bytes | None) -> Told:
    """Read an answer, and check every length and checksum in it."""
    assert frame is not None
    assert len(frame) >= 60
    kind, packet = frame[12:14], frame[14:]
    if kind == b"\x08\x00":
        first, tos, length, _, fragment, hops, protocol, _ = struct.unpack("!BBHHHBBH", packet[:12])
        assert first == 0x45
        assert fragment == 0x4000
        assert folded(packet[:20]) == 0
        source, target, body = IPv4Address(packet[12:16]), IPv4Address(packet[16:20]), packet[20:length]
        pseudo = packet[12:20] + struct.pack("!BBH", 0, protocol, len(body))
        tail = packet[length:]
    else:
        assert kind == b"\x86\xdd"
        first, length, protocol, hops = struct.unpack("!IHBB", packet[:8])
        assert first >> 28 == 6
        tos = first >> 20 & 0xFF
        source, target, body = IPv6Address(packet[8:24]), IPv6Address(packet[24:40]), packet[40 : 40 + length]
        pseudo = packet[8:40] + struct.pack("!II", len(body), protocol)
        tail = packet[40 + length :]
        assert len(body) == length
    assert not any(tail)
    assert len(tail) <= 60
    assert folded(body if protocol == ICMP else pseudo + body) == 0
    return Told(frame[:6].hex(":"), frame[6:12].hex(":"), str(source), str(target), protocol, hops, tos, body)


# Frames to answer


def tcp(source: Party, target: Party, flags: int, seq: int, ack: int = 0, data: bytes = b"") -> bytes:
    head = struct.pack("!HHIIBBHHH", source.port, target.port, seq, ack, 5 << 4, flags, 8192, 0, 0)
    return ip(source, target, TCP, head + data)


def ip(source: Party, target: Party, protocol: int, segment: bytes, ttl: int = 64) -> bytes:
    kind = 0x0800 if source.ip.version == 4 else 0x86DD
    packet = frames.ip_packet(source.ip, target.ip, protocol, segment, ttl)
    return frames.ethernet(source.mac, target.mac, kind, packet)


def extended(*headers: tuple[int, bytes], protocol: int, segment: bytes) -> bytes:
    """IPv6 from web1 to web2 with extension headers: (number, its octets but for the first)."""
    numbers = [number for number, _ in headers]
    body = b"".join(
        bytes([following]) + octets
        for (_, octets), following in zip(headers, [*numbers[1:], protocol], strict=True)
    )  # fmt: skip
    return ip(SIX1, SIX2, numbers[0], body + segment)


def with_fragment(frame: bytes, offset: int, more: bool) -> bytes:
    return frame[:20] + struct.pack("!H", offset // 8 | more << 13) + frame[22:]


PAIRS = pytest.mark.parametrize(("source", "target"), [(WEB1, WEB2), (SIX1, SIX2)], ids=["ipv4", "ipv6"])

# TCP


@PAIRS
def test_syn_is_reset_with_the_acknowledgment_of_all_it_took(source: Party, target: Party) -> None:
    told = understand(reject(tcp(source, target, 0x02, 0xFFFFFFFE, data=b"hello")))
    ports, seq, ack, flags = told.body[:4], told.body[4:8], told.body[8:12], told.body[13]
    assert (told.eth_dst, told.eth_src) == (source.mac, target.mac)
    assert (told.source, told.target) == (str(target.ip), str(source.ip))
    assert ports == struct.pack("!HH", 80, 40000)
    assert (seq, flags) == (bytes(4), 0x14)
    assert int.from_bytes(ack, "big") == (0xFFFFFFFE + 5 + 1) % 2**32
    assert len(told.body) == 20


@PAIRS
def test_a_segment_with_ack_is_reset_at_the_number_it_waits_for(source: Party, target: Party) -> None:
    told = understand(reject(tcp(source, target, 0x10, 1000, 77, b"data")))
    assert struct.unpack("!IIBB", told.body[4:14]) == (77, 0, 5 << 4, 0x04)


@PAIRS
@pytest.mark.parametrize("flags", [0x04, 0x14, 0x06])
def test_a_reset_is_never_answered(source: Party, target: Party, flags: int) -> None:
    assert reject(tcp(source, target, flags, 1)) is None


def test_the_length_of_a_cut_segment_is_what_its_ip_head_says() -> None:
    whole = tcp(WEB1, WEB2, 0x01, 100, data=bytes(500))
    told = understand(reject(whole[:60]))
    assert int.from_bytes(told.body[8:12], "big") == 100 + 500 + 1


def test_padding_of_the_frame_is_no_data() -> None:
    assert int.from_bytes(understand(reject(tcp(WEB1, WEB2, 0x00, 100))).body[8:12], "big") == 100


def test_tcp_options_are_no_data() -> None:
    head = struct.pack("!HHIIBBHHH", 1, 2, 100, 0, 10 << 4, 0x02, 0, 0, 0) + bytes(20)
    assert int.from_bytes(understand(reject(ip(WEB1, WEB2, TCP, head))).body[8:12], "big") == 101


def test_a_data_offset_beyond_the_packet_is_not_answered() -> None:
    head = struct.pack("!HHIIBBHHH", 1, 2, 100, 0, 15 << 4, 0x02, 0, 0, 0)
    assert reject(ip(WEB1, WEB2, TCP, head)) is None


@pytest.mark.parametrize(("flags", "answered"), [(0x02, False), (0x10, True)])
def test_how_long_the_first_fragment_of_a_segment_is_nobody_knows(flags: int, answered: bool) -> None:
    first = with_fragment(tcp(WEB1, WEB2, flags, 100, 5, bytes(100)), 0, True)
    assert (reject(first) is not None) is answered


# ICMP


@pytest.mark.parametrize(
    ("frame", "kind", "code"),
    [
        (frames.udp(WEB1, WEB2, b"x"), 3, 3),
        (ip(WEB1, WEB2, 47, b"x" * 30), 3, 2),
        (frames.echo(WEB1, WEB2, b"x"), 3, 2),
        (frames.udp(SIX1, SIX2, b"x"), 1, 4),
        (ip(SIX1, SIX2, 47, b"x" * 30), 1, 4),
        (frames.echo(SIX1, SIX2, b"x"), 1, 4),
    ],
)
def test_what_is_not_tcp_is_told_by_icmp_from_the_address_it_was_for(frame: bytes, kind: int, code: int) -> None:
    told = understand(reject(frame))
    seen = frames.read(frame)
    assert (told.source, told.target) == (str(seen.ip_target), str(seen.ip_source))
    assert told.protocol == (ICMP if seen.ethertype == frames.IPV4 else ICMPV6)
    assert (told.body[0], told.body[1], told.body[4:8]) == (kind, code, bytes(4))
    packet = frame[14:]
    assert packet.startswith(told.body[8:])
    n_packet = int.from_bytes(packet[2:4], "big") if kind == 3 else 40 + int.from_bytes(packet[4:6], "big")
    assert len(told.body) - 8 == n_packet


@pytest.mark.parametrize(
    ("say", "router", "kind"),
    [
        (time_exceeded, ROUTER, (11, 0)),
        (unreachable, ROUTER, (3, 0)),
        (time_exceeded, ROUTER6, (3, 0)),
        (unreachable, ROUTER6, (1, 0)),
    ],
)
def test_the_router_tells_from_its_own_address(say: object, router: object, kind: tuple[int, int]) -> None:
    source, target = (WEB1, WEB2) if router is ROUTER else (SIX1, SIX2)
    for frame in (frames.udp(source, target, b"x"), tcp(source, target, 2, 1), frames.echo(source, target, b"x")):
        told = understand(say(frame, router))  # type: ignore[operator]
        assert (told.source, told.target) == (str(router), str(source.ip))
        assert (told.eth_dst, told.eth_src, told.hops) == (source.mac, target.mac, 64)
        assert tuple(told.body[:2]) == kind
    other = ROUTER6 if router is ROUTER else ROUTER
    assert say(frames.udp(source, target, b"x"), other) is None  # type: ignore[operator]


@pytest.mark.parametrize(("source", "target", "most"), [(WEB1, WEB2, 576), (SIX1, SIX2, 1280)])
def test_as_much_is_quoted_as_fits(source: Party, target: Party, most: int) -> None:
    frame = frames.udp(source, target, bytes(range(250)) * 6)
    answer = reject(frame)
    assert answer is not None
    told = understand(answer)
    assert len(answer) - 14 == most
    assert frame[14:].startswith(told.body[8:])


def test_the_type_of_service_stays_and_the_precedence_is_of_the_network() -> None:
    frame = frames.udp(WEB1, WEB2, b"x")
    frame = frame[:15] + b"\x28" + frame[16:]
    assert understand(reject(frame)).traffic_class == 0xC0 | 0x08


def test_the_answer_is_handed_to_whom_it_is_to_be() -> None:
    told = understand(reject(frames.udp(WEB1, WEB2, b"x"), Mac.parse("02:74:70:00:00:01")))
    assert (told.eth_dst, told.eth_src) == ("02:74:70:00:00:01", WEB2.mac)


# What is never answered

BROADCAST = "ff:ff:ff:ff:ff:ff"


def party(mac: str, address: str) -> Party:
    return Party(mac, ip_address(address), 1)


def icmp_error(kind: int) -> bytes:
    return struct.pack("!BBHI", kind, 0, 0, 0) + bytes(28)


NEVER = {
    "a broadcast frame": frames.udp(WEB1, party(BROADCAST, "192.0.2.2"), b"x"),
    "a multicast frame": frames.udp(SIX1, party("33:33:00:00:00:01", "2001:db8::2"), b"x"),
    "a frame from a group": frames.udp(party("03:00:00:00:00:01", "192.0.2.1"), WEB2, b"x"),
    "limited broadcast": frames.udp(WEB1, party(WEB2.mac, "255.255.255.255"), b"x"),
    "multicast": frames.udp(WEB1, party(WEB2.mac, "239.1.2.3"), b"x"),
    "multicast of IPv6": frames.udp(SIX1, party(SIX2.mac, "ff02::1"), b"x"),
    "no source": frames.udp(party(WEB1.mac, "0.0.0.0"), WEB2, b"x"),
    "no source in IPv6": frames.udp(party(SIX1.mac, "::"), SIX2, b"x"),
    "a source that is a group": frames.udp(party(WEB1.mac, "224.0.0.1"), WEB2, b"x"),
    "a source that is a group of IPv6": frames.udp(party(SIX1.mac, "ff05::1"), SIX2, b"x"),
    "a source that is a broadcast": frames.udp(party(WEB1.mac, "255.255.255.255"), WEB2, b"x"),
    "a source that is loopback": frames.udp(party(WEB1.mac, "127.0.0.1"), WEB2, b"x"),
    "a source that is loopback of IPv6": frames.udp(party(SIX1.mac, "::1"), SIX2, b"x"),
    "a later fragment": with_fragment(frames.udp(WEB1, WEB2, bytes(100)), 64, False),
    "a later fragment in the middle": with_fragment(frames.udp(WEB1, WEB2, bytes(100)), 64, True),
    "a later fragment of IPv6": extended(
        (44, struct.pack("!BHI", 0, 64, 1)), protocol=UDP, segment=bytes(60)
    ),
    "a routing header with segments left": extended(
        (43, bytes([2, 4, 1]) + bytes(20)), protocol=UDP, segment=bytes(60)
    ),
    "a tag": frames.tagged(frames.udp(WEB1, WEB2, b"x"), 7),
    "ARP": frames.arp(1, WEB1, WEB2, WEB1.mac, WEB2.mac),
    **{f"ICMP error {kind}": ip(WEB1, WEB2, ICMP, icmp_error(kind)) for kind in (3, 4, 5, 11, 12, 200)},
    **{f"ICMPv6 error {kind}": ip(SIX1, SIX2, ICMPV6, icmp_error(kind)) for kind in (1, 2, 3, 4, 127, 137)},
}  # fmt: skip


@pytest.mark.parametrize("frame", NEVER.values(), ids=NEVER)
def test_what_must_not_be_answered_is_not(frame: bytes) -> None:
    for answer in (reject(frame), time_exceeded(frame, ROUTER), unreachable(frame, ROUTER)):
        assert answer is None
    for answer in (time_exceeded(frame, ROUTER6), unreachable(frame, ROUTER6)):
        assert answer is None


def test_an_error_behind_extension_headers_is_not_answered() -> None:
    frame = extended((0, bytes(7)), (60, bytes([1]) + bytes(14)), protocol=ICMPV6, segment=icmp_error(1))
    assert reject(frame) is None


def test_extension_headers_are_walked_over_and_counted_out() -> None:
    head = struct.pack("!HHIIBBHHH", 1, 2, 100, 0, 5 << 4, 0x02, 0, 0, 0)
    frame = extended(
        (0, bytes(7)), (60, bytes([1]) + bytes(14)), (43, bytes(7)), (44, bytes(7)), (51, bytes([4]) + bytes(22)),
        protocol=TCP, segment=head + b"data",
    )  # fmt: skip
    told = understand(reject(frame))
    assert told.protocol == TCP
    assert int.from_bytes(told.body[8:12], "big") == 100 + 4 + 1


def test_a_chain_of_extension_headers_has_an_end() -> None:
    def chain(n: int) -> bytes:
        return extended(*[(60, bytes(7))] * n, protocol=UDP, segment=bytes(60))

    assert reject(chain(8)) is not None
    assert reject(chain(9)) is None
    assert reject(chain(180)) is None


# Asking and hearing

MINE = Mac.parse("02:74:70:00:00:01")


def test_an_arp_request_asks_everybody_on_the_segment() -> None:
    frame = ask_for(ip_address("198.51.100.9"), MINE, ip_address("198.51.100.1"))
    asker, asked = Party(str(MINE), ip_address("198.51.100.1")), Party(frames.ZERO_MAC, ip_address("198.51.100.9"))
    assert frame == frames.arp(1, asker, asked, str(MINE), BROADCAST)


def test_a_solicitation_is_what_a_kernel_sends() -> None:
    asked = IPv6Address("2001:db8:1::12:3456")
    asker = Party(str(MINE), ip_address("2001:db8:1::1"))
    assert ask_for(asked, MINE, ip_address("2001:db8:1::1")) == frames.solicitation(asker, asked)


def test_an_address_is_announced_by_a_question_for_itself() -> None:
    own = Party(str(MINE), ip_address("198.51.100.1"))
    expected = frames.arp(1, own, replace(own, mac=frames.ZERO_MAC), str(MINE), BROADCAST)
    assert announcement(own.ip, MINE) == expected


def test_an_ipv6_address_is_announced_to_all_nodes_as_a_routers_and_believed() -> None:
    own = Party(str(MINE), ip_address("2001:db8:1::1"))
    frame = announcement(own.ip, MINE)
    everybody = Party("33:33:00:00:00:01", ip_address("ff02::1"))
    flags = (0xA0000000).to_bytes(4, "big")
    option = b"\x02\x01" + MINE.value.to_bytes(6, "big")
    assert frame == frames.neighbour(136, own, everybody, flags + own.ip.packed + option)
    assert hear(frame) == (own.ip, MINE)


def advert(source: Party, body: bytes) -> bytes:
    return frames.neighbour(136, source, SIX2, body)


NEIGHBOR = Party("02:00:00:00:00:77", ip_address("2001:db8::77"))
OTHER_MAC = "02:00:00:00:00:78"
HEARD6 = (ip_address("2001:db8::77"), Mac.parse(OTHER_MAC))


@pytest.mark.parametrize(
    ("frame", "heard"),
    [
        (frames.arp(2, WEB1, WEB2, WEB1.mac, WEB2.mac), (WEB1.ip, Mac.parse(WEB1.mac))),
        (frames.arp(1, WEB1, WEB2, WEB1.mac, BROADCAST), (WEB1.ip, Mac.parse(WEB1.mac))),
        (frames.arp(3, WEB1, WEB2, WEB1.mac, WEB2.mac), None),
        (frames.arp(1, party(WEB1.mac, "0.0.0.0"), WEB2, WEB1.mac, BROADCAST), None),
        (frames.arp(2, party(BROADCAST, "192.0.2.1"), WEB2, WEB1.mac, WEB2.mac), None),
        (frames.arp(2, party(frames.ZERO_MAC, "192.0.2.1"), WEB2, WEB1.mac, WEB2.mac), None),
        (advert(NEIGHBOR, bytes(4) + NEIGHBOR.ip.packed + frames.link_address_option(2, OTHER_MAC)), HEARD6),
        (advert(NEIGHBOR, bytes(4) + NEIGHBOR.ip.packed), (NEIGHBOR.ip, Mac.parse(NEIGHBOR.mac))),
        (advert(NEIGHBOR, bytes(4) + NEIGHBOR.ip.packed + bytes([14, 1]) + bytes(6)
                + frames.link_address_option(2, OTHER_MAC)), HEARD6),
        (advert(NEIGHBOR, bytes(4) + NEIGHBOR.ip.packed + frames.link_address_option(2, BROADCAST)), None),
        (frames.solicitation(NEIGHBOR, IPv6Address("2001:db8::2")), (NEIGHBOR.ip, Mac.parse(NEIGHBOR.mac))),
        (frames.solicitation(party(NEIGHBOR.mac, "::"), IPv6Address("2001:db8::2")), None),
        (frames.udp(WEB1, WEB2, b"x"), None),
        (frames.echo(SIX1, SIX2, b"x" * 40), None),
    ],
)  # fmt: skip
def test_who_is_where_is_heard_from_those_who_may_say_it(frame: bytes, heard: object) -> None:
    assert hear(frame) == heard


def test_an_advertisement_that_passed_a_router_is_not_believed() -> None:
    frame = advert(NEIGHBOR, bytes(4) + NEIGHBOR.ip.packed)
    assert hear(frame[:21] + b"\xfe" + frame[22:]) is None


def test_what_is_asked_is_heard_by_the_one_asked() -> None:
    for address, mine in ((WEB2.ip, WEB1.ip), (SIX2.ip, SIX1.ip)):
        assert hear(ask_for(address, MINE, mine)) == (mine, MINE)


# Summaries


def test_a_summary_says_protocol_addresses_and_ports() -> None:
    told = summarize(tcp(SIX1, SIX2, 2, 1))
    assert told is not None
    assert (told.protocol, str(told.source), told.ports, told.icmp) == ("tcp", "2001:db8::1", (40000, 80), None)
    told = summarize(frames.echo(WEB1, WEB2, b"x"))
    assert told is not None
    assert (told.protocol, told.ports, told.icmp) == ("icmp", None, "8/0")
    told = summarize(ip(WEB1, WEB2, 89, b"x" * 30))
    assert told is not None
    assert told.protocol == "89"
    assert summarize(frames.arp(1, WEB1, WEB2, WEB1.mac, WEB2.mac)) is None


def test_a_later_fragment_has_no_ports() -> None:
    told = summarize(with_fragment(frames.udp(WEB1, WEB2, bytes(100)), 64, False))
    assert told is not None
    assert told.ports is None


# Hostile frames

GOOD = [
    tcp(WEB1, WEB2, 2, 1, data=b"x" * 40),
    tcp(SIX1, SIX2, 0x10, 1, 2, b"x" * 40),
    frames.udp(WEB1, WEB2, b"x" * 600),
    frames.udp(SIX1, SIX2, b"x" * 1400),
    frames.echo(WEB1, WEB2, b"x"),
    extended((0, bytes(7)), (44, bytes(7)), (51, bytes([4]) + bytes(22)), protocol=UDP, segment=bytes(60)),
    frames.solicitation(NEIGHBOR, IPv6Address("2001:db8::2")),
    frames.arp(2, WEB1, WEB2, WEB1.mac, WEB2.mac),
    *NEVER.values(),
]


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """A good frame, cut anywhere, with some octets changed."""
    frame = bytearray(draw(st.sampled_from(GOOD)))
    for _ in range(draw(st.integers(0, 6))):
        frame[draw(st.integers(0, min(len(frame), 120) - 1))] = draw(st.integers(0, 255))
    return bytes(frame[: draw(st.integers(0, len(frame)))])


@settings(max_examples=400, deadline=None)
@given(st.one_of(damaged(), st.binary(max_size=200)))
@example(b"")
def test_nothing_raises_and_every_answer_is_whole(frame: bytes) -> None:
    heads = read_ip(frame)
    for answer in (
        reject(frame),
        *(say(frame, router) for say in (time_exceeded, unreachable) for router in (ROUTER, ROUTER6)),
    ):
        if answer is not None:
            told = understand(answer)
            assert heads is not None
            assert told.target == str(heads.source)
            assert told.eth_dst == frame[6:12].hex(":")
    if heads is not None:
        may_be_answered(heads)
    hear(frame)
    summarize(frame)


@settings(max_examples=200, deadline=None)
@given(damaged())
def test_nothing_that_the_controller_says_is_answered(frame: bytes) -> None:
    """Two controllers, or one and itself, never talk to each other for ever."""
    for answer in (reject(frame), time_exceeded(frame, ROUTER), unreachable(frame, ROUTER6)):
        if answer is not None:
            assert reject(answer) is None
            assert time_exceeded(answer, ROUTER) is None
            assert unreachable(answer, ROUTER6) is None
