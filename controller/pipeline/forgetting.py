"""Which translated connections have no flow any more that would translate them so. PURE.

What conntrack has once translated it translates for as long as packets come: a sender that never changes its port
would go on to where a forward led once. So that the policy in force is what holds, such connections are forgotten.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from controller.flow.actions import Ct, Nat
from controller.flow.connections import Connections, End
from controller.flow.fields import CT_IPV6_DST, CT_NW_DST, CT_NW_PROTO, CT_TP_DST
from controller.flow.flow import Flow
from controller.pipeline import TABLES

TRANSLATING = frozenset((TABLES["dnat"], TABLES["snat"]))
"""The tables in which flows commit translations."""
ADDRESSES_MAX = 256
"""Of a range that is wider, connections are left to time out."""


def forgotten(
    gone: Iterable[Flow], left: Iterable[Flow], before: frozenset[Connections] = frozenset()
) -> frozenset[Connections]:
    """What flows that are gone translated, and none that is left translates alike. before: what was so already."""
    found = before.union(_translated(gone))
    return found - frozenset(_translated(left)) if found else found


def _translated(flows: Iterable[Flow]) -> Iterator[Connections]:
    for flow in flows:
        if flow.table in TRANSLATING:
            for action in flow.actions:
                if isinstance(action, Ct) and isinstance(action.zone, int) and action.commit and action.nat is not None:
                    yield from _by(flow, action.zone, action.nat)


def _by(flow: Flow, zone: int, nat: Nat) -> Iterator[Connections]:
    if nat.kind == "src":
        for address in range(nat.first, min(nat.last, nat.first + ADDRESSES_MAX - 1) + 1):
            yield Connections(zone, nat.version, answers_to=End(address))
    else:
        values = {index: value for index, value, _ in flow.match}
        asked = values[(CT_NW_DST if nat.version == 4 else CT_IPV6_DST).index]
        port = values.get(CT_TP_DST.index)
        protocol = values.get(CT_NW_PROTO.index)
        led_to = End(nat.first, nat.ports[0] if nat.ports is not None else port)
        yield Connections(zone, nat.version, protocol, asked=End(asked, port), answers_from=led_to)
