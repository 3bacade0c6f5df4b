"""The MACs that the switch has learned: its flows are written by the switch itself. PURE."""

from __future__ import annotations

from controller.flow.fields import ETH_DST, NETWORK, OUT_PORT
from controller.pipeline.stage import Miss, Stage

LEARNED_MACS = Stage(
    name="learned",
    purpose="MAC and network to port, as learned from frames; an entry goes when its MAC is silent for mac_age_s.",
    matches=frozenset({ETH_DST, NETWORK.field}),
    writes=frozenset({OUT_PORT.field}),
    next=(),
    priorities={},
    miss=Miss("this MAC has not been learned"),
    learns=True,
)
