"""What a bridge has installed, how long and how often used, as ovs-ofctl(8) dump-flows tells it. I/O; for tests."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass

from tests.rig.host import BRIDGE, Host

_LINE = re.compile(
    r"^ *(cookie=\w+), duration=([\d.]+)s, (table=\d+), n_packets=(\d+), n_bytes=\d+, (?:idle_age=\d+, )?(.*)$"
)


@dataclass(frozen=True, slots=True)
class Used:
    """duration_s: since it was installed."""

    duration_s: float
    n_packets: int


@dataclass(frozen=True, slots=True)
class Installed:
    """Every flow, by its whole content; and when it was looked."""

    at: float
    flows: dict[str, Used]

    def run_on(self, before: Installed) -> list[str]:
        """The flows of `before` that are still there but are not those same ones: installed anew, or counting anew."""
        return [
            flow
            for flow, was in before.flows.items()
            if (now := self.flows.get(flow)) is not None
            and (now.duration_s < was.duration_s + (self.at - before.at) - 0.5 or now.n_packets < was.n_packets)
        ]


def installed(host: Host, bridge: str = BRIDGE) -> Installed:
    """Raises ValueError for a line that cannot be read."""
    flows: dict[str, Used] = {}
    at = time.monotonic()
    for line in host.ofctl("dump-flows", bridge=bridge).splitlines():
        if "actions=" not in line:
            continue
        found = _LINE.match(line)
        if found is None:
            raise ValueError(line)
        cookie, duration, table, n_packets, rest = found.groups()
        flows[f"{cookie},{table},{rest}"] = Used(float(duration), int(n_packets))
    return Installed(at, flows)
