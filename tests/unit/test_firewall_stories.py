"""Stories in which flows once did something else than the policy says; told to both, and how they end."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address

import pytest

from controller.flow import packet as p
from controller.flow.packet import Packet
from controller.policy.firewall import Action, Decision, OnChange
from controller.policy.model import Mode, Policy
from controller.policy.rewrites import Forward, OneToOne, Snat, Target
from tests.unit.both import Both
from tests.unit.meaning_world import (
    HOP_MAC,
    PORTS,
    ROUTER,
    UPLINKS,
    address,
    between,
    endpoint,
    error,
    eth,
    from_outside,
    ip,
    rule,
    turned,
    world,
)
from tests.unit.strategies_firewall import World

ALLOW, DROP, REJECT = Action.ALLOW, Action.DROP, Action.REJECT
PUBLIC, ONE = "172.16.200.1", "172.16.200.8"
HELLO = ("wan", p.arp_reply(HOP_MAC, ip("172.16.200.254"), ROUTER, ip(PUBLIC)))
"""The next hop makes itself known."""
Told = tuple[str, Packet] | Policy
"""What is sent by whom, or another policy."""


def send(policy: Policy, *story: Told) -> set[str]:
    """Who gets the last frame; flows and policy agree on all of them."""
    both = Both(World(policy, dict(PORTS), dict(UPLINKS)))
    names = {port: name for name, port in {**PORTS, **UPLINKS}.items()}
    got: set[str] = set()
    for told in (HELLO, *story):
        if isinstance(told, Policy):
            both.change(told)
            continue
        verdict = both.tell(({**PORTS, **UPLINKS}[told[0]], told[1]))
        assert verdict is not None
        got = {names[port] for port, _ in verdict.deliveries}
    return got


def test_an_isolated_network_is_no_way_to_the_router_of_others() -> None:
    for target in ("lan1", "8.8.8.8", PUBLIC, "10.2.0.77"):
        asked = p.ipv4_udp((eth("green1", "green1")[0], ROUTER), (address("green1"), address(target)), (1000, 80))
        assert send(world(), ("green1", asked)) == set()


def test_a_link_local_source_takes_no_way_around_the_rules() -> None:
    mac = eth("lan1", "lan1")[0]
    local = (0xFE80 << 112) | (mac >> 24 ^ 0x020000) << 40 | 0xFFFE << 24 | mac & 0xFFFFFF
    for target in (address("office1", 6), ip("2001:db8:8::1")):
        assert send(world(), ("lan1", p.ipv6_udp((mac, ROUTER), (local, target), (1000, 80)))) == set()


def test_a_connection_that_may_go_on_goes_on_under_its_outside_address_and_its_errors_too() -> None:
    kept = world(rule(ALLOW, "web1", "outside", on_change=OnChange.KEEP), rule(REJECT, "dmz", "outside"))
    ask = between("web1", "8.8.8.8")
    outside = p.ipv4_udp((HOP_MAC, ROUTER), (ip("8.8.8.8"), ip(PUBLIC)), (80, 1000))
    asked = turned(outside).with_(eth_src=ROUTER, eth_dst=HOP_MAC)
    opened = (("web1", ask), ("wan", outside))
    closed = world(rule(REJECT, "dmz", "outside"))
    assert send(kept, *opened, closed, ("web1", ask)) == {"wan"}
    assert send(kept, *opened, closed, ("wan", error(asked, "9.9.9.9", 11, 0))) == {"web1"}
    assert send(kept, ("web1", ask), closed, ("web1", ask)) == set(), "it was never answered"


def test_from_outside_a_network_shows_itself_at_its_own_uplink_only() -> None:
    policy = world()
    lan = replace(policy.networks["lan"], uplink="private")
    dmz = replace(policy.networks["dmz"], uplink="private")
    elsewhere = replace(policy, networks={**policy.networks, "lan": lan, "dmz": dmz})
    led = Forward("pf", "dmz", p.UDP, 80, (Target("web1"),))
    elsewhere = replace(elsewhere, rewrites={"pf": led})
    for target in ("lan1", "web1", "office1"):
        assert send(elsewhere, ("wan", from_outside("8.8.8.8", target))) == set()
    assert send(policy, ("wan", from_outside("8.8.8.8", "lan1"))) == {"lan1"}


def test_who_has_another_source_outside_still_answers_under_the_own_address() -> None:
    policy = world(rewrites=(Snat("out", "lan", ip_address("172.16.200.10"), ip_address("172.16.200.10")),))
    asked = from_outside("8.8.8.8", "lan1")
    answer = p.ipv4_udp((eth("lan1", "lan1")[0], ROUTER), (address("lan1"), ip("8.8.8.8")), (80, 5000))
    assert send(policy, ("wan", asked), ("lan1", answer)) == {"wan"}


@pytest.mark.parametrize("stateless", [False, True])
def test_an_outside_address_works_from_inside_both_ways(stateless: bool) -> None:
    policy = world(rewrites=(OneToOne("one", "lan", ip_address(ONE), Target("lan2"), stateless),))
    ask = between("lan1", ONE)
    answer = p.ipv4_udp((eth("lan2", "lan2")[0], ROUTER), (address("lan2"), ip(PUBLIC)), (80, 1000))
    assert send(policy, ("lan1", ask)) == {"lan2"}
    assert send(policy, ("lan1", ask), ("lan2", answer)) == {"lan1"}


def test_an_outside_address_off_the_segment_stands_for_a_member_without_conntrack() -> None:
    policy = world(rewrites=(OneToOne("one", "lan", ip_address("198.51.100.9"), Target("lan2"), stateless=True),))
    assert send(policy, ("lan2", between("lan2", "8.8.8.8"))) == {"wan"}


def test_what_is_for_all_is_of_its_network_whatever_mac_it_is_sent_to() -> None:
    macs = eth("lan1", "lan2")
    for target in ("255.255.255.255", "10.1.0.255", "224.0.0.5"):
        shouted = p.ipv4_udp(macs, (address("lan1"), ip(target)), (67, 68))
        assert send(world(rule(DROP, "any", "outside")), ("lan1", shouted)) == {"lan2"}


def test_a_mac_that_is_no_neighbor_s_teaches_nothing_and_a_probe_is_answered() -> None:
    for mac in (p.BROADCAST, 0x01005E000001, 0):
        lie = p.arp_reply(HOP_MAC, ip("172.16.200.254"), ROUTER, ip(PUBLIC)).with_(arp_sha=mac)
        assert send(world(), ("wan", lie), ("lan1", between("lan1", "8.8.8.8"))) == {"wan"}
    assert send(world(), ("wan", p.arp_request(HOP_MAC, 0, ip(PUBLIC)))) == {"wan"}


def test_what_is_behind_a_member_advertises_nothing() -> None:
    router = endpoint("fw6", "green", 99, "fd00:4::9", "2001:db8:9::/48")
    policy = world()
    policy = replace(policy, endpoints={**policy.endpoints, "lan1": replace(router, name="lan1")})
    policy = replace(policy, networks={**policy.networks, "lan": replace(policy.networks["lan"], mode=Mode.ROUTED)})
    mac = router.mac.value if router.mac else 0
    macs, ends = (mac, eth("green1", "green2")[0]), (ip("2001:db8:9::1"), address("green1", 6))
    lie = p.neighbor_advertisement(macs, ends, address("green2", 6), mac)
    assert send(policy, ("lan1", lie)) == set()
    assert send(policy, ("lan1", p.icmpv6(macs, ends, 128))) == {"green1"}


def test_without_an_uplink_the_outside_is_what_members_lead_to() -> None:
    fw = endpoint("lan2", "office", 2, "10.2.0.2", "203.0.113.0/24")
    policy = world()
    policy = replace(policy, endpoints={**policy.endpoints, "lan2": fw})
    macs = eth("office1", "office1")[0], fw.mac.value if fw.mac else 0
    ask = p.ipv4_udp(macs, (address("office1"), ip("203.0.113.5")), (1000, 80))
    assert send(policy, ("office1", ask)) == {"lan2"}
    assert send(world(intra_network=Decision.DROP), ("office1", ask)) == set()
