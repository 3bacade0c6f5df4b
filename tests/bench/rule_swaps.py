"""What becomes of packets while rules change: policies swapped under a stream, and a connection that is forbidden. I/O.

The two policies are made so that a mixture of both would let through what neither does, and drop what both allow: what
one drops before a wide rule allows it the other does not mention, and a member is in the group that the other policy's
rule is about.
"""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from statistics import median

from tests.bench.bursts import Kind, bursts
from tests.bench.holds import HELD_APP, HELD_S, read_holds
from tests.bench.policies import Document
from tests.bench.room import lost_unread, make_room
from tests.bench.row import Row
from tests.bench.spread import spread
from tests.rig.controller import Controller, wait_until
from tests.rig.host import Host, host
from topologies.netns import inside

SWAPS = 300
RATE_PPS = 20_000
CUTS = 10
SILENT_S = 1.0
WATCHED_S = 2.5
"""How long it is watched whether a connection is silent: TCP sends again meanwhile."""
MEMBERS = {
    "web1": ("02:00:00:00:00:01", "10.0.0.1"),
    "web2": ("02:00:00:00:00:02", "10.0.0.2"),
    "web3": ("02:00:00:00:00:03", "10.0.0.3"),
}
BOTH, NEITHER = (
    ("both", "both, in other groups"),
    ("neither, dropped first", "neither, dropped last", "neither, by group"),
)
ONE, OTHER = "the one", "the other"
PORTS = {
    BOTH[0]: ("web2", 7000),
    BOTH[1]: ("web3", 7000),
    NEITHER[0]: ("web2", 7001),
    NEITHER[1]: ("web2", 7002),
    NEITHER[2]: ("web3", 7010),
    ONE: ("web2", 7004),
    OTHER: ("web2", 7005),
}
"""What allows a kind of datagrams -> whom it is for, and the port."""
CUT, KEPT = 7100, 7101


def run() -> Iterator[Row]:
    with host() as machine:
        held = machine.directory / "held"
        at = {name: machine.add_member(name, mac, f"{ip}/24") for name, (mac, ip) in MEMBERS.items()}
        machine.add_bridge(dict(zip(MEMBERS, range(1, 4), strict=True)), settings=("fail_mode=secure",))
        controller = Controller(machine, HELD_APP)
        controller.start(TRIPOINT_HELD=str(held))
        machine.attach()
        wait_until(lambda: controller.rest.bridge() is not None, 20, "the bridge does not connect")
        make_room(machine)
        began = time.monotonic()
        yield from _swaps(machine, controller, at)
        yield from _cuts(controller, at)
        holds = read_holds(held, began, time.monotonic())
        what = f"the event loop held during all that, {holds.seconds:.0f} s"
        yield Row(what, str(holds), f"<= {HELD_S * 1000:g} ms of its own", holds.ok)


# -- swapped


def _swaps(machine: Host, controller: Controller, at: dict[str, str]) -> Iterator[Row]:
    kinds = {what: Kind(at[name], MEMBERS[name][1], port) for what, (name, port) in PORTS.items()}
    _put(controller, _document({}, [_allow("all", "web1", "any", "0-65535")]))
    with bursts(at["web1"], kinds, RATE_PPS) as canary:
        time.sleep(0.5)
    silent = [what for what in kinds if not canary.arrived[what]]
    assert not silent, f"receivers are deaf: {silent}"
    policies = _one(), _other()
    _put(controller, policies[0])
    with bursts(at["web1"], kinds, RATE_PPS) as still:
        time.sleep(3)
    dropped = lost_unread(machine)
    took_s = []
    with bursts(at["web1"], kinds, RATE_PPS) as swapped:
        for number in range(SWAPS):
            took_s.append(_put(controller, policies[(number + 1) % 2]))
    dropped = lost_unread(machine) - dropped
    assert 0 < len(swapped.arrived[ONE]) < swapped.sent, "the policies were not swapped"
    assert 0 < len(swapped.arrived[OTHER]) < swapped.sent, "the policies were not swapped"
    leaked = {what: len(swapped.arrived[what]) for what in NEITHER}
    total, fed = swapped.sent * len(kinds), f"{swapped.rate_pps:,.0f} packets a second"
    measured = (
        f"{sum(leaked.values())} of {swapped.sent * len(NEITHER):,} that neither allows arrived; of {total:,} in "
    )
    measured += f"all, at {fed}; a swap took {spread(took_s, 1000)}"
    enough = swapped.rate_pps >= RATE_PPS * 0.95
    what = f"two policies swapped {SWAPS} times under {RATE_PPS:,} packets a second: packets that neither allows"
    yield Row(what, measured, "0", not any(leaked.values()) and enough)
    lost = sum(swapped.lost(what) for what in BOTH)
    measured = (
        f"{lost} of {swapped.sent * len(BOTH):,}; {dropped} packets of all kinds were lost before the switch read "
    )
    measured += f"them (without swaps: {sum(still.lost(what) for what in BOTH)} of {still.sent * len(BOTH):,} lost)"
    yield Row("packets that both policies allow, lost meanwhile", measured, "0", lost == 0)


