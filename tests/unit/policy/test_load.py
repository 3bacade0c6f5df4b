"""Documents to policies, one object at a time: what is read, and every problem with its path and hint."""

from __future__ import annotations

from ipaddress import ip_address, ip_network
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from controller.errors import PolicyError, Problem
from controller.mac import Mac
from controller.policy.fields import LATER
from controller.policy.findings import Nearest
from controller.policy.load import DOCUMENT_KEYS, KEYS, load, read
from controller.policy.model import (
    API_VERSION,
    Attach,
    Dpid,
    Encapsulation,
    Endpoint,
    Host,
    Members,
    Network,
    Overlay,
    Vlan,
    Vni,
)

NETWORK: dict[str, Any] = {"vlan": 10}
ENDPOINT: dict[str, Any] = {"network": "green", "port": "web1", "mac": "02:00:00:00:00:01"}


def document(**sections: Any) -> dict[str, Any]:
    return {"apiVersion": API_VERSION, **sections}


def problems_of(value: object) -> list[Problem]:
    with pytest.raises(PolicyError) as caught:
        load(value)
    return list(caught.value.problems)


def one_problem(value: object) -> tuple[str, str, str]:
    (problem,) = problems_of(value)
    return problem.path, problem.message, problem.hint


def network(**keys: Any) -> dict[str, Any]:
    return document(networks={"green": {**NETWORK, **keys}})


def endpoint(**keys: Any) -> dict[str, Any]:
    given = {**ENDPOINT, **keys}
    return document(endpoints={"web1": {key: value for key, value in given.items() if value is not ...}})


def test_every_key_is_read() -> None:
    policy = load(
        document(
            defaults={"intra_network": "allow", "inter_network": "drop", "port_security": "strict"},
            hosts={"boxA": {"dpid": "0000525400564432"}, "boxB": {"bridge": "br0"}},
            networks={
                "green": {
                    "vlan": 10,
                    "vni": 5010,
                    "cidrs": ["192.168.5.0/24", "2001:DB8::/64"],
                    "mode": "isolated",
                    "members": "open",
                    "macs_per_port": 4096,
                    "mac_age_s": 65535,
                }
            },
            endpoints={
                "nas": {
                    "networks": ["green", "pink"],
                    "attach": "tagged",
                    "host": "boxA",
                    "port": "nas_veth1",
                    "mac": "02-00-00-00-00-0A",
                    "ips": ["192.168.5.9", "2001:db8::0009"],
                    "labels": {"b": "2", "a": "1"},
                }
            },
        )
    )
    assert policy.hosts == {"boxA": Host("boxA", dpid=Dpid(0x525400564432)), "boxB": Host("boxB", bridge="br0")}
    assert policy.networks["green"] == Network(
        "green",
        vlan=Vlan(10),
        vni=Vni(5010),
        cidrs=(ip_network("192.168.5.0/24"), ip_network("2001:db8::/64")),
        members=Members.OPEN,
        macs_per_port=4096,
        mac_age_s=65535,
    )
    assert policy.endpoints["nas"] == Endpoint(
        "nas",
        networks=("green", "pink"),
        port="nas_veth1",
        attach=Attach.TAGGED,
        host="boxA",
        mac=Mac(0x02000000000A),
        ips=(ip_address("192.168.5.9"), ip_address("2001:db8::9")),
        labels=(("a", "1"), ("b", "2")),
    )


def test_defaults_are_the_models() -> None:
    policy = load(document(networks={"green": {"vlan": 10}}, endpoints={"web1": ENDPOINT}))
    assert policy.networks["green"] == Network("green", vlan=Vlan(10))
    assert policy.endpoints["web1"] == Endpoint(
        "web1", networks=("green",), port="web1", mac=Mac.parse("02:00:00:00:00:01")
    )


def test_the_smallest_document_is_an_empty_policy() -> None:
    policy = load(document())
    assert (policy.networks, policy.endpoints, policy.hosts) == ({}, {}, {})


def test_order_of_the_document_is_kept() -> None:
    names = ["zeta", "alpha", "mid"]
    assert list(load(document(networks={name: {"vlan": i + 1} for i, name in enumerate(names)})).networks) == names


