"""What a packet that a rule logs tells: who, to whom, by what. PURE."""

from __future__ import annotations

from controller.control import RuleEvent
from controller.directory import PuntView
from controller.flow.fields import NETWORK
from controller.flow.flow import Flow
from controller.frames.summary import summarize
from controller.policy.firewall import LogRate
from controller.replies import came_in
from controller.switch import PacketIn


def event_of(packet: PacketIn, flow: Flow, view: PuntView) -> tuple[RuleEvent, LogRate] | None:
    """The event, and how often its rule wants one; None where the flow is of no rule that logs, or the packet no IP.

    number, time and suppressed are for the log to fill in.
    """
    directory = view.directory
    rule, heads = directory.rule(flow.origin), summarize(packet.frame)
    if rule is None or rule.log is None or heads is None:
        return None
    network, target_network = came_in(packet), packet.read(NETWORK)
    source_port, target_port = heads.ports or (None, None)
    event = RuleEvent(
        number=0,
        time="",
        rule=rule.name,
        action=rule.action.value,
        bridge=view.name,
        dpid=f"{view.dpid:016x}",
        network=directory.name(network),
        target_network=directory.name(target_network),
        origin=directory.endpoint(network, heads.source),
        target=directory.endpoint(target_network, heads.target),
        protocol=heads.protocol,
        source_ip=str(heads.source),
        target_ip=str(heads.target),
        source_port=source_port,
        target_port=target_port,
        icmp=heads.icmp,
        suppressed=0,
    )
    return event, rule.log
