"""Which connections flows translate. PURE.

What conntrack has once translated it translates for as long as packets come: a sender that never changes its port
would go on to where a forward led once. So that the policy in force is what holds, what no flow translates any more is
forgotten: those that were led in, when nothing leads there; those that were led out, when their address is none of
ours.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from controller.flow.actions import Ct, Nat
from controller.flow.connections import Connections, End
from controller.flow.fields import CT_IPV6_DST, CT_NW_DST, CT_NW_PROTO, CT_TP_DST, IPV4_DST, IPV6_DST
from controller.flow.flow import Flow
from controller.pipeline import TABLES

INWARDS = TABLES["dnat"]
"""Where flows commit that connections are led in."""
ANSWERS = TABLES["unsnat"]
"""Where flows lead answers back to connections that were led out."""


def translated(flows: Iterable[Flow]) -> frozenset[Connections]:
    """All that the flows translate."""
    return frozenset(_translated(flows))


def _translated(flows: Iterable[Flow]) -> Iterator[Connections]:
    for flow in flows:
        if flow.table in (INWARDS, ANSWERS):
            for action in flow.actions:
                if isinstance(action, Ct) and isinstance(action.zone, int) and action.nat is not None:
                    if flow.table == ANSWERS:
                        yield _led_out(flow, action.zone)
                    elif action.commit:
                        yield _led_in(flow, action.zone, action.nat)


def _led_out(flow: Flow, zone: int) -> Connections:
    values = {index: value for index, value, _ in flow.match}
    version = 4 if IPV4_DST.index in values else 6
    return Connections(zone, version, answers_to=End(values[(IPV4_DST if version == 4 else IPV6_DST).index]))


def _led_in(flow: Flow, zone: int, nat: Nat) -> Connections:
    values = {index: value for index, value, _ in flow.match}
    asked = values[(CT_NW_DST if nat.version == 4 else CT_IPV6_DST).index]
    port = values.get(CT_TP_DST.index)
    led_to = End(nat.first, nat.ports[0] if nat.ports is not None else port)
    return Connections(zone, nat.version, values.get(CT_NW_PROTO.index), asked=End(asked, port), answers_from=led_to)
