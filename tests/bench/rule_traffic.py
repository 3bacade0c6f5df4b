"""TCP through rules and conntrack, against plain bridges that learn MACs, with conntrack and without. I/O."""

from __future__ import annotations

from collections.abc import Iterator
from statistics import median

from tests.bench.policies import Document
from tests.bench.row import Row
from tests.bench.two_members import SECONDS, measure, network
from tests.rig.host import BRIDGE

ROUNDS = 9
LEAST_RATIO = 0.9
PLAIN, TRACKED = "br1", "br2"
FLOWS = {
    PLAIN: "actions=NORMAL",
    TRACKED: """
        priority=2,ip,ct_state=-trk actions=ct(table=0)
        priority=1,ip,ct_state=+trk+new actions=ct(commit),NORMAL
        priority=0 actions=NORMAL
    """,
}
"""What a bridge is that forwards, and the least that one is that tracks connections, too."""


def run() -> Iterator[Row]:
    rates = measure(_policy(), FLOWS, ROUNDS)
    what = f"TCP by a rule, all else dropped, against a plain NORMAL bridge, {ROUNDS} rounds of {SECONDS} s each"
    yield _row(what, rates[BRIDGE], rates[PLAIN], LEAST_RATIO)
    yield _row("the same against that bridge with one bare ct()", rates[BRIDGE], rates[TRACKED], None)
    yield _row("that bridge with one bare ct() against the plain one", rates[TRACKED], rates[PLAIN], None)


def _policy() -> Document:
    """The connection is what the last rule of the last tier is about."""
    several = [
        {"name": f"other{i}", "tier": "first", "action": "drop", "to": "servers", "proto": "tcp", "ports": [6000 + i]}
        for i in range(20)
    ]
    last = {"name": "iperf", "tier": "last", "from": "web1", "to": "servers", "proto": "tcp", "ports": [5201]}
    return {
        **network(),
        "defaults": {"intra_network": "drop"},
        "groups": {"servers": {"members": ["web2"]}},
        "tiers": ["first", "last"],
        "rules": [*several, {**last, "action": "allow"}],
    }


def _row(what: str, ours: list[float], theirs: list[float], least: float | None) -> Row:
    ratios = sorted(one / other for one, other in zip(ours, theirs, strict=True))
    measured = f"{median(ratios):.3f} times ({ratios[0]:.2f} to {ratios[-1]:.2f}; "
    measured += f"{median(ours):.2f} and {median(theirs):.2f} Gbit/s)"
    return Row(what, measured, f">= {least}" if least else "", least is None or median(ratios) >= least)
