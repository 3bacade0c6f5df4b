"""A copy for each member of the network, where a frame is for several. PURE."""

from __future__ import annotations

from collections.abc import Iterator

from controller.flow.actions import Action, Resubmit, SetField
from controller.flow.fields import ETH_DST, NETWORK, OUT_PORT, TO_GROUP
from controller.flow.flow import Flow
from controller.pipeline.protocols import GROUP_BIT
from controller.pipeline.stage import Emit, Miss, Priority, Stage
from controller.pipeline.view import NetworkView
from controller.policy.model import Members


def _copies(emit: Emit, ports: tuple[int, ...]) -> tuple[Action, ...]:
    """One pass through egress for each port; Open vSwitch leaves out the port that the frame came from."""
    onward = Resubmit(emit.table("egress"))
    return tuple(action for port in ports for action in (SetField(OUT_PORT.field, port), onward))


def _network(emit: Emit, view: NetworkView) -> Iterator[Flow]:
    to_all = (NETWORK(view.network.number), TO_GROUP(1))
    yield emit(
        "group",
        (*to_all, ETH_DST(GROUP_BIT, GROUP_BIT)),
        _copies(emit, (*view.ports, *(carried.port for carried in view.carried if carried.peopled))),
        origin=view.origin,
        why="broadcast and multicast go to every member of this network and no other",
    )
    if view.network.members is Members.OPEN:
        yield emit(
            "unknown",
            to_all,
            _copies(emit, (*view.learning, *(carried.port for carried in view.carried if carried.learning))),
            origin=view.origin,
            why="a MAC that nobody has been heard with may be behind any port that learns",
        )


SPREAD = Stage(
    name="spread",
    purpose="What is for all members of a network is copied for each of them.",
    matches=frozenset({ETH_DST, NETWORK.field, TO_GROUP.field}),
    writes=frozenset({OUT_PORT.field}),
    next=("egress",),
    priorities={
        "group": Priority(200, "broadcast and multicast"),
        "unknown": Priority(100, "a MAC that nobody has been heard with"),
    },
    miss=Miss("for one port", goto="egress"),
    network=_network,
)
