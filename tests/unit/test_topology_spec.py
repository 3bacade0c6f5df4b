"""Lab files: what is read, what is refused, and the frames that come of it."""

from __future__ import annotations

import copy
import shutil
import subprocess
from dataclasses import replace
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from topologies import frames, traffic
from topologies.capture import Notebook
from topologies.frames import Party
from topologies.load import from_document, parse
from topologies.reading import LabFileError
from topologies.routers import router_addresses, router_macs
from topologies.spec import Attack, Conduct, Expect, Hostile, Lab, Point, Probe, Refusal, Via
from topologies.verdict import Row, Verdict, matrix, table, verdict_of

PROJECT = Path(__file__).parent.parent.parent
FILES = sorted([*(PROJECT / "topologies").glob("*.yaml"), *(PROJECT / "tests" / "lab" / "labs").glob("*.yaml")])

TEXT = """
name: sample
description: Two members and a switch.
nodes:
  a:
    interfaces: {eth0: {mac: "02:00:00:00:00:0A", addresses: [10.0.0.1/24, "fd00::1/64"]}}
    sysctls: {net.ipv4.ip_forward: true}
  b: {interfaces: {eth0: {tagged: {10: {addresses: [10.0.0.2/32], routes: [{to: 10.0.0.1/32}]}, 20: {}}}}}
  s: {}
bridges:
  br0: {node: s, addresses: [10.0.0.9/24]}
links:
  - [a:eth0, br0:p1]
  - [b:eth0, br0:p2]
policy: {apiVersion: tripoint/v1, networks: {lan: {vlan: 10}}, endpoints: {a: {network: lan, port: p1}}}
expectations:
  - {from: [a, b], to: [a, b], expect: reach}
  - from: a
    to: "b:eth0.20"
    via: arp
    expect: never
    while: [{relay: b}, {bridge: b, over: [eth0.10, eth0.20]}]
  - {by: a, send: [forged-mac, tagged], claiming: b}
"""


def problems_of(text: str) -> dict[str, str]:
    with pytest.raises(LabFileError) as caught:
        parse(text)
    return {problem.path: str(problem) for problem in caught.value.problems}


def changed(old: str, new: str) -> str:
    assert old in TEXT
    return TEXT.replace(old, new)


def test_a_lab_file_is_read_whole() -> None:
    lab = parse(TEXT)
    assert [p.device for p in lab.all_points] == ["eth0", "eth0.10", "eth0.20", "br0"]
    assert lab.points("a")[0].mac == "02:00:00:00:00:0a"
    assert lab.points("a")[0].address(6) == IPv6Address("fd00::1")
    assert [p.vid for p in lab.points("b")] == [10, 20]
    assert lab.points("s:br0")[0].local
    assert lab.points("a:eth1") == ()
    assert lab.nodes["a"].sysctls == (("net.ipv4.ip_forward", "1"),)
    assert str(lab.other_end(lab.links[0].a)) == "br0:p1"
    assert lab.holders(IPv4Address("10.0.0.9")) == ("s",)


def test_expectations_are_the_product_of_their_lists() -> None:
    first, second, third, *hostile = parse(TEXT).expectations
    assert isinstance(first, Probe)
    assert isinstance(second, Probe)
    assert (first.source, first.target, first.via) == ("a", "b", (Via.PING, Via.TCP, Via.UDP))
    assert (second.source, second.target) == ("b", "a")
    assert isinstance(third, Probe)
    assert (third.via, [s.conduct for s in third.during]) == ((Via.ARP,), [Conduct.RELAY, Conduct.BRIDGE])
    assert all(isinstance(h, Hostile) and h.unseen_at == ("b", "s") for h in hostile)
    assert [h.attack for h in hostile if isinstance(h, Hostile)] == [Attack.FORGED_MAC, Attack.TAGGED]


