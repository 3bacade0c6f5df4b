"""Between which hosts tunnels are needed, and what their ports are called. PURE."""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import blake2b

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


def peers_of(policy: Policy, present: Mapping[str, frozenset[str]]) -> dict[str, frozenset[str]]:
    """Host -> the hosts it needs a tunnel to: those with which it shares a network that no trunk carries.

    present: host -> the networks that have members on it.
    """
    by_network: dict[str, list[Host]] = {}
    for name, networks in present.items():
        for network in networks:
            by_network.setdefault(network, []).append(policy.hosts[name])
    found: dict[str, set[str]] = {name: set() for name in policy.hosts}
    for network, hosts in by_network.items():
        for one in hosts:
            known = found[one.name]
            known.update(
                other.name
                for other in hosts
                if other.name not in known and other is not one and tunnel_carries(one, other, policy.networks[network])
            )
    return {name: frozenset(peers) for name, peers in found.items()}
