"""A lab that is up, real programs in its namespaces, and captures that prove themselves alive. I/O.

For the tests that bring programs of their own, where a lab file's expectations send frames of the lab's own.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import itertools
import json
import os
import random
import shutil
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.lab.conftest import left_of
from topologies import daemons, frames, netns, records
from topologies.backlog import Ports
from topologies.capture import packet_socket, receive
from topologies.judge import GRACE_S
from topologies.load import parse
from topologies.rest import Rest
from topologies.runner import bring_up
from topologies.spec import End, Lab
from topologies.traffic import canary, mark_bytes

PROGRAMS = {
    "dnsmasq": "dnsmasq-base",
    "busybox": "busybox",
    "curl": "curl",
    "iperf3": "iperf3",
    "ping": "iputils-ping",
    "iptables": "iptables",
    "ssh": "openssh-client",
    "sshd": "openssh-server",
}
"""Program -> Debian package."""
CURL = ("curl", "-sS", "--noproxy", "*", "--max-time", "3")
TIMED_OUT, REFUSED = 28, 7
"""Exit codes of curl(1)."""
PATIENCE_S = 10.0
SOL_PACKET, PACKET_STATISTICS = 263, 6
DISCOVER, OFFER, REQUEST, DECLINE, ACK = 1, 2, 3, 4, 5
"""DHCP message types (RFC 2132 section 9.6)."""
# What a DHCP client leaves to a script (busybox udhcpc): the address, the name server, and a line for the test.
ON_LEASE = """#!/bin/sh
case "$1" in
    deconfig) ip -4 address flush dev "$interface" ;;
    bound|renew)
        ip address replace "$ip/$mask" dev "$interface"
        printf 'nameserver %s\\nsearch %s\\n' "$dns" "$domain" >"$HERE/resolv.conf"
        ;;
esac
echo "$1 $ip" >>"$HERE/events"
"""


def until(condition: Callable[[], bool], what: str, timeout_s: float = PATIENCE_S) -> None:
    """Waits until it holds; fails the test when it does not in time."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, f"never: {what}"
        time.sleep(0.005)


