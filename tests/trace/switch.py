"""A throwaway Open vSwitch without root, devices or network: dummy datapath, own directory, own sockets.

`Switch.trace` asks ofproto/trace for its opinion on one frame. The bridge has no ports: those that flows name need not
exist for a trace, which says `output:N` either way, and a bridge without ports is a hundred times faster. (The last
line of a trace, `Datapath actions`, leaves out ports that do not exist and is not read.) What a trace cannot say is
what the frame looks like when it leaves; for that `add_ports` makes dummy ports, and `pass_through` puts a real frame
in and reads back the bytes that came out.
"""

from __future__ import annotations

import os
import re
import struct
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory

from controller.flow.fields import LOCAL_PORT
from controller.flow.flow import Flow
from controller.flow.frame import form_frame
from controller.flow.packet import Packet, raw
from tests.trace.unixctl import ControlSocket

BRIDGE = "br0"
_OUTPUT = re.compile(r"^ *(?:output:(\d+)|LOCAL)\n( *>> skipping output to input port)?", re.MULTILINE)
_GIVEN_UP = re.compile(r">> (?!skipping output to input port|Nonexistent output port).*")
_SCHEMA = Path("/usr/share/openvswitch/vswitch.ovsschema")
_WAIT_S = 10
# Nobody gave names to tables, and to ask for those of all 254 would take longer than all the rest.
_OFCTL = ("ovs-ofctl", "--no-names", "-O", "OpenFlow14")
CANARY_PORT = 100
CANARY_FLOW = f"table=0,priority=65535,dl_type=0x88b5,actions=output:{CANARY_PORT}"
_CANARY = form_frame(raw(0x02000000CA4A, 0x02000000CA4B, 0x88B5))


def wait_until(condition: Callable[[], bool], what: str) -> None:
    """Raises TimeoutError after 10 s."""
    end = time.monotonic() + _WAIT_S
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError(what)
        time.sleep(0.0002)


class Switch:
    """A running switch with one bridge."""

    def __init__(self, directory: Path, control: ControlSocket) -> None:
        self.directory = directory
        self.target = f"unix:{directory}/{BRIDGE}.mgmt"
        self._control = control
        self._read: dict[int, int] = {}

    def run(self, *command: str, stdin: str = "") -> str:
        """One of the tools of Open vSwitch, pointed at this switch. Raises CalledProcessError."""
        environment = {**os.environ, "OVS_RUNDIR": str(self.directory), "OVS_DBDIR": str(self.directory)}
        done = subprocess.run(
            command, input=stdin, capture_output=True, text=True, env=environment, timeout=_WAIT_S, check=False
        )
        assert done.returncode == 0, f"{' '.join(command)}: {done.stderr}"
        return done.stdout

    def load(self, flows: Iterable[Flow | str]) -> None:
        """Replace everything the bridge has, learned flows included, in one bundle."""
        text = "".join(f"{flow}\n" for flow in flows)
        self.run(*_OFCTL, "--bundle", "replace-flows", self.target, "-", stdin=text)

    def forget_connections(self) -> None:
        """Empty conntrack."""
        self._control.call("dpctl/flush-conntrack")

    def dump(self, table: int) -> list[str]:
        """The flows of a table, without statistics."""
        lines = self.run(*_OFCTL, "--no-stats", "dump-flows", self.target, f"table={table}")
        return [line.strip() for line in lines.splitlines() if "actions=" in line]

    def trace(self, in_port: int, frame: Packet) -> tuple[int, ...]:
        """The ports a frame is sent to, in order. It is a real frame for the tables: they learn from it."""
        text = self.trace_text(in_port, frame)
        given_up = _GIVEN_UP.search(text)
        assert not given_up, text
        return tuple(int(port or LOCAL_PORT) for port, skipped in _OUTPUT.findall(text) if not skipped)

    def trace_text(self, in_port: int, frame: Packet) -> str:
        return self._control.call("ofproto/trace", BRIDGE, f"in_port={in_port}", form_frame(frame).hex())

    def configure(self, *command: str) -> None:
        """Run ovs-vsctl(8) and wait until the switch has followed."""
        self.run("ovs-vsctl", f"--db=unix:{self.directory}/db.sock", *command)

    def limit_vlans(self, n_tags: int) -> None:
        """How many tags the parser looks behind (other_config:vlan-limit)."""
        self.configure("set", "Open_vSwitch", ".", f"other_config:vlan-limit={n_tags}")

    def add_ports(self, numbers: Iterable[int]) -> None:
        """Dummy ports d1, d2, ... that write what leaves through them to a file; and one for the canary."""
        command = []
        for number in (*numbers, CANARY_PORT):
            name = f"d{number}"
            command += ["--", "add-port", BRIDGE, name, "--", "set", "Interface", name, "type=dummy"]
            command += [f"ofport_request={number}", f"options:tx_pcap={self.directory}/{name}.pcap"]
        self.configure(*command)

    def pass_through(self, in_port: int, data: bytes, out_ports: Iterable[int]) -> list[tuple[int, bytes]]:
        """(port, frame) of all that leaves through out_ports when a frame arrives at in_port.

        Needs CANARY_FLOW installed. A canary follows the frame into the same port: when it has come out, everything
        that the frame can cause is written.
        """
        # What an earlier frame has left in the datapath's cache may be older than what that frame taught the tables.
        self._control.call("revalidator/purge")
        for frame in (data, _CANARY):
            self.receive(in_port, frame)
        wait_until(lambda: bool(self.received(CANARY_PORT)), "the canary does not come out")
        return [(port, frame) for port in out_ports for frame in self.received(port)]

    def receive(self, in_port: int, data: bytes) -> None:
        """Let a frame arrive at a dummy port."""
        self._control.call("netdev-dummy/receive", f"d{in_port}", data.hex())

    def received(self, port: int) -> list[bytes]:
        """Every frame that left through a dummy port since the last call: the new records of a pcap file."""
        begin = self._read.get(port, 24)
        with (self.directory / f"d{port}.pcap").open("rb") as file:
            file.seek(begin)
            data = file.read()
        at = 0
        frames = []
        while at + 16 <= len(data):
            length = struct.unpack_from("=I", data, at + 8)[0]
            if at + 16 + length > len(data):
                break
            frames.append(data[at + 16 : at + 16 + length])
            at += 16 + length
        self._read[port] = begin + at
        return frames


