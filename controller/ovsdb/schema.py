"""The tables and columns that are read, and what is made of their rows. PURE but for the package's row class.

Not the schema that Open vSwitch comes with: a database of any version has these, its limits are its own to enforce,
and references stay the uuids that they are. Statistics are left out: they change every five seconds.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any
from uuid import UUID

from controller.ovsdb.found import (
    MARK,
    Found,
    FoundBridge,
    FoundController,
    FoundInterface,
    FoundPort,
    FoundRoot,
    FoundTable,
    Pairs,
)
from controller.policy.model import Dpid

DATABASE = "Open_vSwitch"
SYSTEM_ID = "system-id"


def _optional(kind: str) -> dict[str, object]:
    return {"key": kind, "min": 0, "max": 1}


def _set(kind: str) -> dict[str, object]:
    return {"key": kind, "min": 0, "max": "unlimited"}


def _map(key: str = "string", value: str = "string") -> dict[str, object]:
    return {"key": key, "value": value, "min": 0, "max": "unlimited"}


COLUMNS: dict[str, dict[str, object]] = {
    "Open_vSwitch": {
        "bridges": _set("uuid"), "next_cfg": "integer", "cur_cfg": "integer", "ovs_version": _optional("string"),
        "external_ids": _map(),
    },
    "Bridge": {
        "name": "string", "datapath_id": _optional("string"), "datapath_type": "string",
        "fail_mode": _optional("string"), "protocols": _set("string"), "other_config": _map(), "external_ids": _map(),
        "controller": _set("uuid"), "flow_tables": _map("integer", "uuid"), "ports": _set("uuid"),
    },
    "Port": {
        "name": "string", "interfaces": _set("uuid"), "tag": _optional("integer"), "trunks": _set("integer"),
        "external_ids": _map(),
    },
    "Interface": {
        "name": "string", "type": "string", "options": _map(), "bfd": _map(), "bfd_status": _map(),
        "mtu": _optional("integer"), "mtu_request": _optional("integer"), "mac": _optional("string"),
        "ofport": _optional("integer"), "link_state": _optional("string"), "admin_state": _optional("string"),
        "error": _optional("string"), "external_ids": _map(), "status": _map(),
    },
    "Controller": {
        "target": "string", "max_backoff": _optional("integer"), "inactivity_probe": _optional("integer"),
        "external_ids": _map(),
    },
    "Flow_Table": {"name": _optional("string"), "external_ids": _map()},
}  # fmt: skip


def schema_text() -> dict[str, object]:
    """As RFC 7047 section 3.2 writes a schema."""
    tables = {
        table: {"columns": {name: {"type": kind} for name, kind in columns.items()}, "isRoot": True}
        for table, columns in COLUMNS.items()
    }
    return {"name": DATABASE, "version": "8.0.0", "tables": tables}


Row = dict[str, Any]
"""Column -> value: an atom, None, a frozenset, or a dict; a uuid as text."""


def plain_row(row: Any) -> Row:  # noqa: ANN401 - a Row of ovs.db.idl
    """The columns of a row of the replica."""
    return {name: _plain(datum) for name, datum in ((name, row._data[name]) for name in row._table.columns)}


def _plain(datum: Any) -> Any:  # noqa: ANN401
    kind, values = datum.type, datum.values
    if kind.is_map():
        return {_atom(key): _atom(value) for key, value in values.items()}
    if kind.n_max == 1:
        return next((_atom(key) for key in values), None)
    return frozenset(_atom(key) for key in values)


def _atom(atom: Any) -> Any:  # noqa: ANN401
    value = atom.value
    return str(value) if isinstance(value, UUID) else value


def put_row(found: Found, table: str, uuid: str, row: Row | None) -> None:
    """Take over one row; None: it is gone."""
    if table == "Open_vSwitch":
        found.root = None if row is None else read_root(uuid, row)
        return
    rows, read = _PLACES[table]
    rows_of_table: dict[str, object] = rows(found)
    if row is None:
        rows_of_table.pop(uuid, None)
    else:
        rows_of_table[uuid] = read(uuid, row)


def read_root(uuid: str, row: Row) -> FoundRoot:
    return FoundRoot(
        uuid=uuid,
        bridges=row["bridges"],
        next_cfg=row["next_cfg"],
        cur_cfg=row["cur_cfg"],
        ovs_version=row["ovs_version"] or "",
        system_id=row["external_ids"].get(SYSTEM_ID, ""),
    )


def _read_bridge(uuid: str, row: Row) -> FoundBridge:
    dpid: Dpid | None = None
    with suppress(ValueError, TypeError):
        dpid = Dpid(int(row["datapath_id"], 16))
    return FoundBridge(
        uuid=uuid,
        name=row["name"],
        dpid=dpid,
        datapath_type=row["datapath_type"],
        fail_mode=row["fail_mode"],
        protocols=row["protocols"],
        other_config=row["other_config"],
        controllers=row["controller"],
        tables=row["flow_tables"],
        ports=row["ports"],
        ours=_ours(row),
    )


def _read_port(uuid: str, row: Row) -> FoundPort:
    return FoundPort(uuid, row["name"], row["interfaces"], row["tag"], tuple(sorted(row["trunks"])), _ours(row))


def _read_interface(uuid: str, row: Row) -> FoundInterface:
    states = (row["admin_state"], row["link_state"])
    return FoundInterface(
        uuid=uuid,
        name=row["name"],
        type=row["type"],
        options=_pairs(row["options"]),
        bfd=_pairs(row["bfd"]),
        bfd_status=_pairs(row["bfd_status"]),
        mtu=row["mtu"],
        mtu_request=row["mtu_request"],
        mac=row["mac"],
        ofport=row["ofport"],
        link_up=None if None in states else states == ("up", "up"),
        error=row["error"],
        iface_id=row["external_ids"].get("iface-id"),
        attached_mac=row["external_ids"].get("attached-mac"),
        leaves_by=row["status"].get("tunnel_egress_iface", ""),
    )


def _read_controller(uuid: str, row: Row) -> FoundController:
    return FoundController(uuid, row["target"], row["max_backoff"], row["inactivity_probe"], _ours(row))


def _read_table(uuid: str, row: Row) -> FoundTable:
    return FoundTable(uuid, row["name"] or "", _ours(row))


_PLACES: dict[str, tuple[Callable[[Found], Any], Callable[[str, Row], object]]] = {
    "Bridge": (lambda found: found.bridges, _read_bridge),
    "Port": (lambda found: found.ports, _read_port),
    "Interface": (lambda found: found.interfaces, _read_interface),
    "Controller": (lambda found: found.controllers, _read_controller),
    "Flow_Table": (lambda found: found.tables, _read_table),
}


def _ours(row: Row) -> bool:
    return bool(row["external_ids"].get(MARK) == MARK)


def _pairs(column: dict[str, str]) -> Pairs:
    return tuple(sorted(column.items()))
