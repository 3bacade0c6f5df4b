"""What a user may say about addresses and ports that are rewritten at an uplink. PURE: frozen values.

Every rewrite belongs to a network with an uplink, and happens on the host that has this uplink. `outside` addresses
are those under which the world knows the network; the switch answers for them on the uplink. A member that uses such
an address reaches what it leads to, too (hairpin).
"""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from typing import assert_never


@dataclass(frozen=True, slots=True)
class Target:
    """Where a forward leads: an endpoint, at its first address in the rewrite's network of the IP version at hand.

    l4_port: None: the port stays as it is.
    """

    endpoint: str
    l4_port: int | None = None


@dataclass(frozen=True, slots=True)
class Masquerade:
    """Connections outwards get the uplink's first address as their source. A NAT network does so by itself."""

    name: str
    network: str


@dataclass(frozen=True, slots=True)
class Snat:
    """Connections outwards get a source in first .. last, both included, of one IP version."""

    name: str
    network: str
    first: IPv4Address | IPv6Address
    last: IPv4Address | IPv6Address


@dataclass(frozen=True, slots=True)
class Forward:
    """Connections from outside to a port of an outside address lead to a member; several targets share them.

    protocol: 6, 17 or 132; None (DNAT): every protocol and port, then l4_port is None and so are the targets'.
    address: None: the uplink's first address of each IP version that all targets have.
    """

    name: str
    network: str
    protocol: int | None
    l4_port: int | None
    targets: tuple[Target, ...]
    address: IPv4Address | IPv6Address | None = None


@dataclass(frozen=True, slots=True)
class OneToOne:
    """An outside address and a member's stand for each other, in both directions and for everything.

    stateless: header fields are replaced packet by packet, without conntrack; then ICMP errors keep the inner header
    as it is, so that those from outside belong to no connection and are dropped.
    """

    name: str
    network: str
    address: IPv4Address | IPv6Address
    target: Target
    stateless: bool = False


Rewrite = Masquerade | Snat | Forward | OneToOne


def targets_of(rewrite: Rewrite) -> tuple[Target, ...]:
    """The members that a rewrite leads to."""
    match rewrite:
        case Forward():
            return rewrite.targets
        case OneToOne():
            return (rewrite.target,)
        case Masquerade() | Snat():
            return ()
        case never:
            assert_never(never)
