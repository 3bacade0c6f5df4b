"""Managed hosts joined by tunnels: packet sizes, hosts that die and come, changes by hand, labels of ports."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.lab.running import Stream, document_of, failed, judged, until, up
from topologies import daemons, managed, netns, records
from topologies.ovs import switch_of
from topologies.rest import Rest, missing, wait_for
from topologies.restarting import restart_switch, start_host, stop_host
from topologies.spec import Carries, Expect, Expectation, Probe
from topologies.verdict import Verdict

pytestmark = pytest.mark.usefixtures("nothing_left")
VXLAN_OVER_IPV4 = 50
"""Bytes around a member's IP packet: its own Ethernet header, VXLAN, UDP, IPv4."""
ICMP_OVER_IPV4 = 28
DOWN_WITHIN_S, AGAIN_WITHIN_S = 3.0, 2.0


# -- what the tests ask ----------------------------------------------------------------------------------------------


def hosts_of(record: records.Record) -> dict[str, dict[str, Any]]:
    return {host["name"]: host for host in Rest(record.controller).hosts()}


def put(record: records.Record, policy: dict[str, Any]) -> dict[str, Any]:
    """The policy with this lab's sockets; the controller's answer."""
    answer: dict[str, Any] = Rest(record.controller).put_policy(managed.with_sockets(policy, record))
    return answer


def between(*names: str) -> Callable[[Expectation], bool]:
    """Plain expectations among these."""
    return lambda e: isinstance(e, Probe) and not e.during and {e.source, e.target} <= set(names)


def settled(record: records.Record, endpoints: Any) -> None:
    rest = Rest(record.controller)
    wait_for(lambda: [*managed.find_bridges(rest, record), *missing(rest, record.dpids, endpoints)], 15)


def do(record: records.Record, node: str, *words: str) -> subprocess.CompletedProcess[str]:
    argv = ["ip", "netns", "exec", record.namespaces[node], *words]
    return subprocess.run(argv, capture_output=True, text=True, timeout=20, check=False)


def ping(record: records.Record, node: str, address: str, *options: str) -> subprocess.CompletedProcess[str]:
    return do(record, node, "ping", "-n", "-c1", "-W0.5", *options, address)


def reaches(record: records.Record, node: str, address: str) -> bool:
    return ping(record, node, address).returncode == 0


def mtu_of(record: records.Record, node: str, device: str) -> int:
    (link,) = json.loads(netns.run(["ip", "-n", record.namespaces[node], "-json", "link", "show", "dev", device]))
    return int(link["mtu"])


@contextlib.contextmanager
def serving(record: records.Record, node: str, *words: str, ready: str) -> Iterator[None]:
    """A program in a node for the block, from when it says `ready`."""
    log = record.directory / f"{words[0]}-{node}.log"
    argv = ["ip", "netns", "exec", record.namespaces[node], *words]
    daemon = daemons.start(daemons.Start(words[0], argv, log, {records.MARK_VARIABLE: record.id}, tied=True))
    try:
        until(lambda: log.exists() and ready in log.read_text(), 10, f"{words[0]} says {ready!r}")
        yield
    finally:
        daemons.stop([daemon])


# -- the labs can fail -----------------------------------------------------------------------------------------------


def test_on_hubs_with_tunnels_in_place_of_the_hosts_every_never_and_every_cable_fails() -> None:
    """Frames of every attack, and out of every tunnel, do arrive there, and are seen; the underlay shows the forged."""
    document = document_of("vxlan_point_to_point")
    del document["policy"]
    flood = "load:100->NXM_NX_TUN_ID[],load:{peer}->NXM_NX_TUN_IPV4_DST[],all,local"
    for name, peer in (("br-a", 0xC0A83205), ("br-b", 0xC0A83204)):
        flows = ["priority=2,in_port=1,actions=" + flood.format(peer=peer), "priority=1,actions=all,local"]
        document["bridges"][name] = {"node": document["bridges"][name]["node"], "flows": flows}
    with up(document) as record:
        for node, bridge in (("boxA", "br-a"), ("boxB", "br-b")):
            words = ["--", "set", "interface", "tunnel", "type=vxlan", "options:remote_ip=flow", "options:key=flow"]
            switch_of(record, node).vsctl("add-port", bridge, "tunnel", *words)
        until(lambda: reaches(record, "member1", "192.168.60.5"), 10, "the hubs' tunnel")
        rows = judged(record, lambda e: not e.during and not (isinstance(e, Probe) and e.source == "plain"))
        impostors = record.lab.impostors
    # An impostor's frames do not come back to the host that they were put in for.
    sent_back = [row for row in rows if row.source in impostors and row.target == "member2"]
    nevers = [row for row in rows if row.expected is Expect.NEVER and row not in sent_back]
    assert len(nevers) > 50
    assert [row for row in nevers if row.verdict is not Verdict.FAIL] == []
    carried = {row.source for row in rows if row.expected is Expect.CARRIES and row.verdict is Verdict.FAIL}
    assert carried == {"under-a:uplink", "member1", "member2"}, "member2, behind under-b, sends nothing that is forged"


