"""The framer passes what an honest switch sends and refuses everything that could hurt a parser."""

from __future__ import annotations

import signal
import struct
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ryu.ofproto import ofproto_parser, ofproto_v1_4, ofproto_v1_4_parser

from controller.errors import SwitchError
from controller.openflow import requests
from controller.openflow.guard import Framer, GuardError, Phase, is_wholly_checked
from controller.openflow.packets import decode_packet_in
from controller.openflow.protocol import Message
from tests.wire import switch_bytes as sw


def ready() -> Framer:
    framer = Framer()
    framer.feed(b"".join(sw.HANDSHAKE))
    assert framer.phase is Phase.READY
    return framer


def refuse(framer: Framer, data: bytes, sentence: str) -> None:
    with pytest.raises(GuardError, match=sentence):
        framer.feed(data)


AFTERWARDS = (
    sw.message(2, b"are you there"),
    sw.message(3),
    sw.message(21),
    sw.bundle(1, 9),
    sw.bundle(5, 9),
    sw.bundle(7, 9),
    sw.error(3, 2, 9, bytes(64)),
    sw.error(0xFFFF, 11, 9, struct.pack("!I", 0x2320)),
    sw.port_status(0, sw.port(3, b"web3")),
    sw.port_desc(sw.port(1), more=True),
    sw.port_desc(sw.port(2)),
    sw.flow_stats(sw.flow_entry(1), sw.flow_entry(2, match=b"\0\1\0\x0c\x80\0\0\4\0\0\0\1" + bytes(4)), more=True),
    sw.flow_stats(),
    sw.packet_in(frame=b"frame"),
    sw.packet_in(sw.oxm_match(b"\x80\0\0\4\0\0\0\1", b"\0\1\xd3\x08" + bytes(8), b"\x12\x34\x56\0")),
)


def test_an_honest_switch_passes_whole() -> None:
    framer = Framer()
    assert framer.feed(b"".join(sw.HANDSHAKE + AFTERWARDS)) == [*sw.HANDSHAKE, *AFTERWARDS]
    assert framer.pending_bytes == 0


def test_an_honest_switch_passes_byte_by_byte() -> None:
    framer, found = Framer(), []
    for byte in b"".join(sw.HANDSHAKE + AFTERWARDS):
        found += framer.feed(bytes((byte,)))
    assert found == [*sw.HANDSHAKE, *AFTERWARDS]


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(1, 200), min_size=1))
def test_an_honest_switch_passes_however_it_is_cut(sizes: list[int]) -> None:
    data, framer, found, place = b"".join(sw.HANDSHAKE + AFTERWARDS), Framer(), [], 0
    while data:
        size = sizes[place % len(sizes)]
        found += framer.feed(data[:size])
        data, place = data[size:], place + 1
    assert found == [*sw.HANDSHAKE, *AFTERWARDS]


def test_half_a_message_waits_and_is_bounded() -> None:
    framer = ready()
    whole = sw.message(2, bytes(0xFFFF - 8))
    assert framer.feed(whole[:-1]) == []
    assert framer.pending_bytes == 0xFFFE
    assert framer.feed(whole[-1:] + b"\5") == [whole]
    assert framer.pending_bytes == 1


@pytest.mark.parametrize("kind", [11, 30, 31, 32])
def test_what_is_unasked_and_read_by_nobody_is_dropped_in_every_phase(kind: int) -> None:
    framer = Framer()
    framer.feed(sw.hello())
    for message in (*sw.HANDSHAKE[1:], sw.message(21)):
        assert framer.feed(sw.message(kind, b"\0\0") + message) == [message]


def test_packets_are_dropped_in_the_handshake() -> None:
    framer = Framer()
    framer.feed(sw.hello())
    for message in sw.HANDSHAKE[1:]:
        assert framer.feed(sw.message(10, b"\0\0") + message) == [message]


