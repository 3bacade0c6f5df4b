"""Several hosts joined by trunks and tunnels deliver what one bridge with all their ports would: to whom, what, and
how often.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from random import Random

import pytest

from controller.flow.fields import LOCAL_PORT
from controller.flow.packet import Packet
from controller.pipeline.compile import Compiled, compile_bridge
from controller.pipeline.rulebook import make_rulebook
from controller.pipeline.segment import Carrier
from controller.pipeline.view import BridgeView
from controller.policy.meaning import deliver, judge
from controller.policy.model import Endpoint, Members, Policy, Vni
from controller.proof.evaluate import Tables, evaluate
from tests.unit.strategies import Case, seeded, unused

TRUNK = 200
"""The ofport of every host's trunk; no endpoint has it."""
TUNNEL = 300
"""TUNNEL + n is the ofport of the tunnel to host n."""
WAYS = ("trunk", "tunnels", "both")
"""How networks travel. both: those with an even vlan by trunk, the others in tunnels."""


@dataclass(frozen=True)
class Seen:
    """A frame between hosts, and the tunnel key it had there (0: on the trunk)."""

    key: int
    frame: Packet


@dataclass(frozen=True)
class Fabric:
    """Hosts (endpoint -> ofport), how they are joined, and their tables."""

    policy: Policy
    hosts: tuple[Mapping[str, int], ...]
    ways: str
    advertising: frozenset[int] = frozenset(range(3))
    """The hosts whose datapath can make neighbor advertisements."""

    def in_tunnel(self, network: str) -> bool:
        vlan = self.policy.networks[network].vlan or 0
        return self.ways == "tunnels" or (self.ways == "both" and vlan % 20 != 0)

    def tables(self) -> list[Tables]:
        return [Tables(compiled.flows()) for compiled in self.compile([])]

    def compile(self, before: Sequence[Compiled]) -> list[Compiled]:
        """before: what the hosts had; none: they are new."""
        book = make_rulebook(self.policy)
        return [
            compile_bridge(
                self.policy,
                host,
                before[i] if before else unused(self.view(i).advertises),
                self._carriers(i),
                bridge=self.view(i),
                book=book,
            )
            for i, host in enumerate(self.hosts)
        ]

    def view(self, host: int) -> BridgeView:
        return BridgeView(host in self.advertising)

    def _carriers(self, here: int) -> dict[str, tuple[Carrier, ...]]:
        return {network: tuple(self._ways(here, network)) for network in self.policy.networks}

    def _ways(self, here: int, network: str) -> Iterator[Carrier]:
        behind: dict[int, list[Endpoint]] = {}
        for there, other in enumerate(self.hosts):
            way = TUNNEL + there if self.in_tunnel(network) else TRUNK
            members = [self.policy.endpoints[name] for name in other if network in self.policy.endpoints[name].networks]
            if there != here and members:
                behind.setdefault(way, []).extend(members)
        for way, members in behind.items():
            yield Carrier(way, way != TRUNK, tuple(members))


def join(case: Case, seed: int, ways: str) -> Fabric:
    """The endpoints of a case on two or three hosts, each with the ofport it had.

    Without networks in which a switch learns: several switches learn at other times than one.
    """
    networks = {
        name: replace(n, members=Members.DECLARED, vni=Vni(5000 + (n.vlan or 0)))
        for name, n in case.policy.networks.items()
    }
    policy = Policy(networks, {name: e for name, e in case.policy.endpoints.items() if e.mac is not None}, {})
    random = Random(seed)
    hosts: list[dict[str, int]] = [{} for _ in range(random.choice((2, 3)))]
    for name, port in case.bindings.items():
        if name in policy.endpoints:
            random.choice(hosts)[name] = port
    return Fabric(policy, tuple(hosts), ways)


def join_each_way(
    case: Case, seed: int, advertising: frozenset[int] = frozenset(range(3))
) -> Iterator[tuple[Fabric, list[Tables]]]:
    """In each of WAYS, and with the tables of every host. The first has them made at once, the others of what the
    hosts had before: how they are joined changes, and their members do not."""
    compiled: list[Compiled] = []
    for ways in WAYS:
        fabric = replace(join(case, seed, ways), advertising=advertising)
        compiled = fabric.compile(compiled)
        yield fabric, [Tables(each.flows()) for each in compiled]


