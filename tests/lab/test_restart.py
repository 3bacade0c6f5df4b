"""The controller ends, is killed, comes back, finds strange flows or a broken store: what is in force stays in force.

Under each of these runs a stream of 2,000 packets a second between two members: not one may be lost.
"""

from __future__ import annotations

import re
import signal
import socket
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from controller.pipeline import TABLES
from tests.rig.controller import Controller, wait_until
from tests.rig.flows import Installed, installed
from tests.rig.host import Host, host
from tests.rig.stream import Stream, stream
from topologies import netns
from topologies.netns import inside

MEMBERS = {
    "web1": ("02:00:00:00:00:01", "10.0.0.1"),
    "web2": ("02:00:00:00:00:02", "10.0.0.2"),
    "db1": ("02:00:00:00:00:03", "10.0.0.3"),
    "db2": ("02:00:00:00:00:04", "10.0.0.4"),
}


def policy(**network_of: str) -> dict[str, object]:
    """All four members in one IP network; `network_of` puts some into another network than green and pink."""
    networks = {"web1": "green", "web2": "green", "db1": "pink", "db2": "pink", **network_of}
    return {
        "apiVersion": "tripoint/v1",
        "networks": {
            "green": {"vlan": 10, "cidrs": ["10.0.0.0/24"]},
            "pink": {"vlan": 20, "cidrs": ["10.0.0.0/24"]},
            "blue": {"vlan": 30, "cidrs": ["10.0.0.0/24"]},
        },
        "endpoints": {
            name: {"network": networks[name], "port": name, "mac": mac, "ips": [ip]}
            for name, (mac, ip) in MEMBERS.items()
        },
    }


OF_THE_OTHERS = re.compile(r"in_port=[34],|reg0=0x1000014|reg1=0x[34],")
"""In a flow about db1 or db2 (ports 3 and 4) or pink (VLAN 20, which has no VNI)."""


@dataclass
class Lab:
    machine: Host
    controller: Controller
    at: dict[str, str]
    comebacks: int = 0

    def in_force(self) -> bool:
        status = self.controller.rest.status()
        return any(b["connected"] and b["in_force"] == status["revision"] for b in status["bridges"])

    def wait_in_force(self) -> None:
        wait_until(self.in_force, 20, lambda: f"not in force: {self.controller.rest.status()}")

    def come_back(self, *, at_once: bool = True) -> None:
        """A new controller. at_once: the bridge need not wait until it would try again by itself."""
        self.controller.start()
        if at_once:
            self.comebacks += 1
            self.machine.attach(target=f"tcp:127.0.0.{1 + self.comebacks}:6653")

    def counters(self) -> tuple[int, int]:
        bridge = self.controller.rest.bridge()
        return bridge["flows_added"], bridge["flows_removed"]


def members_of(machine: Host, names: tuple[str, ...] = tuple(MEMBERS)) -> dict[str, str]:
    """Each with its address, and knowing the MACs of all, so that only what is looked at is on the wire."""
    at = {name: machine.add_member(name, MEMBERS[name][0], f"{MEMBERS[name][1]}/24") for name in names}
    for namespace in at.values():
        lines = [f"neigh replace {ip} lladdr {mac} dev eth0" for mac, ip in MEMBERS.values()]
        subprocess.run(["ip", "-n", namespace, "-batch", "-"], input="\n".join(lines), text=True, check=True)
    return at


@pytest.fixture(scope="module")
def running() -> Iterator[Lab]:
    with host() as machine:
        at = members_of(machine)
        ports = {name: number for number, name in enumerate(MEMBERS, 1)}
        machine.add_bridge(ports, settings=("fail_mode=secure",))
        machine.attach()
        yield Lab(machine, Controller(machine), at)


@pytest.fixture
def lab(running: Lab) -> Lab:
    """With `policy()` in force, whatever the test before left."""
    if running.controller.stopped:
        running.come_back()
    running.controller.rest.ask("PUT", "/v1/policy", policy())
    running.wait_in_force()
    return running


def passes(lab: Lab, source: str, target: str) -> int:
    """How many of the datagrams of a short stream arrive."""
    with stream(lab.at[source], lab.at[target], MEMBERS[target][1]) as sent:
        wait_until(lambda: sent.sent >= 20, 5, "nothing is sent")
    return sent.sent - len(sent.lost)


def wait_until_passes(lab: Lab, source: str, target: str) -> None:
    """What changed a moment ago may still cost the first few: the datapath's cache follows the tables."""
    wait_until(lambda: passes(lab, source, target) >= 20, 5, f"{source} does not reach {target}")


def hitless(sent: Stream, before: Installed, after: Installed) -> None:
    assert sent.lost == set(), f"{len(sent.lost)} of {sent.sent} lost"
    assert sent.rate_pps >= 1000, "the stream was too thin to show anything"
    assert after.run_on(before) == []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL], ids=["SIGTERM", "kill -9"])