def test_all_problems_come_at_once() -> None:
    wrong = document(
        networks={"green": {"vlan": 0, "cidrs": ["10.0.0.1/8", 3]}, "pink": {}},
        endpoints={"web1": {"port": "", "mac": "ff:ff:ff:ff:ff:ff", "ip": []}, "web2": 3},
        hosts={"boxA": {}},
    )
    del wrong["apiVersion"]
    assert {problem.path for problem in problems_of(wrong)} == {
        "",
        "/hosts/boxA",
        "/networks/green/vlan",
        "/networks/green/cidrs/0",
        "/networks/green/cidrs/1",
        "/networks/pink",
        "/endpoints/web1",
        "/endpoints/web1/ip",
        "/endpoints/web1/port",
        "/endpoints/web1/mac",
        "/endpoints/web2",
    }


@pytest.mark.parametrize("value", [None, [], "x", 3, True, object()])
def test_a_document_is_a_mapping(value: object) -> None:
    path, message, _ = one_problem(value)
    assert path == ""
    assert message.endswith("is not a mapping")


@pytest.mark.parametrize("version", ["tripoint/v2", "", None, 1, ["tripoint/v1"]])
def test_api_version_is_exactly_ours(version: object) -> None:
    path, _, hint = one_problem({"apiVersion": version})
    assert (path, hint) == ("/apiVersion", "write tripoint/v1")


@pytest.mark.parametrize(
    ("where", "key", "meant"),
    [
        ("", "network", "networks"),
        ("", "apiversion", None),
        ("defaults", "intra-network", "intra_network"),
        ("hosts", "dpids", "dpid"),
        ("networks", "vlans", "vlan"),
        ("networks", "CIDRS", "cidrs"),
        ("endpoints", "ip", "ips"),
        ("endpoints", "labls", "labels"),
    ],
)
def test_unknown_key_names_the_nearest_known_one(where: str, key: str, meant: str | None) -> None:
    objects: dict[str, Any] = {
        "defaults": {"defaults": {key: 1}},
        "hosts": {"hosts": {"x": {"dpid": "0000525400564432", key: 1}}},
        "networks": {"networks": {"x": {**NETWORK, key: 1}}},
        "endpoints": {"endpoints": {"x": {**ENDPOINT, key: 1}}},
    }
    _, message, hint = one_problem(document(**objects[where]) if where else document(**{key: 1}))
    assert message == f"the key {key!r} is unknown"
    assert hint == f"did you mean {meant or 'apiVersion'!r}?"


def test_unknown_key_like_no_other_lists_the_known_ones() -> None:
    assert one_problem(document(qqq=1)) == (
        "/qqq",
        "the key 'qqq' is unknown",
        f"known are: {', '.join(DOCUMENT_KEYS)}",
    )


@pytest.mark.parametrize("key", ["filters"])
def test_sections_that_do_not_exist_yet_say_so(key: str) -> None:
    assert key in LATER
    assert one_problem(document(**{key: {}}))[::2] == (f"/{key}", "this version does not have it yet")


@pytest.mark.parametrize("key", ["intra_network", "inter_network", "port_security"])
def test_defaults_are_closed_choices(key: str) -> None:
    path, message, _ = one_problem(document(defaults={key: "other"}))
    assert path == f"/defaults/{key}"
    assert message.startswith("'other' is not one of: ")


@pytest.mark.parametrize("kind", ["hosts", "networks", "endpoints", "uplinks", "groups"])
@pytest.mark.parametrize("section", [None, [], "x", 3])
def test_sections_are_mappings(kind: str, section: object) -> None:
    assert one_problem(document(**{kind: section}))[0] == f"/{kind}"


@pytest.mark.parametrize("name", ["", "-a", ".a", "_a", "a b", "a/b", "ä", "a\n", "x" * 64])
def test_names_are_held_to_their_rule(name: str) -> None:
    path, message, _ = one_problem(document(networks={name: {"vlan": 1}}))
    assert path == "/networks/" + name.replace("/", "~1")
    assert message.endswith("is not a name")


@pytest.mark.parametrize("name", ["a", "0", "10", "Web_1.veth-2", "x" * 63])
def test_names_within_their_rule_are_taken(name: str) -> None:
    assert load(document(networks={name: {"vlan": 1}})).networks[name].name == name


@pytest.mark.parametrize(
    ("key", "low", "high"),
    [("vlan", 1, 4094), ("vni", 1, 16777215), ("macs_per_port", 1, 4096), ("mac_age_s", 1, 65535)],
)
def test_numbers_are_strict_and_bounded(key: str, low: int, high: int) -> None:
    for value in (low, high):
        assert getattr(load(network(**{key: value})).networks["green"], key) == value
    for wrong in (low - 1, high + 1, -1, 10**5000, True, 1.0, None, [1], "x"):
        assert one_problem(network(**{key: wrong}))[::2] == (f"/networks/green/{key}", f"a number from {low} to {high}")
    assert one_problem(network(**{key: "10"})) == (
        f"/networks/green/{key}",
        "'10' is not a whole number",
        "drop the quotes: 10",
    )


