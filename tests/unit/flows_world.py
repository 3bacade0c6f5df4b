"""The small world twice: what its policy means, and what its flows do; packets follow one another through both.

Sentences about attacks are held against both at once, so that neither can be wrong alone.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from controller.flow import packet as p
from controller.flow.fields import PUNTED, Punt
from controller.flow.packet import Packet, is_icmp_error
from controller.pipeline.compile import compile_bridge
from controller.proof.evaluate import NO_CONNECTIONS, Connections, LearnedFlow, Punted, Result, Tables, evaluate
from tests.unit.meaning_world import PORTS, PRIVATE, ROUTER, UPLINKS, WAN, Play

NUMBERS = {**PORTS, **UPLINKS}
NAMES = {port: name for name, port in NUMBERS.items()}
OWN = {uplink.name: uplink.addresses for uplink in (WAN, PRIVATE)}


def reason(punt: Punted) -> Punt:
    return Punt(punt.get(PUNTED.field) >> PUNTED.low & 15)


def is_silent(punt: Punted) -> bool:
    """The controller says nothing about an ICMP error, nor about what was sent to many."""
    return (is_icmp_error(punt.packet.get) or punt.packet.is_multicast) and reason(punt) is not Punt.LOG


@dataclass
class Both(Play):
    """Frames one after the other, as `Play` has them, and through the flows."""

    connections: Connections = NO_CONNECTIONS
    learned: tuple[LearnedFlow, ...] = field(default=())

    def __post_init__(self) -> None:
        for (uplink, address), mac in self.known.neighbors.items():
            own = next(int(one.ip) for one in OWN[uplink] if one.version == address.version)
            if address.version == 4:
                told = p.arp_reply(mac.value, int(address), ROUTER, own)
            else:
                told = p.neighbor_advertisement((mac.value, ROUTER), (int(address), own), int(address), mac.value)
                told = told.with_(nw_ttl=255)
            self._through_flows(uplink, told)

    def send(self, who: str, frame: Packet) -> set[str]:
        """Who gets something of a frame from a member or at an uplink. Both agree on what, and on who is told."""
        super().send(who, frame)
        result = self._through_flows(who, frame)
        why = "\n".join(map(str, (*result.trail, *self.last.why)))
        assert set(result.outputs) == set(self.last.deliveries), why
        told = {reason(punt) for punt in result.punts if not is_silent(punt)}
        # Who asks is learned by the switch alone: the controller has not waited for it.
        assert told - {Punt.NEIGHBOR} == {kind for kind, _ in self.told} - {Punt.NEIGHBOR}, why
        return {NAMES[port] for port, _ in result.outputs}

    def _through_flows(self, who: str, frame: Packet) -> Result:
        tables = Tables(compile_bridge(self.policy, PORTS, uplinks=UPLINKS).flows())
        result = evaluate(tables, NUMBERS[who], frame, self.learned, connections=self.connections)
        self.connections, self.learned = result.connections, result.learned
        return result
