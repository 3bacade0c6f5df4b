"""Many rules over groups: a whole policy, one rule, one member of a group, from PUT to in force. I/O.

The ports are patch ports without a peer, as in `bench_control`.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from tests.bench import policies, rule_policies
from tests.bench.holds import HELD_APP, HELD_S, read_holds
from tests.bench.row import Row
from tests.bench.rule_policies import ENDPOINTS, LISTED, RULES, USERS, Kind
from tests.bench.spread import spread
from tests.rig.controller import Controller, wait_until
from tests.rig.host import Host, Ports, host

ROUNDS = 5
SINGLE_ROUNDS = 20
WHOLE_S, RULE_S, MEMBER_S = 2.0, 0.030, 0.020
MIDDLE = 150
"""A rule in the middle of the second tier, and of all."""
MEMBER = 5


def run() -> Iterator[Row]:
    for kind in (Kind(crossing=False), Kind(crossing=True)):
        with host() as machine:
            machine.add_bridge(policies.ports(ENDPOINTS), kind=Ports.PATCH, settings=("fail_mode=secure",))
            yield from Changes(machine, kind).run()


@dataclass(frozen=True, slots=True)
class Step:
    """How long a change took until it was in force, how much of that the controller computed, and how many flows came
    and went.
    """

    took_s: float
    cpu_s: float
    added: int
    removed: int


class Changes:
    """One kind of groups, on one bridge."""

    def __init__(self, machine: Host, kind: Kind) -> None:
        self.machine, self.kind = machine, kind
        self.held = machine.directory / "held"
        self.controller = Controller(machine, HELD_APP)
        self.plain = rule_policies.document(kind)
        self.what = f"{ENDPOINTS:,} endpoints, {RULES} rules over {kind}"

    def run(self) -> Iterator[Row]:
        self.controller.start(TRIPOINT_HELD=str(self.held))
        self.machine.attach()
        wait_until(lambda: self.controller.rest.bridge() is not None, 20, "the bridge does not connect")
        began = time.monotonic()
        yield from self.whole()
        yield from self.rules()
        yield from self.members()
        holds = read_holds(self.held, began, time.monotonic())
        most_mb = self.controller.memory_mb("VmHWM")
        measured = f"{holds}; at most {most_mb:.0f} MB of memory"
        yield Row(f"the event loop held during all that, {holds.seconds:.0f} s", measured,
                  f"<= {HELD_S * 1000:g} ms of its own", holds.ok)  # fmt: skip

    def ask(self, method: str, path: str, value: object = None, media_type: str = "application/json") -> Step:
        cpu_s, began = self.cpu_s(), time.monotonic()
        answer = self.controller.rest.ask(method, path, value, media_type)
        took_s, cpu_s = time.monotonic() - began, self.cpu_s() - cpu_s
        (bridge,) = answer["bridges"]
        assert answer["in_force"], answer
        assert answer["changed"], answer
        return Step(took_s, cpu_s, bridge["added"], bridge["removed"])

    def cpu_s(self) -> float:
        """What all threads of the controller have computed so far (proc(5), schedstat)."""
        tasks = Path(f"/proc/{self.controller.process.pid}/task").glob("*/schedstat")
        return sum(int(task.read_text().split()[0]) for task in tasks) / 1e9

    def whole(self) -> Iterator[Row]:
        empty = policies.bodies(policies.EMPTY)["JSON"]
        for name, body in policies.bodies(self.plain).items():
            steps = []
            for _ in range(ROUNDS):
                steps.append(self.ask("PUT", "/v1/policy", body.data, body.media_type))
                last = (name, len(steps)) == ("YAML", ROUNDS)
                if not last:
                    self.ask("PUT", "/v1/policy", empty.data, empty.media_type)
            took_s = [step.took_s for step in steps]
            computed_s = median(step.cpu_s for step in steps)
            measured = f"{spread(took_s)}, of which {computed_s:.3f} s computing; {steps[0].added:,} flows"
            yield Row(f"{self.what}, from PUT ({name}) to in force", measured, f"<= {WHOLE_S:g} s",
                      median(took_s) <= WHOLE_S)  # fmt: skip
        flows, product = self.flows_of_rules(), rule_policies.product(self.plain)
        measured = f"{flows:,}, against {product:,} for each origin, target and mask of ports"
        yield Row("flows that these rules take", measured, "a sum, no product", flows * 100 < product)

    def flows_of_rules(self) -> int:
        return len(self.controller.rest.ask("GET", "/v1/flows?origin=/rules")["flows"])

    # -- one rule

    def rules(self) -> Iterator[Row]:
        last, inner, following = (rule_policies.rule(self.kind, number) for number in (RULES - 1, MIDDLE, MIDDLE + 1))
        took: dict[str, list[Step]] = {}
        for _ in range(SINGLE_ROUNDS):
            for where, one in (("at the end", last), ("in the middle, last of its tier", inner)):
                step = self.ask("PUT", "/v1/rules/new", {**one, "name": "new"})
                took.setdefault(f"added {where}", []).append(step)
                took.setdefault(f"removed {where}", []).append(self.ask("DELETE", "/v1/rules/new"))
            step = self.ask("DELETE", f"/v1/rules/{inner['name']}")
            took.setdefault("removed in the middle of its tier", []).append(step)
            step = self.ask("PUT", f"/v1/rules/{inner['name']}?before={following['name']}", inner)
            took.setdefault("added in the middle of its tier", []).append(step)
        for what, steps in took.items():
            yield _row(f"one rule {what}", steps, RULE_S)

    # -- one member

    def members(self) -> Iterator[Row]:
        names = [f"web{i}" for i in range(ENDPOINTS)]
        without = [name for name in names if name != f"web{MEMBER}"]
        changes = {
            "leaves by its label": (f"endpoints/web{MEMBER}", rule_policies.endpoint(MEMBER, managed=False)),
            "comes by its label": (f"endpoints/web{MEMBER}", rule_policies.endpoint(MEMBER)),
            "leaves a list": (f"groups/{LISTED}", {"members": without}),
            "comes into a list": (f"groups/{LISTED}", {"members": names}),
        }
        took: dict[str, list[Step]] = {what: [] for what in changes}
        for _ in range(SINGLE_ROUNDS):
            for what, (path, value) in changes.items():
                took[what].append(self.ask("PUT", f"/v1/{path}", value))
        # Where groups cross, the member's class is its own, and in the rules about all of its groups: that is more.
        most_s, more = (None, ", and of others that 82 more do,") if self.kind.crossing else (MEMBER_S, "")
        for what, steps in took.items():
            yield _row(f"one member of a group of {ENDPOINTS:,} that {USERS} rules name{more} {what}", steps, most_s)


def _row(what: str, steps: list[Step], most_s: float | None) -> Row:
    took_s = [step.took_s for step in steps]
    added, removed = steps[-1].added, steps[-1].removed
    computed_ms = median(step.cpu_s for step in steps) * 1000
    measured = f"{spread(took_s, 1000)}, of which {computed_ms:.1f} ms computing; "
    measured += f"{added:,} flows added, {removed:,} removed"
    target = "" if most_s is None else f"<= {most_s * 1000:g} ms"
    return Row(what, measured, target, most_s is None or median(took_s) <= most_s)
