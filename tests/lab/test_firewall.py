"""Rules as people meet them: real clients are dropped, refused or let through, counted and logged; real packets.

The labs' own expectations say who reaches whom; here are the programs, and what the controller tells of them.
"""

from __future__ import annotations

import contextlib
import json
import socket
import struct
import time
import urllib.request
from collections.abc import Iterator
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import yaml

from tests.lab.conftest import PROJECT
from tests.lab.stand import CURL, REFUSED, TIMED_OUT, Log, Stand, flood, page, standing, until, watching
from topologies import frames, netns
from topologies.frames import Party

TOPOLOGIES = PROJECT / "topologies"

CUT_WITHIN_S = 1.0
"""What is promised: until then a switch may go by its cache."""


def policy_of(stand: Stand) -> dict[str, Any]:
    return stand.rest.ask("GET", "/v1/policy")  # type: ignore[no-any-return]


def packets(stand: Stand, rule: str) -> int:
    """What a rule has counted, on all hosts."""
    (found,) = (one for one in stand.rest.ask("GET", "/v1/rules")["rules"] if one["name"] == rule)
    return int(found["packets"])


def log_of(stand: Stand) -> list[dict[str, Any]]:
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(f"{stand.rest.url}/v1/log") as answer:
        return [json.loads(line) for line in answer.read().splitlines() if line.strip()]


# -- D4 --------------------------------------------------------------------------------------------------------------


def test_a_rule_drops_one_members_web_traffic_until_it_is_deleted() -> None:
    with standing(TOPOLOGIES / "drop_rule.yaml") as stand, page(stand, "web1") as text:
        url = "http://172.16.0.1/"
        assert stand.do("web4", *CURL, url).stdout == text, "the server is there"
        before = packets(stand, "no-web-from-web3")
        with watching(stand) as watch:
            assert stand.do("web3", *CURL, url).returncode == TIMED_OUT
            watch.settle()
            asked = [s for s in map(frames.read, watch.sent("web3")) if s.ports[1] == 80]
            assert asked, "it did ask"
            assert watch.from_macs({stand.mac("web3")}, "web1") == []
        until(lambda: packets(stand, "no-web-from-web3") >= before + len(asked), "every packet is counted")
        stand.pings("web3", "172.16.0.1")
        plan = stand.rest.ask("DELETE", "/v1/rules/no-web-from-web3?plan=true")
        assert any(bridge["remove"] for bridge in plan["bridges"])
        assert stand.do("web3", *CURL, url).returncode == TIMED_OUT, "a plan changes nothing"
        assert stand.rest.ask("DELETE", "/v1/rules/no-web-from-web3")["in_force"]
        assert stand.do("web3", *CURL, url).stdout == text
        assert stand.rest.ask("GET", "/v1/rules")["rules"] == []


def test_fragments_do_not_evade_a_rule_about_a_port() -> None:
    """The first fragment carries the port, the others do not; neither arrives, and other datagrams do in fragments."""
    document = yaml.safe_load((TOPOLOGIES / "drop_rule.yaml").read_text())
    document["policy"]["rules"] = [{"name": "no-9999", "action": "drop", "to": "any", "proto": "udp", "ports": [9999]}]
    document["expectations"] = []
    with standing(TOPOLOGIES / "drop_rule.yaml", yaml.safe_dump(document)) as stand:
        with netns.inside(stand.record.namespaces["web1"]):
            receivers = {port: socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for port in (9999, 9998)}
        with netns.inside(stand.record.namespaces["web3"]):
            sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        with watching(stand) as watch, contextlib.ExitStack() as stack:
            for port, receiver in receivers.items():
                stack.enter_context(receiver)
                receiver.bind(("", port))
                receiver.setblocking(False)
            stack.enter_context(sender)
            for _ in range(5):
                for port in receivers:
                    sender.sendto(f"{port}".encode() * 1000, ("172.16.0.1", port))
            until(lambda: _received(receivers[9998]) == 4000, "fragments of what is allowed arrive")
            watch.settle()
            assert _received(receivers[9999]) == 0
            assert [f for f in watch.at("web1", "web2", "web4") if b"9999" * 50 in f] == []
            assert any(b"9999" * 50 in frame for frame in watch.sent("web3")), "they were sent"


