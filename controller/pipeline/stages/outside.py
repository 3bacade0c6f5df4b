"""What comes in from an uplink: for the router only, from addresses that can be there. PURE.

The switch learns the neighbors' MACs from what they say in ARP and neighbor discovery.
"""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import ip_network

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


def _learn(emit: Emit, view: UplinkView, hop: Slice, address: Field, mac: Field, router: int | None = None) -> Learn:
    """router: the one address that is learned; it has a place of its own, which the others cannot take.

    A limit that is reached keeps a flow from being replaced (ofproto/ofproto.c, ofproto_flow_mod_learn), and a next
    router that comes back with another MAC from being heard. Its one address is limit enough.
    """
    told = ("neighbor", view.number) if router is None else ("neighbor", view.number, router)
    return Learn(
        table=emit.table("neighbors"),
        cookie=content_cookie(OWNER_LEARNED, told),
        priority=NEIGHBOR_PRIORITY,
        hard_timeout_s=0,
        limit=NEIGHBORS_MAX if router is None else 0,
        match=((NETWORK, NETWORK), (whole(address), hop)),
        loads=((whole(mac), whole(ETH_DST)),),
        idle_timeout_s=NEIGHBOR_IDLE_S,
    )


def _uplink(emit: Emit, view: UplinkView) -> Iterator[Flow]:
    yield from _arp(emit, view)
    yield from _discovery(emit, view)
    yield from _packets(emit, view)


def _sayings(view: UplinkView, version: int) -> Iterator[tuple[str, Cidr, int | None]]:
    """(priority, prefix, router): whose claims teach a MAC. Those of the next routers stand apart."""
    for via in dict.fromkeys(route.via for route in view.uplink.routes):
        if via.version == version:
            yield "router", ip_network(via), int(via)
    for cidr in view.segments:
        if cidr.version == version:
            yield "neighbor", cidr, None


_TAUGHT = "a neighbor says its address: the switch learns it, and the controller may have waited for it"


def _arp(emit: Emit, view: UplinkView) -> Iterator[Flow]:
    here = (NETWORK(view.number), ETH_TYPE(ARP))
    for address in view.answered():
        if address.version == 4:
            why = "this is the router's own address, which nobody else has"
            yield emit("own", (*here, ARP_SPA(int(address))), origin=view.origin, why=why)
    for nobodys in (ARP_SHA(0), ARP_SHA(GROUP_BIT, GROUP_BIT)):
        yield emit("silent", (*here, nobodys), origin=view.origin, why="this is nobody's MAC")
    for priority, cidr, router in _sayings(view, 4):
        told = (*here, *prefix(ARP_SPA, cidr))
        learn = _learn(emit, view, NEXT_HOP, ARP_SPA, ARP_SHA, router)
        yield emit(
            priority,
            (*told, ARP_OP(ARP_REQUEST)),
            (learn,),
            goto="answer",
            origin=view.origin,
            why="a neighbor asks, and says its own address",
        )
        replies = (*told, ARP_OP(ARP_REPLY))
        yield emit(priority, replies, (learn, *hand_over(Punt.NEIGHBOR)), origin=view.origin, why=_TAUGHT)
    # A router asks from whatever address it is about to answer from (Linux does, arp_announce=0).
    asks = (*here, ARP_OP(ARP_REQUEST))
    yield emit("asks", asks, goto="answer", origin=view.origin, why="a question from an address beyond the segment")


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
    nobody = (*asks, IPV6_SRC(0))
    yield emit("silent", nobody, origin=view.origin, why="who has no address yet cannot be answered (RFC 4861 7.2.4)")
    for said, mac in ((asks, ND_SLL), (tells, ND_TLL)):
        yield emit("silent", (*said, mac(0)), origin=view.origin, why="a message that names no MAC teaches nothing")
        yield emit("silent", (*said, mac(GROUP_BIT, GROUP_BIT)), origin=view.origin, why="this is nobody's MAC")
    for priority, cidr, router in _sayings(view, 6):
        yield emit(
            priority,
            (*asks, *prefix(IPV6_SRC, cidr)),
            (_learn(emit, view, NEXT_HOP6, IPV6_SRC, ND_SLL, router),),
            goto="answer",
            origin=view.origin,
            why="a neighbor asks, and says its own address",
        )
        learn = _learn(emit, view, NEXT_HOP6, ND_TARGET, ND_TLL, router)
        told = (*tells, *prefix(ND_TARGET, cidr))
        yield emit(priority, told, (learn, *hand_over(Punt.NEIGHBOR)), origin=view.origin, why=_TAUGHT)
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
    for address in view.addresses():
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
        "silent": Priority(800, "what names no MAC, or nobody's"),
        "router": Priority(750, "what teaches a next router's MAC"),
        "neighbor": Priority(700, "what teaches a neighbor's MAC"),
        "asks": Priority(600, "other questions"),
        "control": Priority(500, "other messages of the link"),
        "prefix": Priority(100, "where the sender is, longer prefixes first", 129),
    },
    miss=Miss("not for the router, or from nowhere"),
    punts=True,
    uplink=_uplink,
)
