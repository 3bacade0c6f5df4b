"""One Open vSwitch: a database server and a switch daemon of its own, in one namespace and one directory. I/O.

Two instances in one namespace fight over the `ovs-netdev` tap, so each node that needs a switch gets its own. Where
the kernel has no openvswitch module, the userspace datapath (`datapath_type=netdev`) carries the packets.
"""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from topologies import netns
from topologies.daemons import Daemon, Start, start
from topologies.netns import NetworkError, run
from topologies.records import Record
from topologies.spec import Bridge

SCHEMA = Path("/usr/share/openvswitch/vswitch.ovsschema")
SERVER, SWITCH = "ovsdb-server", "ovs-vswitchd"
START_TIMEOUT_S = 15.0


@dataclass(frozen=True, slots=True)
class Switch:
    """Where an instance lives. directory: its sockets, database and logs; short, for socket paths end at 107 bytes."""

    namespace: str
    directory: Path

    @property
    def database(self) -> str:
        """The OVSDB remote, as `ovs-vsctl --db` takes it."""
        return f"unix:{self.directory}/db.sock"

    def management(self, bridge: str) -> str:
        """The OpenFlow socket of a bridge, as ovs-ofctl takes it."""
        return f"unix:{self.directory}/{bridge}.mgmt"

    def controller_socket(self, bridge: str) -> Path:
        """Where the bridge looks for its controller. The daemon connects to sockets in its own directory only."""
        return self.directory / f"{bridge}.controller"

    @property
    def environment(self) -> dict[str, str]:
        there = str(self.directory)
        return {"OVS_RUNDIR": there, "OVS_LOGDIR": there, "OVS_DBDIR": there, "OVS_SYSCONFDIR": there}

    def vsctl(self, *words: str) -> str:
        """Waits until the daemon has done it. Raises NetworkError."""
        return run(["ovs-vsctl", "--retry", "--timeout=15", f"--db={self.database}", *words], env=self.environment)

    def ofctl(self, *words: str, stdin: str = "") -> str:
        return run(["ovs-ofctl", *words], stdin, env=self.environment)

    def appctl(self, *words: str) -> str:
        return run(["ovs-appctl", "-t", f"{self.directory}/vswitchd.ctl", *words], env=self.environment)


def switch_of(record: Record, node: str) -> Switch:
    """The Open vSwitch of a node, whether for its bridges or for its tags."""
    return Switch(record.namespaces[node], record.directory / node)


def datapath_type() -> str:
    """`system` where the kernel has openvswitch, else `netdev`. TRIPOINT_LAB_DATAPATH overrides it."""
    chosen = os.environ.get("TRIPOINT_LAB_DATAPATH")
    if chosen:
        return chosen
    if Path("/sys/module/openvswitch").exists():
        return "system"
    try:
        done = subprocess.run(["modprobe", "openvswitch"], capture_output=True, check=False)
    except FileNotFoundError:
        return "netdev"
    return "system" if done.returncode == 0 else "netdev"


def begin(switch: Switch, env: dict[str, str], tied: bool, record: Callable[[Daemon], None]) -> None:
    """Starts both daemons; `wait` waits for them.

    env: added to theirs. record: called with each at once. Raises NetworkError.
    """
    if not SCHEMA.exists():
        raise NetworkError(f"Open vSwitch is not installed ({SCHEMA} is missing)")
    there = switch.directory
    there.mkdir(mode=0o755, exist_ok=True)
    run(["ovsdb-tool", "create", f"{there}/conf.db", str(SCHEMA)])
    # ovs-vswitchd tries again until the database server listens, so both start at once.
    for program in (SERVER, SWITCH):
        record(start_program(switch, program, env, tied))


