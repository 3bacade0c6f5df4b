"""Small consistent policies with all that rules, routers, uplinks and rewrites can say, as `strategies` makes them.

What is chosen is put to `check`, and left out where that refuses it. So the policies are crowded: few addresses, which
networks, uplinks, rules and rewrites all mean.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from enum import Enum
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_interface, ip_network

from controller.flow import packet as p
from controller.flow.fields import LOCAL_PORT
from controller.mac import Mac
from controller.policy.check import Checker
from controller.policy.firewall import (
    Action,
    Decision,
    Group,
    IcmpType,
    LogRate,
    OnChange,
    Peers,
    PortRange,
    Rule,
    Service,
)
from controller.policy.model import (
    OUTSIDE,
    Address,
    Attach,
    Cidr,
    Defaults,
    Endpoint,
    Members,
    Mode,
    Network,
    Pair,
    Policy,
    Route,
    Uplink,
    Vlan,
    ips_in,
)
from controller.policy.rewrites import Forward, Masquerade, OneToOne, Rewrite, Snat, Target
from tests.unit.strategies import CIDRS, MACS, Pick, T

MEMBER_IPS = [
    *(ip_address(f"10.0.{net}.{last}") for net in (0, 1) for last in (1, 2, 3, 4)),
    *(ip_address(text) for text in ("fd00::1", "fd00::2", "fd00::3", "fd00:0:0:1::1", "fd00:0:0:1::2")),
]
ROUTED_CIDRS: list[tuple[str, ...]] = [
    ("10.0.0.0/24", "fd00::/64"),
    ("10.0.1.0/24", "fd00:0:0:1::/64"),
    ("10.0.0.0/23", "fd00::/48"),
    ("10.0.0.0/16",),
]
GATEWAYS = [ip_address(text) for text in ("10.0.0.254", "10.0.1.254", "fd00::fe", "fd00:0:0:1::fe")]
UNUSED = [int(ip_address(text)) for text in ("10.0.0.77", "10.0.1.77", "fd00::77")]
"""Of networks, mostly, and no member's."""
WAN_MAC = Mac(0x02000000F001)
BEYOND = [
    ip_network(text) for text in ("192.0.2.0/24", "198.51.100.0/24", "2001:db8:7::/48", "0.0.0.0/0", "10.0.0.0/8")
]
"""What is behind members that are routers."""
WORLD = [
    ip_address(text)
    for text in ("198.51.100.7", "172.16.0.77", "172.17.0.77", "192.0.2.1", "2001:db8:8::7", "2001:db8:ff::77")
]
"""Addresses of nobody in particular, outside."""
OUTSIDE_IPS = [ip_address(text) for text in ("172.16.0.5", "172.16.0.6", "203.0.113.5", "172.17.0.5", "2001:db8:ff::5")]
"""What rewrites may use, besides the uplinks' own."""
LABELS = [(), (("app", "web"),), (("app", "web"), ("env", "test"))]
PORTS = (23, 80, 8001)
UPLINK_PORTS = (50, 51)
_ON = {
    "wan": [
        ("172.16.0.1/24", "2001:db8:ff::1/64"),
        ("172.16.0.1/24", "172.16.0.2/24"),
        ("172.16.0.1/24",),
    ],
    "lte": [("172.17.0.1/24",), ("172.17.0.1/24", "2001:db8:fe::1/64")],
}
_ROUTES = {
    "wan": [("0.0.0.0/0", "172.16.0.254"), ("::/0", "2001:db8:ff::fe"), ("192.0.2.0/24", "172.16.0.253")],
    "lte": [("198.51.100.0/24", "172.17.0.254"), ("0.0.0.0/0", "172.17.0.253")],
}


