"""What hosts are to have, between which of them tunnels lie, and what fits in them."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from controller.carriers import find_carriers
from controller.host_plan import HostPlan, plan_hosts
from controller.hosts import DatabaseSeen, HostSeen, PortSeen, TunnelSeen, WantedPort
from controller.inventory import NO_STRANGERS, Bindings, BridgePorts, bind, find_strangers, labels_of
from controller.mac import Mac
from controller.mtu import member_mtus, mtu_problems, overhead_bytes, underlay_mtus
from controller.pipeline.segment import Carrier
from controller.policy.check import check
from controller.policy.load import load
from controller.policy.model import Dpid, Encapsulation, Policy
from controller.tunnels import find_reach, patch_peer, peers_of, tunnel_port


def policy_of(**sections: Any) -> Policy:
    policy = load({"apiVersion": "tripoint/v1", **sections})
    assert check(policy) == ()
    return policy


def host(number: int, **keys: Any) -> dict[str, Any]:
    return {"bridge": "br0", "ovsdb": f"tcp:192.0.2.{number}:6640", "vtep": f"192.0.2.{number}", **keys}


def member(number: int, network: str, box: str, **keys: Any) -> dict[str, Any]:
    return {"network": network, "host": box, "port": f"p{number}", "mac": f"02:00:00:00:00:{number:02x}", **keys}


THREE = policy_of(
    hosts={"boxA": host(4), "boxB": host(5), "boxC": host(6)},
    networks={"green": {"vni": 5010, "vlan": 10}, "pink": {"vni": 5020}, "lone": {"vni": 5030}},
    endpoints={
        "a1": member(1, "green", "boxA"),
        "a2": member(2, "lone", "boxA"),
        "b1": member(3, "green", "boxB"),
        "b2": member(4, "pink", "boxB", interface="internal"),
        "c1": member(5, "pink", "boxC"),
    },
)


def ports(plan: HostPlan, name: str) -> dict[str, WantedPort]:
    (found,) = (host for host in plan.hosts if host.name == name)
    return {port.name: port for port in found.ports}


def test_tunnels_lie_between_hosts_that_share_a_network_and_only_there() -> None:
    plan = plan_hosts(THREE, Bindings(), ())
    tunnels = {host.name: {port.name for port in host.ports if port.type == "vxlan"} for host in plan.hosts}
    assert tunnels == {
        "boxA": {tunnel_port("boxB")},
        "boxB": {tunnel_port("boxA"), tunnel_port("boxC")},
        "boxC": {tunnel_port("boxB")},
    }
    one = ports(plan, "boxA")[tunnel_port("boxB")]
    assert dict(one.options) == {
        "key": "flow", "local_ip": "192.0.2.4", "remote_ip": "192.0.2.5", "dst_port": "4789",
    }  # fmt: skip
    assert one.bfd
    assert one.origin == "/hosts/boxB/vtep"


def test_members_ports_say_what_they_are() -> None:
    plan = plan_hosts(THREE, Bindings(), ())
    assert ports(plan, "boxA")["p1"] == WantedPort("p1", "br0", "/endpoints/a1", tag=10)
    internal = ports(plan, "boxB")["p4"]
    assert (internal.type, internal.mac, internal.mtu_bytes) == ("internal", Mac(0x020000000004), 1450)
    assert ports(plan, "boxA")["p2"].mtu_bytes is None


def test_an_uplink_is_a_port_of_its_hosts_bridge() -> None:
    routed = {"vni": 5010, "cidrs": ["10.1.0.0/24"], "mode": "nat", "gateway": "10.1.0.1", "uplink": "wan"}
    policy = policy_of(
        hosts={"boxA": host(4), "boxB": host(5)},
        networks={"green": routed},
        uplinks={"wan": {"host": "boxB", "port": "eth1", "addresses": ["198.51.100.2/24"]}},
        endpoints={"a1": member(1, "green", "boxA", ips=["10.1.0.11"])},
    )
    plan = plan_hosts(policy, Bindings(), ())
    assert ports(plan, "boxB")["eth1"] == WantedPort("eth1", "br0", "/uplinks/wan")
    assert "eth1" not in ports(plan, "boxA")


def test_the_bridges_own_port_is_a_member_without_a_port_to_be_made() -> None:
    policy = policy_of(
        hosts={"boxA": host(4)},
        networks={"green": {"vni": 7}},
        endpoints={"boxA": {**member(1, "green", "boxA"), "port": "br0"}},
    )
    (wanted,) = plan_hosts(policy, Bindings(), ()).hosts
    assert (wanted.ports, wanted.mac) == ((), Mac(0x020000000001))


def test_a_host_of_which_nothing_changed_is_the_same_value() -> None:
    before = plan_hosts(THREE, Bindings(), ())
    moved = replace(THREE, endpoints={name: one for name, one in THREE.endpoints.items() if name != "c1"})
    after = plan_hosts(moved, Bindings(), (), before)
    assert [new is old for new, old in zip(after.hosts, before.hosts, strict=True)] == [True, False, False]
    assert after == plan_hosts(moved, Bindings(), ())


def test_of_a_host_with_one_port_more_the_others_are_the_very_same() -> None:
    before = plan_hosts(THREE, Bindings(), ())
    more = load(
        {
            "apiVersion": "tripoint/v1",
            "hosts": {"boxA": host(4)},
            "networks": {"green": {"vni": 5010, "vlan": 10}},
            "endpoints": {"a0": member(9, "green", "boxA"), "a1": member(8, "green", "boxA")},
        }
    ).endpoints
    for endpoints in ({**THREE.endpoints, "a0": more["a0"]}, {**THREE.endpoints, **more}, {**more, **THREE.endpoints}):
        policy = replace(THREE, endpoints=endpoints)
        after = plan_hosts(policy, Bindings(), (), before)
        assert after == plan_hosts(policy, Bindings(), ())
        assert ports(after, "boxA")["p2"] is ports(before, "boxA")["p2"]
        assert ports(after, "boxA").keys() >= {"p2", "p9"}
    # Its tag and its MTU are the network's.
    tagged = replace(THREE, networks={**THREE.networks, "pink": replace(THREE.networks["pink"], vlan=20)})
    after = plan_hosts(tagged, Bindings(), (), before)
    assert after == plan_hosts(tagged, Bindings(), ())
    assert ports(after, "boxB")["p4"].tag == 20


def test_a_member_whose_host_is_observed_counts_there() -> None:
    endpoints: Any = {"a1": member(1, "green", "boxA"), "x": {**member(9, "green", "boxB"), "port": "vnet0"}}
    del endpoints["x"]["host"]
    policy = policy_of(hosts={"boxA": host(4), "boxB": host(5)}, networks={"green": {"vni": 7}}, endpoints=endpoints)
    assert not any(port.type for host in plan_hosts(policy, Bindings(), ()).hosts for port in host.ports)
    dpid = policy.hosts["boxB"].datapath_id
    assert dpid is not None
    there = plan_hosts(policy, Bindings(home={"x": dpid}, hosts={dpid: "boxB"}), ())
    assert tunnel_port("boxB") in ports(there, "boxA")
    assert "vnet0" not in ports(there, "boxB"), "who put it there keeps it"


@pytest.mark.parametrize(
    ("type", "version", "bytes"),
    [("vxlan", 4, 50), ("vxlan", 6, 70), ("geneve", 4, 50), ("geneve", 6, 70), ("gre", 4, 42), ("gre", 6, 62)],
)
def test_what_the_encapsulation_takes(type: str, version: int, bytes: int) -> None:
    assert overhead_bytes(Encapsulation(type), version) == bytes


def test_members_may_use_what_the_narrowest_of_their_hosts_leaves() -> None:
    present = {"boxA": frozenset({"green"}), "boxB": frozenset({"green", "pink"}), "boxC": frozenset({"pink"})}
    assert member_mtus(THREE, find_reach(THREE, present), {"boxA": 9000}) == {"green": 1450, "pink": 1450}
    assert member_mtus(THREE, find_reach(THREE, present), {"boxA": 1400}) == {"green": 1350, "pink": 1450}
    said = policy_of(
        hosts={"boxA": host(4, mtu=9000), "boxB": host(5, mtu=1600)},
        networks={"green": {"vni": 1}},
        endpoints={"a": member(1, "green", "boxA"), "b": member(2, "green", "boxB")},
    )
    both = find_reach(said, {"boxA": frozenset({"green"}), "boxB": frozenset({"green"})})
    assert member_mtus(said, both, {"boxB": 1500}) == {"green": 1550}, "the document's word goes first"


def test_trunks_go_before_tunnels_and_need_a_vlan() -> None:
    policy = policy_of(
        hosts={"boxA": host(4, trunk="up"), "boxB": host(5, trunk="up", patch="br-phys")},
        networks={"green": {"vni": 5010, "vlan": 10}, "pink": {"vni": 5020}},
        endpoints={
            "a1": member(1, "green", "boxA"), "b1": member(2, "green", "boxB"),
            "a2": member(3, "pink", "boxA"), "b2": member(4, "pink", "boxB"),
        },
    )  # fmt: skip
    everywhere = {name: frozenset({"green"}) for name in policy.hosts}
    assert peers_of(policy, find_reach(policy, everywhere)) == {"boxA": frozenset(), "boxB": frozenset()}
    plan = plan_hosts(policy, Bindings(), ())
    assert ports(plan, "boxA")["up"].trunks == (10,)
    patch, far = ports(plan, "boxB")["up"], ports(plan, "boxB")[patch_peer("boxB")]
    assert (patch.type, dict(patch.options), far.bridge) == ("patch", {"peer": far.name}, "br-phys")
    assert dict(far.options) == {"peer": "up"}
    boxes = [policy.hosts[name].datapath_id or Dpid(0) for name in ("boxA", "boxB")]
    seen = [
        BridgePorts(boxes[0], "br0", {"p1": 1, "p3": 3, "up": 5, tunnel_port("boxB"): 6}, True),
        BridgePorts(boxes[1], "br0", {"p2": 2, "p4": 4, "up": 5, tunnel_port("boxA"): 6}, True),
    ]
    carriers = find_carriers(policy, seen, bind(policy, seen, Bindings())).by_bridge
    assert carriers[boxes[0]] == {
        "pink": (Carrier(6, True, (policy.endpoints["b2"],)),),
        "green": (Carrier(5, False, (policy.endpoints["b1"],)),),
    }


def seen_host(*shown: PortSeen, dpid: int = 7) -> HostSeen:
    now = datetime(2024, 1, 1, tzinfo=UTC)
    return HostSeen("boxA", "tcp:", True, now, "", True, (), "3.1.0", "a", DatabaseSeen({"br0": Dpid(dpid)}, shown))


def port(name: str, ofport: int | None = None, **keys: Any) -> PortSeen:
    fields: dict[str, Any] = {
        "bridge": "br0", "type": "", "link_up": True, "mtu_bytes": 1500, "iface_id": None, "attached_mac": None,
        "error": None, "ours": True, "tunnel": None,
    }  # fmt: skip
    return PortSeen(name=name, ofport=ofport, **{**fields, **keys})


def test_labels_bind_endpoints_whose_ports_have_no_names_in_the_policy() -> None:
    policy = policy_of(
        networks={"green": {"vlan": 10}},
        endpoints={
            "vm1": {"network": "green", "iface_id": "6a7b", "mac": "02:00:00:00:00:01"},
            "vm2": {"network": "green", "mac": "02:00:00:00:00:02"},
            "vm3": {"network": "green", "port": "vnet2", "mac": "02:00:00:00:00:03"},
        },
    )
    mac = Mac(0x020000000002)
    tunnel = TunnelSeen("192.0.2.5", True, "", "")
    host = seen_host(
        port("vnet0", 1, iface_id="6a7b"),
        port("vnet1", 2, attached_mac=mac),
        port("vnet2", 3, iface_id="6a7b"),
        port("tp-0123456789", 4, iface_id="other", tunnel=tunnel),
    )
    labels = labels_of(policy, [host.shown])
    assert labels == {Dpid(7): {"iface-id:6a7b": "vnet0", f"attached-mac:{mac}": "vnet1"}}
    bridge = BridgePorts(Dpid(7), "br0", {"vnet0": 1, "vnet1": 2, "vnet2": 3}, True, labels[Dpid(7)])
    assert bind(policy, [bridge], Bindings()).seats == {Dpid(7): {"vm1": 1, "vm2": 2, "vm3": 3}}


def test_a_host_known_by_its_bridges_name_only_gets_its_tunnel() -> None:
    endpoints: Any = {"a1": member(1, "green", "boxA"), "x": {**member(9, "green", "boxB"), "port": "vnet0"}}
    del endpoints["x"]["host"]
    hosts = {"boxA": host(4), "boxB": {"bridge": "br-b", "vtep": "192.0.2.5"}}
    policy = policy_of(hosts=hosts, networks={"green": {"vni": 7}}, endpoints=endpoints)
    bindings = bind(policy, [BridgePorts(Dpid(9), "br-b", {"vnet0": 1}, True)], Bindings())
    assert tunnel_port("boxB") in ports(plan_hosts(policy, bindings, ()), "boxA")


def test_a_port_with_a_tunnels_name_that_leads_elsewhere_carries_nothing() -> None:
    name, dpid = tunnel_port("boxB"), THREE.hosts["boxA"].datapath_id or Dpid(0)
    right, wrong = TunnelSeen("192.0.2.5", True, "", ""), TunnelSeen("203.0.113.9", True, "", "")
    for tunnel, carries in ((right, 4), (wrong, None), (None, None)):
        found = find_strangers(THREE, [seen_host(port(name, 4, tunnel=tunnel), dpid=dpid)]).by_bridge
        bridge = BridgePorts(dpid, "br0", {name: 4}, True, strangers=found.get(dpid, frozenset()))
        assert bridge.carrier(name) == carries


def test_a_port_has_one_endpoint_by_whatever_it_is_known() -> None:
    policy = policy_of(
        networks={"green": {"vlan": 10}},
        endpoints={
            "first": {"network": "green", "port": "vnet0", "mac": "02:00:00:00:00:01"},
            "second": {"network": "green", "iface_id": "6a7b", "mac": "02:00:00:00:00:02"},
        },
    )
    bridge = BridgePorts(Dpid(7), "br0", {"vnet0": 1}, True, {"iface-id:6a7b": "vnet0"})
    assert bind(policy, [bridge], Bindings()).seats == {Dpid(7): {"first": 1}}


def test_a_port_with_too_large_an_mtu_is_named() -> None:
    bindings = Bindings(seats={Dpid(7): {"a1": 1, "a2": 2}})
    host = seen_host(port("p1", 1), port("p2", 2, mtu_bytes=9000), port("p3", 3))
    (said,) = mtu_problems(THREE, bindings, [host], {"green": 1450})["boxA"]
    assert said.startswith("host boxA: port p1 has an MTU of 1500, and 1450 fit")
    assert mtu_problems(THREE, bindings, [seen_host(port("p1", 1, mtu_bytes=1450))], {"green": 1450}) == {}


def test_of_a_managed_host_only_its_own_database_is_believed() -> None:
    policy = policy_of(
        hosts={"boxA": host(4), "boxB": host(5)},
        networks={"green": {"vni": 10}},
        endpoints={"vm": {"network": "green", "iface_id": "6a7b", "mac": "02:00:00:00:00:01"}},
    )
    dpid = policy.hosts["boxB"].datapath_id
    assert dpid is not None
    liar = seen_host(port("mallory", 9, iface_id="6a7b"), dpid=dpid)
    honest = seen_host(port("vnet0", 1, iface_id="6a7b"), dpid=dpid)
    shown = [liar.shown, honest.shown]
    assert labels_of(policy, shown, {"boxA": liar, "boxB": honest}) == {dpid: {"iface-id:6a7b": "vnet0"}}
    assert labels_of(policy, shown, {"boxA": liar}) == {}


def test_of_ports_with_one_label_that_which_the_switch_has_made_goes_first() -> None:
    policy = policy_of(
        networks={"green": {"vlan": 10}},
        endpoints={"vm": {"network": "green", "iface_id": "6a7b", "mac": "02:00:00:00:00:01"}},
    )
    left_over = seen_host(port("a-tap", None, iface_id="6a7b"), port("b-tap", 2, iface_id="6a7b"))
    assert labels_of(policy, [left_over.shown]) == {Dpid(7): {"iface-id:6a7b": "b-tap"}}


def test_a_port_with_a_tunnels_name_is_nobodys_whatever_its_database_says() -> None:
    policy = policy_of(
        hosts={"boxA": host(4), "boxB": host(5)},
        networks={"green": {"vni": 10}},
        endpoints={"vm": {"network": "green", "iface_id": "6a7b", "mac": "02:00:00:00:00:01"},
                   "a": member(2, "green", "boxA"), "b": member(3, "green", "boxB")},
    )  # fmt: skip
    near, far = (policy.hosts[name].datapath_id or Dpid(0) for name in ("boxA", "boxB"))
    box = seen_host(port(tunnel_port("boxB"), 6, iface_id="6a7b", ours=False), dpid=near)
    assert labels_of(policy, [box.shown], {"boxA": box}) == {}
    # Should an endpoint be there all the same, the port leads to nobody else.
    labels = {"iface-id:6a7b": tunnel_port("boxB")}
    bridges = [
        BridgePorts(near, "br0", {"p2": 2, tunnel_port("boxB"): 6}, True, labels),
        BridgePorts(far, "br0", {"p3": 3, tunnel_port("boxA"): 6}, True),
    ]
    carriers = find_carriers(policy, bridges, bind(policy, bridges, Bindings())).by_bridge
    assert carriers[near] == {}
    assert [[carrier.port for carrier in ways] for ways in carriers[far].values()] == [[6]]


def test_two_bridges_of_one_name_are_one_host_with_one_tunnel_to_it() -> None:
    policy = policy_of(
        hosts={"boxA": {"bridge": "br0", "vtep": "192.0.2.4"}, "boxB": {"bridge": "br1", "vtep": "192.0.2.5"}},
        networks={"green": {"vni": 10}},
        endpoints={"a": member(1, "green", "boxA"), "c": member(2, "green", "boxA"), "b": member(3, "green", "boxB")},
    )
    bridges = [
        BridgePorts(Dpid(1), "br0", {"p1": 1, tunnel_port("boxA"): 8, tunnel_port("boxB"): 9}, True),
        BridgePorts(Dpid(2), "br0", {"p2": 2, tunnel_port("boxA"): 8, tunnel_port("boxB"): 9}, True),
        BridgePorts(Dpid(3), "br1", {"p3": 3, tunnel_port("boxA"): 9}, True),
    ]
    carriers = find_carriers(policy, bridges, bind(policy, bridges, Bindings())).by_bridge
    assert carriers[Dpid(3)] == {"green": (Carrier(9, True, (policy.endpoints["a"], policy.endpoints["c"])),)}
    assert [[carrier.port for carrier in carriers[Dpid(number)]["green"]] for number in (1, 2)] == [[9], [9]]


@pytest.mark.parametrize(("observed", "believed"), [(1600, 1600), (60, 576), (-5, 576), (1 << 40, 65535)])
def test_what_a_database_says_of_its_mtu_is_believed_within_what_a_policy_may_say(observed: int, believed: int) -> None:
    tunnel = TunnelSeen("192.0.2.5", True, "", "eth0")
    box = seen_host(port("eth0", 1, mtu_bytes=observed), port("tp-0123456789", 2, tunnel=tunnel))
    assert underlay_mtus([box]) == {"boxA": believed}


def test_strangers_found_step_by_step_are_those_found_at_once() -> None:
    dpid = THREE.hosts["boxA"].datapath_id or Dpid(0)
    name, right = tunnel_port("boxB"), TunnelSeen("192.0.2.5", True, "", "eth0")
    wrong = TunnelSeen("192.0.2.99", True, "", "eth0")
    elsewhere = policy_of(hosts={"boxA": host(4), "boxB": host(99)}, networks={}, endpoints={})
    before = NO_STRANGERS
    for policy, tunnel in ((THREE, right), (THREE, wrong), (elsewhere, wrong), (THREE, wrong), (THREE, right)):
        box = seen_host(port(name, 4, tunnel=tunnel), dpid=dpid)
        for _ in range(2):
            before = find_strangers(policy, [box], before)
            assert before.by_bridge == find_strangers(policy, [box]).by_bridge
        assert bool(before.by_bridge) == ((policy, tunnel) in ((THREE, wrong), (elsewhere, right)))
