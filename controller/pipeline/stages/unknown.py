"""What a learned MAC leads to, and what becomes of one that nobody has been heard with. PURE."""

from __future__ import annotations

from collections.abc import Iterator

from controller.flow.fields import NETWORK, OUT_PORT
from controller.flow.flow import Flow
from controller.pipeline.stage import Emit, Miss, Priority, Stage
from controller.pipeline.stages.forward import copies
from controller.pipeline.view import NetworkView
from controller.policy.model import Members


def _network(emit: Emit, view: NetworkView) -> Iterator[Flow]:
    if view.network.members is Members.OPEN:
        yield emit(
            "unknown",
            (NETWORK(view.network.number), OUT_PORT(0)),
            copies(emit, (*view.learning, *(carried.port for carried in view.carried if carried.learning))),
            origin=view.origin,
            why="a MAC that nobody has been heard with may be behind any port that learns",
        )


UNKNOWN = Stage(
    name="unknown",
    purpose="Frames for a learned MAC go on; those for an unknown one go to the ports of the network that learn.",
    matches=frozenset({NETWORK.field, OUT_PORT.field}),
    writes=frozenset({OUT_PORT.field}),
    next=("egress",),
    priorities={"unknown": Priority(100, "no port was found in the table of learned MACs")},
    miss=Miss("the MAC has been learned", goto="egress"),
    network=_network,
)
