"""Open vSwitch takes every flow that generated policies are compiled to, and gives it back as the same one."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from random import Random

import pytest

from controller.pipeline.compile import compile_bridge
from controller.pipeline.view import BridgeView
from tests.trace.switch import BRIDGE, Switch, running_switch
from tests.unit.strategies import unused
from tests.unit.strategies_firewall import make_world, with_rules
from tests.wire.channel import Connection, accepted


@pytest.fixture(scope="module")
def connection() -> Iterator[Connection]:
    """Prepared, with a switch of its own."""
    if shutil.which("ovs-vswitchd") is None:
        pytest.skip("Open vSwitch is not installed")
    with running_switch() as switch, _accepted(switch) as connected:
        connected.session.prepare()
        yield connected


def _accepted(switch: Switch):  # type: ignore[no-untyped-def]
    return accepted(lambda target: switch.configure("set-controller", BRIDGE, target))


def test_switch_takes_the_flows_of_every_policy_and_those_of_the_next_in_their_place(connection: Connection) -> None:
    """Of a switch that can advertise and of one that cannot."""
    session = connection.session
    standing = session.read_flows().cookies
    for seed in range(150):
        pick = Random(seed).choice
        world = make_world(pick)
        before = {BridgeView(advertises): unused(advertises) for advertises in (True, False)}
        for policy in (world.policy, with_rules(pick, world.policy)):
            for view, kept in before.items():
                compiled = compile_bridge(policy, world.bindings, kept, bridge=view, uplinks=world.uplinks)
                before[view] = compiled
                wanted = {flow.cookie: flow for flow in compiled.flows()}
                added = [flow for cookie, flow in wanted.items() if cookie not in standing]
                session.apply(added, standing - wanted.keys())
                standing = session.read_flows().cookies
                assert standing == frozenset(wanted), f"seed {seed}: {world!r}"
