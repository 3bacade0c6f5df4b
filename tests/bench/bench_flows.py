"""Flows to a real switch and back: 50,000 in one bundle against ovs-ofctl(8) in the same run, and their dump.

    python -m tests.bench.bench_flows

The session runs in green threads, as in the controller, and the switch connects to it over TCP. ovs-ofctl reads the
same flows from a file. CPU is that of this process; the event loop's longest hold is what a green thread that wants to
run every millisecond has to wait at most.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import eventlet
from eventlet.event import Event
from eventlet.green import socket
from eventlet.semaphore import Semaphore

from controller.flow import fields as f
from controller.flow.actions import Load, Move, Output, SetField
from controller.flow.fields import whole
from controller.flow.flow import Flow
from controller.openflow import requests
from controller.openflow.decode import datapath_id, message_type
from controller.openflow.encode import encode_add
from controller.openflow.guard import Framer, Phase
from controller.openflow.protocol import Message
from controller.openflow.session import Session
from tests.bench.row import Row
from tests.trace.switch import BRIDGE, Switch, running_switch, wait_until

N_FLOWS = 50_000
ROUNDS = 5
WAIT_S = 30


def make_flows(n_flows: int) -> list[Flow]:
    """Ten flows an endpoint, 20 endpoints a network: port security, an ARP answer, forwarding, and the egress check."""
    flows: list[Flow] = []
    for number in range(n_flows // 10):
        port, mac, ip = number + 1, 0x020000000000 + number, 0x0A000000 + number
        in_port, network, to_port = f.IN_PORT(port), f.NETWORK(number // 20 + 1), f.OUT_PORT(port)
        ipv4, arp = f.ETH_TYPE(0x0800), f.ETH_TYPE(0x0806)
        answer = (
            Move(whole(f.ETH_SRC), whole(f.ETH_DST)),
            SetField(f.ETH_SRC, mac),
            SetField(f.ARP_OP, 2),
            Move(whole(f.ARP_SHA), whole(f.ARP_THA)),
            SetField(f.ARP_SHA, mac),
            Move(whole(f.ARP_SPA), whole(f.ARP_TPA)),
            SetField(f.ARP_SPA, ip),
            Move(whole(f.IN_PORT), whole(f.REG1)),
            SetField(f.IN_PORT, 0),
        )
        dhcp = (f.IP_PROTO(17), f.IPV4_SRC(0), f.IPV4_DST(0xFFFFFFFF), f.UDP_SRC(68), f.UDP_DST(67))
        flows += [
            Flow(0, 10, (in_port, f.VLAN_VID(0)), (Load(f.NETWORK, number // 20 + 1),), goto=1),
            Flow(1, 10, (in_port, network, f.ETH_SRC(mac)), goto=2),
            Flow(2, 10, (in_port, network, ipv4, f.IPV4_SRC(ip)), goto=3),
            Flow(2, 20, (in_port, network, ipv4, *dhcp), goto=3),
            Flow(2, 10, (in_port, network, arp, f.ARP_SHA(mac), f.ARP_SPA(ip)), goto=3),
            Flow(3, 10, (network, arp, f.ARP_OP(1), f.ARP_TPA(ip)), answer, goto=5),
            Flow(4, 10, (network, f.ETH_DST(mac)), (SetField(f.REG1, port),), goto=5),
            Flow(5, 10, (to_port, network, ipv4, f.IPV4_DST(ip)), goto=6),
            Flow(5, 10, (to_port, network, arp, f.ARP_TPA(ip)), goto=6),
            Flow(6, 10, (to_port,), (Output(port),)),
        ]
    return flows


class GreenWaiter:
    """`Waiter` for green threads."""

    def __init__(self) -> None:
        self._event = Event()

    def wait(self, timeout_s: float) -> bool:
        return bool(self._event.wait(timeout_s)) or self._event.ready()

    def set(self) -> None:
        if not self._event.ready():
            self._event.send(True)


class GreenChannel:
    """`Channel` on a green socket."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._lock = Semaphore()

    def send(self, data: bytes) -> None:
        with self._lock:
            self._connection.sendall(data)

    def pause(self) -> None:
        eventlet.sleep(0)

    def close(self) -> None:
        self._connection.shutdown(socket.SHUT_RDWR)


