"""What came of one kind of traffic of one expectation: what the captures saw of it, as a row of the report."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import assert_never

from topologies.capture import Sighting
from topologies.spec import ECHO_PORT, Expect, Hostile, Lab, Point, Probe, Via, as_address
from topologies.verdict import ALIVE, NOTHING, Row, Verdict
from topologies.wires import Place, Wires, targets_of

TO_MANY = (Via.BROADCAST, Via.MULTICAST, Via.UNKNOWN_UNICAST)
NO_ANSWER = "no answer"


@dataclass
class Trial:
    """One kind of traffic of one expectation, on its way to a Row. via None: hostile frames.

    marks: one for each point that sends; of the first one is also the client port.
    answers: what the node's own client said, for each address it called: "" where it was answered.
    answer: why the target was not reached. problem: why nothing could be sent.
    """

    expectation: Probe | Hostile
    via: Via | None
    sources: tuple[Point, ...]
    marks: list[int]
    port: int
    answers: list[str] = field(default_factory=list)
    answer: str = ""
    sent: int = 0
    problem: str = ""

    @property
    def expect(self) -> Expect:
        return self.expectation.expect if isinstance(self.expectation, Probe) else Expect.NEVER

    @property
    def comes_back(self) -> bool:
        """Whether something is to come back to the node's own client: an answer or a refusal."""
        return self.expect in (Expect.REACH, Expect.REJECTED, Expect.CLOSED)


def unseen_at(expectation: Probe | Hostile, lab: Lab) -> tuple[str, ...]:
    """Where nothing may be seen: nodes, points, or an address (whoever has it)."""
    if isinstance(expectation, Hostile):
        return expectation.unseen_at
    match expectation.expect:
        case Expect.NEVER | Expect.REJECTED:
            address = as_address(expectation.destination)
            nobody = address is not None and (expectation.unseen_at or not lab.holders(address))
            return expectation.unseen_at if nobody else (*expectation.unseen_at, expectation.destination)
        case Expect.SILENCE:
            return (*expectation.unseen_at, expectation.source)
        case Expect.REACH | Expect.CLOSED | Expect.CARRIES:
            return expectation.unseen_at
        case _ as unreachable:
            assert_never(unreachable)


def silence(place: Place, before: str, after: str, lost: int) -> str:
    """ "" when the capture was alive from start to end and lost nothing."""
    found = [f"{word} {state}" for word, state in (("before", before), ("after", after)) if state]
    found += [f"{lost} frames lost"] if lost else []
    return f"{place[0]}:{place[1]} {', '.join(found)}" if found else ""


def row_of(trial: Trial, wires: Wires, silent: dict[Place, str], situation: str) -> Row:
    """silent: place -> why its capture proves nothing, or ""."""
    expectation, unseen = trial.expectation, unseen_at(trial.expectation, wires.lab)
    mute = list(dict.fromkeys(silent[p] for where in unseen for p in wires.places_of(where) if silent[p]))
    leaks = [(where, sighting) for where in unseen if (sighting := _leak(trial, wires, where)).count]
    observed, verdict = _outcome(trial, wires, bool(leaks), bool(mute))
    source, target, via = _named(trial, wires.lab, unseen)
    return Row(
        source=source,
        target=target,
        via=via,
        situation=situation,
        expected=trial.expect,
        observed=observed,
        verdict=verdict,
        seen="" if not unseen else f"{leaks[0][0]} saw {leaks[0][1]}" if leaks else NOTHING,
        canary="" if not unseen else "; ".join(mute) or ALIVE,
        why=expectation.why,
        sent=trial.sent,
        hostile=isinstance(expectation, Hostile),
    )


def _named(trial: Trial, lab: Lab, unseen: tuple[str, ...]) -> tuple[str, str, str]:
    """(who, to whom, by what) as the report has it."""
    expectation = trial.expectation
    if isinstance(expectation, Hostile):
        claiming = f" as {expectation.claiming}" if expectation.claiming else ""
        everybody = {n for n in lab.nodes if lab.points(n)} - {p.node for p in trial.sources}
        target = "(all others)" if everybody == set(unseen) else ", ".join(unseen)
        return expectation.by + claiming, target, expectation.attack.value
    via = trial.via.value if trial.via else ""
    via += "" if expectation.l4_port == ECHO_PORT else f"/{expectation.l4_port}"
    return expectation.source, expectation.target, via


