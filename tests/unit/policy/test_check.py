"""Rules across objects: each breach with its path and words, what is allowed beside it, memory that changes nothing."""

from __future__ import annotations

import re
from itertools import combinations
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controller.errors import Problem
from controller.mac import Mac
from controller.policy import rules
from controller.policy.check import Checker, check
from controller.policy.load import load, read
from controller.policy.model import API_VERSION, Address, Attach, Endpoint, Members, Network, Policy, Vlan, Vni, ips_in


def policy(
    networks: dict[str, Any], endpoints: dict[str, Any] | None = None, hosts: dict[str, Any] | None = None
) -> Policy:
    """Networks get a vlan by their place, endpoints a port and a mac by theirs, where none is given."""
    endpoints = endpoints or {}
    return load(
        {
            "apiVersion": API_VERSION,
            "hosts": hosts or {},
            "networks": {
                name: value if {"vlan", "vni"} & set(value) else {"vlan": place, **value}
                for place, (name, value) in enumerate(networks.items(), 10)
            },
            "endpoints": {
                name: {
                    "port": name,
                    **({} if "mac" in value else {"mac": f"02:00:00:00:00:{place:02x}"}),
                    **{key: v for key, v in value.items() if v is not None},
                }
                for place, (name, value) in enumerate(endpoints.items(), 1)
            },
        }
    )


def found(checked: Policy) -> list[tuple[str, str]]:
    return [(problem.path, problem.message) for problem in check(checked)]


GREEN_PINK: dict[str, Any] = {"green": {"cidrs": ["10.0.0.0/24"]}, "pink": {"cidrs": ["10.0.0.0/24"]}}
NAS: dict[str, Any] = {"networks": ["green", "pink"]}


def test_vlan_and_vni_are_used_once() -> None:
    networks = {
        "green": {"vlan": 10, "vni": 1},
        "pink": {"vlan": 10, "vni": 2},
        "blue": {"vni": 2},
        "red": {"vlan": 11},
    }
    assert found(policy(networks)) == [
        ("/networks/pink/vlan", "vlan 10 is used twice: network 'green' has it too"),
        ("/networks/blue/vni", "vni 2 is used twice: network 'pink' has it too"),
    ]


def test_vlan_and_vni_of_the_same_value_are_two_numbers() -> None:
    assert found(policy({"green": {"vlan": 10}, "pink": {"vni": 10}})) == []


def test_number_in_the_switch_is_used_once() -> None:
    # No document makes this one: a vni beyond 24 bits, as a change of the model might.
    networks = {"a": Network("a", vlan=Vlan(5)), "b": Network("b", vni=Vni((1 << 24) | 5))}
    ((path, message),) = found(Policy(networks=networks, endpoints={}, hosts={}))
    assert path == "/networks/b"
    assert "the same number in the switch, 16777221, as network 'a'" in message


def test_hosts_name_different_bridges() -> None:
    hosts = {
        "a": {"dpid": "00000000000000aa"},
        "b": {"dpid": "00:00:00:00:00:00:00:AA"},
        "c": {"bridge": "br0"},
        "d": {"bridge": "br0"},
    }
    assert found(policy({}, hosts=hosts)) == [
        ("/hosts/b/dpid", "host 'a' has the same dpid '00000000000000aa'"),
        ("/hosts/d/bridge", "host 'c' has the same bridge 'br0'"),
    ]


def test_unknown_names_come_with_the_nearest_known_one() -> None:
    endpoints = {"a": {"network": "gren", "host": "boxa"}, "b": {"networks": ["pink", "blue"]}}
    problems = check(policy(GREEN_PINK, endpoints, {"boxA": {"bridge": "br0"}}))
    assert problems == (
        Problem("/endpoints/a/network", "there is no network 'gren'", "did you mean 'green'?"),
        Problem("/endpoints/a/host", "there is no host 'boxa'", "did you mean 'boxA'?"),
        Problem("/endpoints/b/networks/1", "there is no network 'blue'", rules.UNKNOWN_NETWORK.hint),
    )


