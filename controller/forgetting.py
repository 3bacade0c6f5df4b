"""Connections that are translated no more are forgotten, once flows are in force and for a while after. I/O, passed in.

A switch says that flows are in force before the last packets have stopped going by the old ones, from a cache. One of
these may begin a connection anew, translated as before.
"""

from __future__ import annotations

import logging
from functools import partial

from controller.bridge import Bridge
from controller.errors import SwitchError
from controller.loop import Loop
from controller.switch import Switch

LOG = logging.getLogger("tripoint.forgetting")

AGAIN_AFTER_S = (0.1, 0.4, 0.4)
"""The cache is looked through in milliseconds, on a switch with very much traffic within half a second."""


def forget(loop: Loop, bridge: Bridge, switch: Switch) -> None:
    """Have the switch forget all that it is to, now and some times again. Raises SwitchError."""
    connections = bridge.forget
    if connections:
        switch.forget(connections)
        loop.spawn(partial(_again, loop, bridge, switch))


def _again(loop: Loop, bridge: Bridge, switch: Switch) -> None:
    connections = bridge.forget
    for wait_s in AGAIN_AFTER_S:
        loop.waiter().wait(wait_s)
        try:
            switch.forget(connections & bridge.forget)
        except SwitchError as error:
            LOG.info("not forgotten yet dpid=%016x error=%s", bridge.dpid, error)  # the next connection begins with it
            return
    bridge.forget -= connections
