"""The lab tests can fail, and refuse to judge where nothing was shown."""

from __future__ import annotations

import asyncio
import io
import os
import signal
from pathlib import Path

import pytest

from tests.lab.conftest import LABS, PROJECT
from topologies import command, netns, records
from topologies.backlog import LONG_BYTES, Ports
from topologies.capture import packet_socket
from topologies.judge import judge
from topologies.load import parse
from topologies.ovs import switch_of
from topologies.runner import bring_up
from topologies.spec import Expect, Probe
from topologies.verdict import Row, Verdict

pytestmark = pytest.mark.usefixtures("nothing_left")


def brought_up(path: Path) -> records.Record:
    text = path.read_text()
    return bring_up(parse(text), text, str(path), "test")


def rows_of(path: Path) -> list[Row]:
    record = brought_up(path)
    try:
        return asyncio.run(judge(record))
    finally:
        records.remove(record)


def test_on_a_switch_without_isolation_every_never_fails() -> None:
    """Frames of every kind and of every attack do arrive there, and are seen."""
    rows = rows_of(LABS / "normal_bridge.yaml")
    nevers = [row for row in rows if row.expected is Expect.NEVER]
    assert len(nevers) > 30
    assert [row for row in nevers if row.verdict is not Verdict.FAIL] == []
    assert all("saw" in row.seen and row.canary == "seen" for row in nevers)
    assert all(row.verdict is Verdict.PASS for row in rows if row.expected is Expect.REACH)


def test_on_a_switch_without_isolation_the_test_command_says_failed() -> None:
    out = io.StringIO()
    assert command.test(str(LABS / "normal_bridge.yaml"), out=out) == command.Code.FAILED
    assert "netns2 saw" in out.getvalue()


def test_on_a_router_that_forwards_everything_what_is_wrong_fails_and_nothing_else() -> None:
    """Silence, rejections, closed ports and translated addresses: each is told from what only looks like it."""
    rows = rows_of(LABS / "open_router.yaml")
    wrong = [row for row in rows if row.why == "wrong"]
    assert len(wrong) > 20
    assert [row for row in wrong if row.verdict is not Verdict.FAIL] == []
    assert [row for row in rows if row not in wrong and row.verdict is not Verdict.PASS] == []


def test_a_common_member_that_forwards_bridges_or_relays_is_noticed() -> None:
    """Without a situation the two VLANs are apart; each situation joins them, by every kind of traffic that it
    carries.
    """
    rows = rows_of(LABS / "vlan_hubs.yaml")
    quiet = [row for row in rows if not row.situation]
    assert [row for row in quiet if row.verdict is not Verdict.PASS] == []
    joined = [row for row in rows if row.situation]
    assert {row.situation.split()[0] for row in joined} == {"forward", "bridge", "relay"}
    assert [row for row in joined if row.verdict is not Verdict.FAIL] == []


def test_nothing_seen_without_a_canary_is_invalid_and_not_a_pass() -> None:
    path = str(LABS / "silent_switch.yaml")
    out = io.StringIO()
    assert command.up(path, out=out) == command.Code.OK, out.getvalue()
    (record,) = records.find(path)
    try:
        assert command.test(record.id, out=out) == command.Code.OK, out.getvalue()
        netns.batch(["link set dev eth0 down"], record.namespaces["netns2"])
        out = io.StringIO()
        assert command.test(record.id, out=out) == command.Code.INVALID, out.getvalue()
        assert "netns2:eth0 before not seen" in out.getvalue()
        netns.batch(["link set dev eth0 up"], record.namespaces["netns2"])
        assert command.test(record.id, out=out) == command.Code.OK, out.getvalue()
    finally:
        assert command.down(record.id, out) == command.Code.OK


def test_a_sender_that_cannot_send_shows_nothing() -> None:
    record = brought_up(LABS / "silent_switch.yaml")
    try:
        netns.batch(["link set dev eth0 down"], record.namespaces["netns1"])
        rows = asyncio.run(judge(record))
    finally:
        records.remove(record)
    assert {row.verdict for row in rows} == {Verdict.INVALID}
    assert all("cannot send" in row.observed for row in rows)


def test_frames_that_a_switch_never_read_are_counted() -> None:
    """So that they cannot be taken for frames that it dropped on purpose."""
    record = brought_up(LABS / "silent_switch.yaml")
    try:
        namespace = record.namespaces["switch"]
        ports = Ports({namespace: ("veth1", "veth2")})
        assert ports.lost() == {(namespace, "veth1"): 0, (namespace, "veth2"): 0}
        daemon = next(d for d in record.daemons if d.role.startswith("ovs-vswitchd"))
        os.kill(daemon.pid, signal.SIGSTOP)
        try:
            with packet_socket(record.namespaces["netns1"], "eth0", receive=False) as sender:
                for _ in range(1000):
                    sender.send(bytes(60))
            assert ports.waiting_bytes(namespace, "veth1") > LONG_BYTES
            assert ports.waiting_bytes(namespace, "veth2") == 0
        finally:
            os.kill(daemon.pid, signal.SIGCONT)
        asyncio.run(ports.empty())
        assert ports.waiting_bytes(namespace) == 0
        assert 0 < ports.lost()[namespace, "veth1"] < 1000
    finally:
        records.remove(record)


def test_one_flow_too_many_beside_the_controllers_is_noticed() -> None:
    """A lab under control, into which somebody puts a leak for broadcasts from a green port to a pink one."""
    path = PROJECT / "topologies" / "two_vlans_same_addresses.yaml"
    record = brought_up(path)
    try:
        switch = switch_of(record, "switch")
        leak = "table=0,priority=65535,in_port=1,dl_dst=ff:ff:ff:ff:ff:ff,actions=output:3"
        switch.ofctl("-O", "OpenFlow14", "add-flow", switch.management("br0"), leak)
        nevers = [e for e in record.lab.expectations if isinstance(e, Probe) and e.expect is Expect.NEVER]
        rows = asyncio.run(judge(record, nevers))
    finally:
        records.remove(record)
    failed = {(row.source, row.target, row.via) for row in rows if row.verdict is not Verdict.PASS}
    assert failed == {("netns1", "netns3", "broadcast"), ("netns1", "netns3", "arp")}