def test_a_host_that_takes_the_wrong_vni_is_noticed_on_the_underlay() -> None:
    with up("overlay_two_networks") as record:
        switch = switch_of(record, "boxA")
        ports = {port["name"]: port["ofport"] for port in hosts_of(record)["boxA"]["ports"]}
        (tunnel,) = (tunnel["port"] for tunnel in hosts_of(record)["boxA"]["tunnels"])
        leak = f"table=0,priority=65535,in_port={ports['veth1']},actions=set_field:70002->tun_id,output:{ports[tunnel]}"
        switch.ofctl("-O", "OpenFlow14", "add-flow", switch.management("br-a"), leak)
        assert not reaches(record, "red1", "172.16.0.2")
        rows = judged(record, lambda e: isinstance(e, Carries) or (isinstance(e, Probe) and e.source == "as-red2"))
    (row,) = (row for row in rows if row.source == "under-a:uplink")
    assert row.verdict is Verdict.FAIL
    assert "02:00:00:00:00:01" in row.seen


# -- packet sizes ----------------------------------------------------------------------------------------------------


def test_members_have_the_mtu_that_is_offered_and_nothing_larger_gets_lost_silently() -> None:
    with up("overlay") as record:
        policy = document_of("overlay")["policy"]
        assert put(record, policy)["mtu"] == {"webs": 1500 - VXLAN_OVER_IPV4}
        assert [host["mtu"] for host in hosts_of(record).values()] == [{"webs": 1450}, {"webs": 1450}]
        assert [mtu_of(record, "web1", "eth0"), mtu_of(record, "boxB", "veth2")] == [1450, 1450]
        whole = ("-M", "do", "-s")
        assert ping(record, "web1", "172.16.0.3", *whole, str(1450 - ICMP_OVER_IPV4)).returncode == 0
        refused = ping(record, "web1", "172.16.0.3", *whole, "1472")
        assert refused.returncode != 0
        assert "message too long, mtu=1450" in refused.stdout + refused.stderr
        assert ping(record, "web1", "172.16.0.3", "-M", "dont", "-s", "1472").returncode == 0, "in fragments"
        with serving(record, "web3", "iperf3", "-s", "--forceflush", ready="Server listening"):
            for options in ((), ("-R",)):
                told = do(record, "web1", "iperf3", "-J", "-c", "172.16.0.3", "-t", "1", "-i", "0.25", *options)
                parts = [part["sum"]["bytes"] for part in json.loads(told.stdout)["intervals"]]
                assert len(parts) >= 4
                assert min(parts[:4]) > 0, f"stalled: {parts}"


def test_an_mtu_that_does_not_fit_is_told_of_with_host_and_port() -> None:
    with up("overlay_geneve") as record:
        netns.batch(["link set dev veth1 mtu 1500"], record.namespaces["boxA"])

        def warnings() -> list[str]:
            return [text for host in hosts_of(record).values() for text in host["status"]["warnings"]]

        until(lambda: len(warnings()) == 1, 5, "one warning")
        (warning,) = warnings()
        assert "host boxA: port veth1 has an MTU of 1500, and 1450 fit" in warning
        netns.batch(["link set dev veth1 mtu 1450"], record.namespaces["boxA"])
        until(lambda: warnings() == [], 5, "no warning")
        policy = document_of("overlay_geneve")["policy"]
        policy["hosts"]["boxB"]["mtu"] = 1400
        assert put(record, policy)["mtu"] == {"webs": 1350}, "of the smaller host"
        until(lambda: len(warnings()) == 4, 5, "a warning for each member's port")


# -- hosts die, come and go ------------------------------------------------------------------------------------------


