"""What must hold between networks with a router, uplinks, rewrites and members."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from controller.policy import rules
from controller.policy.check import Checker, check
from controller.policy.load import load, read
from controller.policy.model import API_VERSION, Policy

LAN: dict[str, Any] = {"vlan": 1, "cidrs": ["10.1.0.0/24", "fd00:1::/64"], "mode": "routed", "gateway": "10.1.0.1"}
DMZ: dict[str, Any] = {"vlan": 2, "cidrs": ["10.2.0.0/24"], "mode": "nat", "gateway": "10.2.0.1", "uplink": "wan"}
WAN: dict[str, Any] = {
    "host": "boxA",
    "port": "eth1",
    "addresses": ["198.51.100.2/24", "198.51.100.3/24"],
    "routes": [{"to": "0.0.0.0/0", "via": "198.51.100.1"}],
}
PC: dict[str, Any] = {"network": "lan", "ips": ["10.1.0.11"]}
WEB: dict[str, Any] = {"network": "dmz", "ips": ["10.2.0.11"]}


def document(**sections: Any) -> dict[str, Any]:
    """Endpoints get a port and a mac by their place, where none is given."""
    whole: dict[str, Any] = {
        "apiVersion": API_VERSION,
        "hosts": {"boxA": {"bridge": "br0"}, "boxB": {"bridge": "br1"}},
        "networks": {"lan": LAN, "dmz": DMZ, "red": {"vlan": 3}},
        "uplinks": {"wan": WAN},
        "endpoints": {"pc": PC, "web": WEB, "web2": {**WEB, "ips": ["10.2.0.12"]}},
        **sections,
    }
    whole["endpoints"] = {
        name: {"port": name, "mac": f"02:00:00:00:00:{place:02x}", **value}
        for place, (name, value) in enumerate(whole["endpoints"].items(), 1)
    }
    return whole


def policy(**sections: Any) -> Policy:
    return load(document(**sections))


def found(**sections: Any) -> list[tuple[str, str]]:
    return [(problem.path, problem.message) for problem in check(policy(**sections))]


def said(rule: rules.Rule, **words: object) -> str:
    return rule.problem((), **words).message


def test_the_sound_document_has_no_problem() -> None:
    assert found() == []


@pytest.mark.parametrize(
    ("gateway", "path", "message"),
    [
        ("10.9.0.1", "0", "gateway 10.9.0.1 is outside all cidrs of 'lan'"),
        ("10.1.0.0", "0", "10.1.0.0 is the network address of 10.1.0.0/24 in network 'lan'"),
        (["fd00:1::1", "10.1.0.255"], "1", "10.1.0.255 is the broadcast address of 10.1.0.0/24 in network 'lan'"),
        ("10.1.0.11", "0", "gateway 10.1.0.11 belongs to endpoint 'pc'"),
    ],
)
def test_a_gateway_is_an_address_of_its_own_in_the_network(gateway: object, path: str, message: str) -> None:
    assert (f"/networks/lan/gateway/{path}", message) in found(
        networks={"lan": {**LAN, "gateway": gateway}, "dmz": DMZ}
    )


def test_a_gateway_is_no_derived_link_local_address_of_a_member() -> None:
    networks = {"lan": {**LAN, "cidrs": ["fd00:1::/64", "fe80::/64"], "gateway": "fe80::ff:fe00:1"}, "dmz": DMZ}
    assert found(networks=networks, endpoints={"pc": {"network": "lan", "ips": ["fd00:1::5"]}}) == [
        ("/networks/lan/gateway/0", "gateway fe80::ff:fe00:1 belongs to endpoint 'pc'")
    ]


def test_gateways_may_be_equal_and_cidrs_may_overlap() -> None:
    networks = {"lan": LAN, "dmz": {**DMZ, "cidrs": ["10.1.0.0/16"], "gateway": "10.1.0.1"}}
    assert found(networks=networks, endpoints={"pc": PC, "web": {**WEB, "ips": ["10.1.7.1"]}}) == []


OVERLAPPING = {"lan": LAN, "dmz": {**DMZ, "cidrs": ["10.1.0.0/16", "fd00:1::/64"], "gateway": "10.1.0.254"}}


def test_addresses_are_unique_among_networks_with_a_router() -> None:
    assert found(networks=OVERLAPPING, endpoints={"pc": PC, "web": {**WEB, "ips": ["10.1.0.11"]}}) == [
        (
            "/endpoints/web/ips/0",
            said(rules.ROUTED_TWICE, address="10.1.0.11", network="dmz", other="pc", other_network="lan").replace(
                "'10.1.0.11'", "10.1.0.11"
            ),
        )
    ]
    isolated = {"lan": LAN, "dmz": {"vlan": 2, "cidrs": ["10.1.0.0/16"]}}
    assert found(networks=isolated, endpoints={"pc": PC, "web": {**WEB, "ips": ["10.1.0.11"]}}) == []


def test_a_shared_member_has_an_address_in_one_network_with_a_router_only() -> None:
    shared = {"networks": ["lan", "dmz"], "ips": ["10.1.0.11"]}
    for attach in ("untagged", "tagged"):
        problems = found(networks=OVERLAPPING, endpoints={"nas": {**shared, "attach": attach}})
        assert [path for path, _ in problems] == ["/endpoints/nas/ips/0"]
    with_isolated = {"lan": LAN, "dmz": {"vlan": 2, "cidrs": ["10.1.0.0/16"]}}
    assert found(networks=with_isolated, endpoints={"nas": shared}) == []


def test_link_local_addresses_are_never_routed_and_may_be_equal() -> None:
    networks = {
        "lan": {**LAN, "cidrs": ["10.1.0.0/24", "fe80::/64"]},
        "dmz": {**DMZ, "cidrs": ["10.2.0.0/24", "fe80::/64"]},
    }
    endpoints = {"a": {"network": "lan", "ips": ["fe80::1"]}, "b": {"network": "dmz", "ips": ["fe80::1"]}}
    assert found(networks=networks, endpoints=endpoints) == []


def test_a_member_has_no_gateways_address_wherever_it_is() -> None:
    assert found(networks=OVERLAPPING, endpoints={"web": {**WEB, "ips": ["10.1.0.1"]}}) == [
        ("/endpoints/web/ips/0", "10.1.0.1 is the gateway of network 'lan'")
    ]


def test_the_routers_mac_is_nobodys() -> None:
    mac = "02:74:70:00:00:01"
    assert found(endpoints={"pc": {**PC, "mac": mac}}) == [("/endpoints/pc/mac", f"{mac} is the router's mac")]
    assert found(endpoints={"pc": {**PC, "mac": mac}}, defaults={"router_mac": "02:00:00:00:aa:01"}) == []
    without = {"networks": {"lan": {"vlan": 1}}, "uplinks": {}}
    assert found(endpoints={"pc": {**PC, "mac": mac}}, **without) == []


def test_uplinks_and_their_hosts_are_there() -> None:
    (problem,) = check(policy(networks={"dmz": {**DMZ, "uplink": "wam"}}, endpoints={}))
    assert (problem.path, problem.message, problem.hint) == (
        "/networks/dmz/uplink", "there is no uplink 'wam'", "did you mean 'wan'?",
    )  # fmt: skip
    assert found(uplinks={"wan": {**WAN, "host": "boxC"}}) == [("/uplinks/wan/host", "there is no host 'boxC'")]


@pytest.mark.parametrize(
    ("host", "other", "clash"),
    [("boxA", "boxA", True), ("boxA", "boxB", False), ("boxA", None, True), (None, "boxB", True), (None, None, True)],
)
def test_an_uplinks_port_has_nothing_else_on_it(host: str | None, other: str | None, clash: bool) -> None:
    wan = {key: value for key, value in {**WAN, "host": host}.items() if value is not None}
    pc = {key: value for key, value in {**PC, "port": "eth1", "host": other}.items() if value is not None}
    sentence = ", and an uplink's port has nothing else on it"
    expected = [("/uplinks/wan/port", f"endpoint 'pc' is on port 'eth1'{sentence}")] if clash else []
    assert found(uplinks={"wan": wan}, endpoints={"web": WEB, "pc": pc}) == expected
    second = {key: value for key, value in {"port": "eth1", "host": other}.items() if value is not None}
    expected = [("/uplinks/wan2/port", f"uplink 'wan' is on port 'eth1'{sentence}")] if clash else []
    assert found(uplinks={"wan": wan, "wan2": {**second, "addresses": ["203.0.113.1/24"]}}) == expected
    trunks = {"boxA": {"bridge": "br0"}, "boxB": {"bridge": "br1"}, other or "boxA": {"bridge": "br9", "trunk": "eth1"}}
    problems = found(uplinks={"wan": wan}, hosts=trunks)
    expected = [("/uplinks/wan/port", f"'eth1' is the trunk of host {other or 'boxA'!r}, which carries networks")]
    assert problems == (expected if clash else [])


def test_an_uplinks_port_may_be_crowded_elsewhere() -> None:
    endpoints = {"a": {**PC, "port": "eth1", "host": "boxB"}, "b": {**WEB, "port": "eth1", "host": "boxA"}}
    assert [path for path, _ in found(endpoints=endpoints)] == ["/uplinks/wan/port"]


def test_an_address_is_at_one_uplink() -> None:
    other = {"port": "eth2", "addresses": ["203.0.113.1/24", "198.51.100.3/32"]}
    assert found(uplinks={"wan": WAN, "dsl": other}) == [
        ("/uplinks/dsl/addresses/1", "198.51.100.3 belongs to uplink 'wan' too")
    ]


def test_the_next_hop_is_on_a_segment() -> None:
    routes = [{"to": "0.0.0.0/0", "via": "198.51.100.1"}, {"to": "10.9.0.0/16", "via": "203.0.113.1"}]
    assert found(uplinks={"wan": {**WAN, "routes": routes}}) == [
        ("/uplinks/wan/routes/1/via",
         "203.0.113.1 is on none of the uplink's segments, 198.51.100.0/24, 198.51.100.0/24"),
    ]  # fmt: skip


def test_what_is_outside_lies_in_no_network() -> None:
    inside = {
        **WAN,
        "addresses": ["198.51.100.2/24", "10.2.0.200/16"],
        "routes": [{"to": "0.0.0.0/0", "via": "10.2.0.9"}],
    }
    words = "of network 'dmz', and what is outside has no address of a network"
    assert found(uplinks={"wan": inside}) == [
        ("/uplinks/wan/addresses/1", f"10.2.0.200 lies in 10.2.0.0/24 {words}"),
        ("/uplinks/wan/routes/0/via", f"10.2.0.9 lies in 10.2.0.0/24 {words}"),
    ]


def rewrites(*items: dict[str, Any]) -> dict[str, Any]:
    return {"rewrites": [{"name": f"r{index}", "network": "dmz", **item} for index, item in enumerate(items)]}


def forward(**keys: Any) -> dict[str, Any]:
    return {"type": "forward", "proto": "tcp", "l4_port": 80, "to": "web", **keys}


def dnat(address: str, **keys: Any) -> dict[str, Any]:
    return {"type": "dnat", "address": address, "to": "web", **keys}


def one_to_one(address: str, **keys: Any) -> dict[str, Any]:
    return {"type": "one_to_one", "address": address, "to": "web", **keys}


def snat(to: str, **keys: Any) -> dict[str, Any]:
    return {"type": "snat", "to": to, **keys}


MASQUERADE = {"type": "masquerade"}
ALREADY = "rewrite {} says already where {} leads"


@pytest.mark.parametrize(
    ("items", "expected"),
    [
        ([MASQUERADE, snat("198.51.100.10-198.51.100.20"), forward(), dnat("198.51.100.9"),
          one_to_one("198.51.100.8", to="web2")], None),
        ([forward(), forward(proto="udp"), forward(l4_port=81), forward(address="198.51.100.3")], None),
        ([{**MASQUERADE, "network": "dmx"}], ("/r0/network", "there is no network 'dmx'")),
        ([{**MASQUERADE, "network": "lan"}],
         ("/r0/network", "network 'lan' has no uplink, where addresses are rewritten")),
        ([forward(to="wev")], ("/r0/to", "there is no endpoint 'wev'")),
        ([forward(to=["web", "pc"])], ("/r0/to", "endpoint 'pc' is no member of network 'dmz'")),
        ([dnat("2001:db8::1")], ("/r0/address", "uplink 'wan' has no IPv6 address")),
        ([snat("2001:db8::1")], ("/r0/to", "uplink 'wan' has no IPv6 address")),
        ([forward(), forward(to="web2")],
         ("/r1/l4_port", "port 80 of 198.51.100.2 is forwarded by rewrite 'r0' already")),
        ([forward(address="198.51.100.9"), forward(address="198.51.100.9", to="web:81")],
         ("/r1/l4_port", "port 80 of 198.51.100.9 is forwarded by rewrite 'r0' already")),
        ([dnat("198.51.100.9"), dnat("198.51.100.9", to="web2")],
         ("/r1/address", ALREADY.format("'r0'", "198.51.100.9"))),
        ([one_to_one("198.51.100.9"), dnat("198.51.100.9", to="web2")],
         ("/r1/address", ALREADY.format("'r0'", "198.51.100.9"))),
        ([dnat("198.51.100.9"), forward(address="198.51.100.9")],
         ("/r1/address", ALREADY.format("'r0'", "198.51.100.9"))),
        ([forward(address="198.51.100.9"), dnat("198.51.100.9")],
         ("/r1/address", ALREADY.format("'r0'", "198.51.100.9"))),
        ([snat("198.51.100.8-198.51.100.10"), one_to_one("198.51.100.9")],
         ("/r0/to", ALREADY.format("'r1'", "198.51.100.9"))),
        ([one_to_one("198.51.100.8"), one_to_one("198.51.100.9")],
         ("/r1/to", "rewrite 'r0' gives endpoint 'web' an outside address of this IP version already")),
        ([snat("198.51.100.8"), snat("198.51.100.9")],
         ("/r1/network", "rewrite 'r0' says the same kind of thing of network 'dmz' already")),
        ([MASQUERADE, MASQUERADE],
         ("/r1/network", "rewrite 'r0' says the same kind of thing of network 'dmz' already")),
        ([dnat("198.51.100.2")],
         ("/r0/address", "198.51.100.2 is the source that many have at uplink 'wan', so that it cannot lead to one")),
        ([one_to_one("198.51.100.2")],
         ("/r0/address", "198.51.100.2 is the source that many have at uplink 'wan', so that it cannot lead to one")),
        ([one_to_one("198.51.100.3")], None),
        ([dnat("198.51.100.1")], ("/r0/address", "198.51.100.1 is the next router of a route of uplink 'wan'")),
        ([snat("198.51.100.250-198.51.100.255")],
         ("/r0/to", "198.51.100.255 is the network or the broadcast address of 198.51.100.0/24 at uplink 'wan'")),
        ([dnat("10.1.0.77")],
         ("/r0/address",
          "10.1.0.77 lies in 10.1.0.0/24 of network 'lan', and what is outside has no address of a network")),
        ([snat("10.0.255.250-10.1.0.9")],
         ("/r0/to", "10.1.0.0 lies in 10.1.0.0/24 of network 'lan', and what is outside has no address of a network")),
    ],
)  # fmt: skip
def test_rewrites_name_what_is_there_and_no_address_has_two_meanings(
    items: list[dict[str, Any]], expected: tuple[str, str] | None
) -> None:
    problems = found(**rewrites(*items))
    assert problems == ([] if expected is None else [("/rewrites" + expected[0], expected[1])])


def test_targets_have_an_address_of_the_version_that_the_uplink_has() -> None:
    both = {**WAN, "addresses": ["198.51.100.2/24", "2001:db8::2/64"]}
    networks = {"dmz": {**DMZ, "cidrs": ["10.2.0.0/24", "fd00:2::/64"]}}
    endpoints = {"web": WEB, "web6": {"network": "dmz", "ips": ["fd00:2::6"]}}
    around = {"networks": networks, "uplinks": {"wan": both}, "endpoints": endpoints}
    assert found(**around, **rewrites(dnat("2001:db8::9"))) == [
        ("/rewrites/r0/to", "endpoint 'web' has no IPv6 address in network 'dmz'")
    ]
    assert found(**around, **rewrites(forward(to="web6"), forward())) == []
    assert found(**around, **rewrites(forward(to=["web", "web6"]))) == [
        ("/rewrites/r0/to", "there is no IP version of which uplink 'wan' and all of the endpoints have an address")
    ]


def test_an_address_of_one_uplink_is_no_rewrites_at_another() -> None:
    uplinks = {"wan": WAN, "dsl": {"port": "eth2", "addresses": ["203.0.113.1/24", "203.0.113.2/24"]}}
    assert found(uplinks=uplinks, **rewrites(forward(address="203.0.113.2"))) == [
        ("/rewrites/r0/address", "203.0.113.2 belongs to uplink 'dsl', and the network is at uplink 'wan'")
    ]


def test_names_of_objects_that_could_not_be_read_are_not_unknown() -> None:
    wrong = document(
        hosts={"boxA": {}, "boxB": {"bridge": "br1"}},
        uplinks={"wan": {**WAN, "port": 3}},
        networks={"dmz": DMZ, "lan": {**LAN, "vlan": 0}},
        endpoints={"web": {**WEB, "port": 4}},
        defaults={"pairs": [{"from": "lan", "to": "dmz", "action": "allow"}]},
        groups={"webs": {"members": ["web"]}, "bad": {"selector": {}}},
        rules=[{"name": "r", "action": "allow", "from": ["bad", "lan"], "to": "web"}],
        **rewrites(forward()),
    )
    draft = read(wrong)
    assert len(draft.problems) == 5
    assert Checker().check(draft.policy, draft.names) == ()


def test_a_change_of_a_member_runs_no_unit_of_the_router_again() -> None:
    checker = Checker()
    before = policy(**rewrites(forward(to="web2")), groups={"g": {}})
    checker.check(before)
    remembered = dict(checker.memory.kept)
    moved = policy(endpoints={"pc": PC, "web": {**WEB, "port": "x"}}).endpoints["web"]
    changed = replace(before, endpoints={**before.endpoints, "web": moved})
    checker.check(changed)
    again = {key for key, value in checker.memory.kept.items() if remembered.get(key) is not value}
    assert again == {("network", "dmz"), ("routed", "dmz"), ("realm",), ("members",), ("survey",)}


def test_a_change_of_labels_runs_no_unit_again() -> None:
    checker = Checker()
    before = policy(groups={"g": {}})
    checker.check(before)
    remembered = dict(checker.memory.kept)
    web = replace(before.endpoints["web"], labels=(("app", "web"),))
    checker.check(replace(before, endpoints={**before.endpoints, "web": web}))
    again = replace(before, endpoints={**before.endpoints, "web": web})
    for changed in (again, replace(again, endpoints={**again.endpoints, "web": replace(web, labels=())}), again):
        checker.check(changed)
        assert all(remembered.get(key) is value for key, value in checker.memory.kept.items())
