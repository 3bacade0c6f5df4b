"""To whom: one port for a known MAC, every member of the network for broadcast and multicast. PURE."""

from __future__ import annotations

from collections.abc import Iterator

from controller.flow.actions import Load, Resubmit, SetField
from controller.flow.fields import ASKED, CAME_IN, ETH_DST, NETWORK, OUT_PORT, TO_GROUP
from controller.flow.flow import Flow
from controller.pipeline.protocols import GROUP_BIT
from controller.pipeline.router_view import UplinkView
from controller.pipeline.stage import Emit, Miss, Priority, Stage
from controller.pipeline.view import MemberView, NetworkView
from controller.policy.model import Members


def _network(emit: Emit, view: NetworkView) -> Iterator[Flow]:
    network = NETWORK(view.network.number)
    to_group = ETH_DST(GROUP_BIT, GROUP_BIT)
    yield emit(
        "group",
        (network, to_group),
        (Load(TO_GROUP, 1),),
        goto="track",
        origin=view.origin,
        why="broadcast and multicast are for every member of this network",
    )
    if view.network.members is Members.OPEN:
        yield emit(
            "learned",
            (network,),
            (Resubmit(emit.table("learned")),),
            goto="unknown",
            origin=view.origin,
            why="a MAC that is not declared may have been learned",
        )


def _member(emit: Emit, member: MemberView) -> Iterator[Flow]:
    if member.mac is None:
        return
    yield emit(
        "member",
        (NETWORK(member.number), ETH_DST(member.mac.value)),
        (SetField(OUT_PORT.field, member.port),),
        goto="track",
        origin=member.origin,
        why="frames for this MAC go to the member's port and no other",
    )


def _uplink(emit: Emit, view: UplinkView) -> Iterator[Flow]:
    """Where prefixes of networks overlap, the member that was found tells in which of them the target is."""
    for number in view.hidden:
        yield emit(
            "hidden",
            (NETWORK(number), CAME_IN(view.number), ASKED(0)),
            origin=view.origin,
            why="members of this network have no address of their own at this uplink: only rewrites lead to them",
        )


FORWARD = Stage(
    name="forward",
    purpose="The target's MAC decides the port; broadcast and multicast go to the members of the network.",
    matches=frozenset({ASKED.field, CAME_IN.field, ETH_DST, NETWORK.field}),
    writes=frozenset({OUT_PORT.field, TO_GROUP.field}),
    next=("learned", "unknown", "track"),
    priorities={
        "hidden": Priority(400, "from outside to a member that is not known there"),
        "member": Priority(300, "the MAC of a declared member"),
        "group": Priority(200, "broadcast and multicast"),
        "learned": Priority(100, "any other MAC in an open network"),
    },
    miss=Miss("no member of this network has the target MAC"),
    network=_network,
    member=_member,
    uplink=_uplink,
)
