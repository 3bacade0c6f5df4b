"""Keeps one database as it is wanted, and tells what it shows. I/O; one green thread each.

The thread waits for what its replica needs, or for its bell; everything that takes time is one turn, which runs in a
thread of the operating system. A turn gets all that it needs and returns what it found, so that nothing is shared.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from datetime import datetime

from controller.bridge_settings import BridgeSettings
from controller.hosts import HostSeen, WantedHost
from controller.loop import Loop
from controller.ovsdb.json_text import Texts
from controller.ovsdb.replica import Need
from controller.ovsdb.seen import matters
from controller.ovsdb.turn import NOTHING_SHOWN, Asked, Turns
from controller.policy.model import Dpid

LOG = logging.getLogger("tripoint.ovsdb")

AFTER_FAILURE_S = 8.0


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What all keepers share. controlled: bridges that are under our control over OpenFlow.

    computing: held while one of them computes.
    """

    loop: Loop
    wall_clock: Callable[[], datetime]
    controlled: Callable[[], Collection[Dpid]]
    on_change: Callable[[], None]
    openflow_port: int
    computing: AbstractContextManager[object]


class Keeper:
    """remote: of the database. watched: its bridges under our control that no host names are attended to."""

    def __init__(self, remote: str, watched: bool, around: Surroundings, when_done: Callable[[Keeper], None]) -> None:
        self.remote = remote
        self.hosts: tuple[WantedHost, ...] = ()
        self.seen: Mapping[str, HostSeen] = {}
        """Host -> how it is. Replaced as a whole, as are `shown` and `settings`."""
        self.shown = NOTHING_SHOWN
        self.settings: Mapping[Dpid, BridgeSettings] = {}
        self._watched = watched
        self._around = around
        self._when_done = when_done
        self._bell = around.loop.bell()
        self._lock = around.loop.lock()
        self._turns = Turns(remote, around.openflow_port, around.loop.now, around.wall_clock)
        self._cleaning = False
        self._closed = False
        self._offered: Texts | None = None
        self._told: object = None
        """What mattered when `on_change` was called last."""

    @property
    def idle(self) -> bool:
        """Whether nobody wants anything of it any more."""
        return not (self.hosts or self._cleaning or self._watched)

    def begin(self) -> None:
        self._around.loop.spawn(self._run)

    def want(self, hosts: tuple[WantedHost, ...]) -> None:
        """The hosts whose database it is; none: what is ours in it goes."""
        if hosts == self.hosts:
            return
        with self._lock:
            self._cleaning = not hosts
            self.hosts = hosts
            before = self.seen
            self.seen = {
                host.name: replace(before[host.name], in_force=False)
                if host.name in before
                else self._turns.see_nothing(host)
                for host in hosts
            }
            self._told = None
        self._bell.ring()

    def offer(self, connection: Texts) -> None:
        """A connection that the database has made by itself."""
        with self._lock:
            before, self._offered = self._offered, connection
        if before is not None:
            before.hang_up()
        self._bell.ring()

    def look(self) -> None:
        """Something else than the database has changed."""
        self._bell.ring()

    def close(self) -> None:
        self._closed = True
        self._bell.ring()

    def _run(self) -> None:
        loop = self._around.loop
        while not (self._closed or self.idle):
            need = self._take_turn()
            with self._lock:
                matter = matters(self.shown, self.seen.values())
                told, self._told = self._told, matter
            if matter != told:
                self._around.on_change()
            if not (self._closed or self.idle):
                self._bell.wait(need.timeout_s, need.fileno, need.writable)
        loop.in_thread(self._turns.close)
        if self._offered is not None:
            self._offered.hang_up()
        self.settings = {}
        self._when_done(self)

    def _take_turn(self) -> Need:
        controlled = frozenset(self._around.controlled()) if self._watched else frozenset()
        with self._lock:
            asked = Asked(self.hosts, self._cleaning, controlled, self._offered)
            self._offered = None
        try:
            # One at a time: there are few threads, and a database that says much must not keep others from them.
            with self._around.computing:
                done = self._around.loop.in_thread(self._turns.take, asked)
        except Exception as error:
            # A defect of ours in one database's affairs must not be the end of them, and is no other database's matter.
            LOG.error("database cannot be kept remote=%s error=%r", self.remote, error)
            LOG.debug("where", exc_info=True)
            self._around.loop.in_thread(self._turns.close)
            why = f"{self.remote} cannot be kept: {error!r}"
            with self._lock:
                self.seen = {
                    name: replace(one, connected=False, in_force=False, why=why) for name, one in self.seen.items()
                }
            return Need(AFTER_FAILURE_S)
        for level, message in done.said:
            LOG.log(level, "%s", message)
        with self._lock:
            if asked.hosts == self.hosts:
                self.seen = done.seen
                if done.clean:
                    self._cleaning = False
            self.shown, self.settings = done.shown, done.settings
        return done.need
