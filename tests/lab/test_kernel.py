"""tools/kernel-labs: labs on the kernel datapath, in this machine's kernel or in user-mode Linux."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab.conftest import PROJECT
from tests.lab.stand import until

COMMAND = PROJECT / "tools" / "kernel-labs"
OWN = all(Path("/sys/module", name).exists() for name in ("openvswitch", "8021q"))
USER_MODE = shutil.which("linux.uml") is not None
NO_KERNEL = "no openvswitch and 8021q in this kernel, nor user-mode-linux, which tools/kernel-labs installs"
LIMIT_S = 120.0
COULD_NOT_RUN = 3
WRONG = """
name: wrong
description: What it expects is not so.
nodes:
  a: {interfaces: {eth0: {mac: "02:00:00:00:00:01", addresses: [192.168.5.1/24]}}}
  b: {interfaces: {eth0: {mac: "02:00:00:00:00:02", addresses: [192.168.5.2/24]}}}
links:
  - [a:eth0, b:eth0]
expectations:
  - {from: a, to: b, via: [ping], expect: never}
"""


@pytest.fixture
def place() -> Iterator[Path]:
    """Where the command keeps its files; short, for sockets lie in it."""
    directory = Path(tempfile.mkdtemp(prefix="tpk", dir="/tmp"))
    yield directory
    shutil.rmtree(directory, ignore_errors=True)


def processes(place: Path) -> list[int]:
    """Those that name the directory: every process of a guest does."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal() and int(entry.name) != os.getpid():
            try:
                words = (entry / "cmdline").read_bytes()
            except OSError:
                continue
            if os.fsencode(place) in words:
                found.append(int(entry.name))
    return found


def kernel_labs(place: Path, *words: str) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "TMPDIR": str(place)}
    pipe, none = subprocess.PIPE, subprocess.DEVNULL
    done = subprocess.run(
        [COMMAND, *words], env=env, stdin=none, stdout=pipe, stderr=pipe, text=True, timeout=LIMIT_S, check=False
    )
    if done.returncode == COULD_NOT_RUN:
        pytest.skip(f"no such kernel runs here: {done.stderr[-300:]}")
    return done


@pytest.mark.skipif(not OWN and not USER_MODE, reason=NO_KERNEL)
def test_isolation_holds_on_the_kernel_datapath(place: Path) -> None:
    done = kernel_labs(place, "two_vlans")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "as expected" in done.stdout
    assert "kernel datapath: 1 of 1 labs passed" in done.stdout
    assert processes(place) == []
    assert list(place.iterdir()) == []


@pytest.mark.skipif(not OWN and not USER_MODE, reason=NO_KERNEL)
def test_a_lab_that_does_not_hold_is_a_failure(place: Path) -> None:
    lab = place / "wrong.yaml"
    lab.write_text(WRONG)
    done = kernel_labs(place, str(lab))
    assert done.returncode == 1, done.stdout + done.stderr
    assert "FAIL" in done.stdout
    assert "1 of 1 labs did not pass: wrong" in done.stdout


@pytest.mark.skipif(not USER_MODE, reason="user-mode-linux is not installed (tools/kernel-labs installs it)")
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_the_guest_ends_with_the_command_that_started_it(place: Path, number: signal.Signals) -> None:
    env = {**os.environ, "TMPDIR": str(place)}
    words = [COMMAND, "--user-mode", "two_vlans"]
    with (place / "output").open("w") as output:
        command = subprocess.Popen(words, env=env, stdin=subprocess.DEVNULL, stdout=output, stderr=output)
    try:
        # The kernel's own threads and the first process of the guest.
        until(lambda: len(processes(place)) > 3, "a guest", timeout_s=60)
    finally:
        command.send_signal(number)
        command.wait(LIMIT_S)
    until(lambda: processes(place) == [], "the end of the guest")


def test_an_unknown_lab_is_refused(place: Path) -> None:
    done = kernel_labs(place, "two_vlans", "no_such_lab")
    assert done.returncode == 2
    assert "there is no lab no_such_lab" in done.stderr
