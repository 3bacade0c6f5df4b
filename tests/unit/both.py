"""The flows of a bridge and the meaning of its policy, told the same story, frame by frame."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace
from ipaddress import IPv4Address, IPv6Address

from controller.flow.fields import ETH_DST, NETWORK, NEXT_HOP, NEXT_HOP6, PUNTED, Punt
from controller.flow.packet import Packet, is_icmp_error
from controller.mac import Mac
from controller.pipeline import TABLES
from controller.pipeline.compile import compile_bridge
from controller.pipeline.view import BridgeView
from controller.policy.meaning import NOTHING_KNOWN, Known, Verdict, judge
from controller.policy.meaning.connections import target_of
from controller.policy.meaning.rules import is_group_address
from controller.policy.model import Network, Policy
from controller.proof.evaluate import (
    NO_CONNECTIONS,
    Connections,
    EvaluationError,
    LearnedFlow,
    Result,
    Tables,
    evaluate,
)
from tests.unit.stories import Arrival
from tests.unit.strategies import unused
from tests.unit.strategies_firewall import World

_NO_ERRORS_ABOUT_ERRORS = (Punt.REJECT, Punt.TTL_EXCEEDED, Punt.UNREACHABLE)
"""Handed over whatever they are about: that nobody is told about an error or a multicast, the controller sees to."""


@dataclass
class Both:
    """Each with what it knows. worlds: one for each policy so far. told: all frames, None where the policy changed."""

    world: World
    advertises: bool = True
    known: Known = NOTHING_KNOWN
    learned: tuple[LearnedFlow, ...] = ()
    connections: Connections = NO_CONNECTIONS
    worlds: list[World] = field(default_factory=list)
    told: list[Arrival | None] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.compiled = unused(self.advertises)
        self._compile()

    def change(self, policy: Policy) -> None:
        """Another policy, of the same networks and members."""
        self.told.append(None)
        self.world = replace(self.world, policy=policy)
        self._compile()

    def _compile(self) -> None:
        world = self.world
        self.worlds.append(world)
        view = BridgeView(self.advertises)
        self.compiled = compile_bridge(world.policy, world.bindings, self.compiled, bridge=view, uplinks=world.uplinks)
        self.tables = Tables(self.compiled.flows())

    def means(self, arrival: Arrival) -> Verdict:
        port, frame = arrival
        world = self.world
        where = {"uplinks": world.uplinks, "advertises": self.advertises}
        return judge(world.policy, world.bindings, port, frame, self.known, **where)  # type: ignore[arg-type]

    def does(self, arrival: Arrival) -> Result | None:
        """None: all addresses and ports of a translation are taken, which datapaths treat as they like."""
        port, frame = arrival
        try:
            return evaluate(self.tables, port, frame, self.learned, connections=self.connections)
        except EvaluationError as error:
            if "no free address or port" not in str(error):
                raise AssertionError(self.report(self.means(arrival), None, str(error))) from error
            return None

    def tell(self, arrival: Arrival) -> Verdict | None:
        """Both agree on what becomes of a frame, and go on; None as of `does`."""
        self.told.append(arrival)
        verdict, result = self.means(arrival), self.does(arrival)
        if result is None or any("no outside address is free" in why for why in verdict.why):
            return None
        self._compare(arrival, verdict, result)
        self.known, self.learned, self.connections = verdict.known, result.learned, result.connections
        return verdict

    def _compare(self, arrival: Arrival, verdict: Verdict, result: Result) -> None:
        policy = self.world.policy
        often = {pair for pair, count in Counter(result.outputs).items() if count > 1}
        # What the switch answers it answers in each of the networks that a frame was in.
        doubles = {pair for pair in often if pair[1].with_tags() == arrival[1].with_tags()}
        agree = set(result.outputs) == verdict.deliveries and not doubles
        agree = agree and handed(result, policy) == {(punt.kind, punt.rule) for punt in verdict.punts}
        agree = agree and taught(policy, verdict.known) == standing(result.learned)
        assert agree, self.report(verdict, result)

    def report(self, verdict: Verdict, result: Result | None, more: str = "") -> str:
        """For people: the worlds, all that was told, and what both make of the last frame."""
        lines = [repr(world) for world in self.worlds]
        lines += ["another policy" if one is None else f"at port {one[0]}: {one[1]}" for one in self.told]
        lines += [f"  policy delivers to {to}: {sent}" for to, sent in sorted(verdict.deliveries, key=str)]
        lines += [f"  policy hands over {punt.kind.name} {punt.rule}: {punt.packet}" for punt in verdict.punts]
        lines += [f"  policy says: {why}" for why in verdict.why]
        if result is not None:
            lines += [f"  met {flow}" for flow in result.trail]
            lines += [f"  flows deliver to {to}: {sent}" for to, sent in result.outputs]
            lines += [f"  flows hand over {punt.get(PUNTED.field):#x}: {punt.packet}" for punt in result.punts]
            means, does = taught(self.world.policy, verdict.known), standing(result.learned)
            lines += [f"  policy learns {means - does}, flows {does - means}"]
        return "\n".join([*lines, more])


Learned = set[tuple[int, object, int]]
"""(network number, MAC, ofport), and of neighbors (uplink number, address, MAC)."""


def taught(policy: Policy, known: Known) -> Learned:
    """What the policy says is learned."""
    macs: Learned = {(policy.networks[name].number, mac, port) for (name, mac), port in known.learned.items()}
    return macs | {(policy.uplinks[name].number, ip, mac.value) for (name, ip), mac in known.neighbors.items()}


def standing(flows: tuple[LearnedFlow, ...]) -> Learned:
    """What stands in the tables."""
    found: Learned = set()
    for flow in flows:
        match = {index: value for index, value, _ in flow.match}
        (told,) = (action.value for action in flow.actions)  # type: ignore[union-attr]
        number = match[NETWORK.field.index]
        if flow.table != TABLES["neighbors"]:
            found.add((number, Mac(match[ETH_DST.index]), told))
        elif NEXT_HOP.field.index in match:
            found.add((number, IPv4Address(match[NEXT_HOP.field.index]), told))
        else:
            found.add((number, IPv6Address(match[NEXT_HOP6.field.index]), told))
    return found


def kind_of(register: int) -> Punt:
    return Punt(register >> PUNTED.low & (1 << PUNTED.n_bits) - 1)


def handed(result: Result, policy: Policy) -> set[tuple[Punt, str]]:
    """What the controller is handed and may answer, and for which rule."""
    found = set()
    for punt in result.punts:
        kind = kind_of(punt.get(PUNTED.field))
        where = [network for network in policy.networks.values() if network.number == punt.get(NETWORK.field)]
        is_error = kind in _NO_ERRORS_ABOUT_ERRORS and is_icmp_error(punt.packet.get)
        if not is_error and not (kind is Punt.REJECT and is_for_many(punt.packet, where)):
            origin = "" if punt.flow is None or isinstance(punt.flow, LearnedFlow) else punt.flow.origin
            found.add((kind, origin.removeprefix("/rules/") if origin.startswith("/rules/") else ""))
    return found


def is_for_many(packet: Packet, where: list[Network]) -> bool:
    """where: the networks that it may be in."""
    return packet.is_multicast or any(is_group_address(target_of(packet), network) for network in where)
