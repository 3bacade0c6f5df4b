"""What hostile members and a hostile world try on the router, rewrites and rules, held against policy and flows."""

from __future__ import annotations

import pytest

from controller.flow import packet as p
from controller.policy.firewall import Decision
from controller.policy.rewrites import Forward, Target
from tests.unit.flows_world import Both
from tests.unit.meaning_world import address, between, ping, world

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
