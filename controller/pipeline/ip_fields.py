"""The fields of the two IP versions side by side, so that a stage says once what holds for both. PURE."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network

from controller.flow.fields import (
    CT_IPV6_DST,
    CT_IPV6_SRC,
    CT_NW_DST,
    CT_NW_SRC,
    CT_STATE,
    ETH_TYPE,
    IP_FRAG,
    IPV4_DST,
    IPV4_SRC,
    IPV6_DST,
    IPV6_SRC,
    NEXT_HOP,
    NEXT_HOP6,
    CtState,
    Field,
    Slice,
    Term,
)
from controller.pipeline.protocols import IPV4, IPV6
from controller.policy.model import Address, Cidr


@dataclass(frozen=True, slots=True)
class IpFields:
    """Of one IP version. origin, target: the addresses of the packet that opened the connection (ovs-fields(7))."""

    version: int
    eth_type: int
    source: Field
    destination: Field
    origin: Field
    target: Field
    next_hop: Slice

    @property
    def is_it(self) -> Term:
        return ETH_TYPE(self.eth_type)


BY_VERSION: Mapping[int, IpFields] = {
    4: IpFields(4, IPV4, IPV4_SRC, IPV4_DST, CT_NW_SRC, CT_NW_DST, NEXT_HOP),
    6: IpFields(6, IPV6, IPV6_SRC, IPV6_DST, CT_IPV6_SRC, CT_IPV6_DST, NEXT_HOP6),
}


def ct_state(having: CtState, lacking: CtState | None = None) -> Term:
    """Conntrack was asked, and these of its flags are set and those are not."""
    having |= CtState.TRK
    return CT_STATE(int(having), int(having if lacking is None else having | lacking))


TRACKED = ct_state(CtState.TRK, CtState.INV)
"""Conntrack was asked and knows what the packet belongs to; what every look at a ct_ field needs beside it."""
NEW = ct_state(CtState.NEW)
FRAGMENT = IP_FRAG(1, 1)
LATER_FRAGMENT = IP_FRAG(2, 2)
"""It has no ports, and Open vSwitch in userspace tells none of its connection either."""


NOBODYS: tuple[Cidr, ...] = (
    IPv4Network("0.0.0.0/8"),
    IPv4Network("127.0.0.0/8"),
    IPv4Network("224.0.0.0/3"),
    IPv6Network("::/127"),
    IPv6Network("fe80::/10"),
    IPv6Network("ff00::/8"),
)
"""No host has such an address that others could answer to by way of a router (RFC 6890)."""


def fields_of(address: Address | Cidr) -> IpFields:
    return BY_VERSION[address.version]


def prefix(field: Field, cidr: Cidr) -> tuple[Term, ...]:
    """The condition that a field's address lies in a prefix; none for the prefix that holds everything."""
    return (field(int(cidr.network_address), int(cidr.netmask)),) if cidr.prefixlen else ()