def _outcome(trial: Trial, wires: Wires, leaked: bool, mute: bool) -> tuple[str, Verdict]:
    """What was observed, and what that is worth."""
    probe = trial.expectation
    if trial.comes_back:
        assert isinstance(probe, Probe)
        wrong = _not_reached(trial, probe, wires) if probe.expect is Expect.REACH else _not_told(trial, probe, wires)
        if wrong:
            return wrong, Verdict.FAIL
        if leaked:
            return f"{probe.expect.value}, but seen elsewhere", Verdict.FAIL
        return trial.problem or probe.expect.value, Verdict.INVALID if mute or trial.problem else Verdict.PASS
    if leaked:
        return "seen", Verdict.FAIL
    if trial.expect is Expect.SILENCE and (heard := [a or "answered" for a in trial.answers if a != NO_ANSWER]):
        return heard[0], Verdict.FAIL
    if trial.problem or not trial.sent:
        return trial.problem or "nothing was sent", Verdict.INVALID
    return "none", Verdict.INVALID if mute else Verdict.PASS


def _not_reached(trial: Trial, probe: Probe, wires: Wires) -> str:
    """Why it did not reach its target as it should, or ""."""
    if trial.answer:
        return trial.answer
    limit = len(targets_of(wires.lab, probe.source, probe.target))
    copies = max(wires.arrived(mark, probe.target).count for mark in trial.marks)
    if trial.via in TO_MANY and copies > limit:
        return f"{copies} copies of {limit}"
    if probe.arrives_at is not None and not any(wires.arrived(mark, probe.arrives_at).count for mark in trial.marks):
        return f"answered, but not by {probe.arrives_at}"
    if probe.seen_as is None:
        return ""
    places = [(mark, *place) for mark in trial.marks for place in wires.places_of(probe.destination)]
    origins = {ip for place in places for ip in wires.notebook.origins.get(place, ())}
    others = sorted(str(ip) for ip in origins if ip.version == probe.seen_as.version and ip != probe.seen_as)
    if others:
        return f"seen as {others[0]}"
    return "" if probe.seen_as in origins else f"not seen as {probe.seen_as}"


def _not_told(trial: Trial, probe: Probe, wires: Wires) -> str:
    """Why its sender was not told as it should be, or "": by its client's error, and by a frame that says so."""
    assert trial.via is not None
    if not trial.answers:
        return trial.answer
    if heard := [answer or "answered" for answer in trial.answers if answer in ("", NO_ANSWER)]:
        return heard[0]
    arrived = any(wires.arrived(mark, probe.destination).count for mark in trial.marks)
    if arrived is not (probe.expect is Expect.CLOSED):
        return "arrived" if arrived else "told, but it did not arrive"
    versions = [address.version for address, _ in targets_of(wires.lab, probe.source, probe.target)]
    wanted = {probe.told(trial.via, version) for version in versions}
    places = [(mark, *place) for mark in trial.marks for place in wires.places_of(probe.source)]
    told = {key for place in places for key in wires.notebook.refusals.get(place, {})}
    if {kind for kind, _ in told} != wanted:
        return _words(kind.value for kind, _ in told) or f"{trial.answers[0]}, but no frame says so"
    right = probe.told_by
    others = _words(str(by) for _, by in told if right is not None and by.version == right.version and by != right)
    return f"told by {others}" if others else ""


def _words(found: Iterable[str]) -> str:
    return ", ".join(sorted(set(found)))


def _leak(trial: Trial, wires: Wires, where: str) -> Sighting:
    """What a place saw of a trial: its marks and ports, and unmarked frames from a MAC that must not be there."""
    found = Sighting()
    for mark in trial.marks:
        found.add(wires.arrived(mark, where))
    probe = trial.expectation
    if isinstance(probe, Probe) and probe.expect is Expect.NEVER and _strangers(probe, wires, where):
        for mac in {p.mac for p in trial.sources}:
            for place in wires.places_of(where):
                found.add(wires.notebook.of_mac(mac, *place))
    return found


def _strangers(probe: Probe, wires: Wires, where: str) -> bool:
    """Whether no frame at all may pass between the two nodes, and the source's MACs are nobody else's."""
    lab, source = wires.lab, probe.source.partition(":")[0]
    holders = {node for node, _ in wires.places_of(where)}
    if ":" in probe.source or (":" in where and as_address(where) is None):
        return False
    macs = {p.mac for p in lab.points(source)}
    if any(p.mac in macs for p in lab.all_points if p.node != source):
        return False
    for other in lab.expectations:
        if isinstance(other, Probe) and other.expect in (Expect.REACH, Expect.CLOSED):
            ends = {other.source.partition(":")[0]} | {node for node, _ in wires.places_of(other.destination)}
            if source in ends and ends & holders:
                return False
    return True
