"""To whom: one port for a known MAC, every member of the network for broadcast and multicast. PURE."""

from __future__ import annotations

from collections.abc import Iterator

from controller.flow.actions import Action, Resubmit, SetField
from controller.flow.fields import ETH_DST, NETWORK, OUT_PORT
from controller.flow.flow import Flow
from controller.pipeline.protocols import GROUP_BIT
from controller.pipeline.stage import Emit, Miss, Priority, Stage
from controller.pipeline.view import MemberView, NetworkView
from controller.policy.model import Members


def copies(emit: Emit, ports: tuple[int, ...]) -> tuple[Action, ...]:
    """One pass through egress for each port; Open vSwitch leaves out the port that the frame came from."""
    onward = Resubmit(emit.table("egress"))
    return tuple(action for port in ports for action in (SetField(OUT_PORT.field, port), onward))


def _network(emit: Emit, view: NetworkView) -> Iterator[Flow]:
    network = NETWORK(view.network.number)
    to_group = ETH_DST(GROUP_BIT, GROUP_BIT)
    yield emit(
        "group",
        (network, to_group),
        copies(emit, (*view.ports, *(carried.port for carried in view.carried))),
        origin=view.origin,
        why="broadcast and multicast go to every member of this network and no other",
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
        goto="egress",
        origin=member.origin,
        why="frames for this MAC go to the member's port and no other",
    )


FORWARD = Stage(
    name="forward",
    purpose="The target's MAC decides the port; broadcast and multicast go to the members of the network.",
    matches=frozenset({ETH_DST, NETWORK.field}),
    writes=frozenset({OUT_PORT.field}),
    next=("learned", "unknown", "egress"),
    priorities={
        "member": Priority(300, "the MAC of a declared member"),
        "group": Priority(200, "broadcast and multicast"),
        "learned": Priority(100, "any other MAC in an open network"),
    },
    miss=Miss("no member of this network has the target MAC"),
    network=_network,
    member=_member,
)
