"""DHCP, DNS and the like get through between members as on a switch, and to nobody else: real programs, real packets.

dnsmasq serves, udhcpc (of Debian's package busybox) asks, glibc resolves, curl fetches, iperf3 transfers; the kernel's
own duplicate address detection, IGMP and MLD are at work.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import struct
import sys
from collections.abc import Iterator
from ipaddress import IPv6Address, ip_address

import pytest
import yaml

from tests.lab.conftest import LABS, PROJECT
from tests.lab.stand import ACK, DISCOVER, OFFER, REQUEST, Stand, Watch, standing, until, watching
from topologies import frames, netns

LAB = PROJECT / "topologies" / "dhcp.yaml"
GREEN, PINK = ("server", "client", "web"), ("rogue", "asker", "neighbour")


@pytest.fixture(scope="module")
def lab() -> Iterator[Stand]:
    with standing(LAB) as stand:
        yield stand


@pytest.fixture
def stand(lab: Stand) -> Stand:
    """The lab, with both clients as at the start."""
    for node in ("client", "asker"):
        lab.without_address(node)
        assert lab.ipv4(node) == []
    return lab


def macs(stand: Stand, nodes: tuple[str, ...]) -> set[str]:
    return {stand.mac(node) for node in nodes}


# -- within a network ------------------------------------------------------------------------------------------------


def test_a_client_gets_its_address_by_dhcp_and_uses_it(stand: Stand) -> None:
    """From no address at all to a page fetched by name; and nobody in the other network sees a frame of it."""
    page = "a page from web"
    (stand.place("web") / "index.html").write_text(page)
    server = (sys.executable, "-m", "http.server", "80", "--directory", str(stand.place("web")))
    with watching(stand) as watch:
        with stand.dnsmasq("server", client="192.168.5.2"):
            # -a: nobody may answer an ARP probe for the address before it is used (RFC 5227).
            stand.ask("client", "-a300")
            assert stand.ipv4("client") == ["192.168.5.2"]
            answers = [(m.kind, m.offered) for m in watch.dhcp("client")]
            assert answers == [(OFFER, "192.168.5.2"), (ACK, "192.168.5.2")]
            found = stand.do("client", "getent", "ahostsv4", "www")
            assert found.stdout.split()[0] == "192.168.5.3", found
            with stand.program("web", *server, ready="Serving HTTP"):
                got = stand.do("client", "curl", "-sS", "--noproxy", "*", "--max-time", "5", "http://www.lab.test/")
                assert got.stdout == page, got.stderr
        green = {stand.mac(node) for node in GREEN}
        watch.settle()
        assert {m.kind for m in watch.dhcp("web")} == {DISCOVER, REQUEST}, "broadcasts are for every member"
        assert watch.from_macs(green, *PINK) == []
        assert watch.dhcp(*PINK) == []


def test_a_lease_is_renewed_and_given_back(stand: Stand) -> None:
    """Unicast, from the leased address to the server and back (RFC 2131 section 4.3.6)."""
    events, bound = stand.place("client") / "events", "lease of 192.168.5.2 obtained"
    with (
        stand.dnsmasq("server", client="192.168.5.2") as log,
        stand.program("client", *stand.udhcpc("client"), ready=bound) as client,
    ):
        with watching(stand) as watch:
            os.kill(client.pid, signal.SIGUSR1)
            until(lambda: "renew 192.168.5.2" in events.read_text(), "renewed")
            watch.settle()
            ((asked, message),) = watch.sent_dhcp("client")
            ends = str(asked.ip_source), str(asked.ip_target)
            assert (message.kind, *ends) == (REQUEST, "192.168.5.2", "192.168.5.1")
            assert [m.kind for m in watch.dhcp("client")] == [ACK]
            assert watch.dhcp("web", *PINK) == [], "a unicast is for nobody else"
        os.kill(client.pid, signal.SIGUSR2)
        until(lambda: "DHCPRELEASE(eth0) 192.168.5.2" in log.text, "released")


def test_a_server_may_ask_by_arp_before_it_offers_an_address(stand: Stand) -> None:
    """The switch answers for the client, with the client's own MAC, which the server takes for what it is."""
    with watching(stand) as watch, stand.udhcpd("server", "192.168.5.2"):
        stand.ask("client")
        asked = {(str(s.ip_target), s.arp[0]) for s in map(frames.read, watch.sent("server")) if s.arp is not None}
        assert ("192.168.5.2", 1) in asked, "it did ask"
    assert stand.ipv4("client") == ["192.168.5.2"]


