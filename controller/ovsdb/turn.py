"""One database, a turn at a time: read what has come, compare, write what differs. I/O that never waits."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime

from ovs.db import idl

from controller.bridge_settings import BridgeSettings
from controller.hosts import DatabaseSeen, HostSeen, WantedHost
from controller.ovsdb.corrections import TOLD_AT_ONCE, Corrections
from controller.ovsdb.json_text import Texts
from controller.ovsdb.plan import NO_PLAN, make_plan
from controller.ovsdb.replica import FIRST_BACKOFF_MS, LATE_BACKOFF_MS, Need, Replica, ReplicaError
from controller.ovsdb.rows import wanted_target
from controller.ovsdb.seen import PortsSeen, read_settings, see_bridges
from controller.policy.model import Dpid

FROM = "from:"
"""A remote that begins so connects by itself."""
RIVAL_WAITS_S = 2.0
"""So long the connection that is there has to show life, when the database seems to have made another."""
TRIES_AT_ONCE = 3
"""How many transactions may follow each other at once without all being as wanted after them."""
DOES_NOT_STAY = "others change it again and again; it is set right more slowly"
NOTHING_SHOWN = DatabaseSeen({}, ())
NOT_READ_YET = "ovs-vswitchd has not read it yet"


@dataclass(frozen=True, slots=True)
class Asked:
    """What a turn is for. cleaning: without hosts, what is ours goes. controlled: the bridges to attend to.

    offered: a connection that the database has made by itself.
    """

    hosts: tuple[WantedHost, ...]
    cleaning: bool
    controlled: frozenset[Dpid]
    offered: Texts | None


@dataclass(frozen=True, slots=True)
class Done:
    """need: what to wait for before the next turn. clean: nothing of ours is in the database any more.

    said: for the log, level and message each. Not logged here, because the log's locks are for green threads.
    """

    need: Need
    seen: Mapping[str, HostSeen]
    shown: DatabaseSeen
    settings: Mapping[Dpid, BridgeSettings]
    clean: bool
    said: tuple[tuple[int, str], ...]


class Turns:
    """The state of one database between turns. Turns are taken one at a time."""

    def __init__(
        self, remote: str, openflow_port: int, now: Callable[[], float], wall_clock: Callable[[], datetime]
    ) -> None:
        self._remote = remote
        self._openflow_port = openflow_port
        self._now = now
        self._wall_clock = wall_clock
        self._replica: Replica | None = None
        self._rival: tuple[Texts, float, int] | None = None
        """A connection that waits for its place, until when, and what the other had received when it came."""
        self._retry_at = 0.0
        self._retry_s = 0.0
        self._tries = 0
        self._transaction: idl.Transaction | None = None
        self._refused = ""
        self._planned: object = None
        """What `_plan` was made of; None: it has to be made."""
        self._plan = NO_PLAN
        self._needs_cfg = 0
        """The daemon must have read the database up to here."""
        self._settled: tuple[WantedHost, ...] = ()
        """For what all was as wanted the last time: what differs from it now, others have changed."""
        self._corrections = Corrections()
        self._correcting: tuple[str, ...] = ()
        """What the transaction that is under way sets right."""
        self._following = False
        self._said: list[tuple[int, str]] = []
        self._since = wall_clock()
        self._why_not = "has not connected yet" if remote.startswith(FROM) else "has not answered yet"
        self._ports = PortsSeen()
        self._ovs_version, self._system_id = "", ""
        self._shown = NOTHING_SHOWN
        self._bridges: Mapping[str, Dpid | None] = {}
        """As the database has them now."""
        self._settings: Mapping[Dpid, BridgeSettings] = {}

    def take(self, asked: Asked) -> Done:
        now = self._now()
        try:
            self._follow(asked.offered, now)
        except ReplicaError as error:
            self._give_up(str(error), now)
        replica = self._replica if self._replica is not None and self._replica.following else None
        self._note_following(replica)
        if replica is not None:
            self._keep(replica, asked, now)
        in_force = replica is not None and self._is_as_wanted(replica, asked) and self._has_read(replica)
        seen = {host.name: self._see(host, replica, in_force) for host in asked.hosts}
        clean = replica is not None and not asked.hosts and self._is_as_wanted(replica, asked)
        said, self._said = tuple(self._said), []
        return Done(self._need(now), seen, self._shown, self._settings, clean, said)

    def see_nothing(self, host: WantedHost) -> HostSeen:
        """A host of which no turn has been taken."""
        return self._see(host, None, in_force=False)

    def close(self) -> None:
        self._forget()
        if self._rival is not None:
            self._rival[0].hang_up()
            self._rival = None

    # The connection

    def _follow(self, offered: Texts | None, now: float) -> None:
        if offered is not None:
            self._receive_offer(offered, now)
        if self._rival is not None:
            self._judge_rival(*self._rival, now)
        if self._replica is None and now >= self._retry_at and not self._remote.startswith(FROM):
            self._replica = Replica(self._remote)
        if self._replica is not None:
            changed = self._replica.run()
            if not self._replica.following:
                self._why_not = self._replica.ended
            elif changed:
                self._read(self._replica)
            if self._replica.dead:
                self._forget()

    def _receive_offer(self, offered: Texts, now: float) -> None:
        if self._replica is None:
            self._replica = Replica(self._remote, offered)
            return
        if self._rival is not None:
            self._rival[0].hang_up()
        self._rival = (offered, now + RIVAL_WAITS_S, self._replica.received_bytes)
        self._replica.probe()

    def _judge_rival(self, rival: Texts, until: float, received: int, now: float) -> None:
        """The newer connection gets the place of the one that is there, unless that one shows life."""
        if self._replica is not None and self._replica.received_bytes > received:
            rival.hang_up()
            self._rival = None
        elif self._replica is None or now >= until:
            self._why_not = "does not answer, another connection of that name does"
            self._forget()
            self._note_following(None)
            self._replica, self._rival = Replica(self._remote, rival), None

    def _read(self, replica: Replica) -> None:
        found, root = replica.found, replica.found.root
        self._ovs_version, self._system_id = ("", "") if root is None else (root.ovs_version, root.system_id)
        # A database that was restarted has forgotten the dpids, until the daemon tells them again; bridges keep theirs.
        self._bridges = see_bridges(found)
        bridges = {name: dpid or self._shown.bridges.get(name) for name, dpid in self._bridges.items()}
        self._shown = DatabaseSeen(bridges, self._ports.read(found))
        self._settings = read_settings(found)

    def _note_following(self, replica: Replica | None) -> None:
        following = replica is not None
        if following == self._following:
            return
        self._following = following
        self._since = self._wall_clock()
        self._transaction, self._planned = None, None
        if replica is not None:
            root = replica.found.root
            self._needs_cfg = 0 if root is None else root.next_cfg
            self._say(logging.INFO, "database is read remote=%s", self._remote)
        else:
            self._settings = {}
            self._say(logging.WARNING, "database is not read any more remote=%s error=%s", self._remote, self._why_not)

    def _give_up(self, why: str, now: float) -> None:
        """The replica is of no use any more; another is made after a while."""
        if self._why_not != why:
            self._say(logging.WARNING, "database cannot be followed remote=%s error=%s", self._remote, why)
        self._why_not = why
        self._forget()
        self._wait_longer(now)

    def _forget(self) -> None:
        if self._replica is not None:
            self._replica.close()
        self._replica = None

    def _wait_longer(self, now: float) -> None:
        self._retry_s = min(max(2 * self._retry_s, FIRST_BACKOFF_MS / 1000), LATE_BACKOFF_MS / 1000)
        self._retry_at = now + self._retry_s

    # What is wanted

    def _keep(self, replica: Replica, asked: Asked, now: float) -> None:
        if self._transaction is not None and not self._has_ended(replica, self._transaction, now):
            return
        basis = self._basis(replica, asked)
        if basis == self._planned or now < self._retry_at:
            return
        targets = {host.name: wanted_target(host, replica.local_ip, self._openflow_port) for host in asked.hosts}
        own = bool(asked.hosts) or asked.cleaning
        self._plan = make_plan(asked.hosts, targets, replica.found, asked.controlled, own, self._plan)
        self._planned = basis
        if not self._plan.operations:
            self._retry_s, self._tries, self._refused = 0.0, 0, ""
            self._settled = asked.hosts
            return
        correcting = bool(asked.hosts and self._plan.changed) and self._settled == asked.hosts
        if correcting and (wait_s := self._corrections.wait_s(now)):
            self._planned, self._retry_at = None, now + wait_s
            self._refused = DOES_NOT_STAY
            return
        if correcting:
            for sentence in self._plan.changed[:TOLD_AT_ONCE]:
                self._say(logging.WARNING, "setting right remote=%s what=%s", self._remote, sentence)
        self._correcting = self._plan.changed if correcting else ()
        for sentence in self._plan.attended:
            self._say(logging.INFO, "attended to remote=%s what=%s", self._remote, sentence)
        self._transaction = replica.transact(self._plan.operations)

    def _has_ended(self, replica: Replica, transaction: idl.Transaction, now: float) -> bool:
        """Whether the transaction is over, however it has ended; if not well, another is due after a while."""
        status = transaction.commit()
        if status == idl.Transaction.INCOMPLETE:
            return False
        self._transaction = self._planned = None
        self._tries += 1
        if status == idl.Transaction.SUCCESS:
            self._refused = DOES_NOT_STAY if self._tries >= TRIES_AT_ONCE else ""
            if self._correcting:
                self._corrections.note(now, self._correcting)
            self._needs_cfg = 0 if replica.found.root is None else replica.found.root.next_cfg
        elif status != idl.Transaction.TRY_AGAIN:
            self._refused = f"the database refuses: {_explain(transaction.get_error())}"
            self._say(logging.WARNING, "transaction refused remote=%s error=%s", self._remote, self._refused)
        if status != idl.Transaction.SUCCESS or self._tries >= TRIES_AT_ONCE:
            self._wait_longer(now)
        return True

    @staticmethod
    def _basis(replica: Replica, asked: Asked) -> object:
        return (replica.change_seqno, asked.hosts, asked.cleaning, asked.controlled)

    def _is_as_wanted(self, replica: Replica, asked: Asked) -> bool:
        return self._planned == self._basis(replica, asked) and not self._plan.operations

    def _has_read(self, replica: Replica) -> bool:
        root = replica.found.root
        # Somebody may have set next_cfg back: the daemon never goes beyond it.
        return root is not None and root.cur_cfg >= min(self._needs_cfg, root.next_cfg)

    # What is told

    def _say(self, level: int, message: str, *values: object) -> None:
        self._said.append((level, message % values))

    def _see(self, host: WantedHost, replica: Replica | None, in_force: bool) -> HostSeen:
        problems = self._plan.problems.get(host.name, ())
        return HostSeen(
            name=host.name,
            remote=self._remote,
            connected=replica is not None,
            since=self._since,
            why=self._explain_host(host, replica, problems),
            in_force=in_force and not problems and self._bridges.get(host.bridge) == host.dpid,
            corrected=self._corrections.sentences,
            ovs_version=self._ovs_version,
            system_id=self._system_id,
            shown=self._shown,
        )

    def _explain_host(self, host: WantedHost, replica: Replica | None, problems: tuple[str, ...]) -> str:
        if replica is None:
            return f"{self._remote} {self._why_not}"
        said = list(problems)
        if self._refused:
            said.append(self._refused)
        wanted = {(port.name, port.bridge) for port in host.ports}
        said += (f"port {p.name}: {p.error}" for p in self._shown.ports if p.error and (p.name, p.bridge) in wanted)
        if self._transaction is not None:
            said.append("what is wanted is being written")
        elif not self._has_read(replica):
            said.append(NOT_READ_YET)
        elif self._bridges.get(host.bridge) != host.dpid:
            said.append(f"ovs-vswitchd has not made bridge {host.bridge} as it is wanted; its log says why")
        return "; ".join(said)

    def _need(self, now: float) -> Need:
        need = self._replica.waits_for() if self._replica is not None else Need()
        times = [] if need.timeout_s is None else [need.timeout_s]
        if self._retry_at > now:
            times.append(self._retry_at - now)
        if self._rival is not None:
            times.append(max(0.0, self._rival[1] - now))
        return Need(min(times, default=None), need.fileno, need.writable)


def _explain(error: str) -> str:
    """The error of an operation (RFC 7047 section 5.2) as text."""
    with suppress(ValueError, TypeError):
        value = json.loads(error)
        return f"{value['error']}: {value.get('details', '')}".rstrip(": ")
    return error
