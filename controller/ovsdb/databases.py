"""All databases that the controller reads or writes: `hosts.HostDatabases`. I/O; calls return at once."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import datetime

from ovs import stream

from controller.bridge_settings import BridgeSettings
from controller.errors import TripointError
from controller.hosts import DatabaseSeen, HostSeen, WantedHost
from controller.loop import Loop
from controller.ovsdb.json_text import Texts
from controller.ovsdb.keeper import Keeper, Surroundings
from controller.ovsdb.passive import Door, ListenError, open_listener
from controller.ovsdb.turn import FROM
from controller.policy.model import Dpid


@dataclass(frozen=True, slots=True)
class Tls:
    """Files in PEM: ours, and those of the authority whose certificates the databases have."""

    private_key: str
    certificate: str
    ca_certificate: str


class TlsError(TripointError):
    """The files are not there, or are no key, certificate and authority that fit."""


class Databases:
    """watched: databases that are read though no host names them; their bridges under our control are attended to.

    controlled: the dpids of those bridges, asked for again and again. on_change: called when anything has changed that
    binding and compiling depend on. openflow_port: where bridges find the controller.
    """

    def __init__(
        self,
        loop: Loop,
        wall_clock: Callable[[], datetime],
        watched: tuple[str, ...],
        controlled: Callable[[], Collection[Dpid]],
        on_change: Callable[[], None],
        openflow_port: int,
    ) -> None:
        self._around = Surroundings(loop, wall_clock, controlled, on_change, openflow_port, loop.lock())
        self._watched = frozenset(watched)
        self._hosts: tuple[WantedHost, ...] = ()
        self._keepers: dict[str, Keeper] = {}
        """By remote."""
        self._lock = loop.lock()
        self._doors: list[Door] = []
        self._tls: ssl.SSLContext | None = None
        self._closed = False
        for remote in watched:
            if remote not in self._keepers:
                self._begin(remote)

    def want(self, hosts: tuple[WantedHost, ...]) -> None:
        by_remote: dict[str, tuple[WantedHost, ...]] = {}
        for host in hosts:
            by_remote[host.remote] = (*by_remote.get(host.remote, ()), host)
        with self._lock:
            if self._closed:
                return
            self._hosts = hosts
            for remote in by_remote.keys() - self._keepers.keys():
                self._begin(remote, by_remote[remote])
            for remote, keeper in self._keepers.items():
                keeper.want(by_remote.get(remote, ()))
        for door in self._doors:
            door.look()

    def seen(self) -> Mapping[str, HostSeen]:
        found: dict[str, HostSeen] = {}
        for host in self._hosts:
            keeper = self._keepers.get(host.remote)
            if keeper is not None and host.name in keeper.seen:
                found[host.name] = keeper.seen[host.name]
        return found

    def shown(self) -> Collection[DatabaseSeen]:
        return tuple(keeper.shown for keeper in tuple(self._keepers.values()))

    def settings(self) -> Mapping[Dpid, BridgeSettings]:
        found: dict[Dpid, BridgeSettings] = {}
        for keeper in tuple(self._keepers.values()):
            found |= keeper.settings
        return found

    def look(self) -> None:
        """A bridge has just connected over OpenFlow: in the databases that are watched it is attended to at once."""
        for remote in self._watched:
            if (keeper := self._keepers.get(remote)) is not None:
                keeper.look()

    def use_tls(self, files: Tls) -> None:
        """For `ssl:` and `pssl:` from now on; both sides show a certificate. Raises TlsError."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.verify_mode = ssl.CERT_REQUIRED
        try:
            context.load_verify_locations(files.ca_certificate)
            context.load_cert_chain(files.certificate, files.private_key)
        except OSError as error:
            raise TlsError(f"TLS for databases cannot be used: {error.strerror or error}") from error
        self._tls = context
        # The package knows one set of files for a whole process.
        stream.Stream.ssl_set_private_key_file(files.private_key)
        stream.Stream.ssl_set_certificate_file(files.certificate)
        stream.Stream.ssl_set_ca_cert_file(files.ca_certificate)

    def listen(self, address: str) -> None:
        """Let databases connect at `ptcp:PORT[:IP]` or `pssl:PORT[:IP]`. Raises ListenError."""
        if address.startswith("pssl:") and self._tls is None:
            raise ListenError(f"{address} needs a key, a certificate and an authority, and none are set up")
        door = Door(
            open_listener(address), self._around.loop, self._take, self._tls if address.startswith("pssl:") else None
        )
        self._doors.append(door)
        door.begin()

    def close(self) -> None:
        """All connections end; databases stay as they are."""
        with self._lock:
            self._closed = True
            keepers = tuple(self._keepers.values())
        for door in self._doors:
            door.close()
        for keeper in keepers:
            keeper.close()

    def _begin(self, remote: str, hosts: tuple[WantedHost, ...] = ()) -> None:
        keeper = Keeper(remote, remote in self._watched, self._around, self._forget)
        keeper.want(hosts)
        self._keepers[remote] = keeper
        keeper.begin()

    def _take(self, system_id: str, connection: Texts) -> bool:
        """A database has connected by itself: whether anybody wants it."""
        with self._lock:
            keeper = self._keepers.get(FROM + system_id)
            if keeper is None or self._closed:
                return False
            keeper.offer(connection)
            return True

    def _forget(self, keeper: Keeper) -> None:
        """Nobody wants anything of it any more, or all is closed."""
        with self._lock:
            if self._keepers.get(keeper.remote) is not keeper:
                return
            del self._keepers[keeper.remote]
            if keeper.hosts and not self._closed:
                self._begin(keeper.remote, keeper.hosts)  # wanted again meanwhile
        if not self._closed:
            self._around.on_change()  # what it showed is not shown any more
