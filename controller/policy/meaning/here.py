"""One network on one bridge, as a frame finds it there. PURE."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from controller.mac import Mac
from controller.policy.model import Endpoint, Network, Policy, ips_in

Learned = Mapping[tuple[str, Mac], int]
"""(network name, MAC) -> the ofport that MAC was last seen on. Never mutated."""
NOTHING_LEARNED: Final[Learned] = MappingProxyType({})


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


def addresses(endpoint: Endpoint, network: Network, version: int) -> frozenset[int]:
    """What an endpoint may call itself in a network. IPv6: link-local too, but only beside a declared address."""
    declared = frozenset(int(ip) for ip in ips_in(endpoint, network) if ip.version == version)
    if version == 6 and declared and endpoint.mac:
        return declared | {int(endpoint.mac.link_local)}
    return declared


def is_group(ipv6: int) -> bool:
    """Whether it is a multicast address (RFC 4291 section 2.7)."""
    return ipv6 >> 120 == 0xFF
