"""What all bridges need of a policy's rules, routers and uplinks, made once. PURE."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace

from controller.errors import PolicyError, pointer
from controller.pipeline.classes import NO_CLASSES, Classes, classify
from controller.pipeline.router_view import (
    Exchange,
    Inward,
    Judged,
    Led,
    Outward,
    RealmView,
    Router,
    UplinkView,
    WayOut,
)
from controller.pipeline.rule_view import NO_VIEWS, RuleView, RuleViews, view_rules
from controller.pipeline.view import ABLE, NOWHERE, BridgeView, Place
from controller.policy import rules
from controller.policy.firewall import Decision
from controller.policy.model import OUTSIDE, Address, Cidr, Mode, Network, Policy, Uplink, first_address, ips_in
from controller.policy.peers import NO_GROUPS, Groups, resolve_again
from controller.policy.rewrites import Forward, Masquerade, OneToOne, Snat, Target, targets_of
from controller.policy.tracking import zone_of_networks


@dataclass(frozen=True)
class Rulebook:
    """zones: tracked network -> its own zone. realm: None: nothing is tracked anywhere.

    said: whatever else of the policy routers and uplinks are made of, so that equal books make equal flows.
    groups: what each means, and the groups and endpoints that this was made of; kept for the next book.
    """

    zones: Mapping[str, int] = field(default_factory=dict)
    classes: Classes = NO_CLASSES
    rules: RuleViews = NO_VIEWS
    realm: RealmView | None = None
    said: tuple[object, ...] = ()
    groups: Groups = field(default=NO_GROUPS, compare=False)


NO_BOOK = Rulebook()
FLOWS_MAX = 1_000_000
"""Flows of rules on one bridge, whose other flows are fewer; `session.MOST_FLOWS` is what a bridge is believed."""


def make_rulebook(policy: Policy, before: Rulebook = NO_BOOK) -> Rulebook:
    """NO_BOOK for a policy that has isolated networks only and no rules. before: an earlier one, of which the parts
    whose inputs are the same are kept, and ranks of rules as far as their order allows; with it or without, all but the
    ranks is the same.
    """
    groups = resolve_again(policy, before.groups)
    zones = zone_of_networks(policy, groups.means)
    if not zones and not policy.uplinks:
        return NO_BOOK
    sides = [side for rule in policy.rules.values() for side in (rule.origin, rule.target)]
    classes = classify(policy, groups.means, sides, before.classes)
    numbers = {name: network.number for name, network in policy.networks.items()} | {OUTSIDE: 0}
    routed = any(network.routed for network in policy.networks.values())
    realm = RealmView(
        prefixes=classes.prefixes,
        pairs=tuple(
            (numbers[pair.origin], numbers[pair.target], pair.decision)
            for pair in policy.defaults.pairs
            if pair.origin != pair.target
        ),
        between=policy.defaults.inter_network,
        router_mac=policy.defaults.router_mac if routed or policy.uplinks else None,
        inside=_inside(policy.networks.values()),
        routed=_inside(network for network in policy.networks.values() if network.routed),
        led=tuple(dict.fromkeys(_led(policy))),
    )
    views = view_rules(policy, classes, groups.means, before.rules)
    return Rulebook(zones, classes, views, before.realm if realm == before.realm else realm, _said(policy), groups)


def require_room(book: Rulebook) -> None:
    """Raise PolicyError where the rules need more flows than a bridge can have."""
    sides = (side for view in book.rules.by_name.values() for side in (view.origin, view.target) if side is not None)
    count = sum(len(side.classes) for side in sides)
    if count > FLOWS_MAX:
        raise PolicyError([rules.MANY_FLOWS.problem(("rules",), count=count, most=FLOWS_MAX)])


def _said(policy: Policy) -> tuple[object, ...]:
    led_to = {target.endpoint for rewrite in policy.rewrites.values() for target in targets_of(rewrite)}
    return (
        policy.defaults,
        tuple(policy.uplinks.values()),
        tuple(policy.rewrites.values()),
        tuple(network for network in policy.networks.values() if network.routed),
        tuple(policy.endpoints[name] for name in sorted(led_to)),
    )


def _led(policy: Policy) -> Iterator[Led]:
    for network in policy.networks.values():
        if network.uplink is None:
            continue
        for inward in _inward(policy, policy.uplinks[network.uplink], network):
            for address, l4_port in inward.targets:
                port = None if inward.protocol is None else l4_port or inward.l4_port
                yield Led(inward.origin, inward.network, address, inward.protocol, port)
        for exchange in _exchanges(policy, policy.uplinks[network.uplink], network):
            yield Led(exchange.origin, exchange.network, exchange.member, None, None)


def _inside(networks: Iterable[Network]) -> tuple[Cidr, ...]:
    return tuple(dict.fromkeys(cidr for network in networks for cidr in network.cidrs))


def place_of(
    policy: Policy, book: Rulebook, network: Network, way_out: WayOut | None, bridge: BridgeView = ABLE
) -> Place:
    """How a network is judged and routed on a bridge. way_out: where its uplink is from there; None: nowhere."""
    router_mac = None if book.realm is None else book.realm.router_mac
    if network.name not in book.zones:
        return NOWHERE if router_mac is None else Place(router_mac=router_mac)
    defaults = policy.defaults
    within = {pair.origin: pair.decision for pair in defaults.pairs if pair.origin == pair.target}
    inwards = Decision.ALLOW if network.mode is Mode.ROUTED else None
    judged = Judged(book.zones[network.name], within.get(network.name, defaults.intra_network), inwards)
    if not network.routed:
        return Place(judged, router_mac=router_mac)
    router = Router(
        defaults.router_mac,
        network.gateways,
        network.mode is Mode.NAT,
        way_out,
        _translated(policy, network),
        bridge.advertises,
        _elsewhere(policy, network, way_out),
    )
    return Place(judged, router)


def _translated(policy: Policy, network: Network) -> tuple[int, ...]:
    """The IP versions whose packets get another source outwards, whoever of the network's members sends them."""
    if network.uplink is None:
        return ()
    outward = _outward(policy, policy.uplinks[network.uplink], network)
    return tuple(sorted({one.first.version for one in outward if one.member is None}))