def _received(receiver: socket.socket) -> int:
    """Bytes of a datagram, 0 where there is none."""
    try:
        return len(receiver.recv(1 << 16))
    except BlockingIOError:
        return 0


# -- established connections ------------------------------------------------------------------------------------------


def test_an_established_connection_ends_with_the_rule_that_allowed_it_unless_the_rule_keeps_it() -> None:
    with standing(TOPOLOGIES / "default_drop.yaml") as stand:
        document = policy_of(stand)
        for keep in (False, True):
            (rule,) = document["rules"]
            rule["on_change"] = "keep" if keep else "cut"
            assert stand.rest.put_policy(document)["in_force"]
            with _connection(stand, "boxA", "boxB") as (client, server):
                assert _passes(client, server)
                assert stand.rest.put_policy({**document, "rules": []})["in_force"]
                time.sleep(CUT_WITHIN_S)
                assert _passes(client, server) is keep
                assert _passes(server, client) is keep
                code = stand.do("boxA", *CURL, "--max-time", "1", "http://172.16.200.5/").returncode
                assert code == TIMED_OUT, "new connections are not allowed in either case"


@contextlib.contextmanager
def _connection(stand: Stand, one: str, other: str) -> Iterator[tuple[socket.socket, socket.socket]]:
    with netns.inside(stand.record.namespaces[other]):
        listener = socket.create_server(("", 4242))
    with listener:
        with netns.inside(stand.record.namespaces[one]):
            client = socket.create_connection((stand.address(other), 4242), 5)
        server, _ = listener.accept()
    with client, server:
        yield client, server


def _passes(sender: socket.socket, receiver: socket.socket) -> bool:
    """Whether new bytes get through within two seconds, counting what TCP sends again."""
    sender.sendall(b"more")
    receiver.settimeout(2)
    try:
        return bool(receiver.recv(100))
    except TimeoutError:
        return False


# -- D5 --------------------------------------------------------------------------------------------------------------


def test_guests_get_dhcp_and_dns_from_their_machine_and_are_refused_everything_else() -> None:
    with standing(TOPOLOGIES / "isolated_services.yaml") as stand:
        assert stand.ipv4("guest3") == []
        with stand.dnsmasq("machine:br0", guest3="192.168.10.13"), page(stand, "machine"):
            stand.ask("guest3")
            assert stand.ipv4("guest3") == ["192.168.10.13"]
            found = stand.do("guest3", "getent", "ahostsv4", "www.lab.test")
            assert found.stdout.split()[0] == "192.168.10.3", found
            assert _dns_by_tcp(stand, "guest3", "192.168.10.1") == "192.168.10.3"
            stand.pings("guest3", "192.168.10.11")

            refused = stand.do("guest3", *CURL, "http://192.168.10.1/")
            assert refused.returncode == REFUSED, refused.stderr
            pinged = stand.do("guest3", "ping", "-c1", "-W2", "192.168.10.1")
            assert "Destination Protocol Unreachable" in pinged.stdout
            assert _datagram_to(stand, "guest3", "192.168.10.1", 123) == "ECONNREFUSED"
            refused = stand.do("machine", *CURL, "http://192.168.10.11/")
            assert refused.returncode == REFUSED, "nor does the machine open anything to them"


def _dns_by_tcp(stand: Stand, node: str, server: str) -> str:
    """The address of www.lab.test (RFC 1035 section 4.2.2)."""
    question = struct.pack("!HHHHHH", 7, 0x100, 1, 0, 0, 0) + b"\3www\3lab\4test\0" + struct.pack("!HH", 1, 1)
    with netns.inside(stand.record.namespaces[node]):
        handle = socket.create_connection((server, 53), 5)
    with handle:
        handle.sendall(struct.pack("!H", len(question)) + question)
        answer = handle.recv(1000)
    return str(ip_address(answer[-4:]))


