"""Whether the peers of one rule mean all that those of another one mean. PURE.

Exact where it says yes. It says no where only several together would cover, and where what is there would have to be
known better than the policy does.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from controller.policy.firewall import Peers
from controller.policy.model import Address, Cidr, Endpoint
from controller.policy.peers import Block, ResolvedGroup, in_any, unite
from controller.policy.prefixes import Prefixes

COMPARISONS = 300_000
"""How often, in one look, prefixes are held against each other; what would take more is not covered."""
ENDPOINTS_COMPARED = 100_000_000
"""How many endpoints, in one look, are looked for among others; what would take more is not covered."""
PAIR = 200
"""To hold peers against others takes as long as to look for so many endpoints, besides those that they have."""
PATCHED_UP_TO = 20_000
"""How many pairs of peers are held against each other where few peers have come to mean something else."""


@dataclass(frozen=True, eq=False)
class Covered:
    """Which of many peers cover which.

    united: all that each of the peers means. coverers: for each those that cover all of it, by their places in peers;
    itself is among them. groups, endpoints: what peers name.
    """

    peers: tuple[Peers, ...] = ()
    united: tuple[ResolvedGroup, ...] = ()
    coverers: tuple[frozenset[int], ...] = ()
    groups: Mapping[str, ResolvedGroup] = field(default_factory=dict)
    endpoints: Mapping[str, Endpoint] = field(default_factory=dict)


NOTHING_COVERED = Covered()


def find_coverers(
    peers: tuple[Peers, ...],
    groups: Mapping[str, ResolvedGroup],
    endpoints: Mapping[str, Endpoint],
    before: Covered = NOTHING_COVERED,
) -> Covered:
    """peers: each of them once. before: an earlier answer, since when no endpoint got other networks or addresses; what
    holds of it is kept, and where all of it does, it is the answer.
    """
    n_peers = len(peers)
    if peers == before.peers:
        known = before.groups
        changed = [i for i, one in enumerate(peers) if any(groups[name] is not known[name] for name in one.groups)]
        if not changed:
            return before
        united = list(before.united)
        for i in changed:
            united[i] = unite(peers[i], groups)
        look = _Look(peers, united, groups, endpoints)
        if len(changed) * n_peers <= PATCHED_UP_TO:
            others = frozenset(changed)
            found = list(before.coverers)
            for i, old in enumerate(before.coverers):
                among = range(n_peers) if i in others else changed
                kept = frozenset[int]() if i in others else old - others
                now = kept.union(wide for wide in among if look.covers(wide, i))
                found[i] = old if now == old else now
            return Covered(peers, tuple(united), tuple(found), groups, endpoints)
    else:
        united = [unite(each, groups) for each in peers]
        look = _Look(peers, united, groups, endpoints)
    return Covered(peers, tuple(united), tuple(map(look.coverers, range(n_peers))), groups, endpoints)


class _Look:
    """One look at peers, each known by its place. What is named is sorted by who names it, where that is needed."""

    def __init__(
        self,
        peers: tuple[Peers, ...],
        united: Sequence[ResolvedGroup],
        groups: Mapping[str, ResolvedGroup],
        endpoints: Mapping[str, Endpoint],
    ) -> None:
        self._peers = peers
        self._united = united
        self._groups = groups
        self._endpoints = endpoints
        self._anybody = frozenset(number for number, each in enumerate(peers) if each.anybody)
        self._of_endpoint: dict[str, frozenset[int]] = {}
        self._blocks: dict[int, frozenset[Block]] = {}
        self._left = COMPARISONS
        self._endpoints_left = ENDPOINTS_COMPARED

    def covers(self, wide: int, narrow: int) -> bool:
        """Whether one means all that another one does. Of peers about nobody only they themselves, and anybody, do."""
        if wide == narrow or wide in self._anybody:
            return True
        one, other = self._united[wide], self._united[narrow]
        if narrow in self._anybody or other.empty or other.outside > one.outside or not other.networks <= one.networks:
            return False
        self._endpoints_left -= PAIR + len(other.endpoints)
        if self._endpoints_left < 0:
            return False
        if not other.endpoints <= one.endpoints and not (
            (one.networks or one.blocks)
            and all(wide in self._meaning_endpoint(name) for name in other.endpoints - one.endpoints)
        ):
            return False
        return all(self._covers_block(wide, block) for block in other.blocks)

    def coverers(self, narrow: int) -> frozenset[int]:
        """All that cover it. Who covers peers is among those that mean each of the parts, however little of a block."""
        found: frozenset[int] | None = None
        hopeless = narrow in self._anybody or self._endpoints_left < 0
        for part in () if hopeless else self._parts(self._united[narrow]):
            found = part if found is None else found & part
            if len(found) == 1:
                break
        return self._anybody.union((narrow,), (wide for wide in found or () if self.covers(wide, narrow)))

    def _parts(self, narrow: ResolvedGroup) -> Iterator[frozenset[int]]:
        """For each thing that is named, but of the endpoints one, those that can mean all of it."""
        for name in narrow.networks:
            yield frozenset(self._index.by_network[name])
        if narrow.outside:
            yield frozenset(self._index.outside)
        for block in narrow.blocks:
            holding = self._index.by_cidr.holding(block.cidrs[0].network_address)
            yield frozenset(number for _, namers in holding for number, _ in namers)
        if narrow.endpoints:
            yield self._meaning_endpoint(min(narrow.endpoints))

    @cached_property
    def _index(self) -> _Index:
        return _Index(self._peers, self._groups)

    def _meaning_endpoint(self, name: str) -> frozenset[int]:
        """Those that mean an endpoint wherever it is: by its name, all of its networks, or all of its addresses."""
        found = self._of_endpoint.get(name)
        if found is None:
            endpoint, index = self._endpoints[name], self._index
            addresses = list(endpoint.ips)
            if endpoint.mac is not None and any(ip.version == 6 for ip in addresses):
                addresses.append(endpoint.mac.link_local)
            by_networks = [frozenset(index.by_network.get(network, ())) for network in endpoint.networks]
            by_addresses = [frozenset(index.meaning(address)) for address in addresses] or [frozenset()]
            namers = (numbers for group, numbers in index.naming.items() if name in self._groups[group].endpoints)
            found = frozenset(index.by_endpoint.get(name, ())).union(
                *namers, by_networks[0].intersection(*by_networks[1:]), by_addresses[0].intersection(*by_addresses[1:])
            )
            self._of_endpoint[name] = found
        return found

    def _covers_block(self, wide: int, narrow: Block) -> bool:
        """As _block_covered, as long as there is time for it. Most often the block itself is one of the other."""
        blocks = self._united[wide].blocks
        same = self._blocks.get(wide)
        if same is None:
            same = self._blocks[wide] = frozenset(blocks)
        if narrow in same:
            return True
        size = sum(len(block.cidrs) + len(block.excluded) for block in blocks)
        self._left -= size * len(narrow.cidrs) * (1 + len(narrow.excluded))
        return self._left >= 0 and _block_covered(narrow, blocks)


class _Index:
    """Who names what, of many peers, each known by its place."""

    def __init__(self, peers: Iterable[Peers], groups: Mapping[str, ResolvedGroup]) -> None:
        self.by_endpoint: dict[str, list[int]] = {}
        self.naming: dict[str, list[int]] = {}
        self.by_network: dict[str, list[int]] = {}
        self.outside: list[int] = []
        by_cidr: dict[Cidr, list[tuple[int, tuple[Cidr, ...]]]] = {}
        for number, each in enumerate(peers):
            for name in each.groups:
                self.naming.setdefault(name, []).append(number)
            for endpoint in each.endpoints:
                self.by_endpoint.setdefault(endpoint, []).append(number)
            self._enter(each.networks, each.outside, [number])
            for cidr in each.cidrs:
                by_cidr.setdefault(cidr, []).append((number, ()))
        for name, namers in self.naming.items():
            group = groups[name]
            self._enter(group.networks, group.outside, namers)
            for block in group.blocks:
                for cidr in block.cidrs:
                    by_cidr.setdefault(cidr, []).extend((number, block.excluded) for number in namers)
        self.by_cidr = Prefixes(by_cidr.items())

    def _enter(self, networks: Iterable[str], outside: bool, namers: list[int]) -> None:
        for name in networks:
            self.by_network.setdefault(name, []).extend(namers)
        if outside:
            self.outside += namers

    def meaning(self, address: Address) -> Iterator[int]:
        for _, namers in self.by_cidr.holding(address):
            for number, excluded in namers:
                if not (excluded and in_any(address, excluded)):
                    yield number


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
