"""The controller end to end: its process, REST, OpenFlow to a real ovs-vswitchd, up to `in force`.

The ports are patch ports without a peer: to the controller they are ports as any, and to the switch they cost nothing.
Devices do cost it: at every turn of its main loop, in which it takes 50 messages from a controller, ovs-vswitchd 3.1
looks at each device, so that with thousands of them its turns are what is waited for, whoever sends. The row with
devices shows how much, with ovs-ofctl beside it.
"""

from __future__ import annotations

import re
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from statistics import median

from tests.bench import policies
from tests.bench.holds import HELD_APP, HELD_S, read_holds
from tests.bench.row import Row
from tests.bench.spread import spread
from tests.rig.controller import Controller, Rest, wait_until
from tests.rig.host import Host, Ports, host

ROUNDS = 5
SINGLE_ROUNDS = 20
FLOWS_AN_ENDPOINT = 20
OWN_FLOWS = 40
"""A change of one endpoint that adds or removes more flows than that has touched others."""
MEMORY_MB = 300
_STATISTICS = re.compile(r"(duration|n_packets|n_bytes|idle_age|hard_age)=[^,]*, ?")


@dataclass(frozen=True, slots=True)
class Size:
    """How many endpoints, and the seconds that a whole policy and one endpoint may take."""

    endpoints: int
    whole_s: float
    single_s: float

    def __str__(self) -> str:
        return f"{self.endpoints:,} endpoints in {self.endpoints // policies.MEMBERS_A_NETWORK} networks"


SIZES = (Size(1000, 1.0, 0.020), Size(5000, 6.0, 0.050))


def run() -> list[Row]:
    rows: list[Row] = []
    for size in SIZES:
        with host() as machine:
            machine.add_bridge(policies.ports(size.endpoints), kind=Ports.PATCH, settings=("fail_mode=secure",))
            machine.add_bridge({}, kind=Ports.PATCH, name="br1")
            rows += Bench(machine, size).run()
    return [*rows, *_with_devices(1000)]


