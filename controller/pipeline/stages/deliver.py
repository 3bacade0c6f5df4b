"""Out of the port, with the tag that the member expects. PURE."""

from __future__ import annotations

from collections.abc import Iterator

from controller.flow.actions import Action, Clone, Output, PushVlan, SetField
from controller.flow.fields import NETWORK, OUT_PORT, TUN_ID, VLAN_VID
from controller.flow.flow import Flow
from controller.pipeline.router_view import UplinkView
from controller.pipeline.stage import Emit, Miss, Priority, Stage
from controller.pipeline.stages.classify import PRESENT
from controller.pipeline.view import CarriedView, MemberView


def _carried(emit: Emit, view: CarriedView) -> Iterator[Flow]:
    carried = view.carried
    if carried.vni is not None:
        yield emit(
            "member",
            (OUT_PORT(carried.port), NETWORK(view.network.number)),
            (SetField(TUN_ID, carried.vni), Output(carried.port)),
            origin=view.origin,
            why="the host at the tunnel's end has members of this network, and tells it by this vni",
        )
        return
    why = "other hosts have members of this network, and tell it by this tag or by none"
    yield _deliver(emit, view.network.number, carried.port, carried.tag, view.origin, why)


def _member(emit: Emit, member: MemberView) -> Iterator[Flow]:
    if member.remote:
        return
    why = "the member receives plain frames of this network"
    if member.tag is not None:
        why = "the member receives frames of this network with its tag"
    yield _deliver(emit, member.number, member.port, member.tag, member.origin, why)


def _deliver(emit: Emit, network: int, port: int, tag: int | None, origin: str, why: str) -> Flow:
    actions: tuple[Action, ...] = (Output(port),)
    if tag is not None:
        # On a copy: the same frame may be on its way to members that want it without a tag.
        actions = (Clone((PushVlan(), SetField(VLAN_VID, PRESENT | tag), *actions)),)
    return emit("member", (OUT_PORT(port), NETWORK(network)), actions, origin=origin, why=why)


def _uplink(emit: Emit, view: UplinkView) -> Iterator[Flow]:
    yield _deliver(emit, view.number, view.port, None, view.origin, "the outside receives plain frames")


DELIVER = Stage(
    name="deliver",
    purpose="The frame leaves through the port, if the port is in the frame's network; tagged where the member is.",
    matches=frozenset({NETWORK.field, OUT_PORT.field}),
    writes=frozenset({TUN_ID, VLAN_VID}),
    next=(),
    priorities={"member": Priority(100, "a port in one of its networks")},
    miss=Miss("the port is not in this network"),
    outputs=True,
    carried=_carried,
    member=_member,
    uplink=_uplink,
)