@dataclass
class Stand:
    """A lab that is up. Programs run in its namespaces, carry its mark, and end with the block that started them."""

    record: records.Record
    lab: Lab = field(init=False)
    ports: Ports = field(init=False)

    def __post_init__(self) -> None:
        self.lab = self.record.lab
        ends: dict[str, list[str]] = {}
        for end in (end for link in self.lab.links for end in (link.a, link.b) if end.owner in self.lab.bridges):
            ends.setdefault(self.namespace(end), []).append(end.name)
        self.ports = Ports({namespace: tuple(names) for namespace, names in ends.items()})

    def namespace(self, end: End) -> str:
        bridge = self.lab.bridges.get(end.owner)
        return self.record.namespaces[end.owner if bridge is None else bridge.node]

    @property
    def rest(self) -> Rest:
        """The lab's controller."""
        return Rest(self.record.controller)

    def mac(self, node: str) -> str:
        return self.lab.points(node)[0].mac

    def device(self, node: str) -> str:
        """The first of its interfaces, or the bridge's own port."""
        return self.lab.points(node)[0].device

    def address(self, node: str, version: int = 4) -> str:
        return str(self.lab.points(node)[0].address(version))

    def place(self, node: str) -> Path:
        """A directory for one node's files."""
        path = self.record.directory / f"files-{node}"
        path.mkdir(exist_ok=True)
        return path

    def words(self, node: str, words: tuple[str, ...]) -> list[str]:
        """With a resolv.conf of the node's own once it has one, in the mount namespace that `ip netns exec` makes."""
        mine = self.place(node) / "resolv.conf"
        own = ["sh", "-c", 'mount --bind "$0" /etc/resolv.conf && exec "$@"', str(mine)] if mine.exists() else []
        return ["ip", "netns", "exec", self.record.namespaces[node], *own, *words]

    def do(self, node: str, *words: str, timeout_s: float = PATIENCE_S) -> subprocess.CompletedProcess[str]:
        env = {**os.environ, records.MARK_VARIABLE: self.record.id, "HERE": str(self.place(node))}
        argv = self.words(node, words)
        return subprocess.run(argv, env=env, capture_output=True, text=True, timeout=timeout_s, check=False)

    @contextlib.contextmanager
    def program(self, node: str, *words: str, ready: str) -> Iterator[Log]:
        """For the block, from when its log says `ready`."""
        log = Log(self.place(node) / f"{Path(words[0]).name}-{random.randrange(1 << 32):08x}.log")
        env = {records.MARK_VARIABLE: self.record.id, "HERE": str(self.place(node)), "PYTHONUNBUFFERED": "1"}
        daemon = daemons.start(daemons.Start(words[0], self.words(node, words), log.path, env, tied=True))
        log.pid = daemon.pid
        try:
            until(lambda: ready in log.text or not daemon.alive, f"{ready!r} from {words[0]}")
            assert daemon.alive, log.text
            yield log
        finally:
            daemons.stop([daemon])

    # -- DHCP --------------------------------------------------------------------------------------------------------

    def dnsmasq(self, point: str, **leases: str) -> contextlib.AbstractContextManager[Log]:
        """A server for DHCP and DNS at a node or a point; leases: node -> address, and nobody else gets one.

        www.lab.test is the address that ends in 3.
        """
        node, prefix = point.partition(":")[0], self.address(point).rpartition(".")[0]
        here = self.place(node)
        # Not a daemon: one that changes its own rights would outlive a runner that was killed (prctl(2)).
        words = ["dnsmasq", "--no-daemon", "--log-dhcp", "--conf-file=/dev/null", "--no-resolv", "--no-hosts"]
        words += [f"--dhcp-leasefile={here}/leases-{random.randrange(1 << 32):08x}"]
        words += [
            f"--interface={self.device(point)}",
            "--except-interface=lo",
            "--bind-interfaces",
            "--domain=lab.test",
        ]
        words += [f"--host-record=www.lab.test,{prefix}.3", f"--dhcp-range={prefix}.0,static,255.255.255.0,2m"]
        words += [f"--dhcp-host={self.mac(name)},{ip}" for name, ip in leases.items()]
        return self.program(node, *words, ready="started, version")

    def ask(self, node: str, *options: str, answered: bool = True) -> str:
        """One run of a DHCP client that ends when it has an address, or (not answered) after a second without one.

        Returns what it said; anything but the expected outcome fails the test.
        """
        tries = "4" if answered else "1"
        done = self.do(node, *self.udhcpc(node), "-n", "-q", "-t", tries, "-T", "1", *options)
        assert done.returncode == (0 if answered else 1), f"{node}: {done.stdout}{done.stderr}"
        return done.stderr

    def pings(self, node: str, address: str, *, answered: bool = True) -> None:
        """Two pings, both answered or neither."""
        words = ("ping", "-c2", "-i0.05", "-W", "3" if answered else "0.3", address)
        done = self.do(node, *words)
        assert f" {2 if answered else 0} received" in done.stdout, f"{node}: {done.stdout}{done.stderr}"

    def udhcpc(self, node: str) -> tuple[str, ...]:
        script = self.place(node) / "on-lease"
        script.write_text(ON_LEASE)
        script.chmod(0o755)
        return ("busybox", "udhcpc", "-f", "-i", "eth0", "-s", str(script))

    def udhcpd(self, node: str, address: str) -> contextlib.AbstractContextManager[Log]:
        """A server for DHCP alone, which has one address to give and asks by ARP whether somebody has it already."""
        here = self.place(node)
        settings = f"start {address}\nend {address}\ninterface eth0\noption subnet 255.255.255.0\n"
        settings += f"pidfile {here}/udhcpd.pid\nlease_file {here}/udhcpd.leases\n"
        (here / "udhcpd.conf").write_text(settings)
        (here / "udhcpd.leases").touch()
        return self.program(node, "busybox", "udhcpd", "-f", str(here / "udhcpd.conf"), ready="started")

    def addresses(self, node: str, version: int = 4) -> list[dict[str, object]]:
        """What the kernel says of eth0's addresses."""
        shown = netns.run(["ip", "-n", self.record.namespaces[node], "-json", f"-{version}", "address", "show", "eth0"])
        return [one for link in json.loads(shown) for one in link.get("addr_info", [])]

    def ipv4(self, node: str) -> list[str]:
        return [str(one["local"]) for one in self.addresses(node)]

    def without_address(self, node: str) -> None:
        """As it was at the start: nothing that an earlier lease left."""
        netns.batch(
            ["address flush dev eth0 scope global", "neigh flush dev eth0 nud all"], self.record.namespaces[node]
        )
        shutil.rmtree(self.place(node))


@contextlib.contextmanager
def page(stand: Stand, node: str, l4_port: int = 80, address: str = "0.0.0.0") -> Iterator[str]:
    """A web server with one page, for the block."""
    text = f"a page from {node}"
    (stand.place(node) / "index.html").write_text(text)
    words = (sys.executable, "-m", "http.server", str(l4_port), "--bind", address, "--directory")
    with stand.program(node, *words, str(stand.place(node)), ready="Serving HTTP"):
        yield text


@contextlib.contextmanager
def flood(stand: Stand, node: str, targets: list[str], l4_port: int = 9) -> Iterator[list[int]]:
    """Datagrams to all of them in turn, as fast as they go, for the block. Yields how many, as the only item."""
    with netns.inside(stand.record.namespaces[node]):
        handle = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sent, over = [0], threading.Event()

    def send() -> None:
        for target in itertools.cycle(targets):
            if over.is_set():
                return
            with contextlib.suppress(OSError):  # the errors that come back
                handle.sendto(b"flood", (target, l4_port))
            sent[0] += 1

    thread = threading.Thread(target=send)
    with handle:
        thread.start()
        try:
            yield sent
        finally:
            over.set()
            thread.join()


@dataclass
class Log:
    path: Path
    pid: int = 0

    @property
    def text(self) -> str:
        return self.path.read_text(errors="replace") if self.path.exists() else ""