def test_unknown_network_does_not_hide_other_problems() -> None:
    endpoints = {"a": {"network": "x"}, "b": {"network": "green", "ips": ["10.1.0.1"]}}
    assert [path for path, _ in found(policy(GREEN_PINK, endpoints))] == ["/endpoints/a/network", "/endpoints/b/ips/0"]


def test_names_of_objects_that_could_not_be_read_are_not_unknown() -> None:
    draft = read(
        {
            "apiVersion": API_VERSION,
            "hosts": {"boxA": {"dpid": 3}},
            "networks": {"green": {"vlan": 0}, "pink": {"vlan": 20, "cidrs": ["10.0.0.0/24"]}},
            "endpoints": {
                "a": {"network": "green", "port": "a", "mac": "02:00:00:00:00:01", "host": "boxA", "ips": ["10.9.0.1"]},
                "b": {"networks": ["green", "pink"], "port": "b", "mac": "02:00:00:00:00:02", "ips": ["10.9.0.1"]},
                "c": {"network": "pink", "port": "c", "mac": "02:00:00:00:00:03", "ips": ["10.9.0.1"]},
            },
        }
    )
    problems = Checker().check(draft.policy, draft.names)
    assert [problem.path for problem in problems] == ["/endpoints/c/ips/0"]


@pytest.mark.parametrize(
    ("host_a", "host_b", "clash"),
    [
        (None, None, rules.PORT_TAKEN_ANYWHERE),
        ("boxA", None, rules.PORT_TAKEN_ANYWHERE),
        (None, "boxA", rules.PORT_TAKEN_ANYWHERE),
        ("boxA", "boxA", rules.PORT_TAKEN),
        ("boxA", "boxB", None),
    ],
)
def test_a_port_has_one_endpoint(host_a: str | None, host_b: str | None, clash: rules.Rule | None) -> None:
    endpoints = {
        "a": {"network": "green", "host": host_a, "port": "p"},
        "b": {"network": "pink", "host": host_b, "port": "p"},
    }
    hosts = {"boxA": {"bridge": "br0"}, "boxB": {"bridge": "br1"}}
    expected = [clash.problem(("endpoints", "b", "port"), other="a", port="p", host="boxA")] if clash else []
    assert list(check(policy(GREEN_PINK, endpoints, hosts))) == expected


def test_third_endpoint_on_a_port_clashes_with_one_it_really_meets() -> None:
    hosts = {"boxA": {"bridge": "br0"}, "boxB": {"bridge": "br1"}}
    endpoints = {
        name: {"network": "green", "port": "p", "host": host}
        for name, host in zip("abc", ("boxA", "boxB", "boxB"), strict=True)
    }
    assert found(policy(GREEN_PINK, endpoints, hosts)) == [
        ("/endpoints/c/port", "endpoint 'b' is on port 'p' of host 'boxB' already")
    ]


def test_local_port_of_the_hosts_bridge_is_a_member_and_no_trunk() -> None:
    endpoints = {"a": {"network": "green", "port": "br0", "host": "boxA"}}
    assert found(policy(GREEN_PINK, endpoints, {"boxA": {"bridge": "br0"}})) == []
    hosts = {"boxA": {"bridge": "br0", "trunk": "br0"}}
    assert [path for path, _ in found(policy(GREEN_PINK, {}, hosts))] == ["/hosts/boxA/trunk"]


def test_address_lies_in_the_cidrs_of_its_network() -> None:
    endpoints = {"a": {"network": "green", "ips": ["10.0.0.1", "10.1.0.1", "2001:db8::1"]}}
    assert check(policy(GREEN_PINK, endpoints)) == (
        Problem("/endpoints/a/ips/1", "10.1.0.1 is outside all cidrs of 'green'", "choose an address in 10.0.0.0/24"),
        Problem(
            "/endpoints/a/ips/2", "2001:db8::1 is outside all cidrs of 'green'", "choose an address in 10.0.0.0/24"
        ),
    )


