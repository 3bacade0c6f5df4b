"""Managed hosts: rows in their databases, many of them at once, one that dies and comes back, and TCP between two.

All with the controller's own process, real databases and real switches. `simulated` says what of the first ones is not
real; the last ones exchange packets.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator

from tests.bench import fleet, one_host, overlay
from tests.bench.holds import HELD_APP, HELD_S, read_holds
from tests.bench.row import Row
from tests.bench.simulated import begin
from tests.rig.controller import Controller, Refused
from tests.rig.host import host
from topologies.netns import NetworkError
from topologies.rest import RestError
from topologies.runner import BringUpError

HOSTS = 50
"""All there should be; with less memory than they need, as many as fit."""
HOST_MB = 60
"""A simulated host's two processes, all flows in."""


def run() -> Iterator[Row]:
    sections: dict[str, Callable[[], Iterator[Row]]] = {
        "a host with a thousand ports": _one_host,
        "many hosts": _fleet,
        "a host that dies and comes back": overlay.comes_back,
        "TCP through a tunnel": overlay.tcp,
    }
    for name, section in sections.items():
        try:
            yield from section()
        except (OSError, Refused, NetworkError, RestError, BringUpError) as error:
            # What stops one section is shown, and is no reason not to measure the others.
            yield Row(name, f"stopped: {error}", "an end", False)


def _one_host() -> Iterator[Row]:
    with host() as machine:
        controller = Controller(machine)
        controller.start(TRIPOINT_OVSDB="")
        ours, theirs = begin(machine, 2)
        yield from one_host.OneHost(controller.rest, ours, theirs).run()


def _fleet() -> Iterator[Row]:
    with host() as machine:
        held = machine.directory / "held"
        controller = Controller(machine, HELD_APP)
        controller.start(TRIPOINT_OVSDB="", TRIPOINT_HELD=str(held))
        hosts = begin(machine, how_many())
        began = time.monotonic()
        yield from fleet.Fleet(controller.rest, hosts).run()
        holds = read_holds(held, began, time.monotonic())
        what = f"the event loop held during all that, {len(hosts)} hosts, {holds.seconds:.0f} s"
        yield Row(what, f"{holds}; {_load()}", f"<= {HELD_S * 1000:g} ms of its own", holds.ok)
        used_mb = sum(one.memory_mb for one in hosts)
        measured = f"{controller.memory_mb():.0f} MB, at most {controller.memory_mb('VmHWM'):.0f} MB; "
        measured += f"the simulated hosts {used_mb:,.0f} MB"
        yield Row(f"memory of the controller with {len(hosts)} hosts", measured, "", True)


def how_many() -> int:
    """Hosts that fit into the memory that is free (proc(5), MemAvailable)."""
    with open("/proc/meminfo") as lines:
        free_mb = next(int(line.split()[1]) / 1024 for line in lines if line.startswith("MemAvailable:"))
    return max(2, min(HOSTS, int(free_mb / 2 / HOST_MB)))


def _load() -> str:
    return f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} processors"
