"""Brings a lab up: namespaces, cables, Open vSwitches, controller, policy. I/O.

Everything is recorded before it is made (`records`), so that a lab can be taken away whatever happened to its runner.
"""

from __future__ import annotations

import os
import shlex
import shutil
import socket
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from topologies import managed, netns, ovs, records, underlay
from topologies.daemons import Start, start
from topologies.netns import address_lines
from topologies.ovs import switch_of
from topologies.records import MARK_VARIABLE, Record
from topologies.rest import Rest, RestError, missing, wait_for
from topologies.spec import End, Interface, Lab, Node

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
        self.called = ""
        """Where the hosts connect to that do so by themselves."""
        self.kernel_vlans = vlan_devices()
        self.owners = dict.fromkeys(bridge.node for bridge in lab.bridges.values())
        own = (bridge.node for bridge in lab.bridges.values() if bridge.controlled and not bridge.managed)
        self.watched = dict.fromkeys(own)
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
                # Nobody asks for routers, which kernels do some seconds later, in the midst of what is measured.
                netns.sysctl(name, f"net.ipv6.conf.{scope}.router_solicitations", "0")
            # Every sender is told of its own error, however many there are at a time.
            for version in ("ipv4.icmp_ratelimit", "ipv6.icmp.ratelimit"):
                netns.sysctl(name, f"net.{version}", "0")

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
                    lines += [f"link set dev {face.name} arp on", *address_lines(face.name, face)]
            else:
                lines.append(f"link set dev {face.name} up")
                lines += address_lines(face.name, face)
        netns.batch(lines, namespace)
        for name, value in node.sysctls:
            netns.sysctl(namespace, name, value)
        for program, calls in (("iptables", node.iptables), ("ip6tables", node.ip6tables)):
            for call in calls:
                netns.run(["ip", "netns", "exec", namespace, program, "-w", *shlex.split(call)])

    @staticmethod
    def tagged_lines(face: Interface) -> list[str]:
        lines = []
        for sub in face.tagged:
            lines.append(f"link set dev {face.name}.{sub.vid} address {face.mac} up")
            lines += address_lines(f"{face.name}.{sub.vid}", sub)
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
            if bridge.managed:
                continue
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
            ovs.set_up_local_port(switch, bridge)
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
        if self.given is not None and managed.calling(self.lab):
            raise netns.NetworkError("hosts with 'ovsdb: from:NODE' find a controller of the lab's own only")
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
        openflow, rest, ovsdb = free_port(), free_port(), free_port()
        self.record.own_controller = True
        words = [manager, str(app), "--ofp-listen-host", "127.0.0.1", "--ofp-tcp-listen-port", str(openflow)]
        words += ["--wsapi-host", "127.0.0.1", "--wsapi-port", str(rest)]
        env = {
            "TRIPOINT_STORE": str(self.record.directory / "store.db"),
            "TRIPOINT_OVSDB": ",".join(switch_of(self.record, node).database for node in self.watched),
            # ryu-manager looks for packages beside itself, and not where the app is.
            "PYTHONPATH": os.pathsep.join(filter(None, [str(PROJECT), os.environ.get("PYTHONPATH", "")])),
        }
        if managed.calling(self.lab):
            env["TRIPOINT_OVSDB_LISTEN"] = f"ptcp:{ovsdb}:127.0.0.1"
            self.called = f"tcp:127.0.0.1:{ovsdb}"
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
        endpoints = self.lab.policy.get("endpoints") or {}
        expected = list(endpoints) if isinstance(endpoints, dict) else []

        def unanswered() -> list[str]:
            rest.ask("GET", "/v1/status")
            return []

        wait_for(unanswered, CONTROLLER_TIMEOUT_S, self.healthy)
        managed.call(self.record, self.called)
        answer = rest.put_policy(managed.with_sockets(self.lab.policy, self.record))
        wait_for(lambda: managed.find_bridges(rest, self.record), CONTROLLER_TIMEOUT_S, self.healthy)
        self.record.save()
        for bridge in self.lab.bridges.values():
            if bridge.managed:
                ovs.set_up_local_port(switch_of(self.record, bridge.node), bridge)
        managed.fit_mtus(self.lab, self.record, answer.get("mtu") or {})
        wait_for(lambda: missing(rest, self.record.dpids, expected), CONTROLLER_TIMEOUT_S, self.healthy)
        underlay.acquaint(self.lab, self.record)


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
        hosts = ["hosts"] if any(bridge.managed for bridge in lab.bridges.values()) else []
        words = ("status", *hosts, "bindings", "matrix", "flows")
        lines += [f"curl {record.controller}/v1/{what}" for what in words]
    return lines