def is_member(port: int) -> bool:
    return port < TRUNK or port == LOCAL_PORT


def send(tables: list[Tables], host: int, port: int, frame: Packet) -> tuple[Counter[tuple[int, Packet]], list[Seen]]:
    """What members get, and what is seen between hosts. What is on the trunk reaches every other host."""
    got: Counter[tuple[int, Packet]] = Counter()
    between: list[Seen] = []
    result = evaluate(tables[host], port, frame)
    for (out, packet), key in zip(result.outputs, result.keys, strict=True):
        if is_member(out):
            got[out, packet] += 1
            continue
        between.append(Seen(key if out >= TUNNEL else 0, packet))
        for other, far in enumerate(tables):
            if other == host or (out >= TUNNEL and out != TUNNEL + other):
                continue
            arrives, tunnel_key = (TUNNEL + host, key) if out >= TUNNEL else (TRUNK, 0)
            for far_out, far_packet in evaluate(far, arrives, packet, tunnel_key=tunnel_key).outputs:
                if far_out == arrives:
                    got += answered(tables[host], other, far_out, far_packet, key)
                    continue
                assert is_member(far_out), "from one host to a third"
                got[far_out, far_packet] += 1
    return got, between


def answered(home: Tables, other: int, way: int, frame: Packet, key: int) -> Counter[tuple[int, Packet]]:
    """What becomes of an answer that another host's switch has made, when it is back where the question came from."""
    arrives = TUNNEL + other if way >= TUNNEL else TRUNK
    return Counter(evaluate(home, arrives, frame, tunnel_key=key if way >= TUNNEL else 0).outputs)


@pytest.mark.parametrize("fifty", range(8))
def test_joined_hosts_deliver_what_one_bridge_would(fifty: int) -> None:
    for seed in range(fifty * 50, fifty * 50 + 50):
        case = seeded(seed)
        for fabric, tables in join_each_way(case, seed):
            deliver_as_one_bridge(case, fabric, tables, f"seed {seed}")


def deliver_as_one_bridge(case: Case, fabric: Fabric, tables: list[Tables], which: str) -> None:
    policy = fabric.policy
    bindings = {name: port for host in fabric.hosts for name, port in host.items()}
    vlans = {network.vlan for name, network in policy.networks.items() if not fabric.in_tunnel(name)}
    vnis = {network.vni for name, network in policy.networks.items() if fabric.in_tunnel(name)}
    for port, frame in case.frames:
        home = next((i for i, host in enumerate(fabric.hosts) if port in host.values()), None)
        if home is None:
            continue
        got, between = send(tables, home, port, frame)
        means, _ = deliver(policy, bindings, port, frame)
        assert set(got) == means, f"{which}, {fabric.ways}, port {port}: {frame}\n{case!r}\n{fabric.hosts}"
        if frame.get("arp_op") != 1 and frame.get("icmpv6_type") != 135:  # answers by the switch may come twice
            assert set(got.values()) <= {1}, f"{which}, {fabric.ways}, port {port}: {frame}\n{case!r}\n{fabric.hosts}"
        for seen in between:
            told = (not seen.frame.tags and seen.key in vnis) or (
                seen.key == 0 and len(seen.frame.tags) == 1 and seen.frame.tags[0] in vlans
            )
            assert told, f"{which}, {fabric.ways}: {seen}"


@pytest.mark.parametrize("fifty", range(3))
def test_a_hostile_host_cannot_bring_in_what_the_policy_does_not_say(fifty: int) -> None:
    """Whatever comes in on a trunk or a tunnel is delivered only as if a member behind it had sent it."""
    for seed in range(fifty * 50, fifty * 50 + 50):
        case = seeded(seed)
        for fabric, tables in join_each_way(case, seed):
            bring_in(case, fabric, tables[0], f"seed {seed}, {fabric.ways}")