@dataclass(frozen=True, repr=False)
class World:
    """A policy, and which of its endpoints and uplinks are on which ports of a bridge."""

    policy: Policy
    bindings: dict[str, int]
    uplinks: dict[str, int]

    def __repr__(self) -> str:
        """For people: a line for each object."""
        policy, lines = self.policy, [""]
        for network in policy.networks.values():
            what = f"{network.mode.value}, {network.members.value}, vlan {network.vlan}, uplink {network.uplink}"
            lines.append(
                f"{network.name}: {what}, cidrs [{_texts(network.cidrs)}], gateways {_texts(network.gateways)}"
            )
        for uplink in policy.uplinks.values():
            routes = " ".join(f"{route.to} via {route.via}" for route in uplink.routes)
            port = self.uplinks.get(uplink.name)
            lines.append(f"{uplink.name}: port {port}, {uplink.mac}, {_texts(uplink.addresses)}, routes [{routes}]")
        for part in (policy.groups, policy.rules, policy.rewrites):
            lines += [_short(each) for each in part.values()]
        for member in policy.endpoints.values():
            ips, routes = _texts(member.ips), _texts(member.routes)
            where = f"port {self.bindings.get(member.name)}, in {' '.join(member.networks)}, {member.attach.value}"
            lines.append(f"{member.name}: {where}, {member.mac} [{ips}] routes [{routes}] {dict(member.labels)}")
        return "\n".join([*lines, _short(policy.defaults), f"tiers {' '.join(policy.tiers)}"])

    @property
    def ports(self) -> dict[int, Endpoint | Uplink]:
        """Who is where."""
        members = {port: self.policy.endpoints[name] for name, port in self.bindings.items()}
        return {**members, **{port: self.policy.uplinks[name] for name, port in self.uplinks.items()}}


def _texts(of: Iterable[object]) -> str:
    return " ".join(map(str, of))


def _short(value: object) -> str:
    """A dataclass without the fields that say nothing."""
    if not is_dataclass(value):
        return str(value.value) if isinstance(value, Enum) else str(value)
    told = {each.name: getattr(value, each.name) for each in fields(value)}
    words = [f"{name}={_short_of(each)}" for name, each in told.items() if each not in ((), None, False)]
    return f"{type(value).__name__}({', '.join(words)})"


def _short_of(value: object) -> str:
    return f"[{' '.join(map(_short, value))}]" if isinstance(value, tuple) else _short(value)


def make_world(pick: Pick) -> World:
    policy, checker = Policy(make_networks(pick), {}, {}), Checker()
    for uplink in _uplinks(pick):
        policy = _with(checker, policy, "uplinks", [uplink])
    for network in policy.networks.values():
        if network.routed and policy.uplinks and (network.mode is Mode.NAT or pick([True, True, False])):
            changed = replace(network, uplink=pick(list(policy.uplinks)))
            policy = replace(policy, networks={**policy.networks, network.name: changed})
    for i in range(pick([2, 3, 4, 5, 5])):
        policy = _with(checker, policy, "endpoints", _endpoints(pick, policy, i))
    for i in range(pick([1, 2, 3, 4, 6])):
        policy = _with(checker, policy, "rewrites", _rewrites(pick, policy, f"w{i}"))
    policy = with_rules(pick, policy, checker)
    bound = {name: at + 1 for at, name in enumerate(policy.endpoints) if pick([True] * 9 + [False])}
    if bound and pick([False] * 7 + [True]):
        bound[list(bound)[-1]] = LOCAL_PORT
    uplinks = {name: UPLINK_PORTS[at] for at, name in enumerate(policy.uplinks) if pick([True] * 9 + [False])}
    return World(policy, bound, uplinks)


def _with(
    checker: Checker, policy: Policy, section: str, candidates: Iterable[Endpoint | Uplink | Rewrite | Rule | Group]
) -> Policy:
    """The policy with the first of the candidates that fits in, if one does."""
    for each in candidates:
        changed = replace(policy, **{section: {**getattr(policy, section), each.name: each}})  # type: ignore[arg-type]
        if not checker.check(changed):
            return changed
    return policy


# Networks, uplinks, endpoints


def make_networks(pick: Pick) -> dict[str, Network]:
    """Those that need an uplink get it later."""
    networks = {}
    for i in range(pick([2, 2, 3, 4])):
        mode = pick([Mode.ROUTED, Mode.NAT, Mode.ROUTED, Mode.ISOLATED])
        cidrs: tuple[Cidr, ...] = tuple(map(ip_network, pick(CIDRS if mode is Mode.ISOLATED else ROUTED_CIDRS)))
        is_open = mode is Mode.ISOLATED and pick([False, False, True])
        networks[f"n{i}"] = Network(
            f"n{i}",
            Vlan(10 * (i + 1)),
            cidrs=cidrs,
            mode=mode,
            members=Members.OPEN if is_open else Members.DECLARED,
            macs_per_port=pick([1, 2]),
            gateways=() if mode is Mode.ISOLATED else _gateways(pick, cidrs),
        )
    return networks


def _gateways(pick: Pick, cidrs: tuple[Cidr, ...]) -> tuple[Address, ...]:
    fit = [g for g in GATEWAYS if any(g in cidr for cidr in cidrs if cidr.version == g.version)]
    by_version = [[g for g in fit if g.version == version] for version in (4, 6)]
    found = tuple(pick(options) for options in by_version if options)
    return found if pick([True, True, True, False]) else found[:1]