def _datagram_to(stand: Stand, node: str, target: str, l4_port: int) -> str:
    with netns.inside(stand.record.namespaces[node]):
        handle = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with handle:
        handle.settimeout(1)
        handle.connect((target, l4_port))
        handle.send(b"?")
        try:
            handle.recv(100)
        except ConnectionRefusedError:
            return "ECONNREFUSED"
        except TimeoutError:
            return "no answer"
    return "answered"


# -- D8 --------------------------------------------------------------------------------------------------------------


def test_new_connections_are_logged_by_the_rules_name_and_no_more_often_than_it_says() -> None:
    with standing(TOPOLOGIES / "reject_and_log.yaml") as stand, page(stand, "server") as text:
        assert log_of(stand) == []
        url = "http://10.2.0.11/"
        for _ in range(5):
            assert stand.do("client1", *CURL, url).stdout == text
        until(lambda: len(log_of(stand)) == 3, "three lines a minute")
        lines = log_of(stand)
        assert {line["rule"] for line in lines} == {"new-connections"}
        for line in lines:
            ends = line["source_ip"], line["target_ip"], line["target_port"], line["protocol"]
            assert ends == ("10.1.0.11", "10.2.0.11", 80, "tcp")
            assert (line["origin"], line["target"]) == ("client1", "server")
        assert stand.do("server", *CURL, "http://10.1.0.11/").returncode == REFUSED
        pinged = stand.do("server", "ping", "-c1", "-W2", "10.1.0.11")
        assert "Destination Protocol Unreachable" in pinged.stdout
        assert _datagram_to(stand, "server", "10.1.0.11", 123) == "ECONNREFUSED"
        until(lambda: len(log_of(stand)) == 6, "a line for each that was rejected")
        rejected = [line for line in log_of(stand) if line["rule"] == "rejected"]
        assert {line["protocol"] for line in rejected} == {"tcp", "udp", "icmp"}
        assert {(line["action"], line["origin"]) for line in rejected} == {("reject", "server")}
        until(lambda: packets(stand, "rejected") >= 3, "each is counted")
        until(lambda: packets(stand, "clients-to-servers") > 5, "and so is what passes")


def test_a_flood_of_what_is_rejected_holds_nobody_up() -> None:
    with standing(TOPOLOGIES / "reject_and_log.yaml") as stand, page(stand, "server") as text:
        with flood(stand, "printer", ["10.2.0.11", "10.1.0.11", "10.1.0.12"]) as sent:
            for _ in range(5):
                assert stand.do("client1", *CURL, "http://10.2.0.11/").stdout == text
            until(lambda: sent[0] > 20_000, "a flood", 60)
            assert stand.rest.answers()
        until(lambda: _datagram_to(stand, "server", "10.1.0.11", 123) == "ECONNREFUSED", "others are told again")
        assert len(log_of(stand)) <= 2 * 3 + 2, "three lines a minute for each rule, and what came meanwhile"


# -- C4 --------------------------------------------------------------------------------------------------------------


SSHD = """
ListenAddress 0.0.0.0
HostKey {here}/host_key
AuthorizedKeysFile {here}/authorized
StrictModes no
UsePAM no
PermitRootLogin yes
PasswordAuthentication no
PidFile none
"""


@contextlib.contextmanager
def sshd(stand: Stand, node: str, public_key: str) -> Iterator[Log]:
    """OpenSSH's server, with files of its own; whoever has the key is let in."""
    here = stand.place(node)
    stand.do(node, "ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", f"{here}/host_key")
    (here / "authorized").write_text(public_key)
    (here / "sshd_config").write_text(SSHD.format(here=here))
    # It wants a directory in /run, which nobody else sees here.
    command = f"mount -t tmpfs none /run && mkdir /run/sshd && exec /usr/sbin/sshd -D -e -f {here}/sshd_config"
    with stand.program(node, "sh", "-c", command, ready="Server listening") as log:
        yield log


