"""Frames that no stack would send: malformed, split, or in another's name. They arrive nowhere and poison nobody.

Sent past the kernel, in an open network (a member that learns attacks a declared one and another that learns), in a
declared one, and past the flows that Open vSwitch sets up for its own connection to the controller. Each kind has its
honest twin, which must pass: without it, silence would prove nothing.
"""

from __future__ import annotations

import json
import random
import socket
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path
from typing import Any

import pytest

from tests.lab.stand import Stand, standing, until, watching
from tests.rig.controller import Controller
from tests.rig.host import Host, host
from topologies import frames, netns
from topologies.capture import packet_socket, receive
from topologies.frames import BROADCAST, ICMPV6, IPV6, ZERO_MAC, Party
from topologies.spec import Address
from topologies.traffic import canary, mark_bytes

LAB = """
name: hostile
description: Two open members that learn, and a declared one; beside them a declared network.
nodes:
  owner: {interfaces: {eth0: {mac: "02:00:00:00:00:01", addresses: [192.168.5.1/24, "fd00:5::1/64"]}}}
  victim:
    interfaces: {eth0: {mac: "02:00:00:00:00:02", addresses: [192.168.5.2/24, "fd00:5::2/64"]}}
  mallory: {interfaces: {eth0: {mac: "02:00:00:00:00:03", addresses: [192.168.5.3/24, "fd00:5::3/64"]}}}
  alice: {interfaces: {eth0: {mac: "02:00:00:00:00:11", addresses: [192.168.6.1/24, "fd00:6::1/64"]}}}
  bob:
    interfaces: {eth0: {mac: "02:00:00:00:00:12", addresses: [192.168.6.2/24, "fd00:6::2/64"]}}
  carol: {interfaces: {eth0: {mac: "02:00:00:00:00:13", addresses: [192.168.6.3/24, "fd00:6::3/64"]}}}
  switch: {}
bridges:
  br0: {node: switch}
links:
  - [owner:eth0, br0:veth1]
  - [victim:eth0, br0:veth2]
  - [mallory:eth0, br0:veth3]
  - [alice:eth0, br0:veth4]
  - [bob:eth0, br0:veth5]
  - [carol:eth0, br0:veth6]
policy:
  apiVersion: tripoint/v1
  networks:
    office: {vlan: 10, cidrs: [192.168.5.0/24, "fd00:5::/64"], members: open}
    green: {vlan: 20, cidrs: [192.168.6.0/24, "fd00:6::/64"]}
  endpoints:
    owner: {network: office, port: veth1, mac: "02:00:00:00:00:01", ips: [192.168.5.1, "fd00:5::1"]}
    victim: {network: office, port: veth2}
    mallory: {network: office, port: veth3}
    alice: {network: green, port: veth4, mac: "02:00:00:00:00:11", ips: [192.168.6.1, "fd00:6::1"]}
    bob: {network: green, port: veth5, mac: "02:00:00:00:00:12", ips: [192.168.6.2, "fd00:6::2"]}
    carol: {network: green, port: veth6, mac: "02:00:00:00:00:13", ips: [192.168.6.3, "fd00:6::3"]}
expectations: []
"""
ALL_NODES = Party("33:33:00:00:00:01", IPv6Address("ff02::1"))
NOBODY6, NOBODY4 = IPv6Address("::"), IPv4Address("0.0.0.0")
SOLICITATION, ADVERTISEMENT, ROUTER, REDIRECT = 135, 136, 134, 137
OVERRIDE = bytes([0x20, 0, 0, 0])
"""Flags of an advertisement: what is known already is to be replaced (RFC 4861 section 4.4)."""
SOURCE_LINK, TARGET_LINK = 1, 2
FRAGMENT, DESTINATION_OPTIONS = 44, 60
IEEE_802 = 6
"""ARP hardware type that stacks take for Ethernet's 1 (RFC 826; Linux arp_process)."""