def test_all_problems_are_found_at_once_with_their_paths() -> None:
    found = problems_of(
        """
name: sample
descripton: x
nodes:
  a: {interfaces: {eth0: {mac: 52:54:00:12:34:56, addresses: [10.0.0.1]}}}
  b: {interfaces: {eth0: {tagged: {4095: {}}}, much-too-long-a-name: {}}}
bridges:
  br0: {node: c, fail_mode: open}
links:
  - [a:eth0, br1:p1]
  - [a:eth0, b:eth7]
  - [a]
expectations:
  - {from: a, to: x, expect: maybe, wile: {}}
  - {by: b, send: forged_mac}
  - {from: a, to: b, expect: never, while: {flood: a}}
"""
    )
    assert set(found) == {
        "",
        "/descripton",
        "/nodes/a/interfaces/eth0/mac",
        "/nodes/a/interfaces/eth0/addresses/0",
        "/nodes/b/interfaces/eth0",
        "/nodes/b/interfaces/eth0/tagged/4095",
        "/nodes/b/interfaces/much-too-long-a-name",
        "/bridges/br0/fail_mode",
        "/bridges/br0/node",
        "/policy",
        "/links/0/1",
        "/links/1/0",
        "/links/1/1",
        "/links/2",
        "/expectations/0/to",
        "/expectations/0/expect",
        "/expectations/0/wile",
        "/expectations/1/send",
        "/expectations/2/while",
        "/expectations/2/while/flood",
    }
    assert "did you mean 'description'?" in found["/descripton"]
    assert "'description' is missing" in found[""]
    assert "in quotes" in found["/nodes/a/interfaces/eth0/mac"]
    assert "prefix length" in found["/nodes/a/interfaces/eth0/addresses/0"]
    assert "did you mean 'br0:" not in found["/links/0/1"]
    assert "did you mean 'br0'?" in found["/links/0/1"]
    assert "did you mean 'while'?" in found["/expectations/0/wile"]
    assert "did you mean 'forged-mac'?" in found["/expectations/1/send"]
    assert "has a cable already" in found["/links/1/0"]


@pytest.mark.parametrize(
    ("old", "new", "path"),
    [
        ("port: p1", "port: p7", "/policy/endpoints/a/port"),
        ("[b:eth0, br0:p2]", "[b:eth0, br0:p1]", "/links/1/1"),
        ("bridge: b, over: [eth0.10, eth0.20]", "bridge: b", "/expectations/1/while/1"),
        ("bridge: b, over: [eth0.10, eth0.20]", "bridge: b, over: [eth0.30]", "/expectations/1/while/1/over/0"),
        ("{relay: b}", "{forged-arp: b}", "/expectations/1/while/0"),
        ("{from: [a, b], to: [a, b], expect: reach}", "{from: a, to: a, expect: reach}", "/expectations/0"),
        ("{from: [a, b], to: [a, b], expect: reach}", "{from: a, to: 10.0.0.7, expect: never}", "/expectations/0"),
        ("br0: {node: s,", 'br0: {node: s, flows: ["actions=drop"], controlled: true,', "/bridges/br0/flows"),
        ("claiming: b}", "claiming: nobody}", "/expectations/2/claiming"),
        ("{eth0: {tagged:", "{eth0: {addresses: [10.0.0.3/24], tagged:", "/nodes/b/interfaces/eth0"),
        ("net.ipv4.ip_forward", "kernel.panic", "/nodes/a/sysctls/kernel.panic"),
        ("{relay: b}", '{relay: "b:eth0.10"}', "/expectations/1/while/0/relay"),
        (
            "networks: {lan: {vlan: 10}}",
            "networks: {lan: {vlan: 10}}, uplinks: {w: {port: p9}}",
            "/policy/uplinks/w/port",
        ),
        ("ip_forward: true}", "ip_forward: true}\n    iptables: [iptables -P INPUT DROP]", "/nodes/a/iptables/0"),
    ],
)
def test_what_does_not_fit_together_is_refused(old: str, new: str, path: str) -> None:
    assert path in problems_of(changed(old, new))


