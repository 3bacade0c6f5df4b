"""How a flow hands a packet to the controller. PURE."""

from __future__ import annotations

from controller.flow.actions import Action, Load, ToController
from controller.flow.fields import PUNTED, Punt

MAX_BYTES = 1600
"""How much of a packet the controller gets: enough for a whole one that fits Ethernet, and for what an error quotes."""


def hand_over(reason: Punt) -> tuple[Action, ...]:
    """The packet as it is now goes to the controller, as fast as the reason's meter lets it."""
    return (Load(PUNTED, reason.value), ToController(MAX_BYTES, reason.value))