@pytest.fixture(scope="module")
def stand() -> Iterator[Stand]:
    with standing(Path("hostile.yaml"), LAB) as stand:
        for node in ("victim", "bob"):
            # As stacks are that do not follow RFC 6980, which bans fragments from neighbor discovery.
            for scope in ("all", "eth0"):
                netns.sysctl(stand.record.namespaces[node], f"net.ipv6.conf.{scope}.suppress_frag_ndisc", "0")
        yield stand


def new_mark() -> bytes:
    return mark_bytes(random.randrange(1 << 24))


def party(stand: Stand, node: str, version: int) -> Party:
    face = stand.lab.nodes[node].interfaces[0]
    (address,) = (a.ip for a in face.addresses if a.ip.version == version)
    return Party(face.mac, address)


def send(stand: Stand, node: str, *sent: bytes) -> None:
    with packet_socket(stand.record.namespaces[node], "eth0", receive=False) as handle:
        for frame in sent:
            assert handle.send(frame) == len(frame)


def link_of(stand: Stand, node: str, address: Address) -> str:
    """The MAC that the node's kernel holds for an address; "" where it knows none."""
    words = ["ip", "-n", stand.record.namespaces[node], "-json", "neigh", "show", str(address), "dev", "eth0"]
    return next((str(entry.get("lladdr", "")) for entry in json.loads(netns.run(words) or "[]")), "")


def routes(stand: Stand, node: str) -> set[str]:
    """Where the node's IPv6 packets go: what an advertised router or a redirect would change."""
    shown = netns.run(["ip", "-n", stand.record.namespaces[node], "-6", "route", "show", "table", "all"])
    return {line.split(" expires ")[0].strip() for line in shown.splitlines() if "cache" not in line}


def know(stand: Stand, node: str, other: Party) -> None:
    """The node has the right entry, as after honest traffic."""
    words = ["neigh", "replace", str(other.ip), "lladdr", other.mac, "dev", "eth0", "nud", "stale"]
    netns.run(["ip", "-n", stand.record.namespaces[node], *words])


def seen(frames_: list[bytes], mark: bytes) -> list[str]:
    return [str(frames.read(frame)) for frame in frames_ if mark in frame]


def advertised(router: Party, mark: bytes) -> bytes:
    """A router advertisement with a prefix (RFC 4861 sections 4.2 and 4.6.2), to all nodes."""
    head = struct.pack("!BBHII", 64, 0, 1800, 0, 0)
    prefix = struct.pack("!BBBBIII16s", 3, 4, 64, 0xC0, 3600, 3600, 0, IPv6Address("fd00:bad::").packed)
    body = head + frames.link_address_option(SOURCE_LINK, router.mac) + prefix
    return frames.neighbour(ROUTER, router, ALL_NODES, body, mark)


def redirected(router: Party, target: Party, destination: Address, mark: bytes) -> bytes:
    """From now on the way to `destination` is through the sender (RFC 4861 section 4.5)."""
    body = b"\0" * 4 + router.ip.packed + destination.packed + frames.link_address_option(TARGET_LINK, router.mac)
    return frames.neighbour(REDIRECT, router, target, body, mark)


def claim(sender: Party, target: Party, address: Address, mark: bytes, times: int = 1) -> bytes:
    """A neighbour advertisement: this address is at the sender's MAC, said as often as `times`."""
    options = frames.link_address_option(TARGET_LINK, sender.mac) * times
    return frames.neighbour(ADVERTISEMENT, sender, target, OVERRIDE + address.packed + options, mark)


def probe6(mac: str, address: Address, mark: bytes) -> bytes:
    """Duplicate address detection (RFC 4862 section 5.4.2)."""
    group = IPv6Address(b"\xff\x02" + b"\0" * 9 + b"\x01\xff" + address.packed[13:])
    target = Party(frames.multicast_mac(group), group)
    return frames.neighbour(SOLICITATION, Party(mac, NOBODY6), target, b"\0" * 4 + address.packed, mark)


def probe4(mac: str, address: Address, mark: bytes) -> bytes:
    """RFC 5227 section 2.1.1."""
    return frames.arp(1, Party(mac, NOBODY4), Party(ZERO_MAC, address), mac, BROADCAST, mark)


