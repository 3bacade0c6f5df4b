"""Frames for the outside get the MAC of their next hop: learned by the switch, or asked for by the controller. PURE."""

from __future__ import annotations

from collections.abc import Iterator

from controller.flow.actions import Resubmit, SetField
from controller.flow.fields import (
    ETH_DST,
    ETH_SRC,
    NETWORK,
    NEXT_HOP,
    NEXT_HOP6,
    PUNTED,
    Punt,
)
from controller.flow.flow import Flow
from controller.pipeline.ip_fields import fields_of
from controller.pipeline.punting import hand_over
from controller.pipeline.router_view import UplinkView
from controller.pipeline.stage import Emit, Miss, Priority, Stage


def _leave(emit: Emit, view: UplinkView) -> Iterator[Flow]:
    yield emit(
        "outside",
        (NETWORK(view.number),),
        (SetField(ETH_SRC, view.mac.value), SetField(ETH_DST, 0), Resubmit(emit.table("neighbors"))),
        goto="resolve",
        origin=view.origin,
        why="the frame is from the router, for the neighbor that is its next hop",
    )


LEAVE = Stage(
    name="leave",
    purpose="Frames for the outside get the MAC of their next hop.",
    matches=frozenset({NETWORK.field}),
    writes=frozenset({ETH_DST, ETH_SRC}),
    next=("neighbors", "resolve", "spread"),
    priorities={"outside": Priority(100, "for the outside")},
    miss=Miss("for a member", goto="spread"),
    uplink=_leave,
)

NEIGHBORS = Stage(
    name="neighbors",
    purpose="Neighbors on uplinks, address to MAC, as learned from ARP and neighbor discovery.",
    matches=frozenset({NETWORK.field, NEXT_HOP.field, NEXT_HOP6.field}),
    writes=frozenset({ETH_DST}),
    next=(),
    priorities={},
    miss=Miss("this neighbor has not been heard of"),
    learns=True,
)


def _resolve(emit: Emit, view: UplinkView) -> Iterator[Flow]:
    unknown = (NETWORK(view.number), ETH_DST(0))
    why = "the controller asks for the neighbor's MAC, and sends the packet on when the answer comes"
    for via in dict.fromkeys(route.via for route in view.uplink.routes):
        match = (*unknown, fields_of(via).next_hop(int(via)))
        yield emit("router", match, hand_over(Punt.RESOLVE_ROUTER), origin=view.origin, why=why)
    yield emit("unknown", unknown, hand_over(Punt.RESOLVE), origin=view.origin, why=why)


RESOLVE = Stage(
    name="resolve",
    purpose="Packets whose next hop has not been heard of wait with the controller.",
    matches=frozenset({ETH_DST, NETWORK.field, NEXT_HOP.field, NEXT_HOP6.field}),
    writes=frozenset({PUNTED.field}),
    next=("spread",),
    priorities={
        "router": Priority(200, "the next router of a route was not found, on which everybody depends"),
        "unknown": Priority(100, "any other neighbor was not found"),
    },
    miss=Miss("the neighbor is known", goto="spread"),
    punts=True,
    uplink=_resolve,
)
