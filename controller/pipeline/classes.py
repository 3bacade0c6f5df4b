"""Participants of connections, sorted by what rules say of them. PURE.

Rules name groups, endpoints and prefixes: atoms. Participants that the same atoms take in are of one class, and a
switch needs one flow to tell a participant's class, however many rules there are; a rule needs one flow a class. So a
member that joins a group changes its own flow and no other.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from hashlib import blake2b
from ipaddress import IPv4Network, IPv6Network
from typing import NamedTuple

from controller.pipeline.view import NO_CLASSES as NO_NUMBERS
from controller.pipeline.view import ClassNumbers
from controller.policy.firewall import Peers
from controller.policy.model import Address, Cidr, Endpoint, Policy
from controller.policy.peers import NOBODY, Block, ResolvedGroup

Atom = str
"""`group:NAME`, `endpoint:NAME` or `cidr:PREFIX`."""
AtomSet = frozenset[Atom]
_NOBODY: AtomSet = frozenset()
Key = tuple[int, int, int]
"""A prefix: IP version, length, network address."""


@dataclass(frozen=True)
class Side:
    """Who a rule is about, on one side: the classes, and the networks (by Network.number, 0: the outside)."""

    classes: frozenset[int]
    networks: tuple[int, ...]


class Named(NamedTuple):
    """Whom rules name: groups, with what they mean, endpoints and prefixes."""

    groups: tuple[tuple[str, ResolvedGroup], ...] = ()
    endpoints: frozenset[str] = frozenset()
    cidrs: frozenset[Cidr] = frozenset()


NOBODY_NAMED = Named()


@dataclass(frozen=True, slots=True)
class Taken:
    """Who is named, before anybody's address is looked at.

    of_endpoint: the atoms that take in an endpoint, wherever it is. by_prefix: those that take in the addresses of a
    prefix, whoever has them; lengths: the (IP version, length) of these, longest first.
    """

    of: Named = NOBODY_NAMED
    of_endpoint: Mapping[str, AtomSet] = field(default_factory=dict)
    by_prefix: Mapping[Key, AtomSet] = field(default_factory=dict)
    lengths: tuple[tuple[int, int], ...] = ()

    def at(self, address: Address) -> AtomSet:
        """The atoms that take in an address, whoever has it."""
        value, n_bits = int(address), address.max_prefixlen
        for version, length in self.lengths:
            if version == address.version:
                atoms = self.by_prefix.get((version, length, value >> n_bits - length << n_bits - length))
                if atoms is not None:
                    return atoms
        return _NOBODY


HeldAt = Mapping[tuple[int, int], AtomSet]
"""The atoms that take in an endpoint at each of its addresses, by (IP version, address)."""


@dataclass(frozen=True)
class Classes:
    """numbers: set of atoms -> its number, never 0. prefixes: prefix -> the class of its addresses, 0: none.

    with_atom: atom -> the classes that it takes in. of_endpoint: endpoint -> the classes of its addresses. taken,
    endpoints, held, in_use: what all this was made of; in_use: how many addresses each set of atoms takes in.
    """

    numbers: Mapping[AtomSet, int] = field(default_factory=dict)
    prefixes: tuple[tuple[Cidr, int], ...] = ()
    with_atom: Mapping[Atom, frozenset[int]] = field(default_factory=dict, compare=False)
    of_endpoint: Mapping[str, ClassNumbers] = field(default_factory=dict)
    taken: Taken = field(default_factory=Taken, compare=False)
    endpoints: Mapping[str, Endpoint] = field(default_factory=dict, compare=False)
    held: Mapping[str, HeldAt] = field(default_factory=dict, compare=False)
    in_use: Mapping[AtomSet, int] = field(default_factory=dict, compare=False)

    def of(self, endpoint: str) -> ClassNumbers:
        """The classes of a member at its addresses; empty where rules name nobody in particular."""
        return self.of_endpoint[endpoint] if self.numbers else NO_NUMBERS

    def differing(self, before: Classes) -> frozenset[str]:
        """The names of groups, endpoints and prefixes that other classes are of than before."""
        if self.numbers is before.numbers:
            return frozenset()
        now, old = self.with_atom, before.with_atom
        return frozenset(atom.partition(":")[2] for atom in now.keys() | old.keys() if now.get(atom) != old.get(atom))

    def with_any(self, atoms: Iterable[Atom]) -> frozenset[int]:
        """The classes that at least one of the atoms takes in."""
        return frozenset().union(*(self.with_atom.get(atom, ()) for atom in atoms))


NO_CLASSES = Classes()


def atoms_of(peers: Peers) -> tuple[Atom, ...]:
    return (
        *(f"group:{name}" for name in peers.groups),
        *(f"endpoint:{name}" for name in peers.endpoints),
        *(f"cidr:{cidr}" for cidr in peers.cidrs),
    )


def classify(
    policy: Policy, groups: Mapping[str, ResolvedGroup], sides: Iterable[Peers], before: Classes = NO_CLASSES
) -> Classes:
    """The classes that the sides of a policy's rules tell apart. before: earlier ones, of which what holds is kept."""
    taken = _take(groups, set(sides), before.taken)
    if taken is before.taken and policy.endpoints == before.endpoints:
        return before
    stale = _stale(policy.endpoints, taken, before)
    held, in_use = _hold(policy.endpoints, stale, taken, before)
    if taken.by_prefix is before.taken.by_prefix and in_use.keys() == before.in_use.keys():
        numbers = before.numbers
    else:
        numbers = _number({*taken.by_prefix.values(), *in_use} - {_NOBODY})
    prefixes, with_atom, known = before.prefixes, before.with_atom, before.of_endpoint
    if numbers is not before.numbers:
        # A clash of hashes may give a set another number; else one that stays has the number that it had.
        if any(before.numbers.get(atoms, number) != number for atoms, number in numbers.items()):
            known, stale = {}, policy.endpoints.keys()
            with_atom = _index_atoms(numbers, NO_CLASSES)
        else:
            with_atom = _index_atoms(numbers, before)
    if taken.by_prefix is not before.taken.by_prefix or numbers is not before.numbers:
        prefixes = tuple((_cidr_of(key), numbers.get(atoms, 0)) for key, atoms in sorted(taken.by_prefix.items()))
    of_endpoint = dict(known)
    for name in stale:
        if name in held:
            of_endpoint[name] = {key: numbers.get(atoms, 0) for key, atoms in held[name].items()}
        else:
            of_endpoint.pop(name, None)
    return Classes(numbers, prefixes, with_atom, of_endpoint, taken, policy.endpoints, held, in_use)


