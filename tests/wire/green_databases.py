"""Run as a program: `Databases` under green threads as in the controller, and how long its event loop was held.

Arguments: the number of ports, then remotes. One line of JSON a step: seconds until all hosts were in force, and the
longest time that the loop was held meanwhile.
"""

from __future__ import annotations

import json
import sys
import time
from datetime import UTC, datetime

import eventlet.tpool
from ryu.lib import hub

hub.patch()
import ryu.base.app_manager  # noqa: E402, F401 - before its controller, which needs it half made

from controller import process  # noqa: E402
from controller.framework import COMPUTING_THREADS, GreenLoop  # noqa: E402 - patched first, as ryu-manager does
from controller.hosts import WantedHost, WantedPort  # noqa: E402
from controller.ovsdb.databases import Databases  # noqa: E402
from controller.policy.model import Dpid  # noqa: E402

WITHIN_S = 30.0


class Ticker:
    """Asks to be woken after a millisecond, over and over; longest_s: what it waited beyond that at most.

    Only what the process computed in that time counts: a machine that has no processor for it holds everything.
    """

    def __init__(self) -> None:
        self.longest_s = 0.0
        hub.spawn(self._tick)

    def _tick(self) -> None:
        while True:
            before, cpu_before = time.monotonic(), time.process_time()
            hub.sleep(0.001)
            held_s = min(time.monotonic() - before - 0.001, time.process_time() - cpu_before)
            self.longest_s = max(self.longest_s, held_s)


def wanted(name: str, number: int, remote: str, n_ports: int) -> WantedHost:
    ports = tuple(WantedPort(f"p{port}", "br-a", "/endpoints", type="internal") for port in range(n_ports))
    return WantedHost(name, remote, "br-a", Dpid(number + 1), None, ports)


def main(n_ports: int, remotes: list[str]) -> None:
    changed = hub.Event()

    def note() -> None:
        if not changed.is_set():
            changed.set()

    process.settle()
    eventlet.tpool.set_num_threads(COMPUTING_THREADS)
    databases = Databases(GreenLoop(), lambda: datetime.now(UTC), (), tuple, note, 6653)
    ticker = Ticker()
    hub.sleep(0.05)
    for step, n in (("first", n_ports), ("one more", n_ports + 1), ("none", 0)):
        ticker.longest_s = 0.0
        began = time.monotonic()
        databases.want(tuple(wanted(f"h{i}", i, remote, n) for i, remote in enumerate(remotes)))
        while not all(seen.in_force for seen in databases.seen().values()):
            changed.wait(1.0)
            changed.clear()
            if time.monotonic() - began > WITHIN_S:
                raise SystemExit(f"{step}: {[seen.why for seen in databases.seen().values()]}")
        print(json.dumps({"step": step, "seconds": time.monotonic() - began, "held_s": ticker.longest_s}), flush=True)
    databases.close()


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2:])
