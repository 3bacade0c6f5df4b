"""The flows of a bridge do with every frame what the policy says: `evaluate(compile(policy)) == meaning(policy)`."""

from __future__ import annotations

from collections import Counter
from ipaddress import ip_address, ip_network

import pytest
from hypothesis import given, settings

from controller.flow import packet as p
from controller.flow.fields import ETH_DST, NETWORK, OUT_PORT
from controller.flow.packet import Packet
from controller.mac import Mac
from controller.pipeline.compile import compile_bridge
from controller.pipeline.view import BridgeView
from controller.policy.check import check
from controller.policy.meaning import NOTHING_KNOWN, Known, judge
from controller.policy.model import Endpoint, Members, Network, Policy, Vlan
from controller.proof.evaluate import LearnedFlow, Tables, evaluate
from tests.unit.strategies import Case, cases, seeded, unused


def is_answer(question: Packet, frame: Packet) -> bool:
    """Whether the switch made the frame: it is not the one that came in, tags aside."""
    return frame.with_tags() != question.with_tags()


def taught(policy: Policy, known: Known) -> set[tuple[int, Mac, int]]:
    """(network number, MAC, ofport) of what the policy says is learned."""
    return {(policy.networks[name].number, mac, port) for (name, mac), port in known.learned.items()}


def standing(flows: tuple[LearnedFlow, ...]) -> set[tuple[int, Mac, int]]:
    """The same of what stands in the tables."""
    found = set()
    for flow in flows:
        match = {index: value for index, value, _ in flow.match}
        (port,) = (action.value for action in flow.actions if action.target is OUT_PORT)  # type: ignore[union-attr]
        found.add((match[NETWORK.field.index], Mac(match[ETH_DST.index]), port))
    return found


def compare(case: Case, vlan_limit: int = 1, *, advertises: bool = True) -> None:
    """Send the frames of a case through both, one after the other; what they teach goes on to the next."""
    view = BridgeView(advertises)
    tables = Tables(compile_bridge(case.policy, case.bindings, unused(advertises), bridge=view).flows())
    known = NOTHING_KNOWN
    flows: tuple[LearnedFlow, ...] = ()
    for at, (port, frame) in enumerate(case.frames):
        verdict = judge(case.policy, case.bindings, port, frame, known, advertises=advertises)
        result = evaluate(tables, port, frame, flows, vlan_limit=vlan_limit)
        known, flows = verdict.known, result.learned
        often = {pair for pair, count in Counter(result.outputs).items() if count > 1}
        doubles = {(to, sent) for to, sent in often if not is_answer(frame, sent)}
        agree = set(result.outputs) == verdict.deliveries and taught(case.policy, known) == standing(flows)
        if agree and not doubles:
            continue
        told = [repr(Case(case.policy, case.bindings, case.frames[: at + 1]))]
        told += [f"  met {flow}" for flow in result.trail]
        told += [f"  policy delivers to {to}: {sent}" for to, sent in sorted(verdict.deliveries, key=str)]
        told += [f"  flows deliver to {to}: {sent}" for to, sent in result.outputs]
        told += [f"  twice to {to}: {sent}" for to, sent in doubles]
        told += [f"  policy says: {why}" for why in verdict.why]
        told += [f"  policy learns {entry}, flows do not" for entry in taught(case.policy, known) - standing(flows)]
        told += [f"  flows learn {entry}, policy does not" for entry in standing(flows) - taught(case.policy, known)]
        raise AssertionError("\n".join(told))


@given(cases())
@settings(max_examples=200, deadline=None)
def test_flows_deliver_what_the_policy_says(case: Case) -> None:
    compare(case)


@pytest.mark.parametrize("hundred", range(8))
def test_flows_deliver_what_the_policy_says_in_many_seeded_cases(hundred: int) -> None:
    for seed in range(hundred * 100, hundred * 100 + 100):
        compare(seeded(seed))


def test_flows_deliver_what_the_policy_says_where_the_switch_cannot_advertise() -> None:
    for seed in range(6000, 6200):
        compare(seeded(seed), advertises=False)


def test_flows_deliver_what_the_policy_says_when_the_switch_reads_two_tags() -> None:
    for seed in range(5000, 5080):
        compare(seeded(seed), vlan_limit=2)


ONE, TWO, STRANGER, OTHER = 0x020000000001, 0x020000000002, 0x02000000AA01, 0x02000000AA02
IP1, IP2, FAR1, FREE = (int(ip_address(text)) for text in ("10.0.0.1", "10.0.0.2", "10.0.1.1", "10.0.0.77"))