def _take(groups: Mapping[str, ResolvedGroup], sides: set[Peers], before: Taken) -> Taken:
    named = sorted({name for side in sides for name in side.groups})
    endpoints = frozenset(name for side in sides for name in side.endpoints)
    cidrs = frozenset(cidr for side in sides for cidr in side.cidrs)
    of = Named(tuple((name, groups[name]) for name in named), endpoints, cidrs)
    if of == before.of:
        return before
    touched = _touched(of, before.of)
    # Equal sets are one object, so that they are told to be equal at a glance.
    one_of = {atoms: atoms for atoms in before.of_endpoint.values()}
    of_endpoint = dict(before.of_endpoint)
    members = [(f"group:{name}", group.endpoints) for name, group in of.groups]
    for name in touched:
        atoms = frozenset(atom for atom, within in members if name in within)
        if name in endpoints:
            atoms |= {f"endpoint:{name}"}
        if atoms:
            of_endpoint[name] = one_of.setdefault(atoms, atoms)
        else:
            of_endpoint.pop(name, None)
    holding = [(f"group:{name}", block) for name, group in of.groups for block in group.blocks]
    holding += ((f"cidr:{cidr}", Block((cidr,))) for cidr in cidrs)
    by_prefix, lengths = _sort_prefixes(holding)
    if by_prefix == before.by_prefix:
        by_prefix, lengths = before.by_prefix, before.lengths
    return Taken(of, of_endpoint, by_prefix, lengths)


