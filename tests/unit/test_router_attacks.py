"""What hostile members and a hostile world try on the router, rewrites and rules, held against policy and flows."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address, ip_network
from typing import Any

import pytest

from controller.flow import packet as p
from controller.flow.fields import Punt
from controller.mac import Mac
from controller.policy.firewall import Action, Decision, OnChange
from controller.policy.meaning import NOTHING_KNOWN
from controller.policy.model import Pair, Policy
from controller.policy.rewrites import Forward, Masquerade, OneToOne, Target
from tests.unit.flows_world import Both
from tests.unit.meaning_world import (
    CLIENT_MAC,
    HOP_MAC,
    ROUTER,
    address,
    between,
    error,
    eth,
    from_outside,
    ping,
    rule,
    turned,
    world,
)

OPEN = {"inter_network": Decision.ALLOW}
PUBLIC = "172.16.200.1"
FORWARD = Forward("pf", "dmz", p.UDP, 8800, (Target("web1", 80),))


# Networks that have no router


@pytest.mark.parametrize("target", ["office1", "lan1", "web1", "172.16.200.77", "10.1.0.254"])
def test_no_router_serves_an_isolated_network(target: str) -> None:
    both = Both(world(rewrites=(FORWARD,), **OPEN))
    assert both.send("green1", between("green1", target)) == set()
    assert both.send("green1", ping("green1", target if "." in target else str(address_of(target)))) == set()
    assert both.told == set()


def address_of(member: str) -> str:
    number = address(member)
    return ".".join(str(number >> shift & 255) for shift in (24, 16, 8, 0))


def test_no_rewrite_serves_an_isolated_network() -> None:
    both = Both(world(rewrites=(FORWARD,), **OPEN))
    for target in (PUBLIC, "172.17.0.1"):
        assert both.send("green1", between("green1", target, (1000, 8800))) == set()
    assert both.send("lan1", between("lan1", PUBLIC, (1000, 8800))) == {"web1"}, "it is a way for others"


# Uplinks


def test_an_uplink_leads_to_the_networks_that_have_it_and_to_no_others() -> None:
    stranger = "172.20.0.1"
    for rule_ in ((), (rule(Action.ALLOW, "outside", "any"),)):
        both = Both(world(*rule_, rewrites=(FORWARD,), **OPEN))
        for target in ("lan1", "office1", "web1", "green1", PUBLIC, "172.17.0.1", "10.1.0.77", "10.3.0.77"):
            for l4_port in (80, 8800):
                assert both.send("private", from_outside(stranger, target, (5000, l4_port))) == set()
            last = from_outside(stranger, target).with_(nw_ttl=1)
            assert both.send("private", last) == set()
            assert both.told == set()
        assert both.send("wan", from_outside("8.8.8.8", "lan1")) == {"lan1"}
        assert both.send("wan", from_outside("8.8.8.8", "web1")) == set()


def test_rewrites_of_an_uplink_are_not_there_at_another_one() -> None:
    one = OneToOne("one", "lan", ip_address("172.16.200.8"), Target("lan1"))
    still = OneToOne("still", "lan", ip_address("172.16.200.7"), Target("lan2"), stateless=True)
    both = Both(world(rewrites=(one, still)))
    for target, member in (("172.16.200.8", "lan1"), ("172.16.200.7", "lan2")):
        assert both.send("private", from_outside("172.20.0.1", target)) == set()
        assert both.send("wan", from_outside("8.8.8.8", target)) == {member}


def test_a_network_behind_nat_is_not_reached_because_its_prefix_is_that_of_a_routed_one() -> None:
    policy = world(rule(Action.ALLOW, "outside", "any"))
    wide = replace(policy.networks["lan"], cidrs=(ip_network("10.0.0.0/8"), ip_network("2001:db8:1::/64")))
    both = Both(replace(policy, networks={**policy.networks, "lan": wide}))
    assert both.send("wan", from_outside("8.8.8.8", "lan1")) == {"lan1"}
    for target in ("web1", "office1"):
        assert both.send("wan", from_outside("8.8.8.8", target)) == set()


def test_nobody_outside_is_told_which_addresses_are_unused() -> None:
    both = Both(world())
    for target in ("10.1.0.77", "10.3.0.77", "10.4.0.77", "172.16.200.50", "8.8.4.4"):
        assert both.send("wan", from_outside("8.8.8.8", target)) == set()
        assert both.told == set()


# Addresses that mean something on one link only


def test_a_link_local_sender_is_not_routed() -> None:
    both = Both(world())
    frame = p.ipv6_udp((eth("lan1", "lan1")[0], ROUTER), (address("lan1", 6), address("office1", 6)), (1, 1))
    assert both.send("lan1", frame) == set(), "inter_network is drop"
    local = int(Mac(eth("lan1", "lan1")[0]).link_local)
    assert both.send("lan1", frame.with_(ipv6_src=local)) == set()
    assert both.send("lan1", frame.with_(ipv6_src=local, ipv6_dst=address("2001:db8:8::1"))) == set()


@pytest.mark.parametrize("target", ["224.0.0.251", "255.255.255.255", "10.1.0.255"])
def test_what_is_for_many_stays_in_its_network_whatever_its_mac(target: str) -> None:
    frame = between("lan1", "lan2").with_(ip_dst=address(target))
    for to in (frame.eth_dst, p.BROADCAST):
        closed = Both(world(intra_network=Decision.DROP))
        assert closed.send("lan1", frame.with_(eth_dst=to)) == set(), "it is no way out of the network"
        assert Both(world()).send("lan1", frame.with_(eth_dst=to)) == {"lan2"}
    assert Both(world()).send("lan1", frame.with_(eth_dst=ROUTER)) == set()


def test_one_member_asked_by_a_broadcast_frame_answers() -> None:
    both = Both(world(rule(Action.ALLOW, "lan1", "lan2"), rule(Action.DROP, "lan")))
    frame = between("lan1", "lan2")
    assert both.send("lan1", frame.with_(eth_dst=p.BROADCAST)) == {"lan2"}
    assert both.send("lan2", turned(frame)) == {"lan1"}
    assert both.send("lan2", turned(frame).with_(udp_dst=9)) == set()


def test_the_gateway_of_another_network_is_nobody() -> None:
    both = Both(world(**OPEN))
    for target in ("10.2.0.254", "10.3.0.254"):
        for frame in (ping("lan1", target), between("lan1", target), between("lan1", target).with_(nw_ttl=1)):
            assert both.send("lan1", frame) == set()
            assert both.told == set()


# Connections that are kept


def kept(origin: str, target: str, **more: Any) -> Policy:
    return world(rule(Action.ALLOW, origin, target, on_change=OnChange.KEEP), **more)


def test_a_connection_that_is_kept_keeps_its_outside_address_too() -> None:
    both = Both(kept("dmz", "outside"))
    ask = between("web1", "8.8.8.8")
    assert both.send("web1", ask) == {"wan"}
    there = turned(both.sent)
    assert both.send("wan", there) == {"web1"}
    for policy in (both.policy, world(rule(Action.DROP))):
        both.policy = policy
        assert both.send("web1", ask) == {"wan"}
        assert both.sent.get("ip_src") == address(PUBLIC)
        assert both.send("wan", there) == {"web1"}
        told = error(turned(there), "192.0.2.7", 3, 4).with_(eth_src=HOP_MAC, eth_dst=ROUTER)
        assert both.send("wan", told) == {"web1"}, "the errors of a connection go with it"
    assert both.send("web1", between("web1", "8.8.8.8", (1001, 80))) == set()


def test_a_hairpin_that_is_kept_goes_by_the_outside_address() -> None:
    both = Both(kept("lan", "dmz", rewrites=(FORWARD,)))
    ask = between("lan1", PUBLIC, (5000, 8800))
    assert both.send("lan1", ask) == {"web1"}
    assert both.send("web1", turned(both.sent)) == {"lan1"}
    both.policy = world(rule(Action.DROP), rewrites=(FORWARD,))
    assert both.send("lan1", ask) == {"web1"}
    assert both.sent.get("ip_src") == address(PUBLIC)


# Rewrites


def test_errors_of_both_ends_find_their_way_through_a_hairpin() -> None:
    both = Both(world(rewrites=(FORWARD,), pairs=(Pair("lan", "dmz", Decision.ALLOW),)))
    both.send("lan1", between("lan1", PUBLIC, (5000, 8800)))
    asked = both.sent
    assert both.send("web1", error(asked).with_(eth_src=eth("web1", "web1")[0], eth_dst=ROUTER)) == {"lan1"}
    assert both.sent.get("ip_src") == address(PUBLIC)
    assert both.send("web1", turned(asked)) == {"lan1"}
    assert both.send("lan1", error(both.sent)) == {"web1"}
    assert both.sent.inner == turned(asked).with_(eth_src=0, eth_dst=0), "as web1 has sent it"


def test_who_has_an_outside_address_without_state_answers_members_from_there() -> None:
    one = OneToOne("one", "dmz", ip_address("172.16.200.8"), Target("web2"), stateless=True)
    both = Both(world(rewrites=(one,), pairs=(Pair("lan", "dmz", Decision.ALLOW),)))
    assert both.send("lan1", between("lan1", "172.16.200.8")) == {"web2"}
    assert both.sent.get("ip_src") == address(PUBLIC)
    assert both.send("web2", turned(both.sent)) == {"lan1"}
    assert both.sent.get("ip_src") == address("172.16.200.8")
    assert both.send("lan1", between("lan1", "web2")) == {"web2"}
    assert both.send("web2", turned(both.sent)) == {"lan1"}
    assert both.sent.get("ip_src") == address("web2")


def test_who_is_known_outside_under_two_addresses_answers_from_the_one_that_was_asked() -> None:
    both = Both(world(rewrites=(Masquerade("out", "lan"),)))
    assert both.send("wan", from_outside("8.8.8.8", "lan1")) == {"lan1"}
    assert both.send("lan1", turned(both.sent)) == {"wan"}
    assert both.sent.get("ip_src") == address("lan1")
    assert both.send("lan1", between("lan1", "8.8.8.8")) == {"wan"}
    assert both.sent.get("ip_src") == address(PUBLIC)


# Members that are routers of their own


def test_a_router_does_not_speak_for_members_of_a_network_without_prefixes() -> None:
    policy = world()
    green = replace(policy.networks["green"], cidrs=())
    both = Both(replace(policy, networks={**policy.networks, "green": green}))
    frame = p.ipv4_udp(eth("fw", "green1"), (address("192.0.2.1"), address("green1")), (5, 5))
    assert both.send("fw", frame) == {"green1"}
    assert both.send("fw", frame.with_(ip_src=address("green2"))) == set()
    assert both.send("green1", turned(frame).with_(ip_dst=address("green2"))) == set()


def test_unused_addresses_of_networks_are_unreachable_and_not_outside() -> None:
    both = Both(world(**OPEN))
    for target in ("10.1.0.77", "10.2.0.77", "10.3.0.77"):
        assert both.send("lan1", between("lan1", target)) == set()
        assert both.told == {(Punt.UNREACHABLE, "")}
        assert both.send("lan1", between("lan1", target).with_(nw_ttl=1)) == set()
        assert both.told == {(Punt.TTL_EXCEEDED, "")}
    for name, version, target in (("office1", 4, "8.8.8.8"), ("lan1", 6, "2001:db8:9::1")):
        assert both.send(name, ping(name, target, version).with_(nw_ttl=1)) == set()
        assert both.told == {(Punt.TTL_EXCEEDED, "")}


# Neighbors


def test_nobody_on_a_segment_takes_the_place_of_the_next_router(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many addresses a neighbor says it has."""
    monkeypatch.setattr("controller.pipeline.stages.outside.NEIGHBORS_MAX", 1)
    both = Both(world(), NOTHING_KNOWN)
    claims = [("172.16.200.77", CLIENT_MAC), ("172.16.200.254", HOP_MAC)]
    for claimed, mac in claims:
        both.send("wan", p.arp_reply(mac, address(claimed), ROUTER, address(PUBLIC)))
    six, router = address("2001:db8:ff::77"), address("2001:db8:ff::fe")
    for claimed6, mac in ((six, CLIENT_MAC), (router, HOP_MAC)):
        told = p.neighbor_advertisement((mac, ROUTER), (claimed6, address("2001:db8:ff::1")), claimed6, mac)
        both.send("wan", told.with_(nw_ttl=255))
    assert both.send("lan1", between("lan1", "8.8.8.8")) == {"wan"}
    assert both.send("lan1", ping("lan1", "2001:db8:8::1", 6)) == {"wan"}


@pytest.mark.parametrize("mac", [0, p.BROADCAST, 0x01005E0000FB])
def test_nobody_has_a_mac_that_is_none(mac: int) -> None:
    both = Both(world(), NOTHING_KNOWN)
    hop, own = address("172.16.200.254"), address(PUBLIC)
    both.send("wan", p.arp_reply(HOP_MAC, hop, ROUTER, own))
    for operation in (1, 2):
        frame = p.arp_reply(HOP_MAC, hop, ROUTER, own).with_(arp_op=operation, arp_sha=mac)
        assert both.send("wan", frame) == set()
    told = p.neighbor_advertisement((HOP_MAC, ROUTER), (address("2001:db8:ff::fe"), 1), address("2001:db8:ff::fe"), mac)
    assert both.send("wan", told.with_(nw_ttl=255)) == set()
    assert both.send("lan1", between("lan1", "8.8.8.8")) == {"wan"}
    assert both.sent.eth_dst == HOP_MAC
    assert both.send("lan1", ping("lan1", "2001:db8:8::1", 6)) == set(), "that neighbor is not known"
