"""What a learned MAC leads to, and what becomes of one that nobody has been heard with. PURE."""

from __future__ import annotations

from collections.abc import Iterator

from controller.flow.actions import Load
from controller.flow.fields import NETWORK, OUT_PORT, TO_GROUP
from controller.flow.flow import Flow
from controller.pipeline.stage import Emit, Miss, Priority, Stage
from controller.pipeline.view import NetworkView
from controller.policy.model import Members


def _network(emit: Emit, view: NetworkView) -> Iterator[Flow]:
    if view.network.members is Members.OPEN:
        yield emit(
            "unknown",
            (NETWORK(view.network.number), OUT_PORT(0)),
            (Load(TO_GROUP, 1),),
            goto="track",
            origin=view.origin,
            why="a MAC that nobody has been heard with may be behind any port that learns",
        )


UNKNOWN = Stage(
    name="unknown",
    purpose="Frames for a learned MAC go on; those for an unknown one go to the ports of the network that learn.",
    matches=frozenset({NETWORK.field, OUT_PORT.field}),
    writes=frozenset({TO_GROUP.field}),
    next=("track",),
    priorities={"unknown": Priority(100, "no port was found in the table of learned MACs")},
    miss=Miss("the MAC has been learned", goto="track"),
    network=_network,
)