class Bench:
    """One size, on one bridge."""

    def __init__(self, machine: Host, size: Size) -> None:
        self.machine, self.size = machine, size
        self.held = machine.directory / "held"
        self.controller = Controller(machine, HELD_APP)
        self.plain = policies.document(size.endpoints)
        self.bodies = policies.bodies(self.plain)

    def run(self) -> list[Row]:
        self.controller.start(TRIPOINT_HELD=str(self.held))
        self.machine.attach()
        self.wait_for(0)
        began = time.monotonic()
        with _asking(Rest(self.machine.namespace)) as answered_s:
            rows = [*self.whole(), *self.single(), self.memory(), self.again(), *self.dual_stack()]
        return [*rows, *self.loop(began, answered_s), *self.restart(), self.against_ofctl()]

    def wait_for(self, revision: int) -> None:
        def in_force() -> bool:
            bridge = self.controller.rest.bridge()
            return bridge is not None and bridge["in_force"] == revision

        wait_until(in_force, 60, lambda: f"not in force: {self.controller.rest.status()}")

    # -- whole policies

    def put(self, body: policies.Body) -> tuple[float, int, int]:
        """Seconds from PUT to in force, flows added and removed. What is installed is counted by the switch too."""
        began = time.monotonic()
        answer = self.controller.rest.ask("PUT", "/v1/policy", body.data, body.media_type)
        took_s = time.monotonic() - began
        (bridge,) = answer["bridges"]
        assert answer["in_force"], answer
        counted = re.search(r"flow_count=(\d+)", self.machine.ofctl("dump-aggregate"))
        assert counted is not None
        assert int(counted[1]) == self.controller.rest.bridge()["flows_desired"]
        return took_s, bridge["added"], bridge["removed"]

    def clear(self) -> None:
        self.put(policies.bodies(policies.EMPTY)["msgpack"])

    def whole(self) -> Iterator[Row]:
        for name, body in self.bodies.items():
            took_s, flows = [], 0
            for _ in range(ROUNDS):
                self.clear()
                seconds, flows, _ = self.put(body)
                took_s.append(seconds)
            ok = median(took_s) <= self.size.whole_s and flows <= FLOWS_AN_ENDPOINT * self.size.endpoints
            measured = f"{spread(took_s)}, {flows / self.size.endpoints:.1f} flows an endpoint"
            target = f"<= {self.size.whole_s:g} s, <= {FLOWS_AN_ENDPOINT} flows an endpoint"
            yield Row(f"{self.size}, from PUT ({name}) to in force", measured, target, ok)

    def dual_stack(self) -> Iterator[Row]:
        plain = policies.document(self.size.endpoints, dual_stack=True)
        body = policies.bodies(plain)["msgpack"]
        took_s, flows = [], 0
        for _ in range(ROUNDS):
            self.clear()
            seconds, flows, _ = self.put(body)
            took_s.append(seconds)
        measured = f"{spread(took_s)}, {flows / self.size.endpoints:.1f} flows an endpoint"
        yield Row(f"{self.size}, each IPv4 and IPv6, the same (msgpack)", measured, "", True)
        seconds, added, removed = self.put(self.bodies["msgpack"])
        measured = f"{seconds:.3f} s, {added:,} flows added, {removed:,} removed"
        yield Row(f"{self.size}, IPv6 taken away from each", measured, "", True)

    def again(self) -> Row:
        took_s = []
        for body in [*self.bodies.values()] * 2:
            began = time.monotonic()
            answer = self.controller.rest.ask("PUT", "/v1/policy", body.data, body.media_type)
            took_s.append(time.monotonic() - began)
            assert not answer["changed"]
        bridge = self.controller.rest.bridge()
        return Row(f"{self.size}, the same policy again", spread(took_s), "no flow changed", bool(bridge["in_force"]))

    # -- one endpoint

    def single(self) -> Iterator[Row]:
        rest = self.controller.rest
        took: dict[str, list[float]] = {"added": [], "moved to another network": [], "removed": []}
        flows: dict[str, tuple[int, int]] = {}
        for _ in range(SINGLE_ROUNDS):
            steps = [("PUT", policies.newcomer(3)), ("PUT", policies.newcomer(4)), ("DELETE", None)]
            for what, (method, value) in zip(took, steps, strict=True):
                began = time.monotonic()
                answer = rest.ask(method, "/v1/endpoints/new", value)
                took[what].append(time.monotonic() - began)
                (bridge,) = answer["bridges"]
                assert answer["in_force"], answer
                flows[what] = max(flows.get(what, (0, 0)), (bridge["added"], bridge["removed"]))
        for what, seconds in took.items():
            added, removed = flows[what]
            ok = median(seconds) <= self.size.single_s and max(added, removed) <= OWN_FLOWS
            measured = f"{spread(seconds, 1000)}; {added} flows added, {removed} removed"
            target = f"<= {self.size.single_s * 1000:g} ms, its own flows only"
            yield Row(f"one endpoint {what} at {self.size.endpoints:,}", measured, target, ok)

    # -- the process

    def memory(self) -> Row:
        now, most = self.controller.memory_mb(), self.controller.memory_mb("VmHWM")
        measured = f"{now:.0f} MB, at most {most:.0f} MB since it started"
        return Row(f"memory of the controller at {self.size.endpoints:,} endpoints", measured,
                   f"<= {MEMORY_MB} MB", most <= MEMORY_MB)  # fmt: skip

    def loop(self, began: float, answered_s: list[float]) -> Iterator[Row]:
        holds = read_holds(self.held, began, time.monotonic())
        what = f"the event loop held during all that, {self.size.endpoints:,} endpoints, {holds.seconds:.0f} s"
        yield Row(what, str(holds), f"<= {HELD_S * 1000:g} ms of its own", holds.ok)
        late = sorted(answered_s)[int(len(answered_s) * 0.99)]
        measured = f"{spread(answered_s, 1000)}, 99 of 100 within {late * 1000:.1f} ms, of {len(answered_s):,}"
        yield Row(f"a small request answered meanwhile, {self.size.endpoints:,} endpoints", measured, "", True)

    def restart(self) -> Iterator[Row]:
        revision = self.controller.rest.status()["revision"]
        for name, number in (("kill -9", signal.SIGKILL), ("SIGTERM", signal.SIGTERM)):
            before = _cookies(self.machine)
            self.controller.end(number)
            began = time.monotonic()
            self.controller.start(TRIPOINT_HELD=str(self.held))
            answers_s = time.monotonic() - began
            self.wait_for(revision)
            took_s, bridge = time.monotonic() - began, self.controller.rest.bridge()
            unchanged = (bridge["flows_added"], bridge["flows_removed"]) == (0, 0) and before == _cookies(self.machine)
            measured = (
                f"{took_s:.2f} s from the start of the process (REST answers after {answers_s:.2f} s), "
                f"{bridge['flows_added']} flows added, {bridge['flows_removed']} removed"
            )
            what = f"{name} and restart at {self.size.endpoints:,} endpoints, until there is nothing to do"
            yield Row(what, measured, "no flow changed", unchanged)
        now, most = self.controller.memory_mb(), self.controller.memory_mb("VmHWM")
        what = f"memory of a controller newly started with {self.size.endpoints:,} endpoints"
        yield Row(what, f"{now:.0f} MB, at most {most:.0f} MB", f"<= {MEMORY_MB} MB", most <= MEMORY_MB)

    def against_ofctl(self) -> Row:
        return _against_ofctl(self.machine, self, f"{self.size}")


