"""Compiled rules, routers and rewrites on a real datapath: what comes out of its ports is what the evaluator says.

Frames of generated stories go through dummy ports of Open vSwitch, one after the other, and its conntrack and learned
flows keep step with the evaluator's.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from random import Random

from controller.flow import packet as p
from controller.flow.fields import LOCAL_PORT, Punt
from controller.flow.frame import ACK, SYN, form_frame, parse_frame
from controller.flow.meters import RATES_PPS
from controller.flow.packet import Packet, default_ttl
from controller.pipeline.compile import compile_bridge
from controller.policy.meaning.connections import FiveTuple, tuple_of
from controller.policy.model import Policy
from controller.policy.rewrites import Snat
from controller.proof.evaluate import NO_CONNECTIONS, EvaluationError, LearnedFlow, Tables, evaluate
from tests.trace.conftest import PORTS
from tests.trace.switch import CANARY_FLOW, Switch
from tests.unit.stories import Story
from tests.unit.strategies_firewall import World, make_world, with_rules

ADDRESSES = ("ip_src", "ip_dst", "ipv6_src", "ipv6_dst")


def as_it_is(frame: Packet) -> Packet:
    """With the time to live that it has on the wire, and none said where it is that of a packet just sent."""
    ttl = frame.get("nw_ttl")
    return frame.with_(nw_ttl=0) if ttl == default_ttl(frame.get) else frame


def as_sent(frame: Packet) -> Packet:
    """Saying its time to live, so that it is told when it is counted down."""
    is_ip = frame.eth_type in (p.ETH_IPV4, p.ETH_IPV6)
    return frame.with_(nw_ttl=frame.get("nw_ttl") or default_ttl(frame.get)) if is_ip else frame


def of_one_address(policy: Policy) -> Policy:
    """Which of several addresses a connection gets is the datapath's to choose."""
    rewrites = {n: replace(r, last=r.first) if isinstance(r, Snat) else r for n, r in policy.rewrites.items()}
    return replace(policy, rewrites=rewrites)


class Datapath:
    """The switch and the evaluator with the flows of one world."""

    def __init__(self, switch: Switch, world: World) -> None:
        self._switch = switch
        self._seen: Counter[FiveTuple] = Counter()
        self.world = world
        self.connections = NO_CONNECTIONS
        self.learned: tuple[LearnedFlow, ...] = ()
        switch.forget_connections()
        self.load(world.policy)

    def load(self, policy: Policy) -> None:
        """Another policy; what was learned is forgotten, connections are not."""
        flows = compile_bridge(policy, self.world.bindings, uplinks=self.world.uplinks).flows()
        self._switch.load([*flows, CANARY_FLOW])
        self.tables = Tables(flows)
        self.learned = ()

    def flags(self, frame: Packet) -> int | None:
        """Those of a TCP that begins and is answered; None for what TCP would not send, so that conntrack might."""
        seen = tuple_of(frame) if frame.eth_type in (p.ETH_IPV4, p.ETH_IPV6) else None
        if seen is None or seen.protocol != p.TCP or p.is_icmp_error(frame.get):
            return SYN
        self._seen[seen] += 1
        is_answer = self._seen[seen.reversed()] > 0
        return None if self._seen[seen] > 1 else SYN | ACK if is_answer else SYN

    def send(self, port: int, frame: Packet) -> set[tuple[int, Packet]] | None:
        """Both agree; what comes out. None: it is not sent, because what becomes of it is left to the datapath."""
        flags = self.flags(frame)
        if flags is None or frame.get("nw_proto") == p.SCTP or port == LOCAL_PORT:
            return None
        sent = as_sent(frame)
        try:
            result = evaluate(self.tables, port, sent, self.learned, connections=self.connections, sctp_ports=False)
        except EvaluationError:
            return None
        self.connections, self.learned = result.connections, result.learned
        came = self._switch.pass_through(port, form_frame(sent, tcp_flags=flags), PORTS)
        got = Counter((to, parse_frame(data)) for to, data in came)
        expected = Counter((to, as_it_is(out)) for to, out in result.outputs if to != LOCAL_PORT)
        if got != expected:
            met = "\n".join(map(str, result.trail))
            raise AssertionError(f"{sent} at {port}:\n{met}\n{self.world!r}\ncame {got}\nnot {expected}")
        return set(got)


def test_a_datapath_does_what_the_evaluator_says(switch_with_ports: Switch) -> None:
    switch = switch_with_ports
    for punt in Punt:
        meter = f"meter={punt.value},pktps,burst,band=type=drop,rate={RATES_PPS[punt]},burst_size={RATES_PPS[punt]}"
        switch.run("ovs-ofctl", "-O", "OpenFlow14", "add-meter", switch.target, meter)
    seen: Counter[str] = Counter()
    for seed in range(40):
        pick = Random(seed).choice
        world = make_world(pick)
        world = replace(world, policy=of_one_address(world.policy))
        datapath, story = Datapath(switch, world), Story(pick, world)
        for at in range(24):
            if at == 12:
                datapath.load(with_rules(pick, world.policy))
            port, frame = story.next()
            got = datapath.send(port, frame)
            story.heard(got or set())
            seen["delivered"] += bool(got)
            seen["routed"] += any(out.get("nw_ttl") for _, out in got or ())
            seen["rewritten"] += any(out.get(name) != frame.get(name) for _, out in got or () for name in ADDRESSES)
    assert min(seen["delivered"], seen["routed"], seen["rewritten"]) > 10, seen
