"""The frames a lab sends by hand: ordinary traffic as a stack would send it, and the hostile families. PURE.

Every frame carries a mark, so that a capture knows it again wherever it turns up, whatever was exchanged in its head.
Frames are what goes out on the sender's cable: a sender that ends its tags itself sends them with its tag.
"""

from __future__ import annotations

import hashlib
import re
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address
from typing import assert_never

from topologies import frames
from topologies.frames import BROADCAST, Party
from topologies.spec import ECHO_PORT, Address, Assigned, Attack, Point, Tunnels, Via

DISCARD_PORT = 9
"""Where what is for many goes (RFC 863): nobody listens, so that nobody answers."""
CANARY_MAC = "0e:ca:0a:00:00:01"
FLOOD_FRAMES = 2000
MARK = re.compile(rb"tripoint-([0-9a-f]{6})\.")
GROUP4, GROUP6 = IPv4Address("239.255.0.7"), IPv6Address("ff02::1")
NOWHERE4 = IPv4Address("192.0.2.66")
"""What a sender without an address puts into its packets (RFC 5737)."""


def mark_bytes(number: int) -> bytes:
    """16 bytes, so that they fit where an ARP frame is padded. number: 0 to 2**24 - 1."""
    return b"tripoint-%06x." % number


@dataclass(frozen=True, slots=True)
class Scene:
    """Who sends, to whom it matters, and the mark. port: the sender's TCP and UDP port.

    others: every other point of the lab. victim: whose addresses are forged; None: addresses that nobody has are.
    vids: every VLAN of the lab and some that are none. own_vids: those that the sender may use, None for no tag.
    routers: MACs of the router, by which a frame gets into other networks. l4_port: where ordinary traffic goes.
    """

    sender: Point
    others: tuple[Point, ...]
    mark: bytes
    port: int
    victim: Point | None = None
    vids: tuple[int, ...] = ()
    own_vids: frozenset[int | None] = frozenset()
    routers: tuple[str, ...] = ()
    l4_port: int = ECHO_PORT


def invented_mac(mark: bytes, number: int) -> str:
    """A unicast, locally administered MAC that nobody has; the same for the same arguments."""
    return frames.mac_text(b"\x0e" + hashlib.sha256(mark + struct.pack("!I", number)).digest()[:5])


def canary(mark: bytes, target_mac: str) -> bytes:
    return frames.ethernet(CANARY_MAC, target_mac, frames.EXPERIMENTAL, mark)


def ordinary(via: Via, scene: Scene, target: Address, holder: Point | None) -> list[bytes]:
    """Traffic of one kind for the address `target` (whose holder is known or not), one frame for each likely way.

    Unicast goes to the holder's MAC, and also to the MAC of everybody else, as a sender does that routes through them,
    and to the router's.
    """
    me = _party(scene.sender, target.version, scene.port)
    others = [p.mac for p in scene.others if p.mac != scene.sender.mac]
    macs = dict.fromkeys([*([holder.mac] if holder else []), *others, *scene.routers])
    match via:
        case Via.PING:
            plain = [frames.echo(me, Party(mac, target), scene.mark) for mac in macs]
        case Via.TCP:
            plain = [frames.tcp_syn(me, Party(mac, target, scene.l4_port), scene.mark) for mac in macs]
        case Via.UDP:
            plain = [frames.udp(me, Party(mac, target, scene.l4_port), scene.mark) for mac in macs]
        case Via.ARP if target.version == 4:
            asked = Party(frames.ZERO_MAC, target)
            plain = [frames.arp(1, me, asked, me.mac, mac, scene.mark) for mac in (BROADCAST, *macs)]
        case Via.ARP:
            plain = [frames.solicitation(me, target, scene.mark)]
        case Via.BROADCAST | Via.MULTICAST | Via.UNKNOWN_UNICAST:
            plain = [to_many(via, scene, target.version)]
        case _ as unreachable:
            assert_never(unreachable)
    return [out(scene.sender, frame) for frame in plain]


