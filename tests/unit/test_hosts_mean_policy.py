"""Several hosts joined by trunks deliver what one bridge with all their ports would: to whom, what, and how often."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from random import Random

import pytest

from controller.flow.packet import Packet
from controller.pipeline.compile import Carrier, compile_bridge
from controller.policy.meaning import deliver
from controller.policy.model import Members, Policy
from controller.proof.evaluate import Tables, evaluate
from tests.unit.strategies import Case, seeded

TRUNK = 200
"""The ofport of every host's trunk; no endpoint has it."""


def spread(case: Case, seed: int) -> list[dict[str, int]]:
    """The endpoints of a case on two or three hosts, each with the ofport it had."""
    random = Random(seed)
    hosts: list[dict[str, int]] = [{} for _ in range(random.choice((2, 3)))]
    for name, port in case.bindings.items():
        random.choice(hosts)[name] = port
    return hosts


def declared_only(policy: Policy) -> Policy:
    """Without the networks in which a switch learns: several switches learn at other times than one."""
    networks = {name: replace(n, members=Members.DECLARED) for name, n in policy.networks.items()}
    endpoints = {name: e for name, e in policy.endpoints.items() if e.mac is not None}
    return Policy(networks, endpoints, {})


def tables_of(policy: Policy, hosts: list[dict[str, int]]) -> list[Tables]:
    made = []
    for host in hosts:
        others = tuple(name for other in hosts if other is not host for name in other)
        made.append(Tables(compile_bridge(policy, host, carriers=(Carrier(TRUNK, others),)).flows()))
    return made


def send(tables: list[Tables], host: int, port: int, frame: Packet) -> tuple[Counter[tuple[int, Packet]], list[Packet]]:
    """What members get, and what is seen on the trunk. Whatever is on the trunk reaches every other host."""
    got: Counter[tuple[int, Packet]] = Counter()
    on_trunk: list[Packet] = []
    for out, packet in evaluate(tables[host], port, frame, ()).outputs:
        if out != TRUNK:
            got[out, packet] += 1
            continue
        on_trunk.append(packet)
        for other, far in enumerate(tables):
            if other != host:
                for far_out, far_packet in evaluate(far, TRUNK, packet, ()).outputs:
                    assert far_out != TRUNK, "from one host to a third"
                    got[far_out, far_packet] += 1
    return got, on_trunk


@pytest.mark.parametrize("fifty", range(12))
def test_hosts_on_a_trunk_deliver_what_one_bridge_would(fifty: int) -> None:
    for seed in range(fifty * 50, fifty * 50 + 50):
        case = seeded(seed)
        policy = declared_only(case.policy)
        bindings = {name: port for name, port in case.bindings.items() if name in policy.endpoints}
        case = replace(case, policy=policy, bindings=bindings)
        hosts = spread(case, seed)
        tables = tables_of(policy, hosts)
        for port, frame in case.frames:
            home = next((i for i, host in enumerate(hosts) if port in host.values()), None)
            if home is None:
                continue
            got, on_trunk = send(tables, home, port, frame)
            means, _ = deliver(policy, bindings, port, frame)
            assert set(got) == means, f"seed {seed}, port {port}: {frame}\n{case!r}\n{hosts}"
            if frame.get("arp_op") != 1 and frame.get("icmpv6_type") != 135:  # answers by the switch may come twice
                assert set(got.values()) <= {1}, f"seed {seed}, port {port}: {frame}\n{case!r}\n{hosts}"
            vlans = {network.vlan for network in policy.networks.values()}
            assert all(len(seen.tags) == 1 and seen.tags[0] in vlans for seen in on_trunk)


def test_a_hostile_host_cannot_bring_in_what_the_policy_does_not_say() -> None:
    """Whatever comes in on a trunk is delivered only as if one of the members behind it had sent it."""
    for seed in range(300):
        case = seeded(seed)
        policy = declared_only(case.policy)
        bindings = {name: port for name, port in case.bindings.items() if name in policy.endpoints}
        hosts = spread(replace(case, policy=policy, bindings=bindings), seed)
        tables = tables_of(policy, hosts)
        behind = {name: TRUNK + 1 + i for i, name in enumerate(n for host in hosts[1:] for n in host)}
        for _, frame in case.frames:
            for vlan in (10, 20, 30, 999):
                tagged = frame.with_tags(vlan)
                outputs = set(evaluate(tables[0], TRUNK, tagged, ()).outputs)
                assert outputs <= admitted(policy, hosts[0], behind, vlan, frame), f"seed {seed}: {tagged}"


def admitted(
    policy: Policy, local: Mapping[str, int], behind: Mapping[str, int], vlan: int, frame: Packet
) -> set[tuple[int, Packet]]:
    """What the members on this host may get of a frame in this VLAN, if anyone behind the trunk may send it."""
    network = next((network for network in policy.networks.values() if network.vlan == vlan), None)
    if network is None:
        return set()
    found: set[tuple[int, Packet]] = set()
    for name, port in behind.items():
        endpoint = policy.endpoints[name]
        if network.name not in endpoint.networks:
            continue
        tagged = endpoint.attach.value == "tagged"
        means, _ = deliver(policy, {**local, **behind}, port, frame.with_tags(vlan) if tagged else frame.with_tags())
        found |= {(out, packet) for out, packet in means if out in local.values()}
    return found
