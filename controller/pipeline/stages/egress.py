"""What may be handed to a port: only what is for its networks, its MAC and its addresses. PURE.

The second of two checks: it holds even where a frame got this far that should not have.
"""

from __future__ import annotations

from collections.abc import Iterator

from controller.flow.fields import (
    ADMITTED,
    ANSWERING,
    ARP_OP,
    ARP_TPA,
    ETH_DST,
    ETH_TYPE,
    FROM_HOST,
    ICMPV6_TYPE,
    IP_PROTO,
    IPV4_DST,
    IPV4_SRC,
    IPV6_DST,
    IPV6_SRC,
    NETWORK,
    OUT_PORT,
    SENDER_SET,
    Term,
)
from controller.flow.flow import Flow
from controller.pipeline.ip_fields import BY_VERSION, NOBODYS, fields_of, prefix
from controller.pipeline.protocols import (
    ARP,
    ARP_REPLY,
    ARP_REQUEST,
    GROUP_BIT,
    ICMPV6,
    IPV4,
    IPV4_BROADCAST,
    IPV4_MULTICAST,
    IPV4_MULTICAST_MASK,
    IPV6,
    IPV6_MULTICAST,
    IPV6_MULTICAST_MASK,
    NEIGHBOR_ADVERTISEMENT,
)
from controller.pipeline.router_view import UplinkView
from controller.pipeline.stage import Emit, Miss, Priority, Stage
from controller.pipeline.view import (
    BridgeView,
    CarriedView,
    MemberView,
    NetworkView,
    SenderSet,
    SharedMember,
    SharedView,
    broadcasts_of,
)
from controller.policy.model import Cidr

Conditions = tuple[Term, ...]

_FOR_ALL: tuple[tuple[Conditions, str], ...] = (
    ((ETH_TYPE(IPV4), IPV4_DST(IPV4_BROADCAST)), "limited broadcast is for every member"),
    ((ETH_TYPE(IPV4), IPV4_DST(IPV4_MULTICAST, IPV4_MULTICAST_MASK)), "multicast is for every member"),
    ((ETH_TYPE(IPV6), IPV6_DST(IPV6_MULTICAST, IPV6_MULTICAST_MASK)), "multicast is for every member"),
    ((ETH_TYPE(ARP), ARP_OP(ARP_REQUEST), ETH_DST(GROUP_BIT, GROUP_BIT)), "ARP to all is for every member"),
    ((ETH_TYPE(ARP), ARP_OP(ARP_REPLY), ETH_DST(GROUP_BIT, GROUP_BIT)), "ARP to all is for every member"),
    ((ETH_TYPE(ARP), ARP_OP(ARP_REPLY), ARP_TPA(0)), "the answer to an ARP probe names no address (RFC 5227)"),
)


def _ipv4(address: int) -> Conditions:
    return (ETH_TYPE(IPV4), IPV4_DST(address))


def _own(ipv4: tuple[int, ...], ipv6: tuple[int, ...]) -> Iterator[tuple[Conditions, str]]:
    for ip in ipv4:
        yield _ipv4(ip), "the packet is for the member's own IPv4 address"
        yield (ETH_TYPE(ARP), ARP_TPA(ip)), "the ARP message is for the member's own IPv4 address"
    for ip in ipv6:
        yield (ETH_TYPE(IPV6), IPV6_DST(ip)), "the packet is for the member's own IPv6 address"


def _behind(routes: tuple[Cidr, ...]) -> Iterator[tuple[Conditions, str]]:
    for cidr in routes:
        fields = fields_of(cidr)
        yield (fields.is_it, *prefix(fields.destination, cidr)), "the member is a router, and the target is behind it"


def _bridge(emit: Emit, _: BridgeView) -> Iterator[Flow]:
    for conditions, why in _FOR_ALL:
        yield emit("all", conditions, goto="deliver", origin="", why=why)


def _network(emit: Emit, view: NetworkView) -> Iterator[Flow]:
    for address in broadcasts_of(view.network):
        yield emit(
            "all",
            (NETWORK(view.network.number), *_ipv4(address)),
            goto="deliver",
            origin=view.origin,
            why="the broadcast address of the network's prefix is for every member",
        )


def _carried(emit: Emit, view: CarriedView) -> Iterator[Flow]:
    yield emit(
        "own",
        (OUT_PORT(view.carried.port), NETWORK(view.network.number)),
        goto="deliver",
        origin=view.origin,
        why="the network has members on other hosts",
    )
    yield emit(
        "between",
        (OUT_PORT(view.carried.port), FROM_HOST(1)),
        origin=view.origin,
        why="what came from another host never goes on to a third",
    )


