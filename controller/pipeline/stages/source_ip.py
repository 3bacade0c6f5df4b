"""From which address: IPv4, ARP and IPv6 sources must be the member's own; no other ethertype passes. PURE."""

from __future__ import annotations

from collections.abc import Iterator

from controller.flow.actions import Action, SetField
from controller.flow.fields import (
    ARP_OP,
    ARP_SHA,
    ARP_SPA,
    ARP_TPA,
    ETH_DST,
    ETH_SRC,
    ETH_TYPE,
    FROM_HOST,
    ICMPV6_CODE,
    ICMPV6_TYPE,
    IN_PORT,
    IP_PROTO,
    IPV4_DST,
    IPV4_SRC,
    IPV6_DST,
    IPV6_SRC,
    LEARNED,
    ND_TARGET,
    NETWORK,
    SENDER_SET,
    UDP_DST,
    UDP_SRC,
    Term,
)
from controller.flow.flow import Flow
from controller.pipeline.ip_fields import NOBODYS, fields_of, prefix
from controller.pipeline.protocols import (
    ARP,
    ARP_REPLY,
    ARP_REQUEST,
    DHCP_CLIENT,
    DHCP_SERVER,
    GROUP_BIT,
    ICMPV6,
    IPV4,
    IPV4_BROADCAST,
    IPV4_MULTICAST,
    IPV4_MULTICAST_MASK,
    IPV6,
    IPV6_LINK_LOCAL,
    IPV6_LINK_LOCAL_MASK,
    IPV6_MULTICAST,
    IPV6_MULTICAST_MASK,
    LINK_CONTROL,
    NEIGHBOR_ADVERTISEMENT,
    UDP,
)
from controller.pipeline.router_view import RealmView
from controller.pipeline.stage import Emit, Miss, Priority, Stage
from controller.pipeline.view import BridgeView, CarriedView, MemberView, SenderSet, broadcasts_of

_DHCP = (
    ETH_TYPE(IPV4),
    IPV4_SRC(0),
    IPV4_DST(IPV4_BROADCAST),
    IP_PROTO(UDP),
    UDP_SRC(DHCP_CLIENT),
    UDP_DST(DHCP_SERVER),
)
_NOT_ROUTED: tuple[tuple[Term, ...], ...] = (
    (ETH_DST(GROUP_BIT, GROUP_BIT),),
    (ETH_TYPE(IPV4), IPV4_DST(IPV4_BROADCAST)),
    (ETH_TYPE(IPV4), IPV4_DST(IPV4_MULTICAST, IPV4_MULTICAST_MASK)),
    (ETH_TYPE(IPV6), IPV6_DST(IPV6_MULTICAST, IPV6_MULTICAST_MASK)),
    (ETH_TYPE(IPV6), IPV6_DST(IPV6_LINK_LOCAL, IPV6_LINK_LOCAL_MASK)),
    *((ETH_TYPE(IPV6), IP_PROTO(ICMPV6), ICMPV6_TYPE(kind)) for kind in LINK_CONTROL),
)
_DHCP_WHY = "a DHCP client has no address yet (RFC 2131 section 4.1)"


def _bridge(emit: Emit, _: BridgeView) -> Iterator[Flow]:
    yield emit("dhcp", _DHCP, goto="unsnat", origin="", why=_DHCP_WHY)
    # Open vSwitch reads arp_op 0 in ARP that is not about Ethernet and IPv4; other readers may be less strict.
    request, reply = (ETH_TYPE(ARP), ARP_OP(ARP_REQUEST)), (ETH_TYPE(ARP), ARP_OP(ARP_REPLY))
    onward = (((ETH_TYPE(IPV4),), "unsnat"), (request, "answer"), (reply, "answer"), ((ETH_TYPE(IPV6),), "source_nd"))
    for conditions, goto in onward:
        yield emit(
            "learned",
            (LEARNED(1), *conditions),
            goto=goto,
            origin="",
            why="a port that learns may use any address that is not declared for another",
        )


