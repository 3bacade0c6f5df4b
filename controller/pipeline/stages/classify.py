"""Which network a frame is in, by the port and the tag it came with. PURE."""

from __future__ import annotations

from collections.abc import Iterator

from controller.flow.actions import Clone, PopVlan, Resubmit, SetField
from controller.flow.fields import IN_PORT, NETWORK, VLAN_VID
from controller.flow.flow import Flow
from controller.pipeline.stage import Emit, Miss, Priority, Stage
from controller.pipeline.view import MemberView, SharedView
from controller.policy.model import Attach

UNTAGGED = 0
PRESENT = 0x1000
"""OFPVID_PRESENT: the bit of vlan_vid that says that there is a tag."""


def _member(emit: Emit, member: MemberView) -> Iterator[Flow]:
    endpoint = member.endpoint
    if endpoint.attach is Attach.UNTAGGED and endpoint.shared:
        return  # one flow for all its networks: _shared
    if member.tag is None:
        match = (IN_PORT(member.port), VLAN_VID(UNTAGGED))
        yield emit(
            "port",
            match,
            (SetField(NETWORK.field, member.number),),
            goto="source_mac",
            origin=member.origin,
            why="untagged frames of this port are in its one network",
        )
    else:
        yield emit(
            "port",
            (IN_PORT(member.port), VLAN_VID(PRESENT | member.tag)),
            (PopVlan(), SetField(NETWORK.field, member.number)),
            goto="source_mac",
            origin=member.origin,
            why="frames of this port with this tag are in the network whose tag it is",
        )


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


CLASSIFY = Stage(
    name="classify",
    purpose="Port and tag decide the network. An unknown port, and a tag that the port does not carry, end here.",
    matches=frozenset({IN_PORT, VLAN_VID}),
    writes=frozenset({NETWORK.field, VLAN_VID}),
    next=("source_mac",),
    priorities={"port": Priority(100, "a port of an endpoint, with or without its tag")},
    miss=Miss("no endpoint is bound to this port, or the port does not carry this tag"),
    member=_member,
    shared=_shared,
)