@contextmanager
def connected(switch: Switch) -> Iterator[Session]:
    """The session of a switch that has connected to us."""
    listener = eventlet.listen(("127.0.0.1", 0))
    switch.configure("set-controller", BRIDGE, f"tcp:127.0.0.1:{listener.getsockname()[1]}")
    with eventlet.Timeout(WAIT_S):
        connection, _ = listener.accept()
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    channel = GreenChannel(connection)
    ready: list[Session] = []
    arrived = GreenWaiter()

    def receive() -> None:
        framer = Framer()
        channel.send(requests.hello(1))
        while data := connection.recv(65536):
            for message in framer.feed(data):
                if ready:
                    ready[0].receive(message)
                elif message_type(message) == Message.HELLO:
                    channel.send(requests.features_request(2))
                elif message_type(message) == Message.FEATURES_REPLY:
                    dpid = datapath_id(message)
                    channel.send(requests.port_desc_request(3))
                elif framer.phase is Phase.READY:
                    ready.append(Session(channel, GreenWaiter, dpid=dpid, peer="bench"))
                    arrived.set()

    eventlet.spawn(receive)
    assert arrived.wait(WAIT_S), "the handshake does not end"
    yield ready[0]
    ready[0].close("the measurement is over")
    listener.close()
    switch.configure("del-controller", BRIDGE)


def longest_hold_s(work: Callable[[], object]) -> float:
    """How long, at most, a green thread that wants to run every millisecond waits while the work is done."""
    gaps: list[float] = []
    running = True

    def tick() -> None:
        last = time.perf_counter()
        while running:
            eventlet.sleep(0.001)
            now = time.perf_counter()
            gaps.append(now - last)
            last = now

    ticker = eventlet.spawn(tick)
    eventlet.sleep(0)
    work()
    running = False
    ticker.wait()
    return max(gaps)


def wall_s(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def cpu_s(work: Callable[[], object]) -> float:
    start = time.process_time()
    work()
    return time.process_time() - start


def empty(switch: Switch) -> None:
    """Delete all flows, and wait until the switch has freed them too: that goes on behind its back for a while."""
    switch.load([])
    wait_until(quiet, "the switch does not come to rest")


def quiet() -> bool:
    """Whether our child processes, the switch among them, need no CPU for 50 ms."""
    before = children_ticks()
    time.sleep(0.05)
    return children_ticks() == before


def children_ticks() -> int:
    """User and system time of all our children in clock ticks (proc(5), /proc/pid/stat)."""
    pids = Path(f"/proc/self/task/{threading.get_native_id()}/children").read_text().split()
    stats = [Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split() for pid in pids]
    return sum(int(stat[11]) + int(stat[12]) for stat in stats)


def run() -> list[Row]:
    """Several rounds of everything; medians."""
    flows = make_flows(N_FLOWS)
    ours, theirs, installing, reading, holds = [], [], [], [], []
    encoding = [cpu_s(lambda: [encode_add(flow, 1) for flow in flows]) for _ in range(ROUNDS)]
    with running_switch() as switch, TemporaryDirectory() as directory, connected(switch) as session:
        path = Path(directory) / "flows"
        path.write_text("".join(f"{flow}\n" for flow in flows))
        for _ in range(ROUNDS):
            empty(switch)
            theirs.append(wall_s(lambda: add_by_ovs_ofctl(switch, path)))
            empty(switch)
            begun = time.process_time()
            ours.append(wall_s(lambda: session.apply(flows, ())))
            installing.append(time.process_time() - begun)
            reading.append(cpu_s(lambda: check_dump(session, flows)))
            holds.append(longest_hold_s(session.read_flows))
            empty(switch)
            holds.append(longest_hold_s(lambda: session.apply(flows, ())))
    # Round by round, so that both sides of a ratio meet with the same load of the machine.
    ratio = median(their_s / our_s for their_s, our_s in zip(theirs, ours, strict=True))
    encode_us, install_us, read_us = (median(times) / N_FLOWS * 1e6 for times in (encoding, installing, reading))
    hold_ms = max(holds) * 1e3
    rates = f"{N_FLOWS / median(ours) / 1e3:.0f}k/s against {N_FLOWS / median(theirs) / 1e3:.0f}k/s = {ratio:.2f}"
    return [
        Row("install 50k flows in a bundle, against ovs-ofctl --bundle", rates, ">= 1.5", ratio >= 1.5),
        Row("CPU to encode a flow", f"{encode_us:.2f} us", "<= 3 us", encode_us <= 3),
        Row("CPU to install a flow, all included", f"{install_us:.2f} us", "<= 5 us", install_us <= 5),
        Row("CPU to read a flow back, all included", f"{read_us:.2f} us", "<= 2 us", read_us <= 2),
        Row("event loop held by 50k flows, there or back", f"{hold_ms:.1f} ms", "<= 50 ms", hold_ms <= 50),
    ]


def add_by_ovs_ofctl(switch: Switch, path: Path) -> None:
    switch.run("ovs-ofctl", "-O", "OpenFlow14", "--bundle", "add-flows", BRIDGE, str(path))


def check_dump(session: Session, flows: list[Flow]) -> None:
    dump = session.read_flows()
    assert len(dump.cookies) == len(flows)
    assert not dump.foreign


if __name__ == "__main__":
    for row in run():
        print(f"{'ok  ' if row.ok else 'FAIL'} {row.what}: {row.measured} (target {row.target})")
