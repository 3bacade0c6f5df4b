"""For the outside: whether there is a way, and which neighbor on the uplink's segment is next. PURE."""

from __future__ import annotations

from collections.abc import Iterator

from controller.flow.actions import Action, DecTtl, Move, SetField
from controller.flow.fields import (
    ETH_TYPE,
    IPV4_DST,
    IPV6_DST,
    NETWORK,
    NEXT_HOP,
    NEXT_HOP6,
    NW_TTL,
    PUNTED,
    Punt,
    whole,
)
from controller.flow.flow import Flow
from controller.pipeline.ip_fields import fields_of, prefix
from controller.pipeline.punting import hand_over
from controller.pipeline.router_view import UplinkView
from controller.pipeline.stage import Emit, Miss, Priority, Stage
from controller.policy.model import Address, Cidr


def _next_hop(emit: Emit, view: UplinkView) -> Iterator[Flow]:
    here = NETWORK(view.number)
    # A segment goes before a route of the same prefix.
    ways: dict[Cidr, Address | None] = {route.to: route.via for route in view.uplink.routes}
    ways |= dict.fromkeys(view.segments, None)
    for cidr, via in ways.items():
        fields = fields_of(cidr)
        to: Action = Move(whole(fields.destination), fields.next_hop)
        why = "the address is on the uplink's segment"
        if via is not None:
            to, why = SetField(fields.next_hop.field, int(via)), "the next hop of this prefix"
        yield emit(
            "prefix",
            (here, fields.is_it, *prefix(fields.destination, cidr)),
            (to, DecTtl()),
            goto="track",
            rank=cidr.prefixlen,
            origin=view.origin,
            why=why,
        )
    yield emit(
        "nowhere",
        (here,),
        hand_over(Punt.UNREACHABLE),
        origin=view.origin,
        why="neither a segment nor a route of the uplink holds the address, and the sender is told",
    )


NEXT_HOP_STAGE = Stage(
    name="next_hop",
    purpose="For the outside: the neighbor on the uplink's segment that the packet is for next.",
    matches=frozenset({ETH_TYPE, IPV4_DST, IPV6_DST, NETWORK.field}),
    reads=frozenset({IPV4_DST, IPV6_DST}),
    writes=frozenset({NEXT_HOP.field, NEXT_HOP6.field, NW_TTL, PUNTED.field}),
    next=("track",),
    priorities={
        "prefix": Priority(100, "a segment or a route of the uplink, longer prefixes first", 129),
        "nowhere": Priority(50, "any other address"),
    },
    miss=Miss("only packets for the outside come here"),
    punts=True,
    uplink=_next_hop,
)
