"""Which address stands for which at an uplink: where forwards lead, and under what name members go out. PURE.

What a connection was first given it keeps, as long as it lasts.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import replace

from controller.flow.packet import Packet, is_icmp_error
from controller.policy.meaning.connections import (
    PORTS,
    FiveTuple,
    rewritten,
    source_of,
    target_of,
    tuple_of,
    with_addresses,
)
from controller.policy.meaning.known import Known
from controller.policy.meaning.uplinks import first_address, rewrites_at
from controller.policy.model import Address, Mode, Network, Policy, Uplink, ips_in
from controller.policy.rewrites import Forward, Masquerade, OneToOne, Snat, Target


def _stands_for(policy: Policy, rewrite: OneToOne) -> Address | None:
    """The member's address."""
    return _member_address(policy, rewrite.network, rewrite.target, rewrite.address.version)


def _member_address(policy: Policy, network: str, target: Target, version: int) -> Address | None:
    """A target's first address of the version in the rewrite's network."""
    own = ips_in(policy.endpoints[target.endpoint], policy.networks[network])
    return next((ip for ip in own if ip.version == version), None)


# Inwards


def led_in(policy: Policy, known: Known, uplink: Uplink, packet: Packet) -> tuple[Packet, Known]:
    """A packet for an outside address, as it goes on to a member; as it is where it leads nowhere."""
    seen = tuple_of(packet)
    if seen is None:
        return _led_without_state(policy, uplink, packet), known
    for opened, outside in known.stands.items():
        if outside.reversed() == seen:
            return rewritten(packet, opened.reversed()), known
    if seen not in known.leads:
        if is_icmp_error(packet.get) or not seen.opens:
            return _led_without_state(policy, uplink, packet), known
        led = _lead(policy, uplink, seen)
        became = None if led is None else _free([led], known.leads.values())
        if became is None:
            return _led_without_state(policy, uplink, packet), known
        known = known.with_lead(seen, became)
    return rewritten(packet, known.leads[seen]), known


def _led_without_state(policy: Policy, uplink: Uplink, packet: Packet) -> Packet:
    target = target_of(packet)
    for rewrite in rewrites_at(policy, uplink):
        if isinstance(rewrite, OneToOne) and rewrite.stateless and rewrite.address == target:
            member = _stands_for(policy, rewrite)
            return packet if member is None else with_addresses(packet, source_of(packet), member)
    return packet


def _lead(policy: Policy, uplink: Uplink, opened: FiveTuple) -> FiveTuple | None:
    """Where a connection to an outside address leads; a forward of its port comes before one of the whole address."""
    found: list[tuple[bool, FiveTuple]] = []
    for rewrite in rewrites_at(policy, uplink):
        match rewrite:
            case Forward() if _is_forwarded(policy, uplink, rewrite, opened):
                # By the low four bits of the source port.
                target = rewrite.targets[opened.source_port % 16 % len(rewrite.targets)]
            case OneToOne() if not rewrite.stateless and rewrite.address == opened.target:
                target = rewrite.target
            case _:
                continue
        address = _member_address(policy, rewrite.network, target, opened.version)
        if address is not None:
            l4_port = opened.target_port if target.l4_port is None else target.l4_port
            is_whole = not (isinstance(rewrite, Forward) and rewrite.protocol is not None)
            found.append((is_whole, replace(opened, target=address, target_port=l4_port)))
    return min(found, key=lambda each: each[0])[1] if found else None


def _is_forwarded(policy: Policy, uplink: Uplink, forward: Forward, opened: FiveTuple) -> bool:
    if forward.protocol is not None and (forward.protocol, forward.l4_port) != (opened.protocol, opened.target_port):
        return False
    if forward.address is not None:
        return forward.address == opened.target
    return _have_version(policy, forward, opened.version) and first_address(uplink, opened.version) == opened.target


