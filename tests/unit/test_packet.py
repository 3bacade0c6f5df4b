"""Packets as values, and as bytes."""

from __future__ import annotations

import pytest
from hypothesis import given, settings

from controller.flow import packet as p
from controller.flow.frame import crc32c, form_frame, parse_frame
from controller.mac import Mac
from tests.unit.strategies import Case, cases, seeded

ONE, TWO = 0x020000000001, 0x020000000002


def checksum(data: bytes) -> int:
    """RFC 1071: 0 over data that contains its own checksum."""
    words = [int.from_bytes(data[i : i + 2].ljust(2, b"\0"), "big") for i in range(0, len(data), 2)]
    total = sum(words)
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def test_absent_and_zero_are_the_same() -> None:
    assert p.packet(eth_type=0x800, nw_proto=0, ip_src=1) == p.packet(eth_type=0x800, ip_src=1)
    assert p.raw(ONE, TWO, 0x800).get("ip_src") == 0


def test_a_header_without_its_prerequisite_is_refused() -> None:
    with pytest.raises(ValueError, match="no arp_op"):
        p.packet(eth_type=0x800, arp_op=1)
    with pytest.raises(ValueError, match="no nd_target"):
        p.packet(eth_type=0x86DD, nw_proto=58, icmpv6_type=135, icmpv6_code=1, nd_target=1)
    with pytest.raises(ValueError, match="option of type 1"):
        p.packet(eth_type=0x86DD, nw_proto=58, icmpv6_type=135, nd_sll=1)


@pytest.mark.parametrize("headers", [{"eth_type": 0x8100}, {"eth_type": 0x100}, {}, {"eth_type": 0x800, "foo": 1}])
def test_what_is_no_packet_is_refused(headers: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=r"cannot be|no header"):
        p.packet((), **headers)


@pytest.mark.parametrize("tag", [-1, 4096])
def test_a_tag_has_twelve_bits(tag: int) -> None:
    with pytest.raises(ValueError, match="VLAN"):
        p.raw(ONE, TWO, 0x800).with_tags(tag)


@pytest.mark.parametrize(("name", "n_bits"), p.WIDTHS.items())
def test_a_value_fits_its_header(name: str, n_bits: int) -> None:
    for value in (-1, 1 << n_bits):
        with pytest.raises(ValueError, match=f"{name} cannot be"):
            p.packet((), **{"eth_type": 0x800, name: value})


def test_changing_the_type_takes_the_headers_of_the_old_type_away() -> None:
    changed = p.arp_request(ONE, 1, 2).with_(eth_type=0x800)
    assert changed == p.raw(ONE, p.BROADCAST, 0x800)


def test_changing_an_unknown_header_is_refused() -> None:
    with pytest.raises(ValueError, match="no header"):
        p.arp_request(ONE, 1, 2).with_(ttl=3)


def test_an_arp_request_has_the_bytes_of_rfc_826() -> None:
    expected = "ffffffffffff020000000001080600010800060400010200000000010a0000010000000000000a000002"
    data = form_frame(p.arp_request(ONE, 0x0A000001, 0x0A000002))
    assert data.hex() == expected.ljust(120, "0")


def test_tags_stand_before_the_ethertype_outermost_first() -> None:
    data = form_frame(p.raw(ONE, TWO, 0x1234).with_tags(10, 20))
    assert data[12:22].hex() == "8100000a810000141234"


def test_checksums_are_right() -> None:
    udp = form_frame(p.ipv4_udp((ONE, TWO), (0x0A000001, 0x0A000002), (5, 6)))
    assert checksum(udp[14:34]) == 0
    assert checksum(udp[26:34] + b"\0\x11" + udp[38:40] + udp[34 : 34 + int.from_bytes(udp[38:40], "big")]) == 0
    advert = form_frame(p.neighbor_advertisement((ONE, TWO), (1, 2), 1, ONE))
    assert checksum(advert[22:54] + advert[18:20] + b"\0\x3a" + advert[54:86]) == 0


def test_an_advertisement_carries_its_address_in_a_target_option() -> None:
    advert = form_frame(p.neighbor_advertisement((ONE, TWO), (1, 2), 1, ONE))
    assert advert[78:86].hex() == "0201020000000001"
    assert advert[58:62].hex() == "60000000"