def test_address_of_a_shared_member_lies_in_one_of_its_networks() -> None:
    networks = {"green": {"cidrs": ["10.1.0.0/24"]}, "pink": {"cidrs": ["10.2.0.0/24"]}}
    assert found(policy(networks, {"nas": {**NAS, "ips": ["10.1.0.9", "10.2.0.9"]}})) == []
    assert found(policy(networks, {"nas": {**NAS, "ips": ["10.1.0.9", "10.3.0.9"]}})) == [
        ("/endpoints/nas/ips/1", "10.3.0.9 is outside all cidrs of 'green', 'pink'")
    ]


def test_without_cidrs_any_address_will_do() -> None:
    assert found(policy({"green": {}}, {"a": {"network": "green", "ips": ["10.0.0.0", "fe80::1"]}})) == []


def test_link_local_addresses_lie_in_cidrs_like_others() -> None:
    endpoints = {"a": {"network": "green", "ips": ["2001:db8::1", "fe80::1"]}}
    assert [path for path, _ in found(policy({"green": {"cidrs": ["2001:db8::/64"]}}, endpoints))] == [
        "/endpoints/a/ips/1"
    ]
    assert found(policy({"green": {"cidrs": ["2001:db8::/64", "fe80::/64"]}}, endpoints)) == []


def test_network_and_broadcast_address_are_nobodys() -> None:
    endpoints = {"a": {"network": "green", "ips": ["10.0.0.0", "10.0.0.255"]}}
    assert found(policy(GREEN_PINK, endpoints)) == [
        ("/endpoints/a/ips/0", "10.0.0.0 is the network address of 10.0.0.0/24 in network 'green'"),
        ("/endpoints/a/ips/1", "10.0.0.255 is the broadcast address of 10.0.0.0/24 in network 'green'"),
    ]


def test_prefixes_of_31_and_32_bits_and_ipv6_have_neither() -> None:
    networks = {"green": {"cidrs": ["10.0.0.0/31", "10.0.0.9/32", "2001:db8::/64"]}}
    assert (
        found(policy(networks, {"a": {"network": "green", "ips": ["10.0.0.0", "10.0.0.1", "10.0.0.9", "2001:db8::"]}}))
        == []
    )


def test_mac_and_ip_are_unique_in_a_network() -> None:
    endpoints = {
        "a": {"network": "green", "ips": ["10.0.0.1"]},
        "b": {"network": "green", "ips": ["10.0.0.2", "10.0.0.1"]},
        "c": {"network": "green", "mac": "02:00:00:00:00:01"},
    }
    assert found(policy(GREEN_PINK, endpoints)) == [
        ("/endpoints/b/ips/1", "10.0.0.1 belongs to endpoint 'a' too, in network 'green'"),
        ("/endpoints/c/mac", "mac 02:00:00:00:00:01 belongs to endpoint 'a' too, in network 'green'"),
    ]


def test_same_addresses_in_networks_that_nobody_shares_are_fine() -> None:
    same = {"mac": "02:00:00:00:00:07", "ips": ["10.0.0.1"]}
    assert found(policy(GREEN_PINK, {"a": {"network": "green", **same}, "b": {"network": "pink", **same}})) == []


def test_derived_link_local_address_is_held_too() -> None:
    networks = {"green": {"cidrs": ["2001:db8::/64", "fe80::/64", "10.0.0.0/24"]}}
    mine = str(Mac.parse("02:00:00:00:00:01").link_local)
    taken = {"a": {"network": "green", "ips": ["2001:db8::1"]}, "b": {"network": "green", "ips": [mine]}}
    assert [path for path, _ in found(policy(networks, taken))] == ["/endpoints/b/ips/0"]
    turned = {
        "b": {"network": "green", "mac": "02:00:00:00:00:09", "ips": [mine]},
        "a": {"network": "green", "mac": "02:00:00:00:00:01", "ips": ["2001:db8::1"]},
    }
    assert [path for path, _ in found(policy(networks, turned))] == ["/endpoints/a/mac"]
    assert found(policy(networks, {**taken, "a": {"network": "green", "ips": ["10.0.0.1"]}})) == []
    assert found(policy(networks, {"a": {"network": "green", "ips": [mine, "2001:db8::1"]}})) == []


