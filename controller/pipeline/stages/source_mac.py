"""Who speaks: the source MAC must be the member's own, or one that the switch has learned on its port. PURE."""

from __future__ import annotations

from collections.abc import Iterator

from controller.flow.actions import Learn
from controller.flow.fields import ETH_DST, ETH_SRC, ETH_TYPE, IN_PORT, LEARNED, NETWORK, OUT_PORT, VLAN_VID, whole
from controller.flow.flow import Flow
from controller.pipeline.protocols import GROUP_BIT, SERVICE_TAG, VLAN_TAG
from controller.pipeline.router_view import UplinkView
from controller.pipeline.stage import Emit, Miss, Priority, Stage
from controller.pipeline.view import BridgeView, CarriedView, MemberView, learned_cookie
from controller.policy.model import Network

TAG_PRESENT = 0x1000
RESERVED = 0x0180C2000000
"""01:80:c2:00:00:00 to :0f are for bridges themselves and never forwarded (IEEE 802.1Q table 8-1)."""
RESERVED_MASK = 0xFFFFFFFFFFF0
LEARNED_PRIORITY = 100


def _bridge(emit: Emit, _: BridgeView) -> Iterator[Flow]:
    refused = (
        # Open vSwitch parses as many tags as other_config:vlan-limit says; the next one is an ethertype to it.
        (VLAN_VID(TAG_PRESENT, TAG_PRESENT), "a second tag could hop into another network"),
        (ETH_TYPE(VLAN_TAG), "a second tag could hop into another network"),
        (ETH_TYPE(SERVICE_TAG), "a second tag could hop into another network"),
        (ETH_DST(RESERVED, RESERVED_MASK), "reserved multicast is between bridges, not between members"),
        (ETH_SRC(GROUP_BIT, GROUP_BIT), "a group address is no source"),
        (ETH_SRC(0), "the zero address is no source"),
    )
    for term, why in refused:
        yield emit("never", (term,), origin="", why=why)


def _member(emit: Emit, member: MemberView) -> Iterator[Flow]:
    here = (IN_PORT(member.port), NETWORK(member.number))
    if member.mac is not None:
        yield emit(
            "own",
            (*here, ETH_SRC(member.mac.value)),
            goto="source_ip",
            origin=member.origin,
            why="the member speaks with its own MAC",
        )
        if member.open:
            yield emit(
                "declared",
                (NETWORK(member.number), ETH_SRC(member.mac.value)),
                origin=member.origin,
                why="this MAC is declared for one port and cannot be learned on another",
            )
        return
    yield _learning(emit, member.network, member.port, 1, member.origin)


def _carried(emit: Emit, view: CarriedView) -> Iterator[Flow]:
    if view.place.router is not None:
        yield emit(
            "own",
            (IN_PORT(view.carried.port), NETWORK(view.network.number), ETH_SRC(view.place.router.mac.value)),
            goto="source_ip",
            origin=view.origin,
            why="another host has routed the frame",
        )
    if view.carried.learning:
        yield _learning(emit, view.network, view.carried.port, view.carried.learning, view.origin)


def _uplink(emit: Emit, view: UplinkView) -> Iterator[Flow]:
    yield emit(
        "own",
        (IN_PORT(view.port), NETWORK(view.number)),
        goto="outside",
        origin=view.origin,
        why="neighbors on an uplink have MACs of their own",
    )


def _learning(emit: Emit, network: Network, port: int, n_ports: int, origin: str) -> Flow:
    learn = Learn(
        table=emit.table("learned"),
        cookie=learned_cookie(network, port),
        priority=LEARNED_PRIORITY,
        hard_timeout_s=network.mac_age_s,
        limit=network.macs_per_port * n_ports,
        match=((NETWORK, NETWORK), (whole(ETH_SRC), whole(ETH_DST))),
        loads=((whole(IN_PORT), OUT_PORT),),
        result=LEARNED,
    )
    return emit(
        "learning",
        (IN_PORT(port), NETWORK(network.number)),
        (learn,),
        goto="source_ip",
        origin=origin,
        why="the MACs of this port are learned, as many as macs_per_port allows",
    )


SOURCE_MAC = Stage(
    name="source_mac",
    purpose="The source MAC is the member's own. Ports of an open network without a declared MAC have theirs learned.",
    matches=frozenset({IN_PORT, NETWORK.field, ETH_SRC, ETH_DST, ETH_TYPE, VLAN_VID}),
    reads=frozenset({NETWORK.field, ETH_SRC, IN_PORT}),
    writes=frozenset({LEARNED.field}),
    next=("source_ip", "outside", "learned"),
    priorities={
        "never": Priority(400, "frames that no member may send"),
        "own": Priority(300, "a member with its declared MAC"),
        "declared": Priority(200, "a declared MAC on a port that is not its own"),
        "learning": Priority(100, "any other MAC on a port that learns"),
    },
    miss=Miss("the source MAC is not the one declared for this port"),
    bridge=_bridge,
    carried=_carried,
    member=_member,
    uplink=_uplink,
)