@pytest.mark.parametrize(
    ("expectation", "key"),
    [
        ("expect: reach, via: ping, l4_port: 80", "/via"),
        ("expect: silence, via: arp", "/via"),
        ("expect: rejected, via: [broadcast]", "/via"),
        ("expect: closed, via: [ping], l4_port: 80", "/via"),
        ("expect: reach, l4_port: [80, 70000]", "/l4_port/1"),
        ("expect: reach, with: reset", "/with"),
        ("expect: rejected, with: rest", "/with"),
        ("expect: rejected, told_by: someone", "/told_by"),
        ("expect: silence, told_by: 10.0.0.1", "/told_by"),
        ("expect: never, seen_as: 10.0.0.1", "/seen_as"),
        ("expect: silence, arrives_at: b", "/arrives_at"),
        ("expect: reach, arrives_at: c", "/arrives_at"),
    ],
)
def test_what_an_expectation_cannot_say_is_refused(expectation: str, key: str) -> None:
    text = changed("{from: [a, b], to: [a, b], expect: reach}", f"{{from: a, to: b, {expectation}}}")
    assert [path for path in problems_of(text) if path.startswith("/expectations/0")] == [f"/expectations/0{key}"]


def test_a_port_where_nobody_listens_is_nowhere_expected_to_answer() -> None:
    closed = "  - {from: a, to: b, via: tcp, l4_port: 99, expect: closed}\n"
    assert parse(TEXT + closed).closed_ports == {99}
    assert parse(TEXT + closed).service_ports == {7, 99}
    assert "port 99" in problems_of(TEXT + closed + closed.replace("closed", "silence"))["/expectations"]


def test_an_expectation_says_what_becomes_of_addresses_and_how_a_sender_is_told() -> None:
    more = """
  - {from: a, to: 10.9.9.9, via: tcp, l4_port: [80, 81], expect: reach, arrives_at: b, seen_as: 10.0.0.9}
  - {from: a, to: b, expect: rejected, told_by: 10.0.0.9}
  - {from: a, to: b, expect: rejected, with: net-unreachable}
"""
    *_, one, other, rejected, otherwise = parse(TEXT + more).expectations
    assert isinstance(one, Probe)
    assert (one.l4_port, one.destination, one.seen_as) == (80, "b", IPv4Address("10.0.0.9"))
    assert replace(one, l4_port=81) == other
    assert isinstance(rejected, Probe)
    assert isinstance(otherwise, Probe)
    assert rejected.told_by == IPv4Address("10.0.0.9")
    ways = [Refusal.PROTOCOL, Refusal.RESET, Refusal.PORT]
    assert rejected.via == (Via.PING, Via.TCP, Via.UDP)
    assert [rejected.told(via, 4) for via in rejected.via] == ways
    assert [rejected.told(via, 6) for via in rejected.via] == [Refusal.PORT, Refusal.RESET, Refusal.PORT]
    assert {otherwise.told(via, 4) for via in otherwise.via} == {Refusal.NET}


def test_the_policys_router_is_known_by_its_addresses() -> None:
    policy = """{apiVersion: tripoint/v1, defaults: {router_mac: "02:00:00:00:00:99"},
  networks: {lan: {vlan: 10, mode: nat, gateway: [10.0.0.254, "fd00::fe"]}}, endpoints: {a: {network: lan, port: p1}},
  uplinks: {wan: {port: p2, mac: "02:00:00:00:00:98", addresses: [192.0.2.1/24]}},
  rewrites: [{name: x, type: dnat, address: 192.0.2.9}, {name: y, type: snat, to: 192.0.2.20-198.51.100.7}, {}]}
"""
    start, end = TEXT.index("{apiVersion"), TEXT.index("expectations:")
    lab = parse(TEXT[:start] + policy + TEXT[end:])
    inside, outside = "02:00:00:00:00:99", "02:00:00:00:00:98"
    assert {str(address): mac for address, mac in router_addresses(lab).items()} == {
        "10.0.0.254": inside,
        "fd00::fe": inside,
        "192.0.2.1": outside,
        "192.0.2.9": outside,
        "192.0.2.20": outside,
    }
    assert router_macs(lab) == (inside, outside, "02:00:00:00:00:0a"), "and a node that forwards is one"


