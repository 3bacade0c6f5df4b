"""Small consistent policies, bindings, and frames that ask awkward questions of them.

Policies are consistent by construction (what `check` refuses is not made) and crowded on purpose: few MACs, addresses
and networks, so that the same ones meet in different networks. A frame is what a well-behaved member would send, and
then up to two of its headers or its tags are changed to something else that occurs in the policy, or nearly.

Everything is made by choosing from lists. `cases()` lets Hypothesis choose, which then shrinks what fails; `seeded(n)`
lets a seeded generator choose, which is fast and even. Both make the same things.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache, lru_cache
from ipaddress import ip_address, ip_network
from itertools import combinations
from random import Random
from typing import Protocol, TypeVar

from hypothesis import strategies as st

from controller.flow import packet as p
from controller.flow.fields import LOCAL_PORT
from controller.flow.packet import Packet
from controller.mac import Mac
from controller.pipeline.compile import Compiled, compile_bridge
from controller.pipeline.view import BridgeView
from controller.policy.model import EMPTY_POLICY, Address, Attach, Endpoint, Members, Network, Policy, Vlan, ips_in

T = TypeVar("T")
Make = Callable[[], Packet]
"""What makes the frame that is chosen, and it only."""

MACS = [Mac(0x020000000001 + i) for i in range(4)]
STRANGERS = [Mac(0x02000000AA01 + i) for i in range(3)]
"""MACs that no endpoint declares: what learning ports use."""
IPS = [ip_address(text) for text in ("10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.1.1", "fd00::1", "fd00::2", "fd00::3")]
FOREIGN_IPV4 = [int(ip_address(text)) for text in ("10.0.0.77", "192.0.2.1", "10.0.0.255", "224.0.0.251", "0.0.0.0")]
FOREIGN_IPV6 = [int(ip_address(text)) for text in ("fd00::77", "2001:db8::1", "ff02::1", "::", "ff05::2")]
CIDRS: list[tuple[str, ...]] = [
    (),
    ("10.0.0.0/24",),
    ("10.0.0.0/24", "fd00::/64"),
    ("10.0.0.0/16", "fd00::/48"),
    ("10.0.0.0/29", "10.0.1.0/24", "fd00::/64"),
    ("fd00::/64",),
]
MDNS = 0x01005E0000FB
GROUPS = [p.BROADCAST, p.multicast_mac(p.ALL_NODES), MDNS, 0x0180C2000010]
RESERVED = [0x0180C2000000, 0x0180C200000E]
NOBODY = 99
"""An ofport that no endpoint has."""


class Pick(Protocol):
    """Chooses one of a sequence; the first ones are the plainest."""

    def __call__(self, options: Sequence[T], /) -> T: ...


@dataclass(frozen=True, repr=False)
class Case:
    """A policy, its bindings on a bridge, and frames with the ports at which they arrive, one after the other."""

    policy: Policy
    bindings: dict[str, int]
    frames: tuple[tuple[int, Packet], ...]

    def __repr__(self) -> str:
        """For people: a line for each network, endpoint and frame."""
        lines = [""]
        for network in self.policy.networks.values():
            cidrs = " ".join(map(str, network.cidrs))
            lines.append(f"{network.name}: {network.members.value}, vlan {network.vlan}, cidrs [{cidrs}]")
        for member in self.policy.endpoints.values():
            where = f"port {self.bindings[member.name]}" if member.name in self.bindings else "unbound"
            ips = " ".join(map(str, member.ips))
            networks = " ".join(member.networks)
            lines.append(f"{member.name}: {where}, in [{networks}], {member.attach.value}, {member.mac} [{ips}]")
        return "\n".join(lines + [f"at port {port}: {frame}" for port, frame in self.frames])


@st.composite
def cases(draw: st.DrawFn, max_frames: int = 12) -> Case:
    """A whole case, chosen by Hypothesis."""
    return make_case(by_hypothesis(draw), draw(st.integers(1, max_frames)))


def by_hypothesis(draw: Callable[[st.SearchStrategy[int]], int]) -> Pick:
    """Places are drawn and not elements: a strategy of integers is made once, one of elements for each list anew."""
    return lambda options: options[draw(st.integers(0, len(options) - 1))]


@lru_cache(maxsize=2048)
def seeded(seed: int) -> Case:
    """A whole case, chosen by a generator with this seed. Several tests look at the same ones: they change nothing."""
    return make_case(Random(seed).choice, 24)


def make_case(pick: Pick, frames: int) -> Case:
    policy = make_policy(pick)
    bound = make_bindings(pick, policy)
    return Case(policy, bound, tuple(make_arrival(pick, policy, bound) for _ in range(frames)))


def make_policy(pick: Pick) -> Policy:
    networks = {}
    for i in range(pick([2, 3, 4])):
        networks[f"n{i}"] = Network(
            name=f"n{i}",
            vlan=Vlan(10 * (i + 1)),
            cidrs=tuple(map(ip_network, pick(CIDRS))),
            members=pick([Members.DECLARED, Members.DECLARED, Members.OPEN]),
            macs_per_port=pick([1, 2]),
        )
    endpoints: list[Endpoint] = []
    for i in range(pick([2, 3, 4, 5, 6])):
        chosen = _some(pick, list(networks), pick([1, 1, 1, 2, 2, 3]))
        attach, mac, ips = pick(list(Attach)), pick(MACS), _some(pick, IPS, pick([4, 4, 3, 2, 0]))
        endpoint = Endpoint(f"e{i}", tuple(chosen), port=f"p{i}", attach=attach, mac=mac, ips=tuple(ips))
        learns = all(networks[name].members is Members.OPEN for name in chosen) and pick([False, True])
        endpoints.append(_fit(endpoint, learns, endpoints, networks))
    return Policy(networks, {e.name: e for e in _retag(endpoints, networks)}, {})


def _some(pick: Pick, options: Sequence[T], count: int) -> list[T]:
    """Up to count of the options, each once."""
    chosen: list[T] = []
    while len(chosen) < min(count, len(options)):
        chosen.append(pick([option for option in options if option not in chosen]))
    return chosen


def _fit(endpoint: Endpoint, learns: bool, others: list[Endpoint], networks: dict[str, Network]) -> Endpoint:
    """The endpoint without what would be there twice in one of its networks."""
    if learns:
        return replace(endpoint, mac=None, ips=(), attach=Attach.TAGGED if endpoint.shared else endpoint.attach)
    near = [other for other in others if set(other.networks) & set(endpoint.networks)]
    spare = [endpoint.mac, *MACS, *(Mac(0x020000000100 + i) for i in range(len(others) + 1))]
    mac = next(mac for mac in spare if all(other.mac != mac for other in near))
    ips = [ip for ip in endpoint.ips if _is_free(ip, endpoint, near, networks)]
    return replace(endpoint, mac=mac, ips=tuple(ips))


def _is_free(ip: Address, endpoint: Endpoint, near: list[Endpoint], networks: dict[str, Network]) -> bool:
    held = [name for name in endpoint.networks if networks[name].holds(ip)]
    return bool(held) and not any(ip in ips_in(o, networks[n]) for o in near for n in held if n in o.networks)


def _retag(endpoints: list[Endpoint], networks: dict[str, Network]) -> list[Endpoint]:
    """Untagged shared members whose networks are open or have a MAC or an address in common become tagged."""

    def collide(one: str, two: str) -> bool:
        for a in endpoints:
            for b in endpoints:
                if a is not b and one in a.networks and two in b.networks:
                    common = set(ips_in(a, networks[one])) & set(ips_in(b, networks[two]))
                    if common or (a.mac == b.mac and a.mac):
                        return True
        return False

    def is_refused(endpoint: Endpoint) -> bool:
        is_open = any(networks[name].members is Members.OPEN for name in endpoint.networks)
        return endpoint.shared and (is_open or any(collide(a, b) for a, b in combinations(endpoint.networks, 2)))

    return [replace(endpoint, attach=Attach.TAGGED) if is_refused(endpoint) else endpoint for endpoint in endpoints]


def make_bindings(pick: Pick, policy: Policy) -> dict[str, int]:
    """Most endpoints, each on a port of its own; the last one sometimes on the bridge's own."""
    bound = {name: at + 1 for at, name in enumerate(policy.endpoints) if pick([True] * 7 + [False])}
    if bound and pick([False] * 3 + [True]):
        bound[list(bound)[-1]] = LOCAL_PORT
    return bound