# Zero and short lengths that never end in Ryu's parser, one for each CVE, and those it shares a loop with.
HANGS_RYU = {
    "CVE-2024-34483 group description stats with a zero length": sw.multipart(7, bytes(8)),
    "CVE-2024-34484 bucket with a zero length": sw.multipart(7, struct.pack("!HBxI", 40, 0, 1) + bytes(32)),
    "CVE-2024-34485 group stats with a zero length": sw.multipart(6, bytes(40)),
    "CVE-2024-34486 packet queue with a zero length": sw.message(23, struct.pack("!I4x", 1) + bytes(16)),
    "CVE-2024-34486 queue description with a zero length": sw.multipart(15, bytes(16)),
    "CVE-2024-34487 flow stats with an instruction of length zero": sw.multipart(
        17, sw.flow_entry(1, instructions=bytes(8))
    ),
    "CVE-2024-34488 multipart entry with a zero length": sw.multipart(4, bytes(80)),
    "table features with a zero length": sw.multipart(12, bytes(64)),
    "table description with a zero length": sw.multipart(14, bytes(8)),
    "meter configuration with a zero length": sw.multipart(10, bytes(8)),
    "meter statistics with a zero length": sw.multipart(9, bytes(40)),
    "flow monitor update with a zero length": sw.multipart(16, bytes(8)),
    "experimenter multipart": sw.multipart(0xFFFF, bytes(8)),
    "experimenter message": sw.message(4, bytes(8)),
    "configuration reply nobody asked for": sw.message(8, bytes(4)),
    "role reply nobody asked for": sw.message(25, bytes(16)),
    "asynchronous configuration nobody asked for": sw.message(27, bytes(8)),
    "a controller's message": requests.features_request(1),
    "a second HELLO": sw.hello(version=5),
    "a second features reply, which would change the dpid": sw.features(),
    "unknown type": sw.message(35),
}


@pytest.mark.parametrize("payload", HANGS_RYU.values(), ids=HANGS_RYU)
def test_payload_without_a_place_is_refused_after_the_handshake(payload: bytes) -> None:
    refuse(ready(), payload, "nobody asked|no place")


@pytest.mark.parametrize("payload", HANGS_RYU.values(), ids=HANGS_RYU)
def test_payload_without_a_place_is_refused_before_the_handshake(payload: bytes) -> None:
    if payload[1] == 0:
        return
    refuse(Framer(), payload, "in place of an OpenFlow HELLO")


@pytest.mark.parametrize("reply", AFTERWARDS[2:6] + AFTERWARDS[-4:-2], ids=lambda reply: f"type {reply[1]}")
def test_answers_are_refused_before_the_ports_are_known(reply: bytes) -> None:
    framer = Framer()
    framer.feed(sw.hello() + sw.features())
    refuse(framer, reply, "nobody asked|no place")


BENT_HELLOS = {
    "CVE-2024-34489 element of length zero": b"\0\1\0\0\0\0\0\0",
    "element of unknown type and length zero": b"\0\7\0\0\0\0\0\0",
    "element shorter than its header": b"\0\1\0\3\0\0\0\0",
    "element that leaves the message": b"\0\1\0\x0c\0\0\0\x20",
    "half an element header": b"\0\1\0",
    "padding that reads as an element of length zero": b"\0\1\0\x0c\0\0\0\x20\0\0\0\0" + bytes(4),
    "bitmap of half a word": b"\0\1\0\6\0\0",
}


@pytest.mark.parametrize("elements", BENT_HELLOS.values(), ids=BENT_HELLOS)
def test_bent_hello_is_refused(elements: bytes) -> None:
    refuse(Framer(), sw.hello(elements), "HELLO with")


@pytest.mark.parametrize(
    "hello",
    [sw.hello(b"", version=4), sw.hello(struct.pack("!HHI", 1, 8, 1 << 4)), sw.hello(b"\0\1\0\4")],
    ids=["version 1.3 without a bitmap", "only 1.3 in the bitmap", "empty bitmap"],
)
def test_switch_without_openflow_14_is_told_what_to_set(hello: bytes) -> None:
    refuse(Framer(), hello, "protocols=OpenFlow14")


def test_hello_without_elements_and_with_unknown_elements_passes() -> None:
    for elements in (b"", b"\0\7\0\4", struct.pack("!HHI", 1, 8, 1 << 5), b"\0\7\0\x08abcd" + b"\0\1\0\x08\0\0\0\x20"):
        assert Framer().feed(sw.hello(elements)) == [sw.hello(elements)]


@pytest.mark.parametrize("length", range(8))
def test_header_length_below_eight_is_refused_at_once(length: int) -> None:
    refuse(Framer(), sw.message(0, length=length), f"of length {length}")
    refuse(ready(), sw.message(2, length=length), f"of length {length}")


@pytest.mark.parametrize("version", [0, 7, 0x16, 0x47, 0x80])
def test_other_protocols_on_the_port_are_refused_at_their_first_bytes(version: int) -> None:
    """0x16 begins a TLS handshake, 0x47 is the G of GET."""
    refuse(Framer(), bytes((version, 3, 1, 2, 0, 1, 0, 1)), "does not exist")