def test_iperf3_transfers_between_two_members(stand: Stand) -> None:
    with stand.program("web", "iperf3", "-s", "--forceflush", ready="Server listening"):
        for options in (("-n", "8M"), ("-u", "-b", "20M", "-l", "1400", "-n", "1M")):
            done = stand.do("server", "iperf3", "-J", "-c", "192.168.5.3", *options)
            end = json.loads(done.stdout)["end"]
            assert (end.get("sum_received") or end["sum"])["bytes"] >= 1_000_000, done.stdout


# -- nothing between networks, and nothing for an address that is not declared ---------------------------------------


def test_a_question_by_dhcp_does_not_leave_its_network(stand: Stand) -> None:
    """Green's server knows pink's client and would answer it; pink's other members do see the question."""
    with watching(stand) as watch, stand.dnsmasq("server", asker="192.168.5.5") as log:
        stand.ask("asker", "-B", answered=False)
        watch.settle()
        assert [m.kind for _, m in watch.sent_dhcp("asker")] == [DISCOVER]
        assert {m.kind for m in watch.dhcp("rogue", "neighbour")} == {DISCOVER}
        assert watch.dhcp(*GREEN) == []
        assert watch.from_macs(macs(stand, PINK), *GREEN) == []
        assert watch.dhcp("asker") == [], "no offer"
        assert stand.mac("asker") not in log.text
    assert stand.ipv4("asker") == []


def test_a_rogue_server_serves_its_own_network_only(stand: Stand) -> None:
    """It has the address of green's server, which is away, and a lease for green's client.

    With -B the answers are broadcasts.
    """
    with watching(stand) as watch, stand.dnsmasq("rogue", asker="192.168.5.5", client="192.168.5.66") as log:
        stand.ask("asker", "-B")
        assert stand.ipv4("asker") == ["192.168.5.5"]
        stand.ask("client", "-B", answered=False)
        watch.settle()
        assert {OFFER, ACK} <= {m.kind for m in watch.dhcp("neighbour")}, "it is alive, and answers to all"
        assert {m.kind for m in watch.dhcp("server", "web")} == {DISCOVER}, "of green's client"
        assert watch.dhcp("client") == []
        assert watch.from_macs(macs(stand, PINK), *GREEN) == []
        assert stand.mac("client") not in log.text
    assert stand.ipv4("client") == []


def test_two_servers_with_one_address_serve_a_network_each(stand: Stand) -> None:
    """Both know both clients, and say which address is whose differently."""
    with (
        watching(stand) as watch,
        stand.dnsmasq("server", client="192.168.5.2", asker="192.168.5.66"),
        stand.dnsmasq("rogue", client="192.168.5.66", asker="192.168.5.5"),
    ):
        for node in ("client", "asker"):
            stand.ask(node, "-B")
        assert (stand.ipv4("client"), stand.ipv4("asker")) == (["192.168.5.2"], ["192.168.5.5"])
        watch.settle()
        assert {m.client for m in watch.dhcp(*GREEN)} == {stand.mac("client")}
        assert {m.client for m in watch.dhcp(*PINK)} == {stand.mac("asker")}


def test_an_address_that_is_not_declared_is_neither_handed_over_nor_usable(stand: Stand) -> None:
    with watching(stand) as watch, stand.dnsmasq("server", client="192.168.5.77") as log:
        stand.ask("client", answered=False)
        watch.settle()
        answers = {(m.kind, seen.target, str(seen.ip_target)) for seen, m in watch.sent_dhcp("server")}
        assert answers == {(OFFER, stand.mac("client"), "192.168.5.77")}, log.text
        assert watch.dhcp("client") == []
        # A client may ask for broadcast answers, which are for every member; then it has the address, and no use of it.
        stand.ask("client", "-B")
        assert [m.kind for m in watch.dhcp("client")] == [OFFER, ACK]
        assert stand.ipv4("client") == ["192.168.5.77"]
        client, server = (stand.record.namespaces[node] for node in ("client", "server"))
        # Neighbour entries by hand, so that packets leave whatever ARP says.
        netns.batch([f"neigh replace 192.168.5.1 lladdr {stand.mac('server')} dev eth0 nud permanent"], client)
        stand.pings("client", "192.168.5.1", answered=False)
        netns.batch(["neigh flush dev eth0 nud all"], client)
        stand.pings("client", "192.168.5.1", answered=False)
        netns.batch([f"neigh replace 192.168.5.77 lladdr {stand.mac('client')} dev eth0 nud permanent"], server)
        stand.pings("server", "192.168.5.77", answered=False)
        netns.batch(["neigh del 192.168.5.77 dev eth0"], server)
        watch.settle()
        kinds = {
            (s.ethertype, s.protocol) for s in map(frames.read, watch.sent("client")) if _is_from(s, "192.168.5.77")
        }
        assert {(frames.IPV4, frames.ICMP), (frames.ARP, 0)} <= kinds, "it did send from there, and asked by ARP"
        others = [n for n in (*GREEN, *PINK) if n != "client"]
        assert [str(s) for s in map(frames.read, watch.at(*others)) if _is_from(s, "192.168.5.77")] == []
        assert [str(s) for s in map(frames.read, watch.at("client")) if s.protocol == frames.ICMP] == []