def test_yaml_that_cannot_be_read_is_a_problem_with_its_line() -> None:
    assert "line 2" in problems_of("name: x\nname: y\n")[""]
    assert "written twice" in problems_of("name: x\nname: y\n")[""]
    assert "line 1" in problems_of("[1, 2")[""]
    assert problems_of("just a word")[""]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_lab_file_of_ours_is_a_lab_and_is_named_as_its_file(path: Path) -> None:
    assert parse(path.read_text()).name == path.stem


def test_the_example_in_the_readme_is_a_lab_and_names_every_word_of_the_format() -> None:
    text = (PROJECT / "topologies" / "README.md").read_text()
    assert parse(text.split("```yaml\n")[1].split("```")[0]).name == "sample"
    for word in (*Attack, *Conduct, *Via, *Refusal):
        assert f"`{word.value}`" in text
    for expect in Expect:
        assert f"**{expect.value}**" in text
    for path in (PROJECT / "topologies").glob("*.yaml"):
        assert f"| `{path.stem}` |" in text


JUNK = st.sampled_from(
    [
        None,
        True,
        1,
        -1,
        3.5,
        "",
        "x",
        "a:eth0",
        "10.0.0.1",
        [],
        [1],
        [[]],
        [{}],
        ["a"],
        {},
        {"a": 1},
        {1: 2},
        {"relay": ["b"]},
    ]
)


