"""What hostile members and a hostile world try on the router, rewrites and rules, held against policy and flows."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address, ip_network

import pytest

from controller.flow import packet as p
from controller.policy.firewall import Action, Decision
from controller.policy.rewrites import Forward, OneToOne, Target
from tests.unit.flows_world import Both
from tests.unit.meaning_world import address, between, from_outside, ping, rule, world

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
