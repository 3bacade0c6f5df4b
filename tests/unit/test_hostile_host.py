"""What another host may bring in as routed, and what a hostile one tries: it speaks for its own members only.

lan1 is on the other host, behind a trunk; office1 and web1 are here. The other host has no uplink, or has that of lan.
"""

from __future__ import annotations

import pytest

from controller.flow import packet as p
from controller.flow.packet import Packet
from controller.mac import Mac
from controller.pipeline.compile import compile_bridge
from controller.pipeline.segment import Carrier
from controller.policy.firewall import Decision
from controller.policy.model import Policy
from controller.proof.evaluate import Tables, evaluate
from tests.unit.meaning_world import MEMBERS, ROUTER, address, ip, policy_member, world

TRUNK, HERE = 60, {"office1": 3, "lan2": 2, "web1": 4, "green1": 6}
VLANS = {"lan": 10, "office": 20, "dmz": 30, "green": 40}


def tables(policy: Policy, *, has_uplink: bool = False) -> Tables:
    """Of this host. The other one is behind TRUNK, with lan1, and the uplink or not."""
    away = [member for member in MEMBERS if member.name == "lan1"]
    ways = {
        name: (Carrier(TRUNK, False, tuple(m for m in away if name in m.networks), None, has_uplink and name == "lan"),)
        for name in VLANS
    }
    return Tables(compile_bridge(policy, HERE, carriers=ways).flows())


def heard(policy: Policy, network: str, frame: Packet, *, has_uplink: bool = False) -> set[int]:
    """The ports that get something of a frame that comes in from the other host in a network."""
    made = tables(policy, has_uplink=has_uplink)
    return {port for port, _ in evaluate(made, TRUNK, frame.with_tags(VLANS[network])).outputs}


def mac(name: str) -> int:
    found = policy_member(name).mac
    assert found is not None
    return found.value


def routed(target: str, source: str = "lan1", **change: int) -> Packet:
    """As the other host's router would send it."""
    frame = p.ipv4_udp((ROUTER, mac(target)), (address(source), address(target)), (7, 7))
    return frame.with_(**change)


def test_what_another_host_has_routed_is_judged_again() -> None:
    assert heard(world(inter_network=Decision.ALLOW), "office", routed("office1")) == {HERE["office1"]}
    assert heard(world(), "office", routed("office1")) == set()


def test_a_host_routes_for_its_own_members_only() -> None:
    policy = world(inter_network=Decision.ALLOW)
    for source in ("lan2", "web1", "8.8.8.8", "10.1.0.254", "10.2.0.254", "10.4.0.1", "172.16.200.1", "0.0.0.0"):
        assert heard(policy, "office", routed("office1", source)) == set(), source


def test_the_host_with_the_uplink_brings_in_what_is_outside_and_nothing_from_inside() -> None:
    policy = world()
    assert heard(policy, "lan", routed("lan2", "8.8.8.8"), has_uplink=True) == {HERE["lan2"]}
    for source in ("lan2", "web1", "office1", "10.4.0.1", "127.0.0.1", "224.0.0.1", "0.0.0.0"):
        assert heard(policy, "lan", routed("lan2", source), has_uplink=True) == set(), source
    assert heard(policy, "office", routed("office1", "8.8.8.8"), has_uplink=True) == set(), "office has no uplink"


@pytest.mark.parametrize("target", ["224.0.0.251", "255.255.255.255", "10.2.0.255"])
@pytest.mark.parametrize("has_uplink", [False, True])
def test_no_router_sends_to_many(target: str, has_uplink: bool) -> None:
    """It would be a way from any network into any other, for many is within the network."""
    policy = world()
    for to in (mac("office1"), p.BROADCAST, 0x01005E0000FB):
        frame = routed("office1", eth_dst=to, ip_dst=ip(target))
        assert heard(policy, "office", frame, has_uplink=has_uplink) == set()
    for source in ("lan1", "8.8.8.8"):
        frame = routed("lan2", source, eth_dst=p.BROADCAST, ip_dst=ip(target.replace("10.2.", "10.1.")))
        assert heard(policy, "lan", frame, has_uplink=has_uplink) == set()


def test_no_router_sends_to_or_from_an_address_of_the_link() -> None:
    policy = world()
    pair = (ROUTER, mac("office1"))
    source, target = address("lan1", 6), address("office1", 6)
    local = int(Mac(mac("office1")).link_local)
    assert heard(world(inter_network=Decision.ALLOW), "office", p.ipv6_udp(pair, (source, target), (7, 7))) == {3}
    for ends in ((source, local), (int(Mac(mac("lan1")).link_local), target), (source, ip("ff02::1"))):
        assert heard(policy, "office", p.ipv6_udp(pair, ends, (7, 7))) == set()
        assert heard(policy, "office", p.ipv6_udp((ROUTER, 0x333300000001), ends, (7, 7))) == set()


def test_no_router_speaks_in_a_network_that_has_none() -> None:
    frame = p.ipv4_udp((ROUTER, mac("green1")), (address("lan1"), address("green1")), (7, 7))
    assert heard(world(inter_network=Decision.ALLOW), "green", frame) == set()


def test_no_router_says_by_discovery_who_is_where() -> None:
    policy = world()
    gateway = ip("2001:db8:1::fe")
    for source, target in ((address("lan1", 6), gateway), (address("lan1", 6), address("lan1", 6)), (gateway, gateway)):
        told = p.neighbor_advertisement((ROUTER, mac("lan2")), (source, address("lan2", 6)), target, ROUTER)
        for frame in (told, told.with_(icmpv6_type=134, nd_target=0), told.with_(icmpv6_type=137, nd_target=0)):
            assert heard(policy, "lan", frame, has_uplink=True) == set()
    for operation in (1, 2):
        frame = p.arp_reply(ROUTER, ip("10.1.0.254"), mac("lan2"), address("lan2")).with_(arp_op=operation)
        assert heard(policy, "lan", frame, has_uplink=True) == set()