@cache
def unused(advertises: bool = True) -> Compiled:
    """A bridge before there is a policy: what all bridges have is made."""
    return compile_bridge(EMPTY_POLICY, {}, bridge=BridgeView(advertises))


def make_arrival(pick: Pick, policy: Policy, bound: dict[str, int]) -> tuple[int, Packet]:
    """(ofport, frame)"""
    if not bound:
        return NOBODY, p.dhcp_discover(MACS[0].value)
    sender = policy.endpoints[pick(sorted(bound))]
    network = policy.networks[pick(sender.networks)]
    near = [member for member in policy.members[network.name] if member is not sender]
    target = pick(near * 4 + list(policy.endpoints.values()))
    frame = _honest(pick, network, sender, target)
    for _ in range(pick([0, 0, 0, 1, 1, 2])):
        frame = changed(pick, frame)
    right = (int(network.vlan or 0),) if sender.attach is Attach.TAGGED else ()
    wrong = [(), (0,), (10,), (20,), (999,), (*right, 10), (0, *right), (10, 20), (20, 20, 20)]
    tags = pick([right] * 60 + wrong)
    return pick([bound[sender.name]] * 40 + [NOBODY]), frame.with_tags(*tags)


def _honest(pick: Pick, network: Network, sender: Endpoint, target: Endpoint) -> Packet:
    """What a member of the network would send to another one."""
    eth = _mac(pick, sender), _mac(pick, target)
    versions = [version for version in (4, 6) if _own(network, sender, version)] or [4]
    version = pick(versions)
    src, dst = _address(pick, network, sender, version), _address(pick, network, target, version)
    if version == 6:
        return pick(_honest_ipv6(eth, src, dst))()
    to_all = pick([0xFFFFFFFF, int(ip_address("10.0.0.255")), int(ip_address("10.0.1.255"))])
    return pick(_honest_arp(eth, src, dst) if pick([False, True]) else _honest_ipv4(eth, src, dst, to_all))()