def _is_from(seen: frames.Seen, address: str) -> bool:
    return seen.ip_source == ip_address(address)


def test_on_a_switch_without_a_policy_the_same_is_seen_and_the_lease_is_used() -> None:
    """So that what is not seen above is known to be visible."""
    document = yaml.safe_load(LAB.read_text())
    del document["policy"], document["expectations"][:]
    document["bridges"]["br0"]["flows"] = ["actions=NORMAL"]
    # Two members with one address would take each other's answers here.
    document["nodes"]["rogue"]["interfaces"]["eth0"]["addresses"] = ["192.168.5.4/24"]
    with standing(LAB, yaml.safe_dump(document)) as stand, watching(stand) as watch:
        with stand.dnsmasq("server", client="192.168.5.77", asker="192.168.5.5"):
            stand.ask("asker", "-B")
            assert {m.client for m in watch.dhcp("server", "web")} == {stand.mac("asker")}
            assert watch.from_macs(macs(stand, PINK), *GREEN) != []
            stand.ask("client")
            stand.pings("client", "192.168.5.1")
        with stand.dnsmasq("rogue", client="192.168.5.66"):
            stand.ask("client", "-B")
            assert stand.ipv4("client") == ["192.168.5.66"]
        netns.batch(["address del fd00:5::3/64 dev eth0"], stand.record.namespaces["neighbour"])
        assert take(stand, neighbour="fd00:5::3") == {"neighbour": True}, "web has it"


def test_a_common_member_serves_two_networks_that_stay_apart() -> None:
    with standing(LABS / "common_dhcp_server.yaml") as stand, watching(stand) as watch:
        with stand.dnsmasq("server", client="192.168.5.2", asker="192.168.5.5"):
            for node, address in (("client", "192.168.5.2"), ("asker", "192.168.5.5")):
                stand.ask(node)
                assert stand.ipv4(node) == [address]
                stand.pings(node, "192.168.5.1")
                assert [(m.kind, m.client) for m in watch.dhcp(node)] == [(k, stand.mac(node)) for k in (OFFER, ACK)]
        stand.pings("client", "192.168.5.5", answered=False)
        watch.settle()
        assert watch.from_macs({stand.mac("client")}, "asker") == []
        assert watch.from_macs({stand.mac("asker")}, "client") == []


# -- multicast -------------------------------------------------------------------------------------------------------


class Group:
    """A real socket in a multicast group (RFC 3678), and whatever it heard."""

    def __init__(self, stand: Stand, node: str, group: str, port: int) -> None:
        self.target, self.heard = (group, port), []
        four = ip_address(group).version == 4
        with netns.inside(stand.record.namespaces[node]):
            index = socket.if_nametoindex("eth0")
            self.handle = socket.socket(socket.AF_INET if four else socket.AF_INET6, socket.SOCK_DGRAM)
        self.handle.setblocking(False)
        packed = ip_address(group).packed
        if four:
            self.handle.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, struct.pack("=4s4si", b"", b"", index))
            self.handle.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_LOOP, 0)
            self.handle.bind(self.target)
            membership = struct.pack("=4s4si", packed, b"", index)
            self.handle.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, membership)
        else:
            self.handle.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_IF, index)
            self.handle.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_LOOP, 0)
            self.handle.bind((group, port, 0, index))
            self.handle.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_JOIN_GROUP, struct.pack("=16sI", packed, index))

    def say(self, text: bytes) -> None:
        self.handle.sendto(text, self.target)

    def listen(self) -> list[bytes]:
        """Everything heard so far."""
        with contextlib.suppress(BlockingIOError):
            while True:
                self.heard.append(self.handle.recv(2048))
        return self.heard