def to_many(via: Via, scene: Scene, version: int) -> bytes:
    """One untagged datagram that a switch without a policy floods."""
    me = _party(scene.sender, version, scene.port)
    group: Address = GROUP4 if version == 4 else GROUP6
    if via is Via.UNKNOWN_UNICAST:
        return frames.udp(me, Party(invented_mac(scene.mark, 0), group, DISCARD_PORT), scene.mark)
    if via is Via.MULTICAST or version == 6:
        return frames.udp(me, Party(frames.multicast_mac(group), group, DISCARD_PORT), scene.mark)
    return frames.udp(me, Party(BROADCAST, IPv4Address("255.255.255.255"), DISCARD_PORT), scene.mark)


def question(scene: Scene, target: Address) -> bytes:
    """Who has this address? As a stack asks: ARP for IPv4, a neighbour solicitation for IPv6."""
    me = _party(scene.sender, target.version, 0)
    if target.version == 6:
        return out(scene.sender, frames.solicitation(me, target, scene.mark))
    return out(scene.sender, frames.arp(1, me, Party(frames.ZERO_MAC, target), me.mac, BROADCAST, scene.mark))


def out(sender: Point, frame: bytes) -> bytes:
    """An untagged frame as it goes out on the sender's cable."""
    return frame if sender.vid is None else frames.tagged(frame, sender.vid)


def in_tunnels(tunnels: Tunnels, inner: Iterable[bytes]) -> Iterator[bytes]:
    """Each frame once to each of the tunnels' targets."""
    for frame in inner:
        # RFC 7348 section 5: a source port by the flow inside.
        port = 0xC000 | frames.checksum(frame[:12]) & 0x3FFF if tunnels.l4_port else 0
        source = Party(*tunnels.source, port)
        for target in tunnels.targets:
            yield frames.encapsulated(tunnels.kind, tunnels.vni, source, Party(*target, tunnels.l4_port), frame)


def hostile(attack: Attack, scene: Scene) -> Iterator[bytes]:
    """The frames of one family. In a frame only that which the family's name says is forged."""
    sender, mark = scene.sender, scene.mark
    me = _party(sender, 4, scene.port)
    victim = _forged(scene)
    match attack:
        case Attack.FORGED_MAC:
            for mac in (victim.mac, invented_mac(mark, 1)):
                yield from _unicasts_and_broadcast(scene, Party(mac, me.ip, me.port))
                yield out(sender, frames.arp(1, Party(mac, me.ip), Party(frames.ZERO_MAC, me.ip), mac, BROADCAST, mark))
        case Attack.FORGED_IP:
            for ip in (victim.ip, _unused(scene), IPv4Address("198.51.100.7")):
                yield from _unicasts_and_broadcast(scene, Party(me.mac, ip, me.port))
        case Attack.FORGED_ARP:
            yield from (out(sender, frame) for frame in _forged_arps(scene, me, victim))
        case Attack.GRATUITOUS_ARP:
            for sender_mac in (me.mac, victim.mac):
                claim = Party(sender_mac, victim.ip)
                for operation, asked in ((1, Party(frames.ZERO_MAC, victim.ip)), (2, Party(BROADCAST, victim.ip))):
                    yield out(sender, frames.arp(operation, claim, asked, me.mac, BROADCAST, mark))
        case Attack.FORGED_ND:
            yield from (out(sender, frame) for frame in _forged_nds(scene))
        case Attack.MAC_FLOOD:
            for number in range(FLOOD_FRAMES):
                mac = invented_mac(mark, number + 2)
                yield out(sender, frames.udp(Party(mac, me.ip, me.port), Party(BROADCAST, GROUP4, ECHO_PORT), mark))
        case Attack.TAGGED:
            for vid in (*scene.vids, *(() if sender.vid is None else (None,))):
                for frame in _plain(scene, me) if vid not in scene.own_vids else ():
                    yield frame if vid is None else frames.tagged(frame, vid)
        case Attack.DOUBLE_TAGGED:
            for tpid in (frames.DOT1Q, frames.DOT1AD):
                for outer in (*scene.vids, 0):
                    for inner in scene.vids:
                        for frame in _plain(scene, me):
                            yield frames.tagged(frames.tagged(frame, inner), outer, tpid=tpid)
        case Attack.PRIORITY_TAGGED:
            for priority in range(8):
                for frame in _plain(scene, me):
                    yield frames.tagged(frame, 0, priority)
        case Attack.RESERVED_MULTICAST:
            for last in range(16):
                target = f"01:80:c2:00:00:{last:02x}"
                yield out(sender, frames.ethernet(me.mac, target, 0x88CC, mark))
                yield out(sender, frames.udp(me, Party(target, GROUP4, ECHO_PORT), mark))
        case Attack.MULTICAST_SOURCE:
            for mac in (BROADCAST, "01:00:5e:00:00:01", frames.ZERO_MAC):
                yield from _unicasts_and_broadcast(scene, Party(mac, me.ip, me.port))
        case Attack.UNSOLICITED:
            yield from (out(sender, frame) for frame in _unsolicited(scene))
        case Attack.OTHER_ETHERTYPE:
            yield from (out(sender, frame) for frame in _other_ethertypes(scene, me))
        case _ as unreachable:
            assert_never(unreachable)


