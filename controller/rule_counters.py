"""How many packets each rule has decided about, added up over bridges. State: what was read last. I/O is passed in.

The counters are those of flows, in the switches: a controller that starts again finds them as they were. A flow counts
for the rule that it comes from, unless it only prepares the decision: the alternatives of a conjunction.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from controller.control import RulesView, RuleView, Stored
from controller.directory import rule_in
from controller.errors import SwitchError
from controller.flow.actions import Conjunction
from controller.flow.flow import Flow
from controller.loop import Loop
from controller.policy.model import Dpid, Policy

FRESH_S = 1.0
"""So old an answer may be that is given again."""
WITHIN_S = 5.0
"""Bridges that have not answered by then are silent."""
AT_A_TIME = 8
"""How many bridges are asked at a time."""
ASK_EACH_UP_TO = 1000
"""So many flows are asked for one by one; more of them, by reading all that is installed."""


Count = tuple[int, int]
"""Packets and bytes."""


class Counter(Protocol):
    """What is needed of a switch."""

    def read_counters(self, cookies: Collection[int] | None = None) -> Mapping[int, Count]: ...


@dataclass(frozen=True, slots=True)
class Counted:
    """A bridge to be asked. generation: grows whenever other flows are desired. switch: None: it is not there."""

    dpid: Dpid
    name: str
    switch: Counter | None
    flows: Mapping[int, Flow]
    generation: int


@dataclass(slots=True)
class _Asking:
    """One round of asking. found: what every bridge that has answered so far says of each rule."""

    left: deque[Counted]
    n_open: int
    found: dict[Dpid, Mapping[str, Count]] = field(default_factory=dict)


class RuleCounters:
    """Of all bridges."""

    def __init__(self, loop: Loop) -> None:
        self._loop = loop
        self._lock = loop.lock()
        self._answer: RulesView | None = None
        self._answered_s = 0.0
        self._deciding: dict[Dpid, tuple[int, Mapping[int, str]]] = {}
        """Bridge -> a generation, and its flows that decide: cookie -> rule."""
        self._busy: set[Dpid] = set()
        """Who has not answered an earlier round yet."""

    def read(self, stored: Stored, bridges: Sequence[Counted]) -> RulesView:
        """Ask every bridge, unless that was just done."""
        with self._lock:
            answer = self._answer
            if (
                answer is None
                or answer.revision != stored.revision
                or self._loop.now() - self._answered_s >= FRESH_S
            ):  # fmt: skip
                answer = self._answer = self._ask(stored, bridges)
                self._answered_s = self._loop.now()
            return answer

    def _ask(self, stored: Stored, bridges: Sequence[Counted]) -> RulesView:
        known = {bridge.dpid for bridge in bridges}
        self._deciding = {dpid: kept for dpid, kept in self._deciding.items() if dpid in known}
        able = deque(bridge for bridge in bridges if bridge.switch is not None and bridge.dpid not in self._busy)
        asking, done = _Asking(able, len(able)), self._loop.waiter()

        def work() -> None:
            while asking.left:
                bridge = asking.left.popleft()
                self._busy.add(bridge.dpid)
                try:
                    asking.found[bridge.dpid] = self._count(bridge)
                except SwitchError:
                    pass  # it is named as silent, and its status says what is wrong with it
                finally:
                    self._busy.discard(bridge.dpid)
                    asking.n_open -= 1
                    if not asking.n_open:
                        done.set()

        for _ in range(min(AT_A_TIME, len(able))):
            self._loop.spawn(work)
        if able or asking.n_open:
            done.wait(WITHIN_S)
        asking.left.clear()
        found = dict(asking.found)  # late answers come to nothing
        silent = tuple(bridge.name or f"{bridge.dpid:016x}" for bridge in bridges if bridge.dpid not in found)
        rules = self._loop.in_thread(_add_up, stored.policy, list(found.values()))
        return RulesView(stored.revision, rules, silent)

    def _count(self, bridge: Counted) -> Mapping[str, Count]:
        assert bridge.switch is not None
        generation, deciding = self._deciding.get(bridge.dpid, (-1, {}))
        if generation != bridge.generation:
            flows = list(bridge.flows.values())  # a copy: they may change while a thread looks at them
            deciding = self._loop.in_thread(find_deciding, flows)
            self._deciding[bridge.dpid] = (bridge.generation, deciding)
        if not deciding:
            return {}
        counts = bridge.switch.read_counters(deciding.keys() if len(deciding) <= ASK_EACH_UP_TO else None)
        return self._loop.in_thread(_by_rule, deciding, counts)


def find_deciding(flows: Collection[Flow]) -> Mapping[int, str]:
    """Cookie -> name of the rule, of the flows that decide what a rule says."""
    rules = ((flow.cookie, rule_in(flow.origin)) for flow in flows if not _prepares(flow))
    return {cookie: rule for cookie, rule in rules if rule is not None}


def _prepares(flow: Flow) -> bool:
    return any(isinstance(action, Conjunction) for action in flow.actions)


def _by_rule(deciding: Mapping[int, str], counts: Mapping[int, Count]) -> Mapping[str, Count]:
    sums: dict[str, Count] = {}
    for cookie, rule in deciding.items():
        if (count := counts.get(cookie)) is not None:
            sums[rule] = _add(sums.get(rule, _NONE), count)
    return sums


def _add_up(policy: Policy, found: Collection[Mapping[str, Count]]) -> tuple[RuleView, ...]:
    views: list[RuleView] = []
    order = {tier: place for place, tier in enumerate(policy.tiers)}
    for rule in sorted(policy.rules.values(), key=lambda rule: order[rule.tier]):
        total = _NONE
        for counts in found:
            total = _add(total, counts.get(rule.name, _NONE))
        views.append(
            RuleView(rule.name, rule.tier, rule.action.value, len(views) + 1, *total)
        )  # fmt: skip
    return tuple(views)


def _add(one: Count, other: Count) -> Count:
    return (one[0] + other[0], one[1] + other[1])


_NONE = (0, 0)
