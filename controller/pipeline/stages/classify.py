"""Which network a frame is in, by the port and the tag it came with. PURE."""

from __future__ import annotations

from collections.abc import Iterator

from controller.flow.actions import Action, Clone, Load, PopVlan, Resubmit, SetField
from controller.flow.fields import FROM_HOST, IN_PORT, NETWORK, TUN_ID, VLAN_VID
from controller.flow.flow import Flow
from controller.pipeline.router_view import UplinkView
from controller.pipeline.stage import Emit, Miss, Priority, Stage
from controller.pipeline.view import CarriedView, MemberView, SharedView

UNTAGGED = 0
PRESENT = 0x1000
"""OFPVID_PRESENT: the bit of vlan_vid that says that there is a tag."""


def _carried(emit: Emit, view: CarriedView) -> Iterator[Flow]:
    carried, into = view.carried, (Load(FROM_HOST, 1), SetField(NETWORK.field, view.network.number))
    if carried.vni is not None:
        yield emit(
            "port",
            (IN_PORT(carried.port), TUN_ID(carried.vni), VLAN_VID(UNTAGGED)),
            into,
            goto="source_mac",
            origin=view.origin,
            why="frames in this tunnel with this vni are in the network whose vni it is",
        )
        return
    why = "frames on this trunk with this tag, or with none, are in the network that it tells"
    yield _classify(emit, carried.port, carried.tag, into, view.origin, why)


def _member(emit: Emit, member: MemberView) -> Iterator[Flow]:
    if member.remote or member.shared is not None:  # a shared member has one flow for all its networks: _shared
        return
    why = "frames of this port with this tag are in the network whose tag it is"
    if member.tag is None:
        why = "untagged frames of this port are in its one network"
    into = (SetField(NETWORK.field, member.number),)
    yield _classify(emit, member.port, member.tag, into, member.origin, why)


def _classify(emit: Emit, port: int, tag: int | None, into: tuple[Action, ...], origin: str, why: str) -> Flow:
    if tag is None:
        match, actions = (IN_PORT(port), VLAN_VID(UNTAGGED)), into
    else:
        match, actions = (IN_PORT(port), VLAN_VID(PRESENT | tag)), (PopVlan(), *into)
    return emit("port", match, actions, goto="source_mac", origin=origin, why=why)


def _shared(emit: Emit, view: SharedView) -> Iterator[Flow]:
    onward = Resubmit(emit.table("source_mac"))
    for member in view.members:
        copies = tuple(Clone((SetField(NETWORK.field, number), onward)) for number in member.networks)
        yield emit(
            "port",
            (IN_PORT(member.port), VLAN_VID(UNTAGGED)),
            copies,
            origin=member.origin,
            why="an untagged shared member sends into each of its networks",
        )


def _uplink(emit: Emit, view: UplinkView) -> Iterator[Flow]:
    into = (SetField(NETWORK.field, view.number),)
    yield _classify(emit, view.port, None, into, view.origin, "what comes in here is from the outside")


CLASSIFY = Stage(
    name="classify",
    purpose="Port and tag decide the network. An unknown port, and a tag that the port does not carry, end here.",
    matches=frozenset({IN_PORT, TUN_ID, VLAN_VID}),
    writes=frozenset({FROM_HOST.field, NETWORK.field, VLAN_VID}),
    next=("source_mac",),
    priorities={"port": Priority(100, "a port of an endpoint or an uplink, with or without its tag")},
    miss=Miss("no endpoint is bound to this port, or the port does not carry this tag"),
    carried=_carried,
    member=_member,
    shared=_shared,
    uplink=_uplink,
)
