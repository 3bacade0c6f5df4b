"""Routers, translations and gateways as people meet them: curl, ping, traceroute and long transfers through them."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import socket
import time
from pathlib import Path

import pytest
import yaml

from tests.lab.conftest import PROJECT
from tests.lab.stand import CURL, Stand, flood, page, standing, until, watching
from topologies import frames, netns

TOPOLOGIES = PROJECT / "topologies"
LARGEST = ("-M", "do", "-s", "1472")
"""Of ping: a packet of 1500 bytes that nobody may take apart."""


def ping(stand: Stand, node: str, address: str, *options: str) -> str:
    done = stand.do(node, "ping", "-c2", "-i0.2", "-W2", *options, address)
    return done.stdout + done.stderr


def hops(stand: Stand, node: str, address: str, *options: str) -> list[str]:
    """The addresses that traceroute names, `*` for those that say nothing."""
    program = "traceroute6" if ":" in address else "traceroute"
    done = stand.do(node, "busybox", program, "-n", "-q", "1", "-w", "2", "-m", "6", *options, address, timeout_s=30)
    return [line.split()[1] for line in done.stdout.splitlines() if re.match(r" *\d", line)]


# -- D3 --------------------------------------------------------------------------------------------------------------


def test_a_forwarded_port_shows_the_page_of_the_member_behind_it_and_no_other_port_shows_anything() -> None:
    with standing(TOPOLOGIES / "port_forward.yaml") as stand, page(stand, "boxA", 8800) as text:
        for url in ("http://172.16.200.1:8800/", "http://172.16.200.1/"):
            assert stand.do("boxB", *CURL, url).stdout == text
            assert stand.do("boxC", *CURL, url).stdout == text, "from inside as well"
        with watching(stand) as watch:
            shut = [port for port in (*range(1, 1025), *range(8700, 8900)) if port not in (80, 8800)]
            assert _open_ports(stand, "boxB", "172.16.200.1", shut) == []
            watch.settle()
            tried = {s.ports[1] for s in map(frames.read, watch.sent("boxB")) if s.protocol == frames.TCP}
            assert set(shut) <= tried, "they were all tried"
            assert watch.at("boxA", "boxC") == [f for f in watch.at("boxA", "boxC") if b"tripoint-" in f], (
                "canaries only"
            )


def _open_ports(stand: Stand, node: str, target: str, ports: list[int]) -> list[int]:
    """Those that answer anything within a second."""
    with contextlib.ExitStack() as stack:
        tried = {}
        for port in ports:
            with netns.inside(stand.record.namespaces[node]):
                handle = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_STREAM))
            handle.setblocking(False)
            handle.connect_ex((target, port))
            tried[port] = handle
            time.sleep(0.001)  # no faster than the switch reads
        time.sleep(1)
        return [port for port, handle in tried.items() if _connected(handle)]


def _connected(handle: socket.socket) -> bool:
    try:
        handle.getpeername()
    except OSError:
        return False
    return True


@pytest.mark.parametrize("url", ["http://[2001:db8:200::1]:8800/", "http://[2001:db8:200::1]/"])
def test_a_forwarded_port_shows_its_page_in_ipv6(url: str) -> None:
    with standing(TOPOLOGIES / "port_forward_ipv6.yaml") as stand, page(stand, "boxA", 8800, "::") as text:
        assert stand.do("boxB", *CURL, "-g", url).stdout == text
        assert stand.do("boxC", *CURL, "-g", url).stdout == text


def test_members_that_share_a_port_all_get_connections_and_each_keeps_its_own() -> None:
    with standing(TOPOLOGIES / "rewrites.yaml") as stand, contextlib.ExitStack() as stack:
        for node in ("web1", "web2", "web3"):
            stack.enter_context(page(stand, node))
        found: dict[int, set[str]] = {}
        for _ in range(2):
            for port in range(30000, 30032):
                done = stand.do("world", *CURL, "--local-port", str(port), "http://198.51.100.2/")
                found.setdefault(port, set()).add(done.stdout)
            stand.do("world", "ss", "--kill", "state", "time-wait")
        assert all(len(answers) == 1 for answers in found.values()), found
        counts = [sum({f"a page from {node}"} == answers for answers in found.values()) for node in stand.lab.nodes]
        assert sorted(counts)[-3:] == [10, 10, 12], "by the last four bits of the source port: 5, 5 and 6 of 16"


# -- what routers tell -----------------------------------------------------------------------------------------------


def test_traceroute_names_every_router_on_the_way_out_and_in() -> None:
    with standing(TOPOLOGIES / "nat_network.yaml") as stand:
        way_out = ["192.168.122.1", "192.168.90.254", "203.0.113.80"]
        assert hops(stand, "vm1", "203.0.113.80") == way_out, "by UDP; errors come back through the translation"
        assert hops(stand, "vm1", "203.0.113.80", "-I") == way_out, "by ping"
        assert hops(stand, "vm1", "192.168.122.12") == ["192.168.122.12"], "a neighbour is no hop away"
    with standing(TOPOLOGIES / "routed_network.yaml") as stand:
        assert hops(stand, "pc", "192.168.10.11") == ["192.168.90.1", "192.168.10.11"]
        assert hops(stand, "vm1", "192.168.90.5") == ["192.168.10.1", "192.168.90.5"]


def test_traceroute_names_the_gateway_in_ipv6() -> None:
    with standing(TOPOLOGIES / "routed_network_ipv6.yaml") as stand:
        assert hops(stand, "vm1", "2001:db8:90::5") == ["2001:db8:10::1", "2001:db8:90::5"]
        assert hops(stand, "pc", "2001:db8:10::11") == ["2001:db8:90::1", "2001:db8:10::11"]


def test_a_hop_counts() -> None:
    """The time to live is counted down once, and not between members of one network."""
    with standing(TOPOLOGIES / "routed_network.yaml") as stand:
        assert "ttl=63" in ping(stand, "vm1", "192.168.90.5")
        assert "ttl=63" in ping(stand, "pc", "192.168.10.11")
        assert "ttl=64" in ping(stand, "vm1", "192.168.10.12")
        assert "ttl=64" in ping(stand, "vm1", "192.168.10.1")
        told = ping(stand, "vm1", "192.168.90.5", "-t", "1")
        assert "From 192.168.10.1" in told
        assert "Time to live exceeded" in told


def test_what_has_no_way_out_is_told_so_by_its_gateway() -> None:
    with standing(TOPOLOGIES / "three_point_routed.yaml") as stand:
        told = ping(stand, "netns3", "198.51.100.1")
        assert "From 192.168.6.254" in told
        assert "Destination Net Unreachable" in told


# -- packets of every size -------------------------------------------------------------------------------------------


def test_the_largest_packets_pass_a_router_and_its_translation() -> None:
    with standing(TOPOLOGIES / "nat_network.yaml") as stand:
        for address in ("203.0.113.80", "192.168.122.12"):
            assert "2 received" in ping(stand, "vm1", address, *LARGEST)
            assert "2 received" in ping(stand, "vm1", address, "-M", "dont", "-s", "4000"), "in fragments"


def test_a_narrow_link_beyond_the_router_makes_packets_smaller_and_no_transfer_stalls() -> None:
    """The error that says how much fits comes back through the translation (RFC 1191), to whoever sent too much."""
    with standing(TOPOLOGIES / "nat_network.yaml") as stand:
        for node, device in (("gateway", "world"), ("server", "eth0")):
            netns.batch([f"link set dev {device} mtu 1300"], stand.record.namespaces[node])
        assert "mtu = 1300" in ping(stand, "vm1", "203.0.113.80", *LARGEST)
        netns.batch(["route flush cache"], stand.record.namespaces["vm1"])
        with stand.program("server", "iperf3", "-s", "--forceflush", ready="Server listening"):
            for options in ((), ("-R",)):
                told = stand.do("vm1", "iperf3", "-J", "-c", "203.0.113.80", "-t", "1", "-i", "0.25", *options)
                parts = [part["sum"]["bytes"] for part in json.loads(told.stdout)["intervals"]]
                assert min(parts[:4]) > 0, f"stalled: {parts}"


def test_a_sender_that_never_changes_its_port_is_led_to_the_new_target_within_a_second() -> None:
    """And one that was led out under an address that is gone goes out under the new one."""
    with standing(TOPOLOGIES / "port_forward.yaml") as stand, contextlib.ExitStack() as stack:
        document = stand.rest.ask("GET", "/v1/policy")

        def udp(node: str, port: int) -> socket.socket:
            with netns.inside(stand.record.namespaces[node]):
                made = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
            made.bind(("", port))
            made.settimeout(1)
            return made

        def arrives(sender: socket.socket, target: str, port: int, *receivers: socket.socket) -> list[bool]:
            """At whom a datagram does."""
            sender.sendto(b"tripoint", (target, port))
            return [_datagrams(receiver) > 0 for receiver in receivers]

        def lead(to: str) -> None:
            forward = {"network": "private", "type": "forward", "proto": "udp", "l4_port": 5353, "to": to}
            assert stand.rest.ask("PUT", "/v1/rewrites/query", forward)["in_force"]

        outside, one, other = udp("boxB", 4000), udp("boxA", 5353), udp("boxC", 5353)
        lead("boxA")
        assert arrives(outside, "172.16.200.1", 5353, one, other) == [True, False]
        for to, expected in (("boxC", [False, True]), ("boxA", [True, False])):
            lead(to)
            arrives(outside, "172.16.200.1", 5353)  # it may still go by the switch's cache
            time.sleep(1)
            _datagrams(one), _datagrams(other)
            assert arrives(outside, "172.16.200.1", 5353, one, other) == expected

        inside = udp("boxA", 4001)
        inside.sendto(b"tripoint", ("172.16.200.5", 4000))
        assert outside.recvfrom(100)[1][0] == "172.16.200.1"
        document = stand.rest.ask("GET", "/v1/policy")
        document["uplinks"]["public"]["addresses"] = ["172.16.200.2/24"]
        assert stand.rest.put_policy(document)["in_force"]
        until(lambda: _source_seen(inside, outside) == "172.16.200.2", "it goes out under the new address", 1.5)


def _source_seen(sender: socket.socket, receiver: socket.socket) -> str:
    """Under which address a datagram comes to 172.16.200.5."""
    sender.sendto(b"tripoint", ("172.16.200.5", 4000))
    return str(receiver.recvfrom(100)[1][0])


def test_connections_go_on_through_changes_that_leave_their_translation_as_it_is() -> None:
    """One out through the masquerade and one in by a forward, as rewrites come, go and are put otherwise."""
    with standing(TOPOLOGIES / "port_forward.yaml") as stand, contextlib.ExitStack() as stack:
        document = stand.rest.ask("GET", "/v1/policy")
        pages = document["rewrites"]

        def listening(node: str, port: int) -> socket.socket:
            with netns.inside(stand.record.namespaces[node]):
                made = stack.enter_context(socket.create_server(("", port)))
            made.settimeout(2)
            return made

        def connect(node: str, target: str, port: int, server: socket.socket) -> tuple[socket.socket, socket.socket]:
            with netns.inside(stand.record.namespaces[node]):
                client = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_STREAM))
            client.settimeout(2)
            client.connect((target, port))
            accepted = stack.enter_context(server.accept()[0])
            accepted.settimeout(2)
            return client, accepted

        def go_on(pair: tuple[socket.socket, socket.socket]) -> None:
            for one, other in (pair, pair[::-1]):
                one.sendall(b"tripoint")
                assert other.recv(100) == b"tripoint"

        def put(rewrites: list[object], **others: object) -> None:
            assert stand.rest.put_policy({**document, "rewrites": rewrites, **others})["in_force"]

        inwards = connect("boxB", "172.16.200.1", 8800, listening("boxA", 8800))
        outwards = connect("boxA", "172.16.200.5", 9000, listening("boxB", 9000))
        snat = {"name": "out", "network": "private", "type": "snat", "to": "172.16.200.20"}
        dns = {**pages[0], "name": "dns", "l4_port": 53, "proto": "udp", "to": "boxC"}
        drop = {"name": "no", "action": "drop", "from": "any", "to": "any", "proto": "udp"}
        shared = {**pages[0], "to": ["boxC:8800", "boxA:8800"]}
        for rewrites in ([dns, *pages], pages[:1], [snat, *pages], [{**pages[0], "name": "other"}], [shared]):
            put(rewrites)
            go_on(inwards)
            go_on(outwards)
        put(pages, rules=[drop])
        go_on(inwards)
        for rewrites in ([], [snat], [{"name": "out", "network": "private", "type": "masquerade"}]):
            put(rewrites)
            go_on(outwards)
        inwards[0].sendall(b"tripoint")
        inwards[1].settimeout(0.5)
        with pytest.raises(TimeoutError):
            inwards[1].recv(100)


def _datagrams(receiver: socket.socket) -> int:
    """How many came, until none comes for half a second."""
    receiver.settimeout(0.5)
    n_came = 0
    with contextlib.suppress(TimeoutError):
        while receiver.recv(100):
            n_came += 1
    return n_came


# -- the controller is not on the way --------------------------------------------------------------------------------


def test_what_is_in_force_goes_on_without_the_controller() -> None:
    """New connections out, new ones in by a forwarded port, and nothing else: as before."""
    with standing(TOPOLOGIES / "port_forward.yaml") as stand, page(stand, "boxA", 8800) as text, page(stand, "boxB"):
        assert stand.do("boxB", *CURL, "http://172.16.200.1:8800/").stdout == text
        (controller,) = (daemon for daemon in stand.record.daemons if daemon.role == "controller")
        os.kill(controller.pid, signal.SIGKILL)
        until(lambda: not controller.alive, "the controller is dead")
        with watching(stand) as watch:
            assert stand.do("boxB", *CURL, "http://172.16.200.1:8800/").stdout == text
            assert stand.do("boxA", *CURL, "http://172.16.200.5/").stdout == "a page from boxB"
            assert "2 received" in ping(stand, "boxC", "172.16.200.5")
            assert _open_ports(stand, "boxB", "172.16.200.1", [22, 8801]) == []
            watch.settle()
            came = [s for s in map(frames.read, watch.at("boxA", "boxC")) if s.ports[1] in (22, 8801)]
            assert came == []


# -- who is behind the uplink ----------------------------------------------------------------------------------------


def test_a_next_hop_that_gets_another_mac_is_followed() -> None:
    with standing(TOPOLOGIES / "gateway_masquerade.yaml") as stand:
        assert "2 received" in ping(stand, "vm1", "203.0.113.80")
        lines = ["link set dev customer down", "link set dev customer address 02:00:00:00:00:ee up"]
        lines.append("route replace 192.168.1.0/24 via 198.51.100.2 dev customer")
        netns.batch(lines, stand.record.namespaces["isp"])
        # It says so when it asks for the router's own address, as every station does before it sends.
        assert "0 received" in ping(stand, "isp", "198.51.100.2")
        assert "2 received" in ping(stand, "vm1", "203.0.113.80")


def test_pages_come_in_from_the_world_through_the_masquerade(tmp_path: Path) -> None:
    """A transfer of some size, to each member at the same time, from a server that sees one address."""
    with standing(TOPOLOGIES / "gateway_masquerade.yaml") as stand, page(stand, "server"):
        (stand.place("server") / "large").write_bytes(os.urandom(2_000_000))
        for node in ("vm1", "vm2", "machine"):
            done = stand.do(node, *CURL, "--max-time", "20", "-o", str(tmp_path / node), "http://203.0.113.80/large")
            assert done.returncode == 0, done.stderr
            assert (tmp_path / node).read_bytes() == (stand.place("server") / "large").read_bytes()


def test_a_flood_for_next_hops_that_are_not_there_holds_nobody_up() -> None:
    """Each such packet is one for the controller, which asks; the switch hands over no more than it can do."""
    with standing(TOPOLOGIES / "nat_network.yaml") as stand, page(stand, "server"):
        nowhere = [f"192.168.90.{number}" for number in range(100, 250)]
        with flood(stand, "vm1", nowhere) as sent:
            for _ in range(5):
                assert stand.do("vm2", *CURL, "http://203.0.113.80/").stdout == "a page from server"
            until(lambda: sent[0] > 20_000, "a flood", 60)
            assert stand.rest.answers()
        until(
            lambda: "1 received" in stand.do("vm2", "ping", "-c1", "-W1", "192.168.90.5").stdout,
            "who has not been heard of yet is found",
        )


# -- an uplink that moves --------------------------------------------------------------------------------------------


def test_an_uplink_that_moves_to_another_host_leads_in_and_out_there() -> None:
    """Both hosts have a cable to the segment outside. Who is there learns of the move without waiting for traffic."""
    path = TOPOLOGIES / "routed_overlay.yaml"
    document = yaml.safe_load(path.read_text())
    document["bridges"]["segment"] = {"node": "between", "controlled": False, "fail_mode": "standalone"}
    document["links"] = [link for link in document["links"] if "world:eth0" not in link]
    document["links"] += [["world:eth0", "segment:world"], ["segment:a", "br-a:wan"], ["segment:b", "br-b:wan"]]
    document["expectations"] = []
    with standing(path, yaml.safe_dump(document)) as stand, page(stand, "web1"), page(stand, "world"):
        policy = stand.rest.ask("GET", "/v1/policy")
        for host in ("boxB", "boxA", "boxB"):
            policy["uplinks"]["internet"]["host"] = host
            assert stand.rest.put_policy(policy)["in_force"]
            assert stand.do("world", *CURL, "http://198.51.100.2/").stdout == "a page from web1", f"in by {host}"
            for node in ("web1", "web2"):
                assert stand.do(node, *CURL, "http://198.51.100.1/").stdout == "a page from world", f"out by {host}"