def test_a_network_has_a_vlan_or_a_vni() -> None:
    assert one_problem(document(networks={"green": {}}))[0] == "/networks/green"
    assert load(document(networks={"green": {"vni": 1}})).networks["green"].vlan is None


@pytest.mark.parametrize(
    ("key", "value"), [("mode", "bridge"), ("members", "closed"), ("members", True), ("mode", None)]
)
def test_choices_are_closed(key: str, value: object) -> None:
    assert one_problem(network(**{key: value}))[0] == f"/networks/green/{key}"


@pytest.mark.parametrize(
    ("cidr", "hint"),
    [
        ("192.168.5.1/24", "write 192.168.5.0/24"),
        ("2001:db8::1/64", "write 2001:db8::/64"),
        ("192.168.5.0", "an address and a length, like 192.168.5.0/24 or 2001:db8::/64"),
        ("192.168.5.0/255.255.255.0", "an address and a length, like 192.168.5.0/24 or 2001:db8::/64"),
        ("192.168.5.0/33", "like 192.168.5.0/24 or 2001:db8::/64"),
        ("300.1.1.0/24", "like 192.168.5.0/24 or 2001:db8::/64"),
        ("fe80::%1/64", "an address and a length, like 192.168.5.0/24 or 2001:db8::/64"),
        ("224.0.0.0/8", "a unicast prefix"),
        ("127.1.0.0/16", "a unicast prefix"),
        ("ff02::/16", "a unicast prefix"),
        ("::ffff:10.0.0.0/104", "a unicast prefix"),
    ],
)
def test_wrong_prefix_gets_the_right_one_as_hint(cidr: str, hint: str) -> None:
    assert one_problem(network(cidrs=[cidr]))[::2] == ("/networks/green/cidrs/0", hint)


def test_prefixes_neither_repeat_nor_lie_in_one_another() -> None:
    assert one_problem(network(cidrs=["10.0.0.0/8", "10.0.0.0/8"]))[:2] == (
        "/networks/green/cidrs/1",
        "10.0.0.0/8 stands in the list twice",
    )
    nested = ["10.1.0.0/16", "10.0.0.0/8", "2001:db8::/32", "10.2.3.0/24", "11.0.0.0/8", "2001:db8:1::/48"]
    assert [problem.message for problem in problems_of(network(cidrs=nested))] == [
        "10.1.0.0/16 lies in 10.0.0.0/8",
        "10.2.3.0/24 lies in 10.0.0.0/8",
        "2001:db8:1::/48 lies in 2001:db8::/32",
    ]
    assert load(network(cidrs=["10.128.0.0/9", "10.0.0.0/9"])).networks["green"].cidrs[1] == ip_network("10.0.0.0/9")


def test_one_string_is_not_a_list() -> None:
    assert one_problem(network(cidrs="10.0.0.0/8"))[::2] == ("/networks/green/cidrs", "write [10.0.0.0/8]")


@pytest.mark.parametrize(
    ("dpid", "sound"),
    [
        ("0000525400564432", True),
        ("00:00:52:54:00:56:44:32", True),
        ("525400564432", False),
        ("0x00005254005644", False),
        ("0000525400564g32", False),
        ("0000:525400564432", False),
        ("0" * 16, False),
        (1234567890123456, False),
        (None, False),
    ],
)
def test_dpid_is_16_digits(dpid: object, sound: bool) -> None:
    value = document(hosts={"boxA": {"dpid": dpid}})
    if sound:
        assert load(value).hosts["boxA"].dpid == 0x525400564432
    else:
        assert one_problem(value)[0] == "/hosts/boxA/dpid"


def test_number_as_dpid_is_told_to_be_quoted() -> None:
    assert "in quotes" in one_problem(document(hosts={"boxA": {"dpid": 1234567890123456}}))[2]


@pytest.mark.parametrize("keys", [{}, {"dpid": "0000525400564432", "bridge": "br0"}])
def test_a_host_has_dpid_or_bridge(keys: dict[str, str]) -> None:
    assert one_problem(document(hosts={"boxA": keys}))[0] == "/hosts/boxA"


