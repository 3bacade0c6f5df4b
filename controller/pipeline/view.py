"""What the stages see of a policy on one bridge. PURE: small values, made of the policy and the ofports observed.

Each view is the whole input of a compilation unit: equal views have equal flows.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from types import MappingProxyType

from controller.errors import pointer
from controller.flow.flow import OWNER_LEARNED, content_cookie
from controller.mac import Mac
from controller.pipeline.router_view import Judged, Router, WayOut
from controller.policy.model import Attach, Cidr, Endpoint, Members, Network, ips_in, tag_of


@dataclass(frozen=True, slots=True)
class BridgeView:
    """What a bridge can do, whatever the policy says.

    advertises: its datapath can make a neighbor advertisement of a solicitation; the kernel's cannot (ovs-fields(7)
    nd_options_type, nd_reserved).
    """

    advertises: bool = True


ABLE = BridgeView()


def addresses_in(endpoint: Endpoint, network: Network) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """An endpoint's IPv4 and IPv6 addresses in a network; with any IPv6, the link-local one of its MAC too."""
    addresses = ips_in(endpoint, network)
    ipv6 = tuple(ip for ip in addresses if isinstance(ip, IPv6Address))
    if ipv6 and endpoint.mac is not None and endpoint.mac.link_local not in ipv6:
        ipv6 = (*ipv6, endpoint.mac.link_local)
    return tuple(int(ip) for ip in addresses if isinstance(ip, IPv4Address)), tuple(int(ip) for ip in ipv6)


def broadcasts_of(network: Network) -> tuple[int, ...]:
    """The broadcast addresses of its IPv4 prefixes; /31 and /32 have none (RFC 3021)."""
    return tuple(int(cidr.broadcast_address) for cidr in network.cidrs if cidr.version == 4 and cidr.prefixlen < 31)


@dataclass(frozen=True, slots=True)
class Seated:
    """A shared member in one of its networks: the network's number and IPv4 broadcast addresses, its own addresses."""

    number: int
    ipv4: tuple[int, ...]
    ipv6: tuple[int, ...]
    broadcasts: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class SharedMember:
    """An untagged member of several networks, which sends every frame into all of them. seated: in document order.

    routes: what is behind it.
    """

    endpoint: str
    port: int
    seated: tuple[Seated, ...]
    routes: tuple[Cidr, ...] = ()

    @property
    def origin(self) -> str:
        return pointer("endpoints", self.endpoint)

    @property
    def networks(self) -> tuple[int, ...]:
        return tuple(seat.number for seat in self.seated)

    def with_ipv4(self, address: int) -> SenderSet:
        """The networks that admit its frames from this address; 0: those from no address yet."""
        return SenderSet(frozenset(seat.number for seat in self.seated if address == 0 or address in seat.ipv4))

    def with_ipv6(self, address: int) -> SenderSet:
        """The same for IPv6; networks in which it has no IPv6 address admit none."""
        seats = (seat for seat in self.seated if seat.ipv6 and (address == 0 or address in seat.ipv6))
        return SenderSet(frozenset(seat.number for seat in seats))

    def from_beyond(self) -> SenderSet:
        """The networks that admit what comes from behind it: all."""
        return SenderSet(frozenset(self.networks))

    def sets(self) -> frozenset[SenderSet]:
        """Every set of two networks or more that a frame of this member may be admitted to."""
        ipv4 = {0}.union(*(seat.ipv4 for seat in self.seated))
        ipv6 = {0}.union(*(seat.ipv6 for seat in self.seated))
        found = {self.with_ipv4(address) for address in ipv4} | {self.with_ipv6(address) for address in ipv6}
        if self.routes:
            found.add(self.from_beyond())
        return frozenset(one for one in found if one.number)


@dataclass(frozen=True, slots=True)
class SenderSet:
    """The networks that one and the same frame is sent into."""

    networks: frozenset[int]

    @property
    def number(self) -> int:
        """What SENDER_SET holds: a 32-bit hash, or 0 where no frame can arrive twice."""
        if len(self.networks) < 2:
            return 0
        return content_cookie(0, tuple(sorted(self.networks))) & 0xFFFFFFFF | 1


