"""What must hold between rules, tiers, groups and pairs of networks."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.policy.check import check
from controller.policy.check_firewall import RULES_MAX, check_cycles
from controller.policy.firewall import Group, Peers
from controller.policy.load import load
from controller.policy.model import API_VERSION, Policy

NETWORKS: dict[str, Any] = {
    "lan": {"vlan": 1, "cidrs": ["10.1.0.0/24"], "mode": "routed", "gateway": "10.1.0.1"},
    "dmz": {"vlan": 2, "cidrs": ["10.2.0.0/24"], "mode": "nat", "gateway": "10.2.0.1", "uplink": "wan"},
    "green": {"vlan": 3},
}
UPLINKS = {"wan": {"port": "eth1", "addresses": ["198.51.100.2/24"]}}


def policy(**sections: Any) -> Policy:
    return load({"apiVersion": API_VERSION, "networks": NETWORKS, "uplinks": UPLINKS, **sections})


def found(checked: Policy) -> list[tuple[str, str]]:
    return [(problem.path, problem.message) for problem in check(checked)]


def rule(name: str, **keys: Any) -> dict[str, Any]:
    return {"name": name, "action": "drop", **keys}


def pairs(*items: tuple[str, str]) -> list[tuple[str, str]]:
    listed = [{"from": origin, "to": target, "action": "allow"} for origin, target in items]
    return found(policy(defaults={"pairs": listed}))


def test_tiers_are_there() -> None:
    (problem,) = check(policy(tiers=["first", "last"], rules=[rule("r", tier="frist")]))
    assert (problem.path, problem.message, problem.hint) == (
        "/rules/r/tier", "there is no tier 'frist'", "did you mean 'first'?",
    )  # fmt: skip
    assert found(policy(rules=[rule("r", tier="other")])) == [("/rules/r/tier", "there is no tier 'other'")]
    assert found(policy(rules=[rule("r", tier="default")])) == []


@pytest.mark.parametrize(("tiers", "logs", "path"), [(8, 0, None), (1, 7, None), (9, 0, "/tiers"), (1, 8, "/rules")])
def test_tiers_and_rules_that_only_log_take_eight_tables(tiers: int, logs: int, path: str | None) -> None:
    names = [f"t{i}" for i in range(tiers)]
    rules = [rule(f"r{i}", tier="t0", action="log") for i in range(logs)]
    problems = found(policy(tiers=names, rules=[*rules, rule("logged", tier="t0", log="3/min")]))
    words = f"{tiers} tiers and {logs} rules that only log need more than 8 tables"
    assert problems == ([] if path is None else [(path, words)])


def test_a_policy_has_so_many_rules() -> None:
    rules = [rule(f"r{i}") for i in range(RULES_MAX)]
    assert found(policy(rules=rules)) == []
    assert found(policy(rules=[*rules, rule("one")])) == [
        ("/rules", f"there are {RULES_MAX + 1} rules; a policy has at most {RULES_MAX}")
    ]


def test_names_of_a_policy_that_no_document_made_are_checked_too() -> None:
    made = policy(rules=[rule("r", to="lan")], groups={"g": {"members": ["dmz"]}})
    for peers in (Peers(endpoints=("x",)), Peers(networks=("x",)), Peers(groups=("x",))):
        wrong = replace(made, rules={"r": replace(made.rules["r"], origin=peers)})
        assert found(wrong) == [("/rules/r/from", "nothing is called 'x'")]
        assert found(replace(made, groups={"g": Group("g", peers)})) == [("/groups/g/members", "nothing is called 'x'")]


def test_a_group_is_not_in_itself() -> None:
    groups = {"a": {"members": ["b"]}, "b": {"members": ["c", "lan"]}, "c": {"members": ["a"]}, "d": {"members": ["a"]}}
    assert found(policy(groups=groups)) == [("/groups/c/members", "the group is in itself: 'a' -> 'b' -> 'c' -> 'a'")]
    assert found(policy(groups={"a": {"members": ["a"]}})) == [
        ("/groups/a/members", "the group is in itself: 'a' -> 'a'")
    ]
    diamond = {"a": {"members": ["b", "c"]}, "b": {"members": ["d"]}, "c": {"members": ["d"]}, "d": {}}
    assert found(policy(groups=diamond)) == []


def test_a_long_chain_of_groups_is_no_trouble() -> None:
    groups = tuple(Group(f"g{i}", Peers(groups=(f"g{i + 1}",))) for i in range(20_000))
    assert check_cycles((*groups, Group("g20000")), None) == []
    assert len(check_cycles((*groups, Group("g20000", Peers(groups=("g0",)))), None)) == 1


@given(st.dictionaries(st.sampled_from("abcde"), st.lists(st.sampled_from("abcde"), max_size=3, unique=True)))
def test_cycles_are_found_where_a_group_can_reach_itself(graph: dict[str, list[str]]) -> None:
    graph = {name: [member for member in members if member in graph] for name, members in graph.items()}
    reach = {name: set(members) for name, members in graph.items()}
    for _ in graph:
        for name, members in reach.items():
            reach[name] = members.union(*(reach[member] for member in members))
    groups = tuple(Group(name, Peers(groups=tuple(members))) for name, members in graph.items())
    problems = check_cycles(groups, None)
    assert bool(problems) == any(name in reach[name] for name in reach)
    for problem in problems:
        way = problem.message.split(": ")[1].replace("'", "").split(" -> ")
        assert way[0] == way[-1]
        assert all(after in graph[before] for before, after in pairwise(way))


def test_pairs_name_networks_once() -> None:
    assert pairs(("lan", "dmz"), ("dmz", "lan"), ("dmz", "outside"), ("outside", "dmz"), ("green", "green")) == []
    assert pairs(("lna", "dmz"), ("lan", "nobody")) == [
        ("/defaults/pairs/0/from", "there is no network 'lna'"),
        ("/defaults/pairs/1/to", "there is no network 'nobody'"),
    ]
    assert pairs(("lan", "dmz"), ("lan", "dmz")) == [
        ("/defaults/pairs/1", "pair number 1 says already what holds from 'lan' to 'dmz'")
    ]


@pytest.mark.parametrize(
    ("pair", "message"),
    [
        (("lan", "green"), "nothing can pass from 'lan' to 'green': network 'green' is isolated"),
        (("green", "lan"), "nothing can pass from 'green' to 'lan': network 'green' is isolated"),
        (("green", "outside"), "nothing can pass from 'green' to 'outside': network 'green' is isolated"),
        (("outside", "lan"), "nothing can pass from 'outside' to 'lan': network 'lan' has no uplink"),
        (("outside", "outside"), "nothing passes from outside to outside"),
    ],
)
def test_something_can_pass_between_the_networks_of_a_pair(pair: tuple[str, str], message: str) -> None:
    assert pairs(pair) == [("/defaults/pairs/0", message)]


def test_prefixes_are_limited_and_those_of_groups_in_groups_count_in_each() -> None:
    prefixes = [f"10.{i >> 8}.{i & 255}.0/24" for i in range(200)]
    chain = {f"g{i}": {"cidrs": prefixes[i : i + 1], **({"members": [f"g{i - 1}"]} if i else {})} for i in range(150)}
    assert not any("prefixes" in problem.message for problem in check(policy(groups=chain)))
    wide = {"g0": {"cidrs": prefixes}, **{f"g{i}": {"members": [f"g{i - 1}"]} for i in range(1, 120)}}
    (problem,) = (p for p in check(policy(groups=wide)) if "prefixes" in p.message)
    assert problem.path == "/groups"
    assert "24000" in problem.message