def _elsewhere(policy: Policy, network: Network, way_out: WayOut | None) -> tuple[Address, ...]:
    if network.uplink is None or way_out is None or way_out.here:
        return ()
    return _rewritten_at(policy, policy.uplinks[network.uplink], way_out.port).addresses()


# -- uplinks


def view_uplink(policy: Policy, uplink: Uplink, port: int, bridge: BridgeView = ABLE) -> UplinkView:
    """An uplink whose port is on the bridge."""
    view = _rewritten_at(policy, uplink, port)
    mine, inside = dict.fromkeys(_prefixes(uplink)), _inside(policy.networks.values())
    others = [other for other in policy.uplinks.values() if other is not uplink]
    prefixes = (cidr for other in others for cidr in _prefixes(other) if cidr not in mine)
    addresses = dict.fromkeys(address for other in others for address in _rewritten_at(policy, other, 0).addresses())
    is_known = {n.name: n.uplink == uplink.name and n.mode is Mode.ROUTED for n in policy.networks.values()}
    return replace(
        view,
        refused=tuple(dict.fromkeys((*inside, *(cidr for cidr in mine if _is_part(cidr, inside)), *prefixes))),
        known=_inside(network for network in policy.networks.values() if is_known[network.name]),
        hidden=tuple(n.number for n in policy.networks.values() if n.routed and not is_known[n.name]),
        elsewhere=tuple(address for address in addresses if address not in view.addresses()),
        advertises=bridge.advertises,
    )


def _rewritten_at(policy: Policy, uplink: Uplink, port: int) -> UplinkView:
    """An uplink with the rewrites that happen there."""
    networks = [network for network in policy.networks.values() if network.uplink == uplink.name]
    router_mac = policy.defaults.router_mac
    return UplinkView(
        uplink,
        port,
        uplink.mac or router_mac,
        router_mac,
        refused=(),
        outward=tuple(one for network in networks for one in _outward(policy, uplink, network)),
        inward=tuple(one for network in networks for one in _inward(policy, uplink, network)),
        exchanges=tuple(one for network in networks for one in _exchanges(policy, uplink, network)),
    )


def _is_part(cidr: Cidr, wider: Iterable[Cidr]) -> bool:
    return any(
        other.version == cidr.version and cidr.prefixlen >= other.prefixlen and cidr.network_address in other
        for other in wider
    )


def _prefixes(uplink: Uplink) -> Iterator[Cidr]:
    yield from (attached.network for attached in uplink.addresses)
    yield from (route.to for route in uplink.routes)


