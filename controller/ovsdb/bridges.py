"""What OpenFlow does not tell of a bridge: its settings; and what it cannot set: names of tables, no in-band. I/O.

A database is looked at from time to time, one short connection a look (RFC 7047 section 4.1.3, transact).
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from ovs import jsonrpc, stream

from controller.bridge_settings import BridgeSettings
from controller.pipeline import TABLES
from controller.policy.model import Dpid

LOG = logging.getLogger("tripoint.ovsdb")

DATABASE = "Open_vSwitch"
ANSWER_WITHIN_MS = 2000
DISABLE_IN_BAND = "disable-in-band"
MARK = "tripoint"
"""The key and value in external_ids that mark a row as ours."""


@dataclass(frozen=True, slots=True)
class BridgeRow:
    """A row of the Bridge table (ovs-vswitchd.conf.db(5)).

    tables: uuids of its Flow_Table rows by number. in_band_said: whether anybody has said if control may be in-band.
    """

    uuid: str
    name: str
    dpid: Dpid | None
    settings: BridgeSettings
    in_band_said: bool
    tables: Mapping[int, str]


class BridgeWatch:
    """Remembers what the last look at each database showed, and names the tables of bridges under our control."""

    def __init__(self, remotes: tuple[str, ...]) -> None:
        """remotes: as ovs-vsctl(8) --db takes them, `unix:FILE` or `tcp:IP:PORT`."""
        self._seen: dict[str, tuple[BridgeRow, ...]] = dict.fromkeys(remotes, ())

    def settings(self) -> Mapping[Dpid, BridgeSettings]:
        """Those of the bridges whose database can be read."""
        return {row.dpid: row.settings for rows in self._seen.values() for row in rows if row.dpid is not None}

    def look(self, controlled: Collection[Dpid]) -> None:
        """Read every database; one that does not answer shows nothing. controlled: bridges that are ours to set."""
        for remote, before in self._seen.items():
            try:
                rows, names = read_bridges(remote)
                self._seen[remote] = rows
                for row in rows:
                    if row.dpid in controlled and not row.in_band_said:
                        disable_in_band(remote, row)
                    if row.dpid in controlled and _wants_names(row, names):
                        name_tables(remote, row)
            except OSError as error:
                if before:
                    LOG.warning("database cannot be used remote=%s error=%s", remote, error)
                self._seen[remote] = ()


def read_bridges(remote: str) -> tuple[tuple[BridgeRow, ...], dict[str, str]]:
    """Every bridge of a database, and the names of the tables that are marked as ours, by uuid. Raises OSError."""
    bridges, tables = _transact(
        remote,
        [
            _select("Bridge", "_uuid", "name", "datapath_id", "fail_mode", "flow_tables", "other_config"),
            _select("Flow_Table", "_uuid", "name", "external_ids"),
        ],
    )
    ours = {row["_uuid"][1]: str(row["name"]) for row in tables["rows"] if [MARK, MARK] in row["external_ids"][1]}
    return tuple(_read_row(row) for row in bridges["rows"]), ours


def name_tables(remote: str, bridge: BridgeRow) -> None:
    """Give the tables of a bridge the names of the stages, for `ovs-ofctl --names`. Raises OSError."""
    operations: list[dict[str, Any]] = []
    pairs: list[list[Any]] = []
    for name, number in TABLES.items():
        row = {"name": name, "external_ids": ["map", [[MARK, MARK]]]}
        operations.append({"op": "insert", "table": "Flow_Table", "row": row, "uuid-name": f"table{number}"})
        pairs.append([number, ["named-uuid", f"table{number}"]])
    where = [["_uuid", "==", ["uuid", bridge.uuid]]]
    update = {"op": "update", "table": "Bridge", "where": where, "row": {"flow_tables": ["map", pairs]}}
    _transact(remote, [*operations, update])


def disable_in_band(remote: str, bridge: BridgeRow) -> None:
    """Take away the hidden flows that let whatever looks like the controller's traffic past all others. Raises OSError.

    They exist wherever nobody has said otherwise (ovs-vswitchd.conf.db(5) other_config:disable-in-band).
    """
    where = [["_uuid", "==", ["uuid", bridge.uuid]]]
    mutation = ["other_config", "insert", ["map", [[DISABLE_IN_BAND, "true"]]]]
    _transact(remote, [{"op": "mutate", "table": "Bridge", "where": where, "mutations": [mutation]}])
    LOG.info("in-band control disabled bridge=%s remote=%s", bridge.name, remote)


def _wants_names(row: BridgeRow, ours: Mapping[str, str]) -> bool:
    """Whether its tables have no names, or names that we gave and that are the stages' no more."""
    if not all(uuid in ours for uuid in row.tables.values()):
        return False
    return {number: ours[uuid] for number, uuid in row.tables.items()} != {n: name for name, n in TABLES.items()}


def _select(table: str, *columns: str) -> dict[str, Any]:
    return {"op": "select", "table": table, "where": [], "columns": list(columns)}


def _read_row(row: Mapping[str, Any]) -> BridgeRow:
    in_band = dict(row["other_config"][1]).get(DISABLE_IN_BAND)
    datapath_id, fail_mode = _optional(row["datapath_id"]), _optional(row["fail_mode"])
    return BridgeRow(
        uuid=row["_uuid"][1],
        name=row["name"],
        dpid=None if datapath_id is None else Dpid(int(datapath_id, 16)),
        settings=BridgeSettings(fail_mode or "standalone", in_band=in_band != "true"),
        in_band_said=in_band is not None,
        tables={number: reference[1] for number, reference in row["flow_tables"][1]},
    )


def _optional(value: Any) -> str | None:  # noqa: ANN401 - JSON
    """A column of at most one string: ["set", []] or the string itself (RFC 7047 section 5.1)."""
    return value if isinstance(value, str) else None


def _transact(remote: str, operations: list[dict[str, Any]]) -> list[dict[str, Any]]:
    error, connected = stream.Stream.open_block(stream.Stream.open(remote), ANSWER_WITHIN_MS)
    if error:
        raise OSError(error, f"cannot connect to {remote}")
    connection = jsonrpc.Connection(connected)
    try:
        request = jsonrpc.Message.create_request("transact", [DATABASE, *operations])
        error, reply = connection.transact_block(request)
    finally:
        connection.close()
    if error or reply.error is not None:
        raise OSError(error or 0, f"{remote} refused: {reply.error if reply else 'no answer'}")
    for result in reply.result:
        if result is not None and "error" in result:
            raise OSError(0, f"{remote} refused: {result['error']}: {result.get('details', '')}")
    return list(reply.result)
