"""What comes in from an uplink: for the router only, from addresses that can be there. PURE.

The switch learns the neighbors' MACs from what they say in ARP and neighbor discovery.
"""

from __future__ import annotations

from collections.abc import Iterator

from controller.flow.actions import Action, Learn, SetField
from controller.flow.fields import (
    ARP_OP,
    ARP_SHA,
    ARP_SPA,
    ETH_DST,
    ETH_TYPE,
    ICMPV6_CODE,
    ICMPV6_TYPE,
    IP_PROTO,
    IPV4_SRC,
    IPV6_SRC,
    ND_SLL,
    ND_TARGET,
    ND_TLL,
    NETWORK,
    NEXT_HOP,
    NEXT_HOP6,
    NW_TTL,
    PUNTED,
    Field,
    Punt,
    Slice,
    Term,
    whole,
)
from controller.flow.flow import OWNER_LEARNED, Flow, content_cookie
from controller.pipeline.ip_fields import NOBODYS, fields_of, prefix
from controller.pipeline.protocols import (
    ARP,
    ARP_REPLY,
    ARP_REQUEST,
    GROUP_BIT,
    ICMPV6,
    IPV6,
    LINK_CONTROL,
    NEIGHBOR_ADVERTISEMENT,
    NEIGHBOR_SOLICITATION,
)
from controller.pipeline.punting import hand_over
from controller.pipeline.router_view import UplinkView
from controller.pipeline.stage import Emit, Miss, Priority, Stage
from controller.policy.model import Cidr

NEIGHBORS_MAX = 4096
"""How many neighbors an uplink may have."""
NEIGHBOR_IDLE_S = 600
"""A neighbor that is neither heard of nor written to for so long is forgotten."""
NEIGHBOR_PRIORITY = 100
_NO_MAC = "a message that names no MAC of a neighbor teaches nothing (RFC 1812 section 3.3.2)"


def _learn(emit: Emit, view: UplinkView, hop: Slice, address: Field, mac: Field) -> Learn:
    return Learn(
        table=emit.table("neighbors"),
        cookie=content_cookie(OWNER_LEARNED, ("neighbor", view.number)),
        priority=NEIGHBOR_PRIORITY,
        hard_timeout_s=0,
        limit=NEIGHBORS_MAX,
        match=((NETWORK, NETWORK), (whole(address), hop)),
        loads=((whole(mac), whole(ETH_DST)),),
        idle_timeout_s=NEIGHBOR_IDLE_S,
    )


def _uplink(emit: Emit, view: UplinkView) -> Iterator[Flow]:
    yield from _arp(emit, view)
    yield from _discovery(emit, view)
    yield from _packets(emit, view)


def _arp(emit: Emit, view: UplinkView) -> Iterator[Flow]:
    here = (NETWORK(view.number), ETH_TYPE(ARP))
    learn = _learn(emit, view, NEXT_HOP, ARP_SPA, ARP_SHA)
    for address in view.answered():
        if address.version == 4:
            why = "this is the router's own address, which nobody else has"
            yield emit("own", (*here, ARP_SPA(int(address))), origin=view.origin, why=why)
    for cidr in view.segments:
        if cidr.version != 4:
            continue
        told = (*here, *prefix(ARP_SPA, cidr))
        yield emit(
            "neighbor",
            (*told, ARP_OP(ARP_REQUEST)),
            (learn,),
            goto="answer",
            origin=view.origin,
            why="a neighbor asks, and says its own address",
        )
        yield emit(
            "neighbor",
            (*told, ARP_OP(ARP_REPLY)),
            (learn, *hand_over(Punt.NEIGHBOR)),
            origin=view.origin,
            why="a neighbor says its address: the switch learns it, and the controller may have waited for it",
        )
    yield emit(
        "asks",
        (*here, ARP_OP(ARP_REQUEST)),
        goto="answer",
        origin=view.origin,
        why="a question from somewhere else, or from one who has no address yet",
    )
    for nobodys in (ARP_SHA(0), ARP_SHA(GROUP_BIT, GROUP_BIT)):
        yield emit("silent", (*here, nobodys), origin=view.origin, why=_NO_MAC)


