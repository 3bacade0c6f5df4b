"""The pipeline: the stages a frame passes, in order; a stage's table number is its place here. PURE.

To add a stage: one file in `stages/` and one line in PIPELINE.
"""

from __future__ import annotations

from controller.pipeline.stage import Emit, Stage
from controller.pipeline.stages.advertise import ADVERTISE
from controller.pipeline.stages.answer import ANSWER
from controller.pipeline.stages.classify import CLASSIFY
from controller.pipeline.stages.commit import COMMIT
from controller.pipeline.stages.default import DEFAULT
from controller.pipeline.stages.deliver import DELIVER
from controller.pipeline.stages.egress import EGRESS
from controller.pipeline.stages.ends import ORIGIN, TARGET
from controller.pipeline.stages.forward import FORWARD
from controller.pipeline.stages.inward import DNAT, UNSNAT
from controller.pipeline.stages.learned import LEARNED_MACS
from controller.pipeline.stages.leave import LEAVE, NEIGHBORS, RESOLVE
from controller.pipeline.stages.next_hop import NEXT_HOP_STAGE
from controller.pipeline.stages.outside import OUTSIDE
from controller.pipeline.stages.outward import SNAT, UNDNAT
from controller.pipeline.stages.route import ROUTE
from controller.pipeline.stages.rules import RULES
from controller.pipeline.stages.source_ip import SOURCE_IP
from controller.pipeline.stages.source_mac import SOURCE_MAC
from controller.pipeline.stages.source_nd import SOURCE_ND
from controller.pipeline.stages.spread import SPREAD
from controller.pipeline.stages.state import STATE
from controller.pipeline.stages.track import TRACK
from controller.pipeline.stages.unknown import UNKNOWN

PIPELINE: tuple[Stage, ...] = (
    CLASSIFY,
    SOURCE_MAC,
    SOURCE_IP,
    SOURCE_ND,
    OUTSIDE,
    ANSWER,
    ADVERTISE,
    UNSNAT,
    DNAT,
    ROUTE,
    NEXT_HOP_STAGE,
    FORWARD,
    LEARNED_MACS,
    UNKNOWN,
    TRACK,
    STATE,
    ORIGIN,
    TARGET,
    *RULES,
    DEFAULT,
    COMMIT,
    UNDNAT,
    SNAT,
    LEAVE,
    NEIGHBORS,
    RESOLVE,
    SPREAD,
    EGRESS,
    DELIVER,
)

TABLES: dict[str, int] = {stage.name: number for number, stage in enumerate(PIPELINE)}

LEARNED_TABLES: frozenset[int] = frozenset(TABLES[stage.name] for stage in PIPELINE if stage.learns)
"""Those whose flows the switch writes."""


def emitters() -> tuple[tuple[Stage, Emit], ...]:
    """Each stage with the one way to make its flows; a stage leads only to stages after it, or to itself never."""
    for number, stage in enumerate(PIPELINE):
        assert all(TABLES[name] > number for name in stage.next), f"{stage.name} leads backwards"
    return tuple((stage, Emit(stage, TABLES)) for stage in PIPELINE)


EMITTERS = emitters()