def _honest_ipv4(eth: tuple[int, int], src: int, dst: int, to_all: int) -> list[Make]:
    return [
        lambda: p.ipv4_icmp(eth, (src, dst)),
        lambda: p.ipv4_udp(eth, (src, dst), (67, 68)),
        lambda: p.ipv4_tcp(eth, (src, dst), (1024, 80)),
        lambda: p.ipv4_udp((eth[0], p.BROADCAST), (src, to_all), (137, 137)),
        lambda: p.ipv4_udp((eth[0], MDNS), (src, FOREIGN_IPV4[3]), (5353, 5353)),
        lambda: p.dhcp_discover(eth[0]),
        lambda: p.ipv4_udp(eth, (src, 0xFFFFFFFF), (67, 68)),
    ]


def _honest_arp(eth: tuple[int, int], src: int, dst: int) -> list[Make]:
    return [
        lambda: p.arp_request(eth[0], src, dst),
        lambda: p.arp_request(eth[0], src, dst, eth[1]),
        lambda: p.arp_request(eth[0], 0, dst),
        lambda: p.arp_request(eth[0], src, src),
        lambda: p.arp_reply(eth[0], src, eth[1], dst),
        lambda: p.arp_reply(eth[0], src, eth[1], 0),
        lambda: p.arp_reply(eth[0], src, p.BROADCAST, src),
    ]


