"""Which endpoint is bound where."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from controller.inventory import Bindings, BridgePorts, bind
from controller.mac import Mac
from controller.policy.model import Dpid, Endpoint, Host, Network, Policy, Uplink, Vlan

NETWORKS = {"n": Network("n", vlan=Vlan(1))}
WEB = Endpoint("web", ("n",), "web0", mac=Mac(0x020000000001))
POLICY = Policy(NETWORKS, {"web": WEB}, {})
LOCAL = 0xFFFFFFFE


def bridge(dpid: int, present: bool = True, **ports: int) -> BridgePorts:
    return BridgePorts(Dpid(dpid), f"br{dpid}", ports, present)


def test_endpoint_is_bound_to_the_port_of_its_name() -> None:
    found = bind(POLICY, [bridge(1, web0=7, other=8)], Bindings())
    assert found.seats == {1: {"web": 7}}
    assert found.home == {"web": 1}


def test_endpoint_without_a_port_is_bound_nowhere() -> None:
    assert bind(POLICY, [bridge(1, other=8)], Bindings()).home == {}


def test_reappearing_port_is_bound_with_its_new_ofport() -> None:
    first = bind(POLICY, [bridge(1, web0=7)], Bindings())
    gone = bind(POLICY, [bridge(1)], first)
    assert gone.home == {}
    assert bind(POLICY, [bridge(1, web0=9)], gone).seats[Dpid(1)] == {"web": 9}


def test_the_bridges_own_local_port_is_bound_and_no_reserved_one() -> None:
    assert bind(POLICY, [bridge(1, web0=LOCAL)], Bindings()).seats[Dpid(1)] == {"web": LOCAL}
    assert bind(POLICY, [bridge(1, web0=0xFFFFFFFD)], Bindings()).home == {}


def test_second_bridge_with_the_same_port_takes_nothing_away() -> None:
    first = bind(POLICY, [bridge(2, web0=7)], Bindings())
    found = bind(POLICY, [bridge(1, web0=3), bridge(2, web0=7)], first)
    assert found.home == {"web": 2}
    assert found.rivals == {"web": (1,)}
    assert found.seats[Dpid(1)] == {}


def test_endpoint_stays_on_a_bridge_that_is_gone_if_no_other_shows_the_port() -> None:
    first = bind(POLICY, [bridge(1, web0=7)], Bindings())
    assert bind(POLICY, [bridge(1, present=False, web0=7)], first).seats[Dpid(1)] == {"web": 7}


def test_endpoint_moves_when_its_bridge_is_gone_for_long_and_another_shows_the_port() -> None:
    first = bind(POLICY, [bridge(1, web0=7)], Bindings())
    assert bind(POLICY, [bridge(1, present=False, web0=7), bridge(2, web0=4)], first).home == {"web": 2}


def test_host_by_dpid_and_by_bridge_name_decides_among_bridges() -> None:
    for host in (Host("h", dpid=Dpid(2)), Host("h", bridge="br2")):
        endpoint = Endpoint("web", ("n",), "web0", host="h", mac=Mac(0x020000000001))
        policy = Policy(NETWORKS, {"web": endpoint}, {"h": host})
        found = bind(policy, [bridge(1, web0=3), bridge(2, web0=7)], Bindings())
        assert found.home == {"web": 2}
        assert found.rivals == {}


@pytest.mark.parametrize("seed", range(40))
def test_bound_one_after_the_other_endpoints_are_where_they_are_if_all_are_bound_at_once(seed: int) -> None:
    """Also where several want one port, an uplink has it, or several bridges show it."""
    pick = random.Random(seed)
    hosts = {"h1": Host("h1", dpid=Dpid(2)), "h2": Host("h2", bridge="br2")}
    uplinks = {"wan": Uplink("wan", "p0", ()), "lte": Uplink("lte", "p0", ())}
    n_ports = pick.choice([4, 12, 30])
    endpoints: dict[str, Endpoint] = {}
    bridges = [bridge(1), bridge(2), bridge(3)]
    before = Bindings()
    for _ in range(60):
        if pick.random() < 0.2:
            n = pick.randrange(3)
            shown = {f"p{i}": i + 1 for i in range(n_ports) if i % 3 == n or pick.random() < 0.05}
            bridges[n] = bridge(n + 1, pick.random() < 0.8, **shown)
        for _ in range(pick.choice([1, 1, 2, 40])):
            name = f"e{pick.randrange(n_ports)}"
            place = name.replace("e", "p") if pick.random() < 0.8 else f"p{pick.randrange(n_ports)}"
            endpoints = {each: endpoint for each, endpoint in endpoints.items() if each != name}
            if pick.random() < 0.7:
                endpoints[name] = Endpoint(name, ("n",), place, host=pick.choice([None, None, "h1", "h2"]))
        if pick.random() < 0.1:
            hosts, uplinks = dict(reversed(hosts.items())), dict(reversed(uplinks.items()))
        policy = Policy(NETWORKS, endpoints, hosts, uplinks=uplinks if pick.random() < 0.9 else {})
        found = bind(policy, bridges, before)
        assert found == bind(policy, bridges, replace(before, made_of=None))
        before = found
