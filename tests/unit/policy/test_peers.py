"""Groups resolved, whom peers select, and which peers and services cover others."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from ipaddress import ip_address, ip_network
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controller.mac import Mac
from controller.policy.cover_peers import NOTHING_COVERED, find_coverers
from controller.policy.cover_services import service_covers
from controller.policy.firewall import ANYBODY, Group, IcmpType, Peers, PortRange, Service
from controller.policy.model import OUTSIDE, Address, Endpoint, Network, Policy, Vlan
from controller.policy.peers import (
    NO_GROUPS,
    NOBODY,
    Block,
    ResolvedGroup,
    resolve_again,
    resolve_groups,
    selects,
)
from controller.policy.services import merged, without_covered

NETWORKS = {name: Network(name, vlan=Vlan(place)) for place, name in enumerate(("green", "pink", "blue"), 1)}
ENDPOINTS = {
    "web1": Endpoint("web1", ("green",), "w1", mac=Mac(1), ips=(ip_address("10.0.0.1"),), labels=(("app", "web"),)),
    "web2": Endpoint(
        "web2", ("pink",), "w2", mac=Mac(2), ips=(ip_address("10.0.0.2"), ip_address("fd00::2")),
        labels=(("app", "web"), ("env", "test")),
    ),
    "nas": Endpoint(
        "nas", ("green", "pink"), "n", mac=Mac(9), ips=(ip_address("10.0.0.9"),), labels=(("env", "test"),)
    ),
    "dark": Endpoint("dark", ("blue",), "d", mac=Mac(8)),
}  # fmt: skip


def policy(*groups: Group) -> Policy:
    return Policy(NETWORKS, ENDPOINTS, {}, groups={group.name: group for group in groups})


def cidrs(*texts: str) -> tuple[Any, ...]:
    return tuple(map(ip_network, texts))


def test_groups_are_the_union_of_their_parts() -> None:
    groups = resolve_groups(
        policy(
            Group("all", Peers(endpoints=("nas",), networks=("blue",), groups=("webs", "partners"), outside=True)),
            Group("webs", selector=(("app", "web"),)),
            Group("tests", selector=(("app", "web"), ("env", "test"))),
            Group("none", selector=(("app", "db"),)),
            Group("partners", Peers(cidrs=cidrs("192.0.2.0/24")), excluded=cidrs("192.0.2.128/25")),
            Group("empty"),
        )
    )
    partners = Block(cidrs("192.0.2.0/24"), cidrs("192.0.2.128/25"))
    assert list(groups) == ["all", "webs", "tests", "none", "partners", "empty"]
    assert groups["webs"].endpoints == {"web1", "web2"}
    assert groups["tests"].endpoints == {"web2"}
    assert groups["all"] == ResolvedGroup(frozenset(("nas", "web1", "web2")), frozenset(("blue",)), True, (partners,))
    assert groups["none"].empty
    assert groups["empty"] == NOBODY


def test_what_one_group_excludes_another_may_mean() -> None:
    groups = resolve_groups(
        policy(
            Group("a", Peers(cidrs=cidrs("10.0.0.0/8")), excluded=cidrs("10.1.0.0/16")),
            Group("b", Peers(cidrs=cidrs("10.1.2.0/24"), groups=("a",))),
        )
    )
    for text, expected in (("10.0.0.1", True), ("10.1.0.1", False), ("10.1.2.1", True), ("11.0.0.1", False)):
        assert selects(groups, Peers(groups=("b",)), "green", ip_address(text)) is expected


def test_a_long_chain_of_groups_is_resolved() -> None:
    chain = [Group(f"g{i}", Peers(groups=(f"g{i + 1}",))) for i in range(5000)]
    assert resolve_groups(policy(*chain, Group("g5000", Peers(endpoints=("nas",)))))["g0"].endpoints == {"nas"}


@pytest.mark.parametrize(
    ("peers", "network", "address", "endpoint", "expected"),
    [
        (ANYBODY, "green", None, None, True),
        (ANYBODY, OUTSIDE, "192.0.2.1", None, True),
        (Peers(networks=("green",)), "green", "10.0.0.1", "web1", True),
        (Peers(networks=("green",)), "green", "224.0.0.1", None, True),
        (Peers(networks=("green",)), "pink", "10.0.0.9", "nas", False),
        (Peers(endpoints=("nas",)), "pink", "10.0.0.9", "nas", True),
        (Peers(endpoints=("nas",)), "pink", "224.0.0.1", None, False),
        (Peers(cidrs=cidrs("10.0.0.0/24")), "pink", "10.0.0.9", "nas", True),
        (Peers(cidrs=cidrs("10.0.0.0/24")), "pink", None, "nas", False),
        (Peers(cidrs=cidrs("0.0.0.0/0")), "pink", "fd00::2", "web2", False),
        (Peers(outside=True), OUTSIDE, "192.0.2.1", None, True),
        (Peers(outside=True), "green", "192.0.2.1", None, False),
        (Peers(groups=("webs",)), "pink", "10.0.0.2", "web2", True),
        (Peers(groups=("webs",)), "pink", "10.0.0.9", "nas", False),
        (Peers(groups=("empty",)), "green", "10.0.0.1", "web1", False),
    ],
)
def test_peers_select_by_any_of_their_parts(
    peers: Peers, network: str, address: str | None, endpoint: str | None, expected: bool
) -> None:
    groups = resolve_groups(policy(Group("webs", selector=(("app", "web"),)), Group("empty")))
    assert selects(groups, peers, network, address and ip_address(address), endpoint) is expected  # type: ignore[arg-type]


CIDRS = ["10.0.0.0/24", "10.0.0.0/30", "10.0.0.2/32", "0.0.0.0/0", "fd00::/64", "fe80::/10", "10.0.0.128/25"]
SOME_CIDRS = st.lists(st.sampled_from(CIDRS).map(ip_network), max_size=2, unique=True).map(tuple)
GROUPS = st.builds(
    lambda members, excluded, selector: (members, excluded, selector),
    st.builds(
        Peers,
        endpoints=st.lists(st.sampled_from(sorted(ENDPOINTS)), max_size=2, unique=True).map(tuple),
        networks=st.lists(st.sampled_from(sorted(NETWORKS)), max_size=2, unique=True).map(tuple),
        outside=st.booleans(),
        cidrs=SOME_CIDRS,
    ),
    SOME_CIDRS,
    st.sampled_from([(), (("app", "web"),), (("env", "test"),)]),
)
PEERS = st.builds(
    Peers,
    endpoints=st.lists(st.sampled_from(sorted(ENDPOINTS)), max_size=2, unique=True).map(tuple),
    networks=st.lists(st.sampled_from(sorted(NETWORKS)), max_size=2, unique=True).map(tuple),
    groups=st.lists(st.sampled_from(["g0", "g1"]), max_size=2, unique=True).map(tuple),
    outside=st.booleans(),
    cidrs=SOME_CIDRS,
)


def coverers(several: list[Peers], groups: Mapping[str, ResolvedGroup]) -> tuple[frozenset[int], ...]:
    return find_coverers(tuple(several), groups, ENDPOINTS).coverers


def parties() -> list[tuple[str, Address | None, str | None]]:
    """Everybody that a packet may come from or go to: members, strangers, groups of receivers, the world outside."""
    found: list[tuple[str, Address | None, str | None]] = []
    for endpoint in ENDPOINTS.values():
        for network in endpoint.networks:
            found += [(network, ip, endpoint.name) for ip in endpoint.ips]
            if any(ip.version == 6 for ip in endpoint.ips) and endpoint.mac is not None:
                found.append((network, endpoint.mac.link_local, endpoint.name))
    strange = ["10.0.0.3", "10.0.0.200", "10.9.0.1", "0.0.0.0", "224.0.0.1", "fd00::9", "ff02::1", "2001:db8::1"]
    found += [(network, ip_address(text), None) for network in (*NETWORKS, OUTSIDE) for text in strange]
    return found


@settings(max_examples=400)
@given(GROUPS, GROUPS, st.lists(PEERS, min_size=2, max_size=6))
def test_what_is_said_to_cover_selects_everybody_that_the_other_does(
    zero: tuple[Any, ...], one: tuple[Any, ...], several: list[Peers]
) -> None:
    made = policy(*(Group(f"g{i}", peers, chosen, excluded) for i, (peers, excluded, chosen) in enumerate((zero, one))))
    groups = resolve_groups(made)
    several = list(dict.fromkeys(several))
    for place, (narrow, numbers) in enumerate(zip(several, coverers(several, groups), strict=True)):
        assert place in numbers
        for number, wide in enumerate(several):
            if number in numbers:
                for party in parties():
                    assert not selects(groups, narrow, *party) or selects(groups, wide, *party), party
            elif wide.anybody:
                pytest.fail("anybody covers all")


@pytest.mark.parametrize(
    ("wide", "narrow"),
    [
        (Peers(networks=("green",)), Peers(endpoints=("web1",))),
        (Peers(networks=("green", "pink")), Peers(endpoints=("nas",))),
        (Peers(cidrs=cidrs("10.0.0.0/24")), Peers(endpoints=("nas",))),
        (Peers(cidrs=cidrs("10.0.0.0/24")), Peers(cidrs=cidrs("10.0.0.0/30", "10.0.0.9/32"))),
        (Peers(groups=("webs",)), Peers(endpoints=("web1",))),
        (Peers(groups=("webs",), endpoints=("nas",)), Peers(endpoints=("nas", "web2"))),
        (Peers(groups=("part",)), Peers(cidrs=cidrs("10.0.1.0/24"))),
        (Peers(outside=True, networks=("blue",)), Peers(outside=True)),
        (ANYBODY, Peers(outside=True)),
    ],
)
def test_what_covers_is_found(wide: Peers, narrow: Peers) -> None:
    made = policy(
        Group("webs", selector=(("app", "web"),)),
        Group("part", Peers(cidrs=cidrs("10.0.0.0/8")), excluded=cidrs("10.1.0.0/16")),
    )
    assert coverers([wide, narrow], resolve_groups(made)) == ({0}, {0, 1})


@settings(max_examples=400)
@given(st.lists(GROUPS, min_size=2, max_size=5), st.lists(PEERS, min_size=2, max_size=6, unique=True))
def test_coverers_found_with_an_earlier_answer_are_those_found_without(
    changes: list[tuple[Any, ...]], several: list[Peers]
) -> None:
    before, resolved = NOTHING_COVERED, NO_GROUPS
    groups = [Group("g0"), Group("g1")]
    for number, (peers, excluded, chosen) in enumerate(changes):
        groups[number % 2] = Group(f"g{number % 2}", peers, chosen, excluded)
        resolved = resolve_again(policy(*groups), resolved)
        before = find_coverers(tuple(several), resolved.means, ENDPOINTS, before)
        fresh = find_coverers(tuple(several), resolved.means, ENDPOINTS)
        assert (before.united, before.coverers) == (fresh.united, fresh.coverers)


RANGES = st.lists(
    st.tuples(st.integers(0, 9), st.integers(0, 4)).map(lambda pair: PortRange(pair[0], pair[0] + pair[1])), max_size=3
).map(lambda ranges: merged(ranges))
TYPES = st.lists(st.builds(IcmpType, st.integers(0, 2), st.none() | st.integers(0, 2)), max_size=3).map(without_covered)
SERVICES = (
    st.just(Service())
    | st.builds(Service, st.sampled_from([6, 17]), RANGES, RANGES)
    | st.builds(lambda types: Service(1, icmp=types), TYPES)
)


def matches(service: Service, protocol: int, one: int, other: int) -> bool:
    """one, other: port and source port, or ICMP type and code."""
    if service.protocol is None:
        return True
    if service.protocol != protocol:
        return False
    if protocol == 1:
        return not service.icmp or any(t.type == one and t.code in (None, other) for t in service.icmp)
    return all(
        not ranges or any(r.first <= port <= r.last for r in ranges)
        for ranges, port in ((service.ports, one), (service.source_ports, other))
    )


@settings(max_examples=400)
@given(SERVICES, SERVICES)
def test_a_service_covers_another_exactly_if_all_of_its_packets_are_of_both(wide: Service, narrow: Service) -> None:
    space = [(p, i, j) for p in (1, 6, 17, 47) for i in range(15) for j in range(15)]
    subset = all(not matches(narrow, *packet) or matches(wide, *packet) for packet in space)
    assert service_covers(wide, narrow) == subset


@given(RANGES)
def test_merged_ranges_are_sorted_apart_and_not_adjacent(ranges: tuple[PortRange, ...]) -> None:
    assert all(one.last + 1 < other.first for one, other in itertools.pairwise(ranges))
