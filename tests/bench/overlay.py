"""Two and three hosts that exchange real packets: one dies and comes back, and TCP runs through a tunnel. I/O.

The labs of `topologies/`, each host a network namespace with an Open vSwitch of its own, its database kept by a
controller of the lab's own.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import yaml

from tests.bench.row import Row
from tests.bench.spread import spread
from tests.rig.controller import wait_until
from tests.rig.stream import stream
from topologies import netns, ovs, records
from topologies.daemons import Daemon, Start, start, stop
from topologies.load import parse
from topologies.ovs import SERVER, SWITCH, Switch, switch_of
from topologies.records import MARK_VARIABLE, Record
from topologies.rest import Rest, RestError
from topologies.runner import PROJECT, bring_up

RESTARTS = 5
RESTART_S = 2.0
ROUNDS = 7
SECONDS = 2
LEAST_RATIO = 0.95
WITHIN_S = 30.0


@contextmanager
def _up(document: dict[str, Any]) -> Iterator[Record]:
    """A lab for the block; afterwards nothing of it is left."""
    directory, before = Path(tempfile.mkdtemp(prefix="tpl", dir="/tmp")), os.environ.get("TRIPOINT_LAB_DIR")
    os.environ["TRIPOINT_LAB_DIR"] = str(directory)
    try:
        text = yaml.safe_dump(document)
        record = bring_up(parse(text), text, "bench", "test")
        try:
            yield record
        finally:
            kept = records.remove(record)
        assert kept == [], kept
    finally:
        del os.environ["TRIPOINT_LAB_DIR"]
        if before is not None:
            os.environ["TRIPOINT_LAB_DIR"] = before
        shutil.rmtree(directory, ignore_errors=True)


def _document(name: str) -> dict[str, Any]:
    """A lab without what is expected of it."""
    document: dict[str, Any] = yaml.safe_load((PROJECT / "topologies" / f"{name}.yaml").read_text())
    return {**document, "expectations": [], "impostors": {}}


# -- a host that dies and comes back


def comes_back() -> Iterator[Row]:
    """Of three hosts boxA dies, while members on the other two exchange packets."""
    with _up(_document("three_point_overlay_untagged")) as record:
        spaces = record.namespaces
        with stream(spaces["common"], spaces["pink1"], "192.168.5.4") as undisturbed:
            time.sleep(3)
        again: list[float] = []
        through: list[float] = []
        with stream(spaces["common"], spaces["pink1"], "192.168.5.4") as beside:
            for _ in range(RESTARTS):
                in_force_s, through_s = _restart(record, "boxA")
                again.append(in_force_s)
                through.append(through_s)
    what = f"ovsdb-server and ovs-vswitchd of one of three hosts killed and restarted {RESTARTS} times, from both"
    measured = f"{spread(again)}; packets of its members cross its tunnel after {spread(through)}"
    yield Row(f"{what} answering to in force", measured, f"<= {RESTART_S:g} s", max(again) <= RESTART_S)
    measured = f"{len(beside.lost)} of {beside.sent:,} lost at {beside.rate_pps:,.0f} a second (without restarts: "
    measured += f"{len(undisturbed.lost)} of {undisturbed.sent:,})"
    ok = not beside.lost and beside.rate_pps >= 1000
    yield Row("packets between the two other hosts meanwhile, by VXLAN", measured, "0 lost, >= 1,000 a second", ok)


def _restart(record: Record, node: str) -> tuple[float, float]:
    """Seconds from both daemons' answering to in force, and to the first answer through the tunnel to another host."""
    rest, switch = Rest(record.controller), switch_of(record, node)
    for program in (SWITCH, SERVER):
        role = f"{program} {switch.directory.name}"
        (old,) = (daemon for daemon in record.daemons if daemon.role == role)
        os.kill(old.pid, signal.SIGKILL)
        wait_until(lambda d=old: not d.alive, WITHIN_S, "it does not die")
        record.daemons.remove(old)
    (switch.directory / "db.sock").unlink(missing_ok=True)
    wait_until(lambda: _is_noticed(rest, node), WITHIN_S, "the controller does not notice")
    for program in (SERVER, SWITCH):
        record.add(ovs.start_program(switch, program, {MARK_VARIABLE: record.id}, record.mode != "up"))
    ovs.wait(switch)
    ovs.wait_for_switch(switch)
    began = time.monotonic()
    in_force_s = wait_until(lambda: _is_in_force(rest, record, node), WITHIN_S, lambda: str(rest.hosts()))
    # The host's own way to the underlay went with its switch; on a real one its network service sets it up again.
    for bridge in record.lab.bridges.values():
        if bridge.node == node:
            ovs.set_up_local_port(switch, bridge)
    wait_until(lambda: _pings(record.namespaces["green1"], "192.168.5.3"), WITHIN_S, "no packet crosses the tunnel")
    return in_force_s, time.monotonic() - began


