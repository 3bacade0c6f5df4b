"""Many hosts on one machine, each an ovsdb-server and an ovs-vswitchd with a directory of its own. I/O.

Their ports are dummies (ovs-vswitchd(8) --enable-dummy=system: also `type=system` and `datapath_type=system` are), so
that a port may have the name of a device that is nowhere. Tunnels are what they are anywhere, but there is no network
under them. All hosts share one network namespace, in which the controller is too.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from tests.rig.controller import wait_until
from tests.rig.host import Host
from topologies import netns, ovs
from topologies.daemons import Daemon

NICE = 5
"""What real hosts would compute on processors of their own goes after what the controller computes."""
BRIDGE = "br0"
START_WITHIN_S = 60.0


@dataclass(frozen=True, slots=True)
class Simulated:
    """One of them."""

    name: str
    switch: ovs.Switch
    daemons: tuple[Daemon, Daemon]

    @property
    def database(self) -> Path:
        """The socket."""
        return self.switch.directory / "db.sock"

    @property
    def memory_mb(self) -> float:
        """VmRSS of both processes (proc(5)), megabytes."""
        lines = [line for d in self.daemons for line in Path(f"/proc/{d.pid}/status").read_text().splitlines()]
        return sum(int(line.split()[1]) for line in lines if line.startswith("VmRSS:")) * 1024 / 1e6

    @property
    def cpu_s(self) -> float:
        """Seconds of processor time so far, of both processes (proc(5), utime and stime)."""
        fields = [Path(f"/proc/{d.pid}/stat").read_text().rpartition(")")[2].split() for d in self.daemons]
        return sum(int(one[11]) + int(one[12]) for one in fields) / 100

    def n_flows(self) -> int:
        """What ovs-ofctl(8) counts on its bridge."""
        words = ("-O", "OpenFlow14", "dump-aggregate", self.switch.management(BRIDGE))
        return int(self.switch.ofctl(*words).rpartition("flow_count=")[2])

    def document(self) -> dict[str, object]:
        """It in a policy."""
        return {"bridge": BRIDGE, "ovsdb": self.switch.database}


def begin(machine: Host, count: int) -> list[Simulated]:
    """Hosts h0, h1 ..., as installed: their databases have been initialised, and they have no bridge."""
    hosts = [_start(machine, f"h{number}") for number in range(count)]
    for one in hosts:
        wait_until(one.database.exists, START_WITHIN_S, f"ovsdb-server of {one.name} does not start")
        one.switch.vsctl("--no-wait", "init")
    for one in hosts:
        wait_until(partial(_answers, one), START_WITHIN_S, f"ovs-vswitchd of {one.name} does not start")
    return hosts


def _start(machine: Host, name: str) -> Simulated:
    switch = ovs.Switch(machine.namespace, machine.directory / name)
    there = switch.directory
    there.mkdir()
    netns.run(["ovsdb-tool", "create", f"{there}/conf.db", str(ovs.SCHEMA)])
    server = ["ovsdb-server", f"{there}/conf.db", f"--remote=punix:{there}/db.sock", f"--unixctl={there}/ovsdb.ctl"]
    daemon = ["ovs-vswitchd", switch.database, f"--unixctl={there}/vswitchd.ctl", "--enable-dummy=system"]
    daemon += ["--disable-system", "--disable-system-route"]
    quiet = ["--no-chdir", "-vconsole:off", "-vsyslog:off", "-vfile:warn"]
    started = []
    for words in (server, daemon):
        argv = ["nice", "-n", str(NICE), *words, *quiet, f"--log-file={there}/{words[0]}.log"]
        started.append(machine.launch(f"{name}-{words[0]}", argv, switch.environment))
    return Simulated(name, switch, (started[0], started[1]))


def _answers(one: Simulated) -> bool:
    try:
        one.switch.appctl("version")
    except netns.NetworkError:
        return False
    return True


def quiet_down(hosts: list[Simulated], *, share: float = 0.1, every_s: float = 0.5, timeout_s: float = 60) -> None:
    """Wait until all of them together use less than `share` of one processor. Raises TimeoutError."""
    deadline = time.monotonic() + timeout_s
    before, at = sum(one.cpu_s for one in hosts), time.monotonic()
    while time.monotonic() < deadline:
        time.sleep(every_s)
        now, then = sum(one.cpu_s for one in hosts), time.monotonic()
        if now - before < share * (then - at):
            return
        before, at = now, then
    raise TimeoutError("the simulated hosts do not come to rest")
