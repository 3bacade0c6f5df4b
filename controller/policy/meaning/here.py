"""One network on one bridge, as a frame finds it there. PURE."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import IPv4Network
from typing import Final

from controller.policy.meaning.known import Learned
from controller.policy.model import Address, Cidr, Endpoint, Network, Policy, ips_in

_THIS_NETWORK: Final = IPv4Network("0.0.0.0/8")
_RESERVED: Final = IPv4Network("240.0.0.0/4")


@dataclass(frozen=True)
class Here:
    """bindings: endpoint name -> ofport. advertises: whether the switch can make neighbor advertisements."""

    policy: Policy
    bindings: Mapping[str, int]
    network: Network
    learned: Learned
    advertises: bool

    @property
    def members(self) -> list[Endpoint]:
        return [member for member in self.policy.members[self.network.name] if member.name in self.bindings]

    @property
    def declared(self) -> list[Endpoint]:
        return [member for member in self.members if member.mac is not None]

    def owner(self, address: int, version: int) -> Endpoint | None:
        """The member that is declared to have this address here."""
        return next((m for m in self.declared if address in addresses(m, self.network, version)), None)

    def is_gateway(self, address: int, version: int) -> bool:
        """Whether it is the router's address here."""
        return any(version == gateway.version and address == int(gateway) for gateway in self.network.gateways)

    def is_beyond(self, member: Endpoint, address: Address) -> bool:
        """Whether an address is reached through a member that is a router of its own.

        Not if it is of a network that the member is in or of another member there, or no address of a host at all.
        """
        networks = [self.policy.networks[name] for name in member.networks]
        return (
            is_in(address, member.routes)
            and not any(is_in(address, network.cidrs) for network in networks)
            and not any(address in ips_in(one, n) for n in networks for one in self.policy.members[n.name])
            and is_of_host(address)
        )

    @property
    def router_mac(self) -> int:
        return self.policy.defaults.router_mac.value


def is_in(address: Address, cidrs: tuple[Cidr, ...]) -> bool:
    """Whether one of the prefixes holds the address."""
    return any(address in cidr for cidr in cidrs if cidr.version == address.version)


def addresses(endpoint: Endpoint, network: Network, version: int) -> frozenset[int]:
    """What an endpoint may call itself in a network. IPv6: link-local too, but only beside a declared address."""
    declared = frozenset(int(ip) for ip in ips_in(endpoint, network) if ip.version == version)
    if version == 6 and declared and endpoint.mac:
        return declared | {int(endpoint.mac.link_local)}
    return declared


def is_of_host(address: Address) -> bool:
    """Whether some host beyond the link may have it (RFC 6890): a unicast address that means the same everywhere."""
    if address.is_unspecified or address.is_loopback or address.is_multicast:
        return False
    return not (address in _THIS_NETWORK or address in _RESERVED if address.version == 4 else address.is_link_local)


def is_group(ipv6: int) -> bool:
    """Whether it is a multicast address (RFC 4291 section 2.7)."""
    return ipv6 >> 120 == 0xFF