@contextmanager
def running_switch() -> Iterator[Switch]:
    """Open vSwitch in a directory of its own; everything is gone afterwards."""
    with ExitStack() as stack:
        directory = Path(stack.enter_context(TemporaryDirectory(prefix="tripoint-trace-")))
        environment = {**os.environ, "OVS_RUNDIR": str(directory), "OVS_DBDIR": str(directory)}
        database = directory / "conf.db"
        subprocess.run(["ovsdb-tool", "create", database, _SCHEMA], check=True, env=environment, capture_output=True)
        server = [f"--remote=punix:{directory}/db.sock", f"--unixctl={directory}/server.ctl", str(database)]
        _start(stack, directory, "ovsdb-server", *server)
        wait_until((directory / "db.sock").exists, "ovsdb-server does not answer")
        control = directory / "switch.ctl"
        vsctl = ["ovs-vsctl", "--retry", f"--timeout={_WAIT_S:.0f}", "--no-wait", f"--db=unix:{directory}/db.sock"]
        bridge = ["add-br", BRIDGE, "--", "set", "Bridge", BRIDGE, "fail_mode=secure", "datapath_type=dummy"]
        subprocess.run([*vsctl, *bridge], check=True, env=environment, capture_output=True, timeout=_WAIT_S)
        options = ["--enable-dummy=override", "--disable-system", f"--unixctl={control}", f"unix:{directory}/db.sock"]
        _start(stack, directory, "ovs-vswitchd", *options)
        wait_until((directory / f"{BRIDGE}.mgmt").exists, "ovs-vswitchd makes no bridge")
        connection = ControlSocket(control)
        stack.callback(connection.close)
        yield Switch(directory, connection)


def _start(stack: ExitStack, directory: Path, program: str, *options: str) -> None:
    """A child in the foreground, which ends with the stack."""
    environment = {**os.environ, "OVS_RUNDIR": str(directory), "OVS_LOGDIR": str(directory)}
    with (directory / f"{program}.log").open("w") as log:
        process = subprocess.Popen([program, *options], env=environment, stdout=log, stderr=log, cwd=directory)
    stack.callback(_stop, process)


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    with suppress(subprocess.TimeoutExpired):
        process.wait(timeout=5)
    process.kill()
    process.wait()
