"""A machine as the controller meets it: a network namespace with an Open vSwitch of its own. I/O; for tests.

The controller runs in that namespace too, so that addresses and ports of the machine underneath play no part: the
bridge is attached by `tcp:127.0.0.1:6653` as the README says, and nothing else can be in the way.
"""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path

from topologies import netns, ovs
from topologies.daemons import Daemon, Start, start, stop

BRIDGE = "br0"
CONTROLLER = "tcp:127.0.0.1:6653"


class Ports(Enum):
    """What the ports of a bridge are: devices that exist, or patch ports without a peer, which cost nothing."""

    DEVICE = "device"
    PATCH = "patch"


@dataclass
class Host:
    """namespace: its network. directory: what all its processes write. daemons: everything to be ended with it."""

    namespace: str
    directory: Path
    dummy: bool
    daemons: list[Daemon] = field(default_factory=list)
    members: list[str] = field(default_factory=list)

    @property
    def switch(self) -> ovs.Switch:
        return ovs.Switch(self.namespace, self.directory)

    def launch(self, role: str, words: list[str], env: dict[str, str] | None = None) -> Daemon:
        """A process in the namespace, its output in ROLE.log; it ends with the host at the latest."""
        argv = ["ip", "netns", "exec", self.namespace, *words]
        daemon = start(Start(role, argv, self.directory / f"{role}.log", env or {}, True))
        self.daemons.append(daemon)
        return daemon

    def begin_switch(self) -> None:
        """Both daemons of Open vSwitch. dummy: with devices that carry nothing, thousands of which cost nothing."""
        there = self.directory
        netns.run(["ovsdb-tool", "create", f"{there}/conf.db", str(ovs.SCHEMA)])
        quiet = ["--no-chdir", "-vconsole:off", "-vsyslog:off", "-vfile:info"]
        server = ["ovsdb-server", f"{there}/conf.db", f"--remote=punix:{there}/db.sock"]
        daemon = ["ovs-vswitchd", self.switch.database, *(["--enable-dummy"] if self.dummy else [])]
        for words, control in ((server, "ovsdb.ctl"), (daemon, "vswitchd.ctl")):
            log = f"--log-file={there}/{words[0]}.ovs.log"
            self.launch(words[0], [*words, *quiet, log, f"--unixctl={there}/{control}"], self.switch.environment)
        self.switch.vsctl("--retry", "--no-wait", "init")

    def add_bridge(
        self,
        ports: dict[str, int],
        *,
        kind: Ports = Ports.DEVICE,
        settings: tuple[str, ...] = (),
        name: str = BRIDGE,
    ) -> None:
        """A bare bridge, with nothing set but what makes it run here and `settings` of its row, in one transaction.

        ports: name -> ofport asked for. Devices must exist, except on a dummy host, where the switch makes them.
        """
        datapath = "dummy" if self.dummy else ovs.datapath_type()
        words = ["add-br", name, "--", "set", "bridge", name, f"datapath_type={datapath}", *settings]
        for port, ofport in ports.items():
            words += ["--", "add-port", name, port, "--", "set", "interface", port, f"ofport_request={ofport}"]
            if kind is Ports.PATCH:
                words += ["type=patch", f"options:peer={port}-peer"]
            elif self.dummy:
                words += ["type=dummy"]
        # Thousands of ports are more than a command line holds.
        script = self.directory / "vsctl.args"
        script.write_bytes(b"\0".join(word.encode() for word in words))
        with script.open("rb") as stdin:
            head = ["xargs", "-0", "-x", "-s", "2000000", "ovs-vsctl", "--timeout=120", f"--db={self.switch.database}"]
            done = subprocess.run(head, stdin=stdin, capture_output=True, text=True, env=self._env(), check=False)
        if done.returncode:
            raise netns.NetworkError(done.stderr)

    def attach(self, bridge: str = BRIDGE, *, target: str = CONTROLLER) -> None:
        """What a user types.

        A switch that has lost its controller waits for up to 8 s until it tries again. A target that it does not have
        yet it tries at once, and keeps its flows meanwhile.
        """
        self.switch.vsctl("set-controller", bridge, target)

    def ofctl(self, command: str, *words: str, bridge: str = BRIDGE, stdin: str = "") -> str:
        return self.switch.ofctl("-O", "OpenFlow14", command, self.switch.management(bridge), *words, stdin=stdin)

    def _env(self) -> dict[str, str]:
        return {**os.environ, **self.switch.environment}

    def add_member(self, name: str, mac: str, address: str) -> str:
        """A namespace with eth0, whose other end NAME lies in the host, up and not yet on a bridge. Its namespace."""
        member = f"{self.namespace}-{name}"
        netns.batch([f"netns add {member}"])
        self.members.append(member)
        netns.batch([f"link add name {name} netns {self.namespace} type veth peer name eth0 netns {member}"])
        for namespace, device in ((self.namespace, name), (member, "eth0")):
            netns.sysctl(namespace, f"net/ipv6/conf/{device}/disable_ipv6", "1")
            netns.checksums_in_software(namespace, device)
        # The kernel of the host gets every frame too; it must not answer one.
        netns.batch([f"link set dev {name} arp off up"], self.namespace)
        netns.batch(
            [f"link set dev eth0 address {mac}", f"address add {address} dev eth0", "link set dev eth0 up"], member
        )
        return member


@contextmanager
def host(*, dummy: bool = False) -> Iterator[Host]:
    """A host with Open vSwitch and no bridge; afterwards nothing of it is left. Needs root."""
    directory = Path(tempfile.mkdtemp(prefix="tpr", dir="/tmp"))
    made = Host(f"tpr{secrets.token_hex(3)}", directory, dummy)
    try:
        netns.batch([f"netns add {made.namespace}"])
        netns.batch(["link set dev lo up"], made.namespace)
        made.begin_switch()
        yield made
    finally:
        stop(made.daemons)
        for namespace in (*made.members, made.namespace):
            if namespace in netns.names():
                netns.run(["ip", "netns", "delete", namespace])
        shutil.rmtree(directory, ignore_errors=True)
