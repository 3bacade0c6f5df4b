"""What a lab is: nodes, bridges, cables, a policy and what must come of them. PURE: frozen values only.

A lab file is three things at once: the lab a user brings up, its documentation, and a system test that sends real
packets. `load` makes a `Lab` of a file; README.md in this directory describes the format with an example.

node: a network namespace. A node that owns a bridge runs an Open vSwitch of its own.
point: where frames enter or leave: a node's interface (`netns1:eth0`), one VLAN of it (`netns3:eth0.10`), or a
bridge's local port (`netns3:br0`). A node's name alone means all of its points.
trunk: a cable between two bridges; `br-a:eth1` is its end at a bridge's port.
underlay: the network on which hosts have the addresses between which their tunnels lie; its cables are trunks, too.
impostor: frames put in at a trunk's end, as a hostile host there would send them, plain, tagged or in a tunnel.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from enum import Enum
from ipaddress import IPv4Address, IPv4Interface, IPv4Network, IPv6Address, IPv6Interface, IPv6Network, ip_address

Address = IPv4Address | IPv6Address
Assigned = IPv4Interface | IPv6Interface
"""An address with its prefix length, as `ip address add` takes it."""
Prefix = IPv4Network | IPv6Network


def as_address(text: str) -> Address | None:
    """The address a text is, or None."""
    try:
        return ip_address(text)
    except ValueError:
        return None


class Expect(Enum):
    """REACH: it arrives, and is answered where the kind of traffic has an answer.

    NEVER: not one frame is seen there. SILENCE: nothing at all comes back, no answer and no refusal. REJECTED: it does
    not arrive, and the sender is told so. CLOSED: it does arrive, nobody listens there, and the sender is told so.
    CARRIES: of a cable, the tags on its frames.
    """

    REACH = "reach"
    NEVER = "never"
    SILENCE = "silence"
    REJECTED = "rejected"
    CLOSED = "closed"
    CARRIES = "carries"


class Refusal(Enum):
    """How a sender is told. RESET: a TCP segment (RFC 9293); the others: ICMP (RFC 792, 1812) or ICMPv6 (RFC 4443)."""

    RESET = "reset"
    PORT = "port-unreachable"
    PROTOCOL = "protocol-unreachable"
    NET = "net-unreachable"
    HOST = "host-unreachable"
    PROHIBITED = "admin-prohibited"
    TIME_EXCEEDED = "time-exceeded"
    TOO_BIG = "packet-too-big"


class Via(Enum):
    """Kinds of traffic. Ping, TCP and UDP are sent by the node's own network stack, the others are made by hand.

    TCP and UDP go to a listening server. ARP: a request that must be answered with the target's MAC. BROADCAST,
    MULTICAST: a datagram to ff:ff:ff:ff:ff:ff or to a group. UNKNOWN_UNICAST: to a MAC that nobody has.
    """

    PING = "ping"
    TCP = "tcp"
    UDP = "udp"
    ARP = "arp"
    BROADCAST = "broadcast"
    MULTICAST = "multicast"
    UNKNOWN_UNICAST = "unknown-unicast"


BY_STACK = (Via.PING, Via.TCP, Via.UDP)
WITH_PORT = (Via.TCP, Via.UDP)
ECHO_PORT = 7
"""Where every node's TCP and UDP servers listen (RFC 862), beside the ports that expectations name."""
CLIENT_PORTS = 20000
"""The first of the ports that probes come from."""


class Attack(Enum):
    """Families of hostile frames; `hostile` makes the frames of each."""

    FORGED_MAC = "forged-mac"
    FORGED_IP = "forged-ip"
    FORGED_ARP = "forged-arp"
    GRATUITOUS_ARP = "gratuitous-arp"
    FORGED_ND = "forged-nd"
    MAC_FLOOD = "mac-flood"
    TAGGED = "tagged"
    DOUBLE_TAGGED = "double-tagged"
    PRIORITY_TAGGED = "priority-tagged"
    RESERVED_MULTICAST = "reserved-multicast"
    MULTICAST_SOURCE = "multicast-source"
    OTHER_ETHERTYPE = "other-ethertype"
    UNSOLICITED = "unsolicited"