@pytest.mark.parametrize(
    "port",
    [
        "",
        "x" * 16,
        "é" * 8,
        "a b",
        "a\tb",
        "a/b",
        "a\x00",
        "a\u2003b",
        ".",
        "..",
        None,
        3,
        "\ud800",
        "a:b",
        "tp-0123456789",
    ],
)
def test_port_names_are_those_linux_takes(port: object) -> None:
    assert one_problem(endpoint(port=port))[0] == "/endpoints/web1/port"


@pytest.mark.parametrize("port", ["x" * 15, "é" * 7, "eth0.10", "tap-1_2", "tp-green"])
def test_port_names_that_linux_takes_are_taken(port: str) -> None:
    assert load(endpoint(port=port)).endpoints["web1"].port == port


def test_a_port_is_known_by_its_name_by_its_iface_id_or_by_the_mac_attached_to_it() -> None:
    def place(**keys: Any) -> str:
        return load(endpoint(**keys)).endpoints["web1"].place

    assert place() == "web1"
    assert place(port=..., iface_id="6a7b") == "iface-id:6a7b"
    assert place(port=...) == "attached-mac:02:00:00:00:00:01"
    assert one_problem(endpoint(port=..., mac=...))[:2] == ("/endpoints/web1", "the endpoint has no port")
    assert one_problem(endpoint(iface_id="6a7b"))[0] == "/endpoints/web1/iface_id"
    assert one_problem(endpoint(port=..., iface_id=""))[0] == "/endpoints/web1/iface_id"
    assert one_problem(endpoint(interface="internal"))[0] == "/endpoints/web1/interface"


def host(**keys: Any) -> dict[str, Any]:
    return document(hosts={"boxA": {"bridge": "br0", **keys}})


def test_a_managed_host_has_a_datapath_id_that_stays() -> None:
    one = load(host(ovsdb="tcp:192.0.2.1:6640")).hosts["boxA"]
    assert one.datapath_id == load(host(ovsdb="unix:/run/db.sock")).hosts["boxA"].datapath_id is not None
    assert load(host()).hosts["boxA"].datapath_id is None
    assert load(host(ovsdb="from:box-a", dpid="00000000000000aa")).hosts["boxA"].datapath_id == 0xAA
    assert one_problem(host(dpid="00000000000000aa"))[0] == "/hosts/boxA"


@pytest.mark.parametrize(
    "ovsdb",
    ["", "tcp:192.0.2.1", "tcp:box:6640", "tcp:2001:db8::1:6640", "udp:192.0.2.1:6640", "unix:db.sock", "from:",
     "from:a b", "tcp:192.0.2.1:0", "tcp:192.0.2.1:65536", "ptcp:6640", 6640, "tcp:[192.0.2.1]:6640"],
)  # fmt: skip
def test_a_database_is_named_as_ovs_vsctl_takes_it(ovsdb: object) -> None:
    assert one_problem(host(ovsdb=ovsdb))[0] == "/hosts/boxA/ovsdb"


def test_a_database_may_be_named_in_four_ways() -> None:
    for ovsdb in ("tcp:[2001:db8::1]:6640", "ssl:192.0.2.1:6640", "unix:/run/db.sock", "from:box-a"):
        assert load(host(ovsdb=ovsdb)).hosts["boxA"].ovsdb == ovsdb


@pytest.mark.parametrize(
    ("keys", "path"),
    [
        ({"controller": "tcp:192.0.2.1:6653"}, "/hosts/boxA/controller"),
        ({"ovsdb": "from:a", "controller": "ptcp:6653"}, "/hosts/boxA/controller"),
        ({"ovsdb": "from:a", "patch": "br-phys"}, "/hosts/boxA/patch"),
        ({"trunk": "up", "patch": "br-phys"}, "/hosts/boxA/patch"),
        ({"ovsdb": "from:a", "trunk": "up", "patch": "br0"}, "/hosts/boxA/patch"),
        ({"mtu": 1500}, "/hosts/boxA/mtu"),
        ({"vtep": "192.0.2.1", "mtu": 500}, "/hosts/boxA/mtu"),
        ({"vtep": "224.0.0.1"}, "/hosts/boxA/vtep"),
    ],
)
def test_what_a_host_cannot_be(keys: dict[str, Any], path: str) -> None:
    assert one_problem(host(**keys))[0] == path


