"""Labs come and go without a trace: beside each other, interrupted, killed, half made, and with strangers among
them.
"""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.lab.conftest import LABS, PROJECT, left_of
from topologies import command, netns, records
from topologies.runner import free_port

CONTROLLED = PROJECT / "topologies" / "switch_namespace.yaml"
CABLE = PROJECT / "topologies" / "direct_cable.yaml"


def until(condition: Callable[[], bool], timeout_s: float = 20) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "it never came true"
        time.sleep(0.02)


def lab_command(*words: str) -> subprocess.Popen[str]:
    argv = [sys.executable, "-u", "-m", "topologies", *words]
    return subprocess.Popen(argv, cwd=PROJECT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def up(path: Path) -> records.Record:
    out = io.StringIO()
    before = {r.id for r in records.every()}
    assert command.up(str(path), out=out) == command.Code.OK, out.getvalue()
    return next(r for r in records.every() if r.id not in before)


@pytest.mark.usefixtures("nothing_left")
def test_two_labs_of_one_file_live_beside_each_other() -> None:
    first, second = up(CONTROLLED), up(CONTROLLED)
    assert not set(first.namespaces.values()) & set(second.namespaces.values())
    assert first.controller != second.controller
    with ThreadPoolExecutor() as pool:
        tests = [
            pool.submit(lambda r: lab_command("test", r.id).communicate(timeout=60)[0], r) for r in (first, second)
        ]
    assert all("52 of 52 as expected" in test.result() for test in tests), [test.result() for test in tests]
    out = io.StringIO()
    assert command.test(str(CONTROLLED), out=out) == command.Code.USAGE, "which of the two?"
    assert command.down(first.id, out) == command.Code.OK
    assert left_of(first.id) == []
    assert command.test(second.id, out=out) == command.Code.OK, out.getvalue()
    assert command.down(second.name, out) == command.Code.OK


@pytest.mark.usefixtures("nothing_left")
def test_a_lab_that_is_up_is_tested_where_it_is_and_stays_up() -> None:
    record, out = up(CABLE), io.StringIO()
    assert command.test(str(CABLE), out=out) == command.Code.OK
    assert [r.id for r in records.every()] == [record.id]
    command.list_labs(out)
    assert f"{record.id}  direct_cable  up" in out.getvalue()
    assert command.down(str(CABLE), out) == command.Code.OK
    assert command.down(str(CABLE), out) == command.Code.USAGE


@pytest.fixture
def running(lab_directory: Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """`lab run` of a controlled lab, at the point where it waits for Ctrl-C; and the lab's id."""
    process = lab_command("run", str(CONTROLLED))
    seen = ""
    assert process.stdout is not None
    while "Ctrl-C takes everything down" not in seen:
        line = process.stdout.readline()
        assert line, seen
        seen += line
    assert "52 of 52 as expected" in seen
    assert "ovs-ofctl -O OpenFlow14 --names dump-flows unix:" in seen
    assert "/v1/status" in seen
    yield process, next(records.every()).id
    process.kill()
    process.wait()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_takes_a_running_lab_down(running: tuple[subprocess.Popen[str], str], number: signal.Signals) -> None:
    process, lab_id = running
    assert left_of(lab_id)
    process.send_signal(number)
    process.communicate(timeout=20)
    assert process.returncode == 0
    assert left_of(lab_id) == []


def test_after_kill_9_the_daemons_are_gone_and_down_removes_the_rest(
    running: tuple[subprocess.Popen[str], str],
) -> None:
    process, lab_id = running
    process.kill()
    process.wait()
    until(lambda: not records.marked_processes(lab_id))
    (record,) = records.every()
    assert record.state == "broken"
    out = io.StringIO()
    assert command.down(record.name, out) == command.Code.OK, out.getvalue()
    assert left_of(lab_id) == []


@pytest.mark.usefixtures("lab_directory")
@pytest.mark.parametrize("delay_s", [*(0.004 * n for n in range(12)), 0.2, 0.6, 1.2])
def test_a_signal_while_a_lab_comes_up_leaves_nothing(delay_s: float) -> None:
    """Wherever in the bring-up or the judging it strikes."""
    process = lab_command("test", str(CONTROLLED))
    until(lambda: any(True for _ in records.every()))
    lab_id = next(records.every()).id
    time.sleep(delay_s)
    process.send_signal(signal.SIGINT)
    output = process.communicate(timeout=20)[0]
    assert process.returncode == command.Code.INTERRUPTED, output
    assert "Traceback" not in output
    assert left_of(lab_id) == []


@pytest.mark.usefixtures("nothing_left")
def test_what_does_not_carry_the_mark_is_left_alone() -> None:
    record, out = up(CABLE), io.StringIO()
    namespace = record.namespaces["netns1"]
    netns.batch(["link set dev lo alias somebody-else"], namespace)
    assert command.down(record.id, out) == command.Code.FAILED
    assert "does not carry the mark" in out.getvalue()
    assert namespace in netns.names()
    assert record.namespaces["netns2"] not in netns.names()
    netns.batch([f"link set dev lo alias {record.mark}"], namespace)
    assert command.down(record.id, out) == command.Code.OK


def test_a_policy_that_is_refused_ends_the_bring_up_with_the_controllers_words(nothing_left: list[str]) -> None:
    out = io.StringIO()
    assert command.test(str(LABS / "refused_policy.yaml"), out=out) == command.Code.NOT_UP
    assert "/endpoints/netns1/ips/0" in out.getvalue()
    assert len(nothing_left) == 1


def test_a_file_that_is_no_lab_is_refused_with_every_problem(tmp_path: Path) -> None:
    path, out = tmp_path / "bad.yaml", io.StringIO()
    path.write_text("name: bad\nnodes: {a: {interfacs: {}}}\nlinks: [[a:eth0, b:eth0]]\n")
    assert command.test(str(path), out=out) == command.Code.USAGE
    assert "/nodes/a/interfacs" in out.getvalue()
    assert "/links/0/1" in out.getvalue()
    assert command.test(str(tmp_path / "absent.yaml"), out=out) == command.Code.USAGE


@pytest.mark.usefixtures("nothing_left")
def test_a_lab_uses_a_controller_that_runs_already(tmp_path: Path) -> None:
    openflow, rest = free_port(), free_port()
    words = [str(Path(sys.executable).parent / "ryu-manager"), "apps/isolation.py"]
    words += ["--ofp-listen-host", "127.0.0.1", "--ofp-tcp-listen-port", str(openflow), "--wsapi-port", str(rest)]
    env = {**os.environ, "TRIPOINT_STORE": str(tmp_path / "store.db"), "PYTHONPATH": str(PROJECT)}
    with (tmp_path / "log").open("w") as log:
        controller = subprocess.Popen(words, cwd=PROJECT, env=env, stdout=log, stderr=log)
    try:
        out = io.StringIO()
        options = {"controller": f"http://127.0.0.1:{rest}", "openflow": str(openflow), "out": out}
        assert command.test(str(CONTROLLED), **options) == command.Code.OK, (
            out.getvalue() + (tmp_path / "log").read_text()
        )
        assert controller.poll() is None
    finally:
        controller.terminate()
        controller.wait(10)
    out = io.StringIO()
    assert command.test(str(CONTROLLED), controller="not-a-url", out=out) == command.Code.USAGE