@dataclass(frozen=True)
class Dhcp:
    """kind: message type, 0 where there is none. offered: yiaddr. client: chaddr."""

    kind: int
    offered: str
    client: str


def dhcp(frame: bytes) -> Dhcp | None:
    """A DHCP message (RFC 2131 section 2) in an untagged frame, or None."""
    seen = frames.read(frame)
    if seen.protocol != frames.UDP or not {67, 68} & set(seen.ports) or seen.tags:
        return None
    body = frame[14 + (frame[14] & 15) * 4 + 8 :]
    kind, options = 0, body[240:]
    while len(options) > 2 and options[0] != 255:
        if options[0] == 53:
            kind = options[2]
        options = options[1:] if options[0] == 0 else options[2 + options[1] :]
    return Dhcp(kind, str(ipaddress.IPv4Address(body[16:20])), frames.mac_text(body[28:34]))


@dataclass
class Watch:
    """Captures at the first interface of every node, and at the end the proof that they were worth something."""

    stand: Stand
    came: dict[str, list[bytes]] = field(default_factory=dict)
    went: dict[str, list[bytes]] = field(default_factory=dict)
    _open: dict[str, socket.socket] = field(default_factory=dict)

    def read(self) -> None:
        for node, handle in self._open.items():
            while (got := receive(handle)) is not None:
                frame, outgoing = got
                (self.went if outgoing else self.came).setdefault(node, []).append(frame)

    def alive(self) -> None:
        """A canary put into the other end of each cable is seen."""
        missing = {}
        for node in self._open:
            end = self.stand.lab.other_end(End(node, self.stand.device(node)))
            assert end is not None
            missing[node] = mark = mark_bytes(random.randrange(1 << 24))
            with packet_socket(self.stand.namespace(end), end.name, receive=False) as sender:
                sender.send(canary(mark, self.stand.mac(node)))

        def seen() -> bool:
            self.read()
            for node, mark in list(missing.items()):
                if any(mark in frame for frame in reversed(self.came.get(node, []))):
                    del missing[node]
            return not missing

        until(seen, f"a canary at {missing}: what was not seen there says nothing")

    def settle(self) -> None:
        """The switch has taken up everything that was sent and handed it on; twice, for a member may have answered."""
        for _ in range(2):
            asyncio.run(self.stand.ports.empty())
            time.sleep(GRACE_S)
        self.alive()

    def at(self, *nodes: str) -> list[bytes]:
        """What came there."""
        self.read()
        return [frame for node in nodes for frame in self.came.get(node, [])]

    def dhcp(self, *nodes: str) -> list[Dhcp]:
        return [message for frame in self.at(*nodes) if (message := dhcp(frame)) is not None]

    def sent(self, node: str) -> list[bytes]:
        """What the node itself put on its cable."""
        self.read()
        return list(self.went.get(node, []))

    def sent_dhcp(self, node: str) -> list[tuple[frames.Seen, Dhcp]]:
        return [(frames.read(f), message) for f in self.sent(node) if (message := dhcp(f)) is not None]

    def from_macs(self, macs: set[str], *nodes: str) -> list[str]:
        """Frames that came there from these MACs, whatever they are, as text."""
        return [str(seen) for frame in self.at(*nodes) if (seen := frames.read(frame)).source in macs]


@contextlib.contextmanager
def watching(stand: Stand) -> Iterator[Watch]:
    """Captures for the block, proven alive before and after it, that lost nothing.

    What was not seen counts after `settle`.
    """
    watch, lost = Watch(stand), stand.ports.lost()
    with contextlib.ExitStack() as stack:
        for node in (n.name for n in stand.lab.nodes.values() if n.interfaces):
            handle = packet_socket(stand.record.namespaces[node], stand.device(node), receive=True)
            watch._open[node] = stack.enter_context(handle)
        watch.alive()
        yield watch
        watch.alive()
        for node, handle in watch._open.items():
            dropped = struct.unpack("=II", handle.getsockopt(SOL_PACKET, PACKET_STATISTICS, 8))[1]
            assert dropped == 0, f"the capture at {node} lost frames"
    assert stand.ports.lost() == lost, "frames were lost before the switch read them"


@contextlib.contextmanager
def standing(path: Path, text: str = "") -> Iterator[Stand]:
    """A lab with a controller of its own, recorded in a directory of its own; nothing is left of it.

    text: stands for the file's own.
    """
    lacking = sorted({package for program, package in PROGRAMS.items() if shutil.which(program) is None})
    assert not lacking, f"programs are missing: apt-get install {' '.join(lacking)}"
    directory = Path(tempfile.mkdtemp(prefix="tpl", dir="/tmp"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TRIPOINT_LAB_DIR", str(directory))
        text = text or path.read_text()
        try:
            record = bring_up(parse(text), text, str(path), "test")
            try:
                yield Stand(record)
            finally:
                kept = records.remove(record)
            assert kept == []
            assert left_of(record.id) == []
        finally:
            shutil.rmtree(directory, ignore_errors=True)
