"""What rules have counted, added up over bridges that answer, and over those that do not."""

from __future__ import annotations

import threading
from collections.abc import Collection, Mapping

import pytest

import controller.rule_counters
from controller.control import RulesView, Stored
from controller.errors import SwitchError
from controller.flow.actions import Conjunction, SetField
from controller.flow.fields import IN_PORT, ORIGIN_CLASS
from controller.flow.flow import Flow
from controller.policy.firewall import Action, Rule
from controller.policy.model import Dpid, Policy
from controller.rule_counters import ASK_EACH_UP_TO, Counted, RuleCounters, find_deciding
from tests.wire.threads import ThreadLoop

STORED = Stored(
    3, {},
    Policy(
        networks={}, endpoints={}, hosts={}, tiers=("first", "last"),
        rules={
            "low": Rule("low", Action.DROP, "last"),
            "high": Rule("high", Action.ALLOW, "first"),
            "lower": Rule("lower", Action.PASS, "last"),
        },
    ),
)  # fmt: skip


class Clock(ThreadLoop):
    now_s = 100.0

    def now(self) -> float:
        return self.now_s


class Switch:
    """Every flow that is asked for has counted `each`."""

    def __init__(self, flows: Collection[Flow], each: int = 1) -> None:
        self.flows = {flow.cookie for flow in flows}
        self.each = each
        self.asked: list[int | None] = []
        self.failing = False
        self.hanging: threading.Event | None = None

    def read_counters(self, cookies: Collection[int] | None = None) -> Mapping[int, tuple[int, int]]:
        self.asked.append(None if cookies is None else len(cookies))
        if self.hanging is not None:
            self.hanging.wait(10)
        if self.failing:
            raise SwitchError("gone")
        wanted = self.flows if cookies is None else self.flows & set(cookies)
        return dict.fromkeys(wanted, (self.each, self.each * 100))


def flows_of(rule: str, n: int, first: int = 1) -> list[Flow]:
    return [Flow(5, 1, (IN_PORT(number),), origin=f"/rules/{rule}", why="") for number in range(first, first + n)]


def counted(number: int, switch: Switch | None, flows: Collection[Flow], generation: int = 1) -> Counted:
    return Counted(Dpid(number), f"br{number}", switch, {flow.cookie: flow for flow in flows}, generation)


def packets(view: RulesView) -> dict[str, int]:
    return {rule.name: rule.packets for rule in view.rules}


def test_rules_come_in_the_order_in_which_packets_meet_them() -> None:
    view = RuleCounters(Clock()).read(STORED, ())
    assert [(rule.position, rule.name, rule.tier, rule.action) for rule in view.rules] == [
        (1, "high", "first", "allow"), (2, "low", "last", "drop"), (3, "lower", "last", "pass"),
    ]  # fmt: skip
    assert view.revision == 3


def test_counters_are_added_up_over_flows_and_bridges() -> None:
    flows = [*flows_of("low", 3), *flows_of("high", 1, 10)]
    view = RuleCounters(Clock()).read(
        STORED, [counted(1, Switch(flows, 2), flows), counted(2, Switch(flows[:1], 5), flows)]
    )
    assert packets(view) == {"high": 2, "low": 11, "lower": 0}
    assert {rule.name: rule.bytes for rule in view.rules}["low"] == 1100
    assert view.silent == ()


def test_only_flows_that_decide_count() -> None:
    prepare = [
        Flow(5, 2, (), (Conjunction(1, 1, 2),), origin="/rules/low", why=""),
        Flow(5, 3, (), (SetField(ORIGIN_CLASS.field, 7),), origin="/rules", why=""),
        Flow(5, 4, (), origin="/networks/low", why=""),
    ]
    [decides] = flows_of("low", 1)
    assert find_deciding([*prepare, decides]) == {decides.cookie: "low"}


def test_what_is_installed_and_no_longer_desired_does_not_count() -> None:
    old, new = flows_of("low", 2), flows_of("low", 1)
    assert packets(RuleCounters(Clock()).read(STORED, [counted(1, Switch(old), new)]))["low"] == 1


def test_few_flows_are_asked_for_one_by_one_and_many_by_reading_all() -> None:
    few, many = flows_of("low", 5), flows_of("low", ASK_EACH_UP_TO + 1)
    switches = [Switch(few), Switch(many), Switch([])]
    RuleCounters(Clock()).read(
        STORED,
        [counted(n, switch, flows) for n, (switch, flows) in enumerate(zip(switches, (few, many, ()), strict=True))],
    )
    assert [switch.asked for switch in switches] == [[5], [None], []]


def test_an_answer_is_given_again_for_a_second_but_not_after_a_change() -> None:
    loop, flows = Clock(), flows_of("low", 1)
    counters, switch = RuleCounters(loop), Switch(flows)
    bridges = [counted(1, switch, flows)]
    for _ in range(3):
        counters.read(STORED, bridges)
    assert len(switch.asked) == 1
    counters.read(Stored(4, {}, STORED.policy), bridges)
    assert len(switch.asked) == 2
    loop.now_s += 1
    counters.read(Stored(4, {}, STORED.policy), bridges)
    assert len(switch.asked) == 3


def test_flows_that_come_to_be_desired_are_found() -> None:
    loop = Clock()
    counters, old, new = RuleCounters(loop), flows_of("low", 1), flows_of("lower", 2)
    assert packets(counters.read(STORED, [counted(1, Switch(old), old)]))["low"] == 1
    loop.now_s += 1
    found = packets(counters.read(STORED, [counted(1, Switch(new), new, generation=2)]))
    assert (found["low"], found["lower"]) == (0, 2)


def test_bridges_that_are_gone_or_fail_are_named() -> None:
    flows = flows_of("low", 1)
    failing = Switch(flows)
    failing.failing = True
    view = RuleCounters(Clock()).read(
        STORED, [counted(1, Switch(flows), flows), counted(2, None, flows), counted(3, failing, flows)]
    )
    assert packets(view)["low"] == 1
    assert view.silent == ("br2", "br3")


def test_a_bridge_that_hangs_delays_once_and_is_not_asked_again_meanwhile(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(controller.rule_counters, "WITHIN_S", 0.05)
    loop, flows = Clock(), flows_of("low", 1)
    counters, hanging = RuleCounters(loop), Switch(flows)
    hanging.hanging = threading.Event()
    bridges = [counted(1, hanging, flows), counted(2, Switch(flows), flows)]
    assert counters.read(STORED, bridges).silent == ("br1",)
    loop.now_s += 1
    monkeypatch.setattr(controller.rule_counters, "WITHIN_S", 10.0)
    assert counters.read(STORED, bridges).silent == ("br1",)
    assert hanging.asked == [1]
    hanging.hanging.set()
    for thread in loop.began:
        thread.join(5)
    loop.now_s += 1
    assert counters.read(STORED, bridges).silent == ()


def test_many_bridges_are_all_asked() -> None:
    flows = flows_of("low", 2)
    view = RuleCounters(Clock()).read(STORED, [counted(n, Switch(flows), flows) for n in range(50)])
    assert packets(view)["low"] == 100
