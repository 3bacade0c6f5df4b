"""Who is meant by the numbers and addresses that a packet-in carries. PURE; what was looked up once is kept."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from controller.errors import pointer
from controller.mac import Mac
from controller.policy.firewall import Rule
from controller.policy.model import OUTSIDE, Address, Network, Policy, Uplink, first_address, ips_in

_RULES = pointer("rules", "")


def rule_in(origin: str) -> str | None:
    """The name of the rule in which a place in the policy is; None where it is in none. Names need no escapes."""
    return origin.removeprefix(_RULES).partition("/")[0] if origin.startswith(_RULES) else None


class Directory:
    """Of one policy."""

    def __init__(self, policy: Policy) -> None:
        self.policy = policy
        self._members: dict[str, Mapping[Address, str]] = {}

    @cached_property
    def _networks(self) -> Mapping[int, Network]:
        return {network.number: network for network in self.policy.networks.values()}

    @cached_property
    def _uplinks(self) -> Mapping[int, Uplink]:
        return {uplink.number: uplink for uplink in self.policy.uplinks.values()}

    def uplink(self, number: int) -> Uplink | None:
        """The uplink whose segment has this number."""
        return self._uplinks.get(number)

    def router(self, number: int, version: int) -> Address | None:
        """The router's first address of an IP version in a network or on an uplink; None where it has none."""
        network, uplink = self._networks.get(number), self._uplinks.get(number)
        if uplink is not None:
            return first_address(uplink, version)
        gateways = () if network is None else network.gateways
        return next((address for address in gateways if address.version == version), None)

    def router_mac(self, uplink: Uplink) -> Mac:
        """What the router has on an uplink."""
        return self.policy.defaults.router_mac if uplink.mac is None else uplink.mac

    def asker(self, uplink: Uplink, next_hop: Address) -> Address | None:
        """The router's first address on the segment that a next hop is on, else of its IP version."""
        near = (attached.ip for attached in uplink.addresses if next_hop in attached.network)
        return next(near, None) or self.router(uplink.number, next_hop.version)

    def rule(self, origin: str) -> Rule | None:
        """The rule that a flow comes from, by the flow's origin; None where it comes from none."""
        name = rule_in(origin)
        return None if name is None else self.policy.rules.get(name)

    def name(self, number: int) -> str | None:
        """A network's name; OUTSIDE for an uplink's segment."""
        network = self._networks.get(number)
        if network is None:
            return OUTSIDE if number in self._uplinks else None
        return network.name

    def endpoint(self, number: int, address: Address) -> str | None:
        """The endpoint that has an address in a network, by name."""
        network = self._networks.get(number)
        if network is None:
            return None
        members = self._members.get(network.name)
        if members is None:
            members = self._members[network.name] = {
                address: endpoint.name
                for endpoint in self.policy.members[network.name]
                for address in ips_in(endpoint, network)
            }
        return members.get(address)


@dataclass(frozen=True, slots=True)
class PuntView:
    """What must be known to answer a packet that a bridge hands over.

    dpid, name: of the bridge. uplinks: name -> ofport, of those on it. tables: name of a stage -> its number.
    """

    dpid: int
    name: str
    directory: Directory
    uplinks: Mapping[str, int]
    tables: Mapping[str, int]
