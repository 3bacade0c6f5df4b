"""A host's Open vSwitch that dies and comes back, as after a crash: what it had is in its database, or gone. I/O."""

from __future__ import annotations

import os
import signal
import time

from topologies import ovs
from topologies.ovs import SERVER, SWITCH, switch_of
from topologies.records import MARK_VARIABLE, Record


def restart_switch(record: Record, node: str) -> None:
    """Kills a node's ovs-vswitchd, and starts another that finds its bridges in the database.

    Returns when the new one answers, and its bridges' own ports are set up. Raises NetworkError.
    """
    _kill(record, node, SWITCH)
    _start(record, node, SWITCH)
    _set_up(record, node)


def stop_host(record: Record, node: str) -> None:
    """Kills both daemons of a node; its cables stay where they are."""
    for program in (SWITCH, SERVER):
        _kill(record, node, program)


def start_host(record: Record, node: str) -> None:
    """Starts what `stop_host` killed; returns like `restart_switch`. Raises NetworkError."""
    # A socket that nobody listens at any more would be taken for one that is ready.
    (switch_of(record, node).directory / "db.sock").unlink(missing_ok=True)
    for program in (SERVER, SWITCH):
        _start(record, node, program)
    ovs.wait(switch_of(record, node))
    _set_up(record, node)


def _kill(record: Record, node: str, program: str) -> None:
    role = f"{program} {switch_of(record, node).directory.name}"
    (old,) = (daemon for daemon in record.daemons if daemon.role == role)
    os.kill(old.pid, signal.SIGKILL)
    while old.alive:
        time.sleep(0.001)
    record.daemons.remove(old)


def _start(record: Record, node: str, program: str) -> None:
    env = {MARK_VARIABLE: record.id}
    record.add(ovs.start_program(switch_of(record, node), program, env, record.mode != "up"))


def _set_up(record: Record, node: str) -> None:
    switch = switch_of(record, node)
    ovs.wait_for_switch(switch)
    for bridge in record.lab.bridges.values():
        if bridge.node == node:
            ovs.set_up_local_port(switch, bridge)
