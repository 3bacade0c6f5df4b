"""What lab files say of several hosts: how it is read and refused, and how a cable is judged. Sends nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from topologies import frames, managed, ovs, records, traffic
from topologies.cables import cable_row
from topologies.capture import UNTAGGED, Notebook
from topologies.frames import Party
from topologies.load import parse
from topologies.reading import LabFileError
from topologies.spec import L4_PORTS, Carries, Encapsulation, Hostile, IPv4Address, Lab, Point
from topologies.verdict import Verdict

TEXT = """
name: sample
description: Two hosts.
nodes:
  a: {interfaces: {eth0: {addresses: [10.0.0.1/24], mac: "02:00:00:00:00:01"}}}
  b:
    interfaces:
      eth0:
        mac: "02:00:00:00:00:02"
        native: {addresses: [10.0.0.2/24]}
        tagged: {100: {addresses: [10.1.0.2/24]}}
  left: {}
  right: {}
  far: {}
  between: {}
bridges:
  br-l: {node: left}
  br-r: {node: right}
  br-f: {node: far, managed: true}
  under-l: {node: left, controlled: false, fail_mode: standalone, addresses: [192.168.50.4/24]}
  under-r: {node: right, controlled: false, fail_mode: standalone, addresses: [192.168.50.5/24]}
  fabric: {node: between, fabric: true}
links:
  - [under-l:uplink, fabric:up-l]
  - [under-r:uplink, fabric:up-r]
  - [a:eth0, br-l:p1]
  - [b:eth0, br-r:p1]
  - [br-l:trunk, fabric:to-l]
  - [br-r:trunk, fabric:to-r]
impostors:
  as-b: {at: "br-r:trunk", like: "b:eth0.100", vid: 100}
  plain-b: {at: "br-r:trunk", like: b}
  in-tunnel: {at: "under-r:uplink", like: b, vni: 5010, vid: 7}
policy:
  hosts:
    left: {bridge: br-l, trunk: trunk}
    right: {bridge: br-r, trunk: trunk, ovsdb: "unix:right"}
    far: {bridge: br-f, ovsdb: "from:far"}
  endpoints: {a: {host: left, port: p1}, b: {host: right, port: p1}}
expectations:
  - {by: as-b, send: forged-mac, claiming: a}
  - {from: a, to: b, expect: reach, never_seen_at: "br-l:trunk"}
  - {cable: ["br-l:trunk", b], carries: {plain: a, 100: [a, b], vni 0: []}}
  - {cable: "fabric:up-l", carries: {geneve 5010: b, arp: []}}
