"""Groups, tiers, rules and defaults as they are read, and every problem that one of them has by itself."""

from __future__ import annotations

from ipaddress import ip_network
from typing import Any

import pytest

from controller.errors import PolicyError
from controller.mac import Mac
from controller.policy.firewall import (
    ANYBODY,
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
from controller.policy.load import load
from controller.policy.model import API_VERSION, DEFAULT_ROUTER_MAC, DEFAULTS, Defaults, Pair, Policy

BASE: dict[str, Any] = {
    "apiVersion": API_VERSION,
    "networks": {"green": {"vlan": 10}, "pink": {"vlan": 20}, "both": {"vlan": 30}, "10.0.0.9": {"vlan": 40}},
    "endpoints": {
        "web1": {"network": "green", "port": "w1", "mac": "02:00:00:00:00:01"},
        "both": {"network": "green", "port": "w2", "mac": "02:00:00:00:00:02"},
        "broken": {"network": "green", "port": 3, "mac": "02:00:00:00:00:03"},
    },
    "groups": {"webs": {"members": ["web1"]}},
}


def document(**sections: Any) -> dict[str, Any]:
    base = {**BASE, "endpoints": {name: BASE["endpoints"][name] for name in ("web1", "both")}}
    return {**base, **sections}


def policy_of(**sections: Any) -> Policy:
    return load(document(**sections))


def problems_of(value: dict[str, Any]) -> list[tuple[str, str, str]]:
    with pytest.raises(PolicyError) as caught:
        load(value)
    return [(problem.path, problem.message, problem.hint) for problem in caught.value.problems]


def one(**sections: Any) -> tuple[str, str, str]:
    (problem,) = problems_of(document(**sections))
    return problem


def rule(**keys: Any) -> dict[str, Any]:
    return {"rules": [{"name": "r", "action": "allow", **keys}]}


def read_rule(**keys: Any) -> Rule:
    return policy_of(**rule(**keys)).rules["r"]


def group(**keys: Any) -> dict[str, Any]:
    return {"groups": {"g": keys, "h": {}}}


def test_the_smallest_rule_is_about_everything() -> None:
    assert read_rule() == Rule("r", Action.ALLOW)
    assert policy_of().tiers == ("default",)


def test_every_key_of_a_rule_is_read() -> None:
    tiers = ["emergency", "rest"]
    whole = {
        "name": "r",
        "tier": "rest",
        "action": "allow",
        "from": ["web1", "green", "outside", "10.0.0.0/8"],
        "to": "webs",
        "proto": "tcp",
        "ports": ["8000-8080", 80, 81, "8070-9000"],
        "source_ports": ["1024-65535"],
        "log": "5/hour",
        "on_change": "keep",
    }
    assert policy_of(tiers=tiers, rules=[whole]).rules["r"] == Rule(
        "r",
        Action.ALLOW,
        tier="rest",
        origin=Peers(("web1",), ("green",), (), True, (ip_network("10.0.0.0/8"),)),
        target=Peers(groups=("webs",)),
        service=Service(6, (PortRange(80, 81), PortRange(8000, 9000)), (PortRange(1024, 65535),)),
        log=LogRate(5, 3600),
        on_change=OnChange.KEEP,
    )


def test_rules_keep_their_order() -> None:
    rules = [{"name": name, "action": "drop"} for name in ("z", "a", "m")]
    assert list(policy_of(rules=rules).rules) == ["z", "a", "m"]


@pytest.mark.parametrize("action", ["allow", "drop", "reject", "pass", "log"])
def test_only_a_rule_that_logs_has_a_rate_by_itself(action: str) -> None:
    assert read_rule(action=action).log == (LogRate(3, 60) if action == "log" else None)


@pytest.mark.parametrize(
    ("peers", "expected"),
    [
        ("any", ANYBODY),
        ("web1", Peers(endpoints=("web1",))),
        ("green", Peers(networks=("green",))),
        (["webs"], Peers(groups=("webs",))),
        ("outside", Peers(outside=True)),
        ("10.0.0.1", Peers(cidrs=(ip_network("10.0.0.1/32"),))),
        ("224.0.0.0/4", Peers(cidrs=(ip_network("224.0.0.0/4"),))),
        ("0.0.0.0/0", Peers(cidrs=(ip_network("0.0.0.0/0"),))),
        (["2001:db8::1", "fe80::/10"], Peers(cidrs=(ip_network("2001:db8::1/128"), ip_network("fe80::/10")))),
    ],
)
def test_peers_are_told_apart(peers: object, expected: Peers) -> None:
    read = read_rule(**{"from": peers, "to": peers})
    assert (read.origin, read.target) == (expected, expected)


@pytest.mark.parametrize(
    ("peers", "path", "message", "hint"),
    [
        ("web", "", "nothing is called 'web'", "did you mean 'webs'?"),
        (["green", "zzz"], "/1", "nothing is called 'zzz'", None),
        ("both", "", "'both' may be an endpoint and a network", "give them different names"),
        ("10.0.0.9", "", "'10.0.0.9' may be a network and an address", None),
        ([], "", "the list is empty, so that the rule is about nobody", "write any for everybody"),
        (["any"], "/0", "any is everybody already", None),
        (["green", "green"], "/1", "green stands in the list twice", None),
        (["outside", "outside"], "/1", "outside stands in the list twice", None),
        (["10.0.0.1", "10.0.0.1/32"], "/1", "10.0.0.1/32 stands in the list twice", None),
        ("10.0.0.1/8", "", "'10.0.0.1/8' has bits set after its first 8", "write 10.0.0.0/8"),
        ("10.0.0.0/40", "", "'10.0.0.0/40' is neither a name nor a prefix", None),
        ("10.0.0.300", "", "'10.0.0.300' is neither a name nor a prefix", None),
        ("10.0.0.0/255.0.0.0", "", "'10.0.0.0/255.0.0.0' is neither a name nor a prefix", None),
        ("fe80::1%eth0", "", "'fe80::1%eth0' is neither a name nor a prefix", None),
        ("::ffff:10.0.0.1", "", "::ffff:a00:1/128 is IPv4 in IPv6 form, which no packet has", "write it as IPv4"),
        ("a b", "", "'a b' is neither a name nor a prefix", None),
        (3, "", "3 is not a string", "put it in quotes"),
        (None, "", "null is not a string", None),
        ({}, "", "a mapping is not a string", None),
    ],
)
def test_peers_that_are_none(peers: object, path: str, message: str, hint: str | None) -> None:
    for key in ("from", "to"):
        found = one(**rule(**{key: peers}))
        assert found[:2] == (f"/rules/0/{key}{path}", message)
        assert hint in (None, found[2])


def test_a_name_with_a_problem_of_its_own_is_known() -> None:
    assert [path for path, _, _ in problems_of({**BASE, **rule(to="broken")})] == ["/endpoints/broken/port"]


@pytest.mark.parametrize("name", ["any", "outside"])
@pytest.mark.parametrize("kind", ["networks", "endpoints", "groups"])
def test_words_of_the_rules_are_nobodys_name(kind: str, name: str) -> None:
    value = next(iter(BASE[kind].values()))
    assert one(**{kind: {**document()[kind], name: value}})[:2] == (
        f"/{kind}/{name}",
        f"{name} has a meaning of its own in rules",
    )


@pytest.mark.parametrize(
    ("keys", "path", "message"),
    [
        ({"proto": "tpc"}, "proto", "'tpc' is not a protocol"),
        ({"proto": 256}, "proto", "256 is not a protocol"),
        ({"proto": "6"}, "proto", "'6' is not a protocol"),
        ({"proto": "any"}, "proto", "'any' is not a protocol"),
        ({"proto": True}, "proto", "true is not a protocol"),
        ({"ports": [80]}, "ports", "ports are of TCP, UDP and SCTP"),
        ({"proto": "icmp", "source_ports": [80]}, "source_ports", "source_ports are of TCP, UDP and SCTP"),
        ({"proto": "tcp", "ports": 80}, "ports", "80 is not a list"),
        ({"proto": "tcp", "ports": []}, "ports", "the list is empty, so that the rule is about nothing"),
        ({"proto": "tcp", "ports": ["80"]}, "ports/0", "'80' is not a port"),
        ({"proto": "tcp", "ports": [65536]}, "ports/0", "65536 is not a port"),
        ({"proto": "tcp", "ports": ["1-65536"]}, "ports/0", "'1-65536' is not a port"),
        ({"proto": "tcp", "ports": ["90-80"]}, "ports/0", "'90-80' ends before it begins"),
        ({"proto": "tcp", "ports": [True]}, "ports/0", "true is not a port"),
        ({"proto": "tcp", "ports": [80, 80]}, "ports/1", "80 stands in the list twice"),
        ({"icmp": [8]}, "icmp", "these types are of ICMP and ICMPv6"),
        ({"proto": "tcp", "icmp": [8]}, "icmp", "these types are of ICMP and ICMPv6"),
        ({"proto": "icmp", "icmp": []}, "icmp", "the list is empty, so that the rule is about nothing"),
        ({"proto": "icmp", "icmp": ["packet-too-big"]}, "icmp/0", "ICMP has no type 'packet-too-big'"),
        ({"proto": "icmpv6", "icmp": ["redirect"]}, "icmp/0", "ICMPv6 has no type 'redirect'"),
        ({"proto": "icmp", "icmp": [256]}, "icmp/0", "256 is not a type of ICMP"),
        ({"proto": "icmp", "icmp": ["3/256"]}, "icmp/0", "'3/256' is not a type of ICMP"),
        ({"proto": "icmp", "icmp": ["8"]}, "icmp/0", "'8' is a number in quotes"),
        ({"log": "3"}, "log", "'3' is not a rate"),
        ({"log": "0/min"}, "log", "'0/min' is not a rate"),
        ({"log": "10001/s"}, "log", "'10001/s' is not a rate"),
        ({"log": 3}, "log", "3 is not a rate"),
        ({"action": "accept"}, "action", "'accept' is not one of: allow, drop, reject, pass, log"),
        ({"on_change": "kill"}, "on_change", "'kill' is not one of: cut, keep"),
        ({"action": "drop", "on_change": "keep"}, "on_change", "only connections that a rule allows can be kept"),
        ({"tier": "a b"}, "tier", "'a b' is not a name"),
        ({"form": "any"}, "form", "the key 'form' is unknown"),
    ],
)
def test_what_a_rule_cannot_say(keys: dict[str, Any], path: str, message: str) -> None:
    assert one(**rule(**keys))[:2] == (f"/rules/0/{path}", message)


def test_an_unknown_protocol_is_told_once() -> None:
    assert one(**rule(proto="tpc", ports=[80], icmp=[8]))[0] == "/rules/0/proto"


def test_numbers_are_protocols_too_and_have_their_ports_and_types() -> None:
    assert read_rule(proto=6, ports=[0, 65535]).service == Service(6, (PortRange(0, 0), PortRange(65535, 65535)))
    assert read_rule(proto=47).service == Service(47)
    assert read_rule(proto=0).service == Service(0)
    types = ["echo-request", "port-unreachable", "3/1", 11, "11/1"]
    assert read_rule(proto="icmp", icmp=types).service.icmp == (
        IcmpType(3, 1), IcmpType(3, 3), IcmpType(8), IcmpType(11),
    )  # fmt: skip
    assert read_rule(proto=58, icmp=["echo-request"]).service.icmp == (IcmpType(128),)


def test_a_rule_has_a_name_of_its_own_and_an_action() -> None:
    assert one(rules=[{"action": "drop"}])[:2] == ("/rules/0", "the rule has no name")
    assert one(rules=[{"name": "r"}])[:2] == ("/rules/0", "action is missing")
    assert one(rules=[{"name": "a b", "action": "drop"}])[0] == "/rules/0/name"
    assert one(rules=[{"name": 3, "action": "drop"}])[:2] == ("/rules/0/name", "3 is not a string")
    twice = [{"name": "r", "action": "drop"}, {"name": "s", "action": "drop"}, {"name": "r", "action": "allow"}]
    assert one(rules=twice)[:2] == ("/rules/2/name", "the rule number 1 is called 'r' already")


@pytest.mark.parametrize("section", [{}, "x", 3, None, {"r": {"action": "drop"}}])
def test_rules_are_a_list(section: object) -> None:
    assert one(rules=section)[0] == "/rules"


def test_an_item_that_is_no_mapping_is_told() -> None:
    assert one(rules=["drop"])[0] == "/rules/0"


def test_a_rule_names_its_tier_where_there_are_several() -> None:
    assert one(tiers=["a", "b"], **rule()) == ("/rules/0", "the rule is in no tier", "add tier, one of 'a', 'b'")
    assert policy_of(tiers=["a"], **rule()).rules["r"].tier == "a"
    assert policy_of(tiers=["a", "b"], **rule(tier="b")).rules["r"].tier == "b"


@pytest.mark.parametrize(
    ("tiers", "path"),
    [
        ([], "/tiers"),
        ("a", "/tiers"),
        (["a", "a"], "/tiers/1"),
        (["a b"], "/tiers/0"),
        ([3], "/tiers/0"),
        (None, "/tiers"),
    ],
)
def test_tiers_are_different_names(tiers: object, path: str) -> None:
    assert one(tiers=tiers)[0] == path


def test_every_key_of_a_group_is_read() -> None:
    keys = {
        "members": ["web1", "green", "h", "outside"],
        "selector": {"b": "2", "a": "1"},
        "cidrs": ["192.0.2.0/24", "10.0.0.1"],
        "except": ["192.0.2.128/25"],
    }
    assert policy_of(**group(**keys)).groups["g"] == Group(
        "g",
        Peers(("web1",), ("green",), ("h",), True, (ip_network("192.0.2.0/24"), ip_network("10.0.0.1/32"))),
        selector=(("a", "1"), ("b", "2")),
        excluded=(ip_network("192.0.2.128/25"),),
    )
    assert policy_of(**group()).groups["g"] == Group("g")


@pytest.mark.parametrize(
    ("keys", "path", "message"),
    [
        ({"selector": {}}, "selector", "an empty selector selects nobody"),
        ({"selector": {"a": 1}}, "selector/a", "1 is not a string"),
        ({"selector": ["a"]}, "selector", "a list is not a mapping"),
        ({"except": ["10.0.0.0/8"]}, "except", "there are no cidrs to except anything from"),
        ({"cidrs": ["10.0.0.0/8"], "except": ["11.0.0.0/8"]}, "except/0", "11.0.0.0/8 lies in none of the cidrs"),
        ({"cidrs": ["10.0.0.0/8"], "except": ["10.0.0.0/7"]}, "except/0", "10.0.0.0/7 lies in none of the cidrs"),
        ({"cidrs": ["web1"]}, "cidrs/0", "'web1' is neither a name nor a prefix"),
        ({"members": ["10.0.0.0/8"]}, "members", "10.0.0.0/8 is not a name"),
        ({"members": ["any"]}, "members/0", "any is everybody already"),
        ({"members": ["nobody"]}, "members/0", "nothing is called 'nobody'"),
        ({"members": "web1"}, "members", "'web1' is not a list"),
        ({"member": []}, "member", "the key 'member' is unknown"),
    ],
)
def test_what_a_group_cannot_say(keys: dict[str, Any], path: str, message: str) -> None:
    assert one(**group(**keys))[:2] == (f"/groups/g/{path}", message)


def test_defaults_are_read() -> None:
    assert policy_of().defaults == DEFAULTS
    defaults = {
        "intra_network": "reject",
        "inter_network": "allow",
        "port_security": "strict",
        "router_mac": "02:00:00:00:0a:01",
        "pairs": [{"from": "green", "to": "outside", "action": "drop"}],
    }
    assert policy_of(defaults=defaults).defaults == Defaults(
        Decision.REJECT, Decision.ALLOW, (Pair("green", "outside", Decision.DROP),), Mac.parse("02:00:00:00:0a:01")
    )
    assert policy_of(defaults={}).defaults.router_mac == DEFAULT_ROUTER_MAC


@pytest.mark.parametrize(
    ("defaults", "path", "message"),
    [
        ({"router_mac": "01:00:5e:00:00:01"}, "router_mac", "01:00:5e:00:00:01 is a multicast address"),
        ({"pairs": {}}, "pairs", "a mapping is not a list"),
        ({"pairs": ["green"]}, "pairs/0", "'green' is not a mapping"),
        ({"pairs": [{"from": "green", "to": "pink"}]}, "pairs/0", "action is missing"),
        ({"pairs": [{"to": "pink", "action": "drop"}]}, "pairs/0", "from is missing"),
        ({"pairs": [{"from": "a", "to": 3, "action": "drop"}]}, "pairs/0/to", "3 is not a string"),
        ({"pairs": [{"from": "a", "to": "b", "action": "pass"}]}, "pairs/0/action",
         "'pass' is not one of: allow, drop, reject"),
        ({"inter_network": "pass"}, "inter_network", "'pass' is not one of: allow, drop, reject"),
        ([], "", "a list is not a mapping"),
    ],
)  # fmt: skip
def test_what_defaults_cannot_say(defaults: object, path: str, message: str) -> None:
    assert one(defaults=defaults)[:2] == ("/defaults" + ("/" + path if path else ""), message)