def announced4(sender: Party, mark: bytes) -> bytes:
    return frames.arp(1, sender, Party(ZERO_MAC, sender.ip), sender.mac, BROADCAST, mark)


def fragments(frame: bytes, first: bytes, rest: bytes, *, options: bool = False) -> tuple[bytes, bytes]:
    """An ND message in two fragments (RFC 8200 section 4.5); marks in each: in the first's options, in the rest's end.

    first, rest: the marks. options: a destination options header makes all of the first fragment, so that the type of
    the message is in the second one. Otherwise the first has the message up to its last option, which holds `rest`.
    """
    length = struct.unpack("!H", frame[18:20])[0]
    head, message = frame[14:54], frame[54 : 54 + length]
    # An option of RFC 4727 that is skipped; 24 octets in all.
    extension = struct.pack("!BBBB", ICMPV6, 2, 0x1E, 20) + first.ljust(20, b"\0")
    cut = len(extension) if options else len(extension) + len(message) - 24
    packet = extension + message
    assert rest in packet[cut:]
    made = []
    for offset, part, more in ((0, packet[:cut], 1), (cut, packet[cut:], 0)):
        piece = struct.pack("!BBHI", DESTINATION_OPTIONS, 0, offset | more, 0x5450_0001 + options) + part
        fixed = head[:4] + struct.pack("!HB", len(piece), FRAGMENT) + head[7:]
        made.append(frame[:12] + struct.pack("!H", IPV6) + fixed + piece)
    return made[0], made[1]


# -- open network ----------------------------------------------------------------------------------------------------


def test_arp_of_another_hardware_type_claims_no_declared_address(stand: Stand) -> None:
    """Open vSwitch reads nothing in it, and stacks read it like any other."""
    owner, mallory = party(stand, "owner", 4), party(stand, "mallory", 4)
    for operation in (1, 2):
        forged, honest = new_mark(), new_mark()
        liar = Party(mallory.mac, owner.ip)
        frame = bytearray(frames.arp(operation, liar, party(stand, "victim", 4), mallory.mac, BROADCAST, forged))
        frame[14:16] = struct.pack("!H", IEEE_802)
        know(stand, "victim", owner)
        with watching(stand) as watch:
            send(stand, "mallory", bytes(frame), announced4(mallory, honest))
            watch.settle()
            assert seen(watch.at("victim"), honest), "what mallory may send does arrive"
            assert seen(watch.at("victim", "owner"), forged) == []
        assert link_of(stand, "victim", owner.ip) == owner.mac


def test_an_option_that_is_there_twice_claims_no_declared_address(stand: Stand) -> None:
    """Open vSwitch reads no target in a message whose option is there twice, and stacks read the first."""
    owner, mallory, victim = (party(stand, node, 6) for node in ("owner", "mallory", "victim"))
    for target in (victim, ALL_NODES):
        once, twice, honest = new_mark(), new_mark(), new_mark()
        sent = (claim(mallory, target, owner.ip, once), claim(mallory, target, owner.ip, twice, times=2))
        know(stand, "victim", owner)
        with watching(stand) as watch:
            send(stand, "mallory", *sent, claim(mallory, target, mallory.ip, honest))
            watch.settle()
            assert seen(watch.at("victim"), honest), "what mallory may claim does arrive"
            assert seen(watch.at("victim", "owner"), once) == []
            assert seen(watch.at("victim", "owner"), twice) == []
        assert link_of(stand, "victim", owner.ip) == owner.mac