def _uplinks(pick: Pick) -> list[Uplink]:
    found = []
    for name in ("wan", "lte")[: pick([1, 1, 2, 0])]:
        addresses = tuple(map(ip_interface, pick(_ON[name])))
        routes = tuple(
            Route(ip_network(to), ip_address(via)) for to, via in _some(pick, _ROUTES[name], pick([2, 1, 3]))
        )
        routes = tuple(r for r in routes if any(r.via in attached.network for attached in addresses))
        found.append(Uplink(name, f"eth-{name}", addresses, mac=pick([None, WAN_MAC]), routes=routes))
    return found


def _some(pick: Pick, options: Sequence[T], count: int) -> list[T]:
    chosen: list[T] = []
    while len(chosen) < min(count, len(options)):
        chosen.append(pick([option for option in options if option not in chosen]))
    return chosen


def _endpoints(pick: Pick, policy: Policy, i: int) -> list[Endpoint]:
    """One and the same, less and less of it."""
    chosen = tuple(_some(pick, list(policy.networks), pick([1, 1, 1, 2, 2])))
    able = [ip for ip in MEMBER_IPS if any(policy.networks[name].holds(ip) for name in chosen)]
    taken = {ip for other in policy.endpoints.values() for ip in other.ips}
    spare = [ip for ip in able if ip not in taken]
    fitting = tuple(_some(pick, pick([able, spare]), pick([2, 3, 3, 4, 1, 0])))
    routes = tuple(_some(pick, BEYOND, pick([0] * 6 + [1, 2])))
    labels, own_mac = pick(LABELS), Mac(0x020000000100 + i)
    full = Endpoint(
        f"e{i}", chosen, f"p{i}", Attach.UNTAGGED, mac=pick(MACS), ips=fitting, labels=labels, routes=routes
    )
    if all(policy.networks[name].members is Members.OPEN for name in chosen) and pick([True, False]):
        return [replace(full, networks=chosen[:1], mac=None, ips=(), routes=())]
    free = replace(full, ips=tuple(_some(pick, spare, 3)), mac=own_mac)
    tagged = Attach.TAGGED
    found = [full, free, replace(full, attach=tagged), replace(free, attach=tagged), replace(free, networks=chosen[:1])]
    return found if pick([True, True, True, False]) else [each for each in found if each.attach is tagged]


# Rewrites


def _rewrites(pick: Pick, policy: Policy, name: str) -> list[Rewrite]:
    """A few to choose from; in vain where no network has an uplink."""
    networks = [network for network in policy.networks.values() if network.uplink is not None]
    if not networks:
        return []
    network = pick(networks)
    members = [m for m in policy.members[network.name] if m.mac is not None and ips_in(m, network)]
    own = [attached.ip for attached in policy.uplinks[network.uplink or ""].addresses]
    kind = pick(["forward", "forward", "one_to_one", "dnat", "masquerade", "snat"])
    address = pick([*OUTSIDE_IPS, *own])
    if kind == "masquerade":
        return [Masquerade(name, network.name)]
    if kind == "snat":
        return [Snat(name, network.name, address, address + pick([0, 1]))]
    if not members:
        return []
    targets = tuple(Target(pick(members).name) for _ in range(pick([1, 1, 2, 3])))
    if kind == "forward":
        ports = tuple(replace(target, l4_port=pick([None, 80, 8001])) for target in targets)
        at = pick([None, None, address])
        return [Forward(name, network.name, pick([p.TCP, p.TCP, p.UDP, p.SCTP]), pick(PORTS), ports, at)]
    if kind == "dnat":
        return [Forward(name, network.name, None, None, targets[:1], at) for at in (address, *OUTSIDE_IPS)]
    stateless = pick([False, True])
    return [OneToOne(name, network.name, at, targets[0], stateless) for at in (address, *OUTSIDE_IPS)]


# Rules and defaults