def _against_ofctl(machine: Host, bench: Bench, what: str) -> Row:
    """From PUT to in force, against ovs-ofctl with the same flows on a bridge without flows or controller."""
    bench.clear()
    bench.put(bench.bodies["msgpack"])
    same = "".join(f"{_STATISTICS.sub('', line)}\n" for line in _dump(machine))
    ours: list[float] = []
    theirs: list[float] = []
    for _ in range(ROUNDS):
        bench.clear()
        ours.append(bench.put(bench.bodies["msgpack"])[0])
        machine.ofctl("del-flows", bridge="br1")
        began = time.monotonic()
        switch = machine.switch
        switch.ofctl("-O", "OpenFlow14", "--bundle", "replace-flows", switch.management("br1"), "-", stdin=same)
        theirs.append(time.monotonic() - began)
    ratio = median(theirs) / median(ours)
    measured = f"{median(ours):.3f} s against {median(theirs):.3f} s: {ratio:.2f} times its rate"
    return Row(f"{what}, PUT against ovs-ofctl --bundle replace-flows of the same flows", measured, "", True)


def _with_devices(endpoints: int) -> Iterator[Row]:
    """The same on a bridge whose ports are devices."""
    size = Size(endpoints, 1.0, 0.020)
    with host(dummy=True) as machine:
        machine.add_bridge(policies.ports(endpoints), settings=("fail_mode=secure",))
        machine.add_bridge({}, name="br1")
        bench = Bench(machine, size)
        bench.controller.start(TRIPOINT_HELD=str(bench.held))
        machine.attach()
        bench.wait_for(0)
        for row in (next(bench.whole()), *bench.single(), bench.against_ofctl()):
            yield Row(f"ports are devices: {row.what}", row.measured, row.target, row.ok)


def _dump(machine: Host) -> list[str]:
    return [line.strip() for line in machine.ofctl("dump-flows").splitlines() if "actions=" in line]


def _cookies(machine: Host) -> list[str]:
    return sorted(line.partition(",")[0] for line in _dump(machine))


@contextmanager
def _asking(rest: Rest) -> Iterator[list[float]]:
    """Small requests, one after the other, as long as the block runs: the seconds that each took."""
    took_s: list[float] = []
    done = threading.Event()

    def ask() -> None:
        while not done.wait(0.002):
            began = time.monotonic()
            rest.ask("GET", "/v1")
            took_s.append(time.monotonic() - began)

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        yield took_s
    finally:
        done.set()
        thread.join()
        rest.close()