def test_overlay_has_defaults_and_says_what_is_wrong() -> None:
    assert load(document()).overlay == Overlay(Encapsulation.VXLAN, None, None, True)
    assert load(document(overlay={"type": "gre", "mtu": "auto", "bfd": False})).overlay.bfd is False
    assert load(document(overlay={"mtu": 1400})).overlay.mtu == 1400
    assert one_problem(document(overlay={"type": "gre", "l4_port": 1}))[0] == "/overlay/l4_port"
    assert one_problem(document(overlay={"type": "stt"}))[0] == "/overlay/type"
    assert one_problem(document(overlay={"mtu": "large"}))[0] == "/overlay/mtu"
    assert one_problem(document(overlay={"bfd": 1}))[0] == "/overlay/bfd"


@pytest.mark.parametrize(
    "mac",
    ["01:00:5e:00:00:01", "ff:ff:ff:ff:ff:ff", "00:00:00:00:00:00", "02:00:00:00:00", "0200.0000.0001", "", None, 5],
)
def test_mac_is_one_unicast_address(mac: object) -> None:
    assert one_problem(endpoint(mac=mac))[0] == "/endpoints/web1/mac"


@pytest.mark.parametrize(
    ("ip", "hint"),
    [
        ("10.0.0.1/24", "without the prefix: 10.0.0.1"),
        ("2001:db8::5/64", "without the prefix: 2001:db8::5"),
        ("fe80::1%eth0", "without the zone after '%'"),
        ("10.0.0.256", "like 192.168.5.1 or 2001:db8::1"),
        ("10.0.0.01", "like 192.168.5.1 or 2001:db8::1"),
        ("nobody", "like 192.168.5.1 or 2001:db8::1"),
        ("", "like 192.168.5.1 or 2001:db8::1"),
        (167772161, "put it in quotes"),
        *((ip, "a unicast address") for ip in ("0.0.0.0", "255.255.255.255", "224.0.0.1", "239.1.1.1")),
        *((ip, "a unicast address") for ip in ("127.0.0.1", "::", "::1", "ff02::1", "::ffff:10.0.0.1")),
    ],
)
def test_wrong_address_gets_a_hint(ip: object, hint: str) -> None:
    assert one_problem(endpoint(ips=[ip]))[::2] == ("/endpoints/web1/ips/0", hint)


def test_an_address_stands_in_the_list_once() -> None:
    assert one_problem(endpoint(ips=["2001:db8::1", "10.0.0.1", "2001:DB8:0::1"]))[0] == "/endpoints/web1/ips/2"


def test_network_and_networks_exclude_each_other() -> None:
    assert one_problem(endpoint(networks=["pink"]))[0] == "/endpoints/web1/network"
    assert one_problem(endpoint(network=...))[0] == "/endpoints/web1"
    assert one_problem(endpoint(network=..., networks=[]))[0] == "/endpoints/web1/networks"
    assert one_problem(endpoint(network=..., networks="green"))[::2] == ("/endpoints/web1/networks", "write [green]")
    assert one_problem(endpoint(network=["green"]))[::2] == (
        "/endpoints/web1/network",
        "the key for several is networks",
    )
    assert one_problem(endpoint(network=..., networks=["green", "green"]))[0] == "/endpoints/web1/networks/1"
    assert one_problem(endpoint(network=..., networks=["green", 3]))[0] == "/endpoints/web1/networks/1"
    assert load(endpoint(network=..., networks=["green"])).endpoints["web1"].networks == ("green",)


def test_an_endpoint_without_mac_has_no_addresses_and_one_network() -> None:
    assert load(endpoint(mac=...)).endpoints["web1"].mac is None
    assert one_problem(endpoint(mac=..., ips=["10.0.0.1"]))[0] == "/endpoints/web1/ips"
    assert one_problem(endpoint(mac=..., network=..., networks=["green", "pink"]))[0] == "/endpoints/web1/networks"


def test_labels_are_names_and_texts() -> None:
    assert load(endpoint(labels={"app": "", "tier": "a b"})).endpoints["web1"].labels == (("app", ""), ("tier", "a b"))
    for labels in ({"app": True}, {"app": 3}, {"app": "x" * 256}, {"app": "a\nb"}):
        assert one_problem(endpoint(labels=labels))[0] == "/endpoints/web1/labels/app"
    assert one_problem(endpoint(labels={"a b": "x"}))[0] == "/endpoints/web1/labels/a b"
    assert one_problem(endpoint(labels=["app"]))[0] == "/endpoints/web1/labels"


