"""What the stages see of routers, uplinks and rewrites on one bridge. PURE: small values, as in `view`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from controller.errors import pointer
from controller.mac import Mac
from controller.policy.firewall import Decision
from controller.policy.model import Address, Attached, Cidr, Uplink
from controller.policy.peers import in_any


@dataclass(frozen=True, slots=True)
class WayOut:
    """Where packets for the outside go from this bridge.

    here: `port` is the uplink's own; else it leads to the host that has the uplink, and packets go there as they are.
    """

    uplink: int
    port: int
    here: bool


@dataclass(frozen=True, slots=True)
class Router:
    """The router of a routed network. advertises: see BridgeView.

    translates: the IP versions whose packets get another source outwards, whichever member sends them.
    elsewhere: its addresses at the uplink, for itself and for members, where the uplink is on another host.
    """

    mac: Mac
    gateways: tuple[Address, ...]
    nat: bool
    way_out: WayOut | None
    translates: tuple[int, ...]
    advertises: bool = True
    elsewhere: tuple[Address, ...] = ()


@dataclass(frozen=True, slots=True)
class Judged:
    """A tracked network: its own conntrack zone, and what becomes of connections that no rule is about.

    Within the network, and from the outside to it; None: as rewrites say.
    """

    zone: int
    within: Decision
    inwards: Decision | None = None


@dataclass(frozen=True, slots=True)
class RealmView:
    """What all bridges know alike of rules and routers.

    prefixes: with the class of their addresses. pairs: (origin, target, decision), by Network.number; 0: the outside.
    between: what becomes of connections between two networks otherwise. router_mac: None where nothing is routed.
    inside: the prefixes of the networks. routed: those of routed ones. led: where rewrites lead to from outside.
    """

    prefixes: tuple[tuple[Cidr, int], ...] = ()
    pairs: tuple[tuple[int, int, Decision], ...] = ()
    between: Decision = Decision.DROP
    router_mac: Mac | None = None
    inside: tuple[Cidr, ...] = ()
    routed: tuple[Cidr, ...] = ()
    led: tuple[Led, ...] = ()


@dataclass(frozen=True, slots=True)
class Led:
    """A member's address, and what of it the outside reaches by a rewrite. protocol, l4_port: None: everything."""

    origin: str
    network: int
    address: Address
    protocol: int | None
    l4_port: int | None


@dataclass(frozen=True, slots=True)
class Outward:
    """Packets outwards from a network, or from one member's address in it, get a source from first .. last."""

    origin: str
    network: int
    first: Address
    last: Address
    member: Address | None = None


@dataclass(frozen=True, slots=True)
class Inward:
    """What comes for an outside address leads to a member.

    protocol, l4_port: None: whatever it is. targets: (address, l4_port or None), in the order in which they are chosen.
    network: of the targets. hairpin: the source that packets from inside get on this way.
    """

    origin: str
    network: int
    address: Address
    protocol: int | None
    l4_port: int | None
    targets: tuple[tuple[Address, int | None], ...]
    hairpin: Address


@dataclass(frozen=True, slots=True)
class Exchange:
    """An outside address and a member's stand for each other, packet by packet. hairpin: as of Inward."""

    origin: str
    network: int
    address: Address
    member: Address
    hairpin: Address


@dataclass(frozen=True, slots=True)
class UplinkView:
    """An uplink whose port is on this bridge.

    mac: the router's there; router_mac: the one that it has in networks. refused: prefixes that are elsewhere, whose
    addresses nobody behind this uplink has. known: prefixes of the networks whose members have an address here.
    hidden: the numbers of all other networks with a router. elsewhere: addresses of other uplinks.
    """

    uplink: Uplink
    port: int
    mac: Mac
    router_mac: Mac
    refused: tuple[Cidr, ...]
    known: tuple[Cidr, ...] = ()
    hidden: tuple[int, ...] = ()
    elsewhere: tuple[Address, ...] = ()
    outward: tuple[Outward, ...] = ()
    inward: tuple[Inward, ...] = ()
    exchanges: tuple[Exchange, ...] = ()
    advertises: bool = True

    @property
    def number(self) -> int:
        return self.uplink.number

    @property
    def origin(self) -> str:
        return pointer("uplinks", self.uplink.name)

    @property
    def segments(self) -> tuple[Cidr, ...]:
        return tuple(dict.fromkeys(attached.network for attached in self.uplink.addresses))

    def outside_addresses(self) -> tuple[Address, ...]:
        """Those that conntrack leads from or to, each once; not those that stand for a member packet by packet.

        All of the uplink's own are among them: connections go on under one that others came to be led out under.
        """
        return tuple(dict.fromkeys(self._outside_addresses()))

    def _outside_addresses(self) -> Iterator[Address]:
        if self.outward or self.inward or self.exchanges:
            yield from (attached.ip for attached in self.uplink.addresses)
        for outward in self.outward:
            first, last = int(outward.first), int(outward.last)
            yield from (type(outward.first)(value) for value in range(first, last + 1))
        for inward in self.inward:
            yield from (inward.address, inward.hairpin)
        yield from (exchange.hairpin for exchange in self.exchanges)

    def answered(self) -> tuple[Address, ...]:
        """The addresses on its segments for which the switch answers."""
        own: tuple[Attached, ...] = self.uplink.addresses
        on_link = (a for a in self._of_rewrites() if in_any(a, self.segments))
        return tuple(dict.fromkeys((*(attached.ip for attached in own), *on_link)))

    def addresses(self) -> tuple[Address, ...]:
        """Every address that the router has here, by itself or for a member."""
        return tuple(dict.fromkeys((*(attached.ip for attached in self.uplink.addresses), *self._of_rewrites())))

    def _of_rewrites(self) -> tuple[Address, ...]:
        return (*self.outside_addresses(), *(exchange.address for exchange in self.exchanges))
