"""Between which hosts tunnels are needed, and what their ports are called. PURE."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import blake2b
from types import MappingProxyType

from controller.policy.model import Host, Network, Policy

PREFIX = "tp-"


def tunnel_port(peer: str) -> str:
    """The name of the port of the tunnel to a host: 13 characters, made of the host's name."""
    return PREFIX + blake2b(peer.encode(), digest_size=5).hexdigest()


def patch_peer(host: str) -> str:
    """The name of the far end of a host's trunk where that is a patch, on the other bridge."""
    return PREFIX + "p" + blake2b(host.encode(), digest_size=5).hexdigest()


def trunk_carries(one: Host, other: Host, network: Network) -> bool:
    """Whether a network travels between two hosts on their trunks: told by its vlan, or plain on both."""
    if one.trunk is None or other.trunk is None:
        return False
    if network.name in (one.native, other.native):
        return one.native == other.native
    return network.vlan is not None


def tunnel_joins(one: Host, other: Host) -> bool:
    """Whether a tunnel can lie between two hosts: both have a vtep, of one IP version."""
    return one.vtep is not None and other.vtep is not None and one.vtep.version == other.vtep.version


def tunnel_carries(one: Host, other: Host, network: Network) -> bool:
    """Whether a network travels between two hosts in a tunnel: vteps of one IP version, and no trunk for it."""
    return network.vni is not None and tunnel_joins(one, other) and not trunk_carries(one, other, network)


@dataclass(frozen=True, slots=True)
class Reach:
    """Between which hosts a network travels in tunnels. peers: host -> the others; a host without any has no entry.

    made_of: the network, and the hosts that have members of it.
    """

    made_of: tuple[Network, tuple[Host, ...]]
    peers: Mapping[str, frozenset[str]]


NO_REACH: Mapping[str, Reach] = MappingProxyType({})


def find_reach(
    policy: Policy, present: Mapping[str, frozenset[str]], before: Mapping[str, Reach] = NO_REACH
) -> Mapping[str, Reach]:
    """Every network's. present: host -> the networks that have members on it. before: an earlier result."""
    on: dict[str, list[Host]] = {name: [] for name in policy.networks}
    for host in policy.hosts.values():
        for name in present.get(host.name, ()):
            on[name].append(host)
    return {name: _reach(policy.networks[name], tuple(hosts), before.get(name)) for name, hosts in on.items()}


def _reach(network: Network, hosts: tuple[Host, ...], before: Reach | None) -> Reach:
    made_of = (network, hosts)
    if before is not None and before.made_of == made_of:
        return before
    peers: dict[str, frozenset[str]] = {}
    for one in hosts:
        others = frozenset(b.name for b in hosts if b is not one and tunnel_carries(one, b, network))
        if others:
            peers[one.name] = others
    return Reach(made_of, peers)


def peers_of(policy: Policy, reach: Mapping[str, Reach]) -> dict[str, frozenset[str]]:
    """Host -> the hosts it needs a tunnel to: those with which it shares a network that no trunk carries."""
    found: dict[str, set[str]] = {name: set() for name in policy.hosts}
    for one in reach.values():
        for name, peers in one.peers.items():
            found[name] |= peers
    return {name: frozenset(peers) for name, peers in found.items()}
