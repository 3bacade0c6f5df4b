"""Rewrites: what they name, and that no outside address has two meanings. PURE."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from controller.errors import Problem
from controller.policy import rules
from controller.policy.check_router import check_outside
from controller.policy.findings import Nearest
from controller.policy.load_peers import Names
from controller.policy.model import Address, Cidr, Endpoint, Network, Policy, Uplink, first_address, ips_in
from controller.policy.prefixes import Prefixes
from controller.policy.rewrites import Forward, Masquerade, OneToOne, Rewrite, Snat, targets_of


def versions_of(endpoint: Endpoint, network: Network) -> frozenset[int]:
    """The IP versions of which an endpoint has an address in a network."""
    return frozenset(ip.version for ip in ips_in(endpoint, network))


def masquerade_of(uplink: Uplink) -> Mapping[int, Address]:
    """IP version -> the uplink's first address of it, which connections outwards get as their source."""
    firsts = {version: first_address(uplink, version) for version in (4, 6)}
    return {version: address for version, address in firsts.items() if address is not None}


def check_names(policy: Policy, known: Names) -> Iterator[Problem]:
    """That the networks and endpoints that rewrites name are there."""
    nearest = Nearest()
    for rewrite in policy.rewrites.values():
        if rewrite.network not in known.networks:
            hint = nearest.hint("network", rewrite.network, known.networks)
            at = ("rewrites", rewrite.name, "network")
            yield rules.UNKNOWN_NETWORK.problem(at, hint, network=rewrite.network)
        for target in targets_of(rewrite):
            if target.endpoint not in known.endpoints:
                hint = nearest.hint("endpoint", target.endpoint, known.endpoints)
                yield rules.UNKNOWN_ENDPOINT.problem(("rewrites", rewrite.name, "to"), hint, endpoint=target.endpoint)


@dataclass(frozen=True, slots=True)
class Place:
    """A rewrite with what it names. endpoints: its targets, as far as they are there."""

    rewrite: Rewrite
    network: Network
    uplink: Uplink
    endpoints: tuple[Endpoint, ...]


def places_of(policy: Policy) -> tuple[Place, ...]:
    """The rewrites whose network and uplink are there."""
    found: list[Place] = []
    for rewrite in policy.rewrites.values():
        network = policy.networks.get(rewrite.network)
        uplink = policy.uplinks.get(network.uplink) if network is not None and network.uplink is not None else None
        if network is None or uplink is None:
            continue
        named = (policy.endpoints.get(target.endpoint) for target in targets_of(rewrite))
        found.append(Place(rewrite, network, uplink, tuple(each for each in named if each is not None)))
    return tuple(found)


def check_uplinked(policy: Policy) -> Iterator[Problem]:
    """That the network of a rewrite has an uplink."""
    for rewrite in policy.rewrites.values():
        network = policy.networks.get(rewrite.network)
        if network is not None and network.uplink is None:
            yield rules.NO_UPLINK.problem(("rewrites", rewrite.name, "network"), network=network.name)


@dataclass(slots=True)
class _Taken:
    """What outside addresses mean already, each with the rewrite that says so."""

    whole: dict[Address, str] = field(default_factory=dict)
    ports: dict[tuple[Address, int, int], str] = field(default_factory=dict)
    in_part: dict[Address, str] = field(default_factory=dict)
    sources: dict[tuple[str, str, int], str] = field(default_factory=dict)
    """(network, type, IP version) of a Snat or Masquerade."""
    stood_for: dict[tuple[str, str, int], str] = field(default_factory=dict)
    """(network, endpoint, IP version) of a OneToOne."""


def check_places(places: tuple[Place, ...], outside: tuple[tuple[Uplink, ...], Prefixes[str]]) -> list[Problem]:
    """Unit: all rewrites. outside: every uplink, and the networks' cidrs, in which no outside address lies."""
    uplinks, inside = outside
    problems: list[Problem] = []
    taken, used = _Taken(), _used_by(uplinks)
    firsts = {address: uplink.name for uplink in uplinks for address in masquerade_of(uplink).values()}
    of_uplink = {attached.ip: uplink.name for uplink in uplinks for attached in uplink.addresses}
    for place in places:
        rewrite, at = place.rewrite, ("rewrites", place.rewrite.name)
        problems += _check_targets(place)
        misplaced = [p for key, each in _outside_addresses(rewrite) for p in check_outside((*at, key), each, inside)]
        problems += misplaced[:1]
        misused = [p for key, each in _outside_addresses(rewrite) for p in _check_use((*at, key), each, used)]
        problems += misused[:1]
        for key, address in _outside_addresses(rewrite):
            owner = of_uplink.get(address, place.uplink.name)
            if owner != place.uplink.name:
                problems.append(rules.OF_OTHER_UPLINK.problem((*at, key), address=address, other=owner,
                                                              uplink=place.uplink.name))  # fmt: skip
            if _whole(rewrite) and address in firsts:
                problems.append(rules.MASQUERADED.problem((*at, key), address=address, uplink=firsts[address]))
        problems += _check_taken(place, taken)
    return problems + list(_check_ranges(places, taken))


def _whole(rewrite: Rewrite) -> bool:
    """Whether all that is sent to its outside address goes to one member."""
    return isinstance(rewrite, OneToOne) or (isinstance(rewrite, Forward) and rewrite.protocol is None)


def _outside_addresses(rewrite: Rewrite) -> Iterator[tuple[str, Address]]:
    """(key, address) of what a rewrite says itself; all of a range."""
    match rewrite:
        case Snat():
            for number in range(int(rewrite.last) - int(rewrite.first) + 1):
                yield "to", rewrite.first + number
        case Forward() if rewrite.address is not None:
            yield "address", rewrite.address
        case OneToOne():
            yield "address", rewrite.address