def test_other_version_after_hello_is_refused() -> None:
    framer = Framer()
    framer.feed(sw.hello())
    refuse(framer, sw.message(2, version=4), "wire version 0x04")


def test_refused_handshake_is_explained() -> None:
    refuse(Framer(), sw.error(0, 0, 1, b"no common\xff"), r"OFPHFC_INCOMPATIBLE no common\\xff")
    refuse(ready(), sw.error(0, 0, 1, b"\xff"), "refused the handshake")


def test_auxiliary_connection_is_refused() -> None:
    framer = Framer()
    framer.feed(sw.hello())
    refuse(framer, sw.features(auxiliary=1), "auxiliary")


BENT_PORTS = {
    "length zero": sw.port(length=0),
    "shorter than a port": sw.port(length=39),
    "longer than the message": sw.port(length=80),
    "half a port": sw.port()[:39],
    "half a second port": sw.port() + bytes(8),
    "property of length zero": sw.port(properties=sw.ethernet_property(0)),
    "property shorter than its type takes": sw.port(properties=sw.ethernet_property(31)),
    "property that leaves the port": sw.port(properties=sw.ethernet_property(33)),
    "unknown property of length zero": sw.port(properties=b"\0\7" + bytes(6)),
    "experimenter property without experimenter": sw.port(properties=b"\xff\xff\0\x08" + bytes(4)),
    "half a property": sw.port(properties=b"\0\7"),
    "name that is not UTF-8": sw.port(name=b"web\xff"),
    "name with something after its end": sw.port(name=b"web1\0\xff"),
}


@pytest.mark.parametrize("bent", BENT_PORTS.values(), ids=BENT_PORTS)
def test_bent_port_is_refused_in_and_after_the_handshake_and_in_a_status(bent: bytes) -> None:
    framer = Framer()
    framer.feed(sw.hello() + sw.features())
    refuse(framer, sw.port_desc(bent), "port")
    refuse(ready(), sw.port_desc(bent), "port")
    refuse(ready(), sw.port_status(0, bent), "port")


def test_port_status_is_exactly_one_port_with_a_known_reason() -> None:
    refuse(ready(), sw.port_status(3, sw.port()), "unknown reason")
    refuse(ready(), sw.port_status(0, sw.port() + sw.port()), "more in it than one port")
    refuse(ready(), sw.message(12, b"\0"), "without a port")


def test_handshake_that_describes_ports_without_end_is_refused() -> None:
    framer = Framer()
    framer.feed(sw.hello() + sw.features())
    part = sw.port_desc(*(sw.port(number, properties=b"") for number in range(1600)), more=True)
    for _ in range(40):
        framer.feed(part)
    refuse(framer, part, "more than 65535 ports")


BENT_FLOWS = {
    "length zero": sw.flow_entry(1, length=0),
    "shorter than a flow": sw.flow_entry(1, length=48),
    "longer than the message": sw.flow_entry(1, length=64),
    "half a flow": sw.flow_entry(1)[:55],
    "half a second flow": sw.flow_entry(1) + bytes(8),
    "match of length zero": sw.flow_entry(1, match=b"\0\1\0\0\0\0\0\0"),
    "match of another type": sw.flow_entry(1, match=b"\0\0\0\4\0\0\0\0"),
    "match that leaves the flow": sw.flow_entry(1, match=b"\0\1\0\x0c\0\0\0\0"),
    "match whose padding leaves the flow": sw.flow_entry(1, match=b"\0\1\0\x09\0\0\0\0\0"),
}


@pytest.mark.parametrize("bent", BENT_FLOWS.values(), ids=BENT_FLOWS)
def test_bent_flow_is_refused(bent: bytes) -> None:
    refuse(ready(), sw.flow_stats(bent), "flow")


REGISTER = b"\0\1\0\4\0\0\0\7"
BENT_PACKETS = {
    "no match": sw.message(10, bytes(16)),
    "no padding after the match": sw.packet_in()[:-2][:2] + b"\0\x20" + sw.packet_in()[4:-2],
    "match of length zero": sw.packet_in(b"\0\1\0\0\0\0\0\0"),
    "match of another type": sw.packet_in(b"\0\0\0\4\0\0\0\0"),
    "match that leaves the message": sw.packet_in(b"\0\1\0\x20" + REGISTER + bytes(4)),
    "match whose padding leaves the message": sw.packet_in(b"\0\1\0\x0c" + REGISTER),
    "field that leaves the match": sw.packet_in(b"\0\1\0\x0c\0\1\0\5\0\0\0\7" + bytes(4), bytes(64)),
    "half a field": sw.packet_in(b"\0\1\0\x0e" + REGISTER + bytes(4), bytes(64)),
}