def test_one_mac_twice_is_one_problem_also_with_ipv6() -> None:
    networks = {"green": {"cidrs": ["2001:db8::/64"]}}
    endpoints = {
        name: {"network": "green", "mac": "02:00:00:00:00:01", "ips": [f"2001:db8::{i}"]}
        for i, name in enumerate("ab", 1)
    }
    assert [path for path, _ in found(policy(networks, endpoints))] == ["/endpoints/b/mac"]


def test_networks_of_an_untagged_shared_member_have_no_address_in_common() -> None:
    endpoints = {
        "a": {"network": "green", "ips": ["10.0.0.1"]},
        "b": {"network": "pink", "mac": "02:00:00:00:00:01", "ips": ["10.0.0.1"]},
        "nas": {**NAS, "ips": ["10.0.0.9"]},
    }
    words = (
        "of endpoint 'b' in network 'pink' is also that of endpoint 'a' in network 'green', and 'nas' is an untagged"
    )
    problems = found(policy(GREEN_PINK, endpoints))
    assert [path for path, _ in problems] == ["/endpoints/b/mac", "/endpoints/b/ips/0"]
    assert all(words in message for _, message in problems)
    endpoints["nas"]["attach"] = "tagged"
    assert found(policy(GREEN_PINK, endpoints)) == []


def test_networks_of_a_shared_member_that_another_shared_member_is_in() -> None:
    networks = {name: {"cidrs": ["10.0.0.0/24"]} for name in ("green", "pink", "blue", "red")}
    endpoints = {
        "nas": {"networks": ["green", "pink"], "ips": ["10.0.0.9"]},
        "dns": {"networks": ["pink", "blue"], "ips": ["10.0.0.8"]},
        "a": {"network": "green", "ips": ["10.0.0.8"]},
        "c": {"network": "blue", "ips": ["10.0.0.1"]},
        "d": {"network": "red", "ips": ["10.0.0.8"]},
    }
    # nas hears dns (in pink) and a (in green), which have an address in common; c and d are not in its networks.
    assert [path for path, _ in found(policy(networks, endpoints))] == ["/endpoints/dns/ips/0"]


def test_a_clash_within_one_network_is_told_once() -> None:
    endpoints = {
        "nas": {**NAS, "ips": ["10.0.0.9"]},
        "dns": {**NAS, "ips": ["10.0.0.8"]},
        "a": {"network": "green", "ips": ["10.0.0.8"]},
        "c": {**NAS, "ips": ["10.0.0.9"]},
    }
    assert found(policy(GREEN_PINK, endpoints)) == [
        ("/endpoints/a/ips/0", "10.0.0.8 belongs to endpoint 'dns' too, in network 'green'"),
        ("/endpoints/c/ips/0", "10.0.0.9 belongs to endpoint 'nas' too, in network 'green'"),
        ("/endpoints/c/ips/0", "10.0.0.9 belongs to endpoint 'nas' too, in network 'pink'"),
    ]


def test_two_shared_members_of_disjoint_networks_clash_where_a_third_joins_them() -> None:
    networks = {name: {"cidrs": ["10.0.0.0/24"]} for name in ("n1", "n2", "n3", "n4")}
    endpoints = {
        "s1": {"networks": ["n1", "n2"], "ips": ["10.0.0.9"]},
        "s2": {"networks": ["n3", "n4"], "ips": ["10.0.0.9"]},
    }
    assert found(policy(networks, endpoints)) == []
    assert [path for path, _ in found(policy(networks, {**endpoints, "s3": {"networks": ["n2", "n3"]}}))] == [
        "/endpoints/s2/ips/0"
    ]