class Conduct(Enum):
    """What a node does while expectations are checked.

    FORWARD: routes between its interfaces, and those who probe route through it. BRIDGE: joins interfaces in a Linux
    bridge. RELAY: sends every frame it gets out again, as it came and with addresses and tags exchanged. MAC_FLOOD:
    sends frames from ever new MACs. FORGED_ARP: claims another's address in ARP, over and over.
    """

    FORWARD = "forward"
    BRIDGE = "bridge"
    RELAY = "relay"
    MAC_FLOOD = "mac-flood"
    FORGED_ARP = "forged-arp"


@dataclass(frozen=True, slots=True)
class Route:
    """`via` None: on the link. Always through the interface it is listed under."""

    to: Prefix
    via: Address | None = None


@dataclass(frozen=True, slots=True)
class SubInterface:
    """One VLAN of an interface, ended by the node itself. vid: 1 to 4094. It is named `eth0.10`, and has eth0's MAC."""

    vid: int
    addresses: tuple[Assigned, ...] = ()
    routes: tuple[Route, ...] = ()


@dataclass(frozen=True, slots=True)
class Interface:
    """A node's end of a cable. mac: lower case with colons. addresses, routes: of its plain frames.

    tagged: VLANs that the node ends itself; there are plain frames beside them only with `addresses`.
    """

    name: str
    mac: str
    addresses: tuple[Assigned, ...] = ()
    routes: tuple[Route, ...] = ()
    tagged: tuple[SubInterface, ...] = ()


@dataclass(frozen=True, slots=True)
class Node:
    """A network namespace. sysctls: (name below net., value), set before anything is sent.

    iptables, ip6tables: arguments of one call each, for a node that filters or translates by itself (iptables(8)).
    """

    name: str
    interfaces: tuple[Interface, ...] = ()
    sysctls: tuple[tuple[str, str], ...] = ()
    iptables: tuple[str, ...] = ()
    ip6tables: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Bridge:
    """An Open vSwitch bridge in the namespace `node`.

    controlled: attached to the controller; else `flows` are put in by hand (ovs-ofctl(8) syntax).
    addresses, routes: of the bridge's own local port, which is the machine that runs the switch, seen from the network.
    fabric: stands for the switches between hosts: forwards by MAC and VLAN, and has no part in anything else.
    managed: the controller makes it and its ports, by way of the host's database; only its cables are laid.
    """

    name: str
    node: str
    mac: str
    fail_mode: str = "secure"
    controlled: bool = True
    flows: tuple[str, ...] = ()
    addresses: tuple[Assigned, ...] = ()
    fabric: bool = False
    managed: bool = False
    routes: tuple[Route, ...] = ()


@dataclass(frozen=True, slots=True)
class End:
    """One end of a cable: an interface of a node, or a port of a bridge."""

    owner: str
    name: str

    def __str__(self) -> str:
        return f"{self.owner}:{self.name}"


@dataclass(frozen=True, slots=True)
class Link:
    """A veth cable."""

    a: End
    b: End


@dataclass(frozen=True, slots=True)
class Situation:
    """A node's conduct while expectations are checked. over: interfaces to join; claiming: whose address is forged."""

    conduct: Conduct
    node: str
    over: tuple[str, ...] = ()
    claiming: str | None = None

    def __str__(self) -> str:
        over = f" over {'+'.join(self.over)}" if self.over else ""
        return f"{self.conduct.value} by {self.node}" + over + (f" as {self.claiming}" if self.claiming else "")


@dataclass(frozen=True, slots=True)
class Probe:
    """`source` (node or point) sends to `target` (node, point or address) by each of `via`.

    unseen_at: nodes that must see nothing of it, also where it is expected to reach its target.
    l4_port: where TCP and UDP go; somebody listens there if they are to reach it, else nobody does.
    arrives_at: the node or point that must see it, where that is not the target: its address was translated.
    seen_as: the only address that it may have as its source where it arrives.
    refusal: how the sender is told, None: as a host says that nobody listens. told_by: and from which address.
    """

    source: str
    target: str
    via: tuple[Via, ...]
    expect: Expect
    unseen_at: tuple[str, ...] = ()
    during: tuple[Situation, ...] = ()
    why: str = ""
    l4_port: int = ECHO_PORT
    arrives_at: str | None = None
    seen_as: Address | None = None
    refusal: Refusal | None = None
    told_by: Address | None = None

    @property
    def destination(self) -> str:
        """Where its frames come out, if they do."""
        return self.arrives_at or self.target

    def told(self, via: Via, version: int) -> Refusal:
        """How the sender is told. RFC 4443 section 3.1 has no code for protocols."""
        if self.refusal is not None:
            return self.refusal
        if via is Via.TCP:
            return Refusal.RESET
        return Refusal.PROTOCOL if via is Via.PING and version == 4 else Refusal.PORT


