"""How many packets a second a switch hands to the controller, by reason. PURE.

A meter stands before each reason, so that a flood of one kind neither buries the controller nor starves the others.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from controller.flow.fields import Punt

RATES_PPS: Mapping[Punt, int] = MappingProxyType(
    {
        Punt.REJECT: 200,
        Punt.LOG: 100,
        Punt.TTL_EXCEEDED: 100,
        Punt.RESOLVE: 100,
        Punt.NEIGHBOR: 100,
        Punt.UNREACHABLE: 100,
        Punt.SOLICITATION: 100,
        Punt.RESOLVE_ROUTER: 100,
    }
)
"""Packets a second, as each switch's meter with the number of the reason counts them; bursts of one second's worth."""
