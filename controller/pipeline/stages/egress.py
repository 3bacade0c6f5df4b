"""What may be handed to a port: only what is for its networks, its MAC and its addresses. PURE.

The second of two checks: it holds even where a frame got this far that should not have.
"""

from __future__ import annotations

from collections.abc import Iterator

from controller.flow.fields import (
    ARP_OP,
    ARP_TPA,
    ETH_DST,
    ETH_TYPE,
    IPV4_DST,
    IPV6_DST,
    NETWORK,
    OUT_PORT,
    SENDER_SET,
)
from controller.flow.flow import Flow
from controller.pipeline.protocols import (
    ARP,
    ARP_REPLY,
    GROUP_BIT,
    IPV4,
    IPV4_BROADCAST,
    IPV4_MULTICAST,
    IPV4_MULTICAST_MASK,
    IPV6,
    IPV6_MULTICAST,
    IPV6_MULTICAST_MASK,
)
from controller.pipeline.stage import Emit, Miss, Priority, Stage
from controller.pipeline.view import BridgeView, MemberView, NetworkView, SharedView


def _bridge(emit: Emit, _: BridgeView) -> Iterator[Flow]:
    for conditions, why in (
        ((ETH_TYPE(IPV4), IPV4_DST(IPV4_BROADCAST)), "limited broadcast is for every member"),
        ((ETH_TYPE(IPV4), IPV4_DST(IPV4_MULTICAST, IPV4_MULTICAST_MASK)), "multicast is for every member"),
        ((ETH_TYPE(IPV6), IPV6_DST(IPV6_MULTICAST, IPV6_MULTICAST_MASK)), "multicast is for every member"),
        ((ETH_TYPE(ARP), ETH_DST(GROUP_BIT, GROUP_BIT)), "ARP to all is for every member"),
        ((ETH_TYPE(ARP), ARP_OP(ARP_REPLY), ARP_TPA(0)), "the answer to an ARP probe names no address (RFC 5227)"),
    ):
        yield emit("all", conditions, goto="deliver", origin="", why=why)


def _network(emit: Emit, view: NetworkView) -> Iterator[Flow]:
    for cidr in view.network.cidrs:
        if cidr.version == 4 and cidr.prefixlen < 31:
            yield emit(
                "all",
                (NETWORK(view.network.number), ETH_TYPE(IPV4), IPV4_DST(int(cidr.broadcast_address))),
                goto="deliver",
                origin=view.origin,
                why="the broadcast address of the network's prefix is for every member",
            )


def _member(emit: Emit, member: MemberView) -> Iterator[Flow]:
    here = (OUT_PORT(member.port), NETWORK(member.number))
    if member.mac is None:
        yield emit("own", here, goto="deliver", origin=member.origin, why="any MAC may be behind a port that learns")
        return
    for ip in member.ipv4:
        yield emit(
            "own",
            (*here, ETH_TYPE(IPV4), IPV4_DST(ip)),
            goto="deliver",
            origin=member.origin,
            why="the packet is for the member's own IPv4 address",
        )
        yield emit(
            "own",
            (*here, ETH_TYPE(ARP), ARP_TPA(ip)),
            goto="deliver",
            origin=member.origin,
            why="the ARP message is for the member's own IPv4 address",
        )
    for ip in member.ipv6:
        yield emit(
            "own",
            (*here, ETH_TYPE(IPV6), IPV6_DST(ip)),
            goto="deliver",
            origin=member.origin,
            why="the packet is for the member's own IPv6 address",
        )


def _shared(emit: Emit, view: SharedView) -> Iterator[Flow]:
    sets = {member.sender_set: member.networks for member in view.members}
    for number, networks in sets.items():
        for target in view.members:
            if all(sender is target for sender in view.members if sender.sender_set == number):
                continue
            for network in sorted(set(networks) & set(target.networks))[1:]:
                yield emit(
                    "twice",
                    (OUT_PORT(target.port), NETWORK(network), SENDER_SET(number)),
                    origin=target.origin,
                    why="this shared member gets the frame of that one through another network that both are in",
                )


EGRESS = Stage(
    name="egress",
    purpose="A frame is handed to a member only if it is for that member's MAC and addresses, or for all.",
    matches=frozenset(
        {ARP_OP, ARP_TPA, ETH_DST, ETH_TYPE, IPV4_DST, IPV6_DST, NETWORK.field, OUT_PORT.field, SENDER_SET.field}
    ),
    next=("deliver",),
    priorities={
        "twice": Priority(300, "a second copy between two untagged shared members"),
        "own": Priority(200, "for the member's own address"),
        "all": Priority(100, "for every member"),
    },
    miss=Miss("the packet is not for an address of the member that has the target MAC"),
    bridge=_bridge,
    network=_network,
    member=_member,
    shared=_shared,
)
