"""Finishes a neighbor advertisement. PURE.

Open vSwitch lets the target link-layer option be written only where the packet is an advertisement already, which the
flow before this stage made of it: hence a stage of its own (ovs-fields(7) nd_tll, nd_options_type).
"""

from __future__ import annotations

from collections.abc import Iterator

from controller.flow.actions import Move, SetField
from controller.flow.fields import (
    ETH_SRC,
    ETH_TYPE,
    ICMPV6_CODE,
    ICMPV6_TYPE,
    IP_PROTO,
    ND_OPTIONS_TYPE,
    ND_TLL,
    whole,
)
from controller.flow.flow import Flow
from controller.pipeline.protocols import ICMPV6, IPV6, NEIGHBOR_ADVERTISEMENT, TARGET_LINK_LAYER_OPTION
from controller.pipeline.stage import Emit, Miss, Priority, Stage
from controller.pipeline.view import BridgeView


def _bridge(emit: Emit, view: BridgeView) -> Iterator[Flow]:
    if not view.advertises:
        return
    yield emit(
        "advertisement",
        (ETH_TYPE(IPV6), IP_PROTO(ICMPV6), ICMPV6_TYPE(NEIGHBOR_ADVERTISEMENT), ICMPV6_CODE(0)),
        (SetField(ND_OPTIONS_TYPE, TARGET_LINK_LAYER_OPTION), Move(whole(ETH_SRC), whole(ND_TLL))),
        goto="egress",
        origin="",
        why="the answer carries the MAC of the member asked for",
    )


ADVERTISE = Stage(
    name="advertise",
    purpose="Puts the target's MAC into an advertisement that the switch has made.",
    matches=frozenset({ETH_TYPE, IP_PROTO, ICMPV6_TYPE, ICMPV6_CODE}),
    reads=frozenset({ETH_SRC}),
    writes=frozenset({ND_OPTIONS_TYPE, ND_TLL}),
    next=("egress",),
    priorities={"advertisement": Priority(100, "an advertisement made in the stage before")},
    miss=Miss("only advertisements come here"),
    bridge=_bridge,
)