def _touched(of: Named, before: Named) -> set[str]:
    """The endpoints that other atoms may take in than before."""
    old, now = dict(before.groups), dict(of.groups)
    found = set(of.endpoints ^ before.endpoints)
    for name in old.keys() | now.keys():
        was, becomes = old.get(name, NOBODY), now.get(name, NOBODY)
        if was is not becomes:
            found |= was.endpoints ^ becomes.endpoints
    return found


def _stale(endpoints: Mapping[str, Endpoint], taken: Taken, before: Classes) -> Collection[str]:
    """The endpoints that are others than before, or are taken in by other atoms; those that are gone, too."""
    if taken.by_prefix is not before.taken.by_prefix:
        return endpoints.keys() | before.endpoints.keys()
    old = before.endpoints
    found = {name for name, endpoint in endpoints.items() if old.get(name) is not endpoint}
    found.update(old.keys() - endpoints.keys())
    if taken is not before.taken:
        had, has = before.taken.of_endpoint, taken.of_endpoint
        found.update(name for name, atoms in has.items() if had.get(name) is not atoms)
        found.update(had.keys() - has.keys())
    return found


def _hold(
    endpoints: Mapping[str, Endpoint], stale: Iterable[str], taken: Taken, before: Classes
) -> tuple[dict[str, HeldAt], dict[AtomSet, int]]:
    """The atoms that take in each endpoint at its addresses; and how many addresses each set of them takes in."""
    held, in_use = dict(before.held), dict(before.in_use)
    for name in stale:
        for atoms in held.pop(name, {}).values():
            in_use[atoms] -= 1
            if not in_use[atoms]:
                del in_use[atoms]
        if name in endpoints:
            held[name] = _at_addresses(endpoints[name], taken.of_endpoint.get(name, _NOBODY), taken)
            for atoms in held[name].values():
                in_use[atoms] = in_use.get(atoms, 0) + 1
    return held, in_use


def _at_addresses(endpoint: Endpoint, atoms: AtomSet, taken: Taken) -> dict[tuple[int, int], AtomSet]:
    addresses = list(endpoint.ips)
    if endpoint.mac is not None and any(ip.version == 6 for ip in addresses):
        addresses.append(endpoint.mac.link_local)
    if not taken.lengths:
        return {(ip.version, int(ip)): atoms for ip in addresses}
    return {(ip.version, int(ip)): atoms | taken.at(ip) for ip in addresses}


def _sort_prefixes(holding: list[tuple[Atom, Block]]) -> tuple[Mapping[Key, AtomSet], tuple[tuple[int, int], ...]]:
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
    """Each set's own number, so that a class keeps it; the rare clash moves the later one on."""
    numbers = {atoms: _hash_of(atoms) for atoms in sets}
    taken = {0}
    if len(taken.union(numbers.values())) <= len(numbers):
        for atoms in sorted(numbers, key=sorted):
            number = _hash_of(atoms)
            while number in taken:
                number = (number + 1) & 0xFFFFFFFF
            taken.add(number)
            numbers[atoms] = number
    return numbers


@lru_cache(maxsize=1 << 14)
def _hash_of(atoms: AtomSet) -> int:
    """32 bits."""
    return int.from_bytes(blake2b("\n".join(sorted(atoms)).encode(), digest_size=4).digest())


def _index_atoms(numbers: Mapping[AtomSet, int], before: Classes) -> dict[Atom, frozenset[int]]:
    """Atom -> the classes that it takes in. An atom whose classes are the same has the very same object as before.

    before: a class that is there still has the number that it had.
    """
    found: dict[Atom, set[int]] = {}
    for atoms in before.numbers.keys() - numbers.keys():
        for atom in atoms:
            found.setdefault(atom, set(before.with_atom[atom])).discard(before.numbers[atoms])
    for atoms in numbers.keys() - before.numbers.keys():
        for atom in atoms:
            found.setdefault(atom, set(before.with_atom.get(atom, ()))).add(numbers[atoms])
    index = {**before.with_atom, **{atom: frozenset(classes) for atom, classes in found.items()}}
    return {atom: classes for atom, classes in index.items() if classes}