@dataclass(frozen=True, slots=True)
class Hostile:
    """`by` (node or point) sends the frames of `attack`; no node of `unseen_at` may see one. claiming: the victim."""

    by: str
    attack: Attack
    unseen_at: tuple[str, ...]
    claiming: str | None = None
    during: tuple[Situation, ...] = ()
    why: str = ""


@dataclass(frozen=True, slots=True)
class Carries:
    """Every frame seen on a cable from first to last has one of these tags, and all of these were seen.

    on: a node or a point (what comes in there), or a trunk's end (what its host puts on the cable).

    tags: `vid 10`, `plain`, `arp` (plain, and nothing but ARP), in a tunnel `vni 5010` or with its kind `vxlan 5010` ->
    nodes or points, of which one has the frame's source MAC (in a tunnel the inner one). Without any it may be
    anybody's, and need not be there: what hosts say to each other.
    """

    on: str
    tags: tuple[tuple[str, tuple[str, ...]], ...]
    why: str = ""

    @property
    def during(self) -> tuple[Situation, ...]:
        return ()


Expectation = Probe | Hostile | Carries


@dataclass(frozen=True, slots=True)
class Impostor:
    """Sends out of the trunk's end `at` with MAC and addresses of the point `like`. vid: its tag, None: plain.

    vni: in tunnels to all other hosts under this key, as the host sends them whose underlay bridge has the end `at`.
    vtep: the tunnels' source, where it is not that host's own address.
    """

    name: str
    at: End
    like: str
    vid: int | None = None
    vni: int | None = None
    vtep: Address | None = None


class Encapsulation(Enum):
    """RFC 7348, RFC 8926, and RFC 2784 with the key of RFC 2890."""

    VXLAN = "vxlan"
    GENEVE = "geneve"
    GRE = "gre"


L4_PORTS = {Encapsulation.VXLAN: 4789, Encapsulation.GENEVE: 6081}


@dataclass(frozen=True, slots=True)
class Tunnels:
    """From one host to others: what goes around a frame. l4_port: of UDP; 0: none. ends: (MAC, address)."""

    kind: Encapsulation
    l4_port: int
    vni: int
    source: tuple[str, Address]
    targets: tuple[tuple[str, Address], ...]


@dataclass(frozen=True, slots=True)
class Point:
    """Where frames enter or leave. vid None: untagged. local: a bridge's own port, on the machine that runs it.

    trunk: a bridge's port at a trunk's end; what the bridge puts on the cable is seen there.
    tunnels: what is sent there goes in these.
    """

    node: str
    interface: str
    mac: str
    vid: int | None = None
    addresses: tuple[Assigned, ...] = ()
    local: bool = False
    trunk: bool = False
    tunnels: Tunnels | None = None

    @property
    def device(self) -> str:
        """The network device that carries its addresses."""
        return self.interface if self.vid is None else f"{self.interface}.{self.vid}"

    def address(self, version: int) -> Address | None:
        """Its first address of an IP version."""
        return next((a.ip for a in self.addresses if a.version == version), None)