def two_shared(one: str, two: str) -> Policy:
    """Two untagged members of the same two networks, which do not hold the same addresses."""
    narrow, wide = (ip_network("10.0.0.0/29"),), (ip_network("10.0.0.0/24"), ip_network("10.0.1.0/24"))
    networks = {"n0": Network("n0", Vlan(10), cidrs=narrow), "n1": Network("n1", Vlan(20), cidrs=wide)}
    shared = {
        name: Endpoint(name, ("n0", "n1"), name, mac=Mac(mac), ips=(ip_address(ip),))
        for name, mac, ip in (("x", ONE, one), ("y", TWO, two))
    }
    return Policy(networks, shared, {})


def open_network() -> Policy:
    """Two ports that learn one MAC each, and a declared member."""
    network = Network("n0", Vlan(10), members=Members.OPEN, macs_per_port=1)
    learning = {name: Endpoint(name, ("n0",), name) for name in ("x", "y")}
    server = Endpoint("z", ("n0",), "z", mac=Mac(ONE), ips=(ip_address("10.0.0.1"),))
    return Policy({"n0": network}, {**learning, "z": server}, {})


HELLO = p.ipv4_udp((STRANGER, p.BROADCAST), (FREE, 0xFFFFFFFF), (1, 1))
NAMED = {
    "a stranger's first question is answered to it alone": (open_network(), [p.arp_request(STRANGER, FREE, IP1)]),
    "a frame with two tags teaches nothing": (open_network(), [HELLO.with_tags(10, 10), HELLO.with_(eth_src=OTHER)]),
    "a full port sends from no further MAC, DHCP included": (open_network(), [HELLO, p.dhcp_discover(OTHER)]),
    "what only the second common network holds as source": (
        two_shared("10.0.1.1", "10.0.0.2"),
        [p.arp_reply(ONE, FAR1, p.BROADCAST, FAR1), p.ipv4_icmp((ONE, TWO), (FAR1, IP2))],
    ),
    "what only the second common network holds as target": (
        two_shared("10.0.0.1", "10.0.1.1"),
        [p.ipv4_icmp((ONE, TWO), (IP1, FAR1)), p.arp_request(ONE, IP1, FAR1, TWO), p.arp_request(ONE, IP1, FAR1)],
    ),
    "the broadcast address of the second common network": (
        two_shared("10.0.0.1", "10.0.0.2"),
        [p.ipv4_udp((ONE, p.BROADCAST), (IP1, int(ip_address("10.0.0.255"))), (1, 1))],
    ),
    "a probe for an address that only the second common network holds": (
        two_shared("10.0.1.1", "10.0.0.2"),
        [p.arp_request(ONE, 0, FAR1)],
    ),
    "what both common networks hold": (
        two_shared("10.0.0.1", "10.0.0.2"),
        [p.ipv4_icmp((ONE, TWO), (IP1, IP2)), p.dhcp_discover(ONE), p.arp_request(ONE, IP1, IP2)],
    ),
}


@pytest.mark.parametrize("what", NAMED)
def test_flows_deliver_what_the_policy_says_of(what: str) -> None:
    policy, frames = NAMED[what]
    assert check(policy) == ()
    ports = {name: at + 1 for at, name in enumerate(policy.endpoints)}
    compare(Case(policy, ports, tuple((1, frame) for frame in frames)))


def test_the_policies_compared_are_ones_that_check_accepts() -> None:
    for seed in range(300):
        assert check(seeded(seed).policy) == ()


def test_the_frames_compared_are_delivered_dropped_answered_and_learned_from() -> None:
    seen: Counter[str] = Counter()
    for seed in range(200):
        case = seeded(seed)
        known = NOTHING_KNOWN
        for port, frame in case.frames:
            verdict = judge(case.policy, case.bindings, port, frame, known)
            seen["dropped"] += not verdict.deliveries
            seen["flooded"] += len(verdict.deliveries) > 1
            seen["answered"] += any(is_answer(frame, sent) for _, sent in verdict.deliveries)
            seen["learned"] += verdict.known != known
            seen["full"] += any("MACs already" in why for why in verdict.why)
            seen["delivered"] += bool(verdict.deliveries)
            known = verdict.known
    assert {what for what, count in seen.items() if count < 20} == set(), seen