def test_a_learning_port_is_no_router(stand: Stand) -> None:
    mallory = Party(stand.mac("mallory"), frames.link_local(stand.mac("mallory")))
    victim, owner, outside = party(stand, "victim", 6), party(stand, "owner", 6), IPv6Address("2001:db8::1")
    honest, before = new_mark(), routes(stand, "victim")
    sent = {
        "advertisement": advertised(mallory, new_mark()),
        "redirect": redirected(mallory, victim, outside, new_mark()),
        "redirect of a neighbour": redirected(mallory, victim, owner.ip, new_mark()),
    }
    with watching(stand) as watch:
        send(stand, "mallory", *sent.values(), claim(mallory, ALL_NODES, mallory.ip, honest))
        watch.settle()
        assert seen(watch.at("victim"), honest), "what mallory may send does arrive"
        arrived = [what for what, frame in sent.items() for came in watch.at("victim", "owner") if frame == came]
    assert arrived == []
    assert routes(stand, "victim") == before


# -- fragments, and a declared network --------------------------------------------------------------------------------


def hidden(stand: Stand, attack: Attack, message: Callable[[bytes], bytes], *, options: bool) -> None:
    """A message is sent in two fragments; it never gets together anywhere, and the sender's honest one passes."""
    first, rest, honest = new_mark(), new_mark(), new_mark()
    sender, owner = party(stand, attack.sender, 6), party(stand, attack.owner, 6)
    know(stand, attack.victim, owner)
    before = routes(stand, attack.victim)
    with watching(stand) as watch:
        pieces = fragments(message(rest), first, rest, options=options)
        send(stand, attack.sender, *pieces, claim(sender, ALL_NODES, sender.ip, honest))
        watch.settle()
        assert seen(watch.at(attack.victim), honest), "what the sender may say does arrive"
        assert link_of(stand, attack.victim, owner.ip) == owner.mac, "poisoned"
        assert routes(stand, attack.victim) == before, "misled"
        assert seen(watch.at(attack.victim, attack.owner), first) == []


@dataclass(frozen=True)
class Attack:
    sender: str
    victim: str
    owner: str


IN_BOTH = pytest.mark.parametrize(
    "attack", [Attack("alice", "bob", "carol"), Attack("mallory", "victim", "owner")], ids=["declared", "open"]
)
SPLIT = pytest.mark.parametrize("options", [False, True], ids=["type in the first", "type in the second"])


@IN_BOTH
@SPLIT
def test_a_router_advertisement_does_not_hide_in_fragments(stand: Stand, attack: Attack, options: bool) -> None:
    router = Party(stand.mac(attack.sender), frames.link_local(stand.mac(attack.sender)))
    hidden(stand, attack, lambda mark: advertised(router, mark), options=options)


@IN_BOTH
@SPLIT
def test_a_claim_of_another_address_does_not_hide_in_fragments(stand: Stand, attack: Attack, options: bool) -> None:
    sender, victim, owner = (party(stand, node, 6) for node in (attack.sender, attack.victim, attack.owner))
    hidden(stand, attack, lambda mark: claim(sender, victim, owner.ip, mark), options=options)


def test_a_member_probes_for_its_own_addresses_only(stand: Stand) -> None:
    """A probe for somebody else's would make its owner give the address up (RFC 5227 section 2.4, RFC 4862 5.4.3)."""
    mac = stand.mac("alice")
    for version, probe in ((4, probe4), (6, probe6)):
        alice, bob = party(stand, "alice", version), party(stand, "bob", version)
        own, others, empty = new_mark(), new_mark(), new_mark()
        unused = ip_address("192.168.6.77" if version == 4 else "fd00:6::77")
        with watching(stand) as watch:
            send(stand, "alice", probe(mac, bob.ip, others), probe(mac, unused, empty), probe(mac, alice.ip, own))
            watch.settle()
            assert len(seen(watch.at("bob"), own)) == 1, "a second holder of the address can speak up"
            assert len(seen(watch.at("carol"), own)) == 1
            assert seen(watch.at("bob", "carol"), others) == []
            assert seen(watch.at("bob", "carol"), empty) == []


def test_a_large_ping_passes_in_fragments(stand: Stand) -> None:
    with watching(stand) as watch:
        for source, target in (("alice", "bob"), ("mallory", "victim"), ("mallory", "owner")):
            for version in (4, 6):
                before = len(watch.at(target))
                address = str(party(stand, target, version).ip)
                done = stand.do(source, "ping", "-c2", "-i0.01", "-W3", "-s4000", address)
                assert " 2 received" in done.stdout, f"{source} to {address}: {done.stdout}{done.stderr}"
                came = [frame for frame in watch.at(target)[before:] if 1400 < len(frame) <= 1514]
                assert len(came) >= 4, "it did come in fragments"


