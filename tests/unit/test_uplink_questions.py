"""Who asks on an uplink for an address of the router is told, from whatever address it asks; nobody else is taught."""

from __future__ import annotations

import pytest

from controller.flow import packet as p
from controller.pipeline.compile import compile_bridge
from controller.policy.meaning import NOTHING_KNOWN, judge
from controller.proof.evaluate import Tables, evaluate
from tests.unit.meaning_world import CLIENT_MAC, MEMBERS, PORTS, ROUTER, UPLINKS, ip, world

OWN, NOBODYS, NEIGHBOR = ip("172.16.200.1"), ip("172.16.200.50"), ip("172.16.200.77")


@pytest.mark.parametrize(
    ("asker", "asked", "answered"),
    [
        (NEIGHBOR, OWN, True),
        (ip("8.8.8.8"), OWN, True),  # a router's own address on another of its sides: Linux, arp_announce=0
        (0, OWN, True),
        (ip("8.8.8.8"), NOBODYS, False),
        (OWN, OWN, False),
    ],
)
def test_a_question_on_an_uplink(asker: int, asked: int, answered: bool) -> None:
    policy = world()
    seats = {member.name: PORTS[member.name] for member in MEMBERS if member.name in PORTS}
    tables = Tables(compile_bridge(policy, seats, uplinks=UPLINKS).flows())
    question = p.arp_request(CLIENT_MAC, asker, asked)
    seen = evaluate(tables, UPLINKS["wan"], question)
    meant = judge(policy, seats, UPLINKS["wan"], question, NOTHING_KNOWN, uplinks=UPLINKS)
    answer = (UPLINKS["wan"], p.arp_reply(ROUTER, asked, CLIENT_MAC, asker))
    assert set(seen.outputs) == meant.deliveries == ({answer} if answered else set())
    assert bool(seen.learned) == (asker == NEIGHBOR)
