"""Ports that lead to other hosts, and bridges compiled with them: step by step or at once, the result is the same."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from ipaddress import IPv4Network
from random import Random

import pytest

from controller.carriers import NO_CARRIERS, Carriers, find_carriers
from controller.inventory import Bindings, BridgePorts, bind
from controller.pipeline.compile import Compiled, compile_bridge
from controller.pipeline.rulebook import make_rulebook
from controller.policy.check import check
from controller.policy.load import load
from controller.policy.model import Attach, Dpid, Endpoint, Policy
from controller.tunnels import tunnel_port
from tests.unit.strategies import unused

BOXES = ("boxA", "boxB", "boxC")
NETWORKS = {
    "green": {"vni": 10, "vlan": 10},
    "pink": {"vni": 20},
    "blue": {"vni": 30, "vlan": 30, "members": "open"},
}


def document() -> dict[str, object]:
    """Three hosts with tunnels, two of them with trunks; a member of each network on each, and one of two networks."""
    hosts = {
        name: {"dpid": f"{number:016x}", "vtep": f"192.0.2.{number}", **({"trunk": "up"} if number < 3 else {})}
        for number, name in enumerate(BOXES, 1)
    }
    endpoints: dict[str, dict[str, object]] = {}
    for n, network in enumerate(NETWORKS):
        for number, box in enumerate(BOXES, 1):
            name = f"{network}{number}"
            endpoints[name] = {"network": network, "host": box, "port": name}
            if network != "blue":
                endpoints[name]["mac"] = f"02:00:00:00:0{n}:0{number}"
    endpoints["nas"] = {"networks": ["green", "pink"], "host": "boxA", "port": "nas", "mac": "02:00:00:00:09:09"}
    return {"apiVersion": "tripoint/v1", "hosts": hosts, "networks": NETWORKS, "endpoints": endpoints}


POLICY = load(document())
PORTS: dict[Dpid, dict[str, int]] = {
    Dpid(number): {"up": 90, **{tunnel_port(box): 91 + i for i, box in enumerate(BOXES)}}
    for number, _ in enumerate(BOXES, 1)
}


@dataclass
class Steps:
    """Everything made of what it was before; each step checks that it is what it would be made at once."""

    bindings: Bindings = field(default_factory=Bindings)
    carriers: Carriers = NO_CARRIERS
    compiled: dict[Dpid, Compiled] = field(default_factory=dict)

    def take(self, policy: Policy, ports: dict[Dpid, dict[str, int]]) -> None:
        bridges = [BridgePorts(dpid, f"br{dpid}", there, True) for dpid, there in ports.items()]
        self.bindings = bind(policy, bridges, self.bindings)
        self.carriers = find_carriers(policy, bridges, self.bindings, self.carriers)
        bindings = bind(policy, bridges, Bindings())
        carriers = find_carriers(policy, bridges, bindings)
        assert self.bindings == bindings
        assert self.carriers == carriers
        book = make_rulebook(policy)
        for dpid in ports:
            kept = {} if dpid not in self.compiled else {"before": self.compiled[dpid]}
            ways = self.carriers.by_bridge.get(dpid, {})
            self.compiled[dpid] = compile_bridge(policy, self.bindings.seats[dpid], carriers=ways, **kept)
            ways = carriers.by_bridge.get(dpid, {})
            at_once = compile_bridge(policy, bindings.seats[dpid], unused(), ways, book=book)
            assert self.compiled[dpid].flows() == at_once.flows()


def with_members_on_their_ports(policy: Policy) -> dict[Dpid, dict[str, int]]:
    found = {dpid: dict(ports) for dpid, ports in PORTS.items()}
    for number, endpoint in enumerate(policy.endpoints.values(), 1):
        host = policy.hosts[endpoint.host or ""]
        found[host.dpid or Dpid(0)][endpoint.port] = number
    return found


def moved(policy: Policy, name: str, **changes: object) -> Policy:
    endpoint: Endpoint = replace(policy.endpoints[name], **changes)  # type: ignore[arg-type] # of any field
    return replace(policy, endpoints={**policy.endpoints, name: endpoint})


def test_the_policy_of_these_tests_is_sound() -> None:
    assert check(POLICY) == ()


@pytest.mark.parametrize("seed", range(40))
def test_whatever_happened_before_carriers_and_flows_are_those_of_what_is_there_now(seed: int) -> None:
    random, steps = Random(seed), Steps()
    policy, ports = POLICY, with_members_on_their_ports(POLICY)
    states = [(policy, ports)]
    for _ in range(12):
        ports = {dpid: dict(there) for dpid, there in ports.items()}
        match random.randrange(5):
            case 0:
                policy = moved(policy, random.choice(list(policy.endpoints)), host=random.choice(BOXES))
            case 1:
                name = random.choice(list(policy.endpoints))
                policy = moved(policy, name, networks=tuple(random.sample(sorted(NETWORKS), random.choice((1, 2)))))
            case 2:
                there = random.choice(list(ports.values()))
                del there[random.choice(list(there))]
            case 3:
                there = random.choice(list(ports.values()))
                there[random.choice([*policy.endpoints, *PORTS[Dpid(1)]])] = random.randrange(1, 99)
            case _:
                ports = with_members_on_their_ports(policy)
        states.append((policy, ports))
    for policy, ports in [*states, *reversed(states)]:
        steps.take(policy, ports)


def test_a_move_leaves_the_carriers_of_other_networks_the_very_same_objects() -> None:
    steps = Steps()
    steps.take(POLICY, with_members_on_their_ports(POLICY))
    before, compiled = steps.carriers, dict(steps.compiled)
    policy = moved(POLICY, "pink1", host="boxC")
    steps.take(policy, with_members_on_their_ports(policy))
    for dpid in PORTS:
        assert steps.carriers.by_bridge[dpid]["green"] is before.by_bridge[dpid]["green"]
        assert steps.compiled[dpid].segments["green"] is compiled[dpid].segments["green"]
    assert steps.carriers.by_bridge[Dpid(2)]["pink"] != before.by_bridge[Dpid(2)]["pink"]
    assert (
        steps.compiled[Dpid(2)].segments["pink"].members["pink2"] is compiled[Dpid(2)].segments["pink"].members["pink2"]
    )


def test_a_port_that_leads_nowhere_changes_no_carrier() -> None:
    steps = Steps()
    ports = with_members_on_their_ports(POLICY)
    steps.take(POLICY, ports)
    before, compiled = steps.carriers, dict(steps.compiled)
    steps.take(POLICY, {**ports, Dpid(1): {**ports[Dpid(1)], "stranger": 77}})
    assert all(steps.carriers.spreads[name] is before.spreads[name] for name in NETWORKS)
    assert all(steps.compiled[dpid].segments == compiled[dpid].segments for dpid in PORTS)


def test_what_a_router_on_another_host_may_not_speak_for_follows_its_other_networks() -> None:
    routes = (IPv4Network("198.51.100.0/24"),)
    policy = moved(POLICY, "nas", networks=("green", "blue"), routes=routes, attach=Attach.TAGGED)
    policy = moved(policy, "blue2", host="boxA")
    steps, ports = Steps(), with_members_on_their_ports(policy)
    steps.take(policy, ports)
    wider = replace(policy.networks["blue"], cidrs=(IPv4Network("198.51.100.64/26"),))
    steps.take(replace(policy, networks={**policy.networks, "blue": wider}), ports)
    assert "blue" not in steps.compiled[Dpid(2)].segments
    assert any("198.51.100.64/26" in str(flow) for flow in steps.compiled[Dpid(2)].flows())
