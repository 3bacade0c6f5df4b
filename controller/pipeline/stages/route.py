"""From one network to another, and to the outside: what members send to the router's MAC. PURE.

Routing happens on the bridge where a packet enters. One router MAC serves all networks; a member is found by its
address wherever it is. For the outside a packet goes to the host that has the uplink as it is, and is routed there.
"""

from __future__ import annotations

from collections.abc import Iterator

from controller.flow.actions import Action, DecTtl, Load, Move, SetField
from controller.flow.fields import (
    CAME_IN,
    ETH_DST,
    ETH_SRC,
    ETH_TYPE,
    FROM_HOST,
    ICMP_CODE,
    ICMP_TYPE,
    ICMPV6_CODE,
    ICMPV6_TYPE,
    IN_PORT,
    IP_PROTO,
    IPV4_DST,
    IPV4_SRC,
    IPV6_DST,
    IPV6_SRC,
    NETWORK,
    NW_TTL,
    OUT_PORT,
    PUNTED,
    SENDER_SET,
    Field,
    Punt,
    Term,
    whole,
)
from controller.flow.flow import Flow
from controller.pipeline.ip_fields import BY_VERSION, fields_of, prefix
from controller.pipeline.protocols import (
    ICMP,
    ICMP_ECHO,
    ICMP_ECHO_REPLY,
    ICMPV6,
    ICMPV6_ECHO,
    ICMPV6_ECHO_REPLY,
    IPV4_BROADCAST,
    IPV4_MULTICAST,
    IPV4_MULTICAST_MASK,
    IPV6,
    IPV6_LINK_LOCAL,
    IPV6_LINK_LOCAL_MASK,
    IPV6_MULTICAST,
    IPV6_MULTICAST_MASK,
    LINK_CONTROL,
)
from controller.pipeline.punting import hand_over
from controller.pipeline.router_view import RealmView, Router, UplinkView
from controller.pipeline.stage import Emit, Miss, Priority, Stage
from controller.pipeline.view import MemberView, NetworkView
from controller.policy.model import Address

FIRST_TTL = 64
"""Of packets that the switch makes (RFC 1340)."""
_FROM_NETWORK = Move(NETWORK, CAME_IN)
_ECHO: dict[int, tuple[int, Field, Field, int, int]] = {
    4: (ICMP, ICMP_TYPE, ICMP_CODE, ICMP_ECHO, ICMP_ECHO_REPLY),
    6: (ICMPV6, ICMPV6_TYPE, ICMPV6_CODE, ICMPV6_ECHO, ICMPV6_ECHO_REPLY),
}
"""By IP version: protocol, type, code, and the types of a request and of its answer."""


def _realm(emit: Emit, view: RealmView) -> Iterator[Flow]:
    if view.router_mac is None:
        return
    to_router = ETH_DST(view.router_mac.value)
    for fields, value, mask in (
        (BY_VERSION[4], IPV4_MULTICAST, IPV4_MULTICAST_MASK),
        (BY_VERSION[4], IPV4_BROADCAST, IPV4_BROADCAST),
        (BY_VERSION[6], IPV6_MULTICAST, IPV6_MULTICAST_MASK),
        (BY_VERSION[6], IPV6_LINK_LOCAL, IPV6_LINK_LOCAL_MASK),
    ):
        match = (to_router, fields.is_it, fields.destination(value, mask))
        yield emit("never", match, origin="", why="this address means something on its own link only")
    from_link = (to_router, ETH_TYPE(IPV6), IPV6_SRC(IPV6_LINK_LOCAL, IPV6_LINK_LOCAL_MASK))
    yield emit("never", from_link, origin="", why="this sender is somebody on its own link only")
    for kind in LINK_CONTROL:
        control = (to_router, ETH_TYPE(IPV6), IP_PROTO(ICMPV6), ICMPV6_TYPE(kind))
        yield emit("never", control, origin="", why="messages of the link are no rule's, and so stay on it")
    for cidr in view.routed:
        fields = fields_of(cidr)
        yield emit(
            "nobody",
            (to_router, fields.is_it, *prefix(fields.destination, cidr)),
            (_FROM_NETWORK, *hand_over(Punt.UNREACHABLE)),
            origin="",
            why="no member that is present has this address, and the sender is told",
        )
    for fields in BY_VERSION.values():
        for ttl in (0, 1):
            yield emit(
                "spent",
                (to_router, fields.is_it, NW_TTL(ttl)),
                (_FROM_NETWORK, *hand_over(Punt.TTL_EXCEEDED)),
                origin="",
                why="the packet has used up its time to live, and its sender is told (RFC 1812 section 4.3.3.4)",
            )


def _network(emit: Emit, view: NetworkView) -> Iterator[Flow]:
    router = view.router
    if router is None:
        return
    here = (NETWORK(view.network.number), ETH_DST(router.mac.value))
    for gateway in router.gateways:
        yield from _gateway(emit, view, router, gateway)
        fields = fields_of(gateway)
        yield emit(
            "closed",
            (ETH_DST(router.mac.value), fields.is_it, fields.destination(int(gateway))),
            origin=view.origin,
            why="this is the router's address in one network, and in others nobody's",
        )
    for fields in BY_VERSION.values():
        match = (*here, fields.is_it)
        way_out = router.way_out
        if way_out is None:
            yield emit(
                "outside",
                match,
                (_FROM_NETWORK, *hand_over(Punt.UNREACHABLE)),
                origin=view.origin,
                why="the network has no way to the outside here, and the sender is told",
            )
        elif way_out.here:
            yield emit(
                "outside",
                match,
                (_FROM_NETWORK, SetField(NETWORK.field, way_out.uplink), SetField(OUT_PORT.field, way_out.port)),
                goto="next_hop",
                origin=view.origin,
                why="no member has this address: the packet is for the outside, by the network's uplink",
            )
        else:
            yield emit(
                "outside",
                match,
                (_FROM_NETWORK, SetField(OUT_PORT.field, way_out.port)),
                goto="track",
                origin=view.origin,
                why="no member has this address: the packet goes to the host with the uplink, which routes it",
            )


