"""From what is wanted and what is found to the one transaction that makes them agree. PURE.

What is not marked as ours is not touched, with one exception: a bridge that a host names is the user's word that it is
ours to control, so what makes it ours to control is set on it, and nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

from controller.diff import difference
from controller.hosts import WantedHost, WantedPort
from controller.ovsdb import operations as op
from controller.ovsdb.found import DATAPATH_ID, DISABLE_IN_BAND, HWADDR, Found, FoundBridge, FoundController, FoundPort
from controller.ovsdb.rows import (
    BridgeRow,
    ControllerRow,
    PortRow,
    PortRows,
    found_bridge,
    found_port,
    tell_bridge,
    tell_port,
    wanted_bridge,
    wanted_port,
    wanted_tables,
)
from controller.policy.model import Dpid

R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class Plan:
    """operations: one transaction; empty where all is as wanted. changed: what was otherwise, a sentence each.

    attended: what was done to bridges that no host names, a sentence each.
    problems: host -> what is wanted and cannot be had, a sentence each.
    rows: what ports were compared as.
    """

    operations: tuple[op.Operation, ...] = ()
    changed: tuple[str, ...] = ()
    attended: tuple[str, ...] = ()
    problems: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    rows: PortRows = field(default_factory=PortRows, compare=False)


NO_PLAN = Plan()


def make_plan(
    hosts: tuple[WantedHost, ...],
    targets: Mapping[str, str],
    found: Found,
    controlled: Collection[Dpid],
    own: bool,
    before: Plan = NO_PLAN,
) -> Plan:
    """targets: host -> where its bridge looks for its controller.

    controlled: of bridges that no host names, those whose tables get names and that are freed of in-band control.
    own: whether rows marked as ours that nobody wants are taken away. before: the plan before for the same database.
    """
    making = _Making(found, before.rows)
    making.plan_ports(hosts, own)
    for host in hosts:
        making.plan_bridge(host, targets[host.name])
    named = {host.bridge for host in hosts}
    for bridge in found.bridges_by_name().values():
        if bridge.name in named:
            continue
        if bridge.dpid in controlled:
            making.attend(bridge)
        elif own:
            making.release(bridge)
    return making.finish()


@dataclass
class _Making:
    found: Found
    rows_before: PortRows
    rows: PortRows = field(default_factory=PortRows)
    operations: list[op.Operation] = field(default_factory=list)
    changed: list[str] = field(default_factory=list)
    attended: list[str] = field(default_factory=list)
    problems: dict[str, list[str]] = field(default_factory=dict)
    new_ports: dict[str, list[op.Reference]] = field(default_factory=dict)
    """Bridge -> ports to add."""
    gone_ports: dict[str, list[str]] = field(default_factory=dict)
    """Bridge -> uuids of ports to take away."""
    n_new_rows: int = 0

    def __post_init__(self) -> None:
        self.bridges = self.found.bridges_by_name()
        self.at = {uuid: bridge.name for bridge in self.bridges.values() for uuid in bridge.ports}
        """uuid of a Port -> its bridge."""
        root = self.found.root
        self.root = op.new_row("root") if root is None else op.row_of(root.uuid)
        self.removed: set[str] = set()
        """Bridges that go as a whole."""

    # Ports

    def plan_ports(self, hosts: tuple[WantedHost, ...], own: bool) -> None:
        by_name = {port.name: port for uuid, port in self.found.ports.items() if uuid in self.at}
        ours = {port.name: port for port in by_name.values() if port.ours and port.name not in self.bridges}
        interfaces = {
            self.found.interfaces[uuid].name: port.name
            for port in by_name.values()
            for uuid in port.interfaces
            if uuid in self.found.interfaces
        }
        wanted: dict[str, PortRow] = {}
        for host in hosts:
            for port in host.ports:
                standing = by_name.get(port.name)
                hindrance = ""
                if standing is not None and port.name not in ours and self.at[standing.uuid] == port.bridge:
                    if self._serves(standing, port):
                        continue  # somebody else has put it where it is wanted
                    hindrance = f"port {port.name} is there already, is not ours, and leads elsewhere"
                hindrance = hindrance or self._hindrance(port, host, standing, interfaces)
                if not hindrance and port.name in wanted:
                    hindrance = f"port {port.name} is wanted twice"
                elif hindrance:
                    ours.pop(port.name, None)
                if hindrance:
                    self.problems.setdefault(host.name, []).append(hindrance)
                else:
                    wanted[port.name] = self.rows.want(port, self.rows_before)
        standing_rows: dict[PortRow, FoundPort] = {}
        for standing in ours.values():
            row = self.rows.find(standing, self.at[standing.uuid], self.found, self.rows_before)
            if wanted.get(standing.name) is row:
                del wanted[standing.name]
            else:
                standing_rows[row] = standing
        different = difference({row: row for row in wanted.values()}, standing_rows)
        before = {row.name: row for row in different.remove}
        for row in different.add:
            old = before.pop(row.name, None)
            if old is None:
                self.changed.append(f"port {row.name} was gone, made again")
                self._insert_port(row)
            else:
                self.changed += tell_port(old, row)
                self._change_port(standing_rows[old], old, row)
        for row in before.values() if own else ():
            self.changed.append(f"port {row.name} was marked as ours and is not wanted, taken away")
            self.gone_ports.setdefault(row.bridge, []).append(standing_rows[row].uuid)

    def _serves(self, standing: FoundPort, port: WantedPort) -> bool:
        """Whether a port that is not ours does for what is wanted: a tunnel or patch must lead to where ours would."""
        found, wanted = found_port(standing, port.bridge, self.found), wanted_port(port)
        return not wanted.options or (found.type == wanted.type and set(wanted.options) <= set(found.options))

    def _hindrance(
        self, port: WantedPort, host: WantedHost, standing: FoundPort | None, interfaces: Mapping[str, str]
    ) -> str:
        """Why the port cannot be had; "" if it can."""
        if port.bridge not in self.bridges and port.bridge != host.bridge:
            return f"port {port.name} is wanted on bridge {port.bridge}, which is not there"
        if standing is not None and (not standing.ours or port.name in self.bridges):
            return f"port {port.name} is on bridge {self.at[standing.uuid]} already and is not ours to move"
        holder = interfaces.get(port.name, port.name)
        if holder != port.name:
            return f"port {port.name} cannot be made: port {holder} has an interface of that name"
        return ""

    def _insert_port(self, row: PortRow) -> None:
        interface, port = self._name(), self._name()
        columns = {"name": row.name, "external_ids": op.MARKED}
        self.operations.append(op.insert("Interface", interface, {**columns, **_interface_columns(row)}))
        interfaces = {"interfaces": op.a_set([op.new_row(interface)])}
        self.operations.append(op.insert("Port", port, {**columns, **interfaces, **_port_columns(row)}))
        self.new_ports.setdefault(row.bridge, []).append(op.new_row(port))

    def _change_port(self, standing: FoundPort, old: PortRow, row: PortRow) -> None:
        if not old.whole:
            self.gone_ports.setdefault(old.bridge, []).append(standing.uuid)
            self._insert_port(row)
            return
        if columns := _changes(_port_columns, old, row):
            self.operations.append(op.update("Port", op.row_of(standing.uuid), columns))
        if columns := _changes(_interface_columns, old, row):
            (interface,) = standing.interfaces
            self.operations.append(op.update("Interface", op.row_of(interface), columns))
        if old.bridge != row.bridge:
            self.gone_ports.setdefault(old.bridge, []).append(standing.uuid)
            self.new_ports.setdefault(row.bridge, []).append(op.row_of(standing.uuid))

    # Bridges

    def plan_bridge(self, host: WantedHost, target: str) -> None:
        standing = self.bridges.get(host.bridge)
        wanted = wanted_bridge(host, target, standing, self.found)
        if standing is None:
            self.changed.append(f"bridge {wanted.name} was gone, made again")
            self._insert_bridge(wanted)
            return
        found = found_bridge(standing, self.found)
        if difference({wanted: wanted}, {found}):
            self.changed += tell_bridge(found, wanted)
            self._change_bridge(standing, found, wanted)

    def _insert_bridge(self, row: BridgeRow) -> None:
        local = PortRow(row.name, row.name, "internal", (), (), None, None, None, ())
        self._insert_port(local)
        name = self._name()
        columns: dict[str, object] = {
            "name": row.name,
            "datapath_type": row.datapath_type,
            "fail_mode": op.optional(row.fail_mode),
            "protocols": op.a_set(sorted(row.protocols)),
            "other_config": op.a_map(tuple((key, value) for key, value in _other_config(row) if value is not None)),
            "external_ids": op.MARKED,
            "controller": op.a_set([self._insert_controller(one) for one in row.controllers]),
            "flow_tables": ["map", [[number, self._insert_table(table)] for number, table in sorted(row.tables)]],
            "ports": op.a_set(self.new_ports.pop(row.name)),
        }
        self.operations.append(op.insert("Bridge", name, columns))
        self.operations.append(op.add_to("Open_vSwitch", self.root, "bridges", [op.new_row(name)]))

    def _change_bridge(self, standing: FoundBridge, old: BridgeRow, row: BridgeRow) -> None:
        here = op.row_of(standing.uuid)
        if columns := _changes(_bridge_columns, old, row):
            self.operations.append(op.update("Bridge", here, columns))
        if old.controllers != row.controllers or len(standing.controllers) != len(row.controllers):
            self._set_controllers(standing, row)
        keys = zip(_other_config(old), _other_config(row), strict=True)
        pairs = [(key, new) for (_, before), (key, new) in keys if before != new]
        if pairs:
            self.operations.append(op.put_keys("Bridge", here, "other_config", pairs))
        self._set_tables(standing, old.tables, row.tables)

    def _set_controllers(self, standing: FoundBridge, row: BridgeRow) -> None:
        """The rows that are ours are used again; whatever else the bridge has for a controller goes."""
        known = sorted(
            self.found.controllers[uuid].uuid for uuid in standing.controllers & self.found.controllers.keys()
        )
        ours: list[FoundController] = [one for uuid in known if (one := self.found.controllers[uuid]).ours]
        kept: list[op.Reference] = []
        for wanted in sorted(row.controllers, key=lambda one: one.target):
            if not ours:
                kept.append(self._insert_controller(wanted))
                continue
            one = ours.pop()
            kept.append(op.row_of(one.uuid))
            if (one.target, one.max_backoff_ms, one.inactivity_probe_ms) != (
                wanted.target,
                wanted.max_backoff_ms,
                wanted.inactivity_probe_ms,
            ):
                self.operations.append(op.update("Controller", kept[-1], _controller_columns(wanted)))
        self.operations.append(op.update("Bridge", op.row_of(standing.uuid), {"controller": op.a_set(kept)}))

    def _set_tables(
        self, standing: FoundBridge, old: frozenset[tuple[int, str]], now: frozenset[tuple[int, str]]
    ) -> None:
        here = op.row_of(standing.uuid)
        gone = {number for number, _ in old} - {number for number, _ in now}
        if gone:
            self.operations.append(op.take_from("Bridge", here, "flow_tables", sorted(gone)))
        if now - old:
            pairs = [(number, self._insert_table(name)) for number, name in sorted(now - old)]
            self.operations.append(op.put_keys("Bridge", here, "flow_tables", pairs))

    def attend(self, bridge: FoundBridge) -> None:
        """A bridge under our control that no host names: what OpenFlow cannot set is set where nobody has said it."""
        if DISABLE_IN_BAND not in bridge.other_config:
            here = op.row_of(bridge.uuid)
            self.operations.append(op.put_keys("Bridge", here, "other_config", [(DISABLE_IN_BAND, "true")]))
            self.attended.append(f"bridge {bridge.name}: in-band control disabled")
        named, wanted = found_bridge(bridge, self.found).tables, wanted_tables(bridge, self.found)
        if named != wanted:
            self._set_tables(bridge, named, wanted)
            self.attended.append(f"bridge {bridge.name}: its tables were named")

    def release(self, bridge: FoundBridge) -> None:
        """What is ours of a bridge that is wanted no more goes; all of it, if it is ours and nobody else uses it."""
        ports = {uuid: self.found.ports.get(uuid) for uuid in bridge.ports}
        foreign = [uuid for uuid, port in ports.items() if port is None or not (port.ours or port.name == bridge.name)]
        here = op.row_of(bridge.uuid)
        if bridge.ours and not foreign:
            unchanged = {"ports": op.a_set(op.row_of(uuid) for uuid in sorted(bridge.ports))}
            self.operations.insert(0, op.require("Bridge", here, unchanged))
            self.operations.append(op.take_from("Open_vSwitch", self.root, "bridges", [here]))
            self.changed.append(f"bridge {bridge.name} was marked as ours and is not wanted, taken away")
            self.removed.add(bridge.name)
            return
        known = self.found.controllers
        controllers = sorted(uuid for uuid in bridge.controllers if uuid in known and known[uuid].ours)
        if controllers:
            gone = [op.row_of(uuid) for uuid in controllers]
            self.operations.append(op.take_from("Bridge", here, "controller", gone))
        tables = found_bridge(bridge, self.found).tables
        self._set_tables(bridge, tables, frozenset())
        if controllers or tables:
            self.changed.append(f"bridge {bridge.name} is not wanted: what was set on it was taken away")

    # Rows that bridges have

    def _insert_controller(self, row: ControllerRow) -> op.Reference:
        name = self._name()
        columns = {**_controller_columns(row), "external_ids": op.MARKED}
        self.operations.append(op.insert("Controller", name, columns))
        return op.new_row(name)

    def _insert_table(self, table: str) -> op.Reference:
        name = self._name()
        self.operations.append(op.insert("Flow_Table", name, {"name": table, "external_ids": op.MARKED}))
        return op.new_row(name)

    def _name(self) -> str:
        self.n_new_rows += 1
        return f"row{self.n_new_rows}"

    def finish(self) -> Plan:
        # First what goes, so that a port that moves is at its new bridge in the end.
        for name, uuids in self.gone_ports.items():
            if name not in self.removed:
                gone = [op.row_of(uuid) for uuid in sorted(uuids)]
                self.operations.append(op.take_from("Bridge", op.row_of(self.bridges[name].uuid), "ports", gone))
        for name, ports in self.new_ports.items():
            self.operations.append(op.add_to("Bridge", op.row_of(self.bridges[name].uuid), "ports", ports))
        if self.operations:
            if self.found.root is None:
                self.operations.insert(0, op.insert("Open_vSwitch", "root", {}))
            self.operations.append(op.count_up("Open_vSwitch", self.root, "next_cfg"))
        problems = {host: tuple(said) for host, said in self.problems.items()}
        return Plan(tuple(self.operations), tuple(self.changed), tuple(self.attended), problems, self.rows)


def _changes(columns: Callable[[R], dict[str, object]], old: R, now: R) -> dict[str, object]:
    """Those columns that differ, as they are to be."""
    before, after = columns(old), columns(now)
    return {column: value for column, value in after.items() if before[column] != value}


def _other_config(row: BridgeRow) -> tuple[tuple[str, str | None], ...]:
    return ((DATAPATH_ID, row.datapath_id), (DISABLE_IN_BAND, row.disable_in_band), (HWADDR, row.hwaddr))


def _bridge_columns(row: BridgeRow) -> dict[str, object]:
    return {
        "datapath_type": row.datapath_type,
        "fail_mode": op.optional(row.fail_mode),
        "protocols": op.a_set(sorted(row.protocols)),
    }


def _port_columns(row: PortRow) -> dict[str, object]:
    return {"tag": op.optional(row.tag), "trunks": op.a_set(row.trunks)}


def _interface_columns(row: PortRow) -> dict[str, object]:
    return {
        "type": row.type,
        "options": op.a_map(row.options),
        "bfd": op.a_map(row.bfd),
        "mtu_request": op.optional(row.mtu_bytes),
        "mac": op.optional(row.mac),
    }


def _controller_columns(row: ControllerRow) -> dict[str, object]:
    return {
        "target": row.target,
        "max_backoff": op.optional(row.max_backoff_ms),
        "inactivity_probe": op.optional(row.inactivity_probe_ms),
    }
