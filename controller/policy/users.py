"""Who refers to a named object of a policy, and would be left without it. PURE."""

from __future__ import annotations

from collections.abc import Iterator

from controller.control import Kind
from controller.errors import Problem, pointer
from controller.policy import rules
from controller.policy.firewall import Peers
from controller.policy.model import Policy
from controller.policy.rewrites import Forward, OneToOne, Target


def users_of(policy: Policy, kind: Kind, name: str) -> list[Problem]:
    """What stands in the way of deleting an object: a problem for each place that names it."""
    match kind:
        case "networks":
            return [*_members(policy, name), *_of_network(policy, name), *_named(policy, "network", name)]
        case "endpoints":
            return [*_targets(policy, name), *_named(policy, "endpoint", name)]
        case "groups":
            return list(_named(policy, "group", name))
        case "hosts":
            return list(_on_host(policy, name))
        case "uplinks":
            return [
                _in_the_way(("networks", network.name, "uplink"), f"network {network.name!r} has uplink {name!r}")
                for network in policy.networks.values()
                if network.uplink == name
            ]
        case _:
            return []


def sharers_of(policy: Policy, kind: Kind, name: str) -> list[Problem]:
    """What stands in the way of a new object's name: rules and groups that mean another object by it."""
    if kind not in ("networks", "endpoints", "groups"):
        return []
    known = {"endpoint": policy.endpoints, "network": policy.networks, "group": policy.groups}
    return [
        rules.AMBIGUOUS.problem(at, name=name, kinds=rules.Words(f"{_article(one)} and {_article(kind[:-1])}"))
        for one, names in known.items()
        if name in names
        for at, _ in _places(policy, one, name)
    ]


def _article(one: str) -> str:
    return f"an {one}" if one[0] in "ae" else f"a {one}"


def _in_the_way(at: tuple[str | int, ...], what: str) -> Problem:
    return Problem(pointer(*at), f"{what}, which was to be deleted", "change that first")


def _members(policy: Policy, name: str) -> Iterator[Problem]:
    for endpoint in policy.endpoints.values():
        if name in endpoint.networks:
            where = ("networks", endpoint.networks.index(name)) if endpoint.shared else ("network",)
            message = f"endpoint {endpoint.name!r} is a member of network {name!r}, which was to be deleted"
            yield Problem(pointer("endpoints", endpoint.name, *where), message, "take it out of the network first")


def _of_network(policy: Policy, name: str) -> Iterator[Problem]:
    for host in policy.hosts.values():
        if host.native == name:
            yield _in_the_way(("hosts", host.name, "native"), f"host {host.name!r} has native network {name!r}")
    for index, pair in enumerate(policy.defaults.pairs):
        for key, side in (("from", pair.origin), ("to", pair.target)):
            if side == name:
                yield _in_the_way(
                    ("defaults", "pairs", index, key), f"a pair of the defaults is about network {name!r}"
                )
    for rewrite in policy.rewrites.values():
        if rewrite.network == name:
            at = ("rewrites", rewrite.name, "network")
            yield _in_the_way(at, f"rewrite {rewrite.name!r} is of network {name!r}")


def _on_host(policy: Policy, name: str) -> Iterator[Problem]:
    for endpoint in policy.endpoints.values():
        if name == endpoint.host:
            message = f"endpoint {endpoint.name!r} is on host {name!r}, which was to be deleted"
            yield Problem(pointer("endpoints", endpoint.name, "host"), message, "move it to another host first")
    for uplink in policy.uplinks.values():
        if name == uplink.host:
            yield _in_the_way(("uplinks", uplink.name, "host"), f"uplink {uplink.name!r} is on host {name!r}")


def _targets(policy: Policy, name: str) -> Iterator[Problem]:
    for rewrite in policy.rewrites.values():
        targets: tuple[Target, ...] = ()
        if isinstance(rewrite, Forward):
            targets = rewrite.targets
        elif isinstance(rewrite, OneToOne):
            targets = (rewrite.target,)
        if any(target.endpoint == name for target in targets):
            at = ("rewrites", rewrite.name, "to")
            yield _in_the_way(at, f"rewrite {rewrite.name!r} leads to endpoint {name!r}")


def _named(policy: Policy, one: str, name: str) -> Iterator[Problem]:
    for at, who in _places(policy, one, name):
        yield _in_the_way(at, f"{who} names {one} {name!r}")


def _places(policy: Policy, one: str, name: str) -> Iterator[tuple[tuple[str | int, ...], str]]:
    """(where, who) for each rule and group that names an endpoint, network or group."""
    for rule in policy.rules.values():
        for key, peers in (("from", rule.origin), ("to", rule.target)):
            if name in _names(peers, one):
                yield ("rules", rule.name, key), f"rule {rule.name!r}"
    for group in policy.groups.values():
        if name in _names(group.members, one):
            yield ("groups", group.name, "members"), f"group {group.name!r}"


def _names(peers: Peers, one: str) -> tuple[str, ...]:
    match one:
        case "endpoint":
            return peers.endpoints
        case "network":
            return peers.networks
        case _:
            return peers.groups