def _is_noticed(rest: Rest, node: str) -> bool:
    """That both connections are gone: what is in force afterwards is of the new daemons."""
    (view,) = (one for one in rest.hosts() if one["name"] == node)
    return not view["bridge_connected"] and not view["status"]["connected"]


def _is_in_force(rest: Rest, record: Record, node: str) -> bool:
    """By the controller's word, and by what the switch has: as many flows."""
    with suppress(RestError):
        status = rest.ask("GET", "/v1/status")
        (host,) = (one for one in status["hosts"] if one["name"] == node)
        (bridge,) = (one for one in status["bridges"] if one["dpid"] == record.dpids["br-a"])
        if not (host["in_force"] and bridge["connected"] and bridge["in_force"] == status["revision"]):
            return False
        switch = switch_of(record, node)
        counted = switch.ofctl("-O", "OpenFlow14", "dump-aggregate", switch.management("br-a"))
        return int(counted.rpartition("flow_count=")[2]) == bridge["flows_desired"] > 0
    return False


def _pings(namespace: str, address: str) -> bool:
    words = ["ip", "netns", "exec", namespace, "ping", "-c1", "-W0.1", address]
    return subprocess.run(words, capture_output=True, check=False).returncode == 0


# -- TCP through a tunnel


def tcp() -> Iterator[Row]:
    """Members of ours and of plain bridges on the same two hosts, by the same daemons and the same underlay."""
    document = _document("vxlan_point_to_point")
    document["policy"]["overlay"]["bfd"] = True
    for number, side in enumerate("ab", 1):
        face = {"mac": f"02:00:00:00:01:{number:02x}", "addresses": [f"192.168.61.{number}/24"]}
        document["nodes"][f"plain{number}"] = {"interfaces": {"eth0": face}}
        bridge = {"node": f"box{side.upper()}", "controlled": False, "fail_mode": "standalone"}
        document["bridges"][f"plain-{side}"] = bridge
        document["links"].append([f"plain{number}:eth0", f"plain-{side}:plain{number}"])
    with _up(document) as record:
        mtu = int(netns.run(["ip", "netns", "exec", record.namespaces["member1"], "cat", "/sys/class/net/eth0/mtu"]))
        for number, (side, far) in enumerate((("a", "192.168.50.5"), ("b", "192.168.50.4")), 1):
            box = f"box{side.upper()}"
            _plain_tunnel(switch_of(record, box), f"plain-{side}", far)
            for node, device in ((box, f"plain{number}"), (f"plain{number}", "eth0")):
                netns.batch([f"link set dev {device} mtu {mtu}"], record.namespaces[node])
        pairs = {"ours": ("member1", "member2", "192.168.60.5"), "plain": ("plain1", "plain2", "192.168.61.2")}
        servers = [_server(record, pair[1]) for pair in pairs.values()]
        rates: dict[str, list[float]] = {name: [] for name in pairs}
        try:
            for number in range(ROUNDS):
                for name in sorted(pairs, reverse=number % 2 == 1):
                    source, _, address = pairs[name]
                    rates[name].append(_gbit_s(record.namespaces[source], address))
        finally:
            stop(servers)
    ours, plain = max(rates["ours"]), max(rates["plain"])
    each = sorted(one / other for one, other in zip(rates["ours"], rates["plain"], strict=True))
    measured = f"{ours / plain:.3f} times by the best ({ours:.3f} and {plain:.3f} Gbit/s); round by round "
    measured += f"{each[len(each) // 2]:.3f} ({each[0]:.2f} to {each[-1]:.2f})"
    what = f"TCP through VXLAN between two hosts, against the same tunnel on plain NORMAL bridges, best of {ROUNDS}"
    yield Row(f"{what} rounds of {SECONDS} s", measured, f">= {LEAST_RATIO}", ours / plain >= LEAST_RATIO)


def _plain_tunnel(switch: Switch, bridge: str, far: str) -> None:
    words = ["add-port", bridge, "vx", "--", "set", "interface", "vx", "type=vxlan", f"options:remote_ip={far}"]
    # As the controller's tunnels are, but for the key, which its flows set.
    words += ["options:key=4711", "bfd:enable=true", "bfd:min_rx=300", "bfd:min_tx=300"]
    switch.vsctl(*words)


def _server(record: Record, node: str) -> Daemon:
    words = ["ip", "netns", "exec", record.namespaces[node], "iperf3", "-s"]
    log = record.directory / f"iperf3-{node}.log"
    return start(Start("iperf3", words, log, {MARK_VARIABLE: record.id}, True))


def _gbit_s(namespace: str, address: str) -> float:
    """What arrives of one TCP connection. A short one before it lets ARP, caches and windows settle."""
    words = ["ip", "netns", "exec", namespace, "iperf3", "-c", address, "-J"]

    def connects() -> bool:
        return subprocess.run([*words, "-n", "1M"], capture_output=True, check=False).returncode == 0

    wait_until(connects, 10, "no connection")
    answer = json.loads(netns.run([*words, "-t", str(SECONDS)], timeout_s=30))
    return float(answer["end"]["sum_received"]["bits_per_second"]) / 1e9
