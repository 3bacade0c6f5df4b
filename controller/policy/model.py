"""All that a user may say, on one page. PURE: frozen values, no behaviour beyond reading them.

A `Policy` is what `load` makes of a document and what `check` has found to be consistent; code downstream trusts it.
Identity of a network on the wire and in the switch is `Network.number`; names are for people.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from functools import cached_property
from hashlib import blake2b
from ipaddress import IPv4Address, IPv4Interface, IPv4Network, IPv6Address, IPv6Interface, IPv6Network
from typing import NewType

from controller.mac import Mac
from controller.policy.firewall import DEFAULT_TIER, Decision, Group, Rule
from controller.policy.rewrites import Rewrite

Vlan = NewType("Vlan", int)
"""1 to 4094 (IEEE 802.1Q)."""
Vni = NewType("Vni", int)
"""1 to 16777215 (RFC 7348 section 5)."""
Dpid = NewType("Dpid", int)
"""64-bit OpenFlow datapath id."""

Address = IPv4Address | IPv6Address
Cidr = IPv4Network | IPv6Network
Attached = IPv4Interface | IPv6Interface
"""An address with the prefix of the segment that it is on: 192.0.2.1/24."""

API_VERSION = "tripoint/v1"


class Mode(Enum):
    """What a network has beyond its own members (the forward modes of libvirt).

    ISOLATED: nothing. ROUTED: a gateway; its members reach other routed networks and the outside as rules and defaults
    allow, under their own addresses. NAT: the same, but outwards under an address of its uplink, and inwards only
    through rewrites.
    """

    ISOLATED = "isolated"
    ROUTED = "routed"
    NAT = "nat"


DEFAULT_ROUTER_MAC = Mac(0x027470000001)
"""02:74:70:00:00:01: what the router has in every network, unless the document says another."""
OUTSIDE = "outside"
"""The name that rules and pairs have for everything beyond the uplinks; no network, endpoint or group is called so."""


class Members(Enum):
    """DECLARED: only what the document lists exists. OPEN: ports without a MAC learn theirs in the switch."""

    DECLARED = "declared"
    OPEN = "open"


class Interface(Enum):
    """What an endpoint's port is made of, where its host's database is managed.

    SYSTEM: a device that the machine has. INTERNAL: one that Open vSwitch makes, with the endpoint's MAC.
    """

    SYSTEM = "system"
    INTERNAL = "internal"


class DatapathType(Enum):
    """Who forwards on a managed host's bridge: the kernel's openvswitch module, or the switch daemon itself."""

    SYSTEM = "system"
    NETDEV = "netdev"


class Attach(Enum):
    """UNTAGGED: plain frames on the port. TAGGED: one 802.1Q tag a network, its `vlan`, but plain in the native one."""

    UNTAGGED = "untagged"
    TAGGED = "tagged"


@dataclass(frozen=True, slots=True)
class Network:
    """One isolation domain. At least one of vlan and vni is given."""

    name: str
    vlan: Vlan | None = None
    vni: Vni | None = None
    cidrs: tuple[Cidr, ...] = ()
    mode: Mode = Mode.ISOLATED
    members: Members = Members.DECLARED
    macs_per_port: int = 64
    """How many MACs a port of an OPEN network may have learned at a time."""
    mac_age_s: int = 300
    """Seconds after which a learned MAC that is silent is forgotten."""
    gateways: tuple[Address, ...] = ()
    """The router's addresses in a ROUTED or NAT network, answered by the switch; at most one of each IP version."""
    uplink: str | None = None
    """A name in `Policy.uplinks`: how a ROUTED or NAT network reaches the outside; None: it does not."""

    @property
    def routed(self) -> bool:
        """Whether it has a router: its members' addresses are then unique among all such networks."""
        return self.mode is not Mode.ISOLATED

    @property
    def number(self) -> int:
        """The 25-bit identity in the switch: the vni, or 2**24 + vlan where there is no vni."""
        return int(self.vni) if self.vni is not None else (1 << 24) | int(self.vlan or 0)

    def holds(self, address: Address) -> bool:
        """Whether the address may be used in this network: inside one of its cidrs, or no cidrs are given."""
        return not self.cidrs or any(address in cidr for cidr in self.cidrs if cidr.version == address.version)


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A workload on a port: its MAC and IPs. In several networks it is a shared member.

    networks: names, in the document's order, no duplicates, at least one.
    port: its name on the bridge; "" where the port is known by `iface_id`, or by the MAC attached to it.
    iface_id: the external_ids:iface-id of its port (ovs-vswitchd.conf.db(5) Interface), or None.
    host: a name in `Policy.hosts`, or None: whichever bridge shows such a port.
    native: of a TAGGED endpoint's networks the one whose frames are plain (IEEE 802.1Q: the port VLAN), or None.
    mac: None only in OPEN networks (then `ips` is empty too): the switch learns.
    routes: prefixes that are reached through this member, which is a router of its own: packets from and to addresses
    in them pass its port, unless a cidr of one of its networks holds the address.
    """

    name: str
    networks: tuple[str, ...]
    port: str
    attach: Attach = Attach.UNTAGGED
    host: str | None = None
    mac: Mac | None = None
    ips: tuple[Address, ...] = ()
    labels: tuple[tuple[str, str], ...] = ()
    native: str | None = None
    iface_id: str | None = None
    interface: Interface = Interface.SYSTEM
    routes: tuple[Cidr, ...] = ()

    @property
    def place(self) -> str:
        """What its port is found by: the port's name, or one of the labels `of_iface_id` and `of_attached_mac` make."""
        if self.port:
            return self.port
        return of_iface_id(self.iface_id) if self.iface_id is not None else of_attached_mac(self.mac)

    @property
    def shared(self) -> bool:
        return len(self.networks) > 1