def exchanged(frame: bytes, relay: Point, macs: Iterable[str], vids: tuple[int | None, ...]) -> Iterator[bytes]:
    """What a hostile relay makes of a frame it got (untagged): as it came, from its own MAC, to all, in every VLAN.

    macs: of everybody else, and of the router.
    """
    own = frames.mac_bytes(relay.mac)
    variants = {frame, frame[:6] + own + frame[12:]}
    variants |= {frames.mac_bytes(mac) + own + frame[12:] for mac in (BROADCAST, *macs) if mac != relay.mac}
    for variant in sorted(variants):
        for vid in vids:
            yield variant if vid is None else frames.tagged(variant, vid)


def claim_address(sender: Point, victim: Point) -> list[bytes]:
    """ARP answers and a gratuitous request by which `sender` takes the victim's IPv4 address; carry no mark."""
    me, ip = _party(sender, 4, 0), victim.address(4) or NOWHERE4
    claim = Party(me.mac, ip)
    kinds = ((1, Party(frames.ZERO_MAC, ip)), (2, Party(BROADCAST, ip)))
    return [out(sender, frames.arp(operation, claim, asked, me.mac, BROADCAST)) for operation, asked in kinds]


# -- parts ------------------------------------------------------------------------------------------------------------


def _party(point: Point, version: int, port: int) -> Party:
    ip = point.address(version) or (NOWHERE4 if version == 4 else frames.link_local(point.mac))
    return Party(point.mac, ip, port)


def _unused(scene: Scene) -> Address:
    """An address of the sender's own subnet that nobody has."""
    taken = {a.ip for p in (scene.sender, *scene.others) for a in p.addresses}
    own: Assigned | None = next((a for p in (scene.sender, *scene.others) for a in p.addresses if a.version == 4), None)
    network = own.network if own is not None and own.network.prefixlen < 31 else IPv4Network("203.0.113.0/24")
    highest = int(network.broadcast_address) - 1
    return next(ip for ip in (IPv4Address(highest - i) for i in range(len(taken) + 1)) if ip not in taken)


def _forged(scene: Scene) -> Party:
    if scene.victim is None:
        return Party(invented_mac(scene.mark, 0), _unused(scene), scene.port)
    return _party(scene.victim, 4, scene.port)


def _unicasts_and_broadcast(scene: Scene, claimed: Party) -> Iterator[bytes]:
    for frame in _plain(scene, claimed):
        yield out(scene.sender, frame)


def _plain(scene: Scene, claimed: Party) -> Iterator[bytes]:
    """Untagged: a datagram to everybody at once, and a datagram and an echo request to each, from the claimed party.

    To each at its own MAC, and by way of the router.
    """
    yield frames.udp(claimed, Party(BROADCAST, IPv4Address("255.255.255.255"), ECHO_PORT), scene.mark)
    for other in scene.others:
        for mac in (other.mac, *scene.routers):
            target = Party(mac, other.address(4) or NOWHERE4, ECHO_PORT)
            yield frames.udp(claimed, target, scene.mark)
            yield frames.echo(claimed, target, scene.mark)