def test_a_solicitation_goes_to_the_solicited_node_group() -> None:
    asked = p.neighbor_solicitation(ONE, 1, int(Mac(TWO).link_local))
    assert asked.eth_dst == 0x3333FF000002
    assert asked.get("ipv6_dst") == 0xFF0200000000000000000001FF000002


@given(cases())
@settings(max_examples=50, deadline=None)
def test_parsing_the_bytes_gives_the_packet_back(case: Case) -> None:
    for _, frame in case.frames:
        assert parse_frame(form_frame(frame)) == frame


def test_parsing_the_bytes_gives_the_packet_back_in_many_seeded_cases() -> None:
    for seed in range(200):
        for _, frame in seeded(seed).frames:
            data = form_frame(frame)
            assert len(data) >= 60
            assert parse_frame(data) == frame


MANY = [
    p.ipv4_icmp((ONE, TWO), (1, 2), 0),
    p.ipv4_sctp((ONE, TWO), (1, 2), (3, 4)),
    p.ipv6_sctp((ONE, TWO), (1, 2), (3, 4)).with_(nw_ttl=7),
    p.ipv6_tcp((ONE, TWO), (1, 2), (3, 4)).with_tags(9),
    p.icmpv6((ONE, TWO), (1, 2), 128),
    p.icmp_error((ONE, TWO), 9, p.ipv4_tcp((TWO, ONE), (1, 2), (3, 4)), 3, 1),
    p.icmp_error((ONE, TWO), 9, p.ipv6_udp((TWO, ONE), (1, 2), (3, 4)).with_(nw_ttl=1), 3).with_(nw_ttl=63),
    p.icmp_error((ONE, TWO), 9, p.ipv4_icmp((TWO, ONE), (1, 2)), 11),
    p.icmp_error((ONE, TWO), 9, p.ipv4_udp((TWO, ONE), (1, 2), (3, 4)), 3).with_inner(None),
]


@pytest.mark.parametrize("frame", MANY, ids=str)
def test_parsing_gives_back_every_kind_of_packet_and_what_errors_are_about(frame: p.Packet) -> None:
    assert parse_frame(form_frame(frame)) == frame


def test_a_time_to_live_that_is_not_said_is_read_as_not_said() -> None:
    sent = p.ipv4_udp((ONE, TWO), (1, 2), (3, 4))
    assert form_frame(sent)[22] == 64
    assert parse_frame(form_frame(sent)) == sent
    assert form_frame(p.neighbor_solicitation(ONE, 1, 2))[21] == 255


def test_an_error_goes_to_the_sender_of_what_it_is_about() -> None:
    told = p.icmp_error((ONE, TWO), 9, p.ipv4_udp((TWO, ONE), (1, 2), (3, 4)), 3, 3)
    assert (told.get("ip_src"), told.get("ip_dst")) == (9, 1)
    assert told.inner == p.ipv4_udp((0, 0), (1, 2), (3, 4))
    assert "about" in str(told)
    assert told != told.with_inner(None)
    assert told.with_tags(5).with_(ip_src=8).inner == told.inner
    assert told.with_(icmp_type=8).inner is None


def test_only_an_error_is_about_a_packet_of_its_version() -> None:
    about = p.ipv4_udp((0, 0), (1, 2), (3, 4))
    with pytest.raises(ValueError, match="only an ICMP error"):
        p.ipv4_icmp((ONE, TWO), (1, 2)).with_inner(about)
    with pytest.raises(ValueError, match="only an ICMP error"):
        p.icmpv6((ONE, TWO), (1, 2), 1).with_inner(about)


def test_the_checksum_of_sctp_is_the_castagnoli_one() -> None:
    assert crc32c(b"123456789") == 0xE3069283


def test_a_frame_that_ends_inside_a_header_is_refused() -> None:
    data = form_frame(p.arp_request(ONE, 1, 2))
    for length in (0, 11, 13, 41):
        with pytest.raises(ValueError, match=f"frame of .* bytes ends|frame of {length}"):
            parse_frame(data[:length])
