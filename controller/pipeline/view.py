"""What the stages see of a policy on one bridge. PURE: small values, made of the policy and the ofports observed.

Each view is the whole input of a compilation unit: equal views have equal flows.
"""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address

from controller.errors import pointer
from controller.flow.flow import OWNER_LEARNED, content_cookie
from controller.mac import Mac
from controller.policy.model import Attach, Endpoint, Members, Network, ips_in


@dataclass(frozen=True, slots=True)
class BridgeView:
    """What every bridge has, whatever the policy says."""


class MemberView:
    """An endpoint in one of its networks, on the port where it was observed.

    port: its ofport. mac: None where the switch learns. ipv4, ipv6: its declared addresses in this network as integers,
    the link-local address of its MAC among them where it has any IPv6. tag: the VID on its port, None: plain frames.
    """

    __slots__ = ("endpoint", "ipv4", "ipv6", "mac", "network", "number", "open", "origin", "port", "tag")

    def __init__(self, network: Network, endpoint: Endpoint, port: int) -> None:
        self.network = network
        self.endpoint = endpoint
        self.port = port
        self.number = network.number
        self.open = network.members is Members.OPEN
        self.mac: Mac | None = endpoint.mac
        self.tag: int | None = network.vlan if endpoint.attach is Attach.TAGGED else None
        self.origin = pointer("endpoints", endpoint.name)
        addresses = ips_in(endpoint, network)
        self.ipv4 = tuple(int(ip) for ip in addresses if isinstance(ip, IPv4Address))
        ipv6 = tuple(ip for ip in addresses if isinstance(ip, IPv6Address))
        if ipv6 and endpoint.mac is not None and endpoint.mac.link_local not in ipv6:
            ipv6 = (*ipv6, endpoint.mac.link_local)
        self.ipv6 = tuple(int(ip) for ip in ipv6)

    @property
    def learned_cookie(self) -> int:
        """The cookie of what is learned on this port in this network: the switch counts its limit by it."""
        return content_cookie(OWNER_LEARNED, (self.number, self.port))


@dataclass(frozen=True, slots=True)
class NetworkView:
    """A network and its members' ports on this bridge, ascending. learning: those whose MACs the switch learns."""

    network: Network
    ports: tuple[int, ...]
    learning: tuple[int, ...]

    @property
    def origin(self) -> str:
        return pointer("networks", self.network.name)


@dataclass(frozen=True, slots=True)
class SharedMember:
    """An untagged member of several networks. networks: their numbers, in the document's order."""

    endpoint: str
    port: int
    networks: tuple[int, ...]

    @property
    def sender_set(self) -> int:
        """Non-zero 32-bit hash of the set of its networks."""
        return content_cookie(0, tuple(sorted(self.networks))) & 0xFFFFFFFF | 1

    @property
    def origin(self) -> str:
        return pointer("endpoints", self.endpoint)


@dataclass(frozen=True, slots=True)
class SharedView:
    """All untagged shared members of the bridge, by port."""

    members: tuple[SharedMember, ...]