def test_ordinary_questions_and_answers_pass(stand: Stand) -> None:
    """From empty tables; unsolicited announcements of one's own addresses as well."""
    for nodes in (("owner", "victim", "mallory"), ("alice", "bob", "carol")):
        for node in nodes:
            netns.run(["ip", "-n", stand.record.namespaces[node], "neigh", "flush", "dev", "eth0", "nud", "all"])
        for source, target in ((a, b) for a in nodes for b in nodes if a != b):
            for version in (4, 6):
                there = party(stand, target, version)
                done = stand.do(source, "ping", "-c1", "-W3", str(there.ip))
                assert " 1 received" in done.stdout, f"{source} to {there.ip}: {done.stdout}{done.stderr}"
                assert link_of(stand, source, there.ip) == there.mac
        four, six = new_mark(), new_mark()
        last = nodes[-1]
        with watching(stand) as watch:
            me = party(stand, last, 6)
            send(stand, last, announced4(party(stand, last, 4), four), claim(me, ALL_NODES, me.ip, six))
            watch.settle()
            for node in nodes[:-1]:
                assert len(seen(watch.at(node), four)) == 1
                assert len(seen(watch.at(node), six)) == 1


# -- the switch's own connection -------------------------------------------------------------------------------------

CONTROLLER_IP, OPENFLOW_PORT = IPv4Address("10.99.0.1"), 6653
TARGET = f"tcp:{CONTROLLER_IP}:{OPENFLOW_PORT}"
CLOSED_WITHIN_S = 10.0
MEMBERS = {
    "alice": ("green", Party("02:00:00:00:00:01", IPv4Address("10.0.0.1"))),
    "bob": ("green", Party("02:00:00:00:00:02", IPv4Address("10.0.0.2"))),
    "mallory": ("pink", Party("02:00:00:00:00:03", IPv4Address("10.0.0.3"))),
    "peer": ("pink", Party("02:00:00:00:00:04", IPv4Address("10.0.0.4"))),
}


@dataclass
class Machine:
    """A host whose bridge reaches its controller by TCP, and captures at the members."""

    host: Host
    controller: Controller
    document: dict[str, object]
    ears: dict[str, socket.socket]
    heard: dict[str, list[bytes]]

    def hear(self, node: str) -> list[bytes]:
        """All that came there."""
        while (got := receive(self.ears[node])) is not None:
            frame, outgoing = got
            if not outgoing:
                self.heard[node].append(frame)
        return self.heard[node]

    def alive(self) -> None:
        """A canary put into the other end of each cable is seen."""
        for node in self.ears:
            mark = new_mark()
            with packet_socket(self.host.namespace, node, receive=False) as sender:
                sender.send(canary(mark, MEMBERS[node][1].mac))
            until(lambda node=node, mark=mark: bool(seen(self.hear(node), mark)), f"a canary at {node}")  # type: ignore[misc]

    def send(self, node: str, *sent: bytes) -> None:
        with packet_socket(f"{self.host.namespace}-{node}", "eth0", receive=False) as sender:
            for frame in sent:
                assert sender.send(frame) == len(frame)

    def holes(self) -> list[str]:
        """Flows that ovs-ofctl does not show and that switch as a bridge without a policy would."""
        return [line for line in self.host.switch.appctl("bridge/dump-flows", "br0").splitlines() if "NORMAL" in line]

    def bridge(self) -> Any:
        return self.controller.rest.bridge()


