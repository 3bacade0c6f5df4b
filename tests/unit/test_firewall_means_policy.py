"""With rules, routers, uplinks and rewrites, too, the flows of a bridge do with every frame what the policy says, and
with all that follow: `evaluate(compile(policy)) == meaning(policy)`, connection by connection.
"""

from __future__ import annotations

from collections import Counter
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controller.flow.fields import PUNTED, Punt
from controller.flow.packet import ETH_ARP, Packet, is_icmp_error
from controller.pipeline import TABLES
from controller.policy.check import check
from controller.policy.meaning import NOTHING_KNOWN, Verdict, judge, reachable
from controller.policy.meaning.connections import target_of
from controller.policy.model import OUTSIDE, Address, Endpoint
from controller.policy.rewrites import OneToOne
from controller.proof.evaluate import Result, evaluate
from tests.unit.both import Both, is_for_many, kind_of
from tests.unit.meaning_world import turned
from tests.unit.stories import Arrival, Story
from tests.unit.strategies import Pick, by_hypothesis
from tests.unit.strategies_firewall import UPLINK_PORTS, World, make_world, with_rules

ADDRESSES = ("ip_src", "ip_dst", "ipv6_src", "ipv6_dst")


def compare(pick: Pick, steps: int, *, advertises: bool = True, answers: bool = False) -> Counter[str]:
    """Tell a story of so many frames to both; halfway the rules may become others. What the frames were, for those who
    count. answers: whatever opens a connection is answered besides.
    """
    world = make_world(pick)
    both, story, seen = Both(world, advertises), Story(pick, world), Counter[str]()
    change_at = pick([steps, steps // 2])
    for at in range(steps):
        if at == change_at:
            both.change(with_rules(pick, world.policy))
        arrival = story.next()
        if answers:
            seen["answered"] += comes_back(both, arrival)
        verdict = both.tell(arrival)
        if verdict is None:
            break
        count(seen, arrival[1], verdict)
        story.heard(set(verdict.deliveries))
    return seen


def count(seen: Counter[str], frame: Packet, verdict: Verdict) -> None:
    seen["delivered"] += bool(verdict.deliveries)
    seen.update(punt.kind.name for punt in verdict.punts)
    for _, sent in verdict.deliveries:
        seen["by the router"] += sent.eth_dst != frame.eth_dst
        seen["about another"] += is_icmp_error(sent.get)
        if sent.eth_type == frame.eth_type != ETH_ARP:
            seen.update(f"{name} rewritten" for name in ADDRESSES if sent.get(name) != frame.get(name))


def comes_back(both: Both, arrival: Arrival) -> bool:
    """Whether there is an answer to what a frame opens. It comes back to its sender as from whom it was sent to."""
    port, sent = arrival
    if set(both.means(arrival).known.connections) == set(both.known.connections):
        return False
    result = both.does(arrival)
    if result is None or len(result.outputs) != 1 or is_for_many(sent, list(both.world.policy.networks.values())):
        return False
    ((there, got),) = result.outputs
    if not may_answer(both.world, there, port, got):
        return False
    after = answered(both, there, got, result)
    if {Punt.RESOLVE, Punt.RESOLVE_ROUTER} & {kind_of(punt.get(PUNTED.field)) for punt in after.punts}:
        return False  # it waits for the MAC of the next hop
    if there in UPLINK_PORTS and after.trail[-1].table == TABLES["outside"]:
        return False  # an address that another uplink leads to, or a network has: what goes there is lost
    told = f"\n{sent}\nbecame {got}\nand its answer {after.outputs}"
    assert {to for to, _ in after.outputs} == {port}, both.report(both.means(arrival), after, told)
    # One who speaks into all of its networks at once is heard in each by a member that tells them apart.
    back = [ends(frame) for _, frame in after.outputs if frame.tags == sent.tags]
    assert back == [ends(turned(sent))], both.report(both.means(arrival), after, told)
    return True


def answered(both: Both, there: int, got: Packet, result: Result) -> Result:
    answer = turned(got).with_(nw_ttl=0)
    return evaluate(both.tables, there, answer, result.learned, connections=result.connections)


def may_answer(world: World, there: int, port: int, got: Packet) -> bool:
    """Whether the receiver's answer comes as far as where rules are asked.

    Of what came in at an uplink: the receiver's network goes out there, too.
    """
    receiver = world.ports[there]
    if isinstance(receiver, Endpoint) and receiver.mac is None:
        return False  # it may have too many MACs already
    if port not in UPLINK_PORTS or not isinstance(receiver, Endpoint):
        return True
    for rewrite in world.policy.rewrites.values():
        if isinstance(rewrite, OneToOne) and rewrite.stateless and rewrite.target.endpoint == receiver.name:
            return False  # whoever asked under the own address would be answered from the outside one
    networks = [world.policy.networks[name] for name in receiver.networks]
    network = next(each for each in networks if each.routed and each.holds(target_of(got)))
    return world.uplinks.get(network.uplink or "") == port


def ends(packet: Packet) -> dict[str, int]:
    """Both addresses and ports, and what ICMP asks or answers."""
    ports = (f"{proto}_{side}" for proto in ("tcp", "udp", "sctp") for side in ("src", "dst"))
    return {name: packet.get(name) for name in (*ADDRESSES, *ports, "nw_proto", "icmp_type", "icmpv6_type")}


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_flows_do_what_the_policy_says(data: st.DataObject) -> None:
    compare(by_hypothesis(data.draw), data.draw(st.integers(1, 16)))


@pytest.mark.parametrize("fifty", range(4))
def test_flows_do_what_the_policy_says_in_many_seeded_stories(fifty: int) -> None:
    for seed in range(fifty * 50, fifty * 50 + 50):
        compare(Random(seed).choice, 24)


def test_flows_do_what_the_policy_says_where_the_switch_cannot_advertise() -> None:
    seen: Counter[str] = Counter()
    for seed in range(6000, 6060):
        seen += compare(Random(seed).choice, 24, advertises=False)
    assert seen[Punt.SOLICITATION.name] > 0


def test_what_opens_a_connection_is_answered_from_where_it_was_sent_to() -> None:
    seen: Counter[str] = Counter()
    for seed in range(7000, 7050):
        seen += compare(Random(seed).choice, 24, answers=True)
    assert seen["answered"] > 50


def test_the_policies_compared_are_ones_that_check_accepts() -> None:
    for seed in range(50):
        assert check(make_world(Random(seed).choice).policy) == ()


def test_the_frames_compared_meet_all_that_a_policy_can_say() -> None:
    seen: Counter[str] = Counter()
    for seed in range(8000, 8050):
        seen += compare(Random(seed).choice, 24)
    expected = {
        "delivered",
        "by the router",
        "about another",
        *(kind.name for kind in Punt if kind is not Punt.SOLICITATION),
    }
    expected |= {f"{name} rewritten" for name in ADDRESSES}
    assert {what for what in expected if seen[what] < 3} == set(), seen


def test_whoever_opens_a_connection_is_said_to_reach_its_other_end() -> None:
    opened: Counter[tuple[bool, bool]] = Counter()
    for seed in range(9000, 9120):
        opened += openings(Random(seed).choice, 24)
    assert {(a, b) for a in (True, False) for b in (True, False) if opened[a, b] > 5} == {
        (True, True), (True, False), (False, True),
    }, opened  # fmt: skip


def openings(pick: Pick, steps: int) -> Counter[tuple[bool, bool]]:
    """Connections that a story's frames open: whether from, and to, a member; else it is the outside."""
    world, known, found = make_world(pick), NOTHING_KNOWN, Counter[tuple[bool, bool]]()
    story = Story(pick, world)
    for _ in range(steps):
        port, sent = story.next()
        verdict = judge(world.policy, world.bindings, port, sent, known, uplinks=world.uplinks)
        story.heard(set(verdict.deliveries))
        is_new, known = set(verdict.known.connections) != set(known.connections), verdict.known
        if not is_new or len(verdict.deliveries) != 1:
            continue
        ((there, got),) = verdict.deliveries
        source, target = whose(world, port, target_of(turned(sent))), whose(world, there, target_of(got))
        if source and target and source != target:
            assert reachable(world.policy, source, target), f"{world}\n{source} opens {sent} to {target}"
            found[source != OUTSIDE, target != OUTSIDE] += 1
    return found


def whose(world: World, port: int, address: Address) -> str | None:
    """The member on a port, if the address is its own; the outside; None for what a member passes on for others."""
    who = world.ports[port]
    if not isinstance(who, Endpoint):
        return OUTSIDE
    own = {*who.ips, *([who.mac.link_local] if who.mac is not None else [])}
    return who.name if address in own else None