@pytest.mark.parametrize("bent", BENT_PACKETS.values(), ids=BENT_PACKETS)
def test_bent_packet_in_is_refused(bent: bytes) -> None:
    refuse(ready(), bent, "packet-in")


@pytest.mark.parametrize(
    ("message", "sentence"),
    [
        (sw.message(21, b"\0"), "barrier"),
        (sw.message(33, bytes(7)), "bundle"),
        (sw.bundle(1, 1)[:2] + b"\0\x18" + sw.bundle(1, 1)[4:] + bytes(8), "bundle control message of 24 octets"),
        (sw.bundle(0, 1), "bundle control message of type 0"),
        (sw.message(1, b"\0\0\0"), "error message of 11"),
        (sw.message(1, b"\xff\xff\0\0\0\0"), "experimenter error"),
        (sw.message(19, bytes(7)), "multipart reply of 15"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_fixed_lengths_are_checked(message: bytes, sentence: str) -> None:
    refuse(ready(), message, sentence)


def test_guard_error_is_a_switch_error() -> None:
    assert issubclass(GuardError, SwitchError)


# -- nothing hangs, nothing else is raised


def feed_or_refuse(framer: Framer, data: bytes) -> list[bytes]:
    try:
        return framer.feed(data)
    except GuardError:
        return []


@settings(max_examples=300, deadline=1000)
@given(st.binary(max_size=300), st.integers(0, 3))
def test_random_bytes_never_hang_or_crash(data: bytes, n_honest: int) -> None:
    framer = Framer()
    framer.feed(b"".join(sw.HANDSHAKE[:n_honest]))
    feed_or_refuse(framer, data)


@st.composite
def damaged(draw: st.DrawFn) -> tuple[int, bytes]:
    """How many honest messages go before; an honest message with octets overwritten and its end cut or filled."""
    place = draw(st.integers(0, len(sw.HANDSHAKE + AFTERWARDS) - 1))
    message = bytearray((sw.HANDSHAKE + AFTERWARDS)[place])
    for _ in range(draw(st.integers(1, 3))):
        message[draw(st.integers(4, len(message) - 1))] = draw(st.sampled_from((0, 1, 3, 4, 8, 0x7F, 0xFF)))
    change = draw(st.integers(-8, 8))
    message = message[:change] if change < 0 else message + bytes(change)
    if len(message) >= 8:
        struct.pack_into("!H", message, 2, len(message))
    return min(place, 3), bytes(message)


class Hung(Exception):
    """The parser did not end."""


@contextmanager
def at_most(seconds: float) -> Iterator[None]:
    """Raises Hung where the body takes longer, also where it loops for ever or catches everything it can."""
    rung: list[bool] = []

    def ring(*_: object) -> None:
        rung.append(True)
        raise Hung

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    if rung:
        raise Hung


class Datapath:
    """All that Ryu's parser asks of a connection."""

    ofproto = ofproto_v1_4
    ofproto_parser = ofproto_v1_4_parser


def ryu_parse(message: bytes) -> object:
    version, kind, length, xid = ofproto_parser.header(message)
    return ofproto_parser.msg(Datapath(), version, kind, length, xid, message)


@settings(max_examples=800, deadline=None)
@given(damaged())
def test_what_passes_the_guard_never_hangs_ryus_parser(case: tuple[int, bytes]) -> None:
    n_honest, message = case
    framer = Framer()
    framer.feed(b"".join(sw.HANDSHAKE[:n_honest]))
    for passed in feed_or_refuse(framer, message):
        if is_wholly_checked(passed):
            with at_most(1):
                ryu_parse(passed)


@settings(max_examples=800, deadline=None)
@given(damaged())
def test_packet_that_passes_the_guard_is_decoded(case: tuple[int, bytes]) -> None:
    for passed in feed_or_refuse(ready(), case[1]):
        if passed[1] == Message.PACKET_IN:
            with at_most(1):
                assert all(0 <= value <= field.all_ones for field, value in decode_packet_in(passed).fields.items())


def test_ryus_parser_does_hang_on_what_the_guard_keeps_from_it() -> None:
    """Otherwise the test above would prove nothing."""
    with pytest.raises(Hung), at_most(0.2):
        ofproto_v1_4_parser.OFPHello.parser(Datapath(), 5, 0, 16, 1, sw.hello(b"\0\7" + bytes(6)))
