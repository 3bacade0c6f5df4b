"""What a policy means for a packet: the reference that compiled flows are held against. PURE.

Written from the policy's words only and without any knowledge of tables, so that agreement of the two says something.
`judge` follows one frame through its `steps`; what it says is known afterwards goes into the next call, also when the
policy changes in between. It favours being read over being fast. `reachability` says who reaches whom without a packet.

    steps -> speaking, answering, forwarding        who may send what, what the switch answers, who gets what
          -> course -> rules, tracking -> grouping  whether the connection may be; connections tells them apart
          -> router, segments -> rewriting          from network to network, from and to the outside
                              -> uplinks
"""

from controller.policy.meaning.connections import FiveTuple
from controller.policy.meaning.course import Punted
from controller.policy.meaning.known import NOTHING_KNOWN, ROUTED, Connection, Known, Learned
from controller.policy.meaning.reachability import Row, changed_pairs, matrix, pairs, reachable
from controller.policy.meaning.steps import NO_UPLINKS, Verdict, deliver, judge
from controller.policy.meaning.tracking import tracked_networks

__all__ = [
    "NOTHING_KNOWN",
    "NO_UPLINKS",
    "ROUTED",
    "Connection",
    "FiveTuple",
    "Known",
    "Learned",
    "Punted",
    "Row",
    "Verdict",
    "changed_pairs",
    "deliver",
    "judge",
    "matrix",
    "pairs",
    "reachable",
    "tracked_networks",
]
