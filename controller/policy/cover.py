"""Whether one rule is about everything that another one is about: peers and services held against each other. PURE.

Exact where it says yes. It says no where only several together would cover, and where what is there would have to be
known better than the policy does.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping

from controller.policy.firewall import IcmpType, Peers, PortRange, Service
from controller.policy.model import Address, Cidr, Endpoint
from controller.policy.peers import Block, ResolvedGroup, in_any, unite
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
    """Both as `Service` has them: sorted and apart, so that each range lies in one other, if in any."""
    if not wide:
        return True
    if not narrow or narrow[0].first < wide[0].first:
        return False
    nearest = (wide[bisect_right(wide, each.first, key=_first) - 1] for each in narrow)
    return all(each.last <= outer.last for each, outer in zip(narrow, nearest, strict=True))


def _first(ports: PortRange) -> int:
    return ports.first


def _icmp_covers(wide: tuple[IcmpType, ...], narrow: tuple[IcmpType, ...]) -> bool:
    if not wide:
        return True
    return bool(narrow) and all(each in wide or IcmpType(each.type) in wide for each in narrow)


COMPARISONS = 300_000
"""How often, in one look, prefixes are held against each other; what would take more is not covered."""


class PeerCovers:
    """Which of many peers cover which. Lives for one look at one policy.

    Each thing that is named has the set of those that mean all of it, found once; who covers peers is in the sets of
    all that they name.
    """

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
        self._by_network: dict[str, list[int]] = {}
        self._outside: list[int] = []
        self._coverers: dict[int, frozenset[int]] = {}
        self._of_endpoint: dict[str, frozenset[int]] = {}
        self._of_block: dict[Block, frozenset[int]] = {}
        self._blocks: dict[int, frozenset[Block]] = {}
        self._left = COMPARISONS
        by_cidr: dict[Cidr, list[tuple[int, tuple[Cidr, ...]]]] = {}
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
                by_cidr.setdefault(cidr, []).append((number, ()))
        for name, namers in self._naming.items():
            group = groups[name]
            self._enter(group.networks, group.outside, namers)
            for block in group.blocks:
                for cidr in block.cidrs:
                    by_cidr.setdefault(cidr, []).extend((number, block.excluded) for number in namers)
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
        number = self._numbers[peers]
        found = self._coverers.get(number)
        if found is None:
            found = frozenset((number,))
            for part in () if peers.anybody else self._parts(self._united[number]):
                found = part if found == {number} else found & part
                if len(found) == 1:
                    break
            endpoints = self._united[number].endpoints
            if len(found) > 1 and len(endpoints) > 1:
                found = frozenset(wide for wide in found if self._means_all(wide, endpoints))
            found = self._coverers[number] = found.union(self._anybody)
        return found

    def united(self, peers: Peers) -> ResolvedGroup:
        """All that peers mean."""
        return self._united[self._numbers[peers]]

    def _parts(self, narrow: ResolvedGroup) -> Iterator[frozenset[int]]:
        """For each thing that is named, but of the endpoints one, those that mean all of it."""
        for name in narrow.networks:
            yield frozenset(self._by_network[name])
        if narrow.outside:
            yield frozenset(self._outside)
        for block in narrow.blocks:
            yield self._meaning_block(block)
        if narrow.endpoints:
            yield self._meaning_endpoint(min(narrow.endpoints))

    def _means_all(self, wide: int, endpoints: frozenset[str]) -> bool:
        united = self._united[wide]
        others = endpoints - united.endpoints
        if others and not (united.networks or united.blocks):
            return False
        return all(wide in self._meaning_endpoint(name) for name in others)

    def _meaning_endpoint(self, name: str) -> frozenset[int]:
        """Those that mean an endpoint wherever it is: by its name, all of its networks, or all of its addresses."""
        found = self._of_endpoint.get(name)
        if found is None:
            endpoint = self._endpoints[name]
            addresses = list(endpoint.ips)
            if endpoint.mac is not None and any(ip.version == 6 for ip in addresses):
                addresses.append(endpoint.mac.link_local)
            by_networks = [frozenset(self._by_network.get(network, ())) for network in endpoint.networks]
            by_addresses = [frozenset(self._meaning(address)) for address in addresses] or [frozenset()]
            namers = (numbers for group, numbers in self._naming.items() if name in self._groups[group].endpoints)
            found = frozenset(self._by_endpoint.get(name, ())).union(
                *namers, by_networks[0].intersection(*by_networks[1:]), by_addresses[0].intersection(*by_addresses[1:])
            )
            self._of_endpoint[name] = found
        return found

    def _meaning(self, address: Address) -> Iterator[int]:
        for _, namers in self._by_cidr.holding(address):
            for number, excluded in namers:
                if not (excluded and in_any(address, excluded)):
                    yield number

    def _meaning_block(self, narrow: Block) -> frozenset[int]:
        """Those that hold each prefix in one of their blocks, less no more than is excluded here."""
        found = self._of_block.get(narrow)
        if found is None:
            holding = self._by_cidr.holding(narrow.cidrs[0].network_address)
            named = {number for _, namers in holding for number, _ in namers}
            found = frozenset(each for each in sorted(named) if self._covers(each, narrow))
            self._of_block[narrow] = found
        return found

    def _covers(self, number: int, narrow: Block) -> bool:
        """As _block_covered, as long as there is time for it. Most often the block itself is one of the other."""
        wide = self._united[number].blocks
        same = self._blocks.get(number)
        if same is None:
            same = self._blocks[number] = frozenset(wide)
        if narrow in same:
            return True
        size = sum(len(block.cidrs) + len(block.excluded) for block in wide)
        self._left -= size * len(narrow.cidrs) * (1 + len(narrow.excluded))
        return self._left >= 0 and _block_covered(narrow, wide)


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
