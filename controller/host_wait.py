"""Waiting until managed hosts have what is wanted of them. State: who waits; all I/O is passed in."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime, timedelta

from controller.bridge import Bridge
from controller.control import HostOutcome
from controller.host_plan import HostPlan
from controller.host_view import outcome_of
from controller.hosts import HostDatabases, HostSeen, WantedHost
from controller.loop import Loop, Waiter
from controller.news import News
from controller.policy.model import Dpid

HOSTS_WITHIN_S = 5.0
"""How long a change waits for managed hosts to have their rows, and for their bridges to come."""
REACHED_WITHIN = timedelta(seconds=1)
"""A database that has been away for so long is not waited for."""
PORT_NAME_BYTES = 15
"""OpenFlow 1.4 shows so much of a port's name (OFP_MAX_PORT_NAME_LEN, the last octet is zero)."""


class HostWait:
    """bridges: those that are known. news: of ports and of databases; what is pending may be what is waited for."""

    def __init__(
        self,
        loop: Loop,
        wall_clock: Callable[[], datetime],
        databases: HostDatabases,
        bridges: Mapping[Dpid, Bridge],
        news: tuple[News, ...],
    ) -> None:
        self._loop = loop
        self._wall_clock = wall_clock
        self._databases = databases
        self._bridges = bridges
        self._news = news
        self._waiters: list[Waiter] = []

    def look_again(self) -> None:
        """Wake those who wait: something about ports or databases is new."""
        waiting, self._waiters = self._waiters, []
        for waiter in waiting:
            waiter.set()

    def wait(self, plan: HostPlan) -> tuple[HostOutcome, ...]:
        """Wait until every managed host that can be reached has what is wanted, and its bridge is here with its ports.

        One that lacks something is not waited for long: what is missing may never come.
        """
        began, awake_s = self._loop.now(), REACHED_WITHIN.total_seconds()
        why = {name: seen.why for name, seen in self._databases.seen().items()}
        lacking: Sequence[WantedHost] = plan.hosts
        while True:
            waiter = self._loop.waiter()
            self._waiters.append(waiter)
            seen = self._databases.seen()
            # While one of those still lacks something that did, the others need not be looked at.
            lacking = self._which_lack(lacking, seen) or self._which_lack(plan.hosts, seen)
            waited_s = self._loop.now() - began
            if waited_s > awake_s:  # what has not got further since then will not do so soon
                lacking = [h for h in lacking if not seen[h.name].why or seen[h.name].why != why.get(h.name)]
            left_s = HOSTS_WITHIN_S - waited_s
            if not lacking or left_s <= 0:
                here = {dpid for dpid, bridge in self._bridges.items() if bridge.connected}
                return tuple(outcome_of(seen[h.name], h.bridge, h.dpid in here) for h in plan.hosts if h.name in seen)
            waiter.wait(min(left_s, awake_s))

    def _which_lack(self, hosts: Iterable[WantedHost], seen: Mapping[str, HostSeen]) -> list[WantedHost]:
        return [host for host in hosts if host.name in seen and self._lacks(host, seen[host.name])]

    def _lacks(self, host: WantedHost, seen: HostSeen) -> bool:
        """Whether something of a host is on its way: rows, the bridge's connection, ports that its switch has made."""
        if not seen.connected:
            return self._wall_clock() - seen.since < REACHED_WITHIN
        bridge = self._bridges.get(host.dpid)
        if not seen.in_force or bridge is None or not bridge.connected:
            return True
        if any(news.pending for news in self._news):
            return True
        not_here = seen.shown.made.get(host.bridge, frozenset()) - bridge.ports.keys()
        return any(len(name.encode()) <= PORT_NAME_BYTES for name in not_here)
