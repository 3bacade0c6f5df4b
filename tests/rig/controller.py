"""The controller as a process of its own on a host, and its REST as any program meets it. I/O; for tests."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.rig.host import Host
from topologies.daemons import Daemon
from topologies.netns import inside

PROJECT = Path(__file__).resolve().parent.parent.parent
APP = PROJECT / "apps" / "isolation.py"
START_WITHIN_S = 20.0


class Refused(Exception):
    """The controller answered with a problem document."""


class _Connection(http.client.HTTPConnection):
    """To a REST server that listens on the loopback of a namespace."""

    def __init__(self, namespace: str) -> None:
        super().__init__("127.0.0.1", 8080, timeout=120)
        self._namespace = namespace

    def connect(self) -> None:
        with inside(self._namespace):
            self.sock = socket.create_connection((self.host, self.port), self.timeout)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


class Rest:
    """One connection that is kept. A method may be called by one thread at a time."""

    def __init__(self, namespace: str) -> None:
        self._connection = _Connection(namespace)

    def ask(self, method: str, path: str, body: object = None, media_type: str = "application/json") -> Any:
        """The decoded answer. body: bytes go as they are. Raises Refused, and OSError where nobody answers."""
        data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        try:
            self._connection.request(method, path, data, {"Content-Type": media_type} if data else {})
            answer = self._connection.getresponse()
            text = answer.read()
        except (OSError, http.client.HTTPException) as error:
            self._connection.close()
            raise ConnectionError(f"{method} {path}: {error!r}") from error
        if answer.status >= 400:
            raise Refused(text.decode())
        return json.loads(text)

    def status(self) -> Any:
        return self.ask("GET", "/v1/status")

    def bridge(self) -> Any:
        """The status of the one bridge there is, or None where none has ever been connected."""
        bridges = self.status()["bridges"]
        return bridges[0] if bridges else None

    def close(self) -> None:
        self._connection.close()


class Controller:
    """At most one process at a time. store: stays between two of them."""

    def __init__(self, host: Host, *more_apps: Path) -> None:
        self._host = host
        self._apps = (APP, *more_apps)
        self.store = host.directory / "store.db"
        self.log = host.directory / "controller.log"
        self.rest = Rest(host.namespace)
        self._process: Daemon | None = None

    @property
    def process(self) -> Daemon:
        assert self._process is not None
        return self._process

    @property
    def stopped(self) -> bool:
        return self._process is None or not self._process.alive

    def _command(self) -> list[str]:
        return [str(Path(sys.executable).parent / "ryu-manager"), *map(str, self._apps)]

    def _environment(self) -> dict[str, str]:
        path = os.pathsep.join(filter(None, [str(PROJECT), os.environ.get("PYTHONPATH", "")]))
        database = self._host.switch.database
        return {"TRIPOINT_STORE": str(self.store), "TRIPOINT_OVSDB": database, "PYTHONPATH": path}

    def launch(self, **env: str) -> None:
        """Start it; it may not answer yet."""
        self._process = self._host.launch("controller", self._command(), {**self._environment(), **env})

    def run_to_the_end(self) -> tuple[int, str]:
        """Of one that is expected to end by itself: its exit code and all that it says. Raises TimeoutExpired."""
        words = ["ip", "netns", "exec", self._host.namespace, *self._command()]
        env = {**os.environ, **self._environment()}
        done = subprocess.run(words, env=env, capture_output=True, text=True, timeout=START_WITHIN_S, check=False)
        return done.returncode, done.stdout + done.stderr

    def start(self, **env: str) -> None:
        """Start it, and wait until it answers."""
        self.launch(**env)
        wait_until(self.answers, START_WITHIN_S, self._why_not)

    def answers(self) -> bool:
        try:
            self.rest.status()
        except OSError:
            return False
        return True

    def _why_not(self) -> str:
        return f"the controller does not answer: {self.log.read_text()[-2000:]}"

    def end(self, number: signal.Signals) -> None:
        """Send a signal, and wait until the process is gone."""
        self.rest.close()
        os.kill(self.process.pid, number)
        wait_until(lambda: not self.process.alive, 10, "the controller does not end")

    def memory_mb(self, what: str = "VmRSS") -> float:
        """VmRSS (now) or VmHWM (the most there ever was), megabytes (proc(5))."""
        lines = Path(f"/proc/{self.process.pid}/status").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith(f"{what}:")) * 1024 / 1e6

    def cpu_s(self) -> float:
        """Seconds of processor time so far, all threads (proc(5), utime and stime)."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def wait_until(condition: Callable[[], object], timeout_s: float, what: str | Callable[[], str]) -> float:
    """Seconds that it took to come true. Raises TimeoutError."""
    began = time.monotonic()
    while not condition():
        if time.monotonic() - began > timeout_s:
            raise TimeoutError(what if isinstance(what, str) else what())
        time.sleep(0.005)
    return time.monotonic() - began