ClassNumbers = Mapping[tuple[int, int], int]
"""(IP version, address) -> the number of the class that rules put it into; 0: none."""
NO_CLASSES: ClassNumbers = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Place:
    """What holds for all members of a network on a bridge: how its connections are judged, None: not; its router.

    router_mac: that of the routers of other networks, where this one has none and some other has.
    """

    judged: Judged | None = None
    router: Router | None = None
    router_mac: Mac | None = None

    @property
    def leaves_by(self) -> WayOut | None:
        """The uplink on this bridge at which members are known under their own addresses, if they are."""
        if self.router is None or self.router.nat:
            return None
        way_out = self.router.way_out
        return way_out if way_out is not None and way_out.here else None


NOWHERE = Place()


class MemberView:
    """An endpoint in one of its networks, on the port where it was observed.

    place: how its network is judged and routed. classes: (IP version, address) -> which rules name it, where any does.
    beside: where the members of its networks are, if it is a router.

    port: its ofport. mac: None where the switch learns. ipv4, ipv6: its declared addresses in this network as integers,
    the link-local address of its MAC among them where it has any IPv6. tag: the VID on its port, None: plain frames.
    shared: the same endpoint in all its networks, where it is untagged in several.
    remote: it is on another host, and `port` is the carrier that leads there. bridge: the one that sees it so.
    """

    __slots__ = (
        "beside",
        "bridge",
        "classes",
        "endpoint",
        "ipv4",
        "ipv6",
        "judged",
        "leaves_by",
        "mac",
        "network",
        "number",
        "open",
        "origin",
        "port",
        "remote",
        "router",
        "shared",
        "tag",
    )

    def __init__(
        self,
        network: Network,
        endpoint: Endpoint,
        port: int,
        shared: SharedMember | None,
        remote: bool = False,
        classes: ClassNumbers = NO_CLASSES,
        beside: tuple[Cidr, ...] = (),
        *,
        place: Place = NOWHERE,
        bridge: BridgeView = ABLE,
    ) -> None:
        self.bridge = bridge
        self.judged = place.judged
        self.router = place.router
        self.leaves_by = place.leaves_by
        self.classes = classes
        self.beside = beside
        self.network = network
        self.endpoint = endpoint
        self.port = port
        self.shared = shared
        self.remote = remote
        self.number = network.number
        self.open = network.members is Members.OPEN
        self.mac: Mac | None = endpoint.mac
        self.tag = tag_of(network, endpoint.native) if endpoint.attach is Attach.TAGGED else None
        self.origin = pointer("endpoints", endpoint.name)
        self.ipv4, self.ipv6 = addresses_in(endpoint, network)


@dataclass(frozen=True, slots=True)
class Carried:
    """A network on the way to other hosts: the trunk or tunnel port that leads there.

    vni: the tunnel key that tells it there, None: not a tunnel. tag: the VID that tells it on a trunk, None: its frames
    are plain. learning: how many of its ports there learn. peopled: members are there; else a router only leads there.
    to_uplink: the host that has the network's uplink is there.
    """

    port: int
    vni: int | None
    tag: int | None
    learning: int
    peopled: bool = True
    to_uplink: bool = False


@dataclass(frozen=True, slots=True)
class CarriedView:
    """One of a network's ways to other hosts. origin: of the network."""

    network: Network
    carried: Carried
    origin: str
    place: Place = NOWHERE


@dataclass(frozen=True, slots=True)
class NetworkView:
    """A network and its members' ports on this bridge, ascending. learning: those whose MACs the switch learns.

    carried: the carriers to other hosts that have members of it.
    """

    network: Network
    ports: tuple[int, ...]
    learning: tuple[int, ...]
    carried: tuple[Carried, ...] = ()
    place: Place = NOWHERE

    @property
    def judged(self) -> Judged | None:
        return self.place.judged

    @property
    def router(self) -> Router | None:
        return self.place.router

    @property
    def origin(self) -> str:
        return pointer("networks", self.network.name)


def learned_cookie(network: Network, port: int) -> int:
    """The cookie of what is learned on a port in a network: the switch counts its limit by it."""
    return content_cookie(OWNER_LEARNED, (network.number, port))


@dataclass(frozen=True, slots=True)
class SharedView:
    """All untagged shared members of the bridge, by port. remote: those on other hosts, each behind its carrier."""

    members: tuple[SharedMember, ...]
    remote: tuple[SharedMember, ...] = ()