@dataclass(frozen=True)
class Lab:
    """A whole, consistent lab. policy None: no controller takes part. The mappings are by name and never mutated."""

    name: str
    description: str
    scenario: str
    nodes: Mapping[str, Node]
    bridges: Mapping[str, Bridge]
    links: tuple[Link, ...]
    policy: Mapping[str, object] | None
    expectations: tuple[Expectation, ...]
    impostors: Mapping[str, Impostor] = field(default_factory=dict)

    def points(self, where: str) -> tuple[Point, ...]:
        """The points of a node, or the one point `node:device`, trunk's end `bridge:port` or impostor of that name.

        Nothing where there is none.
        """
        if where in self.impostors:
            return self._impostor(self.impostors[where])
        name, _, device = where.partition(":")
        if name in self.bridges:
            return tuple(p for p in self.cable_ends if p.node == self.bridges[name].node and p.interface == device)
        node = self.nodes.get(name)
        if node is None:
            return ()
        found: list[Point] = []
        for face in node.interfaces:
            if face.addresses or not face.tagged:
                found.append(Point(name, face.name, face.mac, None, face.addresses))
            found += [Point(name, face.name, face.mac, sub.vid, sub.addresses) for sub in face.tagged]
        stands = (b for b in self.bridges.values() if b.node == name and not b.fabric)
        found += [Point(name, b.name, b.mac, None, b.addresses, True) for b in stands]
        return tuple(point for point in found if not device or point.device == device)

    def _impostor(self, impostor: Impostor) -> tuple[Point, ...]:
        bridge = self.bridges.get(impostor.at.owner)
        like = self.points(impostor.like)
        if bridge is None or not like:
            return ()
        one = Point(bridge.node, impostor.at.name, like[0].mac, impostor.vid, like[0].addresses, trunk=True)
        return (one if impostor.vni is None else replace(one, tunnels=self._tunnels(impostor, bridge, impostor.vni)),)

    def _tunnels(self, impostor: Impostor, own: Bridge, vni: int) -> Tunnels | None:
        """None: the bridge has no address, or nobody else has one on that underlay."""
        source = next((a for a in own.addresses if impostor.vtep is None or a.version == impostor.vtep.version), None)
        if source is None:
            return None
        ends = ((b.mac, a) for b in self.bridges.values() if b is not own for a in b.addresses)
        targets = tuple((mac, a.ip) for mac, a in ends if a.ip in source.network)
        kind, l4_port = self.encapsulation
        return Tunnels(kind, l4_port, vni, (own.mac, impostor.vtep or source.ip), targets) if targets else None

    @property
    def service_ports(self) -> frozenset[int]:
        """Where probes go."""
        return frozenset({ECHO_PORT, *(e.l4_port for e in self.expectations if isinstance(e, Probe))})

    @property
    def closed_ports(self) -> frozenset[int]:
        """Those of them where nobody listens; at the others every node does, so that silence is never its own."""
        probes = (e for e in self.expectations if isinstance(e, Probe))
        return frozenset(probe.l4_port for probe in probes if probe.expect is Expect.CLOSED)

    @property
    def encapsulation(self) -> tuple[Encapsulation, int]:
        """The policy's, with its UDP port (0: none); VXLAN where it says nothing, or nothing that is known."""
        overlay = self.policy.get("overlay") if self.policy is not None else None
        said = overlay if isinstance(overlay, dict) else {}
        kind = next((k for k in Encapsulation if k.value == said.get("type")), Encapsulation.VXLAN)
        l4_port = said.get("l4_port")
        return kind, l4_port if isinstance(l4_port, int) and kind in L4_PORTS else L4_PORTS.get(kind, 0)

    @property
    def cable_ends(self) -> tuple[Point, ...]:
        """The ends of cables between two bridges."""
        return tuple(Point(bridge.node, end.name, bridge.mac, trunk=True) for bridge, end in self._between_bridges())

    @property
    def trunk_ends(self) -> tuple[Point, ...]:
        """Those of them that are not at a fabric."""
        ends = ((bridge, end) for bridge, end in self._between_bridges() if not bridge.fabric)
        return tuple(Point(bridge.node, end.name, bridge.mac, trunk=True) for bridge, end in ends)

    def _between_bridges(self) -> Iterator[tuple[Bridge, End]]:
        for link in self.links:
            if link.a.owner in self.bridges and link.b.owner in self.bridges:
                yield from ((self.bridges[end.owner], end) for end in (link.a, link.b))

    @property
    def all_points(self) -> tuple[Point, ...]:
        return tuple(point for name in self.nodes for point in self.points(name))

    def holders(self, address: Address) -> tuple[str, ...]:
        """Nodes that have this address."""
        return tuple(dict.fromkeys(p.node for p in self.all_points if any(a.ip == address for a in p.addresses)))

    def cable_end(self, point: Point) -> End:
        """The end of a cable that a point is on."""
        bridge = next((b for b in self.bridges.values() if point.trunk and self._has(b, point)), None)
        return End(point.node if bridge is None else bridge.name, point.interface)

    def _has(self, bridge: Bridge, point: Point) -> bool:
        ends = (end for link in self.links for end in (link.a, link.b))
        return bridge.node == point.node and End(bridge.name, point.interface) in ends

    def other_end(self, end: End) -> End | None:
        """What the cable at this end leads to."""
        for link in self.links:
            if link.a == end:
                return link.b
            if link.b == end:
                return link.a
        return None