def test_address_counts_only_in_networks_that_hold_it() -> None:
    networks = {
        "green": {"cidrs": ["10.1.0.0/24"]},
        "pink": {"cidrs": ["10.2.0.0/24"]},
        "blue": {"cidrs": ["10.1.0.0/24"]},
    }
    endpoints = {
        "nas": {"networks": ["green", "pink"], "ips": ["10.1.0.9", "10.2.0.9"]},
        # 10.1.0.7 is dns's in blue only, so that the networks of nas do not have it twice.
        "dns": {"networks": ["pink", "blue"], "attach": "tagged", "ips": ["10.2.0.7", "10.1.0.7"]},
        "a": {"network": "green", "ips": ["10.1.0.7"]},
    }
    assert found(policy(networks, endpoints)) == []


def test_an_untagged_shared_member_is_in_no_open_network() -> None:
    networks = {"green": {}, "lab": {"members": "open"}}
    assert [path for path, _ in found(policy(networks, {"nas": {"networks": ["green", "lab"]}}))] == [
        "/endpoints/nas/networks/1"
    ]
    assert found(policy(networks, {"nas": {"networks": ["green", "lab"], "attach": "tagged"}})) == []
    assert found(policy(networks, {"a": {"network": "lab"}})) == []


def test_without_mac_only_in_an_open_network() -> None:
    networks = {"green": {}, "lab": {"members": "open"}}
    assert found(policy(networks, {"a": {"network": "lab", "mac": None}})) == []
    assert [path for path, _ in found(policy(networks, {"a": {"network": "green", "mac": None}}))] == ["/endpoints/a"]


def test_a_tag_needs_a_vlan() -> None:
    networks = {"green": {"vni": 1}, "pink": {"vlan": 1}}
    assert found(policy(networks, {"a": {"networks": ["pink", "green"], "attach": "tagged"}})) == [
        ("/endpoints/a/attach", "the endpoint is tagged, and network 'green' has no vlan to tag with")
    ]
    assert found(policy(networks, {"a": {"network": "green"}})) == []


def test_tags_of_one_endpoint_differ() -> None:
    networks = {"green": {"vlan": 10}, "pink": {"vlan": 10}}
    assert [path for path, _ in found(policy(networks, {"a": {**NAS, "attach": "tagged"}}))] == [
        "/networks/pink/vlan",
        "/endpoints/a/attach",
    ]


def test_a_network_has_at_most_1000_members() -> None:
    def crowd(size: int) -> Policy:
        endpoints = {
            f"e{i}": Endpoint(f"e{i}", networks=("green",), port=f"p{i}", mac=Mac(0x020000000000 + i))
            for i in range(size)
        }
        return Policy(networks={"green": Network("green", vlan=Vlan(1))}, endpoints=endpoints, hosts={})

    assert check(crowd(1000)) == ()
    ((path, message),) = found(crowd(1001))
    assert path == "/networks/green"
    assert "1001 members" in message


def many(sizes: dict[str, int], sharers: dict[str, Attach]) -> Policy:
    """Networks with so many members of their own, and shared members of all of them."""
    networks = {name: Network(name, vlan=Vlan(number)) for number, name in enumerate(sizes, 1)}
    endpoints: dict[str, Endpoint] = {}
    for name, size in sizes.items():
        for _ in range(size):
            key = f"e{len(endpoints)}"
            endpoints[key] = Endpoint(key, (name,), key, mac=Mac(0x020000000000 + len(endpoints)))
    for key, attach in sharers.items():
        mac = Mac(0x020000000000 + len(endpoints))
        endpoints[key] = Endpoint(key, tuple(sizes), key, attach=attach, mac=mac)
    return Policy(networks, endpoints, {})