def _discovery(emit: Emit, view: UplinkView) -> Iterator[Flow]:
    here = (NETWORK(view.number), ETH_TYPE(IPV6), IP_PROTO(ICMPV6))
    # From this link and no other: whoever forwards a packet counts its hop limit down (RFC 4861 section 11.2).
    asks = (*here, ICMPV6_TYPE(NEIGHBOR_SOLICITATION), ICMPV6_CODE(0), NW_TTL(255))
    tells = (*here, ICMPV6_TYPE(NEIGHBOR_ADVERTISEMENT), ICMPV6_CODE(0), NW_TTL(255))
    for address in view.answered():
        if address.version == 6:
            for claim in ((*asks, IPV6_SRC(int(address))), (*tells, ND_TARGET(int(address)))):
                why = "this is the router's own address, which nobody else has"
                yield emit("own", claim, origin=view.origin, why=why)
    for message, option in ((asks, ND_SLL), (tells, ND_TLL)):
        for nobodys in (option(0), option(GROUP_BIT, GROUP_BIT)):
            yield emit("silent", (*message, nobodys), origin=view.origin, why=_NO_MAC)
    for cidr in view.segments:
        if cidr.version != 6:
            continue
        yield emit(
            "neighbor",
            (*asks, *prefix(IPV6_SRC, cidr)),
            (_learn(emit, view, NEXT_HOP6, IPV6_SRC, ND_SLL),),
            goto="answer",
            origin=view.origin,
            why="a neighbor asks, and says its own address",
        )
        yield emit(
            "neighbor",
            (*tells, *prefix(ND_TARGET, cidr)),
            (_learn(emit, view, NEXT_HOP6, ND_TARGET, ND_TLL), *hand_over(Punt.NEIGHBOR)),
            origin=view.origin,
            why="a neighbor says its address: the switch learns it, and the controller may have waited for it",
        )
    yield emit("asks", asks, goto="answer", origin=view.origin, why="a question from a link-local address")
    for kind in LINK_CONTROL:
        why = "no router, and nobody's listener, is heard on an uplink"
        yield emit("control", (*here, ICMPV6_TYPE(kind)), origin=view.origin, why=why)


def _packets(emit: Emit, view: UplinkView) -> Iterator[Flow]:
    """Reverse path: from an address that packets would not go to by this uplink, nothing comes in either."""
    decided: dict[Cidr, bool] = dict.fromkeys((*view.segments, *(route.to for route in view.uplink.routes)), True)
    decided |= dict.fromkeys((*view.refused, *NOBODYS), False)
    own = (NETWORK(view.number), ETH_DST(view.mac.value))
    to_router: tuple[Action, ...] = ()
    if view.mac != view.router_mac:
        to_router = (SetField(ETH_DST, view.router_mac.value),)
    for address in view.own():
        fields = fields_of(address)
        yield emit(
            "own",
            (fields.is_it, fields.source(int(address))),
            origin=view.origin,
            why="this is the router's own address, which nobody else has",
        )
    for cidr, is_there in decided.items():
        fields = fields_of(cidr)
        match: tuple[Term, ...] = (*own, fields.is_it, *prefix(fields.source, cidr))
        if is_there:
            why = "the sender's address is behind this uplink"
            yield emit("prefix", match, to_router, goto="unsnat", rank=cidr.prefixlen, origin=view.origin, why=why)
        else:
            why = "nobody behind this uplink has such an address"
            yield emit("prefix", match, rank=cidr.prefixlen, origin=view.origin, why=why)


OUTSIDE = Stage(
    name="outside",
    purpose="From an uplink comes only what is for the router, from addresses that are behind that uplink.",
    matches=frozenset(
        {
            ARP_OP,
            ARP_SHA,
            ARP_SPA,
            ETH_DST,
            ETH_TYPE,
            ICMPV6_CODE,
            ICMPV6_TYPE,
            IPV4_SRC,
            IPV6_SRC,
            IP_PROTO,
            ND_SLL,
            ND_TARGET,
            ND_TLL,
            NETWORK.field,
            NW_TTL,
        }
    ),
    reads=frozenset({ARP_SHA, ARP_SPA, IPV6_SRC, ND_SLL, ND_TARGET, ND_TLL, NETWORK.field}),
    writes=frozenset({ETH_DST, PUNTED.field}),
    next=("answer", "unsnat", "neighbors"),
    priorities={
        "own": Priority(900, "addresses of the router"),
        "silent": Priority(800, "ARP and neighbor discovery that name no MAC of a neighbor"),
        "neighbor": Priority(700, "what teaches a neighbor's MAC"),
        "asks": Priority(600, "other questions"),
        "control": Priority(500, "other messages of the link"),
        "prefix": Priority(100, "where the sender is, longer prefixes first", 129),
    },
    miss=Miss("not for the router, or from nowhere"),
    punts=True,
    uplink=_uplink,
)
