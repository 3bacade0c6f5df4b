"""Open vSwitch's own opinion on what compiled flows do: ofproto/trace for many frames, real bytes for some."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import HealthCheck, given, settings

from controller.flow.fields import LOCAL_PORT
from controller.flow.frame import form_frame
from controller.pipeline.compile import compile_bridge
from controller.policy.meaning import NOTHING_KNOWN, judge
from controller.proof.evaluate import LearnedFlow, Tables, evaluate
from tests.trace.conftest import PORTS
from tests.trace.switch import CANARY_FLOW, Switch
from tests.unit.strategies import Case, cases, seeded


def trace_both(switch: Switch, case: Case, vlan_limit: int = 1) -> None:
    """Frame by frame: the switch sends where the evaluator and the policy say, and learns as many flows."""
    flows = compile_bridge(case.policy, case.bindings).flows()
    switch.load(flows)
    tables = Tables(flows)
    known = NOTHING_KNOWN
    learned_flows: tuple[LearnedFlow, ...] = ()
    for at, (port, frame) in enumerate(case.frames):
        traced = switch.trace(port, frame)
        result = evaluate(tables, port, frame, learned_flows, vlan_limit=vlan_limit)
        verdict = judge(case.policy, case.bindings, port, frame, known)
        expected = tuple(to for to, _ in result.outputs)
        if traced != expected or set(traced) != {to for to, _ in verdict.deliveries}:
            told = f"{Case(case.policy, case.bindings, case.frames[: at + 1])}\n{switch.trace_text(port, frame)}"
            assert traced == expected, f"the evaluator is wrong: {told}"
            raise AssertionError(f"the policy delivers to {verdict.deliveries}, {verdict.why}: {told}")
        known, learned_flows = verdict.known, result.learned
    standing = sum(len(switch.dump(table)) for table in {flow.table for flow in learned_flows})
    assert standing == len(learned_flows)


@pytest.mark.parametrize("fifty", range(4))
def test_trace_says_what_policy_and_evaluator_say(switch: Switch, fifty: int) -> None:
    for seed in range(fifty * 50, fifty * 50 + 50):
        trace_both(switch, seeded(10_000 + seed))


@given(cases())
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_trace_says_what_policy_and_evaluator_say_in_cases_of_hypothesis(switch: Switch, case: Case) -> None:
    trace_both(switch, case)


def test_trace_agrees_when_the_switch_reads_two_tags(switch: Switch) -> None:
    switch.limit_vlans(2)
    try:
        for seed in range(20_000, 20_030):
            trace_both(switch, seeded(seed), vlan_limit=2)
    finally:
        switch.limit_vlans(1)


def test_real_frames_leave_with_the_bytes_the_policy_says(switch_with_ports: Switch) -> None:
    seen: Counter[str] = Counter()
    for seed in range(30_000, 30_055):
        case = seeded(seed)
        if LOCAL_PORT in case.bindings.values():  # it has no dummy that writes a file
            continue
        switch_with_ports.load([*compile_bridge(case.policy, case.bindings).flows(), CANARY_FLOW])
        known = NOTHING_KNOWN
        for at, (port, frame) in enumerate(case.frames):
            sent = switch_with_ports.pass_through(port, form_frame(frame), PORTS)
            verdict = judge(case.policy, case.bindings, port, frame, known)
            known = verdict.known
            expected = {(to, form_frame(left).rstrip(b"\0")) for to, left in verdict.deliveries}
            # The padding is as long as the frame that came in, before a tag was added or taken off.
            assert {(to, data.rstrip(b"\0")) for to, data in sent} == expected, (
                f"{Case(case.policy, case.bindings, case.frames[: at + 1])}\n{verdict.why}"
            )
            seen["delivered"] += bool(sent)
            seen["answered"] += any(data[6:12] != form_frame(frame)[6:12] for _, data in sent)
    assert min(seen["delivered"], seen["answered"]) > 3, seen
