"""TCP between two members of one network: Tripoint's bridge against a plain bridge that learns MACs (NORMAL)."""

from __future__ import annotations

from statistics import median

from tests.bench.row import Row
from tests.bench.two_members import SECONDS, measure, network
from tests.rig.host import BRIDGE

ROUNDS = 9
LEAST_RATIO = 0.95
PLAIN = "br1"


def run() -> list[Row]:
    rates = measure(network(), {PLAIN: "actions=NORMAL"}, ROUNDS)
    ratios = [ours / plain for ours, plain in zip(rates[BRIDGE], rates[PLAIN], strict=True)]
    ours, plain = median(rates[BRIDGE]), median(rates[PLAIN])
    measured = f"{median(ratios):.3f} times ({min(ratios):.2f} to {max(ratios):.2f}; {ours:.2f} and {plain:.2f} Gbit/s)"
    what = f"TCP between two members of a network, against a plain NORMAL bridge, {ROUNDS} rounds of {SECONDS} s each"
    return [Row(what, measured, f">= {LEAST_RATIO}", median(ratios) >= LEAST_RATIO)]
