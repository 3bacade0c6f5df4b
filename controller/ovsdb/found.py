"""What a database shows: the rows that matter here as plain values, those of a table by uuid. PURE.

Columns are those of ovs-vswitchd.conf.db(5). `replica` fills `Found`; `plan` and `seen` say what is made of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from controller.policy.model import Dpid

MARK = "tripoint"
"""The key and value in external_ids that mark a row as ours."""
DISABLE_IN_BAND = "disable-in-band"
HWADDR = "hwaddr"
DATAPATH_ID = "datapath-id"

Pairs = tuple[tuple[str, str], ...]
"""A map column, sorted by key."""


@dataclass(frozen=True, slots=True)
class FoundRoot:
    """The one row of Open_vSwitch."""

    uuid: str
    bridges: frozenset[str]
    next_cfg: int
    cur_cfg: int
    ovs_version: str
    system_id: str


@dataclass(frozen=True, slots=True)
class FoundBridge:
    """dpid: None until the daemon has made the bridge. tables: number -> uuid of its Flow_Table."""

    uuid: str
    name: str
    dpid: Dpid | None
    datapath_type: str
    fail_mode: str | None
    protocols: frozenset[str]
    other_config: Mapping[str, str]
    controllers: frozenset[str]
    tables: Mapping[int, str]
    ports: frozenset[str]
    ours: bool


@dataclass(frozen=True, slots=True)
class FoundPort:
    uuid: str
    name: str
    interfaces: frozenset[str]
    tag: int | None
    trunks: tuple[int, ...]
    ours: bool


@dataclass(frozen=True, slots=True)
class FoundInterface:
    """link_up: the device and its link; None where the daemon has not said. leaves_by: of a tunnel, "" if unknown."""

    uuid: str
    name: str
    type: str
    options: Pairs
    bfd: Pairs
    bfd_status: Pairs
    mtu: int | None
    mtu_request: int | None
    mac: str | None
    ofport: int | None
    link_up: bool | None
    error: str | None
    iface_id: str | None
    attached_mac: str | None
    leaves_by: str


@dataclass(frozen=True, slots=True)
class FoundController:
    uuid: str
    target: str
    max_backoff_ms: int | None
    inactivity_probe_ms: int | None
    ours: bool


@dataclass(frozen=True, slots=True)
class FoundTable:
    """A row of Flow_Table."""

    uuid: str
    name: str
    ours: bool


@dataclass(slots=True)
class Found:
    """All of it. A reference may lead to a row that is not there: one without anything in it is not told of."""

    root: FoundRoot | None = None
    bridges: dict[str, FoundBridge] = field(default_factory=dict)
    ports: dict[str, FoundPort] = field(default_factory=dict)
    interfaces: dict[str, FoundInterface] = field(default_factory=dict)
    controllers: dict[str, FoundController] = field(default_factory=dict)
    tables: dict[str, FoundTable] = field(default_factory=dict)

    def bridges_by_name(self) -> dict[str, FoundBridge]:
        """In the order of their names."""
        return {bridge.name: bridge for bridge in sorted(self.bridges.values(), key=lambda bridge: bridge.name)}

    def foreign_tables(self, bridge: FoundBridge) -> frozenset[int]:
        """Numbers of tables that somebody else has said something of."""
        return frozenset(
            number for number, uuid in bridge.tables.items() if (row := self.tables.get(uuid)) is None or not row.ours
        )
