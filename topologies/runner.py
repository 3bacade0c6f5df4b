"""Brings a lab up: namespaces, cables, Open vSwitches, controller, policy. I/O.

Everything is recorded before it is made (`records`), so that a lab can be taken away whatever happened to its runner.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from topologies import netns, ovs, records
from topologies.daemons import Start, start
from topologies.records import MARK_VARIABLE, Record
from topologies.rest import Rest, RestError, missing, wait_for
from topologies.spec import Bridge, End, Interface, Lab, Node

CONTROLLER_TIMEOUT_S = 20.0
DEFAULT_OPENFLOW_PORT = 6653
PROJECT = Path(__file__).resolve().parent.parent


class BringUpError(Exception):
    """The lab could not be brought up; nothing of it is left."""


@dataclass(frozen=True, slots=True)
class Given:
    """A controller that runs already. url: of its REST; host, port: where it listens for bridges."""

    url: str
    host: str
    port: int


def given(controller: str | None, openflow: str | None) -> Given | None:
    """None or `own`: the lab starts its own. openflow: `PORT` or `HOST:PORT`. Raises ValueError."""
    if controller in (None, "own"):
        return None
    parts = urlsplit(str(controller))
    if parts.scheme != "http" or not parts.hostname:
        raise ValueError(f"{controller!r} is neither 'own' nor a URL such as http://127.0.0.1:8080")
    host, _, port = (openflow or str(DEFAULT_OPENFLOW_PORT)).rpartition(":")
    if not port.isdecimal() or not 0 < int(port) < 65536:
        raise ValueError(f"{openflow!r} is not a port or HOST:PORT")
    return Given(f"http://{parts.netloc}", host or parts.hostname, int(port))


def bring_up(lab: Lab, text: str, file: str, mode: str, controller: Given | None = None) -> Record:
    """The lab, complete: every cable up, every bridge under control, the policy in force. Raises BringUpError.

    text: the lab file's text, kept beside the lab. mode: see `Record`. On any error everything is taken away again.
    """
    record = records.create(lab, text, file, mode)
    try:
        _Builder(lab, record, controller).build()
    except (netns.NetworkError, RestError, OSError) as error:
        tail = _controller_log(record)
        kept = records.remove(record)
        raise BringUpError("\n".join([f"{lab.name}: {error}", *tail, *kept])) from error
    except BaseException:
        records.remove(record)
        raise
    return record


def _controller_log(record: Record) -> list[str]:
    log = record.directory / "controller.log"
    if not record.own_controller or not log.exists():
        return []
    return [
        "the controller's last words:",
        *("  " + line for line in log.read_text(errors="replace").splitlines()[-15:]),
    ]


def switch_of(record: Record, node: str) -> ovs.Switch:
    """The Open vSwitch of a node, whether for its bridges or for its tags."""
    return ovs.Switch(record.namespaces[node], record.directory / node)


def vlan_devices() -> bool:
    """Whether the kernel can end VLAN tags itself (8021q)."""
    if Path("/sys/module/8021q").exists():
        return True
    try:
        return subprocess.run(["modprobe", "8021q"], capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        return False


class _Builder:
    """One bring-up. The daemons start first, because they take longest, and are waited for last."""

    def __init__(self, lab: Lab, record: Record, controller: Given | None) -> None:
        self.lab, self.record, self.given = lab, record, controller
        self.tied = record.mode != "up"
        self.kernel_vlans = vlan_devices()
        self.owners = dict.fromkeys(bridge.node for bridge in lab.bridges.values())
        self.controlled = dict.fromkeys(bridge.node for bridge in lab.bridges.values() if bridge.controlled)
        self.enders = [n for n in lab.nodes.values() if not self.kernel_vlans and any(f.tagged for f in n.interfaces)]

    def build(self) -> None:
        self.make_namespaces()
        for node in dict.fromkeys([*self.owners, *(n.name for n in self.enders)]):
            ovs.begin(switch_of(self.record, node), {MARK_VARIABLE: self.record.id}, self.tied, self.record.add)
        self.find_controller()
        self.lay_cables()
        for one in self.lab.nodes.values():
            self.set_up(one)
        for node in dict.fromkeys([*self.owners, *(n.name for n in self.enders)]):
            ovs.wait(switch_of(self.record, node))
        for ender in self.enders:
            self.end_tags(ender)
        self.make_bridges()
        self.apply_policy()
        self.record.ready = True
        self.record.save()

    def namespace(self, end: End) -> str:
        bridge = self.lab.bridges.get(end.owner)
        return self.record.namespaces[end.owner if bridge is None else bridge.node]

    def make_namespaces(self) -> None:
        netns.batch(f"netns add {name}" for name in self.record.namespaces.values())
        for name in self.record.namespaces.values():
            # Without duplicate address detection an IPv6 address is usable at once.
            netns.batch([f'link set dev lo up alias "{self.record.mark}"'], name)
            for scope in ("all", "default"):
                netns.sysctl(name, f"net.ipv6.conf.{scope}.accept_dad", "0")

    def lay_cables(self) -> None:
        lines = []
        for link in self.lab.links:
            a, b = (f"name {end.name} netns {self.namespace(end)}" for end in (link.a, link.b))
            lines.append(f"link add {a} type veth peer {b}")
        netns.batch(lines)
        for link in self.lab.links:
            for end in (link.a, link.b):
                netns.checksums_in_software(self.namespace(end), end.name)
                if end.owner in self.lab.bridges:
                    self.silence(self.namespace(end), end.name)

    @staticmethod
    def silence(namespace: str, device: str) -> None:
        """A device that a userspace switch reads: the kernel gets every frame too, and must not act on one."""
        netns.sysctl(namespace, f"net/ipv6/conf/{device}/disable_ipv6", "1")
        netns.sysctl(namespace, f"net/ipv4/conf/{device}/rp_filter", "1")
        netns.sysctl(namespace, f"net/ipv4/conf/{device}/arp_ignore", "8")
        netns.batch([f"link set dev {device} arp off up"], namespace)

    def set_up(self, node: Node) -> None:
        namespace = self.record.namespaces[node.name]
        lines: list[str] = []
        for face in node.interfaces:
            lines.append(f"link set dev {face.name} address {face.mac}")
            if face.tagged:
                if self.kernel_vlans:
                    netns.sysctl(namespace, f"net/ipv6/conf/{face.name}/disable_ipv6", "1")
                    lines.append(f"link set dev {face.name} up")
                    lines += [
                        f"link add link {face.name} name {face.name}.{s.vid} type vlan id {s.vid}" for s in face.tagged
                    ]
                    lines += self.tagged_lines(face)
                else:
                    self.silence(namespace, face.name)
                if face.addresses:
                    lines += [f"link set dev {face.name} arp on", *_address_lines(face.name, face)]
            else:
                lines.append(f"link set dev {face.name} up")
                lines += _address_lines(face.name, face)
        netns.batch(lines, namespace)
        for name, value in node.sysctls:
            netns.sysctl(namespace, name, value)

    @staticmethod
    def tagged_lines(face: Interface) -> list[str]:
        lines = []
        for sub in face.tagged:
            lines.append(f"link set dev {face.name}.{sub.vid} address {face.mac} up")
            lines += _address_lines(f"{face.name}.{sub.vid}", sub)
        return lines

    def end_tags(self, node: Node) -> None:
        """A bridge inside the member stands for 8021q: the cable as trunk, an internal port for each VLAN."""
        switch = switch_of(self.record, node.name)
        lines = []
        for number, face in enumerate(f for f in node.interfaces if f.tagged):
            ports: dict[str, tuple[str, ...]] = {face.name: ()}
            if face.addresses:
                ports[face.name] = self.tags_only(node, face)
            for sub in face.tagged:
                device = f"{face.name}.{sub.vid}"
                ports[device] = (
                    f"tag={sub.vid}",
                    "--",
                    "set",
                    "interface",
                    device,
                    "type=internal",
                    f'mac="{face.mac}"',
                )
            dpid = f"{int(self.record.id.encode().hex(), 16):08x}{0xFF00 + number:08x}"
            ovs.add_bridge(switch, ovs.BridgePlan(f"vlans{number}", face.mac, dpid, "standalone", ports))
            lines += self.tagged_lines(face)
        netns.batch(lines, self.record.namespaces[node.name])

    @staticmethod
    def tags_only(node: Node, face: Interface) -> tuple[str, ...]:
        """The bridge takes the tagged frames only: the plain ones are for the interface's own addresses.

        The kernel gets every frame too, and leaves alone those whose VLAN it has no device for.
        """
        if ovs.datapath_type() != "netdev":
            raise netns.NetworkError(f"{node.name}:{face.name} has plain frames beside tags: that takes 8021q here")
        return ("vlan_mode=trunk", "trunks=" + ",".join(str(sub.vid) for sub in face.tagged))

    def make_bridges(self) -> None:
        for number, bridge in enumerate(self.lab.bridges.values(), 1):
            switch = switch_of(self.record, bridge.node)
            ends = [end for link in self.lab.links for end in (link.a, link.b) if end.owner == bridge.name]
            # The lab's id makes the datapath id unique, for labs that share a controller.
            dpid = f"{int(self.record.id.encode().hex(), 16):08x}{number:08x}"
            target = f"unix:{switch.controller_socket(bridge.name)}" if bridge.controlled else None
            # Port numbers follow the order of the links, which makes flows and traces easy to read.
            ports = {e.name: ("--", "set", "interface", e.name, f"ofport_request={n}") for n, e in enumerate(ends, 1)}
            ovs.add_bridge(switch, ovs.BridgePlan(bridge.name, bridge.mac, dpid, bridge.fail_mode, ports, target))
            if bridge.controlled:
                self.record.dpids[bridge.name] = dpid
            if bridge.fabric:
                netns.sysctl(switch.namespace, f"net/ipv6/conf/{bridge.name}/disable_ipv6", "1")
            else:
                _set_up_local_port(switch.namespace, bridge)
            if bridge.flows:
                switch.ofctl(
                    "-O",
                    "OpenFlow14",
                    "add-flows",
                    switch.management(bridge.name),
                    "-",
                    stdin="\n".join(bridge.flows) + "\n",
                )
        self.record.save()

    # -- the controller ----------------------------------------------------------------------------------------------

    def find_controller(self) -> None:
        bridges = [bridge for bridge in self.lab.bridges.values() if bridge.controlled]
        if not bridges:
            return
        there = self.given or self.start_controller()
        self.record.controller = there.url
        sockets = (switch_of(self.record, b.node).controller_socket(b.name) for b in bridges)
        words = [f"{path}={there.host}:{there.port}" for path in sockets]
        self.launch("channel", [sys.executable, "-m", "topologies.channel", *words], {})

    def start_controller(self) -> Given:
        manager = shutil.which("ryu-manager", path=str(Path(sys.executable).parent)) or shutil.which("ryu-manager")
        app = PROJECT / "apps" / "isolation.py"
        if manager is None or not app.exists():
            raise netns.NetworkError("there is no ryu-manager" if manager is None else f"{app} is missing")
        openflow, rest = free_port(), free_port()
        self.record.own_controller = True
        words = [manager, str(app), "--ofp-listen-host", "127.0.0.1", "--ofp-tcp-listen-port", str(openflow)]
        words += ["--wsapi-host", "127.0.0.1", "--wsapi-port", str(rest)]
        env = {
            "TRIPOINT_STORE": str(self.record.directory / "store.db"),
            "TRIPOINT_OVSDB": ",".join(switch_of(self.record, node).database for node in self.controlled),
            # ryu-manager looks for packages beside itself, and not where the app is.
            "PYTHONPATH": os.pathsep.join(filter(None, [str(PROJECT), os.environ.get("PYTHONPATH", "")])),
        }
        self.launch("controller", words, env)
        return Given(f"http://127.0.0.1:{rest}", "127.0.0.1", openflow)

    def launch(self, role: str, words: list[str], env: dict[str, str]) -> None:
        marked = {**env, MARK_VARIABLE: self.record.id}
        self.record.add(start(Start(role, words, self.record.directory / f"{role}.log", marked, self.tied, PROJECT)))

    def healthy(self) -> None:
        for daemon in self.record.daemons:
            if not daemon.alive:
                raise netns.NetworkError(f"the {daemon.role} process ended")

    def apply_policy(self) -> None:
        """Whole: pushed, in force on every bridge, every endpoint bound to its port."""
        if self.lab.policy is None or not self.record.controller:
            return
        rest = Rest(self.record.controller)

        def unanswered() -> list[str]:
            rest.ask("GET", "/v1/status")
            return []

        wait_for(unanswered, CONTROLLER_TIMEOUT_S, self.healthy)
        rest.put_policy(with_databases(self.lab.policy, self.record))
        endpoints = self.lab.policy.get("endpoints") or {}
        expected = list(endpoints) if isinstance(endpoints, dict) else []
        wait_for(lambda: missing(rest, self.record.dpids, expected), CONTROLLER_TIMEOUT_S, self.healthy)


def with_databases(policy: Mapping[str, object], record: Record) -> dict[str, object]:
    """The policy with the sockets of this lab: `ovsdb: unix:NODE` of a host is the database of that node."""
    found, hosts = dict(policy), policy.get("hosts")
    if isinstance(hosts, dict):
        found["hosts"] = {name: _with_database(host, record) for name, host in hosts.items()}
    return found


def _with_database(host: object, record: Record) -> object:
    node = str(host.get("ovsdb", "")).removeprefix("unix:") if isinstance(host, dict) else ""
    if not isinstance(host, dict) or node not in record.namespaces or host["ovsdb"] == node:
        return host
    return {**host, "ovsdb": switch_of(record, node).database}


def restart_switch(record: Record, node: str) -> None:
    """Kills a node's ovs-vswitchd, and starts another that finds its bridges in the database.

    Returns when the new one answers, and its bridges' own ports are set up. Raises NetworkError.
    """
    switch, lab = switch_of(record, node), record.lab
    role = f"{ovs.SWITCH} {switch.directory.name}"
    (old,) = (daemon for daemon in record.daemons if daemon.role == role)
    os.kill(old.pid, signal.SIGKILL)
    while old.alive:
        time.sleep(0.001)
    record.daemons.remove(old)
    record.add(ovs.start_program(switch, ovs.SWITCH, {MARK_VARIABLE: record.id}, record.mode != "up"))
    ovs.wait_for_switch(switch)
    for bridge in lab.bridges.values():
        if bridge.node == node and not bridge.fabric:
            _set_up_local_port(switch.namespace, bridge)


def _set_up_local_port(namespace: str, bridge: Bridge) -> None:
    if not any(a.version == 6 for a in bridge.addresses):
        netns.sysctl(namespace, f"net/ipv6/conf/{bridge.name}/disable_ipv6", "1")
    netns.checksums_in_software(namespace, bridge.name)
    netns.batch([f"link set dev {bridge.name} up", *_address_lines(bridge.name, bridge)], namespace)


def _address_lines(device: str, holder: object) -> list[str]:
    """Lines of ip(8) for what has `addresses`, and maybe `routes`."""
    lines = []
    for address in getattr(holder, "addresses", ()):
        lines.append(f"address replace {address} dev {device}" + (" nodad" if address.version == 6 else ""))
    for route in getattr(holder, "routes", ()):
        via = "" if route.via is None else f" via {route.via}"
        lines.append(f"route add {route.to}{via} dev {device}")
    return lines


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def look_further(record: Record) -> list[str]:
    """Commands by which a person looks into the lab, a line each."""
    lab, lines = record.lab, []
    for name, namespace in record.namespaces.items():
        lines.append(f"ip netns exec {namespace} bash                       # a shell in {name}")
    for bridge in lab.bridges.values():
        switch = switch_of(record, bridge.node)
        lines.append(f"ovs-ofctl -O OpenFlow14 --names dump-flows {switch.management(bridge.name)}")
        lines.append(f"ovs-appctl -t {switch.directory}/vswitchd.ctl ofproto/trace {bridge.name} in_port=1,...")
    if record.controller:
        lines += [f"curl {record.controller}/v1/{what}" for what in ("status", "bindings", "matrix", "flows")]
    return lines
