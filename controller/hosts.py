"""What is wanted of the Open vSwitch of each host, and what is seen there: values, and what `reconcile` needs. PURE.

`ovsdb` implements `HostDatabases`; `host_plan` makes what is wanted of a policy.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Set
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from controller.bridge_settings import BridgeSettings
from controller.mac import Mac
from controller.policy.model import Dpid


@dataclass(frozen=True, slots=True)
class WantedPort:
    """A Port with its one Interface (ovs-vswitchd.conf.db(5)), on a bridge of the host.

    bridge: another one than the host's own only for the far end of a patch; it must exist, and is not made.
    type: of the Interface: "" (a device that the machine has), "internal", "patch", "vxlan", "geneve" or "gre".
    options: of the Interface, sorted. bfd: whether the tunnel is watched (RFC 5880). mtu_bytes, mac: asked for.
    tag: the VLAN of an access port; trunks: those of a trunk; for people who look, OpenFlow does not heed them.
    origin: the place in the policy that wants it.
    """

    name: str
    bridge: str
    origin: str
    type: str = ""
    options: tuple[tuple[str, str], ...] = ()
    bfd: bool = False
    mtu_bytes: int | None = None
    mac: Mac | None = None
    tag: int | None = None
    trunks: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class WantedHost:
    """What one host's database is to say. Everything else in it stays as it is.

    remote: of the database: `unix:FILE`, `tcp:IP:PORT`, `ssl:IP:PORT`, or `from:SYSTEM-ID` for a host that connects by
    itself and has that external_ids:system-id. bridge: made where it is not there. dpid: its datapath id.
    datapath_type: of a bridge that is made: "system" or "netdev". mac: of the bridge's own port; None: as it is.
    target: where the bridge looks for its controller; None: at the address by which the host was reached.
    """

    name: str
    remote: str
    bridge: str
    dpid: Dpid
    target: str | None = None
    ports: tuple[WantedPort, ...] = ()
    datapath_type: str = "system"
    mac: Mac | None = None


@dataclass(frozen=True, slots=True)
class TunnelSeen:
    """The tunnel to a peer. up: None where it is not watched. leaves_by: the device that its packets leave through."""

    peer_ip: str
    up: bool | None
    diagnostic: str
    leaves_by: str


@dataclass(frozen=True, slots=True)
class PortSeen:
    """A port as its database shows it.

    ofport: None where the switch has none for it (then `error` says why, if it does). ours: marked as made by us.
    iface_id, attached_mac: external_ids as hypervisors and container plugins write them.
    """

    name: str
    bridge: str
    type: str
    ofport: int | None
    link_up: bool | None
    mtu_bytes: int | None
    iface_id: str | None
    attached_mac: Mac | None
    error: str | None
    ours: bool
    tunnel: TunnelSeen | None


@dataclass(frozen=True, slots=True)
class DatabaseSeen:
    """What a database shows, or showed last. bridges: name -> dpid (None: the daemon has never made it).

    made: bridge -> names of the ports that its switch has made. underlay_mtu: of the device that its tunnels leave by,
    the smallest where there are several; None: it shows none.
    """

    bridges: Mapping[str, Dpid | None]
    ports: tuple[PortSeen, ...]
    made: Mapping[str, Set[str]] = field(init=False, compare=False)
    underlay_mtu: int | None = field(init=False, compare=False)

    def __post_init__(self) -> None:
        made: dict[str, set[str]] = {}
        for port in self.ports:
            if port.ofport is not None:
                made.setdefault(port.bridge, set()).add(port.name)
        object.__setattr__(self, "made", made)
        known = {port.name: port.mtu_bytes for port in self.ports if port.mtu_bytes is not None}
        ways = {port.tunnel.leaves_by for port in self.ports if port.tunnel is not None}
        object.__setattr__(self, "underlay_mtu", min((known[name] for name in ways if name in known), default=None))


@dataclass(frozen=True, slots=True)
class HostSeen:
    """A host as its database shows it now, or showed it last.

    connected: whether its database is read right now; since: when that began; why: of its not being so, or of what is
    wanted and cannot be had, "" where all is well. in_force: whether everything wanted is there, and the switch daemon
    has read it. corrected: sentences, newest last, on what others had changed and was set right.
    """

    name: str
    remote: str
    connected: bool
    since: datetime
    why: str
    in_force: bool
    corrected: tuple[str, ...]
    ovs_version: str
    system_id: str
    shown: DatabaseSeen


class HostDatabases(Protocol):
    """All databases that the controller reads or writes. Calls return at once."""

    def want(self, hosts: tuple[WantedHost, ...]) -> None:
        """From now on this is wanted. Where a host is wanted no more, what is marked as ours there is taken away."""
        ...

    def seen(self) -> Mapping[str, HostSeen]:
        """Every wanted host by name."""
        ...

    def shown(self) -> Collection[DatabaseSeen]:
        """Every database that is read, whether a host has it or it is only watched."""
        ...

    def settings(self) -> Mapping[Dpid, BridgeSettings]:
        """Those of every bridge whose database can be read, of hosts and of the databases that are only watched."""
        ...
