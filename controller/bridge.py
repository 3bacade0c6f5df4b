"""What the reconciler knows of one bridge. Values and counters; no I/O of its own."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping

from controller.announcing import AtUplink
from controller.bridge_settings import BridgeSettings, judge_settings
from controller.control import BridgeOutcome, BridgeStatus
from controller.diff import Difference, difference
from controller.flow.fields import LOCAL_PORT
from controller.flow.flow import Flow
from controller.given_up import GivenUp
from controller.inventory import BridgePorts
from controller.loop import Waiter
from controller.pipeline.compile import NOTHING, Compiled
from controller.pipeline.tally import Tally
from controller.pipeline.translated import translated
from controller.pipeline.view import ABLE, BridgeView
from controller.policy.model import Dpid
from controller.punts import Punts
from controller.switch import Switch

HOME_KEPT_S = 300.0
"""So long a bridge that is gone keeps its endpoints, also where another one shows ports of their names."""
FIRST_RETRY_S = 0.5
LAST_RETRY_S = 30.0


class Bridge:
    """One bridge: the ports it shows, the flows it should have, and those that it has.

    installed: cookies, or None while they are not known. touched: cookies whose desired state changed since they were
    last compared with what is installed. busy: they are being compared or sent. attempted: the revision last tried;
    failed: the same where that did not work; in_force: the one that all is installed of.
    """

    def __init__(self, dpid: Dpid, wake: Waiter) -> None:
        self.dpid = dpid
        self.name = ""
        self.peer = ""
        self.switch: Switch | None = None
        self.wake = wake
        self.ports: dict[str, int] = {}
        self.port_events: deque[tuple[int, str | None] | Mapping[str, int]] = deque()
        """What was heard and is not in `ports` yet: a port has that name now, or is gone; or all that there are."""
        self.gone_at_s = 0.0
        self.seats: Mapping[str, int] = {}
        self.view = ABLE
        self.compiled: Compiled = NOTHING
        self.tally = Tally()
        self.installed: set[int] | None = None
        self.touched: set[int] = set()
        self.busy = False
        self.attempted = 0
        self.failed: int | None = None
        self.in_force: int | None = None
        self.last_error: str | None = None
        self.retry_s = FIRST_RETRY_S
        self.added = 0
        self.removed = 0
        self.foreign = 0
        self.last_change = (0, 0)
        self.settled: list[Waiter] = []
        self.generation = 0
        """How often other flows came to be desired."""
        self.given_up = GivenUp()
        self.announced: frozenset[AtUplink] = frozenset()
        """What was said on the segments of uplinks over this connection."""
        self.punts: Punts | None = None
        """What becomes of the packets that it hands over."""

    @property
    def connected(self) -> bool:
        return self.switch is not None

    def observe(self, now_s: float, labels: Mapping[str, str], strangers: frozenset[str]) -> BridgePorts:
        """Its ports, with all that was heard of them until now, and what a database tells of them (`BridgePorts`)."""
        if self.port_events:
            names = {ofport: name for name, ofport in self.ports.items()}
            while self.port_events:  # one by one: the loop may add to them at any time
                match self.port_events.popleft():
                    case int(ofport), None:
                        names.pop(ofport, None)
                    case int(ofport), str(name):
                        names[ofport] = name
                    case ports:
                        assert isinstance(ports, Mapping)
                        names = {ofport: name for name, ofport in ports.items()}
            self.ports = {name: ofport for ofport, name in names.items()}
        present = self.connected or now_s - self.gone_at_s < HOME_KEPT_S
        return BridgePorts(self.dpid, self.name, self.ports, present, labels, strangers)

    def begin(self, switch: Switch) -> None:
        """A connection begins: nothing is known of what is installed."""
        self.switch, self.peer, self.retry_s, self.busy = switch, switch.peer, FIRST_RETRY_S, False
        self.announced = frozenset()
        self.forget_installed()

    def see_abilities(self, switch: Switch) -> None:
        """What the switch, now prepared, can do."""
        self.view = BridgeView(switch.advertises)

    def see_ports(self, ports: Mapping[str, int]) -> None:
        """Every port there is; the bridge has the name of its local port."""
        self.port_events.append(dict(ports))
        self.name = next((name for name, ofport in ports.items() if ofport == LOCAL_PORT), self.name)

    def replace(
        self, seats: Mapping[str, int], compiled: Compiled, changes: Difference[int, Flow], *, forgetting: bool = False
    ) -> None:
        """Desire other flows. changes: how they differ from those until now. forgetting: what they translated is not to
        go on as it was.

        Takes as long as what changes is large: call it in a thread.
        """
        # None of them is there where the bridge was met anew since they were told.
        found = (self.tally.flows.get(cookie) for cookie in changes.remove)
        gone = translated(flow for flow in found if flow is not None)
        self.tally.replace(self.compiled, compiled)
        self.given_up.note(self.compiled, compiled, gone, self.tally.flows.values(), changed=forgetting)
        self.touched.update(flow.cookie for flow in changes.add)
        self.touched.update(changes.remove)
        # Freed one after the other: freeing all at once is one step of the interpreter, which no thread interrupts.
        parts = [*self.compiled.segments.values(), *self.compiled.rules.values(), *self.compiled.others.values()]
        self.compiled = compiled
        self.generation += 1
        self.seats = seats
        while parts:
            parts.pop()

    @property
    def plan_size(self) -> int:
        """How many flows `take_plan` compares."""
        return len(self.tally.flows) if self.in_force is None else len(self.touched)

    def take_plan(self, installed: set[int]) -> Difference[int, Flow]:
        """desired - installed; only what was touched is compared once the whole has been."""
        flows, touched, self.touched = self.tally.flows, self.touched, set()
        if self.in_force is None:
            return difference(flows, installed)
        # Not as operations on whole sets: each is one step of the interpreter, which no thread interrupts.
        add = [flow for c in touched if c not in installed and (flow := flows.get(c)) is not None]
        return Difference(tuple(add), tuple([c for c in touched if c in installed and c not in flows]))

    def forget_installed(self) -> None:
        """What is on the switch is no longer known, so that it has to be read."""
        self.installed = None
        self.in_force = None

    def note_failure(self, error: str) -> float:
        """Remember why it failed; how many seconds to wait before the next attempt."""
        self.forget_installed()
        self.failed, self.last_error = self.attempted, error
        wait, self.retry_s = self.retry_s, min(self.retry_s * 2, LAST_RETRY_S)
        return wait

    def note_change(self, plan: Difference[int, Flow]) -> None:
        """The switch has said that it did what the plan says."""
        self.added += len(plan.add)
        self.removed += len(plan.remove)
        self.last_change = (len(plan.add), len(plan.remove))

    def note_in_force(self, revision: int, foreign: int) -> None:
        """All of the revision is installed, and nothing else."""
        self.in_force = revision
        self.foreign += foreign
        self.last_error = None
        self.retry_s = FIRST_RETRY_S

    def pass_over(self, before: int, revision: int) -> bool:
        """Whether a new revision changes nothing here: then it is in force at once, if the one before it was."""
        if self.busy or self.touched or self.given_up.connections or self.installed is None or self.in_force != before:
            return False
        self.attempted = self.in_force = revision
        self.last_change = (0, 0)
        return True

    def tell_settled(self) -> None:
        """Wake those who wait for what became of a change."""
        waiting, self.settled = self.settled, []
        for waiter in waiting:
            waiter.set()

    def is_settled(self, revision: int) -> bool:
        """Whether it is known what became of a revision here."""
        if not self.connected:
            return True
        if self.in_force is not None and self.in_force >= revision and not (self.touched or self.busy):
            return True
        return self.failed is not None and self.failed >= revision

    def outcome(self, revision: int) -> BridgeOutcome:
        in_force = self.in_force is not None and self.in_force >= revision
        added, removed = self.last_change if in_force else (0, 0)
        error = None
        if not in_force:
            error = (self.last_error or "not in force yet") if self.connected else "the bridge has gone"
        return BridgeOutcome(f"{self.dpid:016x}", self.name, in_force, added, removed, error)

    def status(self, settings: BridgeSettings | None) -> BridgeStatus:
        return BridgeStatus(
            dpid=f"{self.dpid:016x}",
            name=self.name,
            peer=self.peer,
            connected=self.connected,
            in_force=None if self.touched else self.in_force,
            flows_desired=len(self.tally.flows),
            flows_installed=None if self.installed is None else len(self.installed),
            flows_added=self.added,
            flows_removed=self.removed,
            flows_foreign=self.foreign,
            fail_mode=settings.fail_mode if settings is not None else "unknown",
            last_error=self.last_error,
            warnings=judge_settings(settings, self.name) if self.name else (),
            packets_in=0 if self.punts is None else self.punts.received,
            packets_dropped=0 if self.punts is None else self.punts.dropped,
        )