def _member(emit: Emit, member: MemberView) -> Iterator[Flow]:
    here: tuple[Term, ...] = (IN_PORT(member.port), NETWORK(member.number))
    if member.mac is None:
        yield _full(emit, here, member.origin)
        return
    if member.remote:
        here = (*here, ETH_SRC(member.mac.value))  # others share the port that leads to its host
    sha = ARP_SHA(member.mac.value)
    for ip in member.ipv4:
        yield emit(
            "own",
            (*here, ETH_TYPE(IPV4), IPV4_SRC(ip)),
            _ipv4_mark(member, ip),
            goto="unsnat",
            origin=member.origin,
            why="the member speaks from its own IPv4 address",
        )
        yield emit(
            "own",
            (*here, ETH_TYPE(ARP), sha, ARP_SPA(ip)),
            _ipv4_mark(member, ip),
            goto="answer",
            origin=member.origin,
            why="ARP names the member's own MAC and IPv4 address",
        )
        yield emit(
            "own",
            (*here, ETH_TYPE(ARP), ARP_OP(ARP_REQUEST), sha, ARP_SPA(0), ARP_TPA(ip)),
            _ipv4_mark(member, ip),
            goto="answer",
            origin=member.origin,
            why="the member probes for its own address before it uses it (RFC 5227 section 2.1.1)",
        )
    for ip in member.ipv6:
        yield emit(
            "own",
            (*here, ETH_TYPE(IPV6), IPV6_SRC(ip)),
            _ipv6_mark(member, ip),
            goto="source_nd",
            origin=member.origin,
            why="the member speaks from its own IPv6 address",
        )
    if member.ipv6:
        yield emit(
            "own",
            (*here, ETH_TYPE(IPV6), IPV6_SRC(0), IPV6_DST(IPV6_MULTICAST, IPV6_MULTICAST_MASK), IP_PROTO(ICMPV6)),
            _ipv6_mark(member, 0),
            goto="source_nd",
            origin=member.origin,
            why="duplicate address detection and multicast listener reports come from :: (RFC 4862, RFC 3810)",
        )
    if member.shared is not None:
        yield emit("own", (*here, *_DHCP), _ipv4_mark(member, 0), goto="unsnat", origin=member.origin, why=_DHCP_WHY)
    if member.open:
        yield from _declared_elsewhere(emit, member)
    yield from _beyond(emit, member, here)
    if member.remote:
        yield from _routed(emit, member)


def _beyond(emit: Emit, member: MemberView, here: tuple[Term, ...]) -> Iterator[Flow]:
    """What a member that is a router of its own may send besides: nothing from where its networks are."""
    for cidr in member.endpoint.routes:
        fields = fields_of(cidr)
        yield emit(
            "beyond",
            (*here, fields.is_it, *prefix(fields.source, cidr)),
            () if member.shared is None else _mark(member.shared.from_beyond()),
            goto="unsnat" if cidr.version == 4 else "source_nd",
            origin=member.origin,
            why="the member is a router, and the sender is behind it",
        )
    if member.endpoint.routes and member.router is not None:
        yield emit(
            "inside",
            (*here, ETH_DST(member.router.mac.value)),
            origin=member.origin,
            why="the network's own router serves members, not what is behind them",
        )
    if member.endpoint.routes:
        for cidr in (*member.beside, *NOBODYS):
            fields = fields_of(cidr)
            yield emit(
                "inside",
                (*here, fields.is_it, *prefix(fields.source, cidr)),
                origin=member.origin,
                why="a router's own networks are not behind it",
            )


def _carried(emit: Emit, view: CarriedView) -> Iterator[Flow]:
    if view.carried.learning:
        yield _full(emit, (IN_PORT(view.carried.port), NETWORK(view.network.number)), view.origin)
    yield from _from_router(emit, view)


def _full(emit: Emit, here: tuple[Term, ...], origin: str) -> Flow:
    why = "this port has macs_per_port MACs already, and this one is not among them"
    return emit("full", (*here, LEARNED(0)), origin=origin, why=why)


def _routed(emit: Emit, member: MemberView) -> Iterator[Flow]:
    """Frames that the router of the member's host has sent into another network, or back into this one."""
    if member.router is None:
        return
    here = (IN_PORT(member.port), ETH_SRC(member.router.mac.value))
    why = "another host has routed what its member sent"
    for ip in member.ipv4:
        match = (*here, ETH_TYPE(IPV4), IPV4_SRC(ip))
        yield emit("own", match, goto="unsnat", origin=member.origin, why=why)
    for ip in member.ipv6:
        if ip & IPV6_LINK_LOCAL_MASK == IPV6_LINK_LOCAL:
            continue
        match = (*here, ETH_TYPE(IPV6), IPV6_SRC(ip))
        yield emit("own", match, goto="source_nd", origin=member.origin, why=why)


