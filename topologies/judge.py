"""Sends what a lab's expectations speak of, and says what came of each. I/O.

A verdict on 'nothing arrived' counts only when the capture at that place saw a canary before and after: a frame put
into the other end of its cable. Without one the verdict is INVALID, whatever was or was not seen.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass, field

from topologies import clients, traffic
from topologies.cables import cable_row
from topologies.findings import Trial, row_of, silence, unseen_at
from topologies.netns import NetworkError
from topologies.records import Record
from topologies.routers import router_macs
from topologies.situations import FLOOD_CYCLES, Stage, during
from topologies.spec import (
    BY_STACK,
    ECHO_PORT,
    Address,
    Carries,
    Conduct,
    Expect,
    Expectation,
    Hostile,
    Lab,
    Point,
    Probe,
    Situation,
    Via,
)
from topologies.verdict import Row
from topologies.wires import Wires, targets_of, until

REACH_TIMEOUT_S = 3.0
NEVER_TIMEOUT_S = 0.8
GRACE_S = 0.1
"""How long a frame may be under way between two queues (a member that forwards, the switch's second look at it)."""
OTHER_VIDS = (1, 99, 4094)
"""VLANs tried beside those of the lab."""


async def judge(record: Record, only: Iterable[Expectation] | None = None) -> list[Row]:
    """Every expectation of the lab (or only those), by situation, in the order in which the file names them.

    Raises NetworkError where nothing can be measured.
    """
    lab = record.lab
    every = list(lab.expectations if only is None else only)
    wanted = [e for e in every if not isinstance(e, Carries)]
    cables = [e for e in every if isinstance(e, Carries)]
    court = _Court(Wires(record, lab))
    rows: list[Row] = []
    async with court.wires.session():
        places = {place: None for e in cables for place in court.wires.places_of(e.on)}
        before = await court.wires.canaries(places)
        for situations in dict.fromkeys(e.during for e in wanted):
            rows += await court.hear(situations, [e for e in wanted if e.during == situations])
        after = await court.wires.canaries(places)
        silent = {p: silence(p, before[p], after[p], court.wires.captures.lost_ever(*p)) for p in places}
    for carries in cables:
        mute = "; ".join(filter(None, (silent[place] for place in court.wires.places_of(carries.on))))
        rows.append(cable_row(carries, lab, court.wires.notebook, mute))
    return rows


@dataclass
class _Court:
    wires: Wires
    lab: Lab = field(init=False)

    def __post_init__(self) -> None:
        self.lab = self.wires.lab

    async def hear(self, situations: tuple[Situation, ...], group: list[Probe | Hostile]) -> list[Row]:
        """Expectations that share a situation.

        Reach comes first, so that it meets the network as the situation leaves it.
        """
        wires = self.wires
        wires.notebook.macs.clear()
        probes = tuple(e for e in group if isinstance(e, Probe))
        stage = Stage(self.lab, wires.record.namespaces, probes, wires.mark(FLOOD_CYCLES), wires.send)
        for situation in situations:
            if situation.node in self.lab.impostors:
                wires.notebook.impostors.update(range(stage.mark, stage.mark + FLOOD_CYCLES))
        trials = [self.trials(expectation) for expectation in group]
        watched = sorted({place for e in group for where in unseen_at(e, self.lab) for place in wires.places_of(where)})
        lost = wires.ports.lost()
        async with during(stage, situations) as counters:
            before = await wires.canaries(watched)
            await asyncio.gather(*(self.reach(t) for ts in trials for t in ts if t.comes_back))
            await asyncio.gather(*(self.never(t) for ts in trials for t in ts if not t.comes_back))
            for _ in range(2):
                await wires.ports.empty()
                await asyncio.sleep(GRACE_S)
            after = await wires.canaries(watched)
        lost_by = {place: wires.captures.lost(*place) for place in watched}
        silent = {place: silence(place, before[place], after[place], lost_by[place]) for place in watched}
        idle = [
            str(s) for s in situations if s.conduct in (Conduct.MAC_FLOOD, Conduct.FORGED_ARP) and not counters[str(s)]
        ]
        problems = [f"{', '.join(idle)}: nothing was sent"] if idle else []
        losses = {port: number - lost.get(port, 0) for port, number in wires.ports.lost().items()}
        problems += [
            f"{number} frames lost before the switch read {port[1]}" for port, number in losses.items() if number
        ]
        for trial in (t for ts in trials for t in ts if problems):
            trial.problem = "; ".join([*filter(None, [trial.problem]), *problems])
        heading = ", ".join(f"{s} (sent {counters[str(s)]})" if counters[str(s)] else str(s) for s in situations)
        return [row_of(t, wires, silent, heading) for ts in trials for t in ts]

    def trials(self, expectation: Probe | Hostile) -> list[Trial]:
        kinds: tuple[Via | None, ...] = expectation.via if isinstance(expectation, Probe) else (None,)
        source = expectation.source if isinstance(expectation, Probe) else expectation.by
        sources = self.lab.points(source)
        made = []
        for via in kinds:
            marks = [self.wires.mark() for _ in sources]
            if source in self.lab.impostors:
                self.wires.notebook.impostors.update(marks)
            made.append(Trial(expectation, via, sources, marks, self.wires.port(marks[0])))
        return made

    # -- sending -----------------------------------------------------------------------------------------------------

    async def reach(self, trial: Trial) -> None:
        probe, via = trial.expectation, trial.via
        assert isinstance(probe, Probe)
        assert via is not None
        targets = targets_of(self.lab, probe.source, probe.target)
        try:
            if not targets:
                trial.answer = "the two ends share no IP version"
            elif via in BY_STACK:
                trial.answers = [await self.call(trial, probe, address, REACH_TIMEOUT_S) for address, _ in targets]
                trial.answer = next((answer for answer in trial.answers if answer), "")
            elif via is Via.ARP:
                answers = [await self.resolve(trial, address, holder) for address, holder in targets]
                trial.answer = next((answer for answer in answers if answer), "")
            else:
                trial.answer = await self.spread(trial, via, targets)
        except NetworkError as error:
            trial.answer = str(error)

    async def call(self, trial: Trial, probe: Probe, address: Address, timeout_s: float) -> str:
        assert trial.via is not None
        node, _, device = probe.source.partition(":")
        mark = traffic.mark_bytes(trial.marks[0])
        namespace = self.wires.record.namespaces[node]
        refusals = probe.expect in (Expect.REJECTED, Expect.CLOSED, Expect.SILENCE)
        return await clients.attempt(
            trial.via,
            clients.Call(namespace, address, mark, trial.port, device or None, timeout_s, probe.l4_port, refusals),
        )

    async def resolve(self, trial: Trial, address: Address, holder: Point | None) -> str:
        """ARP or ND, asked at every point; at one of them the holder's own MAC must be the answer, or the router's."""
        asked = [p for p in trial.sources if p.address(address.version)]
        mac = self.wires.routers.get(address, "") if holder is None else holder.mac
        keys = [(address, mac, p.node, p.interface) for p in asked]
        answers = self.wires.notebook.answers
        before = {key: answers.get(key, 0) for key in keys}
        for point in asked:
            trial.sent += await self.wires.send(point, [traffic.question(self.scene(trial, point), address)])
        return (
            ""
            if await until(lambda: any(answers.get(k, 0) > before[k] for k in keys), REACH_TIMEOUT_S)
            else "no answer"
        )

    async def spread(self, trial: Trial, via: Via, targets: list[tuple[Address, Point | None]]) -> str:
        """A frame for many, or for nobody known."""
        probe = trial.expectation
        assert isinstance(probe, Probe)
        for point, mark in zip(trial.sources, trial.marks, strict=True):
            scene = self.scene(trial, point, mark)
            trial.sent += await self.wires.send(
                point, [traffic.out(point, traffic.to_many(via, scene, a.version)) for a, _ in targets]
            )
        arrived = await until(
            lambda: any(self.wires.arrived(m, probe.target).count for m in trial.marks), REACH_TIMEOUT_S
        )
        return "" if arrived else "not seen"

    async def never(self, trial: Trial) -> None:
        """By hand and to every MAC, so that frames do leave; and by the node's own stack."""
        expectation = trial.expectation
        try:
            if isinstance(expectation, Hostile):
                victim = self.lab.points(expectation.claiming)[0] if expectation.claiming else None
                for point in trial.sources:
                    frames = traffic.hostile(expectation.attack, self.scene(trial, point, victim=victim))
                    trial.sent += await self.wires.send(point, frames)
                return
            await self.never_by(trial, expectation)
        except NetworkError as error:
            trial.problem = str(error)

    async def never_by(self, trial: Trial, probe: Probe) -> None:
        assert trial.via is not None
        targets = targets_of(self.lab, probe.source, probe.target)
        if not targets:
            # One of the two has no address: then frames are made up as if it had one.
            holder = next(iter(self.lab.points(probe.target)), None)
            targets = [(traffic.NOWHERE4, holder)]
        for point in trial.sources:
            for address, holder in targets:
                frames = traffic.ordinary(trial.via, self.scene(trial, point), address, holder)
                trial.sent += await self.wires.send(point, frames)
        own = {a.ip for p in trial.sources for a in p.addresses}
        if trial.via in BY_STACK and probe.source not in self.lab.impostors:
            calls = (self.call(trial, probe, a, NEVER_TIMEOUT_S) for a, _ in targets if a not in own)
            trial.answers = list(await asyncio.gather(*calls))

    def scene(self, trial: Trial, point: Point, mark: int | None = None, victim: Point | None = None) -> traffic.Scene:
        others = tuple(p for p in self.lab.all_points if p.node != point.node)
        vids = {p.vid for p in self.lab.all_points if p.vid is not None} | set(_policy_vids(self.lab)) | set(OTHER_VIDS)
        own = {point.vid} if point.trunk else {p.vid for p in self.lab.points(point.node)}
        number = trial.marks[0] if mark is None else mark
        probe, routers = trial.expectation, router_macs(self.lab)
        l4_port = probe.l4_port if isinstance(probe, Probe) else ECHO_PORT
        if isinstance(probe, Probe) and probe.expect is Expect.SILENCE and routers:
            # A neighbour that routes would have reason to say something; what the policy's router says is the question.
            others, routers = (), tuple(dict.fromkeys(self.wires.routers.values())) or routers
        return traffic.Scene(
            sender=point,
            others=others,
            mark=traffic.mark_bytes(number),
            port=trial.port,
            victim=victim,
            vids=tuple(sorted(vids)),
            own_vids=frozenset(own),
            routers=routers,
            l4_port=l4_port,
        )


def _policy_vids(lab: Lab) -> list[int]:
    """Every VLAN that the policy names."""
    networks = lab.policy.get("networks") if lab.policy is not None else None
    values = networks.values() if isinstance(networks, dict) else ()
    return [
        n["vlan"] for n in values if isinstance(n, dict) and isinstance(n.get("vlan"), int) and 0 < n["vlan"] < 4095
    ]