def _gateway(emit: Emit, view: NetworkView, router: Router, gateway: Address) -> Iterator[Flow]:
    fields = fields_of(gateway)
    for_it: tuple[Term, ...] = (
        NETWORK(view.network.number),
        ETH_DST(router.mac.value),
        fields.is_it,
        fields.destination(int(gateway)),
    )
    protocol, kind, code, request, answer = _ECHO[gateway.version]
    yield emit(
        "echo",
        (*for_it, IP_PROTO(protocol), kind(request), code(0)),
        (
            Move(whole(IN_PORT), OUT_PORT),
            *_leave_anywhere(),
            Move(whole(ETH_SRC), whole(ETH_DST)),
            SetField(ETH_SRC, router.mac.value),
            Move(whole(fields.source), whole(fields.destination)),
            SetField(fields.source, int(gateway)),
            SetField(kind, answer),
            SetField(NW_TTL, FIRST_TTL),
        ),
        goto="egress",
        origin=view.origin,
        why="the gateway answers an echo request",
    )
    yield emit("gateway", for_it, origin=view.origin, why="the gateway offers nothing but an answer to echo requests")


def _leave_anywhere() -> tuple[Action, ...]:
    """What was true of the packet that came in is not of the one that the router sends: it may go back there."""
    return (SetField(IN_PORT, 0), SetField(SENDER_SET.field, 0), Load(FROM_HOST, 0))


def _member(emit: Emit, member: MemberView) -> Iterator[Flow]:
    if member.router is None or member.mac is None:
        return
    router_mac = member.router.mac.value
    for version, addresses in ((4, member.ipv4), (6, member.ipv6)):
        fields = BY_VERSION[version]
        for address in addresses:
            if version == 6 and address & IPV6_LINK_LOCAL_MASK == IPV6_LINK_LOCAL:
                continue
            yield emit(
                "member",
                (ETH_DST(router_mac), fields.is_it, fields.destination(address)),
                (
                    _FROM_NETWORK,
                    SetField(NETWORK.field, member.number),
                    SetField(ETH_SRC, router_mac),
                    SetField(ETH_DST, member.mac.value),
                    DecTtl(),
                    SetField(IN_PORT, 0),
                    SetField(SENDER_SET.field, 0),
                ),
                goto="forward",
                origin=member.origin,
                why="this member of a routed network has the address",
            )


def _uplink(emit: Emit, view: UplinkView) -> Iterator[Flow]:
    here = (NETWORK(view.number), ETH_DST(view.router_mac.value))
    for address in view.addresses():
        fields = fields_of(address)
        yield emit(
            "closed",
            (ETH_DST(view.router_mac.value), fields.is_it, fields.destination(int(address))),
            origin=view.origin,
            why="nothing is open at this address: no rewrite has led the packet on",
        )
    yield emit("absent", here, origin=view.origin, why="no member has this address, and nobody outside is told")


ROUTE = Stage(
    name="route",
    purpose="What is sent to the router's MAC goes to the member that has the address, or to the outside.",
    matches=frozenset(
        {
            ETH_DST,
            ETH_TYPE,
            ICMPV6_CODE,
            ICMPV6_TYPE,
            ICMP_CODE,
            ICMP_TYPE,
            IPV4_DST,
            IPV6_DST,
            IPV6_SRC,
            IP_PROTO,
            NETWORK.field,
            NW_TTL,
        }
    ),
    reads=frozenset({ETH_SRC, IN_PORT, IPV4_SRC, IPV6_SRC, NETWORK.field}),
    writes=frozenset(
        {
            CAME_IN.field,
            ETH_DST,
            ETH_SRC,
            FROM_HOST.field,
            ICMPV6_TYPE,
            ICMP_TYPE,
            IN_PORT,
            IPV4_DST,
            IPV4_SRC,
            IPV6_DST,
            IPV6_SRC,
            NETWORK.field,
            NW_TTL,
            OUT_PORT.field,
            PUNTED.field,
            SENDER_SET.field,
        }
    ),
    next=("next_hop", "forward", "track", "egress"),
    priorities={
        "echo": Priority(700, "an echo request to a gateway"),
        "gateway": Priority(600, "anything else for a gateway"),
        "never": Priority(500, "addresses that are not routed"),
        "closed": Priority(450, "gateways of other networks, and addresses of an uplink to which no rewrite led"),
        "spent": Priority(300, "packets that may not travel further"),
        "member": Priority(200, "the address of a member of a routed network"),
        "absent": Priority(175, "from outside for no member"),
        "nobody": Priority(150, "any other address of a routed network"),
        "outside": Priority(100, "any other address"),
    },
    miss=Miss("not for the router", goto="forward"),
    punts=True,
    realm=_realm,
    network=_network,
    member=_member,
    uplink=_uplink,
)
