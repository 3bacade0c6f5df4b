"""What an uplink leads to, and the addresses under which the world knows what is behind its router. PURE."""

from __future__ import annotations

from collections.abc import Iterator

from controller.policy.model import Address, Policy, Uplink
from controller.policy.rewrites import Forward, OneToOne, Rewrite, Snat


def first_address(uplink: Uplink, version: int) -> Address | None:
    """What NAT takes."""
    return next((attached.ip for attached in uplink.addresses if attached.version == version), None)


def rewrites_at(policy: Policy, uplink: Uplink) -> list[Rewrite]:
    """Those of the networks that have this uplink."""
    return [r for r in policy.rewrites.values() if policy.networks[r.network].uplink == uplink.name]


def is_outside_address(policy: Policy, uplink: Uplink, address: Address) -> bool:
    """Whether it is one that the uplink's router has, or that a rewrite gives to members."""
    ranges = _outside_ranges(policy, uplink)
    return any(first.version == address.version and int(first) <= int(address) <= int(last) for first, last in ranges)


def _outside_ranges(policy: Policy, uplink: Uplink) -> Iterator[tuple[Address, Address]]:
    """(first, last)"""
    for attached in uplink.addresses:
        yield attached.ip, attached.ip
    for rewrite in rewrites_at(policy, uplink):
        match rewrite:
            case Snat():
                yield rewrite.first, rewrite.last
            case Forward() | OneToOne() if rewrite.address is not None:
                yield rewrite.address, rewrite.address


def longest_prefix(uplink: Uplink, address: Address) -> int:
    """The length of the uplink's longest prefix that holds the address; -1: none does."""
    prefixes = [attached.network for attached in uplink.addresses] + [route.to for route in uplink.routes]
    lengths = [p.prefixlen for p in prefixes if p.version == address.version and address in p]
    return max(lengths, default=-1)


def next_hop(uplink: Uplink, target: Address) -> Address | None:
    """Whom a packet for an address goes to: on a segment the address itself; None: there is no way."""
    length = longest_prefix(uplink, target)
    if length < 0:
        return None
    if any(target in attached.network and attached.network.prefixlen == length for attached in uplink.addresses):
        return target
    return next(route.via for route in uplink.routes if target in route.to and route.to.prefixlen == length)