def start_program(switch: Switch, program: str, env: dict[str, str], tied: bool) -> Daemon:
    """SERVER or SWITCH, for the first time or again. Raises NetworkError."""
    there = switch.directory
    words = ["ip", "netns", "exec", switch.namespace, SWITCH, switch.database, f"--unixctl={there}/vswitchd.ctl"]
    if program == SERVER:
        managers = "db:Open_vSwitch,Open_vSwitch,manager_options"
        words = [SERVER, f"{there}/conf.db", f"--remote=punix:{there}/db.sock", f"--remote={managers}"]
        words.append(f"--unixctl={there}/ovsdb.ctl")
    words += ["--no-chdir", "-vconsole:off", "-vsyslog:off", "-vfile:info", f"--log-file={there}/{program}.log"]
    try:
        env = {**switch.environment, **env}
        return start(Start(f"{program} {there.name}", words, there / "output.log", env, tied))
    except OSError as error:
        raise NetworkError(f"{words[0]} cannot be started: {error.strerror}") from error


def wait(switch: Switch) -> None:
    """Until the database answers. Raises NetworkError."""
    deadline = time.monotonic() + START_TIMEOUT_S
    while not (switch.directory / "db.sock").exists():
        if time.monotonic() > deadline:
            log = switch.directory / "output.log"
            raise NetworkError(
                f"ovsdb-server in {switch.namespace} does not start: {log.read_text()[-500:] if log.exists() else ''}"
            )
        time.sleep(0.01)
    switch.vsctl("--no-wait", "init")


def wait_for_switch(switch: Switch) -> None:
    """Until ovs-vswitchd answers. Raises NetworkError."""
    deadline = time.monotonic() + START_TIMEOUT_S
    while True:
        try:
            switch.appctl("version")
        except NetworkError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.005)
        else:
            return


@dataclass(frozen=True, slots=True)
class BridgePlan:
    """A bridge to be made. ports: device -> column settings of its Port and Interface rows, as ovs-vsctl words.

    dpid: 16 hexadecimal digits. controller: target, or None.
    """

    name: str
    mac: str
    dpid: str
    fail_mode: str
    ports: Mapping[str, tuple[str, ...]]
    controller: str | None = None


def add_bridge(switch: Switch, plan: BridgePlan) -> None:
    """One transaction: the bridge is never there half. Raises NetworkError."""
    words = ["--", "add-br", plan.name, "--", "set", "bridge", plan.name, f"datapath_type={datapath_type()}"]
    words += [
        f"fail_mode={plan.fail_mode}",
        f'other_config:hwaddr="{plan.mac}"',
        f"other_config:datapath-id={plan.dpid}",
    ]
    for port, settings in plan.ports.items():
        words += ["--", "add-port", plan.name, port, *settings]
    if plan.controller is not None:
        words += ["--", "set-controller", plan.name, plan.controller]
        words += ["--", "set", "controller", plan.name, "max_backoff=1000", "inactivity_probe=5000"]
    switch.vsctl(*words[1:])


def set_up_local_port(switch: Switch, bridge: Bridge) -> None:
    """The bridge's own port, from when the daemon has made it: its addresses, and nothing that it says by itself.

    Raises NetworkError.
    """
    deadline = time.monotonic() + START_TIMEOUT_S
    while bridge.name not in netns.link_names(switch.namespace):
        if time.monotonic() > deadline:
            raise NetworkError(f"bridge {bridge.name} in {switch.namespace} is not made")
        time.sleep(0.01)
    if not any(a.version == 6 for a in bridge.addresses):
        netns.sysctl(switch.namespace, f"net/ipv6/conf/{bridge.name}/disable_ipv6", "1")
    if bridge.fabric:
        return
    if bridge.managed:
        # The MAC that the lab file knows it by; whoever manages the bridge leaves this key to others.
        switch.vsctl("set", "bridge", bridge.name, f'other_config:hwaddr="{bridge.mac}"')
    netns.checksums_in_software(switch.namespace, bridge.name)
    lines = [f"link set dev {bridge.name} up", *netns.address_lines(bridge.name, bridge)]
    netns.batch(lines, switch.namespace)
