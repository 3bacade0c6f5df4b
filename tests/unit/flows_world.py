"""The small world twice: what its policy means, and what its flows do; packets follow one another through both.

Sentences about attacks are held against both at once, so that neither can be wrong alone.
"""

from __future__ import annotations

from controller.flow import packet as p
from controller.flow.fields import PUNTED, Punt
from controller.flow.packet import Packet
from controller.pipeline.compile import compile_bridge
from controller.policy.model import Policy
from controller.proof.evaluate import NO_CONNECTIONS, Connections, LearnedFlow, Result, Tables, evaluate
from tests.unit.meaning_world import CLIENT_MAC, HOP_MAC, PORTS, ROUTER, UPLINKS, Play, ip

NUMBERS = {**PORTS, **UPLINKS}
NAMES = {port: name for name, port in NUMBERS.items()}
NEIGHBORS = (
    ("wan", HOP_MAC, "172.16.200.254", "172.16.200.1"),
    ("wan", CLIENT_MAC, "172.16.200.77", "172.16.200.1"),
    ("private", HOP_MAC, "172.17.0.9", "172.17.0.1"),
)
"""(uplink, MAC, address, the address that they speak to)"""


class Both:
    """Frames one after the other, as `Play` has them, and through the flows. policy may be replaced on the way."""

    def __init__(self, policy: Policy) -> None:
        self.policy = policy
        self.play = Play(policy)
        self.connections: Connections = NO_CONNECTIONS
        self.learned: tuple[LearnedFlow, ...] = ()
        for uplink, mac, address, to in NEIGHBORS:
            self._through_flows(uplink, p.arp_reply(mac, ip(address), ROUTER, ip(to)))

    def send(self, who: str, frame: Packet) -> set[str]:
        """Who gets something of a frame from a member or at an uplink. Both agree on what, and on who is told."""
        self.play.policy = self.policy
        self.play.send(who, frame)
        result = self._through_flows(who, frame)
        why = "\n".join(map(str, (*result.trail, *self.play.last.why)))
        assert set(result.outputs) == set(self.play.last.deliveries), why
        told = {Punt(punt.get(PUNTED.field) >> PUNTED.low & 15) for punt in result.punts}
        assert told == {kind for kind, _ in self.play.told}, why
        return {NAMES[port] for port, _ in result.outputs}

    @property
    def sent(self) -> Packet:
        """The one frame that the last one became."""
        return self.play.sent

    @property
    def told(self) -> set[Punt]:
        """What the controller was handed of the last frame."""
        return {kind for kind, _ in self.play.told}

    def _through_flows(self, who: str, frame: Packet) -> Result:
        tables = Tables(compile_bridge(self.policy, PORTS, uplinks=UPLINKS).flows())
        result = evaluate(tables, NUMBERS[who], frame, self.learned, connections=self.connections)
        self.connections, self.learned = result.connections, result.learned
        return result
