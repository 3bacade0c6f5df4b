"""Processes that belong to a lab: started, known again by pid and start time, stopped. I/O.

A pid alone does not identify a process (pids are used again); pid and start time do (proc(5), field 22 of stat).
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from topologies.signals import held

_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True, slots=True)
class Daemon:
    """started: clock ticks after boot."""

    role: str
    pid: int
    started: int

    @property
    def alive(self) -> bool:
        """It runs, and is the one that was started. A child that ended is reaped on the way."""
        with contextlib.suppress(ChildProcessError):
            os.waitpid(self.pid, os.WNOHANG)
        return start_time(self.pid) == self.started


def start_time(pid: int) -> int | None:
    """None: no such process, or it ended and only waits to be reaped."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if fields[0] in "ZX" else int(fields[19])


def myself() -> Daemon:
    return Daemon("runner", os.getpid(), start_time(os.getpid()) or 0)


@dataclass(frozen=True, slots=True)
class Start:
    """How to start one. tied: the kernel kills it when this process ends, however it ends."""

    role: str
    argv: Sequence[str]
    log: Path
    env: Mapping[str, str]
    tied: bool
    cwd: Path | None = None


def start(order: Start) -> Daemon:
    """In a session of its own, so that Ctrl-C reaches only the runner, which then stops it in order. Raises OSError."""

    def tie() -> None:
        _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)

    with order.log.open("ab") as log, held():
        child = subprocess.Popen(
            list(order.argv),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env={**os.environ, **order.env},
            cwd=order.cwd,
            start_new_session=True,
            preexec_fn=tie if order.tied else None,
        )
        # Popen must not complain about a child that outlives it: from here on the pid and start time stand for it.
        child.returncode = 0
    return Daemon(order.role, child.pid, start_time(child.pid) or 0)


def stop(daemons: Iterable[Daemon], patience_s: float = 3) -> None:
    """Asks all to end, waits, and kills those that do not. Those that are not ours any more are left alone."""
    running = [d for d in daemons if d.alive]
    for number in (signal.SIGTERM, signal.SIGKILL):
        for daemon in running:
            if daemon.alive:
                try:
                    os.kill(daemon.pid, number)
                except ProcessLookupError:
                    continue
        deadline = time.monotonic() + patience_s
        while running and time.monotonic() < deadline:
            running = [d for d in running if d.alive]
            if running:
                time.sleep(0.01)
        if not running:
            return
