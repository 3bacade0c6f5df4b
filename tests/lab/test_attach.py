"""Who connects to the controller: a bare bridge with its ports coming and going, and strangers of every kind.

Times are those that a busy machine keeps; a quiet one attaches a bridge in a tenth of a second.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator

import pytest

from tests.lab.test_restart import MEMBERS, Lab, members_of, passes, policy, wait_until_passes
from tests.rig.controller import Controller, wait_until
from tests.rig.flows import installed
from tests.rig.host import Host, host
from tests.rig.peer import Peer, handshake
from tests.wire import switch_bytes as sw
from tests.wire.test_guard import BENT_HELLOS, HANGS_RYU
from topologies import frames, traffic
from topologies.capture import packet_socket, receive
from topologies.spec import as_address

ATTACHED_WITHIN_S = 3.0
"""The promise is one second."""
ANSWERED_WITHIN_S = 0.5
"""A small request, while strangers do what they can: a quiet machine answers within 2 ms."""
STRANGER_GONE_WITHIN_S = 12.0
"""HANDSHAKE_WITHIN_S of the controller, and some."""
PORTS = {name: number for number, name in enumerate(MEMBERS, 1)}


@pytest.fixture
def lab() -> Iterator[Lab]:
    """A host with its members and a controller without a policy, and no bridge yet."""
    with host() as machine:
        lab = Lab(machine, Controller(machine), members_of(machine))
        lab.controller.start()
        yield lab


def attach(lab: Lab) -> float:
    """Seconds from the command to 'in force'."""
    began = time.monotonic()
    lab.machine.attach()
    wait_until(lab.in_force, 20, lambda: f"not in force: {lab.controller.rest.status()}")
    return time.monotonic() - began


def attempts() -> list[bytes]:
    """From web1: to web2 and to all, as IPv4, IPv6 and ARP, and what no host has a use for."""
    mac, ip = MEMBERS["web1"]
    sender = frames.Party(mac, as_address(ip), 1)
    target = frames.Party(MEMBERS["web2"][0], as_address(MEMBERS["web2"][1]), 2)
    to_all = frames.Party(frames.BROADCAST, as_address("255.255.255.255"), 2)
    return [
        frames.udp(sender, target, b"to one"),
        frames.udp(sender, to_all, b"to all"),
        frames.arp(1, sender, frames.Party(frames.ZERO_MAC, target.ip), mac, frames.BROADCAST),
        frames.solicitation(frames.Party(mac, frames.link_local(mac)), frames.link_local(target.mac)),
        frames.tagged(frames.udp(sender, target, b"tagged"), 10),
        frames.ethernet(mac, frames.BROADCAST, 0x88CC, b"anything"),
    ]


def arrive(lab: Lab, sent: list[bytes], target: str = "web2") -> list[bytes]:
    """Which of these frames, sent by web1, are seen at a member. A canary behind them has to be seen."""
    capture = packet_socket(lab.at[target], "eth0", receive=True)
    sender = packet_socket(lab.at["web1"], "eth0", receive=False)
    cable = packet_socket(lab.machine.namespace, target, receive=False)
    seen: list[bytes] = []
    canary = traffic.canary(os.urandom(8), MEMBERS[target][0])

    def canary_seen() -> bool:
        while (got := receive(capture)) is not None:
            seen.append(got[0])
        return any(frame.startswith(canary[: len(canary)]) for frame in seen)

    lab.machine.switch.appctl("revalidator/wait")  # for some milliseconds it may still go by its cache
    with capture, sender, cable:
        for frame in sent:
            sender.send(frame)
        # The canary goes past the switch: what is still inside it must get its time.
        time.sleep(0.2)
        cable.send(canary)
        wait_until(canary_seen, 5, "the capture is blind")
    return [frame for frame in sent if any(got.startswith(frame) for got in seen)]


def test_a_bare_bridge_is_under_control_at_once_and_nothing_passes(lab: Lab) -> None:
    lab.machine.add_bridge(PORTS)
    wait_until(lambda: arrive(lab, attempts()) == attempts(), 5, "the bridge without a controller passes not all")
    took_s = attach(lab)
    assert took_s < ATTACHED_WITHIN_S
    for member in ("web2", "db1", "db2"):
        assert arrive(lab, attempts(), member) == []
    # Now with an address that is declared: what is in force is more than a dead switch.
    assert lab.controller.rest.ask("PUT", "/v1/policy", policy())["in_force"]
    assert attempts()[0] in arrive(lab, attempts())
    assert arrive(lab, attempts(), "db1") == []


def binding(lab: Lab, endpoint: str) -> tuple[str, int | None]:
    """(state, ofport)"""
    answer = lab.controller.rest.ask("GET", "/v1/bindings")
    bindings = answer["bindings"] if isinstance(answer, dict) else answer
    (found,) = [one for one in bindings if one["endpoint"] == endpoint]
    return found["state"], found["ofport"]


def test_ports_appear_disappear_and_reappear_with_another_number(lab: Lab) -> None:
    """The policy is there before the bridge, the bridge before its ports."""
    vsctl = lab.machine.switch.vsctl

    def wait_for(state: str, ofport: int | None) -> None:
        def bound() -> bool:
            return binding(lab, "web2") == (state, ofport) and lab.in_force()

        wait_until(bound, 5, lambda: f"{binding(lab, 'web2')}, not {state} at {ofport}")

    lab.controller.rest.ask("PUT", "/v1/policy", policy())
    lab.machine.add_bridge({}, settings=("fail_mode=secure",))
    attach(lab)
    wait_for("absent", None)
    for name, ofport in PORTS.items():
        vsctl("add-port", "br0", name, "--", "set", "interface", name, f"ofport_request={ofport}")
    wait_for("bound", 2)
    wait_until_passes(lab, "web1", "web2")
    vsctl("del-port", "br0", "web2")
    wait_for("absent", None)
    assert not [flow for flow in installed(lab.machine).flows if re.search(r"in_port=2,|output:2$|reg1=0x2,", flow)]
    vsctl("add-port", "br0", "web2", "--", "set", "interface", "web2", "ofport_request=77")
    wait_for("bound", 77)
    wait_until_passes(lab, "web1", "web2")
    # Another device takes the number that web2 had: it is nobody.
    vsctl("del-port", "br0", "db2", "--", "add-port", "br0", "db2", "--", "set", "interface", "db2", "ofport_request=2")
    wait_until(lambda: binding(lab, "db2") == ("bound", 2) and lab.in_force(), 5, lambda: str(binding(lab, "db2")))
    assert passes(lab, "web1", "db2") == 0
    wait_until_passes(lab, "db1", "db2")


def test_a_second_connection_with_a_live_dpid_is_refused_and_the_first_lives_on(lab: Lab) -> None:
    lab.controller.rest.ask("PUT", "/v1/policy", policy())
    lab.machine.add_bridge(PORTS, settings=("fail_mode=secure",))
    attach(lab)
    before, flows = lab.controller.rest.bridge(), installed(lab.machine)
    for _ in range(5):
        impostor = Peer(lab.machine.namespace)
        impostor.send(handshake(int(before["dpid"], 16), sw.port(1, b"web1")))
        assert impostor.hung_up_after(5) is not None
        impostor.close()
    assert lab.controller.rest.bridge() == before
    assert f"dpid {before['dpid']} is connected already" in lab.controller.rest.status()["refused"][-1]
    answer = lab.controller.rest.ask("PUT", "/v1/policy", policy(db1="green"))
    assert [(b["in_force"], b["error"]) for b in answer["bridges"]] == [(True, None)]
    assert installed(lab.machine).run_on(flows) == []
    wait_until_passes(lab, "web1", "db1")


SILENT = {
    "nothing": b"",
    "half a header": sw.hello()[:5],
    "half a message": sw.message(0, length=4096) + b"x" * 100,
    "a HELLO and no more": sw.hello(),
    "half a features reply": sw.hello() + sw.features()[:20],
    "no ports": sw.hello() + sw.features(),
}
"""Who is waited for, and hung up on when the time for a handshake is over."""
HOSTILE = {
    "garbage": b"GET / HTTP/1.1\r\nHost: controller\r\n\r\n",
    "zeros": bytes(4096),
    "ones": b"\xff" * 4096,
    "a message of length zero": sw.message(0, length=0),
    **{f"HELLO: {name}": sw.hello(elements) for name, elements in BENT_HELLOS.items()},
    **{f"in place of a handshake: {name}": data for name, data in HANGS_RYU.items() if data[1] != 0},
    **{f"after the HELLO: {name}": sw.hello() + data for name, data in HANGS_RYU.items() if data[1] != 6},
    **{
        f"after the handshake: {name}": handshake(0xBAD0000 + number) + data
        for number, (name, data) in enumerate(HANGS_RYU.items())
    },
}
"""Who is hung up on at once."""


def test_strangers_hold_nobody_up_and_are_hung_up_on(lab: Lab) -> None:
    lab.controller.rest.ask("PUT", "/v1/policy", policy())
    lab.machine.add_bridge(PORTS, settings=("fail_mode=secure",))
    attach(lab)
    flows = installed(lab.machine)
    took_s: list[float] = []

    def serve() -> None:
        began = time.monotonic()
        lab.controller.rest.status()
        took_s.append(time.monotonic() - began)

    silent = connect(lab.machine, SILENT)
    for name, data in HOSTILE.items():
        peer = connect(lab.machine, {name: data})[name]
        serve()
        assert peer.hung_up_after(5) is not None, name
        serve()
        peer.close()
    while time.monotonic() - max(peer.began for peer in silent.values()) < STRANGER_GONE_WITHIN_S:
        serve()
        time.sleep(0.05)
    for name, peer in silent.items():
        assert peer.hung_up_after(0.1) is not None, name
        peer.close()
    assert max(took_s) < ANSWERED_WITHIN_S
    assert lab.in_force()
    assert installed(lab.machine).run_on(flows) == []
    assert lab.controller.rest.ask("PUT", "/v1/policy", policy(db1="green"))["in_force"]
    assert "Traceback" not in lab.controller.log.read_text()


def test_hundreds_of_silent_connections_keep_no_bridge_out(lab: Lab) -> None:
    """As many as there are places for strangers, and more that come all the time."""
    lab.machine.add_bridge(PORTS, settings=("fail_mode=secure",))
    silent = [Peer(lab.machine.namespace) for _ in range(300)]
    try:
        assert attach(lab) < ATTACHED_WITHIN_S
        silent += [Peer(lab.machine.namespace) for _ in range(50)]
        assert lab.in_force()
        assert lab.controller.rest.ask("PUT", "/v1/policy", policy())["in_force"]
        wait_until_passes(lab, "web1", "web2")
        assert silent[0].hung_up_after(1) is not None, "the oldest made no room"
    finally:
        for peer in silent:
            peer.close()


def connect(machine: Host, said: dict[str, bytes]) -> dict[str, Peer]:
    """A connection for each, which says this and then nothing."""
    peers = {name: Peer(machine.namespace) for name in said}
    for name, data in said.items():
        peers[name].send(data)
    return peers