@pytest.fixture(scope="module")
def machine() -> Iterator[Machine]:
    document = {
        "apiVersion": "tripoint/v1",
        "networks": {"green": {"vlan": 10}, "pink": {"vlan": 20}},
        "endpoints": {
            name: {"network": network, "port": name, "mac": who.mac, "ips": [str(who.ip)]}
            for name, (network, who) in MEMBERS.items()
        },
    }
    with host() as made:
        netns.batch([f"address add {CONTROLLER_IP}/32 dev lo"], made.namespace)
        for name, (_, who) in MEMBERS.items():
            made.add_member(name, who.mac, f"{who.ip}/24")
        made.add_bridge({name: number for number, name in enumerate(MEMBERS, 1)}, settings=("fail_mode=secure",))
        ears = {name: packet_socket(f"{made.namespace}-{name}", "eth0", receive=True) for name in MEMBERS}
        controller = Controller(made)
        try:
            yield Machine(made, controller, document, ears, {name: [] for name in MEMBERS})
        finally:
            controller.rest.close()
            for ear in ears.values():
                ear.close()


def forged(mark: bytes) -> list[bytes]:
    """As if the controller spoke or were spoken to, from everybody's MACs and nobody's, to members of green and all."""
    alice, bob, me = (MEMBERS[name][1] for name in ("alice", "bob", "mallory"))
    made: list[bytes] = []
    for source in (me.mac, alice.mac, "0e:00:00:00:00:01"):
        itself = Party(source, CONTROLLER_IP, OPENFLOW_PORT)
        for target in (alice, bob, Party(BROADCAST, IPv4Address("10.0.0.255"))):
            made += [
                frames.tcp_syn(itself, target, mark),
                frames.tcp_syn(Party(source, me.ip, 1234), Party(target.mac, CONTROLLER_IP, OPENFLOW_PORT), mark),
                frames.arp(2, itself, target, source, target.mac, mark),
                frames.arp(1, Party(source, me.ip), Party(ZERO_MAC, CONTROLLER_IP), source, target.mac, mark),
            ]
    return made


def test_the_way_to_the_controller_is_no_way_between_members(machine: Machine) -> None:
    """In-band control makes flows before all tables that switch such frames by themselves (ovs-vswitchd.conf.db(5)).

    They are there from the moment the bridge is given a controller, unless other_config:disable-in-band says no.
    """
    open_way, mark, honest = new_mark(), new_mark(), new_mark()
    machine.host.switch.vsctl("set-controller", "br0", TARGET)
    machine.host.switch.vsctl("set", "controller", "br0", "max_backoff=1000")
    machine.alive()
    until(lambda: machine.holes() != [], "Open vSwitch opens the way, or this test shows nothing")
    machine.send("mallory", *forged(open_way))
    until(lambda: bool(seen(machine.hear("bob"), open_way)), "it is a way")

    machine.controller.start()
    machine.controller.rest.ask("PUT", "/v1/policy", machine.document)
    until(lambda: bool((bridge := machine.bridge()) and bridge["connected"]), "connected", 20)
    until(lambda: machine.holes() == [], "no hidden flow that switches by itself is left", CLOSED_WITHIN_S)
    until(lambda: bool((bridge := machine.bridge()) and bridge["in_force"] == 1), "in force", 20)

    machine.alive()
    machine.send("mallory", *forged(mark))
    # The switch takes up what comes from one port in order: what is sent last and arrives proves the rest decided.
    me, peer = MEMBERS["mallory"][1], MEMBERS["peer"][1]
    machine.send("mallory", frames.udp(Party(me.mac, me.ip, 9), Party(peer.mac, peer.ip, 9), honest))
    until(lambda: bool(seen(machine.hear("peer"), honest)), "what mallory may send arrives")
    machine.alive()
    assert {node: seen(machine.hear(node), mark) for node in ("alice", "bob")} == {"alice": [], "bob": []}
    assert machine.holes() == []


def test_a_bridge_that_is_attached_again_opens_no_way(machine: Machine) -> None:
    """The setting is the bridge's, and outlives its controller's."""
    until(lambda: machine.holes() == [], "closed by the test before", CLOSED_WITHIN_S)
    machine.host.switch.vsctl("del-controller", "br0")
    machine.host.switch.vsctl("set-controller", "br0", TARGET)
    assert machine.holes() == []
