"""Several hosts with routers, rules and rewrites do what one bridge with all their ports would: the same frames come
out of the same ports, though they are routed on one host, translated on another and judged on each.
"""

from __future__ import annotations

from collections import Counter
from random import Random

import pytest

from controller.flow.fields import Punt
from controller.policy.meaning import NOTHING_KNOWN, judge
from tests.unit.both import handed
from tests.unit.fabric import WAYS, Fabric, join
from tests.unit.stories import Story
from tests.unit.strategies_firewall import make_world, with_rules


def tell(fabric: Fabric, story: Story, random: Random, seed: int) -> Counter[str]:
    known, seen = NOTHING_KNOWN, Counter[str]()
    told: list[object] = [fabric.world, fabric.home]
    for at in range(24):
        if at == 12:
            fabric.load(with_rules(random.choice, fabric.world.policy))
            told += ["another policy", fabric.world]
        port, frame = story.next()
        if port not in fabric.home:
            continue
        told += [f"at port {port}:", frame]
        world = fabric.world
        verdict = judge(world.policy, world.bindings, port, frame, known, uplinks=world.uplinks)
        if any("no outside address is free" in why for why in verdict.why):
            break  # which datapaths treat as they like
        got = fabric.send(port, frame)
        punts = set().union(*(handed(result, world.policy) for result in fabric.results))
        means = {(punt.kind, punt.rule) for punt in verdict.punts}
        if Punt.UNREACHABLE in {kind for kind, _ in means}:
            means = punts  # rules may have been asked on the way to the host that knows that nothing leads there
        if frame.get("nw_ttl") == 1 and not verdict.punts:
            punts.discard((Punt.TTL_EXCEEDED, ""))  # before the host that knows that an outside address leads nowhere
        if (set(got), punts) != (verdict.deliveries, means):
            told += [f"  policy delivers to {to}: {sent}" for to, sent in verdict.deliveries]
            told += [f"  hosts deliver to {to}: {sent}" for to, sent in got]
            told += [f"  policy hands over {means}, hosts {punts}", *(f"  policy says: {why}" for why in verdict.why)]
            told += [f"  met {flow}" for result in fabric.results for flow in ("another host", *result.trail)]
            raise AssertionError(f"seed {seed}\n" + "\n".join(map(str, told)))
        known = verdict.known
        story.heard(set(verdict.deliveries))
        seen["delivered"] += bool(got)
        seen["far"] += len(fabric.results) > 1 and bool(got)
        seen["farther"] += len(fabric.results) > 2 and bool(got)
    return seen


@pytest.mark.parametrize("ways", WAYS)
def test_joined_hosts_do_what_one_bridge_would(ways: str) -> None:
    seen: Counter[str] = Counter()
    for seed in range(1000 * WAYS.index(ways), 1000 * WAYS.index(ways) + 120):
        random = Random(seed)
        fabric = join(make_world(random.choice), random, ways)
        if fabric is not None:
            seen += tell(fabric, Story(random.choice, fabric.world), random, seed)
    assert min(seen["far"], seen["farther"]) > 4, seen