"""
MAC_A, MAC_B = "02:00:00:00:00:01", "02:00:00:00:00:02"
PARTY_A, PARTY_B = Party(MAC_A, IPv4Address("10.0.0.1"), 1), Party(MAC_B, IPv4Address("10.0.0.2"), 2)


def test_hosts_trunks_impostors_and_plain_frames_beside_tags_are_read() -> None:
    lab = parse(TEXT)
    assert [(p.device, p.vid, str(p.address(4))) for p in lab.points("b")] == [
        ("eth0", None, "10.0.0.2"),
        ("eth0.100", 100, "10.1.0.2"),
    ]
    ends = ["under-l:uplink", "under-r:uplink", "br-l:trunk", "br-r:trunk"]
    assert [str(lab.cable_end(p)) for p in lab.trunk_ends] == ends
    assert lab.points("fabric") == lab.points("between") == lab.points("br-l:p1") == ()
    (impostor,) = lab.points("as-b")
    assert (impostor.node, impostor.interface, impostor.mac, impostor.vid) == ("right", "trunk", MAC_B, 100)
    assert impostor.address(4) == IPv4Address("10.1.0.2")
    assert lab.points("plain-b")[0].vid is None
    assert not {"as-b", "fabric"} & {p.node for p in lab.all_points}


def test_an_impostor_in_tunnels_speaks_from_its_hosts_address_to_every_other_host() -> None:
    lab = parse(TEXT.replace("vni: 5010, vid: 7", "vni: 5010, vtep: 192.168.50.66"))
    (point,) = lab.points("in-tunnel")
    assert point.tunnels is not None
    own, other = (lab.bridges[name].mac for name in ("under-r", "under-l"))
    assert point.tunnels.source == (own, IPv4Address("192.168.50.66"))
    assert point.tunnels.targets == ((other, IPv4Address("192.168.50.4")),)
    (frame,) = traffic.in_tunnels(point.tunnels, [PLAIN])
    seen = frames.read(frame)
    assert (seen.source, seen.target, seen.ports[1]) == (own, other, 4789)
    assert (str(seen.ip_source), str(seen.ip_target)) == ("192.168.50.66", "192.168.50.4")
    assert frames.tunnelled(frame) == (Encapsulation.VXLAN, 5010, PLAIN)


def test_what_comes_to_a_host_is_seen_at_the_fabrics_end_of_its_cable() -> None:
    lab = parse(TEXT)
    (point,) = lab.points("fabric:up-l")
    assert (point.node, point.interface, str(lab.cable_end(point))) == ("between", "up-l", "fabric:up-l")
    carries = lab.expectations[-1]
    assert carries == Carries("fabric:up-l", (("geneve 5010", ("b",)), ("arp", ())))


def test_a_managed_host_gets_what_only_this_machine_knows(lab_directory: Path) -> None:
    lab = parse(TEXT)
    record = records.create(lab, TEXT, "test", "test")
    try:
        assert lab.policy is not None
        hosts = managed.with_sockets(lab.policy, record)["hosts"]
        there, called = record.directory, managed.system_id(record, "far")
    finally:
        records.remove(record)
    assert isinstance(hosts, dict)
    assert hosts["left"] == {"bridge": "br-l", "trunk": "trunk"}
    assert hosts["right"] == {"bridge": "br-r", "trunk": "trunk", "ovsdb": f"unix:{there}/right/db.sock"}
    assert hosts["far"] == {
        "bridge": "br-f",
        "ovsdb": f"from:{called}",
        "controller": f"unix:{there}/far/br-f.controller",
        "datapath_type": ovs.datapath_type(),
    }
    assert managed.calling(lab) == ["far"]


def test_a_hostile_host_is_watched_everywhere_but_at_itself() -> None:
    hostile = parse(TEXT).expectations[0]
    assert isinstance(hostile, Hostile)
    assert hostile.unseen_at == ("a", "b", "left", "far")


@pytest.mark.parametrize(
    ("old", "new", "path"),
    [
        ("fabric: true", "fabric: true, fail_mode: secure", "/bridges/fabric"),
        ('at: "br-r:trunk", like: b}', 'at: "br-r:p1", like: b}', "/impostors/plain-b/at"),
        ("like: b}", "like: c}", "/impostors/plain-b/like"),
        ("vid: 100}", "vid: 4095}", "/impostors/as-b/vid"),
        ("vni: 5010, vid: 7", "vni: 16777216", "/impostors/in-tunnel/vni"),
        ("vni: 5010, vid: 7", "vtep: 192.168.50.66", "/impostors/in-tunnel/vtep"),
        ('at: "under-r:uplink", like', 'at: "br-r:trunk", like', "/impostors/in-tunnel/vni"),
        ("far, managed: true", "far, managed: true, fail_mode: secure", "/bridges/br-f"),
        ('"from:far"', '"from:left"', "/bridges/br-f/managed"),
        ('far: {bridge: br-f, ovsdb: "from:far"}', "far: {bridge: br-r}", "/bridges/br-f/managed"),
        ("geneve 5010: b", "stt 5010: b", "/expectations/3/carries/stt 5010"),
        ("plain-b:", "left:", "/impostors/left"),
        ("bridge: br-l, trunk: trunk", "bridge: br-l, trunk: trnk", "/policy/hosts/left/trunk"),
        ("bridge: br-l,", "bridge: br-x,", "/policy/hosts/left/bridge"),
        ("{host: left, port: p1}", "{host: left, port: to-l}", "/policy/endpoints/a/port"),
        ("plain: a,", "none: a,", "/expectations/2/carries/none"),
        ("100: [a, b]", "4095: [a, b]", "/expectations/2/carries/4095"),
        ("vni 0: []", "vni 16777216: []", "/expectations/2/carries/vni 16777216"),
        ('"br-l:trunk", b]', '"br-l:p1", b]', "/expectations/2/cable/0"),
        ("from: a, to: b", "from: as-b, to: a", "/expectations/1"),
        ("from: a, to: b", 'from: a, to: "br-r:trunk"', "/expectations/1/to"),
        ("to: b, expect: reach", "to: b, expect: carries", "/expectations/1/expect"),
        ("claiming: a}", "while: {relay: as-b}}", "/expectations/0/while/relay"),
        ("{addresses: [10.0.0.1/24]", "{native: {}, addresses: [10.0.0.1/24]", "/nodes/a/interfaces/eth0/native"),
    ],
)
def test_what_cannot_be_is_refused_where_it_stands(old: str, new: str, path: str) -> None:
    assert TEXT.count(old) == 1
    with pytest.raises(LabFileError) as caught:
        parse(TEXT.replace(old, new))
    assert path in {problem.path for problem in caught.value.problems}


# -- a cable ---------------------------------------------------------------------------------------------------------


def noted(*sent: bytes, trunk: bool = True) -> Notebook:
    notebook = Notebook(impostors={9})
    for frame in sent:
        notebook.note("left", "trunk", frame, trunk)
    return notebook


def encapsulated(port: int, head: bytes, inner: bytes) -> bytes:
    outer = Party("02:00:00:00:50:04", IPv4Address("192.168.50.4"), 40000)
    return frames.udp(outer, Party("02:00:00:00:50:05", IPv4Address("192.168.50.5"), port), head + inner)


PLAIN = frames.udp(PARTY_A, PARTY_B, traffic.mark_bytes(1))
VXLAN = encapsulated(4789, bytes.fromhex("0800000000139200"), PLAIN)
GENEVE = encapsulated(6081, bytes.fromhex("0200655800139200") + bytes(8), PLAIN)
GRE = frames.ethernet(
    "02:00:00:00:50:04",
    "02:00:00:00:50:05",
    frames.IPV4,
    frames.ip_packet(
        IPv4Address("192.168.50.4"), IPv4Address("192.168.50.5"), 47, bytes.fromhex("2000655800001392") + PLAIN
    ),
)
WANTED = Carries("br-l:trunk", (("vid 100", ("a",)),))


@pytest.fixture(scope="module")
def lab() -> Lab:
    return parse(TEXT)


def test_a_cable_with_the_right_tags_only_passes(lab: Lab) -> None:
    canary = traffic.canary(traffic.mark_bytes(3), frames.LINK_LOCAL_GROUP)
    of_impostor = frames.udp(PARTY_A, PARTY_B, traffic.mark_bytes(9))
    row = cable_row(WANTED, lab, noted(frames.tagged(PLAIN, 100), canary, of_impostor), "")
    assert (row.verdict, row.observed) == (Verdict.PASS, "vid 100: 1")
    mute = cable_row(WANTED, lab, noted(frames.tagged(PLAIN, 100)), "left:trunk before not seen")
    assert mute.verdict is Verdict.INVALID


@pytest.mark.parametrize(
    "frame",
    [
        PLAIN,
        frames.tagged(PLAIN, 0),
        frames.tagged(PLAIN, 200),
        frames.tagged(frames.tagged(PLAIN, 100), 100),
        frames.tagged(frames.udp(PARTY_B, PARTY_A, b""), 100),
        VXLAN,
    ],
)
def test_one_frame_with_another_tag_or_from_elsewhere_fails(lab: Lab, frame: bytes) -> None:
    row = cable_row(WANTED, lab, noted(frames.tagged(PLAIN, 100), frame), "")
    assert row.verdict is Verdict.FAIL
    assert "br-l:trunk carried 1: " in row.seen


def test_a_cable_on_which_a_tag_was_never_seen_fails(lab: Lab) -> None:
    row = cable_row(WANTED, lab, noted(), "")
    assert (row.verdict, row.observed) == (Verdict.FAIL, "none of vid 100")


@pytest.mark.parametrize("frame", [VXLAN, GENEVE, GRE], ids=["vxlan", "geneve", "gre"])
def test_a_tunnels_network_is_its_vni_and_the_frame_is_the_one_inside(lab: Lab, frame: bytes) -> None:
    found = frames.tunnelled(frame)
    assert found is not None
    kind, vni, inner = found
    assert (vni, inner) == (5010, PLAIN)
    notebook = noted(frame)
    for other in Encapsulation:
        verdict = Verdict.PASS if other is kind else Verdict.FAIL
        carries = Carries("br-l:trunk", ((f"{other.value} 5010", ("a",)),))
        assert cable_row(carries, lab, notebook, "").verdict is verdict
    assert cable_row(Carries("br-l:trunk", (("vni 5010", ("a",)),)), lab, notebook, "").verdict is Verdict.PASS
    assert cable_row(Carries("br-l:trunk", (("vni 5010", ("b",)),)), lab, notebook, "").verdict is Verdict.FAIL
    assert cable_row(Carries("br-l:trunk", (("vni 5010", ()),)), lab, notebook, "").verdict is Verdict.PASS
    assert cable_row(Carries("br-l:trunk", (("vni 5011", ("a",)),)), lab, notebook, "").verdict is Verdict.FAIL
    assert notebook.of_mark(1, "left", "trunk").count == 1
    assert noted(frame, trunk=False).of_mark(1, "left", "trunk", UNTAGGED).count == 1


@pytest.mark.parametrize("kind", Encapsulation)
def test_what_is_put_into_a_tunnel_is_found_in_it(kind: Encapsulation) -> None:
    ends = Party(MAC_A, PARTY_A.ip, 49152), Party(MAC_B, PARTY_B.ip, L4_PORTS.get(kind, 0))
    assert frames.tunnelled(frames.encapsulated(kind, 16777215, *ends, PLAIN)) == (kind, 16777215, PLAIN)


def test_arp_counts_as_plain_where_it_is_not_listed_by_itself(lab: Lab) -> None:
    asked = noted(frames.arp(1, PARTY_A, PARTY_B, MAC_A, frames.BROADCAST))
    for tags, verdict in ((("arp",), Verdict.PASS), (("plain",), Verdict.PASS), (("vni 5010",), Verdict.FAIL)):
        assert cable_row(Carries("br-l:trunk", ((tags[0], ()),)), lab, asked, "").verdict is verdict
    assert cable_row(Carries("br-l:trunk", (("arp", ()),)), lab, noted(PLAIN), "").verdict is Verdict.FAIL


@pytest.mark.parametrize("size", range(0, len(VXLAN), 3))
def test_a_short_frame_is_never_an_error(size: int) -> None:
    for frame in (VXLAN, GENEVE, GRE):
        noted(frame[:size].ljust(14, b"\0"))


def test_plain_frames_beside_tagged_ones_are_told_apart() -> None:
    notebook = Notebook()
    notebook.note("b", "eth0", PLAIN)
    notebook.note("b", "eth0", frames.tagged(PLAIN, 100))
    assert [notebook.of_mark(1, "b", "eth0", vid).count for vid in (None, UNTAGGED, 100, 0)] == [2, 1, 1, 0]


def test_an_impostor_that_sends_plain_frames_tries_every_tag() -> None:
    sender, other = Point("right", "trunk", MAC_B, trunk=True), Point("a", "eth0", MAC_A)
    scene = traffic.Scene(sender, (other,), b"m", 9, None, (10, 20), frozenset({None}))
    assert {frames.read(f).tags for f in traffic.hostile(traffic.Attack.TAGGED, scene)} == {(10,), (20,)}