def test_networks_of_an_untagged_shared_member_have_at_most_1900_members_together() -> None:
    untagged, tagged = {"nas": Attach.UNTAGGED}, {"nas": Attach.TAGGED}
    assert check(many({"a": 999, "b": 899}, untagged)) == ()
    (problem,) = check(many({"a": 999, "b": 900}, untagged))
    assert problem.path == "/endpoints/nas/networks"
    assert "1901 members together" in problem.message
    assert "1900" in problem.message
    assert "attach it tagged" in problem.hint
    assert "divide" in problem.hint
    assert check(many({"a": 999, "b": 999}, tagged)) == ()
    two = {"nas": Attach.UNTAGGED, "backup": Attach.UNTAGGED, "router": Attach.TAGGED}
    assert [path for path, _ in found(many({"a": 700, "b": 700, "c": 700}, two))] == [
        "/endpoints/nas/networks",
        "/endpoints/backup/networks",
    ]


def test_a_member_more_is_noticed_in_the_networks_of_a_shared_member() -> None:
    checker = Checker()
    before = many({"a": 999, "b": 899}, {"nas": Attach.UNTAGGED})
    assert checker.check(before) == ()
    grown = {**before.endpoints, "more": Endpoint("more", ("b",), "more", mac=Mac(0x02_00_00_00_FF_FF))}
    after = Policy(before.networks, grown, {})
    assert checker.check(after) == check(after)
    assert [problem.path for problem in check(after)] == ["/endpoints/nas/networks"]
    assert checker.check(before) == ()


def test_unchanged_units_are_not_checked_again() -> None:
    checker = Checker()
    before = policy(GREEN_PINK, {"a": {"network": "green", "ips": ["10.1.0.1"]}, "b": {"network": "pink"}, "nas": NAS})
    first = checker.check(before)
    remembered = dict(checker.memory.kept)
    moved = Policy(
        before.networks, {**before.endpoints, "c": Endpoint("c", ("pink",), "c", mac=Mac(0x02_00_00_00_00_99))}, {}
    )
    assert checker.check(moved) == first
    kept = {key for key, value in checker.memory.kept.items() if remembered.get(key) is value}
    assert kept == {("network", "green"), ("shared", "nas"), ("prefixes",)}


NETWORK_NAMES = ("n0", "n1", "n2", "n3")
ADDRESSES = [*(f"10.0.0.{i}" for i in range(1, 4)), "10.1.0.1", "fd00::1", str(Mac(0x020000000001).link_local)]


NETWORK_SETS = st.sets(st.sampled_from(NETWORK_NAMES), min_size=1)
NETWORK = st.fixed_dictionaries(
    {
        "vlan": st.integers(1, 5),
        "cidrs": st.sampled_from([[], ["10.0.0.0/24"], ["10.0.0.0/24", "fd00::/64"], ["10.1.0.0/24", "fe80::/64"]]),
        "members": st.sampled_from(["declared", "declared", "open"]),
    }
)
ENDPOINT_SETS = st.sets(st.sampled_from("abcdefg"))
OWN_PORT = "own"
ENDPOINT = st.fixed_dictionaries(
    {
        "networks": st.lists(st.sampled_from(NETWORK_NAMES), min_size=1, max_size=3, unique=True),
        "port": st.sampled_from(["p1", "p2", "p3", "br0", OWN_PORT]),
        "mac": st.sampled_from([f"02:00:00:00:00:0{i}" for i in range(1, 5)]),
        "ips": st.lists(st.sampled_from(ADDRESSES), max_size=2, unique=True),
        "attach": st.sampled_from(["untagged", "tagged"]),
        "host": st.sampled_from([None, "h1", "h2"]),
    }
)
BRIDGES = st.sampled_from(["br0", "br1"])


@st.composite
def policies(draw: st.DrawFn) -> Policy:
    """Small policies with many clashes among few addresses."""
    networks = {name: draw(NETWORK) for name in draw(NETWORK_SETS)}
    endpoints = {}
    for name in draw(ENDPOINT_SETS):
        said = {key: value for key, value in draw(ENDPOINT).items() if value is not None}
        endpoints[name] = {**said, "port": name} if said["port"] == OWN_PORT else said
    hosts = {"h1": {"bridge": "br0"}, "h2": {"bridge": draw(BRIDGES)}}
    return load({"apiVersion": API_VERSION, "networks": networks, "endpoints": endpoints, "hosts": hosts})