def _from_router(emit: Emit, view: CarriedView) -> Iterator[Flow]:
    """Frames from outside, and what the router itself says, by way of the host that has the uplink."""
    router = view.place.router
    if router is None:
        return
    here = (IN_PORT(view.carried.port), NETWORK(view.network.number), ETH_SRC(router.mac.value))
    broadcasts = ((ETH_TYPE(IPV4), IPV4_DST(address)) for address in broadcasts_of(view.network))
    for terms in (*_NOT_ROUTED, *broadcasts):
        why = "no router passes on what is for many or of one link; it would count as from within the network"
        yield emit("never", (*here, *terms), origin=view.origin, why=why)
    if not view.carried.to_uplink:
        return
    for gateway in router.gateways:
        fields = fields_of(gateway)
        match = (*here, fields.is_it, fields.source(int(gateway)))
        yield emit(
            "own", match, goto="unsnat", origin=view.origin, why="the router says so, from the network's gateway"
        )
    for version, goto in ((IPV4, "unsnat"), (IPV6, "source_nd")):
        yield emit(
            "beyond",
            (*here, ETH_TYPE(version)),
            goto=goto,
            origin=view.origin,
            why="the host with the uplink has let it in from outside",
        )


def _realm(emit: Emit, view: RealmView) -> Iterator[Flow]:
    if view.router_mac is None:
        return
    for cidr in (*view.inside, *NOBODYS):
        fields = fields_of(cidr)
        yield emit(
            "inside",
            (FROM_HOST(1), ETH_SRC(view.router_mac.value), fields.is_it, *prefix(fields.source, cidr)),
            origin="",
            why="another host may route what its own members send and what is from outside, nothing else",
        )


def _ipv4_mark(member: MemberView, address: int) -> tuple[Action, ...]:
    return () if member.shared is None else _mark(member.shared.with_ipv4(address))


def _ipv6_mark(member: MemberView, address: int) -> tuple[Action, ...]:
    return () if member.shared is None else _mark(member.shared.with_ipv6(address))


def _mark(sender: SenderSet) -> tuple[Action, ...]:
    """What lets egress tell that the same frame comes through another network too."""
    return (SetField(SENDER_SET.field, sender.number),) if sender.number else ()


def _declared_elsewhere(emit: Emit, member: MemberView) -> Iterator[Flow]:
    here = (LEARNED(1), NETWORK(member.number))
    why = "this address is declared for one port and cannot be used from a port that learns"
    for ip in member.ipv4:
        for conditions in ((ETH_TYPE(IPV4), IPV4_SRC(ip)), (ETH_TYPE(ARP), ARP_SPA(ip))):
            yield emit("declared", (*here, *conditions), origin=member.origin, why=why)
    for ip in member.ipv6:
        advertised = (IP_PROTO(ICMPV6), ICMPV6_TYPE(NEIGHBOR_ADVERTISEMENT), ICMPV6_CODE(0), ND_TARGET(ip))
        for claim in ((IPV6_SRC(ip),), advertised):
            yield emit("declared", (*here, ETH_TYPE(IPV6), *claim), origin=member.origin, why=why)


SOURCE_IP = Stage(
    name="source_ip",
    purpose="The sender's address is the member's own in this network. What is not IPv4, ARP or IPv6 ends here.",
    matches=frozenset(
        {
            ARP_OP,
            ARP_SHA,
            ARP_SPA,
            ARP_TPA,
            ETH_DST,
            ETH_SRC,
            ETH_TYPE,
            ICMPV6_CODE,
            ICMPV6_TYPE,
            IN_PORT,
            IP_PROTO,
            IPV4_DST,
            IPV4_SRC,
            IPV6_DST,
            IPV6_SRC,
            LEARNED.field,
            ND_TARGET,
            NETWORK.field,
            UDP_DST,
            UDP_SRC,
        }
    ),
    writes=frozenset({SENDER_SET.field}),
    next=("source_nd", "answer", "unsnat"),
    priorities={
        "never": Priority(400, "as if routed on another host, what no router passes on"),
        "own": Priority(300, "a member with its own address, or without one yet"),
        "full": Priority(270, "a MAC that was neither declared nor learned, on a port that learns"),
        "dhcp": Priority(250, "a member that has no address yet"),
        "declared": Priority(200, "a declared address on a port that learns"),
        "inside": Priority(170, "an address of a network, from a member that is a router"),
        "beyond": Priority(160, "an address behind a member that is a router"),
        "learned": Priority(100, "any other address on a port that learns"),
    },
    miss=Miss("the source address is not the member's own, or the ethertype is not listed"),
    bridge=_bridge,
    realm=_realm,
    carried=_carried,
    member=_member,
)
