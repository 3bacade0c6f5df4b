"""Whether one rule is about everything that another one is about: peers and services held against each other. PURE.

Exact where it says yes. It says no where only several together would cover, and where what is there would have to be
known better than the policy does.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from controller.policy.firewall import IcmpType, Peers, PortRange, Service
from controller.policy.model import Address, Cidr, Endpoint
from controller.policy.peers import Block, ResolvedGroup, unite
from controller.policy.prefixes import Prefixes


def service_covers(wide: Service, narrow: Service) -> bool:
    """Whether all connections of a service are of another one, too."""
    if wide.protocol is None:
        return True
    return (
        wide.protocol == narrow.protocol
        and _ports_cover(wide.ports, narrow.ports)
        and _ports_cover(wide.source_ports, narrow.source_ports)
        and _icmp_covers(wide.icmp, narrow.icmp)
    )


def _ports_cover(wide: tuple[PortRange, ...], narrow: tuple[PortRange, ...]) -> bool:
    if not wide:
        return True
    within = (any(w.first <= n.first and n.last <= w.last for w in wide) for n in narrow)
    return bool(narrow) and all(within)


def _icmp_covers(wide: tuple[IcmpType, ...], narrow: tuple[IcmpType, ...]) -> bool:
    if not wide:
        return True
    return bool(narrow) and all(each in wide or IcmpType(each.type) in wide for each in narrow)


class PeerCovers:
    """Which of many peers cover which, each asked for once. Lives for one look at one policy."""

    def __init__(
        self, peers: Iterable[Peers], groups: Mapping[str, ResolvedGroup], endpoints: Mapping[str, Endpoint]
    ) -> None:
        self._groups = groups
        self._endpoints = endpoints
        self._numbers: dict[Peers, int] = {}
        self._united: list[ResolvedGroup] = []
        self._anybody: list[int] = []
        self._by_endpoint: dict[str, list[int]] = {}
        self._naming: dict[str, list[int]] = {}
        self._with: dict[str, frozenset[int]] = {}
        self._by_network: dict[str, list[int]] = {}
        self._outside: list[int] = []
        self._coverers: dict[int, frozenset[int]] = {}
        by_cidr: dict[Cidr, list[int]] = {}
        for each in dict.fromkeys(peers):
            number = self._numbers[each] = len(self._united)
            self._united.append(unite(each, groups))
            if each.anybody:
                self._anybody.append(number)
            for name in each.groups:
                self._naming.setdefault(name, []).append(number)
            for endpoint in each.endpoints:
                self._by_endpoint.setdefault(endpoint, []).append(number)
            self._enter(each.networks, each.outside, [number])
            for cidr in each.cidrs:
                by_cidr.setdefault(cidr, []).append(number)
        for name, namers in self._naming.items():
            group = groups[name]
            self._enter(group.networks, group.outside, namers)
            for cidr in (cidr for block in group.blocks for cidr in block.cidrs):
                by_cidr.setdefault(cidr, []).extend(namers)
        self._by_cidr = Prefixes(by_cidr.items())

    def _enter(self, networks: Iterable[str], outside: bool, namers: list[int]) -> None:
        for name in networks:
            self._by_network.setdefault(name, []).extend(namers)
        if outside:
            self._outside += namers

    def number(self, peers: Peers) -> int:
        """What stands for peers in the answers; equal peers have the same."""
        return self._numbers[peers]

    def coverers(self, peers: Peers) -> frozenset[int]:
        """Those that cover all of these peers; the peers themselves are among them. Both are among those given."""
        narrow = self._numbers[peers]
        found = self._coverers.get(narrow)
        if found is None:
            every = {*self._anybody, narrow}
            if not peers.anybody:
                every.update(wide for wide in self._candidates(self._united[narrow]) if self._covers(wide, narrow))
            found = self._coverers[narrow] = frozenset(every)
        return found

    def united(self, peers: Peers) -> ResolvedGroup:
        """All that peers mean."""
        return self._united[self._numbers[peers]]

    def _candidates(self, narrow: ResolvedGroup) -> set[int]:
        """Those that cover one part of it, chosen so that there are few."""
        if narrow.networks:
            return set(self._by_network.get(min(narrow.networks), ()))
        if narrow.outside:
            return set(self._outside)
        if narrow.blocks:
            return set(self._holding(narrow.blocks[0].cidrs[0].network_address))
        if not narrow.endpoints:
            return set()
        endpoint = self._endpoints[min(narrow.endpoints)]
        found = set(self._with_endpoint(endpoint.name))
        found.update(self._by_network.get(endpoint.networks[0], ()))
        if endpoint.ips:
            found.update(self._holding(endpoint.ips[0]))
        return found

    def _with_endpoint(self, name: str) -> frozenset[int]:
        """Those that name the endpoint, or a group that has it."""
        found = self._with.get(name)
        if found is None:
            namers = (one for group, one in self._naming.items() if name in self._groups[group].endpoints)
            found = self._with[name] = frozenset(self._by_endpoint.get(name, ())).union(*namers)
        return found

    def _holding(self, address: Address) -> Iterable[int]:
        return (number for _, namers in self._by_cidr.holding(address) for number in namers)

    def _covers(self, wide: int, narrow: int) -> bool:
        one, other = self._united[wide], self._united[narrow]
        return (
            other.networks <= one.networks
            and (one.outside or not other.outside)
            and all(_block_covered(block, one.blocks) for block in other.blocks)
            and all(self._within(self._endpoints[name], one) for name in other.endpoints - one.endpoints)
        )

    def _within(self, endpoint: Endpoint, wide: ResolvedGroup) -> bool:
        """Whether an endpoint is meant wherever it is: by all of its networks, or by all of its addresses."""
        if wide.networks.issuperset(endpoint.networks):
            return True
        addresses = list(endpoint.ips)
        if endpoint.mac is not None and any(ip.version == 6 for ip in addresses):
            addresses.append(endpoint.mac.link_local)
        return bool(addresses) and all(any(block.holds(ip) for block in wide.blocks) for ip in addresses)


def _block_covered(narrow: Block, wide: tuple[Block, ...]) -> bool:
    """Whether each prefix lies in one block, and what that block excludes is excluded here, too, or lies elsewhere."""

    def covers(block: Block, cidr: Cidr) -> bool:
        return any(_within(cidr, outer) for outer in block.cidrs) and all(
            not _meet(cidr, excluded) or any(_within(excluded, ours) for ours in narrow.excluded)
            for excluded in block.excluded
        )

    return all(any(covers(block, cidr) for block in wide) for cidr in narrow.cidrs)


def _within(narrow: Cidr, wide: Cidr) -> bool:
    return narrow.version == wide.version and narrow.prefixlen >= wide.prefixlen and narrow.network_address in wide


def _meet(one: Cidr, other: Cidr) -> bool:
    return _within(one, other) or _within(other, one)
