"""The rows that are wanted, and the same values of those that are found, so that one difference compares them. PURE.

A row here has only what is ours to say of it; columns and keys that others may use are left out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from controller.hosts import WantedHost, WantedPort
from controller.ovsdb.found import (
    DATAPATH_ID,
    DISABLE_IN_BAND,
    HWADDR,
    Found,
    FoundBridge,
    FoundInterface,
    FoundPort,
    Pairs,
)
from controller.pipeline import TABLES

SECURE = "secure"
SYSTEM = "system"
"""The datapath_type of a bridge that has none."""
PROTOCOLS = frozenset({"OpenFlow10", "OpenFlow13", "OpenFlow14"})
"""1.4 is what the controller speaks; the others are what ovs-ofctl(8) speaks unless told otherwise, and other tools."""
MAX_BACKOFF_MS = 1000
INACTIVITY_PROBE_MS = 5000
BFD: Pairs = (("enable", "true"), ("min_rx", "300"), ("min_tx", "300"))
"""A peer is down after three intervals without a packet (RFC 5880 section 6.8.4, detection multiplier 3)."""


@dataclass(frozen=True, slots=True)
class ControllerRow:
    target: str
    max_backoff_ms: int | None
    inactivity_probe_ms: int | None
    ours: bool = True


@dataclass(frozen=True, slots=True)
class BridgeRow:
    """tables: (number, name) of those that nobody else has named."""

    name: str
    datapath_type: str
    fail_mode: str | None
    protocols: frozenset[str]
    datapath_id: str | None
    disable_in_band: str | None
    hwaddr: str | None
    controllers: frozenset[ControllerRow]
    tables: frozenset[tuple[int, str]]


@dataclass(frozen=True, slots=True)
class PortRow:
    """A Port with its one Interface of the same name. whole: False where it has not exactly that."""

    name: str
    bridge: str
    type: str
    options: Pairs
    bfd: Pairs
    mtu_bytes: int | None
    mac: str | None
    tag: int | None
    trunks: tuple[int, ...]
    whole: bool = True


@dataclass(frozen=True, slots=True)
class PortRows:
    """The rows that were made of ports, so that of the same ports they are not made again.

    wanted: by name. found: by uuid. A row that is found as it is wanted is the very row that is wanted.
    """

    wanted: dict[str, tuple[WantedPort, PortRow]] = field(default_factory=dict)
    found: dict[str, tuple[FoundPort, str, FoundInterface | None, PortRow]] = field(default_factory=dict)

    def want(self, port: WantedPort, before: PortRows) -> PortRow:
        """before: the rows of an earlier plan."""
        old = before.wanted.get(port.name)
        made = old if old is not None and old[0] is port else (port, wanted_port(port))
        self.wanted[port.name] = made
        return made[1]

    def find(self, port: FoundPort, bridge: str, found: Found, before: PortRows) -> PortRow:
        """Of a port with any interfaces but one, the row is made each time."""
        interface = None
        if len(port.interfaces) == 1:
            (uuid,) = port.interfaces
            interface = found.interfaces.get(uuid)
        old = before.found.get(port.uuid)
        if old is not None and old[0] is port and old[1] == bridge and old[2] is interface is not None:
            row = old[3]
        else:
            row = found_port(port, bridge, found)
        wanted = self.wanted.get(port.name)
        if wanted is not None and wanted[1] is not row and wanted[1] == row:
            row = wanted[1]
        self.found[port.uuid] = (port, bridge, interface, row)
        return row


def wanted_target(host: WantedHost, local_ip: str | None, openflow_port: int) -> str:
    """Where its bridge looks for the controller. local_ip: our end of the connection to its database; None: no IP."""
    if host.target is not None:
        return host.target
    ip = local_ip or "127.0.0.1"
    return f"tcp:[{ip}]:{openflow_port}" if ":" in ip else f"tcp:{ip}:{openflow_port}"


def wanted_bridge(host: WantedHost, target: str, standing: FoundBridge | None, found: Found) -> BridgeRow:
    """standing: the bridge of that name, if there is one. Of one that is not ours, other protocols are left."""
    theirs = standing.protocols if standing is not None and not standing.ours else frozenset[str]()
    return BridgeRow(
        name=host.bridge,
        datapath_type=_wanted_datapath_type(host, standing),
        fail_mode=SECURE,
        protocols=theirs | PROTOCOLS,
        datapath_id=f"{host.dpid:016x}",
        disable_in_band="true",
        hwaddr=str(host.mac) if host.mac is not None else _hwaddr(standing),
        controllers=frozenset({ControllerRow(target, MAX_BACKOFF_MS, INACTIVITY_PROBE_MS)}),
        tables=wanted_tables(standing, found),
    )


def wanted_tables(standing: FoundBridge | None, found: Found) -> frozenset[tuple[int, str]]:
    """The stages' names, but where somebody else has named a table."""
    foreign = found.foreign_tables(standing) if standing is not None else frozenset()
    return frozenset((number, name) for name, number in TABLES.items() if number not in foreign)