def _honest_ipv6(eth: tuple[int, int], src: int, dst: int) -> list[Make]:
    all_nodes = eth[0], p.multicast_mac(p.ALL_NODES)
    return [
        lambda: p.ipv6_udp(eth, (src, dst), (546, 547)),
        lambda: p.icmpv6(eth, (src, dst), 128),
        lambda: p.icmpv6(all_nodes, (src, p.ALL_NODES), 128),
        lambda: p.icmpv6(all_nodes, (0, p.ALL_NODES), 143),
        lambda: p.icmpv6(all_nodes, (src, p.ALL_NODES), 134),
        lambda: p.neighbor_solicitation(eth[0], src, dst, eth[0]),
        lambda: p.neighbor_solicitation(eth[0], src, dst, eth[0]),
        lambda: p.neighbor_solicitation(eth[0], src, dst, eth[0]).with_(eth_dst=eth[1], ipv6_dst=dst),
        lambda: p.neighbor_solicitation(eth[0], 0, src),
        lambda: p.neighbor_advertisement(eth, (src, dst), src, eth[0]),
        lambda: p.neighbor_advertisement(eth, (src, dst), src),
        lambda: p.neighbor_advertisement(all_nodes, (src, p.ALL_NODES), src, eth[0]),
    ]


def _mac(pick: Pick, of: Endpoint) -> int:
    """The endpoint's own; for one that learns, mostly a stranger's."""
    return of.mac.value if of.mac else pick(STRANGERS * 3 + MACS[:1]).value


def _own(network: Network, of: Endpoint, version: int) -> list[int]:
    """The endpoint's addresses in the network, link-local included; for one that learns, one of nobody's."""
    if of.mac is None:
        return [(FOREIGN_IPV4 if version == 4 else FOREIGN_IPV6)[0]]
    own = [int(ip) for ip in ips_in(of, network) if ip.version == version]
    return [*own, int(of.mac.link_local)] if version == 6 and own else own


def _address(pick: Pick, network: Network, of: Endpoint, version: int) -> int:
    return pick(_own(network, of, version) or [int(ip) for ip in IPS if ip.version == version])


def changed(pick: Pick, frame: Packet) -> Packet:
    """The frame with one header changed."""
    present = [name for name in p.WIDTHS if name != "nd_options_type" and p.has_header(name, frame.get)]
    name = pick(present)
    value = pick(_pool(name))
    if name in ("nd_sll", "nd_tll"):
        option = p.SLL_OPTION if name == "nd_sll" else p.TLL_OPTION
        return frame.with_(**{name: value}, nd_options_type=option if value else 0)
    if name == "icmpv6_type":  # an option belongs to one type only
        return frame.with_(icmpv6_type=value, nd_options_type=0, nd_sll=0, nd_tll=0)
    return frame.with_(**{name: value})


def _pool(name: str) -> list[int]:
    """Values worth trying."""
    macs = [mac.value for mac in MACS + STRANGERS]
    match name, p.WIDTHS[name]:
        case ("eth_dst", _):
            return macs + GROUPS + RESERVED
        case ("eth_type", _):
            return [p.ETH_RARP, p.ETH_LLC, 0x88CC, 0x1234, p.ETH_IPV4, p.ETH_IPV6, p.ETH_ARP]
        case ("nw_proto", _):
            return [p.ICMP, p.TCP, p.UDP, p.ICMPV6, 47]
        case ("icmpv6_type", _):
            return [128, 133, 134, 135, 136, 137, 143]
        case (_, 48):
            return [*macs, 0, p.BROADCAST, MDNS]
        case (_, 128):
            link_local = [int(mac.link_local) for mac in MACS]
            return [int(ip) for ip in IPS if ip.version == 6] + link_local + FOREIGN_IPV6
        case (_, 32) if name != "nd_reserved":
            return [int(ip) for ip in IPS if ip.version == 4] + FOREIGN_IPV4 + [0xFFFFFFFF]
        case (_, 16):
            return [0, 67, 68, 80]
        case _:
            return [0, 1, 2, 3]