def of_iface_id(iface_id: str) -> str:
    """The label of a port by its external_ids:iface-id. No device's name has a colon."""
    return f"iface-id:{iface_id}"


def of_attached_mac(mac: Mac | None) -> str:
    """The label of a port by its external_ids:attached-mac."""
    return f"attached-mac:{mac}"


@dataclass(frozen=True, slots=True)
class Host:
    """Names a bridge, by datapath id or by its name (the name of its local port); by both only with `ovsdb`.

    trunk: the port on which it carries networks, each under its `vlan`, to all other hosts that have a trunk; or None.
    native: the network whose frames are plain on the trunk, or None.
    patch: another bridge of the same host, to which the trunk is a patch port; or None: the trunk is a device.
    ovsdb: the database that the controller manages, as ovs-vsctl(8) --db takes it (`unix:FILE`, `tcp:IP:PORT`,
    `ssl:IP:PORT`), or `from:SYSTEM-ID` where the host connects by itself; None: the bridge attaches by itself.
    datapath_type: of a bridge that the controller makes (ovs-vswitchd.conf.db(5) Bridge).
    controller: where the bridge of a managed host looks for its controller; None: at the address that its database was
    reached from.
    vtep: the address at which other hosts' tunnels end here, or None: no tunnels.
    mtu: the largest IP packet that the network between the hosts takes here; None: as observed, else 1500.
    """

    name: str
    dpid: Dpid | None = None
    bridge: str | None = None
    trunk: str | None = None
    native: str | None = None
    patch: str | None = None
    ovsdb: str | None = None
    datapath_type: DatapathType = DatapathType.SYSTEM
    controller: str | None = None
    vtep: Address | None = None
    mtu: int | None = None

    @property
    def datapath_id(self) -> Dpid | None:
        """The dpid of its bridge; where its database is managed and names none, one made of the host's name."""
        if self.dpid is None and self.ovsdb is not None:
            return Dpid(int.from_bytes(blake2b(self.name.encode(), digest_size=8).digest()) or 1)
        return self.dpid


class Encapsulation(Enum):
    """How frames travel between hosts without a trunk."""

    VXLAN = "vxlan"
    GENEVE = "geneve"
    GRE = "gre"


@dataclass(frozen=True, slots=True)
class Overlay:
    """How the tunnels between hosts with a vtep are made.

    l4_port: UDP port; None: 4789 for VXLAN (RFC 7348), 6081 for Geneve (RFC 8926); GRE has none.
    mtu: what members may use, or None: what the packets between the hosts leave room for.
    bfd: whether each tunnel is watched (RFC 5880).
    """

    type: Encapsulation = Encapsulation.VXLAN
    l4_port: int | None = None
    mtu: int | None = None
    bfd: bool = True


