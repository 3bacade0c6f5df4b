"""Rules between groups: whole policies and single changes, and what becomes of packets meanwhile.

All with the controller's own process and a real ovs-vswitchd; where packets are meant, they are real.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from tests.bench import rule_changes, rule_swaps, rule_traffic
from tests.bench.row import Row
from tests.rig.controller import Refused
from topologies.netns import NetworkError


def run() -> Iterator[Row]:
    sections: dict[str, Callable[[], Iterator[Row]]] = {
        "many rules over groups": rule_changes.run,
        "TCP through rules": rule_traffic.run,
        "packets while rules change": rule_swaps.run,
    }
    for name, section in sections.items():
        try:
            yield from section()
        except (OSError, Refused, NetworkError) as error:
            # What stops one section is shown, and is no reason not to measure the others.
            yield Row(name, f"stopped: {error}", "an end", False)
