"""A throwaway ovsdb-server, if asked for with an ovs-vswitchd of dummies; without root, in a directory of its own."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

SCHEMA = Path("/usr/share/openvswitch/vswitch.ovsschema")
WITHIN_S = 10.0


def until(condition: Callable[[], bool], what: Callable[[], object] = lambda: "", within_s: float = WITHIN_S) -> float:
    """Seconds until it was so. Raises AssertionError."""
    began = time.monotonic()
    while not condition():
        assert time.monotonic() - began < within_s, what()
        time.sleep(0.002)
    return time.monotonic() - began


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Database:
    """remote: as the controller is told it. system_id: its external_ids:system-id."""

    def __init__(self, directory: Path, system_id: str) -> None:
        self.directory = directory
        self.system_id = system_id
        self.remote = f"unix:{directory}/db.sock"
        self._environment = {**os.environ, "OVS_RUNDIR": str(directory), "OVS_DBDIR": str(directory)}
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._run("ovsdb-tool", "create", f"{directory}/conf.db", str(SCHEMA))
        self.begin_server()
        self.vsctl("init", "--", "set", "Open_vSwitch", ".", f"external_ids:system-id={system_id}", "ovs_version=3.1.0")

    def begin_server(self) -> None:
        sock = self.directory / "db.sock"
        remotes = [f"--remote=punix:{sock}", "--remote=db:Open_vSwitch,Open_vSwitch,manager_options"]
        tls = ("private-key=db:Open_vSwitch,SSL,private_key", "certificate=db:Open_vSwitch,SSL,certificate")
        options = [*remotes, *(f"--{one}" for one in tls), "--ca-cert=db:Open_vSwitch,SSL,ca_cert"]
        self._begin("ovsdb-server", *options, f"--unixctl={self.directory}/server.ctl", f"{self.directory}/conf.db")
        until(lambda: _answers(sock), self.log)

    def begin_switch(self) -> None:
        options = ["--enable-dummy=override", "--disable-system", f"--unixctl={self.directory}/switch.ctl"]
        self._begin("ovs-vswitchd", *options, self.remote)
        until((self.directory / "switch.ctl").exists, self.log)

    def kill(self, program: str) -> None:
        process = self._processes.pop(program)
        process.kill()
        process.wait()

    def freeze(self, program: str, frozen: bool) -> None:
        self._processes[program].send_signal(signal.SIGSTOP if frozen else signal.SIGCONT)

    def vsctl(self, *words: str) -> str:
        """ovs-vsctl(8) that does not wait for the daemon. What it prints."""
        return self._run("ovs-vsctl", "--no-wait", "--no-syslog", f"--db={self.remote}", "--timeout=10", *words)

    def get(self, table: str, record: str, column: str) -> str:
        return self.vsctl("--if-exists", "get", table, record, column).strip()

    def names(self, table: str) -> set[str]:
        return set(self.vsctl("--bare", "--columns=name", "list", table).split())

    def listen(self, port: int) -> str:
        """Let it be reached by TCP too: that remote."""
        self.vsctl("set-manager", f"ptcp:{port}:127.0.0.1")
        return f"tcp:127.0.0.1:{port}"

    def follow(self) -> None:
        """Say that all has been read and every bridge been made, as ovs-vswitchd does."""
        words = ["set", "Open_vSwitch", ".", f"cur_cfg={self.get('Open_vSwitch', '.', 'next_cfg')}"]
        for name in self.names("Bridge"):
            dpid = self.get("Bridge", name, "other_config:datapath-id")
            words += ["--", "set", "Bridge", name, f"datapath_id={dpid}"]
        self.vsctl(*words)

    def log(self) -> str:
        return "\n".join(path.read_text()[-2000:] for path in self.directory.glob("*.log"))

    def end(self) -> None:
        for program in tuple(self._processes):
            self.kill(program)

    def _run(self, *command: str) -> str:
        done = subprocess.run(command, capture_output=True, text=True, env=self._environment, timeout=20, check=False)
        assert done.returncode == 0, f"{' '.join(command)[:300]}: {done.stderr}"
        return done.stdout

    def _begin(self, program: str, *options: str) -> None:
        with (self.directory / f"{program}.log").open("a") as log:
            self._processes[program] = subprocess.Popen(
                [program, *options], env=self._environment, stdout=log, stderr=log, cwd=self.directory
            )


def _answers(sock: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(str(sock))
        except OSError:
            return False
        return True


@contextmanager
def database(system_id: str = "host-a", *, switch: bool = False) -> Iterator[Database]:
    """Afterwards nothing of it is left."""
    with TemporaryDirectory(prefix="tripoint-db-") as directory:
        made = Database(Path(directory), system_id)
        try:
            if switch:
                made.begin_switch()
            yield made
        finally:
            made.end()
