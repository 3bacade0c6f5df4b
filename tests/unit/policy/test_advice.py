"""Warnings: what is odd about a policy, that nothing else is called odd, and what they cost."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from time import process_time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controller.control import PutPolicy, Stored
from controller.errors import Problem
from controller.examine import examine
from controller.pipeline import rulebook
from controller.policy.advice import Adviser, advise
from controller.policy.check import check
from controller.policy.edit import apply_change
from controller.policy.load import load
from controller.policy.model import API_VERSION, EMPTY_POLICY, Policy

DOCUMENT: dict[str, Any] = {
    "apiVersion": API_VERSION,
    "networks": {
        "green": {"vlan": 1},
        "pink": {"vlan": 2},
        "empty": {"vlan": 3},
        "open": {"vlan": 4, "members": "open"},
        "lan": {"vlan": 5, "cidrs": ["10.1.0.0/24"], "mode": "routed", "gateway": "10.1.0.1"},
        "dmz": {"vlan": 6, "cidrs": ["10.2.0.0/24"], "mode": "nat", "gateway": "10.2.0.1", "uplink": "wan"},
    },
    "uplinks": {"wan": {"port": "eth1", "addresses": ["198.51.100.2/24"]}},
    "endpoints": {
        "web1": {"network": "green", "port": "w1", "mac": "02:00:00:00:00:01", "labels": {"app": "web"}},
        "web2": {"network": "pink", "port": "w2", "mac": "02:00:00:00:00:02", "labels": {"app": "web"}},
        "nas": {"networks": ["green", "pink"], "port": "n", "mac": "02:00:00:00:00:09"},
        "pc": {"network": "lan", "port": "pc", "mac": "02:00:00:00:00:05", "ips": ["10.1.0.5"]},
        "www": {"network": "dmz", "port": "www", "mac": "02:00:00:00:00:06", "ips": ["10.2.0.6"]},
    },
    "groups": {"webs": {"selector": {"app": "web"}}},
}


def policy(*rules: dict[str, Any], **sections: Any) -> Policy:
    named = [{"name": f"r{index}", "action": "drop", **rule} for index, rule in enumerate(rules)]
    made = load({**DOCUMENT, "rules": named, **sections})
    assert check(made) == ()
    return made


def said(*rules: dict[str, Any], **sections: Any) -> list[tuple[str, str]]:
    return [(problem.path, problem.message) for problem in advise(policy(*rules, **sections))]


def shadow(rule: str, other: str, action: str = "drop") -> tuple[str, str]:
    words = f"rule {rule!r} can never match: rule {other!r} ({action}) is about all of the same"
    return f"/rules/{rule}", f"{words}, and stands before it in the tier"


def test_a_policy_without_oddities_has_no_warnings() -> None:
    assert said() == []
    assert said({"from": "green", "to": "pink"}, {"from": "webs", "to": "any"}, {"action": "log"}, {}) == []


def test_groups_that_are_empty_and_rules_about_nobody() -> None:
    groups = {
        "webs": {"selector": {"app": "wep"}},
        "none": {},
        "through": {"members": ["none"]},
        "desert": {"members": ["empty"]},
    }
    assert said({"from": "through"}, {"to": ["none", "desert"]}, {"to": ["none", "green"]}, groups=groups) == [
        ("/groups/webs", "nobody is in group 'webs'"),
        ("/groups/none", "nobody is in group 'none'"),
        ("/groups/through", "nobody is in group 'through'"),
        ("/rules/r0/from", "rule 'r0' is about nobody here"),
        ("/rules/r1/to", "rule 'r1' is about nobody here"),
    ]
    assert said({"from": "empty"}, {"from": "open"}, {"from": "outside"}, {"from": "10.9.0.1"}) == [
        ("/rules/r0/from", "rule 'r0' is about nobody here")
    ]


@pytest.mark.parametrize("action", ["allow", "drop", "reject", "pass"])
def test_a_rule_after_one_about_all_of_the_same_never_matches(action: str) -> None:
    wide = {"action": action, "from": "webs", "proto": "tcp", "ports": ["1-1024"]}
    narrow = {"action": "log", "from": "web1", "to": "nas", "proto": "tcp", "ports": [80, 443]}
    assert said(wide, narrow) == [shadow("r1", "r0", action)]
    assert said(narrow, wide) == []


@pytest.mark.parametrize(
    ("wide", "narrow"),
    [
        ({"from": "web1"}, {"from": "webs"}),
        ({"from": "green"}, {"from": "nas"}),
        ({"from": "10.1.0.0/24"}, {"from": "lan"}),
        ({"proto": "tcp"}, {}),
        ({"proto": "tcp", "ports": [80]}, {"proto": "tcp"}),
        ({"proto": "tcp", "ports": [80]}, {"proto": "tcp", "ports": ["80-81"]}),
        ({"proto": "tcp"}, {"proto": "udp"}),
        ({"proto": "icmp", "icmp": ["3/1"]}, {"proto": "icmp", "icmp": [3]}),
        ({"action": "log"}, {}),
        ({"to": "outside"}, {"to": "any"}),
    ],
)
def test_a_rule_that_may_still_match_is_not_warned_of(wide: dict[str, Any], narrow: dict[str, Any]) -> None:
    assert said(wide, narrow) == []


def test_rules_are_held_against_their_own_tier_only_and_the_first_one_is_named() -> None:
    tiers = ["a", "b"]
    assert said({"tier": "a"}, {"tier": "b"}, tiers=tiers) == []
    assert said({"tier": "a", "from": "webs"}, {"tier": "a"}, {"tier": "a", "from": "web1"}, tiers=tiers) == [
        shadow("r2", "r0")
    ]


@pytest.mark.parametrize(
    ("origin", "target", "one", "other"),
    [
        ("green", "pink", "isolated network 'green'", "isolated network 'pink'"),
        ("web1", "web2", "isolated network 'green'", "isolated network 'pink'"),
        ("web1", "lan", "isolated network 'green'", "routed network 'lan'"),
        ("lan", "green", "routed network 'lan'", "isolated network 'green'"),
        ("green", "outside", "isolated network 'green'", "outside"),
        ("outside", "pc", "outside", "routed network 'lan'"),
        (["green", "pink"], "lan", "isolated network 'green'", "routed network 'lan'"),
    ],
)
def test_a_rule_that_allows_what_nothing_leads_to(origin: object, target: object, one: str, other: str) -> None:
    expected = [("/rules/r0", f"rule 'r0' allows what cannot pass: nothing leads from {one} to {other}")]
    assert said({"action": "allow", "from": origin, "to": target}) == expected
    assert said({"action": "drop", "from": origin, "to": target}) == []


def test_the_shared_member_is_named_that_leads_nowhere() -> None:
    (problem,) = advise(policy({"action": "allow", "from": "green", "to": "pink"}))
    assert problem.hint == "endpoint 'nas' is in both, and passes nothing on"


@pytest.mark.parametrize(
    ("origin", "target"),
    [
        ("green", "nas"), ("nas", "web2"), ("webs", "green"), ("lan", "dmz"), ("pc", "www"), ("dmz", "outside"),
        ("any", "pink"), ("10.0.0.0/8", "pink"), (["green", "lan"], "dmz"), ("green", "green"),
    ],
)  # fmt: skip
def test_a_rule_that_may_allow_something_is_not_warned_of(origin: object, target: object) -> None:
    assert said({"action": "allow", "from": origin, "to": target}) == []


WHO = st.sampled_from(
    ["any", "green", "pink", "nas", "web1", "webs", "lan", "pc", "outside", "10.1.0.0/16", "10.1.0.5"]
)
RULES = st.lists(
    st.fixed_dictionaries(
        {"action": st.sampled_from(["allow", "drop", "pass"]), "from": WHO, "to": WHO},
        optional={"proto": st.sampled_from(["tcp", "udp"])},
    ),
    max_size=6,
)


@settings(max_examples=100, deadline=None)
@given(st.lists(RULES, min_size=2, max_size=4), st.booleans())
def test_an_adviser_with_memory_says_what_one_without_says(several: list[list[dict[str, Any]]], label: bool) -> None:
    adviser = Adviser()
    for index, rules in enumerate(several):
        made = policy(*rules)
        if label and index % 2:
            web1 = replace(made.endpoints["web1"], labels=())
            made = replace(made, endpoints={**made.endpoints, "web1": web1})
        assert adviser.advise(made) == advise(made)


def test_a_change_elsewhere_runs_no_unit_of_advice_again() -> None:
    endpoints = {
        f"e{i}": {
            "network": f"n{i % 20}", "port": f"p{i}", "mac": f"02:00:00:00:{i >> 8:02x}:{i & 255:02x}",
            "labels": {"app": f"a{i % 50}"},
        }
        for i in range(1000)
    }  # fmt: skip
    rules = [
        {
            "name": f"r{i}",
            "action": "allow",
            "from": [f"g{i % 50}", f"e{i}"],
            "to": f"n{i % 20}",
            "proto": "tcp",
            "ports": [i + 1],
        }
        for i in range(300)
    ]
    made = load({
        "apiVersion": API_VERSION, "endpoints": endpoints, "rules": rules,
        "networks": {f"n{i}": {"vlan": i + 1} for i in range(20)},
        "groups": {f"g{i}": {"selector": {"app": f"a{i}"}} for i in range(50)},
    })  # fmt: skip
    adviser = Adviser()
    adviser.advise(made)
    units = dict(adviser.memory.kept)
    adviser.advise(replace(made, hosts={"x": load({**DOCUMENT, "hosts": {"x": {"bridge": "b"}}}).hosts["x"]}))
    assert all(units[key] is adviser.memory.kept[key] for key in units)


def test_groups_in_another_order_are_told_in_that_order() -> None:
    adviser = Adviser()
    for names in ("ab", "ba"):
        found = adviser.advise(load({**DOCUMENT, "groups": {name: {} for name in names}}))
        assert [problem.path for problem in found] == [f"/groups/{name}" for name in names]


def test_examine_goes_from_bytes_to_all_that_can_be_said() -> None:
    odd = b"{apiVersion: tripoint/v1, groups: {g: {}}, rules: [{name: a, action: drop}, {name: b, action: allow}]}"
    found = examine(odd, None)
    assert found.problems == ()
    assert [problem.path for problem in found.warnings] == ["/groups/g", "/rules/1"]
    assert [problem.path for problem in examine(b"{", "application/json").problems] == [""]
    wrong = examine(b"{apiVersion: tripoint/v1, rules: [{name: a, action: drop, tier: x}]}", "application/yaml")
    assert wrong.problems == (Problem("/rules/0/tier", "there is no tier 'x'", "one of 'default'"),)
    _, stored = apply_change(Stored(0, {}, EMPTY_POLICY), PutPolicy(DOCUMENT))
    assert advise(stored) == ()


def test_examine_refuses_rules_that_no_bridge_has_room_for(monkeypatch: pytest.MonkeyPatch) -> None:
    body = json.dumps({**DOCUMENT, "rules": [{"name": "a", "action": "drop", "from": "pc"}]}).encode()
    assert examine(body, None).problems == ()
    monkeypatch.setattr(rulebook, "FLOWS_MAX", 0)
    assert [problem.path for problem in examine(body, None).problems] == ["/rules"]


def test_a_stateless_rewrite_says_what_it_cannot_do() -> None:
    one = {"name": "one", "network": "dmz", "type": "one_to_one", "address": "198.51.100.9", "to": "www"}
    assert said(rewrites=[one]) == []
    ((path, message),) = said(rewrites=[{**one, "stateless": True}])
    assert path == "/rewrites/one/stateless"
    assert message.startswith("rewrite 'one' is stateless: ICMP errors from outside do not reach 'www'")
    assert [path for path, _ in said({"to": "www"}, rewrites=[{**one, "stateless": True}])] == [path]


def chain_of_groups() -> dict[str, Any]:
    """Each holds all those before it, and a prefix of its own."""
    groups = {
        f"g{i}": {"members": [f"g{i - 1}"] if i else [], "cidrs": [f"20.{i >> 8}.{i & 255}.0/24"]} for i in range(1000)
    }
    return {"groups": groups, "rules": [{"name": f"r{i}", "action": "drop", "from": f"g{i * 10}"} for i in range(100)]}


def prefixes_in_prefixes() -> dict[str, Any]:
    whole, half = ([f"20.{i >> 8}.{i & 255}.{tail}" for i in range(10_000)] for tail in ("0/24", "128/25"))
    sides = {"a": half, "b": whole, "c": half}
    return {"rules": [{"name": name, "action": "drop", "from": cidrs} for name, cidrs in sides.items()]}


def many_ports() -> dict[str, Any]:
    ports = [f"{i * 3 + 1}-{i * 3 + 2}" for i in range(300)]
    return {
        "rules": [{"name": f"r{i}", "action": "drop", "proto": "tcp", "ports": [*ports, 9000 + i]} for i in range(500)]
    }


def groups_alike() -> dict[str, Any]:
    """Whichever of them two rules name, it is all the same."""
    groups: dict[str, Any] = {f"g{i}": {"members": [f"g{i - 1}"] if i else ["web1"]} for i in range(2500)}
    sides = ({"from": f"g{i % 2500}", "to": f"g{i * 7 % 2500}"} for i in range(4900))
    rules = [{"name": f"r{i}", "action": "drop", "proto": "tcp", "ports": [i + 1], **s} for i, s in enumerate(sides)]
    return {"groups": groups, "rules": rules}


def sides_of_many() -> dict[str, Any]:
    """Everybody with a label, and one more."""
    endpoints: dict[str, Any] = {
        f"e{i}": {
            "network": "office",
            "port": f"p{i}",
            "mac": f"02:00:00:00:{i >> 8:02x}:{i & 255:02x}",
            "labels": {"a": f"{i % 4}"},
        }
        for i in range(2000)
    }
    sides = [{"from": ["g", f"e{i}"], "to": "g"} for i in range(2000)]
    rules = [{"name": f"r{i}", "action": "drop", **each} for i, each in enumerate(sides)]
    return {"endpoints": endpoints, "groups": {"g": {"selector": {"a": "1"}}}, "rules": rules}


@pytest.mark.parametrize("sections", [chain_of_groups, prefixes_in_prefixes, many_ports, groups_alike, sides_of_many])
def test_advice_on_a_document_made_to_be_slow_is_given_up_in_time(sections: Callable[[], dict[str, Any]]) -> None:
    made = load({**DOCUMENT, **sections()})
    start = process_time()
    advise(made)
    assert process_time() - start < 5
