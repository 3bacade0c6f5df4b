"""Participants of connections, sorted by what rules say of them. PURE.

Rules name groups, endpoints and prefixes: atoms. Participants that the same atoms take in are of one class, and a
switch needs one flow to tell a participant's class, however many rules there are; a rule needs one flow a class. So a
member that joins a group changes its own flow and no other.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from hashlib import blake2b
from ipaddress import IPv4Network, IPv6Network

from controller.policy.firewall import Peers
from controller.policy.model import Address, Cidr, Endpoint, Policy
from controller.policy.peers import Block, ResolvedGroup

Atom = str
"""`group:NAME`, `endpoint:NAME` or `cidr:PREFIX`."""
AtomSet = frozenset[Atom]
_NOBODY: AtomSet = frozenset()
Key = tuple[int, int, int]
"""A prefix: IP version, length, network address."""


@dataclass(frozen=True, slots=True)
class Side:
    """Who a rule is about, on one side: the classes, and the networks (by Network.number, 0: the outside)."""

    classes: tuple[int, ...]
    networks: tuple[int, ...]


@dataclass(frozen=True)
class Classes:
    """numbers: set of atoms -> its number, never 0. prefixes: prefix -> the class of its addresses, 0: none.

    of_endpoint: the atoms that take in an endpoint, wherever it is.
    """

    numbers: Mapping[AtomSet, int] = field(default_factory=dict)
    prefixes: tuple[tuple[Cidr, int], ...] = ()
    of_endpoint: Mapping[str, AtomSet] = field(default_factory=dict)
    by_prefix: Mapping[Key, AtomSet] = field(default_factory=dict)
    lengths: tuple[tuple[int, int], ...] = ()

    def of(self, endpoint: str, address: Address) -> int:
        """The class of a member at one of its addresses."""
        return self.numbers.get(self.of_endpoint.get(endpoint, _NOBODY) | self.at(address), 0)

    def at(self, address: Address) -> AtomSet:
        """The atoms that take in an address, whoever has it."""
        value, n_bits = int(address), address.max_prefixlen
        for version, length in self.lengths:
            if version == address.version:
                atoms = self.by_prefix.get((version, length, value >> n_bits - length << n_bits - length))
                if atoms is not None:
                    return atoms
        return _NOBODY

    def with_any(self, atoms: Iterable[Atom]) -> tuple[int, ...]:
        """The classes that at least one of the atoms takes in."""
        wanted = frozenset(atoms)
        return tuple(sorted(number for held, number in self.numbers.items() if held & wanted))


NO_CLASSES = Classes()


def atoms_of(peers: Peers) -> tuple[Atom, ...]:
    return (
        *(f"group:{name}" for name in peers.groups),
        *(f"endpoint:{name}" for name in peers.endpoints),
        *(f"cidr:{cidr}" for cidr in peers.cidrs),
    )


def classify(policy: Policy, groups: Mapping[str, ResolvedGroup], sides: Iterable[Peers]) -> Classes:
    """The classes that the sides of a policy's rules tell apart."""
    held_by: dict[str, set[Atom]] = {}
    holding: list[tuple[Atom, Block]] = []
    for side in set(sides):
        for name in side.groups:
            for endpoint in groups[name].endpoints:
                held_by.setdefault(endpoint, set()).add(f"group:{name}")
            holding += ((f"group:{name}", block) for block in groups[name].blocks)
        for name in side.endpoints:
            held_by.setdefault(name, set()).add(f"endpoint:{name}")
        holding += ((f"cidr:{cidr}", Block((cidr,))) for cidr in side.cidrs)
    by_prefix, lengths = _sort_prefixes(holding)
    found = Classes({}, (), {name: frozenset(atoms) for name, atoms in held_by.items()}, by_prefix, lengths)
    sets = {*by_prefix.values(), *_sets_of(policy.endpoints.values(), found)} - {_NOBODY}
    numbers = _number(sets)
    prefixes = tuple((_cidr_of(key), numbers.get(atoms, 0)) for key, atoms in sorted(by_prefix.items()))
    return Classes(numbers, prefixes, found.of_endpoint, by_prefix, lengths)


def _sets_of(endpoints: Iterable[Endpoint], classes: Classes) -> Iterable[AtomSet]:
    for endpoint in endpoints:
        atoms = classes.of_endpoint.get(endpoint.name, _NOBODY)
        if endpoint.mac is not None and atoms:
            yield atoms | classes.at(endpoint.mac.link_local)
        if atoms or classes.lengths:
            yield from (atoms | classes.at(address) for address in endpoint.ips)


def _sort_prefixes(holding: list[tuple[Atom, Block]]) -> tuple[dict[Key, AtomSet], tuple[tuple[int, int], ...]]:
    """Every prefix that is named, with the atoms that hold its addresses; and the lengths in use, longest first."""
    included: dict[Key, set[int]] = {}
    excluded: dict[Key, set[int]] = {}
    for index, (_, block) in enumerate(holding):
        for cidrs, into in ((block.cidrs, included), (block.excluded, excluded)):
            for cidr in cidrs:
                into.setdefault(_key(cidr), set()).add(index)
    keys = included.keys() | excluded.keys()
    lengths = tuple(sorted({(version, length) for version, length, _ in keys}, reverse=True))
    found: dict[Key, AtomSet] = {}
    for key in keys:
        version, length, value = key
        n_bits = 32 if version == 4 else 128
        held: set[int] = set()
        barred: set[int] = set()
        for other_version, shorter in lengths:
            if other_version == version and shorter <= length:
                wider = (version, shorter, value >> n_bits - shorter << n_bits - shorter)
                held |= included.get(wider, set())
                barred |= excluded.get(wider, set())
        found[key] = frozenset(holding[index][0] for index in held - barred)
    return found, lengths


def _key(cidr: Cidr) -> Key:
    return (cidr.version, cidr.prefixlen, int(cidr.network_address))


def _cidr_of(key: Key) -> Cidr:
    version, length, value = key
    return IPv4Network((value, length)) if version == 4 else IPv6Network((value, length))


def _number(sets: Iterable[AtomSet]) -> dict[AtomSet, int]:
    """32-bit hashes of the names, so that a class keeps its number; the rare clash moves the later one on."""
    numbers: dict[AtomSet, int] = {}
    taken = {0}
    for atoms in sorted(sets, key=sorted):
        number = int.from_bytes(blake2b("\n".join(sorted(atoms)).encode(), digest_size=4).digest())
        while number in taken:
            number = (number + 1) & 0xFFFFFFFF
        taken.add(number)
        numbers[atoms] = number
    return numbers