def _sources(policy: Policy, network: Network) -> Iterator[Masquerade | Snat | None]:
    """What says under which address the network goes out; None: its mode alone."""
    found = False
    for rewrite in policy.rewrites.values():
        if isinstance(rewrite, Masquerade | Snat) and rewrite.network == network.name:
            found = True
            yield rewrite
    if not found and network.mode is Mode.NAT:
        yield None


def _outward(policy: Policy, uplink: Uplink, network: Network) -> Iterator[Outward]:
    for rewrite in policy.rewrites.values():
        if isinstance(rewrite, OneToOne) and rewrite.network == network.name and not rewrite.stateless:
            for member in _addresses(policy, network, rewrite.target, rewrite.address.version):
                origin = pointer("rewrites", rewrite.name)
                yield Outward(origin, network.number, rewrite.address, rewrite.address, member)
    told: set[int] = set()
    for source in _sources(policy, network):
        if isinstance(source, Snat) and source.first.version not in told:
            told.add(source.first.version)
            yield Outward(pointer("rewrites", source.name), network.number, source.first, source.last)
    for source in _sources(policy, network):
        if isinstance(source, Masquerade):
            yield from _masquerade(uplink, network, pointer("rewrites", source.name), told)
    if network.mode is Mode.NAT:
        yield from _masquerade(uplink, network, pointer("networks", network.name), told)


def _masquerade(uplink: Uplink, network: Network, origin: str, told: set[int]) -> Iterator[Outward]:
    for version in (4, 6):
        address = first_address(uplink, version)
        if address is not None and version not in told:
            told.add(version)
            yield Outward(origin, network.number, address, address)


def _inward(policy: Policy, uplink: Uplink, network: Network) -> Iterator[Inward]:
    for rewrite in policy.rewrites.values():
        if rewrite.network != network.name:
            continue
        origin = pointer("rewrites", rewrite.name)
        if isinstance(rewrite, OneToOne) and not rewrite.stateless:
            for member in _addresses(policy, network, rewrite.target, rewrite.address.version):
                hairpin = first_address(uplink, member.version) or rewrite.address
                yield Inward(origin, network.number, rewrite.address, None, None, ((member, None),), hairpin)
        elif isinstance(rewrite, Forward):
            for address, targets in forward_targets(policy, uplink, network, rewrite):
                hairpin = first_address(uplink, address.version) or address
                yield Inward(
                    origin, network.number, address, rewrite.protocol, rewrite.l4_port, tuple(targets), hairpin
                )


def forward_targets(
    policy: Policy, uplink: Uplink, network: Network, forward: Forward
) -> Iterator[tuple[Address, list[tuple[Address, int | None]]]]:
    """(outside address, targets), one for each IP version that the forward is about."""
    versions = (4, 6) if forward.address is None else (forward.address.version,)
    for version in versions:
        address = forward.address or first_address(uplink, version)
        members = [
            (next(iter(_addresses(policy, network, target, version)), None), target) for target in forward.targets
        ]
        targets = [(member, target.l4_port) for member, target in members if member is not None]
        if address is not None and len(targets) == len(forward.targets):
            yield address, targets


def _addresses(policy: Policy, network: Network, target: Target, version: int) -> Iterator[Address]:
    """The target's first address of an IP version in the network."""
    of_version = (ip for ip in ips_in(policy.endpoints[target.endpoint], network) if ip.version == version)
    yield from list(of_version)[:1]


def _exchanges(policy: Policy, uplink: Uplink, network: Network) -> Iterator[Exchange]:
    for rewrite in policy.rewrites.values():
        if isinstance(rewrite, OneToOne) and rewrite.stateless and rewrite.network == network.name:
            for member in _addresses(policy, network, rewrite.target, rewrite.address.version):
                hairpin = first_address(uplink, member.version) or rewrite.address
                yield Exchange(pointer("rewrites", rewrite.name), network.number, rewrite.address, member, hairpin)


def rules_for(book: Rulebook, networks: Iterable[Network]) -> Iterator[RuleView]:
    """The rules that a bridge with these networks can need: of those about isolated networks only, theirs."""
    numbers = {network.number for network in networks if network.name in book.zones}
    if not numbers:
        return
    routed = any(network.routed for network in networks)
    for view in book.rules.by_name.values():
        sides = [side for side in (view.origin, view.target) if side is not None and not side.classes]
        if routed or all(numbers.intersection(side.networks) for side in sides):
            yield view
