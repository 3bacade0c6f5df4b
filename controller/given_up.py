"""What the conntrack of one bridge is to forget: connections that the policy translates no more. State; no I/O."""

from __future__ import annotations

from collections.abc import Iterable

from controller.flow.connections import Connections
from controller.flow.flow import Flow
from controller.pipeline.compile import Compiled
from controller.pipeline.translated import translated
from controller.policy.model import Uplink

NOTHING: frozenset[Connections] = frozenset()


class GivenUp:
    """connections: to be forgotten, once the flows are as they should be and for a while after. looked_back: whether
    those of the time before this controller are among them.
    """

    def __init__(self) -> None:
        self.connections = NOTHING
        self.looked_back = False
        self._held: dict[str, tuple[Uplink, frozenset[Connections]]] = {}
        """By name, uplinks whose ports are gone: as they were declared, and what was translated there. What of it the
        policy translates no more can be told when the port is back.
        """

    def __bool__(self) -> bool:
        return bool(self.connections or self._held)

    def look_back(self, connections: frozenset[Connections]) -> None:
        """Add what was translated before this controller was there; `note` keeps what still is."""
        self.looked_back = True
        self.connections |= connections

    def note(
        self, before: Compiled, after: Compiled, gone: frozenset[Connections], flows: Iterable[Flow], *, changed: bool
    ) -> None:
        """Another state is desired. gone: what flows translated that are desired no more; flows: all that are desired,
        read where needed.

        changed: the policy is another one, so that what is gone was given up; else a port has come or gone.
        """
        here, declared = after.uplinks, after.declared_uplinks
        for name, unit in before.uplinks.items():
            uplink = before.declared_uplinks[name]
            if name not in here and declared.get(name) == uplink:
                self._held[name] = (uplink, translated(unit))
        if changed:
            self.connections |= gone.difference(*(held for _, held in self._held.values()))
        for name, (uplink, held) in [*self._held.items()]:
            if name in here or declared.get(name) != uplink:
                self.connections |= held
                del self._held[name]
        if self:
            self._keep(translated(flows))

    def _keep(self, now: frozenset[Connections]) -> None:
        """What is translated now is not given up; what is asked for now, and was led elsewhere, is."""
        asked = {(one.zone, one.version, one.protocol, one.asked) for one in now if one.asked is not None}
        for name, (uplink, held) in self._held.items():
            led_elsewhere = {one for one in held - now if (one.zone, one.version, one.protocol, one.asked) in asked}
            self.connections |= led_elsewhere
            self._held[name] = (uplink, held - led_elsewhere)
        self.connections -= now