def test_a_host_that_dies_is_told_of_and_missed_by_nobody_else_and_comes_back_by_itself(
    record_property: Callable[[str, object], None],
) -> None:
    document = document_of("vxlan_three_hosts")
    document["policy"]["overlay"]["bfd"] = True
    del document["expectations"][-3:]  # its underlay has no BFD
    with up(document) as record:

        def down_at(name: str) -> set[str]:
            return {tunnel["peer"] for tunnel in hosts_of(record)[name]["tunnels"] if tunnel["up"] is False}

        with (
            Stream(record, "member1", "member2", period_s=0.002) as beside,
            Stream(record, "member2", "member1", 4243, 0.002) as back,
            Stream(record, "member1", "member3", 4244) as gone,
        ):
            until(lambda: beside.flows() and back.flows() and gone.flows(), 10, "the traffic before")
            stop_host(record, "boxC")
            died = time.monotonic()
            until(lambda: down_at("boxA") == down_at("boxB") == {"boxC"}, 10, "the tunnels to boxC are down")
            down_s = time.monotonic() - died
            until(lambda: not hosts_of(record)["boxC"]["status"]["connected"], 10, "boxC's database is gone")
            assert hosts_of(record)["boxC"]["status"]["error"]
            until(lambda: beside.sent >= 1000 and back.sent >= 1000, 20, "1000 packets")
            start_host(record, "boxC")
            returned = time.monotonic()
            until(lambda: any(when > returned for when in list(gone.came.values())), 20, "member3 is reached again")
            until(lambda: hosts_of(record)["boxC"]["status"]["in_force"], 20, "boxC is as wanted")
            again_s = time.monotonic() - returned
            settled(record, document["policy"]["endpoints"])
            until(lambda: beside.flows() and back.flows() and gone.flows(), 10, "the traffic after")
        record_property("tunnels_down_s", round(down_s, 3))
        record_property("in_force_again_s", round(again_s, 3))
        print(f"down after {down_s:.3f} s; again {again_s:.3f} s after; {beside.sent + back.sent} packets beside")
        assert gone.lost, "the death was not noticed, so that it shows nothing"
        assert (beside.lost, back.lost) == ([], [])
        assert down_s <= DOWN_WITHIN_S
        assert again_s <= AGAIN_WITHIN_S
        assert failed(judged(record, between("member1", "member2", "member3"))) == []


def test_a_host_joins_by_the_document_alone_and_leaves_nothing_when_it_leaves() -> None:
    document = document_of("vxlan_three_hosts")
    with up(document) as record:
        two = document_of("vxlan_three_hosts")["policy"]
        del two["hosts"]["boxC"], two["endpoints"]["member3"]
        with Stream(record, "member1", "member2") as beside:
            until(beside.flows, 10, "the traffic before")
            put(record, two)
            until(lambda: "br-c" not in switch_of(record, "boxC").vsctl("list-br").split(), 10, "boxC's bridge is gone")
            assert [len(host["tunnels"]) for host in hosts_of(record).values()] == [1, 1]
            assert not reaches(record, "member1", "192.168.60.6")
            put(record, document["policy"])
            settled(record, document["policy"]["endpoints"])
            until(lambda: reaches(record, "member3", "192.168.60.4"), 5, "member3 is there")
            until(beside.flows, 10, "the traffic after")
        assert beside.lost == []
        assert [len(host["tunnels"]) for host in hosts_of(record).values()] == [2, 2, 2]


def test_a_managed_host_whose_switch_restarts_comes_back_by_itself() -> None:
    with up("overlay") as record:
        with Stream(record, "web1", "web3") as stream:
            until(stream.flows, 10, "the traffic before")
            restart_switch(record, "boxB")
            back = time.monotonic()
            until(lambda: any(when > back for when in list(stream.came.values())), 20, "the traffic after")
        settled(record, record.lab.policy["endpoints"])  # type: ignore[index]
        assert failed(judged(record, between("web2", "web4"))) == []


def test_without_a_controller_tunnels_and_isolation_stay() -> None:
    with up("overlay_two_networks") as record:
        (controller,) = (d for d in record.daemons if d.role == "controller")
        os.kill(controller.pid, signal.SIGKILL)
        until(lambda: not controller.alive, 5, "the controller's end")
        assert failed(judged(record, between("red1", "red2", "blue1", "blue2"))) == []


# -- what others do on a host ----------------------------------------------------------------------------------------