@dataclass(frozen=True, slots=True)
class Route:
    """Packets for addresses in `to` go to the next hop `via`, which is on the uplink's segment."""

    to: Cidr
    via: Address


@dataclass(frozen=True, slots=True)
class Uplink:
    """A port behind which the world outside is: no member, no network, and nothing that is there is declared.

    port: its name on the bridge. host: a name in `Policy.hosts`, or None: whichever bridge shows such a port.
    mac: what the router has there; None: `Policy.defaults.router_mac`.
    addresses: the router's there, each with its segment's prefix; the first of an IP version is what NAT takes.
    routes: prefixes beyond the segments. The longest prefix wins; what no segment and no route holds is unreachable.
    """

    name: str
    port: str
    addresses: tuple[Attached, ...]
    host: str | None = None
    mac: Mac | None = None
    routes: tuple[Route, ...] = ()

    @property
    def number(self) -> int:
        """Its identity in the switch, apart from those of networks: 2**25 and 24 bits made of its name."""
        return 1 << 25 | int.from_bytes(blake2b(self.name.encode(), digest_size=3).digest())


@dataclass(frozen=True, slots=True)
class Pair:
    """What becomes of a connection that no rule is about, by the networks of the one who opens it and of the other.

    origin, target: names of networks, or OUTSIDE; the same name twice: within that network.
    """

    origin: str
    target: str
    decision: Decision


@dataclass(frozen=True, slots=True)
class Defaults:
    """What holds where no rule says otherwise.

    Between a routed network and the outside, without a pair of its own: ROUTED allows both directions, NAT allows
    outwards, and inwards only what a rewrite leads in.
    """

    intra_network: Decision = Decision.ALLOW
    inter_network: Decision = Decision.DROP
    pairs: tuple[Pair, ...] = ()
    router_mac: Mac = DEFAULT_ROUTER_MAC


DEFAULTS = Defaults()


@dataclass(frozen=True)
class Policy:
    """A whole, consistent policy. The mappings are by name, in the document's order, and never mutated.

    tiers: names, in the order in which packets meet them; every rule is in one. rules: in the document's order, which
    within a tier is the order of matching.
    """

    networks: Mapping[str, Network]
    endpoints: Mapping[str, Endpoint]
    hosts: Mapping[str, Host]
    overlay: Overlay = Overlay()
    uplinks: Mapping[str, Uplink] = field(default_factory=dict)
    groups: Mapping[str, Group] = field(default_factory=dict)
    tiers: tuple[str, ...] = (DEFAULT_TIER,)
    rules: Mapping[str, Rule] = field(default_factory=dict)
    rewrites: Mapping[str, Rewrite] = field(default_factory=dict)
    defaults: Defaults = DEFAULTS

    @cached_property
    def members(self) -> Mapping[str, tuple[Endpoint, ...]]:
        """As `members_of`."""
        return members_of(self.networks, self.endpoints)


def members_of(
    networks: Mapping[str, Network], endpoints: Mapping[str, Endpoint]
) -> Mapping[str, tuple[Endpoint, ...]]:
    """Network name -> its endpoints, in the document's order; every network has an entry.

    Names of networks that are not there are passed over.
    """
    found: dict[str, list[Endpoint]] = {name: [] for name in networks}
    for endpoint in endpoints.values():
        for name in endpoint.networks:
            if name in found:
                found[name].append(endpoint)
    return {name: tuple(members) for name, members in found.items()}


EMPTY_POLICY = Policy(networks={}, endpoints={}, hosts={})


def first_address(uplink: Uplink, version: int) -> Address | None:
    """The router's first one of an IP version there, which NAT takes."""
    return next((attached.ip for attached in uplink.addresses if attached.version == version), None)


def tag_of(network: Network, native: str | None) -> Vlan | None:
    """The tag of a network's frames where networks are told by tags: none for the native one."""
    return None if network.name == native else network.vlan


def ips_in(endpoint: Endpoint, network: Network) -> tuple[Address, ...]:
    """The addresses an endpoint has in one of its networks: those that lie in the network's cidrs."""
    return tuple(ip for ip in endpoint.ips if network.holds(ip))