def with_rules(pick: Pick, policy: Policy, checker: Checker | None = None) -> Policy:
    """The policy with other groups, tiers, rules and defaults than it has."""
    checker = checker or Checker()
    tiers = ("first", "second", "third")[: pick([1, 1, 2, 3])]
    defaults = Defaults(
        intra_network=pick([Decision.ALLOW] * 4 + [Decision.DROP, Decision.REJECT]),
        inter_network=pick([Decision.ALLOW] * 4 + [Decision.DROP, Decision.REJECT]),
    )
    policy = replace(policy, groups={}, rules={}, tiers=tiers, defaults=defaults)
    for _ in range(pick([0, 0, 1, 2])):
        ends = [*policy.networks, OUTSIDE]
        pair = Pair(pick(ends), pick(ends), pick(list(Decision)))
        changed = replace(policy, defaults=replace(policy.defaults, pairs=(*policy.defaults.pairs, pair)))
        policy = policy if checker.check(changed) else changed
    for i in range(pick([0, 1, 2])):
        policy = _with(checker, policy, "groups", [_group(pick, policy, f"g{i}")])
    for i in range(pick([0, 1, 2, 3, 4])):
        policy = _with(checker, policy, "rules", [_rule(pick, policy, f"r{i}")])
    return policy


def _cidr(pick: Pick) -> Cidr:
    address = pick(
        [*MEMBER_IPS, *WORLD, *MEMBER_IPS, *OUTSIDE_IPS, ip_address("10.0.0.255"), ip_address("224.0.0.251")]
    )
    lengths = [8, 23, 24, 31, 32] if address.version == 4 else [32, 48, 64, 128]
    return ip_network(
        (int(address), pick(lengths)) if address.version == 4 else f"{address}/{pick(lengths)}", strict=False
    )


def _peers(pick: Pick, policy: Policy) -> Peers:
    """One to three things that a side of a rule can name."""
    found: dict[str, list[str]] = {"endpoints": [], "networks": [], "groups": []}
    cidrs, outside = [], False
    for _ in range(pick([1, 1, 2, 3])):
        kind = pick(["endpoints", "networks", "cidrs", "groups", "outside"])
        if kind == "cidrs":
            cidrs.append(_cidr(pick))
        elif kind == "outside":
            outside = True
        elif names := [n for n in getattr(policy, kind) if n not in found[kind]]:
            found[kind].append(pick(names))
    names = {kind: tuple(each) for kind, each in found.items()}
    return Peers(**names, outside=outside, cidrs=tuple(dict.fromkeys(cidrs)))


def _group(pick: Pick, policy: Policy, name: str) -> Group:
    members = _peers(pick, policy)
    wide = [cidr for cidr in members.cidrs if cidr.prefixlen < 32]
    excluded: tuple[Cidr, ...] = ()
    if wide and pick([True, False]):
        inside = [ip for ip in (*MEMBER_IPS, *WORLD) if ip.version == wide[0].version and ip in wide[0]]
        excluded = tuple(ip_network(ip) for ip in inside[:1])
    return Group(name, members, pick([(), (("app", "web"),), (("env", "test"),)]), excluded)


def _rule(pick: Pick, policy: Policy, name: str) -> Rule:
    action = pick([Action.ALLOW, Action.ALLOW, Action.DROP, Action.REJECT, Action.PASS, Action.LOG])
    sides = [pick([Peers(), _peers(pick, policy)]) for _ in range(2)]
    keep = action is Action.ALLOW and pick([False, True])
    return Rule(
        name,
        action,
        pick(list(policy.tiers)),
        *sides,
        service=pick(SERVICES),
        log=LogRate(3, 60) if action is Action.LOG or pick([False, False, True]) else None,
        on_change=OnChange.KEEP if keep else OnChange.CUT,
    )


def _range(first: int, last: int) -> PortRange:
    return PortRange(first, last)


SERVICES = [
    Service(),
    Service(),
    Service(p.TCP, (_range(80, 80),)),
    Service(p.TCP, (_range(23, 23), _range(8000, 8080)), (_range(1000, 1001), _range(2048, 4095))),
    Service(p.UDP, (_range(0, 1023),)),
    Service(p.UDP),
    Service(p.SCTP, (_range(80, 8001),)),
    Service(p.ICMP),
    Service(p.ICMP, icmp=(IcmpType(8), IcmpType(3, 1))),
    Service(p.ICMPV6, icmp=(IcmpType(128, 0),)),
    Service(p.ICMPV6),
    Service(47),
]


def outside_addresses(policy: Policy) -> list[Address]:
    """What uplinks and rewrites have, each once."""
    found: list[IPv4Address | IPv6Address] = [a.ip for uplink in policy.uplinks.values() for a in uplink.addresses]
    for rewrite in policy.rewrites.values():
        match rewrite:
            case Snat():
                found += [rewrite.first, rewrite.last]
            case Forward() | OneToOne() if rewrite.address is not None:
                found.append(rewrite.address)
    return list(dict.fromkeys(found))