def held(endpoint: Endpoint, network: Network) -> set[Mac | Address]:
    """The MAC, the addresses and the link-local one: written anew, for the comparison to be worth something."""
    assert endpoint.mac is not None
    ips = ips_in(endpoint, network)
    return {endpoint.mac, *ips, *([endpoint.mac.link_local] if [ip for ip in ips if ip.version == 6] else [])}


def endpoints_that_clash(checked: Policy) -> set[frozenset[str]]:
    """Pairs of endpoints that cannot both be, by the definitions and by brute force."""
    clashes = set()
    joined = [
        [checked.networks[name] for name in endpoint.networks if name in checked.networks]
        for endpoint in checked.endpoints.values()
        if endpoint.shared and endpoint.attach is Attach.UNTAGGED
    ] + [[network] for network in checked.networks.values()]
    for one, other in combinations(checked.endpoints.values(), 2):
        for networks in joined:
            mine = {item for n in networks if n.name in one.networks for item in held(one, n)}
            theirs = {item for n in networks if n.name in other.networks for item in held(other, n)}
            if mine & theirs:
                clashes.add(frozenset((one.name, other.name)))
        if one.port == other.port and (one.host == other.host or None in (one.host, other.host)):
            clashes.add(frozenset((one.name, other.name)))
    return clashes


@settings(max_examples=400)
@given(policies())
def test_clashes_are_found_exactly_where_the_definition_has_them(checked: Policy) -> None:
    words = re.compile(
        r"endpoint '(\w)' too, in network|is also that of endpoint '(\w)'|endpoint '(\w)' is on (?:a )?port"
    )
    told = set()
    for problem in check(checked):
        if match := words.search(problem.message):
            told.add((problem.path.split("/")[2], next(filter(None, match.groups()))))
    clashes = endpoints_that_clash(checked)
    assert {frozenset(pair) for pair in told} <= clashes
    # Of three that hold one address the second and the third are told, each once: so one of each pair.
    late = {name for name, _ in told}
    assert all(pair & late for pair in clashes)


@settings(max_examples=100)
@given(st.lists(policies(), min_size=2, max_size=5))
def test_a_checker_with_memory_finds_what_one_without_finds(several: list[Policy]) -> None:
    checker = Checker()
    for checked in several:
        assert checker.check(checked) == check(checked)


@settings(max_examples=100)
@given(policies())
def test_open_networks_have_no_untagged_shared_members_when_nothing_is_found(checked: Policy) -> None:
    if not check(checked):
        for endpoint in checked.endpoints.values():
            open_ones = [name for name in endpoint.networks if checked.networks[name].members is Members.OPEN]
            assert not (open_ones and endpoint.shared and endpoint.attach is Attach.UNTAGGED)


def test_trunks_have_one_native_network() -> None:
    hosts = {
        "a": {"bridge": "br-a", "trunk": "eth1", "native": "green"},
        "b": {"bridge": "br-b", "trunk": "eth1", "native": "green"},
        "c": {"bridge": "br-c", "trunk": "eth1"},
    }
    ((path, message),) = found(policy(GREEN_PINK, hosts=hosts))
    assert path == "/hosts/c/trunk"
    assert "'none', and on host 'a' it is 'green'" in message
    assert found(policy(GREEN_PINK, hosts={"a": hosts["a"], "b": hosts["b"]})) == []


def test_native_network_and_trunk_port_are_sound() -> None:
    hosts = {"a": {"bridge": "br-a", "trunk": "eth1", "native": "gren"}}
    endpoints = {"web": {"network": "green", "host": "a", "port": "eth1"}}
    assert [path for path, _ in found(policy(GREEN_PINK, endpoints, hosts))] == [
        "/hosts/a/native",
        "/endpoints/web/port",
    ]