@dataclass(frozen=True, slots=True)
class _Used:
    """Addresses on uplinks' segments that are somebody else's, each with the uplink's name. ends: of their prefixes."""

    vias: Mapping[Address, str]
    ends: Mapping[Address, tuple[Cidr, str]]


def _used_by(uplinks: tuple[Uplink, ...]) -> _Used:
    segments = [(attached.network, uplink.name) for uplink in uplinks for attached in uplink.addresses]
    ends = [(cidr, name) for cidr, name in segments if cidr.version == 4 and cidr.prefixlen < 31]
    return _Used(
        {route.via: uplink.name for uplink in uplinks for route in uplink.routes},
        {end: (cidr, name) for cidr, name in ends for end in (cidr.network_address, cidr.broadcast_address)},
    )


def _check_use(at: tuple[str | int, ...], address: Address, used: _Used) -> Iterator[Problem]:
    if address in used.vias:
        yield rules.OUTSIDE_VIA.problem(at, address=address, uplink=used.vias[address])
    if address in used.ends:
        cidr, uplink = used.ends[address]
        yield rules.OUTSIDE_END.problem(at, address=address, cidr=cidr, uplink=uplink)


def _check_targets(place: Place) -> Iterator[Problem]:
    """That targets are members with an address of the version at hand, which the uplink has, too."""
    rewrite, network, uplink = place.rewrite, place.network, place.uplink
    at = ("rewrites", rewrite.name)
    version = next((address.version for _, address in _outside_addresses(rewrite)), None)
    if version is not None and version not in masquerade_of(uplink):
        key = next(key for key, _ in _outside_addresses(rewrite))
        yield rules.UPLINK_VERSION.problem((*at, key), uplink=uplink.name, version=version)
        return
    common = frozenset(masquerade_of(uplink))
    sound = True
    for endpoint in place.endpoints:
        if network.name not in endpoint.networks:
            yield rules.TARGET_FOREIGN.problem((*at, "to"), endpoint=endpoint.name, network=network.name)
            sound = False
        elif version is not None and version not in versions_of(endpoint, network):
            yield rules.TARGET_VERSION.problem((*at, "to"), endpoint=endpoint.name, version=version,
                                               network=network.name)  # fmt: skip
        else:
            common &= versions_of(endpoint, network)
    if isinstance(rewrite, Forward) and version is None and sound and not common:
        yield rules.NO_VERSION.problem((*at, "to"), uplink=uplink.name)


def _led(place: Place) -> Iterator[Address]:
    """The outside addresses of a Forward, where none is said: the uplink's first of each version its targets have."""
    rewrite = place.rewrite
    if not isinstance(rewrite, Forward):
        return
    if rewrite.address is not None:
        yield rewrite.address
        return
    for version, address in masquerade_of(place.uplink).items():
        if all(version in versions_of(endpoint, place.network) for endpoint in place.endpoints):
            yield address


def _check_taken(place: Place, taken: _Taken) -> Iterator[Problem]:
    """That nothing is said twice of an address, of a port, of a network's sources and of an endpoint."""
    rewrite, name, network = place.rewrite, place.rewrite.name, place.network.name
    at = ("rewrites", name)
    match rewrite:
        case OneToOne():
            yield from _take_whole(rewrite.address, name, taken)
            key = (network, rewrite.target.endpoint, rewrite.address.version)
            other = taken.stood_for.setdefault(key, name)
            if other != name:
                endpoint = rewrite.target.endpoint
                yield rules.STOOD_FOR_TWICE.problem((*at, "to"), endpoint=endpoint, other=other)
        case Forward(protocol=int(protocol), l4_port=int(port)):
            for address in _led(place):
                other = taken.ports.setdefault((address, protocol, port), name)
                owner = taken.whole.get(address)
                taken.in_part.setdefault(address, name)
                if other != name:
                    yield rules.FORWARD_TWICE.problem((*at, "l4_port"), address=address, port=port, other=other)
                elif owner is not None:
                    where = "l4_port" if rewrite.address is None else "address"
                    yield rules.ADDRESS_TWICE.problem((*at, where), address=address, other=owner)
        case Forward():
            for address in _led(place):
                yield from _take_whole(address, name, taken)
        case Snat() | Masquerade():
            versions = (rewrite.first.version,) if isinstance(rewrite, Snat) else (0,)
            for version in versions:
                other = taken.sources.setdefault((network, type(rewrite).__name__, version), name)
                if other != name:
                    yield rules.SOURCE_TWICE.problem((*at, "network"), network=network, other=other)


def _take_whole(address: Address, name: str, taken: _Taken) -> Iterator[Problem]:
    other = taken.whole.setdefault(address, name)
    if other == name:
        other = taken.in_part.get(address, name)
    if other != name:
        yield rules.ADDRESS_TWICE.problem(("rewrites", name, "address"), address=address, other=other)


def _check_ranges(places: tuple[Place, ...], taken: _Taken) -> Iterator[Problem]:
    """That no range of sources holds an address which leads to one member."""
    for place in places:
        rewrite = place.rewrite
        if isinstance(rewrite, Snat):
            for address, other in taken.whole.items():
                if address.version == rewrite.first.version and int(rewrite.first) <= int(address) <= int(rewrite.last):
                    at = ("rewrites", rewrite.name, "to")
                    yield rules.ADDRESS_TWICE.problem(at, address=address, other=other)
