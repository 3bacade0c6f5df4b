"""The router's addresses at an uplink are announced where they come to be. I/O; the switch is passed in.

Neighbors outside, and switches on the way to them, send there from then on what they sent elsewhere before: RFC 5227
section 2.3 and RFC 4861 section 7.2.6. Nothing depends on it but how soon that is.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import NamedTuple

from controller.errors import SwitchError
from controller.flow.actions import Output
from controller.frames.neighbors import announcement
from controller.loop import Loop
from controller.mac import Mac
from controller.pipeline.compile import Compiled
from controller.pipeline.router_view import UplinkView
from controller.policy.model import Address
from controller.switch import Sender

LOG = logging.getLogger("tripoint.announcing")

TIMES = 2
EVERY_S = 1.0


class AtUplink(NamedTuple):
    """The router has this address, at this MAC, on the segment behind a port."""

    port: int
    mac: Mac
    address: Address


def at_uplinks(compiled: Compiled) -> frozenset[AtUplink]:
    """All that the switch answers for on the uplinks of a bridge."""
    views = (unit.view for unit in compiled.others.values())
    return frozenset(
        AtUplink(view.port, view.mac, address)
        for view in views
        if isinstance(view, UplinkView)
        for address in view.answered()
    )


def announce(loop: Loop, switch: Sender, new: frozenset[AtUplink], present: Callable[[], frozenset[AtUplink]]) -> None:
    """Say it to the whole segment, and a second later once more, as long as it holds; a green thread's work.

    present: what the switch answers for by then.
    """
    for time in range(TIMES):
        if time:
            loop.waiter().wait(EVERY_S)
        for port, mac, address in sorted(new & present(), key=str):
            if not switch.alive:
                return
            try:
                switch.send_packet((Output(port),), announcement(address, mac))
            except SwitchError as error:
                LOG.warning("addresses not announced dpid=%016x error=%s", switch.dpid, error)
                return