def places_of(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Where something can be put in a document's place."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(place for key, item in inner for place in places_of(item, (*path, key)))]


DOCUMENT = yaml.safe_load(TEXT)


@settings(max_examples=500)
@given(st.lists(st.tuples(st.sampled_from(places_of(DOCUMENT)), JUNK), max_size=3))
def test_no_document_ends_in_anything_but_a_lab_or_problems(changes: list[tuple[tuple[Any, ...], Any]]) -> None:
    document = copy.deepcopy(DOCUMENT)
    for place, junk in changes:
        target: Any = document
        try:
            for key in place[:-1]:
                target = target[key]
            if place:
                target[place[-1]] = copy.deepcopy(junk)
            else:
                document = copy.deepcopy(junk)
        except (KeyError, IndexError, TypeError):
            continue
    try:
        lab: Lab | None = from_document(document)
    except LabFileError as error:
        lab, problems = None, error.problems
    assert lab is not None or problems


# -- frames

A4, B4 = (
    Party("02:00:00:00:00:01", IPv4Address("192.168.5.1"), 4001),
    Party("02:00:00:00:00:02", IPv4Address("192.168.5.2"), 7),
)
A6, B6 = Party(A4.mac, IPv6Address("fd00::1"), 4001), Party(B4.mac, IPv6Address("fd00::2"), 7)


def unreachable(one: Party, other: Party, payload: bytes) -> bytes:
    """other was asked by one, and says that nobody listens."""
    return frames.port_unreachable(one, other, frames.udp(other, one, payload)[14:])


@pytest.mark.parametrize(("one", "other"), [(A4, B4), (A6, B6)])
def test_a_refusal_is_read_with_the_port_of_who_is_refused(one: Party, other: Party) -> None:
    assert frames.read(unreachable(one, other, b"x")).refusal == (Refusal.PORT, other.port)
    asked = frames.echo(other, one, b"ping")[14:]
    assert frames.read(frames.port_unreachable(one, other, asked)).refusal == (Refusal.PORT, 0x5450)
    assert frames.read(frames.tcp(one, other, frames.RST | frames.ACK, b"")).refusal == (Refusal.RESET, other.port)
    assert frames.read(frames.tcp(one, other, frames.SYN | frames.ACK, b"")).refusal is None
    assert frames.read(frames.echo_reply(one, other, b"")).refusal is None


def test_a_notebook_knows_how_a_probe_was_refused_and_under_which_address_it_came() -> None:
    notebook = Notebook(ports={4001: 5}, service_ports=frozenset({7, 80}))
    server = Party(B4.mac, B4.ip, 80)
    notebook.note("a", "eth0", frames.tcp(server, A4, frames.RST, b""))
    notebook.note("a", "eth0", frames.port_unreachable(B4, A4, frames.udp(A4, B4, b"x")[14:]))
    notebook.note("b", "eth0", frames.udp(A4, server, traffic.mark_bytes(5)))
    assert set(notebook.refusals[5, "a", "eth0"]) == {(Refusal.RESET, B4.ip), (Refusal.PORT, B4.ip)}
    assert notebook.origins[5, "b", "eth0"] == {A4.ip}


@pytest.mark.parametrize(("one", "other"), [(A4, B4), (A6, B6)])
@pytest.mark.parametrize("make", [frames.udp, frames.tcp_syn, frames.echo, frames.echo_reply, unreachable])
def test_frames_made_by_hand_have_right_checksums(one: Party, other: Party, make: Any) -> None:
    """Over pseudo-header and segment the sum is zero (RFC 1071)."""
    frame = make(one, other, b"odd")
    version, body = one.ip.version, frame[14:]
    if version == 4:
        total, protocol = int.from_bytes(body[2:4], "big"), body[9]
        assert frames.checksum(body[:20]) == 0
        segment = body[20:total]
        pseudo = (
            b"" if protocol == frames.ICMP else body[12:20] + bytes([0, protocol]) + len(segment).to_bytes(2, "big")
        )
    else:
        segment = body[40 : 40 + int.from_bytes(body[4:6], "big")]
        pseudo = body[8:40] + len(segment).to_bytes(4, "big") + bytes([0, 0, 0, body[6]])
    assert frames.checksum(pseudo + segment) == 0
    assert b"odd" in segment
    seen = frames.read(frame)
    assert (seen.source, seen.target, seen.ip_source, seen.ip_target) == (one.mac, other.mac, one.ip, other.ip)


def test_a_frame_read_back_says_what_it_is() -> None:
    request = frames.arp(1, A4, Party(frames.ZERO_MAC, B4.ip), A4.mac, frames.BROADCAST)
    assert len(request) == frames.MINIMUM_BYTES
    assert frames.read(request).arp == (1, A4.mac, frames.ZERO_MAC)
    assert frames.read(request).answers is None
    answer = frames.arp(2, B4, A4, B4.mac, A4.mac)
    assert frames.read(answer).answers == (B4.ip, B4.mac)
    twice = frames.tagged(frames.tagged(frames.udp(A4, B4, b""), 20), 10, tpid=frames.DOT1AD)
    assert frames.read(twice).tags == (10, 20)
    assert frames.read(twice).ports == (4001, 7)
    assert str(frames.read(twice)).endswith("vid 10 vid 20 IPv4 UDP 192.168.5.1 > 192.168.5.2 port 4001 > 7")


@given(st.binary(max_size=120))
def test_no_frame_is_too_odd_to_be_read(frame: bytes) -> None:
    assert str(frames.read(frame))
    Notebook().note("a", "eth0", frame)


@pytest.mark.parametrize("attack", Attack)
def test_every_hostile_frame_carries_its_mark(attack: Attack) -> None:
    sender, other = parse(TEXT).points("a")[0], parse(TEXT).points("b")[0]
    mark = traffic.mark_bytes(0xBEEF)
    made = list(traffic.hostile(attack, traffic.Scene(sender, (other,), mark, 4001, other, (10, 99))))
    assert made
    assert all(traffic.MARK.search(frame) for frame in made)
    if attack in (Attack.FORGED_MAC, Attack.MAC_FLOOD, Attack.MULTICAST_SOURCE):
        assert not any(frames.read(frame).source == sender.mac for frame in made)
    if attack in (Attack.TAGGED, Attack.DOUBLE_TAGGED, Attack.PRIORITY_TAGGED):
        assert {len(frames.read(frame).tags) for frame in made} == {2 if attack is Attack.DOUBLE_TAGGED else 1}


def test_a_tagged_sender_forges_inside_its_own_vlan_and_tries_only_foreign_tags() -> None:
    sender, other = Point("b", "eth0", B4.mac, 10), Point("a", "eth0", A4.mac)
    scene = traffic.Scene(sender, (other,), traffic.mark_bytes(1), 9, None, (10, 20, 99), frozenset({10, 20}))
    assert {frames.read(f).tags for f in traffic.hostile(Attack.FORGED_IP, scene)} == {(10,)}
    assert {frames.read(f).tags for f in traffic.hostile(Attack.TAGGED, scene)} == {(99,), ()}


def test_a_notebook_knows_a_frame_by_mark_or_port_whatever_became_of_its_head() -> None:
    notebook = Notebook(ports={4001: 5})
    notebook.note("b", "eth0", frames.tagged(frames.udp(A4, B4, traffic.mark_bytes(5)), 20))
    notebook.note("b", "eth0", frames.tcp_syn(B4, Party(A4.mac, A4.ip, 4001), b""))
    notebook.note("b", "eth0", frames.udp(Party(A4.mac, A4.ip, 4002), B4, b"nothing of ours"))
    assert notebook.of_mark(5, "b").count == 2
    assert notebook.of_mark(5, "b", "eth0", 20).count == 1
    assert notebook.of_mark(5, "a").count == 0
    assert notebook.of_mac(A4.mac, "b").count == 1


@pytest.mark.skipif(shutil.which("ovs-ofctl") is None, reason="Open vSwitch's own parser is not installed")
@pytest.mark.parametrize(
    "frame", [frames.solicitation(A6, B6.ip, b"trailer"), frames.echo(A6, B6, b"x"), frames.udp(A4, B4, b"x")]
)
def test_open_vswitch_reads_the_frames_as_we_mean_them(frame: bytes) -> None:
    done = subprocess.run(["ovs-ofctl", "parse-packet"], input=frame, capture_output=True, check=True)
    assert b"02:00:00:00:00:01" in done.stdout


# -- the report


def row(**fields: Any) -> Row:
    plain: dict[str, Any] = {"source": "a", "target": "b", "via": "ping", "situation": "", "expected": Expect.REACH}
    return Row(**{**plain, "observed": "reach", "verdict": Verdict.PASS, **fields})


def test_one_failure_outweighs_an_invalid_and_an_invalid_outweighs_passes() -> None:
    assert verdict_of([]) is Verdict.PASS
    assert verdict_of([row(), row(verdict=Verdict.INVALID)]) is Verdict.INVALID
    assert verdict_of([row(verdict=Verdict.INVALID), row(verdict=Verdict.FAIL)]) is Verdict.FAIL


def test_the_matrix_names_addresses_whole_and_points_by_their_node() -> None:
    rows = [Row("a", "2001:db8::1", "ping", "", Expect.REACH, "reach", Verdict.PASS)]
    rows += [Row("a:eth0.10", "b:eth0.10", "ping", "", Expect.SILENCE, "none", Verdict.PASS)]
    lines = matrix(rows)
    assert lines[0].split() == ["from", "\\", "to", "a", "2001:db8::1", "b"]
    assert lines[1].split() == ["a", "-", "reach", "silence"]


def test_the_report_joins_what_passed_and_shows_every_failure_alone() -> None:
    rows = [
        row(),
        row(via="tcp"),
        row(via="udp", verdict=Verdict.FAIL, observed="no answer", why="it should"),
        row(via="arp"),
    ]
    lines = table(rows)
    assert any(line.split()[:5] == ["pass", "a", "b", "ping", "tcp"] for line in lines)
    assert any(line.startswith("FAIL") and "udp" in line and "no answer" in line for line in lines)
    assert "        it should" in lines
    assert any(line.split()[:4] == ["a", "-", "FAIL"] or line.split() == ["a", "-", "FAIL"] for line in matrix(rows))