def test_a_restart_changes_no_flow_and_loses_no_packet(lab: Lab, number: signal.Signals) -> None:
    before = installed(lab.machine)
    with stream(lab.at["web1"], lab.at["web2"], "10.0.0.2") as sent:
        lab.controller.end(number)
        wait_until(lambda: sent.seconds > 1, 5, "nothing is sent")
        lab.come_back(at_once=number is signal.SIGTERM)
        lab.wait_in_force()
    after = installed(lab.machine)
    hitless(sent, before, after)
    assert after.flows.keys() == before.flows.keys()
    assert lab.counters() == (0, 0)
    assert lab.controller.rest.ask("GET", "/v1/policy") == policy()
    carried = [flow for flow, used in after.flows.items() if used.n_packets >= before.flows[flow].n_packets + sent.sent]
    assert carried, "no flow has counted the stream"


def test_the_same_policy_again_changes_no_flow_and_loses_no_packet(lab: Lab) -> None:
    before, counted = installed(lab.machine), lab.counters()
    with stream(lab.at["web1"], lab.at["web2"], "10.0.0.2") as sent:
        for _ in range(20):
            assert not lab.controller.rest.ask("PUT", "/v1/policy", policy())["changed"]
    after = installed(lab.machine)
    hitless(sent, before, after)
    assert after.flows.keys() == before.flows.keys()
    assert lab.counters() == counted


def test_a_change_of_another_network_loses_no_packet(lab: Lab) -> None:
    """20 times there and back; what is about green, and about nobody, is never touched."""
    before = installed(lab.machine)
    with stream(lab.at["web1"], lab.at["web2"], "10.0.0.2") as sent:
        for _ in range(20):
            there = lab.controller.rest.ask("PUT", "/v1/policy", policy(db1="blue", db2="blue"))
            assert there["in_force"]
            assert 0 < there["bridges"][0]["removed"] < len(before.flows) / 2
            assert lab.controller.rest.ask("PUT", "/v1/policy", policy())["in_force"]
    after = installed(lab.machine)
    assert after.flows.keys() == before.flows.keys()
    changed = [flow for flow in after.run_on(before) if not OF_THE_OTHERS.search(flow)]
    assert sent.lost == set(), f"{len(sent.lost)} of {sent.sent} lost"
    assert sent.rate_pps >= 1000
    assert changed == []


