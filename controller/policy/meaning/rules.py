"""Who opens a connection to whom, and what rules and defaults decide about it. PURE."""

from __future__ import annotations

from collections.abc import Container, Set
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network
from typing import Final

from controller.flow.packet import ICMP, ICMPV6
from controller.policy.firewall import Action, Decision, Group, OnChange, Peers, PortRange, Rule, Service
from controller.policy.meaning.connections import FiveTuple
from controller.policy.meaning.grouping import with_holders
from controller.policy.meaning.here import Here
from controller.policy.meaning.rewriting import is_led_to
from controller.policy.model import OUTSIDE, Address, Endpoint, Mode, Network, Policy, ips_in

_TO_ALL: Final = IPv4Address("255.255.255.255")
_DECIDING: Final = {Action.ALLOW: Decision.ALLOW, Action.DROP: Decision.DROP, Action.REJECT: Decision.REJECT}


@dataclass(frozen=True, slots=True)
class Party:
    """One side of a connection. network: a name; None: the outside. endpoint: whose address it is, if a member's.

    address: None stands for one that nobody knows (`reachability`): no cidr holds it.
    """

    network: str | None
    endpoint: Endpoint | None = None
    address: Address | None = None


@dataclass(frozen=True, slots=True)
class Decided:
    """rule: the one that decided, or "" where none did. keep: its on_change. logged: the rules that write a line."""

    decision: Decision
    rule: str
    keep: bool
    logged: tuple[str, ...]


def is_group_address(address: Address, network: Network) -> bool:
    """Whether it is for many: multicast, the broadcast of everywhere, or that of one of the network's cidrs."""
    edges = [c.broadcast_address for c in network.cidrs if isinstance(c, IPv4Network) and c.prefixlen < 31]
    return address.is_multicast or address == _TO_ALL or address in edges


def is_link_local(address: Address) -> bool:
    """fe80::/10, which no router passes on (RFC 4291 section 2.5.6)."""
    return address.version == 6 and address.is_link_local


def routed_member(policy: Policy, present: Container[str], address: Address) -> tuple[Endpoint, Network] | None:
    """The member of a network with a router that is declared to have this address, if it is there; no other has it."""
    for network in policy.networks.values():
        if network.routed and not is_link_local(address):
            for member in policy.members[network.name]:
                if member.name in present and address in ips_in(member, network):
                    return member, network
    return None


def party(here: Here, address: Address, *, is_local: bool) -> Party:
    """Whose address it is, in a packet that is in this network. is_local: the packet is for nowhere else.

    Who has no address yet (0.0.0.0, ::) is somebody in the network.
    """
    network = here.network
    if is_group_address(address, network):
        return Party(network.name, None, address)
    if not is_local:
        found = routed_member(here.policy, here.bindings, address)
        return Party(None, None, address) if found is None else Party(found[1].name, found[0], address)
    return Party(network.name, here.owner(int(address), address.version), address)


# Who is meant


def selects(policy: Policy, peers: Peers, who: Party) -> bool:
    """Whether a rule's from or to is about this side."""
    return is_among(peers, who, groups_of(policy, who) if peers.groups else frozenset())


def is_among(peers: Peers, who: Party, groups: Set[str]) -> bool:
    """As `selects`, of a side that is in these groups."""
    return peers.anybody or _names(peers, who) or not groups.isdisjoint(peers.groups)


def groups_of(policy: Policy, who: Party) -> frozenset[str]:
    """The groups that a side is in: by what they say themselves, or by a group in them."""
    return with_holders(policy, (name for name, group in policy.groups.items() if _says(group, who)))


def _names(peers: Peers, who: Party) -> bool:
    return (
        who.network in peers.networks
        or (who.endpoint is not None and who.endpoint.name in peers.endpoints)
        or (peers.outside and who.network is None)
        or _holds(peers, who.address)
    )


def _holds(peers: Peers, address: Address | None) -> bool:
    return address is not None and any(address in cidr for cidr in peers.cidrs if cidr.version == address.version)


def _says(group: Group, who: Party) -> bool:
    if group.selector and who.endpoint is not None and set(group.selector) <= set(who.endpoint.labels):
        return True
    members = group.members
    if who.address is not None and any(who.address in c for c in group.excluded if c.version == who.address.version):
        members = Peers(members.endpoints, members.networks, members.groups, members.outside)
    return _names(members, who)


# What is meant


def covers(service: Service, opened: FiveTuple) -> bool:
    """Whether a rule's service is that of the connection."""
    if service.protocol is not None and not _is_protocol(service.protocol, opened):
        return False
    return (
        _in_ranges(service.ports, opened.target_port)
        and _in_ranges(service.source_ports, opened.source_port)
        # What opens a connection has code 0.
        and (not service.icmp or any(i.type == opened.source_port and i.code in (None, 0) for i in service.icmp))
    )


def _is_protocol(protocol: int, opened: FiveTuple) -> bool:
    return protocol == opened.protocol and (protocol not in (ICMP, ICMPV6) or opened.is_icmp)


def _in_ranges(ranges: tuple[PortRange, ...], l4_port: int) -> bool:
    return not ranges or any(r.first <= l4_port <= r.last for r in ranges)


# What is decided


def decide(policy: Policy, opened: FiveTuple, origin: Party, target: Party) -> Decided:
    """Tier by tier the first rule that is about the connection; where no tier decides, the defaults."""
    logged: list[str] = []
    for tier in policy.tiers:
        for rule in policy.rules.values():
            if rule.tier != tier or not _is_about(policy, rule, opened, origin, target):
                continue
            if rule.log is not None:
                logged.append(rule.name)
            if rule.action is Action.PASS:
                break
            if rule.action is not Action.LOG:
                keep = rule.on_change is OnChange.KEEP
                return Decided(_DECIDING[rule.action], rule.name, keep, tuple(logged))
    return Decided(default(policy, opened, origin, target), "", False, tuple(logged))


def _is_about(policy: Policy, rule: Rule, opened: FiveTuple, origin: Party, target: Party) -> bool:
    return (
        covers(rule.service, opened) and selects(policy, rule.origin, origin) and selects(policy, rule.target, target)
    )


def default(policy: Policy, opened: FiveTuple | None, origin: Party, target: Party) -> Decision:
    """What holds where no rule decides. opened: None where neither side is the outside."""
    defaults = policy.defaults
    ends = (origin.network or OUTSIDE, target.network or OUTSIDE)
    for pair in defaults.pairs:
        if (pair.origin, pair.target) == ends:
            return pair.decision
    if origin.network is not None and target.network is not None:
        return defaults.intra_network if origin.network == target.network else defaults.inter_network
    if origin.network is None and target.network is None:
        return Decision.DROP
    if origin.network is not None or policy.networks[target.network or ""].mode is Mode.ROUTED:
        return Decision.ALLOW
    is_led = opened is not None and is_led_to(policy, target.network or "", opened)
    return Decision.ALLOW if is_led else Decision.DROP