def _one() -> Document:
    """web3 is in `left`, and `right` may be spoken to."""
    rules = [
        _drop("first", "web2", 7001),
        _allow("wide", "web1", "web2", "7000-7001"),
        _allow("its", "web1", "web2", 7004),
        _allow("left", "web1", "left", 7000),
        _allow("right", "web1", "right", 7010),
    ]
    return _document({"left": ["web3"], "right": ["web1"]}, rules)


def _other() -> Document:
    """web3 is in `right`, and `left` may be spoken to."""
    rules = [
        _allow("left", "web1", "left", 7010),
        _allow("right", "web1", "right", 7000),
        _drop("first", "web2", 7002),
        _allow("wide", "any", "web2", 7002),
        _allow("its", "any", "web2", 7005),
        _allow("both", "web1", "web2", 7000),
    ]
    return _document({"left": ["web1"], "right": ["web3"]}, rules)


# -- forbidden


def _cuts(controller: Controller, at: dict[str, str]) -> Iterator[Row]:
    allowed = _document({}, [_allow("cut", "web1", "web2", CUT, "tcp"), _allow("kept", "web1", "web2", KEPT, "tcp")])
    forbidden = _document({}, [_allow("kept", "web1", "web2", KEPT, "tcp")])
    after_s, n_before = [], []
    for _ in range(CUTS):
        _put(controller, allowed)
        with _conversation(at, CUT) as cut, _conversation(at, KEPT) as kept:
            wait_until(lambda c=cut, k=kept: c.count > 100 and k.count > 100, 10, "the connections do not speak")
            began = time.monotonic()
            _put(controller, forbidden)
            time.sleep(WATCHED_S)
            n_before.append(cut.count)
            after_s.append(max(0.0, cut.last - began))
            assert kept.last > began + WATCHED_S - 0.5, "the connection that stays allowed does not go on"
    what = (
        f"a connection that speaks all the time, forbidden by a new revision, {CUTS} times: from PUT to its last packet"
    )
    measured = f"{spread(after_s, 1000)} (after {median(n_before):.0f} messages there and back; another one goes on)"
    yield Row(f"{what} at either end", measured, f"<= {SILENT_S:g} s", max(after_s) <= SILENT_S)


@dataclass
class Conversation:
    """count: messages that have come back. last: when the last frame of it arrived at either end, by time.monotonic."""

    count: int = 0
    last: float = 0.0


@contextmanager
def _conversation(at: dict[str, str], port: int) -> Iterator[Conversation]:
    """A TCP connection from web1 to web2, a message there and back every millisecond, during the block."""
    talk, done = Conversation(), threading.Event()
    with ExitStack() as stack:
        captures = []
        for name in ("web1", "web2"):
            with inside(at[name]):
                capture = stack.enter_context(socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x0800)))
            capture.bind(("eth0", 0x0800))
            capture.settimeout(0.1)
            captures.append(capture)
        with inside(at["web2"]):
            server = stack.enter_context(socket.create_server((MEMBERS["web2"][1], port)))
        with inside(at["web1"]):
            client = stack.enter_context(socket.create_connection((MEMBERS["web2"][1], port), 5))
        peer, _ = server.accept()
        stack.enter_context(peer)
        for one in (client, peer):
            one.settimeout(0.1)
            one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

        def speak() -> None:
            while not done.is_set():
                try:
                    client.send(b"x")
                    talk.count += len(client.recv(1))
                except TimeoutError:
                    continue
                time.sleep(0.001)

        def answer() -> None:
            while not done.is_set():
                try:
                    peer.send(peer.recv(1))
                except TimeoutError:
                    continue

        def watch(capture: socket.socket) -> None:
            while not done.is_set():
                try:
                    frame, (*_, kind, _, _) = capture.recvfrom(64)
                except TimeoutError:
                    continue
                if (
                    kind != socket.PACKET_OUTGOING
                    and frame[23] == 6
                    and port.to_bytes(2) in (frame[34:36], frame[36:38])
                ):
                    talk.last = time.monotonic()

        threads = [threading.Thread(target=work) for work in (speak, answer)]
        threads += [threading.Thread(target=watch, args=(capture,)) for capture in captures]
        for thread in threads:
            thread.start()
        try:
            yield talk
        finally:
            done.set()
            for thread in threads:
                thread.join()


# -- documents


def _put(controller: Controller, document: Document) -> float:
    """Seconds until it is in force."""
    began = time.monotonic()
    answer = controller.rest.ask("PUT", "/v1/policy", document)
    took_s = time.monotonic() - began
    assert answer["in_force"], answer
    return took_s


def _allow(name: str, origin: str, target: str, ports: str | int, proto: str = "udp") -> Document:
    return {"name": name, "action": "allow", "from": origin, "to": target, "proto": proto, "ports": [ports]}


def _drop(name: str, target: str, port: int) -> Document:
    return {"name": name, "action": "drop", "to": target, "proto": "udp", "ports": [port]}


def _document(groups: dict[str, list[str]], rules: list[Document]) -> Document:
    return {
        "apiVersion": "tripoint/v1",
        "defaults": {"intra_network": "drop"},
        "networks": {"green": {"vlan": 10, "cidrs": ["10.0.0.0/24"]}},
        "endpoints": {
            name: {"network": "green", "port": name, "mac": mac, "ips": [ip]} for name, (mac, ip) in MEMBERS.items()
        },
        "groups": {name: {"members": members} for name, members in groups.items()},
        "rules": rules,
    }