def wanted_port(port: WantedPort) -> PortRow:
    return PortRow(
        name=port.name,
        bridge=port.bridge,
        type=port.type,
        options=tuple(sorted(port.options)),
        bfd=BFD if port.bfd else (),
        mtu_bytes=port.mtu_bytes,
        mac=None if port.mac is None else str(port.mac),
        tag=port.tag,
        trunks=tuple(sorted(port.trunks)),
    )


def found_bridge(bridge: FoundBridge, found: Found) -> BridgeRow:
    rows = (found.controllers.get(uuid) for uuid in bridge.controllers)
    datapath_id = bridge.other_config.get(DATAPATH_ID)
    return BridgeRow(
        name=bridge.name,
        datapath_type=bridge.datapath_type or SYSTEM,
        fail_mode=bridge.fail_mode,
        protocols=bridge.protocols,
        datapath_id=None if datapath_id is None else datapath_id.lower(),
        disable_in_band=bridge.other_config.get(DISABLE_IN_BAND),
        hwaddr=_hwaddr(bridge),
        controllers=frozenset(
            ControllerRow("", None, None, False)
            if row is None
            else ControllerRow(row.target, row.max_backoff_ms, row.inactivity_probe_ms, row.ours)
            for row in rows
        ),
        tables=frozenset(
            (number, row.name)
            for number, uuid in bridge.tables.items()
            if (row := found.tables.get(uuid)) is not None and row.ours
        ),
    )


def found_port(port: FoundPort, bridge: str, found: Found) -> PortRow:
    interfaces = [row for uuid in port.interfaces if (row := found.interfaces.get(uuid)) is not None]
    whole = len(port.interfaces) == len(interfaces) == 1 and interfaces[0].name == port.name
    if not whole:
        return PortRow(port.name, bridge, "", (), (), None, None, port.tag, port.trunks, whole=False)
    one = interfaces[0]
    return PortRow(
        name=port.name,
        bridge=bridge,
        type=one.type,
        options=one.options,
        bfd=one.bfd,
        mtu_bytes=one.mtu_request,
        mac=None if one.mac is None else one.mac.lower(),
        tag=port.tag,
        trunks=port.trunks,
    )


def _hwaddr(bridge: FoundBridge | None) -> str | None:
    text = bridge.other_config.get(HWADDR) if bridge is not None else None
    return None if text is None else text.lower()


def _wanted_datapath_type(host: WantedHost, standing: FoundBridge | None) -> str:
    """That of a bridge which is there and not ours stays: another one would be another bridge to its ports."""
    foreign = standing is not None and not standing.ours
    return standing.datapath_type or SYSTEM if foreign and standing is not None else host.datapath_type


def tell_port(before: PortRow, now: PortRow) -> tuple[str, ...]:
    """What of a port was otherwise, a sentence each."""
    if not before.whole:
        return (f"port {now.name} had not its one interface, made again",)
    return _tell(f"port {now.name}", before, now, _PORT_COLUMNS)


def tell_bridge(before: BridgeRow, now: BridgeRow) -> tuple[str, ...]:
    """What of a bridge was otherwise, a sentence each."""
    said = _tell(f"bridge {now.name}", before, now, _BRIDGE_COLUMNS)
    if before.tables != now.tables:
        said += (f"bridge {now.name}: names of its tables were changed, set again",)
    return said


_PORT_COLUMNS: Mapping[str, str] = {
    "bridge": "bridge",
    "type": "type",
    "options": "options",
    "bfd": "bfd",
    "mtu_bytes": "mtu_request",
    "mac": "mac",
    "tag": "tag",
    "trunks": "trunks",
}
_BRIDGE_COLUMNS: Mapping[str, str] = {
    "datapath_type": "datapath_type",
    "fail_mode": "fail_mode",
    "protocols": "protocols",
    "datapath_id": f"other_config:{DATAPATH_ID}",
    "disable_in_band": f"other_config:{DISABLE_IN_BAND}",
    "hwaddr": f"other_config:{HWADDR}",
    "controllers": "controller",
}


def _tell(what: str, before: object, now: object, columns: Mapping[str, str]) -> tuple[str, ...]:
    said: tuple[str, ...] = ()
    for attribute, column in columns.items():
        old, new = getattr(before, attribute), getattr(now, attribute)
        if old != new:
            said += (f"{what}: {column} was {_text(old)}, set to {_text(new)}",)
    return said


def _text(value: object) -> str:
    if isinstance(value, frozenset):
        return ",".join(sorted(_text(one) for one in value)) or "not set"
    if isinstance(value, ControllerRow):
        times = (value.max_backoff_ms, value.inactivity_probe_ms)
        if not value.ours:
            return f"{value.target or 'one'} (not ours)"
        usual = times == (MAX_BACKOFF_MS, INACTIVITY_PROBE_MS)
        return value.target if usual else f"{value.target} (max_backoff {times[0]}, inactivity_probe {times[1]})"
    if isinstance(value, tuple):
        return ",".join("=".join(one) if isinstance(one, tuple) else str(one) for one in value) or "not set"
    return "not set" if value in (None, "") else str(value)