def is_led_to(policy: Policy, network: str, opened: FiveTuple) -> bool:
    """Whether some rewrite of the network leads a connection, as rules see it, to its target."""
    for rewrite in policy.rewrites.values():
        if rewrite.network != network:
            continue
        match rewrite:
            case Forward() if opened.version in _versions(policy, rewrite):
                targets = [target for target in rewrite.targets if _ends_at(rewrite, target, opened)]
            case OneToOne() if opened.version == rewrite.address.version:
                targets = [rewrite.target]
            case _:
                continue
        if any(_member_address(policy, network, t, opened.version) == opened.target for t in targets):
            return True
    return False


def _versions(policy: Policy, forward: Forward) -> set[int]:
    """The IP versions that a forward is about."""
    if forward.address is not None:
        return {forward.address.version}
    uplink = policy.uplinks[policy.networks[forward.network].uplink or ""]
    return {v for v in (4, 6) if first_address(uplink, v) is not None and _have_version(policy, forward, v)}


def _have_version(policy: Policy, forward: Forward, version: int) -> bool:
    return all(_member_address(policy, forward.network, target, version) for target in forward.targets)


def _ends_at(forward: Forward, target: Target, opened: FiveTuple) -> bool:
    l4_port = forward.l4_port if target.l4_port is None else target.l4_port
    return forward.protocol is None or (forward.protocol, l4_port) == (opened.protocol, opened.target_port)


# Outwards


def led_out(known: Known, packet: Packet) -> Packet | None:
    """A packet from a member that belongs to a connection with a translation, as the other side knows it."""
    seen = tuple_of(packet)
    if seen is None:
        return None
    for opened, became in known.leads.items():
        if became.reversed() == seen != became:
            return rewritten(packet, opened.reversed())
    return rewritten(packet, known.stands[seen]) if seen in known.stands else None


def stateless_source(policy: Policy, uplink: Uplink, packet: Packet) -> Packet | None:
    """A packet from a member that an outside address stands for without state, from that address."""
    source = source_of(packet)
    for rewrite in rewrites_at(policy, uplink):
        if isinstance(rewrite, OneToOne) and rewrite.stateless and _stands_for(policy, rewrite) == source:
            return with_addresses(packet, rewrite.address, target_of(packet))
    return None


def sources(policy: Policy, uplink: Uplink, network: Network, source: Address) -> list[Address] | None:
    """What may stand for a member's address in connections outwards, best first; None: the address itself does."""
    version = source.version
    own = [r for r in policy.rewrites.values() if r.network == network.name]
    for rewrite in own:
        if isinstance(rewrite, OneToOne) and _stands_for(policy, rewrite) == source:
            return [rewrite.address]
    for rewrite in own:
        if isinstance(rewrite, Snat) and rewrite.first.version == version:
            return [rewrite.first + at for at in range(int(rewrite.last) - int(rewrite.first) + 1)]
    if network.mode is Mode.NAT or any(isinstance(rewrite, Masquerade) for rewrite in own):
        first = first_address(uplink, version)
        return [] if first is None else [first]
    return None


def stood_for(known: Known, packet: Packet, candidates: list[Address]) -> tuple[Packet, Known] | None:
    """The first packet of a connection outwards, from one of the candidates; None: all is taken."""
    opened = tuple_of(packet)
    assert opened is not None
    became = _free([replace(opened, source=address) for address in candidates], known.stands.values())
    return None if became is None else (rewritten(packet, became), known.with_stand(opened, became))


def _free(wanted: list[FiveTuple], taken: Collection[FiveTuple]) -> FiveTuple | None:
    """The first that no other connection became; if there is none, the first with another source port."""
    for each in wanted:
        if each not in taken:
            return each
    if not wanted or wanted[0].protocol not in PORTS:
        return None
    others = (replace(wanted[0], source_port=l4_port) for l4_port in _ports_like(wanted[0].source_port))
    return next((each for each in others if each not in taken), None)


def _ports_like(l4_port: int) -> Iterator[int]:
    """Source ports of the same kind, those above it first (iptables-extensions(8), SNAT)."""
    low, high = (1, 511) if l4_port < 512 else (600, 1023) if l4_port < 1024 else (1024, 65535)
    yield from range(l4_port + 1, high + 1)
    yield from range(low, l4_port)