def ssh_client(stand: Stand, node: str, key: Path) -> tuple[str, ...]:
    config = stand.place(node) / "ssh_config"
    lines = f"IdentityFile {key}\nUser root\nStrictHostKeyChecking no\nUserKnownHostsFile /dev/null\nLogLevel VERBOSE\n"
    config.write_text(f"Host *\n{lines}ConnectTimeout 5\nBatchMode yes\n")
    return ("ssh", "-F", str(config))


def test_ssh_goes_through_the_bastion_and_nothing_goes_to_it() -> None:
    """By ProxyJump and by a forwarded port (ssh(1) -J, -L); members that try to reach the bastion are refused."""
    with standing(TOPOLOGIES / "bastion.yaml") as stand, contextlib.ExitStack() as stack:
        key = stand.place("admin") / "key"
        stand.do("admin", "ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key))
        public = key.with_suffix(".pub").read_text()
        for node in ("bastion", "netns1", "netns2"):
            stack.enter_context(sshd(stand, node, public))
        text = stack.enter_context(page(stand, "netns2"))
        ssh = ssh_client(stand, "admin", key)
        watch = stack.enter_context(watching(stand))
        for address in ("192.168.5.1", "192.168.5.4"):
            done = stand.do("admin", *ssh, "-J", "192.168.9.3", address, "ip -brief address show eth0")
            assert f"{address}/24" in done.stdout, done.stderr
        forward = ("-N", "-v", "-o", "ExitOnForwardFailure=yes", "-L", "8080:192.168.5.4:80", "192.168.9.3")
        with stand.program("admin", *ssh, *forward, ready="Local forwarding listening on 127.0.0.1"):
            assert stand.do("admin", *CURL, "http://127.0.0.1:8080/").stdout == text

        from_member = ssh_client(stand, "netns1", key)
        for node, address in (("netns1", "192.168.5.3"), ("netns2", "192.168.5.3")):
            assert "Connection refused" in stand.do(node, *from_member, address, "true").stderr
        assert stand.do("bastion", *CURL, "http://192.168.9.9/").returncode == REFUSED
        direct = stand.do("admin", *ssh, "-o", "ConnectTimeout=1", "192.168.5.4", "true")
        assert direct.returncode != 0, "an administrator has no other way"
        watch.settle()
        assert watch.from_macs({stand.mac("admin")}, "netns1", "netns2") == []
        assert watch.from_macs({stand.mac("netns1")}, "netns2", "admin") == []
        opened = [
            str(seen)
            for seen in map(frames.read, watch.at("bastion"))
            if seen.ports[1] == 22 and seen.source in (stand.mac("netns1"), stand.mac("netns2"))
        ]
        assert opened == [], "what members tried did not come to the bastion"


def test_a_forged_answer_does_not_get_a_member_past_the_bastions_rules() -> None:
    """Bytes that look like an answer of the member's SSH server, to a connection that the bastion never opened."""
    with standing(TOPOLOGIES / "bastion.yaml") as stand, watching(stand) as watch:
        one, other = (Party(stand.mac(node), ip_address(stand.address(node)), 22) for node in ("netns1", "bastion"))
        target = Party(other.mac, other.ip, 40000)
        for flags in (frames.SYN | frames.ACK, frames.ACK, frames.RST):
            with netns.inside(stand.record.namespaces["netns1"]):
                handle = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
            with handle:
                handle.bind(("eth0", 0))
                handle.send(frames.tcp(one, target, flags, b"forged"))
        watch.settle()
        assert len([f for f in watch.sent("netns1") if b"forged" in f]) == 3
        assert [f for f in watch.at("bastion") if b"forged" in f] == []