def test_paths_are_escaped_as_json_pointers() -> None:
    assert one_problem(document(**{"a/b~c": 1}))[0] == "/a~1b~0c"


def test_read_returns_what_is_sound_beside_the_problems() -> None:
    draft = read(document(networks={"green": {"vlan": 10}, "pink": {"vlan": 0}}, endpoints={"web1": ENDPOINT}))
    assert list(draft.policy.networks) == ["green"]
    assert list(draft.policy.endpoints) == ["web1"]
    assert draft.names.networks == {"green", "pink"}
    assert [problem.path for problem in draft.problems] == ["/networks/pink/vlan"]


def test_suggestions_are_bounded_and_remembered() -> None:
    nearest = Nearest()
    known = [f"network{i}" for i in range(150)]
    assert nearest.hint("network", "netwrk7", known) == "did you mean 'network7'?"
    assert nearest.hint("network", "x" * 65, ["x" * 65 + "y"]) == ""
    given = sum(bool(nearest.hint("network", f"netwrk{i}", known)) for i in range(150))
    assert given == 133  # 20,000 comparisons with 150 names each
    assert nearest.hint("network", "netwrk7", known) == "did you mean 'network7'?"


def test_a_document_wrong_100_000_times_is_refused_quickly() -> None:
    wrong = {f"web{i}": {"ip": 1, f"key{i}": "x" * 100, "netwrok": f"green{i}"} for i in range(33_000)}
    assert len(problems_of(document(endpoints=wrong))) > 100_000


KEYS_AND_MORE = st.sampled_from([key for keys in KEYS.values() for key in keys] + sorted(LATER)) | st.text(max_size=5)
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from(
        [
            "green",
            "10.0.0.1",
            "10.0.0.0/24",
            "02:00:00:00:00:01",
            "tagged",
            "open",
            "any",
            "80-90",
            "3/min",
            API_VERSION,
        ]
    )
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS_AND_MORE, inner, max_size=4),
    max_leaves=15,
)


def named(keys: tuple[str, ...]) -> st.SearchStrategy[dict[str, Any]]:
    return st.dictionaries(
        st.text(max_size=4) | st.just("green"), st.dictionaries(st.sampled_from(keys), VALUES), max_size=3
    )


def listed(keys: tuple[str, ...]) -> st.SearchStrategy[list[Any]]:
    """Objects in a list; many have their name, and a type or action that leads further."""
    known = {
        "name": st.sampled_from(["a", "b"]) | SCALARS,
        "type": st.sampled_from(["masquerade", "snat", "dnat", "forward", "one_to_one"]),
        "action": st.sampled_from(["allow", "log", "reject"]),
        "proto": st.sampled_from(["tcp", "icmp", "icmpv6", 6, 300]),
        "to": st.sampled_from(["green:80", "any", "outside", "10.0.0.1-10.0.9.9", "10.0.0.9-10.0.0.1"]) | VALUES,
    }
    one = st.fixed_dictionaries({}, optional={key: known.get(key, VALUES) for key in keys})
    return st.lists(one | VALUES, max_size=3)


NEAR_POLICIES = st.fixed_dictionaries(
    {"apiVersion": st.just(API_VERSION)},
    optional={
        "hosts": named(KEYS["hosts"]),
        "networks": named(KEYS["networks"]),
        "endpoints": named(KEYS["endpoints"]),
        "uplinks": named(KEYS["uplinks"]),
        "groups": named(KEYS["groups"]),
        "tiers": st.lists(st.sampled_from(["a", "b"]) | SCALARS, max_size=3) | VALUES,
        "rules": listed(KEYS["rules"]),
        "rewrites": listed(KEYS["rewrites"]),
        "defaults": st.dictionaries(st.sampled_from(KEYS["defaults"]), VALUES | listed(KEYS["defaults.pairs"])),
    },
)


def exists(document: Any, path: str) -> bool:
    """Whether a JSON pointer leads to a value of the document."""
    for part in path.split("/")[1:]:
        step = part.replace("~1", "/").replace("~0", "~")
        try:
            document = document[int(step)] if isinstance(document, list) else document[step]
        except (KeyError, IndexError, ValueError, TypeError):
            return False
    return True


@settings(max_examples=300)
@given(VALUES | NEAR_POLICIES)
@example({"networks": {"": {}}})
def test_no_document_raises_anything_but_policy_error_and_every_path_exists(value: Any) -> None:
    for problem in read(value).problems:
        assert exists(value, problem.path), problem
        assert problem.message