@pytest.mark.parametrize(
    ("group", "reports"),
    [("224.0.0.251", "224.0.0.22"), ("239.255.1.2", "224.0.0.22"), ("ff02::fb", "ff02::16"), ("ff05::1:2", "ff02::16")],
    ids=["mdns4", "site4", "mdns6", "site6"],
)
def test_a_group_is_heard_by_the_members_of_a_network(stand: Stand, group: str, reports: str) -> None:
    """Once each, in either direction; the reports of who joined (IGMP, MLD) arrive too, as on a switch."""
    with watching(stand) as watch, contextlib.ExitStack() as stack:
        at = {node: Group(stand, node, group, 5353) for node in ("server", "web", "rogue", "neighbour")}
        for one in at.values():
            stack.enter_context(one.handle)
        for sender, receiver in (("web", "server"), ("neighbour", "rogue")):
            said = f"from {sender}".encode()
            at[sender].say(said)
            until(lambda r=receiver, t=said: t in at[r].listen(), f"{receiver} hears {sender}")
            at[receiver].say(b"back to " + sender.encode())
            until(lambda s=sender: len(at[s].listen()) == 1, f"{sender} hears {receiver}")
            mine = stand.mac(receiver)
            until(
                lambda s=sender, m=mine: any(
                    seen.source == m and str(seen.ip_target) == reports for seen in map(frames.read, watch.at(s))
                ),
                f"{sender} sees that {receiver} joined",
            )
        watch.settle()
        assert watch.from_macs(macs(stand, GREEN), *PINK) == []
        assert watch.from_macs(macs(stand, PINK), *GREEN) == []
        assert {node: one.listen() for node, one in at.items()} == {
            "server": [b"from web"],
            "web": [b"back to web"],
            "rogue": [b"from neighbour"],
            "neighbour": [b"back to neighbour"],
        }


# -- duplicate address detection for IPv6 (RFC 4862 section 5.4) -----------------------------------------------------


def take(stand: Stand, **addresses: str) -> dict[str, bool]:
    """Nodes add an address each, at the same time; whether the kernel found it in use, once it knows."""
    for node, address in addresses.items():
        namespace = stand.record.namespaces[node]
        netns.sysctl(namespace, "net.ipv6.conf.eth0.accept_dad", "1")
        netns.batch([f"address add {address}/64 dev eth0"], namespace)

    def state(node: str) -> dict[str, object]:
        return next(one for one in stand.addresses(node, 6) if one["local"] == addresses[node])

    for node in addresses:
        until(lambda n=node: "tentative" not in (s := state(n)) or "dadfailed" in s, f"{node} knows")
    return {node: "dadfailed" in state(node) for node in addresses}


def probes(watch: Watch, *nodes: str) -> set[tuple[str, str]]:
    """(source MAC, address asked for) of neighbour solicitations from :: that came there."""
    return {
        (seen.source, str(IPv6Address(frame[62:78])))
        for frame in watch.at(*nodes)
        if (seen := frames.read(frame)).protocol == frames.ICMPV6 and seen.ip_source == IPv6Address("::")
        if frame[54] == 135
    }


def test_an_address_that_another_network_uses_too_is_no_duplicate(stand: Stand) -> None:
    for node in ("web", "neighbour"):
        netns.batch(["address del fd00:5::3/64 dev eth0"], stand.record.namespaces[node])
    with watching(stand) as watch:
        found = take(stand, web="fd00:5::3", neighbour="fd00:5::3", client="fd00:5::2")
        assert found == {"web": False, "neighbour": False, "client": False}
        asked = {node: (stand.mac(node), "fd00:5::3") for node in ("web", "neighbour")}
        assert asked["web"] in probes(watch, "server"), "it did ask, and green heard it"
        assert asked["neighbour"] in probes(watch, "rogue")
        for address in ("fd00:5::2", "fd00:5::3"):
            stand.pings("server", address)
        watch.settle()
        assert watch.from_macs(macs(stand, GREEN), *PINK) == []
        assert watch.from_macs(macs(stand, PINK), *GREEN) == []


def test_a_probe_for_the_address_of_another_member_is_heard_by_nobody(stand: Stand) -> None:
    """It would make a holder that is just configuring the address give it up."""
    with watching(stand) as watch:
        assert take(stand, client="fd00:5::3") == {"client": False}
        watch.settle()
        assert all((stand.mac("client"), "fd00:5::3") not in probes(watch, node) for node in ("server", "web"))
