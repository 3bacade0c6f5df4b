"""Connections that are translated no more are forgotten, once flows are in force and for a while after. I/O, passed in.

A switch says that flows are in force before the last packets have stopped going by the old ones, from a cache. One of
these may begin a connection anew, translated as before.
"""

from __future__ import annotations

import logging
from contextlib import AbstractContextManager

from controller.bridge import Bridge
from controller.errors import SwitchError
from controller.flow.connections import Connections
from controller.loop import Loop
from controller.switch import Switch

LOG = logging.getLogger("tripoint.forgetting")

AGAIN_AFTER_S = (0.1, 0.4, 0.4)
"""The cache is looked through in milliseconds, on a switch with very much traffic within half a second."""


def forget(loop: Loop, lock: AbstractContextManager[object], bridge: Bridge, switch: Switch) -> None:
    """Have the switch forget all that it is to, now and some times again. Raises SwitchError.

    lock: guards what is desired of the bridge.
    """
    connections = bridge.given_up.connections
    if connections:
        switch.forget(connections)
        loop.spawn(lambda: _again(loop, lock, (bridge, switch), connections))


def _again(
    loop: Loop, lock: AbstractContextManager[object], where: tuple[Bridge, Switch], connections: frozenset[Connections]
) -> None:
    bridge, switch = where
    for wait_s in AGAIN_AFTER_S:
        loop.waiter().wait(wait_s)
        try:
            switch.forget(connections & bridge.given_up.connections)
        except SwitchError as error:
            LOG.info("not forgotten yet dpid=%016x error=%s", bridge.dpid, error)  # the next connection begins with it
            return
    with lock:
        # Else they may be to be forgotten once more, with what is under way.
        if bridge.in_force is not None and not (bridge.touched or bridge.busy):
            bridge.given_up.connections -= connections