def _leaving(emit: Emit, member: MemberView) -> Iterator[Flow]:
    """Out at the uplink under the member's own address, on whichever host the member is."""
    if member.leaves_by is None or member.router is None:
        return
    uplink = (OUT_PORT(member.leaves_by.port), NETWORK(member.leaves_by.uplink))
    for version, addresses in ((4, member.ipv4), (6, member.ipv6)):
        fields = BY_VERSION[version]
        for address in addresses:
            leaving = (*uplink, fields.is_it, fields.source(address))
            if version not in member.router.translates:
                why = "the member is known outside under its own address"
                yield emit("own", leaving, goto="deliver", origin=member.origin, why=why)
                continue
            for term in (ANSWERING(1), ADMITTED(1)):
                why = "who asked the member under its own address is answered from there"
                yield emit("own", (*leaving, term), goto="deliver", origin=member.origin, why=why)


def _member(emit: Emit, member: MemberView) -> Iterator[Flow]:
    yield from _leaving(emit, member)
    if member.remote:
        return
    here = (OUT_PORT(member.port), NETWORK(member.number))
    if member.mac is None:
        yield emit("own", here, goto="deliver", origin=member.origin, why="any MAC may be behind a port that learns")
        return
    for conditions, why in _own(member.ipv4, member.ipv6):
        yield emit("own", (*here, *conditions), goto="deliver", origin=member.origin, why=why)
    for conditions, why in _behind(member.endpoint.routes):
        yield emit("beyond", (*here, *conditions), goto="deliver", origin=member.origin, why=why)
    if member.endpoint.routes:
        for cidr in (*member.beside, *NOBODYS):
            fields = fields_of(cidr)
            match = (*here, fields.is_it, *prefix(fields.destination, cidr))
            yield emit("inside", match, origin=member.origin, why="a router's own networks are not behind it")


def _uplink(emit: Emit, view: UplinkView) -> Iterator[Flow]:
    here = (OUT_PORT(view.port), NETWORK(view.number))
    for terms in ((ETH_TYPE(ARP),), (ETH_TYPE(IPV6), IP_PROTO(ICMPV6), ICMPV6_TYPE(NEIGHBOR_ADVERTISEMENT))):
        yield emit("own", (*here, *terms), goto="deliver", origin=view.origin, why="the router answers its neighbors")
    for address in view.addresses():
        fields = fields_of(address)
        yield emit(
            "own",
            (*here, fields.is_it, fields.source(int(address))),
            goto="deliver",
            origin=view.origin,
            why="packets leave under an address that is known outside",
        )


def _shared(emit: Emit, view: SharedView) -> Iterator[Flow]:
    """Where a frame is admitted to several networks and the target takes it from several: only the first delivers."""
    senders: dict[SenderSet, set[str]] = {}
    for member in (*view.members, *view.remote):
        for one in member.sets():
            senders.setdefault(one, set()).add(member.endpoint)
    for target in view.members:
        own, behind = _taken(target), {c: set(target.networks) for c, _ in _behind(target.routes)}
        why = "this shared member gets the frame of that one through another network that both are in"
        for one, names in senders.items():
            if names == {target.endpoint}:
                continue
            for priority, taken in (("twice", own), ("twice_beyond", behind)):
                for conditions, networks in taken.items():
                    for network in sorted(one.networks & networks)[1:]:
                        match = (OUT_PORT(target.port), NETWORK(network), SENDER_SET(one.number), *conditions)
                        yield emit(priority, match, origin=target.origin, why=why)


def _taken(target: SharedMember) -> dict[Conditions, set[int]]:
    """What a shared member takes for itself, and in which of its networks."""
    taken: dict[Conditions, set[int]] = {}
    for seat in target.seated:
        broadcasts = ((_ipv4(address), "") for address in seat.broadcasts)
        for conditions, _ in (*_FOR_ALL, *broadcasts, *_own(seat.ipv4, seat.ipv6)):
            taken.setdefault(conditions, set()).add(seat.number)
    return taken


EGRESS = Stage(
    name="egress",
    purpose="A frame is handed to a member only if it is for that member's MAC and addresses, or for all.",
    matches=frozenset(
        {
            ADMITTED.field,
            ANSWERING.field,
            ARP_OP,
            ARP_TPA,
            ETH_DST,
            ETH_TYPE,
            FROM_HOST.field,
            IPV4_DST,
            IPV6_DST,
            NETWORK.field,
            OUT_PORT.field,
            SENDER_SET.field,
            ICMPV6_TYPE,
            IP_PROTO,
            IPV4_SRC,
            IPV6_SRC,
        }
    ),
    next=("deliver",),
    priorities={
        "between": Priority(400, "from one host to another"),
        "twice": Priority(300, "a second copy between two untagged shared members"),
        "own": Priority(200, "for the member's own address, or from one that is known outside"),
        "inside": Priority(95, "for an address of a network, to a member that is a router"),
        "twice_beyond": Priority(92, "a second copy of what is for behind one of them"),
        "beyond": Priority(90, "for an address behind a member that is a router"),
        "all": Priority(100, "for every member"),
    },
    miss=Miss("the packet is not for an address of the member that has the target MAC"),
    bridge=_bridge,
    network=_network,
    carried=_carried,
    member=_member,
    shared=_shared,
    uplink=_uplink,
)
