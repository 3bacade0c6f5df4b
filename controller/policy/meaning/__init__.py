"""What a policy means for a packet: the reference that compiled flows are held against. PURE.

Written from the policy's words only and without any knowledge of tables, so that agreement of the two says something.
`judge` follows a frame through seven steps: port, network, source check, answers, forwarding, egress check, delivery.
It favours being read over being fast. `reachable` answers who reaches whom without a packet.
"""

from controller.policy.meaning.here import NOTHING_LEARNED, Learned
from controller.policy.meaning.reachability import Row, matrix, pairs, pairs_of, reachable
from controller.policy.meaning.steps import Verdict, deliver, judge

__all__ = [
    "NOTHING_LEARNED",
    "Learned",
    "Row",
    "Verdict",
    "deliver",
    "judge",
    "matrix",
    "pairs",
    "pairs_of",
    "reachable",
]