def test_changes_by_hand_are_set_right_and_told_of_and_what_is_not_ours_stays() -> None:
    with up("overlay") as record:
        switch = switch_of(record, "boxA")
        (tunnel,) = hosts_of(record)["boxA"]["tunnels"]
        assert (tunnel["peer"], tunnel["peer_ip"], tunnel["up"]) == ("boxB", "192.168.50.5", True)
        switch.vsctl("add-port", "br-a", "theirs", "--", "set", "interface", "theirs", "type=internal")
        switch.vsctl("set-fail-mode", "br-a", "standalone")
        until(lambda: switch.vsctl("get-fail-mode", "br-a").strip() == "secure", 5, "fail_mode is secure again")
        switch.vsctl("del-port", "br-a", tunnel["port"])
        until(lambda: tunnel["port"] in switch.vsctl("list-ports", "br-a").split(), 5, "the tunnel is there again")
        settled(record, record.lab.policy["endpoints"])  # type: ignore[index]
        until(lambda: reaches(record, "web1", "172.16.0.3"), 5, "the tunnel works again")
        told = hosts_of(record)["boxA"]["corrected"]
        assert any("fail_mode was standalone" in sentence for sentence in told), told
        assert any(tunnel["port"] in sentence for sentence in told), told
        assert hosts_of(record)["boxB"]["corrected"] == []
        assert "theirs" in switch.vsctl("list-ports", "br-a").split()
        assert failed(judged(record, between("web1", "web3", "web4"))) == []


def test_endpoints_are_bound_by_the_labels_that_others_write_on_ports() -> None:
    """vm1's port is known by iface-id, as hypervisors write it, vm2's by its MAC; no host is named."""
    document = document_of("overlay")
    for number, bridge in ((1, "br-a"), (2, "br-b")):
        face = {"mac": f"02:00:00:00:01:0{number}", "addresses": [f"10.9.0.{number}/24"]}
        document["nodes"][f"vm{number}"] = {"interfaces": {"eth0": face}}
        document["links"].append([f"vm{number}:eth0", f"{bridge}:tap{number}"])
    with up(document) as record:
        policy = document["policy"]
        policy["networks"]["machines"] = {"vni": 5020, "cidrs": ["10.9.0.0/24"]}
        one = {"network": "machines", "mac": "02:00:00:00:01:01", "ips": ["10.9.0.1"], "iface_id": "vm-1-eth0"}
        other = {"network": "machines", "mac": "02:00:00:00:01:02", "ips": ["10.9.0.2"]}
        policy["endpoints"] |= {"vm1": one, "vm2": other}
        put(record, policy)
        assert not reaches(record, "vm1", "10.9.0.2")
        labels = (
            ("boxA", "br-a", "tap1", "iface-id=vm-1-eth0"),
            ("boxB", "br-b", "tap2", 'attached-mac="02:00:00:00:01:02"'),
        )
        for node, bridge, port, label in labels:
            words = ["--", "set", "interface", port, f"external_ids:{label}"]
            switch_of(record, node).vsctl("add-port", bridge, port, *words)
        rest = Rest(record.controller)
        wait_for(lambda: [line for line in missing(rest, record.dpids, policy["endpoints"]) if "MTU" not in line], 10)
        until(lambda: reaches(record, "vm1", "10.9.0.2"), 5, "vm1 reaches vm2 in the tunnel")
        assert not reaches(record, "vm1", "172.16.0.3")
        switch_of(record, "boxA").vsctl("remove", "interface", "tap1", "external_ids", "iface-id")
        until(lambda: not reaches(record, "vm2", "10.9.0.1"), 5, "without its label the port is nobody's")


def test_an_internal_port_is_made_with_the_endpoints_mac_and_mtu() -> None:
    with up("overlay") as record:
        policy = document_of("overlay")["policy"]
        probe = {"network": "webs", "host": "boxA", "port": "probe0", "interface": "internal"}
        policy["endpoints"]["probe"] = {**probe, "mac": "02:00:00:00:00:09", "ips": ["172.16.0.9"]}
        put(record, policy)
        settled(record, policy["endpoints"])
        box = record.namespaces["boxA"]
        netns.checksums_in_software(box, "probe0")
        netns.batch(["address add 172.16.0.9/12 dev probe0", "link set dev probe0 up"], box)
        assert mtu_of(record, "boxA", "probe0") == 1450
        until(lambda: reaches(record, "boxA", "172.16.0.3"), 5, "the probe reaches web3")


def test_a_host_that_connects_by_itself_is_managed_like_the_others() -> None:
    document = document_of("overlay")
    document["policy"]["hosts"]["boxB"]["ovsdb"] = "from:boxB"
    with up(document) as record:
        host = hosts_of(record)["boxB"]
        assert host["system_id"] == managed.system_id(record, "boxB")
        assert host["ovsdb"] == f"from:{host['system_id']}"
        assert failed(judged(record, between("web1", "web3", "web4"))) == []
        stop_host(record, "boxB")
        until(lambda: not hosts_of(record)["boxB"]["status"]["connected"], 10, "boxB's database is gone")
        start_host(record, "boxB")
        settled(record, record.lab.policy["endpoints"])  # type: ignore[index]
        until(lambda: reaches(record, "web1", "172.16.0.3"), 5, "it is back")