DAMAGE = {
    "empty": lambda data: b"",
    "cut short": lambda data: data[: len(data) // 2],
    "bits turned": lambda data: data[:4096] + bytes(255 - byte for byte in data[4096:]),
}


def test_a_store_that_cannot_be_read_stops_the_start_and_touches_nothing(lab: Lab) -> None:
    before = installed(lab.machine)
    lab.controller.end(signal.SIGTERM)
    whole, good = lab.controller.store.read_bytes(), lab.controller.store
    try:
        for name, damage in DAMAGE.items():
            lab.controller.store = Path(f"{good}.{name.replace(' ', '-')}")
            lab.controller.store.write_bytes(damage(whole))
            code, said = lab.controller.run_to_the_end()
            assert code != 0, name
            assert re.search(r"^tripoint: .*store", said, re.MULTILINE), said
            assert "Traceback" not in said
    finally:
        lab.controller.store = good
    after = installed(lab.machine)
    assert after.flows.keys() == before.flows.keys()
    assert after.run_on(before) == []
    wait_until_passes(lab, "web1", "web2")


def test_flows_of_others_are_removed_on_reconnect_and_reported(lab: Lab) -> None:
    before = installed(lab.machine)
    with stream(lab.at["web1"], lab.at["web2"], "10.0.0.2") as sent:
        lab.controller.end(signal.SIGKILL)
        foreign = "\n".join(
            [
                "table=0,priority=65000,in_port=1,dl_dst=02:00:00:00:00:03,actions=output:3",
                "table=0,cookie=0xbad,priority=65000,in_port=3,actions=output:1,output:2",
                "table=250,actions=NORMAL",
            ]
        )
        lab.machine.ofctl("add-flows", "-", stdin=foreign)
        assert len(installed(lab.machine).flows) == len(before.flows) + 3
        lab.come_back()
        lab.wait_in_force()
    after = installed(lab.machine)
    hitless(sent, before, after)
    assert after.flows.keys() == before.flows.keys()
    assert lab.controller.rest.bridge()["flows_foreign"] == 3
    assert lab.counters() == (0, 0)
    assert passes(lab, "db1", "web1") == 0


def test_a_policy_stored_while_the_bridge_is_away_is_in_force_when_it_is_back(lab: Lab) -> None:
    lab.machine.attach(target="tcp:127.0.0.1:1")
    try:
        wait_until(lambda: not lab.controller.rest.bridge()["connected"], 10, "it does not go")
        answer = lab.controller.rest.ask("PUT", "/v1/policy", policy(db1="green"))
        assert answer["changed"]
        assert answer["bridges"] == []
        wait_until_passes(lab, "web1", "web2")
        assert passes(lab, "web1", "db1") == 0
    finally:
        lab.machine.attach()
    lab.wait_in_force()
    wait_until_passes(lab, "web1", "db1")
    assert passes(lab, "db2", "db1") == 0


def test_a_bridge_that_does_not_fail_secure_is_a_warning_that_mends_itself() -> None:
    """The command that the warning names is run as it stands."""
    with host() as machine:
        machine.add_bridge({})
        machine.attach()
        controller = Controller(machine)
        controller.start()
        wait_until(lambda: mending(controller), 12, lambda: f"no warning: {controller.rest.status()}")
        before = installed(machine)
        machine.switch.vsctl(*mending(controller)[0].split())
        wait_until(lambda: not mending(controller), 12, "the warning does not go")
        after = installed(machine)
        assert after.run_on(before) == []
        assert after.flows.keys() == before.flows.keys()
        assert controller.rest.bridge()["fail_mode"] == "secure"


def mending(controller: Controller) -> list[str]:
    """What the warnings about the fail mode tell to give to ovs-vsctl."""
    warnings = (controller.rest.bridge() or {}).get("warnings", ())
    return [found[1] for text in warnings if (found := re.search(r"ovs-vsctl (set-fail-mode br0 secure)$", text))]


ROUTED = {
    "apiVersion": "tripoint/v1",
    "networks": {
        "dmz": {"vlan": 30, "cidrs": ["10.3.0.0/24"], "mode": "nat", "gateway": "10.3.0.1", "uplink": "wan"},
    },
    "uplinks": {"wan": {"port": "wan", "addresses": ["172.16.200.1/24"]}},
    "endpoints": {"www": {"network": "dmz", "port": "www", "mac": "02:00:00:00:03:01", "ips": ["10.3.0.11"]}},
    "rules": [{"name": "out", "action": "allow", "from": "dmz", "to": "outside", "proto": "udp"}],
    "rewrites": [{"name": "web", "network": "dmz", "type": "forward", "proto": "tcp", "l4_port": 8800, "to": "www:80"}],
}


def test_a_restart_leaves_translations_neighbors_and_counters_of_rules_as_they_are() -> None:
    """Under a stream that is masqueraded and a connection to a forwarded port; nothing is said of neighbors anew. Rules
    have come and gone before.
    """
    with host() as machine:
        www = machine.add_member("www", "02:00:00:00:03:01", "10.3.0.11/24")
        netns.batch(["route add default via 10.3.0.1"], www)
        wan = machine.add_member("wan", "02:00:00:00:0f:01", "172.16.200.254/24")
        machine.add_bridge({"www": 1, "wan": 2}, settings=("fail_mode=secure",))
        machine.attach()
        lab = Lab(machine, Controller(machine), {"www": www, "wan": wan})
        lab.controller.start()
        lab.controller.rest.ask("PUT", "/v1/policy", ROUTED)
        for name in ("telnet", "smtp", "ftp"):
            rule = {"action": "drop", "to": "outside", "proto": "tcp", "ports": [23]}
            lab.controller.rest.ask("PUT", f"/v1/rules/{name}?before=out", rule)
        lab.controller.rest.ask("DELETE", "/v1/rules/smtp")
        lab.wait_in_force()
        with inside(www), socket.create_server(("10.3.0.11", 80)) as server, inside(wan):
            caller = socket.create_connection(("172.16.200.1", 8800), 5)
            answerer, _ = server.accept()
            with stream(www, wan, "172.16.200.254") as sent, caller, answerer:
                wait_until(lambda: sent.sent >= 20, 5, "nothing is sent")
                before, counted = installed(machine), packets_of(lab, "out")
                assert [flow for flow in before.flows if f"table={TABLES['neighbors']}," in flow], "none was learned"
                lab.controller.end(signal.SIGKILL)
                from_before = sent.sent
                wait_until(lambda: sent.sent > from_before + 1000, 5, "nothing is sent")
                assert conversation(caller, answerer) == b"while nobody controls"
                lab.come_back()
                lab.wait_in_force()
                assert conversation(caller, answerer) == b"while nobody controls"
        after = installed(machine)
        hitless(sent, before, after)
        assert after.flows.keys() == before.flows.keys()
        assert lab.counters() == (0, 0)
        wait_until(lambda: packets_of(lab, "out") >= sent.sent, 5, "the rule's counter began anew")
        assert counted < sent.sent


def packets_of(lab: Lab, rule: str) -> int:
    (packets,) = (r["packets"] for r in lab.controller.rest.ask("GET", "/v1/rules")["rules"] if r["name"] == rule)
    return int(packets)


def conversation(caller: socket.socket, answerer: socket.socket) -> bytes:
    """What comes back of a sentence that is sent one way and then the other."""
    for one, other in ((caller, answerer), (answerer, caller)):
        other.settimeout(5)
        one.sendall(b"while nobody controls")
        said = other.recv(100)
    return said