def _forged_arps(scene: Scene, me: Party, victim: Party) -> Iterator[bytes]:
    """Answers and questions that name another's IP, another's MAC, or both; to everybody at once and to each."""
    for claim in (Party(me.mac, victim.ip), Party(victim.mac, me.ip), Party(victim.mac, victim.ip)):
        for other in scene.others:
            if other.mac != me.mac:
                asked = Party(other.mac, other.address(4) or NOWHERE4)
                yield frames.arp(2, claim, asked, me.mac, other.mac, scene.mark)
                yield frames.arp(1, claim, asked, me.mac, other.mac, scene.mark)
                yield frames.arp(1, claim, asked, me.mac, BROADCAST, scene.mark)
        yield frames.arp(2, claim, Party(BROADCAST, claim.ip), me.mac, BROADCAST, scene.mark)


def _forged_nds(scene: Scene) -> Iterator[bytes]:
    """Advertisements of another's address, router advertisements, redirects, and pings from another's address."""
    me = _party(scene.sender, 6, scene.port)
    stolen = scene.victim.address(6) if scene.victim is not None else None
    ip = stolen or IPv6Address("2001:db8:dead::66")
    everyone = Party("33:33:00:00:00:01", GROUP6)
    targets = [
        everyone,
        *(Party(p.mac, p.address(6) or frames.link_local(p.mac)) for p in scene.others if p.mac != me.mac),
    ]
    router = Party(me.mac, frames.link_local(me.mac))
    for target in targets:
        body = struct.pack("!I", 0x20000000) + ip.packed + frames.link_address_option(2, me.mac)
        yield frames.neighbour(136, me, target, body, scene.mark)
        yield frames.neighbour(136, Party(me.mac, ip), target, body, scene.mark)
        yield frames.neighbour(134, router, target, struct.pack("!BBHII", 64, 0, 1800, 0, 0), scene.mark)
        yield frames.neighbour(137, router, target, b"\0" * 4 + me.ip.packed + ip.packed, scene.mark)
        for mac in (target.mac, *(scene.routers if target is not everyone else ())):
            yield frames.echo(Party(me.mac, ip), Party(mac, target.ip), scene.mark)


def _unsolicited(scene: Scene) -> Iterator[bytes]:
    """Answers and refusals of connections that nobody opened, to each at its own MAC and by way of the router."""
    for version in (4, 6):
        me = _party(scene.sender, version, ECHO_PORT)
        for other in scene.others if scene.sender.address(version) is not None else ():
            for mac in (other.mac, *scene.routers) if other.address(version) is not None else ():
                target = _party(other, version, scene.port)
                asked = frames.ip_packet(target.ip, me.ip, frames.UDP, struct.pack("!HHHH", target.port, me.port, 8, 0))
                there = Party(mac, target.ip, target.port)
                yield frames.echo_reply(me, there, scene.mark)
                for flags in (frames.SYN | frames.ACK, frames.ACK, frames.RST, frames.RST | frames.ACK):
                    yield frames.tcp(me, there, flags, scene.mark)
                yield frames.port_unreachable(me, there, asked + scene.mark)


def _other_ethertypes(scene: Scene, me: Party) -> Iterator[bytes]:
    """RARP, EAPOL, PPPoE, MPLS, loopback, experimental, and an IEEE 802.3 frame with a length; to all and to each."""
    for target in (BROADCAST, *(p.mac for p in scene.others if p.mac != me.mac), *scene.routers):
        for ethertype in (frames.RARP, 0x888E, 0x8863, 0x8847, 0x9000, frames.EXPERIMENTAL):
            yield frames.ethernet(me.mac, target, ethertype, scene.mark)
        yield frames.ethernet(me.mac, target, 3 + len(scene.mark), b"\x42\x42\x03" + scene.mark)