def bring_in(case: Case, fabric: Fabric, tables: Tables, which: str) -> None:
    here = fabric.hosts[0]
    on_trunk = {name: TRUNK + 1 + i for i, name in enumerate(n for host in fabric.hosts[1:] for n in host)}
    in_tunnel = {name: TRUNK + 1 + i for i, name in enumerate(fabric.hosts[1])}
    for _, frame in case.frames:
        for number in (10, 20, 30, 999):
            network = next((n.name for n in fabric.policy.networks.values() if n.vlan == number), None)
            tagged = heard(evaluate(tables, TRUNK, frame.with_tags(number)).outputs, TRUNK)
            carried = network is not None and not fabric.in_tunnel(network)
            may = admitted(fabric.policy, here, on_trunk, network, frame) if carried else set()
            assert tagged <= may, f"{which}: vlan {number} {frame}"
            keyed = heard(evaluate(tables, TUNNEL + 1, frame, tunnel_key=5000 + number).outputs, TUNNEL + 1)
            carried = network is not None and fabric.in_tunnel(network)
            may = admitted(fabric.policy, here, in_tunnel, network, frame) if carried else set()
            assert keyed <= may, f"{which}: vni {5000 + number} {frame}"


def heard(outputs: Iterable[tuple[int, Packet]], came_from: int) -> set[tuple[int, Packet]]:
    """What is delivered, but for answers of the switch to where the question came from."""
    found = set(outputs)
    asked = {(to, frame) for to, frame in found if to == came_from}
    assert all(frame.get("arp_op") == 2 or frame.get("icmpv6_type") == 136 for _, frame in asked)
    return found - asked


def test_joined_hosts_that_cannot_advertise_hand_questions_to_the_one_asked() -> None:
    for seed in range(7000, 7100):
        case = seeded(seed)
        for fabric, tables in join_each_way(case, seed, advertising=frozenset()):
            bindings = {name: port for host in fabric.hosts for name, port in host.items()}
            for port, frame in case.frames:
                home = next((i for i, host in enumerate(fabric.hosts) if port in host.values()), None)
                if home is not None:
                    got, _ = send(tables, home, port, frame)
                    means = judge(fabric.policy, bindings, port, frame, advertises=False).deliveries
                    where = f"seed {seed}, {fabric.ways}, port {port}"
                    assert set(got) == means, f"{where}: {frame}\n{case!r}\n{fabric.hosts}"


def test_a_host_that_can_advertise_answers_one_that_cannot() -> None:
    asked = 0
    for seed in range(8000, 8400):
        case = seeded(seed)
        fabric = replace(join(case, seed, "tunnels"), advertising=frozenset({1, 2}))
        here = fabric.hosts[0].values()
        questions = [(port, frame) for port, frame in case.frames if port in here and frame.get("icmpv6_type") == 135]
        tables = fabric.tables() if questions else []
        bindings = {name: port for host in fabric.hosts for name, port in host.items()}
        for port, frame in questions:
            got, _ = send(tables, 0, port, frame)
            able = judge(fabric.policy, bindings, port, frame).deliveries
            unable = judge(fabric.policy, bindings, port, frame, advertises=False).deliveries
            assert set(got) <= able | unable, f"seed {seed}, port {port}: {frame}\n{case!r}\n{fabric.hosts}"
            assert got or not (able and unable), f"seed {seed}: the question is lost"
            asked += bool(able - unable) and set(got) == able
    assert asked > 5


def admitted(
    policy: Policy, local: Mapping[str, int], behind: Mapping[str, int], network: str | None, frame: Packet
) -> set[tuple[int, Packet]]:
    """What the members on this host may get of a frame in this network, if anyone behind the carrier may send it."""
    found: set[tuple[int, Packet]] = set()
    for name, port in behind.items():
        endpoint = policy.endpoints[name]
        if network is None or network not in endpoint.networks:
            continue
        tags = (policy.networks[network].vlan or 0,) if endpoint.attach.value == "tagged" else ()
        means, _ = deliver(policy, {**local, **behind}, port, frame.with_tags(*tags))
        found |= {(out, packet) for out, packet in means if out in local.values()}
    return found
